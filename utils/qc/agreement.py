"""How well the mask that somebody's program predicts agrees with a sample's own."""

import collections
from collections.abc import Mapping

import numpy as np

from utils.arrays import labels
from utils.qc import comparing, judging, measures, packed_masks, slices
from utils.storage import label_map

KIND = "prediction"
# Least standard deviation of log(Dice / (1 - Dice)); Dice is kept off 0 and 1, where it is endless.
_LOGIT_SD, _ENDS = 0.4, 0.02
# So many ml must at least be on one side alone: a label of a few voxels agrees by luck.
LEAST_APART_ML = 0.5
_SHOWN = 3


class Predicted:
    """A predicted mask, packed, and the voxels of each of its labels."""

    def __init__(self, mask: np.ndarray, axis: int):
        self.voxels = packed_masks.PackedMask(mask, axis)
        self.counts = labels.counts(mask)


def alone(predicted: Predicted, names: Mapping[int, str], zooms: np.ndarray) -> dict[str, dict]:
    """Measure a prediction where there is no mask to compare it with; see `compare`."""
    return {
        measures.name_of(value, names): {
            "value": value,
            "dice": None,
            "difference_ml": None,
            "volume_ml": measures.volume_ml(predicted.counts[value], zooms),
        }
        for value in _present(predicted.counts)
    }


def compare(
    predicted: Predicted, mask: np.ndarray, names: Mapping[int, str], zooms: np.ndarray
) -> dict[str, dict]:
    """Compare a prediction with a mask, (X, Y, Z) uint8, of the same shape.

    Returns
    -------
    dict of str to dict
        Label name to ``value``, ``dice`` (0 where only one of the two has the label),
        ``difference_ml`` (prediction minus mask), ``volume_ml`` (of the prediction), ``apart_ml``
        (voxels that only one of the two gives it), and ``at``, a voxel where they differ most, or
        None. Labels that neither has are not among them.
    """
    n_own = labels.counts(mask)
    n_both, apart = _overlap(predicted.voxels, mask)
    found = {}
    for value in _present(n_own + predicted.counts):
        own, other, both = (int(n[value]) for n in (n_own, predicted.counts, n_both))
        found[measures.name_of(value, names)] = {
            "value": value,
            "dice": 2 * both / (own + other),
            "difference_ml": measures.volume_ml(other - own, zooms),
            "volume_ml": measures.volume_ml(other, zooms),
            "apart_ml": measures.volume_ml(own + other - 2 * both, zooms),
            "at": _worst_voxel(predicted.voxels, mask, apart[:, value], value, zooms),
        }
    return found


def _present(counts):
    return [value for value in np.flatnonzero(counts).tolist() if value]


def _overlap(predicted, mask):
    """(256,) voxels that both give a label; (n, 256) in each slice those that one of them does."""
    n_both = np.zeros(256, np.int64)
    apart = np.zeros((mask.shape[predicted.axis], 256), np.int64)
    for index, row in enumerate(apart):
        other, own = predicted[index], slices.one_slice(mask, predicted.axis, index)
        differs = other != own
        n_both += np.bincount(own[(own > 0) & ~differs], minlength=256)
        for side in (other, own):
            row += np.bincount(side[differs], minlength=256)
    return n_both, apart


def _worst_voxel(predicted, mask, apart, value, zooms):
    """Index of a voxel in the middle of what differs, in the slice where most does."""
    if not apart.any():
        return None
    axis, index = predicted.axis, int(apart.argmax())
    other, own = predicted[index], slices.one_slice(mask, axis, index)
    place = slices.middle((other == value) != (own == value), np.delete(zooms, axis))
    return [*place[:axis], index, *place[axis:]]


def fault(reason: str) -> judging.Flag:
    """Flag a prediction that cannot be compared."""
    return judging.flag(KIND, f"The prediction cannot be compared: {reason}.", judging.WRONG)


def judge(found: Mapping[str, tuple[str, Mapping[str, dict]]]) -> dict[str, list[judging.Flag]]:
    """Flag labels whose Dice is far below that of the other samples of their modality.

    `found` holds, by sample, its modality and what `compare` returned; so many samples with a
    label as `comparing.LEAST_GROUP` says are needed. A sample has one flag at most.
    """
    groups = collections.defaultdict(list)
    for sample, (modality, predicted) in found.items():
        for name, label in predicted.items():
            if label["dice"] is not None:
                groups[modality, name].append((sample, label))
    far = collections.defaultdict(list)
    for (modality, name), members in groups.items():
        if len(members) >= comparing.LEAST_GROUP:
            for sample, *what in _far(members, modality, name):
                far[sample].append(what)
    return {sample: [_flag(those)] for sample, those in far.items()}


def _far(members, modality, name):
    """Yield (sample, its label, the label's name, what is usual) where Dice is far below."""
    low, median = _limits([label["dice"] for _, label in members])
    usual = f"median of {len(members)} {modality} samples {median:.2f}, limit {low:.2f}"
    for sample, label in members:
        if max(label["dice"], _ENDS) < low and label["apart_ml"] >= LEAST_APART_ML:
            yield sample, label, name, usual


def _limits(dices):
    """Lower limit and median, by the logarithm of the odds."""
    clipped = np.clip(dices, _ENDS, 1 - _ENDS)
    middle, limit = comparing.limits(np.log(clipped / (1 - clipped)), _LOGIT_SD)
    low, median = 1 / (1 + np.exp([limit - middle, -middle]))
    return float(low), float(median)


def _flag(far):
    far = sorted(far, key=lambda one: (one[0]["dice"], one[1]))
    texts = [
        f"{label_map.shown(name)} (Dice {label['dice']:.2f}, {label['difference_ml']:+.3g} ml; "
        f"{usual})"
        for label, name, usual in far
    ]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    reason = f"The prediction agrees little with the mask: {', '.join(texts[:_SHOWN])}{more}."
    values = tuple(label["value"] for label, _, _ in far)
    place = tuple(far[0][0]["at"])
    return judging.flag(KIND, reason, place=place, labels=values, evidence="; ".join(texts))

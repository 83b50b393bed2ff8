"""What denoising changed in a mask: voxels, islands, holes and small regions of every label."""

from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import regions
from utils.qc import packed_masks, slices

# What is counted of each label, see `Changes`.
COUNTS = ("lost", "gained", "islands_removed", "holes_filled", "small_before", "small_after")
_WIDTH_MM = 60.0


@dataclass(frozen=True)
class Changes:
    """Voxels whose label changed.

    Attributes
    ----------
    per_slice : (n,) int64
        Their number in each slice.
    per_label : dict of int to dict
        Label to ``lost`` and ``gained`` (voxels), ``islands_removed`` and ``holes_filled`` (regions
        in a slice), ``small_before`` and ``small_after`` (regions in space below the threshold).
    """

    per_slice: np.ndarray
    per_label: dict[int, dict[str, int]]

    def slices(self, n_most: int) -> list[int]:
        """Indices of the slices with most changes, those first."""
        order = np.argsort(-self.per_slice, kind="stable")
        return order[: min(n_most, np.count_nonzero(self.per_slice))].tolist()


def find(
    before: packed_masks.PackedMask, after: np.ndarray, small: tuple[np.ndarray, np.ndarray]
) -> Changes:
    """Compare a mask before and after denoising, slice by slice, (X, Y, Z) uint8.

    DatasetError where the shapes differ. `small` holds the labels of the small regions before and
    after, see `regions.find_small_regions`.

    Notes
    -----
    An island is an 8-connected region of a label in one slice of the mask before; it counts as
    removed when none of its pixels kept the label. Where most of its pixels went to another label
    than the background, a hole of that label was filled, also when the region had been background.
    """
    if before.shape != after.shape:
        reason = f"shapes {before.shape} before and {after.shape} after denoising differ"
        sides = {"expected": after.shape, "found": before.shape}
        raise errors.DatasetError(reason, code="shape", **sides)
    per_slice = np.zeros(after.shape[before.axis], np.int64)
    counts = np.zeros((len(COUNTS), 256), np.int64)
    for z in range(len(per_slice)):
        old, new = before[z], slices.one_slice(after, before.axis, z)
        changed = old != new
        per_slice[z] = np.count_nonzero(changed)
        if per_slice[z]:
            box = _around(changed)
            changed, old, new = changed[box], old[box], new[box]
            counts[0] += np.bincount(old[changed], minlength=256)
            counts[1] += np.bincount(new[changed], minlength=256)
            counts[2:4] += _regions_gone(old, new)
    counts[4:6] = [np.bincount(labels, minlength=256) for labels in small]
    labels = np.flatnonzero(counts.any(axis=0)).tolist()
    return Changes(
        per_slice, {value: dict(zip(COUNTS, counts[:, value].tolist())) for value in labels}
    )


def densest(changed: np.ndarray, spacing: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the part of a slice, some 60 mm wide, with most changes in its middle."""
    from scipy import ndimage as ndi

    size = [min(n, int(np.ceil(_WIDTH_MM / step))) for n, step in zip(changed.shape, spacing)]
    counts = ndi.uniform_filter(changed.astype(np.float64), size, mode="constant")
    best = np.unravel_index(counts.argmax(), counts.shape)
    places = np.argwhere(changed)
    inside = (2 * np.abs(places - best) <= size).all(axis=1)
    middle = places[inside].mean(axis=0)  # so that they do not lie at its edge
    box = []
    for centre, n, length in zip(middle, size, changed.shape):
        start = int(np.clip(round(centre - n / 2), 0, length - n))
        box.append(slice(start, start + n))
    return box[0], box[1]


def place(changed: np.ndarray, spacing: tuple[float, float]) -> list[int]:
    """Row and column of a pixel that changed, among most others that did."""
    box = densest(changed, spacing)
    nearest = slices.middle(changed[box], spacing)
    return [n + part.start for n, part in zip(nearest, box)]


def _around(changed):
    """The part of a slice that holds all changes, and a rim.

    A region that reaches beyond the changes has a pixel that was kept in the rim.
    """
    box = []
    for axis in (0, 1):
        places = np.flatnonzero(changed.any(axis=1 - axis))
        box.append(slice(max(0, places[0] - 1), places[-1] + 2))
    return tuple(box)


def _regions_gone(before, after):
    """(2, 256) islands removed and holes filled in one slice."""
    components, n_regions = regions.connect(before)
    kept = np.bincount(components[before == after], minlength=n_regions + 1)[1:] > 0
    gone = ~np.concatenate([[True], kept])[components]
    region = components[gone].astype(np.int64)
    _, first = np.unique(region, return_index=True)
    # Pixels of each region by the label they went to; the most first, of as many the lowest label.
    pairs, n_pixels = np.unique(region * 256 + after[gone], return_counts=True)
    order = np.lexsort((pairs % 256, -n_pixels, pairs // 256))
    _, best = np.unique(pairs[order] // 256, return_index=True)
    labels = before[gone][first], pairs[order][best] % 256
    found = np.stack([np.bincount(of_kind, minlength=256) for of_kind in labels])
    found[:, 0] = 0  # background that was filled is a hole of the label it went to
    return found

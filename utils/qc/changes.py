"""What denoising changed in a mask: voxels, islands, holes and small regions of every label."""

from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import regions

_COUNTS = ("lost", "gained", "islands_removed", "holes_filled", "small_before", "small_after")


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
    before: np.ndarray,
    after: np.ndarray,
    zooms: np.ndarray,
    region_volume_thresh: float,
    axis: int = 2,
) -> Changes:
    """Compare a mask before and after denoising along an axis, (X, Y, Z) uint8.

    DatasetError where the shapes differ. `zooms` is the stored spacing (mm); regions strictly
    below the threshold (mm^3) are small.

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
    per_slice, counts = (
        np.zeros(after.shape[axis], np.int64),
        np.zeros((len(_COUNTS), 256), np.int64),
    )
    for z, (old, new) in enumerate(zip(np.moveaxis(before, axis, 0), np.moveaxis(after, axis, 0))):
        changed = old != new
        per_slice[z] = np.count_nonzero(changed)
        if per_slice[z]:
            counts[0] += np.bincount(old[changed], minlength=256)
            counts[1] += np.bincount(new[changed], minlength=256)
            counts[2:4] += _regions_gone(old, new)
    for row, mask in ((4, before), (5, after)):
        small = regions.find_small_regions(mask, zooms, region_volume_thresh)
        counts[row] = np.bincount(small.label, minlength=256)
    labels = np.flatnonzero(counts.any(axis=0)).tolist()
    return Changes(
        per_slice, {value: dict(zip(_COUNTS, counts[:, value].tolist())) for value in labels}
    )


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

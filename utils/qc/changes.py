"""What denoising changed in a mask: voxels, islands, holes and small regions of every label."""

from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import regions


@dataclass(frozen=True)
class Changes:
    """Voxels whose label changed.

    Attributes
    ----------
    places : (n, 3) int64
        Voxel indices.
    before, after : (n,) uint8
        Labels.
    per_label : dict of int to dict
        Label to ``lost`` and ``gained`` (voxels), ``islands_removed`` and ``holes_filled`` (regions
        in a slice), ``small_before`` and ``small_after`` (regions in space below the threshold).
    """

    places: np.ndarray
    before: np.ndarray
    after: np.ndarray
    per_label: dict

    def slices(self, n_most: int) -> list[int]:
        """Indices of the slices along the third axis with most changes, those first."""
        index, counts = np.unique(self.places[:, 2], return_counts=True)
        return index[np.argsort(-counts, kind="stable")][:n_most].tolist()

    def in_slice(self, z: int) -> "Changes":
        """The changes of one slice, without the counts per label."""
        chosen = self.places[:, 2] == z
        return Changes(self.places[chosen], self.before[chosen], self.after[chosen], {})


def find(before: np.ndarray, after: np.ndarray, zooms, region_volume_thresh: float) -> Changes:
    """Compare a mask before and after denoising.

    Parameters
    ----------
    before, after : (X, Y, Z) uint8
    zooms : (3,) float32, mm
    region_volume_thresh : float, mm^3
        Regions strictly below it are small.

    Returns
    -------
    Changes

    Raises
    ------
    DatasetError
        The masks have different shapes.

    Notes
    -----
    An island is an 8-connected region of a label in one slice of the mask before; it counts as
    removed when none of its pixels kept the label. Where most of its pixels went to another label
    than the background, a hole of that label was filled, also when the region had been background.
    """
    if before.shape != after.shape:
        raise errors.DatasetError(
            f"shapes {before.shape} before and {after.shape} after denoising differ",
            code="shape",
            expected=after.shape,
            found=before.shape,
        )
    places, tally = [np.zeros((0, 3), np.int64)], np.zeros((4, 256), np.int64)
    for z in range(after.shape[2]):
        x, y = np.nonzero(before[:, :, z] != after[:, :, z])
        if x.size:
            places.append(np.stack([x, y, np.full(x.size, z)], axis=1))
            tally[2:] += _regions_gone(before[:, :, z], after[:, :, z])
    places = np.concatenate(places)
    old, new = before[tuple(places.T)], after[tuple(places.T)]
    tally[0], tally[1] = (np.bincount(side, minlength=256) for side in (old, new))
    small = [_small(mask, zooms, region_volume_thresh) for mask in (before, after)]
    keys = ("lost", "gained", "islands_removed", "holes_filled", "small_before", "small_after")
    table = np.stack([*tally, *small], axis=1)
    return Changes(
        places,
        old,
        new,
        {
            int(value): dict(zip(keys, table[value].tolist()))
            for value in np.flatnonzero(table.any(axis=1))
        },
    )


def _small(mask, zooms, threshold):
    found = regions.find_small_regions(mask, zooms, threshold)
    return np.bincount(found.label, minlength=256)


def _regions_gone(before, after):
    """(2, 256) islands removed and holes filled in one slice."""
    components, n_regions = regions.connect(before)
    kept = np.bincount(components[before == after], minlength=n_regions + 1)[1:] > 0
    gone = np.flatnonzero(~kept) + 1
    found = np.zeros((2, 256), np.int64)
    for region in gone:
        pixels = components == region
        new = np.bincount(after[pixels]).argmax()
        found[0, before[pixels][0]] += 1
        found[1, new] += 1
    found[:, 0] = 0  # background that was filled is a hole of the label it went to
    return found


def small_regions(mask: np.ndarray, zooms, region_volume_thresh: float) -> int:
    """Count the small regions of all labels, the background included."""
    return len(regions.find_small_regions(mask, zooms, region_volume_thresh))

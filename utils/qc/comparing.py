"""Numbers of one sample beside those of its group: medians, limits, where an organ should be."""

from collections.abc import Sequence

import numpy as np

# Fewer samples than this in a group, the one looked at included, are no yardstick.
LEAST_GROUP = 8
LEAST_OTHERS = 4
# "Far": so many robust standard deviations (1.4826 x MAD, at least a floor) off the median.
FAR = 4.0
_MAD_TO_SD = 1.4826
_LEAST_NEIGHBOURS = 3


def limits(values: np.ndarray, floor: float) -> tuple[float, float]:
    """Median of some numbers, and how far from it is far; the floor is a standard deviation."""
    middle = float(np.median(values))
    spread = _MAD_TO_SD * float(np.median(np.abs(values - middle)))
    return middle, FAR * max(spread, floor)


def log_limits(values: np.ndarray, floor: float) -> tuple[float, float, float]:
    """Lower limit, median and upper limit by the logarithms of some numbers."""
    middle, limit = limits(np.log(values), floor)
    return float(np.exp(middle - limit)), float(np.exp(middle)), float(np.exp(middle + limit))


def offsets(centres: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
    """How far an organ lies from where it should, beside the other organs of its sample.

    Off by: the median, over the other organs, of how much the way from them to it differs from
    the group's median way. One misplaced organ thus does not make the others look misplaced.

    Parameters
    ----------
    centres : (samples, organs, 3) float, mm
        NaN where a sample does not show an organ whole.
    column : int
        The organ that is looked at.

    Returns
    -------
    (samples,) bool
        Which samples have enough other organs; all False where too few have.
    (n, 3) float, mm
        Of these.
    """
    ways = _ways(centres, column, LEAST_GROUP)
    has_enough = np.isfinite(ways[:, :, 0]).sum(axis=1) >= _LEAST_NEIGHBOURS
    if has_enough.sum() < LEAST_GROUP:
        return np.zeros(len(centres), bool), np.empty((0, 3))
    ways = ways[:, np.isfinite(ways[has_enough][:, :, 0]).any(axis=0)]
    off_mm = np.nanmedian(ways[has_enough] - np.nanmedian(ways[has_enough], axis=0), axis=1)
    return has_enough, off_mm


def expected_places(centres: np.ndarray, column: int) -> np.ndarray:
    """Where the organ of a column should lie in each sample, (samples, 3) mm, by its other organs.

    `centres` is that of `offsets`. NaN where too few organs, or samples that show it, are there.
    """
    ways = _ways(centres, column, LEAST_OTHERS)
    known = np.isfinite(ways[:, :, 0]).any(axis=0)
    expected = np.full((len(centres), 3), np.nan)
    if known.any():
        neighbours = np.delete(centres, column, axis=1)[:, known]
        places = neighbours + np.nanmedian(ways[:, known], axis=0)
        has_enough = np.isfinite(places[:, :, 0]).sum(axis=1) >= _LEAST_NEIGHBOURS
        expected[has_enough] = np.nanmedian(places[has_enough], axis=1)
    return expected


def _ways(centres, column, n_least):
    """From each other organ to this one; NaN where fewer than so many samples show both."""
    ways = centres[:, column, None] - np.delete(centres, column, axis=1)
    usable = np.isfinite(ways[:, :, 0]).sum(axis=0) >= n_least
    return np.where(usable[None, :, None], ways, np.nan)


def is_inside(
    place: np.ndarray, radius_mm: float, shape: Sequence[int], affine: np.ndarray
) -> bool:
    """Whether an image, (4, 4) affine, holds a ball about a place, mm, whole."""
    index = voxel(place, affine)
    # Of a tilted grid, too: how many voxels a way of this length is at most along each axis.
    reach = radius_mm * np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    return bool((index - reach >= -0.5).all() and (index + reach <= np.array(shape) - 0.5).all())


def voxel(place: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the voxel index, (3,) float, of a place in RAS+ mm."""
    return np.linalg.solve(affine[:3, :3], np.asarray(place, np.float64) - affine[:3, 3])


def ball_radius_mm(volume_ml: float) -> float:
    """Radius of a ball of this volume."""
    return float(np.cbrt(volume_ml * 1000 * 3 / (4 * np.pi)))

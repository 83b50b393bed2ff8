"""Whether a mask lies where its volume's organs are: contours against edges, tissue against air."""

import itertools
from dataclasses import dataclass

import numpy as np

# How far the mask is moved about; organs of a neighbour come within reach beyond that.
REACH_MM = 30.0
# A mask is called shifted when it fits at least this far away, this much better than in place.
SHIFT_MM = 5.5
GAIN = 1.2
# Moves are tried in steps of this length first, then voxel by voxel about the best of them.
_STEP_MM = 6.0
# Fewer contour voxels than this say nothing.
_LEAST_VOXELS = 300
_MOST_VOXELS = 4000


@dataclass(frozen=True)
class Fit:
    """Where a mask fits its volume best.

    Attributes
    ----------
    shift_mm : (3,) float
        How the mask had to be moved, along the array axes.
    gain : float
        Mean edge strength under the moved contours over that under the contours in place.
    """

    shift_mm: tuple[float, ...]
    gain: float

    @property
    def is_shifted(self) -> bool:
        """Whether the mask fits clearly better elsewhere."""
        return bool(np.linalg.norm(self.shift_mm) >= SHIFT_MM and self.gain >= GAIN)


def find_fit(
    volume: np.ndarray, mask: np.ndarray, spacing: np.ndarray, window: tuple[float, float]
) -> Fit | None:
    """Look for the move of a mask that brings its contours onto the edges of the volume.

    Parameters
    ----------
    volume, mask : (X, Y, Z) float32 and uint8
        Coarse ones are enough: some 3 mm a voxel.
    spacing : (3,) float, mm
    window : (float, float)
        Values outside are clipped, so that bone and air do not outshine the organs.

    Returns
    -------
    Fit or None
        None where the contours are too few to tell.

    Notes
    -----
    Edge strength is |n . g|, g being the volume's gradient and n the contour's direction, the
    unit gradient of the smoothed mask. Moves up to `REACH_MM` along the three axes together are
    tried; contour voxels that leave the grid count as no edge.
    """
    from scipy import ndimage as ndi

    foreground = (mask > 0).astype(np.float32)
    smooth = ndi.gaussian_filter(foreground, 1.0)
    # The whole outline, the border between two touching organs left out: it is often invisible.
    contour = np.flatnonzero((smooth > 0.3) & (smooth < 0.7))
    if contour.size < _LEAST_VOXELS or min(mask.shape) < 5:
        return None
    contour = contour[:: -(-contour.size // _MOST_VOXELS)]
    places = np.stack(np.unravel_index(contour, mask.shape))
    normals = np.stack([axis[tuple(places)] for axis in np.gradient(smooth, *spacing)])
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-6)
    clipped = ndi.gaussian_filter(np.clip(volume, *window), 0.7)
    reach = [min(int(REACH_MM / step), length - 2) for step, length in zip(spacing, mask.shape)]
    rims = [(n, n) for n in reach]
    edges = [np.pad(axis, rims).ravel() for axis in np.gradient(clipped, *spacing)]
    return _best(edges, places, normals, reach, mask.shape, spacing)


def _best(edges, places, normals, reach, shape, spacing):
    padded = [length + 2 * n for length, n in zip(shape, reach)]
    start = np.ravel_multi_index([axis + n for axis, n in zip(places, reach)], padded)
    strides = padded[1] * padded[2], padded[2], 1

    def score(move):
        there = start + sum(n * stride for n, stride in zip(move, strides))
        return float(np.abs(sum(n * axis[there] for n, axis in zip(normals, edges))).mean())

    steps = [max(1, round(_STEP_MM / step)) for step in spacing]
    grid = (range(-(n // step) * step, n + 1, step) for n, step in zip(reach, steps))
    rough = max(itertools.product(*grid), key=score)
    around = (
        range(max(place - step, -n), min(place + step, n) + 1)
        for place, step, n in zip(rough, steps, reach)
    )
    in_place = score((0, 0, 0))
    best = max([(0, 0, 0), *itertools.product(*around)], key=score)
    shift_mm = tuple(float(n * step) for n, step in zip(best, spacing))
    return Fit(shift_mm, score(best) / in_place if in_place > 0 else 1.0)

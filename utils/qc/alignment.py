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
# So many voxels further than the labels and their moves the filters look, at most.
_RIM = 8


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

    if min(mask.shape) < 5 or not mask.any():
        return None
    reach = [min(int(REACH_MM / step), length - 2) for step, length in zip(spacing, mask.shape)]
    box = _within_reach(mask, reach)
    foreground = (mask[box] > 0).astype(np.float32)
    smooth = ndi.gaussian_filter(foreground, 1.0)
    # The whole outline, the border between two touching organs left out: it is often invisible.
    contour = np.flatnonzero((smooth > 0.3) & (smooth < 0.7))
    if contour.size < _LEAST_VOXELS:
        return None
    contour = contour[:: -(-contour.size // _MOST_VOXELS)]
    places = np.stack(np.unravel_index(contour, smooth.shape))
    normals = np.stack([_slope(smooth, places, axis, spacing[axis]) for axis in range(3)])
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-6)
    clipped = ndi.gaussian_filter(np.clip(np.ascontiguousarray(volume[box]), *window), 0.7)
    rims = [(n, n) for n in reach]
    edges = [np.pad(axis, rims).ravel() for axis in np.gradient(clipped, *spacing)]
    return _best(edges, places, normals, reach, smooth.shape, spacing)


def _slope(data, places, axis, step):
    """What numpy.gradient gives along an axis, at some places."""
    after, before = places.copy(), places.copy()
    after[axis] = np.minimum(places[axis] + 1, data.shape[axis] - 1)
    before[axis] = np.maximum(places[axis] - 1, 0)
    rise = data[tuple(after)] - data[tuple(before)]
    return (rise / ((after[axis] - before[axis]) * step)).astype(data.dtype)


def _within_reach(mask, reach):
    """The part of the grid that has to do with it: the labels, their moves, what filters see."""
    box = []
    for axis, n in enumerate(reach):
        others = tuple({0, 1, 2} - {axis})
        filled = np.flatnonzero(mask.any(axis=others)).tolist()
        box.append(slice(max(0, filled[0] - n - _RIM), filled[-1] + 1 + n + _RIM))
    return tuple(box)


def _best(edges, places, normals, reach, shape, spacing):
    padded = [length + 2 * n for length, n in zip(shape, reach)]
    start = np.ravel_multi_index([axis + n for axis, n in zip(places, reach)], padded)
    strides = padded[1] * padded[2], padded[2], 1
    first = start.min()
    start -= first
    total, part = np.empty((2, start.size), np.float32)

    def score(move):
        # Thousands of moves are tried: no array is made anew.
        offset = first + sum(n * stride for n, stride in zip(move, strides))
        total.fill(0)
        for normal, edge in zip(normals, edges):
            edge[offset:].take(start, out=part, mode="clip")
            np.multiply(part, normal, out=part)
            np.add(total, part, out=total)
        return float(np.float32(np.add.reduce(np.abs(total, out=total)) / total.size))

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

"""Slices to look at: which ones, how they stand upright, and reading them out of a stream."""

from dataclasses import dataclass, field

import numpy as np

from utils.arrays import geometry
from utils.storage import nifti

# World axis (RAS) that a slice lies across -> name of its plane.
_PLANES = ("sagittal", "coronal", "axial")
# Plane -> letters at the right and at the lower edge; the patient's left is on the right.
_EDGES = {"axial": "LP", "coronal": "LI", "sagittal": "PI"}
_COARSE_MM = 3.0


@dataclass(frozen=True)
class View:
    """How slices across one array axis are shown.

    Attributes
    ----------
    plane : str
        ``axial``, ``coronal`` or ``sagittal``: the nearest one of an oblique grid.
    axis : int
        Array axis that the slices lie across.
    rows, columns : int
        Array axes that run down and across the picture.
    flipped : (bool, bool)
        Whether they run against their array axes.
    letters : str
        Those at the left, right, upper and lower edge.
    box : (slice, slice)
        Rows and columns of the upright picture that are shown.
    """

    plane: str
    axis: int
    rows: int
    columns: int
    flipped: tuple[bool, bool]
    letters: str
    box: tuple[slice, slice] = (slice(None), slice(None))

    def upright(self, plane: np.ndarray) -> np.ndarray:
        """Turn a slice, its array axes in ascending order, into the picture that is shown."""
        picture = plane if self.rows < self.columns else plane.T
        down, across = (-1 if against else 1 for against in self.flipped)
        return picture[::down, ::across][self.box]

    def cut(self, data: np.ndarray, index: int) -> np.ndarray:
        """Take one upright slice out of an array."""
        return self.upright(one_slice(data, self.axis, index))


def one_slice(data: np.ndarray, axis: int, index: int) -> np.ndarray:
    """View of one slice; numpy.take would copy a whole array in Fortran order first."""
    return data[(slice(None),) * axis + (index,)]


def views(affine: np.ndarray) -> dict[str, View]:
    """Work out how axial, coronal and sagittal slices stand upright, in radiological convention.

    >>> views(np.diag([1.0, 1.0, 1.0, 1.0]))["axial"].flipped  # from RAS: up-down and left-right
    (True, True)
    """
    codes = geometry.axis_codes(affine)
    # Array axis that runs along the line through a letter and its opposite.
    axis_of = {
        end: axis for axis, code in enumerate(codes) for end in code + geometry.opposite(code)
    }
    found = {}
    for axis, code in enumerate(codes):
        plane = _PLANES["RLAPSI".index(code) // 2]
        right, low = tuple(_EDGES[plane])
        columns, rows = axis_of[right], axis_of[low]
        flipped = codes[rows] != low, codes[columns] != right
        letters = geometry.opposite(right) + right + geometry.opposite(low) + low
        found[plane] = View(plane, axis, rows, columns, flipped, letters)
    return found


def coarse_steps(spacing: np.ndarray) -> tuple[int, ...]:
    """Every how many voxels a grid is looked at for rough measures, about 3 mm apart."""
    return tuple(max(1, int(_COARSE_MM / step + 1e-6)) for step in spacing)


def coarse(data: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    """View of every n-th voxel along each axis."""
    return data[:: steps[0], :: steps[1], :: steps[2]]


def areas(mask: np.ndarray, axis: int) -> np.ndarray:
    """Count the voxels of every label, but the background, in every slice across an axis.

    Returns
    -------
    (n, 256) int64
        Slices, labels.
    """
    n_slices = mask.shape[axis]
    places = np.nonzero(mask)
    keys = places[axis] * 256 + mask[places]
    return np.bincount(keys, minlength=n_slices * 256).reshape(n_slices, 256)


def choose(slice_areas: np.ndarray, n_slices: int) -> list[int]:
    """Choose slices, at most so many, that together show every label near its largest.

    Parameters
    ----------
    slice_areas : (n, 256) int
        See `areas`; the background's column is not looked at.
    n_slices : int

    Returns
    -------
    list of int
        In the order of their worth; of an empty mask slices evenly apart, the middle ones first.

    Notes
    -----
    Greedy: each next slice adds most to the sum over labels of the largest share of the label's
    largest area that any chosen slice has.
    """
    length = len(slice_areas)
    shares = slice_areas[:, 1:] / np.maximum(slice_areas[:, 1:].max(axis=0), 1)
    if not shares.any():
        evenly = {length * (2 * k + 1) // (2 * n_slices) for k in range(n_slices)}
        return sorted(evenly, key=lambda index: (abs(2 * index - length), index))
    chosen: list[int] = []
    best = np.zeros(shares.shape[1])
    for _ in range(min(n_slices, length)):
        worth = np.maximum(shares, best).sum(axis=1)
        worth[chosen] = -1
        # Neighbours of the same worth: the middle one shows more than an edge.
        candidates = np.flatnonzero(worth >= worth.max() - 1e-9)
        chosen.append(int(candidates[len(candidates) // 2]))
        best = np.maximum(best, shares[chosen[-1]])
    return chosen


@dataclass
class Reading:
    """What was kept of a volume.

    Attributes
    ----------
    coarse : (X', Y', Z') float32
        Every n-th voxel.
    planes : dict of (int, int) to array
        (array axis, index) to the slice, its array axes in ascending order.
    lowest, highest : float
        Of all voxels.
    """

    coarse: np.ndarray
    planes: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    lowest: float = np.inf
    highest: float = -np.inf


def read(header: nifti.Header, wanted: dict[int, list[int]], steps: tuple[int, ...]) -> Reading:
    """Read single slices, a coarse volume and the range of values in one pass.

    The whole is never in memory. `wanted` maps array axes to indices; for `steps` see
    `coarse_steps`. Values are scaled; what is not finite counts as 0. DamagedFileError where the
    file is damaged.
    """
    shape = header.shape
    kept = Reading(np.empty([-(-n // step) for n, step in zip(shape, steps)], np.float32))
    for axis, indices in wanted.items():
        size = np.delete(shape, axis)
        kept.planes.update({(axis, index): np.empty(size, np.float32) for index in indices})
    for z, plane in _slices(header):
        kept.lowest = min(kept.lowest, float(plane.min()))
        kept.highest = max(kept.highest, float(plane.max()))
        if z % steps[2] == 0:
            kept.coarse[:, :, z // steps[2]] = plane[:: steps[0], :: steps[1]]
        for (axis, index), picture in kept.planes.items():
            if axis < 2:
                picture[:, z] = one_slice(plane, axis, index)
            elif index == z:
                picture[:] = plane
    return kept


def _slices(header):
    """Yield (index, slice) along the third axis; the slice's memory is used again."""
    rows, columns, _ = header.shape
    flat = np.empty(rows * columns, np.float32)
    z = filled = 0
    for chunk in nifti.voxel_chunks(header):
        while chunk.size:
            part, chunk = np.split(chunk, [flat.size - filled])
            with np.errstate(over="ignore", invalid="ignore"):
                flat[filled : filled + part.size] = (
                    part * np.float64(header.slope) + header.inter if header.is_scaled else part
                )
            filled += part.size
            if filled == flat.size:
                np.nan_to_num(flat, copy=False, posinf=0, neginf=0)
                yield z, flat.reshape((rows, columns), order="F")
                z, filled = z + 1, 0

"""Slices to look at: which ones, how they stand upright, and reading them out of a stream."""

from dataclasses import dataclass, field

import numpy as np

from utils.arrays import geometry
from utils.storage import nifti

# World axis (RAS) that a slice lies across -> name of its plane.
_PLANES = ("sagittal", "coronal", "axial")
# Plane -> letters at the right and at the lower edge; the patient's left is on the right.
_EDGES = {"axial": "LP", "coronal": "LI", "sagittal": "PI"}
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS"))
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
    letters : (4,) str
        At the left, right, upper and lower edge.
    """

    plane: str
    axis: int
    rows: int
    columns: int
    flipped: tuple
    letters: tuple

    def upright(self, plane: np.ndarray) -> np.ndarray:
        """Turn a slice, its array axes in ascending order, into the picture's rows and columns."""
        picture = plane if self.rows < self.columns else plane.T
        return picture[:: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1]

    def cut(self, data: np.ndarray, index: int) -> np.ndarray:
        """Take one upright slice out of an array."""
        return self.upright(one_slice(data, self.axis, index))


def one_slice(data: np.ndarray, axis: int, index: int) -> np.ndarray:
    """View of one slice; numpy.take would copy a whole array in Fortran order first."""
    return data[(slice(None),) * axis + (index,)]


def views(affine: np.ndarray) -> dict[str, View]:
    """Work out how the slices of a grid stand upright, in radiological convention.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.

    Returns
    -------
    dict of str to View
        ``axial``, ``coronal`` and ``sagittal``.

    Examples
    --------
    >>> views(np.diag([1.0, 1.0, 1.0, 1.0]))["axial"].flipped  # from RAS: up-down and left-right
    (True, True)
    """
    letters = [end for _, end in axis_letters(affine)]
    found = {}
    for axis, letter in enumerate(letters):
        plane = _PLANES["RLAPSI".index(letter) // 2]
        right, low = _EDGES[plane]
        columns, rows = (_axis_of(letters, edge) for edge in (right, low))
        found[plane] = View(
            plane,
            axis,
            rows,
            columns,
            (letters[rows] != low, letters[columns] != right),
            (_OPPOSITE[right], right, _OPPOSITE[low], low),
        )
    return found


def axis_letters(affine: np.ndarray) -> list[tuple[str, str]]:
    """Return the letters at the start and at the end of each voxel axis, oblique or not."""
    start, end = (code.rstrip(")")[-3:] for code in geometry.orientation_codes(affine))
    return list(zip(start, end))


def _axis_of(letters, edge):
    return next(axis for axis, letter in enumerate(letters) if letter in (edge, _OPPOSITE[edge]))


def coarse_steps(spacing) -> tuple[int, int, int]:
    """Every how many voxels a grid is looked at for rough measures, about 3 mm apart."""
    return tuple(max(1, int(_COARSE_MM / step + 1e-6)) for step in spacing)


def coarse(data: np.ndarray, steps) -> np.ndarray:
    """View of every n-th voxel along each axis."""
    return data[:: steps[0], :: steps[1], :: steps[2]]


def areas(mask: np.ndarray, axis: int) -> np.ndarray:
    """Count the voxels of every label in every slice.

    Parameters
    ----------
    mask : (X, Y, Z) uint8
    axis : int
        Across which the slices lie.

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
    """Choose slices that together show every label near its largest.

    Parameters
    ----------
    slice_areas : (n, 256) int
        See `areas`; the background's column is not looked at.
    n_slices : int
        How many at most.

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
    chosen, best = [], np.zeros(shares.shape[1])
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
    """

    coarse: np.ndarray
    planes: dict = field(default_factory=dict)


def read(header: nifti.Header, wanted: dict[int, list[int]], steps) -> Reading:
    """Read single slices and a coarse volume in one pass; the whole is never in memory.

    Parameters
    ----------
    header : nifti.Header
    wanted : dict of int to list of int
        Array axis to indices.
    steps : (3,) int
        See `coarse_steps`.

    Returns
    -------
    Reading
        Values scaled; what is not finite counts as 0.

    Raises
    ------
    DamagedFileError
        The file is damaged.
    """
    shape = header.shape
    kept = Reading(np.empty([-(-n // step) for n, step in zip(shape, steps)], np.float32))
    for axis, indices in wanted.items():
        size = [n for other, n in enumerate(shape) if other != axis]
        kept.planes.update({(axis, index): np.empty(size, np.float32) for index in indices})
    for z, plane in _slices(header):
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

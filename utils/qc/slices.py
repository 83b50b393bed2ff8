"""Slices to look at: which ones, and how they stand upright."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.arrays import geometry

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


def middle(inside: np.ndarray, spacing: Sequence[float]) -> list[int]:
    """Index of that True of an array, of any, which is nearest to the centre of them all."""
    places = np.argwhere(inside)
    off = np.square((places - places.mean(axis=0)) * spacing).sum(axis=1)
    return places[np.argmin(off)].tolist()


def areas(mask: np.ndarray) -> list[np.ndarray]:
    """Count the voxels of every label, but the background, in every slice across each axis.

    Returns
    -------
    list of (n, 256) int64
        For each axis: slices, labels.
    """
    places = np.nonzero(mask)
    labels = mask[places]
    return [
        np.bincount(index * 256 + labels, minlength=n * 256).reshape(n, 256)
        for n, index in zip(mask.shape, places)
    ]


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

"""The viewer's grid: a scan made small enough for a browser, voxels of a slice put into bins."""

import functools
from dataclasses import dataclass

import numpy as np

# Binned no further than to so many along an axis, where the scan has them.
_LEAST = 256


@dataclass(frozen=True)
class Grid:
    """How many voxels along each axis make one of the viewer's.

    Attributes
    ----------
    shape : (3,) int
        Of the scan.
    bins : (3,) int
        Voxels along each axis that go into one; the last bin of an axis may hold fewer.
    across : int
        Array axis across the slices; its bins hold one each.
    """

    shape: tuple[int, int, int]
    bins: tuple[int, ...]
    across: int

    @classmethod
    def of(cls, shape: tuple[int, int, int], across: int) -> "Grid":
        """Make the grid of a scan whose slices lie across an array axis."""
        bins = (1 if axis == across else max(1, n // _LEAST) for axis, n in enumerate(shape))
        return cls(shape, tuple(bins), across)

    @property
    def size(self) -> tuple[int, ...]:
        """The viewer's voxels along each axis."""
        return tuple(-(-length // n) for length, n in zip(self.shape, self.bins))

    def add(self, total: np.ndarray, plane: np.ndarray, z: int) -> None:
        """Add a scan's slice along its third axis to `total`, `size` float32 that began as zeros.

        Once all slices are added it holds the mean of every bin.
        """
        deep = self.bins[2]
        k = z // deep
        n_planes = min(deep, self.shape[2] - k * deep)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = _joined(plane, self.bins, np.add)
            total[:, :, k] += sums / (self._counts * np.float32(n_planes))

    @functools.cached_property
    def _counts(self):
        """How many pixels of a slice go into each bin."""
        return _joined(np.ones(self.shape[:2], np.float32, order="F"), self.bins, np.add)

    def labels(self, mask: np.ndarray) -> np.ndarray:
        """Bin a mask of the scan's shape, (X, Y, Z) uint8: `size` uint8, in Fortran order.

        Each bin gets the label of its first voxel; where that is background, the largest label in
        the bin, so that an island of a single voxel is still seen.
        """
        binned = np.zeros(self.size, np.uint8, order="F")
        bins = np.delete(self.bins, self.across).tolist()
        planes, found = (np.moveaxis(data, self.across, 0) for data in (mask, binned))
        flat = planes.max(axis=0)
        if not flat.any():
            return binned
        filled = (np.flatnonzero(flat.any(axis=1 - axis)) // n for axis, n in enumerate(bins))
        ends = [(int(places[0]), int(places[-1]) + 1) for places in filled]
        to = tuple(slice(start, stop) for start, stop in ends)
        of = tuple(slice(start * n, stop * n) for n, (start, stop) in zip(bins, ends))
        # Slice by slice: what is made in between stays small.
        for plane, target in zip(planes, found):
            part = plane[of]
            first = part[:: bins[0], :: bins[1]]
            target[to] = np.where(first, first, _joined(part, bins, np.maximum))
        return binned


def _joined(plane, bins, join):
    """The pixels of each bin of a slice, (X, Y), joined to one."""
    for axis in (1, 0):  # the second first: pixels that lie beside each other are joined faster
        n = bins[axis]
        if n > 1:
            moved = np.moveaxis(plane, axis, 0)
            joined = moved[::n].copy(order="K")
            for k in range(1, n):
                part = moved[k::n]
                join(joined[: len(part)], part, out=joined[: len(part)])
            plane = np.moveaxis(joined, 0, axis)
    return plane

"""Connected regions of a mask: all labels at once, their size and their centre."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from utils import errors

# Voxels labelled at a time: 8 slices of 512 x 512. Labelling takes up to 20 bytes a voxel, so
# that a slab of noise stays below 100 MB; smaller slabs relabel their shared slice more often.
SLAB_VOXELS = 8 * 512 * 512

_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Regions:
    """Connected regions of a mask, one entry of each array per region.

    Attributes
    ----------
    label : (n,) uint8
    voxels : (n,) int64
    centroid : (n, 3) float64, voxel coordinates
        Mean voxel index along each array axis.
    volume_mm3 : (n,) float64
    """

    label: np.ndarray
    voxels: np.ndarray
    centroid: np.ndarray
    volume_mm3: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Frame:
    """A mask without its empty margin, see `trim`.

    Attributes
    ----------
    mask : (X', Y', Z) uint8
        View of the part that was kept.
    start : (2,) tuple of int
        Index of the first kept voxel along the first two axes.
    low, high : int
        Voxels cut off at the low and at the high ends; they are connected with the kept voxels
        (0, 0) and (-1, -1) of every slice. 0 if nothing was cut off there.
    """

    mask: np.ndarray
    start: tuple[int, int]
    low: int
    high: int


def check_sizes(zooms: ArrayLike, threshold: float) -> None:
    """Refuse a stored spacing, mm, that is not positive, and a negative or undefined threshold.

    By a DatasetError. Infinity is a threshold.
    """
    spacing = np.asarray(zooms, dtype=np.float64)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        found, expected = spacing.tolist(), "positive numbers"
        reason = f"stored voxel spacing {found} mm: {expected} expected"
        raise errors.DatasetError(reason, code="spacing", expected=expected, found=found)
    if not threshold >= 0:
        reason = f"threshold {threshold} for the size of small regions: 0 or more expected"
        raise errors.DatasetError(reason, code="parameter", expected="0 or more", found=threshold)


def measure(counts: ArrayLike, zooms: Iterable[float]) -> np.ndarray:
    """Size of regions from their number of pixels or voxels.

    Parameters
    ----------
    counts : int or (n,) int
    zooms : (2,) or (3,) float, mm
        Spacing along the axes that count: two for areas, mm^2, three for volumes, mm^3.

    Notes
    -----
    Multiplied from left to right in double precision, so that every caller compares the same
    doubles with a threshold: 250 voxels of 0.4 mm3, stored as float32, come out above 100 mm3.
    The size never falls as the count grows, since rounding is monotonic.
    """
    size = np.asarray(counts, dtype=np.float64)
    for zoom in zooms:
        size = size * np.float64(zoom)
    return size


def connect(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the connected regions of all labels in one pass, label 0 like any other.

    Parameters
    ----------
    mask : (X, Y) or (X, Y, Z) uint8

    Returns
    -------
    components : same shape, unsigned int, Fortran order
        Number of the region that each element belongs to, from 1.
    n_regions : int

    Notes
    -----
    8-connected in a plane, 26-connected in a volume: corners touch.
    """
    import cc3d

    # cc3d leaves zeros out, so all labels move up by one; 255 needs a wider type for that.
    wide = np.uint16 if mask.max(initial=0) == 255 else np.uint8
    raised = np.add(mask, 1, dtype=wide, order="F")
    return cc3d.connected_components(
        raised, connectivity=8 if mask.ndim == 2 else 26, return_N=True
    )


@dataclass(frozen=True)
class Runs:
    """Stretches of one region in an array of region numbers that is read in Fortran order.

    Masks have few of them: counting runs is several times faster than counting elements.

    Attributes
    ----------
    start, length : (n,) int64
        Place of the first element and number of elements.
    region : (n,) unsigned int
        Number of the region.
    """

    start: np.ndarray
    length: np.ndarray
    region: np.ndarray

    def count(self, n_numbers: int) -> np.ndarray:
        """(n_numbers,) int64, elements of each region."""
        counts = np.bincount(self.region, weights=self.length, minlength=n_numbers)
        return counts.astype(np.int64)

    def expand(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of all elements of the `chosen` regions (bool), ascending, and their regions."""
        runs = chosen[self.region]
        length = self.length[runs]
        skipped = self.start[runs] - (np.cumsum(length) - length)
        places = np.repeat(skipped, length) + np.arange(length.sum())
        return places, np.repeat(self.region[runs], length)


def find_runs(components: np.ndarray) -> Runs:
    """Split an array of region numbers, not empty, into its runs.

    >>> find_runs(np.array([[1, 2], [1, 3]])).length.tolist()
    [2, 1, 1]
    """
    numbers = components.ravel(order="F")
    start = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
    return Runs(start, np.diff(start, append=numbers.size), numbers[start])


def join(n_items: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Lowest member of the group of each item, where first[k] and second[k] belong together.

    >>> join(5, np.array([4, 1]), np.array([2, 4])).tolist()
    [0, 1, 1, 3, 1]
    """
    root = np.arange(n_items)
    while True:
        one, other = root[first], root[second]
        apart = one != other
        if not apart.any():
            return root
        first, second = first[apart], second[apart]
        low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        np.minimum.at(root, high, low)
        root = _follow(root)


def _follow(root):
    """Replace every reference by the end of its chain."""
    while True:
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further


def trim(mask: np.ndarray, zooms: np.ndarray, threshold: float) -> Frame:
    """Cut the empty margin off the first two axes where that cannot matter.

    Parameters
    ----------
    mask : (X, Y, Z) uint8
    zooms : (2,) or (3,) float, mm
        Two where single slices are looked at, three for the volume.
    threshold : float, mm^2 or mm^3
        Regions of this size or larger need not be measured.

    Notes
    -----
    A layer of background stays at each side that is cut, and a side is cut only where what goes
    is not small by itself. What goes is one piece of background that touches this whole layer,
    hence every region that touches the layer is background and not small.
    """
    depth = mask.shape[2] if len(zooms) == 3 else 1
    occupied = mask.max(axis=2, initial=0)
    keep, low, high = [], 0, 0
    for axis in (0, 1):
        length = mask.shape[axis]
        layer = mask.shape[1 - axis] * depth
        filled = np.flatnonzero(occupied.any(axis=1 - axis))
        start = max(filled[0] - 1, 0) if filled.size else 0
        stop = min(filled[-1] + 2, length) if filled.size else length
        start = 0 if measure(start * layer, zooms) < threshold else int(start)
        stop = length if measure((length - stop) * layer, zooms) < threshold else int(stop)
        keep.append(slice(start, stop))
        low += start * layer
        high += (length - stop) * layer
    return Frame(mask[keep[0], keep[1]], (keep[0].start, keep[1].start), low, high)


def find_small_regions(mask: np.ndarray, zooms: np.ndarray, region_volume_thresh: float) -> Regions:
    """Find all small connected regions of all labels, the background included.

    Parameters
    ----------
    mask : (X, Y, Z) uint8
        Any memory order; Fortran order is the fast one.
    zooms : (3,) float32, mm
        Spacing as stored in the header.
    region_volume_thresh : float, mm^3

    Returns
    -------
    Regions
        By label, then by the place of the region's first voxel in Fortran order.

    Notes
    -----
    The regions of label i are the 26-connected components of the voxels equal to i; small means
    strictly below the threshold. The volume is labelled slab by slab. Neighbouring slabs share
    one slice, so that two of their pieces belong to one region exactly where they share a voxel;
    a shared slice counts for the earlier slab only. What `check_sizes` refuses is refused.
    """
    check_sizes(zooms, region_volume_thresh)
    frame = trim(mask, zooms, region_volume_thresh)
    pieces, pairs = _label_slabs(frame, lambda n: measure(n, zooms) < region_volume_thresh)
    total = len(pieces.voxels)
    root = join(total, *pairs)
    # Sums in double precision are exact: indices add up to far less than 2**53.
    voxels = np.bincount(root, weights=pieces.voxels, minlength=total).astype(np.int64)
    first = np.full(total, _NOWHERE)
    np.minimum.at(first, root, pieces.first)
    volume_mm3 = measure(voxels, zooms)
    small = np.flatnonzero((root == np.arange(total)) & (volume_mm3 < region_volume_thresh))
    small = small[np.lexsort((first[small], pieces.label[small]))]
    centroid = np.empty((small.size, 3))
    for axis, start in enumerate((*frame.start, 0)):
        sums = np.bincount(root, weights=pieces.sums[axis], minlength=total)[small]
        # Added before the division, which then rounds as it would without the frame.
        centroid[:, axis] = (sums + start * voxels[small]) / voxels[small]
    return Regions(pieces.label[small], voxels[small], centroid, volume_mm3[small])


@dataclass(frozen=True)
class _Pieces:
    """Parts of regions within slabs; of large parts only `voxels` is filled in."""

    label: np.ndarray  # (n,) uint8
    voxels: np.ndarray  # (n,) int64
    first: np.ndarray  # (n,) int64, place of the first voxel in the trimmed mask
    sums: np.ndarray  # (3, n) float64, voxel indices added up

    @classmethod
    def none(cls):
        none = np.zeros(0, np.int64)
        return cls(none.astype(np.uint8), none, none, np.zeros((3, 0)))


def _label_slabs(frame, is_small):
    """Pieces of all slabs, and the (2, m) pairs of pieces that belong to one region."""
    rows, columns, depth = frame.mask.shape
    step = max(1, SLAB_VOXELS // max(1, rows * columns))
    slabs, pairs, total, shared = [_Pieces.none()], [np.zeros((2, 0), np.int64)], 0, None
    for start in range(0, depth if frame.mask.size else 0, step):
        overlap = min(start, 1)
        labels = frame.mask[:, :, start - overlap : start + step]
        components, n_pieces = connect(labels)
        components -= 1
        inner, place = (slice(None), slice(None), slice(overlap, None)), start * rows * columns
        slab = _measure_pieces(labels[inner], components[inner], n_pieces, place, is_small)
        if overlap:
            pairs.append(_meet(shared, components[:, :, 0].astype(np.int64) + total))
        else:
            slab.voxels[components[0, 0, 0]] += frame.low
            slab.voxels[components[-1, -1, 0]] += frame.high
        shared = components[:, :, -1].astype(np.int64) + total
        slabs.append(slab)
        total += n_pieces
    parts = ([getattr(slab, field.name) for slab in slabs] for field in fields(_Pieces))
    pieces = _Pieces(*(np.concatenate(part, axis=-1) for part in parts))
    return pieces, np.concatenate(pairs, axis=1)


def _measure_pieces(labels, components, n_pieces, offset, is_small):
    """Measure the pieces of one slab; `offset` is the place of its first voxel."""
    runs = find_runs(components)
    voxels = runs.count(n_pieces)
    label = np.zeros(n_pieces, np.uint8)
    first = np.full(n_pieces, _NOWHERE)
    # A piece that is not small makes its region not small: nobody will ask where it lies.
    where, numbers = runs.expand(is_small(voxels))
    label[numbers] = labels.ravel(order="F")[where]
    where += offset
    np.minimum.at(first, numbers, where)
    rows, columns = labels.shape[:2]
    index = where % rows, where // rows % columns, where // (rows * columns)
    sums = np.stack([np.bincount(numbers, weights=axis, minlength=n_pieces) for axis in index])
    return _Pieces(label, voxels, first, sums)


def _meet(one, other):
    """Pairs of pieces that share a voxel of one slice; runs of the same pair count once."""
    one, other = one.ravel(order="F"), other.ravel(order="F")
    changes = np.ones(one.size, bool)
    changes[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    return np.stack([one[changes], other[changes]])

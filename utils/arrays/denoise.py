"""Slice-wise opening and closing of small regions, and the merge back to one label per voxel.

Exact shortcuts for the literal formula (`find_changes` has it): only pixels of small regions can
change, few slices have any, and what becomes of them follows from their own shape and the slice's
border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import regions

# Slices along another axis than the third are put side by side in slabs of so many: as many voxels
# as a line of the processor's cache holds lie next to each other in a file.
SLAB_SLICES = 64
# Up to so many window pixels in a slice are looked at one by one (some 10 ms); beyond, running
# sums over the slice for each of its labels are cheaper.
GATHER_LIMIT = 1 << 18

_NOBODY = -1  # in a layer: no label claims this pixel

# From a pixel to its eight neighbours.
_STEPS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])


@dataclass(frozen=True)
class _Small:
    """The k small regions of a slice and their n pixels."""

    x: np.ndarray  # (n,) int64, place in the slice
    y: np.ndarray  # (n,) int64
    region: np.ndarray  # (n,) int64, number of the pixel's region, 0 .. k-1
    label: np.ndarray  # (k,) uint8
    n_pixels: np.ndarray  # (k,) int64
    lowest: np.ndarray  # (k,) int64, label of the neighbouring large regions; 256 without any
    highest: np.ndarray  # (k,) int64, the same; -1 without any
    clustered: np.ndarray  # (k,) bool, touches other small regions
    near: np.ndarray  # labels of the neighbours of clustered regions, ascending


def open_close_small_regions(
    mask: np.ndarray,
    zooms: np.ndarray,
    kernel_size: Sequence[float] = (5, 5),
    filter_halfedge: float = 3,
    region_area_thresh: float = 10.0,
    axis: int = 2,
) -> np.ndarray:
    """Denoise a mask slice by slice along one of its axes, as `find_changes` says.

    Returns a new mask in Fortran order.
    """
    parameters = kernel_size, filter_halfedge, region_area_thresh, axis
    indices, values = find_changes(mask, zooms, *parameters)
    denoised = mask.copy(order="F")
    denoised.reshape(-1, order="F")[indices] = values  # of a Fortran array this is a view
    return denoised


def find_changes(
    mask: np.ndarray,
    zooms: np.ndarray,
    kernel_size: Sequence[float] = (5, 5),
    filter_halfedge: float = 3,
    region_area_thresh: float = 10.0,
    axis: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the voxels whose label changes when small regions are opened and closed.

    Parameters
    ----------
    mask : (X, Y, Z) uint8
        Any memory order; Fortran order is the fast one.
    zooms : (3,) float32, mm
        Spacing as stored in the header.
    kernel_size : (2,) int, pixels
        Odd edges of the all-ones kernel along the first and the second of the two axes of a slice.
    filter_halfedge : int, pixels
        f; support is counted in a window of 2 f + 1 pixels squared.
    region_area_thresh : float, mm^2
    axis : int, 0 to 2
        Slices lie along it: one has the other two axes, in their order.

    Returns
    -------
    indices : (n,) int64
        Ascending, into the mask's voxels in Fortran order.
    values : (n,) uint8
        The new labels.

    Raises
    ------
    errors.DatasetError
        For an even or non-positive kernel edge, a negative or fractional window, a negative or
        undefined threshold, a spacing that is not positive.

    Notes
    -----
    In one slice, with m_i the pixels of label i: F holds the 8-connected components of m_i, B
    those of its complement, whose area is strictly below the threshold. opt_i = m_i, except
    opening(m_i) on F and closing(m_i) on B. A pixel that one opt_i claims becomes i; one that
    none claims gets the label with the most support, that is pixels of opt_i in its window inside
    the slice; where several claim it, the one of them with the most support. Ties go to the
    lowest label, no support at all gives 0. Beyond the slice both steps of opening and closing see
    background, as in SciPy: no hole is filled within half a kernel of the border.

    Why it is enough to look at pixels of small components: a component C of the complement of m_i
    is a union of components of other labels, none larger than C. If C is small, so are they.
    A pixel in a large component of label j is thus in no F and no B, and j alone claims it. Labels
    absent from a slice claim nothing: B is at most the whole slice, and closing nothing is nothing.
    A kernel is connected, so one that fits into F or B fits into a single component: opening and
    closing need no more of the slice than F and B themselves, and the place of its border.
    """
    _check_parameters(kernel_size, filter_halfedge)
    in_plane = np.delete(zooms, axis)
    regions.check_sizes(in_plane, region_area_thresh)
    kernel = tuple(int(edge) for edge in kernel_size)
    # From a voxel to its neighbour along each axis, in Fortran order.
    steps = np.cumprod((1, *mask.shape[:2]))
    (x_step, y_step), z_step = np.delete(steps, axis), steps[axis]
    indices, values = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]

    def is_small(n_pixels):
        return regions.measure(n_pixels, in_plane) < region_area_thresh

    for start, slab in _slabs(mask, axis):
        frame = regions.trim(slab, in_plane, region_area_thresh)
        for z in range(slab.shape[2]):
            small = _find_small(frame, z, is_small)
            if small is None:
                continue
            claims = _find_claims(slab[:, :, z], small, kernel, is_small)
            merged = _merge(slab[:, :, z], small, claims, int(filter_halfedge))
            changed = merged != slab[small.x, small.y, z]
            inside = x_step * small.x[changed] + y_step * small.y[changed]
            indices.append(inside + (start + z) * z_step)
            values.append(merged[changed].astype(np.uint8))
    found, labels = np.concatenate(indices), np.concatenate(values)
    order = np.argsort(found) if axis < 2 else slice(None)
    return found[order], labels[order]


def _slabs(mask, axis):
    """Yield slices along an axis, which is the last one then, and the number of the first one.

    Those along the third axis lie as one in the mask; of others so many are copied at a time that
    the mask is not there twice.
    """
    if not mask.size:
        return
    turned = np.moveaxis(mask, axis, 2)
    thick = turned.shape[2] if axis == 2 else SLAB_SLICES
    for start in range(0, turned.shape[2], thick):
        slab = turned[:, :, start : start + thick]
        yield start, slab if axis == 2 else np.asfortranarray(slab)


def _check_parameters(kernel_size, filter_halfedge):
    # Remainders of NaN and infinity are NaN, which equals nothing: refused as well.
    if len(kernel_size) != 2 or not all(edge > 0 and edge % 2 == 1 for edge in kernel_size):
        sizes, expected = tuple(kernel_size), "two odd positive numbers"
        reason = f"kernel size {sizes}: {expected} of pixels expected"
        raise errors.DatasetError(reason, code="parameter", expected=expected, found=sizes)
    if not (filter_halfedge >= 0 and filter_halfedge % 1 == 0):
        found, expected = filter_halfedge, "a whole number, 0 or more"
        reason = f"window halfedge {found}: a whole number of pixels, 0 or more, expected"
        raise errors.DatasetError(reason, code="parameter", expected=expected, found=found)


def _find_small(frame, z, is_small):
    """The small regions of slice z, None if there are none."""
    plane = frame.mask[:, :, z]
    if plane.min() == plane.max() and not is_small(plane.size):
        return None
    components, n_regions = regions.connect(plane)
    runs = regions.find_runs(components)
    n_pixels = runs.count(n_regions + 1)
    small = is_small(n_pixels)
    small[0] = False  # numbers start at 1
    small[components[0, 0]] &= frame.low == 0
    small[components[-1, -1]] &= frame.high == 0
    if not small.any():
        return None
    where, numbers = runs.expand(small)
    x, y = where % plane.shape[0], where // plane.shape[0]
    compact = np.cumsum(small) - 1
    region = compact[numbers]
    label = np.zeros(compact[-1] + 1, np.uint8)
    label[region] = plane[x, y]
    around = _look_around(plane, components, x, y, small, compact)
    return _Small(x + frame.start[0], y + frame.start[1], region, label, n_pixels[small], *around)


def _look_around(plane, components, x, y, small, compact):
    """What touches each small region: the last four fields of `_Small`."""
    beside_x, beside_y = x + _STEPS[:, :1], y + _STEPS[:, 1:]
    inside = (beside_x >= 0) & (beside_x < plane.shape[0])
    inside &= (beside_y >= 0) & (beside_y < plane.shape[1])
    own = np.broadcast_to(components[x, y], inside.shape)[inside]
    beside = beside_x[inside], beside_y[inside]
    other = components[beside]
    differs = own != other
    own, other_small = compact[own[differs]], small[other[differs]]
    label = plane[beside][differs].astype(np.int64)
    lowest = np.full(compact[-1] + 1, 256)
    highest = np.full(compact[-1] + 1, _NOBODY)
    np.minimum.at(lowest, own[~other_small], label[~other_small])
    np.maximum.at(highest, own[~other_small], label[~other_small])
    clustered = np.zeros(compact[-1] + 1, bool)
    clustered[own[other_small]] = True
    near = np.flatnonzero(np.bincount(label[clustered[own]]))
    return lowest, highest, clustered, near


def _find_claims(plane, small, kernel, is_small):
    """Yield labels and the pixels (numbers within `small`) they claim after open and close."""
    yield from _find_opened(plane.shape, small, kernel)
    for label, pixels, sizes in _find_holes(plane, small, is_small):
        filled = _is_filled(small.x[pixels], small.y[pixels], sizes, plane.shape, kernel)
        yield label, pixels[filled]


def _find_opened(shape, small, kernel):
    """Yield labels and their pixels of small regions that stay when the label is opened."""
    if kernel[0] > shape[0] or kernel[1] > shape[1]:
        return
    roomy = small.n_pixels >= kernel[0] * kernel[1]
    for label in np.unique(small.label[roomy]):
        pixels = np.flatnonzero((roomy & (small.label == label))[small.region])
        x, y = small.x[pixels] - small.x[pixels].min(), small.y[pixels] - small.y[pixels].min()
        island = np.zeros((x.max() + 1, y.max() + 1), np.uint8)
        island[x, y] = 1
        yield label, pixels[_covered_by_kernels(island, kernel)[x, y]]


def _is_filled(x, y, sizes, shape, kernel):
    """Which pixels of one label's holes are foreground when the label is closed."""
    filled = _is_inner(x, kernel[0], shape[0]) & _is_inner(y, kernel[1], shape[1])
    # A window of the kernel's size that holds this pixel has at least so many pixels in the
    # slice; a smaller hole is closed whatever its shape.
    least = _least_edge(x, kernel[0], shape[0]) * _least_edge(y, kernel[1], shape[1])
    doubtful = sizes >= least
    if filled.any() and doubtful.any():
        filled[doubtful] &= ~_stays_open(x[doubtful], y[doubtful], shape, kernel)
    return filled


def _least_edge(place, edge, length):
    """No kernel over this place has a shorter edge inside the slice, unless centred outside."""
    return np.minimum(edge, np.minimum(place + 1, length - place))


def _is_inner(place, edge, length):
    """Half a kernel or more from both ends; nearer, closing leaves no foreground."""
    return (place >= edge // 2) & (place < length - edge // 2)


def _stays_open(x, y, shape, kernel):
    """Which pixels of holes lie in a kernel that fits in; the outside counts as hole."""
    start = x.min() - kernel[0] + 1, y.min() - kernel[1] + 1
    hole = np.zeros((x.max() + kernel[0] - start[0], y.max() + kernel[1] - start[1]), np.uint8)
    hole[: max(0, -start[0])] = 1
    hole[shape[0] - start[0] :] = 1
    hole[:, : max(0, -start[1])] = 1
    hole[:, shape[1] - start[1] :] = 1
    x, y = x - start[0], y - start[1]
    hole[x, y] = 1
    return _covered_by_kernels(hole, kernel)[x, y]


def _covered_by_kernels(inside, kernel):
    """Union of all kernels that fit in; nothing fits beyond the array."""
    from scipy import ndimage as ndi

    centres = ndi.minimum_filter(inside, size=kernel, mode="constant", cval=0)
    return ndi.maximum_filter(centres, size=kernel, mode="constant", cval=0) > 0


def _find_holes(plane, small, is_small):
    """Yield labels, pixels in small components of the label's complement, those holes' sizes."""
    lone = ~small.clustered & (small.lowest == small.highest)
    for label in np.union1d(small.lowest[lone], small.near):
        pixels = np.flatnonzero((lone & (small.lowest == label))[small.region])
        yield label, pixels, small.n_pixels[small.region[pixels]]
        # No large neighbour but those of this label; without any, lowest is 256 and highest -1.
        fitting = small.clustered & (small.label != label)
        fitting &= (small.lowest >= label) & (small.highest <= label)
        pixels = np.flatnonzero(fitting[small.region])
        if pixels.size:
            found, sizes = _enclosed(plane, small.x[pixels], small.y[pixels], label, is_small)
            yield label, pixels[found], sizes


def _enclosed(plane, x, y, label, is_small):
    """Which of these pixels lie in small components made of them alone, and those sizes."""
    # One pixel around shows all neighbours: a component in this box that has no other pixels
    # than the given ones is a whole component of the slice.
    start = max(x.min() - 1, 0), max(y.min() - 1, 0)
    box = plane[start[0] : x.max() + 2, start[1] : y.max() + 2] != label
    components, n_regions = regions.connect(box.view(np.uint8))
    numbers = components[x - start[0], y - start[1]]
    given = np.bincount(numbers, minlength=n_regions + 1)
    in_box = np.bincount(components.ravel(order="F"), minlength=n_regions + 1)
    found = ((given == in_box) & is_small(in_box))[numbers]
    return found, in_box[numbers[found]]


def _merge(plane, small, claims, halfedge):
    """(n,) new labels of the pixels of small regions, no label claims a pixel twice."""
    layers = [plane.astype(np.int16)]
    layers[0][small.x, small.y] = _NOBODY
    n_claims = np.zeros(small.x.size, np.int64)
    for label, pixels in claims:
        # The first claim on a pixel goes to the first layer, the next one to the second, ...
        level = n_claims[pixels]
        while len(layers) <= level.max(initial=0):
            layers.append(np.full_like(layers[0], _NOBODY))
        for number in np.unique(level):
            these = pixels[level == number]
            layers[number][small.x[these], small.y[these]] = label
        n_claims[pixels] += 1
    merged = layers[0][small.x, small.y]
    unsettled = np.flatnonzero(n_claims != 1)
    if unsettled.size:
        places = small.x[unsettled], small.y[unsettled]
        merged[unsettled] = _most_supported(layers, *places, halfedge)
    return merged


def _most_supported(layers, x, y, halfedge):
    """(n,) label with the most support at each place, among its claimants if it has any."""
    reach = tuple(min(halfedge, length - 1) for length in layers[0].shape)
    window = len(layers) * (2 * reach[0] + 1) * (2 * reach[1] + 1)
    support = _support_by_windows if x.size * window <= GATHER_LIMIT else _support_by_sums
    here = np.stack([layer[x, y] for layer in layers])
    unclaimed = (here == _NOBODY).all(axis=0)
    label, most = np.zeros(x.size, np.int16), np.zeros(x.size, np.int64)
    for value, count in support(layers, x, y, reach):
        better = (unclaimed | (here == value).any(axis=0)) & (count > most)
        label[better] = value
        most[better] = count[better]
    return label


def _support_by_windows(layers, x, y, reach):
    """Every label around and its support at each place, labels ascending: window by window."""
    shape = layers[0].shape
    around_x = x[:, None, None] + np.arange(-reach[0], reach[0] + 1)[:, None]
    around_y = y[:, None, None] + np.arange(-reach[1], reach[1] + 1)
    inside = (around_x >= 0) & (around_x < shape[0]) & (around_y >= 0) & (around_y < shape[1])
    around = np.clip(around_x, 0, shape[0] - 1), np.clip(around_y, 0, shape[1] - 1)
    windows = np.stack([np.where(inside, layer[around], _NOBODY) for layer in layers], axis=1)
    windows = windows.reshape(x.size, -1)
    for value in np.flatnonzero(np.bincount(windows.ravel() + 1)[1:]):
        yield value, np.count_nonzero(windows == value, axis=1)


def _support_by_sums(layers, x, y, reach):
    """The same as `_support_by_windows`, from running sums over the slice."""
    shape = layers[0].shape
    low_x, high_x = np.maximum(x - reach[0], 0), np.minimum(x + reach[0] + 1, shape[0])
    low_y, high_y = np.maximum(y - reach[1], 0), np.minimum(y + reach[1] + 1, shape[1])
    present = sum(np.bincount(layer.ravel(order="K") + 1, minlength=257) for layer in layers)
    for value in np.flatnonzero(present[1:]):
        sums = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
        sums[1:, 1:] = sum((layer == value).astype(np.int64) for layer in layers)
        np.cumsum(sums, axis=0, out=sums)
        np.cumsum(sums, axis=1, out=sums)
        upper = sums[high_x, high_y] - sums[low_x, high_y]
        yield value, upper - sums[high_x, low_y] + sums[low_x, low_y]

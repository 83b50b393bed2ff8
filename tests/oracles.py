"""The tutorial's formulas as slow plain code, one step after the other.

The fast code in `utils` has to agree with these voxel by voxel. Nothing is shared with it.
"""

import numpy as np
from scipy import ndimage as ndi

EIGHT_CONNECTED = np.ones((3, 3), dtype=int)
TWENTY_SIX_CONNECTED = np.ones((3, 3, 3), dtype=int)


def open_close_small_regions_literal(
    mask, zooms, kernel_size=(5, 5), filter_halfedge=3, region_area_thresh=10.0, n_labels=17, axis=2
):
    """Denoise every slice along an axis; labels 0 .. n_labels - 1.

    The two numbers of the kernel belong to the slice's axes in the order of the mask's.
    """
    denoised = np.empty(mask.shape, dtype=np.uint8)
    in_plane = [zooms[other] for other in range(3) if other != axis]
    for number in range(mask.shape[axis]):
        here = tuple(number if other == axis else slice(None) for other in range(3))
        processed = [
            optimize_literal(mask[here] == label, in_plane, kernel_size, region_area_thresh)
            for label in range(n_labels)
        ]
        denoised[here] = merge_literal(np.array(processed), filter_halfedge)
    return denoised


def optimize_literal(binary_slice, zooms, kernel_size, region_area_thresh):
    """Opening on small islands, closing on small holes, all else as it was."""
    kernel = np.ones(kernel_size, dtype=bool)
    islands = small_components_literal(binary_slice, zooms, region_area_thresh)
    holes = small_components_literal(~binary_slice, zooms, region_area_thresh)
    processed = binary_slice.copy()
    processed[islands] = ndi.binary_opening(binary_slice, structure=kernel)[islands]
    processed[holes] = ndi.binary_closing(binary_slice, structure=kernel)[holes]
    return processed


def small_components_literal(binary_slice, zooms, region_area_thresh):
    """Pixels in 8-connected components with an area strictly below the threshold."""
    components, _ = ndi.label(binary_slice, structure=EIGHT_CONNECTED)
    pixels = np.bincount(components.ravel())
    is_small = pixels * float(zooms[0]) * float(zooms[1]) < region_area_thresh
    is_small[0] = False  # what is not binary_slice
    return is_small[components]


def merge_literal(processed, filter_halfedge):
    """One label per pixel from the processed binary slices, (n_labels, X, Y) bool."""
    support = np.array([window_sum_literal(one, filter_halfedge) for one in processed])
    claims = processed.sum(axis=0)
    merged = np.where(
        claims == 1,
        np.argmax(processed, axis=0),
        np.where(claims == 0, np.argmax(support, axis=0), np.argmax(support * processed, axis=0)),
    )
    return merged.astype(np.uint8)


def window_sum_literal(binary_slice, filter_halfedge):
    """Number of set pixels in the square window around each pixel, nothing beyond the slice."""
    window = np.ones(2 * filter_halfedge + 1)
    rows = ndi.correlate1d(binary_slice.astype(np.int64), window, axis=0, mode="constant")
    return ndi.correlate1d(rows, window, axis=1, mode="constant")


def small_regions_literal(mask, zooms, region_volume_thresh):
    """Rows (label, voxels, centroid, volume_mm3), by label and then by first voxel on disk."""
    rows = []
    for label in np.unique(mask):
        components, n_regions = ndi.label(mask == label, structure=TWENTY_SIX_CONNECTED)
        found = []
        for number in range(1, n_regions + 1):
            x, y, z = np.nonzero(components == number)
            volume_mm3 = len(x) * float(zooms[0]) * float(zooms[1]) * float(zooms[2])
            if volume_mm3 < region_volume_thresh:
                on_disk = np.min(x + mask.shape[0] * (y + mask.shape[1] * z))
                centroid = (x.sum() / len(x), y.sum() / len(x), z.sum() / len(x))
                found.append((on_disk, (int(label), len(x), centroid, volume_mm3)))
        rows += [row for _, row in sorted(found)]
    return rows


def components_by_flood_fill(binary):
    """Connected components, corners included, as a set of frozensets of indices; tiny arrays."""
    waiting = {index for index in np.ndindex(binary.shape) if binary[index]}
    components = set()
    while waiting:
        component, border = set(), {waiting.pop()}
        while border:
            here = border.pop()
            component.add(here)
            near = {
                other
                for other in waiting
                if all(abs(a - b) <= 1 for a, b in zip(here, other, strict=True))
            }
            border |= near
            waiting -= near
        components.add(frozenset(component))
    return components


def random_mask(rng, shape, n_labels):
    """A uint8 mask in one of several styles, from pure noise to blobs with islands and holes."""
    style = rng.choice(["noise", "blobs", "islands", "stripes", "boxes", "rings", "margin"])
    mask = np.zeros(shape, dtype=int)
    if style == "noise":
        mask = rng.integers(0, n_labels, shape)
    elif style in ("blobs", "islands"):
        fields = rng.normal(size=(min(n_labels, 6), *shape))
        mask = ndi.gaussian_filter(fields, (0, rng.uniform(0.5, 3), 2, 0.5)).argmax(axis=0)
    elif style == "stripes":
        mask = np.indices(shape)[rng.integers(0, 2)] // rng.integers(1, 5) % n_labels
    elif style == "boxes":
        for _ in range(rng.integers(1, 9)):
            low = rng.integers(0, shape)
            box = tuple(slice(a, a + b) for a, b in zip(low, rng.integers(1, 12, 3), strict=True))
            mask[box] = rng.integers(0, n_labels)
    elif style == "rings":
        x, y = np.indices(shape[:2]) - rng.uniform(0, 12, (2, 1, 1))
        radius = np.hypot(x, y) if rng.random() < 0.5 else np.maximum(abs(x), abs(y))
        rings = rng.integers(0, n_labels, 64)[(radius / rng.uniform(0.8, 3)).astype(int) % 64]
        mask += rings[:, :, None]
    else:
        inner = tuple(slice(edge // 3, edge - edge // 4) for edge in shape[:2])
        mask[inner] = rng.integers(0, n_labels, mask[inner].shape)
    if style != "noise":
        specks = rng.random(shape) < rng.choice([0, 0.05, 0.15])
        mask[specks] = rng.integers(0, n_labels, shape)[specks]
    return np.asfortranarray(mask, dtype=np.uint8)

"""What the quality report measures of one mask: sizes, places, pieces, cut faces, tissue."""

import numpy as np

from utils.arrays import geometry, labels, regions
from utils.qc import anatomy, slices

# A second piece of an organ counts as large from this share of the organ and this size on.
LARGE_PIECE_SHARE = 0.1
LARGE_PIECE_MM3 = 1000.0
# Thin organs are often annotated with gaps: there only a gap this wide counts.
THIN_GAP_MM = 30.0
# From one slice to the next an organ's area falls by this share of its largest: it was cut off.
CUT_SHARE = 0.55
_CUT_TO_SHARE = 0.05
_LEAST_SLICES = 8
_SIDE_OF = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "upper", "I": "lower"}


def measure(
    mask: np.ndarray, label_names: dict[int, str], affine: np.ndarray, zooms: np.ndarray
) -> dict[str, dict]:
    """Measure every label of a mask, (X, Y, Z) uint8; `zooms` is the stored spacing, mm.

    Returns
    -------
    dict of str to dict
        Label name to ``value``, ``volume_ml``, ``centre`` (RAS+ mm), ``at_edge`` (the image ends
        inside the organ), ``pieces`` (share of the organ and gap in mm of each large piece but the
        largest) and ``cuts`` (sides where it ends in a flat face); plain numbers and texts.

    Notes
    -----
    Volumes count all voxels; places, pieces and faces are taken from every n-th voxel, some 3 mm
    apart.
    """
    n_voxels = labels.counts(mask)
    at_edge = _labels_at_edge(mask)
    steps = slices.coarse_steps(zooms)
    coarse = slices.coarse(mask, steps)
    profiles = [slices.areas(coarse, axis) for axis in range(3)]
    spacing = np.asarray(zooms, np.float64) * steps
    found = {}
    for value in (np.flatnonzero(n_voxels[1:]) + 1).tolist():
        volume_ml = float(regions.measure(n_voxels[value], zooms)) / 1000
        organ = {"value": value, "at_edge": value in at_edge, "volume_ml": volume_ml}
        per_axis = [profile[:, value] for profile in profiles]
        if per_axis[0].any():
            organ["centre"] = _centre(per_axis, steps, affine)
            organ["pieces"] = _pieces(_crop(coarse, per_axis) == value, spacing)
            organ["cuts"] = _cuts(per_axis, geometry.axis_codes(affine))
        found[label_names.get(value, f"label_{value:02d}")] = organ
    return found


def _labels_at_edge(mask):
    faces = [slices.one_slice(mask, axis, index) for axis in range(3) for index in (0, -1)]
    return {value for face in faces for value in np.flatnonzero(labels.counts(face)).tolist()}


def _centre(per_axis, steps, affine):
    index = [
        np.average(np.arange(len(area)), weights=area) * step for area, step in zip(per_axis, steps)
    ]
    return (affine[:3, :3] @ index + affine[:3, 3]).tolist()


def _crop(coarse, per_axis):
    filled = map(np.flatnonzero, per_axis)
    return coarse[tuple(slice(places[0], places[-1] + 1) for places in filled)]


def _pieces(organ, spacing):
    """Share and gap of each large piece but the largest."""
    from scipy import spatial

    components, n_regions = regions.connect(organ.astype(np.uint8))
    sizes = np.bincount(components[organ], minlength=n_regions + 1)
    total = sizes.sum()
    is_share = sizes >= LARGE_PIECE_SHARE * total
    large = np.flatnonzero(is_share & (regions.measure(sizes, spacing) >= LARGE_PIECE_MM3))
    if large.size < 2:
        return []
    largest, *others = large[np.argsort(-sizes[large], kind="stable")]
    main = spatial.cKDTree(np.argwhere(components == largest) * spacing)
    return [
        {
            "share": float(sizes[piece] / total),
            "gap_mm": float(main.query(np.argwhere(components == piece) * spacing)[0].min()),
        }
        for piece in others
    ]


def _cuts(per_axis, codes):
    """Sides, by name, where the area falls from large to next to nothing between two slices."""
    found = []
    for area, start, end in zip(per_axis, geometry.opposite(codes), codes):
        if np.count_nonzero(area) < _LEAST_SLICES:
            continue
        share = area / area.max()
        large, small = share >= CUT_SHARE, share < _CUT_TO_SHARE
        if (large[:-1] & small[1:]).any():
            found.append(_SIDE_OF[end])
        if (large[1:] & small[:-1]).any():
            found.append(_SIDE_OF[start])
    return found


def fat_share(volume: np.ndarray, mask: np.ndarray, label_names: dict[int, str]) -> float | None:
    """Share of the solid organs' voxels that are as dark as fat or air in CT.

    The volume is in Hounsfield units. None where the mask holds no solid organ.
    """
    solid = [value for value, name in label_names.items() if anatomy.organ(name) in anatomy.SOLID]
    inside = volume[np.isin(mask, solid)]
    return float((inside < anatomy.FAT_BELOW).mean()) if inside.size else None

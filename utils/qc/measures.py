"""What the quality report measures of one mask: sizes, places, pieces, cut faces, tissue."""

from collections.abc import Mapping
from dataclasses import dataclass

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
        largest), ``cuts`` (sides where it ends in a flat face), and voxels to look at, by their
        indices: ``at`` of the organ and of each piece, ``cuts_at`` of each face; plain numbers and
        texts.

    Notes
    -----
    Volumes count all voxels; places, pieces and faces are taken from every n-th voxel, some 3 mm
    apart.
    """
    n_voxels = labels.counts(mask)
    at_edge = _labels_at_edge(mask)
    steps = slices.coarse_steps(zooms)
    coarse = np.ascontiguousarray(slices.coarse(mask, steps))
    profiles = slices.areas(coarse)
    spacing = np.asarray(zooms, np.float64) * steps
    found = {}
    for value in (np.flatnonzero(n_voxels[1:]) + 1).tolist():
        size = volume_ml(n_voxels[value], zooms)
        organ = {"value": value, "at_edge": value in at_edge, "volume_ml": size}
        per_axis = [profile[:, value] for profile in profiles]
        if per_axis[0].any():
            part = _Part.of(coarse, value, per_axis)
            organ["centre"] = _centre(per_axis, steps, affine)
            organ["at"] = part.voxel(part.inside, spacing, steps)
            organ["pieces"] = _pieces(part, spacing, steps)
            cuts = _cuts(per_axis, geometry.axis_codes(affine))
            organ["cuts"] = [side for side, _, _ in cuts]
            faces = (part.face(axis, index) for _, axis, index in cuts)
            organ["cuts_at"] = [part.voxel(face, spacing, steps) for face in faces]
        else:  # it lies between the voxels that were looked at
            organ["at"] = _first_voxel(mask, value)
        found[name_of(value, label_names)] = organ
    return found


def name_of(value: int, label_names: Mapping[int, str]) -> str:
    """Return the name of a label; one that has none is called by its number."""
    return label_names.get(value, f"label_{value:02d}")


def volume_ml(n_voxels: int, zooms: np.ndarray) -> float:
    """Volume of so many voxels; `zooms` is the stored spacing, mm."""
    return float(regions.measure(n_voxels, zooms)) / 1000


@dataclass(frozen=True)
class _Part:
    """The box of the coarse mask that holds an organ: its begin, and which voxels are inside."""

    start: list[int]
    inside: np.ndarray

    @classmethod
    def of(cls, coarse, value, per_axis):
        filled = [np.flatnonzero(area).tolist() for area in per_axis]
        box = tuple(slice(places[0], places[-1] + 1) for places in filled)
        return cls([places[0] for places in filled], coarse[box] == value)

    def face(self, axis, index):
        """The organ's voxels in one slice of the coarse mask."""
        face = np.zeros_like(self.inside)
        place = (slice(None),) * axis + (index - self.start[axis],)
        face[place] = self.inside[place]
        return face

    def voxel(self, inside, spacing, steps):
        """Index, in the whole mask, of that of some voxels which is nearest their centre."""
        nearest = slices.middle(inside, spacing)
        return [(n + first) * step for n, first, step in zip(nearest, self.start, steps)]


def _first_voxel(mask, value):
    place = (mask.ravel(order="F") == value).argmax()
    return [int(n) for n in np.unravel_index(place, mask.shape, order="F")]


def _labels_at_edge(mask):
    faces = [slices.one_slice(mask, axis, index) for axis in range(3) for index in (0, -1)]
    return {value for face in faces for value in np.flatnonzero(labels.counts(face)).tolist()}


def _centre(per_axis, steps, affine):
    index = [
        np.average(np.arange(len(area)), weights=area) * step for area, step in zip(per_axis, steps)
    ]
    return (affine[:3, :3] @ index + affine[:3, 3]).tolist()


def _pieces(part, spacing, steps):
    """Share, gap and a voxel of each large piece but the largest."""
    from scipy import spatial

    organ = part.inside
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
            "at": part.voxel(components == piece, spacing, steps),
        }
        for piece in others
    ]


def _cuts(per_axis, codes):
    """(side, axis, slice) where the area falls from large to next to nothing between two slices."""
    found = []
    for axis, area in enumerate(per_axis):
        if np.count_nonzero(area) < _LEAST_SLICES:
            continue
        share = area / area.max()
        large, small = share >= CUT_SHARE, share < _CUT_TO_SHARE
        ends = np.flatnonzero(large[:-1] & small[1:]).tolist()
        starts = (np.flatnonzero(large[1:] & small[:-1]) + 1).tolist()
        for side, faces in ((codes[axis], ends), (geometry.opposite(codes)[axis], starts)):
            if faces:
                found.append((_SIDE_OF[side], axis, faces[0]))
    return found


def fat_share(volume: np.ndarray, mask: np.ndarray, label_names: dict[int, str]) -> float | None:
    """Share of the solid organs' voxels that are as dark as fat or air in CT.

    The volume is in Hounsfield units. None where the mask holds no solid organ.
    """
    solid = [value for value, name in label_names.items() if anatomy.organ(name) in anatomy.SOLID]
    inside = volume[np.isin(mask, solid)]
    return float((inside < anatomy.FAT_BELOW).mean()) if inside.size else None


def add_intensities(organs: dict[str, dict], volume: np.ndarray, mask: np.ndarray) -> None:
    """Add ``mean`` and ``sd`` of the volume's values to what `measure` found of each organ.

    From every n-th voxel, as places are; None where there is none, or they are not finite.
    """
    inside = mask > 0
    values, under = volume[inside].astype(np.float64), mask[inside]
    with np.errstate(all="ignore"):
        n_voxels = np.bincount(under, minlength=256)
        means = np.bincount(under, values, 256) / n_voxels
        spreads = np.sqrt(np.bincount(under, (values - means[under]) ** 2, 256) / n_voxels)
    for organ in organs.values():
        for key, found in (("mean", means), ("sd", spreads)):
            value = float(found[organ["value"]])
            organ[key] = value if np.isfinite(value) else None

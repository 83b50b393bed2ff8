"""What the report keeps of a sample's masks; a single one of them is whole in memory at a time."""

import dataclasses

import numpy as np

from utils.arrays import regions
from utils.qc import binning, case_files, changes, measures, packed_masks, slices, viewer_data
from utils.storage import nifti, nifti_writing

_N_SLICES = {"axial": 6, "coronal": 2, "sagittal": 2}
_N_CHANGED_SLICES = 4
# Masks that the sample's own is compared with -> their titles.
_OTHERS = {"before": "before denoising", "prediction": "prediction"}


@dataclasses.dataclass
class Kept:
    """What is known of a sample's masks when their voxels are gone.

    Attributes
    ----------
    record : dict
        ``mask_crc32``, ``organs``, ``changes``, ``small_regions``; all None without a mask.
    chosen : dict of str to list of int
        Plane to the slices to show, the best first.
    layers : list of dict
        See `viewer_data.layer`.
    coarse : (X', Y', Z') uint8 or None
        Every n-th voxel of the mask, see `slices.coarse_steps`.
    occupied : list of (n,) bool
        For each array axis which slices hold labels.
    planes : dict of (int, int) to array
        (array axis, index) to the slice of the mask, its array axes in ascending order.
    changed : dict of int to (array, array)
        Slice along the axis of denoising to its labels before and after, where most changed.
    """

    record: dict
    chosen: dict[str, list[int]]
    layers: list[dict[str, str]] = dataclasses.field(default_factory=list)
    coarse: np.ndarray | None = None
    occupied: list[np.ndarray] = dataclasses.field(default_factory=list)
    planes: dict[tuple[int, int], np.ndarray] = dataclasses.field(default_factory=dict)
    changed: dict[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)

    def labels(self, axis: int, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """One slice of the mask; background where there is no mask."""
        if not self.occupied:
            return np.zeros(shape, np.uint8)
        return self.planes[axis, index]


@dataclasses.dataclass(frozen=True)
class _Other:
    """A mask that the sample's own is compared with: its voxels, packed, and its small regions."""

    voxels: packed_masks.PackedMask
    small: np.ndarray


def read(
    inputs: case_files.Inputs,
    views: dict[str, slices.View],
    grid: binning.Grid,
    region_volume_thresh: float,
) -> Kept:
    """Measure a sample's masks, and keep what is shown of them.

    DatasetError where one is damaged, or is not the file any more whose header was read.
    """
    if inputs.mask is None:
        nothing = [np.zeros((n, 256), np.int64) for n in grid.shape]
        record = dict.fromkeys(("mask_crc32", "organs", "small_regions", "changes"))
        return Kept(record, _chosen(views, nothing, (1, 1, 1)))
    zooms = inputs.mask.zooms
    regions.check_sizes(zooms, region_volume_thresh)  # all sizes are counted by them
    layers, others = [], {}
    for key, title in _OTHERS.items():
        header = getattr(inputs, key)
        if header and header is not inputs.mask:
            mask = _read(header)
            layers.append(viewer_data.layer(key, title, grid.labels(mask)))
            small = regions.find_small_regions(mask, zooms, region_volume_thresh).label
            others[key] = _Other(packed_masks.PackedMask(mask, grid.across), small)
            del mask
    mask = _read(inputs.mask)
    layers.insert(0, viewer_data.layer("mask", "mask", grid.labels(mask)))
    small = regions.find_small_regions(mask, zooms, region_volume_thresh).label
    record = {
        "mask_crc32": f"0x{nifti_writing.voxel_crc(mask)}",
        "organs": measures.measure(mask, inputs.label_names, inputs.mask.affine, zooms),
        "small_regions": len(small),
        "changes": None,
    }
    kept = _of_mask(mask, record, views, inputs.volume.spacing)
    kept.layers = layers
    if inputs.before is inputs.mask:
        others["before"] = _Other(packed_masks.PackedMask(mask, grid.across), small)
    if before := others.get("before"):
        found = changes.find(before.voxels, mask, (before.small, small))
        _keep_changes(kept, found, before.voxels, mask, inputs.volume.spacing)
    return kept


def _read(header):
    """The voxels of a mask whose header was read before; the record tells of these two together."""
    return nifti.read_mask(header.path, header).data


def _chosen(views, areas, steps):
    """{plane: indices of the slices to show}, of the areas in every n-th slice along each axis."""
    found = {}
    for plane, view in views.items():
        indices = slices.choose(areas[view.axis], _N_SLICES[plane])
        found[plane] = [index * steps[view.axis] for index in indices]
    return found


def _of_mask(mask, record, views, spacing):
    steps = slices.coarse_steps(spacing)
    coarse = np.ascontiguousarray(slices.coarse(mask, steps))
    chosen = _chosen(views, slices.areas(coarse), steps)
    planes = {
        (view.axis, index): slices.one_slice(mask, view.axis, index).copy(order="F")
        for plane, view in views.items()
        for index in chosen[plane]
    }
    flat = mask.max(axis=2)
    occupied = [flat.any(axis=1), flat.any(axis=0), mask.max(axis=(0, 1)) > 0]
    return Kept(record, chosen, coarse=coarse, occupied=occupied, planes=planes)


def _keep_changes(kept, found, before, mask, spacing):
    """Keep what changed, and the slices where most did."""
    axis = before.axis
    for index in found.slices(_N_CHANGED_SLICES):
        kept.planes[axis, index] = slices.one_slice(mask, axis, index).copy(order="F")
        kept.changed[index] = before[index], kept.planes[axis, index]
    place = None
    for index, (old, new) in [*kept.changed.items()][:1]:
        place = changes.place(old != new, np.delete(spacing, axis))
        place.insert(axis, index)
    kept.record["changes"] = {
        "n_voxels": int(found.per_slice.sum()),
        "n_slices": int(np.count_nonzero(found.per_slice)),
        "at": place,
        "per_label": {str(value): counts for value, counts in found.per_label.items()},
    }

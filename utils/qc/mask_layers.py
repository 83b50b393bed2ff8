"""What the report keeps of a sample's masks; a single one of them is whole in memory at a time."""

import dataclasses

import numpy as np

from utils.arrays import regions
from utils.qc import (
    agreement,
    binning,
    case_files,
    changes,
    measures,
    packed_masks,
    predictions,
    slices,
    viewer_data,
)
from utils.storage import nifti_writing

_N_SLICES = {"axial": 6, "coronal": 2, "sagittal": 2}
_N_CHANGED_SLICES = 4
# Layers of the viewer, in their order -> their titles.
_TITLES = {"mask": "mask", "before": "before denoising", "prediction": "prediction"}


@dataclasses.dataclass
class Kept:
    """What is known of a sample's masks when their voxels are gone.

    Attributes
    ----------
    record : dict
        ``mask_crc32``, ``organs``, ``changes``, ``small_regions``; all None without a mask.
        ``prediction``, see `agreement.compare`, or None; ``prediction_fault``, why there is none.
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


@dataclasses.dataclass
class _Others:
    """What is kept of the masks that the sample's own is compared with."""

    layers: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    before: packed_masks.PackedMask | None = None
    small_before: np.ndarray | None = None
    predicted: agreement.Predicted | None = None
    fault: str = ""

    def add_prediction(self, prediction, grid):
        """Keep a prediction, or else why it cannot be compared."""
        voxels, self.fault = predictions.read(prediction)
        if voxels is not None:
            self.layers["prediction"] = _layer("prediction", voxels, grid)
            self.predicted = agreement.Predicted(voxels, grid.across)

    def add_before(self, before, grid, zooms, threshold):
        """Keep the mask before denoising."""
        voxels = before.read()
        self.layers["before"] = _layer("before", voxels, grid)
        self.small_before = regions.find_small_regions(voxels, zooms, threshold).label
        self.before = packed_masks.PackedMask(voxels, grid.across)


def _layer(key, voxels, grid):
    return viewer_data.layer(key, _TITLES[key], grid.labels(voxels))


def read(
    inputs: case_files.Inputs,
    views: dict[str, slices.View],
    grid: binning.Grid,
    region_volume_thresh: float,
) -> Kept:
    """Measure a sample's masks, and keep what is shown of them.

    DatasetError where one is damaged, or is not the file any more whose header was read; that a
    prediction is stands in the record.
    """
    others = _Others()
    names = inputs.label_names
    if inputs.prediction:
        others.add_prediction(inputs.prediction, grid)
        names = {**inputs.prediction.names, **names}
    if inputs.mask is None:
        nothing = [np.zeros((n, 256), np.int64) for n in grid.shape]
        record = dict.fromkeys(("mask_crc32", "organs", "small_regions", "changes"))
        kept = Kept(record, _chosen(views, nothing, (1, 1, 1)))
        if others.predicted and inputs.prediction:
            found = agreement.alone(others.predicted, names, inputs.prediction.zooms)
            kept.record["prediction"] = found
    else:
        if inputs.before and inputs.before is not inputs.mask:
            others.add_before(inputs.before, grid, inputs.mask.zooms, region_volume_thresh)
        kept = _of_sample(inputs, views, grid, region_volume_thresh, others, names)
    kept.record = {"prediction": None, **kept.record, "prediction_fault": others.fault}
    kept.layers = [others.layers[key] for key in _TITLES if key in others.layers]
    return kept


def _of_sample(inputs, views, grid, region_volume_thresh, others, names):
    """What is kept of a sample's own mask, compared with the others."""
    zooms, spacing = inputs.mask.zooms, inputs.volume.spacing
    regions.check_sizes(zooms, region_volume_thresh)  # all sizes are counted by them
    mask = inputs.mask.read()
    others.layers["mask"] = _layer("mask", mask, grid)
    small = regions.find_small_regions(mask, zooms, region_volume_thresh).label
    record = {
        "mask_crc32": f"0x{nifti_writing.voxel_crc(mask)}",
        "organs": measures.measure(mask, inputs.label_names, inputs.mask.affine, zooms),
        "small_regions": len(small),
        "changes": None,
    }
    if others.predicted:
        record["prediction"] = agreement.compare(others.predicted, mask, names, zooms)
    kept = _of_mask(mask, record, views, spacing)
    if inputs.before is inputs.mask:
        others.before, others.small_before = packed_masks.PackedMask(mask, grid.across), small
    if others.before:
        found = changes.find(others.before, mask, (others.small_before, small))
        _keep_changes(kept, found, others.before, mask, spacing)
    return kept


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

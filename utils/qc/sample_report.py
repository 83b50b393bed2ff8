"""One sample's part of the quality report: measures and pictures, redone where inputs changed."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry, regions
from utils.qc import alignment, anatomy, changes, drawing, measures, slices
from utils.running import calls
from utils.storage import files, json_files, kept_masks, nifti, samples

# Raise it when pictures or measures come out differently: those of earlier versions are redone.
FORMAT = 2
PICTURES, MEASURES, PAGES = "pictures", "measures", "samples"
_ENDINGS = (".png", "_small.png", "_changes.png")
_N_SLICES = {"axial": 6, "coronal": 2, "sagittal": 2}
_AXIAL_PER_ROW = 3
_N_CHANGED_SLICES = 4
# Modality unknown: only CT has values this far below 0.
_CT_BELOW = -200.0
_MRI_PERCENTILES = (1.0, 99.5)
# Both masks, and what passes by; matplotlib and the coarse volume come on top.
_MEMORY_PER_VOXEL = 2.5
_MEMORY_BESIDES = 300 << 20


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """What is the same for all samples.

    Attributes
    ----------
    root_dir, output_dir : Path
    before_dir : Path or None
        Tree with the masks before denoising; also where volumes and info files are taken from
        that `root_dir` lacks.
    region_volume_thresh : float, mm^3
    overwrite : bool
    modality, slice_axis : callable
        See `facts.DataSet`; of workers, to which a module cannot be sent.
    """

    root_dir: Path
    output_dir: Path
    before_dir: Path | None
    region_volume_thresh: float
    overwrite: bool
    modality: Callable[[Mapping[str, str]], str | None]
    slice_axis: Callable[[np.ndarray], int]


@dataclasses.dataclass(frozen=True)
class Result:
    """What is known of a sample.

    Attributes
    ----------
    record : dict
        As it lies in ``measures/``: ``volume``, ``organs``, ``alignment``, ``changes``,
        ``small_regions``, ``pictures``.
    info : dict of str to str
        The info file.
    label_names : dict of int to str
        From the names of the binary masks.
    axis_codes : str
        Of the volume, see `geometry.axis_codes`.
    has_identity : bool
        Of the volume, see `geometry.is_identity`.
    """

    record: dict
    info: dict[str, str]
    label_names: dict[int, str]
    axis_codes: str
    has_identity: bool


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """Files of one sample, by their headers; None where there is none. How they are looked at."""

    volume: nifti.Header
    mask: nifti.Header | None
    before: nifti.Header | None
    info: dict
    label_names: dict
    modality: str | None
    slice_axis: int


def memory(sample: samples.Sample) -> int:
    """Estimate the bytes that `render` needs for a sample."""
    size = nifti.mask_memory(sample.mask_path) if sample.has_mask else 0
    return _MEMORY_BESIDES + int(size / 2 * _MEMORY_PER_VOXEL)


def render(sample: samples.Sample, settings: ReportSettings) -> Result | calls.Finished:
    """Measure one sample and draw its pictures, unless its record says that this was done.

    DatasetError where a file is missing or damaged, or shapes differ, or where a folder has the
    name of a file to write. The record is written last: it says that the pictures are there, and
    of which inputs.
    """
    record_path, pictures = _places(sample.stem, settings.output_dir)
    inputs = _inputs(sample, settings)
    affine = inputs.volume.affine
    seen = geometry.axis_codes(affine), geometry.is_identity(affine)
    result = Result({}, inputs.info, inputs.label_names, *seen)
    digest = _digest(inputs, settings)
    finished = None if settings.overwrite else _finished(record_path, digest, pictures)
    if finished:
        return calls.Finished(dataclasses.replace(result, record=finished))
    record, drawn = _measure_and_draw(sample.stem, inputs, settings.region_volume_thresh)
    names = sorted(pictures[ending].name for ending in drawn)
    record = {"digest": digest, **record, "pictures": names}
    for ending, path in pictures.items():
        if ending in drawn:
            files.put(path, drawn[ending])
        else:
            files.remove(path)
    files.put(record_path, json_files.sealed(record))
    return dataclasses.replace(result, record=record)


def _places(stem, output_dir):
    """Where the record of a sample goes, and its pictures by the endings of their names."""
    record_path = output_dir / MEASURES / f"{stem}.json"
    pictures = {ending: output_dir / PICTURES / f"{stem}{ending}" for ending in _ENDINGS}
    for path in (record_path, *pictures.values(), output_dir / PAGES / f"{stem}.html"):
        if os.path.isdir(path):
            reason = f"{path}: a folder, expected a file of the report; move it away"
            raise errors.DatasetError(reason, file=path, code="write")
    return record_path, pictures


def _finished(record_path, digest, pictures):
    """The record, where it is as it was written, of these inputs, and its pictures are there."""
    with contextlib.suppress(errors.DamagedFileError):  # there is none yet
        record = json_files.unsealed(record_path)
        there = {path.name for path in pictures.values() if path.is_file()}
        if record and record.get("digest") == digest and there.issuperset(record["pictures"]):
            return record
    return None


def _inputs(sample, settings):
    source, mask, before = sample, None, None
    if settings.before_dir is not None:
        place = settings.before_dir / sample.directory.relative_to(settings.root_dir)
        before = samples.Sample(sample.stem, place)
        # A tree that denoising wrote to another --output_dir holds masks only.
        if not sample.volume_path.exists() and os.path.exists(before.volume_path):
            source = before
    volume = nifti.read_header(source.volume_path)
    if sample.has_mask:
        mask = nifti.read_header(sample.mask_path)
    mask_before = kept_masks.before(mask, before.mask_path) if mask and before else None
    for header in filter(None, (mask, mask_before)):
        if header.shape != volume.shape:
            reason = f"shape {header.shape} differs from its volume's {volume.shape}"
            sides = {"expected": volume.shape, "found": header.shape}
            text = f"{header.path}: {reason}"
            raise errors.DatasetError(text, file=header.path, code="shape", **sides)
    names = {value: name for value, name in sample.binary_mask_paths() if value}
    if len(set(names.values())) < len(names):
        named = errors.listed(f"{value} {name}" for value, name in names.items())
        reason = f"{sample.directory}: binary masks of one name for two labels: {named}"
        raise errors.DatasetError(reason, file=sample.directory, code="labels", found=named)
    info = samples.read_info(source.info_path)
    how = settings.modality(info), settings.slice_axis(volume.affine)
    return _Inputs(volume, mask, mask_before, info, names, *how)


def _digest(inputs, settings):
    """SHA-256 of all that measures and pictures depend on, the files by their stored CRC32."""
    import matplotlib as mpl

    headers = inputs.volume, inputs.mask, inputs.before
    depends_on = [
        FORMAT,
        mpl.__version__,
        settings.region_volume_thresh,
        inputs.modality,
        sorted(inputs.label_names.items()),
        *(header and (header.source_crc, header.n_bytes) for header in headers),
        *((inputs.slice_axis,) if inputs.slice_axis != 2 else ()),
    ]
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()


def _measure_and_draw(stem, inputs, region_volume_thresh):
    """Return the record of one sample, and its pictures by the endings of their names."""
    header = inputs.volume
    mask = _read_mask(inputs.mask) if inputs.mask else None
    record, before_slices = _measure_mask(mask, inputs, region_volume_thresh)
    views, steps = slices.views(header.affine), slices.coarse_steps(header.spacing)
    compared = {inputs.slice_axis: before_slices}
    if mask is not None:
        views = {
            plane: _cropped(view, header, mask, compared.get(view.axis, {}))
            for plane, view in views.items()
        }
    chosen = {plane: _choose(view, header, mask, steps) for plane, view in views.items()}
    wanted = {view.axis: chosen[plane] for plane, view in views.items()}
    axis = inputs.slice_axis
    wanted[axis] = sorted({*wanted[axis], *before_slices})
    reading = slices.read(header, wanted, steps)
    modality, window = _window(inputs.modality, reading.coarse)
    fit = _measure_alignment(mask, reading.coarse, inputs, modality, window)
    record.update(alignment=fit, volume=_describe(header, modality, reading))
    panels = {plane: _panels(view, header, mask, reading) for plane, view in views.items()}
    names = {organ["value"]: name for name, organ in (record["organs"] or {}).items()}
    rows = _rows(panels, chosen, header)
    pictures = {
        ".png": drawing.montage(_title(stem, record["volume"]), rows, window, names),
        "_small.png": drawing.thumbnail(panels["axial"][chosen["axial"][0]], window),
    }
    if before_slices:
        after = next(panels[plane] for plane, view in views.items() if view.axis == axis)
        upright = [(after[z], after[z].view.upright(old)) for z, old in before_slices.items()]
        title = _changes_title(stem, record["changes"], len(upright))
        pictures["_changes.png"] = drawing.changes(title, upright, window)
    return record, pictures


def _read_mask(header):
    """The voxels of a mask whose header was read before; the record tells of these two together."""
    return nifti.read_mask(header.path, header).data


def _measure_mask(mask, inputs, region_volume_thresh):
    """Measures of a mask, and {index: slice before denoising} where most changed."""
    if mask is None:
        return {"organs": None, "small_regions": None, "changes": None}, {}
    zooms = inputs.mask.zooms
    regions.check_sizes(zooms, region_volume_thresh)  # all sizes are counted by them
    organs = measures.measure(mask, inputs.label_names, inputs.mask.affine, zooms)
    if inputs.before is None:
        n_small = len(regions.find_small_regions(mask, zooms, region_volume_thresh))
        return {"organs": organs, "changes": None, "small_regions": n_small}, {}
    before = mask if inputs.before is inputs.mask else _read_mask(inputs.before)
    axis = inputs.slice_axis
    found = changes.find(before, mask, zooms, region_volume_thresh, axis)
    n_small = sum(counts["small_after"] for counts in found.per_label.values())
    changed = {
        "n_voxels": int(found.per_slice.sum()),
        "n_slices": int(np.count_nonzero(found.per_slice)),
        "per_label": {str(value): counts for value, counts in found.per_label.items()},
    }
    numbers = found.slices(_N_CHANGED_SLICES)
    before_slices = {z: slices.one_slice(before, axis, z).copy() for z in numbers}
    return {"organs": organs, "small_regions": n_small, "changes": changed}, before_slices


def _choose(view, header, mask, steps):
    """Indices of the slices to show across one axis, the best first."""
    n_slices = _N_SLICES[view.plane]
    if mask is None:
        return slices.choose(np.zeros((header.shape[view.axis], 256), np.int64), n_slices)
    areas = slices.areas(slices.coarse(mask, steps), view.axis)
    return [index * steps[view.axis] for index in slices.choose(areas, n_slices)]


def _window(modality, coarse_volume):
    """Modality, by the values where the scanner does not give it, and the values to show."""
    if modality is None:
        modality = "CT" if coarse_volume.min() < _CT_BELOW else "MRI"
    if modality == "CT":
        return modality, anatomy.CT_WINDOW
    inside = coarse_volume[coarse_volume != 0]  # padding around a rotated field of view
    if not inside.size:
        return modality, (0.0, 1.0)
    low, high = np.percentile(inside, _MRI_PERCENTILES).tolist()
    return modality, (low, max(high, low + 1e-6))


def _measure_alignment(mask, coarse_volume, inputs, modality, window):
    if mask is None:
        return None
    header = inputs.volume
    steps = slices.coarse_steps(header.spacing)
    coarse_mask = np.ascontiguousarray(slices.coarse(mask, steps))
    fit = alignment.find_fit(coarse_volume, coarse_mask, header.spacing * steps, window)
    found = {"fat_share": None, "gain": 1.0, "shift_ras_mm": None}
    if modality == "CT":
        found["fat_share"] = measures.fat_share(coarse_volume, coarse_mask, inputs.label_names)
    if fit is not None and fit.is_shifted:
        directions = header.affine[:3, :3] / header.spacing
        found.update(gain=fit.gain, shift_ras_mm=(directions @ fit.shift_mm).tolist())
    return found


def _describe(header, modality, reading):
    start, end = geometry.orientation_codes(header.affine)
    return {
        "modality": modality,
        "shape": list(header.shape),
        "spacing": header.spacing.tolist(),
        "orientation_from": start,
        "orientation_to": end,
        "tilt_degrees": geometry.obliquity_degrees(header.affine),
        "values": [reading.lowest, reading.highest],
    }


def _title(stem, volume):
    shape = " x ".join(map(str, volume["shape"]))
    spacing = " x ".join(f"{step:.3g}" for step in volume["spacing"])
    size = f"{shape} voxels of {spacing} mm"
    return (
        f"{drawing.caption(stem)}    {volume['modality']}    {size}    {volume['orientation_to']}"
    )


def _changes_title(stem, changed, n_shown):
    found = f"{changed['n_voxels']:,} voxels in {changed['n_slices']} slices changed"
    return f"{drawing.caption(stem)}    {found}; the {n_shown} slices with most changes"


def _spacing(view, header):
    return header.spacing[view.rows], header.spacing[view.columns]


def _cropped(view, header, mask, before_slices):
    """The view of the part of all pictures that holds all labels, with a margin.

    Also what changed in slices in which all changes would lie outside of it.
    """
    flat = view.upright(mask.max(axis=view.axis))
    box = drawing.crop_box(flat, _spacing(view, header))
    for index, old in before_slices.items():
        changed = view.upright(old) != view.cut(mask, index)
        if not changed[box].any():
            flat = np.maximum(flat, changed)
    return dataclasses.replace(view, box=drawing.crop_box(flat, _spacing(view, header)))


def _panels(view, header, mask, reading):
    """{index: panel} of the slices that were read across one axis."""
    panels = {}
    for (axis, index), plane in reading.planes.items():
        if axis == view.axis:
            image = view.upright(plane)
            shown = np.zeros(image.shape, np.uint8) if mask is None else view.cut(mask, index)
            title = f"{view.plane} {index + 1}/{header.shape[axis]}"
            panels[index] = drawing.Panel(view, title, image, shown, _spacing(view, header))
    return panels


def _rows(panels, chosen, header):
    """Rows of panels: axial ones from head to foot, then coronal and sagittal ones."""
    codes = geometry.axis_codes(header.affine)
    ordered = {}
    for plane, indices in chosen.items():
        of_plane = [panels[plane][index] for index in sorted(indices)]
        is_rising = codes[of_plane[0].view.axis] in "RAS"
        ordered[plane] = of_plane[::-1] if is_rising else of_plane
    axial = ordered["axial"]
    return [
        *(axial[k : k + _AXIAL_PER_ROW] for k in range(0, len(axial), _AXIAL_PER_ROW)),
        ordered["coronal"] + ordered["sagittal"],
    ]

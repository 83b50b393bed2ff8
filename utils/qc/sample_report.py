"""One sample's part of the quality report: measures and pictures, redone where inputs changed."""

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import amos22
from utils.qc import alignment, anatomy, changes, drawing, measures, slices
from utils.running import calls
from utils.storage import files, nifti, samples

# Raise it when pictures or measures come out differently: those of earlier versions are redone.
FORMAT = 1
PICTURES, MEASURES = "pictures", "measures"
_N_AXIAL, _N_CORONAL, _N_SAGITTAL = 6, 2, 2
_AXIAL_PER_ROW = 3
_N_CHANGED_SLICES = 4
# Modality unknown: only CT has values this far below 0.
_CT_BELOW = -200.0
_MRI_PERCENTILES = (1.0, 99.5)
# Both masks, and what passes by; matplotlib and the coarse volume come on top.
_MEMORY_PER_VOXEL = 2.5
_MEMORY_BESIDES = 300 << 20


@dataclasses.dataclass(frozen=True)
class Task:
    """What is the same for all samples.

    Attributes
    ----------
    root_dir, output_dir : Path
    before_dir : Path or None
        Tree with the masks before denoising; also where volumes and info files are taken from
        that `root_dir` lacks.
    region_volume_thresh : float, mm^3
    overwrite : bool
    """

    root_dir: Path
    output_dir: Path
    before_dir: Path | None
    region_volume_thresh: float
    overwrite: bool


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
    """

    record: dict
    info: dict
    label_names: dict


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """Files of one sample, by their headers; None where there is none."""

    volume: nifti.Header
    mask: nifti.Header | None
    before: nifti.Header | None
    info: dict
    label_names: dict

    @property
    def modality(self):
        return amos22.modality(self.info)


def _in_before(sample, task):
    place = sample.directory.relative_to(task.root_dir)
    return samples.Sample(sample.stem, task.before_dir / place)


def _with_volume(sample, task):
    # A tree that denoising wrote to another --output_dir holds masks only.
    if task.before_dir is not None and not sample.volume_path.exists():
        return _in_before(sample, task)
    return sample


def memory(sample: samples.Sample) -> int:
    """Estimate the bytes that `render` needs for a sample."""
    size = nifti.mask_memory(sample.mask_path) if sample.has_mask else 0
    return _MEMORY_BESIDES + int(size / 2 * _MEMORY_PER_VOXEL)


def render(sample: samples.Sample, task: Task):
    """Measure one sample and draw its pictures.

    Parameters
    ----------
    sample : samples.Sample
    task : Task

    Returns
    -------
    Result or calls.Finished

    Raises
    ------
    DatasetError
        A file is missing or damaged, or shapes differ.

    Notes
    -----
    The record is written last: it tells that the pictures are there, and of which inputs.
    """
    inputs = _inputs(sample, task)
    digest = _digest(inputs, task)
    record_path = task.output_dir / MEASURES / f"{sample.stem}.json"
    finished = None if task.overwrite else _finished(record_path, digest, task.output_dir)
    if finished is not None:
        return calls.Finished(Result(finished, inputs.info, inputs.label_names))
    record, pictures = _Drawing(sample, inputs, task).all()
    record = {"digest": digest, **record, "pictures": sorted(pictures)}
    for name, content in pictures.items():
        _put(task.output_dir / PICTURES / name, content)
    for name in _pictures_of(sample) - set(pictures):
        files.remove(task.output_dir / PICTURES / name)
    _put(record_path, json.dumps(record, indent=1).encode())
    return Result(record, inputs.info, inputs.label_names)


def _pictures_of(sample):
    return {f"{sample.stem}{ending}" for ending in (".png", "_small.png", "_changes.png")}


def _put(path, content):
    with files.whole(path) as handle:
        handle.write(content)


def _finished(record_path, digest, output_dir):
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(record_path.read_bytes())
        if record.get("digest") == digest and all(
            (output_dir / PICTURES / name).is_file() for name in record["pictures"]
        ):
            return record
    return None


def _inputs(sample, task):
    volume = nifti.read_header(_with_volume(sample, task).volume_path)
    mask = before = None
    if sample.has_mask:
        mask = nifti.read_header(sample.mask_path)
        before = _before(sample, task)
    for header in filter(None, (mask, before)):
        if header.shape != volume.shape:
            raise errors.DatasetError(
                f"{header.path}: shape {header.shape} differs from its volume's {volume.shape}",
                file=header.path,
                code="shape",
                expected=volume.shape,
                found=header.shape,
            )
    return _Inputs(
        volume,
        mask,
        before,
        samples.read_info(_with_volume(sample, task).info_path),
        {value: name for value, name in sample.binary_mask_paths() if value},
    )


def _before(sample, task):
    if task.before_dir is None:
        return None
    path = _in_before(sample, task).mask_path
    if not path.exists():
        raise errors.DatasetError(
            f"{path}: missing, expected the mask before denoising", file=path, code="no_mask"
        )
    return nifti.read_header(path)


def _digest(inputs, task):
    """SHA-256 of all that measures and pictures depend on, the files by their stored CRC32."""
    import matplotlib as mpl

    told = [
        FORMAT,
        mpl.__version__,
        task.region_volume_thresh,
        inputs.modality,
        sorted(inputs.label_names.items()),
    ]
    told += [
        header and (header.source_crc, header.n_bytes)
        for header in (inputs.volume, inputs.mask, inputs.before)
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class _Drawing:
    """The work on one sample, from reading to the bytes of its pictures."""

    def __init__(self, sample, inputs, task):
        self.sample, self.inputs, self.task = sample, inputs, task
        self.header = inputs.volume
        self.views = slices.views(self.header.affine)
        self.steps = slices.coarse_steps(self.header.spacing)
        self.record, self.mask, self.changes = {}, None, None
        self.boxes, self.before_slices = {}, {}

    def all(self):
        """Return the record and the pictures by file name."""
        self._look_at_mask()
        self._find_boxes()
        chosen = self._choose()
        wanted = {view.axis: list(chosen[plane]) for plane, view in self.views.items()}
        wanted[2] = sorted({*wanted[2], *self.before_slices})
        reading = slices.read(self.header, wanted, self.steps)
        modality, window = _window(self.inputs.modality, reading.coarse)
        self._look_at_volume(reading.coarse, modality, window)
        stem = self.sample.stem
        rows = self._rows(reading, chosen)
        names = self._names_shown()
        start, end = geometry.orientation_codes(self.header.affine)
        shape = " x ".join(map(str, self.header.shape))
        spacing = " x ".join(f"{step:.3g}" for step in self.header.spacing)
        title = f"{stem}    {modality}    {shape} voxels of {spacing} mm    {end}"
        pictures = {
            f"{stem}.png": drawing.montage(title, rows, window, names),
            f"{stem}_small.png": drawing.thumbnail(
                self._panel(self.views["axial"], reading, chosen["axial"][0]), window
            ),
        }
        if self.before_slices:
            pictures[f"{stem}_changes.png"] = self._changes_picture(reading, window)
        self.record["volume"] = {
            "modality": modality,
            "shape": list(self.header.shape),
            "spacing": self.header.spacing.tolist(),
            "orientation_from": start,
            "orientation_to": end,
            "tilt_degrees": _tilt_degrees(self.header.affine),
        }
        return self.record, pictures

    def _look_at_mask(self):
        inputs = self.inputs
        if inputs.mask is None:
            self.record.update(organs=None, small_regions=None, changes=None)
            return
        self.mask = nifti.read_mask(inputs.mask.path).data
        zooms, threshold = inputs.mask.zooms, self.task.region_volume_thresh
        self.record["organs"] = measures.measure(
            self.mask, inputs.label_names, inputs.mask.affine, zooms
        )
        if inputs.before is None:
            self.record["changes"] = None
            self.record["small_regions"] = changes.small_regions(self.mask, zooms, threshold)
            return
        before = nifti.read_mask(inputs.before.path).data
        self.changes = changes.find(before, self.mask, zooms, threshold)
        self.before_slices = {
            z: before[:, :, z].copy() for z in self.changes.slices(_N_CHANGED_SLICES)
        }
        per_label = self.changes.per_label
        self.record["small_regions"] = sum(of["small_after"] for of in per_label.values())
        self.record["changes"] = {
            "n_voxels": len(self.changes.places),
            "n_slices": len(np.unique(self.changes.places[:, 2])),
            "per_label": {str(value): counts for value, counts in per_label.items()},
        }

    def _choose(self):
        counts = {"axial": _N_AXIAL, "coronal": _N_CORONAL, "sagittal": _N_SAGITTAL}
        chosen = {}
        for plane, view in self.views.items():
            if self.mask is None:
                areas = np.zeros((self.header.shape[view.axis], 256), np.int64)
                chosen[plane] = slices.choose(areas, counts[plane])
                continue
            coarse = slices.coarse(self.mask, self.steps)
            step = self.steps[view.axis]
            chosen[plane] = [
                index * step
                for index in slices.choose(slices.areas(coarse, view.axis), counts[plane])
            ]
        return chosen

    def _find_boxes(self):
        """Per plane the part of a picture that is shown: that of all its labels, with a margin."""
        for plane, view in self.views.items():
            self.boxes[plane] = (slice(None), slice(None))
            if self.mask is not None:
                flat = view.upright(self.mask.max(axis=view.axis))
                self.boxes[plane] = drawing.crop_box(flat, self._spacing(view))

    def _names_shown(self):
        return {organ["value"]: name for name, organ in (self.record["organs"] or {}).items()}

    def _look_at_volume(self, coarse_volume, modality, window):
        self.record["alignment"] = None
        if self.mask is None:
            return
        coarse_mask = np.ascontiguousarray(slices.coarse(self.mask, self.steps))
        spacing = self.header.spacing * self.steps
        fit = alignment.find_fit(coarse_volume, coarse_mask, spacing, window)
        fat = (
            measures.fat_share(coarse_volume, coarse_mask, self.inputs.label_names)
            if modality == "CT"
            else None
        )
        found = {"fat_share": fat, "gain": 1.0, "shift_ras_mm": None}
        if fit is not None and fit.is_shifted:
            directions = self.header.affine[:3, :3] / self.header.spacing
            found.update(gain=fit.gain, shift_ras_mm=(directions @ fit.shift_mm).tolist())
        self.record["alignment"] = found

    def _rows(self, reading, chosen):
        """Rows of panels: axial ones from head to foot, then coronal and sagittal ones."""
        axial, coronal, sagittal = (
            [
                self._panel(self.views[plane], reading, index)
                for index in sorted(chosen[plane], key=lambda index: -self._height(plane, index))
            ]
            for plane in ("axial", "coronal", "sagittal")
        )
        return [
            *(axial[k : k + _AXIAL_PER_ROW] for k in range(0, len(axial), _AXIAL_PER_ROW)),
            coronal + sagittal,
        ]

    def _height(self, plane, index):
        """Where a slice lies, growing towards head, front and the patient's right."""
        axis = self.views[plane].axis
        return index * self.header.affine["sagittal coronal axial".split().index(plane), axis]

    def _spacing(self, view):
        return self.header.spacing[view.rows], self.header.spacing[view.columns]

    def _panel(self, view, reading, index):
        image = view.upright(reading.planes[view.axis, index])
        shown = np.zeros(image.shape, np.uint8) if self.mask is None else view.cut(self.mask, index)
        title = f"{view.plane} {index + 1}/{self.header.shape[view.axis]}"
        panel = drawing.Panel(view, title, image, shown, self._spacing(view))
        return panel.cropped(*self.boxes[view.plane])

    def _changes_picture(self, reading, window):
        view = next(view for view in self.views.values() if view.axis == 2)
        slices = []
        for z, before in self.before_slices.items():
            slices.append(
                (self._panel(view, reading, z), view.upright(before)[self.boxes[view.plane]])
            )
        changed = self.record["changes"]
        title = (
            f"{self.sample.stem}    {changed['n_voxels']:,} voxels in {changed['n_slices']} "
            f"slices changed; the {len(slices)} slices with most changes"
        )
        return drawing.changes(title, slices, window)


def _window(modality, coarse_volume):
    """Modality, by the values where the scanner does not tell it, and the values to show."""
    if modality is None:
        modality = "CT" if coarse_volume.min() < _CT_BELOW else "MRI"
    if modality == "CT":
        return modality, anatomy.CT_WINDOW
    inside = coarse_volume[coarse_volume != 0]  # padding around a rotated field of view
    if not inside.size:
        return modality, (0.0, 1.0)
    low, high = np.percentile(inside, _MRI_PERCENTILES).tolist()
    return modality, (low, max(high, low + 1e-6))


def _tilt_degrees(affine):
    cosines = np.abs(affine[:3, :3] / geometry.spacing(affine)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))

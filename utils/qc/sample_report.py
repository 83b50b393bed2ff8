"""One sample's part of the quality report: measures and pictures, redone where inputs changed."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.qc import (
    alignment,
    anatomy,
    archive_scans,
    binning,
    case_files,
    judging,
    mask_layers,
    measures,
    sample_pictures,
    slices,
    viewer_data,
    volume_stream,
)
from utils.running import calls
from utils.storage import files, json_files, marks, nifti

# Raise it when pictures or measures come out differently: those of earlier versions are redone.
FORMAT = 3
PICTURES, MEASURES, PAGES = "pictures", "measures", "samples"
_SCRIPT = ".js"
# Endings of the names of a sample's files -> their folders; and of those of earlier versions.
_FOLDERS = {
    **dict.fromkeys(
        (sample_pictures.MONTAGE, sample_pictures.THUMBNAIL, sample_pictures.CHANGES), PICTURES
    ),
    _SCRIPT: PAGES,
}
_OUTDATED = {**dict.fromkeys((".png", "_small.png", "_changes.png"), PICTURES), ".html": PAGES}
# Modality unknown: only CT has values this far below 0.
_CT_BELOW = -200.0
_MRI_PERCENTILES = (1.0, 99.5)
# So that black and white differ where all values are the same; in parts of the value.
_LEAST_WIDTH = 1e-6
# One mask and what passes by; later the viewer's volume. Of 768 x 768 x 512 voxels it took 415 MiB.
_MEMORY_PER_VOXEL, _MEMORY_PER_BIN = 1.1, 6
_MEMORY_BESIDES = 180 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What is known of a sample.

    Attributes
    ----------
    record : dict
        As it lies in ``measures/``: ``volume``, ``organs``, ``alignment``, ``changes``,
        ``small_regions``, ``mask_crc32``, ``prediction``, ``prediction_fault``, ``pictures``,
        ``sizes`` of all its files.
    info : dict of str to str
        The info file.
    label_names : dict of int to str
        From the names of the binary masks.
    affine : (4, 4) float
        Of the volume.
    source_crc : str
        Of what the volume was made of; see `marks.SOURCE`.
    flags : tuple of judging.Flag
        What is wrong with its files by themselves.
    """

    record: dict
    info: dict[str, str]
    label_names: dict[int, str]
    affine: np.ndarray
    source_crc: str
    flags: tuple[judging.Flag, ...] = ()


def memory(sample: case_files.Case) -> int:
    """Estimate the bytes that `render` needs for a sample."""
    path = sample.mask_path if sample.has_mask else sample.volume_path
    try:
        header = nifti.read_header(path, glance=True)
    except errors.DamagedFileError:  # it will fail at once
        return _MEMORY_BESIDES
    n_bins = np.prod(binning.Grid.of(header.shape, 2).size, dtype=object)
    # Masks of single organs are joined; one may have to be brought into order, which takes a copy.
    masks = sample.masks if isinstance(sample, archive_scans.Scan) else {}
    n_copies = int(any(masks))
    per_voxel = _MEMORY_PER_VOXEL + n_copies
    most = max(per_voxel * header.n_voxels, _MEMORY_PER_BIN * n_bins)
    return _MEMORY_BESIDES + int(most)


def render(sample: case_files.Case, settings: case_files.ReportSettings) -> Result | calls.Finished:
    """Measure one sample and draw its pictures, unless its record says that this was done.

    DatasetError where a file is missing or damaged, or shapes differ, or where a folder has the
    name of a file to write. The record is written last: it says that all the other files are there,
    and of which inputs.
    """
    record_path, places, outdated = _places(sample.stem, settings.output_dir)
    inputs = case_files.of(sample, settings)
    volume = inputs.volume
    source_crc = marks.read(volume.descrip).get(marks.SOURCE, volume.source_crc)
    result = Result({}, inputs.info, inputs.label_names, volume.affine, source_crc, inputs.flags)
    digest = _digest(inputs, settings)
    finished = None if settings.overwrite else _finished(record_path, digest, places)
    if finished:
        return calls.Finished(dataclasses.replace(result, record=finished))
    measured, made = _measure_and_draw(sample.stem, inputs, settings.region_volume_thresh)
    sizes = {ending: len(content) for ending, content in made.items()}
    record = {"digest": digest, **measured, **_listed(places, sizes)}
    for ending, path in places.items():
        if ending in made:
            files.put(path, made[ending])
        else:
            files.remove(path)
    for path in outdated:
        files.remove(path)
    files.put(record_path, json_files.sealed(record))
    return dataclasses.replace(result, record=record)


def _places(stem, output_dir):
    """Where the record of a sample goes, its files by the endings of their names, and old ones."""
    record_path = output_dir / MEASURES / f"{stem}.json"
    places, outdated = (
        {ending: output_dir / folder / f"{stem}{ending}" for ending, folder in folders.items()}
        for folders in (_FOLDERS, _OUTDATED)
    )
    check_files([record_path, *places.values(), *outdated.values()])
    return record_path, places, outdated.values()


def check_files(paths: Iterable[Path]) -> None:
    """Raise a DatasetError where a folder has the name of a file of the report."""
    for path in paths:
        if os.path.isdir(path):
            reason = f"{path}: a folder, expected a file of the report; move it away"
            raise errors.DatasetError(reason, file=path, code="write")


def _listed(places, sizes):
    """What the record says of the files: which pictures there are, and how long all files are."""
    names = {ending: places[ending].name for ending in sizes}
    pictures = sorted(name for ending, name in names.items() if _FOLDERS[ending] == PICTURES)
    return {"pictures": pictures, "sizes": {names[ending]: n for ending, n in sizes.items()}}


def _finished(record_path, digest, places):
    """The record, where it is as it was written, of these inputs, and its files are there."""
    with contextlib.suppress(errors.DamagedFileError):  # there is none yet
        record = json_files.unsealed(record_path)
        there = {end: path.stat().st_size for end, path in places.items() if path.is_file()}
        if record and record.get("digest") == digest and record | _listed(places, there) == record:
            return record
    return None


def _digest(inputs, settings):
    """SHA-256 of all that measures and pictures depend on, the files by their stored CRC32."""
    import PIL

    volume, masks = inputs.volume, (inputs.mask, inputs.before, inputs.prediction)
    depends_on = [
        FORMAT,
        PIL.__version__,
        settings.region_volume_thresh,
        inputs.modality,
        inputs.slice_axis,
        sorted(inputs.label_names.items()),
        *(volume.source_crc, volume.n_bytes),
        *(mask and mask.key() for mask in masks),
    ]
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()


def _measure_and_draw(stem, inputs, region_volume_thresh):
    """Return the record of one sample, and its files by the endings of their names."""
    header = inputs.volume
    grid = binning.Grid.of(header.shape, inputs.slice_axis)
    views, steps = slices.views(header.affine), slices.coarse_steps(header.spacing)
    masks = mask_layers.read(inputs, views, grid, region_volume_thresh)
    wanted = sample_pictures.wanted(views, masks, grid.across)
    reading = volume_stream.read(header, wanted, steps, grid)
    modality, window = _window(inputs.modality, reading.coarse)
    fit = _measure_alignment(masks.coarse, reading.coarse, inputs, modality, window)
    if masks.coarse is not None:
        measures.add_intensities(masks.record["organs"], reading.coarse, masks.coarse)
    volume = _describe(header, modality, reading, masks.record["mask_crc32"])
    record = {**masks.record, "alignment": fit, "volume": volume}
    made = sample_pictures.draw(stem, inputs, record, masks, reading, window)
    organs = {organ["value"]: name for name, organ in (record["organs"] or {}).items()}
    predicted = dict(inputs.prediction.names) if inputs.prediction else {}
    named = {**predicted, **inputs.label_names, **organs}
    named.pop(0, None)
    data = {
        **viewer_data.geometry(grid, header.spacing, views),
        **viewer_data.greys(reading.binned, grid.across, modality, window),
        "layers": masks.layers,
        "labels": viewer_data.legend(named),
        "organs": record["organs"],
        "changes": record["changes"],
        "prediction": record["prediction"],
    }
    return record, {**made, _SCRIPT: viewer_data.script(stem, data)}


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
    return modality, (low, max(high, low + _LEAST_WIDTH * max(1.0, abs(low))))


def _measure_alignment(coarse_mask, coarse_volume, inputs, modality, window):
    if coarse_mask is None:
        return None
    header = inputs.volume
    spacing = header.spacing * slices.coarse_steps(header.spacing)
    fit = alignment.find_fit(coarse_volume, coarse_mask, spacing, window)
    found = {"fat_share": None, "gain": 1.0, "shift_ras_mm": None}
    if modality == "CT":
        found["fat_share"] = measures.fat_share(coarse_volume, coarse_mask, inputs.label_names)
    if fit is not None and fit.is_shifted:
        directions = header.affine[:3, :3] / header.spacing
        found.update(gain=fit.gain, shift_ras_mm=(directions @ fit.shift_mm).tolist())
    return found


def _describe(header, modality, reading, mask_crc):
    start, end = geometry.orientation_codes(header.affine)
    crc = reading.label_crc
    return {
        "modality": modality,
        "shape": list(header.shape),
        "spacing": header.spacing.tolist(),
        "orientation_from": start,
        "orientation_to": end,
        "tilt_degrees": geometry.obliquity_degrees(header.affine),
        "values": [reading.lowest, reading.highest],
        "is_mask": crc is not None and f"0x{crc:08x}" == mask_crc,
    }

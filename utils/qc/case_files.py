"""Which files one sample's part of the quality report is made of, and how they are looked at."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from utils import errors
from utils.qc import agreement, archive_scans, judging, label_files, predictions
from utils.storage import files, kept_masks, nifti, samples


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
    predicted : predictions.Predictions or None
    archive : archive_scans.Listed or None
        Without its scans, where these are looked at and not a grouped tree.
    """

    root_dir: Path
    output_dir: Path
    before_dir: Path | None
    region_volume_thresh: float
    overwrite: bool
    modality: Callable[[Mapping[str, str]], str | None]
    slice_axis: Callable[[np.ndarray], int]
    predicted: predictions.Predictions | None = None
    archive: archive_scans.Listed | None = None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What one sample's part of the report is made of.

    Attributes
    ----------
    volume : nifti.Header
    mask, before : label_files.LabelFile or None
        The multi-label mask, and the one before denoising, the same where that changed nothing.
    info : dict of str to str
        The info file.
    label_names : dict of int to str
        From the names of the binary masks.
    modality : str or None
        None where the info file does not tell.
    slice_axis : int
        Array axis along which slices were denoised.
    prediction : label_files.LabelFile or None
        A mask that somebody's program made, to look at beside the sample's.
    flags : tuple of judging.Flag
        What is wrong with its files by themselves, though it can be shown.
    """

    volume: nifti.Header
    mask: label_files.LabelFile | None
    before: label_files.LabelFile | None
    info: dict[str, str]
    label_names: dict[int, str]
    modality: str | None
    slice_axis: int
    prediction: label_files.LabelFile | None = None
    flags: tuple[judging.Flag, ...] = ()


Case = samples.Sample | archive_scans.Scan


def of(case: Case, settings: ReportSettings) -> Inputs:
    """Read the headers of a sample of the grouped tree, or of a scan of the archive.

    DatasetError where it cannot be shown.
    """
    if isinstance(case, archive_scans.Scan):
        return _of_archive(case, settings)
    return _of_tree(case, settings)


def paths(case: Case, settings: ReportSettings) -> dict[str, Path]:
    """``volume``, ``mask`` and ``info`` of a sample, as far as they are there."""
    if isinstance(case, archive_scans.Scan):
        return archive_scans.paths(case)
    return _paths_of_tree(case, settings)


def members(case: Case, settings: ReportSettings) -> dict[str, str]:
    """Which files of a sample lie in zips, where no other program opens them; see `paths`."""
    if isinstance(case, archive_scans.Scan):
        return archive_scans.members(case, settings.root_dir)
    return {}


def _of_archive(scan, settings):
    archive = settings.archive
    volume, mask, flags = archive_scans.open_files(scan, archive.organs)
    info, names = dict(scan.row), archive.label_names
    how = settings.modality(info), settings.slice_axis(volume.affine)
    predicted, faults = _prediction(scan.stem, volume, names, settings)
    flags = *scan.flags, *flags, *faults
    return Inputs(volume, mask, None, info, names, *how, predicted, flags)


def _paths_of_tree(sample, settings):
    """``volume``, ``mask`` and ``info`` of a sample of the grouped tree, as far as they are there.

    The mask is its own one; a tree that denoising wrote has the others in `before_dir`.
    """
    source = _source(sample, settings)
    paths = {"volume": source.volume_path, "mask": sample.mask_path, "info": source.info_path}
    return {key: path for key, path in paths.items() if files.is_file(path)}


def _before(sample, settings):
    """The sample in the tree with the masks before denoising; None without one."""
    if settings.before_dir is None:
        return None
    place = settings.before_dir / sample.directory.relative_to(settings.root_dir)
    return samples.Sample(sample.stem, place)


def _source(sample, settings):
    """The sample that has the volume: a tree that denoising wrote elsewhere holds masks only."""
    before = _before(sample, settings)
    if before is None or sample.volume_path.exists() or not before.volume_path.exists():
        return sample
    return before


def _of_tree(sample, settings):
    """Read the headers of a sample of the grouped tree, and its info file.

    DatasetError where a file is missing or damaged, shapes differ, or two labels have one name.
    """
    before, source = _before(sample, settings), _source(sample, settings)
    volume = nifti.read_header(source.volume_path)
    mask = nifti.read_header(sample.mask_path) if sample.has_mask else None
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
    own = _plain(mask)
    old = own if mask_before is mask else _plain(mask_before)
    predicted = _prediction(sample.stem, volume, names, settings)
    return Inputs(volume, own, old, info, names, *how, *predicted)


def _plain(header):
    return label_files.LabelFile.plain(header) if header else None


def _prediction(stem, volume, label_names, settings):
    """The prediction of a sample, and flags that say why there is none."""
    if settings.predicted is None:
        return None, ()
    found, fault = predictions.of_sample(settings.predicted, stem, volume, label_names)
    return found, (agreement.fault(fault),) if fault else ()

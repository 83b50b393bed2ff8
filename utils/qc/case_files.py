"""Which files one sample's part of the quality report is made of, and how they are looked at."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from utils import errors
from utils.storage import kept_masks, nifti, samples


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
class Inputs:
    """What one sample's part of the report is made of.

    Attributes
    ----------
    volume : nifti.Header
    mask, before : nifti.Header or None
        The multi-label mask, and the one before denoising, the same where that changed nothing.
    info : dict of str to str
        The info file.
    label_names : dict of int to str
        From the names of the binary masks.
    modality : str or None
        None where the info file does not tell.
    slice_axis : int
        Array axis along which slices were denoised.
    prediction : nifti.Header or None
        A mask that somebody's program made, to look at beside the sample's.
    """

    volume: nifti.Header
    mask: nifti.Header | None
    before: nifti.Header | None
    info: dict[str, str]
    label_names: dict[int, str]
    modality: str | None
    slice_axis: int
    prediction: nifti.Header | None = None


def of_tree(sample: samples.Sample, settings: ReportSettings) -> Inputs:
    """Read the headers of a sample of the grouped tree, and its info file.

    DatasetError where a file is missing or damaged, shapes differ, or two labels have one name.
    """
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
    return Inputs(volume, mask, mask_before, info, names, *how)

"""Denoising of a sample's masks on disk: what is finished or edited, the order of renames."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import denoise
from utils.routines import binary_masks
from utils.running import calls
from utils.storage import files, holding, kept_masks, marks, nifti, nifti_writing, samples

_PARTS = "kernel, halfedge, area, and the axis of slices where it is not the third"


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Parameters of `denoise.find_changes`; their text is the mark in a mask's header.

    It names the axis of the slices only where that is not the third one.
    """

    kernel_size: tuple[int, int]
    filter_halfedge: int
    region_area_thresh: float
    axis: int = 2

    def __str__(self):
        kx, ky = self.kernel_size
        axis = "" if self.axis == 2 else f",axis{self.axis}"
        return f"{kx}x{ky},{self.filter_halfedge},{self.region_area_thresh!r}{axis}"


@dataclasses.dataclass(frozen=True)
class Before:
    """The tree for the multi-label masks that denoising in place changes, as they were before.

    Where none `is_kept`, those that lie there and are outdated go all the same.
    """

    directory: Path
    is_kept: bool = True


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """One sample's mask as it was read, before any change."""

    sample: samples.Sample
    mask: nifti.Image
    marks: dict
    crc: str
    is_denoised: bool


def write(
    sample: samples.Sample,
    root_dir: Path,
    output_dir: Path,
    parameters: Parameters,
    overwrite: bool,
    slice_axis: Callable[[np.ndarray], int],
    before: Before | None = None,
) -> int | calls.Finished:
    """Denoise the masks of one sample and return the number of voxels whose label changed.

    Slices lie along the axis that the data set's `slice_axis` (`facts.DataSet`) tells. In place
    where `root_dir` and `output_dir` are the same folder, else into the same relative path of the
    latter. In place the mask that is about to change goes to the same relative path of `before`
    first. `overwrite` does it whatever lies there, also to a denoised mask. Else DatasetError
    where the binary masks disagree with the multi-label mask, the mask was denoised with other
    parameters, or a file of the output was edited.
    """
    place = sample.directory.relative_to(root_dir)
    target = samples.Sample(sample.stem, output_dir / place)
    with files.directory(target.directory), holding.folder(target.directory):
        loaded = _load(sample.mask_path, sample)
        axis = slice_axis(loaded.mask.header.affine)
        parameters = dataclasses.replace(parameters, axis=axis)
        if loaded.is_denoised and not overwrite:
            _check_parameters(loaded, parameters)
        if output_dir.resolve() == root_dir.resolve():
            keep = _keeping(loaded, before, place)
            return _write_in_place(loaded, parameters, overwrite, keep)
        binary_masks.check_consistent(sample, loaded.mask)
        may_stay = not overwrite and os.path.exists(target.mask_path)
        if may_stay and _is_finished(target, loaded, parameters):
            return calls.Finished(0)
        return _write_elsewhere(loaded, target, parameters, overwrite)


def _load(mask_path, sample):
    mask = nifti.read_mask(mask_path)
    read_marks = marks.read(mask.header.descrip)
    crc = nifti_writing.voxel_crc(mask.data)
    return _Loaded(sample, mask, read_marks, crc, marks.is_denoised(read_marks, crc))


def _check_parameters(loaded, parameters):
    before, path = loaded.marks[marks.DENOISED], loaded.mask.header.path
    if before != str(parameters):
        reason = f"denoised before with {before}, expected {parameters} ({_PARTS})"
        advice = "a second time would not start from the original mask"
        raise errors.DatasetError(
            f"{path}: {reason}; {advice} (--overwrite does it all the same)",
            file=path,
            code="parameters",
            expected=parameters,
            found=before,
        )


def _keeping(loaded, before, place):
    """Return what keeps the mask, as its file is, when the number of voxels to change is known."""
    if before is None:
        return lambda n_changed: None
    path = samples.Sample(loaded.sample.stem, before.directory / place).mask_path
    return lambda n_changed: _keep(loaded, path, before.is_kept and n_changed > 0)


def _keep(loaded, path, is_wanted):
    """Keep the mask as it is before its change, or see to it that no outdated one passes for it.

    A denoised mask is not what was there before: the one that was kept the first time is.
    """
    is_there = kept_masks.is_there(path)
    if is_there and loaded.is_denoised:
        return
    if is_there and not is_wanted:
        files.remove(path)
    if not is_wanted:
        return
    with files.directory(path.parent), holding.folder(path.parent):
        content = nifti.file_bytes(loaded.mask.header)
        if not files.holds(path, content):
            with nifti_writing.staged_copy(path, content) as pending:
                pending.commit()


def _write_in_place(loaded, parameters, overwrite, keep):
    sample, mask = loaded.sample, loaded.mask
    if loaded.is_denoised and not overwrite:
        binary_masks.check_consistent(sample, mask)
        return calls.Finished(0)
    paths = sample.binary_mask_paths()
    if overwrite:
        _, n_changed = _apply(mask, parameters)
    else:
        unnamed = binary_masks.unnamed_labels(mask, paths)
        # An interrupted run leaves some of the new mask's binary masks beside the old mask.
        not_old = _stale(mask, paths)
        affected, n_changed = _apply(mask, parameters)
        _refuse_edited(sample, mask, not_old, unnamed)
        paths = {key: path for key, path in paths.items() if key[0] in affected or key in not_old}
    _commit(loaded, sample, paths, parameters, lambda: keep(n_changed))
    return n_changed


def _write_elsewhere(loaded, target, parameters, overwrite):
    paths = {key: target.binary_mask_path(*key) for key in loaded.sample.binary_mask_paths()}
    n_changed = 0
    if overwrite or not loaded.is_denoised:
        _, n_changed = _apply(loaded.mask, parameters)
    if not overwrite:
        not_old = target.binary_mask_paths()
        if os.path.exists(target.mask_path):
            not_old = _stale(nifti.read_mask(target.mask_path), not_old)
        _refuse_edited(target, loaded.mask, not_old)
    _commit(loaded, target, paths, parameters)
    return n_changed


def _stale(mask, paths):
    wrong = set(binary_masks.stale(mask, paths))
    return {key: path for key, path in paths.items() if path in wrong}


def _refuse_edited(sample, mask, not_old, unnamed=()):
    """Refuse binary masks that are the label of neither the old nor the new multi-label mask."""
    edited = [path.name for path in binary_masks.stale(mask, not_old)]
    if edited or unnamed:
        raise binary_masks.disagreement(
            sample, edited + [f"none for label {value}" for value in unnamed]
        )


def _apply(mask, parameters):
    """Change the mask in place; return the labels that gained or lost voxels, and how many."""
    indices, values = denoise.find_changes(
        mask.data, mask.header.zooms, **dataclasses.asdict(parameters)
    )
    flat = mask.data.ravel(order="F")  # a view: masks are read in this order
    affected = set(np.unique(flat[indices]).tolist()) | set(np.unique(values).tolist())
    flat[indices] = values
    return affected, len(indices)


def _commit(loaded, target, paths, parameters, before_renaming=lambda: None):
    """Write binary masks, then the multi-label mask: its mark says that all of it is there."""
    mask = loaded.mask
    crc = nifti_writing.voxel_crc(mask.data)
    descrip = marks.text(marks.denoised(loaded.marks, str(parameters), loaded.crc, crc))
    with contextlib.ExitStack() as stack:
        staged = [
            stack.enter_context(nifti_writing.staged(path, binary_masks.encode(mask, value)))
            for (value, _), path in paths.items()
        ]
        whole = nifti_writing.encode_mask(mask.data, mask.header.affine, descrip)
        staged.append(stack.enter_context(nifti_writing.staged(target.mask_path, whole)))
        before_renaming()
        files.commit(staged)


def _is_finished(target, source, parameters):
    """Whether the output's mask is what would be written; one that a person edited is refused."""
    found = _load(target.mask_path, target)
    if not found.is_denoised:
        path, reason = target.mask_path, "was changed since it was denoised, or is not ours"
        text = f"{path}: {reason}; it is kept (--overwrite replaces it)"
        raise errors.DatasetError(text, file=path, code="edited")
    _check_parameters(found, parameters)
    input_crc = found.crc if source.is_denoised else found.marks.get(marks.INPUT_CRC)
    if input_crc != source.crc:
        return False
    wanted = {target.binary_mask_path(*key) for key in source.sample.binary_mask_paths()}
    paths = target.binary_mask_paths()
    return wanted <= set(paths.values()) and not binary_masks.stale(found.mask, paths)

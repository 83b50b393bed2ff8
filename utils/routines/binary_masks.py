"""Binary masks: made from the multi-label mask, compared with it, replaced together with it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.running import calls
from utils.storage import files, holding, marks, nifti, nifti_writing, samples

# What makes binary masks of multi-label masks, for messages.
ROUTINE = "routine 04 (NME: 03, described: 03)"


def write(
    sample: samples.Sample,
    label_names: dict[int, str],
    overwrite: bool = False,
    mask_faults: Callable[..., list[errors.DatasetError]] | None = None,
) -> int | calls.Finished:
    """Write the binary masks of one sample that are missing or not its label's (any more).

    Every label gets a file, present or not; `overwrite` writes all, and removes those of another
    label map. What the data set's `mask_faults` (`facts.DataSet`) finds is a warning. A multi-label
    mask that another tool stored in another data type becomes uint8. Returns how many masks were
    written. DatasetError where the mask has a label outside the map, or files of another label map
    lie there.
    """
    with holding.folder(sample.directory):
        return _write_held(sample, label_names, overwrite, mask_faults)


def _write_held(sample, label_names, overwrite, mask_faults):
    mask = nifti.read_mask(sample.mask_path)
    present = labels.check_known(mask.data, label_names, where=sample.mask_path)
    if mask_faults:
        for fault in mask_faults(samples.info_of(sample), present, sample.mask_path):
            errors.warn(str(fault))
    wanted = {sample.binary_mask_path(*entry): entry[0] for entry in label_names.items()}
    leftover = [path for path in sample.binary_mask_paths().values() if path not in wanted]
    if leftover and not overwrite:
        names = ", ".join(path.name for path in leftover)
        reason = f"binary masks of another label map: {names}; --overwrite removes them"
        raise errors.DatasetError(
            f"{sample.directory}: {reason}", file=leftover[0], code="leftover", found=names
        )
    with contextlib.ExitStack() as stack:
        staged = []
        for path, value in wanted.items():
            encoded = encode(mask, value)
            if overwrite or not nifti_writing.is_same_file(path, encoded):
                staged.append(stack.enter_context(nifti_writing.staged(path, encoded)))
        if mask.header.dtype != np.uint8 or mask.header.is_scaled:
            staged.append(stack.enter_context(_as_uint8(mask)))
        files.commit(staged)
    for path in leftover:
        files.remove(path)
    return len(staged) if staged or leftover else calls.Finished(0)


def _as_uint8(mask):
    """Stage a multi-label mask that another tool saved with another data type."""
    header = mask.header
    stored = f"stored as {header.dtype_name} by another tool"
    errors.warn(f"{header.path}: {stored}; written again as uint8, with the same labels")
    descrip = marks.text(marks.read(header.descrip))
    encoded = nifti_writing.encode_mask(mask.data, header.affine, descrip)
    return nifti_writing.staged(header.path, encoded)


def summary(outcome: calls.Outcome, label_names: dict[int, str]) -> str:
    """Sum up an outcome of `write` in one line."""
    n_written = sum(n for _, n in outcome.results)
    return f"{n_written} binary masks written, {len(label_names)} for each sample"


def encode(mask: nifti.Image, value: int) -> bytes:
    """Make the bytes of one label's binary mask file, in its multi-label mask's geometry."""
    return nifti_writing.encode_mask(mask.data, mask.header.affine, value=value)


def stale(mask: nifti.Image, paths: dict[tuple[int, str], Path]) -> list[Path]:
    """Find binary masks whose voxels are not those of their label in the multi-label mask.

    `paths` are `samples.Sample.binary_mask_paths`, or some of them.
    """
    return [
        path
        for (value, _), path in paths.items()
        if not nifti_writing.has_label(path, mask.data, value, encode(mask, value))
    ]


def unnamed_labels(mask: nifti.Image, paths: dict[tuple[int, str], Path]) -> list[int]:
    """Find labels of a mask that have no binary mask, where there are binary masks at all."""
    if not paths:
        return []
    present = np.flatnonzero(labels.counts(mask.data))
    return sorted(set(present.tolist()) - {value for value, _ in paths})


def check_consistent(sample: samples.Sample, mask: nifti.Image) -> None:
    """Refuse a sample whose binary masks are not what its multi-label mask says.

    Before `ROUTINE` there are none that could contradict it.
    """
    paths = sample.binary_mask_paths()
    wrong = [path.name for path in stale(mask, paths)]
    wrong += [f"none for label {value}" for value in unnamed_labels(mask, paths)]
    if wrong:
        raise disagreement(sample, wrong)


def disagreement(sample: samples.Sample, wrong: list[str]) -> errors.DatasetError:
    """Make the error for binary masks that contradict the multi-label mask."""
    names, path = ", ".join(wrong), sample.mask_path
    advice = f"corrections belong into the multi-label mask: run {ROUTINE} again"
    reason = f"binary masks disagree with it: {names}; {advice}"
    return errors.DatasetError(f"{path}: {reason}", file=path, code="stale", found=names)

"""Binary masks: made from the multi-label mask, compared with it, replaced together with it."""

import contextlib
import warnings
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.running import calls
from utils.storage import files, marks, nifti, samples

# What makes binary masks of multi-label masks, for messages.
ROUTINE = "routine 04 (NME: 03)"


def write(sample: samples.Sample, label_names: dict[int, str], overwrite: bool = False):
    """Write the binary masks of one sample that are missing or not its label's (any more).

    A multi-label mask that another tool stored in another data type becomes uint8.

    Parameters
    ----------
    sample : samples.Sample
    label_names : dict of int to str
        Every one gets a file, present or not.
    overwrite : bool
        Write all, and remove those of another label map.

    Returns
    -------
    int or calls.Finished
        How many masks were written.

    Raises
    ------
    DatasetError
        The mask has a label outside the map, or files of another label map lie there.
    """
    mask = nifti.read_mask(sample.mask_path)
    labels.check_known(mask.data, label_names, where=sample.mask_path)
    wanted = {(value, labels.file_form(name)) for value, name in label_names.items()}
    leftover = [path for key, path in sample.binary_mask_paths().items() if key not in wanted]
    if leftover and not overwrite:
        names = ", ".join(path.name for path in leftover)
        raise errors.DatasetError(
            f"{sample.directory}: binary masks of another label map: {names}; --overwrite removes "
            "them",
            file=leftover[0],
            code="leftover",
            found=names,
        )
    with contextlib.ExitStack() as stack:
        staged = []
        for value, name in sorted(wanted):
            path = sample.binary_mask_path(value, name)
            encoded = encode(mask, value)
            if overwrite or not nifti.is_same_file(path, encoded):
                staged.append(stack.enter_context(nifti.staged(path, encoded)))
        if mask.header.dtype != np.uint8 or mask.header.is_scaled:
            staged.append(stack.enter_context(_as_uint8(mask)))
        files.commit(staged)
    for path in leftover:
        files.remove(path)
    return len(staged) if staged or leftover else calls.Finished(0)


def _as_uint8(mask):
    """Stage a multi-label mask that another tool saved with another data type."""
    header = mask.header
    warnings.warn(
        f"{header.path}: stored as {header.dtype_name} by another tool; written again as "
        "uint8, with the same labels",
        errors.DataWarning,
        stacklevel=2,
    )
    descrip = marks.text(marks.read(header.descrip))
    return nifti.staged(header.path, nifti.encode_mask(mask.data, header.affine, descrip))


def summary(outcome: calls.Outcome, label_names: dict[int, str]) -> str:
    """Return the line that tells what became of an outcome of `write`."""
    n_written = sum(n for _, n in outcome.results)
    return f"{n_written} binary masks written, {len(label_names)} for each sample"


def memory(sample: samples.Sample) -> int:
    """Bytes that a routine needs which holds one sample's mask; see `nifti.mask_memory`."""
    return nifti.mask_memory(sample.mask_path)


def encode(mask: nifti.Mask, value: int) -> bytes:
    """Make the bytes of one label's binary mask file, in its multi-label mask's geometry."""
    return nifti.encode_mask(mask.data, mask.header.affine, value=value)


def stale(mask: nifti.Mask, paths: dict[tuple[int, str], Path]) -> list[Path]:
    """Find binary masks whose voxels are not their label's.

    Parameters
    ----------
    mask : nifti.Mask
        The multi-label mask.
    paths : dict of (int, str) to Path
        From `samples.Sample.binary_mask_paths`.

    Returns
    -------
    list of Path
    """
    return [
        path
        for (value, _), path in paths.items()
        if not nifti.has_label(path, mask.data, value, encode(mask, value))
    ]


def unnamed_labels(mask: nifti.Mask, paths: dict[tuple[int, str], Path]) -> list[int]:
    """Find labels of a mask that have no binary mask, where there are binary masks at all."""
    if not paths:
        return []
    present = np.flatnonzero(labels.counts(mask.data))
    return sorted(set(present.tolist()) - {value for value, _ in paths})


def check_consistent(sample: samples.Sample, mask: nifti.Mask) -> None:
    """Refuse a sample whose binary masks are not what its multi-label mask says.

    Raises
    ------
    DatasetError
        Names the files or labels; `ROUTINE` makes the binary masks anew.

    Notes
    -----
    Before routine 04 there are none that could contradict it.
    """
    paths = sample.binary_mask_paths()
    wrong = [path.name for path in stale(mask, paths)]
    wrong += [f"none for label {value}" for value in unnamed_labels(mask, paths)]
    if wrong:
        raise disagreement(sample, wrong)


def disagreement(sample: samples.Sample, wrong: list[str]) -> errors.DatasetError:
    """Make the error for binary masks that contradict the multi-label mask."""
    names = ", ".join(wrong)
    return errors.DatasetError(
        f"{sample.mask_path}: binary masks disagree with it: {names}; corrections belong into the "
        f"multi-label mask: run {ROUTINE} again",
        file=sample.mask_path,
        code="stale",
        found=names,
    )

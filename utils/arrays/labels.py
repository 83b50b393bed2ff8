"""Labels of a mask: how many voxels each has, unknown ones, prostate and uterus."""

import numpy as np

from utils import errors
from utils.arrays import regions

PROSTATE = 15
UTERUS = 16
LARGEST_LABEL = 255  # a mask is uint8
_PART_VOXELS = 1 << 20


def counts(data: np.ndarray) -> np.ndarray:
    """Count the voxels of every label of a mask (uint8): (256,) int64."""
    total = np.zeros(LARGEST_LABEL + 1, np.int64)
    for part in _parts(data):
        total += regions.find_runs(part).count(total.size)
    return total


def check_known(data: np.ndarray, label_names: dict[int, str], where: object) -> frozenset[int]:
    """Refuse a mask (uint8) with labels that the label map does not name; return its labels.

    The DatasetError names each such label and its number of voxels, and the mask's file, `where`.
    """
    n_voxels = counts(data)
    unknown = [value for value in np.flatnonzero(n_voxels) if value not in label_names]
    if unknown:
        found = ", ".join(f"label {value} ({n_voxels[value]:,} voxels)" for value in unknown)
        known = _ranges(label_names)
        raise errors.DatasetError(
            f"{where}: {found} found, expected only the labels of the label map ({known})",
            file=where,
            code="unknown_label",
            expected=known,
            found=found,
        )
    return frozenset(np.flatnonzero(n_voxels).tolist())


def _ranges(values):
    """Whole numbers as text, neighbours joined: ``"0..6, 8..16"``."""
    ordered = sorted(values)
    starts = [value for value in ordered if value - 1 not in values]
    ends = [value for value in ordered if value + 1 not in values]
    pairs = zip(starts, ends)
    return ", ".join(str(start) if start == end else f"{start}..{end}" for start, end in pairs)


def uterus_of_prostate(data: np.ndarray, sex: str, where: object) -> bool:
    """Give label 15 of a woman's mask (uint8) the label 16, in place; the archive uses 15 for both.

    Returns whether anything changed. `sex` is ``M``, ``F`` or stands for unknown: then label 15 is
    a DatasetError that names the mask's file, `where`.
    """
    changed = False
    for part in _parts(data):
        found = part == PROSTATE
        if not found.any():
            continue
        if sex == "M":
            return False
        if sex != "F":
            reason = f"label {PROSTATE} is present and the sex is {sex!r}, expected M (prostate)"
            raise errors.DatasetError(
                f"{where}: {reason} or F (uterus); left as it was",
                file=where,
                code="sex",
                expected="M or F",
                found=sex,
            )
        part[found] = UTERUS
        changed = True
    return changed


def _parts(data):
    """Views of a mask's voxels, small enough for temporary arrays of any type."""
    flat = data.ravel(order="K")
    return (flat[start : start + _PART_VOXELS] for start in range(0, flat.size, _PART_VOXELS))

"""Labels: the label map file, names as they stand in file names, prostate and uterus."""

import re
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import regions

PROSTATE = 15
UTERUS = 16
LARGEST_LABEL = 255  # a mask is uint8
_PART_VOXELS = 1 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]*")


def read_label_map(path, short_form: bool = False) -> dict[int, str]:
    """Read label_map.yaml.

    Parameters
    ----------
    path : path-like
        Holds ``full_form_index_map: {0: background, 1: spleen, ...}`` and, where file names use
        abbreviations, ``short_form_index_map``.
    short_form : bool
        Take the abbreviations.

    Returns
    -------
    dict of int to str
        Label to name, ascending; 0 is the background.

    Raises
    ------
    DatasetError
        The file does not hold such a map, or two names are one in file names.
    """
    import yaml

    key = "short_form_index_map" if short_form else "full_form_index_map"
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise errors.DatasetError(f"{path}: not a readable YAML file: {text}", file=path) from error
    names = content.get(key) if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise errors.DatasetError(
            f"{path}: {key} is missing; expected {key}: {{0: background, 1: ...}}", file=path
        )
    for value, name in names.items():
        _check_entry(path, value, name)
    forms = [file_form(name).lower() for name in names.values()]
    twice = sorted({form for form in forms if forms.count(form) > 1})
    if twice or 0 not in names:
        reason = f"the name {twice[0]} stands twice" if twice else "label 0 (background) is missing"
        raise errors.DatasetError(f"{path}: {reason}", file=path)
    return {value: names[value] for value in sorted(names)}


def _check_entry(path, value, name):
    is_label = isinstance(value, int) and not isinstance(value, bool)
    if not is_label or not 0 <= value <= LARGEST_LABEL:
        raise errors.DatasetError(
            f"{path}: label {value!r} found, expected a whole number from 0 to {LARGEST_LABEL}",
            file=path,
        )
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise errors.DatasetError(
            f"{path}: name {name!r} of label {value} cannot be part of a "
            "file name; expected letters, digits, blanks and _ . + -",
            file=path,
        )


def file_form(name: str) -> str:
    """Return a label's name as it stands in file names: ``right_kidney``."""
    return name.replace(" ", "_")


def counts(data: np.ndarray) -> np.ndarray:
    """Count the voxels of every label.

    Parameters
    ----------
    data : (X, Y, Z) uint8

    Returns
    -------
    (256,) int64
    """
    total = np.zeros(LARGEST_LABEL + 1, np.int64)
    for part in _parts(data):
        total += regions.find_runs(part).count(total.size)
    return total


def check_known(data: np.ndarray, label_names: dict[int, str], where) -> None:
    """Refuse a mask with labels that the label map does not name.

    Parameters
    ----------
    data : (X, Y, Z) uint8
    label_names : dict of int to str
    where : path-like
        The mask's file, for the message.

    Raises
    ------
    DatasetError
        Names each such label and its number of voxels.
    """
    n_voxels = counts(data)
    unknown = [value for value in np.flatnonzero(n_voxels) if value not in label_names]
    if unknown:
        found = ", ".join(f"label {value} ({n_voxels[value]:,} voxels)" for value in unknown)
        raise errors.DatasetError(
            f"{where}: {found} found, expected only the labels of the label map "
            f"({min(label_names)}..{max(label_names)})",
            file=where,
            code="unknown_label",
            expected=f"{min(label_names)}..{max(label_names)}",
            found=found,
        )


def uterus_of_prostate(data: np.ndarray, sex: str, where) -> bool:
    """Give label 15 of a woman's mask the label 16, in place; the archive uses 15 for both.

    Parameters
    ----------
    data : (X, Y, Z) uint8
    sex : str
        ``M``, ``F`` or anything else that stands for unknown.
    where : path-like
        The mask's file, for the message.

    Returns
    -------
    bool
        Whether anything changed.

    Raises
    ------
    DatasetError
        Label 15 is present and the sex is neither M nor F.
    """
    changed = False
    for part in _parts(data):
        found = part == PROSTATE
        if not found.any():
            continue
        if sex == "M":
            return False
        if sex != "F":
            raise errors.DatasetError(
                f"{where}: label {PROSTATE} is present and the sex is {sex!r}, expected M "
                "(prostate) or F (uterus); left as it was",
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

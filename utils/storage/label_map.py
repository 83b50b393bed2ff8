"""The label map file, and the names of labels as they stand in file names and before people."""

import re
from collections.abc import Mapping

from utils import errors
from utils.arrays import labels
from utils.storage import files, yaml_files

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 _.+-]*[A-Za-z0-9_.+-])?")


def read(path: files.PathLike, short_form: bool = False) -> dict[int, str]:
    """Read label_map.yaml: label to name, ascending; 0 is the background.

    It holds ``full_form_index_map: {0: background, 1: spleen, ...}`` and, where file names use
    abbreviations (`short_form`), ``short_form_index_map``. DatasetError where it does not, or where
    a label stands twice (see `yaml_files.read`), or two names are one in file names.
    """
    key = "short_form_index_map" if short_form else "full_form_index_map"
    content = yaml_files.read(path, code="data", typed=True)
    names = content.get(key) if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise _wrong(path, f"{key} is missing; expected {key}: {{0: background, 1: ...}}")
    return check(names, path)


def check(names: Mapping, path: files.PathLike, field: str = "") -> dict[int, str]:
    """Check the labels of a file, where they may stand in a field; return them ascending."""
    for value, name in names.items():
        _check_entry(path, value, name, field)
    forms = [file_form(name).lower() for name in names.values()]
    twice = sorted({form for form in forms if forms.count(form) > 1})
    if twice:
        raise _wrong(path, f"the name {twice[0]} stands twice", field)
    if 0 not in names:
        raise _wrong(path, "label 0 (background) is missing", field)
    return {value: names[value] for value in sorted(names)}


def _check_entry(path, value, name, field):
    is_label = isinstance(value, int) and not isinstance(value, bool)
    if not is_label or not 0 <= value <= labels.LARGEST_LABEL:
        expected = f"expected a whole number from 0 to {labels.LARGEST_LABEL}"
        raise _wrong(path, f"label {value!r} found, {expected}", field)
    if not isinstance(name, str):  # no, null, 7
        expected = "expected a text; put it into quotes"
        raise _wrong(path, f"the name of label {value} is {name!r}, {expected}", field)
    if not _PLAIN_NAME.fullmatch(name):
        reason = f"name {name!r} of label {value} cannot be part of a file name"
        expected = "expected letters, digits, _ . + - and blanks between them"
        raise _wrong(path, f"{reason}; {expected}", field)


def _wrong(path, reason, field=""):
    return errors.DatasetError(f"{path}: {field}{': ' * bool(field)}{reason}", file=path)


def file_form(name: str) -> str:
    """Return a label's name as it stands in file names: ``right_kidney``."""
    return name.replace(" ", "_")


def shown(name: str) -> str:
    """Return a label's name as people read it: ``right kidney``."""
    return name.replace("_", " ")

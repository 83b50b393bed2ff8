"""What the worksheets of manifests show of their samples: what is odd or failed, and links."""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.arrays import geometry
from utils.storage import files, samples, workbook_looks

if typing.TYPE_CHECKING:
    import pandas as pd

Marks = dict[tuple[int, str], str]
# Spacings, mm, that no published scan comes near.
_FINEST_MM, _COARSEST_MM = 0.2, 10.0
# An organ that this share of so many masks have is missed in the others.
_NEARLY_ALL, _MANY = 0.9, 10
_EXISTENCE = "_existence"
_SPACINGS, _SIZES = ("spx", "spy", "spz"), ("szx", "szy", "szz")
_ORIENTATIONS = ("orientation_from", "orientation_to")
_GEOMETRY = (
    *(*_SPACINGS, *_SIZES, *_ORIENTATIONS),
    *("transform", "type", "dtype", "vol_dtype", "mask_dtype"),
)
_IDENTITY = geometry.affine_text(np.eye(4))
# Data types that a volume's intensities, and the labels of a mask, seldom have.
_ODD_OF_VOLUMES, _ODD_OF_MASKS = ("uint8", "int8", "bool", "complex"), ("float", "complex")
_LINKED = ("info", "volume", "mask", "file_path")
_REPORT = "qc/index.html"


def of_samples(
    table: pd.DataFrame, workbook_path: files.PathLike, root_dir: files.PathLike | None = None
) -> workbook_looks.Look:
    """Look of a dataset manifest, a split or an index manifest, which has a row per sample.

    Without `root_dir` it is the folder of the workbook, or the nearest above, that has the first
    volume; without any there are no links. IDs lead to the report beside ``grouped``, where a
    later run may draw it.
    """
    marks = _odd_geometry(table)
    _mark_missing_masks(table, marks)
    _mark_missing_organs(table, marks)
    folder = Path(os.path.abspath(workbook_path)).parent
    volumes = table["volume"].tolist() if "volume" in table else []
    root = _root(folder, volumes) if root_dir is None else Path(os.path.abspath(root_dir))
    if root is None:
        return workbook_looks.Look(marks)
    links = _file_links(table, folder, root)
    grouped = samples.grouped_tree(root)
    report = _relative(grouped.parent / _REPORT, folder) if grouped else ""
    if report and "ID" in table:
        links["ID"] = [workbook_looks.reference(report, str(name)) for name in table["ID"].tolist()]
    return workbook_looks.Look(marks, links)


def of_files(
    table: pd.DataFrame,
    workbook_path: files.PathLike,
    root_dir: files.PathLike,
    marks: Sequence[Mapping[str, str]] = (),
) -> workbook_looks.Look:
    """Look of a table with a row per file, or several; `marks` are those of each row."""
    found = _odd_geometry(table)
    for row, of_row in enumerate(marks):
        found.update(((row, column), mark) for column, mark in of_row.items())
    folder = Path(os.path.abspath(workbook_path)).parent
    return workbook_looks.Look(found, _file_links(table, folder, Path(os.path.abspath(root_dir))))


def _odd_geometry(table: pd.DataFrame) -> Marks:
    """Mark spacings, sizes, orientations, affines and data types that scans seldom have."""
    columns = {name: table[name].tolist() for name in _GEOMETRY if name in table}
    limits = {
        **dict.fromkeys(_SPACINGS, (_FINEST_MM, _COARSEST_MM)),
        **dict.fromkeys(_SIZES, (2, math.inf)),  # one slice is no volume
    }
    odd = {
        name: [not low <= _number(value) <= high for value in columns.get(name, ())]
        for name, (low, high) in limits.items()
    }
    for name in _ORIENTATIONS:
        odd[name] = [str(text).startswith("Oblique") for text in columns.get(name, ())]
    odd["transform"] = [text == _IDENTITY for text in columns.get("transform", ())]
    types = columns.get("type", ())
    odd["dtype"] = [
        str(text).startswith(_ODD_OF_MASKS if of_file == "m3d" else _ODD_OF_VOLUMES)
        for text, of_file in zip(columns.get("dtype", ()), types)
    ]
    for name, unusual in (("vol_dtype", _ODD_OF_VOLUMES), ("mask_dtype", _ODD_OF_MASKS)):
        odd[name] = [str(text).startswith(unusual) for text in columns.get(name, ())]
    return {
        (row, name): workbook_looks.ODD
        for name, found in odd.items()
        for row, is_odd in enumerate(found)
        if is_odd
    }


def _number(value):
    """A cell as a number; one that is none is not odd, but within all limits."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return _FINEST_MM + 2


def _mark_missing_masks(table, marks):
    """Mark the subset of samples without mask, where others of the subset have one."""
    if not {"subset", "mask"} <= set(table):
        return
    subsets, has_mask = table["subset"].tolist(), [bool(path) for path in table["mask"].tolist()]
    labelled = {subset for subset, is_there in zip(subsets, has_mask) if is_there}
    for row, (subset, is_there) in enumerate(zip(subsets, has_mask)):
        if subset in labelled and not is_there:
            marks[row, "subset"] = workbook_looks.FAILED


def _mark_missing_organs(table, marks):
    """Mark where a label does not occur that nearly all masks have."""
    for name in (name for name in table if str(name).endswith(_EXISTENCE)):
        values = [str(value) for value in table[name].tolist()]
        n_present, n_absent = values.count("1"), values.count("0")
        if n_absent and n_present + n_absent >= _MANY:
            if n_present >= _NEARLY_ALL * (n_present + n_absent):
                marks.update(
                    ((row, name), workbook_looks.ODD)
                    for row, value in enumerate(values)
                    if value == "0"
                )


def _file_links(table: pd.DataFrame, folder: Path, root: Path) -> dict[str, list[str]]:
    """Lead from a workbook in `folder` to the files, relative to `root`, of a table.

    {column: link of each row}; none to what is no file below it, as a member of a zip is not.
    """
    start = _relative(root, folder)
    columns = [name for name in _LINKED if name in table]
    if start is None or len(columns) * len(table) > workbook_looks.MAX_LINKS:
        return {}
    start = "" if start == "." else f"{start}/"
    return {name: _links(table[name].tolist(), start, f"{root}{os.sep}") for name in columns}


def _links(texts, start, root):
    known: dict[str, str] = {}
    for text in set(map(str, texts)):
        is_there = workbook_looks.is_below(text) and os.path.isfile(f"{root}{text}")
        known[text] = workbook_looks.reference(f"{start}{text}") if is_there else ""
    return [known[str(text)] for text in texts]


def _relative(path, folder):
    """A path as it is from a folder on, with ``/``; None on another drive."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return None


def _root(folder, volumes):
    first = next((text for text in map(str, volumes) if workbook_looks.is_below(text)), None)
    folders = (folder, *folder.parents) if first else ()
    return next((path for path in folders if os.path.isfile(path / first)), None)

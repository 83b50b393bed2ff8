"""Splits that people make themselves: a list of samples and their subsets."""

from __future__ import annotations

import collections
import typing
from pathlib import Path

from utils import errors
from utils.facts import DataSet, patients
from utils.routines import split_choices
from utils.storage import csv_tables, files, forms, workbook

if typing.TYPE_CHECKING:
    import pandas as pd

_COLUMNS = _ID, _SUBSET = "ID", "subset"
_NAME = "list of a split"


class Listed:
    """The choice, see `split_choices`, that a list makes: every sample in the subset it says.

    Parameters
    ----------
    path : path-like
        A CSV file (see `csv_tables.read`) or a workbook, one worksheet of which has the columns ID
        and subset. A whole number for an ID, ``4`` or ``0004``, means the sample of that seq.
    facts : module

    Attributes
    ----------
    unnamed : list of str
        After the choice, the samples that the list does not name; they are excluded.

    Notes
    -----
    What is wrong with the list is found together, see `errors.CasesError`. A patient in several
    subsets is warned about: the list is its maker's decision.
    """

    def __init__(self, path: files.PathLike, facts: DataSet) -> None:
        self.path, self._facts = path, facts
        self._rows = _read(path)
        self.unnamed: list[str] = []

    @property
    def notes(self) -> list[str]:
        """Lines on what the list leaves open."""
        if not self.unnamed:
            return []
        count = f"{len(self.unnamed)} samples that {self.path} does not name are excluded"
        return [f"{count}: {errors.listed(self.unnamed)}"]

    def __call__(self, table: pd.DataFrame) -> dict[str, str]:
        """Choose from the worksheet Manifest, all text, {ID: subset}."""
        meant, known = _ids_of_numbers(table), {*table["ID"]}
        rows = [
            (key if key in known else meant.get(_number(key), key), subset)
            for key, subset in self._rows
        ]
        self._check(rows, known)
        listed = dict(rows)
        self.unnamed = [key for key in table["ID"] if key not in listed]
        subsets = {key: listed.get(key, split_choices.EXCLUDED) for key in table["ID"]}
        patient_of = patients.group(split_choices.rows_of(table), self._facts)
        split_choices.warn_of_divided(patient_of, subsets, patients.inferred(self._facts))
        return subsets

    def _check(self, rows, known):
        subsets_of = collections.defaultdict(list)
        for key, subset in rows:
            subsets_of[key].append(subset or "no subset")
        doubled = [key for key in subsets_of if key and len(subsets_of[key]) > 1]
        nameless = subsets_of.get("", [])
        faults = {
            "no samples": [] if rows else ["expected rows below the columns ID and subset"],
            "rows without ID": [f"{len(nameless)} ({errors.listed(nameless)})"] if nameless else [],
            "IDs that are not in the manifest": [
                key for key in subsets_of if key and key not in known
            ],
            "IDs in several rows": [f"{key} ({', '.join(subsets_of[key])})" for key in doubled],
            **split_choices.faults([(key, subset) for key, subset in rows if key], _SUBSET),
            "folds that are not fold0, fold1 and so on": split_choices.odd_folds(
                subset for _, subset in rows
            ),
        }
        cases = [
            errors.DatasetError(
                f"{self.path}: {fault}: {errors.listed(found)}", file=self.path, code="list"
            )
            for fault, found in faults.items()
            if found
        ]
        if cases:
            raise errors.CasesError(cases)


def _read(path):
    """(ID, subset) of each row, as text without blanks around it."""
    if Path(path).suffix.casefold().startswith(".xls"):
        book = workbook.Workbook(path)
        fitting = [name for name in book.names if {*_COLUMNS} <= {*book.header(name)}]
        if len(fitting) > 1:
            found = ", ".join(fitting)
            text = f"{path}: several worksheets have the columns ID and subset: {found}; keep one"
            raise errors.DatasetError(text, file=path, code="sheet", found=found)
        table = book.table((fitting or book.names)[0], required=_COLUMNS)
        rows = table[list(_COLUMNS)].to_dict("records")
    else:
        rows = csv_tables.read(path, _COLUMNS, _NAME).values()
    return [(forms.stripped(row[_ID]), forms.stripped(row[_SUBSET])) for row in rows]


def _number(text):
    """The whole number that a text is, without zeros before it; None for any other text."""
    digits = forms.whole_number_text(text)
    return (digits.lstrip("0") or "0") if digits.isascii() and digits.isdigit() else None


def _ids_of_numbers(table):
    """{whole number: ID of the one sample that bears it, as its ID or else as its seq}."""
    found: dict[str, str] = {}
    for column in ("seq", "ID"):
        numbers = [_number(text) for text in table[column]] if column in table else []
        counts = collections.Counter(numbers)
        pairs = zip(numbers, table["ID"])
        found |= {number: key for number, key in pairs if number and counts[number] == 1}
    return found

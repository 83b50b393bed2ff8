"""The review: what people decided about single samples, in a CSV file that the pipeline obeys.

It is written by the report's page, by hand or by a spreadsheet; docs/review.md describes it.
"""

import collections
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from utils import errors
from utils.storage import csv_tables, files, forms

FILE_NAME = "review.csv"
NAME = "review"
COLUMNS = ("ID", "decision", "note", "reviewer", "mask_crc32")
DECISIONS = ACCEPT, EXCLUDE, FIX = ("accept", "exclude", "fix")
UNDECIDED = ""
# With 0x before it no spreadsheet takes a CRC for a number, and zeros in front may be missing.
_CRC = re.compile("0x([0-9a-f]{1,8})|([0-9a-f]{8})", re.IGNORECASE)
# What a spreadsheet would take for a formula has an apostrophe before it.
_GUARDED = re.compile(r"\A'(?='*[=+\-@])")
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Decision:
    """What was decided about one sample.

    Attributes
    ----------
    decision : str
        One of `DECISIONS`, or `UNDECIDED` where there is a note alone.
    note, reviewer : str
        Of several rows that agree, all that they say.
    mask_crc32 : int or None
        CRC32 of the mask's voxels (`nifti_writing.voxel_crc`) that were judged, where it is known.
    """

    decision: str = UNDECIDED
    note: str = ""
    reviewer: str = ""
    mask_crc32: int | None = None


def find(folder: Path) -> Path | None:
    """Return the review that lies in a data set's folder ``descriptor``; None without one."""
    path = folder / FILE_NAME
    return path if os.path.lexists(path) else None


def sha256(path: files.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(files.read_bytes(path)).hexdigest()


def read(path: files.PathLike, ids: Iterable[str] = ()) -> dict[str, Decision]:
    """Read a review, {ID: what was decided}, in the order of the file.

    Parameters
    ----------
    path : path-like
        CSV with the `COLUMNS`, see `csv_tables.read`. A decision may be in upper case.
    ids : iterable of str, optional
        IDs of the data set: a number, ``4`` or ``0004``, means the one of them that has it.

    Raises
    ------
    DatasetError
        The file cannot be read or lacks a column. What is wrong with the rows (no ID, an unknown
        decision, a malformed CRC, an ID with two decisions or of two masks) is found together.
    """
    rows_of: dict[str, list] = collections.defaultdict(list)
    reasons = []
    by_number = _by_number(known := {*ids})
    for line, row in csv_tables.read(path, COLUMNS, NAME).items():
        row = {column: _GUARDED.sub("", text) for column, text in row.items()}
        odd = [f"has {what} in line {line}, expected {wanted}" for what, wanted in _odd(row)]
        key = row["ID"] if row["ID"] in known else by_number.get(_number(row["ID"]), row["ID"])
        rows_of[key] += [(line, row)] if not odd else []
        reasons += odd
    for key, rows in rows_of.items():
        reasons += _contradictions(key, rows)
    if reasons:
        raise errors.CasesError([csv_tables.fault(path, NAME, reason) for reason in reasons])
    return {key: _merged([row for _, row in rows]) for key, rows in rows_of.items()}


def having(found: Mapping[str, Decision], decision: str) -> list[str]:
    """Return the IDs with one of the `DECISIONS`, sorted."""
    return sorted(key for key, entry in found.items() if entry.decision == decision)


def _by_number(ids):
    """{number without zeros before it: the one ID that has it, and no other digits}."""
    found = collections.defaultdict(list)
    for name in ids:
        digits = re.findall("[0-9]+", name)
        if len(digits) == 1:
            found[_number(digits[0])].append(name)
    return {number: names[0] for number, names in found.items() if len(names) == 1}


def _number(text):
    digits = forms.whole_number_text(text)
    return digits.lstrip("0") if re.fullmatch("[0-9]+", digits) else None


def _odd(row):
    """Yield what is wrong with one row, and what was expected."""
    decision, crc = row["decision"], row["mask_crc32"]
    if not row["ID"]:
        yield "no ID", "that of a sample"
    if decision.lower() not in (*DECISIONS, UNDECIDED):
        yield f"the decision {_shown(decision)}", f"{', '.join(DECISIONS)} or nothing"
    if crc and not _CRC.fullmatch(crc):
        yield f"the mask_crc32 {_shown(crc)}", "eight hexadecimal digits as in 0x1a2b3c4d"


def _shown(text):
    return repr(text[:_SHOWN_CHARACTERS]) + "..." * (len(text) > _SHOWN_CHARACTERS)


def _contradictions(key, rows):
    """Yield in what the decided rows of one ID, [(line, row)], differ."""
    for column, read_as in (("decision", str.lower), ("mask_crc32", _crc)):
        lines = {}
        for line, row in rows:
            if row["decision"] and row[column]:
                lines.setdefault(read_as(row[column]), f"{row[column]} in line {line}")
        if len(lines) > 1:
            yield f"has for {key} the {column} {' and '.join(lines.values())}, expected one"


def _merged(rows):
    decided = [row for row in rows if row["decision"]]
    crcs = [_crc(row["mask_crc32"]) for row in decided or rows if row["mask_crc32"]]
    return Decision(
        decided[0]["decision"].lower() if decided else UNDECIDED,
        *(
            separator.join(dict.fromkeys(row[column] for row in rows if row[column]))
            for column, separator in (("note", "; "), ("reviewer", ", "))
        ),
        crcs[0] if crcs else None,
    )


def _crc(text):
    return int("".join(_CRC.fullmatch(text).groups("")), 16)

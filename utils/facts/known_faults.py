"""What is known about single scans of a data set, listed in a CSV file with the evidence."""

import csv
import io
from dataclasses import dataclass

from utils import errors
from utils.facts import DataSet
from utils.storage import files

COLUMNS = ("id", "kind", "what", "evidence")
KINDS = ("damaged", "intensity", "metadata", "organ", "patient", "scanner")
# Says in ``what`` that somebody reported it and nobody has seen it since.
NOT_CONFIRMED = "not confirmed"


@dataclass(frozen=True)
class Fault:
    """One row of the list: ID of the sample, kind (of `KINDS`), what it is, who found it how."""

    id: str
    kind: str
    what: str
    evidence: str

    @property
    def is_confirmed(self) -> bool:
        """Whether it was seen, and not only reported."""
        return NOT_CONFIRMED not in self.what


def of(facts: DataSet) -> list[Fault]:
    """Read the list of a data set, in its order; empty where the data set has none."""
    return read(facts.KNOWN_FAULTS) if facts.KNOWN_FAULTS else []


def is_open(fault: Fault, facts: DataSet) -> bool:
    """Whether somebody should look: it is confirmed, and routine 01 does not mend it."""
    return fault.is_confirmed and fault.what not in facts.MENDED_FAULTS


def read(path: files.PathLike) -> list[Fault]:
    """Read a list: CSV in UTF-8 with the columns `COLUMNS`, one fault a row.

    DatasetError, with the line, for other columns, an empty cell, an unknown kind, a row twice.
    """
    content = files.read_bytes(path)
    found: dict[Fault, int] = {}
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _fault(path, f"no CSV file in UTF-8: {errors.one_line(error)}") from error
    header = rows[0][1] if rows else []
    if tuple(header) != COLUMNS:
        columns = ",".join(COLUMNS)
        raise _fault(path, f"columns {','.join(header)!r}, expected {columns!r}", columns, header)
    for number, cells in rows[1:]:
        place = f"line {number}"
        if len(cells) != len(COLUMNS) or not all(map(str.strip, cells)):
            n_filled = sum(map(bool, map(str.strip, cells)))
            reason = f"{place}: {n_filled} of {len(cells)} cells filled, expected {len(COLUMNS)}"
            raise _fault(path, reason, len(COLUMNS), n_filled)
        fault = Fault(*cells)
        if fault.kind not in KINDS:
            expected = f"one of {', '.join(KINDS)}"
            raise _fault(path, f"{place}: kind {fault.kind!r}, expected {expected}", KINDS, cells)
        if fault in found:
            raise _fault(path, f"{place}: the same as line {found[fault]}, expected once")
        found[fault] = number
    return list(found)


def _fault(path, reason, expected=None, found=None):
    details = {"file": path, "code": "known_faults", "expected": expected, "found": found}
    return errors.DatasetError(f"{path}: {reason}", **details)

"""What is known about single scans of a data set, listed in a CSV file with the evidence."""

from dataclasses import dataclass

from utils.facts import DataSet
from utils.storage import csv_tables, files

NAME = "list of known faults"
COLUMNS = ("id", "kind", "what", "evidence")
KINDS = (
    *("annotation", "damaged", "geometry", "intensity", "metadata"),
    *("organ", "overlap", "patient", "scanner"),
)
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
    """Read a list: CSV with the columns `COLUMNS`, one fault a row; see `csv_tables.read`.

    DatasetError, with the line, for an empty cell, an unknown kind, a row twice as well.
    """
    found: dict[Fault, int] = {}
    for number, row in csv_tables.read(path, COLUMNS, NAME).items():
        fault, place = Fault(*row.values()), f"in line {number}"
        empty = [column for column, text in row.items() if not text]
        if empty:
            raise csv_tables.fault(path, NAME, f"has no {', '.join(empty)} {place}")
        if fault.kind not in KINDS:
            reason = f"has the kind {fault.kind!r} {place}, expected one of {', '.join(KINDS)}"
            raise csv_tables.fault(path, NAME, reason, expected=KINDS, found=fault.kind)
        if fault in found:
            reason = f"has the same {place} as in line {found[fault]}, expected once"
            raise csv_tables.fault(path, NAME, reason)
        found[fault] = number
    return list(found)

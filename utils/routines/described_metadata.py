"""The metadata table of a described data set, joined to its samples."""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils import errors
from utils.facts import described
from utils.storage import csv_tables, forms

NAME = "metadata table"
_NUMBER = re.compile("[0-9]{1,18}")


class Metadata:
    """The rows of the metadata tables that samples mean; `named` are pairs of sample and seq.

    A row is that of the sample whose seq its key is, else of the one whose seq is the same whole
    number: ``7`` or ``7.0`` for ``007``. Equal rows count once. One that may be that of several
    samples, such as ``7`` for P1_7 and P2_7, is nobody's. DatasetError where a table cannot be
    read, or lacks a column that the page names.
    """

    def __init__(
        self, dataset: described.Described, paths: Sequence[Path], named: Iterable[tuple[str, str]]
    ) -> None:
        self._dataset, self._paths = dataset, paths
        rows = [row for path in paths for row in self._read(path)]
        by_key, by_number = collections.defaultdict(list), collections.defaultdict(list)
        samples_of = collections.defaultdict(set)
        for name, seq in named:
            samples_of[seq].add(name)
        seqs = samples_of.keys()
        for row in rows:
            by_key[row.key].append(row)
            if _NUMBER.fullmatch(row.key) and row.key not in seqs:
                by_number[int(row.key)].append(row)
        self._keys = [*by_key]
        self._rows = {
            seq: by_key.get(seq) or (by_number.get(int(seq), []) if _NUMBER.fullmatch(seq) else [])
            for seq in seqs
        }
        claims: dict[str, set] = collections.defaultdict(set)
        for seq, of_seq in self._rows.items():
            for row in of_seq:
                claims[row.place] |= samples_of[seq]
        self._claims = {
            seq: sorted(set().union(*(claims[row.place] for row in of_seq)))
            for seq, of_seq in self._rows.items()
        }

    def _read(self, path):
        table, split = self._dataset.table, self._dataset.split
        page = self._dataset.PAGE.name
        columns = {table.key: f"metadata.key of {page}"}
        if split.by == "column":
            columns.setdefault(split.column, f"split.column of {page}")
        for ours, theirs in table.columns.items():
            field = "patient" if ours in self._dataset.PATIENT_KEYS else f"columns.{ours}"
            columns.setdefault(theirs, f"metadata.{field} of {page}")
        lines = csv_tables.read(path, columns, NAME, table.separator)
        for number, cells in lines.items():
            yield _Row(path, number, cells, table, split.column)

    def of(self, seq: str) -> dict[str, str]:
        """Return the metadata of a sample, our names to texts; ``UND`` what is not known."""
        keys = self._dataset.table.columns if self._dataset.table else ()
        rows = self._distinct(seq)
        texts = rows[0].texts if len(rows) == 1 and not self.shared(seq) else {}
        return {key: texts.get(key, self._dataset.UNDEFINED) for key in keys}

    def words(self, seq: str) -> list[str]:
        """Return what the rows of a sample have in the column of the split, each word once."""
        return list(dict.fromkeys(row.word for row in self._rows[seq]))

    def shared(self, seq: str) -> str:
        """Say why a row is nobody's, where several samples may mean it; else ''."""
        if len(self._claims.get(seq, ())) < 2:
            return ""
        row, names = self._rows[seq][0], errors.listed(self._claims[seq])
        return f"the row {row.key!r} {row.place} may be that of any of {names}"

    @property
    def tables(self) -> str:
        """The tables' paths, for messages."""
        return errors.listed(self._paths)

    def _distinct(self, seq):
        return [*{tuple(row.texts.items()): row for row in self._rows.get(seq, [])}.values()]

    def faults(self, seqs: Mapping[str, str]) -> list[tuple[str, errors.DatasetError]]:
        """Find what stays ``UND`` of these samples, name to seq, and why."""
        if not self._dataset.table or not seqs:
            return []
        stay = f"metadata stay {self._dataset.UNDEFINED}"
        if not any(self._rows[seq] for seq in seqs.values()):
            return [(NAME, _fault(f"{self._lack(seqs.values())}; all {stay}"))]
        found = []
        for name, seq in seqs.items():
            rows = self._distinct(seq)
            if not rows:
                reason = f"{self.tables}: no row for it (key {seq!r}); its {stay}"
                found.append((name, _fault(reason, file=self._paths[0], expected="one row")))
            elif shared := self.shared(seq):
                found.append((name, _fault(f"{shared}; its {stay}")))
            elif len(rows) > 1:
                found.append((name, _contradiction(rows, stay)))
            else:
                found += [
                    (name, _fault(f"{odd}; it stays {forms.UNDEFINED}")) for odd in rows[0].odd
                ]
        return found

    def _lack(self, seqs):
        table = self._dataset.table
        if not self._paths:
            return f"no {table.file} below --root_dir or beside it (metadata.file of the page)"
        keys = f"its column {table.key!r} has {errors.listed(self._keys)}"
        return f"{self.tables}: no row for any sample; {keys}, the samples are {_listed(seqs)}"

    def check_split(self, seqs: Iterable[str]) -> None:
        """Refuse, by a DatasetError, to split by a column of tables that know no sample."""
        seqs = [*seqs]
        if not any(self._rows[seq] for seq in seqs):
            reason = f"{self._lack(seqs)}; its column {self._dataset.split.column!r} has the subset"
            raise _fault(f"{self._dataset.PAGE}: split by column: {reason} of each")


class _Row:
    """A row: its key, the word of its split, our names to texts, and which have no form."""

    def __init__(self, path, number, cells, table, split_column):
        self.key = forms.whole_number_text(cells[table.key])
        self.word = cells.get(split_column, "")
        self.texts, self.odd = {}, []
        self.place = f"in line {number} of the {NAME} {path}"
        for ours, theirs in table.columns.items():
            form = forms.plain(ours, cells[theirs])
            if form is None:
                self.odd.append(str(forms.fault(ours, cells[theirs], self.place)))
            self.texts[ours] = form or forms.UNDEFINED


def _contradiction(rows, stay):
    values = {key: list(dict.fromkeys(row.texts[key] for row in rows)) for key in rows[0].texts}
    found = ", ".join(f"{key} {' or '.join(of)}" for key, of in values.items() if len(of) > 1)
    reason = f"the {NAME} has {len(rows)} different rows for it ({found}); its {stay} for the"
    return _fault(f"{reason} manual check", expected="one row", found=found)


def _fault(reason, **sides):
    return errors.DatasetError(reason, code="metadata", **sides)


def _listed(seqs):
    return errors.listed(sorted(seqs))

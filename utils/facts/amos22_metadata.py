"""The metadata tables of an archive of AMOS22 as one, and what is missing in them."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from utils import errors
from utils.facts import amos22, amos22_table
from utils.storage import files

NAME = "metadata table"


@dataclasses.dataclass
class Lack:
    """What is not known: notes, warnings, and faults with the name of the sample or `NAME`."""

    notes: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    faults: list[tuple[str, errors.DatasetError]] = dataclasses.field(default_factory=list)


class Tables:
    """The tables of an archive, joined; those of unlabelled scans where such are at hand.

    Parameters
    ----------
    find : callable
        From a glob pattern to the files of such names, see `archive.find_tables`.
    seqs : iterable of str
        Four digits of the scans at hand.
    labelled_table : path-like, optional
        The table of the labelled scans, in place of those that are found.

    Attributes
    ----------
    metadata : amos22_table.Metadata

    Raises
    ------
    DatasetError
        A table cannot be read.
    """

    def __init__(
        self,
        find: Callable[[str], list[Path]],
        seqs: Iterable[str],
        labelled_table: files.PathLike | None = None,
    ):
        patterns, unlabelled = [amos22_table.PATTERN], {*filter(amos22.unlabelled_part, seqs)}
        if unlabelled:
            patterns.append(amos22_table.UNLABELLED_PATTERN)
        given = {amos22_table.PATTERN: [Path(labelled_table)]} if labelled_table else {}
        self._paths = {pattern: given.get(pattern) or find(pattern) for pattern in patterns}
        paths = itertools.chain.from_iterable(self._paths.values())
        tables = (_at_hand(amos22_table.read(path), unlabelled) for path in paths)
        self.metadata = amos22_table.Metadata(tables)

    def lack(self, seqs: Iterable[str], root_name: str) -> Lack:
        """Tell what is not known of the scans with these four digits, and what is contradictory.

        `root_name` is what messages call the root. That there is no table of some unlabelled scans,
        because none was published, is a note.
        """
        seqs = {*seqs}
        found = Lack(faults=[*self.metadata.faults, *self.metadata.odd_cells(seqs)])
        missing = {*self.metadata.missing(seqs)}
        of_table = collections.defaultdict(list)
        for seq in sorted(seqs):
            part = amos22.unlabelled_part(seq)
            of_table[part.table if part else amos22.METADATA_TABLE].append(seq)
        for table, wanted in of_table.items():
            lost = [seq for seq in wanted if seq in missing]
            if lost and table:
                self._report(found, table, lost, len(lost) == len(wanted), root_name)
            elif lost:
                count = f"the metadata of {len(lost)} unlabelled scans were never published"
                found.notes.append(f"{count} and stay {amos22.UNDEFINED}: {errors.listed(lost)}")
        return found

    def _report(self, found, table, lost, is_all, root_name):
        is_labelled = table == amos22.METADATA_TABLE
        pattern = amos22_table.PATTERN if is_labelled else amos22_table.UNLABELLED_PATTERN
        source = amos22.METADATA_SOURCE if is_labelled else f"{table} (docs/unlabelled.md)"
        paths = self._paths[pattern]
        read = paths or [*itertools.chain.from_iterable(self._paths.values())]
        tables = ", ".join(map(str, read))
        count = f"the metadata of {len(lost)} samples are unknown and stay {amos22.UNDEFINED}"
        cure = f"{count}; download {source} and run this again"
        if is_all:  # one reason, and not a line for each
            of_which = "" if is_labelled else f" from {lost[0]} to {lost[-1]}"
            lack = f"{tables}: no row for any file{of_which}"
            if not paths:
                lack = f"no {pattern} below {root_name} or beside it"
            fault = errors.DatasetError(f"{lack}; {cure}", code="metadata")
            found.faults.append((NAME, fault))
            return
        found.warnings.append(cure)
        reason = f"{tables}: no row for it; its metadata stay {amos22.UNDEFINED}"
        sides = {"file": read[0], "expected": "one row", "found": "none"}
        found.faults += [
            (
                amos22.sample_name({"seq": seq}),
                errors.DatasetError(reason, code="metadata", **sides),
            )
            for seq in lost
        ]


def _at_hand(table, unlabelled):
    """The rows but those of other unlabelled scans: nobody asked for these."""
    is_labelled = table["seq"].map(amos22.unlabelled_part).isna()
    return table[is_labelled | table["seq"].isin(unlabelled)]

"""Splits: worksheets that assign samples to subsets, and the index manifests cut from them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path

from utils import errors
from utils.facts import DataSet, patients
from utils.routines import decided, sheet_looks, split_choices
from utils.storage import files, holding, manifest, workbook

if typing.TYPE_CHECKING:
    import pandas as pd

# Columns by which a part of the samples is selected, where a manifest has all of them.
SELECTION_COLUMNS = ["site", "collection"]
_LONGEST_FILE_NAME = 255  # bytes, of nearly all file systems
OUT_OF_DATE = (
    "the worksheet differs from the worksheet Manifest, which was changed since; make "
    "the split again to take that over"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The worksheet of a split as `make_sheet` left it; all cells of ``table`` are text."""

    manifest_path: files.PathLike
    name: str
    table: pd.DataFrame

    @property
    def subsets(self) -> dict[str, str]:
        """ID to subset, in the order of the sheet."""
        return dict(zip(self.table["ID"], self.table[self.name]))

    @property
    def counts(self) -> dict[str, int]:
        """Samples per subset, see `split_choices.count`."""
        return split_choices.count(self.subsets.values())

    @property
    def summary(self) -> str:
        """The line that says what was written."""
        where = f"{self.manifest_path}, worksheet {self.name}"
        return f"{where}: {len(self.table)} samples ({split_choices.in_words(self.counts)})"

    def leaks(self, facts: DataSet) -> list[str]:
        """Lines that name the samples whose patient is, or may be, in an earlier subset, too.

        Of a data set that names no patients the only line says so.
        """
        if unnamed := patients.unnamed(facts):
            return [unnamed]
        rows = split_choices.rows_of(self.table)
        found = split_choices.leaks(self.subsets, patients.group(rows, facts))
        lines = [
            f"{len(divided)} of {self.counts[subset]} {subset} scans show a patient of "
            f"{' or '.join(earlier)}: {', '.join(divided)}"
            for (subset, earlier), divided in found.items()
        ]
        if lines and (inferred := patients.inferred(facts)):
            lines.append(f"that these are the same patients is {inferred}")
        unknown, keys = patients.unknown(rows, facts), " or ".join(facts.PATIENT_KEYS)
        nameless = [key for key in unknown if self.subsets[key] != split_choices.UNLABELLED]
        if nameless:
            lines.append(
                f"{len(nameless)} samples without {keys}, of which it is not known whether they "
                f"show a patient of an earlier subset: {errors.listed(nameless)}"
            )
        if len(unknown) > len(nameless):
            lines.append(
                f"{len(unknown) - len(nameless)} unlabelled scans without {keys}, of which it is "
                f"not known whether they show a patient of {', '.join(split_choices.SUBSETS)}"
            )
        return lines


def make_sheet(
    manifest_path: files.PathLike,
    split_name: str,
    choose: split_choices.Choice,
    facts: DataSet | None = None,
) -> Split:
    """Add the worksheet of a split to a dataset manifest, or renew it.

    The split's name is that of the worksheet and of its last column. Samples that are not chosen
    (see `split_choices`) are not part of it. With `facts` a column with the patient of each sample
    (see `patients.group`) stands before the last one; patients that are not known are warned about.
    A DatasetError where the name is taken by another worksheet or column, the patients cannot be
    told, or no choice can be made; nothing is written then.
    """
    with holding.file(manifest_path):
        book = workbook.Workbook(manifest_path)
        table = book.table(manifest.MAIN_SHEET, required=("ID",), typed=True)
        _check_name(book, split_name, [*table.columns, patients.COLUMN])
        text = workbook.as_text(table)
        _check_ids(text, f"{manifest_path}, worksheet {manifest.MAIN_SHEET}")
        subsets = choose(text)
        _warn_of_excluded(manifest_path, subsets)
        split = table[text["ID"].isin(list(subsets))].copy()
        if facts:
            split[patients.COLUMN] = text["ID"].map(_patients(text, facts))
        split[split_name] = text["ID"].map(subsets)
        look = sheet_looks.of_samples(split, manifest_path)
        manifest.replace_sheet(book, split_name, split, look)
    return Split(manifest_path, split_name, workbook.as_text(split))


def _warn_of_excluded(manifest_path, subsets):
    """Warn about samples that take part though people have excluded them since."""
    taking_part = [key for key, subset in subsets.items() if subset != split_choices.EXCLUDED]
    decided.warn_of_excluded(manifest_path, taking_part)


def _patients(table, facts):
    """{ID: patient} of a manifest, all text."""
    split_choices.require(table, *facts.PATIENT_KEYS)
    if patients.COLUMN in table:
        where = f"the worksheet {manifest.MAIN_SHEET} has a column {patients.COLUMN!r} already"
        raise errors.DatasetError(f"{where}; rename it", code="columns", found=patients.COLUMN)
    rows = split_choices.rows_of(table)
    # Of many unlabelled scans nothing was ever published, and no choice rests on their patient.
    labelled = {
        key: row for key, row in rows.items() if row.get("subset") != split_choices.UNLABELLED
    }
    nameless = patients.unknown(labelled, facts)
    if nameless and facts.PATIENT_KEYS:  # of a data set without it is no news
        keys = " or ".join(facts.PATIENT_KEYS)
        count = f"{len(nameless)} samples without {keys}, each taken for a patient of its own"
        errors.warn(f"{count}: {errors.listed(nameless)}")
    return patients.group(rows, facts)


def _check_name(book, split_name, columns):
    """Refuse names that would replace what is no split, before anything is done."""
    workbook.check_sheet_name(split_name)
    same = [name for name in book.names if name.casefold() == split_name.casefold()]
    reason = ""
    # A sheet that differs in case only is refused when the sheet is replaced.
    if split_name.casefold() == manifest.MAIN_SHEET.casefold() or (
        split_name in same and not _is_split(book, split_name)
    ):
        reason = f"the worksheet {same[0]!r} is not a split and is not replaced"
    elif split_name in columns:
        reason = f"its worksheets have a column {split_name!r} already"
    if reason:
        message = f"{book.path}: {reason}; choose another --split_name"
        raise errors.DatasetError(message, file=book.path, code="name", found=split_name)


def names(book: workbook.Workbook) -> list[str]:
    """Name the split sheets of a workbook, in their order; a split's last column bears its name."""
    return [name for name in book.names if _is_split(book, name)]


def _is_split(book, name):
    return book.header(name)[-1:] == [name]


def _check_ids(table, where):
    wrong = table.loc[(table["ID"] == "") | table["ID"].duplicated(keep=False), "ID"].unique()
    if len(wrong):
        found = errors.listed(key or "(empty)" for key in wrong)
        message = f"{where}: IDs that are empty or stand in several rows: {found}"
        raise errors.DatasetError(message, code="ids", found=found)


def out_of_date(book: workbook.Workbook, table: pd.DataFrame) -> list[str]:
    """Name the split sheets of a workbook that do not repeat the manifest, in their order.

    The manifest is as it is, or will be, in the workbook; text or typed.

    Notes
    -----
    A split may hold a part of the samples. It is up to date when each of its rows is the
    manifest's row of that ID, in the same order, and no sample is missing: none at all of a split
    that assigns other subsets than the published ones, which are made of all samples; else none of
    a site and collection that the split has samples of.
    """
    text = workbook.as_text(table)
    return [name for name in names(book) if not _repeats(book.table(name), text)]


def _repeats(split, table):
    """Whether a split sheet has the columns and rows of the manifest it should have; all text."""
    *copied, own = split
    if copied[-1:] == [patients.COLUMN] != list(table)[-1:]:
        copied.pop()
    if copied != list(table):
        return False
    if (split[own] != split.get("subset")).any():
        expected = table
    else:
        ids, groups = set(split["ID"]), set(_groups(split))
        rows = zip(table["ID"], _groups(table))
        expected = table[[key in ids or group in groups for key, group in rows]]
    return split[copied].to_numpy().tolist() == expected.to_numpy().tolist()


def _groups(table):
    """What decides whether a sample is selected; the same for all where nothing is."""
    columns = SELECTION_COLUMNS if set(SELECTION_COLUMNS) <= set(table) else []
    return list(map(tuple, table[columns].to_numpy().tolist()))


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Rows of each index manifest, in the order asked for; and whether the split is out of date."""

    counts: dict[Path, int]
    is_out_of_date: bool

    @property
    def summary(self) -> list[str]:
        """Lines that say what was written."""
        return [f"{path}: {count} samples" for path, count in self.counts.items()]


def extract(
    manifest_path: files.PathLike,
    split_name: str,
    groups: Sequence[Sequence[str]],
    output_dir: files.PathLike,
) -> Extraction:
    """Cut index manifests out of a split sheet, one for each group of subsets: all, or none.

    The file and its worksheet are named after the split and the subsets. Where Excel does not take
    so long a name, the worksheet is called Manifest.

    A DatasetError at an unknown sheet or subset, a subset twice, two files of one name, a name that
    Excel or a file system does not take. Nothing is written then.
    """
    book = workbook.Workbook(manifest_path)
    split = book.table(split_name, required=("ID", split_name), typed=True)
    text = workbook.as_text(split)
    _check_ids(text, f"{manifest_path}, worksheet {split_name}")
    _warn_of_excluded(manifest_path, dict(zip(text["ID"], text[split_name])))
    groups_of = _named_groups(split_name, groups, list(text[split_name].unique()))
    paths = {name: Path(output_dir, f"{name}.xlsx") for name in groups_of}
    for path in paths.values():
        if path.resolve() == book.path.resolve():
            message = f"{path}: would replace the manifest that is read"
            raise errors.DatasetError(message, file=path, code="name")
    tables = {name: split[text[split_name].isin(group)] for name, group in groups_of.items()}
    is_out_of_date = manifest.MAIN_SHEET in book.names and not _repeats(
        text, book.table(manifest.MAIN_SHEET)
    )
    sheet_of = {name: name if workbook.is_short(name) else manifest.MAIN_SHEET for name in tables}
    looks = {
        paths[name]: {sheet_of[name]: sheet_looks.of_samples(part, paths[name])}
        for name, part in tables.items()
    }
    workbooks = {paths[name]: {sheet_of[name]: part} for name, part in tables.items()}
    manifest.write_together(workbooks, looks)
    return Extraction({paths[name]: len(tables[name]) for name in tables}, is_out_of_date)


def _named_groups(split_name, groups, known):
    """{name of file and worksheet: its subsets}, all of them checked."""
    named = {}
    for group in groups:
        unknown = [subset for subset in group if subset not in known or not subset]
        if unknown:
            sides = {"expected": ", ".join(known), "found": ", ".join(unknown)}
            message = (
                f"worksheet {split_name} has no samples in {sides['found']}; its subsets: "
                f"{sides['expected']}"
            )
            raise errors.DatasetError(message, code="subset", **sides)
        name = "_".join([split_name, *group])
        _check_index_name(name)
        if len(set(group)) < len(group) or name.casefold() in map(str.casefold, named):
            message = f"{name} would hold a subset twice, or be written twice"
            raise errors.DatasetError(message, code="subset", found=name)
        named[name] = group
    return named


def _check_index_name(name):
    workbook.check_sheet_name(name, is_files=True)
    n_bytes = len(f"{name}.xlsx".encode())
    if n_bytes > _LONGEST_FILE_NAME:
        text = f"{name}.xlsx has {n_bytes} bytes, file systems allow {_LONGEST_FILE_NAME}"
        raise errors.DatasetError(f"the file name {text}; use fewer subsets", code="name")

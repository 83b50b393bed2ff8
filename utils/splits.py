"""Splits: worksheets that assign samples to subsets, and the index manifests cut from them."""
import collections
import dataclasses
from pathlib import Path

from utils import errors, manifest

SUBSETS = ("train", "val", "test")

# How many samples a message names before it only counts.
_NAMED = 5


def make_sheet(manifest_path, split_name: str, choose) -> collections.Counter:
    """Add the worksheet of a split to a dataset manifest, or renew it.

    Parameters
    ----------
    manifest_path : path-like
        Workbook with a worksheet ``Manifest``.
    split_name : str
        Name of the worksheet and of its last column.
    choose : callable
        Gets the `manifest.Table`, all text; returns {ID: subset}. Samples without an entry are
        not part of the split.

    Returns
    -------
    Counter
        Samples per subset, in the order train, val, test.

    Raises
    ------
    DatasetError
        The name is taken by another worksheet or column, or the manifest does not tell the split.
        Nothing is written then.
    """
    workbook = manifest.Workbook(manifest_path)
    table = workbook.table(required=("ID",), typed=True)
    _check_name(workbook, split_name, table.columns)
    _check_ids(table, f"{manifest_path}, worksheet {manifest.MAIN_SHEET}")
    subsets = choose(_as_text(table))
    rows = [{**row, split_name: subsets[manifest.cell_text(row["ID"])]} for row in table.rows
            if manifest.cell_text(row["ID"]) in subsets]
    manifest.replace_sheet(workbook, split_name,
                           manifest.Table([*table.columns, split_name], rows))
    counts = collections.Counter(row[split_name] for row in rows)
    return collections.Counter({subset: counts[subset] for subset in SUBSETS})


def published(table: manifest.Table) -> dict[str, str]:
    """Assign each sample to the subset it was published in.

    Parameters
    ----------
    table : manifest.Table
        With the columns ID and subset.

    Returns
    -------
    dict of str to str
        ID to subset.

    Raises
    ------
    DatasetError
        There is no column subset, or a sample's is none of train, val and test.
    """
    if "subset" not in table.columns:
        raise errors.DatasetError(f"worksheet {manifest.MAIN_SHEET}: no column 'subset'; found: "
                                  f"{', '.join(table.columns)}", code="columns", expected="subset")
    odd = [f"{row['ID']} {row['subset']!r}" for row in table.rows if row["subset"] not in SUBSETS]
    if odd:
        raise errors.DatasetError(f"subset is none of {', '.join(SUBSETS)}: {_some(odd)}",
                                  code="subset", expected=", ".join(SUBSETS), found=_some(odd))
    return {row["ID"]: row["subset"] for row in table.rows}


def _check_name(workbook, split_name, columns):
    """Refuse names that would replace what is no split, before anything is done."""
    manifest.check_sheet_name(split_name)
    same = [name for name in workbook.names if name.casefold() == split_name.casefold()]
    # A sheet that differs in case only is refused when the sheet is replaced.
    if split_name.casefold() == manifest.MAIN_SHEET.casefold() or (
            split_name in same and not _is_split(workbook, split_name)):
        raise errors.DatasetError(f"{workbook.path}: the worksheet {same[0]!r} is not a split and "
                                  "is not replaced; choose another --split_name",
                                  file=workbook.path, code="name", found=split_name)
    if split_name in columns:
        raise errors.DatasetError(f"{workbook.path}: the worksheet {manifest.MAIN_SHEET} has a "
                                  f"column {split_name!r} already; choose another --split_name",
                                  file=workbook.path, code="name", found=split_name)


def _is_split(workbook, name):
    return workbook.header(name)[-1:] == [name]


def _check_ids(table, where):
    ids = collections.Counter(manifest.cell_text(row["ID"]) for row in table.rows)
    doubled = [identifier or "(empty)" for identifier, count in ids.items()
               if count > 1 or not identifier]
    if doubled:
        raise errors.DatasetError(f"{where}: IDs that are empty or stand in several rows: "
                                  f"{_some(doubled)}", code="ids", found=_some(doubled))


def _some(texts):
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more


def _as_text(table):
    return manifest.Table(table.columns, [
        {column: manifest.cell_text(value) for column, value in row.items()}
        for row in table.rows])


def out_of_date(workbook, table: manifest.Table) -> list[str]:
    """Name the split sheets that no longer repeat the manifest.

    Parameters
    ----------
    workbook : path-like or manifest.Workbook
        Workbook with split sheets: their last column bears the sheet's name.
    table : manifest.Table
        The manifest as it is, or will be, in the workbook; text or typed.

    Returns
    -------
    list of str
        Names in the order of the sheets.
    """
    if not isinstance(workbook, manifest.Workbook):
        workbook = manifest.Workbook(workbook)
    return [name for name in workbook.names
            if _is_split(workbook, name) and not _repeats(workbook.table(name), table)]


def _repeats(split, table):
    """Whether a split sheet has the columns and rows of the manifest, before its own column."""
    copied = split.columns[:-1]
    return copied == table.columns and [
        [row[column] for column in copied] for row in split.rows] == [
        [manifest.cell_text(row.get(column)) for column in copied] for row in table.rows]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What `extract` did.

    Parameters
    ----------
    counts : dict of Path to int
        Rows of each index manifest, in the order asked for.
    is_out_of_date : bool
        The split sheet no longer repeats the worksheet ``Manifest``.
    """

    counts: dict[Path, int]
    is_out_of_date: bool


def extract(manifest_path, split_name: str, groups, output_dir) -> Extraction:
    """Cut index manifests out of a split sheet: all of them, or none.

    Parameters
    ----------
    manifest_path : path-like
        Workbook with the split sheet.
    split_name : str
        Name of the sheet.
    groups : sequence of sequence of str
        Subsets of each index manifest.
    output_dir : path-like
        Folder of the index manifests, made where it is missing.

    Returns
    -------
    Extraction

    Raises
    ------
    DatasetError
        Unknown sheet or subset, a subset twice, two files of one name, a name that Excel does not
        take. Nothing is written then.
    """
    workbook = manifest.Workbook(manifest_path)
    split = workbook.table(split_name, required=("ID", split_name), typed=True)
    _check_ids(split, f"{manifest_path}, worksheet {split_name}")
    tables = _index_tables(split, split_name, groups)
    paths = {name: Path(output_dir, f"{name}.xlsx") for name in tables}
    for path in paths.values():
        if path.resolve() == workbook.path.resolve():
            raise errors.DatasetError(f"{path}: would replace the manifest that is read",
                                      file=path, code="name")
    is_out_of_date = (manifest.MAIN_SHEET in workbook.names
                      and not _repeats(_as_text(split), workbook.table()))
    manifest.write_together({paths[name]: {name: table} for name, table in tables.items()})
    return Extraction({paths[name]: len(table.rows) for name, table in tables.items()},
                      is_out_of_date)


def _index_tables(split, split_name, groups):
    """{name of file and worksheet: its table}, all names and subsets checked."""
    known = list(dict.fromkeys(manifest.cell_text(row[split_name]) for row in split.rows))
    tables = {}
    for group in groups:
        unknown = [subset for subset in group if subset not in known or not subset]
        if unknown:
            raise errors.DatasetError(
                f"worksheet {split_name} has no samples in {', '.join(unknown)}; its subsets: "
                f"{', '.join(known)}", code="subset", expected=", ".join(known),
                found=", ".join(unknown))
        name = "_".join([split_name, *group])
        manifest.check_sheet_name(name)
        if len(set(group)) < len(group) or name.casefold() in map(str.casefold, tables):
            raise errors.DatasetError(f"{name} would hold a subset twice, or be written twice",
                                      code="subset", found=name)
        tables[name] = manifest.Table(split.columns, [
            row for row in split.rows if manifest.cell_text(row[split_name]) in group])
    return tables

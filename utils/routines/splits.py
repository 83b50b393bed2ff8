"""Splits: worksheets that assign samples to subsets, and the index manifests cut from them."""

import collections
import dataclasses
import hashlib
import math
import warnings
from pathlib import Path

from utils import errors
from utils.storage import manifest

SUBSETS = ("train", "val", "test")

# Columns by which a part of the samples is selected, where a manifest has all of them.
SELECTION_COLUMNS = ("site", "collection")
OUT_OF_DATE = (
    "the worksheet differs from the worksheet Manifest, which was changed since; make "
    "the split again to take that over"
)

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
    rows = [
        {**row, split_name: subsets[manifest.cell_text(row["ID"])]}
        for row in table.rows
        if manifest.cell_text(row["ID"]) in subsets
    ]
    manifest.replace_sheet(workbook, split_name, manifest.Table([*table.columns, split_name], rows))
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
    _require(table, "subset")
    odd = [f"{row['ID']} {row['subset']!r}" for row in table.rows if row["subset"] not in SUBSETS]
    if odd:
        raise errors.DatasetError(
            f"subset is none of {', '.join(SUBSETS)}: {_some(odd)}",
            code="subset",
            expected=", ".join(SUBSETS),
            found=_some(odd),
        )
    return {row["ID"]: row["subset"] for row in table.rows}


def _require(table, *columns):
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise errors.DatasetError(
            f"worksheet {manifest.MAIN_SHEET}: no column {', '.join(map(repr, missing))}; found: "
            f"{', '.join(table.columns)}",
            code="columns",
            expected=", ".join(columns),
        )


def selected(wanted: dict):
    """Make the choice of a part of the samples, each in the subset it was published in.

    Parameters
    ----------
    wanted : dict of str to sequence of str
        Column to the values to select: ``{"site": ["Tongji"], "collection": ["train-val"]}``.

    Returns
    -------
    callable
        For `make_sheet`. Raises DatasetError for a value that no sample has, and where nothing is
        selected; both say what there is. A value that selects nothing and a patient (column pid)
        in several subsets are warned about.
    """

    def choose(table):
        _require(table, *wanted)
        for column, values in wanted.items():
            _check_known(table, column, values)
        rows = [
            row
            for row in table.rows
            if all(row[column] in values for column, values in wanted.items())
        ]
        if not rows:
            existing = collections.Counter(
                " ".join(row[column] for column in wanted) for row in table.rows
            )
            told = ", ".join(f"{names} ({count})" for names, count in sorted(existing.items()))
            raise errors.DatasetError(
                f"no sample has such {' and '.join(wanted)} together; there are: {told}",
                code="selection",
                found=told,
            )
        for column, values in wanted.items():
            idle = [value for value in values if value not in {row[column] for row in rows}]
            if idle:
                _warn(f"{column} {', '.join(idle)}: none of its samples is selected")
        subsets = published(manifest.Table(table.columns, rows))
        _tell_divided(rows, subsets)
        return subsets

    return choose


def _check_known(table, column, values):
    existing = sorted({row[column] for row in table.rows})
    unknown = [value for value in values if value not in existing]
    if unknown:
        raise errors.DatasetError(
            f"no sample has {column} {', '.join(map(repr, unknown))}; there are: "
            f"{', '.join(existing)}",
            code="selection",
            expected=", ".join(existing),
            found=", ".join(unknown),
        )


def _tell_divided(rows, subsets):
    """Warn about patients in several subsets."""
    sides = collections.defaultdict(set)
    for row in rows:
        if row.get("pid"):
            sides[row["pid"]].add(subsets[row["ID"]])
    divided = [
        f"{pid} ({', '.join(side for side in SUBSETS if side in found)})"
        for pid, found in sorted(sides.items())
        if len(found) > 1
    ]
    if divided:
        _warn(f"patients in several subsets: {_some(divided)}")


def _warn(message):
    warnings.warn(message, errors.DataWarning, stacklevel=3)


def across_sites(kept_site: str, test_ratio: float, val_ratio: float, seed: int):
    """Make the choice that mixes all sites but one, which keeps its published subsets.

    Parameters
    ----------
    kept_site : str
        Value of the column site of the samples that stay as published.
    test_ratio : float
        Share of the other samples, pooled over their sites, for test; 0 to 1.
    val_ratio : float
        Share of the samples left then for val; 0 to 1.
    seed : int
        Another seed gives another split.

    Returns
    -------
    callable
        For `make_sheet`. Raises DatasetError for a sample without patient (column pid).

    Notes
    -----
    A subset of n samples with ratio r is to have floor(n r + 0.5). All samples of a patient go
    together, so that the size is the nearest one that sums of patients reach, the smaller of two
    equally near. Patients are taken in the order of the SHA-256 of ``<seed>:<pid>``, which no
    library and no order of the rows has a part in; a patient is left out where the size could not
    be reached with him.

    A patient of the kept site keeps all samples on that side, and those elsewhere count for its
    size. Where the site itself divides a patient, the samples elsewhere go to the first of train,
    val, test that has one: the leak is the site's, and no more of val or test is touched by it.
    """

    def choose(table):
        _require(table, "site", "pid")
        kept = [row for row in table.rows if row["site"] == kept_site]
        pool = [row for row in table.rows if row["site"] != kept_site]
        nameless = [row["ID"] for row in pool if not row["pid"]]
        if nameless:
            raise errors.DatasetError(
                f"no patient (column pid) of {_some(nameless)}", code="pid", found=_some(nameless)
            )
        subsets = published(manifest.Table(table.columns, kept))
        sides = _sides_of_patients(kept, subsets)
        _deal(collections.Counter(row["pid"] for row in pool), sides, test_ratio, val_ratio, seed)
        subsets.update((row["ID"], sides[row["pid"]]) for row in pool)
        _tell_divided(table.rows, subsets)
        return subsets

    return choose


def _sides_of_patients(rows, subsets):
    """{pid: first of train, val, test with a sample of this patient}."""
    by_side = sorted(rows, key=lambda row: SUBSETS.index(subsets[row["ID"]]), reverse=True)
    return {row["pid"]: subsets[row["ID"]] for row in by_side}


def _deal(sizes, sides, test_ratio, val_ratio, seed):
    """Give every patient of a pool, {pid: samples}, a side; those that have one keep it."""
    free = sorted(
        (pid for pid in sizes if pid not in sides),
        key=lambda pid: hashlib.sha256(f"{seed}:{pid}".encode()).digest(),
    )
    left = sizes.total()
    for side, ratio in (("test", test_ratio), ("val", val_ratio)):
        n_fixed = sum(size for pid, size in sizes.items() if sides.get(pid) == side)
        taken = _take([sizes[pid] for pid in free], math.floor(left * ratio + 0.5) - n_fixed)
        sides.update((free[index], side) for index in taken)
        left -= n_fixed + sum(sizes[free[index]] for index in taken)
        free = [pid for pid in free if pid not in sides]
    sides.update(dict.fromkeys(free, "train"))


def _take(sizes, target):
    """Indexes of the sizes that sum up nearest to the target; the first ones that do."""
    # Bit n of sums[k]: sizes k, k + 1, ... have a part that sums up to n.
    sums = [1]
    for size in reversed(sizes):
        sums.insert(0, sums[0] | sums[0] << size)
    nearest = min(
        (total for total in range(sum(sizes) + 1) if sums[0] >> total & 1),
        key=lambda total: (abs(total - target), total),
    )
    taken = []
    for index, size in enumerate(sizes):
        if size <= nearest and sums[index + 1] >> (nearest - size) & 1:
            taken.append(index)
            nearest -= size
    return taken


def summary(manifest_path, split_name: str, counts: collections.Counter) -> str:
    """Return the line that tells what `make_sheet` wrote."""
    listed = ", ".join(f"{count} {subset}" for subset, count in counts.items())
    return f"{manifest_path}, worksheet {split_name}: {counts.total()} samples ({listed})"


def _check_name(workbook, split_name, columns):
    """Refuse names that would replace what is no split, before anything is done."""
    manifest.check_sheet_name(split_name)
    same = [name for name in workbook.names if name.casefold() == split_name.casefold()]
    # A sheet that differs in case only is refused when the sheet is replaced.
    if split_name.casefold() == manifest.MAIN_SHEET.casefold() or (
        split_name in same and not _is_split(workbook, split_name)
    ):
        raise errors.DatasetError(
            f"{workbook.path}: the worksheet {same[0]!r} is not a split and "
            "is not replaced; choose another --split_name",
            file=workbook.path,
            code="name",
            found=split_name,
        )
    if split_name in columns:
        raise errors.DatasetError(
            f"{workbook.path}: the worksheet {manifest.MAIN_SHEET} has a "
            f"column {split_name!r} already; choose another --split_name",
            file=workbook.path,
            code="name",
            found=split_name,
        )


def _is_split(workbook, name):
    return workbook.header(name)[-1:] == [name]


def _check_ids(table, where):
    ids = collections.Counter(manifest.cell_text(row["ID"]) for row in table.rows)
    doubled = [
        identifier or "(empty)" for identifier, count in ids.items() if count > 1 or not identifier
    ]
    if doubled:
        raise errors.DatasetError(
            f"{where}: IDs that are empty or stand in several rows: {_some(doubled)}",
            code="ids",
            found=_some(doubled),
        )


def _some(texts):
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more


def _as_text(table):
    return manifest.Table(
        table.columns,
        [
            {column: manifest.cell_text(value) for column, value in row.items()}
            for row in table.rows
        ],
    )


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

    Notes
    -----
    A split may hold a part of the samples. It is up to date when each of its rows is the
    manifest's row of that ID, in the same order, and no sample is missing: none at all of a split
    that assigns other subsets than the published ones, which are made of all samples; else none of
    a site and collection that the split has samples of.
    """
    if not isinstance(workbook, manifest.Workbook):
        workbook = manifest.Workbook(workbook)
    return [
        name
        for name in workbook.names
        if _is_split(workbook, name) and not _repeats(workbook.table(name), table)
    ]


def _repeats(split, table):
    """Whether a split sheet, all text, has the columns and rows of the manifest it should have."""
    *copied, own = split.columns
    if copied != table.columns:
        return False
    rows = [
        {column: manifest.cell_text(row.get(column)) for column in copied} for row in table.rows
    ]
    ids = {row["ID"] for row in split.rows}
    groups = {_group(row) for row in split.rows}
    is_of_all = any(row[own] != row.get("subset") for row in split.rows)
    expected = [row for row in rows if is_of_all or row["ID"] in ids or _group(row) in groups]
    return [{column: row[column] for column in copied} for row in split.rows] == expected


def _group(row):
    """What decides whether a sample is selected; the same for all where nothing is."""
    return tuple(
        row[column]
        for column in SELECTION_COLUMNS
        if all(name in row for name in SELECTION_COLUMNS)
    )


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

    @property
    def summary(self) -> str:
        """Lines that tell what was written."""
        return "\n".join(f"{path}: {count} samples" for path, count in self.counts.items())


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
            raise errors.DatasetError(
                f"{path}: would replace the manifest that is read", file=path, code="name"
            )
    is_out_of_date = manifest.MAIN_SHEET in workbook.names and not _repeats(
        _as_text(split), workbook.table()
    )
    manifest.write_together({paths[name]: {name: table} for name, table in tables.items()})
    return Extraction(
        {paths[name]: len(table.rows) for name, table in tables.items()}, is_out_of_date
    )


def _index_tables(split, split_name, groups):
    """{name of file and worksheet: its table}, all names and subsets checked."""
    known = list(dict.fromkeys(manifest.cell_text(row[split_name]) for row in split.rows))
    tables = {}
    for group in groups:
        unknown = [subset for subset in group if subset not in known or not subset]
        if unknown:
            raise errors.DatasetError(
                f"worksheet {split_name} has no samples in {', '.join(unknown)}; its subsets: "
                f"{', '.join(known)}",
                code="subset",
                expected=", ".join(known),
                found=", ".join(unknown),
            )
        name = "_".join([split_name, *group])
        manifest.check_sheet_name(name)
        if len(set(group)) < len(group) or name.casefold() in map(str.casefold, tables):
            raise errors.DatasetError(
                f"{name} would hold a subset twice, or be written twice", code="subset", found=name
            )
        tables[name] = manifest.Table(
            split.columns,
            [row for row in split.rows if manifest.cell_text(row[split_name]) in group],
        )
    return tables

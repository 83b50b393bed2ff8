"""The samples of a dataset manifest as training takes them: volume, mask, subset, label names."""

import collections
import dataclasses
import functools
import os
import re
from pathlib import Path

from utils import errors
from utils.arrays import labels
from utils.facts import DataSet
from utils.routines import dataset, decided, fold_dealing, split_choices, splits
from utils.running import calls, runner
from utils.storage import files, forms, manifest, workbook

OUT_OF_DATE = "the worksheet differs from the worksheet Manifest"
COLUMNS = ("ID", "subset", "volume", "mask")
# What an ID, or a data set's name, must look like to become the name of a file.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BINARY_MASK_COLUMN = re.compile(r"mask_([0-9]{2,3})_(.+)")


@dataclasses.dataclass(frozen=True)
class Case:
    """One sample of a manifest; its files are looked for when a path is asked for.

    The subset is that of the split that was read; ``row`` holds all cells of the sample. Paths in
    them are relative to ``root_dir`` where it was given; see `manifest.resolve`.
    """

    id: str
    subset: str
    row: dict[str, str]
    manifest_path: files.PathLike
    root_dir: files.PathLike | None = None

    def __str__(self):
        return self.id

    @property
    def volume_path(self) -> Path:
        """The volume; a DatasetError when there is no such file."""
        return manifest.resolve(self.row["volume"], self.manifest_path, self.root_dir)

    @property
    def mask_path(self) -> Path | None:
        """The multi-label mask, None for a sample without; a DatasetError as for the volume."""
        if not self.row["mask"]:
            return None
        return manifest.resolve(self.row["mask"], self.manifest_path, self.root_dir)

    @property
    def is_trained_on(self) -> bool:
        """Whether it belongs to train, val or a fold."""
        return self.subset not in ("test", *split_choices.LEFT_OUT)

    @property
    def fold(self) -> int | None:
        """Number of the fold that the split puts it in; None where that has none."""
        return split_choices.fold_number(self.subset)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The samples that were read, in the order of the sheet.

    ``label_names`` are those in file names (``right_kidney``), by label, as the manifest's columns
    have them; ``columns`` are those of the sheet, ``column`` is the one with the subsets that count
    (``subset``, or a split's); ``is_out_of_date`` says that a split no longer repeats the worksheet
    Manifest.
    """

    cases: list[Case]
    label_names: dict[int, str]
    columns: tuple[str, ...]
    column: str
    is_out_of_date: bool

    @property
    def used(self) -> list[Case]:
        """The samples that exports take: those that are neither excluded nor unlabelled."""
        return [case for case in self.cases if case.subset not in split_choices.LEFT_OUT]

    @property
    def unlabelled(self) -> list[Case]:
        """The samples of the subset unlabelled; a DatasetError where there are none."""
        found = of_subset(self.cases, split_choices.UNLABELLED)
        if not found:
            reason = f"no sample is {split_choices.UNLABELLED} by the column {self.column}"
            advice = f"routine 01 lists them with --{split_choices.UNLABELLED}"
            raise errors.DatasetError(f"{reason}; {advice}", code="empty")
        return found

    @property
    def left_out(self) -> str:
        """How many samples exports leave out, for a summary: ``; left out: 29 excluded``, or ""."""
        counts = split_choices.count(case.subset for case in self.cases)
        found = {name: counts[name] for name in split_choices.LEFT_OUT if name in counts}
        return f"; left out: {split_choices.in_words(found)}" if found else ""


def read(
    manifest_path: files.PathLike,
    split_name: str | None = None,
    root_dir: files.PathLike | None = None,
) -> Selection:
    """Read the samples of a dataset manifest, or of one of its splits.

    Parameters
    ----------
    manifest_path : path-like
        Workbook of all samples, or an index manifest cut from it.
    split_name : str, optional
        Worksheet of a split, or the split that an index manifest was cut from; without it the
        published subsets of the worksheet Manifest count, or those of the one worksheet of an
        index manifest.
    root_dir : path-like, optional
        The folder that paths in the manifest are relative to, if it is known.

    Raises
    ------
    DatasetError
        No such file, sheet or column; an ID that is empty, doubled or cannot be a file's name; a
        subset other than train, val, test, folds, excluded and unlabelled, or train and val beside
        folds; no column of a binary mask, unless all samples are unlabelled.
    """
    return select(workbook.Workbook(manifest_path), split_name, root_dir)


def select(
    book: workbook.Workbook, split_name: str | None, root_dir: files.PathLike | None
) -> Selection:
    """Read the samples of a workbook that is loaded; see `read`."""
    sheet, column = _sheet(book, split_name)
    table = _table(book, sheet, column, COLUMNS)
    rows = table.to_dict("records")
    found = [Case(row["ID"], row[column], row, book.path, root_dir) for row in rows]
    is_old = False
    if split_name and manifest.MAIN_SHEET in book.names:
        is_old = split_name in splits.out_of_date(book, book.table(manifest.MAIN_SHEET))
    is_labelled = any(case.subset != split_choices.UNLABELLED for case in found) or not found
    label_names = _label_names(table.columns, f"{book.path}, worksheet {sheet}", is_labelled)
    return Selection(found, label_names, tuple(table.columns), column, is_old)


def assigned(book: workbook.Workbook, split_name: str) -> dict[str, str]:
    """Return the subset of each sample by its ID in a split's worksheet, checked as by `read`."""
    table = _table(book, split_name, split_name, ("ID",))
    return dict(zip(table["ID"], table[split_name]))


def _table(book, sheet, column, required):
    table = book.table(sheet, required=dict.fromkeys((*required, column)))
    _check_rows(table, column, f"{book.path}, worksheet {sheet}")
    return table


def _sheet(book, split_name):
    """Worksheet to read, and its column with the subset."""
    if split_name in book.names:
        return split_name, split_name
    *_, last = book.header(book.names[0]) or ("",)
    if len(book.names) == 1 and (split_name == last or (not split_name and _is_index(book, last))):
        return book.names[0], last
    if split_name:
        return split_name, split_name  # the workbook says which there are
    is_main = manifest.MAIN_SHEET in book.names or len(book.names) > 1
    return manifest.MAIN_SHEET if is_main else book.names[0], "subset"


def _is_index(book, last):
    """Whether the one worksheet is that of an index manifest, by its name or the file's.

    ``split01_standard_train_val`` has the last column ``split01_standard``. Where that is too long
    for a worksheet, it is Manifest, as in a manifest of all samples, and the file has this name.
    """
    (sheet,) = book.names
    if sheet != manifest.MAIN_SHEET:
        return sheet.startswith(f"{last}_")
    name, begin = book.path.stem, f"{last}_"
    subsets = {*book.table(sheet)[last]} if last and name.startswith(begin) else {""}
    words = f"_{name.removeprefix(begin)}_"
    return not workbook.is_short(name) and all(f"_{subset}_" in words for subset in subsets)


def _check_rows(table, column, where):
    counts = collections.Counter(table["ID"])
    wrong = {
        "IDs in several rows": [key for key in counts if counts[key] > 1],
        "IDs that cannot be names of files": [
            repr(key) for key in counts if not PLAIN_NAME.fullmatch(key)
        ],
        **split_choices.faults([*zip(table["ID"], table[column])], f"column {column}"),
    }
    for fault, found in wrong.items():
        if found:
            raise errors.DatasetError(f"{where}: {fault}: {errors.listed(found)}", code="manifest")


def _label_names(columns, where, is_labelled):
    pairs = [
        (int(match[1]), match[2])
        for match in map(_BINARY_MASK_COLUMN.fullmatch, columns)
        if match and match[0] + dataset.EXISTENCE in columns
    ]
    found = dict(pairs)
    if max(found, default=0) > labels.LARGEST_LABEL or len(set(found.values())) < len(pairs):
        named = errors.listed(f"{value} {name}" for value, name in pairs)
        fault = "columns of binary masks with a label or a name twice, or a label above 255"
        raise errors.DatasetError(f"{where}: {fault}: {named}", code="columns", found=named)
    if not found and is_labelled:
        example = "mask_00_background"
        reason = f"no columns of binary masks ({example} and so on), which name the labels"
        advice = "extract the binary masks, and make the manifest and the split again"
        raise errors.DatasetError(f"{where}: {reason}; {advice}", code="columns", expected=example)
    return dict(sorted(found.items()))


def check(selection: Selection, facts: DataSet, chosen: list[Case] | None = None) -> calls.Outcome:
    """Look whether the files of all samples are there, and whether the labels fit the person.

    Of those that exports take, if no others are `chosen`.
    A result is whether the sample can be used: one of train or val without a mask cannot, and is
    warned about; so are samples that people excluded since. A missing file is a failure, and so is
    what `facts.mask_faults` finds. A DatasetError where the samples are those of another data set.
    """
    chosen = selection.used if chosen is None else chosen
    for where in {case.manifest_path for case in selection.cases}:
        facts.check_names([case.id for case in selection.cases], where)
        decided.warn_of_excluded(where, [case.id for case in chosen])
    is_usable = functools.partial(_is_usable, selection.label_names, facts.mask_faults)
    return runner.run(is_usable, chosen)


def _is_usable(label_names, mask_faults, case):
    _, mask_path = case.volume_path, case.mask_path
    if mask_path is None and case.is_trained_on:
        errors.warn(f"belongs to {case.subset} and has no mask; it is left out")
        return False
    columns = {key: dataset.mask_column(*key) + dataset.EXISTENCE for key in label_names.items()}
    present = [value for (value, _), column in columns.items() if case.row[column] == "1"]
    sex = forms.plain("sex", case.row.get("sex", "")) or ""
    faults = mask_faults({**case.row, "sex": sex}, present, mask_path)
    if faults:
        raise errors.CasesError(faults)
    return True


def has_folds(chosen: list[Case]) -> bool:
    """Whether the split puts samples into folds."""
    return any(case.fold is not None for case in chosen)


def training(chosen: list[Case]) -> list[Case]:
    """Sort by ID what is trained on; a DatasetError where there is nothing to begin with."""
    found = sorted((case for case in chosen if case.is_trained_on), key=str)
    if all(case.subset == "val" for case in found):
        raise errors.DatasetError("the split has no training sample with a mask", code="empty")
    return found


def of_subset(chosen: list[Case], subset: str) -> list[Case]:
    """Sort by ID the samples of one subset."""
    return sorted((case for case in chosen if case.subset == subset), key=str)


def cross_validation(dealt: list[Case], n_folds: int, facts: DataSet) -> dict[str, int]:
    """Return the fold of each sample, ID to number.

    It is that of the split; where that has no folds, the samples are dealt to `n_folds`, patients
    whole (see `fold_dealing.deal`). A DatasetError where a split's folds are not 0, 1 and so on,
    or where there are fewer patients than folds.
    """
    own = {case.id: case.fold for case in dealt if case.fold is not None}
    if not own:
        rows = {case.id: case.row for case in dealt}
        return fold_dealing.deal(rows, facts, n_folds, seed=0)
    odd = split_choices.odd_folds(case.subset for case in dealt)
    if odd:
        names = ", ".join(odd)
        reason = f"the split's samples with masks are in {names}; expected fold0, fold1 and so on"
        raise errors.DatasetError(reason, code="folds", found=names)
    return own


def relative(path: files.PathLike, folder: files.PathLike) -> str:
    """Write a path as one relative to a folder, with ``/``, for tools that join the two as texts.

    Where the folder is reached through a symbolic link, its name alone does not tell what ``..``
    means: the path is absolute then. The folder may still be missing.
    """
    folder, path = os.path.abspath(folder), os.path.abspath(path)
    if os.path.realpath(folder) == folder:
        path = os.path.relpath(path, folder)
    return Path(path).as_posix()


def heading(facts: DataSet) -> dict[str, str]:
    """What dataset.json and a data list say of the data set first, from its facts."""
    return {
        "name": facts.NAME,
        "description": facts.DESCRIPTION,
        "reference": facts.REFERENCE,
        "licence": facts.LICENCE,
    }


def modality(cases: list[Case], facts: DataSet) -> str:
    """Name what the images show as nnU-Net and MONAI expect it: ``CT`` or ``MRI``.

    A mixed set is ``CT_or_MRI``: its intensities must not be taken for Hounsfield units.
    DatasetError where ``facts.modality(row)`` does not know a sample's.
    """
    found = {case.id: facts.modality(case.row) for case in cases}
    unknown = [case_id for case_id, name in found.items() if name is None]
    if unknown:
        reason = f"neither CT nor MRI by their metadata: {errors.listed(unknown)}"
        advice = (
            "a described data set needs its page (--dataset), whose modality tells it; else "
            "correct these in the archive manifest, and make tree, manifest and split again"
        )
        all_names = ", ".join(unknown)
        raise errors.DatasetError(f"{reason}; {advice}", code="modality", found=all_names)
    return "_or_".join(sorted({name for name in found.values() if name}))

"""The samples of a dataset manifest as training takes them: volume, mask, subset, label names."""

import collections
import dataclasses
import hashlib
import json
import os
import re
import warnings
from pathlib import Path

from utils import errors
from utils.routines import split_choices, splits
from utils.running import runner
from utils.storage import files, manifest, workbook

COLUMNS = ("ID", "subset", "volume", "mask")
_BINARY_MASK_COLUMN = re.compile(r"mask_([0-9]{2,3})_(.+)")
_EXISTENCE = "_existence"
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CHECKSUM = "sha256"


@dataclasses.dataclass(frozen=True)
class Case:
    """One sample of a manifest; its files are looked for when a path is asked for.

    Attributes
    ----------
    id : str
        ``amos_0004``.
    subset : str
        train, val or test, by the split that was read.
    row : dict of str to str
        All cells of the sample.
    manifest_path : Path
    root_dir : Path or None
        What the paths are relative to, where it was given; see `manifest.resolve`.
    """

    id: str
    subset: str
    row: dict
    manifest_path: Path
    root_dir: Path | None = None

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
        """Whether it belongs to train or val."""
        return self.subset != "test"


@dataclasses.dataclass(frozen=True)
class Selection:
    """What `read` gives.

    Attributes
    ----------
    cases : list of Case
        In the order of the sheet.
    label_names : dict of int to str
        Label to name as in file names (``right_kidney``), by label; from the manifest's columns.
    columns : tuple of str
        Of the sheet, in its order.
    is_out_of_date : bool
        The split sheet no longer repeats the worksheet Manifest.
    """

    cases: list[Case]
    label_names: dict[int, str]
    columns: tuple[str, ...] = ()
    is_out_of_date: bool = False


def read(manifest_path, split_name: str | None = None, root_dir=None) -> Selection:
    """Read the samples of a dataset manifest, or of one of its splits.

    Parameters
    ----------
    manifest_path : path-like
        Workbook of routine 05, or an index manifest of routine 07.
    split_name : str, optional
        Worksheet of a split; without it the published subsets of the worksheet Manifest count, or
        those of the one worksheet of an index manifest.
    root_dir : path-like, optional
        The folder that paths in the manifest are relative to, if it is known.

    Returns
    -------
    Selection

    Raises
    ------
    DatasetError
        No such file, sheet or column; an ID that is empty, doubled or cannot be a file's name; a
        subset other than train, val and test; no column of a binary mask.
    """
    book = workbook.Workbook(manifest_path)
    sheet, column = _sheet(book, split_name)
    table = book.table(sheet, required=dict.fromkeys((*COLUMNS, column)))
    where = f"{manifest_path}, worksheet {sheet}"
    _check_rows(table, column, where)
    cases = [
        Case(
            row["ID"],
            row[column],
            row,
            Path(manifest_path),
            None if root_dir is None else Path(root_dir),
        )
        for row in table.to_dict("records")
    ]
    is_old = (
        bool(split_name)
        and manifest.MAIN_SHEET in book.names
        and split_name in splits.out_of_date(book, book.table(manifest.MAIN_SHEET))
    )
    label_names = _label_names(table.columns, where)
    return Selection(cases, label_names, tuple(table.columns), is_old)


def _sheet(book, split_name):
    """Worksheet to read, and its column with the subset."""
    if split_name:
        return split_name, split_name
    if manifest.MAIN_SHEET in book.names or len(book.names) > 1:
        return manifest.MAIN_SHEET, "subset"
    # An index manifest: split01_standard_train_val has the column split01_standard.
    (sheet,) = book.names
    return sheet, next(
        (column for column in reversed(book.header(sheet)) if sheet.startswith(f"{column}_")),
        "subset",
    )


def _check_rows(table, column, where):
    counts = collections.Counter(table["ID"])
    wrong = {
        "IDs in several rows": [key for key in counts if counts[key] > 1],
        "IDs that cannot be names of files": [
            repr(key) for key in counts if not _PLAIN_ID.fullmatch(key)
        ],
        f"{column} is none of {', '.join(split_choices.SUBSETS)}": [
            f"{key} {subset!r}"
            for key, subset in zip(table["ID"], table[column])
            if subset not in split_choices.SUBSETS
        ],
    }
    for fault, found in wrong.items():
        if found:
            raise errors.DatasetError(
                f"{where}: {fault}: {', '.join(found[:5])}{' ...' if len(found) > 5 else ''}",
                code="manifest",
            )


def _label_names(columns, where):
    found = {}
    for column in columns:
        match = _BINARY_MASK_COLUMN.fullmatch(column)
        if match and column + _EXISTENCE in columns:
            found[int(match[1])] = match[2]
    if not found:
        raise errors.DatasetError(
            f"{where}: no columns of binary masks (mask_00_background and so on), which name the "
            "labels; run routines 04, 05 and 06",
            code="columns",
            expected="mask_00_background",
        )
    return dict(sorted(found.items()))


def check(selection: Selection) -> runner.Outcome:
    """Look whether the files of all samples are there.

    Returns
    -------
    runner.Outcome
        A result is whether the sample can be used: one of train or val without a mask cannot, and
        is warned about. A missing file is a failure.
    """
    return runner.run(_is_usable, selection.cases)


def _is_usable(case):
    _, mask_path = case.volume_path, case.mask_path
    if mask_path is None and case.is_trained_on:
        warnings.warn(
            f"belongs to {case.subset} and has no mask; it is left out",
            errors.DataWarning,
            stacklevel=2,
        )
        return False
    return True


def relative(path, folder) -> str:
    """Write a path as one relative to a folder, for tools that join the two as texts.

    Parameters
    ----------
    path, folder : path-like
        The folder may still be missing.

    Returns
    -------
    str
        With ``/``. Where the folder is reached through a symbolic link, its name alone does not
        tell what ``..`` means: the path is absolute then.
    """
    folder = os.path.abspath(folder)
    path = os.path.abspath(path)
    if os.path.realpath(folder) != folder:
        return Path(path).as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


def modality(cases: list[Case], facts) -> str:
    """Name what the images show, as nnU-Net's and MONAI's files want it.

    Parameters
    ----------
    cases : list of Case
    facts : module
        Facts of the data set: ``modality(row)``.

    Returns
    -------
    str
        ``CT`` or ``MRI``; ``CT_or_MRI`` for a mixed set, whose intensities must not be taken for
        Hounsfield units.

    Raises
    ------
    DatasetError
        A sample's modality is unknown.
    """
    found = {case.id: facts.modality(case.row) for case in cases}
    unknown = [case_id for case_id, name in found.items() if name is None]
    if unknown:
        raise errors.DatasetError(
            f"neither CT nor MRI by their scanner: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; correct manufacturer_model_name and run "
            "routines 02, 05 and 06",
            code="modality",
            found=", ".join(unknown),
        )
    return "_or_".join(sorted(set(found.values())))


def json_bytes(content) -> bytes:
    """Return a JSON file's bytes; keys stay in their order."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: dict) -> bytes:
    """Return the bytes of a JSON file that tells, by a checksum in it, whether it was changed."""
    return json_bytes({**content, _CHECKSUM: checksum(json_bytes(content))})


def was_changed(path) -> bool:
    """Tell whether an existing file is other than `sealed` made it, or none of its kind."""
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError:
        return True
    return not isinstance(content, dict) or content.pop(_CHECKSUM, None) != checksum(
        json_bytes(content)
    )


def put(path, content: bytes) -> bool:
    """Write a file, whole or not at all, unless it has these bytes already.

    Returns
    -------
    bool
        Whether it was written.

    Raises
    ------
    DatasetError
        It cannot be written.
    """
    path = Path(path)
    if path.is_file() and path.read_bytes() == content:
        return False
    with files.whole(path) as handle:
        handle.write(content)
    return True

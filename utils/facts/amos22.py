"""The facts of AMOS22: file names, columns, and the fault of its metadata table."""

import collections
import csv
import re
from pathlib import PurePosixPath

from utils import errors

NAME = "AMOS22"
CT_SCANNERS = frozenset(
    {"Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540"}
)
MRI_SCANNERS = frozenset({"Ingenia", "Prisma", "SIGNA HDe", "Achieva"})
CT_DIR, MRI_DIR = "AMOS-CT", "AMOS-MRI"

SUBSETS = ("train", "val", "test")
# Those published with masks.
LABELLED_SUBSETS = ("train", "val")
# Folder of the archive -> type and subset of the files in it; labelsTs was never published.
FOLDERS = {
    "imagesTr": ("v3d", "train"),
    "imagesVa": ("v3d", "val"),
    "imagesTs": ("v3d", "test"),
    "labelsTr": ("m3d", "train"),
    "labelsVa": ("m3d", "val"),
    "labelsTs": ("m3d", "test"),
}
FILE_NAME = re.compile(r"amos_([0-9]{4})\.nii\.gz")
EXAMPLE_FILE = "imagesTr/amos_0004.nii.gz"
# Lists of dataset.json -> subset.
DATASET_JSON_SUBSETS = {"training": "train", "validation": "val", "test": "test"}

# Our column -> column of the official table.
METADATA = {
    "birth_date": "Patient's Birth Date",
    "sex": "Patient's Sex",
    "age": "Patient's Age",
    "manufacturer_model_name": "Manufacturer's Model Name",
    "manufacturer": "Manufacturer",
    "acquisition_date": "Acquisition Date",
    "site": "Site",
}
UNDEFINED = "UND"
ARCHIVE_COLUMNS = (
    "file_path",
    "subset",
    "seq",
    "type",
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "dtype",
    "transform",
    "diff_trans_f_norm",
    *METADATA,
)
INFO_KEYS = ("subset", "seq", *METADATA)
# Keys of the info file that become columns of the dataset manifest, in their order there.
DATASET_KEYS = (
    "seq",
    "sex",
    "subset",
    "manufacturer_model_name",
    "manufacturer",
    "birth_date",
    "age",
    "acquisition_date",
    "site",
)

ZENODO_RECORD = "7262581"
DESCRIPTION = "Abdominal multi-organ segmentation, 15 organs in CT and MRI"
REFERENCE = f"https://zenodo.org/records/{ZENODO_RECORD}"
LICENCE = "CC BY 4.0"
ARCHIVE_DOWNLOAD = "amos22.zip"
TABLE_DOWNLOAD = "labeled_data_meta_0000_0599.csv"
TABLE_PATTERN = "labeled_data_meta_*.csv"
TABLE_SOURCE = f"{TABLE_DOWNLOAD} (zenodo record {ZENODO_RECORD})"
_SHOWN_CHARACTERS = 400
_TABLE_ID = "amos_id"
_TABLE_COLUMNS = (_TABLE_ID, *METADATA.values())
_SPREADSHEET_WHOLE_NUMBER = re.compile(r"\A([0-9]+)\.0+\Z")

# The MRI files are amos_0501 .. amos_0600; the official table's MRI rows say 500 .. 599.
_ID_BELOW_MRI_FILES = "0500"
_LAST_MRI_FILE = "0600"
# There is one Achieva scan: file 0540, row 539 of the official table.
_ACHIEVA_ROW, _ACHIEVA_FILE = "0539", "0540"


def classify(relative_path: str) -> dict | None:
    """Tell what a file of the archive is from its name and folder.

    Parameters
    ----------
    relative_path : str
        Path with ``/``, relative to the archive's root; any depth above the folder is allowed.

    Returns
    -------
    dict or None
        ``subset``, ``seq`` and ``type``; None for a file that is not part of AMOS22.

    Examples
    --------
    >>> classify("amos22/labelsVa/amos_0008.nii.gz")
    {'subset': 'val', 'seq': '0008', 'type': 'm3d'}
    >>> classify("amos22/labelsVa/amos_08.nii.gz") is None
    True
    """
    path = PurePosixPath(relative_path)
    name = FILE_NAME.fullmatch(path.name)
    if name is None or path.parent.name not in FOLDERS:
        return None
    file_type, folder_subset = FOLDERS[path.parent.name]
    return {"subset": folder_subset, "seq": name[1], "type": file_type}


def sample_name(columns: dict) -> str:
    """Return the name of the sample that a file or row belongs to.

    Parameters
    ----------
    columns : dict
        Holds ``seq``, the four digits as text.

    Returns
    -------
    str
        For example ``amos_0004``.
    """
    return f"amos_{columns['seq']}"


def subset(columns: dict) -> str:
    """Return train, val or test of a file or row.

    Parameters
    ----------
    columns : dict
        Holds ``subset``.

    Returns
    -------
    str
    """
    return columns["subset"]


def modality(columns: dict) -> str | None:
    """Return CT or MRI, as the scanner of a row tells; None for a scanner of neither set.

    Parameters
    ----------
    columns : dict
        Holds ``manufacturer_model_name``.

    Returns
    -------
    str or None
    """
    scanner = columns.get("manufacturer_model_name")
    sets = {"CT": CT_SCANNERS, "MRI": MRI_SCANNERS}
    return next((name for name, scanners in sets.items() if scanner in scanners), None)


def read_metadata_table(path) -> list[dict]:
    """Read a metadata table as published, or as a spreadsheet saved it.

    Parameters
    ----------
    path : path-like
        CSV file in UTF-8, with or without byte order mark.

    Returns
    -------
    list of dict
        One a row: ``seq`` (four digits) and the keys of `METADATA`, all text without blanks
        around it; an empty cell reads ``UND``. The ids are as they stand in the table.

    Raises
    ------
    DatasetError
        The file cannot be read, is not UTF-8, lacks a column, or has a row that does not fit.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except OSError as error:
        raise _bad_table(path, f"cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad_table(path, f"is not a CSV table in UTF-8: {error}") from error
    filled = [(number, cells) for number, cells in lines if any(cells)]
    header = filled[0][1] if filled else []
    if any(header.count(name) != 1 for name in _TABLE_COLUMNS):
        found = str(header)[:_SHOWN_CHARACTERS]  # of a wrong file the "header" may be all of it
        raise _bad_table(
            path,
            f"has the columns {found}, expected each of {list(_TABLE_COLUMNS)} once",
            expected=_TABLE_COLUMNS,
            found=found,
        )
    return [_table_row(path, number, header, cells) for number, cells in filled[1:]]


def _bad_table(path, reason, **sides):
    return errors.DatasetError(
        f"{path}: the metadata table {reason}", file=path, code="metadata", **sides
    )


def _table_row(path, line_number, header, cells):
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise _bad_table(
            path,
            f"has {len(cells)} cells in line {line_number}, expected {len(header)}",
            expected=len(header),
            found=len(cells),
        )
    texts = {name: _SPREADSHEET_WHOLE_NUMBER.sub(r"\1", cell) for name, cell in zip(header, cells)}
    number = texts[_TABLE_ID]
    if not re.fullmatch("0*[0-9]{1,4}", number):
        raise _bad_table(
            path,
            f"has the {_TABLE_ID} {number!r} in line {line_number}, expected a "
            "whole number of at most four digits",
            found=number,
        )
    row = {key: texts[name] or UNDEFINED for key, name in METADATA.items()}
    return {"seq": f"{int(number):04d}", **row}


class Metadata:
    """The rows of metadata tables, joined to the files they mean.

    Parameters
    ----------
    rows : iterable of dict
        Rows of `read_metadata_table`, of one table or of several; equal rows count once.

    Attributes
    ----------
    notes : list of str
        What the user should know about the join, with the evidence.
    faults : list of (str, DatasetError)
        Name of the sample (or of the table as a whole) and what is contradictory; the metadata
        concerned are left ``UND``.

    Notes
    -----
    In the official table the ids of the MRI rows are one too low. It is taken for shifted if an
    id has a CT and an MRI row, if an MRI row has id 500, or if the only Achieva row is 539; for
    mended if an MRI row has id 600 or the only Achieva row is 540. A table that is both tells
    nothing about its MRI rows: ``UND`` for every file that one of them could mean, under its id or
    the next, except where exactly one CT row has that id.
    """

    def __init__(self, rows):
        self.notes = []
        self.faults = []
        distinct = {tuple(sorted(row.items())): row for row in rows}.values()
        mri_rows = [row for row in distinct if row["manufacturer_model_name"] in MRI_SCANNERS]
        other_rows = [row for row in distinct if row["manufacturer_model_name"] not in MRI_SCANNERS]
        shifted = _signs_of_shift(mri_rows, other_rows)
        mended = _signs_of_mending(mri_rows)
        unclear = set()
        if shifted and mended:
            unclear = self._leave_mri_open(mri_rows, other_rows, shifted, mended)
            mri_rows = []
        elif shifted:
            self.notes.append(
                f"the MRI ids are one too low ({'; '.join(shifted)}): 1 was added to the ids of "
                f"{len(mri_rows)} MRI rows"
            )
            mri_rows = [row | {"seq": _next(row["seq"])} for row in mri_rows]
        elif mri_rows and not mended:
            self.notes.append(
                "nothing in it tells whether its MRI ids are one too low, as in the "
                f"official table; {len(mri_rows)} MRI rows were joined as they are"
            )
        self._rows = self._unique_rows([*other_rows, *mri_rows], unclear)

    def _leave_mri_open(self, mri_rows, other_rows, shifted, mended):
        """Report a table that is shifted and mended; return the files whose rows stay open."""
        self.faults.append(
            (
                "metadata table",
                errors.DatasetError(
                    f"the MRI ids are one too low ({'; '.join(shifted)}), and they are not "
                    f"({'; '.join(mended)}): all metadata of the MRI files stay {UNDEFINED}; use "
                    f"{TABLE_SOURCE} as published",
                    code="metadata",
                    expected="shifted or mended MRI ids",
                    found="both",
                ),
            )
        )
        meant = {seq for row in mri_rows for seq in (row["seq"], _next(row["seq"]))}
        owners = collections.defaultdict(list)
        for row in other_rows:
            owners[row["seq"]].append(row["manufacturer_model_name"])
        return {seq for seq in meant if len(owners[seq]) != 1 or owners[seq][0] not in CT_SCANNERS}

    def _unique_rows(self, rows, unclear):
        """Map the four digits to their row, or to None where several rows contradict."""
        by_seq = collections.defaultdict(list)
        for row in rows:
            by_seq[row["seq"]].append(row)
        for _, candidates in sorted(by_seq.items()):
            if len(candidates) > 1:
                self.faults.append((sample_name(candidates[0]), _contradiction(candidates)))
        unique = {
            seq: candidates[0] if len(candidates) == 1 else None
            for seq, candidates in by_seq.items()
        }
        return unique | dict.fromkeys(unclear)

    def of(self, seq: str) -> dict:
        """Return the metadata of one file.

        Parameters
        ----------
        seq : str
            The four digits of its name.

        Returns
        -------
        dict
            The keys of `METADATA`; ``UND`` where the table does not tell.
        """
        row = self._rows.get(seq) or {}
        return {key: row.get(key, UNDEFINED) for key in METADATA}

    def missing(self, seqs) -> list[str]:
        """Return which of the given four-digit strings have no row at all, sorted, each once."""
        return sorted(set(seqs) - set(self._rows))


def _next(seq):
    return f"{int(seq) + 1:04d}"


def _signs_of_shift(mri_rows, other_rows):
    ct_ids = {row["seq"] for row in other_rows if row["manufacturer_model_name"] in CT_SCANNERS}
    mri_ids = {row["seq"] for row in mri_rows}
    signs = []
    if ct_ids & mri_ids:
        signs.append(f"a CT and an MRI row have id {', '.join(sorted(ct_ids & mri_ids))}")
    if _ID_BELOW_MRI_FILES in mri_ids:
        signs.append(
            f"an MRI row has id {_ID_BELOW_MRI_FILES}, the first MRI file is "
            f"amos_{_next(_ID_BELOW_MRI_FILES)}"
        )
    if _achieva_ids(mri_rows) == {_ACHIEVA_ROW}:
        signs.append(
            f"the only Achieva row has id {_ACHIEVA_ROW}, the scan is amos_{_ACHIEVA_FILE}"
        )
    return signs


def _signs_of_mending(mri_rows):
    signs = []
    if any(row["seq"] == _LAST_MRI_FILE for row in mri_rows):
        signs.append(f"an MRI row has id {_LAST_MRI_FILE}")
    if _achieva_ids(mri_rows) == {_ACHIEVA_FILE}:
        signs.append(f"the only Achieva row has id {_ACHIEVA_FILE}")
    return signs


def _achieva_ids(mri_rows):
    return {row["seq"] for row in mri_rows if row["manufacturer_model_name"] == "Achieva"}


def _contradiction(rows):
    differences = [
        f"{key} {' or '.join(sorted({row[key] for row in rows}))}"
        for key in METADATA
        if len({row[key] for row in rows}) > 1
    ]
    found = ", ".join(differences)
    return errors.DatasetError(
        f"the metadata table has {len(rows)} different rows for it ({found}); its metadata stay "
        f"{UNDEFINED} for the manual check",
        code="metadata",
        expected="one row",
        found=found,
    )


def plain_row(row: dict) -> dict:
    """Mend what spreadsheets do to a manifest row's text; an empty metadata cell reads ``UND``.

    Parameters
    ----------
    row : dict
        A row of the archive manifest, all text.

    Returns
    -------
    dict
        ``seq`` in four digits, whole numbers without fraction.

    Raises
    ------
    DatasetError
        seq, subset or type is none that AMOS22 has, or the sex cannot be part of a folder's name.
    """
    plain = {**row, **{key: _SPREADSHEET_WHOLE_NUMBER.sub(r"\1", row[key]) for key in INFO_KEYS}}
    for key in METADATA:
        plain[key] = plain[key] or UNDEFINED
    seq = plain["seq"]
    if re.fullmatch("[0-9]{1,4}", seq):
        plain["seq"] = seq.zfill(4)
    expected = {
        "seq": "[0-9]{1,4}",
        "subset": "|".join(SUBSETS),
        "type": "v3d|m3d",
        "sex": "[A-Za-z0-9]+",
    }
    for key, pattern in expected.items():
        if not re.fullmatch(pattern, plain[key]):
            raise errors.DatasetError(
                f"{key} is {plain[key]!r} in the manifest's row of {row['file_path']!r}, expected "
                f"{pattern}",
                code="manifest",
                expected=pattern,
                found=plain[key],
            )
    return plain


def sample_dir(info: dict) -> PurePosixPath:
    """Return where a sample lies in its sub-data set: ``train/Aquilion ONE/amos_0004_F``.

    Parameters
    ----------
    info : dict
        `plain_row` with a scanner of `CT_SCANNERS` or `MRI_SCANNERS`.
    """
    return PurePosixPath(
        info["subset"], info["manufacturer_model_name"], f"{sample_name(info)}_{info['sex']}"
    )


def of_scanners(scanners):
    """Return the choice of rows for one sub-data set, see `pairs.plan`.

    Parameters
    ----------
    scanners : frozenset of str
        `CT_SCANNERS` or `MRI_SCANNERS`.

    Returns
    -------
    callable
        True for a row of these scanners, and for one of a scanner in neither set.
    """
    others = (CT_SCANNERS | MRI_SCANNERS) - scanners
    return lambda row: row["manufacturer_model_name"] not in others


def row_faults(row: dict) -> list[errors.DatasetError]:
    """Find what is wrong with a sample beyond its rows' form: a scanner that is not known.

    Parameters
    ----------
    row : dict
        From `plain_row`.
    """
    if modality(row):
        return []
    scanner = row["manufacturer_model_name"]
    return [
        errors.DatasetError(
            f"scanner {scanner!r} is none of those known; correct manufacturer_model_name in the "
            "manifest",
            code="scanner",
            found=scanner,
        )
    ]


def trees(output_dir) -> list:
    """Return the folders in which a sample may lie already: the output and its sibling."""
    return [
        output_dir,
        *(output_dir.parent / name for name in (CT_DIR, MRI_DIR) if name != output_dir.name),
    ]

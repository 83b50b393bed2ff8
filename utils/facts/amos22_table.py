"""The official metadata tables of AMOS22: reading them, and mending the ids of MRI rows."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from utils import errors
from utils.facts import amos22
from utils.storage import csv_tables, files, forms

if TYPE_CHECKING:
    import pandas as pd

PATTERN, UNLABELLED_PATTERN = "labeled_data_meta_*.csv", "unlabeled_data_meta_*.csv"

_NAME = "metadata table"
_ID = "amos_id"
# Column of the official table -> ours.
_COLUMNS = {_ID: "seq", **{official: ours for ours, official in amos22.METADATA.items()}}
_SCANNER = "manufacturer_model_name"
_ODD = "odd"  # column for what is wrong with a row's cells
_SHOWN_CHARACTERS = 400  # of a wrong file a cell may be all of it

# The MRI files are amos_0501 .. amos_0600; the official table's MRI rows say 500 .. 599.
_ID_BELOW_MRI_FILES = "0500"
_LAST_MRI_FILE = "0600"
# There is one Achieva scan: file 0540, row 539 of the official table.
_ACHIEVA_ROW, _ACHIEVA_FILE = "0539", "0540"


def read(path: files.PathLike) -> "pd.DataFrame":
    """Read a metadata table as published, or as a spreadsheet saved it.

    Parameters
    ----------
    path : path-like
        CSV file with ``,``, ``;`` or tabs between the cells. In UTF-8, in UTF-16 with its byte
        order mark, else in GB 18030 or Windows-1252, with a warning: that can only be guessed.

    Returns
    -------
    pandas.DataFrame of str
        Columns ``seq`` (four digits), the keys of `amos22.METADATA` and ``odd``. The metadata are
        in their forms (see `forms.plain`), ``UND`` where a cell is empty or has none; ``odd`` says
        of the latter where they are and why. The ids are as they stand in the table; the index
        holds the line numbers.

    Raises
    ------
    DatasetError
        The file cannot be read, is no such text, lacks a column, or has a row that does not fit.
    """
    import pandas as pd

    rows = []
    lines = csv_tables.read(path, list(_COLUMNS), _NAME)
    for number, cells in lines.items():
        _check_id(path, number, cells[_ID])
        texts = {ours: cells[official] for official, ours in _COLUMNS.items()}
        rows.append(_row(texts, f"in line {number} of the {_NAME} {path}"))
    return pd.DataFrame(rows, list(lines), [*_COLUMNS.values(), _ODD], dtype=str)


def _row(texts, place):
    seq = forms.whole_number_text(texts["seq"])
    row, odd = {"seq": f"{int(seq):04d}"}, []
    for key in amos22.METADATA:
        form = forms.plain(key, texts[key])
        if form is None:
            odd.append(f"{forms.fault(key, texts[key], place)}; it stays {amos22.UNDEFINED}")
        row[key] = form or amos22.UNDEFINED
    return {**row, _ODD: "; ".join(odd)}


def _check_id(path, line_number, text):
    number = forms.whole_number_text(text)
    if not re.fullmatch("0*[0-9]{1,4}", number):
        number = number[:_SHOWN_CHARACTERS]
        reason = f"has the {_ID} {number!r} in line {line_number}, expected a whole number"
        raise csv_tables.fault(path, _NAME, f"{reason} of at most four digits", found=number)


class Metadata:
    """The rows of metadata tables, joined to the files they mean.

    Parameters
    ----------
    tables : iterable of pandas.DataFrame
        From `read`; equal rows count once.

    Attributes
    ----------
    notes, warnings : list of str
        What the user should know about the join, with the evidence: what holds for the official
        table, and what somebody should look at.
    is_mended : bool
        Whether the ids of the MRI rows were one too low, and 1 was added to them.
    faults : list of (str, DatasetError)
        Name of the sample (or of the table as a whole) and what is contradictory; the metadata
        concerned are left ``UND``.

    Notes
    -----
    In the official table the ids of the MRI rows are one too low. It is taken for shifted if an
    id has a CT and an MRI row, if an MRI row has id 500, or if the only Achieva row is 539; for
    mended if an MRI row has id 600 or the only Achieva row is 540. A table that is both tells
    nothing about its MRI rows: ``UND`` for every file that one of them could mean, under its id or
    the next, except where exactly one CT row has that id. Rows of unlabelled scans have no part
    in this: their ids stay as they are.
    """

    def __init__(self, tables: Iterable["pd.DataFrame"]):
        import pandas as pd

        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.faults: list[tuple[str, errors.DatasetError]] = []
        columns = [*_COLUMNS.values()]
        none = pd.DataFrame(columns=[*columns, _ODD], dtype=str)
        rows = pd.concat([none, *tables], ignore_index=True).fillna("").drop_duplicates(columns)
        is_labelled = rows["seq"].map(amos22.unlabelled_part).isna()
        unlabelled, rows = rows[~is_labelled], rows[is_labelled]
        is_mri = rows[_SCANNER].isin(amos22.MRI_SCANNERS)
        mri_rows, other_rows = rows[is_mri], rows[~is_mri]
        shifted, mended = _signs_of_shift(mri_rows, other_rows), _signs_of_mending(mri_rows)
        unclear = set()
        self.is_mended = bool(shifted and not mended)
        if shifted and mended:
            self.faults.append(("metadata table", _shifted_and_mended(shifted, mended)))
            unclear, rows = _open_files(mri_rows, other_rows), other_rows
        elif self.is_mended:
            self.notes.append(
                f"the MRI ids are one too low ({'; '.join(shifted)}): 1 was added to the ids of "
                f"{len(mri_rows)} MRI rows"
            )
            rows = pd.concat([other_rows, mri_rows.assign(seq=mri_rows["seq"].map(_next))])
        elif len(mri_rows) and not mended:
            self.warnings.append(
                "nothing in it tells whether its MRI ids are one too low, as in the "
                f"official table; {len(mri_rows)} MRI rows were joined as they are"
            )
        rows = pd.concat([rows, unlabelled])
        for seq, candidates in rows[rows.duplicated("seq", keep=False)].groupby("seq"):
            self.faults.append((amos22.sample_name({"seq": seq}), _contradiction(candidates)))
        self._known = {*rows["seq"], *unclear}
        single = rows.drop_duplicates("seq", keep=False).set_index("seq")
        self._rows = single.drop(index=[*unclear], errors="ignore").to_dict("index")

    def of(self, seq: str) -> dict[str, str]:
        """Return the metadata of the file with these four digits; ``UND`` what is not known."""
        row = self._rows.get(seq, {})
        return {key: row.get(key, amos22.UNDEFINED) for key in amos22.METADATA}

    def odd_cells(self, seqs: Iterable[str]) -> list[tuple[str, errors.DatasetError]]:
        """Find what stays ``UND`` of these files because its cell has no form, by sample."""
        odd = {seq: self._rows[seq][_ODD] for seq in sorted({*seqs} & {*self._rows})}
        return [
            (amos22.sample_name({"seq": seq}), errors.DatasetError(text, code="metadata"))
            for seq, text in odd.items()
            if text
        ]

    def missing(self, seqs: Iterable[str]) -> list[str]:
        """Return which of the given four-digit strings have no row at all, sorted, each once."""
        return sorted({*seqs} - self._known)


def _next(seq):
    return f"{int(seq) + 1:04d}"


def _signs_of_shift(mri_rows, other_rows):
    is_ct = other_rows[_SCANNER].isin(amos22.CT_SCANNERS)
    of_both = {*other_rows["seq"][is_ct]} & {*mri_rows["seq"]}
    signs = []
    if of_both:
        signs.append(f"a CT and an MRI row have id {', '.join(sorted(of_both))}")
    if _ID_BELOW_MRI_FILES in {*mri_rows["seq"]}:
        first = f"the first MRI file is amos_{_next(_ID_BELOW_MRI_FILES)}"
        signs.append(f"an MRI row has id {_ID_BELOW_MRI_FILES}, {first}")
    if _achieva_ids(mri_rows) == {_ACHIEVA_ROW}:
        scan = f"the scan is amos_{_ACHIEVA_FILE}"
        signs.append(f"the only Achieva row has id {_ACHIEVA_ROW}, {scan}")
    return signs


def _signs_of_mending(mri_rows):
    signs = []
    if _LAST_MRI_FILE in {*mri_rows["seq"]}:
        signs.append(f"an MRI row has id {_LAST_MRI_FILE}")
    if _achieva_ids(mri_rows) == {_ACHIEVA_FILE}:
        signs.append(f"the only Achieva row has id {_ACHIEVA_FILE}")
    return signs


def _achieva_ids(mri_rows):
    return {*mri_rows["seq"][mri_rows[_SCANNER] == "Achieva"]}


def _shifted_and_mended(shifted, mended):
    reason = (
        f"the MRI ids are one too low ({'; '.join(shifted)}), and they are not "
        f"({'; '.join(mended)}): all metadata of the MRI files stay {amos22.UNDEFINED}; use "
        f"{amos22.METADATA_SOURCE} as published"
    )
    expected = "shifted or mended MRI ids"
    return errors.DatasetError(reason, code="metadata", expected=expected, found="both")


def _open_files(mri_rows, other_rows):
    """Four digits of the files whose row is unclear in a table that is shifted and mended."""
    meant = {*mri_rows["seq"], *mri_rows["seq"].map(_next)}
    single = other_rows.drop_duplicates("seq", keep=False)
    return meant - {*single["seq"][single[_SCANNER].isin(amos22.CT_SCANNERS)]}


def _contradiction(rows):
    values = {key: sorted(rows[key].unique()) for key in amos22.METADATA}
    differing = {key: texts for key, texts in values.items() if len(texts) > 1}
    found = ", ".join(f"{key} {' or '.join(texts)}" for key, texts in differing.items())
    reason = (
        f"the metadata table has {len(rows)} different rows for it ({found}); its metadata stay "
        f"{amos22.UNDEFINED} for the manual check"
    )
    return errors.DatasetError(reason, code="metadata", expected="one row", found=found)

"""The official metadata table of AMOS22: reading it, and mending the ids of its MRI rows."""

import codecs
import csv
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from utils import errors
from utils.facts import amos22
from utils.storage import files, forms

if TYPE_CHECKING:
    import pandas as pd

PATTERN = "labeled_data_meta_*.csv"

_ID = "amos_id"
# Column of the official table -> ours.
_COLUMNS = {_ID: "seq", **{official: ours for ours, official in amos22.METADATA.items()}}
_SCANNER = "manufacturer_model_name"
_ODD = "odd"  # column for what is wrong with a row's cells
_SEPARATORS = ",;\t"
# Pairs of bytes that GB 2312 has: European text in one byte a letter hardly has them alone.
_CHINESE = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe])*")
_SHOWN_CHARACTERS = 400  # of a wrong file the "header" may be all of it

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

    header, lines = _lines(path)
    places = {ours: header.index(official) for official, ours in _COLUMNS.items()}
    rows = []
    for number, cells in lines.items():
        texts = {key: cells[place] for key, place in places.items()}
        rows.append(_row(texts, f"in line {number} of the metadata table {path}"))
    return pd.DataFrame(rows, list(lines), [*places, _ODD], dtype=str)


def _row(texts, place):
    seq = forms.whole_number_text(texts["seq"])
    row, odd = {"seq": f"{int(seq):04d}"}, []
    for key in amos22.METADATA:
        form = forms.plain(key, texts[key])
        if form is None:
            odd.append(f"{forms.fault(key, texts[key], place)}; it stays {amos22.UNDEFINED}")
        row[key] = form or amos22.UNDEFINED
    return {**row, _ODD: "; ".join(odd)}


def _lines(path):
    """Return the header and {line number: its cells} of a table's filled lines.

    By `csv` and not by pandas, whose readers take stray quotes for text, and fill up short lines.
    """
    content = files.read_bytes(path)
    try:
        text, guessed = _decoded(content)
        filled = _parsed(text)
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"cannot be read as CSV: {errors.one_line(error)}; save it as CSV UTF-8"
        raise _bad_table(path, reason) from error
    if not filled:
        raise _bad_table(path, f"is empty, expected the columns {list(_COLUMNS)}")
    header = filled.pop(min(filled))
    if any(header.count(name) != 1 for name in _COLUMNS):
        found = str(header)[:_SHOWN_CHARACTERS]
        reason = f"has the columns {found}, expected each of {list(_COLUMNS)} once"
        raise _bad_table(path, reason, expected=tuple(_COLUMNS), found=found)
    for number, cells in filled.items():
        _check_line(path, number, header, cells)
    if guessed:
        errors.warn(f"{path}: not in UTF-8, read as {guessed}; save it as CSV UTF-8 to be sure")
    return header, {number: cells[: len(header)] for number, cells in filled.items()}


def _decoded(content):
    """Return the text of a table's bytes, and the encoding's name where it was guessed."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16"), ""
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        is_chinese = _CHINESE.fullmatch(content)
    encoding, name = ("gb18030", "GB 18030") if is_chinese else ("cp1252", "Windows-1252")
    return content.decode(encoding), name


def _parsed(text):
    """{line number: its cells} of the filled lines, blanks around the cells stripped."""
    limit = csv.field_size_limit(len(text) + 1)  # a cell may be as long; it is one file's fault
    try:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=_separator(text), strict=True)
        table = [(reader.line_num, [*map(forms.stripped, cells)]) for cells in reader]
    finally:
        csv.field_size_limit(limit)
    return {number: cells for number, cells in table if any(cells)}


def _separator(text):
    """What stands between the cells of the line that holds the names of the columns."""
    names = [line for line in text.splitlines() if _ID in line][:1]
    for separator in _SEPARATORS:
        for cells in csv.reader(names, delimiter=separator):
            if {*_COLUMNS} <= {*map(forms.stripped, cells)}:
                return separator
    return _SEPARATORS[0]


def _check_line(path, line_number, header, cells):
    width = len(header)
    if len(cells) < width or any(cells[width:]):
        reason = f"has {len(cells)} cells in line {line_number}, expected {width}"
        raise _bad_table(path, reason, expected=width, found=len(cells))
    number = forms.whole_number_text(cells[header.index(_ID)])
    if not re.fullmatch("0*[0-9]{1,4}", number):
        number = number[:_SHOWN_CHARACTERS]
        reason = f"has the {_ID} {number!r} in line {line_number}, expected a whole number"
        raise _bad_table(path, f"{reason} of at most four digits", found=number)


def _bad_table(path, reason, **sides):
    text = f"{path}: the metadata table {reason}"
    return errors.DatasetError(text, file=path, code="metadata", **sides)


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
    the next, except where exactly one CT row has that id.
    """

    def __init__(self, tables: Iterable["pd.DataFrame"]):
        import pandas as pd

        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.faults: list[tuple[str, errors.DatasetError]] = []
        columns = [*_COLUMNS.values()]
        none = pd.DataFrame(columns=[*columns, _ODD], dtype=str)
        rows = pd.concat([none, *tables], ignore_index=True).fillna("").drop_duplicates(columns)
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

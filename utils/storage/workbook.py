"""Cells of Excel workbooks: text stays text, other worksheets stay as they are.

A table is a pandas DataFrame of str, ``""`` where a cell is empty; int and float are number cells.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import io
import itertools
import json
import math
import numbers
import os
import re
import typing
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.sax import saxutils

from utils import errors
from utils.storage import files

if typing.TYPE_CHECKING:
    import pandas as pd

# Limits of Excel; it counts UTF-16 units.
MAX_SHEET_NAME = 31
MAX_CELL_TEXT = 32767
MAX_ROWS = 1048576
# Width of a column in characters.
_MIN_WIDTH, _MAX_WIDTH = 8, 40

_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\]")
# What XML 1.0 cannot hold: control characters, half surrogate pairs (undecodable file names).
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TEXT_FORMAT = "@"
_EXACT_UP_TO = 2**53  # whole numbers that a double holds, as Excel's cells do
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip entry can carry
_DIGEST_PROPERTY = "CellsSHA256"
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
# As openpyxl writes them, with its own XML writer and with lxml.
_MODIFIED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*")
_DIMENSION = re.compile(rb'<dimension ref="[^"]*" ?/>')
_ROWS = re.compile(rb"<((?:\w+:)?)sheetData\b(?:[^>]*/>|.*</\1sheetData\s*>)", re.S)
_PLAIN_TEXT = re.compile(rb' t="inlineStr"><is><t(?: xml:space="preserve")?>([^<]*)</t></is></c>')
# Other names than those of worksheets, and what refers to other parts or to a DOCTYPE.
_NOT_ALONE = (b"xmlns:", b"<!", b' t="s"', b" t='s'", b" cm=", b" vm=")
# What openpyxl lets through on broken or foreign files (ParseError is a SyntaxError).
UNREADABLE = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, SyntaxError, ValueError, TypeError),
    *(LookupError, AttributeError, NotImplementedError, RuntimeError),
)


def frame(columns: Iterable[str], rows: Iterable[dict]) -> pd.DataFrame:
    """Make a table from rows, {column: value}; what a row lacks is an empty cell."""
    import pandas as pd

    names = list(columns)
    cells = [[row.get(name, "") for name in names] for row in rows]
    return pd.DataFrame(cells, columns=names, dtype=object)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Turn all values of a table into text, as `cell_text` does."""
    return table.map(cell_text).astype(object)


def cell_text(value: object) -> str:
    """Return a cell's value as text; the empty cell is ``""``.

    Notes
    -----
    Spreadsheets turn text that looks like a number into a number: 4.0 reads ``"4"``. Fractions are
    written and read with 15 significant digits, all that every spreadsheet program keeps
    (LibreOffice 15, openpyxl 16, Excel 17).
    """
    if value is None:
        return ""
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = _fifteen_digits(value)
        is_whole = number.is_integer() and abs(number) < _EXACT_UP_TO
        return str(int(number) if is_whole else number)
    return str(value)


def _fifteen_digits(value):
    return float(f"{value:.15g}")


def check_sheet_name(name: str) -> None:
    """Refuse what Excel does not take as the name of a worksheet, by a DatasetError."""
    reason = None
    if not name.strip():
        reason = "is empty"
    elif _excel_length(name) > MAX_SHEET_NAME:
        reason = f"has {_excel_length(name)} characters, Excel allows {MAX_SHEET_NAME}"
    elif _NOT_IN_SHEET_NAMES.search(name) or _NOT_IN_XML.search(name) or name[0].isspace():
        reason = "begins with a blank, or holds a control character or one of []:*?/\\"
    elif name[0] == "'" or name[-1] == "'":
        reason = "begins or ends with an apostrophe"
    elif name.casefold() == "history":
        reason = "is reserved by Excel"
    if reason:
        raise errors.DatasetError(f"the worksheet name {name!r} {reason}", code="name", found=name)


def _excel_length(text):
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@contextlib.contextmanager
def reading(path: files.PathLike) -> Iterator[None]:
    """Turn what openpyxl raises on a file that is no workbook into a DamagedFileError."""
    try:
        with warnings.catch_warnings():
            # About parts of a workbook that openpyxl does not know; no cell is among them.
            warnings.simplefilter("ignore", UserWarning)
            yield
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"{path}: cannot be read as an Excel workbook (.xlsx): {reason}"
        raise errors.DamagedFileError(message, file=path) from error


class Workbook:
    """A workbook (.xlsx) as it lies on disk, with all its cells.

    A DatasetError tells that the file is missing, damaged or no workbook.

    Attributes
    ----------
    path : Path
    content : bytes
        The file, as it was read.
    """

    def __init__(self, path: files.PathLike) -> None:
        self.path = Path(path)
        if not os.path.isfile(self.path):
            nearest = files.nearest_existing(self.path)
            raise self._error(f": no such file (nearest that exists: {nearest})", "missing")
        with reading(self.path):
            self.content = self.path.read_bytes()
            self._cells, self._results, self._digests = _read(self.content)

    def _error(self, text, code, **sides):
        return errors.DatasetError(f"{self.path}{text}", file=self.path, code=code, **sides)

    @property
    def names(self) -> list[str]:
        """Names of the worksheets, in order."""
        return list(self._cells)

    def header(self, name: str) -> list[str]:
        """Return the column names of a worksheet; empty for an empty one."""
        return [text for text in _header(self._cells[name])[1].values() if text]

    def table(self, name: str, required: Iterable[str] = (), typed: bool = False) -> pd.DataFrame:
        """Read a worksheet by its column names.

        The header is the first row that is not blank; blank rows are left out. Dates read
        ``YYYYMMDD``.

        Parameters
        ----------
        name : str
        required : iterable of str
            Columns that must be there; others are kept, too.
        typed : bool
            Leave numbers as int and float, to copy them to another sheet as numbers.

        Raises
        ------
        DatasetError
            The sheet or a column is missing, two columns share a name, a cell holds an error or a
            formula without a result.
        """
        if name not in self._cells:
            there = ", ".join(self._cells)
            text = f": no worksheet {name!r}; there are: {there}"
            raise self._error(text, "sheet", expected=name, found=there)
        cells = self._cells[name]
        top, columns = _header(cells)
        self._check_columns(name, columns, list(required))
        rows: dict[int, dict] = {}
        for (row, column), cell in cells.items():
            if row > top and columns.get(column):
                value = self._value(name, (row, column), cell)
                if value != "":
                    rows.setdefault(row, {})[columns[column]] = value if typed else cell_text(value)
        return frame(filter(None, columns.values()), (rows[row] for row in sorted(rows)))

    def holds(self, tables: dict[str, pd.DataFrame]) -> bool:
        """Tell whether the workbook holds these worksheets, with these cells, and no others."""
        same_names = self._cells.keys() == tables.keys()
        return same_names and all(self.has_cells(name, table) for name, table in tables.items())

    def has_cells(self, name: str, table: pd.DataFrame) -> bool:
        """Tell whether there is a worksheet with these cells and no others."""
        return name in self._cells and self._cells[name] == _table_cells(name, table)

    @functools.cached_property
    def was_changed(self) -> bool:
        """Whether the cells differ from what we wrote; so does a workbook that is not ours."""
        return self._digests != [_digest(self._dumps)]

    @functools.cached_property
    def _dumps(self):
        return {name: _dump(name, cells) for name, cells in self._cells.items()}

    def with_sheet(self, name: str, table: pd.DataFrame, renew: bool, first: bool = False) -> bytes:
        """Return the file's bytes with one worksheet added or replaced.

        A replaced sheet stays at its place; a new one goes last, or first. `renew` stores the
        digest of the new cells; else the stored one stays, fitting or not.
        """
        cells = {**self._cells, name: _table_cells(name, table)}
        digest = _digest({**self._dumps, name: _dump(name, cells[name])}) if renew else None
        with reading(self.path):
            reader, parts = _open(self.content)
            texts = _shared_texts(self.content, reader.package)
            rows = {title: _kept_rows(xml, texts) for title, xml in parts.items() if title != name}
        book = reader.wb
        active = book.active.title if book.active else name
        position = 0 if first else len(book.sheetnames)
        if name in book.sheetnames:
            position = book.sheetnames.index(name)
            book.remove(book[name])
        rows[name] = _fill(book.create_sheet(name, position), table, cells[name])
        book.active = book.sheetnames.index(active)
        return _to_bytes(book, cells, rows, digest)

    def _check_columns(self, sheet, columns, required):
        names = [text for text in columns.values() if text]
        doubled = sorted({text for text in names if names.count(text) > 1})
        missing = [text for text in required if text not in names]
        where = f", worksheet {sheet}: "
        for fault, found in (("columns of the same name", doubled), ("missing columns", missing)):
            if found:
                there = ", ".join(names)
                text = f"{fault}: {', '.join(found)}; found: {there or 'an empty sheet'}"
                sides = {"expected": ", ".join(required), "found": there}
                raise self._error(where + text, "columns", **sides)
        if len(names) < len(columns):
            text = "columns without a name in the header row are not read"
            errors.warn(f"{self.path}{where}{text}")

    def _value(self, sheet, place, cell):
        kind, value = cell
        if kind == "f":
            kind, value = self._results[sheet][place]
            if value is None:
                # An empty text is a result: openpyxl leaves its kind as the file gives it.
                kind, value = ("s", "") if kind == "str" else ("f", None)
        if kind in "ef":
            fault = f"holds the error {value}"
            if kind == "f":
                fault = "holds a formula without a result: save it once in a spreadsheet program"
            raise self._error(f", worksheet {sheet}: cell {_letters(place)} {fault}", "cell")
        if kind == "b":
            return "TRUE" if value else "FALSE"
        return _date_text(value) if kind == "d" else value


def _open(content):
    """Let openpyxl read a workbook without its rows; also {worksheet: XML} with them.

    It keeps styles, comments, filters, pictures and the like. Rows are kept as they are: openpyxl
    loses the results of formulas, rounds to 16 digits, and takes most of the time for them.
    """
    from openpyxl.reader.excel import ExcelReader

    parts, slim = {}, io.BytesIO()
    whole = ExcelReader(io.BytesIO(content))
    whole.read_manifest()
    whole.read_workbook()
    found = whole.parser.find_sheets()
    sheets = [part.target for _, part in found if "chartsheet" not in part.Type]
    with zipfile.ZipFile(slim, "w") as package:
        for name in whole.valid_files:
            part = whole.archive.read(name)
            if name in sheets:
                parts[name] = part
                part = _ROWS.sub(rb"<\1sheetData/>", part, count=1)
            package.writestr(name, part)
    reader = ExcelReader(slim)
    reader.read()
    ordered = [parts[name] for name in sheets if name in parts]
    return reader, dict(zip([sheet.title for sheet in reader.wb.worksheets], ordered))


def _read(content):
    """Cells of all worksheets, results of their formulas, and the digests stored beside them."""
    from openpyxl.cell import MergedCell

    reader, parts = _open(content)
    book = reader.wb
    formats = book.epoch, book._date_formats, book._timedelta_formats
    styles = book._cell_styles
    cells, results = {}, {}
    for sheet in book.worksheets:
        source = parts[sheet.title], styles, reader.shared_strings
        # Of merged cells the first one counts, nobody sees what the others hold.
        hidden = {place for place, cell in sheet._cells.items() if isinstance(cell, MergedCell)}
        cells[sheet.title] = {
            place: cell
            for place, cell in sorted(dict(_parsed(*source, False, *formats)).items())
            if cell[1] not in (None, "") and place not in hidden
        }
        if any(kind == "f" for kind, _ in cells[sheet.title].values()):
            results[sheet.title] = dict(_parsed(*source, True, *formats))
    properties = book.custom_doc_props.props
    return cells, results, [entry.value for entry in properties if entry.name == _DIGEST_PROPERTY]


def _parsed(xml, styles, strings, only_values, *formats):
    """Place, kind and value of all cells that openpyxl's parser finds in a worksheet."""
    from openpyxl.worksheet._reader import WorkSheetParser

    # Makes the text of a cell what openpyxl reads in half the time: that of a formula's result.
    xml = _PLAIN_TEXT.sub(rb' t="str"><v>\1</v></c>', xml)
    # The area that the file gives for a sheet is not used: many tools store a wrong one.
    for _, row in WorkSheetParser(io.BytesIO(xml), strings, only_values, *formats).parse():
        for cell in row:
            styles[cell["style_id"]]  # LookupError: a workbook that no program opens
            value = cell["value"]
            if isinstance(value, str):
                value = _line_ends(value)
            yield (cell["row"], cell["column"]), (cell["data_type"], value)


def _header(cells):
    """Row number and {column number: stripped name, None without one} of the header."""
    top = min((row for row, _ in cells), default=0)
    columns = sorted({column for _, column in cells})
    texts = {column: cell_text(cells.get((top, column), ("s", ""))[1]) for column in columns}
    return top, {column: text.strip() or None for column, text in texts.items()}


def _letters(place):
    from openpyxl.utils import get_column_letter

    return f"{get_column_letter(place[1])}{place[0]}"


def _date_text(value):
    if isinstance(value, datetime.datetime) and value.time() != datetime.time():
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return f"{value.year:04d}{value.month:02d}{value.day:02d}"
    return str(value)


def _table_cells(name, table):
    """The cells that a table is written as, as `_read` gives them."""
    if len(table) >= MAX_ROWS:
        text = f"{len(table)} rows, Excel holds {MAX_ROWS - 1} below the header"
        raise errors.DatasetError(f"worksheet {name}: {text}", code="cell")
    columns = list(table.columns)
    values = zip(*(table.iloc[:, index].tolist() for index in range(len(columns))))
    return {
        (row, column): _stored(value, name, row, columns[column - 1])
        for row, of_row in enumerate([columns, *values], 1)
        for column, value in enumerate(of_row, 1)
        if value is not None and value != ""
    }


def _stored(value, sheet, row, column):
    """Kind and value of one cell."""
    if isinstance(value, str):
        text = _line_ends(value)
        fault = text_fault(text)
        if not fault:
            return "s", text
        where = f"worksheet {sheet}, row {row}, column {column!r}"
        raise errors.DatasetError(f"{where}: {fault}", code="cell")
    if isinstance(value, numbers.Integral):
        return "n", int(value)
    if isinstance(value, numbers.Real):
        number = _fifteen_digits(value)
        return ("n", number) if math.isfinite(number) else ("s", str(number))
    raise TypeError(f"worksheet {sheet}, row {row}, column {column!r}: {type(value)} in a cell")


def text_fault(text: str) -> str:
    """Tell why no cell can hold a text; empty where one can."""
    forbidden = _NOT_IN_XML.search(text)
    if forbidden:
        return f"the character {forbidden.group()!a} cannot stand in a workbook"
    length = _excel_length(text)
    return f"{length} characters, Excel holds {MAX_CELL_TEXT}" if length > MAX_CELL_TEXT else ""


def _line_ends(text):
    """Line ends as XML readers give them: the text of a cell and of its copy are the same."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _dump(name, cells):
    """Places, kinds and values of a worksheet's cells, not their formats, to make the digest of."""
    # Spreadsheets do not tell 3 from 3.0. Array formulas have a __dict__.
    plain = [
        (place, kind, float(value) if kind == "n" else str(getattr(value, "__dict__", value)))
        for place, (kind, value) in cells.items()
    ]
    return json.dumps([name, plain]).encode("ascii")


def _digest(dumps):
    """SHA-256 of {worksheet: its dump}, whatever their order."""
    return hashlib.sha256(b"".join(dumps[name] for name in sorted(dumps))).hexdigest()


def to_bytes(tables: dict[str, pd.DataFrame]) -> bytes:
    """Return a new workbook, {worksheet: its cells}; the same tables give the same bytes.

    A DatasetError tells of a name or a cell that Excel cannot hold.
    """
    import openpyxl

    for name in tables:
        check_sheet_name(name)
    cells = {name: _table_cells(name, table) for name, table in tables.items()}
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.created = datetime.datetime(*_FIXED_DATE)
    rows = {
        name: _fill(book.create_sheet(name), table, cells[name]) for name, table in tables.items()
    }
    digest = _digest({name: _dump(name, cells[name]) for name in cells})
    return _to_bytes(book, cells, rows, digest)


def _fill(sheet, table, cells):
    """Lay out an openpyxl worksheet and return its rows as XML.

    Frozen, filtered and bold header, columns as wide as their text within bounds; text stays text,
    also where a person edits it later.
    """
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    sheet.freeze_panes = "A2"
    n_columns = len(table.columns)
    if n_columns:
        sheet.auto_filter.ref = f"A1:{_letters((len(table) + 1, n_columns))}"
    widths = dict.fromkeys(range(1, n_columns + 1), _MIN_WIDTH)
    for (_, column), (_, value) in cells.items():
        widths[column] = max(widths[column], len(str(value)) + 2)
    letters = {column: get_column_letter(column) for column in widths}
    for column, width in widths.items():
        sheet.column_dimensions[letters[column]].width = min(width, _MAX_WIDTH)
    heading, text = sheet["A1"], sheet["A2"]
    heading.number_format = text.number_format = _TEXT_FORMAT
    heading.font = Font(name=text.font.name, size=text.font.size, bold=True)
    styles = {True: heading.style_id, False: text.style_id}
    return _rows_xml(cells, letters, styles)


def _rows_xml(cells, letters, styles):
    written = []
    for row, of_row in itertools.groupby(cells.items(), key=lambda cell: cell[0][0]):
        written.append(f'<row r="{row}">')
        for (_, column), (kind, value) in of_row:
            place = f"{letters[column]}{row}"
            if kind == "n":
                written.append(f'<c r="{place}"><v>{value!r}</v></c>')
                continue
            space = ' xml:space="preserve"' if value != value.strip() else ""
            written.append(
                f'<c r="{place}" s="{styles[row == 1]}" t="inlineStr">'
                f"<is><t{space}>{saxutils.escape(value)}</t></is></c>"
            )
        written.append("</row>")
    return f"<sheetData>{''.join(written)}</sheetData>"


def _kept_rows(xml, shared):
    """The rows of a worksheet as XML that needs nothing but the styles of its workbook."""
    rows = _ROWS.search(xml)
    is_utf8 = b"encoding=" not in xml[:99] or b"utf-8" in xml[:99].lower()
    if rows and is_utf8 and not any(mark in xml[: rows.end()] for mark in _NOT_ALONE):
        return rows.group().decode()
    sheet_data = ElementTree.fromstring(xml).find(f"{_MAIN}sheetData")
    if sheet_data is None:
        return "<sheetData/>"
    for cell in sheet_data.iter(f"{_MAIN}c"):
        value = cell.find(f"{_MAIN}v")
        if cell.get("t") == "s" and value is not None:
            text = shared[int(value.text)]
            if cell.find(f"{_MAIN}f") is None:
                cell.set("t", "inlineStr")
                cell[:] = [text]
            else:
                cell.set("t", "str")
                value.text = "".join(text.itertext())
        for name in ("cm", "vm"):  # of a part that openpyxl leaves out
            cell.attrib.pop(name, None)
    for element in sheet_data.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name[0] == "{" and "XML" not in name]:
            del element.attrib[name]
    return ElementTree.tostring(sheet_data, "unicode").replace("\r", "&#13;")


def _shared_texts(content, manifest):
    """The elements of the texts that cells share; pronunciation is left out, as openpyxl does."""
    from openpyxl.xml.constants import SHARED_STRINGS

    part = manifest.find(SHARED_STRINGS)
    if part is None:
        return []
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        texts = ElementTree.fromstring(package.read(part.PartName[1:])).findall(f"{_MAIN}si")
    for text in texts:
        text.tag = "is"
        text[:] = [run for run in text if run.tag in (f"{_MAIN}t", f"{_MAIN}r")]
        for run in text.iter(f"{_MAIN}t"):
            run.text = (run.text or "").replace("x005F_", "")  # as openpyxl reads them
    return texts


def _to_bytes(book, cells, rows, digest):
    """Bytes of an openpyxl workbook without rows, with these rows, {worksheet: XML}, put in.

    Its cells' digest is renewed unless it is None.
    """
    from openpyxl.packaging.custom import StringProperty

    if digest is not None:
        properties = book.custom_doc_props
        properties.props = [entry for entry in properties.props if entry.name != _DIGEST_PROPERTY]
        properties.append(StringProperty(name=_DIGEST_PROPERTY, value=digest))
    saved, packed = io.BytesIO(), io.BytesIO()
    try:
        book.save(saved)
    except OSError as error:
        # openpyxl keeps each sheet in the folder for temporary files until it is packed.
        raise errors.DatasetError(f"no workbook can be made: {error}", code="write") from error
    # openpyxl numbers the parts of the file by the place of their sheets.
    titles = {book[title].path.lstrip("/"): title for title in rows}
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            part = _MODIFIED.sub(rb"\g<1>1980-01-01T00:00:00Z", source.read(name))
            if name in titles:
                part = _with_rows(part, cells[titles[name]], rows[titles[name]])
            entry = zipfile.ZipInfo(name, _FIXED_DATE)
            entry.create_system = 3  # the same bytes on every system
            target.writestr(entry, part, zipfile.ZIP_DEFLATED, 6)
    return packed.getvalue()


def _with_rows(xml, cells, rows):
    corners = [tuple(map(edge, zip(*cells))) if cells else (1, 1) for edge in (min, max)]
    area = f'<dimension ref="{":".join(map(_letters, corners))}"/>'.encode()
    xml = _DIMENSION.sub(area, xml, count=1)
    return _ROWS.sub(lambda _: rows.encode(), xml, count=1)

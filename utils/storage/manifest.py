"""Tables in Excel workbooks: read as text, written whole or not at all, hand changes noticed."""

import contextlib
import dataclasses
import datetime
import gc
import hashlib
import io
import json
import math
import numbers
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from utils import errors
from utils.storage import files

MAIN_SHEET = "Manifest"

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
# As openpyxl writes it, with its own XML writer and with lxml.
_VALUE_CELL = re.compile(
    r'<c r="([A-Z]+[0-9]+)"( s="[0-9]+")?(?: t="[a-z]+")?>'
    r"(<f[^>]*/>|<f.*?</f>)?(?:<v ?/>|<v>[^<]*</v>)</c>",
    re.S,
)
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip entry can carry
_DIGEST_PROPERTY = "CellsSHA256"
# What openpyxl lets through on broken or foreign files (ParseError is a SyntaxError).
_UNREADABLE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
)


@dataclasses.dataclass
class Table:
    """One worksheet: the header and the rows below it.

    Parameters
    ----------
    columns : list of str
        Names in the header row, in order.
    rows : list of dict
        Column name to value. Written: a str becomes a text cell, an int or a float a number; None,
        ``""`` and a missing key become an empty cell, NaN and infinities text. Read: see
        `Workbook.table`.
    """

    columns: list[str]
    rows: list[dict]


def cell_text(value) -> str:
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


def whole_number_text(text: str) -> str:
    """Drop the fraction that tables add to whole numbers: ``"19510122.0"`` is ``"19510122"``."""
    return text.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0+", text) else text


def check_sheet_name(name: str) -> None:
    """Refuse what Excel does not take as the name of a worksheet.

    Raises
    ------
    DatasetError
        Empty, over 31 characters, one of ``[]:*?/\\``, an apostrophe at an end, ``History``.
    """
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


class Workbook:
    """A workbook as it lies on disk, with all its cells.

    Parameters
    ----------
    path : path-like
        An .xlsx file.

    Raises
    ------
    DatasetError
        The file is missing, damaged or no workbook.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not os.path.isfile(self.path):
            raise errors.DatasetError(
                f"{self.path}: no such file (nearest that exists: "
                f"{files.nearest_existing(self.path)})",
                file=self.path,
                code="missing",
            )
        with _explained(self.path), _without_collector():
            self._content = self.path.read_bytes()
            self._book = _load(self._content, data_only=False)
            self._cells = {sheet.title: _cells(sheet) for sheet in self._book.worksheets}
        self._values = None

    @property
    def names(self) -> list[str]:
        """Names of the worksheets, in order."""
        return list(self._cells)

    def header(self, name: str) -> list[str]:
        """Return the column names of a worksheet; empty for an empty one."""
        return [text for text in _header(self._cells[name])[1].values() if text]

    def table(self, name: str = MAIN_SHEET, required=(), typed: bool = False) -> Table:
        """Read a worksheet by its column names.

        Parameters
        ----------
        name : str
            The worksheet.
        required : iterable of str
            Columns that must be there; others are kept, too.
        typed : bool
            Leave numbers as int and float, to copy them to another sheet as numbers.

        Returns
        -------
        Table
            Values are str, ``""`` where the cell is empty. Dates read ``YYYYMMDD``. The header is
            the first row that is not blank; blank rows are left out.

        Raises
        ------
        DatasetError
            The sheet or a column is missing, two columns share a name, a cell holds an error or a
            formula without a result.
        """
        cells = self._sheet(name)
        top, columns = _header(cells)
        self._check_columns(name, columns, required)
        rows = {}
        for (row, column), cell in cells.items():
            if row > top and columns.get(column):
                value = self._value(name, row, column, cell)
                if value != "":
                    rows.setdefault(row, {})[columns[column]] = value if typed else cell_text(value)
        names = [text for text in columns.values() if text]
        empty = dict.fromkeys(names, "")
        return Table(names, [{**empty, **rows[row]} for row in sorted(rows)])

    def same_cells(self, tables: dict[str, Table]) -> bool:
        """Tell whether the workbook holds these sheets, with these cells, and no others."""
        return self._cells == {name: _table_cells(name, table) for name, table in tables.items()}

    def digest(self) -> str:
        """Return the SHA-256 of all cells: their places, kinds and values."""
        return _digest(self._cells)

    @property
    def was_changed(self) -> bool:
        """Whether the cells differ from what we wrote; so does a workbook that is not ours."""
        stored = [
            entry.value
            for entry in self._book.custom_doc_props.props
            if entry.name == _DIGEST_PROPERTY
        ]
        return stored != [self.digest()]

    def with_sheet(self, name: str, table: Table, renew: bool) -> bytes:
        """Return the file's bytes with one sheet added or replaced.

        Parameters
        ----------
        name : str
            A replaced sheet stays at its place; a new one goes last, ``Manifest`` first.
        table : Table
            Its cells.
        renew : bool
            Store the digest of the new cells; else the stored one stays, fitting or not.
        """
        cells = {**self._cells, name: _table_cells(name, table)}
        book = self._book
        active = book.active.title if book.active else name
        position = 0 if name == MAIN_SHEET else len(book.sheetnames)
        if name in book.sheetnames:
            position = book.sheetnames.index(name)
            book.remove(book[name])
        sheet = book.create_sheet(name, position)
        book.active = book.sheetnames.index(active)
        with _without_collector():
            return _serialise(
                book,
                {sheet: (table, cells[name])},
                _digest(cells) if renew else None,
                self._corrections(but=name),
            )

    def has_cells(self, name: str, table: Table) -> bool:
        """Tell whether a worksheet holds these cells and no others."""
        return self._cells.get(name) == _table_cells(name, table)

    def _sheet(self, name):
        if name not in self._cells:
            raise errors.DatasetError(
                f"{self.path}: no worksheet {name!r}; there are: {', '.join(self._cells)}",
                file=self.path,
                code="sheet",
                expected=name,
                found=", ".join(self._cells),
            )
        return self._cells[name]

    def _check_columns(self, sheet, columns, required):
        names = [text for text in columns.values() if text]
        doubled = sorted({text for text in names if names.count(text) > 1})
        missing = [text for text in required if text not in names]
        for fault, listed in (("columns of the same name", doubled), ("missing columns", missing)):
            if listed:
                raise errors.DatasetError(
                    f"{self.path}, worksheet {sheet}: {fault}: {', '.join(listed)}; found: "
                    f"{', '.join(names) or 'an empty sheet'}",
                    file=self.path,
                    code="columns",
                    expected=", ".join(required),
                    found=", ".join(names),
                )
        if len(names) < len(columns):
            warnings.warn(
                f"{self.path}, worksheet {sheet}: columns without a name in the header "
                "row are not read",
                errors.DataWarning,
                stacklevel=3,
            )

    def _value(self, sheet, row, column, cell):
        kind, value = cell
        if kind == "f":
            kind, value = self._result(sheet, row, column)
        if kind in "ef":
            fault = (
                f"holds the error {value}"
                if kind == "e"
                else "holds a formula without a result: save it once in a spreadsheet program"
            )
            raise errors.DatasetError(
                f"{self.path}, worksheet {sheet}: cell {_place(row, column)} {fault}",
                file=self.path,
                code="cell",
            )
        if kind == "b":
            return "TRUE" if value else "FALSE"
        return _date_text(value) if kind == "d" else value

    def _result(self, sheet, row, column):
        """Kind and value of a formula's stored result, ``("f", None)`` where there is none."""
        if self._values is None:
            with _explained(self.path):
                self._values = _load(self._content, data_only=True)
        cell = self._values[sheet].cell(row, column)
        if cell.value is None:
            # An empty text is a result: openpyxl leaves its kind as the file gives it.
            return ("s", "") if cell.data_type == "str" else ("f", None)
        return cell.data_type, cell.value

    def _corrections(self, but):
        """{sheet: {place: (kind, value)}} of what openpyxl does not write as it was read.

        It leaves the results of formulas out and rounds numbers to 16 digits; a double needs 17.
        """
        return {
            name: {
                _place(row, column): cell if kind == "n" else self._result(name, row, column)
                for (row, column), cell in cells.items()
                for kind, value in [cell]
                if kind == "f" or kind == "n" and float(f"{value:.16g}") != value
            }
            for name, cells in self._cells.items()
            if name != but
        }


def _load(content, data_only):
    import openpyxl

    with warnings.catch_warnings():
        # About parts of a workbook that openpyxl does not know; no cell is among them.
        warnings.simplefilter("ignore", UserWarning)
        return openpyxl.load_workbook(
            io.BytesIO(content), data_only=data_only, rich_text=not data_only
        )


@contextlib.contextmanager
def _without_collector():
    # A workbook is many objects and no garbage; looking for some takes a third of the time.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _explained(path):
    try:
        yield
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise errors.DamagedFileError(
            f"{path}: cannot be read as an Excel workbook (.xlsx): {reason}", file=path
        ) from error


def _cells(sheet):
    """All cells that are not empty, {(row, column): (kind, value)}, by rows."""
    # The area that the file gives for the sheet is not used: many tools store a wrong one.
    # The public iterators also make every empty cell up to the last one, which may be the
    # 1,048,576th of a row that somebody has coloured by accident.
    found = {}
    for place, cell in sorted(sheet._cells.items()):
        value = str(cell.value) if cell.data_type == "s" else cell.value
        if value is not None and value != "":
            found[place] = (cell.data_type, value)
    return found


def _header(cells):
    """Row number and {column number: stripped name, None without one} of the header."""
    top = min((row for row, _ in cells), default=0)
    names = {
        column: cell_text(value).strip()
        for (row, column), (_, value) in cells.items()
        if row == top
    }
    last = max((column for _, column in cells), default=0)
    used = {column for _, column in cells}
    return top, {
        column: names.get(column) or None for column in range(1, last + 1) if column in used
    }


def _place(row, column):
    from openpyxl.utils import get_column_letter

    return f"{get_column_letter(column)}{row}"


def _date_text(value):
    if isinstance(value, datetime.datetime) and value.time() != datetime.time():
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return f"{value.year:04d}{value.month:02d}{value.day:02d}"
    return str(value)


def _table_cells(name, table):
    """The cells that a table is written as, like `_cells` gives them."""
    if len(table.rows) >= MAX_ROWS:
        raise errors.DatasetError(
            f"worksheet {name}: {len(table.rows)} rows, Excel holds "
            f"{MAX_ROWS - 1} below the header",
            code="cell",
        )
    cells = {}
    for number, row in enumerate([dict(zip(table.columns, table.columns)), *table.rows], 1):
        for column, title in enumerate(table.columns, 1):
            value = row.get(title)
            if value is not None and value != "":
                cells[number, column] = _stored(value, name, number, title)
    return cells


def _stored(value, sheet, row, column):
    """Kind and value of one cell."""
    if isinstance(value, str):
        text = value.replace("\r\n", "\n").replace("\r", "\n")  # as XML readers do
        forbidden = _NOT_IN_XML.search(text)
        if forbidden or _excel_length(text) > MAX_CELL_TEXT:
            fault = (
                f"the character {forbidden.group()!a} cannot stand in a workbook"
                if forbidden
                else f"{_excel_length(text)} characters, Excel holds {MAX_CELL_TEXT}"
            )
            raise errors.DatasetError(
                f"worksheet {sheet}, row {row}, column {column!r}: {fault}", code="cell"
            )
        return "s", text
    if isinstance(value, numbers.Integral):
        return "n", int(value)
    if isinstance(value, numbers.Real):
        number = _fifteen_digits(value)
        return ("n", number) if math.isfinite(number) else ("s", str(number))
    raise TypeError(f"worksheet {sheet}, row {row}, column {column!r}: {type(value)} in a cell")


def _digest(sheets):
    """SHA-256 of {name: cells}; neither formats nor the order of the sheets count."""
    sha = hashlib.sha256()
    for name in sorted(sheets):
        # Spreadsheets do not tell 3 from 3.0.
        cells = [
            (place, kind, float(value) if kind == "n" else str(value))
            for place, (kind, value) in sheets[name].items()
        ]
        sha.update(json.dumps([name, cells]).encode("ascii"))
    return sha.hexdigest()


def to_bytes(tables: dict[str, Table]) -> bytes:
    """Return a new workbook; the same tables give the same bytes.

    Parameters
    ----------
    tables : dict of str to Table
        Name of the worksheet to its cells, in order.

    Raises
    ------
    DatasetError
        A name or a cell is nothing that Excel can hold.
    """
    import openpyxl

    for name in tables:
        check_sheet_name(name)
    cells = {name: _table_cells(name, table) for name, table in tables.items()}
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.created = datetime.datetime(*_FIXED_DATE)
    filled = {book.create_sheet(name): (table, cells[name]) for name, table in tables.items()}
    return _serialise(book, filled, _digest(cells), {})


def _serialise(book, filled, digest, corrections):
    """Bytes of an openpyxl workbook, its sheets in `filled` being still empty."""
    from openpyxl.packaging.custom import StringProperty

    if digest is not None:
        properties = book.custom_doc_props
        properties.props = [entry for entry in properties.props if entry.name != _DIGEST_PROPERTY]
        properties.append(StringProperty(name=_DIGEST_PROPERTY, value=digest))
    for sheet, (table, cells) in filled.items():
        _lay_out(sheet, table, cells)
        _fill(sheet, cells)
    saved = io.BytesIO()
    try:
        book.save(saved)
    except OSError as error:
        # openpyxl keeps each sheet in the folder for temporary files until it is packed.
        raise errors.DatasetError(f"no workbook can be made: {error}", code="write") from error
    # openpyxl numbers the parts of the file by the place of their sheets.
    return _repack(
        saved, {book[name].path.lstrip("/"): cells for name, cells in corrections.items()}
    )


def _lay_out(sheet, table, cells):
    """Frozen and filtered header, columns as wide as their text within bounds."""
    from openpyxl.utils import get_column_letter

    sheet.freeze_panes = "A2"
    if table.columns:
        sheet.auto_filter.ref = f"A1:{_place(len(table.rows) + 1, len(table.columns))}"
    widths = dict.fromkeys(range(1, len(table.columns) + 1), _MIN_WIDTH)
    for (_, column), (_, value) in cells.items():
        widths[column] = max(widths[column], len(str(value)) + 2)
    for column, width in widths.items():
        sheet.column_dimensions[get_column_letter(column)].width = min(width, _MAX_WIDTH)


def _fill(sheet, cells):
    """Put cells into an empty sheet; text stays text, also where a person edits it later."""
    from openpyxl.styles import Font

    for (row, column), (kind, value) in cells.items():
        cell = sheet.cell(row, column)
        cell.value = value
        if kind == "s":
            cell.data_type = "s"  # openpyxl takes =1+1 for a formula
            cell.number_format = _TEXT_FORMAT
        if row == 1:
            cell.font = Font(name=cell.font.name, size=cell.font.size, bold=True)


def _escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _repack(saved, corrections):
    """Put the corrected cells into a saved workbook and take the time out of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if corrections.get(name):
                content = _corrected(content.decode("utf-8"), corrections[name]).encode("utf-8")
            elif name == "docProps/core.xml":
                content = re.sub(
                    rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>1980-01-01T00:00:00Z", content
                )
            entry = zipfile.ZipInfo(name, _FIXED_DATE)
            entry.create_system = 3  # the same bytes on every system
            target.writestr(entry, content, zipfile.ZIP_DEFLATED, 6)
    return packed.getvalue()


def _corrected(xml, corrections):
    """Write the values of some cells, {place: (kind, value)}, into the XML of a sheet."""
    from openpyxl.utils.datetime import to_excel

    def fill(match):
        place, style, formula = match.groups(default="")
        kind, value = corrections.get(place, ("f", None))
        if value is None:
            return match.group()
        if kind == "d":
            kind, value = "n", to_excel(value)
        kind = "str" if kind == "s" else kind  # a text that no other cell shares
        text = str(int(value) if kind == "b" else value)
        return f'<c r="{place}"{style} t="{kind}">{formula}<v>{_escape(text)}</v></c>'

    return _VALUE_CELL.sub(fill, xml)


def was_changed(path) -> bool:
    """Tell whether an existing workbook is other than we wrote it: cells changed, or not ours."""
    workbook = _if_readable(path)
    return workbook is None or workbook.was_changed


def _if_readable(path):
    with contextlib.suppress(*_UNREADABLE):  # a DatasetError is a ValueError
        return Workbook(path)
    return None


def refuse_if_changed(path, overwrite: bool = False) -> None:
    """Refuse to go on towards replacing a workbook that people changed.

    Only looks: call it before long work; `write` and `replace_sheet` look again.

    Raises
    ------
    DatasetError
        The workbook was changed since we wrote it, or is not ours, and `overwrite` is off.
    """
    path = Path(path)
    if not overwrite and os.path.exists(path) and was_changed(path):
        raise errors.DatasetError(
            f"{path}: was changed by hand since it was written, or was not written here; move it "
            f"away, or use --overwrite, which keeps it as {path.stem}.bak{path.suffix}",
            file=path,
            code="changed",
        )


def keep_backup(path) -> Path:
    """Copy a file to ``<stem>.bak.xlsx``, or ``.bak2`` and so on where another copy lies.

    Returns
    -------
    Path
        The copy.
    """
    path = Path(path)
    with _explained(path):
        content = path.read_bytes()
    number = 1
    while True:
        backup = path.with_name(f"{path.stem}.bak{number if number > 1 else ''}{path.suffix}")
        if not os.path.exists(backup):
            _put(backup, content)
            return backup
        if _holds(backup, content):
            return backup
        number += 1


def _holds(path, content):
    with contextlib.suppress(OSError):  # missing, a folder, or not ours to read
        return path.read_bytes() == content
    return False


def _make_way(path, overwrite):
    refuse_if_changed(path, overwrite)
    if os.path.exists(path) and was_changed(path):
        warnings.warn(
            f"{path}: was changed by hand; the old one is kept as {keep_backup(path).name}",
            errors.DataWarning,
            stacklevel=3,
        )


def _put(path, content):
    files.make_dir(path.parent)
    files.sweep(path.parent, recursive=False)
    with files.whole(path) as handle:
        handle.write(content)


def write(path, tables: dict[str, Table], overwrite: bool = False) -> bool:
    """Write a workbook, whole or not at all.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    tables : dict of str to Table
        Name of the worksheet to its cells, in order.
    overwrite : bool
        Replace a workbook that people changed, too; the old one is kept beside it.

    Returns
    -------
    bool
        False when the workbook had these cells and was left untouched.

    Raises
    ------
    DatasetError
        See `to_bytes` and `refuse_if_changed`; or the file cannot be written.
    """
    path = Path(path)
    content = to_bytes(tables)
    workbook = _if_readable(path)
    if workbook and workbook.same_cells(tables) and not (overwrite and workbook.was_changed):
        return False
    _make_way(path, overwrite)
    _put(path, content)
    return True


def write_together(workbooks: dict[Path, dict[str, Table]]) -> None:
    """Write several workbooks: all of them, or none if one cannot be written.

    Parameters
    ----------
    workbooks : dict of Path to dict of str to Table
        Files, each with its worksheets. A file that has these bytes already is left untouched; any
        other is replaced, whoever wrote it.

    Raises
    ------
    DatasetError
        See `to_bytes`; or a file cannot be written.

    Notes
    -----
    Everything is on the disk under temporary names before the first gets its own.
    """
    contents = {Path(path): to_bytes(tables) for path, tables in workbooks.items()}
    with contextlib.ExitStack() as stack:
        pending = []
        for path, content in contents.items():
            if _holds(path, content):
                continue
            files.make_dir(path.parent)
            files.sweep(path.parent, recursive=False)
            pending.append(stack.enter_context(files.Pending(path)))
            pending[-1].handle.write(content)
            pending[-1].seal()
        for file in pending:
            file.commit()


def replace_sheet(workbook, name: str, table: Table, overwrite: bool | None = None) -> bool:
    """Add a worksheet to a workbook, or replace it; the other sheets stay as they are.

    Parameters
    ----------
    workbook : path-like or Workbook
        The file; it is made where it is missing. A `Workbook` cannot be used again.
    name : str
        A replaced sheet stays at its place; a new one goes last, ``Manifest`` first.
    table : Table
        Its cells.
    overwrite : bool, optional
        For a workbook that people changed. None: do it, and the workbook still counts as changed.
        False: refuse. True: keep a copy, do it, and the workbook counts as ours again.

    Returns
    -------
    bool
        False when nothing was to be changed; the file is untouched.

    Raises
    ------
    DatasetError
        See `check_sheet_name`, `to_bytes`, `refuse_if_changed`; or a sheet differs in case only.
    """
    check_sheet_name(name)
    path = Path(getattr(workbook, "path", workbook))
    if not isinstance(workbook, Workbook):
        may_start_anew = overwrite is not None or not os.path.exists(path)
        workbook = _if_readable(path) if may_start_anew else Workbook(path)
        if workbook is None:
            return write(path, {name: table}, bool(overwrite))
    _check_case(workbook, name)
    changed = workbook.was_changed
    if workbook.has_cells(name, table) and not (changed and overwrite):
        return False
    if overwrite is not None:
        _make_way(path, overwrite)
    _put(path, workbook.with_sheet(name, table, renew=overwrite is not None or not changed))
    return True


def _check_case(workbook, name):
    for other in workbook.names:
        if other != name and other.casefold() == name.casefold():
            raise errors.DatasetError(
                f"{workbook.path}: there is a worksheet {other!r}; {name!r} differs from it in "
                "upper and lower case only",
                file=workbook.path,
                code="name",
            )


def sheet_names(path) -> list[str]:
    """Return the names of a workbook's worksheets, in order."""
    return Workbook(path).names


def read_sheet(path, sheet: str = MAIN_SHEET, required=(), typed: bool = False) -> Table:
    """Read one worksheet of a file; see `Workbook` and `Workbook.table`."""
    return Workbook(path).table(sheet, required, typed)


def resolve(path_text: str, manifest_path, root_dir=None) -> Path:
    """Find the file that a relative path in a manifest means.

    Parameters
    ----------
    path_text : str
        The cell.
    manifest_path : path-like
        The workbook with the cell.
    root_dir : path-like, optional
        The folder that paths are relative to, if it is known.

    Returns
    -------
    Path
        The file below `root_dir`; without it, below the manifest's folder or the nearest parent
        where there is such a file.

    Raises
    ------
    DatasetError
        There is none, or the text is no path below a folder (empty, absolute, with ``..``).
    """
    relative = PurePosixPath(path_text)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise errors.DatasetError(
            f"{manifest_path}: {path_text!r} is not a relative path below the data's folder",
            file=manifest_path,
            code="path",
        )
    folders = Path(manifest_path).absolute().parents if root_dir is None else [Path(root_dir)]
    for folder in folders:
        if os.path.isfile(folder / relative):
            return folder / relative
    where = f"{folders[0]} or a folder above it" if root_dir is None else folders[0]
    raise errors.DatasetError(
        f"{manifest_path}: no file {path_text!r} below {where}; --root_dir "
        "names the folder that the paths are relative to",
        file=manifest_path,
        code="missing",
        expected=path_text,
    )

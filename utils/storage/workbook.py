"""Cells of Excel workbooks: text stays text, other worksheets stay as they are.

A table is a pandas DataFrame of str, ``""`` where a cell is empty; int and float are number cells.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import html
import io
import itertools
import json
import math
import numbers
import os
import re
import shutil
import tempfile
import typing
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from utils import errors
from utils.storage import cell_limits, files, workbook_links, workbook_looks, workbook_reading

if typing.TYPE_CHECKING:
    import pandas as pd

# Limits of Excel; it counts UTF-16 units.
MAX_SHEET_NAME = 31
MAX_ROWS = 1048576
# Cells of a larger worksheet (bytes of XML) are read anew each time they are needed.
_KEPT_SHEET = 2**24
_MAX_CELLS = 2**21  # of a worksheet that is read as a table
_ROWS_AT_ONCE = 1000
_SPOOLED = 2**24  # bytes of a worksheet in the making that are kept in memory

_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\\t\n\r]")
_EXACT_UP_TO = 2**53  # whole numbers that a double holds, as Excel's cells do
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip entry can carry
_DIGEST_PROPERTY = "CellsSHA256"
# As openpyxl writes them, with its own XML writer and with lxml.
_MODIFIED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*")
_DIMENSION = re.compile(rb'<dimension ref="[^"]*" ?/>')
_ROW_HEIGHT = f' ht="{workbook_looks.ROW_HEIGHT}" customHeight="1"'
# In what follows the rows, the order being given: what stands behind the cells not to be marked.
_BEHIND_UNMARKED = re.compile(b"<(?:drawing|legacyDrawing|tableParts|extLst)\\b|</worksheet>")
_ROWS = re.compile(rb"<((?:\w+:)?)sheetData\b(?:[^>]*/>|.*</\1sheetData\s*>)", re.S)


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


def is_short(name: str) -> bool:
    """Whether Excel takes a worksheet's name of this length."""
    return cell_limits.excel_length(name) <= MAX_SHEET_NAME


def check_sheet_name(name: str, is_files: bool = False) -> None:
    """Refuse what Excel does not take as the name of a worksheet, by a DatasetError.

    The name of a file, for which this is looked at, too, may be longer.
    """
    reason = None
    is_odd = cell_limits.NOT_IN_XML.search(name)
    if not name.strip():
        reason = "is empty"
    elif not is_files and not is_short(name):
        length = cell_limits.excel_length(name)
        reason = f"has {length} characters, Excel allows {MAX_SHEET_NAME}"
    elif _NOT_IN_SHEET_NAMES.search(name) or is_odd or name[0].isspace():
        reason = "begins with a blank, or holds a control character or one of []:*?/\\"
    elif name[0] == "'" or name[-1] == "'":
        reason = "begins or ends with an apostrophe"
    elif name.casefold() == "history":
        reason = "is reserved by Excel"
    if reason:
        what = "file" if is_files else "worksheet"
        raise errors.DatasetError(f"the {what} name {name!r} {reason}", code="name", found=name)


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
        if not os.path.exists(self.path):
            nearest = files.nearest_existing(self.path)
            raise self._error(f": no such file (nearest that exists: {nearest})", "missing")
        self.content = files.read_bytes(self.path)
        self._cells: dict[str, dict] = {}
        self._results: dict[str, dict] = {}
        self._dumps: dict[str, list[bytes]] = {}
        with self._reading():
            self._package = workbook_reading.Package(self.content)
            for name, sheet in self._package.sheets.items():
                if sheet.size <= _KEPT_SHEET:
                    self._cells[name] = self._collected(name)

    def _reading(self):
        return workbook_reading.explained(self.path, self.content)

    def _collected(self, name):
        """{place: cell} of a worksheet."""
        found = {}
        for place, cell in self._package.cells(name):
            if cell[1] in (None, ""):
                found.pop(place, None)  # of a place that comes twice the last one counts
                continue
            found[place] = cell
            if len(found) > _MAX_CELLS:
                raise ValueError(f"worksheet {name} holds more than {_MAX_CELLS:,} cells")
        return dict(sorted(found.items()))

    def _in_order(self, name):
        """The filled cells of a worksheet, row by row."""
        if name in self._cells:
            yield from self._cells[name].items()
            return
        before = 0, 0
        with self._reading():
            for place, cell in self._package.cells(name):
                if place <= before:
                    raise ValueError(f"worksheet {name}: its cells are not in order")
                before = place
                if cell[1] not in (None, ""):
                    yield place, cell

    def _error(self, text, code, **sides):
        return errors.DatasetError(f"{self.path}{text}", file=self.path, code=code, **sides)

    @property
    def names(self) -> list[str]:
        """Names of the worksheets, in order."""
        return list(self._package.sheets)

    def header(self, name: str) -> list[str]:
        """Return the column names of a worksheet; empty for an empty one."""
        rows = itertools.groupby(self._in_order(name), key=lambda entry: entry[0][0])
        for _, of_row in rows:
            return [text for text in _header(dict(of_row))[1].values() if text]
        return []

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
        if name not in self.names:
            there = ", ".join(self.names)
            text = f": no worksheet {name!r}; there are: {there}"
            raise self._error(text, "sheet", expected=name, found=there)
        with self._reading():
            cells = self._cells[name] if name in self._cells else self._collected(name)
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
        same_names = set(self.names) == tables.keys()
        return same_names and all(self.has_cells(name, table) for name, table in tables.items())

    def has_cells(self, name: str, table: pd.DataFrame) -> bool:
        """Tell whether there is a worksheet with these cells and no others."""
        pairs = itertools.zip_longest
        return name in self.names and all(
            ours == theirs
            for ours, theirs in pairs(self._in_order(name), _table_cells(name, table))
        )

    @functools.cached_property
    def was_changed(self) -> bool:
        """Whether the cells differ from what we wrote; so does a workbook that is not ours."""
        digest = hashlib.sha256()
        for name in sorted(self.names):
            self._dump(name, digest.update)
        properties = self._package.book.custom_doc_props.props
        stored = [entry.value for entry in properties if entry.name == _DIGEST_PROPERTY]
        return stored != [digest.hexdigest()]

    def _dump(self, name, update):
        """Give `update` the dump of a worksheet; it is kept where the cells are."""
        dumps = self._dumps.get(name) or _dump(name, self._in_order(name))
        if name in self._cells:
            dumps = self._dumps[name] = list(dumps)
        for dump in dumps:
            update(dump)

    def with_sheet(
        self,
        name: str,
        table: pd.DataFrame,
        renew: bool,
        first: bool = False,
        look: workbook_looks.Look = workbook_looks.PLAIN,
    ) -> bytes:
        """Return the file's bytes with one worksheet added or replaced.

        A replaced sheet stays at its place; a new one goes last, or first. `renew` stores the
        digest of the new cells; else the stored one stays, fitting or not.
        """
        with self._reading():
            package = workbook_reading.Package(self.content)
        book = package.book
        active = book.active.title if book.active else name
        position = 0 if first else len(book.sheetnames)
        if name in book.sheetnames:
            position = book.sheetnames.index(name)
            book.remove(book[name])
        made = book.create_sheet(name, position)
        book.active = book.sheetnames.index(active)
        digest = hashlib.sha256()
        with _spooling() as spool:
            rows = {}
            for title in sorted({*self.names, name}):
                if title == name:
                    rows[title] = _fill(made, table, look, spool(), digest.update)
                    continue
                with self._reading():
                    rows[title] = self._kept_rows(package, title, spool())
                if renew:
                    self._dump(title, digest.update)
            content = _to_bytes(book, rows, digest.hexdigest() if renew else None)
        self._check_kept(package, content)
        return content

    def _check_kept(self, package, content):
        lost = ", ".join(package.lost(content))
        if lost:
            text = f": a worksheet cannot be added without losing its {lost}; move these, or the "
            raise self._error(f"{text}cells alone, to another workbook", "lost", found=lost)

    def _kept_rows(self, package, title, handle):
        sheet = package.sheets[title]
        links = workbook_links.to_xml(sheet.links)
        rows = _Rows(handle, links, sheet.unmarked, sheet.extensions)
        rows.cover(place for place, _ in self._in_order(title))
        for piece in package.kept_rows(title):
            rows.xml.write(piece)
        return rows

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
            kind, value = self._results_of(sheet)[place]
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

    def _results_of(self, sheet):
        if sheet not in self._results:
            with self._reading():
                self._results[sheet] = dict(self._package.cells(sheet, only_values=True))
        return self._results[sheet]


def _header(cells):
    """Row number and {column number: stripped name, None without one} of the header."""
    top = min((row for row, _ in cells), default=0)
    columns = sorted({column for _, column in cells})
    texts = {column: cell_text(cells.get((top, column), ("s", ""))[1]) for column in columns}
    return top, {column: text.strip() or None for column, text in texts.items()}


def _letters(place):
    return f"{workbook_looks.letter(place[1])}{place[0]}"


def _date_text(value):
    if isinstance(value, datetime.datetime) and value.time() != datetime.time():
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return f"{value.year:04d}{value.month:02d}{value.day:02d}"
    return str(value)


def sheets(name: str, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Spread a table over as many worksheets as Excel needs: name, name 2, name 3 and so on."""
    n_rows = MAX_ROWS - 1  # below the header
    starts = range(0, max(len(table), 1), n_rows)
    return {
        name if number == 1 else f"{name} {number}": table.iloc[start : start + n_rows]
        for number, start in enumerate(starts, 1)
    }


def check_cells(row: dict, where: files.PathLike) -> None:
    """Refuse a row, {column: value}, with a text that Excel cannot hold, by a DatasetError.

    A sample that is checked like this fails by itself; in `to_bytes` it would stop all others.
    """
    for column, value in row.items():
        if isinstance(value, str):
            _check_text(value, f"{where}: column {column!r}", where)


def _check_text(text, where, file=None):
    fault = cell_limits.text_fault(text)
    if fault:
        raise errors.DatasetError(f"{where}: {fault}", file=file, code="cell")


def _table_cells(name, table):
    """The cells that a table is written as, in the order and form that those of a file have."""
    return itertools.chain.from_iterable(_table_pieces(name, table))


def _table_pieces(name, table):
    """The cells of a table, those of a number of whole rows at once."""
    if len(table) >= MAX_ROWS:
        text = f"{len(table)} rows, Excel holds {MAX_ROWS - 1} below the header"
        raise errors.DatasetError(f"worksheet {name}: {text}", code="cell")
    columns = list(table.columns)
    yield _row_cells(name, columns, [columns], 1)
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table.iloc[start : start + _ROWS_AT_ONCE]
        values = zip(*(part.iloc[:, index].tolist() for index in range(len(columns))))
        yield _row_cells(name, columns, values, start + 2)


def _row_cells(name, columns, values, first_row):
    # Most texts are short and plain, and there are millions of them.
    longest, cells = cell_limits.MAX_TEXT, []
    for row, of_row in enumerate(values, first_row):
        for column, value in enumerate(of_row, 1):
            if value is None or value == "":
                continue
            if (
                type(value) is str
                and value.isascii()
                and value.isprintable()
                and len(value) <= longest
            ):
                stored = "s", value
            else:
                stored = _stored(value, name, row, columns[column - 1])
            cells.append(((row, column), stored))
    return cells


def _stored(value, sheet, row, column):
    """Kind and value of one cell."""
    if type(value) is int:  # isinstance takes its time for what is no text
        return "n", value
    if isinstance(value, str):
        text = workbook_reading.line_ends(value)
        _check_text(text, f"worksheet {sheet}, row {row}, column {column!r}")
        return "s", text
    if isinstance(value, numbers.Integral):
        return "n", int(value)
    if isinstance(value, numbers.Real):
        number = _fifteen_digits(value)
        return ("n", number) if math.isfinite(number) else ("s", str(number))
    raise TypeError(f"worksheet {sheet}, row {row}, column {column!r}: {type(value)} in a cell")


def _dump(name, cells):
    """Places, kinds and values of a worksheet's cells, not their formats, to make the digest of.

    The digest of a workbook is the SHA-256 of the dumps of all worksheets, sorted by name.
    """
    yield f"[{json.dumps(name)}, [".encode("ascii")
    cells, comma = iter(cells), ""
    while piece := list(itertools.islice(cells, 10 * _ROWS_AT_ONCE)):
        # Spreadsheets do not tell 3 from 3.0. Array formulas have a __dict__.
        plain = [
            (place, kind, float(value) if kind == "n" else str(getattr(value, "__dict__", value)))
            for place, (kind, value) in piece
        ]
        yield f"{comma}{json.dumps(plain)[1:-1]}".encode("ascii")
        comma = ", "
    yield b"]]"


def to_bytes(
    tables: dict[str, pd.DataFrame], looks: Mapping[str, workbook_looks.Look] | None = None
) -> bytes:
    """Return a new workbook, {worksheet: its cells}; the same tables give the same bytes.

    `looks` are those of worksheets that have one of their own.
    A DatasetError tells of a name or a cell that Excel cannot hold.
    """
    import openpyxl

    for name in tables:
        check_sheet_name(name)
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.created = datetime.datetime(*_FIXED_DATE)
    for name in tables:
        book.create_sheet(name)
    digest = hashlib.sha256()
    with _spooling() as spool:
        rows = {}
        for name in sorted(tables):
            look = (looks or {}).get(name, workbook_looks.PLAIN)
            rows[name] = _fill(book[name], tables[name], look, spool(), digest.update)
        return _to_bytes(book, rows, digest.hexdigest())


@contextlib.contextmanager
def _spooling():
    """Give what opens files for rows in the making, gone after the block; large ones lie on disk.

    openpyxl keeps each sheet in the folder for temporary files, too, until it is packed.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))
    except OSError as error:
        raise errors.DatasetError(f"no workbook can be made: {error}", code="write") from error


class _Rows:
    """The rows of a worksheet as XML, in the file `xml`, the corners of the cells in them, and what
    is to stand behind them that openpyxl does not write.
    """

    def __init__(self, handle, links, unmarked, extensions=b""):
        self.xml, (self._links, self.targets) = handle, links
        self._unmarked, self._extensions = unmarked, extensions
        self._corners = None

    def cover(self, places):
        """Count cells in; rows come in order."""
        top, left, bottom, right = self._corners or (0, MAX_ROWS, 0, 0)
        for bottom, column in places:
            top = top or bottom
            if not left <= column <= right:
                left, right = min(left, column), max(right, column)
        if top:
            self._corners = top, left, bottom, right

    @property
    def area(self):
        """The area as the file tells it."""
        top, left, bottom, right = self._corners or (1, 1, 1, 1)
        return f"{_letters((top, left))}:{_letters((bottom, right))}"

    def completed(self, tail):
        """What follows the rows, with all that openpyxl left out."""
        tail = workbook_links.with_links(tail, self._links)
        place = _BEHIND_UNMARKED.search(tail).start()
        tail = tail[:place] + self._unmarked + tail[place:]
        end = tail.rindex(b"</")
        return tail[:end] + self._extensions + tail[end:]


def _fill(sheet, table, look, handle, update):
    """Lay out an openpyxl worksheet and write its rows, as XML, and its dump for the digest.

    Text stays text, also where a person edits it later.
    """
    painter = workbook_looks.Painter(sheet, table, look)
    n_columns = len(table.columns)
    letters = {column: workbook_looks.letter(column) for column in range(1, n_columns + 1)}
    widths = dict.fromkeys(letters, 0)
    links = workbook_links.to_xml(painter.links())
    whole = f"A1:{_letters((len(table) + 1, max(n_columns, 1)))}"
    # Else Excel marks each text of digits by a green corner.
    unmarked = (
        f'<ignoredErrors><ignoredError sqref="{whole}" numberStoredAsText="1"/></ignoredErrors>'
    )
    rows = _Rows(handle, links, unmarked.encode())

    def written():
        for cells in _table_pieces(sheet.title, table):
            for (_, column), (kind, value) in cells:
                width = len(value if kind == "s" else str(value))
                if width > widths[column]:
                    widths[column] = width
            rows.cover(place for place, _ in cells[:1] + cells[-1:])
            handle.write(_rows_xml(cells, letters, painter).encode())
            yield from cells

    for dump in _dump(sheet.title, written()):
        update(dump)
    painter.lay_out(widths, len(table))
    return rows


def _rows_xml(cells, letters, painter):
    written, marked = [], painter.marked
    height = _ROW_HEIGHT if painter.has_long_rows else ""
    before = 0
    for place, (kind, value) in cells:
        row, column = place
        if row != before:
            written.append(f'{"</row>" if before else ""}<row r="{row}"{height}>')
            styles = painter.header if row == 1 else painter.plain
            before = row
        cell = f'<c r="{letters[column]}{row}" s="{(marked.get(place) or styles[column])[kind]}"'
        if kind == "n":
            written.append(f"{cell}><v>{value!r}</v></c>")
            continue
        space = ' xml:space="preserve"' if value != value.strip() else ""
        written.append(
            f'{cell} t="inlineStr"><is><t{space}>{html.escape(value, quote=False)}</t></is></c>'
        )
    return "".join([*written, "</row>"] if written else written)


def _to_bytes(book, rows, digest):
    """Bytes of an openpyxl workbook without rows, with these, {worksheet: _Rows}, put in.

    Its cells' digest is renewed unless it is None.
    """
    from openpyxl.packaging.custom import StringProperty

    if digest is not None:
        properties = book.custom_doc_props
        properties.props = [entry for entry in properties.props if entry.name != _DIGEST_PROPERTY]
        properties.append(StringProperty(name=_DIGEST_PROPERTY, value=digest))
    saved, packed = io.BytesIO(), io.BytesIO()
    book.save(saved)
    # openpyxl numbers the parts of the file by the place of their sheets.
    by_name = {book[title].path.lstrip("/"): rows[title] for title in rows}
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w") as target:
        parts = {name: source.read(name) for name in source.namelist()}
        for name, of_sheet in by_name.items():
            if of_sheet.targets:
                part = workbook_links.part_of(name)
                parts[part] = workbook_links.with_targets(parts.get(part, b""), of_sheet.targets)
        for name, part in parts.items():
            part = _MODIFIED.sub(rb"\g<1>1980-01-01T00:00:00Z", part)
            entry = zipfile.ZipInfo(name, _FIXED_DATE)
            entry.create_system = 3  # the same bytes on every system
            entry.compress_type = zipfile.ZIP_DEFLATED
            _pack(target, entry, part, by_name.get(name))
    return packed.getvalue()


def _pack(target, entry, part, rows):
    """Put a part into a zip, with the rows of a worksheet in it."""
    if rows is None:
        target.writestr(entry, part)
        return
    part = _DIMENSION.sub(f'<dimension ref="{rows.area}"/>'.encode(), part, count=1)
    head, tail = _ROWS.split(part, maxsplit=1)[::2]
    n_bytes = rows.xml.tell()
    rows.xml.seek(0)
    opening, closing = (b"<sheetData>", b"</sheetData>") if n_bytes else (b"", b"<sheetData/>")
    head, tail = head + opening, closing + rows.completed(tail)
    entry.file_size = len(head) + n_bytes + len(tail)
    with target.open(entry, "w") as stream:
        stream.write(head)
        shutil.copyfileobj(rows.xml, stream)
        stream.write(tail)

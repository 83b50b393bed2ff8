"""Tables in CSV files, as published or as spreadsheets and people save them."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from utils import errors
from utils.storage import file_kinds, files, forms

_SEPARATORS = ",;\t"
# What makes a formula of a text in a spreadsheet; where that splits lines at ; not only at its
# beginning.
_FORMULA = re.compile(r"(^|;)(?='*[=+\-@])")
_SHOWN_CHARACTERS = 400  # of a wrong file the "header" may be all of it


def read(
    path: files.PathLike,
    columns: Sequence[str] | Mapping[str, str],
    name: str,
    separator: str | None = None,
) -> dict[int, dict[str, str]]:
    """Read these columns of a CSV file, {line number: {column: text}}, without blank lines.

    Parameters
    ----------
    path : path-like
        Text with ``,``, ``;`` or tabs between the cells. In UTF-8, in UTF-16 with its byte order
        mark, else in GB 18030 or Windows-1252, with a warning: that can only be guessed.
    columns : sequence of str, or dict of str to str
        The first of them tells the line with the columns' names. Other columns are allowed. Of a
        dict the values say, in messages, what asks for a column.
    name : str
        What messages call the table: ``metadata table``.
    separator : str, optional
        What stands between the cells, where it need not be found out.

    Returns
    -------
    dict
        Blanks around the cells are stripped.

    Raises
    ------
    DatasetError
        The file cannot be read, is no such text, lacks a column, or has a line that does not fit.

    Notes
    -----
    By `csv` and not by pandas, whose readers take stray quotes for text, and fill up short lines.
    """
    content = files.read_bytes(path)
    try:
        text, guessed = _decoded(content)
        filled = _parsed(text, [*columns], separator)
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"cannot be read as CSV: {errors.one_line(error)}; save it as CSV UTF-8"
        raise fault(path, name, reason) from error
    if not filled:
        raise fault(path, name, f"is empty, expected the columns {list(columns)}")
    header = filled.pop(min(filled))
    _check_columns(path, name, header, columns)
    width = len(header)
    for number, cells in filled.items():
        if len(cells) < width or any(cells[width:]):
            reason = f"has {len(cells)} cells in line {number}, expected {width}"
            raise fault(path, name, reason, expected=width, found=len(cells))
    if guessed:
        errors.warn(f"{path}: not in UTF-8, read as {guessed}; save it as CSV UTF-8 to be sure")
    places = {column: header.index(column) for column in columns}
    return {
        number: {column: cells[place] for column, place in places.items()}
        for number, cells in filled.items()
    }


def _check_columns(path, name, header, columns):
    wrong = [column for column in columns if header.count(column) != 1]
    if wrong:
        found = str(header)[:_SHOWN_CHARACTERS]
        expected = f"each of {list(columns)}"
        if isinstance(columns, Mapping):
            expected = ", ".join(f"{column!r} ({columns[column]})" for column in wrong)
        reason = f"has the columns {found}, expected {expected} once"
        raise fault(path, name, reason, expected=tuple(columns), found=found)


def fault(path: files.PathLike, name: str, reason: str, **sides: object) -> errors.DatasetError:
    """Make the error that says what is wrong with a table."""
    return errors.DatasetError(f"{path}: the {name} {reason}", file=path, code="metadata", **sides)


def _decoded(content):
    """Return the text of a table's bytes, and the encoding's name where it was guessed."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16"), ""
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        is_chinese = file_kinds.is_chinese(content)
    encoding, name = ("gb18030", "GB 18030") if is_chinese else ("cp1252", "Windows-1252")
    return content.decode(encoding), name


def _parsed(text, columns, separator):
    """{line number: its cells} of the filled lines, blanks around the cells stripped."""
    limit = csv.field_size_limit(len(text) + 1)  # a cell may be as long; it is one file's fault
    try:
        lines = io.StringIO(text, newline="")
        separator = separator or _separator(text, columns)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        table = [(reader.line_num, [*map(forms.stripped, cells)]) for cells in reader]
    finally:
        csv.field_size_limit(limit)
    return {number: cells for number, cells in table if any(cells)}


def _separator(text, columns):
    """What stands between the cells of the line that holds the names of the columns."""
    names = [line for line in text.splitlines() if columns[0] in line][:1]
    # All of the columns, or, to name those that are missing, at least the first.
    for wanted, separator in itertools.product(({*columns}, {*columns[:1]}), _SEPARATORS):
        for cells in csv.reader(names, delimiter=separator):
            if wanted <= {*map(forms.stripped, cells)}:
                return separator
    return _SEPARATORS[0]


def to_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return a CSV file as spreadsheets and programs read it, always with the header.

    UTF-8 with its byte order mark, and CRLF. What a row lacks, or is None, is an empty cell; odd
    characters of texts are escaped (see `errors.printable`). No text becomes a formula: before
    ``=``, ``+``, ``-`` and ``@`` where they begin it, or stand after a ``;``, is put a ``'``.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue().encode("utf-8-sig")


def _cell(value):
    return _FORMULA.sub(r"\1'", errors.printable(value)) if isinstance(value, str) else value

"""How a worksheet looks beside its cells: styles, colours, widths, frozen panes, links.

None of it is a cell: values, types and digest do not depend on it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence

from utils.storage import cell_limits, forms, workbook_links

if typing.TYPE_CHECKING:
    import openpyxl.worksheet.worksheet
    import pandas as pd

# Of a cell: something to look at, and what the next routine will fail.
ODD, FAILED = "odd", "failed"
# Fill and text of what is unknown, odd, failed: Excel's own pale tones, told apart without colour
# by the word, nothing, and bold letters.
UNKNOWN_COLOURS = "FFEB9C", "7F4F00"
COLOURS = {ODD: ("F8CBAD", "000000"), FAILED: ("FFC7CE", "9C0006")}
_HEADER_FILL, _LINK_COLOUR = "D9E1F2", "0563C1"
MAX_LINKS = 65530  # of a worksheet, by Excel; one with more is without
_MAX_LINK = 2079  # characters, by Excel
TEXT_FORMAT = "@"
# Columns that say which row it is: those at the left stay in view, up to a width in characters
# that leaves most of a small screen free.
_IDENTIFYING = {
    *("ID", "seq", "sex", "subset", "site", "collection", "pid", "patient", "patient_id"),
    *("label_index", "label_name"),
}
_MAX_FROZEN = 56
# Width of a column in characters: at least, at most, at most where there are links. The paths of
# binary masks are many, long, and seldom read.
_MIN_WIDTH, _MAX_WIDTH, _MAX_LINK_WIDTH = 8, 40, 64
_BINARY_MASK = re.compile("mask_[0-9]+_.*")
_BESIDE_TEXT, _BESIDE_NAME = 2, 4  # blanks; the button of the filter stands in the header
# Text of digits that is no quantity.
_NAMES = _IDENTIFYING | {"birth_date", "acquisition_date", "valid_labels"}
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|nan|-?inf")
_NO_NUMBERS = ("", forms.UNDEFINED)
_ONE_LINE_COLUMN = "transform"  # its text has line breaks
# Points. Without it LibreOffice draws the lines of such a text over those of other rows.
ROW_HEIGHT = 14.4
_ESCAPED = re.compile("[\x00-,:-@\\[-^`{-\x7f]")  # all but letters, digits and _.-/


@dataclasses.dataclass(frozen=True)
class Look:
    """What a worksheet shows of its own.

    Attributes
    ----------
    marks : dict of (int, str) to str
        Row of the table, from 0, and column: whether a cell is `ODD` or `FAILED`.
    links : dict of str to sequence of str
        Column: where each of its cells leads, a relative reference, empty for nowhere.
    """

    marks: Mapping[tuple[int, str], str] = dataclasses.field(default_factory=dict)
    links: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


PLAIN = Look()


def _escaped(found):
    return f"%{ord(found[0]):02X}"


def reference(path: str, fragment: str = "") -> str:
    """Write a path, relative and with ``/``, as a relative reference (RFC 3987); '' if none can be.

    What is no letter, digit or one of ``_.-`` is escaped, so that no text becomes another scheme,
    server or fragment. Letters beyond ASCII stay: Excel does not read them otherwise.
    """
    path = _ESCAPED.sub(_escaped, path)
    if fragment:
        path += f"#/{_ESCAPED.sub(_escaped, fragment).replace('/', '%2F')}"
    is_usable = path and path[0] != "/" and len(path) <= _MAX_LINK
    return path if is_usable and not cell_limits.NOT_IN_XML.search(path) else ""


def is_below(path_text: str) -> bool:
    """Tell whether the text of a path leads to something below the folder that it starts from."""
    return path_text[:1] not in ("", "/") and ".." not in path_text.split("/")


class Painter:
    """The styles of the cells of one table, as numbers in the workbook of `sheet`.

    Attributes
    ----------
    header, plain : dict of int to dict of str to int
        Column, from 1, to the styles of its name and of its cells, by their kind: ``s`` text, ``n``
        number.
    marked : dict of (int, int) to dict of str to int
        Row and column of the worksheet, both from 1, to the styles of a cell that has another one.
    """

    def __init__(
        self, sheet: openpyxl.worksheet.worksheet.Worksheet, table: pd.DataFrame, look: Look
    ) -> None:
        self._sheet, self._names, self._look = sheet, list(table.columns), look
        self._rows = itertools.count(1)
        self._styles = functools.cache(self._new_styles)
        self._numbers = {
            number
            for number, name in enumerate(self._names, 1)
            if _holds_numbers(name, table.iloc[:, number - 1])
        }
        places = {name: number for number, name in enumerate(self._names, 1)}
        n_links = sum(len(targets) - targets.count("") for targets in look.links.values())
        links = look.links.items() if n_links <= MAX_LINKS else ()
        self._links = {places[name]: targets for name, targets in links if any(targets)}
        columns = range(1, len(self._names) + 1)
        self.header = {column: self._of(column, is_header=True) for column in columns}
        self.plain = {column: self._of(column, is_link=column in self._links) for column in columns}
        self.marked = {
            (row, column): self._of(column)
            for column, targets in self._links.items()
            for row, target in enumerate(targets, 2)
            if not target
        }
        for (row, name), mark in look.marks.items():
            column = places[name]
            is_link = column in self._links and bool(self._links[column][row])
            self.marked[row + 2, column] = self._of(column, mark, is_link)

    @property
    def has_long_rows(self) -> bool:
        """Whether there is text with line breaks, which is to stay on one line."""
        return _ONE_LINE_COLUMN in self._names

    def links(self) -> Iterator[workbook_links.Link]:
        """The links of all cells, column by column."""
        for column, targets in self._links.items():
            name = letter(column)
            for row, target in enumerate(targets, 2):
                if target:
                    path, _, fragment = target.partition("#")
                    yield workbook_links.Link(f"{name}{row}", path, fragment)

    def _of(self, column, mark="", is_link=False, is_header=False):
        is_long = self._names[column - 1] == _ONE_LINE_COLUMN
        return self._styles(column in self._numbers, is_long, mark, is_link, is_header)

    def _new_styles(self, *of_cell):
        return {kind: self._new_style(kind, *of_cell) for kind in "sn"}

    def _new_style(self, kind, is_number, is_long, mark, is_link, is_header):
        from openpyxl.styles import Alignment, Font, PatternFill

        cell = self._sheet.cell(next(self._rows), 1)  # rows are written anew
        if kind == "s":
            cell.number_format = TEXT_FORMAT
        fill, colour = COLOURS.get(mark, (_HEADER_FILL if is_header else None, None))
        if is_link and not mark:
            colour = _LINK_COLOUR
        is_bold = is_header or mark == FAILED
        if is_bold or colour or is_link:
            name, size, line = cell.font.name, cell.font.size, "single" if is_link else None
            cell.font = Font(name=name, size=size, bold=is_bold, color=colour, underline=line)
        if fill:
            cell.fill = PatternFill("solid", fgColor=fill)
        if is_number:
            cell.alignment = Alignment(horizontal="right", indent=1)  # the next column's text
        elif is_long and not is_header:
            cell.alignment = Alignment(vertical="top")  # and no wrap
        return cell.style_id

    def lay_out(self, widths: Mapping[int, int], n_rows: int) -> None:
        """Set what the sheet itself has: panes, filter, widths, colour of unknown values.

        Widths are those of the widest text of each column, in characters.
        """
        sheet, letters = self._sheet, {column: letter(column) for column in widths}
        if widths:
            sheet.auto_filter.ref = f"A1:{letters[len(widths)]}{n_rows + 1}"
        fitting = {column: self._width(column, width) for column, width in widths.items()}
        for column, width in fitting.items():
            sheet.column_dimensions[letters[column]].width = width
        frozen = total = 0
        for column, name in enumerate(self._names, 1):
            total += fitting[column]
            if (name not in _IDENTIFYING or total > _MAX_FROZEN) and column > 1:
                break
            frozen = column
            if name not in _IDENTIFYING:
                break
        sheet.freeze_panes = f"{letter(frozen + 1)}2"
        if n_rows and widths:
            self._colour_unknown(f"A2:{letters[len(widths)]}{n_rows + 1}")

    def _colour_unknown(self, area):
        from openpyxl.formatting.rule import CellIsRule
        from openpyxl.styles import Font, PatternFill

        fill, colour = UNKNOWN_COLOURS
        self._sheet.conditional_formatting.add(
            area,
            CellIsRule(
                operator="equal",
                formula=[f'"{forms.UNDEFINED}"'],
                fill=PatternFill("solid", bgColor=fill),
                font=Font(color=colour),
            ),
        )

    def _width(self, column, width):
        name = self._names[column - 1]
        at_most = _MAX_LINK_WIDTH if name in self._look.links and column > 1 else _MAX_WIDTH
        if _BINARY_MASK.fullmatch(name):
            width = 0
        width = max(width + _BESIDE_TEXT, len(name) + _BESIDE_NAME, _MIN_WIDTH)
        return min(width, at_most)


def letter(column: int) -> str:
    """Name a column, counted from 1, as spreadsheets do."""
    from openpyxl.utils import get_column_letter

    return get_column_letter(column)


def _holds_numbers(name, values):
    """Whether a column holds quantities, be they numbers or text; ``UND`` is none."""
    if name in _NAMES:
        return False
    if values.dtype.kind in "iuf":
        return True
    found = values.tolist()
    kinds = set(map(type, found)) - {str, type(None)}
    texts = (text for text in found if isinstance(text, str) and text not in _NO_NUMBERS)
    first = next(texts, None)
    if first is None:
        return bool(kinds)
    return all(map(_NUMBER.fullmatch, itertools.chain([first], texts)))

"""What the file of a workbook (.xlsx) holds: its worksheets, of which no more than a piece at once.

Files may be hostile or broken: what would take long or much memory is refused first.
"""

from __future__ import annotations

import collections
import contextlib
import io
import itertools
import re
import sys
import typing
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree

from utils import errors
from utils.storage import files, workbook_links

if typing.TYPE_CHECKING:
    import openpyxl

Place = tuple[int, int]
Cell = tuple[str, typing.Any]

MAX_COLUMNS = 16384  # of Excel
# Bytes, unpacked: all parts together, those that are not worksheets, one of these as XML, what
# stands before, after and in one row of a worksheet, and XML with a DOCTYPE, which no spreadsheet
# program writes. (30 million empty rows have 1 GB, 200,000 regions 0.2 GB.)
_MAX_ALL, _MAX_OTHERS, _MAX_PART, _MAX_ROW, _MAX_DOCTYPE = 2**32, 2**28, 2**25, 2**25, 2**20
_MAX_TAGS = 2**21  # in a part; openpyxl takes some microseconds for each
_MAX_PARTS = 10_000
_MAX_SPREAD = 2**20  # cells that merged ranges, links and comments name; openpyxl makes each
# Bytes of a worksheet that are parsed at once: with more, Python's garbage collection is slow.
_PIECE = 2**14
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = b"http://purl.oclc.org/ooxml/"
_BEGIN = re.compile(rb"<((?:\w+:)?)sheetData\b([^<>]*)>")
_ROOT = re.compile(rb"<([\w:.-]+)[^<>]*>")
_PLAIN_TEXT = re.compile(rb' t="inlineStr"><is><t(?: xml:space="preserve")?>([^<]*)</t></is></c>')
# Cells and rows that hold nothing; of several the last one stays, as the next may be counted from
# it.
_EMPTY_CELL = rb'<c\b[^<>]*\br="[^"]*"[^<>]*(?:/>|(?<!/)>(?:<v ?/>|<v></v>)?</c>)'
_EMPTY_ROW = rb'<row\b[^<>]*\br="\d+"[^<>]*(?:/>|(?<!/)>\s*(?:%b\s*)?</row>)'
_EMPTY_ROW %= _EMPTY_CELL
_EMPTY_CELLS, _EMPTY_ROWS = (
    re.compile(rb"(?:%b\s*)+(?=%b)" % (empty, empty)) for empty in (_EMPTY_CELL, _EMPTY_ROW)
)
_SIGNS_OF_EMPTY, _FEW = (b"/>", b'"></c>', b'"></row>'), 20
_TAGS_OF_VALUES = (b"<v", b"<f", b"<is", b":v", b":f", b":is")
_RANGE = re.compile(rb"<(?:\w+:)?(?:mergeCell|hyperlink|comment)\b[^<>]*?\bref=[\"']([^\"'<>]*)")
# Other names than those of worksheets, and what refers to other parts or to a DOCTYPE.
_NOT_ALONE = (b"xmlns:", b"<!", b' t="s"', b" t='s'", b" cm=", b" vm=")
# What people put into a workbook besides cells and formats, by the folder of its parts.
_OF_PEOPLE = {
    "media": "pictures",
    "charts": "charts",
    "drawings": "shapes or text boxes",
    "pivotTables": "pivot tables",
    "slicers": "slicers",
    "timelines": "timelines",
    "queryTables": "queries",
    "threadedComments": "comments (notes are kept)",
    "embeddings": "embedded files",
    "activeX": "controls",
    "ctrlProps": "controls",
    "externalLinks": "links to other workbooks",
    "vbaProject.bin": "macros",
}
_PART = re.compile(r"xl/(\w+(?:\.bin)?)(?:/(\w+).*)?")
# In a part of drawings, of which many programs write empty ones.
_ANCHOR = re.compile(rb"</(?:\w+:)?\w+Anchor\s*>")
# Drop-down lists that name other worksheets, and sparklines: openpyxl leaves them out.
_EXTENSION = re.compile(
    rb"<ext\b[^<>]*>\s*<\w+:(?:dataValidations|sparklineGroups)\b.*?</ext>", re.S
)
_UNMARKED = re.compile(rb"<ignoredErrors>(?:<ignoredError [^<>]*/>)+</ignoredErrors>")
_IDENTITY = re.compile(rb' xr\d*:uid="[^"<>]*"')  # its prefix is to be ignored by the root's word
_PREFIX = re.compile(rb"(\sxmlns:\w+=)(\"[^\"<>]*\"|'[^'<>]*')")
_AS_XLSX = "save it as Excel Workbook (.xlsx)"
_OPEN_FIRST = f"open it in a spreadsheet program and {_AS_XLSX}"


@contextlib.contextmanager
def explained(path: files.PathLike, content: bytes) -> Iterator[None]:
    """Turn what openpyxl raises on the content of a file into a DamagedFileError."""
    try:
        with warnings.catch_warnings():
            # About parts of a workbook that openpyxl does not know; no cell is among them.
            warnings.simplefilter("ignore", UserWarning)
            yield
    except _unreadable() as error:
        reason = str(error).partition("\n")[0].replace(" from None.", "")
        what, advice = _what_it_is(content) or (reason or type(error).__name__, _AS_XLSX)
        message = f"{path}: cannot be read as an Excel workbook (.xlsx): {what}; {advice}"
        raise errors.DamagedFileError(message, file=path) from error


def _unreadable():
    """What openpyxl lets through on broken or foreign files (ParseError is a SyntaxError)."""
    import lzma

    from openpyxl.formula import tokenizer, translate
    from openpyxl.utils import exceptions

    return (
        *(OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, SyntaxError),
        *(ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError),
        *(ArithmeticError, AssertionError, translate.TranslatorError, tokenizer.TokenizerError),
        *(exceptions.CellCoordinatesException, exceptions.IllegalCharacterError),
        *(exceptions.NamedRangeException, exceptions.SheetTitleException),
        exceptions.InvalidFileException,
    )


def _what_it_is(content):
    """What a file that is no workbook is instead, and what to do; None where that is not known."""
    start = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content.strip(b"\0"):
        return "it is empty" if not content else "it holds zeros only", "download or save it again"
    if content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in content:
            return "it is encrypted", f"{_AS_XLSX} without a password"
        return "it is a workbook of Excel 97 to 2003 (.xls)", _OPEN_FIRST
    if content.startswith(b"PK\x03\x04"):
        return _what_zip(content)
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS", "fetch the file itself (git lfs pull)"
    if b"/annex/objects/" in start:
        return "it is a pointer of git-annex", "fetch the file itself (git annex get)"
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start:
        return "it is a web page", f"download it again, or {_OPEN_FIRST}"
    if b"urn:schemas-microsoft-com:office:spreadsheet" in start:
        return "it is an XML spreadsheet of 2003", _OPEN_FIRST
    if content.startswith(b"\x1f\x8b"):
        return "it is compressed by gzip", "unpack it (gunzip)"
    if b"\0" not in content[:1024] and any(mark in start for mark in (b",", b";", b"\t", b"\n")):
        return "it is text, perhaps a CSV table", _OPEN_FIRST
    return None


def _what_zip(content):
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            names = set(package.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "it is cut off or damaged", "download or copy it again"
    if "content.xml" in names:
        return "it is an OpenDocument file (.ods)", _OPEN_FIRST
    if "xl/workbook.bin" in names:
        return "it is a binary workbook (.xlsb)", _OPEN_FIRST
    if not any(name.startswith("xl/") for name in names):
        return "it is a zip archive or a document, without a workbook", _OPEN_FIRST
    return None


class _Archive(zipfile.ZipFile):
    """A zip whose parts are checked before they are unpacked as a whole."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        entries = self.infolist()
        if len(entries) > _MAX_PARTS:
            raise ValueError(f"it has {len(entries):,} parts")
        self.check("together", sum(entry.file_size for entry in entries), _MAX_ALL)

    @staticmethod
    def check(what, n_bytes, limit):
        """Refuse, by a ValueError, a part or parts of too many bytes."""
        if n_bytes > limit:
            raise ValueError(f"its parts are too large ({what}: {n_bytes:,} bytes unpacked)")

    def size(self, name):
        """Bytes of a part, unpacked."""
        return self.getinfo(name).file_size

    def read(self, name, pwd=None):
        """Read a part, unless it is too much to be parsed."""
        is_xml = name.endswith((".xml", ".rels", ".vml"))
        self.check(name, self.size(name), _MAX_PART if is_xml else _MAX_OTHERS)
        part = super().read(name, pwd)
        if is_xml:
            self.check(name, len(part), _MAX_DOCTYPE if b"<!DOCTYPE" in part else _MAX_PART)
            if part.count(b"<") > _MAX_TAGS:
                raise ValueError(f"its part {name} has too many elements")
            _check_spread(part)
        return part


def _check_spread(part):
    """Refuse ranges of millions of cells, each of which openpyxl would make one by one."""
    from openpyxl.utils import range_boundaries

    spread = 0
    for ref in _RANGE.findall(part):
        if b":" in ref:
            left, top, right, bottom = range_boundaries(ref.decode())
            n_columns = (right or MAX_COLUMNS) - (left or 1) + 1
            spread += n_columns * ((bottom or _MAX_SPREAD) - (top or 1) + 1)
    if spread > _MAX_SPREAD:
        raise ValueError("merged cells, links or comments of millions of cells")


class Sheet:
    """The XML of a worksheet: its rows, and `head` and `tail` around them."""

    def __init__(self, archive: _Archive, name: str) -> None:
        self._archive, self._name = archive, name
        self.size = archive.size(name)
        parts = self._split()
        self.head = next(parts)
        self.tail = b""
        for part in parts:
            self.tail = part  # the last one is
        start = _BEGIN.search(self.head)
        root = _ROOT.search(self.head)
        self._root = self.head[: root.end()] if root else b""
        self._opening = self._closing = b""
        if start and root:
            self._opening = self._root + start.group()
            self._closing = b"</" + start[1] + b"sheetData></" + root[1] + b">"
        archive.check(name, self.size, _MAX_DOCTYPE if b"<!DOCTYPE" in self.head else _MAX_ALL)
        _check_spread(self.tail)

    def pieces(self) -> Iterator[bytes]:
        """The XML of the rows, a number of whole rows at once."""
        parts = self._split()
        next(parts)
        return (piece for piece, _ in itertools.pairwise(parts))

    def rows(self, piece: bytes) -> ElementTree.Element:
        """Parse a piece; gives the element whose children the rows are."""
        return ElementTree.fromstring(self._opening + piece + self._closing)[0]

    @property
    def links(self) -> list[workbook_links.Link]:
        """Where its cells lead."""
        relations = workbook_links.part_of(self._name)
        is_there = relations in self._archive.namelist()
        found = self._archive.read(relations) if is_there else b""
        return workbook_links.read(self._root, self.tail, found)

    @property
    def unmarked(self) -> bytes:
        """The cells that spreadsheet programs are not to mark as faulty, as XML."""
        found = _UNMARKED.search(self.tail)
        return found.group() if found else b""

    @property
    def extensions(self) -> bytes:
        """Those of the worksheet's extensions that openpyxl leaves out and people miss, as XML."""
        kept = b"".join(map(self._with_prefixes, _EXTENSION.findall(self.tail)))
        xml = b"<extLst>%b</extLst>" % _IDENTITY.sub(b"", kept) if kept else b""
        if kept:
            ElementTree.fromstring(xml)  # ParseError: cut at the wrong place
        return xml

    def _with_prefixes(self, element):
        """An element that declares what it uses, and not the worksheet's root."""
        start, root = _ROOT.match(element), _ROOT.search(self.head)
        declared = dict(_PREFIX.findall(root.group())) if start and root else {}
        for prefix, value in declared.items():
            if prefix not in start.group():
                element = element.replace(start[1], start[1] + prefix + value, 1)
        return element

    @property
    def stands_alone(self) -> bool:
        """Whether nothing before the rows changes what they mean elsewhere."""
        is_utf8 = b"encoding=" not in self.head[:99] or b"utf-8" in self.head[:99].lower()
        return is_utf8 and stands_alone(self.head)

    def _split(self):
        """Head, pieces, tail; the head ends with the tag before the rows."""
        with self._archive.open(self._name) as stream:
            text, start = b"", None
            while not start and (block := stream.read(max(_PIECE, len(text)))):
                text += block
                self._archive.check(self._name, len(text), _MAX_ROW)
                start = _BEGIN.search(text)
            if b"\0" in text[:8]:
                raise ValueError(f"its part {self._name} is UTF-16")
            if not start:
                yield from (text, b"")
                return
            ending = b"</" + start[1] + b"sheetData"
            cut = start.end()
            if start[2].endswith(b"/"):
                cut -= 2
                text = text[:cut] + b">" + ending + b">" + text[cut + 2 :]
                cut += 1
            yield text[:cut]
            text = yield from self._split_rows(stream, text[cut:], b"<" + start[1] + b"row", ending)
            while block := stream.read(max(_PIECE, len(text))):
                text += block
                self._archive.check(self._name, len(text), _MAX_PART)
            yield text

    def _split_rows(self, stream, text, row, ending):
        while (end := text.find(ending)) < 0:
            cut = text.rfind(row)  # what is before the last row's beginning is whole
            if cut > 0:
                yield text[:cut]
                text = text[cut:]
            self._archive.check(f"{self._name}, one row", len(text), _MAX_ROW)
            block = stream.read(max(_PIECE, len(text)))
            if not block:
                raise ValueError(f"its part {self._name} is cut off")
            text += block
        if end:
            yield text[:end]
        return text[end:]


def stands_alone(xml: bytes) -> bool:
    """Tell whether rows as XML need nothing but the styles of their workbook."""
    return not any(mark in xml for mark in _NOT_ALONE)


class Package:
    """A workbook as openpyxl reads it, without rows and links of its worksheets, and these.

    Rows come by the piece. openpyxl keeps styles, comments, filters, pictures and the like. Rows
    are kept as they are: it loses the results of formulas, rounds to 16 digits, and takes most of
    the time for them, and for links.

    Attributes
    ----------
    book : openpyxl.Workbook
    sheets : dict of str to Sheet
        By the worksheet's name, in order.
    """

    def __init__(self, content: bytes) -> None:
        from openpyxl.reader.excel import ExcelReader

        self._archive = _Archive(content)
        slim = io.BytesIO()
        by_name = {name: Sheet(self._archive, name) for name in self._sheet_names(content)}
        of_links = {workbook_links.part_of(name) for name in by_name}
        with zipfile.ZipFile(slim, "w") as package:
            others = set(self._archive.namelist()) - set(by_name)
            self._archive.check("others", sum(map(self._archive.size, others)), _MAX_OTHERS)
            for name in self._archive.namelist():
                sheet = by_name.get(name)
                if sheet:
                    part = sheet.head + workbook_links.without(sheet.tail)
                else:
                    part = self._archive.read(name)
                if name in of_links:
                    part = workbook_links.without_targets(part)
                package.writestr(name, part)
        self._reader = ExcelReader(slim)
        self._reader.read()
        self.book: openpyxl.Workbook = self._reader.wb
        titles = [sheet.title for sheet in self.book.worksheets]
        self.sheets = dict(zip(titles, by_name.values(), strict=True))
        self._check_styles()
        self._texts = dict(enumerate(self._reader.shared_strings))  # -1 is none of a dict

    def _sheet_names(self, content):
        """Names of the parts that are worksheets, in order."""
        from openpyxl.reader.excel import ExcelReader

        whole = ExcelReader(io.BytesIO(content))
        whole.archive = self._archive
        whole.read_manifest()
        whole.read_workbook()
        if _STRICT in self._archive.read(whole.parser.workbook_part_name):
            raise ValueError("it is a Strict Open XML workbook")
        found = [part for _, part in whole.parser.find_sheets() if "chartsheet" not in part.Type]
        if not found:
            raise ValueError("it holds no worksheet")
        return [part.target for part in found]

    def _check_styles(self):
        """Refuse a cell format whose font, fill or border is not there, as all programs do."""
        book = self.book
        limits = {"fontId": book._fonts, "fillId": book._fills, "borderId": book._borders}
        for style in book._cell_styles:
            for name, there in limits.items():
                if not 0 <= getattr(style, name) < len(there):
                    raise LookupError(f"a style has the {name} {getattr(style, name)}, not there")

    def lost(self, content: bytes) -> list[str]:
        """Kinds of what openpyxl leaves out, given the workbook as it writes it."""
        before, after = map(_counts, (self._archive, _Archive(content)))
        return sorted({_OF_PEOPLE[kind] for kind in before if after[kind] < before[kind]})

    def cells(self, title: str, only_values: bool = False) -> Iterator[tuple[Place, Cell]]:
        """Place, kind and value of the filled cells of a worksheet, in the order of the file.

        Of a formula it gives the formula, or with `only_values` its stored result.
        """
        from openpyxl.cell import MergedCell
        from openpyxl.worksheet._reader import WorkSheetParser

        book = self.book
        formats = book.epoch, book._date_formats, book._timedelta_formats
        parser = WorkSheetParser(None, self._texts, only_values, *formats)
        # Of merged cells the first one counts, nobody sees what the others hold.
        found = book[title]._cells.items()
        hidden = {place for place, cell in found if isinstance(cell, MergedCell)}
        n_styles = len(book._cell_styles)
        sheet = self.sheets[title]
        for piece in sheet.pieces():
            parser.row_dimensions.clear()
            rows = sheet.rows(_without_empty(piece)).iterfind(f"{_MAIN}row")
            for cell in itertools.chain.from_iterable(parser.parse_row(row)[1] for row in rows):
                place, of_cell = _checked(cell, n_styles)
                if place not in hidden:
                    yield place, of_cell

    def kept_rows(self, title: str) -> Iterator[bytes]:
        """The rows of a worksheet as XML that needs nothing but the styles of its workbook."""
        sheet = self.sheets[title]
        texts = None
        for piece in sheet.pieces():
            if sheet.stands_alone and stands_alone(piece):
                yield piece
                continue
            if texts is None:
                texts = self._shared_texts()
            rows = sheet.rows(piece)
            _resolve(rows, texts)
            for row in rows:
                yield ElementTree.tostring(row, "unicode").replace("\r", "&#13;").encode()

    def _shared_texts(self):
        """The elements of the texts that cells share; pronunciation is left out, as openpyxl does.

        {number: element}
        """
        from openpyxl.xml.constants import SHARED_STRINGS

        part = self._reader.package.find(SHARED_STRINGS)
        if part is None:
            return {}
        shared = self._archive.read(part.PartName[1:])
        texts = ElementTree.fromstring(shared).findall(f"{_MAIN}si")
        for text in texts:
            text.tag = "is"
            text[:] = [run for run in text if run.tag in (f"{_MAIN}t", f"{_MAIN}r")]
            for run in text.iter(f"{_MAIN}t"):
                run.text = (run.text or "").replace("x005F_", "")  # as openpyxl reads them
        return dict(enumerate(texts))


def _counts(archive):
    counts: collections.Counter[str] = collections.Counter()
    for name in archive.namelist():
        part = _PART.fullmatch(name)
        if part and part[1] == "drawings":
            counts["drawings"] += len(_ANCHOR.findall(archive.read(name)))
        elif part and part[1] in _OF_PEOPLE and part[2] != "_rels":
            # Colours and styles lie beside charts.
            counts[part[1]] += part[1] != "charts" or part[2].startswith("chart")
    return counts


def _without_empty(piece):
    """A piece without cells and rows that hold nothing, in the form that is quick to parse."""
    if b"<!" in piece:  # comments, and text that looks like tags
        return piece
    last = piece[piece.rfind(b"<row ") :]
    if last.startswith(b'<row r="') and not any(tag in piece for tag in _TAGS_OF_VALUES):
        return last
    if sum(map(piece.count, _SIGNS_OF_EMPTY)) > _FEW:
        piece = _EMPTY_ROWS.sub(b"", _EMPTY_CELLS.sub(b"", piece))
    # Makes the text of a cell what openpyxl reads in half the time: that of a formula's result.
    return _PLAIN_TEXT.sub(rb' t="str"><v>\1</v></c>', piece)


def _checked(cell, n_styles):
    """Place, kind and value of a cell that openpyxl's parser gives."""
    place, kind, value = (cell["row"], cell["column"]), cell["data_type"], cell["value"]
    if place[0] < 1 or not 1 <= place[1] <= MAX_COLUMNS:
        raise ValueError(f"a cell in row {place[0]}, column {place[1]}, where Excel has none")
    if not 0 <= cell["style_id"] < n_styles:
        raise LookupError(f"a cell has the style {cell['style_id']}, which is not there")
    if isinstance(value, str):
        return place, (kind, line_ends(value))
    if kind == "n" and value is not None and not abs(value) <= sys.float_info.max:
        return place, ("e", "#NUM!")  # as spreadsheet programs call it
    return place, (kind, value)


def line_ends(text: str) -> str:
    """Line ends as XML readers give them: the text of a cell and of its copy are the same."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _resolve(rows, texts):
    """Make rows independent of shared texts, of namespaces, and of parts that are left out."""
    for cell in rows.iter(f"{_MAIN}c"):
        value = cell.find(f"{_MAIN}v")
        if cell.get("t") == "s" and value is not None:
            text = texts[int(value.text)]
            if cell.find(f"{_MAIN}f") is None:
                cell.set("t", "inlineStr")
                cell[:] = [text]
            else:
                cell.set("t", "str")
                value.text = "".join(text.itertext())
        for name in ("cm", "vm"):  # of a part that openpyxl leaves out
            cell.attrib.pop(name, None)
    for element in rows.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name[0] == "{" and "XML" not in name]:
            del element.attrib[name]

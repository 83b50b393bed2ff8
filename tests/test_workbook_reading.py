"""Files that are no workbooks, that openpyxl cannot read, or that would take too much memory."""

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openpyxl
import pytest
import trees
import workbooks
from openpyxl.chart import BarChart, Reference
from workbooks import MAIN, add, edit, edit_parts, read, rows, save_as_excel, table

from utils import errors
from utils.storage import manifest, workbook, workbook_reading

SHEET = "xl/worksheets/sheet1.xml"
STYLES = "xl/styles.xml"
BOOK = "xl/workbook.xml"
AS_XLSX = "save it as Excel Workbook (.xlsx)"
REPOSITORY = Path(__file__).resolve().parents[1]

written = workbooks.small_workbook  # fixtures
path = workbooks.target_path


def replace(part, old, new, times=1):
    """Change one part of a workbook; the place must be there."""

    def change(parts):
        assert old in parts[part], parts[part][:3000]
        parts[part] = parts[part].replace(old, new, times)

    return lambda file: edit_parts(file, change)


def put(part, content):
    return lambda file: edit_parts(file, lambda parts: parts.__setitem__(part, content))


def drop(part):
    return lambda file: edit_parts(file, lambda parts: parts.__delitem__(part))


def strict(file):
    """As Excel saves as Strict Open XML Spreadsheet."""

    def change(parts):
        for name in parts:
            parts[name] = (
                parts[name]
                .replace(
                    b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
                    b"http://purl.oclc.org/ooxml/spreadsheetml/main",
                )
                .replace(
                    b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
                    b"http://purl.oclc.org/ooxml/officeDocument/relationships",
                )
            )

    edit_parts(file, change)


def chart_sheet_only(file):
    book = openpyxl.Workbook()
    book.create_chartsheet("Chart").add_chart(BarChart())
    book.remove(book["Sheet"])
    book.save(file)


def add_chart(book):
    chart = BarChart()
    chart.add_data(Reference(book["Manifest"], min_col=2, min_row=1, max_row=3))
    book["Manifest"].add_chart(chart, "H1")


def odd_chart(file):
    edit(file, add_chart)
    replace("xl/charts/chart1.xml", b'<barDir val="col"', b'<barDir val="up"')(file)
    replace("xl/charts/chart1.xml", b"<chart>", b"<chart><odd>")(file)


def utf16(file):
    def change(parts):
        text = re.sub(r"^<\?xml[^>]*\?>", "", parts[SHEET].decode())
        parts[SHEET] = f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode("utf-16")

    edit_parts(file, change)


def without_sheets(parts):
    parts[BOOK] = re.sub(rb"<sheets>.*</sheets>", b"<sheets/>", parts[BOOK])


def same_part_twice(file):
    edit(file, lambda book: book.create_sheet("Other"))
    rels = "xl/_rels/workbook.xml.rels"
    replace(rels, b"worksheets/sheet2.xml", b"worksheets/sheet1.xml")(file)


UNREADABLE = {
    "strict": strict,
    "chart sheet only": chart_sheet_only,
    "odd chart": odd_chart,
    "odd fill": replace(STYLES, b'patternType="gray125"', b'patternType="plaid"'),
    "font id": replace(STYLES, b'fontId="1"', b'fontId="999999999"'),
    "larger font id": replace(STYLES, b'fontId="1"', b'fontId="99999999999"'),
    "fill id": replace(STYLES, b'fillId="0"', b'fillId="-1"', -1),
    "negative style": replace(SHEET, b'" s="', b'" s="-'),
    "style id": replace(SHEET, b'" s="', b'" s="99999999'),
    "broken styles": put(STYLES, b"<styleSheet"),
    "no styles": put(STYLES, b""),
    "defined name": replace(
        BOOK, b"<calcPr", b'<definedNames><definedName odd="x"/></definedNames><calcPr'
    ),
    "calculation": replace(BOOK, b'calcId="', b'calcId="x'),
    "no sheet part": drop(SHEET),
    "no workbook part": drop(BOOK),
    "no content types": drop("[Content_Types].xml"),
    "no sheets": lambda file: edit_parts(file, without_sheets),
    "utf-16": utf16,
    "one part for two sheets": same_part_twice,
    "column XFE": replace(SHEET, b'r="D3"', b'r="XFE3"'),
    "row 0": replace(SHEET, b'r="D3"', b'r="D0"'),
    "place": replace(SHEET, b'r="D3"', b'r="3D"'),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-300]),
    "rows cut off": replace(SHEET, b"</sheetData>", b""),
    "merged all": replace(
        SHEET,
        b"</sheetData>",
        b'</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>',
    ),
    "merged columns": replace(
        SHEET, b"</sheetData>", b"</sheetData><mergeCells><mergeCell ref='A:XFD'/></mergeCells>"
    ),
    "linked all": replace(
        SHEET,
        b"</sheetData>",
        b'</sheetData><hyperlinks><hyperlink ref="A1:XFD1048576" location="A1"/></hyperlinks>',
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_openpyxl_cannot_read_is_one_line_with_what_to_do(written, kind):
    UNREADABLE[kind](written)
    before = written.read_bytes()
    result = trees.run(trees.MAKE_SPLIT, "--manifest_file", written)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {written}: cannot be read as an Excel workbook (.xlsx): ")
    assert AS_XLSX in line or line.endswith("download or copy it again")
    assert written.read_bytes() == before and list(written.parent.iterdir()) == [written]


def zipped(**parts):
    """A zip of these parts; two underscores stand for a slash, three for a dot."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as package:
        for name, content in parts.items():
            package.writestr(name.replace("___", ".").replace("__", "/"), content)
    return packed.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OPEN_FIRST = f"open it in a spreadsheet program and {AS_XLSX}"
OTHER_FILES = {
    "empty": (b"", "it is empty; download or save it again"),
    "zeros": (bytes(5000), "it holds zeros only; download or save it again"),
    "csv": (b"ID,seq\n1,2\n", f"it is text, perhaps a CSV table; {OPEN_FIRST}"),
    "tabs": (b"\xef\xbb\xbfID\tseq\r\n", f"it is text, perhaps a CSV table; {OPEN_FIRST}"),
    "xls": (OLE + bytes(600), f"it is a workbook of Excel 97 to 2003 (.xls); {OPEN_FIRST}"),
    "encrypted": (
        OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(99),
        f"it is encrypted; {AS_XLSX} without a password",
    ),
    "ods": (
        zipped(mimetype=b"application/vnd.oasis", content___xml=b"<x/>"),
        f"it is an OpenDocument file (.ods); {OPEN_FIRST}",
    ),
    "xlsb": (zipped(xl__workbook___bin=b"x"), f"it is a binary workbook (.xlsb); {OPEN_FIRST}"),
    "zip": (
        zipped(word__document___xml=b"x"),
        f"it is a zip archive or a document, without a workbook; {OPEN_FIRST}",
    ),
    "cut zip": (b"PK\x03\x04 no zip", "it is cut off or damaged; download or copy it again"),
    "html": (
        b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        f"it is a web page; download it again, or {OPEN_FIRST}",
    ),
    "xml": (
        b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        f"it is an XML spreadsheet of 2003; {OPEN_FIRST}",
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "it is a pointer of Git LFS; fetch the file itself (git lfs pull)",
    ),
    "annex": (
        b"/annex/objects/SHA256E-s5--00.xlsx\n",
        "it is a pointer of git-annex; fetch the file itself (git annex get)",
    ),
    "gzip": (b"\x1f\x8b\x08\x00\x00", "it is compressed by gzip; unpack it (gunzip)"),
    "office lock": (b"\x04user" + bytes(160), f"File is not a zip file; {AS_XLSX}"),
    "libreoffice lock": (
        b",user,host,25.11.2026 20:00,file:///home;",
        f"it is text, perhaps a CSV table; {OPEN_FIRST}",
    ),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_another_file_is_called_what_it_is(tmp_path, kind):
    content, text = OTHER_FILES[kind]
    file = tmp_path / "m.xlsx"
    file.write_bytes(content)
    with pytest.raises(errors.DamagedFileError) as caught:
        workbook.Workbook(file)
    assert str(caught.value) == f"{file}: cannot be read as an Excel workbook (.xlsx): {text}"
    assert caught.value.file == str(file) and caught.value.code == "damaged"


def test_pipes_and_folders_are_named_and_not_opened(tmp_path):
    pipe = tmp_path / "pipe.xlsx"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(errors.DamagedFileError, match="no regular file"):
            workbook.Workbook(path)


# ---- what would take long or much memory


def huge(file, part, *pieces):
    """Put a part of gigabytes, that of (bytes, times), into a workbook."""
    with zipfile.ZipFile(file) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name, content in parts.items():
            if name != part:
                target.writestr(name, content)
        with target.open(part, "w", force_zip64=True) as stream:
            for piece in (piece for piece, times in pieces for _ in range(times)):
                stream.write(piece)


MEGABYTE = 2**20
HEAD = f'<worksheet xmlns="{MAIN}"><sheetData>'.encode()
TAIL = b"</sheetData></worksheet>"
ROW = b'<row r="1"><c r="A1" t="inlineStr"><is><t>'
BOMBS = {
    "blanks": (SHEET, (HEAD, 1), (b" " * MEGABYTE, 300), (TAIL, 1)),
    "head": (SHEET, (HEAD[:-11], 1), (b" " * MEGABYTE, 300), (b"<sheetData>" + TAIL, 1)),
    "tail": (SHEET, (HEAD + b"</sheetData>", 1), (b" " * MEGABYTE, 300), (b"</worksheet>", 1)),
    "text": (SHEET, (HEAD + ROW, 1), (b"A" * MEGABYTE, 300), (b"</t></is></c></row>" + TAIL, 1)),
    "styles": (STYLES, (b" " * MEGABYTE, 300)),
    "picture": ("xl/media/image1.png", (b" " * MEGABYTE, 300)),
    "content types": ("[Content_Types].xml", (b" " * MEGABYTE, 300)),
    "formats": (
        STYLES,
        (f'<styleSheet xmlns="{MAIN}"><cellXfs>'.encode(), 1),
        (b"<xf/>" * 200_000, 25),
        (b"</cellXfs></styleSheet>", 1),
    ),
}
READ = """
import resource, sys
from utils import errors
from utils.storage import workbook
import pandas, openpyxl.reader.excel
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    print(len(workbook.Workbook(sys.argv[1]).table("Manifest")))
except errors.DatasetError as error:
    print(error)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime - before.ru_utime, (after.ru_maxrss - before.ru_maxrss) // 1024)
"""


def read_apart(file):
    """What reading a workbook prints, its CPU time in s and its memory in MB."""
    command = [sys.executable, "-c", READ, str(file)]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, check=True)
    text, figures = done.stdout.splitlines()
    return text, *map(float, figures.split())


@pytest.mark.parametrize("kind", BOMBS)
def test_gigabytes_in_a_small_file_are_refused_soon(written, kind):
    huge(written, *BOMBS[kind])
    text, seconds, megabytes = read_apart(written)
    assert text.startswith(f"{written}: cannot be read as") and text.endswith(AS_XLSX)
    assert "too large" in text or "too many elements" in text
    assert seconds < 5 and megabytes < 200


def entities(n_levels, width=10):
    """A DOCTYPE in which each entity is the one before, many times."""
    levels = [
        f'<!ENTITY e{level} "{f"&e{level - 1};" * width if level else "lol" * 99}">'
        for level in range(n_levels)
    ]
    return f"<!DOCTYPE worksheet [{''.join(levels)}]>".encode()


@pytest.mark.parametrize("part", [SHEET, STYLES, BOOK, "[Content_Types].xml"])
def test_entities_that_grow_are_refused_soon(written, part):
    def change(parts):
        xml = re.sub(rb"^<\?xml[^>]*\?>", b"", parts[part])
        root = re.search(rb"<[\w:]+[^>]*>", xml)
        parts[part] = entities(9) + xml[: root.end()] + b"<x>&e8;</x>" + xml[root.end() :]
        if part == SHEET:
            parts[part] = parts[part].replace(b"062Y", b"&e8;")

    edit_parts(written, change)
    text, seconds, megabytes = read_apart(written)
    assert text.startswith(f"{written}: cannot be read as") and text.endswith(AS_XLSX)
    assert seconds < 5 and megabytes < 300


def test_a_long_worksheet_with_a_doctype_is_refused(written):
    def change(parts):
        xml = re.sub(rb"^<\?xml[^>]*\?>", b"", parts[SHEET])
        long = xml.replace(b"</sheetData>", b"</sheetData>" + b" " * 2 * MEGABYTE)
        parts[SHEET] = entities(1) + long

    edit_parts(written, change)
    with pytest.raises(errors.DamagedFileError, match="too large"):
        workbook.Workbook(written)


EMPTY = {
    "rows": lambda row: f'<row r="{row}"/>',
    "formatted rows": lambda row: f'<row r="{row}" spans="1:4" s="0" customFormat="1"></row>',
    "formatted cells": lambda row: (
        f'<row r="{row}"><c r="A{row}" s="0"/><c r="B{row}" s="0"></c><c r="C{row}"><v/></c></row>'
    ),
}


def with_empty(file, kind, n_rows):
    """Put rows that hold nothing between the rows of a workbook and one more row."""
    pieces = ["".join(map(EMPTY[kind], range(s, s + 10_000))) for s in range(4, n_rows, 10_000)]
    with zipfile.ZipFile(file) as source:
        head, tail = source.read(SHEET).split(b"</sheetData>")
    last = f'<row r="{n_rows + 20_000}"><c r="A{n_rows + 20_000}"><v>7</v></c></row></sheetData>'
    middle = [(piece.encode(), 1) for piece in pieces]
    huge(file, SHEET, (head, 1), *middle, (last.encode() + tail, 1))


@pytest.mark.parametrize("kind", EMPTY)
def test_rows_and_cells_that_hold_nothing_take_no_memory(written, kind):
    with_empty(written, kind, 300_000)
    text, seconds, megabytes = read_apart(written)
    assert text == "3"
    assert seconds < 10 and megabytes < 150
    assert read(written)["ID"].tolist() == ["amos_0001", "amos_0004", "7"]


def test_a_cell_in_the_last_place_and_rows_without_numbers(written):
    change = b'<row><c><v>8</v></c></row><row r="1048576"><c r="XFD1048576"><v>9</v></c></row>'
    edit_empty = b"".join(b'<row r="%d"/>' % row for row in range(4, 300))
    replace(SHEET, b"</sheetData>", edit_empty + change + b"</sheetData>")(written)
    with pytest.warns(errors.DataWarning, match="without a name"):
        assert read(written)["ID"].tolist() == ["amos_0001", "amos_0004", "8", ""][:3]
    cells = dict(workbook_reading.Package(written.read_bytes()).cells("Manifest"))
    assert cells[300, 1] == ("n", 8) and cells[1048576, 16384] == ("n", 9)


def test_a_sheet_is_added_to_a_large_one_in_pieces(written, monkeypatch):
    monkeypatch.setattr(workbook_reading, "_PIECE", 200)
    monkeypatch.setattr(workbook, "_KEPT_SHEET", 100)
    monkeypatch.setattr(workbook, "_SPOOLED", 100)
    monkeypatch.setattr(workbook, "_ROWS_AT_ONCE", 7)
    many = table(ID=[f"amos_{n:04d}" for n in range(50)], n=list(range(50)))
    expected = workbook.to_bytes({"Manifest": many})
    manifest.Target(written).write({"Manifest": many})
    assert written.read_bytes() == expected
    assert not manifest.Target(written).was_changed
    assert workbook.Workbook(written).header("Manifest") == ["ID", "n"]
    assert manifest.Target(written).write({"Manifest": many}) is False
    assert add(written, "split", table(ID=["amos_0001"], split=["train"])) is True
    assert not manifest.Target(written).was_changed
    assert rows(written) == [{"ID": f"amos_{n:04d}", "n": str(n)} for n in range(50)]
    save_as_excel(written)
    add(written, "other", table(ID=["amos_0001"], split=["train"]))
    assert len(rows(written)) == 50 and rows(written, "split")[0]["split"] == "train"
    assert not manifest.Target(written).was_changed


# ---- what a worksheet is added to


def test_a_chart_is_kept_and_a_picture_is_not_lost(written):
    edit(written, add_chart)
    assert add(written, "split", table(a=["x"]))
    assert len(openpyxl.load_workbook(written)["Manifest"]._charts) == 1
    put("xl/media/image1.png", b"no picture that anything shows")(written)
    before = written.read_bytes()
    with pytest.raises(errors.DatasetError, match="without losing its pictures; move these"):
        add(written, "other", table(a=["x"]))
    assert written.read_bytes() == before
    assert rows(written, "split") == [{"a": "x"}]


def test_drawings_that_hold_nothing_may_go(written):
    # Google Sheets writes one beside each worksheet.
    put("xl/drawings/drawing1.xml", b'<d:wsDr xmlns:d="http://schemas.example/drawing"/>')(written)
    assert add(written, "split", table(a=["x"]))


def test_a_text_box_beside_a_chart_is_not_lost(written):
    edit(written, add_chart)
    box = (
        b"<oneCellAnchor><from><col>1</col><colOff>0</colOff><row>1</row><rowOff>0</rowOff></from>"
        b'<ext cx="9" cy="9"/><sp><nvSpPr><cNvPr id="3" name="T"/><cNvSpPr/></nvSpPr><spPr/></sp>'
        b"<clientData/></oneCellAnchor></wsDr>"
    )
    replace("xl/drawings/drawing1.xml", b"</wsDr>", box)(written)
    before = written.read_bytes()
    with pytest.raises(
        errors.DatasetError, match="without losing its shapes or text boxes; move these"
    ):
        add(written, "other", table(a=["x"]))
    assert written.read_bytes() == before


LOST = {
    "xl/threadedComments/threadedComment1.xml": "comments (notes are kept)",
    "xl/queryTables/queryTable1.xml": "queries",
    "xl/vbaProject.bin": "macros",
    "xl/charts/chartEx1.xml": "charts",
}


@pytest.mark.parametrize("part", LOST)
def test_what_would_get_lost_is_called_by_its_name(written, part):
    put(part, b"<x/>")(written)
    with pytest.raises(errors.DatasetError) as caught:
        add(written, "other", table(a=["x"]))
    assert f"without losing its {LOST[part]}; move these" in str(caught.value)


X14 = "http://schemas.microsoft.com/office/spreadsheetml/2009/9/main"
# As Excel writes them; it declares the prefix of uid at the root, and some tools all prefixes.
EXTENSIONS = (
    b'<extLst><ext uri="{78C0D931-6437-407d-A8EE-F0AAD7539E65}"><x14:unknown/></ext>'
    b'<ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"><x14:dataValidations count="1">'
    b'<x14:dataValidation type="list" xr:uid="{00000000-0002-0000-0000-000000000000}">'
    b"<x14:formula1><xm:f>Lists!$A$1:$A$3</xm:f></x14:formula1> <xm:sqref>D2:D9</xm:sqref>"
    b"</x14:dataValidation></x14:dataValidations></ext>"
    b'<ext xmlns:x14="%b" uri="{05C60535-1F16-4fd2-B633-F4F36F0B64E0}">'
    b"<x14:sparklineGroups/></ext></extLst></worksheet>"
) % X14.encode()
PREFIXES = {"x14": X14, "xm": "http://xm.example", "xr": "http://xr.example"}


def test_lists_of_other_sheets_and_sparklines_are_kept(written):
    declared = "".join(f' xmlns:{prefix}="{name}"' for prefix, name in PREFIXES.items()).encode()
    replace(SHEET, b"<worksheet", b"<worksheet" + declared)(written)
    replace(SHEET, b"</worksheet>", EXTENSIONS)(written)
    assert add(written, "one", table(a=["x"]))
    assert add(written, "two", table(a=["x"]))
    with zipfile.ZipFile(written) as package:
        root = ElementTree.fromstring(package.read(SHEET))
    assert root[-1].tag == f"{{{MAIN}}}extLst"
    lists, lines = (ext[0] for ext in root[-1])
    assert lists.tag == f"{{{X14}}}dataValidations" and lines.tag == f"{{{X14}}}sparklineGroups"
    assert "".join(lists.itertext()).split() == ["Lists!$A$1:$A$3", "D2:D9"]
    assert lists[0].attrib == {"type": "list"}
    assert len(rows(written)) == 2 and not manifest.Target(written).was_changed


# ---- odd content


def change_cell(file, cell):
    def change(parts):
        parts[SHEET], count = re.subn(rb'<c r="D2".*?</c>', cell, parts[SHEET])
        assert count == 1

    edit_parts(file, change)


NAMED = {
    b'<c r="D2"><v>1e400</v></c>': "cell D2 holds the error #NUM!",
    b'<c r="D2"><v>' + b"9" * 400 + b"</v></c>": "cell D2 holds the error #NUM!",
    b'<c r="D2" t="e"><v>#DIV/0!</v></c>': "cell D2 holds the error #DIV/0!",
    b'<c r="D2" t="s"><v>0</v></c>': "cannot be read as an Excel workbook",
    b'<c r="D2" t="s"><v>-1</v></c>': "cannot be read as an Excel workbook",
    b'<c r="D2"><v>nan</v></c>': "cannot be read as an Excel workbook",
    b'<c r="D2" t="d"><v>2001-13-45</v></c>': "cannot be read as an Excel workbook",
    b'<c r="D2" t="b"><v>maybe</v></c>': "cannot be read as an Excel workbook",
    b'<c r="D2"><f t="shared" si="7">A1&amp;"</f><v>1</v></c>'
    b'<c r="E2"><f t="shared" si="7"/><v>1</v></c>': "cannot be read as an Excel workbook",
}


@pytest.mark.parametrize("number", range(len(NAMED)))
def test_a_cell_that_cannot_be_read_is_named(written, number):
    cell, text = list(NAMED.items())[number]
    change_cell(written, cell)
    with pytest.raises(errors.DatasetError, match=text):
        read(written)
    assert manifest.Target(written).was_changed


def test_a_date_that_no_calendar_has_is_named(written):
    edit(written, lambda book: setattr(book["Manifest"]["B2"], "number_format", "yyyy-mm-dd"))
    replace(SHEET, b"<v>512</v>", b"<v>99999999999</v>")(written)
    with pytest.raises(errors.DatasetError, match="cell B2 holds the error #VALUE!"):
        read(written)


MUTATED = [
    SHEET,
    STYLES,
    BOOK,
    "[Content_Types].xml",
    "xl/sharedStrings.xml",
    "docProps/custom.xml",
]


@pytest.mark.filterwarnings("ignore::utils.errors.DataWarning")
@pytest.mark.parametrize("seed", range(8))
def test_changed_bytes_in_the_parts_are_read_or_named(written, seed):
    edit(written, lambda book: book["Manifest"].merge_cells("F1:G2"))
    if seed % 2:
        save_as_excel(written)
    with zipfile.ZipFile(written) as source:
        whole = {name: source.read(name) for name in source.namelist()}
    rng = np.random.default_rng(seed)
    n_refused = 0
    for _ in range(60):
        parts = dict(whole)
        names = [name for name in MUTATED if name in parts] + [SHEET] * 3
        name = names[rng.integers(len(names))]
        changed = bytearray(parts[name])
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(len(changed))
            changed[place] = rng.choice(list(b"<>/\"'= 09-aAzZ&;:\0\xff"))
            if rng.random() < 0.2:
                del changed[place : place + rng.integers(1, 30)]
        parts[name] = bytes(changed)
        written.write_bytes(zipped_again(parts))
        try:
            read(written)
            add(written, "split", table(a=["x"]))
        except errors.DatasetError as error:
            n_refused += 1
            assert "\n" not in str(error)
    assert 10 < n_refused < 60


def zipped_again(parts):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return packed.getvalue()

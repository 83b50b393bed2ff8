"""Links and looks of other worksheets, ours and those of people, when one is added."""

import openpyxl
import pytest
import workbooks
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule, ColorScaleRule, FormulaRule
from openpyxl.styles import PatternFill
from openpyxl.worksheet.hyperlink import Hyperlink
from workbooks import add, edit, edit_parts, read, save_as_excel, table

from utils import errors
from utils.storage import workbook, workbook_links, workbook_looks

SHEET, TARGETS = "xl/worksheets/sheet1.xml", "xl/worksheets/_rels/sheet1.xml.rels"
LINKS = {"ID": ["../qc/index.html#/amos_0001", "../qc/index.html#/amos_0004"]}

path = workbooks.target_path  # fixture


@pytest.fixture
def linked(path):
    path.parent.mkdir()
    look = workbook_looks.Look({(0, "szx"): "odd", (1, "age"): "failed"}, LINKS)
    path.write_bytes(workbook.to_bytes({"Manifest": workbooks.small()}, {"Manifest": look}))
    return path


def links_of(path, sheet="Manifest"):
    book = openpyxl.load_workbook(path)
    return {
        cell.coordinate: (
            *(cell.hyperlink.target, cell.hyperlink.location),
            *(cell.hyperlink.tooltip, cell.hyperlink.display),
        )
        for row in book[sheet].iter_rows()
        for cell in row
        if cell.hyperlink
    }


def look_of(path, name="Manifest"):
    """All of the look of a worksheet that openpyxl tells."""
    sheet = openpyxl.load_workbook(path)[name]
    rules = [
        (str(area.sqref), rule.type, rule.formula, rule.dxf and rule.dxf.fill.bgColor.rgb)
        for area in sheet.conditional_formatting
        for rule in area.rules
    ]
    widths = {letter: size.width for letter, size in sheet.column_dimensions.items()}
    heights = {row: size.height for row, size in sheet.row_dimensions.items()}
    cells = {
        cell.coordinate: (
            *(cell.value, cell.number_format, cell.fill.fgColor.rgb, cell.font.b, cell.font.u),
            *(
                cell.alignment.horizontal,
                cell.alignment.vertical,
                cell.comment and cell.comment.text,
            ),
        )
        for row in sheet.iter_rows()
        for cell in row
    }
    panes = sheet.freeze_panes, sheet.auto_filter.ref, widths, heights
    return panes, rules, cells, links_of(path, name)


def by_hand(book):
    """What a person may add to our sheet, and a sheet of her own."""
    sheet = book["Manifest"]
    sheet["B2"].comment = Comment("why", "me")
    sheet["B3"].hyperlink = Hyperlink("B3", location="'My notes'!A1", display="here")
    sheet["C2"].hyperlink = "https://zenodo.org/records/7262581?a=1&b=<2>#files"
    sheet["C2"].hyperlink.tooltip = 'two\nlines "and" a tab\t'
    blue = PatternFill("solid", bgColor="0000FF")
    sheet.conditional_formatting.add("B2:B9", CellIsRule("greaterThan", ["5"], fill=blue))
    sheet.conditional_formatting.add("C2:C9", FormulaRule(["$B2=7"], fill=blue))
    notes = book.create_sheet("My notes", 0)
    notes["A1"], notes["A2"] = "see", 2
    notes["A1"].hyperlink = "ä b.txt"
    notes.conditional_formatting.add("A1:A9", ColorScaleRule("min", None, "FF0000", "max"))
    notes.freeze_panes, notes.auto_filter.ref = "B3", "A1:A2"


@pytest.mark.parametrize("save", [lambda path: None, save_as_excel])
def test_other_sheets_keep_all_of_their_look(linked, save):
    edit(linked, by_hand)
    save(linked)
    before = {name: look_of(linked, name) for name in ("Manifest", "My notes")}
    assert before["Manifest"][3]["A2"][:2] == ("../qc/index.html", "/amos_0001")
    assert before["Manifest"][3]["B3"] == (None, "'My notes'!A1", None, "here")
    assert before["Manifest"][3]["C2"][2] == 'two\nlines "and" a tab\t'
    assert len(before["Manifest"][1]) == 3
    look = workbook_looks.Look({(0, "a"): "odd"}, {"a": ["x#/y"]})
    book = workbook.Workbook(linked)
    linked.write_bytes(book.with_sheet("split", table(a=["z"]), renew=False, look=look))
    assert {name: look_of(linked, name) for name in before} == before
    assert links_of(linked, "split") == {"A2": ("x", "/y", None, None)}
    assert openpyxl.load_workbook(linked)["split"]["A2"].fill.fgColor.rgb == "00F8CBAD"


def test_a_sheet_keeps_its_links_however_often_others_change(linked):
    before = links_of(linked)
    assert len(before) == 2
    sizes = set()
    for number in range(3):
        add(linked, "split", table(a=[str(number)]))
        assert links_of(linked) == before
        with openpyxl.reader.excel.ZipFile(linked) as package:
            sizes.add((len(package.read(SHEET)), len(package.read(TARGETS))))
    assert len(sizes) == 1
    assert not workbook.Workbook(linked).was_changed


def test_a_replaced_sheet_has_its_new_links_alone(linked):
    add(linked, "split", table(a=["x"]))
    add(linked, "Manifest", table(ID=["amos_0009"]))
    assert links_of(linked) == {}


def test_what_excel_marks_no_cell_for_is_kept(linked):
    add(linked, "split", table(a=["x"]))
    add(linked, "other", table(a=["x"]))
    with openpyxl.reader.excel.ZipFile(linked) as package:
        parts = [package.read(f"xl/worksheets/sheet{number}.xml") for number in (1, 2, 3)]
    areas = [b"A1:D3", b"A1:A2", b"A1:A2"]
    for part, area in zip(parts, areas, strict=True):
        mark = b'<ignoredErrors><ignoredError sqref="%b" numberStoredAsText="1"/></ignoredErrors>'
        assert part.count(mark % area) == 1


def change(old, new, part=SHEET):
    def replace(parts):
        assert old in parts[part], parts[part]
        parts[part] = parts[part].replace(old, new)

    return lambda path: edit_parts(path, replace)


def prefixed(path):
    def replace(parts):
        xml = parts[SHEET].replace(
            b"<worksheet ", b'<worksheet xmlns:x="%b" ' % workbooks.MAIN.encode()
        )
        for name in (b"hyperlinks", b"hyperlink"):
            xml = xml.replace(b"<%b " % name, b"<x:%b " % name).replace(
                b"</%b>" % name, b"</x:%b >" % name
            )
        parts[SHEET] = xml

    edit_parts(path, replace)


def quoted(path):
    change(b'Type="', b"Type='", TARGETS)(path)
    change(b'/hyperlink"', b"/hyperlink'", TARGETS)(path)


OTHER_TOOLS = {
    "prefixed": prefixed,
    "identity": change(b'<hyperlink ref="A2"', b'<hyperlink xr:uid="{1}" ref="A2"'),
    "quotes": quoted,
    "prefix of relations": change(b"r:id", b"q:id"),
}
OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
declare = change(b"<worksheet ", b'<worksheet xmlns:xr="http://x" xmlns:q="%b" ' % OFFICE)


@pytest.mark.parametrize("kind", OTHER_TOOLS)
def test_links_as_other_tools_write_them_are_kept(linked, kind):
    before = links_of(linked)
    OTHER_TOOLS[kind](linked)
    declare(linked)
    assert links_of(linked) == before
    assert len(read(linked)) == 2
    add(linked, "split", table(a=["x"]))
    assert links_of(linked) == before


def test_a_link_without_its_target_is_none(linked):
    change(b'Id="link1"', b'Id="other"', TARGETS)(linked)
    change(b' location="/amos_0001"', b"")(linked)
    assert len(read(linked)) == 2
    add(linked, "split", table(a=["x"]))
    assert list(links_of(linked)) == ["A3"]


def test_broken_links_are_one_clear_error(linked):
    change(b"</hyperlinks>", b"<</hyperlinks>")(linked)
    with pytest.raises(errors.DamagedFileError, match="cannot be read as an Excel workbook"):
        add(linked, "split", table(a=["x"]))


def test_no_links_are_no_xml():
    assert workbook_links.to_xml([]) == (b"", b"")
    assert workbook_links.read(b"<worksheet>", b"<pageMargins/></worksheet>", b"") == []


def test_an_empty_list_of_links_is_none(linked):
    def empty(parts):
        head, _, tail = parts[SHEET].partition(b"<hyperlinks")
        parts[SHEET] = head + b"<hyperlinks/>" + tail.partition(b"</hyperlinks>")[2]

    edit_parts(linked, empty)
    add(linked, "split", table(a=["x"]))
    assert links_of(linked) == {}

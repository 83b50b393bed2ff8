"""How a worksheet looks: panes, alignment, widths, colours, links; its cells are not touched."""

import io
import zipfile
from xml.etree import ElementTree

import openpyxl
import pytest
from workbooks import add, edit, read, table

from utils.storage import manifest, workbook, workbook_looks

TRANSFORM = "[[-1.0 0.0 0.0 5.0]\n [0.0 1.0 0.0 6.0]\n [0.0 0.0 1.0 7.0]\n [0.0 0.0 0.0 1.0]]"
YELLOW, ORANGE, RED, BLUE = "00FFEB9C", "00F8CBAD", "00FFC7CE", "000563C1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.xlsx"


def samples(n=3, **columns):
    """A manifest of n samples."""
    numbers = range(1, n + 1)
    return table(
        ID=[f"amos_{number:04d}" for number in numbers],
        seq=[f"{number:04d}" for number in numbers],
        sex=["M", "UND", "F"][:n],
        subset=["train"] * n,
        birth_date=["19490101"] * n,
        volume=[f"train/amos_{number:04d}_volume.nii.gz" for number in numbers],
        mask_01_spleen=[f"train/{'x' * 50}_{number}.nii.gz" for number in numbers],
        szx=[512] * n,
        spx=["0.78"] * n,
        transform=[TRANSFORM] * n,
        **columns,
    )


def sheet_of(path, cells, look=workbook_looks.PLAIN):
    manifest.Target(path, overwrite=True).write({"Manifest": cells}, {"Manifest": look})
    return openpyxl.load_workbook(path)["Manifest"]


def column(sheet, name):
    """The cells of a column, its name first."""
    letters = {cell.value: cell.column_letter for cell in sheet[1]}
    return list(sheet[letters[name]])


@pytest.mark.parametrize(
    "names, pane",
    [
        (["file_path", "subset", "seq", "type", "szx"], "B2"),
        (["ID", "seq", "sex", "subset", "manufacturer"], "E2"),
        (["ID", "subset", "label_index", "label_name", "centroid_x"], "E2"),
        (["label_index", "label_name", "regions"], "C2"),
        (["note", "ID"], "B2"),
    ],
)
def test_the_columns_that_say_which_row_it_is_stay_in_view(path, names, pane):
    sheet = sheet_of(path, table(**{name: ["x"] for name in names}))
    assert sheet.freeze_panes == pane
    assert sheet.auto_filter.ref == f"A1:{chr(64 + len(names))}2"
    assert sheet["A1"].font.bold and sheet["A1"].fill.fgColor.rgb == "00D9E1F2"


def test_frozen_columns_leave_most_of_the_window_free(path):
    sheet = sheet_of(path, table(ID=["x" * 30], seq=["0001"], sex=["y" * 30], subset=["train"]))
    assert sheet.freeze_panes == "C2"


def test_numbers_stand_at_the_right_though_they_are_text(path):
    sheet = sheet_of(path, samples(odd=["nan", "", "-1.5e3"], id=["0012", "7", "8"]))
    right = {cell.value for cell in sheet[1] if column(sheet, cell.value)[1].alignment.horizontal}
    assert right == {"szx", "spx", "odd"}  # no IDs, no days, no leading zeros
    for name in right:
        filled = [cell for cell in column(sheet, name) if cell.value is not None]
        assert {cell.alignment.horizontal for cell in filled} == {"right"}
    kinds = {name: column(sheet, name)[1] for name in ("szx", "spx", "seq")}
    assert [cell.data_type for cell in kinds.values()] == ["n", "s", "s"]
    assert [cell.number_format for cell in kinds.values()] == ["General", "@", "@"]


def test_unknown_among_numbers_leaves_them_numbers(path):
    sheet = sheet_of(path, table(ID=["a", "b"], weight=["UND", "70"], none=["UND", ""]))
    assert column(sheet, "weight")[2].alignment.horizontal == "right"
    assert column(sheet, "none")[1].alignment.horizontal is None


def test_a_transform_is_shown_on_one_line_and_its_text_stays(path):
    sheet = sheet_of(path, samples())
    for cell in column(sheet, "transform")[1:]:
        assert cell.value == TRANSFORM
        assert not cell.alignment.wrap_text and cell.alignment.vertical == "top"
        # LibreOffice breaks the line all the same: the first one is what the row has room for.
        assert sheet.row_dimensions[cell.row].height == 14.4
    assert sheet_of(path, table(ID=["x"])).row_dimensions[2].height is None


def test_widths_fit_text_and_header(path):
    cells = samples(short=["x"] * 3, long=["x" * 100] * 3)
    links = {"volume": ["x" * 70] * 3, "ID": ["x"] * 3}
    sheet = sheet_of(path, cells, workbook_looks.Look(links=links))
    width = {cell.value: sheet.column_dimensions[cell.column_letter].width for cell in sheet[1]}
    assert width["ID"] == len("amos_0001") + 2
    assert width["birth_date"] == len("birth_date") + 4  # the button of the filter
    assert width["volume"] == len("train/amos_0001_volume.nii.gz") + 2
    assert width["mask_01_spleen"] == len("mask_01_spleen") + 4
    assert (width["short"], width["long"], width["szx"]) == (9, 40, 8)


def test_unknown_values_are_coloured_until_a_person_corrects_them(path):
    sheet = sheet_of(path, samples())
    ((area, (rule,)),) = [(str(one.sqref), one.rules) for one in sheet.conditional_formatting]
    assert area == "A2:J4"
    assert (rule.type, rule.operator, rule.formula) == ("cellIs", "equal", ['"UND"'])
    assert rule.dxf.fill.bgColor.rgb == YELLOW
    assert sheet["C3"].value == "UND" and sheet["C3"].fill.fill_type is None


def test_odd_and_failed_cells_are_coloured_whatever_they_hold(path):
    marks = {(0, "szx"): "odd", (1, "spx"): "failed", (2, "volume"): "failed"}
    links = {"volume": ["a", "", "b"]}
    sheet = sheet_of(path, samples(), workbook_looks.Look(marks, links))
    szx, spx = column(sheet, "szx"), column(sheet, "spx")
    assert (szx[1].fill.fgColor.rgb, szx[1].font.bold) == (ORANGE, False)
    assert (spx[2].fill.fgColor.rgb, spx[2].font.bold) == (RED, True)
    assert (szx[1].value, szx[1].data_type, szx[1].number_format) == (512, "n", "General")
    assert (spx[2].value, spx[2].data_type, spx[2].number_format) == ("0.78", "s", "@")
    assert {szx[1].alignment.horizontal, spx[2].alignment.horizontal} == {"right"}
    volumes = column(sheet, "volume")[1:]
    assert [cell.fill.fgColor.rgb for cell in volumes] == ["00000000", "00000000", RED]
    assert [cell.font.underline for cell in volumes] == ["single", None, "single"]
    assert volumes[0].font.color.rgb == BLUE
    filled = [cell for row in sheet.iter_rows(min_row=2) for cell in row if cell.fill.fill_type]
    assert len(filled) == 3


HOSTILE = {
    "=cmd()|x!A1": "%3Dcmd%28%29%7Cx%21A1",
    "javascript:alert(1)": "javascript%3Aalert%281%29",
    "a b/ä#1%20?.nii.gz": "a%20b/ä%231%2520%3F.nii.gz",
    'x"><evil/>&\n\\': "x%22%3E%3Cevil/%3E%26%0A%5C",
    "肝臓/amos_0001.nii.gz": "肝臓/amos_0001.nii.gz",
    "/etc/passwd": "",
    "//server/share": "",
    "": "",
    "x" * 2080: "",
    "half\udc80": "",
}


@pytest.mark.parametrize("text, expected", HOSTILE.items())
def test_no_text_becomes_another_scheme_server_or_fragment(text, expected):
    assert workbook_looks.reference(text) == expected


def test_a_fragment_is_a_place_on_a_page():
    assert workbook_looks.reference("qc/index.html", "amos_0001") == "qc/index.html#/amos_0001"
    assert workbook_looks.reference("i.html", 'a/#"ü') == "i.html#/a%2F%23%22ü"


@pytest.mark.parametrize(
    "text, below",
    [("a/b", True), ("a..b", True), ("", False), ("/a", False), ("..", False), ("a/../b", False)],
)
def test_what_leads_out_of_a_folder(text, below):
    assert workbook_looks.is_below(text) is below


def test_links_lead_to_file_and_place_and_are_no_formula(path):
    links = {
        "ID": ["../qc/index.html#/amos_0001", "", "../qc/index.html#/amos_0003"],
        "volume": [workbook_looks.reference(text) for text in list(HOSTILE)[:3]],
    }
    sheet = sheet_of(path, samples(), workbook_looks.Look(links=links))
    found = {
        cell.coordinate: (cell.hyperlink.target, cell.hyperlink.location)
        for row in sheet.iter_rows()
        for cell in row
        if cell.hyperlink
    }
    assert found == {
        "A2": ("../qc/index.html", "/amos_0001"),
        "A4": ("../qc/index.html", "/amos_0003"),
        "F2": ("%3Dcmd%28%29%7Cx%21A1", None),
        "F3": ("javascript%3Aalert%281%29", None),
        "F4": ("a%20b/ä%231%2520%3F.nii.gz", None),
    }
    assert read(path).equals(workbook.as_text(samples()))
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}


def test_a_sheet_with_more_links_than_excel_takes_has_none(path, monkeypatch):
    monkeypatch.setattr(workbook_looks, "MAX_LINKS", 3)
    look = workbook_looks.Look(links={"ID": ["a"] * 3, "volume": ["b", "", ""]})
    sheet = sheet_of(path, samples(), look)
    assert not any(cell.hyperlink for row in sheet.iter_rows() for cell in row)
    assert column(sheet, "ID")[1].font.underline is None
    three = workbook_looks.Look(links={"ID": ["a"] * 3})
    assert all(
        cell.hyperlink for cell in column(sheet_of(path, samples(szy=[1] * 3), three), "ID")[1:]
    )


def parts_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        return {name: package.read(name) for name in package.namelist()}


# As ECMA-376 orders them.
ORDER = (
    "sheetPr dimension sheetViews sheetFormatPr cols sheetData autoFilter conditionalFormatting "
    "hyperlinks pageMargins ignoredErrors"
).split()


def test_the_xml_is_well_formed_and_in_order():
    look = workbook_looks.Look({(0, "ID"): "odd"}, {"ID": ["ä&<b.html#/1", "", "x"]})
    tables = {"Manifest": samples(), "Empty": workbook.frame(["ID", "seq"], [])}
    content = workbook.to_bytes(tables, {"Manifest": look})
    parts = parts_of(content)
    trees = {name: ElementTree.fromstring(part) for name, part in parts.items()}
    sheet = trees["xl/worksheets/sheet1.xml"]
    assert [element.tag.rpartition("}")[2] for element in sheet] == ORDER
    (unmarked,) = sheet[-1]
    assert unmarked.attrib == {"sqref": "A1:J4", "numberStoredAsText": "1"}
    targets = trees["xl/worksheets/_rels/sheet1.xml.rels"]
    assert [entry.get("Target") for entry in targets] == ["ä&<b.html", "x"]
    assert {entry.get("TargetMode") for entry in targets} == {"External"}
    assert "xl/worksheets/_rels/sheet2.xml.rels" not in parts
    assert workbook.to_bytes(tables, {"Manifest": look}) == content


def test_neither_digest_nor_cells_depend_on_the_look(path):
    look = workbook_looks.Look({(0, "szx"): "odd"}, {"ID": ["a", "b", "c"]})
    sheet_of(path, samples())
    plain = workbook.Workbook(path)
    path.unlink()
    sheet_of(path, samples(), look)
    looked = workbook.Workbook(path)
    assert looked.content != plain.content and not looked.was_changed
    assert looked.table("Manifest", typed=True).equals(plain.table("Manifest", typed=True))
    digests = [parts_of(book.content)["docProps/custom.xml"] for book in (plain, looked)]
    assert digests[0] == digests[1]
    # What is there already keeps its look.
    assert manifest.Target(path).write({"Manifest": samples()}) is False
    assert path.read_bytes() == looked.content


def test_a_correction_by_hand_is_read_and_keeps_the_look(path):
    look = workbook_looks.Look({(0, "szx"): "odd"}, {"volume": ["a.nii.gz", "b", "c"]})
    sheet_of(path, samples(), look)
    edit(path, lambda book: book["Manifest"].__setitem__("C3", "F"))
    assert read(path)["sex"].tolist() == ["M", "F", "F"]
    assert manifest.Target(path).was_changed
    add(path, "split", samples())
    sheet = openpyxl.load_workbook(path)["Manifest"]
    assert column(sheet, "volume")[1].hyperlink.target == "a.nii.gz"
    assert column(sheet, "szx")[1].fill.fgColor.rgb == ORANGE
    assert (sheet.freeze_panes, len(sheet.conditional_formatting)) == ("E2", 1)

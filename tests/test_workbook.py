"""Cells of workbooks: text stays text, other worksheets stay as they are."""

import datetime
import hashlib
import io
import re
import time
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest
import workbooks
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.worksheet.formula import ArrayFormula
from workbooks import add, edit, edit_parts, read, rows, save_as_excel, small, table

from utils import errors
from utils.storage import manifest, workbook

SHEET = "xl/worksheets/sheet1.xml"
TRICKY = [
    "0001",
    "19490101",
    "NA",
    "None",
    "=1+1",
    "'x",
    "#N/A",
    "TRUE",
    "1e5",
    "-0",
    " blank ",
    "[[1 0]\n [0 1]]",
    "<&>\"'",
    "Zürich 肝臓 🫀",
    "2020-01-01",
    "a\tb",
    "0,1,2",
]


path, written = workbooks.target_path, workbooks.small_workbook  # fixtures


# ---- values


def test_text_stays_text_for_us_openpyxl_and_pandas(path):
    manifest.Target(path).write({"Manifest": table(value=TRICKY)})
    assert read(path)["value"].tolist() == TRICKY
    cells = [row[0] for row in openpyxl.load_workbook(path)["Manifest"].iter_rows(min_row=2)]
    assert [cell.value for cell in cells] == TRICKY
    assert {cell.data_type for cell in cells} == {"s"}
    assert {cell.number_format for cell in cells} == {"@"}
    frame = pd.read_excel(path, dtype=str, keep_default_na=False, engine="openpyxl")
    assert frame["value"].tolist() == TRICKY


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(
                st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
                min_size=1,
                max_size=20,
            ),
            st.integers(-(2**53), 2**53),
            st.floats(-1e300, 1e300),
        ),
        max_size=8,
    )
)
def test_what_is_written_is_read(values):
    given_table = table(head=["x"] * len(values), value=values)
    content = workbook.to_bytes({"Manifest": given_table})
    book = openpyxl.load_workbook(io.BytesIO(content))
    read = [row[1].value for row in book["Manifest"].iter_rows(min_row=2, max_col=2)]
    expected = [float(f"{value:.15g}") if isinstance(value, float) else value for value in values]
    assert read == expected


def test_numbers_are_numbers_and_read_as_short_text(path):
    values = [512, 4.0, 0.1 + 0.2, np.float32(0.5), np.int64(3), np.float64(1e-7), -0.0, 2**53]
    manifest.Target(path).write({"Manifest": table(value=values)})
    cells = list(openpyxl.load_workbook(path)["Manifest"]["A"])[1:]
    assert {cell.data_type for cell in cells} == {"n"}
    texts = read(path)["value"].tolist()
    assert texts == ["512", "4", "0.3", "0.5", "3", "1e-07", "0", str(2**53)]
    assert texts == [workbook.cell_text(value) for value in values]


def test_numbers_that_no_cell_holds_become_text(path):
    values = [float("nan"), float("-inf"), 1.7976931348623157e308]
    manifest.Target(path).write({"Manifest": table(value=values)})
    assert read(path)["value"].tolist() == ["nan", "-inf", "inf"]


def test_empty_cells_and_missing_keys(path):
    given_rows = [{"a": None, "b": "x"}, {"a": "", "b": "y"}, {"b": "z"}]
    manifest.Target(path).write({"Manifest": workbook.frame(["a", "b", "c"], given_rows)})
    assert list(read(path)) == ["a", "b", "c"]
    assert rows(path) == [{"a": "", "b": letter, "c": ""} for letter in "xyz"]
    assert openpyxl.load_workbook(path)["Manifest"]["A2"].data_type == "n"


def test_line_ends_are_those_of_xml(path):
    manifest.Target(path).write({"Manifest": table(value=["a\r\nb\rc"])})
    assert rows(path) == [{"value": "a\nb\nc"}]
    assert not manifest.Target(path).was_changed


def test_typed_reading_keeps_numbers(written):
    row = rows(written, typed=True)[0]
    assert row == {"ID": "amos_0001", "szx": 512, "spx": 0.78125, "age": "062Y"}


def test_what_spreadsheets_make_of_text(written):
    def change(book):
        sheet = book["Manifest"]
        sheet["F1"], sheet["G1"], sheet["H1"] = " date ", "flag", "number"
        sheet["F2"] = datetime.date(1949, 1, 1)
        sheet["F3"] = datetime.datetime(2020, 2, 3, 4, 5)
        sheet["G2"], sheet["G3"] = True, False
        sheet["H2"], sheet["H3"] = 19510122.0, 4.25

    edit(written, change)
    first, second = rows(written)
    assert (first["date"], second["date"]) == ("19490101", "2020-02-03 04:05:00")
    assert (first["flag"], second["flag"]) == ("TRUE", "FALSE")
    assert (first["number"], second["number"]) == ("19510122", "4.25")


def test_stored_sheet_area_is_not_trusted(written):
    def change(parts):
        area = b'<dimension ref="A1:A1" />'
        assert parts[SHEET].count(b'<dimension ref="A1:D3"/>') == 1
        parts[SHEET] = parts[SHEET].replace(b'<dimension ref="A1:D3"/>', area)

    edit_parts(written, change)
    assert len(read(written)) == 2


def test_readers_that_trust_the_stored_area_see_all(written):
    book = openpyxl.load_workbook(written, read_only=True)
    assert [len(row) for row in book["Manifest"].iter_rows()] == [4, 4, 4]
    book.close()


def test_blank_rows_and_a_stray_far_cell(written):
    def change(book):
        sheet = book["Manifest"]
        sheet.insert_rows(1, 2)
        sheet.insert_rows(4)
        sheet.cell(1048576, 16384).font = openpyxl.styles.Font(bold=True)

    edit(written, change)
    assert read(written)["ID"].tolist() == ["amos_0001", "amos_0004"]
    assert manifest.Target(written).was_changed


def test_of_merged_cells_the_first_one_counts(written):
    def change(parts):
        merged = b'</sheetData><mergeCells><mergeCell ref="C2:D2"/></mergeCells>'
        parts[SHEET] = parts[SHEET].replace(b"</sheetData>", merged)

    edit_parts(written, change)
    assert rows(written)[0] == {"ID": "amos_0001", "szx": "512", "spx": "0.78125", "age": ""}
    assert rows(written)[1]["age"] == "UND"
    assert manifest.Target(written).was_changed


# ---- formulas and errors


def with_result(path, formula, result):
    """Put a formula and its result into F2, as spreadsheet programs store them."""
    edit(path, lambda book: book["Manifest"].__setitem__("F1", "double"))
    edit(path, lambda book: book["Manifest"].__setitem__("F2", formula))
    store_result(path, result)


def store_result(path, result):
    def change(parts):
        assert parts[SHEET].count(b"</f><v />") == 1
        head, tail = parts[SHEET].split(b"</f><v />")
        head = head.replace(b'<c r="F2">', b'<c r="F2"' + result[0] + b">")
        parts[SHEET] = head + b"</f><v>" + result[1] + b"</v>" + tail

    edit_parts(path, change)


RESULTS = [
    ((b"", b"1024"), "1024"),
    ((b' t="str"', b"a&lt;b"), "a<b"),
    ((b' t="b"', b"1"), "TRUE"),
    ((b' t="str"', b""), ""),
]


@pytest.mark.parametrize("result, text", RESULTS)
def test_formula_reads_as_its_result_and_keeps_it(written, result, text):
    with_result(written, "=2*B2", result)
    assert rows(written)[0]["double"] == text
    add(written, "split", table(a=["x"], split=["train"]))
    assert openpyxl.load_workbook(written)["Manifest"]["F2"].value == "=2*B2"
    assert rows(written)[0]["double"] == text


@pytest.mark.parametrize("formula", ["=2*B2", ArrayFormula("F2:F3", "=B2:B3")])
def test_formula_without_result_names_the_cell(written, formula):
    edit(written, lambda book: book["Manifest"].__setitem__("F1", "double"))
    edit(written, lambda book: book["Manifest"].__setitem__("F2", formula))
    with pytest.raises(errors.DatasetError, match="cell F2 .*without a result"):
        read(written)


def test_error_cell_is_named(written):
    def change(book):
        book["Manifest"]["D3"].value = "#REF!"

    edit(written, change)
    with pytest.raises(errors.DatasetError, match="cell D3 holds the error #REF!"):
        read(written)


# ---- faults of files and sheets


def test_missing_file_names_the_nearest(written):
    with pytest.raises(errors.DatasetError, match="dataset_manifest.xlsx"):
        read(written.with_name("dataset_manifst.xlsx"))


@pytest.mark.parametrize("content", [b"", b"ID,seq\n1,2\n", b"PK\x03\x04 no zip"])
def test_not_a_workbook(tmp_path, content):
    path = tmp_path / "m.xlsx"
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match="m.xlsx: cannot be read as an Excel"):
        read(path)


def test_damage_anywhere_is_one_clear_error(written):
    whole = written.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        written.write_bytes(damaged)
        try:
            read(written)
        except errors.DatasetError as error:
            n_refused += 1
            assert str(written) in str(error) and "\n" not in str(error)
    assert n_refused > 20


def test_missing_sheet_names_those_there_are(written):
    with pytest.raises(errors.DatasetError, match="no worksheet 'Split'; there are: Manifest"):
        read(written, "Split")


def test_missing_and_doubled_columns(written):
    with pytest.raises(errors.DatasetError, match="missing columns: seq, site; found: ID, szx"):
        read(written, required=("ID", "seq", "site"))
    edit(written, lambda book: book["Manifest"].__setitem__("F1", "szx"))
    with pytest.raises(errors.DatasetError, match="columns of the same name: szx"):
        read(written)


def test_column_without_name_is_warned_about(written):
    edit(written, lambda book: book["Manifest"].__setitem__("H2", "a note"))
    with pytest.warns(errors.DataWarning, match="without a name"):
        assert list(read(written)) == ["ID", "szx", "spx", "age"]


@pytest.mark.parametrize("name", ["x" * 31, "split01_standard", "a b", "it's", "ü" * 31])
def test_good_sheet_names(path, name):
    manifest.Target(path).write({name: table(a=["x"])})
    assert workbook.Workbook(path).names == [name]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 32,
        "",
        " ",
        "🫀" * 16,
        "'a",
        "a'",
        "History",
        "a\x01",
        *(f"a{letter}b" for letter in "[]:*?/\\"),
    ],
)
def test_bad_sheet_names_write_nothing(path, name):
    with pytest.raises(errors.DatasetError, match="the worksheet name"):
        manifest.Target(path).write({"Manifest": table(a=["x"]), name: table(a=["x"])})
    assert not path.exists()


@pytest.mark.parametrize("text", ["a\x00", "a\x1b", "\udc80", "\uffff", "x" * 32768])
def test_cells_that_excel_cannot_hold(path, text):
    with pytest.raises(errors.DatasetError, match="worksheet Manifest, row 3, column 'age'"):
        manifest.Target(path).write({"Manifest": table(age=["x", text])})
    assert not path.exists()
    manifest.Target(path).write({"Manifest": table(age=["x" * 32767])})
    assert rows(path) == [{"age": "x" * 32767}]


def test_other_types_are_a_bug(path):
    with pytest.raises(TypeError, match="row 2, column 'a'"):
        manifest.Target(path).write({"Manifest": table(a=[["list"]])})


# ---- writing


def test_same_tables_give_same_bytes():
    tables = {"Manifest": table(a=TRICKY), "Summary": table(n=[1, 2.5])}
    first = workbook.to_bytes(tables)
    time.sleep(2.1)  # zip entries count in steps of two seconds
    assert workbook.to_bytes(tables) == first


def test_replacing_a_sheet_gives_same_bytes(written):
    before = written.read_bytes()
    new = table(a=["x"], split=["train"])
    add(written, "split", new)
    first = written.read_bytes()
    time.sleep(2.1)
    written.write_bytes(before)
    add(written, "split", new)
    assert written.read_bytes() == first


def test_full_temporary_folder_is_explained(written, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openpyxl.Workbook, "save", fail)
    with pytest.raises(errors.DatasetError, match="No space left"):
        manifest.Target(written).write({"Manifest": table(a=["x"])})


# Of files that earlier versions wrote: theirs still count as unchanged.
DIGEST = "a8becf60fb979a4a1d5527bbc3c485c1acafaa3cfaf89b5493604bfcb96d8180"
# Of the rows that they wrote, without style and height.
ROWS = "a9cacd0385135521aa3e345e5d0af8b8a49c90cb9baf168a2ed68a4e729bc8f6"
LOOK = re.compile(rb' (?:s|ht|customHeight)="[^"]*"')


def test_the_digest_and_the_cells_are_those_of_ever():
    tables = {"Manifest": table(a=TRICKY), "A b": table(n=[1, 2.5, 1 / 3], ü=["", "x", "a\r\nb"])}
    content = workbook.to_bytes({**tables, "None": workbook.frame(["a"], [])})
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        (digest,) = re.findall(rb"<vt:lpwstr>(\w{64})<", package.read("docProps/custom.xml"))
        sheets = [package.read(f"xl/worksheets/sheet{number}.xml") for number in (1, 2, 3)]
    assert digest.decode() == DIGEST
    rows_of = [re.search(rb"<sheetData.*(?:</sheetData>|/>)(?=<auto)", xml, re.S) for xml in sheets]
    plain = b"".join(LOOK.sub(b"", found.group()) for found in rows_of)
    assert hashlib.sha256(plain).hexdigest() == ROWS


# ---- other worksheets


def test_other_sheets_keep_values_and_styles(written):
    def change(book):
        sheet = book.create_sheet("Notes")
        sheet["B2"], sheet["C3"], sheet["D4"] = "note", 1 / 3, datetime.datetime(2020, 1, 2)
        sheet["B2"].fill = openpyxl.styles.PatternFill("solid", fgColor="FFFF00")
        sheet["B2"].comment = openpyxl.comments.Comment("why", "me")
        sheet.merge_cells("B6:C7")
        book["Manifest"]["A2"].fill = openpyxl.styles.PatternFill("solid", fgColor="00FF00")

    edit(written, change)
    before = rows(written, typed=True)
    add(written, "split", table(a=["x"]))
    assert rows(written, typed=True) == before
    book = openpyxl.load_workbook(written)
    assert book["Notes"]["B2"].fill.fgColor.rgb.endswith("FFFF00")
    assert book["Notes"]["B2"].comment.text == "why"
    assert book["Notes"]["C3"].value == 1 / 3
    assert book["Notes"]["D4"].value == datetime.datetime(2020, 1, 2)
    assert str(book["Notes"].merged_cells) == "B6:C7"
    assert book["Manifest"]["A2"].fill.fgColor.rgb.endswith("00FF00")
    assert manifest.Target(written).was_changed  # by hand before, and still


def test_foreign_numbers_keep_seventeen_digits(written):
    exact = 0.1 + 0.2
    assert float(f"{exact:.16g}") != exact

    def change(parts):
        assert b"<v>0.78125</v>" in parts[SHEET]
        parts[SHEET] = parts[SHEET].replace(b"<v>0.78125</v>", f"<v>{exact!r}</v>".encode())

    edit_parts(written, change)
    add(written, "split", table(a=["x"]))
    assert rows(written, typed=True)[0]["spx"] == exact


def cells(path):
    """All values and their styles; texts with their runs."""
    book = openpyxl.load_workbook(path, rich_text=True)
    return {
        (sheet.title, cell.coordinate): (repr(cell.value), cell.font.b, cell.number_format)
        for sheet in book.worksheets
        for row in sheet.iter_rows()
        for cell in row
    }


def test_a_workbook_that_excel_saved_keeps_texts_runs_and_results(written):
    book = openpyxl.load_workbook(written)
    book["Manifest"]["F1"], book["Manifest"]["F2"] = "double", "=2*B2"
    notes = book.create_sheet("Notes")
    notes["A1"] = CellRichText("plain ", TextBlock(InlineFont(b=True), "bold & <b>"), " blank ")
    notes["B2"] = " x\ny "
    book.save(written)
    store_result(written, (b' t="str"', b"a&lt;b"))
    before, table_before = cells(written), rows(written)
    assert table_before[0]["double"] == "a<b" and "b=True" in before["Notes", "A1"][0]
    save_as_excel(written)
    assert cells(written) == before and rows(written) == table_before
    add(written, "split", table(a=["x"]))
    assert {key: cell for key, cell in cells(written).items() if key[0] != "split"} == before
    assert rows(written) == table_before and rows(written, "split") == [{"a": "x"}]
    with zipfile.ZipFile(written) as package:
        xml = package.read(SHEET)
    assert b"cm=" not in xml and b"dyDescent" not in xml


def test_saving_in_excel_changes_no_cell(written):
    save_as_excel(written)
    assert not manifest.Target(written).was_changed
    assert add(written, "Manifest", small()) is False


def test_a_workbook_with_an_array_formula_can_become_ours(written):
    formula = ArrayFormula("A1:A2", "=B2:B3")
    edit(written, lambda book: book.create_sheet("Notes").__setitem__("A1", formula))
    with pytest.warns(errors.DataWarning, match="kept as"):
        manifest.Target(written, overwrite=True).write_sheet("Manifest", table(ID=["x"]))
    assert not manifest.Target(written).was_changed


def test_prefixed_names_of_a_worksheet_are_understood(written):
    before = cells(written)

    def change(parts):
        xml = re.sub(rb"<(/?)(?=\w)", rb"<\1x:", parts[SHEET])
        parts[SHEET] = xml.replace(b"xmlns=", b"xmlns:x=")

    edit_parts(written, change)
    assert cells(written) == before
    add(written, "split", table(a=["x"]))
    assert {key: cell for key, cell in cells(written).items() if key[0] != "split"} == before


def change_cell(path, cell):
    """Put the XML of a cell in the place of D2, which holds 062Y."""

    def change(parts):
        parts[SHEET], count = re.subn(rb'<c r="D2".*?</c>', cell, parts[SHEET])
        assert count == 1

    edit_parts(path, change)


def test_a_cell_of_a_style_that_is_not_there_is_damage(written):
    change_cell(written, b'<c r="D2" s="999"><v>1</v></c>')
    with pytest.raises(errors.DamagedFileError, match="cannot be read as an Excel workbook"):
        read(written)


@pytest.mark.parametrize("end", [b"&#13;", b"&#13;&#10;"])
def test_line_ends_of_other_tools_are_the_same_in_a_copy(written, end):
    change_cell(written, b'<c r="D2" t="inlineStr"><is><t>a' + end + b"b</t></is></c>")
    add(written, "split", read(written, typed=True))
    assert rows(written)[0]["age"] == "a\nb"
    assert rows(written, "split") == rows(written)


def test_entities_of_a_worksheet_are_resolved(written):
    change_cell(written, b'<c r="D2" t="inlineStr"><is><t>&odd;</t></is></c>')

    def change(parts):
        xml = re.sub(rb"^<\?xml[^>]*\?>", b"", parts[SHEET])
        parts[SHEET] = b'<!DOCTYPE worksheet [<!ENTITY odd "two words">]>' + xml

    edit_parts(written, change)
    add(written, "split", table(a=["x"]))
    assert rows(written)[0]["age"] == "two words"

"""Excel tables: text stays text, hand changes are noticed, files are whole."""

import datetime
import io
import time
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.formula import ArrayFormula

from utils import errors
from utils.storage import files, manifest, workbook

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


def table(**columns):
    """A table from its columns."""
    names = list(columns)
    return workbook.frame(names, [dict(zip(names, row)) for row in zip(*columns.values())])


def read(path, sheet="Manifest", **options):
    return workbook.Workbook(path).table(sheet, **options)


def rows(path, sheet="Manifest", **options):
    return read(path, sheet, **options).to_dict("records")


def add(path, name, cells):
    return manifest.replace_sheet(workbook.Workbook(path), name, cells)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub folder" / "dataset_manifest.xlsx"


@pytest.fixture
def written(path):
    manifest.write(
        path,
        {
            "Manifest": table(
                ID=["amos_0001", "amos_0004"],
                szx=[512, 7],
                spx=[0.78125, 1 / 3],
                age=["062Y", "UND"],
            )
        },
    )
    return path


def edit(path, change):
    """Change a workbook as another tool does."""
    book = openpyxl.load_workbook(path)
    change(book)
    book.save(path)


# ---- values


def test_text_stays_text_for_us_openpyxl_and_pandas(path):
    manifest.write(path, {"Manifest": table(value=TRICKY)})
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
    manifest.write(path, {"Manifest": table(value=values)})
    cells = list(openpyxl.load_workbook(path)["Manifest"]["A"])[1:]
    assert {cell.data_type for cell in cells} == {"n"}
    texts = read(path)["value"].tolist()
    assert texts == ["512", "4", "0.3", "0.5", "3", "1e-07", "0", str(2**53)]
    assert texts == [workbook.cell_text(value) for value in values]


def test_numbers_that_no_cell_holds_become_text(path):
    values = [float("nan"), float("-inf"), 1.7976931348623157e308]
    manifest.write(path, {"Manifest": table(value=values)})
    assert read(path)["value"].tolist() == ["nan", "-inf", "inf"]


def test_empty_cells_and_missing_keys(path):
    given_rows = [{"a": None, "b": "x"}, {"a": "", "b": "y"}, {"b": "z"}]
    manifest.write(path, {"Manifest": workbook.frame(["a", "b", "c"], given_rows)})
    assert list(read(path)) == ["a", "b", "c"]
    assert rows(path) == [{"a": "", "b": letter, "c": ""} for letter in "xyz"]
    assert openpyxl.load_workbook(path)["Manifest"]["A2"].data_type == "n"


def test_line_ends_are_those_of_xml(path):
    manifest.write(path, {"Manifest": table(value=["a\r\nb\rc"])})
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
    with zipfile.ZipFile(written) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    name = "xl/worksheets/sheet1.xml"
    parts[name] = parts[name].replace(b"<sheetViews>", b'<dimension ref="A1:A1" /><sheetViews>')
    with zipfile.ZipFile(written, "w") as target:
        for part, content in parts.items():
            target.writestr(part, content)
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
    begin = time.perf_counter()
    assert read(written)["ID"].tolist() == ["amos_0001", "amos_0004"]
    assert manifest.Target(written).was_changed
    assert time.perf_counter() - begin < 2


# ---- formulas and errors


def with_result(path, formula, result):
    """Put a formula and its result into F2, as spreadsheet programs store them."""
    edit(path, lambda book: book["Manifest"].__setitem__("F1", "double"))
    edit(path, lambda book: book["Manifest"].__setitem__("F2", formula))
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert parts[name].count(b"</f><v />") == 1
    head, tail = parts[name].split(b"</f><v />")
    head = head.replace(b'<c r="F2">', b'<c r="F2"' + result[0] + b">")
    parts[name] = head + b"</f><v>" + result[1] + b"</v>" + tail
    with zipfile.ZipFile(path, "w") as target:
        for part, content in parts.items():
            target.writestr(part, content)


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
    manifest.write(path, {name: table(a=["x"])})
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
        manifest.write(path, {"Manifest": table(a=["x"]), name: table(a=["x"])})
    assert not path.exists()


@pytest.mark.parametrize("text", ["a\x00", "a\x1b", "\udc80", "\uffff", "x" * 32768])
def test_cells_that_excel_cannot_hold(path, text):
    with pytest.raises(errors.DatasetError, match="worksheet Manifest, row 3, column 'age'"):
        manifest.write(path, {"Manifest": table(age=["x", text])})
    assert not path.exists()
    manifest.write(path, {"Manifest": table(age=["x" * 32767])})
    assert rows(path) == [{"age": "x" * 32767}]


def test_other_types_are_a_bug(path):
    with pytest.raises(TypeError, match="row 2, column 'a'"):
        manifest.write(path, {"Manifest": table(a=[["list"]])})


# ---- writing, digest, backups


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


def test_layout_for_people(written):
    sheet = openpyxl.load_workbook(written)["Manifest"]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:D3"
    assert sheet["A1"].font.bold and not sheet["A2"].font.bold
    assert 8 <= sheet.column_dimensions["A"].width <= 40


def test_equal_workbook_is_left_untouched(written):
    same = table(
        ID=["amos_0001", "amos_0004"], szx=[512, 7], spx=[0.78125, 1 / 3], age=["062Y", "UND"]
    )
    before = written.stat()
    assert manifest.write(written, {"Manifest": same}) is False
    assert add(written, "Manifest", same) is False
    assert manifest.Target(written).write_sheet("Manifest", same) is False
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


def test_unchanged_cells_survive_openpyxl_and_formatting(path):
    rng = np.random.default_rng(1)
    manifest.write(
        path,
        {
            "Manifest": table(
                text=TRICKY,
                number=list(rng.random(len(TRICKY)) * 900),
                whole=list(range(len(TRICKY))),
            )
        },
    )

    def change(book):
        book["Manifest"]["A1"].font = openpyxl.styles.Font(italic=True)
        book["Manifest"].column_dimensions["A"].width = 33

    edit(path, change)
    assert not manifest.Target(path).was_changed
    manifest.refuse_if_changed(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda book: book["Manifest"].__setitem__("D2", "063Y"),
        lambda book: book["Manifest"].__setitem__("B2", "512"),
        lambda book: book["Manifest"].__setitem__("Z99", "note"),
        lambda book: book["Manifest"].__setitem__("D2", None),
        lambda book: book["Manifest"].delete_rows(3),
        lambda book: book.create_sheet("Notes").append(["my note"]),
        lambda book: setattr(book["Manifest"], "title", "Main"),
    ],
)
def test_changed_cells_are_noticed(written, change):
    edit(written, change)
    assert manifest.Target(written).was_changed
    with pytest.raises(errors.DatasetError, match="changed by hand.*--overwrite"):
        manifest.refuse_if_changed(written)
    manifest.refuse_if_changed(written, overwrite=True)


def test_workbook_of_pandas_is_not_ours(written):
    frame = pd.read_excel(written, engine="openpyxl")
    frame.to_excel(written, sheet_name="Manifest", index=False)
    assert manifest.Target(written).was_changed


def test_changed_workbook_is_refused_or_kept_as_backup(written):
    new = {"Manifest": table(ID=["amos_0600"])}
    contents = []
    for number, name in enumerate(["dataset_manifest.bak.xlsx", "dataset_manifest.bak2.xlsx"]):
        edit(written, lambda book: book["Manifest"].__setitem__("D2", f"by hand {number}"))
        contents.append(written.read_bytes())
        with pytest.raises(errors.DatasetError, match="changed by hand"):
            manifest.write(written, new)
        assert written.read_bytes() == contents[-1]
        with pytest.warns(errors.DataWarning, match=name):
            assert manifest.write(written, new, overwrite=True)
        assert written.with_name(name).read_bytes() == contents[-1]
        assert rows(written) == [{"ID": "amos_0600"}]
        assert not manifest.Target(written).was_changed
    assert written.with_name("dataset_manifest.bak.xlsx").read_bytes() == contents[0]


def test_name_that_no_disk_takes_is_explained(tmp_path):
    for path in (tmp_path / f"{'x' * 300}.xlsx", tmp_path / ("y" * 300) / "x.xlsx"):
        manifest.refuse_if_changed(path)
        for write in (
            lambda: manifest.write(path, {"A": table(a=["1"])}),
            lambda: manifest.Target(path).write_sheet("A", table(a=["1"])),
            lambda: manifest.write_together({path: {"A": table(a=["1"])}}),
        ):
            with pytest.raises(errors.DatasetError, match="cannot be written"):
                write()
    assert list(tmp_path.iterdir()) == []


def test_backup_cannot_be_named(tmp_path):
    path = tmp_path / f"{'x' * 250}.xlsx"
    path.write_bytes(b"mine")
    with pytest.raises(errors.DatasetError, match="cannot be written"):
        manifest.write(path, {"A": table(a=["1"])}, overwrite=True)
    assert path.read_bytes() == b"mine"


def test_folder_in_the_place_of_an_index_manifest(tmp_path):
    (tmp_path / "a.xlsx").mkdir()
    with pytest.raises(errors.DatasetError, match="a.xlsx: cannot be written"):
        manifest.write_together({tmp_path / "a.xlsx": {"A": table(a=["1"])}})


def test_backup_of_same_bytes_is_not_doubled(written):
    assert manifest.keep_backup(written) == manifest.keep_backup(written)
    assert len(list(written.parent.iterdir())) == 2


def test_damaged_workbook_counts_as_changed(written):
    written.write_bytes(written.read_bytes()[:-100])
    assert manifest.Target(written).was_changed
    new = table(ID=["x"])
    for write in (add, lambda *sheet: manifest.Target(sheet[0]).write_sheet(*sheet[1:])):
        with pytest.raises(errors.DatasetError):
            write(written, "Manifest", new)
    with pytest.warns(errors.DataWarning, match="bak"):
        manifest.Target(written, overwrite=True).write_sheet("Manifest", new)
    assert rows(written) == [{"ID": "x"}]


def test_failing_write_leaves_the_old_workbook(written, monkeypatch):
    before = written.read_bytes()

    class Full:
        def __enter__(self):
            raise errors.DatasetError("no space left")

        def __exit__(self, *error):
            return False

    monkeypatch.setattr(files, "whole", lambda path: Full())
    with pytest.raises(errors.DatasetError, match="no space"):
        manifest.write(written, {"Manifest": table(a=["x"])})
    with pytest.raises(errors.DatasetError, match="no space"):
        add(written, "split", table(a=["x"]))
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_full_temporary_folder_is_explained(written, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openpyxl.Workbook, "save", fail)
    with pytest.raises(errors.DatasetError, match="No space left"):
        manifest.write(written, {"Manifest": table(a=["x"])})


# ---- one sheet of several


def test_new_sheet_goes_last_and_a_replaced_one_stays(written):
    add(written, "split01", table(a=["x"]))
    add(written, "split02", table(a=["y"]))
    assert not manifest.Target(written).was_changed
    add(written, "split01", table(a=["z"]))
    assert workbook.Workbook(written).names == ["Manifest", "split01", "split02"]
    assert rows(written, "split01") == [{"a": "z"}]
    assert rows(written, "split02") == [{"a": "y"}]
    assert not manifest.Target(written).was_changed


def test_manifest_goes_first(path):
    manifest.write(path, {"Notes": table(a=["x"])})
    manifest.Target(path).write_sheet("Manifest", table(ID=["y"]))
    assert workbook.Workbook(path).names == ["Manifest", "Notes"]


def test_missing_workbook_is_made(path):
    assert manifest.Target(path).write_sheet("Manifest", table(ID=["y"]))
    assert workbook.Workbook(path).names == ["Manifest"]


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
    with zipfile.ZipFile(written) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert b"<v>0.78125</v>" in parts[name]
    parts[name] = parts[name].replace(b"<v>0.78125</v>", f"<v>{exact!r}</v>".encode())
    with zipfile.ZipFile(written, "w") as target:
        for part, content in parts.items():
            target.writestr(part, content)
    add(written, "split", table(a=["x"]))
    assert rows(written, typed=True)[0]["spx"] == exact


def test_overwriting_makes_the_workbook_ours_again(written):
    edit(written, lambda book: book.create_sheet("Notes").append(["my note"]))
    new = table(ID=["amos_0600"])
    with pytest.raises(errors.DatasetError, match="changed by hand"):
        manifest.Target(written).write_sheet("Manifest", new)
    with pytest.warns(errors.DataWarning, match="kept as"):
        manifest.Target(written, overwrite=True).write_sheet("Manifest", new)
    assert workbook.Workbook(written).names == ["Manifest", "Notes"]
    assert not manifest.Target(written).was_changed
    assert written.with_name("dataset_manifest.bak.xlsx").exists()


def test_names_that_differ_in_case_only(written):
    with pytest.raises(errors.DatasetError, match="upper and lower case"):
        add(written, "MANIFEST", table(a=["x"]))


# ---- paths in tables


def test_resolve_takes_the_nearest_folder(tmp_path):
    for folder in ("grouped", "grouped/AMOS-CT"):
        (tmp_path / folder / "train").mkdir(parents=True)
        (tmp_path / folder / "train/a.nii.gz").touch()
    index = tmp_path / "grouped/AMOS-CT/splits/split01/index.xlsx"
    assert manifest.resolve("train/a.nii.gz", index) == tmp_path / "grouped/AMOS-CT/train/a.nii.gz"
    (tmp_path / "grouped/AMOS-CT/train/a.nii.gz").unlink()
    assert manifest.resolve("train/a.nii.gz", index) == tmp_path / "grouped/train/a.nii.gz"
    (tmp_path / "other/train").mkdir(parents=True)
    with pytest.raises(errors.DatasetError, match="other; --root_dir"):
        manifest.resolve("train/a.nii.gz", index, tmp_path / "other")
    (tmp_path / "other/train/a.nii.gz").touch()
    assert manifest.resolve("train/a.nii.gz", index, tmp_path / "other").parts[-3] == "other"


@pytest.mark.parametrize("text", ["", ".", "/etc/passwd", "a/../../b"])
def test_resolve_refuses_what_is_no_path_below(tmp_path, text):
    with pytest.raises(errors.DatasetError, match="not a relative path"):
        manifest.resolve(text, tmp_path / "m.xlsx")

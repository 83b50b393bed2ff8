"""Routine 01 as a person runs it."""

import csv
import json
import os
import shutil

import nibabel as nib
import numpy as np
import openpyxl
import pytest
import trees

from utils.facts import amos22

SHARED = trees.REPOSITORY.parent / "shared/data"
# Of 0507 in the archives below.
MENDED = "note known faults: metadata: 1 scan, id in the metadata table one too low: mended"
HEADER = ["amos_id", *amos22.METADATA.values()]


def put(path, shape=(7, 8, 9), offset=0.0, dtype=np.uint16):
    """Write a small image with all spacings different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.5, 2, 5, 1.0])
    affine[:3, 3] = offset, -20, 30
    nib.save(nib.Nifti1Image(np.ones(shape, dtype), affine), path)


def write_table(path, *rows):
    """Write a metadata table; rows are texts with commas."""
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([HEADER, *(row.split(",") for row in rows)])


@pytest.fixture(name="root")
def archive_root(tmp_path):
    """Two pairs and a test scan, CT and MRI, with clutter and the shifted table beside them."""
    root = tmp_path / "root dir ä" / "archive"
    for (
        name
    ) in "imagesTr/amos_0004 labelsTr/amos_0004 imagesVa/amos_0507 imagesTs/amos_0201".split():
        put(root / "amos22" / f"{name}.nii.gz")
    put(root / "amos22/labelsVa/amos_0507.nii.gz", offset=0.25)
    (root / "amos22/imagesTr/._amos_0004.nii.gz").write_bytes(b"AppleDouble")
    (root / ".DS_Store").write_bytes(b"x")
    write_table(
        root.parent / "labeled_data_meta_0000_0599.csv",
        "4,19571201,F,062Y,Aquilion ONE,TOSHIBA,20190101,center",
        "201,19490101,M,,SOMATOM Force,SIEMENS,20190202,people",
        "500,19890725,M,030Y,Optima CT540,GE,20200514,people",
        "500,19610605,F,057Y,Ingenia,Philips,20190522,center",
        "506,19700627,M,047Y,Prisma,SIEMENS,20170627,center",
        "507,19821026,F,036Y,Prisma,SIEMENS,20190828,center",
    )
    return root


def workbook(root):
    return root.parent / "descriptor/archive_manifest.xlsx"


def run(root, *more):
    return trees.invoke(trees.SCAN, root.parent, *more)


def cells(root):
    """The manifest as a list of dicts of the cells' own values."""
    book = openpyxl.load_workbook(workbook(root))
    assert book.sheetnames == ["Manifest"]
    header, *rows = book["Manifest"].iter_rows(values_only=True)
    assert header == amos22.ARCHIVE_COLUMNS
    return [dict(zip(header, row)) for row in rows]


def test_manifest_holds_one_row_a_file_with_its_metadata(root):
    result = run(root)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    rows = cells(root)
    assert [(row["file_path"], row["subset"], row["seq"], row["type"]) for row in rows] == [
        ("amos22/imagesTr/amos_0004.nii.gz", "train", "0004", "v3d"),
        ("amos22/labelsTr/amos_0004.nii.gz", "train", "0004", "m3d"),
        ("amos22/imagesTs/amos_0201.nii.gz", "test", "0201", "v3d"),
        ("amos22/imagesVa/amos_0507.nii.gz", "val", "0507", "v3d"),
        ("amos22/labelsVa/amos_0507.nii.gz", "val", "0507", "m3d"),
    ]
    assert [row["diff_trans_f_norm"] for row in rows] == [None, 0, None, None, 0.25]
    assert [rows[3][name] for name in "szx szy szz spx spy spz".split()] == [7, 8, 9, 1.5, 2, 5]
    texts = [value for value in rows[3].values() if isinstance(value, str) and value[0] != "["]
    assert (
        texts
        == (
            "amos22/imagesVa/amos_0507.nii.gz val 0507 v3d RPI LAS uint16"
            " 19700627 M 047Y Prisma SIEMENS 20170627 center"
        ).split()
    )
    assert rows[2]["age"] == "UND"
    assert rows[4]["transform"].startswith("[[-1.5 0.0 0.0 0.25]\n [0.0 2.0 ")


def test_summary_and_the_note_on_shifted_ids(root):
    result = run(root)
    assert "test: 1 volumes, 0 masks" in result.stdout
    assert "2 files of clutter" in result.stdout
    assert "5 done" in result.stdout
    note, mended = result.stderr.splitlines()  # they hold for every official archive
    assert note.startswith("note metadata table: the MRI ids are one too low") and "0500" in note
    assert mended == MENDED


def test_known_faults_of_scans_at_hand_are_told_and_change_nothing(root):
    clean = run(root)
    before = cells(root)
    for seq in ("0057", "0067", "0115", "0136", "0540"):
        put(root / f"amos22/imagesTr/amos_{seq}.nii.gz")
        put(root / f"amos22/labelsTr/amos_{seq}.nii.gz")
    with open(root.parent / "labeled_data_meta_0000_0599.csv", "a", encoding="utf-8") as handle:
        for seq in (57, 67, 115, 136, 539):
            scanner = "Achieva" if seq == 539 else "Aquilion ONE"
            handle.write(f"{seq},19571201,F,062Y,{scanner},X,20190101,center\n")
    result = run(root)
    assert (
        (result.exit_code, trees.complaints(result, "WARNING")) == (clean.exit_code, []) == (0, [])
    )
    notes = [line for line in result.stderr.splitlines() if "known faults" in line]
    outside = "outside Hounsfield units"
    assert notes == [
        f"note known faults: intensity: 1 scan, values from -5798 to 8932, {outside}: amos_0067 | "
        f"1 scan, values from -2130 to 11362, {outside}: amos_0136 | 1 scan, scaled values up to "
        "3.28 million (scl_slope 4385.22), no Hounsfield units; MRI: amos_0540",
        f"{MENDED.replace('1 scan', '2 scans')} | 1 scan, no age in the table: amos_0540",
        "note known faults: organ: 2 scans, no spleen in the label: amos_0057, amos_0115",
    ]
    new = ("0057", "0067", "0115", "0136", "0540")
    assert [row for row in cells(root) if row["seq"] not in new] == before
    assert "note known faults: " not in result.stdout


def test_of_scans_that_are_not_there_nothing_is_told(root):
    for path in root.rglob("amos_0507.nii.gz"):
        path.unlink()
    assert "known faults" not in run(root).output


def test_an_unclear_table_is_worth_a_warning(root):
    table = root.parent / "labeled_data_meta_0000_0599.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith(("500,", "506,"))]
    table.write_text("\n".join(lines), encoding="utf-8")
    result = run(root)
    assert (result.exit_code, trees.complaints(result, "note")) == (0, [])
    (warning,) = trees.complaints(result, "WARNING")
    assert warning.startswith("WARNING metadata table: nothing in it tells")


def test_check_content_leaves_the_workbook_alone(root):
    run(root)
    before = trees.identities(root.parent)
    assert run(root, "--check_content").exit_code == 0
    assert trees.identities(root.parent) == before


@pytest.mark.parametrize("option", [[], ["--check_content"]])
def test_damaged_files_are_named_and_the_others_listed(root, option):
    path = root / "amos22/labelsTr/amos_0004.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    put(root / "amos22/imagesTr/amos_0009.nii.gz", shape=(7, 8, 9, 2))
    report = root.parent / "failures.jsonl"
    result = run(root, "--failures_file", str(report), *option)
    assert result.exit_code == 1
    assert [row["seq"] for row in cells(root)] == ["0004", "0201", "0507", "0507"]
    first, second = trees.complaints(result)
    assert first.startswith("FAILED amos22/labelsTr/amos_0004.nii.gz: ")
    assert second.startswith("FAILED amos22/imagesTr/amos_0009.nii.gz: ")
    entries = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert [entry["sample"] for entry in entries] == [
        "amos22/labelsTr/amos_0004.nii.gz",
        "amos22/imagesTr/amos_0009.nii.gz",
    ]
    assert "left out: 2 files" in result.stdout


def test_only_check_content_finds_a_changed_voxel(root):
    path = root / "amos22/imagesTr/amos_0004.nii.gz"
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 30), np.uint8)
    nib.save(nib.Nifti1Image(noise, np.diag([-1.5, 2, 5, 1])), path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert run(root).exit_code == 0
    result = run(root, "--check_content")
    assert result.exit_code == 1
    assert trees.complaints(result)[0].startswith("FAILED amos22/imagesTr/amos_0004.nii.gz: ")
    assert "0004" in {row["seq"] for row in cells(root)}  # the mask is sound


def test_a_release_unpacked_twice_is_left_out_where_it_doubles(root):
    shutil.copytree(root / "amos22/imagesTr", root / "copy/imagesTr")
    shutil.copy(root.parent / "labeled_data_meta_0000_0599.csv", root / "copy")
    shutil.copy(root.parent / "labeled_data_meta_0000_0599.csv", root / "amos22")
    result = run(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004: ")
    assert "amos22/imagesTr/amos_0004.nii.gz, copy/imagesTr/amos_0004.nii.gz" in line
    assert len(cells(root)) == 4


def test_without_a_table_everything_is_undefined_and_the_download_named(root):
    (root.parent / "labeled_data_meta_0000_0599.csv").unlink()
    result = run(root)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "FAILED metadata table: no labeled_data_meta_*.csv below --root_dir or beside it; the "
        "metadata of 3 samples are unknown and stay UND; download labeled_data_meta_0000_0599.csv "
        "(zenodo record 7262581) and run this again"
    ]
    rows = cells(root)
    assert len(rows) == 5
    assert {row[key] for row in rows for key in amos22.METADATA} == {"UND"}


def test_a_table_of_other_files_is_told_in_one_line(root):
    write_table(root.parent / "labeled_data_meta_0000_0599.csv", "9,19570101,F,062Y,Prisma,S,,x")
    result = run(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED metadata table: ") and "no row for any file" in line
    assert "the metadata of 3 samples are unknown" in line and "zenodo record" in line
    assert {row["sex"] for row in cells(root)} == {"UND"}


def test_metadata_in_the_forms_of_people_are_brought_into_ours(root):
    lines = (root.parent / "labeled_data_meta_0000_0599.csv").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("4,"))
    mine = "4;1957/12/1;female;62.0;Aquilion ONE\u00a0; TOSHIBA;2019-01-01 00:00:00;Z\u00fcrich"
    text = "\n".join(mine if one == line else one.replace(",", ";") for one in lines)
    (root.parent / "labeled_data_meta_0000_0599.csv").write_text(text, encoding="utf-16")
    result = run(root)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    assert [cells(root)[0][key] for key in amos22.METADATA] == (
        ["19571201", "F", "062Y", "Aquilion ONE", "TOSHIBA", "20190101", "Z\u00fcrich"]
    )


@pytest.mark.parametrize(
    ("cell", "column", "found"),
    [
        ("19571201", "birth_date", "01/12/1957"),
        ("19571201", "birth_date", "19571301"),
        ("F", "sex", "TRUE"),
        ("062Y", "age", "162"),
        ("center", "site", "a\x02b"),
        ("center", "site", "x" * 40_000),
    ],
)
def test_a_cell_without_a_form_is_named_and_stops_its_file_alone(root, cell, column, found):
    table = root.parent / "labeled_data_meta_0000_0599.csv"
    whole = table.read_text(encoding="utf-8")
    table.write_text(whole.replace(f",{cell}", f",{found}", 1), encoding="utf-8")
    if column == "site":
        table.write_text(whole.replace(",center", f",{found}", 1), encoding="utf-8")
    result = run(root, "--failures_file", root.parent / "failures.jsonl")
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith(f"FAILED amos_0004: {column} is ")
    assert f"in line 2 of the metadata table {table}" in line and "it stays UND" in line
    rows = cells(root)
    assert len(rows) == 5 and {row[column] for row in rows[:2]} == {"UND"}
    unknown = [(row["seq"], key) for row in rows for key in amos22.METADATA if row[key] == "UND"]
    assert unknown == [("0004", column)] * 2 + [("0201", "age")]
    (entry,) = map(json.loads, (root.parent / "failures.jsonl").read_text().splitlines())
    assert (entry["sample"], entry["code"]) == ("amos_0004", "metadata")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"training": [1, 2]}'])
def test_a_dataset_json_of_another_shape_fails_and_the_manifest_is_written(root, content):
    (root / "amos22/dataset.json").write_bytes(content)
    result = run(root)
    assert result.exit_code == 1 and len(cells(root)) == 5
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos22/dataset.json: ")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("nothing")])
def test_a_table_that_is_no_file_is_told_in_one_line(root, make):
    table = root.parent / "labeled_data_meta_0000_0599.csv"
    table.unlink()
    make(table)
    result = run(root)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {table}: ")
    assert not workbook(root).exists()
    result = run(root, "--labeled_data_meta", table)
    assert result.exit_code == 2 and "labeled_data_meta_0000_0599.csv" in result.stderr


def test_a_file_without_a_row_is_undefined_and_named(root):
    put(root / "amos22/imagesTr/amos_0600.nii.gz")
    result = run(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0600: ")
    assert "zenodo record 7262581" in result.stderr
    assert {cells(root)[-1][key] for key in amos22.METADATA} == {"UND"}
    assert "UND" not in {row["sex"] for row in cells(root)[:-1]}


def test_the_option_goes_before_the_tables_found(root, tmp_path):
    other = tmp_path / "mine.csv"
    write_table(
        other,
        "4,19571201,M,062Y,Brilliance16,P,20190101,x",
        "201,19571201,M,062Y,Brilliance16,P,20190101,x",
        "0540,19571201,M,062Y,Achieva,P,20190101,x",
        "507.0,19571201.0,F,062Y,Ingenia,P,20190101,x",
    )
    result = run(root, "--labeled_data_meta", str(other))
    assert (result.exit_code, result.stderr) == (0, "")
    assert [row["sex"] for row in cells(root)] == ["M", "M", "M", "F", "F"]
    assert cells(root)[-1]["birth_date"] == "19571201"


def test_shifted_and_mended_at_once_fails_but_lists_the_rest(root):
    with open(root.parent / "labeled_data_meta_0000_0599.csv", "a", encoding="utf-8") as handle:
        handle.write("600,19700627,M,047Y,Prisma,SIEMENS,20170627,center\n")
    result = run(root)
    assert result.exit_code == 1
    assert trees.complaints(result)[0].startswith("FAILED metadata table: ")
    assert [row["sex"] for row in cells(root)] == ["F", "F", "M", "UND", "UND"]


def test_hostile_metadata_stay_text(root):
    table = root.parent / "labeled_data_meta_0000_0599.csv"
    table.write_text(
        table.read_text(encoding="utf-8")
        .replace("TOSHIBA,", "=1+1,", 1)
        .replace("F,", "F/../x,", 1),
        encoding="utf-8",
    )
    result = run(root)
    assert result.exit_code == 1
    assert trees.complaints(result)[0].startswith("FAILED amos_0004: sex is 'F/../x' in line 2")
    sheet = openpyxl.load_workbook(workbook(root))["Manifest"]
    found = {sheet.cell(1, cell.column).value: (cell.value, cell.data_type) for cell in sheet[2]}
    assert found["manufacturer"] == ("=1+1", "s")
    assert found["sex"] == ("UND", "s")
    assert found["seq"] == ("0004", "s")


def test_dataset_json_and_foreign_images_are_warnings_alone(root):
    put(root / "amos22/imagesTr/case_1.nii.gz")
    names = ("./imagesTr/amos_0001.nii.gz", "./imagesVa/amos_0507.nii.gz")
    listed = {"training": [{"image": name} for name in names]}
    (root / "amos22/dataset.json").write_text(json.dumps(listed), encoding="utf-8")
    result = run(root)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    assert "WARNING AMOS22: 1 NIfTI files ignored" in result.stderr
    assert "amos22/imagesTr/case_1.nii.gz" in result.stderr
    assert "1 files that are not on disk: ./imagesTr/amos_0001.nii.gz" in result.stderr
    assert "amos_0507.nii.gz (train by the list)" in result.stderr
    assert {row["subset"] for row in cells(root) if row["seq"] == "0507"} == {"val"}


def test_a_manifest_changed_by_hand_is_refused_and_kept_by_overwrite(root):
    run(root)
    book = openpyxl.load_workbook(workbook(root))
    book["Manifest"]["Q2"] = "M"
    book.save(workbook(root))
    changed = workbook(root).read_bytes()
    refused = run(root)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert workbook(root).read_bytes() == changed
    assert run(root, "--overwrite").exit_code == 0
    assert cells(root)[0]["sex"] == "F"
    assert (workbook(root).parent / "archive_manifest.bak.xlsx").read_bytes() == changed


@pytest.mark.parametrize("content", [None, "imagesTr/other.nii.gz"])
def test_an_archive_without_any_file_is_a_missing_input(tmp_path, content):
    root = tmp_path / "archive"
    root.mkdir()
    if content:
        put(root / content)
    result = run(root)
    assert result.exit_code == 2
    assert f"{root}: no file of AMOS22" in result.stderr
    assert not workbook(root).parent.exists()


def test_when_all_files_are_damaged_an_earlier_manifest_stays(root):
    run(root)
    before = workbook(root).read_bytes()
    for path in root.rglob("amos_*.nii.gz"):
        path.write_bytes(b"no gzip")
    result = run(root)
    assert (result.exit_code, len(trees.complaints(result))) == (1, 5)
    assert workbook(root).read_bytes() == before
    assert "no manifest written" in result.stdout


@pytest.mark.parametrize("content", [b"amos_id;Site\n", b"\xff\xfe\x00"])
def test_a_table_that_is_none_stops_before_anything_is_written(root, content):
    (root.parent / "labeled_data_meta_0000_0599.csv").write_bytes(content)
    result = run(root)
    assert result.exit_code == 2
    assert "labeled_data_meta_0000_0599.csv: the metadata table" in result.stderr
    assert not workbook(root).parent.exists()


@pytest.mark.skipif(not SHARED.exists(), reason="the real scans are not here")
def test_the_real_archive_with_the_official_table(tmp_path):
    root = tmp_path / "archive"
    root.symlink_to(SHARED / "real_archive")
    result = run(root)  # the table lies beside the link's target
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    rows = cells(root)
    pairs = [(seq, kind) for seq in ("0004", "0005", "0008", "0507") for kind in ("v3d", "m3d")]
    pairs.insert(6, ("0201", "v3d"))
    assert [(row["seq"], row["type"]) for row in rows] == pairs
    assert [row["sex"] for row in rows] == ["F"] * 2 + ["M"] * 7
    for row in rows:
        image = nib.load(root / row["file_path"])
        assert image.shape == (row["szx"], row["szy"], row["szz"])
        assert "".join(nib.aff2axcodes(image.affine)) == row["orientation_to"]
        assert str(image.get_data_dtype()) == row["dtype"]
        values = row["transform"].replace("[", " ").replace("]", " ").split()
        np.testing.assert_array_equal(np.array(values, float).reshape(4, 4), image.affine)


def test_every_path_leads_to_its_file_from_another_folder(root):
    put(root / "amos22/imagesTr/amos_0009.nii.gz")
    path = root.parent / "descriptor" / "manifest.xlsx"
    trees.run(trees.SCAN, "--root_dir", root, "--output_manifest_file", path)
    sheet = openpyxl.load_workbook(path)["Manifest"]
    assert sheet.freeze_panes == "B2"
    files = {row[0].value: row[0].hyperlink.target for row in sheet.iter_rows(min_row=2)}
    assert files == {name: f"../archive/{name}" for name in files} and len(files) == 6
    assert all((path.parent / target).is_file() for target in files.values())
    types = {row[0].value: row[3] for row in sheet.iter_rows(min_row=2)}
    failed = [name for name, cell in types.items() if cell.fill.fgColor.rgb == "00FFC7CE"]
    assert failed == ["amos22/imagesTr/amos_0009.nii.gz"]  # of train, without a mask

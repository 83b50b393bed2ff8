"""Routine 06 as a person runs it."""

import openpyxl
import pytest
import trees

from utils.storage import manifest, workbook


@pytest.fixture
def manifest_file(tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    rows = [
        {"ID": f"amos_{number:04d}", "subset": subset, "spx": 0.7 + number}
        for number, subset in enumerate(["train", "train", "test", "val"])
    ]
    manifest.Target(path).write({"Manifest": workbook.frame(["ID", "subset", "spx"], rows)})
    return path


def run(*arguments):
    return trees.run(trees.MAKE_SPLIT, *arguments)


def test_adds_the_sheet_and_counts(manifest_file):
    result = run("--manifest_file", manifest_file, "--split_name", "split01_standard")
    assert result.exit_code == 0, result.output
    assert "split01_standard: 4 samples (2 train, 1 val, 1 test)" in result.stdout
    assert workbook.Workbook(manifest_file).names == ["Manifest", "split01_standard"]
    split = workbook.Workbook(manifest_file).table("split01_standard")
    assert split["split01_standard"].tolist() == ["train", "train", "test", "val"]


@pytest.mark.parametrize("told", ["", "UND"])
def test_samples_of_unknown_patients_are_not_taken_for_other_people(tmp_path, told):
    path = tmp_path / "dataset_manifest.xlsx"
    born = {"birth_date": "19600102", "sex": "F"}
    rows = [
        {"ID": "amos_0001", "subset": "train", **born},
        {"ID": "amos_0002", "subset": "val", **born},
        {"ID": "amos_0003", "subset": "test", "birth_date": "19600102", "sex": told},
    ]
    columns = ["ID", "subset", "birth_date", "sex"]
    manifest.Target(path).write({"Manifest": workbook.frame(columns, rows)})
    result = run("--manifest_file", path)
    assert result.exit_code == 0
    assert trees.complaints(result, "note") == [
        "note split01_standard: 1 of 1 val scans show a patient of train: amos_0002",
        "note split01_standard: that these are the same patients is inferred from birth_date and "
        "sex (docs/patients.md)",
        "note split01_standard: 1 samples without birth_date or sex, of which it is not known "
        "whether they show a patient of an earlier subset: amos_0003",
    ]


def test_a_manifest_without_the_columns_knows_no_patient(manifest_file):
    assert trees.complaints(run("--manifest_file", manifest_file), "note") == [
        "note split01_standard: 4 samples without birth_date or sex, of which it is not known "
        "whether they show a patient of an earlier subset: "
        "amos_0000, amos_0001, amos_0002, amos_0003"
    ]


def test_name_has_a_default(manifest_file):
    assert run("--manifest_file", manifest_file).exit_code == 0
    assert workbook.Workbook(manifest_file).names[1] == "split01_standard"


def test_no_sheet_manifest(tmp_path):
    path = tmp_path / "m.xlsx"
    manifest.Target(path).write({"Other": workbook.frame(["ID"], [])})
    result = run("--manifest_file", path)
    assert result.exit_code == 2
    assert "no worksheet 'Manifest'; there are: Other" in result.stderr


@pytest.mark.parametrize("name", ["Manifest", "manifest", "x" * 32, "a:b", "spx", ""])
def test_refused_names(manifest_file, name):
    before = manifest_file.read_bytes()
    result = run("--manifest_file", manifest_file, "--split_name", name)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert manifest_file.read_bytes() == before


def test_unknown_subset(manifest_file):
    book = openpyxl.load_workbook(manifest_file)
    book["Manifest"]["B3"] = "tarin"
    book.save(manifest_file)
    before = manifest_file.read_bytes()
    result = run("--manifest_file", manifest_file)
    assert result.exit_code == 2
    assert "amos_0001 'tarin'" in result.stderr
    assert manifest_file.read_bytes() == before

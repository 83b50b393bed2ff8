"""Routine 06 as a person runs it."""

import runpy
import subprocess
import sys
from pathlib import Path

import click.testing
import openpyxl
import pytest

from utils.storage import manifest, workbook

SCRIPT = Path(__file__).parents[1] / "06_make_split01_standard.py"
MAIN = runpy.run_path(str(SCRIPT))["main"]


@pytest.fixture
def manifest_file(tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    rows = [
        {"ID": f"amos_{number:04d}", "subset": subset, "spx": 0.7 + number}
        for number, subset in enumerate(["train", "train", "test", "val"])
    ]
    manifest.write(path, {"Manifest": workbook.frame(["ID", "subset", "spx"], rows)})
    return path


def run(*arguments):
    return click.testing.CliRunner().invoke(MAIN, [str(word) for word in arguments])


def test_adds_the_sheet_and_counts(manifest_file):
    result = run("--manifest_file", manifest_file, "--split_name", "split01_standard")
    assert result.exit_code == 0, result.output
    assert "split01_standard: 4 samples (2 train, 1 val, 1 test)" in result.stdout
    assert workbook.Workbook(manifest_file).names == ["Manifest", "split01_standard"]
    split = workbook.Workbook(manifest_file).table("split01_standard")
    assert split["split01_standard"].tolist() == ["train", "train", "test", "val"]


def test_name_has_a_default(manifest_file):
    assert run("--manifest_file", manifest_file).exit_code == 0
    assert workbook.Workbook(manifest_file).names[1] == "split01_standard"


def test_wrong_path_names_the_nearest(manifest_file):
    result = run("--manifest_file", manifest_file.with_name("dataset_manifes.xlsx"))
    assert result.exit_code == 2
    assert str(manifest_file) in result.stderr


@pytest.mark.parametrize("content", [b"", b"no workbook"])
def test_no_workbook(tmp_path, content):
    path = tmp_path / "m.xlsx"
    path.write_bytes(content)
    result = run("--manifest_file", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1 and "m.xlsx" in result.stderr


def test_no_sheet_manifest(tmp_path):
    path = tmp_path / "m.xlsx"
    manifest.write(path, {"Other": workbook.frame(["ID"], [])})
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


def test_from_another_directory_without_image_libraries(manifest_file):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'nibabel', 'scipy', 'cc3d', 'tqdm'} "
        "& set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, SCRIPT, "--manifest_file", manifest_file.name],
        cwd=manifest_file.parent,
        env={"PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("\n[]\n")


def test_help_needs_no_openpyxl():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print('openpyxl' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, SCRIPT],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SCRIPT.parent)},
        check=True,
    )
    assert result.stdout == "False\n"

"""Routine 07 as a person runs it."""

import openpyxl
import pytest
import trees

from utils.routines import split_choices, splits
from utils.storage import manifest, workbook

SPLIT = "split01_standard"


@pytest.fixture
def manifest_file(tmp_path):
    path = tmp_path / "grouped ä" / "dataset_manifest.xlsx"
    rows = [
        {"ID": f"amos_{number:04d}", "subset": subset}
        for number, subset in enumerate(["train", "val", "train", "test"])
    ]
    manifest.Target(path).write({"Manifest": workbook.frame(["ID", "subset"], rows)})
    splits.make_sheet(path, SPLIT, split_choices.published)
    return path


def run(manifest_file, *groups, split_name=SPLIT):
    """Run the routine into the folder `splits` beside the manifest."""
    words = ["--manifest_file", manifest_file, "--split_name", split_name]
    words += ["--output_index_manifest_dir", manifest_file.parent / "splits"]
    for group in groups:
        words += ["--subsets", *group]
    return trees.run(trees.CUT, *words)


def test_files_of_the_tutorial(manifest_file):
    result = run(manifest_file, ["train", "val"], ["train"], ["val"], ["test"])
    assert (result.exit_code, result.stderr) == (0, "")
    folder = manifest_file.parent / "splits"
    names = ["train_val", "train", "val", "test"]
    assert result.stdout.splitlines() == [
        f"{folder / f'{SPLIT}_{name}.xlsx'}: {count} samples"
        for name, count in zip(names, [3, 2, 1, 1])
    ]
    assert {path.name for path in folder.iterdir()} == {f"{SPLIT}_{name}.xlsx" for name in names}
    both = workbook.Workbook(folder / f"{SPLIT}_train_val.xlsx").table(f"{SPLIT}_train_val")
    assert list(both) == ["ID", "subset", SPLIT]
    assert both["ID"].tolist() == ["amos_0000", "amos_0001", "amos_0002"]


@pytest.mark.parametrize(
    "groups",
    [
        *([["train"], other] for other in (["nothing"], ["val", "Test"], ["train"], [])),
        [["train", "train"]],
        [],
    ],
)
def test_wrong_subsets_write_nothing(manifest_file, groups):
    result = run(manifest_file, *groups)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr and "Traceback" not in result.stderr
    assert not (manifest_file.parent / "splits").exists()


def test_missing_sheet(manifest_file):
    result = run(manifest_file, ["train"], split_name="split02")
    assert result.exit_code == 2
    assert f"no worksheet 'split02'; there are: Manifest, {SPLIT}" in result.stderr


def test_a_long_name_is_the_files_and_the_worksheet_is_manifest(manifest_file):
    name = "s" * 24
    splits.make_sheet(manifest_file, name, split_choices.published)
    result = run(manifest_file, ["val"], ["train", "val"], split_name=name)
    assert (result.exit_code, result.stderr) == (0, "")
    folder = manifest_file.parent / "splits"
    assert result.stdout == (
        f"{folder / name}_val.xlsx: 1 samples\n{folder / name}_train_val.xlsx: 3 samples\n"
    )
    short, long = (workbook.Workbook(folder / f"{name}_{end}.xlsx") for end in ("val", "train_val"))
    assert (short.names, long.names) == ([f"{name}_val"], ["Manifest"])
    table = long.table("Manifest")
    assert list(table) == ["ID", "subset", name]
    assert table[name].tolist() == ["train", "val", "train"]


def test_names_that_no_file_can_have_write_nothing(manifest_file):
    subsets = ["x" * 120, "y" * 120, "z"]
    choices = dict(zip(["amos_0000", "amos_0001", "amos_0002"], subsets))
    splits.make_sheet(manifest_file, "split07", lambda table: choices)
    result = run(manifest_file, ["z"], subsets, split_name="split07")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: the file name split07_{'_'.join(subsets)}.xlsx has 256 bytes, "
        "file systems allow 255; use fewer subsets\n"
    )
    assert not (manifest_file.parent / "splits").exists()


def test_split_that_is_out_of_date_is_warned_about(manifest_file):
    book = openpyxl.load_workbook(manifest_file)
    book["Manifest"]["C1"], book["Manifest"]["C2"] = "remark", "hand-made"
    book.save(manifest_file)
    result = run(manifest_file, ["train"])
    assert result.exit_code == 0
    assert result.stderr.startswith(f"WARNING {SPLIT}: ")
    assert "2 samples" in result.stdout


def test_output_folder_that_is_a_file(manifest_file):
    (manifest_file.parent / "splits").write_text("")
    result = run(manifest_file, ["train"])
    assert (result.exit_code, result.stdout) == (2, "")

"""Manifests: hand changes are noticed, files are whole, paths are resolved."""

import os
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
import workbooks
from workbooks import add, edit, rows, table

from utils import errors
from utils.storage import files, manifest, workbook

path, written = workbooks.target_path, workbooks.small_workbook  # fixtures


# ---- writing, digest, backups


def test_equal_workbook_is_left_untouched(written):
    same = table(
        ID=["amos_0001", "amos_0004"], szx=[512, 7], spx=[0.78125, 1 / 3], age=["062Y", "UND"]
    )
    before = written.stat()
    assert manifest.Target(written).write({"Manifest": same}) is False
    assert add(written, "Manifest", same) is False
    assert manifest.Target(written).write_sheet("Manifest", same) is False
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


def test_unchanged_cells_survive_openpyxl_and_formatting(path):
    rng = np.random.default_rng(1)
    manifest.Target(path).write(
        {
            "Manifest": table(
                text=["0001", "NA", "=1+1", " blank "],
                number=list(rng.random(4) * 900),
                whole=list(range(4)),
            )
        }
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
            manifest.Target(written).write(new)
        assert written.read_bytes() == contents[-1]
        with pytest.warns(errors.DataWarning, match=name):
            assert manifest.Target(written, overwrite=True).write(new)
        assert written.with_name(name).read_bytes() == contents[-1]
        assert rows(written) == [{"ID": "amos_0600"}]
        assert not manifest.Target(written).was_changed
    assert written.with_name("dataset_manifest.bak.xlsx").read_bytes() == contents[0]


def test_name_that_no_disk_takes_is_explained(tmp_path):
    for path in (tmp_path / f"{'x' * 300}.xlsx", tmp_path / ("y" * 300) / "x.xlsx"):
        for write in (
            lambda: manifest.refuse_if_changed(path),
            lambda: manifest.Target(path).write({"A": table(a=["1"])}),
            lambda: manifest.Target(path).write_sheet("A", table(a=["1"])),
            lambda: manifest.write_together({path: {"A": table(a=["1"])}}),
        ):
            with pytest.raises(errors.DatasetError, match="cannot be written"):
                write()
    assert list(tmp_path.iterdir()) == []


def places(folder):
    """Paths that no workbook can be written to, by what is there."""
    (folder / "folder.xlsx").mkdir()
    (folder / "file").write_bytes(b"")
    os.mkfifo(folder / "pipe.xlsx")
    (folder / "link.xlsx").symlink_to(folder / "nowhere/m.xlsx")
    (folder / "loop.xlsx").symlink_to(folder / "loop.xlsx")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "null.xlsx").symlink_to("/dev/null")
    names = ("folder.xlsx", "pipe.xlsx", "link.xlsx", "loop.xlsx", "null.xlsx")
    inside = ("file/m.xlsx", "dangling/m.xlsx", "dangling/sub/m.xlsx")
    return [folder / name for name in (*names, *inside)] + [Path("/proc/no such/m.xlsx")]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_that_no_workbook_can_be_written_to_is_found_before_the_work(tmp_path, overwrite):
    for path in places(tmp_path):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(errors.DatasetError, match="cannot be written") as caught:
            manifest.refuse_if_changed(path, overwrite)
        assert "m.xlsx" in str(caught.value) or str(path) in str(caught.value)
        assert caught.value.code == "write"
        assert sorted(tmp_path.iterdir()) == before


def test_looking_makes_no_folder(tmp_path):
    manifest.refuse_if_changed(tmp_path / "new" / "newer" / "m.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_backup_cannot_be_named(tmp_path):
    path = tmp_path / f"{'x' * 250}.xlsx"
    path.write_bytes(b"mine")
    with pytest.raises(errors.DatasetError, match="cannot be written"):
        manifest.Target(path, overwrite=True).write({"A": table(a=["1"])})
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
        manifest.Target(written).write({"Manifest": table(a=["x"])})
    with pytest.raises(errors.DatasetError, match="no space"):
        add(written, "split", table(a=["x"]))
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


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
    manifest.Target(path).write({"Notes": table(a=["x"])})
    manifest.Target(path).write_sheet("Manifest", table(ID=["y"]))
    assert workbook.Workbook(path).names == ["Manifest", "Notes"]


def test_missing_workbook_is_made(path):
    assert manifest.Target(path).write_sheet("Manifest", table(ID=["y"]))
    assert workbook.Workbook(path).names == ["Manifest"]


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


def test_a_target_loads_the_workbook_once(written, monkeypatch):
    loaded = []

    class Counted(workbook.Workbook):
        def __init__(self, path):
            loaded.append(path)
            super().__init__(path)

    monkeypatch.setattr(workbook, "Workbook", Counted)
    target = manifest.refuse_if_changed(written)
    assert target.write_sheet("Manifest", table(ID=["amos_0600"]))
    assert loaded == [written]


def test_a_change_during_a_long_run_is_noticed(written):
    target = manifest.refuse_if_changed(written)
    edit(written, lambda book: book["Manifest"].__setitem__("D2", "063Y"))
    with pytest.raises(errors.DatasetError, match="changed by hand"):
        target.write_sheet("Manifest", table(ID=["amos_0600"]))
    assert rows(written)[0]["age"] == "063Y"


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


@pytest.mark.parametrize("text", ["round/a.nii.gz", "a" * 300])
def test_resolve_tells_what_hinders_it(tmp_path, text):
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(errors.DamagedFileError, match="cannot be read: (Too many|File name too)"):
        manifest.resolve(text, tmp_path / "m.xlsx")

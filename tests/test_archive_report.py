"""The report of the archive before routine 02: what is shown, what is odd, what is refused."""

import base64
import dataclasses
import itertools
import json
import os
import shutil
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import described_trees
import nibabel as nib
import numpy as np
import openpyxl
import pytest
import report_data
import trees

from utils import errors
from utils.facts import amos22, nme
from utils.qc import archive_scans, label_files, plotting, sample_report
from utils.storage import json_files, mask_fit, nifti, organ_masks

pytestmark = pytest.mark.slow("draws reports")
_MASK = "archive/amos22/labelsTr/amos_0004.nii.gz"
_VOLUME = "archive/amos22/imagesTr/amos_0004.nii.gz"


@pytest.fixture(scope="module", name="tree")
def scanned_tree():
    """Two CT scans with masks, 0001 of a woman, and one without."""
    root = trees.copy("scanned", Path(trees.scratch("archive report"), "tree"))
    kept = ("amos_0001", "amos_0004", "amos_0201")
    _edit(root, lambda row: None if _name(row) in kept else "delete")
    return root


def _name(row):
    return os.path.basename(row["file_path"]).partition(".")[0]


def _edit(root, change):
    """Change rows of the manifest in place; those for which `change` gives a word go."""
    path = root / "descriptor/archive_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    header = [cell.value for cell in sheet[1]]
    for cell in (cell for cells in sheet for cell in cells):
        cell.hyperlink = None  # it would stay at its place
    for number in range(sheet.max_row, 1, -1):
        row = {key: cell.value for key, cell in zip(header, sheet[number])}
        if change(row):
            sheet.delete_rows(number)
            continue
        for cell, value in zip(sheet[number], row.values()):
            cell.value = value
    book.save(path)


@pytest.fixture(name="root")
def copied_tree(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(plotting, "draw", lambda rows: {})
    return shutil.copytree(tree, tmp_path / "root")


def _render(root, *more, fails=0):
    words = ["--archive_manifest", root / "descriptor/archive_manifest.xlsx"]
    words += ["--output_dir", root / "qc_archive", "--workers", 1]
    result = trees.run(trees.REPORT, *words, *more)
    assert result.exit_code == fails, result.output
    return result


def _record(root, name):
    return json_files.unsealed(root / f"qc_archive/measures/{name}.json")


def _layers(root, name):
    data = report_data.data_of_script(root / f"qc_archive/samples/{name}.js")
    return {
        layer["key"]: zlib.decompress(base64.b64decode(layer["deflated"]))
        for layer in data["layers"]
    }


def _flags(root, name, *kinds):
    found = json.loads((root / "qc_archive/flags.json").read_text(encoding="utf-8"))
    kinds = kinds or ("pair", "manifest", "header", "metadata", "failed")
    return [
        (flag["kind"], flag["severity"], flag["reason"])
        for flag in found
        if flag["ID"] == name and flag["kind"] in kinds
    ]


def _page(root):
    text = (root / "qc_archive/index.html").read_text(encoding="utf-8")
    samples = json.loads(text.split('id="data">')[1].split("</script>")[0])["samples"]
    return {sample["name"]: sample for sample in samples}


def _rewrite(path, change):
    """Save a changed image in a file's place: `change` gets voxels and affine."""
    image = nib.load(path)
    new = change(np.asarray(image.dataobj), image.affine)
    nib.save(new if isinstance(new, nib.Nifti1Image) else nib.Nifti1Image(*new), path)


def _pair(root):
    result = trees.invoke(trees.PAIR_CT, root)
    assert result.exit_code == 0, result.output


# ---- what is shown


def test_the_archive_is_shown_as_routine_02_takes_it(root):
    stdout = _render(root).stdout
    assert "3 samples" in stdout
    assert "samples: 3 done, 0 skipped as finished, 0 failed" in stdout
    assert not (root / "grouped").exists()
    page = _page(root)
    assert [*page] == ["amos_0001", "amos_0004", "amos_0201"]
    assert page["amos_0004"]["paths"] == {"volume": f"../{_VOLUME}", "mask": f"../{_MASK}"}
    assert page["amos_0004"]["metadata"]["scanner"] == "Brilliance16"
    assert page["amos_0201"]["paths"] == {"volume": "../archive/amos22/imagesTs/amos_0201.nii.gz"}
    assert page["amos_0201"]["mask_crc32"] == ""
    assert (_layers(root, "amos_0201"), [*_layers(root, "amos_0004")]) == ({}, ["mask"])
    assert {name: _flags(root, name) for name in page} == dict.fromkeys(page, [])


def test_what_is_accepted_there_holds_for_what_routine_02_writes(root):
    _rewrite(root / _MASK, lambda data, affine: nib.Nifti1Image(data, affine).as_reoriented(_TURN))
    _render(root)
    _pair(root)
    for name in ("amos_0001", "amos_0004"):
        mask = nib.load(trees.mask_path(root, name))
        voxels = np.asarray(mask.dataobj).tobytes(order="F")
        assert _page(root)[name]["mask_crc32"] == f"0x{zlib.crc32(voxels):08x}"


_TURN = np.array([[2, -1], [0, 1], [1, -1]])


def test_a_mask_along_other_axes_is_shown_in_its_volumes_order(root):
    _render(root)
    before = _layers(root, "amos_0004")
    _rewrite(root / _MASK, lambda data, affine: nib.Nifti1Image(data, affine).as_reoriented(_TURN))
    assert "samples: 1 done, 2 skipped as finished, 0 failed" in _render(root).stdout
    assert _layers(root, "amos_0004") == before
    ((kind, severity, reason),) = _flags(root, "amos_0004")
    assert (kind, severity) == ("pair", "unusual")
    assert reason.startswith("The mask is stored along other axes (")


def test_label_15_may_be_a_womans_before_routine_03(root):
    _rewrite(
        root / "archive/amos22/labelsTr/amos_0001.nii.gz",
        lambda data, affine: (_with15(data), affine),
    )
    _render(root)
    assert _flags(root, "amos_0001", "sex") == []
    assert _record(root, "amos_0001")["organs"]["prostate_or_uterus"]["value"] == 15


def _with15(data):
    data[2, 2, 2] = 15
    return data


def test_a_label_map_beside_the_archive_names_the_labels(root):
    path = root / "descriptor/label_map.yaml"
    path.write_text(path.read_text().replace("liver", "hepar"))
    _render(root)
    assert "hepar" in _record(root, "amos_0004")["organs"]


def test_decisions_on_the_archive_are_obeyed_by_routine_02_and_shown(root):
    review = root / "descriptor/review.csv"
    review.write_text("ID,decision,note,reviewer,mask_crc32\namos_0004,exclude,bad,me,\n")
    _render(root)
    text = (root / "qc_archive/index.html").read_text(encoding="utf-8")
    decided = json.loads(text.split('id="data">')[1].split("</script>")[0])["review"]
    assert decided["place"] == "../descriptor/review.csv"
    assert [(row["ID"], row["decision"]) for row in decided["rows"]] == [("amos_0004", "exclude")]
    result = trees.invoke(trees.PAIR_CT, root)
    assert result.exit_code == 0
    assert "excluded and left out: amos_0004" in result.stderr
    assert not [*(root / "grouped").rglob("amos_0004_*")]
    assert [*(root / "grouped").rglob("amos_0001_*_volume.nii.gz")] == []
    assert [*(root / "grouped").rglob("amos_0001_volume.nii.gz")]


def test_a_rerun_draws_nothing_again(root):
    _render(root)
    pictures = {path: path.stat().st_mtime_ns for path in (root / "qc_archive/pictures").iterdir()}
    assert "samples: 0 done, 3 skipped as finished" in _render(root).stdout
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures


def test_scans_in_a_zip_are_shown_and_their_place_is_a_text(root):
    archive = root / "archive/amos22"
    with zipfile.ZipFile(root / "amos22.zip", "w") as whole:
        for path in sorted(archive.rglob("*.nii.gz")):
            whole.write(path, f"amos22/{path.relative_to(archive)}")
    shutil.rmtree(archive)
    (root / "amos22.zip").rename(root / "archive/amos22.zip")

    def zipped(row):
        row["file_path"] = f"amos22.zip/{row['file_path']}"

    _edit(root, zipped)
    _render(root)
    sample = _page(root)["amos_0004"]
    assert sample["paths"] == {}
    place = "amos22.zip/amos22/{}/amos_0004.nii.gz"
    assert sample["members"] == {
        "volume": place.format("imagesTr"),
        "mask": place.format("labelsTr"),
    }
    assert "mask" in _layers(root, "amos_0004")


def test_unlabelled_scans_are_shown_without_masks(root):
    (root / "archive/amos22/imagesTs/amos_0201.nii.gz").rename(root / "archive/amos_6200.nii.gz")

    def unlabelled(row):
        if _name(row) == "amos_0201":
            row.update(file_path="amos_6200.nii.gz", subset="unlabelled", seq="6200", age="UND")
            row.update(manufacturer_model_name="UND", sex="UND")

    _edit(root, unlabelled)
    _render(root)
    assert _page(root)["amos_6200"]["metadata"]["modality"] == "CT"
    assert _flags(root, "amos_6200") == []


# ---- what is odd


def _move(data, affine):
    affine = affine.copy()
    affine[:3, 3] += 0.6 * affine[:3, 0]
    return data, affine


def _nudge(data, affine):
    affine = affine.copy()
    affine[0, 3] += 0.5
    return data, affine


def _round(data, affine):
    affine = affine.copy()
    affine[0, 3] += 0.004
    return data, affine


def _lose_orientation(data, affine):
    image = nib.Nifti1Image(data, None)
    image.header.set_zooms(nib.affines.voxel_sizes(affine))
    return image


def _stretch(data, affine):
    image = nib.Nifti1Image(data, affine)
    image.header["pixdim"][3] += 1
    return image


def _shear(data, affine):
    affine = affine.copy()
    affine[0, 1] += 0.01 * abs(affine[1, 1])
    image = nib.Nifti1Image(data, None)
    image.header["pixdim"][1:4] = nib.affines.voxel_sizes(affine)
    image.set_sform(affine, 1)
    return image


MASKS = {
    "moved": (_move, "pair", "wrong", ": 0.6 voxels. It is shown voxel by voxel; routine 02 fails"),
    "nudged": (_nudge, "pair", "doubtful", "; routine 02 takes the volume's."),
    "rounded": (_round, "pair", "unusual", "; routine 02 takes the volume's."),
    "no orientation": (_lose_orientation, "header", "doubtful", "neither sform nor qform"),
    "pixdim": (_stretch, "header", "doubtful", "The mask: pixdim "),
}


@pytest.mark.parametrize("kind", MASKS)
def test_how_a_mask_lies_to_its_volume_is_a_flag(root, kind):
    change, *expected, part = MASKS[kind]
    _render(root)
    before = _layers(root, "amos_0004")
    _rewrite(root / _MASK, change)
    _render(root)
    (flag,) = [flag for flag in _flags(root, "amos_0004") if part in flag[2]]
    assert [*flag[:2]] == expected
    assert str(root) not in flag[2]
    assert _layers(root, "amos_0004") == before


def test_a_volume_that_tools_refuse_is_a_flag(root):
    _rewrite(root / _VOLUME, _shear)
    _rewrite(root / _MASK, _shear)
    _render(root)
    reasons = [reason for kind, _, reason in _flags(root, "amos_0004") if kind == "header"]
    assert any("The volume: axes not orthonormal" in reason for reason in reasons)


def test_a_mask_of_another_shape_leaves_the_volume(root):
    _rewrite(root / _MASK, lambda data, affine: (data[:-1], affine))
    result = _render(root)
    (flag,) = _flags(root, "amos_0004")
    assert flag[:2] == ("pair", "wrong")
    assert flag[2] == (
        "Shown without mask: amos_0004.nii.gz: shape (6, 8, 9) differs from its volume's (7, 8, 9)."
    )
    assert f"amos_0004: pair: {flag[2]}" in result.stdout
    assert _layers(root, "amos_0004") == {}
    assert [*_layers(root, "amos_0001")] == ["mask"]
    _render(root, "--fail_on", "wrong", fails=1)


def test_a_mask_whose_header_cannot_be_read_leaves_the_volume(root):
    (root / _MASK).write_bytes((root / _MASK).read_bytes()[:-9])
    _render(root)
    (flag,) = _flags(root, "amos_0004")
    assert flag[:2] == ("pair", "wrong")
    assert "amos_0004.nii.gz: damaged: the gzip stream is cut off" in flag[2]
    assert _layers(root, "amos_0004") == {}


@pytest.mark.parametrize("value", [0.5, 256.0])
def test_what_is_no_label_fails_its_sample_alone(root, value):
    def spoil(data, affine):
        data = data.astype(np.float32)
        data[0, 0, 0] = value
        return data, affine

    _rewrite(root / _MASK, spoil)
    result = _render(root, fails=1)
    assert f"FAILED amos_0004: {root / _MASK}: labels {value:g} found" in result.stderr
    assert "samples: 2 done, 0 skipped as finished, 1 failed" in result.stdout


def test_a_damaged_volume_fails_its_sample_alone(root):
    (root / _VOLUME).write_bytes(b"nothing")
    result = _render(root, fails=1)
    assert f"FAILED amos_0004: {root / _VOLUME}: damaged" in result.stderr
    assert [*_page(root)] == ["amos_0001", "amos_0004", "amos_0201"]


def _delete(*names):
    return lambda row: row["file_path"] in names


def test_masks_and_volumes_without_each_other(root):
    _edit(root, _delete("amos22/imagesTr/amos_0001.nii.gz", "amos22/labelsTr/amos_0004.nii.gz"))
    result = _render(root, fails=1)
    reason = "mask amos22/labelsTr/amos_0001.nii.gz has no volume in the manifest"
    assert f"FAILED amos_0001: {reason}" in result.stderr
    assert _flags(root, "amos_0004") == [
        ("pair", "doubtful", "There is no mask in the manifest, though it is a train sample.")
    ]


def test_rows_that_routine_02_would_fail_are_told(root):
    def spoil(row):
        if row["file_path"] == "amos22/labelsTr/amos_0004.nii.gz":
            row["site"] = "Elsewhere"
        if _name(row) == "amos_0001":
            row["sex"] = "X"
        if _name(row) == "amos_0201":
            row["manufacturer_model_name"] = "Camera"

    _edit(root, spoil)
    _render(root)
    ((*kinds, reason),) = _flags(root, "amos_0004")
    assert kinds == ["manifest", "wrong"]
    assert reason.startswith("Routine 02 would fail this sample: its rows disagree on site: ")
    assert "sex" in _flags(root, "amos_0001")[0][2]
    assert "scanner 'Camera' is none of those known" in _flags(root, "amos_0201")[0][2]


def test_what_is_unknown_of_one_scan_is_unusual_and_of_all_a_note(root):
    def forget(row):
        row["birth_date"] = "UND"
        if _name(row) == "amos_0004":
            row["age"] = row["manufacturer"] = "UND"

    _edit(root, forget)
    result = _render(root)
    assert _flags(root, "amos_0004") == [
        ("metadata", "unusual", "Not known (UND): age, manufacturer.")
    ]
    assert "note archive: of no scan is known: birth_date" in result.stderr


def test_a_row_of_no_sample_fails_the_run_and_leaves_the_others(root):
    def spoil(row):
        if row["file_path"] == "amos22/imagesTs/amos_0201.nii.gz":
            row.update(seq="x", file_path="../x")

    _edit(root, spoil)
    result = _render(root, fails=1)
    assert "FAILED row of '../x': seq is 'x' in the manifest's row of '../x'" in result.stderr
    assert [*_page(root)] == ["amos_0001", "amos_0004"]


def test_paths_that_leave_the_archive_are_not_followed(root):
    def spoil(row):
        if row["file_path"] == "amos22/imagesTs/amos_0201.nii.gz":
            row["file_path"] = "../archive/amos22/imagesTs/amos_0201.nii.gz"

    _edit(root, spoil)
    assert "amos_0201.nii.gz' leaves the archive" in _render(root, fails=1).stderr


# ---- what is refused


@pytest.mark.parametrize("option", ["--before_dir", "--manifest_file"])
def test_options_of_the_grouped_tree_are_refused(root, option):
    value = root if option == "--before_dir" else root / "descriptor/archive_manifest.xlsx"
    result = _render(root, option, value, fails=2)
    assert f"{option} is of the grouped tree; expected it without --archive_manifest" in (
        result.stderr
    )
    assert not (root / "qc_archive").exists()


def test_without_any_data_the_report_is_refused(tmp_path):
    result = trees.run(trees.REPORT, "--output_dir", tmp_path / "qc")
    assert result.exit_code == 2
    assert "--root_dir is missing; expected it, or --archive_manifest" in result.stderr


def test_a_manifest_without_its_files_is_refused(root):
    (root / "archive").rename(root / "moved")
    result = _render(root, fails=2)
    assert "none of its 5 files lies below its folder or a folder above" in result.stderr
    assert "--root_dir names the archive" in result.stderr
    result = _render(root, "--root_dir", root / "descriptor", fails=2)
    assert f"{root / 'descriptor'}: has none of the 5 files" in result.stderr
    _render(root, "--root_dir", root / "moved")
    assert _page(root)["amos_0004"]["paths"]["mask"] == "../moved/amos22/labelsTr/amos_0004.nii.gz"


def test_a_report_inside_the_archive_is_refused(root):
    words = ["--archive_manifest", root / "descriptor/archive_manifest.xlsx"]
    result = trees.run(trees.REPORT, *words, "--output_dir", root / "archive/qc")
    assert result.exit_code == 2
    assert "lies in the data's folder" in result.stderr


# ---- masks of single organs, names of labels


def test_a_column_organ_of_ones_own_makes_no_masks_of_organs(root):
    path = root / "descriptor/archive_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    sheet.cell(1, sheet.max_column + 1, "organ")
    cells = [cell.value for cell in sheet[1]]
    row = next(row for row in sheet if row[0].value == "amos22/labelsTr/amos_0004.nii.gz")
    sheet.append([cell.value for cell in row[:-1]] + ["liver"])
    assert cells[-1] == "organ"
    book.save(path)
    _render(root)
    ((*kinds, reason),) = _flags(root, "amos_0004")
    assert kinds == ["manifest", "wrong"]
    assert "2 rows of one mask" in reason
    assert [*_layers(root, "amos_0001")] == ["mask"]


def test_an_organ_that_the_page_lacks_is_told_and_its_sample_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(plotting, "draw", lambda rows: {})
    root = described_trees.copy("scanned", tmp_path / "root")
    page = described_trees.page(root)
    _render(root, "--dataset", page)
    name, *others = _page(root)
    organs = [*_record(root, name)["organs"]]

    def misspell(row):
        if row["organ"] == organs[0] and name.endswith(row["seq"]):
            row.update(organ="hepar", file_path=row["file_path"].replace(organs[0], "hepar"))

    _edit(root, misspell)
    _render(root, "--dataset", page)
    assert any("organ is 'hepar'" in flag[2] for flag in _flags(root, name, "manifest"))
    assert not any(_flags(root, other, "manifest") for other in others)
    assert [*_record(root, name)["organs"]] == organs[1:]

    path = root / "descriptor/archive_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    next(cell for cell in book["Manifest"][1] if cell.value == "organ").value = "structure"
    book.save(path)
    words = ["--archive_manifest", path, "--dataset", page, "--output_dir", root / "other"]
    result = trees.run(trees.REPORT, *words)
    assert result.exit_code == 2 and "organ" in result.stderr
    assert not (root / "other").exists()


def test_masks_in_one_file_per_organ_are_joined(tmp_path):
    shape, affine = (3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0])
    paths = {"volume": tmp_path / "volume.nii.gz"}
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), paths["volume"])
    for number, organ in enumerate(("liver", "spleen")):
        data = np.zeros(shape, np.uint8)
        data[number] = 1
        paths[organ] = tmp_path / f"{organ}.nii.gz"
        image = nib.Nifti1Image(data, affine)
        nib.save(image.as_reoriented(_TURN) if number else image, paths[organ])
    masks = {organ: paths[organ] for organ in ("spleen", "liver")}
    scan = archive_scans.Scan("a", {}, paths["volume"], masks)
    names = organ_masks.Names({"spleen": 1, "liver": 6})
    _, mask, flags = archive_scans.open_files(scan, names)
    expected = np.zeros(shape, np.uint8)
    expected[0], expected[1] = 6, 1
    np.testing.assert_array_equal(mask.read(), expected)
    assert [flag.kind for flag in flags] == ["pair"]
    assert archive_scans.paths(scan) == {"volume": paths["volume"]}
    changed = dataclasses.replace(mask, source=dataclasses.replace(mask.source, overlap=(6,)))
    assert changed.key() != mask.key()


def test_labels_of_a_file_get_other_numbers(tmp_path):
    data = np.array([[[0, 1, 2, 3]]], np.uint8)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "mask.nii.gz")
    header = nifti.read_header(tmp_path / "mask.nii.gz")
    file = dataclasses.replace(label_files.LabelFile.plain(header), values={1: 2, 2: 1, 3: 200})
    assert file.read().ravel().tolist() == [0, 2, 1, 200]
    assert file.key() != label_files.LabelFile.plain(header).key()
    assert mask_fit.apart(header, header, None) is None


def test_a_mask_along_any_axes_is_brought_into_order_in_the_memory_of_one(tmp_path):
    shape = (130, 210, 300)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    data = np.zeros(shape, np.uint8)
    data[10:40, 20:90, 30:200] = 1
    data[3, 2, 1] = 7
    image = nib.Nifti1Image(data, affine)
    nib.save(image, tmp_path / "volume.nii.gz")
    volume = nifti.read_header(tmp_path / "volume.nii.gz")
    for axes in itertools.permutations(range(3)):
        for signs in ((1, 1, -1), (-1, -1, 1)):
            nib.save(image.as_reoriented(np.column_stack([axes, signs])), tmp_path / "mask.nii.gz")
            header = nifti.read_header(tmp_path / "mask.nii.gz")
            file = label_files.LabelFile.onto(volume, header, order=header.axis_order(volume))
            assert file.order is not None
            tracemalloc.start()
            found = file.read()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            np.testing.assert_array_equal(found, data)
            assert found.flags.f_contiguous
            assert peak < 1.6 * data.size


def test_memory_holds_the_file_of_an_organ_that_is_brought_into_order(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((600, 600, 4), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    volume = tmp_path / "a.nii.gz"
    masks = {}, {"": volume}, {"liver": volume}
    scans = [archive_scans.Scan("a", {}, volume, of_scan) for of_scan in masks]
    alone, with_mask, with_organ = map(sample_report.memory, scans)
    assert alone == with_mask < with_organ


def test_labels_of_the_archive():
    assert amos22.archive_labels()[15] == "prostate_or_uterus"
    assert 16 not in amos22.archive_labels()
    assert nme.archive_labels() == {0: "Bg", 1: "NME"}


def test_a_scan_that_cannot_be_shown_says_why():
    error = errors.DatasetError("no volume")
    with pytest.raises(errors.DatasetError, match="no volume"):
        archive_scans.open_files(archive_scans.Scan("a", {}, error=error), None)

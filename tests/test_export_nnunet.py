"""The nnU-Net export as a person runs it; nnU-Net itself is asked in test_frameworks.py."""

import errno
import io
import json
import os
import shutil

import finished
import numpy as np
import openpyxl
import phantoms
import pytest
import trees

from utils import errors
from utils.exports import nnunet_raw
from utils.facts import amos22
from utils.storage import files, json_files

TRAIN = {"amos_0001", "amos_0004", "amos_0507", "amos_0540"}
VAL = {"amos_0008", "amos_0554"}
TEST = {"amos_0201", "amos_0539"}


@pytest.fixture(scope="module", name="made")
def finished_data(tmp_path_factory):
    return finished.make(tmp_path_factory.mktemp("nnunet") / "data set")


@pytest.fixture(name="root")
def copy_of_it(made, tmp_path):
    return finished.copy(made, tmp_path / "data set")


def words(root, *more, which="whole"):
    return (
        *finished.source(root, which),
        "--output_dir",
        root / "nnUNet_raw",
        "--dataset_id",
        218,
        "--workers",
        1,
        *more,
    )


def export(root, *more, which="whole"):
    """Export, which must succeed; gives the folder and dataset.json."""
    finished.call(finished.NNUNET, *words(root, *more, which=which))
    directory = root / "nnUNet_raw/Dataset218_AMOS22"
    return directory, json.loads((directory / "dataset.json").read_bytes())


def refused(root, *more, status=2, which="whole"):
    """Export, which must fail and change nothing in the output; gives stderr."""
    before = tree(root / "nnUNet_raw")
    result = finished.run(finished.NNUNET, *words(root, *more, which=which))
    assert (result.exit_code, tree(root / "nnUNet_raw")) == (status, before), result.output
    return result.stderr


def tree(folder):
    """Relative path -> target of a link, or bytes."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_reference_copies_nothing(root):
    directory, content = export(root)
    assert set(content["dataset"]) == TRAIN | VAL
    for name, entry in content["dataset"].items():
        sample = trees.sample_dir(root, name)
        (image,) = entry["images"]
        assert (directory / image).samefile(sample / f"{name}_volume.nii.gz")
        assert (directory / entry["label"]).samefile(sample / f"{name}_mask.nii.gz")
        assert not os.path.isabs(image)
    links = {path.name: path for path in (directory / "imagesTs").iterdir()}
    assert set(links) == {f"{name}_0000.nii.gz" for name in TEST}
    assert all(path.is_symlink() and path.is_file() for path in links.values())
    assert {path.name for path in directory.iterdir()} == {
        "dataset.json",
        "splits_final.json",
        "exported_files.json",
        "imagesTs",
    }


def test_dataset_json(root):
    directory, content = export(root)
    assert list(content) == [
        "name",
        "description",
        "reference",
        "licence",
        "channel_names",
        "labels",
        "numTraining",
        "file_ending",
        "overwrite_image_reader_writer",
        "dataset",
    ]
    assert content["numTraining"] == 6
    assert content["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    assert content["file_ending"] == ".nii.gz"
    assert list(content["labels"].values()) == list(range(17))
    assert list(content["labels"])[:3] == ["background", "spleen", "right_kidney"]
    (fold,) = json.loads((directory / "splits_final.json").read_bytes())
    assert (set(fold["train"]), set(fold["val"])) == (TRAIN, VAL)


DATASET_JSON = """\
{
  "name": "AMOS22",
  "description": "@DESCRIPTION",
  "reference": "@REFERENCE",
  "licence": "@LICENCE",
  "channel_names": {
    "0": "CT"
  },
  "labels": {
    "background": 0,
    "spleen": 1,
    "right_kidney": 2,
    "left_kidney": 3,
    "gall_bladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "postcava": 9,
    "pancreas": 10,
    "right_adrenal_gland": 11,
    "left_adrenal_gland": 12,
    "duodenum": 13,
    "bladder": 14,
    "ignore": 15
  },
  "numTraining": 3,
  "file_ending": ".nii.gz",
  "overwrite_image_reader_writer": "NibabelIOWithReorient",
  "dataset": {
    "amos_0001": {
      "images": [
        "../../grouped/AMOS-CT/train/Aquilion ONE/amos_0001_F/amos_0001_volume.nii.gz"
      ],
      "label": "labelsTr/amos_0001.nii.gz"
    },
    "amos_0004": {
      "images": [
        "../../grouped/AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004_volume.nii.gz"
      ],
      "label": "labelsTr/amos_0004.nii.gz"
    },
    "amos_0008": {
      "images": [
        "../../grouped/AMOS-CT/val/Optima CT660/amos_0008_F/amos_0008_volume.nii.gz"
      ],
      "label": "labelsTr/amos_0008.nii.gz"
    }
  }
}
"""
SPLITS_JSON = """\
[
  {
    "train": [
      "amos_0001",
      "amos_0004"
    ],
    "val": [
      "amos_0008"
    ]
  },
  {
    "train": [
      "amos_0008"
    ],
    "val": [
      "amos_0001",
      "amos_0004"
    ]
  },
  {
    "train": [
      "amos_0001",
      "amos_0004"
    ],
    "val": [
      "amos_0008"
    ]
  }
]
"""


def test_bytes_of_both_files(root):
    directory, _ = export(root, "--ignore_labels", 15, 16, "--folds", 2, which="CT")
    assert (directory / "splits_final.json").read_text(encoding="utf-8") == SPLITS_JSON
    expected = DATASET_JSON
    for word in ("DESCRIPTION", "REFERENCE", "LICENCE"):
        expected = expected.replace(f"@{word}", getattr(amos22, word))
    assert (directory / "dataset.json").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("which, channel", [("CT", "CT"), ("MRI", "MRI"), ("whole", "CT_or_MRI")])
def test_channel_names(root, which, channel):
    _, content = export(root, which=which)
    assert content["channel_names"] == {"0": channel}


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_link_and_copy(root, mode):
    directory, content = export(root, "--mode", mode)
    assert "dataset" not in content
    for folder, names, suffix, kind in [
        ("imagesTr", TRAIN | VAL, "_0000.nii.gz", "volume"),
        ("labelsTr", TRAIN | VAL, ".nii.gz", "mask"),
        ("imagesTs", TEST, "_0000.nii.gz", "volume"),
    ]:
        found = {path.name: path for path in (directory / folder).iterdir()}
        assert set(found) == {name + suffix for name in names}
        for name in names:
            path = found[name + suffix]
            source = trees.sample_dir(root, name) / f"{name}_{kind}.nii.gz"
            assert path.is_symlink() == (mode == "link")
            assert path.samefile(source) == (mode == "link")
            assert path.read_bytes() == source.read_bytes()


LABELLED_TEST = ("amos_0008", "amos_0554")


def test_labels_of_labelled_test_samples(root):
    finished.change_subsets(root, dict.fromkeys(LABELLED_TEST, "test"))
    for mode in ("reference", "link", "copy"):
        directory, content = export(root, "--mode", mode)
        found = {path.name: path for path in (directory / "labelsTs").iterdir()}
        assert set(found) == {f"{name}.nii.gz" for name in LABELLED_TEST}
        assert len(list((directory / "imagesTs").iterdir())) == 4
        assert content["numTraining"] == 4
        for name in LABELLED_TEST:
            path, source = found[f"{name}.nii.gz"], trees.mask_path(root, name)
            assert path.is_symlink() == (mode != "copy")
            assert path.read_bytes() == source.read_bytes()
            assert mode == "copy" or not os.path.isabs(os.readlink(path))
        assert all(name not in content.get("dataset", {}) for name in LABELLED_TEST)


def test_no_folder_of_test_labels_without_any(root):
    directory, _ = export(root, "--mode", "copy")
    assert not (directory / "labelsTs").exists()


@pytest.mark.parametrize("mode", ["reference", "link", "copy"])
def test_ignored_labels_of_test_samples(root, mode):
    finished.change_subsets(root, {"amos_0008": "test"})
    trees.put_voxel(trees.mask_path(root, "amos_0008"), (1, 2, 3), 1)
    directory, content = export(root, "--ignore_labels", 1, 14, "--mode", mode)
    before = trees.voxels(trees.mask_path(root, "amos_0008"))
    path = directory / "labelsTs/amos_0008.nii.gz"
    after = trees.voxels(path)
    assert not path.is_symlink() and content["labels"]["ignore"] == 15
    assert (after[(before == 1) | (before == 14)] == 15).all() and (before == 1).any()
    assert content["labels"]["liver"] == 5
    assert (after[before == 6] == 5).all() and (before == 6).any()
    assert not (directory / "labelsTr/amos_0008.nii.gz").exists()


def test_a_sample_that_moves_between_train_and_test(root):
    directory, _ = export(root, "--mode", "link")
    finished.change_subsets(root, {"amos_0008": "test"})
    result = finished.call(finished.NNUNET, *words(root, "--mode", "link"))
    moved = "imagesTr/amos_0008_0000.nii.gz, labelsTr/amos_0008.nii.gz"
    assert f"Removed, of an earlier export: {moved}\n" in result.stdout
    assert (directory / "labelsTs/amos_0008.nii.gz").is_file()
    finished.change_subsets(root, {"amos_0008": "excluded"})
    result = finished.call(finished.NNUNET, *words(root, "--mode", "link"))
    moved = "imagesTs/amos_0008_0000.nii.gz, labelsTs/amos_0008.nii.gz"
    assert f"Removed, of an earlier export: {moved}\n" in result.stdout
    assert not list((directory / "labelsTs").iterdir())


def test_an_export_of_the_former_version_is_renewed(root):
    """Its record names no labelsTs, its dataset.json no reader."""
    finished.change_subsets(root, {"amos_0008": "test"})
    directory, content = export(root)
    whole = tree(directory)
    shutil.rmtree(directory / "labelsTs")
    del content["overwrite_image_reader_writer"]
    (directory / "dataset.json").write_bytes(json_files.to_bytes(content))
    record = json.loads((directory / "exported_files.json").read_bytes())
    record["files"].remove("labelsTs/amos_0008.nii.gz")
    record["sha256"]["dataset.json"] = json_files.checksum(json_files.to_bytes(content))
    (directory / "exported_files.json").write_bytes(json_files.to_bytes(record))
    result = finished.call(finished.NNUNET, *words(root))
    assert (result.stderr, tree(directory)) == ("", whole)


def folds_of(directory):
    """The folds of an export, as pairs of sets."""
    found = json.loads((directory / "splits_final.json").read_bytes())
    assert all(list(fold) == ["train", "val"] for fold in found)
    return [(set(fold["train"]), set(fold["val"])) for fold in found]


def assigned_subsets(path, sheet):
    """ID -> subset, the last column of a split's worksheet."""
    rows = openpyxl.load_workbook(path)[sheet].iter_rows(min_row=2, values_only=True)
    return {row[0]: row[-1] for row in rows}


def test_folds_of_the_split_are_those_of_nnunet(root):
    source = finished.add_folds(root, 3)
    finished.call(finished.NNUNET, *words(root), *source)
    assigned = assigned_subsets(source[1], finished.FOLDS)
    members = [{key for key in assigned if assigned[key] == f"fold{number}"} for number in range(3)]
    found = folds_of(root / "nnUNet_raw/Dataset218_AMOS22")
    assert found == [((TRAIN | VAL) - fold, fold) for fold in members]
    assert all(members)


def test_added_folds_keep_patients_together_and_fold_0_is_the_split(root):
    """Two people, each with a scan in train and one in val, as the published split has them."""
    pairs = [("amos_0001", "amos_0008"), ("amos_0540", "amos_0554")]
    manifest = root / "grouped/dataset_manifest.xlsx"
    for born, pair in zip(("19500102", "19510203"), pairs):
        trees.edit_cells(manifest, {("birth_date", name): born for name in pair})
    finished.call(trees.MAKE_SPLIT, "--manifest_file", manifest)
    directory, _ = export(root, "--folds", 3)
    published, *added = folds_of(directory)
    assert published == (TRAIN, VAL)
    assert len(added) == 3
    assert sorted(name for _, val in added for name in val) == sorted(TRAIN | VAL)
    for train, val in added:
        assert train == (TRAIN | VAL) - val
        assert all(len({*pair} & val) in (0, 2) for pair in pairs)


def test_folds_alone_where_val_has_no_masks(root):
    finished.change_subsets(root, dict.fromkeys(sorted(VAL), "train"))
    result = finished.call(finished.NNUNET, *words(root, "--folds", 2))
    found = folds_of(root / "nnUNet_raw/Dataset218_AMOS22")
    assert len(found) == 2 and found[0] == found[1][::-1]
    assert result.stderr == ""
    assert "splits_final.json: folds 0 to 1 keep patients together\n" in result.stdout


def test_folds_do_not_depend_on_the_order_of_the_rows(root):
    directory, _ = export(root, "--folds", 3)
    before = (directory / "splits_final.json").read_bytes()
    path = root / "grouped/dataset_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    rows = [[cell.value for cell in row] for row in book[finished.SPLIT].iter_rows(min_row=2)]
    for number, row in enumerate(reversed(rows), start=2):
        for column, value in enumerate(row, start=1):
            book[finished.SPLIT].cell(number, column).value = value
    book.save(path)
    export(root, "--folds", 3, "--overwrite")
    assert (directory / "splits_final.json").read_bytes() == before


@pytest.mark.parametrize(
    "number, line",
    [
        (1, "Error: Invalid value for '--folds': 1 found, expected 0 or at least 2"),
        (-2, "Error: Invalid value for '--folds': -2 is not in the range x>=0."),
        (7, "Error: patients with a mask: 6, for 7 folds"),
        (10**30, f"Error: patients with a mask: 6, for {10**30} folds"),
    ],
)
def test_numbers_of_folds_that_cannot_be(root, number, line):
    assert refused(root, "--folds", number).splitlines()[-1] == line


def test_folds_beside_those_of_the_split(root):
    source = finished.add_folds(root)
    stderr = refused(root, *source, "--folds", 5)
    reason = "the split split03_folds has folds of its own; leave --folds out"
    assert stderr == f"Error: --folds 5: {reason}\n"
    finished.call(finished.NNUNET, *words(root), *source, "--folds", 0)


def test_folds_without_masks(root):
    source = finished.add_folds(root, 3)
    assigned = assigned_subsets(source[1], finished.FOLDS)
    changes = {("mask", name): None for name in assigned if assigned[name] == "fold1"}
    trees.edit_cells(source[1], changes, finished.FOLDS)
    stderr = refused(root, *source)
    assert "the split's samples with masks are in fold0, fold2; expected fold0, fold1" in stderr


def test_links_move_with_the_data(root, tmp_path):
    directory, _ = export(root, "--mode", "link")
    moved = root.rename(tmp_path / "elsewhere")
    for path in (moved / directory.relative_to(root)).glob("*Tr/*"):
        assert path.is_file() and not os.path.isabs(os.readlink(path))


def test_output_behind_a_symbolic_link(root, tmp_path):
    (tmp_path / "far/away").mkdir(parents=True)
    (root / "nnUNet_raw").symlink_to(tmp_path / "far/away")
    directory, content = export(root)
    assert all((directory / path).is_file() for path in (directory / "imagesTs").iterdir())
    for entry in content["dataset"].values():
        # As nnU-Net does it: the names are joined, then shortened.
        assert os.path.isfile(os.path.abspath(os.path.join(directory, entry["images"][0])))


@pytest.mark.parametrize(
    "more", [[], ["--mode", "link"], ["--mode", "copy"], ["--ignore_labels", 14, 15, 16]]
)
def test_second_run_changes_nothing(root, more):
    directory, _ = export(root, *more)
    before = trees.identities(directory)
    result = finished.call(finished.NNUNET, *words(root, *more))
    assert trees.identities(directory) == before
    assert "0 done, 8 skipped as finished" in result.stdout


def test_overwrite_writes_the_same_again(root):
    directory, _ = export(root, "--mode", "copy")
    before, old = tree(directory), trees.identities(directory)
    export(root, "--mode", "copy", "--overwrite")
    assert tree(directory) == before
    assert trees.rewritten(old, trees.identities(directory)) == {
        name for name in before if not name.endswith(".json")
    }


@pytest.mark.parametrize("mode", ["reference", "link", "copy"])
def test_ignored_labels(root, mode):
    for value in (14, 15, 16):
        trees.put_voxel(trees.mask_path(root, "amos_0507"), (value - 14, 2, 3), value)
    directory, content = export(root, "--ignore_labels", 14, 15, 16, "--mode", mode, which="MRI")
    assert list(content["labels"].items())[-2:] == [("duodenum", 13), ("ignore", 14)]
    assert len(content["labels"]) == 15
    expected = {14: 14, 15: 14, 16: 14}
    for name in ("amos_0507", "amos_0540", "amos_0554"):
        path = directory / f"labelsTr/{name}.nii.gz"
        before = trees.voxels(trees.mask_path(root, name))
        after = trees.voxels(path)
        assert not path.is_symlink() and after.dtype == np.uint8
        assert np.array_equal(after, np.vectorize(lambda value: expected.get(value, value))(before))
        if mode == "reference":
            assert content["dataset"][name]["label"] == f"labelsTr/{name}.nii.gz"


def test_ignored_labels_in_between_leave_consecutive_numbers(root):
    directory, content = export(root, "--ignore_labels", 1, 6, which="CT")
    assert list(content["labels"].values()) == list(range(16))
    assert list(content["labels"])[:2] == ["background", "right_kidney"]
    before = trees.voxels(trees.mask_path(root, "amos_0001"))
    after = trees.voxels(directory / "labelsTr/amos_0001.nii.gz")
    assert (after[before == 6] == 15).all() and (after[before == 7] == 5).all()
    assert (before == 6).any() and (before == 7).any()


def test_label_files_have_the_geometry_of_the_volumes(root):
    directory, _ = export(root, "--ignore_labels", 14, which="MRI")
    name = "amos_0507"  # oblique
    written = nnunet_raw.nifti.read_header(directory / f"labelsTr/{name}.nii.gz")
    volume = nnunet_raw.nifti.read_header(trees.sample_dir(root, name) / f"{name}_volume.nii.gz")
    assert (written.affine == volume.affine).all() and (written.zooms == volume.zooms).all()


@pytest.mark.parametrize("labels", [["0"], ["17"], ["14", "uterus"], ["-3"], range(1, 17)])
def test_labels_that_cannot_be_ignored(root, labels):
    assert "ignore_labels" in refused(root, "--ignore_labels", *labels)


def test_a_corrected_mask_renews_its_label_file_alone(root):
    directory, _ = export(root, "--ignore_labels", 14)
    before = trees.identities(directory)
    trees.put_voxel(trees.mask_path(root, "amos_0004"), (1, 2, 3), 5)
    export(root, "--ignore_labels", 14)
    changed = trees.rewritten(before, trees.identities(directory))
    assert changed == {"labelsTr/amos_0004.nii.gz"}


@pytest.mark.parametrize(
    "first, second",
    [("link", "reference"), ("copy", "reference"), ("link", "copy"), ("copy", "link")],
)
def test_another_mode_leaves_nothing_of_the_earlier_one(root, first, second):
    masks = trees.contents(root / "grouped")
    directory, _ = export(root, "--mode", first)
    export(root, "--mode", second)
    changed = tree(directory)
    shutil.rmtree(directory)
    export(root, "--mode", second)
    assert tree(directory) == changed
    assert trees.contents(root / "grouped") == masks


def test_labels_are_never_written_through_a_link(root):
    before = trees.contents(root / "grouped")
    export(root, "--mode", "link")
    directory, _ = export(root, "--mode", "link", "--ignore_labels", 1)
    assert not (directory / "labelsTr/amos_0001.nii.gz").is_symlink()
    assert trees.contents(root / "grouped") == before


def test_samples_that_left_the_split_are_removed_and_named(root):
    directory, _ = export(root, "--mode", "link")
    result = finished.call(finished.NNUNET, *words(root, "--mode", "link", which="CT"))
    assert "Removed, of an earlier export: " in result.stdout
    assert {path.name[:9] for path in (directory / "imagesTr").iterdir()} == {
        "amos_0001",
        "amos_0004",
        "amos_0008",
    }


@pytest.mark.parametrize(
    "name",
    ["imagesTr/mine_0000.nii.gz", "imagesTs/amos_0201_0000.nii.gz", "labelsTs/amos_0201.nii.gz"],
)
def test_foreign_images_are_refused(root, name):
    path = root / "nnUNet_raw/Dataset218_AMOS22" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert name in refused(root)
    assert name in refused(root, "--overwrite")


@pytest.mark.parametrize("name", ["dataset.json", "splits_final.json"])
def test_hand_made_changes_are_refused(root, name):
    directory, _ = export(root)
    path = directory / name
    path.write_text(path.read_text() + " ")
    assert f"{name}: was changed by hand" in refused(root)
    export(root, "--overwrite")
    assert not path.read_text().endswith(" ")


def test_foreign_dataset_json_is_refused(root):
    path = root / "nnUNet_raw/Dataset218_AMOS22/dataset.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert "was not written here" in refused(root)


OUTSIDE = "../../mine.nii.gz"
NOT_OURS = [
    OUTSIDE,
    "ABSOLUTE",
    f"imagesTr/{OUTSIDE}",
    "imagesTr/..",
    "imagesTr",
    "imagesTr/sub/x.nii.gz",
    "./imagesTr/x.nii.gz",
    "imagesTr//x.nii.gz",
    "imagesTr\\x.nii.gz",
    "imagesTr/x\0.nii.gz",
    "imagesTr/x.nii.gz\n",
    "imagesTr/.nii.gz",
    "dataset.json",
    "exported_files.json",
    "",
    None,
    1,
    ["imagesTr/x.nii.gz"],
]


@pytest.mark.parametrize("name", NOT_OURS, ids=range(len(NOT_OURS)))
def test_names_in_the_record_are_checked_before_anything_is_removed(root, name):
    """Each of them would have been removed as what an earlier export left."""
    directory, _ = export(root, "--mode", "copy")
    mine = root / "nnUNet_raw/mine.nii.gz"
    mine.write_bytes(b"mine")
    record = json.loads((directory / "exported_files.json").read_bytes())
    record["files"].append(str(mine) if name == "ABSOLUTE" else name)
    (directory / "exported_files.json").write_text(json.dumps(record))
    for more in ((), ("--overwrite",)):
        stderr = refused(root, "--mode", "copy", *more)
        assert stderr.count("\n") == 1
        assert f"{directory}/exported_files.json: was changed by hand; move {directory} a" in stderr


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "imagesTs", "labelsTs"])
def test_nothing_is_removed_through_a_link(root, tmp_path, folder):
    finished.change_subsets(root, {"amos_0008": "test"})
    directory, _ = export(root, "--mode", "copy")
    (directory / folder).rename(tmp_path / "elsewhere")
    (directory / folder).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    stderr = refused(root, "--mode", "copy", which="MRI")
    assert f"not put there by this export: {folder}; move it away" in stderr
    assert tree(tmp_path / "elsewhere") == before != {}


ODD_JSON = {
    "list": b"[]",
    "number": b"1",
    "text": b'"files"',
    "null": b"null",
    "nothing": b"",
    "infinity": b'{"files": Infinity, "sha256": NaN}',
    "files are a text": b'{"files": "imagesTr/a.nii.gz", "sha256": {}}',
    "files are a table": b'{"files": {"imagesTr/a.nii.gz": 1}, "sha256": {}}',
    "no checksums": b'{"files": []}',
    "checksums are a number": b'{"files": [], "sha256": 1}',
    "deep": b"[" * 100_000,
    "deep names": b'{"sha256": {}, "files": ' + b"[" * 900 + b"]" * 900 + b"}",
    "long number": b"9" * 5000,
    "no UTF-8": b'{"files": ["\xff"]}',
    "lone surrogate": b'{"files": ["imagesTr/\\ud800.nii.gz"], "sha256": {}}',
}


@pytest.mark.parametrize("kind", ODD_JSON)
def test_records_of_another_shape_are_named(root, kind):
    directory, _ = export(root)
    (directory / "exported_files.json").write_bytes(ODD_JSON[kind])
    stderr = refused(root, which="CT")
    assert f"{directory}/exported_files.json: was changed by hand" in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ODD_JSON)
def test_dataset_json_of_another_shape_is_not_replaced(root, kind):
    directory, _ = export(root)
    (directory / "dataset.json").write_bytes(ODD_JSON[kind])
    assert "dataset.json: was changed by hand" in refused(root, which="CT")
    export(root, "--overwrite", which="CT")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("name", ["dataset.json", "splits_final.json", "exported_files.json"])
def test_what_is_no_file_is_found_before_the_work(root, name, kind):
    directory, _ = export(root, "--mode", "copy")
    phantoms.put_odd(directory / name, kind)
    stderr = refused(root, "--mode", "copy", which="CT")
    assert (
        f"{directory / name}: cannot be read: no regular file" in stderr and stderr.count("\n") == 1
    )


def test_a_record_that_leads_nowhere_is_named(root):
    directory, _ = export(root)
    phantoms.put_odd(directory / "exported_files.json", "link")
    assert "exported_files.json: cannot be read: No such file" in refused(root)


@pytest.mark.parametrize("mode", ["link", "copy"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_folder_in_an_images_place_is_named_before_the_work(root, mode, is_known):
    directory = root / "nnUNet_raw/Dataset218_AMOS22"
    if is_known:
        export(root, "--mode", mode)
    phantoms.put_odd(directory / "imagesTr/amos_0001_0000.nii.gz", "folder")
    stderr = refused(root, "--mode", mode)
    expected = "not put there by this export: imagesTr/amos_0001_0000.nii.gz; move it away"
    assert expected in stderr


def test_a_file_in_a_folders_place_loses_nothing(root):
    directory, _ = export(root, which="CT")
    phantoms.put_odd(directory / "labelsTr", "pipe")
    stderr = refused(root, "--mode", "copy")
    assert f"{directory}/labelsTr: cannot be written: File exists" in stderr


@pytest.fixture(name="spoilt_source")
def source_that_cannot_be_read_to_its_end(root, monkeypatch):
    """Root may read anything, so the fault is made up."""
    path = trees.sample_dir(root, "amos_0001") / "amos_0001_volume.nii.gz"
    plain = files.opened

    class Spoilt(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "opened", lambda name: Spoilt() if name == path else plain(name))
    return path


@pytest.mark.parametrize("has_copy", [False, True])
def test_an_unreadable_source_is_named_and_not_its_target(root, request, has_copy):
    directory = root / "nnUNet_raw/Dataset218_AMOS22"
    if has_copy:
        export(root, "--mode", "copy")
    path = request.getfixturevalue("spoilt_source")
    result = finished.run(finished.NNUNET, *words(root, "--mode", "copy"))
    assert result.exit_code == 1
    line = f"FAILED amos_0001: {path}: cannot be read: Input/output error\n"
    assert result.stderr == line
    assert (directory / "imagesTr/amos_0004_0000.nii.gz").is_file()
    assert not (directory / "dataset.json").exists() or has_copy
    assert not trees.leftovers(root)


def test_label_names_that_nnunet_needs_itself():
    for names in ({0: "b", 1: "background", 2: "a"}, {0: "b", 1: "ignore", 2: "a"}):
        with pytest.raises(errors.DatasetError, match="nnU-Net's own"):
            nnunet_raw.Settings(None, "link", names, frozenset({2})).new_labels()


@pytest.mark.parametrize("column", ["mask_01_tumour", "mask_17_liver", "mask_256_tumour"])
def test_labels_or_names_twice_in_the_columns_are_refused(root, column):
    path = root / "grouped/dataset_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    sheet = book[finished.SPLIT]
    for name in (column, f"{column}_existence"):
        sheet.insert_cols(2)
        sheet.cell(1, 2, name)
    book.save(path)
    stderr = refused(root, "--ignore_labels", 14)
    assert "columns of binary masks with a label or a name twice, or a label above 255" in stderr


def test_a_folder_whose_name_is_no_utf_8(root, tmp_path):
    odd = root.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    finished.call(finished.NNUNET, *words(odd, "--output_dir", tmp_path / "raw"))
    directory = tmp_path / "raw/Dataset218_AMOS22"
    content = json.loads((directory / "dataset.json").read_bytes())
    for entry in content["dataset"].values():
        assert (directory / entry["label"]).is_file()


def test_number_of_another_data_set(root):
    (root / "nnUNet_raw/Dataset218_Other").mkdir(parents=True)
    assert "Dataset218_Other has the number 218" in refused(root)


@pytest.mark.parametrize("name", ["a/b", "../x", "", "two words"])
def test_name_of_the_data_set(root, name):
    assert "--dataset_name" in refused(root, "--dataset_name", name)


def test_missing_files_are_all_named_and_nothing_is_written(root):
    export(root)
    trees.mask_path(root, "amos_0001").unlink()
    (trees.sample_dir(root, "amos_0201") / "amos_0201_volume.nii.gz").unlink()
    stderr = refused(root, "--mode", "copy", status=1)
    assert [line.split(":")[0] for line in stderr.splitlines()] == [
        "FAILED amos_0001",
        "FAILED amos_0201",
    ]


def test_damaged_mask_leaves_no_dataset_json(root):
    directory, _ = export(root)
    path = trees.mask_path(root, "amos_0001")
    path.write_bytes(path.read_bytes()[:-30])
    result = finished.run(finished.NNUNET, *words(root, "--ignore_labels", 14))
    assert result.exit_code == 1
    assert result.stderr.startswith("FAILED amos_0001: ")
    assert not (directory / "dataset.json").exists()
    assert (directory / "labelsTr/amos_0004.nii.gz").exists()
    assert not (directory / "labelsTr/amos_0001.nii.gz").exists()


def without_mask(root, name):
    """Take a sample's masks away and index again."""
    for path in [trees.mask_path(root, name), *trees.binary_masks(root, name)]:
        path.unlink()
    manifest = root / "grouped/dataset_manifest.xlsx"
    finished.call(trees.INDEX, "--root_dir", root / "grouped", "--output_manifest_file", manifest)
    finished.call(trees.MAKE_SPLIT, "--manifest_file", manifest)


def test_training_sample_without_mask_is_left_out_and_named(root):
    without_mask(root, "amos_0001")
    result = finished.call(finished.NNUNET, *words(root))
    assert "WARNING amos_0001: belongs to train and has no mask" in result.stderr
    content = json.loads((root / "nnUNet_raw/Dataset218_AMOS22/dataset.json").read_bytes())
    assert content["numTraining"] == 5 and "amos_0001" not in content["dataset"]


def test_nothing_to_validate_on_writes_no_splits(root):
    export(root)
    for name in sorted(VAL):
        without_mask(root, name)
    result = finished.call(finished.NNUNET, *words(root))
    reason = (
        "no sample of val has a mask: no splits_final.json written; nnU-Net's own five folds would "
        "be random and mix patients: use --folds 5"
    )
    assert result.stderr.splitlines()[0] == f"WARNING {finished.SPLIT}: {reason}"
    assert not (root / "nnUNet_raw/Dataset218_AMOS22/splits_final.json").exists()


def test_dollar_in_a_path(root, tmp_path):
    odd = root.rename(tmp_path / "$HOME")
    more = ("--output_dir", tmp_path / "raw")
    result = finished.run(finished.NNUNET, *words(odd), *more)
    assert result.exit_code == 2 and "use --mode link or copy" in result.stderr
    finished.call(finished.NNUNET, *words(odd), *more, "--mode", "link")


def test_split_that_is_out_of_date_is_warned_about(root):
    trees.edit_cells(root / "grouped/dataset_manifest.xlsx", {("site", "amos_0001"): "elsewhere"})
    result = finished.call(finished.NNUNET, *words(root))
    assert result.stderr.startswith(f"WARNING {finished.SPLIT}: ")


@pytest.mark.parametrize(
    "change, message",
    [
        ({("ID", "amos_0001"): "amos_0004"}, "IDs in several rows: amos_0004"),
        ({("ID", "amos_0001"): "../amos_0001"}, "cannot be names of files: '../amos_0001'"),
        ({(finished.SPLIT, "amos_0001"): "Train"}, "amos_0001 'Train'"),
        ({("manufacturer_model_name", "amos_0001"): "Toaster"}, "neither CT nor MRI"),
        ({("volume", "amos_0001"): "../../etc/passwd"}, "FAILED amos_0001"),
    ],
)
def test_hand_made_faults_of_the_manifest(root, change, message):
    trees.edit_cells(root / "grouped/dataset_manifest.xlsx", change, finished.SPLIT)
    assert message in refused(root, status=1 if "FAILED" in message else 2)


@pytest.mark.parametrize("script", [finished.NNUNET, finished.DATALIST])
@pytest.mark.parametrize("sex, organ", [("f", "15_prostate"), ("M", "16_uterus")])
def test_an_organ_that_the_person_cannot_have_fails_by_name(root, script, sex, organ):
    existence = {f"mask_{other}_existence": 0 for other in ("15_prostate", "16_uterus")}
    row = {"sex": sex, **existence, f"mask_{organ}_existence": 1}
    changes = {(column, "amos_0001"): value for column, value in row.items()}
    trees.edit_cells(root / "grouped/dataset_manifest.xlsx", changes, finished.SPLIT)
    more = words(root) if script == finished.NNUNET else finished.source(root)
    if script == finished.DATALIST:
        more = (*more, "--output_file", root / "nnUNet_raw/list.json")
    result = finished.run(script, *more)
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0001: ") and "amos_0001_mask.nii.gz: label " in line
    assert "routine 03 was forgotten, or the sex is wrong" in line
    assert result.exit_code == 1 and not (root / "nnUNet_raw").exists()


def test_unknown_split(root):
    assert "no worksheet 'split02'" in refused(root, "--split_name", "split02")


def test_manifest_without_binary_masks(root):
    for name in TRAIN | VAL:
        for path in trees.binary_masks(root, name):
            path.unlink()
        trees.mask_path(root, name).unlink()
    manifest = root / "grouped/dataset_manifest.xlsx"
    finished.call(trees.INDEX, "--root_dir", root / "grouped", "--output_manifest_file", manifest)
    finished.call(trees.MAKE_SPLIT, "--manifest_file", manifest)
    assert "no columns of binary masks" in refused(root)


def test_root_dir_says_what_the_paths_are_relative_to(root, tmp_path):
    manifest = tmp_path / "away/manifest.xlsx"
    manifest.parent.mkdir()
    shutil.copy(root / "grouped/dataset_manifest.xlsx", manifest)
    words_ = (
        "--manifest_file",
        manifest,
        "--split_name",
        finished.SPLIT,
        "--output_dir",
        tmp_path / "raw",
        "--dataset_id",
        3,
    )
    assert finished.run(finished.NNUNET, *words_).exit_code == 1
    finished.call(finished.NNUNET, *words_, "--root_dir", root / "grouped")


@pytest.mark.parametrize("values, is_renumbered", [((0, 1, 3), True), ((0, 1, 2), False)])
def test_labels_with_gaps_are_numbered_again(values, is_renumbered):
    settings = nnunet_raw.Settings(None, "reference", dict(zip(values, ("bg", "a", "b"))))
    assert settings.new_labels() == {"background": 0, "a": 1, "b": 2}
    assert settings.is_renumbered == is_renumbered
    assert settings.lookup()[list(values)].tolist() == [0, 1, 2]


@pytest.mark.parametrize("ignored", [frozenset(), frozenset({2})])
def test_without_the_background_no_organ_takes_its_place(ignored):
    settings = nnunet_raw.Settings(None, "reference", {1: "a", 2: "b", 3: "c"}, ignored)
    with pytest.raises(errors.DatasetError, match="label 0, the background, is missing: 1 a, 2 b"):
        settings.new_labels()


def test_background_gets_the_name_that_nnunet_looks_for():
    settings = nnunet_raw.Settings(None, "reference", {0: "Bg", 1: "NME"})
    assert settings.new_labels() == {"background": 0, "NME": 1}


STOP = """
import os, runpy, signal, sys
limit, real = int(sys.argv.pop(1)), {}
calls = iter(range(1, 10 ** 6))
def stopping(name):
    real[name] = getattr(os, name)
    def call(*words, **options):
        if next(calls) == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*words, **options)
    setattr(os, name, call)
stopping("replace")
stopping("unlink")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow("kills")
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 9, 12, 14, 16])
def test_killed_at_any_rename(root, run_python, limit):
    finished.change_subsets(root, {"amos_0554": "test"})
    export(root, "--mode", "link")
    more = ("--mode", "copy", "--ignore_labels", 14)
    expected, content = export(finished.copy(root, root.parent / "whole"), *more)
    # One process, so that each rename counts.
    done = run_python(STOP, limit, trees.REPOSITORY / finished.NNUNET, *words(root, *more))
    directory = root / "nnUNet_raw/Dataset218_AMOS22"
    assert done.returncode == -9
    if (directory / "dataset.json").exists():
        left = json.loads((directory / "dataset.json").read_bytes())
        assert left["labels"] == content["labels"] or all(
            path.is_symlink() for path in directory.glob("*T*/*.nii.gz")
        )
    export(root, *more)
    assert tree(directory) == tree(expected)
    assert not trees.leftovers(root)


def test_without_image_libraries(root, run_python):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'nibabel', 'scipy', 'cc3d'} & set(sys.modules)))"
    )
    done = run_python(code, trees.REPOSITORY / finished.NNUNET, *words(root), cwd=root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n[]\n")

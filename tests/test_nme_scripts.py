"""The scripts of NME as a person runs them, where something is odd."""

import json
import os
import shutil

import nibabel as nib
import nme_trees
import numpy as np
import openpyxl
import pytest
import trees

from utils.facts import nme
from utils.storage import workbook


def at(state):
    """Make the fixture of the data in a state."""
    return pytest.fixture(name=state)(
        lambda tmp_path: nme_trees.copy(state, tmp_path / "root dir ä")
    )


built, scanned, paired, extracted, indexed = map(
    at, ("built", "scanned", "paired", "extracted", "indexed")
)


def rows(path, sheet="Manifest"):
    return workbook.Workbook(path).table(sheet).to_dict("records")


def sample_dir(root, seq):
    (found,) = (root / "grouped").rglob(f"{seq}_*[0-9]")
    return found


def move_collection(root, old, new):
    folder = root / "archive" / f"NME-Seg-2025.8.25-{old}"
    return folder.rename(folder.with_name(f"NME-Seg-2025.8.25-{new}"))


# --- 01 -----------------------------------------------------------------------------------------


def test_01_counts_what_there_is(built):
    result = nme_trees.invoke(nme_trees.SCAN, built)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:4] == [
        "train: 4 volumes, 4 masks",
        "val: 2 volumes, 2 masks",
        "test: 12 volumes, 12 masks",
        "left out: 0 files; ignored: 0 other NIfTI files, 4 files of clutter",
    ]
    found = rows(nme_trees.archive_manifest(built))
    assert list(found[0]) == list(nme.ARCHIVE_COLUMNS)
    assert [row["type"] for row in found] == ["v3d", "m3d"] * 18
    (shifted,) = (row for row in found if row["diff_trans_f_norm"] not in ("", "0"))
    assert shifted["seq"] == "01A004"
    assert float(shifted["diff_trans_f_norm"]) == pytest.approx(0.005, rel=0.01)


def test_an_unknown_collection_is_named_and_left_out(built):
    move_collection(built, "test-outer-03", "test-outer-05")
    result = nme_trees.invoke(nme_trees.SCAN, built)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED collection test-outer-05: unknown collection 'test-outer-05'")
    assert "its 6 files are left out; expected one of train-val" in line
    assert {row["collection"] for row in rows(nme_trees.archive_manifest(built))} == {
        *nme.SITES
    } - {"test-outer-03"}


def test_01_finds_nothing_else(built):
    for collection in nme.SITES:
        move_collection(built, collection, f"{collection}-new")
    result = nme_trees.invoke(nme_trees.SCAN, built)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no file of NME-2025.8.25, expected NME-Seg-2025.8.25-train-val/imagesTr/" in (
        result.stderr
    )
    assert "other NIfTI files: NME-Seg-2025.8.25-test-inner-01-new/" in result.stderr
    assert not nme_trees.archive_manifest(built).exists()


def test_a_sample_in_two_collections_is_left_out(built):
    source = nme_trees.archive_file(built, "02A001")
    other = nme_trees.archive_file(built, "03A001").with_name(source.name)
    shutil.copy(source, other)
    result = nme_trees.invoke(nme_trees.SCAN, built)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED 02A001_0071100345: 2 v3d files")
    assert "test-outer-02/imagesTs" in line and "test-outer-03/imagesTs" in line
    assert len(rows(nme_trees.archive_manifest(built))) == 35


def test_files_of_another_grammar_are_named_and_ignored(built):
    path = nme_trees.archive_file(built, "02A001")
    shutil.copy(path, path.with_name("NME-Seg_02A001.nii.gz"))
    result = nme_trees.invoke(nme_trees.SCAN, built)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert "1 NIfTI files ignored" in line and "imagesTs/NME-Seg_02A001.nii.gz" in line


def test_a_corrected_archive_manifest_is_not_replaced(scanned):
    trees.edit_cells(nme_trees.archive_manifest(scanned), {("pid", "02A001"): "9"})
    result = nme_trees.invoke(nme_trees.SCAN, scanned)
    assert result.exit_code == 2 and "--overwrite" in result.stderr


# --- 02 -----------------------------------------------------------------------------------------


def test_the_folders_of_all_sites_are_made(scanned):
    path = nme_trees.archive_manifest(scanned)
    for collection in ("test-inner-01", "test-outer-03", "Vd/"):
        trees.delete_rows(path, collection)
    assert nme_trees.invoke(nme_trees.PAIR, scanned).exit_code == 0
    assert all((scanned / "grouped" / folder).is_dir() for folder in nme.TREE)
    assert not list((scanned / "grouped/Zhongnan").rglob("*_volume.nii.gz"))


def test_02_counts_the_samples(scanned):
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert "Samples: train 4, val 2, test 12" in result.stdout
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert "0 done, 18 skipped as finished, 0 failed" in result.stdout


def test_what_a_spreadsheet_makes_of_seq_and_pid_does_no_harm(scanned):
    path = nme_trees.archive_manifest(scanned)
    pids = {"02A001": 71100345, "01A002": 60012875311.0, "02E003": 71100412}
    changes = {("pid", seq): pid for seq, pid in pids.items()}
    trees.edit_cells(path, {**changes, ("seq", "02E003"): 2000})
    assert nme_trees.invoke(nme_trees.PAIR, scanned).exit_code == 0
    names = "02A001_0071100345 02A002_0071100345 02A004_0071100587 02E003_0071100412".split()
    assert sorted(os.listdir(scanned / "grouped/Yunnan/test-outer-02/test")) == names
    assert sample_dir(scanned, "01A002").name == "01A002_60012875311"


def test_a_corrected_pid_counts(scanned):
    path = nme_trees.archive_manifest(scanned)
    trees.edit_cells(path, {("pid", "03A002"): "ZN-9"})
    assert nme_trees.invoke(nme_trees.PAIR, scanned).exit_code == 0
    folder = scanned / "grouped/Zhongnan/test-outer-03/test/03A002_ZN-9"
    assert 'pid: "ZN-9"' in (folder / "03A002_ZN-9_info.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({("pid", "labelsTs/NME-Seg_02A004"): "7"}, "has no volume in the manifest"),
        ({("subset", "labelsTs/NME-Seg_02A004"): "labelsVd"}, "disagree on subset: 'test'"),
        ({("subset", "NME-Seg_02A004"): "labelsTs"}, "type is 'v3d'"),
        ({("site", "NME-Seg_02A004"): "Tongji"}, "test-outer-02 comes from Yunnan"),
        ({("collection", "NME-Seg_02A004"): "test-outer-09"}, "collection is 'test-outer-09'"),
        ({("pid", "NME-Seg_02A004"): "../../x"}, "pid is '../../x'"),
        ({("pid", "NME-Seg_02A004"): "=1+1"}, "pid is '=1+1'"),
    ],
)
def test_contradictory_rows_fail_their_sample(scanned, changes, reason):
    path = nme_trees.archive_manifest(scanned)
    book = openpyxl.load_workbook(path)
    header, *cells = book["Manifest"].iter_rows()
    names = [cell.value for cell in header]
    for (column, which), value in changes.items():
        for line in cells:
            if which in line[0].value:
                line[names.index(column)].value = value
                line[names.index(column)].data_type = "s"
    book.save(path)
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert all("02A004" in line for line in trees.complaints(result))
    done = list((scanned / "grouped").rglob("*_volume.nii.gz"))
    assert len(done) == 17


def test_misfit_is_an_option_here_too(scanned):
    path = nme_trees.archive_file(scanned, "02A001", "labels")
    image = nib.load(path)
    affine = image.affine + np.pad([[500.0]], ((0, 3), (3, 0)))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert result.exit_code == 1 and "17 done, 0 skipped as finished, 1 failed" in result.stdout
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED 02A001_") and "at most 500 mm in a corner" in line
    result = nme_trees.invoke(nme_trees.PAIR, scanned, "--misfit", "volume")
    assert result.exit_code == 0 and "1 done, 17 skipped as finished, 0 failed" in result.stdout


def test_a_corrected_collection_fails_until_the_old_folder_is_removed(paired):
    path = nme_trees.archive_manifest(paired)
    moved = {"collection": "test-outer-03", "site": "Zhongnan"}
    trees.edit_cells(path, {(name, "NME-Seg_02A004"): value for name, value in moved.items()})
    result = nme_trees.invoke(nme_trees.PAIR, paired)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert "02A004_0071100587: already lies in" in line and "test-outer-02" in line
    shutil.rmtree(sample_dir(paired, "02A004"))
    result = nme_trees.invoke(nme_trees.PAIR, paired)
    assert result.exit_code == 0
    assert "1 done, 17 skipped as finished" in result.stdout
    assert sample_dir(paired, "02A004").parts[-4:-1] == ("Zhongnan", "test-outer-03", "test")


def test_a_test_volume_without_its_mask_is_named(scanned):
    path = nme_trees.archive_manifest(scanned)
    trees.delete_rows(path, "labelsTs/NME-Seg_02A004")
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert result.exit_code == 1
    assert "a label file of this test volume lies in the archive" in result.stderr
    nme_trees.archive_file(scanned, "02A004", "labels").unlink()
    result = nme_trees.invoke(nme_trees.PAIR, scanned)
    assert result.exit_code == 0
    assert "WARNING 02A004_0071100587: no mask in the archive" in result.stderr


# --- 03, the mask tools, 04 ---------------------------------------------------------------------


def test_a_scan_without_lesion_has_both_masks(extracted):
    folder = sample_dir(extracted, "01B002")
    masks = {path.name[len(folder.name) :]: path for path in folder.glob("*_mask_*")}
    assert sorted(masks) == ["_mask_00_Bg.nii.gz", "_mask_01_NME.nii.gz"]
    assert trees.voxels(masks["_mask_00_Bg.nii.gz"]).all()
    assert not trees.voxels(masks["_mask_01_NME.nii.gz"]).any()


def test_03_names_a_label_that_the_map_does_not_have(paired):
    folder = sample_dir(paired, "01A001")
    trees.put_voxel(folder / f"{folder.name}_mask.nii.gz", (0, 0, 0), 2)
    result = nme_trees.invoke(nme_trees.EXTRACT, paired)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert "01A001" in line and "label 2 (1 voxels)" in line
    assert len(list((paired / "grouped").rglob("*_mask_01_NME.nii.gz"))) == 17


def test_03_needs_the_short_forms(paired):
    path = paired / "label_map.yaml"
    path.write_text("full_form_index_map: {0: background, 1: lesion}\n", encoding="utf-8")
    result = trees.run(
        nme_trees.EXTRACT, "--root_dir", paired / "grouped", "--label_explanation", path
    )
    assert result.exit_code == 2 and "short_form_index_map is missing" in result.stderr


@pytest.mark.parametrize("short", ["{0: Bg, 1: NME, 1: x}", "{0: Bg, 1: NME, 01: x}"])
def test_03_refuses_a_label_that_stands_twice(paired, short):
    path = paired / "label_map.yaml"
    path.write_text(f"short_form_index_map: {short}\n", encoding="utf-8")
    words = "--root_dir", paired / "grouped", "--label_explanation", path
    result = trees.run(nme_trees.EXTRACT, *words)
    assert result.exit_code == 2 and "stands twice" in result.stderr
    assert not list((paired / "grouped").rglob("*_mask_*"))


def test_04_names_a_key_that_stands_twice_in_an_info_file(extracted):
    (info,) = sample_dir(extracted, "01A001").glob("*_info.yaml")
    info.write_text(f"{info.read_text()}site: Wuhan\n")
    result = nme_trees.invoke(nme_trees.INDEX, extracted)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert "01A001" in line and line.endswith(
        f"{info}: not a readable YAML file: line 6: the key site stands twice"
    )


def put_cube(root, seq):
    """Leave a block of the lesion and one voxel apart from it in a mask, voxels 1 mm wide."""
    folder = sample_dir(root, seq)
    for path in folder.glob("*.nii.gz"):
        data = np.zeros((20, 20, 9), np.float32 if "volume" in path.name else np.uint8)
        if path.name.endswith("_mask.nii.gz"):
            data[3:12, 3:12, 2:7] = 1
            data[17, 17, 4] = 1
            nib.save(nib.Nifti1Image(data, np.diag([-1, -1, 1, 1])), path)
        elif "volume" in path.name:
            nib.save(nib.Nifti1Image(data, np.diag([-1, -1, 1, 1])), path)
        else:
            path.unlink()
    assert nme_trees.invoke(nme_trees.EXTRACT, root).exit_code == 0
    return folder


def test_small_regions_are_listed_with_subset_and_short_name(extracted):
    put_cube(extracted, "01A005")
    output = extracted / "descriptor/regions.xlsx"
    result = nme_trees.invoke(trees.DETECT, extracted)
    assert result.exit_code == 0, result.stderr
    (found,) = (row for row in rows(output) if row["ID"].startswith("01A005"))
    names = "subset label_index label_name voxels centroid_x centroid_r".split()
    assert [found[name] for name in names] == ["val", "1", "NME", "1", "17", "-17"]
    assert found["file_path"].startswith("Tongji/train-val/val/01A005_1004093307/01A005_")
    assert found["file_path"].endswith("_mask_01_NME.nii.gz")
    assert [row["label_name"] for row in rows(output, "Summary")] == ["Bg", "NME", "total"]


def test_denoising_works_on_the_tree(extracted):
    folder = put_cube(extracted, "01A005")
    result = nme_trees.invoke(trees.DENOISE, extracted)
    assert result.exit_code == 0, result.stderr
    mask = trees.voxels(folder / f"{folder.name}_mask.nii.gz")
    assert mask.sum() == 9 * 9 * 5 and not mask[17, 17, 4]
    binary = trees.voxels(folder / f"{folder.name}_mask_01_NME.nii.gz")
    np.testing.assert_array_equal(binary, mask)
    assert nme_trees.invoke(nme_trees.EXTRACT, extracted).stdout.startswith("0 binary masks")
    assert nme_trees.invoke(nme_trees.INDEX, extracted).exit_code == 0
    again = nme_trees.invoke(trees.DENOISE, extracted)
    assert "0 done, 18 skipped as finished" in again.stdout


def test_report_of_a_site(indexed):
    root = indexed / "grouped/HKU-SZH"
    words = ("--root_dir", root, "--output_dir", indexed / "qc", "--workers", 1)
    result = trees.run(trees.REPORT, "--dataset", "NME", *words)
    assert result.exit_code == 0, result.stderr
    assert "samples: 3 done, 0 skipped as finished, 0 failed" in result.stdout
    (path, *_) = sorted((indexed / "qc/measures").iterdir())
    assert json.loads(path.read_text())["volume"]["modality"] == "MRI"


def test_data_list_and_the_data_set_that_is_neither(tmp_path):
    root = nme_trees.copy("split", tmp_path / "root")
    split = ("--split_name", "split07_Mix")
    words = ("--manifest_file", nme_trees.dataset_manifest(root), *split, "--output_file")
    out = root / "list.json"
    result = trees.run(trees.DATALIST, "--dataset", "nme", *words, out)
    assert result.exit_code == 0 and out.exists(), result.stderr
    result = trees.run(trees.DATALIST, "--dataset", "nmes", *words, root / "other.json")
    assert result.exit_code == 2 and "no such file: nmes (" in result.stderr
    assert not (root / "other.json").exists()


def test_stale_masks_name_the_routine_of_nme(extracted):
    folder = sample_dir(extracted, "01A005")
    trees.put_voxel(folder / f"{folder.name}_mask_01_NME.nii.gz", (0, 0, 0), 1)
    for script in (trees.DENOISE, trees.DETECT):
        result = nme_trees.invoke(script, extracted)
        assert result.exit_code == 1
        (line,) = trees.complaints(result)
        assert "01A005" in line and "NME: 03" in line


def test_an_inconsistent_sample_leaves_the_manifest_as_it_was(indexed):
    folder = sample_dir(indexed, "01A005")
    (folder / f"{folder.name}_mask_01_NME.nii.gz").unlink()
    before = nme_trees.dataset_manifest(indexed).read_bytes()
    result = nme_trees.invoke(nme_trees.INDEX, indexed)
    assert result.exit_code == 1
    assert "01A005" in result.stderr and "NME: 03" in result.stderr
    assert nme_trees.dataset_manifest(indexed).read_bytes() == before


# --- 05, 06 -------------------------------------------------------------------------------------


def predefined(root, name, *words):
    return nme_trees.invoke(nme_trees.PREDEFINED, root, "--split_name", name, *words)


def cut(root, name, *subsets):
    """Cut index manifests into the folder out."""
    words = [word for subset in subsets for word in ("--subsets", subset)]
    return trees.run(
        nme_trees.CUT,
        "--manifest_file",
        nme_trees.dataset_manifest(root),
        "--split_name",
        name,
        "--output_index_manifest_dir",
        root / "out",
        *words,
    )


def across(root, *words):
    return nme_trees.invoke(nme_trees.ACROSS, root, *words)


@pytest.mark.parametrize(
    "words",
    [
        "--site Yunnan HKU-SZH --collection test-outer-02 test-outer-04",
        "--site Yunnan --site HKU-SZH --collection test-outer-02 --collection test-outer-04",
        "--site=Yunnan HKU-SZH --collection=test-outer-04 test-outer-02",
    ],
)
def test_sites_may_be_given_together_or_one_by_one(indexed, words):
    result = predefined(indexed, "outer", *words.split())
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("worksheet outer: 7 samples (0 train, 0 val, 7 test)\n")
    found = rows(nme_trees.dataset_manifest(indexed), "outer")
    assert list(found[0])[-1] == "outer"
    assert {row["site"] for row in found} == {"Yunnan", "HKU-SZH"}


@pytest.mark.parametrize(
    "words, reason",
    [
        (
            "--site HKU --collection test-outer-04",
            "no sample has site 'HKU'; there are: HKU-SZH, Tongji, Yunnan, Zhongnan",
        ),
        (
            "--site Tongji --collection test-outer-09",
            "there are: test-inner-01, test-outer-02, test-outer-03, test-outer-04, train-val",
        ),
        ("--site Tongji --collection test-outer-02", "Yunnan test-outer-02 (4)"),
        ("--site Tongji", "Missing option '--collection'"),
        ("--site --collection train-val", "Option '--site' requires an argument"),
    ],
)
def test_a_wrong_selection_ends_with_2_and_writes_nothing(indexed, words, reason):
    before = nme_trees.dataset_manifest(indexed).read_bytes()
    result = predefined(indexed, "wrong", *words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert nme_trees.dataset_manifest(indexed).read_bytes() == before


@pytest.mark.parametrize("option", ["--test_ratio", "--val_ratio"])
@pytest.mark.parametrize("value", ["-0.1", "1.0001", "nan", "inf", "1e400", "half", ""])
def test_wrong_ratios_are_refused(indexed, option, value):
    before = nme_trees.dataset_manifest(indexed).read_bytes()
    result = across(indexed, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option in result.stderr
    assert nme_trees.dataset_manifest(indexed).read_bytes() == before


@pytest.mark.parametrize(
    "words, expected",
    [
        ((), "10 train, 3 val, 5 test"),
        (("--test_ratio", 0, "--val_ratio", 0), "14 train, 2 val, 2 "),
        # The Zhongnan scan of a patient of Tongji's train subset stays with the patient.
        (("--test_ratio", 1), "5 train, 2 val, 11 test"),
    ],
)
def test_ratios_of_the_split_across_sites(indexed, words, expected):
    result = across(indexed, *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"18 samples ({expected}" in result.stdout


def test_a_seed_gives_one_split_and_another_seed_another(indexed):
    path = nme_trees.dataset_manifest(indexed)
    found = []
    for words in ((), ("--random_seed", 0), ("--random_seed", -1)):
        assert across(indexed, *words).exit_code == 0
        found.append([row["split07_Mix"] for row in rows(path, "split07_Mix")])
    assert found[0] == found[1] != found[2]


def test_split_names_over_31_characters_are_refused(indexed):
    result = nme_trees.invoke(nme_trees.ACROSS, indexed, "--split_name", "s" * 32)
    assert result.exit_code == 2 and "31" in result.stderr


def test_04_names_the_splits_that_are_out_of_date(indexed):
    predefined(indexed, "split01_Tongji", "--site", "Tongji", "--collection", "train-val")
    predefined(indexed, "split02_Yunnan", "--site", "Yunnan", "--collection", "test-outer-02")
    across(indexed)
    result = nme_trees.invoke(nme_trees.INDEX, indexed)
    assert (result.exit_code, result.stderr) == (0, "")
    shutil.rmtree(sample_dir(indexed, "02A004"))
    result = nme_trees.invoke(nme_trees.INDEX, indexed)
    assert result.exit_code == 0
    assert [line.partition(":")[0] for line in trees.complaints(result, "WARNING")] == [
        "WARNING split02_Yunnan",
        "WARNING split07_Mix",
    ]
    told = cut(indexed, "split02_Yunnan", "test")
    assert told.exit_code == 0
    assert "WARNING split02_Yunnan: the worksheet differs" in told.stderr


def test_an_absent_subset_writes_nothing(indexed):
    predefined(indexed, "split04_HKU-SZH", "--site", "HKU-SZH", "--collection", "test-outer-04")
    result = cut(indexed, "split04_HKU-SZH", "test", "val")
    assert result.exit_code == 2 and "no samples in val; its subsets: test" in result.stderr
    assert not (indexed / "out").exists()

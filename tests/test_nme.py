"""The facts of NME."""

import pytest

from utils import errors
from utils.facts import nme

ROW = {
    "file_path": "NME-Seg-2025.8.25-train-val/labelsVd/NME-Seg_01A002.0071.nii.gz",
    "site": "Tongji",
    "collection": "train-val",
    "subset": "labelsVd",
    "seq": "01A002",
    "pid": "0071",
    "type": "m3d",
    "note": "kept",
}


def path(collection="train-val", folder="imagesTr", name="NME-Seg_01A002.60012875311.nii.gz"):
    return f"any/depth/NME-Seg-2025.8.25-{collection}/{folder}/{name}"


@pytest.mark.parametrize(
    "collection, site",
    [
        ("train-val", "Tongji"),
        ("test-inner-01", "Tongji"),
        ("test-outer-02", "Yunnan"),
        ("test-outer-03", "Zhongnan"),
        ("test-outer-04", "HKU-SZH"),
    ],
)
def test_each_collection_has_its_site(collection, site):
    found = nme.classify(path(collection))
    assert found == {
        "site": site,
        "collection": collection,
        "subset": "imagesTr",
        "seq": "01A002",
        "pid": "60012875311",
        "type": "v3d",
    }
    assert nme.sample_name(found) == "01A002_60012875311"


@pytest.mark.parametrize(
    "folder, kind, subset",
    [
        ("imagesTr", "v3d", "train"),
        ("imagesVd", "v3d", "val"),
        ("imagesTs", "v3d", "test"),
        ("labelsTr", "m3d", "train"),
        ("labelsVd", "m3d", "val"),
        ("labelsTs", "m3d", "test"),
    ],
)
def test_each_folder_has_its_type_and_subset(folder, kind, subset):
    found = nme.classify(path(folder=folder))
    assert (found["type"], found["subset"], nme.subset(found)) == (kind, folder, subset)


@pytest.mark.parametrize(
    "other",
    [
        path(folder="imagesVa"),
        path(folder="images"),
        path("train-val2"),
        path(""),
        "NME-Seg-2025.9.1-train-val/imagesTr/NME-Seg_01A002.1.nii.gz",
        "imagesTr/NME-Seg_01A002.1.nii.gz",
        path(name="NME-Seg_01A002.nii.gz"),
        path(name="NME-Seg_01A002.1.nii"),
        path(name="NME-Seg_01A_2.1.nii.gz"),
        path(name="NME-Seg_.1.nii.gz"),
        path(name="NME-Seg_01A002.1.2.nii.gz"),
        path(name="NME-Seg_01A002.1 2.nii.gz"),
        path(name="._NME-Seg_01A002.1.nii.gz"),
        path(name="nme-seg_01A002.1.nii.gz"),
        path(name="NME-Seg_-1.1.nii.gz"),
    ],
)
def test_other_files_are_not_the_data_sets(other):
    assert nme.classify(other) is None


def test_unknown_collections_are_named_with_their_files():
    found = nme.unknown_collections(
        [
            path("test-outer-05"),
            path("test-outer-05", "labelsTs"),
            path("b"),
            path("test-outer-06", name="other.nii.gz"),
            path("test-outer-06", "images"),
        ]
    )
    assert [name for name, _ in found] == ["collection b", "collection test-outer-05"]
    assert "its 2 files are left out; expected one of train-val, test-inner-01" in str(found[1][1])


def test_plain_row_has_the_subset_of_the_samples_and_keeps_the_rest():
    assert nme.plain_row(ROW) == {**ROW, "subset": "val"}


@pytest.mark.parametrize(
    "own, cell",
    [
        ("0071", "71"),
        ("01E002", "100"),
        ("01E002", "1E+2"),
        ("60012875311", "60012875311.0"),
        ("12345678901234567890", "1.23456789012346e+19"),
        ("12E400", "12E400"),
    ],
)
def test_what_a_spreadsheet_makes_of_a_name_is_undone(own, cell):
    for key, name in (("pid", f"NME-Seg_01A002.{own}.nii.gz"), ("seq", f"NME-Seg_{own}.1.nii.gz")):
        row = {**ROW, "pid": "1", "seq": "01A002", key: cell, "file_path": f"x/labelsVd/{name}"}
        assert nme.plain_row(row)[key] == own


@pytest.mark.parametrize(
    "own, cell",
    [("0071", "72"), ("0071", "00071x"), ("12345678901234567", "12345678901234568"), ("A1", "1")],
)
def test_other_changes_of_a_name_count(own, cell):
    row = {**ROW, "file_path": f"x/labelsVd/NME-Seg_01A002.{own}.nii.gz", "pid": cell}
    assert nme.plain_row(row)["pid"] == cell


@pytest.mark.parametrize(
    "key, value",
    [
        ("seq", "../x"),
        ("seq", ""),
        ("seq", "a_b"),
        ("pid", "1/2"),
        ("pid", "=1+1"),
        ("pid", ".."),
        ("pid", "1 2"),
        ("pid", "-1"),
        ("pid", "1\n2"),
        ("site", "Wuhan"),
        ("site", ""),
        ("collection", "test-outer-05"),
        ("subset", "val"),
        ("subset", "imagesVa"),
        ("type", "v3d"),
        ("type", ""),
    ],
)
def test_cells_that_cannot_be_are_refused(key, value):
    with pytest.raises(errors.DatasetError) as caught:
        nme.plain_row({**ROW, key: value})
    assert str(caught.value).startswith(f"{key} is {value!r} in the manifest's row of 'NME-Seg-20")
    assert caught.value.expected


@pytest.mark.parametrize("key", ["site", "collection", "subset", "seq", "pid", "type", "file_path"])
def test_blanks_around_a_cell_do_no_harm(key):
    assert nme.plain_row({**ROW, key: f"{ROW[key]}\u00a0\t "}) == nme.plain_row(ROW)


def test_sex_and_scanner_are_no_matter():
    nme.check_manifest([ROW], "m.xlsx")
    assert nme.mask_faults({"sex": "F"}, {15, 16}, "m.nii.gz") == []


def test_a_site_that_is_not_its_collections_is_a_fault():
    assert nme.row_faults(nme.plain_row(ROW)) == []
    (fault,) = nme.row_faults(nme.plain_row({**ROW, "site": "Yunnan"}))
    assert "'Yunnan'" in str(fault) and "train-val comes from Tongji" in str(fault)


def test_folders():
    assert str(nme.sample_dir(nme.plain_row(ROW))) == "Tongji/train-val/val/01A002_0071"
    assert nme.trees("out") == ["out"]
    assert nme.TREE == (
        "Tongji/train-val/train",
        "Tongji/train-val/val",
        "Tongji/test-inner-01/test",
        "Yunnan/test-outer-02/test",
        "Zhongnan/test-outer-03/test",
        "HKU-SZH/test-outer-04/test",
    )

"""The facts of AMOS22."""

import pytest

from utils.facts import amos22


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("imagesTr/amos_0001.nii.gz", ("train", "0001", "v3d")),
        ("imagesVa/amos_0002.nii.gz", ("val", "0002", "v3d")),
        ("imagesTs/amos_0600.nii.gz", ("test", "0600", "v3d")),
        ("labelsTr/amos_0001.nii.gz", ("train", "0001", "m3d")),
        ("labelsVa/amos_0002.nii.gz", ("val", "0002", "m3d")),
        ("labelsTs/amos_9999.nii.gz", ("test", "9999", "m3d")),
        ("a b/größe/labelsTr/amos_0003.nii.gz", ("train", "0003", "m3d")),
    ],
)
def test_archive_files_are_known_by_folder_and_name(path, expected):
    columns = amos22.classify(path)
    assert (columns["subset"], columns["seq"], columns["type"]) == expected
    assert amos22.sample_name(columns) == f"amos_{expected[1]}"


@pytest.mark.parametrize(
    "path",
    [
        "amos_0001.nii.gz",
        "imagesTr/amos_001.nii.gz",
        "imagesTr/amos_00001.nii.gz",
        "imagesTr/amos_0001.nii",
        "imagesTr/amos_0001.nii.gz.txt",
        "imagesTr/xamos_0001.nii.gz",
        "imagesTr/amos_٠٠٠١.nii.gz",
        "imagesTr/deep/amos_0001.nii.gz",
        "imagestr/amos_0001.nii.gz",
        "imagesTr/amos_0001.nii.gz\n",
        "imagesTr/._amos_0001.nii.gz",
    ],
)
def test_other_files_are_not_classified(path):
    assert amos22.classify(path) is None


def test_the_two_scanner_sets_are_apart():
    assert len(amos22.CT_SCANNERS) == 5
    assert len(amos22.MRI_SCANNERS) == 4
    assert not amos22.CT_SCANNERS & amos22.MRI_SCANNERS


def test_columns_are_those_of_the_contract_in_order():
    assert " ".join(amos22.ARCHIVE_COLUMNS) == (
        "file_path subset seq type szx szy szz spx spy spz orientation_from orientation_to dtype "
        "transform diff_trans_f_norm birth_date sex age manufacturer_model_name manufacturer "
        "acquisition_date site"
    )
    assert amos22.INFO_KEYS == (
        "subset",
        "seq",
        "birth_date",
        "sex",
        "age",
        "manufacturer_model_name",
        "manufacturer",
        "acquisition_date",
        "site",
    )

"""Binary masks and what they say of their multi-label mask, below the command line."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from utils import errors
from utils.routines import binary_masks
from utils.running import calls
from utils.storage import nifti, nifti_writing, samples

NAMES = {0: "background", 1: "right kidney", 7: "liver"}
AFFINE = np.diag([1.5, 2.0, 3.0, 1.0])


@pytest.fixture(name="sample")
def extracted_sample(tmp_path):
    """Labels 0 and 7 in a mask; binary masks of 0, 1 and 7."""
    sample = samples.Sample("amos_0001", tmp_path)
    data = np.zeros((3, 4, 5), np.uint8, order="F")
    data[1, 1:3, 2] = 7
    nifti_writing.write_mask(sample.mask_path, data, AFFINE, "src=12345678")
    assert binary_masks.write(sample, NAMES) == 3
    return sample


def paths_of(sample):
    return {value: path for (value, _), path in sample.binary_mask_paths().items()}


def consistency(sample):
    return binary_masks.check_consistent(sample, nifti.read_mask(sample.mask_path))


def test_write_says_finished_the_second_time(sample):
    assert binary_masks.write(sample, NAMES) == calls.Finished(0)
    assert binary_masks.write(sample, NAMES, overwrite=True) == 3
    assert [path.name for path in paths_of(sample).values()] == [
        "amos_0001_mask_00_background.nii.gz",
        "amos_0001_mask_01_right_kidney.nii.gz",
        "amos_0001_mask_07_liver.nii.gz",
    ]


def test_a_file_of_other_compression_is_the_same_file(sample):
    path = paths_of(sample)[7]
    other = gzip.compress(gzip.decompress(path.read_bytes()), 9)
    path.write_bytes(other)
    assert binary_masks.write(sample, NAMES) == calls.Finished(0)
    assert path.read_bytes() == other
    consistency(sample)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_consistent_by_voxels_whatever_the_header(sample, dtype):
    path = paths_of(sample)[7]
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj, dtype), np.eye(4)), path)
    consistency(sample)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_one_wrong_voxel_is_noticed(sample, value):
    path = paths_of(sample)[7]
    data = np.asarray(nib.load(path).dataobj).copy()
    assert data[1, 1, 2] == 1
    data[1, 1, 2], data[0, 0, 0] = value, value % 2
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    if value == 1:
        data[0, 0, 0] = 0
    with pytest.raises(errors.DatasetError, match="mask_07_liver.*routine 04") as caught:
        consistency(sample)
    assert caught.value.code == "stale" and caught.value.file == str(sample.mask_path)


def test_a_binary_mask_of_another_shape_disagrees(sample):
    nifti_writing.write_mask(paths_of(sample)[1], np.zeros((3, 4, 6), np.uint8), AFFINE)
    with pytest.raises(errors.DatasetError, match="mask_01_right_kidney"):
        consistency(sample)


def test_a_damaged_binary_mask_is_named(sample):
    path = paths_of(sample)[1]
    content = bytearray(path.read_bytes())
    content[-5] ^= 8  # the stored CRC32
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match="mask_01_right_kidney"):
        consistency(sample)


def test_a_label_without_its_binary_mask_is_named(sample):
    paths_of(sample)[7].unlink()
    with pytest.raises(errors.DatasetError, match="none for label 7.*routine 04"):
        consistency(sample)
    assert binary_masks.unnamed_labels(
        nifti.read_mask(sample.mask_path), sample.binary_mask_paths()
    ) == [7]


def test_leftovers_go_only_with_overwrite_and_only_after_the_rest_is_written(sample):
    extra = sample.binary_mask_path(12, "spleen")
    nifti_writing.write_mask(extra, np.zeros((3, 4, 5), np.uint8), AFFINE)
    with pytest.raises(errors.DatasetError, match="mask_12_spleen.*--overwrite") as caught:
        binary_masks.write(sample, NAMES)
    assert caught.value.code == "leftover" and extra.exists()
    assert binary_masks.write(sample, NAMES, overwrite=True) == 3
    assert not extra.exists()


def test_other_files_of_the_folder_are_none_of_its_business(sample):
    others = [
        sample.directory / name
        for name in (
            "amos_0002_mask_01_x.nii.gz",
            "amos_0001_mask_1_x.nii.gz",
            "amos_0001_mask_01_x.nii",
            "my_amos_0001_mask_01_x.nii.gz",
        )
    ]
    for path in others:
        path.write_bytes(b"x")
    assert binary_masks.write(sample, NAMES, overwrite=True) == 3
    assert all(path.read_bytes() == b"x" for path in others)


def test_a_label_that_the_map_lacks_leaves_everything_alone(sample):
    before = {path: path.read_bytes() for path in paths_of(sample).values()}
    data = nifti.read_mask(sample.mask_path).data
    data[0, 0, 0], data[0, 0, 1] = 9, 1
    nifti_writing.write_mask(sample.mask_path, data, AFFINE)
    with pytest.raises(errors.DatasetError, match=r"label 9 \(1 voxels\)"):
        binary_masks.write(sample, NAMES)
    assert {path: path.read_bytes() for path in paths_of(sample).values()} == before

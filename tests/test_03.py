"""Routine 03 as a person runs it: label 15 becomes 16 in women."""

import nibabel as nib
import numpy as np
import pytest
import trees

from utils.storage import marks, nifti, nifti_writing

WOMEN_WITH_LABEL = ("amos_0001", "amos_0008", "amos_0540")


@pytest.fixture(name="root")
def paired_root(tmp_path):
    """After routines 02."""
    return trees.copy("paired", tmp_path / "root dir ä")


def split(root, *more):
    return trees.invoke(trees.SPLIT_LABEL, root, *more)


def set_sex(root, name, sex):
    path = trees.sample_dir(root, name) / f"{name}_info.yaml"
    text = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(f"sex: {sex}" if line.startswith("sex:") else line for line in text))


def relative_mask(root, name):
    return trees.mask_path(root, name).relative_to(root).as_posix()


def test_only_masks_of_women_with_label_15_change(root):
    before = trees.identities(root)
    old = {name: trees.voxels(trees.mask_path(root, name)).copy() for name in WOMEN_WITH_LABEL}
    geometry = {
        name: nib.load(trees.mask_path(root, name)).header.binaryblock for name in WOMEN_WITH_LABEL
    }
    result = split(root)
    assert result.exit_code == 0, result.output
    assert trees.rewritten(before, trees.identities(root)) == {
        relative_mask(root, name) for name in WOMEN_WITH_LABEL
    }
    for name, voxels in old.items():
        path = trees.mask_path(root, name)
        assert (voxels == 15).any() and not (voxels == 16).any()
        np.testing.assert_array_equal(trees.voxels(path), np.where(voxels == 15, 16, voxels))
        assert nib.load(path).header.binaryblock == geometry[name]  # descrip with src= included
    assert (trees.voxels(trees.mask_path(root, "amos_0004")) == 15).any()
    assert result.stdout.splitlines() == [
        "Label 15 became 16 in 3 masks of women; 3 had nothing to change",
        "samples: 3 done, 3 skipped as finished, 0 failed",
    ]


@pytest.mark.parametrize("sex", ["UND", "und ", "''"])
def test_an_unknown_sex_with_label_15_fails_untouched(root, sex):
    set_sex(root, "amos_0001", sex)
    before = trees.identities(root)
    result = split(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    path = trees.mask_path(root, "amos_0001")
    assert line.startswith("FAILED amos_0001:") and str(path) in line and "M (prostate)" in line
    assert trees.rewritten(before, trees.identities(root)) == {
        relative_mask(root, name) for name in ("amos_0008", "amos_0540")
    }


@pytest.mark.parametrize("sex", ["O", "null", "TRUE", "[F]", "F\nsex: M"])
def test_a_sex_that_is_none_fails_its_sample_alone(root, sex):
    set_sex(root, "amos_0001", sex)
    before = trees.identities(root)
    result = split(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0001:") and "amos_0001_info.yaml" in line and "sex" in line
    assert trees.rewritten(before, trees.identities(root)) == {
        relative_mask(root, name) for name in ("amos_0008", "amos_0540")
    }


@pytest.mark.parametrize("sex", ["f", "female", '" FEMALE\u00a0"'])
def test_a_sex_in_another_form_is_understood(root, sex):
    set_sex(root, "amos_0001", sex)
    assert split(root).exit_code == 0
    assert (trees.voxels(trees.mask_path(root, "amos_0001")) == 16).any()


def test_an_unknown_sex_without_label_15_is_no_fault(root):
    set_sex(root, "amos_0554", "UND")
    before = trees.identities(root)
    result = split(root)
    assert result.exit_code == 0
    assert relative_mask(root, "amos_0554") not in trees.rewritten(before, trees.identities(root))


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda info: info.unlink(), "the info file is missing"),
        (lambda info: info.write_text("seq: '0001'\n"), "sex is missing"),
        (lambda info: info.write_text("[1, 2"), "not a readable YAML file"),
        (lambda info: info.write_text("just text"), "no table"),
    ],
)
def test_a_faulty_info_file_fails_its_sample_alone(root, break_it, told):
    info = trees.sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    break_it(info)
    result = split(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0001:") and str(info) in line and told in line
    assert (trees.voxels(trees.mask_path(root, "amos_0008")) == 16).any()


@pytest.mark.parametrize("label", [2.5, 300.0])
def test_a_mask_with_impossible_labels_fails_its_sample_alone(root, label):
    path = trees.mask_path(root, "amos_0001")
    data = trees.voxels(path).astype(np.float32)
    data[0, 0, 0] = label
    nib.save(nib.Nifti1Image(data, nib.load(path).affine), path)
    before = path.read_bytes()
    result = split(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert str(path) in line and f"labels {label:g} found" in line
    assert path.read_bytes() == before
    assert (trees.voxels(trees.mask_path(root, "amos_0008")) == 16).any()


def test_a_mask_saved_by_another_tool_becomes_uint8(root):
    path = trees.mask_path(root, "amos_0001")
    image = nib.load(path)
    other = nib.Nifti1Image(np.asarray(image.dataobj, np.float64), image.affine)
    other.header["descrip"] = "größe=1; tool=x".encode("latin-1")
    nib.save(other, path)
    assert split(root).exit_code == 0
    assert nib.load(path).header.get_data_dtype() == np.uint8
    assert (trees.voxels(path) == 16).any() and not (trees.voxels(path) == 15).any()


def test_the_denoising_mark_is_kept_and_its_checksum_renewed(root):
    assert trees.invoke(trees.DENOISE, root).exit_code == 0
    path = trees.mask_path(root, "amos_0001")
    old = marks.read(nifti.read_header(path).descrip)
    assert split(root).exit_code == 0
    mask = nifti.read_mask(path)
    new = marks.read(mask.header.descrip)
    assert new == {**old, "crc": nifti_writing.voxel_crc(mask.data)} and new != old
    before = trees.identities(root)
    result = trees.invoke(trees.DENOISE, root)
    assert result.exit_code == 0 and "6 skipped as finished" in result.stdout
    assert trees.identities(root) == before


def test_the_mark_of_a_mask_that_was_edited_since_stays_unfit(root):
    assert trees.invoke(trees.DENOISE, root).exit_code == 0
    path = trees.mask_path(root, "amos_0001")
    old = nifti.read_header(path).descrip
    trees.put_voxel(path, (0, 0, 0), 3)
    assert split(root).exit_code == 0
    mask = nifti.read_mask(path)
    assert mask.header.descrip == old
    assert marks.read(old)["crc"] != nifti_writing.voxel_crc(mask.data)


def test_binary_masks_are_stale_until_routine_04_runs_again(tmp_path):
    root = trees.copy("extracted", tmp_path / "root")
    trees.put_voxel(trees.mask_path(root, "amos_0001"), (0, 0, 0), 15)
    assert split(root).exit_code == 0
    assert trees.voxels(trees.mask_path(root, "amos_0001"))[0, 0, 0] == 16
    result = trees.invoke(trees.DETECT, root)
    assert result.exit_code == 1 and "mask_16_uterus" in result.stderr
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0
    assert trees.invoke(trees.DETECT, root).exit_code == 0


def test_overwrite_has_nothing_to_do_again(root):
    split(root)
    before = trees.identities(root)
    assert split(root, "--overwrite").exit_code == 0
    assert trees.identities(root) == before


def test_a_folder_without_samples_is_wrong_usage(tmp_path):
    (tmp_path / "grouped").mkdir()
    result = split(tmp_path)
    assert result.exit_code == 2 and str(tmp_path / "grouped") in result.stderr

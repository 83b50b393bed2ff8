"""Routine 04 as a person runs it: one binary mask for each label."""

import re

import nibabel as nib
import numpy as np
import pytest
import trees
import yaml


@pytest.fixture(name="root")
def relabelled_root(tmp_path):
    """After routine 03."""
    return trees.copy("relabelled", tmp_path / "root dir ä")


@pytest.fixture(name="extracted")
def extracted_root(tmp_path):
    """After routine 04."""
    return trees.copy("extracted", tmp_path / "root dir ä")


def extract(root, *more):
    return trees.invoke(trees.EXTRACT, root, *more)


def write_label_map(root, names):
    path = root / "descriptor/label_map.yaml"
    path.write_text(yaml.safe_dump({"full_form_index_map": names}), "utf-8")


@pytest.mark.parametrize(
    ("name", "sex", "told"),
    [
        ("amos_0001", "M", "label 16 (uterus) in a man: routine 03 was forgotten, or the sex is"),
        ("amos_0004", "F", "label 15 (prostate) in a woman: routine 03 was forgotten, or"),
        ("amos_0004", "UND", "label 15 and an unknown sex: prostate or uterus?"),
    ],
)
def test_an_organ_of_the_other_sex_is_warned_about(root, name, sex, told):
    info = trees.sample_dir(root, name) / f"{name}_info.yaml"
    info.write_text(re.sub("sex: .*", f"sex: {sex}", info.read_text()))
    result = extract(root)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert line.startswith(f"WARNING {name}: {trees.mask_path(root, name)}: {told}")
    assert len(trees.binary_masks(root, name)) == 17


def test_without_info_files_masks_are_extracted_in_silence(root):
    for path in root.glob("grouped/**/*_info.yaml"):
        path.unlink()
    result = extract(root)
    assert (result.exit_code, result.stderr) == (0, "")


def test_every_label_gets_a_file_present_or_not(root):
    result = extract(root)
    assert result.exit_code == 0, result.output
    for name in trees.ANNOTATED:
        mask = trees.voxels(trees.mask_path(root, name))
        paths = trees.binary_masks(root, name)
        assert [path.name for path in paths] == [
            f"{name}_mask_{value:02d}_{text}.nii.gz" for value, text in enumerate(trees.LABEL_NAMES)
        ]
        for value, path in enumerate(paths):
            np.testing.assert_array_equal(trees.voxels(path), mask == value)
    assert not trees.binary_masks(root, "amos_0201")
    assert result.stdout.splitlines() == [
        "102 binary masks written, 17 for each sample",
        "samples: 6 done, 0 skipped as finished, 0 failed",
    ]


def test_headers_are_the_masks_own_without_marks(extracted):
    whole = nib.load(trees.mask_path(extracted, "amos_0507")).header.copy()
    assert whole["descrip"].item().startswith(b"src=")
    whole["descrip"] = b""
    for path in trees.binary_masks(extracted, "amos_0507"):
        assert nib.load(path).header.binaryblock == whole.binaryblock


def test_only_stale_binary_masks_are_written_again(extracted):
    place = (0, 0, 0)
    path = trees.mask_path(extracted, "amos_0004")
    assert trees.voxels(path)[place] == 0
    trees.put_voxel(path, place, 5)
    before = trees.identities(extracted)
    result = extract(extracted)
    assert result.exit_code == 0
    folder = path.parent.relative_to(extracted).as_posix()
    assert trees.rewritten(before, trees.identities(extracted)) == {
        f"{folder}/amos_0004_mask_00_background.nii.gz",
        f"{folder}/amos_0004_mask_05_esophagus.nii.gz",
    }
    assert trees.voxels(trees.binary_masks(extracted, "amos_0004")[5])[place] == 1
    assert "2 binary masks written" in result.stdout


def test_edited_damaged_and_missing_binary_masks_come_back(extracted):
    folder = trees.sample_dir(extracted, "amos_0004")
    whole = trees.contents(folder)
    trees.put_voxel(folder / "amos_0004_mask_01_spleen.nii.gz", (0, 0, 0), 1)
    damaged = folder / "amos_0004_mask_02_right_kidney.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (folder / "amos_0004_mask_16_uterus.nii.gz").unlink()
    image = nib.load(folder / "amos_0004_mask_06_liver.nii.gz")
    shifted = image.affine + np.pad([[3.0]], ((0, 3), (3, 0)))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), shifted), image.get_filename())
    result = extract(extracted)
    assert result.exit_code == 0 and "4 binary masks written" in result.stdout
    assert trees.contents(folder) == whole


def test_overwrite_writes_all_with_the_same_bytes(extracted):
    before, whole = trees.identities(extracted / "grouped"), trees.contents(extracted / "grouped")
    assert extract(extracted, "--overwrite").exit_code == 0
    after = trees.identities(extracted / "grouped")
    assert trees.contents(extracted / "grouped") == whole
    changed = trees.rewritten(before, after)
    assert len(changed) == 102 and all("_mask_" in name for name in changed)


def test_a_label_outside_the_map_is_named_with_its_voxel_count(root):
    path = trees.mask_path(root, "amos_0004")
    trees.put_voxel(path, np.s_[0, :2, 0], 77)
    result = extract(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:")
    assert str(path) in line and "label 77 (2 voxels)" in line
    assert not trees.binary_masks(root, "amos_0004")
    assert all(
        len(trees.binary_masks(root, name)) == 17 for name in trees.ANNOTATED if "04" not in name
    )


def test_files_of_another_label_map_are_named_and_removed_only_on_request(extracted):
    names = dict(enumerate(name.replace("_", " ") for name in trees.LABEL_NAMES))
    names[8] = "arota"
    write_label_map(extracted, names)
    before = trees.identities(extracted)
    result = extract(extracted)
    assert result.exit_code == 1
    assert len(trees.complaints(result)) == 6
    assert all("mask_08_aorta.nii.gz" in line for line in trees.complaints(result))
    assert trees.identities(extracted) == before
    assert extract(extracted, "--overwrite").exit_code == 0
    found = [path.name for path in trees.binary_masks(extracted, "amos_0001")]
    assert len(found) == 17 and "amos_0001_mask_08_arota.nii.gz" in found
    assert extract(extracted).exit_code == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("full_form_index_map: {0: background, 1: ../x}", "cannot be part of a file name"),
        ("full_form_index_map: {1: spleen}", "label 0 (background) is missing"),
        ("full_form_index_map: {0: background, 1: a b, 2: a_b}", "stands twice"),
        ("full_form_index_map: {0: background, 300: x}", "label 300"),
        ("full_form_index_map: [background]", "full_form_index_map is missing"),
        ("full_form_index_map: {0: background", "not a readable YAML file"),
        ("labels: {0: background}", "full_form_index_map is missing"),
    ],
)
def test_a_bad_label_map_is_wrong_usage(root, content, told):
    (root / "descriptor/label_map.yaml").write_text(content, "utf-8")
    before = trees.identities(root / "grouped")
    result = extract(root)
    assert result.exit_code == 2
    assert told in result.stderr and str(root / "descriptor/label_map.yaml") in result.stderr
    assert trees.identities(root / "grouped") == before


def test_the_map_of_another_data_set_works_too(root):
    """Labels 0 and 1 only, as for NME; what else is in the mask fails the sample."""
    write_label_map(root, {0: "background", 1: "non mass enhancement"})
    for name in trees.ANNOTATED[1:]:
        trees.edit(trees.mask_path(root, name), lambda data: np.minimum(data, 1, out=data))
    result = extract(root)
    assert result.exit_code == 1 and len(trees.complaints(result)) == 1
    assert [path.name for path in trees.binary_masks(root, "amos_0004")] == [
        "amos_0004_mask_00_background.nii.gz",
        "amos_0004_mask_01_non_mass_enhancement.nii.gz",
    ]


def test_a_mask_that_another_tool_saved_as_int16_becomes_uint8_with_its_labels(extracted):
    path = trees.mask_path(extracted, "amos_0004")
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    header = image.header.copy()
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), image.affine, header), path)
    result = extract(extracted)
    assert result.exit_code == 0
    assert "amos_0004: " in result.stderr and "stored as int16" in result.stderr
    rewritten = nib.load(path)
    assert rewritten.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(rewritten.dataobj), voxels)
    assert rewritten.header["descrip"] == image.header["descrip"]
    assert trees.invoke(trees.INDEX, extracted).exit_code == 0


def test_label_name_that_makes_too_long_a_file_name(root):
    write_label_map(root, dict(enumerate(["x" * 240, *trees.LABEL_NAMES[1:]])))
    result = extract(root)
    assert result.exit_code == 1
    assert all("File name too long" in line for line in trees.complaints(result))
    assert not list(root.glob("grouped/**/*_mask_*.nii.gz"))

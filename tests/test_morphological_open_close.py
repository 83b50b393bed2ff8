"""The denoising script as a person runs it."""

import os

import nibabel as nib
import numpy as np
import oracles
import pytest
import trees

# One or two pixels of the phantoms (42 x 31 mm) are below it, three are not.
AREA = ("--region_area_thresh", "3000")


@pytest.fixture(name="root")
def extracted_root(tmp_path):
    """After routine 04."""
    return trees.copy("extracted", tmp_path / "root dir ä")


def denoise(root, *more):
    return trees.invoke(trees.DENOISE, root, *more)


def literal(mask, **parameters):
    return oracles.open_close_small_regions_literal(
        trees.voxels(mask), nib.load(mask).header.get_zooms(), **parameters
    )


def test_all_masks_are_those_of_the_formula(root):
    expected = {
        name: literal(trees.mask_path(root, name), region_area_thresh=3000)
        for name in trees.ANNOTATED
    }
    n_changed = sum(
        np.count_nonzero(trees.voxels(trees.mask_path(root, name)) != mask)
        for name, mask in expected.items()
    )
    info = {path: path.read_bytes() for path in root.rglob("*_info.yaml")}
    volumes = {path: path.stat().st_ino for path in root.rglob("*_volume.nii.gz")}
    result = denoise(root, *AREA)
    assert result.exit_code == 0, result.output
    for name, mask in expected.items():
        path = trees.mask_path(root, name)
        np.testing.assert_array_equal(trees.voxels(path), mask)
        assert nib.load(path).header["descrip"].item().startswith(b"src=")
        for value, binary in enumerate(trees.binary_masks(root, name)):
            np.testing.assert_array_equal(trees.voxels(binary), mask == value)
            assert nib.load(binary).header["descrip"].item() == b""
    assert n_changed > 0 and not trees.leftovers(root)
    assert result.stdout.splitlines() == [
        f"{n_changed:,} voxels got another label",
        "samples: 6 done, 0 skipped as finished, 0 failed",
    ]
    assert info == {path: path.read_bytes() for path in info}
    assert volumes == {path: path.stat().st_ino for path in volumes}


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 1), "filter_halfedge": 0},
        {"kernel_size": (1, 7), "filter_halfedge": 9},
        {"kernel_size": (3, 3), "filter_halfedge": 1, "region_area_thresh": 1e9},
    ],
)
def test_parameters_reach_the_formula(root, options):
    options = {"region_area_thresh": 3000.0, **options}
    expected = {name: literal(trees.mask_path(root, name), **options) for name in trees.ANNOTATED}
    words = ["--kernel_size", *options["kernel_size"]]
    for name in ("filter_halfedge", "region_area_thresh"):
        words += [f"--{name}", options[name]]
    assert denoise(root, *words).exit_code == 0
    for name, mask in expected.items():
        np.testing.assert_array_equal(trees.voxels(trees.mask_path(root, name)), mask)


def test_threshold_zero_changes_no_voxel(root):
    before = {name: trees.voxels(trees.mask_path(root, name)).copy() for name in trees.ANNOTATED}
    result = denoise(root, "--region_area_thresh", 0)
    assert result.exit_code == 0 and result.stdout.startswith("0 voxels got another label")
    for name, mask in before.items():
        np.testing.assert_array_equal(trees.voxels(trees.mask_path(root, name)), mask)


def test_a_second_run_writes_nothing_and_other_parameters_fail(root):
    denoise(root, *AREA)
    before = trees.identities(root)
    result = denoise(root, *AREA)
    assert result.exit_code == 0 and "0 done, 6 skipped as finished" in result.stdout
    result = denoise(root)
    assert result.exit_code == 1 and len(trees.complaints(result)) == 6
    assert all("5x5,3,3000.0" in line and "5x5,3,10.0" in line for line in trees.complaints(result))
    assert trees.identities(root) == before
    assert denoise(root, "--overwrite").exit_code == 0
    assert "6 skipped" in denoise(root).stdout


def test_the_defaults_are_the_tutorials(root, tmp_path):
    other = trees.copy("extracted", tmp_path / "other")
    assert denoise(root).exit_code == 0
    words = ("--kernel_size", 5, 5, "--filter_halfedge", 3, "--region_area_thresh", 10.0)
    assert denoise(other, *words).exit_code == 0
    assert trees.contents(root / "grouped") == trees.contents(other / "grouped")
    assert "6 skipped as finished" in denoise(root, *words).stdout


def test_an_output_elsewhere_holds_masks_only_and_leaves_the_source(root, tmp_path):
    in_place = trees.copy("extracted", tmp_path / "in place")
    denoise(in_place, *AREA)
    before = trees.identities(root)
    output = tmp_path / "denoised ü"
    result = denoise(root, *AREA, "--output_dir", output)
    assert result.exit_code == 0
    assert trees.identities(root) == before
    expected = {
        name: content
        for name, content in trees.contents(in_place / "grouped").items()
        if "_mask" in name
    }
    assert trees.contents(output) == expected
    stamps = trees.identities(output)
    assert "6 skipped as finished" in denoise(root, *AREA, "--output_dir", output).stdout
    assert trees.identities(output) == stamps


def test_edited_binary_masks_fail_their_sample_alone(root):
    path = trees.binary_masks(root, "amos_0004")[1]
    trees.put_voxel(path, (0, 0, 0), 1)
    before = trees.contents(trees.sample_dir(root, "amos_0004"))
    result = denoise(root, *AREA)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and path.name in line and "routine 04" in line
    assert trees.contents(trees.sample_dir(root, "amos_0004")) == before
    assert "5 done, 0 skipped as finished, 1 failed" in result.stdout
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0
    result = denoise(root, *AREA)
    assert result.exit_code == 0 and "1 done, 5 skipped" in result.stdout


def test_an_edited_mask_is_denoised_again_after_routine_04(root):
    denoise(root, *AREA)
    path = trees.mask_path(root, "amos_0004")
    trees.put_voxel(path, (0, 0, 0), 1)
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0
    expected = literal(path, region_area_thresh=3000)
    result = denoise(root, *AREA)
    assert result.exit_code == 0 and "1 done, 5 skipped" in result.stdout
    np.testing.assert_array_equal(trees.voxels(path), expected)


def test_routines_02_and_04_find_nothing_to_do_afterwards(root):
    denoise(root, *AREA)
    before = trees.identities(root)
    for script in (trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT):
        assert trees.invoke(script, root).exit_code == 0
    assert trees.identities(root) == before
    assert trees.invoke(trees.INDEX, root).exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--kernel_size", 4, 5), "odd"),
        (("--kernel_size", 5, 0), "0"),
        (("--kernel_size", 5), "2 arguments"),
        (("--filter_halfedge", -1), "-1"),
        (("--region_area_thresh", -0.5), "-0.5"),
        (("--region_area_thresh", "nan"), "nan"),
        (("--output_dir", "inside"), "lies inside"),
    ],
)
def test_wrong_usage_changes_nothing(root, words, told):
    before = trees.identities(root)
    words = [root / "grouped/AMOS-CT" if word == "inside" else word for word in words]
    result = denoise(root, *words)
    assert result.exit_code == 2 and told in result.stderr
    assert trees.identities(root) == before


def test_runs_from_another_directory_with_the_same_folder_named_twice(root, tmp_path):
    """In place is told from elsewhere by what the paths mean, not by how they are spelt."""
    words = [*AREA, "--root_dir", os.path.relpath(root / "grouped", tmp_path)]
    twice = root / "descriptor/../grouped"
    done = trees.run_process(trees.DENOISE, *words, "--output_dir", twice, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert b"openclose=" in nib.load(trees.mask_path(root, "amos_0001")).header["descrip"].item()

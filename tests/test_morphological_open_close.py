"""The denoising script as a person runs it."""

import os

import nibabel as nib
import numpy as np
import oracles
import pytest
import trees

from utils.storage import processes

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
        (("--before_dir", "inside"), "lies in the data's folder {}; expected one outside\n"),
        (("--before_dir", "root"), "lies in the data's folder {}; expected one outside\n"),
        (
            ("--before_dir", "kept", "--no-before"),
            "--before_dir and --no-before exclude each other",
        ),
    ],
)
def test_wrong_usage_changes_nothing(root, words, told):
    before = trees.identities(root)
    data = root / "grouped"
    places = {
        "inside": data / "AMOS-CT",
        "root": root / "descriptor/../grouped",
        "kept": root / "k",
    }
    words = [places.get(word, word) for word in words]
    result = denoise(root, *words)
    assert result.exit_code == 2 and told.format(data) in result.stderr
    assert trees.identities(root) == before


@pytest.mark.parametrize("place", ["", "AMOS-CT/kept"])
def test_masks_are_not_kept_in_the_tree_that_a_part_of_it_belongs_to(root, place):
    ct = root / "grouped/AMOS-CT"
    words = ("--root_dir", ct, "--output_dir", ct, "--before_dir", root / "grouped" / place)
    before = trees.identities(root)
    result = trees.run(trees.DENOISE, *words)
    assert result.exit_code == 2 and "lies in the data's folder" in result.stderr
    assert trees.identities(root) == before


def test_masks_are_not_kept_in_an_output_elsewhere(root, tmp_path):
    output = tmp_path / "output"
    words = ("--output_dir", output, "--before_dir", output / "kept")
    result = denoise(root, *words)
    told = f"--before_dir {output}/kept lies in the data's folder {output}; expected one outside"
    assert (result.exit_code, result.stderr) == (2, f"Error: {told}\n")
    assert not output.exists()


# --- the masks before ----------------------------------------------------------------------------


def originals(root):
    """Relative path -> bytes of the multi-label masks."""
    found = trees.contents(root / "grouped").items()
    return {name: content for name, content in found if name.endswith("_mask.nii.gz")}


def test_masks_that_change_are_kept_beside_grouped_and_no_others(root):
    trees.edit(trees.mask_path(root, "amos_0004"), lambda data: data.fill(0))
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0
    before = originals(root)
    voxels = {name: trees.voxels(root / "grouped" / name).copy() for name in before}
    assert denoise(root, *AREA).exit_code == 0
    expected = {
        name: content
        for name, content in before.items()
        if (trees.voxels(root / "grouped" / name) != voxels[name]).any()
    }
    assert len(expected) == len(before) - 1
    assert trees.contents(root / "before_denoising") == expected
    stamps = trees.identities(root / "before_denoising")
    assert denoise(root, *AREA).exit_code == 0
    assert denoise(root, *AREA, "--workers", 2).exit_code == 0
    assert trees.identities(root / "before_denoising") == stamps


def test_a_part_of_the_tree_keeps_at_the_same_place(root, tmp_path):
    whole = trees.copy("extracted", tmp_path / "whole")
    denoise(whole, *AREA)
    for part in ("AMOS-CT", "AMOS-MRI/train"):
        folder = root / "grouped" / part
        words = ("--root_dir", folder, "--output_dir", folder, *AREA)
        assert trees.run(trees.DENOISE, *words).exit_code == 0
    expected = trees.contents(whole / "before_denoising")
    done = {name: content for name, content in expected.items() if "AMOS-MRI/val" not in name}
    assert trees.contents(root / "before_denoising") == done


def test_kept_masks_are_no_samples_of_the_folder_that_both_lie_in(root):
    """The same command for all of the root, as without anything kept."""
    denoise(root, *AREA)
    kept = trees.identities(root / "before_denoising")
    words = ("--root_dir", root)
    again = trees.run(trees.DENOISE, *words, "--output_dir", root, *AREA)
    assert again.exit_code == 0 and "0 done, 6 skipped as finished" in again.stdout
    manifest = root / "descriptor/manifest of all.xlsx"
    result = trees.run(trees.INDEX, *words, "--output_manifest_file", manifest)
    assert result.exit_code == 0, result.output
    assert trees.identities(root / "before_denoising") == kept


@pytest.mark.parametrize("more", [(), ("--no-before",)])
def test_kept_masks_themselves_are_denoised_only_with_another_place_to_keep_them(root, more):
    (root / "grouped").rename(root / "before_denoising")
    there = root / "before_denoising"
    words = ("--root_dir", there, "--output_dir", there, "--region_area_thresh", 0)
    before = trees.identities(root)
    result = trees.run(trees.DENOISE, *words, *more)
    told = f"Error: --before_dir {there} lies in the data's folder {there}; expected one outside\n"
    assert (result.exit_code, result.stderr) == (2, told)
    assert trees.identities(root) == before
    result = trees.run(trees.DENOISE, *words, "--before_dir", root / "kept")
    assert result.exit_code == 0, result.output


def test_masks_are_kept_where_it_is_said(root, tmp_path):
    whole = trees.copy("extracted", tmp_path / "whole")
    denoise(whole, *AREA)
    result = denoise(root, *AREA, "--before_dir", tmp_path / "kept ü/here")
    assert result.exit_code == 0, result.output
    assert trees.contents(tmp_path / "kept ü/here") == trees.contents(whole / "before_denoising")
    assert not (root / "before_denoising").exists()
    assert trees.contents(root / "grouped") == trees.contents(whole / "grouped")


def test_none_is_kept_with_no_before_nor_for_an_output_elsewhere(root, tmp_path):
    assert denoise(root, *AREA, "--output_dir", tmp_path / "elsewhere").exit_code == 0
    assert denoise(root, *AREA, "--no-before").exit_code == 0
    assert not (root / "before_denoising").exists()
    assert not (tmp_path / "before_denoising").exists()


def test_a_place_where_nothing_can_be_kept_fails_its_sample_alone(root):
    (path,) = (root / "grouped").rglob("amos_0001_mask.nii.gz")
    place = root / "before_denoising" / path.relative_to(root / "grouped")
    place.mkdir(parents=True)
    (place / "a file").touch()
    before = originals(root)
    result = denoise(root, *AREA)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith(f"FAILED amos_0001: {place}: cannot be written: ")
    name = path.relative_to(root / "grouped").as_posix()
    assert originals(root)[name] == before[name]
    assert "5 done, 0 skipped as finished, 1 failed" in result.stdout
    assert not trees.leftovers(root)


def test_what_a_dead_run_left_where_masks_are_kept_is_swept(root):
    left = root / "before_denoising/AMOS-CT" / f".part~{processes.HOST}~999999999~1~0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert denoise(root, *AREA).exit_code == 0
    assert not left.exists()


def test_runs_from_another_directory_with_the_same_folder_named_twice(root, tmp_path):
    """In place is told from elsewhere by what the paths mean, not by how they are spelt."""
    words = [*AREA, "--root_dir", os.path.relpath(root / "grouped", tmp_path)]
    twice = root / "descriptor/../grouped"
    done = trees.run_process(trees.DENOISE, *words, "--output_dir", twice, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert b"openclose=" in nib.load(trees.mask_path(root, "amos_0001")).header["descrip"].item()

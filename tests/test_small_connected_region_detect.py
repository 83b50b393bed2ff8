"""The detection script as a person runs it."""

import collections

import nibabel as nib
import numpy as np
import openpyxl
import oracles
import pytest
import trees

VOXEL_MM3 = 42.0 * 31.0 * 40.0
COLUMNS = (
    "ID subset label_index label_name centroid_x centroid_y centroid_z"
    " centroid_r centroid_a centroid_s voxels volume_mm3 file_path"
).split()


@pytest.fixture(name="root")
def extracted_root(tmp_path):
    """After routine 04."""
    return trees.copy("extracted", tmp_path / "root dir ä")


def workbook(root):
    return root / "descriptor/regions.xlsx"


def detect(root, n_voxels=2.5, *more):
    """List the regions of at most so many voxels."""
    return trees.invoke(trees.DETECT, root, "--region_volume_thresh", n_voxels * VOXEL_MM3, *more)


def sheet(root, name):
    book = openpyxl.load_workbook(workbook(root))
    assert book.sheetnames == ["Manifest", "Summary"]
    header, *rows = book[name].iter_rows(values_only=True)
    return [dict(zip(header, row)) for row in rows]


def put_mask(root, name, data, affine=None):
    """Replace a sample's mask and make its binary masks."""
    path = trees.mask_path(root, name)
    nib.save(nib.Nifti1Image(data, nib.load(path).affine if affine is None else affine), path)
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0


def test_rows_are_the_small_regions_of_all_masks(root):
    before = trees.identities(root / "grouped")
    result = detect(root)
    assert result.exit_code == 0, result.output
    rows = sheet(root, "Manifest")
    assert list(rows[0]) == COLUMNS
    expected = []
    for name in trees.ANNOTATED:
        image = nib.load(trees.mask_path(root, name))
        for label, voxels, centroid, volume_mm3 in oracles.small_regions_literal(
            np.asarray(image.dataobj), image.header.get_zooms(), 2.5 * VOXEL_MM3
        ):
            world = nib.affines.apply_affine(image.affine, centroid)
            expected.append((name, label, voxels, [*centroid, *world, volume_mm3]))
    assert [(row["ID"], row["label_index"], row["voxels"]) for row in rows] == [
        entry[:3] for entry in expected
    ]
    numbers = [[row[column] for column in (*COLUMNS[4:10], "volume_mm3")] for row in rows]
    np.testing.assert_allclose(numbers, [entry[3] for entry in expected], rtol=1e-5, atol=1e-3)
    assert trees.identities(root / "grouped") == before
    assert result.stdout.splitlines()[0] == (
        f"{workbook(root)}: {len(rows)} regions below {2.5 * VOXEL_MM3:g} mm^3 in 6 samples"
    )


def test_text_columns_name_subset_label_and_file(root):
    detect(root)
    rows = sheet(root, "Manifest")
    assert {row["subset"] for row in rows if row["ID"] == "amos_0008"} == {"val"}
    for row in rows:
        path = root / "grouped" / row["file_path"]
        assert path.name == (
            f"{row['ID']}_mask_{row['label_index']:02d}_{row['label_name']}.nii.gz"
        )
        centre = tuple(int(row[f"centroid_{axis}"]) for axis in "xyz")
        assert row["voxels"] > 1 or trees.voxels(path)[centre] == 1


def test_summary_counts_per_label_and_in_total(root):
    detect(root)
    rows, summary = sheet(root, "Manifest"), sheet(root, "Summary")
    counts = collections.Counter(row["label_index"] for row in rows)
    assert [(row["label_index"], row["regions"]) for row in summary[:-1]] == [
        (value, counts[value]) for value in range(17)
    ]
    assert summary[6]["label_name"] == "liver"
    assert (summary[-1]["label_name"], summary[-1]["regions"]) == ("total", len(rows))


def test_background_holes_are_regions_and_corners_connect(root):
    data = np.ones((7, 8, 9), np.uint8)
    data[3, 4, 5] = data[4, 5, 6] = 0  # one hole of two voxels, joined at a corner
    data[0, 0, 0] = 6
    put_mask(root, "amos_0004", data, np.diag([-42.0, 31.0, 40.0, 1.0]))
    assert detect(root).exit_code == 0
    rows = [row for row in sheet(root, "Manifest") if row["ID"] == "amos_0004"]
    assert [(row["label_name"], row["voxels"]) for row in rows] == [("background", 2), ("liver", 1)]
    centroid = [rows[0][f"centroid_{axis}"] for axis in "xyzras"]
    assert centroid == [3.5, 4.5, 5.5, -147.0, 139.5, 220.0]


@pytest.mark.parametrize(
    ("spacing", "n_voxels", "threshold", "is_listed"),
    [
        ((1.0, 1.0, 1.0), 8, 8.0, False),
        ((1.0, 1.0, 1.0), 8, 8.0001, True),
        ((1.0, 1.0, 1.0), 7, 8.0, True),
        # 0.4 as float32 is a little more than 0.4: 250 voxels of 0.4 mm3 are not below 100 mm3.
        ((0.4, 1.0, 1.0), 250, 100.0, False),
        ((0.4, 1.0, 1.0), 249, 100.0, True),
    ],
)
def test_below_the_threshold_is_strict_in_stored_spacing(
    root, spacing, n_voxels, threshold, is_listed
):
    data = np.zeros((40, 30, 20), np.uint8)
    inside = np.zeros((25, 10), np.uint8)
    inside.flat[:n_voxels] = 6
    data[5:30, 5:15, 7] = inside
    volume = trees.sample_dir(root, "amos_0004") / "amos_0004_volume.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([*spacing, 1])), volume)
    put_mask(root, "amos_0004", data, np.diag([*spacing, 1]))
    result = trees.invoke(trees.DETECT, root, "--region_volume_thresh", threshold)
    assert result.exit_code == 0
    found = [row for row in sheet(root, "Manifest") if row["ID"] == "amos_0004"]
    assert [row["label_name"] for row in found] == ["liver"] * is_listed


def test_the_default_threshold_is_300(root):
    result = trees.invoke(trees.DETECT, root)
    assert result.exit_code == 0 and "0 regions below 300 mm^3 in 6 samples" in result.stdout
    assert sheet(root, "Manifest") == []
    assert [row["regions"] for row in sheet(root, "Summary")] == [0] * 18


@pytest.mark.parametrize("edit_binary", [True, False])
def test_masks_that_disagree_fail_and_count_as_not_measured(root, edit_binary):
    whole, binary = trees.mask_path(root, "amos_0004"), trees.binary_masks(root, "amos_0004")[1]
    trees.put_voxel(binary if edit_binary else whole, (0, 0, 0), 1)
    result = detect(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and "amos_0004_mask_01_spleen" in line
    assert "routine 04" in line
    assert {row["ID"] for row in sheet(root, "Manifest")} == set(trees.ANNOTATED) - {"amos_0004"}
    assert sheet(root, "Summary")[-1]["label_name"] == "not measured: amos_0004"


def test_missing_and_damaged_binary_masks_fail_their_sample_alone(root):
    for path in trees.binary_masks(root, "amos_0004"):
        path.unlink()
    damaged = trees.binary_masks(root, "amos_0001")[3]
    damaged.write_bytes(damaged.read_bytes()[:-4])
    trees.binary_masks(root, "amos_0008")[6].unlink()
    result = detect(root)
    assert result.exit_code == 1
    first, second, third = trees.complaints(result)
    assert str(damaged) in first and "no binary masks; run routine 04" in second
    assert "none for label 6" in third
    assert {row["ID"] for row in sheet(root, "Manifest")} <= {"amos_0507", "amos_0540", "amos_0554"}


def test_the_same_cells_leave_the_workbook_alone_and_others_replace_it(root):
    detect(root)
    before = trees.identities(root)
    assert detect(root).exit_code == 0
    assert trees.identities(root) == before
    assert detect(root, 3.5).exit_code == 0
    assert trees.rewritten(before, trees.identities(root)) == {"descriptor/regions.xlsx"}


def test_a_workbook_changed_by_hand_is_refused_before_work(root):
    detect(root)
    trees.edit_cells(workbook(root), {("voxels", "amos_0001"): 99})
    before = trees.identities(root)
    result = detect(root, 3.5)
    assert result.exit_code == 2 and "changed by hand" in result.stderr
    assert trees.identities(root) == before
    assert detect(root, 3.5, "--overwrite").exit_code == 0
    assert (root / "descriptor/regions.bak.xlsx").exists()


@pytest.mark.parametrize("threshold", ["nan", "-1", "small"])
def test_a_wrong_threshold_is_wrong_usage(root, threshold):
    result = trees.invoke(trees.DETECT, root, "--region_volume_thresh", threshold)
    assert result.exit_code == 2 and threshold in result.stderr
    assert not workbook(root).exists()


def test_a_tree_of_masks_alone_that_denoising_wrote_elsewhere_can_be_looked_at(tmp_path):
    root = trees.copy("extracted", tmp_path / "root")
    elsewhere = root / "denoised"
    assert trees.invoke(trees.DENOISE, root, "--output_dir", elsewhere).exit_code == 0
    result = trees.invoke(trees.DETECT, root, "--root_dir", elsewhere)
    assert result.exit_code == 0, result.output
    assert "6 samples" in result.stdout

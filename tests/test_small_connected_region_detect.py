"""The detection script as a person runs it."""

import collections
import subprocess
import sys

import nibabel as nib
import numpy as np
import openpyxl
import oracles
import pytest
import trees

from utils.storage import manifest
from utils.storage import workbook as storage_workbook

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


def further_sheets(root, monkeypatch, max_rows, n_voxels=2.5):
    """Detect with other rows per worksheet; {worksheet: its rows}, the regions in order."""
    monkeypatch.setattr(storage_workbook, "MAX_ROWS", max_rows)
    result = detect(root, n_voxels)
    assert result.exit_code == 0, result.output
    book = openpyxl.load_workbook(workbook(root))
    rows = {name: list(book[name].iter_rows(values_only=True)) for name in book.sheetnames}
    return rows, result


def test_regions_beyond_the_rows_of_excel_go_on_in_further_sheets(root, monkeypatch):
    detect(root)
    expected = [tuple(row.values()) for row in sheet(root, "Manifest")]
    summary = sheet(root, "Summary")
    n_rows = len(expected) // 2  # below the header: two sheets are full or the third has one row
    rows, result = further_sheets(root, monkeypatch, n_rows + 1)
    names = ["Manifest", "Manifest 2", "Manifest 3"][: -(-len(expected) // n_rows)]
    assert list(rows) == [*names, "Summary"] and len(names) >= 2
    assert {rows[name][0] for name in names} == {tuple(COLUMNS)}
    assert [row for name in names for row in rows[name][1:]] == expected
    assert [dict(zip(rows["Summary"][0], row)) for row in rows["Summary"][1:]] == summary
    assert f"{workbook(root)}: {len(expected)} regions below" in result.stdout
    assert not manifest.Target(workbook(root)).was_changed


def test_further_sheets_are_left_alone_when_equal_and_go_when_not_needed(root, monkeypatch):
    further_sheets(root, monkeypatch, 20)
    before = trees.identities(root)
    rows, _ = further_sheets(root, monkeypatch, 20)
    assert trees.identities(root) == before and len(rows) > 2
    trees.edit_cells(workbook(root), {("voxels", rows["Manifest 2"][1][0]): 99}, "Manifest 2")
    result = detect(root)
    assert result.exit_code == 2 and "changed by hand" in result.stderr
    assert detect(root, 2.5, "--overwrite").exit_code == 0
    rows, _ = further_sheets(root, monkeypatch, 20, 0.5)
    assert list(rows) == ["Manifest", "Summary"] and rows["Manifest"] == [tuple(COLUMNS)]


def test_names_that_no_workbook_holds_fail_their_samples_alone(root):
    trees.put_odd_names(root)
    result = detect(root)
    assert result.exit_code == 1
    long, odd = trees.complaints(result)
    assert long.startswith("FAILED amos_0001: ")
    assert long.endswith("32768 characters, Excel holds 32767")
    assert odd.startswith("FAILED amos_0004: ")
    assert odd.endswith("column 'file_path': the character '\\x01' cannot stand in a workbook")
    assert {row["ID"] for row in sheet(root, "Manifest")} == {*trees.ANNOTATED[2:]}
    failed = [row["label_name"] for row in sheet(root, "Summary")[-2:]]
    assert failed == ["not measured: amos_0001", "not measured: amos_0004"]


def test_a_workbook_that_can_never_be_written_is_found_before_the_work(root):
    workbook(root).parent.mkdir(exist_ok=True)
    workbook(root).symlink_to(root / "nowhere.xlsx")
    before = trees.identities(root)
    result = detect(root)
    assert result.exit_code == 2 and "or a link to nothing)" in result.stderr
    assert trees.identities(root) == before


def test_memory_stays_flat_with_many_regions(tmp_path):
    command = [sys.executable, "-c", MANY, tmp_path / "regions.xlsx"]
    done = subprocess.run(command, cwd=trees.REPOSITORY, text=True, capture_output=True, check=True)
    megabytes, n_bytes = map(int, done.stdout.split())
    assert n_bytes > 1_000_000
    assert megabytes < 60  # each cell an object took 300


MANY = """
import resource, sys
import numpy as np, openpyxl, pandas
from utils.arrays import regions
from utils.routines import region_manifest
from utils.running import calls
from utils.storage import manifest
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rng, n = np.random.default_rng(0), 1000
texts = {7: dict(ID="amos_0001", subset="train", label_name="aorta", file_path="x" * 80)}
target = manifest.refuse_if_changed(sys.argv[1])
results = []
for sample in range(50):
    labels, voxels = np.full(n, 7, np.uint8), np.full(n, 3)
    found = regions.Regions(labels, voxels, rng.random((n, 3)), rng.random(n))
    columns = region_manifest._columns(found, rng.random((n, 3)), texts)
    results.append((str(sample), ({7: "aorta"}, columns)))
target.write(region_manifest.tables(calls.Outcome(results=results)))
assert not manifest.Target(sys.argv[1]).was_changed
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // 1024, target.path.stat().st_size)
"""

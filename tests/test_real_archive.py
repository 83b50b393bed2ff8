"""The whole chain on real scans, where they lie beside the project; skipped by name elsewhere."""

import shutil

import nibabel as nib
import numpy as np
import openpyxl
import oracles
import pytest
import trees

SHARED = trees.REPOSITORY.parent / "shared/data"
ARCHIVE = SHARED / "real_archive"
TABLE = SHARED / "labeled_data_meta_0000_0599.csv"
REASON = "no ../shared/data/real_archive with real scans"
pytestmark = [
    pytest.mark.skipif(not (ARCHIVE.is_dir() and TABLE.is_file()), reason=REASON),
    pytest.mark.slow("real scans"),
]

SAMPLES = {
    "amos_0004": ("F", "Tr"),
    "amos_0005": ("M", "Tr"),
    "amos_0008": ("M", "Va"),
    "amos_0201": ("M", "Ts"),
    "amos_0507": ("M", "Tr"),
}
LABELLED = [name for name in SAMPLES if name != "amos_0201"]
CHAIN = (trees.SCAN, trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT)
CHAIN += (trees.DENOISE, trees.INDEX, trees.MAKE_SPLIT)


@pytest.fixture(name="root", scope="module")
def finished_root(tmp_path_factory):
    """The real archive after all routines."""
    root = tmp_path_factory.mktemp("real")
    (root / "archive").symlink_to(ARCHIVE)
    shutil.copy(TABLE, root)
    (root / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, root / "descriptor")
    for script in CHAIN:
        table = ("--labeled_data_meta", TABLE) if script == trees.SCAN else ()
        result = trees.invoke(script, root, *table)
        assert result.exit_code == 0, result.output
        assert trees.library_notes(result) == [], "a library warns of healthy data"
    return root


def source(name, kind):
    return ARCHIVE / f"{kind}{SAMPLES[name][1]}" / f"{name}.nii.gz"


def relabelled(name):
    """The archive's mask as routine 03 leaves it."""
    labels = trees.voxels(source(name, "labels")).astype(np.uint8)
    if SAMPLES[name][0] == "F":
        labels[labels == 15] = 16
    return labels


def test_archive_manifest_has_nine_rows(root):
    book = openpyxl.load_workbook(root / "descriptor/archive_manifest.xlsx")
    assert book["Manifest"].max_row - 1 == 9


def test_sample_folders(root):
    found = {path.parent.name for path in root.rglob("*_volume.nii.gz")}
    assert found == {f"{name}_{sex}" for name, (sex, _) in SAMPLES.items()}


def test_seventeen_binary_masks_each_but_for_the_test_scan(root):
    assert {name: len(trees.binary_masks(root, name)) for name in SAMPLES} == {
        name: 17 * (name in LABELLED) for name in SAMPLES
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_volumes_are_the_archives_voxels(root, name):
    written = trees.voxels(trees.sample_dir(root, name) / f"{name}_volume.nii.gz")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(
        written, nib.load(source(name, "images")).get_fdata().astype(np.float32)
    )


@pytest.mark.parametrize("name", LABELLED)
def test_masks_are_the_formulas_voxel_by_voxel(root, name):
    path = trees.mask_path(root, name)
    before = relabelled(name)
    expected = oracles.open_close_small_regions_literal(before, nib.load(path).header.get_zooms())
    np.testing.assert_array_equal(trees.voxels(path), expected)
    for value, binary in enumerate(trees.binary_masks(root, name)):
        np.testing.assert_array_equal(trees.voxels(binary), expected == value)


def test_denoising_had_something_to_do(root):
    changed = [
        np.count_nonzero(trees.voxels(trees.mask_path(root, name)) != relabelled(name))
        for name in LABELLED
    ]
    assert sum(changed) > 0


@pytest.mark.parametrize("name", LABELLED)
def test_detection_equals_the_literal_one(root, name):
    path = trees.mask_path(root, name)
    expected = oracles.small_regions_literal(
        trees.voxels(path), nib.load(path).header.get_zooms(), 300.0
    )
    output = root / "descriptor/regions.xlsx"
    if not output.exists():
        assert trees.invoke(trees.DETECT, root).exit_code == 0
    header, *rows = openpyxl.load_workbook(output)["Manifest"].iter_rows(values_only=True)
    found = [dict(zip(header, row)) for row in rows if row[0] == name]
    assert [(row["label_index"], row["voxels"]) for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose(
        [[row[f"centroid_{axis}"] for axis in "xyz"] + [row["volume_mm3"]] for row in found],
        [[*row[2], row[3]] for row in expected],
        rtol=1e-12,
    )


def test_split_has_three_one_and_one(root):
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    header, *rows = book["split01_standard"].iter_rows(values_only=True)
    subsets = [row[header.index("split01_standard")] for row in rows]
    assert [subsets.count(subset) for subset in ("train", "val", "test")] == [3, 1, 1]


def test_a_further_run_changes_no_file(root):
    before = trees.identities(root / "grouped")
    for script in CHAIN[1:-1]:
        assert trees.invoke(script, root).exit_code == 0
    assert trees.identities(root / "grouped") == before


def test_a_run_with_two_workers_ends_in_the_same_bytes(root, tmp_path):
    for name in ("archive", "descriptor"):
        (tmp_path / name).symlink_to(root / name)
    for script in CHAIN[1:-2]:
        result = trees.invoke(script, tmp_path, "--workers", 2)
        assert result.exit_code == 0, result.output
    images = {
        name: content
        for name, content in trees.contents(root / "grouped").items()
        if not name.endswith(".xlsx")
    }
    assert trees.contents(tmp_path / "grouped") == images


def test_simpleitk_reads_every_image_without_a_warning_and_agrees(root, run_python):
    """In a process of its own: ITK's warnings come from C++ and go to the real stderr."""
    sitk = pytest.importorskip("SimpleITK")
    paths = sorted((root / "grouped").rglob("*.nii.gz"))
    assert len(paths) == 5 + 4 + 4 * 17
    code = """if True:
        import sys
        import SimpleITK as sitk
        for path in sys.argv[1:]:
            image = sitk.ReadImage(path)
            numbers = [*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(),
                       *image.GetDirection(), image.GetPixelID()]
            print(*map(repr, numbers))
        """
    done = run_python(code, *paths)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines):
        numbers = [float(word) for word in line.split()]
        size, spacing, origin = numbers[:3], numbers[3:6], numbers[6:9]
        directions = np.reshape(numbers[9:18], (3, 3))
        image = nib.load(path)
        assert tuple(size) == image.shape
        is_volume = path.name.endswith("_volume.nii.gz")
        assert numbers[18] == (sitk.sitkFloat32 if is_volume else sitk.sitkUInt8)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = directions * spacing, origin
        affine = np.diag([-1, -1, 1, 1]) @ affine  # ITK's world is LPS
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
        apart = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(
            image.affine, corners
        )
        assert np.linalg.norm(apart, axis=1).max() < 1e-3

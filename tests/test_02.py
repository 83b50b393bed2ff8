"""Routines 02 as a person runs them: pairs of the archive become samples."""

import gzip
import json
import os
import shutil
import types

import nibabel as nib
import numpy as np
import openpyxl
import pytest
import trees
import yaml

from utils.facts import amos22
from utils.storage import nifti

OTHERS = {"amos_0001_F", "amos_0008_F", "amos_0201_M"}  # CT samples but for amos_0004


@pytest.fixture(name="root")
def scanned_root(tmp_path):
    """Archive and its manifest."""
    return trees.copy("scanned", tmp_path / "root dir ä")


@pytest.fixture(name="paired")
def paired_root(tmp_path):
    """After both routines 02."""
    return trees.copy("paired", tmp_path / "root dir ä")


def manifest_path(root):
    return root / "descriptor/archive_manifest.xlsx"


def pair_ct(root, *more):
    return trees.invoke(trees.PAIR_CT, root, *more)


def failed_names(result):
    return {line.split()[1].rstrip(":") for line in trees.complaints(result)}


def read_info(root, name):
    return yaml.safe_load((trees.sample_dir(root, name) / f"{name}_info.yaml").read_text("utf-8"))


def put_image(path, data, affine=None, header=None):
    """Replace a file of the archive."""
    nib.save(
        nib.Nifti1Image(data, nib.load(path).affine if affine is None else affine, header), path
    )


def geometry_bytes(path):
    """pixdim, units and both forms of a header: what must not differ within a sample."""
    header = nib.load(path).header
    fields = (
        "pixdim xyzt_units qform_code sform_code quatern_b quatern_c quatern_d"
        " qoffset_x qoffset_y qoffset_z srow_x srow_y srow_z"
    ).split()
    return b"".join(header[field].tobytes() for field in fields)


# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "tree", "expected"),
    [(trees.PAIR_CT, "AMOS-CT", trees.CT_SAMPLES), (trees.PAIR_MRI, "AMOS-MRI", trees.MRI_SAMPLES)],
)
def test_samples_lie_by_subset_scanner_and_sex(root, script, tree, expected):
    result = trees.invoke(script, root)
    assert result.exit_code == 0, result.output
    files = set(trees.contents(root / "grouped" / tree))
    assert files == {
        f"{folder}/{folder[-11:-2]}_{kind}"
        for folder, has_mask in expected.items()
        for kind in ("info.yaml", "volume.nii.gz", "mask.nii.gz")
        if has_mask or kind != "mask.nii.gz"
    }
    assert os.listdir(root / "grouped") == [tree]
    assert result.stdout.splitlines()[-2:] == [
        "Samples: train 2, val 1, test 1",
        "samples: 4 done, 0 skipped as finished, 0 failed",
    ]


def test_all_three_subset_folders_are_made(root):
    for subset in ("imagesTs", "Va/"):
        trees.delete_rows(manifest_path(root), subset)
    assert pair_ct(root).exit_code == 0
    assert sorted(os.listdir(root / "grouped/AMOS-CT")) == ["test", "train", "val"]


def test_info_file_holds_quoted_text_in_order(paired):
    text = (trees.sample_dir(paired, "amos_0540") / "amos_0540_info.yaml").read_text("utf-8")
    assert text == (
        'subset: "train"\nseq: "0540"\nbirth_date: "19590217"\nsex: "F"\nage: "UND"\n'
        'manufacturer_model_name: "Achieva"\nmanufacturer: "Philips Medical Systems"\n'
        'acquisition_date: "20200217"\nsite: "center"\n'
    )
    assert all(isinstance(value, str) for value in yaml.safe_load(text).values())


@pytest.mark.parametrize("name", ["amos_0001", "amos_0004", "amos_0008", "amos_0507", "amos_0540"])
def test_volume_is_the_archives_with_a_fresh_header(paired, name):
    folder = "imagesVa" if name == "amos_0008" else "imagesTr"
    source = nib.load(trees.archive_file(paired, folder, name))
    path = trees.sample_dir(paired, name) / f"{name}_volume.nii.gz"
    written = nib.load(path)
    stored = np.asarray(source.dataobj.get_unscaled(), np.float64)
    scaled = stored * (source.dataobj.slope or 1) + source.dataobj.inter
    np.testing.assert_array_equal(np.asarray(written.dataobj), scaled.astype(np.float32))
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-4)
    header = written.header
    assert header.get_data_dtype() == np.float32
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=2e-3)
    assert header.get_xyzt_units()[0] == "mm" and not header.extensions
    assert (header["cal_min"], header["cal_max"]) == (0, 0)
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    np.testing.assert_allclose(
        header["pixdim"][1:4], nib.affines.voxel_sizes(written.affine), rtol=1e-6
    )
    crc = trees.archive_file(paired, folder, name).read_bytes()[-8:-4][::-1].hex()
    assert header["descrip"].item().decode() == f"src={crc}"


@pytest.mark.parametrize("name", ["amos_0001", "amos_0004", "amos_0507", "amos_0540"])
def test_mask_is_the_archives_in_its_volumes_geometry(paired, name):
    source = trees.archive_file(paired, "labelsTr", name)
    mask = trees.mask_path(paired, name)
    written = nib.load(mask)
    np.testing.assert_array_equal(trees.voxels(mask), trees.voxels(source))
    assert written.header.get_data_dtype() == np.uint8
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name(f"{name}_volume.nii.gz"))
    crc = source.read_bytes()[-8:-4][::-1].hex()
    assert written.header["descrip"].item().decode() == f"src={crc}"


# --- what is finished ---------------------------------------------------------------------------


def test_overwrite_writes_everything_again_with_the_same_bytes(paired):
    tree = paired / "grouped/AMOS-CT"
    before, bytes_before = trees.identities(tree), trees.contents(tree)
    assert pair_ct(paired, "--overwrite").exit_code == 0
    assert trees.rewritten(before, trees.identities(tree)) == set(before)
    assert trees.contents(tree) == bytes_before


def test_a_corrected_age_rewrites_the_info_file_alone(paired):
    trees.edit_cells(manifest_path(paired), {("age", "amos_0004"): "099Y"})
    before = trees.identities(paired / "grouped")
    result = pair_ct(paired)
    assert result.exit_code == 0, result.output
    assert trees.rewritten(before, trees.identities(paired / "grouped")) == {
        "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004_info.yaml"
    }
    info = trees.sample_dir(paired, "amos_0004") / "amos_0004_info.yaml"
    assert 'age: "099Y"' in info.read_text("utf-8")


def test_a_corrected_sex_fails_until_the_old_folder_is_removed(paired):
    trees.edit_cells(manifest_path(paired), {("sex", "amos_0004"): "F"})
    before = trees.identities(paired)
    result = pair_ct(paired)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and "Brilliance16/amos_0004_M" in line
    assert trees.identities(paired) == before
    shutil.rmtree(trees.sample_dir(paired, "amos_0004"))
    result = pair_ct(paired)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "samples: 1 done, 3 skipped as finished, 0 failed"
    assert trees.sample_dir(paired, "amos_0004").name == "amos_0004_F"


@pytest.mark.parametrize("output_dir", ["grouped/AMOS-MRI", "."])
def test_a_scanner_corrected_from_ct_to_mri_looks_into_the_sibling_tree(
    paired, output_dir, monkeypatch
):
    trees.edit_cells(manifest_path(paired), {("manufacturer_model_name", "amos_0004"): "Prisma"})
    assert pair_ct(paired).exit_code == 0  # none of its samples any more
    before = trees.identities(paired)
    monkeypatch.chdir(paired / ("grouped/AMOS-MRI" if output_dir == "." else "."))
    result = trees.invoke(trees.PAIR_MRI, paired, "--output_dir", output_dir)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and "train/Brilliance16/amos_0004_M" in line
    assert trees.identities(paired) == before
    shutil.rmtree(trees.sample_dir(paired, "amos_0004"))
    assert trees.invoke(trees.PAIR_MRI, paired).exit_code == 0
    assert trees.sample_dir(paired, "amos_0004").parent.parent.parent.name == "AMOS-MRI"


@pytest.mark.parametrize("keep_header", [True, False])
def test_a_mask_edited_by_hand_survives(paired, keep_header):
    path = trees.mask_path(paired, "amos_0001")
    if keep_header:
        trees.put_voxel(path, (0, 0, 0), 5)
    else:
        data = trees.voxels(path).copy()
        data[0, 0, 0] = 5
        nib.save(nib.Nifti1Image(data, nib.load(path).affine), path)
    before = trees.identities(paired)
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert trees.identities(paired) == before
    assert bool(trees.complaints(result, "WARNING")) != keep_header
    assert trees.voxels(path)[0, 0, 0] == 5


def test_overwrite_takes_back_what_was_edited(paired):
    path = trees.mask_path(paired, "amos_0001")
    before = path.read_bytes()
    trees.put_voxel(path, (0, 0, 0), 5)
    assert pair_ct(paired, "--overwrite").exit_code == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(("folder", "kind"), [("imagesTr", "volume"), ("labelsTr", "mask")])
def test_a_changed_source_is_done_again_alone(paired, folder, kind):
    source = trees.archive_file(paired, folder, "amos_0001")
    trees.put_voxel(source, (1, 2, 3), 7)
    before = trees.identities(paired / "grouped")
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert "WARNING amos_0001:" in result.stderr and "source changed" in result.stderr
    sample = "AMOS-CT/train/Aquilion ONE/amos_0001_F/amos_0001"
    assert (
        f"{sample}_{kind}.nii.gz"
        in trees.rewritten(before, trees.identities(paired / "grouped"))
        <= {f"{sample}_{kind}.nii.gz", f"{sample}_info.yaml"}
    )
    written = trees.sample_dir(paired, "amos_0001") / f"amos_0001_{kind}.nii.gz"
    np.testing.assert_array_equal(trees.voxels(written), trees.voxels(source))


def test_a_volume_whose_geometry_was_corrected_takes_its_edited_mask_along(paired):
    source = trees.archive_file(paired, "imagesTr", "amos_0001")
    image = nib.load(source)
    moved = image.affine + np.pad([[12.5]], ((0, 3), (3, 0)))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), source)
    mask = trees.mask_path(paired, "amos_0001")
    trees.put_voxel(mask, (0, 0, 0), 5)
    marks = nib.load(mask).header["descrip"].item()
    result = pair_ct(paired)
    assert result.exit_code == 0, result.output
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0001_volume.nii.gz"))
    np.testing.assert_allclose(nib.load(mask).affine, moved, atol=1e-4)
    assert trees.voxels(mask)[0, 0, 0] == 5 and nib.load(mask).header["descrip"].item() == marks
    before = trees.identities(paired)
    assert pair_ct(paired).exit_code == 0
    assert trees.identities(paired) == before


@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_a_damaged_target_is_done_again_with_the_same_bytes(paired, kind):
    path = trees.sample_dir(paired, "amos_0001") / f"amos_0001_{kind}.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert str(path) in trees.complaints(result, "WARNING")[0]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_a_foreign_file_of_another_shape_is_not_replaced(paired, kind):
    path = trees.sample_dir(paired, "amos_0001") / f"amos_0001_{kind}.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), path)
    before = trees.identities(paired)
    result = pair_ct(paired)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert str(path) in line and "(3, 4, 5)" in line and "(7, 8, 9)" in line
    assert trees.identities(paired) == before


def test_a_missing_mask_or_info_file_comes_back(paired):
    tree = paired / "grouped/AMOS-CT"
    whole = trees.contents(tree)
    folder = trees.sample_dir(paired, "amos_0001")
    (folder / "amos_0001_mask.nii.gz").unlink()
    (trees.sample_dir(paired, "amos_0004") / "amos_0004_info.yaml").unlink()
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert trees.contents(tree) == whole
    assert result.stdout.splitlines()[-2:] == [
        "Samples: train 2, val 1, test 1",
        "samples: 2 done, 2 skipped as finished, 0 failed",
    ]


# --- the manifest, corrected by hand ------------------------------------------------------------


def test_numbers_as_spreadsheets_make_them_are_understood(root):
    typed = {"seq": 4, "birth_date": "19510122.0", "acquisition_date": 20200131.0}
    changes = {(column, "amos_0004"): value for column, value in typed.items()}
    trees.edit_cells(manifest_path(root), {**changes, ("site", "amos_0001"): None})
    assert pair_ct(root).exit_code == 0
    meant = {"seq": "0004", "birth_date": "19510122", "acquisition_date": "20200131"}
    assert meant.items() <= read_info(root, "amos_0004").items()
    assert read_info(root, "amos_0001")["site"] == "UND"


def test_text_that_looks_like_a_formula_or_like_yaml_stays_text(root):
    path = manifest_path(root)
    nasty = {"amos_0004": "=1+1", "amos_0001": 'a: "b" # ü\n- x', "amos_0008": "no"}
    book = openpyxl.load_workbook(path)
    column = amos22.ARCHIVE_COLUMNS.index("site")
    for row in book["Manifest"].iter_rows(min_row=2):
        for name, text in nasty.items():
            if name in row[0].value:
                row[column].value = text
                row[column].data_type = "s"
    book.save(path)
    assert pair_ct(root).exit_code == 0
    for name, text in nasty.items():
        info = trees.sample_dir(root, name) / f"{name}_info.yaml"
        assert yaml.safe_load(info.read_text("utf-8"))["site"] == text


def test_other_columns_and_another_order_do_no_harm(root):
    path = manifest_path(root)
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    sheet.insert_cols(1)
    sheet.cell(1, 1, "checked by")
    sheet.move_range(f"D1:D{sheet.max_row}", cols=40)
    sheet.delete_cols(4)
    book.save(path)
    assert pair_ct(root).exit_code == 0
    assert len(list(root.glob("grouped/AMOS-CT/*/*/amos_*_?"))) == 4


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sex", "F/../../x"),
        ("sex", ".."),
        ("seq", "../4"),
        ("seq", "00004"),
        ("subset", "../../x"),
        ("subset", ""),
        ("type", "v4d"),
        ("manufacturer_model_name", "../../x"),
        ("file_path", "../archive/amos22/imagesTr/amos_0004.nii.gz"),
        ("file_path", "/etc/amos_0004"),
    ],
)
def test_a_hostile_cell_fails_its_sample_and_goes_into_no_path(root, tmp_path, column, value):
    trees.edit_cells(manifest_path(root), {(column, "amos_0004"): value})
    result = pair_ct(root)
    assert result.exit_code == 1
    assert len(failed_names(result)) in (1, 2)  # the two rows of a file, or the sample
    assert value in result.stderr
    written = {path.parent.name for path in tmp_path.rglob("*_volume.nii.gz")}
    assert written == OTHERS


def test_an_absolute_path_to_a_real_file_is_refused_too(root):
    path = trees.archive_file(root, "imagesTr", "amos_0004")
    trees.edit_cells(manifest_path(root), {("file_path", "imagesTr/amos_0004"): str(path)})
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"} and "leaves the archive" in result.stderr


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_a_row_whose_file_is_missing_fails(root, folder):
    trees.archive_file(root, folder, "amos_0004").unlink()
    result = pair_ct(root, "--failures_file", root / "logs/failures.jsonl")
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    assert f"{folder}/amos_0004.nii.gz does not exist" in result.stderr
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS
    (entry,) = map(json.loads, (root / "logs/failures.jsonl").read_text("utf-8").splitlines())
    assert (entry["sample"], entry["code"]) == ("amos_0004", "missing")
    assert entry["file"] == str(trees.archive_file(root, folder, "amos_0004"))


def test_a_mask_without_a_volume_fails(root):
    trees.delete_rows(manifest_path(root), "imagesTr/amos_0004")
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    assert "labelsTr/amos_0004.nii.gz has no volume" in result.stderr


@pytest.mark.parametrize(("label_is_there", "status"), [(True, 1), (False, 0)])
@pytest.mark.parametrize(("name", "subset"), [("amos_0004", "Tr"), ("amos_0008", "Va")])
def test_a_missing_mask_row(root, name, subset, label_is_there, status):
    trees.delete_rows(manifest_path(root), f"labels{subset}/{name}")
    if not label_is_there:
        trees.archive_file(root, f"labels{subset}", name).unlink()
    result = pair_ct(root)
    assert result.exit_code == status
    (line,) = trees.complaints(result, "FAILED" if label_is_there else "WARNING")
    assert name in line
    written = list(root.glob(f"grouped/AMOS-CT/*/*/{name}_?/*"))
    assert len(written) == (0 if label_is_there else 2)


def test_a_second_volume_row_fails(root):
    path = manifest_path(root)
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    doubled = next(
        row
        for row in sheet.iter_rows(min_row=2, values_only=True)
        if "imagesTr/amos_0004" in row[0]
    )
    sheet.append(doubled)
    book.save(path)
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    assert "2 rows of type v3d" in result.stderr


def test_volume_and_mask_row_that_disagree_fail_naming_both(root):
    trees.edit_cells(manifest_path(root), {("sex", "labelsTr/amos_0004"): "F"})
    result = pair_ct(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert "imagesTr/amos_0004" in line and "labelsTr/amos_0004" in line and "sex" in line
    assert not list(root.glob("grouped/AMOS-CT/*/*/amos_0004*"))


@pytest.mark.parametrize("script", [trees.PAIR_CT, trees.PAIR_MRI])
def test_a_scanner_in_neither_set_fails_by_name_in_both_scripts(root, script):
    trees.edit_cells(
        manifest_path(root), {("manufacturer_model_name", "amos_0004"): "Aquilion TWO"}
    )
    result = trees.invoke(script, root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and "Aquilion TWO" in line
    assert result.stdout.splitlines()[-1].endswith("0 skipped as finished, 1 failed")


# --- wrong usage --------------------------------------------------------------------------------


def test_a_manifest_without_a_needed_column_is_refused(root):
    book = openpyxl.load_workbook(manifest_path(root))
    book["Manifest"].delete_cols(amos22.ARCHIVE_COLUMNS.index("sex") + 1)
    book.save(manifest_path(root))
    result = pair_ct(root)
    assert result.exit_code == 2 and "missing columns: sex" in result.stderr
    assert not (root / "grouped").exists()


def test_too_little_disk_space_is_noticed_before_anything_is_made(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1))
    result = pair_ct(root)
    assert result.exit_code == 2 and "not enough disk space" in result.stderr
    assert not (root / "grouped").exists()


# --- volumes and masks that do not fit ----------------------------------------------------------


def test_masks_of_another_shape_fail(root):
    path = trees.archive_file(root, "labelsTr", "amos_0004")
    put_image(path, np.ones((7, 8, 10), np.uint8))
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"}
    assert str(path) in result.stderr and "(7, 8, 10)" in result.stderr
    assert "(7, 8, 9)" in result.stderr
    assert not list(root.glob("grouped/AMOS-CT/*/*/amos_0004*"))


@pytest.mark.parametrize(
    ("label", "told"), [(2.5, "2.5"), (256, "256"), (-1, "-1"), (np.nan, "nan"), (300, "300")]
)
def test_labels_that_are_no_whole_numbers_up_to_255_fail(root, label, told):
    path = trees.archive_file(root, "labelsTr", "amos_0004")
    data = np.zeros((7, 8, 9), np.float32)
    data[3, 4, 5] = label
    put_image(path, data)
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    assert str(path) in result.stderr and f"labels {told} found" in result.stderr
    assert not list(root.glob("grouped/AMOS-CT/*/*/amos_0004*"))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.float32, np.float64])
def test_labels_of_any_type_are_kept(root, dtype):
    path = trees.archive_file(root, "labelsTr", "amos_0004")
    data = np.arange(7 * 8 * 9).reshape(7, 8, 9) % 128
    put_image(path, data.astype(dtype))
    assert pair_ct(root).exit_code == 0
    np.testing.assert_array_equal(trees.voxels(trees.mask_path(root, "amos_0004")), data)


def test_a_masks_own_affine_gives_way_with_a_warning_in_figures(root):
    volume = nib.load(trees.archive_file(root, "imagesTr", "amos_0004"))
    affine = volume.affine.copy()
    affine[:3, 3] += 3, 4, 0
    path = trees.archive_file(root, "labelsTr", "amos_0004")
    put_image(path, trees.voxels(path), affine)
    result = pair_ct(root)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert line.startswith("WARNING amos_0004:") and str(path) in line
    assert "by 5 (Frobenius norm), at most 5 mm" in line
    mask = trees.mask_path(root, "amos_0004")
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))


@pytest.mark.parametrize(("shear", "is_mended"), [(2e-4, True), (0.2, False)])
def test_sheared_axes_are_mended_within_a_tenth_of_a_millimetre(root, shear, is_mended):
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[0, 1] = 2 * shear
    put_image(source, np.ones((7, 8, 9), np.float32), affine)
    result = pair_ct(root)
    assert result.exit_code == 0
    told = next(line for line in trees.complaints(result, "WARNING") if str(source) in line)
    written = nib.load(trees.sample_dir(root, "amos_0004") / "amos_0004_volume.nii.gz")
    axes = written.affine[:3, :3] / nib.affines.voxel_sizes(written.affine)
    deviation = np.abs(axes.T @ axes - np.eye(3)).max()
    assert written.header["sform_code"] == 1
    if is_mended:
        assert deviation < 1e-6 and written.header["qform_code"] == 1 and "mm" in told
        grid = nib.affines.apply_affine(affine, np.array(list(np.ndindex(2, 2, 2))) * (6, 7, 8))
        moved = nib.affines.apply_affine(
            written.affine, np.array(list(np.ndindex(2, 2, 2))) * (6, 7, 8)
        )
        assert 0 < np.linalg.norm(grid - moved, axis=1).max() <= 0.1
    else:
        np.testing.assert_allclose(written.affine, affine, atol=1e-6)
        assert written.header["qform_code"] == 0 and "ITK" in told
    mask = trees.mask_path(root, "amos_0004")
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))


def test_one_frame_is_a_volume_and_two_are_not(root):
    one = trees.archive_file(root, "imagesTr", "amos_0001")
    two = trees.archive_file(root, "imagesTr", "amos_0004")
    data = np.arange(504, dtype=np.int16).reshape(7, 8, 9)
    put_image(one, data[..., None])
    put_image(two, np.stack([data, data], axis=-1))
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"}
    assert str(two) in result.stderr and "damaged" in result.stderr
    written = nib.load(trees.sample_dir(root, "amos_0001") / "amos_0001_volume.nii.gz")
    assert written.shape == (7, 8, 9)
    np.testing.assert_array_equal(np.asarray(written.dataobj), data)


def test_undefined_and_infinite_voxels_are_kept_and_counted(root):
    data = np.zeros((7, 8, 9), np.float32)
    data[0, 0, :4], data[0, 1, 0], data[0, 1, 1] = np.nan, np.inf, -np.inf
    put_image(trees.archive_file(root, "imagesTr", "amos_0004"), data)
    result = pair_ct(root)
    assert result.exit_code == 0
    assert "4 voxels are NaN and 2 infinite" in result.stderr
    written = trees.sample_dir(root, "amos_0004") / "amos_0004_volume.nii.gz"
    np.testing.assert_array_equal(trees.voxels(written), data)


def test_values_that_float32_cannot_hold_are_told_with_the_largest_loss(root):
    data = np.zeros((7, 8, 9), np.int32)
    data[0, 0, 0], data[0, 0, 1] = 2**24 + 1, 2**28 + 5
    put_image(trees.archive_file(root, "imagesTr", "amos_0004"), data)
    result = pair_ct(root)
    assert result.exit_code == 0
    assert "largest loss is 5" in result.stderr


def test_a_stored_pixdim_off_the_affine_is_told_and_mended(root):
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    image = nib.Nifti1Image(np.ones((7, 8, 9), np.float32), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["qform_code"], image.header["pixdim"][3] = 0, 5.0
    nib.save(image, source)
    data = bytearray(gzip.decompress(source.read_bytes()))
    data[88:92] = np.float32(5).tobytes()  # pixdim[3]; nibabel mends it on saving
    source.write_bytes(gzip.compress(bytes(data)))
    result = pair_ct(root)
    assert result.exit_code == 0
    assert "pixdim 2 x 3 x 5 mm differs" in result.stderr
    header = nib.load(trees.sample_dir(root, "amos_0004") / "amos_0004_volume.nii.gz").header
    assert header.get_zooms() == (2, 3, 4)
    assert nifti.read_header(source).zooms[2] == 5


def test_a_source_of_several_gzip_members_is_whole(root):
    """As parallel packers write them: the last trailer does not fit the header's size."""
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    content = gzip.decompress(source.read_bytes())
    source.write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    assert pair_ct(root).exit_code == 0
    written = trees.sample_dir(root, "amos_0004") / "amos_0004_volume.nii.gz"
    np.testing.assert_array_equal(trees.voxels(written), trees.voxels(source))
    before = trees.identities(root)
    assert pair_ct(root).exit_code == 0
    assert trees.identities(root) == before


def test_names_that_no_disk_takes(root):
    result = pair_ct(root, "--output_dir", root / ("x" * 300))
    assert result.exit_code == 2 and "File name too long" in result.stderr
    book = openpyxl.load_workbook(manifest_path(root))
    book["Manifest"]["A2"] = "imagesTr/" + "x" * 300
    book.save(manifest_path(root))
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0001"}


def test_folder_of_the_archive_that_cannot_be_listed(root, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("labelsTr"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = pair_ct(root)
    assert result.exit_code == 1 and "labelsTr: the folder cannot be listed" in result.stderr


def test_sample_whose_rows_were_removed_is_named(paired):
    book = openpyxl.load_workbook(manifest_path(paired))
    book["Manifest"].delete_rows(2, 2)
    book.save(manifest_path(paired))
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert [
        line
        for line in result.stderr.splitlines()
        if "amos_0001_F, but the manifest has no usable row" in line
    ] != []


def test_line_ends_in_a_cell_forge_no_message(root):
    book = openpyxl.load_workbook(manifest_path(root))
    book["Manifest"]["A2"] = "a\nFAILED amos_0008: \x85b"
    book.save(manifest_path(root))
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0001"}
    assert r"a\nFAILED amos_0008: \x85b does not exist" in result.stderr


def test_mask_of_another_shape_is_told_from_a_changed_source(paired):
    (mask,) = paired.glob("grouped/**/amos_0001_mask.nii.gz")
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine, image.header), mask)
    result = pair_ct(paired)
    assert result.exit_code == 0 and "its source (7, 8, 9); written again" in result.stderr
    assert "source changed" not in result.stderr


# --- wrong folders ------------------------------------------------------------------------------


def test_swapped_folders_are_told_and_nothing_is_made_in_the_archive(root):
    before = trees.contents(root)
    (root / "grouped").mkdir(exist_ok=True)
    swapped = "--root_dir", root / "grouped", "--output_dir", root / "archive"
    result = pair_ct(root, *swapped)
    n_files = len(openpyxl.load_workbook(manifest_path(root))["Manifest"]["A"]) - 1
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {root}/grouped: has none of the {n_files} files that {manifest_path(root)} lists; "
        f"probably meant: {root}/archive\n"
    )
    assert trees.contents(root) == before and not (root / "archive/train").exists()


def test_one_file_of_the_manifest_is_enough_to_go_on(root):
    """The others fail, each by name."""
    kept = trees.archive_file(root, "imagesTr", "amos_0004")
    for path in (root / "archive").rglob("amos_*.nii.gz"):
        if path != kept:
            path.unlink()
    result = pair_ct(root)
    assert result.exit_code == 1 and len(failed_names(result)) == len(trees.CT_SAMPLES)

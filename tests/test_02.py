"""Routines 02 as a person runs them: pairs of the archive become samples."""

import datetime
import gzip
import json
import os
import shutil
import types

import nibabel as nib
import nifti_files
import numpy as np
import openpyxl
import pytest
import trees
import yaml
from nifti_files import field

from utils.facts import amos22
from utils.storage import nifti, nifti_writing

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


def test_metadata_in_the_forms_of_people_are_brought_into_ours(root):
    typed = {
        "sex": "male",
        "age": 62,
        "birth_date": "1951-01-22",
        "acquisition_date": datetime.datetime(2020, 1, 31),
        "manufacturer_model_name": "Brilliance16\u00a0",
        "subset": "train ",
        "seq": " 0004",
        "site": "center\t",
    }
    changes = {(column, "amos_0004"): value for column, value in typed.items()}
    changes["file_path", "imagesTr/amos_0004"] = "amos22/imagesTr/amos_0004.nii.gz "
    changes["type", "labelsTr/amos_0004"] = "\tm3d"
    trees.edit_cells(manifest_path(root), changes)
    result = pair_ct(root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert trees.sample_dir(root, "amos_0004").name == "amos_0004_M"
    assert read_info(root, "amos_0004") == {
        "subset": "train",
        "seq": "0004",
        "birth_date": "19510122",
        "sex": "M",
        "age": "062Y",
        "manufacturer_model_name": "Brilliance16",
        "manufacturer": "Philips",
        "acquisition_date": "20200131",
        "site": "center",
    }
    before = trees.identities(root)
    assert pair_ct(root).exit_code == 0 and trees.identities(root) == before


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("sex", "TRUE", "sex is 'TRUE'"),
        ("sex", True, "sex is 'TRUE'"),
        ("age", "old", "age is 'old'"),
        ("age", 200, "age is '200'"),
        ("birth_date", "01/06/1993", "birth_date is '01/06/1993'"),
        ("birth_date", "19930231", "birth_date is '19930231'"),
        ("acquisition_date", 43861, "acquisition_date is '43861'"),
    ],
)
def test_metadata_without_a_form_fail_their_sample_by_name(root, column, value, told):
    trees.edit_cells(manifest_path(root), {(column, "amos_0004"): value})
    result = pair_ct(root)
    assert result.exit_code == 1
    lines = trees.complaints(result)
    assert len(lines) == 2 and all("amos_0004.nii.gz: " + told in line for line in lines)
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS
    assert trees.invoke(trees.PAIR_MRI, root).exit_code == 0  # it is none of hers


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_an_odd_cell_of_one_row_is_all_that_is_told_of_its_sample(root, folder):
    trees.edit_cells(manifest_path(root), {("age", f"{folder}/amos_0004"): "old"})
    result = pair_ct(root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert f"{folder}/amos_0004.nii.gz: age is 'old'" in line
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS


def test_odd_cells_of_a_sample_that_lies_there_are_all_that_is_told_of_it(paired):
    trees.edit_cells(manifest_path(paired), {("age", "amos_0004"): "old"})
    before = trees.identities(paired)
    result = pair_ct(paired)
    assert result.exit_code == 1 and trees.identities(paired) == before
    assert len(trees.complaints(result)) == 2 and "no usable row" not in result.stderr


def test_a_manifest_that_knows_no_scanner_is_refused_in_one_line(root):
    names = ("archive/labeled_data_meta_0000_0599.csv", "labeled_data_meta_0000_0599.csv")
    kept = next(root / name for name in names if (root / name).exists())
    kept = kept.rename(root / "elsewhere.csv")
    assert trees.invoke(trees.SCAN, root).exit_code == 1
    for script in (trees.PAIR_CT, trees.PAIR_MRI):
        result = trees.invoke(script, root)
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            f"Error: {manifest_path(root)}: it knows no scanner at all, the metadata table was "
            "missing in routine 01; download labeled_data_meta_0000_0599.csv (zenodo record "
            "7262581), put it into the archive or beside it, and run routine 01 again"
        ]
    assert not (root / "grouped").exists()
    kept.rename(root / names[1])
    assert trees.invoke(trees.SCAN, root).exit_code == 0
    assert pair_ct(root).exit_code == 0


def test_one_known_scanner_is_enough_to_go_on(root):
    path = manifest_path(root)
    changes = {("manufacturer_model_name", name): None for name in ("amos_0004", "amos_0008")}
    trees.edit_cells(path, changes)
    result = pair_ct(root)
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004", "amos_0008"}


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


def sources(root, name="amos_0004"):
    """Volume and mask in the archive."""
    return [trees.archive_file(root, folder, name) for folder in ("imagesTr", "labelsTr")]


def warned(result):
    """Warnings about amos_0004."""
    return [
        line
        for line in trees.complaints(result, "WARNING")
        if line.startswith("WARNING amos_0004:")
    ]


@pytest.mark.parametrize(
    "order",
    [
        [[0, -1], [1, 1], [2, 1]],
        [[0, -1], [1, -1], [2, -1]],
        [[2, 1], [0, 1], [1, 1]],
        [[1, -1], [0, 1], [2, -1]],
    ],
    ids=["mirrored", "all flipped", "permuted", "both"],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_mask_along_other_axes_is_brought_into_its_volumes_order(root, order, dtype):
    volume, path = sources(root)
    expected = trees.voxels(path).copy()
    moved = nib.load(path).as_reoriented(np.array(order))
    put_image(path, np.asarray(moved.dataobj).astype(dtype), moved.affine)
    result = pair_ct(root)
    assert result.exit_code == 0, result.output
    (line,) = warned(result)
    codes = ["".join(nib.aff2axcodes(nib.load(source).affine)) for source in (path, volume)]
    assert f"{path}: stored along other axes ({codes[0]}) of its volume's grid ({codes[1]})" in line
    mask = trees.mask_path(root, "amos_0004")
    np.testing.assert_array_equal(trees.voxels(mask), expected)
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))
    before = trees.identities(root / "grouped")
    result = pair_ct(root)
    assert result.exit_code == 0 and warned(result) == []
    assert trees.identities(root / "grouped") == before


def test_a_reordered_mask_has_the_bytes_of_one_in_order(root, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    _, path = sources(root)
    assert pair_ct(root).exit_code == 0
    mask = trees.mask_path(root, "amos_0004")
    in_order = gzip.decompress(mask.read_bytes())
    moved = nib.load(path).as_reoriented(np.array([[2, -1], [0, 1], [1, 1]]))
    put_image(path, np.asarray(moved.dataobj), moved.affine)
    assert pair_ct(root).exit_code == 0
    reordered = gzip.decompress(mask.read_bytes())
    assert reordered[:148] == in_order[:148] and reordered[228:] == in_order[228:]  # but descrip


@pytest.mark.parametrize("label", [300, 2.5])
def test_a_wrong_label_of_a_mask_along_other_axes_fails(root, label):
    _, path = sources(root)
    moved = nib.load(path).as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    data = np.asarray(moved.dataobj).astype(np.float32)
    data[0, 0, 0] = label
    put_image(path, data, moved.affine)
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"} and f"labels {label} found" in result.stderr
    assert not list(root.glob("grouped/AMOS-CT/*/*/amos_0004*"))


@pytest.mark.parametrize(
    "order", [[[0, -1], [1, 1], [2, 1]], [[2, 1], [0, 1], [1, -1]]], ids=["mirrored", "permuted"]
)
def test_an_edited_mask_follows_a_volume_whose_axes_were_turned(paired, order):
    """What lies where in the patient stays, and so does what was edited."""
    volume, _ = sources(paired)
    mask = trees.mask_path(paired, "amos_0004")
    trees.put_voxel(mask, (0, 0, 0), 5)
    edited = trees.voxels(mask).copy()
    turned = nib.load(volume).as_reoriented(np.array(order))
    put_image(volume, np.asarray(turned.dataobj), turned.affine)
    result = pair_ct(paired)
    assert result.exit_code == 0, result.output
    assert any(
        "axes changed since; the voxels are brought along" in text for text in warned(result)
    )
    expected = nib.orientations.apply_orientation(edited, order)
    np.testing.assert_array_equal(trees.voxels(mask), expected)
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))


def test_an_edited_mask_follows_the_last_digit_of_its_volumes_affine(paired):
    volume, path = sources(paired)
    mask = trees.mask_path(paired, "amos_0004")
    affine = nib.load(volume).affine
    affine[0, 3] = np.nextafter(np.float32(affine[0, 3]), np.float32(1e6))
    put_image(volume, trees.voxels(volume), affine)
    result = pair_ct(paired)
    assert result.exit_code == 0
    assert len(warned(result)) == 1 and "its source changed since" in warned(result)[0]
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))


def misplace(path, vox):
    """Put an image off along its third axis, in voxels."""
    affine = nib.load(path).affine.copy()
    affine[:3, 3] += vox * affine[:3, 2]
    put_image(path, trees.voxels(path), affine)
    return np.linalg.norm(vox * affine[:3, 2])


@pytest.mark.parametrize("vox", [0.51, -0.51, 12])
def test_a_mask_more_than_half_a_voxel_off_fails_unless_told(root, vox):
    volume, path = sources(root)
    labels = trees.voxels(path).copy()
    by = misplace(path, vox)
    result = pair_ct(root, "--failures_file", root / "failures.jsonl")
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    (line,) = trees.complaints(result)
    assert f"by {by:.3g} (Frobenius norm), at most {by:.3g} mm in a corner" in line
    assert f"that is {abs(vox):.3g} voxels, expected at most 0.5" in line
    assert "--misfit volume" in line and str(path) in line
    assert json.loads((root / "failures.jsonl").read_text("utf-8"))["code"] == "misfit"
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS
    result = pair_ct(root, "--misfit", "volume")
    assert result.exit_code == 0 and "the volume's is taken" in warned(result)[0]
    mask = trees.mask_path(root, "amos_0004")
    np.testing.assert_array_equal(trees.voxels(mask), labels)
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))
    result = pair_ct(root)  # finished is finished
    assert result.exit_code == 0 and "4 skipped as finished" in result.stdout


def test_mirrored_about_another_plane_is_no_other_order_of_the_same_grid(root):
    volume, path = sources(root)
    put_image(path, trees.voxels(path), np.diag([-1, 1, 1, 1]) @ nib.load(path).affine)
    codes = ["".join(nib.aff2axcodes(nib.load(source).affine)) for source in (path, volume)]
    told = f", and its axes run to {codes[0]}, not {codes[1]}; "
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"} and told in result.stderr
    result = pair_ct(root, "--misfit", "volume")
    assert result.exit_code == 0 and told in result.stderr


def test_what_is_odd_about_either_header_is_told_of_no_pair_too(root):
    volume, path = sources(root)
    misplace(volume, 0)
    misplace(path, 12)
    for image in (volume, path):
        nifti_files.patch(image, field(qform_code=1, qoffset_x=999))
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"}
    assert ["contradict each other" in line for line in warned(result)] == [True, True]


def test_the_guess_of_a_volume_that_no_mask_fits_is_told(root):
    volume, _ = sources(root)
    nifti_files.patch(volume, field(sform_code=0, qform_code=0))
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"}
    (line,) = warned(result)
    assert f"{volume}: neither sform nor qform is set; the orientation is a guess" in line


@pytest.mark.parametrize(("apart_mm", "told"), [(0.9e-3, False), (1.1e-3, True)])
def test_what_healthy_masks_are_off_is_not_told(root, apart_mm, told):
    volume, path = sources(root)
    affine = np.diag([42.0, 31.0, 40.0, 1.0])
    put_image(volume, trees.voxels(volume), affine)
    affine[0, 3] = apart_mm
    put_image(path, trees.voxels(path), affine)
    result = pair_ct(root)
    assert result.exit_code == 0
    assert ["Frobenius" in line for line in warned(result)] == [True] * told


@pytest.mark.parametrize("misfit", ["fail", "volume"])
def test_a_mask_without_orientation_takes_its_volumes(root, misfit):
    _, path = sources(root)
    labels = trees.voxels(path).copy()
    nifti_files.patch(path, field(sform_code=0, qform_code=0))
    result = pair_ct(root, "--misfit", misfit)
    assert result.exit_code == 0
    (line,) = warned(result)
    assert f"{path}: neither sform nor qform is set; its volume's geometry is taken" in line
    mask = trees.mask_path(root, "amos_0004")
    np.testing.assert_array_equal(trees.voxels(mask), labels)
    assert geometry_bytes(mask) == geometry_bytes(mask.with_name("amos_0004_volume.nii.gz"))


def test_a_volume_whose_orientation_is_a_guess_turns_no_mask(root):
    volume, path = sources(root)
    nifti_files.patch(volume, field(sform_code=0, qform_code=0))
    guess = nib.load(volume).affine
    mirrored = guess @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], (7, 8, 9))
    labels = trees.voxels(path).copy()
    put_image(path, labels, mirrored)
    assert failed_names(pair_ct(root)) == {"amos_0004"}
    assert pair_ct(root, "--misfit", "volume").exit_code == 0
    np.testing.assert_array_equal(trees.voxels(trees.mask_path(root, "amos_0004")), labels)


@pytest.mark.parametrize("kind", [0, 1], ids=["volume", "mask"])
def test_forms_that_contradict_each_other_are_warned_of(root, kind):
    path = sources(root)[kind]
    affine = nib.load(path).affine
    nifti_files.patch(path, lambda header: header.set_qform(np.diag([-1, 1, 1, 1]) @ affine, 1))
    nifti_files.patch(path, lambda header: header.set_sform(affine, 1))
    expected = trees.voxels(sources(root)[1]).copy()
    result = pair_ct(root)
    assert result.exit_code == 0
    (line,) = warned(result)
    assert f"{path}: sform" in line and "and qform" in line and "contradict each other" in line
    mask = trees.mask_path(root, "amos_0004")
    np.testing.assert_array_equal(trees.voxels(mask), expected)
    np.testing.assert_allclose(nib.load(mask).affine, affine, atol=1e-4)


def test_a_mask_in_metres_fits_its_volume_in_mm(root):
    volume, path = sources(root)
    affine = nib.load(path).affine.copy()
    affine[:3] /= 1000
    put_image(path, trees.voxels(path), affine)
    nifti_files.patch(path, field(xyzt_units=1))
    result = pair_ct(root)
    assert result.exit_code == 0
    (line,) = warned(result)
    assert f"{path}: lengths in metres" in line and line.endswith("converted")


def as_int16(data):
    return data.astype(np.int16), None


def as_float64(data):
    return data.astype(np.float64), None


def with_half_steps(data):
    return (data * 2).astype(np.int16), field(scl_slope=0.5, scl_inter=0)


def with_an_intercept(data):
    return (data + 1024).astype(np.int16), field(scl_slope=1, scl_inter=-1024)


def along_other_axes(data):
    return data[::-1].astype(np.uint8), "mirrored"


@pytest.mark.parametrize(
    "store", [as_int16, as_float64, with_half_steps, with_an_intercept, along_other_axes]
)
def test_a_volume_that_is_a_copy_of_its_mask_fails(root, store):
    volume, path = sources(root)
    data, edit = store(trees.voxels(path))
    affine = nib.load(path).affine
    if edit == "mirrored":
        affine = affine @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], data.shape)
    put_image(volume, data, affine)
    if callable(edit):
        nifti_files.patch(volume, edit)
    result = pair_ct(root, "--failures_file", root / "failures.jsonl")
    assert result.exit_code == 1 and failed_names(result) == {"amos_0004"}
    (line,) = trees.complaints(result)
    assert f"{volume}: holds the same voxels as its mask {path}, expected a scan" in line
    assert json.loads((root / "failures.jsonl").read_text("utf-8"))["code"] == "copy"
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS
    assert not trees.leftovers(root)


@pytest.mark.parametrize("place", [0, 503])
@pytest.mark.parametrize("chunk", [100, 503, 1 << 18])
def test_one_voxel_makes_it_no_copy(root, monkeypatch, place, chunk):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", chunk)
    monkeypatch.setattr(nifti_writing, "_GLANCE_VOXELS", 10)
    volume, path = sources(root)
    data = trees.voxels(path).astype(np.float32).ravel(order="F")
    data[place] += 0.25
    put_image(volume, data.reshape((7, 8, 9), order="F"), nib.load(path).affine)
    assert pair_ct(root).exit_code == 0


def test_labels_stored_with_a_slope_are_rounded_with_a_warning(root):
    _, path = sources(root)
    image = nib.load(path)
    data = np.arange(504).reshape((7, 8, 9)) % 15
    stored = nib.Nifti1Image(data.astype(np.float64), image.affine)
    stored.set_data_dtype(np.uint8)
    nib.save(stored, path)
    result = pair_ct(root)
    assert result.exit_code == 0
    (line,) = warned(result)
    assert f"{path}: labels stored with a slope of 0.054902; rounded to whole numbers" in line
    np.testing.assert_array_equal(trees.voxels(trees.mask_path(root, "amos_0004")), data)


@pytest.mark.parametrize("kind", [0, 1], ids=["volume", "mask"])
def test_a_pipe_is_named_and_not_opened(root, kind):
    path = sources(root)[kind]
    path.unlink()
    os.mkfifo(path)
    result = pair_ct(root)
    assert failed_names(result) == {"amos_0004"}
    assert f"{path} is no regular file (a folder, pipe or device)" in result.stderr
    assert {path.name for path in root.glob("grouped/AMOS-CT/*/*/*")} == OTHERS


@pytest.mark.parametrize(("shear", "is_mended"), [(2e-4, True), (0.2, False)])
def test_sheared_axes_are_mended_within_a_tenth_of_a_millimetre(root, shear, is_mended):
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[0, 1] = 2 * shear
    put_image(source, np.full((7, 8, 9), 0.5, np.float32), affine)
    result = pair_ct(root, "--misfit", "volume")
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


@pytest.mark.parametrize(
    ("data", "slope", "told"),
    [
        (np.int32([0, 2**28 + 5]), 1e-3, "largest loss is 0.005"),  # a step is 0.001
        (np.int16([0, 30001]), 0.7, ""),  # every scaled volume is rounded
        (np.int32([2**24 + 1, 2**28 + 5]), 1, ""),
        (np.float64([0.1, 1e6 / 3]), 1, ""),
        (np.float64([0.1, 1e300]), 1, "largest loss is inf"),
    ],
    ids=["fine steps", "coarse steps", "integers", "doubles", "overflow"],
)
def test_values_that_float32_cannot_hold_are_told_with_the_largest_loss(root, data, slope, told):
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    put_image(source, np.resize(data, (7, 8, 9)))
    nifti_files.patch(source, field(scl_slope=slope, scl_inter=0))
    result = pair_ct(root)
    assert result.exit_code == 0
    assert [told in line for line in trees.complaints(result, "WARNING") if "loss" in line] == (
        [True] if told else []
    )


def test_a_stored_pixdim_off_the_affine_is_told_and_mended(root):
    source = trees.archive_file(root, "imagesTr", "amos_0004")
    image = nib.Nifti1Image(np.ones((7, 8, 9), np.float32), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["qform_code"], image.header["pixdim"][3] = 0, 5.0
    nib.save(image, source)
    data = bytearray(gzip.decompress(source.read_bytes()))
    data[88:92] = np.float32(5).tobytes()  # pixdim[3]; nibabel mends it on saving
    source.write_bytes(gzip.compress(bytes(data)))
    result = pair_ct(root, "--misfit", "volume")
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
    assert result.exit_code == 0 and "expected (7, 8, 9); written again" in result.stderr
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

"""Routine 05 as a person runs it: samples are checked and indexed."""

import re
import shutil

import nibabel as nib
import numpy as np
import openpyxl
import pytest
import trees

from utils.arrays import geometry

MASK_COLUMNS = [f"mask_{value:02d}_{name}" for value, name in enumerate(trees.LABEL_NAMES)]
KEYS = "ID seq sex subset manufacturer_model_name manufacturer birth_date age acquisition_date site"
COLUMNS = [
    *KEYS.split(),
    *"valid_labels info volume mask".split(),
    *MASK_COLUMNS,
    *(f"{name}_existence" for name in MASK_COLUMNS),
    *"szx szy szz spx spy spz".split(),
    *"orientation_from orientation_to vol_dtype mask_dtype transform".split(),
]


@pytest.fixture(name="root")
def extracted_root(tmp_path):
    """After routine 04."""
    return trees.copy("extracted", tmp_path / "root dir ä")


@pytest.fixture(name="indexed")
def indexed_root(tmp_path):
    """After routine 05."""
    return trees.copy("indexed", tmp_path / "root dir ä")


def workbook(root):
    return root / "grouped/dataset_manifest.xlsx"


def index(root, *more):
    return trees.invoke(trees.INDEX, root, *more)


def rows_of(path):
    header, *rows = openpyxl.load_workbook(path)["Manifest"].iter_rows(values_only=True)
    assert list(header) == COLUMNS
    return {row[0]: dict(zip(header, row)) for row in rows}


def save(path, data=None, affine=None):
    """Replace an image by one with other voxels or another affine."""
    image = nib.load(path)
    data = np.asarray(image.dataobj) if data is None else data
    nib.save(nib.Nifti1Image(data, image.affine if affine is None else affine), path)


def shifted(path, mm):
    affine = nib.load(path).affine.copy()
    affine[0, 3] += mm
    save(path, affine=affine)


def refused(root, name, *told):
    """Run 05: one sample's faults are listed, and nothing is written."""
    before = trees.identities(root)
    result = index(root)
    assert result.exit_code == 1
    lines = trees.complaints(result)
    assert lines and {line.split()[1] for line in lines} == {f"{name}:"}
    for text in told:
        assert any(text in line for line in lines), (text, lines)
    assert trees.identities(root) == before
    assert "No manifest written" in result.stdout
    return lines


# --- prostate and uterus ------------------------------------------------------------------------


def test_a_forgotten_routine_03_is_named_sample_by_sample(tmp_path):
    root = trees.copy("paired", tmp_path / "root")
    (root / "descriptor").mkdir(exist_ok=True)
    shutil.copy(trees.LABEL_MAP, root / "descriptor")
    result = trees.invoke(trees.EXTRACT, root)
    women = ["amos_0001", "amos_0008", "amos_0540"]
    assert result.exit_code == 0
    warned = [line.split()[1].rstrip(":") for line in trees.complaints(result, "WARNING")]
    assert warned == women
    result = index(root)
    assert result.exit_code == 1 and not workbook(root).exists()
    assert trees.complaints(result) == [
        f"FAILED {name}: {trees.mask_path(root, name)}: label 15 (prostate) in a woman: routine 03 "
        "was forgotten, or the sex is wrong"
        for name in women
    ]
    for script in (trees.SPLIT_LABEL, trees.EXTRACT, trees.INDEX):
        result = trees.invoke(script, root)
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("sex", ["M", "male"])
def test_a_uterus_in_a_man_is_no_data(root, sex):
    info = trees.sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    info.write_text(re.sub("sex: .*", f"sex: {sex}", info.read_text()))
    told = "label 16 (uterus) in a man: routine 03 was forgotten, or the sex is wrong"
    (line,) = refused(root, "amos_0001", told)
    assert str(trees.mask_path(root, "amos_0001")) in line


def test_of_an_unknown_sex_label_15_is_a_question_and_16_is_none(root):
    for name in ("amos_0001", "amos_0004"):
        info = trees.sample_dir(root, name) / f"{name}_info.yaml"
        info.write_text(re.sub("sex: .*", "sex: UND", info.read_text()))
    result = index(root)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert line.startswith("WARNING amos_0004:")
    assert line.endswith("label 15 and an unknown sex: prostate or uterus?")


@pytest.mark.parametrize("line", ["sex: M\nsex: M", "age: old", r'site: "\x01"', "site: [x]"])
def test_an_info_file_with_two_meanings_or_none_fails_its_sample(root, line):
    info = trees.sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    key = line.partition(":")[0]
    info.write_text(re.sub(f"{key}: .*", lambda _: line, info.read_text()))
    refused(root, "amos_0001", "amos_0001_info.yaml")


# --- the manifest -------------------------------------------------------------------------------


def test_columns_and_one_row_per_sample(root):
    result = index(root)
    assert result.exit_code == 0 and result.stderr == ""
    rows = rows_of(workbook(root))
    assert list(rows) == sorted([*trees.ANNOTATED, "amos_0201", "amos_0539"])
    row = rows["amos_0540"]
    assert ",".join(row[name] for name in KEYS.split()) == (
        "amos_0540,0540,F,train,Achieva,Philips Medical Systems,19590217,UND,20200217,center"
    )
    folder = "AMOS-MRI/train/Achieva/amos_0540_F/amos_0540"
    kinds = {"info": "info.yaml", "volume": "volume.nii.gz", "mask": "mask.nii.gz"}
    assert {kind: row[kind] for kind in kinds} == {
        kind: f"{folder}_{name}" for kind, name in kinds.items()
    }
    present = np.unique(trees.voxels(trees.mask_path(root, "amos_0540"))).tolist()
    assert row["valid_labels"] == ",".join(map(str, present))
    for value, name in enumerate(MASK_COLUMNS):
        assert row[name] == f"{folder}_{name}.nii.gz"
        assert row[f"{name}_existence"] == int(value in present)
    assert (row["vol_dtype"], row["mask_dtype"]) == ("float32", "uint8")
    assert result.stdout.splitlines()[-1] == "samples: 8 done, 0 skipped as finished, 0 failed"


def test_geometry_columns_are_those_of_the_files(indexed):
    for name, row in rows_of(workbook(indexed)).items():
        volume = nib.load(indexed / "grouped" / row["volume"])
        assert (row["szx"], row["szy"], row["szz"]) == volume.shape
        np.testing.assert_allclose(
            [row["spx"], row["spy"], row["spz"]], nib.affines.voxel_sizes(volume.affine), rtol=1e-12
        )
        np.testing.assert_array_equal(geometry.affine_from_text(row["transform"]), volume.affine)
        codes = "".join(nib.aff2axcodes(volume.affine))
        is_oblique = name == "amos_0507"
        opposite = codes.translate(str.maketrans("RLAPSI", "LRPAIS"))
        form = "Oblique(closest to {})" if is_oblique else "{}"
        assert row["orientation_to"] == form.format(codes)
        assert row["orientation_from"] == form.format(opposite)


def test_a_sample_without_masks_has_empty_mask_cells(indexed):
    row = rows_of(workbook(indexed))["amos_0201"]
    empty = {name for name, value in row.items() if value is None}
    existence = {f"{name}_existence" for name in MASK_COLUMNS}
    assert empty == {"valid_labels", "mask", "mask_dtype", *MASK_COLUMNS} | existence


def test_a_sub_data_set_has_paths_relative_to_its_own_root(root):
    tree = root / "grouped/AMOS-MRI"
    path = tree / "dataset_manifest_amos_mri.xlsx"
    result = index(root, "--root_dir", tree, "--output_manifest_file", path)
    assert result.exit_code == 0
    rows = rows_of(path)
    assert len(rows) == 4
    assert all((tree / row["volume"]).is_file() for row in rows.values())


# --- corrected by hand, and other worksheets ----------------------------------------------------


def test_a_manifest_changed_by_hand_is_refused_before_work(indexed):
    trees.edit_cells(workbook(indexed), {("age", "amos_0540"): "050Y"})
    (trees.sample_dir(indexed, "amos_0001") / "amos_0001_volume.nii.gz").unlink()
    before = trees.identities(indexed)
    result = index(indexed)
    assert result.exit_code == 2 and "changed by hand" in result.stderr
    assert "amos_0001" not in result.stderr
    assert trees.identities(indexed) == before


def test_overwrite_keeps_the_changed_manifest_beside(indexed):
    ours = rows_of(workbook(indexed))
    trees.edit_cells(workbook(indexed), {("age", "amos_0540"): "050Y"})
    edited = workbook(indexed).read_bytes()
    assert index(indexed, "--overwrite").exit_code == 0
    assert (indexed / "grouped/dataset_manifest.bak.xlsx").read_bytes() == edited
    assert rows_of(workbook(indexed)) == ours
    assert index(indexed).exit_code == 0


def test_split_sheets_are_kept_and_named_when_out_of_date(indexed):
    assert trees.invoke(trees.MAKE_SPLIT, indexed).exit_code == 0
    result = index(indexed)
    assert result.exit_code == 0 and result.stderr == ""
    shutil.rmtree(trees.sample_dir(indexed, "amos_0201"))
    result = index(indexed)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert line.startswith("WARNING split01_standard:") and "older" in line
    book = openpyxl.load_workbook(workbook(indexed))
    assert book.sheetnames == ["Manifest", "split01_standard"]
    assert (book["Manifest"].max_row, book["split01_standard"].max_row) == (8, 9)


def test_other_worksheets_survive_overwrite(indexed):
    book = openpyxl.load_workbook(workbook(indexed))
    book.create_sheet("my notes").append(["remember", 3.5])
    book.save(workbook(indexed))
    assert index(indexed).exit_code == 2
    assert index(indexed, "--overwrite").exit_code == 0
    book = openpyxl.load_workbook(workbook(indexed))
    assert book.sheetnames == ["Manifest", "my notes"]
    assert [cell.value for cell in book["my notes"][1]] == ["remember", 3.5]


def test_foreign_images_are_named_and_ignored(root):
    folder = trees.sample_dir(root, "amos_0001")
    shutil.copy(trees.mask_path(root, "amos_0001"), folder / "my_segmentation.nii.gz")
    (folder / "amos_0001_mask_1_x.nii").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    result = index(root)
    assert result.exit_code == 0
    (line,) = trees.complaints(result, "WARNING")
    assert line.startswith("WARNING amos_0001:") and str(folder) in line
    assert "amos_0001_mask_1_x.nii, my_segmentation.nii.gz" in line and "notes" not in line
    assert len(rows_of(workbook(root))) == 8


def test_a_volume_whose_stored_pixdim_contradicts_its_affine_is_told(root):
    path = trees.sample_dir(root, "amos_0201") / "amos_0201_volume.nii.gz"
    image = nib.load(path)
    image.header["qform_code"] = 0
    other = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    other.header["pixdim"][3] += 0.5
    nib.save(other, path)
    assert nib.load(path).header.get_zooms()[2] != nib.affines.voxel_sizes(image.affine)[2]
    result = index(root)
    assert result.exit_code == 0
    assert "WARNING amos_0201:" in result.stderr and "pixdim" in result.stderr


# --- inconsistent samples -----------------------------------------------------------------------


def test_an_earlier_manifest_is_untouched_when_something_is_wrong(indexed):
    trees.mask_path(indexed, "amos_0004").unlink()
    refused(indexed, "amos_0004", "17 binary masks without their multi-label mask")


def test_masks_of_another_shape(root):
    path = trees.binary_masks(root, "amos_0004")[3]
    save(path, np.zeros((7, 8, 10), np.uint8))
    refused(root, "amos_0004", path.name, "(7, 8, 10) differs from its volume's (7, 8, 9)")


@pytest.mark.parametrize(
    ("mm", "options", "status"),
    [
        (0.0005, (), 0),
        (0.0015, (), 1),
        (0.0015, ("--tolerance_mm", 0.002), 0),
        (0.0005, ("--tolerance_mm", 0.0004), 1),
        (2.0, ("--tolerance_mm", 3), 0),
    ],
)
def test_origin_and_affine_within_the_tolerance(root, mm, options, status):
    """A float32 origin of this size has steps of 3e-5 mm, which the shifts stay clear of."""
    path = trees.mask_path(root, "amos_0004")
    shifted(path, mm)
    result = index(root, *options)
    assert result.exit_code == status
    for what in ("origin", "affine"):
        assert (f"{what} differs" in result.stderr) == bool(status)


def test_affine_and_spacing_that_differ(root):
    path = trees.binary_masks(root, "amos_0004")[2]
    affine = nib.load(path).affine.copy()
    affine[:, 2] *= 1.01
    save(path, affine=affine)
    lines = refused(root, "amos_0004", "affine differs from its volume's by", "spacing differs")
    assert all(path.name in line for line in lines) and "origin" not in "".join(lines)


def test_a_rotation_that_keeps_spacing_and_origin(root):
    path = trees.binary_masks(root, "amos_0004")[2]
    affine = nib.load(path).affine
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(1e-3), -np.sin(1e-3)], [np.sin(1e-3), np.cos(1e-3)]]
    save(path, affine=np.column_stack([(turn @ affine)[:, :3], affine[:, 3]]))
    (line,) = refused(root, "amos_0004", "affine differs")
    assert path.name in line


def test_masks_of_different_data_types(root):
    path = trees.binary_masks(root, "amos_0004")[5]
    save(path, trees.voxels(path).astype(np.int16))
    (line,) = refused(root, "amos_0004", "masks of different data types: int16")
    assert path.name in line and "uint8" in line


def test_a_mask_without_any_binary_masks(root):
    for path in trees.binary_masks(root, "amos_0004"):
        path.unlink()
    refused(root, "amos_0004", "no binary mask for its labels", "run routine 04")


@pytest.mark.parametrize("label", [6, 12])
def test_one_missing_binary_mask_of_a_label_present_or_not(root, label):
    trees.binary_masks(root, "amos_0004")[label].unlink()
    refused(root, "amos_0004", f"{label}" if label == 6 else "12_left_adrenal_gland")


def test_stale_binary_masks(root):
    trees.put_voxel(trees.mask_path(root, "amos_0004"), (0, 0, 0), 5)
    stale = [f"amos_0004_mask_{name}.nii.gz" for name in ("00_background", "05_esophagus")]
    lines = refused(root, "amos_0004", *stale)
    assert len(lines) == 2 and all("(stale); run routine 04" in line for line in lines)


def test_one_seq_in_two_folders(root):
    folder = trees.sample_dir(root, "amos_0004")
    shutil.copytree(folder, root / "grouped/AMOS-CT/val/Optima CT660/amos_0004_F")
    refused(root, "amos_0004", "lies in 2 folders", str(folder), "val/Optima CT660/amos_0004_F")


def test_one_seq_in_two_folders_of_which_one_is_faulty_too(root):
    folder = trees.sample_dir(root, "amos_0004")
    twin = root / "grouped/AMOS-CT/val/Optima CT660/amos_0004_F"
    shutil.copytree(folder, twin)
    (twin / "amos_0004_volume.nii.gz").unlink()
    lines = refused(root, "amos_0004", "lies in 2 folders", str(folder), "volume is missing")
    assert len(lines) == 2


@pytest.mark.parametrize("told", ["the info file is missing", "site is missing"])
def test_a_faulty_info_file(root, told):
    info = trees.sample_dir(root, "amos_0004") / "amos_0004_info.yaml"
    text = info.read_text()
    info.unlink()
    if told.startswith("site"):
        info.write_text(text.replace("site:", "place:"))
    (line,) = refused(root, "amos_0004", told)
    assert str(info) in line


@pytest.mark.parametrize("kind", ["volume", "mask", "mask_05_esophagus"])
def test_a_damaged_file(root, kind):
    path = trees.sample_dir(root, "amos_0004") / f"amos_0004_{kind}.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    (line,) = refused(root, "amos_0004", "damaged")
    assert str(path) in line


def test_all_faults_of_all_samples_are_listed(root):
    folder = trees.sample_dir(root, "amos_0004")
    (folder / "amos_0004_info.yaml").unlink()
    for name in ("mask_02_right_kidney", "mask_05_esophagus"):
        path = folder / f"amos_0004_{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-20])
    flipped = bytearray((folder / "amos_0004_mask_09_postcava.nii.gz").read_bytes())
    flipped[-6] ^= 1
    (folder / "amos_0004_mask_09_postcava.nii.gz").write_bytes(flipped)
    shifted(folder / "amos_0004_mask_07_stomach.nii.gz", 1.0)
    (trees.sample_dir(root, "amos_0201") / "amos_0201_volume.nii.gz").unlink()
    result = index(root)
    assert result.exit_code == 1 and not workbook(root).exists()
    text = "\n".join(trees.complaints(result))
    named = ("amos_0004_info.yaml", "right_kidney", "esophagus", "postcava", "origin differs")
    for told in (*named, "amos_0201_volume.nii.gz: the volume is missing"):
        assert told in text
    assert "6 done, 0 skipped as finished, 2 failed" in result.stdout


@pytest.mark.parametrize("tolerance", ["nan", "-1"])
def test_a_wrong_tolerance_is_wrong_usage(root, tolerance):
    result = index(root, "--tolerance_mm", tolerance)
    assert result.exit_code == 2 and tolerance in result.stderr


def test_an_output_that_is_no_workbook_is_wrong_usage(root):
    result = index(root, "--output_manifest_file", root / "index.csv")
    assert result.exit_code == 2 and "index.csv" in result.stderr and ".xlsx" in result.stderr


def test_a_mask_that_is_a_link_to_nothing_is_a_fault_and_not_a_missing_mask(root):
    path = trees.mask_path(root, "amos_0001")  # of a woman: routine 03 opens it
    path.unlink()
    path.symlink_to("not_fetched_yet")
    for script in (trees.SPLIT_LABEL, trees.EXTRACT, trees.INDEX):
        result = trees.invoke(script, root)
        assert result.exit_code == 1
        assert "FAILED amos_0001: " in result.stderr and "cannot be read" in result.stderr


def test_names_that_no_workbook_holds_are_cases_of_their_samples(indexed):
    trees.put_odd_names(indexed)
    before = workbook(indexed).read_bytes()
    result = index(indexed)
    assert result.exit_code == 1
    long, odd = trees.complaints(result)
    assert long.endswith("32768 characters, Excel holds 32767")
    assert "amos_0004" in odd
    assert odd.endswith("column 'info': the character '\\x01' cannot stand in a workbook")
    assert "No manifest written" in result.stdout
    assert workbook(indexed).read_bytes() == before


def targets_of(path, sheet):
    """{column: target and place of each link} of a worksheet, all of which lead to files."""
    found = {}
    header, *rows = openpyxl.load_workbook(path)[sheet].iter_rows()
    for row in rows:
        for name, cell in zip((cell.value for cell in header), row):
            if cell.hyperlink:
                found.setdefault(name, []).append((cell.hyperlink.target, cell.hyperlink.location))
    return found


def test_links_lead_to_files_and_report_from_every_workbook(root):
    for script in (trees.INDEX, trees.MAKE_SPLIT, trees.CUT):
        assert trees.invoke(script, root).exit_code == 0
    name = "split01_standard"
    (path,) = (root / "grouped/splits" / name).glob(f"{name}_train.xlsx")
    places = [(workbook(root), "Manifest"), (workbook(root), name), (path, f"{name}_train")]
    for place, sheet in places:
        links = targets_of(place, sheet)
        assert set(links) == {"ID", "info", "volume", "mask"}
        for target, fragment in [pair for name in set(links) - {"ID"} for pair in links[name]]:
            assert fragment is None
            assert (place.parent / target.replace("%20", " ")).is_file()
        ids = [row[0].value for row in openpyxl.load_workbook(place)[sheet].iter_rows(min_row=2)]
        assert [fragment for _, fragment in links["ID"]] == [f"/{key}" for key in ids]
        for target, _ in links["ID"]:
            assert (place.parent / target).resolve() == (root / "qc/index.html").resolve()

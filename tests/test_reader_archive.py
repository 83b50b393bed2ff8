"""The archive read in Python as it was downloaded, in folders and in zips."""

import datetime
import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny_amos22
import trees
import unlabelled_archive
from unlabelled_archive import LABELLED_TABLE, UNLABELLED

from utils import errors
from utils.facts import amos22
from utils.reader import AMOS22
from utils.reading import archived, finished, source
from utils.storage import files, nifti

LABELLED = ("amos_0001", "amos_0008", "amos_0201", "amos_0507")
SHIFT = "the MRI ids are one too low"


@pytest.fixture(name="root")
def tiny_archive(tmp_path):
    unlabelled_archive.build(tmp_path / "root dir")
    return tmp_path / "root dir"


@pytest.fixture(scope="module", name="both", params=["folders", "zips"])
def archive_in_each_form(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param) / "root dir"
    unlabelled_archive.build(root)
    if request.param == "zips":
        unlabelled_archive.zip_up(root)
        assert not list(root.rglob("*.nii.gz"))
    return root / "archive"


@pytest.fixture(scope="module", name="data")
def whole_archive(both):
    return silently(both, unlabelled=True)


def silently(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return AMOS22(*args, **options)


def warned(*args, **options):
    """What opening warns of, without the archive's path before it."""
    with pytest.warns(errors.DataWarning) as caught:
        data = AMOS22(*args, **options)
    texts = [str(warning.message) for warning in caught]
    assert all(text.startswith(f"{args[0]}: ") for text in texts), texts
    return data, [text.removeprefix(f"{args[0]}: ") for text in texts]


# --- what amid offers ----------------------------------------------------------------------------


def test_ids_of_the_labelled_scans_and_of_all(both, data):
    labelled = silently(both)
    assert labelled.ids == LABELLED and len(labelled) == 4
    assert data.ids == (*LABELLED, *UNLABELLED)
    assert repr(labelled) == f"AMOS22({str(both)!r}): 4 samples"
    assert (labelled.path, labelled.manifest_path) == (both, None)


@pytest.mark.parametrize("name", [*LABELLED, *UNLABELLED])
def test_images_are_what_was_published(data, name):
    image = data.image(name)
    assert image.dtype == np.float32 and image.flags.f_contiguous
    assert np.array_equal(image, unlabelled_archive.volume(int(name[-4:])))
    assert data.shape(name) == (5, 6, 7)
    affine = [[-40, 0, 0, 100], [0, 45, 0, -120], [0, 0, 50, -170], [0, 0, 0, 1]]
    assert data.affine(name).dtype == np.float64 and data.affine(name).tolist() == affine
    assert data.spacing(name).tolist() == [40, 45, 50]


@pytest.mark.parametrize("name", LABELLED)
def test_masks_are_what_was_published(data, name):
    assert data.has_mask(name) is (name != "amos_0201")
    if name == "amos_0201":
        with pytest.raises(errors.DatasetError, match=r"amos_0201: this sample \(test\) has no"):
            data.mask(name)
        return
    mask = data.mask(name)
    assert mask.dtype == np.uint8 and mask.flags.f_contiguous
    assert np.array_equal(mask, unlabelled_archive.labels(int(name[-4:])))


def test_unlabelled_scans_have_no_mask(data):
    assert not any(map(data.has_mask, UNLABELLED))
    with pytest.raises(errors.DatasetError) as caught:
        data.mask_path("amos_5000")
    assert str(caught.value) == "amos_5000: this sample (unlabelled) has no mask"


def test_metadata_of_an_unlabelled_scan(data):
    assert (data.modality("amos_5000"), data.sex("amos_5000"), data.age("amos_5000")) == (
        ("CT", "F", 61)
    )
    assert data.birth_date("amos_5000") == datetime.date(1960, 1, 2)
    assert data.acquisition_date("amos_5000") == datetime.date(2019, 5, 14)
    assert data.manufacturer("amos_5000") == "Philips"
    assert data.manufacturer_model_name("amos_5000") == "Brilliance 64"
    assert (data.site("amos_5000"), data.subset("amos_5000")) == ("LGCH", "unlabelled")
    assert data.metadata("amos_5000")["seq"] == "5000"


def test_what_was_never_published_is_none(data):
    for name, modality in (("amos_6200", "CT"), ("amos_7000", "MRI")):
        assert data.modality(name) == modality
        asked = (data.sex, data.age, data.birth_date, data.acquisition_date, data.site)
        for ask in (*asked, data.manufacturer, data.manufacturer_model_name):
            assert ask(name) is None
    assert data.age("amos_5438") is None and data.sex("amos_5438") == "F"


def test_the_mri_ids_are_mended_as_in_routine_01(data):
    assert (data.sex("amos_0507"), data.manufacturer_model_name("amos_0507")) == ("F", "Prisma")
    assert data.modality("amos_0507") == "MRI"
    told, unknown = data.notes
    assert told.startswith(SHIFT)
    assert unknown == (
        "the metadata of 2 unlabelled scans were never published and stay UND: 6200, 7000"
    )


def test_splits_patients_and_known_faults(data):
    assert data.split("train") == ("amos_0001", "amos_0507")
    assert data.split("unlabelled") == UNLABELLED and data.split("excluded") == ()
    assert data.patient("amos_5000") == "amos_0001" and data.patient("amos_5001") == "amos_0201"
    assert data.patient("amos_6200") == "amos_6200"
    assert data.known_faults("amos_0507") == []
    with pytest.raises(errors.DatasetError, match="no subset 'fold0', expected one of train, val"):
        data.split("fold0")


def test_the_table_has_a_row_a_sample(data):
    table = data.table
    assert tuple(table["ID"]) == data.ids
    assert list(table) == ["ID", *amos22.DATASET_KEYS, "volume", "mask"]
    row = table.set_index("ID").loc["amos_0001"]
    assert row["mask"].endswith("amos22/labelsTr/amos_0001.nii.gz")
    assert row.to_dict() == {k: v for k, v in data.metadata("amos_0001").items() if k != "ID"}
    assert table["mask"].tolist()[4:] == [""] * 5


def test_label_names_are_those_before_routine_03(data):
    names = data.label_names
    assert [*names] == [*range(16)]
    assert (names[0], names[2], names[15]) == ("background", "right_kidney", "prostate_or_uterus")
    names[0] = "x"
    assert data.label_names[0] == "background"


def test_without_unlabelled_scans_a_note_tells_of_them(both):
    notes = silently(both).notes
    assert notes[-1] == "5 unlabelled scans are left out; unlabelled=True takes them"
    with pytest.raises(errors.DatasetError, match="no sample 'amos_5000'; there are 4 such as"):
        silently(both).image("amos_5000")


# --- the same as routine 02 makes of it ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore::utils.errors.DataWarning")
def test_images_masks_and_cells_are_those_of_the_grouped_tree(tmp_path):
    root = trees.copy("paired", tmp_path / "root dir")
    data = AMOS22(root / "archive")
    assert len(data) == 8
    for name in data.ids:
        volume = nib.load(trees.sample_dir(root, name) / f"{name}_volume.nii.gz")
        assert np.array_equal(data.image(name), volume.get_fdata(dtype=np.float32))
        assert np.allclose(data.affine(name), volume.affine, rtol=0, atol=1e-3)
        if data.has_mask(name):
            assert np.array_equal(data.mask(name), trees.voxels(trees.mask_path(root, name)))
        info = nifti_info(root, name)
        assert {key: data.metadata(name)[key] for key in info} == info


def nifti_info(root, name):
    text = (trees.sample_dir(root, name) / f"{name}_info.yaml").read_text(encoding="utf-8")
    return dict(line.replace('"', "").split(": ", 1) for line in text.splitlines())


def put(path, data, affine):
    nib.save(nib.Nifti1Image(data, affine), path)


@pytest.fixture(name="mask_file")
def mask_of_0001(root):
    return root / "archive/amos22/labelsTr/amos_0001.nii.gz"


def test_a_mask_along_other_axes_is_brought_into_the_order_of_its_volume(root, mask_file):
    stored = nib.load(mask_file)
    turned = nib.as_closest_canonical(stored)
    nib.save(turned, mask_file)
    data = silently(root / "archive")
    with pytest.warns(errors.DataWarning, match=r"stored along other axes \(RAS\).*\(LAS\)"):
        mask = data.mask("amos_0001")
    assert np.array_equal(mask, unlabelled_archive.labels(1)) and mask.flags.f_contiguous


def test_a_mask_of_another_shape_or_place_is_refused(root, mask_file):
    affine = nib.load(mask_file).affine
    data = silently(root / "archive")
    put(mask_file, np.ones((5, 6, 8), np.uint8), affine)
    with pytest.raises(errors.DatasetError, match=r"shape \(5, 6, 8\) differs from its volume's"):
        data.mask("amos_0001")
    affine[0, 3] += 39
    put(mask_file, unlabelled_archive.labels(1), affine)
    with pytest.raises(errors.DatasetError, match="that is 0.975 voxels, expected at most 0.5"):
        data.mask("amos_0001")


def test_a_volume_that_is_its_mask_is_refused(root, mask_file):
    shutil.copy(mask_file, root / "archive/amos22/imagesTr/amos_0001.nii.gz")
    with pytest.raises(errors.DatasetError, match="holds the same voxels as its mask"):
        silently(root / "archive").mask("amos_0001")


def test_what_float32_does_to_a_volume_and_odd_headers_are_told(root):
    path = root / "archive/amos22/imagesTr/amos_0001.nii.gz"
    values = unlabelled_archive.volume(1).astype(np.float32)
    values[0, 0, 0] = np.nan
    image = nib.Nifti1Image(values, None)
    nib.save(image, path)
    data = silently(root / "archive")
    with pytest.warns(errors.DataWarning) as caught:
        assert np.isnan(data.image("amos_0001")[0, 0, 0])
    texts = sorted(str(warning.message).removeprefix(f"{path}: ") for warning in caught)
    assert texts == [
        "1 voxels are NaN and 0 infinite; they are kept",
        "neither sform nor qform is set; the orientation is a guess",
    ]


def test_damage_is_noticed(root):
    path = root / "archive/amos22/imagesVa/amos_0008.nii.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match=r"imagesVa/amos_0008.nii.gz: damaged"):
        silently(root / "archive").image("amos_0008")


def test_a_cut_zip_and_a_damaged_member_are_named(root):
    unlabelled_archive.zip_up(root)
    cut, whole = (root / "archive" / name for name in [*unlabelled_archive.PARTS][:2])
    cut.write_bytes(cut.read_bytes()[:-30])
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1  # of the one member's bytes
    whole.write_bytes(content)
    data, (text,) = warned(root / "archive", unlabelled=True)
    assert text.startswith(f"{cut.name}: ")
    assert data.ids == (*LABELLED, *UNLABELLED[2:])
    with pytest.raises(errors.DamagedFileError, match=f"{whole.name}.*amos_5438.nii.gz"):
        data.image("amos_5438")
    assert data.image("amos_6200").any()


def test_a_file_replaced_after_its_header_was_read_is_noticed(root):
    data = silently(root / "archive")
    assert data.shape("amos_0001") == (5, 6, 7)
    path = root / "archive/amos22/imagesTr/amos_0001.nii.gz"
    put(path, np.ones((5, 6, 8), np.int16), np.eye(4))
    with pytest.raises(errors.DatasetError, match="was replaced since it was read first"):
        data.image("amos_0001")


# --- what is wrong with an archive ---------------------------------------------------------------


def test_doubles_are_warned_about_and_left_out(root):
    archive = root / "archive"
    tiny_amos22.put(archive / "again/imagesTr/amos_0001.nii.gz", unlabelled_archive.volume(1))
    data, texts = warned(archive)
    assert data.ids == LABELLED[1:]
    assert texts == [
        "amos_0001: 2 v3d files, expected one; all left out: again/imagesTr/amos_0001.nii.gz, "
        "amos22/imagesTr/amos_0001.nii.gz",
        "amos_0001: mask amos22/labelsTr/amos_0001.nii.gz has no volume; left out",
    ]


def test_many_faults_of_a_kind_are_one_warning(root):
    shutil.copytree(root / "archive/amos22", root / "archive/copy")
    for number in (2, 3, 4):
        for folder in ("amos22", "copy"):
            path = root / f"archive/{folder}/imagesTs/amos_000{number}.nii.gz"
            tiny_amos22.put(path, unlabelled_archive.volume(number))
    with pytest.warns(errors.DataWarning, match="amos_0001: 2 v3d files.* and 5 more$"):
        with pytest.raises(errors.DatasetError, match="expected one dataset_manifest"):
            AMOS22(root / "archive")


def test_names_that_no_table_can_hold(root):
    path = root / "archive/odd\x01/imagesTs/amos_0002.nii.gz"
    tiny_amos22.put(path, unlabelled_archive.volume(2))
    data, texts = warned(root / "archive")
    assert data.ids == LABELLED
    (text,) = texts
    assert "odd\\x01/imagesTs/amos_0002.nii.gz: the path has characters" in text


def test_other_nifti_files_are_counted(root):
    shutil.copy(
        root / "archive/amos22/imagesTr/amos_0001.nii.gz", root / "archive/amos22/imagesTr/x.nii.gz"
    )
    _, texts = warned(root / "archive")
    assert texts == [
        "1 NIfTI files ignored, no imagesTr/amos_0004.nii.gz: amos22/imagesTr/x.nii.gz"
    ]


@pytest.mark.parametrize("unlabelled", [False, True])
def test_missing_tables_are_named_with_their_download(root, unlabelled):
    archive = root / "archive"
    for name in unlabelled_archive.TABLES:
        (archive / name).unlink()
    data, (text,) = warned(archive, unlabelled=unlabelled)
    lines = text.split(", metadata table: ")
    assert lines[0] == (
        f"metadata table: no labeled_data_meta_*.csv below {archive} or beside it; the metadata of "
        "4 samples are unknown and stay UND; download labeled_data_meta_0000_0599.csv (zenodo "
        "record 7262581) and run this again"
    )
    assert len(lines) == (3 if unlabelled else 1)
    assert data.sex("amos_0001") is None and data.modality("amos_0001") is None


def test_contradictory_rows_and_cells_without_a_form(root):
    path = root / "archive" / LABELLED_TABLE
    rows = [row for row in unlabelled_archive.TABLES[LABELLED_TABLE] if row[:4] != "201,"]
    rows += ["1,19600102,M,062Y,Aquilion ONE,TOSHIBA,20200514,LGCH"]
    unlabelled_archive.write_table(path, *rows, "201,1/2/62,M,060Y,SOMATOM Force,S,20200516,LGPH")
    data, (text,) = warned(root / "archive")
    assert "amos_0001: the metadata table has 2 different rows for it (sex F or M)" in text
    assert f"amos_0201: birth_date is '1/2/62' in line 7 of the metadata table {path}" in text
    assert data.sex("amos_0001") is None and data.birth_date("amos_0201") is None


def test_a_table_that_cannot_be_read(root):
    path = root / "archive" / LABELLED_TABLE
    path.write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(errors.DatasetError, match=f"{LABELLED_TABLE}: the metadata table has the"):
        AMOS22(root / "archive")


def test_masks_missing_or_elsewhere_are_told(root, mask_file):
    place = root / "archive/amos22/labelsVa"
    shutil.move(mask_file, place)
    (place / "amos_0008.nii.gz").unlink()
    data, texts = warned(root / "archive")
    assert texts == [
        "amos_0001: the mask lies in val, its volume in train",
        "amos_0008: no mask in the archive, though it is a val sample",
    ]
    assert not data.has_mask("amos_0008") and data.subset("amos_0001") == "train"
    with pytest.raises(errors.DatasetError, match="amos_0001: the mask lies in val, its volume in"):
        data.mask("amos_0001")


# --- which place is meant ------------------------------------------------------------------------


def refused(*args, **options):
    with pytest.raises(errors.DatasetError) as caught:
        silently(*args, **options)
    return str(caught.value)


def test_a_place_that_is_neither_says_what_was_expected(root, tmp_path):
    (tmp_path / "empty").mkdir()
    hint = "or the archive (ROOT/archive) with imagesTr/amos_0004.nii.gz and others"
    assert refused(tmp_path / "empty") == (
        f"{tmp_path / 'empty'}: expected one dataset_manifest*.xlsx in it, found: none; {hint}"
    )
    (root / "grouped/AMOS-CT").mkdir(parents=True)
    meant = f"; probably meant: {root / 'archive'}"
    assert refused(root / "grouped/AMOS-CT").endswith(f"found: none; {hint}{meant}")
    assert refused(root).endswith(f"found: none; {hint}")  # both parts are in it


def test_other_images_in_a_place_that_is_neither_are_no_news(root):
    path = root / "grouped/AMOS-CT/x/amos_0001_volume.nii.gz"
    tiny_amos22.put(path, unlabelled_archive.volume(1))
    assert "expected one dataset_manifest" in refused(root / "grouped/AMOS-CT")


def test_a_zip_file_is_not_the_archive_but_lies_in_it(root):
    unlabelled_archive.zip_up(root)
    path = root / "archive/amos22.zip"
    for given in (path, path / "amos22"):
        assert refused(given) == (
            f"{path}: a zip file; give the folder that it lies in ({root / 'archive'})"
        )


def test_the_archive_has_no_other_split(root):
    assert refused(root / "archive", "split01_standard") == (
        f"{root / 'archive'}: the archive has no split 'split01_standard'; a manifest of routine "
        "05 has it"
    )


def test_an_archive_of_unlabelled_scans_alone(root):
    shutil.rmtree(root / "archive/amos22")
    assert silently(root / "archive", unlabelled=True).ids == UNLABELLED
    assert refused(root / "archive").endswith(
        "; 5 unlabelled scans are left out; unlabelled=True takes them"
    )


def test_an_archive_needs_no_root_around_it(root):
    for name in unlabelled_archive.TABLES:
        shutil.move(root / "archive" / name, root / "archive/amos22")
    assert silently(str(root / "archive/amos22")).ids == LABELLED


def test_the_two_places_have_one_interface():
    for made in (archived.Archived, finished.Finished):
        assert issubclass(made, source.Source) and not made.__abstractmethods__


# --- speed ---------------------------------------------------------------------------------------


def test_opening_600_scans_opens_no_image_and_each_zip_once(tmp_path, monkeypatch):
    opened, open_it = [], files.opened
    monkeypatch.setattr(files, "opened", lambda path: opened.append(path) or open_it(path))
    for form in ("folders", "zip"):
        (tmp_path / form).mkdir()
        rows = [f"{n},19600102,F,062Y,Aquilion ONE,TOSHIBA,20200514,LGCH" for n in range(1, 601)]
        unlabelled_archive.write_table(tmp_path / form / LABELLED_TABLE, *rows)
    names = [f"amos22/imagesTs/amos_{number:04d}.nii.gz" for number in range(1, 601)]
    (tmp_path / "folders/amos22/imagesTs").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zip/amos22.zip", "w") as made:
        for name in names:
            (tmp_path / "folders" / name).touch()
            made.writestr(name, b"")
    for form, wanted in (("folders", []), ("zip", ["amos22.zip"])):
        opened.clear()
        data = silently(tmp_path / form)
        assert sorted(path.name for path in map(Path, opened)) == [*wanted, LABELLED_TABLE]
        assert len(data) == 600 and data.sex("amos_0600") == "F"
        with pytest.raises(errors.DamagedFileError, match="amos_0001.nii.gz"):
            data.shape("amos_0001")


def test_a_header_is_read_once_a_sample(both, monkeypatch):
    data, read, calls = silently(both), nifti.read_header, []
    monkeypatch.setattr(
        nifti, "read_header", lambda path, **more: calls.append(path) or read(path, **more)
    )
    assert calls == []
    for _ in range(2):
        data.shape("amos_0001"), data.affine("amos_0001"), data.spacing("amos_0001")
    assert calls == [data.volume_path("amos_0001")]
    data.affine("amos_0001")[0, 0] = 7  # nobody else's
    assert data.affine("amos_0001")[0, 0] == -40


def test_pickled_copies_read_on(data):
    data.shape("amos_0001")
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.mask("amos_0001"), data.mask("amos_0001"))
    assert copy.ids == data.ids and copy.patient("amos_5000") == "amos_0001"


def test_as_a_library_from_another_directory(both, run_python, tmp_path):
    code = (
        "import sys\nfrom utils.reader import AMOS22\n"
        "print(len(AMOS22(sys.argv[1], unlabelled=True).image('amos_5000')))"
    )
    done = run_python(code, both, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_paths_lead_to_the_files(both, data):
    path = data.volume_path("amos_5000")
    assert path.name == "amos_5000.nii.gz" and both in path.parents
    in_zip = not os.path.isfile(path)
    assert in_zip == any(parent.suffix == ".zip" for parent in path.parents)

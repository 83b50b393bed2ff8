"""The data set read back in Python."""

import datetime
import pickle
import shutil

import finished
import nibabel as nib
import numpy as np
import openpyxl
import pytest
import trees

from utils import errors
from utils.reader import AMOS22

IDS = (
    "amos_0001",
    "amos_0004",
    "amos_0008",
    "amos_0201",
    "amos_0507",
    "amos_0539",
    "amos_0540",
    "amos_0554",
)
ANNOTATED = [name for name in IDS if name not in ("amos_0201", "amos_0539")]


@pytest.fixture(scope="module", name="root")
def finished_data(tmp_path_factory):
    return finished.make(tmp_path_factory.mktemp("reader") / "data set")


@pytest.fixture(scope="module", name="data")
def whole_data(root):
    return AMOS22(root / "grouped")


def image(root, name, kind):
    return nib.load(trees.sample_dir(root, name) / f"{name}_{kind}.nii.gz")


def test_ids(data):
    assert data.ids == IDS
    assert len(data) == 8
    assert repr(data).endswith("dataset_manifest.xlsx'): 8 samples")


def test_table_is_the_manifest_as_text(data, root):
    table = data.table
    assert tuple(table["ID"]) == IDS
    cells = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")["Manifest"]
    assert list(table) == [cell.value for cell in cells[1]]
    assert {type(value) for row in table.to_numpy().tolist() for value in row} == {str}
    row = table.set_index("ID").loc["amos_0201"]
    assert row.to_dict() == {
        key: value for key, value in data.metadata("amos_0201").items() if key != "ID"
    }
    assert row["mask"] == "" and row["szx"].isdigit()
    table["ID"] = "x"
    assert tuple(data.table["ID"]) == IDS


def test_table_of_a_split_has_its_column(root):
    table = AMOS22(root / "grouped", finished.SPLIT).table
    assert table[finished.SPLIT].tolist() == table["subset"].tolist()


def test_sub_data_set_and_manifest_as_path(root):
    assert AMOS22(str(root / "grouped/AMOS-MRI")).ids == IDS[4:]
    assert AMOS22(root / "grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx").ids == IDS[:4]


def test_backups_beside_the_manifest_do_not_count(root, tmp_path):
    for ending in ("", ".bak", ".bak2"):
        shutil.copy(
            root / "grouped/dataset_manifest.xlsx", tmp_path / f"dataset_manifest{ending}.xlsx"
        )
    assert AMOS22(tmp_path).manifest_path.name == "dataset_manifest.xlsx"


@pytest.mark.parametrize("name", IDS)
def test_images_are_nibabels(root, data, name):
    volume = image(root, name, "volume")
    assert data.image(name).dtype == np.float32
    assert np.array_equal(data.image(name), volume.get_fdata(dtype=np.float32))
    assert np.array_equal(data.affine(name), volume.affine)
    assert np.allclose(data.spacing(name), volume.header.get_zooms(), rtol=0, atol=1e-5)
    assert data.shape(name) == volume.shape


@pytest.mark.parametrize("name", ANNOTATED)
def test_masks_are_nibabels(root, data, name):
    assert data.mask(name).dtype == np.uint8
    assert np.array_equal(data.mask(name), np.asarray(image(root, name, "mask").dataobj))
    assert data.has_mask(name)


def test_sample_without_mask(data):
    assert not data.has_mask("amos_0201")
    with pytest.raises(errors.DatasetError, match=r"amos_0201: this sample \(test\) has no mask"):
        data.mask("amos_0201")


def test_metadata(data):
    for name in IDS:
        assert data.metadata(name)["seq"] == name[-4:]
        assert data.sex(name) == data.metadata(name)["sex"]
        text = data.metadata(name)["age"]
        assert data.age(name) == (None if text == "UND" else int(text[:3]))
        assert data.modality(name) == ("CT" if name < "amos_0500" else "MRI")
    assert data.sex("amos_0001") == "F"
    assert 0 < data.age("amos_0001") < 120
    assert data.label_names[0] == "background" and data.label_names[2] == "right_kidney"


def test_dates_and_texts(data, root, tmp_path):
    for name in IDS:
        cells = data.metadata(name)
        for day, column in (
            (data.birth_date(name), "birth_date"),
            (data.acquisition_date(name), "acquisition_date"),
        ):
            assert isinstance(day, datetime.date) and f"{day:%Y%m%d}" == cells[column]
        for text, column in (
            (data.manufacturer(name), "manufacturer"),
            (data.manufacturer_model_name(name), "manufacturer_model_name"),
            (data.site(name), "site"),
        ):
            assert text == cells[column] != ""
    unknown = {("birth_date", "amos_0001"): "UND", ("site", "amos_0001"): None}
    odd = {("birth_date", "amos_0004"): "1/2/62", ("birth_date", "amos_0008"): "1962-02-01"}
    changed = edited(root, tmp_path, unknown | odd)
    assert changed.birth_date("amos_0001") is None and changed.site("amos_0001") is None
    assert changed.birth_date("amos_0008") == datetime.date(1962, 2, 1)
    with pytest.raises(errors.DatasetError, match="birth_date is '1/2/62' of amos_0004.*a day"):
        changed.birth_date("amos_0004")


def test_a_manifest_knows_its_path_and_no_notes(data, root):
    assert data.path == data.manifest_path == root / "grouped/dataset_manifest.xlsx"
    assert data.notes == []


def edited(root, tmp_path, changes):
    """The data set by an edited copy of the manifest."""
    path = tmp_path / "dataset_manifest.xlsx"
    shutil.copy(root / "grouped/dataset_manifest.xlsx", path)
    trees.edit_cells(path, changes)
    return AMOS22(path)


def test_unknown_age_and_sex(root, tmp_path):
    data = edited(root, tmp_path, {("age", "amos_0001"): "UND", ("sex", "amos_0001"): "UND"})
    assert data.age("amos_0001") is None
    assert data.sex("amos_0001") is None


def test_age_that_makes_no_sense(root, tmp_path):
    data = edited(root, tmp_path, {("age", "amos_0001"): "old"})
    with pytest.raises(
        errors.DatasetError, match="age is 'old' of amos_0001.*expected such as 062Y"
    ):
        data.age("amos_0001")


def test_age_and_sex_in_other_forms(root, tmp_path):
    changes = {("age", "amos_0001"): 62, ("age", "amos_0004"): "018m", ("age", "amos_0008"): "61 "}
    changes |= {("sex", "amos_0001"): "female", ("sex", "amos_0004"): "TRUE"}
    data = edited(root, tmp_path, changes)
    names = ("amos_0001", "amos_0004", "amos_0008")
    assert [data.age(name) for name in names] == [62, 1, 61]
    assert data.sex("amos_0001") == "F"
    assert data.metadata("amos_0001")["age"] == "62"
    with pytest.raises(errors.DatasetError, match="sex is 'TRUE' of amos_0004.*expected M or F"):
        data.sex("amos_0004")


def test_published_split(data):
    assert data.split("train") == ("amos_0001", "amos_0004", "amos_0507", "amos_0540")
    assert data.split("val") == ("amos_0008", "amos_0554")
    assert data.split("test") == ("amos_0201", "amos_0539")
    assert data.subset("amos_0554") == "val"
    with pytest.raises(errors.DatasetError, match="no subset 'Train', expected one of train, val"):
        data.split("Train")


def test_another_split(root, tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    shutil.copy(root / "grouped/dataset_manifest.xlsx", path)
    trees.edit_cells(path, {(finished.SPLIT, "amos_0001"): "val"}, finished.SPLIT)
    assert AMOS22(path).split("val") == ("amos_0008", "amos_0554")
    assert AMOS22(path, finished.SPLIT).split("val") == ("amos_0001", "amos_0008", "amos_0554")


def in_subsets(root, tmp_path, subsets):
    """The data set by a split in which the samples are in these subsets."""
    path = tmp_path / "dataset_manifest.xlsx"
    shutil.copy(root / "grouped/dataset_manifest.xlsx", path)
    cells = {(finished.SPLIT, name): subset for name, subset in zip(IDS, subsets)}
    trees.edit_cells(path, cells, finished.SPLIT)
    return AMOS22(path, finished.SPLIT)


def test_a_split_with_folds(root, tmp_path):
    data = in_subsets(root, tmp_path, "fold0 fold1 fold1 test fold0 excluded test fold1".split())
    assert data.split("fold1") == (IDS[1], IDS[2], IDS[7])
    assert data.split("excluded") == (IDS[5],) and data.split("unlabelled") == ()
    assert data.ids == IDS  # excluded ones too
    assert data.subset(IDS[5]) == "excluded" and data.subset(IDS[0]) == "fold0"
    for word in ("train", "fold2", "Fold0", ""):
        with pytest.raises(errors.DatasetError) as caught:
            data.split(word)
        expected = "expected one of fold0, fold1, test, excluded"
        assert str(caught.value) == f"no subset {word!r}, {expected}"


def test_a_published_split_may_be_asked_for_what_it_leaves_out(data):
    assert data.split("excluded") == data.split("unlabelled") == ()
    with pytest.raises(errors.DatasetError, match="no subset 'fold0', expected one of train, val"):
        data.split("fold0")


def test_patients(root, tmp_path):
    alike = {"birth_date": "19600102", "sex": "F"}
    changes = {
        (column, name): text
        for column, text in alike.items()
        for name in ("amos_0004", "amos_0554", "amos_0201")
    }
    data = edited(root, tmp_path, {**changes, ("sex", "amos_0201"): "UND"})
    assert data.patient("amos_0554") == data.patient("amos_0004") == "amos_0004"
    assert data.patient("amos_0201") == "amos_0201"  # not known: one of its own
    assert pickle.loads(pickle.dumps(data)).patient("amos_0554") == "amos_0004"
    with pytest.raises(errors.DatasetError, match="no sample 'amos_9999'; there are 8"):
        data.patient("amos_9999")


def test_a_splits_own_column_says_the_patient(root, tmp_path):
    """An index manifest of val alone lacks the patient's first scan."""
    path = tmp_path / "dataset_manifest.xlsx"
    shutil.copy(root / "grouped/dataset_manifest.xlsx", path)
    book = openpyxl.load_workbook(path)
    sheet = book[finished.SPLIT]
    sheet.insert_cols(sheet.max_column)
    sheet.cell(1, sheet.max_column - 1, "patient")
    for number in range(2, sheet.max_row + 1):
        sheet.cell(number, sheet.max_column - 1, "amos_0001")
    book.save(path)
    assert {*map(AMOS22(path, finished.SPLIT).patient, IDS)} == {"amos_0001"}


def test_known_faults(data):
    scaled, ageless = data.known_faults("amos_0540")  # that its id was too low is mended
    assert (scaled.id, scaled.kind) == ("amos_0540", "intensity")
    assert scaled.what.startswith("scaled values up to 3.28 million")
    assert scaled.evidence.startswith("header of the published file")
    assert (ageless.kind, ageless.what) == ("metadata", "no age in the table")
    assert [name for name in IDS if data.known_faults(name)] == ["amos_0540"]
    with pytest.raises(errors.DatasetError, match="no sample 'amos_0057'; there are 8"):
        data.known_faults("amos_0057")


def test_index_manifest(root):
    folder = root / "grouped/splits"
    finished.call(
        "07_extract_split_index_manifest.py",
        *finished.source(root),
        "--output_index_manifest_dir",
        folder,
        "--subsets",
        "train",
        "val",
    )
    data = AMOS22(folder / f"{finished.SPLIT}_train_val.xlsx")
    assert data.ids == tuple(ANNOTATED)
    assert data.split("test") == ()
    assert data.mask("amos_0001").any()


def test_nothing_is_opened_before_it_is_asked_for(root, tmp_path):
    data = AMOS22(finished.copy(root, tmp_path / "copy") / "grouped")
    shutil.rmtree(tmp_path / "copy/grouped/AMOS-CT")
    assert data.spacing("amos_0001").shape == (3,)
    with pytest.raises(errors.DatasetError, match="amos_0001_volume.nii.gz"):
        data.image("amos_0001")


def test_damage_is_noticed(root, tmp_path):
    data = AMOS22(finished.copy(root, tmp_path / "copy") / "grouped")
    path = data.volume_path("amos_0001")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # a bit of the checksum
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match="amos_0001_volume.nii.gz: damaged"):
        data.image("amos_0001")


def test_file_that_is_no_longer_the_manifests(root, tmp_path):
    data = AMOS22(finished.copy(root, tmp_path / "copy") / "grouped")
    shutil.copy(data.volume_path("amos_0507"), data.volume_path("amos_0001"))
    with pytest.raises(errors.DatasetError, match="run routine 05 again"):
        data.image("amos_0001")


@pytest.mark.parametrize("name", ["0001", "amos_9999", "", None])
def test_unknown_sample(data, name):
    with pytest.raises(errors.DatasetError, match="there are 8 such as amos_0001"):
        data.image(name)


def test_folder_without_manifest(root, tmp_path):
    with pytest.raises(errors.DatasetError, match=r"expected one dataset_manifest\*.xlsx in it"):
        AMOS22(root)
    with pytest.raises(errors.DatasetError, match="no such file"):
        AMOS22(root / "grouped/nothing.xlsx")
    for name in "ab":
        shutil.copy(
            root / "grouped/dataset_manifest.xlsx", tmp_path / f"dataset_manifest_{name}.xlsx"
        )
    with pytest.raises(errors.DatasetError, match="dataset_manifest_a.xlsx, dataset_manifest_b"):
        AMOS22(tmp_path)


def test_pickled_copy_reads_on(data):
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.mask("amos_0001"), data.mask("amos_0001"))


def test_as_a_library_from_another_directory(root, run_python, tmp_path):
    code = (
        "import sys\nfrom utils.reader import AMOS22\n"
        "print('nibabel' in sys.modules, len(AMOS22(sys.argv[1]).image('amos_0004')))"
    )
    done = run_python(code, root / "grouped", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("False 7\n", "")


@pytest.mark.parametrize("text", ["", "x", "-7", "7.5", "7e0", "nan", "9" * 5000, "\u0667"])
def test_a_size_that_is_no_whole_number_is_named(root, tmp_path, text):
    changes = {("szx", "amos_0001"): text, ("szx", "amos_0004"): "7.0"}
    data = edited(root, tmp_path, changes)
    assert data.shape("amos_0004") == (7, 8, 9)
    with pytest.raises(errors.DatasetError, match="of amos_0001, expected three whole numbers"):
        data.shape("amos_0001")

"""Label map file, label names in file names, prostate and uterus."""

import os

import numpy as np
import pytest

from utils import errors
from utils.arrays import labels

NAMES = {0: "background", 1: "spleen", 2: "right kidney"}
MAP = "full_form_index_map: {0: background, 1: spleen, 2: right kidney}\n"


@pytest.fixture(name="write")
def map_writer(tmp_path):
    def write(content):
        path = tmp_path / "label_map.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_reads_and_sorts(write):
    assert labels.read_label_map(write(MAP)) == NAMES
    path = write("full_form_index_map:\n  2: right kidney\n  0: background\n  1: spleen\n")
    assert list(labels.read_label_map(path).items()) == list(NAMES.items())


def test_short_form(write):
    path = write(MAP + "short_form_index_map: {0: Bg, 1: NME}\n")
    assert labels.read_label_map(path, short_form=True) == {0: "Bg", 1: "NME"}
    assert labels.read_label_map(path) == NAMES
    with pytest.raises(errors.DatasetError, match="short_form_index_map is missing"):
        labels.read_label_map(write(MAP), short_form=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is missing"),
        ("- 1\n- 2\n", "is missing"),
        ("full_form_index_map:\n", "is missing"),
        ("full_form_index_map: {}\n", "is missing"),
        ("full_form_index_map: [a, b]\n", "is missing"),
        ("full_form_index_map: {0: a", "YAML"),
        (b"\xff\xfe\x00", "YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "YAML"),
        ("full_form_index_map: {1: spleen}\n", "label 0"),
        ("full_form_index_map: {0: a, -1: b}\n", "label -1"),
        ("full_form_index_map: {0: a, 256: b}\n", "label 256"),
        ("full_form_index_map: {0: a, 1.5: b}\n", "label 1.5"),
        ("full_form_index_map: {0: a, true: b}\n", "label True"),
        ("full_form_index_map: {0: a, '1': b}\n", "label '1'"),
        ("full_form_index_map: {0: a, 1: 5}\n", "name 5"),
        ("full_form_index_map: {0: a, 1: null}\n", "name None"),
        ("full_form_index_map: {0: a, 1: ''}\n", "name ''"),
        ("full_form_index_map: {0: a, 1: ../x}\n", "file name"),
        ("full_form_index_map: {0: a, 1: x/y}\n", "file name"),
        ("full_form_index_map: {0: a, 1: .x}\n", "file name"),
        ('full_form_index_map: {0: a, 1: "x\\ny"}\n', "file name"),
        ("full_form_index_map: {0: a, 1: leber ö}\n", "file name"),
        ("full_form_index_map: {0: a, 1: right kidney, 2: right_kidney}\n", "right_kidney"),
        ("full_form_index_map: {0: a, 1: Liver, 2: liver}\n", "liver"),
    ],
)
def test_refused(write, content, reason):
    path = write(content)
    with pytest.raises(errors.DatasetError) as caught:
        labels.read_label_map(path)
    assert str(path) in str(caught.value) and reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.file == str(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(errors.DatasetError, match=os.path.basename(path)):
            labels.read_label_map(path)


def test_largest_label(write):
    assert 255 in labels.read_label_map(write("full_form_index_map: {0: a, 255: b}\n"))


def test_templates(load_script):
    root = os.path.dirname(load_script("06_make_split01_standard.py").__file__)
    amos = labels.read_label_map(os.path.join(root, "descriptor_templates/label_map.yaml"))
    assert list(amos) == list(range(17))
    assert (amos[8], amos[15], amos[16]) == ("aorta", "prostate", "uterus")


def test_file_form():
    assert labels.file_form("right adrenal gland") == "right_adrenal_gland"


@pytest.mark.parametrize("order", "CF")
def test_counts(order):
    data = np.zeros((3, 4, 5), np.uint8, order=order)
    data[0, 0, :3] = 7
    data[2, 3, 4] = 255
    counts = labels.counts(data)
    assert counts.shape == (256,) and counts.dtype == np.int64
    assert (counts[0], counts[7], counts[255], counts.sum()) == (56, 3, 1, 60)


def test_counts_over_several_parts(monkeypatch):
    monkeypatch.setattr(labels, "_PART_VOXELS", 7)
    data = np.random.default_rng(0).integers(0, 5, (7, 8, 9)).astype(np.uint8)
    assert (labels.counts(data)[:5] == np.bincount(data.ravel())).all()


def test_check_known():
    data = np.zeros((3, 4, 5), np.uint8)
    labels.check_known(data, NAMES, where="m")
    data[0, 0, 0] = 1
    labels.check_known(data, NAMES, where="m")
    data[1, 1] = 77
    data[2, 2, 2] = 3
    with pytest.raises(errors.DatasetError) as caught:
        labels.check_known(data, NAMES, where="m.nii.gz")
    text = str(caught.value)
    assert text.startswith("m.nii.gz: ") and caught.value.code == "unknown_label"
    assert "label 77 (5 voxels)" in text and "label 3 (1 voxels)" in text and "0..2" in text


def mask_with_prostate(order="F"):
    data = np.zeros((3, 4, 5), np.uint8, order=order)
    data[1, 2, 3:] = labels.PROSTATE
    data[0, 0, 0] = 14
    return data


@pytest.mark.parametrize("order", "CF")
def test_uterus_of_a_woman(monkeypatch, order):
    monkeypatch.setattr(labels, "_PART_VOXELS", 11)
    data = mask_with_prostate(order)
    assert labels.uterus_of_prostate(data, "F", "m")
    assert (labels.counts(data)[[0, 14, 15, 16]] == [57, 1, 0, 2]).all()
    assert (data[1, 2, 3:] == 16).all()
    assert not labels.uterus_of_prostate(data, "F", "m")


def test_a_man_keeps_his():
    data = mask_with_prostate()
    assert not labels.uterus_of_prostate(data, "M", "m")
    assert (data == mask_with_prostate()).all()


@pytest.mark.parametrize("sex", ["", "UND", "f", "O", "F "])
def test_unknown_sex(sex):
    data = mask_with_prostate()
    with pytest.raises(errors.DatasetError, match="m.nii.gz.*expected M"):
        labels.uterus_of_prostate(data, sex, "m.nii.gz")
    assert (data == mask_with_prostate()).all()
    assert not labels.uterus_of_prostate(np.zeros((3, 4, 5), np.uint8), sex, "m.nii.gz")

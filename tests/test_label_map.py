"""The label map file, and label names in file names and before people."""

import os

import pytest

from utils import errors
from utils.storage import label_map

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
    assert label_map.read(write(MAP)) == NAMES
    path = write("full_form_index_map:\n  2: right kidney\n  0: background\n  1: spleen\n")
    assert list(label_map.read(path).items()) == list(NAMES.items())


def test_short_form(write):
    path = write(MAP + "short_form_index_map: {0: Bg, 1: NME}\n")
    assert label_map.read(path, short_form=True) == {0: "Bg", 1: "NME"}
    assert label_map.read(path) == NAMES
    with pytest.raises(errors.DatasetError, match="short_form_index_map is missing"):
        label_map.read(write(MAP), short_form=True)


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
        label_map.read(path)
    assert str(path) in str(caught.value) and reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.file == str(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(errors.DatasetError, match=os.path.basename(path)):
            label_map.read(path)


def test_largest_label(write):
    assert 255 in label_map.read(write("full_form_index_map: {0: a, 255: b}\n"))


def test_templates(load_script):
    root = os.path.dirname(load_script("06_make_split01_standard.py").__file__)
    amos = label_map.read(os.path.join(root, "descriptor_templates/label_map.yaml"))
    assert list(amos) == list(range(17))
    assert (amos[8], amos[15], amos[16]) == ("aorta", "prostate", "uterus")


def test_file_form():
    assert label_map.file_form("right adrenal gland") == "right_adrenal_gland"


def test_shown():
    assert label_map.shown("right_adrenal_gland") == "right adrenal gland"

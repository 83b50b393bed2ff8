"""The label map file, and label names in file names and before people."""

import contextlib
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    for short in ("{0: Bg, 1: NME, 1: x}", "{0: Bg, 1: NME, 1.0: x}", "{0: Bg, 1: NME, 2: nme}"):
        with pytest.raises(errors.DatasetError, match="stands twice"):
            label_map.read(write(f"{MAP}short_form_index_map: {short}\n"), short_form=True)


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
        ("full_form_index_map: {0: a, 1: 5}\n", "label 1 is 5, expected a text"),
        ("full_form_index_map: {0: a, 1: null}\n", "label 1 is None, expected a text"),
        ("full_form_index_map: {0: a, 3: no}\n", "label 3 is False, expected a text"),
        ("full_form_index_map: {0: a, 3: {x: y}}\n", "label 3 is {'x': 'y'}, expected a text"),
        (f"full_form_index_map: {{0: a, 1: {'1:' * 3000}1.0}}\n", "YAML file: int too large"),
        ("full_form_index_map: {0: a, 1: ''}\n", "name ''"),
        ("full_form_index_map: {0: a, 1: ../x}\n", "file name"),
        ("full_form_index_map: {0: a, 1: x/y}\n", "file name"),
        ("full_form_index_map: {0: a, 1: .x}\n", "file name"),
        ('full_form_index_map: {0: a, 1: "x\\ny"}\n', "file name"),
        ("full_form_index_map: {0: a, 1: leber ö}\n", "file name"),
        ("full_form_index_map: {0: a, 1: right kidney, 2: right_kidney}\n", "right_kidney"),
        ("full_form_index_map: {0: a, 1: Liver, 2: liver}\n", "liver"),
        ("full_form_index_map: {0: a, 1: 'liver ', 2: liver}\n", "'liver '"),
        ("full_form_index_map: {0: a, 1: b, 1: c}\n", "line 1: the key 1 stands twice"),
        ("full_form_index_map: {0: a, 1: b, 1.0: c}\n", "the key 1.0 stands twice"),
        ("full_form_index_map: {0: a, 1: b, 1e0: c}\n", "label '1e0'"),
        ("full_form_index_map: {0: a, 1: b, true: c}\n", "the key true stands twice"),
        ("full_form_index_map: {0: a, no: c}\n", "the key no stands twice"),
        ("full_form_index_map: {0: a, 8: b, 010: c}\n", "010 found"),
        ("full_form_index_map: {0: a, 010: c}\n", "010 found, expected a number in plain digits"),
        ("full_form_index_map: {0: a, 1: b, 01: c}\n", "the key 01 stands twice"),
        ("full_form_index_map: {0: a, 1: b, 0x1: c}\n", "0x1 found"),
        ("full_form_index_map: {0: a, 0b1: c}\n", "0b1 found"),
        ("full_form_index_map: {0: a, 10: b, 1_0: c}\n", "1_0 found"),
        ("full_form_index_map: {0: a, 90: b,  1:30: c}\n", "1:30 found"),
        ("full_form_index_map: {0: a, 1: b, +1: c}\n", "+1 found"),
        ("full_form_index_map: {0: a, 1: b, '1': c}\n", "label '1'"),
        ("full_form_index_map: {0: a, 1: b, ? 1 : c}\n", "stands twice"),
        ("full_form_index_map: {0: a, 1.0: c}\n", "label 1.0"),
        ("full_form_index_map: {0: a, <<: {1: b}}\n", "line 1: merging"),
        ("x: &x {1: b}\nfull_form_index_map: {0: a, <<: *x}\n", "line 1: anchors"),
        (
            "full_form_index_map: {0: a}\nfull_form_index_map: {0: a, 1: b}\n",
            "line 2: the key full",
        ),
        ("full_form_index_map: {0: a, 1: 2001-13-45}\n", "YAML"),
        ("full_form_index_map: {0: a, 1: 2001-12-31}\n", "label 1 is datetime.date"),
        ("full_form_index_map: {0: a, 1: !!float abc}\n", "tags"),
        ("full_form_index_map: {0: a, 1: !!bool abc}\n", "tags"),
        ("full_form_index_map: {0: a, !!int '': b}\n", "tags"),
        ("full_form_index_map: {0: a, 1: !!timestamp abc}\n", "tags"),
        ('full_form_index_map: {0: a, 1: "\\ud800"}\n', "half a character"),
        (
            "full_form_index_map: {0: a}\n---\nfull_form_index_map: {0: a}\n",
            "line 2: expected a single document in the stream, but found",
        ),
        ("full_form_index_map: " + "[" * 5000, "nested too deeply"),
        ("full_form_index_map: {0: a, 1: " + "9" * 5000 + "}\n", "YAML"),
        ("full_form_index_map: {0: a}\n" + "#" * 200_000, "larger than 131,072 bytes"),
        (b"full_form_index_map: {0: a, 1: \0}\n", "YAML"),
        (b"full_form_index_map: {0: a, 1: \xe4}\n", "YAML"),
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


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "label_map.yaml")
    with pytest.raises(errors.DatasetError, match="yaml: cannot be read: no regular file"):
        label_map.read(tmp_path / "label_map.yaml")


def test_labels_in_digits_that_mean_the_same_to_everybody(write):
    path = write("\ufefffull_form_index_map: {00: background, 01: 'spleen', 2: right kidney}\n")
    assert label_map.read(path) == NAMES


NUMBERS = st.sampled_from(["0", "1", "7", "8", "10", "010", "1.0", "0x8", "true", "1_0", "1:30"])
NUMBERS |= st.integers(-2, 300).map(str)
WORDS = st.sampled_from(["liver", "Liver", "left kidney", "left_kidney", "no", "5", "~", "x/y"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(NUMBERS, WORDS), max_size=4))
def test_a_label_map_is_what_it_says_or_refused(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "map.yaml"
    lines = [f"  {number}: {name}\n" for number, name in [("0", "background"), *entries]]
    path.write_text("".join(["full_form_index_map:\n", *lines]), encoding="utf-8")
    plain = all(re.fullmatch("0|[1-9][0-9]*", number) for number, _ in entries)
    forms = [name.replace(" ", "_").lower() for _, name in entries]
    names = {0: "background", **{int(number): name for number, name in entries if plain}}
    is_sound = plain and {*forms} <= {"liver", "left_kidney"} and len({*forms}) == len(forms)
    is_sound = is_sound and len(names) == len(entries) + 1 and max(names) <= 255
    if is_sound:
        assert label_map.read(path) == names
    else:
        with pytest.raises(errors.DatasetError, match=r"map\.yaml"):
            label_map.read(path)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_a_label_map_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    for start in (b"", b"full_form_index_map: ", b"full_form_index_map: {0: a, 1: "):
        path.write_bytes(start + content)
        with contextlib.suppress(errors.DatasetError):
            assert label_map.read(path)[0]


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

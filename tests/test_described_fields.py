"""The page of a described data set, field by field."""

import pytest

from utils import errors
from utils.facts import described_fields


@pytest.fixture(name="fields")
def fields_of_content():
    def make(**content):
        return described_fields.Fields("set/dataset.yaml", content, "files.")

    return make


def fault_of(function, *args):
    with pytest.raises(errors.DatasetError) as caught:
        function(*args)
    assert caught.value.file == "set/dataset.yaml" and caught.value.code == "page"
    return str(caught.value)


def test_a_page_is_read_as_text(tmp_path):
    page = tmp_path / "dataset.yaml"
    page.write_text("name: 0012\nlabels: {0: no, 1: 1e3}\n", encoding="utf-8")
    fields = described_fields.Fields.of_page(page)
    assert fields.text("name") == "0012"
    assert fields.mapping("labels") == {"0": "no", "1": "1e3"}


@pytest.mark.parametrize("content", ["[a, b]", "text", ""])
def test_a_page_without_fields_is_refused(tmp_path, content):
    page = tmp_path / "dataset.yaml"
    page.write_text(content, encoding="utf-8")
    with pytest.raises(errors.DatasetError, match="the page is .*, expected fields such as 'name"):
        described_fields.Fields.of_page(page)


@pytest.mark.parametrize(
    ("take", "given", "fault"),
    [
        ("text", [], "files.x is [], expected a text"),
        ("text", " ", "files.x is ' ', expected a text"),
        ("texts", [], "files.x is [], expected a text or a list of texts"),
        ("texts", ["a", {}], "files.x is ['a', {}], expected a text or a list of texts"),
        ("text", {"seq": ""}, "files.x is {'seq': ''}, expected a text (one that begins with { in"),
        (
            "texts",
            ["a", {"seq": ""}],
            "files.x is ['a', {'seq': ''}], expected a text or a list of",
        ),
        ("mapping", {"a": "\0"}, "files.x is {'a': '\\x00'}, expected {text: text, ...}"),
        ("mapping", {}, "files.x is {}, expected {text: text, ...}"),
        ("mapping", {"a": []}, "files.x is {'a': []}, expected {text: text, ...}"),
        ("mapping", "a", "files.x is 'a', expected {text: text, ...}"),
        ("table", "a", "files.x is 'a', expected fields such as 'name: ...'"),
        ("separator", "|", """files.x is '|', expected "," or ";" or "\\t\""""),
        ("ranges", {"a": "3-"}, "files.x.a is '3-', expected whole numbers such as 0-20 or"),
        ("ranges", {"a": "5-3"}, "files.x.a is '5-3', expected ranges that run upwards"),
        ("ranges", {"a": "0-5", "b": "5"}, "files.x.b has 5, which a has, too"),
        ("ranges", {"a": "0-5, 3"}, "files.x.a has 3, which a has, too"),
    ],
)
def test_a_field_of_another_kind_is_named(fields, take, given, fault):
    found = fault_of(getattr(fields(x=given), take), "x")
    assert found.startswith(f"set/dataset.yaml: {fault}")


@pytest.mark.parametrize("take", ["text", "texts", "mapping", "table", "ranges", "raw"])
def test_a_missing_field_is_named(fields, take):
    assert fault_of(getattr(fields(), take), "x") == "set/dataset.yaml: files.x is missing"


def test_fields_have_defaults(fields):
    none = fields()
    assert none.text("x", "y") == "y" and none.texts("x", ()) == () and none.separator("x") is None
    assert none.number("x", 0.2, 1) == 0.2
    assert fields(x="one\n  line").text("x") == "one line"
    assert fields(x="a").texts("x") == ("a",) and fields(x=["a", "b"]).texts("x") == ("a", "b")


def test_a_word_is_one_of_those_known(fields):
    assert fields(by="ids").word("by", ("folder", "ids")) == "ids"
    found = fault_of(fields(by="id").word, "by", ("folder", "ids"))
    assert found == "set/dataset.yaml: files.by is 'id', expected folder or ids"


@pytest.mark.parametrize(
    ("given", "largest", "kind", "expected"),
    [
        ("0.2", 1, float, 0.2),
        ("1", 1, float, 1),
        ("7", 9, int, 7),
        ("1.1", 1, float, "is '1.1', expected a number from 0 to 1"),
        ("nan", 1, float, "is 'nan', expected a number from 0 to 1"),
        ("-1", 9, int, "is '-1', expected a whole number from 0 to 9"),
        ("1.5", 9, int, "is '1.5', expected a whole number from 0 to 9"),
    ],
)
def test_a_number_lies_within_its_bounds(fields, given, largest, kind, expected):
    taken = fields(x=given)
    if isinstance(expected, str):
        assert fault_of(taken.number, "x", 0, largest, kind).endswith(f"files.x {expected}")
    else:
        assert taken.number("x", 0, largest, kind) == expected


def test_ranges_are_whole_numbers_of_both_ends(fields):
    found = fields(x={"test": "0-2", "train": "3 - 5, 9"}).ranges("x")
    assert found == {"test": (range(3),), "train": (range(3, 6), range(9, 10))}


def test_a_field_that_nobody_asked_for_is_refused_by_name(fields):
    left = fields(volume="a", maks="b")
    left.text("volume")
    left.has("mask")
    found = fault_of(left.done)
    assert found == (
        "set/dataset.yaml: files.maks is no field that is known here; probably meant: mask"
    )
    other = fault_of(fields(zzz="b").done)
    assert other == "set/dataset.yaml: files.zzz is no field that is known here"

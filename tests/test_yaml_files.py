"""YAML files, read strictly; the label map and the info file have more cases."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.storage import yaml_files

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    TEXTS | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
def test_what_pyyaml_writes_is_read_as_it_reads_it(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "v.yaml"
    text = yaml.dump(value, Dumper=Plain)
    path.write_text(text, encoding="utf-8", newline="")
    if "!!" in text or "<<" in text:  # bytes that are no text
        return
    assert yaml_files.read(path, code="x", typed=True) == yaml.safe_load(text)
    assert yaml_files.read(path, code="x") == yaml.load(text, yaml.BaseLoader)


class Plain(yaml.SafeDumper):
    """Without anchors for what occurs twice."""

    def ignore_aliases(self, data):
        return True


def test_a_fault_has_its_line_and_nothing_of_the_text(tmp_path):
    path = tmp_path / "v.yaml"
    path.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(errors.DatasetError) as caught:
        yaml_files.read(path, code="info")
    reason = f"{path}: not a readable YAML file: line 3: the key a stands twice"
    assert str(caught.value) == reason
    assert (caught.value.file, caught.value.code) == (str(path), "info")


@pytest.mark.parametrize(
    "text", ["x: {seq}.nii.gz", 'x: "{seq:\\d}.nii.gz"', "x: [a{seq}.nii.gz]", "x: *{seq}"]
)
def test_a_pattern_without_quotes_is_told_with_what_to_do(tmp_path, text):
    path = tmp_path / "v.yaml"
    path.write_text(f"a: 1\n{text}\nb: 2\n")
    with pytest.raises(errors.DatasetError) as caught:
        yaml_files.read(path, code="page")
    assert str(caught.value).startswith(f"{path}: not a readable YAML file: line 2: ")
    assert str(caught.value).endswith("; a text with { goes into 'single quotes'")


def test_the_largest_file_is_read(tmp_path):
    path = tmp_path / "v.yaml"
    path.write_text("a: b\n" + "#" * (yaml_files.MAX_BYTES - 5))
    assert yaml_files.read(path, code="x") == {"a": "b"}
    path.write_text("a: b\n" + "#" * (yaml_files.MAX_BYTES - 4))
    with pytest.raises(errors.DatasetError, match="larger than 131,072 bytes"):
        yaml_files.read(path, code="x")

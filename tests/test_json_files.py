"""JSON files that tell whether they were changed."""

import json

import pytest

from utils import errors
from utils.storage import json_files


def test_bytes_keep_order_and_letters():
    assert json_files.to_bytes({"b": "ä", "a": [1]}).decode() == (
        '{\n  "b": "ä",\n  "a": [\n    1\n  ]\n}\n'
    )


@pytest.mark.parametrize("content", [{}, {"a": [1, "ä"], "b": {"c": None}}])
def test_sealed_files_tell_changes(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(json_files.sealed(content))
    assert json_files.unsealed(path) == content
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "more": 1}))
    assert json_files.unsealed(path) is None
    for foreign in (b"\xff{", b"[1]", b"{}", b""):
        path.write_bytes(foreign)
        assert json_files.unsealed(path) is None


def test_error_of_a_changed_file_says_what_to_do():
    error = json_files.changed("lists/x.json")
    assert isinstance(error, errors.DatasetError)
    assert (error.file, error.code) == ("lists/x.json", "changed")
    assert str(error).startswith("lists/x.json: was changed by hand")
    assert "--overwrite" in str(error)

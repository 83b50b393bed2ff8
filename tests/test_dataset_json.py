"""dataset.json, compared with the folders of the archive."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import touch

from utils.facts import amos22
from utils.routines import archive, dataset_json
from utils.running import calls


def outcome_of(root):
    outcome = calls.Outcome()
    dataset_json.check(outcome, root, archive.find(root, amos22), amos22)
    return outcome


def check_json(root):
    outcome = outcome_of(root)
    assert outcome.failures == []
    return outcome.warnings


def test_a_dataset_json_that_fits_says_nothing(tmp_path):
    for name in ("imagesTr/amos_0001", "labelsTr/amos_0001", "imagesTs/amos_0002"):
        touch(tmp_path / f"release/{name}.nii.gz")
    touch(
        tmp_path / "release/dataset.json",
        json.dumps(
            {
                "labels": {"8": "arota"},
                "numTraining": 1,
                "training": [
                    {"image": "./imagesTr/amos_0001.nii.gz", "label": "./labelsTr/amos_0001.nii.gz"}
                ],
                "test": ["imagesTs/amos_0002.nii.gz"],
            }
        ).encode("utf-8-sig"),
    )
    assert check_json(tmp_path) == []


def test_another_split_in_dataset_json_is_named_and_the_folder_stays(tmp_path):
    touch(tmp_path / "imagesVa/amos_0001.nii.gz")
    touch(tmp_path / "imagesTr/amos_0002.nii.gz")
    touch(
        tmp_path / "dataset.json",
        json.dumps(
            {
                "training": [{"image": "./imagesVa/amos_0001.nii.gz"}],
                "validation": [{"image": "./imagesVa/amos_0002.nii.gz"}],
            }
        ).encode(),
    )
    ((name, text),) = check_json(tmp_path)
    assert name == "dataset.json"
    assert "2 files in another subset" in text
    assert "imagesVa/amos_0001.nii.gz (train by the list)" in text
    assert "imagesTr/amos_0002.nii.gz (val by the list)" in text
    assert archive.find(tmp_path, amos22).files[0].columns["subset"] == "val"


def test_files_of_dataset_json_that_are_not_on_disk_are_counted_and_named(tmp_path):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    items = [{"image": f"./imagesTr/amos_{number:04d}.nii.gz"} for number in range(1, 14)]
    items.append({"label": "./labelsTr/amos_0001.nii.gz"})
    touch(tmp_path / "dataset.json", json.dumps({"training": items}).encode())
    ((_, text),) = check_json(tmp_path)
    assert "13 files that are not on disk: ./imagesTr/amos_0002.nii.gz, " in text
    assert text.endswith("./imagesTr/amos_0006.nii.gz and 8 more")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"[" * 100_000,
        b'{"training": 7}',
        b'{"training": [[], {"image": 4}]}',
        b'{"test": {"image": ["x"]}}',
        b'{"training": [], "training": []}',
        b'{"training": [{"image": "a", "image": "b"}]}',
        b'{"numTraining": NaN}',
        b'{"numTraining": -Infinity}',
        b'{"test": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b"\x00",
        b"",
    ],
)
def test_a_dataset_json_that_makes_no_sense_fails_and_nothing_else(tmp_path, content):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    touch(tmp_path / "dataset.json", content)
    touch(tmp_path / "__MACOSX/dataset.json", b"{")
    outcome = outcome_of(tmp_path)
    ((name, error),) = outcome.failures
    assert name == "dataset.json" and outcome.warnings == []
    assert (error.file, error.code) == (str(tmp_path / "dataset.json"), "json")
    assert str(error) and "\n" not in str(error)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["training", "test", "image", "label"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
    | st.binary(max_size=20)
)
def test_any_dataset_json_is_compared_or_fails(tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp() / "any json"
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    touch(root / "dataset.json", raw)
    outcome = outcome_of(root)
    assert len(outcome.failures) <= 1
    if not isinstance(content, dict):
        assert outcome.failures and outcome.warnings == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nothing"), os.mkfifo])
def test_a_dataset_json_that_is_no_file_is_named_and_not_waited_for(tmp_path, make):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    make(tmp_path / "dataset.json")
    ((name, error),) = outcome_of(tmp_path).failures
    assert name == "dataset.json" and str(tmp_path / "dataset.json") in str(error)


def test_what_the_lists_of_a_dataset_json_hold_besides_is_read(tmp_path):
    touch(tmp_path / "imagesVa/amos_0001.nii.gz")
    items = ["imagesVa/amos_0001.nii.gz", 7, ["x"], {"image": "\ud800.nii.gz"}]
    touch(tmp_path / "dataset.json", json.dumps({"training": items, "validation": None}).encode())
    outcome = outcome_of(tmp_path)
    ((_, error),) = outcome.failures
    assert str(error) == "has 3 entries that name no file"
    assert len(outcome.warnings) == 2

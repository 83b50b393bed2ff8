"""Patients dealt at random, lists, and tables of described sets, below the command line."""

import collections
import hashlib

import described_trees as data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.facts import described
from utils.routines import archive, described_archive, described_metadata, described_subsets

deterministic = settings(derandomize=True, deadline=None, max_examples=100)


def deal(patient_of, val=0.2, test=0.2, seed=0):
    split = described.Split("patient", shares={"val": val, "test": test}, seed=seed)
    return described_subsets.by_patient(patient_of, split).of


def people(number):
    return {f"scan{n}": f"p{n}" for n in range(number)}


def test_the_same_seed_deals_the_same_subsets_everywhere():
    found = deal(people(100), seed=7)
    text = ",".join(f"{key} {subset}" for key, subset in sorted(found.items()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "32a657789fbc1479"
    assert deal(dict(reversed(people(100).items())), seed=7) == found
    assert deal(people(100), seed=8) != found


def test_patients_are_taken_in_the_order_of_their_digests():
    ordered = sorted(people(10), key=lambda key: hashlib.sha256(f"0:p{key[4:]}".encode()).digest())
    found = deal(people(10))
    assert [found[key] for key in ordered] == ["test"] * 2 + ["val"] * 2 + ["train"] * 6


@pytest.mark.parametrize(
    "number, val, test, expected",
    [
        (0, 0.2, 0.2, {}),
        (1, 0.2, 0.2, {"train": 1}),
        (1, 0.0, 0.9, {"train": 1}),
        (2, 0.2, 0.2, {"train": 2}),
        (2, 0.45, 0.45, {"train": 1, "test": 1}),
        (2, 0.0, 0.1, {"train": 1, "test": 1}),
        (3, 0.1, 0.1, {"train": 1, "val": 1, "test": 1}),
        (3, 0.0, 0.9, {"train": 1, "test": 2}),
        (10, 0.25, 0.25, {"train": 4, "val": 3, "test": 3}),
        (10, 0.24, 0.0, {"train": 8, "val": 2}),
        (1000, 0.2, 0.001, {"train": 799, "val": 200, "test": 1}),
    ],
)
def test_shares_of_the_patients_are_rounded_and_nobody_asked_for_is_empty(
    number, val, test, expected
):
    assert collections.Counter(deal(people(number), val, test).values()) == expected


@deterministic
@given(
    st.dictionaries(st.integers(0, 300), st.integers(0, 60)),
    st.floats(0, 0.5),
    st.floats(0, 0.49),
    st.integers(0, 9),
)
def test_no_patient_is_divided_and_one_more_moves_few(made, val, test, seed):
    patient_of = {f"s{key}": f"p{value}" for key, value in made.items()}
    before = deal(patient_of, val, test, seed)
    sides = {(patient_of[key], subset) for key, subset in before.items()}
    assert len(sides) == len({*patient_of.values()}) and before.keys() == patient_of.keys()
    after = deal({**patient_of, "new": "nobody else"}, val, test, seed)
    moved = {patient_of[key] for key in before if after[key] != before[key]}
    assert len(moved) <= 2


def contents_of(root):
    facts = described.read(data.page(root))
    return archive.find(root / "archive", facts), facts


def placed(root):
    contents, facts = contents_of(root)
    found = described_archive.place(contents, root / "archive", facts)
    return {file.sample: file.subset for file in contents.files}, found, contents


def test_later_scans_leave_nearly_all_where_they_are(tmp_path):
    root = data.CHAINS["patient"].copy("built", tmp_path / "root")
    before, _, _ = placed(root)
    data.put_volume(root / "archive/images/10.nii.gz")
    table = root / "archive/people.csv"
    table.write_text(table.read_text() + "10,i\n")
    after, _, _ = placed(root)
    assert sum(after[name] != subset for name, subset in before.items()) <= 2


def test_a_scan_that_lies_there_twice_moves_nobody(tmp_path):
    root = data.CHAINS["patient"].copy("built", tmp_path / "root")
    before, _, _ = placed(root)
    data.put_volume(root / "archive/copy/images/2.nii.gz")
    after, _, contents = placed(root)
    assert len(contents.doubles) == 2
    assert after == before  # the mask of 2 is there


def test_a_list_beside_the_archive_counts(tmp_path):
    root = data.CHAINS["json"].copy("built", tmp_path / "root")
    (root / "archive/dataset.json").rename(root / "dataset.json")
    found, _, contents = placed(root)
    assert found == {"a": "train", "b": "train", "c": "train", "d": "test"}
    assert contents.failures == []


def test_a_name_that_several_samples_have_is_none_of_them(tmp_path):
    """Only a path tells them apart."""
    root = tmp_path / "root"
    (root / "descriptor").mkdir(parents=True)
    data.page(root).write_text(
        "name: Cases\nlabels: {0: background}\nmodality: CT\nfiles: {volume: '{seq}/a.nii.gz'}\n"
        "split: {by: json, file: d.json, subsets: {x: train, y: test}}\n"
    )
    for name in "pq":
        data.put_volume(root / f"archive/{name}/a.nii.gz")
    (root / "archive/d.json").write_text('{"x": ["p/a.nii.gz"], "y": ["elsewhere/a.nii.gz"]}')
    found, made, contents = placed(root)
    assert found == {"p": "train"}
    assert made.warnings == [("d.json", "lists 1 files that are not on disk: elsewhere/a.nii.gz")]
    assert [name for name, _ in contents.failures] == ["q"]


def test_metadata_of_a_page_without_table_are_none(tmp_path):
    root = data.CHAINS["numbers"].copy("built", tmp_path / "root")
    _, facts = contents_of(root)
    made = described_metadata.Metadata(facts, [], [("1", "1")])
    assert (made.of("1"), made.faults({"n_001": "1"})) == ({}, [])


@pytest.mark.parametrize("text", ["/meta.csv", "../meta.csv", ".", "**.csv", "a/**/b.csv", "a//b"])
@pytest.mark.parametrize("kind", ["json", "patient"])
def test_a_pattern_that_leads_elsewhere_is_refused_by_field(tmp_path, kind, text):
    root = data.CHAINS[kind].copy("built", tmp_path / "root")
    field = {"json": "split.file", "patient": "metadata.file"}[kind]
    old = {"json": "file: dataset.json", "patient": "file: people.csv"}[kind]
    data.edit_page(root, old, f"file: '{text}'")
    with pytest.raises(errors.DatasetError) as caught:
        described.read(data.page(root))
    expected = "expected a file name, or a pattern: meta*.csv"
    assert str(caught.value) == f"{data.page(root)}: {field} is {text!r}, {expected}"

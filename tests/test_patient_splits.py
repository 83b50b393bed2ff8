"""No patient stands on two sides of any split but the published one: 200 made-up tables."""

import hashlib
import random
import warnings

import patient_tables
import pytest

from utils import errors
from utils.facts import amos22, patients
from utils.routines import split_choices, split_lists, splits
from utils.storage import workbook

SEEDS = range(200)
BY = ("manufacturer_model_name", "manufacturer", "site", "sex")
# Beginning of the SHA-256 of each kind of split of one table.
GOLDEN = {
    "by_patient": "32ba34a03e1ed23a",
    "folds": "cf19e1a526048f4f",
    "more_folds": "89cb1719c4e6b8dc",
    "leave_out": "fa757344c3305524",
}
SIDES = {*split_choices.SUBSETS, *map(split_choices.fold_name, range(5))}


def table_of(made):
    return workbook.frame(patient_tables.COLUMNS, made)


def choices(seed, made):
    """{name: choice} of each kind of split that keeps patients together."""
    rng = random.Random(seed)
    by, share = rng.choice(BY), rng.random() / 2
    there = sorted({row[by] for row in made if row["mask"] and row[by] not in ("", "01/06/1993")})
    return {
        "by_patient": split_choices.by_patient(amos22),
        "folds": split_choices.folds(amos22, rng.randint(2, 5), seed),
        "more_folds": split_choices.folds(amos22, 2, seed, ("train", "val", "test")),
        "leave_out": split_choices.leave_out(amos22, by, [rng.choice(there)], share, seed),
    }


def quietly(choose, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.DataWarning)
        return choose(table)


def check_sides(name, made, subsets):
    """What each kind of split promises, besides that nobody is divided."""
    assert sorted(subsets) == sorted(row["ID"] for row in made)
    rows = {row["ID"]: row for row in made}
    for key, subset in subsets.items():
        row = rows[key]
        if name == "by_patient":
            assert subset in (row["subset"], "excluded")
        elif "folds" in name:
            known = ("train", "val", "test")[: 3 if name == "more_folds" else 2]
            is_dealt = bool(row["mask"]) and row["subset"] in known
            assert subset.startswith("fold") == is_dealt
            assert (subset == "unlabelled") == (row["subset"] == "unlabelled")
        else:
            assert subset in ("excluded", "unlabelled") or row["mask"]
        assert subset != "unlabelled" or row["subset"] == "unlabelled"


def check_evenness(made, subsets):
    dealt = [row for row in made if subsets[row["ID"]].startswith("fold")]
    names = sorted({subsets[row["ID"]] for row in dealt})
    assert names == [f"fold{number}" for number in range(len(names))] and len(names) > 1
    for modality in ("CT", "MRI", ""):
        of = [row for row in dealt if modality in amos22.modality(row)]
        counts = [sum(subsets[row["ID"]] == name for row in of) for name in names]
        assert max(counts) - min(counts) <= 2, (modality, counts)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_patient_stands_on_two_sides(seed):
    made = patient_tables.rows(seed)
    table, shuffled = table_of(made), table_of(random.Random(seed).sample(made, len(made)))
    official = split_choices.published(table)
    assert patient_tables.divided(made, official), "the table proves nothing"
    for name, choose in choices(seed, made).items():
        subsets = quietly(choose, table)
        assert patient_tables.divided(made, subsets) == {}, name
        check_sides(name, made, subsets)
        if "folds" in name:
            check_evenness(made, subsets)
        if seed % 10 == 0:
            assert quietly(choose, shuffled) == subsets


@pytest.mark.parametrize("seed", SEEDS[::10])
def test_who_is_left_out_has_a_reason(seed):
    """Nobody is excluded but for a patient of an earlier side, or for want of a mask."""
    made = patient_tables.rows(seed)
    rows = {row["ID"]: row for row in made}
    patient_of = patients.group(rows, amos22)
    chosen = choices(seed, made)
    for name, choose in chosen.items():
        subsets = quietly(choose, table_of(made))
        for key in (key for key in subsets if subsets[key] == "excluded"):
            others = [one for one in rows if one != key and patient_of[one] == patient_of[key]]
            if name == "by_patient":
                earlier = {"val": ["train"], "test": ["train", "val"]}[rows[key]["subset"]]
                assert any(rows[one]["subset"] in earlier for one in others)
            elif "folds" in name:
                assert any(subsets[one].startswith("fold") for one in others)
            else:
                is_tested = any(subsets[one] == "test" for one in others)
                assert is_tested or not rows[key]["mask"]


@pytest.mark.parametrize("seed", SEEDS[::50])
def test_a_workbook_saved_by_a_spreadsheet_gives_the_same(seed, tmp_path):
    made = patient_tables.rows(seed)
    path = patient_tables.write(tmp_path / "dataset_manifest.xlsx", made)
    for name, choose in choices(seed, made).items():
        expected = quietly(choose, table_of(made))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            split = splits.make_sheet(path, name, choose, amos22)
        assert [str(warning.message).partition(" samples without ")[2][:40] for warning in caught][
            -1:
        ] == ["birth_date or sex, each taken for a pati"]
        read = workbook.Workbook(path).table(name)
        assert list(read) == [*patient_tables.COLUMNS, "patient", name]
        assert dict(zip(read["ID"], read[name])) == expected == split.subsets
        sides = read[read[name].isin(SIDES)].groupby("patient")[name].nunique()
        assert set(sides) == {1}
        assert set(read["patient"]) <= set(read["ID"])


@pytest.mark.parametrize("seed", SEEDS[::10])
def test_a_list_that_divides_patients_is_warned_about(seed, tmp_path):
    made = patient_tables.rows(seed, n_patients=6)
    rng = random.Random(seed)
    words = rng.choice([["train", "val", "test"], ["fold0", "fold1", "test"]])
    lines = [f"{row['ID']},{rng.choice([*words, 'excluded'])}" for row in made]
    if words[0] == "fold0":
        lines = [*lines[:-2], *(f"{row['ID']},{fold}" for row, fold in zip(made[-2:], words))]
    (tmp_path / "list.csv").write_text("ID,subset\n" + "\n".join(lines))
    listed = split_lists.Listed(tmp_path / "list.csv", amos22)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subsets = listed(table_of(made))
    divided = patient_tables.divided(made, subsets)
    told = [str(warning.message) for warning in caught]
    assert bool(told) == bool(divided)
    told_of = [text.partition("): ")[2].count("(") for text in told]
    assert sum(told_of) == min(len(divided), errors.LISTED)


def test_the_splits_of_a_seed_never_change():
    made = patient_tables.rows(3)
    digests = {
        name: hashlib.sha256(repr(sorted(quietly(choose, table_of(made)).items())).encode())
        for name, choose in choices(3, made).items()
    }
    assert {name: digest.hexdigest()[:16] for name, digest in digests.items()} == GOLDEN

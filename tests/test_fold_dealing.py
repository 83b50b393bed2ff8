"""Folds of whole patients, evenly dealt."""

import collections
import random

import pytest

from utils import errors
from utils.facts import amos22, patients
from utils.routines import fold_dealing

SCANNERS = {"CT": ["Aquilion ONE", "SOMATOM Force"], "MRI": ["Prisma", "SIGNA HDe"]}


def people(seed, n_patients, largest=7):
    """Rows of made-up patients, a fifth of them with several scans, some of both modalities."""
    rng = random.Random(seed)
    rows = {}
    for number in range(n_patients):
        born = {"birth_date": f"1950{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}"}
        born["sex"] = "MF"[number // 336 % 2]
        for _ in range(rng.choice([1] * 8 + [2, rng.randint(2, largest)])):
            modality = rng.choice(["CT", "CT", "CT", "MRI"])
            labels = [label for label in range(17) if label < 14 or rng.random() < 0.3]
            rows[f"amos_{len(rows):04d}"] = {
                **born,
                "manufacturer_model_name": rng.choice(SCANNERS[modality]),
                "valid_labels": ",".join(map(str, labels)),
            }
    return rows


def sizes(fold_of, n_folds, keys):
    counts = collections.Counter(fold_of[key] for key in keys)
    return [counts[number] for number in range(n_folds)]


@pytest.mark.parametrize("seed", range(40))
def test_folds_are_even_and_keep_patients_whole(seed):
    rng = random.Random(seed)
    n_folds = rng.randint(2, 7)
    rows = people(seed, rng.randint(60, 300))
    fold_of = fold_dealing.deal(rows, amos22, n_folds, seed)
    assert list(fold_of) == list(rows)
    for family in patients.families(patients.group(rows, amos22), rows).values():
        assert len({fold_of[key] for key in family}) == 1
    for modality in ("CT", "MRI"):
        keys = [key for key, row in rows.items() if amos22.modality(row) == modality]
        counts = sizes(fold_of, n_folds, keys)
        assert max(counts) - min(counts) <= 2
    counts = sizes(fold_of, n_folds, rows)
    assert max(counts) - min(counts) <= 2
    shuffled = dict(rng.sample(list(rows.items()), len(rows)))
    assert fold_dealing.deal(shuffled, amos22, n_folds, seed) == fold_of


@pytest.mark.parametrize("seed", range(8))
def test_rare_traits_are_spread(seed):
    rows = people(seed, 200, largest=2)
    fold_of = fold_dealing.deal(rows, amos22, 5, seed)
    for label in ("14", "15", "16"):
        keys = [
            key
            for key, row in rows.items()
            if amos22.modality(row) == "MRI" and label in row["valid_labels"].split(",")
        ]
        counts = sizes(fold_of, 5, keys)
        assert max(counts) - min(counts) <= 2
    for key in ("manufacturer_model_name", "sex"):
        for value in {row[key] for row in rows.values()}:
            counts = sizes(fold_of, 5, [name for name, row in rows.items() if row[key] == value])
            assert max(counts) - min(counts) <= 3


def test_folds_of_a_seed_never_change():
    rows = people(0, 12)
    texts = [
        "".join(map(str, fold_dealing.deal(rows, amos22, 3, seed).values())) for seed in (0, 1)
    ]
    assert texts == ["01000000212212210211", "01000000122212210211"]


def test_fewer_patients_than_folds():
    rows = dict.fromkeys("abc", {"birth_date": "19500101", "sex": "M"})
    with pytest.raises(errors.DatasetError, match="patients with a mask: 1, for 2 folds"):
        fold_dealing.deal(rows, amos22, 2, 0)


def test_a_patient_with_more_scans_than_all_others_has_a_fold_to_himself():
    rows = dict.fromkeys("abcdefg", {"birth_date": "19500101", "sex": "M"})
    rows |= {key: {"birth_date": f"1960010{key}", "sex": "M"} for key in "1234"}
    fold_of = fold_dealing.deal(rows, amos22, 3, 0)
    assert sorted(sizes(fold_of, 3, rows)) == [2, 2, 7]

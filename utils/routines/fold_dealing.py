"""Folds for cross-validation: whole patients, evenly by modality, scanner, sex and labels."""

import collections
import hashlib
import itertools
from collections.abc import Mapping

import numpy as np

from utils import errors
from utils.facts import DataSet, patients

# The weight of a trait is this many parts, shared by all samples that have it.
_WEIGHT = 10**6
# Traits by which folds are balanced before all others.
_FIRST = ("sample", "modality")
_KEYS = ("manufacturer_model_name", "sex")


def deal(
    rows: Mapping[str, Mapping[str, str]], facts: DataSet, n_folds: int, seed: int
) -> dict[str, int]:
    """Deal samples to folds, {ID: 0 to n_folds - 1}, all samples of a patient to the same one.

    Parameters
    ----------
    rows : mapping
        ID to the sample's row of the dataset manifest.
    facts : module
    n_folds : int
    seed : int
        Another seed gives other folds.

    Notes
    -----
    Patients are dealt one by one, large families first, else in the order of the SHA-256 of
    ``<seed>:<patient>``, each to the fold where the cost rises least. Then patients of two folds
    are exchanged, or one moves, as long as that lowers the cost. The cost is the sum of squares
    of the folds' sizes, in all and by modality; among equal ones, that of the samples by scanner,
    sex and label, each trait weighted by the reciprocal of its frequency. All numbers are whole,
    so that no platform and no order of the rows has a part in it.
    """
    patient_of = patients.group(rows, facts)
    members = patients.families(patient_of, rows)
    if len(members) < n_folds:
        reason = f"patients with a mask: {len(members)}, for {n_folds} folds"
        raise errors.DatasetError(reason, code="folds", expected=n_folds, found=len(members))
    order = sorted(members, key=lambda name: (-len(members[name]), _rank(seed, name)))
    table = _Traits(members, rows, facts)
    fold_of: dict[str, int] = {}
    totals = np.zeros((n_folds, table.weights.size), np.int64)
    for name in order:
        fold_of[name] = _least(table.rise(totals, table.of[name]))
        totals[fold_of[name]] += table.of[name]
    while _exchange(fold_of, totals, table, order):
        pass
    return {key: fold_of[patient_of[key]] for key in rows}


def _rank(seed, name):
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


class _Traits:
    """What folds are balanced by, counted for each patient; the first ``n_first`` go first."""

    def __init__(self, members, rows, facts):
        traits = {key: _traits(row, facts) for key, row in rows.items()}
        counts = collections.Counter(trait for found in traits.values() for trait in found)
        names = sorted(counts, key=lambda trait: (trait[0] not in _FIRST, trait))
        place = {trait: number for number, trait in enumerate(names)}
        self.n_first = sum(trait[0] in _FIRST for trait in names)
        self.weights = np.array([max(1, _WEIGHT // counts[trait]) for trait in names], np.int64)
        self.weights[: self.n_first] = 1
        self.nobody = np.zeros(len(names), np.int64)
        self.of = {}
        for name, keys in members.items():
            self.of[name] = self.nobody.copy()
            for key in keys:
                for trait in traits[key]:
                    self.of[name][place[trait]] += 1

    def rise(self, totals, counts):
        """How the cost of each fold rises by a patient: (first, second) by fold."""
        return self._parts(self.weights * counts * (2 * totals + counts))

    def change(self, ours, theirs, gap):
        """How the cost changes when patients of two folds change places.

        `gap` is our totals minus theirs; the parts are (n_ours, n_theirs).
        """
        moved = ours[:, None] - theirs[None]
        return self._parts(2 * self.weights * moved * (moved - gap))

    def _parts(self, terms):
        return terms[..., : self.n_first].sum(-1), terms[..., self.n_first :].sum(-1)


def _traits(row, facts):
    modality = facts.modality(row) or ""
    labels = row.get("valid_labels", "").split(",")
    return [
        ("sample", ""),
        ("modality", modality),
        *((key, row.get(key, "")) for key in _KEYS),
        *(("label", f"{modality} {label}") for label in labels),
    ]


def _least(parts):
    """Index of the least (first, second) in flattened arrays; of equal ones the first."""
    first, second = map(np.ravel, parts)
    candidates = np.flatnonzero(first == first.min())
    return int(candidates[np.argmin(second[candidates])])


def _exchange(fold_of, totals, table, order):
    """Make the best exchange of each two folds; False where none lowers the cost."""
    is_better = False
    for a, b in itertools.combinations(range(len(totals)), 2):
        ours, theirs = (_kinds(fold_of, table, order, fold) for fold in (a, b))
        # Nobody may go the other way: a patient moves then.
        counts = [np.array([*names.values(), table.nobody]) for names in (ours, theirs)]
        first, second = table.change(*counts, totals[a] - totals[b])
        i, j = np.unravel_index(_least((first, second)), first.shape)
        if (first[i, j], second[i, j]) >= (0, 0):
            continue
        for names, index, fold in ((ours, i, b), (theirs, j, a)):
            if index < len(names):
                fold_of[list(names)[index]] = fold
        moved = counts[0][i] - counts[1][j]
        totals[a] -= moved
        totals[b] += moved
        is_better = True
    return is_better


def _kinds(fold_of, table, order, fold):
    """{first patient of a fold with these counts: its counts}: the others are like him."""
    kinds = {}
    for name in order:
        if fold_of[name] == fold:
            kinds.setdefault(table.of[name].tobytes(), name)
    return {name: table.of[name] for name in kinds.values()}

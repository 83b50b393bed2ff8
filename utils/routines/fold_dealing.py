"""Folds for cross-validation: whole patients, evenly by modality, scanner, sex and labels."""

import collections
import functools
import hashlib
import itertools
from collections.abc import Mapping

import numpy as np

from utils import errors
from utils.facts import DataSet, patients
from utils.storage import forms

# The weight of a trait is this many parts, shared by all samples that have it.
_WEIGHT = 10**6
_SAMPLE = ("sample", "")
# Traits by which folds are balanced before all others.
_FIRST = ("sample", "modality")
# Not promised of this one: where folds are even in all and by the others, it nearly is, too.
_UNRATED = ("modality", "CT")
_KEYS = ("manufacturer_model_name", "sex")
# So many patients of a fold, no two alike, are tried in an exchange: more of them are in sets of
# thousands only, which are even by then.
_TRIED = 300
# Folds may differ by this many samples, in all and by other modalities; else it is tried so often,
# with so many patients in all attempts together: of thousands only a giant family is uneven.
_UNEVEN, _ATTEMPTS, _ATTEMPTED = 2, 20, 5_000


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
        At least 2.
    seed : int
        Another seed gives other folds.

    Notes
    -----
    Patients are dealt one by one, large families first, else in the order of the SHA-256 of
    ``<seed>:<patient>``, each to the fold where the cost rises least. Then two patients of two
    folds change places, or one moves, as long as that lowers the cost. The cost is the sum of
    squares of the folds' sizes, in all and by modality; among equal ones, that of the samples by
    scanner, sex and label, each trait weighted by the reciprocal of its frequency. Where folds
    still differ by more than two samples, in all or of MRI, and by more than the largest family
    makes them, it is tried again from other beginnings, and such an excess is lowered first.

    All numbers are whole, and such that doubles hold them exactly: no platform and no order of the
    rows has a part in it.
    """
    patient_of = patients.group(rows, facts)
    members = patients.families(patient_of, rows)
    if len(members) < n_folds:
        reason = f"patients with a mask: {len(members)}, for {n_folds} folds"
        raise errors.DatasetError(reason, code="folds", expected=n_folds, found=len(members))
    traits = {
        name: collections.Counter(trait for key in keys for trait in _traits(rows[key], facts))
        for name, keys in members.items()
    }
    found: list[tuple[int, float, int, dict[str, int]]] = []
    most = min(_ATTEMPTS, _ATTEMPTED // len(members) + 1)
    while len(found) < most and (not found or min(found)[0]):
        found.append(_attempt(traits, n_folds, seed, len(found)))
    fold_of = min(found)[-1]
    return {key: fold_of[patient_of[key]] for key in rows}


def _attempt(traits, n_folds, seed, number):
    """(excess, cost, number of the attempt, the fold of each patient); see `_Folds`."""

    def rank(name):
        begin = f"{number}:{seed}" if number else f"{seed}"
        digest = hashlib.sha256(f"{begin}:{name}".encode()).digest()
        return 0 if number else -traits[name][_SAMPLE], digest  # large families first

    order = sorted(traits, key=rank)
    folds = _Folds([traits[name] for name in order], n_folds, is_first=not number)
    while folds.exchange():
        pass
    return folds.excess, folds.cost, number, dict(zip(order, folds.of.tolist()))


def _traits(row, facts):
    """What folds are balanced by in a sample."""
    modality = facts.modality(row) or ""
    labels = map(str.strip, row.get("valid_labels", "").split(","))
    return [
        _SAMPLE,
        ("modality", modality),
        *((key, forms.plain(key, row.get(key, "")) or "") for key in _KEYS),
        *(("label", f"{modality} {label}") for label in labels),
    ]


class _Folds:
    """Patients, by their numbers, and the fold of each.

    In the first attempt they are dealt one by one to where the cost rises least. In all others they
    are dealt in turn, and an exchange is good that lowers the excess; among equal ones, the cost.
    """

    def __init__(self, traits, n_folds, is_first):
        frequency = sum(traits, collections.Counter())
        names = sorted(frequency)
        found = [*traits, collections.Counter()]  # the last one is nobody
        self._counts = np.array([[counts[name] for name in names] for counts in found], float)
        self._kinds = [row.tobytes() for row in self._counts]
        self._totals = np.zeros((n_folds, len(names)))
        # Weights of the traits in the first and the second part of the cost.
        self._weights = np.array(
            [
                [name[0] in _FIRST for name in names],
                [name[0] not in _FIRST and max(1, _WEIGHT // frequency[name]) for name in names],
            ],
            float,
        )
        self._is_rated = [name[0] in _FIRST and name != _UNRATED for name in names]
        largest = self._counts.max(axis=0)
        rest = (self._counts.sum(axis=0) - largest) // (n_folds - 1)
        # The fold of the largest family cannot come nearer to the smallest one.
        self._allowed = np.maximum(_UNEVEN, largest - rest)[self._is_rated]
        self._nobody, self._is_excess_first = len(traits), not is_first
        self.of = np.full(len(traits), -1)
        for patient, counts in enumerate(self._counts[:-1]):
            rises = (self._weights * counts) @ (2 * self._totals + counts).T
            self._put(patient, _least(rises) if is_first else patient % n_folds)

    @property
    def excess(self):
        """By how many samples folds differ more than they may, or have to."""
        ranges = np.ptp(self._totals[:, self._is_rated], axis=0)
        return int(np.maximum(ranges - self._allowed, 0).sum())

    @property
    def cost(self):
        """The first part of the cost."""
        return float((self._totals**2 @ self._weights[0]).sum())

    def _put(self, patient, fold):
        if self.of[patient] >= 0:
            self._totals[self.of[patient]] -= self._counts[patient]
        self._totals[fold] += self._counts[patient]
        self.of[patient] = fold

    def exchange(self):
        """Make the best exchange of each two folds; False where none lowers the cost."""
        is_better = False
        for a, b in itertools.combinations(range(len(self._totals)), 2):
            ours, theirs = self._tried(a), self._tried(b)
            changes = self._changes(a, b, self._counts[ours], self._counts[theirs])
            best = _least(changes)
            if [change.flat[best] for change in changes] >= [0] * len(changes):
                continue
            i, j = divmod(best, len(theirs))
            for patient, fold in ((ours[i], b), (theirs[j], a)):
                if patient != self._nobody:
                    self._put(patient, fold)
            is_better = True
        return is_better

    def _changes(self, a, b, leaving, coming):
        """How excess and cost change when one of fold a goes to b for another: (n_a, n_b) each."""
        gap = self._totals[a] - self._totals[b]
        # Of what moves in all, m = leaving - coming, the sum of w m (m - gap).
        changes = [
            ((leaving * (leaving - gap)) @ weights)[:, None]
            + (coming * (coming + gap)) @ weights
            - (2 * weights * leaving) @ coming.T
            for weights in self._weights
        ]
        if self._is_excess_first:
            changes.insert(0, self._change_of_excess(a, b, leaving, coming))
        return changes

    def _change_of_excess(self, a, b, leaving, coming):
        rated = self._totals[:, self._is_rated]
        moved = (leaving[:, None] - coming)[..., self._is_rated]
        others = np.delete(rated, [a, b], axis=0)
        sizes = [rated[a] - moved, rated[b] + moved, *others[:, None, None]]
        highest, lowest = (functools.reduce(better, sizes) for better in (np.maximum, np.minimum))
        return np.maximum(highest - lowest - self._allowed, 0).sum(-1) - self.excess

    def _tried(self, fold):
        """Patients of a fold that are tried in an exchange, one of each kind, and nobody."""
        inside = {}
        for patient in np.flatnonzero(self.of == fold).tolist():
            inside.setdefault(self._kinds[patient], patient)
        return [*[*inside.values()][:_TRIED], self._nobody]


def _least(parts):
    """Index of the least (first, second, ...) in flattened arrays; of equal ones the first."""
    candidates = np.arange(parts[0].size)
    for part in parts:
        values = part.ravel()[candidates]
        candidates = candidates[values == values.min()]
    return int(candidates[0])

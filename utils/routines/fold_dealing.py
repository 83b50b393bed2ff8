"""Folds for cross-validation: whole patients, evenly by modality, scanner, sex and labels."""

import collections
import functools
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
_SAMPLE = ("sample", "")
_KEYS = ("manufacturer_model_name", "sex")
# So many patients of a fold, no two alike, are tried in an exchange: more of them are in sets of
# thousands only, which are even by then.
_TRIED = 300
# Folds may differ by this many samples, in all and by modality; else it is tried so often, with so
# many patients in all attempts together: of thousands only a giant family makes folds uneven.
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
    seed : int
        Another seed gives other folds.

    Notes
    -----
    Patients are dealt one by one, large families first, else in the order of the SHA-256 of
    ``<seed>:<patient>``, each to the fold where the cost rises least. Then two patients of two
    folds change places, or one moves, as long as that lowers the cost. The cost is the sum of
    squares of the folds' sizes, in all and by modality; among equal ones, that of the samples by
    scanner, sex and label, each trait weighted by the reciprocal of its frequency. Where folds
    still differ by more than two samples, in all or of a modality, and by more than the largest
    family makes them, it is tried again from other beginnings, and such an excess is lowered first.

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
        *((key, row.get(key, "")) for key in _KEYS),
        *(("label", f"{modality} {label}") for label in labels),
    ]


class _Part:
    """A part of the cost: how often each patient, and nobody, has some traits; their weights."""

    def __init__(self, traits, names, weights, n_folds):
        self.weights = np.array(weights, float)
        found = [*traits, collections.Counter()]
        self.counts = np.array([[counts[name] for name in names] for counts in found], float)
        self.totals = np.zeros((n_folds, len(names)))

    def rise(self, patient):
        """How the cost of each fold rises by a patient."""
        counts = self.counts[patient]
        return (2 * self.totals + counts) @ (self.weights * counts)

    def change(self, a, b, ours, theirs):
        """How the cost changes when some of fold a go to b and others come: (n_ours, n_theirs)."""
        gap = self.totals[a] - self.totals[b]
        leaving, coming = self.counts[ours], self.counts[theirs]
        # The sum of w m (m - gap), of what moves in all: m = leaving - coming.
        alone = (leaving * (leaving - gap)) @ self.weights
        return (
            alone[:, None]
            + (coming * (coming + gap)) @ self.weights
            - ((2 * self.weights * leaving) @ coming.T)
        )


class _Folds:
    """Patients, by their numbers, and the fold of each.

    In the first attempt they are dealt one by one to where the cost rises least. In all others they
    are dealt in turn, and an exchange is good that lowers the excess; among equal ones, the cost.
    """

    def __init__(self, traits, n_folds, is_first):
        frequency = sum(traits, collections.Counter())
        first = sorted(name for name in frequency if name[0] in _FIRST)
        second = sorted(frequency.keys() - {*first})
        # Where folds are even in all and by the other modalities, they are by the commonest one.
        commonest = max(first, key=lambda name: (name != _SAMPLE, frequency[name]))
        self._is_rated = [name != commonest for name in first]
        largest = [max(counts[name] for counts in traits) for name in first]
        rest = [(frequency[name] - n) // max(n_folds - 1, 1) for name, n in zip(first, largest)]
        # The fold of the largest family cannot come nearer to the smallest one.
        self._allowed = np.maximum(_UNEVEN, np.subtract(largest, rest))[self._is_rated]
        weights = [max(1, _WEIGHT // frequency[name]) for name in second]
        self._parts = [
            _Part(traits, first, [1] * len(first), n_folds),
            _Part(traits, second, weights, n_folds),
        ]
        self._kind = _kinds(np.hstack([part.counts for part in self._parts]))
        self._nobody, self._is_excess_first = len(traits), not is_first
        self.of = np.full(len(traits), -1)
        for patient in range(len(traits)):
            rises = [part.rise(patient) for part in self._parts]
            self._put(patient, _least(rises) if is_first else patient % n_folds)

    @property
    def excess(self):
        """By how many samples folds differ more than they may, or have to."""
        ranges = np.ptp(self._parts[0].totals[:, self._is_rated], axis=0)
        return int(np.maximum(ranges - self._allowed, 0).sum())

    @property
    def cost(self):
        """The first part of the cost."""
        return float((self._parts[0].totals ** 2).sum())

    def _put(self, patient, fold):
        for part in self._parts:
            if self.of[patient] >= 0:
                part.totals[self.of[patient]] -= part.counts[patient]
            part.totals[fold] += part.counts[patient]
        self.of[patient] = fold

    def exchange(self):
        """Make the best exchange of each two folds; False where none lowers the cost."""
        is_better = False
        for a, b in itertools.combinations(range(len(self._parts[0].totals)), 2):
            ours, theirs = self._tried(a), self._tried(b)
            changes = [part.change(a, b, ours, theirs) for part in self._parts]
            if self._is_excess_first:
                changes.insert(0, self._change_of_excess(a, b, ours, theirs))
            best = _least(changes)
            if [change.flat[best] for change in changes] >= [0] * len(changes):
                continue
            i, j = divmod(best, len(theirs))
            for patient, fold in ((ours[i], b), (theirs[j], a)):
                if patient != self._nobody:
                    self._put(patient, fold)
            is_better = True
        return is_better

    def _change_of_excess(self, a, b, ours, theirs):
        """How the excess changes when some of fold a go to b and others come."""
        part = self._parts[0]
        leaving, coming = part.counts[ours], part.counts[theirs]
        moved = leaving[:, None] - coming
        others = np.delete(part.totals, [a, b], axis=0)
        sizes = [part.totals[a] - moved, part.totals[b] + moved, *others[:, None, None]]
        highest, lowest = (functools.reduce(better, sizes) for better in (np.maximum, np.minimum))
        ranges = (highest - lowest)[..., self._is_rated]
        return np.maximum(ranges - self._allowed, 0).sum(-1) - self.excess

    def _tried(self, fold):
        """Patients of a fold that are tried in an exchange, one of each kind, and nobody."""
        inside = np.flatnonzero(self.of == fold)
        first = np.unique(self._kind[inside], return_index=True)[1]
        return np.append(inside[np.sort(first)][:_TRIED], self._nobody)


def _kinds(counts):
    """A number for each row: patients of a kind have the same counts."""
    numbers = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in counts])


def _least(parts):
    """Index of the least (first, second, ...) in flattened arrays; of equal ones the first."""
    candidates = np.arange(parts[0].size)
    for part in parts:
        values = part.ravel()[candidates]
        candidates = candidates[values == values.min()]
    return int(candidates[0])

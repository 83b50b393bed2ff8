"""Choices of a split: which samples take part, and to which subset each of them goes."""

from __future__ import annotations

import collections
import hashlib
import math
import re
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from utils import errors
from utils.facts import DataSet, patients
from utils.routines import fold_dealing
from utils.storage import forms, manifest

if typing.TYPE_CHECKING:
    import pandas as pd

    # From the worksheet Manifest, all text, to {ID: subset}.
    Choice = Callable[[pd.DataFrame], dict[str, str]]

SUBSETS = ("train", "val", "test")
# Scans that nobody has labelled; and samples that a split leaves out.
UNLABELLED, EXCLUDED = "unlabelled", "excluded"
LEFT_OUT = (UNLABELLED, EXCLUDED)
WORDS = f"{', '.join(SUBSETS)}, fold0 ..., {', '.join(LEFT_OUT)}"
_FOLD = re.compile("fold(0|[1-9][0-9]*)")


def fold_name(number: int) -> str:
    """Return the subset of a fold: ``fold0``."""
    return f"fold{number}"


def fold_number(subset: str) -> int | None:
    """Return the number of a fold, None for any other subset."""
    found = _FOLD.fullmatch(subset)
    return int(found[1]) if found else None


def is_subset(text: str) -> bool:
    """Whether it is a word for a subset: train, val, test, a fold, or one of `LEFT_OUT`."""
    return text in (*SUBSETS, *LEFT_OUT) or fold_number(text) is not None


def faults(subsets: Sequence[tuple[str, str]], what: str = "subset") -> dict[str, list[str]]:
    """Find in (ID, subset) what makes no split, {fault: where}; `what` is called a subset there.

    >>> [*faults([("amos_0001", "fold0"), ("amos_0004", "val")]).values()]
    [[], ['val']]
    """
    words = {subset for _, subset in subsets}
    has_folds = any(fold_number(word) is not None for word in words)
    return {
        f"{what} is none of {WORDS}": [
            f"{key} {subset!r}" for key, subset in subsets if not is_subset(subset)
        ],
        f"{what} has folds and beside them": sorted({"train", "val"} & words) if has_folds else [],
    }


def at_hand(subsets: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """Return the subsets to make and to count: all, `UNLABELLED` where it is among those present.

    >>> at_hand(("train", "unlabelled"), ["train"]), at_hand(("val", "unlabelled"), ["unlabelled"])
    (('train',), ('val', 'unlabelled'))
    """
    found = {*present}
    return tuple(name for name in subsets if name != UNLABELLED or name in found)


def count(subsets: Iterable[str]) -> dict[str, int]:
    """Count the samples of each subset: train, val, test, folds, others, `LEFT_OUT`.

    The first three also where they have none, unless there are folds.

    >>> count(["test", "train", "excluded", "test"])
    {'train': 1, 'val': 0, 'test': 2, 'excluded': 1}
    >>> count(["test", "fold10", "fold9"])
    {'fold9': 1, 'fold10': 1, 'test': 1}
    """
    counts = collections.Counter(subsets)
    numbers = sorted(number for number in map(fold_number, counts) if number is not None)
    known = [*map(fold_name, numbers), "test"] if numbers else [*SUBSETS]
    others = sorted(counts.keys() - {*known, *LEFT_OUT})
    left_out = [name for name in LEFT_OUT if name in counts]
    return {name: counts[name] for name in (*known, *others, *left_out)}


def in_words(counts: Mapping[str, int]) -> str:
    """Put what `count` gives into words: ``240 train, 120 val, 240 test``."""
    return ", ".join(f"{number} {subset}" for subset, number in counts.items())


def odd_folds(subsets: Iterable[str]) -> list[str]:
    """Return the folds, in order, where they are not fold0, fold1 and so on, or one is alone.

    >>> odd_folds(["fold2", "fold0", "test"]), odd_folds(["fold0"]), odd_folds(["fold1", "fold0"])
    (['fold0', 'fold2'], ['fold0'], [])
    """
    numbers = sorted({number for number in map(fold_number, subsets) if number is not None})
    is_odd = numbers and numbers != list(range(max(len(numbers), 2)))
    return [fold_name(number) for number in numbers] if is_odd else []


def rows_of(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the rows of a worksheet, {ID: {column: text}}."""
    return dict(zip(table["ID"], table.to_dict("records")))


def published(table: pd.DataFrame) -> dict[str, str]:
    """Assign each sample, {ID: subset}, to the subset it was published in (column subset).

    A DatasetError where that is none of train, val, test and unlabelled.
    """
    require(table, "subset")
    known = (*SUBSETS, UNLABELLED)
    odd = table[~table["subset"].isin(known)]
    if len(odd):
        found = errors.listed(f"{key} {subset!r}" for key, subset in zip(odd["ID"], odd["subset"]))
        expected = ", ".join(known)
        message = f"subset is none of {expected}: {found}"
        raise errors.DatasetError(message, code="subset", expected=expected, found=found)
    return dict(zip(table["ID"], table["subset"]))


def require(table: pd.DataFrame, *columns: str) -> None:
    """Refuse, by a DatasetError, a worksheet Manifest that lacks one of these columns."""
    missing = [name for name in columns if name not in table]
    if missing:
        message = (
            f"worksheet {manifest.MAIN_SHEET}: no column {', '.join(map(repr, missing))}; found: "
            f"{', '.join(table)}"
        )
        raise errors.DatasetError(message, code="columns", expected=", ".join(columns))


def leaks(
    subsets: Mapping[str, str], patient_of: Mapping[str, str]
) -> dict[tuple[str, tuple[str, ...]], dict[str, str]]:
    """Find samples whose patient is in an earlier subset as well.

    Returns
    -------
    dict
        (subset, earlier ones) -> {ID: lowest ID of the patient there}, where there are any: of val
        those whose patient is in train, of test those in train or val; apart from these, of all
        three those in unlabelled.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for subset, earlier in (
        ("val", ("train",)),
        ("test", ("train", "val")),
        *((subset, (UNLABELLED,)) for subset in SUBSETS),
    ):
        first: dict[str, str] = {}
        for key in sorted(key for key in subsets if subsets[key] in earlier):
            first.setdefault(patient_of[key], key)
        divided = {
            key: first[patient_of[key]]
            for key in sorted(subsets)
            if subsets[key] == subset and patient_of[key] in first
        }
        if divided:
            found[subset, earlier] = divided
    return found


def by_patient(facts: DataSet) -> Choice:
    """Choose the published subsets, without samples whose patient is in an earlier subset.

    A sample of val whose patient is in train is `EXCLUDED`, and one of test whose patient is in
    train or val (see `patients.group`). The choice warns where nothing tells the patients.
    """

    def choose(table):
        if unnamed := patients.unnamed(facts):
            errors.warn(f"{unnamed}; this split is the published one")
        subsets = published(table)
        found = leaks(subsets, patients.group(rows_of(table), facts))
        for (_, earlier), divided in found.items():
            if earlier != (UNLABELLED,):
                subsets.update(dict.fromkeys(divided, EXCLUDED))
        return subsets

    return choose


def folds(
    facts: DataSet, n_folds: int, seed: int, subsets: Collection[str] = ("train", "val")
) -> Choice:
    """Choose folds for cross-validation: ``fold0`` and so on for samples of `subsets` with a mask.

    All others are test (unlabelled ones stay that), or `EXCLUDED` where their patient is in a
    fold. See `fold_dealing.deal`; a DatasetError where there are fewer patients than folds, or
    where `subsets` are not among train, val and test.
    """

    def choose(table):
        require(table, "mask")
        unknown = ", ".join(name for name in subsets if name not in SUBSETS)
        if unknown:
            text = f"folds of the subsets {unknown}: expected some of {', '.join(SUBSETS)}"
            raise errors.DatasetError(text, code="subset", found=unknown)
        rows, assigned = rows_of(table), published(table)
        dealt = {key: row for key, row in rows.items() if row["mask"] and assigned[key] in subsets}
        number_of = fold_dealing.deal(dealt, facts, n_folds, seed)
        patient_of = patients.group(rows, facts)
        inside = {patient_of[key] for key in dealt}
        for key, subset in assigned.items():
            if key in dealt:
                assigned[key] = fold_name(number_of[key])
            elif subset != UNLABELLED:
                assigned[key] = EXCLUDED if patient_of[key] in inside else "test"
        return assigned

    return choose


def leave_out(
    facts: DataSet, column: str, values: Collection[str], val_ratio: float, seed: int
) -> Choice:
    """Choose the samples with these values of a column for test, to train without them.

    Parameters
    ----------
    facts : module
    column : str
        Such as ``manufacturer_model_name``, ``manufacturer``, ``site``, ``sex``.
    values : collection of str
        Compared in their forms (see `forms.plain`).
    val_ratio : float
        Share of the samples to train on for val; 0 to 1.
    seed : int
        Another seed gives another val.

    Notes
    -----
    Samples with these values and a mask are test. The others with a mask are val and train,
    patients whole, see `across_sites`. `EXCLUDED` are all without a mask, and those whose patient
    is in test; unlabelled ones stay that, where neither a value nor a patient leaves them out.

    The choice raises DatasetError for a value that no sample has, and where nothing would be test,
    or train. A value with which no sample has a mask is warned about, and so are samples to train
    on of which the value is not known.
    """

    def choose(table):
        require(table, column, "subset", "mask")
        texts = table[column].map(lambda text: _in_form(column, text))
        wanted = {_in_form(column, value) for value in values}
        _check_known(table[texts != ""].assign(**{column: texts}), column, sorted(wanted))
        with_mask, is_left_out = table["mask"] != "", texts.isin(wanted)
        idle = sorted(wanted - {*texts[with_mask]})
        if wanted == {*idle}:
            text = f"no sample with {column} {' or '.join(idle)} has a mask: nothing would be test"
            raise errors.DatasetError(text, code="selection", found=", ".join(idle))
        if idle:
            errors.warn(f"{column} {', '.join(idle)}: none of its samples has a mask")
        patient_of = patients.group(rows_of(table), facts)
        assigned = dict.fromkeys(table.loc[with_mask & is_left_out, "ID"], "test")
        tested = {patient_of[key] for key in assigned}
        pool = [key for key in table.loc[with_mask, "ID"] if patient_of[key] not in tested]
        sides: dict[str, str] = {}
        _deal(collections.Counter(patient_of[key] for key in pool), sides, 0, val_ratio, seed)
        assigned |= {key: sides[patient_of[key]] for key in pool}
        if "train" not in assigned.values():
            text = f"nothing is left to train on: {len(assigned) - len(pool)} samples are test"
            text += f", {len(pool)} val"
            raise errors.DatasetError(text, code="empty")
        doubtful = table.loc[table["ID"].isin(pool) & texts.isin(["", facts.UNDEFINED]), "ID"]
        if len(doubtful):
            text = f"{column} of {len(doubtful)} samples to train on is not known"
            errors.warn(f"{text}: {errors.listed(doubtful)}")
        is_free = ~is_left_out & ~table["ID"].map(patient_of).isin(tested)
        kept = table.loc[is_free & (table["subset"] == UNLABELLED), "ID"]
        rest = dict.fromkeys(table["ID"], EXCLUDED) | dict.fromkeys(kept, UNLABELLED)
        return rest | assigned

    return choose


def _in_form(column, text):
    """A text in its form; what has none stays as it is."""
    return forms.plain(column, text) or forms.stripped(text)


def selected(wanted: dict[str, Sequence[str]]) -> Choice:
    """Choose a part of the samples, each in the subset it was published in.

    Parameters
    ----------
    wanted : dict of str to sequence of str
        Column to the values to select: ``{"site": ["Tongji"], "collection": ["train-val"]}``.

    Notes
    -----
    The choice raises DatasetError for a value that no sample has, and where nothing is selected;
    both say what there is. A value that selects nothing and a patient (column pid) in several
    subsets are warned about.
    """

    def choose(table):
        require(table, *wanted)
        for column, values in wanted.items():
            _check_known(table, column, values)
        part = table[table[list(wanted)].isin(wanted).all(axis=1)]
        if part.empty:
            existing = table[list(wanted)].agg(" ".join, axis=1).value_counts().sort_index()
            found = ", ".join(f"{names} ({count})" for names, count in existing.items())
            message = f"no sample has such {' and '.join(wanted)} together; there are: {found}"
            raise errors.DatasetError(message, code="selection", found=found)
        for column, values in wanted.items():
            idle = [value for value in values if value not in set(part[column])]
            if idle:
                errors.warn(f"{column} {', '.join(idle)}: none of its samples is selected")
        subsets = published(part)
        warn_of_divided(_pids(part), subsets)
        return subsets

    return choose


def _check_known(table, column, values):
    existing = sorted(set(table[column]))
    unknown = [value for value in values if value not in existing]
    if unknown:
        there = ", ".join(existing)
        message = f"no sample has {column} {', '.join(map(repr, unknown))}; there are: {there}"
        sides = {"expected": there, "found": ", ".join(unknown)}
        raise errors.DatasetError(message, code="selection", **sides)


def _pids(table):
    """{ID: pid}, empty where there is no such column."""
    return dict(zip(table["ID"], table["pid"])) if "pid" in table else {}


def warn_of_divided(
    patient_of: Mapping[str, str], subsets: Mapping[str, str], how_known: str = ""
) -> None:
    """Warn about patients in several subsets that are not left out.

    `patient_of` is ID to patient, empty where he is not known; `subsets` is ID to subset;
    `how_known` is said where the identity is no fact (see `patients.inferred`).
    """
    sides = collections.defaultdict(set)
    for key, subset in subsets.items():
        if patient_of.get(key) and subset not in LEFT_OUT:
            sides[patient_of[key]].add(subset)
    divided = [
        f"{name} ({', '.join(side for side in count(sides[name]) if side in sides[name])})"
        for name in sorted(sides)
        if len(sides[name]) > 1
    ]
    if divided:
        what = f"patients in several subsets{how_known and ', '}{how_known}"
        errors.warn(f"{what}: {errors.listed(divided)}")


def across_sites(kept_site: str, test_ratio: float, val_ratio: float, seed: int) -> Choice:
    """Mix the samples of all sites but one, which keeps its published subsets.

    Parameters
    ----------
    kept_site : str
        Value of the column site of the samples that stay as published.
    test_ratio : float
        Share of the other samples, pooled over their sites, for test; 0 to 1.
    val_ratio : float
        Share of the samples left then for val; 0 to 1.
    seed : int
        Another seed gives another split.

    Notes
    -----
    A subset of n samples with ratio r is to have floor(n r + 0.5). All samples of a patient go
    together, so that the size is the nearest one that sums of patients reach, the smaller of two
    equally near. Patients are taken in the order of the SHA-256 of ``<seed>:<pid>``, which no
    library and no order of the rows has a part in; a patient is left out where the size could not
    be reached with him. A sample without patient (column pid) is a DatasetError.

    A patient of the kept site keeps all samples on that side, and those elsewhere count for its
    size. Where the site itself divides a patient, the samples elsewhere go to the first of train,
    val, test that has one: the leak is the site's, and no more of val or test is touched by it.
    """

    def choose(table):
        require(table, "site", "pid")
        is_kept = table["site"] == kept_site
        kept, pool = table[is_kept], table[~is_kept]
        nameless = pool.loc[pool["pid"] == "", "ID"]
        if len(nameless):
            found = errors.listed(nameless)
            message = f"no patient (column pid) of {found}"
            raise errors.DatasetError(message, code="pid", found=found)
        subsets = published(kept)
        sides = {}
        for side in reversed(SUBSETS):  # the first of train, val, test counts
            sides.update(dict.fromkeys(kept.loc[kept["subset"] == side, "pid"], side))
        _deal(collections.Counter(pool["pid"]), sides, test_ratio, val_ratio, seed)
        subsets.update(zip(pool["ID"], pool["pid"].map(sides)))
        warn_of_divided(_pids(table), subsets)
        return subsets

    return choose


def _deal(sizes, sides, test_ratio, val_ratio, seed):
    """Give every patient of a pool, {pid: samples}, a side; those that have one keep it."""
    free = sorted(
        (pid for pid in sizes if pid not in sides),
        key=lambda pid: hashlib.sha256(f"{seed}:{pid}".encode()).digest(),
    )
    left = sizes.total()
    for side, ratio in (("test", test_ratio), ("val", val_ratio)):
        n_fixed = sum(size for pid, size in sizes.items() if sides.get(pid) == side)
        taken = _take([sizes[pid] for pid in free], math.floor(left * ratio + 0.5) - n_fixed)
        sides.update((free[index], side) for index in taken)
        left -= n_fixed + sum(sizes[free[index]] for index in taken)
        free = [pid for pid in free if pid not in sides]
    sides.update(dict.fromkeys(free, "train"))


def _take(sizes, target):
    """Indexes of the sizes that sum up nearest to the target; the first ones that do."""
    # Bit n of sums[k]: sizes k, k + 1, ... have a part that sums up to n.
    sums = [1]
    for size in reversed(sizes):
        sums.insert(0, sums[0] | sums[0] << size)
    nearest = min(
        (total for total in range(sum(sizes) + 1) if sums[0] >> total & 1),
        key=lambda total: (abs(total - target), total),
    )
    taken = []
    for index, size in enumerate(sizes):
        if size <= nearest and sums[index + 1] >> (nearest - size) & 1:
            taken.append(index)
            nearest -= size
    return taken

"""Choices of splits: a part of the samples, or all across sites; partial splits and their age."""

import collections
import itertools
import math
import random
import warnings

import pytest

from utils import errors
from utils.routines import split_choices, splits
from utils.storage import manifest, workbook

COLUMNS = ["ID", "site", "collection", "subset", "pid"]
OUTER = {"Yunnan": "test-outer-02", "Zhongnan": "test-outer-03", "HKU-SZH": "test-outer-04"}


def row(number, site, subset="test", pid=None, collection=None):
    collection = (
        collection or OUTER.get(site) or ("test-inner-01" if subset == "test" else "train-val")
    )
    pid = f"p{number}" if pid is None else pid
    return dict(zip(COLUMNS, (f"s{number}_{pid}", site, collection, subset, pid)))


def small():
    """Two published subsets of Tongji, two samples of Yunnan, one of Zhongnan."""
    return [
        row(1, "Tongji", "train"),
        row(2, "Tongji", "val"),
        row(3, "Tongji"),
        row(4, "Yunnan"),
        row(5, "Yunnan"),
        row(6, "Zhongnan"),
    ]


def table(rows):
    return workbook.frame(COLUMNS, rows)


def chosen(choose, rows):
    """{number of the sample: subset} and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subsets = choose(table(rows))
    return (
        {identifier.partition("_")[0]: subset for identifier, subset in subsets.items()},
        [str(warning.message) for warning in caught],
    )


def select(rows, sites, collections_):
    return chosen(split_choices.selected({"site": sites, "collection": collections_}), rows)


def across(rows, test_ratio=0.3, val_ratio=0.2, seed=0):
    return chosen(split_choices.across_sites("Tongji", test_ratio, val_ratio, seed), rows)


def pool(*sizes, site="Yunnan"):
    """Samples outside Tongji: patients q0, q1, ... with these numbers of scans."""
    numbers = itertools.count(100)
    return [
        row(next(numbers), site, pid=f"q{patient}")
        for patient, size in enumerate(sizes)
        for _ in range(size)
    ]


def counts(subsets):
    found = collections.Counter(subsets.values())
    return tuple(found[subset] for subset in split_choices.SUBSETS)


# ---- a part, as published


def test_samples_of_both_a_site_and_a_collection_are_taken_as_published():
    found, told = select(small(), ["Tongji"], ["train-val", "test-inner-01"])
    assert (found, told) == ({"s1": "train", "s2": "val", "s3": "test"}, [])
    assert select(small(), ["Tongji"], ["train-val"])[0] == {"s1": "train", "s2": "val"}
    found, told = select(small(), ["Zhongnan", "Yunnan"], ["test-outer-02", "test-outer-03"])
    assert (found, told) == (dict.fromkeys(["s4", "s5", "s6"], "test"), [])


@pytest.mark.parametrize(
    "sites, names, message",
    [
        (
            ["Yunan"],
            ["test-outer-02"],
            "no sample has site 'Yunan'; there are: Tongji, Yunnan, Zhong",
        ),
        (["Tongji", "HKU-SZH"], ["train-val"], "no sample has site 'HKU-SZH'"),
        (
            ["Tongji"],
            ["train-val", "x"],
            "no sample has collection 'x'; there are: test-inner-01, te",
        ),
        (
            ["Tongji"],
            ["test-outer-02"],
            r"together; there are: Tongji test-inner-01 \(1\), Tongji tra",
        ),
    ],
)
def test_unknown_sites_and_collections_list_what_there_is(sites, names, message):
    with pytest.raises(errors.DatasetError, match=message):
        select(small(), sites, names)


def test_a_site_without_selected_sample_is_told():
    found, told = select(small(), ["Yunnan", "Tongji"], ["test-outer-02", "test-outer-03"])
    assert found == {"s4": "test", "s5": "test"}
    assert told == [
        "site Tongji: none of its samples is selected",
        "collection test-outer-03: none of its samples is selected",
    ]


def test_a_patient_in_several_subsets_is_told():
    rows = [*small(), row(7, "Yunnan", pid="p1"), row(8, "Tongji", "train", pid="p1")]
    assert select(rows, ["Tongji"], ["train-val"])[1] == []
    assert select(rows, ["Tongji", "Yunnan"], ["train-val", "test-outer-02"])[1] == [
        "patients in several subsets: p1 (train, test)"
    ]


def test_an_unknown_subset_counts_only_where_it_is_selected():
    rows = [*small(), row(7, "Zhongnan", "tarin")]
    assert len(select(rows, ["Yunnan"], ["test-outer-02"])[0]) == 2
    with pytest.raises(errors.DatasetError, match="s7_p7 'tarin'"):
        select(rows, ["Zhongnan"], ["test-outer-03"])


def test_missing_columns_are_named():
    bare = workbook.frame(["ID", "subset", "site"], [])
    with pytest.raises(errors.DatasetError, match="no column 'collection'"):
        split_choices.selected({"site": ["a"], "collection": ["b"]})(bare)
    with pytest.raises(errors.DatasetError, match="no column 'pid'"):
        split_choices.across_sites("Tongji", 0.3, 0.2, 0)(bare)


# ---- across sites


@pytest.mark.parametrize("n", [*range(12), 15, 25, 101])
@pytest.mark.parametrize("test_ratio, val_ratio", [(0.3, 0.2), (0.5, 0.5), (0, 1), (1, 0), (0, 0)])
def test_sizes_are_rounded_half_up_and_val_is_of_the_rest(n, test_ratio, val_ratio):
    n_test = math.floor(n * test_ratio + 0.5)
    n_val = math.floor((n - n_test) * val_ratio + 0.5)
    found, told = across(pool(*[1] * n), test_ratio, val_ratio)
    assert counts(found) == (n - n_test - n_val, n_val, n_test)
    assert told == []


def test_tongji_is_kept_and_all_other_sites_are_one_pool():
    rows = small() + [row(number, "HKU-SZH", "train") for number in range(10, 17)]
    found, _ = across(rows)
    assert [found[name] for name in ("s1", "s2", "s3")] == ["train", "val", "test"]
    assert counts(found) == (1 + 6, 1 + 1, 1 + 3)  # 10 in the pool: 3, 1 of 7, 6


def test_the_split_of_a_seed_is_always_this_one():
    found, _ = across([row(number, "Yunnan") for number in range(10)])
    assert {name for name in found if found[name] == "test"} == {"s2", "s4", "s7"}
    assert {name for name in found if found[name] == "val"} == {"s5"}
    other, _ = across([row(number, "Yunnan") for number in range(10)], seed=1)
    assert other != found


def test_the_order_of_the_rows_does_not_count():
    rows = small() + pool(3, 1, 2, 2, 1, 1, 4, site="HKU-SZH")
    expected, _ = across(rows)
    generator = random.Random(0)
    for _ in range(10):
        generator.shuffle(rows)
        assert across(rows)[0] == expected


def reachable(sizes):
    """All sums of parts of some sizes, slowly."""
    return {
        sum(part)
        for count in range(len(sizes) + 1)
        for part in itertools.combinations(sizes, count)
    }


def nearest(sizes, target):
    return min(sorted(reachable(sizes)), key=lambda total: abs(total - target))


def test_no_patient_is_divided_and_the_nearest_size_is_taken():
    generator = random.Random(1)
    for seed in range(200):
        sizes = [generator.choice((1, 1, 2, 3, 5, 8)) for _ in range(generator.randrange(1, 9))]
        ratio, val_ratio = generator.random(), generator.random()
        found, told = across(pool(*sizes), ratio, val_ratio, seed)
        sides = collections.defaultdict(set)
        for line in pool(*sizes):
            sides[line["pid"]].add(found[line["ID"].partition("_")[0]])
        assert all(len(side) == 1 for side in sides.values()) and told == []
        _, n_val, n_test = counts(found)
        n = sum(sizes)
        assert n_test == nearest(sizes, math.floor(n * ratio + 0.5))
        rest = [size for patient, size in enumerate(sizes) if sides[f"q{patient}"] != {"test"}]
        assert n_val == nearest(rest, math.floor((n - n_test) * val_ratio + 0.5))


def test_of_two_equally_near_sizes_the_smaller_is_taken():
    assert counts(across(pool(2, 2), 0.25, 0)[0]) == (4, 0, 0)  # 1 wanted, 0 and 2 reachable


def test_every_patient_can_come_to_every_side():
    seen = collections.defaultdict(set)
    for seed in range(60):
        for name, side in across(pool(*[1] * 10), seed=seed)[0].items():
            seen[name].add(side)
    assert all(sides == {*split_choices.SUBSETS} for sides in seen.values())


def test_a_patient_of_the_kept_site_stays_on_its_side():
    rows = [
        row(1, "Tongji", "train", "a"),
        row(2, "Tongji", "val", "b"),
        row(3, "Tongji", "test", "c"),
        *(row(number, "Yunnan", pid=pid) for number, pid in enumerate("abbccdefgh", 10)),
    ]
    found, told = across(rows)
    expected = {"s10": "train", "s11": "val", "s12": "val", "s13": "test", "s14": "test"}
    assert {name: found[name] for name in expected} == expected
    # Of 10 in the pool 3 are for test: two of c and one more; of the 7 left one is, b has two.
    assert counts(found) == (1 + 5, 1 + 2, 1 + 3)
    assert told == []


def test_a_patient_divided_by_the_kept_site_joins_its_first_side():
    rows = [row(1, "Tongji", "test", "a"), row(2, "Tongji", "val", "a"), row(3, "Yunnan", pid="a")]
    found, told = across(rows, 0, 0)
    assert found["s3"] == "val"
    assert told == ["patients in several subsets: a (val, test)"]


def test_a_sample_without_patient_is_refused():
    with pytest.raises(errors.DatasetError, match=r"no patient \(column pid\) of s9_"):
        across([*small(), row(9, "Yunnan", pid="")])


def test_thousands_of_patients_are_quick():
    found, _ = across(pool(*[1, 2] * 2000))
    assert counts(found) == (3360, 840, 1800)


# ---- out of date


@pytest.fixture(name="path")
def manifest_path(tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    manifest.Target(path).write({"Manifest": table(small())})
    return path


def out_of_date(path, table):
    return splits.out_of_date(workbook.Workbook(path), table)


def add_partial(path):
    splits.make_sheet(
        path,
        "part",
        split_choices.selected(
            {"site": ["Yunnan", "Tongji"], "collection": ["test-outer-02", "train-val"]}
        ),
    )


@pytest.mark.parametrize(
    "change, is_current",
    [
        (lambda rows: None, True),
        (lambda rows: rows.pop(5), True),  # of Zhongnan
        (lambda rows: rows.append(row(9, "Zhongnan")), True),
        (lambda rows: rows.append(row(9, "Tongji")), True),  # of another collection
        (lambda rows: rows[5].update(pid="other"), True),
        (lambda rows: rows.insert(0, row(0, "Yunnan")), False),
        (lambda rows: rows.append(row(9, "Tongji", "train")), False),
        (lambda rows: rows.pop(3), False),
        (lambda rows: rows[3].update(subset="val"), False),
        (lambda rows: rows[3].update(collection="test-outer-09"), False),
        (lambda rows: rows[5].update(site="Yunnan", collection="test-outer-02"), False),
        (lambda rows: rows.reverse(), False),
    ],
)
def test_a_partial_split_is_current_until_its_part_changes(path, change, is_current):
    add_partial(path)
    rows = small()
    change(rows)
    assert out_of_date(path, table(rows)) == ([] if is_current else ["part"])


def test_a_new_column_makes_a_partial_split_out_of_date(path):
    add_partial(path)
    assert splits.out_of_date(
        workbook.Workbook(path), workbook.frame([*COLUMNS, "new"], small())
    ) == ["part"]


def test_a_split_across_sites_must_hold_every_sample(path):
    splits.make_sheet(path, "mix", split_choices.across_sites("Tongji", 0.3, 0.2, 0))
    assert out_of_date(path, table(small())) == []
    assert out_of_date(path, table([*small(), row(9, "HKU-SZH")])) == ["mix"]


def test_extracting_from_a_partial_split_tells_nothing(path, tmp_path):
    add_partial(path)
    done = splits.extract(path, "part", [("test",)], tmp_path / "out")
    assert not done.is_out_of_date
    assert done.summary == [f"{tmp_path / 'out' / 'part_test.xlsx'}: 2 samples"]

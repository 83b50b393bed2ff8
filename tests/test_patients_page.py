"""The tables of docs/patients.md are what the official table, dataset.json and the sizes say.

``python tests/test_patients_page.py`` writes them anew. Skipped by name where the data do not lie
beside the project.
"""

import collections
import itertools
import math
import re

import pytest
import tiny_amos22

PAGE = tiny_amos22.REPOSITORY / "docs/patients.md"
TABLE = re.compile(r"^<!-- table: (\w+) -->\n((?:\|.*\n)*)", re.M)
ORDER = ("train", "val", "test")
# Two spleens agree when the larger one has at most this many times the size of the other.
AGREE = 1.25
DAYS_PER_YEAR = 365.25
N_FOLDS = 5
pytestmark = pytest.mark.skipif(
    not tiny_amos22.IS_THERE, reason="no ../shared/data with the official table and split"
)


def number(key):
    return key.removeprefix("amos_")


def families():
    """Scans of each patient who has several."""
    return sorted({keys for keys in tiny_amos22.patients().values() if len(keys) > 1})


def share(keys, *columns):
    """Whether scans have the same cells in these columns."""
    scans = tiny_amos22.scans()
    return len({tuple(scans[key][column] for column in columns) for key in keys}) == 1


def is_one_examination(pair):
    return share(pair, "acquisition_date", "manufacturer_model_name")


def examinations(keys):
    """These scans, by day and scanner."""
    found = collections.defaultdict(list)
    for key in keys:
        scan = tiny_amos22.scans()[key]
        found[scan["acquisition_date"], scan["manufacturer_model_name"]].append(key)
    return sorted(found.values())


def in_subset(keys, subset):
    return [key for key in keys if tiny_amos22.scans()[key]["subset"] == subset]


def earlier(key, modality=None):
    """{earlier subset: scans of the same patient in it}, of one modality if it is given."""
    scans = tiny_amos22.scans()
    family = [k for k in tiny_amos22.patients()[key] if modality in (None, scans[k]["modality"])]
    before = ORDER[: ORDER.index(scans[key]["subset"])]
    return {subset: found for subset in before if (found := in_subset(family, subset))}


def leaks(subset, modality=None):
    scans = tiny_amos22.scans()
    keys = [key for key in scans if modality in (None, scans[key]["modality"])]
    return {
        key: earlier(key, modality) for key in in_subset(keys, subset) if earlier(key, modality)
    }


def rests_on_one_examination(key):
    others = itertools.chain(*earlier(key).values())
    return any(is_one_examination((key, other)) for other in others)


def spleens(pair):
    """How many times the size of the smaller spleen the larger one has; None if one is unknown."""
    measured = tiny_amos22.measured()
    sizes = sorted(float(measured[key]["spleen_ml"]) for key in pair if key in measured)
    return sizes[1] / sizes[0] if len(sizes) == 2 and sizes[0] else None


# --- how many of these may be chance -------------------------------------------------------------


def people():
    """A scan of each patient."""
    return sorted({keys[0] for keys in tiny_amos22.patients().values()})


def pairs_of_one_birth_year(same_sex):
    scans = tiny_amos22.scans()
    return [
        (a, b)
        for a, b in itertools.combinations(people(), 2)
        if scans[a]["birth_date"][:4] == scans[b]["birth_date"][:4]
        if (scans[a]["sex"] == scans[b]["sex"]) == same_sex
    ]


def born_on_new_years_day(keys):
    return [key for key in keys if tiny_amos22.scans()[key]["birth_date"].endswith("0101")]


def chance_of_one_day(with_placeholders):
    """How likely two people of one birth year have one birth date."""
    if not with_placeholders:
        return 1 / DAYS_PER_YEAR
    first = len(born_on_new_years_day(people())) / len(people())
    return first**2 + (1 - first) ** 2 / (DAYS_PER_YEAR - 1)


def joins():
    """Examinations that birth date and sex alone join to an earlier one of the patient."""
    return [group for keys in families() for group in examinations(keys)[1:]]


def joins_across_hospitals():
    found = []
    for keys in families():
        sites = {tiny_amos22.scans()[key]["site"] for key in keys}
        found += [keys] * (len(sites) - 1)
    return found


# --- tables --------------------------------------------------------------------------------------


def markdown(header, rows):
    lines = [[f" {cell} " if cell != "" else " " for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "".join(f"|{'|'.join(line)}|\n" for line in lines)


def counts_table():
    columns = (None, "CT", "MRI")
    scans = tiny_amos22.scans()

    def line(text, count):
        return [text, *(count(modality) for modality in columns)]

    def of(subset):
        def count(modality):
            all_of = [k for k in in_subset(scans, subset) if modality in (None, modality_of(k))]
            return f"{len(leaks(subset, modality))} of {len(all_of)}"

        return count

    def of_train(modality):
        return sum("train" in subsets for subsets in leaks("test", modality).values())

    rows = [
        line("val scans that show a patient of train", of("val")),
        line("test scans that show a patient of train or val", of("test")),
        line("of these, of train", of_train),
    ]
    return markdown(["", "CT and MRI together", "CT alone", "MRI alone"], rows)


def modality_of(key):
    return tiny_amos22.scans()[key]["modality"]


def leaks_table(subset):
    before = ORDER[: ORDER.index(subset)]
    rows = []
    for key, found in leaks(subset).items():
        others = [*itertools.chain(*found.values())]
        rows.append(
            [
                number(key),
                *(listed(found.get(name, [])) for name in before),
                yes(rests_on_one_examination(key)),
                yes(any(share((key, other), "site") for other in others)),
            ]
        )
    header = [f"{subset} scan", *(f"in {name}" for name in before)]
    return markdown([*header, "same day and scanner", "same hospital"], rows)


def listed(keys):
    return " ".join(map(number, keys))


def yes(is_so):
    return "yes" if is_so else "no"


def patients_table():
    rows = [
        [
            number(keys[0]),
            *(listed(in_subset(keys, subset)) for subset in ORDER),
            "; ".join(listed(group) for group in examinations(keys) if len(group) > 1),
        ]
        for keys in families()
    ]
    return markdown(["patient", *ORDER, "on the same day, in the same scanner"], rows)


def evidence_table():
    pairs, scans = tiny_amos22.pairs(), tiny_amos22.scans()
    sizes = collections.Counter(map(len, set(tiny_amos22.patients().values())))
    ratios = [ratio for pair in pairs if (ratio := spleens(pair))]
    strangers = [
        ratio
        for pair in itertools.combinations(scans, 2)
        if share(pair, "sex") and not share(pair, "birth_date") and (ratio := spleens(pair))
    ]
    one_day = [pair for pair in pairs if is_one_examination(pair)]
    other_sex = [
        pair
        for pair in itertools.combinations(scans, 2)
        if share(pair, "birth_date") and not share(pair, "sex")
    ]
    assert len(ratios) == 24
    agreeing = sum(ratio <= AGREE for ratio in ratios)
    by_chance = sum(ratio <= AGREE for ratio in strangers) / len(strangers) * len(ratios)
    rows = [
        ["patients with 1, 2, 3, 7 scans", ", ".join(str(sizes[size]) for size in sorted(sizes))],
        ["pairs of scans of one patient", len(pairs)],
        ["of these, of the same day and scanner", len(one_day)],
        ["of the 75, with both spleens outlined", len(ratios)],
        ["spleens that differ by a quarter at most, of these 24 pairs", agreeing],
        ["the same, of 24 pairs of other people of one sex", f"{by_chance:.0f}"],
        ["pairs of one birth date, but not of one sex", len(other_sex)],
        [
            "pairs whose birth date is 1 January",
            sum(len(born_on_new_years_day(pair)) == 2 for pair in pairs),
        ],
    ]
    return markdown(["", "number"], rows)


def chance_table():
    same, other = (pairs_of_one_birth_year(same_sex) for same_sex in (True, False))
    across = [pair for pair in same if not share(pair, "site")]
    columns = (same, across, other)
    seen_other = sum(share(pair, "birth_date") for pair in other)
    rows = [
        ["pairs of patients of one birth year", *map(len, columns)],
        *(
            [
                f"expected to share the day by chance, {text}",
                *(f"{len(pairs) * chance_of_one_day(is_real):.1f}" for pairs in columns),
            ]
            for text, is_real in (
                ("all days alike", False),
                ("1 January as frequent as here", True),
            )
        ),
        ["seen", len(joins()), len(joins_across_hospitals()), seen_other],
    ]
    return markdown(["", "same sex", "of these at two hospitals", "other sex"], rows)


def random_table():
    """Of random folds: a scan with m labelled others of its patient has none in its training set
    when all of them are in its own fold."""
    labelled = [k for k, scan in tiny_amos22.scans().items() if scan["subset"] != "test"]
    others = collections.Counter(
        len({*tiny_amos22.patients()[key]} & {*labelled}) - 1 for key in labelled
    )
    in_fold, in_all = len(labelled) // N_FOLDS - 1, len(labelled) - 1
    expected = sum(
        n * (1 - math.comb(in_fold, m) / math.comb(in_all, m)) for m, n in others.items()
    )
    rows = [
        ["scans with a mask", len(labelled)],
        ["of these, with another scan of the patient among them", len(labelled) - others[0]],
        [f"validated in {N_FOLDS} random folds on a patient of the training", f"{expected:.0f}"],
    ]
    return markdown(["", "scans"], rows)


def firm_table():
    rows = []
    for subset in ("val", "test"):
        found = leaks(subset)
        firm = [key for key in found if rests_on_one_examination(key)]
        rows.append([subset, len(found), len(firm), len(found) - len(firm)])
    header = ["subset", "scans", "same day and scanner, too", "birth date and sex alone"]
    return markdown(header, rows)


def doubtful_table():
    rows = [
        [listed(pair), f"{ratio:.2f}", " and ".join(tiny_amos22.scans()[k]["subset"] for k in pair)]
        for pair in tiny_amos22.pairs()
        if is_one_examination(pair) and (ratio := spleens(pair)) and ratio > 1.5
    ]
    return markdown(["scans", "ratio of the spleens", "subsets"], rows)


TABLES = {
    "counts": counts_table,
    "val": lambda: leaks_table("val"),
    "test": lambda: leaks_table("test"),
    "patients": patients_table,
    "evidence": evidence_table,
    "chance": chance_table,
    "random": random_table,
    "firm": firm_table,
    "doubtful": doubtful_table,
}


def read():
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_page_are_what_the_data_say(name):
    assert dict(TABLE.findall(read()))[name] == TABLES[name]()


def test_the_page_has_each_table_once():
    assert sorted(name for name, _ in TABLE.findall(read())) == sorted(TABLES)


def test_patients_in_doubt_are_those_that_the_page_names():
    text = " ".join(read().split())
    assert [listed(keys) for keys in joins_across_hospitals()] == [
        "0008 0550",
        "0029 0104 0575",
        "0102 0207",
        "0306 0537",
    ]
    assert "0008 and 0550, 0102 and 0207, 0306 and 0537, and 0575 with 0029 and 0104" in text
    placeholders = [keys for keys in families() if born_on_new_years_day(keys)]
    assert [listed(keys) for keys in placeholders if len(examinations(keys)) > 1] == [
        "0112 0526",
        "0306 0537",
    ]
    assert len(born_on_new_years_day(people())) == 12 and "12 of 544, are born on 1 January" in text
    assert "different days: 0112 and 0526, 0306 and 0537. The third pair, 0298 and 0329" in text
    assert [listed(keys) for keys in placeholders if len(examinations(keys)) == 1] == ["0298 0329"]


def test_how_many_of_the_leaks_may_be_chance():
    by_date = [
        k for name in ("val", "test") for k in leaks(name) if not rests_on_one_examination(k)
    ]
    expected = len(pairs_of_one_birth_year(True)) * chance_of_one_day(with_placeholders=True)
    assert len(by_date) == 19 and len(joins()) == 27
    assert round(len(by_date) * expected / len(joins())) == 3


def test_the_largest_family_has_the_most_pairs():
    largest = max(families(), key=len)
    assert (number(largest[0]), len(largest), math.comb(len(largest), 2)) == ("0160", 7, 21)
    mri = [key for key in leaks("test") if modality_of(key) == "MRI"]
    assert (len(mri), len({*mri} & {*largest})) == (6, 4)


def test_what_06_says_stands_on_the_page():
    told = re.findall(
        "^note split01_standard: ([0-9]+) of [0-9]+ (val|test) .*: (.+)$", read(), re.M
    )
    assert [(subset, keys.split(", ")) for _, subset, keys in told] == [
        (subset, list(leaks(subset))) for subset in ("val", "test")
    ]
    assert [int(count) for count, _, _ in told] == [12, 17]


def with_current_tables(text):
    return TABLE.sub(lambda found: f"<!-- table: {found[1]} -->\n{TABLES[found[1]]()}", text)


if __name__ == "__main__":
    PAGE.write_text(with_current_tables(read()), encoding="utf-8")

"""Patterns made of the names of files."""

import string
import time

import layouts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.facts import file_patterns
from utils.routines import draft_names

# Layout -> pattern of the volumes, pattern of the masks; types by name where the name tells it.
PATTERNS = {
    "two folders": ("images/{seq}.nii.gz", "labels/{seq}.nii.gz"),
    "CT-ORG": ("volume-{seq}.nii.gz", "labels-{seq}.nii.gz"),
    "BTCV": (
        "{subset:Testing|Training}/img/img{seq}.nii.gz",
        "{subset:Training}/label/label{seq}.nii.gz",
    ),
    "KiTS": ("case_{seq}/imaging.nii.gz", "case_{seq}/segmentation.nii.gz"),
    "MSD": ("images{subset:Tr|Ts}/liver_{seq}.nii.gz", "labels{subset:Tr}/liver_{seq}.nii.gz"),
    "TotalSegmentator": ("{seq}/ct.nii.gz", "{seq}/segmentations/{organ:[A-Za-z0-9_]+}.nii.gz"),
    "AMOS22": (
        "images{subset:Tr|Ts|Va}/amos_{seq}.nii.gz",
        "labels{subset:Tr|Va}/amos_{seq}.nii.gz",
    ),
    "NME": tuple(
        f"{kind}{{subset:Tr|Ts|Vd}}/NME-Seg_{{seq}}.{{patient}}.nii.gz"
        for kind in ("images", "labels")
    ),
    "patients": ("{patient}/scan{seq}/ct.nii.gz", "{patient}/scan{seq}/seg.nii.gz"),
    "scans in names": ("images/{patient}_scan{seq}.nii.gz", "labels/{patient}_scan{seq}.nii.gz"),
    "long names": ("images/2020_{seq}_a.nii.gz", "labels/2020_{seq}_a.nii.gz"),
    "blanks": ("Bilder images/Patient {seq}.nii.gz", "Bilder labels/Patient {seq}.nii.gz"),
    "umlauts": ("images/{seq:[^/]+}.nii.gz", "labels/{seq:[^/]+}.nii.gz"),
    "organs in names": ("images/{seq}.nii.gz", "labels/{seq}_{organ:[A-Za-z0-9_]+}.nii.gz"),
    "nnU-Net": ("imagesTr/liver_{seq}_{channel}.nii.gz", "labelsTr/liver_{seq}.nii.gz"),
    "BraTS": ("B_{seq}_{channel:flair|t1|t1ce}.nii.gz", "B_{seq}_seg.nii.gz"),
    "centers": ("center {patient}/images/{seq}.nii.gz", "center {patient}/labels/{seq}.nii.gz"),
    "one sample": ("images/{seq}.nii.gz", "labels/{seq}.nii.gz"),
    "one folder": ("{seq}/ct.nii.gz", "{seq}/seg.nii.gz"),
    "folders of folders": ("images/{seq}/scan.nii.gz", "labels/{seq}/scan.nii.gz"),
}


def read(paths, is_whole=False):
    """The series of volumes and of masks; what the names do not tell is a volume."""
    typed = draft_names.typed(sorted(paths), lambda some: False)
    found = draft_names.series_of(typed, is_whole)
    return [[one for one in found if one.type == kind] for kind in ("v3d", "m3d")]


@pytest.mark.parametrize("layout", PATTERNS)
def test_patterns(layout):
    volumes, masks = read(sum(layouts.LAYOUTS[layout], []))
    assert ([one.text for one in volumes], [one.text for one in masks]) == (
        [PATTERNS[layout][0]],
        [PATTERNS[layout][1]],
    )


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_file_fits_its_own_pattern_with_its_own_texts(layout):
    for series in sum(read(sum(layouts.LAYOUTS[layout], [])), []):
        pattern = file_patterns.Pattern(series.text)
        assert pattern.fault(("seq", "subset", "patient", "organ", "channel")) == ""
        for path, key in zip(series.paths, series.keys):
            groups = pattern.match(path)
            assert tuple(groups.get(name, "") for name in ("subset", "patient", "seq")) == key


def test_names_that_tell_no_type():
    volumes, masks = read(sum(layouts.LAYOUTS["suffix"], []))
    assert [one.text for one in volumes + masks] == ["{seq}.nii.gz", "{seq}_seg.nii.gz"]


def test_all_that_varies_as_one():
    volumes, _ = read(sum(layouts.LAYOUTS["scans in names"], []), is_whole=True)
    assert [one.text for one in volumes] == ["images/{seq:[A-Za-z0-9_]+}.nii.gz"]


def test_a_text_that_stands_again_after_another():
    (series,) = read([f"{n}_{n % 2}{n % 3}_{n}.nii.gz" for n in range(5)])[0]
    assert series.text == "{seq:[A-Za-z0-9_]+}.nii.gz"


def test_a_narrower_expression_where_one_fits():
    (series,) = read([f"{name}.nii.gz" for name in ("ana", "bo", "cy")])[0]
    assert series.text == "{seq}.nii.gz"
    for _ in range(2):
        draft_names.tighten(series)
        assert series.text == "{seq:[A-Za-z0-9]+}.nii.gz"


def test_a_series_gets_a_subset_by_the_first_word_of_its_names():
    (series,) = read([f"Case_{n:05d}.nii.gz" for n in range(3)])[0]
    assert draft_names.give_subset(series) == "Case"
    assert series.text == "{subset:Case}_{seq}.nii.gz"
    assert file_patterns.Pattern(series.text).match("Case_00001.nii.gz")["subset"] == "Case"


_ODD = st.text(string.ascii_letters + string.digits + "-_ .äß王", min_size=1, max_size=8)
_WORDS = "images labels ct seg 1 2 01 001 a Tr Ts train liver 0000 0001 pat1 pat2 scan1 x ä"
_USUAL = st.tuples(
    st.sampled_from(["_", "-", "", ".", " "]),
    st.lists(st.sampled_from(_WORDS.split()), min_size=1, max_size=3),
).map(lambda found: found[0].join(found[1]))
_PART = st.one_of(_ODD, _USUAL).filter(lambda text: text.strip(" .") == text)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.lists(st.lists(_PART, min_size=1, max_size=4), min_size=1, max_size=12))
def test_any_names_give_patterns_that_fit_them(names):
    paths = sorted({"/".join(parts) + ".nii.gz" for parts in names})
    for is_whole in (False, True):
        series = sum(read(paths, is_whole), [])
        left = {*paths}.difference(*(one.paths for one in series))
        assert sum(len(one.paths) for one in series) == len(paths) - len(left)
        assert all(path.count("/") > 1 for path in left)  # told apart by three parts
        for one in series:
            pattern = file_patterns.Pattern(one.text)
            assert pattern.fault(("seq", "subset", "patient", "organ", "channel")) == ""
            assert all(pattern.match(path) for path in one.paths), one.text


def test_a_hundred_thousand_names_take_seconds():
    organs = [f"organ_{letter}{other}" for letter in "abcdefghij" for other in "abcdefghij"]
    paths = [f"s{n:04d}/segmentations/{organ}.nii.gz" for n in range(1000) for organ in organs]
    paths += [f"s{n:04d}/ct.nii.gz" for n in range(1000)]
    begun = time.process_time()
    volumes, masks = read(paths)
    assert time.process_time() - begun < 30
    assert [len(volumes[0].paths), len(masks[0].paths)] == [1000, 100_000]

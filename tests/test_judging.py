"""Flags: each fault beside a group, thresholds on both sides, and groups too small to judge."""

import collections
import dataclasses
import itertools
import re

import labelled_cases
import numpy as np
import pytest

from utils.facts import amos22, known_faults
from utils.qc import comparing, confirming, evidence, gathering, judging

_PLACES = {
    "liver": (60, 0, 50),
    "spleen": (-80, 0, 40),
    "right_kidney": (60, -40, 0),
    "left_kidney": (-60, -40, 5),
    "aorta": (0, -30, 20),
}


def _organ(value, volume_ml, centre, **more):
    return {
        "value": value,
        "volume_ml": volume_ml,
        "centre": list(map(float, centre)),
        "at": [value, 0, 0],
        "at_edge": False,
        "pieces": [],
        "cuts": [],
        "cuts_at": [],
        **more,
    }


def _piece(share, gap_mm, at=(0, 0, 0)):
    return {"share": share, "gap_mm": gap_mm, "at": list(at)}


def _labels(names):
    """Labels 1, 2, ... of these names."""
    return dict(enumerate(names, 1))


def _finding(sex="M", seed=0, modality="CT", label_names=(), **more):
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 100, 3)  # where the scanner put its origin
    organs = {
        name: _organ(
            value, 1000 * np.exp(rng.normal(0, 0.05)), offset + place + rng.normal(0, 3, 3)
        )
        for value, (name, place) in enumerate(_PLACES.items(), 1)
    }
    return evidence.Findings(
        **{
            "name": f"s{seed}",
            "modality": modality,
            "sex": sex,
            "spacing": (0.8, 0.8, 5.0),
            "orientation": "LAS",
            "axis_codes": "LAS",
            "organs": organs,
            "label_names": _labels(label_names),
            **more,
        }
    )


def _group(n, **more):
    return [_finding(seed=seed, **more) for seed in range(n)]


def _kinds(findings):
    return [sorted({flag.kind for flag in flags}) for flags in judging.judge(findings)]


def _reasons(findings, number):
    return [flag.reason for flag in judging.judge(findings)[number]]


def test_a_group_without_faults_has_no_flag():
    assert _kinds(_group(12)) == [[]] * 12


@pytest.mark.parametrize(
    "factor, kinds", [(0.4, ["volume"]), (0.6, []), (1.6, []), (2.5, ["volume"])]
)
def test_a_volume_far_from_the_others(factor, kinds):
    findings = _group(10)
    findings[3].organs["liver"]["volume_ml"] = 1000 * factor
    found = _kinds(findings)
    assert found[3] == kinds
    assert found[:3] + found[4:] == [[]] * 9
    assert all("liver" in reason and "median" in reason for reason in _reasons(findings, 3))


def test_too_few_samples_are_no_yardstick():
    findings = _group(comparing.LEAST_GROUP - 1)
    findings[3].organs["liver"]["volume_ml"] = 100
    assert _kinds(findings)[3] == []


def test_small_groups_of_one_sex_are_judged_by_their_modality():
    findings = _group(8, sex="F") + _group(2, sex="M")
    findings[9].organs["liver"]["volume_ml"] = 100
    assert _kinds(findings)[9] == ["volume"]
    assert "(CT)" in _reasons(findings, 9)[0]


def test_what_the_image_cuts_off_is_not_compared():
    findings = _group(10)
    findings[3].organs["liver"].update(volume_ml=100, at_edge=True)
    assert _kinds(findings)[3] == []


@pytest.mark.parametrize("off_mm, kinds", [(30, []), (60, ["position"])])
def test_a_misplaced_organ_is_flagged_and_the_others_are_not(off_mm, kinds):
    findings = _group(10)
    findings[5].organs["aorta"]["centre"][2] += off_mm
    assert _kinds(findings)[5] == kinds
    assert all("aorta" in reason and "further up" in reason for reason in _reasons(findings, 5))


def test_swapped_twins_need_no_group():
    one = _finding()
    right, left = (one.organs[f"{side}_kidney"] for side in ("right", "left"))
    right["centre"], left["centre"] = left["centre"], right["centre"]
    assert _kinds([one]) == [["left/right"]]


@pytest.mark.parametrize(
    "sex, name, kinds",
    [
        ("M", "uterus", ["sex"]),
        ("F", "prostate", ["sex"]),
        ("M", "prostate", []),
        ("F", "uterus", []),
        ("UND", "uterus", []),
    ],
)
def test_an_organ_of_the_other_sex(sex, name, kinds):
    one = _finding(sex=sex)
    one.organs[name] = _organ(16, 30, (0, 0, -200))
    assert _kinds([one]) == [kinds]


def test_a_missing_organ_where_nearly_all_others_have_it():
    findings = _group(5)
    del findings[0].organs["spleen"]
    assert _kinds(findings) == [["organ missing"], [], [], [], []]
    few = _group(4)
    del few[0].organs["spleen"]
    assert _kinds(few)[0] == []


ALONE = "There is no spleen; practically everybody has one in an abdominal scan."


def test_an_organ_that_everybody_has_needs_no_group():
    one = _finding(label_names=[*_PLACES, "stomach", "bladder"])
    del one.organs["spleen"]
    assert [flag.reason for flag in judging.judge([one])[0]] == [
        ALONE,
        ALONE.replace("spleen", "stomach"),
    ]
    assert _kinds([one]) == [["organ missing"]]
    one.label_names = _labels(["liver", "bladder"])
    assert _kinds([one]) == [[]]  # nobody was asked to annotate it


def test_of_one_missing_organ_there_is_one_flag_and_a_comparison_comes_first():
    findings = _group(5, label_names=[*_PLACES])
    del findings[0].organs["spleen"]
    compared = ["There is no spleen; 4 of the 4 other CT samples have one."]
    assert _reasons(findings, 0) == compared
    del findings[1].organs["spleen"]  # most others have one still, but not 90 percent of them
    assert [_reasons(findings, number) for number in range(3)] == [[ALONE], [ALONE], []]


def test_a_mask_that_is_empty_or_not_there_lacks_no_single_organ():
    names = [*_PLACES]
    findings = [_finding(organs=organs, label_names=names) for organs in ({}, None)]
    assert [[flag.reason for flag in flags] for flags in judging.judge(findings)] == [
        ["The mask is empty."],
        [],
    ]


@pytest.mark.parametrize(
    ("low", "high", "is_flagged"),
    [(-4096, 10_000, False), (-4096.5, 100, True), (-1024, 10_000.5, True), (-1024, 3071, False)],
)
def test_values_that_are_no_hounsfield_units(low, high, is_flagged):
    values, reason = (float(low), float(high)), f"Values from {low:g} to {high:g}, expected "
    expected = [f"{reason}Hounsfield units (-4096 to 10000)."] * is_flagged
    for organs in (None, _finding().organs):  # also without a mask
        assert _reasons([_finding(values=values, organs=organs)], 0) == expected
    assert _kinds([_finding(values=values)]) == [["intensity"] * is_flagged]
    assert _kinds([_finding(values=values, modality="MRI")]) == [[]]


def test_what_the_facts_say_of_the_scanner_is_a_flag():
    one = _finding(scanner_faults=["Odd grid.", "Odd values."], organs=None)
    seen = "spacing 0.8 x 0.8 x 5 mm, values from 0 to 0"
    assert judging.judge([one]) == [
        [
            judging.Flag("scanner", "doubtful", reason, evidence=seen)
            for reason in ("Odd grid.", "Odd values.")
        ]
    ]


def _visit(spleens_ml, **more):
    findings = [_finding(seed=seed, visit="amos_0001 20200102") for seed in range(len(spleens_ml))]
    for one, spleen_ml in zip(findings, spleens_ml):
        one.organs["spleen"].update(volume_ml=spleen_ml, **more)
    return findings


def test_spleens_of_one_patient_on_one_day_that_differ_by_more_than_half():
    assert _kinds(_visit([150.0, 100.0])) == [[], []]
    findings = _visit([150.1, 100.0])
    assert _kinds(findings) == [["patient"], ["patient"]]
    assert _reasons(findings, 1) == [
        "The spleen has 100 ml, that of the same patient on the same day by the metadata 150.1 ml "
        "in s0: apart by more than a factor of 1.5."
    ]
    assert _kinds(_visit([100.0, 150.1], at_edge=True)) == [[], []]
    assert [len(flags) for flags in judging.judge(_visit([100.0, 140.0, 200.0]))] == [1, 0, 1]


def test_of_many_spleens_under_one_patient_a_sample_has_one_flag():
    """Birth dates and days that stand for unknown ones make a patient of everybody."""
    findings = _visit([100.0] + [201.0 + number for number in range(6)])
    assert [len(flags) for flags in judging.judge(findings)] == [1] * 7
    assert _reasons(findings, 0) == [
        "The spleen has 100 ml, that of the same patient on the same day by the metadata 201 ml in "
        "s1, 202 ml in s2, 203 ml in s3, 204 ml in s4, 205 ml in s5 and 1 more: apart by more than "
        "a factor of 1.5."
    ]


def test_spleens_of_other_days_and_unknown_patients_are_not_compared():
    findings = _visit([100.0, 200.0])
    findings[1].visit = "amos_0001 20200103"
    assert _kinds(findings) == [[], []]
    for one in findings:
        one.visit = ""
    assert _kinds(findings) == [[], []]


def test_a_visit_is_known_where_patient_and_day_are():
    born = {"birth_date": "1960-01-02", "sex": "f", "acquisition_date": "20200304"}
    rows = {
        "amos_0004": born,
        "amos_0001": {**born, "birth_date": "19600102", "sex": "F"},
        "amos_0005": {**born, "sex": "UND"},
        "amos_0006": {**born, "acquisition_date": "soon"},
        "amos_0007": {},
    }
    one, other, *unknown = gathering.visits(rows, amos22).values()
    assert one == other != "" and unknown == ["", "", ""]


@labelled_cases.needed
def test_of_the_labelled_scans_just_those_that_are_known_are_flagged():
    cases = labelled_cases.read()
    rows = {name: row for name, (_, row) in cases.items()}
    visits = gathering.visits(rows, amos22)
    found = {name: labelled_cases.finding(name, visit=visits[name]) for name in cases}
    kinds = collections.defaultdict(set)
    for name, flags in zip(found, judging.judge([*found.values()])):
        for flag in flags:
            kinds[flag.kind].add(name)
    listed = collections.defaultdict(set)
    for fault in known_faults.of(amos22):
        if known_faults.is_open(fault, amos22):
            listed[fault.kind].add(fault.id)
    assert {name[-4:] for name in kinds["intensity"]} == {"0067", "0136"}
    assert listed["intensity"] - kinds["intensity"] == {"amos_0540"}  # MRI
    assert {name[-4:] for name in kinds["scanner"]} == {"0517", "0518", "0578", "0588", "0590"}
    assert kinds["scanner"] == listed["scanner"]
    assert kinds["patient"] == listed["patient"]
    assert kinds["organ missing"] == listed["organ"]


def test_an_empty_mask_is_flagged_and_no_mask_is_not():
    assert _kinds([_finding(organs={}), _finding(organs=None)]) == [["organ missing"], []]


@pytest.mark.parametrize(
    "name, gap_mm, at_edge, kinds",
    [
        ("liver", 2.0, False, ["pieces"]),
        ("liver", 2.0, True, []),
        ("aorta", 29.0, False, []),
        ("aorta", 30.0, False, ["pieces"]),
    ],
)
def test_several_large_pieces(name, gap_mm, at_edge, kinds):
    one = _finding()
    one.organs[name].update(pieces=[_piece(0.3, gap_mm)], at_edge=at_edge)
    assert _kinds([one]) == [kinds]


def test_a_flat_face_counts_for_organs_that_taper_off():
    one = _finding()
    for name in ("liver", "aorta"):
        one.organs[name].update(cuts=["left"], cuts_at=[[1, 2, 3]])
    assert _kinds([one]) == [["cut off"]]
    assert "liver" in _reasons([one], 0)[0]


def test_a_mask_that_fits_elsewhere_says_where():
    one = _finding(shift_ras_mm=(-12.0, 0.1, 5.0), gain=1.8)
    assert _kinds([one]) == [["alignment"]]
    assert "12 mm left, 5 mm up" in _reasons([one], 0)[0]


@pytest.mark.parametrize("share, kinds", [(0.15, []), (0.16, ["alignment"])])
def test_solid_organs_full_of_fat(share, kinds):
    assert _kinds([_finding(fat_share=share)]) == [kinds]


def test_odd_grids():
    findings = _group(40)
    findings[0].spacing = (0.8, 0.8, 20.0)
    findings[1].axis_codes, findings[1].orientation = "ASL", "Oblique(closest to ASL)"
    findings[2].tilt_degrees = 31.0
    assert _kinds(findings) == [["geometry"]] * 3 + [[]] * 37
    assert _reasons(findings, 1) == [
        "Orientation Oblique(closest to ASL): only 1 of 40 CT samples have it."
    ]


_OTHER_NAMES = {
    "liver": "Liver",
    "spleen": "Spleen",
    "right_kidney": "kidney_right",
    "left_kidney": "Left kidney",
    "aorta": "AORTA",
    "prostate": "Prostate",
    "uterus": "Uterus",
}


def _renamed(one):
    """The same sample, of a set that has other names for the organs, and other numbers."""
    organs = {
        _OTHER_NAMES[name]: {**organ, "value": 200 - organ["value"]}
        for name, organ in one.organs.items()
    }
    names = {200 - value: _OTHER_NAMES[name] for value, name in one.label_names.items()}
    return dataclasses.replace(one, organs=organs, label_names=names)


def _spoiled():
    """A group with a fault of each kind that needs to know which organ is which."""
    findings = _group(8, label_names=[*_PLACES]) + _group(4, sex="F", label_names=[*_PLACES])
    organs = [one.organs for one in findings]
    organs[0]["right_kidney"], organs[0]["left_kidney"] = (
        organs[0]["left_kidney"],
        organs[0]["right_kidney"],
    )
    organs[1]["uterus"], organs[8]["prostate"] = (_organ(16, 30, (0, 0, -200)) for _ in "12")
    organs[2]["liver"]["pieces"] = [_piece(0.3, 5)]
    organs[3]["spleen"].update(cuts=["upper"], cuts_at=[[1, 2, 3]])
    organs[4]["aorta"]["pieces"] = [_piece(0.3, 40)]
    organs[5]["liver"]["volume_ml"] = 300
    organs[6]["aorta"]["centre"][2] += 60
    del organs[7]["spleen"]
    for one, spleen_ml in zip(findings[9:11], (150.1, 100)):
        one.visit, one.organs["spleen"]["volume_ml"] = "a b", spleen_ml
    return findings


def test_other_names_and_numbers_of_the_organs_give_the_same_flags():
    kinds = _kinds(_spoiled())
    assert "left/right" in kinds[0]
    assert kinds[1:6] == [["sex"], ["pieces"], ["cut off"], ["pieces"], ["volume"]]
    assert kinds[6:9] == [["position"], ["organ missing"], ["sex"]]
    assert "patient" in kinds[9] and "patient" in kinds[10]
    assert _kinds([*map(_renamed, _spoiled())]) == kinds
    assert "The kidney right lies" in _reasons([*map(_renamed, _spoiled())], 0)[0]


@pytest.mark.parametrize("name", ["kidneys", "lungs", "bone", "tumour", "hepatic vessel", "cyst"])
def test_what_is_no_single_organ_may_be_in_pieces_and_end_flat(name):
    apart = [_piece(0.45, 80), _piece(0.2, 31)]
    findings = _group(10)
    for seed, one in enumerate(findings):
        volume_ml = 100.0 * 1.6 ** (seed % 4)
        one.organs[name] = _organ(9, volume_ml, (0, 0, 0), pieces=apart, cuts=["upper"])
    assert _kinds(findings) == [[]] * 10


@pytest.mark.parametrize("name, kinds", [("tumour", []), ("stomach", ["organ missing"])])
def test_healthy_people_lack_no_tumour(name, kinds):
    findings = _group(10)
    for one in findings[1:]:
        one.organs[name] = _organ(9, 100, (0, 0, 0))
    assert _kinds(findings)[0] == kinds


@pytest.mark.parametrize("name, kinds", [("tumour", []), ("bone", ["position", "volume"])])
def test_a_tumour_may_have_any_size_and_place(name, kinds):
    findings = _group(10)
    for one in findings:
        one.organs[name] = _organ(9, 10, np.add(one.organs["liver"]["centre"], (0, 0, -50)))
    findings[0].organs[name] = _organ(9, 200, np.add(one.organs["liver"]["centre"], (0, 0, 900)))
    assert _kinds(findings)[0] == kinds


@pytest.mark.parametrize(
    "names, kinds",
    [(["tumour", "cyst"], []), (["liver", "tumour"], ["organ missing"]), ([], ["organ missing"])],
)
def test_where_only_tumours_have_labels_a_mask_may_be_empty(names, kinds):
    assert _kinds([_finding(organs={}, label_names=names)]) == [kinds]


def test_scans_that_need_not_show_an_abdomen_lack_no_organ_by_themselves():
    one = _finding(label_names=[*_PLACES, "stomach"])
    assert _kinds([one]) == [["organ missing"]]
    one.label_names = {**one.label_names, 17: "brain"}
    assert _kinds([one]) == [[]]


def test_an_identity_affine_is_a_flag():
    one = _finding(affine=np.eye(4), organs=None)
    text = "Identity affine: spacing of 1 mm, orientation and position are not the scanner's."
    found = judging.Flag("geometry", "doubtful", text, evidence="identity affine")
    assert judging.judge([one]) == [[found]]


def test_a_group_whose_sex_is_not_known_is_called_by_its_modality():
    findings = _group(10, sex="")
    findings[3].organs["liver"]["volume_ml"] = 100
    assert "(CT)" in _reasons(findings, 3)[0]


def test_a_known_fault_of_an_organ_is_looked_for_under_the_names_of_the_set():
    one = _renamed(_finding(label_names=[*_PLACES]))
    fault = known_faults.Fault("s0", "organ", "no right kidney in the label", "seen")
    found = confirming.against(fault, {}, {"s0": one})
    assert found.startswith("its label has the right kidney (")
    del one.organs["kidney_right"]
    assert confirming.against(fault, {}, {"s0": one}) == ""


# ---- how much a flag weighs, where it is seen, and its numbers


AFFINE = np.diag([-2.0, 2.0, 4.0, 1.0])


def _imaged(shape=(300, 300, 150), n=10, missing="left_kidney", **more):
    """Samples with an image around the liver's centre; the first one lacks an organ."""
    findings = _group(n, shape=shape, label_names=[*_PLACES], **more)
    for one in findings:
        one.affine = AFFINE.copy()
        middle = np.array([-300, 300, 300])
        one.affine[:3, 3] = np.array(one.organs["liver"]["centre"]) - middle
    if missing:
        del findings[0].organs[missing]
    return findings


def _flags_of(findings, number=0):
    return judging.worst_first(judging.judge(findings)[number])


def test_an_organ_whose_place_the_image_holds_whole_is_missing_for_sure():
    (found,) = _flags_of(_imaged())
    assert found.severity == "wrong" and found.labels == (4,)
    assert found.evidence == (
        "9 of the 9 other CT samples have one; the image holds its place whole"
    )
    # From the liver's centre, voxel (150, 150, 75): 120 mm left, 40 mm back, 45 mm down.
    assert np.abs(np.subtract(found.place, (210, 130, 64))).max() <= 2


def test_an_organ_at_whose_place_the_image_ends_may_be_missing():
    """A ball of the kidneys' 1000 ml has a radius of 62 mm, 31 voxels."""
    for length, severity in ((225, "doubtful"), (260, "wrong")):
        (found,) = _flags_of(_imaged(shape=(length, 300, 150)))
        assert found.severity == severity
        assert found.place is not None
        assert ("does not hold" in found.evidence) == (severity == "doubtful")
    (found,) = _flags_of(_imaged(shape=(180, 300, 150)))  # its centre lies outside
    assert (found.severity, found.place) == ("doubtful", None)


def test_where_an_organ_should_lie_is_told_by_four_others_at_least():
    for n, severity in ((5, "wrong"), (4, "doubtful")):
        (found,) = _flags_of(_imaged(n=n))
        assert found.severity == severity
    findings = _imaged()
    for one in findings:
        one.affine = None
    (found,) = _flags_of(findings)
    assert found.severity == "doubtful"
    assert found.evidence.endswith("; where it should lie cannot be told")
    findings = _imaged(missing="")
    for name in ("left_kidney", "right_kidney", "aorta"):
        del findings[0].organs[name]  # two are left: too few to go by
    assert {found.severity for found in _flags_of(findings)} == {"doubtful"}


def test_most_others_have_an_organ_that_the_image_always_cuts_off():
    findings = _imaged(missing="")
    for one in findings[1:]:
        one.organs["stomach"] = _organ(9, 100, (0, 0, 0), at_edge=True)
    (found,) = _flags_of(findings)
    assert (found.kind, found.severity) == ("organ missing", "doubtful")


def _severities(one):
    return {(found.kind, found.severity) for found in judging.judge([one])[0]}


def test_severities_of_what_needs_no_group():
    foreign = _finding()
    foreign.organs["uterus"] = _organ(16, 30, (0, 0, -200))
    swapped = _finding()
    kidneys = [swapped.organs[f"{side}_kidney"] for side in ("right", "left")]
    kidneys[0]["centre"], kidneys[1]["centre"] = kidneys[1]["centre"], kidneys[0]["centre"]
    apart = _finding()
    apart.organs["liver"].update(pieces=[_piece(0.3, 9)], cuts=["left"], cuts_at=[[1, 2, 3]])
    assert {
        *_severities(_finding(is_mask=True)),
        *_severities(_finding(organs={})),
        *_severities(_finding(fat_share=0.3)),
        *_severities(_finding(shift_ras_mm=(9.0, 0.0, 0.0), gain=2.0)),
        *_severities(_finding(values=(-9000.0, 0.0))),
        *_severities(_finding(tilt_degrees=40.0)),
        *itertools.chain(*map(_severities, (foreign, swapped, apart))),
    } == {
        ("mask as volume", "wrong"),
        ("organ missing", "wrong"),
        ("alignment", "wrong"),
        ("intensity", "doubtful"),
        ("geometry", "doubtful"),
        ("sex", "wrong"),
        ("left/right", "wrong"),
        ("pieces", "doubtful"),
        ("cut off", "doubtful"),
    }


def test_rare_grids_are_unusual_and_outliers_doubtful():
    findings = _group(40)
    findings[0].spacing = (0.8, 0.8, 20.0)
    findings[1].axis_codes = "ASL"
    findings[2].organs["liver"]["volume_ml"] = 300
    findings[3].organs["aorta"]["centre"][2] += 60
    found = [[(flag.kind, flag.severity) for flag in flags] for flags in judging.judge(findings)]
    assert found[:4] == [
        [("geometry", "unusual")],
        [("geometry", "unusual")],
        [("volume", "doubtful")],
        [("position", "doubtful")],
    ]


def test_a_volume_that_is_a_copy_of_its_mask():
    (found,) = judging.judge([_finding(is_mask=True, modality="MRI")])[0]
    assert found == judging.Flag(
        "mask as volume",
        "wrong",
        "The volume holds the same voxels as the mask: it is a copy of it, not the scan.",
        evidence="values from 0 to 0",
    )


def test_a_flag_leads_to_its_organ_and_has_its_numbers():
    findings = _imaged(missing="")
    findings[1].organs["liver"].update(volume_ml=300.0, at=[7, 8, 9])
    (found,) = _flags_of(findings, 1)
    assert (found.place, found.labels) == ((7, 8, 9), (1,))
    numbers = r"300 ml; median \d+\.?\d* ml, limits \d+\.?\d* and \d+ ml"
    assert re.fullmatch(numbers, found.evidence)


def test_a_piece_and_a_flat_face_have_places_of_their_own():
    findings = _imaged(missing="", n=1)
    faces = {"cuts": ["left", "upper"], "cuts_at": [[4, 5, 6], [7, 8, 9]]}
    findings[0].organs["liver"].update(pieces=[_piece(0.3, 9.0, (1, 2, 3))], **faces)
    assert [(flag.kind, flag.place) for flag in _flags_of(findings)] == [
        ("pieces", (1, 2, 3)),
        ("cut off", (4, 5, 6)),
    ]


def test_twins_on_the_wrong_sides_are_both_named():
    one = _finding()
    right, left = (one.organs[f"{side}_kidney"] for side in ("right", "left"))
    right["centre"], left["centre"] = [-60.4, 0.0, 0.0], [50.0, 0.0, 0.0]
    (found,) = judging.judge([one])[0]
    assert found.labels == (3, 4)
    assert found.evidence == "centres at R -60 mm and R 50 mm"


def test_an_alignment_flag_leads_to_the_largest_organ():
    (one,) = _imaged(missing="", n=1)
    one.organs["liver"]["volume_ml"] = 5000.0
    one.shift_ras_mm, one.gain = (9.0, 0.0, 0.0), 2.0
    (found,) = judging.judge([one])[0]
    assert found.place == (1, 0, 0) and sorted(found.labels) == [1, 2, 3, 4, 5]


def test_the_worst_flags_come_first_and_equals_stay_in_order():
    kinds = ["known fault", "volume", "failed", "pieces", "sex"]
    flags = [judging.flag(kind, "x") for kind in kinds]
    found = [flag.kind for flag in judging.worst_first(flags)]
    assert found == ["failed", "sex", "volume", "pieces", "known fault"]


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("wrong", [True, False, False]),
        ("doubtful", [True, True, False]),
        ("unusual", [True, True, True]),
    ],
)
def test_as_bad_as_a_severity_is_what_is_of_it_or_worse(severity, expected):
    flags = [judging.Flag("x", one, "x") for one in judging.SEVERITIES]
    assert [judging.is_as_bad(flag, severity) for flag in flags] == expected

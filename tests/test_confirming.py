"""Known faults as flags: every text of the list is understood, and files that tell otherwise."""

import dataclasses
import re

import labelled_cases
import pytest

from utils.facts import amos22, known_faults
from utils.qc import confirming, evidence, judging

OPEN = [fault for fault in known_faults.of(amos22) if known_faults.is_open(fault, amos22)]
SCANNERS = [fault.id for fault in OPEN if fault.kind == "scanner"]
# What a file that shows each fault has, besides what `_seen` says.
SHOWN = {
    "amos_0067": {"values": (-5798.0, 8932.0)},
    "amos_0136": {"values": (-2130.4, 11361.6)},
    "amos_0540": {"values": (0.0, 3284530.75)},
}
SHOWN |= {name: {"scanner_faults": ["Odd."]} for name in SCANNERS}
SPLEENS_ML = {"amos_0218": 184.2, "amos_0219": 117.4, "amos_0279": 220.0, "amos_0280": 136.8}
SPLEENS_ML |= {"amos_0517": 241.1, "amos_0518": 144.9, "amos_0593": 228.6, "amos_0595": 89.01}
# What contradicts each kind of text, and what the flag then says.
OTHERWISE = {
    **{
        fault.what: ({}, {}, "its grid and values fit its scanner, Prisma")
        for fault in OPEN
        if fault.kind == "scanner"
    },
    "no spleen in the label": ({"spleen_ml": 98.76}, {}, "its label has the spleen (98.76 ml)"),
    "values from -5798 to 8932, outside Hounsfield units": (
        {"values": (-5798.0, 8934.0)},
        {},
        "its values go from -5798 to 8934",
    ),
    "values from -2130 to 11362, outside Hounsfield units": (
        {"values": (-1024.0, 3071.0)},
        {},
        "its values go from -1024 to 3071",
    ),
    "scaled values up to 3.28 million (scl_slope 4385.22), no Hounsfield units; MRI": (
        {"values": (0.0, 749.0)},
        {},
        "its values go up to 749",
    ),
    "no age in the table": ({}, {"age": "61"}, "its age is 061Y"),
    "cannot be decompressed (unlabelled archive)": ({}, {}, "it could be read"),
}


def _seen(name, spleen_ml=None, **more):
    organ = {"value": 1, "volume_ml": spleen_ml, "at_edge": False, "at": [3, 4, 5]}
    return evidence.Findings(
        **{
            "name": name,
            "modality": "CT" if name < "amos_0500" else "MRI",
            "sex": "F",
            "spacing": (1.0, 1.0, 5.0),
            "orientation": "LAS",
            "axis_codes": "LAS",
            "label_names": {1: "spleen", 6: "liver"},
            "organs": {"liver": {}} | ({} if spleen_ml is None else {"spleen": organ}),
            **more,
        }
    )


def _all_seen(**changed):
    """Findings of a set in which the list holds, but for these."""
    found = {name: _seen(name, spleen_ml) for name, spleen_ml in SPLEENS_ML.items()}
    for fault in OPEN:
        found.setdefault(fault.id, _seen(fault.id))
    for name, more in {**SHOWN, **changed}.items():
        found[name] = dataclasses.replace(found[name], **more)
    return found


def _row(**more):
    return {"manufacturer_model_name": "Prisma", "age": "UND", **more}


def _partner(name):
    names = sorted(SPLEENS_ML)
    return names[names.index(name) ^ 1] if name in names else ""


def _ids(fault):
    return f"{fault.id[-4:]}-{fault.kind}"


@pytest.mark.parametrize("fault", OPEN, ids=_ids)
def test_a_fault_that_the_file_shows_is_a_flag_with_its_evidence(fault):
    seen = _all_seen()
    if fault.kind == "damaged":
        del seen[fault.id]  # it could not be read
    found = confirming.flag(fault, _row(), seen)
    what = re.sub("[0-9]{4}/.*/[0-9]{4}", _partner(fault.id), fault.what)
    text = f"{what[0].upper()}{what[1:]} (evidence: {fault.evidence})."
    assert (found.kind, found.reason, found.evidence) == ("known fault", text, fault.evidence)


def test_a_fault_that_the_file_shows_weighs_as_much_as_one_of_its_kind():
    seen = _all_seen()
    del seen["amos_5437"], seen["amos_5514"]  # they could not be read
    shown = {(fault.id, fault.kind): confirming.flag(fault, _row(), seen) for fault in OPEN}
    assert {key[1]: flag.severity for key, flag in shown.items() if key[0] != "amos_0540"} == {
        "organ": "doubtful",
        "intensity": "doubtful",
        "patient": "doubtful",
        "scanner": "doubtful",
        "damaged": "wrong",
    }
    # Values of an MRI scan have no scale anyway, and an age that nobody knows spoils nothing.
    assert shown["amos_0540", "intensity"].severity == "unusual"
    assert shown["amos_0540", "metadata"].severity == "unusual"


def test_a_pair_of_spleens_leads_to_the_spleen():
    fault = next(one for one in OPEN if one.id == "amos_0280" and one.kind == "patient")
    found = confirming.flag(fault, {}, _all_seen())
    assert (found.labels, found.place) == ((1,), (3, 4, 5))


@pytest.mark.parametrize("fault", [one for one in OPEN if one.kind != "patient"], ids=_ids)
def test_a_file_that_tells_otherwise_is_said_to(fault):
    changed, cells, seen = OTHERWISE[fault.what]
    one = dataclasses.replace(_seen(fault.id, changed.get("spleen_ml")))
    one = dataclasses.replace(
        one, **{key: value for key, value in changed.items() if key != "spleen_ml"}
    )
    found = confirming.flag(fault, _row(**cells), {fault.id: one})
    shown = f"{fault.what[0].upper()}{fault.what[1:]} (evidence: {fault.evidence})."
    assert found.reason == f"{shown} This file does not show it: {seen}."
    assert found.severity == "unusual"


@pytest.mark.parametrize("fault", [one for one in OPEN if one.kind == "patient"], ids=_ids)
def test_spleens_of_a_pair_that_do_not_differ(fault):
    other = _partner(fault.id)
    seen = _all_seen() | {fault.id: _seen(fault.id, 150.0), other: _seen(other, 100.0)}
    found = confirming.against(fault, _row(), seen)
    assert found == f"its spleen has 150 ml, that of {other} 100"
    seen[fault.id] = _seen(fault.id, 150.1)
    assert confirming.against(fault, _row(), seen) == ""


def test_a_pair_whose_metadata_were_corrected_is_told():
    (fault,) = (one for one in OPEN if one.id == "amos_0218" and one.kind == "patient")
    seen = _all_seen(amos_0218={"visit": "a 20200101"}, amos_0219={"visit": "a 20200102"})
    assert confirming.against(fault, _row(), seen) == (
        "by the metadata it is of another patient or day than amos_0219"
    )
    seen["amos_0219"].visit = ""  # not known
    assert confirming.against(fault, _row(), seen) == ""
    seen["amos_0219"].visit = "a 20200101"
    assert confirming.against(fault, _row(), seen) == ""


@pytest.mark.parametrize("scanner", ["UND", " ", None])
def test_of_a_scanner_that_is_not_known_nothing_is_told(scanner):
    row = {} if scanner is None else _row(manufacturer_model_name=scanner)
    for fault in (one for one in OPEN if one.kind == "scanner"):
        assert confirming.against(fault, row, {fault.id: _seen(fault.id)}) is None


def test_what_cannot_be_looked_at_is_said_so():
    seen = _all_seen()
    unlabelled = {name: dataclasses.replace(one, organs=None) for name, one in seen.items()}
    liver = {6: "liver"}
    others = {name: dataclasses.replace(one, label_names=liver) for name, one in seen.items()}
    for fault in OPEN:
        if fault.kind in ("organ", "patient"):
            assert confirming.against(fault, _row(), unlabelled) is None
        if fault.kind == "organ":
            assert confirming.against(fault, _row(), others) is None
        if fault.kind == "patient":
            assert confirming.against(fault, _row(), {fault.id: seen[fault.id]}) is None
        if fault.kind != "damaged":  # of a sample that failed nothing is known
            assert confirming.against(fault, {}, {}) is None
    fault = known_faults.Fault("amos_0001", "organ", "a strange liver", "me")
    text = "A strange liver (evidence: me). The files at hand do not tell whether it is so."
    assert confirming.flag(fault, {}, {"amos_0001": _seen("amos_0001")}) == (
        judging.Flag("known fault", "unusual", text, evidence="me")
    )
    assert confirming.flag(fault, {}, {}).reason == text


def test_of_the_pairs_of_a_list_a_flag_names_the_samples_own():
    fault = next(one for one in OPEN if one.id == "amos_0280" and one.kind == "patient")
    assert confirming.flag(fault, {}, _all_seen()).reason == (
        "Same birth date, sex, day and scanner as amos_0279, but spleens differ by more than half "
        "(evidence: metadata table; labelled_cases.csv (spleen_ml))."
    )


@labelled_cases.needed
def test_the_list_agrees_with_what_others_measured():
    cases = labelled_cases.read()
    seen = {name: labelled_cases.finding(name) for name in cases}
    checked = [fault for fault in OPEN if fault.id in cases]
    assert len(checked) == len(OPEN) - 2  # the damaged ones are of the unlabelled archives
    for fault in checked:
        assert confirming.against(fault, cases[fault.id][1], seen) == "", fault

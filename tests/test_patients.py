"""Patients that are told by their metadata alone."""

import pytest

from utils.facts import amos22, nme, patients

BORN = {"birth_date": "19600102", "sex": "F"}


def test_a_patient_has_the_lowest_id_of_his_scans():
    rows = {"amos_0550": BORN, "amos_0008": BORN, "amos_0009": {**BORN, "sex": "M"}}
    assert patients.group(rows, amos22) == {
        "amos_0550": "amos_0008",
        "amos_0008": "amos_0008",
        "amos_0009": "amos_0009",
    }


@pytest.mark.parametrize("key", ["birth_date", "sex"])
@pytest.mark.parametrize("text", ["", "UND", " und ", None, "?"])
def test_unknown_metadata_make_nobody_the_same_patient(key, text):
    row = {**BORN, key: text}
    if text is None:
        del row[key]
    rows = {"a": row, "b": row}
    assert patients.group(rows, amos22) == {"a": "a", "b": "b"}
    assert patients.unknown(rows, amos22) == ["a", "b"]


def test_forms_of_the_same_day_and_sex_are_one_patient():
    rows = {"a": BORN, "b": {"birth_date": "1960-01-02", "sex": "female"}}
    assert patients.group(rows, amos22) == {"a": "a", "b": "a"}
    assert patients.unknown(rows, amos22) == []


def test_other_facts_have_other_keys():
    rows = {"01_7": {"pid": "7", **BORN}, "02_7": {"pid": "7"}, "03_8": {"pid": "8", **BORN}}
    assert patients.group(rows, nme) == {"01_7": "01_7", "02_7": "01_7", "03_8": "03_8"}


def test_families_are_sorted():
    of = {"d": "a", "c": "b", "b": "b", "a": "a"}
    assert list(patients.families(of, "dcb").items()) == [("a", ["d"]), ("b", ["b", "c"])]


class NoPatients:
    NAME, PATIENT_KEYS = "Set", ()


def test_without_keys_each_sample_is_a_patient_of_its_own_and_that_is_said():
    rows = {"a": BORN, "b": BORN}
    assert patients.group(rows, NoPatients) == {"a": "a", "b": "b"}
    assert patients.unnamed(NoPatients) == (
        "the page of Set names no patients: each sample counts as a patient of its own"
    )
    assert patients.unnamed(amos22) == patients.unnamed(nme) == ""


def test_patients_that_a_key_names_are_not_inferred():
    assert patients.inferred(amos22) == "inferred from birth_date and sex (docs/patients.md)"
    assert patients.inferred(nme) == ""

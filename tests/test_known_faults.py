"""The list of known faults: the one of AMOS22, and lists that are refused."""

import collections
from types import SimpleNamespace

import phantoms
import pytest
import trees

from utils import errors
from utils.facts import amos22, known_faults, nme

LIST = trees.REPOSITORY / "descriptor_templates/known_faults.csv"
SHARED = trees.REPOSITORY.parent / "shared/data/known_faults.csv"
HEADER = "id,kind,what,evidence\n"
ROW = 'amos_0001,organ,"no spleen, none",me\n'


def test_the_list_of_amos22_is_read_whole():
    found = known_faults.of(amos22)
    assert len(found) == len(LIST.read_text(encoding="utf-8").splitlines()) - 1 == 137
    assert collections.Counter(fault.kind for fault in found) == {
        "organ": 3,
        "intensity": 3,
        "patient": 8,
        "metadata": 101,
        "scanner": 5,
        "damaged": 17,
    }
    assert found[1] == known_faults.Fault(
        "amos_0067",
        "intensity",
        "values from -5798 to 8932, outside Hounsfield units",
        "Aperivue/medsci-skills@61f0a511 demo/05_msd_amos_spleen/CASE_STUDY.md",
    )


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/data/known_faults.csv")
def test_the_list_is_the_one_that_was_gathered_with_each_evidence_in_full():
    """A flag or a Fault stands alone: "same case study" as in a row above it says nothing there."""
    gathered = SHARED.read_text(encoding="utf-8")
    assert gathered.count("same case study") == 2
    in_full = gathered.replace("same case study", known_faults.of(amos22)[0].evidence)
    assert LIST.read_text(encoding="utf-8") == in_full


def test_what_routine_01_mends_is_in_the_list_for_every_mri_scan():
    (mended,) = amos22.MENDED_FAULTS
    concerned = [fault.id for fault in known_faults.of(amos22) if fault.what == mended]
    assert concerned == [f"amos_{number:04d}" for number in range(501, 601)]


def test_what_is_mended_or_not_confirmed_is_not_open():
    faults = known_faults.of(amos22)
    closed = collections.Counter(
        fault.kind for fault in faults if not known_faults.is_open(fault, amos22)
    )
    assert closed == {"metadata": 100, "damaged": 15}
    unconfirmed = [fault.id for fault in faults if not fault.is_confirmed]
    assert len(unconfirmed) == 15 and not {"amos_5437", "amos_5514"} & {*unconfirmed}


def test_a_data_set_without_a_list_has_no_known_faults():
    assert known_faults.of(nme) == []


def test_a_list_of_another_data_set_is_read_the_same(tmp_path):
    path = phantoms.touch(tmp_path / "mine.csv", f"\ufeff{HEADER}{ROW}\n".encode())
    facts = SimpleNamespace(KNOWN_FAULTS=str(path), MENDED_FAULTS=())
    (fault,) = known_faults.of(facts)
    assert fault == known_faults.Fault("amos_0001", "organ", "no spleen, none", "me")
    assert known_faults.is_open(fault, facts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty, expected the columns ['id', 'kind', 'what', 'evidence']"),
        (
            "id,kind,what\n",
            "has the columns ['id', 'kind', 'what'], expected each of ['id', 'kind', 'what', "
            "'evidence'] once",
        ),
        (f"{HEADER}{ROW},organ,x,y\n", "has no id in line 3"),
        (f"{HEADER}a,organ,x\n", "has 3 cells in line 2, expected 4"),
        (f"{HEADER}a,organ,x,y,z\n", "has 5 cells in line 2, expected 4"),
        (f"{HEADER}a,organ,, \n", "has no what, evidence in line 2"),
        (
            f"{HEADER}a,Organ,x,y\n",
            "has the kind 'Organ' in line 2, expected one of annotation, damaged, geometry, "
            "intensity, metadata, organ, overlap, patient, scanner",
        ),
        (f"{HEADER}{ROW}{ROW}", "has the same in line 3 as in line 2, expected once"),
        (
            f'{HEADER}a,organ,"x,y\n',
            "cannot be read as CSV: unexpected end of data; save it as CSV UTF-8",
        ),
    ],
)
def test_another_list_is_refused_with_its_line(tmp_path, content, reason):
    path = phantoms.touch(tmp_path / "mine.csv", content.encode())
    with pytest.raises(errors.DatasetError) as caught:
        known_faults.read(path)
    assert str(caught.value) == f"{path}: the list of known faults {reason}"
    assert caught.value.file == str(path)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(errors.DatasetError, match=f"{tmp_path}/none.csv"):
        known_faults.read(tmp_path / "none.csv")

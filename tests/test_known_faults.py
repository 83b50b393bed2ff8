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
COLUMNS = "expected 'id,kind,what,evidence'"


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
        "same case study",
    )


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/data/known_faults.csv")
def test_the_list_is_the_one_that_was_gathered_byte_for_byte():
    assert LIST.read_bytes() == SHARED.read_bytes()


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
        ("", f"columns '', {COLUMNS}"),
        ("id;kind;what;evidence\n", f"columns 'id;kind;what;evidence', {COLUMNS}"),
        (f"{HEADER}{ROW},organ,x,y\n", "line 3: 3 of 4 cells filled, expected 4"),
        (f"{HEADER}a,organ,x\n", "line 2: 3 of 3 cells filled, expected 4"),
        (f"{HEADER}a,organ,x,y,z\n", "line 2: 5 of 5 cells filled, expected 4"),
        (f"{HEADER}a,organ,x, \n", "line 2: 3 of 4 cells filled, expected 4"),
        (
            f"{HEADER}a,Organ,x,y\n",
            "line 2: kind 'Organ', expected one of damaged, intensity, metadata, organ, patient, "
            "scanner",
        ),
        (f"{HEADER}{ROW}{ROW}", "line 3: the same as line 2, expected once"),
        (f'{HEADER}a,organ,"x,y\n', "no CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_another_list_is_refused_with_its_line(tmp_path, content, reason):
    path = phantoms.touch(tmp_path / "mine.csv", content.encode())
    with pytest.raises(errors.DatasetError) as caught:
        known_faults.read(path)
    assert str(caught.value) == f"{path}: {reason}"
    assert (caught.value.file, caught.value.code) == (str(path), "known_faults")


def test_what_is_no_text_or_not_there_is_refused(tmp_path):
    path = phantoms.touch(tmp_path / "mine.csv", HEADER.encode() + b"\xff,organ,x,y\n")
    with pytest.raises(errors.DatasetError, match=f"{path}: no CSV file in UTF-8: 'utf-8' codec"):
        known_faults.read(path)
    with pytest.raises(errors.DatasetError, match=f"{tmp_path}/none.csv"):
        known_faults.read(tmp_path / "none.csv")

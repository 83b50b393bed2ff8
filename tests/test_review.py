"""The file of decisions, as the page, people and spreadsheets write it."""

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.storage import review

Decision = review.Decision
HEADER = "ID,decision,note,reviewer,mask_crc32\n"
IDS = ["amos_0001", "amos_0004", "amos_0507"]


def read(tmp_path, content, ids=()):
    path = tmp_path / "review.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return review.read(path, ids)


def reasons(tmp_path, content, ids=()):
    """What is wrong with each line of a review that is refused."""
    with pytest.raises(errors.DatasetError) as caught:
        read(tmp_path, content, ids)
    start = f"{tmp_path / 'review.csv'}: the review "
    texts = [str(case) for case in caught.value.cases]
    assert all(text.startswith(start) for text in texts)
    assert {case.file for case in caught.value.cases} == {str(tmp_path / "review.csv")}
    return [text.removeprefix(start) for text in texts]


def test_every_decision_is_read_with_what_stands_beside_it(tmp_path):
    text = (
        'amos_0004,exclude,"left and right, \nswapped",A. B.,0x1a2b3c4d\namos_0001,Accept ,,,\n'
        "amos_0507, FIX,liver,C,FFFFFFFF\namos_0508,,ask,D,\n"
    )
    assert read(tmp_path, HEADER + text) == {
        "amos_0004": Decision("exclude", "left and right, \nswapped", "A. B.", 0x1A2B3C4D),
        "amos_0001": Decision("accept"),
        "amos_0507": Decision("fix", "liver", "C", 0xFFFFFFFF),
        "amos_0508": Decision("", "ask", "D"),
    }
    assert read(tmp_path, HEADER) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_what_spreadsheets_save_is_read(tmp_path, encoding, separator, line_break):
    text = "more,reviewer,mask_crc32,ID,decision,note\nx,é,,0004,exclude,\n,,,,,\n,,,507.0,fix,n\n"
    text = text.replace(",", separator).replace("\n", line_break)
    assert read(tmp_path, text.encode(encoding), IDS) == {
        "amos_0004": Decision("exclude", "", "é"),
        "amos_0507": Decision("fix", "n"),
    }


@pytest.mark.parametrize(
    ("text", "ids", "key"),
    [
        ("4", IDS, "amos_0004"),
        ("0004", IDS, "amos_0004"),
        ("4.0", IDS, "amos_0004"),
        ("12", ["0012", "0013"], "0012"),
        ("0", ["s000"], "s000"),
        ("5", IDS, "5"),  # none has it
        ("4", ["a_4", "b_04"], "4"),  # two have it
        ("4", ["0004_77"], "4"),  # 77 might be meant as well
        ("4", ["0004", "4"], "4"),  # one is just that
        ("4", [], "4"),
    ],
)
def test_a_number_means_the_one_id_that_has_it(tmp_path, text, ids, key):
    assert [*read(tmp_path, f"{HEADER}{text},fix,,,\n", ids)] == [key]


def test_rows_that_agree_are_one_decision(tmp_path):
    text = (
        "amos_0004,exclude,no spleen,A,\n4,Exclude,no spleen,B,1a2b3c4d\n"
        "amos_0004,,see mail,A,00000000\namos_0004,exclude,,A,0x1A2B3C4D\n"
    )
    expected = Decision("exclude", "no spleen; see mail", "A, B", 0x1A2B3C4D)
    assert read(tmp_path, HEADER + text, IDS) == {"amos_0004": expected}


def test_all_that_is_wrong_with_the_rows_is_told_at_once(tmp_path):
    text = (
        'amos_0001,exlude,"a\nb",,\namos_0004,fix,,,1234567\n,accept,,,\n'
        f"amos_0507,{'x' * 70},,,0x123456789\namos_0001,accept,,,1.2E+12\n"
    )
    decisions, digits = "accept, exclude, fix or nothing", "eight hexadecimal digits as in"
    assert reasons(tmp_path, HEADER + text) == [
        f"has the decision 'exlude' in line 3, expected {decisions}",
        f"has the mask_crc32 '1234567' in line 4, expected {digits} 0x1a2b3c4d",
        "has no ID in line 5, expected that of a sample",
        f"has the decision '{'x' * 60}'... in line 6, expected {decisions}",
        f"has the mask_crc32 '0x123456789' in line 6, expected {digits} 0x1a2b3c4d",
        f"has the mask_crc32 '1.2E+12' in line 7, expected {digits} 0x1a2b3c4d",
    ]


def test_an_id_with_two_decisions_or_of_two_masks_is_refused(tmp_path):
    text = (
        "amos_0004,accept,,,\n4,exclude,,,\namos_0001,fix,,,0x00000001\n"
        "amos_0004,ACCEPT,,,\namos_0001,fix,,,0x2\n"
    )
    assert reasons(tmp_path, HEADER + text, IDS) == [
        "has for amos_0004 the decision accept in line 2 and exclude in line 3, expected one",
        "has for amos_0001 the mask_crc32 0x00000001 in line 4 and 0x2 in line 6, expected one",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty, expected the columns ['ID', 'decision', 'note', 'reviewer', 'mask_crc32']"),
        (
            "ID,decision\namos_0004,fix\n",
            "has the columns ['ID', 'decision'], expected each of ['ID', 'decision', 'note', "
            "'reviewer', 'mask_crc32'] once",
        ),
        (f"{HEADER}amos_0004,fix\n", "has 2 cells in line 2, expected 5"),
        (
            f'{HEADER}amos_0004,"fix\n',
            "cannot be read as CSV: unexpected end of data; save it as CSV UTF-8",
        ),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, content, reason):
    assert reasons(tmp_path, content) == [reason]


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "review.csv")  # opening it would wait for ever
    for path in (tmp_path / "review.csv", tmp_path, tmp_path / "none.csv"):
        with pytest.raises(errors.DatasetError, match=str(path)):
            review.read(path)


def test_the_apostrophe_against_formulas_is_no_part_of_a_text(tmp_path):
    text = "'=x,fix,'=1+1,''-A,\nb,fix,'tis,'+,\n"
    assert read(tmp_path, HEADER + text) == {
        "=x": Decision("fix", "=1+1", "'-A"),
        "b": Decision("fix", "'tis", "+"),
    }


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any_review.csv"
    for start in (b"", HEADER.encode()):
        path.write_bytes(start + content)
        try:
            found = review.read(path, IDS)
        except errors.DatasetError as error:
            assert str(path) in str(error)
        else:
            assert {entry.decision for entry in found.values()} <= {*review.DECISIONS, ""}


def test_a_review_is_found_by_its_name_whatever_it_is(tmp_path):
    assert review.find(tmp_path) is None and review.find(tmp_path / "none") is None
    path = tmp_path / "review.csv"
    path.symlink_to("nothing")
    assert review.find(tmp_path) == path
    with pytest.raises(errors.DatasetError, match="review.csv"):
        review.read(path)


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    read(tmp_path, HEADER)
    assert review.sha256(tmp_path / "review.csv") == hashlib.sha256(HEADER.encode()).hexdigest()

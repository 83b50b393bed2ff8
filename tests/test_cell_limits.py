"""What a cell can hold: the limit itself, one beyond it, and what XML has no character for."""

import pytest

from utils.storage import cell_limits


@pytest.mark.parametrize(
    "text", ["", "a\tb\nc\rd", "ä 中 \U0001f600", "x" * 32767, "\x7f\x85\ufffd"]
)
def test_texts_that_a_cell_holds(text):
    assert cell_limits.text_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x" * 32768, "32768 characters, Excel holds 32767"),
        ("\U0001f600" * 16384, "32768 characters, Excel holds 32767"),  # two units each
        ("a\0", "the character '\\x00' cannot stand in a workbook"),
        ("\x0b", "the character '\\x0b' cannot stand in a workbook"),
        ("\ud800", "the character '\\ud800' cannot stand in a workbook"),
        ("\uffff", "the character '\\uffff' cannot stand in a workbook"),
    ],
)
def test_texts_that_no_cell_holds(text, fault):
    assert cell_limits.text_fault(text) == fault

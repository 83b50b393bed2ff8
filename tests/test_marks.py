"""Marks in the header text that let an interrupted run go on."""

import pytest

from utils import errors
from utils.storage import marks

SOURCE = {marks.SOURCE: "89abcdef"}
DENOISED = {**SOURCE, "openclose": "5x5,3,10.0", "in": "00000001", "crc": "00000002"}


@pytest.mark.parametrize("given", [{}, SOURCE, DENOISED])
def test_read_gives_what_text_wrote(given):
    assert marks.read(marks.text(given)) == given


def test_text():
    assert marks.text(SOURCE) == "src=89abcdef"
    assert marks.text(DENOISED) == "src=89abcdef; openclose=5x5,3,10.0; in=00000001; crc=00000002"
    assert len(marks.text(DENOISED)) <= 80


def test_text_must_fit_the_header():
    fitting = {marks.SOURCE: "x" * 76}
    assert len(marks.text(fitting)) == 80
    with pytest.raises(errors.DatasetError, match="80"):
        marks.text({marks.SOURCE: "x" * 77})


@pytest.mark.parametrize(
    "descrip",
    [
        "",
        "FSL5.0",
        "Time=0.000",
        "TE=2.9;Time=101010.000;phase=1",
        "größe=ä",
        "=",
        ";;",
        "a; b",
        "src=ä",
    ],
)
def test_texts_of_others_hold_no_marks(descrip):
    assert marks.read(descrip) == {}


def test_source_only():
    assert marks.source_only(DENOISED) == SOURCE
    assert marks.source_only({}) == {}


def test_denoised():
    assert marks.denoised(SOURCE, "5x5,3,10.0", "00000001", "00000002") == DENOISED
    again = marks.denoised(DENOISED, "3x3,1,5.0", "00000002", "00000003")
    assert again == {**SOURCE, "openclose": "3x3,1,5.0", "in": "00000002", "crc": "00000003"}
    assert "src" not in marks.denoised({}, "p", "1", "2")


def test_is_denoised_only_while_the_voxels_are_those():
    assert marks.is_denoised(DENOISED, "00000002")
    assert not marks.is_denoised(DENOISED, "00000001")
    assert not marks.is_denoised(SOURCE, "00000002")
    assert not marks.is_denoised({"crc": "00000002"}, "00000002")


def test_renewed():
    assert marks.renewed(DENOISED, "00000002", "0000000a") == {**DENOISED, "crc": "0000000a"}
    # changed by hand before: it must not pass for denoised afterwards
    assert marks.renewed(DENOISED, "0000000b", "0000000a") == DENOISED
    assert marks.renewed(SOURCE, "0000000b", "0000000a") == SOURCE

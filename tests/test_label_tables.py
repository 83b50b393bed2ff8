"""Label tables for ITK-SNAP and 3D Slicer: names, colours, odd names."""

import re

import pytest

from utils.qc import label_tables


def _label(value, shown, colour="#E58CC0"):
    return {"value": value, "name": shown, "shown": shown, "colour": colour, "dashed": False}


def _lines(labels):
    """Lines of both tables without comments."""
    tables = label_tables.files(labels)
    texts = [tables[name].decode() for name in ("itksnap_labels.txt", "slicer_labels.ctbl")]
    return [[line for line in text.splitlines() if line[0] != "#"] for text in texts]


def test_names_and_colours_of_the_report():
    itksnap, slicer = _lines([_label(1, "spleen"), _label(16, "right kidney", "#0A1BFF")])
    assert [line.split(maxsplit=7) for line in itksnap] == [
        ["0", "0", "0", "0", "0", "0", "0", '"Clear Label"'],
        ["1", "229", "140", "192", "1", "1", "1", '"spleen"'],
        ["16", "10", "27", "255", "1", "1", "1", '"right kidney"'],
    ]
    assert slicer == [
        "0 Background 0 0 0 0",
        "1 spleen 229 140 192 255",
        "16 right_kidney 10 27 255 255",
    ]


def test_a_number_with_two_names_stands_there_once():
    itksnap, slicer = _lines([_label(1, "right kidney"), _label(1, "spleen")])
    assert itksnap[1].endswith('"right kidney / spleen"') and len(itksnap) == 2
    assert slicer[1].split()[1] == "right_kidney_/_spleen" and len(slicer) == 2


@pytest.mark.parametrize("name", ['a" 1 2', "a\nb 1 2 3", "#", "\udcff", "\u202e x", " "])
def test_odd_names_stay_names(name):
    itksnap, slicer = _lines([_label(3, name)])
    assert len(itksnap) == len(slicer) == 2
    assert re.fullmatch(r' +3 +229 +140 +192 +1  1  1    "[^"]*"', itksnap[1])
    assert re.fullmatch(r"3 \S+ 229 140 192 255", slicer[1])

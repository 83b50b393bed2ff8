"""The tables of labels, read as ITK-SNAP and 3D Slicer read them."""

import re

import pytest

from utils.qc import contours, label_tables

NAMES = {0: "background", 16: "uterus", 1: "spleen", 2: "right_kidney"}


def _itksnap(content):
    """As ITK-SNAP's ColorLabelTable does: numbers, then what stands between quotes."""
    found = {}
    for line in content.decode().split("\n"):
        if line and not line.startswith("#"):
            numbers, text, rest = line.split('"')
            index, red, green, blue, alpha, visible, mesh = map(float, numbers.split())
            assert text and not rest  # it refuses an empty text
            found[int(index)] = text, (red, green, blue), (alpha, visible, mesh)
    return found


def _slicer(content):
    """As 3D Slicer does: index, name and colour between blanks, ticks around a name taken off."""
    found = {}
    for line in content.decode().split("\n"):
        if line and not line.startswith("#"):
            index, name, *colour = line.split()
            assert name == name.strip("'")
            found[int(index)] = name, tuple(map(int, colour))
    return found


def _rgb(value):
    return tuple(bytes.fromhex(contours.line(value)[0][1:]))


def test_both_programs_get_the_reports_colours_and_names():
    tables = label_tables.files(NAMES)
    itksnap = _itksnap(tables["itksnap_labels.txt"])
    assert itksnap.pop(0) == ("Clear Label", (0, 0, 0), (0, 0, 0))
    assert itksnap == {
        value: (name, _rgb(value), (1, 1, 1))
        for value, name in {1: "spleen", 2: "right kidney", 16: "uterus"}.items()
    }
    assert list(itksnap) == [1, 2, 16]
    slicer = _slicer(tables["slicer_labels.ctbl"])
    assert slicer.pop(0) == ("background", (0, 0, 0, 0))
    assert slicer == {value: (name, (*_rgb(value), 255)) for value, name in NAMES.items() if value}
    assert tables["slicer_labels.ctbl"].splitlines()[1] == b"# 4 values"


HOSTILE = ['a "b" c', "'", "", "a\nb 1 2 3", "\u2028x\u202e", "\udcff", "# a", "печень", "a\tb"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_a_table(name):
    tables = label_tables.files({7: name, 8: "liver"})
    for read, liver in ((_itksnap, "itksnap_labels.txt"), (_slicer, "slicer_labels.ctbl")):
        found = read(tables[liver])
        assert sorted(found) == [0, 7, 8] and found[8][0] == "liver"
        assert not re.search("[\u2028\u202e\udcff]", found[7][0])
    assert ("печень" in _itksnap(tables["itksnap_labels.txt"])[7][0]) == (name == "печень")


def test_without_labels_there_is_the_background():
    tables = label_tables.files({})
    assert list(_itksnap(tables["itksnap_labels.txt"])) == [0]
    assert list(_slicer(tables["slicer_labels.ctbl"])) == [0]

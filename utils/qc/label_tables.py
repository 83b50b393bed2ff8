"""The labels and their colours for the programs that people correct masks with."""

import re
from collections.abc import Iterable, Mapping

from utils import errors
from utils.qc import contours
from utils.storage import label_map

ITKSNAP, SLICER = "itksnap_labels.txt", "slicer_labels.ctbl"
_ITKSNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""


def files(label_names: Mapping[int, str]) -> dict[str, bytes]:
    """Make both tables, by the names of their files; a background among the labels is left out."""
    named = sorted((value, name) for value, name in label_names.items() if value)
    return {ITKSNAP: _itksnap(named), SLICER: _slicer(named)}


def _itksnap(named: Iterable[tuple[int, str]]) -> bytes:
    """ITK-SNAP's label description file; it stops at a label without text, and at quotes in one."""
    lines = []
    for value, name in named:
        red, green, blue = _rgb(value)
        text = errors.printable(label_map.shown(name)).replace('"', "'") or f"label {value}"
        lines.append(f'{value:5} {red:5} {green:4} {blue:4}        1  1  1    "{text}"\n')
    return (_ITKSNAP_HEAD + "".join(lines)).encode()


def _slicer(named: list[tuple[int, str]]) -> bytes:
    """3D Slicer's colour table; it takes names as far as the next blank, and without ticks."""
    lines = [f"# Color table file {SLICER}\n# {len(named) + 1} values\n0 background 0 0 0 0\n"]
    for value, name in named:
        text = re.sub(r"[\s'\"]", "_", errors.printable(name)) or f"label_{value}"
        lines.append(f"{value} {text} {' '.join(map(str, _rgb(value)))} 255\n")
    return "".join(lines).encode()


def _rgb(value):
    colour, _ = contours.line(value)
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]

"""Names and colours of the labels for ITK-SNAP and 3D Slicer."""

import collections
import re
from collections.abc import Mapping, Sequence

from utils import errors

ITKSNAP, SLICER = "itksnap_labels.txt", "slicer_labels.ctbl"
_ITKSNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""
_SLICER_HEAD = "# Color table file: value name R G B A\n"


def files(labels: Sequence[Mapping]) -> dict[str, bytes]:
    """Make the tables of both programs: file name to bytes.

    ``labels`` are those of the document: ``value``, ``shown`` and ``colour`` (``#E58CC0``). A
    number that has several names, of samples with different label maps, is called by all of them.
    """
    names, colours = collections.defaultdict(list), {}
    for label in labels:
        names[label["value"]].append(label["shown"])
        colours[label["value"]] = [*bytes.fromhex(label["colour"].removeprefix("#"))]
    itksnap = ['    0     0    0    0        0  0  0    "Clear Label"']
    slicer = ["0 Background 0 0 0 0"]
    for value in sorted(names):
        name = errors.printable(" / ".join(names[value]))
        red, green, blue = colours[value]
        numbers = f"{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "
        # A quotation mark would end the name in the one, a blank in the other.
        quoted, one_word = name.replace('"', "'"), re.sub(r"[\s#]+", "_", name)
        itksnap.append(f'{numbers}"{quoted}"')
        slicer.append(f"{value} {one_word} {red} {green} {blue} 255")
    return {
        ITKSNAP: (_ITKSNAP_HEAD + "\n".join(itksnap) + "\n").encode(),
        SLICER: (_SLICER_HEAD + "\n".join(slicer) + "\n").encode(),
    }

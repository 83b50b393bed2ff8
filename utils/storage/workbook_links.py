"""The links of a worksheet's cells as XML: read from a file, written to one.

openpyxl would take longer for them than for all else of a workbook without rows.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_IDENTITY = f"{{{_OFFICE}}}id"
_KIND = f"{_OFFICE}/hyperlink"
_BEGIN = re.compile(rb"<((?:\w+:)?)hyperlinks\b[^<>]*>")
_LAST_TAG = re.compile(rb"<([\w:.-]+)[^<>]*>\Z")
_RELATION = re.compile(rb"<Relationship\b[^<>]* Type=[\"'][^\"'<>]*/hyperlink[\"'][^<>]*/>")
# In what follows the rows, the order being given: the first of these stands behind the links.
_BEHIND = re.compile(b"<(?:printOptions|pageMargins)\\b")
_NO_RELATIONS = f'<Relationships xmlns="{_PACKAGE}"></Relationships>'.encode()
_TO_ESCAPE = re.compile('[&<>"\n\r\t]')
# Without xml.sax.saxutils, which loads http and ssl: every routine would start later.
_ESCAPED = str.maketrans({character: f"&#{ord(character)};" for character in '&<>"\n\r\t'})


class Link(NamedTuple):
    """Where cells lead.

    Attributes
    ----------
    area : str
        The cell, or cells: ``B2``.
    target : str
        File or address; empty for a place in the workbook itself.
    location : str
        The place in it.
    shown : tuple of (str, str)
        Further attributes, and their values.
    mode : str
        Of the target.
    """

    area: str
    target: str
    location: str = ""
    shown: tuple[tuple[str, str], ...] = ()
    mode: str = "External"


def part_of(sheet_name: str) -> str:
    """Name the part of the file that holds the targets of a worksheet's links."""
    folder, _, name = sheet_name.rpartition("/")
    return f"{folder}/_rels/{name}.rels"


def _element(tail):
    """Where the links stand in what follows the rows; None without any."""
    begin = _BEGIN.search(tail)
    if not begin:
        return None
    if begin.group().endswith(b"/>"):
        return slice(*begin.span())
    end = re.compile(b"</%bhyperlinks\\s*>" % begin[1]).search(tail, begin.end())
    return slice(begin.start(), end.end()) if end else None


def without(tail: bytes) -> bytes:
    """What follows the rows of a worksheet, but for the links."""
    found = _element(tail)
    return tail if found is None else tail[: found.start] + tail[found.stop :]


def without_targets(relations: bytes) -> bytes:
    """What a worksheet refers to, but for the targets of links."""
    if relations.count(b"<Relationship ") == relations.count(_KIND.encode()):
        return _NO_RELATIONS
    return _RELATION.sub(b"", relations)


def read(root: bytes, tail: bytes, relations: bytes) -> list[Link]:
    """Read the links of a worksheet.

    From its begin, up to its own tag (programs put a declaration before that), what follows its
    rows, and what it refers to (empty where that is nothing). A link without its target is none.
    """
    found = _element(tail)
    if found is None:
        return []
    name = _LAST_TAG.search(root)
    ending = b"</" + name[1] + b">" if name else b""
    entries = ElementTree.fromstring(root + tail[found] + ending)[0]
    targets = {
        entry.get("Id"): (entry.get("Target", ""), entry.get("TargetMode", "Internal"))
        for entry in ElementTree.fromstring(relations or _NO_RELATIONS)
    }
    links = []
    for entry in entries.iterfind(f"{_MAIN}hyperlink"):
        target, mode = targets.get(entry.get(_IDENTITY), ("", ""))
        shown = tuple(
            (key, entry.attrib[key]) for key in ("tooltip", "display") if key in entry.attrib
        )
        link = Link(entry.get("ref", ""), target, entry.get("location", ""), shown, mode)
        if link.area and (link.target or link.location):
            links.append(link)
    return links


def _attribute(name, value):
    text = value.translate(_ESCAPED) if _TO_ESCAPE.search(value) else value
    return f' {name}="{text}"'


def to_xml(links: Iterable[Link]) -> tuple[bytes, bytes]:
    """Write links: what stands behind the rows of their worksheet, and what that refers to."""
    entries, relations = [], []
    for number, link in enumerate(links, 1):
        shown = "".join(_attribute(*pair) for pair in link.shown) if link.shown else ""
        location = _attribute("location", link.location) if link.location else ""
        identity = f' r:id="link{number}"' if link.target else ""
        entries.append(f"<hyperlink{_attribute('ref', link.area)}{identity}{location}{shown}/>")
        if link.target:
            where = f"{_attribute('Target', link.target)}{_attribute('TargetMode', link.mode)}"
            relations.append(f'<Relationship Id="link{number}" Type="{_KIND}"{where}/>')
    xml = f'<hyperlinks xmlns:r="{_OFFICE}">{"".join(entries)}</hyperlinks>' if entries else ""
    return xml.encode(), "".join(relations).encode()


def with_links(tail: bytes, element: bytes) -> bytes:
    """Put links into what follows the rows of a worksheet, which has none."""
    behind = _BEHIND.search(tail)
    place = behind.start() if behind else 0
    return tail[:place] + element + tail[place:]


def with_targets(relations: bytes, added: bytes) -> bytes:
    """Add the targets of links to what a worksheet refers to, empty where that is nothing."""
    head, closing, end = (relations or _NO_RELATIONS).rpartition(b"</Relationships>")
    return head + added + closing + end

"""Plots of the set: numbers on every axis, points that lead to their samples, odd names."""

import html
import re
from urllib import parse
from xml.etree import ElementTree

import numpy as np
import pytest
import test_pages

from utils.qc import drawing, plotting

_SVG = "{http://www.w3.org/2000/svg}"


def _row(name="amos_0001", **more):
    return plotting.Row(
        **{
            "name": name,
            "modality": "CT",
            "sex": "F",
            "scanner": "A",
            "age_years": 61,
            "shape": (4, 5, 6),
            "spacing": (1.0, 1.0, 5.0),
            "volumes_ml": {"liver": 1200.0},
            "small_regions": {"liver": (5, 1)},
            **more,
        }
    )


def _rows(n, **more):
    """Samples of several groups, whose volumes span a small part of a decade."""
    return [
        _row(
            f"amos_{number:04d}",
            sex="MF"[number % 2],
            scanner="ABC"[number % 3],
            volumes_ml={"liver": 1300.0 + number, "spleen": 90.0 * 1.3**number, "aorta": 2e-5},
            shape=(512, 512, 80 + number),
            **more,
        )
        for number in range(1, n + 1)
    ]


def test_plots_are_drawn_for_what_there_is_and_come_out_the_same():
    rows = [_row(), _row("amos_0002", sex="M", volumes_ml={})]
    plots = plotting.draw(rows)
    assert sorted(plots) == [
        "ages.svg",
        "organ_volumes_by_scanner.svg",
        "organ_volumes_by_sex.svg",
        "sizes_and_spacings.svg",
        "small_regions.svg",
    ]
    assert plotting.draw(rows) == plots
    bare = plotting.draw([_row(age_years=None, volumes_ml={}, small_regions={})])
    assert list(bare) == ["sizes_and_spacings.svg"]
    assert b"<dc:date>" not in plots["ages.svg"]
    nameless = plotting.draw([_row(scanner="")])
    assert {*plots, *nameless} == {*plotting.TITLES}


def test_nothing_to_plot():
    assert plotting.draw([]) == {}


@pytest.fixture(name="plots", scope="module")
def plots_of_several_samples():
    return plotting.draw(_rows(9))


def _texts(element):
    """What matplotlib wrote as outlines: it repeats each text in a comment."""
    parts = ElementTree.tostring(element, encoding="unicode")
    return re.findall("<!-- (.*?) -->", parts)


def _parsed(content):
    builder = ElementTree.TreeBuilder(insert_comments=True)
    return ElementTree.fromstring(content, ElementTree.XMLParser(target=builder))


@pytest.mark.parametrize("name", [name for name in plotting.TITLES if "modality" not in name])
def test_every_axis_has_numbers(plots, name):
    panels = [
        group
        for group in _parsed(plots[name]).iter(f"{_SVG}g")
        if re.fullmatch(r"axes_\d+", group.get("id", ""))
    ]
    shown = [panel for panel in panels if len(panel)]
    assert len(shown) == {"sizes_and_spacings.svg": 2}.get(name, 3 if "volumes" in name else 1)
    for panel in shown:
        for which in "xy":
            ticks = [
                group
                for group in panel.iter(f"{_SVG}g")
                if re.fullmatch(rf"{which}tick_\d+", group.get("id", ""))
            ]
            labels = [text for tick in ticks for text in _texts(tick)]
            assert len(labels) == len(ticks) >= (1 if name == "small_regions.svg" else 2)
            assert all(labels)
            is_counted = which == "y" or "volumes" not in name and name != "small_regions.svg"
            assert not is_counted or len({*map(float, labels)}) == len(labels)


def _links(content):
    """[(address, title, x, y)] of the points of a plot."""
    found = []
    for link in _parsed(content).iter(f"{_SVG}a"):
        assert link.get("target") == "_top"
        title, use = link.find(f"{_SVG}title").text, link.find(f"{_SVG}use")
        found.append((link.get("href"), title, float(use.get("x")), float(use.get("y"))))
    return found


def test_points_lead_to_their_samples(plots):
    found = _links(plots["organ_volumes_by_sex.svg"])
    assert len(found) == 3 * 9
    livers = {address: title for address, title, _, _ in found if re.search(r": 13\d\d ml", title)}
    assert livers == {
        f"../index.html#/amos_{number:04d}": f"amos_{number:04d}: {1300 + number} ml"
        for number in range(1, 10)
    }
    titles = {title for _, title, _, _ in _links(plots["sizes_and_spacings.svg"])}
    assert {"amos_0003: 512 x 512 x 83 voxels", "amos_0003: 1 x 1 x 5 mm"} <= titles


def test_points_lie_where_their_values_are(plots):
    """Against the numbers of the axis: each has a tick, whose place matplotlib wrote."""
    root = _parsed(plots["sizes_and_spacings.svg"])
    (panel,) = (group for group in root.iter(f"{_SVG}g") if group.get("id") == "axes_1")
    ticks = {}
    for group in panel.iter(f"{_SVG}g"):
        if re.fullmatch(r"ytick_\d+", group.get("id", "")):
            (use,) = list(group.iter(f"{_SVG}use"))[:1]
            ticks[float(_texts(group)[0])] = float(use.get("y"))
    values, places = zip(*sorted(ticks.items()))
    points = _links(plots["sizes_and_spacings.svg"])
    slices = {int(title.split()[5]): y for _, title, _, y in points if title.endswith("voxels")}
    assert len(slices) == 9
    line = np.polyfit(values, places, 1)
    for n_slices, y in slices.items():
        assert y == pytest.approx(np.polyval(line, n_slices), abs=0.2)


ODD_TEXTS = [*test_pages.ODD_TEXTS, "javascript:alert(1)"]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_stay_texts_in_plots(text):
    name = text.replace("\ud800", "\udcff").replace("\x00", "")  # as folders can be called
    odd = _row(name, scanner=text, sex=text, volumes_ml={text: 3.0}, small_regions={text: (1, 2)})
    plots = plotting.draw([odd, _row()])
    assert len(plots) == 5
    for content in plots.values():
        tags = {element.tag for element in ElementTree.fromstring(content).iter()}
        assert {tag.rpartition("}")[2] for tag in tags} <= {
            *("svg", "metadata", "RDF", "Work", "type", "format", "creator", "Agent", "title"),
            *("defs", "style", "clipPath", "rect", "g", "path", "use", "a", "text", "tspan"),
        }
    # matplotlib repeats what it has drawn, letter by letter, in a comment.
    start = drawing.caption(text).strip()[:6].replace("--", "- -")
    for file in ("organ_volumes_by_scanner.svg", "sizes_and_spacings.svg"):
        assert start in html.unescape(plots[file].decode())
    address = f"../index.html#/{parse.quote(name, safe='', errors='surrogateescape')}"
    assert address in {link[0] for link in _links(plots["sizes_and_spacings.svg"])}


def test_many_samples_make_a_plot_that_is_not_large():
    """600 scans with 16 organs: 1.3 MB; here of a tenth of them the tenth part."""
    organs = {f"organ {number}": 100.0 + number for number in range(16)}
    few, many = (
        plotting.draw([_row(f"amos_{k:04d}", volumes_ml=organs) for k in range(1, n + 1)])
        for n in (2, 62)
    )
    name = "organ_volumes_by_sex.svg"
    assert len(many[name]) - len(few[name]) < 60 * 16 * 135
    assert len(few[name]) < 200_000

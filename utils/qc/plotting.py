"""Plots of a whole data set for the quality report, as SVG; their points lead to the samples."""

from __future__ import annotations

import html
import io
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib import parse

import numpy as np

from utils import errors
from utils.qc import drawing
from utils.storage import label_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "plots"
# File name -> title; all files that may lie in the folder.
TITLES = {
    "organ_volumes_by_sex.svg": "Organ volumes by modality and sex",
    "organ_volumes_by_scanner.svg": "Organ volumes by scanner",
    "organ_volumes_by_modality.svg": "Organ volumes by modality",
    "sizes_and_spacings.svg": "Sizes and spacings",
    "ages.svg": "Ages",
    "small_regions.svg": "Small regions in all masks (of the background: holes)",
}
# Okabe and Ito's colours on white; a marker of its own tells groups apart without colour, too.
_STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#8C6D1F", "*"),
    ("#666666", "<"),
    ("#882255", ">"),
)
_PER_ROW = 4
_ROW_INCHES = 2.6
_WIDTH_INCHES = 13.0
_AGE_STEP = 10
_LEGEND_COLUMNS = 8
# A logarithmic axis has at least so many numbers; from so many decades on only whole ones.
_LEAST_TICKS, _MANY_DECADES = 3, 5
# The unit of length in a file, in which y goes downward.
_POINTS_PER_INCH = 72
_DOWN = np.array([_POINTS_PER_INCH, -_POINTS_PER_INCH])
_POINT_SIZE = 4.0


@dataclass(frozen=True)
class Row:
    """What is plotted of one sample.

    Attributes
    ----------
    name, modality, sex, scanner : str
    age_years : int or None
    shape : (3,) int
    spacing : (3,) float, mm
    volumes_ml : dict of str to float
        Label name to size, organs that the image cuts off left out.
    small_regions : dict of str to (int, int)
        Label name to small regions before and after denoising.
    """

    name: str
    modality: str
    sex: str
    scanner: str
    age_years: int | None
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    volumes_ml: dict[str, float]
    small_regions: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Points:
    """Points of one group in a panel, each of one sample.

    ``places`` are (n, 2) in the panel's units, ``texts`` what is told of each beside the sample's
    name, ``median`` the ends of a line in these units, (2, 2), or None.
    """

    axes: Axes
    style: tuple[str, str]
    places: np.ndarray
    names: list[str]
    texts: list[str]
    median: np.ndarray | None = None


def draw(rows: list[Row]) -> dict[str, bytes]:
    """Draw all plots for which there are values: file name to SVG file, the same for equal rows."""
    import pandas as pd

    if not rows:
        return {}
    if sys.prefix != sys.base_prefix:
        # matplotlib keeps its list of fonts there then, and not in the home folder.
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(sys.prefix, "matplotlib"))
    table = pd.DataFrame(rows, columns=list(Row.__annotations__))
    table["person"] = (table.modality + " " + table.sex).str.strip()
    # Not all data sets tell the scanner.
    machine = "scanner" if table.scanner.any() else "modality"
    volumes_ml = pd.DataFrame(list(table.volumes_ml), index=table.name).dropna(how="all")
    known = table.dropna(subset="age_years")
    small = [(name, *counts) for row in rows for name, counts in row.small_regions.items()]
    plots = {}
    with drawing.plain_style():
        if len(volumes_ml):
            for file, column in (("sex", "person"), (machine, machine)):
                group_of = table.set_index("name")[column]
                file = f"organ_volumes_by_{file}.svg"
                plots[file] = _volumes(volumes_ml.groupby(group_of), TITLES[file])
        plots["sizes_and_spacings.svg"] = _grids(table.groupby(machine))
        if len(known):
            plots["ages.svg"] = _ages(known.groupby("person").age_years)
        if small:
            counts = pd.DataFrame(small, columns=["name", "before", "after"])
            plots["small_regions.svg"] = _small_regions(counts.groupby("name", sort=False).sum())
    return plots


def _figure(height_inches):
    from matplotlib import figure

    return figure.Figure((_WIDTH_INCHES, height_inches), layout="constrained")


def _svg(drawn, points=()):
    """The file of a figure; points come on top, when the places of all panels are settled."""
    stream = io.BytesIO()
    drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    head, end, tail = stream.getvalue().rpartition(b"</svg>")
    return b"".join((head, _linked(drawn, points).encode(), end, tail))


def _linked(drawn, points):
    """Points as SVG, each a link to its sample; matplotlib writes two to three times as much."""
    markers = dict.fromkeys(one.style[1] for one in points)
    shapes = {marker: f"p{number}" for number, marker in enumerate(markers)}
    outlines = (f'<path id="{name}" d="{_outline(marker)}"/>' for marker, name in shapes.items())
    parts = [f"<defs>{''.join(outlines)}</defs>\n"] if points else []
    for one in points:
        colour, marker = one.style
        places = _on_page(drawn, one.axes, one.places)
        parts.append(f'<g fill="{colour}" fill-opacity="0.7">\n')
        for (x, y), name, text in zip(places, one.names, one.texts):
            title = html.escape(errors.printable(f"{name}: {text}"), quote=False)
            link = f"../index.html#/{parse.quote(os.fsencode(name), safe='')}"
            place = f'<use href="#{shapes[marker]}" x="{x:.1f}" y="{y:.1f}"/>'
            parts.append(f'<a href="{link}" target="_top"><title>{title}</title>{place}</a>\n')
        parts.append("</g>\n")
        if one.median is not None:
            (x, y), (end, _) = _on_page(drawn, one.axes, one.median)
            line = f"M{x:.1f} {y:.1f}H{end:.1f}"
            parts.append(f'<path d="{line}" stroke="#000000" stroke-width="1.2"/>\n')
    return "".join(parts)


def _on_page(drawn, axes, places):
    """Places in a panel's units as those in the file, from the upper left corner on."""
    inches = axes.transData.transform(places) / drawn.dpi
    return (np.array([0, _POINTS_PER_INCH * drawn.get_figheight()]) + inches * _DOWN).tolist()


def _outline(marker):
    """The outline of a marker as the path of an SVG file."""
    from matplotlib import markers, path

    style = markers.MarkerStyle(marker)
    outline = style.get_path().transformed(style.get_transform())
    kinds = path.Path
    letters = {kinds.MOVETO: "M", kinds.LINETO: "L", kinds.CURVE3: "Q", kinds.CURVE4: "C"}
    drawn = []
    for ends, code in outline.iter_segments(simplify=False):
        numbers = np.reshape(ends, (-1, 2)) * (_POINT_SIZE, -_POINT_SIZE)
        is_end = code == kinds.CLOSEPOLY
        drawn.append("Z" if is_end else letters[code] + " ".join(f"{n:.2f}" for n in numbers.flat))
    return "".join(drawn)


def _styled(groups):
    """Yield (group's name, its members, (colour, marker))."""
    for number, (name, members) in enumerate(groups):
        yield name, members, _STYLES[number % len(_STYLES)]


def _legend(drawn, groups, loc, **more):
    """Name the groups of all panels."""
    from matplotlib import lines

    handles = [
        lines.Line2D([], [], linestyle="", marker=marker, color=colour, markeredgewidth=0)
        for _, _, (colour, marker) in _styled(groups)
    ]
    drawn.legend(handles, list(map(drawing.caption, groups.groups)), loc=loc, fontsize=8, **more)


def _volumes(groups, title):
    names = list(groups.obj)
    n_rows = -(-len(names) // _PER_ROW)
    drawn, points = _figure(_ROW_INCHES * n_rows + 1.4), []
    drawn.suptitle(f"{title} (ml; organs that the image cuts off left out)")
    for axes, name in zip(drawn.subplots(n_rows, _PER_ROW, squeeze=False).flat, names):
        axes.set_yscale("log")
        for place, (_, members, style) in enumerate(_styled(groups)):
            points += _strip(axes, place, members[name].dropna(), style)
        axes.set_title(drawing.caption(label_map.shown(name)), fontsize=9)
        axes.set_ylabel("ml", fontsize=7)
        ticks = list(map(drawing.caption, groups.groups))
        axes.set_xticks(range(len(groups)), ticks, rotation=30, ha="right", fontsize=7)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        _number(axes)
    for axes in drawn.axes[len(names) :]:
        axes.set_axis_off()
    _legend(drawn, groups, "outside lower center", ncols=_LEGEND_COLUMNS)
    return _svg(drawn, points)


def _number(axes):
    """Give a logarithmic axis plain numbers, also where it spans a small part of a decade."""
    from matplotlib import ticker

    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    low, high = axes.get_ylim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 1.5, 2, 3, 4, 5, 7) if len(decades) < _MANY_DECADES else (1,)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    if sum(low <= mark <= high for mark in marks) < _LEAST_TICKS:
        marks = ticker.MaxNLocator(_LEAST_TICKS + 1).tick_values(low, high).tolist()
    axes.set_yticks([mark for mark in marks if low <= mark <= high])
    axes.tick_params(axis="y", labelsize=7)


def _strip(axes, place, values_ml, style):
    """Points side by side, and a line at their median."""
    if not len(values_ml):
        return []
    # Spread evenly by a fixed rule, so that equal rows give equal files.
    aside = (np.arange(len(values_ml)) * 0.618034 % 1 - 0.5) * 0.5
    places = np.column_stack((place + aside, values_ml))
    texts = [f"{volume_ml:.4g} ml" for volume_ml in values_ml]
    reach, middle = np.array([-0.35, 0.35]), float(values_ml.median())
    median = np.column_stack((place + reach, [middle, middle]))
    _make_room(axes, places)
    return [_Points(axes, style, places, list(values_ml.index), texts, median)]


def _make_room(axes, places):
    """Let a panel's limits take in some points."""
    axes.update_datalim(places)
    axes.autoscale_view()


def _grids(groups):
    drawn, points = _figure(4.5), []
    left, right = drawn.subplots(1, 2)
    for _, rows, style in _styled(groups):
        # The slice axis is the one with the largest spacing.
        spacings = np.sort(np.stack(rows.spacing), axis=1)
        across = [int(np.argmax(spacing)) for spacing in rows.spacing]
        slices = [shape[axis] for shape, axis in zip(rows["shape"], across)]
        in_plane = [max(np.delete(shape, axis)) for shape, axis in zip(rows["shape"], across)]
        sizes = [f"{' x '.join(map(str, shape))} voxels" for shape in rows["shape"]]
        steps = [f"{' x '.join(f'{step:.3g}' for step in one)} mm" for one in rows.spacing]
        for axes, places, texts in (
            (left, np.column_stack((in_plane, slices)), sizes),
            (right, spacings[:, [0, 2]], steps),
        ):
            _make_room(axes, places)
            points.append(_Points(axes, style, places, list(rows["name"]), texts))
    left.set(title="Sizes", xlabel="voxels in the plane (longer edge)", ylabel="slices")
    right.set(title="Spacings", xlabel="smallest spacing (mm)", ylabel="largest spacing (mm)")
    for axes in (left, right):
        axes.ticklabel_format(useOffset=False)
    _legend(drawn, groups, "outside right center")
    return _svg(drawn, points)


def _ages(groups):
    drawn = _figure(3.5)
    axes = drawn.subplots()
    names, ages, styles = zip(*_styled(groups))
    bins = np.arange(0, groups.obj.max() + 2 * _AGE_STEP, _AGE_STEP)
    shown = list(map(drawing.caption, names))
    axes.hist(ages, bins=bins, stacked=True, label=shown, color=[colour for colour, _ in styles])
    axes.set(title=TITLES["ages.svg"], xlabel="years", ylabel="samples")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)
    return _svg(drawn)


def _small_regions(counts):
    drawn = _figure(3.8)
    axes = drawn.subplots()
    places = np.arange(len(counts))
    for (colour, _), side, offset in zip(_STYLES, counts, (-0.2, 0.2)):
        label = f"{side} denoising: {counts[side].sum():,}"
        bars = axes.bar(places + offset, counts[side], 0.4, color=colour, label=label)
        axes.bar_label(bars, fontsize=7)
    shown = [drawing.caption(label_map.shown(name)) for name in counts.index]
    axes.set_xticks(places, shown, rotation=30, ha="right")
    axes.set(title=TITLES["small_regions.svg"], ylabel="regions")
    axes.legend(fontsize=8)
    return _svg(drawn)

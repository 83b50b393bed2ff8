"""Plots of a whole data set for the quality report, as SVG."""

import io
from dataclasses import dataclass

import numpy as np

from utils.qc import drawing
from utils.storage import label_map

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


@dataclass(frozen=True)
class Row:
    """What is plotted of one sample.

    Attributes
    ----------
    modality, sex, scanner : str
    age_years : int or None
    shape : (3,) int
    spacing : (3,) float, mm
    volumes_ml : dict of str to float
        Label name to size, organs that the image cuts off left out.
    small_regions : dict of str to (int, int)
        Label name to small regions before and after denoising.
    """

    modality: str
    sex: str
    scanner: str
    age_years: int | None
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    volumes_ml: dict[str, float]
    small_regions: dict[str, tuple[int, int]]


def draw(rows: list[Row]) -> dict[str, bytes]:
    """Draw all plots for which there are values: file name to SVG file, the same for equal rows."""
    import pandas as pd

    if not rows:
        return {}
    table = pd.DataFrame(rows, columns=list(Row.__annotations__))
    table["person"] = (table.modality + " " + table.sex).str.strip()
    # Not all data sets tell the scanner.
    machine = "scanner" if table.scanner.any() else "modality"
    volumes_ml = pd.DataFrame(list(table.volumes_ml)).dropna(how="all")
    known = table.dropna(subset="age_years")
    small = [(name, *counts) for row in rows for name, counts in row.small_regions.items()]
    plots = {}
    with drawing.plain_style():
        if len(volumes_ml):
            by_person = volumes_ml.groupby(table.person)
            plots["organ_volumes_by_sex.svg"] = _volumes(by_person, "modality and sex")
            by_machine = volumes_ml.groupby(table[machine])
            plots[f"organ_volumes_by_{machine}.svg"] = _volumes(by_machine, machine)
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


def _svg(drawn):
    stream = io.BytesIO()
    drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _styled(groups):
    """Yield (group's name, its members, colour, marker)."""
    for number, (name, members) in enumerate(groups):
        yield name, members, *_STYLES[number % len(_STYLES)]


def _volumes(groups, text):
    names = list(groups.obj)
    n_rows = -(-len(names) // _PER_ROW)
    drawn = _figure(_ROW_INCHES * n_rows + 1)
    drawn.suptitle(f"Organ volumes by {text} (ml; organs that the image cuts off left out)")
    for axes, name in zip(drawn.subplots(n_rows, _PER_ROW, squeeze=False).flat, names):
        for place, (_, members, *style) in enumerate(_styled(groups)):
            _strip(axes, place, members[name].dropna().to_numpy(), *style)
        axes.set_title(drawing.caption(label_map.shown(name)), fontsize=9)
        axes.set_yscale("log")
        ticks = list(map(drawing.caption, groups.groups))
        axes.set_xticks(range(len(groups)), ticks, rotation=30, ha="right", fontsize=7)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        _plain_numbers(axes)
    for axes in drawn.axes[len(names) :]:
        axes.set_axis_off()
    return _svg(drawn)


def _plain_numbers(axes):
    from matplotlib import ticker

    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    low, high = axes.get_ylim()
    marks = [m * 10.0**e for e in range(-3, 6) for m in (1, 1.5, 2, 3, 4, 5, 7)]
    axes.set_yticks([mark for mark in marks if low <= mark <= high])
    axes.tick_params(axis="y", labelsize=7)


def _strip(axes, place, values, colour, marker):
    """Points side by side, and a line at their median."""
    if values.size:
        # Spread evenly by a fixed rule, so that equal rows give equal files.
        aside = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.5
        options = {"markersize": 4, "alpha": 0.7, "markeredgewidth": 0}
        axes.plot(place + aside, values, marker, color=colour, **options)
        axes.hlines(np.median(values), place - 0.35, place + 0.35, color="black", linewidth=1.2)


def _grids(groups):
    drawn = _figure(4.5)
    left, right = drawn.subplots(1, 2)
    for scanner, rows, colour, marker in _styled(groups):
        # The slice axis is the one with the largest spacing.
        spacings = np.sort(np.stack(rows.spacing), axis=1)
        across = [int(np.argmax(spacing)) for spacing in rows.spacing]
        slices = [shape[axis] for shape, axis in zip(rows["shape"], across)]
        in_plane = [max(np.delete(shape, axis)) for shape, axis in zip(rows["shape"], across)]
        options = {"color": colour, "alpha": 0.7, "markersize": 6, "markeredgewidth": 0}
        left.plot(in_plane, slices, marker, label=drawing.caption(scanner), **options)
        right.plot(spacings[:, 0], spacings[:, 2], marker, **options)
    left.set(title="Sizes", xlabel="voxels in the plane (longer edge)", ylabel="slices")
    right.set(title="Spacings", xlabel="smallest spacing (mm)", ylabel="largest spacing (mm)")
    drawn.legend(loc="outside right center", fontsize=8)
    return _svg(drawn)


def _ages(groups):
    drawn = _figure(3.5)
    axes = drawn.subplots()
    names, ages, colours, _ = zip(*_styled(groups))
    bins = np.arange(0, groups.obj.max() + 2 * _AGE_STEP, _AGE_STEP)
    shown = list(map(drawing.caption, names))
    axes.hist(ages, bins=bins, stacked=True, label=shown, color=list(colours))
    axes.set(title="Ages", xlabel="years", ylabel="samples")
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
    axes.set(title="Small regions in all masks (of the background: holes)", ylabel="regions")
    axes.legend(fontsize=8)
    return _svg(drawn)

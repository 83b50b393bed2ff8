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
    shape: tuple
    spacing: tuple
    volumes_ml: dict
    small_regions: dict


def draw(rows: list[Row]) -> dict[str, bytes]:
    """Draw all plots for which there are values.

    Returns
    -------
    dict of str to bytes
        File name to SVG file; the same for the same rows.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.volumes_ml))
    plots = {}
    with drawing.plain_style():
        if names:
            plots["organ_volumes_by_sex.svg"] = _volumes(
                rows,
                names,
                "Organ volumes by modality and sex",
                lambda row: f"{row.modality} {row.sex}",
            )
            plots["organ_volumes_by_scanner.svg"] = _volumes(
                rows, names, "Organ volumes by scanner", lambda row: row.scanner
            )
        plots["sizes_and_spacings.svg"] = _grids(rows)
        if any(row.age_years is not None for row in rows):
            plots["ages.svg"] = _ages(rows)
        if any(row.small_regions for row in rows):
            plots["small_regions.svg"] = _small_regions(rows)
    return plots


def _figure(height_inches):
    from matplotlib import figure

    return figure.Figure((_WIDTH_INCHES, height_inches), layout="constrained")


def _svg(drawn):
    stream = io.BytesIO()
    drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _styles(groups):
    return {group: _STYLES[number % len(_STYLES)] for number, group in enumerate(groups)}


def _volumes(rows, names, title, group_of):
    groups = sorted({group_of(row) for row in rows if row.volumes_ml})
    styles = _styles(groups)
    n_rows = -(-len(names) // _PER_ROW)
    drawn = _figure(_ROW_INCHES * n_rows + 1)
    drawn.suptitle(f"{title} (ml; organs that the image cuts off left out)")
    for axes, name in zip(drawn.subplots(n_rows, _PER_ROW, squeeze=False).flat, names):
        for place, group in enumerate(groups):
            values = [
                row.volumes_ml[name]
                for row in rows
                if group_of(row) == group and name in row.volumes_ml
            ]
            _strip(axes, place, values, *styles[group])
        axes.set_title(label_map.shown(name), fontsize=9)
        axes.set_yscale("log")
        axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right", fontsize=7)
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
    if not values:
        return
    # Spread evenly by a fixed rule, so that equal rows give equal files.
    aside = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.5
    axes.plot(
        place + aside, values, marker, color=colour, markersize=4, alpha=0.7, markeredgewidth=0
    )
    axes.hlines(np.median(values), place - 0.35, place + 0.35, color="black", linewidth=1.2)


def _grids(rows):
    styles = _styles(sorted({row.scanner for row in rows}))
    drawn = _figure(4.5)
    left, right = drawn.subplots(1, 2)
    for scanner, (colour, marker) in styles.items():
        chosen = [row for row in rows if row.scanner == scanner]
        # The slice axis is the one with the largest spacing.
        spacings = np.sort([row.spacing for row in chosen], axis=1)
        across = [int(np.argmax(row.spacing)) for row in chosen]
        slices = [row.shape[axis] for row, axis in zip(chosen, across)]
        in_plane = [max(np.delete(row.shape, axis)) for row, axis in zip(chosen, across)]
        options = {"color": colour, "alpha": 0.7, "markersize": 6, "markeredgewidth": 0}
        left.plot(in_plane, slices, marker, label=scanner, **options)
        right.plot(spacings[:, 0], spacings[:, 2], marker, **options)
    left.set(title="Sizes", xlabel="voxels in the plane (longer edge)", ylabel="slices")
    right.set(title="Spacings", xlabel="smallest spacing (mm)", ylabel="largest spacing (mm)")
    drawn.legend(loc="outside right center", fontsize=8)
    return _svg(drawn)


def _ages(rows):
    groups = sorted({f"{row.modality} {row.sex}" for row in rows if row.age_years is not None})
    ages = [
        [
            row.age_years
            for row in rows
            if f"{row.modality} {row.sex}" == group and row.age_years is not None
        ]
        for group in groups
    ]
    drawn = _figure(3.5)
    axes = drawn.subplots()
    last = max(map(max, ages))
    axes.hist(
        ages,
        bins=np.arange(0, last + 2 * _AGE_STEP, _AGE_STEP),
        stacked=True,
        label=groups,
        color=[_STYLES[number % len(_STYLES)][0] for number in range(len(groups))],
    )
    axes.set(title="Ages", xlabel="years", ylabel="samples")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)
    return _svg(drawn)


def _small_regions(rows):
    names = list(dict.fromkeys(name for row in rows for name in row.small_regions))
    totals = np.array(
        [np.sum([row.small_regions.get(name, (0, 0)) for row in rows], axis=0) for name in names]
    )
    drawn = _figure(3.8)
    axes = drawn.subplots()
    places = np.arange(len(names))
    for side, (text, offset) in enumerate((("before", -0.2), ("after", 0.2))):
        bars = axes.bar(
            places + offset,
            totals[:, side],
            0.4,
            color=_STYLES[side][0],
            label=f"{text} denoising: {totals[:, side].sum():,}",
        )
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(places, [label_map.shown(name) for name in names], rotation=30, ha="right")
    axes.set(title="Small regions in all masks (of the background: holes)", ylabel="regions")
    axes.legend(fontsize=8)
    return _svg(drawn)

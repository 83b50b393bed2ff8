"""Pictures of one sample: a montage with contours, what denoising changed, and a thumbnail."""

import contextlib
import dataclasses
import io

import numpy as np

from utils.qc import anatomy, slices
from utils.storage import label_map

WIDTH_PX = 1500
THUMBNAIL_PX = 220
_DPI = 100
_COMPRESSION = 4  # 10 percent larger than with zlib's own choice, and twice as fast
_GAP_PX = 6
_HEAD_PX, _LEGEND_ROW_PX = 34, 22
_TALLEST_PX = 560
_MARGIN_MM = 25.0
_LEGEND_COLUMNS = 8
# Below this size in a slice an organ gets no number.
_NUMBERED_MM2 = 40.0
_ZOOM_MM = 60.0
_TEXT_COLOUR, _QUIET_COLOUR, _BACKGROUND = "#FFFFFF", "#B8B8B8", "#101010"
# What happened to a voxel -> colour: it left all organs, joined one, or changed sides. Hues that
# no contour has.
_CHANGE_COLOURS = {"removed": "#FF3DD8", "added": "#00E5FF", "changed label": "#FFFFA8"}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One slice to draw.

    Attributes
    ----------
    view : slices.View
    title : str
    image, labels : (rows, columns) array
        Upright; values and label of each pixel.
    spacing : (2,) float, mm
        Of rows and columns.
    magnify : float
        How much larger it is drawn than its neighbours in the row.
    """

    view: slices.View
    title: str
    image: np.ndarray
    labels: np.ndarray
    spacing: tuple
    magnify: float = 1.0

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return tuple(n * step for n, step in zip(self.image.shape, self.spacing))

    def cropped(self, rows: slice, columns: slice) -> "Panel":
        """Cut out a part."""
        return dataclasses.replace(
            self, image=self.image[rows, columns], labels=self.labels[rows, columns]
        )

    @property
    def size_shown(self) -> tuple[float, float]:
        """Height and width beside the other panels of its row."""
        return tuple(self.magnify * size for size in self.size_mm)


def crop_box(labels: np.ndarray, spacing, margin_mm: float = _MARGIN_MM) -> tuple[slice, slice]:
    """Rows and columns that hold all labels of an upright picture and a margin."""
    box = []
    for axis, step in enumerate(spacing):
        filled = np.flatnonzero(labels.any(axis=1 - axis))
        if filled.size == 0:
            return slice(None), slice(None)
        margin = int(np.ceil(margin_mm / step))
        box.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + 1 + margin))
    return tuple(box)


@contextlib.contextmanager
def plain_style():
    """Draw as matplotlib ships, whatever the user's own settings; the same bytes each time."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "qc", "font.size": 9})
        yield


def _figure(width_px, height_px):
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    drawn = figure.Figure((width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    backend_agg.FigureCanvasAgg(drawn)
    return drawn


def _png(drawn):
    stream = io.BytesIO()
    drawn.savefig(
        stream,
        format="png",
        facecolor=_BACKGROUND,
        metadata={"Software": None},
        pil_kwargs={"compress_level": _COMPRESSION},
    )
    return stream.getvalue()


def montage(title: str, rows: list[list[Panel]], window, label_names: dict[int, str]) -> bytes:
    """Draw rows of slices with the contours of their labels.

    Parameters
    ----------
    title : str
    rows : list of list of Panel
        Panels of a row share one scale: the row fills the width, or the largest height allowed.
    window : (float, float)
        Values shown black and white.
    label_names : dict of int to str
        Those in the legend.

    Returns
    -------
    bytes
        A PNG file, `WIDTH_PX` wide, without time stamp.
    """
    placed, height = _layout(rows)
    legend_rows = -(-len(label_names) // _LEGEND_COLUMNS)
    total = _HEAD_PX + height + legend_rows * _LEGEND_ROW_PX + _GAP_PX
    with plain_style():
        drawn = _figure(WIDTH_PX, total)
        drawn.text(10 / WIDTH_PX, 1 - 22 / total, title, color=_TEXT_COLOUR, fontsize=11)
        for panel, box in placed:
            axes = _add_axes(drawn, box, _HEAD_PX, total)
            _draw(axes, panel, window, numbers=True)
            _annotate(axes, panel)
        _legend(drawn, label_names, total)
        return _png(drawn)


def _layout(rows):
    """[(panel, (left, top, width, height) px)], and the height of all rows."""
    placed, top = [], 0
    for row in rows:
        height_shown = max(panel.size_shown[0] for panel in row)
        width_shown = sum(panel.size_shown[1] for panel in row)
        scale = min((WIDTH_PX - _GAP_PX * (len(row) + 1)) / width_shown, _TALLEST_PX / height_shown)
        left = (WIDTH_PX - scale * width_shown - _GAP_PX * (len(row) - 1)) / 2
        for panel in row:
            height, width = (scale * size for size in panel.size_shown)
            placed.append((panel, (left, top + (scale * height_shown - height) / 2, width, height)))
            left += width + _GAP_PX
        top += int(np.ceil(scale * height_shown)) + _GAP_PX
    return placed, top


def _add_axes(drawn, box, head_px, total):
    left, top, width, height = box
    axes = drawn.add_axes(
        (left / WIDTH_PX, 1 - (head_px + top + height) / total, width / WIDTH_PX, height / total)
    )
    axes.set_axis_off()
    return axes


def _draw(axes, panel, window, numbers):
    height_mm, width_mm = panel.size_mm
    # The box of the axes has the picture's own proportions: nothing is stretched.
    axes.imshow(
        panel.image,
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        aspect="auto",
        interpolation="bilinear",
        extent=(0, width_mm, height_mm, 0),
    )
    for value in np.unique(panel.labels[panel.labels > 0]).tolist():
        _draw_contour(axes, panel, value, numbers)
    axes.set_xlim(0, width_mm)
    axes.set_ylim(height_mm, 0)


def _draw_contour(axes, panel, value, numbered):
    import contourpy
    from matplotlib import collections as mpl_collections

    inside = panel.labels == value
    (top, bottom), (left, right) = (
        (places.min(), places.max() + 1) for places in np.nonzero(inside)
    )
    # A rim of zeros closes the contour of an organ that the image cuts off.
    part = np.pad(inside[top:bottom, left:right].astype(np.float32), 1)
    lines = contourpy.contour_generator(z=part).lines(0.5)
    step = np.array(panel.spacing[::-1])
    colour, style = anatomy.line(value)
    axes.add_collection(
        mpl_collections.LineCollection(
            [(line + (left - 0.5, top - 0.5)) * step for line in lines],
            colors=colour,
            linestyles=style if style == "solid" else [(0, (2.2, 1.3))],
            linewidths=1.1,
        )
    )
    if numbered and inside.sum() * step.prod() >= _NUMBERED_MM2:
        places = np.argwhere(inside)
        middle = places[np.square((places - places.mean(axis=0)) * panel.spacing).sum(1).argmin()]
        _text(axes, (middle[::-1] + 0.5) * step, str(value), colour, 7.5, "center", "center")


def _text(axes, place, text, colour, size, across, along, transform=None):
    from matplotlib import patheffects

    axes.text(
        *place,
        text,
        color=colour,
        fontsize=size,
        ha=across,
        va=along,
        transform=transform or axes.transData,
        clip_on=True,
        path_effects=[patheffects.withStroke(linewidth=1.8, foreground="black")],
    )


def _annotate(axes, panel):
    whole = axes.transAxes
    left, right, top, bottom = panel.view.letters
    for place, text, across, along in (
        ((0.012, 0.5), left, "left", "center"),
        ((0.988, 0.5), right, "right", "center"),
        ((0.5, 0.988), top, "center", "top"),
        ((0.5, 0.012), bottom, "center", "bottom"),
    ):
        _text(axes, place, text, _TEXT_COLOUR, 10, across, along, whole)
    _text(axes, (0.012, 0.988), panel.title, _QUIET_COLOUR, 8, "left", "top", whole)
    height_mm, width_mm = panel.size_mm
    if width_mm > 150 and height_mm > 30:
        _scale_bar(axes, height_mm)


def _scale_bar(axes, height_mm):
    x, y = 8.0, height_mm - 6.0
    axes.plot((x, x + 50), (y, y), color=_TEXT_COLOUR, linewidth=1.5)
    _text(axes, (x + 25, y - 2), "5 cm", _TEXT_COLOUR, 7.5, "center", "bottom")


def _legend(drawn, label_names, total):
    from matplotlib import lines

    for number, (value, name) in enumerate(sorted(label_names.items())):
        row, column = divmod(number, _LEGEND_COLUMNS)
        x = (12 + column * (WIDTH_PX - 20) / _LEGEND_COLUMNS) / WIDTH_PX
        y = (
            _GAP_PX + (-(-len(label_names) // _LEGEND_COLUMNS) - row - 0.5) * _LEGEND_ROW_PX
        ) / total
        colour, style = anatomy.line(value)
        drawn.add_artist(
            lines.Line2D(
                (x, x + 26 / WIDTH_PX),
                (y, y),
                color=colour,
                linewidth=2,
                linestyle=style if style == "solid" else (0, (2.2, 1.3)),
            )
        )
        drawn.text(
            x + 33 / WIDTH_PX,
            y,
            f"{value} {label_map.shown(name)}",
            color=_TEXT_COLOUR,
            fontsize=8.5,
            va="center",
        )


def thumbnail(panel: Panel, window) -> bytes:
    """Draw one slice small.

    Returns
    -------
    bytes
        A PNG file.
    """
    height_mm, width_mm = panel.size_mm
    scale = THUMBNAIL_PX / max(height_mm, width_mm)
    with plain_style():
        drawn = _figure(max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        _draw(axes, panel, window, numbers=False)
        return _png(drawn)


def changes(title: str, slices: list[tuple[Panel, np.ndarray]], window) -> bytes:
    """Draw slices before and after denoising, what changed marked.

    Parameters
    ----------
    title : str
    slices : list of (Panel, array)
        The slice after denoising, and its labels before, both upright.
    window : (float, float)

    Returns
    -------
    bytes
        A PNG file, a row for each slice: the whole with a frame around the place with most
        changes, then this place before and after.
    """
    rows = [_before_after(panel, before) for panel, before in slices]
    placed, height = _layout([[panel for panel, _ in row] for row in rows])
    total = _HEAD_PX + height + _LEGEND_ROW_PX + _GAP_PX
    overlays = [overlay for row in rows for _, overlay in row]
    with plain_style():
        drawn = _figure(WIDTH_PX, total)
        drawn.text(10 / WIDTH_PX, 1 - 22 / total, title, color=_TEXT_COLOUR, fontsize=11)
        for (panel, box), overlay in zip(placed, overlays):
            axes = _add_axes(drawn, box, _HEAD_PX, total)
            _draw(axes, panel, window, numbers=False)
            overlay(axes)
            _annotate(axes, panel)
        _change_legend(drawn, total)
        return _png(drawn)


def _before_after(panel, before):
    """The whole slice and the two details, each as (panel, function that draws on top)."""
    changed = before != panel.labels
    kinds = np.where(changed, np.where(panel.labels == 0, 1, np.where(before == 0, 2, 3)), 0)
    rows, columns = _densest(changed, panel.spacing)
    detail = panel.cropped(rows, columns)
    magnify = panel.size_mm[0] / detail.size_mm[0]
    inside = kinds[rows, columns]

    def frame(axes):
        top, left = (side.start * step for side, step in zip((rows, columns), panel.spacing))
        height_mm, width_mm = detail.size_mm
        axes.plot(
            (left, left + width_mm, left + width_mm, left, left),
            (top, top, top + height_mm, top + height_mm, top),
            color=_TEXT_COLOUR,
            linewidth=1,
        )
        _mark(axes, panel, kinds)

    def mark(axes):
        _mark(axes, detail, inside)

    before_detail = dataclasses.replace(
        detail, labels=before[rows, columns], magnify=magnify, title="before"
    )
    after_detail = dataclasses.replace(detail, magnify=magnify, title="after")
    return (panel, frame), (before_detail, mark), (after_detail, mark)


def _densest(changed, spacing):
    """Rows and columns of the window with most changes."""
    from scipy import ndimage as ndi

    size = [min(n, int(np.ceil(_ZOOM_MM / step))) for n, step in zip(changed.shape, spacing)]
    counts = ndi.uniform_filter(changed.astype(np.float64), size, mode="constant")
    best = np.unravel_index(counts.argmax(), counts.shape)
    places = np.argwhere(changed)
    inside = (2 * np.abs(places - best) <= size).all(axis=1)
    middle = places[inside].mean(axis=0)  # so that they do not lie at its edge
    starts = [
        int(np.clip(round(centre - n / 2), 0, length - n))
        for centre, n, length in zip(middle, size, changed.shape)
    ]
    return tuple(slice(start, start + n) for start, n in zip(starts, size))


def _mark(axes, panel, kinds):
    from matplotlib import collections as mpl_collections

    step = np.array(panel.spacing)
    for kind, colour in enumerate(_CHANGE_COLOURS.values(), start=1):
        corners = np.argwhere(kinds == kind) * step
        squares = [
            [(x, y), (x + step[1], y), (x + step[1], y + step[0]), (x, y + step[0])]
            for y, x in corners
        ]
        axes.add_collection(
            mpl_collections.PolyCollection(
                squares, facecolors=colour, edgecolors=colour, alpha=0.75, linewidths=0.8
            )
        )


def _change_legend(drawn, total):
    from matplotlib import patches

    for number, (text, colour) in enumerate(_CHANGE_COLOURS.items()):
        x, y = (12 + 190 * number) / WIDTH_PX, _GAP_PX / total
        drawn.add_artist(patches.Rectangle((x, y), 14 / WIDTH_PX, 14 / total, color=colour))
        drawn.text(
            x + 22 / WIDTH_PX, y + 7 / total, text, color=_TEXT_COLOUR, fontsize=9, va="center"
        )

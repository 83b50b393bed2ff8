"""Pictures of one sample: a montage with contours, what denoising changed, and a thumbnail."""

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Iterator

import numpy as np

from utils import errors
from utils.qc import contours, slices
from utils.storage import label_map

WIDTH_PX = 1500
THUMBNAIL_PX = 220
_DPI = 100
_COMPRESSION = 4  # 10 percent larger than with zlib's own choice, and twice as fast
_GAP_PX = 6
_HEAD_PX, _LEGEND_ROW_PX = 34, 22
_TALLEST_PX = 560
_MARGIN_MM = 25.0
# So many columns of the legend hold names of so many characters, as all of AMOS22 are.
_LEGEND_COLUMNS, _LEGEND_CHARACTERS = 8, 22
_LONGEST_CAPTION = 40
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
    marks : (rows, columns) int or None
        Place in `_CHANGE_COLOURS`, from 1 on, of each pixel that changed.
    frame : (slice, slice) or None
        Rows and columns around which a frame is drawn.
    """

    view: slices.View
    title: str
    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float]
    magnify: float = 1.0
    marks: np.ndarray | None = None
    frame: tuple[slice, slice] | None = None

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        (rows, columns), (row_mm, column_mm) = self.image.shape, self.spacing
        return rows * row_mm, columns * column_mm

    @property
    def size_shown(self) -> tuple[float, float]:
        """Height and width beside the other panels of its row."""
        height_mm, width_mm = self.size_mm
        return self.magnify * height_mm, self.magnify * width_mm

    def cropped(self, rows: slice, columns: slice) -> "Panel":
        """Cut out a part, as it is before anything is drawn on it."""
        image, labels = self.image[rows, columns], self.labels[rows, columns]
        return dataclasses.replace(self, image=image, labels=labels, marks=None, frame=None)


def crop_box(
    labels: np.ndarray, spacing: tuple[float, float], margin_mm: float = _MARGIN_MM
) -> tuple[slice, slice]:
    """Rows and columns that hold all labels of an upright picture and a margin."""
    if not labels.any():
        return slice(None), slice(None)
    box = []
    for axis, step in enumerate(spacing):
        filled = np.flatnonzero(labels.any(axis=1 - axis)).tolist()
        margin = int(np.ceil(margin_mm / step))
        box.append(slice(max(0, filled[0] - margin), filled[-1] + 1 + margin))
    return box[0], box[1]


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Draw as matplotlib ships, whatever the user's own settings; the same bytes each time."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        # Text is text: a $ in a scanner's name begins no formula.
        mpl.rcParams.update({"svg.hashsalt": "qc", "font.size": 9, "text.parse_math": False})
        yield


def caption(text: str) -> str:
    """Return a text of the data as pictures and plots show it: one line, not too long.

    >>> caption("_a" + 40 * "b")
    ' _abbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…'
    """
    shown = errors.printable(text)
    if len(shown) > _LONGEST_CAPTION:
        shown = shown[: _LONGEST_CAPTION - 1] + "…"
    # matplotlib leaves names with an underscore in front out of legends.
    return f" {shown}" if shown.startswith("_") else shown


def _figure(width_px, height_px):
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    drawn = figure.Figure((width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    backend_agg.FigureCanvasAgg(drawn)
    return drawn


def _png(drawn):
    stream = io.BytesIO()
    options = {"facecolor": _BACKGROUND, "metadata": {"Software": None}}
    compression = {"compress_level": _COMPRESSION}
    drawn.savefig(stream, format="png", pil_kwargs=compression, **options)
    return stream.getvalue()


def montage(
    title: str, rows: list[list[Panel]], window: tuple[float, float], label_names: dict[int, str]
) -> bytes:
    """Draw rows of slices with the contours of their labels, as a PNG file without time stamp.

    Parameters
    ----------
    title : str
    rows : list of list of Panel
        Panels of a row share one scale: the row fills the width, or the largest height allowed.
    window : (float, float)
        Values shown black and white.
    label_names : dict of int to str
        Those in the legend.
    """
    entries = {v: f"{v} {caption(label_map.shown(name))}" for v, name in label_names.items()}
    n_columns = legend_columns(entries.values())
    n_rows = -(-len(label_names) // n_columns)
    with plain_style():
        drawn, total = _sheet(title, rows, window, n_rows * _LEGEND_ROW_PX, numbered=True)
        _legend(drawn, entries, (n_rows, n_columns), total)
        return _png(drawn)


def legend_columns(texts: Iterable[str]) -> int:
    """Return how many columns a legend may have without a text in it running into the next one."""
    longest = max(map(len, texts), default=1)
    return max(1, min(_LEGEND_COLUMNS, _LEGEND_COLUMNS * _LEGEND_CHARACTERS // longest))


def changes(
    title: str, compared: list[tuple[Panel, np.ndarray]], window: tuple[float, float]
) -> bytes:
    """Draw slices before and after denoising, what changed marked, as a PNG file.

    `compared` holds the slice after denoising and its labels before, both upright. Each has a row:
    the whole with a frame around the place with most changes, then this place before and after.
    """
    rows = [_before_after(panel, before) for panel, before in compared]
    with plain_style():
        drawn, total = _sheet(title, rows, window, _LEGEND_ROW_PX, numbered=False)
        _change_legend(drawn, total)
        return _png(drawn)


def thumbnail(panel: Panel, window: tuple[float, float]) -> bytes:
    """Draw one slice small, as a PNG file."""
    height_mm, width_mm = panel.size_mm
    scale = THUMBNAIL_PX / max(height_mm, width_mm)
    with plain_style():
        drawn = _figure(max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
        _draw(drawn.add_axes((0, 0, 1, 1)), panel, window, numbered=False)
        return _png(drawn)


def _sheet(title, rows, window, legend_px, numbered):
    """Draw a title and rows of panels above an empty legend; return the figure and its height."""
    placed, height = _layout(rows)
    total = _HEAD_PX + height + legend_px + _GAP_PX
    drawn = _figure(WIDTH_PX, total)
    drawn.text(10 / WIDTH_PX, 1 - 22 / total, title, color=_TEXT_COLOUR, fontsize=11)
    for panel, (left, top, width, height) in placed:
        low = 1 - (_HEAD_PX + top + height) / total
        axes = drawn.add_axes((left / WIDTH_PX, low, width / WIDTH_PX, height / total))
        _draw(axes, panel, window, numbered)
        _annotate(axes, panel)
    return drawn, total


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


def _draw(axes, panel, window, numbered):
    height_mm, width_mm = panel.size_mm
    axes.set_axis_off()
    # The box of the axes has the picture's own proportions: nothing is stretched.
    values = {"cmap": "gray", "vmin": window[0], "vmax": window[1], "interpolation": "bilinear"}
    axes.imshow(panel.image, aspect="auto", extent=(0, width_mm, height_mm, 0), **values)
    for value in np.unique(panel.labels[panel.labels > 0]).tolist():
        _draw_contour(axes, panel, value, numbered)
    axes.set_xlim(0, width_mm)
    axes.set_ylim(height_mm, 0)
    if panel.frame:
        (top, low), (left, right) = (
            (side.start * step, side.stop * step) for side, step in zip(panel.frame, panel.spacing)
        )
        corners = (left, right, right, left, left), (top, top, low, low, top)
        axes.plot(*corners, color=_TEXT_COLOUR, linewidth=1)
    if panel.marks is not None:
        _mark(axes, panel)


def _draw_contour(axes, panel, value, numbered):
    import contourpy
    from matplotlib import collections as mpl_collections

    inside = panel.labels == value
    places = np.argwhere(inside)
    (top, left), (low, right) = places.min(axis=0), places.max(axis=0) + 1
    # A rim of zeros closes the contour of an organ that the image cuts off.
    part = np.pad(inside[top:low, left:right].astype(np.float32), 1)
    step = np.array(panel.spacing[::-1])
    colour, style = contours.line(value)
    lines = [
        (line + (left - 0.5, top - 0.5)) * step
        for line in contourpy.contour_generator(z=part).lines(0.5)
    ]
    style_of_line = {"colors": colour, "linestyles": [style], "linewidths": 1.1}
    axes.add_collection(mpl_collections.LineCollection(lines, **style_of_line))
    if numbered and len(places) * step.prod() >= _NUMBERED_MM2:
        middle = places[np.square((places - places.mean(axis=0)) * panel.spacing).sum(1).argmin()]
        _text(axes, (middle[::-1] + 0.5) * step, str(value), colour, 7.5, "center", "center")


def _text(axes, place, text, colour, size, across, along, **options):
    from matplotlib import patheffects

    outline = [patheffects.withStroke(linewidth=1.8, foreground="black")]
    options.update(color=colour, fontsize=size, clip_on=True, path_effects=outline)
    axes.text(*place, text, ha=across, va=along, **options)


def _annotate(axes, panel):
    whole = axes.transAxes
    left, right, top, bottom = panel.view.letters
    for place, text, across, along in (
        ((0.012, 0.5), left, "left", "center"),
        ((0.988, 0.5), right, "right", "center"),
        ((0.5, 0.988), top, "center", "top"),
        ((0.5, 0.012), bottom, "center", "bottom"),
    ):
        _text(axes, place, text, _TEXT_COLOUR, 10, across, along, transform=whole)
    _text(axes, (0.012, 0.988), panel.title, _QUIET_COLOUR, 8, "left", "top", transform=whole)
    height_mm, width_mm = panel.size_mm
    if width_mm > 150 and height_mm > 30:  # room for a scale bar
        x, y = 8.0, height_mm - 6.0
        axes.plot((x, x + 50), (y, y), color=_TEXT_COLOUR, linewidth=1.5)
        _text(axes, (x + 25, y - 2), "5 cm", _TEXT_COLOUR, 7.5, "center", "bottom")


def _legend(drawn, entries, shape, total):
    from matplotlib import lines

    n_rows, n_columns = shape
    for number, (value, text) in enumerate(sorted(entries.items())):
        row, column = divmod(number, n_columns)
        x = (12 + column * (WIDTH_PX - 20) / n_columns) / WIDTH_PX
        y = (_GAP_PX + (n_rows - row - 0.5) * _LEGEND_ROW_PX) / total
        colour, style = contours.line(value)
        ends = (x, x + 26 / WIDTH_PX), (y, y)
        drawn.add_artist(lines.Line2D(*ends, color=colour, linestyle=style, linewidth=2))
        drawn.text(x + 33 / WIDTH_PX, y, text, color=_TEXT_COLOUR, fontsize=8.5, va="center")


def _before_after(panel, before):
    """The whole slice, framed and marked, and its detail before and after."""
    changed = before != panel.labels
    marks = np.where(changed, np.where(panel.labels == 0, 1, np.where(before == 0, 2, 3)), 0)
    frame = rows, columns = _densest(changed, panel.spacing)
    detail = panel.cropped(rows, columns)
    magnify = panel.size_mm[0] / detail.size_mm[0]
    after = dataclasses.replace(detail, title="after", magnify=magnify, marks=marks[rows, columns])
    return [
        dataclasses.replace(panel, marks=marks, frame=frame),
        dataclasses.replace(after, title="before", labels=before[rows, columns]),
        after,
    ]


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


def _mark(axes, panel):
    from matplotlib import collections as mpl_collections

    height, width = panel.spacing
    square = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    for kind, colour in enumerate(_CHANGE_COLOURS.values(), start=1):
        corners = np.argwhere(panel.marks == kind)[:, None, ::-1] * (width, height)
        fill = {"facecolors": colour, "edgecolors": colour, "alpha": 0.75, "linewidths": 0.8}
        axes.add_collection(mpl_collections.PolyCollection(corners + square, **fill))


def _change_legend(drawn, total):
    from matplotlib import patches

    for number, (text, colour) in enumerate(_CHANGE_COLOURS.items()):
        x, y = (12 + 190 * number) / WIDTH_PX, _GAP_PX / total
        drawn.add_artist(patches.Rectangle((x, y), 14 / WIDTH_PX, 14 / total, color=colour))
        place = x + 22 / WIDTH_PX, y + 7 / total
        drawn.text(*place, text, color=_TEXT_COLOUR, fontsize=9, va="center")

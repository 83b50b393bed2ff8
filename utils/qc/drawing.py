"""Pictures of one sample: a montage with contours, what denoising changed, and a thumbnail."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from utils import errors
from utils.qc import changes, contours, raster, slices
from utils.storage import label_map

WIDTH_PX = 1500
THUMBNAIL_PX = 220
_GAP_PX = 6
_HEAD_PX, _LEGEND_ROW_PX = 34, 22
_TALLEST_PX = 560
_MARGIN_MM = 25.0
# So many columns of the legend hold names of so many characters, as all of AMOS22 are.
_LEGEND_COLUMNS, _LEGEND_CHARACTERS = 8, 22
_LONGEST_CAPTION = 40
# Below this size in a slice an organ gets no number.
_NUMBERED_MM2 = 40.0
# Sizes of texts.
_TITLE_PX, _LETTER_PX, _LEGEND_PX, _PANEL_PX, _SMALL_PX = 15, 14, 12, 11, 10.5
_LEGEND_LINE_PX, _MARK_RIM_PX = 2.8, 0.55
_TEXT_COLOUR, _QUIET_COLOUR = "#FFFFFF", "#B8B8B8"
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
    occupied: tuple[np.ndarray, np.ndarray],
    spacing: tuple[float, float],
    margin_mm: float = _MARGIN_MM,
) -> tuple[slice, slice]:
    """Rows and columns of an upright picture that hold all labels and a margin.

    `occupied` tells which rows and which columns do, (n,) bool.
    """
    box = []
    for is_filled, step in zip(occupied, spacing):
        filled = np.flatnonzero(is_filled).tolist()
        if not filled:
            return slice(None), slice(None)
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


def montage(
    title: str, rows: list[list[Panel]], window: tuple[float, float], label_names: dict[int, str]
) -> bytes:
    """Draw rows of slices with the contours of their labels, as a JPEG file.

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
    return _sheet(title, rows, window, _legend(label_names), numbered=True).jpeg()


def legend_columns(texts: Iterable[str]) -> int:
    """Return how many columns a legend may have without a text in it running into the next one."""
    longest = max(map(len, texts), default=1)
    return max(1, min(_LEGEND_COLUMNS, _LEGEND_COLUMNS * _LEGEND_CHARACTERS // longest))


def comparison(
    title: str, compared: list[tuple[Panel, np.ndarray]], window: tuple[float, float]
) -> bytes:
    """Draw slices before and after denoising, what changed marked, as a JPEG file.

    `compared` holds the slice after denoising and its labels before, both upright. Each has a row:
    the whole with a frame around the place with most changes, then this place before and after.
    """
    rows = [_before_after(panel, before) for panel, before in compared]
    return _sheet(title, rows, window, _change_legend(), numbered=False).jpeg()


def thumbnail(panel: Panel, window: tuple[float, float]) -> bytes:
    """Draw one slice small, as a JPEG file."""
    height_mm, width_mm = panel.size_mm
    scale = THUMBNAIL_PX / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    return _drawn(panel, size, window, numbered=False).jpeg()


def _sheet(title, rows, window, legend, numbered):
    """Draw a title and rows of panels above a legend."""
    placed, height = _layout(rows)
    sheet = raster.Picture(WIDTH_PX, _HEAD_PX + height + legend.size[1] + _GAP_PX)
    sheet.text((10, 22), title, _TEXT_COLOUR, _TITLE_PX, "ls", is_outlined=False)
    for panel, (left, top, *size) in placed:
        picture = _drawn(panel, [max(1, round(length)) for length in size], window, numbered)
        _annotate(picture, panel)
        sheet.put(picture, round(left), _HEAD_PX + round(top))
    sheet.put(legend, 0, _HEAD_PX + height)
    return sheet


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


def _drawn(panel, size, window, numbered):
    """A panel's slice with contours, marks, frame and numbers; `size` is its width and height."""
    picture = raster.Picture(*size)
    picture.fill(_levels(panel.image, window))
    pixel = np.divide(size, panel.image.shape[::-1])  # width and height of one of the slice's
    organs = [*_organs(panel.labels)]
    picture.lines(
        ((points + corner) * pixel, *contours.line(value))
        for value, inside, corner in organs
        for points in contours.trace(inside)
    )
    if panel.marks is not None:
        _mark(picture, panel.marks, pixel)
    if panel.frame:
        rows, columns = panel.frame
        corners = np.array([(columns.start, rows.start), (columns.stop, rows.stop)]) * pixel
        picture.rectangle(corners, _TEXT_COLOUR, is_filled=False)
    for value, inside, corner in organs if numbered else ():
        if np.count_nonzero(inside) * np.prod(panel.spacing) >= _NUMBERED_MM2:
            place = (np.add(slices.middle(inside, panel.spacing)[::-1], corner) + 0.5) * pixel
            picture.text(tuple(place), str(value), contours.line(value)[0], _SMALL_PX, "mm")
    return picture


def _levels(image, window):
    """Grey levels of values; those outside of the window are black or white."""
    low, high = window
    with np.errstate(over="ignore"):
        levels = (image - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _organs(labels):
    """(value, where it is, upper left corner) of each label, within its box in the slice."""
    from scipy import ndimage as ndi

    for value, box in enumerate(ndi.find_objects(labels), start=1):
        if box:
            yield value, labels[box] == value, (box[1].start, box[0].start)


def _annotate(picture, panel):
    width, height = picture.size
    left, right, top, bottom = panel.view.letters
    for place, text, anchor in (
        ((0.012 * width, height / 2), left, "lm"),
        ((0.988 * width, height / 2), right, "rm"),
        ((width / 2, 0.012 * height), top, "mt"),
        ((width / 2, 0.988 * height), bottom, "mb"),
    ):
        picture.text(place, text, _TEXT_COLOUR, _LETTER_PX, anchor)
    picture.text((0.012 * width, 0.012 * height), panel.title, _QUIET_COLOUR, _PANEL_PX, "lt")
    height_mm, width_mm = panel.size_mm
    if width_mm > 150 and height_mm > 30:  # room for a scale bar
        scale, y = width / width_mm, height - 6 * height / height_mm
        picture.rectangle(np.array([(8 * scale, y - 1), (58 * scale, y + 1)]), _TEXT_COLOUR)
        picture.text((33 * scale, y - 3), "5 cm", _TEXT_COLOUR, _SMALL_PX, "mb")


def _legend(label_names):
    entries = {v: f"{v} {caption(label_map.shown(name))}" for v, name in label_names.items()}
    n_columns = legend_columns(entries.values())
    n_rows = -(-len(entries) // n_columns)
    legend = raster.Picture(WIDTH_PX, max(1, n_rows * _LEGEND_ROW_PX))
    lines = []
    for number, (value, text) in enumerate(sorted(entries.items())):
        row, column = divmod(number, n_columns)
        x, y = 12 + column * (WIDTH_PX - 20) / n_columns, (row + 0.5) * _LEGEND_ROW_PX
        lines.append((np.array([(x, y), (x + 26, y)]), *contours.line(value)))
        legend.text((x + 33, y), text, _TEXT_COLOUR, _LEGEND_PX, "lm", is_outlined=False)
    legend.lines(lines, _LEGEND_LINE_PX)
    return legend


def _before_after(panel, before):
    """The whole slice, framed and marked, and its detail before and after."""
    changed = before != panel.labels
    marks = np.where(changed, np.where(panel.labels == 0, 1, np.where(before == 0, 2, 3)), 0)
    frame = rows, columns = changes.densest(changed, panel.spacing)
    detail = panel.cropped(rows, columns)
    magnify = panel.size_mm[0] / detail.size_mm[0]
    after = dataclasses.replace(detail, title="after", magnify=magnify, marks=marks[rows, columns])
    return [
        dataclasses.replace(panel, marks=marks, frame=frame),
        dataclasses.replace(after, title="before", labels=before[rows, columns]),
        after,
    ]


def _mark(picture, marks, pixel):
    """Colour the pixels that changed, wide enough to be seen."""
    rows, columns = np.nonzero(marks)
    starts = np.column_stack([columns, rows])
    corners = np.hstack([starts * pixel - _MARK_RIM_PX, (starts + 1) * pixel + _MARK_RIM_PX])
    picture.patches(corners, marks[rows, columns] - 1, list(_CHANGE_COLOURS.values()))


def _change_legend():
    legend = raster.Picture(WIDTH_PX, _LEGEND_ROW_PX)
    for number, (text, colour) in enumerate(_CHANGE_COLOURS.items()):
        x, y = 12 + 190 * number, _LEGEND_ROW_PX / 2
        legend.rectangle(np.array([(x, y - 7), (x + 14, y + 7)]), colour)
        legend.text((x + 22, y), text, _TEXT_COLOUR, _LEGEND_PX, "lm", is_outlined=False)
    return legend

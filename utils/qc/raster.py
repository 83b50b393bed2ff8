"""Pictures as arrays: grey values, smooth lines and patches of colour, texts, JPEG files."""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

BACKGROUND = "#101010"
# Lines are drawn so many times larger first: that makes them smooth.
_FINER = 2
_LINE_PX = 1.6
# Of patches.
_OPACITY = 0.85
# Lengths along a line; Pillow draws dashes half a pixel longer.
_DASH_PX, _GAP_PX = 2.9, 2.5
_JPEG_QUALITY = 70
# The font that matplotlib brings: it has Greek and Cyrillic letters.
_FONT = "DejaVuSans.ttf"
_OF_MATPLOTLIB = "mpl-data/fonts/ttf"


class Picture:
    """A picture to draw on; places are (x, y) in pixels from its upper left corner."""

    def __init__(self, width: int, height: int):
        from PIL import Image

        self.image = Image.new("RGB", (width, height), BACKGROUND)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size

    def fill(self, levels: np.ndarray) -> None:
        """Spread grey levels, (rows, columns) uint8, over the whole."""
        from PIL import Image

        small = Image.fromarray(np.ascontiguousarray(levels))
        self.image.paste(small.resize(self.size, Image.Resampling.BILINEAR))

    def put(self, other: "Picture", left: int, top: int) -> None:
        """Put another picture on this one."""
        self.image.paste(other.image, (left, top))

    def lines(
        self, lines: Iterable[tuple[np.ndarray, str, bool]], width_px: float = _LINE_PX
    ) -> None:
        """Draw lines: points, (n, 2) float, colour, and whether it is dashed."""
        colours: dict[str, int] = {}
        image, draw = self._finer()
        width = round(width_px * _FINER)
        for points, colour, is_dashed in lines:
            number = colours.setdefault(colour, len(colours) + 1)
            for part in _dashes(points) if is_dashed else [points]:
                draw.line(_fine(part), number, width)
        self._blend(image, list(colours))

    def rectangle(self, corners: np.ndarray, colour: str, is_filled: bool = True) -> None:
        """Draw a rectangle; `corners` are its upper left and its lower right one."""
        from PIL import ImageDraw

        (left, top), (right, low) = np.rint(corners).astype(int).tolist()
        box = left, top, max(left, right - 1), max(top, low - 1)
        ImageDraw.Draw(self.image).rectangle(box, colour if is_filled else None, colour)

    def patches(self, corners: np.ndarray, kinds: np.ndarray, colours: list[str]) -> None:
        """Colour rectangles, (n, 4) float, left, top, right, low; each by its kind, 0, 1, ..."""
        image, draw = self._finer()
        places = np.rint(corners * _FINER - (0, 0, 1, 1)).astype(int)
        for place, kind in zip(places.tolist(), kinds.tolist()):
            draw.rectangle(place, kind + 1)
        self._blend(image, colours, _OPACITY)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        colour: str,
        size_px: float,
        anchor: str,
        is_outlined: bool = True,
    ) -> None:
        """Write one line of text; for `anchor` see Pillow's text anchors."""
        from PIL import ImageDraw

        draw = ImageDraw.Draw(self.image)
        stroke = 1 if is_outlined else 0
        font = _font(size_px)
        draw.text(place, text, colour, font, anchor, stroke_width=stroke, stroke_fill="black")

    def jpeg(self) -> bytes:
        """Return the picture as a JPEG file; colours keep their full resolution."""
        stream = io.BytesIO()
        self.image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return stream.getvalue()

    def _finer(self):
        """An empty picture of colour numbers, and what draws on it."""
        from PIL import Image, ImageDraw

        image = Image.new("L", [_FINER * length for length in self.size])
        return image, ImageDraw.Draw(image)

    def _blend(self, fine, colours, opacity=1.0):
        """Colour what was drawn; numbers stand for the colours, from 1 on."""
        from PIL import Image, ImageColor

        rgb = np.array([(0, 0, 0), *map(ImageColor.getrgb, colours)], np.float32)
        table = np.column_stack([rgb, np.arange(len(rgb)) > 0]) * np.float32(opacity / _FINER**2)
        width, height = self.size
        numbers = np.asarray(fine).reshape(height, _FINER, width, _FINER)
        parts = [numbers[:, y, :, x] for y in range(_FINER) for x in range(_FINER)]
        rows, columns = np.nonzero(functools.reduce(np.bitwise_or, parts).astype(bool))
        mixed = sum(table[part[rows, columns]] for part in parts)
        picture = np.array(self.image)
        below = picture[rows, columns] * (1 - mixed[:, 3:])
        picture[rows, columns] = np.rint(below + mixed[:, :3])
        self.image = Image.fromarray(picture)


def _fine(points):
    """Places in the larger picture, as the flat list that Pillow is quick with."""
    return np.rint(points * _FINER - 0.5).ravel().tolist()


def _dashes(points):
    """The parts of a line that are drawn: a dash, a gap, and so on along its length."""
    along = np.append(0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    starts = np.arange(0, along[-1], _DASH_PX + _GAP_PX)
    stops = np.minimum(starts + _DASH_PX, along[-1])
    places = np.unique(np.concatenate([along, starts, stops]))
    path = np.column_stack([np.interp(places, along, axis) for axis in points.T])
    ends = np.searchsorted(places, starts), np.searchsorted(places, stops)
    return [path[start : stop + 1] for start, stop in zip(*ends)]


@functools.cache
def _font(size_px):
    from PIL import ImageFont

    plain = ImageFont.Layout.BASIC
    spec = importlib.util.find_spec("matplotlib")  # importing it takes long
    folders = spec.submodule_search_locations if spec else None
    for path in [*(Path(folder, _OF_MATPLOTLIB, _FONT) for folder in folders or ()), _FONT]:
        with contextlib.suppress(OSError):  # then one of the system's, or the one Pillow brings
            return ImageFont.truetype(str(path), size_px, layout_engine=plain)
    return ImageFont.load_default(size_px)

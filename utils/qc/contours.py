"""Contours of labels: where they run, in which colour, solid or dashed."""

from typing import Any

import numpy as np

# The eight hues of Okabe and Ito that also colour-blind people tell apart, lightened where they
# would drown in a dark picture, each once as a solid and once as a dashed line.
_HUES = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#12C18A",
    "yellow": "#F0E442",
    "blue": "#3D7DFF",
    "red": "#F2601D",
    "pink": "#E58CC0",
    "white": "#FFFFFF",
}
# In AMOS22's order, so that neighbours differ in hue: 1 spleen .. 16 uterus.
_ORDER = "pink sky orange yellow white green red orange blue yellow sky red pink white green blue"
_COLOURS = [_HUES[name] for name in _ORDER.split()]
_DASHED = frozenset({5, 8, 10, 11, 12, 13, 15, 16})


def line(value: int) -> tuple[str, bool]:
    """Colour of a label's contour, and whether it is dashed; labels above 16 start over."""
    place = (value - 1) % len(_COLOURS)
    return _COLOURS[place], place + 1 in _DASHED


def trace(inside: np.ndarray) -> list[np.ndarray]:
    """Contours of what is inside, (rows, columns) bool: points, (n, 2) x and y, in pixels.

    The upper left corner of the picture is (0, 0).
    """
    from contourpy import contour_generator

    # A rim of zeros closes the contour of an organ that the image cuts off.
    rimmed = np.pad(inside.astype(np.float32), 1)
    generator: Any = contour_generator(z=rimmed)
    return [points - 0.5 for points in generator.lines(0.5)]

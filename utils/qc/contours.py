"""Colours and line styles of the labels' contours."""

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
_DASHES = (0, (2.2, 1.3))  # in line widths


def line(value: int) -> tuple[str, str | tuple]:
    """Colour and matplotlib line style of a label's contour; labels above 16 start over."""
    place = (value - 1) % len(_COLOURS)
    return _COLOURS[place], _DASHES if place + 1 in _DASHED else "solid"

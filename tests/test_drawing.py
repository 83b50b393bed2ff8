"""Pictures: proportions, contours, marks, texts, and bytes that do not depend on the user."""

import importlib.util
import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageColor

from utils.qc import contours, drawing, raster, slices

VIEW = slices.views(np.eye(4))["axial"]


def _panel(shape, spacing, labels=None, **more):
    values = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint8) if labels is None else labels
    return drawing.Panel(VIEW, "axial 1/9", values, labels, spacing, **more)


def _opened(content):
    """Pixels of a JPEG file, (rows, columns, 3) int; its colours are as fine as its greys."""
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "JPEG" and picture.layer[0][1:3] == (1, 1) == picture.layer[1][1:3]
    return np.asarray(picture).astype(int)


def _near(pixels, colour, within=60):
    """Which pixels have nearly a colour."""
    return np.abs(pixels - ImageColor.getrgb(colour)).max(axis=-1) <= within


def test_a_thumbnail_has_the_proportions_of_the_patient():
    picture = _opened(drawing.thumbnail(_panel((20, 200), (5.0, 1.0)), (0, 1)))
    assert picture.shape[:2] == (drawing.THUMBNAIL_PX // 2, drawing.THUMBNAIL_PX)


def test_the_box_holds_all_labels_and_a_margin():
    labels = np.zeros((50, 60), bool)
    labels[20, 30] = labels[25, 3] = True
    occupied = labels.any(axis=1), labels.any(axis=0)
    rows, columns = drawing.crop_box(occupied, (2.0, 5.0), margin_mm=10)
    assert (rows, columns) == (slice(15, 31), slice(1, 33))
    nothing = np.zeros(50, bool), np.zeros(60, bool)
    assert drawing.crop_box(nothing, (2.0, 5.0)) == (slice(None), slice(None))


def _montage(labels, names, spacing=(3.0, 3.0), values=None):
    panel = _panel(labels.shape, spacing, labels)
    return drawing.montage("t", [[panel]], (0, 1), names)


def test_the_users_own_settings_do_not_show(monkeypatch):
    labels = np.zeros((40, 50), np.uint8)
    labels[10:30, 10:40] = 6
    first = _montage(labels, {6: "liver"})
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    assert _montage(labels, {6: "liver"}) == first
    with drawing.plain_style():
        assert mpl.rcParams["font.size"] == 9
    assert mpl.rcParams["font.size"] == 30


def test_long_names_of_labels_get_wider_columns_in_the_legend():
    assert drawing.legend_columns(["11 right adrenal gland", "1 spleen"]) == 8
    assert drawing.legend_columns(["10 lung upper lobe left a"]) == 7
    assert drawing.legend_columns(["9" * 44]) == 4
    assert drawing.legend_columns([]) == 8


def test_contours_run_around_their_labels_in_their_colours():
    labels = np.zeros((100, 100), np.uint8)
    labels[20:60, 30:80], labels[70:90, 10:20] = 4, 6
    picture = _opened(drawing.thumbnail(_panel(labels.shape, (2.2, 2.2), labels), (0, 1)))
    scale = drawing.THUMBNAIL_PX / 100
    for value, (top, low, left, right) in {4: (20, 60, 30, 80), 6: (70, 90, 10, 20)}.items():
        rows, columns = np.nonzero(_near(picture, contours.line(value)[0]))
        edges = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
        assert np.abs(edges - np.array([top, low, left, right]) * scale).max() <= 2
        inner = picture[int(top * scale) + 5 : int(low * scale) - 5]
        assert inner[:, int(left * scale) + 5 : int(right * scale) - 5].max() < 60


def test_values_are_shown_by_the_window():
    values = np.repeat([-5.0, 0.0, 0.5, 1.0, 9.0], 40)[None].repeat(40, 0).astype(np.float32)
    panel = drawing.Panel(VIEW, "t", values, np.zeros(values.shape, np.uint8), (1.0, 1.0))
    picture = _opened(drawing.thumbnail(panel, (0.0, 1.0)))
    middles = picture[22, [22, 66, 110, 154, 198], 0]
    assert np.abs(middles - (0, 0, 128, 255, 255)).max() <= 2


def test_a_line_of_dashes_is_drawn_in_parts():
    way = np.array([(5.0, 10.0), (95.0, 10.0)])
    drawn = []
    for is_dashed in (False, True):
        picture = raster.Picture(100, 20)
        picture.lines([(way, "#FFFFFF", is_dashed)])
        drawn.append(np.asarray(picture.image)[10, 6:94, 0] > 128)
    solid, dashed = drawn
    assert solid.all() and 0.5 < dashed.mean() < 0.75
    assert np.count_nonzero(np.diff(dashed.astype(int)) == -1) == pytest.approx(16, abs=1)


def test_dashes_follow_a_line_around_corners():
    corners = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 7.0), (0.0, 7.0), (0.0, 0.0)])
    parts = raster._dashes(corners)
    lengths = [np.hypot(*np.diff(part, axis=0).T).sum() for part in parts]
    assert lengths[:-1] == pytest.approx([2.9] * (len(parts) - 1))
    starts = np.arange(0, 34, 5.4)
    assert sum(lengths) == pytest.approx(np.minimum(starts + 2.9, 34).sum() - starts.sum())


def test_pixels_that_changed_are_marked_where_they_are():
    labels, before = np.zeros((2, 90, 120), np.uint8)
    before[40, 60], labels[10, 20] = 6, 6
    before[80, 100], labels[80, 100] = 6, 2
    (panel, before_panel, after) = drawing._before_after(
        _panel(labels.shape, (1.0, 1.0), labels), before
    )
    picture = np.asarray(drawing._drawn(panel, (480, 360), (0, 1), False).image).astype(int)
    for place, colour in (((40, 60), "#FF3DD8"), ((10, 20), "#00E5FF"), ((80, 100), "#FFFFA8")):
        row, column = (4 * n + 2 for n in place)
        assert _near(picture[row, column], colour, 45), place
    assert (before_panel.title, after.title) == ("before", "after")


def test_a_changed_pixel_smaller_than_one_of_the_picture_is_seen():
    labels, before = np.zeros((2, 900, 900), np.uint8)
    before[450, 450] = 6
    panel = drawing._before_after(_panel(labels.shape, (1.0, 1.0), labels), before)[0]
    picture = np.asarray(drawing._drawn(panel, (300, 300), (0, 1), False).image).astype(int)
    assert picture[149:152, 149:152, 0].max() > 100


@pytest.mark.parametrize("text", ["печень", "ήπαρ", "Leber ä", "é"])
def test_letters_of_other_alphabets_are_drawn(text):
    def drawn(letters):
        picture = raster.Picture(200, 40)
        picture.text((10, 20), letters, "#FFFFFF", 15, "lm")
        return np.asarray(picture.image)

    missing = drawn("\U000f0000" * len(text))  # no font has it
    assert not np.array_equal(drawn(text), missing)
    letters = {drawn(letter).tobytes() for letter in set(text)}
    assert len(letters) == len(set(text))


def test_without_matplotlibs_font_another_one_is_taken(monkeypatch):
    raster._font.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    picture = raster.Picture(60, 20)
    picture.text((5, 10), "liver", "#FFFFFF", 13, "lm")
    assert np.asarray(picture.image).max() > 200
    raster._font.cache_clear()


def test_text_of_a_panel_ends_at_its_edge():
    panel = _panel((10, 4), (50.0, 50.0))
    other = _panel((10, 40), (50.0, 50.0))
    long = drawing.Panel(VIEW, "x" * 400, *(panel.image, panel.labels), panel.spacing)
    plain, written = (
        _opened(drawing.montage("t", [[one, other]], (0, 1), {})) for one in (panel, long)
    )
    left = 1500 * 4 / 44
    assert np.abs(plain - written)[:, int(left) + 12 :].max() <= 8


def test_numbers_stand_in_organs_large_enough():
    labels = np.zeros((100, 100), np.uint8)
    labels[20:60, 20:60] = 6
    with_number, without = (
        np.asarray(
            drawing._drawn(_panel((100, 100), (step, step), labels), (400, 400), (0, 1), True).image
        )
        for step in (1.0, 0.1)
    )
    inside = np.s_[100:220, 100:220]
    assert with_number[inside].max() > 150 and without[inside].max() < 60

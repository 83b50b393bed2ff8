"""Pictures: proportions, the place with most changes, and bytes that do not depend on the user."""

import io

import matplotlib as mpl
import numpy as np
from matplotlib import image

from utils.qc import drawing, slices

VIEW = slices.views(np.eye(4))["axial"]


def _panel(shape, spacing, labels=None):
    values = np.zeros(shape, np.float32)
    return drawing.Panel(
        VIEW, "axial 1/9", values, np.zeros(shape, np.uint8) if labels is None else labels, spacing
    )


def test_a_thumbnail_has_the_proportions_of_the_patient():
    picture = drawing.thumbnail(_panel((20, 200), (5.0, 1.0)), (0, 1))
    height, width = image.imread(io.BytesIO(picture)).shape[:2]
    assert (height, width) == (drawing.THUMBNAIL_PX // 2, drawing.THUMBNAIL_PX)


def test_the_box_holds_all_labels_and_a_margin():
    labels = np.zeros((50, 60), np.uint8)
    labels[20, 30], labels[25, 3] = 1, 2
    rows, columns = drawing.crop_box(labels, (2.0, 5.0), margin_mm=10)
    assert (rows, columns) == (slice(15, 31), slice(1, 33))


def test_the_detail_holds_the_changes_also_where_two_places_are_as_good():
    changed = np.zeros((200, 200), bool)
    changed[30, 30] = changed[170, 160] = True
    rows, columns = drawing._densest(changed, (1.0, 1.0))
    assert changed[rows, columns].sum() == 1
    changed[175, 165] = True
    rows, columns = drawing._densest(changed, (1.0, 1.0))
    assert changed[rows, columns].sum() == 2


def test_the_users_own_settings_do_not_show(monkeypatch):
    labels = np.zeros((40, 50), np.uint8)
    labels[10:30, 10:40] = 6

    def draw():
        return drawing.montage("t", [[_panel((40, 50), (3.0, 3.0), labels)]], (0, 1), {6: "liver"})

    first = draw()
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    monkeypatch.setitem(mpl.rcParams, "savefig.dpi", 40)
    assert draw() == first
    assert mpl.rcParams["font.size"] == 30


def test_long_names_of_labels_get_wider_columns_in_the_legend():
    assert drawing.legend_columns(["11 right adrenal gland", "1 spleen"]) == 8
    assert drawing.legend_columns(["10 lung upper lobe left a"]) == 7
    assert drawing.legend_columns(["9" * 44]) == 4
    assert drawing.legend_columns([]) == 8

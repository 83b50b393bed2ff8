"""The data of the page of a sample: decoded again, they are the scan and its labels."""

import base64
import io
import json
import re
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from utils.qc import anatomy, binning, slices, viewer_data, volume_stream
from utils.storage import nifti

CT = "CT", anatomy.CT_WINDOW
SHAPES = {
    "small": (20, 30, 9),
    "many slices": (24, 17, 70),
    "one slice": (12, 10, 1),
    "one voxel": (1, 1, 1),
    "wide": (513, 40, 3),
    "wide and high": (515, 770, 2),
}


def _decoded(given, shape, across):
    """Grey levels of the viewer's grid, out of the sheets."""
    levels = np.zeros(shape, np.uint8)
    width, height = np.delete(shape, across)
    for number, address in enumerate(given["sheets"]):
        head, content = address.split(",")
        assert head == "data:image/jpeg;base64"
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        n_slices = min(64, shape[across] - 64 * number)
        assert sheet.shape == (-(-n_slices // 8) * height, 8 * width)
        for k in range(n_slices):
            top, left = k // 8 * height, k % 8 * width
            tile = sheet[top : top + height, left : left + width].T
            levels[(slice(None),) * across + (64 * number + k,)] = tile
    return levels


def _smooth(shape):
    """Values that JPEG hardly changes, from -900 to 1100."""
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    return (2000 * (axes[0] + axes[1] + axes[2]) / 3 - 900).astype(np.float32)


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("kind", SHAPES)
def test_sheets_hold_every_slice_in_its_place(kind, across):
    shape = tuple(np.roll(SHAPES[kind], across - 2).tolist())
    values = _smooth(shape)
    given = viewer_data.greys(values, across, *CT)
    levels = _decoded(given, shape, across)
    table = np.array(given["values"])
    nearest = np.interp(values, table, range(256))
    assert len(given["sheets"]) == -(-shape[across] // 64)
    off = np.abs(levels - nearest)
    assert off.mean() < 3 and np.quantile(off, 0.99) <= 16  # by JPEG, above all at edges of tiles


def test_levels_are_the_nearest_ones_before_they_are_packed():
    values = np.linspace(-1100, 1600, 60_000, dtype=np.float32).reshape(100, 600, 1)
    table, _ = viewer_data._levels_and_windows(*CT)
    (sheet,) = viewer_data._sheets(values, 2, table)
    levels = sheet[:600, :100].T
    nearest = np.abs(table - values).argmin(axis=2)
    assert np.abs(levels.astype(int) - nearest).max() <= 1
    assert (levels == nearest).mean() > 0.9  # else it lies between two, as good as halfway


def test_levels_of_ct_are_four_units_apart_in_soft_tissue():
    given = viewer_data.greys(np.zeros((4, 4, 2), np.float32), 2, *CT)
    values = np.array(given["values"])
    assert len(values) == 256 and (np.diff(values) > 0).all()
    assert (values[0], values[-1]) == (-1024, 1500)
    inside = (values >= -200) & (values <= 300)
    assert np.diff(values[inside]).max() <= 4 and values[inside][[0, -1]].tolist() == [-200, 300]
    assert np.diff(values).max() < 16
    assert [window["name"] for window in given["windows"]] == ["soft tissue", "lung", "bone"]
    assert given["windows"][0] == {"name": "soft tissue", "low": -160, "high": 240}


@pytest.mark.parametrize("window", [(3.0, 700.0), (0.0, 1e-6), (-5.0, 3e6), (1e30, 1.000001e30)])
def test_levels_of_mri_have_room_above_the_usual_window(window):
    low, high = window
    given = viewer_data.greys(np.full((4, 4, 2), low, np.float32), 2, "MRI", window)
    values = np.array(given["values"])
    assert (np.diff(values) > 0).all() and values[0] == low
    assert values[-1] == pytest.approx(high + (high - low))
    windows = {window["name"]: (window["low"], window["high"]) for window in given["windows"]}
    assert list(windows) == ["normal", "bright", "wide"]
    assert windows["normal"] == window and windows["wide"] == (values[0], values[-1])
    assert windows["bright"][1] < high


@pytest.mark.parametrize(("size", "most"), [((256, 256, 24), 520_000), ((300, 280, 110), 572_000)])
def test_noise_takes_no_more_than_its_share(size, most):
    noise = np.random.default_rng(0).normal(40, 25, size).astype(np.float32)
    sheets = viewer_data.greys(noise, 2, *CT)["sheets"]
    n_bytes = sum(len(sheet) for sheet in sheets) * 3 / 4
    assert 0.7 * most < n_bytes < 1.1 * most
    quiet = viewer_data.greys(np.zeros_like(noise), 2, *CT)["sheets"]
    assert sum(map(len, quiet)) < sum(map(len, sheets)) / 4


def _labels_of(layer, size):
    labels = zlib.decompress(base64.b64decode(layer["deflated"]))
    return np.frombuffer(labels, np.uint8).reshape(size, order="F")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("kind", SHAPES)
def test_labels_are_given_back_exactly(kind, across, order):
    shape = tuple(np.roll(SHAPES[kind], across - 2).tolist())
    rng = np.random.default_rng(0)
    mask = np.where(rng.random(shape) < 0.7, 0, rng.integers(0, 256, shape)).astype(np.uint8)
    mask = np.asarray(mask, order=order)
    grid = binning.Grid.of(shape, across)
    layer = viewer_data.layer("mask", "mask", grid.labels(mask))
    assert (layer["key"], layer["title"]) == ("mask", "mask")
    labels = _labels_of(layer, grid.size)
    rest = [(0, -length % n) for length, n in zip(shape, grid.bins)]
    pairs = [part for pair in zip(grid.size, grid.bins) for part in pair]
    voxels = np.pad(mask, rest).reshape(pairs)  # bin, voxel in the bin, along each axis
    first, largest = voxels[:, 0, :, 0, :, 0], voxels.max(axis=(1, 3, 5))
    assert np.array_equal(labels, np.where(first > 0, first, largest))


def test_an_island_of_a_single_voxel_is_seen():
    mask = np.zeros((768, 768, 2), np.uint8)
    mask[401, 500, 1] = 7
    labels = binning.Grid.of(mask.shape, 2).labels(mask)
    assert np.argwhere(labels).tolist() == [[133, 166, 1]] and labels.max() == 7
    assert not binning.Grid.of(mask.shape, 2).labels(np.zeros_like(mask)).any()


@pytest.mark.parametrize(
    "n, bins, size", [(1, 1, 1), (511, 1, 511), (512, 2, 256), (513, 2, 257), (767, 2, 384)]
)
def test_no_axis_gets_fewer_than_256_where_it_has_them(n, bins, size):
    grid = binning.Grid.of((n, n, n), 1)
    assert (grid.bins, grid.size) == ((bins, 1, bins), (size, n, size))


def _turned():
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return affine


@pytest.mark.parametrize(
    "affine", [np.eye(4), np.diag([-1.0, -1, 1, 1]), _turned()], ids=["RAS", "LPS", "oblique"]
)
def test_the_page_can_turn_slices_upright_as_pictures_are(affine):
    """What JavaScript does with `views`, in Python."""
    mask = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.uint8)
    views = slices.views(affine)
    data = viewer_data.geometry(binning.Grid.of(mask.shape, 2), np.ones(3), views)
    assert (data["shape"], data["size"], data["across"]) == ([5, 6, 7], [5, 6, 7], 2)
    for plane, view in data["views"].items():
        place = [0, 0, 0]
        place[view["axis"]] = 3
        n_rows, n_columns = (data["size"][view[key]] for key in ("rows", "columns"))
        shown = np.empty((n_rows, n_columns), np.uint8)
        for row, column in np.ndindex(n_rows, n_columns):
            place[view["rows"]] = n_rows - 1 - row if view["flipped"][0] else row
            place[view["columns"]] = n_columns - 1 - column if view["flipped"][1] else column
            shown[row, column] = mask[tuple(place)]
        assert np.array_equal(shown, views[plane].cut(mask, 3))
        assert view["letters"] == views[plane].letters


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- \u2028 & \u2029 -->",
    "\"'`\\\n\r\0",
    "a\udcff",
    "\u202egnp.exe",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_the_data_ends_the_script(text):
    legend = viewer_data.legend({1: text})
    content = viewer_data.script(text, {"labels": legend, text: [text]})
    script = content.decode("ascii")  # whatever the page's encoding
    assert not re.search("[<>&\0]", script) and script.count("\n") == 1
    head, tail = "QC.receive(", ");\n"
    assert script.startswith(head) and script.endswith(tail)
    name, data = json.loads(f"[{script[len(head) : -len(tail)]}]")
    assert name == text and data[text] == [text] and data["labels"] == legend
    (label,) = legend
    assert label["name"] == text and not re.search("[\n\0\u202e\u2028]", label["shown"])


def test_the_legend_has_the_reports_colours():
    assert viewer_data.legend({5: "esophagus", 1: "right_kidney"}) == [
        {
            "value": 1,
            "name": "right_kidney",
            "shown": "right kidney",
            "colour": "#E58CC0",
            "dashed": False,
        },
        {
            "value": 5,
            "name": "esophagus",
            "shown": "esophagus",
            "colour": "#FFFFFF",
            "dashed": True,
        },
    ]


def test_the_same_scan_gives_the_same_bytes(tmp_path):
    data = np.random.default_rng(0).normal(0, 100, (300, 270, 20)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    header = nifti.read_header(tmp_path / "a.nii.gz")
    grid = binning.Grid.of(header.shape, 2)

    def made():
        binned = volume_stream.read(header, {}, (2, 2, 1), grid).binned
        return viewer_data.script("a", viewer_data.greys(binned, 2, *CT))

    assert made() == made()

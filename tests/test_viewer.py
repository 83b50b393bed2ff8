"""The page of one sample and its viewer, in a browser, on made-up data."""

import base64
import io
import itertools
import json
import re
import subprocess
from pathlib import Path

import chromium
import numpy as np
import pytest
import report_data
from PIL import Image

from utils.qc import slices

pytestmark = chromium.needed

PAGE = Path(__file__).resolve().parents[1] / "utils/qc/page"
PLANES = ("axial", "coronal", "sagittal")
HOSTILE = "<img src=x onerror=alert(1)>'\"&%#?"
# In place of the list and the decisions; `viewer` is the one that is shown, `pixel` what it shows.
STUB = """
QC.views.samples = { title: "list", show(route, main) { main.append("the list"); } };
QC.visible = () => QC.samples;
QC.listAddress = () => "#samples";
QC.decided = new Set();
QC.decisions = {
  isDecided: (name) => QC.decided.has(name),
  panel: (sample) => QC.el("p", { id: "panel" }, `decide on ${sample.name}`),
};
window.Viewer = QC.Viewer;
QC.Viewer = class extends QC.Viewer {
  constructor(...given) { super(...given); window.viewer = this; }
  // What a plane shows in the middle of a voxel.
  pixel(plane, at) {
    this.planes[plane].draw();
    const [x, y] = this.planes[plane].placeOf(at).map((px) => Math.floor(px * devicePixelRatio));
    const pen = this.planes[plane].canvas.getContext("2d");
    return Array.from(pen.getImageData(x, y, 1, 1).data).slice(0, 3);
  }
  // How many pixels of a plane have about a colour.
  count(plane, colour) {
    this.planes[plane].draw();
    const { canvas } = this.planes[plane];
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      found += colour.every((level, k) => Math.abs(level - data[i + k]) < 25);
    }
    return found;
  }
};
QC.start();
"""
# Where the one bright voxel of a sample is seen, as parts of the picture from its middle.
WHERE = """
(cases) => cases.map(([views, at]) => {
  const size = [16, 20, 24];
  const grey = new Uint8Array(16 * 20 * 24);
  grey[at[0] + 16 * (at[1] + 20 * at[2])] = 255;
  const values = Array.from({ length: 256 }, (_, level) => level);
  const sample = { shape: size, size, spacing: [1, 1.5, 2], bins: [1, 1, 1], views, grey,
    values, windows: [{ name: "all", low: 0, high: 255 }], layers: [], labels: [] };
  const made = new Viewer(sample);
  made.hasCross = false;
  made.grid.style.height = "160px";
  document.querySelector(".stage").replaceChildren(made.element);
  made.pointTo(at);
  const found = Object.keys(made.planes).map((plane) => {
    made.planes[plane].drawLetters = made.planes[plane].drawScale = () => {};
    made.planes[plane].draw();
    const { canvas } = made.planes[plane];
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    let [sum, x, y] = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
      sum += data[i];
      x += data[i] * ((i / 4) % width);
      y += data[i] * Math.floor(i / 4 / width);
    }
    const { axes, fit } = made.planes[plane].frame();
    const mm = axes.map((axis) => size[axis] * [1, 1.5, 2][axis]);
    return [(x / sum - width / 2) / fit / mm[0], (y / sum - height / 2) / fit / mm[1]];
  });
  made.close();
  return found;
})"""
SPLEEN, LIVER = (45, 15, 5), (15, 20, 5)
GREEN, PINK = [0x12, 0xC1, 0x8A], [0xE5, 0x8C, 0xC0]


def document(data):
    """The smallest page around the scripts of the viewer."""
    css = "".join(path.read_text("utf-8") for path in sorted(PAGE.glob("*.css")))
    scripts = (PAGE / f"{name}.js" for name in ("core", "slices", "plane", "viewer", "sample_view"))
    script = "".join(path.read_text("utf-8") for path in scripts) + STUB
    text = json.dumps(data).replace("<", "\\u003c").replace("&", "\\u0026")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>* {{ box-sizing: border-box; }} {css}</style></head><body>"
        '<div id="message" role="status"></div><main id="main"></main>'
        f'<script type="application/json" id="data">{text}</script>'
        f"<script>{script}</script></body></html>"
    )


def of_the_index():
    """Samples of the index: the first ones are like any, the last ones are not."""
    flags = [report_data.flag("left/right", (45, 15, 4), (1,), "The spleen is <b>right</b>.")]
    flags += [report_data.flag("volume", None), report_data.flag("geometry", (3, 4, 11), ())]
    names = ("no_mask", "flat", "odd", "failed", "missing", "empty", "damaged", HOSTILE)
    failed = {"data": "", "pictures": [], "shape": None, "spacing": None}
    more = {"failed": failed | {"flags": [report_data.flag("geometry", None)]}}
    return [
        report_data.sample(1, flags, relatives=["amos_0002"]),
        report_data.sample(2),
        report_data.sample(3, flags[:1]),
        *(
            report_data.sample(4, name=name, data=f"samples/{name}.js") | more.get(name, {})
            for name in names
        ),
    ]


def odd_data():
    """An anisotropic sample of another orientation, binned, with a label that nobody named."""
    mask = np.zeros((20, 31, 12), np.uint8)
    mask[4:9, 6:12, 3:9] = 6
    mask[12:16, 6:12, 3:9] = 77
    affine = np.array([[0, 0, 3, 0], [-0.5, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]], float)
    more = {"views": as_json(slices.views(affine)), "organs": None}
    more |= {"layers": [report_data.layer(mask)]}
    more |= {"sheets": [report_data.sheet(np.where(mask, 150, 40).astype(np.uint8))]}
    more |= {"spacing": [0.5, 2.0, 3.0], "bins": [2, 1, 1], "shape": [39, 31, 12]}
    return report_data.sample_data((20, 31, 12)) | more | {"size": [20, 31, 12], "changes": None}


def flat_data():
    mask = np.zeros((80, 64, 1), np.uint8)
    mask[5:25, 10:30] = 6
    layers = [report_data.layer(mask)]
    sheets = [report_data.sheet(np.where(mask, 150, 40).astype(np.uint8))]
    more = {"shape": [80, 64, 1], "size": [80, 64, 1], "layers": layers, "sheets": sheets}
    return report_data.sample_data() | more


def as_json(views):
    keys = ("axis", "rows", "columns", "flipped", "letters")
    return {plane: {key: getattr(view, key) for key in keys} for plane, view in views.items()}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a b's") / "qc"
    (folder / "samples").mkdir(parents=True)
    plain = report_data.sample_data()
    prediction = {"key": "prediction", "title": "prediction"} | {
        "deflated": plain["layers"][0]["deflated"]
    }
    found = {"spleen": {"value": 1, "dice": 0.95, "difference_ml": 1.5, "volume_ml": 6.0}}
    found["liver"] = {"value": 6, "dice": 0.5, "difference_ml": -3.25, "volume_ml": 30.0}
    counts = {"lost": 400, "gained": 0, "islands_removed": 1, "holes_filled": 0}
    counts |= {"small_before": 1, "small_after": 0}
    changes = {"n_voxels": 4, "n_slices": 1, "per_label": {"6": counts}}
    hostile = [report_data.LABELS[0] | {"shown": HOSTILE}, *report_data.LABELS[1:]]
    of = {f"amos_{n:04d}": plain | {"changes": changes} for n in (1, 2, 3)}
    of["amos_0002"] |= {"layers": [*plain["layers"], prediction], "prediction": found}
    of["no_mask"] = plain | {"layers": [], "organs": None, "changes": None}
    of["flat"] = flat_data()
    of["odd"] = odd_data()
    of["damaged"] = plain | {"layers": [report_data.layer(np.zeros(3, np.uint8))]}
    of[HOSTILE] = plain | {"labels": hostile}
    for name, data in of.items():
        script = report_data.sample_script(name, data)
        (folder / "samples" / f"{name}.js").write_bytes(script)
    (folder / "samples/empty.js").write_text("")
    (folder / "pictures").mkdir()
    for n in range(1, 5):
        Image.new("L", (300, 900)).save(folder / f"pictures/amos_{n:04d}.jpg")
    index = report_data.index_data(0) | {"samples": of_the_index()}
    (folder / "index.html").write_text(document(index), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(report):
    with chromium.Chromium() as browser:
        browser.open(report / "index.html")
        yield browser


@pytest.fixture(autouse=True)
def _no_errors(request):
    yield
    if "browser" in request.fixturenames:
        errors = request.getfixturevalue("browser").errors
        found = [*errors]
        errors.clear()
        assert not found


@pytest.fixture
def show(browser):
    """A function that shows a sample anew, and waits for its slices."""

    def open_sample(name="amos_0001", query=""):
        address = f"`#/${{QC.encoded({json.dumps(name)})}}{query}`"
        browser.run("location.hash = '#samples'")
        browser.wait("QC.route.view === 'samples'")
        browser.run("window.viewer = null; QC.announce('')")
        browser.run(f"location.hash = {address}")
        browser.wait("viewer || document.querySelector('.failure')")
        return browser

    return open_sample


def pixel(browser, plane, at):
    return browser.run(f"viewer.pixel('{plane}', {list(at)})")


def mouse(browser, kind, plane, at, **more):
    """Do something with the mouse over the middle of a voxel."""
    script = (
        f"(() => {{ const {{ canvas }} = viewer.planes.{plane};"
        "canvas.scrollIntoView({ block: 'center' }); const box = canvas.getBoundingClientRect();"
        f"const [x, y] = viewer.planes.{plane}.placeOf({list(at)});"
        "return [box.left + x, box.top + y]; })()"
    )
    x, y = browser.run(script)
    more = {"button": "left", "clickCount": 1} | more if kind != "mouseMoved" else more
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


def click(browser, plane, at, **more):
    for kind in ("mousePressed", "mouseReleased"):
        mouse(browser, kind, plane, at, **more)


def expected_grey(value, low, high):
    return round(255 * min(max((value - low) / (high - low), 0), 1))


# ---- geometry


def signed_axes():
    """All 48 ways in which array axes can lie along world axes, with unequal steps."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, (world, sign) in enumerate(zip(order, signs)):
                affine[world, axis] = sign * (1.0, 1.5, 2.0)[axis]
            yield affine


def test_slices_stand_upright_in_every_orientation(browser):
    data = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
    at = (1, 4, 2)
    cuts = []
    for affine in signed_axes():
        for plane, view in slices.views(affine).items():
            cuts.append((as_json({plane: view})[plane], view.cut(data, at[view.axis]).tolist()))
    flat = data.ravel(order="F").tolist()
    script = (
        f"{json.dumps([view for view, _ in cuts])}.map((view) => Array.from(QC.cut("
        f"Uint8Array.from({flat}), [5, 6, 7], view, {list(at)}[view.axis])))"
    )
    for shown, (_, expected) in zip(browser.run(script), cuts, strict=True):
        assert shown == list(itertools.chain(*expected))


def test_the_patients_left_is_on_the_right_in_every_orientation(browser, show):
    show()  # the stage, for its size
    shape = np.array([16, 20, 24])
    cases = []
    for affine in signed_axes():
        # The voxel nearest to 4/5 of the way to the patient's left, front and head.
        towards = np.array([-1.0, 1.0, 1.0])
        is_up = (np.linalg.inv(affine[:3, :3]) @ towards) > 0
        at = np.where(is_up, shape * 4 // 5, shape // 5)
        cases.append([as_json(slices.views(affine)), at.tolist()])
    for found in browser.run(f"({WHERE})({json.dumps(cases)})"):
        # Left and front, left and head, front and head: as parts of the picture from its middle.
        for (x, y), (right, down) in zip(found, ((1, -1), (1, -1), (-1, -1)), strict=True):
            assert x * right == pytest.approx(0.3, abs=0.08)
            assert y * down == pytest.approx(0.3, abs=0.08)


def test_contours_hold_just_the_pixels_of_their_label(browser):
    random = np.random.default_rng(1).integers(0, 4, (40, 9, 11))
    random[:10] = random[:10] > 1  # diagonal neighbours
    script = """
    (pictures) => {
      const pen = document.createElement("canvas").getContext("2d");
      for (const [n, picture] of pictures.entries()) {
        const labels = Uint8Array.from(picture);
        const found = QC.contours(labels, 11, 9);
        for (const value of [1, 2, 3]) {
          const path = new Path2D();
          for (const line of found.get(value) || []) {
            for (let k = 0; k < line.length; k += 2) {
              path[k ? "lineTo" : "moveTo"](line[k], line[k + 1]);
            }
            path.closePath();
          }
          for (const [i, label] of labels.entries()) {
            const [x, y] = [(i % 11) + 0.5, Math.floor(i / 11) + 0.5];
            const isIn = pen.isPointInPath(path, x, y, "evenodd");
            if (isIn !== (label === value)) return [n, value, i];
          }
        }
      }
      return "right";
    }"""
    pictures = random.reshape(40, -1).tolist()
    assert browser.run(f"({script})({json.dumps(pictures)})") == "right"


def test_contours_are_closed_lines(browser):
    ring = [[0, 0, 0, 0, 0], [0, 2, 2, 2, 0], [0, 2, 0, 2, 0], [0, 2, 2, 2, 0], [0, 0, 0, 7, 0]]
    flat = list(itertools.chain(*ring))
    found = dict(browser.run(f"[...QC.contours(Uint8Array.from({flat}), 5, 5)]"))
    assert sorted(found) == [2, 7]
    assert [len(line) // 2 for line in found[2]] == [12, 4]
    assert found[7] == [[3.65, 4.5, 3.5, 4.15, 3.35, 4.5, 3.5, 4.85]] or len(found[7][0]) == 8
    assert browser.run("[...QC.contours(new Uint8Array(25), 5, 5)]") == []


@pytest.mark.parametrize("mm, length", [(60, 50), (50, 50), (49, 20), (9.9, 5), (1, 1), (0.3, 0.2)])
def test_the_scale_bar_has_a_round_length(browser, mm, length):
    assert browser.run(f"QC.scaleLength({mm})") == pytest.approx(length)


# ---- what is drawn


def test_a_plane_shows_values_by_the_window(show):
    browser = show(query="?show=off&at=15,20,5")
    for key, (low, high) in (("", (-160, 240)), ("w", (-1350, 150)), ("w", (-200, 1500))):
        browser.press(*key)
        for at, level in ((LIVER, 150), ((35, 40, 5), 40)):
            shown = pixel(browser, "axial", (at[0] + 3, at[1] + 3, 5))
            grey = expected_grey(report_data.VALUES[level], low, high)
            assert shown == pytest.approx([grey] * 3, abs=2), (key, at)
    browser.press("w")
    assert browser.run("viewer.window.name") == "soft tissue"


def test_labels_as_contours_as_areas_and_off(show):
    browser = show(query="?at=30,50,5")
    assert browser.run(f"viewer.count('axial', {GREEN})") > 60
    inside = pixel(browser, "axial", LIVER)
    browser.press("c")
    area = pixel(browser, "axial", LIVER)
    grey = inside[0]
    assert inside == [grey] * 3
    mixed = [grey + 0.4 * (level - grey) for level in GREEN]
    assert area == pytest.approx(mixed, abs=3)
    browser.press("c")
    assert pixel(browser, "axial", LIVER) == [grey] * 3
    assert browser.run(f"viewer.count('axial', {GREEN})") == 0
    browser.press("c")
    assert browser.run("viewer.show") == "contours"


def test_single_labels_are_taken_away_and_come_back(show):
    browser = show(query="?at=30,50,5")
    tick = ".legend input[data-value='6']"
    assert browser.run("[...document.querySelectorAll('.legend label')].map((l) => l.innerText)")[
        2
    ].split("\n") == ["6 liver", "31.5 ml"]
    browser.click(tick)
    assert browser.run(f"viewer.count('axial', {GREEN})") == 0
    assert browser.run(f"viewer.count('axial', {PINK})") > 100
    assert browser.run("document.activeElement === document.body")  # keys are the page's again
    browser.click(tick)
    assert browser.run(f"viewer.count('axial', {GREEN})") > 60
    browser.click(".side button:nth-of-type(2)")
    assert browser.run(f"viewer.count('axial', {PINK})") == 0
    browser.run(
        f'document.querySelector("{tick}").dispatchEvent('
        "new MouseEvent('click', { altKey: true, bubbles: true, cancelable: true }))"
    )
    assert browser.run("[...viewer.hidden]") == [1, 2]
    assert browser.run(
        "viewer.data.labels.map((one) => "
        "document.querySelector(`[data-value='${one.value}']`).checked)"
    ) == [False, False, True]
    browser.click(".side button:nth-of-type(1)")
    assert browser.run("viewer.hidden.size") == 0


def test_before_and_after_denoising(show):
    browser = show(query="?show=areas&at=70,5,5")
    at = (70, 5, 5)
    after = pixel(browser, "axial", at)
    browser.press("b")
    before = pixel(browser, "axial", at)
    assert before[1] - after[1] > 30  # an island of the liver that is not there any more
    assert browser.run("document.getElementById('message').textContent") == (
        "Shown: before denoising"
    )
    mouse(browser, "mouseMoved", "axial", at)
    status = browser.run("viewer.status.textContent")
    assert status.startswith("voxel 70, 5, 5 · ") and status.endswith(
        "liver 36.0 ml · mask: background"
    )
    browser.press("b")
    assert pixel(browser, "axial", at) == after
    browser.press("v")
    tinted = pixel(browser, "axial", at)
    assert tinted[0] > 150 and tinted[1] > 150 and tinted[2] < 100
    assert pixel(browser, "axial", LIVER) != tinted
    browser.press("p")
    assert browser.run("document.getElementById('message').textContent") == (
        "This sample has no prediction."
    )
    assert browser.run("viewer.layer") == "mask"


def test_a_prediction_is_shown_beside_the_mask(show):
    browser = show("amos_0002")
    browser.press("p")
    assert browser.run("viewer.layer") == "prediction"
    assert browser.run("viewer.mlOf(6)") == "30.0 ml"
    rows = browser.run(
        "[...document.querySelectorAll('#organs tbody tr')].map((row) => "
        "[...row.cells].map((cell) => cell.textContent))"
    )
    assert [row[0] for row in rows] == ["6 liver", "1 spleen", "2 right kidney"]  # worst first
    assert rows[0][1:] == ["31.5", "1, 2, 3", "", "0.500", "-3.3"]
    assert rows[2][4:] == ["–", "–"]


def test_what_is_under_the_mouse(show):
    browser = show(query="?at=30,50,5")
    mouse(browser, "mouseMoved", "axial", SPLEEN)
    assert browser.run("viewer.status.textContent") == (
        f"voxel 45, 15, 5 · {round(report_data.VALUES[150])} HU · spleen 4.5 ml"
    )
    mouse(browser, "mouseMoved", "coronal", (30, 50, 2))
    assert browser.run("viewer.status.textContent") == (
        f"voxel 30, 50, 2 · {round(report_data.VALUES[40])} HU · background"
    )
    # The slice below it, by a key, without the mouse being moved.
    mouse(browser, "mouseMoved", "axial", SPLEEN)
    browser.press("PageDown")
    assert browser.run("viewer.status.textContent").startswith("voxel 45, 15, 0 ")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert browser.run("viewer.status.textContent").startswith("cross: voxel 30, 50, 0 · ")


# ---- moving


def test_the_wheel_moves_one_slice_and_not_the_page(show):
    browser = show(query="?at=30,50,5")
    browser.place("canvas[data-plane=axial]")  # scrolls to it
    top = browser.run("scrollY")
    browser.wheel("canvas[data-plane=axial]", 1)
    browser.wait("viewer.at[2] === 4")  # downwards, to the feet
    browser.wheel("canvas[data-plane=axial]", -3)
    browser.wait("viewer.at[2] === 7")
    assert browser.run("scrollY") == top > 0
    browser.wheel("canvas[data-plane=sagittal]", 1)
    browser.wait("viewer.at[0] === 31")  # to the patient's left
    assert browser.run("viewer.at") == [31, 50, 7]


def test_a_touchpad_moves_one_slice_for_several_small_turns(show):
    browser = show(query="?at=30,50,5")
    for n, slice_ in ((4, 5), (1, 4), (5, 3)):
        for _ in range(n):
            mouse(browser, plane="axial", at=(30, 30, 5), kind="mouseWheel", deltaX=0, deltaY=10)
        browser.wait(f"viewer.at[2] === {slice_}")


def test_keys_move_the_large_plane(show):
    browser = show(query="?at=30,50,5")
    browser.press("ArrowUp")
    assert browser.run("viewer.at") == [30, 50, 6]
    browser.press("ArrowDown", "ArrowDown")
    assert browser.run("viewer.at") == [30, 50, 4]
    browser.press("Home")
    assert browser.run("viewer.at") == [30, 50, 11]
    browser.press("ArrowUp")  # there is no more
    assert browser.run("viewer.at") == [30, 50, 11]
    browser.press("End", "2", "PageDown")
    assert browser.run("[viewer.at, viewer.plane]") == [[30, 40, 0], "coronal"]
    browser.press("PageUp", "3", "ArrowDown")
    assert browser.run("[viewer.at, viewer.grid.dataset.large]") == [[31, 50, 0], "sagittal"]
    sizes = browser.run("['axial', 'sagittal'].map((p) => viewer.planes[p].canvas.clientWidth)")
    assert sizes[1] > 1.5 * sizes[0]
    browser.press("1")
    assert browser.run("viewer.planes.axial.text.textContent") == "1 of 12"


def test_sliders_move_slices(show):
    browser = show(query="?at=30,50,5")
    browser.run(
        "(() => { const { input } = viewer.planes.coronal; input.value = 3;"
        "input.dispatchEvent(new Event('input')); })()"
    )
    assert browser.run("viewer.at") == [30, 60, 5]  # the fourth from the front
    assert browser.run("viewer.planes.coronal.input.getAttribute('aria-label')") == "coronal slice"


def test_a_click_moves_the_other_planes_there(show):
    browser = show(query="?at=30,50,5")
    click(browser, "axial", SPLEEN)
    assert browser.run("viewer.at") == [*SPLEEN]
    click(browser, "coronal", (22, 15, 9))
    assert browser.run("viewer.at") == [22, 15, 9]
    # Dragged on, it goes on.
    mouse(browser, "mousePressed", "sagittal", (22, 30, 9))
    mouse(browser, "mouseMoved", "sagittal", (22, 33, 2), button="left", buttons=1)
    mouse(browser, "mouseReleased", "sagittal", (22, 33, 2))
    assert browser.run("viewer.at") == [22, 33, 2]
    mouse(browser, "mouseMoved", "sagittal", (22, 10, 10))
    assert browser.run("viewer.at") == [22, 33, 2]


def test_the_window_follows_the_right_mouse_button_and_sliders(show):
    browser = show(query="?at=30,50,5")
    mouse(browser, "mousePressed", "axial", (30, 30, 5), button="right")
    mouse(browser, "mouseMoved", "axial", (40, 20, 5), button="right", buttons=2)
    mouse(browser, "mouseReleased", "axial", (40, 20, 5), button="right")
    low, high, name, at = browser.run(
        "[viewer.window.low, viewer.window.high, viewer.window.name, viewer.at]"
    )
    assert name == "" and at == [30, 50, 5]
    assert high - low > 450 and low + high > 100  # wider to the right, darker downwards
    browser.run("viewer.level.value = 300; viewer.level.dispatchEvent(new Event('input'))")
    browser.run("viewer.spread.value = 100; viewer.spread.dispatchEvent(new Event('input'))")
    assert browser.run("[viewer.window.low, viewer.window.high]") == [250, 350]
    assert browser.run("viewer.range.textContent").strip() == "250 to 350 HU"


def test_zoom_keeps_the_place_in_sight(show):
    browser = show(query="?at=75,5,5")
    browser.press("+", "+", "+", "+")
    assert browser.run("viewer.zoom") == pytest.approx(1.25**4)
    for plane in PLANES:
        x, y, width, height = browser.run(
            f"[...viewer.planes.{plane}.placeOf(), ...viewer.planes.{plane}.frame().room]"
        )
        assert 0 < x < width and 0 < y < height
    click(browser, "axial", (70, 8, 5))
    assert browser.run("viewer.at") == [70, 8, 5]
    before = browser.run("viewer.planes.axial.placeOf([70, 8, 5])")
    mouse(browser, "mousePressed", "axial", (70, 8, 5), modifiers=8)
    mouse(browser, "mouseMoved", "axial", (74, 4, 5), button="left", buttons=1, modifiers=8)
    mouse(browser, "mouseReleased", "axial", (74, 4, 5), modifiers=8)
    assert browser.run("viewer.planes.axial.placeOf([70, 8, 5])") != before
    assert browser.run("viewer.at") == [70, 8, 5]
    browser.press("-")
    assert browser.run("viewer.zoom") == pytest.approx(1.25**3)
    browser.press("0")
    assert browser.run("viewer.zoom") == 1


# ---- the page around it


def test_the_first_place_is_that_of_the_worst_flag(show):
    browser = show()
    assert browser.run("viewer.at") == [45, 15, 4]


def test_a_flag_leads_to_its_place(show):
    browser = show(query="?at=1,1,1&hidden=1,6&show=off&layer=before")
    texts = browser.run("[...document.querySelectorAll('.findings li')].map((li) => li.innerText)")
    assert texts == [
        "✕ wrong left/right The spleen is <b>right</b>.",
        "▲ doubtful volume The liver has 9 ml, expected more.",
        "◆ unusual geometry The liver has 9 ml, expected more.",
    ]
    browser.click(".findings button")
    state = "[viewer.at, [...viewer.hidden], viewer.show, viewer.layer, [...viewer.highlighted]]"
    assert browser.run(state) == [[45, 15, 4], [6], "contours", "mask", [1]]
    thick = browser.run(f"viewer.count('axial', {PINK})")
    browser.run("viewer.highlight([])")
    assert thick > 1.5 * browser.run(f"viewer.count('axial', {PINK})")
    # One without a place leads to the picture.
    browser.run("window.scrollTo(0, 0)")
    browser.click(".findings li:nth-child(2) button")
    browser.wait("Math.abs(document.getElementById('pictures').getBoundingClientRect().top) < 500")
    assert browser.run("viewer.at") == [45, 15, 4]
    browser.press("g", "g")
    assert browser.run("viewer.at") == [3, 4, 11]


def test_an_organ_of_the_table_leads_to_its_largest_slice(show):
    browser = show(query="?at=1,1,1&hidden=2")
    browser.click("#organs tbody tr:nth-child(2) button")
    at = browser.run("viewer.at")
    assert 60 <= at[0] < 70 and 30 <= at[1] < 50 and 4 <= at[2] < 10
    assert browser.run("[...viewer.hidden]") == []


def test_keys_go_to_samples(show):
    browser = show()

    def here():
        return browser.run("QC.route.name")

    browser.press("ArrowRight")
    browser.wait("QC.route.name === 'amos_0002'")
    browser.press("f")
    browser.wait("QC.route.name === 'amos_0003'")
    browser.press("f")  # past samples without flags
    browser.wait("QC.route.name === 'failed'")
    browser.press("f")  # and from the beginning
    browser.wait("QC.route.name === 'amos_0001'")
    browser.run("QC.decided = new Set(QC.samples.map((one) => one.name))")
    browser.run("QC.decided.delete('amos_0003'); QC.announce('')")
    browser.press("u")
    browser.wait("QC.route.name === 'amos_0003'")
    browser.press("u")
    assert browser.run("document.getElementById('message').textContent") == (
        "There is no other undecided sample in the list."
    )
    browser.press("ArrowLeft")
    browser.wait("QC.route.name === 'amos_0002'")
    assert browser.run("document.getElementById('panel').textContent") == "decide on amos_0002"
    browser.run("QC.decided.clear()")
    browser.press("Escape")
    browser.wait("QC.route.view === 'samples'")


def test_what_is_looked_at_goes_with_the_reader(show):
    browser = show()
    browser.press("2", "w", "c")
    browser.run("window.viewer = null; QC.go('sample', 'amos_0002')")
    browser.wait("viewer")
    assert browser.run("[viewer.plane, viewer.window.name, viewer.show, viewer.at]") == [
        "coronal",
        "lung",
        "areas",
        [40, 32, 6],
    ]


def test_the_address_keeps_what_is_looked_at(show):
    browser = show(query="?at=30,50,5")
    assert browser.run("location.hash") == "#/amos_0001?at=30,50,5"
    browser.press("2", "w", "c", "b", "v", "+")
    browser.click(".legend input[data-value='6']")
    browser.run("viewer.setWindow(50, 200)")
    browser.wait("QC.route.params.get('window') === '-50,150'")
    params = browser.run("Object.fromEntries(QC.route.params)")
    assert params == {
        "at": "30,50,5",
        "plane": "coronal",
        "window": "-50,150",
        "layer": "before",
        "show": "areas",
        "hidden": "6",
        "zoom": "1.25",
        "both": "1",
    }
    query = browser.run("location.hash").split("?")[1]
    browser.run("QC.announce('')")
    show(query=f"?{query}")
    assert browser.run("viewer.state()") == params
    # Another address of the same sample is followed in place.
    browser.run("viewer.isSame = true; location.hash = '#/amos_0001?at=1,2,3&plane=sagittal'")
    browser.wait("QC.route.params.get('plane') === 'sagittal'")
    assert browser.run("[viewer.isSame, viewer.state()]") == [
        True,
        {"at": "1,2,3", "plane": "sagittal", "window": "soft tissue"},
    ]


@pytest.mark.parametrize(
    "query, at",
    [
        ("?at=999,-5,3.7", [79, 0, 3]),
        ("?at=1,2", [45, 15, 4]),
        ("?at=a,b,c&zoom=x", [45, 15, 4]),
        ("?at=1,2,3&plane=x&window=9,1&layer=x&show=x&hidden=x,300", [1, 2, 3]),
    ],
)
def test_a_wrong_address_shows_what_is_usual(show, query, at):
    browser = show(query=query)
    state = browser.run("viewer.state()")
    assert state["at"] == ",".join(map(str, at))
    assert {key: state[key] for key in state if key != "at"} == {
        "plane": "axial",
        "window": "soft tissue",
    }


def test_the_next_sample_is_loaded_ahead_and_the_last_ones_are_kept(show):
    for other in ("no_mask", "flat", "odd"):  # no others are kept any more
        browser = show(other)
    browser.run(
        "window.ran = []; window.receive = window.receive || QC.receive;"
        "QC.receive = (name, data) => { ran.push(name); receive(name, data); }"
    )
    show("amos_0001")
    browser.wait("ran.includes('amos_0002')")
    show("amos_0002")
    browser.wait("ran.includes('amos_0003')")
    show("amos_0001")
    assert browser.run("ran") == ["amos_0001", "amos_0002", "amos_0003"]


def test_paths_and_commands_to_copy(show, report):
    browser = show()
    lines = browser.run(
        "Object.fromEntries([...document.querySelectorAll('.copies dt')].map("
        "(dt) => [dt.textContent, dt.nextElementSibling.lastChild.textContent]))"
    )
    place = f"{report.parent}/grouped/AMOS-CT/train/Aquilion ONE/amos_0001_M/amos_0001_"
    tables = f"{report}/"
    volume, mask = f"{place}volume.nii.gz", f"{place}mask.nii.gz"
    assert (lines["volume"], lines["mask"]) == (volume, mask)
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {lines['ITK-SNAP']}"], capture_output=True, text=True
    )
    assert words.stdout.split("\n") == [
        "itksnap",
        "-g",
        volume,
        "-s",
        mask,
        "-l",
        f"{tables}itksnap_labels.txt",
        "",
    ]
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {lines['3D Slicer']}"], capture_output=True, text=True
    )
    program, option, code = words.stdout.rstrip("\n").split("\n")
    assert (program, option) == ("Slicer", "--python-code")
    called = run_slicer(code)
    assert called == [
        ("loadVolume", volume),
        ("loadColorTable", f"{tables}slicer_labels.ctbl"),
        ("loadSegmentation", mask, {"colorNodeID": "the colours"}),
    ]


def run_slicer(code):
    """What a command for 3D Slicer calls of `slicer.util`."""
    called = []

    class Node:
        def GetID(self):  # noqa: N802
            return "the colours"

    class Util:
        def __getattr__(self, name):
            def call(*given):
                called.append((name, *given))
                return Node()

            return call

    slicer = type("slicer", (), {"util": Util()})
    exec(code, {"slicer": slicer})  # noqa: S102
    return called


@pytest.mark.parametrize(
    "base, path",
    [
        ("file:///home/a%20b/qc/index.html", "/home/a b/x y#.nii.gz"),
        ("file:///C:/a%20b/qc/index.html", "C:\\a b\\x y#.nii.gz"),
        ("file://server/share/qc/index.html", "\\\\server\\share\\x y#.nii.gz"),
        ("http://localhost/a/qc/index.html", "http://localhost/a/x%20y%23.nii.gz"),
    ],
)
def test_paths_are_those_of_the_machine(browser, base, path):
    assert browser.run(f"QC.pathOf('../x y#.nii.gz', {json.dumps(base)})") == path


def test_commands_for_windows(browser):
    files = {"volume": "C:\\a b\\v.nii.gz", "mask": "C:\\it's\\m.nii.gz"}
    tables = {"itksnap": "C:\\q\\i.txt", "slicer": "C:\\q\\s.ctbl"}
    found = browser.run(f"QC.commands({json.dumps(files)}, {json.dumps(tables)})")
    assert found["ITK-SNAP"] == (
        'ITK-SNAP -g "C:\\a b\\v.nii.gz" -s "C:\\it\'s\\m.nii.gz" -l C:\\q\\i.txt'
    )
    start, code, end = found["3D Slicer"].split('"')
    assert (start, end) == ("Slicer --python-code ", "")
    assert run_slicer(code) == [
        ("loadVolume", files["volume"]),
        ("loadColorTable", tables["slicer"]),
        ("loadSegmentation", files["mask"], {"colorNodeID": "the colours"}),
    ]
    alone = browser.run(f"QC.commands({json.dumps({'volume': '/v'})}, {{}})")
    assert alone == {
        "ITK-SNAP": "itksnap -g /v",
        "3D Slicer": "Slicer --python-code 'slicer.util.loadVolume(\"/v\")'",
    }


def test_the_copy_button_copies(show):
    browser = show()
    browser.run(
        "window.copied = []; Object.defineProperty(navigator, 'clipboard', { configurable:"
        " true, value: { writeText: async (text) => copied.push(text) } })"
    )
    browser.click(".copies button")
    browser.wait("document.getElementById('message').textContent === 'Copied.'")
    assert browser.run("copied")[0].endswith("amos_0001_volume.nii.gz")
    # Without a clipboard the text is marked for the browser's own copying.
    browser.run(
        "QC.announce(''); Object.defineProperty(navigator, 'clipboard', { configurable:"
        " true, value: undefined })"
    )
    browser.click(".copies button")
    browser.wait("document.getElementById('message').textContent !== ''")
    assert browser.run("String(getSelection())") == browser.run("copied[0]")


def test_tables_and_relatives(show):
    browser = show()
    assert browser.run("document.querySelector('#changed p').textContent") == (
        "4 voxels in 1 slice changed."
    )
    row = browser.run("[...document.querySelectorAll('#changed td')].map((td) => td.textContent)")
    assert row == ["6 liver", "400", "0", "1", "0", "1", "0"]
    link = "[...document.querySelectorAll('header p a')].map((a) => a.getAttribute('href'))"
    assert browser.run(link) == ["#/amos_0002"]
    about = browser.run("document.querySelector('header p').innerText").replace("\n", " ")
    assert (
        about
        == "CT · Optima CT660 · F · 021Y · val · A 80 × 64 × 12 voxels · 1.5 × 1.5 × 5 mm · LAS"
    )


# ---- samples that are not like the others


def test_a_sample_without_mask(show):
    browser = show("no_mask")
    browser.press("c", "b", "v", "w", "ArrowDown", "+", "g")
    mouse(browser, "mouseMoved", "axial", LIVER)
    assert browser.run("viewer.status.textContent").endswith(" HU")
    assert browser.run("document.querySelector('.legend, #organs, #changed')") is None


def test_a_sample_of_one_slice(show):
    browser = show("flat")
    browser.press("ArrowDown", "PageUp", "End", "2", "ArrowDown", "3", "+", "v")
    browser.wheel("canvas[data-plane=axial]", 1)
    assert browser.run("viewer.planes.axial.input.disabled") is True
    assert browser.run("viewer.at[2]") == 0


def test_an_odd_grid_and_labels_that_nobody_named(show):
    browser = show("odd", "?at=12,8,5&show=areas")
    names = browser.run("[...document.querySelectorAll('.legend .name')].map((n) => n.innerText)")
    assert names == ["6 liver", "77 label 77"]
    mouse(browser, "mouseMoved", "axial", (28, 9, 5))
    status = browser.run("viewer.status.textContent")
    assert re.fullmatch(r"voxel 2[89], [89], 5 · \d+ HU · label 77 ≈ 0.9 ml", status), status
    # mm are mm: 39 x 0.5 mm (40 on the viewer's grid) along one axis, 12 x 3 along another.
    for plane in PLANES:
        axes, voxel, fit = browser.run(
            f"(({{axes, voxel, fit}}) => [axes, voxel, fit])(viewer.planes.{plane}.frame())"
        )
        assert [px / fit for px in voxel] == pytest.approx([(1, 2, 3)[axis] for axis in axes])
    browser.press("ArrowDown", "ArrowDown", "2", "ArrowDown")
    assert browser.run("viewer.at[0] % 2") in (0, 1)


def test_a_failed_sample_shows_its_flags(show):
    browser = show("failed")
    assert browser.run("document.querySelector('.findings').innerText") == (
        "◆ unusual geometry The liver has 9 ml, expected more."
    )
    assert browser.run("document.querySelector('.failure').textContent") == (
        "This sample has no slices to show."
    )
    browser.press("c", "ArrowDown", "g", "w")


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "missing",
            "samples/missing.js beside this page could not be read. Draw the report again.",
        ),
        ("empty", "samples/empty.js holds no data of this sample. Draw the report again."),
        ("damaged", "The mask holds 3 voxels, expected 61440."),
    ],
)
def test_data_that_cannot_be_read_is_told(show, report, name, message):
    browser = show(name)
    text = browser.run("document.querySelector('.failure').firstChild.textContent")
    assert text.strip() == f"The slices cannot be shown. {message}"
    browser.errors[:] = [one for one in browser.errors if "ERR_FILE_NOT_FOUND" not in one]
    browser.press("c", "ArrowDown", "g")
    # It is tried again when asked to.
    path = report / "samples" / f"{name}.js"
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(report_data.sample_script(name, report_data.sample_data()))
    browser.click(".failure button")
    browser.wait("viewer")
    path.unlink() if before is None else path.write_bytes(before)


def test_texts_of_the_data_are_no_markup(show):
    browser = show(HOSTILE)
    assert browser.run("document.querySelector('h1').textContent") == HOSTILE
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelector('.legend .name').textContent") == f"1 {HOSTILE}"
    mouse(browser, "mouseMoved", "axial", SPLEEN)
    assert HOSTILE in browser.run("viewer.status.textContent")
    assert browser.run("document.querySelectorAll('img[src=x], h1 *, .legend .name *').length") == 0
    show("amos_0001")
    assert browser.run("document.querySelectorAll('.findings b').length") == 0


def test_a_browser_that_hides_pixels_is_told(show):
    browser = show()
    real = "window.real = window.real || CanvasRenderingContext2D.prototype.getImageData;"
    fake = (
        real + "CanvasRenderingContext2D.prototype.getImageData = function (...where) {{"
        "const found = real.apply(this, where);"
        "found.data.forEach((level, i) => {{ if (i % 4 < 3) found.data[i] = {} }});"
        "return found; }}"
    )
    load = (
        "runFresh = (data) => QC.decode(data).then((found) => found.isExact,"
        "(error) => error.message)"
    )
    data = json.dumps(report_data.sample_data())
    assert browser.run(f"{load}; runFresh({data})") is True
    browser.run(fake.format("255"))
    assert browser.run(f"runFresh({data})").startswith(
        "This browser keeps pages from reading pixels"
    )
    browser.run(fake.format("level ^ (i % 2)"))
    assert browser.run(f"runFresh({data})") is False
    browser.run("CanvasRenderingContext2D.prototype.getImageData = real")


@pytest.mark.parametrize("width", [1400, 700, 360])
def test_nothing_is_wider_than_the_window(show, width):
    browser = show("amos_0002", "?plane=axial")
    browser.resize(width, 900)
    browser.wait(f"innerWidth === {width}")
    assert browser.run("document.documentElement.scrollWidth") <= width
    sizes = browser.run(
        "Object.values(viewer.planes).map(({ canvas }) => "
        "[canvas.clientWidth, canvas.clientHeight])"
    )
    assert min(sizes[0]) >= 256
    browser.wait("viewer.planes.axial.canvas.width === viewer.planes.axial.canvas.clientWidth")
    browser.resize(1400, 900)


def test_lines_are_crisp_on_a_dense_screen(show):
    browser = show()
    size = {"width": 1400, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.run("viewer.ask()")
    browser.wait("(({ canvas }) => canvas.width === 2 * canvas.clientWidth)(viewer.planes.axial)")
    assert pixel(browser, "axial", (15, 20, 4)) != [0, 0, 0]
    browser.resize(1400, 900)


def test_the_keys_are_documented(browser):
    text = (PAGE.parents[2] / "docs/report.md").read_text(encoding="utf-8")
    section = text.split("## The sample\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.split("|---|---|\n")[1].split("\n") if "|" in row]
    arrows = {"→": "ArrowRight", "←": "ArrowLeft", "↑": "ArrowUp", "↓": "ArrowDown"}
    documented = {
        (arrows | {"Esc": "Escape"}).get(key, key)
        for row in rows
        for key in re.findall(r"`([^`]+)`", row)
    }
    used = browser.run("QC.keys.filter((one) => one.view === 'sample').map((one) => one.key)")
    assert documented == set(used)
    assert len(used) == len(set(used))


@pytest.mark.parametrize("across", [0, 1, 2])
def test_every_voxel_comes_out_of_the_sheets_as_it_went_in(browser, across):
    size = [5, 6, 7]
    size[across] = 70  # more than one sheet
    voxels = np.random.default_rng(across).integers(0, 256, size, dtype=np.uint8)
    planes = [plane.T for plane in np.moveaxis(voxels, across, 0)]
    height, width = planes[0].shape
    sheets = []
    for start in range(0, 70, 64):
        part = planes[start : start + 64]
        sheet = np.zeros((-(-len(part) // 8) * height, 8 * width), np.uint8)
        for k, plane in enumerate(part):
            top, left = k // 8 * height, k % 8 * width
            sheet[top : top + height, left : left + width] = plane
        stream = io.BytesIO()
        Image.fromarray(sheet).save(stream, "PNG")
        content = base64.b64encode(stream.getvalue()).decode()
        sheets.append(f"data:image/png;base64,{content}")
    mask = voxels % 4
    layers = [report_data.layer(mask)]
    data = {"size": size, "across": across, "sheets": sheets, "layers": layers, "labels": []}
    script = (
        f"QC.decode({json.dumps(data)}).then((found) => [Array.from(found.grey), "
        "Array.from(found.layers[0].labels), found.isExact, "
        "found.labels.map((label) => label.shown)])"
    )
    grey, labels, is_exact, names = browser.run(script)
    assert grey == voxels.ravel(order="F").tolist()
    assert labels == mask.ravel(order="F").tolist()
    assert is_exact
    assert names == ["label 1", "label 2", "label 3"]

"""The report's document as people work with it: 600 samples from disk, in Chromium."""

import csv
import json

import chromium
import pytest
import report_data

from utils.qc import pages
from utils.storage import review

pytestmark = chromium.needed
N_SAMPLES = 600
LAPSED = ["amos_0300", "accept", "", "Bert", "0x00000001"]


@pytest.fixture(scope="module")
def data():
    found = report_data.index_data(N_SAMPLES)
    found["review"]["rows"] = [dict(zip(review.COLUMNS, LAPSED))]
    known = "No age in the table (evidence: metadata table, row 8)."
    flag = report_data.flag("geometry", None, (), known) | {"evidence": "metadata table, row 8"}
    found["samples"][7]["flags"] = [flag]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    """The report's folder; the thumbnail and picture of one sample are missing."""
    folder = tmp_path_factory.mktemp("a report") / "qc"
    for name in ("samples", "pictures", "plots"):
        (folder / name).mkdir(parents=True)
    held = report_data.sample_data()
    for sample in data["samples"]:
        name = sample["name"]
        (folder / sample["data"]).write_bytes(report_data.sample_script(name, held))
        if name != "amos_0008":
            for picture in (*sample["pictures"], sample["thumbnail"]):
                (folder / "pictures" / picture).write_bytes(report_data.picture())
    (folder / "index.html").write_bytes(pages.document(data))
    return folder


@pytest.fixture
def browser(folder):
    with chromium.Chromium() as started:
        started.open(folder / "index.html")
        started.wait("QC.decisions.isSettled")
        yield started


class Reader:
    """What somebody does who sees nothing but the page."""

    def __init__(self, browser):
        self.browser = browser

    def press(self, *keys):
        self.browser.press(*keys)
        return self

    def button(self, text):
        """Click the button that begins with a text."""
        found = (
            "Array.from(document.querySelectorAll('button')).filter((one) => one.checkVisibility())"
            f".reverse().find((one) => one.innerText.startsWith({json.dumps(text)}))"
        )
        self.browser.wait(found)
        self.browser.click_found(found)

    def text(self, selector="body"):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def reads(self, text, selector="body"):
        where = f"document.querySelector({json.dumps(selector)})"
        self.browser.wait(f"{where} && {where}.innerText.includes({json.dumps(text)})")

    def sample(self):
        """Name of the sample, when its slices are there."""
        self.browser.wait("document.querySelector('.viewer')")
        return self.text("h1")

    def slice(self):
        self.browser.run("new Promise((done) => requestAnimationFrame(done))")
        return self.text("[data-plane=axial] .number")

    def next_of(self, key):
        before = self.text("h1")
        self.press(key)
        self.browser.wait(f"document.querySelector('h1').innerText !== {json.dumps(before)}")
        return self.sample()

    def download(self, folder):
        self.browser.save_to(folder)
        self.button("Download review.csv")
        return self.browser.saved(folder / "review.csv")


def test_a_reader_goes_through_600_samples(browser, data, tmp_path):
    reader = Reader(browser)
    names = [sample["name"] for sample in data["samples"]]
    crcs = {sample["name"]: int(sample["mask_crc32"], 16) for sample in data["samples"]}
    n_shown, visible = _filter_and_open(reader, data)
    _look_at_slices(reader)
    _decide(reader, visible)
    browser.reload()
    assert reader.sample() == visible[5]
    reader.reads("3 of 600 decided")

    saved = review.read(reader.download(tmp_path / "saved"), names)
    made = {
        "amos_0300": review.Decision("accept", "", "Bert", 1),
        visible[2]: review.Decision("exclude", "", "Ada L.", crcs[visible[2]]),
        visible[3]: review.Decision("fix", "=axe, too?", "Ada L.", crcs[visible[3]]),
        visible[4]: review.Decision("accept", "", "Ada L.", crcs[visible[4]]),
    }
    assert saved == made
    reader.reads("Put it at ", ".hint")
    reader.reads("/descriptor/review.csv: the routines obey it", ".hint")

    _merge(reader, tmp_path / "Bert's review.csv", visible[2])
    merged = review.read(reader.download(tmp_path / "merged"), names)
    made[visible[2]] = review.Decision("accept", "fine", "Bert", None)
    assert merged == made | {"amos_0600": review.Decision("exclude", "", "Bert", None)}

    reader.press("Escape")  # to the list as it was
    reader.reads(f"{n_shown} of 600 samples", "#count")
    assert browser.run("QC.cursor()") == visible[5]
    assert browser.errors == []


def _filter_and_open(reader, data):
    """Open the third sample with a flag; gives how many have it, and who they are."""
    reader.reads("600 of 600 samples", "#count")
    assert reader.text(".decided") == "0 of 600 decided"  # what has lapsed is to be decided
    n_volumes = sum("volume" in [f["kind"] for f in s["flags"]] for s in data["samples"])
    reader.button(f"volume {n_volumes}")
    reader.reads(f"{n_volumes} of 600 samples", "#count")
    reader.press(*"jjj", "Enter")
    visible = reader.browser.run("QC.visible().map(({name}) => name)")
    assert len(visible) == n_volumes and reader.sample() == visible[2]
    return n_volumes, visible


def _look_at_slices(reader):
    before = reader.slice()
    reader.browser.wheel(".planes [data-plane=axial] canvas", 2)
    place = "document.querySelector('[data-plane=axial] .number').innerText"
    reader.browser.wait(f"{place} !== '{before}'")
    reader.press("Home")
    assert reader.slice() == "12 of 12"  # from above
    reader.press("ArrowDown", "c", "w", "b")
    assert reader.slice() == "11 of 12"
    reader.browser.wait("location.hash.includes('layer=before')")  # follows with a delay
    assert {"show=areas", "window=lung"} <= {*reader.browser.run("location.hash").split("&")}


def _decide(reader, visible):
    """Exclude, fix and accept three samples, one after the other."""
    reader.browser.click(".decisions-bar input[type=text]")
    reader.press(*"Ada L.", "Escape", "e")
    assert reader.next_of("u") == visible[3]
    reader.press("t", *"=axe, too?", "Escape", "x")
    assert reader.next_of("u") == visible[4]
    reader.press("A")  # Caps Lock
    assert reader.next_of("ArrowLeft") == visible[3]
    assert reader.next_of("u") == visible[5]
    reader.reads("3 of 600 decided")
    reader.reads("3 decisions not saved")


def _merge(reader, path, name):
    """Load another reviewer's file that has another decision, and take it."""
    rows = [[name, "accept", "fine", "Bert", ""], ["amos_0600", "exclude", "", "Bert", ""]]
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([review.COLUMNS, *rows])
    reader.browser.choose_files("input[type=file]", path)
    reader.reads("decisions that differ", "dialog")
    reader.button(f"{path.name}: accept by Bert: fine")
    reader.button("Take these (1 of 1 chosen)")
    reader.reads("4 of 600 decided")


def test_a_lapsed_decision_or_a_note_alone_is_to_be_decided(browser):
    reader = Reader(browser)
    browser.run("location.hash = '#samples?sort=name&q=amos_03'; undefined")
    reader.reads("100 of 600 samples", "#count")
    browser.run("location.hash = '#/amos_0302'; undefined")
    reader.sample()
    reader.press("t", *"later", "Escape")
    browser.run(
        "QC.visible().map(({name}) => name).filter((name) => !/_030[02]/.test(name))"
        ".forEach((name) => QC.decisions.set(name, 'accept'))"
    )
    reader.reads("98 of 600 decided")
    assert reader.next_of("u") == "amos_0300"
    reader.reads("accept lapsed: the mask changed since")
    assert reader.next_of("u") == "amos_0302"
    assert browser.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_sample_fits_into_every_window_and_its_texts_stand_out(browser, scheme):
    reader = Reader(browser)
    browser.prefer(scheme)
    browser.run("location.hash = '#/amos_0008'; undefined")
    reader.sample()
    reader.press("a")
    reader.reads("1 decision not saved")
    for width in (1400, 1000, 700, 360):
        browser.resize(width, 900)
        assert browser.run("document.scrollingElement.scrollWidth") <= width
        assert browser.faint() == [], width


def test_keys_of_one_view_do_not_clash(browser):
    keys = browser.run("QC.keys.map(({key, view}) => [key, view])")
    assert len(keys) > 30
    everywhere = {key for key, view in keys if view is None}
    for view in ("samples", "sample"):
        own = [key for key, where in keys if where == view]
        assert len({*own}) == len(own) and not {*own} & everywhere
    assert all(key == key.lower() or len(key) > 1 for key, _ in keys)


def test_keys_of_the_page_work_where_a_tick_has_the_focus(browser):
    reader = Reader(browser)
    browser.run("location.hash = '#/amos_0005'; undefined")
    reader.sample()
    tick = "document.querySelector('.legend input')"
    browser.run(f"{tick}.focus()")
    reader.press(" ")
    assert not browser.run(f"{tick}.checked")
    reader.press("x")
    assert browser.run("QC.decisions.of('amos_0005').decision") == "fix"


def test_a_missing_picture_is_told_and_evidence_stands_once(browser):
    reader = Reader(browser)
    browser.run("location.hash = '#samples?q=amos_0008'; undefined")
    reader.reads("no picture", ".sample")
    assert reader.text(".sample").count("metadata table, row 8") == 1
    browser.run("location.hash = '#/amos_0008'; undefined")
    reader.sample()
    assert reader.text(".findings").count("metadata table, row 8") == 1
    browser.run("document.getElementById('pictures').scrollIntoView()")
    reader.reads("pictures/amos_0008.jpg is missing.", "#pictures")
    assert {error.split()[-1].rpartition("/")[2] for error in browser.errors} == {
        "amos_0008.jpg",
        "amos_0008_small.jpg",
    }


def test_a_window_of_ct_is_none_of_mri(browser):
    reader = Reader(browser)
    browser.run("location.hash = '#/amos_0500?window=-100,300'; undefined")
    reader.sample()
    assert reader.next_of("ArrowLeft") and "-100 to 300" in reader.text(".tools")
    browser.run("location.hash = '#/amos_0501'; undefined")
    reader.reads("amos_0501", "h1")
    reader.sample()
    assert "-160 to 240" in reader.text(".tools")

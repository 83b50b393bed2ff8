"""Decisions in the report's page, in a headless Chromium: made, kept, saved, loaded, merged."""

import csv
import dataclasses
import io
import itertools
import json
import os
import random
import re
import time
from pathlib import Path

import chromium
import pytest
import report_data

from utils import errors
from utils.storage import review

PAGE = Path(__file__).resolve().parents[1] / "utils/qc/page"
SCRIPTS = ("csv.js", "review_file.js", "decisions.js", "decisions_view.js")
COLUMNS = ["ID", "decision", "note", "reviewer", "mask_crc32"]
# Views as short as can be: what is under test are the bar and the panel.
VIEWS = """
QC.views.samples = { title: "Samples", show: (route, main) => main.append(QC.el("h1", {}, "All")) };
QC.cursor = () => "";
QC.views.sample = { show: ({ name }, main) => main.append(
  QC.el("h1", {}, name), QC.decisions.panel(QC.byName.get(name))) };
QC.told = [];
QC.on("decision", ({ name }) => QC.told.push(name));
"""
HEAD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>report</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>:root {{ color-scheme: light dark }} body {{ font: 14px system-ui }} {style}</style></head>
<body><header id="decisions-bar"></header><div id="message" role="status"></div>
<main id="main"></main>
<script type="application/json" id="data">{data}</script>"""
DAY = 86400
pytestmark = chromium.needed
_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decisions")


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as one:
        yield one
        assert one.errors == []


class Report:
    """A report of four samples in a folder of its own, of a set that no other test has."""

    def __init__(self, folder, browser):
        self.folder, self.browser = folder, browser
        number = next(_numbers)
        self.qc = folder / f"root {number}" / "qc"
        self.qc.mkdir(parents=True)
        self.page = self.qc / "index.html"
        self.identity = f"AMOS22 amos_0001 {number:08x}"
        self.crcs = dict.fromkeys(self.names, None)
        self.drawn = int(time.time()) - 100 * DAY

    names = ("amos_0001", "amos_0002", "amos_0003", "amos_0004")

    def draw(self, rows=(), page=None, days=0, **more):
        """Write the page as it would be drawn with these rows in review.csv."""
        data = report_data.index_data(4)
        data["set"]["identity"] = self.identity
        data["review"]["rows"] = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        for sample in data["samples"]:
            sample |= {"mask_crc32": f"0x0000000{sample['name'][-1]}"} | more.get(
                sample["name"], {}
            )
        page = page or self.page
        text = json.dumps(data).replace("<", "\\u003c")
        scripts = [(PAGE / name).read_text(encoding="utf-8") for name in ("core.js", *SCRIPTS)]
        scripts.insert(1, VIEWS)
        style = (PAGE / "decisions.css").read_text(encoding="utf-8")
        head = HEAD.format(style=style, data=text)
        script = "\n".join([*scripts, "QC.start();"])
        page.write_text(f"{head}<script>{script}</script></body></html>", encoding="utf-8")
        when = self.drawn + days * DAY
        os.utime(page, (when, when))

    def open(self, name="", page=None):
        # Another hash alone would load nothing.
        place = f"#/{name}" if name else "#samples"
        self.browser.open(f"{(page or self.page).as_uri()}?{next(_numbers)}{place}")
        return self

    def settle(self):
        """Wait until the page has read the store again, and written what the file holds."""
        self.browser.wait("QC.decisions.isSettled")
        return self

    def go(self, name):
        self.browser.run(f"QC.go('sample', {json.dumps(name)})")
        self.browser.wait(f"document.querySelector('h1').textContent === {json.dumps(name)}")

    def of(self, name):
        return self.browser.run(f"QC.decisions.of({json.dumps(name)})")

    def decision(self, name):
        return (self.of(name) or {"decision": None})["decision"]

    def counts(self):
        return self.browser.run("QC.decisions.counts()")

    def text(self, selector):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def set(self, name, *words):
        arguments = ", ".join(map(json.dumps, (name, *words)))
        self.browser.run(f"QC.decisions.set({arguments})")

    def click(self, text, within="body"):
        """Click the button in which this text stands."""
        found = (
            f"[...document.querySelectorAll({json.dumps(within + ' button')})]"
            f".find((one) => one.textContent.startsWith({json.dumps(text)}))"
        )
        self.browser.click_found(found)

    def download(self):
        """Download review.csv by a click; return its bytes."""
        # A folder each time: a file that is removed at once the browser may fetch again.
        place = self.folder / f"downloads {next(_numbers)}"
        self.browser.save_to(place)
        self.click("Download")
        return self.browser.saved(place / "review.csv").read_bytes()

    def load(self, **contents):
        """Load files, name -> bytes or rows, as the file chooser would."""
        before = self.browser.run("QC.decisions.loads = (QC.decisions.loads || 0)")
        self.browser.run(
            "if (!QC.decisions.isWatched) { QC.decisions.isWatched = true;"
            " const load = QC.decisions.load; QC.decisions.load = async (files) => {"
            " await load(files); QC.decisions.loads += 1; }; }"
        )
        paths = []
        for name, content in contents.items():
            paths.append(self.qc / f"{name}.csv")
            paths[-1].write_bytes(content if isinstance(content, bytes) else _file(content))
        self.browser.choose_files("input[type=file]", *paths)
        self.browser.wait(f"QC.decisions.loads > {before}")


@pytest.fixture
def report(folder, browser):
    return Report(folder, browser)


def _file(rows):
    """The bytes of review.csv, as Python writes them."""
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([COLUMNS, *rows])
    return stream.getvalue().encode("utf-8-sig")


# ---- CSV


def _any_tables():
    """200 made-up tables of three columns, each with its text as Python writes it."""
    deal = random.Random(1)
    letters = [
        "a",
        "ü",
        "€",
        "😀",
        " ",
        '"',
        '""',
        ",",
        ";",
        "\t",
        "\n",
        "\r\n",
        "=",
        "'",
        "-",
        "0",
    ]

    def cell():
        return "".join(deal.choices(letters, k=deal.randrange(6)))

    for _ in range(200):
        table = [[cell(), cell(), cell()] for _ in range(deal.randrange(1, 5))]
        stream = io.StringIO(newline="")
        csv.writer(stream, delimiter=deal.choice(",;\t")).writerows(table)
        yield table, stream.getvalue()


def test_tables_are_read_as_python_reads_them(report, browser):
    report.draw()
    report.open()
    tables, texts = zip(*_any_tables(), strict=True)
    separators = [_separator_of(text, table) for text, table in zip(texts, tables, strict=True)]
    read = browser.run(
        f"{json.dumps([texts, separators])}[0].map((text, k) => QC.csv.parse(text, "
        f"{json.dumps(separators)}[k]))"
    )
    for text, separator, table, found in zip(texts, separators, tables, read, strict=True):
        assert [row["cells"] for row in found] == table
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        assert [row["line"] for row in found] == [lines.line_num for _ in lines]


def test_tables_are_written_as_python_writes_them_and_hold_no_formulas(report, browser):
    report.draw()
    report.open()
    tables, _ = zip(*_any_tables(), strict=True)
    rows = [[dict(zip("abc", row, strict=True)) for row in table] for table in tables]
    written = browser.run(f"{json.dumps(rows)}.map((one) => QC.csv.write(one, ['a', 'b', 'c']))")
    for text, table in zip(written, tables, strict=True):
        stream = io.StringIO(newline="")
        guarded = [[_guarded(cell) for cell in row] for row in table]
        csv.writer(stream).writerows([["a", "b", "c"], *guarded])
        assert text == "\ufeff" + stream.getvalue()
    cells = sorted({cell for table in tables for row in table for cell in row})
    assert any(cell.startswith("=") for cell in cells)
    again = browser.run(
        f"{json.dumps(cells)}.map((text) => QC.csv.unguarded(QC.csv.guarded(text)))"
    )
    assert again == cells


def _separator_of(text, table):
    """The separator with which Python reads this table from the text."""
    for separator in ",;\t":
        if list(csv.reader(io.StringIO(text, newline=""), delimiter=separator)) == table:
            return separator
    raise AssertionError(text)


def _guarded(cell):
    return (
        f"'{cell}"
        if cell.lstrip("'")[:1] in ("=", "+", "-", "@", "\t", "\r") and (cell.lstrip("'") != "")
        else cell
    )


@pytest.mark.parametrize("separator", ",;\t", ids=["comma", "semicolon", "tab"])
def test_separators_and_encodings_of_spreadsheets(report, separator):
    report.draw()
    report.open()
    lines = [COLUMNS, ["amos_0001", "fix", "größer, klein; beides", "Jürgen", ""]]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(lines)
    text = stream.getvalue()
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        report.browser.run("QC.decisions.withdraw('amos_0001')")
        report.load(anna=text.encode(encoding))
        found = report.of("amos_0001")
        assert (found["note"], found["reviewer"]) == ("größer, klein; beides", "Jürgen"), encoding
    assert "anna.csv: not in UTF-8, read as Windows-1252" in report.text(".alerts")
    report.browser.run("QC.decisions.withdraw('amos_0001')")
    chinese = text.replace("größer, klein; beides", "肝脏").replace("Jürgen", "王")
    report.load(anna=chinese.encode("gb18030"))
    assert report.of("amos_0001")["note"] == "肝脏"


# ---- deciding


def test_decisions_by_key_and_click_outlive_a_reload(report, browser):
    report.draw()
    report.open("amos_0001")
    assert report.text(".decided") == "0 of 4 decided"
    browser.press("a")
    assert report.text(".decision-panel [aria-pressed=true]") == "accept"
    report.go("amos_0002")
    browser.press("e")
    report.go("amos_0003")
    browser.press("x")
    report.go("amos_0004")
    browser.click(".decide.accept")
    browser.click(".decide.exclude")
    assert report.text(".decision-panel [aria-pressed=true]") == "exclude"
    assert browser.run("location.hash") == "#/amos_0004"
    browser.reload()
    assert [report.decision(name) for name in report.names] == [
        "accept", "exclude", "fix", "exclude",
    ]  # fmt: skip
    expected = {"decided": 4, "accept": 1, "exclude": 2, "fix": 1, "lapsed": 0, "unsaved": 4}
    assert report.counts() == expected | {"of": 4}
    assert report.text(".decided") == "4 of 4 decided"
    assert report.text(".decisions-bar .quiet") == "1 accept · 2 exclude · 1 fix"
    assert report.text(".unsaved") == "4 decisions not saved"
    browser.press("d")
    assert report.decision("amos_0004") is None
    assert report.text(".decision-panel .choices") == "accept\nexclude\nfix\nwithdraw"
    assert browser.run("document.querySelector('.decision-panel [aria-pressed=true]')") is None
    assert report.text(".unsaved") == "3 decisions not saved"
    assert browser.run("QC.told") == ["amos_0004"]
    assert report.text("#message") == "amos_0004: decision withdrawn"


def test_a_note_is_typed_and_keeps_its_lines(report, browser):
    report.draw()
    report.open("amos_0001")
    browser.press("t")
    browser.press(*"axe")  # keys of the page, too
    browser.call("Input.insertText", text=', =2+3 "quoted"\nπ 肝 😀')
    browser.press("Escape", "x")
    note = 'axe, =2+3 "quoted"\nπ 肝 😀'
    found = report.of("amos_0001")
    assert (found["decision"], found["note"]) == ("fix", note)
    assert browser.run("document.activeElement.tagName") == "BODY"
    browser.reload()
    assert browser.run("document.querySelector('textarea').value") == note
    assert report.download() == _file([["amos_0001", "fix", note, "", "0x00000001"]])
    browser.press("d")
    assert browser.run("document.querySelector('textarea').value") == ""
    assert report.text(".unsaved") == "1 decision not saved"  # the file still has it


def test_a_note_without_decision_is_kept_and_is_none(report, browser):
    report.draw()
    report.open("amos_0001")
    browser.press("t", *"look")
    assert report.of("amos_0001")["decision"] == ""
    assert report.counts()["decided"] == 0 and report.counts()["unsaved"] == 1
    assert report.download() == _file([["amos_0001", "", "look", "", "0x00000001"]])
    assert report.counts()["unsaved"] == 0
    browser.run("QC.decisions.note('amos_0001', 'look again')")
    assert report.counts()["unsaved"] == 1
    browser.run("QC.decisions.note('amos_0001', ' ')")
    assert report.of("amos_0001") is None


def test_the_name_once_given_is_written_with_each_decision(report, browser):
    report.draw()
    report.open("amos_0001")
    browser.press("a")
    browser.click(".decisions-bar label input")
    browser.call("Input.insertText", text=" Anna B. ")
    report.go("amos_0002")
    browser.press("Escape", "e")
    browser.reload()
    assert browser.run("document.querySelector('.decisions-bar label input').value") == "Anna B."
    assert report.of("amos_0001")["reviewer"] == ""
    assert report.of("amos_0002")["reviewer"] == "Anna B."
    assert report.text(".decision-panel .about") == "by Anna B. · not saved"


def test_what_looks_like_markup_or_a_formula_stays_text(report, browser):
    evil = '<img src=x onerror="window.isEvil=true">'
    rows = [["amos_0001", "fix", evil, evil, ""], ["../x<b>", "accept", "'=1", "", ""]]
    report.draw(rows)
    report.open("amos_0001")
    assert browser.run("document.querySelector('textarea').value") == evil
    assert report.text(".about") == f"by {evil} · in review.csv"
    for name, note in zip(report.names, ("=1+1", "@SUM(A1)", "+1", "-1"), strict=True):
        report.set(name, "accept", note)
    report.load(
        **{"<b>evil": [["amos_0001", "exclude", evil, evil, ""], [evil, "fix", "", "", ""]]}
    )
    assert browser.run("document.querySelectorAll('dialog button').length") == 6
    report.click("<b>evil.csv: exclude", "dialog")
    report.click("Take these", "dialog")
    assert f"Not in this report, and kept: {evil}." in report.text(".alerts")
    assert browser.run("document.querySelectorAll('#decisions-bar b, img').length") == 0
    assert browser.run("window.isEvil") is None
    assert report.download() == _file(
        [
            ["amos_0001", "exclude", evil, evil, ""],
            ["../x<b>", "accept", "''=1", "", ""],
            [evil, "fix", "", "", ""],
            ["amos_0002", "accept", "'@SUM(A1)", "", "0x00000002"],
            ["amos_0003", "accept", "'+1", "", "0x00000003"],
            ["amos_0004", "accept", "'-1", "", "0x00000004"],
        ]
    )


# ---- the file


def test_the_file_has_its_own_rows_in_place_then_new_ones_sorted(report, browser):
    rows = [
        ["other_9", "exclude", "of another tree", "Bert", "0x000000ff"],
        ["amos_0003", "exclude", "motion", "Bert", "0x00000003"],
        ["amos_0001", "accept", "", "Bert", "0x00000001"],
    ]
    report.draw(rows)
    report.open("amos_0004")
    assert report.text(".unsaved") == "" and report.text(".hint") == ""
    assert report.counts()["decided"] == 2
    assert report.download() == _file(rows)
    report.set("amos_0004", "accept")
    report.set("amos_0002", "fix", "=spleen")
    report.set("amos_0003", "accept")
    browser.run("QC.decisions.withdraw('amos_0001')")
    assert report.text(".unsaved") == "4 decisions not saved"
    place = report.qc.parent / "descriptor" / "review.csv"
    assert report.text(".hint") == ""
    expected = [
        rows[0],
        ["amos_0003", "accept", "motion", "", "0x00000003"],
        ["amos_0002", "fix", "'=spleen", "", "0x00000002"],
        ["amos_0004", "accept", "", "", "0x00000004"],
    ]
    saved = report.download()
    assert saved == _file(expected)
    assert report.text(".unsaved") == "4 decisions downloaded, not in this report yet"
    assert report.text(".hint") == f"Put it at {place}: the routines obey it from then on."
    browser.reload()
    assert report.counts()["unsaved"] == 0
    assert report.download() == saved
    expected[2][2] = "=spleen"
    report.draw(expected, days=1)
    report.open("amos_0002")
    assert report.text(".unsaved") == "" and report.text(".hint") == ""
    assert report.text(".about") == "in review.csv"
    assert report.download() == saved
    report.settle()
    stored = json.loads(browser.run(f"localStorage.getItem('qc-review:{report.identity}')"))
    assert stored["own"] == []


def test_what_was_decided_anew_after_a_download_is_not_saved(report, browser):
    report.draw([["amos_0001", "accept", "", "", "0x00000001"]])
    report.open("amos_0001")
    browser.press("e")
    browser.press("a")
    assert report.counts()["unsaved"] == 0  # as in the file again
    browser.press("e")
    report.download()
    browser.press("a")
    browser.reload()
    # The file may lie in its place by now, with exclude.
    assert report.counts()["unsaved"] == 1
    report.draw([["amos_0001", "exclude", "", "", "0x00000001"]], days=1)
    report.open("amos_0001")
    assert report.decision("amos_0001") == "accept" and report.counts()["unsaved"] == 1
    assert browser.run("QC.decisions.conflicts()") == []
    report.draw([["amos_0001", "accept", "", "", "0x00000001"]], days=2)
    report.download()
    report.open("amos_0001")
    assert report.text(".unsaved") == ""


def test_a_withdrawn_row_does_not_come_back_with_the_old_file(report, browser):
    rows = [["amos_0001", "exclude", "", "", "0x00000001"]]
    report.draw(rows)
    report.open("amos_0001")
    browser.press("d")
    assert report.text(".about") == "not saved\n\nreview.csv says: exclude"
    report.draw(rows, days=1)
    report.open()
    assert report.of("amos_0001") is None and report.counts()["unsaved"] == 1
    assert report.download() == _file([])
    report.draw([], days=2)
    report.open()
    assert report.of("amos_0001") is None and report.text(".unsaved") == ""


@pytest.mark.parametrize("side", ["keep what is decided here", "take review.csv's"])
def test_a_row_that_changed_since_is_a_conflict_and_named(report, browser, side):
    report.draw([["amos_0001", "accept", "", "", "0x00000001"]])
    report.open()
    report.set("amos_0001", "fix", "liver")
    report.set("amos_0002", "accept")
    filed = [["amos_0001", "exclude", "motion", "Bert", "0x00000001"]]
    report.draw([*filed, ["amos_0003", "accept", "", "", ""]], days=1)
    report.open("amos_0001")
    assert report.text(".alerts .loud") == (
        "1 decision made here and changed in review.csv since: amos_0001. "
        "Those made here count until you choose."
    )
    assert report.decision("amos_0001") == "fix" and report.decision("amos_0003") == "accept"
    assert "review.csv says: exclude by Bert: motion" in report.text(".about")
    report.click(side, ".decision-panel")
    assert report.text(".alerts") == ""
    is_filed = side.startswith("take")
    assert report.decision("amos_0001") == ("exclude" if is_filed else "fix")
    assert report.counts()["unsaved"] == (1 if is_filed else 2)
    browser.reload()
    assert report.text(".alerts") == ""
    assert report.decision("amos_0001") == ("exclude" if is_filed else "fix")


def test_conflicts_with_the_file_are_settled_in_one_dialog(report, browser):
    report.draw()
    report.open()
    for name in report.names[:3]:
        report.set(name, "accept")
    report.draw([[name, "exclude", "", "Bert", ""] for name in report.names[:3]], days=1)
    report.open("amos_0001").settle()
    report.click("Compare")
    browser.press("x")  # no key of the page behind the dialog
    report.click("review.csv", "dialog .all")
    report.click("here: accept", "dialog fieldset:nth-of-type(2)")
    report.click("Take these (3 of 3 chosen)", "dialog")
    found = [report.decision(name) for name in report.names]
    assert found == ["exclude", "accept", "exclude", None]
    assert browser.run("QC.decisions.conflicts()") == []
    assert browser.run("document.querySelector('dialog')") is None


def test_rows_taken_out_of_the_file_are_out(report):
    report.draw([["amos_0001", "exclude", "", "", ""], ["amos_0002", "fix", "", "", ""]])
    report.open()
    report.draw([["amos_0002", "fix", "", "", ""]], days=1)
    report.open()
    assert report.of("amos_0001") is None
    assert report.counts()["unsaved"] == 0


def test_an_older_copy_of_the_report_does_not_bring_back_what_the_file_held(report):
    old = report.qc / "old.html"
    report.draw(page=old)
    newer = [["amos_0001", "exclude", "", "", "0x00000001"]]
    report.draw(newer, days=1)
    report.open().settle()
    report.open(page=old).settle()
    assert report.decision("amos_0001") == "exclude"
    assert report.text(".alerts .loud") == (
        "This page is older than a report of this set that this browser has shown: "
        "what review.csv holds is taken from the newer one."
    )
    report.set("amos_0002", "accept")
    row = ["amos_0002", "accept", "", "", "0x00000002"]
    assert report.download() == _file([*newer, row])


# ---- masks that changed


def test_accept_and_fix_lapse_with_the_mask_and_exclude_stands(report, browser):
    rows = [
        ["amos_0001", "accept", "fine", "Anna", "0x000000aa"],
        ["amos_0002", "fix", "", "", "0x000000bb"],
        ["amos_0003", "exclude", "", "", "0x000000cc"],
        ["amos_0004", "accept", "", "", ""],
    ]
    report.draw(rows)
    report.open("amos_0001")
    assert report.counts() == {"decided": 2, "accept": 1, "exclude": 1, "fix": 0, "lapsed": 2} | {
        "unsaved": 0,
        "of": 4,
    }
    assert report.text(".decided") == "2 of 4 decided"
    assert report.of("amos_0001")["isLapsed"] is True
    assert report.text(".about .loud") == "accept lapsed: the mask changed since"
    assert browser.run("document.querySelector('.decision-panel [aria-pressed=true]')") is None
    report.go("amos_0003")
    assert (
        report.text(".about .loud")
        == "the mask changed since; it stays excluded until you withdraw"
    )
    assert report.text(".decision-panel [aria-pressed=true]") == "exclude"
    report.go("amos_0001")
    browser.run("QC.decisions.note('amos_0001', 'still to see')")
    assert report.of("amos_0001")["isLapsed"] is True  # a note alone decides nothing
    browser.press("a")
    assert report.of("amos_0001") == {
        "decision": "accept",
        "note": "still to see",
        "reviewer": "Anna",
        "mask_crc32": "0x00000001",
        "isLapsed": False,
        "isChanged": False,
    }


def test_of_a_mask_that_is_gone_decisions_lapse_and_of_an_unreadable_one_not(report):
    rows = [[name, "accept", "", "", "0x000000aa"] for name in report.names[:2]]
    rows.append(["amos_0003", "exclude", "", "", "0x000000aa"])
    gone = {"mask_crc32": "", "paths": {"volume": "v.nii.gz"}}
    unreadable = {"mask_crc32": ""}
    report.draw(rows, amos_0001=gone, amos_0002=unreadable, amos_0003=gone)
    report.open()
    assert [report.of(name)["isLapsed"] for name in report.names[:3]] == [True, False, False]
    assert report.of("amos_0003")["isChanged"] is False


def test_a_decision_of_this_browser_lapses_in_the_next_report(report):
    report.draw()
    report.open()
    report.set("amos_0001", "accept")
    report.draw(days=1, amos_0001={"mask_crc32": "0xffffffff"})
    report.open()
    assert report.of("amos_0001")["isLapsed"] is True
    assert report.counts()["decided"] == 0 and report.counts()["unsaved"] == 1


# ---- loading and merging


def test_one_file_is_merged_into_what_is_here(report):
    report.draw()
    report.open()
    report.set("amos_0001", "accept", "fine")
    report.load(anna=[["1", "ACCEPT", "fine", "Anna", "1"]])
    assert "the mask_crc32 '1' in line 2" in report.text(".alerts")
    report.load(
        anna=[
            ["1", "ACCEPT", "fine", "Anna", "0X1"],
            ["amos_0002", "exclude", "'=motion", "Anna", "00000002"],
            ["other_7", "fix", "", "Anna", ""],
            ["amos_0003", "", "a note", "Anna", ""],
        ]
    )
    assert report.text(".alerts p") == (
        "anna.csv: 4 decisions loaded, 0 as here. Not in this report, and kept: other_7. ×"
    )
    assert report.counts()["unsaved"] == 4
    assert report.download() == _file(
        [
            ["amos_0001", "accept", "fine", "Anna", "0x00000001"],
            ["amos_0002", "exclude", "'=motion", "Anna", "0x00000002"],
            ["amos_0003", "", "a note", "Anna", ""],
            ["other_7", "fix", "", "Anna", ""],
        ]
    )


def test_what_was_downloaded_is_loaded_into_an_empty_store(report, browser):
    report.draw()
    report.open()
    report.set("amos_0001", "fix", '=1;\t"x",\nand\n\n-2')
    report.set("amos_0004", "exclude", "'=1")
    saved = report.download()
    browser.run("localStorage.clear()")
    report.open()
    assert report.counts()["decided"] == 0
    report.load(review=saved)
    assert report.download() == saved
    report.load(review=saved)
    assert report.text(".alerts p") == "review.csv: 0 decisions loaded, 2 as here. ×"
    assert report.counts()["unsaved"] == 0


ANNA = [
    ["amos_0001", "accept", "fine", "Anna", "0x00000001"],
    ["amos_0002", "exclude", "motion", "Anna", "0x00000002"],
    ["amos_0003", "fix", "", "Anna", "0x00000003"],
    ["amos_0004", "fix", "", "Anna", "0x00000004"],
]
BERT = [
    ["amos_0001", "accept", "good", "Bert", "0x00000001"],
    ["amos_0002", "accept", "not so bad", "Bert", "0x00000002"],
    ["amos_0003", "fix", "", "Bert", "0x00000003"],
    ["amos_0004", "", "spleen", "Bert", ""],
]


@pytest.mark.parametrize("side", ["anna", "bert"])
def test_files_of_two_reviewers_are_merged_and_conflicts_chosen(report, browser, side):
    report.draw()
    report.open()
    report.load(anna=ANNA, bert=BERT)
    assert report.text("dialog legend") == "amos_0002"
    assert browser.run("document.querySelectorAll('dialog fieldset').length") == 1
    shown = browser.run(
        "[...document.querySelectorAll('dialog fieldset button')].map((one) => one.textContent)"
    )
    assert shown == ["anna.csv: exclude by Anna: motion", "bert.csv: accept by Bert: not so bad"]
    assert report.counts()["decided"] == 0  # nothing before it is chosen
    assert browser.run("document.querySelector('dialog .take').disabled") is True
    report.click(side, "dialog fieldset")
    report.click("Take these (1 of 1 chosen)", "dialog")
    merged = [
        ["amos_0001", "accept", "fine (Anna); good (Bert)", "Anna, Bert", "0x00000001"],
        (ANNA if side == "anna" else BERT)[1],
        ["amos_0003", "fix", "", "Anna, Bert", "0x00000003"],
        ["amos_0004", "fix", "spleen", "Anna, Bert", "0x00000004"],
    ]
    saved = report.download()
    assert saved == _file(merged)
    report.load(**{side: ANNA if side == "anna" else BERT})
    assert report.download() == saved  # a file that is in it already adds nothing


def test_loading_leaves_rows_that_it_does_not_name_as_they_are(report):
    rows = [
        ["amos_0001", "fix", "x; x", "Anna, Anna", "0x000000aa"],
        ["amos_0002", "fix", "", "", ""],
    ]
    report.draw(rows)
    report.open()
    report.load(more=[["amos_0003", "accept", "", "", ""], rows[0]])
    assert report.counts()["unsaved"] == 1
    assert report.download() == _file([*rows, ["amos_0003", "accept", "", "", ""]])


def test_of_one_decision_on_two_masks_the_mask_at_hand_counts(report):
    report.draw([["amos_0001", "accept", "", "Anna", "0x000000aa"]])
    report.open()
    assert report.of("amos_0001")["isLapsed"] is True
    report.load(bert=[["amos_0001", "accept", "", "Bert", "0x00000001"]])
    found = report.of("amos_0001")
    assert (found["reviewer"], found["isLapsed"]) == ("Anna, Bert", False)


def test_a_cancelled_merge_changes_nothing(report, browser):
    report.draw()
    report.open()
    report.set("amos_0002", "fix", "liver")
    report.load(anna=ANNA)
    legends = "[...document.querySelectorAll('dialog legend')].map((one) => one.textContent)"
    assert browser.run(legends) == ["amos_0002"]
    report.click("Cancel", "dialog")
    assert report.decision("amos_0001") is None
    assert report.of("amos_0002")["note"] == "liver"
    report.load(anna=ANNA)
    browser.press("a", "Escape")
    browser.wait("!document.querySelector('dialog')")
    assert report.counts()["unsaved"] == 1


FAULTS = {
    "decision": (
        [["amos_0001", "maybe", "", "", ""], ["amos_0002", "reject", "", "", ""]],
        "the review has the decision 'maybe' in line 2, expected accept, exclude, fix or nothing\n"
        "anna.csv: the review has the decision 'reject' in line 3, expected accept, exclude, fix "
        "or nothing",
    ),
    "two decisions": (
        [["1", "accept", "", "", ""], ["amos_0001", "fix", "", "", ""]],
        "the review has for amos_0001 the decision accept in line 2 and fix in line 3, "
        "expected one",
    ),
    "two masks": (
        [["1", "fix", "", "", "0x1"], ["amos_0001", "fix", "", "", "0x2"]],
        "the review has for amos_0001 the mask_crc32 0x1 in line 2 and 0x2 in line 3, expected one",
    ),
    "no ID": (
        [["amos_0001", "accept", "a\nb", "", ""], ["", "accept", "", "", ""]],
        "the review has no ID in line 4, expected that of a sample",
    ),
    "columns": (
        b"ID,decision,note\namos_0001,fix,\n",
        "the review has in line 1 'ID, decision, note', expected the columns ID, decision, note, "
        "reviewer, mask_crc32, each once",
    ),
    "cells": (
        b"ID,decision,note,reviewer,mask_crc32\n\namos_0001,fix\n",
        "the review has 2 cells in line 3, expected 5",
    ),
    "quote": (
        b'ID,decision,note,reviewer,mask_crc32\namos_0001,fix,"open,,\n',
        "the review has in line 2 a quote that nothing closes",
    ),
    "text behind": (
        b'ID,decision,note,reviewer,mask_crc32\namos_0001,fix,"a"b,,\n',
        "the review has in line 2 text behind a closing quote",
    ),
    "empty": (
        b"\r\n",
        "the review is empty, expected the columns ID, decision, note, reviewer, mask_crc32",
    ),
}


def test_faults_of_files_are_named_with_their_lines_and_nothing_is_loaded(report):
    report.draw()
    report.open()
    for content, expected in FAULTS.values():
        report.load(anna=content, bert=BERT)
        shown = report.text(".alerts").replace(" ×", "").split("\n\n")
        assert "\n".join(shown) == f"anna.csv: {expected}\nNothing was loaded."
        assert report.counts()["unsaved"] == 0
    report.load(bert=BERT)
    assert "Nothing" not in report.text(".alerts")


def test_rows_of_one_id_that_agree_are_one(report):
    report.draw()
    report.open()
    rows = [["2", "fix", "a", "Anna", ""], ["amos_0002", "Fix", "b", "Bert", "0x2"]]
    report.load(both=[*rows, ["0002.0", "", "a", "", "0x7"]])
    assert report.download() == _file([["amos_0002", "fix", "a; b", "Anna, Bert", "0x00000002"]])


def _any_file(deal):
    """A review as people write it: mostly whole, sometimes not."""
    cells = {
        "ID": ["amos_0001", "amos_0002", "1", "0002", "3.0", "other_5", "7", " amos_0004 "],
        "decision": ["accept", "exclude", "Fix", "FIX ", "", "fix"],
        "note": ["", "", "a", "'=1", "''-1", "-1", "x\ny", "x\r\ny", 'say "a"; b,\tc', "'tis"],
        "reviewer": ["", "Anna", "'@Bert", "Jürgen 😀"],
        "mask_crc32": ["", "", "0x1", "0x00000001", "0000000A", "0XA"],
    }
    if deal.random() < 0.1:
        cells[deal.choice(COLUMNS)] += ["maybe", "0xg", "1"]
    columns = deal.sample([*COLUMNS, "more"], 6) if deal.random() < 0.3 else COLUMNS
    cells["more"] = ["", "b"]
    rows = [[deal.choice(cells[one]) for one in columns] for _ in range(deal.randrange(6))]
    if deal.random() < 0.1:
        rows.append(deal.choice([[], ["a"], [""] * 9, ["amos_0003", "fix", "", "", "", "", "z"]]))
    stream = io.StringIO(newline="")
    separator, end = deal.choice(",;\t"), deal.choice(["\r\n", "\n"])
    table = [columns, *rows]
    csv.writer(stream, delimiter=separator, lineterminator=end).writerows(table)
    text = stream.getvalue()
    return text if deal.random() < 0.95 else text + '"a"b'


def test_files_are_read_as_the_pipeline_reads_them(report, browser):
    report.draw()
    report.open()
    deal = random.Random(3)
    texts = [_any_file(deal) for _ in range(200)]
    read = browser.run(
        f"{json.dumps(texts)}.map(QC.review.read).map(({{ rows, faults }}) =>"
        " [[...rows.values()], faults, QC.csv.write([...rows.values()], QC.review.columns)])"
    )
    path = report.qc / "review.csv"
    n_faults = 0
    for text, (rows, faults, again) in zip(texts, read, strict=True):
        path.write_bytes(text.encode())
        try:
            expected = _in_one_form(review.read(path, report.names))
        except errors.DatasetError as error:
            n_faults += 1
            if "cannot be read as CSV" not in str(error):  # which Python does not number
                assert [*map(_lines, faults)] == [*map(_lines, error.cases)], text
            continue
        assert faults == [], text
        path.write_bytes(again.encode())
        assert [*review.read(path, report.names).items()] == [*expected.items()], text
        assert [row["ID"] for row in rows] == [*expected]
        assert [row["decision"] for row in rows] == [one.decision for one in expected.values()]
        assert [row["note"] for row in rows] == [one.note for one in expected.values()]
    assert 20 < n_faults < 180


def _in_one_form(decisions):
    """Decisions with the line breaks that the page writes."""
    return {
        name: dataclasses.replace(one, note=one.note.replace("\r\n", "\n"))
        for name, one in decisions.items()
    }


def _lines(fault):
    """The numbers of lines in a message; of a header, which Python does not number, none."""
    return [number for number in re.findall("line ([0-9]+)", str(fault)) if number != "1"]


# ---- the browser's store

BLOCK = """Storage.prototype.setItem = function () {
  throw new DOMException("full", "QuotaExceededError");
};"""
BANNER = "This browser does not keep decisions: download review.csv before you close the page."


def _is_warned(browser):
    return browser.run(
        "(() => { const event = new Event('beforeunload', { cancelable: true });"
        " window.dispatchEvent(event); return event.defaultPrevented; })()"
    )


def test_a_browser_that_keeps_nothing_is_told_and_warns_before_it_closes(report, browser):
    report.draw()
    report.open("amos_0001")
    browser.press("a")
    assert report.text(".alerts") == "" and not _is_warned(browser)
    browser.run(f"window.whole = Storage.prototype.setItem; {BLOCK}")
    report.set("amos_0002", "exclude")
    report.set("amos_0003", "fix")
    browser.run("QC.decisions.withdraw('amos_0003')")
    assert report.text(".alerts .loud") == BANNER
    assert _is_warned(browser)
    assert [report.decision(name) for name in report.names[:3]] == ["accept", "exclude", None]
    assert report.download() == _file(
        [[n, d, "", "", f"0x0000000{n[-1]}"] for n, d in zip(report.names, ("accept", "exclude"))]
    )
    assert not _is_warned(browser)
    report.set("amos_0004", "accept")
    browser.run("Storage.prototype.setItem = window.whole")
    report.set("amos_0003", "accept")
    assert report.text(".alerts") == ""
    browser.reload()
    assert report.counts()["decided"] == 4


@pytest.mark.parametrize(
    "script",
    [
        BLOCK,
        "Storage.prototype.setItem = () => undefined;",
        "Object.defineProperty(window, 'localStorage', { get() {"
        " throw new DOMException('no', 'SecurityError'); } });",
    ],
    ids=["full", "nothing kept", "denied"],
)
def test_a_blocked_store_is_told_from_the_start(report, browser, script):
    report.draw()
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    try:
        report.open("amos_0001")
        assert report.text(".alerts .loud") == BANNER
        browser.press("a")
        browser.run("QC.decisions.rename('Anna')")
        browser.press("e")
        assert report.of("amos_0001")["reviewer"] == "Anna"
        expected = _file([["amos_0001", "exclude", "", "Anna", "0x00000001"]])
        assert report.download() == expected
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_what_a_lost_store_held_is_told(report, browser):
    report.draw()
    report.open("amos_0001")
    browser.press("a")
    report.go("amos_0002")
    browser.press("e")
    report.settle()
    browser.run("localStorage.clear()")
    browser.reload()
    report.settle()
    assert report.text(".alerts .loud") == (
        "2 decisions made here are gone from the browser's store. Load the review.csv that was "
        "downloaded last, and look at the others again. ×"
    )
    browser.reload()
    report.settle()
    assert report.text(".alerts") == ""  # told once
    browser.press("a")
    report.download()
    browser.reload()
    report.settle()
    assert report.text(".alerts") == ""


def test_what_a_full_store_did_not_take_is_told(report, browser):
    report.draw()
    report.open()
    report.set("amos_0001", "accept")
    report.settle()
    browser.run(BLOCK)
    report.set("amos_0002", "fix")
    browser.run("QC.decisions.isKept = true")  # else the browser asks whether to leave the page
    browser.reload()
    report.settle()
    assert report.text(".alerts .loud").startswith("1 decision made here is gone from")
    assert report.counts()["decided"] == 1


def test_a_download_has_what_another_tab_just_decided(report, browser):
    report.draw()
    report.open()
    report.set("amos_0002", "fix")
    # As another tab writes it, before this one is told.
    browser.run(
        "localStorage.setItem(QC.decisions.key,"
        " localStorage.getItem(QC.decisions.key).replaceAll('amos_0002', 'amos_0003'))"
    )
    assert report.download() == _file([["amos_0003", "fix", "", "", "0x00000002"]])


def test_a_store_that_is_emptied_while_the_page_is_open_gets_back_what_is_here(report, browser):
    report.draw()
    report.open()
    report.set("amos_0001", "accept")
    report.settle()
    browser.run("localStorage.clear()")
    report.set("amos_0002", "fix")
    browser.reload()
    assert report.counts()["decided"] == 2 and report.text(".alerts") == ""


READABLE = '{"version": 1, "made": "x", "reviewer": "", "rows": [], "own": []}'
UNREADABLE = (
    '{"made": ',
    "null",
    '"x"',
    '{"version": 1}',
    '{"version": 99, "made": "", "reviewer": "", "rows": [], "own": []}',
    '{"version": 1, "made": "", "reviewer": "", "rows": [{"ID": 1}], "own": []}',
    '{"version": 1, "made": "", "reviewer": "", "rows": [], "own": [{"ID": "a", "known": null}]}',
)


def test_what_cannot_be_read_in_the_store_is_put_aside(report, browser):
    report.draw()
    report.open()
    found = browser.run(f"{json.dumps(UNREADABLE)}.map(QC.decisions.understood)")
    assert found == [None] * len(UNREADABLE)
    assert browser.run(f"QC.decisions.understood({json.dumps(READABLE)}).made") == "x"
    report.settle()
    key = json.dumps(f"qc-review:{report.identity}")
    browser.run(f"localStorage.setItem({key}, {json.dumps(UNREADABLE[0])})")
    report.open()
    told = report.text(".alerts .loud")
    assert told.startswith("What this browser kept of the decisions cannot be read. It is left")
    aside = told.split("'")[1]
    assert browser.run(f"localStorage.getItem({json.dumps(aside)})") == UNREADABLE[0]
    report.set("amos_0001", "accept")
    browser.reload()
    assert report.counts()["decided"] == 1 and report.text(".alerts") == ""


def test_what_can_neither_be_read_nor_put_aside_is_left_as_it_is(report, browser):
    report.draw()
    report.open().settle()
    key = json.dumps(f"qc-review:{report.identity}")
    browser.run(f"localStorage.setItem({key}, '{{')")
    script = BLOCK + "Storage.prototype.isBlocked = true;"
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    try:
        report.open()
        assert "It is left as it is, and no decisions are kept." in report.text(".alerts")
        report.set("amos_0001", "accept")
        assert BANNER in report.text(".alerts")
        assert browser.run(f"localStorage.getItem({key})") == "{"
        report.download()
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_two_tabs_of_one_report_show_the_same(report, browser):
    report.draw()
    report.open("amos_0001").settle()
    other = _tab(browser, report.page.as_uri() + "#/amos_0002")
    browser.run("QC.told.length = 0")
    other("QC.decisions.set('amos_0001', 'fix', 'from the other tab')")
    browser.wait("QC.decisions.of('amos_0001')")
    assert browser.run("document.querySelector('textarea').value") == "from the other tab"
    assert report.text(".unsaved") == "1 decision not saved"
    assert {*browser.run("QC.told")} == {""}  # once more where the other tab started meanwhile
    report.set("amos_0002", "accept")
    _until(lambda: other("Boolean(QC.decisions.of('amos_0002'))"))
    other("QC.decisions.set('amos_0003', 'exclude')")
    browser.wait("QC.decisions.of('amos_0003')")
    assert other("QC.decisions.counts().decided") == 3
    report.draw([["amos_0004", "exclude", "", "", ""]], days=1)
    other("void setTimeout(() => location.reload(), 100)")
    browser.wait("QC.decisions.of('amos_0004')")  # the older tab learns what the file holds
    assert report.counts()["decided"] == 4


def _until(is_so):
    """Wait until it is so; a page that is loaded meanwhile does not answer."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except AssertionError:
            pass
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def _tab(browser, address):
    """Open another tab; return what evaluates JavaScript in it."""
    run = browser.tab(address).run
    _until(lambda: run("typeof QC !== 'undefined' && Boolean(QC.decisions.isSettled)"))
    return run


def test_six_hundred_decisions_are_made_and_counted(report, browser):
    report.draw()
    text = report.page.read_text(encoding="utf-8")
    data = report_data.index_data(600)
    data["set"]["identity"] = report.identity
    start, end = text.index('id="data">') + 10, text.index("</script>")
    report.page.write_text(text[:start] + json.dumps(data) + text[end:], encoding="utf-8")
    report.open("amos_0001")
    browser.run(
        "QC.samples.slice(0, 50).forEach(({ name }) => QC.decisions.set(name, 'accept', 'x'))"
    )
    rows = [[f"amos_{n:04d}", "exclude", "", "Bert", ""] for n in range(51, 601)]
    report.load(bert=rows)
    assert report.counts()["decided"] == 600
    assert report.text(".decided") == "600 of 600 decided"
    assert report.text(".unsaved") == "600 decisions not saved"

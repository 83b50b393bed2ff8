"""The report's document, its plots and colours, without any image behind them."""

import html
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import report_data
import trees

from utils import errors
from utils.qc import anatomy, contours, drawing, pages, report, sample_report
from utils.storage import label_map, samples

_SOURCES = sorted((Path(pages.__file__).parent / "page").iterdir())
ODD_TEXTS = [
    "$\\frac$ a^b_{c} \\",
    "<script>alert(1)</script>",
    "\"' onerror=x",
    "]]> --> <!--",
    "\x00\x1b[31m\x7f\x85\r\n\t\ufffe",
    "\ud800",
    "\u202etxet\u2066\u200f",
    "_hidden",
    "x" * 40_000,
]
# Characters that turn their neighbours round.
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")
MORE_ODD_TEXTS = [
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script>",
    "&lt; &amp; \\u003c",
    "\u2028\u2029",
    "\U0001f9e0 \u810a",
    "{policy} %s",
]


def odd_data(text):
    """Data with one text wherever the data set's files have a say."""
    flag = report_data.flag("left/right", reason=text) | {"kind": text, "evidence": text}
    metadata = dict.fromkeys(("subset", "modality", "scanner", "sex", "age", "site"), text)
    odd = report_data.sample(2, [flag], name=text, metadata=metadata, orientation=text)
    data = report_data.index_data(1, notes=[text])
    label = report_data.LABELS[0] | {"name": text, "shown": text}
    row = {"ID": text, "decision": "fix", "note": text, "reviewer": text, "mask_crc32": ""}
    return data | {
        "set": {"name": text, "identity": text},
        "samples": [*data["samples"], odd],
        "labels": [label],
        "review": {"rows": [row], "place": text},
    }


def _parts(document):
    """What stands before, in and behind the element with the data."""
    before, found, rest = document.decode("utf-8").partition('id="data">')
    assert found
    held, found, behind = rest.partition("</script>")
    assert found
    return before, held, behind


@pytest.mark.parametrize("text", [*ODD_TEXTS, *MORE_ODD_TEXTS], ids=itertools.count())
def test_odd_texts_come_through_and_are_no_markup(text):
    data = odd_data(text)
    before, held, behind = _parts(pages.document(data))
    assert json.loads(held) == data
    assert not re.search("[<>&\x00-\x1f\x7f-\uffff]", held)
    plain_before, _, plain_behind = _parts(pages.document(odd_data("plain")))
    assert behind == plain_behind
    title = html.escape(errors.printable(text))
    assert before == plain_before.replace("<title>plain:", f"<title>{title}:")
    assert re.fullmatch("[^<]*", title)


def test_the_document_holds_its_sources_and_leads_nowhere_else():
    before, _, behind = _parts(pages.document(report_data.index_data(1)))
    for path in _SOURCES:
        source = path.read_text(encoding="utf-8")
        assert source in (before if path.suffix == ".css" else behind), path.name
    assert behind.endswith("QC.start();\n</script>\n</body></html>\n")
    assert not re.search(r"https?:|//[a-z]+\.", before + behind)
    assert not re.search(r"@import|url\(", before)
    policy = re.search('Content-Security-Policy" content="([^"]*)"', before)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    allowed = {"'none'", "'self'", "'unsafe-inline'", "file:", "data:", "blob:"}
    assert {place for rule in rules.values() for place in rule.split()} == allowed
    assert '<meta name="viewport" content="width=device-width' in before
    assert '<link rel="icon" href="data:,">' in before and "<noscript>" in before


def test_a_number_that_is_none_is_refused():
    data = report_data.index_data(1)
    data["samples"][0]["dice"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        pages.document(data)


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.name)
def test_sources_keep_to_the_style_of_the_page(path):
    """Nothing makes markup or code of texts, and no source can end its element."""
    source = path.read_text(encoding="utf-8")
    assert source.endswith("\n") and "\r" not in source
    assert [line for line in source.splitlines() if len(line) > 100 or line != line.rstrip()] == []
    assert not re.search("</(script|style)|<!--", source, re.IGNORECASE)
    if path.suffix == ".js":
        assert '"use strict";' in source
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function"
        assert not re.search(forbidden, source)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node is installed")
def test_scripts_are_javascript():
    for path in _SOURCES:
        if path.suffix == ".js":
            checked = subprocess.run(["node", "--check", path], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr


def test_captions_are_short_and_in_legends():
    assert len(drawing.caption("x" * 41)) == 40 == len(drawing.caption("x" * 40))
    assert drawing.caption("a\nb") == "a\\nb" and drawing.caption("_x") == " _x"


def test_every_label_has_a_line_of_its_own_and_the_facts_name_known_labels():
    names = {
        label_map.file_form(name): value for value, name in label_map.read(trees.LABEL_MAP).items()
    }
    lines = [contours.line(value) for value in names.values() if value]
    assert len(set(lines)) == len(lines) == 16
    told = {
        *anatomy.SOLID,
        *anatomy.COMPACT,
        *anatomy.TAPERED,
        *anatomy.VARIABLE,
        *anatomy.EVERYBODYS,
        *anatomy.SEX_ORGANS,
        *sum(anatomy.SIDES, ()),
    }
    assert told <= {*names, "kidneys"}  # both under one name, which other sets have


def test_one_sample_in_two_folders_is_refused(tmp_path):
    for place in ("a", "b"):
        folder = tmp_path / place / "amos_0004_F"
        folder.mkdir(parents=True)
        (folder / "amos_0004_volume.nii.gz").touch()
    with pytest.raises(errors.DatasetError, match="two folders"):
        report.find_samples(tmp_path, ())


def test_a_sample_without_readable_mask_needs_little_memory(tmp_path):
    sample = samples.Sample("amos_0004", tmp_path)
    assert sample_report.memory(sample) == 180 << 20

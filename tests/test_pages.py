"""Pages, plots and colours of the quality report, without any image behind them."""

import dataclasses
import html
import html.parser
import os
import re

import pytest
import trees

from utils import errors
from utils.qc import anatomy, contours, drawing, judging, pages, plotting, report, sample_report
from utils.storage import label_map, samples

_METADATA = {
    "subset": "train",
    "modality": "CT",
    "scanner": "A & B",
    "sex": "F",
    "age": "061Y",
    "site": "<center>",
}


def _record(n_changed=None):
    counts = {
        "lost": 1,
        "gained": 2,
        "islands_removed": 3,
        "holes_filled": 4,
        "small_before": 50,
        "small_after": 6,
    }
    return {
        "volume": {
            "modality": "CT",
            "shape": [4, 5, 6],
            "spacing": [1.0, 1.0, 5.0],
            "orientation_to": "LAS",
        },
        "organs": {
            "liver": {"value": 6, "volume_ml": 1234.56, "centre": [1.0, 2.0, 3.0], "at_edge": True}
        },
        "small_regions": 6,
        "pictures": ["a b.png", "a b_changes.jpg", "a b_small.jpg"],
        "changes": n_changed
        and {"n_voxels": n_changed, "n_slices": 1, "per_label": {"6": counts, "0": counts}},
    }


def _entry(name="a b", flags=(), **more):
    return pages.Entry(name, _METADATA, _record(**more), list(flags), {6: "liver"})


def test_text_from_tables_is_escaped_and_paths_are_quoted():
    page = pages.index([_entry(flags=[judging.Flag("sex", "a < b")])], ["x y.svg"], ["n & m"])
    text = page.decode()
    assert "A &amp; B" in text and "&lt;center&gt;" in text and "<center>" not in text
    assert "a &lt; b" in text and "n &amp; m" in text
    assert 'src="pictures/a%20b_small.jpg"' in text and 'src="plots/x%20y.svg"' in text
    assert 'href="samples/a%20b.html#picture"' in text


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


class _Cells(html.parser.HTMLParser):
    """Tags, and texts of cells."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def _parsed(page):
    text = page.decode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ufffe\ud800-\udfff]", text)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", text)
    parser = _Cells()
    parser.feed(text)
    return parser


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_stay_texts_on_the_pages(text):
    metadata = dict.fromkeys(_METADATA, text)
    plain, odd = (
        pages.Entry("a", given, _record(n_changed=1), [judging.Flag(kind, kind)], {6: kind})
        for given, kind in ((_METADATA, "x"), (metadata, text))
    )
    for make in (
        lambda entry: pages.index([entry], [], []),
        lambda entry: pages.sample(*3 * [entry]),
    ):
        expected, found = _parsed(make(plain)), _parsed(make(odd))
        assert found.tags == expected.tags
    shown = re.sub("[\u202e\u2066\u200f]", "", errors.printable(text))
    assert shown in found.texts


def test_names_of_files_that_are_no_utf_8_are_linked():
    page = pages.index([_entry(os.fsdecode(b"a\xff#?%"))], [], []).decode()
    assert 'href="samples/a%FF%23%3F%25.html"' in page
    assert ">a\\udcff#?%</a>" in page


def test_changes_are_added_up_over_all_samples():
    text = pages.index([_entry("a", n_changed=7), _entry("b", n_changed=8)], [], []).decode()
    table = text[text.index("What denoising changed") :]
    cells = re.search(r"<td>6 liver</td>(.*?)</tr>", table)[1]
    assert re.findall(r">(\d+)<", cells) == ["2", "4", "6", "8", "100", "12"]


def test_a_failed_sample_has_a_row_and_a_page_without_picture():
    entry = pages.Entry("a", {}, None, [judging.Flag("failed", "cut off")], {})
    assert "cut off" in pages.index([entry], [], []).decode()
    page = pages.sample(entry, None, None).decode()
    assert "cut off" in page and "<img" not in page


def test_a_samples_page_leads_to_its_neighbours():
    page = pages.sample(_entry("b"), _entry("a"), _entry("c")).decode()
    assert 'href="a.html"' in page and 'href="c.html"' in page
    assert "1234.6" in page and "cut off by the image" in page


@pytest.mark.parametrize(
    "age, years",
    [("062Y", "62"), ("62.0", "62"), ("018M", "1"), ("UND", ""), ("6.5Y", ""), ("9999999999Y", "")],
)
def test_ages_are_sorted_by_years(age, years):
    entry = dataclasses.replace(_entry("a"), metadata={"age": age})
    page = pages.index([entry], [], []).decode()
    assert f'<td class="number" data-key="{years}">{age}</td>' in page


def _row(**more):
    return plotting.Row(
        **{
            "modality": "CT",
            "sex": "F",
            "scanner": "A",
            "age_years": 61,
            "shape": (4, 5, 6),
            "spacing": (1.0, 1.0, 5.0),
            "volumes_ml": {"liver": 1200.0},
            "small_regions": {"liver": (5, 1)},
            **more,
        }
    )


def test_plots_are_drawn_for_what_there_is_and_come_out_the_same():
    plots = plotting.draw([_row(), _row(sex="M", volumes_ml={})])
    assert sorted(plots) == [
        "ages.svg",
        "organ_volumes_by_scanner.svg",
        "organ_volumes_by_sex.svg",
        "sizes_and_spacings.svg",
        "small_regions.svg",
    ]
    assert plotting.draw([_row(), _row(sex="M", volumes_ml={})]) == plots
    bare = plotting.draw([_row(age_years=None, volumes_ml={}, small_regions={})])
    assert list(bare) == ["sizes_and_spacings.svg"]
    assert b"<dc:date>" not in plots["ages.svg"]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_stay_texts_in_plots(text):
    from xml.etree import ElementTree

    odd = _row(scanner=text, sex=text, volumes_ml={text: 3.0}, small_regions={text: (1, 2)})
    plots = plotting.draw([odd, _row()])
    assert len(plots) == 5
    for content in plots.values():
        ElementTree.fromstring(content)
    # matplotlib repeats what it has drawn, letter by letter, in a comment.
    start = drawing.caption(text).strip()[:6].replace("--", "- -")
    for name in ("organ_volumes_by_scanner.svg", "sizes_and_spacings.svg"):
        assert start in html.unescape(plots[name].decode())


def test_captions_are_short_and_in_legends():
    assert len(drawing.caption("x" * 41)) == 40 == len(drawing.caption("x" * 40))
    assert drawing.caption("a\nb") == "a\\nb" and drawing.caption("_x") == " _x"


def test_nothing_to_plot():
    assert plotting.draw([]) == {}


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
        report.find_samples(tmp_path, None)


def test_a_sample_without_readable_mask_needs_little_memory(tmp_path):
    sample = samples.Sample("amos_0004", tmp_path)
    assert sample_report.memory(sample) == 180 << 20

"""Pages, plots and colours of the quality report, without any image behind them."""

import dataclasses
import re

import pytest
import trees

from utils import errors
from utils.qc import anatomy, contours, judging, pages, plotting, report, sample_report
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
        "pictures": ["a b.png", "a b_changes.png", "a b_small.png"],
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
    assert 'src="pictures/a%20b_small.png"' in text and 'src="plots/x%20y.svg"' in text
    assert 'href="samples/a%20b.html#picture"' in text


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
    "age, years", [("062Y", "62"), ("62.0", "62"), ("018M", "1"), ("UND", ""), ("6.5Y", "")]
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
        *anatomy.SEX_ORGANS,
        *sum(anatomy.SIDES, ()),
    }
    assert told <= set(names)


def test_one_sample_in_two_folders_is_refused(tmp_path):
    for place in ("a", "b"):
        folder = tmp_path / place / "amos_0004_F"
        folder.mkdir(parents=True)
        (folder / "amos_0004_volume.nii.gz").touch()
    with pytest.raises(errors.DatasetError, match="two folders"):
        report.find_samples(tmp_path, None)


def test_a_sample_without_readable_mask_needs_little_memory(tmp_path):
    sample = samples.Sample("amos_0004", tmp_path)
    assert sample_report.memory(sample) == 300 << 20

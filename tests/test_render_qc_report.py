"""The quality report: planted faults, what it shows, what a rerun redoes, and a real browser."""

import html
import html.parser
import json
import os
import re
import shutil
import subprocess

import numpy as np
import openpyxl
import phantoms
import pytest
import trees

from utils.qc import plotting
from utils.storage import json_files

REPORT = "utils/render_qc_report.py"
REAL_ARCHIVE = trees.REPOSITORY.parent / "shared/data/real_archive"
# Fine enough for the organs' shapes, small enough to draw in a second.
_SHAPE = (80, 64, 40)
# Pixels have 16 mm^2 at this size: islands and holes of up to three count as small.
_DENOISE_MORE = ("--region_area_thresh", 50)
_CHAIN = (trees.SCAN, trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT)
# The real scan of this ID is the one that is known; the phantom does not show its faults.
KNOWN = {("amos_0540", "known fault")}
# They become two scans of one patient on one day.
PAIR = ("amos_0001", "amos_0004")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.slow("draws reports")


def _build(root):
    """A tree that was denoised, its masks from before kept in before_denoising."""
    for script in _CHAIN:
        assert trees.invoke(script, root).exit_code == 0
    keep = ("--output_dir", root / "before_denoising", "--region_area_thresh", 0)
    for script, more in ((trees.DENOISE, keep), (trees.DENOISE, _DENOISE_MORE), (trees.INDEX, ())):
        assert trees.invoke(script, root, *more).exit_code == 0


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    phantoms.build_archive(root, _SHAPE, n_ct=4, n_mri=2, spacing=None)
    (root / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, root / "descriptor")
    _build(root)
    return root


@pytest.fixture(scope="module")
def report(clean, run_script):
    """The finished report of the clean tree: (root, click's result)."""
    return clean, _render_again(run_script, clean)


@pytest.fixture
def copied(report, tmp_path):
    """A copy of the clean tree and its report, to spoil."""
    root = tmp_path / "copy"
    shutil.copytree(report[0], root)
    return root


@pytest.fixture
def without_plots(monkeypatch):
    """The plots of the set, half the time of a run, left out where a test is about other files."""
    monkeypatch.setattr(plotting, "draw", lambda rows: {})


def _render(run_script, root, *more):
    places = ("--root_dir", root / "grouped", "--output_dir", root / "qc")
    return run_script(REPORT, *places, "--workers", 1, *more)


def _render_again(run_script, root, *more):
    """Render with the masks from before, as the report of the clean tree was."""
    return _render(run_script, root, "--before_dir", root / "before_denoising", *more)


def _flags(result):
    """Lines ``amos_0004: kind: reason`` as a set of (sample, kind)."""
    found = re.findall(r"^(amos_\d{4}): ([a-z/ ]+): ", result.stdout, re.M)
    return set(found)


def _swap_kidneys(mask):
    right, left = mask == 2, mask == 3
    mask[right], mask[left] = 3, 2


def _put_uterus(mask):
    mask[mask == 15] = 16


def _halve_liver(mask):
    rows = np.nonzero(mask == 6)[0]
    part = mask[int(np.median(rows)) :]
    part[part == 6] = 0


def _shift(mask):
    mask[:] = np.roll(mask, 3, axis=1)


_PLANTED = {
    "amos_0001": _swap_kidneys,
    "amos_0004": _put_uterus,
    "amos_0008": _halve_liver,
    "amos_0507": _shift,
}


def test_planted_faults_are_flagged_and_the_clean_copy_has_no_flag(report, copied, run_script):
    assert report[1].exit_code == 0
    assert _flags(report[1]) == KNOWN
    assert "6 samples, 1 with flags" in report[1].stdout
    for name, fault in _PLANTED.items():
        trees.edit(trees.mask_path(copied, name), fault)
    result = _render(run_script, copied)
    assert result.exit_code == 0
    assert {
        ("amos_0001", "left/right"),
        ("amos_0004", "sex"),
        ("amos_0008", "cut off"),
        ("amos_0507", "alignment"),
    } <= _flags(result)
    assert {name for name, _ in _flags(result) - KNOWN} == {*_PLANTED}
    page = (copied / "qc/index.html").read_text(encoding="utf-8")
    assert "Uterus" in page and "in a man" in page
    assert 'href="samples/amos_0004.html#picture">sex</a>' in page


# By the labels of AMOS22, those of a set that numbers and calls them otherwise.
_OTHER_LABELS = (0, 40, 7, 2, 12, 9, 1, 33, 20, 21, 3, 5, 6, 8, 30, 31, 32)
_OTHER_NAMES = (
    "background Spleen kidney_right kidney_left gallbladder oesophagus Liver Stomach aorta"
    " inferior_vena_cava Pancreas adrenal_gland_right adrenal_gland_left Duodenum urinary_bladder"
    " Prostate Uterus"
).split()
_PAGE = """name: Other
files: {volume: "v/{seq}.nii.gz", mask: "m/{seq}.nii.gz"}
id: amos_{seq}
labels: LABELS
modality: {ids: {CT: 1-500, MRI: 501-600}}
known_faults: known_faults.csv
"""


def _relabel(root):
    """Give all masks the other labels and names; returns the page that says so."""
    for path in [*(root / "grouped").rglob("amos_*_mask*.nii.gz")]:
        binary = re.fullmatch(r"(amos_\d+_mask)_(\d\d)_.*", path.name)
        if binary:
            old = int(binary[2])
            name = f"{binary[1]}_{_OTHER_LABELS[old]:02d}_{_OTHER_NAMES[old]}.nii.gz"
            path.rename(path.with_name(name))
        else:
            trees.edit(path, lambda mask: np.copyto(mask, np.uint8(_OTHER_LABELS)[mask]))
    labels = dict(zip(_OTHER_LABELS, _OTHER_NAMES))
    page = root / "descriptor/dataset.yaml"
    page.write_text(_PAGE.replace("LABELS", json.dumps(labels)), encoding="utf-8")
    shutil.copy(trees.LABEL_MAP.parent / "known_faults.csv", page.parent)
    return page


def test_other_numbers_and_names_of_the_labels_give_the_same_flags(
    copied, without_plots, run_script
):
    for name, fault in _PLANTED.items():
        trees.edit(trees.mask_path(copied, name), fault)
    before = _flags(_render(run_script, copied))
    assert len(before) > 4
    page = _relabel(copied)
    result = _render(run_script, copied, "--dataset", page)
    assert result.exit_code == 0, result.stderr
    # Routine 01 of AMOS22 has mended its metadata.
    assert _flags(result) - {("amos_0507", "known fault")} == before
    # All of it is measured alike: flags of numbers name the same ones.
    assert "The kidney right lies" in result.stdout and "The Liver (" in result.stdout


def _shrink_spleen(mask):
    height = np.nonzero(mask == 1)[2]
    part = mask[:, :, int(np.quantile(height, 0.25)) :]
    part[part == 1] = 0


def _erase_spleen(mask):
    mask[mask == 1] = 0


def _lower(volume):
    volume[2, 3, 4] = -5798


def _scale(volume):
    volume *= 1000


@pytest.fixture(name="odd")
def odd_values_scanner_and_patients(copied, without_plots, run_script):
    """A report on samples with such faults by the manifest: (folder, click's result)."""
    manifest_path = copied / "grouped/dataset_manifest.xlsx"
    alike = {"birth_date": "19600102", "sex": "M", "acquisition_date": "20200304"}
    changes = {(column, name): text for column, text in alike.items() for name in PAIR}
    changes |= {("age", "amos_0540"): "061Y", ("manufacturer_model_name", "amos_0540"): "Prisma"}
    trees.edit_cells(manifest_path, changes)
    trees.edit(trees.mask_path(copied, "amos_0004"), _shrink_spleen)
    trees.edit(trees.mask_path(copied, "amos_0008"), _erase_spleen)
    for name, change in (("amos_0008", _lower), ("amos_0540", _scale)):
        trees.edit(trees.sample_dir(copied, name) / f"{name}_volume.nii.gz", change)
    result = _render(run_script, copied, "--manifest_file", manifest_path)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    return copied / "qc", result


def test_values_scanners_patients_and_organs_need_no_other_samples(odd):
    _, result = odd
    assert {
        *((name, "patient") for name in PAIR),
        ("amos_0008", "intensity"),
        ("amos_0008", "organ missing"),
        ("amos_0540", "scanner"),
        *KNOWN,
    } <= _flags(result)
    assert "amos_0507" not in {name for name, _ in _flags(result)}
    lines = result.stdout.splitlines()
    assert any(line.startswith("amos_0008: intensity: Values from -5798 to ") for line in lines)
    alone = "There is no spleen; practically everybody has one in an abdominal scan."
    assert [line for line in lines if "There is no" in line] == [
        f"amos_0008: organ missing: {alone}"
    ]


def test_known_faults_come_last_and_say_what_the_file_does_not_show(odd):
    qc, result = odd
    *_, scaled, ageless = re.findall("^amos_0540: (.*)", result.stdout, re.M)
    highest = json.loads((qc / "measures/amos_0540.json").read_text())["volume"]["values"][1]
    assert scaled == (
        "known fault: Scaled values up to 3.28 million (scl_slope 4385.22), no Hounsfield units; "
        "MRI (evidence: header of the published file, deepakri201/AbdoBench@0aa9a9cb "
        "data/amos_0540.nii.gz). This file does not show it: its values go up to "
        f"{highest:.6g}."
    )
    assert ageless == (
        "known fault: No age in the table (evidence: metadata table, row 539). This file does not "
        "show it: its age is 061Y."
    )
    page = (qc / "samples/amos_0540.html").read_text(encoding="utf-8")
    assert ">known fault</a>: No age in the table" in page
    assert page.index(">scanner</a>") < page.index(">known fault</a>")


def test_records_of_an_earlier_version_are_made_again(report, copied, run_script):
    """They lack the range of the values."""
    for path in (copied / "qc/measures").iterdir():
        record = json_files.unsealed(path)
        del record["volume"]["values"]
        path.write_bytes(json_files.sealed({**record, "digest": "of another version"}))
    assert "6 done, 0 skipped" in _render_again(run_script, copied).stdout
    assert trees.contents(copied / "qc") == trees.contents(report[0] / "qc")


def test_the_report_shows_every_sample_and_loads_nothing_from_elsewhere(report):
    qc = report[0] / "qc"
    pages = [qc / "index.html", *sorted((qc / "samples").glob("*.html"))]
    assert len(pages) == 7
    for page in pages:
        for link in _links(page):
            assert not re.match(r"https?:|//|/", link), link
            target = (page.parent / link.partition("#")[0]).resolve()
            assert link.startswith(("#", "data:")) or target.is_file(), link
    rows = re.findall(r'<tr id="(amos_\d{4})"', pages[0].read_text(encoding="utf-8"))
    assert rows == ["amos_0001", "amos_0004", "amos_0008", "amos_0201", "amos_0507", "amos_0540"]


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if key in ("src", "href")]


def _links(page):
    parser = _Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def test_changes_are_counted_and_drawn(report):
    qc = report[0] / "qc"
    record = json.loads((qc / "measures/amos_0004.json").read_text())
    (kept,) = (report[0] / "before_denoising").rglob("amos_0004_mask.nii.gz")
    before = trees.voxels(kept)
    after = trees.voxels(trees.mask_path(report[0], "amos_0004"))
    n_changed = int((before != after).sum())
    assert n_changed > 0
    assert record["changes"]["n_voxels"] == n_changed
    gained = sum(counts["gained"] for counts in record["changes"]["per_label"].values())
    assert gained == n_changed
    assert (qc / "pictures/amos_0004_changes.jpg").is_file()
    assert "islands removed" in (qc / "samples/amos_0004.html").read_text(encoding="utf-8")


def test_a_rerun_changes_no_byte_and_draws_nothing(report, run_script):
    qc = report[0] / "qc"
    contents, pictures = trees.contents(qc), trees.identities(qc / "pictures")
    again = _render_again(run_script, report[0])
    assert "0 done, 6 skipped as finished" in again.stdout
    assert trees.contents(qc) == contents
    assert trees.identities(qc / "pictures") == pictures


def test_the_same_bytes_with_two_workers(report, tmp_path, run_script):
    root = report[0]
    places = ("--root_dir", root / "grouped", "--before_dir", root / "before_denoising")
    result = run_script(REPORT, *places, "--output_dir", tmp_path / "qc", "--workers", 2)
    assert result.exit_code == 0
    assert trees.contents(tmp_path / "qc") == trees.contents(root / "qc")


@pytest.mark.usefixtures("without_plots")
def test_only_a_changed_sample_is_drawn_again(copied, run_script):
    pictures = trees.identities(copied / "qc/pictures")
    trees.edit(trees.mask_path(copied, "amos_0008"), _halve_liver)  # shows in every picture
    result = _render_again(run_script, copied)
    assert "1 done, 5 skipped as finished" in result.stdout
    changed = trees.rewritten(pictures, trees.identities(copied / "qc/pictures"))
    assert changed == {"amos_0008.jpg", "amos_0008_small.jpg", "amos_0008_changes.jpg"}


def test_a_missing_picture_is_drawn_again_with_the_same_bytes(copied, run_script):
    contents = trees.contents(copied / "qc")
    (copied / "qc/pictures/amos_0507.jpg").unlink()
    result = _render_again(run_script, copied)
    assert "1 done, 5 skipped as finished" in result.stdout
    assert trees.contents(copied / "qc") == contents


def test_a_damaged_volume_fails_alone_and_is_named_on_the_page(copied, run_script):
    volume = trees.sample_dir(copied, "amos_0008") / "amos_0008_volume.nii.gz"
    volume.write_bytes(volume.read_bytes()[:-2000])
    result = _render_again(run_script, copied)
    assert result.exit_code == 1
    (failure,) = trees.complaints(result)
    assert failure.startswith("FAILED amos_0008: ") and str(volume) in failure
    page = (copied / "qc/index.html").read_text(encoding="utf-8")
    assert '<tr id="amos_0008"' in page and ">failed</a>" in page
    assert "6 samples, 2 with flags" in result.stdout


def test_masks_denoised_elsewhere_take_volumes_from_the_tree_before(clean, tmp_path, run_script):
    denoised, grouped = tmp_path / "denoised", clean / "grouped"
    places = ("--root_dir", grouped, "--output_dir", denoised)
    run_script(trees.DENOISE, *places, "--workers", 1, *_DENOISE_MORE)
    places = ("--root_dir", denoised, "--before_dir", grouped, "--output_dir", tmp_path / "qc")
    result = run_script(REPORT, *places, "--workers", 1)
    assert result.exit_code == 0
    assert "5 samples, 1 with flags" in result.stdout  # those with masks
    assert _flags(result) == KNOWN


def test_metadata_and_choice_of_samples_come_from_the_manifest(copied, run_script):
    manifest_path = copied / "grouped/dataset_manifest.xlsx"
    changes = {"age": 91, "site": "<b>&", "sex": "female "}
    trees.edit_cells(
        manifest_path, {(column, "amos_0001"): text for column, text in changes.items()}
    )
    _delete_row(manifest_path, "amos_0540")
    result = _render_again(run_script, copied, "--manifest_file", manifest_path)
    assert "5 samples" in result.stdout
    page = (copied / "qc/index.html").read_text(encoding="utf-8")
    assert "091Y" in page and 'data-sex="F"' in page and "female" not in page
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page
    assert "amos_0540" not in page


def _delete_row(path, name):
    book = openpyxl.load_workbook(path)
    (doomed,) = (row[0].row for row in book["Manifest"].iter_rows() if row[0].value == name)
    book["Manifest"].delete_rows(doomed)
    book.save(path)


def test_a_manifest_of_other_samples_is_refused(copied, run_script):
    manifest_path = copied / "grouped/dataset_manifest.xlsx"
    shutil.rmtree(trees.sample_dir(copied, "amos_0540"))
    result = _render(run_script, copied, "--manifest_file", manifest_path)
    assert result.exit_code == 2
    assert "no folder of amos_0540" in result.stderr


@pytest.mark.parametrize("place", ["grouped", "grouped/qc"])
def test_a_report_among_the_data_is_refused(clean, run_script, place):
    before = trees.identities(clean / "grouped")
    result = run_script(REPORT, "--root_dir", clean / "grouped", "--output_dir", clean / place)
    assert result.exit_code == 2
    assert "outside" in result.stderr
    assert trees.identities(clean / "grouped") == before


@pytest.mark.usefixtures("without_plots")
def test_a_missing_mask_before_denoising_fails_its_sample(copied, run_script):
    (mask,) = (copied / "before_denoising").rglob("amos_0001_mask.nii.gz")
    mask.unlink()
    result = _render_again(run_script, copied)
    assert result.exit_code == 1
    (failure,) = trees.complaints(result)
    assert str(mask) in failure and "before denoising" in failure


def test_help_does_not_import_what_draws(run_python):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(trees.REPOSITORY / REPORT)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([n for n in ('matplotlib', 'scipy', 'nibabel', 'openpyxl', 'cc3d', 'pandas') "
        "if n in sys.modules])"
    )
    result = run_python(code)
    assert result.stdout.endswith("[]\n"), result.stdout + result.stderr


@pytest.mark.skipif(not REAL_ARCHIVE.is_dir(), reason="the real archive is not there")
def test_real_scans_have_no_flag_and_a_picture_each(tmp_path, run_script):
    shutil.copytree(REAL_ARCHIVE, tmp_path / "archive", copy_function=shutil.copy)
    os.chmod(tmp_path / "archive", 0o755)
    shutil.copy(REAL_ARCHIVE.parent / "labeled_data_meta_0000_0599.csv", tmp_path)
    (tmp_path / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, tmp_path / "descriptor")
    _build(tmp_path)
    result = _render_again(run_script, tmp_path)
    assert result.exit_code == 0
    assert "5 samples, 0 with flags" in result.stdout
    assert len(list((tmp_path / "qc/pictures").glob("amos_????.jpg"))) == 5


_PROBE = """<script>
window.addEventListener("load", function () {
  const rows = function () {
    return Array.from(document.querySelectorAll("#samples tbody tr:not([hidden])"),
                      function (row) { return row.id; });
  };
  const fire = function (control) { control.dispatchEvent(new Event("input")); };
  const result = {errors: window.probeErrors, all: rows()};
  const head = Array.from(document.querySelectorAll("#samples th button"));
  const press = function (text) {
    head.find(function (button) { return button.textContent === text; }).click();
    return rows();
  };
  result.byAge = press("age");
  result.byAgeDown = press("age");
  result.byScanner = press("scanner");
  const sex = document.querySelector("[data-filter=sex]");
  sex.value = "F"; fire(sex); result.women = rows();
  sex.value = ""; fire(sex);
  const search = document.getElementById("search");
  search.value = "brilliance"; fire(search); result.found = rows();
  search.value = ""; fire(search);
  const flagged = document.getElementById("flagged");
  flagged.checked = true; fire(flagged); result.flagged = rows();
  result.count = document.getElementById("count").textContent;
  result.broken = Array.from(document.images).filter(function (image) {
    return image.loading !== "lazy" && image.naturalWidth === 0; }).length;
  document.documentElement.setAttribute("data-probe", JSON.stringify(result));
});
</script>"""
_CATCH = """<script>window.probeErrors = [];
window.addEventListener("error", function (event) {
  probeErrors.push(String(event.message)); }, true);
</script>"""


@pytest.mark.usefixtures("without_plots")
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_in_a_browser_sorting_and_filtering_work_without_errors(copied, run_script, tmp_path):
    trees.edit(trees.mask_path(copied, "amos_0001"), _swap_kidneys)
    _render_again(run_script, copied)
    page = copied / "qc/index.html"
    text = page.read_text(encoding="utf-8")
    (page.parent / "probe.html").write_text(
        text.replace("<head>", "<head>" + _CATCH).replace("</body>", _PROBE + "</body>"),
        encoding="utf-8",
    )
    dump = _dump(page.parent / "probe.html", tmp_path)
    found = json.loads(html.unescape(re.search(r'data-probe="([^"]*)"', dump)[1]))
    ages = dict(re.findall(r'<tr id="(amos_\d{4})".*?data-key="(\d*)">(?:\d{3}Y|UND)</td>', text))
    assert found["errors"] == [] and found["broken"] == 0
    assert found["all"] == sorted(ages)
    known = sorted((name for name in ages if ages[name]), key=lambda name: int(ages[name]))
    unknown = [name for name in ages if not ages[name]]
    assert found["byAge"] == known + unknown
    assert [ages[name] for name in found["byAgeDown"]] == [
        ages[name] for name in known[::-1] + unknown
    ]
    assert found["byScanner"][0] == "amos_0540"  # Achieva
    assert set(found["women"]) == {"amos_0001", "amos_0008", "amos_0540"}
    assert found["found"] == ["amos_0004"]
    assert set(found["flagged"]) == {"amos_0001", "amos_0540"}
    assert found["count"] == "2 of 6 samples"


def _dump(page, profile):
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--disable-background-networking",
            "--virtual-time-budget=5000",
            "--dump-dom",
            page.as_uri(),
        ],
        env={**os.environ, "HOME": str(profile)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout

"""The quality report: planted faults, what it shows, what a rerun redoes, and a real browser."""

import html.parser
import json
import os
import re
import shutil

import nibabel as nib
import numpy as np
import openpyxl
import pandas as pd
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
pytestmark = pytest.mark.slow("draws reports")


def _build(root):
    """A tree that was denoised."""
    for script in _CHAIN:
        assert trees.invoke(script, root).exit_code == 0
    for script, more in ((trees.DENOISE, _DENOISE_MORE), (trees.INDEX, ())):
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
    """Render as the report of the clean tree was."""
    return _render(run_script, root, *more)


def _flags(result):
    """Lines ``amos_0004: kind: reason`` as a set of (sample, kind)."""
    found = re.findall(r"^(amos_\d{4}): ([a-z/ ]+): ", result.stdout, re.M)
    return set(found)


def _data(qc):
    """What the page has to show."""
    text = (qc / "index.html").read_text(encoding="utf-8")
    return json.loads(
        re.search('<script type="application/json" id="data">(.*?)</script>', text)[1]
    )


def _sample(qc, name):
    (found,) = (sample for sample in _data(qc)["samples"] if sample["name"] == name)
    return found


def _worst(qc):
    """{sample: severity of its first flag} by flags.json."""
    flags = json.loads((qc / "flags.json").read_text(encoding="utf-8"))
    return {flag["ID"]: flag["severity"] for flag in reversed(flags)}


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
    assert "6 samples, 1 with flags (1 unusual)" in report[1].stdout
    assert _worst(report[0] / "qc") == {"amos_0540": "unusual"}
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
    assert "6 samples, 5 with flags (3 wrong, 1 doubtful, 1 unusual)" in result.stdout
    assert _worst(copied / "qc") == {
        "amos_0001": "wrong",
        "amos_0004": "wrong",
        "amos_0008": "doubtful",
        "amos_0507": "wrong",
        "amos_0540": "unusual",
    }
    flag = next(one for one in _sample(copied / "qc", "amos_0004")["flags"] if one["kind"] == "sex")
    mask = trees.voxels(trees.mask_path(copied, "amos_0004"))
    assert mask[tuple(flag["place"])] == 16 and flag["labels"] == [16]
    assert "Uterus" in flag["reason"] and "in a man" in flag["reason"]
    seen = float(flag["evidence"].removesuffix(" ml"))
    zooms = nib.load(trees.mask_path(copied, "amos_0004")).header.get_zooms()
    assert seen == pytest.approx((mask == 16).sum() * np.prod(zooms) / 1000, rel=0.01)


@pytest.mark.usefixtures("without_plots")
def test_a_copy_of_the_mask_in_the_volumes_place_is_seen(copied, run_script):
    mask = trees.voxels(trees.mask_path(copied, "amos_0507"))
    volume_path = trees.sample_dir(copied, "amos_0507") / "amos_0507_volume.nii.gz"
    trees.edit(volume_path, lambda volume: np.copyto(volume, mask))
    result = _render(run_script, copied, "--fail_on", "wrong")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("FLAGGED amos_0507: ") and "mask as volume (wrong)" in line
    assert {one for one in _flags(result) if one[1] == "mask as volume"} == {
        ("amos_0507", "mask as volume")
    }


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
    found = [(flag["kind"], flag["severity"]) for flag in _sample(qc, "amos_0540")["flags"]]
    assert found == [("scanner", "doubtful"), *2 * [("known fault", "unusual")]]


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
    for link in _links(qc / "index.html"):
        assert link.startswith(("#", "data:")), link
    data = _data(qc)
    samples = data["samples"]
    files = [plot["file"] for plot in data["plots"]]
    for sample in samples:
        files += [f"pictures/{name}" for name in (*sample["pictures"], sample["thumbnail"])]
        files += sample["paths"].values()
    for file in files:
        assert not re.match(r"\w+:|/", file) and (qc / file).is_file(), file
    assert [sample["name"] for sample in samples] == [
        *("amos_0001", "amos_0004", "amos_0008", "amos_0201", "amos_0507", "amos_0540")
    ]


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
    assert _sample(qc, "amos_0004")["n_changed"] == n_changed
    found = [json.loads(path.read_text()) for path in (qc / "measures").iterdir()]
    lost = sum(
        counts["lost"]
        for one in found
        if one["changes"]
        for counts in one["changes"]["per_label"].values()
    )
    assert sum(line["lost"] for line in _data(qc)["changes"]) == lost > 0


def test_a_rerun_changes_no_byte_and_draws_nothing(report, run_script):
    qc = report[0] / "qc"
    contents, pictures = trees.contents(qc), trees.identities(qc / "pictures")
    again = _render_again(run_script, report[0])
    assert "0 done, 6 skipped as finished" in again.stdout
    assert trees.contents(qc) == contents
    assert trees.identities(qc / "pictures") == pictures


def test_the_same_bytes_with_two_workers(report, run_script):
    root = report[0]
    places = ("--root_dir", root / "grouped", "--before_dir", root / "before_denoising")
    assert places[3].is_dir()  # where it is looked for without the option, too
    again = root / "qc_again"  # as far from the data, or paths would differ
    result = run_script(REPORT, *places, "--output_dir", again, "--workers", 2)
    assert result.exit_code == 0
    assert trees.contents(again) == trees.contents(root / "qc")
    shutil.rmtree(again)


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
    sample = _sample(copied / "qc", "amos_0008")
    (flag,) = sample["flags"]
    assert (flag["kind"], flag["severity"]) == ("failed", "wrong")
    assert f"FAILED amos_0008: {flag['reason']}" == failure
    assert (sample["shape"], sample["data"], sample["thumbnail"]) == (None, "", "")
    assert sample["paths"].keys() == {"volume", "mask", "info"}
    assert "6 samples, 2 with flags (1 wrong, 1 unusual)" in result.stdout
    assert "amos_0008: failed" not in result.stdout  # stderr has it


def test_what_is_known_of_a_sample_that_failed_is_told(copied, run_script):
    volume = trees.sample_dir(copied, "amos_0540") / "amos_0540_volume.nii.gz"
    volume.write_bytes(volume.read_bytes()[:-2000])
    result = _render_again(run_script, copied)
    assert result.exit_code == 1
    told = re.findall("^amos_0540: (known fault|failed): (.*)", result.stdout, re.M)
    assert [kind for kind, _ in told] == ["known fault", "known fault"]
    assert all(text.endswith("do not tell whether it is so.") for _, text in told)


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
    sample = _sample(copied / "qc", "amos_0001")
    assert sample["age_years"] == 91
    about = {"age": "091Y", "site": "<b>&", "sex": "F", "modality": "CT"}
    assert sample["metadata"] | about == sample["metadata"]
    page = (copied / "qc/index.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "amos_0540" not in page


def test_what_was_excluded_is_shown_so_that_it_can_be_withdrawn(copied, without_plots, run_script):
    manifest_path = copied / "grouped/dataset_manifest.xlsx"
    _delete_row(manifest_path, "amos_0540")
    _delete_row(manifest_path, "amos_0507")
    (copied / "descriptor/review.csv").write_text(
        "ID,decision,note,reviewer,mask_crc32\namos_0540,exclude,,,\n", encoding="utf-8"
    )
    result = _render_again(run_script, copied, "--manifest_file", manifest_path)
    assert "5 samples" in result.stdout and "; 1 excluded by" in result.stdout
    assert _sample(copied / "qc", "amos_0540")["metadata"]["scanner"] == "Achieva"
    assert "amos_0507" not in (copied / "qc/index.html").read_text(encoding="utf-8")


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
def _changes(root, name="amos_0001"):
    """What the record of a sample says of denoising, and whether there is a picture of it."""
    record = json.loads((root / "qc/measures" / f"{name}.json").read_text())
    return record["changes"], (root / "qc/pictures" / f"{name}_changes.jpg").exists()


@pytest.mark.usefixtures("without_plots")
def test_a_mask_of_which_none_is_kept_is_unchanged(copied, run_script):
    shutil.rmtree(copied / "before_denoising")
    nothing = ("--region_area_thresh", 0, "--overwrite")
    assert trees.invoke(trees.DENOISE, copied, *nothing).exit_code == 0
    (copied / "before_denoising").mkdir()
    assert _render_again(run_script, copied).exit_code == 0
    changed, is_drawn = _changes(copied)
    assert (changed["n_voxels"], changed["n_slices"], is_drawn) == (0, 0, False)
    counts = changed["per_label"].values()
    assert all(label["small_before"] == label["small_after"] for label in counts)


@pytest.mark.parametrize("reason", ["another source", "nothing kept", "no tree"])
@pytest.mark.usefixtures("without_plots")
def test_a_mask_whose_state_before_is_not_known_is_not_compared(copied, run_script, reason):
    (kept,) = (copied / "before_denoising").rglob("amos_0001_mask.nii.gz")
    if reason == "another source":  # of another shape, even
        image = nib.load(kept)
        image.header["descrip"] = b"src=00000000"
        smaller = np.asarray(image.dataobj)[1:]
        nib.save(nib.Nifti1Image(smaller, image.affine, image.header), kept)
    elif reason == "nothing kept":  # and the mark says that voxels were changed
        kept.unlink()
    else:
        shutil.rmtree(copied / "before_denoising")
    result = _render_again(run_script, copied)
    assert result.exit_code == 0, result.output
    assert _changes(copied) == (None, False)
    assert (_changes(copied, "amos_0004")[0] is None) == (reason == "no tree")


def test_a_part_of_the_tree_is_compared_with_the_part_that_is_kept(report, tmp_path, run_script):
    folder = report[0] / "grouped/AMOS-CT"
    places = ("--root_dir", folder, "--output_dir", tmp_path / "qc", "--workers", 1)
    assert run_script(REPORT, *places).exit_code == 0
    assert _changes(tmp_path) == _changes(report[0]) and _changes(tmp_path)[1]


def test_a_report_among_the_kept_masks_is_refused(report, run_script):
    before = trees.identities(report[0])
    place = report[0] / "before_denoising"
    words = ("--root_dir", report[0] / "grouped", "--output_dir", place / "qc")
    result = run_script(REPORT, *words)
    assert result.exit_code == 2
    assert f"lies in the data's folder {place}; expected one outside" in result.stderr
    assert trees.identities(report[0]) == before


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


# ---- tables, decisions, exit status


def _table(path):
    """A table as pandas reads it, all cells text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_flags_lie_beside_the_page_for_programs(odd):
    qc, result = odd
    flags = json.loads((qc / "flags.json").read_text(encoding="utf-8"))
    assert [f"{one['ID']}: {one['kind']}: {one['reason']}" for one in flags] == [
        line for line in result.stdout.splitlines() if line.startswith("amos_")
    ]
    table = _table(qc / "flags.csv").to_dict("records")
    for row in table:
        row["place"] = json.loads(row["place"] or "null")
        row["labels"] = json.loads(row["labels"] or "[]")
    assert table == flags
    assert [*flags[0]] == ["ID", "kind", "severity", "reason", "place", "labels", "evidence"]
    by_sample = {one["name"]: one["flags"] for one in _data(qc)["samples"]}
    for flag in flags:
        assert {key: flag[key] for key in flag if key != "ID"} in by_sample[flag["ID"]]


def test_all_that_was_measured_is_one_table(report):
    qc = report[0] / "qc"
    table = _table(qc / "measures.csv")
    assert sorted({*table.ID}) == [one["name"] for one in _data(qc)["samples"]]
    records = {path.stem: json.loads(path.read_text()) for path in (qc / "measures").iterdir()}
    for name, record in records.items():
        rows = table[table.ID == name].set_index("name")
        organs, volume = record["organs"] or {}, record["volume"]
        assert {*organs} <= {*rows.index} - {"background"}
        for organ, found in organs.items():
            row = rows.loc[organ]
            assert float(row.volume_ml) == found["volume_ml"] and int(row.label) == found["value"]
            centre = [float(row[f"centre_{axis}"]) for axis in "ras"]
            assert centre == found["centre"]
            assert row.at_edge == str(int(found["at_edge"]))
        shape = [int(rows.iloc[0][column]) for column in ("szx", "szy", "szz")]
        assert shape == volume["shape"]
        for value, counts in (record["changes"] or {"per_label": {}})["per_label"].items():
            (row,) = rows[rows.label == value].to_dict("records")
            assert {key: int(row[key]) for key in counts} == counts
    (unlabelled,) = table[table.ID == "amos_0201"].to_dict("records")
    assert (unlabelled["modality"], unlabelled["label"], unlabelled["volume_ml"]) == ("CT", "", "")


def _review(root, *rows):
    path = root / "descriptor/review.csv"
    lines = ["ID,decision,note,reviewer,mask_crc32", *rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.usefixtures("without_plots")
def test_flags_as_bad_as_asked_fail_the_run_unless_the_sample_is_excluded(copied, run_script):
    for name in ("amos_0001", "amos_0008"):
        trees.edit(trees.mask_path(copied, name), _PLANTED[name])
    assert _render(run_script, copied).exit_code == 0
    result = _render(run_script, copied, "--fail_on", "wrong")
    assert (result.exit_code, result.stderr) == (1, "FLAGGED amos_0001: left/right (wrong)\n")
    assert "6 samples, 3 with flags (1 wrong, 1 doubtful, 1 unusual)\n" in result.stdout
    assert (copied / "qc/flags.json").is_file()
    place = _review(copied, "1,exclude,sides,me,", "amos_0008,fix,,me,0x12ab")
    result = _render(run_script, copied, "--fail_on", "wrong")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"1 unusual); 1 excluded by {place}\n" in result.stdout
    result = _render(run_script, copied, "--fail_on", "doubtful")
    assert (result.exit_code, result.stderr) == (1, "FLAGGED amos_0008: cut off (doubtful)\n")
    result = _render(run_script, copied, "--fail_on", "unusual")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "FLAGGED amos_0008: cut off (doubtful)",
        "FLAGGED amos_0540: known fault (unusual)",
    ]


@pytest.mark.usefixtures("without_plots")
def test_decisions_so_far_are_on_the_page(copied, run_script):
    _review(copied, "amos_0001,accept,=good,me,0x12ab", "amos_9999,exclude,,,")
    _render(run_script, copied)
    assert _data(copied / "qc")["review"] == {
        "rows": [
            {"ID": "amos_0001", "decision": "accept", "note": "=good", "reviewer": "me"}
            | {"mask_crc32": "0x000012ab"},
            {
                "ID": "amos_9999",
                "decision": "exclude",
                "note": "",
                "reviewer": "",
                "mask_crc32": "",
            },
        ],
        "place": "../descriptor/review.csv",
    }
    other = copied / "mine.csv"
    (copied / "descriptor/review.csv").rename(other)
    _render(run_script, copied, "--review", other)
    assert _data(copied / "qc")["review"]["place"] == "../mine.csv"
    _render(run_script, copied)
    assert _data(copied / "qc")["review"] == {"rows": [], "place": "../descriptor/review.csv"}


def test_a_review_that_is_wrong_is_refused_before_anything_is_drawn(copied, run_script):
    place = _review(copied, "amos_0001,discard,,,")
    contents = trees.contents(copied / "qc")
    result = _render(run_script, copied)
    assert result.exit_code == 2
    assert f"{place}: the review has the decision 'discard' in line 2" in result.stderr
    assert trees.contents(copied / "qc") == contents


def test_what_earlier_versions_left_is_removed_and_nothing_else(copied, run_script):
    qc = copied / "qc"
    head = '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
    link = '<nav><a href="../index.html">All samples</a>'
    (qc / "samples/amos_0001.html").write_text(f"{head}<title>x</title>\n{link}</nav>")
    (qc / "samples/mine.html").write_text(f"{head}<title>mine</title>")
    (qc / "plots/organ_volumes_by_modality.svg").write_text("old")
    (qc / "plots/mine.svg").write_text("mine")
    _render_again(run_script, copied)
    assert not (qc / "samples/amos_0001.html").exists()
    assert (qc / "samples/mine.html").exists() and (qc / "plots/mine.svg").exists()
    assert not (qc / "plots/organ_volumes_by_modality.svg").exists()


def test_scans_of_one_patient_are_linked(odd):
    samples = {one["name"]: one for one in _data(odd[0])["samples"]}
    one, other = PAIR
    assert samples[one]["patient"] == samples[other]["patient"] == one
    assert (samples[one]["relatives"], samples[other]["relatives"]) == ([other], [one])
    assert samples["amos_0008"]["relatives"] == []


@pytest.mark.parametrize("name", ["flags.csv", "measures.csv", "plots/ages.svg"])
def test_a_folder_in_a_tables_place_is_found_before_the_work(clean, tmp_path, run_script, name):
    (tmp_path / "qc" / name).mkdir(parents=True)
    places = ("--root_dir", clean / "grouped", "--output_dir", tmp_path / "qc")
    result = run_script(REPORT, *places, "--workers", 1)
    assert result.exit_code == 2
    assert f"{tmp_path / 'qc' / name}: a folder, expected a file of the report" in result.stderr
    assert not [*(tmp_path / "qc/measures").iterdir()]

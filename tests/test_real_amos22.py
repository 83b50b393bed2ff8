"""The published scan 0540 after all routines, against what others measured in it.

Skipped by name where the scan does not lie beside the project.
"""

import json
import shutil

import numpy as np
import pytest
import tiny_amos22
import trees

from utils.qc import measures, plotting
from utils.reader import AMOS22
from utils.storage import label_map, nifti

NAME = "amos_0540"
SCAN = tiny_amos22.DATA / "real_amos22" / f"{NAME}.nii.gz"
LABEL = tiny_amos22.DATA / "real_amos22" / f"{NAME}_label.nii.gz"
pytestmark = [
    pytest.mark.skipif(
        not (SCAN.is_file() and LABEL.is_file() and tiny_amos22.IS_THERE),
        reason="no ../shared/data/real_amos22 with the published scan 0540",
    ),
    pytest.mark.slow("a real scan"),
]
SPLEEN = 1


@pytest.fixture(name="root", scope="module")
def finished_root(tmp_path_factory):
    """The scan after routines 01 to 05."""
    root = tmp_path_factory.mktemp("0540")
    for folder, source in (("imagesTr", SCAN), ("labelsTr", LABEL)):
        (root / "archive" / folder).mkdir(parents=True)
        (root / "archive" / folder / f"{NAME}.nii.gz").symlink_to(source)
    (root / "descriptor").mkdir()
    (root / "descriptor/label_map.yaml").symlink_to(trees.LABEL_MAP)
    run(root, trees.SCAN, "--labeled_data_meta", tiny_amos22.TABLE)
    for script in (trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT, trees.INDEX):
        run(root, script)
    return root


def run(root, script, *more):
    """Run a routine, which finds nothing odd in a published scan."""
    result = trees.invoke(script, root, *more)
    assert result.exit_code == 0, result.output
    assert trees.complaints(result, "WARNING") == [] == trees.library_notes(result)


@pytest.fixture(name="ds")
def finished_set(root):
    return AMOS22(root / "grouped")


@pytest.fixture(name="expected")
def measured_by_others():
    return tiny_amos22.measured()[NAME]


def spleen_ml(ds):
    return np.count_nonzero(ds.mask(NAME) == SPLEEN) * ds.spacing(NAME).prod() / 1000


def test_spleen_and_spacing_are_those_that_others_measured(ds, expected):
    spacing = [float(expected[f"spacing_{axis}_mm"]) for axis in "xyz"]
    assert spleen_ml(ds) == pytest.approx(float(expected["spleen_ml"]), abs=5e-4)  # as printed
    np.testing.assert_allclose(ds.spacing(NAME), spacing, rtol=1e-6)
    assert spleen_ml(ds) == pytest.approx(147.171, abs=5e-4)


def test_intensities_are_those_that_others_measured(ds, expected):
    """The scan is scaled, so that this fails where scl_slope is lost or applied twice."""
    image = ds.image(NAME)
    assert image.dtype == np.float32
    assert image.min() == float(expected["raw_min"]) == 0
    assert image.max() == pytest.approx(float(expected["raw_max"]), rel=1e-7)
    assert np.percentile(image, 99) == pytest.approx(float(expected["raw_p99"]), rel=1e-7)


def test_the_report_measures_the_same_spleen(root, expected):
    mask = nifti.read_mask(trees.mask_path(root, NAME))
    names = label_map.read(trees.LABEL_MAP)
    found = measures.measure(mask.data, names, mask.header.affine, mask.header.zooms)
    assert found["spleen"]["volume_ml"] == pytest.approx(float(expected["spleen_ml"]), abs=5e-4)


def test_the_report_finds_nothing_but_what_is_known(root, tmp_path, monkeypatch):
    monkeypatch.setattr(plotting, "draw", lambda rows: {})
    places = ("--root_dir", root / "grouped", "--output_dir", tmp_path / "qc")
    result = trees.run(trees.REPORT, *places, "--workers", 1, "--fail_on", "doubtful")
    assert (result.exit_code, result.stderr) == (0, "")
    flags = json.loads((tmp_path / "qc/flags.json").read_text(encoding="utf-8"))
    assert [(flag["kind"], flag["severity"]) for flag in flags] == [("known fault", "unusual")] * 2
    assert flags[0]["reason"].endswith("data/amos_0540.nii.gz).")  # this file shows it


def test_metadata_are_those_of_row_539(ds):
    row, official = ds.metadata(NAME), tiny_amos22.scans()[NAME]
    assert row | tiny_amos22.metadata(official) == row
    assert (ds.modality(NAME), row["manufacturer_model_name"]) == ("MRI", "Achieva")
    assert (ds.subset(NAME), ds.sex(NAME), row["age"], ds.age(NAME)) == ("train", "M", "UND", None)


def test_denoising_changes_the_spleen_by_less_than_a_thousandth(root, ds, tmp_path):
    before = spleen_ml(ds)
    folder = shutil.copytree(root, tmp_path / "denoised")
    run(folder, trees.DENOISE)
    run(folder, trees.INDEX)
    after = spleen_ml(AMOS22(folder / "grouped"))
    assert after != before and after == pytest.approx(before, rel=1e-3)

"""Rows and sheets of small regions, below the command line."""

import warnings

import numpy as np
import pandas as pd
import pytest

from utils import errors
from utils.routines import binary_masks, region_manifest
from utils.running import calls
from utils.storage import nifti_writing, samples, workbook_looks

NAMES = {0: "background", 3: "left kidney"}
AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -20], [0, 0, 4.0, 30], [0, 0, 0, 1]])


@pytest.fixture(name="sample")
def sample_with_an_island(tmp_path):
    """Two voxels of the left kidney in a grid with exchanged axes."""
    sample = samples.Sample("amos_0001", tmp_path / "train/amos_0001_F")
    sample.directory.mkdir(parents=True)
    sample.info_path.write_bytes(samples.info_bytes({"subset": "train"}))
    data = np.zeros((5, 6, 7), np.uint8, order="F")
    data[1, 2, 3] = data[2, 3, 3] = 3
    nifti_writing.write_mask(sample.mask_path, data, AFFINE)
    binary_masks.write(sample, NAMES)
    return sample


def test_a_row_tells_where_the_region_is_in_voxels_and_in_space(sample, tmp_path):
    names, columns = region_manifest.describe(sample, tmp_path, 24.5)
    assert names == {0: "background", 3: "left_kidney"}
    assert list(columns) == region_manifest.COLUMNS
    assert pd.DataFrame(columns).to_dict("records") == [
        {
            "ID": "amos_0001",
            "subset": "train",
            "label_index": 3,
            "label_name": "left_kidney",
            "centroid_x": 1.5,
            "centroid_y": 2.5,
            "centroid_z": 3.0,
            "centroid_r": 5.0,
            "centroid_a": -17.75,
            "centroid_s": 42.0,
            "voxels": 2,
            "volume_mm3": 24.0,
            "file_path": "train/amos_0001_F/amos_0001_mask_03_left_kidney.nii.gz",
        }
    ]
    none = region_manifest.describe(sample, tmp_path, 24.0)[1]
    assert {name: len(column) for name, column in none.items()} == dict.fromkeys(columns, 0)


def test_no_binary_masks_is_a_fault_and_not_an_empty_list(sample, tmp_path):
    for path in sample.binary_mask_paths().values():
        path.unlink()
    with pytest.raises(errors.DatasetError, match="no binary masks") as caught:
        region_manifest.describe(sample, tmp_path, 300.0)
    assert caught.value.code == "no_binary_masks"


def columns_of(*labels):
    """Columns of regions of these labels; what else is in them does not matter."""
    n = len(labels)
    return {name: np.zeros(n) for name in region_manifest.COLUMNS} | {
        "label_index": np.array(labels, np.uint8),
        "ID": np.array([f"amos_{number:04d}" for number in range(n)], object),
    }


def test_the_summary_counts_zeros_and_names_what_was_not_measured():
    results = [("a", (dict(NAMES), columns_of(3, 3))), ("b", (dict(NAMES), columns_of()))]
    outcome = calls.Outcome(results=results)
    for reason in ("one", "two"):
        outcome.fail("c", errors.DatasetError(reason))
    tables = region_manifest.tables(outcome)
    assert tables["Manifest"]["label_index"].tolist() == [3, 3]
    summary = tables["Summary"].to_numpy().tolist()
    assert summary == [
        [0, "background", 0],
        [3, "left kidney", 2],
        ["", "total", 2],
        ["", "not measured: c", ""],
    ]
    assert [type(count) for *_, count in summary] == [int, int, int, str]


def test_a_summary_without_any_region_makes_no_library_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = region_manifest.tables(calls.Outcome(results=[("a", (dict(NAMES), columns_of()))]))
    assert tables["Summary"]["regions"].tolist() == [0, 0, 0]


def test_regions_lead_to_their_masks_and_what_failed_is_coloured(sample, tmp_path, monkeypatch):
    found = region_manifest.describe(sample, tmp_path, 300.0)
    failures = [("amos_0004", errors.DatasetError("damaged"))]
    tables = region_manifest.tables(calls.Outcome([(sample, found)], failures=failures))
    looks = region_manifest.looks(tables, tmp_path / "descriptor/regions.xlsx", tmp_path)
    path = "../train/amos_0001_F/amos_0001_mask_03_left_kidney.nii.gz"
    assert looks["Manifest"].links == {"file_path": [path]}
    (place,) = looks["Summary"].marks
    assert looks["Summary"].marks[place] == workbook_looks.FAILED
    assert tables["Summary"].loc[place] == "not measured: amos_0004"
    monkeypatch.setattr(workbook_looks, "MAX_LINKS", 0)
    assert set(region_manifest.looks(tables, tmp_path / "regions.xlsx", tmp_path)) == {"Summary"}

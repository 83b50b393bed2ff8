"""What others measured in the 360 labelled scans, with the rows of the official table.

Both lie beside the project; without them tests that need them are skipped by name.
"""

import csv
import functools

import pytest
import trees

from utils.facts import amos22, amos22_table
from utils.qc import evidence

SHARED = trees.REPOSITORY.parent / "shared/data"
CASES, TABLE = SHARED / "published/labelled_cases.csv", SHARED / "labeled_data_meta_0000_0599.csv"
needed = pytest.mark.skipif(
    not (CASES.is_file() and TABLE.is_file()),
    reason="no ../shared/data with labelled_cases.csv and the official table",
)


@functools.cache
def read():
    """Return {ID: (cells of the measurements, metadata)} of all labelled scans."""
    metadata = amos22_table.Metadata([amos22_table.read(TABLE)])
    with open(CASES, encoding="utf-8", newline="") as handle:
        cases = {case["case"]: case for case in csv.DictReader(handle)}
    assert len(cases) == 360
    return {name: (case, metadata.of(name[-4:])) for name, case in cases.items()}


def spacing(case):
    """Spacing of a scan, mm."""
    return tuple(float(case[f"spacing_{axis}_mm"]) for axis in "xyz")


def finding(name, **more):
    """What the report would find in a scan, of its mask the spleen; for `judging.judge`."""
    case, row = read()[name]
    spleen = {"value": 1, "volume_ml": float(case["spleen_ml"]), "at_edge": False, "at": [0, 0, 0]}
    organs = {"liver": {"value": 6, "volume_ml": 1500.0, "at_edge": True}}
    given = {
        "name": name,
        "modality": case["modality"],
        "sex": row["sex"],
        "spacing": spacing(case),
        "orientation": "LAS",
        "axis_codes": "LAS",
        "organs": organs | ({"spleen": spleen} if spleen["volume_ml"] else {}),
        "label_names": {1: "spleen", 6: "liver"},
        "values": (float(case["raw_min"]), float(case["raw_max"])),
        "scanner_faults": amos22.scanner_faults(row, spacing(case), float(case["raw_max"])),
    }
    return evidence.Findings(**{**given, **more})

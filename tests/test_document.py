"""The data of the page, its tables and its notes, from made-up records of samples."""

import csv
import dataclasses
import io
import json
import os
import re
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies

from utils.facts import amos22, nme
from utils.qc import (
    case_files,
    contours,
    document,
    explanation,
    gathering,
    judging,
    report,
    sample_report,
    tabulating,
)
from utils.running import calls
from utils.storage import review, samples

COUNTS = {
    "lost": 1,
    "gained": 2,
    "islands_removed": 3,
    "holes_filled": 4,
    "small_before": 50,
    "small_after": 6,
}
LIVER = {
    "value": 6,
    "volume_ml": 1234.56,
    "mean": 60.5,
    "sd": None,
    "centre": [-1.0, 2.0, 3.0],
    "at_edge": True,
    "at": [1, 2, 3],
    "pieces": [{"share": 0.2, "gap_mm": 7.5, "at": [1, 2, 3]}],
    "cuts": ["left", "upper"],
    "cuts_at": [[1, 2, 3], [1, 2, 3]],
}


def _record(**more):
    return {
        "volume": {
            "modality": "CT",
            "shape": [4, 5, 6],
            "spacing": [1.0, 1.0, 5.0],
            "orientation_to": "LAS",
            "tilt_degrees": 0.0,
            "values": [-1024.0, 3071.0],
            "is_mask": False,
        },
        "organs": {"liver": LIVER},
        "alignment": {"fat_share": 0.25, "gain": 1.0, "shift_ras_mm": None},
        "small_regions": 6,
        "changes": {"n_voxels": 9, "n_slices": 1, "per_label": {"6": COUNTS, "0": COUNTS}},
        "pictures": ["amos_0001.jpg", "amos_0001_changes.jpg", "amos_0001_small.jpg"],
        "mask_crc32": "0x0000abcd",
        **more,
    }


def _result(label_names=None, affine=None, **more):
    names = {6: "liver"} if label_names is None else label_names
    affine = np.diag([-1.0, 1, 5, 1]) if affine is None else affine
    return sample_report.Result(_record(**more), {}, names, affine, "1a2b3c4d")


def _entry(name="amos_0001", result="measured", flags=(), **more):
    return gathering.Entry(
        **{
            "name": name,
            "metadata": ABOUT,
            "result": _result() if result == "measured" else result,
            "flags": list(flags),
            "patient": "",
            "relatives": [],
            "paths": {},
            **more,
        }
    )


def _failed(name):
    return _entry(name, None, [judging.flag("failed", f"{name}: cut off", evidence="damaged")])


def _build(entries, tmp_path=Path("/data"), **more):
    return document.build(
        entries,
        **{
            "output_dir": tmp_path / "qc",
            "facts": amos22,
            "plots": ["ages.svg"],
            "notes": ["a note"],
            "decisions": {},
            "review_path": tmp_path / "descriptor/review.csv",
            **more,
        },
    )


ABOUT = {
    "subset": "train",
    "modality": "CT",
    "scanner": "A & B",
    "sex": "F",
    "age": "061Y",
    "site": "Tongji",
}
MEASURED = {
    "shape": [4, 5, 6],
    "spacing": [1.0, 1.0, 5.0],
    "orientation": "LAS",
    "n_labels": 1,
    "small_regions": 6,
    "n_changed": 9,
    "dice": None,
    "mask_crc32": "0x0000abcd",
}


def test_the_document_holds_what_the_page_needs(tmp_path):
    where = {"place": (1, 2, 3), "labels": (6,), "evidence": "9 ml"}
    flags = [judging.flag("volume", "Small.", **where), judging.flag("geometry", "Odd.")]
    paths = {"volume": tmp_path / "grouped/a b/amos_0001_volume.nii.gz"}
    entry = _entry(flags=flags, paths=paths, patient="amos_0001", relatives=["amos_0035"])
    data = _build([entry], tmp_path)
    assert data["set"] == {"name": "AMOS22", "identity": "AMOS22 amos_0001 1a2b3c4d"}
    assert data["severities"] == ["wrong", "doubtful", "unusual"]
    assert data["notes"] == ["a note"]
    assert data["plots"] == [{"file": "plots/ages.svg", "title": "Ages"}]
    assert data["samples"] == [
        {
            "name": "amos_0001",
            "metadata": ABOUT,
            "age_years": 61,
            "patient": "amos_0001",
            "relatives": ["amos_0035"],
            "flags": [
                {"kind": "volume", "severity": "doubtful", "reason": "Small."}
                | {"place": [1, 2, 3], "labels": [6], "evidence": "9 ml"},
                {"kind": "geometry", "severity": "doubtful", "reason": "Odd."}
                | {"place": None, "labels": [], "evidence": ""},
            ],
            **MEASURED,
            "pictures": ["amos_0001.jpg", "amos_0001_changes.jpg"],
            "thumbnail": "amos_0001_small.jpg",
            "paths": {"volume": "../grouped/a b/amos_0001_volume.nii.gz"},
            "data": "samples/amos_0001.js",
        }
    ]


def test_a_sample_that_failed_has_nothing_measured():
    (found,) = _build([_failed("amos_0001")])["samples"]
    nothing = {"shape", "spacing", "n_labels", "small_regions", "n_changed", "dice"}
    assert {key for key, value in found.items() if value is None} == nothing
    empty = {"orientation", "mask_crc32", "pictures", "thumbnail", "paths", "data"}
    assert all(not found[key] for key in empty)
    assert _build([_failed("amos_0001")])["set"]["identity"] == "AMOS22 amos_0001"
    assert _build([])["set"]["identity"] == "AMOS22"


def test_labels_are_those_of_all_samples_whatever_their_maps():
    entries = [
        _entry("a", _result({1: "spleen", 6: "liver"})),
        _entry("b", _result({1: "right_kidney", 5: "Esophagus"})),
        _entry("c", _result({}, organs={"label_09": {**LIVER, "value": 9}})),
        _failed("d"),
    ]
    found = _build(entries)["labels"]
    assert [(one["value"], one["name"]) for one in found] == [
        *((1, "right_kidney"), (1, "spleen"), (5, "Esophagus"), (6, "liver"), (9, "label_09"))
    ]
    assert found[0] == {
        "value": 1,
        "name": "right_kidney",
        "shown": "right kidney",
        "colour": contours.line(1)[0],
        "dashed": False,
    }
    assert [one["dashed"] for one in found] == [False, False, True, False, False]


def test_changes_are_added_up_by_label_and_name():
    entries = [_entry("a"), _entry("b"), _entry("c", _result({6: "lever"}, organs={}))]
    entries.append(_entry("d", _result(changes=None)))
    twice, thrice = ({key: n * count for key, count in COUNTS.items()} for n in (2, 3))
    assert _build(entries)["changes"] == [
        {"label": "0 background", **thrice},
        {"label": "6 lever", **COUNTS},
        {"label": "6 liver", **twice},
    ]
    assert _build([_entry("a", _result(changes=None)), _failed("b")])["changes"] == []


def test_paths_on_another_drive_are_absolute(monkeypatch, tmp_path):
    def on_another_drive(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    path = tmp_path / "v.nii.gz"
    monkeypatch.setattr(os.path, "relpath", on_another_drive)
    (found,) = _build([_entry(paths={"volume": path})])["samples"]
    assert found["paths"] == {"volume": path.as_posix()}


def test_decisions_keep_all_that_the_file_says():
    decisions = {
        "amos_0001": review.Decision("fix", "=a", "me", 0xAB),
        "amos_0999": review.Decision("", "no decision yet"),
    }
    found = _build([], decisions=decisions)["review"]
    assert found == {
        "rows": [
            {"ID": "amos_0001", "decision": "fix", "note": "=a", "reviewer": "me"}
            | {"mask_crc32": "0x000000ab"},
            {"ID": "amos_0999", "decision": "", "note": "no decision yet", "reviewer": ""}
            | {"mask_crc32": ""},
        ],
        "place": "../descriptor/review.csv",
    }


def test_the_lowest_dice_of_a_sample_is_its_own():
    spleen = {"value": 1, "dice": 0.5, "difference_ml": -2.0, "volume_ml": 90.0}
    predicted = {"liver": {**spleen, "value": 6, "dice": 0.9}, "spleen": spleen}
    nothing = {"liver": {**spleen, "value": 6, "dice": None}}
    for prediction, dice in ((predicted, 0.5), (nothing, None), (None, None)):
        (found,) = _build([_entry(result=_result(prediction=prediction))])["samples"]
        assert found["dice"] == dice


# ---- tables


def _measures(entries):
    content = tabulating.tables(entries)["measures.csv"]
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, dtype=str).to_dict("records")


SHARED = {
    "ID": "amos_0001",
    "modality": "CT",
    "age_years": "61",
    "severity": "wrong",
    "szz": "6",
    "spz": "5.0",
    "lowest": "-1024.0",
    "fat_share": "0.25",
    "shift_r": "",
    "mask_crc32": "0x0000abcd",
}
OF_LIVER = {
    "volume_ml": "1234.56",
    "mean": "60.5",
    "sd": "",
    "centre_r": "-1.0",
    "centre_s": "3.0",
    "at_edge": "1",
    "n_pieces": "2",
    "largest_gap_mm": "7.5",
    "cuts": "left upper",
    "small_before": "50",
    "small_after": "6",
    "dice": "",
}


def test_every_label_that_was_found_changed_or_predicted_has_a_row():
    gone = {"dice": 0.0, "difference_ml": 30.5, "volume_ml": 30.5, "value": 1}
    result = _result({1: "spleen", 6: "liver"}, prediction={"spleen": gone})
    rows = _measures([_entry(result=result, flags=[judging.flag("sex", "x")])])
    assert [(row["label"], row["name"]) for row in rows] == [
        *(("0", "background"), ("1", "spleen"), ("6", "liver"))
    ]
    assert all(row | SHARED == row for row in rows)
    background, spleen, liver = rows
    assert background["volume_ml"] == "" and background["lost"] == "1"
    assert (spleen["volume_ml"], spleen["at_edge"], spleen["lost"]) == ("0.0", "", "")
    predicted = [spleen[key] for key in ("dice", "predicted_ml", "difference_ml")]
    assert predicted == ["0.0", "30.5", "30.5"]
    assert liver | OF_LIVER == liver


def test_a_sample_without_labels_or_that_failed_has_one_row():
    bare = _result(organs=None, changes=None, alignment=None, small_regions=None)
    rows = _measures([_entry("amos_0201", bare), _failed("amos_0202")])
    assert [(row["ID"], row["label"], row["szx"]) for row in rows] == [
        *(("amos_0201", "", "4"), ("amos_0202", "", ""))
    ]
    assert rows[1]["severity"] == "wrong" and rows[1]["sex"] == "F"


def test_tables_without_samples_have_their_headers():
    tables = tabulating.tables([])
    assert tables["flags.json"] == b"[]\n"
    assert tables["flags.csv"] == b"\xef\xbb\xbfID,kind,severity,reason,place,labels,evidence\r\n"
    assert tables["measures.csv"].startswith(b"\xef\xbb\xbfID,subset,modality,")
    assert tables["measures.csv"].count(b"\r\n") == 1


def test_flags_in_both_tables():
    flags = [judging.flag("sex", '=x, "y"', place=(1, 2, 3), labels=(16,), evidence="3 ml")]
    tables = tabulating.tables([_entry(flags=flags), _failed("amos_0002")])
    assert json.loads(tables["flags.json"])[0] == {
        "ID": "amos_0001",
        "kind": "sex",
        "severity": "wrong",
        "reason": '=x, "y"',
        "place": [1, 2, 3],
        "labels": [16],
        "evidence": "3 ml",
    }
    rows = [*csv.reader(io.StringIO(tables["flags.csv"].decode("utf-8-sig")))]
    assert rows[1:] == [
        ["amos_0001", "sex", "wrong", '\'=x, "y"', "[1, 2, 3]", "[16]", "3 ml"],
        ["amos_0002", "failed", "wrong", "amos_0002: cut off", "", "", "damaged"],
    ]


TEXTS = strategies.text(max_size=12) | strategies.sampled_from(
    ["</script>", "=cmd|' /C calc'!A0", "a;=1+1", "\udcff", "../../x", "\u202e", "\x00\r\n\t=1"]
)


@hypothesis.given(strategies.lists(TEXTS, min_size=6, max_size=6))
@hypothesis.settings(derandomize=True, deadline=None, max_examples=150)
def test_hostile_names_and_texts_stay_texts_and_come_out_the_same(texts):
    name, scanner, organ, reason, note, site = texts

    def make():
        flags = [judging.flag("sex", reason, evidence=note)]
        entry = _entry(name, _result({6: organ}, organs={organ: LIVER}), flags)
        metadata = {**entry.metadata, "scanner": scanner, "site": site}
        entry = dataclasses.replace(entry, metadata=metadata)
        decisions = {name: review.Decision("accept", note, site)}
        return _build([entry], decisions=decisions), tabulating.tables([entry])

    data, tables = make()
    assert make() == (data, tables)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert json.loads(tables["flags.json"])[0]["reason"] == reason
    for file in ("flags.csv", "measures.csv"):
        lines = [*csv.reader(io.StringIO(tables[file].decode("utf-8-sig")))]
        assert len({len(cells) for cells in lines}) == 1
        numbers = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
        for cell in (cell for cells in lines for cell in cells):
            assert numbers.fullmatch(cell) or not re.search(r"(^|;)[=+\-@\t\r]", cell)


# ---- notes, and what is gathered


@pytest.mark.parametrize("facts", [amos22, nme])
def test_every_kind_of_flag_and_every_severity_is_explained(facts):
    text = " ".join(explanation.notes(facts)).casefold()
    told = {*judging.KINDS, *judging.SEVERITIES}
    assert {word for word in told if word not in text} == set()


def _gather(tmp_path, results, listed=None, failures=()):
    found = [samples.Sample(name, tmp_path / name) for name in results]
    outcome = calls.Outcome(
        results=[(sample, results[sample.stem]) for sample in found if results[sample.stem]],
        failures=list(failures),
    )
    settings = case_files.ReportSettings(
        *(tmp_path, tmp_path / "qc", None, 100.0, False, amos22.modality, amos22.slice_axis)
    )
    return gathering.entries(found, outcome, listed or {}, amos22, settings)


def test_a_copy_of_the_mask_in_the_volumes_place_is_wrong(tmp_path):
    record = _record()
    volume = {**record["volume"], "is_mask": True}
    entries = _gather(tmp_path, {"amos_0001": _result(volume=volume), "amos_0002": _result()})
    first, other = ({flag.kind for flag in entry.flags} for entry in entries)
    assert first - other == {"mask as volume"}
    assert entries[0].flags[0].severity == "wrong"


def test_patients_of_whom_nothing_is_known_have_no_relatives(tmp_path):
    born = {"birth_date": "19600102", "sex": "F"}
    listed = {"amos_0004": born, "amos_0009": born, "amos_0010": {**born, "birth_date": "UND"}}
    entries = _gather(tmp_path, dict.fromkeys([*listed, "amos_0011"]), listed)
    assert [(entry.patient, entry.relatives) for entry in entries] == [
        ("amos_0004", ["amos_0009"]),
        ("amos_0004", ["amos_0004"]),
        ("", []),
        ("", []),
    ]


def test_files_of_a_sample_are_those_that_are_there(tmp_path):
    (tmp_path / "amos_0001").mkdir()
    for kind in ("mask", "volume"):
        (tmp_path / f"amos_0001/amos_0001_{kind}.nii.gz").touch()
    (entry,) = _gather(tmp_path, {"amos_0001": None})
    assert [*entry.paths] == ["volume", "mask"]
    assert entry.metadata == dict.fromkeys(
        ("subset", "modality", "scanner", "sex", "age", "site"), ""
    )


def test_the_summary_counts_samples_by_their_worst_flag(tmp_path):
    flags = [judging.flag("sex", "x"), judging.flag("volume", "x")]
    entries = [_entry("a", flags=flags), _entry("b", flags=flags[1:]), _entry("c")]
    decided = report.Review({"b": review.Decision("exclude")}, tmp_path / "review.csv")
    assert report.summary(entries, decided) == (
        f"3 samples, 2 with flags (1 wrong, 1 doubtful); 1 excluded by {tmp_path}/review.csv"
    )
    nobody = report.Review({}, tmp_path)
    assert report.summary(entries[2:], nobody) == "1 samples, 0 with flags"
    assert report.failing(entries, "doubtful", decided) == [
        "FLAGGED a: sex (wrong), volume (doubtful)"
    ]
    assert report.failing(entries, "wrong", nobody) == ["FLAGGED a: sex (wrong)"]
    assert report.failing(entries[2:], "unusual", nobody) == []

"""The flags of a report and what it measured, as tables for programs."""

import json
from collections.abc import Iterable
from typing import Any

from utils.qc import changes, gathering, judging
from utils.storage import csv_tables, json_files

FLAGS_CSV, FLAGS_JSON, MEASURES_CSV = "flags.csv", "flags.json", "measures.csv"
_FLAG_COLUMNS = ("ID", "kind", "severity", "reason", "place", "labels", "evidence")
_AXES = ("r", "a", "s")
_MEASURE_COLUMNS = (
    *("ID", "subset", "modality", "scanner", "sex", "age_years", "site", "severity"),
    *("szx", "szy", "szz", "spx", "spy", "spz", "orientation_to", "tilt_degrees"),
    *("lowest", "highest", "fat_share", "gain", *(f"shift_{axis}" for axis in _AXES)),
    *(
        "mask_crc32",
        "label",
        "name",
        "volume_ml",
        "mean",
        "sd",
        *(f"centre_{axis}" for axis in _AXES),
    ),
    *("at_edge", "n_pieces", "largest_gap_mm", "cuts", *changes.COUNTS),
    *("dice", "predicted_ml", "difference_ml"),
)


def tables(entries: Iterable[gathering.Entry]) -> dict[str, bytes]:
    """Make all tables: file name to bytes, the same for equal entries."""
    entries = list(entries)
    flags = [{"ID": one.name, **entry} for one in entries for entry in map(plain, one.flags)]
    measured = [row for one in entries for row in _measured(one)]
    return {
        FLAGS_CSV: csv_tables.to_bytes(_FLAG_COLUMNS, map(_flat, flags)),
        FLAGS_JSON: json_files.to_bytes(flags),
        MEASURES_CSV: csv_tables.to_bytes(_MEASURE_COLUMNS, measured),
    }


def plain(flag: judging.Flag) -> dict[str, Any]:
    """Return a flag as JSON has it."""
    place = None if flag.place is None else list(flag.place)
    return {
        "kind": flag.kind,
        "severity": flag.severity,
        "reason": flag.reason,
        "place": place,
        "labels": list(flag.labels),
        "evidence": flag.evidence,
    }


def _flat(flag):
    """A row of the table: lists as JSON, which no spreadsheet takes for a number."""
    lists = {key: json.dumps(flag[key]) for key in ("place", "labels") if flag[key]}
    return {**flag, "place": "", "labels": "", **lists}


def _measured(entry):
    """One row for each label of a sample that was found, changed or predicted, else one alone."""
    organs, counts = entry.record.get("organs") or {}, entry.changed
    predicted = entry.record.get("prediction") or {}
    names = entry.names_of_changed
    names |= {organ["value"]: name for name, organ in predicted.items()}
    by_value = {organ["value"]: organ for organ in organs.values()}
    predictions = {found["value"]: found for found in predicted.values()}
    whole = _whole(entry)
    for value in sorted({*by_value, *counts, *predictions}):
        yield {
            **whole,
            "label": value,
            "name": names.get(value, ""),
            **(_organ(by_value.get(value)) if value else {}),
            **counts.get(value, {}),
            **_prediction(predictions.get(value)),
        }
    if not (by_value or counts or predictions):
        yield whole


def _whole(entry):
    """What a sample's rows share."""
    about = {
        "ID": entry.name,
        **entry.metadata,
        "age_years": entry.age_years,
        "severity": entry.flags[0].severity if entry.flags else "",
    }
    if not entry.record:
        return about
    volume, alignment = entry.record["volume"], entry.record["alignment"] or {}
    lowest, highest = volume["values"]
    return {
        **about,
        **dict(zip(("szx", "szy", "szz"), volume["shape"])),
        **dict(zip(("spx", "spy", "spz"), volume["spacing"])),
        **{key: volume[key] for key in ("orientation_to", "tilt_degrees")},
        "lowest": lowest,
        "highest": highest,
        **{key: alignment.get(key) for key in ("fat_share", "gain")},
        **_along_axes("shift", alignment.get("shift_ras_mm")),
        "mask_crc32": entry.mask_crc32,
    }


def _along_axes(name, values):
    return {f"{name}_{axis}": value for axis, value in zip(_AXES, values or ())}


def _organ(organ):
    """What was measured of a label; that there is none of it is a volume of 0."""
    if organ is None:
        return {"volume_ml": 0.0}
    gaps = [piece["gap_mm"] for piece in organ.get("pieces", ())]
    return {
        **{key: organ[key] for key in ("volume_ml", "mean", "sd")},
        **_along_axes("centre", organ.get("centre")),
        "at_edge": int(organ["at_edge"]),
        "n_pieces": len(gaps) + 1,
        "largest_gap_mm": max(gaps, default=None),
        "cuts": " ".join(organ.get("cuts", ())),
    }


def _prediction(found):
    if found is None:
        return {}
    both = {key: found[key] for key in ("dice", "difference_ml")}
    return {**both, "predicted_ml": found["volume_ml"]}

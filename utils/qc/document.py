"""The data of the report's one document, as its scripts take them."""

import collections
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.facts import DataSet
from utils.qc import gathering, judging, plotting, sample_report, tabulating, viewer_data
from utils.storage import label_map, review

_SMALL = "_small"  # before the suffix of the thumbnail


def build(
    entries: Sequence[gathering.Entry],
    *,
    output_dir: Path,
    facts: DataSet,
    plots: Sequence[str],
    notes: Sequence[str],
    decisions: Mapping[str, review.Decision],
    review_path: Path,
) -> dict:
    """Put the data of the index together; `page/core.js` finds them as QC.data.

    Parameters
    ----------
    entries : list of gathering.Entry
    output_dir : Path
        Folder of the report; all paths are relative to it.
    facts : facts.DataSet
    plots : list of str
        Names of the files, of `plotting.TITLES`.
    notes : list of str
        How samples are judged.
    decisions : mapping of str to review.Decision
        What was decided so far, also of samples that are not in this report.
    review_path : Path
        Where decisions that are made in the document belong.
    """
    titles = {f"{plotting.FOLDER}/{name}": plotting.TITLES[name] for name in plots}
    return {
        "set": {"name": facts.NAME, "identity": _identity(entries, facts)},
        "severities": list(judging.SEVERITIES),
        "labels": [viewer_data.label(value, name) for value, name in _labels(entries)],
        "review": {
            "rows": [_decision(name, decided) for name, decided in decisions.items()],
            "place": _relative(review_path, output_dir),
        },
        "notes": list(notes),
        "plots": [{"file": file, "title": title} for file, title in titles.items()],
        "changes": _changes(entries),
        "samples": [_sample(entry, output_dir) for entry in entries],
    }


def _identity(entries, facts):
    """The same for all reports of the same scans, whether of the archive or of what 02 made."""
    first = entries[0].name if entries else ""
    source_crc = entries[0].result.source_crc if entries and entries[0].result else ""
    return f"{facts.NAME} {first} {source_crc}".rstrip()


def _labels(entries):
    """(label, name) of all samples; not all need have the same label map."""
    return sorted({pair for entry in entries for pair in entry.label_names.items()})


def _decision(name, decided):
    crc = "" if decided.mask_crc32 is None else f"0x{decided.mask_crc32:08x}"
    texts = {key: getattr(decided, key) for key in ("decision", "note", "reviewer")}
    return {"ID": name, **texts, "mask_crc32": crc}


def _relative(path, output_dir):
    """Path from the report's folder, with ``/``; absolute where that is on another drive."""
    path, start = Path(os.path.abspath(path)), os.path.abspath(output_dir)
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return path.as_posix()


def _changes(entries):
    """What denoising changed, added up over all samples, by label."""
    totals = collections.defaultdict(collections.Counter)
    for entry in entries:
        names = entry.names_of_changed
        for value, counts in entry.changed.items():
            totals[value, names.get(value, "")].update(counts)
    return [
        {"label": f"{value} {label_map.shown(name)}".rstrip(), **totals[value, name]}
        for value, name in sorted(totals)
    ]


def _sample(entry, output_dir):
    record, name = entry.record, entry.name
    volume = record.get("volume", {})
    pictures = record.get("pictures", [])
    small = [file for file in pictures if Path(file).stem == f"{name}{_SMALL}"]
    paths = {key: _relative(path, output_dir) for key, path in entry.paths.items()}
    return {
        "name": name,
        "metadata": entry.metadata,
        "age_years": entry.age_years,
        "patient": entry.patient,
        "relatives": entry.relatives,
        "flags": [tabulating.plain(flag) for flag in entry.flags],
        "shape": volume.get("shape"),
        "spacing": volume.get("spacing"),
        "orientation": volume.get("orientation_to", ""),
        **_counts(record),
        "mask_crc32": entry.mask_crc32,
        "pictures": [file for file in pictures if file not in small],
        "thumbnail": small[0] if small else "",
        "paths": paths,
        **({"members": entry.members} if entry.members else {}),
        "data": f"{sample_report.PAGES}/{name}.js" if record else "",
    }


def _counts(record):
    organs, changed = record.get("organs"), record.get("changes")
    dices = [found["dice"] for found in (record.get("prediction") or {}).values()]
    return {
        "n_labels": None if organs is None else len(organs),
        "small_regions": record.get("small_regions"),
        "n_changed": changed["n_voxels"] if changed else None,
        "dice": min((dice for dice in dices if dice is not None), default=None),
    }

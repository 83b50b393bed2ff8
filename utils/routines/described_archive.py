"""What routine 01 knows of the samples of a described archive beyond their files' names."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from utils import errors
from utils.facts import described
from utils.routines import archive, described_metadata, described_subsets
from utils.running import calls
from utils.storage import files, label_map


@dataclasses.dataclass(frozen=True)
class Placed:
    """Metadata, notes and warnings of an archive whose samples have their subsets.

    Attributes
    ----------
    notes : list of str
        What the user should know, though it is no fault.
    warnings : list of (str, str)
        What somebody should look at, by name.
    """

    metadata: described_metadata.Metadata
    notes: list[str]
    warnings: list[tuple[str, str]]
    dataset: described.Described

    def complete(self, rows: Sequence[dict], outcome: calls.Outcome) -> list[dict]:
        """Add the metadata to rows of the manifest, and what is wrong with them to the outcome.

        What was odd about several organs of a sample is told once.
        """
        if self.dataset.has_organs:
            outcome.warnings[:] = _told_once(outcome)
        outcome.warnings += self.warnings
        seqs = {self.dataset.sample_name(row): row["seq"] for row in rows}
        for name, error in self.metadata.faults(seqs):
            outcome.fail(name, error)
        known = {seq: self.metadata.of(seq) for seq in {row["seq"] for row in rows}}
        # The patient that a file's name tells counts.
        completed = [known[row["seq"]] | row for row in rows]
        for name, error in _modality_faults(completed, self.dataset):
            outcome.fail(name, error)
        return completed


def _told_once(outcome):
    masks = {str(file): file for file, _ in outcome.results if file.type == archive.MASK}
    names = collections.defaultdict(list)
    for name, text in outcome.warnings:
        file = masks.get(name)
        key = (file.sample, text.removeprefix(str(file.path))) if file else (name, text)
        names[key].append((name, text))
    for same in names.values():
        more = f" (and {len(same) - 1} more files of its organs)" if len(same) > 1 else ""
        yield same[0][0], same[0][1] + more


def place(
    contents: archive.Contents, root_dir: files.PathLike, dataset: described.Described
) -> Placed:
    """Give every file of an archive its subset, and read the metadata of the samples.

    Files whose subset or organ is not known are left out, which is a failure of the contents.
    DatasetError where the metadata table cannot be used, or that is missing which tells the subset
    of every sample.
    """
    notes = _leave_out(contents, dataset)
    warnings = _leave_out_organs(contents, dataset, notes)
    found = [*contents.files, *contents.doubles]
    seqs = {file.sample: file.columns["seq"] for file in found}
    table = dataset.table
    tables = archive.find_tables(root_dir, contents, table.file) if table else []
    named = {(file.sample, file.columns["seq"]) for file in found}
    metadata = described_metadata.Metadata(dataset, tables, named)
    patient_of = _named_patients(found, dataset)
    if dataset.split.by == "column":
        subsets = described_subsets.by_column(seqs, metadata, dataset)
    elif dataset.split.by == "json":
        subsets = described_subsets.by_json(contents, root_dir, dataset)
    elif dataset.split.by == "patient":
        dealt = {name: _patient(name, seqs[name], patient_of, metadata, dataset) for name in seqs}
        subsets = described_subsets.by_patient(dealt, dataset.split)
    else:
        subsets = described_subsets.by_name(found, dataset)
    _put_subsets(contents, subsets, patient_of, dataset)
    return Placed(metadata, notes, [*warnings, *subsets.warnings], dataset)


def _leave_out(contents, dataset):
    """Take what the page knows of out of the ignored files; notes on what is no fault.

    That are files of other channels, and those that the page ignores, not those of other subsets.
    DatasetError where all volumes are of other channels.
    """
    unneeded, other_files = [], []
    for path in contents.ignored:
        fits = any(pattern.match(path) is not None for pattern in dataset.ignored)
        (unneeded if fits else other_files).append(path)
    contents.ignored[:] = other_files
    fitting = {path: dataset.groups(path) for path in contents.ignored}
    other = {path: dataset.other_channel(found[1]) for path, found in fitting.items() if found}
    channels = {path: channel for path, channel in other.items() if channel}
    found = (*contents.files, *contents.doubles)
    if channels and not any(file.type == archive.VOLUME for file in found):
        there = errors.listed(sorted({*channels.values()}))
        reason = f"files.channel is {dataset.channel!r}, but the files have {there}"
        raise errors.DatasetError(f"{dataset.PAGE}: {reason}", file=dataset.PAGE, code="page")
    for reason, paths in dataset.left_out(path for path in other if path not in channels).items():
        count = f"{len(paths)} files of {reason} of {dataset.PAGE}, are left out"
        error = errors.DatasetError(f"{count}: {errors.listed(paths)}", code="subset")
        contents.failures.append((dataset.NAME, error))
        contents.n_unplaced += len(paths)
    contents.ignored[:] = [path for path in contents.ignored if path not in other]
    reasons = dataset.left_out(sorted(channels))
    if unneeded:
        reasons["as files.ignored of the page says"] = unneeded
    return [
        f"{len(paths)} files are left out, {reason}: {errors.listed(paths)}"
        for reason, paths in reasons.items()
    ]


def _leave_out_organs(contents, dataset, notes):
    """Take files of unknown organs out; warnings on samples that lack files of known ones."""
    names = dataset.organ_names()
    if names is None:
        return []
    of_organ, unknown = collections.defaultdict(set), collections.defaultdict(list)
    for file in contents.files:
        if file.type == archive.MASK:
            organ = label_map.file_form(file.columns["organ"])
            if organ in names.labels:
                of_organ[organ].add(file.sample)
            else:
                unknown[organ].append(file)
    gone = {file.relative_path for of in unknown.values() for file in of}
    contents.files[:] = [file for file in contents.files if file.relative_path not in gone]
    background = unknown.pop(label_map.file_form(dataset.LABELS[0]), [])
    if background:
        count = f"{len(background)} files of the background are left out"
        notes.append(f"{count}: it is where no organ is")
    for organ, of in sorted(unknown.items()):
        count = f"its {len(of)} files are left out: {errors.listed(of)}"
        reason = f"unknown organ {organ!r}, none of the labels of {dataset.PAGE}; {count}"
        error = errors.DatasetError(reason, file=of[0].path, code="organ", found=organ)
        contents.failures.append((f"organ {organ}", error))
        contents.n_unplaced += len(of)
    return _lacking(of_organ, names, contents, dataset)


def _lacking(of_organ, names, contents, dataset):
    doubled = {
        (file.sample, label_map.file_form(file.columns["organ"])) for file in contents.doubles
    }
    masked = sorted(set().union(*of_organ.values()))
    lacking = {
        organ: [
            name for name in masked if name not in of_organ[organ] and (name, organ) not in doubled
        ]
        for organ in names.labels
    }
    counts = {organ: len(of) for organ, of in lacking.items() if of}
    if not counts:
        return []
    concerned = sorted(set().union(*lacking.values()))
    most = [f"{organ} {counts[organ]}" for organ in sorted(counts, key=lambda name: -counts[name])]
    text = (
        f"{len(concerned)} of {len(masked)} samples ({errors.listed(concerned)}) lack "
        f"{sum(counts.values())} files of organs ({errors.listed(most)}); these labels do not "
        "occur there, unless the download is incomplete"
    )
    return [(dataset.NAME, text)]


def _named_patients(found, dataset):
    """{sample: patient} that the name of any of its files tells."""
    keys = dataset.PATIENT_KEYS
    return {file.sample: file.columns[key] for file in found for key in keys if key in file.columns}


def _patient(name, seq, patient_of, metadata, dataset):
    """Whom a sample shows; a patient of his own where that is not known."""
    told = patient_of.get(name) or next(map(metadata.of(seq).get, dataset.PATIENT_KEYS), None)
    return name if told in (None, dataset.UNDEFINED) else told


def _put_subsets(contents, subsets, patient_of, dataset):
    """Put subset and patient into the columns of the files; those without subset are left out."""
    kept = []
    for file in contents.files:
        subset = file.subset or subsets.of.get(file.sample)
        if subset:
            # Of some pages the volume's name alone tells the patient.
            named = dataset.PATIENT_KEYS if file.sample in patient_of else ()
            patient = dict.fromkeys(named, patient_of.get(file.sample))
            columns = {**file.columns, "subset": subset, **patient}
            kept.append(dataclasses.replace(file, subset=subset, columns=columns))
    left_out = collections.Counter(file.sample for file in contents.files)
    left_out.subtract(file.sample for file in kept)
    for name, reason in subsets.unknown.items():
        if left_out[name]:
            error = errors.DatasetError(f"{reason}; it is left out", code="subset")
            contents.failures.append((name, error))
            contents.n_unplaced += left_out[name]
    contents.failures += subsets.failures
    contents.files[:] = kept


def _modality_faults(rows, dataset):
    """Find samples that are neither CT nor MRI by what the page says."""
    source = "modality.ids" if dataset.modalities.ids else dataset.modalities.column
    found = {}
    for row in rows:
        cell = row.get(source, row["seq"])
        if dataset.modality(row) is None and cell != dataset.UNDEFINED:
            reason = f"{source} is {cell!r}, expected CT or MRI"
            if dataset.modalities.ids:
                reason = f"{cell!r} is in none of modality.ids of {dataset.PAGE}"
            error = errors.DatasetError(f"modality is not known: {reason}", code="modality")
            found[dataset.sample_name(row)] = error
    return found.items()

"""The quality report of a data set: flags, plots, tables and page from its samples' records."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from utils import errors
from utils.facts import DataSet
from utils.qc import (
    archive_scans,
    case_files,
    document,
    explanation,
    gathering,
    judging,
    label_tables,
    pages,
    plotting,
    sample_report,
    tabulating,
)
from utils.running import calls, provenance
from utils.storage import files, kept_masks, manifest, review, samples, workbook

INDEX = "index.html"
_TABLES = (
    *(tabulating.FLAGS_CSV, tabulating.FLAGS_JSON, tabulating.MEASURES_CSV),
    *(label_tables.ITKSNAP, label_tables.SLICER),
)
# How the page of a sample begins that earlier versions wrote, and what else stands in it.
_OLD_HEAD = b'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
_OLD_LINK = b'<nav><a href="../index.html">All samples</a>'


@dataclasses.dataclass(frozen=True)
class Review:
    """What people decided so far, by name of the sample, and the file that it belongs into."""

    decisions: Mapping[str, review.Decision]
    path: Path

    @property
    def excluded(self) -> list[str]:
        """Names of the samples that are left out."""
        return review.having(self.decisions, review.EXCLUDE)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The samples that a report can show, and where they are.

    Attributes
    ----------
    cases : list of samples.Sample or of archive_scans.Scan
    root_dir : Path
    before_dir : Path or None
    listed : dict or None
        Metadata by ID; None where the info files have them.
    archive : archive_scans.Listed or None
        Where it shows the archive.
    """

    cases: Sequence[case_files.Case]
    root_dir: Path
    before_dir: Path | None = None
    listed: dict[str, dict] | None = None
    archive: archive_scans.Listed | None = None

    @property
    def names(self) -> list[str]:
        """IDs of the samples."""
        return [case.stem for case in self.cases]

    def shown(self, reviewed: Review) -> Chosen:
        """Return those that a manifest lists, and those that people excluded.

        Routine 05 left them out of it, and who withdraws the decision has to see them.
        """
        if self.listed is None:
            return self
        wanted = {*self.listed, *reviewed.excluded}
        cases = [case for case in self.cases if case.stem in wanted]
        return dataclasses.replace(self, cases=cases)


def choose(
    root_dir: Path | None,
    before_dir: Path | None,
    manifest_file: Path | None,
    archive_manifest: Path | None,
    facts: DataSet,
) -> Chosen:
    """Find the samples of a grouped tree, or of the archive where its manifest is given.

    DatasetError where options do not go together, or there are no such samples.
    """
    if archive_manifest is not None:
        for name, value in (("--before_dir", before_dir), ("--manifest_file", manifest_file)):
            if value is not None:
                reason = f"{name} is of the grouped tree; expected it without --archive_manifest"
                raise errors.DatasetError(reason, code="usage")
        listed = archive_scans.read(archive_manifest, root_dir, facts)
        about = dataclasses.replace(listed, scans=[])
        rows = {scan.stem: scan.row for scan in listed.scans}
        return Chosen(listed.scans, listed.root_dir, None, rows, about)
    if root_dir is None:
        reason = "--root_dir is missing; expected it, or --archive_manifest"
        raise errors.DatasetError(reason, code="usage")
    kept = kept_masks.default_dir(root_dir)
    before_dir = before_dir or (kept if kept.is_dir() else None)
    table = None if manifest_file is None else read_manifest(manifest_file, facts)
    return Chosen(find_samples(root_dir, table or {}), root_dir, before_dir, table)


def check_apart(output_dir: Path, *data_dirs: Path | None) -> None:
    """Refuse a report among the data: other routines would find its files."""
    around = [output_dir.resolve(), *output_dir.resolve().parents]
    for data_dir in filter(None, data_dirs):
        if data_dir.resolve() in around:
            place = f"--output_dir {output_dir} lies in the data's folder {data_dir}"
            raise errors.DatasetError(f"{place}; expected one outside")


def find_samples(root_dir: Path, listed: Collection[str]) -> list[samples.Sample]:
    """Find the samples of a tree.

    DatasetError where a sample lies in two folders, or one that a manifest lists in none.
    """
    found: dict[str, samples.Sample] = {}
    for sample in samples.find(root_dir):
        other = found.setdefault(sample.stem, sample)
        if other is not sample:
            places = f"{other.directory} and {sample.directory}"
            reason = f"{sample.stem} lies in two folders: {places}"
            raise errors.DatasetError(reason, file=sample.directory, code="double")
    missing = [name for name in listed if name not in found]
    if missing:
        reason = f"{root_dir}: no folder of {errors.listed(missing)}, which the manifest lists"
        raise errors.DatasetError(reason, file=root_dir, code="missing")
    return [found[name] for name in sorted(found)]


def read_manifest(path: Path, facts: DataSet) -> dict[str, dict]:
    """Read a dataset manifest or an index manifest: ID to row, all values text."""
    columns = [column for column in gathering.METADATA.values() if column in facts.DATASET_KEYS]
    book = workbook.Workbook(path)
    sheet = manifest.MAIN_SHEET if manifest.MAIN_SHEET in book.names else book.names[0]
    table = book.table(sheet, required=("ID", *columns))
    return {row["ID"]: row for row in table.to_dict("records")}


def read_review(path: Path | None, chosen: Chosen, output_dir: Path) -> Review:
    """Read the decisions in a file; without one there are none, and its place is beside the data.

    DatasetError as by `review.read`.
    """
    if path is not None:
        return Review(review.read(path, chosen.names), path)
    folder = provenance.folder({"root_dir": chosen.root_dir, "output_dir": output_dir})
    return Review({}, (folder or output_dir) / review.FILE_NAME)


def make_folders(output_dir: Path) -> None:
    """Make the folders of the report, and sweep what interrupted runs left there.

    DatasetError where the files of the set could not be written after all the work.
    """
    folders = sample_report.PICTURES, sample_report.MEASURES, sample_report.PAGES, plotting.FOLDER
    for name in ("", *folders):
        files.make_dir(output_dir / name)
        files.check_place(output_dir / name / INDEX)
    files.sweep(output_dir)
    names = INDEX, *_TABLES, *(f"{plotting.FOLDER}/{name}" for name in plotting.TITLES)
    sample_report.check_files(output_dir / name for name in names)


def write(
    settings: case_files.ReportSettings,
    found: Sequence[case_files.Case],
    outcome: calls.Outcome,
    listed: dict[str, dict] | None,
    facts: DataSet,
    reviewed: Review,
) -> list[gathering.Entry]:
    """Judge all samples and write plots, tables and page, the page last.

    Parameters
    ----------
    settings : case_files.ReportSettings
    found : list of case_files.Case
    outcome : calls.Outcome
        Of `sample_report.render`.
    listed : dict or None
        See `read_manifest`; without it the metadata are those of the info files.
    facts : facts.DataSet
    reviewed : Review

    Returns
    -------
    list of gathering.Entry
        In the order of the page.
    """
    output_dir = settings.output_dir
    entries = gathering.entries(found, outcome, listed or {}, facts, settings)
    plots = plotting.draw([_plotted(entry) for entry in entries if entry.record])
    data = document.build(
        entries,
        output_dir=output_dir,
        facts=facts,
        plots=list(plots),
        notes=explanation.notes(facts),
        decisions=reviewed.decisions,
        review_path=reviewed.path,
    )
    contents = {
        **{f"{plotting.FOLDER}/{name}": content for name, content in plots.items()},
        **tabulating.tables(entries),
        **label_tables.files(data["labels"]),
        INDEX: pages.document(data),
    }
    for name, content in contents.items():
        files.put(output_dir / name, content)
    _remove_old(output_dir, {*plots})
    return entries


def _remove_old(output_dir, plots):
    """Remove plots that are no longer drawn, and the pages of samples of earlier versions."""
    for name in plotting.TITLES.keys() - plots:
        files.remove(output_dir / plotting.FOLDER / name)
    for path in sorted((output_dir / sample_report.PAGES).glob("*.html")):
        content = files.read_bytes(path) if path.is_file() else b""
        if content.startswith(_OLD_HEAD) and _OLD_LINK in content:
            files.remove(path)


def flag_lines(entries: Sequence[gathering.Entry]) -> list[str]:
    """Tell all flags, but those that say that a sample failed: that is told anyway."""
    return [
        f"{entry.name}: {flag.kind}: {flag.reason}"
        for entry in entries
        for flag in entry.flags
        if flag.kind != "failed"
    ]


def summary(entries: Sequence[gathering.Entry], reviewed: Review) -> str:
    """Count the samples, those with flags by their worst one, and those that are excluded."""
    worst = [entry.flags[0].severity for entry in entries if entry.flags]
    counts = [f"{worst.count(one)} {one}" for one in judging.SEVERITIES if one in worst]
    by_severity = f" ({', '.join(counts)})" if counts else ""
    n_excluded = len({entry.name for entry in entries}.intersection(reviewed.excluded))
    excluded = f"; {n_excluded} excluded by {reviewed.path}" if n_excluded else ""
    return f"{len(entries)} samples, {len(worst)} with flags{by_severity}{excluded}"


def notes(settings: case_files.ReportSettings) -> list[tuple[str, str]]:
    """What should be known of the samples as a whole: (of what, text)."""
    found = []
    if settings.archive:
        found += [("archive", text) for text in settings.archive.notes]
    if settings.predicted:
        found += [("predictions", text) for text in settings.predicted.notes]
    return found


def faults(
    settings: case_files.ReportSettings,
    entries: Sequence[gathering.Entry],
    severity: str,
    reviewed: Review,
) -> list[str]:
    """Say why the run fails: rows of no sample, and flags of this severity or a worse one."""
    found = [] if severity == "none" else failing(entries, severity, reviewed)
    return [*(settings.archive.faults if settings.archive else ()), *found]


def failing(entries: Sequence[gathering.Entry], severity: str, reviewed: Review) -> list[str]:
    """Name the samples with a flag of at least this severity that nobody has excluded."""
    found, excluded = [], {*reviewed.excluded}
    for entry in entries:
        flags = [flag for flag in entry.flags if judging.is_as_bad(flag, severity)]
        if flags and entry.name not in excluded:
            kinds = dict.fromkeys(f"{flag.kind} ({flag.severity})" for flag in flags)
            found.append(f"FLAGGED {entry.name}: {', '.join(kinds)}")
    return found


def _plotted(entry):
    record, metadata = entry.record, entry.metadata
    names = entry.names_of_changed
    organs = (record["organs"] or {}).items()
    return plotting.Row(
        name=entry.name,
        modality=metadata["modality"],
        sex=metadata["sex"],
        scanner=metadata["scanner"],
        age_years=entry.age_years,
        shape=tuple(record["volume"]["shape"]),
        spacing=tuple(record["volume"]["spacing"]),
        volumes_ml={name: organ["volume_ml"] for name, organ in organs if not organ["at_edge"]},
        small_regions={
            names.get(value, str(value)): (counts["small_before"], counts["small_after"])
            for value, counts in entry.changed.items()
        },
    )

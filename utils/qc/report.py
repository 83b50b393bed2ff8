"""The quality report of a data set: flags, plots and pages from the records of its samples."""

from pathlib import Path

from utils import errors
from utils.qc import alignment, anatomy, judging, measures, pages, plotting, sample_report
from utils.running import runner
from utils.storage import files, manifest, samples, workbook

INDEX = "index.html"
_PAGES, _PLOTS = "samples", "plots"
# Key on the pages -> column of the manifest and key of the info file.
_METADATA = {
    "subset": "subset",
    "scanner": "manufacturer_model_name",
    "sex": "sex",
    "age": "age",
    "site": "site",
}


def find_samples(root_dir: Path, listed: dict[str, dict] | None) -> list[samples.Sample]:
    """Find the samples to report on.

    Parameters
    ----------
    root_dir : Path
    listed : dict or None
        See `read_manifest`: only these.

    Returns
    -------
    list of samples.Sample

    Raises
    ------
    DatasetError
        A sample lies in two folders, or one that is listed nowhere.
    """
    found = {}
    for sample in samples.find(root_dir):
        if sample.stem in found:
            raise errors.DatasetError(
                f"{sample.stem} lies in two folders: {found[sample.stem].directory} and "
                f"{sample.directory}",
                file=sample.directory,
                code="double",
            )
        found[sample.stem] = sample
    if listed is None:
        return list(found.values())
    missing = [name for name in listed if name not in found]
    if missing:
        raise errors.DatasetError(
            f"{root_dir}: no folder of {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}, which the manifest lists",
            file=root_dir,
            code="missing",
        )
    return [found[name] for name in sorted(listed)]


def read_manifest(path: Path) -> dict[str, dict]:
    """Read the metadata of a dataset manifest or an index manifest.

    Returns
    -------
    dict of str to dict
        ID to row, all values text.

    Raises
    ------
    DatasetError
        It cannot be read, or lacks a column.
    """
    book = workbook.Workbook(path)
    sheet = manifest.MAIN_SHEET if manifest.MAIN_SHEET in book.names else book.names[0]
    table = book.table(sheet, required=("ID", *_METADATA.values()))
    return {row["ID"]: row for row in table.to_dict("records")}


def make_folders(output_dir: Path) -> None:
    """Make the folders of the report, and sweep what interrupted runs left there."""
    for name in (sample_report.PICTURES, sample_report.MEASURES, _PAGES, _PLOTS):
        files.make_dir(output_dir / name)
    files.sweep(output_dir)


def write(
    output_dir: Path,
    found: list[samples.Sample],
    outcome: runner.Outcome,
    listed: dict[str, dict] | None,
) -> list[pages.Entry]:
    """Judge all samples and write plots and pages, the index last.

    Parameters
    ----------
    output_dir : Path
    found : list of samples.Sample
    outcome : runner.Outcome
        Of `sample_report.render`.
    listed : dict or None
        See `read_manifest`; without it the info files tell the metadata.

    Returns
    -------
    list of pages.Entry
        In the order of the index.

    Raises
    ------
    DatasetError
        A file cannot be written.
    """
    entries = _entries(found, outcome, listed or {})
    plots = plotting.draw([_plotted(entry) for entry in entries if entry.record])
    contents = {f"{_PLOTS}/{name}": content for name, content in plots.items()}
    neighbours = zip([None, *entries], entries, [*entries[1:], None])
    contents.update(
        {entry.page: pages.sample(entry, before, after) for before, entry, after in neighbours}
    )
    contents[INDEX] = pages.index(entries, list(plots), _notes())
    for name, content in contents.items():
        with files.whole(output_dir / name) as handle:
            handle.write(content)
    return entries


def _entries(found, outcome, listed):
    results = {sample.stem: result for sample, result in outcome.results}
    findings = {
        name: _findings(result, _metadata(result.info, listed.get(name)))
        for name, result in results.items()
    }
    judging.judge(list(findings.values()))
    failures = {}
    for name, error in outcome.failures:
        failures.setdefault(name, []).append(judging.Flag("failed", str(error)))
    entries = []
    for sample in found:
        result, name = results.get(sample.stem), sample.stem
        metadata = _metadata(result.info if result else {}, listed.get(name))
        if result:
            metadata["modality"] = result.record["volume"]["modality"]
        entries.append(
            pages.Entry(
                name,
                metadata,
                result and result.record,
                findings[name].flags if result else failures[name],
                result.label_names if result else {},
            )
        )
    return entries


def _metadata(info, row):
    source = info if row is None else row
    return {key: source.get(column, "") for key, column in _METADATA.items()}


def _findings(result, metadata):
    record, volume = result.record, result.record["volume"]
    alignment = record["alignment"] or {}
    return judging.Findings(
        modality=volume["modality"],
        sex=metadata["sex"],
        spacing=tuple(volume["spacing"]),
        orientation=volume["orientation_to"],
        tilt_degrees=volume["tilt_degrees"],
        organs=record["organs"],
        **alignment,
    )


def _plotted(entry):
    record, metadata = entry.record, entry.metadata
    changed = record["changes"] or {"per_label": {}}
    names = {**entry.label_names, 0: "background"}
    return plotting.Row(
        modality=metadata["modality"],
        sex=metadata["sex"],
        scanner=metadata["scanner"],
        age_years=pages.age_years(metadata["age"]),
        shape=tuple(record["volume"]["shape"]),
        spacing=tuple(record["volume"]["spacing"]),
        volumes_ml={
            name: organ["volume_ml"]
            for name, organ in (record["organs"] or {}).items()
            if not organ["at_edge"]
        },
        small_regions={
            names.get(int(value), value): (of["small_before"], of["small_after"])
            for value, of in changed["per_label"].items()
        },
    )


def _notes():
    return [
        "A flag means: have a look. Nothing is changed or left out because of it.",
        f"Groups: samples of one modality and sex; with fewer than {judging.LEAST_GROUP} of one "
        "modality (prostate and uterus never); with fewer than that nothing is compared. Organs "
        "that the image cuts off take no part.",
        f"Volume and position: further from the group's median than {judging.FAR:g} robust "
        "standard deviations (1.4826 times the median absolute deviation), but never closer than "
        f"a factor of {judging.volume_factor(False):.2g} in volume and "
        f"{judging.place_mm(False):g} mm in place "
        f"({judging.volume_factor(True):.2g} and {judging.place_mm(True):g} mm for "
        "organs that fill and empty). Places are taken beside the sample's other organs.",
        f"Organ missing: at least {judging.USUAL_SHARE:.0%} of the other samples of its modality "
        f"({judging.LEAST_OTHERS} at least) have it.",
        "Left/right: by the RAS+ coordinates of the centres of kidneys, adrenal glands, liver and "
        "spleen.",
        f"Pieces: a second piece of at least {measures.LARGE_PIECE_SHARE:.0%} of the organ and "
        f"{measures.LARGE_PIECE_MM3 / 1000:g} ml; thin organs only over a gap of "
        f"{measures.THIN_GAP_MM:g} mm. Cut off: the area of liver, spleen or kidney falls from "
        f"{measures.CUT_SHARE:.0%} of its largest to next to nothing within 3 mm or a slice.",
        f"Alignment: edges under the contours at least {alignment.GAIN:g} times as strong when "
        f"the mask is moved by {alignment.SHIFT_MM:g} to {alignment.REACH_MM:g} mm per axis; "
        f"in CT also more than {judging.FAT_SHARE:.0%} of the solid organs darker than "
        f"{anatomy.FAT_BELOW:g} HU.",
        f"Geometry: spacing by the same rule as volume (factor {judging.spacing_factor():.2g}); "
        f"an orientation that fewer than {judging.ODD_SHARE:.0%} of at least "
        f"{judging.ODD_LEAST_GROUP} samples have; a tilt above {judging.OBLIQUE_DEGREES:g} "
        "degrees.",
    ]

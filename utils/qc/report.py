"""The quality report of a data set: flags, plots and pages from the records of its samples."""

from collections.abc import Mapping
from pathlib import Path

from utils import errors
from utils.facts import DataSet, known_faults, patients
from utils.qc import (
    alignment,
    anatomy,
    confirming,
    judging,
    label_tables,
    measures,
    pages,
    plotting,
    sample_report,
)
from utils.running import calls
from utils.storage import files, forms, label_map, manifest, samples, workbook

INDEX = "index.html"
_PLOTS = "plots"
# Key on the pages -> column of the manifest and key of the info file.
_METADATA = {
    "subset": "subset",
    "scanner": "manufacturer_model_name",
    "sex": "sex",
    "age": "age",
    "site": "site",
}
_DAY = "acquisition_date"


def find_samples(root_dir: Path, listed: dict[str, dict] | None) -> list[samples.Sample]:
    """Find the samples to report on: all, or those that a manifest lists (see `read_manifest`).

    DatasetError where a sample lies in two folders, or a listed one in none.
    """
    found: dict[str, samples.Sample] = {}
    for sample in samples.find(root_dir):
        other = found.setdefault(sample.stem, sample)
        if other is not sample:
            places = f"{other.directory} and {sample.directory}"
            reason = f"{sample.stem} lies in two folders: {places}"
            raise errors.DatasetError(reason, file=sample.directory, code="double")
    if listed is None:
        return list(found.values())
    missing = [name for name in listed if name not in found]
    if missing:
        reason = f"{root_dir}: no folder of {errors.listed(missing)}, which the manifest lists"
        raise errors.DatasetError(reason, file=root_dir, code="missing")
    return [found[name] for name in sorted(listed)]


def read_manifest(path: Path, facts: DataSet) -> dict[str, dict]:
    """Read a dataset manifest or an index manifest: ID to row, all values text."""
    columns = [column for column in _METADATA.values() if column in facts.DATASET_KEYS]
    book = workbook.Workbook(path)
    sheet = manifest.MAIN_SHEET if manifest.MAIN_SHEET in book.names else book.names[0]
    table = book.table(sheet, required=("ID", *columns))
    return {row["ID"]: row for row in table.to_dict("records")}


def make_folders(output_dir: Path) -> None:
    """Make the folders of the report, and sweep what interrupted runs left there.

    DatasetError where the pages of the set could not be written after all the work.
    """
    for name in ("", sample_report.PICTURES, sample_report.MEASURES, sample_report.PAGES, _PLOTS):
        files.make_dir(output_dir / name)
        files.check_place(output_dir / name / INDEX)
    files.sweep(output_dir)
    names = (INDEX, label_tables.ITKSNAP, label_tables.SLICER)
    plots = sorted((output_dir / _PLOTS).glob("*.svg"))
    for path in (*(output_dir / name for name in names), *plots):
        if path.is_dir():
            reason = f"{path}: a folder, expected a file of the report; move it away"
            raise errors.DatasetError(reason, file=path, code="write")


def write(
    output_dir: Path,
    found: list[samples.Sample],
    outcome: calls.Outcome,
    listed: dict[str, dict] | None,
    facts: DataSet,
) -> list[pages.Entry]:
    """Judge all samples and write plots and pages, the index last.

    Parameters
    ----------
    output_dir : Path
    found : list of samples.Sample
    outcome : calls.Outcome
        Of `sample_report.render`.
    listed : dict or None
        See `read_manifest`; without it the metadata are those of the info files.
    facts : facts.DataSet

    Returns
    -------
    list of pages.Entry
        In the order of the index.
    """
    entries = _entries(found, outcome, listed or {}, facts)
    plots = plotting.draw([_plotted(entry) for entry in entries if entry.record])
    neighbours = [
        (before, entry, after)
        for before, entry, after in zip([None, *entries], entries, [*entries[1:], None])
        if not (output_dir / entry.page).is_dir()  # that has failed the sample already
    ]
    contents = {
        **{f"{_PLOTS}/{name}": content for name, content in plots.items()},
        **label_tables.files(_label_names(entries)),
        **{entry.page: pages.sample(entry, before, after) for before, entry, after in neighbours},
        INDEX: pages.index(entries, list(plots), _notes(facts)),
    }
    for name, content in contents.items():
        files.put(output_dir / name, content)
    return entries


def _label_names(entries):
    """Names of all labels of all samples; of several names of one label the first."""
    names = {}
    for entry in reversed(entries):
        organs = ((entry.record or {}).get("organs") or {}).items()
        names |= {organ["value"]: name for name, organ in organs} | entry.label_names
    return names


def _entries(found, outcome, listed, facts):
    results = {sample.stem: result for sample, result in outcome.results}
    infos = {name: result.info for name, result in results.items()}
    rows = {sample.stem: listed.get(sample.stem, infos.get(sample.stem, {})) for sample in found}
    metadata = {name: _metadata(row, results.get(name)) for name, row in rows.items()}
    flags = _flags(results, rows, metadata, outcome.failures, facts)
    return [
        pages.Entry(
            sample.stem,
            metadata[sample.stem],
            results[sample.stem].record if sample.stem in results else None,
            flags[sample.stem],
            results[sample.stem].label_names if sample.stem in results else {},
        )
        for sample in found
    ]


def _metadata(row, result):
    texts = {key: row.get(column, "") for key, column in _METADATA.items()}
    plain = {key: forms.plain(key, text) or text for key, text in texts.items()}
    return plain if result is None else plain | {"modality": result.record["volume"]["modality"]}


def _flags(results, rows, metadata, failures, facts):
    """{name: flags} of the samples that were measured, those that failed, and what is known."""
    flags = {name: [] for name in rows}
    for name, error in failures:
        flags.setdefault(name, []).append(judging.Flag("failed", str(error)))
    by_name = visits(rows, facts)
    findings = {
        name: _findings(name, result, metadata[name]["sex"], by_name[name], rows[name], facts)
        for name, result in results.items()
    }
    for name, judged in zip(findings, judging.judge([*findings.values()])):
        flags[name] += judged
    for fault in known_faults.of(facts):
        if fault.id in rows and known_faults.is_open(fault, facts):
            flags[fault.id].append(confirming.flag(fault, rows[fault.id], findings))
    return flags


def visits(rows: Mapping[str, Mapping[str, str]], facts: DataSet) -> dict[str, str]:
    """Return patient and day of each sample, by name; empty where one of them is not known."""
    patient_of, unknown = patients.group(rows, facts), {*patients.unknown(rows, facts)}
    days = {name: forms.known(_DAY, row.get(_DAY, "")) for name, row in rows.items()}
    return {
        name: f"{patient_of[name]} {day}" if day and name not in unknown else ""
        for name, day in days.items()
    }


def _findings(name, result, sex, visit, row, facts):
    record, volume = result.record, result.record["volume"]
    spacing = tuple(volume["spacing"])
    return judging.Findings(
        name=name,
        modality=volume["modality"],
        sex=sex,
        spacing=spacing,
        orientation=volume["orientation_to"],
        axis_codes=result.axis_codes,
        tilt_degrees=volume["tilt_degrees"],
        organs=record["organs"],
        label_names=result.label_names.values(),
        values=tuple(volume["values"]),
        scanner_faults=facts.scanner_faults(row, spacing, volume["values"][1]),
        visit=visit,
        has_identity=result.has_identity,
        **(record["alignment"] or {}),
    )


def _plotted(entry):
    record, metadata = entry.record, entry.metadata
    names = {**entry.label_names, 0: "background"}
    organs = (record["organs"] or {}).items()
    changed = record["changes"]["per_label"].items() if record["changes"] else ()
    return plotting.Row(
        modality=metadata["modality"],
        sex=metadata["sex"],
        scanner=metadata["scanner"],
        age_years=forms.years(metadata["age"]),
        shape=tuple(record["volume"]["shape"]),
        spacing=tuple(record["volume"]["spacing"]),
        volumes_ml={name: organ["volume_ml"] for name, organ in organs if not organ["at_edge"]},
        small_regions={
            names.get(int(value), value): (counts["small_before"], counts["small_after"])
            for value, counts in changed
        },
    )


def _notes(facts):
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
        f"({judging.LEAST_OTHERS} at least) have it; without any comparison also "
        f"{', '.join(map(label_map.shown, sorted(anatomy.EVERYBODYS)))}, where the labels have "
        "such a name.",
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
        "degrees; an affine that is exactly the identity.",
        "Intensity: CT values below "
        f"{anatomy.CT_RANGE[0]:g} or above {anatomy.CT_RANGE[1]:g}, which are no Hounsfield units.",
        "Scanner: a grid or a scaling that only another scanner has than the metadata name.",
        f"Patient: the spleens of two scans of one patient{_identity(facts)} on one day, one of "
        f"them more than {judging.SPLEENS_APART:g} times as large as the other; not where the "
        "image cuts it off.",
        "Known fault: what is publicly known about the scan, with the evidence. Where the files "
        "at hand tell otherwise, or nothing of it, the flag says so; the other flags do not depend "
        "on it.",
    ]


def _identity(facts):
    """By what scans are told to be of one patient: one key names people, several may coincide."""
    keys = " and ".join(facts.PATIENT_KEYS).replace("_", " ")
    return f" ({'inferred from' if facts.PATIENT_EVIDENCE else 'by'} {keys})" if keys else ""

"""All that is known of each sample of a report: metadata, measures, flags, patient, files."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.arrays import geometry
from utils.facts import DataSet, known_faults, patients
from utils.qc import agreement, case_files, confirming, evidence, judging, sample_report
from utils.running import calls
from utils.storage import forms

# Key on the page -> column of the manifest and key of the info file.
METADATA = {
    "subset": "subset",
    "scanner": "manufacturer_model_name",
    "sex": "sex",
    "age": "age",
    "site": "site",
}
_DAY = "acquisition_date"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One sample of the report.

    Attributes
    ----------
    name : str
    metadata : dict of str to str
        ``subset``, ``modality``, ``scanner``, ``sex``, ``age``, ``site``.
    result : sample_report.Result or None
        What was measured; None for a sample that failed.
    flags : list of judging.Flag
        The worst first.
    patient : str
        ID that stands for the patient, see `patients.group`; empty where that is not known.
    relatives : list of str
        The other samples of this patient.
    paths : dict of str to Path
        ``volume``, ``mask`` and ``info``, as far as they are there.
    members : dict of str to str
        Which of these lie in zips, and where, from the archive.
    """

    name: str
    metadata: dict[str, str]
    result: sample_report.Result | None
    flags: list[judging.Flag]
    patient: str
    relatives: list[str]
    paths: dict[str, Path]
    members: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def record(self) -> dict:
        """What was measured; empty for a sample that failed."""
        return self.result.record if self.result else {}

    @property
    def label_names(self) -> dict[int, str]:
        """Labels of its mask and their names, those that have no name of their own as well."""
        organs = self.record.get("organs") or {}
        named = {organ["value"]: name for name, organ in organs.items()}
        return dict(sorted({**(self.result.label_names if self.result else {}), **named}.items()))

    @property
    def names_of_changed(self) -> dict[int, str]:
        """Names of its labels, and what 0 is called where denoising changed it."""
        return {0: "background", **self.label_names}

    @property
    def changed(self) -> dict[int, dict[str, int]]:
        """Label to what denoising changed of it, see `changes.Changes`; empty where nothing."""
        changes = self.record.get("changes") or {}
        return {int(value): counts for value, counts in changes.get("per_label", {}).items()}

    @property
    def mask_crc32(self) -> str:
        """CRC32 of the mask's voxels, ``0x1a2b3c4d``; empty without a mask."""
        return self.record.get("mask_crc32") or ""

    @property
    def age_years(self) -> int | None:
        """Age in whole years; None where it is not known."""
        return forms.years(self.metadata["age"])


def entries(
    found: Sequence[case_files.Case],
    outcome: calls.Outcome,
    listed: Mapping[str, Mapping[str, str]],
    facts: DataSet,
    settings: case_files.ReportSettings,
) -> list[Entry]:
    """Judge all samples, `found`, by what came of them in `sample_report.render`.

    Their metadata are those `listed`, by name, with the columns of the manifest; of all others
    those of their info files.
    """
    results = {sample.stem: result for sample, result in outcome.results}
    infos = {name: result.info for name, result in results.items()}
    rows = {sample.stem: listed.get(sample.stem, infos.get(sample.stem, {})) for sample in found}
    metadata = {name: _metadata(row, results.get(name), facts) for name, row in rows.items()}
    flags = _flags(results, rows, metadata, outcome.failures, facts)
    patient_of, relatives = _families(rows, facts)
    return [
        Entry(
            name=sample.stem,
            metadata=metadata[sample.stem],
            result=results.get(sample.stem),
            flags=judging.worst_first(flags[sample.stem]),
            patient=patient_of[sample.stem],
            relatives=relatives[sample.stem],
            paths=case_files.paths(sample, settings),
            members=case_files.members(sample, settings),
        )
        for sample in found
    ]


def _metadata(row, result, facts):
    texts = {key: row.get(column, "") for key, column in METADATA.items()}
    plain = {key: forms.plain(key, text) or text for key, text in texts.items()}
    modality = result.record["volume"]["modality"] if result else facts.modality(row) or ""
    return {"subset": plain["subset"], "modality": modality, **plain}


def _families(rows, facts):
    """Patient of each sample, and the other samples of it; '' and [] where it is not known."""
    patient_of, unknown = patients.group(rows, facts), {*patients.unknown(rows, facts)}
    members = {}
    for name in rows:
        members.setdefault(patient_of[name], []).append(name)
    return (
        {name: "" if name in unknown else patient_of[name] for name in rows},
        {name: [one for one in members[patient_of[name]] if one != name] for name in rows},
    )


def _flags(results, rows, metadata, failures, facts):
    """{name: flags} of the samples that were measured, those that failed, and what is known."""
    flags = {name: [] for name in rows}
    for name, error in failures:
        flags.setdefault(name, []).append(judging.flag("failed", str(error), evidence=error.code))
    by_name = visits(rows, facts)
    findings = {
        name: _findings(name, result, metadata[name]["sex"], by_name[name], rows[name], facts)
        for name, result in results.items()
    }
    for name, judged in zip(findings, judging.judge([*findings.values()])):
        flags[name] += judged
    for name, raised in _about_files(results):
        flags[name].append(raised)
    for fault in known_faults.of(facts):
        if fault.id in rows and known_faults.is_open(fault, facts):
            flags[fault.id].append(confirming.flag(fault, rows[fault.id], findings))
    return flags


def _about_files(results):
    """Yield (name, flag) of files that are odd by themselves, and of predictions."""
    for name, result in results.items():
        yield from ((name, raised) for raised in result.flags)
        if reason := result.record.get("prediction_fault"):
            yield name, agreement.fault(reason)
    records = {name: result.record for name, result in results.items()}
    predicted = {
        name: (record["volume"]["modality"], record["prediction"])
        for name, record in records.items()
        if record.get("prediction")
    }
    for name, raised in agreement.judge(predicted).items():
        yield from ((name, one) for one in raised)


def visits(rows: Mapping[str, Mapping[str, str]], facts: DataSet) -> dict[str, str]:
    """Return patient and day of each sample, by name; empty where one of them is not known."""
    patient_of, _ = _families(rows, facts)
    days = {name: forms.known(_DAY, row.get(_DAY, "")) for name, row in rows.items()}
    return {
        name: f"{patient_of[name]} {day}" if day and patient_of[name] else ""
        for name, day in days.items()
    }


def _findings(name, result, sex, visit, row, facts):
    record, volume = result.record, result.record["volume"]
    spacing = tuple(volume["spacing"])
    return evidence.Findings(
        name=name,
        modality=volume["modality"],
        sex=sex,
        spacing=spacing,
        orientation=volume["orientation_to"],
        axis_codes=geometry.axis_codes(result.affine),
        tilt_degrees=volume["tilt_degrees"],
        organs=record["organs"],
        label_names=result.label_names,
        values=tuple(volume["values"]),
        scanner_faults=facts.scanner_faults(row, spacing, volume["values"][1]),
        visit=visit,
        shape=tuple(volume["shape"]),
        affine=result.affine,
        is_mask=volume["is_mask"],
        **(record["alignment"] or {}),
    )

"""Known faults as flags, and whether the files at hand show what the list of them says."""

import re
from collections.abc import Mapping

from utils.facts import known_faults
from utils.qc import anatomy, evidence, judging
from utils.storage import forms, label_map

KIND = "known fault"
# How far a number of the list may be off what a file has: values as printed, and of a rounded one
# the share.
_VALUE_TOLERANCE, _ROUNDED_TOLERANCE = 1.0, 0.01

# Kind of a fault that the file shows -> severity; of all others: doubtful.
_SEVERITIES = {"damaged": judging.WRONG, "metadata": judging.UNUSUAL}


def flag(
    fault: known_faults.Fault, row: Mapping[str, str], findings: Mapping[str, evidence.Findings]
) -> judging.Flag:
    """Make a flag of a known fault, with its evidence, and what the files at hand say against it.

    Parameters
    ----------
    fault : known_faults.Fault
    row : mapping of str to str
        Of the sample, as the manifest or its info file has it.
    findings : mapping of str to evidence.Findings
        Of all samples at hand that could be read, by name.
    """
    text = f"{judging.sentence(_of_one_pair(fault))} (evidence: {fault.evidence})."
    seen = against(fault, row, findings)
    if seen is None:
        text += " The files at hand do not tell whether it is so."
    elif seen:
        text += f" This file does not show it: {seen}."
    one = findings.get(fault.id)
    severity = _severity(fault, one) if seen == "" else judging.UNUSUAL
    about = one.about(*_concerned(fault, one)) if one else {}
    return judging.flag(KIND, text, severity, evidence=fault.evidence, **about)


def _severity(fault, one):
    """How much a fault weighs that the file at hand shows: as much as what is found by itself."""
    if fault.kind == "intensity" and one.modality != "CT":
        return judging.UNUSUAL  # only CT has a scale that all share
    return _SEVERITIES.get(fault.kind, judging.DOUBTFUL)


def _concerned(fault, one):
    """Names of the organs of a sample that a fault is about."""
    spleen = one.named("spleen")
    return [spleen] if fault.kind == "patient" and spleen else []


def against(
    fault: known_faults.Fault, row: Mapping[str, str], findings: Mapping[str, evidence.Findings]
) -> str | None:
    """Tell what of a sample at hand contradicts a known fault.

    Empty where it shows the fault, None where that cannot be told.
    """
    if fault.id not in findings:
        return "" if fault.kind == "damaged" else None
    for kind, pattern, look in _CHECKS:
        parts = re.fullmatch(pattern, fault.what)
        if kind == fault.kind and parts:
            return look(parts.groups(), fault, row, findings)
    return None


def _organ(parts, fault, row, findings):
    one, wanted = findings[fault.id], anatomy.organ(parts[0]) or label_map.file_form(parts[0])
    names = one.label_names.values()
    name = next((name for name in names if wanted in (name, anatomy.organ(name))), None)
    if one.organs is None or name is None:
        return None
    if name in one.organs:
        return f"its label has the {parts[0]} ({one.organs[name]['volume_ml']:.4g} ml)"
    return ""


def _range(parts, fault, row, findings):
    low, high = findings[fault.id].values
    is_other = any(abs(a - b) > _VALUE_TOLERANCE for a, b in zip((low, high), map(float, parts)))
    return f"its values go from {low:.6g} to {high:.6g}" if is_other else ""


def _millions(parts, fault, row, findings):
    _, high = findings[fault.id].values
    expected = float(parts[0]) * 1e6
    is_other = abs(high - expected) > _ROUNDED_TOLERANCE * expected
    return f"its values go up to {high:.6g}" if is_other else ""


def _scanner(parts, fault, row, findings):
    scanner = forms.known("manufacturer_model_name", row.get("manufacturer_model_name", ""))
    if scanner is None:
        return None
    is_other = not findings[fault.id].scanner_faults
    return f"its grid and values fit its scanner, {scanner}" if is_other else ""


def _partner(fault):
    """ID of the other one of the pair that the sample is in; None where it is in none."""
    prefix, _, number = fault.id.rpartition("_")
    pairs = re.findall("([0-9]+)/([0-9]+)", fault.what)
    partners = (b if a == number else a for a, b in pairs if number in (a, b))
    return next((f"{prefix}_{partner}" for partner in partners), None)


def _of_one_pair(fault):
    """What a fault is, of all pairs that it lists the other one of the sample's own."""
    return re.sub("[0-9]+/[0-9]+(, [0-9]+/[0-9]+)*", _partner(fault) or r"\g<0>", fault.what)


def _spleens(parts, fault, row, findings):
    name = _partner(fault)
    if name not in findings:
        return None
    one, other = findings[fault.id], findings[name]
    if one.visit and other.visit and one.visit != other.visit:
        return f"by the metadata it is of another patient or day than {name}"
    are_apart = judging.are_spleens_apart(one, other)
    if are_apart is False:
        return f"its spleen has {one.spleen_ml:.4g} ml, that of {name} {other.spleen_ml:.4g}"
    return "" if are_apart else None


def _no_metadata(parts, fault, row, findings):
    form = forms.known(parts[0], row.get(parts[0], ""))
    return f"its {parts[0]} is {form}" if form else ""


def _not_readable(parts, fault, row, findings):
    return "it could be read"


_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
# Kind, the text with the parts to look for, what looks.
_CHECKS = (
    ("organ", "no ([a-z ]+) in the label", _organ),
    ("intensity", f"values from {_NUMBER} to {_NUMBER}, outside Hounsfield units", _range),
    ("intensity", f"scaled values up to {_NUMBER} million .*", _millions),
    ("scanner", ".+ by the table, but (?:the grid|scaled maxima) .*", _scanner),
    ("patient", "same .* as .*, but spleens differ by more than half", _spleens),
    ("metadata", "no ([a-z_]+) in the table", _no_metadata),
    ("damaged", r"cannot be decompressed( \(.*\))?", _not_readable),
)

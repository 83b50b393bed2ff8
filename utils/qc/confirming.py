"""Known faults as flags, and whether the files at hand show what the list of them says."""

import re
from collections.abc import Mapping

from utils.facts import known_faults
from utils.qc import judging
from utils.storage import forms, label_map

KIND = "known fault"
# How far a number of the list may be off what a file has: values as printed, of a rounded one the
# share, and a spacing.
_VALUE_TOLERANCE, _ROUNDED_TOLERANCE, _SPACING_TOLERANCE_MM = 1.0, 0.01, 1e-3
# Scaled values leave what 16-bit integers hold.
_HIGHEST_UNSCALED = 32767.0


def flag(
    fault: known_faults.Fault, row: Mapping[str, str], findings: Mapping[str, judging.Findings]
) -> judging.Flag:
    """Make a flag of a known fault, with its evidence, and what the files at hand say against it.

    Parameters
    ----------
    fault : known_faults.Fault
    row : mapping of str to str
        Of the sample, as the manifest or its info file has it.
    findings : mapping of str to judging.Findings
        Of all samples at hand, by name; without that of a sample that could not be read nothing
        of the latter can be said.
    """
    text = f"{fault.what[:1].upper()}{fault.what[1:]} (evidence: {fault.evidence})."
    seen = against(fault, row, findings)
    return judging.Flag(KIND, f"{text} This file does not show it: {seen}." if seen else text)


def against(
    fault: known_faults.Fault, row: Mapping[str, str], findings: Mapping[str, judging.Findings]
) -> str:
    """Tell what of a sample at hand contradicts a known fault.

    Empty where it shows the fault, or where that cannot be told.
    """
    found = _check(fault)
    if found is None or fault.id not in findings:
        return ""
    look, parts = found
    return look(parts, fault, row, findings) or ""


def is_understood(fault: known_faults.Fault) -> bool:
    """Whether a fault can be looked for: its kind and text are ones that are known here."""
    return _check(fault) is not None


def _check(fault):
    """The function that looks, and the parts of the text that it looks for."""
    for kind, pattern, look in _CHECKS:
        parts = re.fullmatch(pattern, fault.what)
        if kind == fault.kind and parts:
            return look, parts.groups()
    return None


def _organ(parts, fault, row, findings):
    organs, name = findings[fault.id].organs, label_map.file_form(parts[0])
    if organs and name in organs:
        return f"its label has the {parts[0]} ({organs[name]['volume_ml']:.4g} ml)"


def _range(parts, fault, row, findings):
    low, high = findings[fault.id].values
    expected = map(float, parts)
    if any(abs(a - b) > _VALUE_TOLERANCE for a, b in zip((low, high), expected)):
        return f"its values go from {low:.6g} to {high:.6g}"


def _millions(parts, fault, row, findings):
    _, high = findings[fault.id].values
    expected = float(parts[0]) * 1e6
    if abs(high - expected) > _ROUNDED_TOLERANCE * expected:
        return f"its values go up to {high:.6g}"


def _other_scanner(scanner, row):
    found = forms.stripped(row.get("manufacturer_model_name", ""))
    return "" if found in ("", forms.UNDEFINED, scanner) else f"its scanner is {found}"


def _grid(parts, fault, row, findings):
    scanner, *grid = parts
    spacing = findings[fault.id].spacing
    apart_mm = (abs(a - b) for a, b in zip(sorted(spacing), sorted(map(float, grid))))
    if max(apart_mm) > _SPACING_TOLERANCE_MM:
        return f"its grid is {' x '.join(f'{step:.4g}' for step in spacing)} mm"
    return _other_scanner(scanner, row)


def _scaling(parts, fault, row, findings):
    _, high = findings[fault.id].values
    if high <= _HIGHEST_UNSCALED:
        return f"its values go up to {high:.6g}"
    return _other_scanner(parts[0], row)


def _spleens(parts, fault, row, findings):
    """Compare with the other one of the pair that the sample is in, where it is at hand."""
    for pair in re.findall("([0-9]+)/([0-9]+)", parts[0]):
        own = [number for number in pair if fault.id.endswith(f"_{number}")]
        for number in {*pair} - {*own} if own else ():
            name = fault.id.removesuffix(own[0]) + number
            one, other = findings[fault.id], findings.get(name)
            if other and judging.are_spleens_apart(one, other) is False:
                return (
                    f"its spleen has {one.spleen_ml:.4g} ml, that of {name} {other.spleen_ml:.4g}"
                )


def _no_metadata(parts, fault, row, findings):
    text = row.get(parts[0], "")
    form = forms.plain(parts[0], text)
    if form not in (None, "", forms.UNDEFINED):
        return f"its {parts[0]} is {form}"


def _not_readable(parts, fault, row, findings):
    return "it could be read"


_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
# Kind, the text with the parts to look for, what looks.
_CHECKS = (
    ("organ", "no ([a-z ]+) in the label", _organ),
    ("intensity", f"values from {_NUMBER} to {_NUMBER}, outside Hounsfield units", _range),
    ("intensity", f"scaled values up to {_NUMBER} million .*", _millions),
    ("scanner", f"(.+) by the table, but the grid {_NUMBER} x {_NUMBER} x {_NUMBER} mm .*", _grid),
    ("scanner", "(.+) by the table, but scaled maxima .*", _scaling),
    ("patient", "same .* as (.*), but spleens differ by more than half", _spleens),
    ("metadata", "no ([a-z_]+) in the table", _no_metadata),
    ("damaged", r"cannot be decompressed( \(.*\))?", _not_readable),
)

"""Which samples are of one patient, by what their metadata tell."""

import collections
from collections.abc import Iterable, Mapping

from utils.facts import DataSet
from utils.storage import forms

COLUMN = "patient"


def group(rows: Mapping[str, Mapping[str, str]], facts: DataSet) -> dict[str, str]:
    """Return the patient of each sample, ID to the lowest ID of all samples of that patient.

    Samples are of one patient that agree in all `facts.PATIENT_KEYS`; one of which a key is not
    known, or no column of the rows, is a patient of its own, as is each where there are no keys.
    For AMOS22 the identity is inferred: two people may share birth date and sex.

    >>> from utils.facts import amos22
    >>> born = {"birth_date": "19600102", "sex": "F"}
    >>> group({"amos_0009": born, "amos_0004": born, "amos_0005": {}}, amos22)
    {'amos_0009': 'amos_0004', 'amos_0004': 'amos_0004', 'amos_0005': 'amos_0005'}
    """
    families = collections.defaultdict(list)
    for key, row in rows.items():
        families[_identity(row, facts) or key].append(key)
    names = {key: min(members) for members in families.values() for key in members}
    return {key: names[key] for key in rows}


def unknown(rows: Mapping[str, Mapping[str, str]], facts: DataSet) -> list[str]:
    """Return the IDs of the samples whose patient is not known."""
    return [key for key, row in rows.items() if _identity(row, facts) is None]


def unnamed(facts: DataSet) -> str:
    """Say that nothing tells the patients of a data set; empty where something does."""
    if facts.PATIENT_KEYS:
        return ""
    return f"the page of {facts.NAME} names no patients: each sample counts as a patient of its own"


def inferred(facts: DataSet) -> str:
    """Say how far patients are known, wherever they are told: ``inferred from ...``.

    Empty where a key names them.
    """
    if not facts.PATIENT_EVIDENCE:
        return ""
    return f"inferred from {' and '.join(facts.PATIENT_KEYS)} ({facts.PATIENT_EVIDENCE})"


def _identity(row, facts):
    """What all samples of a patient share; None where a part of it is not known."""
    texts = tuple(forms.known(key, row.get(key, "")) for key in facts.PATIENT_KEYS)
    return None if None in texts or not texts else texts


def families(patient_of: Mapping[str, str], among: Iterable[str]) -> dict[str, list[str]]:
    """Return the samples of each patient among these, patient to sorted IDs, by patient."""
    found = collections.defaultdict(list)
    for key in sorted(among):
        found[patient_of[key]].append(key)
    return dict(sorted(found.items()))

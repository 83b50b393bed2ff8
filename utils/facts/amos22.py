"""The facts of AMOS22: folders, file names, scanners, columns (see `facts.DataSet`)."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.storage import forms, label_map

NAME = "AMOS22"
DESCRIPTION = "Abdominal multi-organ segmentation, 15 organs in CT and MRI"
ZENODO_RECORD = "7262581"
REFERENCE = f"https://zenodo.org/records/{ZENODO_RECORD}"
LICENCE = "CC BY 4.0"
LICENCE_URL = "https://creativecommons.org/licenses/by/4.0/"
# The authors of the paper; the record on Zenodo names the first of them alone.
CREATORS: tuple[str, ...] = (
    *("Yuanfeng Ji", "Haotian Bai", "Jie Yang", "Chongjian Ge", "Ye Zhu", "Ruimao Zhang"),
    *("Zhen Li", "Lingyan Zhang", "Wanling Ma", "Xiang Wan", "Ping Luo"),
)
PUBLISHED = "2022"
CITATION = (
    "@article{ji2022amos, title = {AMOS: A Large-Scale Abdominal Multi-Organ Benchmark for "
    f"Versatile Medical Image Segmentation}}, author = {{{' and '.join(CREATORS)}}}, "
    "journal = {arXiv preprint arXiv:2206.08023}, year = {2022}}"
)

CT_SCANNERS = frozenset(
    {"Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540"}
)
MRI_SCANNERS = frozenset({"Ingenia", "Prisma", "SIGNA HDe", "Achieva"})
CT_DIR, MRI_DIR = "AMOS-CT", "AMOS-MRI"

UNLABELLED = "unlabelled"
SUBSETS: tuple[str, ...] = ("train", "val", "test", UNLABELLED)
LABELLED_SUBSETS: tuple[str, ...] = ("train", "val")
# labelsTs was never published.
FOLDERS: Mapping[str, tuple[str, str]] = {
    "imagesTr": ("v3d", "train"),
    "imagesVa": ("v3d", "val"),
    "imagesTs": ("v3d", "test"),
    "labelsTr": ("m3d", "train"),
    "labelsVa": ("m3d", "val"),
    "labelsTs": ("m3d", "test"),
}
FILE_NAME = re.compile(r"amos_([0-9]{4})\.nii\.gz")
EXAMPLE_FILE = "imagesTr/amos_0004.nii.gz"
DATASET_JSON_SUBSETS: Mapping[str, str] = {"training": "train", "validation": "val", "test": "test"}


class Part(NamedTuple):
    """One of the zips with scans that nobody has labelled: its ids, modality, metadata table.

    The table is empty where none was published.
    """

    ids: range
    modality: str
    table: str


# Their inner folders have irregular names: the id decides.
UNLABELLED_PARTS: tuple[Part, ...] = (
    Part(range(5000, 5400), "CT", "unlabeled_data_meta_5000_5399.csv"),
    Part(range(5400, 5900), "CT", "unlabeled_data_meta_5400_5899.csv"),
    Part(range(5900, 6200), "CT", "unlabeled_data_meta_5900_6199.csv"),
    Part(range(6200, 6900), "CT", ""),
    Part(range(7000, 8200), "MRI", ""),
)

METADATA_TABLE = "labeled_data_meta_0000_0599.csv"
METADATA_SOURCE = f"{METADATA_TABLE} (zenodo record {ZENODO_RECORD})"
# Our column -> column of the official table.
METADATA = {
    "birth_date": "Patient's Birth Date",
    "sex": "Patient's Sex",
    "age": "Patient's Age",
    "manufacturer_model_name": "Manufacturer's Model Name",
    "manufacturer": "Manufacturer",
    "acquisition_date": "Acquisition Date",
    "site": "Site",
}
UNDEFINED = forms.UNDEFINED
ARCHIVE_COLUMNS: tuple[str, ...] = (
    *("file_path", "subset", "seq", "type", "szx", "szy", "szz", "spx", "spy", "spz"),
    *("orientation_from", "orientation_to", "dtype", "transform", "diff_trans_f_norm"),
    *METADATA,
)
INFO_KEYS: tuple[str, ...] = ("subset", "seq", *METADATA)
DATASET_KEYS: tuple[str, ...] = (
    *("seq", "sex", "subset", "manufacturer_model_name", "manufacturer", "birth_date", "age"),
    *("acquisition_date", "site"),
)
# The table has no id of the patient. Of its 600 scans 75 pairs share birth date and sex, 31 of them
# also day and scanner; two pairs share a birth date and not the sex, which is chance.
PATIENT_KEYS: tuple[str, ...] = ("birth_date", "sex")
PATIENT_EVIDENCE = "docs/patients.md"

_TEMPLATES = Path(__file__).resolve().parents[2] / "descriptor_templates"
LABEL_MAP = str(_TEMPLATES / "label_map.yaml")
KNOWN_FAULTS = str(_TEMPLATES / "known_faults.csv")
# See `amos22_table.Metadata`.
MENDED_FAULTS: tuple[str, ...] = ("id in the metadata table one too low",)

# All labelled scans of the SIGNA HDe have this grid (mm, the axes by size), and three scans of a
# Prisma by the table: 0578, 0588, 0590.
_SIGNA_HDE, _SIGNA_HDE_GRID_MM, _GRID_TOLERANCE_MM = "SIGNA HDe", (0.8203, 0.8203, 1.1), 1e-3
# The other two scanners for MRI are of Philips, which scales values to far beyond 16-bit integers:
# the highest of 0517 and 0518, Prisma by the table, are above 170,000, of all others below 3,100.
_UNSCALED_SCANNERS, _HIGHEST_UNSCALED = frozenset({"Prisma", _SIGNA_HDE}), 32767.0

# What label 15 is called before routine 03 tells the two apart, by the person's sex.
PROSTATE_OR_UTERUS = "prostate_or_uterus"

# What other cells of the archive manifest must be.
_EXPECTED = {"seq": "[0-9]{1,4}", "subset": "|".join(SUBSETS), "type": "v3d|m3d"}


def classify(relative_path: str) -> dict[str, str] | None:
    """Tell what a file of the archive is from its name and folder, at any depth above it.

    >>> classify("amos22/labelsVa/amos_0008.nii.gz")
    {'subset': 'val', 'seq': '0008', 'type': 'm3d'}
    >>> classify("amos22_unlabeled_6200_6899/amos_6200.nii.gz")
    {'subset': 'unlabelled', 'seq': '6200', 'type': 'v3d'}
    >>> classify("amos22/labelsVa/amos_08.nii.gz") is None
    True
    """
    path = PurePosixPath(relative_path)
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        return None
    known = ("v3d", UNLABELLED) if unlabelled_part(name[1]) else None
    known = FOLDERS.get(path.parent.name, known)
    return {"subset": known[1], "seq": name[1], "type": known[0]} if known else None


def unlabelled_part(seq: str) -> Part | None:
    """Return the zip that scans of this id were published in; None for labelled and other ids.

    >>> unlabelled_part("7000").modality, unlabelled_part("0600"), unlabelled_part("6950")
    ('MRI', None, None)
    """
    number = forms.whole_number_text(forms.stripped(seq))
    if not re.fullmatch("[0-9]{4}", number):
        return None
    return next((part for part in UNLABELLED_PARTS if int(number) in part.ids), None)


def sample_name(columns: Mapping[str, str]) -> str:
    """Return the name of the sample that a file or row belongs to, such as ``amos_0004``."""
    return f"amos_{columns['seq']}"


def subset(columns: Mapping[str, str]) -> str:
    """Return train, val, test or unlabelled of a file or row."""
    return columns["subset"]


def archive_labels(label_map_path: Path | None = None) -> dict[int, str]:
    """Return what the labels of the archive's masks are called in file names.

    Routine 03 has not told prostate and uterus apart yet.
    """
    names = label_map.read(label_map_path or LABEL_MAP)
    found = {value: label_map.file_form(name) for value, name in names.items()}
    if found.pop(labels.UTERUS, None):
        found[labels.PROSTATE] = PROSTATE_OR_UTERUS
    return found


def modality(row: Mapping[str, str]) -> str | None:
    """Return CT or MRI of a row: by the id of an unlabelled scan, else by the scanner.

    None for a labelled scan of a scanner in neither set.
    """
    part = unlabelled_part(row.get("seq", ""))
    if part:
        return part.modality
    scanner = forms.stripped(row.get("manufacturer_model_name", ""))
    sets = {"CT": CT_SCANNERS, "MRI": MRI_SCANNERS}
    return next((name for name, scanners in sets.items() if scanner in scanners), None)


def slice_axis(affine: np.ndarray) -> int:
    """Return the third axis, as in the tutorial, whatever lies along it."""
    return 2


def scanner_faults(row: Mapping[str, str], spacing: Sequence[float], highest: float) -> list[str]:
    """Tell, in sentences, what of a volume belongs to another scanner than its row names."""
    scanner, found = forms.stripped(row.get("manufacturer_model_name", "")), []
    apart_mm = (abs(a - b) for a, b in zip(sorted(spacing), _SIGNA_HDE_GRID_MM))
    if scanner in MRI_SCANNERS - {_SIGNA_HDE} and max(apart_mm) <= _GRID_TOLERANCE_MM:
        grid = " x ".join(f"{step:.4g}" for step in spacing)
        found.append(
            f"{scanner} by the metadata, but the grid {grid} mm is that of the {_SIGNA_HDE}."
        )
    if scanner in _UNSCALED_SCANNERS and highest > _HIGHEST_UNSCALED:
        found.append(
            f"{scanner} by the metadata, but values up to {highest:.6g}, as only Philips scanners "
            f"scale them; expected at most {_HIGHEST_UNSCALED:g}."
        )
    return found


def plain_row(row: Mapping[str, str]) -> dict[str, str]:
    """Mend what people and spreadsheets do to a row of the archive manifest.

    Blanks around a text go, ``seq`` gets its four digits back, metadata are brought into their
    forms (see `forms.plain`), and empty ones read ``UND``. CasesError where seq, subset or type
    is none that AMOS22 has, or metadata have no form.
    """
    place = f"in the manifest's row of {row['file_path']!r}"
    # The name of a folder may begin with a blank.
    plain, cases = {**row, "file_path": row["file_path"].rstrip()}, []
    for key in ("type", *INFO_KEYS):
        form, pattern = forms.plain(key, row[key]), _EXPECTED.get(key)
        if form is None:
            cases.append(forms.fault(key, row[key], place, code="manifest"))
        elif pattern and not re.fullmatch(pattern, form):
            reason = f"{key} is {row[key]!r} {place}, expected {pattern}"
            sides = {"expected": pattern, "found": row[key]}
            cases.append(errors.DatasetError(reason, code="manifest", **sides))
        plain[key] = form or (UNDEFINED if key in METADATA else "")
    if cases:
        raise errors.CasesError(cases)
    plain["seq"] = plain["seq"].zfill(4)
    return plain


def check_manifest(rows: Sequence[Mapping[str, str]], where: object) -> None:
    """Refuse an archive manifest, `where`, that knows no scanner: none tells CT from MRI.

    Of unlabelled scans the id tells it.
    """
    labelled = (row for row in rows if not unlabelled_part(row["seq"]))
    scanners = {forms.stripped(row["manufacturer_model_name"]) for row in labelled}
    if scanners and scanners <= {"", UNDEFINED}:
        reason = (
            f"{where}: it knows no scanner at all, the metadata table was missing in routine 01; "
            f"download {METADATA_SOURCE}, put it into the archive or beside it, and run routine "
            "01 again"
        )
        raise errors.DatasetError(reason, file=where, code="metadata", expected=METADATA_TABLE)


def check_names(names: Collection[str], where: object) -> None:
    """Take samples of any name: it is what data sets without a page are looked at by, too."""


def mask_faults(
    info: Mapping[str, str], present: Collection[int], where: object
) -> list[errors.DatasetError]:
    """Find labels of a mask, `where`, that a person of this sex cannot have.

    With an unknown sex label 15 may be either organ: a warning alone, for people may have looked
    and found a prostate; label 16 is the uterus, whoever it is.
    """
    sex, cure = info.get("sex"), "routine 03 was forgotten, or the sex is wrong"
    if labels.PROSTATE in present and sex in ("", UNDEFINED):
        errors.warn(f"{where}: label {labels.PROSTATE} and an unknown sex: prostate or uterus?")
    impossible = {
        "F": (labels.PROSTATE, "prostate", "woman"),
        "M": (labels.UTERUS, "uterus", "man"),
    }
    label, organ, person = impossible.get(sex or "", (None, "", ""))
    if label not in present:
        return []
    reason = f"{where}: label {label} ({organ}) in a {person}: {cure}"
    expected = f"no label {label} with sex {sex}"
    return [errors.DatasetError(reason, file=where, code="sex", expected=expected, found=label)]


def sample_dir(info: Mapping[str, str]) -> PurePosixPath:
    """Return where a sample without `row_faults` lies: ``train/Aquilion ONE/amos_0004_F``."""
    name = f"{sample_name(info)}_{info['sex']}"
    return PurePosixPath(info["subset"], info["manufacturer_model_name"], name)


def of_scanners(scanners: frozenset[str]) -> Callable[[Mapping[str, str]], bool]:
    """Return the choice of rows for `CT_SCANNERS` or `MRI_SCANNERS`, see `pairs.plan`.

    A row that is neither CT nor MRI (see `modality`) is in both, so that nobody overlooks it.
    """
    own = "CT" if scanners == CT_SCANNERS else "MRI"
    return lambda row: modality(row) in (own, None)


def organ_names() -> None:
    """Return None: each mask is one file."""


def row_faults(row: Mapping[str, str]) -> list[errors.DatasetError]:
    """Find what is wrong with a sample beyond the form of its row: its scanner.

    That of an unlabelled scan may be any that can be the name of a folder.
    """
    scanner, fault = row["manufacturer_model_name"], ""
    if modality(row) is None:
        fault = "is none of those known"
    elif not forms.is_folder(scanner):
        fault = "cannot be the name of a folder"
    if not fault:
        return []
    reason = f"scanner {scanner!r} {fault}; correct manufacturer_model_name in the manifest"
    return [errors.DatasetError(reason, code="scanner", found=scanner)]


def trees(output_dir: Path) -> list[Path]:
    """Return the folders in which a sample may lie already: the output and its sibling."""
    siblings = [output_dir.parent / name for name in (CT_DIR, MRI_DIR) if name != output_dir.name]
    return [output_dir, *siblings]

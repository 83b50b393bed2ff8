"""The facts of NME-2025.8.25: collections, folders, file names, columns (see `facts.DataSet`)."""

import collections
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from utils import errors
from utils.storage import forms, label_map

NAME = "NME-2025.8.25"
DESCRIPTION = "Non mass enhancement in breast MRI, from four hospitals"
REFERENCE = "https://pan.baidu.com/s/1ZRMRcmym64zsGWPsJ1fitw"
LICENCE = LICENCE_URL = ""  # the archive is private
CREATORS: tuple[str, ...] = ()
PUBLISHED = CITATION = ""

# Collection of the archive -> clinical site it comes from.
SITES = {
    "train-val": "Tongji",
    "test-inner-01": "Tongji",
    "test-outer-02": "Yunnan",
    "test-outer-03": "Zhongnan",
    "test-outer-04": "HKU-SZH",
}
# The site whose published subsets a split across sites keeps.
INNER_SITE = "Tongji"

SUBSETS: tuple[str, ...] = ("train", "val", "test")
LABELLED_SUBSETS: tuple[str, ...] = SUBSETS
FOLDERS: Mapping[str, tuple[str, str]] = {
    "imagesTr": ("v3d", "train"),
    "imagesVd": ("v3d", "val"),
    "imagesTs": ("v3d", "test"),
    "labelsTr": ("m3d", "train"),
    "labelsVd": ("m3d", "val"),
    "labelsTs": ("m3d", "test"),
}
COLLECTION_FOLDER_PREFIX = "NME-Seg-2025.8.25-"
LABEL_MAP = str(Path(__file__).resolve().parents[2] / "descriptor_templates/NME/label_map.yaml")
# Without _ the name <seq>_<pid> has one reading only.
_PART = "[A-Za-z0-9][A-Za-z0-9-]*"
FILE_NAME = re.compile(rf"NME-Seg_({_PART})\.({_PART})\.nii\.gz")
EXAMPLE_FILE = f"{COLLECTION_FOLDER_PREFIX}train-val/imagesTr/NME-Seg_01A002.60012875311.nii.gz"
DATASET_JSON_SUBSETS: Mapping[str, str] = {}

UNDEFINED = ""  # nothing in the archive is marked as unknown
ARCHIVE_COLUMNS: tuple[str, ...] = (
    *("file_path", "site", "collection", "subset", "seq", "pid", "type"),
    *("szx", "szy", "szz", "spx", "spy", "spz", "orientation_from", "orientation_to"),
    *("dtype", "transform", "diff_trans_f_norm"),
)
INFO_KEYS: tuple[str, ...] = ("collection", "subset", "site", "seq", "pid")
DATASET_KEYS: tuple[str, ...] = ("site", "collection", "subset", "pid")
PATIENT_KEYS: tuple[str, ...] = ("pid",)
PATIENT_EVIDENCE = ""
KNOWN_FAULTS = ""
MENDED_FAULTS: tuple[str, ...] = ()
# Folders of the grouped tree that are there even without samples.
TREE = tuple(
    f"{SITES[collection]}/{collection}/{name}"
    for collection in SITES
    for name in (("train", "val") if collection == "train-val" else ("test",))
)


def classify(relative_path: str) -> dict[str, str] | None:
    """Tell what a file of the archive is from its name and folders, at any depth above them.

    ``subset`` is the folder's name. None for a file of an unknown collection, too.

    >>> found = classify("a/NME-Seg-2025.8.25-test-outer-02/labelsTs/NME-Seg_02A001.0071.nii.gz")
    >>> [found[key] for key in ("site", "subset", "seq", "pid", "type")]
    ['Yunnan', 'labelsTs', '02A001', '0071', 'm3d']
    >>> classify("a/NME-Seg-2025.8.25-test-outer-09/labelsTs/NME-Seg_09A001.0071.nii.gz") is None
    True
    """
    collection, path = _collection(relative_path), PurePosixPath(relative_path)
    name = FILE_NAME.fullmatch(path.name)
    if collection not in SITES or name is None:
        return None
    place = {"site": SITES[collection], "collection": collection, "subset": path.parent.name}
    return {**place, "seq": name[1], "pid": name[2], "type": FOLDERS[path.parent.name][0]}


def _collection(relative_path):
    """Collection of a path that fits the grammar, known or not; None for any other path."""
    path = PurePosixPath(relative_path)
    folder = path.parent.parent.name
    is_scan = FILE_NAME.fullmatch(path.name) and path.parent.name in FOLDERS
    fits = is_scan and folder.startswith(COLLECTION_FOLDER_PREFIX)
    return folder.removeprefix(COLLECTION_FOLDER_PREFIX) if fits else None


def unknown_collections(relative_paths: Iterable[str]) -> list[tuple[str, errors.DatasetError]]:
    """Find what fits the archive's grammar but belongs to a collection that is not known.

    Of files that `classify` does not know: the name to show and the reason, one entry per
    collection, sorted.
    """
    expected = ", ".join(SITES)
    found = []
    counts = collections.Counter(filter(None, map(_collection, relative_paths)))
    for name, count in sorted(counts.items()):
        reason = (
            f"unknown collection {name!r}: its site is not known, its {count} files are left out; "
            f"expected one of {expected}"
        )
        error = errors.DatasetError(reason, code="collection", expected=expected, found=name)
        found.append((f"collection {name}", error))
    return found


def sample_name(columns: Mapping[str, str]) -> str:
    """Return the name of the sample of a file or row, such as ``01A002_60012875311``."""
    return f"{columns['seq']}_{columns['pid']}"


def subset(columns: Mapping[str, str]) -> str:
    """Return train, val or test of a file, whose ``subset`` is a folder's name."""
    return FOLDERS[columns["subset"]][1]


def modality(row: Mapping[str, str]) -> str:
    """Return MRI: all scans are."""
    return "MRI"


def slice_axis(affine: np.ndarray) -> int:
    """Return the third axis, as in the tutorial, whatever lies along it."""
    return 2


def scanner_faults(row: Mapping[str, str], spacing: Sequence[float], highest: float) -> list[str]:
    """Tell what of a volume belongs to another scanner: nothing is known of the scanners."""
    return []


def plain_row(row: Mapping[str, str]) -> dict[str, str]:
    """Mend what people and spreadsheets do to a row of the archive manifest.

    Blanks around a text go, and ``subset`` becomes train, val or test. Where seq or pid is what a
    spreadsheet makes of the one in the file's name (12 of 0012, 100 of 01E002), the file's name
    counts. DatasetError where site, collection, subset or type is none that the data set has,
    subset and type contradict, or seq or pid is no plain name.
    """
    # The name of a folder may begin with a blank.
    plain = {**row, "file_path": row["file_path"].rstrip()}
    plain.update((key, forms.stripped(row[key])) for key in ("type", *INFO_KEYS))
    name = FILE_NAME.fullmatch(PurePosixPath(plain["file_path"]).name)
    for key, own in zip(("seq", "pid"), name.groups() if name else ()):
        if forms.is_of_spreadsheet(plain[key], own):
            plain[key] = own
    known: dict = {"site": SITES.values(), "collection": SITES, "subset": FOLDERS}
    for key, names in known.items():
        if plain[key] not in names:
            raise _odd_cell(row, key, " or ".join(dict.fromkeys(names)))
    for key in ("seq", "pid"):
        if not re.fullmatch(_PART, plain[key]):
            raise _odd_cell(row, key, _PART)
    folder = plain["subset"]
    file_type, plain["subset"] = FOLDERS[folder]
    if plain["type"] != file_type:
        raise _odd_cell(row, "type", f"{file_type} ({folder})")
    return plain


def _odd_cell(row, key, expected):
    place = f"in the manifest's row of {row['file_path']!r}"
    reason = f"{key} is {row[key]!r} {place}, expected {expected}"
    return errors.DatasetError(reason, code="manifest", expected=expected, found=row[key])


def archive_labels(label_map_path: Path | None = None) -> dict[int, str]:
    """Return what the labels of the masks are called in file names, abbreviations."""
    names = label_map.read(label_map_path or LABEL_MAP, short_form=True)
    return {value: label_map.file_form(name) for value, name in names.items()}


def organ_names() -> None:
    """Return None: each mask is one file."""


def row_faults(row: Mapping[str, str]) -> list[errors.DatasetError]:
    """Find what is wrong with a sample beyond the form of its row: a site of another collection."""
    site, collection, expected = row["site"], row["collection"], SITES[row["collection"]]
    if site == expected:
        return []
    reason = f"site is {site!r} in the manifest, but collection {collection} comes from {expected}"
    return [errors.DatasetError(reason, code="site", expected=expected, found=site)]


def check_manifest(rows: Sequence[Mapping[str, str]], where: object) -> None:
    """Refuse an archive manifest that lacks something as a whole: there is nothing of the kind."""


def check_names(names: Collection[str], where: object) -> None:
    """Refuse samples of another data set: names do not tell."""


def mask_faults(
    info: Mapping[str, str], present: Collection[int], where: object
) -> list[errors.DatasetError]:
    """Find labels of a mask that its sample cannot have: there are none."""
    return []


def sample_dir(info: Mapping[str, str]) -> PurePosixPath:
    """Return where a sample lies: ``Tongji/train-val/train/01A002_60012875311``."""
    return PurePosixPath(info["site"], info["collection"], info["subset"], sample_name(info))


def trees(output_dir: Path) -> list[Path]:
    """Return the folders in which a sample may lie already: there is one tree."""
    return [output_dir]

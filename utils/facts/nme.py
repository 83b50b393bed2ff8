"""The facts of NME-2025.8.25: folders, file names, columns, and which collection is whose."""

import collections
import re
from pathlib import PurePosixPath

from utils import errors

NAME = "NME-2025.8.25"

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

SUBSETS = ("train", "val", "test")
# All three were published with masks.
LABELLED_SUBSETS = SUBSETS
# Folder of the archive -> type and subset of the files in it.
FOLDERS = {
    "imagesTr": ("v3d", "train"),
    "imagesVd": ("v3d", "val"),
    "imagesTs": ("v3d", "test"),
    "labelsTr": ("m3d", "train"),
    "labelsVd": ("m3d", "val"),
    "labelsTs": ("m3d", "test"),
}
COLLECTION_FOLDER_PREFIX = "NME-Seg-2025.8.25-"
# Without _ the name <seq>_<pid> has one reading only.
_PART = "[A-Za-z0-9][A-Za-z0-9-]*"
FILE_NAME = re.compile(rf"NME-Seg_({_PART})\.({_PART})\.nii\.gz")
EXAMPLE_FILE = f"{COLLECTION_FOLDER_PREFIX}train-val/imagesTr/NME-Seg_01A002.60012875311.nii.gz"

ARCHIVE_COLUMNS = (
    "file_path",
    "site",
    "collection",
    "subset",
    "seq",
    "pid",
    "type",
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "dtype",
    "transform",
    "diff_trans_f_norm",
)
INFO_KEYS = ("collection", "subset", "site", "seq", "pid")
# Keys of the info file that become columns of the dataset manifest, in their order there.
DATASET_KEYS = ("site", "collection", "subset", "pid")
# Folders of the grouped tree that are there even without samples.
TREE = tuple(
    f"{SITES[collection]}/{collection}/{name}"
    for collection in SITES
    for name in (("train", "val") if collection == "train-val" else ("test",))
)

_NUMBER = re.compile("[0-9]+([eE][0-9]+)?")
_SPREADSHEET_DIGITS = 15


def classify(relative_path: str) -> dict | None:
    """Tell what a file of the archive is from its name and folders.

    Parameters
    ----------
    relative_path : str
        Path with ``/``, relative to the archive's root; any depth above the collection's folder is
        allowed.

    Returns
    -------
    dict or None
        The columns ``site`` to ``type`` of the archive manifest, ``subset`` being the folder's
        name; None for a file that is not part of the data set, or of an unknown collection.

    Examples
    --------
    >>> found = classify("a/NME-Seg-2025.8.25-test-outer-02/labelsTs/NME-Seg_02A001.0071.nii.gz")
    >>> [found[key] for key in ("site", "subset", "seq", "pid", "type")]
    ['Yunnan', 'labelsTs', '02A001', '0071', 'm3d']
    >>> classify("a/NME-Seg-2025.8.25-test-outer-09/labelsTs/NME-Seg_09A001.0071.nii.gz") is None
    True
    """
    collection = _collection(relative_path)
    if collection not in SITES:
        return None
    path = PurePosixPath(relative_path)
    name = FILE_NAME.fullmatch(path.name)
    return {
        "site": SITES[collection],
        "collection": collection,
        "subset": path.parent.name,
        "seq": name[1],
        "pid": name[2],
        "type": FOLDERS[path.parent.name][0],
    }


def _collection(relative_path):
    """Collection of a path that fits the grammar, known or not; None for any other path."""
    path = PurePosixPath(relative_path)
    folder = path.parent.parent.name
    fits = (
        FILE_NAME.fullmatch(path.name)
        and path.parent.name in FOLDERS
        and folder.startswith(COLLECTION_FOLDER_PREFIX)
    )
    return folder.removeprefix(COLLECTION_FOLDER_PREFIX) if fits else None


def unknown_collections(relative_paths) -> list:
    """Find what fits the archive's grammar but belongs to a collection that is not known.

    Parameters
    ----------
    relative_paths : iterable of str
        Files that `classify` takes for none of the data set's.

    Returns
    -------
    list of (str, DatasetError)
        Name to show and reason, one a collection; sorted.
    """
    n_files = collections.Counter(filter(None, map(_collection, relative_paths)))
    return [
        (
            f"collection {name}",
            errors.DatasetError(
                f"unknown collection {name!r}: its site is not known, its {n_files[name]} files "
                f"are left out; expected one of {', '.join(SITES)}",
                code="collection",
                expected=", ".join(SITES),
                found=name,
            ),
        )
        for name in sorted(n_files)
    ]


def sample_name(columns: dict) -> str:
    """Return the name of the sample that a file or row belongs to.

    Parameters
    ----------
    columns : dict
        Holds ``seq`` and ``pid``.

    Returns
    -------
    str
        For example ``01A002_60012875311``.
    """
    return f"{columns['seq']}_{columns['pid']}"


def subset(columns: dict) -> str:
    """Return train, val or test of a file or row, whose ``subset`` is a folder's name."""
    return FOLDERS[columns["subset"]][1]


def plain_row(row: dict) -> dict:
    """Make out the sample of a manifest row, and mend what spreadsheets do to its text.

    Parameters
    ----------
    row : dict
        A row of the archive manifest, all text.

    Returns
    -------
    dict
        ``subset`` is train, val or test. Where seq or pid is what a spreadsheet makes of the one
        in the file's name (12 of 0012, 100 of 01E002), the file's name counts.

    Raises
    ------
    DatasetError
        Site, collection, subset or type is none that the data set has, subset and type contradict,
        or seq or pid is no plain name.
    """
    plain = dict(row)
    name = FILE_NAME.fullmatch(PurePosixPath(row["file_path"]).name)
    for key, own in zip(("seq", "pid"), name.groups() if name else ()):
        if _is_spreadsheet_form(row[key], own):
            plain[key] = own
    known = {"site": SITES.values(), "collection": SITES, "subset": FOLDERS}
    for key, names in known.items():
        if plain[key] not in names:
            raise _odd_cell(row, key, " or ".join(dict.fromkeys(names)))
    for key in ("seq", "pid"):
        if not re.fullmatch(_PART, plain[key]):
            raise _odd_cell(row, key, _PART)
    file_type, plain["subset"] = FOLDERS[row["subset"]]
    if row["type"] != file_type:
        raise _odd_cell(row, "type", f"{file_type} ({row['subset']})")
    return plain


def _odd_cell(row, key, expected):
    return errors.DatasetError(
        f"{key} is {row[key]!r} in the manifest's row of {row['file_path']!r}, expected {expected}",
        code="manifest",
        expected=expected,
        found=row[key],
    )


def _is_spreadsheet_form(text, own):
    """Whether a spreadsheet that took a text for a number would show this one instead."""
    return bool(
        text != own
        and _NUMBER.fullmatch(own)
        and _is_float(text)
        and float(text) == float(f"{float(own):.{_SPREADSHEET_DIGITS}g}")
    )


def _is_float(text):
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) is not None


def row_faults(row: dict) -> list[errors.DatasetError]:
    """Find what is wrong with a sample beyond its rows' form: a site that is not its collection's.

    Parameters
    ----------
    row : dict
        From `plain_row`.
    """
    expected = SITES[row["collection"]]
    if row["site"] == expected:
        return []
    return [
        errors.DatasetError(
            f"site is {row['site']!r} in the manifest, but collection {row['collection']} comes "
            f"from {expected}",
            code="site",
            expected=expected,
            found=row["site"],
        )
    ]


def sample_dir(info: dict) -> PurePosixPath:
    """Return where a sample lies: ``Tongji/train-val/train/01A002_60012875311``.

    Parameters
    ----------
    info : dict
        From `plain_row`.
    """
    return PurePosixPath(info["site"], info["collection"], info["subset"], sample_name(info))


def trees(output_dir) -> list:
    """Return the folders in which a sample may lie already: there is one tree."""
    return [output_dir]

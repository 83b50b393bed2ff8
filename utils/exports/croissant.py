"""Croissant: a JSON-LD file that describes the finished data set (MLCommons, version 1.1)."""

import dataclasses
import fnmatch
import glob
import hashlib
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from utils import errors
from utils.arrays import geometry
from utils.exports import cases
from utils.facts import DataSet, patients
from utils.routines import dataset, split_choices, splits
from utils.storage import files, forms, manifest, nifti, workbook

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
# @id of each set of records; that of a field is samples/ID.
SAMPLES, LABELS, SPLITS = "samples", "labels", "splits"
MANIFEST, BINARY_MASKS = "manifest", "binary_masks"
_CROISSANT_TERMS = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty"),
    *("excludes", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path"),
    *("readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("sdVersion", "separator", "source", "subField", "transform", "unArchive", "value"),
)
# That of the specification, and of the library mlcroissant, which warns of any other.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
}
# NIfTI has no registered media type; the specification wants a page that defines it then.
_NIFTI = ["application/gzip", "https://nifti.nimh.nih.gov/nifti-1"]
_WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_SPLIT_CLASSES = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_NOT_IN_IDS = re.compile("[^A-Za-z0-9_.-]")


def _used(subset):
    """The subset; None for one that the split leaves out."""
    return None if subset in ("", *split_choices.LEFT_OUT) else subset


def _day(text):
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _whole(text):
    return int(forms.whole_number_text(text))


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _labels(text):
    return [int(value) for value in text.split(",")]


def _matrix(text):
    # JSON has no NaN.
    return [[_finite(number) for number in line] for line in geometry.affine_from_text(text)]


class _Kind(NamedTuple):
    """What a column holds: data type, how its text is read, what else is said of the field."""

    data_type: str | list[str]
    read: Callable[[str], object]
    more: dict = {}
    # For the message where it is something else.
    expected: str = ""


_TEXT, _DATE = _Kind("sc:Text", str), _Kind("sc:Date", _day)
_WHOLE = _Kind("sc:Integer", _whole, expected="a whole number")
_NUMBER = _Kind("sc:Float", _finite, expected="a number")
_SUBSET = _Kind(
    ["sc:Text", "cr:Split"], _used, {"references": {"field": {"@id": f"{SPLITS}/name"}}}
)
# Any other column is text.
_COLUMNS = {
    "subset": _SUBSET,
    "birth_date": _DATE,
    "acquisition_date": _DATE,
    "valid_labels": _Kind(
        ["sc:Integer", "cr:Label"],
        _labels,
        {
            "description": "labels that occur in the mask",
            "isArray": True,
            "arrayShape": "-1",
            "references": {"field": {"@id": f"{LABELS}/index"}},
        },
        "labels such as 0,1,2",
    ),
    **dict.fromkeys(("szx", "szy", "szz"), _WHOLE),
    **dict.fromkeys(("spx", "spy", "spz"), _NUMBER),
    "transform": _Kind(
        "sc:Float",
        _matrix,
        {"description": "voxel index to RAS+ mm", "isArray": True, "arrayShape": "4,4"},
        "4 x 4 numbers",
    ),
}
# Paths in the manifest; those of volume and mask become references to their files.
_PATHS = ("info", "volume", "mask")
_MODALITY = "modality"


@dataclasses.dataclass(frozen=True)
class About:
    """What the person who publishes the data says of it.

    DatasetError where there is no name, the version is not MAJOR.MINOR.PATCH, or the URL none of
    the web.
    """

    name: str
    version: str
    url: str

    def __post_init__(self):
        if not self.name.strip():
            reason = f"--dataset_name {self.name!r}: expected a name"
            raise errors.DatasetError(reason, code="name", found=self.name)
        if not _VERSION.fullmatch(self.version):
            reason = f"--dataset_version {self.version!r}: expected MAJOR.MINOR.PATCH such as 1.0.0"
            raise errors.DatasetError(reason, code="version", found=self.version)
        if not re.fullmatch(r"https?://\S+", self.url):
            reason = f"--url {self.url!r}: expected an address that begins with https://"
            raise errors.DatasetError(reason, code="url", found=self.url)


def about(
    facts: DataSet, page: Path | None, name: str | None, version: str, url: str | None
) -> About:
    """Make `About` of options, where they were given, and of the data set.

    DatasetError that names the fields of its page that Croissant cannot do without.
    """
    needed = {
        "description": facts.DESCRIPTION,
        "reference": url or facts.REFERENCE,
        "licence_url": facts.LICENCE_URL or facts.LICENCE,
        "creators": facts.CREATORS,
        "published": facts.PUBLISHED,
    }
    missing = ", ".join(field for field, content in needed.items() if not content)
    if missing:
        reason = f"{page}: Croissant needs what is missing here: {missing}; fill it in"
        raise errors.DatasetError(reason, file=page, code="page", found=missing)
    return About(
        facts.NAME if name is None else name, version, facts.REFERENCE if url is None else url
    )


@dataclasses.dataclass(frozen=True)
class Files:
    """Volume and mask of a sample as FileObjects, and patterns of its binary masks."""

    objects: list[dict]
    patterns: list[str]


def below(path: files.PathLike, folder: files.PathLike) -> str:
    """Write the path of a file relative to a folder above it, with ``/``; DatasetError elsewhere.

    What is published is a folder, and no address in the description may lead out of it.
    """
    # Data may be linked into the folder; and the folder itself may be named with and without links.
    for whole in (os.path.abspath, os.path.realpath):
        if Path(whole(path)).is_relative_to(whole(folder)):
            return Path(whole(path)).relative_to(whole(folder)).as_posix()
    fault = f"{path} does not lie below {os.path.abspath(folder)}, the folder of --output_file"
    reason = f"{fault}; choose a folder above all data and the manifest"
    raise errors.DatasetError(reason, file=path, code="path", expected=folder)


def file_object(key: str, name: str, size: int, sha256: str, encoding_format: object) -> dict:
    """Describe one file, its path relative to the description's folder."""
    return {
        "@type": "cr:FileObject",
        "@id": key,
        "name": name.rpartition("/")[2],
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": encoding_format,
        "sha256": sha256,
    }


def manifest_object(book: workbook.Workbook, folder: files.PathLike) -> dict:
    """Describe the manifest's workbook, as it was read."""
    sha256 = hashlib.sha256(book.content).hexdigest()
    return file_object(MANIFEST, below(book.path, folder), len(book.content), sha256, _WORKBOOK)


def describe_files(case: cases.Case, folder: files.PathLike, label_names: dict[int, str]) -> Files:
    """Take the checksums of volume and mask; see that the binary masks are there.

    All headers are read, and all files checked for their length. A DatasetError where one is
    missing or damaged, or does not lie below the folder.
    """
    found = {"volume": case.volume_path, "mask": case.mask_path}
    objects = [_checked(f"{case.id}_{kind}", path, folder) for kind, path in found.items() if path]
    patterns: dict[str, None] = {}
    for value, label_name in label_names.items():
        column = dataset.mask_column(value, label_name)
        if case.row.get(column):
            path = manifest.resolve(case.row[column], case.manifest_path, case.root_dir)
            nifti.read_header(path)
            name = below(path, folder)
            start = f"{glob.escape(name.rpartition('/')[0])}/{case.id}_mask"
            digits = "[0-9]" * max(2, len(str(value)))  # amos_0001_mask_old.nii.gz is of no label
            pattern = f"{start}_{digits}_*.nii.gz"
            fits = fnmatch.fnmatchcase(name, pattern)
            patterns[pattern if fits else glob.escape(name)] = None
    return Files(objects, list(patterns))


def _checked(key, path, folder):
    nifti.read_header(path)
    digest, size = hashlib.sha256(), 0
    for piece in files.pieces(path):
        digest.update(piece)
        size += len(piece)
    return file_object(key, below(path, folder), size, digest.hexdigest(), _NIFTI)


def read_splits(
    book: workbook.Workbook, selection: cases.Selection
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the splits to describe, {name: {ID: subset}}, and which of them are out of date.

    It is the one that the selection was read from; beside the published subsets all that the
    workbook has.
    """
    own = selection.column
    if own != "subset":
        found = {own: {case.id: case.subset for case in selection.cases}}
        return found, [own] if selection.is_out_of_date else []
    found = {name: cases.assigned(book, name) for name in splits.names(book)}
    is_judged = found and manifest.MAIN_SHEET in book.names
    old = splits.out_of_date(book, book.table(manifest.MAIN_SHEET)) if is_judged else []
    return found, old


def records(
    chosen: list[cases.Case],
    selection: cases.Selection,
    found: dict[str, dict[str, str]],
    facts: DataSet,
) -> list[dict]:
    """Make the sets of records: labels, subsets, and samples with all that the manifest says.

    `found` are the splits; a sample that one of them leaves out has no value there. A CasesError
    names all cells that do not hold what their column should; a DatasetError tells that there is
    no sample, or that two columns would have one name.
    """
    if not chosen:
        raise errors.DatasetError("no sample to describe: all are left out", code="empty")
    people = patients.group({case.id: case.row for case in selection.cases}, facts)
    taken = _metadata(selection, facts)
    fields = _fields(taken, found)
    keys = [field["@id"] for field in fields]
    faults: list[errors.DatasetError] = []
    data = []
    for case in chosen:
        values = [
            case.id,
            case.row.get(patients.COLUMN) or people[case.id],
            facts.modality(case.row),
            f"{case.id}_volume",
            f"{case.id}_mask" if case.row["mask"] else None,
            *(_value(case, name, facts, faults) for name in taken),
            *(_used(assigned.get(case.id, "")) for assigned in found.values()),
        ]
        data.append(dict(zip(keys, values)))
    if faults:
        raise errors.CasesError(faults)
    names = [case.row["subset"] for case in chosen]
    names += [assigned.get(case.id, "") for assigned in found.values() for case in chosen]
    return [
        _labels_set(selection.label_names),
        _splits_set(names),
        _record_set(SAMPLES, "one record for each scan", fields, data),
    ]


def _metadata(selection, facts):
    """The columns that go over as they are: all but ID, paths, existence of labels, and split.

    Metadata of the set that are called modality would be there twice.
    """
    masks = [dataset.mask_column(*key) for key in selection.label_names.items()]
    own = () if selection.column == "subset" else (selection.column,)
    others = {"ID", *_PATHS, *masks, *own, patients.COLUMN}
    others.update({_MODALITY}.intersection(facts.DATASET_KEYS))
    others.update(name + dataset.EXISTENCE for name in masks)
    return [name for name in selection.columns if name not in others]


def _fields(taken, found):
    """Describe the fields of a sample, in the order of their values."""
    reference = "@id of the FileObject"
    fields = [
        _field(SAMPLES, "ID"),
        _field(SAMPLES, patients.COLUMN, description="lowest ID of all scans of the patient"),
        _field(SAMPLES, _MODALITY, description="CT or MRI"),
        _field(SAMPLES, "volume", description=reference),
        _field(SAMPLES, "mask", description=reference),
    ]
    for name in taken:
        kind = _COLUMNS.get(name, _TEXT)
        fields.append(_field(SAMPLES, name, kind.data_type, **kind.more))
    fields += [_field(SAMPLES, name, _SUBSET.data_type, **_SUBSET.more) for name in found]
    keys = [field["@id"] for field in fields]
    double = sorted({field["name"] for field in fields if keys.count(field["@id"]) > 1})
    if double:
        reason = f"columns or splits that have one name in a description: {errors.listed(double)}"
        raise errors.DatasetError(f"{reason}; rename one", code="columns", found=double)
    return fields


def _field(record_set, name, data_type="sc:Text", **more):
    key = f"{record_set}/{_NOT_IN_IDS.sub('_', name)}"
    return {"@type": "cr:Field", "@id": key, "name": name, "dataType": data_type, **more}


def _record_set(key, description, fields, data, **more):
    return {
        "@type": "cr:RecordSet",
        "@id": key,
        "name": key,
        "description": description,
        "key": {"@id": fields[0]["@id"]},
        **more,
        "field": fields,
        "data": data,
    }


def _labels_set(label_names):
    fields = [_field(LABELS, "index", "sc:Integer"), _field(LABELS, "name")]
    data = [
        {f"{LABELS}/index": value, f"{LABELS}/name": name} for value, name in label_names.items()
    ]
    return _record_set(
        LABELS, "values of the multi-label masks", fields, data, dataType="sc:Enumeration"
    )


def _splits_set(names):
    fields = [_field(SPLITS, "name"), _field(SPLITS, "url", ["sc:URL", "cr:Split"])]
    there = split_choices.count(filter(_used, names))
    data = [
        {f"{SPLITS}/name": name, f"{SPLITS}/url": _SPLIT_CLASSES.get(name)}
        for name, count in there.items()
        if count
    ]
    return _record_set(SPLITS, "subsets of the splits", fields, data, dataType="cr:Split")


def _value(case, name, facts, faults):
    """What a cell says; None where that is not known. A fault joins the others."""
    kind, text = _COLUMNS.get(name, _TEXT), case.row[name]
    place = f"in the manifest's row of {case.id}"
    if name in facts.DATASET_KEYS:
        form = forms.plain(name, text)
        if form is None:
            faults.append(forms.fault(name, text, place))
        text = form or ""
    if text in ("", facts.UNDEFINED):
        return None
    try:
        return kind.read(text)
    except ValueError:
        faults.append(forms.fault(name, text, place, code="manifest", expected=kind.expected))
        return None


def build(
    about: About, described: list[Files], book_object: dict, record_sets: list[dict], facts: DataSet
) -> dict:
    """Make the content of the description."""
    patterns = [pattern for one in described for pattern in one.patterns]
    binary_masks = {
        "@type": "cr:FileSet",
        "@id": BINARY_MASKS,
        "name": BINARY_MASKS,
        "description": "one mask of 0 and 1 for each scan and label",
        "encodingFormat": _NIFTI,
        "includes": patterns,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": about.name,
        "description": facts.DESCRIPTION,
        "conformsTo": CONFORMS_TO,
        "license": facts.LICENCE_URL or facts.LICENCE,
        "url": about.url,
        **({"isBasedOn": facts.REFERENCE} if facts.REFERENCE else {}),
        "creator": [{"@type": "sc:Person", "name": name} for name in facts.CREATORS],
        "datePublished": facts.PUBLISHED,
        **({"citeAs": facts.CITATION} if facts.CITATION else {}),
        "version": about.version,
        "distribution": [
            book_object,
            *(found for one in described for found in one.objects),
            *([binary_masks] if patterns else []),
        ],
        "recordSet": record_sets,
    }

"""All 600 scans of AMOS22 in a few voxels each, with the official metadata and split.

What the table and dataset.json say is read here by plain means, without the code that is tested.
"""

import collections
import csv
import functools
import gzip
import itertools
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared/data"
TABLE = DATA / "labeled_data_meta_0000_0599.csv"
DATASET_JSON = DATA / "published/dataset.json"
MEASURED = DATA / "published/labelled_cases.csv"
PAIRS = DATA / "same_patient_pairs.csv"
IS_THERE = all(path.is_file() for path in (TABLE, DATASET_JSON, MEASURED, PAIRS))

SHAPE = (5, 6, 7)
FOLDERS = {"train": "Tr", "val": "Va", "test": "Ts"}
MRI_SCANNERS = ("Prisma", "Ingenia", "SIGNA HDe", "Achieva")


def _lines(path):
    with open(path, encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


@functools.cache
def scans():
    """{ID: row of the official table}, MRI ids put right, with its subset and modality."""
    subsets = _subsets()
    found = {}
    for line in _lines(TABLE):
        is_mri = line["Manufacturer's Model Name"].strip() in MRI_SCANNERS
        key = f"amos_{int(line['amos_id']) + is_mri:04d}"
        assert key not in found
        found[key] = {
            "modality": "MRI" if is_mri else "CT",
            "subset": subsets[key],
            "birth_date": line["Patient's Birth Date"],
            "sex": line["Patient's Sex"],
            "age": line["Patient's Age"] or "UND",
            "manufacturer_model_name": line["Manufacturer's Model Name"],
            "manufacturer": line["Manufacturer"],
            "acquisition_date": line["Acquisition Date"],
            "site": line["Site"],
        }
    assert found.keys() == subsets.keys()
    return dict(sorted(found.items()))


def metadata(scan):
    """The cells of a scan's row in the manifests."""
    return {key: text for key, text in scan.items() if key != "modality"}


def _subsets():
    lists = json.loads(DATASET_JSON.read_text(encoding="utf-8"))
    found = {}
    for name, subset in (("training", "train"), ("validation", "val"), ("test", "test")):
        for entry in lists[name]:
            path = entry["image"] if isinstance(entry, dict) else entry
            found[path.rpartition("/")[2].removesuffix(".nii.gz")] = subset
    return found


@functools.cache
def patients():
    """{ID: IDs of all scans with this birth date and sex}."""
    families = collections.defaultdict(list)
    for key, scan in scans().items():
        families[scan["birth_date"], scan["sex"]].append(key)
    return {key: tuple(keys) for keys in families.values() for key in keys}


def pairs():
    """Pairs of scans of one patient."""
    families = sorted(set(patients().values()))
    return sorted(pair for keys in families for pair in itertools.combinations(keys, 2))


def published_pairs():
    """Rows of the list of pairs that others can check."""
    return _lines(PAIRS)


@functools.cache
def measured():
    """{ID: what others measured in the labelled scan}."""
    return {line["case"]: line for line in _lines(MEASURED)}


def build(root):
    """Write the archive with its list and table below a folder."""
    for key, scan in scans().items():
        ending, number = FOLDERS[scan["subset"]], int(key[-4:])
        put(root / f"archive/amos22/images{ending}/{key}.nii.gz", _volume(number, scan))
        if scan["subset"] != "test":
            put(root / f"archive/amos22/labels{ending}/{key}.nii.gz", _labels(number, scan))
    shutil.copy(DATASET_JSON, root / "archive/amos22")
    shutil.copy(TABLE, root / "archive")
    (root / "descriptor").mkdir()
    shutil.copy(REPOSITORY / "descriptor_templates/label_map.yaml", root / "descriptor")


def _volume(number, scan):
    """Numbers that no two scans share; of MRI as floats."""
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) + number
    return values.astype(np.int16 if scan["modality"] == "CT" else np.float32)


def labels_in(number, scan):
    """Labels of a scan as published; in MRI 14 and 15 are rare."""
    rare = [(14, 10), (15, 7)] if scan["modality"] == "MRI" else [(14, 1), (15, 2)]
    return {*range(14), *(value for value, nth in rare if number % nth == 0)}


def _labels(number, scan):
    present = np.array(sorted(labels_in(number, scan)), np.uint16)
    return np.resize(present, SHAPE)


def put(path, data):
    """Write an image of `SHAPE`, quickly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _header(data.dtype) + data.tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1, mtime=0))


@functools.cache
def _header(dtype):
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(SHAPE)
    affine = np.array([[-40, 0, 0, 100], [0, 45, 0, -120], [0, 0, 50, -170], [0, 0, 0, 1.0]])
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header.set_xyzt_units("mm")
    header["vox_offset"] = len(header.binaryblock) + 4
    return header.binaryblock + bytes(4)

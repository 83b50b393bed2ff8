"""Tiny made-up archives in the layouts of the published sets that have a page, and their truth."""

import csv
import dataclasses
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import phantoms
import trees
from nifti_files import field, raw_image

from utils.facts import described

TEMPLATES = trees.REPOSITORY / "descriptor_templates"
PAGES = sorted(TEMPLATES.rglob("dataset.yaml"))
UNSUPPORTED = ("MSD/Task01_BrainTumour", "MSD/Task05_Prostate")
SHAPE = (7, 8, 9)
SPACING = (1.5, 2.0, 5.0)
_SIGNS = {**dict.fromkeys("RAS", 1), **dict.fromkeys("LPI", -1)}
_WORLD = {letter: axis for axis, pair in enumerate(("RL", "AP", "SI")) for letter in pair}


@dataclasses.dataclass(frozen=True)
class Scan:
    """What the data set must have of a scan: subset, values, labels (None without mask), affine."""

    subset: str
    volume: np.ndarray
    mask: np.ndarray | None
    affine: np.ndarray


@dataclasses.dataclass(frozen=True)
class Layout:
    """A published set: its page below the templates, what writes an archive, what nnU-Net reads."""

    page: str
    build: Callable
    channel: str = "CT"

    @property
    def path(self):
        return TEMPLATES / self.page / "dataset.yaml"

    @property
    def facts(self):
        return described.read(self.path)


def affine(codes="LPS", spacing=SPACING):
    """Affine whose axes run to these letters, with a corner off the origin."""
    made = np.eye(4)
    made[:3, 3] = (-11, 7, 30)
    made[:3, :3] = 0
    for axis, (letter, size) in enumerate(zip(codes, spacing)):
        made[_WORLD[letter], axis] = _SIGNS[letter] * size
    assert nib.aff2axcodes(made) == tuple(codes)
    return made


def values(number, dtype="int16"):
    """Voxels of a volume, others for each number."""
    return np.random.default_rng(number).integers(-1000, 1000, SHAPE).astype(dtype)


def labels(present, number=0):
    """Voxels of a mask: a block of each label in its place, background around."""
    made = np.zeros(SHAPE, np.uint8)
    inner = made[1:-1, 1:-1, 1:-1]
    places = np.arange(inner.size).reshape(inner.shape) + number
    for place, label in enumerate(present):
        inner[places % (len(present) + 1) == place] = label
    return made


def put(path, data, grid, **header_fields):
    """Write voxels as they shall lie in the file, .nii or .nii.gz."""
    raw = raw_image(data, field(**header_fields), affine=grid)
    phantoms.touch(path, gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def put_clutter(path):
    """Write what macOS leaves beside a file."""
    phantoms.touch(path.parent / f"._{path.name}", b"\0\5\x16\7 AppleDouble")


def _pair(archive, volume, mask, number, present, codes="LPS", dtype="int16", mask_dtype="uint8"):
    """Write a volume and, if it has a path, its mask; gives the voxels and the affine."""
    grid = affine(codes)
    data, truth = values(number, dtype), None
    put(archive / volume, data, grid)
    if mask:
        truth = labels(present, number)
        put(archive / mask, truth.astype(mask_dtype), grid)
    return data, truth, grid


# --- CT-ORG ---

SLOPE = 6 / 255


def ct_org(archive):
    """Unpadded numbers, float32, LAS, RAS and LPS, labels with a slope, affines without meaning."""
    volumes = {0: "volumes 0-49", 139: "volumes 100-139"}
    scans = {}
    for number, codes in {0: "RAS", 7: "LAS", 20: "LPS", 21: "LPS", 139: "RAS"}.items():
        name = f"{volumes.get(number, 'volumes 0-49')}/volume-{number}.nii.gz"
        mask = f"labels and README/labels-{number}.nii.gz"
        kinds = (range(1, 7), codes, "float32", "float32")
        scans[number] = _pair(archive, name, mask, number, *kinds)
    for number in (28, 47):
        data, truth, grid = values(number, "float32"), labels(range(1, 7), number), np.eye(4)
        put(archive / f"volumes 0-49/volume-{number}.nii.gz", data, grid)
        stored = np.rint(truth / SLOPE).astype(np.uint8)
        slope = {"scl_slope": SLOPE, "scl_inter": 0}
        put(archive / f"labels and README/labels-{number}.nii.gz", stored, grid, **slope)
        scans[number] = data, truth, grid
    phantoms.touch(archive / "labels and README/README.txt", b"CT-ORG")
    return {
        f"ct-org_{number:03d}": Scan("test" if number <= 20 else "train", *scan)
        for number, scan in scans.items()
    }


def zip_folders(archive):
    """Put each folder of an archive into a zip of its name, as a collection's download is."""
    for folder in sorted(path for path in archive.iterdir() if path.is_dir()):
        with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                packed.write(path, path.relative_to(archive).as_posix())
                path.unlink()
        folder.rmdir()


# --- FLARE22 ---


def flare22(archive):
    """Labelled scans, one of them plain .nii, unlabelled ones, and those for validation."""
    labelled, present = archive / "Training/FLARE22_LabeledCase50", range(1, 14)
    scans = {}
    for number, suffix in {1: ".nii.gz", 2: ".nii", 50: ".nii.gz"}.items():
        name = f"FLARE22_Tr_{number:04d}"
        paths = f"images/{name}_0000{suffix}", f"labels/{name}{suffix}"
        scan = Scan("train", *_pair(labelled, *paths, number, present))
        scans[f"flare22_train_{number:04d}"] = scan
    unlabelled = "Training/FLARE22_UnlabeledCase1-1000/Case_00001_0000.nii.gz"
    scan = Scan("unlabelled", *_pair(archive, unlabelled, "", 3, present))
    scans["flare22_unlabelled_00001"] = scan
    validation = "Validation/FLARETs_0001_0000.nii.gz"
    scans["flare22_val_0001"] = Scan("val", *_pair(archive, validation, "", 4, present))
    return scans


# --- BTCV ---


def btcv(archive):
    """RawData.zip, unpacked."""
    scans = {}
    for number in (1, 10, 40, 61):
        part, present = ("Testing", ()) if number > 40 else ("Training", range(1, 14))
        mask = f"label/label{number:04d}.nii.gz" if present else ""
        pair = _pair(
            archive / f"RawData/{part}", f"img/img{number:04d}.nii.gz", mask, number, present, "LAS"
        )
        scans[f"btcv_{number:04d}"] = Scan("train" if present else "test", *pair)
    return scans


# --- KiTS ---

# Axial slices along the first array axis, the head first.
KITS_CODES = "IPL"


def kits23(archive):
    """Cases with the masks that single people drew beside them."""
    scans = {}
    for number in (0, 160, 588):
        case = f"case_{number:05d}"
        files = f"{case}/imaging.nii.gz", f"{case}/segmentation.nii.gz"
        scan = _pair(archive / "dataset", *files, number, (1, 2, 3), KITS_CODES)
        single = f"{case}/instances/tumor_instance-1_annotation-1.nii.gz"
        put(archive / "dataset" / single, labels((1,)), scan[2])
        scans[case] = Scan("train", *scan)
    return scans


def kits21(archive):
    """Masks put together in three ways: the majority's is taken."""
    scans = {}
    for number in (0, 1, 299):
        case = f"case_{number:05d}"
        files = f"{case}/imaging.nii.gz", f"{case}/aggregated_MAJ_seg.nii.gz"
        scan = _pair(archive / "data", *files, number, (1, 2, 3), KITS_CODES)
        for way in ("AND", "OR"):
            other = labels((1,), number + 1)
            put(archive / f"data/{case}/aggregated_{way}_seg.nii.gz", other, scan[2])
        scans[case] = Scan("train", *scan)
    return scans


def kits19(archive):
    """The test cases have no mask."""
    scans = {}
    for number in (0, 209, 210):
        case = f"case_{number:05d}"
        mask = f"{case}/segmentation.nii.gz" if number < 210 else ""
        files = f"{case}/imaging.nii.gz", mask
        scan = _pair(archive / "data", *files, number, (1, 2), KITS_CODES, "float32")
        scans[case] = Scan("test" if number == 210 else "train", *scan)
    return scans


# --- Medical Segmentation Decathlon ---


def decathlon(task, prefix, present, training, test):
    """Make what builds a task: folders, dataset.json, and the clutter of its tar."""

    def build(archive):
        folder, scans = archive / task, {}
        for text in (*training, *test):
            where = "Tr" if text in training else "Ts"
            name, mask = f"{prefix}_{text}.nii.gz", ""
            if text in training:
                mask = f"labelsTr/{name}"
                put_clutter(folder / mask)
            pair = f"images{where}/{name}", mask, int(text), present, "LAS", "float32", "float32"
            subset = "train" if text in training else "test"
            scans[f"{prefix}_{int(text):03d}"] = Scan(subset, *_pair(folder, *pair))
            put_clutter(folder / pair[0])
        put_clutter(folder)
        _put_json(folder, prefix, training, test)
        return scans

    return build


def _put_json(folder, prefix, training, test):
    """Write dataset.json as the sets have it."""
    names = [f"{prefix}_{text}.nii.gz" for text in training]
    content = {
        "name": folder.name,
        "numTraining": len(training),
        "training": [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names
        ],
        "test": [f"./imagesTs/{prefix}_{text}.nii.gz" for text in test],
    }
    phantoms.touch(folder / "dataset.json", json.dumps(content).encode())


# --- TotalSegmentator ---

_V2_COLUMNS = (
    "image_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;pathology;"
    "pathology_location"
)
_V1_COLUMNS = "image_id;age;gender;institute;study_type;split"
# One scan of each subset; the age of the last is not known.
_PEOPLE = {"s0000": "65;m;H;ct thorax", "s0011": "40;f;A;ct abdomen", "s1429": ";f;B;ct"}


def totalsegmentator(page, columns, more):
    """Make what builds a version: a mask per organ, some of which overlap, and meta.csv."""

    def build(archive):
        names = described.read(TEMPLATES / page / "dataset.yaml").LABELS
        folder, lines, scans = archive / "Totalsegmentator_dataset", [columns], {}
        for subset, (seq, person) in zip(("train", "val", "test"), _PEOPLE.items()):
            number, grid = int(seq[1:]), affine("RAS", (1.5, 1.4, 1.3))
            truth = labels([*names][1:], number)
            data = values(number)
            put(folder / seq / "ct.nii.gz", data, grid)
            for label, name in [*names.items()][1:]:
                organ = (truth == label).astype(np.uint8)
                if label == 1:  # the later label wins where they overlap
                    organ |= truth == 2
                put(folder / seq / f"segmentations/{name}.nii.gz", organ, grid)
            lines.append(f"{seq};{person};{subset}{more}")
            scans[seq] = Scan(subset, data, truth, grid)
        text = "\r\n".join([*lines, ""])
        phantoms.touch(folder / "meta.csv", text.encode("utf-8-sig"))
        return scans

    return build


LAYOUTS = {
    "CT-ORG": Layout("CT-ORG", ct_org),
    "FLARE22": Layout("FLARE22", flare22),
    "BTCV": Layout("BTCV", btcv),
    "KiTS23": Layout("KiTS", kits23),
    "KiTS21": Layout("KiTS/KiTS21", kits21),
    "KiTS19": Layout("KiTS/KiTS19", kits19),
    "MSD-Task03_Liver": Layout(
        "MSD/Task03_Liver", decathlon("Task03_Liver", "liver", (1, 2), ("0", "28", "130"), ("132",))
    ),
    "MSD-Task04_Hippocampus": Layout(
        "MSD/Task04_Hippocampus",
        decathlon("Task04_Hippocampus", "hippocampus", (1, 2), ("001", "367"), ("267",)),
        "MRI",
    ),
    "TotalSegmentator-v2": Layout(
        "TotalSegmentator",
        totalsegmentator("TotalSegmentator", _V2_COLUMNS, ";SIEMENS;Force;100;tumor;liver"),
    ),
    "TotalSegmentator-v1": Layout(
        "TotalSegmentator/v1", totalsegmentator("TotalSegmentator/v1", _V1_COLUMNS, "")
    ),
}


def rows(path):
    """Rows of a CSV file as dicts."""
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def make(name, root):
    """Write the archive of a layout below a root; gives the truth, ID to Scan."""
    return LAYOUTS[name].build(Path(root, "archive"))

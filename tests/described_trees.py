"""Tiny archives of described data sets, of all kinds of pages, as each routine leaves them."""

import functools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import trees

SCAN = "described/01_gen_archive_manifest.py"
PAIR = "described/02_confirm_pairs.py"
EXTRACT = "described/03_extract_binary_masks.py"
INDEX = "described/04_gen_dataset_manifest.py"
MAKE_SPLIT = "described/05_make_split01_standard.py"
BY_PATIENT = "described/05_make_split02_by_patient.py"
FOLDS = "described/05_make_split03_folds.py"
LEAVE_OUT = "described/05_make_split04_leave_out.py"
LISTED = "described/05_make_split05_listed.py"
CUT = "described/06_extract_split_index_manifest.py"
DRAFT = "described/new_dataset.py"
GENERATE = "described/generate_sample_archive.py"

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
SPLIT = "ID,subset\ns0001,train\ns0002,train\ns0003,test\n"  # of the organs
_LABELS = "labels: {0: background, 1: liver, 2: spleen, 3: left kidney, 4: heart}\nmodality: CT\n"
# Kind of page -> its text.
PAGES = {
    # One mask per organ; split, sex, age and patient from a table.
    "organs": """name: Organs
files:
  volume: "{seq:s[0-9]+}/ct.nii.gz"
  mask: "{seq:s[0-9]+}/segmentations/{organ:[A-Za-z_]+}.nii.gz"
split: {by: column, column: split}
metadata:
  file: meta*.csv
  separator: ";"
  key: image_id
  columns: {sex: gender, age: age, institute: institute}
  patient: subject
""",
    # Channels, subsets in folders, the patient in the volume's name alone.
    "folders": """name: Folders
files:
  volume: "images{subset}/P{patient}_{seq}_{channel}.nii.gz"
  mask: "labels{subset}/{seq}.nii.gz"
  channel: "0000"
id: f_{seq:0>4}
split: {by: folder, subsets: {Tr: train, Ts: test}}
""",
    # Files in any folder, subsets by number; no patients.
    "numbers": """name: Numbers
files: {volume: "volume-{seq:[0-9]+}.nii.gz", mask: "labels-{seq:[0-9]+}.nii.gz"}
id: n_{seq:0>3}
split: {by: ids, subsets: {test: 0-1, train: "2-4, 9"}}
""",
    # Subsets by the lists of a JSON file.
    "json": """name: Lists
files:
  volume: ["imagesTr/{seq}.nii.gz", "imagesTs/{seq}.nii.gz"]
  mask: "labelsTr/{seq}.nii.gz"
split: {by: json, file: dataset.json, subsets: {training: train, test: test}}
labelled_subsets: [train]
""",
    # Dealt by patient, whom a table tells.
    "patient": """name: Dealt
files: {volume: "images/{seq}.nii.gz", mask: "labels/{seq}.nii.gz"}
split: {by: patient, val: 0.25, test: 0.25, seed: 3}
metadata: {file: people.csv, key: scan, patient: who}
""",
}
TABLE = """image_id;subject;gender;age;institute;split
s0001;p1;m;50;A;train
s0002;p1;m;51;A;train
s0003;p2;female;60;B;val
s0004;p3;f;61;B;train
s0005;p4;m;62;A;test
"""
ORGANS = ("liver", "spleen", "left_kidney", "heart")
# Where the organs of the sample archives lie: no two of them overlap.
BOXES = {
    "liver": np.s_[:3, :4, :5],
    "spleen": np.s_[4:, :4, 2:5],
    "left_kidney": np.s_[1:6, 5:, 1:4],
    "heart": np.s_[2:5, 2:6, 6:],
}
WITH = {name: label for label, name in enumerate(ORGANS, 1)}


def put(path, data, affine=AFFINE):
    """Write an image as other tools do, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def put_volume(path, seed=0):
    """Write a volume of noise."""
    return put(path, np.random.default_rng(seed).integers(-1000, 1000, SHAPE, np.int16))


def organ_data(name, dtype=np.uint8):
    """The mask of one organ."""
    data = np.zeros(SHAPE, dtype)
    data[BOXES[name]] = 1
    return data


def all_labels(names=ORGANS):
    """The mask of all labels."""
    return sum((organ_data(name) * np.uint8(WITH[name]) for name in names), np.zeros(SHAPE, "u1"))


def organ_path(root, seq, name):
    return root / f"archive/set/{seq}/segmentations/{name}.nii.gz"


def _organs(archive):
    for number, seq in enumerate(line[:5] for line in TABLE.splitlines()[1:]):
        put_volume(archive / f"set/{seq}/ct.nii.gz", number)
        for name in ORGANS:
            put(organ_path(archive.parent, seq, name), organ_data(name))
    (archive / "set/meta.csv").write_text(TABLE)


def _folders(archive):
    for number, (folder, patient) in enumerate((("Tr", 1), ("Tr", 1), ("Tr", 2), ("Ts", 2)), 1):
        for channel in ("0000", "0001"):
            put_volume(archive / f"images{folder}/P{patient}_{number}_{channel}.nii.gz", number)
        put(archive / f"labels{folder}/{number}.nii.gz", all_labels())


def _numbers(archive):
    for number in (0, 1, 2, 4):
        put_volume(archive / f"volumes {number // 2}/volume-{number}.nii.gz", number)
        put(archive / f"any/depth/labels-{number}.nii.gz", all_labels())


def _json(archive):
    lists = {"training": [], "test": []}
    for name in "abc":
        put_volume(archive / f"imagesTr/{name}.nii.gz", ord(name))
        put(archive / f"labelsTr/{name}.nii.gz", all_labels())
        pair = {kind: f"./{kind}sTr/{name}.nii.gz" for kind in ("image", "label")}
        lists["training"].append(pair)
    put_volume(archive / "imagesTs/d.nii.gz", 9)
    lists["test"].append("./imagesTs/d.nii.gz")
    (archive / "dataset.json").write_text(json.dumps(lists))


def _patient(archive):
    rows = ["scan,who"]
    for number, who in enumerate("aabccdefgh"):
        put_volume(archive / f"images/{number}.nii.gz", number)
        put(archive / f"labels/{number}.nii.gz", all_labels())
        rows.append(f"{number},{who}")
    (archive / "people.csv").write_text("\n".join(rows) + "\n")


_BUILDERS = {
    "organs": _organs,
    "folders": _folders,
    "numbers": _numbers,
    "json": _json,
    "patient": _patient,
}


def build_archive(root_dir, kind="organs"):
    """Write an archive and its page."""
    root = Path(root_dir)
    (root / "archive").mkdir(parents=True)
    _BUILDERS[kind](root / "archive")
    (root / "descriptor").mkdir()
    (root / "descriptor/dataset.yaml").write_text(PAGES[kind] + _LABELS)


_PAGE = "--dataset ROOT/descriptor/dataset.yaml"
_PAIRED = f"{_PAGE} --root_dir ROOT/grouped"
_INDEXED = "--manifest_file ROOT/grouped/dataset_manifest.xlsx"
_OF_PAGE = f"{_PAGE} {_INDEXED}"
_TEMPLATE = trees.REPOSITORY / "descriptor_templates/CT-ORG/dataset.yaml"
_COMMANDS = {
    SCAN: f"{_PAGE} --root_dir ROOT/archive"
    " --output_manifest_file ROOT/descriptor/archive_manifest.xlsx",
    PAIR: f"{_PAGE} --root_dir ROOT/archive --output_dir ROOT/grouped"
    " --archive_manifest ROOT/descriptor/archive_manifest.xlsx",
    EXTRACT: _PAIRED,
    INDEX: f"{_PAIRED} --output_manifest_file ROOT/grouped/dataset_manifest.xlsx",
    MAKE_SPLIT: _OF_PAGE,
    BY_PATIENT: _OF_PAGE,
    FOLDS: f"{_OF_PAGE} --folds 2",
    LEAVE_OUT: f"{_OF_PAGE} --split_name split04_no_b --by institute --values B",
    LISTED: f"{_OF_PAGE} --ids ROOT/descriptor/split05_listed.csv",
    CUT: f"{_INDEXED} --split_name split01_standard --output_index_manifest_dir ROOT/splits"
    " --subsets train test --subsets test",
    DRAFT: "--root_dir ROOT/archive --output -",
    GENERATE: f"--dataset {_TEMPLATE} --root_dir ROOT --samples 2 --shape 7 8 9",
}
_STATES = {
    "scanned": ("built", SCAN),
    "paired": ("scanned", PAIR),
    "extracted": ("paired", EXTRACT),
    "indexed": ("extracted", INDEX),
    "split": ("indexed", MAKE_SPLIT),
}
CHAINS = {
    kind: trees.Chain(functools.partial(build_archive, kind=kind), None, _COMMANDS, _STATES)
    for kind in PAGES
}
words, invoke, copy = CHAINS["organs"].words, CHAINS["organs"].invoke, CHAINS["organs"].copy


def page(root):
    return root / "descriptor/dataset.yaml"


def edit_page(root, *changes):
    """Replace texts of the page, in pairs of old and new."""
    text = page(root).read_text()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    page(root).write_text(text)


def archive_manifest(root):
    return root / "descriptor/archive_manifest.xlsx"


def dataset_manifest(root):
    return root / "grouped/dataset_manifest.xlsx"

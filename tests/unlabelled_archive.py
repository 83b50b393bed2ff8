"""A tiny archive of AMOS22 with unlabelled scans, laid out as published, in folders or zips."""

import csv
import shutil
import zipfile

import numpy as np
import tiny_amos22
import trees

from utils.facts import amos22

LABELLED_TABLE = "labeled_data_meta_0000_0599.csv"
# Zip as published -> the folder inside it, as others found it, and the scans in it here.
PARTS = {
    "amos22_unlabeled_ct_5000_5399.zip": ("amos_unlabeled_ct_5000_5399", (5000, 5001)),
    "amos22_unlabeled_ct_5400_5899.zip": ("amos_unlabeled_ct_5400_5899", (5438,)),
    "amos22_unlabeled_ct_6200_6899.zip": ("amos22_unlabeled_6200_6899", (6200,)),
    "amos22_unlabeled_mri_7000_8199.zip": ("amos22_unlabeled_mri_7000_8199", (7000,)),
}
UNLABELLED = tuple(f"amos_{number}" for _, numbers in PARTS.values() for number in numbers)
# 0001 and 5000 are of one patient, 0201 and 5001 of another. The id of an MRI row is one too low.
TABLES = {
    LABELLED_TABLE: (
        "1,19600102,F,062Y,Aquilion ONE,TOSHIBA,20200514,LGCH",
        "8,19610203,M,061Y,Optima CT660,GE,20200515,LGCH",
        "201,19620304,M,060Y,SOMATOM Force,SIEMENS,20200516,LGPH",
        "506,19630405,F,059Y,Prisma,SIEMENS,20200517,LGPH",
        "500,19640506,M,058Y,Ingenia,Philips,20200518,LGPH",
    ),
    "unlabeled_data_meta_5000_5399.csv": (
        "5000,19600102,F,061Y,Brilliance 64,Philips,20190514,LGCH",
        "5001,19620304,M,059Y,SOMATOM Definition AS+,SIEMENS,20190516,LGPH",
    ),
    "unlabeled_data_meta_5400_5899.csv": ("5438,19700101,F,,Aquilion ONE,TOSHIBA,20190517,LGPH",),
}
STEPS = (
    *(trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT, trees.INDEX),
    trees.MAKE_SPLIT,
)
_LABELLED = {"Tr": (1, 507), "Va": (8,), "Ts": (201,)}


def build(root):
    """Write the archive, its tables and the label map below a folder."""
    for ending, numbers in _LABELLED.items():
        for number in numbers:
            name = f"amos_{number:04d}.nii.gz"
            tiny_amos22.put(root / f"archive/amos22/images{ending}" / name, volume(number))
            if ending != "Ts":
                tiny_amos22.put(root / f"archive/amos22/labels{ending}" / name, labels(number))
    for folder, numbers in PARTS.values():
        for number in numbers:
            tiny_amos22.put(root / f"archive/{folder}/amos_{number}.nii.gz", volume(number))
    for name, rows in TABLES.items():
        write_table(root / "archive" / name, *rows)
    (root / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, root / "descriptor")


def finish(root):
    """Make the finished data set with them, by all routines; gives root."""
    build(root)
    assert trees.invoke(trees.SCAN, root, "--unlabelled").exit_code == 0
    for script in STEPS:
        result = trees.invoke(script, root)
        assert result.exit_code == 0, result.output
    return root


def volume(number):
    """Numbers that no two scans share."""
    return (np.arange(np.prod(tiny_amos22.SHAPE)).reshape(tiny_amos22.SHAPE) + number).astype("<i2")


def labels(number):
    """All labels as published."""
    return np.resize(np.arange(16, dtype="<u2") if number < 500 else np.arange(14), volume(0).shape)


def write_table(path, *rows):
    """Write a metadata table; rows are texts with commas."""
    with open(path, "w", encoding="utf-8", newline="") as handle:
        header = ["amos_id", *amos22.METADATA.values()]
        csv.writer(handle).writerows([header, *(row.split(",") for row in rows)])


def zip_up(root):
    """Put the folders of the archive into zips, as downloaded; the tables stay beside them."""
    archive = root / "archive"
    inside = {"amos22.zip": "amos22", **{name: folder for name, (folder, _) in PARTS.items()}}
    for name, folder in inside.items():
        with zipfile.ZipFile(archive / name, "w") as made:
            for path in sorted((archive / folder).rglob("*.nii.gz")):
                made.write(path, path.relative_to(archive).as_posix())
        shutil.rmtree(archive / folder)

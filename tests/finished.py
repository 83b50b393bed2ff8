"""The finished data set of the phantom archive, with its split, for what comes after routine 07."""

import functools
import os
import shutil
from pathlib import Path

import trees
from trees import CROISSANT as CROISSANT
from trees import DATALIST as DATALIST
from trees import NNUNET as NNUNET
from trees import run

from utils.facts import amos22
from utils.routines import split_choices, splits

SPLIT = "split01_standard"
FOLDS = "split03_folds"
# Of the whole set, CT and MRI.
MANIFESTS = {
    "whole": "dataset_manifest.xlsx",
    "CT": "AMOS-CT/dataset_manifest_amos_ct.xlsx",
    "MRI": "AMOS-MRI/dataset_manifest_amos_mri.xlsx",
}


def make(root):
    """Put the finished data set below a new folder, all three manifests with their split."""
    return shutil.copytree(_made(), root)


@functools.cache
def _made():
    return index(trees.copy("indexed", Path(trees.scratch("finished"), "finished")))


def index(root):
    """Run routines 05 and 06 for the whole set and both sub-data sets."""
    for name in MANIFESTS.values():
        path = root / "grouped" / name
        if not path.exists():
            call(trees.INDEX, "--root_dir", path.parent, "--output_manifest_file", path)
        call(trees.MAKE_SPLIT, "--manifest_file", path)
    return root


def copy(root, target):
    """Copy the finished data, the many binary masks as further names of the same files."""

    def put(source, path):
        return (os.link if "_mask_" in os.path.basename(source) else shutil.copy2)(source, path)

    return shutil.copytree(root, target, symlinks=True, copy_function=put)


def call(script, *words):
    """Run a script that must succeed; gives click's result."""
    result = run(script, *words)
    assert result.exit_code == 0, result.output
    return result


def source(root, which="whole"):
    """Options that name a manifest and its split."""
    return "--manifest_file", root / "grouped" / MANIFESTS[which], "--split_name", SPLIT


def change_subsets(root, changes, which="whole"):
    """Change a manifest's split by hand, {ID: subset}."""
    cells = {(SPLIT, name): subset for name, subset in changes.items()}
    trees.edit_cells(root / "grouped" / MANIFESTS[which], cells, SPLIT)


def add_folds(root, n_folds=2, which="whole", subsets=("train", "val")):
    """Add a split of folds to a manifest; gives the options that name both."""
    path = root / "grouped" / MANIFESTS[which]
    splits.make_sheet(path, FOLDS, split_choices.folds(amos22, n_folds, 0, subsets), amos22)
    return "--manifest_file", path, "--split_name", FOLDS


def next_steps(result):
    """The commands of nnU-Net that its export has printed, comments too."""
    _, _, text = result.stdout.partition("# Next, with nnU-Net v2:\n")
    return text.splitlines()

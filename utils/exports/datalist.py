"""MONAI's data list: a JSON file in the manner of the Medical Segmentation Decathlon."""

import os
from pathlib import Path

from utils.exports import cases
from utils.facts import DataSet
from utils.storage import files, holding, json_files

# Subset -> name of its list.
LISTS = {"train": "training", "val": "validation", "test": "testing"}


def build(
    chosen: list[cases.Case],
    label_names: dict[int, str],
    output_path: files.PathLike,
    n_folds: int,
    facts: DataSet,
) -> dict:
    """Make the content of a data list.

    Parameters
    ----------
    chosen : list of Case
        Those of train and val have masks.
    label_names : dict of int to str
    output_path : path-like
        Paths are relative to its folder.
    n_folds : int
        The training samples are numbered 0, 1, ... n_folds - 1, 0, ... by ID, for cross-validation
        within them. Less than two folds, or than two training samples: no folds.
    facts : module
        Facts of the data set; DATASET_KEYS and the ID become a sample's ``metadata``.

    Raises
    ------
    DatasetError
        Nothing to train on, or a sample's modality is unknown.

    Notes
    -----
    Metadata are nested: MONAI makes a path of any plain string for which a file or folder of that
    name exists, such as ``train``.
    """
    folder = Path(output_path).parent
    dealt = [case for case in cases.training(chosen) if case.subset != "val"]
    members = {
        "train": dealt,
        "val": cases.of_subset(chosen, "val"),
        "test": cases.of_subset(chosen, "test"),
    }
    n_folds = min(n_folds, len(dealt))
    folds = cases.cross_validation(dealt, n_folds, facts) if n_folds > 1 else {}
    lists = {
        name: [_item(case, folder, folds.get(case.id), facts) for case in members[subset]]
        for subset, name in LISTS.items()
    }
    return {
        **cases.heading(facts),
        "tensorImageSize": "3D",
        "modality": {"0": cases.modality(chosen, facts)},
        "labels": {str(value): name for value, name in label_names.items()},
        "numTraining": len(lists["training"]),
        "numTest": len(lists["testing"]),
        **lists,
    }


def _item(case, folder, fold, facts):
    item = {"image": cases.relative(case.volume_path, folder)}
    if case.mask_path is not None:
        item["label"] = cases.relative(case.mask_path, folder)
    if fold is not None:
        item["fold"] = fold
    keys = ("ID", *(key for key in facts.DATASET_KEYS if key in case.row))
    return {**item, "metadata": {key: case.row[key] for key in keys}}


def write(path: files.PathLike, content: dict, overwrite: bool = False) -> bool:
    """Write a data list from `build`; False where the file had these bytes.

    DatasetError for a file that was changed by hand, or that is no data list of ours, unless it is
    to be replaced.
    """
    files.make_dir(Path(path).parent)
    with holding.file(path):
        if os.path.lexists(path) and not overwrite:
            # A link to nothing is not ours either.
            if not os.path.exists(path) or json_files.unsealed(path) is None:
                raise json_files.changed(path)
        return files.put(path, json_files.sealed(content))

"""MONAI's data list: a JSON file in the manner of the Medical Segmentation Decathlon."""

import os
from pathlib import Path

from utils import errors
from utils.exports import cases
from utils.storage import files

# Subset -> name of its list.
LISTS = {"train": "training", "val": "validation", "test": "testing"}


def build(
    chosen: list[cases.Case],
    label_names: dict[int, str],
    output_path,
    n_folds: int,
    metadata_keys,
    facts,
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
    metadata_keys : sequence of str
        Columns that go into a sample's ``metadata``.
    facts : module
        Facts of the data set: NAME, DESCRIPTION, REFERENCE, LICENCE, ``modality(row)``.

    Returns
    -------
    dict

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
    members = {
        subset: [case for case in sorted(chosen, key=str) if case.subset == subset]
        for subset in LISTS
    }
    if not members["train"]:
        raise errors.DatasetError("the split has no training sample with a mask", code="empty")
    n_folds = min(n_folds, len(members["train"]))
    folds = {
        case.id: {"fold": number % n_folds}
        for number, case in enumerate(members["train"])
        if n_folds > 1
    }
    lists = {
        name: [
            _item(case, folder, folds.get(case.id, {}), metadata_keys) for case in members[subset]
        ]
        for subset, name in LISTS.items()
    }
    return {
        "name": facts.NAME,
        "description": facts.DESCRIPTION,
        "reference": facts.REFERENCE,
        "licence": facts.LICENCE,
        "tensorImageSize": "3D",
        "modality": {"0": cases.modality(chosen, facts)},
        "labels": {str(value): name for value, name in label_names.items()},
        "numTraining": len(lists["training"]),
        "numTest": len(lists["testing"]),
        **lists,
    }


def _item(case, folder, fold, metadata_keys):
    item = {"image": cases.relative(case.volume_path, folder)}
    if case.mask_path is not None:
        item["label"] = cases.relative(case.mask_path, folder)
    keys = ("ID", *(key for key in metadata_keys if key in case.row))
    return {**item, **fold, "metadata": {key: case.row[key] for key in keys}}


def write(path, content: dict, overwrite: bool = False) -> bool:
    """Write a data list, whole or not at all.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    content : dict
        From `build`.
    overwrite : bool
        Replace a file that was changed by hand, or that is no data list of ours.

    Returns
    -------
    bool
        False when the file was there with these bytes.

    Raises
    ------
    DatasetError
        Such a file, or it cannot be written.
    """
    if os.path.lexists(path) and not overwrite and cases.was_changed(path):
        raise errors.DatasetError(
            f"{path}: was changed by hand, or was not written here; move it "
            "away, or use --overwrite",
            file=path,
            code="changed",
        )
    files.make_dir(Path(path).parent)
    files.sweep(Path(path).parent, recursive=False)
    return cases.put(path, cases.sealed(content))

"""MONAI's data list: a JSON file in the manner of the Medical Segmentation Decathlon."""

from pathlib import Path

from utils import errors
from utils.exports import cases
from utils.facts import DataSet, patients
from utils.routines import split_choices
from utils.storage import files

# Subset -> name of its list.
LISTS = {"train": "training", "val": "validation", "test": "testing"}
# Folds that samples are dealt to where the split has none.
N_FOLDS = 5


def build(
    chosen: list[cases.Case],
    label_names: dict[int, str],
    output_path: files.PathLike,
    n_folds: int | None,
    facts: DataSet,
) -> dict:
    """Make the content of a data list.

    Parameters
    ----------
    chosen : list of Case
        Those of train, val and folds have masks.
    label_names : dict of int to str
    output_path : path-like
        Paths are relative to its folder.
    n_folds : int or None
        The training samples are dealt to so many folds, patients whole, for cross-validation within
        them: 0, 1 and so on, never more than there are patients; `N_FOLDS` for None. Less than two
        folds, or than two patients: no folds. A split's own folds stay, and None goes with them.
    facts : module
        Facts of the data set; DATASET_KEYS and the ID become a sample's ``metadata``.

    Raises
    ------
    DatasetError
        Nothing to train on, a sample's modality is unknown, a number of folds for a split that has
        its own, or not all of 0, 1 and so on have samples with masks.

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
    folds = _folds(dealt, n_folds, facts)
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


def build_unlabelled(chosen: list[cases.Case], output_path: files.PathLike, facts: DataSet) -> dict:
    """Make the content of a list of scans without labels, for self-supervised training.

    Its one list is called ``unlabelled``. Paths and metadata are as `build` has them; a mask that
    such a scan may have by now is no part of it. DatasetError where a modality is unknown.
    """
    folder = Path(output_path).parent
    items = [_item(case, folder, None, facts, with_label=False) for case in chosen]
    return {
        **cases.heading(facts),
        "tensorImageSize": "3D",
        "modality": {"0": cases.modality(chosen, facts)},
        split_choices.UNLABELLED: items,
    }


def _folds(dealt, n_folds, facts):
    """{ID: fold}; empty without folds."""
    if cases.has_folds(dealt):
        if n_folds is not None:
            reason = "--folds goes with a split without folds; this one has its own, which stay"
            raise errors.DatasetError(reason, code="folds", found=n_folds)
        return cases.cross_validation(dealt, 0, facts)
    people = {*patients.group({case.id: case.row for case in dealt}, facts).values()}
    n_folds = min(N_FOLDS if n_folds is None else n_folds, len(people))
    return cases.cross_validation(dealt, n_folds, facts) if n_folds > 1 else {}


def _item(case, folder, fold, facts, with_label=True):
    item = {"image": cases.relative(case.volume_path, folder)}
    if with_label and case.mask_path is not None:
        item["label"] = cases.relative(case.mask_path, folder)
    if fold is not None:
        item["fold"] = fold
    keys = ("ID", *(key for key in facts.DATASET_KEYS if key in case.row))
    return {**item, "metadata": {key: case.row[key] for key in keys}}

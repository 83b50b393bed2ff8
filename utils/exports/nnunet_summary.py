"""What an export for nnU-Net v2 says at its end: what is there, and what to type next."""

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from utils import errors
from utils.exports import cases, nnunet_raw
from utils.routines import split_choices

CONFIGURATION = "3d_fullres"
# Beside the folder nnUNet_raw, whatever that is called.
MADE = "nnUNet_preprocessed", "nnUNet_results", "nnUNet_predictions"
PREPROCESSED, RESULTS, PREDICTIONS = MADE
# Of the predictions, those of test samples that have masks; nnU-Net evaluates whole folders.
LABELLED = "labelled"


def contents(
    selection: cases.Selection,
    chosen: list[cases.Case],
    settings: nnunet_raw.Settings,
    new: nnunet_raw.Contents,
    removed: list[str],
) -> Iterator[str]:
    """Say how many samples of which subset are there, and which not; what was removed."""
    counts = split_choices.in_words(split_choices.count(case.subset for case in chosen))
    yield f"{settings.directory}: {counts}{selection.left_out}; mode {settings.mode}"
    if new.n_folds:
        yield f"{nnunet_raw.SPLITS_JSON}: {'; '.join(_folds(new))}"
    moved = [f"{old} is {new}" for new, old in enumerate(settings.kept) if new != old]
    if moved and not settings.ignored:
        yield f"Label files with numbers without gaps, as nnU-Net wants them: {', '.join(moved)}"
    if removed:
        yield f"Removed, of an earlier export: {errors.listed(removed)}"


def _folds(new):
    n_own = new.n_folds - new.n_dealt
    if n_own == 1:
        yield "fold 0 trains on train and validates on val"
    elif n_own:
        yield f"folds 0 to {n_own - 1} are those of the split"
    if new.n_dealt:
        yield f"folds {n_own} to {new.n_folds - 1} keep patients together"


def next_steps(
    chosen: list[cases.Case], settings: nnunet_raw.Settings, new: nnunet_raw.Contents
) -> Iterator[str]:
    """Yield the commands that plan, train, predict and evaluate what `chosen` was written to.

    What there is no reason for is left out, with a comment that says why.
    """
    directory = Path(os.path.abspath(settings.directory))
    home, number = directory.parent.parent, int(directory.name[len("Dataset") :][:3])
    yield "# Next, with nnU-Net v2:"
    yield f"export nnUNet_raw={_quoted(directory.parent)}"
    yield f"export {PREPROCESSED}={_quoted(home / PREPROCESSED)}"
    yield f"export {RESULTS}={_quoted(home / RESULTS)}"
    predictions = home / PREDICTIONS / directory.name
    yield from _moves(home, number)
    what = f"-d {number} -c {CONFIGURATION}"
    yield f"nnUNetv2_plan_and_preprocess {what} --verify_dataset_integrity --clean"
    if not new.n_folds:
        yield f"# no {nnunet_raw.SPLITS_JSON}: one network of all samples, none to validate on"
    folds = range(new.n_folds) if new.n_folds else ["all"]
    for fold in folds:
        yield f"nnUNetv2_train {number} {CONFIGURATION} {fold}"
    if not cases.of_subset(chosen, "test"):
        yield "# no nnUNetv2_predict: the split has no test samples"
        return
    if 0 < new.n_dealt < new.n_folds:
        yield "# not with fold 0, that of the split; its own prediction: -f 0 and another folder"
        folds = folds[1:]
    images = _quoted(directory / nnunet_raw.TEST_IMAGES)
    options = f"{what} -f {' '.join(map(str, folds))}"
    yield f"nnUNetv2_predict {options} -i {images} -o {_quoted(predictions)}"
    yield from _evaluation(chosen, directory / nnunet_raw.TEST_LABELS, predictions)


def _evaluation(chosen, labels_dir, predictions):
    tested = cases.of_subset(chosen, "test")
    labelled = [case for case in tested if case.row["mask"]]
    if not labelled:
        yield "# no nnUNetv2_evaluate_folder: no test sample has a mask"
        return
    evaluated = predictions
    if len(labelled) < len(tested):
        evaluated = predictions / LABELLED
        yield f"# {len(labelled)} of {len(tested)} test samples have a mask"
        yield f"mkdir -p {_quoted(evaluated)}"
        each = f"for label in {_quoted(labels_dir)}/*{nnunet_raw.FILE_ENDING}"
        copy = f'cp {_quoted(predictions)}/"${{label##*/}}" {_quoted(evaluated)}'
        yield f"{each}; do {copy}; done"
    plans = [predictions / name for name in ("dataset.json", "plans.json")]
    how = "-djfile {} -pfile {}".format(*map(_quoted, plans))
    yield f"nnUNetv2_evaluate_folder {_quoted(labels_dir)} {_quoted(evaluated)} {how}"


def _moves(home, number):
    """Commands that put aside, under one free word, what nnU-Net made of a set of this number.

    It stops at plans with other folds, validates on labels that are newer than ours, and replaces
    networks and predictions. Whatever it was, none of it is lost, and none mixed with the new.
    """
    start = f"Dataset{number:03d}"
    found = [path for place in MADE for path in sorted((home / place).glob(f"{start}*"))]
    if not found:
        return
    former = [path.name for place in MADE for path in (home / place).glob(f"former*_{start}*")]
    taken = {name.partition("_")[0] for name in former}
    aside = next(name for name in map("former{}".format, itertools.count(1)) if name not in taken)
    yield "# put aside what nnU-Net made before, which it would replace or stop at:"
    for path in found:
        # In front: nnU-Net stops where two names begin with the same number.
        yield f"mv {_quoted(path)} {_quoted(path.with_name(f'{aside}_{path.name}'))}"


def _quoted(path):
    """A path as a shell reads it; bytes that no terminal shows as bash understands them."""
    text = str(path)
    if errors.printable(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, os.fsencode(text))) + "'"


def _escaped(byte):
    is_plain = b" "[0] <= byte <= b"~"[0] and byte not in b"\\'"
    return chr(byte) if is_plain else f"\\{byte:03o}"

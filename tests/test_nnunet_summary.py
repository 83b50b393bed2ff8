"""What the nnU-Net export prints at its end; test_frameworks.py has nnU-Net run it."""

import json
import os
import shlex
import subprocess
import sys

import finished
import phantoms
import pytest

from utils.exports import nnunet_summary

LABELLED_TEST = {"amos_0008": "test", "amos_0554": "test"}
NAME = "Dataset007_AMOS22"
PLAN = "nnUNetv2_plan_and_preprocess -d 7 -c 3d_fullres --verify_dataset_integrity --clean"
# Stands in for nnU-Net: notes what it was called with, and predicts something.
STUB = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
names = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
folders = {{name: os.environ.get(name) for name in names}}
with open(os.environ["CALLS"], "a") as calls:
    called = json.dumps([Path(sys.argv[0]).name, *words])
    print(called, json.dumps(folders), sep="\\t", file=calls)
if "-o" in words:
    output = Path(words[words.index("-o") + 1])
    output.mkdir(parents=True, exist_ok=True)
    for path in Path(words[words.index("-i") + 1]).iterdir():
        (output / path.name.replace("_0000", "")).write_bytes(b"")
"""


@pytest.fixture(scope="module", name="made")
def finished_data(tmp_path_factory):
    return finished.make(tmp_path_factory.mktemp("summary") / "data set")


@pytest.fixture(name="root")
def copy_of_it(made, tmp_path):
    return finished.copy(made, tmp_path / "data set")


def export(root, *more, source=None):
    words = source or finished.source(root)
    place = ("--output_dir", root / "nnUNet_raw", "--dataset_id", 7, "--workers", 1)
    return finished.call(finished.NNUNET, *words, *place, *more)


def words_of(root, *lines):
    """The printed lines as the test writes them, with ROOT for the data's folder."""
    return [line.replace("ROOT", shlex.quote(str(root))[1:-1]) for line in lines]


def environment_lines(root):
    names = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
    return words_of(root, *(f"export {name}='ROOT/{name}'" for name in names))


def run_printed(result, folder):
    """Run the printed commands in bash with stubs; gives (its words, folders) of each call."""
    (folder / "bin").mkdir(parents=True)
    for name in ("plan_and_preprocess", "train", "predict", "evaluate_folder"):
        stub = folder / "bin" / f"nnUNetv2_{name}"
        stub.write_text(STUB)
        stub.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
    }
    done = subprocess.run(
        ["bash", "-euc", "\n".join(finished.next_steps(result))],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    calls = (folder / "calls").read_text().splitlines()
    return [tuple(map(json.loads, line.split("\t"))) for line in calls]


MADE = [f"{place}/{NAME}" for place in nnunet_summary.MADE]


def put_made(root, text, *places):
    """As nnU-Net leaves its plans, networks and predictions."""
    for place in places or MADE:
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place / "made.txt").write_text(text)


def made(root):
    """Folder below the root -> what `put_made` put there."""
    found = sorted(root.glob("nnUNet_*/*/made.txt"))
    return {path.parent.relative_to(root).as_posix(): path.read_text() for path in found}


def test_published_split(root):
    result = export(root)
    directory = root / "nnUNet_raw" / NAME
    assert result.stdout.splitlines()[:4] == [
        f"{directory}: 4 train, 2 val, 2 test; mode reference",
        "splits_final.json: fold 0 trains on train and validates on val",
        "samples: 2 done, 6 skipped as finished, 0 failed",
        "# Next, with nnU-Net v2:",
    ]
    images, predictions = f"nnUNet_raw/{NAME}/imagesTs", f"nnUNet_predictions/{NAME}"
    assert finished.next_steps(result) == [
        *environment_lines(root),
        PLAN,
        "nnUNetv2_train 7 3d_fullres 0",
        *words_of(
            root,
            f"nnUNetv2_predict -d 7 -c 3d_fullres -f 0 -i 'ROOT/{images}' -o 'ROOT/{predictions}'",
        ),
        "# no nnUNetv2_evaluate_folder: no test sample has a mask",
    ]


def test_quiet_prints_no_next_steps(root):
    assert export(root, "--quiet").stdout == ""


def test_every_fold_is_trained(root):
    result = export(root, "--folds", 3)
    assert (
        "splits_final.json: fold 0 trains on train and validates on val; "
        "folds 1 to 3 keep patients together\n"
    ) in result.stdout
    steps = finished.next_steps(result)
    assert steps[4:8] == [f"nnUNetv2_train 7 3d_fullres {fold}" for fold in range(4)]


def test_added_folds_predict_without_that_of_the_split(root):
    """An ensemble of all would be neither the published split nor a cross-validation."""
    steps = finished.next_steps(export(root, "--folds", 3))
    assert steps[8] == (
        "# not with fold 0, that of the split; its own prediction: -f 0 and another folder"
    )
    assert " -f 1 2 3 -i " in steps[9]


def test_folds_of_the_split(root):
    result = export(root, source=finished.add_folds(root))
    directory = root / "nnUNet_raw" / NAME
    assert result.stdout.splitlines()[:2] == [
        f"{directory}: 3 fold0, 3 fold1, 2 test; mode reference",
        "splits_final.json: folds 0 to 1 are those of the split",
    ]
    steps = finished.next_steps(result)
    assert steps[4:6] == ["nnUNetv2_train 7 3d_fullres 0", "nnUNetv2_train 7 3d_fullres 1"]
    assert " -f 0 1 -i " in steps[6]


def test_without_folds_one_network_is_trained_on_all(root):
    finished.change_subsets(root, {"amos_0008": "train", "amos_0554": "train"})
    result = export(root)
    assert result.stdout.splitlines()[1].startswith("samples: ")
    steps = finished.next_steps(result)
    assert steps[3:6] == [
        PLAN,
        "# no splits_final.json: one network of all samples, none to validate on",
        "nnUNetv2_train 7 3d_fullres all",
    ]
    assert " -f all -i " in steps[6]


def test_left_out_samples_are_counted(root):
    finished.change_subsets(
        root, {"amos_0201": "excluded", "amos_0001": "excluded", "amos_0539": "unlabelled"}
    )
    result = export(root)
    counts = "3 train, 2 val, 0 test; left out: 1 unlabelled, 2 excluded"
    where = root / "nnUNet_raw" / NAME
    assert result.stdout.splitlines()[0] == f"{where}: {counts}; mode reference"
    assert finished.next_steps(result)[-1] == (
        "# no nnUNetv2_predict: the split has no test samples"
    )


def test_a_test_set_with_masks_is_evaluated(root, tmp_path):
    finished.change_subsets(
        root, {**LABELLED_TEST, "amos_0201": "excluded", "amos_0539": "excluded"}
    )
    result = export(root)
    predictions = str(root / "nnUNet_predictions" / NAME)
    *_, (last, _) = run_printed(result, tmp_path / "run")
    assert last == [
        "nnUNetv2_evaluate_folder",
        str(root / "nnUNet_raw" / NAME / "labelsTs"),
        predictions,
        "-djfile",
        f"{predictions}/dataset.json",
        "-pfile",
        f"{predictions}/plans.json",
    ]


def test_of_a_test_set_those_with_masks_are_evaluated(root, tmp_path):
    """nnUNetv2_evaluate_folder looks for a label of every prediction, and stops without one."""
    finished.change_subsets(root, LABELLED_TEST)
    result = export(root)
    assert "# 2 of 4 test samples have a mask\n" in result.stdout
    *_, (last, _) = run_printed(result, tmp_path / "run")
    predictions = root / "nnUNet_predictions" / NAME
    assert last[1:3] == [
        str(root / "nnUNet_raw" / NAME / "labelsTs"),
        str(predictions / "labelled"),
    ]
    names = {path.name for path in (predictions / "labelled").iterdir()}
    assert names == {f"{name}.nii.gz" for name in LABELLED_TEST}
    assert len([*predictions.glob("*.nii.gz")]) == 4


ODD_NAMES = [
    "it's",
    "a $HOME `id` !",
    "two\nlines",
    b"no \xff UTF-8",
    "back\\slash\t'",
    "Größe",
    "-n",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_printed_commands_run_as_they_stand(root, tmp_path, name):
    finished.change_subsets(root, LABELLED_TEST)
    odd = root.rename(tmp_path / os.fsdecode(name))
    put_made(odd, "mine")
    result = export(odd, "--mode", "link", "--folds", 2)
    assert result.stdout.count("\n") == 19
    calls = run_printed(result, tmp_path / "run")
    assert made(odd) == {place.replace(NAME, f"former1_{NAME}"): "mine" for place in MADE}
    names = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
    assert all(folders == {name: str(odd / name) for name in names} for _, folders in calls)
    directory, predictions = odd / "nnUNet_raw" / NAME, odd / "nnUNet_predictions" / NAME
    assert [words for words, _ in calls] == [
        PLAN.split(),
        *(["nnUNetv2_train", "7", "3d_fullres", str(fold)] for fold in (0, 1)),
        [
            *"nnUNetv2_predict -d 7 -c 3d_fullres -f 0 1 -i".split(),
            str(directory / "imagesTs"),
            "-o",
            str(predictions),
        ],
        [
            "nnUNetv2_evaluate_folder",
            str(directory / "labelsTs"),
            str(predictions / "labelled"),
            "-djfile",
            str(predictions / "dataset.json"),
            "-pfile",
            str(predictions / "plans.json"),
        ],
    ]


def test_what_nnunet_made_before_is_moved_aside(root, tmp_path):
    """Its commands would delete, replace or mix it, and its planner stops at other folds."""
    assert "mv " not in export(root).stdout
    for number in (1, 2):
        put_made(root, f"run {number}")
        before, result = made(root), export(root)
        assert made(root) == before  # the export itself moves nothing
        lines = finished.next_steps(result)[3:7]
        assert lines[0].startswith("# ")
        pairs = [(place, place.replace(NAME, f"former{number}_{NAME}")) for place in MADE]
        assert lines[1:] == words_of(root, *(f"mv 'ROOT/{old}' 'ROOT/{new}'" for old, new in pairs))
        run_printed(result, tmp_path / f"run {number}")
        assert made(root) == {
            place.replace(NAME, f"former{earlier}_{NAME}"): f"run {earlier}"
            for place in MADE
            for earlier in range(1, number + 1)
        }


@pytest.mark.parametrize("place", MADE)
def test_what_is_moved_aside_gets_one_number_that_is_free(root, tmp_path, place):
    export(root)
    others = {MADE[0].replace(NAME, f"former1_{NAME}"), MADE[1].replace(NAME, f"former3_{NAME}")}
    put_made(root, "other", *others)
    taken = root / MADE[2].replace(NAME, f"former2_{NAME}")
    taken.parent.mkdir(exist_ok=True)
    phantoms.put_odd(taken, "link")
    put_made(root, "mine", place)
    run_printed(export(root), tmp_path / "run")
    aside = place.replace(NAME, f"former4_{NAME}")
    assert made(root) == {**dict.fromkeys(others, "other"), aside: "mine"}


def test_another_name_of_the_number_is_moved_aside_too(root, tmp_path):
    """Else nnU-Net finds two names of one number, though the raw folder is gone, and stops."""
    export(root)
    put_made(root, "mine", "nnUNet_results/Dataset007_Other", "nnUNet_results/Dataset008_Other")
    run_printed(export(root), tmp_path / "run")
    assert [*made(root)] == [
        "nnUNet_results/Dataset008_Other",
        "nnUNet_results/former1_Dataset007_Other",
    ]


def test_a_link_to_another_disk_is_moved_itself(root, tmp_path):
    export(root)
    put_made(tmp_path / "disk", "mine", MADE[1])
    (root / MADE[1]).parent.mkdir()
    (root / MADE[1]).symlink_to(tmp_path / "disk" / MADE[1])
    run_printed(export(root), tmp_path / "run")
    assert made(root) == {MADE[1].replace(NAME, f"former1_{NAME}"): "mine"}
    assert made(tmp_path / "disk") == {MADE[1]: "mine"}


def test_lines_that_are_pasted_again_lose_nothing(root, tmp_path):
    export(root)
    put_made(root, "first")
    result = export(root)
    run_printed(result, tmp_path / "run")
    put_made(root, "second")
    run_printed(result, tmp_path / "another run")
    assert sorted(path.read_text() for path in root.rglob("made.txt")) == [
        *3 * ["first"],
        *3 * ["second"],
    ]

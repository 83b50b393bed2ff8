"""Compatibility: nnU-Net, MONAI and TorchIO read what is exported for them.

Each test is skipped where its framework (requirements-frameworks.txt) is not installed.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import finished
import numpy as np
import phantoms
import pytest
import trees

from utils.reader import AMOS22

SHARED = Path(__file__).resolve().parents[2] / "shared/data"
EXPORTS = {
    301: ("whole", "--mode", "reference"),
    302: ("CT", "--mode", "link"),
    303: ("MRI", "--mode", "copy"),
    304: ("MRI", "--mode", "reference", "--ignore_labels", 14, 15, 16),
}
NORMALIZATION = {
    301: "ZScoreNormalization",
    302: "CTNormalization",
    303: "ZScoreNormalization",
    304: "ZScoreNormalization",
}
pytestmark = pytest.mark.slow("real packages")


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"{package} is not installed (requirements-frameworks.txt)",
    )


@pytest.fixture(scope="module", params=["sample archive", "real archive"])
def root(request, tmp_path_factory):
    """A finished data set of scans that are large enough for a network."""
    made = tmp_path_factory.mktemp("frameworks") / "data set"
    if request.param == "sample archive":
        phantoms.build_archive(made, shape=(48, 40, 36), spacing=(6.1, 6.2, 10.0))
    elif not (SHARED / "real_archive").is_dir():
        pytest.skip("../shared/data/real_archive is not there")
    else:
        shutil.copytree(SHARED / "real_archive", made / "archive", copy_function=shutil.copy)
        shutil.copy(next(SHARED.glob("labeled_data_meta_*.csv")), made)
    (made / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, made / "descriptor")
    for script in (trees.SCAN, trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL, trees.EXTRACT):
        assert trees.invoke(script, made).exit_code == 0
    finished.index(made)
    return made


NNUNET = """
import multiprocessing
import sys
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints, plan_experiments)
if __name__ == "__main__":
    # nnU-Net spawns its workers, and each would spend most of the time on importing it again.
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: fork
    numbers = [int(number) for number in sys.argv[1:]]
    extract_fingerprints(numbers, num_processes=2, check_dataset_integrity=True, clean=True)
    plan_experiments(numbers)
"""


@needs("nnunetv2")
def test_nnunet_verifies_fingerprints_and_plans(root, tmp_path):
    raw, preprocessed = root / "nnUNet_raw", tmp_path / "preprocessed"
    for number, (which, *more) in EXPORTS.items():
        finished.call(
            finished.NNUNET,
            *finished.source(root, which),
            "--output_dir",
            raw,
            "--dataset_id",
            number,
            *more,
        )
    environment = {
        **os.environ,
        "nnUNet_raw": str(raw),
        "nnUNet_results": str(tmp_path),
        "nnUNet_preprocessed": str(preprocessed),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", NNUNET, *map(str, EXPORTS)],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("verify_dataset_integrity Done.") == len(EXPORTS)
    assert "mismatch" not in done.stdout
    for number, expected in NORMALIZATION.items():
        (planned,) = preprocessed.glob(f"Dataset{number}_*")
        plans = json.loads((planned / "nnUNetPlans.json").read_text())
        assert plans["configurations"]["3d_fullres"]["normalization_schemes"] == [expected]
        splits = raw / planned.name / "splits_final.json"
        assert splits.exists() == (planned / "splits_final.json").exists()


@needs("monai")
def test_monai_loads_the_data_list(root):
    from monai import data as monai_data
    from monai import transforms

    path = root / "lists/datalist.json"
    finished.call(finished.DATALIST, *finished.source(root), "--output_file", path)
    dataset = AMOS22(root / "grouped")
    load = transforms.LoadImaged(keys=["image", "label"], allow_missing_keys=True)
    subsets = {"training": "train", "validation": "val", "testing": "test"}
    for key, subset in subsets.items():
        items = monai_data.load_decathlon_datalist(path, is_segmentation=True, data_list_key=key)
        monai_data.check_missing_files(items, ["image", "label"], allow_missing_keys=True)
        assert [item["metadata"]["ID"] for item in items] == list(dataset.split(subset))
        for item in items:
            sample, loaded = item["metadata"]["ID"], load(item)
            assert item["metadata"]["subset"] == subset  # not made a path
            assert np.array_equal(loaded["image"], dataset.image(sample))
            assert np.allclose(loaded["image"].affine, dataset.affine(sample), rtol=0, atol=1e-9)
            if dataset.has_mask(sample):
                assert np.array_equal(loaded["label"], dataset.mask(sample))
    properties = monai_data.load_decathlon_properties(path, ["modality", "labels", "numTraining"])
    assert properties["numTraining"] == len(dataset.split("train"))


@needs("torchio")
def test_torchio_takes_the_data_list(root):
    import torchio

    path = root / "lists/torchio.json"
    finished.call(finished.DATALIST, *finished.source(root), "--output_file", path)
    content, dataset = json.loads(path.read_bytes()), AMOS22(root / "grouped")
    for item in content["training"] + content["validation"]:
        subject = torchio.Subject(
            image=torchio.ScalarImage(path.parent / item["image"]),
            label=torchio.LabelMap(path.parent / item["label"]),
            **item["metadata"],
        )
        subject.check_consistent_space()
        sample = subject["ID"]
        assert np.array_equal(subject["label"].numpy()[0], dataset.mask(sample))
        assert np.array_equal(subject["image"].numpy()[0], dataset.image(sample))
        assert np.allclose(subject.spacing, dataset.spacing(sample), rtol=0, atol=1e-4)


def run_example(framework, root, folder, *replaced):
    """Run the example of the docs that imports a framework; gives what it prints."""
    text = (trees.REPOSITORY / "docs/exports.md").read_text(encoding="utf-8")
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.S)
        if f"import {framework}" in block or f"from {framework}" in block
    )
    for old, new in (("root_dir", str(root)), *replaced):
        assert old in code
        code = code.replace(old, new)
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning:__main__", "-c", code],
        cwd=folder,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(trees.REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("torchio")
def test_torchio_example_of_the_docs(root, tmp_path):
    assert run_example("torchio", root, tmp_path)


@needs("monai")
@pytest.mark.parametrize("which", ["CT", "MRI"])
def test_network_of_the_docs_learns(root, which, tmp_path):
    """The loss falls by half, and what was learnt is measured on the fold that was left out."""
    path = tmp_path / f"datalists/amos_{which.lower()}.json"
    finished.call(finished.DATALIST, *finished.source(root, which), "--output_file", path)
    if len(json.loads(path.read_bytes())["training"]) < 2:
        pytest.skip("too few scans for folds")
    printed = run_example("monai", tmp_path, tmp_path, ("amos_ct.json", path.name))
    losses = [float(text) for text in re.findall(r"^epoch \d+: loss (\S+)$", printed, re.M)]
    (dice,) = re.findall(r"^validation on fold 0: Dice (\S+)$", printed, re.M)
    assert len(losses) > 10 and np.isfinite(losses).all() and losses[-1] < losses[0] / 2
    assert 0 <= float(dice) <= 1

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
import nibabel as nib
import numpy as np
import phantoms
import pytest
import trees
import unlabelled_archive

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
    return finished_data(tmp_path_factory, request.param == "sample archive")


@pytest.fixture(scope="module", name="sample_root")
def finished_sample(tmp_path_factory):
    return finished_data(tmp_path_factory, is_sample=True)


def finished_data(tmp_path_factory, is_sample):
    made = tmp_path_factory.mktemp("frameworks") / "data set"
    if is_sample:
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


@pytest.fixture(scope="module", name="planned")
def planned_by_nnunet(root):
    """What nnU-Net has planned from all exports: its folder, and what it printed."""
    raw, preprocessed = root / "nnUNet_raw", root / "nnUNet_preprocessed"
    for number, (which, *more) in EXPORTS.items():
        place = ("--output_dir", raw, "--dataset_id", number)
        finished.call(finished.NNUNET, *finished.source(root, which), *place, *more)
    done = run_python(
        *("-c", NNUNET, *EXPORTS),
        nnUNet_raw=raw,
        nnUNet_results=root / "nnUNet_results",
        nnUNet_preprocessed=preprocessed,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return preprocessed, done.stdout


def run_python(*words, text=None, **variables):
    """Run this Python with further variables; gives what it printed."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            **{key: str(variables[key]) for key in variables},
        },
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )


@needs("nnunetv2")
def test_nnunet_verifies_fingerprints_and_plans(root, planned):
    preprocessed, printed = planned
    assert printed.count("verify_dataset_integrity Done.") == len(EXPORTS)
    assert "mismatch" not in printed
    for number, expected in NORMALIZATION.items():
        (folder,) = preprocessed.glob(f"Dataset{number}_*")
        plans = json.loads((folder / "nnUNetPlans.json").read_text())
        assert plans["configurations"]["3d_fullres"]["normalization_schemes"] == [expected]
        assert plans["image_reader_writer"] == "NibabelIOWithReorient"
        splits = root / "nnUNet_raw" / folder.name / "splits_final.json"
        assert splits.exists() == (folder / "splits_final.json").exists()


PREPROCESS = """
import json
import sys
import numpy as np
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
described, plans, *copies = map(json.loads, sys.argv[1:])
plain = {key: value for key, value in described.items() if key != "overwrite_image_reader_writer"}
for content in (described, plain):
    reader = determine_reader_writer_from_dataset_json(content, copies[0][0], verbose=False)
    manager = PlansManager({**plans, "image_reader_writer": reader.__name__})
    configuration = manager.get_configuration("3d_fullres")
    processor = configuration.preprocessor_class(verbose=False)
    ras, lps = [
        processor.run_case([image], label, manager, configuration, content)[:2]
        for image, label in copies
    ]
    print(reader.__name__, *map(np.array_equal, ras, lps))
"""


@needs("nnunetv2")
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_nnunet_takes_a_scan_and_its_turned_copy_for_the_same(root, planned, tmp_path, which):
    """With the reader that dataset.json names; nnU-Net's default takes them for mirror images."""
    (folder,) = planned[0].glob("Dataset301_*")
    described, plans = (folder / name for name in ("dataset.json", "nnUNetPlans.json"))
    name = list(json.loads(described.read_bytes())["dataset"])[which]
    copies = []
    for codes in ("RAS", "LPS"):
        paths = [tmp_path / f"{codes}_{kind}.nii.gz" for kind in ("volume", "mask")]
        for path in paths:
            source = trees.sample_dir(root, name) / path.name.replace(codes, name)
            nib.save(turned(nib.load(source), codes), path)
        copies.append(json.dumps([*map(str, paths)]))
    nowhere = dict.fromkeys(("nnUNet_raw", "nnUNet_results", "nnUNet_preprocessed"), tmp_path)
    texts = (path.read_text() for path in (described, plans))
    done = run_python("-c", PREPROCESS, *texts, *copies, **nowhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "NibabelIOWithReorient True True",
        "SimpleITKIO False False",
    ]


def turned(image, codes):
    """The same scan with its axes in another order or direction, by nibabel."""
    wanted = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted)
    found = image.as_reoriented(change)
    assert "".join(nib.aff2axcodes(found.affine)) == codes
    return found


# One worker each: scans are tiny.
FEW = {"nnUNet_n_proc_DA": 0, "nnUNet_def_n_proc": 1, "nnUNet_npp": 1, "nnUNet_nps": 1}


def run_printed(root, source, *more, further=lambda steps: []):
    """Export, run what was printed, and further commands; gives both results."""
    place = ("--output_dir", root / "nnUNet_raw", "--dataset_id")
    result = finished.call(finished.NNUNET, *source, *place, *more)
    script, steps = Path(__file__).with_name("nnunet_on_cpu.py"), finished.next_steps(result)
    return result, run_python(script, text="\n".join([*steps, *further(steps)]), **FEW)


def check_predictions(root, folder, names, n_labels):
    """Each prediction lies in the geometry of its scan, and holds nothing but labels."""
    assert {path.name for path in folder.glob("*.nii.gz")} == {f"{name}.nii.gz" for name in names}
    orientations = set()
    for name in names:
        predicted = nib.load(folder / f"{name}.nii.gz")
        volume = nib.load(trees.sample_dir(root, name) / f"{name}_volume.nii.gz")
        assert predicted.shape == volume.shape
        assert np.allclose(predicted.affine, volume.affine, rtol=0, atol=1e-3)
        assert set(np.unique(predicted.dataobj)) <= set(range(n_labels))
        orientations.add("".join(nib.aff2axcodes(volume.affine)))
    return orientations


@needs("nnunetv2")
def test_nnunet_trains_and_predicts_as_printed(sample_root):
    root = sample_root
    more = (402, "--ignore_labels", 14, 15, 16)
    result, done = run_printed(root, finished.source(root), *more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "This split has 4 training and 2 validation cases." in done.stdout
    assert "no test sample has a mask" in finished.next_steps(result)[-1]
    predictions = root / "nnUNet_predictions/Dataset402_AMOS22"
    assert check_predictions(root, predictions, ("amos_0201", "amos_0539"), 14) - {"RAS"}


@needs("nnunetv2")
def test_nnunet_trains_and_predicts_folds_as_printed(sample_root):
    """Two folds of train alone: the samples of val are of test then, and have masks."""
    root = sample_root
    source = finished.add_folds(root, 2, "CT", subsets=("train",))

    def of_all_predictions(steps):
        """Evaluate all of them, though one has no label: what is printed has its reason."""
        return [f"! {steps[-1].replace('/labelled', '')}"]

    result, done = run_printed(root, source, 401, further=of_all_predictions)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("This split has 1 training and 1 validation cases.") >= 2
    predictions = root / "nnUNet_predictions/Dataset401_AMOS22"
    check_predictions(root, predictions, ("amos_0008", "amos_0201"), 17)
    assert "No such file" in done.stderr and "labelsTs/amos_0201.nii.gz" in done.stderr
    summary = json.loads((predictions / "labelled/summary.json").read_bytes())
    (case,) = summary["metric_per_case"]
    assert Path(case["reference_file"]).name == "amos_0008.nii.gz"
    reference = trees.voxels(trees.mask_path(root, "amos_0008"))
    assert case["metrics"]["6"]["n_ref"] == (reference == 6).sum() > 0
    assert "# 1 of 2 test samples have a mask" in finished.next_steps(result)
    # Another split under the same number: nnU-Net would stop at the plans that are there.
    _, done = run_printed(root, finished.source(root, "CT"), 401)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "This split has 2 training and 1 validation cases." in done.stdout
    check_predictions(root, predictions, ("amos_0201",), 17)
    assert (predictions.with_name(f"former1_{predictions.name}") / "labelled").is_dir()


TAKE_FOLDS = """
import sys
from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
for number in range(3):
    try:
        default_experiment_planner._maybe_copy_splits_file(sys.argv[1], sys.argv[2 + number])
        print("taken")
    except (AssertionError, IndexError) as error:
        print(type(error).__name__)
"""


@needs("nnunetv2")
def test_nnunet_stops_at_other_folds(tmp_path):
    fold, other = {"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]}
    there = {"same": [fold, other], "fewer": [fold], "others": [other, fold]}
    for name, folds in there.items():
        (tmp_path / name).write_text(json.dumps(folds))
    (tmp_path / "new").write_text(json.dumps([fold, other]))
    nowhere = dict.fromkeys(("nnUNet_raw", "nnUNet_results", "nnUNet_preprocessed"), tmp_path)
    paths = [tmp_path / name for name in ("new", *there)]
    done = run_python("-c", TAKE_FOLDS, *paths, **nowhere)
    assert done.stdout.splitlines() == ["taken", "IndexError", "AssertionError"], done.stderr


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


@needs("monai")
def test_monai_loads_the_list_of_unlabelled_scans(tmp_path):
    from monai import data as monai_data
    from monai import transforms

    root = unlabelled_archive.finish(tmp_path / "root dir")
    path = root / "lists/unlabelled.json"
    finished.call(finished.DATALIST, *finished.source(root), "--unlabelled", "--output_file", path)
    items = monai_data.load_decathlon_datalist(path, data_list_key="unlabelled")
    monai_data.check_missing_files(items, ["image"])
    dataset = AMOS22(root / "grouped")
    assert [item["metadata"]["ID"] for item in items] == list(dataset.split("unlabelled"))
    load = transforms.LoadImaged(keys=["image"])
    for item in items:
        loaded, sample = load(item), item["metadata"]["ID"]
        assert item["metadata"]["subset"] == "unlabelled"  # not made a path
        assert np.array_equal(loaded["image"], dataset.image(sample))


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

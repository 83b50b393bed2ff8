"""The MONAI data list as a person makes it; MONAI itself reads it in test_frameworks.py."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import finished
import phantoms
import pytest
import trees

from utils.exports import datalist
from utils.facts import amos22
from utils.routines import split_choices, splits
from utils.storage import workbook

LISTS = {
    "training": ["amos_0001", "amos_0004", "amos_0507", "amos_0540"],
    "validation": ["amos_0008", "amos_0554"],
    "testing": ["amos_0201", "amos_0539"],
}


@pytest.fixture(scope="module", name="made")
def finished_data(tmp_path_factory):
    return finished.make(tmp_path_factory.mktemp("datalist") / "data set")


@pytest.fixture(name="root")
def copy_of_it(made, tmp_path):
    root = finished.copy(made, tmp_path / "data set")
    shutil.rmtree(root / "lists", ignore_errors=True)  # of a test that wrote into the original
    return root


def words(root, *more, which="whole"):
    return (*finished.source(root, which), "--output_file", root / "lists/datalist.json", *more)


def export(root, *more, which="whole"):
    """Export, which must succeed; gives the file and its content."""
    finished.call(finished.DATALIST, *words(root, *more, which=which))
    path = root / "lists/datalist.json"
    return path, json.loads(path.read_bytes())


def ids(items):
    return [item["metadata"]["ID"] for item in items]


def test_lists_and_their_files(made):
    path, content = export(made)
    assert list(datalist.LISTS.values()) == list(LISTS)
    for name, expected in LISTS.items():
        assert ids(content[name]) == expected
        for item in content[name]:
            sample = trees.sample_dir(made, item["metadata"]["ID"])
            stem = item["metadata"]["ID"]
            assert (path.parent / item["image"]).samefile(sample / f"{stem}_volume.nii.gz")
            assert not Path(item["image"]).is_absolute()
            if name != "testing":
                assert (path.parent / item["label"]).samefile(sample / f"{stem}_mask.nii.gz")
            else:
                assert "label" not in item


def test_properties(made):
    _, content = export(made)
    assert list(content) == [
        "name",
        "description",
        "reference",
        "licence",
        "tensorImageSize",
        "modality",
        "labels",
        "numTraining",
        "numTest",
        *LISTS,
        "sha256",
    ]
    assert content["modality"] == {"0": "CT_or_MRI"}
    assert (content["labels"]["0"], content["labels"]["16"]) == ("background", "uterus")
    assert (len(content["labels"]), content["numTraining"], content["numTest"]) == (17, 4, 2)


@pytest.mark.parametrize("which", ["CT", "MRI"])
def test_modality_of_the_sub_data_sets(made, which):
    _, content = export(made, "--overwrite", which=which)
    assert content["modality"] == {"0": which}


def test_plain_strings_are_paths_only(made):
    # MONAI would make a path of "train" where there is a folder of that name.
    _, content = export(made)
    plain = {
        key
        for items in (content[name] for name in LISTS)
        for item in items
        for key, value in item.items()
        if isinstance(value, str)
    }
    assert plain == {"image", "label"}
    first = content["training"][0]["metadata"]
    assert (first["subset"], first["sex"], first["seq"]) == ("train", "F", "0001")


@pytest.mark.parametrize(
    "folds, expected",
    [(0, [None] * 4), (1, [None] * 4), (2, [0, 1, 0, 1]), (3, [0, 1, 2, 0]), (5, [0, 1, 2, 3])],
)
def test_folds_are_continuous_from_0(made, folds, expected):
    _, content = export(made, "--folds", folds)
    found = Counter(item.get("fold") for item in content["training"])
    assert found == Counter(expected)
    assert not any("fold" in item for item in content["validation"] + content["testing"])


def folds_of(content):
    return {item["metadata"]["ID"]: item.get("fold") for item in content["training"]}


def make_one_patient(root, *names):
    """Give women's scans one birth date; the split is made again."""
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {("birth_date", name): "19600102" for name in names}, "Manifest")
    finished.call(trees.MAKE_SPLIT, "--manifest_file", path)


@pytest.mark.parametrize("n_folds", [2, 3, 5, None])
def test_scans_of_a_patient_are_in_one_fold_and_no_fold_lacks_a_patient(root, n_folds):
    make_one_patient(root, "amos_0001", "amos_0540")
    path, content = export(root, *(() if n_folds is None else ("--folds", n_folds)))
    found = folds_of(content)
    assert found["amos_0001"] == found["amos_0540"]
    assert {*found.values()} == {*range(min(n_folds or 5, 3))}


def test_one_patient_cannot_be_dealt_to_folds(root):
    make_one_patient(root, "amos_0001", "amos_0540")
    manifest = root / "grouped/dataset_manifest.xlsx"
    others = {(finished.SPLIT, name): "test" for name in ("amos_0004", "amos_0507")}
    trees.edit_cells(manifest, others, finished.SPLIT)
    _, content = export(root)
    assert folds_of(content) == {"amos_0001": None, "amos_0540": None}


def make_folds(root, number, **changes):
    """Add the split ``split03_folds``; `changes` are other subsets of some samples."""
    path = root / "grouped/dataset_manifest.xlsx"

    def choose(table):
        return {**split_choices.folds(amos22, number, 0)(table), **changes}

    splits.make_sheet(path, "split03_folds", choose, amos22)
    return splits.Split(path, "split03_folds", workbook.Workbook(path).table("split03_folds"))


def test_folds_of_the_split_stay(root):
    subsets = make_folds(root, 3, amos_0201="excluded").subsets
    result = finished.call(finished.DATALIST, *words(root, "--split_name", "split03_folds"))
    content = json.loads((root / "lists/datalist.json").read_bytes())
    assert {name: f"fold{number}" for name, number in folds_of(content).items()} == {
        name: subsets[name] for name in trees.ANNOTATED
    }
    assert {*folds_of(content).values()} == {0, 1, 2}
    assert (content["validation"], ids(content["testing"])) == ([], ["amos_0539"])
    counts = "training 6, validation 0, testing 1; left out: 1 excluded"
    assert result.stdout.splitlines()[0] == f"{root / 'lists/datalist.json'}: {counts}"


@pytest.mark.parametrize("number", [0, 3, 5])
def test_another_number_of_folds_than_the_split_has_is_refused(root, number):
    make_folds(root, 3)
    more = "--split_name", "split03_folds", "--folds", number
    result = finished.run(finished.DATALIST, *words(root, *more))
    told = "--folds goes with a split without folds; this one has its own, which stay"
    assert (result.exit_code, result.stderr) == (2, f"Error: {told}\n")
    assert not (root / "lists").exists()


def test_a_fold_without_samples_is_refused(root):
    subsets = make_folds(root, 3).subsets
    gone = {name: "test" for name, subset in subsets.items() if subset == "fold1"}
    make_folds(root, 3, **gone)
    result = finished.run(finished.DATALIST, *words(root, "--split_name", "split03_folds"))
    told = "the split's samples with masks are in fold0, fold2; expected fold0, fold1 and so on"
    assert (result.exit_code, result.stderr) == (2, f"Error: {told}\n")
    assert not (root / "lists").exists()


def test_a_sample_of_a_fold_without_a_mask_is_named(root):
    make_folds(root, 2)
    manifest = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(manifest, {("mask", "amos_0507"): None}, "split03_folds")
    result = finished.call(finished.DATALIST, *words(root, "--split_name", "split03_folds"))
    (line,) = trees.complaints(result, "WARNING")[1:]  # the first: it differs from Manifest
    assert line.startswith("WARNING amos_0507: belongs to fold")
    assert line.endswith(" and has no mask; it is left out")
    content = json.loads((root / "lists/datalist.json").read_bytes())
    assert folds_of(content).keys() == {*trees.ANNOTATED} - {"amos_0507"}


def test_second_run_changes_nothing(root):
    path, _ = export(root)
    before = trees.identities(path.parent)
    export(root)
    assert trees.identities(path.parent) == before


def test_another_split_replaces_the_file(root):
    _, whole = export(root)
    _, content = export(root, which="CT")
    assert ids(content["training"]) == ["amos_0001", "amos_0004"] != ids(whole["training"])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"fold": 1', '"fold": 2'),
        lambda text: "[1, 2]",
        lambda text: "no JSON",
        lambda text: "{}",
    ],
)
def test_hand_made_changes_are_refused(root, change):
    path, _ = export(root)
    before = path.read_text()
    path.write_text(change(before))
    changed = path.read_text()
    result = finished.run(finished.DATALIST, *words(root))
    assert (result.exit_code, path.read_text()) == (2, changed)
    assert "datalist.json: was changed by hand, or was not written here" in result.stderr
    export(root, "--overwrite")
    assert path.read_text() == before != changed


ODD_JSON = {
    "list": b"[]",
    "number": b"1",
    "text": b'"sha256"',
    "null": b"null",
    "infinity": b'{"sha256": Infinity}',
    "deep": b"[" * 100_000,
    "deep table": b'{"sha256": "", "a": ' + b"[" * 900 + b"]" * 900 + b"}",
    "long number": b"9" * 5000,
    "no UTF-8": b'{"sha256": "\xff"}',
    "byte order mark": b'\xef\xbb\xbf{"sha256": ""}',
    "lone surrogate": b'{"a": "\\ud800", "sha256": ""}',
}


@pytest.mark.parametrize("kind", ODD_JSON)
def test_json_of_another_shape_is_refused(root, kind):
    path = phantoms.touch(root / "lists/datalist.json", ODD_JSON[kind])
    result = finished.run(finished.DATALIST, *words(root))
    assert (result.exit_code, path.read_bytes()) == (2, ODD_JSON[kind])
    assert result.stderr.startswith(f"Error: {path}: was changed by hand, or was not written here")
    assert result.stderr.count("\n") == 1


def test_a_key_twice_is_a_change_by_hand(root):
    path, _ = export(root)
    text = path.read_text().replace('"numTest": 2', '"numTest": 9,\n  "numTest": 2')
    path.write_text(text)
    result = finished.run(finished.DATALIST, *words(root))
    assert (result.exit_code, path.read_text()) == (2, text)
    assert "was changed by hand" in result.stderr


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing"])
def test_what_is_no_file_is_named(root, kind):
    path = root / "lists/datalist.json"
    phantoms.put_odd(path, kind)
    fault = "is a folder" if kind == "folder" else "is no file (a pipe, a device, or a link to"
    for more in ((), ("--overwrite",)):
        result = finished.run(finished.DATALIST, *words(root, *more))
        assert result.exit_code == 2 and f"{path} {fault}" in result.stderr
    assert not trees.leftovers(root) and os.path.lexists(path) and not path.is_file()


def test_a_folder_whose_name_is_no_utf_8(root, tmp_path):
    odd = root.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    path = tmp_path / "list.json"
    finished.call(finished.DATALIST, *finished.source(odd), "--output_file", path)
    for item in json.loads(path.read_text(encoding="utf-8"))["training"]:
        assert (tmp_path / item["image"]).is_file()


def test_missing_file_is_named_and_the_earlier_list_stays(root):
    path, _ = export(root)
    before = path.read_bytes()
    trees.mask_path(root, "amos_0001").unlink()
    result = finished.run(finished.DATALIST, *words(root, "--folds", 2))
    assert result.exit_code == 1
    assert result.stderr.startswith("FAILED amos_0001: ")
    assert path.read_bytes() == before


def test_nothing_to_train_on(root):
    manifest = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(
        manifest, {(finished.SPLIT, name): "test" for name in LISTS["training"]}, finished.SPLIT
    )
    result = finished.run(finished.DATALIST, *words(root))
    assert result.exit_code == 2
    assert "no training sample" in result.stderr
    assert not (root / "lists").exists()


def test_output_behind_a_symbolic_link(root, tmp_path):
    (tmp_path / "far/away").mkdir(parents=True)
    (root / "lists").symlink_to(tmp_path / "far/away")
    path, content = export(root)
    for item in content["training"]:
        # As MONAI does it: the names are joined, then shortened.
        assert os.path.isfile(os.path.normpath(os.path.join(path.parent, item["image"])))


def test_from_another_directory_without_image_libraries(root, run_python):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(sorted({'nibabel', 'scipy', 'cc3d', 'tqdm'} & set(sys.modules)))"
    )
    done = run_python(
        code,
        trees.REPOSITORY / finished.DATALIST,
        "--manifest_file",
        "dataset_manifest.xlsx",
        "--split_name",
        finished.SPLIT,
        "--output_file",
        "list.json",
        cwd=root / "grouped",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n[]\n")
    content = json.loads((root / "grouped/list.json").read_bytes())
    assert content["training"][0]["image"].startswith("AMOS-CT/train/Aquilion ONE/")

"""Predictions in the report: Dice by hand, names and numbers, what cannot be compared."""

import base64
import gzip
import json
import shutil
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import report_data
import trees

from utils import errors
from utils.qc import agreement, plotting, predictions
from utils.storage import json_files

pytestmark = pytest.mark.slow("draws reports")
_NAMES = {1: "spleen", 2: "right_kidney", 6: "liver"}
# 2 x 5 x 10 mm: 0.1 ml a voxel.
_ZOOMS = np.array([2, 5, 10], np.float32)


def _masks():
    """Mask and prediction of one row of labels; background, 4 x spleen, 3 x kidney."""
    mask, predicted = np.zeros((2, 8, 3, 1), np.uint8)
    mask[:, 1, 0] = [1, 1, 1, 1, 2, 2, 2, 0]
    predicted[:, 1, 0] = [1, 1, 1, 2, 2, 2, 0, 6]
    return mask, predicted


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dice_and_volumes_are_those_of_the_formula(axis):
    mask, predicted = _masks()
    found = agreement.compare(agreement.Predicted(predicted, axis), mask, _NAMES, _ZOOMS)
    assert [*found] == ["spleen", "right_kidney", "liver"]
    spleen, kidney, liver = found.values()
    assert spleen["dice"] == pytest.approx(2 * 3 / (4 + 3))
    assert kidney["dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert liver["dice"] == 0  # the prediction alone has one
    assert [one["value"] for one in found.values()] == [1, 2, 6]
    assert [one["volume_ml"] for one in found.values()] == pytest.approx([0.3, 0.3, 0.1])
    assert [one["difference_ml"] for one in found.values()] == pytest.approx([-0.1, 0, 0.1])
    assert [one["apart_ml"] for one in found.values()] == pytest.approx([0.1, 0.2, 0.1])
    assert [tuple(one["at"]) for one in (spleen, liver)] == [(3, 1, 0), (7, 1, 0)]
    assert tuple(kidney["at"]) in [(3, 1, 0), (6, 1, 0)]


def test_equal_and_empty_masks():
    mask, _ = _masks()
    found = agreement.compare(agreement.Predicted(mask, 2), mask, _NAMES, _ZOOMS)
    assert {one["dice"] for one in found.values()} == {1.0}
    assert {one["at"] for one in found.values()} == {None}
    empty = np.zeros_like(mask)
    assert agreement.compare(agreement.Predicted(empty, 2), empty, _NAMES, _ZOOMS) == {}
    one_sided = agreement.compare(agreement.Predicted(empty, 2), mask, _NAMES, _ZOOMS)
    assert [one["dice"] for one in one_sided.values()] == [0, 0]


def _label(dice, apart_ml=5.0, value=6):
    return {
        "value": value,
        "dice": dice,
        "apart_ml": apart_ml,
        "difference_ml": -2.0,
        "at": [1, 2, 3],
    }


def _set(dices, **more):
    return {
        f"amos_{n:04}": ("CT", {"liver": _label(dice, **more)}) for n, dice in enumerate(dices, 1)
    }


def test_a_dice_far_below_the_others_is_doubtful():
    found = agreement.judge(_set([0.95] * 7 + [0.6]))
    assert [*found] == ["amos_0008"]
    (flag,) = found["amos_0008"]
    assert (flag.kind, flag.severity, flag.place, flag.labels) == (
        "prediction",
        "doubtful",
        (1, 2, 3),
        (6,),
    )
    assert flag.reason == (
        "The prediction agrees little with the mask: liver (Dice 0.60, -2 ml; median of 8 CT "
        "samples 0.95, limit 0.79)."
    )


def test_what_is_no_outlier_has_no_flag():
    assert agreement.judge(_set([0.95] * 7 + [0.8])) == {}  # within the limit
    assert agreement.judge(_set([0.95] * 6 + [0.1])) == {}  # too few samples
    assert agreement.judge(_set([0.95] * 7 + [0.1], apart_ml=0.4)) == {}  # a few voxels
    # Where networks hardly find an organ, that one was not found says little.
    assert agreement.judge(_set([0.1, 0.2, 0.3, 0.4, 0.5, 0.3, 0.2, 0.0])) == {}
    other = {f"amos_05{n}": ("MRI", {"liver": _label(0.1)}) for n in range(10, 13)}
    assert agreement.judge(_set([0.95] * 8) | other) == {}
    nothing = {f"amos_{n:04}": ("CT", {"liver": _label(None)}) for n in range(9)}
    assert agreement.judge(nothing) == {}


def test_a_sample_has_one_flag_with_the_worst_labels_first():
    found = _set([0.95] * 8)
    for number, name in enumerate(("spleen", "aorta", "stomach", "pancreas"), 1):
        for sample, (_, labels) in found.items():
            bad = sample == "amos_0003"
            labels[name] = _label(0.1 * number if bad else 0.9, value=number)
    (flag,) = agreement.judge(found)["amos_0003"]
    assert flag.labels == (1, 2, 3, 4)
    assert "mask: spleen (Dice 0.10" in flag.reason
    assert flag.reason.endswith("and 1 more.")


# ---- the folder


def _write_names(folder, labels):
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def _look(folder, *files, labels=None, samples=("amos_0001", "amos_0004")):
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).touch()
    if labels is not None:
        _write_names(folder, labels)
    return predictions.find(folder, samples)


def test_predictions_are_found_and_others_counted(tmp_path):
    found = _look(tmp_path / "p", "amos_0004.nii.gz", "amos_0009.nii.gz", "x.nii", "plans.json")
    assert found.path("amos_0004") == tmp_path / "p/amos_0004.nii.gz"
    assert (found.path("amos_0001"), found.names) == (None, {})
    assert [*found.notes] == [
        "2 of no sample at hand: amos_0009.nii.gz, x.nii",
        "none of 1 samples: amos_0001",
    ]
    assert predictions.find(None, ["amos_0001"]) is None


def test_a_folder_without_predictions_is_refused(tmp_path):
    with pytest.raises(errors.DatasetError, match=r"such as amos_0001.nii.gz; only amos_9.nii.gz"):
        _look(tmp_path / "p", "amos_9.nii.gz")
    with pytest.raises(errors.DatasetError, match=r"such as amos_0001.nii.gz; no .nii.gz file"):
        _look(tmp_path / "q")


def test_two_predictions_of_a_sample_are_refused(tmp_path):
    with pytest.raises(errors.DatasetError, match="two predictions of amos_0001: .*; expected one"):
        _look(tmp_path / "p", "amos_0001.nii.gz", "amos_0001.nii")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"labels": ["spleen"]}',
        '{"labels": {"spleen": [1, 2]}}',
        '{"labels": {"spleen": 1, "liver": 1}}',
        '{"labels": {"spleen": true}}',
        '{"labels": {"spleen": 256}}',
        "[" * 100_000,
    ],
)
def test_label_names_that_make_no_sense_are_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(errors.DatasetError) as caught:
        _look(tmp_path, "amos_0001.nii.gz")
    assert str(caught.value).startswith(f"{tmp_path / 'dataset.json'}: ")
    assert "expected" in str(caught.value)


# ---- the report


@pytest.fixture(scope="module", name="tree")
def finished_tree():
    return trees.copy("extracted", f"{trees.scratch('predictions')}/tree")


@pytest.fixture(name="root")
def copied_tree(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(plotting, "draw", lambda rows: {})
    root = tmp_path / "root"
    shutil.copytree(tree, root)
    (root / "predicted").mkdir()
    return root


def _predict(root, name, change=lambda data: data, turn=lambda image: image):
    image = nib.load(trees.mask_path(root, name))
    data = change(np.asarray(image.dataobj).copy())
    path = root / "predicted" / f"{name}.nii.gz"
    nib.save(turn(nib.Nifti1Image(data, image.affine)), path)
    return path


def _render(root, *more, tree="grouped/AMOS-CT", fails=0):
    words = ["--root_dir", root / tree, "--output_dir", root / "qc", "--workers", 1]
    result = trees.run(trees.REPORT, *words, "--prediction_dir", root / "predicted", *more)
    assert result.exit_code == fails, result.output
    return result


def _record(root, name):
    return json_files.unsealed(root / f"qc/measures/{name}.json")


def _data(root, name):
    return report_data.data_of_script(root / f"qc/samples/{name}.js")


def _flags(root, name):
    found = json.loads((root / "qc/flags.json").read_text(encoding="utf-8"))
    return [flag for flag in found if (flag["ID"], flag["kind"]) == (name, "prediction")]


def _drop(value):
    return lambda data: np.where(data == value, 0, data).astype(np.uint8)


def test_dice_is_in_record_table_page_and_viewer(root):
    _predict(root, "amos_0001", _drop(1))
    _predict(root, "amos_0004")
    result = _render(root)
    assert "predictions: none of 2 samples: amos_0008, amos_0201" in result.stderr
    found = _record(root, "amos_0001")["prediction"]
    assert found["spleen"]["dice"] == 0
    assert (
        found["spleen"]["difference_ml"]
        == -_record(root, "amos_0001")["organs"]["spleen"]["volume_ml"]
    )
    assert {one["dice"] for name, one in found.items() if name != "spleen"} == {1.0}
    assert _record(root, "amos_0008")["prediction"] is None
    table = pd.read_csv(root / "qc/measures.csv").set_index(["ID", "name"])
    assert table.loc[("amos_0001", "spleen"), "dice"] == 0
    assert table.loc[("amos_0001", "spleen"), "predicted_ml"] == 0
    assert table.loc[("amos_0004", "liver"), "dice"] == 1
    assert table.loc["amos_0008", "dice"].isna().all()
    data = _data(root, "amos_0001")
    assert [layer["key"] for layer in data["layers"]] == ["mask", "prediction"]
    assert data["prediction"] == found
    shown = [zlib.decompress(base64.b64decode(layer["deflated"])) for layer in data["layers"]]
    assert [1 in labels for labels in shown] == [True, False]
    page = (root / "qc/index.html").read_text(encoding="utf-8")
    listed = json.loads(page.split('id="data">')[1].split("</script>")[0])["samples"]
    dices = {sample["name"]: sample["dice"] for sample in listed}
    assert (dices["amos_0001"], dices["amos_0004"], dices["amos_0008"]) == (0, 1, None)


def test_a_changed_prediction_alone_is_measured_again(root):
    for name in ("amos_0001", "amos_0004"):
        _predict(root, name)
    _render(root)
    old = _record(root, "amos_0004")
    _predict(root, "amos_0001", _drop(6))
    assert "samples: 1 done, 3 skipped as finished" in _render(root).stdout
    assert _record(root, "amos_0001")["prediction"]["liver"]["dice"] == 0
    assert _record(root, "amos_0004") == old


def test_a_prediction_along_other_axes_is_brought_into_order(root):
    def turn(image):
        order = np.array([[2, -1], [0, 1], [1, -1]])
        return image.as_reoriented(order)

    _predict(root, "amos_0004", turn=turn)
    _render(root)
    assert {one["dice"] for one in _record(root, "amos_0004")["prediction"].values()} == {1.0}
    assert _flags(root, "amos_0004") == []


def test_numbers_without_gaps_are_known_by_their_names(root):
    # Without the right kidney, 2: later labels are one lower; tumour is a label of its own.
    names = ["background", "spleen", "left_kidney", "Gall bladder", "esophagus", "liver"]
    _write_names(root / "predicted", {name: n for n, name in enumerate([*names, "tumour"])})

    def renumber(data):
        new = np.zeros_like(data)
        for number, old in enumerate((1, 3, 4, 5, 6), 1):
            new[data == old] = number
        new[0, 0, 0] = 6
        return new

    _predict(root, "amos_0004", renumber)
    _render(root)
    found = _record(root, "amos_0004")["prediction"]
    own = {name: organ["value"] for name, organ in _record(root, "amos_0004")["organs"].items()}
    same = {"spleen", "left_kidney", "gall_bladder", "esophagus", "liver"}
    assert {name for name, one in found.items() if one["dice"] == 1} == same & {*own}
    assert {name: found[name]["value"] for name in own} == own
    assert found["right_kidney"]["dice"] == found["tumour"]["dice"] == 0
    assert found["tumour"]["value"] == 17  # the first that no label of the masks has
    legend = {label["value"]: label["name"] for label in _data(root, "amos_0004")["labels"]}
    assert (legend[17], legend[6]) == ("tumour", "liver")


def test_a_scan_without_mask_shows_what_is_predicted(root):
    sample = trees.sample_dir(root, "amos_0201")
    volume = nib.load(sample / "amos_0201_volume.nii.gz")
    labels = np.zeros(volume.shape, np.uint8)
    labels[2:4, 2:4, 2:4] = 6
    nib.save(nib.Nifti1Image(labels, volume.affine), root / "predicted/amos_0201.nii.gz")
    _render(root)
    found = _record(root, "amos_0201")["prediction"]
    assert found == {
        "label_06": {
            "value": 6,
            "dice": None,
            "difference_ml": None,
            "volume_ml": pytest.approx(8 * float(np.prod(volume.header.get_zooms())) / 1000),
        }
    }
    assert [layer["key"] for layer in _data(root, "amos_0201")["layers"]] == ["prediction"]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def _spoil(path):
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[-1] ^= 255
    stored = bytearray(gzip.compress(bytes(raw), 0))
    stored[-20] ^= 255  # the length still fits, the checksum does not
    path.write_bytes(stored)


def _halve(image):
    return nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine)


def _move(image):
    affine = image.affine.copy()
    affine[:3, 3] += 0.6 * affine[:3, 0]
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def _between(image):
    return nib.Nifti1Image(np.asarray(image.dataobj) + np.float32(0.5), image.affine)


BAD = {
    "cut": ({}, _cut, "amos_0004.nii.gz: damaged: the gzip stream is cut off"),
    "corrupt": ({}, _spoil, "amos_0004.nii.gz: damaged: the gzip stream is corrupt"),
    "shape": ({"turn": _halve}, None, "amos_0004.nii.gz: shape (6, 8, 9) differs from the "),
    "moved": ({"turn": _move}, None, "amos_0004.nii.gz: lies up to 0.6 voxels off the volume"),
    "no labels": ({"turn": _between}, None, "amos_0004.nii.gz: labels 0.5"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_prediction_that_cannot_be_compared_is_flagged_and_the_sample_shown(root, kind):
    how, spoil, reason = BAD[kind]
    path = _predict(root, "amos_0004", **how)
    if spoil:
        spoil(path)
    _predict(root, "amos_0001")
    for _ in range(2):  # the second time it is skipped as finished
        result = _render(root)
        (flag,) = _flags(root, "amos_0004")
        assert flag["severity"] == "wrong"
        assert flag["reason"].startswith(f"The prediction cannot be compared: {reason}")
        assert str(root) not in flag["reason"]
        assert "amos_0004: prediction: The prediction cannot be compared" in result.stdout
        assert _record(root, "amos_0004")["prediction"] is None
        assert [layer["key"] for layer in _data(root, "amos_0004")["layers"]] == ["mask"]
        assert _record(root, "amos_0001")["prediction"]["liver"]["dice"] == 1
    assert "4 skipped as finished" in result.stdout
    assert "FLAGGED amos_0004: " in _render(root, "--fail_on", "wrong", fails=1).stderr


def test_a_folder_of_other_predictions_is_refused_before_anything_is_drawn(root):
    (root / "predicted/case_1.nii.gz").touch()
    result = _render(root, fails=2)
    assert "no prediction of a sample at hand, expected such as amos_0001.nii.gz" in result.stderr
    assert not (root / "qc").exists()

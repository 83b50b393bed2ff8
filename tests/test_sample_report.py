"""One sample of the report: odd scans, broken records, folders in the place of files."""

import base64
import dataclasses
import io
import json
import os
import re
import zlib

import nibabel as nib
import numpy as np
import pytest
import report_data
import trees

from utils import errors
from utils.facts import amos22
from utils.qc import (
    binning,
    case_files,
    mask_layers,
    plotting,
    report,
    sample_pictures,
    sample_report,
    slices,
)
from utils.running import calls, runner
from utils.storage import json_files, nifti, samples

pytestmark = pytest.mark.slow("draws pictures")
_SHAPE = (12, 10, 8)
LOOKS = amos22.modality, amos22.slice_axis
_RANDOM = np.random.default_rng(0)
_VALUES = _RANDOM.normal(0, 200, _SHAPE).astype(np.float32)
_NAMES = ("amos_0001.jpg", "amos_0001_small.jpg")


def _block(shape=_SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 4, max(n // 4 + 1, n // 2)) for n in shape)] = 6
    return mask


def _put(folder, volume, mask, scanner="Aquilion ONE", affine=None, **mask_fields):
    folder.mkdir(parents=True)
    affine = np.eye(4) if affine is None else affine
    for kind, data, fields in (("volume", volume, {}), ("mask", mask, mask_fields)):
        image = nib.Nifti1Image(data, affine)
        for name, value in fields.items():
            image.header[name] = value
        nib.save(image, folder / f"amos_0001_{kind}.nii.gz")
    (folder / "amos_0001_mask_06_liver.nii.gz").touch()
    text = f'subset: "train"\nsex: "M"\nmanufacturer_model_name: "{scanner}"\n'
    (folder / "amos_0001_info.yaml").write_text(text)
    return samples.Sample("amos_0001", folder)


def _settings(tmp_path):
    report.make_folders(tmp_path / "qc")
    before = tmp_path / "before" if (tmp_path / "before").exists() else None
    return case_files.ReportSettings(
        tmp_path / "data", tmp_path / "qc", before, 100.0, False, *LOOKS
    )


@pytest.fixture(name="settings")
def settings_of_a_report(tmp_path):
    return _settings(tmp_path)


@pytest.fixture(name="sample")
def plain_sample(tmp_path):
    return _put(tmp_path / "data/amos_0001_M", _VALUES, _block())


def _flip(*axes):
    affine = np.eye(4)
    affine[axes, axes] = -1
    return affine


def _turned():
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return affine


ODD_SCANS = {
    "constant": {"volume": np.full(_SHAPE, 5, np.float32)},
    "constant and large": {"volume": np.full(_SHAPE, 1e30, np.float32)},
    "all NaN": {"volume": np.full(_SHAPE, np.nan, np.float32)},
    "all infinite": {"volume": np.full(_SHAPE, np.inf, np.float32)},
    "partly infinite": {"volume": np.where(_VALUES > 0, _VALUES, -np.inf)},
    "huge": {"volume": _VALUES * np.float32(1e35)},
    "beyond float32": {"volume": _VALUES.astype(np.float64) * 1e290},
    "tiny": {"volume": _VALUES * np.float32(1e-42)},
    "uint8": {"volume": _VALUES.astype(np.uint8)},
    "noise of 256 labels": {"mask": _RANDOM.integers(0, 256, _SHAPE).astype(np.uint8)},
    "empty mask": {"mask": np.zeros(_SHAPE, np.uint8)},
    "full mask": {"mask": np.full(_SHAPE, 6, np.uint8)},
    "2 x 2 x 2": {"shape": (2, 2, 2)},
    "one voxel": {"shape": (1, 1, 1)},
    "a column": {"shape": (1, 512, 1)},
    "a long row": {"shape": (32767, 1, 1)},
    "one slice": {"shape": (20, 20, 1)},
    "flipped": {"affine": _flip(0, 2)},
    "mirrored": {"affine": _flip(1)},
    "oblique": {"affine": _turned()},
    "thin slices": {"affine": np.diag([1, 1, 1e-4, 1])},
    "enormous slices": {"affine": np.diag([1, 1e5, 1, 1])},
}


@pytest.mark.parametrize("kind", ODD_SCANS)
def test_odd_scans_are_measured_and_drawn(tmp_path, settings, kind):
    import PIL.Image

    given = dict(ODD_SCANS[kind])
    shape = given.pop("shape", _SHAPE)
    scanner = "Prisma" if "volume" in given else "Aquilion ONE"  # MRI's window is by the values
    given = {"volume": np.resize(_VALUES, shape), "mask": _block(shape), **given}
    sample = _put(tmp_path / "data/amos_0001_M", scanner=scanner, **given)
    outcome = runner.run(_Render(settings), [sample])
    assert (outcome.failures, outcome.done) == ([], 1)
    for name in _NAMES:
        PIL.Image.open(io.BytesIO((settings.output_dir / "pictures" / name).read_bytes())).verify()
    undecided = report.Review({}, settings.output_dir / "review.csv")
    report.write(settings, [sample], outcome, None, amos22, undecided)
    assert "amos_0001" in (settings.output_dir / "index.html").read_text(encoding="utf-8")
    assert json.loads((settings.output_dir / "flags.json").read_text(encoding="utf-8")) is not None


class _Render:
    def __init__(self, settings):
        self.settings = settings

    def __call__(self, sample):
        return sample_report.render(sample, self.settings)


@pytest.mark.parametrize("axis", [0, 2])
def test_changes_far_from_all_that_is_left_are_drawn(tmp_path, settings, axis):
    mask, before = np.zeros((2, 60, 60, 60), np.uint8)
    mask[2:6, 2:6, 2:6] = before[2:6, 2:6, 2:6] = 6
    before[55:57, 55:57, 55:57] = 6
    sample = _put(tmp_path / "data/amos_0001_M", np.resize(_VALUES, mask.shape), mask)
    _put(tmp_path / "before/amos_0001_M", np.resize(_VALUES, mask.shape), before)
    places = {"before_dir": tmp_path / "before", "slice_axis": {0: _first, 2: _third}[axis]}
    rendered = sample_report.render(sample, dataclasses.replace(settings, **places))
    assert rendered.record["changes"]["n_voxels"] == 8
    assert (settings.output_dir / "pictures/amos_0001_changes.jpg").is_file()


def _first(affine):
    return 0


def _third(affine):
    return 2


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf])
def test_a_stored_spacing_that_is_none_fails_the_sample(tmp_path, settings, size):
    fields = {"pixdim": [1, size, 1, 1, 1, 1, 1, 1]}
    sample = _put(tmp_path / "data/amos_0001_M", _VALUES, _block(), **fields)
    (_, error), *others = runner.run(_Render(settings), [sample]).failures
    assert not others and "spacing" in str(error) and "positive numbers expected" in str(error)


BROKEN = {
    "list": b"[]",
    "number": b"1",
    "text": b'"digest"',
    "null": b"null",
    "empty": b"",
    "deep": b"[" * 100_000,
    "no UTF-8": b"\xff",
    "byte order mark": "\ufeff{}".encode(),
    "long number": b"9" * 5000,
    "infinity": b'{"digest": Infinity}',
}


def _spoilt(record, **more):
    return json.dumps({**record, **more}).encode()


@pytest.mark.parametrize("kind", [*BROKEN, "organs", "pictures", "twice", "pipe", "link"])
def test_a_broken_record_is_made_again(sample, settings, kind):
    sample_report.render(sample, settings)
    path = settings.output_dir / "measures/amos_0001.json"
    before = path.read_bytes()
    record = json.loads(before)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nothing")
    else:
        content = {
            "organs": _spoilt(record, organs=[1]),
            "pictures": _spoilt(record, pictures=["../../x.png"]),
            "twice": before.replace(b'"small_regions"', b'"small_regions": -1, "small_regions"'),
            **BROKEN,
        }[kind]
        path.write_bytes(content)
    again = sample_report.render(sample, settings)
    assert isinstance(again, sample_report.Result)  # not calls.Finished
    assert path.read_bytes() == before and again.record["organs"] == record["organs"]


def test_pictures_of_a_record_are_those_of_its_sample(sample, settings):
    sample_report.render(sample, settings)
    path = settings.output_dir / "measures/amos_0001.json"
    before = path.read_bytes()
    record = json_files.unsealed(path)
    (settings.output_dir / "x.png").touch()
    path.write_bytes(json_files.sealed({**record, "pictures": ["../x.png"]}))
    assert isinstance(sample_report.render(sample, settings), sample_report.Result)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["samples/amos_0001.js", "pictures/amos_0001.jpg"])
@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_a_file_that_is_missing_or_cut_off_is_made_again(sample, settings, place, how):
    first = sample_report.render(sample, settings)
    path = settings.output_dir / place
    before = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(before[:-1])
    again = sample_report.render(sample, settings)
    assert isinstance(again, sample_report.Result) and again.record == first.record
    assert path.read_bytes() == before
    assert isinstance(sample_report.render(sample, settings), calls.Finished)


def test_a_comparison_that_is_no_more_is_removed(tmp_path, sample):
    _put(tmp_path / "before/amos_0001_M", _VALUES, np.roll(_block(), 1, 0))
    settings = _settings(tmp_path)
    compared = sample_report.render(sample, settings).record
    path = tmp_path / "qc/pictures/amos_0001_changes.jpg"
    assert path.is_file() and path.name in compared["pictures"]
    alone = dataclasses.replace(settings, before_dir=None)
    record = sample_report.render(sample, alone).record
    assert not path.exists() and record["pictures"] == [*_NAMES] and record["changes"] is None
    path.touch()  # somebody else's, in our place
    assert isinstance(sample_report.render(sample, alone), sample_report.Result)
    assert not path.exists()


def test_files_of_an_earlier_version_are_removed(sample, settings):
    qc = settings.output_dir
    old = ["pictures/amos_0001.png", "pictures/amos_0001_small.png", "samples/amos_0001.html"]
    others = ["pictures/amos_00012.png", "samples/notes.html", "pictures/mine.png"]
    for name in (*old, *others):
        (qc / name).write_bytes(b"x")
    sample_report.render(sample, settings)
    assert [name for name in (*old, *others) if (qc / name).exists()] == others


def _data(settings):
    return report_data.data_of_script(settings.output_dir / "samples/amos_0001.js")


def test_the_page_gets_what_was_measured(tmp_path, sample):
    _put(tmp_path / "before/amos_0001_M", _VALUES, np.roll(_block(), 1, 0))
    settings = _settings(tmp_path)
    record = sample_report.render(sample, settings).record
    data = _data(settings)
    assert list(data) == [
        *("shape", "spacing", "bins", "size", "views", "across", "sheets", "values", "windows"),
        *("layers", "labels", "organs", "changes", "prediction"),
    ]
    assert (data["organs"], data["changes"]) == (record["organs"], record["changes"])
    assert (data["shape"], data["size"], data["bins"]) == ([*_SHAPE], [*_SHAPE], [1, 1, 1])
    assert [layer["key"] for layer in data["layers"]] == ["mask", "before"]
    for layer, mask in zip(data["layers"], (_block(), np.roll(_block(), 1, 0))):
        labels = zlib.decompress(base64.b64decode(layer["deflated"]))
        assert labels == mask.tobytes(order="F")
    assert [label["name"] for label in data["labels"]] == ["liver"] and data["prediction"] is None
    at = record["changes"]["at"]
    assert _block()[tuple(at)] != np.roll(_block(), 1, 0)[tuple(at)]
    assert _block()[tuple(record["organs"]["liver"]["at"])] == 6
    assert record["mask_crc32"] == f"0x{zlib.crc32(_block().tobytes(order='F')):08x}"


def test_without_mask_the_page_gets_the_scan(sample, settings):
    sample.mask_path.unlink()
    record = sample_report.render(sample, settings).record
    data = _data(settings)
    assert (data["layers"], data["organs"], data["changes"]) == ([], None, None)
    assert len(data["sheets"]) == 1 and record["mask_crc32"] is None
    assert record["volume"]["is_mask"] is False


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_volume_that_is_a_copy_of_its_mask_is_told(tmp_path, settings, dtype):
    sample = _put(tmp_path / "data/amos_0001_M", _block().astype(dtype), _block())
    assert sample_report.render(sample, settings).record["volume"]["is_mask"] is True


def test_a_volume_nearly_a_copy_of_its_mask_is_none(tmp_path, settings):
    other = _block()
    other[-1, -1, -1] = 6
    sample = _put(tmp_path / "data/amos_0001_M", other, _block())
    assert sample_report.render(sample, settings).record["volume"]["is_mask"] is False


def test_a_prediction_is_a_layer_of_its_own(sample, settings):
    inputs = case_files.of(sample, settings)
    prediction = dataclasses.replace(inputs.mask)
    predicted = dataclasses.replace(inputs, prediction=prediction)
    views = slices.views(inputs.volume.affine)
    grid = binning.Grid.of(inputs.volume.shape, 2)
    kept = mask_layers.read(predicted, views, grid, 100.0)
    assert [layer["key"] for layer in kept.layers] == ["mask", "prediction"]
    assert kept.layers[0]["deflated"] == kept.layers[1]["deflated"]
    found = kept.record.pop("prediction")
    assert [(one["dice"], one["difference_ml"]) for one in found.values()] == [(1.0, 0.0)]
    without = mask_layers.read(inputs, views, grid, 100.0).record
    assert without.pop("prediction") is None
    assert kept.record == without


def test_slices_of_the_volume_are_those_of_the_panels_and_of_the_changes(sample, settings):
    inputs = case_files.of(sample, settings)
    views = slices.views(inputs.volume.affine)
    kept = mask_layers.read(inputs, views, binning.Grid.of(inputs.volume.shape, 2), 100.0)
    kept.changed[7] = kept.planes[2, kept.chosen["axial"][0]], None
    wanted = sample_pictures.wanted(views, kept, 2)
    assert wanted[2] == sorted({*kept.chosen["axial"], 7})
    assert (wanted[0], wanted[1]) == (kept.chosen["sagittal"], kept.chosen["coronal"])


PLACES = ["measures/amos_0001.json", "samples/amos_0001.js", *(f"pictures/{n}" for n in _NAMES)]


@pytest.mark.parametrize("place", [*PLACES, "pictures/amos_0001_changes.jpg"])
def test_a_folder_in_a_files_place_fails_the_sample_before_it_is_drawn(sample, settings, place):
    path = settings.output_dir / place
    path.mkdir()
    with pytest.raises(errors.DatasetError, match="a folder, expected a file") as caught:
        sample_report.render(sample, settings)
    assert caught.value.file == str(path)
    assert [path for path in settings.output_dir.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("which", ["mask", "before"])
def test_a_mask_that_changes_meanwhile_fails_its_sample(tmp_path, sample, monkeypatch, which):
    before = _put(tmp_path / "before/amos_0001_M", _VALUES, _block())
    settings = _settings(tmp_path)
    path = {"mask": sample, "before": before}[which].mask_path
    plain = nifti.read_mask

    def after_a_change(name, *same_as):
        if name == path:
            trees.put_voxel(path, (0, 0, 0), 1)
        return plain(name, *same_as)

    monkeypatch.setattr(nifti, "read_mask", after_a_change)
    with pytest.raises(errors.DatasetError, match="was replaced or changed by another") as caught:
        sample_report.render(sample, settings)
    assert caught.value.file == str(path)
    assert list((tmp_path / "qc/measures").iterdir()) == []


def test_two_labels_of_one_name_are_not_taken_for_one(sample, settings):
    (sample.directory / "amos_0001_mask_07_liver.nii.gz").touch()
    with pytest.raises(errors.DatasetError, match="one name for two labels: 6 liver, 7 liver"):
        sample_report.render(sample, settings)


@pytest.fixture(name="root")
def data_of_two_samples(tmp_path):
    return trees.copy("extracted", tmp_path / "data")


@pytest.mark.parametrize("place", ["index.html", "plots/ages.svg"])
def test_a_folder_in_the_indexs_place_is_found_before_the_work(root, place):
    (root / "qc" / place).mkdir(parents=True)
    result = trees.invoke(trees.REPORT, root)
    assert result.exit_code == 2
    expected = f"{root}/qc/{place}: a folder, expected a file of the report; move it away"
    assert result.stderr == f"Error: {expected}\n"
    assert not [path for path in (root / "qc").rglob("*") if path.is_file()]


@pytest.mark.parametrize("place", ["pictures", "measures", "samples", "plots", ""])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_a_folders_place_is_found_before_the_work(root, place, kind):
    path = root / "qc" / place
    path.parent.mkdir(exist_ok=True)
    if kind == "file":
        path.touch()
    else:
        path.symlink_to("nothing/at all")
    result = trees.invoke(trees.REPORT, root)
    assert result.exit_code == 2 and str(path) in result.stderr
    assert "Traceback" not in result.output
    assert not list((root / "qc").glob("*.html"))


def test_a_folder_in_a_pages_place_leaves_all_others(root, monkeypatch):
    monkeypatch.setattr(plotting, "draw", lambda rows: {})
    (root / "qc/samples/amos_0001.js").mkdir(parents=True)
    result = trees.invoke(trees.REPORT, root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith(f"FAILED amos_0001: {root}/qc/samples/amos_0001.js: a folder")
    assert (root / "qc/samples/amos_0004.js").is_file() and "1 done" in result.stdout
    flags = json.loads((root / "qc/flags.json").read_text(encoding="utf-8"))
    failed = {one["ID"]: one["severity"] for one in flags if one["kind"] == "failed"}
    assert failed == {"amos_0001": "wrong"}


ODD_TEXT = "$\\frac$ a_b^c {x} \\ <b>&\"'"


def test_metadata_with_signs_of_formulas_and_markup(root):
    path = trees.sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    info = samples.read_info(path)
    info.update(site=ODD_TEXT, manufacturer_model_name=ODD_TEXT)
    path.write_bytes(samples.info_bytes(info))
    result = trees.invoke(trees.REPORT, root)
    assert result.exit_code == 0, result.output
    assert not trees.complaints(result)
    page = (root / "qc/index.html").read_text(encoding="utf-8")
    found = re.search('<script type="application/json" id="data">(.*?)</script>', page)[1]
    metadata = {one["name"]: one["metadata"] for one in json.loads(found)["samples"]}
    assert (metadata["amos_0001"]["site"], metadata["amos_0001"]["scanner"]) == (ODD_TEXT, ODD_TEXT)
    assert "<b>" not in page

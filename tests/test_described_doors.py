"""Report, exports, detection and denoising of a data set that a page describes."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import described_ward as ward
import nibabel as nib
import numpy as np
import oracles
import pytest
import trees

from utils import errors
from utils.facts import amos22, described
from utils.storage import marks, nifti

SPLIT = "split01_standard"
DOORS = [trees.NNUNET, trees.DATALIST, trees.CROISSANT, trees.REPORT, trees.DENOISE]
IDENTITY = "identity affine: spacing of 1 mm, orientation and position are not the scanner's"


@pytest.fixture(scope="module", name="finished")
def finished_ward(tmp_path_factory):
    """The data set after its numbered scripts: (root, click's results)."""
    root = tmp_path_factory.mktemp("ward") / "a root"
    ward.build(root)
    return root, ward.finish(root)


@pytest.fixture(name="root")
def copy_of_it(finished, tmp_path):
    return ward.copy(finished[0], tmp_path / "a root")


def run(script, root, *words, page=True):
    given = ("--dataset", ward.page(root)) if page else ()
    takes_workers = any(option.name == "workers" for option in trees.main(script).params)
    return trees.run(script, *given, *words, *(("--workers", 1) if takes_workers else ()))


def of_split(root):
    return "--manifest_file", root / "grouped/dataset_manifest.xlsx", "--split_name", SPLIT


def denoise(root, *more, output="grouped", page=True):
    places = "--root_dir", root / "grouped", "--output_dir", root / output
    return run(trees.DENOISE, root, *places, *more, page=page)


def words_of(script, root):
    return {
        trees.NNUNET: (*of_split(root), "--output_dir", root / "raw", "--dataset_id", 7),
        trees.REPORT: ("--root_dir", root / "grouped", "--output_dir", root / "qc"),
        trees.DENOISE: ("--root_dir", root / "grouped", "--output_dir", root / "grouped"),
    }.get(script, (*of_split(root), "--output_file", root / "a.json"))


def nnunet(root, *more):
    places = "--output_dir", root / "nnUNet_raw", "--dataset_id", 7
    return run(trees.NNUNET, root, *of_split(root), *places, *more)


def croissant(root, *more):
    place = "--output_file", root / "croissant.json"
    return run(trees.CROISSANT, root, *of_split(root), *place, *more)


def report(root, *more):
    return run(
        trees.REPORT, root, "--root_dir", root / "grouped", "--output_dir", root / "qc", *more
    )


def mask_path(root, name):
    return next((root / "grouped").rglob(f"{name}_mask.nii.gz"))


def test_a_page_is_chosen_and_amos22_without_one(finished):
    assert described.chosen(None) is amos22
    assert described.chosen(ward.page(finished[0])).NAME == "Ward-7"


def test_what_lost_its_geometry_is_told_by_routine_01(finished):
    result = finished[1]["described/01_gen_archive_manifest.py"]
    assert f"note geometry: {IDENTITY}; 2 files, of w_2\n" in result.stderr


# ---- denoising


def test_slices_lie_along_the_axis_that_runs_from_head_to_foot(root):
    before = trees.voxels(mask_path(root, "w_1"))
    assert denoise(root).exit_code == 0
    mask = nifti.read_mask(mask_path(root, "w_1"))
    expected = oracles.open_close_small_regions_literal(before, ward.SPACING, n_labels=5, axis=0)
    other = oracles.open_close_small_regions_literal(before, ward.SPACING, n_labels=5)
    assert not np.array_equal(expected, before) and not np.array_equal(expected, other)
    np.testing.assert_array_equal(mask.data, expected)
    assert marks.read(mask.header.descrip)["openclose"] == "5x5,3,10.0,axis0"
    # Its affine is the identity: head and foot lie along the third axis, and nothing is marked.
    without = nifti.read_header(mask_path(root, "w_2"))
    assert marks.read(without.descrip)["openclose"] == "5x5,3,10.0"
    again = denoise(root)
    assert again.exit_code == 0 and "5 skipped as finished" in again.stdout


def test_the_axis_of_the_page_is_taken(root):
    before = trees.voxels(mask_path(root, "w_1"))
    ward.write_page(root, slice_axis="1")
    assert denoise(root).exit_code == 0
    mask = nifti.read_mask(mask_path(root, "w_1"))
    expected = oracles.open_close_small_regions_literal(before, ward.SPACING, n_labels=5, axis=1)
    np.testing.assert_array_equal(mask.data, expected)
    assert marks.read(mask.header.descrip)["openclose"] == "5x5,3,10.0,axis1"


def test_another_axis_than_before_fails_like_other_parameters(root):
    assert denoise(root).exit_code == 0
    before = trees.contents(root / "grouped")
    result = denoise(root, page=False)
    assert result.exit_code == 1
    failed = trees.complaints(result)
    assert [line.split(":")[0] for line in failed] == [
        f"FAILED {name}" for name in ("w_1", "w_3", "w_4", "w_5")
    ]
    assert "denoised before with 5x5,3,10.0,axis0, expected 5x5,3,10.0 (kernel" in failed[0]
    assert trees.contents(root / "grouped") == before


def test_small_regions_are_found_without_a_page(root):
    place = "--output_manifest", root / "descriptor/regions.xlsx"
    result = run(trees.DETECT, root, "--root_dir", root / "grouped", *place, page=False)
    assert result.exit_code == 0 and "in 5 samples" in result.stdout


@pytest.mark.parametrize("script", [trees.DENOISE, trees.DETECT])
def test_stale_masks_name_the_routine_of_described_sets(root, script):
    trees.put_voxel(next((root / "grouped").rglob("w_1_mask_01_Liver.nii.gz")), (0, 0, 0), 1)
    place = "--output_manifest", root / "descriptor/regions.xlsx"
    if script == trees.DENOISE:
        place = "--output_dir", root / "grouped"
    result = run(script, root, "--root_dir", root / "grouped", *place, page=False)
    (line,) = trees.complaints(result)
    assert result.exit_code == 1 and line.startswith("FAILED w_1: ")
    assert line.endswith("run routine 04 (NME: 03, described: 03) again")


# ---- exports


def test_nnunet_gets_name_channel_and_labels_without_gaps(root):
    result = nnunet(root)
    assert result.exit_code == 0, result.stderr
    assert "numbers without gaps, as nnU-Net wants them: 4 is 3, 104 is 4" in result.stdout
    folder = root / "nnUNet_raw/Dataset007_Ward-7"
    content = json.loads((folder / "dataset.json").read_bytes())
    heading = {key: content[key] for key in ("name", "description", "reference", "licence")}
    assert heading == {
        "name": "Ward-7",
        "description": "Livers of ward 7",
        "reference": "https://example.org/ward7",
        "licence": "CC BY 4.0",
    }
    assert content["channel_names"] == {"0": "CT_or_MRI"}
    expected = ("background", "Liver", "kidney_right", "tumour", "rare")
    assert content["labels"] == {name: number for number, name in enumerate(expected)}
    assert content["numTraining"] == 4
    for name, part in (("w_1", "labelsTr"), ("w_5", "labelsTs")):
        before = trees.voxels(mask_path(root, name))
        after = trees.voxels(folder / part / f"{name}.nii.gz")
        np.testing.assert_array_equal(after, np.where(before == 4, 3, before))
    assert sorted(os.listdir(folder / "labelsTs")) == ["w_5.nii.gz"]
    assert nnunet(root).stdout.count("6 skipped as finished") == 1


def test_a_set_of_one_modality_has_its_channel(root):
    ward.write_page(root, modality="MR")
    assert nnunet(root, "--dataset_name", "Other").exit_code == 0
    content = json.loads((root / "nnUNet_raw/Dataset007_Other/dataset.json").read_bytes())
    assert content["channel_names"] == {"0": "MRI"} and content["name"] == "Ward-7"


def test_a_sample_whose_modality_the_page_does_not_tell_is_named(root):
    ward.write_page(root, modality='{ids: {CT: "1-5"}}')
    result = nnunet(root)
    assert result.exit_code == 2 and not (root / "nnUNet_raw").exists()
    assert "neither CT nor MRI by their metadata: w_6; a described data" in result.stderr


def test_a_set_whose_page_was_forgotten_is_told_of_it(root):
    words = *of_split(root), "--output_dir", root / "raw", "--dataset_id", 7
    result = run(trees.NNUNET, root, *words, page=False)
    assert result.exit_code == 2 and "needs its page (--dataset)" in result.stderr


@pytest.mark.slow("real packages")
@pytest.mark.skipif(
    importlib.util.find_spec("nnunetv2") is None,
    reason="nnunetv2 is not installed (requirements-frameworks.txt)",
)
def test_nnunet_finds_a_described_set_with_gaps_between_labels_whole(root):
    assert nnunet(root).exit_code == 0
    folder = root / "nnUNet_raw/Dataset007_Ward-7"
    program = (
        "from nnunetv2.experiment_planning import verify_dataset_integrity as verify\n"
        "if __name__ == '__main__':\n"
        f"    verify.verify_dataset_integrity({str(folder)!r}, num_processes=1)\n"
    )
    script = root / "verify.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "nnUNet_raw": str(folder.parent)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "verify_dataset_integrity Done." in done.stdout


def test_data_list_of_a_described_set(root):
    place = "--output_file", root / "lists/ward.json"
    result = run(trees.DATALIST, root, *of_split(root), *place)
    assert result.exit_code == 0, result.stderr
    content = json.loads((root / "lists/ward.json").read_bytes())
    assert content["name"] == "Ward-7" and content["modality"] == {"0": "CT_or_MRI"}
    expected = {0: "nothing", 1: "Liver", 2: "kidney_right", 4: "tumour", 104: "rare"}
    assert content["labels"] == {str(value): name for value, name in expected.items()}
    names = [[item["metadata"]["ID"] for item in content[key]] for key in ("training", "testing")]
    assert names == [["w_1", "w_2", "w_3"], ["w_5", "w_6"]]
    assert content["training"][1]["metadata"]["patient_id"] == "p1"
    folds = {item["metadata"]["ID"]: item["fold"] for item in content["training"]}
    assert folds["w_2"] == folds["w_3"] != folds["w_1"]  # one patient


def test_croissant_of_a_described_set_says_what_its_page_says(root):
    result = croissant(root)
    assert result.exit_code == 0, result.stderr
    content = json.loads((root / "croissant.json").read_bytes())
    told = {key: content[key] for key in ("name", "license", "url", "isBasedOn", "datePublished")}
    assert told == {
        "name": "Ward-7",
        "license": ward.FIELDS["licence_url"],
        "url": ward.FIELDS["reference"],
        "isBasedOn": ward.FIELDS["reference"],
        "datePublished": "2024",
    }
    assert [person["name"] for person in content["creator"]] == ["A Person", "B Person"]
    assert content["citeAs"] == "@misc{ward7}" and content["description"] == "Livers of ward 7"
    records = {one["@id"]: one["data"] for one in content["recordSet"]}
    assert [one["samples/modality"] for one in records["samples"]] == [
        *"CT CT MRI CT CT CT".split()
    ]
    assert [one["samples/patient"] for one in records["samples"]] == [
        *"w_1 w_2 w_2 w_4 w_4 w_6".split()
    ]
    assert [one["labels/name"] for one in records["labels"]][-2:] == ["tumour", "rare"]
    patterns = content["distribution"][-1]["includes"]
    assert patterns[:2] == [
        f"grouped/train/w_1/w_1_mask_{digits}_*.nii.gz" for digits in ("[0-9]" * 2, "[0-9]" * 3)
    ]


def test_metadata_that_are_called_modality_are_in_croissant_once(tmp_path):
    ward.build(tmp_path)
    people = ["scan,Kind", *(f"{number},PET" for number in range(1, 7))]
    (tmp_path / "archive/people.csv").write_text("\n".join(people), encoding="utf-8")
    table = "{file: people.csv, key: scan, columns: {modality: Kind}}"
    ward.write_page(tmp_path, metadata=table)
    ward.finish(tmp_path)
    result = croissant(tmp_path)
    assert result.exit_code == 0, result.stderr
    content = json.loads((tmp_path / "croissant.json").read_bytes())
    (records,) = (one["data"] for one in content["recordSet"] if one["@id"] == "samples")
    assert [one["samples/modality"] for one in records] == "CT CT MRI CT CT CT".split()


def test_what_croissant_cannot_do_without_is_named_in_one_line(root):
    ward.write_page(
        root, licence=None, licence_url=None, creators=None, published=None, reference=None
    )
    result = croissant(root)
    assert result.exit_code == 2 and not (root / "croissant.json").exists()
    (line,) = result.stderr.strip().splitlines()
    assert line == (
        f"Error: {ward.page(root)}: Croissant needs what is missing here: reference, licence_url, "
        "creators, published; fill it in"
    )


def test_croissant_needs_no_citation_and_takes_what_is_given_as_an_option(root):
    ward.write_page(root, licence_url=None, reference=None, citation=None)
    given = "--url", "https://example.org/mine", "--dataset_name", "Mine"
    result = croissant(root, *given)
    assert result.exit_code == 0, result.stderr
    content = json.loads((root / "croissant.json").read_bytes())
    assert (content["name"], content["url"]) == ("Mine", "https://example.org/mine")
    assert content["license"] == "CC BY 4.0"
    assert "citeAs" not in content and "isBasedOn" not in content


def refused(root, script):
    """Return the one line of a script that ends with exit status 2 and has written nothing."""
    before = trees.contents(root)
    result = run(script, root, *words_of(script, root))
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert trees.contents(root) == before
    return line


@pytest.mark.parametrize("script", DOORS)
def test_a_mistake_on_the_page_is_one_line_and_nothing_is_written(root, script):
    ward.write_page(root, modality="PET")
    line = refused(root, script)
    assert line.startswith(f"Error: {ward.page(root)}: modality is 'PET', expected CT or MRI")


@pytest.mark.parametrize("script", DOORS)
def test_the_page_of_another_data_set_is_refused_and_nothing_is_written(root, script):
    ward.write_page(root, id='"bed_{seq}"')
    line = refused(root, script)
    assert "none of the " in line and line.endswith("is it the page of another data set?")
    assert f"samples is named as the id bed_{{seq}} of {ward.page(root)} says: w_1, w_2" in line


# ---- report


@pytest.mark.slow("draws pictures")
def test_report_of_a_described_set(root):
    before = "--output_dir", root / "before", "--region_area_thresh", 0
    places = "--root_dir", root / "grouped"
    assert run(trees.DENOISE, root, *places, *before).exit_code == 0
    assert denoise(root).exit_code == 0
    table = "--manifest_file", root / "grouped/dataset_manifest.xlsx"
    result = report(root, "--before_dir", root / "before", *table)
    assert result.exit_code == 0 and result.stderr.strip() == "", result.stderr
    flags = set(re.findall(r"^(w_\d): ([a-z/ ]+): (.*)", result.stdout, re.M))
    assert ("w_2", "geometry", f"{IDENTITY[0].upper()}{IDENTITY[1:]}.") in flags
    fault = "Has a stripe (evidence: seen). The files at hand do not tell whether it is so."
    assert ("w_5", "known fault", fault) in flags
    kinds = {(name, kind) for name, kind, _ in flags}
    assert not {kind for _, kind in kinds} & {"pieces", "organ missing", "scanner", "sex"}
    records = {
        path.stem: json.loads(path.read_bytes()) for path in (root / "qc/measures").glob("*.json")
    }
    assert {name: one["volume"]["modality"] for name, one in records.items()} == {
        name: "MRI" if name == "w_3" else "CT" for name in ward.IDS
    }
    # The island and the hole lie in two slices along the first axis.
    after, changed = trees.voxels(mask_path(root, "w_1")), records["w_1"]["changes"]
    is_other = after != trees.voxels(root / "before/train/w_1/w_1_mask.nii.gz")
    assert changed["n_slices"] == np.count_nonzero(is_other.any(axis=(1, 2)))
    assert changed["n_slices"] != np.count_nonzero(is_other.any(axis=(0, 1)))
    page = (root / "qc/index.html").read_text(encoding="utf-8")
    assert "two scans of one patient (by patient id) on one day" in page
    assert {path.name for path in (root / "qc/plots").iterdir()} == {
        *("organ_volumes_by_modality.svg", "organ_volumes_by_sex.svg"),
        *("sizes_and_spacings.svg", "small_regions.svg"),
    }
    assert report(root, "--before_dir", root / "before", *table).stdout.count("6 skipped") == 1
    ward.write_page(root, slice_axis="1")  # other slices are compared then
    redone = report(root, "--before_dir", root / "before", *table)
    assert "5 skipped" not in redone.stdout and "6 done" in redone.stdout


def test_a_page_elsewhere_does_not_take_the_record_of_the_run_along(root, tmp_path):
    page = tmp_path / "other/archive/dataset.yaml"
    page.parent.mkdir(parents=True)
    page.write_bytes(ward.page(root).read_bytes().replace(b"faults.csv", b"f.csv"))
    (page.parent / "f.csv").write_bytes((root / "descriptor/faults.csv").read_bytes())
    (root / "descriptor/provenance.jsonl").unlink()
    place = "--output_file", root / "a.json"
    result = trees.run(trees.DATALIST, "--dataset", page, *of_split(root), *place)
    assert result.exit_code == 0, result.stderr
    (line,) = (root / "descriptor/provenance.jsonl").read_text().splitlines()
    assert json.loads(line)["parameters"]["dataset"] == "../other/archive/dataset.yaml"


def test_an_affine_that_is_nearly_the_identity_is_no_lost_geometry(root):
    path = root / "archive/images/2_p1.nii.gz"
    values, affine = trees.voxels(path), np.eye(4)
    affine[0, 3] = 1e-3
    path.unlink()
    nib.save(nib.Nifti1Image(values, affine), path)
    words = "--root_dir", root / "archive", "--output_manifest_file", root / "b.xlsx"
    result = run("described/01_gen_archive_manifest.py", root, *words)
    assert "1 file, of w_2\n" in result.stderr  # its mask alone


def test_errors_is_what_a_page_raises(tmp_path):
    page = tmp_path / "dataset.yaml"
    page.write_text("name: a\n")
    with pytest.raises(errors.DatasetError, match="files is missing"):
        described.chosen(page)

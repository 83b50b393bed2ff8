"""The pages of published sets: names, labels, splits, faults, and each set from 01 to exports."""

import collections
import importlib.util
import json
import os
import re
import subprocess
import sys

import described_archives
import numpy as np
import openpyxl
import pytest
import test_readme
import trees
from described_archives import LAYOUTS, PAGES, TEMPLATES, UNSUPPORTED

from utils import errors
from utils.facts import described, known_faults
from utils.storage import label_map

NAMES = [page.parent.relative_to(TEMPLATES).as_posix() for page in PAGES]
USABLE = [name for name in NAMES if name not in UNSUPPORTED]
# Page -> path in the archive -> its (type, sample, subset, organ), None where it is not of the set.
PATHS = {
    "CT-ORG": {
        "volumes 0-49/volume-0.nii.gz": ("v3d", "ct-org_000", "test"),
        "OrganSegmentations/volume-20.nii.gz": ("v3d", "ct-org_020", "test"),
        "volume-21.nii": ("v3d", "ct-org_021", "train"),
        "labels and README.zip/labels-139.nii.gz": ("m3d", "ct-org_139", "train"),
        "volume-140.nii.gz": ("v3d", "ct-org_140", ""),
        "Volume-1.nii.gz": None,
        "volume-1_0000.nii.gz": None,
        "segmentation-1.nii.gz": None,
        "labels and README/README.txt": None,
    },
    "FLARE22": {
        "a/images/FLARE22_Tr_0001_0000.nii.gz": ("v3d", "flare22_train_0001", "train"),
        "images/FLARE22_Tr_0050_0000.nii": ("v3d", "flare22_train_0050", "train"),
        "labels/FLARE22_Tr_0001.nii.gz": ("m3d", "flare22_train_0001", "train"),
        "labels/FLARE22_Tr_0001.nii": ("m3d", "flare22_train_0001", "train"),
        "Training/Case_00001_0000.nii.gz": ("v3d", "flare22_unlabelled_00001", "unlabelled"),
        "Validation/FLARETs_0001_0000.nii.gz": ("v3d", "flare22_val_0001", "val"),
        "Validation-Public-Labels/FLARETs_0050.nii.gz": ("m3d", "flare22_val_0050", "val"),
        "FLARE22_Tr_0001_0001.nii.gz": None,
        "pseudo/Case_00001.nii.gz": None,
        "FLARE22_Ts_0001_0000.nii.gz": None,
    },
    "BTCV": {
        "RawData/Training/img/img0001.nii.gz": ("v3d", "btcv_0001", "train"),
        "RawData/Training/label/label0040.nii.gz": ("m3d", "btcv_0040", "train"),
        "RawData/Testing/img/img0061.nii.gz": ("v3d", "btcv_0061", "test"),
        "imagesTs/img0080.nii.gz": ("v3d", "btcv_0080", "test"),
        "RawData/Training/img/img0011.nii.gz": ("v3d", "btcv_0011", ""),
        "Reg/img0061-0001.nii.gz": None,
        "averaged-training-images/DET0000101_avg.nii.gz": None,
    },
    "KiTS": {
        "dataset/case_00000/imaging.nii.gz": ("v3d", "case_00000", "train"),
        "dataset/case_00588/segmentation.nii.gz": ("m3d", "case_00588", "train"),
        "case_00002/instances/cyst_instance-1_annotation-1.nii.gz": None,
        "imaging.nii.gz": None,
        "case_00000/aggregated_MAJ_seg.nii.gz": None,
    },
    "KiTS/KiTS21": {
        "data/case_00299/imaging.nii.gz": ("v3d", "case_00299", "train"),
        "data/case_00000/aggregated_MAJ_seg.nii.gz": ("m3d", "case_00000", "train"),
        "data/case_00000/aggregated_AND_seg.nii.gz": None,
        "data/case_00000/aggregated_OR_seg.nii.gz": None,
        "data/case_00000/segmentations/kidney_instance-1_annotation-1.nii.gz": None,
    },
    "KiTS/KiTS19": {
        "data/case_00209/imaging.nii.gz": ("v3d", "case_00209", "train"),
        "data/case_00209/segmentation.nii.gz": ("m3d", "case_00209", "train"),
        "data/case_00210/imaging.nii.gz": ("v3d", "case_00210", "test"),
        "data/case_00300/imaging.nii.gz": ("v3d", "case_00300", ""),
        "data/kits.json": None,
    },
    "TotalSegmentator": {
        "Totalsegmentator_dataset/s0000/ct.nii.gz": ("v3d", "s0000", ""),
        "s0000/segmentations/rib_left_1.nii.gz": ("m3d", "s0000", "", "rib_left_1"),
        "s1429/segmentations/vertebrae_S1.nii.gz": ("m3d", "s1429", "", "vertebrae_S1"),
        "s0000/mri.nii.gz": None,
        "s0000/combined.nii.gz": None,
        "s0000/segmentations/meta.csv": None,
    },
    "TotalSegmentator/v1": {
        "s0864/ct.nii.gz": ("v3d", "s0864", ""),
        "s0864/segmentations/face.nii.gz": ("m3d", "s0864", "", "face"),
    },
}
# Task of the Decathlon -> start of its files' names, a number as they have it, ID.
DECATHLON = {
    "Task02_Heart": ("la", "003", "la_003"),
    "Task03_Liver": ("liver", "0", "liver_000"),
    "Task04_Hippocampus": ("hippocampus", "001", "hippocampus_001"),
    "Task06_Lung": ("lung", "001", "lung_001"),
    "Task07_Pancreas": ("pancreas", "290", "pancreas_290"),
    "Task08_HepaticVessel": ("hepaticvessel", "455", "hepaticvessel_455"),
    "Task09_Spleen": ("spleen", "2", "spleen_002"),
    "Task10_Colon": ("colon", "219", "colon_219"),
}
for _task, (_prefix, _number, _id) in DECATHLON.items():
    _file = f"{_prefix}_{_number}.nii.gz"
    PATHS[f"MSD/{_task}"] = {
        f"{_task}/imagesTr/{_file}": ("v3d", _id, "train"),
        f"imagesTr/{_file[:-3]}": ("v3d", _id, "train"),
        f"{_task}/labelsTr/{_file}": ("m3d", _id, "train"),
        f"{_task}/imagesTs/{_file}": ("v3d", _id, "test"),
        f"{_task}/labelsTs/{_file}": None,
        f"{_task}/imagesTr/{_prefix}_{_number}_0000.nii.gz": None,
        f"{_task}/imagesTr/prostate_{_number}.nii.gz": None,
        f"{_task}/dataset.json": None,
    }
_ABDOMEN = {
    "FLARE22": (
        "background, liver, right kidney, spleen, pancreas, aorta, inferior vena cava, right "
        "adrenal gland, left adrenal gland, gallbladder, esophagus, stomach, duodenum, left kidney"
    ),
    "BTCV": (
        "background, spleen, right kidney, left kidney, gallbladder, esophagus, liver, stomach, "
        "aorta, inferior vena cava, portal vein and splenic vein, pancreas, right adrenal gland, "
        "left adrenal gland"
    ),
    "CT-ORG": "background, liver, bladder, lungs, kidneys, bone, brain",
    "KiTS": "background, kidney, tumor, cyst",
    "KiTS/KiTS21": "background, kidney, tumor, cyst",
    "KiTS/KiTS19": "background, kidney, tumor",
    "MSD/Task02_Heart": "background, left atrium",
    "MSD/Task03_Liver": "background, liver, cancer",
    "MSD/Task04_Hippocampus": "background, Anterior, Posterior",
    "MSD/Task06_Lung": "background, cancer",
    "MSD/Task07_Pancreas": "background, pancreas, cancer",
    "MSD/Task08_HepaticVessel": "background, Vessel, Tumour",
    "MSD/Task09_Spleen": "background, spleen",
    "MSD/Task10_Colon": "background, colon cancer primaries",
}
LABELS = {page: dict(enumerate(text.split(", "))) for page, text in _ABDOMEN.items()}
# Some of the 104 and 117 organs, at both ends and where the versions differ.
SOME_ORGANS = {
    "TotalSegmentator": {
        1: "spleen",
        7: "pancreas",
        26: "vertebrae_S1",
        50: "vertebrae_C1",
        51: "heart",
        79: "spinal_cord",
        90: "brain",
        92: "rib_left_1",
        115: "rib_right_12",
        117: "costal_cartilages",
    },
    "TotalSegmentator/v1": {
        1: "spleen",
        7: "aorta",
        10: "pancreas",
        18: "vertebrae_L5",
        41: "vertebrae_C1",
        58: "rib_left_1",
        81: "rib_right_12",
        92: "sacrum",
        93: "face",
        104: "urinary_bladder",
    },
}
N_ORGANS = {"TotalSegmentator": 117, "TotalSegmentator/v1": 104}
# Kinds of the faults that are known of each set.
FAULTS = {
    "CT-ORG": {"annotation": 119, "overlap": 21},
    "KiTS": {"geometry": 1},
    "KiTS/KiTS21": {"geometry": 1, "annotation": 1},
    "KiTS/KiTS19": {"geometry": 1, "annotation": 11},
    "TotalSegmentator": {"annotation": 15, "intensity": 7},
    "TotalSegmentator/v1": {"annotation": 6, "geometry": 3, "damaged": 1},
}
LICENCES = {
    **dict.fromkeys(("FLARE22", "BTCV"), ""),
    **dict.fromkeys(("KiTS", "KiTS/KiTS19", "KiTS/KiTS21"), "CC BY-NC-SA"),
    **dict.fromkeys(N_ORGANS, "CC BY 4.0"),
    "CT-ORG": "CC BY 3.0",
}


def facts_of(page):
    return described.read(TEMPLATES / page / "dataset.yaml")


def test_every_page_is_in_the_tables():
    assert {*PATHS} == {*LABELS} | {*SOME_ORGANS} == {*USABLE}
    assert {layout.page for layout in LAYOUTS.values()} <= {*USABLE}
    lists = TEMPLATES.glob("*/**/known_faults.csv")
    listed = {path.parent.relative_to(TEMPLATES).as_posix() for path in lists}
    assert {*FAULTS} == listed


@pytest.mark.parametrize("page", USABLE)
def test_a_page_is_read_and_says_whose_the_set_is(page):
    facts = facts_of(page)
    assert facts.DESCRIPTION and facts.CITATION and facts.CREATORS
    assert re.fullmatch("20[0-9]{2}(-[0-9]{2}-[0-9]{2})?", facts.PUBLISHED)
    assert facts.REFERENCE.startswith("http")
    assert facts.LICENCE == LICENCES.get(page, "CC BY-SA 4.0")
    assert bool(facts.LICENCE_URL) == (facts.LICENCE not in ("", "CC BY-NC-SA"))
    in_mri = page in ("MSD/Task02_Heart", "MSD/Task04_Hippocampus")
    assert facts.modality({"seq": "1"}) == ("MRI" if in_mri else "CT")


@pytest.mark.parametrize("page", UNSUPPORTED)
def test_a_task_in_4d_is_refused_by_name(page, tmp_path):
    path, name = TEMPLATES / page / "dataset.yaml", f"MSD-{page.rpartition('/')[2]}"
    expected = f"{path}: the page says that {name} cannot be used: its volumes are 4-D, with "
    with pytest.raises(errors.DatasetError, match=f"^{re.escape(expected)}"):
        described.read(path)
    (tmp_path / "archive").mkdir()
    result = start("01_gen_archive_manifest", tmp_path, path)
    assert result.exit_code == 2
    assert result.stderr.count(f"{name} cannot be used: its volumes are 4-D") == 1
    assert not (tmp_path / "descriptor").exists()


@pytest.mark.parametrize(
    ("page", "path"), [(page, path) for page, paths in PATHS.items() for path in paths]
)
def test_a_path_is_what_the_set_has_there(page, path):
    facts, expected = facts_of(page), PATHS[page][path]
    found = facts.classify(path)
    if expected is None:
        assert found is None
    else:
        file_type, sample, subset, *organ = expected
        assert (found["type"], facts.sample_name(found), facts.subset(found)) == (
            file_type,
            sample,
            subset,
        )
        if facts.has_organs:
            assert found["organ"] == "".join(organ)


@pytest.mark.parametrize("page", LABELS)
def test_labels(page):
    assert facts_of(page).LABELS == LABELS[page]


@pytest.mark.parametrize("page", SOME_ORGANS)
def test_organs_and_the_order_in_which_they_win(page):
    facts = facts_of(page)
    assert {label: facts.LABELS[label] for label in SOME_ORGANS[page]} == SOME_ORGANS[page]
    background, *organs = facts.LABELS.values()
    assert background == "background" and len({*organs}) == N_ORGANS[page]
    assert list(facts.OVERLAP) == organs[::-1]


@pytest.mark.parametrize(
    ("page", "numbers", "expected"),
    [
        ("CT-ORG", range(140), {"test": 21, "train": 119}),
        ("BTCV", [*range(1, 11), *range(21, 41), *range(61, 81)], {"train": 30, "test": 20}),
        ("KiTS/KiTS19", range(300), {"train": 210, "test": 90}),
        ("KiTS/KiTS21", range(300), {"train": 300}),
        ("KiTS", range(489), {"train": 489}),
    ],
)
def test_subsets_by_number(page, numbers, expected):
    facts = facts_of(page)
    found = collections.Counter(facts.subset({"seq": str(number)}) for number in numbers)
    assert found == expected


def test_subsets_that_were_published_without_masks():
    found = {page: facts_of(page) for page in USABLE}
    assert {
        page: {*facts.SUBSETS} - {*facts.LABELLED_SUBSETS} for page, facts in found.items()
    } == {
        **dict.fromkeys(USABLE, set()),
        **{page: {"test"} for page in USABLE if page.startswith("MSD/")},
        "BTCV": {"test"},
        "KiTS/KiTS19": {"test"},
        "FLARE22": {"val", "unlabelled"},
    }


@pytest.mark.parametrize("page", USABLE)
def test_known_faults_are_of_scans_that_the_set_has(page):
    facts = facts_of(page)
    faults = known_faults.of(facts)
    assert collections.Counter(fault.kind for fault in faults) == FAULTS.get(page, {})
    named = {facts.sample_name({"seq": fault.id.rpartition("_")[2]}) for fault in faults}
    assert named == {fault.id for fault in faults}
    # An issue or a document, not only a project's name.
    assert [
        fault for fault in faults if not re.search("#[0-9]+|README|changelog", fault.evidence)
    ] == []


def test_ct_org_tells_what_is_known_of_its_scans():
    facts = facts_of("CT-ORG")
    faults = known_faults.of(facts)
    numbers = {
        kind: sorted(int(fault.id[-3:]) for fault in faults if fault.kind == kind)
        for kind in ("annotation", "overlap")
    }
    assert numbers == {"annotation": [*range(21, 140)], "overlap": [*range(28, 49)]}
    disputed = [fault.id for fault in faults if "and not by another" in fault.what]
    assert disputed == ["ct-org_045", "ct-org_048"]
    identity, mixing = facts.NOTES
    assert "volumes 28 to 47" in identity and "PatrickChrist/LITS-CHALLENGE#14" in identity
    assert "LiTS" in mixing and "MSD Task03_Liver" in mixing
    evidence = {fault.evidence for fault in faults if fault.kind == "overlap"}
    for thread in ("JunMa11/AbdomenCT-1K#27", "assassint2017/MICCAI-LITS2017#33"):
        assert all(thread in text for text in evidence)


@pytest.mark.parametrize("page", ["KiTS", "KiTS/KiTS19", "KiTS/KiTS21"])
def test_slices_of_kits_lie_along_the_first_axis(page):
    facts = facts_of(page)
    for codes in ("IPL", "LPS"):  # whatever a copy's header says
        assert facts.slice_axis(described_archives.affine(codes)) == 0
    assert facts_of("BTCV").slice_axis(described_archives.affine("IPL")) == 0
    assert facts_of("BTCV").slice_axis(described_archives.affine("LAS")) == 2


# --- from 01 to exports ---

COMMANDS = {
    "01_gen_archive_manifest": "--root_dir ROOT/archive --dataset PAGE"
    " --output_manifest_file ROOT/descriptor/archive_manifest.xlsx",
    "02_confirm_pairs": "--root_dir ROOT/archive --output_dir ROOT/grouped --dataset PAGE"
    " --archive_manifest ROOT/descriptor/archive_manifest.xlsx",
    "03_extract_binary_masks": "--root_dir ROOT/grouped --dataset PAGE",
    "04_gen_dataset_manifest": "--root_dir ROOT/grouped --dataset PAGE"
    " --output_manifest_file ROOT/grouped/dataset_manifest.xlsx",
    "05_make_split01_standard": "--dataset PAGE --manifest_file ROOT/grouped/dataset_manifest.xlsx",
}
SPLIT = "--manifest_file ROOT/grouped/dataset_manifest.xlsx --split_name split01_standard"
CUT = f"{SPLIT} --output_index_manifest_dir ROOT/splits"
NNUNET = f"{SPLIT} --output_dir ROOT/nnUNet_raw --dataset_id 501 --dataset PAGE"
DATALIST = f"{SPLIT} --output_file ROOT/datalist.json --dataset PAGE"


def start(script, root, page, line=None, *more):
    """Run a script of described/, or another one with its command line."""
    path = f"described/{script}.py" if "/" not in script else script
    words = {"ROOT": str(root), "PAGE": str(page)}
    parts = (line or COMMANDS[script]).split()
    filled = [re.sub("ROOT|PAGE", lambda found: words[found[0]], part) for part in parts]
    return trees.run(path, *filled, *more)


def finish(script, root, page, line=None, *more):
    """Run a script that must end well; gives click's result."""
    result = start(script, root, page, line, *more)
    assert result.exit_code == 0, result.output[-3000:]
    return result


def run_all(name, root, zipped=False):
    """Run 01 to 05 on the made-up archive of a layout; gives its truth and what 01 said."""
    truth = described_archives.make(name, root)
    if zipped:
        described_archives.zip_folders(root / "archive")
    page = LAYOUTS[name].path
    (root / "descriptor").mkdir()
    told = [finish(script, root, page) for script in COMMANDS][0]
    return truth, told


def rows(path, sheet="Manifest"):
    """Rows of a worksheet as dicts."""
    header, *found = openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True)
    return [dict(zip(header, row)) for row in found]


@pytest.fixture(scope="module", name="finished", params=LAYOUTS)
def finished_set(request, tmp_path_factory):
    """A set after routine 05: its name, its root, the truth, and what routine 01 said."""
    root = tmp_path_factory.mktemp("sets") / "a root"
    root.mkdir()
    return request.param, root, *run_all(request.param, root)


def test_every_sample_lies_in_its_subset_with_its_own_voxels(finished):
    name, root, truth, _ = finished
    facts = LAYOUTS[name].facts
    found = {path.parent.name: path.parent for path in root.glob("grouped/*/*/*_volume.nii.gz")}
    assert {key: folder.parent.name for key, folder in found.items()} == {
        key: scan.subset for key, scan in truth.items()
    }
    for key, scan in truth.items():
        folder = found[key]
        volume = folder / f"{key}_volume.nii.gz"
        assert np.array_equal(trees.voxels(volume), scan.volume.astype(np.float32))
        masks = {path.name for path in folder.glob(f"{key}_mask*.nii.gz")}
        if scan.mask is None:
            assert not masks
            continue
        expected = {f"{key}_mask.nii.gz": scan.mask}
        for label, text in facts.LABELS.items():
            binary = f"{key}_mask_{label:02d}_{label_map.file_form(text)}.nii.gz"
            expected[binary] = scan.mask == label
        assert masks == {*expected}
        for one, voxels in expected.items():
            assert np.array_equal(trees.voxels(folder / one), voxels)


def test_samples_are_taken_by_their_own_page_alone(finished):
    name, _, truth, _ = finished
    assert not _is_refused(name, truth)
    own = LAYOUTS[name].facts.id_template  # versions of one set have the same
    others = [other for other in LAYOUTS if LAYOUTS[other].facts.id_template != own]
    assert len(others) >= 7 and all(_is_refused(other, truth) for other in others)


def _is_refused(layout, names):
    try:
        LAYOUTS[layout].facts.check_names([*names], "grouped")
    except errors.DatasetError:
        return True
    return False


def test_the_manifests_have_the_affine_and_the_subset(finished):
    name, root, truth, _ = finished
    facts, files = LAYOUTS[name].facts, _archive_rows(root)
    listed = {row["ID"]: row for row in rows(root / "grouped/dataset_manifest.xlsx")}
    assert {key: row["subset"] for key, row in listed.items()} == {
        key: scan.subset for key, scan in truth.items()
    }
    split = rows(root / "grouped/dataset_manifest.xlsx", "split01_standard")
    assert {row["ID"]: row["split01_standard"] for row in split} == {
        key: scan.subset for key, scan in truth.items()
    }
    n_files = collections.Counter(row["type"] for row in files)
    masks = [scan.mask for scan in truth.values() if scan.mask is not None]
    per_mask = len(facts.LABELS) - 1 if facts.has_organs else 1
    assert n_files == {"v3d": len(truth), "m3d": len(masks) * per_mask}
    for row in files:
        numbers = [float(text) for text in re.findall(r"-?[0-9.]+(?:e-?[0-9]+)?", row["transform"])]
        expected = truth[facts.sample_name(row)].affine
        assert np.allclose(np.reshape(numbers, (4, 4)), expected)


def _archive_rows(root):
    return rows(root / "descriptor/archive_manifest.xlsx")


def test_routine_01_tells_the_notes_and_no_fault(finished):
    name, _, truth, told = finished
    facts = LAYOUTS[name].facts
    for note in facts.NOTES:
        assert f"note {facts.NAME}: {note}" in told.stderr.splitlines()
    faults = {fault.kind for fault in known_faults.of(facts) if fault.id in truth}
    lines = [line for line in told.stderr.splitlines() if line.startswith("note known faults: ")]
    assert {line.split(": ")[1] for line in lines} == faults
    assert "FAILED" not in told.stderr


def test_index_manifests_of_the_split(finished, tmp_path):
    name, root, truth, _ = finished
    subsets = LAYOUTS[name].facts.SUBSETS
    words = [word for subset in subsets for word in ("--subsets", subset)]
    line = CUT.replace("ROOT/splits", str(tmp_path / "splits").replace(" ", "_"))
    finish("06_extract_split_index_manifest", root, LAYOUTS[name].path, line, *words)
    for subset in subsets:
        sheet = f"split01_standard_{subset}"
        found = rows(tmp_path / "splits" / f"{sheet}.xlsx", sheet)
        expected = {key for key, scan in truth.items() if scan.subset == subset}
        assert {row["ID"] for row in found} == expected


@pytest.fixture(scope="module", name="exported")
def exported_set(finished):
    """The same after the export to nnU-Net, with its folder."""
    name, root, truth, _ = finished
    line = f"{NNUNET} --dataset_name {LAYOUTS[name].page.replace('/', '_').replace('-', '_')}"
    more = ("--folds", "2") if "val" not in LAYOUTS[name].facts.SUBSETS else ()
    finish("utils/export_nnunet.py", root, LAYOUTS[name].path, line, *more)
    (folder,) = (root / "nnUNet_raw").iterdir()
    return name, root, truth, folder


def test_nnunet_gets_channel_and_labels(exported):
    name, _, truth, folder = exported
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert content["channel_names"] == {"0": LAYOUTS[name].channel}
    assert [*content["labels"].values()] == [*LAYOUTS[name].facts.LABELS]
    assert [*map(label_map.file_form, content["labels"])] == [
        *map(label_map.file_form, LAYOUTS[name].facts.LABELS.values())
    ]
    to_train = [scan for scan in truth.values() if scan.subset in ("train", "val")]
    assert content["numTraining"] == len([scan for scan in to_train if scan.mask is not None])


def test_a_data_list_has_all_but_unlabelled_scans(finished):
    name, root, truth, _ = finished
    finish("utils/export_datalist.py", root, LAYOUTS[name].path, DATALIST)
    content = json.loads((root / "datalist.json").read_text(encoding="utf-8"))
    assert content["modality"] == {"0": LAYOUTS[name].channel}
    listed = str([content.get(key) for key in ("training", "validation", "testing")])
    for key, scan in truth.items():
        is_listed = scan.subset != "unlabelled" and (scan.mask is not None or scan.subset == "test")
        assert (f"{key}_volume.nii.gz" in listed) == is_listed, key


VERIFY = """
import sys
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
if __name__ == "__main__":
    verify_dataset_integrity(sys.argv[1], num_processes=1)
"""


@pytest.mark.slow("real packages")
@pytest.mark.skipif(
    importlib.util.find_spec("nnunetv2") is None,
    reason="nnunetv2 is not installed (requirements-frameworks.txt)",
)
def test_nnunet_finds_the_export_whole(exported):
    *_, folder = exported
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "nnUNet_raw": str(folder.parent)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("verify_dataset_integrity Done.") == 1
    assert "mismatch" not in done.stdout.lower()


# --- single sets ---


def test_ct_org_in_zips_is_the_same_as_in_folders(tmp_path):
    """As its collection is downloaded: nothing has to be unpacked."""
    states = {}
    for kind in ("folders", "zips"):
        root = tmp_path / kind
        root.mkdir()
        run_all("CT-ORG", root, zipped=kind == "zips")
        states[kind] = {
            name: content
            for name, content in trees.contents(root / "grouped").items()
            if name.endswith((".nii.gz", ".yaml"))
        }
    paths = [row["file_path"] for row in _archive_rows(tmp_path / "zips")]
    assert "volumes 0-49.zip/volumes 0-49/volume-0.nii.gz" in paths
    assert len(paths) == 14 and all(".zip/" in path for path in paths)
    assert states["zips"] == states["folders"]


@pytest.fixture(scope="module", name="ct_org")
def finished_ct_org(tmp_path_factory):
    root = tmp_path_factory.mktemp("ct-org")
    return root, *run_all("CT-ORG", root)


def test_ct_org_tells_which_scans_have_an_identity_affine(ct_org):
    """Found in the files, not by number: 28 and 47 have one, 21 and 139 have none."""
    _, _, told = ct_org
    of_page = f"note CT-ORG: {facts_of('CT-ORG').NOTES[0]}"
    lines = [line for line in told.stderr.splitlines() if "identity affine" in line]
    lines.remove(of_page)
    named = {number for line in lines for number in re.findall(r"ct-org_0*(\d+)", line)}
    assert named == {"28", "47"}


def test_ct_org_tells_what_is_known_of_the_scans_at_hand(ct_org):
    _, _, told = ct_org
    lines = [line for line in told.stderr.splitlines() if line.startswith("note known faults: ")]
    assert lines == [
        "note known faults: annotation: 4 scans, lungs and bones were segmented by an algorithm, "
        "not reliable for evaluation: ct-org_021, ct-org_028, ct-org_047, ct-org_139",
        "note known faults: overlap: 2 scans, counted to 3D-IRCADb under this number of LiTS, "
        "whose own files have the true spacing: ct-org_028, ct-org_047",
    ]


def test_labels_of_ct_org_that_were_stored_with_a_slope_are_whole(ct_org):
    root, truth, _ = ct_org
    path = root / "grouped/train/ct-org_028/ct-org_028_mask.nii.gz"
    assert np.array_equal(trees.voxels(path), truth["ct-org_028"].mask)
    assert {*np.unique(truth["ct-org_028"].mask)} == {*range(7)}


def test_a_number_that_the_page_does_not_have_fails_and_the_others_are_done(tmp_path):
    described_archives.make("BTCV", tmp_path)
    image = tmp_path / "archive/RawData/Training/img/img0001.nii.gz"
    image.rename(image.with_name("img0011.nii.gz"))
    (tmp_path / "archive/RawData/Training/label/label0001.nii.gz").unlink()
    (tmp_path / "descriptor").mkdir()
    result = start("01_gen_archive_manifest", tmp_path, LAYOUTS["BTCV"].path)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED btcv_0011: '0011' is in none of split.subsets of ")
    assert {row["seq"] for row in _archive_rows(tmp_path)} == {"0010", "0040", "0061"}


@pytest.mark.parametrize(
    ("name", "unneeded", "clutter"),
    [
        ("CT-ORG", 0, 0),
        ("FLARE22", 0, 0),
        ("KiTS23", 3, 0),  # masks of single regions by single people
        ("KiTS21", 6, 0),  # masks put together in other ways
        ("MSD-Task03_Liver", 0, 8),  # AppleDouble files beside all files and the folder
    ],
)
def test_what_is_not_of_the_set_is_counted_and_no_reason_to_look(name, unneeded, clutter, tmp_path):
    described_archives.make(name, tmp_path)
    (tmp_path / "descriptor").mkdir()
    told = finish("01_gen_archive_manifest", tmp_path, LAYOUTS[name].path)
    counts = f"ignored: 0 other NIfTI files, {clutter} files of clutter"
    assert f"left out: 0 files; {counts}" in told.stdout
    note = f"{unneeded} files are left out, as files.ignored of the page says: "
    assert (note in told.stderr) == (unneeded > 0)
    assert "WARNING" not in told.stderr


def test_metadata_of_totalsegmentator_are_in_their_forms(tmp_path):
    described_archives.make("TotalSegmentator-v2", tmp_path)
    (tmp_path / "descriptor").mkdir()
    finish("01_gen_archive_manifest", tmp_path, LAYOUTS["TotalSegmentator-v2"].path)
    keys = ("subset", "sex", "age", "institute", "study_type", "manufacturer_model_name")
    found = {row["seq"]: tuple(row[key] for key in keys) for row in _archive_rows(tmp_path)}
    assert found == {
        "s0000": ("train", "M", "065Y", "H", "ct thorax", "Force"),
        "s0011": ("val", "F", "040Y", "A", "ct abdomen", "Force"),
        "s1429": ("test", "F", "UND", "B", "ct", "Force"),
    }


# --- the pages of docs ---

CT_ORG, PUBLISHED = test_readme.DESCRIBED_PAGES


@pytest.mark.slow("all commands of the page")
def test_commands_of_ct_org_run_on_its_made_up_archive(tmp_path):
    counts = test_readme.run_pages((CT_ORG,), tmp_path / "a root")
    assert (counts["command"], counts["text"]) == (8, 2)


def test_claims_on_the_pages_have_a_test_of_that_name():
    for page in (CT_ORG, PUBLISHED):
        named = test_readme.claims(page)
        assert len(named) > 5
        assert {*named} - test_readme.defined_tests("test_pages_of_sets.py") == set()


def table_of(page, heading):
    """Cells of the table under a line, row by row."""
    found = re.search(
        rf"^{re.escape(heading)}\n\|[-|]+\n((?:\|.*\n)+)", test_readme.read(page), re.M
    )
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in found[1].splitlines()]


def test_labels_on_the_page_of_ct_org_are_those_of_the_set():
    cells = sum(table_of(CT_ORG, "| label | name | label | name |"), [])
    shown = {int(label): name for label, name in zip(cells[::2], cells[1::2]) if label}
    assert shown == facts_of("CT-ORG").LABELS


def test_the_table_of_published_sets_is_what_their_pages_say():
    heading = "| set | page | scans | labels | subsets from | licence |"
    for _, where, _, labels, _, licence in table_of(PUBLISHED, heading):
        facts = facts_of(re.match("`(.+)/dataset.yaml`", where)[1])
        assert licence == (facts.LICENCE or "not verified")
        assert not labels or int(labels) == len(facts.LABELS) - 1
    tasks = table_of(PUBLISHED, "| task | scans with masks, without | labels |")
    assert [f"Task{task.replace(' (MRI)', '').replace(' ', '_')}" for task, _, _ in tasks] == [
        *DECATHLON
    ]
    for task, _, labels in tasks:
        facts = facts_of(f"MSD/Task{task.replace(' (MRI)', '').replace(' ', '_')}")
        assert labels == ", ".join([*facts.LABELS.values()][1:])
        assert facts.modality({"seq": "1"}) == ("MRI" if "(MRI)" in task else "CT")

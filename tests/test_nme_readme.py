"""The pages about NME: all commands in order on the made-up archive, and what comes of them."""

import collections
import hashlib

import openpyxl
import pytest
import test_readme
import trees

README, DETAILS = test_readme.NME_PAGES
MAX_LINES = 150
OUTER = (
    "02A001",
    "02A002",
    "02E003",
    "02A004",
    "03A001",
    "03A002",
    "03A003",
    "04A001",
    "04A002",
    "04A003",
)
SUBSETS = ("train", "val", "test")
all_commands = pytest.mark.slow("all commands of the README")


def read():
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module", name="root")
def documented_root(tmp_path_factory):
    """The folder after all commands; trees and tables were compared on the way."""
    root = tmp_path_factory.mktemp("nme") / "a root"
    counts = test_readme.run_pages((README, DETAILS), root)
    expected = {"command": 24, "text": 7, "columns": 2, "keys": 1}
    assert {kind: counts[kind] for kind in expected} == expected
    return root


def sheet(path, name):
    """Rows of a worksheet as dicts."""
    header, *rows = openpyxl.load_workbook(path)[name].iter_rows(values_only=True)
    return [dict(zip(header, row)) for row in rows]


def split(root, name):
    return sheet(root / "grouped/dataset_manifest.xlsx", name)


def sizes(rows, name):
    counts = collections.Counter(row[name] for row in rows)
    return tuple(counts[subset] for subset in SUBSETS)


@all_commands
def test_archive_manifest(root):
    rows = sheet(root / "descriptor/archive_manifest.xlsx", "Manifest")
    assert len(rows) == 36
    first, second = rows[:2]
    assert (
        first["file_path"],
        first["site"],
        first["collection"],
        first["subset"],
        first["seq"],
        first["pid"],
        first["type"],
        first["diff_trans_f_norm"],
    ) == (
        "NME-Seg-2025.8.25-train-val/imagesTr/NME-Seg_01A001.1004091054.nii.gz",
        "Tongji",
        "train-val",
        "imagesTr",
        "01A001",
        "1004091054",
        "v3d",
        None,
    )
    assert (second["subset"], second["type"], second["diff_trans_f_norm"]) == ("labelsTr", "m3d", 0)
    yunnan = next(row for row in rows if row["seq"] == "02E003")
    assert (yunnan["site"], yunnan["pid"]) == ("Yunnan", "0071100412")


@all_commands
def test_voxels_and_types_of_the_samples(root):
    name = "01A002_60012875311"
    folder = root / "grouped/Tongji/train-val/train" / name
    source = root / "archive/NME-Seg-2025.8.25-train-val"
    mask = trees.voxels(folder / f"{name}_mask.nii.gz")
    assert mask.dtype == "uint8" and set(mask.ravel()) == {0, 1}
    assert (mask == trees.voxels(source / "labelsTr/NME-Seg_01A002.60012875311.nii.gz")).all()
    volume = trees.voxels(folder / f"{name}_volume.nii.gz")
    assert volume.dtype == "float32"
    assert (volume == trees.voxels(source / "imagesTr/NME-Seg_01A002.60012875311.nii.gz")).all()
    for short, value in (("00_Bg", 0), ("01_NME", 1)):
        binary = trees.voxels(folder / f"{name}_mask_{short}.nii.gz")
        assert (binary == (mask == value)).all()
    assert (folder / f"{name}_info.yaml").read_text(encoding="utf-8") == (
        'collection: "train-val"\nsubset: "train"\nsite: "Tongji"\nseq: "01A002"\n'
        'pid: "60012875311"\n'
    )


@all_commands
def test_dataset_manifest(root):
    rows = split(root, "Manifest")
    assert [row["ID"] for row in rows] == sorted(row["ID"] for row in rows)
    by_id = {row["ID"]: row for row in rows}
    assert len(by_id) == 18
    healthy = by_id["01B002_1004105531"]
    assert (
        healthy["valid_labels"],
        healthy["mask_00_Bg_existence"],
        healthy["mask_01_NME_existence"],
    ) == ("0", 1, 0)
    row = by_id["02E003_0071100412"]
    folder = "Yunnan/test-outer-02/test/02E003_0071100412/02E003_0071100412_"
    assert (row["site"], row["collection"], row["subset"], row["pid"], row["valid_labels"]) == (
        "Yunnan",
        "test-outer-02",
        "test",
        "0071100412",
        "0,1",
    )
    assert (row["info"], row["mask_01_NME"]) == (
        f"{folder}info.yaml",
        f"{folder}mask_01_NME.nii.gz",
    )


@all_commands
@pytest.mark.parametrize(
    "name, expected",
    [
        ("split01_Tongji", (4, 2, 2)),
        ("split02_Yunnan", (0, 0, 4)),
        ("split03_Zhongnan", (0, 0, 3)),
        ("split04_HKU-SZH", (0, 0, 3)),
        ("split05_External", (0, 0, 10)),
        ("split06_Whole", (4, 2, 12)),
        # Of the 10 outside Tongji floor(3.5) are for test and, of the 7 left, floor(1.9) for val.
        ("split07_Mix", (4 + 6, 2 + 1, 2 + 3)),
    ],
)
def test_sizes_of_the_splits(root, name, expected):
    rows = split(root, name)
    assert sizes(rows, name) == expected
    assert list(rows[0])[:-1] == list(split(root, "Manifest")[0])


@all_commands
def test_published_splits_follow_the_subset(root):
    for name in ("split01_Tongji", "split05_External", "split06_Whole"):
        assert all(row[name] == row["subset"] for row in split(root, name))
    assert {row["ID"][:6] for row in split(root, "split05_External")} == {*OUTER}


@all_commands
def test_split_across_sites_keeps_tongji_and_patients(root):
    rows = split(root, "split07_Mix")
    assert all(row["split07_Mix"] == row["subset"] for row in rows if row["site"] == "Tongji")
    sides = collections.defaultdict(set)
    for row in rows:
        sides[row["pid"]].add(row["split07_Mix"])
    assert {len(found) for found in sides.values()} == {1}
    assert sides["1004091120"] == {"train"}  # of Tongji, and of Zhongnan, too
    # The draw itself, written out: single patients here, but for one of two scans.
    order = sorted(
        {row["pid"] for row in rows if row["site"] != "Tongji"} - {"1004091120"},
        key=lambda pid: hashlib.sha256(f"0:{pid}".encode()).hexdigest(),
    )
    n_scans = collections.Counter(row["pid"] for row in rows)
    test, n_left = [], 3
    for pid in order:
        if n_scans[pid] <= n_left:
            test.append(pid)
            n_left -= n_scans[pid]
    assert {
        row["pid"] for row in rows if row["site"] != "Tongji" and row["split07_Mix"] == "test"
    } == {*test}


@all_commands
def test_index_manifests(root):
    found = {
        path.name: len(sheet(path, path.stem)) for path in (root / "grouped/splits").rglob("*.xlsx")
    }
    three = {"split01_Tongji": (4, 2, 2), "split06_Whole": (4, 2, 12), "split07_Mix": (10, 3, 5)}
    expected = {
        f"{name}_{subset}.xlsx": count
        for name, counts in three.items()
        for subset, count in zip(SUBSETS, counts)
    }
    expected |= {f"{name}_train_val.xlsx": sum(counts[:2]) for name, counts in three.items()}
    expected |= {
        "split02_Yunnan_test.xlsx": 4,
        "split03_Zhongnan_test.xlsx": 3,
        "split04_HKU-SZH_test.xlsx": 3,
        "split05_External_test.xlsx": 10,
    }
    assert found == expected
    path = root / "grouped/splits/split07_Mix/split07_Mix_val.xlsx"
    assert sheet(path, path.stem) == [
        row for row in split(root, "split07_Mix") if row["split07_Mix"] == "val"
    ]


def test_the_main_page_is_short():
    assert read().count("\n") <= MAX_LINES


def test_both_pages_have_the_same_commands():
    """The main page in the order of the tutorial; the other has one more, for small regions."""
    brief, full = (
        [line for block in test_readme.blocks_of(page) for line in block.commands]
        for page in (README, DETAILS)
    )
    assert [line for line in full if "small_connected_region" not in line] == brief


def test_claims_have_a_test_of_that_name():
    named = test_readme.claims(DETAILS)
    assert len(named) >= 20
    assert {*named} - test_readme.defined_tests("test_nme*.py") == set()

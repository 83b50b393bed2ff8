"""The pipeline obeys the review: 02 and 05 leave out what is excluded, 06 and later notice it."""

import functools
import hashlib
import json
import shutil

import described_trees
import nme_trees
import pytest
import trees

from utils.routines import decided
from utils.storage import nifti, nifti_writing, review, workbook

HEADER = "ID,decision,note,reviewer,mask_crc32\n"
ALL = sorted(name.rpartition("/")[2][:9] for name in {**trees.CT_SAMPLES, **trees.MRI_SAMPLES})
MANIFEST = "grouped/dataset_manifest.xlsx"
INDEXES = "grouped/splits/split01_standard"


def at(state):
    """Make the fixture of the data in a state."""
    return pytest.fixture(name=state)(lambda tmp_path: trees.copy(state, tmp_path / "root ä"))


scanned, paired, extracted, indexed, split = map(
    at, ("scanned", "paired", "extracted", "indexed", "split")
)


def decide(root, *rows, path="descriptor/review.csv"):
    """Write a review of rows as ``amos_0004,exclude`` and return its path."""
    text = "".join(row + "," * (4 - row.count(",")) + "\n" for row in rows)
    (root / path).write_text(HEADER + text, encoding="utf-8")
    return root / path


def crc(root, name):
    """The mask_crc32 of a sample's mask as it is now."""
    return "0x" + nifti_writing.voxel_crc(nifti.read_mask(trees.mask_path(root, name)).data)


def told(result, root):
    """All lines of stderr, the root's path out of them."""
    return result.stderr.replace(str(root), "ROOT").splitlines()


def listed(root, path=MANIFEST, sheet="Manifest"):
    return [*workbook.Workbook(root / path).table(sheet)["ID"]]


def record(root):
    return json.loads((root / "descriptor/provenance.jsonl").read_text().splitlines()[-1])


def without(*names):
    return [name for name in ALL if name not in names]


# --- routine 05 ---------------------------------------------------------------------------------


def test_excluded_samples_are_not_in_the_manifest_and_back_when_withdrawn(indexed):
    before = (indexed / MANIFEST).read_bytes()
    decide(indexed, "amos_0004,exclude,left is right,A. B.", "507,EXCLUDE", "amos_0001,accept")
    result = trees.invoke(trees.INDEX, indexed)
    assert result.exit_code == 0
    assert told(result, indexed) == [
        "note review: ROOT/descriptor/review.csv: 1 accept, 2 exclude, 0 fix",
        "note review: 2 excluded and left out: amos_0004, amos_0507",
    ]
    assert result.stdout.splitlines()[1:] == ["samples: 6 done, 0 skipped as finished, 0 failed"]
    assert f"{MANIFEST}: 6 rows" in result.stdout
    assert listed(indexed) == without("amos_0004", "amos_0507")
    decide(indexed, "amos_0004,,see mail")
    result = trees.invoke(trees.INDEX, indexed)
    assert (result.exit_code, told(result, indexed)) == (
        0,
        ["note review: ROOT/descriptor/review.csv: 0 accept, 0 exclude, 0 fix"],
    )
    assert (indexed / MANIFEST).read_bytes() == before


def test_without_a_review_all_samples_count_and_nothing_is_told(extracted):
    result = trees.invoke(trees.INDEX, extracted)
    assert (result.exit_code, result.stderr) == (0, "")
    assert listed(extracted) == ALL and "review" not in record(extracted)


def test_more_than_five_are_counted(extracted):
    decide(extracted, *(f"{name},exclude" for name in ALL[:6]))
    result = trees.invoke(trees.INDEX, extracted)
    assert result.exit_code == 0 and listed(extracted) == ALL[6:]
    assert told(result, extracted)[1] == (
        "note review: 6 excluded and left out: amos_0001, amos_0004, amos_0008, amos_0201, "
        "amos_0507 and 1 more"
    )


def test_what_is_to_be_fixed_counts_and_is_named(extracted):
    decide(extracted, f"amos_0004,fix,liver,,{crc(extracted, 'amos_0004')}", "amos_0201,fix")
    result = trees.invoke(trees.INDEX, extracted)
    assert result.exit_code == 0 and listed(extracted) == ALL
    assert told(result, extracted) == [
        "note review: ROOT/descriptor/review.csv: 0 accept, 0 exclude, 2 fix",
        "note review: 2 to fix, which count as they are: amos_0004, amos_0201",
    ]


def change_masks(root, *names):
    """Correct masks by hand, and let 04 follow."""
    for name in names:
        trees.put_voxel(trees.mask_path(root, name), (3, 3, 3), 10)
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_decisions_lapse_when_the_mask_changes_but_exclusion_stands(extracted, workers):
    crcs = {name: crc(extracted, name) for name in trees.ANNOTATED}
    decide(
        extracted,
        f"amos_0001,accept,,,{crcs['amos_0001']}",
        f"amos_0004,fix,,,{crcs['amos_0004'].upper().replace('X', 'x')}",
        f"amos_0008,exclude,,,{crcs['amos_0008'][2:]}",
        f"amos_0507,accept,,,{crcs['amos_0507']}",
        f"amos_0540,exclude,,,{crcs['amos_0540']}",
        f"amos_0554,,asked,,{crcs['amos_0554']}",  # no decision that could lapse
        "amos_0201,accept,,,0x00000000",  # its mask is gone
    )
    assert trees.invoke(trees.INDEX, extracted).exit_code == 0
    change_masks(extracted, "amos_0001", "amos_0004", "amos_0008", "amos_0554")
    result = trees.invoke(trees.INDEX, extracted, "--workers", workers)
    assert result.exit_code == 0 and listed(extracted) == without("amos_0008", "amos_0540")
    assert told(result, extracted) == [
        "note review: ROOT/descriptor/review.csv: 3 accept, 2 exclude, 1 fix",
        "note review: 2 excluded and left out: amos_0008, amos_0540",
        "note review: 1 stay excluded though the mask's voxels changed since (delete the row to "
        "take a sample back): amos_0008",
        "WARNING review: decisions that no longer hold, since the mask's voxels changed; look "
        "again: 3, amos_0001 (accept), amos_0004 (fix), amos_0201 (accept)",
    ]


def test_a_mask_saved_by_another_tool_is_the_same_mask(extracted):
    """Its voxels count, not its bytes or its data type."""
    decide(extracted, f"amos_0004,accept,,,{crc(extracted, 'amos_0004')}")
    before = trees.mask_path(extracted, "amos_0004").read_bytes()
    trees.edit(trees.mask_path(extracted, "amos_0004"), lambda data: None, descrip=b"other")
    assert trees.mask_path(extracted, "amos_0004").read_bytes() != before
    result = trees.invoke(trees.INDEX, extracted)
    assert result.exit_code == 0 and trees.complaints(result, "WARNING") == []


@pytest.mark.parametrize("given", ["", "0x00000001"])
def test_an_excluded_sample_may_be_broken(extracted, given):
    decide(
        extracted,
        *(f"{name},exclude,,,{given}" for name in ("amos_0001", "amos_0004", "amos_0008")),
    )
    mask = trees.mask_path(extracted, "amos_0001")
    mask.write_bytes(mask.read_bytes()[:200])
    (trees.sample_dir(extracted, "amos_0004") / "amos_0004_volume.nii.gz").unlink()
    folder = trees.sample_dir(extracted, "amos_0008")
    shutil.copytree(folder, folder.parent.parent / "other" / folder.name)
    result = trees.invoke(trees.INDEX, extracted)
    assert result.exit_code == 0 and trees.complaints(result, "FAILED") == []
    assert listed(extracted) == without("amos_0001", "amos_0004", "amos_0008")
    assert result.stdout.splitlines()[-1] == "samples: 5 done, 0 skipped as finished, 0 failed"
    unread = "note review: 1 excluded whose mask cannot be read: amos_0001"
    assert (unread in told(result, extracted)) == bool(given)
    decide(extracted, "amos_0008,exclude")
    result = trees.invoke(trees.INDEX, extracted)
    assert result.exit_code == 1  # the others count again
    assert {line.split()[1] for line in trees.complaints(result)} == {"amos_0001:", "amos_0004:"}


def test_a_review_that_excludes_all_samples_is_refused(indexed):
    path = decide(indexed, *(f"{name},exclude" for name in ALL))
    before = trees.identities(indexed)
    n_runs = len((indexed / "descriptor/provenance.jsonl").read_text().splitlines())
    result = trees.invoke(trees.INDEX, indexed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"Error: {path}: excludes all 8 samples below {indexed / 'grouped'}, expected one to be "
        "left; no manifest is written"
    ]
    assert trees.identities(indexed) == before
    assert len((indexed / "descriptor/provenance.jsonl").read_text().splitlines()) == n_runs


def test_ids_of_the_sibling_are_known_and_others_are_told(extracted):
    decide(extracted, "amos_0004,exclude", "amos_0507,exclude", "amos_0999,fix", "12,,no")
    where = ("--root_dir", extracted / "grouped/AMOS-CT")
    out = ("--output_manifest_file", extracted / "grouped/AMOS-CT/m.xlsx", "--workers", 1)
    result = trees.run(trees.INDEX, *where, *out)
    assert result.exit_code == 0
    assert told(result, extracted) == [
        "note review: ROOT/descriptor/review.csv: 0 accept, 1 exclude, 0 fix; IDs of other "
        "samples: 3",
        "note review: ROOT/descriptor/review.csv: IDs that no sample at hand has: 2, amos_0999 "
        "(fix), 12 (undecided)",
        "note review: 1 excluded and left out: amos_0004",
    ]
    assert listed(extracted, "grouped/AMOS-CT/m.xlsx") == ["amos_0001", "amos_0008", "amos_0201"]


def test_a_rerun_changes_nothing(extracted):
    decide(extracted, "amos_0004,exclude", "amos_0001,fix")
    first = trees.invoke(trees.INDEX, extracted)
    before = trees.identities(extracted)
    again = trees.invoke(trees.INDEX, extracted, "--workers", 2)
    assert (again.exit_code, again.stderr) == (0, first.stderr)
    assert trees.identities(extracted) == before
    assert trees.invoke(trees.INDEX, extracted, "--overwrite").exit_code == 0
    assert trees.identities(extracted) == before


# --- which file ---------------------------------------------------------------------------------


def test_another_file_may_be_given(indexed):
    decide(indexed, "amos_0004,exclude")
    path = decide(indexed, "amos_0008,exclude", path="descriptor/mine.csv")
    result = trees.invoke(trees.INDEX, indexed, "--review", path)
    assert result.exit_code == 0 and listed(indexed) == without("amos_0008")
    assert told(result, indexed)[0].startswith("note review: ROOT/descriptor/mine.csv: 0 accept, ")


@pytest.mark.parametrize("script", [trees.PAIR_CT, trees.PAIR_MRI, trees.INDEX])
def test_a_file_that_is_not_there_is_wrong_usage(indexed, script):
    before = trees.identities(indexed)
    result = trees.invoke(script, indexed, "--review", indexed / "descriptor/none.csv")
    assert result.exit_code == 2 and "no such file: " in result.stderr
    assert trees.identities(indexed) == before


@pytest.mark.parametrize("script", [trees.PAIR_CT, trees.PAIR_MRI, trees.INDEX])
def test_nothing_is_done_by_a_review_with_faults(scanned, script):
    if script == trees.INDEX:
        for earlier in (trees.PAIR_CT, trees.PAIR_MRI):
            assert trees.invoke(earlier, scanned).exit_code == 0
    path = decide(scanned, "amos_0004,exclud", "amos_0001,accept", "1,exclude")
    before = trees.identities(scanned)
    result = trees.invoke(script, scanned)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line for line in result.stderr.splitlines() if line.startswith("Error")] == [
        f"Error: {path}: the review has the decision 'exclud' in line 2, expected accept, exclude, "
        "fix or nothing",
        f"Error: {path}: the review has for amos_0001 the decision accept in line 3 and exclude in "
        "line 4, expected one",
    ]
    assert trees.identities(scanned) == before


def test_what_lies_there_must_be_readable(indexed):
    (indexed / "descriptor/review.csv").mkdir()
    before = trees.identities(indexed)
    result = trees.invoke(trees.INDEX, indexed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "review.csv" in result.stderr and len(result.stderr.splitlines()) == 1
    assert trees.identities(indexed) == before


@pytest.mark.parametrize("script", [trees.PAIR_CT, trees.INDEX])
def test_the_record_of_a_run_names_the_review(indexed, script):
    path = decide(indexed, "amos_0004,exclude")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert trees.invoke(script, indexed).exit_code == 0
    entry = record(indexed)
    assert entry["routine"] == script
    assert entry["review"] == {"file": "descriptor/review.csv", "sha256": expected}
    assert entry["parameters"]["review"] is None
    # A file elsewhere decides nothing about where the record lies.
    other = indexed.parent / "grouped/descriptor"
    other.mkdir(parents=True)
    path.rename(other / "r.csv")
    assert trees.invoke(script, indexed, "--review", other / "r.csv").exit_code == 0
    assert record(indexed)["review"] == {"file": "../grouped/descriptor/r.csv", "sha256": expected}
    assert record(indexed)["parameters"]["review"] == "../grouped/descriptor/r.csv"


# --- routines 02 --------------------------------------------------------------------------------


def test_02_leaves_out_what_is_excluded_until_it_is_withdrawn(scanned):
    decide(scanned, "amos_0004,exclude", "amos_0201,fix", "amos_0507,exclude", "amos_7,exclude")
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert result.exit_code == 0
    assert told(result, scanned) == [
        "note review: ROOT/descriptor/review.csv: 0 accept, 1 exclude, 1 fix; IDs of other "
        "samples: 2",
        "note review: ROOT/descriptor/review.csv: IDs that no sample at hand has: 1, amos_7 "
        "(exclude)",
        "note review: 1 excluded and left out: amos_0004",
    ]
    assert "samples: 3 done, 0 skipped as finished, 0 failed" in result.stdout
    made = {path.name for path in (scanned / "grouped").rglob("amos_????_?")}
    assert made == {"amos_0001_F", "amos_0008_F", "amos_0201_M"}
    before = trees.identities(scanned)
    assert trees.invoke(trees.PAIR_CT, scanned, "--workers", 2).stderr == result.stderr
    assert trees.identities(scanned) == before
    decide(scanned)
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert "samples: 1 done, 3 skipped as finished, 0 failed" in result.stdout
    assert trees.sample_dir(scanned, "amos_0004").is_dir()


def test_02_names_the_folder_that_lies_there_already(paired):
    decide(paired, "amos_0004,exclude", "amos_0539,exclude")
    before = trees.identities(paired)
    for script, name in ((trees.PAIR_CT, "amos_0004"), (trees.PAIR_MRI, "amos_0539")):
        result = trees.invoke(script, paired)
        assert result.exit_code == 0
        assert told(result, paired)[1:] == [
            f"note review: 1 excluded and left out: {name}",
            "note review: 1 folders of excluded samples lie in the tree already and stay; the "
            "dataset manifest leaves them out (remove a folder to be rid of it): "
            f"{str(trees.sample_dir(paired, name)).replace(str(paired), 'ROOT')}",
        ]
        assert trees.complaints(result, "WARNING") == []
    assert trees.identities(paired) == before


def test_02_does_not_fail_at_excluded_samples(scanned):
    table = scanned / "descriptor/archive_manifest.xlsx"
    trees.edit_cells(table, {("sex", "labelsTr/amos_0004"): "?", ("age", "amos_0008"): "old"})
    trees.archive_file(scanned, "imagesTr", "amos_0001").unlink()
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert result.exit_code == 1 and len(trees.complaints(result)) == 4
    decide(scanned, *(f"{name},exclude" for name in ("amos_0001", "amos_0004", "amos_0008")))
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    assert trees.complaints(result, "WARNING") == []
    assert told(result, scanned)[1] == (
        "note review: 3 excluded and left out: amos_0001, amos_0004, amos_0008"
    )
    result = trees.invoke(trees.PAIR_MRI, scanned)  # where these IDs are of the sibling
    assert told(result, scanned) == [
        "note review: ROOT/descriptor/review.csv: 0 accept, 0 exclude, 0 fix; IDs of other "
        "samples: 3"
    ]


def test_02_takes_a_faulty_row_of_a_file_that_is_no_samples(scanned):
    """Nobody knows whose it is, so no decision concerns it."""
    table = scanned / "descriptor/archive_manifest.xlsx"
    changes = {("sex", "imagesTr/amos_0004"): "?", ("file_path", "imagesTr/amos_0004"): "odd.nii"}
    trees.edit_cells(table, changes)
    decide(scanned, "1,exclude")
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert result.exit_code == 1
    assert "FAILED odd.nii: sex is '?'" in result.stderr
    assert told(result, scanned)[1] == "note review: 1 excluded and left out: amos_0001"


def test_02_of_which_nothing_is_left_makes_the_folders_alone(scanned):
    decide(scanned, *(f"{name},exclude" for name in ALL[:4]))
    result = trees.invoke(trees.PAIR_CT, scanned)
    assert result.exit_code == 0
    assert "samples: 0 done, 0 skipped as finished, 0 failed" in result.stdout
    assert trees.contents(scanned / "grouped") == {}


def test_02_knows_an_excluded_folder_that_has_no_row_any_more(paired):
    trees.delete_rows(paired / "descriptor/archive_manifest.xlsx", "amos_0004")
    result = trees.invoke(trees.PAIR_CT, paired)
    assert "amos_0004: lies in" in trees.complaints(result, "WARNING:")[0]
    decide(paired, "4,exclude")
    result = trees.invoke(trees.PAIR_CT, paired)
    assert result.exit_code == 0 and trees.complaints(result, "WARNING:") == []
    assert [line.partition(": ")[2].partition(";")[0] for line in told(result, paired)[1:]] == [
        "1 excluded and left out: amos_0004",
        "1 folders of excluded samples lie in the tree already and stay",
    ]


# --- other data sets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "pair", "index"),
    [
        (nme_trees, nme_trees.PAIR, nme_trees.INDEX),
        (described_trees, described_trees.PAIR, described_trees.INDEX),
    ],
    ids=["NME", "described"],
)
def test_every_data_set_obeys_its_review(tmp_path, data, pair, index):
    root = data.copy("indexed", tmp_path / "root")
    path = data.dataset_manifest(root)
    before, content = [*workbook.Workbook(path).table("Manifest")["ID"]], path.read_bytes()
    decide(root, f"{before[0]},exclude", f"{before[1]},fix")
    for script in (pair, index):
        result = data.invoke(script, root)
        assert result.exit_code == 0, result.output
        assert told(result, root)[:2] == [
            "note review: ROOT/descriptor/review.csv: 0 accept, 1 exclude, 1 fix",
            f"note review: 1 excluded and left out: {before[0]}",
        ]
        assert record(root)["review"]["file"] == "descriptor/review.csv"
    assert [*workbook.Workbook(path).table("Manifest")["ID"]] == before[1:]
    (root / "descriptor/review.csv").unlink()
    assert data.invoke(index, root).exit_code == 0
    assert path.read_bytes() == content
    decide(root, f"{before[0]},out")
    for script in (pair, index):
        result = data.invoke(script, root)
        assert result.exit_code == 2 and "has the decision 'out' in line 2" in result.stderr


# --- what follows -------------------------------------------------------------------------------


def exported(root):
    """IDs in all that 06, 07 and the exports write, by what wrote it."""
    run = functools.partial(trees.invoke, root=root)
    results = {
        script: run(script)
        for script in (trees.MAKE_SPLIT, trees.CUT, trees.NNUNET, trees.DATALIST, trees.CROISSANT)
    }
    assert {result.exit_code for result in results.values()} == {0}, results
    datalist = json.loads((root / "datalists/amos22.json").read_text())
    croissant = (root / "croissant.json").read_text()
    (folder,) = (root / "nnUNet_raw").iterdir()
    return {
        "split": listed(root, sheet="split01_standard"),
        "index": [
            name
            for part in ("train_val", "test")
            for name in listed(
                root, f"{INDEXES}/split01_standard_{part}.xlsx", f"split01_standard_{part}"
            )
        ],
        "nnU-Net": sorted(
            {path.name[:9] for path in folder.glob("images*/*")}
            | {*json.loads((folder / "dataset.json").read_text())["dataset"]}
        ),
        "data list": sorted(
            entry["image"].rpartition("/")[2][:9]
            for name in ("training", "validation", "testing")
            for entry in datalist[name]
        ),
        "Croissant": [name for name in ALL if f"{name}_volume" in croissant],
    }, [line for result in results.values() for line in told(result, root)]


def test_two_excluded_samples_are_gone_and_named_and_back_after_the_rows_are_deleted(indexed):
    everything, _ = exported(indexed)
    assert {name: sorted(found) for name, found in everything.items()} == dict.fromkeys(
        everything, ALL
    )
    first = trees.contents(indexed)
    decide(indexed, "amos_0004,exclude,wrong side", "amos_0507,exclude,no liver", "amos_0001,fix")
    result = trees.invoke(trees.INDEX, indexed)
    assert told(result, indexed)[1:] == [
        "note review: 2 excluded and left out: amos_0004, amos_0507",
        "note review: 1 to fix, which count as they are: amos_0001",
        "WARNING split01_standard: this worksheet repeats an older manifest; make the split again",
    ]
    found, lines = exported(indexed)
    for name, ids in found.items():
        assert sorted(ids) == without("amos_0004", "amos_0507"), name
    assert not any("excludes" in line for line in lines)
    decide(indexed)
    assert trees.invoke(trees.INDEX, indexed).exit_code == 0
    assert exported(indexed)[0] == everything
    (indexed / "descriptor/review.csv").unlink()
    assert trees.contents(indexed) == first


def test_a_manifest_older_than_the_review_is_told(split):
    path = decide(split, "amos_0004,exclude", "999,exclude")
    for script in (trees.MAKE_SPLIT, trees.CUT, trees.NNUNET, trees.DATALIST, trees.CROISSANT):
        result = trees.invoke(script, split)
        assert result.exit_code == 0
        assert (
            f"WARNING: {split / MANIFEST}: has 1 samples that {path} excludes: amos_0004; make the "
            "dataset manifest and the split again"
        ) in result.stderr.splitlines(), script
    index = split / INDEXES / "split01_standard_train.xlsx"
    out = ("--output_file", split / "l.json", "--split_name", "split01_standard")
    result = trees.run(trees.DATALIST, "--manifest_file", index, *out)
    assert f"WARNING: {index}: has 1 samples that {path} excludes: amos_0004" in result.stderr


@pytest.mark.parametrize("script", [trees.MAKE_SPLIT, trees.CUT, trees.DATALIST])
def test_later_routines_refuse_a_review_with_faults(split, script):
    path = decide(split, "amos_0004,out")
    before = trees.identities(split)
    result = trees.invoke(script, split)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {path}: the review has the decision 'out' in line 2")
    assert trees.identities(split) == before


def test_a_split_that_leaves_them_out_by_itself_is_fine(split):
    (split / "descriptor/split05_listed.csv").write_text(trees.SPLIT, encoding="utf-8")
    decide(split, "amos_0001,exclude")
    result = trees.invoke(trees.LISTED, split)
    assert result.exit_code == 0 and "excludes" not in result.stderr


def test_nothing_is_decided_without_a_review():
    assert decided.read(None, ["a"], list) == ({}, [])
    assert decided.after_changes({}, []) == ([], [])
    assert review.DECISIONS == ("accept", "exclude", "fix")

"""run_tutorial.sh --dataset with a set that a page describes, in a copy of the repository."""

import json
import re
import shlex
import shutil

import openpyxl
import pytest
import test_run_tutorial
import trees

from utils.facts import described
from utils.sample_data import described_archive

TEMPLATE = "descriptor_templates/CT-ORG/dataset.yaml"
WORDS = ("--dataset", "ct-org")
STEPS = (
    "01_gen_archive_manifest 02_confirm_pairs 03_extract_binary_masks 04_gen_dataset_manifest "
    "05_make_split01_standard 06_extract_split_index_manifest"
).split()


@pytest.fixture(name="clone")
def installed_clone(tmp_path):
    return test_run_tutorial.make_clone(tmp_path)


def build(root, page=trees.REPOSITORY / TEMPLATE, count=4):
    """Write a tiny archive of a page."""
    facts = described.read(page)
    settings = described_archive.settings(facts, (7, 8, 9), count, 0)
    for sample in described_archive.prepare(root, facts, settings):
        described_archive.write_sample(sample, root, facts, settings)
    return root


@pytest.fixture(scope="module", name="whole")
def whole_run(tmp_path_factory):
    """A run from the first command to the last: (clone, folder of ROOT, result)."""
    folder = tmp_path_factory.mktemp("tutorial")
    clone = test_run_tutorial.make_clone(folder)
    root = build(folder / "it's a root ä")
    return clone, root, clone.run(*WORDS, root.name, cwd=folder)


@test_run_tutorial.whole_tutorial
def test_whole_run_is_01_to_06_with_the_page_beside_the_data(whole):
    _, root, result = whole
    assert result.returncode == 0, result.stderr
    typed = test_run_tutorial.commands(result)
    steps = [f"described/{step}.py" for step in STEPS]
    assert [words[1] for words in typed] == [*steps, trees.REPORT, trees.NNUNET]
    for words in typed[:5] + typed[6:]:
        assert words[2:4] == ["--dataset", f"{root}/descriptor/dataset.yaml"]
    assert typed[5][-4:] == ["--subsets", "train", "--subsets", "test"]
    assert typed[-1][-4:] == ["--dataset_id", "240", "--dataset_name", "CT_ORG"]
    assert "split02_by_patient: skipped, the page names no patients\n" in result.stdout
    assert "split02_by_patient: skipped, there is no such split\n" in result.stdout
    copies = [line for line in result.stdout.splitlines() if line.startswith("$ cp ")]
    assert [shlex.split(line)[2:] for line in copies] == [
        [f"descriptor_templates/CT-ORG/{name}", f"{root}/descriptor/{name}"]
        for name in ("known_faults.csv", "dataset.yaml")
    ]


@test_run_tutorial.whole_tutorial
def test_whole_run_ends_with_the_data_set(whole):
    clone, root, result = whole
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    assert book.sheetnames == ["Manifest", "split01_standard"]
    assert [row[0].value for row in book["Manifest"]][1:] == [
        f"ct-org_{number:03d}" for number in (0, 21, 22, 28)
    ]
    for name in ("dataset.yaml", "known_faults.csv"):
        source = trees.REPOSITORY / "descriptor_templates/CT-ORG" / name
        assert (root / "descriptor" / name).read_bytes() == source.read_bytes()
    assert len(test_run_tutorial.overview(result)) == 7
    assert len(list((root / "qc/samples").iterdir())) == 4
    assert (root / "nnUNet_raw/Dataset240_CT_ORG/dataset.json").is_file()
    assert not trees.leftovers(root)
    assert clone.calls("-m pip") == [] and list(clone.home.iterdir()) == []


@test_run_tutorial.whole_tutorial
def test_second_run_changes_no_byte(whole):
    clone, root, _ = whole
    before = trees.identities(root)
    result = clone.run("--dataset=CT-Org", root)
    assert result.returncode == 0
    assert f"{root}/descriptor/dataset.yaml: kept\n" in result.stdout
    changed = trees.rewritten(before, trees.identities(root))
    assert {name for name in changed if not name.endswith(".jsonl")} == set()


@test_run_tutorial.whole_tutorial
def test_a_damaged_file_ends_with_1_and_its_routines_named(whole, tmp_path):
    clone, whole_root, _ = whole
    root = shutil.copytree(whole_root, tmp_path / "root")
    path = root / "archive/CT-ORG/volume-22.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    result = clone.run(*WORDS, "--without=report", "--without=exports", root)
    assert result.returncode == 1
    named = test_run_tutorial.closing(result).splitlines()[1:]
    expected = [f"described/{step}.py" for step in STEPS[:2]]
    assert [shlex.split(line)[1] for line in named] == expected
    assert len(test_run_tutorial.commands(result)) == len(STEPS)


PAGE = """\
name: Own-Set
files:
  volume: images{subset}/{patient}_{seq}.nii.gz
  mask: labels{subset}/{patient}_{seq}.nii.gz
id: "{patient}_{seq}"
labels: {0: background, 1: liver}
split: {by: folder, subsets: {Tr: train, Ts: test}}
modality: CT
"""


@test_run_tutorial.whole_tutorial
def test_a_page_by_its_path_and_a_split_by_patient(clone, tmp_path):
    page = tmp_path / "my pages/own set.yaml"
    page.parent.mkdir()
    page.write_text(PAGE)
    root = build(tmp_path / "root", page)
    words = ("--dataset", "my pages/own set.yaml", "--without", "report", "root")
    result = clone.run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (root / "descriptor/dataset.yaml").read_text() == PAGE
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    assert book.sheetnames == ["Manifest", "split01_standard", "split02_by_patient"]
    splits = sorted(path.name for path in (root / "grouped/splits").iterdir())
    assert splits == ["split01_standard", "split02_by_patient"]


@test_run_tutorial.whole_tutorial
def test_a_set_without_val_is_exported_with_folds(clone, tmp_path):
    root = build(tmp_path / "root", count=8)
    result = clone.run(*WORDS, "--without", "report", root)
    assert result.returncode == 0, result.stderr
    assert test_run_tutorial.commands(result)[-1][-2:] == ["--folds", "5"]
    assert "WARNING" not in result.stderr
    folds = (root / "nnUNet_raw/Dataset240_CT_ORG/splits_final.json").read_text()
    assert len(json.loads(folds)) == 5


def test_a_page_and_a_list_that_are_there_are_kept(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "descriptor").mkdir()
    page, faults = (tmp_path / "descriptor" / n for n in ("dataset.yaml", "known_faults.csv"))
    faults.write_text("mine")
    clone.run(*WORDS, tmp_path, STUBS="01_gen", STATUS="2")
    assert page.is_file() and faults.read_text() == "mine"
    page.write_text("mine")
    clone.run(*WORDS, tmp_path, STUBS="01_gen", STATUS="2")
    assert page.read_text() == "mine"


def test_a_page_of_another_set_beside_the_data_is_refused(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    clone.run("--dataset", "kits19", tmp_path, STUBS="01_gen", STATUS="2")
    before = trees.identities(tmp_path / "descriptor")
    result = clone.run(*WORDS, tmp_path, STUBS="01_gen", STATUS="2")
    assert result.returncode == 2 and test_run_tutorial.commands(result) == []
    told = f"{tmp_path}/descriptor/dataset.yaml is the page of KiTS19, not of CT-ORG; "
    assert told in result.stderr and result.stderr.count("\n") == 1
    assert trees.identities(tmp_path / "descriptor") == before


def test_what_is_kept_and_differs_is_told(clone, tmp_path):
    page, given = tmp_path / "descriptor/dataset.yaml", tmp_path / "given.yaml"
    for folder in ("archive", "descriptor"):
        (tmp_path / folder).mkdir()
    page.write_text(PAGE)
    given.write_text(PAGE.replace("liver", "Liver"))
    for asked, told in ((given, f"; it counts, though it differs from {given}"), (page, "")):
        result = clone.run("--dataset", asked, tmp_path, STUBS="01_gen", STATUS="2")
        assert f"\n{page}: kept{told}\n" in result.stdout
    page.unlink()
    (tmp_path / "descriptor/known_faults.csv").write_text("mine")
    result = clone.run(*WORDS, tmp_path, STUBS="01_gen", STATUS="2")
    listed = "descriptor_templates/CT-ORG/known_faults.csv"
    told = f"known_faults.csv: kept; it counts, though it differs from {listed}\n"
    assert told in result.stdout


def test_stop_tells_how_to_continue(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    result = clone.run(*WORDS, tmp_path, STUBS="03_extract", STATUS="2")
    assert result.returncode == 2
    assert f"To continue: {clone.called} --dataset ct-org --from 03 {tmp_path}" in result.stderr


def test_where_nothing_was_paired_the_routine_that_failed_is_to_run_again(clone, tmp_path):
    root = build(tmp_path / "root")
    for path in root.glob("archive/CT-ORG/volume-*"):
        path.write_bytes(path.read_bytes()[:-20])
    result = clone.run(*WORDS, root)
    assert result.returncode == 2
    assert [words[1] for words in test_run_tutorial.commands(result)] == [
        f"described/{step}.py" for step in STEPS[:3]
    ]
    assert f"To continue: {clone.called} --dataset ct-org {root}\n" in result.stderr


def test_the_advice_quotes_the_path_of_a_page(clone, tmp_path):
    page = tmp_path / "my page.yaml"
    page.write_text(PAGE)
    (tmp_path / "archive").mkdir()
    result = clone.run("--dataset", page, tmp_path, STUBS="04_gen", STATUS="2")
    assert f" --dataset '{page}' --from 04 {tmp_path}\n" in result.stderr


@pytest.mark.parametrize(
    "name, template, folder",
    [
        ("ct-org", "CT-ORG", "sample_data_ct-org"),
        ("MSD/task03_liver", "MSD/Task03_Liver", "sample_data_msd-task03_liver"),
        ("task09_spleen", "MSD/Task09_Spleen", "sample_data_msd-task09_spleen"),
        ("kits", "KiTS", "sample_data_kits23"),
        ("kits19", "KiTS/KiTS19", "sample_data_kits19"),
    ],
)
def test_without_root_the_sample_archive_is_made(clone, name, template, folder):
    result = clone.run("--dataset", name, STUBS="02_confirm", STATUS="2")
    page = f"descriptor_templates/{template}/dataset.yaml"
    made = f"python described/generate_sample_archive.py --dataset {page} --root_dir {folder}"
    assert test_run_tutorial.commands(result)[0] == made.split()
    assert "/sample_data_*/" in (trees.REPOSITORY / ".gitignore").read_text().split()


def test_a_faulty_page_is_named_and_not_left_beside_the_data(clone, tmp_path):
    page = tmp_path / "page.yaml"
    page.write_text(PAGE.replace("modality: CT", "modalty: CT"))
    (tmp_path / "archive").mkdir()
    result = clone.run("--dataset", page, tmp_path)
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if "modality is missing" in line]
    assert told == [f"Error: {page}: modality is missing"]
    assert "Traceback" not in result.stderr and not (tmp_path / "descriptor").exists()


@pytest.mark.parametrize(
    "words, reason",
    [
        ("--dataset", "--dataset needs a name such as amos22, or a page"),
        (
            "--dataset nowhere",
            "no such data set: nowhere; expected amos22, nme, a page, or one of: ",
        ),
        ("--dataset nowhere", " CT-ORG FLARE22 "),
        ("--dataset ct-org --from 07", "no such step: 07; expected one of 01 02 03 04 05 06"),
        (
            "--dataset ct-org nowhere",
            "expected one with archive/ in it (the files that descriptor_te",
        ),
        (
            "--dataset ct-org zips",
            "no such folder: zips/archive; zips holds an archive: move it there",
        ),
        (
            "--dataset ct-org empty",
            "no such folder: empty/archive; expected the archive there (the",
        ),
        ("--dataset odd\x07.yaml", "control characters in the path of the page: {}/odd?.yaml\n"),
    ],
)
def test_wrong_usage_ends_with_2(clone, tmp_path, words, reason):
    (tmp_path / "zips").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "zips/volumes 0-49.zip").touch()
    (tmp_path / "odd\x07.yaml").write_text(PAGE)
    result = clone.run(*words.split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert reason.format(tmp_path) in result.stderr and result.stderr.count("\n") == 1


def test_names_of_the_first_two_sets_in_any_case(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    for name, script in (("AMOS22", trees.SCAN), ("Nme", "NME/01_gen_archive_manifest.py")):
        result = clone.run("--dataset", name, tmp_path, STUBS="01_gen", STATUS="2")
        assert test_run_tutorial.commands(result)[0][1] == script
        told = re.search("^To continue: .*$", result.stderr, re.M)[0]
        assert ("--dataset Nme" in told) == (name == "Nme")

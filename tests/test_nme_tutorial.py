"""run_tutorial.sh --dataset nme, in a copy of the repository."""

import json
import re
import shlex
import shutil

import nme_trees
import openpyxl
import pytest
import test_nme_readme
import test_readme
import test_run_tutorial
import trees

WORDS = ("--dataset", "nme")
# Its 18 samples take their time; test_nme_scripts.py draws some of them.
UNDRAWN = (*WORDS, "--without", "report")


@pytest.fixture(name="clone")
def installed_clone(tmp_path):
    return test_run_tutorial.make_clone(tmp_path)


@pytest.fixture(scope="module", name="whole")
def whole_run(tmp_path_factory):
    """A run from the first command to the last: (clone, folder of ROOT, result)."""
    folder = tmp_path_factory.mktemp("tutorial")
    clone = test_run_tutorial.make_clone(folder)
    root = nme_trees.copy("built", folder / "it's a root ä")
    return clone, root, clone.run(*UNDRAWN, root.name, cwd=folder)


def documented():
    """The commands of NME/README.md, as lists of words."""
    blocks = "".join(
        piece["body"]
        for piece in test_readme.PIECE.finditer(test_nme_readme.read())
        if piece["language"] == "sh"
    )
    ours = ("python NME/0", "python utils/export_nnunet.py")
    return [shlex.split(line) for line in blocks.splitlines() if line.startswith(ours)]


@test_run_tutorial.whole_tutorial
def test_whole_run_is_the_readme(whole):
    _, root, result = whole
    assert result.returncode == 0, result.stderr
    typed = [
        [re.sub(f"^{re.escape(str(root))}", "root_dir", word) for word in words]
        for words in test_run_tutorial.commands(result)
    ]
    assert typed == documented()


@test_run_tutorial.whole_tutorial
def test_whole_run_ends_with_the_data_set(whole):
    _, root, result = whole
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    names = "01_Tongji 02_Yunnan 03_Zhongnan 04_HKU-SZH 05_External 06_Whole 07_Mix".split()
    assert book.sheetnames == ["Manifest", *(f"split{name}" for name in names)]
    assert (root / "descriptor/label_map.yaml").read_bytes() == nme_trees.LABEL_MAP.read_bytes()
    text = (root / "nnUNet_raw/Dataset230_NME/dataset.json").read_text()
    described = json.loads(text)
    assert described["channel_names"] == {"0": "MRI"}
    assert {name[:3] for name in described["dataset"]} == {"01A"}
    assert len(test_run_tutorial.overview(result)) == 5
    assert not trees.leftovers(root)


@test_run_tutorial.whole_tutorial
def test_second_run_changes_no_byte(whole):
    clone, root, _ = whole
    before = trees.identities(root)
    assert clone.run("--dataset=nme", "--without=report", root).returncode == 0
    changed = trees.rewritten(before, trees.identities(root))
    assert {name for name in changed if not name.endswith(".jsonl")} == set()


@test_run_tutorial.whole_tutorial
def test_sites_that_are_not_there_are_left_out(whole, tmp_path):
    clone, whole_root, _ = whole
    root = tmp_path / "part"
    for collection in ("train-val", "test-outer-04"):
        name = f"archive/NME-Seg-2025.8.25-{collection}"
        shutil.copytree(whole_root / name, root / name)
    result = clone.run(*UNDRAWN, root)
    assert result.returncode == 0, result.stderr
    assert "split01_Tongji: skipped, no samples of test-inner-01\n" in result.stdout
    assert "split05_External: skipped, no samples of test-outer-02 test-outer-03\n" in result.stdout
    assert "split01_Tongji: skipped, there is no such split\n" in result.stdout
    names = sorted(path.name for path in (root / "grouped/splits").iterdir())
    assert names == ["split04_HKU-SZH", "split07_Mix"]
    exported = test_run_tutorial.commands(result)[-1]
    assert exported[-6:-4] == ["--output_dir", f"{root}/nnUNet_raw"]
    assert exported[exported.index("--split_name") + 1] == "split07_Mix"


@test_run_tutorial.whole_tutorial
def test_a_damaged_file_ends_with_1_and_its_routines_named(whole, tmp_path):
    clone, whole_root, _ = whole
    root = shutil.copytree(whole_root, tmp_path / "root")
    path = nme_trees.archive_file(root, "02A004")
    path.write_bytes(path.read_bytes()[:-20])
    result = clone.run(*UNDRAWN, root)
    assert result.returncode == 1
    named = test_run_tutorial.closing(result).splitlines()[1:]
    assert [shlex.split(line)[1] for line in named] == [nme_trees.SCAN, nme_trees.PAIR]
    assert len(test_run_tutorial.commands(result)) == len(documented())


@pytest.mark.parametrize("name", ["nme", "ct-org"])
def test_no_manifest_leaves_out_what_needs_it(clone, tmp_path, name):
    (tmp_path / "archive").mkdir()
    words = ("--dataset", name, "--from", "04", tmp_path)
    result = clone.run(*words, STUBS="04_gen", STATUS="1")
    assert result.returncode == 1
    assert result.stdout.count("skipped, routine 04 wrote no manifest\n") == 3
    assert result.stdout.count("/grouped: skipped, it has no samples\n") == 1
    assert len(test_run_tutorial.commands(result)) == 1


@pytest.mark.parametrize("name", ["nme", "ct-org"])
def test_the_report_is_that_of_the_data_set(clone, tmp_path, name):
    test_run_tutorial.make_tree(tmp_path, "one/sample")
    words = ("--dataset", name, "--from", "report", "--without", "exports", tmp_path)
    result = clone.run(*words, STUBS="none", STATUS="2")
    (command,) = test_run_tutorial.commands(result)
    page = {"nme": "nme", "ct-org": f"{tmp_path}/descriptor/dataset.yaml"}[name]
    places = ["--root_dir", f"{tmp_path}/grouped", "--output_dir", f"{tmp_path}/qc"]
    assert command[1:] == [trees.REPORT, "--dataset", page, *places]


def test_stop_tells_how_to_continue(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    result = clone.run(*WORDS, tmp_path, STUBS="03_extract", STATUS="2")
    assert result.returncode == 2
    assert f"To continue: {clone.called} --dataset nme --from 03 {tmp_path}" in result.stderr


def test_without_root_the_sample_archive_is_made(clone):
    result = clone.run(*WORDS, STUBS="02_confirm", STATUS="2")
    made = "python NME/generate_sample_archive.py --root_dir sample_data_nme"
    assert test_run_tutorial.commands(result)[0] == made.split()
    assert (clone.path / "sample_data_nme/descriptor/label_map.yaml").is_file()
    assert "/sample_data_nme/" in (trees.REPOSITORY / ".gitignore").read_text().split()


@pytest.mark.parametrize(
    "words, reason",
    [
        ("--dataset", "--dataset needs a name"),
        ("--dataset NME2", "no such data set: NME2"),
        (
            "--dataset nme --from 07",
            "no such step: 07; expected one of 01 02 03 04 05 06 report exports",
        ),
        ("--dataset nme --from denoise", "no such step: denoise"),
        ("--dataset nme nowhere", "expected one with archive/ in it (NME-Seg-2025.8.25-train"),
    ],
)
def test_wrong_usage_ends_with_2(clone, tmp_path, words, reason):
    result = clone.run(*words.split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert reason in result.stderr and result.stderr.count("\n") == 1


def test_dataset_amos22_is_the_default(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    plain, named = (
        clone.run(*words, tmp_path, STUBS="01_gen", STATUS="2")
        for words in ((), ("--dataset", "amos22"))
    )
    assert plain.returncode == named.returncode == 2
    assert test_run_tutorial.commands(plain) == test_run_tutorial.commands(named)
    assert test_run_tutorial.commands(plain)[0][1] == trees.SCAN

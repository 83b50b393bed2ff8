"""run_tutorial.sh, run_tests.sh and what they share, in a copy of the repository.

The copy's .venv/bin/python stands for the interpreter of these tests and notes every call, so that
an installation would show; nothing is fetched from the network.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import openpyxl
import phantoms
import pytest
import trees

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = "*.py *.sh pyproject.toml requirements*.txt AMOS-*/*.py NME/* described/*".split()
COPIED += "utils/*.py utils/*/* utils/*/*/*".split()
COPIED += "descriptor_templates/* descriptor_templates/*/* descriptor_templates/*/*/*".split()
REQUIREMENTS = ("requirements.txt", "requirements-test.txt")
# The words after "python" that tell a printed command from all others.
ORDER = (
    "01_gen_archive_manifest 02_amos_ct 02_amos_mri 03_split 04_extract region_300_manifest"
    " region_100_manifest morphological after_modification"
).split()
ORDER += [step for step in ("05_gen", "06_make", "07_extract") for _ in range(3)]
AFTER = ["render_qc_report", "AMOS22_CT", "AMOS22_MRI"]
# Where $STUBS is set, routines are not run: calls that hold its text end with $STATUS, others
# with 0. The checks of run_tests.sh look at all of the repository when it runs, not here.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> '{log}'
case "$*" in
    *"${{STUBS:-no stubs}}"*) exit "$STATUS" ;;
    *.py*) [ -z "$STUBS" ] || exit 0 ;;
    "-m ruff check"* | "-m ruff format"* | "-m mypy"*)
        case "$*" in *"${{BAD_CHECK:-none}}"*) exit 1 ;; esac
        exit 0 ;;
    "-m pip install"*) exit "${{PIP_STATUS:-0}}" ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python; exit ;;
esac
exec '{python}' "$@"
"""


# What is left out of the fast lane, and why.
whole_tutorial = pytest.mark.slow("a whole tutorial, one process after the other")
starts_pytest = pytest.mark.slow("starts further pytest runs")


class Clone:
    """A copy of the repository with an environment that is no real one."""

    def __init__(self, folder):
        self.path = folder / "the clone"
        self.log = folder / "calls.txt"
        self.home = folder / "home"
        self.home.mkdir()
        files = [path for pattern in COPIED for path in REPOSITORY.glob(pattern)]
        for source in filter(Path.is_file, files):
            target = self.path / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        self.python = folder / "python"
        self.python.write_text(FAKE_PYTHON.format(log=self.log, python=sys.executable))
        self.python.chmod(0o755)

    @property
    def called(self):
        """How a shell is told to run the tutorial."""
        return shlex.quote(str(self.path / "run_tutorial.sh"))

    @property
    def marker(self):
        return self.path / ".venv/installing"

    def install(self):
        """Make an environment in which everything is installed."""
        folder = self.path / ".venv"
        (folder / "bin").mkdir(parents=True)
        shutil.copy(self.python, folder / "bin/python")
        for name in REQUIREMENTS:
            shutil.copy(self.path / name, folder / f"installed-{name}")

    def run(self, *words, script="run_tutorial.sh", cwd="/", **variables):
        """Run a script as on a machine with an empty home folder."""
        home = {"HOME": str(self.home), "PYTHON": str(self.python)}
        return subprocess.run(
            [self.path / script, *map(str, words)],
            cwd=cwd,
            text=True,
            capture_output=True,
            env={**os.environ, **home, **variables},
            stdin=subprocess.DEVNULL,
            timeout=300,
        )

    def calls(self, beginning=""):
        """The calls of python so far that begin with a text."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(beginning)]


def make_clone(folder, installed=True):
    clone = Clone(folder)
    if installed:
        clone.install()
    return clone


@pytest.fixture(name="clone")
def installed_clone(tmp_path):
    return make_clone(tmp_path)


def commands(result):
    """The python commands that were printed, as lists of words."""
    return [
        shlex.split(line[2:]) for line in result.stdout.splitlines() if line.startswith("$ python")
    ]


def titles(result):
    return [line.strip("= ") for line in result.stdout.splitlines() if line.startswith("== ")]


def overview(result):
    """The paths that are named at the end."""
    told = result.stdout.partition("== What lies where ==\n")[2].partition("\n\n")[0]
    return told.splitlines()[::2]


def closing(result):
    """The last paragraph of stderr, after the complaints of the routines."""
    return result.stderr.rpartition("\n\n")[2].strip()


@pytest.fixture(scope="module", name="whole")
def whole_run(tmp_path_factory):
    """A run from the first command to the last: (clone, folder of ROOT, result)."""
    folder = tmp_path_factory.mktemp("tutorial")
    clone = make_clone(folder)
    root = folder / "it's a root ä"
    phantoms.build_archive(root)
    return clone, root, clone.run(root.name, cwd=folder)


@whole_tutorial
def test_whole_run_ends_with_the_data_set(whole):
    clone, root, result = whole
    assert (result.returncode, closing(result).count("FAILED")) == (0, 0), result.stderr
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    assert book.sheetnames == ["Manifest", "split01_standard"]
    assert book["split01_standard"].max_row == 1 + len({**trees.CT_SAMPLES, **trees.MRI_SAMPLES})
    for part in ("grouped", "grouped/AMOS-CT", "grouped/AMOS-MRI"):
        names = sorted(path.stem for path in (root / part / "splits/split01_standard").iterdir())
        assert names == [
            f"split01_standard_{subsets}" for subsets in ("test", "train", "train_val", "val")
        ]
    label_map = (REPOSITORY / "descriptor_templates/label_map.yaml").read_bytes()
    assert (root / "descriptor/label_map.yaml").read_bytes() == label_map
    names = "archive descriptor grouped nnUNet_raw qc sample_archive.json truth".split()
    assert sorted(path.name for path in root.iterdir()) == names
    assert not trees.leftovers(root)


@whole_tutorial
def test_whole_run_ends_with_report_and_exports_and_says_what_comes_next(whole):
    _, root, result = whole
    pages = {path.stem for path in (root / "qc/samples").iterdir()}
    assert pages == {f"amos_{seq}" for seq in "0001 0004 0008 0201 0507 0539 0540 0554".split()}
    for name, ids in (("218_AMOS22_CT", "0001 0004 0008"), ("219_AMOS22_MRI", "0507 0540 0554")):
        text = (root / f"nnUNet_raw/Dataset{name}/dataset.json").read_text()
        assert sorted(json.loads(text)["dataset"]) == [f"amos_{seq}" for seq in ids.split()]
    told = result.stdout.partition("== What next ==\n")[2].splitlines()
    assert told[0] == f"Open {root}/qc/index.html in a browser."
    typed = "; ".join(line[2:] for line in told if line.startswith("$ "))
    stubs = 'nnUNetv2_plan_and_preprocess() { echo "$nnUNet_raw" "$@"; }'
    ran = subprocess.run(
        ["bash", "-euc", f"{stubs}; {typed}; env"], text=True, capture_output=True, check=True
    ).stdout.splitlines()
    what = "-c 3d_fullres --verify_dataset_integrity --clean"
    for number in (218, 219):  # as the export has told it
        assert f"\nnnUNetv2_plan_and_preprocess -d {number} {what}\n" in result.stdout
    assert ran[:2] == [f"{root}/nnUNet_raw -d {number} {what}" for number in (218, 219)]
    assert {f"nnUNet_{name}={root}/nnUNet_{name}" for name in ("preprocessed", "results")} <= {*ran}


@whole_tutorial
def test_whole_run_prints_each_command_as_it_would_be_typed(whole):
    clone, root, result = whole
    typed = commands(result)
    assert len(typed) == len(ORDER + AFTER)
    for words, part in zip(typed, ORDER + AFTER):
        assert any(part in word for word in words), words
    # What was printed is what was run, word for word.
    ran = [call for call in clone.calls() if ".py " in call]
    assert [" ".join(words[1:]) for words in typed] == ran
    assert all(str(root) in " ".join(words) for words in typed)
    assert "$ source .venv/bin/activate" in result.stdout


@whole_tutorial
def test_whole_run_installs_nothing_and_leaves_the_home_folder_empty(whole):
    clone, _, _ = whole
    assert clone.calls("-m pip") == []
    assert list(clone.home.iterdir()) == []


@whole_tutorial
def test_overview_names_what_is_there(whole):
    _, root, result = whole
    listed = overview(result)
    assert len(listed) == 10
    for line in listed:
        assert Path(line.strip()).exists()


@whole_tutorial
def test_second_run_changes_no_byte(whole):
    clone, root, _ = whole
    before = trees.identities(root)
    result = clone.run(root)
    assert result.returncode == 0
    assert trees.rewritten(before, trees.identities(root)) == set()
    assert "small_connected_region_300_manifest.xlsx: kept" in result.stdout


@whole_tutorial
def test_from_begins_later(whole):
    clone, root, complete = whole
    words = ("--from", "6", "--without", "report", "--without=exports", root)
    result = clone.run(*words, STUBS="none", STATUS="2")
    assert result.returncode == 0
    left = [title for title in titles(complete)[-6:] if "port" not in title]
    assert titles(result) == left and left[0].startswith("06: ") and len(left) == 4
    assert len(commands(result)) == 6


@pytest.mark.parametrize(
    ("words", "begun"),
    [
        ("--from report", AFTER),
        ("--from exports", AFTER[1:]),
        ("--from report --without report", AFTER[1:]),
        ("--from denoise --without denoise --without exports", ORDER[9:] + AFTER[:1]),
    ],
)
def test_what_is_optional_can_be_begun_with_and_left_out(clone, tmp_path, words, begun):
    make_tree(
        tmp_path,
        "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004",
        "AMOS-MRI/train/Prisma/amos_0507_M/amos_0507",
    )
    result = clone.run(*words.split(), tmp_path, STUBS="none", STATUS="2")
    assert result.returncode == 0, result.stderr
    typed = commands(result)
    assert len(typed) == len(begun)
    for command, part in zip(typed, begun):
        assert any(part in word for word in command), command


@pytest.mark.parametrize("step, script", [("report", "render_qc"), ("exports", "AMOS22_MRI")])
@pytest.mark.parametrize("status", [1, 2])
def test_a_failure_of_report_or_exports_is_told_like_others(clone, tmp_path, step, script, status):
    make_tree(tmp_path, "AMOS-MRI/train/Prisma/amos_0507_M/amos_0507")
    words = ("--without", "denoise", tmp_path)
    result = clone.run(*words, STUBS=script, STATUS=str(status))
    assert result.returncode == status
    assert f"{tmp_path}/grouped/AMOS-CT: skipped, it has no samples\n" in result.stdout
    if status == 1:
        (named,) = closing(result).splitlines()[1:]
        assert script in named and "AMOS22_MRI" in commands(result)[-1]
        return
    assert script in " ".join(commands(result)[-1])
    advice = f"To continue: {clone.called} --without denoise --from {step} {tmp_path}"
    assert closing(result).splitlines()[1:] == [advice, f"(--without {step} leaves that step out.)"]


def test_without_a_manifest_the_report_takes_all_samples(clone, tmp_path):
    make_tree(tmp_path, "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004")
    manifest = tmp_path / "grouped/dataset_manifest.xlsx"
    manifest.touch()
    words = ("--without=exports", "--from", "05", tmp_path)
    for stub, is_listed in (("nothing", True), (str(manifest), False)):
        result = clone.run(*words, STUBS=stub, STATUS="1")
        (command,) = (words for words in commands(result) if "render_qc" in words[1])
        assert (str(manifest) in command) == is_listed
        assert ("No manifest was written: all samples below " in result.stdout) != is_listed


@whole_tutorial
def test_a_part_without_masks_to_train_on_is_not_exported(whole, tmp_path):
    clone, whole_root, _ = whole
    root = tmp_path / "root"
    shutil.copytree(whole_root / "grouped", root / "grouped")
    (root / "archive").mkdir()
    manifest = root / "grouped/AMOS-MRI/dataset_manifest_amos_mri.xlsx"
    cells = {("split01_standard", name): "test" for name in ("amos_0507", "amos_0540", "amos_0554")}
    trees.edit_cells(manifest, cells, sheet="split01_standard")
    result = clone.run("--from", "exports", root)
    assert result.returncode == 0, result.stderr
    assert "AMOS-MRI: skipped, split01_standard has no masks to train on\n" in result.stdout
    assert [path.name for path in (root / "nnUNet_raw").iterdir()] == ["Dataset218_AMOS22_CT"]


@whole_tutorial
def test_from_02_takes_a_corrected_manifest_and_01_refuses_it(whole, tmp_path):
    clone, whole_root, _ = whole
    root = tmp_path / "root"
    shutil.copytree(whole_root, root)
    manifest = root / "descriptor/archive_manifest.xlsx"
    trees.edit_cells(manifest, {("age", "amos_0004.nii.gz"): "099Y"})
    refused = clone.run(root)
    assert (refused.returncode, len(commands(refused))) == (2, 1)
    assert f"To continue: {clone.called} {root}\n" in refused.stderr
    assert "(--from 02 takes archive_manifest.xlsx as it is" in closing(refused)
    taken = clone.run("--from=02", root, STUBS="03_split", STATUS="2")
    assert taken.returncode == 2
    routines = [words[1] for words in commands(taken)]
    assert routines == [trees.PAIR_CT, trees.PAIR_MRI, trees.SPLIT_LABEL]


@whole_tutorial
def test_exit_1_goes_on_and_is_repeated_at_the_end(whole, tmp_path):
    clone, whole_root, _ = whole
    root = tmp_path / "root"
    shutil.copytree(whole_root / "archive", root / "archive")
    damaged = trees.archive_file(root, "imagesTr", "amos_0004")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    left_out = [word for step in ("denoise", "report", "exports") for word in ("--without", step)]
    result = clone.run(*left_out, root)
    assert (result.returncode, len(commands(result))) == (1, len(ORDER[:5] + ORDER[9:]))
    named = closing(result).splitlines()
    assert named[0].startswith("Some samples failed")
    assert [shlex.split(line)[1] for line in named[1:]] == [trees.SCAN, trees.PAIR_CT]
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    assert "amos_0004" not in [row[0].value for row in book["Manifest"]]


@pytest.mark.parametrize("status", [2, 130, 137])
def test_other_exit_stops_and_tells_how_to_continue(clone, tmp_path, status):
    root = tmp_path / "a root"
    (root / "archive").mkdir(parents=True)
    result = clone.run(root, STUBS="04_extract", STATUS=str(status))
    assert result.returncode == status
    assert commands(result)[-1][1] == trees.EXTRACT
    assert f"To continue: {clone.called} --from 04 '{root}'" in closing(result)


@pytest.mark.parametrize(
    "folder, call",
    [
        (".", "the clone/run_tutorial.sh"),
        ("the clone", "./run_tutorial.sh"),
        ("the clone", "bash run_tutorial.sh"),
        ("the clone/utils", "../run_tutorial.sh"),
        ("data", "../the clone/run_tutorial.sh"),
        ("data", "bash ../the clone/run_tutorial.sh"),
        ("/", "{}/the clone/run_tutorial.sh"),
    ],
)
@pytest.mark.parametrize("root", ["", "it's a root"])
def test_the_advice_to_continue_works_as_printed(clone, tmp_path, folder, call, root):
    folder = tmp_path / folder
    folder.mkdir(exist_ok=True)
    words = call.format(tmp_path).split(" ", 1) if call.startswith("bash") else [call]
    words = [word.format(tmp_path) for word in words]
    if root:
        make_tree(tmp_path / root)
        words.append(os.path.relpath(tmp_path / root, folder))
    env = {**os.environ, "HOME": str(clone.home), "PYTHON": str(clone.python), "STATUS": "2"}
    options = {"cwd": folder, "capture_output": True, "text": True, "timeout": 60}
    first = subprocess.run(words, env={**env, "STUBS": "04_extract"}, **options)
    assert first.returncode == 2
    (advice,) = re.findall("^To continue: (.*)$", first.stderr, re.MULTILINE)
    second = subprocess.run(advice, shell=True, env={**env, "STUBS": "05_gen"}, **options)
    assert second.returncode == 2, second.stderr
    begun = commands(second)[not root]  # the sample archive comes first
    assert begun == commands(first)[-1] and begun[1] == trees.EXTRACT
    assert "--from 05" in closing(second)


def test_a_forgotten_metadata_table_stops_at_02_and_01_is_to_run_again(clone, tmp_path):
    phantoms.build_archive(tmp_path)
    (table,) = tmp_path.rglob("labeled_data_meta_0000_0599.csv")
    table.unlink()
    result = clone.run(tmp_path)
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if line.startswith(("FAILED", "Error"))]
    assert [line.partition(":")[0] for line in told] == ["FAILED metadata table", "Error"]
    assert "labeled_data_meta_0000_0599.csv" in told[1] and "run routine 01 again" in told[1]
    assert [words[1][:7] for words in commands(result)][-2:] == ["01_gen_", "AMOS-CT"]
    (advice,) = (line for line in result.stderr.splitlines() if line.startswith("To continue: "))
    assert "--from" not in advice and str(tmp_path) in advice
    assert "takes archive_manifest.xlsx as it is" not in result.stderr  # 02 would stop at it again
    assert not (tmp_path / "grouped").exists()


@pytest.mark.parametrize(
    "output", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "2>&1 | true"]
)
@pytest.mark.parametrize("stub, status", [("none", 0), ("04_extract", 1), ("04_extract", 2)])
def test_output_that_cannot_be_printed_stops_no_run(clone, tmp_path, output, stub, status):
    make_tree(tmp_path, "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004")
    env = {"HOME": str(clone.home), "STUBS": stub, "STATUS": str(status)}
    line = f"set -o pipefail; {clone.called} {shlex.quote(str(tmp_path))} {output}"
    options = {"env": {**os.environ, **env}, "capture_output": True, "timeout": 60}
    assert subprocess.run(["bash", "-c", line], **options).returncode == status
    last = trees.EXTRACT if status == 2 else trees.NNUNET
    assert last in clone.calls()[-1]


def test_label_map_that_is_there_is_kept(clone, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "descriptor").mkdir()
    label_map = tmp_path / "descriptor/label_map.yaml"
    label_map.write_text("mine")
    assert clone.run(tmp_path, STUBS="03", STATUS="2").returncode == 2
    assert label_map.read_text() == "mine"


def make_tree(root, *volumes):
    """An archive folder, and empty files in the place of volumes."""
    (root / "archive").mkdir(parents=True)
    for volume in volumes:
        path = root / "grouped" / f"{volume}_volume.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()


def test_parts_and_subsets_without_samples_are_left_out(clone, tmp_path):
    root = tmp_path / "val/train"  # names of subsets above the data count for nothing
    make_tree(
        root,
        "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004",
        "AMOS-CT/test/Brilliance16/amos_0201_M/amos_0201",
    )
    result = clone.run(root, STUBS="none", STATUS="2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"{root}/grouped/AMOS-MRI: skipped, it has no samples\n") == 4
    assert f"{root}/grouped/AMOS-CT: no samples in val, left out of --subsets\n" in result.stdout
    of_07 = [words for words in commands(result) if words[1].startswith("07")]
    assert [words[-4:] for words in of_07] == [["--subsets", "train", "--subsets", "test"]] * 2
    assert "val" not in of_07[0]


def test_no_manifest_of_05_leaves_out_06_and_07(clone, tmp_path):
    make_tree(
        tmp_path,
        "AMOS-CT/train/Brilliance16/amos_0004_M/amos_0004",
        "AMOS-MRI/train/Prisma/amos_0507_M/amos_0507",
    )
    result = clone.run("--from", "05", tmp_path, STUBS="dataset_manifest_amos_mri", STATUS="1")
    assert result.returncode == 1
    assert result.stdout.count("AMOS-MRI: skipped, routine 05 wrote no manifest\n") == 3
    begun = ["05"] * 3 + ["06"] * 2 + ["07"] * 2
    assert [words[1][:2] for words in commands(result)] == [*begun, "ut", "ut"]
    assert len(closing(result).splitlines()) == 2


def test_without_root_the_sample_archive_is_made_in_the_repository(clone):
    result = clone.run(STUBS="03_split", STATUS="2")
    made = "python utils/generate_sample_archive.py --root_dir sample_data"
    assert commands(result)[0] == made.split()
    assert f"To continue: {clone.called} --from 03" in closing(result).splitlines()
    assert (clone.path / "sample_data/descriptor/label_map.yaml").is_file()
    assert "/sample_data/" in (REPOSITORY / ".gitignore").read_text().split()


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--form", "02"], "no such option: --form"),
        (["--from"], "--from needs a step"),
        (["--from", "08"], "no such step: 08"),
        (["--from", "01 02"], "no such step: 01 02"),
        (["--without"], "--without needs a step: denoise report exports"),
        (["--without", "05"], "no step that can be left out: 05; expected one of denoise report"),
        (["--without=report exports"], "no step that can be left out: report exports; expected"),
        (["--without", ""], "no step that can be left out: ; expected"),
        (["--dataset=nme", "--without=denoise"], "left out: denoise; expected one of report exp"),
        (["a", "b"], "a second: b"),
        (["no such root"], "no such folder: no such root; expected one with archive/"),
        (["empty"], "no such folder: empty/archive; expected the archive there"),
        (["a root/archive"], "no such folder: a root/archive/archive; probably meant: {}/a root\n"),
        (["a root/archive/amos22/imagesTr"], "probably meant: {}/a root\n"),
        (["a root/grouped"], "probably meant: {}/a root\n"),
        (["a root/descriptor/"], "probably meant: {}/a root\n"),
        (["."], "no such folder: ./archive; probably meant: ./a root\n"),
        (["unpacked"], "unpacked/archive; unpacked/amos22 holds an archive: move it there\n"),
        (["unpacked/amos22"], "; unpacked/amos22 holds an archive: move it there\n"),
        (["zipped"], "no such folder: zipped/archive; zipped holds an archive: move it there\n"),
        (["--dataset=nme", "nme"], "no such folder: nme/archive; nme holds an archive: move it"),
        (["--dataset=nme", "unpacked"], "unpacked/archive; expected the archive there (NME-Seg-"),
        (["two"], "no such folder: two/archive; expected the archive there"),
        (["two//"], "no such folder: two/archive; expected the archive there"),
        ([""], "ROOT is empty"),
        (["no\x1b[31m\nroot"], "no such folder: no?[31m?root; expected one with archive/"),
        (["--from", "0\x1b[31m"], "no such step: 0?[31m; "),
        (["deep/odd\x1b[31m"], "control characters in the path of ROOT: {}/deep/odd?[31m\n"),
        (["deep/odd\x1b[31m/a root"], "control characters in the path of ROOT: "),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(clone, tmp_path, words, reason):
    for name in (
        "empty a_root/archive/amos22/imagesTr a_root/grouped a_root/descriptor "
        "unpacked/amos22/imagesTr nme/NME-Seg-2025.8.25-train-val two/1/archive two/2/archive "
        "deep/odd\x1b[31m/archive deep/odd\x1b[31m/a_root/archive"
    ).split():
        (tmp_path / name.replace("_", " ")).mkdir(parents=True)
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped/amos22.zip").touch()
    before = trees.contents(tmp_path)
    result = clone.run(*words, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert reason.format(tmp_path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert trees.contents(tmp_path) == before


def test_help(clone):
    result = clone.run("-h")
    assert (result.returncode, result.stderr) == (0, "")
    usage = "Usage: ./run_tutorial.sh [--dataset NAME] [--from STEP] [--without STEP] [ROOT]\n"
    assert result.stdout.startswith(usage)
    assert clone.run("--help", "nonsense").stdout == result.stdout


def test_first_run_makes_the_environment_and_the_second_installs_nothing(tmp_path):
    clone = make_clone(tmp_path, installed=False)
    result = clone.run("--version", script="run_tests.sh")
    assert (result.returncode, result.stderr) == (0, "")
    assert clone.calls("-m venv") == ["-m venv .venv"]
    (install,) = clone.calls("-m pip")
    assert install.endswith(
        "-r requirements.txt -r requirements-test.txt -r requirements-cluster.txt"
    )
    assert "--no-cache-dir" in install
    assert clone.calls()[-4:] == [
        "-m ruff check --quiet .",
        "-m ruff format --check --quiet .",
        "-m mypy --no-error-summary",
        "-m pytest -n logical --dist loadfile --version",
    ]
    clone.run("--version", script="run_tests.sh")
    assert len(clone.calls("-m pip")) == len(clone.calls("-m venv")) == 1
    assert not clone.marker.exists()


@pytest.mark.parametrize("check", ["ruff check", "ruff format", "mypy"])
def test_no_test_runs_where_a_check_has_failed(clone, check):
    assert clone.run(script="run_tests.sh", BAD_CHECK=f"-m {check}").returncode == 1
    assert clone.calls()[-1].startswith(f"-m {check} ")


def test_changed_requirements_are_installed(clone):
    with open(clone.path / "requirements.txt", "a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    clone.run("--version", script="run_tests.sh")
    assert len(clone.calls("-m pip install")) == 1
    assert clone.calls("-m venv") == []


def test_interrupted_installation_starts_again_from_nothing(tmp_path):
    clone = make_clone(tmp_path, installed=False)
    failed = clone.run(PIP_STATUS="1")
    assert failed.returncode == 2
    assert "the packages could not be installed" in failed.stderr
    assert clone.marker.exists()
    (clone.path / ".venv/half installed").touch()
    clone.run("--version", script="run_tests.sh")
    assert len(clone.calls("-m venv")) == 2
    assert not (clone.path / ".venv/half installed").exists()
    assert not clone.marker.exists()


def test_an_installation_at_work_is_left_alone(clone):
    clone.marker.write_text(f"{os.getpid()}\n")
    result = clone.run()
    assert result.returncode == 2
    assert f"another installation is at work (process {os.getpid()})" in result.stderr
    assert (clone.path / ".venv/bin/python").exists()


def test_missing_or_old_python_is_named(tmp_path):
    clone = make_clone(tmp_path, installed=False)
    result = clone.run(PYTHON="/no/such/python3")
    assert result.returncode == 2
    assert "/no/such/python3 is missing or too old; needed is Python 3.10" in result.stderr
    assert not (clone.path / ".venv").exists()


@starts_pytest
def test_ci_run_fails_when_no_test_ran(clone):
    (clone.path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci/run", clone.path / ".ci/run")
    (clone.path / "test_skipped.py").write_text(
        "import pytest\n\n\n@pytest.mark.skip\ndef test_a():\n    pass\n"
    )
    skipped = clone.run("test_skipped.py", script=".ci/run")
    assert (skipped.returncode, skipped.stderr) == (1, ".ci/run: no test passed\n")
    (clone.path / "test_good.py").write_text("def test_b():\n    pass\n")
    good = clone.run("test_skipped.py", "test_good.py", script=".ci/run")
    assert good.returncode == 0
    assert "1 passed, 1 skipped" in good.stdout.splitlines()[-1]

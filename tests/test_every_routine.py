"""What every routine has to do, whatever it is for: one table of routines, one test per duty."""

import functools
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import described_trees
import nme_trees
import openpyxl
import pytest
import trees

from utils import errors
from utils.running import runner, shared_options
from utils.storage import workbook

# Options that name what must exist.
INPUTS = "--root_dir --manifest_file --archive_manifest --label_explanation".split()
INPUTS += "--labeled_data_meta --before_dir --ids --dataset".split()
IMAGE_LIBRARIES = {"nibabel", "scipy", "cc3d", "tqdm", "matplotlib"}
SHOW_IMPORTS = ("-X", "importtime")


class Routine(NamedTuple):
    """A script, the state of the data that it starts from, and what can be damaged there."""

    script: str
    state: str
    damaged: str = ""  # pattern of a file of one sample
    more: str = ""
    table: str = ""  # workbook with rows of all samples that are sound
    all_or_nothing: str = ""  # file that one faulty sample keeps from being written
    renewed: tuple = ()  # beginnings of names that are written again, with the same bytes
    data: object = trees  # or nme_trees, described_trees

    @property
    def sample(self):
        """The sample that is damaged, as it is called in names of files."""
        return re.search(r"amos_\d{4}|02A004|s0003", self.damaged)[0]

    def start(self, folder):
        """Put the data below a new folder."""
        root = self.data.copy(self.state, folder / "root dir ä")
        if self.has("ids"):
            (root / SPLIT_LIST).write_text(self.data.SPLIT)
        return root

    def words(self, root, *more):
        """The command line."""
        return [*self.data.words(self.script, root, *self.more.split()), *map(str, more)]

    def run(self, root, *more):
        """Run it in this process with one worker."""
        return trees.run(self.script, *self.words(root, *self.workers(1), *more))

    def workers(self, number):
        """The words that ask for so many workers, where the script knows them."""
        return ["--workers", number] if self.has("workers") else []

    def writes_samples(self):
        """Tell whether it skips a sample that is finished."""
        return self.has("workers") and not (self.table or self.all_or_nothing)

    def has(self, name):
        """Tell whether the script has an option."""
        return name in {option.name for option in trees.main(self.script).params}


def nme(*words, **more):
    """A row on the scans of NME."""
    return Routine(*words, **more, data=nme_trees)


def described(*words, **more):
    """A row on a described data set, of one file per organ."""
    return Routine(*words, **more, data=described_trees)


SPLIT_LIST = "descriptor/split05_listed.csv"
SCANNED, INDEXED = "descriptor/archive_manifest.xlsx", "grouped/dataset_manifest.xlsx"
NNUNET_JSON = "nnUNet_raw/Dataset218_AMOS22/dataset.json"
IMAGE = "archive/amos22/imagesTr/amos_0004.nii.gz"
LABELS = "archive/amos22/labelsTr/amos_0004.nii.gz"
MRI_IMAGE = "archive/amos22/imagesTr/amos_0507.nii.gz"
MASK = "grouped/**/amos_0004_mask.nii.gz"
WOMANS = "grouped/**/amos_0008_mask.nii.gz"  # with label 15
KIDNEY = "grouped/**/amos_0004_mask_03_left_kidney.nii.gz"
VOLUME = "grouped/**/amos_0004_volume.nii.gz"
NME_IMAGE, NME_LABELS = (f"archive/**/{kind}Ts/NME-Seg_02A004.*" for kind in ("images", "labels"))
NME_MASK = "grouped/**/02A004_*_mask.nii.gz"
ORGAN = "archive/set/s0003/segmentations/spleen.nii.gz"
ORGANS_MASK = "grouped/**/s0003_mask.nii.gz"
PAGES = ("qc/index.html", "qc/plots/", "qc/samples/")
TONGJI = "--split_name a --site Tongji --collection train-val"
ROUTINES = [
    Routine(trees.SCAN, "built", IMAGE, table=SCANNED),
    Routine(trees.PAIR_CT, "scanned", LABELS),
    Routine(trees.PAIR_MRI, "scanned", MRI_IMAGE),
    Routine(trees.SPLIT_LABEL, "paired", WOMANS),
    Routine(trees.EXTRACT, "relabelled", MASK),
    Routine(trees.DENOISE, "extracted", MASK, "--region_area_thresh 3000"),
    Routine(
        trees.DETECT,
        "extracted",
        KIDNEY,
        "--region_volume_thresh 130000",
        table="descriptor/regions.xlsx",
    ),
    Routine(trees.INDEX, "extracted", MASK, all_or_nothing=INDEXED),
    Routine(trees.MAKE_SPLIT, "indexed"),
    Routine(trees.BY_PATIENT, "indexed"),
    Routine(trees.FOLDS, "indexed"),
    Routine(trees.LEAVE_OUT, "indexed"),
    Routine(trees.LISTED, "indexed"),
    Routine(trees.CUT, "split"),
    Routine(trees.NNUNET, "split", MASK, "--ignore_labels 14", all_or_nothing=NNUNET_JSON),
    Routine(trees.DATALIST, "split"),
    Routine(trees.CROISSANT, "split", VOLUME, all_or_nothing="croissant.json"),
    Routine(trees.REPORT, "extracted", VOLUME, renewed=PAGES),
    Routine(trees.GENERATE, "empty"),
    nme(nme_trees.SCAN, "built", NME_LABELS, "--check_content", table=SCANNED),
    nme(nme_trees.PAIR, "scanned", NME_IMAGE),
    nme(nme_trees.EXTRACT, "paired", NME_MASK),
    nme(trees.DENOISE, "extracted", NME_MASK),
    nme(nme_trees.INDEX, "extracted", NME_MASK, all_or_nothing=INDEXED),
    nme(nme_trees.PREDEFINED, "indexed", more=TONGJI),
    nme(nme_trees.ACROSS, "indexed"),
    nme(nme_trees.CUT, "split"),
    nme(nme_trees.GENERATE, "empty"),
    described(described_trees.SCAN, "built", ORGAN, table=SCANNED),
    described(described_trees.PAIR, "scanned", ORGAN),
    described(described_trees.EXTRACT, "paired", ORGANS_MASK),
    described(described_trees.INDEX, "extracted", ORGANS_MASK, all_or_nothing=INDEXED),
    described(described_trees.MAKE_SPLIT, "indexed"),
    described(described_trees.BY_PATIENT, "indexed"),
    described(described_trees.FOLDS, "indexed"),
    described(described_trees.LEAVE_OUT, "indexed"),
    described(described_trees.LISTED, "indexed"),
    described(described_trees.CUT, "split"),
    described(described_trees.DRAFT, "built"),
    described(described_trees.GENERATE, "empty"),
]

PREFIXES = {trees: "", nme_trees: "nme-", described_trees: "described-"}
NAMES = [(one, f"{PREFIXES[one.data]}{Path(one.script).stem}") for one in ROUTINES]


def each(condition=None, slow=()):
    """Parametrize a test with all routines, or with those that it concerns."""
    rows = []
    for one, name in NAMES:
        marks = [pytest.mark.slow("draws reports")] if one.script in slow else []
        if condition is None or condition(one):
            rows.append(pytest.param(one, id=name, marks=marks))
    return pytest.mark.parametrize("routine", rows)


@functools.cache
def made(routine):
    """The folder that one run with one worker leaves, and click's result."""
    root = routine.start(Path(trees.scratch("routines"), str(ROUTINES.index(routine))))
    result = routine.run(root)
    assert result.exit_code == 0 and not trees.complaints(result), result.output
    return root, result


def files_of(routine):
    """Relative path -> bytes of all files that one run with one worker leaves."""
    return trees.contents(made(routine)[0])


def told(text, *roots):
    """The lines of a text that say the same of the same data, wherever the folder is."""
    for root in roots:
        text = text.replace(str(root), "ROOT")
    lines = text.splitlines()
    return [line for line in lines if not line.startswith(("Disk space: ", "import time: "))]


def test_every_script_is_in_the_table():
    scripts = {
        path.relative_to(trees.REPOSITORY).as_posix()
        for pattern in ("*.py", "AMOS-*/*.py", "NME/*.py", "described/*.py", "utils/*.py")
        for path in trees.REPOSITORY.glob(pattern)
        if path.read_text(encoding="utf-8").endswith("\n    main()\n")
    }
    assert {routine.script for routine in ROUTINES} == scripts


@each(slow=[trees.REPORT])
def test_it_works_from_another_directory_with_relative_paths(routine, tmp_path, monkeypatch):
    """Who only handles tables is a process of its own here, and loads no library for images."""
    root = routine.start(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    relative = os.path.relpath(root, elsewhere)
    words = [word.replace(str(root), relative) for word in routine.words(root)]
    there, expected = made(routine)
    if routine.has("workers") or routine.script == described_trees.DRAFT:
        monkeypatch.chdir(elsewhere)
        done = trees.run(routine.script, *words, *routine.workers(1))
        assert done.exit_code == 0, done.stderr
    else:
        done = trees.run_process(routine.script, *words, cwd=elsewhere, options=SHOW_IMPORTS)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
        assert "click" in loaded and not loaded & IMAGE_LIBRARIES
    # What is to be typed later has whole paths.
    assert told(done.stdout, root, relative) == told(expected.stdout, there)
    assert told(done.stderr, relative) == told(expected.stderr, there)
    assert trees.contents(root) == files_of(routine)
    assert not any(elsewhere.iterdir())


@each(lambda routine: routine.has("workers"))
def test_two_workers_write_the_same_bytes(routine, tmp_path):
    root = routine.start(tmp_path)
    result = trees.run(routine.script, *routine.words(root, *routine.workers(2)))
    there, expected = made(routine)
    assert result.exit_code == 0
    assert told(result.output, root) == told(expected.output, there)
    assert trees.contents(root) == files_of(routine)
    assert not trees.leftovers(root)


def closing_line(result):
    """The line with the counts; only commands to type next may follow."""
    (line,) = re.findall(r"^\w+: \d+ done, .*", result.stdout, re.M)
    assert line == result.stdout.partition("# Next, ")[0].splitlines()[-1]
    return line


def counts(result):
    """The numbers of the closing line: done, skipped, failed."""
    return [int(number) for number in re.findall(r"\d+", closing_line(result))]


def stamps(routine, root):
    """Relative path -> what shows that a file was written again, but for what may be."""
    return {
        name: stamp
        for name, stamp in trees.identities(root).items()
        if not name.startswith(routine.renewed)
    }


@pytest.fixture(name="loaded")
def loaded_workbooks(monkeypatch):
    """Paths of the workbooks that are loaded in a test, in order."""
    paths, load = [], workbook.Workbook.__init__

    def noted(book, path):
        paths.append(Path(path))
        load(book, path)

    monkeypatch.setattr(workbook.Workbook, "__init__", noted)
    return paths


@each(slow=[trees.REPORT])
def test_a_second_run_changes_nothing(routine, tmp_path, loaded):
    root = routine.start(tmp_path)
    routine.run(root)
    before = stamps(routine, root)
    loaded.clear()
    result = routine.run(root)
    assert result.exit_code == 0 and not trees.complaints(result)
    assert len(set(loaded)) == len(loaded), "each workbook is loaded once a run"
    if routine.writes_samples():
        done, skipped, failed = counts(made(routine)[1])
        assert counts(result) == [0, done + skipped, failed]
    assert not routine.has("quiet") or routine.run(root, "--quiet").stdout == ""
    assert stamps(routine, root) == before
    assert trees.contents(root) == files_of(routine)


def images_of(root, sample):
    """Relative path -> bytes of the images and info files of a sample."""
    return {
        name: content
        for name, content in trees.contents(root).items()
        if sample in name and name.endswith((".nii.gz", ".yaml"))
    }


def rows_without(sample, path):
    """The rows of the worksheet Manifest that do not name a sample."""
    rows = openpyxl.load_workbook(path)["Manifest"].iter_rows(values_only=True)
    return [row for row in rows if sample not in str(row)]


@each(lambda routine: routine.damaged)
def test_a_damaged_file_fails_its_sample_alone(routine, tmp_path):
    root = routine.start(tmp_path)
    (path,) = root.glob(routine.damaged)
    path.write_bytes(path.read_bytes()[:-20])
    before = images_of(root, routine.sample)
    result = routine.run(root)
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    (line,) = trees.complaints(result)
    name = path.relative_to(root / "archive").as_posix() if routine.table == SCANNED else ""
    assert line.startswith(f"FAILED {name or routine.sample}") and str(path) in line
    done, skipped, failed = counts(made(routine)[1])
    assert counts(result)[2] == 1 and sum(counts(result)) == done + skipped + failed
    assert images_of(root, routine.sample) == before and not trees.leftovers(root)
    check_the_others(routine, root)
    log = root / "new folder/failures.jsonl"
    again = routine.run(root, "--quiet", "--failures_file", log)
    assert (again.exit_code, again.stdout, trees.complaints(again)) == (1, "", [line])
    (entry,) = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert f"FAILED {entry['sample']}: {entry['reason']}" == line
    assert entry["file"] == str(path) and entry["code"] == "truncated"


def check_the_others(routine, root):
    """All that does not hang on the damaged sample is as without it."""
    found, expected = trees.contents(root), files_of(routine)
    for name in expected:
        if name.endswith((".nii.gz", ".yaml")) and routine.sample not in name:
            assert found[name] == expected[name], name
    assert not (root / routine.all_or_nothing).is_file()
    if routine.table:
        others = rows_without(routine.sample, made(routine)[0] / routine.table)
        assert rows_without(routine.sample, root / routine.table) == others


def inputs(routine, root):
    """Option that names what must exist -> a right value."""
    words = routine.words(root)
    for option in trees.main(routine.script).params:
        name = option.opts[0]
        is_input = name in INPUTS and option.type is not shared_options.OUTPUT_DIR
        if is_input and routine.state != "empty":
            yield name, words[words.index(name) + 1] if name in words else root / "descriptor"


@each(lambda routine: routine.state != "empty")
def test_a_wrong_path_is_named_with_the_nearest(routine, tmp_path):
    root = routine.start(tmp_path)
    (root / "descriptor").mkdir(exist_ok=True)
    before = sorted(root.rglob("*")), trees.identities(root)
    for option, value in inputs(routine, root):
        result = routine.run(root, option, f"{value}x")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{value}x (nearest that exists: {value})" in result.stderr
        assert option in result.stderr and "Traceback" not in result.stderr
    assert (sorted(root.rglob("*")), trees.identities(root)) == before


def last_file(routine):
    """What a routine writes when it is through with the samples."""
    return routine.table or routine.all_or_nothing or "".join(routine.renewed[:1])


@each(last_file, slow=(trees.REPORT,))
def test_what_was_done_is_told_though_the_last_file_cannot_be_written(
    routine, tmp_path, monkeypatch
):
    """A folder gets its name while the samples are worked on."""
    counts = closing_line(made(routine)[1])
    root = routine.start(tmp_path)
    target = root / last_file(routine)
    plain = runner.run

    def run_and_block(*args, **options):
        outcome = plain(*args, **options)
        if "step" in options:  # the samples, not a check before them
            if not routine.all_or_nothing:
                outcome.fail("made up", errors.DatasetError("bad"))
            outcome.warnings.append(("made up", "odd"))
            target.mkdir(parents=True)
        return outcome

    monkeypatch.setattr(runner, "run", run_and_block)
    failures = tmp_path / "failures.jsonl"
    result = routine.run(root, "--failures_file", failures)
    assert result.exit_code == 1
    assert "WARNING made up: odd\n" in result.stderr
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"Error: {target}: ")
    n_failed = 0 if routine.all_or_nothing else 1
    assert failures.read_text().count("\n") == result.stderr.count("FAILED") == n_failed
    assert result.stdout == counts.replace(" 0 failed", f" {n_failed} failed") + "\n"
    record = json.loads((root / "descriptor/provenance.jsonl").read_text().splitlines()[-1])
    assert (record["exit_status"], record["counts"]["failed"]) == (1, n_failed)
    assert record["counts"]["done"] > 0


@each(lambda routine: "--root_dir" in routine.words(Path()) and routine.state != "empty")
def test_another_part_of_the_root_is_told_from_the_one_that_was_meant(routine, tmp_path):
    """ROOT/archive in place of ROOT/grouped, and the other way round."""
    root = routine.start(tmp_path)
    is_of_archive = routine.state in ("built", "scanned")
    meant, given = root / "grouped", root / "archive"
    if is_of_archive:
        meant, given = given, meant
    (given / "a folder").mkdir(parents=True, exist_ok=True)
    before = sorted(root.rglob("*")), trees.identities(root)
    for wrong in (given, given / "a folder"):
        result = routine.run(root, "--root_dir", wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"Error: {wrong}: ") and result.stderr.count("\n") == 1
        assert result.stderr.endswith(f"; probably meant: {meant}\n")
    assert (sorted(root.rglob("*")), trees.identities(root)) == before


@each(lambda routine: "--manifest_file" in routine.words(Path()))
@pytest.mark.parametrize("content", [b"", b"no workbook"])
def test_a_manifest_that_is_no_workbook_is_named_in_one_line(routine, content, tmp_path):
    root = routine.start(tmp_path)
    (root / INDEXED).write_bytes(content)
    before = trees.identities(root)
    result = routine.run(root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and str(root / INDEXED) in result.stderr
    assert trees.identities(root) == before


@each()
def test_help_has_every_option_and_an_example(routine):
    result = trees.run(routine.script, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"python {routine.script} " in result.stdout
    for option in trees.main(routine.script).params:
        assert option.help and all(f"  {name}" in result.stdout for name in option.opts)
    assert trees.run(routine.script, "-h").stdout == result.stdout

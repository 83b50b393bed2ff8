"""What a run leaves in provenance.jsonl, and that it never stands in the way."""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import finished
import pytest
import trees

from utils import errors
from utils.running import calls, cli, provenance, shared_options

CUT = "07_extract_split_index_manifest.py"


@pytest.fixture(name="root")
def indexed_data(tmp_path):
    return trees.copy("indexed", tmp_path / "data")


def lines(root):
    path = root / "descriptor/provenance.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def added(root, script, *words):
    """Run a script and give the result and the one line that it added."""
    path = root / "descriptor/provenance.jsonl"
    before = path.read_bytes() if path.exists() else b""
    result = finished.run(script, *words)
    after = path.read_bytes()
    assert after.startswith(before) and after.count(b"\n") == before.count(b"\n") + 1
    return result, lines(root)[-1]


def test_a_run_is_told(root):
    _, entry = added(root, trees.SPLIT_LABEL, "--root_dir", root / "grouped", "--workers", 1)
    assert list(entry) == [
        "routine",
        "version",
        "started",
        "ended",
        "exit_status",
        "parameters",
        "counts",
        "failures",
        "python",
        "libraries",
    ]
    assert entry["routine"] == "03_split_prostate_uterus_label.py"
    assert entry["exit_status"] == 0
    assert entry["parameters"]["root_dir"] == "grouped"
    assert entry["parameters"]["workers"] == 1
    assert entry["counts"] == {"done": 0, "skipped": 6, "failed": 0}
    assert entry["failures"] == []
    assert entry["started"] <= entry["ended"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["ended"])
    import numpy as np

    assert entry["libraries"]["numpy"] == np.__version__
    assert {"nibabel", "connected-components-3d", "PyYAML"} <= set(entry["libraries"])


def test_failures_are_told_by_id_and_code_alone(root):
    path = trees.mask_path(root, "amos_0001")  # a woman's: 03 has to read it
    path.write_bytes(path.read_bytes()[:-30])
    result, entry = added(root, trees.SPLIT_LABEL, "--root_dir", root / "grouped", "--workers", 1)
    assert (result.exit_code, entry["exit_status"]) == (1, 1)
    assert entry["counts"]["failed"] == 1
    assert entry["failures"] == [{"sample": "amos_0001", "code": "truncated"}]


def test_every_routine_of_the_chain_tells(tmp_path):
    root = finished.make(tmp_path / "data")
    folder = root / "grouped/splits"
    finished.call(
        CUT, *finished.source(root), "--subsets", "train", "--output_index_manifest_dir", folder
    )
    told = lines(root)
    assert [entry["routine"] for entry in told] == [
        trees.SCAN,
        trees.PAIR_CT,
        trees.PAIR_MRI,
        trees.SPLIT_LABEL,
        trees.EXTRACT,
        trees.INDEX,
        trees.MAKE_SPLIT,
        *[trees.INDEX, trees.MAKE_SPLIT] * 2,
        CUT,
    ]
    assert told[-1]["parameters"] == {
        "subsets": [["train"]],
        "split_name": finished.SPLIT,
        "manifest_file": "grouped/dataset_manifest.xlsx",
        "output_index_manifest_dir": "grouped/splits",
    }
    assert not list((root / "grouped").rglob("provenance.jsonl"))


def test_no_patient_data(tmp_path):
    root = finished.make(tmp_path / "data")
    sample = trees.sample_dir(root, "amos_0004")
    finished.call(trees.SPLIT_LABEL, "--root_dir", sample, "--workers", 1)
    text = (root / "descriptor/provenance.jsonl").read_text()
    told = lines(root)[-1]["parameters"]["root_dir"]
    assert told == "grouped/AMOS-CT/train/Brilliance16/amos_0004"
    assert not re.search(r"amos_\d{4}_|birth|\d{3}Y", text)
    assert str(tmp_path) not in text


def test_help_and_wrong_usage_are_not_told(tmp_path):
    root = trees.copy("scanned", tmp_path / "data")
    (root / "descriptor/provenance.jsonl").unlink()
    (root / "empty").mkdir()
    for words in (["--help"], ["--root_dir", root / "nothing"], ["--root_dir", root / "empty"], []):
        finished.run(trees.SPLIT_LABEL, *words)
    assert not list(tmp_path.rglob("provenance.jsonl"))


def test_data_stay_as_they_are(root):
    before = trees.identities(root / "grouped")
    for _ in range(2):
        trees.invoke(trees.EXTRACT, root)
    assert trees.identities(root / "grouped") == before


@pytest.mark.parametrize(
    "parameters, expected",
    [
        ({"root_dir": "data/grouped"}, "data"),
        ({"root_dir": "data/grouped/AMOS-CT"}, "data"),
        ({"root_dir": "data/archive", "output_manifest_file": "else/descriptor/m.xlsx"}, "data"),
        ({"root_dir": "data"}, "data"),
        ({"manifest_file": "data/grouped/AMOS-CT/m.xlsx", "output_file": "else/x.json"}, "data"),
        ({"root_dir": "plain/tree", "output_dir": "data/grouped"}, "data"),
        ({"root_dir": "plain/tree", "output_dir": "else/tree"}, "else"),
        ({"root_dir": "plain/tree", "output_manifest": "else/descriptor/x.xlsx"}, "else"),
        ({"root_dir": "plain/tree"}, "plain"),
        ({"root_dir": "new/archive"}, "new"),
        # Somebody's folder far up that happens to have such a name.
        ({"root_dir": "mnt/archive/people/tree"}, "mnt/archive/people"),
    ],
)
def test_where_it_is_told(tmp_path, parameters, expected):
    for folder in ("data/archive", "data/grouped/AMOS-CT", "data/descriptor", "plain/tree"):
        (tmp_path / folder).mkdir(parents=True)
    paths = {name: tmp_path / path for name, path in parameters.items()}
    others = {"failures_file": tmp_path / "x/y.jsonl", "workers": 2, "split_name": "data/grouped"}
    assert provenance.folder({**others, **paths}) == tmp_path / expected / "descriptor"


def test_relative_paths_count_from_where_they_are_typed(tmp_path, monkeypatch):
    (tmp_path / "grouped").mkdir()
    monkeypatch.chdir(tmp_path / "grouped")
    assert provenance.folder({"root_dir": Path(".")}) == tmp_path / "descriptor"


def test_parameters_become_plain(tmp_path):
    run = provenance.Run(
        tmp_path / "mine.py",
        {
            "output_dir": tmp_path / "grouped/x",
            "kernel_size": (5, 5),
            "labels": frozenset({16, 14}),
            "overwrite": False,
            "thresh": 10.0,
            "none": None,
            "elsewhere": tmp_path.parent / "y",
        },
    )
    told = json.loads(provenance.line(run, tmp_path, 0))
    assert told["routine"] == "mine.py"
    assert told["parameters"] == {
        "output_dir": "grouped/x",
        "kernel_size": [5, 5],
        "labels": [14, 16],
        "overwrite": False,
        "thresh": 10.0,
        "none": None,
        "elsewhere": "../y",
    }


def run_of(root):
    return provenance.Run(Path("x.py"), {"root_dir": root})


def test_concurrent_runs_lose_no_line(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda number: provenance.add(run_of(tmp_path / "grouped"), number), range(40))
        )
    assert sorted(entry["exit_status"] for entry in lines(tmp_path)) == list(range(40))


def test_a_line_that_was_cut_off_stays_alone(tmp_path):
    provenance.add(run_of(tmp_path / "grouped"), 0)
    path = tmp_path / "descriptor/provenance.jsonl"
    path.write_bytes(path.read_bytes() + b'{"routine": "kil')
    provenance.add(run_of(tmp_path / "grouped"), 1)
    whole, cut, after = path.read_text().splitlines()
    assert cut == '{"routine": "kil'
    assert (json.loads(whole)["exit_status"], json.loads(after)["exit_status"]) == (0, 1)


def test_a_place_that_cannot_be_written_is_one_warning(root):
    (root / "descriptor/provenance.jsonl").unlink()
    (root / "descriptor/provenance.jsonl").mkdir()
    result = finished.run(trees.SPLIT_LABEL, "--root_dir", root / "grouped", "--workers", 1)
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("WARNING: ")
    assert "provenance.jsonl: this run is not recorded" in warning


@pytest.mark.parametrize(
    "failure",
    [
        PermissionError(13, "Permission denied"),
        OSError(28, "No space left on device"),
        OSError(30, "Read-only file system"),
    ],
)
def test_reading_only_is_no_failure(tmp_path, monkeypatch, failure):
    def fail(*words):
        raise failure

    monkeypatch.setattr(os, "open", fail)
    with pytest.warns(errors.DataWarning, match=failure.strerror):
        provenance.add(run_of(tmp_path / "grouped"), 0)


def test_run_without_any_path_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        provenance.add(provenance.Run(Path("x.py"), {"workers": 1}), 0)


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_version_is_the_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path / "repository")
    (tmp_path / "repository").mkdir()
    assert provenance.version() == "unknown"
    git(tmp_path, "init", ".")  # a repository further up is not ours
    assert provenance.version() == "unknown"
    git(tmp_path / "repository", "init", ".")
    (tmp_path / "repository/a.py").write_text("1")
    git(tmp_path / "repository", "add", "a.py")
    git(tmp_path / "repository", "commit", "-m", "x")
    commit = provenance.version()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "repository/a.py").write_text("2")
    assert provenance.version() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.version() == "unknown"


STOPPED = '''"""A routine that waits."""
import time
from utils.running import cli, shared_options


@cli.routine(__doc__)
@shared_options.root_dir
def main(root_dir):
    print("ready", flush=True)
    time.sleep(60)


main()
'''


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_runs_are_told(root, number, status):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, "--root_dir", str(root / "grouped")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(trees.REPOSITORY)},
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(20) == status
    assert lines(root)[-1]["exit_status"] == status


def test_a_bug_is_told_and_still_a_traceback(root):
    @cli.routine("A routine with a bug.")
    @shared_options.root_dir
    def main(root_dir):
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError):
        main(["--root_dir", str(root / "grouped")])
    assert lines(root)[-1]["exit_status"] == 1


def test_counts_of_an_outcome(root):
    @cli.routine("A routine.", images=False)
    @shared_options.root_dir
    def main(root_dir):
        outcome = calls.Outcome(done=3, skipped=2)
        outcome.fail(
            "amos_0001",
            errors.CasesError(
                [errors.DatasetError("a", code="x"), errors.DatasetError("b", code="y")]
            ),
        )
        cli.finish(outcome)

    with pytest.raises(SystemExit):
        main(["--root_dir", str(root / "grouped")])
    entry = lines(root)[-1]
    assert entry["counts"] == {"done": 3, "skipped": 2, "failed": 1}
    assert entry["failures"] == [
        {"sample": "amos_0001", "code": "x"},
        {"sample": "amos_0001", "code": "y"},
    ]

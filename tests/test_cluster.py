"""The option --scheduler: a Dask scheduler and plain workers on the loopback interface."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cluster_functions
import phantoms
import pytest
import trees
import zip_files

from utils import errors
from utils.running import calls, cluster, runner

ROOT = Path(__file__).resolve().parents[1]
SLOW_S = 60  # the machine may be busy
needs_distributed = pytest.mark.skipif(
    shutil.which("dask", path=Path(sys.executable).parent) is None,
    reason="distributed is not installed (requirements-cluster.txt)",
)
NAMES = ["a", "b", "c", "d", "e", "f"]
pytestmark = pytest.mark.slow("a cluster on this machine")


def wait_for(condition):
    """Poll until the condition holds, and return what it gave."""
    stop = time.monotonic() + SLOW_S
    while not (found := condition()):
        assert time.monotonic() < stop, "timeout"
        time.sleep(0.02)
    return found


class Cluster:
    """A scheduler, and workers that know nothing of the repository."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()
        self.processes = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self._file)
        self.address = wait_for(self._read_address)

    def _read_address(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._file.read_text())["address"]

    def _start(self, kind, *words, **variables):
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
        with open(self.folder / f"{kind}-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dask",
                    kind,
                    "--host",
                    "127.0.0.1",
                    "--no-dashboard",
                    *map(str, words),
                ],
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def add_worker(self, *words, **variables):
        """Start a worker and wait until it is there."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            n_workers = len(client.nthreads())
            self._start(
                "worker",
                self.address,
                "--local-directory",
                self.folder,
                "--death-timeout",
                "60",
                *words,
                **variables,
            )
            wait_for(lambda: len(client.nthreads()) > n_workers)

    def stop(self):
        """End all processes; nannies end their workers."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(SLOW_S)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """Address of a cluster with two worker processes of two threads each."""
    running = Cluster(tmp_path_factory.mktemp("cluster") / "two")
    try:
        for _ in range(2):
            running.add_worker("--nthreads", "2")
        yield running.address
    finally:
        running.stop()


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster without workers, for one test."""
    running = Cluster(tmp_path / "cluster")
    yield running
    running.stop()


def run(function, paths, address, **options):
    return runner.run(function, paths, scheduler=address, **options)


def values(outcome):
    return [value for _, value in outcome.results]


@needs_distributed
def test_results_warnings_and_failures_are_as_without_a_cluster(two_workers, tmp_path):
    paths = [tmp_path / name for name in [*NAMES, "bad", "finished"]]
    with pytest.warns(calls.LibraryWarning) as notes_here:
        here = runner.run(cluster_functions.complain, paths)
    with pytest.warns(calls.LibraryWarning) as notes_there:
        there = run(cluster_functions.complain, paths, two_workers)
    for notes in (notes_here, notes_there):
        assert [str(note.message) for note in notes] == [
            f"{paths[0]}: RuntimeWarning: invalid value (and 7 more)"
        ]
    assert there.results == here.results and len(here.results) == len(NAMES) + 1
    assert (there.done, there.skipped, there.failed) == (len(NAMES), 1, 1)
    assert there.warnings == here.warnings and len(here.warnings) == len(paths)
    ((name, error),) = there.failures
    assert (name, error.code, error.found) == (str(tmp_path / "bad"), "bad", "3")


@needs_distributed
def test_all_worker_processes_work(two_workers, tmp_path):
    paths = [tmp_path / name for name in NAMES]
    pids = set()
    for _ in range(20):  # a worker that is quick may do all six
        pids.update(values(run(cluster_functions.process_id, paths, two_workers)))
    assert len(pids) == 2 and os.getpid() not in pids


@needs_distributed
def test_no_samples(two_workers):
    assert run(cluster_functions.name, [], two_workers).results == []


@needs_distributed
def test_killed_worker_has_its_sample_done_by_another_and_largest_go_first(two_workers, tmp_path):
    paths = [tmp_path / name for name in NAMES]
    outcomes, steps = [], []
    thread = threading.Thread(
        target=lambda: outcomes.append(
            run(
                cluster_functions.wait,
                paths,
                two_workers,
                step=steps.append,
                size=lambda path: NAMES.index(path.name),
            )
        )
    )
    thread.start()
    begun = wait_for(lambda: (found := sorted(tmp_path.iterdir()))[1:] and found)
    assert [path.name for path in begun] == ["e", "f"]  # one each, though they have two threads
    victim = int(wait_for(begun[0].read_text))
    os.kill(victim, signal.SIGKILL)
    (tmp_path / "go").touch()
    thread.join(SLOW_S)
    assert values(outcomes[0]) == NAMES and not outcomes[0].failures
    assert steps == [0] * len(NAMES)
    assert int((tmp_path / "e").read_text()) != victim
    assert outcomes[0].dead_workers == 1  # it may have left a half file


@needs_distributed
def test_sample_that_kills_every_worker_fails_alone(two_workers, tmp_path):
    paths = [tmp_path / name for name in ["bad", *NAMES]]
    outcome = run(cluster_functions.die_if_bad, paths, two_workers)
    assert values(outcome) == NAMES
    ((name, error),) = outcome.failures
    assert name == str(paths[0]) and error.code == "worker" and "again and again" in str(error)
    assert outcome.dead_workers == cluster._MOST_DEATHS


@needs_distributed
def test_one_sample_at_a_time_in_a_process_with_threads(two_workers, tmp_path):
    paths = [tmp_path / name for name in NAMES]
    outcomes = []

    def work():
        outcomes.append(run(cluster_functions.note_times, paths, two_workers))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SLOW_S)
    spans = sorted(value for outcome in outcomes for value in values(outcome))
    assert len(spans) == 2 * len(NAMES)
    for (pid, _, end), (next_pid, start, _) in zip(spans, spans[1:]):
        assert pid != next_pid or end <= start


@needs_distributed
def test_a_bug_stops_with_its_traceback(two_workers, tmp_path):
    with pytest.raises(RuntimeError, match="a bug") as caught:
        run(cluster_functions.stumble, [tmp_path / "a"], two_workers)
    assert isinstance(caught.value.__cause__, KeyError)


def program_copy(tmp_path):
    """A second repository, with the package alone."""
    copy = tmp_path / "program"
    shutil.copytree(ROOT / "utils", copy / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run_code(code, address, copy):
    """Run code, which gets the cluster's address, with the program of a copy."""
    words = [sys.executable, "-c", code, address]
    return subprocess.run(words, cwd=copy, timeout=SLOW_S, capture_output=True, text=True)


@needs_distributed
def test_changed_program_is_loaded_anew_by_running_workers(two_workers, tmp_path):
    copy = program_copy(tmp_path)
    code = (
        "import sys; from pathlib import Path; import probe; from utils.running import runner; "
        "print(runner.run(probe.probe, [Path('a')], scheduler=sys.argv[1]).results)"
    )
    # Python tells a changed file by its length, and by its time in whole seconds alone.
    for number in (1, 20):
        (copy / "probe.py").write_text(f"def probe(path):\n    return {number}00\n")
        done = run_code(code, two_workers, copy)
        assert f", {number}00)]" in done.stdout, done.stderr
    outcome = run(cluster_functions.name, [tmp_path / "a"], two_workers)
    assert values(outcome) == ["a"]  # this program again


@needs_distributed
def test_worker_that_compresses_otherwise_is_not_used(own_cluster, tmp_path):
    blocker = tmp_path / "blocker/isal"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ImportError('no isal here')\n")
    own_cluster.add_worker(PYTHONPATH=str(blocker.parent))
    paths = [tmp_path / name for name in NAMES]
    with (
        pytest.warns(errors.DataWarning, match="is not used: it compresses to other bytes"),
        pytest.raises(errors.DatasetError, match="no usable worker: it compresses"),
    ):
        run(cluster_functions.name, paths, own_cluster.address)
    own_cluster.add_worker()
    with pytest.warns(errors.DataWarning, match="is not used: it compresses to other bytes"):
        outcome = run(cluster_functions.name, paths, own_cluster.address)
    assert values(outcome) == NAMES


@needs_distributed
def test_worker_that_does_not_see_the_program_is_not_used(two_workers, tmp_path):
    copy = program_copy(tmp_path)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from utils.running import calls, cluster, runner\n"
        "os.rename('utils', 'gone')\n"
        "runner.run(calls.Finished, [Path('a')], scheduler=sys.argv[1])"
    )
    done = run_code(code, two_workers, copy)
    assert f"is not used: it does not see {copy}/utils" in done.stderr
    assert "has no usable worker: it does not see" in done.stderr.splitlines()[-1]


class UselessAfterOne:
    """A run whose only worker turns out to be too different after the first sample."""

    def __init__(self, function, samples, order, address):
        self.waiting, self.running = list(order), {}

    def answers(self):
        if len(self.waiting) > 1:
            index = self.waiting.pop(0)
            yield index, calls.Reply(value=index)
        raise errors.DatasetError("no usable worker", code="cluster")

    def close(self):
        pass


@needs_distributed
def test_what_was_done_is_kept_when_a_cluster_becomes_useless(monkeypatch):
    monkeypatch.setattr(cluster, "_Run", UselessAfterOne)
    outcome = run(cluster_functions.name, ["a", "b", "c"], "tcp://10.0.0.1:1")
    assert values(outcome) == [0]
    told = [(name, str(error), error.code) for name, error in outcome.failures]
    assert told == [(name, "no usable worker", "cluster") for name in "bc"]
    with pytest.raises(errors.DatasetError, match="no usable worker"):  # nothing was done
        run(cluster_functions.name, ["a"], "tcp://10.0.0.1:1")


@needs_distributed
def test_cluster_without_workers_is_waited_for_and_a_lost_one_fails_the_rest(
    own_cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(cluster, "_PATIENCE_S", 0)
    paths = [tmp_path / name for name in NAMES]
    outcomes, caught = [], []

    def work():
        with pytest.warns(errors.DataWarning) as told:
            outcomes.append(run(cluster_functions.wait, paths, own_cluster.address))
        caught.extend(told)

    thread = threading.Thread(target=work)
    thread.start()
    own_cluster.add_worker()
    wait_for((tmp_path / "a").exists)
    own_cluster.scheduler.kill()
    thread.join(SLOW_S)
    (tmp_path / "go").touch()
    assert ["waiting for one" in str(one.message) for one in caught] == [True]
    failures = outcomes[0].failures
    assert [name for name, _ in failures] == list(map(str, paths))
    assert {error.code for _, error in failures} == {"cluster"}
    assert "connection to the Dask scheduler was lost" in str(failures[0][1])


@needs_distributed
def test_ctrl_c_leaves_at_once(two_workers, tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[1:3]; "
        "sys.argv[1:] = sys.argv[3:]\n"
        "import cluster_functions\nfrom utils.running import cli\n"
        "def main():\n"
        "    paths = [Path(sys.argv[-1]).absolute() / str(n) for n in range(9)]\n"
        "    cli.finish(cli.for_each_sample(cluster_functions.wait, paths))\n"
        "cli.routine('Wait.')(cli.click.argument('folder')(lambda folder: main()))()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, ROOT, ROOT / "tests", "--scheduler", two_workers, tmp_path],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((tmp_path / "1").exists)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=SLOW_S)
    took_s = time.monotonic() - start
    (tmp_path / "go").touch()
    assert process.returncode == 130 and told.startswith("Stopped") and told.count("\n") == 1, told
    assert took_s < 10
    outcome = run(cluster_functions.name, [tmp_path / "a"], two_workers)
    assert values(outcome) == ["a"]
    assert not (tmp_path / "5").exists()  # what was not begun was not begun later, either


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@needs_distributed
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{}", "127.0.0.1:{}"])
def test_no_scheduler_is_told_in_one_line(address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    root = trees.copy("paired", tmp_path / "root")
    before = trees.contents(root / "grouped")
    address = address.format(free_port())
    result = trees.invoke(trees.SPLIT_LABEL, root, "--scheduler", address)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: no Dask scheduler at {address}: ")
    assert result.stderr.count("\n") == 1
    assert trees.contents(root / "grouped") == before


def test_missing_package_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    root = trees.copy("paired", tmp_path / "root")
    result = trees.invoke(trees.SPLIT_LABEL, root, "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "requirements-cluster.txt" in result.stderr


@needs_distributed
def test_scripts_give_the_same_files_with_a_worker_killed_on_the_way(two_workers, tmp_path):
    made = tmp_path / "made"
    phantoms.build_archive(made, shape=(64, 56, 40), spacing=(5.0, 5.5, 9.0))
    roots = {}
    for kind, more in {"here": ["--workers", "1"], "there": ["--scheduler", two_workers]}.items():
        root = roots[kind] = tmp_path / kind
        (root / "descriptor").mkdir(parents=True)
        shutil.copy(trees.LABEL_MAP, root / "descriptor")
        (root / "archive").symlink_to(made / "archive")
        if kind == "there":  # and from zip files, which all workers read at once
            zip_files.pack(made / "archive", made / "archive/amos22.zip")
        for script in (
            trees.SCAN,
            trees.PAIR_CT,
            trees.PAIR_MRI,
            trees.SPLIT_LABEL,
            trees.EXTRACT,
            trees.DENOISE,
            trees.DETECT,
            trees.INDEX,
        ):
            words = trees.words(script, Path("."), *more)  # relative paths, as people type them
            process = subprocess.Popen(
                [sys.executable, ROOT / script, *words],
                cwd=root,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if kind == "there" and script == trees.EXTRACT:
                wait_for(lambda: list(root.rglob("*_mask_00_*")))
                os.kill(
                    values(run(cluster_functions.process_id, [tmp_path], two_workers))[0],
                    signal.SIGKILL,
                )
            told, _ = process.communicate(timeout=SLOW_S)
            assert process.returncode == 0, told
    there = trees.contents(roots["there"] / "grouped")
    assert there == trees.contents(roots["here"] / "grouped") and len(there) > 100


@needs_distributed
def test_two_runs_on_one_cluster_at_once(two_workers, tmp_path):
    """Workers hold their samples, too: what one run does the other does not do again."""
    expected = trees.copy("extracted", tmp_path / "one after the other")
    root = trees.copy("extracted", tmp_path / "at once")
    more = "--region_area_thresh", "3000"
    assert trees.invoke(trees.DENOISE, expected, *more).exit_code == 0
    words = [*trees.words(trees.DENOISE, root, *more), "--scheduler", two_workers]
    command = [sys.executable, ROOT / trees.DENOISE, *words]
    pair = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in pair:
        _, told = process.communicate(timeout=SLOW_S)
        faults = [line for line in told.splitlines() if line.startswith("FAILED")]
        assert process.returncode == (1 if faults else 0), told
        assert all(" held by process " in line for line in faults), told
    assert trees.invoke(trees.DENOISE, root, *more).exit_code == 0
    assert trees.contents(root) == trees.contents(expected)
    assert trees.leftovers(root) == []

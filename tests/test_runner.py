"""A per-sample function over all samples: order, failures, dying workers, memory."""

import contextlib
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from utils import errors
from utils.running import calls, free_memory, runner
from utils.storage import processes

ROOT = Path(runner.__file__).parents[2]
GIVEN_UP_S = 20
pytestmark = pytest.mark.filterwarnings("ignore::utils.running.calls.LibraryWarning")
both = pytest.mark.parametrize("workers", [1, 3])


def content(outcome):
    return (
        outcome.results,
        outcome.done,
        outcome.skipped,
        [(name, str(error), type(error)) for name, error in outcome.failures],
        outcome.warnings,
    )


def wait_for(condition):
    end = time.monotonic() + GIVEN_UP_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def everything(number):
    """One call of every kind."""
    time.sleep(random.random() / 100)
    warnings.warn(f"first of {number}", errors.DataWarning, stacklevel=1)
    warnings.warn("invalid value", RuntimeWarning, stacklevel=1)
    warnings.warn(f"second of {number}", errors.DataWarning, stacklevel=1)
    if number % 5 == 1:
        raise errors.DamagedFileError(f"{number} is damaged", file="f")
    if number % 5 == 2:
        raise errors.CasesError([errors.DatasetError(f"{number} a"), errors.DatasetError("b")])
    return calls.Finished(-number) if number % 5 == 3 else 10 * number


@both
def test_order_is_that_of_the_samples(workers):
    outcome = runner.run(everything, range(10), workers=workers, size=lambda number: number)
    assert outcome.results == [(0, 0), (3, -3), (4, 40), (5, 50), (8, -8), (9, 90)]
    assert (outcome.done, outcome.skipped, outcome.failed) == (4, 2, 4)
    assert [(name, str(error)) for name, error in outcome.failures] == [
        ("1", "1 is damaged"),
        ("2", "2 a"),
        ("2", "b"),
        ("6", "6 is damaged"),
        ("7", "7 a"),
        ("7", "b"),
    ]
    assert isinstance(outcome.failures[0][1], errors.DamagedFileError)
    assert outcome.failures[0][1].file == "f"
    assert outcome.warnings == [
        (str(number), f"{word} of {number}") for number in range(10) for word in ("first", "second")
    ]


@both
def test_library_warnings_are_passed_on_once(workers):
    def work(number):
        for _ in range(2):
            warnings.warn("invalid\n  value", RuntimeWarning, stacklevel=1)
        if number in (3, 5):
            warnings.warn("is odd", errors.DataWarning, stacklevel=1)
            warnings.warn("odd header", UserWarning, stacklevel=1)
            raise errors.DatasetError("bad")
        if number == 4:
            warnings.warn("odd header", FutureWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads of pytest's
        outcome = runner.run(work, range(6), workers=workers, size=lambda number: number)
    assert {entry.category for entry in caught} == {calls.LibraryWarning}
    assert [str(entry.message) for entry in caught] == [
        "0: RuntimeWarning: invalid value (and 5 more)",
        "3: UserWarning: odd header (and 1 more)",
        "4: FutureWarning: odd header",
    ]
    assert outcome.warnings == [("3", "is odd"), ("5", "is odd")]


def test_results_do_not_depend_on_workers():
    outcomes = [
        content(runner.run(everything, range(23), workers=workers)) for workers in (1, 2, 5, 40)
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes)


@both
def test_no_samples(workers):
    assert runner.run(everything, [], workers=workers) == calls.Outcome()


def note(number, log):
    with open(log, "a", encoding="ascii") as handle:
        handle.write(f"{number}\n")


def test_largest_first(tmp_path):
    sizes = [3, 9, 1, 7, 7]
    runner.run(lambda index: note(index, tmp_path / "log"), range(5), size=sizes.__getitem__)
    assert (tmp_path / "log").read_text().split() == list("13402")


@both
def test_step_counts_failures(workers):
    seen = []
    runner.run(everything, range(10), workers=workers, step=seen.append)
    assert len(seen) == 10 and seen == sorted(seen) and seen[-1] == 4


@both
def test_out_of_memory_fails_the_sample(workers):
    def greedy(number):
        if number == 1:
            raise MemoryError
        return number

    outcome = runner.run(greedy, range(3), workers=workers)
    assert outcome.results == [(0, 0), (2, 2)]
    ((name, error),) = outcome.failures
    assert name == "1" and "GiB free" in str(error) and error.code == "memory"


# ---- bugs


def test_bug_in_this_process():
    with pytest.raises(ZeroDivisionError):
        runner.run(lambda number: 1 / number, [1, 0], workers=1)


def test_bug_in_a_worker_stops(capfd):
    with pytest.raises(RuntimeError, match="a bug, not bad data"):
        runner.run(lambda number: 1 / (number - 3), range(6), workers=2)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_result_that_cannot_be_sent_is_a_bug(capfd):
    with pytest.raises(RuntimeError, match="a bug"):
        runner.run(lambda number: threading.Lock(), range(3), workers=2)
    assert "pickle" in capfd.readouterr().err


# ---- workers that die


def die(signal_number):
    os.kill(os.getpid(), signal_number)
    time.sleep(GIVEN_UP_S)


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (lambda: die(signal.SIGKILL), "was killed (out of memory?)"),
        (lambda: die(signal.SIGUSR1), f"exit code -{signal.SIGUSR1.value}"),
        (lambda: die(signal.SIGTERM), "exit code 143"),
        (lambda: os._exit(7), "exit code 7"),
    ],
)
def test_dead_worker_fails_its_sample_alone(death, words):
    def work(number):
        if number in (1, 4):
            death()
        return number

    outcome = runner.run(work, range(9), workers=2)
    assert outcome.results == [(n, n) for n in range(9) if n not in (1, 4)]
    assert [name for name, _ in outcome.failures] == ["1", "4"]
    assert all(words in str(error) and error.code == "worker" for _, error in outcome.failures)


def kill_later(delay_s):
    threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()


def test_worker_killed_in_the_middle_of_its_answer(tmp_path):
    """The answer is larger than the pipe, and nobody reads while it is sent."""
    nobody_reads, pid = tmp_path / "nobody_reads", tmp_path / "pid"

    def work(number):
        if number == 0:
            wait_for(nobody_reads.exists)
            pid.write_text(str(os.getpid()))
            kill_later(0.3)
            return bytes(20_000_000)
        return number

    def step(n_failed):
        nobody_reads.touch()
        wait_for(lambda: pid.exists() and pid.read_text())
        wait_for(lambda: processes.started(int(pid.read_text())) is None)

    outcome = runner.run(work, [1, 0], workers=2, step=step)
    assert outcome.results == [(1, 1)]
    assert [(name, error.code) for name, error in outcome.failures] == [("0", "worker")]


def test_idle_worker_that_is_killed_is_replaced(tmp_path, monkeypatch):
    """The first worker is through and waits, for memory, until the second is; so it idles."""
    pid, has_answered = tmp_path / "pid", tmp_path / "has_answered"

    def work(name):
        if name == "small":
            pid.write_text(str(os.getpid()))
        elif name == "large":
            wait_for(has_answered.exists)
            idle = int(pid.read_text())
            os.kill(idle, signal.SIGKILL)
            wait_for(lambda: processes.started(idle) is None)
            # Its parent can tell only when its other thread has ended, too.
            wait_for(lambda: len(list(Path("/proc", str(idle)).glob("task/*"))) < 2)
        return name

    monkeypatch.setattr(free_memory, "available", lambda: 100 / free_memory.MEMORY_SHARE)
    needs = {"small": 10, "large": 60, "waiting": 60}
    outcome = runner.run(
        work, needs, workers=2, memory=needs.get, step=lambda n_failed: has_answered.touch()
    )
    assert outcome.results == [(name, name) for name in needs] and not outcome.failures


# ---- too few processes, pipes or threads


def refusing(function, n_allowed, error):
    """Let the first calls through and refuse all further ones, as a system at its limits does."""
    left = [n_allowed]

    def limited(*args):
        if left[0] == 0:
            raise error
        left[0] -= 1
        return function(*args)

    return limited


def pids(outcome):
    return {pid for _, pid in outcome.results}


def slow_pid(number):
    time.sleep(0.1)
    return os.getpid()


@pytest.mark.parametrize(
    ("n_allowed", "n_kept", "error"),
    [
        (4, 2, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),
        (5, 2, OSError(errno.ENOMEM, "Cannot allocate memory")),
        (1, 0, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),
        (0, 0, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),
    ],
)
def test_fewer_workers_where_there_are_too_few_processes(monkeypatch, n_allowed, n_kept, error):
    monkeypatch.setattr(os, "fork", refusing(os.fork, n_allowed, error))
    with pytest.warns(errors.DataWarning) as caught:
        outcome = runner.run(slow_pid, range(10), workers=8)
    assert outcome.done == 10 and not outcome.failures
    assert len(pids(outcome)) == max(1, n_kept)
    assert (os.getpid() in pids(outcome)) == (n_kept == 0)
    (warning,) = (entry for entry in caught if entry.category is errors.DataWarning)
    assert str(warning.message) == (
        f"fewer processes than --workers says, {max(1, n_kept)}: {error.strerror} "
        "(see ulimit -u and ulimit -n)"
    )


LIMITED = """
import resource, sys
from utils import errors
from utils.running import runner
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))


def work(number):
    with open(sys.argv[2], "rb"), open(sys.argv[2], "rb"):
        return number


outcome = runner.run(work, range(50), workers=40)
assert outcome.results == [(n, n) for n in range(50)], outcome.failures
with open(sys.argv[2], "rb"), open(sys.argv[2], "rb"):
    print("done")
"""


@pytest.mark.parametrize("limit", [12, 20, 64])
def test_fewer_workers_where_there_are_too_few_pipes(run_python, tmp_path, limit):
    (tmp_path / "data").touch()
    result = run_python(LIMITED, limit, tmp_path / "data")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "fewer processes than --workers says" in result.stderr
    assert "Too many open files" in result.stderr and "Traceback" not in result.stderr


def test_a_dead_worker_that_cannot_be_replaced_leaves_the_rest_to_the_others(monkeypatch):
    error = OSError(errno.ENOMEM, "Cannot allocate memory")
    monkeypatch.setattr(os, "fork", refusing(os.fork, 2, error))
    here = os.getpid()

    def work(number):
        if number in (1, 3) and os.getpid() != here:
            die(signal.SIGKILL)
        return number

    with pytest.warns(errors.DataWarning, match="fewer processes than --workers says, 1: "):
        outcome = runner.run(work, range(9), workers=2)
    assert [name for name, _ in outcome.failures] == ["1", "3"]
    assert outcome.results == [(n, n) for n in range(9) if n not in (1, 3)]
    assert outcome.dead_workers == 2


def test_workers_do_without_threads(monkeypatch):
    """Each watches its parent by one."""
    refused = refusing(None, 0, RuntimeError("can't start new thread"))
    monkeypatch.setattr(threading.Thread, "start", refused)
    outcome = runner.run(slow_pid, range(6), workers=3)
    assert len(pids(outcome)) == 3 and outcome.done == 6


# ---- memory


def stay(sample, folder, n_together):
    """Stay until so many samples have begun, and a moment longer; return begin and end."""
    begun = time.monotonic()
    (folder / f"{sample}.begun").touch()
    wait_for(lambda: len(list(folder.glob("*.begun"))) >= n_together)
    time.sleep(0.1)
    return begun, time.monotonic()


def together(outcome):
    """For each sample those that were worked on at some moment of its time."""
    return {
        sample: {other for other, (first, last) in outcome.results if first < end and begun < last}
        for sample, (begun, end) in outcome.results
    }


@pytest.mark.parametrize(("need", "expected"), [(50, 2), (51, 1), (10**9, 1), (1, 4)])
def test_running_samples_stay_within_memory(tmp_path, monkeypatch, need, expected):
    monkeypatch.setattr(free_memory, "available", lambda: 100 / free_memory.MEMORY_SHARE)
    outcome = runner.run(
        lambda sample: stay(sample, tmp_path, expected),
        range(2 * expected),
        workers=4,
        memory=lambda sample: need,
    )
    edges = sorted(edge for _, (begun, end) in outcome.results for edge in ((begun, 1), (end, -1)))
    assert outcome.done == 2 * expected
    assert max(itertools.accumulate(step for _, step in edges)) == expected


def test_smaller_sample_goes_beside_a_large_one(tmp_path, monkeypatch):
    monkeypatch.setattr(free_memory, "available", lambda: 100 / free_memory.MEMORY_SHARE)
    needs = {"a": 80, "b": 80, "c": 20}
    outcome = runner.run(
        lambda sample: stay(sample, tmp_path, 2), needs, workers=3, memory=needs.get
    )
    assert together(outcome)["a"] == {"a", "c"} and "a" not in together(outcome)["b"]


# ---- stopping: scripts in processes of their own

SCRIPT = '''"""Write one file per sample, slowly.

Used by tests.
"""
import sys
import time
from pathlib import Path

from utils.running import cli, shared_options
from utils.storage import files


def work(number, folder):
    with files.whole(Path(folder, f"{number}.nii.gz")) as pending:
        pending.write(b"half")
        pending.handle.flush()
        time.sleep(0.02 if number < 4 else 60)
        pending.write(b"whole")


@cli.routine(__doc__)
@shared_options.root_dir
def main(root_dir):
    print("ready", flush=True)
    cli.finish(cli.for_each_sample(work, range(50), root_dir))


if __name__ == "__main__":
    main()
'''


@pytest.fixture(name="start")
def script_starter(tmp_path):
    """Start the script above in a process group of its own; its output folder comes with it."""
    folder = tmp_path / "out"
    folder.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = []

    def start(*words, prefix=()):
        process = subprocess.Popen(
            [*prefix, sys.executable, script, "--root_dir", folder, *words],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        process.stdout.readline()
        return process, folder

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def temporary(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".part~")]


def group_is_gone(pid):
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    # What was not waited for yet is dead all the same.
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            states.append(stat.read_text().rpartition(")")[2].split())
    return all(state[0] == "Z" for state in states if state[2] == str(pid))


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize(
    ("number", "to_group", "status"),
    [
        (signal.SIGINT, True, 130),
        (signal.SIGINT, False, 130),
        (signal.SIGTERM, False, 143),
        (signal.SIGTERM, True, 143),
    ],
)
def test_stop_at_once_with_nothing_half_done(start, workers, number, to_group, status):
    process, folder = start("--workers", workers)
    wait_for(
        lambda: len(list(folder.glob("*.nii.gz"))) == 4 and len(temporary(folder)) == int(workers)
    )
    (os.killpg if to_group else os.kill)(process.pid, number)
    begun = time.monotonic()
    _, stderr = process.communicate(timeout=GIVEN_UP_S)
    assert time.monotonic() - begun < 5
    assert process.returncode == status
    assert stderr.splitlines() == ["Stopped; no file is half written. The same command continues."]
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.nii.gz" for n in range(4)]
    assert {path.read_bytes() for path in folder.iterdir()} == {b"halfwhole"}
    assert group_is_gone(process.pid)


SLOW_DISCARD = """
discard = files.Pending.discard


def discard_slowly(pending):
    if not pending.handle.closed:  # stopped amid the writing
        pending.path.with_suffix(".clearing").touch()
        time.sleep(1)
    discard(pending)


files.Pending.discard = discard_slowly
"""


@pytest.mark.parametrize("workers", ["1", "3"])
def test_second_signal_does_not_disturb_the_clearing_up(start, tmp_path, workers):
    """As when a batch system ends a whole group, and the parent its workers besides."""
    script = tmp_path / "script.py"
    script.write_text(script.read_text().replace("\n\ndef work", f"{SLOW_DISCARD}\n\ndef work"))
    process, folder = start("--workers", workers)
    wait_for(
        lambda: len(list(folder.glob("*.nii.gz"))) == 4 and len(temporary(folder)) == int(workers)
    )
    os.killpg(process.pid, signal.SIGTERM)
    wait_for(lambda: len(list(folder.glob("*.clearing"))) == int(workers))
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=GIVEN_UP_S)
    assert process.returncode == 143
    assert stderr.splitlines() == ["Stopped; no file is half written. The same command continues."]
    assert temporary(folder) == []


@pytest.mark.parametrize("attempt", range(8))
def test_stop_while_workers_start(start, attempt):
    """A signal to the whole group may meet workers that cannot handle it yet."""
    process, folder = start("--workers", "8")
    time.sleep(0.003 * attempt)
    os.killpg(process.pid, (signal.SIGINT, signal.SIGTERM)[attempt % 2])
    _, stderr = process.communicate(timeout=GIVEN_UP_S)
    assert "Traceback" not in stderr and stderr.count("Stopped") == 1
    assert temporary(folder) == []


def test_workers_die_with_their_parent(start):
    process, folder = start("--workers", "3")
    # The quick samples are through; who is at work now would go on for a minute.
    wait_for(lambda: len(list(folder.glob("*.nii.gz"))) == 4 and len(temporary(folder)) == 3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: group_is_gone(process.pid))
    assert all(path.read_bytes() == b"halfwhole" for path in folder.glob("*.nii.gz"))


@pytest.mark.parametrize("workers", ["1", "3"])
def test_background_job_goes_on_after_ctrl_c(start, workers):
    """A shell starts background jobs of a script with SIGINT ignored, nohup with SIGHUP."""
    ignoring = ["nohup", "sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    process, folder = start("--workers", workers, prefix=ignoring)
    wait_for(lambda: len(temporary(folder)) == int(workers))
    for number in (signal.SIGINT, signal.SIGHUP):
        os.killpg(process.pid, number)
    wait_for(lambda: len(list(folder.glob("*.nii.gz"))) == 4 and len(temporary(folder)) > 0)
    assert process.poll() is None
    process.terminate()
    _, stderr = process.communicate(timeout=GIVEN_UP_S)
    lines = [line for line in stderr.splitlines() if not line.startswith("nohup:")]
    assert lines == ["Stopped; no file is half written. The same command continues."]
    assert process.returncode == 143 and temporary(folder) == []

"""A per-sample function over all samples: here, in several processes or on a cluster.

Failures are collected.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

from utils import errors

# The rest is left to the system, the page cache and this process.
MEMORY_SHARE = 0.8
# A worker that does not end by then sits in a library or on a dead file server.
_STOP_S = 5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_GROUP_FILES = "memory.max", "memory.current"
_GROUP_FILES_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes"


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a per-sample function returns when there was nothing left to do for the sample."""

    value: object = None


@dataclasses.dataclass
class Outcome:
    """What came of all samples; every list is in the order of the samples.

    Attributes
    ----------
    results : list of (sample, value)
        Samples that did not fail, with what the function returned.
    done, skipped : int
        How many of them were worked on, and how many had been finished before.
    failures : list of (sample name, DatasetError)
        One entry a fault; a sample may have several.
    warnings : list of (sample name, str)
    """

    results: list = dataclasses.field(default_factory=list)
    done: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)
    warnings: list = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many samples (or other things with a name) failed."""
        return len({name for name, _ in self.failures})

    def fail(self, name: str, error: errors.DatasetError) -> None:
        """Add every fault that an error holds, under a name."""
        self.failures.extend((name, case) for case in error.cases)


@dataclasses.dataclass
class Reply:
    """What one call of the per-sample function gave."""

    value: object = None
    error: errors.DatasetError | None = None
    messages: tuple = ()


def run(
    function, samples, *, workers=1, size=None, memory=None, step=None, scheduler=None
) -> Outcome:
    """Call a function for every sample and collect what it returns and what it complains of.

    Parameters
    ----------
    function : callable
        Takes a sample; returns a value, `Finished` when nothing was left to do, or raises
        `DatasetError`. With several workers it and what it returns must be picklable.
    samples : sequence
        ``str(sample)`` names one to the user.
    workers : int
        Number of processes; 1 works in this process.
    size : callable, optional
        Sample to a number; larger samples are started first, so that none is left for the end.
    memory : callable, optional
        Sample to the bytes its worker will need; together the running ones stay within
        `MEMORY_SHARE` of what is free at the start (a single one always runs).
    step : callable, optional
        Called with the number of failures so far whenever a sample is through.
    scheduler : str, optional
        Address of a Dask scheduler: its workers do it (see `cluster`), not processes of this host.

    Returns
    -------
    Outcome

    Raises
    ------
    DatasetError
        The cluster cannot be used.
    RuntimeError
        The function raised something else than `DatasetError` in a worker: a bug.
    """
    samples = list(samples)
    order = range(len(samples))
    if size is not None:
        order = sorted(order, key=lambda index: -size(samples[index]))
    workers = min(workers, len(samples))
    if scheduler is not None:
        from utils.running import cluster

        replies = cluster.replies(function, samples, order, scheduler)
    elif workers > 1:
        replies = _in_processes(function, samples, order, workers, memory)
    else:
        replies = ((index, call(function, samples[index])) for index in order)
    collected = [None] * len(samples)
    n_failed = 0
    with contextlib.closing(replies):
        for index, reply in replies:
            collected[index] = reply
            n_failed += reply.error is not None
            if step is not None:
                step(n_failed)
    return _outcome(samples, collected)


def _outcome(samples, replies):
    outcome = Outcome()
    for sample, reply in zip(samples, replies):
        outcome.warnings.extend((str(sample), message) for message in reply.messages)
        if reply.error is not None:
            outcome.fail(str(sample), reply.error)
        elif isinstance(reply.value, Finished):
            outcome.skipped += 1
            outcome.results.append((sample, reply.value.value))
        else:
            outcome.done += 1
            outcome.results.append((sample, reply.value))
    return outcome


def call(function, sample) -> Reply:
    """Call the function for one sample; its faults and its warnings go into the reply."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.DataWarning)
        reply = Reply()
        try:
            reply.value = function(sample)
        except errors.DatasetError as error:
            reply.error = error
        except MemoryError:
            reply.error = errors.DatasetError(
                f"not enough memory for this sample ({_available_memory() / 2**30:.1f} GiB free)",
                code="memory",
            )
    reply.messages = tuple(
        str(entry.message) for entry in caught if issubclass(entry.category, errors.DataWarning)
    )
    return reply


class _Worker:
    """One process, the pipe to it, and the sample it is busy with."""

    def __init__(self, context, function):
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(
            target=_work, args=(function, child_pipe, self.pipe), daemon=True
        )
        self.process.start()
        child_pipe.close()  # else a dead worker's pipe would stay open here
        self.index = None

    def give(self, index, sample):
        """Send a sample; its answer comes through the pipe."""
        self.index = index
        with contextlib.suppress(OSError):  # it died while it was idle: `take` will tell
            self.pipe.send(sample)

    def take(self):
        """Receive the answer; a worker that died answers with its sample's failure."""
        index, self.index = self.index, None
        try:
            return index, self.pipe.recv()
        except (EOFError, OSError):  # OSError: it died amid the answer
            self.process.join()
            return index, Reply(error=_death(self.process.exitcode))


@contextlib.contextmanager
def _signals_held():
    """Let Ctrl-C and SIGTERM wait while processes are made.

    A child has no handlers of its own yet, and here Python drops an exception that a handler
    raises in the clearing up (`__del__`) of a pipe: nothing would stop.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(pool):
    """End the processes, busy or not; all at once, so that a user who stops us need not wait."""
    for worker in pool:
        worker.process.terminate()
    for worker in pool:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _death(exitcode):
    if exitcode == 1:  # an uncaught exception; its traceback is on stderr already
        raise RuntimeError("a worker process stopped with a traceback: a bug, not bad data")
    if exitcode == -signal.SIGKILL:
        return death("was killed (out of memory?)")
    return death(f"died with exit code {exitcode}")


def death(reason: str) -> errors.DatasetError:
    """Make the error of a sample whose worker process is gone."""
    return errors.DatasetError(
        f"the worker process {reason}; nothing of this sample is half "
        "written, the same command tries it again",
        code="worker",
    )


def _work(function, pipe, parent_pipe):
    """Answer samples until the parent hangs up."""
    parent_pipe.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends us by SIGTERM
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            sample = pipe.recv()
            pipe.send(call(function, sample))


def _leave(signal_number, frame):
    # SystemExit unwinds the with blocks, so that temporary files are removed.
    sys.exit(128 + signal_number)


def _die_with_parent():
    import multiprocessing
    from multiprocessing import connection

    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _in_processes(function, samples, order, workers, memory):
    """Yield (index, reply) as the workers answer."""
    import multiprocessing
    from multiprocessing import connection

    # Forked workers start in milliseconds and need not import the script again. This process has
    # no threads of its own while it forks; elsewhere than on Linux forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    needs = functools.cache(lambda index: memory(samples[index]) if memory else 0)
    needs(order[0])  # before the fork: what it imports is then shared by all workers
    budget = MEMORY_SHARE * _available_memory()
    waiting = list(order)
    pool = []
    try:
        with _signals_held():
            pool += (_Worker(context, function) for _ in range(workers))
        while waiting or any(worker.index is not None for worker in pool):
            _hand_out(pool, waiting, samples, needs, budget)
            busy = {worker.pipe: worker for worker in pool if worker.index is not None}
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]
                yield worker.take()
            _replace_dead(pool, context, function)
    finally:
        _stop(pool)


def _replace_dead(pool, context, function):
    for number, worker in enumerate(pool):
        if worker.index is None and not worker.process.is_alive():
            worker.pipe.close()
            with _signals_held():
                pool[number] = _Worker(context, function)


def _hand_out(pool, waiting, samples, needs, budget):
    """Give idle workers the first waiting samples that fit into memory beside the running ones."""
    running = [worker.index for worker in pool if worker.index is not None]
    used = sum(map(needs, running))
    for worker in pool:
        if worker.index is not None:
            continue
        fitting = next((i for i in waiting if not running or used + needs(i) <= budget), None)
        if fitting is None:
            return
        waiting.remove(fitting)
        running.append(fitting)
        used += needs(fitting)
        worker.give(fitting, samples[fitting])


def _available_memory():
    """Bytes that processes may still take, by the system and by the control groups."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(
            next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        )
    for folder, names in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
            stat = (folder / "memory.stat").read_text(encoding="ascii")
            # Files that were read count as used, but the system drops them when memory is wanted.
            cached = sum(
                int(line.split()[1])
                for line in stat.splitlines()
                if line.startswith(("active_file ", "inactive_file "))
            )
            free.append(limit - used + cached)
    return min(free)


def _control_groups():
    """Yield the groups that this process is in, and the names of their limit and usage files.

    Batch systems set the limit of a job in a group, or in one above it.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CONTROL_GROUP / "memory" if controllers else _CONTROL_GROUP  # version 1 or 2
        names = _GROUP_FILES_V1 if controllers else _GROUP_FILES
        folder = root / path.strip("/")
        yield from (
            (place, names) for place in (folder, *folder.parents) if place.is_relative_to(root)
        )

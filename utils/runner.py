"""A per-sample function over all samples: in this process or in several, failures collected."""
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from multiprocessing import connection
from pathlib import Path

from utils import errors

# The rest is left to the system, the page cache and this process.
MEMORY_SHARE = 0.8


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
class _Reply:
    """What one call of the per-sample function gave."""

    value: object = None
    error: errors.DatasetError | None = None
    messages: tuple = ()


def run(function, samples, *, workers=1, size=None, memory=None, step=None) -> Outcome:
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

    Returns
    -------
    Outcome

    Raises
    ------
    RuntimeError
        The function raised something else than `DatasetError` in a worker: a bug.
    """
    samples = list(samples)
    order = range(len(samples))
    if size is not None:
        order = sorted(order, key=lambda index: -size(samples[index]))
    workers = min(workers, len(samples))
    if workers > 1:
        replies = _in_processes(function, samples, order, workers, memory)
    else:
        replies = ((index, _call(function, samples[index])) for index in order)
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


def _call(function, sample):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.DataWarning)
        reply = _Reply()
        try:
            reply.value = function(sample)
        except errors.DatasetError as error:
            reply.error = error
        except MemoryError:
            reply.error = errors.DatasetError(
                f"not enough memory for this sample ({_available_memory() / 2**30:.1f} GiB free)",
                code="memory")
    reply.messages = tuple(str(entry.message) for entry in caught
                           if issubclass(entry.category, errors.DataWarning))
    return reply


class _Worker:
    """One process, the pipe to it, and the sample it is busy with."""

    def __init__(self, context, function):
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=_work, args=(function, child_pipe, self.pipe),
                                       daemon=True)
        self.process.start()
        child_pipe.close()  # else a dead worker's pipe would stay open here
        self.index = None

    def give(self, index, sample):
        """Send a sample; its answer comes through the pipe."""
        self.index = index
        self.pipe.send(sample)

    def take(self):
        """Receive the answer; a worker that died answers with its sample's failure."""
        index, self.index = self.index, None
        try:
            return index, self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return index, _Reply(error=_death(self.process.exitcode))

    def stop(self):
        """End the process, busy or not."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _death(exitcode):
    if exitcode == 1:  # an uncaught exception; its traceback is on stderr already
        raise RuntimeError("a worker process stopped with a traceback: a bug, not bad data")
    if exitcode == -signal.SIGKILL:
        reason = "was killed (out of memory?)"
    else:
        reason = f"died with exit code {exitcode}"
    return errors.DatasetError(f"the worker process {reason}; nothing of this sample is half "
                               "written, the same command tries it again", code="worker")


def _work(function, pipe, parent_pipe):
    """Answer samples until the parent hangs up."""
    parent_pipe.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends us by SIGTERM
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            sample = pipe.recv()
            pipe.send(_call(function, sample))


def _leave(signal_number, frame):
    # SystemExit unwinds the with blocks, so that temporary files are removed.
    sys.exit(128 + signal_number)


def _die_with_parent():
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _in_processes(function, samples, order, workers, memory):
    """Yield (index, reply) as the workers answer."""
    # Forked workers start in milliseconds and need not import the script again. This process has
    # no threads of its own while it forks; elsewhere than on Linux forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    needs = functools.cache(lambda index: memory(samples[index]) if memory else 0)
    budget = MEMORY_SHARE * _available_memory()
    waiting = list(order)
    pool = [_Worker(context, function) for _ in range(workers)]
    try:
        while waiting or any(worker.index is not None for worker in pool):
            _hand_out(pool, waiting, samples, needs, budget)
            busy = {worker.pipe: worker for worker in pool if worker.index is not None}
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]
                yield worker.take()
                if not worker.process.is_alive():
                    pool[pool.index(worker)] = _Worker(context, function)
    finally:
        for worker in pool:
            worker.stop()


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
    """Bytes that processes may still take, by the system and by the control group."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines
                         if line.startswith("MemAvailable:")))
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        free.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    return min(free)

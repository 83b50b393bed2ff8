"""A per-sample function over all samples, in several processes or on a cluster."""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable

from utils import errors
from utils.running import calls, free_memory
from utils.storage import files, processes

# A worker that does not end by then sits in a library or on a dead file server.
_STOP_S = 5
# A signal that comes just before a call that waits is noticed only when that call ends: a wait is
# kept short, and a worker is told to end once more.
_HEARD_S = 0.5


def run(
    function: Callable,
    samples: Iterable,
    *,
    workers: int = 1,
    size: Callable[..., float] | None = None,
    memory: Callable[..., float] | None = None,
    step: Callable[[int], object] | None = None,
    scheduler: str | None = None,
) -> calls.Outcome:
    """Call a function for every sample and collect its results, failures and warnings.

    Warnings of libraries are issued again at the end, each distinct one once (`LibraryWarning`).

    Parameters
    ----------
    function : callable
        Takes a sample; returns a value, `calls.Finished` when nothing was left to do, or raises
        `DatasetError`. With several workers it and what it returns must be picklable.
    samples : iterable
        ``str(sample)`` is its name for the user.
    workers : int
        Number of processes; 1 works in this process.
    size : callable, optional
        Sample to a number; larger samples are started first, so that none is left for the end.
    memory : callable, optional
        Sample to the bytes its worker will need; together the running ones stay within
        `free_memory.budget` (a single one always runs).
    step : callable, optional
        Called with the number of failures so far whenever a sample is through.
    scheduler : str, optional
        Address of a Dask scheduler: its workers are used (see `cluster`), not processes here.

    Raises
    ------
    DatasetError
        The cluster cannot be used.
    RuntimeError
        The function raised something else than `DatasetError` in another process: a bug.
    """
    samples = list(samples)
    order = list(range(len(samples)))
    if size is not None:
        order.sort(key=lambda index: -size(samples[index]))
    workers = min(workers, len(samples))
    if scheduler is not None:
        from utils.running import cluster

        replies = cluster.replies(function, samples, order, scheduler)
    elif workers > 1:
        replies = _in_processes(function, samples, order, workers, memory)
    else:
        replies = ((index, calls.call(function, samples[index])) for index in order)
    collected = {}
    n_failed = 0
    with contextlib.closing(replies):
        for index, reply in replies:
            collected[index] = reply
            n_failed += reply.error is not None
            if step is not None:
                step(n_failed)
    in_order = [collected[index] for index in range(len(samples))]
    calls.pass_on(samples, in_order)
    return calls.collect(samples, in_order)


class _Worker:
    """One process, the pipe to it, and the index of the sample it is busy with."""

    def __init__(self, context, function):
        self.pipe, child_pipe = context.Pipe()
        words = function, child_pipe, self.pipe
        self.process = context.Process(target=_work, args=words, daemon=True)
        self.index = None
        with child_pipe:  # left open here, a dead worker's pipe would seem alive
            try:
                self.process.start()
            except OSError:
                self.pipe.close()
                raise

    def give(self, index, sample):
        """Send a sample; its answer comes through the pipe."""
        self.index = index
        with contextlib.suppress(OSError):  # it died while it was idle: `take` finds that out
            self.pipe.send(sample)

    def take(self):
        """Receive the answer; a worker that died answers with its sample's failure."""
        index, self.index = self.index, None
        try:
            return index, self.pipe.recv()
        except (EOFError, OSError):  # OSError: it died amid the answer
            self.process.join()
        exitcode = self.process.exitcode
        if exitcode == 1:  # an uncaught exception; its traceback is on stderr already
            raise RuntimeError("a worker process stopped with a traceback: a bug, not bad data")
        was_killed = exitcode == -signal.SIGKILL
        reason = "was killed (out of memory?)" if was_killed else f"died with exit code {exitcode}"
        return index, calls.death(reason)


def _stop(pool):
    """End the processes, busy or not; all at once, so that a user who stops us need not wait."""
    for worker in pool:
        worker.process.terminate()
    for worker in pool:
        worker.process.join(_HEARD_S)
        worker.process.terminate()
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _work(function, pipe, parent_pipe):
    """Answer samples until the parent hangs up."""
    parent_pipe.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends us by SIGTERM
    signal.signal(signal.SIGTERM, _leave)
    processes.free_signals()
    with contextlib.suppress(RuntimeError):  # no more threads: it notices at its next sample
        threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        with contextlib.suppress(EOFError):
            while True:
                sample = pipe.recv()
                pipe.send(calls.call(function, sample))
    finally:
        files.remove_own()


def _leave(signal_number, frame):
    """Unwind the ``with`` blocks, so that temporary files are removed, and end."""
    # The parent signals a worker that a signal to the whole group is ending already.
    signal.signal(signal_number, signal.SIG_IGN)
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

    # Forked workers start in milliseconds and need not import the script again. While it forks this
    # process has no thread but the one that touches holds, which has no lock that a child needs;
    # elsewhere than on Linux forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    needs = functools.cache(lambda index: memory(samples[index]) if memory else 0)
    needs(order[0])  # before the fork: what it imports is then shared by all workers
    budget = free_memory.budget()
    waiting = list(order)
    pool = []
    try:
        make_worker = functools.partial(_Worker, context, function)
        _hire(pool, workers, make_worker)
        while pool and (waiting or any(worker.index is not None for worker in pool)):
            _hand_out(pool, waiting, samples, needs, budget)
            busy = {worker.pipe: worker for worker in pool if worker.index is not None}
            for pipe in connection.wait(list(busy), _HEARD_S):
                yield busy[pipe].take()
            _replace_dead(pool, make_worker)
    finally:
        _stop(pool)
    yield from ((index, calls.call(function, samples[index])) for index in waiting)


def _hire(pool, number, make_worker):
    """Add so many workers; where the system refuses one, half of the new ones go again."""
    n_before = len(pool)
    try:
        # A child has no handlers of its own yet, and here Python drops an exception that a handler
        # raises in the clearing up (`__del__`) of a pipe: nothing would stop.
        with processes.signals_held():
            for _ in range(number):
                pool.append(make_worker())
    except OSError as error:
        # What is left then is for files, here and in the workers.
        n_kept = n_before + (len(pool) - n_before) // 2
        _stop(pool[n_kept:])
        del pool[n_kept:]
        reason = f"{error.strerror or error} (see ulimit -u and ulimit -n)"
        errors.warn(f"fewer processes than --workers says, {max(1, n_kept)}: {reason}")


def _replace_dead(pool, make_worker):
    dead = [worker for worker in pool if worker.index is None and not worker.process.is_alive()]
    for worker in dead:
        worker.pipe.close()
        pool.remove(worker)
    if dead:
        _hire(pool, len(dead), make_worker)


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

"""The per-sample function on the workers of a Dask cluster over a shared file system.

The workers are plain `dask worker` processes that know nothing of this repository: each call
brings a small function along, which finds our modules below the same path as here. A worker gets
one sample at a time, largest first: nothing waits behind a large sample, and when a worker dies
only the sample it worked on is suspected of having killed it.
"""

import collections
import contextlib
import functools
import hashlib
import importlib
import io
import operator
import pickle
import queue
import time
import types
import uuid
import warnings
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np

from utils import errors
from utils.running import calls
from utils.storage import nifti_writing

ROOT = Path(__file__).resolve().parents[2]
# Of a worker: (root, digest) of the code that it imported, so that it imports changed code again.
# The function that workers get sets it from outside, as it must not import before it has looked.
LOADED: tuple[str, str] | None = None
_CONNECT_S = 10
_REFRESH_S = 1
_PATIENCE_S = 5  # without any worker until we say so
_MOST_DEATHS = 3
_REQUIREMENTS = ROOT / "requirements-cluster.txt"


def replies(
    function: Callable, samples: Sequence, order: Sequence[int], address: str
) -> Generator[tuple[int, calls.Reply], None, None]:
    """Call a function for every sample on a cluster; yield (index, reply) as the workers answer.

    ``function`` and ``samples`` are those of `runner.run`; their paths must be absolute, as workers
    have other working directories. ``order`` says which sample to hand out first, second, ...;
    ``address`` is the scheduler's, such as ``tcp://10.0.0.1:8786``.

    DatasetError where `distributed` is not installed, there is no such scheduler, or none of its
    workers can do what this process would do; RuntimeError where the function has a bug.

    Notes
    -----
    The sample of a dead worker goes to another one. A sample that `_MOST_DEATHS` workers died of
    fails. When the connection to the scheduler is lost, or no worker is of use any more, all
    samples that are left fail.
    What runs on a worker cannot be stopped from outside: when this generator is closed, nothing
    more is handed out, and the workers finish the samples they are at.
    """
    with contextlib.closing(_Run(function, samples, order, address)) as run:
        import distributed

        has_answered = False
        try:
            for answered in run.answers():
                has_answered = True
                yield answered
        except errors.DatasetError as error:
            if not has_answered:  # nothing was done
                raise
            fault = error
        except (OSError, distributed.CancelledError) as error:
            fault = _fault(
                f"the connection to the Dask scheduler was lost ({errors.one_line(error)}); what "
                "its workers are at they may still finish, the same command does the rest"
            )
        for index in sorted({*run.waiting, *(index for index, _ in run.running.values())}):
            yield index, calls.Reply(error=fault)


def _connect(address):
    try:
        import distributed
    except ImportError as error:
        reason = "--scheduler needs the package distributed; install it: pip install -r"
        raise _fault(f"{reason} {_REQUIREMENTS}") from error
    _silence()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, in 20 lines; `_Team` checks them
            return distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    # What a wrong address, another protocol and a refused certificate raise.
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = f"no Dask scheduler at {address}: {errors.one_line(error)}"
        raise _fault(reason, expected=address) from error


def _fault(reason, **sides):
    return errors.DatasetError(reason, code="cluster", **sides)


def _silence():
    """Keep distributed from logging what we report in one line."""
    import logging

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


class _Team:
    """The workers of a cluster, as far as they are of use."""

    def __init__(self, client, address):
        self._client = client
        self._address = address
        self._known, self._present, self._refused = set(), set(), {}
        self._started = self._refresh_at = time.monotonic()
        self._has_complained = False

    def refresh(self):
        """Ask, now and then, which workers there are."""
        if time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_S
            self._present = set(self._client.nthreads())
            self._check_versions()

    def is_gone(self, worker):
        """Whether a worker has died, or left."""
        return worker not in self._present

    def idle(self, busy):
        """Addresses of usable workers, those in `busy` left out."""
        usable = self._present - set(self._refused)
        if not usable:
            self._complain()
        return sorted(usable - set(busy))

    def refuse(self, worker, reason):
        """Give this worker nothing any more, and say why."""
        if worker not in self._refused:
            self._refused[worker] = reason
            errors.warn(f"worker {worker} is not used: {reason}")

    def _check_versions(self):
        # Workers join and leave at any time, and a batch system may start them on an older node.
        if self._present <= self._known:
            return
        self._known |= self._present
        versions = self._client.get_versions()
        ours = _versions(versions["client"])
        others = [("the scheduler", versions["scheduler"]), *versions["workers"].items()]
        for name, theirs in others:
            found = _versions(theirs)
            if found == ours:
                continue
            reason = f"it runs {found}, here is {ours}; use the same environment"
            if name == "the scheduler":
                reason = f"the Dask scheduler at {self._address} is too different: {reason}"
                raise _fault(reason, expected=ours, found=found)
            self.refuse(name, reason)

    def _complain(self):
        cluster = f"the Dask cluster at {self._address}"
        if self._present:
            raise _fault(f"{cluster} has no usable worker: {next(iter(self._refused.values()))}")
        if not self._has_complained and time.monotonic() - self._started > _PATIENCE_S:
            self._has_complained = True
            errors.warn(f"{cluster} has no worker; waiting for one")


def _versions(report):
    packages = report["packages"]
    python = ".".join(str(packages["python"]).split(".")[:2])
    return f"Python {python} with distributed {packages['distributed']}"


class _Run:
    """Which samples wait, which are being worked on, and where."""

    def __init__(self, function, samples, order, address):
        self.waiting = collections.deque(order)
        self.running = {}  # future -> (index, worker)
        self._function, self._samples = function, samples
        self._deaths = collections.Counter()
        self._arrived = queue.SimpleQueue()
        self._call = _worker_function(), str(ROOT), _top_level_names(), digest()
        self._key = f"sample-{uuid.uuid4().hex}"
        self._client = _connect(address)
        self._team = _Team(self._client, address)

    def close(self):
        """Hand out nothing more, and leave the cluster."""
        try:
            self._client.cancel(list(self.running))
        finally:
            self._client.close(timeout=_REFRESH_S)

    def _submit(self, index, worker):
        payload = _pickled((codec_crc(), self._function, self._samples[index]))
        key = f"{self._key}-{index}-{uuid.uuid4().hex[:8]}"
        return self._client.submit(*self._call, payload, key=key, workers=[worker], pure=False)

    def answers(self):
        """Yield (index, reply) until nothing waits or runs any more."""
        while self.waiting or self.running:
            self.hand_out()
            yield from self.collect()
            yield from self.bury()

    def hand_out(self):
        """Give every idle worker a sample."""
        if self._client.status != "running":
            raise ConnectionError("the scheduler is gone")
        self._team.refresh()
        if not self.waiting:
            return
        for worker in self._team.idle(worker for _, worker in self.running.values()):
            index = self.waiting[0]
            future = self._submit(index, worker)
            self.running[future] = self.waiting.popleft(), worker
            future.add_done_callback(self._arrived.put)
            if not self.waiting:
                return

    def collect(self):
        """Wait a moment; yield (index, reply) of the samples that are finished."""
        for future in _taken(self._arrived):
            if future not in self.running:  # given to another worker since
                continue
            index, worker = self.running[future]
            found = _result(future)
            del self.running[future]
            if isinstance(found, str):
                self._team.refuse(worker, found)
                self.waiting.appendleft(index)
            else:
                found.dead_workers += self._deaths[index]
                yield index, found

    def bury(self):
        """Take the samples of dead workers back; yield those that killed too many of them."""
        # Dask would do it, but forgets a task for good when no worker is there at that moment and
        # it was meant for one of them.
        for future, (index, worker) in list(self.running.items()):
            if not self._team.is_gone(worker):
                continue
            del self.running[future]
            future.cancel()
            self._deaths[index] += 1
            if self._deaths[index] < _MOST_DEATHS:
                self.waiting.appendleft(index)
            else:
                yield index, _killer(self._deaths[index])


def _killer(dead_workers):
    return calls.death("was killed again and again (out of memory?)", dead_workers)


def _taken(arrived):
    """Take the futures that are done; after a while none, so that new workers are seen."""
    with contextlib.suppress(queue.Empty):
        yield arrived.get(timeout=_REFRESH_S)
        while True:
            yield arrived.get_nowait()


def _result(future):
    """The reply, or a text that says why the worker is of no use."""
    import distributed

    if future.status != "error":
        result = future.result()
        return result if isinstance(result, str) else pickle.loads(result)
    error = future.exception()
    if isinstance(error, distributed.KilledWorker):
        return _killer(1)
    raise RuntimeError("a worker stopped with an exception: a bug, not bad data") from error


def _worker_function():
    """Make the function that a worker calls; it must not mention anything of this module."""

    # A function inside a function is pickled by value: the worker need not find its module.
    def work(root, names, code, payload):
        import importlib
        import os
        import sys
        import threading

        import distributed

        # One sample at a time, whatever the number of threads: warnings are caught per process.
        # The lock is the worker's own, as two runs may meet there.
        lock = vars(distributed.get_worker()).setdefault("_sample_lock", threading.Lock())
        with lock:
            module = sys.modules.get("utils.running.cluster")
            if getattr(module, "LOADED", None) != (root, code):
                # Long-lived workers keep what an earlier run imported, perhaps other versions.
                for name in [name for name in sys.modules if name.partition(".")[0] in names]:
                    del sys.modules[name]
                sys.path[:] = [root, *(place for place in sys.path if place != root)]
                importlib.invalidate_caches()
                if not os.path.isdir(os.path.join(root, "utils")):
                    return f"it does not see {root}/utils; is that a shared folder?"
                try:
                    module = importlib.import_module("utils.running.cluster")
                except ImportError as error:
                    return f"{error}; install requirements.txt there"
                found = module.digest()
                if found != code:
                    return f"it sees other program files below {root} than this process does"
                module.LOADED = (root, code)
            return module.answer(payload)

    return work


def answer(payload: bytes) -> bytes | str:
    """Call the function for the sample; what a worker does with what `replies` sent.

    Gives a pickled `calls.Reply`, or why this worker cannot do it.
    """
    try:
        codec, function, sample = pickle.loads(payload)
        if codec != codec_crc():
            reason = "it compresses to other bytes (another version of isal, or none?)"
            return f"{reason}; use the same environment"
        return pickle.dumps(calls.call(function, sample))
    except ImportError as error:
        return f"{error}; install requirements.txt there"


class _Pickler(pickle.Pickler):
    """Pickle functions of a script that runs, too, by a name that a worker can import."""

    def reducer_override(self, obj):
        if isinstance(obj, types.FunctionType):
            path = Path(obj.__code__.co_filename).resolve()
            if path in _code_files():
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                if name != obj.__module__:  # __main__
                    return _imported, (name, obj.__qualname__)
        return NotImplemented


def _imported(module_name, qualname):
    return operator.attrgetter(qualname)(importlib.import_module(module_name))


def _pickled(value):
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


@functools.cache
def _code_files():
    """Our modules and scripts, not those of a virtual environment below the repository."""
    patterns = ("*.py", "[!.]*/*.py", "utils/*/*.py")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def _top_level_names():
    return sorted({path.relative_to(ROOT).with_suffix("").parts[0] for path in _code_files()})


def digest() -> str:
    """Digest of names and contents of the program files on this machine's disk."""
    total = hashlib.sha256()
    for path in _code_files():
        if path.parent.name != "tests":  # no routine uses them
            total.update(f"{path.relative_to(ROOT)}\n".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@functools.cache
def codec_crc() -> int:
    """CRC32 of what this process compresses a made-up mask to: the bytes depend on the codec."""
    noise = np.arange(1 << 16, dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(28)
    data = np.repeat(noise.astype(np.uint8), 8).reshape((64, 64, -1), order="F")
    return zlib.crc32(nifti_writing.encode_mask(data, np.eye(4)))

"""Holding a folder or a file, so that two runs at once neither lose nor double anything.

Who rewrites a sample or a workbook holds it by a small hidden file that names the process and is
locked; it goes with the hold. The system drops the lock of a process that dies. Of a holder on
another host, whose lock may not be seen here, a touch now and then is the sign of life.
"""

import contextlib
import errno
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from utils import errors
from utils.storage import processes

try:
    import fcntl
except ImportError:  # a system without such locks: whether the named process lives decides
    fcntl = None  # type: ignore[assignment]

NAME = f"{processes.TEMPORARY_PREFIX}held"
PATIENCE_S = 30.0  # for a workbook, or another file or folder of a whole run
_SILENCE_S = 300.0  # of a holder on another host, until it counts as dead
_BEAT_S = 30.0
# Who has just made a hold is about to write its name; who looks at one locks it for a moment.
_MOMENT_S = 1.0
_POLL_S = 0.02
_NAME_BYTES = 500
# Where no hold can be made no file can be written either: whoever tries gets the reason then.
_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def folder(path: str | os.PathLike[str], is_waited_for: bool = False) -> Iterator[None]:
    """Hold a folder for the block: a sample's, or one that is waited for like a `file`.

    DatasetError (code ``held``) where another run holds it. Temporary files in a sample's folder
    itself are leftovers then, whoever left them, and are removed; in one that is waited for another
    routine may be writing a file of its own.
    """
    patience_s, prefix = (PATIENCE_S, f"{path}: ") if is_waited_for else (0, "")
    with _held(Path(path, NAME), path, patience_s, prefix) as is_held:
        if is_held and not is_waited_for:
            _clear(path)
        yield


def _clear(path):
    with contextlib.suppress(OSError):  # one that may be written to and not listed
        for name in os.listdir(path):
            if name.startswith(processes.TEMPORARY_PREFIX) and not name.startswith(NAME):
                os.unlink(os.path.join(path, name))


@contextlib.contextmanager
def file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a file that is read, changed and replaced, for the block; it may still be missing.

    DatasetError (code ``held``) where another run holds it still after `PATIENCE_S`.
    """
    # A checksum, as the longest names leave no room for more.
    checksum = zlib.crc32(os.fsencode(os.path.basename(path)))
    with _held(Path(path).parent / f"{NAME}~{checksum:08x}", path, PATIENCE_S, f"{path}: "):
        yield


@contextlib.contextmanager
def _held(hold_path, path, patience_s, prefix):
    """Make a hold for the block and tell whether there is one."""
    own = []  # its descriptor, from before a signal can stop us until it is gone
    try:
        try:
            _take(own, hold_path, path, time.monotonic() + patience_s, prefix)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                reason = f"{path}: cannot be held against other runs: {error.strerror}"
                raise errors.DatasetError(reason, file=path, code="write") from error
        yield bool(own)
    finally:
        try:
            _release(hold_path, own)
        finally:  # again, where a signal came before it was held back
            _release(hold_path, own)


def _release(hold_path, own):
    with processes.signals_held():
        while own:
            descriptor = own.pop()
            _Heart.of_this_process().remove(descriptor)
            _give_up(hold_path, descriptor)


def _take(own, hold_path, path, end, prefix):
    """Make a hold, its descriptor to `own`; DatasetError where another run has one at the end."""
    while not _created(own, hold_path):
        holder = living_holder(hold_path)
        if holder is None:
            continue
        if time.monotonic() >= end + (0 if holder else 2 * _MOMENT_S):
            reason = f"{prefix}held by {holder or 'another process'}"
            raise errors.DatasetError(reason, file=path, code="held", found=holder)
        time.sleep(_POLL_S)


def _created(own, hold_path):
    """Make a hold, locked and named, its descriptor to `own`; False where there is one already."""
    with processes.signals_held():
        try:
            descriptor = os.open(hold_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            with contextlib.suppress(OSError):  # another user must see whose it is
                os.chmod(hold_path, 0o644)
            _lock(descriptor)  # waits for somebody who has just opened it to see whose it is
            os.write(descriptor, processes.own_name().encode())
        except OSError:  # a full disk
            _give_up(hold_path, descriptor)
            raise
        if _is_in_place(hold_path, descriptor):
            _Heart.of_this_process().add(descriptor)
            own.append(descriptor)
            return True
        os.close(descriptor)
    return False


def _give_up(hold_path, descriptor):
    """Remove a hold that is ours; one that another run took over meanwhile stays."""
    with contextlib.suppress(FileNotFoundError):
        if _is_in_place(hold_path, descriptor):
            os.unlink(hold_path)
    os.close(descriptor)


def living_holder(hold_path: str | os.PathLike[str]) -> str | None:
    """Name the process that has a hold, empty where that shows in a moment.

    None where there is no hold, or that of a dead process, which is removed.
    """
    try:
        descriptor = os.open(hold_path, os.O_RDWR)
    except FileNotFoundError:
        if os.path.islink(hold_path):  # to a hold that is gone, in a copy of links
            os.unlink(hold_path)
        return None
    except PermissionError:  # another user's
        descriptor = os.open(hold_path, os.O_RDONLY)
    holder, is_dead = _looked_at(hold_path, descriptor)
    if is_dead:
        _give_up(hold_path, descriptor)
        return None
    os.close(descriptor)
    return holder


def _looked_at(hold_path, descriptor):
    """Name the process of a hold, and tell whether it is dead; no name if that is not clear yet."""
    is_free = _lock(descriptor, wait=False)
    is_locked = is_free is False
    parts = os.read(descriptor, _NAME_BYTES).decode("ascii", "replace").split("~")
    if len(parts) != 3 or not parts[1].isdecimal():
        return "", not is_locked and _silent_s(hold_path, descriptor) > _MOMENT_S
    is_dead = processes.is_dead(*parts)
    if is_dead and is_locked:  # by somebody who is about to remove it, or by a dying child
        return "", False
    if is_dead is False and is_free:  # a copy of another folder's: its process has not locked it
        is_dead = True
    if is_dead is None:
        is_dead = _silent_s(hold_path, descriptor) > _SILENCE_S
    return f"process {parts[1]} on {parts[0].rpartition('-')[0]}", is_dead


def _lock(descriptor, wait=True):
    """Tell whether the file is locked now; None where there are no locks, False if another has."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_in_place(hold_path, descriptor):
    try:
        return os.path.samestat(os.stat(hold_path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _silent_s(hold_path, descriptor):
    """Seconds since a hold was touched, by the clock of the disk, which need not be ours."""
    probe_path, now = Path(hold_path).with_name(processes.temporary_name()), time.time()
    with contextlib.suppress(OSError):
        with open(probe_path, "xb") as probe:
            now = os.fstat(probe.fileno()).st_mtime
        os.unlink(probe_path)
    return now - os.fstat(descriptor).st_mtime


class _Heart:
    """Touches all holds of this process now and then."""

    _of_process: "_Heart | None" = None

    def __init__(self):
        self._pid = os.getpid()
        self._descriptors = set()
        self._guard = threading.Lock()  # a closed descriptor may be another file's at once
        # A thread has the signal mask of its maker. Signals are the main thread's, which holds
        # them back while it forks.
        with processes.signals_held():
            with contextlib.suppress(RuntimeError):  # no thread to be had: the lock alone must do
                threading.Thread(target=self._beat, daemon=True).start()

    @classmethod
    def of_this_process(cls):
        """The heart of this process; a forked one has its own."""
        if cls._of_process is None or cls._of_process._pid != os.getpid():
            cls._of_process = cls()
        return cls._of_process

    def add(self, descriptor):
        with self._guard:
            self._descriptors.add(descriptor)

    def remove(self, descriptor):
        with self._guard:
            self._descriptors.discard(descriptor)

    def _beat(self):
        while True:
            time.sleep(_BEAT_S)
            with self._guard:
                for descriptor in self._descriptors:
                    _touch(descriptor)


def _touch(descriptor):
    with contextlib.suppress(OSError):
        os.utime(descriptor)

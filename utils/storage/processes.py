"""Processes as temporary files and holds name them: on which host, which one, started when."""

import contextlib
import itertools
import os
import re
import signal
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

# No pattern of ours (*.nii.gz, *_info.yaml, *.xlsx) matches a name with this beginning.
TEMPORARY_PREFIX = ".part~"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_counter = itertools.count()


def _host():
    """Host name, and which kernel and process ids are meant.

    Containers may share a host name and a disk with others, but not their process ids.
    """
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:48] or "localhost"
    place = ""
    with contextlib.suppress(OSError):
        place = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        place += os.readlink("/proc/self/ns/pid")
    return f"{name}-{zlib.crc32(place.encode()):08x}"


HOST = _host()


def started(pid: int) -> str | None:
    """Return when a process of this host started, as text; None when it is dead.

    In clock ticks since boot, ``"0"`` where the system does not tell it. A zombie counts as dead:
    it will never finish what it was writing.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _alive(pid)
    fields = text.rpartition(")")[2].split()  # the command name may hold blanks and brackets
    return None if fields[0] in "ZX" else fields[19]


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"


def own_name() -> str:
    """Name this process: ``HOST~PID~STARTED``; `is_dead` takes the three parts."""
    pid = os.getpid()
    return f"{HOST}~{pid}~{started(pid)}"


def temporary_name() -> str:
    """Make up the name of a temporary file; its parts are those of `own_name` and a number."""
    return f"{TEMPORARY_PREFIX}{own_name()}~{next(_counter)}"


def is_dead(host: str, pid: str, started_at: str) -> bool | None:
    """Tell whether a process is dead; None for one of another host, or of another container."""
    return started(int(pid)) != started_at if host == HOST else None


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block ends; a thread or process made there has none."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def free_signals() -> None:
    """Let a process that was made in a block of `signals_held` be stopped."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

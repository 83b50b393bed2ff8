"""Per-sample functions for tests of the cluster; samples are paths that workers can write to."""

import os
import signal
import time
import warnings

from utils import errors
from utils.running import calls


def name(path):
    """Return something."""
    return path.name


def process_id(path):
    """Where this ran."""
    return os.getpid()


def complain(path):
    """Warn of every sample, as a library does too, and refuse the one that is called bad."""
    warnings.warn(f"{path.name} looks odd", errors.DataWarning, stacklevel=1)
    warnings.warn("invalid value", RuntimeWarning, stacklevel=1)
    if path.name == "bad":
        raise errors.DatasetError(f"{path}: bad", file=path, code="bad", found=3)
    return calls.Finished(path.name) if path.name == "finished" else path.name


def stumble(path):
    """Have a bug."""
    return {}[path.name]


def wait(path):
    """Leave the process id in the sample's file, then wait for a file ``go`` beside it."""
    path.write_text(str(os.getpid()))
    while not (path.parent / "go").exists():
        time.sleep(0.02)
    return path.name


def die_if_bad(path):
    """Be killed as by the system when memory runs out."""
    if path.name == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def note_times(path):
    """Return the process id, and when it began and ended."""
    start = time.time()
    time.sleep(0.05)
    return os.getpid(), start, time.time()

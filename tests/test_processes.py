"""Processes are named so that the living of this host are known from the dead."""

import os
import signal
import subprocess
import time
from pathlib import Path

from utils.storage import processes

GIVEN_UP = 10  # seconds


def wait_for(condition):
    end = time.monotonic() + GIVEN_UP
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_process_started():
    assert processes.started(os.getpid()) == processes.started(os.getpid())
    assert processes.started(2**22 + 1) is None
    assert processes.started(10**30) is None


def test_process_with_a_nasty_name(tmp_path):
    """The name stands in brackets between the numbers and may itself hold brackets."""
    nasty = tmp_path / "a) Z 1 ("
    nasty.symlink_to("/bin/sleep")
    process = subprocess.Popen([nasty, "30"])
    try:
        wait_for(
            lambda: (
                processes.started(process.pid) is not None
                and b"sleep" not in Path(f"/proc/{process.pid}/comm").read_bytes()
            )
        )
        assert processes.started(process.pid).isdigit()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

"""The tests themselves: they pass in the background, too."""

import signal
import subprocess
import sys


def test_children_can_be_interrupted(run_python):
    done = run_python("import signal; print(signal.getsignal(signal.SIGINT).__name__)")
    assert done.stdout == "default_int_handler\n"


def test_children_can_be_interrupted_where_the_tests_run_in_the_background(pytestconfig):
    """A shell starts a job in the background with Ctrl-C ignored; children would inherit that."""
    test = f"{__file__}::{test_children_can_be_interrupted.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=pytestconfig.rootpath,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout

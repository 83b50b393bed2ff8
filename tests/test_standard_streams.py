"""Standard input, output and error that are closed, full, or that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.running import standard_streams

ROOT = Path(standard_streams.__file__).parents[2]
# Fails one of three samples, warns, prints, writes files.
SCRIPT = '''"""Do something, in worker processes, too."""
import os, sys
from utils import errors
from utils.running import cli, shared_options
from utils.storage import files


def work(number, folder):
    errors.warn("is odd")
    if number == 1:
        raise errors.DatasetError("bad")
    for descriptor in range(3):
        os.fstat(descriptor)
    with open(folder / f"{number}", "w") as handle:
        assert handle.fileno() > 2
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
        handle.write("whole")


@cli.routine(__doc__)
@shared_options.root_dir
def main(root_dir):
    outcome = cli.for_each_sample(work, range(3), root_dir)
    cli.finish(outcome, *["x" * 100] * 1000)


if __name__ == "__main__":
    main()
'''


@pytest.fixture(name="script")
def a_script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    (tmp_path / "data").mkdir()
    return path


def shell(script, *words, redirected="", **variables):
    """Run the script with streams redirected as a shell does it; stderr of the shell comes back."""
    line = f'"$@" {redirected}; exit "${{PIPESTATUS[0]}}"'
    command = ["bash", "-c", line, "bash", sys.executable, script, *map(str, words)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "redirected",
    [
        "2>&-",
        ">&-",
        "<&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>&1",
        "| head -1",
        "| true",
        "2>&1 | true",
    ],
)
def test_the_exit_status_is_that_of_the_work(script, redirected, workers):
    data = script.parent / "data"
    failures = script.parent / "failures.jsonl"
    words = "--root_dir", data, "--workers", workers, "--failures_file", failures
    result = shell(script, *words, redirected=redirected)
    assert result.returncode == 1
    for text in (b"Traceback", b"Exception ignored", b"rror:"):
        assert text not in result.stderr
    assert (data / "0").read_text() == (data / "2").read_text() == "whole"
    assert failures.read_text().count("\n") == 1
    if "2>" not in redirected:
        assert b"FAILED 1: bad\n" in result.stderr


@pytest.mark.parametrize("redirected", [">&-", ">/dev/full", "| true", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize("words, status", [(["--help"], 0), (["--nonsense"], 2)])
def test_help_and_usage_errors(script, redirected, words, status):
    result = shell(script, *words, redirected=redirected)
    assert result.returncode == status
    assert b"Traceback" not in result.stderr and b"Exception ignored" not in result.stderr


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_names_that_the_terminal_cannot_show(script, encoding):
    """A path with a byte that is no UTF-8, and one that is no ASCII."""
    folder = os.fsencode(script.parent / "ä") + b"\xe9"
    result = shell(script, "--root_dir", os.fsdecode(folder), **encoding)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr and b"\\udce9" in result.stderr
    os.mkdir(folder)
    script.write_text(SCRIPT.replace('*["x" * 100] * 1000', "str(root_dir)"))
    result = shell(script, "--root_dir", os.fsdecode(folder), **encoding)
    assert (result.returncode, b"\\udce9\n" in result.stdout) == (1, True), result.stderr


def test_streams_of_others_stay(monkeypatch):
    streams = sys.stdout, sys.stderr
    standard_streams.secure()
    assert (sys.stdout, sys.stderr) == streams

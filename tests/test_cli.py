"""What all scripts share on the command line."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
from pathlib import Path

import click
import click.testing
import pytest

from utils import errors
from utils.running import calls, cli, free_memory, shared_options
from utils.storage import nifti, samples

ROOT = Path(cli.__file__).parents[2]
SUMMARY = "samples: {} done, {} skipped as finished, {} failed"


def work(number, factor=1):
    """One sample of every kind."""
    if number == 1:
        warnings.warn("is odd", errors.DataWarning, stacklevel=1)
    if number == 2:
        raise errors.CasesError(
            [
                errors.DatasetError("f: shape", file="f", code="shape", expected=(1, 2), found=3),
                errors.DamagedFileError("größe: damaged", file="größe"),
            ]
        )
    return calls.Finished() if number == 3 else factor * number


def command(body, *options, images=True):
    """A routine whose main is `body`."""
    for option in options:
        body = option(body)
    return cli.routine("Do something.\n\n\b\n  python 09_x.py --a b\n", images=images)(body)


def over(*numbers):
    """A routine that works on these samples."""

    def main(overwrite):
        outcome = cli.for_each_sample(work, numbers, 10)
        cli.finish(outcome, f"results {[value for _, value in outcome.results]}", f"{overwrite}")

    return command(main)


def run(main, *words):
    result = click.testing.CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def in_process(tmp_path, body, *words, **options):
    """Run a script whose main holds these lines."""
    script = tmp_path / "script.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    script.write_text(
        '"""Help of the script."""\nimport warnings\n'
        "from utils import errors\nfrom utils.running import cli\n"
        f"@cli.routine(__doc__)\ndef main():\n{lines}main()\n"
    )
    return subprocess.run(
        [sys.executable, script, *words],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        **options,
    )


# ---- outcome


def test_all_done():
    result = run(over(0, 3, 4))
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == ["results [0, None, 40]", "False", SUMMARY.format(2, 1, 0)]


@pytest.mark.parametrize("workers", [1, 4])
def test_failures_are_named_and_counted(workers):
    result = run(over(*range(5)), "--workers", workers)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "WARNING 1: is odd",
        "FAILED 2: f: shape",
        "FAILED 2: größe: damaged",
    ]
    assert result.stdout.splitlines()[-1] == SUMMARY.format(3, 1, 1)


def test_quiet_still_names_failures():
    result = run(over(*range(5)), "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 3
    assert run(over(0), "--quiet").output == ""


def test_options_of_the_run_reach_the_main_that_names_them():
    assert "True" in run(over(0), "--overwrite").stdout


def test_failures_file(tmp_path):
    path = tmp_path / "new folder" / "failures.jsonl"
    assert run(over(*range(5)), "--failures_file", path).exit_code == 1
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first == {
        "sample": "2",
        "file": "f",
        "code": "shape",
        "expected": "(1, 2)",
        "found": "3",
        "reason": "f: shape",
    }
    assert second == {
        "sample": "2",
        "file": "größe",
        "code": "damaged",
        "expected": None,
        "found": None,
        "reason": "größe: damaged",
    }
    assert run(over(0), "--failures_file", path).exit_code == 0
    assert path.read_bytes() == b"", "no failures of an earlier run"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_failures_file_that_cannot_be_written(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    result = run(over(2), "--failures_file", tmp_path / "f/g.jsonl")
    assert result.exit_code == 2 and "cannot be written" in result.stderr
    assert "FAILED 2" not in result.stderr, "told before the work, exit 2 means nothing was done"
    assert run(over(2), "--failures_file", tmp_path).exit_code == 2


def test_failures_file_does_not_replace_another_file_of_the_command(tmp_path):
    @cli.routine("Help.")
    @shared_options.output_manifest_file
    def main(output_manifest_file):
        output_manifest_file.write_bytes(b"made")

    target = tmp_path / "manifest.xlsx"
    result = click.testing.CliRunner().invoke(
        main, ["--output_manifest_file", str(target), "--failures_file", str(target)]
    )
    assert result.exit_code == 2 and "would replace --output_manifest_file" in result.stderr
    assert not target.exists()


def test_other_noun():
    def main():
        cli.finish(calls.Outcome(done=2), noun="file")

    assert run(command(main)).stdout == "files: 2 done, 0 skipped as finished, 0 failed\n"


def test_without_the_options_of_a_run():
    def main():
        cli.finish(cli.for_each_sample(work, [0]))

    result = run(command(main, images=False))
    assert result.exit_code == 0 and result.stdout.startswith("samples: 1 done")
    assert run(command(main, images=False), "--workers", "1").exit_code == 2


def note(sample, log):
    for _ in range(2):
        with open(log, "a", encoding="ascii") as handle:
            handle.write(f"{sample} ")
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_masks_are_worked_on_within_memory_the_largest_first(tmp_path, monkeypatch, workers):
    found = [samples.Sample(stem, tmp_path) for stem in ("a", "b", "c")]
    for sample, size in zip(found, (1, 3, 2)):
        sample.mask_path.write_bytes(bytes(size))
    monkeypatch.setattr(free_memory, "available", lambda: 100)
    monkeypatch.setattr(nifti, "mask_memory", lambda path: {tmp_path: 50}[path.parent])

    def main():
        cli.finish(cli.for_each_mask(note, found, tmp_path / "log"))

    assert run(command(main), "--workers", workers).exit_code == 0
    assert (tmp_path / "log").read_text().split() == ["b", "b", "c", "c", "a", "a"]


# ---- usage and data faults outside the loop


@pytest.mark.parametrize(
    "words",
    [
        ["--workers", "0"],
        ["--workers", "-1"],
        ["--workers", "x"],
        ["--workers"],
        ["--unknown"],
        ["--failures_file"],
        ["extra"],
        ["--quiet=1"],
    ],
)
def test_wrong_usage(words):
    result = run(over(0), *words)
    assert (result.exit_code, result.stdout) == (2, "") and "Error" in result.stderr


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag):
    result = run(over(0), flag)
    assert result.exit_code == 0
    for text in (
        "Do something.",
        "python 09_x.py --a b",
        "--workers N",
        "[default: (all cores)",
        "--overwrite",
        "--quiet",
        "--failures_file PATH",
        "[default: (none)]",
    ):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_data_fault_is_a_line_for_each_case():
    def main():
        raise errors.CasesError([errors.DatasetError("one"), errors.DatasetError("two")])

    result = run(command(main))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: one\nError: two\n"


def test_bug_keeps_its_traceback(tmp_path):
    result = in_process(tmp_path, "1 / 0")
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "ZeroDivisionError" in result.stderr


def test_stopped(tmp_path):
    line = "Stopped; no file is half written. The same command continues.\n"
    result = in_process(tmp_path, "raise KeyboardInterrupt")
    assert (result.returncode, result.stderr) == (130, line)
    result = in_process(
        tmp_path, "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)"
    )
    assert (result.returncode, result.stderr) == (143, line)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), warnings.showwarning
    run(over(*range(5)))
    assert (signal.getsignal(signal.SIGTERM), warnings.showwarning) == before


def test_warnings_outside_the_loop_are_one_line(tmp_path):
    result = in_process(
        tmp_path,
        "for _ in range(2):\n    warnings.warn('ids are shifted', errors.DataWarning)\nprint('on')",
    )
    assert (result.returncode, result.stdout) == (0, "on\n")
    assert result.stderr == "WARNING: ids are shifted\n" * 2


def cast(number):
    """Make numpy and another library warn."""
    import numpy as np

    np.array([number + 0.5, np.nan]).astype(np.uint8)
    if number:
        warnings.warn(f"header {number}\nis odd", UserWarning, stacklevel=1)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_library_warnings_of_samples_are_one_line_each(workers):
    def main():
        outcome = cli.for_each_sample(cast, range(3))
        cli.finish(cli.for_each_sample(cast, range(4)) if outcome.done else outcome)

    result = run(command(main), "--workers", workers)
    assert (result.exit_code, result.stdout) == (0, SUMMARY.format(4, 0, 0) + "\n")
    assert result.stderr.splitlines() == [
        "note 0: RuntimeWarning: invalid value encountered in cast (and 2 more)",
        "note 1: UserWarning: header 1 is odd",
        "note 2: UserWarning: header 2 is odd",
        "note 3: UserWarning: header 3 is odd",
    ]


def test_library_warnings_outside_the_loop_are_one_line(tmp_path):
    body = (
        "for _ in range(2):\n    warnings.warn('invalid\\nvalue', RuntimeWarning)\n"
        "warnings.warn('invalid\\nvalue', RuntimeWarning)\n"
        "warnings.warn('will change', DeprecationWarning)\nprint('on')"
    )
    result = in_process(tmp_path, body)
    assert (result.returncode, result.stdout) == (0, "on\n")
    assert result.stderr == "note: RuntimeWarning: invalid value\n"


def test_reader_that_goes_away(tmp_path):
    """``script | head -1`` ends the script without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    script = "import click\nfor _ in range(10**4):\n    click.echo('x' * 100)"
    (tmp_path / "script.py").write_text(
        '"""Help."""\nfrom utils.running import cli\n@cli.routine(__doc__)\ndef main():\n    '
        + script.replace("\n", "\n    ")
        + "\nmain()\n"
    )
    result = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        stdout=writing,
        text=True,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(writing)
    assert result.returncode == 1 and "Traceback" not in result.stderr


# ---- progress bar


NOTE = "note 0: RuntimeWarning: invalid value (and 1 more)"


def on_a_terminal(tmp_path, *words):
    """What a script shows on a terminal as stderr, and its stdout."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    script = tmp_path / "script.py"
    script.write_text(
        '"""Help."""\nimport sys, warnings\n'
        "from utils import errors\nfrom utils.running import cli\n"
        "def work(number):\n"
        "    if number == 1: raise errors.DatasetError('bad')\n"
        "    warnings.warn('invalid value', RuntimeWarning)\n"
        "@cli.routine(__doc__)\ndef main():\n"
        "    cli.finish(cli.for_each_sample(work, range(3)))\nmain()\n"
    )
    with subprocess.Popen(
        [sys.executable, script, *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how Linux tells that the other end was closed
            pass
        stdout = process.stdout.read()
    os.close(ours)
    return shown.decode(), stdout, process.returncode


@pytest.mark.parametrize("workers", ["1", "2"])
def test_bar_on_a_terminal_only(tmp_path, workers):
    shown, stdout, status = on_a_terminal(tmp_path, "--workers", workers)
    assert status == 1 and stdout == SUMMARY.format(2, 0, 1) + "\n"
    assert "3/3" in shown and "1 failed" in shown and "FAILED 1: bad" in shown
    # On a line that the bar was wiped off; what follows is the bar again.
    assert re.search(rf"\r {{79,80}}\r{re.escape(NOTE)}\r\n", shown)
    shown, stdout, status = on_a_terminal(tmp_path, "--workers", workers, "--quiet")
    assert shown.splitlines() == [NOTE, "FAILED 1: bad"] and (stdout, status) == ("", 1)


def test_no_bar_elsewhere(tmp_path):
    result = in_process(tmp_path, "cli.finish(cli.for_each_sample(print, range(3)))")
    assert result.stderr == "" and result.stdout.splitlines()[-1] == SUMMARY.format(3, 0, 0)


# ---- start-up


def test_help_imports_nothing_heavy(run_python):
    result = run_python(
        "import sys\nfrom utils.running import cli\n"
        "main = cli.routine('x')(lambda: None)\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'nibabel', 'scipy', 'openpyxl', 'cc3d', 'tqdm', 'yaml', 'numpy', 'pandas'}\n"
        "print('imported', sorted(heavy & set(sys.modules)))"
    )
    assert result.stdout.splitlines()[-1] == "imported []", result.stderr

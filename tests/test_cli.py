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
import tempfile
import termios
import time
import warnings
from pathlib import Path

import click
import click.testing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.running import calls, cli, free_memory, shared_options
from utils.storage import files, nifti, samples

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


HEADER = {"sample": "2", "file": None, "code": "data", "expected": None, "found": None}
OURS = json.dumps(HEADER | {"reason": "bad"}) + "\n"


@pytest.mark.parametrize("content", ["", OURS, OURS * 2, OURS.replace("bad", "ä" * 9)])
def test_failures_file_replaces_one_of_an_earlier_run(tmp_path, content):
    path = tmp_path / "failures.jsonl"
    path.write_text(content, encoding="utf-8")
    assert run(over(2), "--failures_file", path).exit_code == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"ID,age\n1,2\n",
        b"\x1f\x8b\x08" + bytes(range(256)),
        b"{}",
        b"[]\n",
        b"null\n",
        b'"sample"\n',
        b"[" * 10_000,
        OURS.encode() + b'{"sample": "1"}\n',
        OURS.encode() + b"\xff\n",
        bytes(1 << 20),
        json.dumps({"routine": "04", "failures": []}).encode() + b"\n",  # the record of runs
    ],
)
@pytest.mark.parametrize("is_link", [False, True])
def test_failures_file_does_not_replace_data(tmp_path, content, is_link):
    path = data = tmp_path / "amos_0001"
    data.write_bytes(content)
    if is_link:
        path = tmp_path / "link"
        path.symlink_to(data)
    result = run(over(2), "--failures_file", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: --failures_file {path} would replace a file that holds no failures; expected a "
        "failures file of an earlier run, or a new name\n"
    )
    assert data.read_bytes() == content and path.is_symlink() == is_link
    assert {entry.name for entry in tmp_path.iterdir()} == {data.name, path.name}


ANY = st.text(st.characters(), max_size=20)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=3))
def test_any_failures_file_of_ours_is_replaced(told):
    def main():
        outcome = calls.Outcome(done=1)
        for name, reason, found in told:
            outcome.fail(name, errors.DatasetError(reason, file=name, found=found))
        cli.finish(outcome)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "failures.jsonl")
        for _ in range(2):
            result = run(command(main), "--failures_file", path, "--quiet")
            assert result.exit_code == bool(told)
        assert path.read_bytes().count(b"\n") == len(told)
    assert len(result.stderr.splitlines()) == len(told)


def test_failures_file_behind_a_link_leaves_the_link(tmp_path):
    path, link = tmp_path / "failures.jsonl", tmp_path / "link"
    path.write_text(OURS)
    link.symlink_to(path)
    assert run(over(0), "--failures_file", link).exit_code == 0
    assert link.is_symlink() and path.read_bytes() == b""


@pytest.mark.parametrize("kind", ["pipe", "dangling", "loop", "/dev/null", "/dev/zero", "/dev/tty"])
def test_failures_file_that_is_no_file(tmp_path, kind):
    path = Path(kind) if kind[0] == "/" else tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("dangling", "loop"):
        path.symlink_to("loop")
    before = os.lstat(path)
    result = run(over(2), "--failures_file", path)
    assert (result.exit_code, result.stdout) == (2, "")
    reason = f"{path} is no file (a pipe, a device, or a link to nothing)."
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '--failures_file': {reason}"
    assert os.lstat(path) == before


@pytest.mark.parametrize("name", ["/dev/stdout", "out.txt"])
def test_failures_file_that_is_the_standard_output(tmp_path, name):
    """A file that the shell has just made is empty; replaced, it would not get the summary."""
    with open(tmp_path / "out.txt", "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", SUMMARIZE, "--failures_file", name],
            cwd=tmp_path,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: --failures_file {name} would replace a file")


SUMMARIZE = """
from utils.running import calls, cli
cli.routine("Help.")(lambda: cli.finish(calls.Outcome(done=1)))()
"""


def test_other_noun():
    def main():
        cli.finish(cli.for_each_sample(work, [0, 4], noun="file"))

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


def broken_later(*numbers, error=None, noun="sample"):
    """A routine whose last file cannot be written."""

    def main():
        outcome = cli.for_each_sample(work, numbers, noun=noun)
        outcome.fail("table", errors.DatasetError("added later", code="metadata"))
        raise error or errors.DatasetError("m.xlsx: cannot be written", code="write")

    return command(main)


@pytest.mark.parametrize("noun", ["sample", "file"])
def test_what_was_done_is_told_before_a_fault_that_follows(tmp_path, noun):
    path = tmp_path / "failures.jsonl"
    result = run(broken_later(*range(5), noun=noun), "--failures_file", path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "WARNING 1: is odd",
        "FAILED 2: f: shape",
        "FAILED 2: größe: damaged",
        "FAILED table: added later",
        "Error: m.xlsx: cannot be written",
    ]
    assert result.stdout == SUMMARY.format(3, 1, 2).replace("sample", noun) + "\n"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_failures_file_that_turns_out_unwritable_at_the_end(tmp_path):
    path = tmp_path / "failures.jsonl"

    def main():
        outcome = cli.for_each_sample(work, range(5))
        path.mkdir()
        cli.finish(outcome, "all is told")

    result = run(command(main), "--failures_file", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["all is told", SUMMARY.format(3, 1, 1)]
    assert result.stderr.splitlines()[:3] == [
        "WARNING 1: is odd",
        "FAILED 2: f: shape",
        "FAILED 2: größe: damaged",
    ]
    assert result.stderr.splitlines()[3:] == [f"Error: {path}: cannot be written: Is a directory"]

    def both():
        cli.for_each_sample(work, [0])
        path.mkdir()
        raise errors.DatasetError("m.xlsx: cannot be written")

    path.rmdir()
    result = run(command(both), "--failures_file", path)
    assert (result.exit_code, result.stdout) == (1, SUMMARY.format(1, 0, 0) + "\n")
    assert result.stderr.splitlines() == [
        f"Error: {path}: cannot be written: Is a directory",
        "Error: m.xlsx: cannot be written",
    ]


def test_with_nothing_done_a_fault_ends_with_2():
    def main():
        cli.for_each_sample(work, [])
        raise errors.DatasetError("no place")

    assert run(command(main)).exit_code == 2


def test_a_held_workbook_ends_with_1():
    def main():
        raise errors.DatasetError("m.xlsx: held by process 1 on host", code="held")

    result = run(command(main, images=False))
    assert (result.exit_code, result.stderr) == (1, "Error: m.xlsx: held by process 1 on host\n")


ODD = "a\x1b[31mb\x07c\rd\x9be\u202ef\u2066g\u200bh\udce9"
SHOWN = "a\\x1b[31mb\\x07c\\rd\\x9be\\u202ef\\u2066g\\u200bh\\udce9"


def complain(sample):
    errors.warn(f"warns {ODD}")
    warnings.warn(f"library {ODD}", UserWarning, stacklevel=1)
    if sample == ODD:
        raise errors.DatasetError(f"fails {ODD}")


def test_no_escape_sequence_reaches_the_terminal():
    def main():
        outcome = cli.for_each_sample(complain, [ODD, "b"])
        cli.print_warning(ODD, ODD)
        cli.print_note(ODD, ODD)
        cli.finish(outcome, f"wrote {ODD}\nand {ODD}")

    result = run(command(main))
    assert result.stdout == f"wrote {SHOWN}\\nand {SHOWN}\n{SUMMARY.format(1, 0, 1)}\n"
    shown = SHOWN.replace("\\r", " ")  # a library's text is put on one line first
    assert result.stderr.splitlines() == [
        f"note {SHOWN}: UserWarning: library {shown} (and 1 more)",
        f"WARNING {SHOWN}: {SHOWN}",
        f"note {SHOWN}: {SHOWN}",
        f"WARNING {SHOWN}: warns {SHOWN}",
        f"WARNING b: warns {SHOWN}",
        f"FAILED {SHOWN}: fails {SHOWN}",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--root_dir", ".", ODD],
        ["--" + ODD],
        ["--root_dir", ODD],
        ["--root_dir", ".", "--workers", ODD],
        ["--root_dir", ".", "--scheduler", ODD],
        ["--root_dir", ".", "--kind", ODD],
        ["--root_dir", ".", "--manifest", ODD],
        ["--root_dir", ".", "--manifest", f"./{ODD}\nError: b"],
    ],
)
def test_no_escape_sequence_of_wrong_usage_reaches_the_terminal(words):
    options = [
        shared_options.root_dir,
        shared_options.choice("--kind", ["one", "other"], "one", "Kind."),
        shared_options.optional("--manifest", shared_options.OUTPUT_WORKBOOK, "Workbook."),
    ]
    result = run(command(lambda **values: None, *options), *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert SHOWN in result.stderr.replace("\\\\", "\\")
    assert set(ODD) & set(result.stderr) == set("a[31mbcdefgh")
    assert result.stderr.count("Error: ") == 1 + ("Error: b" in words[-1])
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_ctrl_c_among_the_options():
    def interrupt(context, option, value):
        raise KeyboardInterrupt

    option = shared_options.optional("--x", shared_options.TEXT, "X.", callback=interrupt)
    result = run(command(lambda x: None, option), "--x", "1")
    assert (result.exit_code, result.stderr) == (130, errors.STOPPED + "\n")


def leave_and_die(sample, folder):
    """Write a file, and be killed amid it."""
    with files.whole(folder / f"{sample}.nii.gz") as handle:
        handle.write(b"half")
        if sample == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("with_output_dir", [False, True])
def test_what_a_killed_worker_was_writing_is_swept_up(tmp_path, with_output_dir):
    root, output = tmp_path / "root", tmp_path / "output"
    target = output if with_output_dir else root
    for folder in (root, target / "sub"):
        folder.mkdir(parents=True)
    options = [shared_options.root_dir]
    words = ["--workers", 2, "--root_dir", root]
    if with_output_dir:
        options.append(shared_options.output_dir("Output."))
        words += ["--output_dir", output]

    def main(**paths):
        cli.finish(cli.for_each_sample(leave_and_die, range(3), target / "sub"))

    result = run(command(main, *options), *words)
    assert result.exit_code == 1 and "FAILED 1: the worker process was killed" in result.stderr
    assert sorted(path.name for path in (target / "sub").iterdir()) == ["0.nii.gz", "2.nii.gz"]


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

"""What all scripts share on the command line: options, exit status, the closing report."""
import contextlib
import dataclasses
import functools
import inspect
import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import click

from utils import errors, files, runner

# Joins the values of one group into one token for click; no shell can type it by accident.
_JOINT = "\x1f"


class _ExistingPath(click.ParamType):
    """A path that must exist; a wrong one is named together with what may have been meant."""

    def __init__(self, name, is_right):
        self.name = name
        self._is_right = is_right

    def convert(self, value, param, ctx):
        path = Path(value)
        if self._is_right(path):
            return path
        if path.exists():
            self.fail(f"{path} is not a {self.name}.", param, ctx)
        self.fail(f"no such {self.name}: {path} (nearest that exists: "
                  f"{files.nearest_existing(path)})", param, ctx)


class _OutputFile(click.ParamType):
    """A file to write; its folder is made by the routine."""

    name = "file"

    def __init__(self, suffix=None):
        self._suffix = suffix

    def convert(self, value, param, ctx):
        path = Path(value)
        if path.is_dir():
            self.fail(f"{path} is a folder.", param, ctx)
        if self._suffix and path.suffix != self._suffix:
            self.fail(f"{path} should end in {self._suffix}.", param, ctx)
        return path


class _OutputDir(click.ParamType):
    name = "directory"

    def convert(self, value, param, ctx):
        path = Path(value)
        if path.exists() and not path.is_dir():
            self.fail(f"{path} is not a directory.", param, ctx)
        return path


class _Group(click.ParamType):
    name = "text ..."

    def convert(self, value, param, ctx):
        return value if isinstance(value, tuple) else tuple(value.split(_JOINT))


FILE = _ExistingPath("file", Path.is_file)
DIRECTORY = _ExistingPath("directory", Path.is_dir)
OUTPUT_FILE = _OutputFile()
OUTPUT_WORKBOOK = _OutputFile(".xlsx")
OUTPUT_DIR = _OutputDir()


class GroupOption(click.Option):
    """An option that takes all words up to the next option, and may be repeated.

    ``--subsets train val --subsets test`` gives ``(("train", "val"), ("test",))``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, type=_Group(), multiple=True, **kwargs)


class _Command(click.Command):
    """A click command that knows `GroupOption`."""

    def parse_args(self, ctx, args):
        names = {name for param in self.params if isinstance(param, GroupOption)
                 for name in param.opts}
        return super().parse_args(ctx, list(_join_groups(list(args), names)))


def _join_groups(args, names):
    while args:
        word = args.pop(0)
        name, equals, first = word.partition("=")
        if name not in names:
            yield word
            continue
        group = [first] if equals else []
        while args and not args[0].startswith("-"):
            group.append(args.pop(0))
        yield name
        if group:
            yield _JOINT.join(group)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The options of every routine that opens images."""

    workers: int = 1
    overwrite: bool = False
    quiet: bool = False
    failures_file: Path | None = None


def _available_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _run_options():
    return [
        click.Option(["--workers"], type=click.IntRange(min=1), default=_available_cores,
                     show_default="all cores", metavar="N",
                     help="Number of processes; the results do not depend on it."),
        click.Option(["--overwrite"], is_flag=True, show_default="off",
                     help="Do everything again, also what is finished or was changed by hand."),
        click.Option(["--quiet"], is_flag=True, show_default="off",
                     help="No progress bar and no summary; failures are still named."),
        click.Option(["--failures_file"], type=OUTPUT_FILE, metavar="PATH", show_default="none",
                     help="Write the failures here, too, as JSON lines."),
    ]


root_dir_option = click.option("--root_dir", required=True, type=DIRECTORY, metavar="DIR",
                               help="Folder with the data.")

_PAIR_OPTIONS = (
    click.option("--output_dir", required=True, type=OUTPUT_DIR, metavar="DIR",
                 help="The sub-data set's folder in the grouped tree; made where missing."),
    click.option("--archive_manifest", required=True, type=FILE, metavar="XLSX",
                 help="Workbook of routine 01; it says which files, subsets and metadata."),
)


def pair_options(function):
    """Add the options that all routines 02 have besides --root_dir."""
    for option in reversed(_PAIR_OPTIONS):
        function = option(function)
    return function


def routine(doc: str, images: bool = True):
    """Make a click command of a script's main function.

    Parameters
    ----------
    doc : str
        The script's docstring: it is the help text.
    images : bool
        Add the options of routines that open images (see `RunOptions`); the function gets those
        that it names as parameters, `for_each_sample` and `finish` use the others.

    Notes
    -----
    A `DatasetError` that leaves the function becomes one line and exit status 2; Ctrl-C ends with
    130 and SIGTERM with 143, both without traceback and without half-written files.
    """
    def decorate(function):
        wanted = inspect.signature(function).parameters

        @functools.wraps(function)
        def wrapped(**given):
            names = [field.name for field in dataclasses.fields(RunOptions)] if images else []
            options = RunOptions(**{name: given[name] for name in names})
            click.get_current_context().obj = options
            with _stopped_in_one_line():
                return function(**{name: given[name] for name in given
                                   if name in wanted or name not in names})

        command = click.command(cls=_Command, help=doc, context_settings={
            "help_option_names": ["-h", "--help"], "show_default": True,
            "max_content_width": 100})(wrapped)
        command.params += _run_options() if images else []
        return command

    return decorate


@contextlib.contextmanager
def _stopped_in_one_line():
    previous = _raise_on_sigterm()
    try:
        with _printed_warnings():
            yield
    except errors.DatasetError as error:
        for case in error.cases:
            click.echo(f"Error: {case}", err=True)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        click.echo("Stopped; no file is half written. The same command continues.", err=True)
        sys.exit(stop.args[0] if stop.args else 130)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _printed_warnings():
    """Print a DataWarning as one line; those of the samples are collected by the runner."""
    def show(message, category, filename, lineno, file=None, line=None):
        click.echo(f"WARNING: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", errors.DataWarning)
        warnings.showwarning = show
        yield


def _raise_on_sigterm():
    def stop(signal_number, frame):
        raise KeyboardInterrupt(128 + signal_number)

    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGTERM, stop)
    return None


def _options():
    return click.get_current_context().obj or RunOptions()


def for_each_sample(function, samples, *args, size=None, memory=None) -> runner.Outcome:
    """Call ``function(sample, *args)`` for all samples as the command line says.

    Parameters are those of `runner.run`; a progress bar is shown where stderr is a terminal.

    Returns
    -------
    runner.Outcome
    """
    samples = list(samples)
    function = _Bound(function, args)
    options = _options()
    if options.quiet or not sys.stderr.isatty():
        return runner.run(function, samples, workers=options.workers, size=size, memory=memory)
    import tqdm
    tqdm.tqdm.monitor_interval = 0  # its thread must not live while workers are forked
    with tqdm.tqdm(total=len(samples), unit="sample", dynamic_ncols=True) as bar:
        def step(n_failed):
            bar.update()
            if n_failed:
                bar.set_postfix_str(f"{n_failed} failed")

        return runner.run(function, samples, workers=options.workers, size=size, memory=memory,
                          step=step)


@dataclasses.dataclass(frozen=True)
class _Bound:
    """``function(sample, *args)`` as a picklable function of the sample."""

    function: object
    args: tuple

    def __call__(self, sample):
        return self.function(sample, *self.args)


def warn(name: str, message: str) -> None:
    """Print one warning, about a sample or the whole data set, to stderr."""
    click.echo(f"WARNING {name}: {message}", err=True)


def finish(outcome: runner.Outcome, *lines: str, noun: str = "sample") -> None:
    """Print warnings, failures and the summary, write the failures file, and exit.

    Parameters
    ----------
    outcome : runner.Outcome
        What came of the samples.
    *lines : str
        What the routine has to tell besides the counts.
    noun : str
        What was counted.

    Notes
    -----
    Exit status 0 when nothing failed, else 1.
    """
    options = _options()
    for name, message in outcome.warnings:
        warn(name, message)
    for name, error in outcome.failures:
        click.echo(f"FAILED {name}: {error}", err=True)
    if options.failures_file is not None:
        _write_failures(options.failures_file, outcome.failures)
    if not options.quiet:
        for line in lines:
            click.echo(line)
        click.echo(f"{noun}s: {outcome.done} done, {outcome.skipped} skipped as finished, "
                   f"{outcome.failed} failed")
    sys.exit(1 if outcome.failures else 0)


def _write_failures(path, failures):
    files.make_dir(path.parent)
    with files.whole(path) as handle:
        for name, error in failures:
            entry = {"sample": name, "file": error.file, "code": error.code,
                     "expected": error.expected, "found": error.found, "reason": str(error)}
            handle.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "replace"))

"""A routine on the command line: options, warnings, exit status, the closing report."""

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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import click

from utils import errors
from utils.running import calls, provenance, runner, shared_options
from utils.storage import files

_HELP_OPTIONS = ["-h", "--help"]
_SETTINGS = {"help_option_names": _HELP_OPTIONS, "show_default": True, "max_content_width": 100}
_RUN = "run"  # key of the provenance.Run in the context


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The values of `shared_options.RUN`."""

    workers: int = 1
    overwrite: bool = False
    quiet: bool = False
    failures_file: Path | None = None
    scheduler: str | None = None


def routine(doc: str, images: bool = True) -> Callable[[Callable], click.Command]:
    """Make a click command of a script's main function; the script's docstring is its help.

    With ``images`` it has the options of routines that open images (`RunOptions`): the function
    gets those that it names as parameters, `for_each_sample` and `finish` use the others.

    A `DatasetError` that leaves the function becomes one line and exit status 2; Ctrl-C ends with
    130 and SIGTERM with 143, both without traceback and without half-written files.
    """
    names = {field.name for field in dataclasses.fields(RunOptions)} if images else set()

    def decorate(function):
        wanted = inspect.signature(function).parameters

        @functools.wraps(function)
        def wrapped(**given):
            options = RunOptions(**{name: given[name] for name in names})
            if options.scheduler:  # its workers have other working directories
                for name, value in given.items():
                    given[name] = value.absolute() if isinstance(value, Path) else value
            own = {name: given[name] for name in given if name in wanted or name not in names}
            click.get_current_context().obj = options
            with _printed_warnings(), _recorded(function, given), _stopped_in_one_line():
                _check_failures_file(options.failures_file, given)
                return function(**own)

        kind = shared_options.GroupCommand
        command = click.command(cls=kind, help=doc, context_settings=_SETTINGS)(wrapped)
        for option in shared_options.RUN if images else ():
            option(command)
        return command

    return decorate


@contextlib.contextmanager
def _recorded(function, given):
    """Add the run to the data's provenance; one that ends with 2 has done nothing."""
    run = provenance.Run(function.__code__.co_filename, given)
    click.get_current_context().meta[_RUN] = run
    exit_status = 1  # of a traceback
    try:
        yield
        exit_status = 0
    except SystemExit as stop:
        exit_status = stop.code
        raise
    finally:
        if exit_status != 2:
            provenance.add(run, exit_status)


@contextlib.contextmanager
def _stopped_in_one_line():
    def interrupt(signal_number, frame):
        signal.signal(signal_number, signal.SIG_IGN)  # a second one would stop the clearing up
        raise KeyboardInterrupt(128 + signal_number)

    # SIGINT is left as it is: where it was ignored from the start (a background job of a script,
    # nohup), the shell wants Ctrl-C to reach other processes alone.
    is_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, interrupt) if is_main_thread else None
    try:
        yield
    except errors.DatasetError as error:
        for case in error.cases:
            _print_line(f"Error: {case}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        _print_line("Stopped; no file is half written. The same command continues.")
        sys.exit(stop.args[0] if stop.args else 130)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _printed_warnings():
    """Print a DataWarning as one line, and each distinct warning of a library as one note."""
    noted = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, errors.DataWarning):
            _print_line(f"WARNING: {message}")
            return
        is_of_samples = isinstance(message, calls.LibraryWarning)
        text = message.text if is_of_samples else calls.text_of(message)
        if text not in noted:
            noted.add(text)
            _print_line(f"note {message}" if is_of_samples else f"note: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", errors.DataWarning)
        # About code that will change, not about data; Python leaves them out by default, too.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show
        yield


def _print_line(text):
    """Print one line to stderr; a progress bar there makes room for it."""
    tqdm = sys.modules.get("tqdm")
    with tqdm.tqdm.external_write_mode(sys.stderr) if tqdm else contextlib.nullcontext():
        click.echo(errors.printable(text), err=True)


def _options():
    return click.get_current_context().obj or RunOptions()


def for_each_sample(
    function: Callable,
    samples: Iterable,
    *args: object,
    size: Callable[..., float] | None = None,
    memory: Callable[..., float] | None = None,
) -> calls.Outcome:
    """Call ``function(sample, *args)`` for all samples as the command line says.

    ``size`` and ``memory`` are those of `runner.run`; a progress bar is shown where stderr is a
    terminal.
    """
    samples = list(samples)
    bound = functools.partial(_call_with, function, args)
    options = _options()
    with _progress(len(samples)) as step:
        return runner.run(
            bound,
            samples,
            workers=options.workers,
            size=size,
            memory=memory,
            step=step,
            scheduler=options.scheduler,
        )


@contextlib.contextmanager
def _progress(n_samples):
    """Show a progress bar on a terminal; gives what advances it, or None."""
    if _options().quiet or not sys.stderr.isatty():
        yield None
        return
    import tqdm

    tqdm.tqdm.monitor_interval = 0  # its thread must not live while workers are forked
    with tqdm.tqdm(total=n_samples, unit="sample", dynamic_ncols=True) as bar:

        def step(n_failed):
            bar.update()
            if n_failed:
                bar.set_postfix_str(f"{n_failed} failed")

        yield step


def _call_with(function, args, sample):
    return function(sample, *args)


def for_each_mask(function: Callable, found: Iterable, *args: object) -> calls.Outcome:
    """Call ``function(sample, *args)``, which holds a sample's mask, for all samples.

    Those with the largest masks are started first, and as many at once as memory allows.
    """
    from utils.storage import nifti, samples

    def memory(sample):
        return nifti.mask_memory(sample.mask_path)

    return for_each_sample(function, found, *args, size=samples.mask_bytes, memory=memory)


def spare_core() -> bool:
    """Tell whether a worker may use a helper thread: the workers leave a core free."""
    options = _options()
    return options.scheduler is None and options.workers < shared_options.available_cores()


def print_warning(name: str, message: str) -> None:
    """Print a warning that a script found, about a sample or the whole data set, to stderr.

    What finds a warning below the scripts issues it by `errors.warn`; `finish` prints those of the
    samples in the same form.
    """
    _print_line(f"WARNING {name}: {message}")


def print_note(name: str, message: str) -> None:
    """Print to stderr what holds for every healthy archive, and needs nobody's attention."""
    _print_line(f"note {name}: {message}")


def finish(outcome: calls.Outcome, *lines: str, noun: str = "sample") -> NoReturn:
    """Print warnings, failures and the summary, write the failures file, and exit.

    ``lines`` are what the routine has to say besides the counts, ``noun`` is what was counted.
    Exit status 0 when nothing failed, else 1. Counts and failures go into the provenance, too.
    """
    options = _options()
    run = click.get_current_context().meta[_RUN]
    run.counts = {key: getattr(outcome, key) for key in ("done", "skipped", "failed")}
    run.failures = [(name, error.code) for name, error in outcome.failures]
    for name, message in outcome.warnings:
        print_warning(name, message)
    for name, error in outcome.failures:
        _print_line(f"FAILED {name}: {error}")
    if options.failures_file is not None:
        files.put(options.failures_file, _failure_lines(outcome.failures))
    if not options.quiet:
        n_done, n_skipped = outcome.done, outcome.skipped
        counts = f"{n_done} done, {n_skipped} skipped as finished, {outcome.failed} failed"
        for line in (*lines, f"{noun}s: {counts}"):
            click.echo(line)
    sys.exit(1 if outcome.failures else 0)


def _check_failures_file(path, given):
    """Refuse a failures file that cannot be written: before the work, not after it."""
    if path is None:
        return
    others = {name: given[name] for name in given if name != "failures_file"}
    for name, other in others.items():
        if isinstance(other, Path) and os.path.realpath(other) == os.path.realpath(path):
            reason = f"--failures_file {path} would replace --{name}; expected a file of its own"
            raise errors.DatasetError(reason, file=path, code="name")
    files.make_dir(path.parent)
    with files.Pending(path):
        pass


def _failure_lines(failures):
    lines = []
    for name, error in failures:
        details = {key: getattr(error, key) for key in ("file", "code", "expected", "found")}
        entry = {"sample": name, **details, "reason": str(error)}
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return "".join(lines).encode("utf-8", "replace")

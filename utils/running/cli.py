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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import click

from utils import errors
from utils.running import calls, provenance, runner, shared_options, standard_streams
from utils.storage import files, holding, review

_HELP_OPTIONS = ["-h", "--help"]
_SETTINGS = {"help_option_names": _HELP_OPTIONS, "show_default": True, "max_content_width": 100}
_WORK = "work"  # key of the _Work in the context
# What a line of a failures file holds at least; a longer line is none of ours.
_FAILURE_KEYS = {"sample", "file", "code", "expected", "found", "reason"}
_LONGEST_FAILURE = 1 << 24


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The values of `shared_options.RUN`."""

    workers: int = 1
    overwrite: bool = False
    quiet: bool = False
    failures_file: Path | None = None
    scheduler: str | None = None


@dataclasses.dataclass
class _Work:
    """What a command has done so far: its record, what came of its samples, whether that is told.

    ``folders`` are what the samples' files are written below.
    """

    run: provenance.Run
    folders: list[Path]
    outcome: calls.Outcome | None = None
    is_told: bool = False

    @property
    def is_begun(self):
        found = self.outcome
        return found is not None and bool(self.is_told or found.results or found.failures)


class _Command(shared_options.GroupCommand):
    """A command that ends well whatever becomes of its output, and whatever users have typed."""

    def main(self, *args, **kwargs):
        standard_streams.secure()
        return super().main(*args, **kwargs)

    def make_context(self, *args, **kwargs):
        try:
            return super().make_context(*args, **kwargs)
        except click.ClickException as error:
            error.message = errors.printable(error.message)
            raise
        except KeyboardInterrupt as stop:
            _end_stopped(stop)


def routine(doc: str, images: bool = True) -> Callable[[Callable], click.Command]:
    """Make a click command of a script's main function; the script's docstring is its help.

    With ``images`` it has the options of routines that open images (`RunOptions`): the function
    gets those that it names as parameters, `for_each_sample` and `finish` use the others.

    A `DatasetError` that leaves the function becomes one line and exit status 2, or 1 when samples
    were worked on before; what came of them is told first then. Ctrl-C ends with 130 and SIGTERM
    with 143, both without traceback and without half-written files.
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
            run = provenance.Run(function.__code__.co_filename, given)
            folder = given.get("output_dir") or given.get("root_dir")
            context = click.get_current_context()
            context.obj, context.meta[_WORK] = options, _Work(run, [folder] if folder else [])
            with _printed_warnings(), _recorded(run), _stopped_in_one_line():
                _check_failures_file(options.failures_file, given)
                return function(**own)

        command = click.command(cls=_Command, help=doc, context_settings=_SETTINGS)(wrapped)
        for option in shared_options.RUN if images else ():
            option(command)
        return command

    return decorate


@contextlib.contextmanager
def _recorded(run):
    """Add the run to the data's provenance; one that ends with 2 has done nothing."""
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
        sys.exit(_tell_error(error))
    except KeyboardInterrupt as stop:
        _end_stopped(stop)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _end_stopped(stop):
    files.remove_own()
    _print_line(errors.STOPPED)
    sys.exit(stop.args[0] if stop.args else 130)


def _tell_error(error):
    """Print what came of the samples so far, then the error; return the exit status."""
    work = _work()
    cases = error.cases
    if work.is_begun and not work.is_told:
        try:
            _tell(work.outcome)
        except errors.DatasetError as another:
            cases = [*another.cases, *cases]
    for case in cases:
        _print_line(f"Error: {case}")
    # A workbook that another run holds is nobody's mistake: the same command works later.
    return 1 if work.is_begun or error.code == "held" else 2


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


def tell(*lines: str) -> None:
    """Print lines of a summary to stdout."""
    for line in lines:
        click.echo(errors.printable(line))


def _options():
    return click.get_current_context().obj or RunOptions()


def _work():
    return click.get_current_context().meta[_WORK]


def for_each_sample(
    function: Callable,
    samples: Iterable,
    *args: object,
    size: Callable[..., float] | None = None,
    memory: Callable[..., float] | None = None,
    noun: str = "sample",
) -> calls.Outcome:
    """Call ``function(sample, *args)`` for all samples as the command line says.

    ``size`` and ``memory`` are those of `runner.run`, ``noun`` is what the summary calls a sample;
    a progress bar is shown where stderr is a terminal. The outcome is told even if the command
    fails later.
    """
    samples = list(samples)
    bound = functools.partial(_call_with, function, args)
    options, work = _options(), _work()
    with _progress(len(samples)) as step:
        work.outcome = runner.run(
            bound,
            samples,
            workers=options.workers,
            size=size,
            memory=memory,
            step=step,
            scheduler=options.scheduler,
        )
    work.outcome.noun = noun
    for folder in work.folders if work.outcome.dead_workers else ():
        files.sweep(folder)  # what they were writing; another one may have done it since
    return work.outcome


def sweep(*folders: Path) -> None:
    """Sweep the folders that the samples' files are written below, and again if workers die."""
    _work().folders = [*dict.fromkeys(folders)]
    for folder in _work().folders:
        files.sweep(folder)


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


def review_file(given: Path | None, root_dir: Path | None = None) -> Path | None:
    """Return the review that the run obeys: the given one, or that beside the data; None without.

    The record of the run names it. The data lie in `root_dir` where no option says so.
    """
    run = _work().run
    folder = provenance.folder({**run.parameters, **({"root_dir": root_dir} if root_dir else {})})
    path = given or (folder and review.find(folder))
    if path:
        run.review = {"file": path, "sha256": review.sha256(path)}
    return path


def hold(folder: files.PathLike) -> None:
    """Make a folder that results of the whole run go to, and hold it until the command ends.

    Another run that has it is waited for, up to `holding.PATIENCE_S`; then a DatasetError.
    """
    files.make_dir(folder)
    click.get_current_context().with_resource(holding.folder(folder, is_waited_for=True))


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


def print_note(name: str, *messages: str) -> None:
    """Print to stderr what holds for every healthy archive, and needs nobody's attention."""
    for message in messages:
        _print_line(f"note {name}: {message}")


def finish(
    outcome: calls.Outcome, *lines: str, after: Iterable[str] = (), faults: Sequence[str] = ()
) -> NoReturn:
    """Print warnings, failures and the summary, write the failures file, and exit.

    ``lines`` are what the routine has to say before the counts, ``after`` what it says after them,
    ``faults`` on stderr what it found though all was done. Exit status 0 when nothing failed and
    there are no such faults, else 1. Counts and failures go into the provenance, too.
    """
    for fault in faults:
        _print_line(fault)
    _tell(outcome, *lines, after=after)
    sys.exit(1 if outcome.failures or faults else 0)


def _tell(outcome, *lines, after=()):
    options, work = _options(), _work()
    work.outcome, work.is_told = outcome, True
    work.run.counts = {key: getattr(outcome, key) for key in ("done", "skipped", "failed")}
    work.run.failures = [(name, error.code) for name, error in outcome.failures]
    for name, message in outcome.notes:
        print_note(name, message)
    for name, message in outcome.warnings:
        print_warning(name, message)
    for name, error in outcome.failures:
        _print_line(f"FAILED {name}: {error}")
    if not options.quiet:
        n_done, n_skipped = outcome.done, outcome.skipped
        counts = f"{n_done} done, {n_skipped} skipped as finished, {outcome.failed} failed"
        tell(*lines, f"{outcome.noun}s: {counts}", *after)
    if options.failures_file is not None:
        files.put(options.failures_file.resolve(), _failure_lines(outcome.failures))


def _check_failures_file(path, given):
    """Refuse a failures file that cannot be written, or would replace another kind of file.

    Before the work, not after it.
    """
    if path is None:
        return
    others = {name: given[name] for name in given if name != "failures_file"}
    for name, other in others.items():
        if isinstance(other, Path) and os.path.realpath(other) == os.path.realpath(path):
            _refuse_failures_file(path, f"would replace --{name}; expected a file of its own")
    if os.path.exists(path) and not _holds_failures(path):
        expected = "expected a failures file of an earlier run, or a new name"
        _refuse_failures_file(path, f"would replace a file that holds no failures; {expected}")
    target = path.resolve()  # where it is a link, the link stays
    files.make_dir(target.parent)
    files.check_place(target)


def _refuse_failures_file(path, reason):
    raise errors.DatasetError(f"--failures_file {path} {reason}", file=path, code="name")


def _holds_failures(path):
    """Whether every line is one of ours; an empty file had no failures to hold."""
    with files.opened(path) as handle:
        for number in range(3):  # /dev/stdout may be an empty file: the summary goes there
            if os.path.samestat(os.fstat(handle.fileno()), os.fstat(number)):
                return False
        return all(map(_is_failure, iter(lambda: handle.readline(_LONGEST_FAILURE), b"")))


def _is_failure(line):
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= _FAILURE_KEYS


def _failure_lines(failures):
    lines = []
    for name, error in failures:
        details = {key: getattr(error, key) for key in ("file", "code", "expected", "found")}
        entry = {"sample": name, **details, "reason": str(error)}
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return "".join(lines).encode("utf-8", "replace")

"""What all scripts share on the command line: options, exit status, the closing report."""

import contextlib
import dataclasses
import functools
import inspect
import json
import math
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import click

from utils import errors
from utils.running import calls, provenance, runner
from utils.storage import files

# Joins the values of one group into one token for click; no shell can type it by accident.
_JOINT = "\x1f"
_RUN = "run"  # key of the provenance.Run in the context


class _ExistingPath(click.ParamType):
    """A path that must exist; a wrong one is named together with what may have been meant."""

    def __init__(self, name, is_right):
        self.name = name
        self._is_right = is_right

    def convert(self, value, param, ctx):
        path = _path(value, self, param, ctx)
        if self._is_right(path):
            return path
        if os.path.exists(path):
            self.fail(f"{path} is not a {self.name}.", param, ctx)
        self.fail(
            f"no such {self.name}: {path} (nearest that exists: {files.nearest_existing(path)})",
            param,
            ctx,
        )


class _OutputFile(click.ParamType):
    """A file to write; its folder is made by the routine."""

    name = "file"

    def __init__(self, suffix=None):
        self._suffix = suffix

    def convert(self, value, param, ctx):
        path = _path(value, self, param, ctx)
        if os.path.isdir(path):
            self.fail(f"{path} is a folder.", param, ctx)
        if self._suffix and path.suffix != self._suffix:
            self.fail(f"{path} should end in {self._suffix}.", param, ctx)
        return path


class _OutputDir(click.ParamType):
    name = "directory"

    def convert(self, value, param, ctx):
        path = _path(value, self, param, ctx)
        # A link to nothing, or to itself, is no folder and no place for one.
        if os.path.lexists(path) and not os.path.isdir(path):
            self.fail(f"{path} is not a directory.", param, ctx)
        return path


def _path(value, kind, param, ctx):
    if not str(value):  # an unset shell variable; pathlib would take the current folder
        kind.fail("the path is empty.", param, ctx)
    return Path(value)


class _Group(click.ParamType):
    name = "text ..."

    def convert(self, value, param, ctx):
        return value if isinstance(value, tuple) else tuple(value.split(_JOINT))


class _Range(click.FloatRange):
    """A number between bounds; click's own range lets NaN through."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


# os.path, not Path: a name that is too long or may not be looked at is simply not there.
FILE = _ExistingPath("file", os.path.isfile)
DIRECTORY = _ExistingPath("directory", os.path.isdir)
OUTPUT_FILE = _OutputFile()
OUTPUT_WORKBOOK = _OutputFile(".xlsx")
OUTPUT_DIR = _OutputDir()
NOT_NEGATIVE = _Range(min=0)
RATIO = _Range(min=0, max=1)


class GroupOption(click.Option):
    """An option that takes all words up to the next option, and may be repeated.

    ``--subsets train val --subsets test`` gives ``(("train", "val"), ("test",))``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, type=_Group(), multiple=True, **kwargs)


class _Command(click.Command):
    """A click command that knows `GroupOption`."""

    def parse_args(self, ctx, args):
        names = {
            name for param in self.params if isinstance(param, GroupOption) for name in param.opts
        }
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
        if not group:  # click would take the next option's name for the value
            raise click.BadOptionUsage(name, f"Option {name!r} requires an argument.")
        yield from (name, _JOINT.join(group))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The options of every routine that opens images."""

    workers: int = 1
    overwrite: bool = False
    quiet: bool = False
    failures_file: Path | None = None
    scheduler: str | None = None


def _available_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _run_options():
    return [
        click.Option(
            ["--workers"],
            type=click.IntRange(min=1),
            default=_available_cores,
            show_default="all cores",
            metavar="N",
            help="Number of processes; the results do not depend on it.",
        ),
        click.Option(
            ["--overwrite"],
            is_flag=True,
            show_default="off",
            help="Do everything again, also what is finished or was changed by hand.",
        ),
        click.Option(
            ["--quiet"],
            is_flag=True,
            show_default="off",
            help="No progress bar and no summary; failures are still named.",
        ),
        click.Option(
            ["--failures_file"],
            type=OUTPUT_FILE,
            metavar="PATH",
            show_default="none",
            help="Write the failures here, too, as JSON lines.",
        ),
        click.Option(
            ["--scheduler"],
            metavar="ADDRESS",
            show_default="none",
            help="Work on the Dask cluster of this scheduler instead of --workers "
            "processes here; needs requirements-cluster.txt.",
        ),
    ]


root_dir_option = click.option(
    "--root_dir", required=True, type=DIRECTORY, metavar="DIR", help="Folder with the data."
)

output_manifest_option = click.option(
    "--output_manifest_file",
    required=True,
    type=OUTPUT_WORKBOOK,
    metavar="XLSX",
    help="Workbook to write; its folder is made.",
)
check_content_option = click.option(
    "--check_content",
    is_flag=True,
    show_default="off",
    help="Decode every file to its end, not only its header.",
)
label_map_option = click.option(
    "--label_explanation",
    required=True,
    type=FILE,
    metavar="YAML",
    help="label_map.yaml: which label has which name.",
)
tolerance_option = click.option(
    "--tolerance_mm",
    type=NOT_NEGATIVE,
    default=1e-3,
    metavar="MM",
    help="Affine, spacing and origin of a sample's files may differ by this, mm.",
)
manifest_file_option = click.option(
    "--manifest_file",
    required=True,
    type=FILE,
    metavar="XLSX",
    help="Dataset manifest, one row per sample.",
)


def new_split_option(**more):
    """Make the option that names a split to add: required, or with a default."""
    return click.option(
        "--split_name", metavar="NAME", **more, help="Name of the worksheet and of its last column."
    )


_PAIR_OPTIONS = (
    click.option(
        "--output_dir",
        required=True,
        type=OUTPUT_DIR,
        metavar="DIR",
        help="Folder of the grouped tree to put the samples in; made where missing.",
    ),
    click.option(
        "--archive_manifest",
        required=True,
        type=FILE,
        metavar="XLSX",
        help="Workbook of routine 01; it says which files, subsets and metadata.",
    ),
)


def pair_options(function):
    """Add the options that all routines 02 have besides --root_dir."""
    return _with_options(function, _PAIR_OPTIONS)


_INDEX_OPTIONS = (
    click.option(
        "--split_name", required=True, metavar="NAME", help="Name of the split's worksheet in it."
    ),
    click.option(
        "--output_index_manifest_dir",
        required=True,
        type=OUTPUT_DIR,
        metavar="DIR",
        help="Folder of the index manifests; made if it is missing.",
    ),
    click.option(
        "--subsets",
        required=True,
        cls=GroupOption,
        metavar="SUBSET...",
        help="Subsets of one index manifest; repeat the option for more.",
    ),
)


def index_options(function):
    """Add the options of the routines that cut index manifests, besides --manifest_file."""
    return _with_options(function, _INDEX_OPTIONS)


_EXPORT_OPTIONS = (
    manifest_file_option,
    click.option(
        "--split_name", required=True, metavar="NAME", help="Worksheet of the split in it."
    ),
    click.option(
        "--root_dir",
        type=DIRECTORY,
        metavar="DIR",
        show_default="found",
        help="Folder that the paths in the manifest are relative to.",
    ),
)


def export_options(function):
    """Add the options that say which samples an export is made of."""
    return _with_options(function, _EXPORT_OPTIONS)


def _with_options(function, options):
    for option in reversed(options):
        function = option(function)
    return function


def made_up_options(shape, shortest: int, longest: int):
    """Make the decorator that adds the options of the sample archives' generators.

    Parameters
    ----------
    shape : (3,) int
        Voxels of a scan unless the user says so.
    shortest, longest : int
        Least and most voxels along an axis.
    """
    options = (
        click.option(
            "--root_dir", required=True, type=OUTPUT_DIR, metavar="DIR", help="Folder to write to."
        ),
        click.option(
            "--shape",
            type=(click.IntRange(shortest, longest),) * 3,
            metavar="X Y Z",
            default=shape,
            help="Voxels of every scan; the field of view stays the same.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            help="Another number makes other people.",
        ),
    )
    return functools.partial(_with_options, options=options)


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
            if options.scheduler:  # its workers have other working directories
                given = {
                    name: value.absolute() if isinstance(value, Path) else value
                    for name, value in given.items()
                }
            click.get_current_context().obj = options
            with _printed_warnings(), _recorded(function, given), _stopped_in_one_line():
                _check_failures_file(options.failures_file, given)
                return function(
                    **{name: given[name] for name in given if name in wanted or name not in names}
                )

        command = click.command(
            cls=_Command,
            help=doc,
            context_settings={
                "help_option_names": ["-h", "--help"],
                "show_default": True,
                "max_content_width": 100,
            },
        )(wrapped)
        command.params += _run_options() if images else []
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
    previous = _raise_on_sigterm()
    try:
        yield
    except errors.DatasetError as error:
        for case in error.cases:
            click.echo(f"Error: {errors.printable(case)}", err=True)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        click.echo("Stopped; no file is half written. The same command continues.", err=True)
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
            _print_above_bar(f"WARNING: {message}")
            return
        is_of_samples = isinstance(message, calls.LibraryWarning)
        text = message.text if is_of_samples else calls.text_of(message)
        if text not in noted:
            noted.add(text)
            _print_above_bar(f"note {message}" if is_of_samples else f"note: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", errors.DataWarning)
        warnings.showwarning = show
        yield


def _print_above_bar(text):
    """Print a line to stderr; a progress bar there makes room for it."""
    tqdm = sys.modules.get("tqdm")
    with tqdm.tqdm.external_write_mode(sys.stderr) if tqdm else contextlib.nullcontext():
        click.echo(errors.printable(text), err=True)


def _raise_on_sigterm():
    def stop(signal_number, frame):
        raise KeyboardInterrupt(128 + signal_number)

    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGTERM, stop)
    return None


def _options():
    return click.get_current_context().obj or RunOptions()


def for_each_sample(function, samples, *args, size=None, memory=None) -> calls.Outcome:
    """Call ``function(sample, *args)`` for all samples as the command line says.

    Parameters are those of `runner.run`; a progress bar is shown where stderr is a terminal.

    Returns
    -------
    calls.Outcome
    """
    samples = list(samples)
    function = _Bound(function, args)
    options = _options()
    run = functools.partial(
        runner.run,
        function,
        samples,
        workers=options.workers,
        size=size,
        memory=memory,
        scheduler=options.scheduler,
    )
    if options.quiet or not sys.stderr.isatty():
        return run()
    import tqdm

    tqdm.tqdm.monitor_interval = 0  # its thread must not live while workers are forked
    with tqdm.tqdm(total=len(samples), unit="sample", dynamic_ncols=True) as bar:

        def step(n_failed):
            bar.update()
            if n_failed:
                bar.set_postfix_str(f"{n_failed} failed")

        return run(step=step)


@dataclasses.dataclass(frozen=True)
class _Bound:
    """``function(sample, *args)`` as a picklable function of the sample."""

    function: object
    args: tuple

    def __call__(self, sample):
        return self.function(sample, *self.args)


def spare_core() -> bool:
    """Tell whether a worker may use a helper thread: the workers leave a core free."""
    options = _options()
    return options.scheduler is None and options.workers < _available_cores()


def warn(name: str, message: str) -> None:
    """Print one warning, about a sample or the whole data set, to stderr."""
    click.echo(errors.printable(f"WARNING {name}: {message}"), err=True)


def finish(outcome: calls.Outcome, *lines: str, noun: str = "sample") -> None:
    """Print warnings, failures and the summary, write the failures file, and exit.

    Parameters
    ----------
    outcome : calls.Outcome
        What came of the samples.
    *lines : str
        What the routine has to tell besides the counts.
    noun : str
        What was counted.

    Notes
    -----
    Exit status 0 when nothing failed, else 1. Counts and failures go into the provenance, too.
    """
    options = _options()
    run = click.get_current_context().meta[_RUN]
    run.counts = {key: getattr(outcome, key) for key in ("done", "skipped", "failed")}
    run.failures = [(name, error.code) for name, error in outcome.failures]
    for name, message in outcome.warnings:
        warn(name, message)
    for name, error in outcome.failures:
        click.echo(errors.printable(f"FAILED {name}: {error}"), err=True)
    if options.failures_file is not None:
        _write_failures(options.failures_file, outcome.failures)
    if not options.quiet:
        for line in lines:
            click.echo(line)
        click.echo(
            f"{noun}s: {outcome.done} done, {outcome.skipped} skipped as finished, "
            f"{outcome.failed} failed"
        )
    sys.exit(1 if outcome.failures else 0)


def _check_failures_file(path, given):
    """Refuse a failures file that cannot be written: before the work, not after it."""
    if path is None:
        return
    for name, value in given.items():
        if (
            name != "failures_file"
            and isinstance(value, Path)
            and os.path.realpath(value) == os.path.realpath(path)
        ):
            raise errors.DatasetError(
                f"--failures_file {path} would replace --{name}; expected a file of its own",
                file=path,
                code="name",
            )
    files.make_dir(path.parent)
    with files.Pending(path):
        pass


def _write_failures(path, failures):
    files.make_dir(path.parent)
    with files.whole(path) as handle:
        for name, error in failures:
            entry = {
                "sample": name,
                "file": error.file,
                "code": error.code,
                "expected": error.expected,
                "found": error.found,
                "reason": str(error),
            }
            handle.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "replace"))

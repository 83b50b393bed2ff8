"""Options that several scripts have, the kinds of values they take, and options of many words."""

import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from utils.storage import files, zips

# Joins the values of one group into one token for click; no shell can type it by accident.
_JOINT = "\x1f"


class _Path(click.ParamType):
    """A path; ``fault`` gives what is wrong with one, or None."""

    def __init__(self, name, metavar, fault):
        self.name = name
        self._metavar = metavar
        self._fault = fault

    def get_metavar(self, param, ctx=None):
        return self._metavar

    def convert(self, value, param, ctx):
        if not str(value):  # an unset shell variable; pathlib would take the current folder
            self.fail("the path is empty.", param, ctx)
        fault = self._fault(Path(value))
        if fault:
            self.fail(fault, param, ctx)
        return Path(value)


# os.path, not Path: a name that is too long or may not be looked at is simply not there.
def _input_fault(path, kind, is_right):
    if is_right(path):
        return None
    if os.path.exists(path):
        place = f" but a zip file; give the one that it lies in ({path.absolute().parent})"
        is_packed = kind == "directory" and zips.is_named_zip(path)
        return f"{path} is not a {kind}{place if is_packed else ''}."
    if os.path.islink(path):
        return f"{path} is a link to a {kind} that is not there: {os.path.realpath(path)}"
    return f"no such {kind}: {path} (nearest that exists: {files.nearest_existing(path)})"


def _output_file_fault(path, suffix=None):
    if os.path.isdir(path):
        return f"{path} is a folder."
    if os.path.lexists(path) and not os.path.isfile(path):
        return f"{path} is no file (a pipe, a device, or a link to nothing)."
    return f"{path} should end in {suffix}." if suffix and path.suffix != suffix else None


def _output_dir_fault(path):
    # A link to nothing, or to itself, is no folder and no place for one.
    is_other = os.path.lexists(path) and not os.path.isdir(path)
    return f"{path} is not a directory." if is_other else None


_file_fault = functools.partial(_input_fault, kind="file", is_right=files.is_file)
_workbook_fault = functools.partial(_input_fault, kind="file", is_right=os.path.isfile)
_dir_fault = functools.partial(_input_fault, kind="directory", is_right=os.path.isdir)
_output_workbook_fault = functools.partial(_output_file_fault, suffix=".xlsx")


class _Dataset(_Path):
    """The page of a data set, or the word for the one besides AMOS22 that has none."""

    def convert(self, value, param, ctx):
        return NME if str(value).lower() == NME else super().convert(value, param, ctx)


NME = "nme"
FILE = _Path("file", "PATH", _file_fault)
WORKBOOK = _Path("file", "XLSX", _workbook_fault)
DIRECTORY = _Path("directory", "DIR", _dir_fault)
OUTPUT_FILE = _Path("file", "PATH", _output_file_fault)
OUTPUT_JSON = _Path("file", "JSON", _output_file_fault)
OUTPUT_WORKBOOK = _Path("file", "XLSX", _output_workbook_fault)
OUTPUT_DIR = _Path("directory", "DIR", _output_dir_fault)
TEXT = click.STRING
WHOLE = click.INT


def whole(first: int, last: int | None = None) -> click.ParamType:
    """Whole numbers from the first to the last one."""
    return click.IntRange(first, last)


COUNT = whole(0)


class _Address(click.ParamType):
    """Where a Dask scheduler listens; a malformed one would be tried until a timeout."""

    name = "address"
    _FORM = re.compile(
        r"(?:(?:tcp|tls|ucx|ws|wss)://)?(?:[^\s/:\[\]]+|\[[^\s/\[\]]+\]):([0-9]{1,5})"
    )

    def convert(self, value, param, ctx):
        found = self._FORM.fullmatch(value)
        if not found or not 0 < int(found[1]) < 1 << 16:
            self.fail(
                f"{value!r} found, expected an address such as tcp://10.0.0.1:8786.", param, ctx
            )
        return value


class _Range(click.FloatRange):
    """A number between bounds; click's own range lets NaN through."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class _Group(click.ParamType):
    name = "text ..."

    def convert(self, value, param, ctx):
        return value if isinstance(value, tuple) else tuple(value.split(_JOINT))


class GroupOption(click.Option):
    """An option that takes all words up to the next option, and may be repeated.

    ``--subsets train val --subsets test`` gives ``(("train", "val"), ("test",))``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, type=_Group(), multiple=True, **kwargs)


class GroupCommand(click.Command):
    """A click command that knows `GroupOption`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the words of each group before click sees them."""
        options = (param for param in self.params if isinstance(param, GroupOption))
        names = {name for option in options for name in option.opts}
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


def refuse(reason: str) -> NoReturn:
    """End the command, in the callback of an option whose value is wrong."""
    raise click.BadParameter(reason)


# ---- makers of options


def required(name: str, kind: click.ParamType, text: str, **more: Any) -> Callable:
    """Make an option that must be given; ``text`` is its help."""
    return click.option(name, required=True, type=kind, help=text, **more)


def optional(
    name: str, kind: click.ParamType | tuple[click.ParamType, ...], text: str, **more: Any
) -> Callable:
    """Make an option that need not be given; without a default it is None then."""
    return click.option(name, type=kind, help=text, **more)


def with_default(
    name: str,
    kind: click.ParamType | tuple[click.ParamType, ...],
    default: object,
    text: str,
    **more: Any,
) -> Callable:
    """Make an option with a default."""
    return optional(name, kind, text, default=default, **more)


def choice(name: str, words: Sequence[str], default: str, text: str) -> Callable:
    """Make an option that takes one of these words."""
    return with_default(name, click.Choice(words), default, text)


def flag(name: str, text: str) -> Callable:
    """Make an option without a value."""
    return click.option(name, is_flag=True, show_default="off", help=text)


def group(name: str, metavar: str, text: str, **more: Any) -> Callable:
    """Make a `GroupOption`, by default a required one."""
    more = {"required": True, **more}
    return click.option(name, cls=GroupOption, metavar=f"{metavar}...", help=text, **more)


def words(name: str, metavar: str, text: str, **more: Any) -> Callable:
    """Make a `group` whose words are one list, however often the option stands there."""

    def join(context, option, groups):
        return [*itertools.chain(*groups)]

    return group(name, metavar, text, callback=join, **more)


def threshold(name: str, default: float, text: str, unit: str) -> Callable:
    """Make an option for a number from 0 on; its unit ends the help."""
    metavar = unit.replace("^", "").upper()
    return with_default(name, _Range(min=0), default, f"{text}, {unit}.", metavar=metavar)


def share(name: str, default: float, text: str) -> Callable:
    """Make an option for a number from 0 to 1."""
    return with_default(name, _Range(0, 1), default, f"{text}, 0 to 1.", metavar="SHARE")


def random_seed(text: str) -> Callable:
    """Make the option --random_seed; the text says what another seed gives."""
    return with_default("--random_seed", WHOLE, 0, f"Whole number; {text}.", metavar="N")


def output_dir(text: str) -> Callable:
    """Make the option --output_dir."""
    return required("--output_dir", OUTPUT_DIR, text)


def output_workbook(name: str) -> Callable:
    """Make the option that names the workbook to write."""
    return required(name, OUTPUT_WORKBOOK, "Workbook to write; its folder is made.")


def new_split(**more: Any) -> Callable:
    """Make the option that names a split to add: required, or with a default."""
    text = "Name of the worksheet and of its last column."
    return click.option("--split_name", metavar="NAME", help=text, **more)


def together(*options: Callable) -> Callable:
    """Make one decorator of several options; the help shows them in this order."""

    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


# ---- the catalogue

root_dir = required("--root_dir", DIRECTORY, "Folder with the data.")
output_manifest_file = output_workbook("--output_manifest_file")
check_content = flag("--check_content", "Decode every file to its end, not only its header.")
manifest_file = required("--manifest_file", WORKBOOK, "Dataset manifest, one row per sample.")
label_explanation = required(
    "--label_explanation", FILE, "label_map.yaml: which label has which name.", metavar="YAML"
)
_PAGE = "Page that describes the data set, dataset.yaml"
dataset_page = required("--dataset", FILE, f"{_PAGE}.", metavar="PAGE")
# Of what takes every data set alike.
any_dataset = optional(
    "--dataset",
    _Dataset("file", "PAGE", _file_fault),
    f"{_PAGE}; or {NME}, which has none.",
    show_default="AMOS22",
)
dataset_name = optional(
    "--dataset_name",
    TEXT,
    "Name of the data set in what is written.",
    metavar="NAME",
    show_default="that of --dataset",
)
_TOLERANCE = "Affine, spacing and origin of a sample's files may differ by this"
tolerance_mm = threshold("--tolerance_mm", 1e-3, _TOLERANCE, "mm")

# Of all routines that leave out what people excluded.
review = optional(
    "--review",
    FILE,
    "The review: decisions on single samples, of which the excluded ones are left out.",
    metavar="CSV",
    show_default="descriptor/review.csv beside the data",
)

# Besides --root_dir, of all routines that pair volumes and masks.
pairing = together(
    output_dir("Folder of the grouped tree to put the samples in; made where missing."),
    required(
        "--archive_manifest",
        WORKBOOK,
        "Workbook of routine 01; it says which files, subsets and metadata.",
    ),
    with_default(
        "--misfit",
        click.Choice(["fail", "volume"]),
        "fail",
        "A mask that lies more than half a voxel off its volume fails, or its voxels are taken as "
        "they lie, in the volume's geometry.",
    ),
)

# Besides --manifest_file, of the routines that cut index manifests.
index = together(
    required("--split_name", click.STRING, "Name of the split's worksheet in it.", metavar="NAME"),
    required(
        "--output_index_manifest_dir",
        OUTPUT_DIR,
        "Folder of the index manifests; made if it is missing.",
    ),
    group("--subsets", "SUBSET", "Subsets of one index manifest; repeat the option for more."),
)

data_root = optional(
    "--root_dir",
    DIRECTORY,
    "Folder that the paths in the manifest are relative to.",
    show_default="found",
)

# Which samples an export is made of.
export = together(
    manifest_file,
    required("--split_name", click.STRING, "Worksheet of the split in it.", metavar="NAME"),
    data_root,
)


def sample_archive(shape: tuple[int, int, int], shortest: int, longest: int) -> Callable:
    """Make the options of the generators of sample archives.

    ``shape`` is the default in voxels, between ``shortest`` and ``longest`` along each axis.
    """
    kind = click.Tuple([click.IntRange(shortest, longest)] * 3)
    text = "Voxels of every scan; the field of view stays the same."
    return together(
        required("--root_dir", OUTPUT_DIR, "Folder to write to."),
        with_default("--shape", kind, shape, text, metavar="X Y Z"),
        with_default("--seed", COUNT, 0, "Another number makes other people."),
    )


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Of all routines that open images.
RUN = (
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=available_cores,
        show_default="all cores",
        metavar="N",
        help="Number of processes; the results do not depend on it.",
    ),
    flag("--overwrite", "Do everything again, also what is finished or was changed by hand."),
    flag("--quiet", "No progress bar and no summary; failures are still named."),
    click.option(
        "--failures_file",
        type=OUTPUT_FILE,
        show_default="none",
        help="Write the failures here, too, as JSON lines.",
    ),
    optional(
        "--scheduler",
        _Address(),
        "Work on the Dask cluster of this scheduler instead of --workers processes here; "
        "needs requirements-cluster.txt.",
        metavar="ADDRESS",
        show_default="none",
    ),
)

"""One line for every run of a routine, beside the data: script, options, counts, versions."""

import dataclasses
import datetime
import functools
import json
import os
import platform
import re
import sys
from pathlib import Path

from utils import errors

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER, FILE_NAME = "descriptor", "provenance.jsonl"
DATA_FOLDERS = ("archive", "grouped")
# Distributions whose version may change what is written.
LIBRARIES = (
    "click",
    "connected-components-3d",
    "isal",
    "matplotlib",
    "nibabel",
    "numpy",
    "openpyxl",
    "pandas",
    "PyYAML",
    "scipy",
)
UNKNOWN = "unknown"
# Parameters whose files may lie anywhere.
_ELSEWHERE = ("failures_file", "dataset", "review")
_INSTALLED = ".dist-info"
_GIT_SECONDS = 5
# A sample's folder is named after the sex, too; the ID alone may be recorded.
_SEX_IN_NAME = re.compile(r"\b(amos_[0-9]{4})_[A-Z]+\b")


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


@dataclasses.dataclass
class Run:
    """One run of a routine.

    ``parameters`` are the values of its options, ``review`` path and SHA-256 of the review that it
    obeyed (empty without one), ``counts`` the samples done, skipped and failed (empty where nothing
    was counted), ``failures`` pairs of sample name and code of the fault.
    """

    script: str | Path
    parameters: dict[str, object]
    review: dict[str, object] = dataclasses.field(default_factory=dict)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    started: str = dataclasses.field(default_factory=_now)


def folder(parameters: dict[str, object]) -> Path | None:
    """Find where the line of a run belongs; None without any path among the parameters.

    It is ``descriptor`` beside the ``archive`` or ``grouped`` that a path is, is in or holds, else
    beside the output. ``root_dir`` is asked first, what begins with ``output`` last.
    """
    paths = {
        name: Path(os.path.abspath(value))
        for name, value in parameters.items()
        if isinstance(value, Path) and name not in _ELSEWHERE
    }
    ordered = sorted(paths, key=lambda name: (name != "root_dir", name.startswith("output"), name))
    for name in ordered:
        root = _data_root(paths[name])
        if root is not None:
            return root / FOLDER
    if not ordered:
        return None
    parent = paths[ordered[-1]].parent
    return parent if parent.name == FOLDER else parent / FOLDER


def _data_root(path):
    if any(os.path.isdir(path / name) for name in DATA_FOLDERS):
        return path
    for found in (path, *path.parents):
        # Far above the data, a folder may bear such a name for another reason.
        if found.name in DATA_FOLDERS and (found == path or os.path.isdir(found.parent / FOLDER)):
            return found.parent
    return None


def line(run: Run, root: Path, exit_status: int) -> str:
    """Return the JSON text of a run, without line break; paths are relative to ``root``.

    Of patients it holds the IDs alone: no metadata, no messages, no sex in a folder's name.
    """
    script = Path(os.path.abspath(run.script))
    is_ours = REPOSITORY in script.parents
    content = {
        "routine": script.relative_to(REPOSITORY).as_posix() if is_ours else script.name,
        "version": version(),
        "started": run.started,
        "ended": _now(),
        "exit_status": exit_status,
        "parameters": _plain_values(run.parameters, root),
        **({"review": _plain_values(run.review, root)} if run.review else {}),
        "counts": run.counts,
        "failures": [{"sample": name, "code": code} for name, code in run.failures],
        "python": platform.python_version(),
        "libraries": library_versions(),
    }
    return _SEX_IN_NAME.sub(r"\1", json.dumps(content))


def _plain_values(named, root):
    return {name: _plain(value, root) for name, value in named.items()}


def _plain(value, root):
    if isinstance(value, Path):
        return Path(os.path.relpath(value, root)).as_posix()
    if isinstance(value, (tuple, list)):
        return [_plain(item, root) for item in value]
    if isinstance(value, (set, frozenset)):
        return [_plain(item, root) for item in sorted(value)]
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def version() -> str:
    """Return the commit of this repository, ``-dirty`` behind it where files differ from it.

    ``unknown`` without a repository or without git.
    """
    import subprocess

    if not (REPOSITORY / ".git").exists():  # git would take a repository further up
        return UNKNOWN
    # Data and code on a shared disk often belong to somebody else, which git refuses by itself.
    place = ["-C", str(REPOSITORY), "-c", f"safe.directory={REPOSITORY}"]
    words = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    null = subprocess.DEVNULL
    run = functools.partial(subprocess.check_output, text=True, stdin=null, stderr=null, env=env)
    try:
        return run(["git", *place, *words], timeout=_GIT_SECONDS).strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def library_versions() -> dict[str, str]:
    """Return the versions of the installed `LIBRARIES`."""
    # importlib.metadata knows them, too, but would take a fifth of a short routine's time.
    found = {}
    for place in filter(os.path.isdir, reversed(sys.path)):  # the first one wins, as in imports
        for entry in os.listdir(place):
            name, _, number = entry.removesuffix(_INSTALLED).partition("-")
            if entry.endswith(_INSTALLED):
                found[name.lower()] = number
    keys = {name: name.lower().replace("-", "_") for name in LIBRARIES}
    return {name: found[key] for name, key in keys.items() if key in found}


def add(run: Run, exit_status: int) -> None:
    """Append a run to the file of its data; warn where that is not possible.

    Several routines may end at once: every line is one write to the end of the file. A line that a
    crash cut off stays, on a line of its own.
    """
    directory = folder(run.parameters)
    if directory is None:
        return
    path = directory / FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _append(path, (line(run, directory.parent, exit_status) + "\n").encode("ascii"))
    except OSError as error:
        errors.warn(f"{path}: this run is not recorded: {error.strerror or error}")


def _append(path, text):
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            text = text if os.read(descriptor, 1) == b"\n" else b"\n" + text
        os.write(descriptor, text)
    finally:
        os.close(descriptor)

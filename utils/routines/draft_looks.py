"""What the files of an archive that nobody has described yet hold, as far as a draft needs it."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.running import calls
from utils.storage import csv_tables, files, forms, nifti

# So many masks are decoded in full, and so many volumes.
N_MASKS, N_VOLUMES = 10, 3
# What has more different values is no mask: all organs of TotalSegmentator are 117.
_MOST_LABELS = 130
# Air, in Hounsfield units, and what no MRI has.
_LOWEST_OF_CT = -500
_LARGEST_JSON = 1 << 26
_SEPARATORS = ",;\t"


@dataclasses.dataclass(frozen=True)
class Values:
    """The voxels of a file: the lowest value, and whether they may be labels."""

    lowest: float
    may_be_labels: bool

    @property
    def is_ct(self) -> bool:
        """Whether there is air as CT shows it."""
        return self.lowest <= _LOWEST_OF_CT


def some(paths: Sequence[str], count: int) -> list[str]:
    """Choose some of a list, evenly spread, the first among them."""
    step = max(len(paths) / count, 1)
    return [paths[int(index * step)] for index in range(min(count, len(paths)))]


def tried(function: Callable[[Path], Any], paths: Iterable[Path], faults: list[str]) -> dict:
    """Call a function for each path, {path: value}; what could not be read goes into `faults`."""
    made = {}
    for path in paths:
        reply = calls.call(function, path)
        if reply.error is None:
            made[path] = reply.value
        else:
            faults.append(str(reply.error))
    return made


def values(path: Path) -> Values:
    """Read a file to its end; DamagedFileError for a damaged one."""
    header = nifti.read_header(path)
    ends: np.ndarray = np.zeros(0)
    seen: np.ndarray = np.zeros(0)
    for chunk in nifti.voxel_chunks(header):
        finite = chunk[np.isfinite(chunk)]
        if finite.size:
            ends = np.append(ends, [finite.min(), finite.max()])
        if seen.size <= _MOST_LABELS:
            seen = np.union1d(seen, nifti.whole_numbers(chunk, header, nifti.Conversion()))
    lowest = float(np.min(ends * header.slope + header.inter)) if ends.size else np.nan
    is_whole = bool((seen == np.rint(seen)).all() and seen.min() >= 0 and seen.max() <= 255)
    return Values(lowest, is_whole and seen.size <= _MOST_LABELS)


def labels_of(path: Path) -> tuple[int, ...]:
    """Decode a mask and return its labels; DatasetError where it has none, or is damaged."""
    return tuple(np.flatnonzero(labels.counts(nifti.read_mask(path).data)).tolist())


def json_of(path: Path) -> dict:
    """Read a JSON file that holds a table; {} for any other."""
    if len(content := files.read_bytes(path)) > _LARGEST_JSON:
        return {}
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def names_of_json(content: dict) -> dict[int, str]:
    """Return the labels of a dataset.json: number to name, or as nnU-Net has it name to number."""
    found = content.get("labels")
    pairs = [(str(a), str(b)) for a, b in found.items()] if isinstance(found, dict) else []
    pairs = [(a, b) if a.isdecimal() else (b, a) for a, b in pairs]
    return {int(number): name for number, name in pairs if number.isdecimal() and len(number) < 4}


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV table: its columns, and the cells of each."""

    path: Path
    columns: dict[str, tuple[str, ...]]

    def key(self, seqs: Iterable[str]) -> tuple[str, int]:
        """Find the column that holds the most of these texts; return it, and how many."""
        wanted = {*seqs}
        found = [(len(wanted & {*cells}), name) for name, cells in self.columns.items()]
        count, name = max(found, key=lambda one: one[0], default=(0, ""))
        return name, count


def table_of(path: Path) -> Table:
    """Read a CSV table whose first line has the columns; DatasetError where it is no table."""
    start = files.read_bytes(path)[: 1 << 16].decode("utf-8-sig", "replace").lstrip("\r\n")
    line = start.partition("\n")[0].rstrip("\r")
    cut = [next(csv.reader([line], delimiter=separator), []) for separator in _SEPARATORS]
    most = max(cut, key=len)
    header = [name for name in map(forms.stripped, most) if name]
    if not header or len({*header}) < len(header):
        reason = f"{path}: no table whose first line names its columns"
        raise errors.DatasetError(reason, file=path, code="metadata")
    rows = csv_tables.read(path, header, "table").values()
    return Table(path, {name: tuple(row[name] for row in rows) for name in header})

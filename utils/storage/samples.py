"""Samples on disk: finding them, the paths inside one, its info file, the marks in its mask."""

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

from utils import errors

INFO_SUFFIX = "_info.yaml"
VOLUME_SUFFIX = "_volume.nii.gz"
MASK_SUFFIX = "_mask.nii.gz"
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BINARY_MASK = re.compile(r"_mask_([0-9]{2}|[1-9][0-9]{2})_(.+)\.nii\.gz")


@dataclasses.dataclass(frozen=True, order=True)
class Sample:
    """One scan with its directory.

    Parameters
    ----------
    stem : str
        What all its file names begin with: ``amos_0004``.
    directory : Path
    """

    stem: str
    directory: Path

    def __str__(self):
        return self.stem

    @property
    def info_path(self) -> Path:
        """``amos_0004_info.yaml``."""
        return self.directory / (self.stem + INFO_SUFFIX)

    @property
    def volume_path(self) -> Path:
        """``amos_0004_volume.nii.gz``."""
        return self.directory / (self.stem + VOLUME_SUFFIX)

    @property
    def mask_path(self) -> Path:
        """``amos_0004_mask.nii.gz``, the multi-label mask."""
        return self.directory / (self.stem + MASK_SUFFIX)

    @property
    def has_mask(self) -> bool:
        """Whether there is a multi-label mask; a link to nothing is one, that cannot be read."""
        return os.path.lexists(self.mask_path)

    def binary_mask_path(self, value: int, name: str) -> Path:
        """``amos_0004_mask_02_right_kidney.nii.gz`` for label 2 and name ``right_kidney``."""
        return self.directory / f"{self.stem}_mask_{value:02d}_{name}.nii.gz"

    def binary_mask_paths(self) -> dict[tuple[int, str], Path]:
        """All binary masks on disk, (label, name in the file name) to path, by label."""
        found = {}
        for entry in os.listdir(self.directory):
            match = entry.startswith(self.stem) and _BINARY_MASK.fullmatch(entry[len(self.stem) :])
            if match:
                found[int(match[1]), match[2]] = self.directory / entry
        return dict(sorted(found.items()))

    def foreign_files(self) -> list[str]:
        """Names of NIfTI files in the directory that are none of this sample's."""
        own = {self.volume_path.name, self.mask_path.name}
        own.update(path.name for path in self.binary_mask_paths().values())
        return sorted(
            name
            for name in os.listdir(self.directory)
            if name.endswith((".nii", ".nii.gz")) and name not in own and not name.startswith(".")
        )


def scan(root_dir) -> list[Sample]:
    """Find the samples below a folder; there may be none.

    Parameters
    ----------
    root_dir : path-like
        Any folder of the grouped tree; it may be missing.

    Returns
    -------
    list of Sample
        Sorted by stem. A directory is one when it holds an info file, volume or mask whose stem
        its own name starts with.

    Raises
    ------
    DatasetError
        A folder may not be looked into: its samples would vanish without a word.
    """
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root_dir, onerror=_not_listed, followlinks=True):
        if not os.access(folder, os.X_OK):  # its files would look as if they were missing
            raise _unseen(folder, "it may not be entered")
        place = os.path.realpath(folder)
        if place in seen:  # a link leads back here
            subfolders.clear()
            continue
        seen.add(place)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        stem = _stem(os.path.basename(os.path.abspath(folder)), names)
        if stem:
            found.append(Sample(stem, Path(folder)))
            subfolders.clear()
    return sorted(found)


def _not_listed(error):
    if not isinstance(error, FileNotFoundError):  # there is no tree yet
        raise _unseen(error.filename, error.strerror) from error


def _unseen(folder, reason):
    return errors.DatasetError(
        f"{folder}: the folder cannot be looked into, its samples are unknown: {reason}",
        file=folder,
        code="read",
    )


def find(root_dir) -> list[Sample]:
    """Find the samples below a folder, as `scan` does.

    Raises
    ------
    DatasetError
        There is none, or a folder may not be looked into.
    """
    found = scan(root_dir)
    if not found:
        raise errors.DatasetError(
            f"{root_dir}: no sample directory (with *{VOLUME_SUFFIX} or *{MASK_SUFFIX}) below it",
            file=root_dir,
        )
    return found


def find_annotated(root_dir) -> list[Sample]:
    """Find the samples that have a multi-label mask; the test subset has volumes only.

    Raises
    ------
    DatasetError
        There is none.
    """
    annotated = [sample for sample in find(root_dir) if sample.has_mask]
    if not annotated:
        raise errors.DatasetError(
            f"{root_dir}: no sample below it has a mask (*{MASK_SUFFIX})", file=root_dir
        )
    return annotated


def _stem(directory_name, names):
    for suffix in (INFO_SUFFIX, VOLUME_SUFFIX, MASK_SUFFIX):
        for name in names:
            stem = name[: -len(suffix)]
            if (
                name.endswith(suffix)
                and stem
                and not name.startswith(".")
                and f"{directory_name}_".startswith(f"{stem}_")
            ):
                return stem
    return None


def read_info(path) -> dict[str, str]:
    """Read an info file.

    Returns
    -------
    dict of str to str
        As written: all values are text.

    Raises
    ------
    DatasetError
        The file is missing or holds no such table.
    """
    import yaml

    try:
        # BaseLoader takes every scalar as text: a seq 0010 that lost its quotes is no octal 8.
        info = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except FileNotFoundError as error:
        raise errors.DatasetError(
            f"{path}: the info file is missing; routine 02 writes it", file=path, code="info"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise errors.DatasetError(
            f"{path}: no readable info file: {text}", file=path, code="info"
        ) from error
    if not isinstance(info, dict):
        raise errors.DatasetError(
            f"{path}: found no table of keys and values", file=path, code="info"
        )
    return {key: str(value) for key, value in info.items()}


def info_bytes(info: dict[str, str]) -> bytes:
    """Make the bytes of an info file; every value stands in quotes and so stays text.

    Parameters
    ----------
    info : dict of str to str
        Written in this order.
    """
    # A JSON string is a double-quoted YAML scalar, but for characters that YAML does not print.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in info.items())
    text = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", "".join(lines))
    return text.encode("utf-8")


def has_info(path, content: bytes) -> bool:
    """Tell whether an info file holds just these bytes."""
    with contextlib.suppress(OSError):
        return Path(path).read_bytes() == content
    return False


def no_key(path, key: str) -> errors.DatasetError:
    """Make the error for an info file that lacks a key."""
    return errors.DatasetError(f"{path}: {key} is missing", file=path, code="info", expected=key)


def mask_bytes(sample: Sample) -> int:
    """Bytes of a sample's multi-label mask on disk, to start with the largest."""
    with contextlib.suppress(OSError):
        return os.path.getsize(sample.mask_path)
    return 0

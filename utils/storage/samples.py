"""Samples on disk: finding them, the paths inside one, its info file, the marks in its mask."""

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

from utils import errors
from utils.storage import files, forms, label_map, yaml_files

INFO_SUFFIX = "_info.yaml"
VOLUME_SUFFIX = "_volume.nii.gz"
MASK_SUFFIX = "_mask.nii.gz"
_GROUPED = "grouped"
BEFORE_DENOISING = "before_denoising"  # a folder of masks as they were (see `kept_masks`)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BINARY_MASK = re.compile(r"_mask_([0-9]{2}|[1-9][0-9]{2})_(.+)\.nii\.gz")


@dataclasses.dataclass(frozen=True, order=True)
class Sample:
    """One scan with its directory; `stem` begins all its file names: ``amos_0004``."""

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
        """``amos_0004_mask_02_right_kidney.nii.gz`` for label 2 and name ``right kidney``."""
        return self.directory / f"{self.stem}_mask_{value:02d}_{label_map.file_form(name)}.nii.gz"

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


def grouped_tree(path: files.PathLike) -> Path | None:
    """Return the nearest folder ``grouped`` that a folder is or lies in; None without one."""
    path = Path(os.path.abspath(path))
    return next((folder for folder in (path, *path.parents) if folder.name == _GROUPED), None)


def scan(root_dir: files.PathLike) -> list[Sample]:
    """Find the samples below any folder of the grouped tree, sorted by stem.

    There may be none, or no such folder. A directory is one when it holds an info file, volume or
    mask whose stem its own name starts with. Masks kept `BEFORE_DENOISING` below the folder are no
    samples. DatasetError for a folder that may not be looked into: its samples would vanish without
    a word.
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
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name != BEFORE_DENOISING
        )
        stem = _stem(os.path.basename(os.path.abspath(folder)), names)
        if stem:
            found.append(Sample(stem, Path(folder)))
            subfolders.clear()
    return sorted(found)


def _not_listed(error):
    if not isinstance(error, FileNotFoundError):  # there is no tree yet
        raise _unseen(error.filename, error.strerror) from error


def _unseen(folder, reason):
    text = f"{folder}: the folder cannot be looked into, its samples are unknown: {reason}"
    return errors.DatasetError(text, file=folder, code="read")


def find(root_dir: files.PathLike) -> list[Sample]:
    """Find the samples below a folder, as `scan` does; DatasetError where there is none."""
    found = scan(root_dir)
    if not found:
        reason = f"no sample directory (with *{VOLUME_SUFFIX} or *{MASK_SUFFIX}) below it"
        meant = files.part_of_root(root_dir, _GROUPED)
        if meant and scan(meant):
            reason += f"; probably meant: {meant}"
        raise errors.DatasetError(f"{root_dir}: {reason}", file=root_dir)
    return found


def find_annotated(root_dir: files.PathLike) -> list[Sample]:
    """Find the samples that have a multi-label mask; DatasetError where there is none."""
    annotated = [sample for sample in find(root_dir) if sample.has_mask]
    if not annotated:
        reason = f"no sample below it has a mask (*{MASK_SUFFIX})"
        raise errors.DatasetError(f"{root_dir}: {reason}", file=root_dir)
    return annotated


def _stem(directory_name, names):
    visible = [name for name in names if not name.startswith(".")]
    for suffix in (INFO_SUFFIX, VOLUME_SUFFIX, MASK_SUFFIX):
        for stem in (name[: -len(suffix)] for name in visible if name.endswith(suffix)):
            if stem and f"{directory_name}_".startswith(f"{stem}_"):
                return stem
    return None


def read_info(path: files.PathLike) -> dict[str, str]:
    """Read an info file, its values in their forms (see `forms.plain`).

    DatasetError where it holds no such table, a key twice, or values that have no form.
    """
    if not os.path.lexists(path):
        raise _bad_info(path, "the info file is missing; routine 02 writes it")
    # All scalars are text: a seq 0010 that lost its quotes is no octal 8.
    info = yaml_files.read(path, code="info")
    if not isinstance(info, dict):
        raise _bad_info(path, "found no table of keys and values")
    plain, cases = {}, []
    for key, value in info.items():
        if not isinstance(value, str):
            reason = f"found a table or list as {key}, expected text"
            cases.append(_bad_info(path, reason, expected="text"))
        elif (form := forms.plain(key, value)) is None:
            cases.append(forms.fault(key, value, f"in {path}", file=path, code="info"))
        else:
            plain[key] = form
    if cases:
        raise errors.CasesError(cases)
    return plain


def info_of(sample: Sample) -> dict[str, str]:
    """Read a sample's info file; empty without one, as denoising leaves masks in another tree."""
    return read_info(sample.info_path) if os.path.lexists(sample.info_path) else {}


def no_key(path: files.PathLike, key: str) -> errors.DatasetError:
    """Make the error for an info file that lacks a key."""
    return _bad_info(path, f"{key} is missing", expected=key)


def _bad_info(path, reason, **sides):
    return errors.DatasetError(f"{path}: {reason}", file=path, code="info", **sides)


def info_bytes(info: dict[str, str]) -> bytes:
    """Make the bytes of an info file; every value stands in quotes and so stays text."""
    # A JSON string is a double-quoted YAML scalar, but for characters that YAML does not print.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in info.items())
    text = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", "".join(lines))
    return text.encode("utf-8")


def mask_bytes(sample: Sample) -> int:
    """Bytes of a sample's multi-label mask on disk, to start with the largest."""
    with contextlib.suppress(OSError):
        return os.path.getsize(sample.mask_path)
    return 0

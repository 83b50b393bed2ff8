"""The folder of a made-up archive: whose it is, what lies around in it, which scans are there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from utils import errors
from utils.running import calls
from utils.sample_data import scan_files
from utils.storage import files

MARKER_NAME = "sample_archive.json"
ARCHIVE_DIR, TRUTH_DIR = "archive", "truth"
_SHOWN_BYTES = 500  # of a marker, in messages
SHORTEST, LONGEST = 2, 768  # voxels along an axis; AMOS22's largest scan has 768


def begin(root_dir: files.PathLike, settings: dict) -> Path:
    """Take a folder for a sample archive, or go on with the one that is there.

    `settings` is what decides about the archive's bytes; it is noted in the folder. Returns the
    folder of the archive. DatasetError where `root_dir` holds an archive that was not made with
    these settings; nothing was written then.
    """
    root_dir = Path(root_dir)
    note = as_json(settings)
    _check_free(root_dir, note)
    files.put(root_dir / MARKER_NAME, note)
    for name in (ARCHIVE_DIR, TRUTH_DIR):
        files.sweep(root_dir / name)
    return root_dir / ARCHIVE_DIR


def _check_free(root_dir, note):
    marker_path = root_dir / MARKER_NAME
    if os.path.lexists(marker_path):
        content = files.read_bytes(marker_path)
        if content != note:
            found, expected = (
                errors.one_line(text[:_SHOWN_BYTES].decode("utf-8", "replace"))
                for text in (content, note)
            )
            reason = (
                f"{root_dir}: holds a sample archive with other settings; choose another folder or "
                f"remove this one (found {found}, expected {expected})"
            )
            raise errors.DatasetError(reason, file=marker_path, expected=expected, found=found)
        return
    for path in (root_dir / ARCHIVE_DIR, root_dir / TRUTH_DIR):
        if os.path.lexists(path):
            reason = f"exists, and is no sample archive ({MARKER_NAME} is missing beside it)"
            raise errors.DatasetError(f"{path}: {reason}; nothing is written there", file=path)


def as_json(content: dict) -> bytes:
    """Return the text of a JSON file."""
    return (json.dumps(content, indent=1) + "\n").encode("utf-8")


def put_clutter(archive_dir: Path, first: Path, second: Path) -> None:
    """Leave what file managers leave in archives that pass through them.

    `first` and `second` are files that somebody looked at, relative to the archive.
    """
    finder = b"\x00\x00\x00\x01Bud1" + bytes(6140)
    # An AppleDouble file: magic, version, filler, one entry (Finder info) of 32 bytes.
    double = (
        b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x01"
        b"\x00\x00\x00\x09\x00\x00\x00\x32\x00\x00\x00\x20" + bytes(32 + 12)
    )
    files.put(archive_dir / ".DS_Store", finder)
    files.put(archive_dir / first.with_name(".DS_Store"), finder)
    files.put(archive_dir / "__MACOSX" / first.with_name(f"._{first.name}"), double)
    files.put(archive_dir / second.with_name(f"._{second.name}"), double)


def write_sample(
    sample: scan_files.ScanStyle,
    make: Callable[[], scan_files.Scan],
    volumes: dict[Path, Callable],
    masks: dict[Path, Callable],
    overwrite: bool = False,
) -> scan_files.ScanStyle | calls.Finished:
    """Write the files of a sample, unless all are there and `overwrite` is not given.

    `make` makes the scan; `volumes` and `masks` say which of its slices go into a file. Returns
    the sample, as finished when nothing was to do. DatasetError where a file cannot be written.
    """
    if not overwrite and all(path.is_file() for path in (*volumes, *masks)):
        return calls.Finished(sample)
    made = make()
    images = [{path: slices(made) for path, slices in one.items()} for one in (volumes, masks)]
    scan_files.write_scan(made, *images)
    return sample

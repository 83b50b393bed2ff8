"""The folder of a made-up archive: whose it is, what lies around in it, which scans are there."""

import json
from collections.abc import Callable
from pathlib import Path

from utils import errors
from utils.running import calls
from utils.sample_data import scan_files
from utils.storage import files

MARKER_NAME = "sample_archive.json"
ARCHIVE_DIR, TRUTH_DIR = "archive", "truth"
SHORTEST, LONGEST = 2, 768  # voxels along an axis; AMOS22's largest scan has 768


def begin(root_dir, settings: dict) -> Path:
    """Take a folder for a sample archive, or go on with the one that is there.

    Parameters
    ----------
    root_dir : path-like
    settings : dict
        What decides about the archive's bytes; it is noted in the folder.

    Returns
    -------
    Path
        Folder of the archive.

    Raises
    ------
    DatasetError
        `root_dir` holds an archive that was not made with these settings; nothing was written.
    """
    root_dir = Path(root_dir)
    note = as_json(settings)
    _check_free(root_dir, note)
    files.make_dir(root_dir)
    put(root_dir / MARKER_NAME, note)
    for name in (ARCHIVE_DIR, TRUTH_DIR):
        files.sweep(root_dir / name)
    return root_dir / ARCHIVE_DIR


def _check_free(root_dir, note):
    marker_path = root_dir / MARKER_NAME
    if marker_path.is_file():
        found = marker_path.read_bytes()
        if found != note:
            raise errors.DatasetError(
                f"{root_dir}: holds a sample archive with other settings; choose another folder or "
                f"remove this one (found {_one_line(found)}, expected {_one_line(note)})",
                file=marker_path,
                expected=_one_line(note),
                found=_one_line(found),
            )
        return
    for name in (ARCHIVE_DIR, TRUTH_DIR):
        if (root_dir / name).exists():
            raise errors.DatasetError(
                f"{root_dir / name}: exists, and is no sample archive ({MARKER_NAME} is missing "
                "beside it); nothing is written there",
                file=root_dir / name,
            )


def _one_line(text):
    return " ".join(text.decode("utf-8", "replace").split())


def as_json(content) -> bytes:
    """Return the text of a JSON file."""
    return (json.dumps(content, indent=1) + "\n").encode("utf-8")


def put(path: Path, content: bytes) -> None:
    """Write a small file unless it is there already."""
    if path.is_file() and path.read_bytes() == content:
        return
    files.make_dir(path.parent)
    with files.whole(path) as handle:
        handle.write(content)


def put_clutter(archive_dir: Path, first: Path, second: Path) -> None:
    """Leave what file managers leave in archives that pass through them.

    Parameters
    ----------
    archive_dir : Path
    first, second : Path
        Two files of the archive, relative to it, that have been looked at.
    """
    finder = b"\x00\x00\x00\x01Bud1" + bytes(6140)
    # An AppleDouble file: magic, version, filler, one entry (Finder info) of 32 bytes.
    double = (
        b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x01"
        b"\x00\x00\x00\x09\x00\x00\x00\x32\x00\x00\x00\x20" + bytes(32 + 12)
    )
    put(archive_dir / ".DS_Store", finder)
    put(archive_dir / first.with_name(".DS_Store"), finder)
    put(archive_dir / "__MACOSX" / first.with_name(f"._{first.name}"), double)
    put(archive_dir / second.with_name(f"._{second.name}"), double)


def write_sample(
    sample: scan_files.Look, make: Callable, volumes: dict, masks: dict, overwrite: bool = False
):
    """Write the files of one sample.

    Parameters
    ----------
    sample : Look
    make : callable
        Makes the `scan_files.Scan`.
    volumes, masks : dict of Path to callable
        Which slices of the scan go into a file.
    overwrite : bool
        Write files again that are there.

    Returns
    -------
    Look or calls.Finished
        The sample; finished when all files were there.

    Raises
    ------
    DatasetError
        A file cannot be written.
    """
    if not overwrite and all(path.is_file() for path in (*volumes, *masks)):
        return calls.Finished(sample)
    made = make()
    scan_files.write_scan(
        made,
        *({path: slices(made) for path, slices in images.items()} for images in (volumes, masks)),
    )
    return sample

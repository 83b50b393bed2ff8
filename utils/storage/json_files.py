"""JSON files of our own making, and whether somebody has changed one since."""

import hashlib
import json
import os

from utils import errors
from utils.storage import files, holding

_CHECKSUM = "sha256"


def to_bytes(content: object) -> bytes:
    """Return a JSON file's bytes; keys stay in their order."""
    # A path that is no UTF-8 holds surrogates: escaped, JSON and Python give the path back.
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: dict) -> bytes:
    """Return the bytes of a JSON file that holds the checksum of its other entries."""
    return to_bytes({**content, _CHECKSUM: checksum(to_bytes(content))})


def unsealed(path: files.PathLike) -> dict | None:
    """Return the entries of a file that is, to the byte, as `sealed` made it; None of any other.

    DamagedFileError where there is no file, or none that can be read.
    """
    content = files.read_bytes(path)
    try:
        entries = json.loads(content)
        del entries[_CHECKSUM]
        return entries if sealed(entries) == content else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def changed(path: files.PathLike) -> errors.DatasetError:
    """Make the error of a file that is not replaced."""
    fault = "was changed by hand, or was not written here"
    advice = "move it away, or use --overwrite"
    return errors.DatasetError(f"{path}: {fault}; {advice}", file=path, code="changed")


def refuse_if_changed(path: files.PathLike, overwrite: bool = False) -> None:
    """Refuse, by a DatasetError, to replace a file that people changed, or that is not ours.

    Only looks, and not where it is to be replaced (`overwrite`): call it before long work.
    """
    # A link to nothing is not ours either.
    if os.path.lexists(path) and not overwrite:
        if not os.path.exists(path) or unsealed(path) is None:
            raise changed(path)


def write(path: files.PathLike, content: dict, overwrite: bool = False) -> bool:
    """Write these entries, `sealed`; False where the file had these bytes.

    Its folder is made. DatasetError as by `refuse_if_changed`.
    """
    files.make_dir(os.path.dirname(os.path.abspath(path)))
    with holding.file(path):
        refuse_if_changed(path, overwrite)
        return files.put(path, sealed(content))

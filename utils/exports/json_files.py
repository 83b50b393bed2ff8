"""JSON files as the exports write them, and whether somebody has changed one since."""

import hashlib
import json
from pathlib import Path

from utils import errors
from utils.storage import files

_CHECKSUM = "sha256"


def to_bytes(content: object) -> bytes:
    """Return a JSON file's bytes; keys stay in their order."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: dict) -> bytes:
    """Return the bytes of a JSON file that holds the checksum of its other entries."""
    return to_bytes({**content, _CHECKSUM: checksum(to_bytes(content))})


def was_changed(path: files.PathLike) -> bool:
    """Whether an existing file is not as `sealed` made it."""
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError:
        return True
    if not isinstance(content, dict):
        return True
    return content.pop(_CHECKSUM, None) != checksum(to_bytes(content))


def changed(path: files.PathLike) -> errors.DatasetError:
    """Make the error of a file that is not replaced."""
    fault = "was changed by hand, or was not written here"
    advice = "move it away, or use --overwrite"
    return errors.DatasetError(f"{path}: {fault}; {advice}", file=path, code="changed")

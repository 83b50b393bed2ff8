"""What a file is that bears the name of an image or zip and is none: told from its first bytes."""

import os
import re

from utils import errors

# As many bytes as `described` looks at.
N_BYTES = 1024
_AGAIN = "download it again"
# Where, what stands there, what that is and what to do.
_MAGIC = (
    (344, b"n+1\0", "a NIfTI image that is not compressed (.nii); compress it with gzip"),
    (4, b"n+2\0", "a NIfTI image that is not compressed (.nii); compress it with gzip"),
    (344, b"ni1\0", "the header of a NIfTI pair (.hdr and .img); convert it to one .nii.gz"),
    (4, b"ni2\0", "the header of a NIfTI pair (.hdr and .img); convert it to one .nii.gz"),
    (0, b"\x1f\x8b", "a gzip file; decompress it once"),
    (0, b"PK\x03\x04", "a zip archive; unpack it"),
    (0, b"PK\x05\x06", "an empty zip archive; " + _AGAIN),
    (257, b"ustar", "a tar archive; unpack it"),
    (0, b"Rar!", "a RAR archive; unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    (0, b"BZh", "a bzip2 file; decompress it and compress it with gzip"),
    (0, b"\xfd7zXZ\0", "an xz file; decompress it and compress it with gzip"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file; decompress it and compress it with gzip"),
    (128, b"DICM", "a DICOM file; convert it to NIfTI"),
    (0, b"NRRD0", "an NRRD image; convert it to NIfTI"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (MINC?); convert it to NIfTI"),
    (0, b"\x93NUMPY", "a NumPy array; convert it to NIfTI"),
    (0, b"\x89PNG", "a PNG picture; " + _AGAIN),
    (0, b"%PDF", "a PDF document; " + _AGAIN),
    (0, b"version https://git-lfs.", "a pointer of Git LFS; fetch the data with 'git lfs pull'"),
    (0, b"/annex/objects/", "a pointer of git-annex; fetch the data with 'git annex get'"),
)
_META_IMAGE = re.compile(rb"(ObjectType|NDims|Comment)\s*=")
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|\?xml|!--|error)", re.I)
# Pairs of bytes that GB 2312 has: European text in one byte a letter hardly has them alone.
_CHINESE = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe])*")
_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f]")  # those that no text holds
# What git-annex links to, where the data have not been fetched.
_ANNEX = "annex/objects/"
_SHOWN = 40


def absent(path: str | os.PathLike[str]) -> str:
    """What lies, or does not, where a regular file is expected, and what to do about it."""
    if os.path.islink(path) and _ANNEX in os.readlink(path):
        return "a link of git-annex to data that are not here; fetch them with 'git annex get'"
    return "no regular file, a link to nothing, or in a folder that may not be entered"


def is_chinese(text: bytes) -> bool:
    """Tell whether text that is no UTF-8 is in GB 18030, as far as that can be guessed."""
    return _CHINESE.fullmatch(text) is not None


def described(start: bytes) -> str:
    """What these first bytes are the beginning of, and what to do about it."""
    for position, magic, kind in _MAGIC:
        if start[position : position + len(magic)] == magic:
            return kind
    if _WEB_PAGE.match(start):
        return f"a web page (HTML or XML), perhaps one that asks to log in; {_AGAIN}"
    if _META_IMAGE.match(start):
        return "a MetaImage header; convert it to NIfTI"
    if not start.strip(b"\0"):
        return f"{'nothing but zeros' if start else 'empty'}; {_AGAIN}"
    start = start[:N_BYTES]
    text = start.decode("utf-8", errors="ignore")
    # The last letter may have been cut.
    if len(text.encode()) > len(start) - 4 and not _CONTROL.search(text):
        return f"a text, beginning with '{errors.printable(text.strip()[:_SHOWN])}'; {_AGAIN}"
    return f"no format known here, beginning with the bytes {start[:8].hex(' ')}; {_AGAIN}"

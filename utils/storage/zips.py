"""Zip files read in place: what lies in them, and the bytes of a member, checked to the last one.

Nothing is unpacked, and nothing shared is moved: every member reads at places of its own, so that
any number of them, in any number of processes, may be open at once.
"""

import collections
import dataclasses
import io
import os
import stat
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from utils import errors
from utils.storage import deflate, file_kinds

PathLike = str | os.PathLike[str]

SUFFIX = ".zip"
_STORED, _DEFLATED = 0, 8
_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64 (Windows makes it of files above 2 GiB)",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "xz",
    99: "AES",
}
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_IN_EXTRA = 0xFFFFFFFF  # zip64: the size stands in the extra field
_UNICODE_PATH = 0x7075
_SEVERAL = "multiple disks"  # as zipfile calls the parts of a split zip
_END_SIGNATURE = b"PK\x05\x06"
_END_BYTES = 22 + 0xFFFF  # with the longest comment
# Codes of what is no damage.
_LOCKED, _OTHER_METHOD, _LINK = "encrypted", "method", "link"
_PIECE_BYTES = 1 << 16


class Entry(NamedTuple):
    """A member as the zip's directory has it; directories are none.

    Attributes
    ----------
    name : str
        Its path in the zip, with ``/``; what would lead out of the zip is left away.
    raw_name : bytes
        The same as it stands there.
    flags, method, crc
        As zip defines them.
    size, stored_size : int
        Bytes of the member, and what they take in the zip.
    begin, end : int
        Where its local header is, and where the next one, or the directory, begins.
    is_link : bool
        Whether it is a symbolic link; its bytes are where that leads.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    size: int
    stored_size: int
    begin: int
    end: int
    is_link: bool


# Path and state of a zip -> its members by name.
_directories: dict[tuple, dict[str, list[Entry]]] = {}


def split(path: PathLike) -> tuple[Path, str] | None:
    """Tell zip file and member that a path leads to; None where no part of it is a zip file.

    A folder may be called ``x.zip``, too.
    """
    path = Path(path)
    for parent in path.parents:
        if is_named_zip(parent) and os.path.isfile(parent):
            return parent, path.relative_to(parent).as_posix()
    return None


def is_named_zip(path: PathLike) -> bool:
    """Tell whether the name is that of a zip file."""
    return PurePosixPath(path).suffix.lower() == SUFFIX


def state(handle: BinaryIO) -> tuple[int, ...]:
    """Tell an open file, and how it is now, from others: device, inode, size, time of change."""
    status = os.fstat(handle.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def directory(handle: BinaryIO, path: PathLike) -> dict[str, list[Entry]]:
    """Read the members of an open zip file, by name; `path` is its own for messages.

    DamagedFileError where it is no zip file, or was cut off: the directory stands at its end.
    """
    key = str(path), *state(handle)
    if key not in _directories:
        _directories[key] = _parsed(handle, path)
    return _directories[key]


def _parsed(handle, path):
    import zipfile  # much for a command that meets no zip

    faults = zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error
    try:
        with zipfile.ZipFile(handle) as archive:
            infos, end = archive.infolist(), archive.start_dir
        if _part_number(handle):
            raise zipfile.BadZipFile(_SEVERAL)
    except faults as error:
        raise _unusable(handle, path, error) from error
    begins = sorted({info.header_offset for info in infos} | {end})
    ends = dict(zip(begins, begins[1:]))
    members = collections.defaultdict(list)
    for info in infos:
        raw = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437", "replace")
        name = _decoded(raw, info.flag_bits, info.extra).replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        if parts and not name.endswith("/"):
            inner = "/".join(parts)
            sizes = info.file_size, info.compress_size
            places = info.header_offset, min(ends.get(info.header_offset, end), end)
            about = info.flag_bits, info.compress_type, info.CRC
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            members[inner].append(Entry(inner, raw, *about, *sizes, *places, is_link))
    return dict(members)


def _part_number(handle):
    """Which part of a split zip file this is, from 0; 0 also where zip64's fields tell it."""
    handle.seek(max(handle.seek(0, os.SEEK_END) - _END_BYTES, 0))
    last = handle.read()
    (number,) = struct.unpack_from("<H", last, last.rindex(_END_SIGNATURE) + 4)
    return number if number != 0xFFFF else 0


def _decoded(raw, flags, extra):
    """A member's name: what is not marked as UTF-8 can only be guessed."""
    raw = raw.partition(b"\0")[0]
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and field[1:5] == struct.pack("<L", zlib.crc32(raw)):
            raw, flags = field[5:].partition(b"\0")[0], flags | _UTF8
    try:
        return raw.decode("utf-8", "replace" if flags & _UTF8 else "strict")
    except UnicodeDecodeError:
        is_chinese = file_kinds.is_chinese(raw)
    return raw.decode("gb18030" if is_chinese else "cp437", "replace")


def _unusable(handle, path, error):
    handle.seek(0)
    start = handle.read(file_kinds.N_BYTES)
    size = handle.seek(0, os.SEEK_END)
    if _SEVERAL in str(error):
        reason = "one part of a split zip file; join the parts (zip -s 0), or unpack them"
        text = f"{path}: cannot be read: {reason} ({size:,} bytes)"
        return errors.DamagedFileError(text, file=path, code="split_zip")
    if not start.startswith(_LOCAL_SIGNATURE):
        reason, code = f"no zip file but {file_kinds.described(start)}", "no_zip"
    elif "not a zip file" in str(error):
        reason, code = "cut off: the directory at its end is missing; download it again", "cut_zip"
    else:
        why, code = errors.one_line(error), "damaged"
        reason = f"its directory makes no sense ({why}); unpack it, or download it again"
    text = f"{path}: damaged: {reason} ({size:,} bytes)"
    return errors.DamagedFileError(text, file=path, code=code, found=f"{size} bytes")


def find(handle: BinaryIO, zip_path: PathLike, name: str) -> Entry:
    """Look for a member of an open zip file; DamagedFileError where it is not there just once."""
    found = directory(handle, zip_path).get(name, [])
    if len(found) != 1:
        count = f"{len(found)} members" if found else "no member"
        reason = f"cannot be read: the zip file has {count} of this name"
        path = Path(zip_path, name)
        sides = {"expected": "one member", "found": count}
        raise errors.DamagedFileError(f"{path}: {reason}", file=path, code="unreadable", **sides)
    return found[0]


@dataclasses.dataclass
class _Reading:
    """How far a member has been read: place in the zip, bytes given, their CRC32."""

    next: int
    inflater: Any  # None for a stored one
    position: int = 0
    crc: int = 0
    is_checked: bool = False


class Member(io.RawIOBase):
    """The bytes of a zip's member, from begin to end; it can be begun again, and no more.

    DamagedFileError comes before a wrong byte beyond the length that the directory tells, and at
    the latest with the last byte where the checksum is wrong.

    Parameters
    ----------
    handle : BinaryIO
        The open zip file; `close` closes it.
    zip_path : path-like
        Its name.
    name : str
        The member's.
    """

    def __init__(self, handle: BinaryIO, zip_path: PathLike, name: str):
        super().__init__()
        self._handle = handle
        self.path = Path(zip_path, name)
        self.entry = find(handle, zip_path, name)
        self._data_begin = self._check_local_header()
        self._reading: _Reading = self._begun()

    def _check_local_header(self):
        """Where the data begin; DamagedFileError where local header and directory disagree."""
        entry = self.entry
        if entry.flags & _ENCRYPTED:
            raise self._fault("is encrypted; unpack the zip file with its password", _LOCKED)
        if entry.is_link:
            advice = "unpack the zip file and move it elsewhere"  # the sizes of the two differ
            raise self._fault(f"is a symbolic link; {advice}", _LINK)
        if entry.method not in (_STORED, _DEFLATED):
            method = _METHODS.get(entry.method, f"method {entry.method}")
            reason = f"is compressed by {method}, expected Deflate or none; unpack the zip file"
            raise self._fault(reason, _OTHER_METHOD)
        head = b""
        if 0 <= entry.begin < entry.end:
            head = self._pread(_LOCAL_HEADER.size + len(entry.raw_name), entry.begin)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(_LOCAL_SIGNATURE):
            # macOS counts places beyond 4 GiB from 0 again; its own tool unpacks such a zip.
            reason = "does not begin where the zip's directory says; unpack the zip file, or"
            raise self._fault(f"{reason} download it again")
        _, _, flags, method, _, _, crc, *sizes, n_name, n_extra = _LOCAL_HEADER.unpack_from(head)
        said = [crc, *sizes]
        known = [entry.crc, entry.stored_size, entry.size]
        if flags & _SIZES_FOLLOW or _IN_EXTRA in sizes:
            said = known
        same = head[_LOCAL_HEADER.size :] == entry.raw_name and n_name == len(entry.raw_name)
        if not same or method != entry.method or flags & _ENCRYPTED or said != known:
            raise self._fault("has a header that contradicts the zip's directory")
        begin = entry.begin + _LOCAL_HEADER.size + n_name + n_extra
        if begin + entry.stored_size > entry.end:
            raise self._fault("reaches into the next member or beyond the end of the zip file")
        if self.is_stored and entry.stored_size != entry.size:
            raise self._fault(
                f"takes {entry.stored_size:,} bytes uncompressed, expected {entry.size:,}"
            )
        return begin

    def _fault(self, reason, code="damaged", **sides):
        state = "cannot be read" if code in (_LOCKED, _OTHER_METHOD, _LINK) else "damaged"
        text = f"{self.path}: {state}: the zip's member {reason}"
        return errors.DamagedFileError(text, file=self.path, code=code, **sides)

    def _pread(self, size, position):
        return os.pread(self._handle.fileno(), size, position)

    @property
    def is_stored(self) -> bool:
        """Whether it lies uncompressed in the zip, so that any of its bytes is at hand."""
        return self.entry.method == _STORED

    @property
    def state(self) -> tuple[int, ...]:
        """`state` of the zip file, and which of its members this is."""
        return *state(self._handle), self.entry.begin, self.entry.size, self.entry.crc

    def tail(self, size: int) -> bytes:
        """Return the last bytes; of a compressed member all is read for it, and checked."""
        if self.is_stored:
            size = min(size, self.entry.size)
            return self._pread(size, self._data_begin + self.entry.size - size)
        here, last = self._reading, b""
        self._reading = self._begun()
        while piece := self.read(_PIECE_BYTES):
            last = (last + piece)[-size:]
        self._reading = here
        return last

    def _begun(self):
        inflater = None if self.is_stored else deflate.codec.decompressobj(wbits=-15)
        return _Reading(self._data_begin, inflater)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes, back to the begin."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Begin again."""
        if (offset, whence) != (0, os.SEEK_SET):
            raise io.UnsupportedOperation("a zip's member can be begun again, and no more")
        self._reading = self._begun()
        return 0

    def tell(self) -> int:
        """How many bytes have been read."""
        return self._reading.position

    def close(self) -> None:
        """Close the zip file, too."""
        self._handle.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end."""
        view = memoryview(buffer).cast("B")
        wanted, filled = min(len(view), self.entry.size - self._reading.position), 0
        while filled < wanted:
            piece = self._decoded(wanted - filled)
            if not piece:
                raise self._cut(self._reading.position + filled)
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._reading.crc = deflate.codec.crc32(view[:filled], self._reading.crc)
        self._reading.position += filled
        if self._reading.position == self.entry.size and not self._reading.is_checked and len(view):
            self._check_end()
        return filled

    def _cut(self, position):
        reason = f"ends after {position:,} bytes, the zip's directory promises {self.entry.size:,}"
        return self._fault(reason, "truncated", expected=self.entry.size, found=position)

    def _check_end(self):
        if self._reading.inflater is not None:
            if self._decoded(1):
                reason = f"holds more than the {self.entry.size:,} bytes of the zip's directory"
                raise self._fault(reason, "oversized", expected=self.entry.size)
            if not self._reading.inflater.eof:
                raise self._cut(self._reading.position)
        if self._reading.crc != self.entry.crc:
            sides = {"expected": f"{self.entry.crc:08x}", "found": f"{self._reading.crc:08x}"}
            reason = "has a CRC of {found}, the zip's directory says {expected}".format(**sides)
            raise self._fault(reason, "crc", **sides)
        self._reading.is_checked = True

    def _decoded(self, limit):
        """The next bytes, at most so many; none at the end of the data."""
        if self._reading.inflater is None:
            return self._compressed(limit)
        while not self._reading.inflater.eof:
            piece = self._reading.inflater.unconsumed_tail or self._compressed(_PIECE_BYTES)
            try:
                decoded = self._reading.inflater.decompress(piece, limit)
            except deflate.codec.error as error:
                raise self._fault(f"is corrupt ({errors.one_line(error)})") from error
            if decoded or not piece:
                return decoded
        return b""

    def _compressed(self, limit):
        left = self._data_begin + self.entry.stored_size - self._reading.next
        piece = self._pread(min(limit, left), self._reading.next)
        self._reading.next += len(piece)
        return piece

"""Files that appear whole or not at all, and what interrupted runs left behind."""

import contextlib
import difflib
import errno
import io
import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from utils import errors
from utils.storage import holding, processes, zips

PathLike = str | os.PathLike[str]

_TEMPORARY_NAME = re.compile(
    re.escape(processes.TEMPORARY_PREFIX) + r"([^~]+)~([0-9]+)~([0-9]+)~[0-9]+"
)
_PARTS_OF_ROOT = ("archive", "grouped", "descriptor")
_DAY_S = 24 * 60 * 60
# What file systems answer that lack fsync, of a folder most of all, or the rights for it.
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF)


# Temporary files in the making -> the process that makes them.
_in_the_making: dict[Path, int] = {}


def remove_own() -> None:
    """Remove what this process has not finished; for its end, when a signal stopped it.

    A signal may come at any moment, also between the making of a file and the ``with`` for it.
    """
    for path, pid in list(_in_the_making.items()):
        if pid == os.getpid():
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _gone_if_interrupted(temporary_path):
    # A signal's exception comes when the file is there, and nobody has it in hand yet.
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            temporary_path.unlink()
        _in_the_making.pop(temporary_path, None)
        raise


class Pending:
    """One file in the making, beside its target under a temporary name.

    `write`, then `commit`. Leaving the ``with`` block without `commit` removes it. DatasetError
    where it cannot be created, written (disk full) or renamed; `path` is the final name, whose
    folder must exist.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self.temporary_path = self.path.parent / processes.temporary_name()
        _in_the_making[self.temporary_path] = os.getpid()
        with explained(self.path), _gone_if_interrupted(self.temporary_path):
            self.handle: BinaryIO = open(self.temporary_path, "xb")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.discard()

    def write(self, piece: bytes) -> None:
        """Write the next bytes.

        What else the ``with`` block reads or writes has its own faults: they are not this file's.
        """
        with explained(self.path):
            self.handle.write(piece)

    def seal(self) -> None:
        """Bring all bytes to the disk; the temporary file can be read back after this."""
        if not self.handle.closed:
            with explained(self.path):
                self.handle.flush()
                _sync(self.handle.fileno())
                self.handle.close()

    def rename(self) -> None:
        """Give the file its final name; an earlier file of that name is replaced."""
        self.seal()
        with explained(self.path):
            with contextlib.suppress(OSError):  # no earlier file, or no right to change the mode
                os.chmod(self.temporary_path, stat.S_IMODE(os.stat(self.path).st_mode))
            os.replace(self.temporary_path, self.path)
        _in_the_making.pop(self.temporary_path, None)

    def commit(self) -> None:
        """Give the file its final name, for good."""
        commit([self])

    def discard(self) -> None:
        """Remove the temporary file; nothing happens after `commit`."""
        with contextlib.suppress(OSError):  # a full disk fails again in the implied flush
            self.handle.close()
        self.temporary_path.unlink(missing_ok=True)
        _in_the_making.pop(self.temporary_path, None)


def commit(pending: list[Pending]) -> None:
    """Give several files their final names, in this order, for good.

    DatasetError where one cannot be renamed; those before it are.
    """
    for file in pending:
        file.rename()
    for folder in dict.fromkeys(file.path.parent for file in pending):
        with explained(folder):
            _sync_folder(folder)


def _sync_folder(folder):
    if os.name == "posix":  # elsewhere a folder cannot be opened
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:  # one that may be written to and not read
            return
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(descriptor):
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


@contextlib.contextmanager
def staging(path: PathLike) -> Iterator[Pending]:
    """Make a file beside its target, to be committed after the block; gone if the block fails."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(Pending(path))
        stack.pop_all()


@contextlib.contextmanager
def whole(path: PathLike) -> Iterator[Pending]:
    """Begin a file that gets its name only when the block ends without an error."""
    with Pending(path) as pending:
        yield pending
        pending.commit()


def check_place(path: PathLike) -> None:
    """Find out before the work whether a file can be made there; DatasetError where it cannot."""
    with Pending(path):
        pass


def put(path: PathLike, content: bytes) -> bool:
    """Write a file, whole or not at all, unless it holds these bytes already.

    Its folder is made where it is missing. Returns whether it was written; DatasetError where it
    cannot be.
    """
    path = Path(path)
    if holds(path, content):
        return False
    make_dir(path.parent)
    with whole(path) as pending:
        pending.write(content)
    return True


def opened(path: PathLike) -> BinaryIO:
    """Open a file to read it; DamagedFileError where it cannot be, or is no regular file.

    A named pipe would be waited for without end, and what a device gives is no data. A path that
    leads into a zip file gives the member of that name (see `zips.Member`).
    """
    with explained(path, "read"):
        try:
            # Without O_NONBLOCK opening a pipe would wait for its writer; files do not know it.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except NotADirectoryError:
            if (place := zips.split(path)) is None:
                raise
            return _opened_member(*place)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            reason = f"{path}: cannot be read: no regular file (a folder, pipe or device)"
            raise errors.DamagedFileError(reason, file=path, code="unreadable")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _opened_member(zip_path, name):
    handle = opened(zip_path)
    try:
        return cast(BinaryIO, zips.Member(handle, zip_path, name))
    except BaseException:
        handle.close()
        raise


def size(handle: BinaryIO) -> int:
    """Return the length of what `opened` gave, or of bytes in memory."""
    if isinstance(handle, zips.Member):
        return handle.entry.size
    if isinstance(handle, io.BytesIO):
        return handle.getbuffer().nbytes
    return os.fstat(handle.fileno()).st_size


def state(handle: BinaryIO) -> tuple[int, ...]:
    """Tell what `opened` gave, and how it is now, from any other file."""
    return handle.state if isinstance(handle, zips.Member) else zips.state(handle)


def has_tail(handle: BinaryIO) -> bool:
    """Tell whether the last bytes of what `opened` gave are at hand without reading all."""
    return not isinstance(handle, zips.Member) or handle.is_stored


def tail(handle: BinaryIO, n_bytes: int) -> bytes:
    """Return the last bytes of what `opened` gave, wherever reading is."""
    if isinstance(handle, zips.Member):
        return handle.tail(n_bytes)
    return os.pread(handle.fileno(), n_bytes, max(size(handle) - n_bytes, 0))


def is_file(path: PathLike) -> bool:
    """Tell whether there is such a regular file, or such a member of a zip file."""
    return os.path.isfile(path) or _member_size(path) is not None


def size_bytes(path: PathLike) -> int:
    """Return the length of a file, or of a zip's member; 0 for one that is not there."""
    with contextlib.suppress(OSError):
        return os.path.getsize(path)
    return _member_size(path) or 0


def _member_size(path):
    """Bytes of a member of a zip file; None where a path leads to none."""
    if place := zips.split(path):
        with contextlib.suppress(errors.DamagedFileError, OSError), opened(place[0]) as handle:
            return zips.find(handle, *place).size
    return None


def members(zip_path: PathLike) -> list[zips.Entry]:
    """Return what lies in a zip file; DamagedFileError where its directory cannot be read."""
    with explained(zip_path, "read"), opened(zip_path) as handle:
        found = zips.directory(handle, zip_path)
    return list(itertools.chain.from_iterable(found.values()))


def read_bytes(path: PathLike) -> bytes:
    """Read a file whole; DamagedFileError as `opened` gives it."""
    with explained(path, "read"), opened(path) as handle:
        return handle.read()


def pieces(path: PathLike, size: int = 1 << 20) -> Iterator[bytes]:
    """Yield a file's bytes, so many at a time; DamagedFileError as `opened` gives it."""
    with explained(path, "read"), opened(path) as handle:
        while piece := handle.read(size):
            yield piece


def same_bytes(path: PathLike, other_path: PathLike) -> bool:
    """Tell whether two files hold the same bytes; DamagedFileError for the one not readable."""
    both = itertools.zip_longest(pieces(path), pieces(other_path))
    return all(piece == other for piece, other in both)


def holds(path: PathLike, content: bytes) -> bool:
    """Tell whether a file holds just these bytes; one that cannot be read does not."""
    with contextlib.suppress(OSError, errors.DamagedFileError), opened(path) as handle:
        return size(handle) == len(content) and handle.read() == content
    return False


def link(path: PathLike, target: str) -> None:
    """Make a symbolic link; an earlier file of its name is replaced by it at once.

    A relative `target` counts from the folder of the link, which must exist.
    """
    temporary_path = Path(path).parent / processes.temporary_name()
    with explained(path), _gone_if_interrupted(temporary_path):
        os.symlink(target, temporary_path)
        os.replace(temporary_path, path)


def make_dir(path: PathLike) -> Path:
    """Make a folder and its parents where they are missing; DatasetError where that fails."""
    with explained(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


@contextlib.contextmanager
def directory(path: PathLike) -> Iterator[None]:
    """Make a folder for the block; when the block fails and left it empty, it goes again."""
    make_dir(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not empty, or not ours to remove
            Path(path).rmdir()
        raise


def remove(path: PathLike) -> None:
    """Remove a file, where there is one; DatasetError where that fails."""
    with explained(path):
        Path(path).unlink(missing_ok=True)


def sweep(root_dir: PathLike, recursive: bool = True) -> int:
    """Remove temporary files and holds that the dead left, linked folders included.

    The dead are processes of this host that have ended, or anybody a day ago (of a hold: five
    minutes). Returns how many were removed; a missing folder has no leftovers.
    """
    removed = 0
    for path in _temporary_files(root_dir, recursive):
        with contextlib.suppress(OSError):  # a folder that we may only read
            if path.name.startswith(holding.NAME):
                removed += holding.living_holder(path) is None
            elif _is_leftover(path):
                path.unlink()
                removed += 1
    return removed


def _temporary_files(root_dir, recursive):
    seen = set()
    for folder, subfolders, names in os.walk(root_dir, followlinks=True):
        place = os.path.realpath(folder)
        if not recursive or place in seen:  # a link may lead back
            subfolders.clear()
        seen.add(place)
        prefix = processes.TEMPORARY_PREFIX
        yield from (Path(folder, name) for name in names if name.startswith(prefix))


def _is_leftover(path):
    parts = _TEMPORARY_NAME.fullmatch(path.name)
    if not parts:
        return False
    if processes.is_dead(*parts.groups()):
        return True
    with contextlib.suppress(OSError):  # its writer may have renamed it just now
        return time.time() - path.stat().st_mtime > _DAY_S
    return False


def nearest_existing(path: PathLike) -> Path:
    """Find what a path that does not exist may have meant.

    A file of the same name nearby, else one spelt nearly so, else the nearest folder.
    """
    path = Path(path).absolute()
    if place := zips.split(path):
        return place[0]
    folder = next(parent for parent in path.parents if os.path.isdir(parent))
    missing = path.relative_to(folder).parts[0]
    # Below the root or a home folder everything is "nearby"; two levels are a glance, not a search.
    for pattern in (path.name, f"*/{path.name}", f"*/*/{path.name}"):
        with contextlib.suppress(OSError):
            for found in sorted(folder.glob(_literal(pattern))):
                return found
    same = folder.parent / path.name
    if os.path.exists(same):
        return same
    with contextlib.suppress(OSError):
        for close in difflib.get_close_matches(missing, sorted(os.listdir(folder)), 1, 0.75):
            return folder / close
    return folder


def part_of_root(path: PathLike, name: str) -> Path | None:
    """Find the folder of this name beside another part of the same ROOT, given that or what it has.

    ``part_of_root("ROOT/grouped/AMOS-CT", "archive")`` is ``ROOT/archive``, where there is one.
    """
    path = Path(os.path.abspath(path))
    for folder in (path, *path.parents):
        if folder.name in _PARTS_OF_ROOT and os.path.isdir(folder.parent / name):
            return None if folder.name == name else folder.parent / name
    return None


def _literal(pattern):
    head, slash, name = pattern.rpartition("/")
    return head + slash + re.sub(r"([*?[])", r"[\1]", name)


@contextlib.contextmanager
def explained(path: PathLike, done: str = "written") -> Iterator[None]:
    """Turn an OSError of the block into an error that a path cannot be ``written`` or ``read``.

    A DatasetError where it was written, a DamagedFileError where it was read.
    """
    try:
        yield
    except OSError as error:
        raise _failed(path, error, done) from error


def _failed(path, error, done):
    text = f"{path}: cannot be {done}: {error.strerror or error}"
    if done == "read":
        return errors.DamagedFileError(text, file=path, code="unreadable")
    return errors.DatasetError(text, file=path, code="write")

"""Manifests: written whole or not at all, changes by hand noticed, their paths resolved."""

from __future__ import annotations

import contextlib
import os
import stat
import typing
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from utils import errors
from utils.storage import files, holding, workbook, workbook_looks

if typing.TYPE_CHECKING:
    import pandas as pd

MAIN_SHEET = "Manifest"


class Target:
    """A workbook that a run is to write; it is loaded again only where its bytes changed since.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    overwrite : bool
        Replace it, too, where people changed it or it is not ours; the old one is kept beside it.

    Attributes
    ----------
    before : workbook.Workbook or None
        What was there when it was written, of another run that wrote meanwhile, too.
    """

    def __init__(self, path: files.PathLike, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self.before: workbook.Workbook | None = None
        self._loaded: workbook.Workbook | None = None

    @property
    def present(self) -> workbook.Workbook | None:
        """The workbook as it is now; None where there is none that can be read."""
        if self._loaded is None or not files.holds(self.path, self._loaded.content):
            self._loaded = None
            with contextlib.suppress(OSError, errors.DamagedFileError):
                self._loaded = workbook.Workbook(self.path) if os.path.exists(self.path) else None
        return self._loaded

    @property
    def was_changed(self) -> bool:
        """Whether there is something other than we wrote: cells changed, or not ours."""
        present = self.present
        return os.path.exists(self.path) and (present is None or present.was_changed)

    def refuse_if_changed(self) -> None:
        """Refuse, by a DatasetError, to replace a workbook that people changed.

        Likewise what can never be written. Only looks: call it before long work; `write` and
        `write_sheet` look again.
        """
        _check_place(self.path)
        if self.was_changed and not self.overwrite:
            message = (
                f"{self.path}: was changed by hand since it was written, or was not written here; "
                "move it away, or use --overwrite, which keeps it as "
                f"{self.path.stem}.bak{self.path.suffix}"
            )
            raise errors.DatasetError(message, file=self.path, code="changed")

    def write(
        self,
        tables: dict[str, pd.DataFrame],
        looks: Mapping[str, workbook_looks.Look] | None = None,
    ) -> bool:
        """Write a workbook of these worksheets, in order, whole or not at all.

        False where it had just these cells; then it keeps its look, too.
        """
        with self._alone() as present:
            if present and present.holds(tables) and not (self.overwrite and present.was_changed):
                return False
            return self._put(workbook.to_bytes(tables, looks))

    def write_sheet(
        self, name: str, table: pd.DataFrame, look: workbook_looks.Look = workbook_looks.PLAIN
    ) -> bool:
        """Write one worksheet and keep the others; False where it had just these cells.

        The workbook counts as ours then, also where people had changed it.
        """
        with self._alone() as present:
            if present is None:
                return self._put(workbook.to_bytes({name: table}, {name: look}))
            _check_name(present, name)
            if present.has_cells(name, table) and not (self.overwrite and present.was_changed):
                return False
            self.refuse_if_changed()
            first = name == MAIN_SHEET
            return self._put(present.with_sheet(name, table, renew=True, first=first, look=look))

    @contextlib.contextmanager
    def _alone(self):
        """Hold the workbook, and give what it is then."""
        files.make_dir(self.path.parent)
        with holding.file(self.path):
            self.before = self.present
            yield self.before

    def _put(self, content):
        self.refuse_if_changed()
        if self.was_changed:
            kept = keep_backup(self.path)
            errors.warn(f"{self.path}: was changed by hand; the old one is kept as {kept.name}")
        _put(self.path, content)
        return True


def _check_place(path):
    """Refuse, by a DatasetError, a path that no workbook can be written to."""
    with files.explained(path):
        if os.path.lexists(path) and not os.path.isfile(path):
            what = "a link to nothing" if os.path.islink(path) else "a folder, pipe or device"
            text = f"{path}: cannot be written: it is {what}; expected a workbook or nothing there"
            raise errors.DatasetError(text, file=path, code="write")
        folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        for name in path.absolute().relative_to(folder).parts:
            with contextlib.suppress(FileNotFoundError):
                os.lstat(folder / name)  # too long a name
    files.check_place(folder / path.name)


def refuse_if_changed(path: files.PathLike, overwrite: bool = False) -> Target:
    """Begin a run that is to write a workbook; see `Target.refuse_if_changed`."""
    target = Target(path, overwrite)
    target.refuse_if_changed()
    return target


def replace_sheet(
    book: workbook.Workbook,
    name: str,
    table: pd.DataFrame,
    look: workbook_looks.Look = workbook_looks.PLAIN,
) -> bool:
    """Add a worksheet to a workbook, or replace it, whoever changed the others.

    A replaced sheet stays at its place; a new one goes last, ``Manifest`` first. Where people had
    changed the workbook, it still counts as changed. False where there was nothing to do. The
    workbook is not to be used again: it does not know of what was written. Hold its file from
    before it is loaded (see `holding.file`).
    """
    _check_name(book, name)
    if book.has_cells(name, table):
        return False
    is_ours = not book.was_changed
    return _put(book.path, book.with_sheet(name, table, is_ours, name == MAIN_SHEET, look))


def _put(path, content):
    files.sweep(path.parent, recursive=False)  # what an interrupted run left
    return files.put(path, content)


def _check_name(book, name):
    workbook.check_sheet_name(name)
    for other in book.names:
        if other != name and other.casefold() == name.casefold():
            message = (
                f"{book.path}: there is a worksheet {other!r}; {name!r} differs from it in upper "
                "and lower case only"
            )
            raise errors.DatasetError(message, file=book.path, code="name")


def keep_backup(path: files.PathLike) -> Path:
    """Copy a file to ``<stem>.bak.xlsx``, or ``.bak2`` and so on where another copy lies."""
    path = Path(path)
    content = files.read_bytes(path)
    number = 1
    while True:
        backup = path.with_name(f"{path.stem}.bak{number if number > 1 else ''}{path.suffix}")
        if not os.path.exists(backup) or files.holds(backup, content):
            _put(backup, content)
            return backup
        number += 1


def write_together(
    workbooks: dict[Path, dict[str, pd.DataFrame]],
    looks: Mapping[Path, Mapping[str, workbook_looks.Look]] | None = None,
) -> None:
    """Write several workbooks, {file: {worksheet: table}}: all of them, or none if one cannot be.

    A file that has these bytes already is left untouched; any other is replaced, whoever wrote it.
    Everything is on the disk under temporary names before the first gets its own.
    """
    contents = {
        Path(path): workbook.to_bytes(tables, (looks or {}).get(path))
        for path, tables in workbooks.items()
    }
    with contextlib.ExitStack() as stack:
        # Two runs that want several of the same files take them in the same order.
        for path in sorted(contents):
            files.make_dir(path.parent)
            stack.enter_context(holding.file(path))
        pending = []
        for path, content in contents.items():
            if files.holds(path, content):
                continue
            files.sweep(path.parent, recursive=False)
            pending.append(stack.enter_context(files.Pending(path)))
            pending[-1].write(content)
            pending[-1].seal()
        files.commit(pending)


def resolve(
    path_text: str, manifest_path: files.PathLike, root_dir: files.PathLike | None = None
) -> Path:
    """Find the file that a relative path in a manifest means.

    It lies below `root_dir`; without it, below the manifest's folder or the nearest parent where
    there is such a file. A DatasetError where there is none, or where the text is no path below a
    folder (empty, absolute, with ``..``), or where the disk does not let it be seen.
    """
    relative = PurePosixPath(path_text)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts:
        message = f"{manifest_path}: {path_text!r} is not a relative path below the data's folder"
        raise errors.DatasetError(message, file=manifest_path, code="path")
    folders = Path(manifest_path).absolute().parents if root_dir is None else [Path(root_dir)]
    for path in (folder / relative for folder in folders):
        with (
            files.explained(path, "read"),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
        ):
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
    where = f"{folders[0]} or a folder above it" if root_dir is None else folders[0]
    message = (
        f"{manifest_path}: no file {path_text!r} below {where}; --root_dir names the folder that "
        "the paths are relative to"
    )
    raise errors.DatasetError(message, file=manifest_path, code="missing", expected=path_text)

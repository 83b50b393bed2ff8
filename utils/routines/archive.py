"""What lies where in an archive as published; the facts of the data set come in."""

import collections
import dataclasses
import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from utils import errors
from utils.facts import DataSet
from utils.storage import file_kinds, files, processes, zips

VOLUME, MASK = "v3d", "m3d"
_CLUTTER_NAMES = {".DS_Store", "__MACOSX"}
_CLUTTER_PREFIXES = ("._", processes.TEMPORARY_PREFIX)
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
# Control characters, bytes that are no UTF-8, and non-characters: no Excel cell can hold them.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclasses.dataclass(frozen=True)
class ArchiveFile:
    """A volume or mask of the archive; as text its relative path, fit for a terminal.

    Attributes
    ----------
    path : Path
        Where it is.
    relative_path : str
        The same below the archive's root, with ``/``.
    sample : str
        Name of the sample it belongs to.
    subset : str
        ``train``, ``val``, ``test`` or ``unlabelled``, by its folder or name.
    columns : dict
        What folder and name tell, ``type`` among it.
    is_zipped : bool
        Whether it is a member of a zip file.
    """

    path: Path
    relative_path: str
    sample: str
    subset: str
    columns: dict[str, str]
    is_zipped: bool = False

    def __str__(self):
        return errors.printable(self.relative_path)

    @property
    def type(self) -> str:
        """``v3d`` or ``m3d``."""
        return self.columns["type"]


@dataclasses.dataclass
class Contents:
    """What was found below the root of an archive.

    Attributes
    ----------
    files : list of ArchiveFile
        By sample, volume before mask; doubles are not among them.
    doubles : list of ArchiveFile
        Files whose sample and type (and organ, where it has a file of its own) occur more than
        once.
    ignored, others : list of str
        Relative paths of the NIfTI files that do not belong to the data set, and of all other
        files but clutter.
    n_clutter : int
        Files that operating systems and interrupted runs left.
    left_out : list of ArchiveFile
        Files of the subsets that were not asked for; nothing else is said of them.
    n_zipped_too : int
        Files that lie in a zip file as well, with the same size; those there are not among `files`.
    n_unplaced : int
        Files that were taken out of `files` or `ignored`, since their place is not known.
    failures : list of (str, DatasetError)
        What could not be looked at or used, under the name to show.
    """

    files: list[ArchiveFile] = dataclasses.field(default_factory=list)
    doubles: list[ArchiveFile] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    n_clutter: int = 0
    left_out: list[ArchiveFile] = dataclasses.field(default_factory=list)
    n_zipped_too: int = 0
    n_unplaced: int = 0
    failures: list[tuple[str, errors.DatasetError]] = dataclasses.field(default_factory=list)

    def matching(self, pattern: str) -> list[str]:
        """Return the relative paths among `others` whose file name fits a glob pattern."""
        # macOS writes an umlaut as two characters, and people type one.
        pattern = unicodedata.normalize("NFC", pattern)
        return [
            path
            for path in self.others
            if PurePosixPath(unicodedata.normalize("NFC", path)).match(pattern)
        ]


def find(root_dir: files.PathLike, facts: DataSet, without: Collection[str] = ()) -> Contents:
    """Look through all folders and zip files below the root of an archive; no other is opened.

    Files of the subsets `without` are left out, as if nobody had put them there. Every folder or
    zip is looked at once, however many links lead to it; its path is the one without links where
    there is one. Links to a folder above the root are not followed.
    """
    contents = Contents()
    root = Path(root_dir)
    classified = []
    for path, text, is_zipped in _all_files(root, contents):
        if (columns := facts.classify(text)) is not None:
            sample, subset = facts.sample_name(columns), facts.subset(columns)
            classified.append(ArchiveFile(path, text, sample, subset, columns, is_zipped))
        elif path.name.lower().endswith(_NIFTI_SUFFIXES):
            contents.ignored.append(text)
        else:
            contents.others.append(text)
    contents.ignored.sort()
    contents.others.sort()
    contents.left_out = [file for file in classified if file.subset in without]
    _sort_out(contents, [file for file in classified if file.subset not in without])
    return contents


def find_any(root_dir: files.PathLike, facts: DataSet, without: Collection[str] = ()) -> Contents:
    """Look through an archive, as `find` does; DatasetError if it has nothing of the data set."""
    contents = find(root_dir, facts, without)
    if not contents.files and not contents.failures:
        listed = errors.listed(contents.ignored)
        words = " and ".join(sorted({file.subset for file in contents.left_out}))
        left_out = (
            f"; left out: {len(contents.left_out)} {words} files (--unlabelled takes them)"
            * bool(words)
        )
        raise errors.DatasetError(
            f"{root_dir}: no file of {facts.NAME}, expected {facts.EXAMPLE_FILE} and others at any "
            f"depth below it{'; other NIfTI files: ' * bool(listed)}{listed}{left_out}"
            + meant(root_dir, facts)
        )
    return contents


def meant(root_dir: files.PathLike, facts: DataSet) -> str:
    """End a message about a root without the archive: the folder beside it that has it, or ''."""
    beside = files.part_of_root(root_dir, "archive")
    return f"; probably meant: {beside}" if beside and find(beside, facts).files else ""


def _all_files(root: Path, contents: Contents) -> Iterator[tuple[Path, str, bool]]:
    """Yield (path, the same below the root, whether it is zipped) of all but clutter."""
    packed = []
    for folder, names in _walk(root, contents.failures):
        for path in (Path(folder, name) for name in names):
            text = path.relative_to(root).as_posix()
            if _is_clutter(text):
                contents.n_clutter += 1
            elif zips.is_named_zip(path):
                packed.append(path)
            else:
                yield path, text, False
    seen = set()
    for path in sorted(packed, key=lambda path: (os.path.islink(path), path)):
        place = os.path.realpath(path)
        if place not in seen:
            seen.add(place)
            yield from _members(root, path, contents)


def _members(root, zip_path, contents):
    """Yield what `_all_files` does of a zip, which may be unusable; a zip in it is a failure."""
    try:
        if not os.path.isfile(zip_path):
            reason = f"{zip_path}: {file_kinds.absent(zip_path)}"
            raise errors.DamagedFileError(reason, file=zip_path)
        entries = files.members(zip_path)
    except errors.DamagedFileError as error:
        text = errors.printable(zip_path.relative_to(root).as_posix())
        contents.failures.append((text, _in_zip(error, zip_path)))
        return
    for path in (zip_path / entry.name for entry in entries):
        text = path.relative_to(root).as_posix()
        if _is_clutter(text):
            contents.n_clutter += 1
        elif zips.is_named_zip(path):
            advice = f"unpack {zip_path.name} and move it elsewhere"  # else this is told again
            reason = f"{path}: a zip file in a zip file, not looked into; {advice}"
            contents.failures.append((errors.printable(text), _in_zip(reason, path)))
        else:
            yield path, text, True


def _in_zip(reason, path):
    return errors.DatasetError(errors.printable(reason), file=path, code="zip")


def _walk(root, failures):
    """Yield (folder, file names) of the root and all below, real folders before linked ones."""

    def not_listed(error):
        reason = f"{error.filename}: the folder cannot be listed: {error.strerror}"
        fault = errors.DatasetError(errors.printable(reason), file=error.filename, code="read")
        failures.append((errors.printable(os.path.relpath(error.filename, root)), fault))

    seen = {_identity(folder) for folder in root.resolve().parents}
    starts = [root]
    while starts:
        for folder, subfolders, names in os.walk(starts.pop(0), onerror=not_listed):
            if _identity(folder) in seen:
                subfolders.clear()
                continue
            seen.add(_identity(folder))
            links = {name for name in subfolders if os.path.islink(os.path.join(folder, name))}
            starts.extend(Path(folder, name) for name in sorted(links))
            subfolders[:] = sorted(set(subfolders) - links)
            yield folder, names


def _identity(folder):
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_clutter(relative_path):
    return any(
        part in _CLUTTER_NAMES or part.startswith(_CLUTTER_PREFIXES)
        for part in PurePosixPath(relative_path).parts
    )


def _sort_out(contents, classified):
    """Take doubles and unusable names out of the data set's files, and report them."""
    groups = collections.defaultdict(list)
    for file in sorted(classified, key=_row_order):
        groups[file.sample, file.type, file.columns.get("organ", "")].append(file)
    for (sample, file_type, organ), group in groups.items():
        first = group[0]
        if _is_zipped_too(*group):
            contents.n_zipped_too += 1
            group.pop()
        if len(group) > 1:
            contents.doubles.extend(group)
            found, expected = ", ".join(map(str, group)), "one file"
            kind = f"{file_type} files{f' of {organ}' * bool(organ)}"
            reason = f"{len(group)} {kind}, expected one; all left out: {found}"
            sides = {"expected": expected, "found": found}
            error = errors.DatasetError(reason, file=first.path, code="double", **sides)
            contents.failures.append((sample, error))
        elif _UNWRITABLE.search(first.relative_path):
            reason = f"{first}: the path has characters that no table can hold; rename it"
            error = errors.DatasetError(reason, file=str(first), code="name")
            contents.failures.append((str(first), error))
        else:
            contents.files.append(first)


def _is_zipped_too(file, copy=None, *others):
    """Whether a file lies unpacked and, of the same size, in one zip."""
    if copy is None or others or file.is_zipped or not copy.is_zipped:
        return False
    return files.size_bytes(file.path) == files.size_bytes(copy.path)


def _row_order(file):
    return file.sample, file.type != VOLUME, file.is_zipped, file.relative_path


def distinct(root_dir: files.PathLike, contents: Contents, pattern: str) -> list[str]:
    """Return what `Contents.matching` does, without zipped copies of unpacked files.

    Such a copy has the same name and the same bytes.
    """
    paths = contents.matching(pattern)
    unpacked = [path for path in paths if not zips.split(Path(root_dir, path))]
    return [
        path
        for path in paths
        if path in unpacked
        or not any(_is_copy(Path(root_dir, path), Path(root_dir, other)) for other in unpacked)
    ]


def _is_copy(path, other_path):
    try:
        return path.name == other_path.name and files.same_bytes(path, other_path)
    except errors.DamagedFileError:  # told when it is read
        return False


def find_tables(root_dir: files.PathLike, contents: Contents, pattern: str) -> list[Path]:
    """Find the tables that belong to an archive, by a glob pattern of their names.

    Those that `find` found below the root; if there is none, those beside the root.
    """
    below = [Path(root_dir, path) for path in distinct(root_dir, contents, pattern)]
    # The root may be a link: people look beside the link first, then beside its target.
    beside = Path(os.path.abspath(root_dir)).parent, Path(root_dir).resolve().parent
    return below or next(filter(None, (sorted(folder.glob(pattern)) for folder in beside)), [])

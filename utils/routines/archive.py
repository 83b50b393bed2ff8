"""What lies in an archive as published, one manifest row a file; the data set's facts come in."""

import collections
import dataclasses
import json
import os
import posixpath
import re
import warnings
from pathlib import Path, PurePosixPath

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.storage import files, manifest, nifti, workbook

VOLUME, MASK = "v3d", "m3d"
DATASET_JSON = "dataset.json"
# What Decathlon-style dataset.json files call the two types.
_JSON_TYPES = {"image": VOLUME, "label": MASK}
NAMES_SHOWN = 10
_CLUTTER_NAMES = {".DS_Store", "__MACOSX"}
_CLUTTER_PREFIXES = ("._", files.TEMPORARY_PREFIX)
_NIFTI_SUFFIXES = (".nii", ".nii.gz")
# Control characters, bytes that are no UTF-8, and non-characters: no Excel cell can hold them.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclasses.dataclass(frozen=True)
class ArchiveFile:
    """One volume or mask of the archive.

    Attributes
    ----------
    path : Path
        Where it is.
    relative_path : str
        The same below the archive's root, with ``/``.
    sample : str
        Name of the sample it belongs to.
    subset : str
        ``train``, ``val`` or ``test``, by its folder.
    columns : dict
        What folder and name tell, ``type`` among it.
    """

    path: Path
    relative_path: str
    sample: str
    subset: str
    columns: dict

    def __str__(self):
        return shown(self.relative_path)

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
        Files whose sample and type occur more than once.
    ignored : list of str
        NIfTI files that do not belong to the data set, relative paths.
    others : list of str
        All other files but clutter, relative paths.
    n_clutter : int
        Files that operating systems and interrupted runs left.
    failures : list of (str, DatasetError)
        What could not be looked at or used, under the name to show.
    """

    files: list = dataclasses.field(default_factory=list)
    doubles: list = dataclasses.field(default_factory=list)
    ignored: list = dataclasses.field(default_factory=list)
    others: list = dataclasses.field(default_factory=list)
    n_clutter: int = 0
    failures: list = dataclasses.field(default_factory=list)

    def matching(self, pattern: str) -> list[str]:
        """Return the relative paths among `others` whose file name fits a glob pattern."""
        return [path for path in self.others if PurePosixPath(path).match(pattern)]


@dataclasses.dataclass(frozen=True)
class Description:
    """What the header of one file says.

    Attributes
    ----------
    row : dict
        Cells of its manifest row.
    affine : (4, 4) float64
        Voxel index to RAS+ mm.
    shape : tuple of int
        Voxels along the three axes.
    """

    row: dict
    affine: np.ndarray
    shape: tuple


def shown(text: str) -> str:
    """Return a path or name fit for one line of a terminal: odd characters are escaped."""
    return _UNWRITABLE.sub(lambda odd: odd[0].encode("unicode_escape").decode("ascii"), text)


def listed(names) -> str:
    """Join names for a message; beyond `NAMES_SHOWN` only their number is given."""
    names = [shown(name) for name in names]
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def find(root_dir, facts) -> Contents:
    """Look through all folders below the root of an archive; nothing is opened.

    Parameters
    ----------
    root_dir : path-like
        The archive.
    facts : module or object
        ``classify(relative_path)`` gives the columns that folder and name tell, or None;
        ``sample_name(columns)`` the sample's name, ``subset(columns)`` train, val or test.

    Returns
    -------
    Contents

    Notes
    -----
    Every folder is looked at once, however many links lead to it; its path is the one without
    links where there is one. Links to a folder above the root are not followed.
    """
    contents = Contents()
    root = Path(root_dir)
    classified = []
    for folder, names in _walk(root, contents.failures):
        for name in names:
            path = Path(folder, name)
            relative_path = path.relative_to(root).as_posix()
            if _is_clutter(relative_path):
                contents.n_clutter += 1
                continue
            columns = facts.classify(relative_path)
            if columns is not None:
                classified.append(
                    ArchiveFile(
                        path,
                        relative_path,
                        facts.sample_name(columns),
                        facts.subset(columns),
                        columns,
                    )
                )
            elif name.lower().endswith(_NIFTI_SUFFIXES):
                contents.ignored.append(relative_path)
            else:
                contents.others.append(relative_path)
    contents.ignored.sort()
    contents.others.sort()
    _sort_out(contents, classified)
    return contents


def find_any(root_dir, facts) -> Contents:
    """Look through an archive, as `find` does; ``facts.EXAMPLE_FILE`` shows what is expected.

    Raises
    ------
    DatasetError
        There is nothing of the data set in it.
    """
    contents = find(root_dir, facts)
    if not contents.files and not contents.failures:
        others = f"; other NIfTI files: {listed(contents.ignored)}" if contents.ignored else ""
        raise errors.DatasetError(
            f"{root_dir}: no file of {facts.NAME}, expected "
            f"{facts.EXAMPLE_FILE} and others at any depth below it{others}"
        )
    return contents


def _walk(root, failures):
    """Yield (folder, file names) of the root and all below, real folders before linked ones."""

    def not_listed(error):
        reason = f"{error.filename}: the folder cannot be listed: {error.strerror}"
        failures.append(
            (
                shown(os.path.relpath(error.filename, root)),
                errors.DatasetError(shown(reason), file=error.filename, code="read"),
            )
        )

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
        groups[file.sample, file.type].append(file)
    for (sample, file_type), group in groups.items():
        if len(group) > 1:
            contents.doubles.extend(group)
            contents.failures.append(
                (
                    sample,
                    errors.DatasetError(
                        f"{len(group)} {file_type} files, expected one; all left out: "
                        f"{', '.join(map(str, group))}",
                        file=group[0].path,
                        code="double",
                        expected="one file",
                        found=", ".join(map(str, group)),
                    ),
                )
            )
        elif _UNWRITABLE.search(group[0].relative_path):
            contents.failures.append(
                (
                    str(group[0]),
                    errors.DatasetError(
                        f"{group[0]}: the path has characters that no table can hold; rename it",
                        file=str(group[0]),
                        code="name",
                    ),
                )
            )
        else:
            contents.files.append(group[0])


def _row_order(file):
    return file.sample, file.type != VOLUME, file.relative_path


def size_bytes(file: ArchiveFile) -> int:
    """Return the size on disk, 0 for a broken link."""
    return os.path.getsize(file.path) if os.path.exists(file.path) else 0


def describe(file: ArchiveFile, check_content: bool = False) -> Description:
    """Read the header of one file.

    Parameters
    ----------
    file : ArchiveFile
    check_content : bool
        Decode all of it, too, and compare the checksum.

    Returns
    -------
    Description

    Raises
    ------
    DatasetError
        The file is damaged or cannot be read.

    Warns
    -----
    DataWarning
        The stored pixdim is not the affine's spacing, or no orientation is stored.
    """
    if not os.path.isfile(file.path):  # opening a named pipe would wait for ever
        raise errors.DamagedFileError(
            f"{file}: no regular file, a link to nothing, or in a folder that may not be entered",
            file=file.path,
        )
    header = nifti.read_header(file.path)
    if check_content:
        nifti.check(header)
    for complaint in header.complaints():
        warnings.warn(complaint, errors.DataWarning, stacklevel=2)
    orientation_from, orientation_to = geometry.orientation_codes(header.affine)
    row = {
        "file_path": file.relative_path,
        **file.columns,
        **dict(zip(("szx", "szy", "szz"), header.shape)),
        **dict(zip(("spx", "spy", "spz"), map(float, header.spacing))),
        "orientation_from": orientation_from,
        "orientation_to": orientation_to,
        "dtype": header.dtype_name,
        "transform": geometry.affine_text(header.affine),
    }
    return Description(row, header.affine, header.shape)


def compare_pairs(described: list) -> tuple[list[dict], list]:
    """Make the manifest rows, each mask compared with its volume.

    Parameters
    ----------
    described : list of (ArchiveFile, Description)

    Returns
    -------
    rows : list of dict
        In the same order; ``diff_trans_f_norm`` is the Frobenius norm of mask affine minus volume
        affine, None on volumes and on masks without volume.
    messages : list of (str, str)
        File and what is odd about its pair.
    """
    volumes = {
        file.sample: (file, description) for file, description in described if file.type == VOLUME
    }
    rows, messages = [], []
    for file, description in described:
        difference = None
        if file.type == MASK and file.sample in volumes:
            volume_file, volume = volumes[file.sample]
            difference = float(np.linalg.norm(description.affine - volume.affine))
            messages.extend(
                (str(file), text) for text in _oddities(file, description, volume_file, volume)
            )
        rows.append(description.row | {"diff_trans_f_norm": difference})
    return rows, messages


def _oddities(mask_file, mask, volume_file, volume):
    if mask.shape != volume.shape:
        yield (
            f"the mask has {_voxels(mask.shape)} voxels, its volume {volume_file} "
            f"{_voxels(volume.shape)}"
        )
    if mask_file.subset != volume_file.subset:
        yield (
            f"the mask lies in {mask_file.subset}, its volume {volume_file} in {volume_file.subset}"
        )


def _voxels(shape):
    return " x ".join(map(str, shape))


def conclude(outcome, contents: Contents, facts) -> list[dict]:
    """Make the manifest rows, and add to the outcome what pairs and folders tell.

    Parameters
    ----------
    outcome : runner.Outcome
        Of `describe`.
    contents : Contents
        What `find` found.
    facts : module or object
        ``NAME`` of the data set and an ``EXAMPLE_FILE``, for the message on files that are none.

    Returns
    -------
    list of dict
        See `compare_pairs`.
    """
    rows, messages = compare_pairs(outcome.results)
    outcome.warnings += messages
    outcome.failures[:0] = contents.failures
    if contents.ignored:
        outcome.warnings.append(
            (
                facts.NAME,
                f"{len(contents.ignored)} NIfTI files ignored, no "
                f"{facts.EXAMPLE_FILE}: {listed(contents.ignored)}",
            )
        )
    return rows


def write_manifest(path, columns, rows: list[dict], overwrite: bool) -> str:
    """Write the archive manifest and return the line that tells so.

    Parameters
    ----------
    path : path-like
    columns : sequence of str
    rows : list of dict
        None: no manifest is written; it would only hide an earlier one.
    overwrite : bool
        See `manifest.write`.
    """
    if not rows:
        return "no manifest written"
    table = workbook.frame(columns, rows)
    manifest.write(path, {manifest.MAIN_SHEET: table}, overwrite=overwrite)
    return f"{path}: {len(rows)} rows"


def check_dataset_json(root_dir, contents: Contents, facts) -> list:
    """Compare every dataset.json of the archive with the folders; the folders win.

    Parameters
    ----------
    root_dir : path-like
        The archive.
    contents : Contents
        What `find` found below it.
    facts : module or object
        ``DATASET_JSON_SUBSETS`` maps the lists of the file to subsets.

    Returns
    -------
    list of (str, str)
        File and what is odd about it: unreadable, another subset than the folder's, or files that
        are not on disk.
    """
    found = [*contents.files, *contents.doubles]
    by_path = {file.relative_path: file for file in found}
    by_name = {(file.type, file.path.name): file for file in found}
    messages = []
    for json_path in contents.matching(DATASET_JSON):
        entries, problem = _json_entries(Path(root_dir, json_path), facts.DATASET_JSON_SUBSETS)
        absent, elsewhere = [], []
        for subset, file_type, text in entries:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(json_path), text))
            file = by_path.get(path) or by_name.get((file_type, posixpath.basename(path)))
            if file is None:
                absent.append(text)
            elif file.subset != subset:
                elsewhere.append(f"{file} ({subset} by the list)")
        texts = [
            problem,
            f"lists {len(absent)} files that are not on disk: {listed(absent)}",
            f"has {len(elsewhere)} files in another subset than their folder, which counts: "
            f"{listed(elsewhere)}",
        ]
        messages += [
            (shown(json_path), text)
            for text, applies in zip(texts, (problem, absent, elsewhere))
            if applies
        ]
    return messages


def _json_entries(path, subsets):
    """Return [(subset, type, path text)] and what keeps the file from being understood."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        return [], f"cannot be read ({error.strerror}); only the folders count"
    except (ValueError, RecursionError) as error:
        return [], f"is no JSON file ({error}); only the folders count"
    if not isinstance(content, dict):
        return [], "holds no lists of files; only the folders count"
    entries, n_odd = [], 0
    for split, subset in subsets.items():
        items = content.get(split, [])
        for item in items if isinstance(items, list) else [items]:
            texts = {"image": item} if isinstance(item, str) else item
            named = [
                (subset, file_type, texts[key])
                for key, file_type in _JSON_TYPES.items()
                if isinstance(texts, dict) and isinstance(texts.get(key), str)
            ]
            entries += named
            n_odd += not named
    return entries, f"has {n_odd} entries that name no file" if n_odd else ""


def find_tables(root_dir, contents: Contents, pattern: str) -> list[Path]:
    """Find the tables that belong to an archive.

    Parameters
    ----------
    root_dir : path-like
        The archive.
    contents : Contents
        What `find` found below it.
    pattern : str
        Glob pattern of the file names.

    Returns
    -------
    list of Path
        Those below the root; if there is none, those beside the root.
    """
    below = [Path(root_dir, path) for path in contents.matching(pattern)]
    # The root may be a link: people look beside the link first, then beside its target.
    beside = Path(os.path.abspath(root_dir)).parent, Path(root_dir).resolve().parent
    return below or next(filter(None, (sorted(folder.glob(pattern)) for folder in beside)), [])


def summary(contents: Contents, described: list, subsets) -> list[str]:
    """Return the lines that tell what is in the manifest and what is not.

    Parameters
    ----------
    contents : Contents
        What `find` found.
    described : list of (ArchiveFile, Description)
        What of it has a row.
    subsets : iterable of str
        Those to count, in order.

    Returns
    -------
    list of str
    """
    counts = collections.Counter((file.subset, file.type) for file, _ in described)
    lines = [
        f"{subset}: {counts[subset, VOLUME]} volumes, {counts[subset, MASK]} masks"
        for subset in subsets
    ]
    n_unusable = sum(error.code == "name" for _, error in contents.failures)
    n_left_out = len(contents.files) - len(described) + len(contents.doubles) + n_unusable
    return [
        *lines,
        f"left out: {n_left_out} files; ignored: {len(contents.ignored)} other NIfTI "
        f"files, {contents.n_clutter} files of clutter",
    ]

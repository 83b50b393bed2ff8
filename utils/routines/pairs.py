"""Routine 02: from manifest rows to sample directories, for any data set and sub-data set."""

import collections
import contextlib
import dataclasses
import os
import shutil
import warnings
from pathlib import Path, PurePosixPath

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.routines import archive
from utils.running import calls
from utils.storage import files, manifest, marks, nifti, nifti_writing, samples

# An int16 CT grows by about a fifth as float32 (same codec); this leaves a little for the rest.
GROWTH = 1.3
# Below this a mask's affine differs from its volume's by rounding alone.
_SAME_AFFINE_MM = 1e-5
_FILE_KINDS = {"v3d": "volume", "m3d": "mask"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """A volume of the archive, its mask if it has one, and where they go.

    Attributes
    ----------
    sample : samples.Sample
    info : dict of str to str
        What goes into the info file.
    volume, mask : Path or None
        Files of the archive.
    note : str
        What is to be told about it, though it is no fault.
    error : DatasetError or None
        Why nothing can be done for it.
    """

    sample: samples.Sample
    info: dict
    volume: Path | None = None
    mask: Path | None = None
    note: str = ""
    error: errors.DatasetError | None = None

    def __str__(self):
        return self.sample.stem


def plan(root_dir, output_dir, archive_manifest, facts, belongs=None) -> list[Pair]:
    """Make out from the archive manifest which samples there are and what is wrong with them.

    Parameters
    ----------
    root_dir : path-like
        The archive, which ``file_path`` is relative to.
    output_dir : path-like
        The grouped tree, or the sub-data set's folder in it.
    archive_manifest : path-like
        Workbook of routine 01, perhaps corrected by hand.
    facts : module or object
        The data set's (see `amos22`).
    belongs : callable, optional
        Tells of a row whether it is to be looked at here: one of this sub-data set, or one that
        belongs nowhere and so is a fault. Default: every row.

    Returns
    -------
    list of Pair
        By sample name; the faulty ones too.

    Raises
    ------
    DatasetError
        The manifest cannot be used.
    """
    rows = manifest.read_sheet(
        archive_manifest, required=("file_path", "type", *facts.INFO_KEYS)
    ).rows
    by_sample = collections.defaultdict(list)
    faulty = []
    for row in rows:
        try:
            plain = facts.plain_row(row)
        except errors.DatasetError as error:
            sample = samples.Sample(row["file_path"] or "row without file_path", Path(output_dir))
            faulty.append(Pair(sample, {}, error=error))
            continue
        by_sample[facts.sample_name(plain)].append(plain)
    # Made absolute: "." has no name and no parent that would lead to the sibling.
    places = _places(facts.trees(Path(os.path.abspath(output_dir))))
    _tell_unlisted(places, by_sample, Path(os.path.abspath(output_dir)))
    on_disk = archive.find(root_dir, facts)
    labelled = {file.sample for file in on_disk.files if file.type == "m3d"}
    labelled.update(name for name, _ in on_disk.failures)
    # Below a folder that cannot be listed, label files may lie unseen.
    faulty += [
        Pair(samples.Sample(name, Path(output_dir)), {}, error=error)
        for name, error in on_disk.failures
        if error.code == "read"
    ]
    roots = Path(root_dir), Path(output_dir)
    return faulty + [
        _pair(stem, of_sample, *roots, facts, stem in labelled, places[stem])
        for stem, of_sample in sorted(by_sample.items())
        if belongs is None or any(map(belongs, of_sample))
    ]


def _places(trees):
    """Directories in which each sample lies already."""
    places = collections.defaultdict(list)
    for tree in trees:
        for sample in samples.scan(tree):
            places[sample.stem].append(sample.directory)
    return places


def _tell_unlisted(places, by_sample, output_dir):
    """Warn about samples that lie there though the manifest does not have them (any more)."""
    for stem in sorted(set(places) - set(by_sample)):
        for place in places[stem]:
            if output_dir in place.parents:
                _warn(
                    f"{stem}: lies in {place}, but the manifest has no usable row for it; it "
                    "stays as it is, later routines will take it (remove the folder to leave it "
                    "out)"
                )


def _pair(stem, rows, root_dir, output_dir, facts, is_labelled, places):
    info = {key: rows[0][key] for key in facts.INFO_KEYS}
    sample = samples.Sample(stem, output_dir)
    cases = _row_cases(stem, rows, facts)
    if cases:
        return Pair(sample, info, error=errors.CasesError(cases))
    sample = samples.Sample(stem, output_dir / facts.sample_dir(info))
    found, cases = _find_files(rows, root_dir)
    elsewhere = [place for place in places if place != Path(os.path.abspath(sample.directory))]
    if elsewhere:
        cases.append(
            errors.DatasetError(
                f"already lies in {elsewhere[0]}, expected in {sample.directory}; remove that "
                "folder and run this routine again",
                file=elsewhere[0],
                code="elsewhere",
                expected=sample.directory,
                found=elsewhere[0],
            )
        )
    note = ""
    if "m3d" not in found and not cases and info["subset"] in facts.LABELLED_SUBSETS:
        if is_labelled:
            cases.append(
                errors.DatasetError(
                    f"a label file of this {info['subset']} volume lies in the archive, but the "
                    "manifest has no mask row for it (damaged, or removed by hand?)",
                    code="no_row",
                )
            )
        note = f"no mask in the archive, though it is a {info['subset']} sample; volume only"
    if cases:
        return Pair(sample, info, error=errors.CasesError(cases))
    return Pair(sample, info, found["v3d"], found.get("m3d"), note)


def _row_cases(stem, rows, facts):
    """What is wrong with a sample's rows by themselves."""
    kinds = collections.Counter(row["type"] for row in rows)
    cases = []
    for kind, n in kinds.items():
        if n > 1:
            paths = ", ".join(row["file_path"] for row in rows if row["type"] == kind)
            reason = f"{n} rows of type {kind} ({paths}), expected one"
            cases.append(errors.DatasetError(reason, code="double"))
    if not kinds["v3d"]:
        cases.append(
            errors.DatasetError(
                f"mask {rows[0]['file_path']} has no volume in the manifest", code="no_volume"
            )
        )
    for key in facts.INFO_KEYS:
        given = {row["file_path"]: row[key] for row in rows}
        if len(set(given.values())) > 1:
            told = " and ".join(f"{value!r} ({path})" for path, value in given.items())
            cases.append(
                errors.DatasetError(
                    f"its rows disagree on {key}: {told}", code="metadata", found=told
                )
            )
    return cases or facts.row_faults(rows[0])


def _find_files(rows, root_dir):
    found, cases = {}, []
    for row in rows:
        relative_path = PurePosixPath(row["file_path"])
        path = root_dir / relative_path
        if relative_path.is_absolute() or ".." in relative_path.parts:
            reason = f"{row['file_path']!r} leaves the archive"
        elif not os.path.isfile(path):
            reason = f"{path} does not exist"
        else:
            found[row["type"]] = path
            continue
        cases.append(
            errors.DatasetError(
                f"the {_FILE_KINDS[row['type']]} of the manifest is not there: {reason}",
                file=path,
                code="missing",
            )
        )
    return found, cases


def prepare(pairs: list[Pair], output_dir, folders, overwrite: bool) -> str:
    """Estimate the disk space that is still needed, and make the tree's folders.

    Parameters
    ----------
    pairs : list of Pair
    output_dir : path-like
    folders : sequence of str
        Those that are there even without samples, relative to `output_dir`.
    overwrite : bool
        Finished samples are done again.

    Returns
    -------
    str
        A line on disk space for the user.

    Raises
    ------
    DatasetError
        There is less space than needed; nothing was made.
    """
    needed = sum(
        _size(pair.volume)
        for pair in pairs
        if pair.error is None and (overwrite or not os.path.exists(pair.sample.volume_path))
    )
    needed = int(GROWTH * needed)
    disk = next(
        place
        for place in (Path(output_dir).absolute(), *Path(output_dir).absolute().parents)
        if os.path.exists(place)
    )
    free = shutil.disk_usage(disk).free
    told = f"about {_readable_size(needed)} needed, {_readable_size(free)} free"
    if needed > free:
        raise errors.DatasetError(f"{disk}: not enough disk space: {told}", code="space")
    for folder in folders:
        files.make_dir(Path(output_dir, folder))
    files.sweep(output_dir)
    return f"Disk space: {told}"


def _size(path):
    with contextlib.suppress(OSError):
        return os.path.getsize(path)
    return 0


def _readable_size(n_bytes):
    return f"{n_bytes / 2**20:,.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:,.1f} GiB"


def size_bytes(pair: Pair) -> int:
    """Bytes of a pair's volume in the archive, to start with the largest."""
    return 0 if pair.volume is None else _size(pair.volume)


def confirm(pair: Pair, overwrite: bool, read_ahead: bool = False):
    """Write what of one sample is not finished yet.

    Parameters
    ----------
    pair : Pair
    overwrite : bool
        Write all of it.
    read_ahead : bool
        Use a second core; same bytes.

    Returns
    -------
    str or calls.Finished
        The sample's subset.

    Raises
    ------
    DatasetError
        The pair or one of its files is faulty.
    """
    if pair.error is not None:
        raise pair.error
    if pair.note:
        _warn(pair.note)
    volume = nifti.read_header(pair.volume)
    mask = nifti.read_header(pair.mask) if pair.mask else None
    if mask and mask.shape != volume.shape:
        raise errors.DatasetError(
            f"{mask.path}: shape {mask.shape} differs from its volume's {volume.shape}",
            file=mask.path,
            code="shape",
            expected=volume.shape,
            found=mask.shape,
        )
    files_of = {pair.sample.volume_path: volume, pair.sample.mask_path: mask}
    todo = {
        target: source
        for target, source in files_of.items()
        if source and (overwrite or not _is_finished(target, source))
    }
    info = samples.info_bytes(pair.info)
    if not todo and not overwrite and files.holds(pair.sample.info_path, info):
        return calls.Finished(pair.info["subset"])
    affine = _affine_to_write(volume, mask, tell=bool(todo))
    with contextlib.ExitStack() as stack:
        stack.enter_context(files.directory(pair.sample.directory))
        staged = []
        if mask and set(todo) == {pair.sample.volume_path}:
            # Renamed first: after an interruption the volume is still the one to do.
            staged += map(stack.enter_context, _moved_mask(pair.sample.mask_path, affine))
        staged += [
            stack.enter_context(_stage(target, source, affine, source is mask, read_ahead))
            for target, source in todo.items()
        ]
        with files.Pending(pair.sample.info_path) as info_file:
            info_file.handle.write(info)
            files.commit([*staged, info_file])
    return pair.info["subset"]


def _warn(message):
    warnings.warn(message, errors.DataWarning, stacklevel=2)


def _is_finished(target, source):
    """Whether a file of the grouped tree was made from this source; people may have edited it."""
    if not os.path.exists(target):
        return False
    try:
        header = nifti.read_header(target)
    except errors.DamagedFileError as error:
        _warn(f"{error}; written again")
        return False
    mark = marks.read(header.descrip).get(marks.SOURCE)
    if mark == source.source_crc and header.shape == source.shape:
        return True
    if mark is None:
        if header.shape != source.shape:
            raise errors.DatasetError(
                f"{target}: not written by this routine (no mark of its source) and of shape "
                f"{header.shape}, expected {source.shape}; move it away or use --overwrite",
                file=target,
                code="foreign",
                expected=source.shape,
                found=header.shape,
            )
        _warn(f"{target}: carries no mark of its source (saved by another tool?); left as it is")
        return True
    reason = (
        "its source changed since"
        if mark != source.source_crc
        else f"of shape {header.shape}, its source {source.shape}"
    )
    _warn(f"{target}: {reason}; written again")
    return False


def _affine_to_write(volume, mask, tell):
    """The volume's affine as ITK takes it, where that moves no voxel noticeably."""
    messages = volume.complaints()
    affine = volume.affine
    if not geometry.is_orthonormal(affine.astype(np.float32)):
        nearest = geometry.nearest_orthonormal(affine, volume.shape)
        moved = geometry.corner_displacement_mm(affine, nearest, volume.shape)
        if moved <= geometry.REPAIR_LIMIT_MM:
            affine = nearest
            messages.append(
                f"{volume.path}: axes not orthonormal; the nearest orthonormal affine "
                f"is written, which moves no voxel by more than {moved:.2g} mm"
            )
        else:
            messages.append(
                f"{volume.path}: axes not orthonormal, the nearest orthonormal affine "
                f"is {moved:.3g} mm off; kept as it is in the sform, and tools based "
                "on ITK will refuse the file"
            )
    if mask is not None:
        apart = geometry.corner_displacement_mm(mask.affine, volume.affine, volume.shape)
        if apart > _SAME_AFFINE_MM:
            norm = np.linalg.norm(mask.affine - volume.affine)
            messages.append(
                f"{mask.path}: affine differs from its volume's by {norm:.3g} "
                f"(Frobenius norm), at most {apart:.3g} mm in a corner; the volume's "
                "is taken"
            )
    for message in messages if tell else ():
        _warn(message)
    return affine


def _stage(target, source, affine, is_mask, read_ahead):
    descrip = marks.text({marks.SOURCE: source.source_crc})
    if is_mask:
        return nifti_writing.stage_mask(target, source, affine, descrip)
    pending, conversion = nifti_writing.stage_volume(target, source, affine, descrip, read_ahead)
    for message in conversion.complaints(source.path):
        _warn(message)
    return pending


def _moved_mask(path, affine):
    """A finished mask, as it is now, in the geometry of its volume where that has changed."""
    kept = nifti.read_header(path)
    if geometry.corner_displacement_mm(kept.affine, affine, kept.shape) > _SAME_AFFINE_MM:
        _warn(f"{path}: its volume's affine changed since; the voxels stay, the affine follows")
        return [nifti_writing.stage_mask(path, kept, affine, marks.text(marks.read(kept.descrip)))]
    return []


def summary(outcome: calls.Outcome, subsets) -> str:
    """Count the samples that are whole now, per subset.

    Parameters
    ----------
    outcome : calls.Outcome
        Of `confirm`.
    subsets : sequence of str
        In the order to show.
    """
    n_samples = collections.Counter(subset for _, subset in outcome.results)
    return "Samples: " + ", ".join(f"{subset} {n_samples[subset]}" for subset in subsets)

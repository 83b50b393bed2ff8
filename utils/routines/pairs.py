"""Routine 02: from manifest rows to sample directories, for any data set and sub-data set."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import DataSet
from utils.routines import archive, decided, split_choices
from utils.running import calls
from utils.storage import (
    files,
    holding,
    label_map,
    manifest,
    marks,
    mask_fit,
    nifti,
    nifti_writing,
    organ_masks,
    review,
    samples,
    workbook,
    zips,
)

# An int16 CT grows by about a fifth as float32 (same codec); this leaves a little for the rest.
GROWTH = 1.3
# What compression leaves of a .nii: 0.4 to 0.7 of int16 scans, less of float32 ones.
_COMPRESSED_SHARE = 0.5
_FILE_KINDS = {"v3d": "volume", "m3d": "mask"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """A volume of the archive, its mask if it has one, and where they go.

    The mask may lie in one file per organ, {name of the organ: path}.
    """

    sample: samples.Sample
    info: dict[str, str]  # what goes into the info file
    volume: Path | None = None
    mask: Path | None = None
    organs: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    names: organ_masks.Names = organ_masks.Names({})  # of the organs
    note: str = ""  # what the user should know about it, though it is no fault
    error: errors.DatasetError | None = None  # why nothing can be done for it

    def __str__(self):
        return self.sample.stem


def plan(
    root_dir: files.PathLike,
    output_dir: files.PathLike,
    archive_manifest: files.PathLike,
    facts: DataSet,
    belongs: Callable[[dict], bool] | None = None,
    organs: organ_masks.Names | None = None,
    review_path: Path | None = None,
) -> tuple[list[Pair], list[str]]:
    """Make out from the archive manifest which samples there are and what is wrong with them.

    Parameters
    ----------
    root_dir : path-like
        The archive, which ``file_path`` is relative to.
    output_dir : path-like
        The grouped tree, or the sub-data set's folder in it.
    archive_manifest : path-like
        Workbook of routine 01, perhaps corrected by hand; a DatasetError if it cannot be used.
    facts : facts.DataSet
    belongs : callable, optional
        Whether a row is to be looked at here: one of this sub-data set, or one that belongs
        nowhere and so is a fault. Default: every row.
    organs : organ_masks.Names, optional
        The organs of a data set whose masks lie in one file per organ, told by the column organ.
    review_path : Path, optional
        Decisions on samples, see `review.read`; those that it excludes are left out.

    Returns
    -------
    pairs : list of Pair
        By sample name; the faulty ones too.
    notes : list of str
        What came of the review.
    """
    columns = ("file_path", "type", *facts.INFO_KEYS, *(("organ",) if organs else ()))
    by_sample, faulty = _sort_rows(_read_rows(root_dir, archive_manifest, facts, columns), facts)
    mine = [entry for entry in faulty if belongs is None or belongs(entry[1])]
    told = {name for name, _, _ in mine if name}
    disk = _look(root_dir, output_dir, facts, organs)
    _find_renamed(disk, by_sample, facts)
    asked = {
        stem: of_sample
        for stem, of_sample in sorted(by_sample.items())
        if stem not in told and (belongs is None or any(map(belongs, of_sample)))
    }
    known = {*by_sample, *(name for name, _, _ in faulty if name), *disk.directories}
    excluded, notes = _excluded({*asked, *told}, known, disk, review_path)
    _warn_of_unlisted(disk, {*by_sample, *told, *excluded})
    failures = [
        (row["file_path"] or "row without file_path", error)
        for name, row, error in mine
        if name not in excluded
    ]
    # In a folder or zip that cannot be listed, label files may lie unseen.
    failures += [(name, error) for name, error in disk.failures if error.code in ("read", "zip")]
    found = [Pair(samples.Sample(name, disk.output_dir), {}, error=e) for name, e in failures]
    found += [
        _pair(stem, rows, disk, facts) for stem, rows in asked.items() if stem not in excluded
    ]
    return found, notes


def _read_rows(root_dir, archive_manifest, facts, columns):
    rows = workbook.Workbook(archive_manifest).table(manifest.MAIN_SHEET, required=columns)
    paths = [path for path in rows["file_path"] if path]
    if paths and not any(_is_there(Path(root_dir, path)) for path in paths):
        reason = f"{root_dir}: has none of the {len(paths)} files that {archive_manifest} lists"
        raise errors.DatasetError(reason + archive.meant(root_dir, facts), file=root_dir)
    records = rows.to_dict("records")
    facts.check_manifest(records, archive_manifest)
    return records


def _sort_rows(records, facts):
    """{sample: its rows}, and of each unusable row (sample, row, what is wrong)."""
    by_sample, faulty = collections.defaultdict(list), []
    for row in records:
        try:
            plain = facts.plain_row(row)
        except errors.DatasetError as error:
            faulty.append((_name_by_path(row, facts), row, error))
            continue
        by_sample[facts.sample_name(plain)].append(plain)
    return by_sample, faulty


def _excluded(asked, known, disk, review_path):
    """The samples that a review excludes, of those asked for or in the tree, and notes on it."""
    own = {stem for stem in known if stem in asked or _folders_here(disk, stem)}
    decisions, notes = decided.read(review_path, own, lambda: known)
    excluded = review.having(decisions, review.EXCLUDE)
    lying = [folder for stem in excluded for folder in _folders_here(disk, stem)]
    if lying:
        notes.append(
            f"{len(lying)} folders of excluded samples lie in the tree already and stay; the "
            "dataset manifest leaves them out (remove a folder to be rid of it): "
            f"{errors.listed(lying)}"
        )
    return excluded, notes


def _folders_here(disk, stem):
    """Folders of a sample in the tree that is written to."""
    output_dir = Path(os.path.abspath(disk.output_dir))
    return [folder for folder in disk.directories.get(stem, ()) if output_dir in folder.parents]


def _is_there(path):
    return os.path.lexists(path) or zips.split(path) is not None


def _name_by_path(row, facts):
    """The sample that a row's file is named after; None for another file."""
    columns = facts.classify(row["file_path"].rstrip())
    return facts.sample_name(columns) if columns else None


@dataclasses.dataclass(frozen=True)
class _Disk:
    """What lies in the archive and in the grouped tree: directories and label files by sample."""

    root_dir: Path
    output_dir: Path
    directories: dict
    labelled: dict  # sample -> names of its organs' files, '' for a file of all labels
    failures: list
    organs: organ_masks.Names | None


def _look(root_dir, output_dir, facts, organs):
    directories = collections.defaultdict(list)
    # Made absolute: "." has no name and no parent that would lead to the sibling.
    for tree in facts.trees(Path(os.path.abspath(output_dir))):
        for sample in samples.scan(tree):
            directories[sample.stem].append(sample.directory)
    contents = archive.find(root_dir, facts)
    labelled = collections.defaultdict(set)
    for file in (*contents.files, *contents.doubles):
        organ = _organ(file.columns, organs)
        if file.type == "m3d" and (not organs or organ in organs.labels):
            labelled[file.sample].add(organ)
    for name, _ in () if organs else contents.failures:
        labelled[name].add("")
    places = Path(root_dir), Path(output_dir)
    return _Disk(*places, directories, labelled, contents.failures, organs)


def _organ(columns, organs):
    """The organ that a file or row is of; '' where masks do not lie in one file per organ."""
    return label_map.file_form(columns["organ"]) if organs else ""


def _find_renamed(disk, listed, facts):
    """Put folders under the name that the data set now gives to the sample of their info file."""
    for stem in set(disk.directories) - set(listed):
        for directory in [*disk.directories[stem]]:
            info = {}
            with contextlib.suppress(errors.DatasetError):  # whose it is then nobody knows
                info = samples.info_of(samples.Sample(stem, directory))
            name = facts.sample_name(info) if {*facts.INFO_KEYS} <= {*info} else stem
            if name in listed:
                disk.directories[stem].remove(directory)
                disk.directories[name].append(directory)


def _warn_of_unlisted(disk, listed):
    """Warn about samples that lie there though the manifest does not have them (any more)."""
    for stem in sorted(set(disk.directories) - listed):
        for directory in _folders_here(disk, stem):
            errors.warn(
                f"{stem}: lies in {directory}, but the manifest has no usable row for it; it stays "
                "as it is, later routines will take it (remove the folder to leave it out)"
            )


def _pair(stem, rows, disk, facts):
    info = {key: rows[0][key] for key in facts.INFO_KEYS}
    cases = _row_cases(rows, facts, disk.organs)
    if cases:
        sample = samples.Sample(stem, disk.output_dir)
        return Pair(sample, info, error=errors.CasesError(cases))
    sample = samples.Sample(stem, disk.output_dir / facts.sample_dir(info))
    found, cases = _find_files(rows, disk)
    own = Path(os.path.abspath(sample.directory))
    elsewhere = [directory for directory in disk.directories[stem] if directory != own]
    if elsewhere:
        reason = (
            f"already lies in {elsewhere[0]}, expected in {sample.directory}; remove that folder "
            "and run this routine again"
        )
        sides = {"file": elsewhere[0], "expected": sample.directory, "found": elsewhere[0]}
        cases.append(errors.DatasetError(reason, code="elsewhere", **sides))
    volume = found.pop(("v3d", ""), None)
    masks = {organ: path for (_, organ), path in found.items()}
    note = ""
    if not cases and (masks or info["subset"] in facts.LABELLED_SUBSETS):
        cases += _unlisted_labels(disk.labelled[stem] - {*masks}, info["subset"])
        if not masks:
            note = f"no mask in the archive, though it is a {info['subset']} sample; volume only"
    if cases:
        return Pair(sample, info, error=errors.CasesError(cases))
    if disk.organs:
        return Pair(sample, info, volume, None, masks, disk.organs, note)
    return Pair(sample, info, volume, masks.get(""), note=note)


def _unlisted_labels(organs, subset):
    """What is wrong where label files, of these organs, lie there that the manifest lacks."""
    if organs:
        named = f" ({errors.listed(sorted(organs))})" if any(organs) else ""
        reason = (
            f"a label file{named} of this {subset} volume lies in the archive, but the manifest "
            "has no mask row for it (damaged, or removed by hand?)"
        )
        yield errors.DatasetError(reason, code="no_row")


def _row_cases(rows, facts, organs):
    """What is wrong with a sample's rows by themselves."""
    paths = collections.defaultdict(list)
    for row in rows:
        paths[_kind(row, organs)].append(row["file_path"])
    cases = []
    for (kind, organ), of_kind in paths.items():
        if len(of_kind) > 1:
            what = f"type {kind}{f' and organ {organ}' * bool(organ)}"
            reason = f"{len(of_kind)} rows of {what} ({', '.join(of_kind)}), expected one"
            cases.append(errors.DatasetError(reason, code="double"))
        if kind == "m3d" and organs and organ not in organs.labels:
            known = errors.listed(organs.labels)
            reason = f"mask {of_kind[0]} is of {organ!r}, expected one of {known}"
            cases.append(errors.DatasetError(reason, code="organ", found=organ))
    if ("v3d", "") not in paths:
        reason = f"mask {rows[0]['file_path']} has no volume in the manifest"
        cases.append(errors.DatasetError(reason, code="no_volume"))
    for key in facts.INFO_KEYS:
        given = {row["file_path"]: row[key] for row in rows}
        if len(set(given.values())) > 1:
            found = " and ".join(f"{value!r} ({path})" for path, value in given.items())
            reason = f"its rows disagree on {key}: {found}"
            cases.append(errors.DatasetError(reason, code="metadata", found=found))
    return cases or facts.row_faults(rows[0])


def _kind(row, organs):
    """Type and organ of a row: a sample has one file of each."""
    return row["type"], _organ(row, organs) if row["type"] == "m3d" else ""


def _find_files(rows, disk):
    found, cases = {}, []
    for row in rows:
        relative_path = PurePosixPath(row["file_path"])
        path = disk.root_dir / relative_path
        if relative_path.is_absolute() or ".." in relative_path.parts:
            reason = f"{row['file_path']!r} leaves the archive"
        elif files.is_file(path):
            found[_kind(row, disk.organs)] = path
            continue
        elif not os.path.exists(path):
            reason = f"{path} does not exist"
        else:  # opening a named pipe would wait for ever
            reason = f"{path} is no regular file (a folder, pipe or device)"
        message = f"the {_FILE_KINDS[row['type']]} of the manifest is not there: {reason}"
        cases.append(errors.DatasetError(message, file=path, code="missing"))
    return found, cases


def prepare(
    pairs: list[Pair], output_dir: files.PathLike, folders: Iterable[str], overwrite: bool
) -> str:
    """Estimate the disk space that is still needed, and make the tree's folders.

    The folders are there even without samples, but for that of unlabelled ones; `overwrite` does
    finished samples again. Returns a line for the user; with too little space a DatasetError, and
    nothing is made.
    """
    todo = [
        pair
        for pair in pairs
        if pair.error is None and (overwrite or not os.path.exists(pair.sample.volume_path))
    ]
    needed = int(GROWTH * sum(map(size_bytes, todo)))
    output_dir = Path(output_dir).absolute()
    disk = next(path for path in (output_dir, *output_dir.parents) if os.path.exists(path))
    free = shutil.disk_usage(disk).free
    space = f"about {_readable_size(needed)} needed, {_readable_size(free)} free"
    if needed > free:
        raise errors.DatasetError(f"{disk}: not enough disk space: {space}", code="space")
    subsets = {pair.info.get("subset", "") for pair in pairs}
    for folder in split_choices.at_hand(folders, subsets):
        files.make_dir(output_dir / folder)
    files.sweep(output_dir)
    return f"Disk space: {space}"


def _readable_size(n_bytes):
    return f"{n_bytes / 2**20:,.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:,.1f} GiB"


def size_bytes(pair: Pair) -> int:
    """Bytes of a pair's volume in the archive, of a .nii about those that a .nii.gz would have.

    For the estimate of disk space, and to start with the largest.
    """
    if pair.volume is None:
        return 0
    share = _COMPRESSED_SHARE if pair.volume.suffix == ".nii" else 1
    return int(share * files.size_bytes(pair.volume))


def memory_bytes(pair: Pair) -> int:
    """Estimate the memory of a pair whose organs are joined; others take little, which reads 0."""
    return nifti.mask_memory(pair.volume) if pair.volume and pair.organs else 0


def confirm(
    pair: Pair, overwrite: bool, read_ahead: bool = False, misfit: str = mask_fit.FAIL
) -> str | calls.Finished:
    """Write the files of one sample that are missing or out of date; return its subset.

    `overwrite` writes all of them; `read_ahead` uses a second core for the same bytes; with
    `misfit` "volume" the voxels of a mask that lies elsewhere are taken as they lie. A faulty pair,
    or one with a faulty file, is a DatasetError.
    """
    if pair.error is not None:
        raise pair.error
    if pair.note:
        errors.warn(pair.note)
    volume, mask, order = _read_headers(pair)
    with files.directory(pair.sample.directory), holding.folder(pair.sample.directory):
        return _write(pair, volume, mask, order, overwrite, read_ahead, misfit)


def _write(pair, volume, mask, order, overwrite, read_ahead, misfit):
    files_of = {pair.sample.volume_path: volume, pair.sample.mask_path: mask}
    todo = {
        target: source
        for target, source in files_of.items()
        if source and (overwrite or not _is_finished(target, source, volume))
    }
    info = samples.info_bytes(pair.info)
    if not todo and not overwrite and files.holds(pair.sample.info_path, info):
        return calls.Finished(pair.info["subset"])
    affine, messages = mask_fit.affine_to_write(volume)
    for message in messages if todo else ():
        errors.warn(message)
    for message in _oddities(mask, volume, order, misfit) if todo and mask else ():
        errors.warn(message)
    with contextlib.ExitStack() as stack:
        staged: list[files.Pending] = []
        if mask and set(todo) == {pair.sample.volume_path}:
            # Renamed first: after an interruption the volume is still the one to do.
            moved = _moved_mask(pair.sample.mask_path, volume, affine)
            staged += map(stack.enter_context, moved)
        for target, source in todo.items():
            pending = _stage(target, source, affine, source is mask, order, read_ahead)
            staged.append(stack.enter_context(pending))
        with files.Pending(pair.sample.info_path) as info_file:
            info_file.write(info)
            files.commit([*staged, info_file])
    return pair.info["subset"]


def _read_headers(pair):
    """Headers of volume and mask, and how the mask's axes must run; DatasetError for no pair."""
    volume = nifti.read_header(pair.volume)
    if pair.organs:
        return volume, _read_organs(pair, volume), None
    if pair.mask is None:
        return volume, None, None
    mask = nifti.read_header(pair.mask)
    return volume, mask, mask_fit.mask_order(mask, volume)


def _read_organs(pair, volume):
    found = []
    for name in sorted(pair.organs, key=lambda name: pair.names.labels[name]):
        mask = nifti.read_header(pair.organs[name])
        order = mask_fit.mask_order(mask, volume)
        found.append(organ_masks.Organ(pair.names.labels[name], name, mask, order))
    return organ_masks.Organs(tuple(found), pair.names.overlap)


def _oddities(mask, volume, order, misfit):
    """What is odd about how a mask, or those of organs, lie to their volume."""
    if not isinstance(mask, organ_masks.Organs):
        return mask_oddities(mask, volume, order, misfit)
    may_be_copy = organ_masks.is_binary(volume)
    for organ in mask.found if may_be_copy else ():
        _check_no_copy(volume, organ.header, organ.order)
    return organ_masks.told(
        mask.found, lambda organ: mask_fit.misfits(organ.header, volume, organ.order, misfit)
    )


def mask_oddities(
    mask: nifti.Header, volume: nifti.Header, order: np.ndarray | None, misfit: str
) -> Iterator[str]:
    """Yield what is odd about how a mask lies to its volume; DatasetError for no pair."""
    _check_no_copy(volume, mask, order)
    yield from mask_fit.misfits(mask, volume, order, misfit)


def _check_no_copy(volume, mask, order):
    if nifti_writing.is_copy(volume, mask, order):
        message = f"{volume.path}: holds the same voxels as its mask {mask.path}, expected a scan"
        raise errors.DatasetError(message, file=volume.path, code="copy")


def _is_finished(target, source, volume):
    """Whether a file of the grouped tree was made from this source; people may have edited it."""
    if not os.path.exists(target):
        return False
    try:
        header = nifti.read_header(target)
    except errors.DamagedFileError as error:
        errors.warn(f"{error}; written again")
        return False
    mark = marks.read(header.descrip).get(marks.SOURCE)
    shape = volume.shape
    is_of_source = mark in _source_crcs(source)
    if is_of_source and (header.shape == shape or header.axis_order(volume) is not None):
        return True  # perhaps a mask as its volume was, whose axes were exchanged since
    if mark is None and header.shape != shape:
        message = (
            f"{target}: not written by this routine (no mark of its source) and of shape "
            f"{header.shape}, expected {shape}; move it away or use --overwrite"
        )
        sides = {"expected": shape, "found": header.shape}
        raise errors.DatasetError(message, file=target, code="foreign", **sides)
    if mark is None:
        fate = "carries no mark of its source (saved by another tool?); left as it is"
    elif not is_of_source:
        what = "its source"
        if isinstance(source, organ_masks.Organs):
            what = "the files of its organs, their labels or the order in which they win"
        fate = f"{what} changed since; written again"
    else:
        fate = f"of shape {header.shape}, expected {shape}; written again"
    errors.warn(f"{target}: {fate}")
    return mark is None


def _source_crcs(source):
    """Marks of which a file has one that was made from this source."""
    if isinstance(source, organ_masks.Organs):
        return [source.source_crc(is_ordered) for is_ordered in (False, True)]
    return [source.source_crc]


def _stage(target, source, affine, is_mask, order, read_ahead):
    if isinstance(source, organ_masks.Organs):
        return organ_masks.stage(target, source, affine)
    descrip = marks.text({marks.SOURCE: source.source_crc})
    if is_mask:
        return nifti_writing.stage_mask(target, source, affine, descrip, order)
    pending, conversion = nifti_writing.stage_volume(target, source, affine, descrip, read_ahead)
    for message in conversion.complaints(source):
        errors.warn(message)
    return pending


def _moved_mask(path, volume, affine):
    """A finished mask, as it is now, in the geometry of its volume where that has changed."""
    kept = nifti.read_header(path)
    if np.array_equal(kept.affine, affine.astype(np.float32)):  # the header's very bytes
        return []
    order = kept.axis_order(volume, affine)
    if order is not None:
        errors.warn(f"{path}: its volume's axes changed since; the voxels are brought along")
    elif geometry.corner_displacement_mm(kept.affine, affine, kept.shape) > geometry.SAME_AFFINE_MM:
        message = f"{path}: its volume's affine changed since; the voxels stay, the affine follows"
        errors.warn(message)
    descrip = marks.text(marks.read(kept.descrip))
    return [nifti_writing.stage_mask(path, kept, affine, descrip, order)]


def summary(outcome: calls.Outcome, subsets: Sequence[str]) -> str:
    """Count the samples that are whole now, per subset in this order; an outcome of `confirm`."""
    n_samples = collections.Counter(subset for _, subset in outcome.results)
    shown = split_choices.at_hand(subsets, n_samples)
    return "Samples: " + ", ".join(f"{subset} {n_samples[subset]}" for subset in shown)

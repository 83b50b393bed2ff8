"""The scans of an archive as its manifest lists them, to look at before routine 02."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from utils import errors
from utils.facts import DataSet
from utils.qc import judging, label_files
from utils.running import provenance
from utils.storage import files, forms, label_map, manifest, mask_fit, nifti, organ_masks, workbook

VOLUME, MASK = "v3d", "m3d"
_UNLABELLED, _LABEL_MAP = "unlabelled", "label_map.yaml"
# Not of the person or the scanner.
_ALWAYS_KNOWN = ("subset", "seq")


@dataclasses.dataclass(frozen=True)
class Scan:
    """A volume of the archive, and its mask if it has one.

    Attributes
    ----------
    stem : str
        ID that routine 02 gives it.
    row : dict of str to str
        Cells that its rows of the manifest share.
    volume_path : Path
    masks : dict of str to Path
        Organ to file, where each organ has a file of its own; else that of all labels under ''.
    flags : tuple of judging.Flag
        What is wrong with its rows.
    error : errors.DatasetError or None
        Why it cannot be shown.
    """

    stem: str
    row: dict[str, str]
    volume_path: Path = Path()
    masks: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    flags: tuple[judging.Flag, ...] = ()
    error: errors.DatasetError | None = None

    def __str__(self):
        return self.stem

    @property
    def mask_path(self) -> Path:
        """File of its mask, or of one of its organs."""
        return next(iter(self.masks.values()), self.volume_path)

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask to show."""
        return bool(self.masks)


@dataclasses.dataclass(frozen=True)
class Listed:
    """What the manifest lists.

    Attributes
    ----------
    root_dir : Path
        Folder that its paths are relative to.
    label_names : dict of int to str
        Of the labels in its masks.
    organs : organ_masks.Names or None
        See `facts.DataSet.organ_names`.
    scans : list of Scan
        By ID.
    notes : list of str
        What holds for all of them.
    faults : list of str
        Rows that are of no sample.
    """

    root_dir: Path
    label_names: dict[int, str]
    organs: organ_masks.Names | None
    scans: list[Scan]
    notes: list[str]
    faults: list[str]


def read(manifest_path: Path, root_dir: Path | None, facts: DataSet) -> Listed:
    """Read an archive manifest; DatasetError where it cannot be used or has none of its files.

    Without `root_dir` its paths are relative to its own folder or the nearest parent where there
    are such files, or to the folder ``archive`` there.
    """
    organs = facts.organ_names()
    columns = ("file_path", "type", *facts.INFO_KEYS, *(("organ",) if organs else ()))
    table = workbook.Workbook(manifest_path).table(manifest.MAIN_SHEET, required=columns)
    records = table.to_dict("records")
    root = _root(manifest_path, root_dir, [row["file_path"].rstrip() for row in records])
    rows, faults = collections.defaultdict(list), []
    flags: dict[str, list[judging.Flag]] = collections.defaultdict(list)
    for row in records:
        name, plain, fault = _plain(row, facts)
        if not name or not forms.is_folder(name):
            faults.append(f"FAILED row of {row['file_path']!r}: {fault or 'names no sample'}")
            continue
        rows[name].append(plain)
        flags[name] += [_wrong(fault)] if fault else []
    scans = [_scan(name, rows[name], flags[name], root, facts, organs) for name in sorted(rows)]
    known = {key for of_scan in rows.values() for key in _known(of_scan[0], facts)}
    unknown = [key for key in _metadata(facts) if rows and key not in known]
    notes = [f"of no scan is known: {', '.join(unknown)}"] if unknown else []
    scans = [_with_unknown(one, known, facts) for one in scans]
    return Listed(root, _label_names(facts, root), organs, scans, notes, faults)


def _plain(row, facts):
    """Name of the sample of a row, its cells in their forms, and what is wrong with them."""
    try:
        plain = facts.plain_row(row)
    except errors.DatasetError as error:
        columns = facts.classify(row["file_path"].rstrip()) or {}
        name = facts.sample_name(columns) if columns else ""
        return name, {**row, **columns, "file_path": row["file_path"].rstrip()}, str(error)
    return facts.sample_name(plain), plain, ""


def _wrong(fault):
    return judging.flag("manifest", f"Routine 02 would fail this sample: {fault}.")


def _root(manifest_path, root_dir, paths):
    inside = [path for path in paths if _is_inside(path)]
    folders = [root_dir] if root_dir else _near(manifest_path)
    for folder in folders:
        if any(files.is_file(folder / path) for path in inside):
            return folder
    if root_dir:
        reason = f"{root_dir}: has none of the {len(paths)} files that {manifest_path} lists"
    else:
        reason = f"{manifest_path}: none of its {len(paths)} files lies below its folder or a "
        reason += "folder above; --root_dir names the archive"
    raise errors.DatasetError(reason, file=root_dir or manifest_path, code="missing")


def _near(manifest_path):
    """The manifest's folder and those above, each followed by the archive in it."""
    for folder in manifest_path.absolute().parents:
        yield from (folder, folder / provenance.DATA_FOLDERS[0])


def _is_inside(path):
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts


def _scan(name, rows, flags, root, facts, organs):
    volumes = [row for row in rows if row["type"] == VOLUME]
    if len(volumes) != 1:
        found = ", ".join(row["file_path"] for row in volumes or rows)
        reason = f"{len(volumes)} rows of type {VOLUME}, expected one: {found}"
        if not volumes:
            reason = f"mask {found} has no volume in the manifest"
        error = errors.DatasetError(reason, code="double" if volumes else "no_volume")
        return Scan(name, rows[0], flags=tuple(flags), error=error)
    row = volumes[0]
    flags += map(_wrong, _row_faults(row, rows, facts))
    masks = collections.defaultdict(list)
    for other in rows:
        if other["type"] == MASK:
            organ = label_map.file_form(other["organ"]) if organs else ""
            masks[organ].append(other["file_path"])
    for paths in masks.values():
        if len(paths) > 1:
            flags.append(_wrong(f"{len(paths)} rows of one mask: {', '.join(paths)}"))
    single = {
        organ: root / paths[0]
        for organ, paths in masks.items()
        if len(paths) == 1 and (not organs or organ in organs.labels)
    }
    if not masks and row["subset"] in facts.LABELLED_SUBSETS:
        reason = f"There is no mask in the manifest, though it is a {row['subset']} sample."
        flags.append(judging.flag("pair", reason, judging.DOUBTFUL))
    outside = [other["file_path"] for other in rows if not _is_inside(other["file_path"])]
    error = None
    if outside:
        error = errors.DatasetError(f"{outside[0]!r} leaves the archive", code="path")
    return Scan(name, row, root / row["file_path"], single, tuple(flags), error)


def _row_faults(row, rows, facts):
    """Yield what is wrong with the metadata of a sample."""
    for key in facts.INFO_KEYS:
        given = {other["file_path"]: other[key] for other in rows}
        if len(set(given.values())) > 1:
            found = " and ".join(f"{value!r} ({path})" for path, value in given.items())
            yield f"its rows disagree on {key}: {found}"
    yield from map(str, facts.row_faults(row))


def _metadata(facts):
    return [key for key in facts.INFO_KEYS if key not in _ALWAYS_KNOWN]


def _known(row, facts):
    return [key for key in _metadata(facts) if row[key] not in ("", facts.UNDEFINED)]


def _with_unknown(scan, known, facts):
    """Flag what is known of other scans, and not of this one."""
    unknown = sorted(known.difference(_known(scan.row, facts)), key=facts.INFO_KEYS.index)
    if not unknown or scan.row["subset"] == _UNLABELLED:
        return scan
    named = ", ".join(key.replace("_", " ") for key in unknown)
    raised = judging.flag("metadata", f"Not known ({facts.UNDEFINED}): {named}.")
    return dataclasses.replace(scan, flags=(*scan.flags, raised))


def open_files(
    scan: Scan, organs: organ_masks.Names | None
) -> tuple[nifti.Header, label_files.LabelFile | None, list[judging.Flag]]:
    """Read the headers of a scan; its mask as routine 02 would take it, and what is odd about both.

    DatasetError where the scan cannot be shown. A mask of another shape, or whose header cannot be
    read, is a flag, and not shown.
    """
    if scan.error:
        raise scan.error
    volume = nifti.read_header(scan.volume_path)
    _, oddities = mask_fit.affine_to_write(volume)
    flags = [_odd(volume, text, "volume") for text in oddities]
    if not scan.masks:
        return volume, None, flags
    try:
        masks = {organ: nifti.read_header(path) for organ, path in scan.masks.items()}
        orders = {organ: mask_fit.mask_order(mask, volume) for organ, mask in masks.items()}
    except errors.DatasetError as error:
        reason = label_files.told(error, scan.volume_path, *scan.masks.values())
        return volume, None, [judging.flag("pair", f"Shown without mask: {reason}."), *flags]
    for organ, mask in masks.items():
        flags += _pair_flags(mask, volume, orders[organ])
    source, order = _source(masks, orders, organs)
    return volume, label_files.LabelFile.onto(volume, source, order=order), _once(flags)


def _source(masks, orders, organs):
    if organs is None:
        ((organ, mask),) = masks.items()
        return mask, orders[organ]
    found = [
        organ_masks.Organ(organs.labels[organ], organ, mask, orders[organ])
        for organ, mask in masks.items()
    ]
    return organ_masks.Organs(tuple(sorted(found, key=lambda one: one.label)), organs.overlap), None


def _odd(header, text, what):
    return judging.flag("header", f"The {what}: {text.removeprefix(f'{header.path}: ')}.")


def _pair_flags(mask, volume, order):
    """Yield what is odd about a mask's header, and about how it lies to its volume."""
    if not mask.has_orientation:
        reason = "The mask has neither sform nor qform; its volume's geometry is taken."
        yield judging.flag("header", reason)
        return
    yield from (_odd(mask, text, "mask") for text in mask.complaints())
    if order is not None:
        yield judging.flag("pair", f"The mask is {mask_fit.turned(mask, volume)}.", judging.UNUSUAL)
    found = mask_fit.apart(mask, volume, order)
    if found is None:
        return
    seen = f"{found.voxels:.3g} voxels"
    if found.is_misfit:
        reason = (
            f"The mask's {found.text}: {seen}. It is shown voxel by voxel; routine 02 fails it "
            f"unless told --misfit {mask_fit.TAKE_VOLUMES}."
        )
        yield judging.flag("pair", reason, evidence=seen)
    else:
        severity = judging.UNUSUAL if found.is_same_grid else judging.DOUBTFUL
        reason = f"The mask's {found.text}; routine 02 takes the volume's."
        yield judging.flag("pair", reason, severity, evidence=seen)


def _once(flags: Iterable[judging.Flag]) -> list[judging.Flag]:
    """The same of several organs' files once."""
    return list(dict.fromkeys(flags))


def _label_names(facts, root_dir):
    """Names of the organs' labels, by the label map beside the archive where there is one."""
    beside = (provenance.folder({"root_dir": root_dir}) or root_dir) / _LABEL_MAP
    names = facts.archive_labels(beside if beside.exists() else None)
    return {value: name for value, name in names.items() if value}


def paths(scan: Scan) -> dict[str, Path]:
    """``volume`` and ``mask`` as far as they are files that other programs can open."""
    found = {"volume": scan.volume_path}
    if len(scan.masks) == 1:
        found["mask"] = scan.mask_path
    return {key: path for key, path in found.items() if os.path.isfile(path)}


def members(scan: Scan, root_dir: Path) -> dict[str, str]:
    """Where its files lie in zips, relative to the archive, as texts."""
    found = {"volume": scan.volume_path, **dict.fromkeys(scan.masks and ["mask"], scan.mask_path)}
    return {
        key: path.relative_to(root_dir).as_posix()
        for key, path in found.items()
        if not os.path.isfile(path) and files.is_file(path)
    }

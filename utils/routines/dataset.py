"""Routine 05: check the files of every sample against each other and index them."""

import collections
import dataclasses
import warnings

import numpy as np

from utils import errors
from utils.arrays import geometry, labels
from utils.routines import binary_masks, splits
from utils.running import calls
from utils.storage import manifest, nifti, samples

GEOMETRY_COLUMNS = [
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "vol_dtype",
    "mask_dtype",
    "transform",
]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the manifest says of one sample.

    Attributes
    ----------
    row : dict
        Cells of the columns that do not depend on the labels.
    binary_masks : dict of (int, str) to str
        Label and name to the path relative to the root; empty without a mask.
    present : frozenset of int
        Labels that occur in the mask.
    """

    row: dict
    binary_masks: dict
    present: frozenset

    @property
    def has_mask(self) -> bool:
        """Whether the sample has a multi-label mask."""
        return bool(self.row["mask"])


def describe(sample: samples.Sample, root_dir, info_keys, tolerance_mm: float) -> Entry:
    """Check one sample and collect its row.

    Parameters
    ----------
    sample : samples.Sample
    root_dir : Path
        Paths in the row are relative to it.
    info_keys : sequence of str
        Keys of the info file that become columns.
    tolerance_mm : float
        Affine, spacing or origin may differ by this much.

    Returns
    -------
    Entry

    Raises
    ------
    CasesError
        Everything that does not fit together.
    """
    cases = []
    info = _tried(cases, _read_info, sample, info_keys)
    volume = _tried(cases, _read_volume, sample)
    paths = sample.binary_mask_paths()
    own = [sample.mask_path] if sample.has_mask else []
    headers = [_tried(cases, nifti.read_header, path) for path in (*own, *paths.values())]
    headers = [header for header in headers if header]
    for header in headers if volume else ():
        cases += _misfits(header, volume, tolerance_mm)
    cases += _mixed_types(headers)
    present = frozenset()
    if own:
        readable = {header.path for header in headers}
        mask = _tried(cases, nifti.read_mask, sample.mask_path) if own[0] in readable else None
        if mask:
            present = frozenset(np.flatnonzero(labels.counts(mask.data)).tolist())
            cases += _label_cases(sample, mask, paths, readable, present)
    elif paths:
        cases.append(
            errors.DatasetError(
                f"{sample.directory}: {len(paths)} binary masks without their multi-label mask",
                file=sample.directory,
                code="no_mask",
            )
        )
    _warn_of_oddities(sample, volume)
    if cases:
        raise errors.CasesError(cases)
    return _entry(sample, root_dir, info, volume, headers, present)


def _tried(cases, function, *args):
    """What the function returns, or None: its fault is one of several that are to be listed."""
    try:
        return function(*args)
    except errors.DatasetError as error:
        cases += error.cases
        return None


def _read_info(sample, keys):
    info = samples.read_info(sample.info_path)
    missing = [samples.no_key(sample.info_path, key) for key in keys if key not in info]
    if missing:
        raise errors.CasesError(missing)
    return {key: info[key] for key in keys}


def _read_volume(sample):
    if not sample.volume_path.exists():
        raise errors.DatasetError(
            f"{sample.volume_path}: the volume is missing",
            file=sample.volume_path,
            code="no_volume",
        )
    return nifti.read_header(sample.volume_path)


def _warn_of_oddities(sample, volume):
    messages = volume.complaints() if volume else []
    foreign = sample.foreign_files()
    if foreign:
        messages.append(
            f"{sample.directory}: NIfTI files that are none of this sample's are "
            f"ignored: {', '.join(foreign)}"
        )
    for message in messages:
        warnings.warn(message, errors.DataWarning, stacklevel=2)


def _misfits(header, volume, tolerance_mm):
    """Cases of one mask's header against its volume's."""
    if header.shape != volume.shape:
        yield errors.DatasetError(
            f"{header.path}: shape {header.shape} differs from its volume's {volume.shape}",
            file=header.path,
            code="shape",
            expected=volume.shape,
            found=header.shape,
        )
        return
    apart = {
        "affine": geometry.corner_displacement_mm(header.affine, volume.affine, volume.shape),
        "spacing": max(
            np.abs(header.spacing - volume.spacing).max(), np.abs(header.zooms - volume.zooms).max()
        ),
        "origin": np.linalg.norm(header.affine[:3, 3] - volume.affine[:3, 3]),
    }
    for what, distance_mm in apart.items():
        if not distance_mm <= tolerance_mm:
            yield errors.DatasetError(
                f"{header.path}: {what} differs from its volume's by {distance_mm:.3g} mm, "
                f"expected at most {tolerance_mm:g} mm",
                file=header.path,
                code=what,
                expected=tolerance_mm,
                found=f"{distance_mm:.3g}",
            )


def _mixed_types(headers):
    found = collections.defaultdict(list)
    for header in headers:
        found[header.dtype_name].append(header.path)
    if len(found) > 1:
        told = " and ".join(
            f"{name} ({', '.join(path.name for path in paths[:3])}"
            f"{' ...' if len(paths) > 3 else ''})"
            for name, paths in sorted(found.items())
        )
        folder = headers[0].path.parent
        yield errors.DatasetError(
            f"{folder}: masks of different data types: {told}",
            file=folder,
            code="dtype",
            found=told,
        )


def _label_cases(sample, mask, paths, readable, present):
    cases = []
    for key, path in paths.items():
        if path in readable and _tried(cases, binary_masks.stale, mask, {key: path}):
            cases.append(
                errors.DatasetError(
                    f"{path}: its voxels are not its label's in {sample.mask_path.name} (stale); "
                    f"run {binary_masks.ROUTINE} again",
                    file=path,
                    code="stale",
                )
            )
    missing = sorted(present - {value for value, _ in paths})
    if missing:
        cases.append(
            errors.DatasetError(
                f"{sample.mask_path}: no binary mask for its labels "
                f"{', '.join(map(str, missing))}; run {binary_masks.ROUTINE}",
                file=sample.mask_path,
                code="no_binary_masks",
                found=missing,
            )
        )
    return cases


def _entry(sample, root_dir, info, volume, headers, present):
    def relative(path):
        return path.relative_to(root_dir).as_posix()

    start, end = geometry.orientation_codes(volume.affine)
    has_mask = sample.has_mask
    row = {
        "ID": sample.stem,
        **info,
        "valid_labels": ",".join(map(str, sorted(present))),
        "info": relative(sample.info_path),
        "volume": relative(sample.volume_path),
        "mask": relative(sample.mask_path) if has_mask else "",
        **dict(zip(("szx", "szy", "szz"), volume.shape)),
        **dict(zip(("spx", "spy", "spz"), volume.spacing.tolist())),
        "orientation_from": start,
        "orientation_to": end,
        "vol_dtype": volume.dtype_name,
        "mask_dtype": headers[0].dtype_name if has_mask else "",
        "transform": geometry.affine_text(volume.affine),
    }
    paths = {key: relative(path) for key, path in sample.binary_mask_paths().items()}
    return Entry(row, paths, present)


def check_together(found: list[samples.Sample], outcome: calls.Outcome) -> None:
    """Add to an outcome of `describe` what is wrong between samples.

    Parameters
    ----------
    found : list of samples.Sample
        All samples, those that failed included.
    outcome : calls.Outcome

    Notes
    -----
    One sample in two folders; a sample with a mask but without the binary mask of a label that
    another sample has.
    """
    folders = collections.defaultdict(list)
    for sample in found:
        folders[sample.stem].append(str(sample.directory))
    for stem, places in folders.items():
        if len(places) > 1:
            outcome.fail(
                stem,
                errors.DatasetError(
                    f"lies in {len(places)} folders: {', '.join(places)}",
                    file=places[0],
                    code="double",
                    expected=1,
                    found=len(places),
                ),
            )
    keys = label_keys(outcome)
    for sample, entry in outcome.results:
        missing = [
            f"{value:02d}_{name}" for value, name in keys if (value, name) not in entry.binary_masks
        ]
        if entry.has_mask and missing:
            outcome.fail(
                sample.stem,
                errors.DatasetError(
                    f"{sample.directory}: no binary masks {', '.join(missing)}, which other "
                    f"samples have; run {binary_masks.ROUTINE}",
                    file=sample.directory,
                    code="no_binary_masks",
                    found=missing,
                ),
            )


def label_keys(outcome: calls.Outcome) -> list[tuple[int, str]]:
    """Labels and names of all binary masks, by label."""
    return sorted({key for _, entry in outcome.results for key in entry.binary_masks})


def table(outcome: calls.Outcome, info_keys) -> manifest.Table:
    """Make the manifest of all samples.

    Parameters
    ----------
    outcome : calls.Outcome
        Of `describe`, without failures.
    info_keys : sequence of str
        Keys of the info file that become columns.

    Returns
    -------
    manifest.Table
        Rows by sample; without a mask all its mask cells are empty.
    """
    keys = label_keys(outcome)
    names = [f"mask_{value:02d}_{name}" for value, name in keys]
    columns = [
        "ID",
        *info_keys,
        "valid_labels",
        "info",
        "volume",
        "mask",
        *names,
        *(f"{name}_existence" for name in names),
        *GEOMETRY_COLUMNS,
    ]
    rows = []
    for _, entry in outcome.results:
        row = dict(entry.row)
        for (value, _), key, name in zip(keys, keys, names):
            row[name] = entry.binary_masks.get(key, "")
            row[f"{name}_existence"] = int(value in entry.present) if entry.has_mask else ""
        rows.append(row)
    return manifest.Table(columns, rows)


def write(
    found: list[samples.Sample], outcome: calls.Outcome, path, info_keys, overwrite: bool
) -> str:
    """Write the manifest of all samples, unless one of them failed.

    Parameters
    ----------
    found : list of samples.Sample
        All samples.
    outcome : calls.Outcome
        Of `describe`; what is wrong between samples, and split sheets that are out of date now,
        are added.
    path : path-like
        Workbook; its other worksheets are kept.
    info_keys : sequence of str
        Keys of the info file that become columns.
    overwrite : bool
        See `manifest.replace_sheet`.

    Returns
    -------
    str
        A line that tells what was done.
    """
    check_together(found, outcome)
    if outcome.failures:
        return f"No manifest written; {path} is as it was"
    made = table(outcome, info_keys)
    manifest.replace_sheet(path, manifest.MAIN_SHEET, made, overwrite)
    outcome.warnings += [
        (name, "this worksheet repeats an older manifest; make the split again")
        for name in splits.out_of_date(path, made)
    ]
    return f"{path}: {len(made.rows)} rows"

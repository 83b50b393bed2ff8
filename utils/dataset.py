"""Routine 05: check the files of every sample against each other and index them."""
import collections
import dataclasses

import numpy as np

from utils import binary_masks, errors, geometry, labels, manifest, nifti, runner, samples

GEOMETRY_COLUMNS = ["szx", "szy", "szz", "spx", "spy", "spz", "orientation_from", "orientation_to",
                    "vol_dtype", "mask_dtype", "transform"]


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
    info = samples.read_info(sample.info_path)
    cases += [samples.no_key(sample.info_path, key) for key in info_keys if key not in info]
    if not sample.volume_path.exists():
        cases.append(errors.DatasetError(f"{sample.volume_path}: the volume is missing",
                                         file=sample.volume_path, code="no_volume"))
        raise errors.CasesError(cases)
    volume = nifti.read_header(sample.volume_path)
    paths = sample.binary_mask_paths()
    headers = _mask_headers(sample, paths)
    cases += [case for header in headers for case in _misfits(header, volume, tolerance_mm)]
    cases += _mixed_types(headers)
    present = frozenset()
    if sample.mask_path.exists():
        mask = nifti.read_mask(sample.mask_path)
        present = frozenset(np.flatnonzero(labels.counts(mask.data)).tolist())
        cases += _label_cases(sample, mask, paths, present)
    elif paths:
        cases.append(errors.DatasetError(
            f"{sample.directory}: {len(paths)} binary masks without their multi-label mask",
            file=sample.directory, code="no_mask"))
    if cases:
        raise errors.CasesError(cases)
    return _entry(sample, root_dir, {key: info[key] for key in info_keys}, volume, headers, present)


def _mask_headers(sample, paths):
    own = [sample.mask_path] if sample.mask_path.exists() else []
    return [nifti.read_header(path) for path in (*own, *paths.values())]


def _misfits(header, volume, tolerance_mm):
    """Cases of one mask's header against its volume's."""
    if header.shape != volume.shape:
        yield errors.DatasetError(
            f"{header.path}: shape {header.shape} differs from its volume's {volume.shape}",
            file=header.path, code="shape", expected=volume.shape, found=header.shape)
        return
    apart = {
        "affine": geometry.corner_displacement_mm(header.affine, volume.affine, volume.shape),
        "spacing": max(np.abs(header.spacing - volume.spacing).max(),
                       np.abs(header.zooms - volume.zooms).max()),
        "origin": np.linalg.norm(header.affine[:3, 3] - volume.affine[:3, 3])}
    for what, distance_mm in apart.items():
        if not distance_mm <= tolerance_mm:
            yield errors.DatasetError(
                f"{header.path}: {what} differs from its volume's by {distance_mm:.3g} mm, "
                f"expected at most {tolerance_mm:g} mm", file=header.path, code=what,
                expected=tolerance_mm, found=f"{distance_mm:.3g}")


def _mixed_types(headers):
    found = collections.defaultdict(list)
    for header in headers:
        found[header.dtype_name].append(header.path)
    if len(found) > 1:
        told = " and ".join(f"{name} ({', '.join(path.name for path in paths[:3])}"
                            f"{' ...' if len(paths) > 3 else ''})"
                            for name, paths in sorted(found.items()))
        yield errors.DatasetError(f"{headers[0].path.parent}: masks of different data types: {told}",
                                  file=headers[0].path.parent, code="dtype", found=told)


def _label_cases(sample, mask, paths, present):
    for path in binary_masks.stale(mask, paths):
        yield errors.DatasetError(
            f"{path}: its voxels are not its label's in {sample.mask_path.name} (stale); run "
            "routine 04 again", file=path, code="stale")
    missing = sorted(present - {value for value, _ in paths})
    if missing:
        yield errors.DatasetError(
            f"{sample.mask_path}: no binary mask for its labels "
            f"{', '.join(map(str, missing))}; run routine 04", file=sample.mask_path,
            code="no_binary_masks", found=missing)


def _entry(sample, root_dir, info, volume, headers, present):
    def relative(path):
        return path.relative_to(root_dir).as_posix()

    start, end = geometry.orientation_codes(volume.affine)
    has_mask = sample.mask_path.exists()
    row = {
        "ID": sample.stem, **info,
        "valid_labels": ",".join(map(str, sorted(present))),
        "info": relative(sample.info_path), "volume": relative(sample.volume_path),
        "mask": relative(sample.mask_path) if has_mask else "",
        **dict(zip(("szx", "szy", "szz"), volume.shape)),
        **dict(zip(("spx", "spy", "spz"), volume.spacing.tolist())),
        "orientation_from": start, "orientation_to": end, "vol_dtype": volume.dtype_name,
        "mask_dtype": headers[0].dtype_name if has_mask else "",
        "transform": geometry.affine_text(volume.affine)}
    paths = {key: relative(path) for key, path in sample.binary_mask_paths().items()}
    return Entry(row, paths, present)


def check_together(outcome: runner.Outcome) -> None:
    """Add to an outcome of `describe` what is wrong between samples.

    Notes
    -----
    One sample in two folders; a sample with a mask but without the binary mask of a label that
    another sample has.
    """
    folders = collections.defaultdict(list)
    for sample, _ in outcome.results:
        folders[sample.stem].append(str(sample.directory))
    for stem, places in folders.items():
        if len(places) > 1:
            outcome.fail(stem, errors.DatasetError(
                f"lies in {len(places)} folders: {', '.join(places)}", file=places[0],
                code="double", expected=1, found=len(places)))
    keys = label_keys(outcome)
    for sample, entry in outcome.results:
        missing = [f"{value:02d}_{name}" for value, name in keys
                   if (value, name) not in entry.binary_masks]
        if entry.has_mask and missing:
            outcome.fail(sample.stem, errors.DatasetError(
                f"{sample.directory}: no binary masks {', '.join(missing)}, which other samples "
                "have; run routine 04", file=sample.directory, code="no_binary_masks",
                found=missing))


def label_keys(outcome: runner.Outcome) -> list[tuple[int, str]]:
    """Labels and names of all binary masks, by label."""
    return sorted({key for _, entry in outcome.results for key in entry.binary_masks})


def table(outcome: runner.Outcome, info_keys) -> manifest.Table:
    """Make the manifest of all samples.

    Parameters
    ----------
    outcome : runner.Outcome
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
    columns = ["ID", *info_keys, "valid_labels", "info", "volume", "mask", *names,
               *(f"{name}_existence" for name in names), *GEOMETRY_COLUMNS]
    rows = []
    for _, entry in outcome.results:
        row = dict(entry.row)
        for (value, _), key, name in zip(keys, keys, names):
            row[name] = entry.binary_masks.get(key, "")
            row[f"{name}_existence"] = int(value in entry.present) if entry.has_mask else ""
        rows.append(row)
    return manifest.Table(columns, rows)

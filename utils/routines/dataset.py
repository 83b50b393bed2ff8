"""Routine 05: check the files of every sample against each other and index them."""

from __future__ import annotations

import collections
import dataclasses
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry, labels
from utils.facts import DataSet
from utils.routines import binary_masks, decided, sheet_looks, splits
from utils.running import calls
from utils.storage import manifest, nifti, nifti_writing, review, samples, workbook

if typing.TYPE_CHECKING:
    import pandas as pd

_PATH_COLUMNS = ["valid_labels", "info", "volume", "mask"]
_SHAPE_COLUMNS, _SPACING_COLUMNS = ["szx", "szy", "szz"], ["spx", "spy", "spz"]
GEOMETRY_COLUMNS = [
    *(*_SHAPE_COLUMNS, *_SPACING_COLUMNS),
    *("orientation_from", "orientation_to", "vol_dtype", "mask_dtype", "transform"),
]
# Behind the name of a binary mask's column: whether the label occurs.
EXISTENCE = "_existence"
# How many files of a data type a message names.
_NAMED_FILES = 3
_NO_DECISION = review.Decision()


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
    is_changed : bool
        Whether the mask has other voxels than when it was decided about.
    """

    row: dict
    binary_masks: dict[tuple[int, str], str]
    present: frozenset[int]
    is_changed: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether the sample has a multi-label mask."""
        return bool(self.row["mask"])


@dataclasses.dataclass(frozen=True)
class Excluded:
    """What is found of a sample that people excluded: whether its mask changed since."""

    is_changed: bool


def read_review(
    found: list[samples.Sample], root_dir: Path, path: Path | None, facts: DataSet
) -> tuple[dict[str, review.Decision], list[str]]:
    """Read what a review decides about the samples of a tree, and notes on it; see `decided.read`.

    A DatasetError where it excludes all of them: there would be no manifest.
    """

    def others():
        trees = facts.trees(Path(os.path.abspath(root_dir)))[1:]
        return [sample.stem for tree in trees for sample in samples.scan(tree)]

    own = {sample.stem for sample in found}
    here, notes = decided.read(path, own, others)
    if len(review.having(here, review.EXCLUDE)) == len(own):
        text = f"{path}: excludes all {len(own)} samples below {root_dir}, expected one to be left"
        raise errors.DatasetError(f"{text}; no manifest is written", file=path, code="review")
    return here, notes


def describe(
    sample: samples.Sample,
    root_dir: Path,
    info_keys: Sequence[str],
    tolerance_mm: float,
    mask_faults: Callable[..., list[errors.DatasetError]],
    decisions: Mapping[str, review.Decision],
) -> Entry | Excluded:
    """Check one sample and collect its row.

    Paths are relative to `root_dir`; `info_keys` of the info file become columns; affine, spacing
    and origin may differ by `tolerance_mm`; `mask_faults` is the data set's (`facts.DataSet`);
    of a sample that the `decisions` exclude the mask alone is looked at.
    Everything that does not fit together is a CasesError.
    """
    decision = decisions.get(sample.stem, _NO_DECISION)
    if decision.decision == review.EXCLUDE:
        return _excluded(sample, decision)
    cases: list[errors.DatasetError] = []
    info = _tried(cases, _read_info, sample, info_keys)
    volume = _tried(cases, _read_volume, sample)
    paths = sample.binary_mask_paths()
    own = [sample.mask_path] if sample.has_mask else []
    headers = [_tried(cases, nifti.read_header, path) for path in (*own, *paths.values())]
    headers = [header for header in headers if header]
    for header in headers if volume else ():
        cases += _misfits(header, volume, tolerance_mm)
    cases += _mixed_types(headers)
    mask, present = None, frozenset[int]()
    if own:
        readable = {header.path: header for header in headers}
        header = readable.get(own[0])
        mask = _tried(cases, nifti.read_mask, own[0], header) if header else None
        if mask:
            present = frozenset(np.flatnonzero(labels.counts(mask.data)).tolist())
            cases += _label_cases(mask, paths, readable, present)
            cases += mask_faults(info or {}, present, sample.mask_path)
    elif paths:
        text = f"{len(paths)} binary masks without their multi-label mask"
        cases.append(_case(sample.directory, text, "no_mask"))
    _warn_of_oddities(sample, volume)
    if cases:
        raise errors.CasesError(cases)
    entry = _entry(sample, root_dir, info, volume, headers, present)
    return dataclasses.replace(entry, is_changed=_is_changed(mask, decision))


def _excluded(sample, decision):
    is_judged = decision.mask_crc32 is not None and sample.has_mask
    mask = nifti.read_mask(sample.mask_path) if is_judged else None
    return Excluded(_is_changed(mask, decision))


def _is_changed(mask, decision):
    """Whether a mask, or None, is another one than was decided about."""
    if not decision.decision or decision.mask_crc32 is None:
        return False
    return mask is None or int(nifti_writing.voxel_crc(mask.data), 16) != decision.mask_crc32


def _tried(cases, function, *args):
    """What the function returns, or None: its fault is one of several that are to be listed."""
    try:
        return function(*args)
    except errors.DatasetError as error:
        cases += error.cases
        return None


def _case(file, text, code, **sides):
    return errors.DatasetError(f"{file}: {text}", file=file, code=code, **sides)


def _read_info(sample, keys):
    info = samples.read_info(sample.info_path)
    missing = [samples.no_key(sample.info_path, key) for key in keys if key not in info]
    if missing:
        raise errors.CasesError(missing)
    return {key: info[key] for key in keys}


def _read_volume(sample):
    if not sample.volume_path.exists():
        raise _case(sample.volume_path, "the volume is missing", "no_volume")
    return nifti.read_header(sample.volume_path)


def _warn_of_oddities(sample, volume):
    for message in volume.complaints() if volume else ():
        errors.warn(message)
    foreign = ", ".join(sample.foreign_files())
    if foreign:
        ignored = "NIfTI files that are none of this sample's are ignored"
        errors.warn(f"{sample.directory}: {ignored}: {foreign}")


def _misfits(header, volume, tolerance_mm):
    """Cases of one mask's header against its volume's."""
    if header.shape != volume.shape:
        text = f"shape {header.shape} differs from its volume's {volume.shape}"
        yield _case(header.path, text, "shape", expected=volume.shape, found=header.shape)
        return
    spacings = header.spacing - volume.spacing, header.zooms - volume.zooms
    apart = {
        "affine": geometry.corner_displacement_mm(header.affine, volume.affine, volume.shape),
        "spacing": np.abs(spacings).max(),
        "origin": np.linalg.norm(header.affine[:3, 3] - volume.affine[:3, 3]),
    }
    for what, distance_mm in apart.items():
        if not distance_mm <= tolerance_mm:
            found = f"{distance_mm:.3g}"
            text = f"{what} differs from its volume's by {found} mm, expected at most "
            sides = {"expected": tolerance_mm, "found": found}
            yield _case(header.path, f"{text}{tolerance_mm:g} mm", what, **sides)


def _mixed_types(headers):
    names = collections.defaultdict(list)
    for header in headers:
        names[header.dtype_name].append(header.path.name)
    if len(names) > 1:
        found = " and ".join(
            f"{dtype} ({', '.join(of[:_NAMED_FILES])}{' ...' if len(of) > _NAMED_FILES else ''})"
            for dtype, of in sorted(names.items())
        )
        folder = headers[0].path.parent
        yield _case(folder, f"masks of different data types: {found}", "dtype", found=found)


def _label_cases(mask, paths, readable, present):
    cases, own = [], mask.header.path
    for key, path in paths.items():
        if path in readable and _tried(cases, binary_masks.stale, mask, {key: path}):
            text = f"its voxels are not its label's in {own.name} (stale); run "
            cases.append(_case(path, f"{text}{binary_masks.ROUTINE} again", "stale"))
    missing = sorted(present - {value for value, _ in paths})
    if missing:
        text = f"no binary mask for its labels {', '.join(map(str, missing))}; run "
        text += binary_masks.ROUTINE
        cases.append(_case(own, text, "no_binary_masks", found=missing))
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
        **dict(zip(_SHAPE_COLUMNS, volume.shape)),
        **dict(zip(_SPACING_COLUMNS, volume.spacing.tolist())),
        "orientation_from": start,
        "orientation_to": end,
        "vol_dtype": volume.dtype_name,
        "mask_dtype": headers[0].dtype_name if has_mask else "",
        "transform": geometry.affine_text(volume.affine),
    }
    paths = {key: relative(path) for key, path in sample.binary_mask_paths().items()}
    texts = {**row, **{mask_column(*key): path for key, path in paths.items()}}
    workbook.check_cells(texts, sample.directory)
    return Entry(row, paths, present)


def check_together(found: list[samples.Sample], outcome: calls.Outcome) -> None:
    """Add to an outcome of `describe` what is wrong between samples, failed ones included.

    One sample in two folders; a sample with a mask but without the binary mask of a label that
    another sample has.
    """
    folders = collections.defaultdict(list)
    for sample in found:
        folders[sample.stem].append(str(sample.directory))
    for stem, places in folders.items():
        if len(places) > 1:
            text = f"lies in {len(places)} folders: {', '.join(places)}"
            sides = {"expected": 1, "found": len(places)}
            outcome.fail(stem, errors.DatasetError(text, file=places[0], code="double", **sides))
    keys = label_keys(outcome)
    for sample, entry in outcome.results:
        lacking = [key for key in keys if key not in entry.binary_masks]
        if entry.has_mask and lacking:
            missing = [f"{value:02d}_{name}" for value, name in lacking]
            text = f"no binary masks {', '.join(missing)}, which other samples have; run "
            text += binary_masks.ROUTINE
            case = _case(sample.directory, text, "no_binary_masks", found=missing)
            outcome.fail(sample.stem, case)


def mask_column(value: int, name: str) -> str:
    """Name the column of a label's binary mask."""
    return f"mask_{value:02d}_{name}"


def label_keys(outcome: calls.Outcome) -> list[tuple[int, str]]:
    """Labels and names of all binary masks, by label."""
    return sorted({key for _, entry in outcome.results for key in entry.binary_masks})


def table(outcome: calls.Outcome, info_keys: Sequence[str]) -> pd.DataFrame:
    """Make the manifest, a row per sample, of an outcome of `describe` without failures.

    Without a mask all mask cells of a sample are empty.
    """
    keys = label_keys(outcome)
    names = [mask_column(*key) for key in keys]
    existence = [name + EXISTENCE for name in names]
    rows = []
    for _, entry in outcome.results:
        row = dict(entry.row)
        row.update(zip(names, (entry.binary_masks.get(key, "") for key in keys)))
        if entry.has_mask:
            row.update(zip(existence, (int(value in entry.present) for value, _ in keys)))
        rows.append(row)
    columns = ["ID", *info_keys, *_PATH_COLUMNS, *names, *existence, *GEOMETRY_COLUMNS]
    return workbook.frame(columns, rows)


def write(
    found: list[samples.Sample],
    outcome: calls.Outcome,
    target: manifest.Target,
    root_dir: Path,
    info_keys: Sequence[str],
    decisions: dict[str, review.Decision],
) -> str:
    """Write the manifest of all samples, unless one of them failed; return what was done.

    What is wrong between samples, and split sheets that are out of date now, are added to the
    outcome of `describe`; so is what became of the decisions. Excluded samples are taken out of it,
    however broken they are. Other worksheets are kept.
    """
    found = _set_aside(found, outcome, decisions)
    check_together(found, outcome)
    if outcome.failures:
        return f"No manifest written; {target.path} is as it was"
    made = table(outcome, info_keys)
    look = sheet_looks.of_samples(made, target.path, root_dir)
    target.write_sheet(manifest.MAIN_SHEET, made, look)
    outcome.warnings += [
        (name, "this worksheet repeats an older manifest; make the split again")
        for name in (splits.out_of_date(target.before, made) if target.before else ())
    ]
    return f"{target.path}: {len(made)} rows"


def _set_aside(found, outcome, decisions):
    """Take the excluded samples out of an outcome, tell of the decisions, return the others."""
    excluded = {*review.having(decisions, review.EXCLUDE)}
    changed = {sample.stem for sample, value in outcome.results if value.is_changed}
    unknown = sorted(excluded & {name for name, _ in outcome.failures})
    outcome.results = [pair for pair in outcome.results if pair[0].stem not in excluded]
    outcome.done = len(outcome.results)
    for entries in (outcome.failures, outcome.warnings):
        entries[:] = [entry for entry in entries if entry[0] not in excluded]
    notes, warnings = decided.after_changes(decisions, changed)
    if unknown:
        count = f"{len(unknown)} excluded whose mask cannot be read"
        notes.append(f"{count}: {errors.listed(unknown)}")
    outcome.notes += [(review.NAME, note) for note in notes]
    outcome.warnings += [(review.NAME, warning) for warning in warnings]
    return [sample for sample in found if sample.stem not in excluded]

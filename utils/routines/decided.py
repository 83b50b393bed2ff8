"""What a review decides about the samples at hand, and what the user is told of it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from utils import errors
from utils.running import provenance
from utils.storage import files, review


def read(
    path: Path | None, own: Collection[str], others: Callable[[], Iterable[str]]
) -> tuple[dict[str, review.Decision], list[str]]:
    """Read what a review decides about a run's samples, and notes on it; nothing without a path.

    `own` are the IDs of these samples; `others` returns those of further samples of the data set,
    which the review may have, too. A DatasetError as `review.read` gives it.
    """
    if path is None:
        return {}, []
    known = {*own, *others()}
    found = review.read(path, known)
    here = {key: entry for key, entry in found.items() if key in own}
    counts = collections.Counter(entry.decision for entry in here.values())
    told = ", ".join(f"{counts[word]} {word}" for word in review.DECISIONS)
    if len(found) > len(here):
        told += f"; IDs of other samples: {len(found) - len(here)}"
    notes = [f"{path}: {told}"]
    unknown = [key for key in found if key not in known]
    if unknown:
        notes.append(f"{path}: IDs that no sample at hand has: {_named(unknown, found)}")
    excluded = review.having(here, review.EXCLUDE)
    if excluded:
        notes.append(f"{len(excluded)} excluded and left out: {errors.listed(excluded)}")
    return here, notes


def _named(keys, decisions):
    texts = (f"{key} ({decisions[key].decision or 'undecided'})" for key in keys)
    return f"{len(keys)}, {errors.listed(texts)}"


def after_changes(
    decisions: dict[str, review.Decision], changed: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return notes and warnings on decisions where the masks of some samples changed since."""
    lapsed = [
        key for key in sorted(changed) if decisions[key].decision in (review.ACCEPT, review.FIX)
    ]
    excluded = [key for key in review.having(decisions, review.EXCLUDE) if key in changed]
    to_fix = [key for key in review.having(decisions, review.FIX) if key not in changed]
    notes, warnings = [], []
    if to_fix:
        notes.append(f"{len(to_fix)} to fix, which count as they are: {errors.listed(to_fix)}")
    if excluded:
        notes.append(
            f"{len(excluded)} stay excluded though the mask's voxels changed since (delete the "
            f"row to take a sample back): {errors.listed(excluded)}"
        )
    if lapsed:
        warnings.append(
            "decisions that no longer hold, since the mask's voxels changed; look again: "
            f"{_named(lapsed, decisions)}"
        )
    return notes, warnings


def warn_of_excluded(manifest_path: files.PathLike, ids: Collection[str]) -> None:
    """Warn where a dataset manifest, with these IDs, is older than what the review excludes."""
    folder = provenance.folder({"manifest_file": Path(manifest_path)})
    path = folder and review.find(folder)
    excluded = review.having(review.read(path, ids), review.EXCLUDE) if path else []
    found = [key for key in excluded if key in ids]
    if found:
        errors.warn(
            f"{manifest_path}: has {len(found)} samples that {path} excludes: "
            f"{errors.listed(found)}; make the dataset manifest and the split again"
        )

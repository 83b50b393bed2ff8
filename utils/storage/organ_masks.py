"""Masks that lie in one file per organ, joined into one mask of all labels."""

from __future__ import annotations

import collections
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from utils import errors
from utils.storage import files, marks, nifti, nifti_writing

# What files of one organ have where it is: most tools write 1, those for pictures 255.
_PRESENT = (1, 255)
_LABELS = 256


@dataclasses.dataclass(frozen=True)
class Names:
    """What organs of a data set are called in file names, and which of them win.

    Attributes
    ----------
    labels : dict of str to int
        Name to label.
    overlap : tuple of int
        Labels in the order in which they win where organs overlap, all others behind them.
    """

    labels: Mapping[str, int]
    overlap: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Organ:
    """The mask of one organ, and how its axes must run (see `nifti.Header.axis_order`)."""

    label: int
    name: str
    header: nifti.Header
    order: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Organs:
    """The masks of a sample's organs, by label; together they are the source of its mask."""

    found: tuple[Organ, ...]
    overlap: tuple[int, ...] = ()

    def source_crc(self, is_ordered: bool) -> str:
        """Tells all that decides about the joined mask, in eight hexadecimal digits.

        The order in which organs win is among it (`is_ordered`) where organs do overlap.
        """
        parts = [f"{organ.label} {organ.header.source_crc}" for organ in self.found]
        if is_ordered:
            there = {organ.label for organ in self.found}
            parts += ["overlap", *(str(label) for label in self.overlap if label in there)]
        return f"{zlib.crc32(' '.join(parts).encode()):08x}"


def told(organs: Iterable[Organ], texts_of: Callable[[Organ], Iterable[str]]) -> list[str]:
    """Collect what is to be told of organs' files, the same of several files once.

    The texts begin with the file's path.
    """
    paths = collections.defaultdict(list)
    for organ in organs:
        for text in texts_of(organ):
            paths[text.removeprefix(str(organ.header.path))].append(organ.header.path)
    return [
        f"{of[0]}{f' and {len(of) - 1} more files of its organs' * (len(of) > 1)}{text}"
        for text, of in paths.items()
    ]


def is_binary(volume: nifti.Header) -> bool:
    """Tell whether a volume has no values but those of an organ's mask: it may be a copy of one.

    The first other value ends it.
    """
    unused = nifti.Conversion()
    return all(
        np.isin(nifti.whole_numbers(chunk, volume, unused), (0, *_PRESENT)).all()
        for chunk in nifti.voxel_chunks(volume)
    )


def stage(path: files.PathLike, organs: Organs, affine: np.ndarray) -> files.Pending:
    """Join the masks of organs into a file beside its target; the caller commits it.

    Its header text has the mark of its source (see `Organs.source_crc`).

    DatasetError for a file that is damaged or holds more than one organ, and where organs overlap
    of which none is among those that win.

    Notes
    -----
    The joined labels are in memory, uint8; the files are read chunk by chunk, one after the other.
    """
    data, is_ordered = joined(organs)
    descrip = marks.text({marks.SOURCE: organs.source_crc(is_ordered)})
    return nifti_writing.stage_labels(path, data, affine, descrip)


def joined(organs: Organs) -> tuple[np.ndarray, bool]:
    """Join the masks of organs: (X, Y, Z) uint8, and whether organs overlap.

    DatasetError as by `stage`.
    """
    # Who wins comes first.
    rank = {label: number for number, label in enumerate(organs.overlap)}
    is_ranked = np.isin(np.arange(_LABELS), organs.overlap)
    overlaps: collections.Counter[tuple[int, int]] = collections.Counter()
    data, complaints, is_ordered = np.zeros(0, np.uint8), {}, False
    shape: tuple[int, ...] = ()
    for organ in sorted(organs.found, key=lambda organ: rank.get(organ.label, len(rank))):
        conversion = nifti.Conversion()
        shape, chunks = nifti_writing.label_chunks(organ.header, organ.order, conversion)
        if not data.size:
            data = np.zeros(organ.header.n_voxels, np.uint8)
        taken = np.zeros(_LABELS, np.int64)
        _paint(data, organ, chunks, taken)
        is_ordered |= bool(taken.any())
        if organ.label not in rank:
            doubled = np.flatnonzero(np.where(is_ranked, 0, taken))
            overlaps.update({(int(other), organ.label): int(taken[other]) for other in doubled})
        complaints[organ.label] = conversion.complaints(organ.header)
    _check_overlaps(overlaps, organs)
    for message in told(organs.found, lambda organ: complaints[organ.label]):
        errors.warn(message)
    return data.reshape(shape, order="F"), is_ordered


def _paint(data, organ, chunks, taken):
    """Put an organ where there is none yet; where there is one, that one counts in `taken`."""
    start, values = 0, set()
    for chunk in chunks:
        place = data[start : start + chunk.size]
        start += chunk.size
        if not chunk.max():  # as good as always
            continue
        where = np.flatnonzero(chunk)
        values.update(np.unique(chunk[where]).tolist())
        before = place[where]
        taken += np.bincount(before, minlength=_LABELS)
        place[where[before == 0]] = organ.label
    taken[0] = 0
    if len(values) > 1 or not values <= {*_PRESENT}:
        shown = errors.listed([0, *sorted(values)])
        path, expected = organ.header.path, "0 and 1 (or 0 and 255)"
        reason = f"values {shown} found, expected {expected}, as a file of one organ has them"
        sides = {"expected": expected, "found": shown}
        raise errors.DatasetError(f"{path}: {reason}", file=path, code="labels", **sides)


def _check_overlaps(overlaps, organs):
    if overlaps:
        of_label = {organ.label: organ for organ in organs.found}
        found = errors.listed(
            f"{of_label[first].name} and {of_label[second].name} in {count:,} voxels"
            for (first, second), count in overlaps.most_common()
        )
        reason = f"organs overlap: {found}; name those that win, in order, as overlap in the page"
        path = of_label[next(iter(overlaps))[0]].header.path
        sides = {"file": path, "expected": "one organ per voxel", "found": found}
        raise errors.DatasetError(f"{path.parent}: {reason}", code="overlap", **sides)

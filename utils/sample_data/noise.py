"""What annotators leave in masks: islands, holes, stray voxels and jagged borders."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

Labels = Sequence[int] | np.ndarray


def noisy(slices: Iterable[np.ndarray], values: Labels, key: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the slices of a mask, (X, Y) uint8, as an annotator leaves them, see `add`.

    They are changed in place; `key` decides, with the number of the slice, what each slice gets.
    """
    for k, labels in enumerate(slices):
        add(labels, np.random.default_rng([*key, k]), values)
        yield labels


def add(mask: np.ndarray, rng: np.random.Generator, values: Labels, rate: float = 1.0) -> None:
    """Add what annotators leave in a slice of a mask, (X, Y) uint8, in place.

    Rate 1 gives on average one island, 0.7 holes and 0.25 stray voxels, which may have the labels
    `values`, and a jagged border on every sixth slice. A slice without labels is left alone.
    """
    inside = mask > 0
    if not inside.any() or not len(values):
        return
    # On a very small grid a region of eight pixels would be an organ.
    largest = int(np.clip(mask.size // 400, 1, 8))
    add_islands(mask, rng, rng.choice(mask[inside], rng.poisson(rate)), largest)
    add_islands(mask, rng, rng.choice(values, rng.poisson(0.25 * rate)), 1)
    # What may empty a small slice comes last.
    add_holes(mask, rng, rng.poisson(0.7 * rate), largest)
    if rng.random() < rate / 6:
        roughen_border(mask, rng)


def add_islands(
    mask: np.ndarray, rng: np.random.Generator, values: Labels, largest: int = 8
) -> None:
    """Put a small region of each of some labels around and into the labelled part of a slice.

    In place; the slice has at least one label. Each region is 8-connected and has 1 to `largest`
    pixels.
    """
    x, y = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    low = np.maximum([x[0] - 6, y[0] - 6], 0)
    high = np.minimum([x[-1] + 7, y[-1] + 7], mask.shape)
    seeds = rng.integers(low, high, (len(values), 2))
    _draw(mask, rng, seeds, np.asarray(values, mask.dtype), largest)


def add_holes(mask: np.ndarray, rng: np.random.Generator, count: int, largest: int = 8) -> None:
    """Clear small regions inside the labelled part of a slice, in place.

    The slice has at least one label. Each hole is 8-connected and has 1 to `largest` pixels; those
    that meet a border become notches.
    """
    seeds = rng.choice(np.argwhere(mask > 0), count)
    _draw(mask, rng, seeds, np.zeros(count, mask.dtype), largest)


def _draw(mask, rng, seeds, values, largest):
    """Draw a random walk from each seed: any prefix of it is 8-connected, also along the edge."""
    steps = rng.integers(-1, 2, (len(seeds), largest, 2))
    steps[:, 0] = 0
    places = np.clip(seeds[:, None, :] + steps.cumsum(axis=1), 0, np.array(mask.shape) - 1)
    x, y = np.moveaxis(places, 2, 0)
    taken = np.arange(largest) < rng.integers(1, largest + 1, len(seeds))[:, None]
    mask[x[taken], y[taken]] = np.broadcast_to(values[:, None], taken.shape)[taken]


def roughen_border(mask: np.ndarray, rng: np.random.Generator, share: float = 0.35) -> None:
    """Let a share of the pixels along borders take their neighbour's label, in place."""
    for axis in rng.permutation(2):
        view = mask.T if axis else mask
        before = view[:-1].copy()
        taken = (before != view[1:]) & (rng.random(before.shape) < share)
        view[1:][taken] = before[taken]

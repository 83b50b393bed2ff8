"""Labels for made-up scans by their names: organs of the abdomen, and simple bodies else."""

import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from utils.sample_data import abdomen, noise, scan_files

# Half axes of a simple body, as shares of the grid; on a tiny grid it is one voxel.
_SMALLEST, _LARGEST = 0.03, 0.08
_MIDDLE = (0.2, 0.8)
_ANNOTATOR = 11  # random number stream, beside those of `abdomen`


def paint(made: scan_files.Scan, names: Mapping[int, str]) -> np.ndarray:
    """Return the labels of a scan of the abdomen, (X, Y, Z) uint8.

    A label whose name is that of an organ has its place, an unknown one is an ellipsoid somewhere.
    """
    table = np.zeros(256, np.uint8)
    unknown = []
    for value, name in names.items():
        codes = abdomen.CODES.get(name.lower().replace("_", " "))
        if codes:
            table[list(codes)] = value
        elif value:
            unknown.append(value)
    labels = table[made.tissues]
    for value in unknown:
        _add_body(labels, value, made.seed, zlib.crc32(names[value].encode("utf-8")))
    return labels


def _add_body(labels, value, seed, name):
    """Put an ellipsoid into a mask, in place; the seed and the name decide where it lies."""
    rng = np.random.default_rng([seed, name])
    shape = np.array(labels.shape)
    centre = np.rint(rng.uniform(*_MIDDLE, 3) * (shape - 1)).astype(int)
    half = np.maximum(rng.uniform(_SMALLEST, _LARGEST, 3) * shape, 0.5)
    low = np.maximum(np.floor(centre - half), 0).astype(int)
    high = np.minimum(np.ceil(centre + half) + 1, shape).astype(int)
    places = np.ogrid[tuple(slice(*ends) for ends in zip(low, high))]
    level = sum(((p - c) / h) ** 2 for p, c, h in zip(places, centre, half))
    labels[tuple(slice(*ends) for ends in zip(low, high))][level < 1] = value


def slices(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a mask slice by slice, (X, Y) uint8, each to keep."""
    for k in range(labels.shape[2]):
        yield labels[:, :, k].copy()


def noisy(labels: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return a mask as an annotator leaves it, see `noise.add`; `key` is seed and sample."""
    values = np.unique(labels[labels > 0])
    done = noise.noisy(slices(labels), values, (*key, _ANNOTATOR))
    return np.stack([*done], axis=2)

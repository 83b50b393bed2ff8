"""Made-up breast MRI: anatomy, intensities and labels as NME has them.

Simple shapes in the patient's frame (RAS+, mm), sampled on the voxel grid of each scan.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils.sample_data import grids, noise, scan_files

# Tissue codes; the lesion is label 1 of the masks, all others are background.
_AIR, _FAT, _GLAND, _SKIN, _MUSCLE, _LUNG, _HEART, _LESION = range(8)
# Mean intensity per code in a T1-weighted image after contrast agent, without unit.
_MEAN = np.array([4, 190, 260, 330, 230, 15, 520, 560], np.float32)
# The field of view (mm) and its centre: from within the chest to in front of the breasts.
_VIEW_MM = np.array([360.0, 230.0, 170.0])
_VIEW_CENTRE_MM = np.array([0.0, 0.0, 0.0])
_N_WAVES = 5

# What each random number stream is for; with seed and sample it makes the stream's key.
_BUILD, _SURFACE, _LOOK, _ANNOTATOR = range(1, 5)


def scan(sample: Any, shape: Sequence[int], seed: int = 0) -> scan_files.Scan:
    """Make up the anatomy of one sample, an `nme_archive.Sample`, on its voxel grid.

    The third array axis runs along the body. Same sample and seed, same breasts, whatever the
    shape.
    """
    spacing = (_VIEW_MM / shape).round(3)
    affine = grids.affine(sample.axes, sample.tilt_degrees, shape, spacing, _VIEW_CENTRE_MM)
    shapes = _shapes(sample, seed)
    waves = _waves(_rng(seed, sample, _SURFACE), 45.0)
    tissues = np.empty(shape, np.uint8, order="F")
    for k in range(shape[2]):
        _paint_slice(tissues[:, :, k], _places(affine, shape, k), shapes, waves)
    labels = (1,) * any((tissues[:, :, k] == _LESION).any() for k in range(shape[2]))
    return scan_files.Scan(sample, affine, tissues, labels, seed)


def _rng(seed, sample, *purpose):
    return np.random.default_rng([seed, _number(sample), *purpose])


def _number(sample):
    return zlib.crc32(str(sample).encode("ascii"))


def _places(affine, shape, k):
    """Return x, y and z (mm) of the voxels of a slice, each (X, Y) float32."""
    i, j = np.ogrid[: shape[0], : shape[1]]
    return [(a * i + b * j + (c * k + d)).astype(np.float32) for a, b, c, d in affine[:3]]


def _shapes(sample, seed):
    """{code: (centres, half axes)} of the ellipsoids of this patient, in mm."""
    rng = _rng(seed, sample, _BUILD)
    size = rng.uniform(0.9, 1.1, 3) * (62, 78, 70)
    breasts = [np.array([side * 82.0, 20.0, 0.0]) for side in (1, -1)]
    gland = size * rng.uniform(0.55, 0.7)
    glands = [centre + (0, 14, 0) for centre in breasts]
    lesion = glands[rng.integers(2)] + rng.uniform(-0.35, 0.35, 3) * gland
    shapes = {_SKIN: (breasts, size), _FAT: (breasts, size - 3.0), _GLAND: (glands, gland)}
    if sample.has_lesion:
        shapes[_LESION] = ([lesion], np.array([15.0, 24.0, 17.0]) * rng.uniform(0.8, 1.2))
    return shapes


def _waves(rng, wavelength_mm):
    """Directions and phases of a smooth random field, (n, 4) float64."""
    return np.column_stack(grids.plane_waves(rng, _N_WAVES, wavelength_mm))


def _field(waves, places):
    """Return the field on a slice, between about -1 and 1."""
    x, y, z = places
    return sum(
        np.cos(a * x + b * y + c * z + d) for a, b, c, d in waves.astype(np.float32)
    ) / np.float32(np.sqrt(_N_WAVES))


def _inside(places, centre, half_axes):
    """Return the squared distance from the centre of an ellipsoid, 1 on its surface."""
    return sum(
        ((place - middle) / half) ** 2
        for place, middle, half in zip(places, np.float32(centre), np.float32(half_axes))
    )


def _paint_slice(tissues, places, shapes, waves):
    """Fill one (X, Y) slice with tissue codes."""
    field = _field(waves, places)
    tissues[...] = _AIR
    for code, (centres, half_axes) in shapes.items():
        # Glands are ragged, breasts and the drawn border of a lesion are smooth.
        rough = np.float32({_GLAND: 0.5, _LESION: 0.15}.get(code, 0.02)) * field
        for centre in centres:
            tissues[_inside(places, centre, half_axes) < 1 + rough] = code
    chest = _inside(places, (0, -75, 0), (172, 78, 400))
    tissues[chest < 1] = _MUSCLE
    tissues[chest < 0.72] = _LUNG
    tissues[_inside(places, (-18, -72, 10), (58, 50, 62)) < 1 + 0.02 * field] = _HEART


def volume_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the intensities of a scan, slice by slice, (X, Y) float32, whole numbers from 0.

    The lesion enhances in clumps, as non mass enhancement does: its mean times a coarse field.
    """
    rng = _rng(made.seed, made.sample, _LOOK)
    mean = _MEAN * rng.uniform(0.9, 1.1, _MEAN.size).astype(np.float32)
    clumps, bias = _waves(rng, 11.0), _waves(rng, 380.0)
    for k in range(made.tissues.shape[2]):
        places = _places(made.affine, made.tissues.shape, k)
        codes = made.tissues[:, :, k]
        image = mean[codes]
        image[codes == _LESION] *= (1 + 0.3 * _field(clumps, places))[codes == _LESION]
        image *= np.exp(0.15 * _field(bias, places))
        image += 9 * rng.standard_normal(image.shape, dtype=np.float32)
        yield np.rint(np.abs(image))


def mask_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the true labels of a scan, slice by slice, (X, Y) uint8, 0 and 1."""
    for k in range(made.tissues.shape[2]):
        yield (made.tissues[:, :, k] == _LESION).astype(np.uint8)


def noisy_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the labels of a scan as an annotator leaves them: `mask_slices` with noise."""
    key = (made.seed, _number(made.sample), _ANNOTATOR)
    return noise.noisy(mask_slices(made), made.labels, key)

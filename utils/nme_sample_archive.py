"""Made-up breast MRI in an archive laid out like NME-2025.8.25: for trying and testing.

Simple shapes in the patient's frame (RAS+, mm), sampled on the voxel grid of each scan. Headers,
noise of the annotators and clutter are those of `sample_archive`.
"""
import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from utils import nme, runner, sample_archive

# 1: the bytes of the archive changed; an older one is refused, not mixed with new files.
FORMAT = 1
DEFAULT_SHAPE = (160, 104, 20)
DEFAULT_N = 18
MAX_N = 999

# Tissue codes; the lesion is label 1 of the masks, all others are background.
_AIR, _FAT, _GLAND, _SKIN, _MUSCLE, _LUNG, _HEART, _LESION = range(8)
# Mean intensity per code in a T1-weighted image after contrast agent, without unit.
_MEAN = np.array([4, 190, 260, 330, 230, 15, 520, 560], np.float32)
# The field of view (mm) and its centre: from within the chest to in front of the breasts.
_VIEW_MM = np.array([360.0, 230.0, 170.0])
_VIEW_CENTRE_MM = np.array([0.0, 0.0, 0.0])
_N_WAVES = 5

# What each random number stream is for.
_PEOPLE, _BUILD, _SURFACE, _LOOK, _ANNOTATOR = range(5)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One scan to make up.

    Attributes
    ----------
    seq, pid : str
        Name of the scan and of its patient.
    collection : str
        One of `nme.SITES`.
    subset : str
        ``Tr``, ``Vd`` or ``Ts``: the end of the folders' names.
    axes, tilt_degrees, dtype, scaling, volume_forms, mask_forms, mask_shift_mm
        See `sample_archive.Sample`.
    has_lesion : bool
        False: nothing is marked in the mask.
    """

    seq: str
    pid: str
    collection: str
    subset: str
    axes: str = "LPS"
    tilt_degrees: float = 0.0
    dtype: str = "int16"
    scaling: tuple[float, float] | None = None
    volume_forms: str = "both"
    mask_forms: str = "both"
    mask_shift_mm: float = 0.0
    has_lesion: bool = True

    def __str__(self):
        return f"{self.seq}_{self.pid}"

    def path(self, kind: str) -> Path:
        """Path in the archive; `kind` is ``images`` or ``labels``."""
        return Path(nme.COLLECTION_FOLDER_PREFIX + self.collection, f"{kind}{self.subset}",
                    f"NME-Seg_{self.seq}.{self.pid}.nii.gz")


# Several scans of a patient occur, within a site and across them; 0071... and 02E003 are what a
# spreadsheet takes for numbers.
_CHOSEN = (
    Sample("01A001", "1004091054", "train-val", "Tr"),
    Sample("01A002", "60012875311", "train-val", "Tr", "LAS", dtype="float32"),
    Sample("01A003", "60012875311", "train-val", "Tr", "RAS", volume_forms="sform"),
    Sample("01A004", "1004091120", "train-val", "Tr", mask_shift_mm=0.005),
    Sample("01A005", "1004093307", "train-val", "Vd", tilt_degrees=9.0, dtype="float32"),
    Sample("01A006", "1004097718", "train-val", "Vd", scaling=(0.5, 0.0), mask_forms="qform"),
    Sample("01B001", "1004102266", "test-inner-01", "Ts", volume_forms="qform"),
    Sample("01B002", "1004105531", "test-inner-01", "Ts", has_lesion=False),
    Sample("02A001", "0071100345", "test-outer-02", "Ts", "LAS"),
    Sample("02A002", "0071100345", "test-outer-02", "Ts", "LAS"),
    Sample("02E003", "0071100412", "test-outer-02", "Ts", dtype="float64"),
    Sample("02A004", "0071100587", "test-outer-02", "Ts", mask_forms="sform"),
    Sample("03A001", "ZN20230017", "test-outer-03", "Ts"),
    Sample("03A002", "ZN20230024", "test-outer-03", "Ts", "RAS"),
    Sample("03A003", "1004091120", "test-outer-03", "Ts"),
    Sample("04A001", "HK-00213", "test-outer-04", "Ts", dtype="float32"),
    Sample("04A002", "HK-00228", "test-outer-04", "Ts"),
    Sample("04A003", "HK-00251", "test-outer-04", "Ts", "LAS", tilt_degrees=-7.0),
)
_MORE = (("train-val", "Tr"), ("test-outer-02", "Ts"), ("train-val", "Vd"), ("test-inner-01", "Ts"),
         ("test-outer-03", "Ts"), ("train-val", "Tr"), ("test-outer-04", "Ts"))
_SITE_NUMBERS = {"Tongji": 1, "Yunnan": 2, "Zhongnan": 3, "HKU-SZH": 4}


def plan(count: int = DEFAULT_N, seed: int = 0) -> list[Sample]:
    """Choose the samples of an archive.

    Parameters
    ----------
    count : int
        How many scans. The first few are hand-picked: all collections, orientations, headers.
    seed : int
        Decides about the patients of the others.

    Returns
    -------
    list of Sample
    """
    rng = np.random.default_rng([seed, _PEOPLE])
    samples = list(_CHOSEN)
    for number in range(MAX_N - len(_CHOSEN)):
        collection, subset = _MORE[number % len(_MORE)]
        site = _SITE_NUMBERS[nme.SITES[collection]]
        samples.append(Sample(f"{site:02d}C{number + 1:03d}", f"{site}7{rng.integers(10 ** 8):08d}",
                              collection, subset, dtype=("int16", "float32")[number % 2]))
    return samples[:count]


@dataclasses.dataclass(frozen=True)
class Scan:
    """One made-up scan.

    Attributes
    ----------
    sample : Sample
    affine : (4, 4) float64
        Voxel index to RAS+ mm, in digits that float32 holds.
    tissues : (X, Y, Z) uint8
        Tissue codes, Fortran order.
    seed : int
    """

    sample: Sample
    affine: np.ndarray
    tissues: np.ndarray
    seed: int


def scan(sample: Sample, shape=DEFAULT_SHAPE, seed: int = 0) -> Scan:
    """Make up the anatomy of one sample and sample it on its voxel grid.

    Parameters
    ----------
    sample : Sample
    shape : (3,) int
        Number of voxels along the array axes; the third runs along the body.
    seed : int
        Same sample and seed, same breasts, whatever the shape.

    Returns
    -------
    Scan
    """
    affine = _affine(sample, shape)
    shapes = _shapes(sample, seed)
    waves = _waves(_rng(seed, sample, _SURFACE), 45.0)
    tissues = np.empty(shape, np.uint8, order="F")
    for k in range(shape[2]):
        _paint_slice(tissues[:, :, k], _places(affine, shape, k), shapes, waves)
    return Scan(sample, affine, tissues, seed)


def _rng(seed, sample, *purpose):
    return np.random.default_rng([seed, zlib.crc32(str(sample).encode("ascii")), *purpose])


def _affine(sample, shape):
    affine = np.eye(4)
    turned = sample_archive.directions(sample.axes, sample.tilt_degrees)
    affine[:3, :3] = turned * (_VIEW_MM / shape).round(3)
    affine[:3, 3] = _VIEW_CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine.astype(np.float32).astype(np.float64)


def _places(affine, shape, k):
    """Return x, y and z (mm) of the voxels of a slice, each (X, Y) float32."""
    i, j = np.ogrid[:shape[0], :shape[1]]
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
    """Directions and phases of a smooth random field."""
    direction = rng.standard_normal((_N_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = wavelength_mm * rng.uniform(0.7, 1.4, (_N_WAVES, 1))
    return np.column_stack([2 * np.pi * direction / length, rng.uniform(0, 2 * np.pi, _N_WAVES)])


def _field(waves, places):
    """Return the field on a slice, between about -1 and 1."""
    x, y, z = places
    return sum(np.cos(a * x + b * y + c * z + d)
               for a, b, c, d in waves.astype(np.float32)) / np.float32(np.sqrt(_N_WAVES))


def _inside(places, centre, half_axes):
    """Return the squared distance from the centre of an ellipsoid, 1 on its surface."""
    return sum(((place - middle) / half) ** 2 for place, middle, half in zip(
        places, np.float32(centre), np.float32(half_axes)))


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


def volume_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the intensities of a scan, slice by slice, (X, Y) float32, whole numbers from 0.

    Parameters
    ----------
    made : Scan

    Notes
    -----
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


def mask_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the true labels of a scan, slice by slice, (X, Y) uint8, 0 and 1."""
    for k in range(made.tissues.shape[2]):
        yield (made.tissues[:, :, k] == _LESION).astype(np.uint8)


def noisy_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the labels of a scan with what annotators leave, see `sample_archive.add_noise`."""
    for k, labels in enumerate(mask_slices(made)):
        sample_archive.add_noise(labels, _rng(made.seed, made.sample, _ANNOTATOR, k), (1,))
        yield labels


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the bytes of an archive.

    Attributes
    ----------
    shape : (3,) int
        Voxels of every scan.
    count : int
        Number of scans, see `plan`.
    seed : int
    """

    shape: tuple[int, int, int] = DEFAULT_SHAPE
    count: int = DEFAULT_N
    seed: int = 0


def prepare(root_dir, settings: Settings) -> list[Sample]:
    """Write all of an archive but the scans, after checking that the folder is free for it.

    Parameters
    ----------
    root_dir : path-like
        Gets ``archive/``, ``truth/`` and a note of the settings; made where it is missing.
    settings : Settings

    Returns
    -------
    list of Sample
        The scans to write with `write_sample`.

    Raises
    ------
    DatasetError
        See `sample_archive.begin`.
    """
    note = {"format": FORMAT, "data_set": nme.NAME, **dataclasses.asdict(settings)}
    archive_dir = sample_archive.begin(root_dir, note)
    samples = plan(settings.count, settings.seed)
    for sample in samples[:1]:
        sample_archive.put_clutter(archive_dir, sample.path("images"), sample.path("labels"))
    return samples


def write_sample(sample: Sample, root_dir, settings: Settings, overwrite: bool = False):
    """Write the files of one sample: volume, noisy mask, and the true mask outside the archive.

    Parameters
    ----------
    sample : Sample
    root_dir : path-like
        A folder that went through `prepare`.
    settings : Settings
    overwrite : bool
        Write files again that are there.

    Returns
    -------
    Sample or runner.Finished
        Finished when all files were there.
    """
    archive_dir = Path(root_dir, sample_archive.ARCHIVE_DIR)
    volume_path = archive_dir / sample.path("images")
    masks = {Path(root_dir, sample_archive.TRUTH_DIR) / sample.path("labels"): mask_slices,
             archive_dir / sample.path("labels"): noisy_slices}
    if not overwrite and all(path.is_file() for path in (volume_path, *masks)):
        return runner.Finished(sample)
    made = scan(sample, settings.shape, settings.seed)
    sample_archive.write_scan(made, volume_path, volume_slices(made),
                              {path: make(made) for path, make in masks.items()}, "uint8")
    return sample


def memory_bytes(shape) -> int:
    """Return about what `write_sample` needs for a scan of a shape, above the bare process."""
    n_slice = shape[0] * shape[1]
    return n_slice * shape[2] + n_slice * 120 + 40 * 2 ** 20

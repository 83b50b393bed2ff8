"""Made-up breast MRI in an archive laid out like NME-2025.8.25: for trying and testing."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.facts import nme
from utils.running import calls
from utils.sample_data import archive_folder, breasts, scan_files
from utils.storage import files

# 1: the bytes of the archive changed; an older one is refused, not mixed with new files.
FORMAT = 1
DEFAULT_SHAPE = (160, 104, 20)
DEFAULT_N = 18
MAX_N = 999

# The random number stream of the plan; those of `breasts` have keys with a sample.
_PEOPLE = 0


@dataclasses.dataclass(frozen=True)
class Sample(scan_files.ScanStyle):
    """A scan to make up; see `scan_files.ScanStyle` for the other attributes.

    Attributes
    ----------
    seq, pid : str
        Name of the scan and of its patient.
    collection : str
        One of `nme.SITES`.
    subset : str
        ``Tr``, ``Vd`` or ``Ts``: the end of the folders' names.
    has_lesion : bool
        False: nothing is marked in the mask.
    """

    seq: str
    pid: str
    collection: str
    subset: str
    _: dataclasses.KW_ONLY
    axes: str = "LPS"
    has_lesion: bool = True

    def __str__(self):
        return f"{self.seq}_{self.pid}"

    def path(self, kind: str) -> Path:
        """Path in the archive; `kind` is ``images`` or ``labels``."""
        return Path(
            nme.COLLECTION_FOLDER_PREFIX + self.collection,
            f"{kind}{self.subset}",
            f"NME-Seg_{self.seq}.{self.pid}.nii.gz",
        )


# Several scans of a patient occur, within a site and across them; 0071... and 02E003 are what a
# spreadsheet takes for numbers.
# fmt: off
_CHOSEN = (
    Sample("01A001", "1004091054", "train-val", "Tr"),
    Sample("01A002", "60012875311", "train-val", "Tr", axes="LAS", dtype="float32"),
    Sample("01A003", "60012875311", "train-val", "Tr", axes="RAS", volume_forms="sform"),
    Sample("01A004", "1004091120", "train-val", "Tr", mask_shift_mm=0.005),
    Sample("01A005", "1004093307", "train-val", "Vd", tilt_degrees=9.0, dtype="float32"),
    Sample("01A006", "1004097718", "train-val", "Vd", scaling=(0.5, 0.0), mask_forms="qform"),
    Sample("01B001", "1004102266", "test-inner-01", "Ts", volume_forms="qform"),
    Sample("01B002", "1004105531", "test-inner-01", "Ts", has_lesion=False),
    Sample("02A001", "0071100345", "test-outer-02", "Ts", axes="LAS"),
    Sample("02A002", "0071100345", "test-outer-02", "Ts", axes="LAS"),
    Sample("02E003", "0071100412", "test-outer-02", "Ts", dtype="float64"),
    Sample("02A004", "0071100587", "test-outer-02", "Ts", mask_forms="sform"),
    Sample("03A001", "ZN20230017", "test-outer-03", "Ts"),
    Sample("03A002", "ZN20230024", "test-outer-03", "Ts", axes="RAS"),
    Sample("03A003", "1004091120", "test-outer-03", "Ts"),
    Sample("04A001", "HK-00213", "test-outer-04", "Ts", dtype="float32"),
    Sample("04A002", "HK-00228", "test-outer-04", "Ts"),
    Sample("04A003", "HK-00251", "test-outer-04", "Ts", axes="LAS", tilt_degrees=-7.0),
)
_MORE = (("train-val", "Tr"), ("test-outer-02", "Ts"), ("train-val", "Vd"), ("test-inner-01", "Ts"),
         ("test-outer-03", "Ts"), ("train-val", "Tr"), ("test-outer-04", "Ts"))
# fmt: on
_SITE_NUMBERS = {"Tongji": 1, "Yunnan": 2, "Zhongnan": 3, "HKU-SZH": 4}


def plan(count: int = DEFAULT_N, seed: int = 0) -> list[Sample]:
    """Choose the samples of an archive.

    The first few are hand-picked: they cover collections, orientations and headers. The seed
    decides about the patients of the others.
    """
    rng = np.random.default_rng([seed, _PEOPLE])
    samples = list(_CHOSEN)
    for number in range(MAX_N - len(_CHOSEN)):
        collection, subset = _MORE[number % len(_MORE)]
        site = _SITE_NUMBERS[nme.SITES[collection]]
        seq, pid = f"{site:02d}C{number + 1:03d}", f"{site}7{rng.integers(10**8):08d}"
        dtype = ("int16", "float32")[number % 2]
        samples.append(Sample(seq, pid, collection, subset, dtype=dtype))
    return samples[:count]


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


def prepare(root_dir: files.PathLike, settings: Settings) -> list[Sample]:
    """Write all of an archive but the scans, and return those for `write_sample`.

    DatasetError as in `archive_folder.begin`.
    """
    note = {"format": FORMAT, "data_set": nme.NAME, **dataclasses.asdict(settings)}
    archive_dir = archive_folder.begin(root_dir, note)
    samples = plan(settings.count, settings.seed)
    for sample in samples[:1]:
        archive_folder.put_clutter(archive_dir, sample.path("images"), sample.path("labels"))
    return samples


def write_sample(
    sample: Sample, root_dir: files.PathLike, settings: Settings, overwrite: bool = False
) -> scan_files.ScanStyle | calls.Finished:
    """Write volume, noisy mask, and the true mask outside the archive, after `prepare`.

    See `archive_folder.write_sample`.
    """
    archive_dir = Path(root_dir, archive_folder.ARCHIVE_DIR)
    truth_dir = Path(root_dir, archive_folder.TRUTH_DIR)
    volumes = {archive_dir / sample.path("images"): breasts.volume_slices}
    masks = {
        truth_dir / sample.path("labels"): breasts.mask_slices,
        archive_dir / sample.path("labels"): breasts.noisy_slices,
    }
    make = functools.partial(breasts.scan, sample, settings.shape, settings.seed)
    return archive_folder.write_sample(sample, make, volumes, masks, overwrite)


def memory_bytes(shape: Sequence[int]) -> int:
    """Return about what `write_sample` needs for a scan of a shape, above the bare process."""
    n_slice = shape[0] * shape[1]
    return n_slice * shape[2] + n_slice * 120 + 40 * 2**20

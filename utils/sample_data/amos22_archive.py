"""Made-up scans in an archive laid out like AMOS22: for trying, testing and timing.

Annotators' noise is added apart from the anatomy; the clean masks are kept beside the archive.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils import errors
from utils.facts import amos22
from utils.running import calls
from utils.sample_data import abdomen, archive_folder, scan_files
from utils.storage import files

# Raise it when the bytes change: files of two versions must not mix in one archive.
FORMAT = 2
DEFAULT_SHAPE = (160, 128, 48)
DEFAULT_N_CT, DEFAULT_N_MRI = 6, 5
MAX_N_CT, MAX_N_MRI = 500, 100  # the ids that AMOS22 has
_FIRST_MRI_FILE = 501
_FOLDERS = {
    "train": ("imagesTr", "labelsTr"),
    "val": ("imagesVa", "labelsVa"),
    "test": ("imagesTs", None),
}

# AMOS22's own names, the misspelt one included: readers must get along with it.
_DATASET_JSON_LABELS = (
    *("background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver"),
    *("stomach", "arota", "postcava", "pancreas", "right adrenal gland", "left adrenal gland"),
    *("duodenum", "bladder", "prostate/uterus"),
)

# Model -> manufacturer and site, as the official table spells them.
_SCANNERS = {
    "Aquilion ONE": ("TOSHIBA", "center"),
    "Brilliance16": ("Philips", "center"),
    "SOMATOM Force": ("SIEMENS", "people"),
    "Optima CT660": ("GE MEDICAL SYSTEMS", "people"),
    "Optima CT540": ("GE MEDICAL SYSTEMS", "people"),
    "Prisma": ("SIEMENS", "people"),
    "Ingenia": ("Philips", "center"),
    "SIGNA HDe": ("GE MEDICAL SYSTEMS", "people"),
    "Achieva": ("Philips Medical Systems", "center"),
}
_CT_MODELS = tuple(_SCANNERS)[:5]
_MRI_MODELS = tuple(_SCANNERS)[5:8]  # Achieva occurs once: file 0540
_ACHIEVA_SEQ = "0540"

# Scans of a patient who has another one, in an earlier subset, as AMOS22 has them.
_SCANNED_BEFORE = {"0027": "0004", "0539": "0600"}

# The random number stream of plan and table; those of `abdomen` have keys with a sample.
_PEOPLE = 0


@dataclasses.dataclass(frozen=True)
class Sample(scan_files.ScanStyle):
    """A scan to make up; see `scan_files.ScanStyle` for the other attributes.

    Attributes
    ----------
    seq : str
        Four digits.
    modality, subset, sex, scanner : str
        ``CT`` or ``MRI``; ``train``, ``val`` or ``test``; ``M`` or ``F``; scanner model.
    pelvis : bool
        The field of view reaches down to bladder and prostate or uterus.
    """

    seq: str
    modality: str
    subset: str
    sex: str
    scanner: str
    _: dataclasses.KW_ONLY
    mask_forms: str = "qform"  # what the published labels have
    mask_dtype: str = "uint16"
    pelvis: bool = True

    def __str__(self):
        return f"amos_{self.seq}"


# fmt: off
_CHOSEN_CT = (
    Sample("0001", "CT", "train", "F", "Aquilion ONE", axes="LAS", dtype="int16"),
    Sample("0004", "CT", "train", "M", "Brilliance16", axes="LPS", dtype="float32",
           volume_forms="qform", mask_forms="sform"),
    Sample("0201", "CT", "test", "M", "SOMATOM Force", axes="RAS", dtype="int16"),
    Sample("0008", "CT", "val", "F", "Optima CT660", axes="LAS", dtype="int16",
           scaling=(0.5, -1024.0), volume_forms="sform"),
    Sample("0500", "CT", "train", "M", "Optima CT540", axes="LPS", dtype="float64",
           mask_shift_mm=0.005),
    Sample("0027", "CT", "val", "M", "SOMATOM Force", axes="LAS", dtype="float32",
           mask_forms="both"),
)
_CHOSEN_MRI = (
    Sample("0507", "MRI", "train", "M", "Prisma", axes="LAS", tilt_degrees=12.0, dtype="float32",
           mask_forms="sform", pelvis=False),
    Sample("0540", "MRI", "train", "F", "Achieva", axes="LPS", dtype="int16", volume_forms="qform"),
    Sample("0539", "MRI", "test", "M", "Ingenia", axes="LAS", dtype="float64", pelvis=False),
    Sample("0554", "MRI", "val", "F", "SIGNA HDe", axes="RAS", dtype="int16", pelvis=False),
    Sample("0600", "MRI", "train", "M", "Prisma", axes="LAS", dtype="float32",
           volume_forms="sform"),
)
# fmt: on


def plan(n_ct: int = DEFAULT_N_CT, n_mri: int = DEFAULT_N_MRI, seed: int = 0) -> list[Sample]:
    """Choose the samples of an archive, CT before MRI.

    The first few of each are hand-picked: they cover subsets, sexes, scanners, types and headers.
    The seed decides about sex and scanner of the others. DatasetError where a number is negative
    or above what AMOS22 has.
    """
    for name, count, most in (("CT", n_ct, MAX_N_CT), ("MRI", n_mri, MAX_N_MRI)):
        if not 0 <= count <= most:
            raise errors.DatasetError(f"{count} {name} samples asked for; expected 0 to {most}")
    samples, everybody = [], _everybody(seed).values()
    for modality, chosen, count in (("CT", _CHOSEN_CT, n_ct), ("MRI", _CHOSEN_MRI, n_mri)):
        of_kind = (sample for sample in everybody if sample.modality == modality)
        samples += [*chosen, *(sample for sample in of_kind if sample not in chosen)][:count]
    return samples


def _everybody(seed):
    """All 600 samples that the metadata table has rows for, by file number."""
    rng = np.random.default_rng([seed, _PEOPLE])
    chosen = {int(sample.seq): sample for sample in _CHOSEN_CT + _CHOSEN_MRI}
    everybody = {}
    for number in range(1, MAX_N_CT + MAX_N_MRI + 1):
        modality, models = ("CT", _CT_MODELS) if number < _FIRST_MRI_FILE else ("MRI", _MRI_MODELS)
        sex, model = str(rng.choice(["M", "F"])), str(rng.choice(models))
        if number - 1 in chosen:  # joining a file with its neighbour's row must show
            sex = "M" if chosen[number - 1].sex == "F" else "F"
        subset = ("train", "train", "val", "test")[number % 4]
        style = {
            "axes": ("LAS", "LPS", "LAS", "RAS", "LAS")[number % 5],
            "dtype": ("int16", "float32", "int16")[number % 3],
        }
        pelvis = modality == "CT" or number % 10 == 0
        other = Sample(f"{number:04d}", modality, subset, sex, model, pelvis=pelvis, **style)
        everybody[number] = chosen.get(number, other)
    return everybody


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the bytes of an archive.

    Attributes
    ----------
    shape : (3,) int
        Voxels of every scan.
    n_ct, n_mri : int
        Number of scans, see `plan`.
    seed : int
    spacing : (3,) float, mm, or None
        See `abdomen.scan`.
    """

    shape: tuple[int, int, int] = DEFAULT_SHAPE
    n_ct: int = DEFAULT_N_CT
    n_mri: int = DEFAULT_N_MRI
    seed: int = 0
    spacing: tuple[float, float, float] | None = None


def prepare(root_dir: files.PathLike, settings: Settings) -> list[Sample]:
    """Write all of an archive but the scans, and return those for `write_sample`.

    DatasetError where `root_dir`, which is made where it is missing, holds an archive that was not
    made with these settings; nothing was written then.
    """
    samples = plan(settings.n_ct, settings.n_mri, settings.seed)
    note = {"format": FORMAT, **dataclasses.asdict(settings)}
    archive_dir = archive_folder.begin(root_dir, note)
    files.put(archive_dir / "amos22" / "dataset.json", _dataset_json(samples))
    files.put(archive_dir / amos22.METADATA_TABLE, metadata_table(settings.seed))
    for sample in samples[:2]:
        images, labels = _FOLDERS[sample.subset]
        folders = images, labels or images
        paths = (Path("amos22", folder, f"{sample}.nii.gz") for folder in folders)
        archive_folder.put_clutter(archive_dir, *paths)
    return samples


def _dataset_json(samples):
    """Return dataset.json as AMOS22 has it."""
    list_names = {subset: name for name, subset in amos22.DATASET_JSON_SUBSETS.items()}
    lists = {name: [] for name in amos22.DATASET_JSON_SUBSETS}
    for sample in sorted(samples, key=str):
        images, labels = _FOLDERS[sample.subset]
        entry = {"image": f"./{images}/{sample}.nii.gz"}
        if labels:
            entry["label"] = f"./{labels}/{sample}.nii.gz"
        lists[list_names[sample.subset]].append(entry)
    content = {
        "name": "AMOS",
        "description": "Made-up scans in the layout of AMOS22",
        "licence": "CC0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT", "1": "MRI"},
        "labels": {str(value): name for value, name in enumerate(_DATASET_JSON_LABELS)},
    }
    counts = {f"num{name.capitalize()}": len(entries) for name, entries in lists.items()}
    return archive_folder.as_json({**content, **lists, **counts})


def metadata_table(seed: int = 0) -> bytes:
    """Return the metadata table of all 600 made-up scans, CSV as the official one is written.

    Ids of MRI rows are one too low, as in the official table: 500 occurs twice, 600 never, and the
    only Achieva row is 539. That row has no age. Two people have two scans each.
    """
    rng = np.random.default_rng([seed, _PEOPLE, 1])
    people = _everybody(seed).values()
    days = {
        sample.seq: [
            tuple(int(part) for part in rng.integers(low, high))
            for low, high in (((1936, 1, 1), (2001, 13, 29)), ((2019, 1, 1), (2022, 13, 29)))
        ]
        for sample in people
    }
    for again, first in _SCANNED_BEFORE.items():
        days[again][0] = days[first][0]
    rows = [_metadata_row(sample, *days[sample.seq]) for sample in people]
    order = rng.permutation(len(rows))
    lines = [",".join(("amos_id", *amos22.METADATA.values()))]
    lines += [",".join(rows[index]) for index in order]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _metadata_row(sample, born, taken):
    number = int(sample.seq) - (sample.modality == "MRI")
    manufacturer, site = _SCANNERS[sample.scanner]
    age = taken[0] - born[0] - (taken[1:] < born[1:])
    dates = [f"{year:04d}{month:02d}{day:02d}" for year, month, day in (born, taken)]
    age_text = "" if sample.seq == _ACHIEVA_SEQ else f"{age:03d}Y"
    person = (str(number), dates[0], sample.sex, age_text)
    return (*person, sample.scanner, manufacturer, dates[1], site)


def write_sample(
    sample: Sample, root_dir: files.PathLike, settings: Settings, overwrite: bool = False
) -> scan_files.ScanStyle | calls.Finished:
    """Write volume, noisy mask, and the true mask outside the archive, after `prepare`.

    See `archive_folder.write_sample`.
    """
    images, labels = _FOLDERS[sample.subset]
    archive_dir = Path(root_dir, archive_folder.ARCHIVE_DIR, "amos22")
    truth_dir = Path(root_dir, archive_folder.TRUTH_DIR)
    name = f"{sample}.nii.gz"
    masks = {}
    if labels:
        masks[truth_dir / labels / name] = abdomen.mask_slices
        masks[archive_dir / labels / name] = abdomen.noisy_slices
    make = functools.partial(abdomen.scan, sample, settings.shape, settings.seed, settings.spacing)
    volumes = {archive_dir / images / name: abdomen.volume_slices}
    return archive_folder.write_sample(sample, make, volumes, masks, overwrite)


def memory_bytes(shape: Sequence[int]) -> int:
    """Return about what `write_sample` needs for a scan of a shape, above the bare process."""
    n_slice = shape[0] * shape[1]
    return n_slice * shape[2] * 9 // 4 + n_slice * 100 + 80 * 2**20

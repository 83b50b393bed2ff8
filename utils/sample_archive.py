"""Made-up abdominal scans in an archive laid out like AMOS22: for trying, testing and timing.

The scans are drawn from one table of ellipsoids and tubes in the patient's frame (RAS+, mm) and
then sampled on the voxel grid of each scan, so that left and right hold in every orientation.
Annotators' noise is added apart from the anatomy; the clean masks are kept beside the archive.
"""
import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from utils import amos22, errors, files, runner

# --- what there is to write ---------------------------------------------------------------------

# Raise it when the bytes change: files of two versions must not mix in one archive.
FORMAT = 1
MARKER_NAME = "sample_archive.json"
ARCHIVE_DIR, TRUTH_DIR = "archive", "truth"
DEFAULT_SHAPE = (160, 128, 48)
DEFAULT_N_CT, DEFAULT_N_MRI = 6, 5
MAX_N_CT, MAX_N_MRI = 500, 100  # the ids that AMOS22 has
SHORTEST, LONGEST = 2, 768  # voxels along an axis; AMOS22's largest scan has 768
_FIRST_MRI_FILE = 501
_FOLDERS = {"train": ("imagesTr", "labelsTr"), "val": ("imagesVa", "labelsVa"),
            "test": ("imagesTs", None)}

# AMOS22's own names, the misspelt one included: readers must get along with it.
_DATASET_JSON_LABELS = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver",
    "stomach", "arota", "postcava", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum", "bladder", "prostate/uterus")

# Model -> manufacturer and site, as the official table spells them.
_SCANNERS = {
    "Aquilion ONE": ("TOSHIBA", "center"), "Brilliance16": ("Philips", "center"),
    "SOMATOM Force": ("SIEMENS", "people"), "Optima CT660": ("GE MEDICAL SYSTEMS", "people"),
    "Optima CT540": ("GE MEDICAL SYSTEMS", "people"), "Prisma": ("SIEMENS", "people"),
    "Ingenia": ("Philips", "center"), "SIGNA HDe": ("GE MEDICAL SYSTEMS", "people"),
    "Achieva": ("Philips Medical Systems", "center")}
_CT_MODELS = tuple(_SCANNERS)[:5]
_MRI_MODELS = tuple(_SCANNERS)[5:8]  # Achieva occurs once: file 0540
_ACHIEVA_SEQ = "0540"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One scan to make up.

    Attributes
    ----------
    seq : str
        Four digits.
    modality, subset, sex, scanner : str
        ``CT`` or ``MRI``; ``train``, ``val`` or ``test``; ``M`` or ``F``; scanner model.
    axes : str
        World directions that the array axes point to, such as ``LAS``.
    tilt_degrees : float
        Rotation of the grid about the left-right axis; not 0 makes it oblique.
    dtype : str
        Type of the volume on disk.
    scaling : (float, float) or None
        ``scl_slope`` and ``scl_inter`` of the volume.
    volume_forms, mask_forms : str
        Which of the header's affines are set: ``both``, ``sform`` or ``qform``.
    mask_shift_mm : float
        How far the mask's origin lies beside the volume's.
    pelvis : bool
        The field of view reaches down to bladder and prostate or uterus.
    """

    seq: str
    modality: str
    subset: str
    sex: str
    scanner: str
    axes: str = "LAS"
    tilt_degrees: float = 0.0
    dtype: str = "int16"
    scaling: tuple[float, float] | None = None
    volume_forms: str = "both"
    mask_forms: str = "qform"  # what the published labels have
    mask_shift_mm: float = 0.0
    pelvis: bool = True

    def __str__(self):
        return f"amos_{self.seq}"


_CHOSEN_CT = (
    Sample("0001", "CT", "train", "F", "Aquilion ONE", "LAS", dtype="int16"),
    Sample("0004", "CT", "train", "M", "Brilliance16", "LPS", dtype="float32",
           volume_forms="qform", mask_forms="sform"),
    Sample("0201", "CT", "test", "M", "SOMATOM Force", "RAS", dtype="int16"),
    Sample("0008", "CT", "val", "F", "Optima CT660", "LAS", dtype="int16",
           scaling=(0.5, -1024.0), volume_forms="sform"),
    Sample("0500", "CT", "train", "M", "Optima CT540", "LPS", dtype="float64",
           mask_shift_mm=0.005),
    Sample("0027", "CT", "val", "M", "SOMATOM Force", "LAS", dtype="float32", mask_forms="both"),
)
_CHOSEN_MRI = (
    Sample("0507", "MRI", "train", "M", "Prisma", "LAS", tilt_degrees=12.0, dtype="float32",
           mask_forms="sform", pelvis=False),
    Sample("0540", "MRI", "train", "F", "Achieva", "LPS", dtype="int16", volume_forms="qform"),
    Sample("0539", "MRI", "test", "M", "Ingenia", "LAS", dtype="float64", pelvis=False),
    Sample("0554", "MRI", "val", "F", "SIGNA HDe", "RAS", dtype="int16", pelvis=False),
    Sample("0600", "MRI", "train", "M", "Prisma", "LAS", dtype="float32", volume_forms="sform"),
)


def plan(n_ct: int = DEFAULT_N_CT, n_mri: int = DEFAULT_N_MRI, seed: int = 0) -> list[Sample]:
    """Choose the samples of an archive.

    Parameters
    ----------
    n_ct, n_mri : int
        How many scans of each kind, at most `MAX_N_CT` and `MAX_N_MRI`.
    seed : int
        Decides about sex and scanner of the samples after the first, hand-picked ones.

    Returns
    -------
    list of Sample
        CT before MRI. The first few cover subsets, sexes, scanners, types and headers.

    Raises
    ------
    DatasetError
        A number is negative or above what AMOS22 has.
    """
    for name, count, most in (("CT", n_ct, MAX_N_CT), ("MRI", n_mri, MAX_N_MRI)):
        if not 0 <= count <= most:
            raise errors.DatasetError(f"{count} {name} samples asked for; expected 0 to {most}")
    everybody = _everybody(seed)
    return [sample for chosen, count in ((_CHOSEN_CT, n_ct), (_CHOSEN_MRI, n_mri))
            for sample in _extend(chosen, everybody)[:count]]


def _everybody(seed):
    """All 600 samples that the metadata table tells of, by file number."""
    rng = np.random.default_rng([seed, _PEOPLE])
    chosen = {int(sample.seq): sample for sample in _CHOSEN_CT + _CHOSEN_MRI}
    everybody = {}
    for number in range(1, MAX_N_CT + MAX_N_MRI + 1):
        modality, models = ("CT", _CT_MODELS) if number < _FIRST_MRI_FILE else ("MRI", _MRI_MODELS)
        sex, model = str(rng.choice(["M", "F"])), str(rng.choice(models))
        if number - 1 in chosen:  # joining a file with its neighbour's row must show
            sex = "M" if chosen[number - 1].sex == "F" else "F"
        everybody[number] = chosen.get(number) or Sample(
            f"{number:04d}", modality, ("train", "train", "val", "test")[number % 4], sex, model,
            ("LAS", "LPS", "LAS", "RAS", "LAS")[number % 5],
            dtype=("int16", "float32", "int16")[number % 3],
            pelvis=modality == "CT" or number % 10 == 0)
    return everybody


def _extend(chosen, everybody):
    others = [sample for sample in everybody.values()
              if sample.modality == chosen[0].modality and sample not in chosen]
    return [*chosen, *others]


# --- anatomy ------------------------------------------------------------------------------------

# Tissue codes: 1 to 15 are AMOS22's labels, the others tell apart what has no label.
(_SPLEEN, _RIGHT_KIDNEY, _LEFT_KIDNEY, _GALL_BLADDER, _ESOPHAGUS, _LIVER, _STOMACH, _AORTA,
 _POSTCAVA, _PANCREAS, _RIGHT_ADRENAL, _LEFT_ADRENAL, _DUODENUM, _BLADDER,
 _SEX_ORGAN) = range(1, 16)
(_AIR, _FAT, _MUSCLE, _BONE, _MARROW, _DISC, _LUNG, _HEART, _BOWEL, _GAS,
 _STOMACH_GAS) = range(16, 27)
N_LABELS = 16
_N_CODES = 27
_LABEL_OF = np.zeros(256, np.uint8)
_LABEL_OF[1:N_LABELS] = np.arange(1, N_LABELS)
_LABEL_OF[_STOMACH_GAS] = _STOMACH

# What each random number stream is for; with seed and sample it makes the stream's key.
_PEOPLE, _BUILD, _PLACE, _SURFACE, _LOOK, _GRAIN, _ANNOTATOR = range(7)

# Half axes (mm) of the outline of a slim adult, and of the abdominal cavity inside.
_BODY_HALF_MM = np.array([150.0, 106.0])
_CAVITY_SHARE = (0.84, 0.73)
_CAVITY_FORWARD_MM = 10.0
# The field of view along the body: centre and range of lengths (mm), full and upper abdomen.
_FULL_VIEW_MM = (-52.0, 380.0, 480.0)
_UPPER_VIEW_MM = (38.0, 230.0, 260.0)
_THICKEST_SLICE_MM = 5.0
_MARGIN = 1.06
_WAVES = 4


@dataclasses.dataclass(frozen=True)
class _Part:
    """A piece of anatomy in the patient's frame, +x right, +y front, +z head, in mm.

    ``points`` holds (x, y, z, radius) of a tube's bends; a ball has one point and ``half_axes``.
    Parts are painted one over the other; ``only`` limits the paint to codes already there.
    What ``follows`` another code takes its place and size in each patient: a notch its organ's.
    """

    code: int
    points: tuple
    half_axes: tuple = ()
    tilt: tuple = (0.0, 0.0, 0.0)
    only: tuple = ()
    follows: int = 0
    inside: bool = True  # stays in the abdominal cavity
    wobble: float = 0.06
    sex: str = "MF"


def _ball(code, centre, half_axes, **more):
    return _Part(code, ((*centre, 0.0),), half_axes, **more)


def _tube(code, *points, **more):
    return _Part(code, points, **more)


def _both_sides(*points, **more):
    flipped = tuple((-x, *rest) for x, *rest in points)
    return _Part(points=points, **more), _Part(points=flipped, **more)


_WALL = {"inside": False, "wobble": 0.03}
_ANATOMY = (
    # Back muscles, spine, pelvis.
    *_both_sides((30, -80, -160, 19), (32, -78, 230, 17), code=_MUSCLE, **_WALL),
    *_both_sides((27, -45, 40, 9), (40, -40, -60, 18), (62, 0, -150, 18), (72, 20, -240, 16),
                 code=_MUSCLE, **_WALL),
    _tube(_BONE, (0, -85, -100, 12), (0, -85, 230, 11), **_WALL),
    _tube(_DISC, (0, -75, -150, 8), (0, -75, 230, 8), **_WALL),
    _tube(_BONE, (0, -80, -215, 9), (0, -72, -160, 18), (0, -47, -110, 21), (0, -45, -20, 20),
          (0, -50, 230, 17), **_WALL),
    _tube(_MARROW, (0, -80, -215, 6), (0, -72, -160, 15), (0, -47, -110, 18.5),
          (0, -45, -20, 17.5), (0, -50, 230, 14.5), follows=_BONE, **_WALL),
    *(_ball(_DISC, (0, -47, z), (19, 17, 4.5), only=(_BONE, _MARROW), follows=_BONE, **_WALL)
      for z in range(-108, 230, 36)),
    *(_ball(code, (side * 92, -28, -125), half_axes, tilt=(0, side * 20, side * 25),
            follows=_BONE, **_WALL)
      for code, half_axes in ((_BONE, (13, 46, 50)), (_MARROW, (9, 42, 46)))
      for side in (1, -1)),
    *(part for code, less in ((_BONE, 0), (_MARROW, 3))
      for part in _both_sides((84, 0, -205, 26 - less), (98, 0, -250, 20 - less),
                              (100, 0, -330, 18 - less), code=code, follows=_BONE, **_WALL)),
    *_both_sides((80, 10, -222, 10), (14, 62, -228, 9), code=_BONE, **_WALL),
    # Chest.
    _ball(_HEART, (-14, 22, 172), (54, 48, 40), only=(_LUNG,)),
    _tube(_HEART, (0, -18, 125, 20), (0, -18, 230, 24), only=(_LUNG,)),
    # Large bowel, with gas.
    *(_tube(code, (92, 8, -115, 20 * share), (96, 12, -50, 22 * share), (92, 30, -22, 18 * share),
            (10, 68, -45, 17 * share), (-80, 40, 10, 16 * share), (-104, 0, 30, 15 * share),
            (-106, -5, -90, 14 * share), (-60, 5, -150, 14 * share), (-8, -40, -175, 15 * share),
            (0, -48, -240, 14 * share), follows=_BOWEL)
      for code, share in ((_BOWEL, 1.0), (_GAS, 0.6))),
    # Organs with a label, large ones first.
    _ball(_SPLEEN, (-92, -22, 72), (31, 46, 53), tilt=(-20, 18, -12)),
    _tube(_STOMACH, (-66, 2, 97, 27), (-70, 24, 62, 27), (-48, 48, 28, 22), (-12, 54, 20, 17),
          (12, 46, 24, 13)),
    _ball(_STOMACH_GAS, (-55, 62, 50), (60, 26, 60), only=(_STOMACH,), follows=_STOMACH),
    _ball(_LIVER, (72, 4, 68), (57, 74, 69), tilt=(0, -12, 0), wobble=0.05),
    _ball(_LIVER, (10, 46, 88), (66, 34, 34), tilt=(0, 14, 0), wobble=0.05),
    _ball(_FAT, (4, -38, 50), (52, 42, 62), only=(_LIVER,), follows=_LIVER),
    *(part for side, code, z in ((1, _RIGHT_KIDNEY, -12), (-1, _LEFT_KIDNEY, 6)) for part in (
        _ball(_FAT, (side * 60, -34, z), (33, 31, 62), tilt=(-8, side * 10, side * 25),
              only=(_LIVER, _SPLEEN, _BOWEL, _GAS, _STOMACH, _STOMACH_GAS), follows=code),
        _ball(code, (side * 60, -34, z), (28, 25, 55), tilt=(-8, side * 10, side * 25)),
        _ball(_FAT, (side * 35, -22, z), (17, 9, 19), only=(code,), follows=code))),
    _ball(_GALL_BLADDER, (46, 44, 18), (14, 16, 25), tilt=(30, 10, 0)),
    _tube(_DUODENUM, (14, 44, 22, 12), (36, 36, 12, 12), (48, 12, -8, 11), (46, 6, -36, 11),
          (20, 4, -50, 10.5), (-14, 6, -48, 10), (-30, 16, -28, 9)),
    _tube(_PANCREAS, (28, 16, -16, 13), (22, 20, 8, 13), (2, 28, 22, 9.5), (-28, 22, 34, 10),
          (-62, -4, 48, 9)),
    _tube(_POSTCAVA, (13, -14, -92, 10), (17, -12, 20, 10.5), (22, -4, 90, 11.5),
          (19, 2, 136, 12)),
    _tube(_AORTA, (-5, -16, -88, 8.5), (-9, -18, 30, 10), (-11, -21, 100, 11), (-14, -24, 235, 12)),
    _tube(_ESOPHAGUS, (-6, -4, 235, 8), (-10, 2, 140, 8), (-24, 6, 112, 8.5), (-42, 6, 98, 9)),
    _tube(_RIGHT_ADRENAL, (33, -24, 64, 3.8), (39, -38, 44, 4.2), wobble=0.03),
    _tube(_RIGHT_ADRENAL, (33, -24, 64, 3.8), (29, -34, 40, 4.0), wobble=0.03),
    _tube(_LEFT_ADRENAL, (-36, -18, 66, 3.9), (-45, -34, 46, 4.2), wobble=0.03),
    _tube(_LEFT_ADRENAL, (-36, -18, 66, 3.9), (-31, -30, 42, 4.0), wobble=0.03),
    _ball(_BLADDER, (0, 34, -188), (37, 29, 29)),
    _ball(_SEX_ORGAN, (0, 10, -224), (23, 17, 20), sex="M"),
    _ball(_SEX_ORGAN, (0, -6, -170), (27, 21, 25), tilt=(-35, 0, 0), sex="F"),
)

# Mean intensity per code: the organs' CT (HU) and MRI means of the published statistics; then
# air, fat, muscle, bone, marrow, disc, lung, heart, bowel, gas, gas in the stomach.
_MEAN = {
    "CT": (0, 45, 34, 34, 12, 34, 52, 22, 40, 46, 30, 26, 32, 26, 8, 42,
           -1000, -105, 52, 420, 170, 75, -830, 45, 28, -850, -600),
    "MRI": (0, 155, 166, 162, 265, 190, 171, 150, 131, 217, 245, 153, 190, 189, 300, 210,
            4, 330, 95, 35, 190, 120, 12, 110, 175, 12, 35)}
# What contrast agent adds in the portal venous phase (HU), as far as it does.
_ENHANCEMENT_HU = {_SPLEEN: 75, _RIGHT_KIDNEY: 120, _LEFT_KIDNEY: 120, _LIVER: 55, _AORTA: 105,
                   _POSTCAVA: 85, _PANCREAS: 50, _HEART: 90, _SEX_ORGAN: 35, _STOMACH: 15,
                   _DUODENUM: 25, _RIGHT_ADRENAL: 35, _LEFT_ADRENAL: 35, _ESOPHAGUS: 20}


@dataclasses.dataclass(frozen=True)
class Scan:
    """One made-up scan.

    Attributes
    ----------
    sample : Sample
    affine : (4, 4) float64
        Voxel index to RAS+ mm, in digits that float32 holds.
    tissues : (X, Y, Z) uint8
        Tissue codes, Fortran order; `mask_slices` makes labels of them.
    labels : tuple of int
        Those that occur, 0 not counted.
    seed : int
    """

    sample: Sample
    affine: np.ndarray
    tissues: np.ndarray
    labels: tuple[int, ...]
    seed: int


def scan(sample: Sample, shape=DEFAULT_SHAPE, seed: int = 0, spacing=None) -> Scan:
    """Make up the anatomy of one sample and sample it on its voxel grid.

    Parameters
    ----------
    sample : Sample
    shape : (3,) int
        Number of voxels along the array axes; the third runs along the body.
    seed : int
        Same sample and seed, same patient, whatever the shape.
    spacing : (3,) float, mm, optional
        Default: so that the field of view holds the abdomen, at most 5 mm between slices where
        there are enough of them.

    Returns
    -------
    Scan

    Notes
    -----
    Each label is one 26-connected region: what another organ cuts off becomes fat.
    """
    size = _size(sample, seed)
    affine, offset = _grid(sample, shape, seed, spacing, size)
    patient_affine = affine.copy()
    patient_affine[:3, 3] -= offset
    tissues = np.empty(shape, np.uint8, order="F")
    parts = [piece for part in _ANATOMY if sample.sex in part.sex
             for piece in _pieces(part, sample, seed, size, patient_affine)]
    waves = _Waves(_rng(seed, sample, _SURFACE), patient_affine, 55.0)
    for k in range(shape[2]):
        plane = _Plane(patient_affine, k, (0, shape[0]), (0, shape[1]))
        _paint_slice(tissues[:, :, k], plane, size, parts, waves)
    labels = _keep_largest_regions(tissues)
    return Scan(sample, affine, tissues, labels, seed)


def _rng(seed, sample, *purpose):
    return np.random.default_rng([seed, int(sample.seq), *purpose])


def _size(sample, seed):
    """How large this patient is, relative to the table; women are drawn a little smaller."""
    scale = float(_rng(seed, sample, _BUILD).uniform(0.96, 1.04))
    return scale * 0.96 if sample.sex == "F" else scale


def _grid(sample, shape, seed, spacing, size):
    """Return the affine and where the patient's frame lies in the scanner's (mm)."""
    half = _BODY_HALF_MM * size
    centre_z, shortest, longest = _FULL_VIEW_MM if sample.pelvis else _UPPER_VIEW_MM
    if spacing is None:
        in_plane = round(float((2 * _MARGIN * half / shape[:2]).max()), 4)
        length = np.clip(_THICKEST_SLICE_MM * shape[2], shortest, longest) * size
        spacing = (in_plane, in_plane, round(float(length) / shape[2], 3))
    affine = np.eye(4)
    affine[:3, :3] = directions(sample.axes, sample.tilt_degrees) * spacing
    offset = _rng(seed, sample, _PLACE).uniform((-15, -25, -900), (15, 25, 300))
    centre = (0.0, 0.0, centre_z * size)
    affine[:3, 3] = offset + centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine.astype(np.float32).astype(np.float64), offset


def directions(axes: str, tilt_degrees: float) -> np.ndarray:
    """Return the unit vectors of the array axes in the world.

    Parameters
    ----------
    axes : str
        World directions that the array axes point to, such as ``LAS``.
    tilt_degrees : float
        Rotation about the left-right axis after that.

    Returns
    -------
    (3, 3) float64
        One column an axis.
    """
    sides = {letter: np.eye(3)[axis] * sign for axis, pair in enumerate(("RL", "AP", "SI"))
             for letter, sign in zip(pair, (1, -1))}
    turn = _rotation((tilt_degrees, 0.0, 0.0))
    return turn @ np.column_stack([sides[letter] for letter in axes])


def _rotation(degrees):
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn, (a, b) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


class _Plane:
    """A rectangle of one slice: voxel (i, j) lies at ``origin + i * step_i + j * step_j``."""

    def __init__(self, affine, k, i_range, j_range):
        self.i = np.arange(*i_range, dtype=np.float32)[:, None]
        self.j = np.arange(*j_range, dtype=np.float32)[None, :]
        self.affine, self.k = affine, k

    def along(self, direction, start=(0.0, 0.0, 0.0)):
        """Return ``direction . (world - start)``, linear in i and j.

        (I, J), or 1 where it does not change along an axis: most grids are not oblique, and
        broadcasting such lines and points is most of this module's speed.
        """
        step = np.asarray(direction) @ self.affine[:3]
        values = np.full((1, 1), step[2] * self.k + step[3] - np.dot(direction, start), np.float32)
        for factor, index in ((step[1], self.j), (step[0], self.i)):
            if factor:
                values = np.float32(factor) * index + values
        return values


class _Waves:
    """A smooth random field of a few plane waves, between about -1 and 1.

    A plane wave is a product of functions of i and j on any grid, which makes it cheap.
    """

    def __init__(self, rng, affine, wavelength_mm):
        direction = rng.standard_normal((_WAVES, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = wavelength_mm * rng.uniform(0.7, 1.4, (_WAVES, 1))
        self._steps = 2 * np.pi * direction / length @ affine[:3]
        self._steps[:, 3] += rng.uniform(0, 2 * np.pi, _WAVES)

    def on(self, plane):
        """Return the field on a `_Plane`."""
        a = plane.i * self._steps[:, 0] + (self._steps[:, 2] * plane.k + self._steps[:, 3])
        b = plane.j.T * self._steps[:, 1]
        left = np.concatenate([np.cos(a), -np.sin(a)], axis=1) / np.sqrt(_WAVES)
        right = np.concatenate([np.cos(b), np.sin(b)], axis=1)
        # Not a matrix product: its sums could differ with the number of BLAS threads.
        field = np.zeros((len(left), len(right)), np.float32)
        for wave_i, wave_j in zip(left.T.astype(np.float32), right.T.astype(np.float32)):
            field += wave_i[:, None] * wave_j
        return field


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A ball or one stretch of a tube on a given grid, with the box of voxels that holds it."""

    part: _Part
    start: np.ndarray
    axes: np.ndarray | None  # ball: (3, 3), world to the unit ball
    end: np.ndarray | None  # tube
    radii: tuple
    box: np.ndarray  # (3, 2) int
    waves: _Waves

    def level(self, plane):
        """Return the squared distance from the centre, 1 on the unperturbed surface."""
        if self.axes is not None:
            return sum(plane.along(axis, self.start) ** 2 for axis in self.axes)
        run = self.end - self.start
        length = float(run @ run)
        along = plane.along(run, self.start)
        share = np.clip(along / np.float32(length), 0, 1)
        square = sum(plane.along(axis, self.start) ** 2 for axis in np.eye(3))
        square += share * (share * np.float32(length) - 2 * along)
        radius = np.float32(self.radii[1] - self.radii[0]) * share + np.float32(self.radii[0])
        return square / radius ** 2


def _pieces(part, sample, seed, size, affine):
    """Place one part in this patient and on this grid."""
    rng = _rng(seed, sample, _BUILD, part.follows or part.code)
    scale = size * rng.uniform(0.95, 1.05)
    points = np.array(part.points, float)
    centre = points[:, :3].mean(axis=0) * size + rng.uniform(-2.0, 2.0, 3)
    places = (points[:, :3] - points[:, :3].mean(axis=0)) * scale + centre
    waves = _Waves(_rng(seed, sample, _SURFACE, part.code), affine, 60.0)
    if part.half_axes:
        half = np.array(part.half_axes) * scale
        axes = (_rotation(part.tilt) / half).T
        box = _box(places, np.full(1, half.max()), part.wobble, affine)
        return [_Piece(part, places[0], axes, None, (), box, waves)]
    radii = points[:, 3] * scale
    return [_Piece(part, places[n], None, places[n + 1], tuple(radii[n:n + 2]),
                   _box(places[n:n + 2], radii[n:n + 2], part.wobble, affine), waves)
            for n in range(len(points) - 1)]


def _box(places, radii, wobble, affine):
    """Return the (3, 2) range of voxel indexes around balls at some places."""
    inverse = np.linalg.inv(affine)
    centres = places @ inverse[:3, :3].T + inverse[:3, 3]
    reach = radii[:, None] * (1 + 2 * wobble) * np.linalg.norm(inverse[:3, :3], axis=1)
    return np.column_stack([np.floor((centres - reach).min(axis=0)),
                            np.ceil((centres + reach).max(axis=0)) + 1]).astype(int)


def _paint_slice(tissues, plane, size, pieces, waves):
    """Fill one (X, Y) slice with tissue codes."""
    cavity = _paint_body(tissues, plane, size, waves)
    for piece in pieces:
        box = np.clip(piece.box, 0, [[tissues.shape[0]], [tissues.shape[1]], [2 ** 20]])
        (i0, i1), (j0, j1), (k0, k1) = box
        if not (k0 <= plane.k < k1 and i0 < i1 and j0 < j1):
            continue
        part, here = piece.part, np.s_[i0:i1, j0:j1]
        window = _Plane(plane.affine, plane.k, (i0, i1), (j0, j1))
        surface = 1 + np.float32(part.wobble) * piece.waves.on(window)
        hit = piece.level(window) < surface ** 2
        if part.inside:
            hit &= cavity[here]
        if part.only:
            allowed = np.zeros(_N_CODES, bool)
            allowed[list(part.only)] = True
            hit &= allowed[tissues[here]]
        tissues[here][hit] = part.code


def _paint_body(tissues, plane, size, waves):
    """Paint skin, muscles, ribs, fat, bowel and lungs; return where the cavity is."""
    half = _BODY_HALF_MM * size
    x, y, z = (plane.along(axis) for axis in np.eye(3))
    field = waves.on(plane)
    body = _rounded(x / np.float32(half[0]), y / np.float32(half[1])) * (1 + 0.02 * field)
    inner = (x / np.float32(half[0] * _CAVITY_SHARE[0]),
             (y - np.float32(_CAVITY_FORWARD_MM)) / np.float32(half[1] * _CAVITY_SHARE[1]))
    depth = _rounded(*inner)
    cavity = depth < 1
    tissues[...] = _AIR
    tissues[body < 1] = _FAT
    tissues[(body < 0.84) & ~cavity] = _MUSCLE
    # Ribs run down towards the front; 28 mm apart, above the flanks only.
    ribs = (np.sin((z - 0.6 * y) * np.float32(2 * np.pi / 28)) > 0.1) & (z > 15 - 0.2 * y)
    tissues[(depth > 1.07) & (depth < 1.3) & (body < 0.84) & ribs] = _BONE
    bowel = cavity & (z < 45 - 40 * inner[0] ** 2) & (z > -175)
    tissues[bowel & (field > 0.25)] = _BOWEL
    tissues[bowel & (field > 1.05)] = _GAS
    dome = np.float32(142 * size) - 62 * (inner[0] ** 2 + inner[1] ** 2)
    tissues[cavity & (z > dome)] = _LUNG
    return cavity


def _rounded(u, v):
    """Return about the squared radius, for an outline between an ellipse and a rectangle."""
    u, v = u * u, v * v
    return u + v - np.float32(0.3) * u * v


def _keep_largest_regions(tissues):
    """Turn what other organs cut off a label into fat, in place; return the labels there are."""
    import cc3d
    from scipy import ndimage as ndi
    labels = []
    boxes = ndi.find_objects(tissues, max_label=_N_CODES)
    for label in range(1, N_LABELS):
        found = [boxes[code - 1] for code in np.flatnonzero(_LABEL_OF == label) if boxes[code - 1]]
        if not found:
            continue
        labels.append(label)
        box = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis))
                    for axis in zip(*found))
        organ = _LABEL_OF[tissues[box]] == label
        regions = cc3d.connected_components(organ, connectivity=26)
        largest = np.argmax(np.bincount(regions.ravel(order="K"))[1:]) + 1
        tissues[box][organ & (regions != largest)] = _FAT
    return tuple(labels)


# --- what the scanner and the annotator make of it ----------------------------------------------


def volume_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the intensities of a scan, slice by slice.

    Parameters
    ----------
    made : Scan

    Yields
    ------
    (X, Y) float32
        CT: whole HU, MRI: multiples of 0.25 without unit, at least 0.

    Notes
    -----
    Mean per tissue, noise, then a 1-2-1 filter in the slice for partial volume; MRI after that
    times a smooth bias field, and the magnitude of it.
    """
    sample, seed = made.sample, made.seed
    rng = _rng(seed, sample, _LOOK)
    mean = _mean_intensities(rng, sample.modality)
    bias = _Waves(rng, made.affine, 420.0)
    texture = _Waves(rng, made.affine, 24.0)
    deviation = np.float32(rng.uniform(*{"CT": (18, 34), "MRI": (9, 16)}[sample.modality]))
    shape = made.tissues.shape
    for k in range(shape[2]):
        plane = _Plane(made.affine, k, (0, shape[0]), (0, shape[1]))
        image = mean[made.tissues[:, :, k]]
        image += deviation * _rng(seed, sample, _GRAIN, k).standard_normal(
            shape[1::-1], dtype=np.float32).T
        _smooth(image)
        if sample.modality == "CT":
            image += 4 * texture.on(plane)
            yield np.maximum(np.rint(image), -1024)
        else:
            image *= np.exp(0.3 * bias.on(plane)) * (1 + 0.04 * texture.on(plane))
            yield np.rint(4 * np.abs(image)) / 4


def _mean_intensities(rng, modality):
    mean = np.array(_MEAN[modality], np.float32)
    if modality == "MRI":
        return mean * rng.uniform(0.85, 1.15, _N_CODES).astype(np.float32)
    share = rng.choice([0.0, 1.0]) * rng.uniform(0.7, 1.1)
    for code, added in _ENHANCEMENT_HU.items():
        mean[code] += share * added
    mean[1:N_LABELS] += rng.uniform(-5, 5, N_LABELS - 1)
    return mean


def _smooth(image):
    for view in (image, image.T):
        view[1:-1] = 0.25 * (view[:-2] + view[2:]) + 0.5 * view[1:-1]


def mask_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the true labels of a scan, slice by slice, (X, Y) uint8, 0 to 15."""
    for k in range(made.tissues.shape[2]):
        yield _LABEL_OF[made.tissues[:, :, k]]


def noisy_slices(made: Scan) -> Iterator[np.ndarray]:
    """Yield the labels of a scan as an annotator leaves them: `mask_slices` with `add_noise`."""
    for k, labels in enumerate(mask_slices(made)):
        add_noise(labels, _rng(made.seed, made.sample, _ANNOTATOR, k), made.labels)
        yield labels


def add_noise(mask: np.ndarray, rng: np.random.Generator, values, rate: float = 1.0) -> None:
    """Add what annotators leave in a slice of a mask, in place.

    Parameters
    ----------
    mask : (X, Y) uint8
        Labels of one slice; one without any is left alone.
    rng : numpy.random.Generator
    values : (n,) int
        Labels that stray voxels may have.
    rate : float
        1 gives on average one island, 0.7 holes and 0.25 stray voxels a slice, and a jagged
        border on every sixth slice.
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


def add_islands(mask: np.ndarray, rng: np.random.Generator, values, largest: int = 8) -> None:
    """Put small regions of given labels around and into the labelled part of a slice, in place.

    Parameters
    ----------
    mask : (X, Y) uint8
        A slice with at least one label.
    rng : numpy.random.Generator
    values : (n,) int
        One region for each.
    largest : int
        Each region is 8-connected and has 1 to `largest` pixels.
    """
    x, y = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    low = np.maximum([x[0] - 6, y[0] - 6], 0)
    high = np.minimum([x[-1] + 7, y[-1] + 7], mask.shape)
    seeds = rng.integers(low, high, (len(values), 2))
    _draw(mask, rng, seeds, np.asarray(values, mask.dtype), largest)


def add_holes(mask: np.ndarray, rng: np.random.Generator, count: int, largest: int = 8) -> None:
    """Clear small regions inside the labelled part of a slice, in place.

    Parameters
    ----------
    mask : (X, Y) uint8
        A slice with at least one label.
    rng : numpy.random.Generator
    count : int
        Number of holes; those that meet a border become notches.
    largest : int
        Each hole is 8-connected and has 1 to `largest` pixels.
    """
    seeds = rng.choice(np.argwhere(mask > 0), count)
    _draw(mask, rng, seeds, np.zeros(count, mask.dtype), largest)


def _draw(mask, rng, seeds, values, largest):
    """Draw one random walk a seed: any prefix of a walk is 8-connected, also along the edge."""
    steps = rng.integers(-1, 2, (len(seeds), largest, 2))
    steps[:, 0] = 0
    places = np.clip(seeds[:, None, :] + steps.cumsum(axis=1), 0, np.array(mask.shape) - 1)
    x, y = np.moveaxis(places, 2, 0)
    taken = np.arange(largest) < rng.integers(1, largest + 1, len(seeds))[:, None]
    mask[x[taken], y[taken]] = np.broadcast_to(values[:, None], taken.shape)[taken]


def roughen_border(mask: np.ndarray, rng: np.random.Generator, share: float = 0.35) -> None:
    """Let a share of the pixels along borders take their neighbour's label, in place.

    Parameters
    ----------
    mask : (X, Y) uint8
    rng : numpy.random.Generator
    share : float
        Part of the pixels beside another label that change.
    """
    for axis in rng.permutation(2):
        view = mask.T if axis else mask
        before = view[:-1].copy()
        taken = (before != view[1:]) & (rng.random(before.shape) < share)
        view[1:][taken] = before[taken]


# --- files --------------------------------------------------------------------------------------


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
        See `scan`.
    """

    shape: tuple[int, int, int] = DEFAULT_SHAPE
    n_ct: int = DEFAULT_N_CT
    n_mri: int = DEFAULT_N_MRI
    seed: int = 0
    spacing: tuple[float, float, float] | None = None


def write(root_dir, shape=DEFAULT_SHAPE, n_ct: int = DEFAULT_N_CT, n_mri: int = DEFAULT_N_MRI,
          seed: int = 0, spacing=None) -> list[Sample]:
    """Write a whole sample archive in this process.

    Parameters
    ----------
    root_dir : path-like
        Gets ``archive/``, ``truth/`` and a note of the settings; made where it is missing.
    shape, n_ct, n_mri, seed, spacing
        See `Settings`.

    Returns
    -------
    list of Sample
        What was written, in the order of `plan`.

    Raises
    ------
    DatasetError
        `root_dir` holds an archive that was not made with these settings.
    """
    settings = Settings(tuple(shape), n_ct, n_mri, seed, spacing and tuple(spacing))
    samples = prepare(root_dir, settings)
    for sample in samples:
        write_sample(sample, root_dir, settings)
    return samples


def prepare(root_dir, settings: Settings) -> list[Sample]:
    """Write all of an archive but the scans, after checking that the folder is free for it.

    Parameters
    ----------
    root_dir : path-like
    settings : Settings

    Returns
    -------
    list of Sample
        The scans to write with `write_sample`.

    Raises
    ------
    DatasetError
        `root_dir` holds an archive that was not made with these settings; nothing was written.
    """
    samples = plan(settings.n_ct, settings.n_mri, settings.seed)
    archive_dir = begin(root_dir, {"format": FORMAT, **dataclasses.asdict(settings)})
    _put(archive_dir / "amos22" / "dataset.json", _dataset_json(samples))
    _put(archive_dir / amos22.TABLE_DOWNLOAD, metadata_table(settings.seed))
    for sample in samples[:2]:
        images, labels = _FOLDERS[sample.subset]
        put_clutter(archive_dir, *(Path("amos22", folder, f"{sample}.nii.gz")
                                   for folder in (images, labels or images)))
    return samples


def begin(root_dir, settings: dict) -> Path:
    """Take a folder for a sample archive, or go on with the one that is there.

    Parameters
    ----------
    root_dir : path-like
    settings : dict
        What decides about the archive's bytes; it is noted in the folder.

    Returns
    -------
    Path
        Folder of the archive.

    Raises
    ------
    DatasetError
        `root_dir` holds an archive that was not made with these settings; nothing was written.
    """
    root_dir = Path(root_dir)
    note = _as_json(settings)
    _check_free(root_dir, note)
    files.make_dir(root_dir)
    _put(root_dir / MARKER_NAME, note)
    for name in (ARCHIVE_DIR, TRUTH_DIR):
        files.sweep(root_dir / name)
    return root_dir / ARCHIVE_DIR


def _check_free(root_dir, note):
    marker_path = root_dir / MARKER_NAME
    if marker_path.is_file():
        found = marker_path.read_bytes()
        if found != note:
            raise errors.DatasetError(
                f"{root_dir}: holds a sample archive with other settings; choose another folder or "
                f"remove this one (found {_one_line(found)}, expected {_one_line(note)})",
                file=marker_path, expected=_one_line(note), found=_one_line(found))
        return
    for name in (ARCHIVE_DIR, TRUTH_DIR):
        if (root_dir / name).exists():
            raise errors.DatasetError(
                f"{root_dir / name}: exists, and is no sample archive ({MARKER_NAME} is missing "
                "beside it); nothing is written there", file=root_dir / name)


def _one_line(text):
    return " ".join(text.decode("utf-8", "replace").split())


def _as_json(content):
    return (json.dumps(content, indent=1) + "\n").encode("utf-8")


def _put(path, content):
    """Write a small file unless it is there already."""
    if path.is_file() and path.read_bytes() == content:
        return
    files.make_dir(path.parent)
    with files.whole(path) as handle:
        handle.write(content)


def _dataset_json(samples):
    """Return dataset.json as AMOS22 has it."""
    lists = {"training": [], "validation": [], "test": []}
    for sample in sorted(samples, key=str):
        images, labels = _FOLDERS[sample.subset]
        entry = {"image": f"./{images}/{sample}.nii.gz"}
        if labels:
            entry["label"] = f"./{labels}/{sample}.nii.gz"
        lists[next(name for name in lists if name.startswith(sample.subset))].append(entry)
    return _as_json({
        "name": "AMOS", "description": "Made-up scans in the layout of AMOS22",
        "licence": "CC0", "tensorImageSize": "3D", "modality": {"0": "CT", "1": "MRI"},
        "labels": {str(value): name for value, name in enumerate(_DATASET_JSON_LABELS)}, **lists,
        **{f"num{name.capitalize()}": len(entries) for name, entries in lists.items()}})


def metadata_table(seed: int = 0) -> bytes:
    """Return the metadata table of all 600 made-up people, as the official one is written.

    Parameters
    ----------
    seed : int
        See `Settings`.

    Returns
    -------
    bytes
        CSV in UTF-8. Ids of MRI rows are one too low, as in the official table: 500 occurs twice,
        600 never, and the only Achieva row is 539. That row has no age.
    """
    rng = np.random.default_rng([seed, _PEOPLE, 1])
    rows = [_metadata_row(sample, rng) for sample in _everybody(seed).values()]
    order = rng.permutation(len(rows))
    lines = [",".join(("amos_id", *amos22.METADATA.values()))]
    lines += [",".join(rows[index]) for index in order]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _metadata_row(sample, rng):
    number = int(sample.seq) - (sample.modality == "MRI")
    manufacturer, site = _SCANNERS[sample.scanner]
    born, taken = (tuple(int(part) for part in rng.integers(low, high)) for low, high in (
        ((1936, 1, 1), (2001, 13, 29)), ((2019, 1, 1), (2022, 13, 29))))
    age = taken[0] - born[0] - (taken[1:] < born[1:])
    dates = [f"{year:04d}{month:02d}{day:02d}" for year, month, day in (born, taken)]
    age_text = "" if sample.seq == _ACHIEVA_SEQ else f"{age:03d}Y"
    return (str(number), dates[0], sample.sex, age_text, sample.scanner, manufacturer, dates[1],
            site)


def put_clutter(archive_dir: Path, first: Path, second: Path) -> None:
    """Leave what file managers leave in archives that pass through them.

    Parameters
    ----------
    archive_dir : Path
    first, second : Path
        Two files of the archive, relative to it, that have been looked at.
    """
    finder = b"\x00\x00\x00\x01Bud1" + bytes(6140)
    # An AppleDouble file: magic, version, filler, one entry (Finder info) of 32 bytes.
    double = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x01" \
        b"\x00\x00\x00\x09\x00\x00\x00\x32\x00\x00\x00\x20" + bytes(32 + 12)
    _put(archive_dir / ".DS_Store", finder)
    _put(archive_dir / first.with_name(".DS_Store"), finder)
    _put(archive_dir / "__MACOSX" / first.with_name(f"._{first.name}"), double)
    _put(archive_dir / second.with_name(f"._{second.name}"), double)


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

    Raises
    ------
    DatasetError
        A file cannot be written.
    """
    images, labels = _FOLDERS[sample.subset]
    archive_dir = Path(root_dir, ARCHIVE_DIR, "amos22")
    volume_path = archive_dir / images / f"{sample}.nii.gz"
    mask_paths = [base / labels / f"{sample}.nii.gz" for base in (
        Path(root_dir, TRUTH_DIR), archive_dir) if labels]
    if not overwrite and all(path.is_file() for path in (volume_path, *mask_paths)):
        return runner.Finished(sample)
    made = scan(sample, settings.shape, settings.seed, settings.spacing)
    slices = (make(made) for make in (mask_slices, noisy_slices))
    write_scan(made, volume_path, volume_slices(made), dict(zip(mask_paths, slices)), "uint16")
    return sample


def write_scan(made, volume_path: Path, volume: Iterable[np.ndarray], masks: dict,
               mask_dtype: str) -> None:
    """Write the images of one scan with the headers that its sample asks for.

    Parameters
    ----------
    made : Scan
        Or another one with ``sample``, ``affine`` and ``tissues`` of that kind.
    volume_path : Path
    volume : iterable of (X, Y) arrays
        Its slices.
    masks : dict of Path to iterable of (X, Y) arrays
        Written first: with the volume the scan is complete.
    mask_dtype : str
        Type of the masks on disk.
    """
    sample, shape = made.sample, made.tissues.shape
    mask_affine = made.affine.copy()
    mask_affine[:3, 3] += sample.mask_shift_mm * np.array([0.6, -0.48, 0.64])
    mask_header = header(shape, mask_dtype, mask_affine, sample.mask_forms)
    for path, slices in masks.items():
        write_image(path, mask_header, slices)
    volume_header = header(shape, sample.dtype, made.affine, sample.volume_forms, sample.scaling)
    write_image(volume_path, volume_header, volume)


def memory_bytes(shape) -> int:
    """Return about what `write_sample` needs for a scan of a shape, above the bare process."""
    n_slice = shape[0] * shape[1]
    return n_slice * shape[2] * 9 // 4 + n_slice * 100 + 80 * 2 ** 20


def header(shape, dtype: str, affine: np.ndarray, forms: str, scaling=None):
    """Make a NIfTI-1 header as scanners and tools leave them.

    Parameters
    ----------
    shape : (3,) int
    dtype : str
        Type on disk.
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    forms : str
        ``both`` (both codes 1), ``sform`` (code 2, no qform) or ``qform`` (code 1, no sform).
    scaling : (slope, inter), optional
        Values on disk times slope plus inter are the intensities; default 1 and 0.

    Returns
    -------
    nibabel.Nifti1Header
    """
    import nibabel as nib
    made = nib.Nifti1Header()
    made.set_data_dtype(np.dtype(dtype))
    made.set_data_shape(shape)
    made.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    if forms != "sform":
        made.set_qform(affine, code=1)
    if forms != "qform":
        made.set_sform(affine, code=2 if forms == "sform" else 1)
    made.set_xyzt_units("mm")
    made.set_slope_inter(*(scaling or (1.0, 0.0)))
    made["descrip"] = b"made-up scan"
    made["cal_max"] = 1000 if scaling else 0  # a display window that somebody saved
    made["vox_offset"] = 352
    return made


def write_image(path, made_header, slices: Iterable[np.ndarray]) -> None:
    """Write a .nii.gz slice by slice, whole or not at all.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    made_header : nibabel.Nifti1Header
        Type and scaling of the values on disk; see `header`.
    slices : iterable of (X, Y) arrays
        Intensities or labels, one array for each step along the third axis.

    Raises
    ------
    DatasetError
        The file cannot be written.
    """
    dtype = made_header.get_data_dtype()
    slope, inter = (float(made_header[name]) for name in ("scl_slope", "scl_inter"))
    files.make_dir(Path(path).parent)
    with files.whole(path) as handle:
        # wbits 31: a gzip member that holds neither name nor time.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        handle.write(packer.compress(made_header.binaryblock + bytes(4)))
        for values in slices:
            if (slope, inter) != (1.0, 0.0):
                values = np.rint((values - inter) / slope)
            handle.write(packer.compress(np.ascontiguousarray(values.T, dtype)))
        handle.write(packer.flush())

"""Made-up abdominal CT and MRI: anatomy, intensities and labels as AMOS22 has them.

The scans are drawn from one table of ellipsoids and tubes in the patient's frame (RAS+, mm) and
then sampled on the voxel grid of each scan, so that left and right hold in every orientation.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils.sample_data import grids, noise, scan_files

# Tissue codes: 1 to 15 are AMOS22's labels, the others tell apart what has no label.
# fmt: off
(_SPLEEN, _RIGHT_KIDNEY, _LEFT_KIDNEY, _GALL_BLADDER, _ESOPHAGUS, _LIVER, _STOMACH, _AORTA,
 _POSTCAVA, _PANCREAS, _RIGHT_ADRENAL, _LEFT_ADRENAL, _DUODENUM, _BLADDER,
 _SEX_ORGAN) = range(1, 16)
(_AIR, _FAT, _MUSCLE, _BONE, _MARROW, _DISC, _LUNG, _HEART, _BOWEL, _GAS,
 _STOMACH_GAS) = range(16, 27)
# fmt: on
N_LABELS = 16
_N_CODES = 27
_LABEL_OF = np.zeros(256, np.uint8)
_LABEL_OF[1:N_LABELS] = np.arange(1, N_LABELS)
_LABEL_OF[_STOMACH_GAS] = _STOMACH

# Name of an organ, lower case, with blanks -> its tissue codes; more than the labels of AMOS22.
CODES = {
    "spleen": (_SPLEEN,),
    **dict.fromkeys(("right kidney", "kidney right"), (_RIGHT_KIDNEY,)),
    **dict.fromkeys(("left kidney", "kidney left"), (_LEFT_KIDNEY,)),
    **dict.fromkeys(("kidney", "kidneys"), (_RIGHT_KIDNEY, _LEFT_KIDNEY)),
    **dict.fromkeys(("gall bladder", "gallbladder"), (_GALL_BLADDER,)),
    **dict.fromkeys(("esophagus", "oesophagus"), (_ESOPHAGUS,)),
    "liver": (_LIVER,),
    "stomach": (_STOMACH, _STOMACH_GAS),
    "aorta": (_AORTA,),
    **dict.fromkeys(("postcava", "inferior vena cava"), (_POSTCAVA,)),
    "pancreas": (_PANCREAS,),
    **dict.fromkeys(("right adrenal gland", "adrenal gland right"), (_RIGHT_ADRENAL,)),
    **dict.fromkeys(("left adrenal gland", "adrenal gland left"), (_LEFT_ADRENAL,)),
    "duodenum": (_DUODENUM,),
    **dict.fromkeys(("bladder", "urinary bladder"), (_BLADDER,)),
    **dict.fromkeys(("prostate", "uterus", "prostate uterus"), (_SEX_ORGAN,)),
    **dict.fromkeys(("bone", "bones"), (_BONE, _MARROW)),
    **dict.fromkeys(("lung", "lungs"), (_LUNG,)),
    "heart": (_HEART,),
    "colon": (_BOWEL, _GAS),
}

# What each random number stream is for; with seed and sample it makes the stream's key.
_BUILD, _PLACE, _SURFACE, _LOOK, _GRAIN, _ANNOTATOR = range(1, 7)

# Half axes (mm) of the outline of a slim adult, and of the abdominal cavity inside.
_BODY_HALF_MM = np.array([150.0, 106.0])
_CAVITY_SHARE = (0.84, 0.73)
_CAVITY_FORWARD_MM = 10.0
# The field of view along the body: centre and range of lengths (mm), full and upper abdomen.
_FULL_VIEW_MM = (-52.0, 380.0, 480.0)
_UPPER_VIEW_MM = (38.0, 230.0, 260.0)
_THICKEST_SLICE_MM = 5.0
_MARGIN = 1.06


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
# fmt: off
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
# fmt: on


def scan(
    sample: Any, shape: Sequence[int], seed: int = 0, spacing: grids.Vector | None = None
) -> scan_files.Scan:
    """Make up the anatomy of one sample, an `amos22_archive.Sample`, on its voxel grid.

    The third array axis runs along the body. Same sample and seed, same patient, whatever the
    shape. Without a spacing (mm) the field of view holds the abdomen, with at most 5 mm between
    slices where there are enough of them. `mask_slices` makes labels of the tissues.

    Each label is one 26-connected region: what another organ cuts off becomes fat.
    """
    size = _size(sample, seed)
    affine, offset = _grid(sample, shape, seed, spacing, size)
    patient_affine = affine.copy()
    patient_affine[:3, 3] -= offset
    tissues = np.empty(shape, np.uint8, order="F")
    parts = [
        piece
        for part in _ANATOMY
        if sample.sex in part.sex
        for piece in _pieces(part, sample, seed, size, patient_affine)
    ]
    waves = grids.Waves(_rng(seed, sample, _SURFACE), patient_affine, 55.0)
    for k in range(shape[2]):
        plane = grids.Plane(patient_affine, k, (0, shape[0]), (0, shape[1]))
        _paint_slice(tissues[:, :, k], plane, size, parts, waves)
    labels = _keep_largest_regions(tissues)
    return scan_files.Scan(sample, affine, tissues, labels, seed)


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
    offset = _rng(seed, sample, _PLACE).uniform((-15, -25, -900), (15, 25, 300))
    centre = (0.0, 0.0, centre_z * size)
    affine = grids.affine(sample.axes, sample.tilt_degrees, shape, spacing, offset + centre)
    return affine, offset


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A ball or a stretch of a tube on a given grid, with the box of voxels that holds it."""

    part: _Part
    start: np.ndarray
    axes: np.ndarray | None  # ball: (3, 3), world to the unit ball
    end: np.ndarray | None  # tube
    radii: tuple
    box: np.ndarray  # (3, 2) int
    waves: grids.Waves

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
        return square / radius**2


def _pieces(part, sample, seed, size, affine):
    """Place one part in this patient and on this grid."""
    rng = _rng(seed, sample, _BUILD, part.follows or part.code)
    scale = size * rng.uniform(0.95, 1.05)
    points = np.array(part.points, float)
    centre = points[:, :3].mean(axis=0) * size + rng.uniform(-2.0, 2.0, 3)
    places = (points[:, :3] - points[:, :3].mean(axis=0)) * scale + centre
    waves = grids.Waves(_rng(seed, sample, _SURFACE, part.code), affine, 60.0)
    if part.half_axes:
        half = np.array(part.half_axes) * scale
        axes = (grids.rotation(part.tilt) / half).T
        box = _box(places, np.full(1, half.max()), part.wobble, affine)
        return [_Piece(part, places[0], axes, None, (), box, waves)]
    pieces = []
    for n in range(len(points) - 1):
        start, end = ends = places[n : n + 2]
        radii = points[n : n + 2, 3] * scale
        box = _box(ends, radii, part.wobble, affine)
        pieces.append(_Piece(part, start, None, end, tuple(radii), box, waves))
    return pieces


def _box(places, radii, wobble, affine):
    """Return the (3, 2) range of voxel indexes around balls at some places."""
    inverse = np.linalg.inv(affine)
    centres = places @ inverse[:3, :3].T + inverse[:3, 3]
    reach = radii[:, None] * (1 + 2 * wobble) * np.linalg.norm(inverse[:3, :3], axis=1)
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    return np.column_stack([np.floor(low), np.ceil(high) + 1]).astype(int)


def _paint_slice(tissues, plane, size, pieces, waves):
    """Fill one (X, Y) slice with tissue codes."""
    cavity = _paint_body(tissues, plane, size, waves)
    for piece in pieces:
        box = np.clip(piece.box, 0, [[tissues.shape[0]], [tissues.shape[1]], [2**20]])
        (i0, i1), (j0, j1), (k0, k1) = box
        if not (k0 <= plane.k < k1 and i0 < i1 and j0 < j1):
            continue
        part, here = piece.part, np.s_[i0:i1, j0:j1]
        window = grids.Plane(plane.affine, plane.k, (i0, i1), (j0, j1))
        surface = 1 + np.float32(part.wobble) * piece.waves.on(window)
        hit = piece.level(window) < surface**2
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
    inner = (
        x / np.float32(half[0] * _CAVITY_SHARE[0]),
        (y - np.float32(_CAVITY_FORWARD_MM)) / np.float32(half[1] * _CAVITY_SHARE[1]),
    )
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
        ends = [(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found)]
        box = tuple(slice(*two) for two in ends)
        organ = _LABEL_OF[tissues[box]] == label
        # As numbers: of bool arrays full of single voxels cc3d 4.1.1 expects fewer regions.
        regions = cc3d.connected_components(organ.view(np.uint8), connectivity=26)
        largest = np.argmax(np.bincount(regions.ravel(order="K"))[1:]) + 1
        tissues[box][organ & (regions != largest)] = _FAT
    return tuple(labels)


def volume_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the intensities of a scan, slice by slice, (X, Y) float32.

    CT: whole HU; MRI: multiples of 0.25 without unit, at least 0.

    Mean per tissue, noise, then a 1-2-1 filter in the slice for partial volume; MRI after that
    times a smooth bias field, and the magnitude of it.
    """
    sample, seed = made.sample, made.seed
    rng = _rng(seed, sample, _LOOK)
    mean = _mean_intensities(rng, sample.modality)
    bias = grids.Waves(rng, made.affine, 420.0)
    texture = grids.Waves(rng, made.affine, 24.0)
    deviation = np.float32(rng.uniform(*{"CT": (18, 34), "MRI": (9, 16)}[sample.modality]))
    shape = made.tissues.shape
    for k in range(shape[2]):
        plane = grids.Plane(made.affine, k, (0, shape[0]), (0, shape[1]))
        image = mean[made.tissues[:, :, k]]
        grain = _rng(seed, sample, _GRAIN, k).standard_normal(shape[1::-1], dtype=np.float32)
        image += deviation * grain.T
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


def mask_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the true labels of a scan, slice by slice, (X, Y) uint8, 0 to 15."""
    for k in range(made.tissues.shape[2]):
        yield _LABEL_OF[made.tissues[:, :, k]]


def noisy_slices(made: scan_files.Scan) -> Iterator[np.ndarray]:
    """Yield the labels of a scan as an annotator leaves them: `mask_slices` with noise."""
    key = (made.seed, int(made.sample.seq), _ANNOTATOR)
    return noise.noisy(mask_slices(made), made.labels, key)

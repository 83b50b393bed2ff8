"""What looks wrong with a sample, by itself and beside the others of its modality and sex."""

import collections
from dataclasses import dataclass, field

import numpy as np

from utils.qc import alignment, anatomy, measures
from utils.storage import label_map

# Fewer samples than this in a group, the one looked at included, are no yardstick.
LEAST_GROUP = 8
LEAST_OTHERS = 4
# "Far": so many robust standard deviations (1.4826 x MAD, at least the floor below) off the median.
FAR = 4.0
_MAD_TO_SD = 1.4826
# Least standard deviations: of the logarithm of a volume, of a place, of the log of a spacing.
_LOG_VOLUME_SD, _LOG_VARIABLE_SD = 0.16, 0.5
_PLACE_SD_MM, _VARIABLE_PLACE_SD_MM = 10.0, 20.0
_LOG_SPACING_SD = 0.2
# An organ counts as normally there when this share of the others has it.
USUAL_SHARE = 0.9
# An orientation or acquisition plane is odd below this share of at least so many samples.
ODD_SHARE, ODD_LEAST_GROUP = 0.05, 20
OBLIQUE_DEGREES = 30.0
FAT_SHARE = 0.15
_LEAST_NEIGHBOURS = 3
# Along which RAS axis -> names of its two directions.
_DIRECTIONS = (("right", "left"), ("front", "back"), ("up", "down"))


@dataclass(frozen=True)
class Flag:
    """One thing to look at: its kind (for the filter) and why, in one sentence."""

    kind: str
    reason: str


@dataclass
class Findings:
    """What the flags of one sample are judged by.

    Attributes
    ----------
    modality, sex : str
    spacing : (3,) float, mm
    orientation : str
        Letters at the far ends of the array axes, as in the manifest.
    tilt_degrees : float
        Largest angle between a voxel axis and its nearest world axis.
    organs : dict or None
        See `measures.measure`; None without a mask.
    shift_ras_mm : (3,) float or None
        Where the mask fits better, see `alignment`; None when it fits where it is.
    gain : float
    fat_share : float or None
        See `measures.fat_share`; CT only.
    """

    modality: str
    sex: str
    spacing: tuple
    orientation: str
    tilt_degrees: float = 0.0
    organs: dict | None = None
    shift_ras_mm: tuple | None = None
    gain: float = 1.0
    fat_share: float | None = None
    flags: list = field(default_factory=list)

    def add(self, kind: str, reason: str) -> None:
        """Add a flag."""
        self.flags.append(Flag(kind, reason))


def volume_factor(is_variable: bool) -> float:
    """How far off the median a volume may at least be, as a factor."""
    return float(np.exp(FAR * (_LOG_VARIABLE_SD if is_variable else _LOG_VOLUME_SD)))


def place_mm(is_variable: bool) -> float:
    """How far off the median a place may at least be along an axis, mm."""
    return FAR * (_VARIABLE_PLACE_SD_MM if is_variable else _PLACE_SD_MM)


def spacing_factor() -> float:
    """How far off the median a spacing may at least be, as a factor."""
    return float(np.exp(FAR * _LOG_SPACING_SD))


def judge(findings: list[Findings]) -> None:
    """Fill in the flags of all samples.

    Parameters
    ----------
    findings : list of Findings

    Notes
    -----
    Compared are samples of one modality and sex; where these are fewer than `LEAST_GROUP`, of one
    modality (prostate and uterus never); where these are too few as well, nothing is compared.
    Organs that the image cuts off take no part in comparisons of volume and place.
    """
    annotated = [one for one in findings if one.organs is not None]
    for one in annotated:
        _judge_alone(one)
    by_modality = _grouped(annotated, lambda one: one.modality)
    for group in by_modality.values():
        for name in sorted({name for one in group for name in one.organs}):
            _judge_presence(group, name)
            for members, told in _yardsticks(group, name):
                _judge_volume(members, told, name)
        _judge_places(group)
    for modality, group in _grouped(findings, lambda one: one.modality).items():
        _judge_grids(group, modality)


def _grouped(findings, key):
    groups = collections.defaultdict(list)
    for one in findings:
        groups[key(one)].append(one)
    return groups


def _judge_alone(one):
    organs = one.organs
    if not organs:
        one.add("organ missing", "The mask is empty.")
    foreign = anatomy.FOREIGN_ORGAN.get(one.sex)
    if foreign in organs:
        person = {"M": "man", "F": "woman"}[one.sex]
        one.add(
            "sex", f"{foreign.capitalize()} ({organs[foreign]['volume_ml']:.3g} ml) in a {person}."
        )
    _judge_sides(one)
    for name, organ in organs.items():
        _judge_shape(one, name, organ)
    _judge_alignment(one)


def _judge_sides(one):
    for right, left in anatomy.SIDES:
        centres = [one.organs.get(name, {}).get("centre") for name in (right, left)]
        if None not in centres and centres[0][0] <= centres[1][0]:
            one.add(
                "left/right",
                f"The {label_map.shown(right)} lies "
                f"{centres[1][0] - centres[0][0]:.0f} mm to the left of the "
                f"{label_map.shown(left)}, expected to its right.",
            )


def _judge_shape(one, name, organ):
    compact = name in anatomy.COMPACT
    least_gap_mm = 0.0 if compact else measures.THIN_GAP_MM
    pieces = [piece for piece in organ.get("pieces", ()) if piece["gap_mm"] >= least_gap_mm]
    if pieces and not organ["at_edge"]:
        told = " and ".join(
            f"{piece['share']:.0%} of it {piece['gap_mm']:.0f} mm apart" for piece in pieces
        )
        one.add(
            "pieces", f"The {label_map.shown(name)} is in {len(pieces) + 1} large pieces: {told}."
        )
    if name in anatomy.TAPERED and organ.get("cuts"):
        one.add(
            "cut off",
            f"The {label_map.shown(name)} ({organ['volume_ml']:.4g} ml) ends in a "
            f"flat face on its {' and '.join(organ['cuts'])} side: a part of it is "
            "missing.",
        )


def _judge_alignment(one):
    if one.shift_ras_mm is not None:
        told = ", ".join(
            f"{abs(part):.0f} mm {ways[part < 0]}"
            for part, ways in zip(one.shift_ras_mm, _DIRECTIONS)
            if abs(part) >= 0.5
        )
        one.add(
            "alignment",
            f"The mask fits the volume better when it is moved {told}: edges "
            f"under its contours are {one.gain:.1f} times as strong there "
            f"(limits: {alignment.SHIFT_MM:g} mm, {alignment.GAIN:g} "
            "times).",
        )
    if one.fat_share is not None and one.fat_share > FAT_SHARE:
        one.add(
            "alignment",
            f"{one.fat_share:.0%} of the voxels in solid organs are as dark as "
            f"fat (below {anatomy.FAT_BELOW:g} HU), expected at most "
            f"{FAT_SHARE:.0%}.",
        )


def _judge_presence(group, name):
    if name in anatomy.SEX_ORGANS:
        groups = [
            members
            for sex, members in _grouped(group, lambda one: one.sex).items()
            if anatomy.FOREIGN_ORGAN.get(sex) != name
        ]
    else:
        groups = [group]
    for members in groups:
        having = sum(name in one.organs for one in members)
        n_others = len(members) - 1
        if n_others < LEAST_OTHERS or having < USUAL_SHARE * n_others:
            continue
        for one in members:
            if name not in one.organs and one.organs:
                one.add(
                    "organ missing",
                    f"There is no {label_map.shown(name)}; {having} of the "
                    f"{n_others} other {one.modality} samples have one.",
                )


def _yardsticks(group, name):
    """Yield (samples with a whole organ, what they are called) to compare volumes within."""
    small = []
    for sex, members in sorted(_grouped(group, lambda one: one.sex).items()):
        whole = [one for one in members if _is_whole(one, name)]
        if len(whole) >= LEAST_GROUP:
            yield whole, f"{members[0].modality}, {sex}"
        else:
            small += whole
    whole = [one for one in group if _is_whole(one, name)]
    if small and len(whole) >= LEAST_GROUP and name not in anatomy.SEX_ORGANS:
        yield _Judged(whole, small), group[0].modality


class _Judged(list):
    """All samples to measure by, of which only some are judged here."""

    def __init__(self, members, judged):
        super().__init__(members)
        self.judged = judged


def _is_whole(one, name):
    return name in one.organs and not one.organs[name]["at_edge"]


def _judge_volume(members, told, name):
    volumes_ml = np.array([one.organs[name]["volume_ml"] for one in members])
    floor = _LOG_VARIABLE_SD if name in anatomy.VARIABLE else _LOG_VOLUME_SD
    middle, limit = _robust(np.log(volumes_ml), floor)
    low, median, high = np.exp([middle - limit, middle, middle + limit])
    judged = getattr(members, "judged", members)
    for one, volume_ml in zip(members, volumes_ml):
        if not low <= volume_ml <= high and any(one is other for other in judged):
            one.add(
                "volume",
                f"The {label_map.shown(name)} has {volume_ml:.4g} ml; median of the "
                f"{len(members)} samples ({told}) {median:.4g} ml, limits {low:.4g} "
                f"and {high:.4g} ml.",
            )


def _robust(values, floor):
    """Median, and how far from it is far."""
    middle = np.median(values)
    spread = _MAD_TO_SD * np.median(np.abs(values - middle))
    return middle, FAR * max(spread, floor)


def _judge_places(group):
    if len(group) < LEAST_GROUP:
        return
    for sex, members in sorted(_grouped(group, lambda one: one.sex).items()):
        large = len(members) >= LEAST_GROUP
        told = f"{group[0].modality}, {sex}" if large else group[0].modality
        _judge_places_within(members if large else group, members, told)


def _judge_places_within(group, judged, told):
    """Compare where an organ lies beside the other organs of its sample.

    Off by: the median, over the other organs, of how much the way from them to it differs from
    the group's median way. One misplaced organ thus does not make the others look misplaced.
    """
    names = sorted({name for one in group for name in one.organs})
    centres = np.array(
        [
            [
                one.organs[name]["centre"] if _has_centre(one, name) else [np.nan] * 3
                for name in names
            ]
            for one in group
        ]
    )
    for column, name in enumerate(names):
        ways = centres[:, column, None] - np.delete(centres, column, axis=1)
        usable = np.isfinite(ways[:, :, 0])
        ways = np.where((usable.sum(axis=0) >= LEAST_GROUP)[None, :, None], ways, np.nan)
        has_enough = np.isfinite(ways[:, :, 0]).sum(axis=1) >= _LEAST_NEIGHBOURS
        if has_enough.sum() < LEAST_GROUP:
            continue
        ways = ways[:, np.isfinite(ways[has_enough][:, :, 0]).any(axis=0)]
        off_mm = np.nanmedian(ways[has_enough] - np.nanmedian(ways[has_enough], axis=0), axis=1)
        rated = [one for one, enough in zip(group, has_enough) if enough]
        _flag_far(rated, off_mm, judged, name, told)


def _has_centre(one, name):
    return _is_whole(one, name) and "centre" in one.organs[name]


def _flag_far(rated, off_mm, judged, name, told):
    floor = _VARIABLE_PLACE_SD_MM if name in anatomy.VARIABLE else _PLACE_SD_MM
    for axis, directions in enumerate(_DIRECTIONS):
        middle, limit = _robust(off_mm[:, axis], floor)
        for one, off in zip(rated, off_mm[:, axis] - middle):
            if abs(off) > limit and any(one is other for other in judged):
                one.add(
                    "position",
                    f"The {label_map.shown(name)} lies {abs(off):.0f} mm further "
                    f"{directions[int(off < 0)]} among the other organs than in "
                    f"the {len(rated)} samples ({told}); limit {limit:.0f} mm.",
                )


def _judge_grids(group, modality):
    for one in group:
        if one.tilt_degrees > OBLIQUE_DEGREES:
            one.add(
                "geometry",
                f"The grid is tilted by {one.tilt_degrees:.0f} degrees against the "
                f"patient's axes, expected at most {OBLIQUE_DEGREES:g}.",
            )
    if len(group) >= LEAST_GROUP:
        _judge_spacings(group, modality)
    if len(group) >= ODD_LEAST_GROUP:
        counts = collections.Counter(_letters(one) for one in group)
        for one in group:
            if counts[_letters(one)] < ODD_SHARE * len(group):
                one.add(
                    "geometry",
                    f"Orientation {one.orientation}: only {counts[_letters(one)]} "
                    f"of {len(group)} {modality} samples have it.",
                )


def _letters(one):
    return one.orientation.rstrip(")")[-3:]


def _judge_spacings(group, modality):
    spacings = np.sort([one.spacing for one in group], axis=1)
    for which, place in (("smallest", 0), ("largest", 2)):
        middle, limit = _robust(np.log(spacings[:, place]), _LOG_SPACING_SD)
        low, median, high = np.exp([middle - limit, middle, middle + limit])
        for one, spacing in zip(group, spacings[:, place]):
            if not low <= spacing <= high:
                one.add(
                    "geometry",
                    f"The {which} spacing is {spacing:.3g} mm; median of the "
                    f"{len(group)} {modality} samples {median:.3g} mm, limits "
                    f"{low:.3g} and {high:.3g} mm.",
                )

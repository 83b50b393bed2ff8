"""What looks wrong with a sample, by itself and beside the others of its modality and sex."""

import collections
import itertools
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import geometry
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
# Spleens of one patient on one day: the larger one is at most so many times as large.
SPLEENS_APART = 1.5
# Along which RAS axis -> names of its two directions.
_DIRECTIONS = (("right", "left"), ("front", "back"), ("up", "down"))


@dataclass(frozen=True)
class Flag:
    """One thing to look at: its kind (for the filter) and why, in one sentence."""

    kind: str
    reason: str


@dataclass(eq=False)
class Findings:
    """What the flags of one sample are judged by; equal to itself alone.

    Attributes
    ----------
    name, modality, sex : str
    spacing : (3,) float, mm
    orientation, axis_codes : str
        Letters at the far ends of the array axes, as in the manifest and plain.
    tilt_degrees : float
        Largest angle between a voxel axis and its nearest world axis.
    organs : dict or None
        See `measures.measure`; None without a mask.
    shift_ras_mm : (3,) float or None
        Where the mask fits better, see `alignment`; None when it fits where it is.
    gain : float
    fat_share : float or None
        See `measures.fat_share`; CT only.
    label_names : collection of str
        What the mask may show.
    values : (float, float)
        Lowest and highest of all voxels.
    scanner_faults : list of str
        See `facts.DataSet.scanner_faults`.
    visit : str
        The same for scans of one patient on one day; empty where that is not known.
    has_identity : bool
        See `geometry.is_identity`.
    """

    name: str
    modality: str
    sex: str
    spacing: tuple[float, ...]
    orientation: str
    axis_codes: str
    tilt_degrees: float = 0.0
    organs: dict[str, dict] | None = None
    shift_ras_mm: tuple[float, ...] | None = None
    gain: float = 1.0
    fat_share: float | None = None
    label_names: Collection[str] = ()
    values: tuple[float, float] = (0.0, 0.0)
    scanner_faults: Sequence[str] = ()
    visit: str = ""
    has_identity: bool = False

    def named(self, organ: str) -> str:
        """The name that this sample has for an organ of `anatomy`; '' where it shows none."""
        names = (name for name in self.organs or () if anatomy.organ(name) == organ)
        return next(names, "")

    @property
    def spleen_ml(self) -> float | None:
        """Volume of the spleen; None where there is none, or the image cuts it off."""
        spleen = (self.organs or {}).get(self.named("spleen"))
        return spleen["volume_ml"] if spleen and not spleen["at_edge"] else None


def volume_factor(is_variable: bool) -> float:
    """How far off the median a volume may at least be, as a factor."""
    return float(np.exp(FAR * (_LOG_VARIABLE_SD if is_variable else _LOG_VOLUME_SD)))


def place_mm(is_variable: bool) -> float:
    """How far off the median a place may at least be along an axis, mm."""
    return FAR * (_VARIABLE_PLACE_SD_MM if is_variable else _PLACE_SD_MM)


def spacing_factor() -> float:
    """How far off the median a spacing may at least be, as a factor."""
    return float(np.exp(FAR * _LOG_SPACING_SD))


def judge(findings: list[Findings]) -> list[list[Flag]]:
    """Return the flags of each sample.

    Compared are samples of one modality and sex; where these are fewer than `LEAST_GROUP`, of one
    modality (prostate and uterus never); where these are too few as well, nothing is compared.
    Organs that the image cuts off take no part in comparisons of volume and place.
    """
    annotated = [one for one in findings if one.organs is not None]
    flags: dict[Findings, list[Flag]] = {one: [] for one in findings}
    for one in findings:
        flags[one] += [*(_judge_mask(one) if one.organs is not None else ()), *_judge_scan(one)]
    found = itertools.chain(
        *(_judge_organs(group) for group in _grouped(annotated, "modality").values()),
        *(_judge_grids(group) for group in _grouped(findings, "modality").values()),
        *(_judge_visit(group) for visit, group in _grouped(findings, "visit").items() if visit),
    )
    for one, flag in found:
        flags[one].append(flag)
    return list(flags.values())


def _grouped(findings, attribute):
    """{value: findings with this value}, by value."""
    key = operator.attrgetter(attribute)
    groups = itertools.groupby(sorted(findings, key=key), key)
    return {value: list(members) for value, members in groups}


def _judge_scan(one):
    low, high = anatomy.CT_RANGE
    if one.modality == "CT" and not low <= min(one.values) <= max(one.values) <= high:
        found = f"Values from {one.values[0]:g} to {one.values[1]:g}"
        yield Flag("intensity", f"{found}, expected Hounsfield units ({low:g} to {high:g}).")
    for reason in one.scanner_faults:
        yield Flag("scanner", reason)
    if one.has_identity:
        yield Flag("geometry", f"{geometry.IDENTITY[:1].upper()}{geometry.IDENTITY[1:]}.")


def _judge_mask(one):
    organs = one.organs
    may_be_empty = one.label_names and all(map(anatomy.is_disease, one.label_names))
    if not organs and not may_be_empty:
        yield Flag("organ missing", "The mask is empty.")
    foreign = one.named(anatomy.FOREIGN_ORGAN.get(one.sex, "unknown"))
    if foreign:
        person = {"M": "man", "F": "woman"}[one.sex]
        volume_ml = organs[foreign]["volume_ml"]
        yield Flag("sex", f"{foreign.capitalize()} ({volume_ml:.3g} ml) in a {person}.")
    yield from _judge_sides(one)
    for name, organ in organs.items():
        yield from _judge_shape(name, organ)
    yield from _judge_alignment(one)


def _judge_sides(one):
    for twins in anatomy.SIDES:
        names = [*map(one.named, twins)]
        centres = [one.organs.get(name, {}).get("centre") for name in names]
        if None not in centres and centres[0][0] <= centres[1][0]:
            right, left = map(label_map.shown, names)
            off = f"{centres[1][0] - centres[0][0]:.0f} mm to the left of the {left}"
            yield Flag("left/right", f"The {right} lies {off}, expected to its right.")


def _judge_shape(name, organ):
    shown, known = label_map.shown(name), anatomy.organ(name)
    least_gap_mm = 0.0 if known in anatomy.COMPACT else measures.THIN_GAP_MM
    pieces = [piece for piece in organ.get("pieces", ()) if piece["gap_mm"] >= least_gap_mm]
    if pieces and not organ["at_edge"] and known in anatomy.ONE_PIECE:
        apart = (f"{piece['share']:.0%} of it {piece['gap_mm']:.0f} mm apart" for piece in pieces)
        number = len(pieces) + 1
        yield Flag("pieces", f"The {shown} is in {number} large pieces: {' and '.join(apart)}.")
    if known in anatomy.TAPERED and organ.get("cuts"):
        face = f"a flat face on its {' and '.join(organ['cuts'])} side"
        organ_text = f"The {shown} ({organ['volume_ml']:.4g} ml)"
        yield Flag("cut off", f"{organ_text} ends in {face}: a part of it is missing.")


def _judge_alignment(one):
    if one.shift_ras_mm is not None:
        move = ", ".join(
            f"{abs(part):.0f} mm {ways[part < 0]}"
            for part, ways in zip(one.shift_ras_mm, _DIRECTIONS)
            if abs(part) >= 0.5
        )
        yield Flag(
            "alignment",
            f"The mask fits the volume better when it is moved {move}: edges under its contours "
            f"are {one.gain:.1f} times as strong there (limits: {alignment.SHIFT_MM:g} mm, "
            f"{alignment.GAIN:g} times).",
        )
    if one.fat_share is not None and one.fat_share > FAT_SHARE:
        yield Flag(
            "alignment",
            f"{one.fat_share:.0%} of the voxels in solid organs are as dark as fat (below "
            f"{anatomy.FAT_BELOW:g} HU), expected at most {FAT_SHARE:.0%}.",
        )


def _judge_organs(group):
    """Yield (sample, flag) for the annotated samples of one modality."""
    names = {name for one in group for name in (*one.organs, *one.label_names)}
    for name in sorted(itertools.filterfalse(anatomy.is_disease, names)):
        yield from _judge_presence(group, name)
        whole = [one for one in group if _is_whole(one, name)]
        for members, judged, label in _comparisons(whole):
            if members is judged or anatomy.organ(name) not in anatomy.SEX_ORGANS:
                yield from _judge_volumes(members, judged, label, name)
    for members, judged, label in _comparisons(group):
        yield from _judge_places(members, judged, label)


def _comparisons(group):
    """Yield (samples to compare with, those of them to judge, what the former are)."""
    for sex, members in _grouped(group, "sex").items():
        if len(members) >= LEAST_GROUP:
            yield members, members, ", ".join(filter(None, (members[0].modality, sex)))
        elif len(group) >= LEAST_GROUP:
            yield group, members, members[0].modality


def _is_whole(one, name):
    return name in one.organs and not one.organs[name]["at_edge"]


def _judge_presence(group, name):
    groups, known_organ = [group], anatomy.organ(name)
    if known_organ in anatomy.SEX_ORGANS:
        by_sex = _grouped(group, "sex").items()
        groups = [found for sex, found in by_sex if anatomy.FOREIGN_ORGAN.get(sex) != known_organ]
    for members in groups:
        having, n_others = sum(name in one.organs for one in members), len(members) - 1
        is_usual = n_others >= LEAST_OTHERS and having >= USUAL_SHARE * n_others
        others = f"{having} of the {n_others} other {group[0].modality} samples have one"
        known = "practically everybody has one in an abdominal scan"
        for one in members:
            is_expected = is_usual or known_organ in anatomy.EVERYBODYS and _may_show(one, name)
            if name not in one.organs and one.organs and is_expected:
                reason = f"There is no {label_map.shown(name)}; {others if is_usual else known}."
                yield one, Flag("organ missing", reason)


def _may_show(one, name):
    return name in one.label_names and anatomy.are_abdominal(one.label_names)


def _judge_volumes(members, judged, label, name):
    floor = _LOG_VARIABLE_SD if anatomy.is_variable(name) else _LOG_VOLUME_SD
    volumes_ml = np.array([one.organs[name]["volume_ml"] for one in members])
    low, median, high = _log_limits(volumes_ml, floor)
    for one, volume_ml in zip(members, volumes_ml):
        if not low <= volume_ml <= high and one in judged:
            reason = (
                f"The {label_map.shown(name)} has {volume_ml:.4g} ml; median of the {len(members)} "
                f"samples ({label}) {median:.4g} ml, limits {low:.4g} and {high:.4g} ml."
            )
            yield one, Flag("volume", reason)


def _robust(values, floor):
    """Median, and how far from it is far."""
    middle = np.median(values)
    spread = _MAD_TO_SD * np.median(np.abs(values - middle))
    return middle, FAR * max(spread, floor)


def _log_limits(values, floor):
    """Lower limit, median and upper limit by the logarithms of values."""
    middle, limit = _robust(np.log(values), floor)
    return np.exp([middle - limit, middle, middle + limit])


def _judge_places(members, judged, label):
    """Compare where an organ lies beside the other organs of its sample.

    Off by: the median, over the other organs, of how much the way from them to it differs from
    the group's median way. One misplaced organ thus does not make the others look misplaced.
    """
    names = sorted({name for one in members for name in one.organs})
    centres = np.full((len(members), len(names), 3), np.nan)
    for place, column in np.ndindex(*centres.shape[:2]):
        if _is_whole(members[place], names[column]):
            centres[place, column] = members[place].organs[names[column]].get("centre", np.nan)
    for column, name in enumerate(names):
        ways = centres[:, column, None] - np.delete(centres, column, axis=1)
        usable = np.isfinite(ways[:, :, 0])
        ways = np.where((usable.sum(axis=0) >= LEAST_GROUP)[None, :, None], ways, np.nan)
        has_enough = np.isfinite(ways[:, :, 0]).sum(axis=1) >= _LEAST_NEIGHBOURS
        if has_enough.sum() < LEAST_GROUP or anatomy.is_disease(name):
            continue
        ways = ways[:, np.isfinite(ways[has_enough][:, :, 0]).any(axis=0)]
        off_mm = np.nanmedian(ways[has_enough] - np.nanmedian(ways[has_enough], axis=0), axis=1)
        rated = list(itertools.compress(members, has_enough))
        for one, flag in _judge_offsets(rated, off_mm, label, name):
            if one in judged:
                yield one, flag


def _judge_offsets(rated, off_mm, label, name):
    floor = _VARIABLE_PLACE_SD_MM if anatomy.is_variable(name) else _PLACE_SD_MM
    for axis, directions in enumerate(_DIRECTIONS):
        middle, limit = _robust(off_mm[:, axis], floor)
        for one, off in zip(rated, off_mm[:, axis] - middle):
            if abs(off) > limit:
                reason = (
                    f"The {label_map.shown(name)} lies {abs(off):.0f} mm further "
                    f"{directions[int(off < 0)]} among the other organs than in the {len(rated)} "
                    f"samples ({label}); limit {limit:.0f} mm."
                )
                yield one, Flag("position", reason)


def are_spleens_apart(one: Findings, other: Findings) -> bool | None:
    """Whether two spleens cannot well be one; None where one of them is not known as a whole."""
    sizes_ml = [size for size in (one.spleen_ml, other.spleen_ml) if size is not None]
    return max(sizes_ml) > SPLEENS_APART * min(sizes_ml) if len(sizes_ml) == 2 else None


def _judge_visit(group):
    """Yield (sample, flag) for all samples of one patient on one day."""
    for one in group:
        others = [
            f"{other.spleen_ml:.4g} ml in {other.name}"
            for other in group
            if are_spleens_apart(one, other)
        ]
        if others:
            reason = (
                f"The spleen has {one.spleen_ml:.4g} ml, that of the same patient on the same day "
                f"by the metadata {errors.listed(others)}: apart by more than a factor of "
                f"{SPLEENS_APART:g}."
            )
            yield one, Flag("patient", reason)


def _judge_grids(group):
    """Yield (sample, flag) for all samples of one modality."""
    for one in group:
        if one.tilt_degrees > OBLIQUE_DEGREES:
            tilt = f"tilted by {one.tilt_degrees:.0f} degrees against the patient's axes"
            reason = f"The grid is {tilt}, expected at most {OBLIQUE_DEGREES:g}."
            yield one, Flag("geometry", reason)
    if len(group) >= LEAST_GROUP:
        yield from _judge_spacings(group)
    counts = collections.Counter(one.axis_codes for one in group)
    for one in group if len(group) >= ODD_LEAST_GROUP else ():
        number = counts[one.axis_codes]
        if number < ODD_SHARE * len(group):
            others = f"only {number} of {len(group)} {one.modality} samples have it"
            yield one, Flag("geometry", f"Orientation {one.orientation}: {others}.")


def _judge_spacings(group):
    spacings = np.sort([one.spacing for one in group], axis=1)
    for which, place in (("smallest", 0), ("largest", 2)):
        low, median, high = _log_limits(spacings[:, place], _LOG_SPACING_SD)
        for one, spacing in zip(group, spacings[:, place]):
            if not low <= spacing <= high:
                reason = (
                    f"The {which} spacing is {spacing:.3g} mm; median of the {len(group)} "
                    f"{one.modality} samples {median:.3g} mm, limits {low:.3g} and {high:.3g} mm."
                )
                yield one, Flag("geometry", reason)

"""What looks wrong with a sample, by itself and beside the others of its modality and sex."""

import collections
import itertools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.qc import alignment, anatomy, comparing, evidence, measures
from utils.storage import label_map

# How much a flag weighs, the worst first; docs/report.md has a table of them.
SEVERITIES = WRONG, DOUBTFUL, UNUSUAL = "wrong", "doubtful", "unusual"
# Kind of a flag -> its severity, where nothing else is said below.
KINDS = {
    **dict.fromkeys(("manifest", "pair"), WRONG),
    **dict.fromkeys(("failed", "mask as volume", "left/right", "sex", "alignment"), WRONG),
    **dict.fromkeys(("organ missing", "volume", "position", "pieces", "cut off"), DOUBTFUL),
    **dict.fromkeys(("geometry", "intensity", "scanner", "patient", "prediction"), DOUBTFUL),
    "header": DOUBTFUL,
    "metadata": UNUSUAL,
    "known fault": UNUSUAL,
}
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
# Spleens of one patient on one day: the larger one is at most so many times as large.
SPLEENS_APART = 1.5
# Along which RAS axis -> names of its two directions.
_DIRECTIONS = (("right", "left"), ("front", "back"), ("up", "down"))


@dataclass(frozen=True)
class Flag:
    """One thing to look at.

    Attributes
    ----------
    kind, severity : str
        One of `KINDS` and of `SEVERITIES`.
    reason : str
        Why, in one sentence.
    place : (3,) int or None
        Index of a voxel of the volume where it is to be seen; None where it has no place.
    labels : tuple of int
        Which labels of the mask it is about.
    evidence : str
        The numbers behind it: what was found, and the limits.
    """

    kind: str
    severity: str
    reason: str
    place: tuple[int, ...] | None = None
    labels: tuple[int, ...] = ()
    evidence: str = ""


def flag(kind: str, reason: str, severity: str = "", **more: Any) -> Flag:
    """Make a flag, with the severity of its kind where none is given."""
    return Flag(kind, severity or KINDS[kind], reason, **more)


def worst_first(flags: Iterable[Flag]) -> list[Flag]:
    """Order flags by their severity; those of one severity keep their order."""
    return sorted(flags, key=lambda one: SEVERITIES.index(one.severity))


def is_as_bad(one: Flag, severity: str) -> bool:
    """Whether a flag is of this severity, or of a worse one."""
    return SEVERITIES.index(one.severity) <= SEVERITIES.index(severity)


def volume_factor(is_variable: bool) -> float:
    """How far off the median a volume may at least be, as a factor."""
    return float(np.exp(comparing.FAR * (_LOG_VARIABLE_SD if is_variable else _LOG_VOLUME_SD)))


def place_mm(is_variable: bool) -> float:
    """How far off the median a place may at least be along an axis, mm."""
    return comparing.FAR * (_VARIABLE_PLACE_SD_MM if is_variable else _PLACE_SD_MM)


def spacing_factor() -> float:
    """How far off the median a spacing may at least be, as a factor."""
    return float(np.exp(comparing.FAR * _LOG_SPACING_SD))


def judge(findings: list[evidence.Findings]) -> list[list[Flag]]:
    """Return the flags of each sample.

    Compared are samples of one modality and sex; where these are fewer than `LEAST_GROUP` of
    `comparing`, of one modality (prostate and uterus never); where these are too few as well,
    nothing is compared. Organs that the image cuts off take no part in comparisons of volume and
    place.
    """
    annotated = [one for one in findings if one.organs is not None]
    flags: dict[evidence.Findings, list[Flag]] = {one: [] for one in findings}
    for one in findings:
        flags[one] += [*(_judge_mask(one) if one.organs is not None else ()), *_judge_scan(one)]
    found = itertools.chain(
        *(_judge_organs(group) for group in _grouped(annotated, "modality").values()),
        *(_judge_grids(group) for group in _grouped(findings, "modality").values()),
        *(_judge_visit(group) for visit, group in _grouped(findings, "visit").items() if visit),
    )
    for one, raised in found:
        flags[one].append(raised)
    return list(flags.values())


def _grouped(findings, attribute):
    """{value: findings with this value}, by value."""
    key = operator.attrgetter(attribute)
    groups = itertools.groupby(sorted(findings, key=key), key)
    return {value: list(members) for value, members in groups}


def _judge_scan(one):
    low, high = anatomy.CT_RANGE
    lowest, highest = one.values
    seen = f"values from {lowest:g} to {highest:g}"
    if one.is_mask:
        reason = "The volume holds the same voxels as the mask: it is a copy of it, not the scan."
        yield flag("mask as volume", reason, evidence=seen)
    if one.modality == "CT" and not low <= lowest <= highest <= high:
        expected = f"expected Hounsfield units ({low:g} to {high:g})"
        reason = f"{sentence(seen)}, {expected}."
        yield flag("intensity", reason, evidence=f"{seen}; limits {low:g} and {high:g}")
    for reason in one.scanner_faults:
        spacing = " x ".join(f"{step:.4g}" for step in one.spacing)
        yield flag("scanner", reason, evidence=f"spacing {spacing} mm, {seen}")
    if one.has_identity:
        yield flag("geometry", f"{sentence(geometry.IDENTITY)}.", evidence="identity affine")


def sentence(text: str) -> str:
    """Begin a text with a capital letter, and leave the others as they are."""
    return f"{text[:1].upper()}{text[1:]}"


def _judge_mask(one):
    organs = one.organs
    may_be_empty = one.label_names and all(map(anatomy.is_disease, one.label_names.values()))
    if not organs and not may_be_empty:
        yield flag("organ missing", "The mask is empty.", WRONG, evidence="no voxel has a label")
    foreign = one.named(anatomy.FOREIGN_ORGAN.get(one.sex, "unknown"))
    if foreign:
        person = {"M": "man", "F": "woman"}[one.sex]
        size = f"{organs[foreign]['volume_ml']:.3g} ml"
        reason = f"{foreign.capitalize()} ({size}) in a {person}."
        yield flag("sex", reason, evidence=size, **one.about(foreign))
    yield from _judge_sides(one)
    for name, organ in organs.items():
        yield from _judge_shape(one, name, organ)
    yield from _judge_alignment(one)


def _judge_sides(one):
    for twins in anatomy.SIDES:
        names = [*map(one.named, twins)]
        centres = [one.organs.get(name, {}).get("centre") for name in names]
        if None not in centres and centres[0][0] <= centres[1][0]:
            right, left = map(label_map.shown, names)
            off = f"{centres[1][0] - centres[0][0]:.0f} mm to the left of the {left}"
            reason = f"The {right} lies {off}, expected to its right."
            seen = f"centres at R {centres[0][0]:.0f} mm and R {centres[1][0]:.0f} mm"
            yield flag("left/right", reason, evidence=seen, **one.about(*names))


def _judge_shape(one, name, organ):
    shown, known = label_map.shown(name), anatomy.organ(name)
    least_gap_mm = 0.0 if known in anatomy.COMPACT else measures.THIN_GAP_MM
    pieces = [piece for piece in organ.get("pieces", ()) if piece["gap_mm"] >= least_gap_mm]
    if pieces and not organ["at_edge"] and known in anatomy.ONE_PIECE:
        apart = [f"{piece['share']:.0%} of it {piece['gap_mm']:.0f} mm apart" for piece in pieces]
        number = len(pieces) + 1
        reason = f"The {shown} is in {number} large pieces: {' and '.join(apart)}."
        about = one.about(name) | {"place": tuple(pieces[0]["at"])}
        yield flag("pieces", reason, evidence="; ".join(apart), **about)
    if known in anatomy.TAPERED and organ.get("cuts"):
        face = f"a flat face on its {' and '.join(organ['cuts'])} side"
        size = f"{organ['volume_ml']:.4g} ml"
        reason = f"The {shown} ({size}) ends in {face}: a part of it is missing."
        about = one.about(name) | {"place": tuple(organ["cuts_at"][0])}
        yield flag("cut off", reason, evidence=f"{size}; {face}", **about)


def _judge_alignment(one):
    names = one.largest()
    if one.shift_ras_mm is not None:
        move = ", ".join(
            f"{abs(part):.0f} mm {ways[part < 0]}"
            for part, ways in zip(one.shift_ras_mm, _DIRECTIONS)
            if abs(part) >= 0.5
        )
        better = f"edges under its contours are {one.gain:.1f} times as strong there"
        limits = f"limits: {alignment.SHIFT_MM:g} mm, {alignment.GAIN:g} times"
        reason = f"The mask fits the volume better when it is moved {move}: {better} ({limits})."
        seen = f"{move}; {one.gain:.1f} times; {limits}"
        yield flag("alignment", reason, evidence=seen, **one.about(*names))
    if one.fat_share is not None and one.fat_share > FAT_SHARE:
        dark = f"as dark as fat (below {anatomy.FAT_BELOW:g} HU)"
        seen = f"{one.fat_share:.0%} of the voxels in solid organs are {dark}"
        reason = f"{seen}, expected at most {FAT_SHARE:.0%}."
        solid = [name for name in names if anatomy.organ(name) in anatomy.SOLID]
        numbers = f"{one.fat_share:.1%}; limit {FAT_SHARE:.0%}"
        yield flag("alignment", reason, evidence=numbers, **one.about(*solid))


def _judge_organs(group):
    """Yield (sample, flag) for the annotated samples of one modality."""
    names = {name for one in group for name in (*one.organs, *one.label_names.values())}
    layout = _layout(group)
    for name in sorted(itertools.filterfalse(anatomy.is_disease, names)):
        yield from _judge_presence(group, name, layout)
        whole = [one for one in group if one.is_whole(name)]
        for members, judged, label in _comparisons(whole):
            if members is judged or anatomy.organ(name) not in anatomy.SEX_ORGANS:
                yield from _judge_volumes(members, judged, label, name)
    for members, judged, label in _comparisons(group):
        yield from _judge_places(members, judged, label)


def _comparisons(group):
    """Yield (samples to compare with, those of them to judge, what the former are)."""
    for sex, members in _grouped(group, "sex").items():
        if len(members) >= comparing.LEAST_GROUP:
            yield members, members, ", ".join(filter(None, (members[0].modality, sex)))
        elif len(group) >= comparing.LEAST_GROUP:
            yield group, members, members[0].modality


def _judge_presence(group, name, layout):
    groups, known_organ = [group], anatomy.organ(name)
    if known_organ in anatomy.SEX_ORGANS:
        by_sex = _grouped(group, "sex").items()
        groups = [found for sex, found in by_sex if anatomy.FOREIGN_ORGAN.get(sex) != known_organ]
    for members in groups:
        having, n_others = sum(name in one.organs for one in members), len(members) - 1
        is_usual = n_others >= comparing.LEAST_OTHERS and having >= USUAL_SHARE * n_others
        others = f"{having} of the {n_others} other {group[0].modality} samples have one"
        known = "practically everybody has one in an abdominal scan"
        why = others if is_usual else known
        is_of_all = known_organ in anatomy.EVERYBODYS
        lacking = [
            one
            for one in members
            if one.organs
            and name not in one.organs
            and (is_usual or is_of_all and _may_show(one, name))
        ]
        expected = _expected(name, group, layout) if is_usual and lacking else {}
        for one in lacking:
            yield one, _missing(one, name, why, expected.get(one))


def _may_show(one, name):
    names = one.label_names.values()
    return name in names and anatomy.are_abdominal(names)


def _expected(name, group, layout):
    """{sample: where an organ should lie, mm, and the radius of a ball of its usual size}.

    Those of which it cannot be told are left out.
    """
    names, centres = layout
    sizes_ml = [one.organs[name]["volume_ml"] for one in group if one.is_whole(name)]
    if not sizes_ml:
        return {}
    radius_mm = comparing.ball_radius_mm(float(np.median(sizes_ml)))
    places_mm = comparing.expected_places(centres, names.index(name))
    return {
        one: (place_mm, radius_mm)
        for one, place_mm in zip(group, places_mm)
        if one.affine is not None and np.isfinite(place_mm).all()
    }


def _missing(one, name, why, expected):
    """The flag of an organ that a sample lacks: wrong where the image holds its place whole."""
    seen, severity, place = "where it should lie cannot be told", DOUBTFUL, None
    if expected is not None:
        place = one.voxel(expected[0])
        is_covered = comparing.is_inside(*expected, one.shape, one.affine)
        seen = f"the image {'holds' if is_covered else 'does not hold'} its place whole"
        severity = WRONG if is_covered else DOUBTFUL
    labels = tuple(value for value, found in one.label_names.items() if found == name)
    reason = f"There is no {label_map.shown(name)}; {why}."
    more = {"place": place, "labels": labels, "evidence": f"{why}; {seen}"}
    return flag("organ missing", reason, severity, **more)


def _judge_volumes(members, judged, label, name):
    floor = _LOG_VARIABLE_SD if anatomy.is_variable(name) else _LOG_VOLUME_SD
    volumes_ml = np.array([one.organs[name]["volume_ml"] for one in members])
    low, median, high = comparing.log_limits(volumes_ml, floor)
    for one, volume_ml in zip(members, volumes_ml):
        if not low <= volume_ml <= high and one in judged:
            limits = f"limits {low:.4g} and {high:.4g} ml"
            reason = (
                f"The {label_map.shown(name)} has {volume_ml:.4g} ml; median of the {len(members)} "
                f"samples ({label}) {median:.4g} ml, {limits}."
            )
            seen = f"{volume_ml:.4g} ml; median {median:.4g} ml, {limits}"
            yield one, flag("volume", reason, evidence=seen, **one.about(name))


def _layout(members):
    """Names of all organs, and (samples, organs, 3) their centres, mm; NaN where not whole."""
    names = sorted({name for one in members for name in one.organs})
    centres = np.full((len(members), len(names), 3), np.nan)
    for row, column in np.ndindex(*centres.shape[:2]):
        if members[row].is_whole(names[column]):
            centres[row, column] = members[row].organs[names[column]].get("centre", np.nan)
    return names, centres


def _judge_places(members, judged, label):
    """Compare where an organ lies beside the other organs of its sample."""
    names, centres = _layout(members)
    for column, name in enumerate(names):
        if anatomy.is_disease(name):
            continue
        has_enough, off_mm = comparing.offsets(centres, column)
        rated = list(itertools.compress(members, has_enough))
        for one, raised in _judge_offsets(rated, off_mm, label, name) if rated else ():
            if one in judged:
                yield one, raised


def _judge_offsets(rated, off_mm, label, name):
    floor = _VARIABLE_PLACE_SD_MM if anatomy.is_variable(name) else _PLACE_SD_MM
    for axis, directions in enumerate(_DIRECTIONS):
        middle, limit = comparing.limits(off_mm[:, axis], floor)
        for one, off in zip(rated, off_mm[:, axis] - middle):
            if abs(off) > limit:
                seen = f"{abs(off):.0f} mm further {directions[int(off < 0)]}"
                reason = (
                    f"The {label_map.shown(name)} lies {seen} among the other organs than in the "
                    f"{len(rated)} samples ({label}); limit {limit:.0f} mm."
                )
                numbers = f"{seen}; limit {limit:.0f} mm"
                yield one, flag("position", reason, evidence=numbers, **one.about(name))


def are_spleens_apart(one: evidence.Findings, other: evidence.Findings) -> bool | None:
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
            apart = f"apart by more than a factor of {SPLEENS_APART:g}"
            reason = (
                f"The spleen has {one.spleen_ml:.4g} ml, that of the same patient on the same day "
                f"by the metadata {errors.listed(others)}: {apart}."
            )
            seen = f"{one.spleen_ml:.4g} ml; {', '.join(others)}"
            yield one, flag("patient", reason, evidence=seen, **one.about(one.named("spleen")))


def _judge_grids(group):
    """Yield (sample, flag) for all samples of one modality."""
    for one in group:
        if one.tilt_degrees > OBLIQUE_DEGREES:
            tilt = f"tilted by {one.tilt_degrees:.0f} degrees against the patient's axes"
            reason = f"The grid is {tilt}, expected at most {OBLIQUE_DEGREES:g}."
            seen = f"{one.tilt_degrees:.1f} degrees; limit {OBLIQUE_DEGREES:g}"
            yield one, flag("geometry", reason, evidence=seen)
    if len(group) >= comparing.LEAST_GROUP:
        yield from _judge_spacings(group)
    counts = collections.Counter(one.axis_codes for one in group)
    for one in group if len(group) >= ODD_LEAST_GROUP else ():
        number = counts[one.axis_codes]
        if number < ODD_SHARE * len(group):
            others = f"only {number} of {len(group)} {one.modality} samples have it"
            reason = f"Orientation {one.orientation}: {others}."
            yield one, flag("geometry", reason, UNUSUAL, evidence=f"{number} of {len(group)}")


def _judge_spacings(group):
    spacings = np.sort([one.spacing for one in group], axis=1)
    for which, place in (("smallest", 0), ("largest", 2)):
        low, median, high = comparing.log_limits(spacings[:, place], _LOG_SPACING_SD)
        for one, spacing in zip(group, spacings[:, place]):
            if not low <= spacing <= high:
                limits = f"limits {low:.3g} and {high:.3g} mm"
                reason = (
                    f"The {which} spacing is {spacing:.3g} mm; median of the {len(group)} "
                    f"{one.modality} samples {median:.3g} mm, {limits}."
                )
                seen = f"{spacing:.3g} mm; median {median:.3g} mm, {limits}"
                yield one, flag("geometry", reason, UNUSUAL, evidence=seen)

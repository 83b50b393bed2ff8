"""How samples are judged, in words for the page."""

from utils.facts import DataSet
from utils.qc import agreement, alignment, anatomy, comparing, judging, measures
from utils.storage import label_map


def notes(facts: DataSet) -> list[str]:
    """Say how the samples of a data set are judged, one text for each rule."""
    return [*_in_general(), *_of_organs(), *_of_scans(facts), *_of_files()]


def _in_general():
    return [
        "A flag means: have a look. Nothing is changed or left out because of it.",
        f"Groups: samples of one modality and sex; with fewer than {comparing.LEAST_GROUP} of one "
        "modality (prostate and uterus never); with fewer than that nothing is compared. Organs "
        "that the image cuts off take no part.",
        "Wrong is what can hardly be right: sides, sex, alignment, an empty mask, a mask as "
        "volume, an organ missing though the image holds the whole place where the others have "
        "it, a sample that failed. Unusual is what is rare and may well be right: spacing, "
        "orientation, a known fault that does not show. All else is doubtful.",
    ]


def _of_organs():
    return [
        f"Volume and position: further from the group's median than {comparing.FAR:g} robust "
        "standard deviations (1.4826 times the median absolute deviation), but never closer than "
        f"a factor of {judging.volume_factor(False):.2g} in volume and "
        f"{judging.place_mm(False):g} mm in place "
        f"({judging.volume_factor(True):.2g} and {judging.place_mm(True):g} mm for "
        "organs that fill and empty). Places are taken beside the sample's other organs.",
        f"Organ missing: at least {judging.USUAL_SHARE:.0%} of the other samples of its modality "
        f"({comparing.LEAST_OTHERS} at least) have it; without any comparison also "
        f"{', '.join(map(label_map.shown, sorted(anatomy.EVERYBODYS)))}, where the labels have "
        "such a name. Whether the image holds its place is told by the other organs and by a ball "
        "of the group's median volume.",
        "Left/right: by the RAS+ coordinates of the centres of kidneys, adrenal glands, liver and "
        "spleen.",
        f"Pieces: a second piece of at least {measures.LARGE_PIECE_SHARE:.0%} of the organ and "
        f"{measures.LARGE_PIECE_MM3 / 1000:g} ml; thin organs only over a gap of "
        f"{measures.THIN_GAP_MM:g} mm. Cut off: the area of liver, spleen or kidney falls from "
        f"{measures.CUT_SHARE:.0%} of its largest to next to nothing within 3 mm or a slice.",
        f"Alignment: edges under the contours at least {alignment.GAIN:g} times as strong when "
        f"the mask is moved by {alignment.SHIFT_MM:g} to {alignment.REACH_MM:g} mm per axis; "
        f"in CT also more than {judging.FAT_SHARE:.0%} of the solid organs darker than "
        f"{anatomy.FAT_BELOW:g} HU.",
    ]


def _of_scans(facts):
    return [
        f"Geometry: spacing by the same rule as volume (factor {judging.spacing_factor():.2g}); "
        f"an orientation that fewer than {judging.ODD_SHARE:.0%} of at least "
        f"{judging.ODD_LEAST_GROUP} samples have; a tilt above {judging.OBLIQUE_DEGREES:g} "
        "degrees; an affine that is exactly the identity.",
        "Intensity: CT values below "
        f"{anatomy.CT_RANGE[0]:g} or above {anatomy.CT_RANGE[1]:g}, which are no Hounsfield units.",
        "Mask as volume: both hold the same voxels.",
        "Scanner: a grid or a scaling that only another scanner has than the metadata name.",
        f"Patient: the spleens of two scans of one patient{_identity(facts)} on one day, one of "
        f"them more than {judging.SPLEENS_APART:g} times as large as the other; not where the "
        "image cuts it off.",
        "Known fault: what is publicly known about the scan, with the evidence. Where the files "
        "at hand tell otherwise, or nothing of it, the flag says so; the other flags do not depend "
        "on it.",
    ]


def _of_files():
    return [
        f"Prediction: a label whose Dice is further below the median of its modality "
        f"({comparing.LEAST_GROUP} samples at least) than {comparing.FAR:g} robust standard "
        "deviations, by the logarithm of Dice / (1 - Dice) (a median of 0.95 has a limit of 0.79 "
        f"at the least), and with {agreement.LEAST_APART_ML:g} ml or more on one side alone; wrong "
        "where the two cannot be compared at all.",
        "Of the archive, before routine 02 - pair: a mask of another shape or damaged, or more "
        "than half a voxel off its volume; doubtful where it is less, or there is no mask though "
        "there should be one, and unusual where it is below a hundredth of a voxel, or the mask is "
        "stored along other axes. Header: what is odd about the geometry of a file. Manifest: rows "
        "that routine 02 would fail. Metadata: what is not known of a scan, and is of others.",
    ]


def _identity(facts):
    """By what scans are told to be of one patient: one key names people, several may coincide."""
    keys = " and ".join(facts.PATIENT_KEYS).replace("_", " ")
    return f" ({'inferred from' if facts.PATIENT_EVIDENCE else 'by'} {keys})" if keys else ""

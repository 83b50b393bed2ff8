"""Facts of abdominal organs that the quality report goes by, keyed by label name."""

# Twins: the right one lies at the larger RAS x.
SIDES = (
    ("right_kidney", "left_kidney"),
    ("right_adrenal_gland", "left_adrenal_gland"),
    ("liver", "spleen"),
)
# Sex -> organ that the other sex has.
FOREIGN_ORGAN = {"M": "uterus", "F": "prostate"}
SEX_ORGANS = frozenset(FOREIGN_ORGAN.values())
# Without gas and with little fat: in CT hardly a voxel of theirs is as dark as fat.
SOLID = frozenset({"spleen", "right_kidney", "left_kidney", "liver", "aorta", "postcava"})
# One round piece each.
COMPACT = frozenset({"spleen", "right_kidney", "left_kidney", "liver", "stomach", "bladder"})
# They taper off at all their ends, also in slices of 10 mm; a full stomach may lie flat there.
TAPERED = frozenset({"spleen", "right_kidney", "left_kidney", "liver"})
# Full or empty, or taken out and shrunk: their size tells little.
VARIABLE = frozenset(
    {"gall_bladder", "stomach", "duodenum", "bladder", "prostate", "uterus", "esophagus"}
)

# Soft tissue, Hounsfield units: level 40, width 400.
CT_WINDOW = (-160.0, 240.0)
# Fat lies at -120 to -60 Hounsfield units, organs above 0.
FAT_BELOW = -30.0

# The eight hues of Okabe and Ito that also colour-blind people tell apart, lightened where they
# would drown in a dark picture, each once as a solid and once as a dashed line.
_ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _RED, _PINK, _WHITE = (
    "#E69F00",
    "#56B4E9",
    "#12C18A",
    "#F0E442",
    "#3D7DFF",
    "#F2601D",
    "#E58CC0",
    "#FFFFFF",
)
_SOLID_LINE, _DASHED_LINE = "solid", "dashed"
# In AMOS22's order, so that neighbours differ in hue: 1 spleen .. 16 uterus.
_LINES = (
    (_PINK, _SOLID_LINE),
    (_SKY, _SOLID_LINE),
    (_ORANGE, _SOLID_LINE),
    (_YELLOW, _SOLID_LINE),
    (_WHITE, _DASHED_LINE),
    (_GREEN, _SOLID_LINE),
    (_RED, _SOLID_LINE),
    (_ORANGE, _DASHED_LINE),
    (_BLUE, _SOLID_LINE),
    (_YELLOW, _DASHED_LINE),
    (_SKY, _DASHED_LINE),
    (_RED, _DASHED_LINE),
    (_PINK, _DASHED_LINE),
    (_WHITE, _SOLID_LINE),
    (_GREEN, _DASHED_LINE),
    (_BLUE, _DASHED_LINE),
)


def line(value: int) -> tuple[str, str]:
    """Return colour and line style of a label's contour; labels above 16 start over."""
    return _LINES[(value - 1) % len(_LINES)]

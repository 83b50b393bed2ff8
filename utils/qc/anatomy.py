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
# In the field of view of an abdominal scan practically everybody has them.
EVERYBODYS = frozenset(
    {"spleen", "right_kidney", "left_kidney", "liver", "stomach", "aorta", "postcava", "pancreas"}
)
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
# Scanners give -1024 to 3071 Hounsfield units, -3024 beside the field of view, and up to some 8,600
# at metal; beyond these limits the values are in other units.
CT_RANGE = (-4096.0, 10_000.0)
# Fat lies at -120 to -60 Hounsfield units, organs above 0.
FAT_BELOW = -30.0

"""Facts of abdominal organs that the quality report goes by, keyed by `organ` of a label's name."""

import functools
import re
from collections.abc import Collection

# Each organ that is one piece, under the name that AMOS22 has for it; and the one structure of
# NME-2025.8.25, which is judged by the same rules.
ONE_PIECE = frozenset(
    {
        *("spleen", "right_kidney", "left_kidney", "gall_bladder", "esophagus", "liver", "stomach"),
        *("aorta", "postcava", "pancreas", "right_adrenal_gland", "left_adrenal_gland"),
        *("duodenum", "bladder", "prostate", "uterus", "nme"),
    }
)
# Other names, of TotalSegmentator, FLARE22, BTCV, KiTS and CT-ORG; `organ` takes a side from
# wherever it stands.
_SYNONYMS = {
    "gallbladder": "gall_bladder",
    "oesophagus": "esophagus",
    "inferior_vena_cava": "postcava",
    "vena_cava_inferior": "postcava",
    "ivc": "postcava",
    "inferior_vena_cava_ivc": "postcava",
    "urinary_bladder": "bladder",
    "rag": "right_adrenal_gland",
    "lag": "left_adrenal_gland",
    "right_adrenal": "right_adrenal_gland",
    "left_adrenal": "left_adrenal_gland",
    "right_adrenal_gland_rag": "right_adrenal_gland",
    "left_adrenal_gland_lag": "left_adrenal_gland",
    "kidney": "kidneys",
}
_SIDE_WORDS = {"right": "right", "left": "left", "r": "right", "l": "left"}
# Words of what a healthy person does not have.
_DISEASE = frozenset(
    "tumour tumor lesion cyst cancer carcinoma nodule metastasis metastase mass edema oedema "
    "abscess".split()
)
# Where these are among the labels, scans need not show an abdomen at all.
_BEYOND_ABDOMEN = frozenset({"brain", "skull", "heart", "lung", "lungs", "femur", "humerus"})

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
SOLID = frozenset(
    {"spleen", "right_kidney", "left_kidney", "kidneys", "liver", "aorta", "postcava"}
)
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


@functools.cache
def organ(name: str) -> str:
    """Return AMOS22's name of the organ that a label names, '' where it is none that is known.

    >>> organ("Kidney right"), organ("IVC"), organ("bone")
    ('right_kidney', 'postcava', '')
    """
    words = _words(name)
    sides = [_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS]
    plain = "_".join([*sides, *(word for word in words if word not in _SIDE_WORDS)])
    found = _SYNONYMS.get(plain, plain)
    return found if found in ONE_PIECE | {"kidneys"} else ""


def is_disease(name: str) -> bool:
    """Whether a label names what a healthy person does not have, such as ``liver_tumours``."""
    return any(word in _DISEASE or word.removesuffix("s") in _DISEASE for word in _words(name))


def is_variable(name: str) -> bool:
    """Whether the size of what a label names tells little, or nothing is known of it."""
    return organ(name) in VARIABLE | {"", "kidneys"}


def are_abdominal(names: Collection[str]) -> bool:
    """Whether scans with these labels show an abdomen, as far as the labels tell."""
    return not any(_BEYOND_ABDOMEN.intersection(_words(name)) for name in names)


def _words(name):
    return re.findall(r"[^\W_]+", name.casefold())

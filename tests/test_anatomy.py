"""Which organ a label names, however a data set calls it, and what is known of others."""

import pytest

from utils.qc import anatomy

_AMOS22 = (
    "spleen right_kidney left_kidney gall_bladder esophagus liver stomach aorta postcava pancreas"
    " right_adrenal_gland left_adrenal_gland duodenum bladder prostate uterus"
).split()


@pytest.mark.parametrize("name", _AMOS22)
def test_amos22_has_the_names_that_the_facts_go_by(name):
    for written in (name, name.replace("_", " "), name.upper(), name.title()):
        assert anatomy.organ(written) == name


@pytest.mark.parametrize(
    "name, organ",
    [
        # TotalSegmentator
        ("kidney_right", "right_kidney"),
        ("kidney_left", "left_kidney"),
        ("adrenal_gland_left", "left_adrenal_gland"),
        ("gallbladder", "gall_bladder"),
        ("inferior_vena_cava", "postcava"),
        ("urinary_bladder", "bladder"),
        # FLARE22, BTCV
        ("Right kidney", "right_kidney"),
        ("Inferior Vena Cava", "postcava"),
        ("IVC", "postcava"),
        ("RAG", "right_adrenal_gland"),
        ("left adrenal gland", "left_adrenal_gland"),
        # KiTS, CT-ORG, and as people write
        ("kidney", "kidneys"),
        ("kidneys", "kidneys"),
        ("R. kidney", "right_kidney"),
        ("kidney-l", "left_kidney"),
        ("oesophagus", "esophagus"),
        ("NME", "nme"),
    ],
)
def test_names_of_other_sets(name, organ):
    assert anatomy.organ(name) == organ


@pytest.mark.parametrize(
    "name",
    [
        *("lungs", "bone", "brain", "tumor", "liver_tumour", "kidney cyst", "kidney_cyst_left"),
        *("portal vein and splenic vein", "left atrium", "liver2", "prostate_uterus", "PZ", "left"),
        *("lung_upper_lobe_left", "label_03", "1", "left right kidney", "spleen_old"),
    ],
)
def test_what_is_no_known_organ(name):
    assert anatomy.organ(name) == ""
    assert anatomy.is_variable(name)


def test_all_sets_of_facts_go_by_names_that_organ_gives():
    pairs = {name for twins in anatomy.SIDES for name in twins}
    used = pairs | anatomy.SEX_ORGANS | anatomy.EVERYBODYS | anatomy.SOLID | anatomy.COMPACT
    used |= anatomy.TAPERED | anatomy.VARIABLE | anatomy.ONE_PIECE
    assert {name for name in used if anatomy.organ(name) != name} == set()


@pytest.mark.parametrize(
    "name, is_disease",
    [
        ("tumour", True),
        ("Tumors", True),
        ("liver_tumour", True),
        ("kidney cysts", True),
        ("cancer", True),
        ("metastases", True),
        ("NME", False),
        ("liver", False),
        ("cystic_duct", False),
    ],
)
def test_names_of_what_healthy_people_do_not_have(name, is_disease):
    assert anatomy.is_disease(name) == is_disease


def test_labels_tell_whether_scans_show_an_abdomen():
    assert anatomy.are_abdominal(_AMOS22)
    assert not anatomy.are_abdominal(["liver", "lungs", "brain"])
    assert not anatomy.are_abdominal(["liver", "lung_upper_lobe_left"])

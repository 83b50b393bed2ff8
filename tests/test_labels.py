"""Counts of labels, unknown labels, prostate and uterus."""

import numpy as np
import pytest

from utils import errors
from utils.arrays import labels

NAMES = {0: "background", 1: "spleen", 2: "right kidney"}


@pytest.mark.parametrize("order", "CF")
def test_counts(order):
    data = np.zeros((3, 4, 5), np.uint8, order=order)
    data[0, 0, :3] = 7
    data[2, 3, 4] = 255
    counts = labels.counts(data)
    assert counts.shape == (256,) and counts.dtype == np.int64
    assert (counts[0], counts[7], counts[255], counts.sum()) == (56, 3, 1, 60)


def test_counts_over_several_parts(monkeypatch):
    monkeypatch.setattr(labels, "_PART_VOXELS", 7)
    data = np.random.default_rng(0).integers(0, 5, (7, 8, 9)).astype(np.uint8)
    assert (labels.counts(data)[:5] == np.bincount(data.ravel())).all()


def test_check_known():
    data = np.zeros((3, 4, 5), np.uint8)
    labels.check_known(data, NAMES, where="m")
    data[0, 0, 0] = 1
    labels.check_known(data, NAMES, where="m")
    data[1, 1] = 77
    data[2, 2, 2] = 3
    with pytest.raises(errors.DatasetError) as caught:
        labels.check_known(data, NAMES, where="m.nii.gz")
    text = str(caught.value)
    assert text.startswith("m.nii.gz: ") and caught.value.code == "unknown_label"
    assert "label 77 (5 voxels)" in text and "label 3 (1 voxels)" in text and "0..2" in text


def mask_with_prostate(order="F"):
    data = np.zeros((3, 4, 5), np.uint8, order=order)
    data[1, 2, 3:] = labels.PROSTATE
    data[0, 0, 0] = 14
    return data


@pytest.mark.parametrize("order", "CF")
def test_uterus_of_a_woman(monkeypatch, order):
    monkeypatch.setattr(labels, "_PART_VOXELS", 11)
    data = mask_with_prostate(order)
    assert labels.uterus_of_prostate(data, "F", "m")
    assert (labels.counts(data)[[0, 14, 15, 16]] == [57, 1, 0, 2]).all()
    assert (data[1, 2, 3:] == 16).all()
    assert not labels.uterus_of_prostate(data, "F", "m")


def test_a_man_keeps_his():
    data = mask_with_prostate()
    assert not labels.uterus_of_prostate(data, "M", "m")
    assert (data == mask_with_prostate()).all()


@pytest.mark.parametrize("sex", ["", "UND", "f", "O", "F "])
def test_unknown_sex(sex):
    data = mask_with_prostate()
    with pytest.raises(errors.DatasetError, match="m.nii.gz.*expected M"):
        labels.uterus_of_prostate(data, sex, "m.nii.gz")
    assert (data == mask_with_prostate()).all()
    assert not labels.uterus_of_prostate(np.zeros((3, 4, 5), np.uint8), sex, "m.nii.gz")


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (range(17), "0..16"),
        ([*range(7), *range(8, 17)], "0..6, 8..16"),
        ([16, 0, 2, 1, 14], "0..2, 14, 16"),
        ([0], "0"),
        ([0, 1], "0..1"),
    ],
)
def test_the_known_labels_are_listed_where_some_are_missing(known, text):
    data = np.full((3, 4, 5), 77, np.uint8)
    with pytest.raises(errors.DatasetError) as caught:
        labels.check_known(data, dict.fromkeys(known, "x"), where="m.nii.gz")
    assert str(caught.value).endswith(f"expected only the labels of the label map ({text})")
    assert caught.value.expected == text

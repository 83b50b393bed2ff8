"""Labels by name: organs where the generator of abdomens has them, ellipsoids else."""

import numpy as np
import pytest

from utils.sample_data import abdomen, amos22_archive, bodies


@pytest.fixture(scope="module", name="made")
def made_up_scan():
    return abdomen.scan(amos22_archive.plan(1, 0)[0], (40, 36, 30))


def test_organs_are_where_they_are(made):
    names = {0: "background", 1: "Liver", 2: "kidneys", 3: "gallbladder", 4: "inferior_vena_cava"}
    labels = bodies.paint(made, names)
    amos = np.stack([*abdomen.mask_slices(made)], axis=2)
    for value, numbers in {1: [6], 2: [2, 3], 3: [4], 4: [9]}.items():
        assert (labels == value).any()
        assert ((labels == value) == np.isin(amos, numbers)).all()


def test_other_labels_are_bodies_of_their_own(made):
    labels = bodies.paint(made, {0: "background", 1: "liver", 7: "tumour", 200: "cyst"})
    assert set(np.unique(labels)) == {0, 1, 7, 200}
    again = bodies.paint(made, {0: "background", 3: "tumour"})
    assert ((again == 3) >= (labels == 7)).all()  # its place is that of its name


def test_every_body_has_a_voxel_on_a_tiny_grid(made):
    tiny = abdomen.scan(made.sample, (4, 4, 4))
    for value in range(1, 30):
        assert (bodies.paint(tiny, {0: "background", value: f"body {value}"}) == value).any()


def test_noise_is_the_same_again_and_leaves_the_true_mask(made):
    labels = bodies.paint(made, {0: "background", 1: "liver"})
    before = labels.copy()
    first, second = (bodies.noisy(labels, (0, 5)) for _ in range(2))
    assert (first == second).all() and (labels == before).all()
    assert 0 < (first != labels).mean() < 0.1
    assert (bodies.noisy(np.zeros_like(labels), (0, 5)) == 0).all()


def test_slices_are_copies(made):
    labels = bodies.paint(made, {0: "background", 1: "liver"})
    (first, *_) = bodies.slices(labels)
    first += 1
    assert (labels[:, :, 0] != first).all()

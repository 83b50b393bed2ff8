"""Which slices are shown, and that they stand upright in every orientation."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from utils.qc import slices

ORIENTATIONS = [
    "".join(sides)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for sides in itertools.product(*axes)
]
SPACING = (1.5, 2.0, 4.0)


def _affine(letters):
    """Affine of a grid whose axes point to these letters."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(letters):
        row = "RLAPSI".index(letter) // 2
        affine[row, axis] = SPACING[axis] * (1 if letter in "RAS" else -1)
    return affine


def _world(affine, shape):
    """RAS+ coordinates of all voxels, three arrays."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.moveaxis(grid @ affine[:3, :3].T, -1, 0)


@pytest.mark.parametrize("letters", ORIENTATIONS)
def test_pictures_have_left_on_the_right_and_the_head_up(letters):
    affine, shape = _affine(letters), (4, 5, 6)
    assert "".join(nib.aff2axcodes(affine)) == letters
    right, front, up = _world(affine, shape)
    found = slices.views(affine)
    down_and_across = {"axial": (front, right), "coronal": (up, right), "sagittal": (up, front)}
    for plane, (down, across) in down_and_across.items():
        view = found[plane]
        assert (np.diff(view.cut(down, 1), axis=0) < 0).all()
        assert (np.diff(view.cut(across, 1), axis=1) < 0).all()
        assert view.cut(down, 0).shape == (shape[view.rows], shape[view.columns])
    assert found["axial"].letters == "RLAP"
    assert found["coronal"].letters == "RLSI"
    assert found["sagittal"].letters == "APSI"


def test_an_oblique_grid_takes_the_nearest_planes():
    angle = np.radians(20)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn
    assert {plane: view.axis for plane, view in slices.views(affine).items()} == {
        "sagittal": 0,
        "coronal": 1,
        "axial": 2,
    }


def test_chosen_slices_show_every_label_near_its_largest():
    areas = np.zeros((9, 256), np.int64)
    areas[1:4, 1] = (2, 9, 2)
    areas[6:9, 2] = (5, 30, 5)
    assert sorted(slices.choose(areas, 2)) == [2, 7]
    assert len(slices.choose(areas, 20)) == 9


def test_without_labels_slices_are_spread_and_the_middle_comes_first():
    chosen = slices.choose(np.zeros((12, 256), np.int64), 3)
    assert chosen[0] == 6
    assert sorted(chosen) == [2, 6, 10]


def test_areas_are_counted_along_each_axis():
    mask = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)
    for axis, areas in enumerate(slices.areas(mask)):
        for index, plane in enumerate(np.moveaxis(mask, axis, 0)):
            expected = np.bincount(plane.ravel(), minlength=256)
            expected[0] = 0
            assert areas[index].tolist() == expected.tolist()


def test_the_middle_of_a_ring_is_on_the_ring():
    ring = np.ones((5, 9), bool)
    ring[1:4, 1:8] = False
    assert slices.middle(ring, (1.0, 1.0)) == [0, 4]
    assert slices.middle(ring, (9.0, 1.0)) == [2, 0]

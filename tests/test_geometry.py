"""Affines: spacing, orientation, obliquity, comparison, repair."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import transform

from utils import errors
from utils.arrays import geometry

SHAPE = (7, 8, 9)
SPACING = (0.7, 1.5, 5.0)


def affine_of(axes, spacing=SPACING, origin=(10, -20, 30)):
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, float) * spacing
    affine[:3, 3] = origin
    return affine


def turned(degrees, about="z"):
    return affine_of(transform.Rotation.from_euler(about, degrees, degrees=True).as_matrix())


def sheared(shear, axes=None):
    """An affine whose first two axes leave the right angle by `shear`."""
    axes = np.eye(3) if axes is None else np.array(axes)
    axes[:, 1] += shear * axes[:, 0]
    return affine_of(axes / np.linalg.norm(axes, axis=0))


def random_axes(seed):
    """A random rotation, of every second seed with a flip, sometimes by nearly 180 degrees."""
    generator = np.random.default_rng(seed)
    axes = transform.Rotation.random(random_state=seed).as_matrix()
    if seed % 3 == 0:
        about = generator.normal(size=3)
        angle = np.pi - 10.0 ** generator.uniform(-8, -2)
        axes = transform.Rotation.from_rotvec(about / np.linalg.norm(about) * angle).as_matrix()
    return axes * [(-1) ** seed, 1, 1]


SEEDS = st.integers(0, 2**31)


# ---- refusing


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.__setitem__((0, 0), np.nan),
        lambda a: a.__setitem__((1, 3), np.inf),
        lambda a: a.__setitem__((slice(None), 0), 0),
        lambda a: a.__setitem__((slice(3), 1), a[:3, 0]),
        lambda a: a.__setitem__((slice(3), slice(3)), 0),
        lambda a: a.__setitem__((slice(3), 2), a[:3, 0] + a[:3, 1]),
        lambda a: a.__imul__(1e200),
    ],
)
@pytest.mark.filterwarnings("error")
def test_no_voxel_grid(change):
    affine = affine_of(np.eye(3))
    change(affine)
    with pytest.raises(errors.DamagedFileError, match="^x.nii.gz: the affine") as caught:
        geometry.check_affine(affine, "x.nii.gz")
    assert caught.value.code == "affine"


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_voxel_grids_of_any_size(scale):
    affine = turned(30)
    affine[:3, :3] *= scale
    geometry.check_affine(affine, "x")


# ---- spacing and orientation


def test_spacing():
    assert geometry.spacing(np.diag([-2.0, 3, 4, 1])).tolist() == [2, 3, 4]
    assert np.allclose(geometry.spacing(turned(33, "y")), SPACING, atol=1e-15)
    assert geometry.spacing(np.eye(4, dtype=np.float32)).dtype == np.float64


@pytest.mark.parametrize(
    ("axes", "to", "origin"),
    [
        (np.diag([1, 1, 1]), "RAS", "LPI"),
        (np.diag([-1, 1, 1]), "LAS", "RPI"),
        (np.diag([-1, -1, 1]), "LPS", "RAI"),
        (np.diag([-1, -1, -1]), "LPI", "RAS"),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], "ASR", "PIL"),
        ([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], "IRP", "SLA"),
    ],
)
def test_orientation_codes(axes, to, origin):
    assert geometry.orientation_codes(affine_of(axes)) == (origin, to)
    oblique = affine_of(
        transform.Rotation.from_euler("xyz", [5, 4, 3], degrees=True).as_matrix() @ axes
    )
    assert geometry.orientation_codes(oblique) == (
        f"Oblique(closest to {origin})",
        f"Oblique(closest to {to})",
    )


def test_axis_codes_are_plain_also_of_an_oblique_grid():
    tilted = affine_of(transform.Rotation.from_euler("x", 5, degrees=True).as_matrix() * [-1, 1, 1])
    assert geometry.axis_codes(tilted) == "LAS"
    assert geometry.opposite("LAS") == "RPI" and geometry.opposite("RPI") == "LAS"


@pytest.mark.parametrize("degrees", [0, 1e-12, 1e-9, 1e-4, 0.01, 5, 44.9])
@pytest.mark.parametrize("about", "xyz")
def test_obliquity_keeps_small_angles(degrees, about):
    found = geometry.obliquity_degrees(turned(degrees, about))
    assert found == pytest.approx(degrees, rel=1e-6, abs=1e-15)
    assert geometry.obliquity_degrees(turned(90 - degrees, about)) == pytest.approx(
        found, abs=1e-13
    )


@pytest.mark.parametrize("about", "xyz")
@pytest.mark.parametrize(
    ("degrees", "oblique"),
    [
        (0, False),
        (1e-15, False),
        (0.0099, False),
        (-0.0099, False),
        (0.0101, True),
        (-0.0101, True),
        (90, False),
        (90.0101, True),
        (180.0099, False),
        (45.001, True),
    ],
)
def test_oblique_above_a_hundredth_of_a_degree(degrees, about, oblique):
    codes = geometry.orientation_codes(turned(degrees, about))
    assert [code.startswith("Oblique") for code in codes] == [oblique, oblique]


def test_sagittal_stack_with_noise_of_float32_is_not_oblique():
    affine = affine_of([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    affine[:3, :3] += 1e-7
    assert geometry.orientation_codes(affine) == ("PIL", "ASR")


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_letters_never_repeat_and_are_opposite(seed):
    start, end = geometry.orientation_codes(affine_of(random_axes(seed)))
    start, end = start[-4:].strip("( )").split()[-1], end[-4:].strip("( )").split()[-1]
    assert end == "".join(nib.aff2axcodes(affine_of(random_axes(seed))))
    pairs = {frozenset(pair) for pair in zip(start, end)}
    assert pairs == {frozenset("LR"), frozenset("AP"), frozenset("IS")}


# ---- text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=16, max_size=16))
def test_text_gives_the_same_doubles(values):
    affine = np.array(values).reshape(4, 4)
    text = geometry.affine_text(affine)
    assert (geometry.affine_from_text(text) == affine).all()
    assert text.count("\n") == 3 and text.startswith("[[") and text.endswith("]]")


def test_text_as_shown_in_tables():
    assert geometry.affine_text(np.diag([0.1, 2, -3, 1])) == (
        "[[0.1 0.0 0.0 0.0]\n [0.0 2.0 0.0 0.0]\n [0.0 0.0 -3.0 0.0]\n [0.0 0.0 0.0 1.0]]"
    )


@pytest.mark.parametrize("text", ["", "[[1 0]\n [0 1]]", "[[a b c d]]", "1 " * 17, "UND"])
def test_no_matrix(text):
    with pytest.raises(errors.DatasetError, match="4 x 4"):
        geometry.affine_from_text(text)


# ---- comparison


def test_corners():
    found = {tuple(corner) for corner in geometry.corners((2, 3, 4))}
    assert found == {(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 3)}


def test_corner_displacement():
    affine = affine_of(np.eye(3))
    other = affine.copy()
    assert geometry.corner_displacement_mm(affine, other, SHAPE) == 0
    other[:3, 3] += [3, 4, 0]
    assert geometry.corner_displacement_mm(affine, other, SHAPE) == pytest.approx(5)
    other = affine.copy()
    other[2, 2] += 0.25  # 8 steps to the last of 9 slices
    assert geometry.corner_displacement_mm(affine, other, SHAPE) == pytest.approx(2)
    assert geometry.corner_displacement_mm(other, affine, SHAPE) == pytest.approx(2)
    assert geometry.corner_displacement_mm(affine, other, (7, 8, 1)) == 0


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_no_voxel_is_further_off_than_a_corner(seed):
    generator = np.random.default_rng(seed)
    one, other = generator.normal(size=(2, 4, 4))
    one[3] = other[3] = [0, 0, 0, 1]
    voxels = np.stack(np.meshgrid(*map(np.arange, (3, 4, 5)), indexing="ij"), -1).reshape(-1, 3)
    apart = nib.affines.apply_affine(one, voxels) - nib.affines.apply_affine(other, voxels)
    assert geometry.corner_displacement_mm(one, other, (3, 4, 5)) == pytest.approx(
        np.linalg.norm(apart, axis=1).max()
    )


# ---- orthonormal


@pytest.mark.parametrize(
    ("shear", "is_taken"),
    [(0, True), (0.5e-4, True), (0.9e-4, True), (1.1e-4, False), (2e-4, False), (1e-3, False)],
)
def test_orthonormal_to_the_tolerance_of_itk(shear, is_taken):
    for axes in (None, np.diag([-1.0, 1, 1]), turned(30)[:3, :3] / SPACING):
        assert geometry.is_orthonormal(sheared(shear, axes)) == is_taken


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_rotations_and_flips_are_orthonormal(seed):
    assert geometry.is_orthonormal(affine_of(random_axes(seed)))
    assert geometry.is_orthonormal(affine_of(random_axes(seed)).astype(np.float32))


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.floats(0, 0.3))
def test_nearest_orthonormal(seed, shear):
    affine = sheared(shear, random_axes(seed))
    mended = geometry.nearest_orthonormal(affine, SHAPE)
    assert geometry.is_orthonormal(mended)
    assert np.allclose(geometry.spacing(mended), geometry.spacing(affine), rtol=1e-12)
    centre = [(n - 1) / 2 for n in SHAPE]
    assert np.allclose(
        nib.affines.apply_affine(mended, centre),
        nib.affines.apply_affine(affine, centre),
        atol=1e-10,
    )
    assert np.sign(np.linalg.det(mended)) == np.sign(np.linalg.det(affine))
    assert (
        geometry.corner_displacement_mm(mended, geometry.nearest_orthonormal(mended, SHAPE), SHAPE)
        < 1e-10
    )


def test_nearest_to_a_shear_turns_both_axes_by_half():
    axes = geometry.nearest_orthonormal(sheared(2e-3), SHAPE)[:3, :3] / SPACING
    assert axes[1, 0] == pytest.approx(-axes[0, 1]) and axes[0, 1] == pytest.approx(1e-3, rel=1e-3)


def test_nearest_leaves_the_argument_alone():
    affine = sheared(0.1)
    before = affine.copy()
    geometry.nearest_orthonormal(affine, SHAPE)
    assert (affine == before).all()


# ---- grids that are the same, stored along other axes

SPACED = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
TURNED = np.eye(4)
TURNED[:3, :3] = transform.Rotation.from_euler("xyz", [20, -15, 35], degrees=True).as_matrix()
ORDERS = [
    np.column_stack([axes, flips])
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("affine", [SPACED, TURNED @ SPACED], ids=["straight", "oblique"])
@pytest.mark.parametrize("stored", ORDERS, ids=str)
def test_axis_order_brings_every_order_back(affine, stored):
    data = np.arange(504).reshape(SHAPE)
    moved = nib.Nifti1Image(data.astype(np.int16), affine).as_reoriented(stored)
    order = geometry.axis_order(moved.affine, moved.shape, affine, SHAPE)
    if (stored == [[0, 1], [1, 1], [2, 1]]).all():
        assert order is None
        return
    assert (geometry.reordered(np.asarray(moved.dataobj), order) == data).all()
    back, shape = geometry.reordered_grid(moved.affine, moved.shape, order)
    assert shape == SHAPE and np.allclose(back, affine)
    assert geometry.is_turned(moved.affine, affine)


@pytest.mark.parametrize(("off_vox", "is_same"), [(0.009, True), (0.011, False)])
@pytest.mark.parametrize("axis", range(3))
def test_the_same_grid_is_so_within_a_hundredth_of_a_voxel(off_vox, is_same, axis):
    flipped = SPACED @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], SHAPE)
    flipped[:3, 3] += SPACED[:3, axis] * off_vox
    order = geometry.axis_order(flipped, SHAPE, SPACED, SHAPE)
    assert (order is not None) == is_same


def test_other_shapes_and_other_grids_have_no_order():
    flipped = SPACED @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], SHAPE)
    assert geometry.axis_order(flipped, SHAPE, SPACED, SHAPE) is not None
    assert geometry.axis_order(flipped, (7, 8, 10), SPACED, SHAPE) is None
    assert geometry.axis_order(flipped, (8, 8, 9), SPACED, SHAPE) is None
    about_the_origin = np.diag([-1.0, 1, 1, 1]) @ SPACED
    assert geometry.axis_order(about_the_origin, SHAPE, SPACED, SHAPE) is None


@given(st.integers(0, 2**31))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_axis_order_of_any_two_grids_is_an_order_or_none(seed):
    turns = transform.Rotation.random(2, random_state=seed).as_matrix()
    affine, onto = map(nib.affines.from_matvec, turns)
    order = geometry.axis_order(affine, (5, 5, 5), onto, (5, 5, 5))
    assert order is None or sorted(order[:, 0]) == [0, 1, 2]


def test_displacement_in_voxels_is_along_one_axis():
    moved = SPACED.copy()
    moved[:3, 3] += 0.75, 0.8, -2
    assert geometry.displacement_vox(moved, SPACED, SHAPE) == pytest.approx(0.5)
    larger = SPACED.copy()
    larger[2, 2] *= 1.1
    assert geometry.displacement_vox(larger, SPACED, SHAPE) == pytest.approx(0.8)

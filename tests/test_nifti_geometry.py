"""What headers say of geometry and scaling, as nibabel and ITK take it, or with a warning."""

import itertools
import tracemalloc
import warnings

import nibabel as nib
import nifti_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import AFFINE, SHAPE, field, itk_affine, labels_of, put, raw_image
from scipy.spatial import transform

from utils import errors
from utils.arrays import geometry
from utils.storage import nifti

path = nifti_files.target_path  # fixture
KINDS = (nib.Nifti1Header, nib.Nifti2Header)
OTHER = np.diag([2.0, 3.0, 4.0, 1.0])


def written(path, *edits, data=None, **options):
    """Header of a small file with an edited header."""

    def edit(header):
        for change in edits:
            change(header)

    return nifti.read_header(
        put(path, raw_image(labels_of() if data is None else data, edit, **options))
    )


def qform(affine, code=1):
    return lambda header: header.set_qform(affine, code)


# ---- codes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", list(itertools.product((-1, 0, 3, 5, 6, 300), repeat=2)))
def test_codes_count_as_with_nibabel(path, kind, codes):
    named = dict(zip(("sform_code", "qform_code"), codes))
    header = written(path, qform(OTHER), field(**named), kind=kind)
    assert (header.affine == nib.load(path).affine).all()
    valid = [0 < code <= 5 for code in codes]
    assert header.has_orientation == any(valid)
    told = " ".join(header.complaints())
    for name, code in named.items():
        assert (f"{name} {code} is none of NIfTI's; it counts as 0" in told) == (
            code not in range(6)
        )


# ---- sform and qform


def moved(by, axis=0):
    affine = AFFINE.copy()
    affine[axis, 3] += by
    return affine


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (AFFINE, None),
        (moved(0.09), None),
        (moved(0.11), "by 0.11 mm in a corner"),
        (moved(-40, 2), "by 40 mm in a corner"),
        (np.diag([-1, 1, 1, 1]) @ AFFINE, "qform RAS [1.5 0 0 -10; 0 2 0 -20; 0 0 5 30]"),
        (AFFINE @ np.diag([1, 1, 1.01, 1]), "by 0.4 mm in a corner"),
    ],
    ids=["same", "near", "moved", "far", "mirrored", "spacing"],
)
@pytest.mark.parametrize("units", [0, 2, 3])
def test_forms_that_contradict_each_other_are_told_both(path, other, told, units):
    scale = np.diag([1e3] * 3 + [1]) if units == 3 else np.eye(4)
    header = written(path, qform(scale @ other), field(xyzt_units=units), affine=scale @ AFFINE)
    # raw_image sets both forms: the sform is the affine, the qform the other
    assert np.allclose(header.affine, AFFINE)
    found = [text for text in header.complaints() if "contradict each other" in text]
    assert len(found) == (told is not None)
    if told:
        assert told in found[0] and found[0].endswith("; the sform is taken")
        assert f"{path}: sform LAS [-1.5 0 0 10; 0 2 0 -20; 0 0 5 30] and qform " in found[0]


def test_one_voxel_that_is_mirrored(path):
    header = written(
        path,
        qform(np.diag([-1, 1, 1, 1]) @ moved(-10)),
        data=labels_of((1, 1, 1)),
        affine=moved(-10),
    )
    assert any("sform LAS" in text and "qform RAS" in text for text in header.complaints())


@pytest.mark.parametrize("part", [2, np.nan, np.inf])
def test_qform_that_is_no_rotation_beside_an_sform(path, part):
    header = written(path, field(quatern_b=part))
    assert (header.affine == nib.load(path).affine).all()
    (text,) = header.complaints()
    assert "qform" in text and text.endswith("the sform is taken")


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (7, 1), (1, 7)])
def test_one_form_alone_contradicts_nothing(path, codes):
    header = written(path, qform(moved(50)), field(sform_code=codes[0], qform_code=codes[1]))
    assert not any("contradict each other" in text for text in header.complaints())


def tilted(angle, axes):
    """An affine nearly half a turn away from RAS, as LPS and LAS are: its quaternion is coarse."""
    affine = np.eye(4)
    tilt = transform.Rotation.from_rotvec([angle, angle / 3, angle * 1e-3]).as_matrix()
    affine[:3, :3] = tilt @ np.diag(axes) * [60, 50, 60]  # few voxels, large extent
    affine[:3, 3] = 170.5, -160.25, 40
    return affine


@pytest.mark.parametrize("axes", [(-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("angle", [1e-4, 1e-3, 4e-3, 0.02, 0.3])
def test_rounding_of_a_quaternion_contradicts_nothing(path, angle, axes):
    for step in range(8):  # whether its parts are rounded up or down is chance
        header = written(path, affine=tilted(angle * (1 + step / 100), axes))
        assert header.complaints() == []


def test_rounding_of_a_quaternion_whose_sign_is_the_other_one(path):
    def negated(header):
        for letter in "bcd":
            header[f"quatern_{letter}"] *= -1

    header = written(path, negated, affine=tilted(0.02, (-1, -1, 1)))
    assert header.complaints() == []


@pytest.mark.parametrize(
    ("turn", "shift", "told"), [(0, 0.2, "by 0.2 mm"), (5e-3, 0, "contradict"), (0.5, 0, "contra")]
)
def test_more_than_rounding_of_a_quaternion_is_told(path, turn, shift, told):
    affine, other = (tilted(angle, (-1, -1, 1)) for angle in (0.02, 0.02 + turn))
    other[0, 3] += shift
    header = written(path, qform(other), affine=affine)
    (text,) = header.complaints()
    assert told in text


# ---- quaternions


def quaternion(excess, direction=(0.3, 0.5, 0.8)):
    """Parts b, c, d whose squares add up to a little more than 1."""
    direction = np.array(direction) / np.linalg.norm(direction)
    return dict(zip(("quatern_b", "quatern_c", "quatern_d"), direction * np.sqrt(1 + excess)))


@pytest.mark.parametrize("excess", [0, 2e-7, 1e-6, 9.5e-6])
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, -1, 1), (0.3, 0.5, 0.8)], ids=str)
def test_squares_a_little_above_one_are_taken_as_itk_takes_them(path, excess, direction):
    header = written(path, field(sform_code=0, **quaternion(excess, direction)))
    assert np.allclose(header.affine, itk_affine(path), atol=1e-5)
    assert header.complaints() == []
    again = written(path, field(sform_code=0, **quaternion(excess, direction)), kind=KINDS[1])
    assert np.allclose(again.affine, header.affine, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_squares_far_above_one_are_no_rotation(path, kind):
    with pytest.raises(errors.DamagedFileError, match="makes no sense"):
        written(path, field(sform_code=0, **quaternion(1.1e-5)), kind=kind)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    parts=st.tuples(*[st.floats(-1, 1, width=32)] * 3),
    qfac=st.sampled_from([-1, 0, 1]),
    kind=st.sampled_from(KINDS),
    code=st.integers(-2, 7),
)
def test_any_quaternion_is_nibabels_or_itks(tmp_path_factory, parts, qfac, kind, code):
    path = tmp_path_factory.getbasetemp() / "quaternion.nii.gz"
    values = dict(zip(("quatern_b", "quatern_c", "quatern_d"), parts))
    squares = sum(np.float64(part) ** 2 for part in parts)
    edit = field(sform_code=0, qform_code=code, pixdim=(0, qfac), **values)
    try:
        header = written(path, edit, kind=kind)
    except errors.DamagedFileError:
        assert squares > 1 + 0.9e-5 and 0 < code < 6
        return
    if kind is KINDS[0] and 0 < code < 6 and not 1 - 1e-6 < squares < 1:
        assert np.allclose(header.affine, itk_affine(path), atol=1e-4)
    if squares <= 1 or not 0 < code < 6:
        assert (header.affine == nib.load(path).affine).all()


# ---- units


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", [{}, {"sform_code": 0}, {"sform_code": 0, "qform_code": 0}])
@pytest.mark.parametrize(("units", "name", "factor"), [(1, "metres", 1e3), (3, "microns", 1e-3)])
@pytest.mark.parametrize("time", [0, 8, 16, 24])
def test_metres_and_microns_become_mm(path, units, name, factor, time, codes, kind):
    affine = AFFINE.copy()
    affine[:3] /= factor
    edit = field(xyzt_units=units + time, **codes)
    header = written(path, edit, affine=affine, kind=kind)
    expected = nib.load(path).affine.copy()
    expected[:3] *= factor
    assert np.allclose(header.affine, expected, rtol=1e-6)
    assert np.allclose(header.zooms, [1.5, 2, 5], rtol=1e-6) and header.zooms.dtype == np.float32
    assert np.allclose(header.spacing, [1.5, 2, 5], rtol=1e-6)
    text = header.complaints()[0]
    assert text == f"{path}: lengths in {name}, a spacing of 1.5 x 2 x 5 mm; converted"
    if kind is KINDS[0] and header.has_orientation:
        assert np.allclose(header.affine, itk_affine(path), atol=1e-4)


@pytest.mark.parametrize("units", [0, 2, 4, 5, 6, 7, 2 + 8, 16])
def test_mm_and_unknown_units_are_mm_without_a_word(path, units):
    header = written(path, field(xyzt_units=units))
    assert (header.affine == AFFINE).all() and header.complaints() == []


@pytest.mark.parametrize(
    ("units", "spacing", "taken"),
    [
        (1, (1, 1, 1), (1, 1, 1)),
        (1, (0.049, 0.001, 0.001), (49, 1, 1)),
        (1, (0.051, 0.001, 0.001), (0.051, 0.001, 0.001)),
        (3, (11, 1000, 1000), (0.011, 1, 1)),
        (3, (9, 1000, 1000), (9, 1000, 1000)),
        (3, (1.5, 2, 5), (1.5, 2, 5)),
    ],
)
def test_units_that_make_no_sense_are_taken_as_mm(path, units, spacing, taken):
    header = written(path, field(xyzt_units=units), affine=np.diag([*spacing, 1]))
    assert np.allclose(header.spacing, taken) and np.allclose(header.zooms, taken)
    (text,) = header.complaints()
    assert ("the numbers are taken as mm" in text) == (spacing == taken)
    assert "converted" in text or "expected 0.01 to 50" in text


# ---- where the voxels begin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [1, 100, 343, 347, 348, 351, -1, -352])
def test_offsets_inside_the_header_are_damage(path, kind, offset):
    with pytest.raises(errors.DamagedFileError, match=f"cannot begin at byte {offset}, expected"):
        written(path, field(vox_offset=offset), kind=kind)
    with pytest.raises(nib.spatialimages.HeaderDataError):
        nib.load(path)


def test_an_offset_decides_no_buffer(path):
    """192 MB before the voxels, of zeros that take next to nothing on the disk."""
    n_bytes = 192 << 20
    raw = raw_image(labels_of(), field(vox_offset=n_bytes))
    put(path, raw[:352] + bytes(n_bytes - 352) + raw[352:])
    del raw
    tracemalloc.start()
    try:
        assert (nifti.read_mask(path).data == labels_of()).all()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.one_of(st.integers(0, 3000), st.integers(-10, 2**40), st.floats(width=32)))
def test_any_offset_is_read_as_nibabel_reads_it_or_refused(tmp_path_factory, offset):
    path = tmp_path_factory.getbasetemp() / "offset.nii.gz"
    raw = raw_image(labels_of(), field(vox_offset=np.float32(offset)))
    put(path, raw[:352] + np.random.default_rng(0).bytes(2000).replace(b"\xff", b"\0"))
    try:
        data = nifti.read_mask(path).data
    except errors.DatasetError as error:
        assert str(path) in str(error)
        return
    if offset:
        assert (data == np.asarray(nib.load(path).dataobj)).all()


# ---- everything at once


@settings(max_examples=150, deadline=None, derandomize=True)
@given(dims=st.lists(st.integers(-1, 12), min_size=8, max_size=8), n_dims=st.integers(-1, 8))
def test_any_dimensions_are_nibabels_or_refused(tmp_path_factory, dims, n_dims):
    path = tmp_path_factory.getbasetemp() / "dims.nii.gz"
    dims = [n_dims, *dims[1:4], *(abs(n) % 2 for n in dims[4:])]  # frames: none or one
    raw = raw_image(labels_of((12, 12, 12)), field(dim=dims))
    try:
        mask = nifti.read_mask(put(path, raw))
    except errors.DatasetError as error:
        assert str(path) in str(error)
        assert not 3 <= n_dims <= 7 or min(dims[1 : n_dims + 1]) < 1
        return
    expected = np.asarray(nib.load(path).dataobj)
    assert mask.data.shape == expected.shape[:3]
    assert (mask.data == expected.reshape(mask.data.shape, order="F")).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    codes=st.tuples(st.integers(-1, 6), st.integers(-1, 6)),
    units=st.integers(0, 31),
    pixdim=st.tuples(*[st.sampled_from([-1.0, 0.0, 1e-3, 0.7, 2.0, 900.0])] * 4),
    rows=st.tuples(*[st.floats(-50, 50, width=32)] * 12),
    parts=st.tuples(*[st.floats(-0.5625, 0.5625, width=32)] * 3),
    kind=st.sampled_from(KINDS),
)
def test_any_geometry_is_nibabels_in_mm(tmp_path_factory, codes, units, pixdim, rows, parts, kind):
    path = tmp_path_factory.getbasetemp() / "geometry.nii.gz"
    edit = field(
        **dict(zip(("sform_code", "qform_code"), codes)),
        **dict(zip(("srow_x", "srow_y", "srow_z"), np.reshape(rows, (3, 4)))),
        **dict(zip(("quatern_b", "quatern_c", "quatern_d"), parts)),
        xyzt_units=units,
        pixdim=(slice(0, 4), pixdim),
    )
    try:
        header = written(path, edit, kind=kind)
    except errors.DamagedFileError as error:
        assert error.code == "affine"
        return
    expected = nib.load(path).affine
    in_mm = geometry.spacing(expected) * {1: 1e3, 3: 1e-3}.get(units % 8, 1)
    if units % 8 in (1, 3) and 0.01 <= in_mm.min() and in_mm.max() <= 50:
        expected = np.diag([*[{1: 1e3, 3: 1e-3}[units % 8]] * 3, 1]) @ expected
    np.testing.assert_allclose(header.affine, expected, rtol=1e-12)
    assert all("\n" not in text for text in header.complaints())
    assert any("lengths in" in text for text in header.complaints()) == (units % 8 in (1, 3))


# ---- labels that were stored with a slope


def saved_by_nibabel(path, labels, dtype):
    """Save labels that are floats in memory; nibabel chooses slope and intercept."""
    image = nib.Nifti1Image(labels.astype(np.float64), AFFINE)
    image.set_data_dtype(dtype)
    nib.save(image, path)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32"])
@pytest.mark.parametrize("largest", [1, 2, 3, 13, 14, 15, 16, 77, 100])
def test_labels_that_nibabel_stored_with_a_slope(path, largest, dtype):
    data = np.arange(504).reshape(SHAPE) % (largest + 1)
    saved_by_nibabel(path, data, dtype)
    exact = np.asarray(nib.load(path).dataobj)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mask = nifti.read_mask(path)
    assert (mask.data == data).all()
    off = np.abs(exact - data).max()
    slope = mask.header.slope
    told = [str(entry.message) for entry in caught]
    assert told == (
        [
            f"{path}: labels stored with a slope of {slope:g}; rounded to whole numbers, by "
            f"{off:.2g} at most"
        ]
        if off > 2e-5
        else []
    )


def test_the_examples_are_rounded_by_more_than_noise(path):
    for largest in (13, 14, 16):
        saved_by_nibabel(path, np.arange(504).reshape(SHAPE) % (largest + 1), "uint8")
        assert np.abs(np.asarray(nib.load(path).dataobj) % 1 - 0.5).min() < 0.49


@pytest.mark.parametrize(
    ("slope", "stored", "is_read"),
    [
        (0.4, [0, 5], True),
        (0.4, [0, 2], True),  # 0.8: half a slope off
        (0.3, [0, 5], False),  # 1.5
        (0.499, [0, 1], False),
        (0.5, [0, 2], True),
        (0.5, [0, 1], False),
        (0.6, [0, 2], False),  # 1.2 is within half a slope, but the slope is large
        (-0.4, [0, -2], True),
        (1 / 255, [0, 128, 255], False),  # a map of probabilities
    ],
)
def test_half_a_slope_below_a_slope_of_a_half(path, slope, stored, is_read):
    data = np.resize(np.int16(stored), SHAPE)
    put(path, raw_image(data, field(scl_slope=slope, scl_inter=0)))
    if is_read:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (nifti.read_mask(path).data == np.rint(data * slope)).all()
    else:
        with pytest.raises(errors.DatasetError, match="expected whole numbers"):
            nifti.read_mask(path)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    labels=st.lists(st.integers(0, 255), min_size=2, max_size=20, unique=True),
    dtype=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "float32"]),
)
@pytest.mark.filterwarnings("ignore::utils.errors.DataWarning")
def test_any_labels_that_nibabel_saved_come_back_or_are_refused(tmp_path_factory, labels, dtype):
    path = tmp_path_factory.getbasetemp() / "labels.nii.gz"
    data = np.resize(np.array(labels), SHAPE)
    saved_by_nibabel(path, data, dtype)
    try:
        found = nifti.read_mask(path).data
    except errors.DatasetError:  # a slope near 1 that is none
        assert 0.5 <= nifti.read_header(path).slope < 1
        return
    assert (found == data).all()

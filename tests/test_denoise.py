"""Denoising: drawn slices, the literal formula as the oracle, and laws that always hold."""

from pathlib import Path

import nibabel as nib
import numpy as np
import oracles
import pytest

from utils import errors
from utils.arrays import denoise

REAL_ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "real_archive"
REAL_MASKS = (
    "labelsTr/amos_0004",
    "labelsTr/amos_0005",
    "labelsTr/amos_0507",
    "labelsVa/amos_0008",
)
ONE_MM = np.ones(3, dtype=np.float32)


def draw(*rows):
    """A mask of one slice from rows of digits, the first array axis running down."""
    return np.array([[int(digit) for digit in row] for row in rows], dtype=np.uint8)[:, :, None]


def assert_equals_literal(mask, zooms, n_labels=None, **parameters):
    expected = oracles.open_close_small_regions_literal(
        mask, zooms, **parameters, n_labels=n_labels or int(mask.max()) + 1
    )
    found = denoise.open_close_small_regions(mask, zooms, **parameters)
    np.testing.assert_array_equal(found, expected, err_msg=f"{zooms} {parameters}")
    return int((found != mask).sum())


def random_parameters(rng):
    zooms = rng.choice([0.4, 0.78125, 1.0, 1.5, 3.3], 3).astype(np.float32)
    area = float(zooms[0]) * float(zooms[1])
    thresholds = [0.0, area * rng.integers(1, 12), area * rng.uniform(1, 60), 1e9]
    return zooms, {
        "kernel_size": tuple(int(edge) for edge in rng.choice([1, 3, 5, 7, 9, 33], 2)),
        "filter_halfedge": int(rng.choice([0, 1, 2, 3, 5, 40])),
        "region_area_thresh": float(rng.choice(thresholds, p=[0.05, 0.45, 0.4, 0.1])),
    }


def random_cases(seed, count):
    """(rng, mask, zooms, parameters, n_labels) of a number of small masks."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        shape = (int(rng.integers(1, 19)), int(rng.integers(1, 17)), int(rng.integers(1, 3)))
        n_labels = int(rng.choice([1, 2, 3, 4, 5, 17], p=[0.02, 0.28, 0.3, 0.2, 0.15, 0.05]))
        yield rng, oracles.random_mask(rng, shape, n_labels), *random_parameters(rng), n_labels


@pytest.mark.parametrize(
    "mask, expected",
    [
        pytest.param(
            draw("1111111", "1111111", "1112111", "1111211", "1111111", "1111111", "1111111"),
            draw(*["1111111"] * 7),
            id="island of two pixels that touch by a corner",
        ),
        pytest.param(
            draw("1111111", "1111111", "1110011", "1111011", "1111111", "1111111", "1111111"),
            draw(*["1111111"] * 7),
            id="hole of background",
        ),
        pytest.param(
            draw("1111222", "1111222", "1113222", "1113222", "1111222", "1111222", "1111222"),
            draw(*["1111222"] * 7),
            id="island between two labels: the nearest majority",
        ),
        pytest.param(
            draw(
                "555522222",
                "555522222",
                "555522222",
                "555522222",
                "555572222",
                "555552222",
                "555552222",
                "555552222",
                "555552222",
            ),
            draw(
                "555522222",
                "555522222",
                "555522222",
                "555522222",
                "555522222",
                "555552222",
                "555552222",
                "555552222",
                "555552222",
            ),
            id="tie goes to the lowest label",
        ),
        pytest.param(
            draw("1111111", "1111111", "1122211", "1123211", "1122211", "1111111", "1111111"),
            draw("1111111", "1111111", "1122211", "1122211", "1122211", "1111111", "1111111"),
            id="dot in a ring that is not small",
        ),
    ],
)
def test_drawn_slices(mask, expected):
    found = denoise.open_close_small_regions(mask, ONE_MM, (3, 3), 3, 8.0)
    np.testing.assert_array_equal(found, expected)


def test_voxel_claimed_by_two_labels_goes_to_the_better_supported_claimant():
    mask = draw(*["111111111"] * 3, "111222111", "111232111", "111222111", *["111111111"] * 3)
    # The ring and its dot are a hole of 1, the dot is a hole of 2 as well, and nobody else's.
    found = denoise.open_close_small_regions(mask, ONE_MM, (5, 5), 1, 12.0)
    assert (found == 1).all()


def test_voxel_without_claim_or_support_becomes_background():
    found = denoise.open_close_small_regions(draw("9"), ONE_MM, (3, 3), 3, 10.0)
    assert found.tolist() == [[[0]]]


def test_scipy_border_rule_keeps_a_hole_at_the_border_open():
    at_border = draw("2213122", "2211122", "2222222", "2222222", "2222222")
    inside = draw("2211122", "2213122", "2211122", "2222222", "2222222")
    parameters = {"kernel_size": (3, 3), "filter_halfedge": 2, "region_area_thresh": 2.0}
    # Inside, closing of 1 fills the dot. At the border it does not: the window of 5 x 5 decides,
    # which holds five pixels of 1 and nine of 2.
    assert denoise.open_close_small_regions(at_border, ONE_MM, **parameters)[0, 3, 0] == 2
    assert denoise.open_close_small_regions(inside, ONE_MM, **parameters)[1, 3, 0] == 1


def test_opening_keeps_the_part_of_an_island_that_holds_the_kernel():
    mask = draw("00000000", "01110000", "01111100", "01110000", "00000000", "00000000")
    expected = draw("00000000", "01110000", "01110000", "01110000", "00000000", "00000000")
    found = denoise.open_close_small_regions(mask, ONE_MM, (3, 3), 1, 12.0)
    np.testing.assert_array_equal(found, expected)


def test_kernel_runs_along_the_first_axis_first():
    mask = draw("0000000", "0000000", "0011100", "0000000", "0000000")
    assert (denoise.open_close_small_regions(mask, ONE_MM, (3, 1), 1, 10.0) == 0).all()
    assert (denoise.open_close_small_regions(mask, ONE_MM, (1, 3), 1, 10.0) == mask).all()


@pytest.mark.parametrize("threshold, changes", [("below", False), ("at", False), ("above", True)])
def test_area_is_strictly_below_the_threshold_in_double_precision(threshold, changes):
    zooms = np.array([0.7, 1.1, 5.0], dtype=np.float32)
    area = 4 * float(zooms[0]) * float(zooms[1])
    mask = draw(*["11111111"] * 3, "11122111", "11122111", *["11111111"] * 3)
    thresholds = {"below": np.nextafter(area, 0), "at": area, "above": np.nextafter(area, 99)}
    indices, _ = denoise.find_changes(mask, zooms, region_area_thresh=thresholds[threshold])
    assert bool(indices.size) == changes


def test_random_masks_equal_the_literal_formula():
    changed = [
        assert_equals_literal(mask, zooms, **parameters)
        for _, mask, zooms, parameters, _ in random_cases(1, 1500)
    ]
    assert np.count_nonzero(changed) > 700  # most cases ask something of the code


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("slab", [1, 2, 64])
def test_random_masks_along_another_axis_equal_the_literal_formula(monkeypatch, axis, slab):
    monkeypatch.setattr(denoise, "SLAB_SLICES", slab)
    changed = 0
    for _, mask, zooms, parameters, _ in random_cases(20 + axis, 250):
        zooms = np.array([0.4, 0.78125, 3.3], np.float32)[np.argsort(zooms, kind="stable")]
        turned = np.moveaxis(mask, 2, axis)  # few slices, large ones, along this axis
        changed += assert_equals_literal(turned, zooms, axis=axis, **parameters) > 0
    assert changed > 100


@pytest.mark.parametrize("axis", [0, 1])
def test_a_permuted_mask_along_the_matching_axis_gives_the_permuted_result(axis):
    for _, mask, zooms, parameters, _ in random_cases(30, 100):
        straight = denoise.open_close_small_regions(mask, zooms, **parameters)
        turned_zooms = np.insert(zooms[:2], axis, zooms[2])
        turned = np.moveaxis(mask, 2, axis)
        found = denoise.open_close_small_regions(turned, turned_zooms, axis=axis, **parameters)
        np.testing.assert_array_equal(found, np.moveaxis(straight, 2, axis))
        indices, values = denoise.find_changes(turned, turned_zooms, axis=axis, **parameters)
        assert (np.diff(indices) > 0).all()
        np.testing.assert_array_equal(found.ravel(order="F")[indices], values)


def test_kernel_of_another_axis_runs_along_the_first_axis_of_its_slices_first():
    mask = np.moveaxis(draw("0000000", "0000000", "0011100", "0000000", "0000000"), 2, 0)
    parameters = {"filter_halfedge": 1, "region_area_thresh": 10.0, "axis": 0}
    assert (denoise.open_close_small_regions(mask, ONE_MM, (3, 1), **parameters) == 0).all()
    assert (denoise.open_close_small_regions(mask, ONE_MM, (1, 3), **parameters) == mask).all()


def test_areas_are_those_of_the_axes_of_a_slice():
    mask = np.ones((7, 7, 7), np.uint8)
    mask[3, 3, 3] = 0
    zooms = np.array([9.0, 1.0, 1.0], np.float32)  # a pixel has 1 mm^2 along the first axis alone
    changed = [denoise.find_changes(mask, zooms, (3, 3), 1, 2.0, axis)[0].size for axis in range(3)]
    assert changed == [1, 0, 0]


@pytest.mark.parametrize("limit", [0, 200])
def test_random_masks_equal_the_literal_formula_with_support_by_sums(monkeypatch, limit):
    monkeypatch.setattr(denoise, "GATHER_LIMIT", limit)
    for _, mask, zooms, parameters, _ in random_cases(2 + limit, 400):
        assert_equals_literal(mask, zooms, **parameters)


def test_random_masks_with_all_256_labels_equal_the_literal_formula():
    for number in range(12):
        rng = np.random.default_rng([3, number])
        mask = oracles.random_mask(rng, (13, 11, 1), 256)
        mask[tuple(rng.integers(0, (13, 11, 1)))] = 255
        zooms, parameters = random_parameters(rng)
        assert_equals_literal(mask, zooms, **parameters)


def test_larger_random_masks_equal_the_literal_formula():
    for number in range(25):
        rng = np.random.default_rng([4, number])
        mask = oracles.random_mask(rng, (47, 61, 2), 5)
        zooms, parameters = random_parameters(rng)
        assert_equals_literal(mask, zooms, **parameters)


def test_labels_that_are_absent_do_not_matter():
    for _, mask, zooms, parameters, n_labels in random_cases(5, 60):
        assert_equals_literal(mask, zooms, n_labels=n_labels + 4, **parameters)


@pytest.mark.slow("real scans")
@pytest.mark.parametrize("name", REAL_MASKS)
@pytest.mark.parametrize(
    "every, kernel_size, halfedge, threshold",
    [(1, (5, 5), 3, 10.0), (3, (5, 5), 3, 100.0), (4, (3, 7), 1, 400.0)],
)
def test_real_masks_equal_the_literal_formula(name, every, kernel_size, halfedge, threshold):
    path = REAL_ARCHIVE / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    image = nib.load(path)
    mask = np.asarray(image.dataobj).astype(np.uint8)[:, :, ::every]
    assert_equals_literal(
        mask,
        image.header.get_zooms(),
        n_labels=17,
        kernel_size=kernel_size,
        filter_halfedge=halfedge,
        region_area_thresh=threshold,
    )


def test_threshold_zero_changes_nothing():
    for _, mask, zooms, parameters, _ in random_cases(6, 40):
        parameters["region_area_thresh"] = 0.0
        assert denoise.find_changes(mask, zooms, **parameters)[0].size == 0


def test_kernel_of_one_pixel_changes_nothing():
    for _, mask, zooms, parameters, _ in random_cases(7, 40):
        parameters["kernel_size"] = (1, 1)
        assert denoise.find_changes(mask, zooms, **parameters)[0].size == 0


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_in_plane_flip_commutes(axis):
    for _, mask, zooms, parameters, _ in random_cases(8, 60):
        flipped = denoise.open_close_small_regions(np.flip(mask, axis), zooms, **parameters)
        straight = denoise.open_close_small_regions(mask, zooms, **parameters)
        np.testing.assert_array_equal(np.flip(flipped, axis), straight)


def test_exchange_of_the_in_plane_axes_commutes():
    for _, mask, zooms, parameters, _ in random_cases(9, 60):
        turned = dict(parameters, kernel_size=parameters["kernel_size"][::-1])
        zooms[1] = zooms[0]  # areas are products from left to right, equal only then
        found = denoise.open_close_small_regions(mask.transpose(1, 0, 2), zooms, **turned)
        straight = denoise.open_close_small_regions(mask, zooms, **parameters)
        np.testing.assert_array_equal(found.transpose(1, 0, 2), straight)


def test_a_slice_alone_equals_the_slice_in_its_volume():
    for number in range(40):
        rng = np.random.default_rng([10, number])
        mask = oracles.random_mask(rng, (14, 12, 5), 4)
        zooms, parameters = random_parameters(rng)
        together = denoise.open_close_small_regions(mask, zooms, **parameters)
        for z in range(mask.shape[2]):
            alone = denoise.open_close_small_regions(mask[:, :, z : z + 1], zooms, **parameters)
            np.testing.assert_array_equal(alone[:, :, 0], together[:, :, z])


def test_only_pixels_of_small_regions_change_and_only_to_labels_of_their_slice():
    for _, mask, zooms, parameters, n_labels in random_cases(11, 200):
        found = denoise.open_close_small_regions(mask, zooms, **parameters)
        for z in range(mask.shape[2]):
            before, after = mask[:, :, z], found[:, :, z]
            small = np.zeros(before.shape, dtype=bool)
            for label in range(n_labels):
                small |= oracles.small_components_literal(
                    before == label, zooms, parameters["region_area_thresh"]
                )
            assert not ((before != after) & ~small).any()
            assert set(np.unique(after)) <= set(np.unique(before)) | {0}


def test_memory_order_does_not_matter_and_the_input_stays():
    for _, mask, zooms, parameters, _ in random_cases(12, 60):
        before = mask.copy()
        expected = denoise.open_close_small_regions(mask, zooms, **parameters)
        assert expected.dtype == np.uint8 and expected.flags.f_contiguous
        wide = np.repeat(mask, 2, axis=0)[::2]
        turned = np.ascontiguousarray(mask.transpose(1, 2, 0)).transpose(2, 0, 1)
        for other in (np.ascontiguousarray(mask), wide, turned):
            other.flags.writeable = False
            found = denoise.open_close_small_regions(other, zooms, **parameters)
            np.testing.assert_array_equal(found, expected)
            assert found.flags.f_contiguous and found.flags.writeable
        np.testing.assert_array_equal(mask, before)


def test_changes_are_ascending_places_on_disk_with_new_labels():
    for _, mask, zooms, parameters, _ in random_cases(13, 100):
        indices, values = denoise.find_changes(mask, zooms, **parameters)
        denoised = denoise.open_close_small_regions(mask, zooms, **parameters)
        assert indices.dtype == np.int64 and values.dtype == np.uint8
        changed = np.flatnonzero(mask.ravel(order="F") != denoised.ravel(order="F"))
        np.testing.assert_array_equal(indices, changed)
        np.testing.assert_array_equal(values, denoised.ravel(order="F")[changed])


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0)])
def test_mask_without_voxels(shape):
    mask = np.zeros(shape, dtype=np.uint8)
    indices, values = denoise.find_changes(mask, ONE_MM)
    assert indices.size == values.size == 0
    assert denoise.open_close_small_regions(mask, ONE_MM).shape == shape


@pytest.mark.parametrize(
    "parameters, named",
    [
        ({"kernel_size": (4, 5)}, "(4, 5)"),
        ({"kernel_size": (5, 0)}, "(5, 0)"),
        ({"kernel_size": (-3, 5)}, "(-3, 5)"),
        ({"kernel_size": (2.5, 5)}, "(2.5, 5)"),
        ({"kernel_size": (5,)}, "(5,)"),
        ({"filter_halfedge": -1}, "-1"),
        ({"filter_halfedge": 1.5}, "1.5"),
        ({"region_area_thresh": -0.5}, "-0.5"),
        ({"region_area_thresh": float("nan")}, "nan"),
        ({"zooms": np.array([1, 0, 1], dtype=np.float32)}, "0.0"),
        ({"zooms": np.array([np.nan, 1, 1], dtype=np.float32)}, "nan"),
    ],
)
def test_impossible_parameters_are_refused(parameters, named):
    with pytest.raises(errors.DatasetError) as caught:
        denoise.find_changes(draw("010"), **{"zooms": ONE_MM, **parameters})
    assert named in str(caught.value)

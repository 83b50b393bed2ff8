"""Measures of a mask, what denoising changed, and where a mask fits its volume."""

import numpy as np
import pytest

from utils import errors
from utils.arrays import regions
from utils.qc import alignment, changes, measures

ZOOMS = np.array([2, 3, 4], np.float32)
AFFINE = np.diag([-2.0, 3.0, 4.0, 1.0])  # from R to L
NAMES = {6: "liver", 1: "spleen"}


def _ball(shape, centre, radius_mm, zooms=ZOOMS):
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (
        sum(((axis - c) * zoom) ** 2 for axis, c, zoom in zip(grid, centre, zooms)) <= radius_mm**2
    )


def _mask(*balls, shape=(60, 50, 40)):
    mask = np.zeros(shape, np.uint8, order="F")
    for value, centre, radius_mm in balls:
        mask[_ball(shape, centre, radius_mm)] = value
    return mask


def _measure(mask):
    return measures.measure(mask, NAMES, AFFINE, ZOOMS)


def test_volume_and_centre():
    mask = _mask((6, (30, 20, 15), 30))
    liver = _measure(mask)["liver"]
    assert liver["volume_ml"] == pytest.approx((mask == 6).sum() * 24 / 1000)
    assert liver["centre"] == pytest.approx([-60, 60, 60])
    assert not liver["at_edge"] and liver["pieces"] == [] and liver["cuts"] == []


def test_an_organ_at_the_edge_is_told():
    mask = _mask((6, (30, 20, 15), 30))
    mask[30, 20, -1] = 6
    assert _measure(mask)["liver"]["at_edge"]


def test_a_label_without_a_name_is_measured_too():
    assert list(_measure(_mask((9, (30, 20, 15), 20)))) == ["label_09"]


def test_a_second_large_piece_and_its_gap():
    mask = _mask((6, (15, 20, 15), 28), (6, (42, 20, 15), 20))
    (piece,) = _measure(mask)["liver"]["pieces"]
    assert piece["gap_mm"] == pytest.approx((42 - 15) * 2 - 48, abs=4.1)
    assert 0.15 < piece["share"] < 0.35
    small = _mask((6, (15, 20, 15), 28), (6, (42, 20, 15), 6))
    assert _measure(small)["liver"]["pieces"] == []


@pytest.mark.parametrize(
    "axis, low, side",
    [(0, True, "right"), (0, False, "left"), (2, True, "lower"), (2, False, "upper")],
)
def test_half_an_organ_has_a_flat_face(axis, low, side):
    mask = _mask((6, (30, 20, 18), 40))
    middle = (30, 20, 18)[axis]
    gone = slice(None, middle) if low else slice(middle + 1, None)
    mask[(slice(None),) * axis + (gone,)] = 0
    assert _measure(mask)["liver"]["cuts"] == [side]


def test_fat_in_solid_organs():
    mask = _mask((6, (30, 20, 15), 30))
    volume = np.where(mask == 6, 50.0, -100.0)
    assert measures.fat_share(volume, mask, NAMES) == 0
    volume[:30] = -100
    assert 0.4 < measures.fat_share(volume, mask, NAMES) < 0.6
    assert measures.fat_share(volume, mask, {3: "stomach"}) is None


def test_islands_and_holes_are_counted_by_hand():
    before = np.zeros((9, 9, 2), np.uint8)
    before[1:6, 1:6, 0] = 6
    before[3, 3, 0] = 0  # a hole of the liver
    before[2, 2, 0] = 1  # an island of the spleen inside the liver
    before[7:9, 8, 0] = 1  # an island in the background
    after = before.copy()
    after[3, 3, 0] = after[2, 2, 0] = 6
    after[7:9, 8, 0] = 0
    found = changes.find(before, after, (1, 1, 1), 5.0)
    assert found.per_slice.tolist() == [4, 0] and found.slices(3) == [0]
    assert found.per_label[6] == {
        "lost": 0,
        "gained": 2,
        "islands_removed": 0,
        "holes_filled": 2,
        "small_before": 0,
        "small_after": 0,
    }
    assert found.per_label[1] == {
        "lost": 3,
        "gained": 0,
        "islands_removed": 2,
        "holes_filled": 0,
        "small_before": 2,
        "small_after": 0,
    }
    assert found.per_label[0] == {
        "lost": 1,
        "gained": 2,
        "islands_removed": 0,
        "holes_filled": 0,
        "small_before": 0,
        "small_after": 0,
    }


def test_a_shrunk_island_is_not_removed():
    before = np.zeros((9, 9, 1), np.uint8)
    before[2:5, 2:5, 0] = 1
    after = before.copy()
    after[2, 2, 0] = 0
    found = changes.find(before, after, (1, 1, 1), 1.0)
    assert found.per_label[1]["islands_removed"] == 0 and found.per_label[1]["lost"] == 1


def _gone_region_by_region(before, after):
    components, n_regions = regions.connect(before)
    found = np.zeros((2, 256), np.int64)
    for region in range(1, n_regions + 1):
        pixels = components == region
        if not (before[pixels] == after[pixels]).any():
            found[0, before[pixels][0]] += 1
            found[1, np.bincount(after[pixels]).argmax()] += 1
    found[:, 0] = 0
    return found


@pytest.mark.parametrize("seed", range(40))
def test_regions_that_are_gone_are_counted_as_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n_labels = int(rng.choice([2, 3, 5, 256]))
    before, after = rng.integers(0, n_labels, (2, 11, 13)).astype(np.uint8)
    kept = rng.random(before.shape) < rng.choice([0.1, 0.9])
    after[kept] = before[kept]
    found = changes.find(before[..., None], after[..., None], (1, 1, 1), 1.0).per_label
    expected = _gone_region_by_region(before, after)
    for value in range(256):
        counts = found.get(value, {"islands_removed": 0, "holes_filled": 0})
        assert (counts["islands_removed"], counts["holes_filled"]) == tuple(expected[:, value])


def test_noise_of_a_whole_slice_is_counted():
    """As many regions as pixels: region by region it took a minute."""
    before, after = np.random.default_rng(0).integers(0, 256, (2, 384, 384, 1)).astype(np.uint8)
    found = changes.find(before, after, (1, 1, 1), 1.0).per_label
    assert sum(counts["lost"] for counts in found.values()) == (before != after).sum()


def test_slices_with_most_changes_come_first():
    before = np.zeros((5, 5, 4), np.uint8)
    after = before.copy()
    after[0, 0, 1] = after[0, :3, 3] = after[1, :2, 2] = 1
    assert changes.find(before, after, (1, 1, 1), 1.0).slices(2) == [3, 2]


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(errors.DatasetError, match="differ"):
        changes.find(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), (1, 1, 1), 1)


@pytest.mark.parametrize("axis, n", [(0, 0), (0, 4), (1, -3), (2, 2)])
def test_a_moved_mask_is_found_again(axis, n):
    zooms = (3.0, 3.0, 5.0)
    shape = (60, 60, 30)
    mask = np.zeros(shape, np.uint8)
    mask[_ball(shape, (25, 30, 15), 40, zooms)] = 6
    volume = np.where(mask == 6, 60.0, -80.0) + np.random.default_rng(0).normal(0, 15, shape)
    moved = np.roll(mask, n, axis)
    fit = alignment.find_fit(volume.astype(np.float32), moved, zooms, (-160, 240))
    expected = np.zeros(3)
    expected[axis] = -n * zooms[axis]
    assert fit.shift_mm == pytest.approx(expected)
    assert fit.is_shifted == (n != 0)


def test_a_tiny_mask_says_nothing_about_its_place():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[10, 10, 10] = 1
    assert alignment.find_fit(np.zeros(mask.shape, np.float32), mask, (3, 3, 3), (0, 1)) is None


def test_intensities_under_each_label():
    mask = _mask((6, (15, 20, 15), 20), (1, (45, 20, 15), 20))
    volume = np.where(mask == 6, 60.0, 100.0).astype(np.float32)
    volume[mask == 1] = np.nan
    volume[15, 20, 15] = 80.0
    found = _measure(mask) | {"tiny": {"value": 9}}
    measures.add_intensities(found, volume, mask)
    inside = volume[mask == 6].astype(np.float64)
    assert found["liver"]["mean"] == pytest.approx(inside.mean())
    assert found["liver"]["sd"] == pytest.approx(inside.std())
    for name in ("spleen", "tiny"):
        assert (found[name]["mean"], found[name]["sd"]) == (None, None)

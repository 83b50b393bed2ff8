"""Measures of a mask, what denoising changed, and where a mask fits its volume."""

import itertools

import numpy as np
import pytest
from scipy import ndimage as ndi

from utils import errors
from utils.arrays import regions
from utils.qc import alignment, changes, measures, packed_masks

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


def test_voxels_to_look_at_lie_in_the_organ_the_piece_and_the_face():
    mask = _mask((6, (15, 20, 15), 28), (6, (42, 20, 15), 20))
    mask[42:] = 0  # a flat face of the smaller piece
    liver = _measure(mask)["liver"]
    assert mask[tuple(liver["at"])] == 6
    (piece,) = liver["pieces"]
    assert mask[tuple(piece["at"])] == 6 and piece["at"][0] > 31
    assert np.abs(np.subtract(piece["at"], (38, 20, 15))).max() <= 2


def test_the_voxel_of_an_organ_is_the_one_nearest_its_centre():
    mask = _mask((6, (30, 20, 15), 30))
    assert np.abs(np.subtract(_measure(mask)["liver"]["at"], (30, 20, 15))).max() <= 1
    mask[_ball(mask.shape, (30, 20, 15), 20)] = 0  # a shell: its centre is outside of it
    assert mask[tuple(_measure(mask)["liver"]["at"])] == 6


@pytest.mark.parametrize("axis, low", [(0, True), (0, False), (2, True), (2, False)])
def test_the_voxel_of_a_cut_lies_at_its_face(axis, low):
    mask = _mask((6, (30, 20, 18), 40))
    middle = (30, 20, 18)[axis]
    gone = slice(None, middle) if low else slice(middle + 1, None)
    mask[(slice(None),) * axis + (gone,)] = 0
    (place,) = _measure(mask)["liver"]["cuts_at"]
    assert mask[tuple(place)] == 6 and abs(place[axis] - middle) <= 1
    others = [n for n in range(3) if n != axis]
    assert np.abs(np.subtract(place, (30, 20, 18)))[others].max() <= 2


def test_an_organ_between_the_voxels_looked_at_has_a_voxel_too():
    fine = np.array([0.5, 0.5, 0.5], np.float32)
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[7, 8, 9] = 6
    liver = measures.measure(mask, NAMES, np.diag([0.5, 0.5, 0.5, 1]), fine)["liver"]
    assert liver["at"] == [7, 8, 9] and "centre" not in liver


def _changes(before, after, threshold, axis=2):
    zooms = np.ones(3, np.float32)
    small = (regions.find_small_regions(mask, zooms, threshold).label for mask in (before, after))
    return changes.find(packed_masks.PackedMask(before, axis), after, tuple(small))


def test_islands_and_holes_are_counted_by_hand():
    before = np.zeros((9, 9, 2), np.uint8)
    before[1:6, 1:6, 0] = 6
    before[3, 3, 0] = 0  # a hole of the liver
    before[2, 2, 0] = 1  # an island of the spleen inside the liver
    before[7:9, 8, 0] = 1  # an island in the background
    after = before.copy()
    after[3, 3, 0] = after[2, 2, 0] = 6
    after[7:9, 8, 0] = 0
    found = _changes(before, after, 5.0)
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
    found = _changes(before, after, 1.0)
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
    found = _changes(before[..., None], after[..., None], 1.0).per_label
    expected = _gone_region_by_region(before, after)
    for value in range(256):
        counts = found.get(value, {"islands_removed": 0, "holes_filled": 0})
        assert (counts["islands_removed"], counts["holes_filled"]) == tuple(expected[:, value])


def test_noise_of_a_whole_slice_is_counted():
    """As many regions as pixels: region by region it took a minute."""
    before, after = np.random.default_rng(0).integers(0, 256, (2, 384, 384, 1)).astype(np.uint8)
    found = _changes(before, after, 1.0).per_label
    assert sum(counts["lost"] for counts in found.values()) == (before != after).sum()


def test_slices_with_most_changes_come_first():
    before = np.zeros((5, 5, 4), np.uint8)
    after = before.copy()
    after[0, 0, 1] = after[0, :3, 3] = after[1, :2, 2] = 1
    assert _changes(before, after, 1.0).slices(2) == [3, 2]


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(errors.DatasetError, match="differ"):
        _changes(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), 1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_packed_mask_gives_back_every_slice(axis, order):
    mask = np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.uint8, order=order)
    packed = packed_masks.PackedMask(mask, axis)
    assert (packed.shape, packed.axis) == ((5, 6, 7), axis)
    for index in range(mask.shape[axis]):
        assert np.array_equal(packed[index], np.take(mask, index, axis))


@pytest.mark.parametrize("seed", range(20))
def test_what_changed_in_a_part_of_a_slice_is_counted_as_in_the_whole(seed):
    """Regions reach beyond the part of the slice that is looked at."""
    rng = np.random.default_rng(seed)
    before = np.kron(rng.integers(0, 3, (8, 9)), np.ones((3, 3))).astype(np.uint8)
    after = before.copy()
    for _ in range(3):
        x, y = rng.integers(2, 18, 2)
        after[x : x + 5, y : y + 6] = rng.integers(0, 3)
    found = _changes(before[..., None], after[..., None], 1.0).per_label
    expected = _gone_region_by_region(before, after)
    for value in range(3):
        counts = found.get(value, {"islands_removed": 0, "holes_filled": 0})
        assert (counts["islands_removed"], counts["holes_filled"]) == tuple(expected[:, value])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_compared_along_the_axis_of_denoising(axis):
    before = np.zeros((5, 6, 7), np.uint8)
    after = before.copy()
    after[3, 4, 5] = after[3, 2, 1] = 1
    per_slice = _changes(before, after, 1.0, axis).per_slice
    assert per_slice.tolist() == np.count_nonzero(after, axis=tuple({0, 1, 2} - {axis})).tolist()


def test_the_place_with_most_changes_is_one_that_changed():
    changed = np.zeros((200, 180), bool)
    changed[20, 20] = changed[100:110:3, 100:120:5] = True
    row, column = changes.place(changed, (1.0, 1.0))
    assert changed[row, column] and row >= 100 and column >= 100


def test_the_detail_holds_the_changes_also_where_two_places_are_as_good():
    changed = np.zeros((200, 200), bool)
    changed[30, 30] = changed[170, 160] = True
    rows, columns = changes.densest(changed, (1.0, 1.0))
    assert changed[rows, columns].sum() == 1
    changed[175, 165] = True
    rows, columns = changes.densest(changed, (1.0, 1.0))
    assert changed[rows, columns].sum() == 2


def _plain_fit(volume, mask, spacing, window, reach_mm=30.0, step_mm=6.0):
    """Every move over the whole grid, by numpy's gradient, without a look at what matters."""
    smooth = ndi.gaussian_filter((mask > 0).astype(np.float32), 1.0)
    contour = np.flatnonzero((smooth > 0.3) & (smooth < 0.7))
    contour = contour[:: -(-contour.size // 4000)]
    places = np.stack(np.unravel_index(contour, mask.shape))
    normals = np.stack([axis[tuple(places)] for axis in np.gradient(smooth, *spacing)])
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-6)
    edges = np.gradient(ndi.gaussian_filter(np.clip(volume, *window), 0.7), *spacing)
    reach = [min(int(reach_mm / step), n - 2) for step, n in zip(spacing, mask.shape)]
    padded = [np.pad(axis, [(n, n) for n in reach]) for axis in edges]

    def score(move):
        there = tuple(axis + n + m for axis, n, m in zip(places, reach, move))
        return float(np.abs(sum(n * edge[there] for n, edge in zip(normals, padded))).mean())

    steps = [max(1, round(step_mm / step)) for step in spacing]
    grid = (range(-(n // step) * step, n + 1, step) for n, step in zip(reach, steps))
    rough = max(itertools.product(*grid), key=score)
    fine = (
        range(max(at - step, -n), min(at + step, n) + 1) for at, step, n in zip(rough, steps, reach)
    )
    best = max([(0, 0, 0), *itertools.product(*fine)], key=score)
    return tuple(n * step for n, step in zip(best, spacing)), score(best) / score((0, 0, 0))


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_the_whole_grid_to_the_last_digit(seed):
    rng = np.random.default_rng(seed)
    shape, spacing = (60, 50, 30), (3.0, 4.0, 5.0)
    centre = rng.integers((8, 8, 4), (50, 40, 26))  # also at the edges of the image
    mask = np.zeros(shape, np.uint8)
    mask[_ball(shape, centre, 35, spacing)] = 6
    volume = np.where(np.roll(mask, 3, 0) == 6, 60.0, -80.0) + rng.normal(0, 40, shape)
    volume = np.asfortranarray(volume.astype(np.float32))
    fit = alignment.find_fit(volume, mask, np.array(spacing), (-160, 240))
    assert (fit.shift_mm, fit.gain) == _plain_fit(volume, mask, spacing, (-160, 240))


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

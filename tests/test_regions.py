"""Connected regions: drawn masks, SciPy as the oracle, joins across slabs, sizes and places."""

import doctest
from pathlib import Path

import nibabel as nib
import numpy as np
import oracles
import pytest
from scipy import ndimage as ndi

from utils import errors
from utils.arrays import regions

REAL_ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "real_archive"
REAL_MASKS = (
    "labelsTr/amos_0004",
    "labelsTr/amos_0005",
    "labelsTr/amos_0507",
    "labelsVa/amos_0008",
)
ONE_MM = np.ones(3, dtype=np.float32)
EVERYTHING = 1e12  # mm3


def rows_of(found):
    return [
        (int(label), int(voxels), tuple(centroid.tolist()), float(volume_mm3))
        for label, voxels, centroid, volume_mm3 in zip(
            found.label, found.voxels, found.centroid, found.volume_mm3, strict=True
        )
    ]


def assert_equals_literal(mask, zooms, threshold):
    found = regions.find_small_regions(mask, zooms, threshold)
    assert rows_of(found) == oracles.small_regions_literal(mask, zooms, threshold)
    return len(found)


def random_case(seed, number):
    rng = np.random.default_rng([seed, number])
    shape = tuple(int(edge) for edge in rng.integers(1, (14, 12, 9)))
    mask = oracles.random_mask(rng, shape, int(rng.choice([1, 2, 3, 5, 17])))
    zooms = rng.choice([0.4, 0.78125, 1.0, 3.3], 3).astype(np.float32)
    voxel = float(zooms[0]) * float(zooms[1]) * float(zooms[2])
    return mask, zooms, float(rng.choice([0, voxel * rng.integers(1, 60), EVERYTHING]))


@pytest.fixture(params=[1, 2, 3])
def thin_slabs(request, monkeypatch):
    """Slabs of one, two or three slices of 9 x 8 pixels, less of larger ones."""
    monkeypatch.setattr(regions, "SLAB_VOXELS", request.param * 72)


def test_drawn_mask():
    mask = np.zeros((5, 4, 3), dtype=np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 2  # one region: they touch by a corner
    mask[4, 3, 2] = 2
    mask[4, :2, 0] = 1
    found = regions.find_small_regions(mask, np.array([1, 2, 3], dtype=np.float32), 18.0)
    assert rows_of(found) == [
        (1, 2, (4.0, 0.5, 0.0), 12.0),
        (2, 2, (0.5, 0.5, 0.5), 12.0),
        (2, 1, (4.0, 3.0, 2.0), 6.0),
    ]
    assert found.label.dtype == np.uint8 and found.voxels.dtype == np.int64
    assert found.centroid.dtype == found.volume_mm3.dtype == np.float64


def test_rows_go_by_label_and_then_by_first_voxel_on_disk():
    mask = np.zeros((4, 5, 5), dtype=np.uint8)
    mask[3, 0, 0] = 7
    mask[0, 2, 0] = 7
    mask[1, 4, 4] = 3
    found = regions.find_small_regions(mask, ONE_MM, 10.0)
    assert found.label.tolist() == [3, 7, 7]
    assert found.centroid[1:].tolist() == [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]


def test_background_is_a_label_of_its_own():
    mask = np.ones((5, 5, 5), dtype=np.uint8)
    mask[2, 2, 2] = 0
    assert rows_of(regions.find_small_regions(mask, ONE_MM, 2.0)) == [(0, 1, (2.0, 2.0, 2.0), 1.0)]


@pytest.mark.parametrize("threshold, n_found", [("below", 0), ("at", 0), ("above", 1)])
def test_volume_is_strictly_below_the_threshold_in_double_precision(threshold, n_found):
    zooms = np.array([0.4, 1.0, 1.0], dtype=np.float32)
    mask = np.zeros((9, 9, 9), dtype=np.uint8)
    mask[2:7, 2:7, 0:10] = 1
    mask[6, 6, :] = 0
    mask[2:7, 2:7, 8] = 0
    n_voxels = int(mask.sum())
    volume_mm3 = n_voxels * float(np.float32(0.4))
    assert volume_mm3 > n_voxels * 0.4  # the stored spacing counts, as it is
    thresholds = {
        "below": np.nextafter(volume_mm3, 0),
        "at": volume_mm3,
        "above": np.nextafter(volume_mm3, 999),
    }
    found = regions.find_small_regions(mask, zooms, thresholds[threshold])
    assert len(found) == n_found


@pytest.mark.parametrize("value", [0, 1, 255])
def test_full_and_empty_masks(value):
    mask = np.full((3, 4, 5), value, dtype=np.uint8)
    assert len(regions.find_small_regions(mask, ONE_MM, 60.0)) == 0
    expected = [(value, 60, (1.0, 1.5, 2.0), 60.0)]
    assert rows_of(regions.find_small_regions(mask, ONE_MM, 60.1)) == expected


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0)])
def test_mask_without_voxels(shape):
    found = regions.find_small_regions(np.zeros(shape, dtype=np.uint8), ONE_MM, 10.0)
    assert len(found) == 0 and found.centroid.shape == (0, 3) and found.label.dtype == np.uint8


def test_random_masks_equal_the_literal_labelling():
    found = [assert_equals_literal(*random_case(1, number)) for number in range(500)]
    assert np.count_nonzero(found) > 200  # most cases ask something of the code


def test_random_masks_equal_the_literal_labelling_slab_by_slab(thin_slabs):
    for number in range(250):
        assert_equals_literal(*random_case(2, number))


def test_all_256_labels_equal_the_literal_labelling():
    mask = np.random.default_rng(3).integers(0, 256, (9, 8, 7)).astype(np.uint8)
    mask[0, 0, 0] = 255
    assert assert_equals_literal(mask, ONE_MM, EVERYTHING) > 400


@pytest.mark.parametrize("name", REAL_MASKS)
@pytest.mark.parametrize("threshold", [100.0, 300.0, 3000.0])
def test_real_masks_equal_the_literal_labelling(name, threshold, monkeypatch):
    path = REAL_ARCHIVE / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    image = nib.load(path)
    mask = np.asarray(image.dataobj).astype(np.uint8)
    assert_equals_literal(mask, image.header.get_zooms(), threshold)
    monkeypatch.setattr(regions, "SLAB_VOXELS", 7 * mask[:, :, 0].size)
    assert_equals_literal(mask, image.header.get_zooms(), threshold)


def test_snake_that_crosses_all_slabs_again_and_again(thin_slabs):
    mask = np.zeros((9, 8, 12), dtype=np.uint8)
    mask[::2, 3, 1:11] = 4
    mask[1:8:4, 3, 10] = 4
    mask[3:8:4, 3, 1] = 4
    found = regions.find_small_regions(mask, ONE_MM, 100.0)
    assert found.label.tolist() == [4] and found.voxels.tolist() == [54]
    assert_equals_literal(mask, ONE_MM, EVERYTHING)


@pytest.mark.parametrize("z", [0, 11])
def test_arms_that_join_in_the_first_or_the_last_slab_only(thin_slabs, z):
    mask = np.zeros((9, 8, 12), dtype=np.uint8)
    mask[0::2, 0::2, :] = 5
    mask[:, :, z] = 5
    found = regions.find_small_regions(mask, ONE_MM, 500.0)
    assert found.voxels[found.label == 5].tolist() == [20 * 11 + 72]
    assert_equals_literal(mask, ONE_MM, EVERYTHING)


def test_diagonal_that_steps_by_a_corner_into_each_slice(thin_slabs):
    mask = np.zeros((9, 8, 8), dtype=np.uint8)
    mask[range(8), range(8), range(8)] = 255
    assert rows_of(regions.find_small_regions(mask, ONE_MM, 9.0)) == [(255, 8, (3.5,) * 3, 8.0)]


def test_region_of_small_pieces_that_is_not_small_is_not_found(thin_slabs):
    mask = np.zeros((9, 8, 12), dtype=np.uint8)
    mask[4, 4, :] = 1
    assert len(regions.find_small_regions(mask, ONE_MM, 12.0)) == 0
    assert regions.find_small_regions(mask, ONE_MM, 12.1).voxels.tolist() == [12]


def test_sizes_of_all_regions_add_up_to_the_mask():
    for number in range(60):
        mask, zooms, _ = random_case(4, number)
        found = regions.find_small_regions(mask, zooms, EVERYTHING)
        per_label = np.bincount(found.label, weights=found.voxels, minlength=256)
        np.testing.assert_array_equal(per_label, np.bincount(mask.ravel(), minlength=256))


def test_memory_order_does_not_matter():
    for number in range(60):
        mask, zooms, threshold = random_case(5, number)
        expected = rows_of(regions.find_small_regions(mask, zooms, threshold))
        turned = np.ascontiguousarray(mask.transpose(1, 2, 0)).transpose(2, 0, 1)
        for other in (np.ascontiguousarray(mask), turned):
            assert rows_of(regions.find_small_regions(other, zooms, threshold)) == expected


@pytest.mark.parametrize("shape", [(7, 6, 5), (12, 1, 1), (1, 13, 1), (9, 8, 1)])
def test_flood_fill_scipy_and_connect_agree(shape):
    for seed in range(20):
        binary = np.random.default_rng([6, seed]).random(shape) < 0.3
        expected = oracles.components_by_flood_fill(binary)
        for components, n_regions in (
            ndi.label(binary, oracles.TWENTY_SIX_CONNECTED),
            regions.connect(binary.view(np.uint8)),
        ):
            found = {
                frozenset(zip(*np.nonzero(binary & (components == number)), strict=True))
                for number in range(1, n_regions + 1)
            } - {frozenset()}
            assert found == expected


def test_trim_cuts_only_what_is_not_small():
    mask = np.zeros((20, 10, 2), dtype=np.uint8)
    mask[8:11, 4, 1] = 1
    frame = regions.trim(mask, ONE_MM, 100.0)
    # 7 x 10 x 2 and 8 x 10 x 2 voxels go along the first axis; 3 x 20 x 2 and 4 x 20 x 2 along
    # the second one.
    assert frame.start == (7, 3) and frame.mask.shape == (5, 3, 2)
    assert (frame.low, frame.high) == (140 + 120, 160 + 160)
    assert regions.trim(mask, ONE_MM, 150.0).mask.shape == (12, 6, 2)
    assert regions.trim(mask, ONE_MM[:2], 75.0).mask.shape == (12, 6, 2)
    assert regions.trim(mask, ONE_MM, EVERYTHING).mask.shape == mask.shape


def test_join_finds_the_lowest_member_of_each_group():
    rng = np.random.default_rng(7)
    for n_items, n_pairs in ((1, 0), (30, 10), (200, 150), (200, 1000)):
        first, second = rng.integers(0, n_items, (2, n_pairs))
        expected = list(range(n_items))
        for one, other in zip(first, second, strict=True):
            low, high = sorted((expected[one], expected[other]))
            expected = [low if root == high else root for root in expected]
        assert regions.join(n_items, first, second).tolist() == expected


def test_join_follows_a_long_chain_in_any_order():
    order = np.random.default_rng(8).permutation(5000)
    assert (regions.join(5000, order[1:], order[:-1]) == 0).all()


@pytest.mark.parametrize(
    "zooms, threshold, named",
    [
        ([1, 1, 0], 10.0, "0.0"),
        ([1, -1, 1], 10.0, "-1.0"),
        ([1, np.inf, 1], 10.0, "inf"),
        ([1, 1, 1], -1.0, "-1.0"),
        ([1, 1, 1], float("nan"), "nan"),
    ],
)
def test_impossible_parameters_are_refused(zooms, threshold, named):
    with pytest.raises(errors.DatasetError) as caught:
        regions.find_small_regions(
            np.zeros((2, 2, 2), dtype=np.uint8), np.array(zooms, dtype=np.float32), threshold
        )
    assert named in str(caught.value)


def test_examples_in_the_docstrings():
    result = doctest.testmod(regions, extraglobs={"np": np})
    assert result.attempted >= 2 and result.failed == 0

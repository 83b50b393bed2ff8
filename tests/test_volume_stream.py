"""What is kept of a volume that is read in one pass."""

import nibabel as nib
import numpy as np
import pytest

from utils.qc import binning, volume_stream
from utils.storage import nifti, nifti_writing


def _put(path, data, slope=1.0, inter=0.0):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return nifti.read_header(path)


def _read(header, wanted=None, steps=(1, 1, 1), across=2):
    grid = binning.Grid.of(header.shape, across)
    return volume_stream.read(header, wanted or {}, steps, grid)


@pytest.mark.parametrize("slope, inter", [(1.0, 0.0), (0.5, -100.0)])
def test_slices_read_from_the_stream_are_those_of_nibabel(tmp_path, slope, inter):
    shape = (130, 111, 40)  # slices do not fit the chunks of the stream
    data = np.random.default_rng(0).integers(-500, 500, shape).astype(np.int16)
    header = _put(tmp_path / "a.nii.gz", data, slope, inter)
    wanted = {0: [0, 129], 1: [55], 2: [3, 39]}
    reading = _read(header, wanted, (2, 3, 4))
    values = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).astype(np.float32)
    assert (reading.coarse == values[::2, ::3, ::4]).all()
    for (axis, index), plane in reading.planes.items():
        assert (plane == np.take(values, index, axis)).all()
    assert (reading.lowest, reading.highest) == (values.min(), values.max())
    assert sorted(reading.planes) == [(0, 0), (0, 129), (1, 55), (2, 3), (2, 39)]
    assert (reading.binned == values).all()


def test_what_is_not_finite_is_shown_as_zero(tmp_path):
    data = np.full((4, 5, 6), 7, np.float32)
    data[1, 2, 3], data[0, 0, 0] = np.nan, np.inf
    reading = _read(_put(tmp_path / "a.nii.gz", data))
    assert (reading.lowest, reading.highest) == (0, 7)
    coarse = reading.coarse
    assert coarse[1, 2, 3] == coarse[0, 0, 0] == 0
    assert (coarse != 7).sum() == 2
    assert reading.label_crc is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_volume_of_labels_is_known_by_its_checksum(tmp_path, dtype):
    mask = np.random.default_rng(0).integers(0, 16, (9, 8, 7)).astype(np.uint8)
    reading = _read(_put(tmp_path / "a.nii.gz", mask.astype(dtype)))
    assert f"{reading.label_crc:08x}" == nifti_writing.voxel_crc(mask)
    scaled = _read(_put(tmp_path / "b.nii.gz", (mask * 2).astype(dtype), 0.5))
    assert scaled.label_crc == reading.label_crc


@pytest.mark.parametrize("value", [-1, 256, 0.5, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (8, 7, 6)])
def test_a_single_value_that_is_no_label_makes_it_a_volume(tmp_path, value, place):
    data = np.zeros((9, 8, 7), np.float32)
    data[place] = value
    assert _read(_put(tmp_path / "a.nii.gz", data)).label_crc is None


def _means(values, bins):
    """Means of bins, one by one."""
    size = [-(-length // n) for length, n in zip(values.shape, bins)]
    found = np.empty(size, np.float64)
    for place in np.ndindex(*size):
        part = tuple(slice(k * n, (k + 1) * n) for k, n in zip(place, bins))
        found[place] = values[part].astype(np.float64).mean()
    return found


@pytest.mark.parametrize("across", [0, 1, 2])
def test_bins_hold_the_means_of_their_voxels(tmp_path, across):
    shape = [3, 3, 3]
    shape[across - 1], shape[across - 2] = 515, 769  # the last bins hold fewer voxels
    data = np.random.default_rng(0).normal(0, 300, shape).astype(np.float32)
    header = _put(tmp_path / "a.nii.gz", data)
    grid = binning.Grid.of(header.shape, across)
    expected = [1, 1, 1]
    expected[across - 1], expected[across - 2] = 2, 3
    assert grid.bins == tuple(expected)
    binned = _read(header, across=across).binned
    assert binned.shape == grid.size
    assert np.allclose(binned, _means(data, grid.bins), rtol=1e-5, atol=1e-3)


def test_bins_of_huge_values_are_numbers(tmp_path):
    data = np.full((512, 512, 2), 3e38, np.float32)
    data[::2, ::4] = -3e38
    assert np.isfinite(_read(_put(tmp_path / "a.nii.gz", data)).binned).all()

"""NIfTI files: what is written, what is recognised again."""

import dataclasses
import errno
import gzip
import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import nifti_files
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import (
    AFFINE,
    FLOATS,
    INTEGERS,
    SHAPE,
    field,
    itk_affine,
    labels_of,
    put,
    raw_image,
    values_of,
)
from scipy.spatial import transform

from utils import errors
from utils.arrays import geometry
from utils.routines import pairs
from utils.storage import files, nifti, nifti_writing, samples

codec, path = nifti_files.each_codec, nifti_files.target_path  # fixtures


# ---- writing masks


@pytest.mark.parametrize("affine", [AFFINE, np.diag([0.78125, 0.78125, 5.0, 1])])
def test_written_mask(path, affine):
    nifti_writing.write_mask(path, labels_of(), affine, "src=1")
    mask = nifti.read_mask(path)
    assert (mask.data == labels_of()).all() and (mask.header.affine == affine).all()
    assert mask.header.descrip == "src=1" and mask.header.dtype == np.uint8
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("dtype", "code"), [(np.float32, 16), (np.uint8, 2)])
def test_header_written_field_by_field(dtype, code):
    raw = nifti_writing.fresh_header(SHAPE, dtype, AFFINE, "src=89abcdef")
    header = nib.Nifti1Header(raw[:348])
    empty = nib.Nifti1Header()
    expected = {
        "sizeof_hdr": 348,
        "datatype": code,
        "bitpix": 8 * np.dtype(dtype).itemsize,
        "dim": [3, 7, 8, 9, 1, 1, 1, 1],
        "pixdim": [-1, 1.5, 2, 5, 1, 1, 1, 1],
        "vox_offset": 352,
        "scl_slope": 1,
        "scl_inter": 0,
        "xyzt_units": 2,
        "cal_min": 0,
        "cal_max": 0,
        "descrip": b"src=89abcdef",
        "qform_code": 1,
        "sform_code": 1,
        "quatern_b": 0,
        "quatern_c": 1,
        "quatern_d": 0,
        "qoffset_x": 10,
        "qoffset_y": -20,
        "qoffset_z": 30,
        "srow_x": AFFINE[0],
        "srow_y": AFFINE[1],
        "srow_z": AFFINE[2],
        "magic": b"n+1",
    }
    for name in header:
        assert np.array_equal(header[name], expected.get(name, empty[name])), name
    assert len(raw) == 352 and raw[348:] == bytes(4)
    assert struct.unpack_from("<i", raw) == (348,)
    assert (header.get_qform() == AFFINE).all() and (header.get_sform() == AFFINE).all()


def test_gzip_member_has_no_name_and_no_time():
    encoded = nifti_writing.encode_mask(labels_of(), AFFINE)
    assert encoded[:3] == b"\x1f\x8b\x08" and encoded[3:8] == bytes(5)
    assert gzip.decompress(encoded)[352:] == labels_of().tobytes(order="F")


def test_too_large_for_the_format():
    with pytest.raises(errors.DatasetError, match="32768"):
        nifti_writing.fresh_header((1, 32768, 1), np.uint8, AFFINE)
    assert nifti_writing.fresh_header((1, 32767, 1), np.uint8, AFFINE)


def same_voxels():
    """The same mask, differently laid out in memory."""
    data = labels_of()
    wide = np.zeros((14, 8, 18), np.uint8)
    wide[::2, :, ::2] = data
    readonly = data.copy()
    readonly.flags.writeable = False
    return {
        "C": np.ascontiguousarray(data),
        "F": np.asfortranarray(data),
        "reversed": data[::-1].copy()[::-1],
        "strided": wide[::2, :, ::2],
        "transposed": data.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        "readonly": readonly,
    }


@pytest.mark.parametrize("layout", same_voxels())
@pytest.mark.parametrize("value", [None, 3])
def test_bytes_do_not_depend_on_memory_order(layout, value):
    data = same_voxels()[layout]
    assert nifti_writing.encode_mask(data, AFFINE, "x", value) == nifti_writing.encode_mask(
        same_voxels()["F"], AFFINE, "x", value
    )
    assert nifti_writing.voxel_crc(data) == f"{zlib.crc32(labels_of().tobytes(order='F')):08x}"


@pytest.mark.parametrize("value", [0, 3, 77])
def test_binary_mask_of_a_label(value):
    binary = (labels_of() == value).astype(np.uint8)
    assert nifti_writing.encode_mask(labels_of(), AFFINE, value=value) == nifti_writing.encode_mask(
        binary, AFFINE
    )


def test_many_chunks(path, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    nifti_writing.write_mask(path, labels_of(), AFFINE)
    assert (np.asarray(nib.load(path).dataobj) == labels_of()).all()
    assert (
        nifti_writing.voxel_crc(labels_of()) == f"{zlib.crc32(labels_of().tobytes(order='F')):08x}"
    )


def test_staged_is_not_there_before_commit(path):
    encoded = nifti_writing.encode_mask(labels_of(), AFFINE)
    with nifti_writing.staged(path, encoded) as pending:
        assert not path.exists()
        pending.commit()
    assert path.read_bytes() == encoded
    assert list(path.parent.iterdir()) == [path]


def spoil_on_seal(monkeypatch, position):
    """Let the disk change one byte of what is written."""
    seal = files.Pending.seal

    def spoiling(self):
        seal(self)
        content = bytearray(self.temporary_path.read_bytes())
        content[position] ^= 1
        self.temporary_path.write_bytes(content)

    monkeypatch.setattr(files.Pending, "seal", spoiling)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_disk_that_holds_something_else(path, monkeypatch, position):
    path.write_bytes(b"old")
    spoil_on_seal(monkeypatch, position)
    with pytest.raises(errors.DatasetError, match="nothing was replaced"):
        nifti_writing.write_mask(path, labels_of(), AFFINE)
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


class FullDisk(io.BytesIO):
    """Takes the first bytes, as a nearly full disk does."""

    def write(self, piece):
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(piece)


def test_full_disk(path, tmp_path, monkeypatch):
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.int16))))
    plain = files.Pending.__init__

    def on_full_disk(self, target):
        plain(self, target)
        self.handle.close()
        self.handle = FullDisk(b"x")
        self.handle.seek(1)

    monkeypatch.setattr(files.Pending, "__init__", on_full_disk)
    target = tmp_path / "out.nii.gz"
    for write in (
        lambda: nifti_writing.write_mask(target, labels_of(), AFFINE),
        lambda: nifti_writing.stage_volume(target, source, AFFINE),
        lambda: nifti_writing.stage_volume(target, source, AFFINE, "", True),
        lambda: nifti_writing.stage_mask(target, source, AFFINE),
    ):
        with pytest.raises(errors.DatasetError, match="out.nii.gz.*No space left") as caught:
            write()
        assert caught.value.code == "write" and list(tmp_path.iterdir()) == [path]


def test_disk_that_loses_the_end_of_a_volume(path, tmp_path, monkeypatch):
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.int16))))
    spoil_on_seal(monkeypatch, -6)
    with pytest.raises(errors.DatasetError, match="nothing was replaced"):
        nifti_writing.stage_volume(tmp_path / "v.nii.gz", source, AFFINE)
    assert list(tmp_path.iterdir()) == [path]


# ---- comparing


def test_is_same_file(path, tmp_path):
    encoded = nifti_writing.encode_mask(labels_of(), AFFINE, "src=1")
    assert not nifti_writing.is_same_file(path, encoded)
    path.write_bytes(encoded)
    assert nifti_writing.is_same_file(path, encoded)
    path.write_bytes(gzip.compress(gzip.decompress(encoded), 9))
    assert nifti_writing.is_same_file(path, encoded)
    for other in (
        nifti_writing.encode_mask(labels_of(), AFFINE, "src=2"),
        nifti_writing.encode_mask(labels_of(), AFFINE + 1e-3 * np.eye(4)),
        nifti_writing.encode_mask(labels_of((7, 8, 10)), AFFINE),
    ):
        assert not nifti_writing.is_same_file(path, other)
    for damaged in (encoded[:-1], encoded[:50], b"", encoded + b"x"):
        path.write_bytes(damaged)
        assert not nifti_writing.is_same_file(path, encoded)
    assert not nifti_writing.is_same_file(path.with_name("none"), encoded)
    with pytest.raises(errors.DamagedFileError, match="cannot be read"):
        nifti_writing.is_same_file(path.parent, encoded)


def test_has_label(path):
    data = labels_of()
    encoded = nifti_writing.encode_mask(data, AFFINE, value=3)
    path.write_bytes(encoded)
    assert nifti_writing.has_label(path, data, 3, encoded)
    binary = (data == 3).astype(np.float64)
    put(path, raw_image(binary, affine=np.eye(4)))
    assert nifti_writing.has_label(path, data, 3, encoded)
    assert not nifti_writing.has_label(
        path, data, 4, nifti_writing.encode_mask(data, AFFINE, value=4)
    )
    put(path, raw_image(binary, field(scl_slope=2, scl_inter=0)))
    assert not nifti_writing.has_label(path, data, 3, encoded)
    put(path, raw_image(binary[:, :, :8]))
    assert not nifti_writing.has_label(path, data, 3, encoded)


@pytest.mark.parametrize("voxel", [0, 503])
def test_has_label_looks_at_every_voxel(path, voxel, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    data = labels_of()
    changed = (data == 3).astype(np.uint8).ravel(order="F")
    changed[voxel] ^= 1
    put(path, raw_image(changed.reshape(SHAPE, order="F")))
    assert not nifti_writing.has_label(
        path, data, 3, nifti_writing.encode_mask(data, AFFINE, value=3)
    )


def test_has_label_of_a_binary_mask_that_a_tool_stored_with_a_slope(path):
    image = nib.Nifti1Image((labels_of() == 3).astype(np.float64), AFFINE)
    image.set_data_dtype(np.uint8)
    nib.save(image, path)
    assert nifti.read_header(path).slope == np.float32(1 / 255)
    assert nifti_writing.has_label(path, labels_of(), 3, b"")
    assert not nifti_writing.has_label(path, labels_of(), 4, b"")


def test_has_label_of_a_damaged_file(path):
    encoded = nifti_writing.encode_mask(labels_of(), AFFINE, value=3)
    path.write_bytes(encoded[:-1])
    with pytest.raises(errors.DamagedFileError):
        nifti_writing.has_label(path, labels_of(), 3, encoded)


# ---- converting volumes


def convert(path, data, edit=None, read_ahead=False, **options):
    """Convert one volume and return its voxels, what was met, and the file's bytes."""
    source = nifti.read_header(put(path, raw_image(data, edit, **options)))
    target = path.with_name("out.nii.gz")
    pending, conversion = nifti_writing.stage_volume(target, source, AFFINE, "src=1", read_ahead)
    with pending:
        pending.commit()
    assert sorted(path.parent.iterdir()) == sorted([path, target])
    stored = nifti.read_header(target)
    assert stored.dtype == np.float32 and not stored.is_scaled and stored.descrip == "src=1"
    return values_of(stored), conversion, target.read_bytes()


@pytest.mark.parametrize("read_ahead", [False, True])
@pytest.mark.parametrize("endianness", "<>")
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_volume_of_any_type(path, dtype, endianness, read_ahead):
    data = labels_of(largest=120, dtype=dtype)
    stored, conversion, _ = convert(path, data, read_ahead=read_ahead, endianness=endianness)
    assert (stored == data).all()
    assert conversion.largest_loss == 0 and conversion.complaints(nifti.read_header(path)) == []


def test_scaling_is_applied(path):
    data = labels_of(dtype=np.int16) * 100
    stored, conversion, _ = convert(path, data, field(scl_slope=0.5, scl_inter=-1024))
    assert (stored == data * 0.5 - 1024).all() and conversion.largest_loss == 0
    stored, conversion, _ = convert(path, data, field(scl_slope=0.1, scl_inter=0))
    exact = data * np.float64(np.float32(0.1))
    assert (stored == exact.astype(np.float32)).all()
    assert conversion.largest_loss == np.abs(exact.astype(np.float32) - exact).max() > 0


@pytest.mark.parametrize(
    ("dtype", "value", "loss"),
    [
        ("int32", 2**24, 0),
        ("int32", 2**24 + 1, 1),
        ("uint32", 2**32 - 1, 1),
        ("int64", 2**53 + 1, 1),
        ("int64", -(2**62) - 1, 1),
        ("uint64", 2**64 - 1, 1),
        ("uint64", 2**63, 0),
        ("float64", 0.1, abs(float(np.float32(0.1)) - 0.1)),
        ("float64", 0.5, 0),
        ("float64", 1e300, np.inf),
        ("float32", 0.1, 0),
    ],
)
@pytest.mark.filterwarnings("error")
def test_largest_loss(path, dtype, value, loss):
    data = np.zeros(SHAPE, dtype)
    data[6, 7, 8] = value
    stored, conversion, _ = convert(path, data)
    assert conversion.largest_loss == loss
    with np.errstate(over="ignore"):
        assert stored[6, 7, 8] == np.array(value, dtype).astype(np.float32)
    told = [text for text in conversion.complaints(nifti.read_header(path)) if "loss" in text]
    assert bool(told) == (loss == np.inf)  # the rest is rounding, as in every file


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("edit", [None, field(scl_slope=2, scl_inter=1)])
@pytest.mark.filterwarnings("error")
def test_nan_and_infinities_are_kept_and_counted(path, dtype, edit):
    data = np.ones(SHAPE, dtype)
    data[0, 0, :4] = np.nan, np.nan, np.inf, -np.inf
    stored, conversion, _ = convert(path, data, edit)
    assert np.array_equal(stored[0, 0, :4], data[0, 0, :4], equal_nan=True)
    assert (conversion.n_nan, conversion.n_infinite, conversion.largest_loss) == (2, 2, 0)
    (text,) = conversion.complaints(nifti.read_header(path))
    assert "2 voxels are NaN and 2 infinite" in text


@pytest.mark.filterwarnings("error")
def test_nothing_but_nan(path):
    stored, conversion, _ = convert(path, np.full(SHAPE, np.nan))
    assert np.isnan(stored).all() and conversion.n_nan == 504


def test_same_bytes_with_and_without_reading_ahead(path, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    data = labels_of(dtype=np.int16)
    _, _, plain = convert(path, data)
    _, _, ahead = convert(path, data, read_ahead=True)
    _, _, swapped = convert(path, data, endianness=">")
    assert plain == ahead == swapped


def test_no_thread_left_to_read_ahead(path, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    data = labels_of(dtype=np.int16)
    _, _, plain = convert(path, data)
    monkeypatch.setattr(threading.Thread, "start", refused)
    _, _, alone = convert(path, data, read_ahead=True)
    assert alone == plain


@pytest.mark.parametrize("read_ahead", [False, True])
def test_source_damaged_at_its_end_leaves_nothing(path, tmp_path, read_ahead, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.int16))))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1  # of the stored CRC
    path.write_bytes(content)
    source = dataclasses.replace(source, identity=nifti_files.identity_of(path))
    target = tmp_path / "out.nii.gz"
    for stage in (
        lambda: nifti_writing.stage_volume(target, source, AFFINE, "", read_ahead),
        lambda: nifti_writing.stage_mask(target, source, AFFINE),
    ):
        with pytest.raises(errors.DamagedFileError, match="corrupt"):
            stage()
        assert list(tmp_path.iterdir()) == [path]


def test_converted_mask_is_the_encoded_mask(path, tmp_path):
    """One writer: what routine 02 streams and what later routines encode are the same bytes."""
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.uint16))))
    with nifti_writing.stage_mask(tmp_path / "m.nii.gz", source, AFFINE, "src=1") as pending:
        pending.commit()
    assert (tmp_path / "m.nii.gz").read_bytes() == nifti_writing.encode_mask(
        labels_of(), AFFINE, "src=1"
    )


# ---- geometry written


def random_affine(seed):
    """Oblique, flipped, anisotropic; some turned by nearly 180 degrees."""
    generator = np.random.default_rng(seed)
    rotation = transform.Rotation.random(random_state=seed)
    if seed % 2:
        about = generator.normal(size=3)
        angle = np.pi - 10.0 ** generator.uniform(-9, -1)
        rotation = transform.Rotation.from_rotvec(about / np.linalg.norm(about) * angle)
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() * generator.choice([-1, 1], 3)
    affine[:3, :3] *= generator.uniform(0.3, 6, 3)
    affine[:3, 3] = generator.uniform(-500, 500, 3)
    return affine


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31))
def test_geometry_is_read_back_into_the_same_bytes(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "same.nii.gz"
    affine = random_affine(seed)
    volume = nifti_writing.fresh_header(SHAPE, np.float32, affine)
    path.write_bytes(nifti_writing.encode_mask(labels_of(), affine))
    header = nifti.read_header(path)
    mask = nifti_writing.fresh_header(SHAPE, np.uint8, header.affine)
    assert mask[:70] + mask[74:] == volume[:70] + volume[74:]  # all but datatype and bitpix
    assert nifti_writing.encode_mask(labels_of(), header.affine) == path.read_bytes()
    assert header.complaints() == []


@pytest.mark.parametrize("seed", range(40))
def test_itk_and_nibabel_agree(path, capfd, seed):
    affine = random_affine(seed)
    data = labels_of()
    nifti_writing.write_mask(path, data, affine)
    shape = (512, 512, 100)
    assert geometry.corner_displacement_mm(nib.load(path).affine, itk_affine(path), shape) < 1e-3
    assert geometry.corner_displacement_mm(nib.load(path).affine, affine, shape) < 1e-3
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T == data).all()
    assert capfd.readouterr().err == ""


def confirmed(tmp_path, affine, mask_affine=None):
    """A pair as routine 02 writes it, and what it warned of."""
    archive = tmp_path / "archive"
    archive.mkdir()
    scan = labels_of(dtype=np.int16) - 1000
    # No qform: it could not hold a shear.
    volume = put(archive / "volume.nii.gz", raw_image(scan, field(qform_code=0), affine=affine))
    mask = put(
        archive / "mask.nii.gz",
        raw_image(
            labels_of(), field(qform_code=0), affine=affine if mask_affine is None else mask_affine
        ),
    )
    sample = samples.Sample("amos_0004", tmp_path / "grouped")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair = pairs.Pair(sample, {"subset": "train"}, volume, mask)
        pairs.confirm(pair, overwrite=False, misfit="volume")
    return sample, [str(entry.message) for entry in caught]


# Half the extent is 126 mm and 108.5 mm; the nearest orthonormal axes share the shear.
@pytest.mark.parametrize(
    ("shear", "outcome"),
    [
        (0, "kept"),
        (0.5e-4, "kept"),
        (0.9e-4, "kept"),
        (1.1e-4, "mended"),
        (2e-4, "mended"),
        (1e-3, "mended"),
        (1.15e-3, "mended"),
        (1.3e-3, "refused by ITK"),
        (1e-2, "refused by ITK"),
    ],
)
def test_sheared_affines(tmp_path, capfd, shear, outcome):
    affine = np.eye(4)
    affine[0, 1] = shear
    affine[:3, :3] = affine[:3, :3] / geometry.spacing(affine) * [42.0, 31.0, 40.0]
    affine[:3, 3] = -100, -100, 50
    sample, told = confirmed(tmp_path, affine)
    written = nib.load(sample.volume_path)
    moved = geometry.corner_displacement_mm(written.affine, affine, SHAPE)
    assert [("not orthonormal" in text) for text in told] == [True] * (outcome != "kept")
    assert int(written.header["qform_code"]) == (0 if outcome == "refused by ITK" else 1)
    assert int(written.header["sform_code"]) == 1
    if outcome == "refused by ITK":
        assert moved < 1e-4 and "ITK will refuse" in told[0]
        with pytest.raises(RuntimeError, match="orthonormal"):
            sitk.ReadImage(str(sample.volume_path))
        return
    assert moved <= (geometry.REPAIR_LIMIT_MM if outcome == "mended" else 1e-4)
    for path in (sample.volume_path, sample.mask_path):
        apart = geometry.corner_displacement_mm(nib.load(path).affine, itk_affine(path), SHAPE)
        assert apart < 1e-3
    assert capfd.readouterr().err == ""


def test_mask_gets_its_volumes_geometry_bytes(tmp_path):
    sample, told = confirmed(tmp_path, random_affine(1), random_affine(2))
    volume, mask = (
        gzip.decompress(Path(path).read_bytes())[:352]
        for path in (sample.volume_path, sample.mask_path)
    )
    for part in (slice(40, 70), slice(74, 148), slice(228, 352)):
        assert volume[part] == mask[part]
    assert any("Frobenius" in text for text in told)


# ---- without isal


def test_without_isal(tmp_path, run_python):
    data = labels_of()
    nifti_writing.write_mask(tmp_path / "a.nii.gz", data, AFFINE, "src=1")
    result = run_python(
        "import sys; sys.modules['isal'] = None\n"
        "from utils.storage import deflate, nifti, nifti_writing\n"
        "mask = nifti.read_mask(sys.argv[1])\n"
        "header = mask.header\n"
        "nifti_writing.write_mask(sys.argv[2], mask.data, header.affine, header.descrip)\n"
        "print(deflate.codec.__name__, nifti_writing.voxel_crc(mask.data))",
        tmp_path / "a.nii.gz",
        tmp_path / "b.nii.gz",
    )
    assert result.stderr == ""
    assert result.stdout.split() == ["zlib", nifti_writing.voxel_crc(data)]
    contents = [
        gzip.decompress((tmp_path / name).read_bytes()) for name in ("a.nii.gz", "b.nii.gz")
    ]
    assert contents[0] == contents[1]

"""NIfTI files: what is read, what is refused, what is written."""

import errno
import gzip
import io
import itertools
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import transform

from utils import errors
from utils.arrays import geometry
from utils.routines import pairs
from utils.storage import files, nifti, samples

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float32", "float64"]


@pytest.fixture(params=["isal", "zlib"], autouse=True, scope="module")
def codec(request):
    """Everything holds for the fallback, too."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "zlib":
            patched.setattr(nifti, "codec", zlib)
        elif nifti.codec is zlib:
            pytest.skip("isal is not installed")
        yield request.param


def labels_of(shape=SHAPE, largest=16, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, largest, shape, endpoint=True).astype(dtype)


def raw_image(data, edit=None, kind=nib.Nifti1Header, endianness="<", affine=AFFINE, extension=b""):
    """An uncompressed NIfTI file; `edit` may spoil its header."""
    data = data.astype(data.dtype.newbyteorder(endianness))
    header = kind(endianness=endianness)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header["vox_offset"] = len(header.binaryblock) + 4 + len(extension)
    if edit:
        edit(header)
    return header.binaryblock + bytes(4) + extension + data.tobytes(order="F")


def put(path, raw):
    path.write_bytes(gzip.compress(raw, mtime=0))
    return path


def field(**values):
    """An edit of header fields; a tuple stands for (index, value)."""

    def edit(header):
        for name, value in values.items():
            if isinstance(value, tuple):
                header[name][value[0]] = value[1]
            else:
                header[name] = value

    return edit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "amos_0004 ä.nii.gz"


@pytest.fixture(scope="module", name="small")
def small_file():
    """A small sound file as bytes."""
    return gzip.compress(raw_image(labels_of((3, 4, 5))), mtime=0)


def values_of(header):
    return np.concatenate([chunk.copy() for chunk in nifti.voxel_chunks(header)]).reshape(
        header.shape, order="F"
    )


def read_all(path):
    """Header and voxels, by every way that reads to the end."""
    header = nifti.read_header(path)
    nifti.check(header)
    return header, values_of(header)


def assert_refused(path, *words):
    for read in (read_all, nifti.read_mask):
        with pytest.raises(errors.DatasetError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert not words or any(word in str(caught.value) for word in words), str(caught.value)
        assert caught.value.file == str(path)


# ---- reading what is sound


@pytest.mark.parametrize("endianness", "<>")
@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_data_types_and_byte_orders(path, dtype, kind, endianness):
    data = labels_of(largest=120, dtype=dtype)
    put(path, raw_image(data, kind=kind, endianness=endianness))
    header, stored = read_all(path)
    assert (stored == data).all() and header.dtype_name == dtype
    assert header.shape == SHAPE and header.n_voxels == data.size
    assert (header.affine == AFFINE).all() and header.complaints() == []
    mask = nifti.read_mask(path)
    assert (mask.data == data).all()
    assert mask.data.dtype == np.uint8 and mask.data.flags.f_contiguous


def test_header_fields(path):
    raw = raw_image(labels_of(), field(descrip=b"src=1", scl_slope=2, scl_inter=-1))
    header = nifti.read_header(put(path, raw))
    assert header.path == path and header.descrip == "src=1"
    assert (header.slope, header.inter, header.is_scaled) == (2, -1, True)
    assert header.zooms.tolist() == [1.5, 2, 5] and header.zooms.dtype == np.float32
    assert header.spacing.tolist() == [1.5, 2, 5]
    assert header.source_crc == f"{zlib.crc32(raw):08x}"
    assert header.vox_offset == 352 and header.n_bytes == len(raw)


@pytest.mark.parametrize("n_bytes", [0, 16, 4096])
def test_extensions_are_passed_over(path, n_bytes):
    raw = raw_image(labels_of(), extension=b"\x01" * n_bytes)
    header, stored = read_all(put(path, raw))
    assert header.vox_offset == 352 + n_bytes and (stored == labels_of()).all()


@pytest.mark.parametrize("shape", [(7, 8, 9, 1), (7, 8, 9, 1, 1), (1, 1, 1), (7, 1, 1, 1)])
def test_one_frame_counts_as_three_dimensions(path, shape):
    header, stored = read_all(put(path, raw_image(labels_of(shape))))
    assert header.shape == shape[:3] and (stored == labels_of(shape).reshape(shape[:3])).all()


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (0, 5, (1, 0)),
        (np.nan, 5, (1, 0)),
        (1, 0, (1, 0)),
        (2, 0, (2, 0)),
        (1, -1024, (1, -1024)),
        (-1, 0, (-1, 0)),
    ],
)
def test_scaling(path, slope, inter, expected):
    header = nifti.read_header(
        put(path, raw_image(labels_of(), field(scl_slope=slope, scl_inter=inter)))
    )
    assert (header.slope, header.inter) == expected
    assert header.is_scaled == (expected != (1, 0))


@pytest.mark.parametrize("codes", list(itertools.product((0, 1, 2), repeat=2)))
def test_sform_before_qform_before_pixdim(path, codes):
    """By nibabel's rules; LAS where neither is set."""

    def edit(header):
        header.set_qform(np.diag([1.5, 2, 5, 1]), codes[1])
        header["sform_code"] = codes[0]

    put(path, raw_image(labels_of(), edit))
    header = nifti.read_header(path)
    assert (header.affine == nib.load(path).affine).all()
    assert header.affine[0, 0] == (1.5 if not codes[0] and codes[1] else -1.5)
    assert header.has_orientation == any(codes)
    assert ["neither" in text for text in header.complaints()] == [True] * (not any(codes))


@pytest.mark.parametrize("forms", [{"sform_code": 0}, {"sform_code": 0, "qform_code": 0}])
@pytest.mark.parametrize(
    "pixdim", [(0, 0), (0, np.nan), (0, 7), (0, -1), (1, 0), (2, -2), (slice(0, 4), [0, 0, 0, 0])]
)
def test_pixdim_as_careless_software_leaves_it(path, forms, pixdim):
    """A qfac of 0 stands for 1 in the standard; for the rest nibabel's mending is followed."""
    put(path, raw_image(labels_of(), field(pixdim=pixdim, **forms)))
    header = nifti.read_header(path)
    assert np.allclose(header.affine, nib.load(path).affine)
    changed = pixdim[0] != 0
    assert any("mm differs" in text for text in header.complaints()) == changed


@pytest.mark.parametrize(("apart", "told"), [(0.9e-3, False), (1.1e-3, True)])
def test_stored_pixdim_that_differs_is_told(path, apart, told):
    header = nifti.read_header(put(path, raw_image(labels_of(), field(pixdim=(3, 5 + apart)))))
    assert [path.name in text for text in header.complaints()] == [True] * told


def test_members_padding_and_odd_chunks(path, monkeypatch):
    """However the file is cut into members and reads, the stream is the same."""
    raw = raw_image(labels_of())
    for cuts in ([], [1], [348, 352], [0, 5, 5, 400]):
        ends = [0, *cuts, len(raw)]
        members = [gzip.compress(raw[a:b], mtime=0) for a, b in zip(ends, ends[1:])]
        for padding, size in itertools.product((0, 1, 700), (1, 2, 3, 7, 64, 1 << 18)):
            path.write_bytes(b"".join(members) + bytes(padding))
            monkeypatch.setattr(nifti, "_READ_BYTES", size)
            header, stored = read_all(path)
            assert (stored == labels_of()).all()
            assert header.source_crc == f"{zlib.crc32(raw[ends[-2] :]):08x}"


def test_padding_between_members(path):
    raw = raw_image(labels_of())
    path.write_bytes(gzip.compress(raw[:400]) + bytes(9) + gzip.compress(raw[400:]))
    assert (read_all(path)[1] == labels_of()).all()


@pytest.mark.parametrize("size", [1, 7, 100, 503, 504, 505])
def test_chunk_size_does_not_matter_for_reading(path, monkeypatch, size):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", size)
    put(path, raw_image(labels_of(dtype=np.int32)))
    assert (read_all(path)[1] == labels_of()).all()
    assert (nifti.read_mask(path).data == labels_of()).all()


def test_member_with_a_file_name(path):
    with gzip.GzipFile("x.nii", "wb", fileobj=path.open("wb"), mtime=1) as handle:
        handle.write(raw_image(labels_of()))
    assert (read_all(path)[1] == labels_of()).all()


# ---- refusing what is not


@pytest.mark.parametrize("size", [1, 50, 1 << 18])
def test_cut_at_every_byte(path, small, monkeypatch, size):
    monkeypatch.setattr(nifti, "_READ_BYTES", size)
    for length in range(len(small)):
        path.write_bytes(small[:length])
        with pytest.raises(errors.DamagedFileError, match="damaged"):
            nifti.read_header(path)


def test_cut_is_noticed_by_the_header_alone_in_a_large_file(path):
    content = gzip.compress(raw_image(labels_of((40, 50, 60))), mtime=0)
    path.write_bytes(content[:-1])
    with pytest.raises(errors.DamagedFileError, match="cut off") as caught:
        nifti.read_header(path)
    assert caught.value.code == "truncated"


def test_every_flipped_bit_is_noticed_or_harmless(path, small):
    sound = gzip.decompress(small)
    for bit in range(8 * len(small)):
        spoilt = bytearray(small)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        try:
            header, stored = read_all(path)
        except errors.DatasetError as error:
            assert str(path) in str(error)
            continue
        assert stored.tobytes(order="F") == sound[352:], f"bit {bit}"
        with nifti._Stream(path) as stream:
            assert stream.read(len(sound) + 1) == sound, f"bit {bit}"


@pytest.mark.filterwarnings("error")
def test_every_flipped_bit_of_the_header_is_survived(path, codec):
    """The stream is sound, its header says something else: read or refused, never a crash."""
    if codec == "zlib":
        pytest.skip("the header's fields do not depend on the codec")
    raw = raw_image(labels_of((3, 4, 5)))
    n_read = 0
    spoilt_bytes = itertools.chain(range(4), range(40, 124), range(252, 352))
    for bit in (8 * byte + bit for byte in spoilt_bytes for bit in range(8)):
        spoilt = bytearray(raw)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(zlib_gzip(bytes(spoilt)))
        try:
            nifti.read_mask(path)
            n_read += 1
        except errors.DatasetError as error:
            assert str(path) in str(error)
    assert n_read > 352  # a digit of an affine more or less


def zlib_gzip(raw):
    member = zlib.compressobj(1, zlib.DEFLATED, 31)
    return member.compress(raw) + member.flush()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f",
        b"\x1f\x8b",
        b"no gzip at all",
        bytes(1000),
        b"\x1f\x8b" * 500,
        gzip.compress(b""),
        gzip.compress(b"short"),
        gzip.compress(bytes(1000)),
        gzip.compress(b"") + bytes(1000),
        gzip.compress(b"x" * 347),
    ],
)
def test_no_nifti(path, content):
    path.write_bytes(content)
    assert_refused(path, "damaged")


def test_uncompressed_file_is_refused(path):
    path.write_bytes(raw_image(labels_of()))
    assert_refused(path, "gzip")


@pytest.mark.parametrize("junk", [b"x", b"\0x", b"\x1f", b"\x1f\x8b", b"\x1fx", b"junk" * 100])
def test_junk_behind_the_stream(path, small, junk):
    path.write_bytes(small + junk)
    with pytest.raises(errors.DamagedFileError):
        read_all(path)


@pytest.mark.parametrize("position", [-8, -4])
def test_end_far_behind_the_last_voxel_is_checked(path, tmp_path, position):
    """Whoever reads voxels alone reads on to the trailer."""
    behind = np.random.default_rng(0).bytes(1 << 20)
    content = bytearray(gzip.compress(raw_image(labels_of()) + behind, 1))
    path.write_bytes(content)
    header = nifti.read_header(path)
    content[position] ^= 1
    path.write_bytes(content)
    for read in (
        lambda: list(nifti.voxel_chunks(header)),
        lambda: nifti.read_mask(path),
        lambda: nifti.check(header),
        lambda: nifti.has_label(path, labels_of(), 3, b""),
        lambda: nifti.stage_volume(tmp_path / "v.nii.gz", header, AFFINE),
        lambda: nifti.stage_volume(tmp_path / "v.nii.gz", header, AFFINE, "", True),
        lambda: nifti.stage_mask(tmp_path / "v.nii.gz", header, AFFINE),
    ):
        with pytest.raises(errors.DamagedFileError, match="corrupt"):
            read()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("part", ["crc", "length"])
def test_wrong_trailer(path, small, part):
    position = -8 if part == "crc" else -4
    spoilt = bytearray(small)
    spoilt[position] ^= 1
    path.write_bytes(spoilt)
    assert_refused(path, "corrupt")


def test_wrong_trailer_of_the_first_member(path):
    raw = raw_image(labels_of())
    first = bytearray(gzip.compress(raw[:400]))
    first[-5] ^= 1
    path.write_bytes(bytes(first) + gzip.compress(raw[400:]))
    assert_refused(path, "corrupt")


@pytest.mark.parametrize(("n_missing", "is_refused"), [(0, False), (1, True), (100, True)])
def test_fewer_voxels_than_promised(path, n_missing, is_refused):
    raw = raw_image(labels_of())
    put(path, raw[: len(raw) - n_missing])
    if is_refused:
        assert_refused(path, "promises")
    else:
        read_all(path)


def test_more_bytes_than_promised_are_let_through(path):
    assert (read_all(put(path, raw_image(labels_of()) + bytes(50)))[1] == labels_of()).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [((7, 8), "7 x 8"), ((7,), "7"), ((7, 8, 9, 2), "7 x 8 x 9 x 2"), ((7, 8, 9, 1, 3), "1 x 3")],
)
def test_wrong_number_of_dimensions(path, shape, words):
    assert_refused(put(path, raw_image(labels_of(shape))), words)
    with pytest.raises(errors.DamagedFileError) as caught:
        nifti.read_header(path)
    assert caught.value.code == "dimensions"


@pytest.mark.parametrize(
    "edit",
    [
        field(dim=(1, 0)),
        field(dim=(3, -5)),
        field(dim=(0, 0)),
        field(dim=(0, 8)),
        field(dim=(0, -3)),
        field(dim=(slice(1, 4), [-1, -1, -1])),
        field(magic=b"ni1"),
        field(magic=b""),
        field(sizeof_hdr=0, dim=(0, 99)),
        field(vox_offset=np.nan),
        field(vox_offset=np.inf),
        field(vox_offset=-np.inf),
        field(vox_offset=1e30),
        field(vox_offset=2000),
        field(scl_slope=1, scl_inter=np.nan),
        field(scl_slope=1, scl_inter=np.inf),
        field(srow_x=(0, np.nan)),
        field(srow_y=(3, np.inf)),
        field(srow_x=(slice(None), 0)),
        field(srow_y=(slice(None), [-1.5, 0, 0, 1])),
        field(sform_code=0, quatern_b=2),
        field(sform_code=0, quatern_b=np.nan),
        field(sform_code=0, qoffset_x=np.nan),
        field(sform_code=0, pixdim=(1, np.nan)),
        field(sform_code=0, qform_code=0, pixdim=(2, np.inf)),
    ],
)
def test_headers_that_make_no_sense(path, edit):
    assert_refused(put(path, raw_image(labels_of(), edit)))


@pytest.mark.parametrize("code", [0, 1, 3, 32, 128, 1536, 1792, 2048, 2304, 77, -1])
def test_data_types_that_are_no_number_per_voxel(path, code):
    put(path, raw_image(labels_of(), field(datatype=code)) + bytes(40 * 504))
    assert_refused(path, "data type", "header makes no sense")


@pytest.mark.parametrize(
    ("kind", "dims"),
    [
        (nib.Nifti1Header, [32000, 32000, 32000]),
        (nib.Nifti1Header, [32000, 32000, 30]),
        # 2**32 voxels more than there are: the length in the trailer, kept modulo 2**32, fits
        (nib.Nifti1Header, [16384, 16384, 16]),
        (nib.Nifti2Header, [2**62, 2**62, 2**62]),
        (nib.Nifti2Header, [2**31, 2**31, 4]),
    ],
)
def test_header_that_claims_too_much(path, kind, dims):
    put(path, raw_image(np.zeros((0, 0, 0), np.uint8), field(dim=(slice(0, 4), [3, *dims])), kind))
    tracemalloc.start()
    try:
        assert_refused(path, "cannot hold")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert nifti.mask_memory(path) == 0


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.nii.gz", tmp_path):
        with pytest.raises(errors.DamagedFileError, match="cannot be read") as caught:
            nifti.read_header(path)
        assert caught.value.code == "unreadable"
    assert nifti.mask_memory(tmp_path / "none.nii.gz") == 0


def test_file_that_shrinks_after_its_header_was_read(path, small):
    path.write_bytes(small)
    header = nifti.read_header(path)
    path.write_bytes(small[:-9])
    with pytest.raises(errors.DamagedFileError):
        list(nifti.voxel_chunks(header))


# ---- labels


@pytest.mark.parametrize(
    ("dtype", "label", "shown"),
    [
        ("float32", 2.5, "2.5"),
        ("float64", 14.999999, "15"),
        ("int16", -1, "-1"),
        ("uint16", 300, "300"),
        ("float32", np.nan, "nan"),
        ("float64", np.inf, "inf"),
        ("float32", -np.inf, "-inf"),
        ("uint16", 256, "256"),
        ("int8", -128, "-128"),
        ("int64", 2**40, "1.09951e+12"),
        ("uint64", 2**64 - 1, "1.84467e+19"),
        ("int32", 512, "512"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_no_label(path, tmp_path, dtype, label, shown):
    data = labels_of(dtype=dtype)
    data[6, 7, 8] = label
    header = nifti.read_header(put(path, raw_image(data)))
    for read in (
        lambda: nifti.read_mask(path),
        lambda: nifti.stage_mask(tmp_path / "m.nii.gz", header, AFFINE),
    ):
        with pytest.raises(errors.DatasetError, match="expected whole numbers") as caught:
            read()
        assert caught.value.code == "labels" and caught.value.found == shown
    assert list(tmp_path.iterdir()) == [path]


def test_many_wrong_labels_are_not_all_listed(path):
    put(path, raw_image(np.arange(504, dtype=np.int16).reshape(SHAPE)))
    with pytest.raises(errors.DatasetError, match=r"256, 257, 258, 259, 260 \.\.\. found"):
        nifti.read_mask(path)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_labels_at_the_ends(path, dtype):
    largest = min(255, np.iinfo(dtype).max if dtype in INTEGERS else 255)
    data = np.full(SHAPE, largest, dtype)
    data[0] = 0
    assert (nifti.read_mask(put(path, raw_image(data))).data == data).all()


def test_minus_zero_is_background(path):
    assert not nifti.read_mask(put(path, raw_image(np.full(SHAPE, -0.0)))).data.any()


@pytest.mark.parametrize("divisor", [1, 2, 3, 10, 16, 126, 127])
@pytest.mark.filterwarnings("error")
def test_scaled_labels_are_rounded_back(path, divisor):
    data = (np.arange(504).reshape(SHAPE) % 256 * divisor).astype(np.int32)
    put(path, raw_image(data, field(scl_slope=1 / divisor, scl_inter=0)))
    assert (nifti.read_mask(path).data == data // divisor).all()


@pytest.mark.parametrize("value", [1, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_scaled_values_that_are_no_labels(path, value):
    data = np.zeros(SHAPE, np.float32)
    data[0, 0, 0] = value
    put(path, raw_image(data, field(scl_slope=2.5, scl_inter=0)))
    with pytest.raises(errors.DatasetError, match="expected whole numbers"):
        nifti.read_mask(path)


# ---- writing masks


@pytest.mark.parametrize("affine", [AFFINE, np.diag([0.78125, 0.78125, 5.0, 1])])
def test_written_mask(path, affine):
    nifti.write_mask(path, labels_of(), affine, "src=1")
    mask = nifti.read_mask(path)
    assert (mask.data == labels_of()).all() and (mask.header.affine == affine).all()
    assert mask.header.descrip == "src=1" and mask.header.dtype == np.uint8
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("dtype", "code"), [(np.float32, 16), (np.uint8, 2)])
def test_header_written_field_by_field(dtype, code):
    raw = nifti.fresh_header(SHAPE, dtype, AFFINE, "src=89abcdef")
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
    encoded = nifti.encode_mask(labels_of(), AFFINE)
    assert encoded[:3] == b"\x1f\x8b\x08" and encoded[3:8] == bytes(5)
    assert gzip.decompress(encoded)[352:] == labels_of().tobytes(order="F")


def test_too_large_for_the_format():
    with pytest.raises(errors.DatasetError, match="32768"):
        nifti.fresh_header((1, 32768, 1), np.uint8, AFFINE)
    assert nifti.fresh_header((1, 32767, 1), np.uint8, AFFINE)


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
    assert nifti.encode_mask(data, AFFINE, "x", value) == nifti.encode_mask(
        same_voxels()["F"], AFFINE, "x", value
    )
    assert nifti.voxel_crc(data) == f"{zlib.crc32(labels_of().tobytes(order='F')):08x}"


@pytest.mark.parametrize("value", [0, 3, 77])
def test_binary_mask_of_a_label(value):
    binary = (labels_of() == value).astype(np.uint8)
    assert nifti.encode_mask(labels_of(), AFFINE, value=value) == nifti.encode_mask(binary, AFFINE)


def test_many_chunks(path, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    nifti.write_mask(path, labels_of(), AFFINE)
    assert (np.asarray(nib.load(path).dataobj) == labels_of()).all()
    assert nifti.voxel_crc(labels_of()) == f"{zlib.crc32(labels_of().tobytes(order='F')):08x}"


def test_staged_is_not_there_before_commit(path):
    encoded = nifti.encode_mask(labels_of(), AFFINE)
    with nifti.staged(path, encoded) as pending:
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
        nifti.write_mask(path, labels_of(), AFFINE)
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
        lambda: nifti.write_mask(target, labels_of(), AFFINE),
        lambda: nifti.stage_volume(target, source, AFFINE),
        lambda: nifti.stage_volume(target, source, AFFINE, "", True),
        lambda: nifti.stage_mask(target, source, AFFINE),
    ):
        with pytest.raises(errors.DatasetError, match="out.nii.gz.*No space left") as caught:
            write()
        assert caught.value.code == "write" and list(tmp_path.iterdir()) == [path]


def test_disk_that_loses_the_end_of_a_volume(path, tmp_path, monkeypatch):
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.int16))))
    spoil_on_seal(monkeypatch, -6)
    with pytest.raises(errors.DatasetError, match="nothing was replaced"):
        nifti.stage_volume(tmp_path / "v.nii.gz", source, AFFINE)
    assert list(tmp_path.iterdir()) == [path]


# ---- comparing


def test_is_same_file(path, tmp_path):
    encoded = nifti.encode_mask(labels_of(), AFFINE, "src=1")
    assert not nifti.is_same_file(path, encoded)
    path.write_bytes(encoded)
    assert nifti.is_same_file(path, encoded)
    path.write_bytes(gzip.compress(gzip.decompress(encoded), 9))
    assert nifti.is_same_file(path, encoded)
    for other in (
        nifti.encode_mask(labels_of(), AFFINE, "src=2"),
        nifti.encode_mask(labels_of(), AFFINE + 1e-3 * np.eye(4)),
        nifti.encode_mask(labels_of((7, 8, 10)), AFFINE),
    ):
        assert not nifti.is_same_file(path, other)
    for damaged in (encoded[:-1], encoded[:50], b"", encoded + b"x"):
        path.write_bytes(damaged)
        assert not nifti.is_same_file(path, encoded)
    assert not nifti.is_same_file(path.with_name("none"), encoded)


def test_has_label(path):
    data = labels_of()
    encoded = nifti.encode_mask(data, AFFINE, value=3)
    path.write_bytes(encoded)
    assert nifti.has_label(path, data, 3, encoded)
    binary = (data == 3).astype(np.float64)
    put(path, raw_image(binary, affine=np.eye(4)))
    assert nifti.has_label(path, data, 3, encoded)
    assert not nifti.has_label(path, data, 4, nifti.encode_mask(data, AFFINE, value=4))
    put(path, raw_image(binary, field(scl_slope=2, scl_inter=0)))
    assert not nifti.has_label(path, data, 3, encoded)
    put(path, raw_image(binary[:, :, :8]))
    assert not nifti.has_label(path, data, 3, encoded)


@pytest.mark.parametrize("voxel", [0, 503])
def test_has_label_looks_at_every_voxel(path, voxel, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    data = labels_of()
    changed = (data == 3).astype(np.uint8).ravel(order="F")
    changed[voxel] ^= 1
    put(path, raw_image(changed.reshape(SHAPE, order="F")))
    assert not nifti.has_label(path, data, 3, nifti.encode_mask(data, AFFINE, value=3))


def test_has_label_of_a_damaged_file(path):
    encoded = nifti.encode_mask(labels_of(), AFFINE, value=3)
    path.write_bytes(encoded[:-1])
    with pytest.raises(errors.DamagedFileError):
        nifti.has_label(path, labels_of(), 3, encoded)


def test_mask_memory(path):
    nifti.write_mask(path, labels_of(), AFFINE)
    assert nifti.mask_memory(path) >= labels_of().size


# ---- converting volumes


def convert(path, data, edit=None, read_ahead=False, **options):
    """Convert one volume and return its voxels, what was met, and the file's bytes."""
    source = nifti.read_header(put(path, raw_image(data, edit, **options)))
    target = path.with_name("out.nii.gz")
    pending, conversion = nifti.stage_volume(target, source, AFFINE, "src=1", read_ahead)
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
    assert conversion == nifti.Conversion() and conversion.complaints(path) == []


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
    assert any("largest loss" in text for text in conversion.complaints(path)) == (loss > 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("edit", [None, field(scl_slope=2, scl_inter=1)])
@pytest.mark.filterwarnings("error")
def test_nan_and_infinities_are_kept_and_counted(path, dtype, edit):
    data = np.ones(SHAPE, dtype)
    data[0, 0, :4] = np.nan, np.nan, np.inf, -np.inf
    stored, conversion, _ = convert(path, data, edit)
    assert np.array_equal(stored[0, 0, :4], data[0, 0, :4], equal_nan=True)
    assert (conversion.n_nan, conversion.n_infinite, conversion.largest_loss) == (2, 2, 0)
    (text,) = conversion.complaints(path)
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


@pytest.mark.parametrize("read_ahead", [False, True])
def test_source_damaged_at_its_end_leaves_nothing(path, tmp_path, read_ahead, monkeypatch):
    monkeypatch.setattr(nifti, "CHUNK_VOXELS", 100)
    put(path, raw_image(labels_of(dtype=np.int16)))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1  # of the stored CRC
    path.write_bytes(content)
    source = nifti.read_header(path)
    target = tmp_path / "out.nii.gz"
    for stage in (
        lambda: nifti.stage_volume(target, source, AFFINE, "", read_ahead),
        lambda: nifti.stage_mask(target, source, AFFINE),
    ):
        with pytest.raises(errors.DamagedFileError, match="corrupt"):
            stage()
        assert list(tmp_path.iterdir()) == [path]


def test_converted_mask_is_the_encoded_mask(path, tmp_path):
    """One writer: what routine 02 streams and what later routines encode are the same bytes."""
    source = nifti.read_header(put(path, raw_image(labels_of(dtype=np.uint16))))
    with nifti.stage_mask(tmp_path / "m.nii.gz", source, AFFINE, "src=1") as pending:
        pending.commit()
    assert (tmp_path / "m.nii.gz").read_bytes() == nifti.encode_mask(labels_of(), AFFINE, "src=1")


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


def itk_affine(path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31))
def test_geometry_is_read_back_into_the_same_bytes(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "same.nii.gz"
    affine = random_affine(seed)
    volume = nifti.fresh_header(SHAPE, np.float32, affine)
    path.write_bytes(nifti.encode_mask(labels_of(), affine))
    header = nifti.read_header(path)
    mask = nifti.fresh_header(SHAPE, np.uint8, header.affine)
    assert mask[:70] + mask[74:] == volume[:70] + volume[74:]  # all but datatype and bitpix
    assert nifti.encode_mask(labels_of(), header.affine) == path.read_bytes()
    assert header.complaints() == []


@pytest.mark.parametrize("seed", range(40))
def test_itk_and_nibabel_agree(path, capfd, seed):
    affine = random_affine(seed)
    data = labels_of()
    nifti.write_mask(path, data, affine)
    shape = (512, 512, 100)
    assert geometry.corner_displacement_mm(nib.load(path).affine, itk_affine(path), shape) < 1e-3
    assert geometry.corner_displacement_mm(nib.load(path).affine, affine, shape) < 1e-3
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T == data).all()
    assert capfd.readouterr().err == ""


def confirmed(tmp_path, affine, mask_affine=None):
    """A pair as routine 02 writes it, and what it warned of."""
    archive = tmp_path / "archive"
    archive.mkdir()
    volume = put(archive / "volume.nii.gz", raw_image(labels_of(dtype=np.int16), affine=affine))
    mask = put(
        archive / "mask.nii.gz",
        raw_image(labels_of(), affine=affine if mask_affine is None else mask_affine),
    )
    sample = samples.Sample("amos_0004", tmp_path / "grouped")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pairs.confirm(pairs.Pair(sample, {"subset": "train"}, volume, mask), overwrite=False)
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
    nifti.write_mask(tmp_path / "a.nii.gz", data, AFFINE, "src=1")
    result = run_python(
        "import sys; sys.modules['isal'] = None\n"
        "from utils.storage import nifti\n"
        "mask = nifti.read_mask(sys.argv[1])\n"
        "nifti.write_mask(sys.argv[2], mask.data, mask.header.affine, mask.header.descrip)\n"
        "print(nifti.codec.__name__, nifti.voxel_crc(mask.data))",
        tmp_path / "a.nii.gz",
        tmp_path / "b.nii.gz",
    )
    assert result.stderr == ""
    assert result.stdout.split() == ["zlib", nifti.voxel_crc(data)]
    contents = [
        gzip.decompress((tmp_path / name).read_bytes()) for name in ("a.nii.gz", "b.nii.gz")
    ]
    assert contents[0] == contents[1]

"""NIfTI files: what is read, what is refused."""

import dataclasses
import gzip
import itertools
import os
import re
import tracemalloc
import zlib

import nibabel as nib
import nifti_files
import numpy as np
import pytest
from nifti_files import AFFINE, FLOATS, INTEGERS, SHAPE, field, labels_of, put, raw_image, values_of

from utils import errors
from utils.storage import deflate, files, nifti, nifti_writing

codec, path = nifti_files.each_codec, nifti_files.target_path  # fixtures


@pytest.fixture(scope="module", name="small")
def small_file():
    """A small sound file as bytes."""
    return gzip.compress(raw_image(labels_of((3, 4, 5))), mtime=0)


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
    told = header.complaints()
    assert any("neither" in text for text in told) == (not any(codes))
    assert any("contradict each other" in text for text in told) == all(codes)


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
        for padding, size in itertools.product((0, 1, 700), (30, 64, 1 << 18)):
            path.write_bytes(b"".join(members) + bytes(padding))
            monkeypatch.setattr(deflate.igzip, "READ_BUFFER_SIZE", size, raising=False)
            header, stored = read_all(path)
            assert (stored == labels_of()).all()
            assert header.source_crc == f"{zlib.crc32(raw):08x}"


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
    monkeypatch.setattr(deflate.igzip, "READ_BUFFER_SIZE", size, raising=False)
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
        with nifti.Stream(path) as stream:
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
        gzip.compress(b"", mtime=0),
        gzip.compress(b"short", mtime=0),
        gzip.compress(bytes(1000), mtime=0),
        gzip.compress(b"", mtime=0) + bytes(1000),
        gzip.compress(b"x" * 347, mtime=0),
    ],
)
def test_no_nifti(path, content):
    path.write_bytes(content)
    assert_refused(path, "damaged")


def test_uncompressed_file_is_refused(path):
    path.write_bytes(raw_image(labels_of()))
    assert_refused(path, "gzip")


@pytest.mark.parametrize(
    ("shape", "kept", "at_least"), [((70, 80, 90), 0.99, 252_000), ((140, 150, 160), 0.5, 1 << 20)]
)
def test_message_of_a_cut_file_counts_what_is_there(path, shape, kept, at_least):
    raw = raw_image(labels_of(shape))
    whole = gzip.compress(raw, mtime=0)
    cut = whole[: int(kept * len(whole))]
    length = len(zlib.decompressobj(31).decompress(cut))
    assert at_least < length < len(raw)
    path.write_bytes(cut)
    with pytest.raises(errors.DamagedFileError, match=f"cut off, after {length:,} uncompressed"):
        nifti.read_header(path)


def test_an_empty_file_is_a_cut_one(path):
    path.write_bytes(b"")
    with pytest.raises(errors.DamagedFileError, match="damaged: the file is empty") as caught:
        nifti.read_header(path)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("junk", "code"),
    [
        (b"x", "junk"),
        (b"\0x", "junk"),
        (b"\x1f", "junk"),
        (b"\x1fx", "junk"),
        (b"123456789", "junk"),
        (b"junk" * 100, "junk"),
        (b"\x1f\x8b", "truncated"),  # as the next member begins
        (b"\x1f\x8bjunk" * 100, "damaged"),
    ],
)
@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 50, 60)])
def test_junk_behind_the_stream(path, shape, junk, code):
    put(path, raw_image(labels_of(shape)))
    path.write_bytes(path.read_bytes() + junk)
    with pytest.raises(errors.DamagedFileError) as caught:
        read_all(path)
    assert caught.value.code == code and str(path) in str(caught.value)
    assert ("something else follows" in str(caught.value)) == (code == "junk")


@pytest.mark.parametrize("position", [-8, -4])
def test_end_far_behind_the_last_voxel_is_checked(path, tmp_path, position):
    """Whoever reads voxels alone reads on to the trailer."""
    behind = np.random.default_rng(0).bytes(1 << 20)
    content = bytearray(gzip.compress(raw_image(labels_of()) + behind, 1))
    path.write_bytes(content)
    header = nifti.read_header(path)
    content[position] ^= 1
    path.write_bytes(content)
    header = dataclasses.replace(header, identity=nifti_files.identity_of(path))
    for read in (
        lambda: list(nifti.voxel_chunks(header)),
        lambda: nifti.read_mask(path),
        lambda: nifti.check(header),
        lambda: nifti_writing.has_label(path, labels_of(), 3, b""),
        lambda: nifti_writing.stage_volume(tmp_path / "v.nii.gz", header, AFFINE),
        lambda: nifti_writing.stage_volume(tmp_path / "v.nii.gz", header, AFFINE, "", True),
        lambda: nifti_writing.stage_mask(tmp_path / "v.nii.gz", header, AFFINE),
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


@pytest.mark.parametrize("change", ["cut off", "edited in place", "replaced"])
def test_file_that_changes_after_its_header_was_read(path, small, change):
    """Header and voxels are those of one file: what was decided by one holds for the other."""
    path.write_bytes(small)
    header = nifti.read_header(path)
    assert len(list(nifti.voxel_chunks(header))) == 1
    if change == "cut off":
        os.truncate(path, len(small) - 9)
    elif change == "edited in place":
        path.write_bytes(small)
        os.utime(path, ns=(0, header.identity[3] + 1))
    else:
        other = path.with_name("other")
        other.write_bytes(small)
        os.utime(other, ns=(0, header.identity[3]))
        os.replace(other, path)
    reason = f"{path}: was replaced or changed by another process while it was worked on"
    for read in (
        lambda: list(nifti.voxel_chunks(header)),
        lambda: nifti.check(header),
        lambda: nifti.read_mask(path, header),
    ):
        with pytest.raises(errors.DatasetError, match=f"^{re.escape(reason)}; run this again$"):
            read()


def test_an_uncompressed_file_that_changes_while_it_is_read(tmp_path):
    """No checksum would tell, as that of a .nii.gz does."""
    path = tmp_path / "x.nii"
    raw = raw_image(labels_of((70, 70, 70)))
    path.write_bytes(raw)
    header = nifti.read_header(path)
    assert header.n_voxels > nifti.CHUNK_VOXELS
    chunks = nifti.voxel_chunks(header)
    next(chunks)
    path.write_bytes(raw[:-1] + b"x")
    os.utime(path, ns=(0, header.identity[3] + 1))
    with pytest.raises(errors.DatasetError, match="was replaced or changed by another process"):
        list(chunks)


def test_an_image_is_read_through_one_open(path, small, monkeypatch):
    """Whatever gets the name meanwhile: header and voxels come from the file that was opened."""
    path.write_bytes(small)
    expected = nifti.read_mask(path)
    other = nifti_writing.encode_mask(labels_of((5, 5, 5)), np.eye(4))

    def replaced_after_opening(path, call=files.opened):
        handle = call(path)
        path.with_name("other").write_bytes(other)
        os.replace(path.with_name("other"), path)
        return handle

    monkeypatch.setattr(files, "opened", replaced_after_opening)
    mask = nifti.read_mask(path)
    monkeypatch.undo()
    assert np.array_equal(mask.data, expected.data)
    assert mask.header.identity == expected.header.identity
    assert nifti.read_header(path).shape == (5, 5, 5)


# ---- labels


@pytest.mark.parametrize(
    ("dtype", "label", "shown"),
    [
        ("float32", 2.5, "2.5"),
        ("float64", 14.999999, "14.999999"),
        ("float32", 3.0000002, "3.0000002"),
        ("float64", 1e-9, "1e-09"),
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
        lambda: nifti_writing.stage_mask(tmp_path / "m.nii.gz", header, AFFINE),
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


def test_mask_memory(path):
    nifti_writing.write_mask(path, labels_of(), AFFINE)
    assert nifti.mask_memory(path) >= labels_of().size


@pytest.mark.parametrize("damage", [-9, 0, None])
def test_what_is_wrong_is_said_of_the_file_that_was_opened(path, small, damage):
    """Another file may bear its name by now."""
    path.write_bytes(b"no gzip" if damage is None else small[:damage])
    with pytest.raises(errors.DamagedFileError) as expected:
        nifti.check(nifti.read_header(path))
    with nifti.Stream(path) as stream:
        path.unlink()
        with pytest.raises(errors.DamagedFileError) as caught:
            stream.finish()
    assert (str(caught.value), caught.value.code) == (str(expected.value), expected.value.code)

"""Members of zip files are read as files are, and never wrongly."""

import errno
import gzip
import io
import os
import re
import stat
import tracemalloc
import zipfile
import zlib

import nifti_files
import numpy as np
import pytest
import zip_files
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_files import DEFLATED, STORED

from utils import errors
from utils.storage import files, nifti, nifti_writing, zips

codec = nifti_files.each_codec  # fixture
NOISE = np.random.default_rng(0).bytes(200_000)
SMALL = b"0123456789" * 7
both_methods = pytest.mark.parametrize("method", [STORED, DEFLATED])


@pytest.fixture(name="path")
def zip_path(tmp_path):
    """A name as it may occur."""
    return tmp_path / "amos 22 ä.ZIP"


def refusal(path, name="a/x", code="damaged"):
    with pytest.raises(errors.DamagedFileError) as caught:
        files.read_bytes(path / name)
    assert str(caught.value).startswith(f"{path}/{name}: ")
    assert (caught.value.file, caught.value.code) == (str(path / name), code)
    return str(caught.value).removeprefix(f"{path}/{name}: ")


# ---- what is read


@both_methods
@pytest.mark.parametrize("content", [b"", b"x", SMALL, NOISE, bytes(300_000)])
def test_the_bytes_of_a_member(path, method, content):
    zip_files.put(path, {"b": b"before", "a/x": content, "z": b"behind"}, method)
    assert files.read_bytes(path / "a/x") == content
    assert b"".join(files.pieces(path / "a/x", 777)) == content
    with files.opened(path / "a/x") as member:
        half = member.read(len(content) // 2)
        assert files.tail(member, 8) == content[-8:]
        assert files.size(member) == len(content)
        assert half + member.read() == content
        assert (member.read(), member.read(1)) == (b"", b"")
        member.seek(0)
        assert member.read() == content


@both_methods
def test_a_member_is_a_file_and_its_size_is_known(path, method):
    zip_files.put(path, {"a/x": NOISE}, method)
    assert files.is_file(path / "a/x") and files.size_bytes(path / "a/x") == len(NOISE)
    for other in (path / "a", path / "a/y", path / "a/x/y", path.with_name("no.zip") / "a/x"):
        assert not files.is_file(other) and files.size_bytes(other) == 0
        with pytest.raises(errors.DamagedFileError, match="cannot be read: "):
            files.read_bytes(other)


def test_a_zip_on_a_disk_that_fails_has_no_members(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    zip_files.put(path, {"a/x": SMALL})
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    assert not files.is_file(path / "a/x") and files.size_bytes(path / "a/x") == 0
    for read in (lambda: files.members(path), lambda: files.read_bytes(path / "a/x")):
        with pytest.raises(errors.DamagedFileError, match="cannot be read: Input/output error"):
            read()


def test_a_folder_that_is_called_zip_stays_a_folder(tmp_path):
    (tmp_path / "x.zip/y.zip").mkdir(parents=True)
    (tmp_path / "x.zip/a").write_bytes(SMALL)
    zip_files.put(tmp_path / "x.zip/y.zip/z.zip", {"b": NOISE})
    assert files.read_bytes(tmp_path / "x.zip/a") == SMALL
    assert files.read_bytes(tmp_path / "x.zip/y.zip/z.zip/b") == NOISE


def test_what_lies_below_another_file_is_no_member(tmp_path):
    zip_files.put(tmp_path / "table.csv", {"a": SMALL})
    with pytest.raises(errors.DamagedFileError, match="Not a directory"):
        files.read_bytes(tmp_path / "table.csv/a")


def test_zip64_and_bytes_before_and_behind_the_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/x", "a/y"):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(NOISE)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert files.read_bytes(path / "a/x") == files.read_bytes(path / "a/y") == NOISE


def test_zip64_by_the_number_and_the_place_of_members(path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    zip_files.put(path, {"a/x": NOISE, "a/y": SMALL, "a/z": SMALL})
    assert b"PK\x06\x06" in path.read_bytes()
    assert files.read_bytes(path / "a/x") == NOISE
    assert files.read_bytes(path / "a/z") == SMALL


def test_sizes_behind_the_data_as_of_a_stream(path):
    class Stream:
        def __init__(self):
            self.content = b""

        def write(self, piece):
            self.content += piece
            return len(piece)

        def flush(self):
            pass

    stream = Stream()
    with zipfile.ZipFile(stream, "w", DEFLATED) as archive:
        archive.writestr("a/x", NOISE)
        archive.writestr("a/y", SMALL)
    path.write_bytes(stream.content)
    assert b"PK\x07\x08" in stream.content
    assert files.read_bytes(path / "a/x") == NOISE
    assert files.read_bytes(path / "a/y") == SMALL


UNICODE_EXTRA = b"\x75\x70\x0e\x00\x01" + zlib.crc32(b"gr__e.csv").to_bytes(4, "little")


@pytest.mark.parametrize(
    "raw, flags, extra, name",
    [
        ("größe.csv".encode(), 0x800, b"", "größe.csv"),
        ("größe.csv".encode(), 0, b"", "größe.csv"),
        ("größe.csv".encode("cp437"), 0, b"", "größe.csv"),
        ("标签.csv".encode("gbk"), 0, b"", "标签.csv"),
        ("标签.csv".encode(), 0, b"", "标签.csv"),
        (b"gr__e.csv", 0, UNICODE_EXTRA + "größ.".encode()[:9] + b"\0\0", "größ."),
        (b"other.csv", 0, UNICODE_EXTRA + "größ.".encode()[:9] + b"\0\0", "other.csv"),
        (b"a\\b\\x.csv", 0, b"", "a/b/x.csv"),
        (b"../../a/./x.csv", 0, b"", "a/x.csv"),
        (b"/a//x.csv", 0, b"", "a/x.csv"),
        (b"x.csv\0.nii.gz", 0, b"", "x.csv"),
    ],
)
def test_names(path, raw, flags, extra, name):
    zip_files.put_raw(
        path, {raw: SMALL, b"folder/": b"", b"folder\\": b"", b"..": b""}, flags, extra
    )
    assert [entry.name for entry in files.members(path)] == [name]
    assert files.read_bytes(path / name) == SMALL


def test_members_come_in_their_order_and_two_of_a_name_are_two(path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for name in ("b", "a", "b"):
            archive.writestr(name, SMALL)
    assert sorted(entry.name for entry in files.members(path)) == ["a", "b", "b"]
    told = "cannot be read: the zip file has 2 members of this name"
    assert refusal(path, "b", "unreadable") == told
    assert (
        refusal(path, "c", "unreadable")
        == "cannot be read: the zip file has no member of this name"
    )


def test_a_zip_that_was_replaced_is_read_anew(path):
    zip_files.put(path, {"a/x": SMALL})
    assert files.read_bytes(path / "a/x") == SMALL
    zip_files.put(path, {"b": NOISE, "a/x": NOISE})
    assert files.read_bytes(path / "a/x") == NOISE


# ---- what is refused


def is_refused(path, name, content):
    """Whether a member is refused, in one line that names it; else it has to be the content."""
    try:
        assert files.read_bytes(path / name) == content
    except errors.DamagedFileError as error:
        assert str(error).startswith((f"{path}/{name}: ", f"{path}: "))
        assert "\n" not in str(error)
        return True
    return False


@both_methods
def test_every_flipped_bit_gives_the_right_bytes_or_names_zip_and_member(path, method):
    members = {"a/x": b"A" * 50, "b": b"0123456789ab"}
    size = zip_files.put(path, members, method).stat().st_size
    n_refused = 0
    for number in range(8 * size):
        zip_files.flip(path, *divmod(number, 8))
        os.utime(path, (number, number))  # else it may count as the same zip file
        n_refused += sum(is_refused(path, name, content) for name, content in members.items())
        zip_files.flip(path, *divmod(number, 8))
    assert n_refused > size


@both_methods
def test_a_zip_cut_at_every_byte_is_named_with_its_size(path, method):
    sound = zip_files.put(path, {"a/x": SMALL, "b": NOISE[:99]}, method).read_bytes()
    for size in range(len(sound)):
        path.write_bytes(sound[:size])
        with pytest.raises(errors.DamagedFileError) as caught:
            files.members(path)
        assert str(caught.value).startswith(f"{path}: damaged: ")
        assert str(caught.value).endswith(f" ({size:,} bytes)")
        if size >= 30:
            assert "cut off: the directory at its end is missing; download it" in str(caught.value)
            assert caught.value.code == "cut_zip"


@pytest.mark.parametrize(
    "content, told",
    [
        (b"<!DOCTYPE html><html>", "no zip file but a web page (HTML or XML), perhaps one that"),
        (b"", "no zip file but empty; download it again (0 bytes)"),
        (b"Rar!" + SMALL, "no zip file but a RAR archive; unpack it"),
    ],
)
def test_what_is_no_zip_is_told_by_its_first_bytes(path, content, told):
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match=re.escape(f"{path}: damaged: {told}")):
        files.members(path)
    with pytest.raises(errors.DamagedFileError, match=re.escape(f"{path}: damaged: {told}")):
        files.read_bytes(path / "a/x")


@pytest.mark.parametrize("what", ["local", "central"])
@pytest.mark.parametrize("field", ["crc", "size", "stored_size", "method"])
def test_header_and_directory_that_contradict_each_other(path, what, field):
    zip_files.put(path, {"a/x": SMALL, "b": SMALL})
    sides = {"local": what == "local", "central": what == "central"}
    zip_files.edit(path, **sides, **{field: 0 if field == "method" else 17})
    told = "damaged: the zip's member has a header that contradicts the zip's directory"
    assert refusal(path) == told
    assert files.read_bytes(path / "b") == SMALL


@both_methods
def test_a_wrong_crc(path, method):
    zip_files.edit(zip_files.put(path, {"a/x": SMALL, "b": SMALL}, method), crc=0xABC)
    assert refusal(path, code="crc") == (
        f"damaged: the zip's member has a CRC of {zlib.crc32(SMALL):08x}, the zip's directory says "
        "00000abc"
    )
    assert files.read_bytes(path / "b") == SMALL


@pytest.mark.parametrize("content", [SMALL, NOISE])
def test_a_member_that_holds_more_than_its_entry_says(path, content):
    zip_files.put(path, {"a/x": content, "b": SMALL})
    zip_files.edit(path, size=50, crc=zlib.crc32(content[:50]))
    told = "damaged: the zip's member holds more than the 50 bytes of the zip's directory"
    assert refusal(path, code="oversized") == told
    with files.opened(path / "a/x") as member:
        assert member.read(49) == content[:49]
        with pytest.raises(errors.DamagedFileError, match="holds more than the 50 bytes"):
            member.read(1)
    assert files.read_bytes(path / "b") == SMALL


def test_a_member_that_holds_less_than_its_entry_says(path):
    zip_files.edit(zip_files.put(path, {"a/x": SMALL, "b": SMALL}), size=71)
    told = "damaged: the zip's member ends after 70 bytes, the zip's directory promises 71"
    assert refusal(path, code="truncated") == told
    zip_files.edit(zip_files.put(path, {"a/x": SMALL, "b": SMALL}, STORED), size=71)
    assert refusal(path) == "damaged: the zip's member takes 70 bytes uncompressed, expected 71"


@both_methods
def test_a_member_that_reaches_into_the_next_one_or_beyond_the_end(path, method):
    for which, name in enumerate(("a/x", "b")):
        zip_files.put(path, {"a/x": SMALL, "b": SMALL}, method)
        zip_files.edit(path, which, stored_size=999, size=999)
        told = "the zip's member reaches into the next member or beyond the end of the zip file"
        assert refusal(path, name) == f"damaged: {told}"


@pytest.mark.parametrize("begin", [3, 1 << 20])
def test_a_member_that_does_not_begin_there(path, begin):
    zip_files.put(path, {"a/x": SMALL, "b": SMALL})
    zip_files.edit(path, local=False, begin=begin)
    told = "the zip's member does not begin where the zip's directory says; unpack the zip file"
    assert refusal(path) == f"damaged: {told}, or download it again"


def zip64():
    """A zip file whose sizes and places all stand in fields of eight bytes."""
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        patched.setattr(zipfile, "ZIP64_LIMIT", 10)
        with zipfile.ZipFile(file, "w", DEFLATED) as archive:
            for name in ("a/x", "b"):
                archive.writestr(name, SMALL)
    return file.getvalue()


ODD_BYTES = st.sampled_from([b"", b"\0", b"\xff" * 8, b"\x7f", b"\0" * 4, b"\xff\xff\xff\x7f"])


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.floats(0, 1), ODD_BYTES, st.booleans()), min_size=1, max_size=3))
def test_whatever_is_done_to_a_zip64_is_told_or_harmless(tmp_path_factory, edits):
    content = zip64()
    for place, odd, is_put in edits:
        begin = int(place * len(content))
        content = content[:begin] + odd + content[begin + (0 if is_put else max(len(odd), 1)) :]
    path = tmp_path_factory.mktemp("odd") / "a.zip"
    path.write_bytes(content)
    for name in ("a/x", "b"):
        is_refused(path, name, SMALL)


@pytest.mark.parametrize(
    "method, name",
    [
        (9, "Deflate64 (Windows makes it of files above 2 GiB)"),
        (12, "bzip2"),
        (14, "LZMA"),
        (77, "method 77"),
    ],
)
def test_a_method_that_is_not_known_is_named(path, method, name):
    zip_files.edit(zip_files.put(path, {"a/x": SMALL, "b": SMALL}), method=method)
    assert refusal(path, code="method") == (
        f"cannot be read: the zip's member is compressed by {name}, expected Deflate or none; "
        "unpack the zip file"
    )
    assert files.read_bytes(path / "b") == SMALL


def test_an_encrypted_member(path):
    zip_files.edit(zip_files.put(path, {"a/x": SMALL, "b": SMALL}), flags=1)
    told = "cannot be read: the zip's member is encrypted; unpack the zip file with its password"
    assert refusal(path, code="encrypted") == told
    assert files.read_bytes(path / "b") == SMALL


def test_a_symbolic_link(path):
    info = zipfile.ZipInfo("a/x")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "../b")
        archive.writestr("b", SMALL)
    told = "is a symbolic link; unpack the zip file and move it elsewhere"
    assert refusal(path, code="link") == f"cannot be read: the zip's member {told}"
    assert files.read_bytes(path / "b") == SMALL


@pytest.mark.parametrize("is_zip64", [False, True])
def test_a_part_of_a_split_zip_is_named_as_that(path, is_zip64):
    if is_zip64:
        path.write_bytes(zip64())
        signature, place = b"PK\x06\x07", 16  # how many parts there are
    else:
        zip_files.put(path, {"a/x": SMALL, "b": SMALL})
        signature, place = b"PK\x05\x06", 4  # which of them this is
    content = bytearray(path.read_bytes())
    content[content.rindex(signature) + place] = 2
    path.write_bytes(content[5:])  # it begins within a member
    with pytest.raises(errors.DamagedFileError) as caught:
        files.members(path)
    told = "one part of a split zip file; join the parts (zip -s 0), or unpack them"
    assert str(caught.value) == f"{path}: cannot be read: {told} ({len(content) - 5} bytes)"


def test_a_pipe_that_is_called_zip_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(errors.DamagedFileError, match="no regular file"):
        files.members(path)
    assert zips.split(path / "a") is None


# ---- memory


@pytest.fixture(name="traced")
def traced_memory():
    """Gives the most bytes that Python's objects have taken so far."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def put_zeros(path, n_mib):
    with zipfile.ZipFile(path, "w", DEFLATED, compresslevel=1) as archive:
        with archive.open("a/x", "w") as member:
            for _ in range(n_mib):
                member.write(bytes(1 << 20))


def test_memory_stays_flat_whatever_a_member_inflates_to(path, traced):
    put_zeros(path, 128)
    with files.opened(path / "a/x") as member:
        assert files.tail(member, 8) == bytes(8)
        assert sum(map(len, iter(lambda: member.read(1 << 16), b""))) == 1 << 27
    assert traced() < 4 << 20


def test_a_member_that_holds_far_more_than_it_says_is_not_inflated(path, traced):
    put_zeros(path, 128)
    zip_files.edit(path, size=1000, local=False)
    zip_files.edit(path, size=1000, central=False)
    told = "the zip's member holds more than the 1,000 bytes of the zip's directory"
    assert refusal(path, code="oversized") == f"damaged: {told}"
    assert traced() < 4 << 20


# ---- images


def image(data=None):
    data = nifti_files.labels_of() if data is None else data
    return nifti_files.raw_image(data)


def large_image():
    """A .nii.gz that no buffer holds."""
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 128), np.uint8)
    return gzip.compress(image(noise), 1)


@both_methods
def test_an_image_in_a_zip_is_the_image(path, tmp_path, method):
    content = gzip.compress(image(), mtime=0)
    (tmp_path / "x.nii.gz").write_bytes(content)
    zip_files.put(path, {"a/x.nii.gz": content}, method)
    places = tmp_path / "x.nii.gz", path / "a/x.nii.gz"
    here, there = map(nifti.read_header, places)
    assert there.source_crc == here.source_crc == f"{zlib.crc32(image()):08x}"
    glance = nifti.read_header(path / "a/x.nii.gz", glance=True)
    assert glance.source_crc == (here.source_crc if method == STORED else "")
    assert glance.identity == there.identity
    nifti.check(there)
    np.testing.assert_array_equal(*(nifti.read_mask(place).data for place in places))


def test_a_glance_inflates_no_more_than_the_first_block(path, monkeypatch):
    content = large_image()
    zip_files.put(path, {"a/x.nii.gz": content})
    read = []

    def counted(*words, call=os.pread):
        read.append(words[1])
        return call(*words)

    monkeypatch.setattr(os, "pread", counted)
    nifti.read_header(path / "a/x.nii.gz", glance=True)
    assert sum(read) < len(content) / 3  # ISA-L reads half a MiB at a time
    nifti.read_header(path / "a/x.nii.gz")
    assert sum(read) > len(content)


@both_methods
@pytest.mark.parametrize("part", ["crc", "length", "cut", "padding", "members"])
def test_gzip_faults_in_a_zip_are_those_of_a_file(path, tmp_path, method, part):
    content = bytearray(gzip.compress(image(), mtime=0))
    if part == "cut":
        content = content[:-100]
    elif part == "padding":
        content += bytes(100)
    elif part == "members":
        content = gzip.compress(image()[:400]) + gzip.compress(image()[400:])
    else:
        content[-8 if part == "crc" else -4] ^= 1
    file_path, member_path = tmp_path / "x.nii.gz", path / "a/x.nii.gz"
    file_path.write_bytes(content)
    zip_files.put(path, {"a/x.nii.gz": bytes(content)}, method)
    told = []
    for place in (file_path, member_path):
        try:
            nifti.check(nifti.read_header(place))
            told.append(nifti.read_header(place).source_crc)
        except errors.DamagedFileError as error:
            told.append((str(error).removeprefix(str(place)), error.code))
    assert told[0] == told[1]
    assert isinstance(told[0], str) == (part in ("padding", "members"))


@both_methods
def test_a_wrong_crc_of_the_zip_is_told_wherever_voxels_are_read(path, method):
    zip_files.put(path, {"a/x.nii.gz": large_image(), "b": b""}, method)
    zip_files.edit(path, crc=7)
    header = nifti.read_header(path / "a/x.nii.gz", glance=True)
    for read in (
        lambda: nifti.check(header),
        lambda: list(nifti.voxel_chunks(header)),
        lambda: nifti.read_mask(header.path),
        lambda: nifti.read_volume(header.path),
    ):
        with pytest.raises(errors.DamagedFileError, match="the zip's directory says 00000007"):
            read()


def test_a_zip_that_changes_after_a_header_was_read(path):
    member = path / "a/x.nii.gz"
    zip_files.put(path, {"a/x.nii.gz": gzip.compress(image(), mtime=0)})
    header = nifti.read_header(member)
    zip_files.put(path, {"b": b"", "a/x.nii.gz": gzip.compress(image(), mtime=0)})
    with pytest.raises(errors.DatasetError, match="was replaced or changed by another process"):
        nifti.check(header)


# ---- images that are not compressed


@pytest.mark.parametrize("is_zipped", [False, True])
@pytest.mark.parametrize("n_more", [0, 5])
def test_an_uncompressed_image(path, tmp_path, is_zipped, n_more):
    raw = image() + bytes(n_more)
    place = tmp_path / "x.nii"
    place.write_bytes(raw)
    if is_zipped:
        zip_files.put(path, {"x.nii": raw})
        place = path / "x.nii"
    header = nifti.read_header(place)
    assert header.source_crc == f"{zlib.crc32(raw):08x}"
    assert nifti.read_header(place, glance=True).source_crc == ""
    nifti.check(header)
    np.testing.assert_array_equal(nifti.read_mask(place).data, nifti_files.labels_of())
    for glance in (False, True):
        content = raw[: -n_more - 1]
        zip_files.put(path, {"x.nii": content}) if is_zipped else place.write_bytes(content)
        with pytest.raises(errors.DamagedFileError, match="its header promises") as caught:
            nifti.read_header(place, glance=glance)
        assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("x.nii", gzip.compress(image()), "missing) but a gzip file; rename it to x.nii.gz"),
        ("x.nii", b"", "the file is empty; download it again"),
        ("x.nii.gz", image(), "no gzip file but a NIfTI image that is not compressed (.nii)"),
    ],
)
def test_a_suffix_that_does_not_fit(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.DamagedFileError, match=re.escape(told)):
        nifti.read_header(tmp_path / name)


@both_methods
def test_the_same_is_written_whatever_an_image_lies_in(path, tmp_path, method):
    raw = image()
    (tmp_path / "x.nii").write_bytes(raw)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(raw))
    zip_files.put(path, {"x.nii": raw, "x.nii.gz": gzip.compress(raw)}, method)
    written = set()
    for place in (tmp_path / "x.nii", tmp_path / "x.nii.gz", path / "x.nii", path / "x.nii.gz"):
        source = nifti.read_header(place)
        mark = f"src={source.source_crc}"
        staged, _ = nifti_writing.stage_volume(tmp_path / "o", source, source.affine, mark)
        with staged:
            written.add(staged.temporary_path.read_bytes())
    assert len(written) == 1

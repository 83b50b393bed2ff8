"""Files that are no NIfTI image though their name says so."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from nifti_files import labels_of, raw_image

from utils import errors
from utils.storage import file_kinds, nifti


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.nii.gz", b"x")
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.nii.gz"))
    return buffer.getvalue()


NIFTI = raw_image(labels_of())
UNCOMPRESSED = "a NIfTI image that is not compressed (.nii); compress it with gzip"
# What is said -> what is there.
KINDS = {
    "a zip archive; unpack it": zipped(),
    "a tar archive; unpack it": tarred(),
    "a bzip2 file; decompress it and compress it with gzip": bz2.compress(NIFTI),
    "an xz file; decompress it and compress it with gzip": lzma.compress(NIFTI),
    "the header of a NIfTI pair (.hdr and .img); convert it to one .nii.gz": NIFTI.replace(
        b"n+1\0", b"ni1\0"
    ),
    "a DICOM file; convert it to NIfTI": bytes(128) + b"DICM" + bytes(400),
    "an NRRD image; convert it to NIfTI": b"NRRD0004\ntype: short\n\n" + bytes(range(256)) * 3,
    "a MetaImage header; convert it to NIfTI": b"ObjectType = Image\nNDims = 3\n",
    "a pointer of Git LFS; fetch the data with 'git lfs pull'": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    ),
    "a pointer of git-annex; fetch the data with 'git annex get'": (
        b"/annex/objects/MD5E-s123--0123456789abcdef.nii.gz\n"
    ),
    "a web page (HTML or XML), perhaps one that asks to log in; download it again": (
        b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
    ),
    "a text, beginning with 'Nicht gefunden: Übung'; download it again": (
        "Nicht gefunden: Übung\r\n".encode()
    ),
    "nothing but zeros; download it again": bytes(3000),
    "no format known here, beginning with the bytes 00 01 02 03 04 05 06 07; download it again": (
        bytes(range(200))
    ),
}


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(errors.DamagedFileError) as caught:
        nifti.read_header(path)
    assert caught.value.file == str(path)
    return str(caught.value), caught.value.code


@pytest.mark.parametrize(("kind", "content"), [*KINDS.items(), (UNCOMPRESSED, NIFTI)])
def test_what_is_no_gzip_file_is_named(tmp_path, kind, content):
    path = tmp_path / "amos_0001.nii.gz"
    assert refusal(path, content) == (f"{path}: damaged: no gzip file but {kind}", "no_gzip")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        *KINDS.items(),
        ("a gzip file; decompress it once", gzip.compress(NIFTI)),
        ("empty; download it again", b""),
    ],
)
def test_what_a_gzip_file_holds_is_named(tmp_path, kind, content):
    path = tmp_path / "amos_0001.nii.gz"
    reason = f"no single-file NIfTI (magic n+1 or n+2 is missing) but {kind}"
    assert refusal(path, gzip.compress(content)) == (f"{path}: damaged: {reason}", "no_nifti")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "a web page"),
        (b"  <HTML>", "a web page"),
        (b"a", "a text, beginning with 'a'"),
        (b"{}", "a text, beginning with '{}'"),
        ("ä".encode() * 600, "a text, beginning with 'ää"),  # the look ends within a letter
        (b"\x1b[31mred", "no format known here"),
        (b"\x7fELF", "no format known here, beginning with the bytes 7f 45 4c 46"),
    ],
)
def test_further_kinds(tmp_path, content, kind):
    text, _ = refusal(tmp_path / "x.nii.gz", content)
    assert f"but {kind}" in text and text.isprintable()


def test_an_empty_file(tmp_path):
    path = tmp_path / "x.nii.gz"
    reason = f"{path}: damaged: the file is empty; download it again"
    assert refusal(path, b"") == (reason, "truncated")


def test_the_look_ends_within_the_first_bytes():
    start = b"a" * file_kinds.N_BYTES
    assert file_kinds.described(start + b"\0") == file_kinds.described(start)

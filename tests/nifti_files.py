"""NIfTI files as other software may leave them, for tests of reading and writing."""

import gzip
import os
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from utils.storage import deflate, nifti

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float32", "float64"]


@pytest.fixture(name="codec", params=["isal", "zlib"], autouse=True, scope="module")
def each_codec(request):
    """Everything holds for the fallback, too."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "zlib":
            patched.setattr(deflate, "codec", zlib)
            patched.setattr(deflate, "igzip", gzip)
        elif deflate.codec is zlib:
            pytest.skip("isal is not installed")
        yield request.param


@pytest.fixture(name="path")
def target_path(tmp_path):
    """A name as it may occur, with a blank and an umlaut."""
    return tmp_path / "amos_0004 ä.nii.gz"


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


def patch(path, edit, kind=nib.Nifti1Header):
    """Change header fields of a file behind nibabel's back."""
    raw = gzip.decompress(path.read_bytes())
    header = kind(raw[: kind.sizeof_hdr], check=False)
    edit(header)
    return put(path, header.binaryblock + raw[kind.sizeof_hdr :])


def field(**values):
    """An edit of header fields; a tuple stands for (index, value)."""

    def edit(header):
        for name, value in values.items():
            if isinstance(value, tuple):
                header[name][value[0]] = value[1]
            else:
                header[name] = value

    return edit


def itk_affine(path):
    """Affine, RAS+ mm, as ITK reads it."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def values_of(header):
    return np.concatenate([chunk.copy() for chunk in nifti.voxel_chunks(header)]).reshape(
        header.shape, order="F"
    )


def identity_of(path):
    """Of the file that is there now, as `nifti.Header.identity` tells it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

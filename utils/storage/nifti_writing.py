"""Write .nii.gz: the same bytes for the same voxels, read back before they get their name."""

import io
import itertools
import os
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

from utils import errors
from utils.arrays import geometry
from utils.storage import deflate, files, nifti

# Of ISA-L on float32 CT: level 3 takes half as long again and saves 7 percent of the size.
LEVEL = 1
_GZIP = 31  # zlib's wbits for a gzip member
_GLANCE_VOXELS = 1 << 12  # as good as always enough to tell a scan from its mask
_HEADER_BYTES = 352  # NIfTI-1: 348 and "no extensions"


def fresh_header(
    shape: tuple[int, ...], dtype: DTypeLike, affine: np.ndarray, descrip: str = ""
) -> bytes:
    """Make a NIfTI-1 header that says the same to nibabel and to ITK.

    352 bytes. sform and qform hold the affine (voxel index to RAS+ mm) rounded to float32, both
    with code 1; one that ITK does not take (see `geometry.is_orthonormal`) goes into the sform
    alone. `descrip` has at most 80 ASCII characters. DatasetError for a shape that does not fit.
    """
    import nibabel as nib

    if max(shape) > np.iinfo(np.int16).max:
        edges = " x ".join(map(str, shape))
        raise errors.DatasetError(f"shape {edges} does not fit a NIfTI-1 header")
    # From the rounded one all fields can be derived again: masks get the volume's very bytes.
    affine = np.asarray(affine, np.float32).astype(np.float64)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(affine, 1)
    if geometry.is_orthonormal(affine):
        header.set_qform(affine, 1)
    header["pixdim"][1:4] = geometry.spacing(affine)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = _HEADER_BYTES
    header["descrip"] = descrip.encode("ascii")
    return header.binaryblock + bytes(4)


def _compress(header_bytes, chunks, write):
    """Write a header and voxels as one gzip member without name and time.

    `chunks` are contiguous arrays of `nifti.CHUNK_VOXELS`; only the last may be smaller. Returns
    (CRC32, length modulo 2**32) of what went in, counted beside the codec: the trailer is compared
    with it.
    """
    member = deflate.codec.compressobj(LEVEL, deflate.codec.DEFLATED, _GZIP)
    crc = n_bytes = 0
    for piece in itertools.chain([header_bytes], chunks):
        piece = memoryview(piece).cast("B")
        crc = deflate.codec.crc32(piece, crc)
        n_bytes += len(piece)
        write(member.compress(piece))
    write(member.flush())
    return crc, n_bytes & 0xFFFFFFFF


def _chunks(data):
    """The voxels in the order of the disk."""
    return _pieces(data.ravel(order="F"))


def _pieces(flat):
    step = nifti.CHUNK_VOXELS
    return (flat[start : start + step] for start in range(0, len(flat), step))


def voxel_crc(data: np.ndarray) -> str:
    """CRC32 of a mask's voxels (uint8) in the order of the disk, eight hexadecimal digits."""
    crc = 0
    for chunk in _chunks(data):
        crc = deflate.codec.crc32(chunk, crc)
    return f"{crc:08x}"


def encode_mask(
    data: np.ndarray, affine: np.ndarray, descrip: str = "", value: int | None = None
) -> bytes:
    """Make the bytes of a mask's .nii.gz file: the same for the same voxels, geometry and text.

    Parameters
    ----------
    data : (X, Y, Z) uint8
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    descrip : str
        Header text.
    value : int, optional
        Encode the binary mask of this label.
    """
    chunks = _chunks(data)
    if value is not None:
        chunks = ((chunk == value).view(np.uint8) for chunk in chunks)
    pieces: list[bytes] = []
    header_bytes = fresh_header(data.shape, np.uint8, affine, descrip)
    went_in = _compress(header_bytes, chunks, pieces.append)
    encoded = b"".join(pieces)
    if struct.unpack("<II", encoded[-8:]) != went_in:
        reason = "the codec's checksum is not that of what it was given; nothing is written"
        raise errors.DatasetError(reason, code="write")
    return encoded


def is_same_file(path: files.PathLike, encoded: bytes) -> bool:
    """Tell whether a file holds an encoded image, header and voxels, whatever compressed it.

    One that is missing or damaged does not; DamagedFileError for one that may not be read.
    """
    if not os.path.exists(path):
        return False
    if files.holds(path, encoded):
        return True
    try:
        with nifti.Stream(path) as stream, nifti.Stream(path, io.BytesIO(encoded)) as other:
            # A read is shorter than asked for at the end alone.
            pieces = itertools.zip_longest(stream.rest(), other.rest())
            return all(piece == expected for piece, expected in pieces)
    except errors.DamagedFileError as error:
        if error.code == "unreadable":
            raise
        return False


def has_label(path: files.PathLike, data: np.ndarray, value: int, encoded: bytes) -> bool:
    """Tell whether a binary mask file has just the voxels of one label, whatever its header.

    DamagedFileError where the file is damaged.

    Parameters
    ----------
    data : (X, Y, Z) uint8
        The multi-label mask.
    value : int
        The label.
    encoded : bytes
        The label's file as `encode_mask` makes it; equal bytes need no look inside.
    """
    if files.holds(path, encoded):
        return True
    header = nifti.read_header(path)
    if header.shape != data.shape:
        return False
    # All chunks, whatever they hold: the end of the file is checked behind the last one.
    unused = nifti.Conversion()
    same = [
        bool((nifti.whole_numbers(chunk, header, unused) == (labels == value)).all())
        for chunk, labels in zip(nifti.voxel_chunks(header), _chunks(data))
    ]
    return all(same)


def staged(path: files.PathLike, encoded: bytes) -> files.Pending:
    """Write an encoded image beside its target and check what the disk holds.

    The caller commits what is returned. DatasetError where it cannot be written, or does not decode
    to what its trailer says.
    """
    with files.staging(path) as pending:
        _fill(pending, encoded)
        with nifti.Stream(pending.temporary_path) as stream:
            stream.finish()
    return pending


def staged_copy(path: files.PathLike, content: bytes) -> files.Pending:
    """Write an image file's bytes beside a target, as `staged` does; they are not decoded."""
    with files.staging(path) as pending:
        _fill(pending, content)
    return pending


def _fill(pending, content):
    pending.write(content)
    pending.seal()
    if not files.holds(pending.temporary_path, content):
        raise _miswritten(pending.path)


def _miswritten(path):
    reason = "the disk does not hold what was written; nothing was replaced"
    return errors.DatasetError(f"{path}: {reason}", file=path, code="write")


def write_mask(
    path: files.PathLike, data: np.ndarray, affine: np.ndarray, descrip: str = ""
) -> None:
    """Write a mask, (X, Y, Z) uint8, whole or not at all; DatasetError where that fails."""
    with staged(path, encode_mask(data, affine, descrip)) as pending:
        pending.commit()


def stage_volume(
    path: files.PathLike,
    source: nifti.Header,
    affine: np.ndarray,
    descrip: str = "",
    read_ahead: bool = False,
) -> tuple[files.Pending, nifti.Conversion]:
    """Convert a volume to float32, slab by slab, into a file beside its target.

    The caller commits the first of what is returned. DamagedFileError for a damaged source, found
    out at its last byte at the latest; DatasetError where the file cannot be written, or its
    trailer does not fit what went in.

    Parameters
    ----------
    path
        The final name.
    source
        The volume to convert; its scaling is applied.
    affine : (4, 4) float
        The geometry to write.
    read_ahead
        Decompress in a thread of its own while this one compresses; same bytes.
    """
    conversion = nifti.Conversion()
    header_bytes = fresh_header(source.shape, np.float32, affine, descrip)
    stored = nifti.voxel_chunks(source)
    chunks = (nifti.as_float32(chunk, source, conversion) for chunk in stored)
    return _stage_stream(path, header_bytes, _ahead(chunks) if read_ahead else chunks), conversion


def stage_mask(
    path: files.PathLike,
    source: nifti.Header,
    affine: np.ndarray,
    descrip: str = "",
    order: np.ndarray | None = None,
) -> files.Pending:
    """Convert a mask to uint8, slab by slab, into a file beside its target, as `stage_volume` does.

    With `order` its axes are exchanged and flipped first (see `geometry.axis_order`), and all
    labels are in memory for it. DatasetError also for a label that is not a whole number in 0..255.
    """
    conversion = nifti.Conversion()
    shape, chunks = label_chunks(source, order, conversion)
    header_bytes = fresh_header(shape, np.uint8, affine, descrip)
    pending = _stage_stream(path, header_bytes, chunks)
    for message in conversion.complaints(source):
        errors.warn(message)
    return pending


def stage_labels(
    path: files.PathLike, data: np.ndarray, affine: np.ndarray, descrip: str = ""
) -> files.Pending:
    """Write labels, (X, Y, Z) uint8, into a file beside its target, as `stage_mask` does."""
    return _stage_stream(path, fresh_header(data.shape, np.uint8, affine, descrip), _chunks(data))


def label_chunks(
    source: nifti.Header, order: np.ndarray | None, conversion: nifti.Conversion
) -> tuple[tuple[int, ...], Iterator[np.ndarray]]:
    """Return shape and labels of a mask, brought into this order, chunk by chunk (uint8).

    DatasetError as `stage_mask` raises it, once the chunks are asked for.
    """
    chunks = (nifti.as_labels(chunk, source, conversion) for chunk in nifti.voxel_chunks(source))
    if order is None:
        return source.shape, chunks
    data, start = np.empty(source.n_voxels, np.uint8), 0
    for chunk in chunks:
        data[start : start + chunk.size] = chunk
        start += chunk.size
    data = geometry.reordered(data.reshape(source.shape, order="F"), order)
    return data.shape, _pieces(data.T.flat)  # no second copy of all


def is_copy(volume: nifti.Header, mask: nifti.Header, order: np.ndarray | None) -> bool:
    """Tell whether a volume's voxels are those of its mask, however the two are stored.

    The first voxels that differ end it: for a scan that is at once. `order` as in `stage_mask`;
    DatasetError as there.
    """
    unused = nifti.Conversion()
    chunks = zip(nifti.voxel_chunks(volume), label_chunks(mask, order, unused)[1])
    return all(
        np.array_equal(nifti.whole_numbers(stored[part], volume, unused), own[part])
        for stored, own in chunks
        for part in (slice(_GLANCE_VOXELS), slice(_GLANCE_VOXELS, None))
    )


def _ahead(iterator):
    """Let a thread work out the next item while the last one is used."""
    from concurrent import futures

    with futures.ThreadPoolExecutor(1) as pool:
        try:
            coming = pool.submit(next, iterator, None)
        except RuntimeError:  # the system has no thread left
            yield from iterator
            return
        while (item := coming.result()) is not None:
            coming = pool.submit(next, iterator, None)
            yield item


def _stage_stream(path, header_bytes, chunks):
    with files.staging(path) as pending:
        went_in = _compress(header_bytes, chunks, pending.write)
        pending.seal()
        with nifti.Stream(pending.temporary_path) as stream:
            if stream.trailer() != went_in:
                raise _miswritten(path)
    return pending

"""Read and write .nii.gz: headers alone, voxels as a stream checked to its last byte.

The only module that knows gzip and nibabel's headers.
"""

import contextlib
import dataclasses
import io
import os
import struct
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.storage import files

try:
    from isal import isal_zlib as codec
except ImportError:  # no wheel for this processor; same files to read, other bytes, slower
    import zlib as codec

# Of ISA-L on float32 CT: level 3 takes half as long again and saves 7 percent of the size.
LEVEL = 1
# The compressed bytes depend on how they are handed over: one writer, one size.
CHUNK_VOXELS = 1 << 18
# Measured on 768 x 768 x 512: 357 MiB at most, 288 of them the voxels; a little is added.
_MEMORY_PER_VOXEL = 1.25
_MEMORY_BESIDES = 80 << 20
_READ_BYTES = 1 << 18
_DRAIN_BYTES = 1 << 20
_GZIP = 31  # zlib's wbits for a gzip member
_HEADER_BYTES = 352  # NIfTI-1: 348 and "no extensions"
_LARGEST_HEADER_BYTES = 540  # NIfTI-2
_DEFLATE_LIMIT = 1032  # deflate cannot shrink more than this
_PIXDIM_TOL_MM = 1e-3
_LABEL_ROUNDING = 1e-4  # 255 times a float32 slope is off by up to 1.5e-5
_DESCRIP_BYTES = 80


@dataclasses.dataclass(frozen=True)
class Header:
    """What a NIfTI file says of its voxels.

    Attributes
    ----------
    path : Path
    shape : (3,) int
    dtype : np.dtype
        Data type on disk, byte order included.
    affine : (4, 4) float64
        Voxel index to RAS+ mm, by nibabel's rules (sform, else qform, else pixdim).
    zooms : (3,) float32, mm
        The stored pixdim.
    slope, inter : float
        Stored value times `slope` plus `inter` is the voxel's value.
    vox_offset : int
    descrip : str
    source_crc : str
        CRC32 in the gzip trailer, eight hexadecimal digits.
    has_orientation : bool
        False when neither sform nor qform is set.
    """

    path: Path
    shape: tuple
    dtype: np.dtype
    affine: np.ndarray
    zooms: np.ndarray
    slope: float
    inter: float
    vox_offset: int
    descrip: str
    source_crc: str
    has_orientation: bool

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def n_bytes(self) -> int:
        """Uncompressed bytes from the start of the file to the last voxel."""
        return self.vox_offset + self.n_voxels * self.dtype.itemsize

    @property
    def spacing(self) -> np.ndarray:
        """Column norms of the affine, (3,) float64, mm."""
        return geometry.spacing(self.affine)

    @property
    def dtype_name(self) -> str:
        """Name of the data type on disk, such as ``int16``."""
        return self.dtype.name

    @property
    def is_scaled(self) -> bool:
        """Whether the stored numbers are not the values yet."""
        return (self.slope, self.inter) != (1.0, 0.0)

    def complaints(self) -> list[str]:
        """Oddities of the header that a user should know of."""
        found = []
        if not self.has_orientation:
            found.append(f"{self.path}: neither sform nor qform is set; the orientation is a guess")
        apart = np.abs(self.zooms.astype(np.float64) - self.spacing).max()
        if not apart <= _PIXDIM_TOL_MM:
            found.append(
                f"{self.path}: pixdim {_numbers(self.zooms)} mm differs from the affine's "
                f"spacing {_numbers(self.spacing)} mm"
            )
        return found


@dataclasses.dataclass(frozen=True)
class Mask:
    """A mask in memory: `data` (X, Y, Z) uint8 in Fortran order, and its `header`."""

    data: np.ndarray
    header: Header


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume in memory: `data` (X, Y, Z) float32 in Fortran order, and its `header`."""

    data: np.ndarray
    header: Header


@dataclasses.dataclass
class Conversion:
    """What conversion of a volume to float32 met: counts of voxels, and the largest loss."""

    n_nan: int = 0
    n_infinite: int = 0
    largest_loss: float = 0.0

    def complaints(self, path) -> list[str]:
        """What a user should know of it."""
        found = []
        if self.n_nan or self.n_infinite:
            found.append(
                f"{path}: {self.n_nan:,} voxels are NaN and {self.n_infinite:,} infinite; "
                "they are kept"
            )
        if self.largest_loss:
            found.append(
                f"{path}: float32 cannot hold all values exactly; the largest loss is "
                f"{self.largest_loss:.3g}"
            )
        return found


def _numbers(values):
    return " x ".join(f"{float(value):g}" for value in values)


class _Stream:
    """The decompressed bytes of a gzip file, every member checked against its trailer."""

    def __init__(self, path, handle=None):
        self.path = path
        self.position = 0
        self.end_offset = None  # of the last member, once it was reached
        self._input = b""
        self._member = codec.decompressobj(_GZIP)
        self._ended = False
        with _readable(path):
            self._file = handle or open(path, "rb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def readinto(self, view):
        """Fill a writable byte view; return how much of it the stream could fill."""
        filled = 0
        while filled < len(view) and not self._ended:
            piece = self._next(len(view) - filled)
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self.position += len(piece)
        return filled

    def read(self, size):
        """Read up to `size` bytes; fewer only at the end."""
        view = bytearray(size)
        return bytes(view[: self.readinto(memoryview(view))])

    def finish(self):
        """Read to the end and return the total length."""
        while not self._ended:
            self.position += len(self._next(_DRAIN_BYTES))
        return self.position

    def _next(self, limit):
        if not self._input:
            with _readable(self.path):
                self._input = self._file.read(_READ_BYTES)
            if not self._input:
                raise _damaged(
                    self.path,
                    f"the gzip stream is cut off, after {self.position:,} uncompressed bytes",
                    "truncated",
                )
        try:
            piece = self._member.decompress(self._input, limit)
        except codec.error as error:
            raise _damaged(self.path, f"the gzip stream is corrupt: {error}") from error
        self._input = self._member.unconsumed_tail
        if self._member.eof:
            self._start_next_member()
        return piece

    def _start_next_member(self):
        rest = self._member.unused_data
        self.end_offset = self._file.tell() - len(rest)
        while not rest.lstrip(b"\0"):  # zero padding behind a member is legal
            with _readable(self.path):
                rest = self._file.read(_READ_BYTES)
            if not rest:
                self._ended = True
                return
        self._input = rest.lstrip(b"\0")
        if not b"\x1f\x8b".startswith(self._input[:2]):
            raise _damaged(self.path, "something else follows the gzip stream", "junk")
        self._member = codec.decompressobj(_GZIP)


@contextlib.contextmanager
def _readable(path):
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.DamagedFileError(
            f"{path}: cannot be read: {reason}", file=path, code="unreadable"
        ) from error


def _damaged(path, reason, code="damaged", **sides):
    return errors.DamagedFileError(f"{path}: damaged: {reason}", file=path, code=code, **sides)


def read_header(path) -> Header:
    """Read a header, and notice a file that was cut off.

    Parameters
    ----------
    path : path-like
        A .nii.gz file; a 4-D file with one frame counts as 3-D.

    Returns
    -------
    Header

    Raises
    ------
    DamagedFileError
        No gzip, no NIfTI, no 3-D grid of numbers, an impossible affine, or fewer voxels than the
        header says.

    Notes
    -----
    Only the header is decompressed. The length in the gzip trailer tells whether the rest is
    there; where it does not fit (a legal file of several members, or a cut one), all is decoded.
    """
    path = Path(path)
    with _Stream(path) as stream:
        fields, size = _parsed(path, stream.read(_LARGEST_HEADER_BYTES))
        crc, length = _trailer(path, os.path.getsize(path))
        _check_possible(path, size)
        if length != size & 0xFFFFFFFF:
            _check_length(path, size, stream.finish())
            crc, _ = _trailer(path, stream.end_offset)
    header = Header(path=path, source_crc=f"{crc:08x}", **fields)
    geometry.check_affine(header.affine, str(path))
    return header


def _parsed(path, raw):
    """The fields of a Header in the first bytes of a file, and the length they promise."""
    import nibabel as nib

    kinds = {b"n+1": (nib.Nifti1Header, 344, 348), b"n+2": (nib.Nifti2Header, 4, 540)}
    fitting = [
        (kind, size)
        for magic, (kind, offset, size) in kinds.items()
        if len(raw) >= size and raw[offset : offset + 3] == magic
    ]
    if not fitting:
        raise _damaged(path, "no single-file NIfTI (magic n+1 or n+2 is missing)", "no_nifti")
    ((kind, size),) = fitting
    try:
        header = kind(raw[:size], check=False)
        fields = _fields(path, header)
    except (nib.spatialimages.HeaderDataError, KeyError, ValueError, OverflowError) as error:
        if isinstance(error, errors.DatasetError):
            raise
        raise _damaged(path, f"the header makes no sense: {error}", "header") from error
    # dtype=object: a header may claim more voxels than an int64 can count
    n_voxels = int(np.prod(fields["shape"], dtype=object))
    return fields, fields["vox_offset"] + n_voxels * fields["dtype"].itemsize


def _fields(path, header):
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or min(shape) < 1 or set(shape[3:]) - {1}:
        raise _damaged(
            path,
            f"not a 3-D image: its dimensions are {_numbers(shape) or 'none'}",
            "dimensions",
            expected="3 dimensions",
            found=_numbers(shape),
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise _damaged(path, f"data type {dtype} is not one number per voxel", "dtype")
    slope, inter = header.get_slope_inter()
    zooms = np.array(header["pixdim"][1:4], np.float32)
    _mend_pixdim(header)
    return {
        "shape": shape[:3],
        "dtype": dtype,
        "affine": np.array(header.get_best_affine(), np.float64),
        "zooms": zooms,
        "slope": 1.0 if slope is None else float(slope),
        "inter": 0.0 if inter is None else float(inter),
        "vox_offset": max(int(header["vox_offset"]), len(header.binaryblock) + 4),
        "descrip": bytes(header["descrip"]).rstrip(b"\0").decode("latin-1"),
        "has_orientation": bool(header["sform_code"] or header["qform_code"]),
    }


def _mend_pixdim(header):
    """Do what nibabel does on loading, before an affine is made of a quaternion and pixdim."""
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):  # 0 is common, and stands for 1
        pixdim[0] = 1
    pixdim[1:4] = np.where(pixdim[1:4] == 0, 1, np.abs(pixdim[1:4]))


def _trailer(path, end_offset):
    """CRC32 and length (modulo 2**32) that the gzip member ending at an offset stores."""
    with _readable(path), open(path, "rb") as handle:
        handle.seek(max(end_offset - 8, 0))
        stored = handle.read(8)
    return struct.unpack("<II", stored.rjust(8, b"\0"))


def _check_possible(path, size):
    on_disk = os.path.getsize(path)
    if on_disk * _DEFLATE_LIMIT < size:
        raise _damaged(
            path,
            f"{on_disk:,} compressed bytes cannot hold the {size:,} bytes that the header promises",
            "truncated",
            expected=size,
        )


def _check_length(path, size, length):
    if length < size:
        raise _damaged(
            path,
            f"holds {length:,} bytes, its header promises {size:,}",
            "truncated",
            expected=size,
            found=length,
        )


def check(header: Header) -> None:
    """Decode a file to its end.

    Raises
    ------
    DamagedFileError
        A checksum or a length is wrong.
    """
    with _Stream(header.path) as stream:
        _check_length(header.path, header.n_bytes, stream.finish())


def voxel_chunks(header: Header):
    """Yield the stored numbers in the order of the disk (first axis fastest).

    Parameters
    ----------
    header : Header

    Yields
    ------
    (n,) array of `header.dtype`
        `CHUNK_VOXELS` of them, the last time fewer; a view that the next one overwrites.

    Raises
    ------
    DamagedFileError
        At the latest behind the last chunk, when checksum or length are wrong: what was made of
        the chunks must not be kept before the iterator has ended.
    """
    _check_possible(header.path, header.n_bytes)
    buffer = bytearray(CHUNK_VOXELS * header.dtype.itemsize)
    with _Stream(header.path) as stream:
        stream.read(header.vox_offset)
        while stream.position < header.n_bytes:
            size = min(len(buffer), header.n_bytes - stream.position)
            filled = stream.readinto(memoryview(buffer)[:size])
            if filled < size:
                _check_length(header.path, header.n_bytes, stream.position)
            yield np.frombuffer(buffer, header.dtype, size // header.dtype.itemsize)
        stream.finish()


def read_mask(path) -> Mask:
    """Read a mask as uint8.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Mask

    Raises
    ------
    DamagedFileError
        The file is damaged.
    DatasetError
        A label is not a whole number in 0..255.
    """
    header = read_header(path)
    return Mask(_voxels(header, np.uint8, lambda chunk: _labels(chunk, header)), header)


def read_volume(path) -> Volume:
    """Read a volume as float32, scaling applied.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Volume

    Raises
    ------
    DamagedFileError
        The file is damaged.
    """
    header = read_header(path)
    conversion = Conversion()
    return Volume(
        _voxels(header, np.float32, lambda chunk: _as_float32(chunk, header, conversion)), header
    )


def _voxels(header, dtype, convert):
    """All voxels of a file, converted chunk by chunk, (X, Y, Z) in Fortran order."""
    _check_possible(header.path, header.n_bytes)
    data = np.empty(header.n_voxels, dtype)
    start = 0
    for chunk in voxel_chunks(header):
        data[start : start + chunk.size] = convert(chunk)
        start += chunk.size
    return data.reshape(header.shape, order="F")


def _labels(chunk, header):
    if header.is_scaled:
        # A label times a float32 slope misses the whole number by rounding alone.
        scaled = chunk * np.float64(header.slope) + np.float64(header.inter)
        with np.errstate(invalid="ignore"):
            near = np.abs(scaled - np.rint(scaled)) < _LABEL_ROUNDING
        chunk = np.where(near, np.rint(scaled), scaled)
    if chunk.dtype == np.uint8:
        return chunk
    with np.errstate(invalid="ignore"):
        labels = chunk.astype(np.uint8)
    wrong = labels != chunk
    if wrong.any():
        values = np.unique(chunk[wrong])
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise errors.DatasetError(
            f"{header.path}: labels {shown}{' ...' if values.size > 5 else ''} found, expected "
            "whole numbers from 0 to 255",
            file=header.path,
            code="labels",
            expected="0..255",
            found=shown,
        )
    return labels


def fresh_header(shape, dtype, affine: np.ndarray, descrip: str = "") -> bytes:
    """Make a NIfTI-1 header that says the same to nibabel and to ITK.

    Parameters
    ----------
    shape : (3,) int
    dtype : data-type-like
        ``np.float32`` or ``np.uint8``.
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    descrip : str
        At most 80 ASCII characters.

    Returns
    -------
    bytes
        352 bytes. sform and qform hold the affine rounded to float32, both with code 1; an affine
        that ITK does not take (see `geometry.is_orthonormal`) goes into the sform alone.

    Raises
    ------
    DatasetError
        The shape does not fit NIfTI-1.
    """
    import nibabel as nib

    if max(shape) > np.iinfo(np.int16).max:
        raise errors.DatasetError(f"shape {_numbers(shape)} does not fit a NIfTI-1 header")
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


class _Encoder:
    """Compress a header and voxels into one gzip member without name and time."""

    def __init__(self, header_bytes, write):
        self._write = write
        # Counted beside the codec: the trailer is compared with it.
        self.crc = 0
        self.n_bytes = 0
        self._member = codec.compressobj(LEVEL, codec.DEFLATED, _GZIP)
        self._add(header_bytes)

    def _add(self, piece):
        self.crc = codec.crc32(piece, self.crc)
        self.n_bytes += len(piece)
        self._write(self._member.compress(piece))

    def add(self, voxels):
        """Append a contiguous array of `CHUNK_VOXELS`; only the last may be smaller."""
        self._add(memoryview(voxels).cast("B"))

    def end(self):
        """Write the trailer and return (CRC32, length modulo 2**32) of what went in."""
        self._write(self._member.flush())
        return self.crc, self.n_bytes & 0xFFFFFFFF


def _chunks(flat):
    return (flat[start : start + CHUNK_VOXELS] for start in range(0, flat.size, CHUNK_VOXELS))


def encode_mask(data: np.ndarray, affine: np.ndarray, descrip: str = "", value=None) -> bytes:
    """Make the bytes of a mask's .nii.gz file.

    Parameters
    ----------
    data : (X, Y, Z) uint8
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    descrip : str
        Header text.
    value : int, optional
        Encode the binary mask of this label.

    Returns
    -------
    bytes
        The same for the same voxels, geometry and text.
    """
    pieces = []
    encoder = _Encoder(fresh_header(data.shape, np.uint8, affine, descrip), pieces.append)
    for chunk in _chunks(data.ravel(order="F")):
        encoder.add(chunk if value is None else (chunk == value).view(np.uint8))
    went_in = encoder.end()
    encoded = b"".join(pieces)
    if struct.unpack("<II", encoded[-8:]) != went_in:
        raise errors.DatasetError(
            "the codec's checksum is not that of what it was given; nothing is written",
            code="write",
        )
    return encoded


def mask_memory(path) -> int:
    """Estimate the memory that a routine needs which holds one mask.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    int, bytes
        0 for a file whose header cannot be read: its sample will fail at once.
    """
    try:
        return _MEMORY_BESIDES + int(_MEMORY_PER_VOXEL * read_header(path).n_voxels)
    except errors.DamagedFileError:
        return 0


def voxel_crc(data: np.ndarray) -> str:
    """CRC32 of a mask's voxels in the order of the disk, eight hexadecimal digits.

    Parameters
    ----------
    data : (X, Y, Z) uint8
    """
    crc = 0
    for chunk in _chunks(data.ravel(order="F")):
        crc = codec.crc32(chunk, crc)
    return f"{crc:08x}"


def is_same_file(path, encoded: bytes) -> bool:
    """Tell whether a file holds an encoded image, header and voxels, whatever compressed it.

    Parameters
    ----------
    path : path-like
        May be missing or damaged: then it does not.
    encoded : bytes
        From `encode_mask`.
    """
    if not os.path.exists(path):
        return False
    if _has_bytes(path, encoded):
        return True
    try:
        with _Stream(path) as stream, _Stream(path, io.BytesIO(encoded)) as other:
            same = piece = True
            while same and piece:
                piece = stream.read(CHUNK_VOXELS)
                same = piece == other.read(CHUNK_VOXELS)
            return same
    except errors.DamagedFileError:
        return False


def has_label(path, data: np.ndarray, value: int, encoded: bytes) -> bool:
    """Tell whether a binary mask file has just the voxels of one label, whatever its header.

    Parameters
    ----------
    path : path-like
    data : (X, Y, Z) uint8
        The multi-label mask.
    value : int
        The label.
    encoded : bytes
        The label's file as `encode_mask` makes it; equal bytes need no look inside.

    Raises
    ------
    DamagedFileError
        The file is damaged.
    """
    if _has_bytes(path, encoded):
        return True
    header = read_header(path)
    if header.shape != data.shape:
        return False
    chunks = zip(voxel_chunks(header), _chunks(data.ravel(order="F")))
    # All chunks, whatever they hold: the end of the file is checked behind the last one.
    same = [
        bool((chunk * header.slope + header.inter == (labels == value)).all())
        for chunk, labels in chunks
    ]
    return all(same)


def _has_bytes(path, encoded):
    with _readable(path):
        return os.path.getsize(path) == len(encoded) and Path(path).read_bytes() == encoded


def staged(path, encoded: bytes) -> files.Pending:
    """Write an encoded image beside its target and check what the disk holds.

    Parameters
    ----------
    path : path-like
        The final name.
    encoded : bytes
        From `encode_mask`.

    Returns
    -------
    files.Pending
        Call its `commit`.

    Raises
    ------
    DatasetError
        The file cannot be written, or does not decode to what its trailer says.
    """
    pending = files.Pending(path)
    try:
        with files.explained(path):
            pending.handle.write(encoded)
        pending.seal()
        with _readable(path):
            written = pending.temporary_path.read_bytes()
        if written != encoded:
            raise _miswritten(path)
        with _Stream(pending.temporary_path) as stream:
            stream.finish()
    except BaseException:
        pending.discard()
        raise
    return pending


def _miswritten(path):
    return errors.DatasetError(
        f"{path}: the disk does not hold what was written; nothing was replaced",
        file=path,
        code="write",
    )


def write_mask(path, data: np.ndarray, affine: np.ndarray, descrip: str = "") -> None:
    """Write a mask, whole or not at all.

    Parameters
    ----------
    path : path-like
    data : (X, Y, Z) uint8
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    descrip : str
        Header text.

    Raises
    ------
    DatasetError
        The file cannot be written.
    """
    with staged(path, encode_mask(data, affine, descrip)) as pending:
        pending.commit()


def stage_volume(
    path, source: Header, affine: np.ndarray, descrip: str = "", read_ahead: bool = False
):
    """Convert a volume to float32, slab by slab, into a file beside its target.

    Parameters
    ----------
    path : path-like
        The final name.
    source : Header
        The volume to convert; its scaling is applied.
    affine : (4, 4) float
        The geometry to write.
    descrip : str
        Header text.
    read_ahead : bool
        Decompress in a thread of its own while this one compresses; same bytes.

    Returns
    -------
    pending : files.Pending
        Call its `commit`.
    conversion : Conversion

    Raises
    ------
    DamagedFileError
        The source is damaged; found out at its last byte at the latest.
    DatasetError
        The file cannot be written, or its trailer does not fit what went in.
    """
    conversion = Conversion()
    header_bytes = fresh_header(source.shape, np.float32, affine, descrip)
    chunks = (_as_float32(chunk, source, conversion) for chunk in voxel_chunks(source))
    return _stage_stream(path, header_bytes, _ahead(chunks) if read_ahead else chunks), conversion


def stage_mask(path, source: Header, affine: np.ndarray, descrip: str = "") -> files.Pending:
    """Convert a mask to uint8, slab by slab, into a file beside its target.

    Parameters are those of `stage_volume`.

    Raises
    ------
    DamagedFileError
        The source is damaged.
    DatasetError
        A label is not a whole number in 0..255, or the file cannot be written.
    """
    header_bytes = fresh_header(source.shape, np.uint8, affine, descrip)
    return _stage_stream(
        path, header_bytes, (_labels(chunk, source) for chunk in voxel_chunks(source))
    )


def _ahead(iterator):
    """Let a thread work out the next item while the last one is used."""
    from concurrent import futures

    with futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, iterator, None)
            yield item


def _stage_stream(path, header_bytes, chunks):
    pending = files.Pending(path)
    try:
        with files.explained(path):
            encoder = _Encoder(header_bytes, pending.handle.write)
            for chunk in chunks:
                encoder.add(chunk)
            went_in = encoder.end()
        pending.seal()
        written = pending.temporary_path
        if _trailer(written, os.path.getsize(written)) != went_in:
            raise _miswritten(path)
    except BaseException:
        pending.discard()
        raise
    return pending


def _as_float32(chunk, source, conversion):
    """One chunk's values as float32; what is odd about them goes into `conversion`."""
    if chunk.dtype.kind in "iu" and chunk.dtype.itemsize <= 2 and not source.is_scaled:
        return chunk.astype(np.float32)
    values = chunk
    if source.is_scaled:
        values = chunk.astype(np.float64) * source.slope + source.inter
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(np.float32)
        finite = np.isfinite(result)
        if values.dtype.itemsize > 4 or values.dtype.kind != "f":
            # A double cannot tell int64 values apart where a float32 loses their last digits.
            loss = np.abs(result.astype(np.longdouble) - values)
            conversion.largest_loss = max(
                conversion.largest_loss, float(np.nanmax(loss, initial=0))
            )
    if not finite.all():
        conversion.n_nan += int(np.isnan(result).sum())
        conversion.n_infinite += int(np.isinf(result).sum())
    return result

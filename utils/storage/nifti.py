"""Read .nii.gz and .nii: headers alone, voxels as a stream checked to its last byte."""

import contextlib
import dataclasses
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.storage import deflate, file_kinds, files

# Read and written at a time. The compressed bytes depend on how they are handed over: one size.
CHUNK_VOXELS = 1 << 18
# Measured on 768 x 768 x 512: 357 MiB at most, 288 of them the voxels; a little is added.
_MEMORY_PER_VOXEL = 1.25
_MEMORY_BESIDES = 80 << 20
_DRAIN_BYTES = 1 << 20
_PLAIN = ".nii"
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_HEADER_BYTES = 540  # NIfTI-2
_DEFLATE_LIMIT = 1032  # deflate cannot shrink more than this
_PIXDIM_TOL_MM = 1e-3
# 255 times a float32 slope is off by up to 1.5e-5: rounding, nobody need know of it.
_SLOPE_NOISE = 2e-5
_LABEL_ROUNDING = 1e-4
# Of a smaller slope no whole number is further than a quarter from what is stored for it.
_LABEL_SLOPE = 0.5
# float32 cannot hold a value better than to 6e-8; from here on something was lost.
_LOSS_OF_LARGEST = 1e-6
_FORM_CODES = range(6)  # nibabel.nifti1.xform_codes
# sform and qform say the same where they put all voxels this near.
_FORMS_APART_MM = 0.1
# As ITK does: squares of a quaternion's b, c, d that add up to a little more are rounding.
_QUATERNION_EXCESS = 1e-5
# Parts of two float32 quaternions that were made of one rotation differ by no more.
_QUATERNION_ROUNDING = 2e-7
# NIfTI's codes of the unit of length, and the spacings that make sense of one.
_UNITS_MM = {1: ("metres", 1e3), 3: ("microns", 1e-3)}
_SPACING_MM = (0.01, 50)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a NIfTI file says of its voxels.

    Attributes
    ----------
    dtype
        Data type on disk, byte order included.
    affine : (4, 4) float64
        Voxel index to RAS+ mm, by nibabel's rules (sform, else qform, else pixdim).
    zooms : (3,) float32, mm
        The stored pixdim.
    slope, inter
        Stored value times `slope` plus `inter` is the voxel's value.
    source_crc
        CRC32 of all uncompressed bytes, eight hexadecimal digits; empty where `read_header` only
        took a glance, and they would all have to be read for it.
    has_orientation
        False when neither sform nor qform is set.
    identity
        Which file was read, and as it was when: `Stream.identity`.
    oddities
        What was odd about the geometry, and what was made of it.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    zooms: np.ndarray
    slope: float
    inter: float
    vox_offset: int
    descrip: str
    source_crc: str
    has_orientation: bool
    identity: tuple[int, ...]
    oddities: tuple[str, ...]

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

    def axis_order(self, onto: "Header", affine: np.ndarray | None = None) -> np.ndarray | None:
        """How the axes must be exchanged and flipped to be those of another image of the same grid.

        See `geometry.axis_order`; an `affine` stands for that of the other image. None: not at all;
        what is a guess moves no voxel.
        """
        if not (self.has_orientation and onto.has_orientation):
            return None
        goal = onto.affine if affine is None else affine
        return geometry.axis_order(self.affine, self.shape, goal, onto.shape)

    def complaints(self) -> list[str]:
        """Oddities of the header that a user should know of."""
        found = [f"{self.path}: {text}" for text in self.oddities]
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
class Image:
    """An image in memory: `data` (X, Y, Z), uint8 or float32, in Fortran order; its `header`."""

    data: np.ndarray
    header: Header


@dataclasses.dataclass
class Conversion:
    """What conversion of stored numbers met.

    Attributes
    ----------
    n_nan, n_infinite
        Counts of voxels.
    largest_loss, largest_value
        What float32 lost of a volume's value, and the largest one that it was not sure to hold.
    largest_rounding
        How far a label was from a whole number.
    """

    n_nan: int = 0
    n_infinite: int = 0
    largest_loss: float = 0.0
    largest_value: float = 0.0
    largest_rounding: float = 0.0

    def complaints(self, source: Header) -> list[str]:
        """What a user should know of it; what rounding does to every file is not told."""
        found = []
        if self.n_nan or self.n_infinite:
            found.append(
                f"{source.path}: {self.n_nan:,} voxels are NaN and {self.n_infinite:,} infinite; "
                "they are kept"
            )
        step = abs(source.slope) if source.is_scaled else 2 * _LOSS_OF_LARGEST * self.largest_value
        if self.largest_loss > step / 2:
            found.append(
                f"{source.path}: float32 cannot hold all values exactly; the largest loss is "
                f"{self.largest_loss:.3g}"
            )
        if self.largest_rounding > _SLOPE_NOISE and abs(source.slope) < _LABEL_SLOPE:
            found.append(
                f"{source.path}: labels stored with a slope of {source.slope:g}; rounded to whole "
                f"numbers, by {self.largest_rounding:.2g} at most"
            )
        return found


def _numbers(values):
    return " x ".join(f"{float(value):g}" for value in values)


class Stream:
    """The uncompressed bytes of a gzip file, every member checked against its trailer.

    Those of `content`, where it is given: `path` is then its name in messages. A file that is
    called ``.nii`` is taken as it is.
    """

    def __init__(self, path: files.PathLike, content: BinaryIO | None = None):
        self.path = path
        self.is_plain = Path(path).suffix == _PLAIN
        self._stored = content or files.opened(path)
        self.rewind()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()
        self._stored.close()

    def rewind(self) -> None:
        """Begin again, with the same file, whatever bears its name by now."""
        self._stored.seek(0)
        self._file = self._stored if self.is_plain else deflate.igzip.open(self._stored)
        self.position = 0

    @property
    def identity(self) -> tuple[int, ...]:
        """Tells the open file, and its state, from others: device, inode, size, time of change."""
        return files.state(self._stored)

    @property
    def stored_size(self) -> int:
        """Bytes of the file, compressed as it is; of a zip's member without the zip's own."""
        return files.size(self._stored)

    @property
    def is_known_by_its_end(self) -> bool:
        """Whether the trailer tells of all bytes, and is at hand without reading them."""
        return not self.is_plain and files.has_tail(self._stored)

    def trailer(self) -> tuple[int, int]:
        """Return the CRC32 and the length (modulo 2**32) that the last gzip member stores."""
        with files.explained(self.path, "read"):
            last = files.tail(self._stored, 8)
        crc, length = struct.unpack("<II", last.rjust(8, b"\0"))
        return crc, length

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes, fewer only at the end; DamagedFileError before a wrong one."""
        with files.explained(self.path, "read"):
            try:
                piece = self._file.read(size)
            except self._faults() as error:
                raise self._broken(error) from error
            if not piece and not self.position and not self.stored_size:
                raise _empty(self.path)
        self.position += len(piece)
        return piece

    def rest(self) -> Iterator[bytes]:
        """Yield what is left, in pieces."""
        while piece := self.read(_DRAIN_BYTES):
            yield piece

    def skip(self, size: int) -> None:
        """Read so many bytes, in pieces, or to the end."""
        while size and (piece := self.read(min(size, _DRAIN_BYTES))):
            size -= len(piece)

    def finish(self) -> int:
        """Read to the end and return the total length."""
        for _ in self.rest():
            pass
        return self.position

    @staticmethod
    def _faults():
        # Overflow: a gzip header, or what was taken for one, that is longer than ISA-L's buffer.
        return EOFError, gzip.BadGzipFile, deflate.codec.error, OverflowError

    def _broken(self, error):
        if not self.stored_size:
            return _empty(self.path)
        self._stored.seek(0)  # the same file, whatever bears its name by now
        if isinstance(error, EOFError):
            opinion, length = _second_opinion(self._stored)
            error = opinion or error
        if isinstance(error, EOFError):
            reason = f"the gzip stream is cut off, after {length:,} uncompressed bytes"
            return _damaged(self.path, reason, "truncated")
        if "Not a gzipped file" in str(error):
            self._stored.seek(0)
            return _no_gzip(self.path, self._stored.read(file_kinds.N_BYTES))
        return _damaged(self.path, f"the gzip stream is corrupt: {error}")


def _second_opinion(stored):
    """What Python's reader says, and after how many bytes.

    For ISA-L's, up to nine bytes behind the stream are a cut one, and the last piece is lost.
    """
    length = 0
    try:
        with gzip.open(stored) as plain:
            while piece := plain.read1(_DRAIN_BYTES):
                length += len(piece)
    except (EOFError, OSError, zlib.error) as error:
        return error, length
    return None, length


def _empty(path):
    return _damaged(path, "the file is empty; download it again", "truncated")


def _no_gzip(path, start):
    if start.startswith(_GZIP_MAGIC):
        return _damaged(path, "something else follows the gzip stream", "junk")
    return _damaged(path, f"no gzip file but {file_kinds.described(start)}", "no_gzip")


def _damaged(path, reason, code="damaged", **sides):
    return errors.DamagedFileError(f"{path}: damaged: {reason}", file=path, code=code, **sides)


def read_header(path: files.PathLike, glance: bool = False) -> Header:
    """Read a header, and notice a file that was cut off.

    With `glance` no more is read than that takes: the CRC32 of a .nii, and of what lies compressed
    in a zip, stays unknown (there the zip's directory tells whether all is there).

    DamagedFileError for no gzip, no NIfTI, no 3-D grid of numbers (4-D with one frame is one), an
    impossible affine, or fewer voxels than the header says.

    Notes
    -----
    Only the header is decompressed. The length in the gzip trailer tells whether the rest is
    there; where it does not fit (a legal file of several members, or a cut one), all is decoded.
    A .nii has no trailer: all is read. So is, for its trailer, what lies compressed in a zip.
    """
    with Stream(path) as stream:
        return _header(stream, glance)


def _header(stream, glance=False):
    """What `read_header` returns, of a stream at its begin."""
    path = Path(stream.path)
    identity = stream.identity  # as it was before all of it was read
    start = stream.read(_LARGEST_HEADER_BYTES)
    fields, size = _parsed(path, start)
    on_disk = stream.stored_size
    if stream.is_plain:
        _check_length(path, size, on_disk)
    elif on_disk * _DEFLATE_LIMIT < size:
        promise = f"the {size:,} bytes that the header promises"
        reason = f"{on_disk:,} compressed bytes cannot hold {promise}"
        raise _damaged(path, reason, "truncated", expected=size)
    is_known = stream.is_known_by_its_end or not glance
    crc = f"{_crc(stream, start, size):08x}" if is_known else ""
    header = Header(path=path, source_crc=crc, identity=identity, **fields)
    geometry.check_affine(header.affine, str(path))
    return header


def _crc(stream, start, size):
    """CRC32 of all bytes of a stream, of which `start` was read; the header promises `size`."""
    if not stream.is_plain:
        crc, length = stream.trailer()
        if length == size & 0xFFFFFFFF:
            return crc
    crc = deflate.codec.crc32(start)
    for piece in stream.rest():
        crc = deflate.codec.crc32(piece, crc)
    _check_length(stream.path, size, stream.position)
    return crc


def _parsed(path, raw):
    """The fields of a Header in the first bytes of a file, and the length they promise."""
    import nibabel as nib

    kinds = ((nib.Nifti1Header, 344, b"n+1"), (nib.Nifti2Header, 4, b"n+2"))
    fitting = [
        kind
        for kind, magic_at, magic in kinds
        if len(raw) >= kind.sizeof_hdr and raw[magic_at : magic_at + 3] == magic
    ]
    if not fitting:
        reason = "no single-file NIfTI (magic n+1 or n+2 is missing)"
        is_gzip = path.suffix == _PLAIN and raw.startswith(_GZIP_MAGIC)
        kind = f"a gzip file; rename it to {path.name}.gz" if is_gzip else file_kinds.described(raw)
        raise _damaged(path, f"{reason} but {kind}", "no_nifti")
    try:
        fields = _fields(path, fitting[0](raw[: fitting[0].sizeof_hdr], check=False))
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
        found = _numbers(shape)
        reason = f"not a 3-D image: its dimensions are {found or 'none'}"
        raise _damaged(path, reason, "dimensions", expected="3 dimensions", found=found)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise _damaged(path, f"data type {dtype} is not one number per voxel", "dtype")
    slope, inter = header.get_slope_inter()
    return {
        "shape": shape[:3],
        "dtype": dtype,
        "slope": 1.0 if slope is None else float(slope),
        "inter": 0.0 if inter is None else float(inter),
        "vox_offset": _voxels_begin(header),
        "descrip": bytes(header["descrip"]).rstrip(b"\0").decode("latin-1"),
        **_geometry(header, shape[:3]),
    }


def _voxels_begin(header):
    """Where the voxels begin: nibabel, too, refuses what lies inside the header."""
    offset, least = float(header["vox_offset"]), len(header.binaryblock) + 4
    if offset < least and offset != 0:
        raise ValueError(f"voxels cannot begin at byte {offset:g}, expected {least} or more")
    return max(int(offset), least)


def _geometry(header, shape):
    """The fields of a Header about geometry: mm, as nibabel takes them, and what is odd."""
    zooms = np.array(header["pixdim"][1:4], np.float64)
    with np.errstate(all="ignore"):
        odd = _mend(header)
        affine = np.array(header.get_best_affine(), np.float64)
        factor = _unit(header, geometry.spacing(affine), odd)
        affine[:3] *= factor
        odd += _contradiction(header, affine, factor, shape)
        return {
            "affine": affine,
            "zooms": (zooms * factor).astype(np.float32),
            "has_orientation": bool(header["sform_code"] or header["qform_code"]),
            "oddities": tuple(odd),
        }


def _mend(header):
    """Do what nibabel does on loading, before an affine is made; give what is worth a word."""
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):  # 0 is common, and stands for 1
        pixdim[0] = 1
    pixdim[1:4] = np.where(pixdim[1:4] == 0, 1, np.abs(pixdim[1:4]))
    odd = []
    for name in ("sform_code", "qform_code"):
        code = int(header[name])
        if code not in _FORM_CODES:
            odd.append(f"{name} {code} is none of NIfTI's; it counts as 0, as with nibabel")
            header[name] = 0
    parts = [header[f"quatern_{letter}"] for letter in "bcd"]
    squares = sum(np.longdouble(part) ** 2 for part in parts)
    if 1 < squares <= 1 + _QUATERNION_EXCESS:
        for part in parts:
            part[...] = part / np.sqrt(squares)
    return odd


def _unit(header, spacing, odd):
    """The length of the header's unit in mm; what is said of it goes to `odd`."""
    name, factor = _UNITS_MM.get(int(header["xyzt_units"]) & 7, ("mm", 1.0))
    if name == "mm":
        return 1.0
    smallest, largest = _SPACING_MM
    in_mm = spacing * factor
    if smallest <= in_mm.min() and in_mm.max() <= largest:
        odd.append(f"lengths in {name}, a spacing of {_numbers(in_mm)} mm; converted")
        return factor
    odd.append(
        f"lengths in {name}, which gives a spacing of {_numbers(in_mm)} mm, expected {smallest:g} "
        f"to {largest:g}; the numbers are taken as mm: {_numbers(spacing)}"
    )
    return 1.0


def _contradiction(header, sform, factor, shape):
    """Tell of a qform that is set, too, and says something else than the sform."""
    if not (header["sform_code"] and header["qform_code"]):
        return []
    try:
        qform = header.get_qform()
    except ValueError as error:  # not a rotation
        return [f"the qform makes no sense ({errors.one_line(error)}); the sform is taken"]
    qform[:3] *= factor
    # The rule, so it comes first: all voxels, and each step from one to the next, are the same.
    steps = np.abs(qform - sform)[:3, :3].max()
    apart = geometry.corner_displacement_mm(qform, sform, shape)
    if apart <= _FORMS_APART_MM and steps < geometry.spacing(sform).min() / 10:
        return []
    if not geometry.is_grid(sform):
        return []
    qform = _as_meant(header, qform, sform)
    if not geometry.is_grid(qform):
        return [f"the qform {geometry.short_text(qform)} is no voxel grid; the sform is taken"]
    apart = geometry.corner_displacement_mm(qform, sform, shape)
    if apart <= _FORMS_APART_MM and not geometry.is_turned(qform, sform):
        return []
    sides = (
        f"{name} {geometry.axis_codes(form)} {geometry.short_text(form)}"
        for name, form in (("sform", sform), ("qform", qform))
    )
    both = " and ".join(sides)
    return [f"{both} contradict each other, by {apart:.3g} mm in a corner; the sform is taken"]


def _as_meant(header, qform, sform):
    """A qform, with the sform's rotation where its quaternion was made of that one.

    Of a turn by nearly 180 degrees, as in most LPS and LAS files, b, c and d are stored so coarsely
    that the angle comes back wrong by up to 0.05 degree: half a millimetre in a corner.
    """
    made = header.copy()
    made.set_qform(sform)
    stored, own = (
        np.array([fields[f"quatern_{letter}"] for letter in "bcd"], np.float64)
        for fields in (header, made)
    )
    # The sign is chance where the first part, which is not stored, is 0 but for rounding.
    is_half_turn = 1 - own @ own <= 2 * _QUATERNION_ROUNDING
    signs = (1, -1) if is_half_turn else (1,)
    apart = min(np.abs(stored - sign * own).max() for sign in signs)
    if apart > _QUATERNION_ROUNDING or header["pixdim"][0] != made["pixdim"][0]:
        return qform
    nearest = geometry.nearest_orthonormal(sform, (1, 1, 1))
    meant = qform.copy()
    meant[:3, :3] = nearest[:3, :3] / geometry.spacing(sform) * geometry.spacing(qform)
    return meant


def _check_length(path, size, length):
    if length < size:
        reason = f"holds {length:,} bytes, its header promises {size:,}"
        raise _damaged(path, reason, "truncated", expected=size, found=length)


@contextlib.contextmanager
def _opened(path, same_as=None):
    """Open a file; DatasetError where it is not the one any more that a header was read from.

    So, too, where an uncompressed one changes within the block: no checksum would tell.
    """
    with Stream(path) as stream:
        begun = same_as.identity if same_as else stream.identity
        if stream.identity != begun:
            raise _replaced(path)
        yield stream
        if stream.is_plain and stream.identity != begun:
            raise _replaced(path)


def _replaced(path):
    reason = "was replaced or changed by another process while it was worked on"
    return errors.DatasetError(f"{path}: {reason}; run this again", file=path, code="replaced")


def file_bytes(header: Header) -> bytes:
    """Return the bytes of a file as it lies on the disk, compressed or not.

    DatasetError where it is not the one any more that the header was read from.
    """
    with files.explained(header.path, "read"), files.opened(header.path) as handle:
        content = handle.read()
        if files.state(handle) != header.identity:
            raise _replaced(header.path)
    return content


def check(header: Header) -> None:
    """Decode a file to its end; DamagedFileError where a checksum or a length is wrong."""
    with _opened(header.path, header) as stream:
        _check_length(header.path, header.n_bytes, stream.finish())


def voxel_chunks(header: Header) -> Iterator[np.ndarray]:
    """Yield the stored numbers in the order of the disk (first axis fastest).

    Each time `CHUNK_VOXELS` of them, read-only, of `header.dtype`; the last time fewer.
    DamagedFileError comes at the latest behind the last chunk, when checksum or length are wrong:
    what was made of the chunks must not be kept before the iterator has ended. DatasetError where
    the file is not the one any more that the header was read from.
    """
    with _opened(header.path, header) as stream:
        yield from _chunks(stream, header)


def _chunks(stream, header):
    chunk_bytes = CHUNK_VOXELS * header.dtype.itemsize
    stream.skip(header.vox_offset)
    while missing := max(header.n_bytes - stream.position, 0):
        piece = stream.read(min(chunk_bytes, missing))
        if len(piece) < min(chunk_bytes, missing):
            _check_length(header.path, header.n_bytes, stream.position)
        yield np.frombuffer(piece, header.dtype)
    stream.finish()


def read_mask(path: files.PathLike, same_as: Header | None = None) -> Image:
    """Read a mask as uint8.

    DamagedFileError for a damaged file, DatasetError for a label that is not a whole number in
    0..255, and where it is not the file any more that the header `same_as` was read from.
    """
    conversion = Conversion()

    def convert(chunk, header):
        return as_labels(chunk, header, conversion)

    image = _image(path, np.uint8, convert, same_as)
    for message in conversion.complaints(image.header):
        errors.warn(message)
    return image


def read_volume(path: files.PathLike, is_told: bool = False) -> Image:
    """Read a volume as float32, scaling applied; DamagedFileError for a damaged file.

    What was lost by it is warned about where it `is_told`.
    """
    conversion = Conversion()
    image = _image(path, np.float32, lambda chunk, header: as_float32(chunk, header, conversion))
    for message in conversion.complaints(image.header) if is_told else ():
        errors.warn(message)
    return image


def _image(path, dtype, convert, same_as=None):
    with _opened(path, same_as) as stream:
        header = _header(stream, glance=True)  # all is read and checked below
        stream.rewind()
        data = np.empty(header.n_voxels, dtype)
        start = 0
        for chunk in _chunks(stream, header):
            data[start : start + chunk.size] = convert(chunk, header)
            start += chunk.size
    return Image(data.reshape(header.shape, order="F"), header)


def mask_memory(path: files.PathLike) -> int:
    """Estimate the bytes of memory that a routine needs which holds one mask.

    0 for a file whose header cannot be read: its sample will fail at once.
    """
    try:
        return _MEMORY_BESIDES + int(_MEMORY_PER_VOXEL * read_header(path, glance=True).n_voxels)
    except errors.DamagedFileError:
        return 0


def whole_numbers(chunk: np.ndarray, header: Header, conversion: Conversion) -> np.ndarray:
    """The values of stored numbers, taking scaling for what it does to whole ones.

    A value that lies as near to a whole number as its slope allows becomes that number.
    """
    if not header.is_scaled:
        return chunk
    values = chunk * np.float64(header.slope) + np.float64(header.inter)
    limit = _LABEL_ROUNDING
    if abs(header.slope) < _LABEL_SLOPE:
        limit = max(limit, abs(header.slope) / 2 + _SLOPE_NOISE)
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):
        off = np.abs(values - whole)
        near = off < limit
    largest = float(off.max(where=near, initial=0))
    conversion.largest_rounding = max(conversion.largest_rounding, largest)
    return np.where(near, whole, values)


def as_labels(chunk: np.ndarray, header: Header, conversion: Conversion) -> np.ndarray:
    """Make uint8 labels of stored numbers; DatasetError for one that is no label."""
    chunk = whole_numbers(chunk, header, conversion)
    if chunk.dtype == np.uint8:
        return chunk
    with np.errstate(invalid="ignore"):
        labels = chunk.astype(np.uint8)
    wrong = labels != chunk
    if wrong.any():
        values = np.unique(chunk[wrong])
        shown = ", ".join(map(_digits, values[:5]))
        reason = f"labels {shown}{' ...' if values.size > 5 else ''} found, expected whole numbers"
        raise errors.DatasetError(
            f"{header.path}: {reason} from 0 to 255",
            file=header.path,
            code="labels",
            expected="0..255",
            found=shown,
        )
    return labels


def _digits(value):
    """A number that is no label, with digits enough to see why."""
    short = f"{value:g}"
    return str(value) if float(short) in range(256) else short


def as_float32(chunk: np.ndarray, source: Header, conversion: Conversion) -> np.ndarray:
    """Make float32 values of stored numbers; what is odd about them goes into `conversion`."""
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
            largest = float(np.nanmax(loss, initial=0))
            conversion.largest_loss = max(conversion.largest_loss, largest)
            if not source.is_scaled:
                conversion.largest_value = max(conversion.largest_value, _largest(values))
    if not finite.all():
        conversion.n_nan += int(np.isnan(result).sum())
        conversion.n_infinite += int(np.isinf(result).sum())
    return result


def _largest(values):
    """The largest size of a finite value."""
    ends = values.min(), values.max()
    if not np.isfinite(ends).all():
        return float(np.abs(values).max(where=np.isfinite(values), initial=0))
    return max(abs(float(end)) for end in ends)

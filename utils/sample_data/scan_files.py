"""NIfTI files of made-up scans, as various as scanners and tools leave them.

Written without `nifti`, which must read them and would never write such headers.
"""

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.storage import files

if TYPE_CHECKING:
    import nibabel as nib


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanStyle:
    """How the grid of a sample lies, and how its files are written.

    Attributes
    ----------
    axes : str
        World directions that the array axes point to, such as ``LAS``.
    tilt_degrees : float
        Rotation of the grid about the left-right axis; not 0 makes it oblique.
    dtype, mask_dtype : str
        Type of the volume and of the masks on disk.
    scaling, mask_scaling : (float, float) or None
        ``scl_slope`` and ``scl_inter`` of the volume and of the masks.
    volume_forms, mask_forms : str
        Which of the header's affines are set: ``both``, ``sform`` or ``qform``.
    mask_shift_mm : float
        How far the mask's origin lies beside the volume's.
    """

    axes: str = "LAS"
    tilt_degrees: float = 0.0
    dtype: str = "int16"
    mask_dtype: str = "uint8"
    scaling: tuple[float, float] | None = None
    mask_scaling: tuple[float, float] | None = None
    volume_forms: str = "both"
    mask_forms: str = "both"
    mask_shift_mm: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """A made-up scan.

    Attributes
    ----------
    sample : ScanStyle
        Of the archive module's own class, which says more of it.
    affine : (4, 4) float64
        Voxel index to RAS+ mm, in digits that float32 holds.
    tissues : (X, Y, Z) uint8
        Tissue codes of the module that made it, Fortran order.
    labels : tuple of int
        Those that occur, 0 not counted.
    seed : int
    """

    sample: Any
    affine: np.ndarray
    tissues: np.ndarray
    labels: tuple[int, ...]
    seed: int


def write_scan(
    made: Scan, volumes: dict[Path, Iterable[np.ndarray]], masks: dict[Path, Iterable[np.ndarray]]
) -> None:
    """Write the images of a scan, path to (X, Y) slices, with the headers its sample asks for.

    Masks are written first: with the volume the scan is complete.
    """
    sample, shape = made.sample, made.tissues.shape
    mask_affine = made.affine.copy()
    mask_affine[:3, 3] += sample.mask_shift_mm * np.array([0.6, -0.48, 0.64])
    mask_style = sample.mask_dtype, mask_affine, sample.mask_forms, sample.mask_scaling
    volume_style = sample.dtype, made.affine, sample.volume_forms, sample.scaling
    mask_header, volume_header = header(shape, *mask_style), header(shape, *volume_style)
    for images, made_header in ((masks, mask_header), (volumes, volume_header)):
        for path, slices in images.items():
            write(path, made_header, slices)


def header(
    shape: Sequence[int],
    dtype: str,
    affine: np.ndarray,
    forms: str,
    scaling: tuple[float, float] | None = None,
) -> "nib.Nifti1Header":
    """Make a NIfTI-1 header as scanners and tools leave them.

    `forms` is ``both`` (both codes 1), ``sform`` (code 2, no qform) or ``qform`` (code 1, no
    sform). Values on disk times slope plus inter, the `scaling`, are the intensities.
    """
    import nibabel as nib

    made = nib.Nifti1Header()
    made.set_data_dtype(np.dtype(dtype))
    made.set_data_shape(shape)
    made.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    if forms != "sform":
        made.set_qform(affine, code=1)
    if forms != "qform":
        made.set_sform(affine, code=2 if forms == "sform" else 1)
    made.set_xyzt_units("mm")
    made.set_slope_inter(*(scaling or (1.0, 0.0)))
    made["descrip"] = b"made-up scan"
    made["cal_max"] = 1000 if scaling else 0  # a display window that somebody saved
    made["vox_offset"] = 352
    return made


def write(
    path: files.PathLike, made_header: "nib.Nifti1Header", slices: Iterable[np.ndarray]
) -> None:
    """Write a .nii.gz, whole or not at all, from (X, Y) slices of intensities or labels.

    Its folder is made where it is missing; the header has type and scaling of the values on disk.
    """
    dtype = made_header.get_data_dtype()
    slope, inter = (float(made_header[name]) for name in ("scl_slope", "scl_inter"))
    files.make_dir(Path(path).parent)
    with files.whole(path) as pending:
        # wbits 31: a gzip member that holds neither name nor time.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        pending.write(packer.compress(made_header.binaryblock + bytes(4)))
        for values in slices:
            if (slope, inter) != (1.0, 0.0):
                values = np.rint((values - inter) / slope)
            pending.write(packer.compress(np.ascontiguousarray(values.T, dtype).data))
        pending.write(packer.flush())

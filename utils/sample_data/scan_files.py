"""NIfTI files of made-up scans, as various as scanners and tools leave them.

Written without `nifti`, which must read them and would never write such headers.
"""

import dataclasses
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils.storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How the grid of a sample lies, and how its files are written.

    Attributes
    ----------
    axes : str
        World directions that the array axes point to, such as ``LAS``.
    tilt_degrees : float
        Rotation of the grid about the left-right axis; not 0 makes it oblique.
    dtype, mask_dtype : str
        Type of the volume and of the masks on disk.
    scaling : (float, float) or None
        ``scl_slope`` and ``scl_inter`` of the volume.
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
    volume_forms: str = "both"
    mask_forms: str = "both"
    mask_shift_mm: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """One made-up scan.

    Attributes
    ----------
    sample : Look
    affine : (4, 4) float64
        Voxel index to RAS+ mm, in digits that float32 holds.
    tissues : (X, Y, Z) uint8
        Tissue codes of the module that made it, Fortran order.
    labels : tuple of int
        Those that occur, 0 not counted.
    seed : int
    """

    sample: Look
    affine: np.ndarray
    tissues: np.ndarray
    labels: tuple[int, ...]
    seed: int


def write_scan(made: Scan, volumes: dict, masks: dict) -> None:
    """Write the images of one scan with the headers that its sample asks for.

    Parameters
    ----------
    made : Scan
    volumes, masks : dict of Path to iterable of (X, Y) arrays
        The slices of each image. Masks are written first: with the volume the scan is complete.

    Raises
    ------
    DatasetError
        A file cannot be written.
    """
    sample, shape = made.sample, made.tissues.shape
    mask_affine = made.affine.copy()
    mask_affine[:3, 3] += sample.mask_shift_mm * np.array([0.6, -0.48, 0.64])
    mask_header = header(shape, sample.mask_dtype, mask_affine, sample.mask_forms)
    volume_header = header(shape, sample.dtype, made.affine, sample.volume_forms, sample.scaling)
    for images, made_header in ((masks, mask_header), (volumes, volume_header)):
        for path, slices in images.items():
            write(path, made_header, slices)


def header(shape, dtype: str, affine: np.ndarray, forms: str, scaling=None):
    """Make a NIfTI-1 header as scanners and tools leave them.

    Parameters
    ----------
    shape : (3,) int
    dtype : str
        Type on disk.
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    forms : str
        ``both`` (both codes 1), ``sform`` (code 2, no qform) or ``qform`` (code 1, no sform).
    scaling : (slope, inter), optional
        Values on disk times slope plus inter are the intensities; default 1 and 0.

    Returns
    -------
    nibabel.Nifti1Header
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


def write(path, made_header, slices: Iterable[np.ndarray]) -> None:
    """Write a .nii.gz slice by slice, whole or not at all.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    made_header : nibabel.Nifti1Header
        Type and scaling of the values on disk; see `header`.
    slices : iterable of (X, Y) arrays
        Intensities or labels, one array for each step along the third axis.

    Raises
    ------
    DatasetError
        The file cannot be written.
    """
    dtype = made_header.get_data_dtype()
    slope, inter = (float(made_header[name]) for name in ("scl_slope", "scl_inter"))
    files.make_dir(Path(path).parent)
    with files.whole(path) as handle:
        # wbits 31: a gzip member that holds neither name nor time.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        handle.write(packer.compress(made_header.binaryblock + bytes(4)))
        for values in slices:
            if (slope, inter) != (1.0, 0.0):
                values = np.rint((values - inter) / slope)
            handle.write(packer.compress(np.ascontiguousarray(values.T, dtype)))
        handle.write(packer.flush())

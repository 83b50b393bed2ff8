"""Spacing, orientation, obliquity and comparison of voxel-to-world affines."""

import itertools

import numpy as np

from utils import errors

# AFNI's OBLIQ_ANGLE_THRESH; float32 noise of a quaternion stays far below.
OBLIQUE_DEGREES = 0.01
# ITK refuses direction cosines R with |R Rᵀ - I| above this (itkNiftiImageIO.cxx).
ITK_ORTHONORMAL_TOL = 1e-4
# A voxel may move this far when an affine is replaced by the nearest one that ITK accepts.
REPAIR_LIMIT_MM = 0.1
_OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def check_affine(affine: np.ndarray, where: str) -> None:
    """Refuse an affine that maps no grid of voxels into space.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    where : str
        The file, for the message.

    Raises
    ------
    DatasetError
        A value is not finite, or the three axes do not span space.
    """
    with np.errstate(all="ignore"):
        norms = spacing(affine)
        spans = (
            np.isfinite(affine).all()
            and (norms > 0).all()
            and abs(np.linalg.det(affine[:3, :3] / norms)) > 1e-3
        )
    if not spans:
        raise errors.DamagedFileError(
            f"{where}: the affine {_flat(affine)} is no voxel grid; expected finite values and "
            "three axes that span space",
            file=where,
            code="affine",
        )


def _flat(affine):
    return "[" + "; ".join(" ".join(f"{x:g}" for x in row) for row in affine[:3]) + "]"


def spacing(affine: np.ndarray) -> np.ndarray:
    """Return the voxel size along each array axis.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.

    Returns
    -------
    (3,) float64, mm
        The norms of the affine's columns.
    """
    return np.sqrt((np.asarray(affine, np.float64)[:3, :3] ** 2).sum(axis=0))


def orientation_codes(affine: np.ndarray) -> tuple[str, str]:
    """Return the letters of the start and of the end of the voxel axes.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.

    Returns
    -------
    orientation_from, orientation_to : str
        ``("RPI", "LAS")`` for a grid whose first axis runs to the left; an oblique grid gives
        ``("Oblique(closest to RPI)", "Oblique(closest to LAS)")``.

    Notes
    -----
    "To" is `nibabel.aff2axcodes`; "from" is what ITK-SNAP prints. Oblique: an axis leaves its
    nearest world axis by more than `OBLIQUE_DEGREES`; exchanged axes alone are not oblique.
    """
    import nibabel as nib

    end = "".join(nib.aff2axcodes(affine))
    codes = end.translate(_OPPOSITE), end
    if np.degrees(_obliquity(affine)) > OBLIQUE_DEGREES:
        return tuple(f"Oblique(closest to {code})" for code in codes)
    return codes


def _obliquity(affine):
    """Largest angle (radians) between a voxel axis and its nearest world axis.

    The arc cosine that nibabel.affines.obliquity takes loses angles below 1e-8; the arc tangent
    of the part across and the part along keeps them.
    """
    cosines = np.sort(np.abs(affine[:3, :3] / spacing(affine)), axis=0)
    return np.arctan2(np.hypot(cosines[0], cosines[1]), cosines[2]).max()


def affine_text(affine: np.ndarray) -> str:
    """Write a matrix so that `affine_from_text` reads the same doubles.

    Parameters
    ----------
    affine : (4, 4) float

    Returns
    -------
    str
        ``[[a b c d]\\n [e f g h]\\n ...]``
    """
    rows = (" ".join(repr(float(value)) for value in row) for row in affine)
    return "[" + "\n ".join(f"[{row}]" for row in rows) + "]"


def affine_from_text(text: str) -> np.ndarray:
    """Read a matrix that `affine_text` wrote.

    Returns
    -------
    (4, 4) float64

    Raises
    ------
    DatasetError
        The text holds no 4 x 4 matrix.
    """
    try:
        values = [float(word) for word in text.replace("[", " ").replace("]", " ").split()]
        return np.array(values).reshape(4, 4)
    except ValueError as error:
        raise errors.DatasetError(f"{text!r} is no 4 x 4 matrix") from error


def corners(shape) -> np.ndarray:
    """Return the centres of the eight corner voxels.

    Parameters
    ----------
    shape : (3,) int

    Returns
    -------
    (8, 3) float64, voxel coordinates
    """
    return np.array(list(itertools.product(*((0.0, n - 1.0) for n in shape))))


def corner_displacement_mm(affine: np.ndarray, other: np.ndarray, shape) -> float:
    """Return how far apart two affines put the same voxel at the worst.

    Parameters
    ----------
    affine, other : (4, 4) float
        Voxel index to RAS+ mm.
    shape : (3,) int
        Size of the grid; the extreme of a linear map lies in a corner.

    Returns
    -------
    float, mm
    """
    difference = np.asarray(affine, np.float64) - other
    moved = corners(shape) @ difference[:3, :3].T + difference[:3, 3]
    return float(np.linalg.norm(moved, axis=1).max())


def is_orthonormal(affine: np.ndarray) -> bool:
    """Tell whether ITK takes an affine's axes for orthonormal.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.

    Returns
    -------
    bool
        |R Rᵀ - I| and |Rᵀ R - I| stay within `ITK_ORTHONORMAL_TOL`, R being the axes at length 1.
    """
    axes = np.asarray(affine, np.float64)[:3, :3] / spacing(affine)
    deviation = max(np.abs(product - np.eye(3)).max() for product in (axes @ axes.T, axes.T @ axes))
    return bool(deviation <= ITK_ORTHONORMAL_TOL)


def nearest_orthonormal(affine: np.ndarray, shape) -> np.ndarray:
    """Return the nearest affine with orthonormal axes that leaves the grid's centre in place.

    Parameters
    ----------
    affine : (4, 4) float
        Voxel index to RAS+ mm.
    shape : (3,) int
        Size of the grid.

    Returns
    -------
    (4, 4) float64
        Same spacing.

    Notes
    -----
    The orthogonal factor of the polar decomposition is nearest in the Frobenius norm
    (Higham 1986, SIAM J. Sci. Stat. Comput. 7(4)).
    """
    affine = np.asarray(affine, np.float64)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing(affine))
    mended = affine.copy()
    mended[:3, :3] = left @ right * spacing(affine)
    centre = (np.asarray(shape) - 1) / 2
    mended[:3, 3] += (affine[:3, :3] - mended[:3, :3]) @ centre
    return mended

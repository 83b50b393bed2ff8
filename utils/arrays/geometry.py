"""Spacing, orientation, obliquity and comparison of voxel-to-world affines.

An affine is a (4, 4) float matrix from voxel indices to RAS+ mm.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from utils import errors

# AFNI's OBLIQ_ANGLE_THRESH; float32 noise of a quaternion stays far below.
OBLIQUE_DEGREES = 0.01
# ITK refuses direction cosines R with |R Rᵀ - I| above this (itkNiftiImageIO.cxx).
ITK_ORTHONORMAL_TOL = 1e-4
# A voxel may move this far when an affine is replaced by the nearest one that ITK accepts.
REPAIR_LIMIT_MM = 0.1
# Two grids whose voxels lie closer than this, in voxels, are the same one.
SAME_GRID_VOX = 0.01
# Below this the affine of a mask differs from its volume's as those of sound files do, in a corner.
SAME_AFFINE_MM = 1e-3
# A voxel that lies further off than this, in voxels, lies in its neighbour.
MISFIT_VOX = 0.5
# What `is_identity` means, for people.
IDENTITY = "identity affine: spacing of 1 mm, orientation and position are not the scanner's"
_OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")


def check_affine(affine: np.ndarray, where: str) -> None:
    """DamagedFileError, naming the file, unless all is finite and the three axes span space."""
    if not is_grid(affine):
        expected = "finite values and three axes that span space"
        reason = f"{where}: the affine {short_text(affine)} is no voxel grid; expected {expected}"
        raise errors.DamagedFileError(reason, file=where, code="affine")


def is_grid(affine: np.ndarray) -> bool:
    """Whether all is finite and the three axes span space."""
    with np.errstate(all="ignore"):
        norms = spacing(affine)
        return bool(
            np.isfinite(affine).all()
            and (norms > 0).all()
            and abs(np.linalg.det(affine[:3, :3] / norms)) > 1e-3
        )


def is_identity(affine: np.ndarray) -> bool:
    """Whether an affine is exactly the identity, as in a file that has lost its geometry."""
    return np.array_equal(affine, np.eye(4))


def short_text(affine: np.ndarray) -> str:
    """Put an affine into a message: ``[a b c d; e f g h; ...]``, six digits each."""
    return "[" + "; ".join(" ".join(f"{x:g}" for x in row) for row in affine[:3]) + "]"


def spacing(affine: np.ndarray) -> np.ndarray:
    """Voxel size along each array axis, (3,) float64, mm: the norms of the affine's columns."""
    return np.sqrt((np.asarray(affine, np.float64)[:3, :3] ** 2).sum(axis=0))


def axis_codes(affine: np.ndarray) -> str:
    """Letters at the far ends of the array axes: ``"LAS"`` where the first one runs to the left.

    These are `nibabel.aff2axcodes`; an oblique grid has those of its nearest world axes.
    """
    import nibabel as nib

    return "".join(nib.aff2axcodes(affine))


def opposite(codes: str) -> str:
    """Letters at the other ends.

    >>> opposite("LAS")
    'RPI'
    """
    return codes.translate(_OPPOSITE)


def obliquity_degrees(affine: np.ndarray) -> float:
    """Largest angle between an array axis and its nearest world axis; 0 for exchanged axes.

    The arc cosine that nibabel.affines.obliquity takes loses angles below 1e-8; the arc tangent
    of the part across and the part along keeps them.
    """
    cosines = np.sort(np.abs(affine[:3, :3] / spacing(affine)), axis=0)
    angles = np.arctan2(np.hypot(cosines[0], cosines[1]), cosines[2])
    return float(np.degrees(angles.max()))


def orientation_codes(affine: np.ndarray) -> tuple[str, str]:
    """Orientation "from" and "to", as tables and pages show them: ``("RPI", "LAS")``.

    "To" is `axis_codes`, "from" its opposite, which ITK-SNAP prints. A grid tilted by more than
    `OBLIQUE_DEGREES` gives ``("Oblique(closest to RPI)", "Oblique(closest to LAS)")``.
    """
    end = axis_codes(affine)
    start = opposite(end)
    if obliquity_degrees(affine) > OBLIQUE_DEGREES:
        return f"Oblique(closest to {start})", f"Oblique(closest to {end})"
    return start, end


def affine_text(affine: np.ndarray) -> str:
    """Write a matrix as ``[[a b c d]\\n [e f g h]\\n ...]``; `affine_from_text` reads the same."""
    rows = (" ".join(repr(float(value)) for value in row) for row in affine)
    return "[" + "\n ".join(f"[{row}]" for row in rows) + "]"


def affine_from_text(text: str) -> np.ndarray:
    """Read the doubles that `affine_text` wrote; DatasetError if the text is no 4 x 4 matrix."""
    try:
        values = [float(word) for word in text.replace("[", " ").replace("]", " ").split()]
        return np.array(values).reshape(4, 4)
    except ValueError as error:
        raise errors.DatasetError(f"{text!r} is no 4 x 4 matrix") from error


def corners(shape: Sequence[int]) -> np.ndarray:
    """Centres of the eight corner voxels of a grid, (8, 3) float64, voxel coordinates."""
    return np.array(list(itertools.product(*((0.0, n - 1.0) for n in shape))))


def corner_displacement_mm(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """How far apart two affines put the same voxel of a grid at the worst, mm.

    The extreme of a linear map lies in a corner.
    """
    difference = np.asarray(affine, np.float64) - other
    moved = corners(shape) @ difference[:3, :3].T + difference[:3, 3]
    return float(np.linalg.norm(moved, axis=1).max())


def displacement_vox(affine: np.ndarray, onto: np.ndarray, shape: Sequence[int]) -> float:
    """How far apart two affines put the same voxel of a grid at the worst, along one axis.

    In voxels of `onto`.
    """
    difference = np.linalg.inv(onto) @ affine - np.eye(4)
    moved = corners(shape) @ difference[:3, :3].T + difference[:3, 3]
    return float(np.abs(moved).max())


def is_turned(affine: np.ndarray, other: np.ndarray) -> bool:
    """Whether some axis of a grid runs nearest to another axis, or end, of the other grid."""
    return not np.array_equal(_order(affine, other), [[0, 1], [1, 1], [2, 1]])


def _order(affine, onto):
    import nibabel as nib

    return nib.io_orientation(np.linalg.inv(onto) @ affine)


def axis_order(
    affine: np.ndarray, shape: Sequence[int], onto: np.ndarray, onto_shape: Sequence[int]
) -> np.ndarray | None:
    """How to exchange and flip the axes of a grid that is another one, stored along other axes.

    An orientation array of nibabel's, (3, 2), for `reordered`; None where the axes run alike, or
    the two are not the same voxels within `SAME_GRID_VOX`.
    """
    if np.array_equal(affine, onto):  # as good as always, and nibabel takes its time
        return None
    order = _order(affine, onto)
    if not is_turned(affine, onto) or not np.isfinite(order).all():
        return None
    moved, new_shape = reordered_grid(affine, shape, order)
    same = new_shape == tuple(onto_shape)
    return order if same and displacement_vox(moved, onto, new_shape) <= SAME_GRID_VOX else None


def reordered_grid(
    affine: np.ndarray, shape: Sequence[int], order: np.ndarray
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of an image behind `reordered`."""
    import nibabel as nib

    new_shape = tuple(shape[axis] for axis in np.argsort(order[:, 0]))
    return affine @ nib.orientations.inv_ornt_aff(order, shape), new_shape


def reordered(data: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Exchange and flip the axes of an array as `axis_order` says; a view."""
    import nibabel as nib

    return nib.apply_orientation(data, order)


def is_orthonormal(affine: np.ndarray) -> bool:
    """Whether ITK takes an affine's axes for orthonormal.

    |R Rᵀ - I| and |Rᵀ R - I| stay within `ITK_ORTHONORMAL_TOL`, R being the axes at length 1.
    """
    axes = np.asarray(affine, np.float64)[:3, :3] / spacing(affine)
    deviation = max(np.abs(product - np.eye(3)).max() for product in (axes @ axes.T, axes.T @ axes))
    return bool(deviation <= ITK_ORTHONORMAL_TOL)


def nearest_orthonormal(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Nearest affine with orthonormal axes, same spacing, that leaves the grid's centre in place.

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

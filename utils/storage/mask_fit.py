"""How a mask lies to its volume by their headers, and the geometry that is written for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.storage import nifti

# What to do with a mask that lies elsewhere than its volume: see the option --misfit.
FAIL, TAKE_VOLUMES = "fail", "volume"


@dataclass(frozen=True)
class Apart:
    """How far a mask's grid lies off its volume's at the worst, in words and in voxels."""

    text: str
    voxels: float

    @property
    def is_misfit(self) -> bool:
        """Whether some voxel lies in its neighbour."""
        return self.voxels > geometry.MISFIT_VOX

    @property
    def is_same_grid(self) -> bool:
        """Whether no voxel lies off noticeably: rounding, or a header that a tool wrote anew."""
        return self.voxels < geometry.SAME_GRID_VOX


def mask_order(mask: nifti.Header, volume: nifti.Header) -> np.ndarray | None:
    """Return how a mask's axes must run, see `Header.axis_order`; DatasetError for no pair."""
    order = mask.axis_order(volume)
    if order is None and mask.shape != volume.shape:
        message = f"{mask.path}: shape {mask.shape} differs from its volume's {volume.shape}"
        sides = {"expected": volume.shape, "found": mask.shape}
        raise errors.DatasetError(message, file=mask.path, code="shape", **sides)
    return order


def turned(mask: nifti.Header, volume: nifti.Header) -> str:
    """Say that a mask is stored along other axes."""
    sides = [geometry.axis_codes(header.affine) for header in (mask, volume)]
    return (
        f"stored along other axes ({sides[0]}) of its volume's grid ({sides[1]}); its voxels are "
        "brought into the volume's order"
    )


def apart(mask: nifti.Header, volume: nifti.Header, order: np.ndarray | None) -> Apart | None:
    """Compare the affines of a mask, its axes in `order`, and its volume; None where they agree."""
    affine = mask.affine
    if order is not None:
        affine, _ = geometry.reordered_grid(mask.affine, mask.shape, order)
    elif np.array_equal(affine, volume.affine):
        return None
    apart_mm = geometry.corner_displacement_mm(affine, volume.affine, volume.shape)
    if apart_mm <= geometry.SAME_AFFINE_MM:
        return None
    found = (
        f"affine differs from its volume's by {np.linalg.norm(affine - volume.affine):.3g} "
        f"(Frobenius norm), at most {apart_mm:.3g} mm in a corner"
    )
    if geometry.is_turned(affine, volume.affine):
        sides = [geometry.axis_codes(header.affine) for header in (mask, volume)]
        found += f", and its axes run to {sides[0]}, not {sides[1]}"
    return Apart(found, geometry.displacement_vox(affine, volume.affine, volume.shape))


def misfits(
    mask: nifti.Header, volume: nifti.Header, order: np.ndarray | None, misfit: str
) -> Iterator[str]:
    """Yield what is odd about the geometry of a mask; DatasetError where it lies elsewhere."""
    if not mask.has_orientation:
        yield f"{mask.path}: neither sform nor qform is set; its volume's geometry is taken"
        return
    yield from mask.complaints()
    if order is not None:
        yield f"{mask.path}: {turned(mask, volume)}"
    found = apart(mask, volume, order)
    if found is None:
        return
    if found.is_misfit and misfit == FAIL:
        reason = (
            f"that is {found.voxels:.3g} voxels, expected at most {geometry.MISFIT_VOX:g}; if "
            f"their voxels belong together as they lie: --misfit {TAKE_VOLUMES}"
        )
        text = f"{mask.path}: {found.text}; {reason}"
        raise errors.DatasetError(text, file=mask.path, code="misfit")
    yield f"{mask.path}: {found.text}; the volume's is taken"


def affine_to_write(volume: nifti.Header) -> tuple[np.ndarray, list[str]]:
    """The volume's affine as ITK takes it, where that moves no voxel noticeably, and complaints."""
    messages = volume.complaints()
    affine = volume.affine
    if not geometry.is_orthonormal(affine.astype(np.float32)):
        nearest = geometry.nearest_orthonormal(affine, volume.shape)
        moved = geometry.corner_displacement_mm(affine, nearest, volume.shape)
        fate = (
            f"is {moved:.3g} mm off; kept as it is in the sform, and tools based on ITK will "
            "refuse the file"
        )
        if moved <= geometry.REPAIR_LIMIT_MM:
            affine = nearest
            fate = f"is written, which moves no voxel by more than {moved:.2g} mm"
        messages.append(
            f"{volume.path}: axes not orthonormal; the nearest orthonormal affine {fate}"
        )
    return affine, messages

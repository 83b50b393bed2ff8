"""What the flags of one sample are judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utils.arrays import geometry
from utils.qc import anatomy, comparing


@dataclass(eq=False)
class Findings:
    """What the flags of one sample are judged by; equal to itself alone.

    Attributes
    ----------
    name, modality, sex : str
    spacing : (3,) float, mm
    orientation, axis_codes : str
        Letters at the far ends of the array axes, as in the manifest and plain.
    tilt_degrees : float
        Largest angle between a voxel axis and its nearest world axis.
    organs : dict or None
        See `measures.measure`; None without a mask.
    shift_ras_mm : (3,) float or None
        Where the mask fits better, see `alignment`; None when it fits where it is.
    gain : float
    fat_share : float or None
        See `measures.fat_share`; CT only.
    label_names : mapping of int to str
        What the mask may show.
    values : (float, float)
        Lowest and highest of all voxels.
    scanner_faults : list of str
        See `facts.DataSet.scanner_faults`.
    visit : str
        The same for scans of one patient on one day; empty where that is not known.
    shape : (3,) int
    affine : (4, 4) float or None
        Of the volume; without it no flag has a place that was not measured as a voxel.
    is_mask : bool
        Whether the volume holds the same voxels as the mask.
    """

    name: str
    modality: str
    sex: str
    spacing: tuple[float, ...]
    orientation: str
    axis_codes: str
    tilt_degrees: float = 0.0
    organs: dict[str, dict] | None = None
    shift_ras_mm: tuple[float, ...] | None = None
    gain: float = 1.0
    fat_share: float | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    values: tuple[float, float] = (0.0, 0.0)
    scanner_faults: Sequence[str] = ()
    visit: str = ""
    shape: tuple[int, ...] = ()
    affine: np.ndarray | None = None
    is_mask: bool = False

    def named(self, organ: str) -> str:
        """The name that this sample has for an organ of `anatomy`; '' where it shows none."""
        names = (name for name in self.organs or () if anatomy.organ(name) == organ)
        return next(names, "")

    @property
    def spleen_ml(self) -> float | None:
        """Volume of the spleen; None where there is none, or the image cuts it off."""
        spleen = (self.organs or {}).get(self.named("spleen"))
        return spleen["volume_ml"] if spleen and not spleen["at_edge"] else None

    @property
    def has_identity(self) -> bool:
        """Whether its geometry is lost, see `geometry.is_identity`."""
        return self.affine is not None and geometry.is_identity(self.affine)

    def is_whole(self, name: str) -> bool:
        """Whether it shows an organ, and the image does not cut it off."""
        organ = (self.organs or {}).get(name)
        return organ is not None and not organ["at_edge"]

    def largest(self) -> list[str]:
        """Names of the organs that it shows, the largest first."""
        organs = self.organs or {}
        return sorted(organs, key=lambda name: organs[name]["volume_ml"], reverse=True)

    def voxel(self, place_mm: Sequence[float] | np.ndarray | None) -> tuple[int, ...] | None:
        """Index of the voxel at a place in RAS+ mm; None where that is not in the image."""
        if place_mm is None or self.affine is None:
            return None
        index = np.rint(comparing.voxel(np.asarray(place_mm), self.affine))
        is_inside = (index >= 0).all() and (index < self.shape).all()
        return tuple(index.astype(int).tolist()) if is_inside else None

    def about(self, *names: str) -> dict[str, Any]:
        """Labels of organs that it shows, and a voxel of the first one, as a flag has them."""
        found = [(self.organs or {})[name] for name in names]
        place = tuple(found[0]["at"]) if found else None
        return {"labels": tuple(organ["value"] for organ in found), "place": place}

"""What the report keeps of a volume, read in one pass without the whole in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from utils.qc import binning, slices
from utils.storage import deflate, nifti

# Float32 holds no sum of a bin of larger values.
_HUGE = 1e34


@dataclass
class Reading:
    """What was kept of a volume.

    Attributes
    ----------
    coarse : (X', Y', Z') float32
        Every n-th voxel.
    binned : (X'', Y'', Z'') float32
        Means of the viewer's bins.
    planes : dict of (int, int) to array
        (array axis, index) to the slice, its array axes in ascending order.
    lowest, highest : float
        Of all voxels.
    label_crc : int or None
        CRC32 of the values as uint8, where all of them are labels: that of the voxels of a mask
        that the volume is a copy of.
    """

    coarse: np.ndarray
    binned: np.ndarray
    planes: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    lowest: float = np.inf
    highest: float = -np.inf
    label_crc: int | None = 0

    def see(self, plane: np.ndarray) -> None:
        """Take the next slice's values into account; what is not finite becomes 0 there."""
        lowest, highest = float(plane.min()), float(plane.max())
        if not np.isfinite([lowest, highest]).all():
            np.nan_to_num(plane, copy=False, posinf=0, neginf=0)
            lowest, highest = float(plane.min()), float(plane.max())
            self.label_crc = None
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        if self.label_crc is not None:
            labels = np.clip(plane, 0, 255).astype(np.uint8)
            is_label = np.array_equal(labels, plane)
            self.label_crc = deflate.codec.crc32(labels.T, self.label_crc) if is_label else None


def read(
    header: nifti.Header, wanted: dict[int, list[int]], steps: tuple[int, ...], grid: binning.Grid
) -> Reading:
    """Read single slices, a coarse and a binned volume and the range of values in one pass.

    `wanted` maps array axes to indices; for `steps` see `slices.coarse_steps`. Values are scaled;
    what is not finite counts as 0. DamagedFileError where the file is damaged.
    """
    shape = header.shape
    coarse = np.empty([-(-n // step) for n, step in zip(shape, steps)], np.float32, order="F")
    kept = Reading(coarse, np.zeros(grid.size, np.float32, order="F"))
    for axis, indices in wanted.items():
        size = np.delete(shape, axis)
        kept.planes.update({(axis, index): np.empty(size, np.float32) for index in indices})
    for z, plane in _slices(header):
        kept.see(plane)
        grid.add(kept.binned, plane, z)
        if z % steps[2] == 0:
            coarse[:, :, z // steps[2]] = plane[:: steps[0], :: steps[1]]
        for (axis, index), picture in kept.planes.items():
            if axis < 2:
                picture[:, z] = slices.one_slice(plane, axis, index)
            elif index == z:
                picture[:] = plane
    if max(-kept.lowest, kept.highest) > _HUGE:
        np.nan_to_num(kept.binned, copy=False)
    return kept


def _slices(header: nifti.Header) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, slice) along the third axis; the slice's memory is used again."""
    rows, columns, _ = header.shape
    flat = np.empty(rows * columns, np.float32)
    z = filled = 0
    for chunk in nifti.voxel_chunks(header):
        while chunk.size:
            part, chunk = np.split(chunk, [flat.size - filled])
            with np.errstate(over="ignore", invalid="ignore"):
                flat[filled : filled + part.size] = (
                    part * np.float64(header.slope) + header.inter if header.is_scaled else part
                )
            filled += part.size
            if filled == flat.size:
                yield z, flat.reshape((rows, columns), order="F")
                z, filled = z + 1, 0

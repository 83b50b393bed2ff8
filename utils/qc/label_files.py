"""Masks that the report reads: files of labels, brought onto the grid of their volume."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.qc import packed_masks
from utils.storage import nifti, organ_masks

Source = nifti.Header | organ_masks.Organs


@dataclasses.dataclass(frozen=True, eq=False)
class LabelFile:
    """A mask on disk, and how it becomes labels on the grid of its volume.

    Attributes
    ----------
    source : nifti.Header or organ_masks.Organs
        The file, or those of its organs.
    affine : (4, 4) float
    zooms : (3,) float32, mm
        Geometry in which its labels are looked at; `zooms` is what sizes are counted by.
    order : (3, 2) array or None
        How its axes are exchanged and flipped first, see `geometry.axis_order`.
    values : dict of int to int
        Label on disk to the label that stands for it; the others stay.
    names : dict of int to str
        Names of labels that the sample's own label names lack.
    """

    source: Source
    affine: np.ndarray
    zooms: np.ndarray
    order: np.ndarray | None = None
    values: Mapping[int, int] = dataclasses.field(default_factory=dict)
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def plain(cls, header: nifti.Header) -> "LabelFile":
        """Take a file as it lies."""
        return cls(header, header.affine, header.zooms)

    @classmethod
    def onto(cls, volume: nifti.Header, source: Source, **more: object) -> "LabelFile":
        """Take a file's voxels in the geometry of a volume, as routine 02 writes them."""
        return cls(source, volume.affine, volume.spacing.astype(np.float32), **more)  # type: ignore

    def key(self) -> list:
        """All that its labels depend on, as JSON has it; the file by its stored CRC32."""
        order = None if self.order is None else np.asarray(self.order).tolist()
        named = [sorted(pairs.items()) for pairs in (self.values, self.names)]
        return [*_identity(self.source), order, *named, self.affine.tolist(), self.zooms.tolist()]

    def read(self) -> np.ndarray:
        """Read its labels, (X, Y, Z) uint8 in Fortran order.

        DatasetError where a file is damaged, holds what is no label, or is not the file any more
        whose header was read.
        """
        if isinstance(self.source, organ_masks.Organs):
            return organ_masks.joined(self.source)[0]
        data = nifti.read_mask(self.source.path, self.source).data
        if self.order is not None:
            last = int(self.order[2, 0])  # across it slices lie together in the file
            packed = packed_masks.PackedMask(geometry.reordered(data, self.order), last)
            del data  # two of its size would not fit
            data = packed.whole()
        if self.values:
            table = np.arange(256, dtype=np.uint8)
            table[[*self.values]] = [*self.values.values()]
            for plane in data.T:  # in place: a second mask would not fit
                plane[...] = table[plane]
        return data


def told(error: errors.DatasetError, *paths: Path) -> str:
    """Say what is wrong with files by their names alone: pages have no path of one machine."""
    text = str(error)
    for path in paths:
        text = text.replace(str(path), path.name)
    return text


def _identity(source):
    if isinstance(source, organ_masks.Organs):
        return source.source_crc(True), [organ.label for organ in source.found]
    return source.source_crc, source.n_bytes

"""What the reader asks of a place that samples are read from."""

import abc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils import errors


class Source(abc.ABC):
    """Samples, by their IDs: cells of text, geometry, files, and voxels when they are asked for.

    Attributes
    ----------
    place : Path
        The file or folder that messages name.
    rows : dict of str to dict of str to str
        ID -> column -> cell; ``volume`` and ``mask`` among the columns, ``mask`` empty without one.
    columns : sequence of str
        The columns in their order.
    subset_column : str
        The column with the subset that counts.
    manifest_path : Path or None
        The manifest, where there is one.
    notes : list of str
        What holds for every healthy set of the kind, and should be known.
    """

    def __init__(
        self,
        place: Path,
        rows: dict[str, dict[str, str]],
        columns: Sequence[str],
        subset_column: str = "subset",
    ):
        self.place, self.rows, self.subset_column = place, rows, subset_column
        self.columns = tuple(columns)
        self.manifest_path: Path | None = None
        self.notes: list[str] = []

    @property
    @abc.abstractmethod
    def label_names(self) -> dict[int, str]:
        """Label to name as in file names."""

    @abc.abstractmethod
    def volume_path(self, id: str) -> Path:
        """File of a sample's volume."""

    @abc.abstractmethod
    def mask_path(self, id: str) -> Path:
        """File of the mask of a sample that has one."""

    @abc.abstractmethod
    def shape(self, id: str) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""

    @abc.abstractmethod
    def affine(self, id: str) -> np.ndarray:
        """Voxel index to RAS+ mm, (4, 4) float64."""

    @abc.abstractmethod
    def image(self, id: str) -> np.ndarray:
        """Intensities, (X, Y, Z) float32 in Fortran order."""

    @abc.abstractmethod
    def mask(self, id: str) -> np.ndarray:
        """Labels, (X, Y, Z) uint8 in Fortran order, of a sample that has a mask."""

    def row(self, id: str) -> dict[str, str]:
        """All cells of a sample; DatasetError where there is no such sample."""
        if id not in self.rows:
            examples = ", ".join([*self.rows][:3])
            reason = f"no sample {id!r}; there are {len(self.rows)} such as {examples}"
            raise self.fault(reason, code="ids", found=id)
        return self.rows[id]

    def cell(self, id: str, column: str) -> str:
        """One cell of a sample; DatasetError where there is no such column."""
        row = self.row(id)
        if column not in row:
            raise self.fault(f"no column {column!r}", code="columns", expected=column)
        return row[column]

    def fault(self, reason: str, **details: object) -> errors.DatasetError:
        """Make the error that something is wrong with this place."""
        return errors.DatasetError(f"{self.place}: {reason}", file=self.place, **details)

"""The finished data set as a source of samples: a manifest says all, before any file is opened."""

import re
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.exports import cases
from utils.reading import source
from utils.storage import files, nifti

MANIFESTS = "dataset_manifest*.xlsx"
_BACKUP = re.compile(r".*\.bak[0-9]*\.xlsx")
_SIZE = re.compile(r"[0-9]{1,9}(\.0+)?")  # spreadsheets write 160.0
_TOLERANCE_MM = 1e-2  # routine 05 lets a mask differ from its volume by 1e-3


def manifests_in(folder: Path) -> list[Path]:
    """Return the dataset manifests in a folder, without backups."""
    return sorted(path for path in folder.glob(MANIFESTS) if not _BACKUP.fullmatch(path.name))


class Finished(source.Source):
    """The samples of a dataset manifest, of one of its splits, or of an index manifest.

    Parameters
    ----------
    manifest_path : path-like
    split_name : str, optional
        Worksheet of a split.
    """

    def __init__(self, manifest_path: files.PathLike, split_name: str | None):
        selection = cases.read(manifest_path, split_name)
        self._cases = {case.id: case for case in selection.cases}
        self._label_names = selection.label_names
        rows = {key: case.row for key, case in self._cases.items()}
        super().__init__(Path(manifest_path), rows, selection.columns, selection.column)
        self.manifest_path = self.place

    @property
    def label_names(self) -> dict[int, str]:
        """Those of the binary masks, ``right_kidney``."""
        return self._label_names

    def volume_path(self, id: str) -> Path:
        """A DatasetError where there is no such file."""
        self.row(id)
        return self._cases[id].volume_path

    def mask_path(self, id: str) -> Path:
        """A DatasetError where there is no such file."""
        self.row(id)
        path = self._cases[id].mask_path
        assert path is not None  # as the row says
        return path

    def shape(self, id: str) -> tuple[int, int, int]:
        """As the manifest has it; DatasetError where that is no numbers."""
        found = [self.cell(id, column) for column in ("szx", "szy", "szz")]
        if not all(map(_SIZE.fullmatch, found)):
            reason = f"size {' x '.join(map(repr, found))} of {id}, expected three whole numbers"
            raise self.fault(reason, code="shape", found=found)
        x, y, z = (int(float(text)) for text in found)
        return x, y, z

    def affine(self, id: str) -> np.ndarray:
        """As the manifest has it."""
        return geometry.affine_from_text(self.cell(id, "transform"))

    def image(self, id: str) -> np.ndarray:
        """DatasetError where the file is no longer what the manifest says."""
        return self._checked(id, nifti.read_volume(self.volume_path(id)))

    def mask(self, id: str) -> np.ndarray:
        """Checked like the volume."""
        return self._checked(id, nifti.read_mask(self.mask_path(id)))

    def _checked(self, id, image):
        header, shape, affine = image.header, self.shape(id), self.affine(id)
        displacement_mm = geometry.corner_displacement_mm(header.affine, affine, header.shape)
        if header.shape != shape or not displacement_mm <= _TOLERANCE_MM:
            fault = f"shape or affine differ from the manifest's, {self.place}"
            reason = f"{header.path}: {fault}; run routine 05 again"
            details = {"code": "changed", "expected": shape, "found": header.shape}
            raise errors.DatasetError(reason, file=header.path, **details)
        return image.data

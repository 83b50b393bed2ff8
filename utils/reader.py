"""AMOS22 in Python: images, masks and metadata of the finished data set by sample.

Nothing but a manifest is read before voxels are asked for.
"""

import functools
import re
import typing
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.exports import cases
from utils.facts import amos22, known_faults, patients
from utils.routines import split_choices
from utils.storage import files, forms, nifti, workbook

if typing.TYPE_CHECKING:
    import pandas as pd

_MANIFESTS = "dataset_manifest*.xlsx"
_BACKUP = re.compile(r".*\.bak[0-9]*\.xlsx")
_SIZE = re.compile(r"[0-9]{1,9}(\.0+)?")  # spreadsheets write 160.0
_TOLERANCE_MM = 1e-2  # routine 05 lets a mask differ from its volume by 1e-3


class AMOS22:
    """The finished data set, or one of its sub-data sets.

    Parameters
    ----------
    path : path-like
        Folder with one ``dataset_manifest*.xlsx`` (``ROOT/grouped``, ``ROOT/grouped/AMOS-CT``), or
        such a manifest, or an index manifest of routine 07.
    split_name : str, optional
        Worksheet of a split: `ids` are its samples, `split` and `subset` follow it. Without it the
        subsets are the published ones.

    Attributes
    ----------
    label_names : dict of int to str
        Label to name as in file names: ``{0: "background", 1: "spleen", 2: "right_kidney", ...}``.

    Raises
    ------
    DatasetError
        No manifest, or several, or one without the columns that are needed.

    Notes
    -----
    Objects can be pickled, so that data loaders may use them in several processes.
    """

    def __init__(self, path: files.PathLike, split_name: str | None = None):
        self.manifest_path = _manifest_in(Path(path))
        selection = cases.read(self.manifest_path, split_name)
        self.label_names = selection.label_names
        self._columns = selection.columns
        self._cases = {case.id: case for case in selection.cases}

    def __repr__(self):
        return f"AMOS22({str(self.manifest_path)!r}): {len(self)} samples"

    def __len__(self):
        return len(self._cases)

    @property
    def ids(self) -> tuple[str, ...]:
        """IDs of all samples, such as ``amos_0004``, in the order of the manifest.

        Those that a split excludes are among them: `split` leaves them out.
        """
        return tuple(self._cases)

    @property
    def table(self) -> "pd.DataFrame":
        """All cells of all samples in the manifest, a pandas DataFrame of text in its order.

        An empty cell is ``""``. It is made when asked for: changing it changes nothing here.
        """
        return workbook.frame(self._columns, (case.row for case in self._cases.values()))

    def split(self, subset: str) -> tuple[str, ...]:
        """IDs of the samples of a subset that the split at hand has, such as train or ``fold0``.

        ``excluded`` and ``unlabelled`` may be asked for where there are none. A DatasetError for
        another word.
        """
        known = split_choices.count(case.subset for case in self._cases.values())
        if subset not in (*known, *split_choices.LEFT_OUT):
            reason = f"no subset {subset!r}, expected one of {', '.join(known)}"
            raise errors.DatasetError(reason, code="subset", found=subset)
        return tuple(case.id for case in self._cases.values() if case.subset == subset)

    def subset(self, id: str) -> str:
        """Subset of a sample in the split at hand: train, val, test, ``fold0``, excluded, ..."""
        return self._case(id).subset

    def patient(self, id: str) -> str:
        """Patient of a sample: the lowest ID of all scans with the same birth date and sex.

        As the split says it; else of the scans in the manifest. The identity is inferred.
        """
        return self._case(id).row.get(patients.COLUMN) or self._patients[id]

    @functools.cached_property
    def _patients(self):
        return patients.group({case.id: case.row for case in self._cases.values()}, amos22)

    def known_faults(self, id: str) -> list[known_faults.Fault]:
        """What is publicly known to be wrong with a scan: kind, what and evidence of each fault.

        What routine 01 has mended is left out; what nobody has confirmed says so.
        """
        self._case(id)
        listed = (fault for fault in self._known_faults if fault.id == id)
        return [fault for fault in listed if fault.what not in amos22.MENDED_FAULTS]

    @functools.cached_property
    def _known_faults(self):
        return known_faults.of(amos22)

    def image(self, id: str) -> np.ndarray:
        """Intensities of a sample, (X, Y, Z) float32 in Fortran order; Hounsfield units for CT.

        The file's checksum is checked. DatasetError where the file is missing, damaged, or no
        longer what the manifest says.
        """
        volume = nifti.read_volume(self.volume_path(id))
        self._check_geometry(id, volume.header)
        return volume.data

    def mask(self, id: str) -> np.ndarray:
        """Labels of a sample, (X, Y, Z) uint8 in Fortran order; `label_names` says their meaning.

        Checked like `image`. DatasetError also where the sample has no mask (see `has_mask`).
        """
        mask = nifti.read_mask(self.mask_path(id))
        self._check_geometry(id, mask.header)
        return mask.data

    def has_mask(self, id: str) -> bool:
        """Whether a sample has a mask; those of test were not published."""
        return bool(self._case(id).row["mask"])

    def volume_path(self, id: str) -> Path:
        """File of a sample's volume, for frameworks that load by themselves."""
        return self._case(id).volume_path

    def mask_path(self, id: str) -> Path:
        """File of a sample's mask; a DatasetError for a sample without."""
        path = self._case(id).mask_path
        if path is None:
            reason = f"{id}: this sample ({self.subset(id)}) has no mask"
            raise errors.DatasetError(reason, code="no_mask")
        return path

    def affine(self, id: str) -> np.ndarray:
        """Voxel index to RAS+ mm, (4, 4) float64, of volume and mask."""
        return geometry.affine_from_text(self._cell(id, "transform"))

    def spacing(self, id: str) -> np.ndarray:
        """Voxel size along each array axis, (3,) float64, mm."""
        return geometry.spacing(self.affine(id))

    def shape(self, id: str) -> tuple[int, int, int]:
        """Number of voxels along each array axis; DatasetError where they are no numbers."""
        found = [self._cell(id, column) for column in ("szx", "szy", "szz")]
        if not all(map(_SIZE.fullmatch, found)):
            reason = f"size {' x '.join(map(repr, found))} of {id}, expected three whole numbers"
            raise self._fault(reason, code="shape", found=found)
        x, y, z = (int(float(text)) for text in found)
        return x, y, z

    def modality(self, id: str) -> str | None:
        """CT or MRI, by the scanner; None for an unknown scanner."""
        return amos22.modality(self._case(id).row)

    def sex(self, id: str) -> str | None:
        """M or F, None where it is not known; DatasetError where the manifest has another text."""
        return self._form(id, "sex")

    def age(self, id: str) -> int | None:
        """Age at the examination in whole years, None where it is not known.

        DatasetError where the manifest has something else than ``062Y``, ``62`` or ``UND``.
        """
        text = self._form(id, "age")
        return None if text is None else forms.years(text)

    def metadata(self, id: str) -> dict[str, str]:
        """All cells of a sample in the manifest, as text."""
        return dict(self._case(id).row)

    def _case(self, id):
        if id not in self._cases:
            reason = f"no sample {id!r}; there are {len(self)} such as {', '.join(self.ids[:3])}"
            raise self._fault(reason, code="ids", found=id)
        return self._cases[id]

    def _cell(self, id, column):
        row = self._case(id).row
        if column not in row:
            raise self._fault(f"no column {column!r}", code="columns", expected=column)
        return row[column]

    def _form(self, id, column):
        """A cell's text in its form, None where it is not known."""
        text = self._cell(id, column)
        form = forms.plain(column, text)
        if form is None:
            place = f"of {id} in {self.manifest_path}"
            raise forms.fault(column, text, place, file=self.manifest_path, code=column)
        return None if form in ("", amos22.UNDEFINED) else form

    def _fault(self, reason, **details):
        path = self.manifest_path
        return errors.DatasetError(f"{path}: {reason}", file=path, **details)

    def _check_geometry(self, id, header):
        shape, affine = self.shape(id), self.affine(id)
        displacement_mm = geometry.corner_displacement_mm(header.affine, affine, header.shape)
        fits = header.shape == shape and displacement_mm <= _TOLERANCE_MM
        if not fits:
            fault = f"shape or affine differ from the manifest's, {self.manifest_path}"
            reason = f"{header.path}: {fault}; run routine 05 again"
            details = {"code": "changed", "expected": shape, "found": header.shape}
            raise errors.DatasetError(reason, file=header.path, **details)


def _manifest_in(path):
    if not path.is_dir():
        return path  # a missing one is named when it is opened
    found = sorted(name for name in path.glob(_MANIFESTS) if not _BACKUP.fullmatch(name.name))
    if len(found) != 1:
        names = ", ".join(name.name for name in found) or "none"
        reason = f"{path}: expected one {_MANIFESTS} in it, found: {names}"
        details = {"code": "missing", "expected": _MANIFESTS, "found": names}
        raise errors.DatasetError(reason, file=path, **details)
    return found[0]

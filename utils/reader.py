"""AMOS22 in Python: images, masks and metadata by sample, of the finished set or the archive.

Nothing but a manifest, or the archive's names and tables, is read before voxels are asked for.
"""

import datetime
import functools
import typing
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import amos22, known_faults, patients
from utils.reading import archived, finished, source
from utils.routines import archive, split_choices
from utils.storage import files, forms, workbook, zips

if typing.TYPE_CHECKING:
    import pandas as pd


class AMOS22:
    """The finished data set, one of its sub-data sets, or the archive as it was downloaded.

    Parameters
    ----------
    path : path-like
        Folder with one ``dataset_manifest*.xlsx`` (``ROOT/grouped``, ``ROOT/grouped/AMOS-CT``), or
        such a manifest, or an index manifest of routine 07; or the archive (``ROOT/archive``), in
        folders or zip files, before any routine ran.
    split_name : str, optional
        Worksheet of a split: `ids` are its samples, `split` and `subset` follow it. Without it the
        subsets are the published ones. The archive has no other.
    unlabelled : bool
        Whether the unlabelled scans of an archive are among the samples. Those of a manifest always
        are: routine 01 was told to list them.

    Raises
    ------
    DatasetError
        No manifest, or several, or one without the columns that are needed; no archive; a metadata
        table that cannot be read.

    Warns
    -----
    DataWarning
        What routine 01 would name of an archive by its names and tables, when it is opened.

    Notes
    -----
    Objects can be pickled, so that data loaders may use them in several processes.
    """

    def __init__(
        self, path: files.PathLike, split_name: str | None = None, unlabelled: bool = False
    ):
        self._source = _source(Path(path), split_name, unlabelled)

    def __repr__(self):
        return f"AMOS22({str(self.path)!r}): {len(self)} samples"

    def __len__(self):
        return len(self._source.rows)

    @property
    def path(self) -> Path:
        """The manifest that was read, or the folder of the archive."""
        return self._source.place

    @property
    def manifest_path(self) -> Path | None:
        """The manifest that was read; None for the archive."""
        return self._source.manifest_path

    @property
    def label_names(self) -> dict[int, str]:
        """Label to name as in file names: ``{0: "background", 1: "spleen", ...}``.

        Of the archive 15 is ``prostate_or_uterus``, as published, and there is no 16: routine 03
        tells the two apart by the sex.
        """
        return self._source.label_names

    @property
    def notes(self) -> list[str]:
        """What routine 01 would note of the archive, such as mended ids; empty for a manifest."""
        return list(self._source.notes)

    @property
    def ids(self) -> tuple[str, ...]:
        """IDs of all samples, such as ``amos_0004``, in the order of the manifest, or sorted.

        Those that a split excludes are among them: `split` leaves them out.
        """
        return tuple(self._source.rows)

    @property
    def table(self) -> "pd.DataFrame":
        """All cells of all samples, a pandas DataFrame of text in the order of `ids`.

        An empty cell is ``""``. It is made when asked for: changing it changes nothing here.
        """
        return workbook.frame(self._source.columns, self._source.rows.values())

    def split(self, subset: str) -> tuple[str, ...]:
        """IDs of the samples of a subset that the split at hand has, such as train or ``fold0``.

        ``excluded`` and ``unlabelled`` may be asked for where there are none. A DatasetError for
        another word.
        """
        known = split_choices.count(map(self.subset, self.ids))
        if subset not in (*known, *split_choices.LEFT_OUT):
            reason = f"no subset {subset!r}, expected one of {', '.join(known)}"
            raise errors.DatasetError(reason, code="subset", found=subset)
        return tuple(id for id in self.ids if self.subset(id) == subset)

    def subset(self, id: str) -> str:
        """Subset of a sample in the split at hand: train, val, test, ``fold0``, excluded, ..."""
        return self._source.cell(id, self._source.subset_column)

    def patient(self, id: str) -> str:
        """Patient of a sample: the lowest ID of all scans with the same birth date and sex.

        As the split says it; else of the scans in `ids`. The identity is inferred.
        """
        return self._source.row(id).get(patients.COLUMN) or self._patients[id]

    @functools.cached_property
    def _patients(self):
        return patients.group(self._source.rows, amos22)

    def known_faults(self, id: str) -> list[known_faults.Fault]:
        """What is publicly known to be wrong with a scan: kind, what and evidence of each fault.

        What routine 01 has mended is left out; what nobody has confirmed says so.
        """
        self._source.row(id)
        listed = (fault for fault in self._known_faults if fault.id == id)
        return [fault for fault in listed if fault.what not in amos22.MENDED_FAULTS]

    @functools.cached_property
    def _known_faults(self):
        return known_faults.of(amos22)

    def image(self, id: str) -> np.ndarray:
        """Intensities of a sample, (X, Y, Z) float32 in Fortran order; Hounsfield units for CT.

        Scaling is applied, and the file's checksum is checked. DatasetError where the file is
        missing, damaged, or no longer what the manifest says.
        """
        return self._source.image(id)

    def mask(self, id: str) -> np.ndarray:
        """Labels of a sample, (X, Y, Z) uint8 in Fortran order; `label_names` says their meaning.

        Of the archive in the order of the volume's axes. Checked like `image`. DatasetError also
        where the sample has no mask (see `has_mask`), or one that does not fit its volume.
        """
        self.mask_path(id)
        return self._source.mask(id)

    def has_mask(self, id: str) -> bool:
        """Whether a sample has a mask; those of test were not published."""
        return bool(self._source.row(id)["mask"])

    def volume_path(self, id: str) -> Path:
        """File of a sample's volume, for frameworks that load by themselves.

        What lies in a zip file only this project opens: ``ROOT/archive/amos22.zip/amos22/...``.
        """
        return self._source.volume_path(id)

    def mask_path(self, id: str) -> Path:
        """File of a sample's mask, like that of the volume; a DatasetError for a sample without."""
        if not self.has_mask(id):
            reason = f"{id}: this sample ({self.subset(id)}) has no mask"
            raise errors.DatasetError(reason, code="no_mask")
        return self._source.mask_path(id)

    def affine(self, id: str) -> np.ndarray:
        """Voxel index to RAS+ mm, (4, 4) float64, of volume and mask."""
        return self._source.affine(id)

    def spacing(self, id: str) -> np.ndarray:
        """Voxel size along each array axis, (3,) float64, mm."""
        return geometry.spacing(self.affine(id))

    def shape(self, id: str) -> tuple[int, int, int]:
        """Number of voxels along each array axis; DatasetError where they are no numbers."""
        return self._source.shape(id)

    def modality(self, id: str) -> str | None:
        """CT or MRI, by the scanner, of unlabelled scans by the id; None for an unknown scanner."""
        return amos22.modality(self._source.row(id))

    def sex(self, id: str) -> str | None:
        """M or F, None where it is not known; DatasetError where the cell is another text."""
        return self._form(id, "sex")

    def age(self, id: str) -> int | None:
        """Age at the examination in whole years, None where it is not known.

        DatasetError where the cell is something else than ``062Y``, ``62`` or ``UND``.
        """
        text = self._form(id, "age")
        return None if text is None else forms.years(text)

    def birth_date(self, id: str) -> datetime.date | None:
        """Day of birth, None where it is not known; DatasetError where the cell is no day."""
        return self._day(id, "birth_date")

    def acquisition_date(self, id: str) -> datetime.date | None:
        """Day of the examination, None where it is not known; DatasetError as for the birth."""
        return self._day(id, "acquisition_date")

    def manufacturer(self, id: str) -> str | None:
        """Manufacturer of the scanner, None where it is not known."""
        return self._form(id, "manufacturer")

    def manufacturer_model_name(self, id: str) -> str | None:
        """Name of the scanner, None where it is not known."""
        return self._form(id, "manufacturer_model_name")

    def site(self, id: str) -> str | None:
        """Where it was scanned, None where that is not known."""
        return self._form(id, "site")

    def metadata(self, id: str) -> dict[str, str]:
        """All cells of a sample, as text."""
        return dict(self._source.row(id))

    def _form(self, id, column):
        """A cell's text in its form, None where it is not known."""
        text = self._source.cell(id, column)
        form = forms.plain(column, text)
        if form is None:
            place = f"of {id} in {self.path}"
            raise forms.fault(column, text, place, file=self.path, code=column)
        return None if form in ("", amos22.UNDEFINED) else form

    def _day(self, id, column):
        text = self._form(id, column)
        return None if text is None else datetime.datetime.strptime(text, "%Y%m%d").date()


def _source(path: Path, split_name: str | None, unlabelled: bool) -> source.Source:
    """What is to be read there: a manifest, or an archive; DatasetError where it is neither."""
    if packed := zips.split(path / "x"):  # the path itself is a zip file, or leads into one
        reason = f"{packed[0]}: a zip file; give the folder that it lies in ({packed[0].parent})"
        raise errors.DatasetError(reason, file=packed[0], code="zip")
    if not path.is_dir():
        return finished.Finished(path, split_name)  # a missing one is named when it is opened
    found = finished.manifests_in(path)
    if len(found) == 1:
        return finished.Finished(found[0], split_name)
    names, expected = ", ".join(name.name for name in found) or "none", finished.MANIFESTS
    is_root = (path / "grouped").is_dir()  # and it does not say which part of it is meant
    data = None if found or is_root else archived.Archived(path, unlabelled)
    if data is None or not data.rows:
        hint = f"or the archive (ROOT/archive) with {amos22.EXAMPLE_FILE} and others"
        found_too = "; ".join(["", *data.notes]) if data else ""
        reason = f"{path}: expected one {expected} in it, found: {names}; {hint}{found_too}"
        details = {"code": "missing", "expected": expected, "found": names}
        raise errors.DatasetError(reason + archive.meant(path, amos22), file=path, **details)
    if split_name:
        reason = f"{path}: the archive has no split {split_name!r}; a manifest of routine 05 has it"
        raise errors.DatasetError(reason, file=path, code="sheet", found=split_name)
    return data

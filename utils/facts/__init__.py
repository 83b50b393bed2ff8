"""What is true of one data set. A module of this wing has all that `DataSet` lists.

So has what `described` reads from a page: a further data set needs such a page, or a module and
thin scripts, nothing else.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from utils import errors
from utils.storage import organ_masks


class DataSet(Protocol):
    """The interface of a facts module: all that routines, exports, report and reader may use.

    A *row* is a row of a manifest, column name to text; *columns* are those of its columns that
    `classify` knows.
    """

    # Name, and what exports say of the data set; text, empty where it is not known.
    NAME: str
    DESCRIPTION: str
    REFERENCE: str
    LICENCE: str
    LICENCE_URL: str
    CREATORS: tuple[str, ...]
    # Year, or ISO date, of publication; and what to cite, in BibTeX.
    PUBLISHED: str
    CITATION: str
    # Path of a file in the archive, for messages.
    EXAMPLE_FILE: str
    # Subsets in the order of reports, ``unlabelled`` among them where there may be such scans, and
    # those that were published with masks.
    SUBSETS: tuple[str, ...]
    LABELLED_SUBSETS: tuple[str, ...]
    # Lists of the archive's dataset.json -> subset; empty for an archive without this file.
    DATASET_JSON_SUBSETS: Mapping[str, str]
    # Columns of the archive manifest, in order.
    ARCHIVE_COLUMNS: tuple[str, ...]
    # Keys of a sample's info file, in order: columns that its rows in that manifest share.
    INFO_KEYS: tuple[str, ...]
    # Keys of the info file that become columns of the dataset manifest, in their order there.
    DATASET_KEYS: tuple[str, ...]
    # Columns of the dataset manifest that tell one patient from another, taken together.
    PATIENT_KEYS: tuple[str, ...]
    # Page that tells how far that can be inferred; empty where a key names the patient.
    PATIENT_EVIDENCE: str
    # What a cell of unknown content reads, besides the empty text.
    UNDEFINED: str
    # Path of the list of what is known about single scans (see `known_faults`), empty where there
    # is none; and those texts in it of what routine 01 mends.
    KNOWN_FAULTS: str
    MENDED_FAULTS: tuple[str, ...]

    def classify(self, relative_path: str, /) -> dict[str, str] | None:
        """Tell the columns of a file of the archive; None for one that is not of the data set.

        The path has ``/`` and is relative to the archive's root. ``type`` is among the columns.
        """

    def sample_name(self, columns: Mapping[str, str], /) -> str:
        """Return the name of the sample that a file or row belongs to."""

    def subset(self, columns: Mapping[str, str], /) -> str:
        """Return the subset, one of `SUBSETS`, of what `classify` returned."""

    def modality(self, row: Mapping[str, str], /) -> str | None:
        """Return CT or MRI; None where the row does not tell."""

    def slice_axis(self, affine: np.ndarray, /) -> int:
        """Return the array axis along which slices are denoised; affine (4, 4)."""

    def scanner_faults(
        self, row: Mapping[str, str], spacing: Sequence[float], highest: float, /
    ) -> list[str]:
        """Tell, in sentences, what of a volume belongs to another scanner than its row names.

        By its spacing, mm, and its highest value.
        """

    def plain_row(self, row: Mapping[str, str], /) -> dict[str, str]:
        """Mend what people and spreadsheets do to a row of the archive manifest.

        Its subset is in `SUBSETS`. DatasetError where a cell holds nothing that the data set has.
        """

    def archive_labels(self, label_map_path: Path | None, /) -> dict[int, str]:
        """Return what the labels of the archive's masks are called in file names.

        By a label map, without one as published.
        """

    def organ_names(self) -> organ_masks.Names | None:
        """Return what organs are called whose masks lie in one file each; None of other masks."""

    def check_manifest(self, rows: Sequence[Mapping[str, str]], where: object, /) -> None:
        """Refuse an archive manifest, `where`, of which no sample can be made, by a DatasetError.

        The rows are as they stand in it.
        """

    def check_names(self, names: Collection[str], where: object, /) -> None:
        """Refuse the samples of a tree or manifest, `where`, if they are of another data set.

        By a DatasetError; where the names do not tell, they are taken.
        """

    def row_faults(self, row: Mapping[str, str], /) -> list[errors.DatasetError]:
        """Find what is wrong with a sample beyond the form of its row, a `plain_row`."""

    def mask_faults(
        self, info: Mapping[str, str], present: Collection[int], where: object, /
    ) -> list[errors.DatasetError]:
        """Find labels of a mask, `where`, that a sample with this info file cannot have."""

    def sample_dir(self, info: Mapping[str, str], /) -> PurePosixPath:
        """Return where a sample lies below the folder that routine 02 writes to."""

    def trees(self, output_dir: Path, /) -> list[Path]:
        """Return the folders in which a sample may lie already, the output folder among them."""

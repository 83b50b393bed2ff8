"""The archive as a source of samples, as it was downloaded, before any routine ran."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import amos22, amos22_metadata
from utils.reading import source
from utils.routines import archive, pairs
from utils.storage import files, mask_fit, nifti

_COLUMNS = ("ID", *amos22.DATASET_KEYS, "volume", "mask")


class Archived(source.Source):
    """The samples of an archive in folders and zip files; every sample has a volume.

    Names, the directories of zips and metadata tables are read at once, which is what routine 01
    reads them with; what that would name is warned about. A header is read when it is needed.

    Parameters
    ----------
    root_dir : path-like
    unlabelled : bool
        Whether the unlabelled scans are among the samples.

    Raises
    ------
    DatasetError
        A metadata table cannot be read.
    """

    def __init__(self, root_dir: files.PathLike, unlabelled: bool):
        without = () if unlabelled else (amos22.UNLABELLED,)
        contents = archive.find(root_dir, amos22, without)
        of_type: dict[str, dict[str, archive.ArchiveFile]] = {archive.VOLUME: {}, archive.MASK: {}}
        for file in contents.files:
            of_type[file.type][file.sample] = file
        self._volumes, self._masks = of_type.values()
        seqs = [file.columns["seq"] for file in self._volumes.values()]
        find_tables = functools.partial(archive.find_tables, root_dir, contents)
        tables = amos22_metadata.Tables(find_tables, seqs)
        rows = {name: self._make_row(name, tables.metadata) for name in self._volumes}
        super().__init__(Path(root_dir), rows, _COLUMNS)
        self._headers: dict[str, nifti.Header] = {}
        self._tell(contents, tables, tables.lack(seqs, str(root_dir)))

    def _make_row(self, name, metadata):
        file, mask = self._volumes[name], self._masks.get(name)
        row = {"ID": name, **file.columns, **metadata.of(file.columns["seq"])}
        row |= {"volume": file.relative_path, "mask": mask.relative_path if mask else ""}
        return {column: row[column] for column in _COLUMNS}

    def _tell(self, contents, tables, lack):
        """Warn of what somebody should look at; what holds for every archive is a note."""
        self.notes += [*tables.metadata.notes, *lack.notes]
        n_left_out = len({file.sample for file in contents.left_out})
        if n_left_out:
            self.notes.append(
                f"{n_left_out} unlabelled scans are left out; unlabelled=True takes them"
            )
        warned = [*tables.metadata.warnings, *lack.warnings]
        if contents.ignored and self.rows:  # else this is no archive
            count = f"{len(contents.ignored)} NIfTI files ignored, no {amos22.EXAMPLE_FILE}"
            warned.append(f"{count}: {errors.listed(contents.ignored)}")
        told = {name for name, _ in contents.failures}
        faults: dict[str, list[str]] = {}
        for name, error in (*contents.failures, *lack.faults, *self._misfits(told)):
            faults.setdefault(error.code, []).append(f"{name}: {error}")
        for text in (*warned, *map(errors.listed, faults.values())):
            errors.warn(f"{self.place}: {text}")

    def _misfits(self, told: set[str]) -> Iterable[tuple[str, errors.DatasetError]]:
        """What routine 02 would say of volumes and masks by their names; `told` are named."""
        for name, mask in self._masks.items():
            volume = self._volumes.get(name)
            if volume is None:
                text = f"mask {mask} has no volume; left out"
                yield name, errors.DatasetError(text, code="no_volume")
            elif volume.subset != mask.subset:
                yield name, _elsewhere(mask, volume)
        for name in sorted(self._volumes.keys() - self._masks.keys() - told):
            subset = self._volumes[name].subset
            if subset in amos22.LABELLED_SUBSETS:
                text = f"no mask in the archive, though it is a {subset} sample"
                yield name, errors.DatasetError(text, code="no_mask")

    @property
    def label_names(self) -> dict[int, str]:
        """As published: 15 is prostate or uterus."""
        return dict(_published_labels())

    def volume_path(self, id: str) -> Path:
        """In a zip file it goes on behind its name, as if that were a folder."""
        self.row(id)
        return self._volumes[id].path

    def mask_path(self, id: str) -> Path:
        """As that of the volume."""
        self.row(id)
        return self._masks[id].path

    def _header(self, id):
        """The header of a sample's volume; what is odd about it is told once."""
        path = self.volume_path(id)
        if id not in self._headers:
            header = nifti.read_header(path, glance=True)
            for complaint in header.complaints():
                errors.warn(complaint)
            self._headers[id] = header
        return self._headers[id]

    def shape(self, id: str) -> tuple[int, int, int]:
        """As the file has it."""
        return self._header(id).shape

    def affine(self, id: str) -> np.ndarray:
        """As the file has it, in mm."""
        return self._header(id).affine.copy()

    def image(self, id: str) -> np.ndarray:
        """DatasetError where the file was replaced since its header was read."""
        image = nifti.read_volume(self.volume_path(id), is_told=True)
        self._same(id, image.header)
        return image.data

    def _same(self, id, header):
        known = self._header(id)
        if header.shape != known.shape or not np.array_equal(header.affine, known.affine):
            reason = f"{header.path}: was replaced since it was read first; open the archive again"
            raise errors.DatasetError(reason, file=header.path, code="replaced")

    def mask(self, id: str) -> np.ndarray:
        """In the order of the volume's axes, as routine 02 brings it; DatasetError as there."""
        mask_file, volume_file = self._masks[id], self._volumes[id]
        if mask_file.subset != volume_file.subset:
            raise self.fault(f"{id}: {_elsewhere(mask_file, volume_file)}", code="subset")
        mask, volume = nifti.read_mask(self.mask_path(id)), self._header(id)
        order = mask_fit.mask_order(mask.header, volume)
        for message in pairs.mask_oddities(mask.header, volume, order, mask_fit.FAIL):
            errors.warn(message)
        data = mask.data if order is None else geometry.reordered(mask.data, order)
        return np.asfortranarray(data)


def _elsewhere(mask, volume):
    text = f"the mask lies in {mask.subset}, its volume in {volume.subset}"
    return errors.DatasetError(text, code="subset")


@functools.cache
def _published_labels():
    return amos22.archive_labels()

"""What routine 01 knows of the samples of a described archive beyond their files' names."""

import dataclasses
from collections.abc import Mapping

from utils import errors
from utils.facts import described
from utils.routines import archive
from utils.storage import files


@dataclasses.dataclass(frozen=True)
class Placed:
    """Metadata and notes of an archive whose samples have their subsets.

    Attributes
    ----------
    metadata : dict of str to dict of str to str
        Sample to the texts of its metadata columns.
    notes : list of str
        What the user should know, though it is no fault.
    """

    metadata: Mapping[str, Mapping[str, str]]
    notes: list[str]
    dataset: described.Described

    def metadata_of(self, row: Mapping[str, str]) -> dict[str, str]:
        """Return the metadata of a row's sample; what is not known reads ``UND``."""
        known = self.metadata.get(self.dataset.sample_name(row), {})
        return {key: known.get(key, self.dataset.UNDEFINED) for key in self.dataset.metadata_keys}


def place(
    contents: archive.Contents, root_dir: files.PathLike, dataset: described.Described
) -> Placed:
    """Give every file of an archive its subset, and read the metadata of the samples.

    The files of a sample whose subset is not known are left out, which is a failure of the
    contents.
    """
    kept = []
    for file in contents.files:
        if file.subset:
            columns = {**file.columns, "subset": file.subset}
            kept.append(dataclasses.replace(file, columns=columns))
        else:
            reason = f"{file}: no subset of {dataset.PAGE.name} has this sample; it is left out"
            error = errors.DatasetError(reason, file=file.path, code="subset")
            contents.failures.append((file.sample, error))
    contents.files[:] = kept
    notes = []
    for reason, paths in dataset.left_out(contents.ignored).items():
        notes.append(f"{len(paths)} files are left out, {reason}: {errors.listed(paths)}")
        contents.ignored[:] = [path for path in contents.ignored if path not in {*paths}]
    return Placed({}, notes, dataset)

"""A raw data set folder of nnU-Net v2: images and labels by reference, link or copy."""

import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.exports import cases
from utils.facts import DataSet
from utils.running import calls
from utils.storage import files, json_files, nifti, nifti_writing

MODES = ("reference", "link", "copy")
FILE_ENDING = ".nii.gz"
FOLDERS = IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = "imagesTr", "labelsTr", "imagesTs", "labelsTs"
DATASET_JSON, SPLITS_JSON = "dataset.json", "splits_final.json"
# Which files of the folder are ours, and the checksums of the two above.
RECORD = "exported_files.json"
# nnU-Net's reader that turns the voxels of every scan to RAS, and a prediction back to the scan's
# order. Its default takes them as stored: scans of other orientations are mirrored to each other.
READER = "NibabelIOWithReorient"
# All that `_wanted` names, and thus all that a record can hold.
_EXPORTED = re.compile(
    rf"(?:{'|'.join(FOLDERS)})/{cases.PLAIN_NAME.pattern}{re.escape(FILE_ENDING)}"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a data set is written.

    Parameters
    ----------
    directory : Path
        ``nnUNet_raw/Dataset218_AMOS22``.
    mode : str
        One of `MODES`.
    label_names : dict of int to str
        The manifest's labels.
    ignored : frozenset of int
        Labels that become nnU-Net's ignore label.
    """

    directory: Path
    mode: str
    label_names: dict[int, str]
    ignored: frozenset[int] = frozenset()

    @property
    def kept(self) -> list[int]:
        """Labels that are not ignored; the new number of each is its place in this list."""
        return [value for value in self.label_names if value not in self.ignored]

    @property
    def is_renumbered(self) -> bool:
        """Whether labels get label files of their own: nnU-Net wants numbers without gaps."""
        return bool(self.ignored) or self.kept != list(range(len(self.kept)))

    def new_labels(self) -> dict[str, int]:
        """Names and numbers of the labels as nnU-Net gets them, ``ignore`` last.

        DatasetError where the background is missing, or what is to be ignored is no organ's label
        or all of them.
        """
        if 0 not in self.label_names:
            found = errors.listed(f"{value} {name}" for value, name in self.label_names.items())
            reason = f"label 0, the background, is missing: {found}"
            raise errors.DatasetError(reason, code="labels", found=found)
        self._check_ignored()
        # nnU-Net finds the background by its name.
        names = ["background", *(self.label_names[value] for value in self.kept[1:])]
        names += ["ignore"] if self.ignored else []
        if len(set(names)) < len(names):
            reason = f"a label has the name background or ignore, nnU-Net's own: {names[1:]}"
            raise errors.DatasetError(reason, code="labels", found=names)
        return {name: number for number, name in enumerate(names)}

    def lookup(self) -> np.ndarray:
        """New label for each old one, (256,) uint8."""
        table = np.zeros(labels.LARGEST_LABEL + 1, np.uint8)
        table[self.kept] = np.arange(len(self.kept))
        table[sorted(self.ignored)] = len(self.kept)
        return table

    def _check_ignored(self):
        known = {value: f"{value} {name}" for value, name in self.label_names.items() if value}
        wrong = sorted(self.ignored - known.keys())
        if not wrong and self.ignored != known.keys():
            return
        fault = (
            f"no such organ label: {', '.join(map(str, wrong))}" if wrong else "no label is left"
        )
        existing = ", ".join(known.values())
        reason = f"--ignore_labels: {fault}; labels: {existing}"
        found = sorted(self.ignored)
        raise errors.DatasetError(reason, code="labels", expected=existing, found=found)


def folder(output_dir: files.PathLike, dataset_id: int, dataset_name: str) -> Path:
    """Return the folder of a data set, with a number from 1 to 999, in nnU-Net's ``nnUNet_raw``.

    DatasetError where the name holds more than letters, digits and ``_.-``, or another data set
    has the number: nnU-Net refuses both then.
    """
    if not cases.PLAIN_NAME.fullmatch(dataset_name):
        reason = f"--dataset_name {dataset_name!r}: expected letters, digits and _ . -"
        raise errors.DatasetError(reason, code="name", found=dataset_name)
    start = f"Dataset{dataset_id:03d}"
    path = Path(output_dir, f"{start}_{dataset_name}")
    others = sorted(path.parent.glob(f"{start}*"))
    taken = next((other.name for other in others if other.name != path.name), None)
    if taken:
        fault = f"{output_dir}: {taken} has the number {dataset_id} already"
        reason = f"{fault}; choose another --dataset_id"
        raise errors.DatasetError(reason, file=output_dir, code="name", found=taken)
    return path


def _wanted(case, settings):
    """{path in the folder: (function that writes it, its source)} of a sample."""
    write = _write_copy if settings.mode == "copy" else _write_link
    images = IMAGES if case.is_trained_on else TEST_IMAGES
    is_named_only = case.is_trained_on and settings.mode == "reference"
    found = {}
    if not is_named_only:
        found[f"{images}/{case.id}_0000{FILE_ENDING}"] = write, case.volume_path
    if case.mask_path and settings.is_renumbered:
        found[_label_file(case)] = _write_remapped, case.mask_path
    elif case.mask_path and not is_named_only:
        found[_label_file(case)] = write, case.mask_path
    return found


def _label_file(case):
    folder_name = LABELS if case.is_trained_on else TEST_LABELS
    return f"{folder_name}/{case.id}{FILE_ENDING}"


def write_case(
    case: cases.Case, settings: Settings, overwrite: bool = False
) -> int | calls.Finished:
    """Write the files of one sample that are missing or out of date, or all; return how many.

    DatasetError where a source is missing or damaged, or a file cannot be written.
    """
    written = 0
    for name, (write, source) in _wanted(case, settings).items():
        written += write(settings.directory / name, source, settings, overwrite)
    return written or calls.Finished(0)


def memory(case: cases.Case) -> int:
    """Bytes that `write_case` needs where it remaps labels; see `nifti.mask_memory`."""
    return nifti.mask_memory(case.mask_path) if case.mask_path else 0


def _write_link(path, source, settings, overwrite):
    # Relative, so that data and links can move together; counted from where the link really lies.
    target = os.path.relpath(os.path.abspath(source), os.path.realpath(path.parent))
    if not overwrite and path.is_symlink() and os.readlink(path) == target:
        return 0
    files.link(path, target)
    return 1


def _write_copy(path, source, settings, overwrite):
    if not overwrite and not path.is_symlink() and path.exists() and files.same_bytes(source, path):
        return 0
    with files.Pending(path) as pending:
        for piece in files.pieces(source):
            pending.write(piece)
        pending.seal()
        if not files.same_bytes(source, pending.temporary_path):
            reason = f"{path}: the disk does not hold what was copied, or {source} changes"
            raise errors.DatasetError(reason, file=path, code="write")
        pending.commit()
    return 1


def _write_remapped(path, source, settings, overwrite):
    mask = nifti.read_mask(source)
    labels.check_known(mask.data, settings.label_names, where=source)
    remapped = np.take(settings.lookup(), mask.data)
    encoded = nifti_writing.encode_mask(np.asfortranarray(remapped), mask.header.affine)
    if not overwrite and not path.is_symlink() and nifti_writing.is_same_file(path, encoded):
        return 0
    with nifti_writing.staged(path, encoded) as pending:
        pending.commit()
    return 1


@dataclasses.dataclass(frozen=True)
class Contents:
    """Paths of all images and labels in the folder, and the texts beside them by their names.

    The texts are `DATASET_JSON` and, where there are folds, `SPLITS_JSON`; of its `n_folds` the
    last `n_dealt` were dealt here, and those before them are the split.
    """

    names: frozenset[str]
    texts: dict[str, bytes]
    n_folds: int
    n_dealt: int


def describe(
    chosen: list[cases.Case], settings: Settings, facts: DataSet, n_folds: int = 0
) -> Contents:
    """Make dataset.json and splits_final.json of samples that have masks, but for those of test.

    The folds are those of the split; of one without folds, fold 0 trains on train and validates on
    val, and `n_folds` of whole patients follow. DatasetError where there is nothing to train on, a
    modality is unknown, nnU-Net cannot take the labels or a path, or there can be no such folds.
    """
    training, folds = cases.training(chosen), _folds(chosen, n_folds, facts)
    described = {
        **cases.heading(facts),
        "channel_names": {"0": cases.modality(chosen, facts)},
        "labels": settings.new_labels(),
        "numTraining": len(training),
        "file_ending": FILE_ENDING,
        "overwrite_image_reader_writer": READER,
    }
    if settings.mode == "reference":
        described["dataset"] = {case.id: _references(case, settings) for case in training}
    texts = {DATASET_JSON: json_files.to_bytes(described)}
    if folds:
        texts[SPLITS_JSON] = json_files.to_bytes(folds)
    names = frozenset(name for case in chosen for name in _wanted(case, settings))
    return Contents(names, texts, len(folds), n_folds)


def _folds(chosen, n_folds, facts):
    """What nnU-Net trains and validates on in each fold, IDs sorted."""
    dealt = cases.training(chosen)
    of_split = {
        subset: [case.id for case in cases.of_subset(chosen, subset)] for subset in ("train", "val")
    }
    found = [of_split] if of_split["val"] else []
    if n_folds or cases.has_folds(dealt):
        number_of = cases.cross_validation(dealt, n_folds, facts)
        found += [
            {
                "train": [case.id for case in dealt if number_of[case.id] != number],
                "val": [case.id for case in dealt if number_of[case.id] == number],
            }
            for number in sorted({*number_of.values()})
        ]
    return found


def _references(case, settings):
    image = cases.relative(case.volume_path, settings.directory)
    label = _label_file(case)
    if not settings.is_renumbered:
        label = cases.relative(case.mask_path, settings.directory)
    if "$" in image + label:
        fault = f"{case.volume_path}: nnU-Net would take the $ in it for a variable"
        reason = f"{fault}; use --mode link or copy"
        raise errors.DatasetError(reason, file=case.volume_path, code="path")
    return {"images": [image], "label": label}


def prepare(settings: Settings, new: Contents, overwrite: bool = False) -> None:
    """Make the folders, and remove a dataset.json or splits_final.json that will change.

    So dataset.json stands only where all that it names is there. DatasetError where there are
    images or labels that `write_case` did not put there, where one of the two was changed by
    hand or is not ours (`overwrite`: replaced), or nothing can be written. Nothing is changed then.
    """
    directory = settings.directory
    files.sweep(directory)
    record = _read_record(directory)
    _refuse_foreign(directory, record["files"])
    paths = [path for path in (directory / DATASET_JSON, directory / SPLITS_JSON) if path.exists()]
    contents = {path: files.read_bytes(path) for path in paths}
    outdated = [path for path in paths if contents[path] != new.texts.get(path.name)]
    for path in outdated:
        known = record["sha256"].get(path.name)
        if not overwrite and json_files.checksum(contents[path]) != known:
            raise json_files.changed(path)
    for folder in {directory, *((directory / name).parent for name in new.names)}:
        files.make_dir(folder)
    files.check_place(directory / RECORD)  # before anything is lost
    for path in outdated:
        files.remove(path)
    _write_record(directory, new.names | record["files"], new)


def _read_record(directory):
    """What an earlier export wrote, by names that only it can have written: they may be removed."""
    path = directory / RECORD
    if not os.path.lexists(path):
        return {"files": frozenset(), "sha256": {}}
    content, record = files.read_bytes(path), None
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        found = json.loads(content)
        if isinstance(found["files"], list) and all(map(_EXPORTED.fullmatch, found["files"])):
            record = {"files": frozenset(found["files"]), "sha256": dict(found["sha256"])}
    if record is None:
        reason = f"{path}: was changed by hand; move {directory} away"
        raise errors.DatasetError(reason, file=path, code="changed")
    return record


def _write_record(directory, names, new):
    sums = {name: json_files.checksum(text) for name, text in sorted(new.texts.items())}
    files.put(directory / RECORD, json_files.to_bytes({"files": sorted(names), "sha256": sums}))


def _refuse_foreign(directory, known):
    """Refuse folders that lead elsewhere, files that are not known, and folders in their place."""
    foreign = [name for name in FOLDERS if (directory / name).is_symlink()]
    for path in (
        path for name in FOLDERS for path in sorted((directory / name).glob(f"*{FILE_ENDING}"))
    ):
        name = path.relative_to(directory).as_posix()
        if name not in known or (path.is_dir() and not path.is_symlink()):
            foreign.append(name)
    if foreign:
        fault = f"not put there by this export: {errors.listed(foreign)}"
        reason = f"{directory}: {fault}; move it away"
        path, found = directory / foreign[0], ", ".join(foreign)
        raise errors.DatasetError(reason, file=path, code="foreign", found=found)


def finish(settings: Settings, new: Contents) -> list[str]:
    """Write dataset.json, last of all, and remove images and labels that an earlier export left.

    Returns the paths in the folder of those that were removed.
    """
    directory = settings.directory
    stale = sorted(_read_record(directory)["files"] - new.names)
    for name in stale:
        files.remove(directory / name)
    _write_record(directory, new.names, new)
    for name in (SPLITS_JSON, DATASET_JSON):
        if name in new.texts:
            files.put(directory / name, new.texts[name])
    return stale

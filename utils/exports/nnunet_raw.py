"""A raw data set folder of nnU-Net v2: images and labels by reference, link or copy."""

import dataclasses
import filecmp
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import labels
from utils.exports import cases
from utils.running import calls
from utils.storage import files, nifti

MODES = ("reference", "link", "copy")
FILE_ENDING = ".nii.gz"
IMAGES, LABELS, TEST_IMAGES = "imagesTr", "labelsTr", "imagesTs"
DATASET_JSON, SPLITS_JSON = "dataset.json", "splits_final.json"
# Which files of the folder are ours, and the checksums of the two above.
RECORD = "exported_files.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINK, _COPY, _REMAPPED = "link", "copy", "remapped"


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
    label_names: dict
    ignored: frozenset = frozenset()

    def new_labels(self) -> dict[str, int]:
        """Names and numbers of the labels as nnU-Net gets them, ``ignore`` last.

        Raises
        ------
        DatasetError
            There are no consecutive numbers from 0, or what is to be ignored is no organ's label.
        """
        _check_ignored(self)
        kept = [value for value in self.label_names if value not in self.ignored]
        if not self.ignored and kept != list(range(len(kept))):
            raise errors.DatasetError(
                f"the labels {', '.join(map(str, kept))} are not consecutive from 0, as nnU-Net "
                "wants them",
                code="labels",
                found=kept,
            )
        # nnU-Net finds the background by its name.
        names = {self.label_names[value]: number for number, value in enumerate(kept) if number}
        named = {"background": 0, **names}
        return {**named, "ignore": len(kept)} if self.ignored else named

    def lookup(self) -> np.ndarray:
        """New label for each old one, (256,) uint8."""
        kept = [value for value in self.label_names if value not in self.ignored]
        table = np.zeros(labels.LARGEST_LABEL + 1, np.uint8)
        table[kept] = np.arange(len(kept))
        table[sorted(self.ignored)] = len(kept)
        return table


def _check_ignored(settings):
    known = [value for value in settings.label_names if value]
    wrong = sorted(settings.ignored - set(known))
    if wrong or settings.ignored == set(known):
        fault = "no label is left"
        if wrong:
            fault = f"no such organ label: {', '.join(map(str, wrong))}"
        listed = ", ".join(f"{value} {settings.label_names[value]}" for value in known)
        raise errors.DatasetError(
            f"--ignore_labels: {fault}; labels: {listed}",
            code="labels",
            expected=listed,
            found=sorted(settings.ignored),
        )


def folder(output_dir, dataset_id: int, dataset_name: str) -> Path:
    """Return the folder of a data set in nnU-Net's raw folder.

    Parameters
    ----------
    output_dir : path-like
        nnU-Net's ``nnUNet_raw``; may be missing.
    dataset_id : int
        1 to 999.
    dataset_name : str
        Letters, digits and ``_.-``.

    Raises
    ------
    DatasetError
        The name is none, or another data set has this number: nnU-Net refuses both then.
    """
    if not _PLAIN_NAME.fullmatch(dataset_name):
        raise errors.DatasetError(
            f"--dataset_name {dataset_name!r}: expected letters, digits and _ . -",
            code="name",
            found=dataset_name,
        )
    path = Path(output_dir, f"Dataset{dataset_id:03d}_{dataset_name}")
    taken = [
        other.name
        for other in sorted(path.parent.glob(f"Dataset{dataset_id:03d}*"))
        if other.name != path.name
    ]
    if taken:
        raise errors.DatasetError(
            f"{output_dir}: {taken[0]} has the number {dataset_id} already; "
            "choose another --dataset_id",
            file=output_dir,
            code="name",
            found=taken[0],
        )
    return path


def wanted(case: cases.Case, settings: Settings) -> dict[str, tuple[str, Path]]:
    """List what a sample needs in the folder.

    Returns
    -------
    dict of str to (str, Path)
        Path in the folder to the kind of file (link, copy or remapped) and its source.
    """
    kind = _COPY if settings.mode == "copy" else _LINK
    image = f"{case.id}_0000{FILE_ENDING}"
    if not case.is_trained_on:
        return {f"{TEST_IMAGES}/{image}": (kind, case.volume_path)}
    found = {}
    if settings.mode != "reference":
        found[f"{IMAGES}/{image}"] = (kind, case.volume_path)
    if settings.ignored:
        found[_label_file(case)] = (_REMAPPED, case.mask_path)
    elif settings.mode != "reference":
        found[_label_file(case)] = (kind, case.mask_path)
    return found


def _label_file(case):
    return f"{LABELS}/{case.id}{FILE_ENDING}"


def place(case: cases.Case, settings: Settings, overwrite: bool = False):
    """Put a sample's files into the folder, those that are missing or out of date.

    Parameters
    ----------
    case : cases.Case
    settings : Settings
    overwrite : bool
        Put all of them.

    Returns
    -------
    int or calls.Finished
        How many were written.

    Raises
    ------
    DatasetError
        A source is missing or damaged, or a file cannot be written.
    """
    written = 0
    for name, (kind, source) in wanted(case, settings).items():
        put = {_LINK: _put_link, _COPY: _put_copy, _REMAPPED: _put_remapped}[kind]
        written += put(settings.directory / name, source, settings, overwrite)
    return written or calls.Finished(0)


def memory(case: cases.Case) -> int:
    """Bytes that `place` needs where it remaps labels; see `nifti.mask_memory`."""
    return nifti.mask_memory(case.mask_path) if case.is_trained_on else 0


def _put_link(path, source, settings, overwrite):
    # Relative, so that data and links can move together; counted from where the link really lies.
    target = os.path.relpath(os.path.abspath(source), os.path.realpath(path.parent))
    if not overwrite and path.is_symlink() and os.readlink(path) == target:
        return 0
    files.link(path, target)
    return 1


def _put_copy(path, source, settings, overwrite):
    if not overwrite and not path.is_symlink() and path.exists() and _same_bytes(source, path):
        return 0
    with files.Pending(path) as pending:
        with open(source, "rb") as handle:
            shutil.copyfileobj(handle, pending.handle, 1 << 20)
        pending.seal()
        if not _same_bytes(source, pending.temporary_path):
            raise errors.DatasetError(
                f"{path}: the disk does not hold what was copied", file=path, code="write"
            )
        pending.commit()
    return 1


def _same_bytes(source, path):
    with files.explained(path):
        return filecmp.cmp(source, path, shallow=False)


def _put_remapped(path, source, settings, overwrite):
    mask = nifti.read_mask(source)
    labels.check_known(mask.data, settings.label_names, where=source)
    remapped = np.take(settings.lookup(), mask.data)
    encoded = nifti.encode_mask(np.asfortranarray(remapped), mask.header.affine)
    if not overwrite and not path.is_symlink() and nifti.is_same_file(path, encoded):
        return 0
    with nifti.staged(path, encoded) as pending:
        pending.commit()
    return 1


@dataclasses.dataclass(frozen=True)
class Contents:
    """The files beside the images.

    Attributes
    ----------
    names : frozenset of str
        Paths of all images and labels in the folder.
    texts : dict of str to bytes
        `DATASET_JSON` and, where there is something to validate on, `SPLITS_JSON`.
    """

    names: frozenset
    texts: dict


def contents(chosen: list[cases.Case], settings: Settings, facts) -> Contents:
    """Make dataset.json and splits_final.json.

    Parameters
    ----------
    chosen : list of Case
        Those of train and val have masks.
    settings : Settings
    facts : module
        Facts of the data set: NAME, DESCRIPTION, REFERENCE, LICENCE, ``modality(row)``.

    Raises
    ------
    DatasetError
        Nothing to train on, an unknown modality, or labels that nnU-Net cannot take.
    """
    training = sorted((case for case in chosen if case.is_trained_on), key=str)
    if not any(case.subset == "train" for case in training):
        raise errors.DatasetError("the split has no training sample with a mask", code="empty")
    described = {
        "name": facts.NAME,
        "description": facts.DESCRIPTION,
        "reference": facts.REFERENCE,
        "licence": facts.LICENCE,
        "channel_names": {"0": cases.modality(chosen, facts)},
        "labels": settings.new_labels(),
        "numTraining": len(training),
        "file_ending": FILE_ENDING,
    }
    if settings.mode == "reference":
        described["dataset"] = {case.id: _references(case, settings) for case in training}
    texts = {DATASET_JSON: cases.json_bytes(described)}
    fold = {
        subset: [case.id for case in training if case.subset == subset]
        for subset in ("train", "val")
    }
    if fold["val"]:
        texts[SPLITS_JSON] = cases.json_bytes([fold])
    names = frozenset(name for case in chosen for name in wanted(case, settings))
    return Contents(names, texts)


def _references(case, settings):
    label = (
        _label_file(case)
        if settings.ignored
        else cases.relative(case.mask_path, settings.directory)
    )
    entry = {"images": [cases.relative(case.volume_path, settings.directory)], "label": label}
    if "$" in "".join((*entry["images"], label)):
        raise errors.DatasetError(
            f"{case.volume_path}: nnU-Net would take the $ in it for a "
            "variable; use --mode link or copy",
            file=case.volume_path,
            code="path",
        )
    return entry


def prepare(settings: Settings, new: Contents, overwrite: bool = False) -> None:
    """Make the folders, and way for what is new.

    A dataset.json that will change is removed: it stands only where all that it names is there.

    Raises
    ------
    DatasetError
        There are images or labels that were not put there by `place`, or dataset.json or
        splits_final.json was changed by hand or is not ours (`overwrite`: replaced). Nothing is
        changed then.
    """
    directory = settings.directory
    files.sweep(directory)
    record = _read_record(directory)
    _refuse_foreign(directory, record)
    for name in (DATASET_JSON, SPLITS_JSON):
        _refuse_changed(directory / name, record, new.texts.get(name), overwrite)
    for name in sorted({DATASET_JSON, SPLITS_JSON} | new.texts.keys()):
        path = directory / name
        if path.exists() and path.read_bytes() != new.texts.get(name):
            files.remove(path)
    for folder_name in {Path(name).parent for name in new.names} | {Path()}:
        files.make_dir(directory / folder_name)
    _write_record(directory, new.names | record["files"], new)


def _read_record(directory):
    path = directory / RECORD
    if not path.exists():
        return {"files": frozenset(), "sha256": {}}
    try:
        record = json.loads(path.read_bytes())
        return {"files": frozenset(record["files"]), "sha256": dict(record["sha256"])}
    except (ValueError, TypeError, LookupError) as error:
        raise errors.DatasetError(
            f"{path}: was changed by hand; move {directory} away", file=path, code="changed"
        ) from error


def _write_record(directory, names, new):
    sums = {name: cases.checksum(text) for name, text in sorted(new.texts.items())}
    cases.put(directory / RECORD, cases.json_bytes({"files": sorted(names), "sha256": sums}))


def _refuse_foreign(directory, record):
    present = [
        path.relative_to(directory).as_posix()
        for name in (IMAGES, LABELS, TEST_IMAGES)
        for path in sorted((directory / name).glob(f"*{FILE_ENDING}"))
    ]
    foreign = [name for name in present if name not in record["files"]]
    if foreign:
        more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
        raise errors.DatasetError(
            f"{directory}: {foreign[0]}{more} was not put there by this export; move it away",
            file=directory / foreign[0],
            code="foreign",
            found=", ".join(foreign),
        )


def _refuse_changed(path, record, new_text, overwrite):
    if overwrite or not path.exists():
        return
    text = path.read_bytes()
    if text != new_text and cases.checksum(text) != record["sha256"].get(path.name):
        raise errors.DatasetError(
            f"{path}: was changed by hand, or was not written here; move it "
            "away, or use --overwrite",
            file=path,
            code="changed",
        )


def complete(settings: Settings, new: Contents) -> list[str]:
    """Write dataset.json, last of all, and remove what an earlier export left.

    Returns
    -------
    list of str
        Paths, in the folder, of images and labels that were removed.
    """
    directory = settings.directory
    stale = sorted(_read_record(directory)["files"] - new.names)
    for name in stale:
        files.remove(directory / name)
    _write_record(directory, new.names, new)
    for name in (SPLITS_JSON, DATASET_JSON):
        if name in new.texts:
            cases.put(directory / name, new.texts[name])
    return stale

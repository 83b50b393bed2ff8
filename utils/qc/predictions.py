"""Masks that somebody's program predicted, in a folder as nnU-Net writes it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.qc import label_files
from utils.storage import files, label_map, nifti

_ENDINGS = (".nii.gz", ".nii")
_NAMES_FILE = "dataset.json"
# nnU-Net's own: the first stands for 0 everywhere, the second is never predicted.
_NO_ORGANS = ("background", "ignore")
_LARGEST = 255


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions, the labels' names by the numbers in them, and what to tell."""

    directory: Path
    names: Mapping[int, str]
    notes: tuple[str, ...] = ()

    def path(self, stem: str) -> Path | None:
        """The prediction of a sample; None without one."""
        paths = (self.directory / f"{stem}{ending}" for ending in _ENDINGS)
        return next(filter(files.is_file, paths), None)


def find(directory: Path | None, samples: Collection[str]) -> Predictions | None:
    """Look into a folder of predictions of these samples; notes tell what is not compared.

    DatasetError where there is none of them, two of one sample, or label names that make no sense.
    """
    if directory is None:
        return None
    with files.explained(directory, "read"):
        found = sorted(path.name for path in directory.iterdir() if path.name.endswith(_ENDINGS))
    of_sample: dict[str, str] = {}
    for name in found:
        stem = next(name.removesuffix(end) for end in _ENDINGS if name.endswith(end))
        if of_sample.setdefault(stem, name) != name:
            reason = f"two predictions of {stem}: {of_sample[stem]} and {name}; expected one"
            raise _fault(directory, reason, "double")
    wanted = {*samples}
    if not wanted.intersection(of_sample):
        example = next(iter(samples), "amos_0004")
        there = f"only {errors.listed(found)}" if found else "no .nii.gz file"
        reason = f"no prediction of a sample at hand, expected such as {example}.nii.gz; {there}"
        raise _fault(directory, reason, "missing")
    others = [name for stem, name in of_sample.items() if stem not in wanted]
    without = [name for name in samples if name not in of_sample]
    notes = [f"{len(others)} of no sample at hand: {errors.listed(others)}"] if others else []
    if without:
        notes.append(f"none of {len(without)} samples: {errors.listed(without)}")
    return Predictions(directory, _label_names(directory / _NAMES_FILE), tuple(notes))


def _fault(path, reason, code):
    return errors.DatasetError(f"{path}: {reason}", file=path, code=code)


def _label_names(path):
    """{number: name} of the organs, as dataset.json has them; {} without the file."""
    if not files.is_file(path):
        return {}
    try:
        content = json.loads(files.read_bytes(path))
        named = content["labels"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = "no dataset.json of nnU-Net, expected the field labels: {name: number, ...}"
        raise _fault(path, reason, "json") from error
    found: dict[int, str] = {}
    for name, number in named:
        if name in _NO_ORGANS:
            continue
        if type(number) is not int or not 0 < number <= _LARGEST or number in found:
            reason = f"label {name!r} is {number!r}, expected another whole number for each, "
            raise _fault(path, f"{reason}from 1 to {_LARGEST}", "json")
        found[number] = label_map.file_form(name)
    return found


def of_sample(
    predictions: Predictions, stem: str, volume: nifti.Header, label_names: Mapping[int, str]
) -> tuple[label_files.LabelFile | None, str]:
    """Return the prediction of a sample, and else why it cannot be compared; '' without one.

    `label_names` are those of the sample's masks: where the folder tells the names of its numbers,
    the names decide which number is which label.
    """
    path = predictions.path(stem)
    if path is None:
        return None, ""
    try:
        header = nifti.read_header(path)
    except errors.DatasetError as error:
        return None, label_files.told(error, path)
    order = header.axis_order(volume)
    misfit = _misfit(header, volume, order)
    if misfit:
        return None, f"{path.name}: {misfit}"
    values, names = _renumbered(predictions.names, label_names)
    more = {"order": order, "values": values, "names": names}
    return label_files.LabelFile.onto(volume, header, **more), ""


def read(prediction: label_files.LabelFile) -> tuple[np.ndarray | None, str]:
    """Return the voxels of a prediction, or else why it cannot be compared."""
    try:
        return prediction.read(), ""
    except errors.DatasetError as error:
        assert isinstance(prediction.source, nifti.Header)
        return None, label_files.told(error, prediction.source.path)


def _misfit(header, volume, order):
    if order is not None:
        return ""
    if header.shape != volume.shape:
        return f"shape {header.shape} differs from the volume's {volume.shape}"
    if not header.has_orientation:
        return ""
    apart = geometry.displacement_vox(header.affine, volume.affine, volume.shape)
    if apart <= geometry.MISFIT_VOX:
        return ""
    return f"lies up to {apart:.3g} voxels off the volume, expected at most {geometry.MISFIT_VOX:g}"


def _renumbered(names, label_names):
    """{number: label} of what is called alike, and names of labels that the masks do not have."""
    own = {label_map.file_form(name).casefold(): value for value, name in label_names.items()}
    if not own:
        return {}, names
    free = (value for value in range(1, _LARGEST + 1) if value not in label_names)
    values, new = {}, {}
    for number, name in names.items():
        value = own.get(name.casefold())
        if value is None:
            value = next(free)
            new[value] = name
        values[number] = value
    return {number: value for number, value in values.items() if number != value}, new

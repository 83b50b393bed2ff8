"""Routine 01: the archive manifest, one row per file of the archive."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import DataSet, known_faults
from utils.routines import archive, sheet_looks, split_choices
from utils.running import calls
from utils.storage import file_kinds, files, manifest, nifti, workbook, workbook_looks


@dataclasses.dataclass(frozen=True)
class Description:
    """What the header of a file says.

    Attributes
    ----------
    row : dict
        The cells of its manifest row.
    header : nifti.Header
    marks : dict of str to str
        Column to how its cell is marked (see `workbook_looks.Look`).
    """

    row: dict
    header: nifti.Header
    marks: dict[str, str] = dataclasses.field(default_factory=dict)


def size_bytes(file: archive.ArchiveFile) -> int:
    """Return the size on disk or, of a zip's member, unpacked; 0 for a broken link."""
    return files.size_bytes(file.path)


def describe(file: archive.ArchiveFile, check_content: bool = False) -> Description:
    """Read the header of a file; with `check_content` decode all of it, checksum included.

    DatasetError where it is damaged or cannot be read; a warning where the stored pixdim is not
    the affine's spacing, or no orientation is stored.
    """
    if not (file.is_zipped or os.path.isfile(file.path)):
        raise errors.DamagedFileError(f"{file}: {file_kinds.absent(file.path)}", file=file.path)
    header = nifti.read_header(file.path, glance=True)
    if check_content:
        nifti.check(header)
    complaints = header.complaints()
    for complaint in complaints:
        errors.warn(complaint)
    orientation_from, orientation_to = geometry.orientation_codes(header.affine)
    row = {
        "file_path": file.relative_path,
        **file.columns,
        **dict(zip(("szx", "szy", "szz"), header.shape)),
        **dict(zip(("spx", "spy", "spz"), map(float, header.spacing))),
        "orientation_from": orientation_from,
        "orientation_to": orientation_to,
        "dtype": header.dtype_name,
        "transform": geometry.affine_text(header.affine),
    }
    return Description(row, header, {"file_path": workbook_looks.ODD} if complaints else {})


def make_rows(outcome: calls.Outcome, contents: archive.Contents, facts: DataSet) -> list[dict]:
    """Make the manifest rows of what `describe` read, each mask compared with its volume.

    What folders and pairs tell goes into the outcome and the marks. ``diff_trans_f_norm`` is the
    Frobenius norm of mask affine minus volume affine, None on volumes and on masks without volume.
    """
    described = outcome.results
    volumes = {file.sample: (file, seen) for file, seen in described if file.type == archive.VOLUME}
    masked = {file.sample for file, _ in described if file.type == archive.MASK}
    rows = []
    for file, seen in described:
        difference = None
        is_labelled = file.type == archive.MASK or file.subset in facts.LABELLED_SUBSETS
        if is_labelled and not (file.sample in volumes and file.sample in masked):
            seen.marks["type"] = workbook_looks.FAILED
        if file.type == archive.MASK and file.sample in volumes:
            volume_file, volume = volumes[file.sample]
            difference = float(np.linalg.norm(seen.header.affine - volume.header.affine))
            for columns, mark, text in _oddities(file, seen.header, volume_file, volume.header):
                outcome.warnings.append((str(file), text))
                seen.marks.update(dict.fromkeys(columns, mark))
                seen.marks["file_path"] = workbook_looks.ODD
            if difference and "diff_trans_f_norm" not in seen.marks:
                _mark_difference(seen, volume.header)
        rows.append(seen.row | {"diff_trans_f_norm": difference})
    outcome.failures[:0] = contents.failures
    if contents.ignored:
        count = f"{len(contents.ignored)} NIfTI files ignored, no {facts.EXAMPLE_FILE}"
        outcome.warnings.append((facts.NAME, f"{count}: {errors.listed(contents.ignored)}"))
    return rows


def _mark_difference(seen, volume):
    """Mark a mask that lies off its volume by what routine 02 will warn about."""
    mask = seen.header
    if mask.has_orientation and mask.shape == volume.shape:
        apart = geometry.corner_displacement_mm(mask.affine, volume.affine, volume.shape)
        if apart > geometry.SAME_AFFINE_MM:
            seen.marks["diff_trans_f_norm"] = workbook_looks.ODD


def _oddities(mask_file, mask, volume_file, volume):
    """Yield the columns of what is odd about a pair, how they are marked, and a sentence."""
    if mask.axis_order(volume) is not None:
        codes = [geometry.axis_codes(header.affine) for header in (mask, volume)]
        text = (
            f"the mask is stored along other axes ({codes[0]}) of the grid of its volume "
            f"{volume_file} ({codes[1]}); routine 02 brings it into the volume's order"
        )
        yield ("orientation_from", "orientation_to"), workbook_looks.ODD, text
    elif mask.shape != volume.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.shape, volume.shape)]
        text = f"the mask has {sizes[0]} voxels, its volume {volume_file} {sizes[1]}"
        yield ("szx", "szy", "szz"), workbook_looks.FAILED, text
    elif mask.has_orientation:
        apart_vox = geometry.displacement_vox(mask.affine, volume.affine, volume.shape)
        apart_mm = geometry.corner_displacement_mm(mask.affine, volume.affine, volume.shape)
        if apart_vox > geometry.MISFIT_VOX:
            text = (
                f"the mask lies {apart_mm:.3g} mm ({apart_vox:.3g} voxels) off its volume "
                f"{volume_file} in a corner, expected at most {geometry.MISFIT_VOX:g} voxels; "
                "routine 02 fails it unless told --misfit volume"
            )
            yield ("diff_trans_f_norm",), workbook_looks.FAILED, text
    if mask_file.subset != volume_file.subset:
        place = f"its volume {volume_file} in {volume_file.subset}"
        yield ("subset",), workbook_looks.FAILED, f"the mask lies in {mask_file.subset}, {place}"


def identity_notes(outcome: calls.Outcome) -> list[str]:
    """Return a line on the files among those `describe` read that have lost their geometry."""
    found = [file for file, seen in outcome.results if geometry.is_identity(seen.header.affine)]
    samples = sorted({file.sample for file in found})
    lost = f"{geometry.IDENTITY}; {len(found)} file{'s' * (len(found) > 1)}"
    return [f"{lost}, of {errors.listed(samples)}"] if found else []


def known_fault_notes(contents: archive.Contents, facts: DataSet, is_mended: bool) -> list[str]:
    """Return a line for each kind of known fault that samples at hand have.

    Of what nobody has confirmed, and of what routine 01 mends (where it did), only the number.
    """
    at_hand = {file.sample for file in (*contents.files, *contents.doubles)}
    found: dict[str, dict[str, list]] = {}
    for fault in known_faults.of(facts):
        if fault.id in at_hand and (is_mended or fault.what not in facts.MENDED_FAULTS):
            found.setdefault(fault.kind, {}).setdefault(fault.what, []).append(fault)
    return [
        f"{kind}: {' | '.join(_concerned(faults, facts) for faults in texts.values())}"
        for kind, texts in sorted(found.items())
    ]


def _concerned(faults, facts):
    what = f"{len(faults)} scan{'s' * (len(faults) > 1)}, {faults[0].what}"
    if known_faults.is_open(faults[0], facts):
        return f"{what}: {errors.listed(fault.id for fault in faults)}"
    return f"{what}: mended" if faults[0].is_confirmed else what


def write(
    target: manifest.Target,
    columns: Sequence[str],
    rows: list[dict],
    outcome: calls.Outcome,
    root_dir: files.PathLike,
) -> str:
    """Write the archive manifest and return the line that tells so.

    The rows are those of the outcome of `describe`. Without rows none is written: it would only
    hide an earlier one.
    """
    if not rows:
        return "no manifest written"
    table = workbook.frame(columns, rows)
    marks = [seen.marks for _, seen in outcome.results]
    look = sheet_looks.of_files(table, target.path, root_dir, marks)
    target.write({manifest.MAIN_SHEET: table}, {manifest.MAIN_SHEET: look})
    return f"{target.path}: {len(rows)} rows"


def summary(contents: archive.Contents, described: Sequence, subsets: Iterable[str]) -> list[str]:
    """Return the lines that tell what is in the manifest, by subset, and what is left out.

    `described` holds the pairs (ArchiveFile, Description) that have a row.
    """
    counts = collections.Counter((file.subset, file.type) for file, _ in described)
    lines = []
    for subset in split_choices.at_hand(subsets, (file.subset for file, _ in described)):
        n_volumes, n_masks = (counts[subset, type_] for type_ in (archive.VOLUME, archive.MASK))
        lines.append(f"{subset}: {n_volumes} volumes, {n_masks} masks")
    n_unusable = sum(error.code == "name" for _, error in contents.failures)
    n_left_out = len(contents.files) - len(described) + len(contents.doubles)
    n_left_out += contents.n_unplaced + n_unusable
    ignored = f"{len(contents.ignored)} other NIfTI files, {contents.n_clutter} files of clutter"
    lines.append(f"left out: {n_left_out} files; ignored: {ignored}")
    if contents.n_zipped_too:
        lines.append(
            f"{contents.n_zipped_too} files lie unpacked and, of the same size, in a zip file; "
            "the unpacked ones count"
        )
    return lines

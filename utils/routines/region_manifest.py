"""The workbook of small connected regions: rows of one sample, and the sheets of all."""

from __future__ import annotations

import typing
from pathlib import Path

import numpy as np

from utils import errors
from utils.arrays import regions
from utils.routines import binary_masks, sheet_looks
from utils.running import calls
from utils.storage import files, manifest, nifti, samples, workbook, workbook_looks

if typing.TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("ID", "subset", "label_index", "label_name", "centroid_x", "centroid_y", "centroid_z"),
    *("centroid_r", "centroid_a", "centroid_s", "voxels", "volume_mm3", "file_path"),
]
_TEXT_COLUMNS = ["ID", "subset", "label_name", "file_path"]
_NOT_MEASURED = "not measured: "
SUMMARY_COLUMNS = ["label_index", "label_name", "regions"]


def describe(
    sample: samples.Sample, root_dir: Path, region_volume_thresh: float
) -> tuple[dict[int, str], dict[str, np.ndarray]]:
    """Find the small regions of one sample.

    Parameters
    ----------
    sample : samples.Sample
    root_dir : Path
        Paths in the rows are relative to it.
    region_volume_thresh : float, mm^3
        Regions strictly below it are small.

    Returns
    -------
    label_names : dict of int to str
        Labels that were looked at.
    columns : dict of str to (n,) array
        An entry per region, by label and position: arrays, as there may be millions of regions.

    Raises
    ------
    DatasetError
        There are no binary masks, or they are not those of the multi-label mask; a name cannot
        stand in a workbook.
    """
    info = samples.info_of(sample)
    mask = nifti.read_mask(sample.mask_path)
    paths = sample.binary_mask_paths()
    if not paths:
        message = f"{sample.directory}: no binary masks; run {binary_masks.ROUTINE} first"
        raise errors.DatasetError(message, file=sample.directory, code="no_binary_masks")
    binary_masks.check_consistent(sample, mask)
    found = regions.find_small_regions(mask.data, mask.header.zooms, region_volume_thresh)
    affine = mask.header.affine
    world = found.centroid @ affine[:3, :3].T + affine[:3, 3]
    whole = {"ID": sample.stem, "subset": info.get("subset", "UND")}
    texts = {
        value: {**whole, "label_name": name, "file_path": path.relative_to(root_dir).as_posix()}
        for (value, name), path in paths.items()
    }
    for row in texts.values():
        workbook.check_cells(row, sample.directory)
    return dict(paths.keys()), _columns(found, world, texts)


def _columns(found, world, texts):
    """The columns of one sample; `texts` are those of a region, by its label."""
    numbers = [found.label, *found.centroid.T, *world.T, found.voxels, found.volume_mm3]
    columns = dict(zip((name for name in COLUMNS if name not in _TEXT_COLUMNS), numbers))
    for name in _TEXT_COLUMNS:
        of_region = [texts[label][name] for label in found.label.tolist()]
        columns[name] = np.array(of_region, dtype=object)
    return {name: columns[name] for name in COLUMNS}


def tables(outcome: calls.Outcome) -> dict[str, pd.DataFrame]:
    """Make the worksheets Manifest and Summary of all samples, from an outcome of `describe`.

    What is more than Excel's rows goes on in the worksheets Manifest 2, Manifest 3 and so on.
    Samples that failed are named in the summary: unknown is not none.
    """
    found = _together([columns for _, (_, columns) in outcome.results])
    names: dict[int, str] = {}
    for _, (of_sample, _) in outcome.results:
        names.update(of_sample)
    n_regions = found["label_index"].value_counts().to_dict()
    failed = dict.fromkeys(errors.printable(name) for name, _ in outcome.failures)
    rows = [
        *((value, names[value], n_regions.get(value, 0)) for value in sorted(names)),
        ("", "total", len(found)),
        *(("", f"{_NOT_MEASURED}{name}", "") for name in failed),
    ]
    summary = workbook.frame(SUMMARY_COLUMNS, (dict(zip(SUMMARY_COLUMNS, row)) for row in rows))
    return {**workbook.sheets(manifest.MAIN_SHEET, found), "Summary": summary}


def looks(
    tables: dict[str, pd.DataFrame], workbook_path: files.PathLike, root_dir: files.PathLike
) -> dict[str, workbook_looks.Look]:
    """Lead from the regions to their files, where Excel holds so many links; mark what failed."""
    found = {
        name: sheet_looks.of_files(table, workbook_path, root_dir)
        for name, table in tables.items()
        if "file_path" in table and len(table) <= workbook_looks.MAX_LINKS
    }
    names = tables["Summary"]["label_name"].tolist()
    failed = [row for row, name in enumerate(names) if name.startswith(_NOT_MEASURED)]
    marks = {(row, "label_name"): workbook_looks.FAILED for row in failed}
    return {**found, "Summary": workbook_looks.Look(marks)}


def _together(of_samples):
    import pandas as pd

    if not of_samples:
        return workbook.frame(COLUMNS, [])
    columns = {name: np.concatenate([one[name] for one in of_samples]) for name in COLUMNS}
    return pd.DataFrame({name: pd.Series(columns[name]) for name in COLUMNS})

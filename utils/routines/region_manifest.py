"""The workbook of small connected regions: rows of one sample, and the sheets of all."""

from __future__ import annotations

import typing
from pathlib import Path

from utils import errors
from utils.arrays import regions
from utils.routines import binary_masks
from utils.running import calls
from utils.storage import manifest, nifti, samples, workbook

if typing.TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("ID", "subset", "label_index", "label_name", "centroid_x", "centroid_y", "centroid_z"),
    *("centroid_r", "centroid_a", "centroid_s", "voxels", "volume_mm3", "file_path"),
]
SUMMARY_COLUMNS = ["label_index", "label_name", "regions"]


def describe(
    sample: samples.Sample, root_dir: Path, region_volume_thresh: float
) -> tuple[dict[int, str], list[dict]]:
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
    rows : list of dict
        By label and position.

    Raises
    ------
    DatasetError
        There are no binary masks, or they are not those of the multi-label mask.
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
    below = {value: path.relative_to(root_dir) for (value, _), path in paths.items()}
    names = dict(paths.keys())
    whole = sample.stem, info.get("subset", "UND")
    measured = found.label, found.centroid, world, found.voxels, found.volume_mm3
    rows = [
        (*whole, label, names[label], *centroid, *ras, voxels, volume_mm3, below[label].as_posix())
        for label, centroid, ras, voxels, volume_mm3 in zip(*(one.tolist() for one in measured))
    ]
    return names, [dict(zip(COLUMNS, row)) for row in rows]


def tables(outcome: calls.Outcome) -> dict[str, pd.DataFrame]:
    """Make the worksheets Manifest and Summary of all samples, from an outcome of `describe`.

    Samples that failed are named in the summary: unknown is not none.
    """
    found = workbook.frame(COLUMNS, (row for _, (_, rows) in outcome.results for row in rows))
    names: dict[int, str] = {}
    for _, (of_sample, _) in outcome.results:
        names.update(of_sample)
    n_regions = found.groupby("label_index").size().to_dict()
    failed = dict.fromkeys(name for name, _ in outcome.failures)
    rows = [
        *((value, names[value], n_regions.get(value, 0)) for value in sorted(names)),
        ("", "total", len(found)),
        *(("", f"not measured: {name}", "") for name in failed),
    ]
    summary = workbook.frame(SUMMARY_COLUMNS, (dict(zip(SUMMARY_COLUMNS, row)) for row in rows))
    return {manifest.MAIN_SHEET: found, "Summary": summary}

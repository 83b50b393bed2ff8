"""The workbook of small connected regions: rows of one sample, and the sheets of all."""

import collections

from utils import errors
from utils.arrays import regions
from utils.routines import binary_masks
from utils.running import calls
from utils.storage import manifest, nifti, samples

COLUMNS = [
    "ID",
    "subset",
    "label_index",
    "label_name",
    "centroid_x",
    "centroid_y",
    "centroid_z",
    "centroid_r",
    "centroid_a",
    "centroid_s",
    "voxels",
    "volume_mm3",
    "file_path",
]
SUMMARY_COLUMNS = ["label_index", "label_name", "regions"]


def describe(sample: samples.Sample, root_dir, region_volume_thresh: float):
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
    # A tree that denoising wrote elsewhere has masks only.
    info = samples.read_info(sample.info_path) if sample.info_path.exists() else {}
    mask = nifti.read_mask(sample.mask_path)
    paths = sample.binary_mask_paths()
    if not paths:
        raise errors.DatasetError(
            f"{sample.directory}: no binary masks; run {binary_masks.ROUTINE} first",
            file=sample.directory,
            code="no_binary_masks",
        )
    binary_masks.check_consistent(sample, mask)
    found = regions.find_small_regions(mask.data, mask.header.zooms, region_volume_thresh)
    affine = mask.header.affine
    world = found.centroid @ affine[:3, :3].T + affine[:3, 3]
    named = {
        value: (name, path.relative_to(root_dir).as_posix())
        for (value, name), path in paths.items()
    }
    rows = []
    for label, voxels, centroid, ras, volume_mm3 in zip(
        found.label.tolist(),
        found.voxels.tolist(),
        found.centroid.tolist(),
        world.tolist(),
        found.volume_mm3.tolist(),
    ):
        name, file_path = named[label]
        values = (
            sample.stem,
            info.get("subset", "UND"),
            label,
            name,
            *centroid,
            *ras,
            voxels,
            volume_mm3,
            file_path,
        )
        rows.append(dict(zip(COLUMNS, values)))
    return dict(paths.keys()), rows


def tables(outcome: calls.Outcome) -> dict[str, manifest.Table]:
    """Make the worksheets of all samples.

    Parameters
    ----------
    outcome : calls.Outcome
        Of `describe`. Samples that failed are named in the summary: unknown is not none.

    Returns
    -------
    dict of str to manifest.Table
        ``Manifest`` and ``Summary``.
    """
    rows = [row for _, (_, of_sample) in outcome.results for row in of_sample]
    names = {
        value: name for _, (of_sample, _) in outcome.results for value, name in of_sample.items()
    }
    n_regions = collections.Counter(row["label_index"] for row in rows)
    summary = [
        dict(zip(SUMMARY_COLUMNS, (value, names[value], n_regions[value])))
        for value in sorted(names)
    ]
    summary.append({"label_name": "total", "regions": len(rows)})
    summary += [
        {"label_name": f"not measured: {name}"}
        for name in dict.fromkeys(name for name, _ in outcome.failures)
    ]
    return {
        "Manifest": manifest.Table(COLUMNS, rows),
        "Summary": manifest.Table(SUMMARY_COLUMNS, summary),
    }

"""List small connected regions of the masks: islands and holes that annotation left behind.

Takes the voxels of each binary mask (background included) of every sample below --root_dir, finds
its 26-connected regions and writes those with a volume below the threshold into a workbook: one row
per region in the worksheet Manifest (what is more than Excel's 1,048,576 rows goes on in Manifest
2, Manifest 3 and so on), counts per label in the worksheet Summary. Nothing else is changed. Binary
masks must be those of their multi-label mask: otherwise extract them again first.

\b
  python utils/small_connected_region_detect.py --root_dir root_dir/grouped \\
      --region_volume_thresh 300.0 \\
      --output_manifest root_dir/descriptor/small_connected_region_300_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.routines import region_manifest
from utils.running import cli, shared_options
from utils.storage import files, manifest, samples


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.threshold(
    "--region_volume_thresh", 300.0, "Regions below this volume are listed", "mm^3"
)
@shared_options.output_workbook("--output_manifest")
def main(root_dir, region_volume_thresh, output_manifest, overwrite):
    target = manifest.refuse_if_changed(output_manifest, overwrite)
    files.sweep(root_dir)
    annotated = samples.find_annotated(root_dir)
    outcome = cli.for_each_mask(region_manifest.describe, annotated, root_dir, region_volume_thresh)
    tables = region_manifest.tables(outcome)
    target.write(tables, region_manifest.looks(tables, output_manifest, root_dir))
    n_regions = sum(map(len, tables.values())) - len(tables["Summary"])
    cli.finish(
        outcome,
        f"{output_manifest}: {n_regions:,} regions below {region_volume_thresh:g} "
        f"mm^3 in {len(outcome.results)} samples",
    )


if __name__ == "__main__":
    main()

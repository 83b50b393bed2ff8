"""Cut index manifests out of a split: one workbook per subset or group of subsets (routine 06).

Reads the worksheet of the split; writes <split>_<subset>[_<subset>...].xlsx, with a worksheet of
the same name, for each --subsets: the rows of these subsets, all columns. Where the name is longer
than the 31 characters that Excel allows, the worksheet is called Manifest. If one subset does not
exist in the split, nothing is written.

\b
  python described/06_extract_split_index_manifest.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_standard \\
      --output_index_manifest_dir root_dir/grouped/splits/split01_standard \\
      --subsets train val --subsets train --subsets val --subsets test
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.routines import splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.index
def main(manifest_file, split_name, output_index_manifest_dir, subsets):
    """Write the index manifests and print how many samples each has."""
    done = splits.extract(manifest_file, split_name, subsets, output_index_manifest_dir)
    if done.is_out_of_date:
        cli.print_warning(split_name, splits.OUT_OF_DATE)
    cli.tell(*done.summary)


if __name__ == "__main__":
    main()

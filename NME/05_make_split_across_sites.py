"""Add a split that mixes the sites to a dataset manifest (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split with all samples:
all columns of Manifest, then one more of that name. Samples of Tongji keep the subset they were
published in. All others, pooled over their sites, are split at random: first a share for test, then
a share of what is left for val. A patient (pid) is never divided. Other worksheets stay.

The same seed gives the same split on any machine, whatever the order of the rows.

\b
  python NME/05_make_split_across_sites.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split07_Mix \\
      --test_ratio 0.3 --val_ratio 0.2 --random_seed 0
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import nme
from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(required=True)
@shared_options.share("--test_ratio", 0.3, "Share of the pooled samples for test")
@shared_options.share("--val_ratio", 0.2, "Share of the samples left then for val")
@shared_options.random_seed("another one gives another split")
def main(manifest_file, split_name, test_ratio, val_ratio, random_seed):
    """Add the worksheet and print the size of each subset."""
    choose = split_choices.across_sites(nme.INNER_SITE, test_ratio, val_ratio, random_seed)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose).summary)


if __name__ == "__main__":
    main()

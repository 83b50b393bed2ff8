"""Add a split of chosen sites and collections, as published, to a dataset manifest (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split with the samples of
the given sites and collections alone: all columns of Manifest, then one more of that name that says
train, val or test as the column subset does. Other worksheets stay. Run it again after the manifest
was rewritten or corrected.

\b
  python NME/05_make_split_predefined.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_Tongji \\
      --site Tongji --collection train-val test-inner-01
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(required=True)
@shared_options.words("--site", "SITE", "Sites whose samples are taken, such as Yunnan Zhongnan.")
@shared_options.words(
    "--collection", "COLLECTION", "Collections of these sites, such as test-outer-02 test-outer-03."
)
def main(manifest_file, split_name, site, collection):
    """Add the worksheet and print the size of each subset."""
    choose = split_choices.selected({"site": site, "collection": collection})
    cli.tell(splits.make_sheet(manifest_file, split_name, choose).summary)


if __name__ == "__main__":
    main()

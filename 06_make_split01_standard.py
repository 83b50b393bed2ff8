"""Add the published split to a dataset manifest, as a worksheet (routine 06).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then one more of that name that says train, val or test as the column subset does. Other
worksheets stay. Run it again after the manifest was rewritten or corrected.

\b
  python 06_make_split01_standard.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_standard
"""

from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(default="split01_standard")
def main(manifest_file, split_name):
    """Add the worksheet and print the size of each subset."""
    counts = splits.make_sheet(manifest_file, split_name, split_choices.published)
    cli.tell(splits.summary(manifest_file, split_name, counts))


if __name__ == "__main__":
    main()

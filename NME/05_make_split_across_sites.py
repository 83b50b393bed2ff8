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

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import nme
from utils.routines import split_choices, splits
from utils.running import cli


@cli.routine(__doc__, images=False)
@cli.manifest_file_option
@cli.new_split_option(required=True)
@click.option(
    "--test_ratio",
    type=cli.RATIO,
    default=0.3,
    metavar="SHARE",
    help="Share of the pooled samples for test, 0 to 1.",
)
@click.option(
    "--val_ratio",
    type=cli.RATIO,
    default=0.2,
    metavar="SHARE",
    help="Share of the samples left then for val, 0 to 1.",
)
@click.option(
    "--random_seed",
    type=int,
    default=0,
    metavar="N",
    help="Whole number; another one gives another split.",
)
def main(manifest_file, split_name, test_ratio, val_ratio, random_seed):
    """Add the worksheet and print the size of each subset."""
    choose = split_choices.across_sites(nme.INNER_SITE, test_ratio, val_ratio, random_seed)
    counts = splits.make_sheet(manifest_file, split_name, choose)
    click.echo(splits.summary(manifest_file, split_name, counts))


if __name__ == "__main__":
    main()

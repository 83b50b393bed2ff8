"""Add the published split to a dataset manifest, as a worksheet (routine 06).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then one more of that name that says train, val or test as the column subset does. Other
worksheets stay. Run it again after the manifest was made anew or corrected.

\b
  python 06_make_split01_standard.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_standard
"""
import click

from utils import cli, splits


@cli.routine(__doc__, images=False)
@click.option("--manifest_file", required=True, type=cli.FILE, metavar="XLSX",
              help="Dataset manifest, as routine 05 writes it.")
@click.option("--split_name", default="split01_standard", metavar="NAME",
              help="Name of the worksheet and of its last column.")
def main(manifest_file, split_name):
    """Add the worksheet and tell the size of each subset."""
    counts = splits.make_sheet(manifest_file, split_name, splits.published)
    listed = ", ".join(f"{count} {subset}" for subset, count in counts.items())
    click.echo(f"{manifest_file}, worksheet {split_name}: {counts.total()} samples ({listed})")


if __name__ == "__main__":
    main()

"""Cut index manifests out of a split: one workbook per subset or group of subsets (routine 07).

Reads the worksheet of the split; writes <split>_<subset>[_<subset>...].xlsx, with a worksheet of
the same name, for each --subsets: the rows of these subsets, all columns. If one subset does not
exist in the split, nothing is written.

\b
  python 07_extract_split_index_manifest.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_standard \\
      --output_index_manifest_dir root_dir/grouped/splits/split01_standard \\
      --subsets train val --subsets train --subsets val --subsets test
"""
import click

from utils import cli, splits


@cli.routine(__doc__, images=False)
@click.option("--manifest_file", required=True, type=cli.FILE, metavar="XLSX",
              help="Dataset manifest with the worksheet of the split.")
@click.option("--split_name", required=True, metavar="NAME", help="Name of that worksheet.")
@click.option("--output_index_manifest_dir", required=True, type=cli.OUTPUT_DIR, metavar="DIR",
              help="Folder of the index manifests; made if it is missing.")
@click.option("--subsets", required=True, cls=cli.GroupOption, metavar="SUBSET...",
              help="Subsets of one index manifest; repeat the option for more.")
def main(manifest_file, split_name, output_index_manifest_dir, subsets):
    """Write the index manifests and tell how many samples each has."""
    done = splits.extract(manifest_file, split_name, subsets, output_index_manifest_dir)
    if done.is_out_of_date:
        cli.warn(split_name, "the worksheet differs from the worksheet Manifest, which was "
                             "changed since; make the split again to take that over")
    for path, count in done.counts.items():
        click.echo(f"{path}: {count} samples")


if __name__ == "__main__":
    main()

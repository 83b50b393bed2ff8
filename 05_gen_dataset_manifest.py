"""Check every sample's files against each other and index all of them (routine 05).

Reads info file, volume, multi-label mask and binary masks of every sample below --root_dir; writes
one row per sample into the worksheet Manifest of --output_manifest_file. Inconsistent samples
(shape, affine, spacing, origin, mask data types, missing or stale binary masks, a sample in two
folders) are all listed; then no manifest is written and an earlier one stays as it was. Other
worksheets of the workbook are kept.

\b
  python 05_gen_dataset_manifest.py --root_dir root_dir/grouped \\
      --output_manifest_file root_dir/grouped/dataset_manifest.xlsx
"""
import click

from utils import amos22, binary_masks, cli, dataset, files, manifest, samples, splits


@cli.routine(__doc__)
@cli.root_dir_option
@click.option("--output_manifest_file", required=True, type=cli.OUTPUT_WORKBOOK, metavar="XLSX",
              help="Workbook to write; its folder is made.")
@click.option("--tolerance_mm", type=click.FloatRange(min=0), default=1e-3, metavar="MM",
              help="Affine, spacing and origin of a sample's files may differ by this, mm.")
def main(root_dir, output_manifest_file, tolerance_mm, overwrite):
    manifest.refuse_if_changed(output_manifest_file, overwrite)
    files.sweep(root_dir)
    outcome = cli.for_each_sample(
        dataset.describe, samples.find(root_dir), root_dir, amos22.DATASET_KEYS, tolerance_mm,
        size=samples.mask_bytes, memory=binary_masks.memory)
    dataset.check_together(outcome)
    if outcome.failures:
        cli.finish(outcome, f"No manifest written; {output_manifest_file} is as it was")
    table = dataset.table(outcome, amos22.DATASET_KEYS)
    manifest.replace_sheet(output_manifest_file, "Manifest", table, overwrite)
    for name in splits.out_of_date(output_manifest_file, table):
        cli.warn(name, "this worksheet repeats an older manifest; run routine 06 again")
    cli.finish(outcome, f"{output_manifest_file}: {len(table.rows)} rows")


if __name__ == "__main__":
    main()

"""Check every sample's files against each other and index all of them (routine 05).

Reads info file, volume, multi-label mask and binary masks of every sample below --root_dir; writes
one row per sample into the worksheet Manifest of --output_manifest_file. Inconsistent samples
(shape, affine, spacing, origin, mask data types, missing or stale binary masks, a sample in two
folders, label 15 in a woman or 16 in a man) are all listed; then no manifest is written and an
earlier one stays as it was. Other worksheets of the workbook are kept. Samples that the review
excludes are left out, and not checked.

\b
  python 05_gen_dataset_manifest.py --root_dir root_dir/grouped \\
      --output_manifest_file root_dir/grouped/dataset_manifest.xlsx
"""

from utils.facts import amos22
from utils.routines import dataset
from utils.running import cli, shared_options
from utils.storage import files, manifest, samples


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.output_manifest_file
@shared_options.tolerance_mm
@shared_options.review
def main(root_dir, output_manifest_file, tolerance_mm, review, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    files.sweep(root_dir)
    found = samples.find(root_dir)
    decisions, notes = dataset.read_review(found, root_dir, cli.review_file(review), amos22)
    cli.print_note("review", *notes)
    checks = amos22.DATASET_KEYS, tolerance_mm, amos22.mask_faults, decisions
    outcome = cli.for_each_mask(dataset.describe, found, root_dir, *checks)
    written = dataset.write(found, outcome, target, root_dir, amos22.DATASET_KEYS, decisions)
    cli.finish(outcome, written)


if __name__ == "__main__":
    main()

"""Check every sample's files against each other and index all of them (routine 04).

Reads info file, volume, multi-label mask and binary masks of every sample below --root_dir; writes
one row per sample into the worksheet Manifest of --output_manifest_file. Inconsistent samples
(shape, affine, spacing, origin, mask data types, missing or stale binary masks, a sample in two
folders) are all listed; then no manifest is written and an earlier one stays as it was. Other
worksheets of the workbook are kept. Samples that the review excludes are left out, and not checked.

\b
  python described/04_gen_dataset_manifest.py --root_dir root_dir/grouped \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --output_manifest_file root_dir/grouped/dataset_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.routines import dataset as dataset_manifest
from utils.running import cli, shared_options
from utils.storage import files, manifest, samples


@cli.routine(__doc__)
@shared_options.dataset_page
@shared_options.root_dir
@shared_options.output_manifest_file
@shared_options.tolerance_mm
@shared_options.review
def main(dataset, root_dir, output_manifest_file, tolerance_mm, review, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    facts = described.read(dataset)
    files.sweep(root_dir)
    found = samples.find(root_dir)
    decisions, notes = dataset_manifest.read_review(found, root_dir, cli.review_file(review), facts)
    cli.print_note("review", *notes)
    checks = facts.DATASET_KEYS, tolerance_mm, facts.mask_faults, decisions
    outcome = cli.for_each_mask(dataset_manifest.describe, found, root_dir, *checks)
    written = dataset_manifest.write(
        found, outcome, target, root_dir, facts.DATASET_KEYS, decisions
    )
    cli.finish(outcome, written)


if __name__ == "__main__":
    main()

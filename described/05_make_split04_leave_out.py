"""Add a split that tests on what was never trained on, as a worksheet (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then patient, then one named after the split. It says test for samples with these --values
of the column --by, where they have a mask, train and val for the others with a mask, and excluded
for all without a mask and those whose patient is in test; other unlabelled ones stay that. Samples
with one patient_id stay together. Other worksheets stay.

The same seed gives the same split on any machine, whatever the order of the rows.

\b
  python described/05_make_split04_leave_out.py \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split04_no_center1 \\
      --by site --values "center 1" --val_ratio 0.2 --random_seed 0
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described, patients
from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.dataset_page
@shared_options.manifest_file
@shared_options.new_split(required=True)
@shared_options.required(
    "--by", shared_options.TEXT, "Column of the manifest that is looked at.", metavar="COLUMN"
)
@shared_options.words("--values", "VALUE", "What is left out there.")
@shared_options.share("--val_ratio", 0.2, "Share of the samples to train on for val")
@shared_options.random_seed("another one gives another val")
def main(dataset, manifest_file, split_name, by, values, val_ratio, random_seed):
    """Add the worksheet and print the size of each subset."""
    facts = described.read(dataset)
    choose = split_choices.leave_out(facts, by, values, val_ratio, random_seed)
    if unnamed := patients.unnamed(facts):
        cli.print_note(split_name, unnamed)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose, facts).summary)


if __name__ == "__main__":
    main()

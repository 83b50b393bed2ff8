"""Add a split that tests on scanners or hospitals never trained on, as a worksheet (routine 06).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then patient, then one named after the split. It says test for samples with these --values
of the column --by, where they have a mask, train and val for the others with a mask, and excluded
for all without a mask and those whose patient is in test; other unlabelled ones stay that. Scans
that agree in birth date and sex count as one patient's, which is inferred, and stay together. Other
worksheets stay.

The same seed gives the same split on any machine, whatever the order of the rows.

\b
  python 06_make_split04_leave_out.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split04_no_brilliance \\
      --by manufacturer_model_name --values "Brilliance16" --val_ratio 0.2 --random_seed 0
"""

from utils.facts import amos22
from utils.routines import split_choices, splits
from utils.running import cli, shared_options

COLUMNS = ("manufacturer_model_name", "manufacturer", "site", "sex")


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(required=True)
@shared_options.choice("--by", COLUMNS, COLUMNS[0], "Column that is looked at.")
@shared_options.words("--values", "VALUE", "What is left out there, such as Brilliance16 Prisma.")
@shared_options.share("--val_ratio", 0.2, "Share of the samples to train on for val")
@shared_options.random_seed("another one gives another val")
def main(manifest_file, split_name, by, values, val_ratio, random_seed):
    """Add the worksheet and print the size of each subset."""
    choose = split_choices.leave_out(amos22, by, values, val_ratio, random_seed)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose, amos22).summary)


if __name__ == "__main__":
    main()

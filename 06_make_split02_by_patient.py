"""Add the published split without its leaks to a dataset manifest, as a worksheet (routine 06).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then patient, then one named after the split. It says train, val, test or unlabelled as
the column subset does, and excluded for samples of val whose patient is in train, and for samples
of test whose patient is in train or val. Scans that agree in birth date and sex count as one
patient's, which is inferred; their lowest ID is the patient's name. Other worksheets stay.

\b
  python 06_make_split02_by_patient.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split02_by_patient
"""

from utils.facts import amos22
from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(default="split02_by_patient")
def main(manifest_file, split_name):
    """Add the worksheet and print the size of each subset."""
    choose = split_choices.by_patient(amos22)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose, amos22).summary)


if __name__ == "__main__":
    main()

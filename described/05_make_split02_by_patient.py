"""Add the published split without its leaks to a dataset manifest, as a worksheet (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then patient, then one named after the split. It says train, val, test or unlabelled as
the column subset does, and excluded for samples of val whose patient is in train, and for samples
of test whose patient is in train or val. A patient is called after the lowest ID of the samples
with one patient_id. Other worksheets stay.

\b
  python described/05_make_split02_by_patient.py \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split02_by_patient
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.routines import split_choices, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.dataset_page
@shared_options.manifest_file
@shared_options.new_split(default="split02_by_patient")
def main(dataset, manifest_file, split_name):
    """Add the worksheet and print the size of each subset."""
    facts = described.read(dataset)
    choose = split_choices.by_patient(facts)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose, facts).summary)


if __name__ == "__main__":
    main()

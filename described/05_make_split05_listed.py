"""Add a split of your own to a dataset manifest, from a list, as a worksheet (routine 05).

Reads the worksheet Manifest and a table with the columns ID and subset: CSV, or a workbook. The
subset is train, val or test, or fold0, fold1 and so on with test, or excluded or unlabelled. Adds,
or renews, a worksheet named after the split: all columns of Manifest, then patient, then one named
after the split. Samples that the list does not name are excluded, which a note tells. Samples of
one patient_id in several subsets are warned about. Other worksheets stay.

IDs that are unknown or stand twice, and words that are no subset, are named, and nothing is
written.

\b
  python described/05_make_split05_listed.py \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split05_listed \\
      --ids root_dir/descriptor/split05_listed.csv
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described, patients
from utils.routines import split_lists, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.dataset_page
@shared_options.manifest_file
@shared_options.new_split(default="split05_listed")
@shared_options.required(
    "--ids", shared_options.FILE, "Table of the columns ID and subset: CSV, or a workbook."
)
def main(dataset, manifest_file, split_name, ids):
    """Add the worksheet and print the size of each subset."""
    facts = described.read(dataset)
    listed = split_lists.Listed(ids, facts)
    split = splits.make_sheet(manifest_file, split_name, listed, facts)
    cli.print_note(split_name, *listed.notes)
    if unnamed := patients.unnamed(facts):
        cli.print_note(split_name, unnamed)
    cli.tell(split.summary)


if __name__ == "__main__":
    main()

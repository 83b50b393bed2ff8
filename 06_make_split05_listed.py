"""Add a split of your own to a dataset manifest, from a list, as a worksheet (routine 06).

Reads the worksheet Manifest and a table with the columns ID and subset: CSV, or a workbook. The
subset is train, val or test, or fold0, fold1 and so on with test, or excluded or unlabelled. Adds,
or renews, a worksheet named after the split: all columns of Manifest, then patient, then one named
after the split. Samples that the list does not name are excluded, which a note tells. A patient in
several subsets is warned about: scans that agree in birth date and sex count as one patient's,
which is inferred. Other worksheets stay.

IDs that are unknown or stand twice, and words that are no subset, are named, and nothing is
written.

\b
  python 06_make_split05_listed.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split05_listed \\
      --ids root_dir/descriptor/split05_listed.csv
"""

from utils.facts import amos22
from utils.routines import split_lists, splits
from utils.running import cli, shared_options


@cli.routine(__doc__, images=False)
@shared_options.manifest_file
@shared_options.new_split(default="split05_listed")
@shared_options.required(
    "--ids", shared_options.FILE, "Table of the columns ID and subset: CSV, or a workbook."
)
def main(manifest_file, split_name, ids):
    """Add the worksheet and print the size of each subset."""
    listed = split_lists.Listed(ids, amos22)
    split = splits.make_sheet(manifest_file, split_name, listed, amos22)
    cli.print_note(split_name, *listed.notes)
    cli.tell(split.summary)


if __name__ == "__main__":
    main()

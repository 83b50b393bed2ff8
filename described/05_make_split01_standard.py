"""Add the published split to a dataset manifest, as a worksheet (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then one more of that name that says train, val, test or unlabelled as the column subset
does. Other worksheets stay. Run it again after the manifest was rewritten or corrected. Notes name
the samples of val and test whose patient is in an earlier subset, too; the split by patient leaves
them out.

\b
  python described/05_make_split01_standard.py \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split01_standard
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
@shared_options.new_split(default="split01_standard")
def main(dataset, manifest_file, split_name):
    """Add the worksheet and print the size of each subset."""
    facts = described.read(dataset)
    split = splits.make_sheet(manifest_file, split_name, split_choices.published)
    cli.print_note(split_name, *split.leaks(facts))
    cli.tell(split.summary)


if __name__ == "__main__":
    main()

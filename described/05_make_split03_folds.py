"""Add folds for cross-validation to a dataset manifest, as a worksheet (routine 05).

Reads the worksheet Manifest; adds, or renews, a worksheet named after the split: all columns of
Manifest, then patient, then one named after the split. It says fold0, fold1 and so on for samples
of --subsets with a mask, test for all others, and excluded for those of them whose patient is in a
fold; unlabelled ones stay that. Samples with one patient_id stay together. Folds are even in all
and by modality, then as far as possible by scanner, sex and rare labels. Other worksheets stay.

The same seed gives the same folds on any machine, whatever the order of the rows.

\b
  python described/05_make_split03_folds.py \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --split_name split03_folds \\
      --folds 5 --random_seed 0
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
@shared_options.new_split(default="split03_folds")
@shared_options.with_default("--folds", shared_options.whole(2), 5, "Number of folds.", metavar="N")
@shared_options.random_seed("another one gives other folds")
@shared_options.words(
    "--subsets",
    "SUBSET",
    "Published subsets that are dealt to folds, where their samples have a mask.",
    required=False,
    default=(("train", "val"),),
    show_default="train val",
)
def main(dataset, manifest_file, split_name, folds, random_seed, subsets):
    """Add the worksheet and print the size of each fold."""
    facts = described.read(dataset)
    choose = split_choices.folds(facts, folds, random_seed, subsets)
    if unnamed := patients.unnamed(facts):
        cli.print_note(split_name, unnamed)
    cli.tell(splits.make_sheet(manifest_file, split_name, choose, facts).summary)


if __name__ == "__main__":
    main()

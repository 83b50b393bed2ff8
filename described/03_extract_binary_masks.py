"""Split each multi-label mask into one binary mask per label (routine 03).

Reads <id>_mask.nii.gz of every sample below --root_dir and the labels of --dataset, or those of
--label_explanation; writes <id>_mask_00_background.nii.gz and so on beside it (uint8, same
geometry), for labels that do not occur too. Binary masks that are their label's already stay as
they are; after a correction of the multi-label mask the stale ones alone are written again.

\b
  python described/03_extract_binary_masks.py --root_dir root_dir/grouped \\
      --dataset root_dir/descriptor/dataset.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.routines import binary_masks
from utils.running import cli, shared_options
from utils.storage import files, label_map, samples


@cli.routine(__doc__)
@shared_options.dataset_page
@shared_options.root_dir
@shared_options.optional(
    "--label_explanation",
    shared_options.FILE,
    "label_map.yaml: labels and names in place of those of the page.",
    metavar="YAML",
    show_default="labels of the page",
)
def main(dataset, root_dir, label_explanation, overwrite):
    facts = described.read(dataset)
    label_names = label_map.read(label_explanation) if label_explanation else facts.LABELS
    files.sweep(root_dir)
    annotated = samples.find_annotated(root_dir)
    outcome = cli.for_each_mask(binary_masks.write, annotated, label_names, overwrite)
    cli.finish(outcome, binary_masks.summary(outcome, label_names))


if __name__ == "__main__":
    main()

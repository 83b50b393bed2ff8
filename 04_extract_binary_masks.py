"""Split each multi-label mask into one binary mask per label (routine 04).

Reads amos_XXXX_mask.nii.gz of every sample below --root_dir and the names of the labels; writes
amos_XXXX_mask_LL_name.nii.gz beside it (uint8, same geometry), for labels that do not occur too.
Binary masks that are their label's already stay as they are; after a correction of the multi-label
mask the stale ones alone are written again. Label 15 in a woman, or 16 in a man, is warned about:
routine 03 comes first.

\b
  python 04_extract_binary_masks.py --root_dir root_dir/grouped \\
      --label_explanation root_dir/descriptor/label_map.yaml
"""

from utils.facts import amos22
from utils.routines import binary_masks
from utils.running import cli, shared_options
from utils.storage import files, label_map, samples


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.label_explanation
def main(root_dir, label_explanation, overwrite):
    label_names = label_map.read(label_explanation)
    files.sweep(root_dir)
    annotated = samples.find_annotated(root_dir)  # the test subset has volumes only
    outcome = cli.for_each_mask(
        binary_masks.write, annotated, label_names, overwrite, amos22.mask_faults
    )
    cli.finish(outcome, binary_masks.summary(outcome, label_names))


if __name__ == "__main__":
    main()

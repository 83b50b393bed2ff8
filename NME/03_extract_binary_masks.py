"""Split each multi-label mask into one binary mask per label (routine 03).

Reads <seq>_<pid>_mask.nii.gz of every sample below --root_dir and the short names of the labels;
writes <seq>_<pid>_mask_00_Bg.nii.gz and <seq>_<pid>_mask_01_NME.nii.gz beside it (uint8, same
geometry), for labels that do not occur too. Binary masks that are their label's already stay as
they are; after a correction of the multi-label mask the stale ones alone are written again.

\b
  python NME/03_extract_binary_masks.py --root_dir root_dir/grouped \\
      --label_explanation root_dir/descriptor/label_map.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.routines import binary_masks
from utils.running import cli, shared_options
from utils.storage import files, label_map, samples


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.label_explanation
def main(root_dir, label_explanation, overwrite):
    label_names = label_map.read(label_explanation, short_form=True)
    files.sweep(root_dir)
    annotated = samples.find_annotated(root_dir)
    outcome = cli.for_each_mask(binary_masks.write, annotated, label_names, overwrite)
    cli.finish(outcome, binary_masks.summary(outcome, label_names))


if __name__ == "__main__":
    main()

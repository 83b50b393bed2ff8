"""Pair the volumes of a described data set with their masks and group them (routine 02).

Reads the archive manifest (routine 01, perhaps corrected by hand) and the archive's files; writes
<id>_info.yaml, <id>_volume.nii.gz (float32) and <id>_mask.nii.gz (uint8, with the volume's
geometry) into the folder of each sample, <subset>/<id> unless --dataset says otherwise, below
--output_dir. Masks of single organs are joined into one; where two overlap the sample fails, unless
--dataset says which wins. Finished samples are skipped; masks that were edited or denoised since
stay as they are. Samples that the review excludes are left out.

\b
  python described/02_confirm_pairs.py --root_dir root_dir/archive --output_dir root_dir/grouped \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --archive_manifest root_dir/descriptor/archive_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.routines import pairs
from utils.running import cli, shared_options


@cli.routine(__doc__)
@shared_options.dataset_page
@shared_options.root_dir
@shared_options.pairing
@shared_options.review
def main(dataset, root_dir, output_dir, archive_manifest, misfit, review, overwrite):
    facts = described.read(dataset)
    organs = facts.organ_names()
    more = {"organs": organs, "review_path": cli.review_file(review)}
    found, notes = pairs.plan(root_dir, output_dir, archive_manifest, facts, **more)
    cli.print_note("review", *notes)
    space = pairs.prepare(found, output_dir, (), overwrite)
    needs = {"size": pairs.size_bytes, "memory": pairs.memory_bytes}
    outcome = cli.for_each_sample(
        pairs.confirm, found, overwrite, cli.spare_core(), misfit, **needs
    )
    cli.finish(outcome, space, pairs.summary(outcome, facts.SUBSETS))


if __name__ == "__main__":
    main()

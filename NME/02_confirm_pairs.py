"""Pair the volumes of NME with their masks and group them into samples (routine 02).

Reads the archive manifest (routine 01, perhaps corrected by hand) and the archive's files; writes
<seq>_<pid>_info.yaml, <seq>_<pid>_volume.nii.gz (float32) and <seq>_<pid>_mask.nii.gz (uint8, with
the volume's geometry) into <site>/<collection>/<subset>/<seq>_<pid> below --output_dir. Finished
samples are skipped; masks that were edited or denoised since stay as they are. Samples that the
review excludes are left out.

\b
  python NME/02_confirm_pairs.py --root_dir root_dir/archive --output_dir root_dir/grouped \\
      --archive_manifest root_dir/descriptor/archive_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import nme
from utils.routines import pairs
from utils.running import cli, shared_options


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.pairing
@shared_options.review
def main(root_dir, output_dir, archive_manifest, misfit, review, overwrite):
    found, notes = pairs.plan(
        root_dir, output_dir, archive_manifest, nme, review_path=cli.review_file(review)
    )
    cli.print_note("review", *notes)
    space = pairs.prepare(found, output_dir, nme.TREE, overwrite)
    outcome = cli.for_each_sample(
        pairs.confirm, found, overwrite, cli.spare_core(), misfit, size=pairs.size_bytes
    )
    cli.finish(outcome, space, pairs.summary(outcome, nme.SUBSETS))


if __name__ == "__main__":
    main()

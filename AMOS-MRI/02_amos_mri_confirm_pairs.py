"""Pair the MRI volumes of AMOS22 with their masks and group them into samples (routine 02).

Reads the archive manifest (routine 01, perhaps corrected by hand) and the archive's files; writes
amos_XXXX_info.yaml, amos_XXXX_volume.nii.gz (float32) and amos_XXXX_mask.nii.gz (uint8, with the
volume's geometry) into <subset>/<scanner>/amos_XXXX_<sex> below --output_dir. Finished samples are
skipped; masks that were edited or denoised since stay as they are. Samples that the review excludes
are left out.

\b
  python AMOS-MRI/02_amos_mri_confirm_pairs.py --root_dir root_dir/archive \\
      --output_dir root_dir/grouped/AMOS-MRI \\
      --archive_manifest root_dir/descriptor/archive_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import amos22
from utils.routines import pairs
from utils.running import cli, shared_options


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.pairing
@shared_options.review
def main(root_dir, output_dir, archive_manifest, misfit, review, overwrite):
    belongs = amos22.of_scanners(amos22.MRI_SCANNERS)
    found, notes = pairs.plan(
        root_dir, output_dir, archive_manifest, amos22, belongs, review_path=cli.review_file(review)
    )
    cli.print_note("review", *notes)
    space = pairs.prepare(found, output_dir, amos22.SUBSETS, overwrite)
    outcome = cli.for_each_sample(
        pairs.confirm, found, overwrite, cli.spare_core(), misfit, size=pairs.size_bytes
    )
    cli.finish(outcome, space, pairs.summary(outcome, amos22.SUBSETS))


if __name__ == "__main__":
    main()

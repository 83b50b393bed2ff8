"""Make up an AMOS22-like archive to try, test and time the routines on.

\b
Writes below --root_dir (made if it is missing):
  archive/amos22/{imagesTr,imagesVa,imagesTs,labelsTr,labelsVa}/amos_XXXX.nii.gz
  archive/amos22/dataset.json
  archive/labeled_data_meta_0000_0599.csv
  truth/{labelsTr,labelsVa}/amos_XXXX.nii.gz
  sample_archive.json

Scans and people are invented. The masks in archive/ carry islands, holes and jagged borders as
annotators leave them, those in truth/ are clean. Headers, data types, clutter files and the MRI
ids of the table, one too low, are as found in the real archive.

The same options give the same bytes. Files that are there are kept (--overwrite makes them again);
a folder with another archive in it is refused.

\b
  python utils/generate_sample_archive.py --root_dir sample_data
  python utils/generate_sample_archive.py --root_dir big --samples 4 2 --shape 512 512 100
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.running import cli, shared_options
from utils.sample_data import amos22_archive, archive_folder

_N_CT = shared_options.whole(0, amos22_archive.MAX_N_CT)
_N_MRI = shared_options.whole(0, amos22_archive.MAX_N_MRI)


@cli.routine(__doc__)
@shared_options.sample_archive(
    amos22_archive.DEFAULT_SHAPE, archive_folder.SHORTEST, archive_folder.LONGEST
)
@shared_options.with_default(
    "--samples",
    (_N_CT, _N_MRI),
    (amos22_archive.DEFAULT_N_CT, amos22_archive.DEFAULT_N_MRI),
    "How many CT and how many MRI scans.",
    metavar="CT MRI",
)
def main(root_dir, samples, shape, seed, overwrite):
    settings = amos22_archive.Settings(shape, *samples, seed)
    cli.hold(root_dir)
    planned = amos22_archive.prepare(root_dir, settings)
    needed = amos22_archive.memory_bytes(shape)
    write, given = amos22_archive.write_sample, (root_dir, settings, overwrite)
    outcome = cli.for_each_sample(write, planned, *given, memory=lambda sample: needed)
    cli.finish(outcome, f"archive: {root_dir / archive_folder.ARCHIVE_DIR}")


if __name__ == "__main__":
    main()

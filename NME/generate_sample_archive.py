"""Make up an NME-like archive to try and test the routines on.

\b
Writes below --root_dir (made if it is missing):
  archive/NME-Seg-2025.8.25-<collection>/{images,labels}{Tr,Vd,Ts}/NME-Seg_<seq>.<pid>.nii.gz
  truth/ (the same folders, masks only)
  sample_archive.json

Scans and people are invented. The masks in archive/ carry islands, holes and jagged borders as
annotators leave them, those in truth/ are clean. Some patients have several scans, one of them at
two sites.

The same options give the same bytes. Files that are there are kept (--overwrite makes them again);
a folder with another archive in it is refused.

\b
  python NME/generate_sample_archive.py --root_dir sample_data_nme
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.running import cli, shared_options
from utils.sample_data import archive_folder, nme_archive

_N_SCANS = shared_options.whole(1, nme_archive.MAX_N)


@cli.routine(__doc__)
@shared_options.sample_archive(
    nme_archive.DEFAULT_SHAPE, archive_folder.SHORTEST, archive_folder.LONGEST
)
@shared_options.with_default(
    "--samples", _N_SCANS, nme_archive.DEFAULT_N, "How many scans.", metavar="N"
)
def main(root_dir, samples, shape, seed, overwrite):
    settings = nme_archive.Settings(shape, samples, seed)
    cli.hold(root_dir)
    planned = nme_archive.prepare(root_dir, settings)
    needed = nme_archive.memory_bytes(shape)
    write, given = nme_archive.write_sample, (root_dir, settings, overwrite)
    outcome = cli.for_each_sample(write, planned, *given, memory=lambda sample: needed)
    cli.finish(outcome, f"archive: {root_dir / archive_folder.ARCHIVE_DIR}")


if __name__ == "__main__":
    main()

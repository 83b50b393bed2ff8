"""Make up an archive for any page that describes a data set, to try and test the routines on.

\b
Writes below --root_dir (made if it is missing):
  archive/<name>/ (files as the patterns of --dataset want them; metadata table, JSON lists)
  truth/<name>/ (masks only)
  sample_archive.json

Scans and people are invented. Labels that bear the name of an organ of the abdomen have its place
and form, others are simple bodies. Masks in archive/ carry islands, holes and jagged borders as
annotators leave them, those in truth/ are clean. Orientations vary, some labels are stored with a
slope, and scans with a known fault of their affine have the identity.

The same options give the same bytes. Files that are there are kept (--overwrite makes them again);
a folder with another archive in it is refused.

\b
  python described/generate_sample_archive.py --root_dir sample_data_ct-org \\
      --dataset descriptor_templates/CT-ORG/dataset.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.running import cli, shared_options
from utils.sample_data import archive_folder, described_archive

_N_SCANS = shared_options.whole(1, described_archive.MAX_N)


@cli.routine(__doc__)
@shared_options.dataset_page
@shared_options.sample_archive(
    described_archive.DEFAULT_SHAPE, archive_folder.SHORTEST, archive_folder.LONGEST
)
@shared_options.with_default(
    "--samples", _N_SCANS, described_archive.DEFAULT_N, "How many scans.", metavar="N"
)
def main(dataset, root_dir, samples, shape, seed, overwrite):
    facts = described.read(dataset)
    settings = described_archive.settings(facts, shape, samples, seed)
    cli.hold(root_dir)
    planned = described_archive.prepare(root_dir, facts, settings)
    needed = described_archive.memory_bytes(shape)
    given = root_dir, facts, settings, overwrite
    write = described_archive.write_sample
    outcome = cli.for_each_sample(write, planned, *given, memory=lambda sample: needed)
    cli.finish(outcome, f"archive: {root_dir / archive_folder.ARCHIVE_DIR}")


if __name__ == "__main__":
    main()

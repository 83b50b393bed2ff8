"""List all volumes and masks of the NME archive with their geometry (routine 01).

Reads the headers of NME-Seg_<seq>.<pid>.nii.gz in imagesTr, imagesVd, imagesTs, labelsTr, labelsVd
and labelsTs of the folders NME-Seg-2025.8.25-<collection>, at any depth below --root_dir; writes
one workbook with the worksheet Manifest. Correct it by hand where needed, then run routine 02.

\b
  python NME/01_gen_archive_manifest.py --root_dir root_dir/archive \\
      --output_manifest_file root_dir/descriptor/archive_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import nme
from utils.routines import archive, archive_manifest
from utils.running import cli, shared_options
from utils.storage import manifest


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.output_manifest_file
@shared_options.check_content
def main(root_dir, output_manifest_file, check_content, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    contents = archive.find_any(root_dir, nme)
    describe, size = archive_manifest.describe, archive_manifest.size_bytes
    outcome = cli.for_each_sample(describe, contents.files, check_content, size=size, noun="file")
    cli.print_note("geometry", *archive_manifest.identity_notes(outcome))
    rows = archive_manifest.make_rows(outcome, contents, nme)
    outcome.failures += nme.unknown_collections(contents.ignored)
    lines = archive_manifest.summary(contents, outcome.results, nme.SUBSETS)
    written = archive_manifest.write(target, nme.ARCHIVE_COLUMNS, rows, outcome, root_dir)
    cli.finish(outcome, *lines, written)


if __name__ == "__main__":
    main()

"""List all volumes and masks of a described archive with geometry and metadata (routine 01).

Reads the headers of the files below --root_dir that fit the patterns of --dataset, and the metadata
table where the page names one; writes one workbook with the worksheet Manifest. Correct it by hand
where needed, then run routine 02.

\b
  python described/01_gen_archive_manifest.py --root_dir root_dir/archive \\
      --dataset root_dir/descriptor/dataset.yaml \\
      --output_manifest_file root_dir/descriptor/archive_manifest.xlsx
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.routines import archive, archive_manifest, described_archive
from utils.running import cli, shared_options
from utils.storage import manifest


@cli.routine(__doc__)
@shared_options.dataset_page
@shared_options.root_dir
@shared_options.output_manifest_file
@shared_options.check_content
def main(dataset, root_dir, output_manifest_file, check_content, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    facts = described.read(dataset)
    contents = archive.find_any(root_dir, facts)
    placed = described_archive.place(contents, root_dir, facts)
    cli.print_note(facts.NAME, *facts.NOTES, *placed.notes)
    faults = archive_manifest.known_fault_notes(contents, facts, is_mended=False)
    cli.print_note("known faults", *faults)
    describe, size = archive_manifest.describe, archive_manifest.size_bytes
    outcome = cli.for_each_sample(describe, contents.files, check_content, size=size, noun="file")
    cli.print_note("geometry", *archive_manifest.identity_notes(outcome))
    rows = archive_manifest.make_rows(outcome, contents, facts)
    rows = placed.complete(rows, outcome)
    lines = archive_manifest.summary(contents, outcome.results, facts.SUBSETS)
    written = archive_manifest.write(target, facts.ARCHIVE_COLUMNS, rows, outcome, root_dir)
    cli.finish(outcome, *lines, written)


if __name__ == "__main__":
    main()

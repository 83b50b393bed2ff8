"""List all volumes and masks of the AMOS22 archive with geometry and metadata (routine 01).

Reads the headers of amos_XXXX.nii.gz in imagesTr, imagesVa, imagesTs, labelsTr, labelsVa (and
labelsTs) at any depth below --root_dir, and the metadata tables; with --unlabelled also those of
the scans that nobody has labelled, in any other folder. Writes one workbook with the worksheet
Manifest. Correct it by hand where needed, then run routine 02.

\b
  python 01_gen_archive_manifest.py --root_dir root_dir/archive \\
      --output_manifest_file root_dir/descriptor/archive_manifest.xlsx
"""

import functools

from utils.facts import amos22, amos22_metadata, amos22_table
from utils.routines import archive, archive_manifest, dataset_json
from utils.running import cli, shared_options
from utils.storage import manifest


def tell(notes, warnings):
    """Print what was found out about the metadata."""
    cli.print_note(amos22_metadata.NAME, *notes)
    for warning in warnings:
        cli.print_warning(amos22_metadata.NAME, warning)


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.output_manifest_file
@shared_options.optional(
    "--labeled_data_meta",
    shared_options.FILE,
    "Metadata table.",
    metavar="CSV",
    show_default=f"{amos22_table.PATTERN} below --root_dir, else beside it",
)
@shared_options.flag(
    "--unlabelled", "List the scans without labels, too: ids 5000 to 6899 (CT), 7000 to 8199 (MRI)."
)
@shared_options.check_content
def main(root_dir, output_manifest_file, labeled_data_meta, unlabelled, check_content, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    contents = archive.find_any(root_dir, amos22, () if unlabelled else (amos22.UNLABELLED,))
    find = functools.partial(archive.find_tables, root_dir, contents)
    seqs = (file.columns["seq"] for file in contents.files)
    tables = amos22_metadata.Tables(find, seqs, labeled_data_meta)
    metadata = tables.metadata
    tell(metadata.notes, metadata.warnings)
    if contents.left_out:
        n_scans = len({file.sample for file in contents.left_out})
        count = f"{n_scans} unlabelled scans are left out"
        cli.print_note(amos22.NAME, f"{count}; --unlabelled lists them (docs/unlabelled.md)")
    faults = archive_manifest.known_fault_notes(contents, amos22, metadata.is_mended)
    cli.print_note("known faults", *faults)
    describe, size = archive_manifest.describe, archive_manifest.size_bytes
    outcome = cli.for_each_sample(describe, contents.files, check_content, size=size, noun="file")
    cli.print_note("geometry", *archive_manifest.identity_notes(outcome))
    rows = archive_manifest.make_rows(outcome, contents, amos22)
    dataset_json.check(outcome, root_dir, contents, amos22)
    lack = tables.lack((row["seq"] for row in rows), "--root_dir")
    tell(lack.notes, lack.warnings)
    for name, error in lack.faults:
        outcome.fail(name, error)
    lines = archive_manifest.summary(contents, outcome.results, amos22.SUBSETS)
    rows = [row | metadata.of(row["seq"]) for row in rows]
    written = archive_manifest.write(target, amos22.ARCHIVE_COLUMNS, rows, outcome, root_dir)
    cli.finish(outcome, *lines, written)


if __name__ == "__main__":
    main()

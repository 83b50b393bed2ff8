"""List all volumes and masks of the AMOS22 archive with geometry and metadata (routine 01).

Reads the headers of amos_XXXX.nii.gz in imagesTr, imagesVa, imagesTs, labelsTr, labelsVa (and
labelsTs) at any depth below --root_dir, and the metadata table; writes one workbook with the
worksheet Manifest. Correct it by hand where needed, then run routine 02.

\b
  python 01_gen_archive_manifest.py --root_dir root_dir/archive \\
      --output_manifest_file root_dir/descriptor/archive_manifest.xlsx
"""

from utils import errors
from utils.facts import amos22, amos22_table
from utils.routines import archive, archive_manifest, dataset_json
from utils.running import cli, shared_options
from utils.storage import manifest

TABLE = "metadata table"


def report_undefined(outcome, metadata, rows, table_paths):
    """Add what is wrong with the metadata of these rows to the outcome."""
    seqs = {row["seq"] for row in rows}
    for name, error in (*metadata.faults, *metadata.odd_cells(seqs)):
        outcome.fail(name, error)
    missing = metadata.missing(seqs)
    if not missing:
        return
    tables = ", ".join(map(str, table_paths))
    count = f"the metadata of {len(missing)} samples are unknown and stay {amos22.UNDEFINED}"
    cure = f"{count}; download {amos22.METADATA_SOURCE} and run this again"
    if len(missing) == len(seqs):  # one reason, and not a line for each
        lack = f"{tables}: no row for any file"
        if not table_paths:
            lack = f"no {amos22_table.PATTERN} below --root_dir or beside it"
        outcome.fail(TABLE, errors.DatasetError(f"{lack}; {cure}", code="metadata"))
        return
    cli.print_warning(TABLE, cure)
    reason = f"{tables}: no row for it; its metadata stay {amos22.UNDEFINED}"
    sides = {"file": table_paths[0], "expected": "one row", "found": "none"}
    for seq in missing:
        error = errors.DatasetError(reason, code="metadata", **sides)
        outcome.fail(amos22.sample_name({"seq": seq}), error)


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
@shared_options.check_content
def main(root_dir, output_manifest_file, labeled_data_meta, check_content, overwrite):
    target = manifest.refuse_if_changed(output_manifest_file, overwrite)
    contents = archive.find_any(root_dir, amos22)
    table_paths = [labeled_data_meta]
    if labeled_data_meta is None:
        table_paths = archive.find_tables(root_dir, contents, amos22_table.PATTERN)
    metadata = amos22_table.Metadata(map(amos22_table.read, table_paths))
    for note in metadata.notes:
        cli.print_note(TABLE, note)
    for warning in metadata.warnings:
        cli.print_warning(TABLE, warning)
    for note in archive_manifest.known_fault_notes(contents, amos22, metadata.is_mended):
        cli.print_note("known faults", note)
    describe, size = archive_manifest.describe, archive_manifest.size_bytes
    outcome = cli.for_each_sample(describe, contents.files, check_content, size=size, noun="file")
    for note in archive_manifest.identity_notes(outcome):
        cli.print_note("geometry", note)
    rows = archive_manifest.make_rows(outcome, contents, amos22)
    dataset_json.check(outcome, root_dir, contents, amos22)
    report_undefined(outcome, metadata, rows, table_paths)
    lines = archive_manifest.summary(contents, outcome.results, amos22.SUBSETS)
    rows = [row | metadata.of(row["seq"]) for row in rows]
    written = archive_manifest.write(target, amos22.ARCHIVE_COLUMNS, rows)
    cli.finish(outcome, *lines, written)


if __name__ == "__main__":
    main()

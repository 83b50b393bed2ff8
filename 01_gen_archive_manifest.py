"""List all volumes and masks of the AMOS22 archive with geometry and metadata (routine 01).

Reads the headers of amos_XXXX.nii.gz in imagesTr, imagesVa, imagesTs, labelsTr, labelsVa (and
labelsTs) at any depth below --root_dir, and the metadata table; writes one workbook with the
worksheet Manifest. Correct it by hand where needed, then run routine 02.

\b
  python 01_gen_archive_manifest.py --root_dir root_dir/archive \\
      --output_manifest_file root_dir/descriptor/archive_manifest.xlsx
"""

import click

from utils import errors
from utils.facts import amos22
from utils.routines import archive
from utils.running import cli, shared_options
from utils.storage import manifest


def read_metadata(table_paths):
    """Read and join the metadata tables, and say on the console what was done to them."""
    metadata = amos22.Metadata(
        row for path in table_paths for row in amos22.read_metadata_table(path)
    )
    for note in metadata.notes:
        cli.print_warning("metadata table", note)
    return metadata


def report_undefined(outcome, metadata, rows, table_paths):
    """Add what is wrong with the metadata of these rows to the outcome."""
    for name, error in metadata.faults:
        outcome.fail(name, error)
    missing = metadata.missing(row["seq"] for row in rows)
    if not missing:
        return
    cli.print_warning(
        "metadata table",
        f"the metadata of {len(missing)} samples are unknown and stay "
        f"{amos22.UNDEFINED}; download {amos22.TABLE_SOURCE} and run this again",
    )
    if not table_paths:
        outcome.fail(
            "metadata table",
            errors.DatasetError(
                f"no {amos22.TABLE_PATTERN} below --root_dir or beside it", code="metadata"
            ),
        )
        return
    tables = ", ".join(map(str, table_paths))
    for seq in missing:
        outcome.fail(
            amos22.sample_name({"seq": seq}),
            errors.DatasetError(
                f"{tables}: no row for it; its metadata stay {amos22.UNDEFINED}",
                file=table_paths[0],
                code="metadata",
                expected="one row",
                found="none",
            ),
        )


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.output_manifest_file
@click.option(
    "--labeled_data_meta",
    type=shared_options.FILE,
    metavar="CSV",
    show_default=f"{amos22.TABLE_PATTERN} below --root_dir, else beside it",
    help="Metadata table.",
)
@shared_options.check_content
def main(root_dir, output_manifest_file, labeled_data_meta, check_content, overwrite):
    manifest.refuse_if_changed(output_manifest_file, overwrite)
    contents = archive.find_any(root_dir, amos22)
    table_paths = (
        [labeled_data_meta]
        if labeled_data_meta
        else archive.find_tables(root_dir, contents, amos22.TABLE_PATTERN)
    )
    metadata = read_metadata(table_paths)
    outcome = cli.for_each_sample(
        archive.describe, contents.files, check_content, size=archive.size_bytes
    )
    rows = archive.conclude(outcome, contents, amos22)
    outcome.warnings += archive.check_dataset_json(root_dir, contents, amos22)
    report_undefined(outcome, metadata, rows, table_paths)
    lines = archive.summary(contents, outcome.results, amos22.SUBSETS)
    told = archive.write_manifest(
        output_manifest_file,
        amos22.ARCHIVE_COLUMNS,
        [row | metadata.of(row["seq"]) for row in rows],
        overwrite,
    )
    cli.finish(outcome, *lines, told, noun="file")


if __name__ == "__main__":
    main()

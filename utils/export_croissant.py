"""Describe the finished data set in Croissant (MLCommons) by one JSON-LD file.

Reads --manifest_file, takes the SHA-256 of every volume and multi-label mask in it, and describes
the files (binary masks as a set of files), the labels, and each sample by a record with metadata,
patient, and subset in every split of the workbook. With --split_name the samples of that split
alone are described, without those that it excludes.

--output_file lies in a folder above all data and the manifest; that folder is what is published.

\b
  python utils/export_croissant.py \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx \\
      --output_file root_dir/croissant.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.exports import cases, croissant
from utils.facts import described
from utils.running import cli, shared_options
from utils.storage import json_files, workbook


@cli.routine(__doc__)
@shared_options.manifest_file
@shared_options.optional(
    "--split_name",
    shared_options.TEXT,
    "Worksheet of the one split to describe.",
    metavar="NAME",
    show_default="all splits",
)
@shared_options.required(
    "--output_file", shared_options.OUTPUT_JSON, "File to write, in the folder to publish."
)
@shared_options.dataset_name
@shared_options.with_default(
    "--dataset_version",
    shared_options.TEXT,
    "1.0.0",
    "Version of the data set, MAJOR.MINOR.PATCH.",
    metavar="VERSION",
)
@shared_options.optional(
    "--url",
    shared_options.TEXT,
    "Page of the data set.",
    metavar="URL",
    show_default="reference of --dataset",
)
@shared_options.any_dataset
@shared_options.data_root
def main(
    manifest_file,
    split_name,
    output_file,
    dataset_name,
    dataset_version,
    url,
    dataset,
    root_dir,
    overwrite,
):
    facts = described.chosen(dataset)
    about = croissant.about(facts, dataset, dataset_name, dataset_version, url)
    book, folder = workbook.Workbook(manifest_file), output_file.absolute().parent
    selection = cases.select(book, split_name, root_dir)
    found, outdated = croissant.read_splits(book, selection)
    for name in outdated:
        cli.print_warning(name, cases.OUT_OF_DATE)
    book_object = croissant.manifest_object(book, folder)
    checked = cases.check(selection, facts)
    if checked.failures:
        cli.finish(checked, f"Nothing written; {output_file} is as it was")
    usable = [case for case, is_usable in checked.results if is_usable]
    record_sets = croissant.records(usable, selection, found, facts)
    json_files.refuse_if_changed(output_file, overwrite)
    outcome = cli.for_each_sample(croissant.describe_files, usable, folder, selection.label_names)
    outcome.warnings[:0] = checked.warnings
    if outcome.failures:
        cli.finish(outcome, f"Nothing written; {output_file} is as it was")
    contents = [files for _, files in outcome.results]
    content = croissant.build(about, contents, book_object, record_sets, facts)
    json_files.write(output_file, content, overwrite)
    n_files = sum(len(one.objects) for one in contents) + 1
    listed = ", ".join(found) or "none"
    counts = f"{len(usable)} samples, {n_files} files with checksums; splits: {listed}"
    cli.finish(outcome, f"{output_file}: {counts}{selection.left_out}")


if __name__ == "__main__":
    main()

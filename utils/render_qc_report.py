"""Render a report to look at: one picture per sample, what looks wrong, plots of the set.

Reads volumes, masks and info files below --root_dir. Writes index.html, which any
browser opens from disk, without network, and beside it samples/, pictures/, plots/ and measures/,
and for programs flags.csv, flags.json and measures.csv.
Pictures show axial, coronal and sagittal slices upright, the patient's left on the right, with the
contours of all labels. Flags name what looks wrong and why, and faults that are known of single
scans; the page says how it is judged. It also shows what denoising changed, by the masks that were
kept before it; where none is kept a mask is unchanged. Samples whose files did not change since are
not drawn again. Nothing below --root_dir is changed. With --archive_manifest it shows the archive
before routine 02, with --prediction_dir what a network predicts, beside the masks.

\b
  python utils/render_qc_report.py --root_dir root_dir/grouped \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --output_dir root_dir/qc
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.facts import described
from utils.qc import case_files, judging, predictions, report, sample_report
from utils.running import cli, shared_options
from utils.storage import samples


@cli.routine(__doc__)
@shared_options.optional(
    "--root_dir",
    shared_options.DIRECTORY,
    "Folder with the data; with --archive_manifest that of the archive.",
    show_default="found, of the archive",
)
@shared_options.output_dir("Folder for the report; made where missing.")
@shared_options.optional(
    "--before_dir",
    shared_options.DIRECTORY,
    "Tree with the masks before denoising, same folders as --root_dir.",
    show_default="where denoising keeps them",
)
@shared_options.optional(
    "--manifest_file",
    shared_options.WORKBOOK,
    "Show only the samples that it lists, with its metadata, and those that were excluded.",
    show_default="none",
)
@shared_options.optional(
    "--archive_manifest",
    shared_options.WORKBOOK,
    "Workbook of routine 01: show the archive as it is, before routine 02.",
    show_default="none",
)
@shared_options.optional(
    "--prediction_dir",
    shared_options.DIRECTORY,
    "Masks that a program predicted, as nnU-Net writes them: amos_0004.nii.gz.",
    show_default="none",
)
@shared_options.threshold(
    "--region_volume_thresh", 100.0, "Regions below this volume count as small", "mm^3"
)
@shared_options.choice(
    "--fail_on",
    ("none", *judging.SEVERITIES),
    "none",
    "Exit with 1 if a sample that is not excluded has a flag of this severity or a worse one.",
)
@shared_options.review
@shared_options.any_dataset
def main(
    root_dir,
    output_dir,
    before_dir,
    manifest_file,
    archive_manifest,
    prediction_dir,
    region_volume_thresh,
    fail_on,
    review,
    dataset,
    overwrite,
):
    facts = described.chosen(dataset)
    chosen = report.choose(root_dir, before_dir, manifest_file, archive_manifest, facts)
    report.check_apart(output_dir, chosen.root_dir, chosen.before_dir, prediction_dir)
    facts.check_names(chosen.names, chosen.root_dir)
    reviewed = report.read_review(cli.review_file(review, chosen.root_dir), chosen, output_dir)
    chosen = chosen.shown(reviewed)
    settings = case_files.ReportSettings(
        chosen.root_dir,
        output_dir,
        chosen.before_dir,
        region_volume_thresh,
        overwrite,
        facts.modality,
        facts.slice_axis,
        predictions.find(prediction_dir, chosen.names),
        chosen.archive,
    )
    cli.hold(output_dir)
    report.make_folders(output_dir)
    estimates = {"size": samples.mask_bytes, "memory": sample_report.memory}
    outcome = cli.for_each_sample(sample_report.render, chosen.cases, settings, **estimates)
    entries = report.write(settings, chosen.cases, outcome, chosen.listed, facts, reviewed)
    for name, note in report.notes(settings):
        cli.print_note(name, note)
    faults = report.faults(settings, entries, fail_on, reviewed)
    summary = f"{output_dir / report.INDEX}: {report.summary(entries, reviewed)}"
    cli.finish(outcome, *report.flag_lines(entries), summary, faults=faults)


if __name__ == "__main__":
    main()

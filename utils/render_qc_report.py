"""Render a report to look at: one picture per sample, what looks wrong, plots of the set.

Reads volumes, masks and info files below --root_dir. Writes index.html, which any
browser opens from disk, without network, and beside it samples/, pictures/, plots/ and measures/,
and for programs flags.csv, flags.json and measures.csv.
Pictures show axial, coronal and sagittal slices upright, the patient's left on the right, with the
contours of all labels. Flags name what looks wrong and why, and faults that are known of single
scans; the page says how it is judged. It also shows what denoising changed, by the masks that were
kept before it; where none is kept a mask is unchanged. Samples whose files did not change since are
not drawn again. Nothing below --root_dir is changed.

\b
  python utils/render_qc_report.py --root_dir root_dir/grouped \\
      --manifest_file root_dir/grouped/dataset_manifest.xlsx --output_dir root_dir/qc
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import errors
from utils.facts import described
from utils.qc import case_files, judging, predictions, report, sample_report
from utils.running import cli, shared_options
from utils.storage import kept_masks, samples


def check_apart(output_dir, *data_dirs):
    """Refuse a report among the data: other routines would find its files."""
    around = [output_dir.resolve(), *output_dir.resolve().parents]
    for data_dir in filter(None, data_dirs):
        if data_dir.resolve() in around:
            place = f"--output_dir {output_dir} lies in the data's folder {data_dir}"
            raise errors.DatasetError(f"{place}; expected one outside")


@cli.routine(__doc__)
@shared_options.root_dir
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
    "Show only the samples that it lists, with its metadata.",
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
    prediction_dir,
    region_volume_thresh,
    fail_on,
    review,
    dataset,
    overwrite,
):
    kept = kept_masks.default_dir(root_dir)
    before_dir = before_dir or (kept if kept.is_dir() else None)
    check_apart(output_dir, root_dir, before_dir, prediction_dir)
    if sys.prefix != sys.base_prefix:
        # matplotlib keeps its list of fonts there then, and not in the home folder.
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(sys.prefix, "matplotlib"))
    facts = described.chosen(dataset)
    listed = None if manifest_file is None else report.read_manifest(manifest_file, facts)
    found = report.find_samples(root_dir, listed)
    names = [sample.stem for sample in found]
    facts.check_names(names, root_dir)
    reviewed = report.read_review(cli.review_file(review), root_dir, output_dir, names)
    predicted, notes = predictions.look(prediction_dir, names)
    for note in notes:
        cli.print_note("predictions", note)
    cli.hold(output_dir)
    report.make_folders(output_dir)
    settings = case_files.ReportSettings(
        root_dir,
        output_dir,
        before_dir,
        region_volume_thresh,
        overwrite,
        facts.modality,
        facts.slice_axis,
        predicted,
    )
    estimates = {"size": samples.mask_bytes, "memory": sample_report.memory}
    outcome = cli.for_each_sample(sample_report.render, found, settings, **estimates)
    entries = report.write(settings, found, outcome, listed, facts, reviewed)
    faults = [] if fail_on == "none" else report.failing(entries, fail_on, reviewed)
    summary = f"{output_dir / report.INDEX}: {report.summary(entries, reviewed)}"
    cli.finish(outcome, *report.flag_lines(entries), summary, faults=faults)


if __name__ == "__main__":
    main()

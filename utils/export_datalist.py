"""Write a split as a data list for MONAI (Decathlon form).

Reads the worksheet of the split in --manifest_file; writes one JSON file with the lists training,
validation and testing; with --unlabelled the one list unlabelled, of the scans without labels, for
self-supervised training. No image is opened or copied: paths are relative to the JSON file's
folder. A sample's metadata stand in an object of their own.

\b
  python utils/export_datalist.py \\
      --manifest_file root_dir/grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx \\
      --split_name split01_standard --output_file root_dir/datalists/amos_ct.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import errors
from utils.exports import cases, datalist
from utils.facts import described
from utils.running import cli, shared_options
from utils.storage import json_files


@cli.routine(__doc__, images=False)
@shared_options.export
@shared_options.required(
    "--output_file", shared_options.OUTPUT_JSON, "File to write; its folder is made."
)
@shared_options.optional(
    "--folds",
    shared_options.COUNT,
    "Number the training samples for N-fold cross-validation, patients whole; 0: no folds, "
    "Auto3DSeg then validates on the list validation.",
    metavar="N",
    show_default=f"those of the split, else {datalist.N_FOLDS}",
)
@shared_options.flag("--unlabelled", "List the unlabelled scans, and nothing else.")
@shared_options.any_dataset
@shared_options.flag("--overwrite", "Replace a file that was changed by hand or is not ours.")
def main(manifest_file, split_name, output_file, root_dir, folds, unlabelled, dataset, overwrite):
    facts = described.chosen(dataset)
    if unlabelled and folds is not None:
        reason = f"--folds {folds}: unlabelled scans have no folds; leave --folds out"
        raise errors.DatasetError(reason, code="folds", found=folds)
    selection = cases.read(manifest_file, split_name, root_dir)
    if selection.is_out_of_date:
        cli.print_warning(split_name, cases.OUT_OF_DATE)
    chosen = selection.unlabelled if unlabelled else selection.used
    outcome = cases.check(selection, facts, chosen)
    if outcome.failures:
        cli.finish(outcome, f"Nothing written; {output_file} is as it was")
    usable = [case for case, is_usable in outcome.results if is_usable]
    if unlabelled:
        content = datalist.build_unlabelled(usable, output_file, facts)
        counts = f"unlabelled {len(usable)}"
    else:
        content = datalist.build(usable, selection.label_names, output_file, folds, facts)
        counts = ", ".join(f"{name} {len(content[name])}" for name in datalist.LISTS.values())
        counts += selection.left_out
    json_files.write(output_file, content, overwrite)
    cli.finish(outcome, f"{output_file}: {counts}")


if __name__ == "__main__":
    main()

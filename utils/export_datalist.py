"""Write a split as a data list for MONAI (Decathlon form).

Reads the worksheet of the split in --manifest_file; writes one JSON file with the lists training,
validation and testing. No image is opened or copied: paths are relative to the JSON file's folder.
A sample's metadata stand in an object of their own.

\b
  python utils/export_datalist.py \\
      --manifest_file root_dir/grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx \\
      --split_name split01_standard --output_file root_dir/datalists/amos_ct.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
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
@shared_options.any_dataset
@shared_options.flag("--overwrite", "Replace a file that was changed by hand or is not ours.")
def main(manifest_file, split_name, output_file, root_dir, folds, dataset, overwrite):
    facts = described.chosen(dataset)
    selection = cases.read(manifest_file, split_name, root_dir)
    if selection.is_out_of_date:
        cli.print_warning(split_name, cases.OUT_OF_DATE)
    outcome = cases.check(selection, facts)
    if outcome.failures:
        cli.finish(outcome, f"Nothing written; {output_file} is as it was")
    usable = [case for case, is_usable in outcome.results if is_usable]
    content = datalist.build(usable, selection.label_names, output_file, folds, facts)
    json_files.write(output_file, content, overwrite)
    counts = ", ".join(f"{name} {len(content[name])}" for name in datalist.LISTS.values())
    cli.finish(outcome, f"{output_file}: {counts}{selection.left_out}")


if __name__ == "__main__":
    main()

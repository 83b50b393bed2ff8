"""Write a split as a raw data set of nnU-Net v2.

Reads the worksheet of the split in --manifest_file; writes DatasetXXX_NAME below --output_dir, with
dataset.json and splits_final.json: the folds of the split, or train and val as fold 0 and, with
--folds N, N folds of whole patients after it. Training images and labels are

\b
  --mode reference  named in dataset.json where they lie, nothing copied (of test: links)
  --mode link       links in imagesTr, labelsTr, imagesTs and, where test has masks, labelsTs
  --mode copy       copies there, compared with their source

--ignore_labels writes label files of its own, in which these labels are nnU-Net's ignore label
and the others are numbered from 0 again; so are labels whose numbers have gaps. Ends with the
commands of nnU-Net to type next.

\b
  python utils/export_nnunet.py \\
      --manifest_file root_dir/grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx \\
      --split_name split01_standard --output_dir root_dir/nnUNet_raw \\
      --dataset_id 218 --dataset_name AMOS22_CT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import errors
from utils.exports import cases, nnunet_raw, nnunet_summary
from utils.facts import described
from utils.running import cli, shared_options

NO_FOLDS = (
    f"no sample of val has a mask: no {nnunet_raw.SPLITS_JSON} written; nnU-Net's own five folds "
    "would be random and mix patients: use --folds 5"
)


def whole_numbers(context, option, groups):
    """Make labels of the words of --ignore_labels."""
    words = [word for group in groups for word in group]
    if not all(word.isdecimal() for word in words):
        shared_options.refuse(f"{' '.join(words)} found, expected labels such as 14 15 16")
    return frozenset(map(int, words))


def several(context, option, number):
    """Refuse a single fold, which would leave nothing to train on."""
    return shared_options.refuse("1 found, expected 0 or at least 2") if number == 1 else number


@cli.routine(__doc__)
@shared_options.export
@shared_options.output_dir("nnU-Net's folder nnUNet_raw; made if it is missing.")
@shared_options.required(
    "--dataset_id", shared_options.whole(1, 999), "Number of the data set, 1 to 999.", metavar="XXX"
)
@shared_options.dataset_name
@shared_options.choice("--mode", nnunet_raw.MODES, "reference", "How images and labels get there.")
@shared_options.with_default(
    "--folds",
    shared_options.COUNT,
    0,
    "Of a split without folds: add so many for cross-validation over train and val, whole patients "
    "in each.",
    metavar="N",
    callback=several,
)
@shared_options.group(
    "--ignore_labels",
    "LABEL",
    "Labels that training shall ignore.",
    required=False,
    show_default="none",
    callback=whole_numbers,
)
@shared_options.any_dataset
def main(
    manifest_file,
    split_name,
    output_dir,
    dataset_id,
    dataset_name,
    mode,
    folds,
    ignore_labels,
    dataset,
    root_dir,
    overwrite,
):
    facts = described.chosen(dataset)
    selection = cases.read(manifest_file, split_name, root_dir)
    if folds and cases.has_folds(selection.cases):
        reason = f"--folds {folds}: the split {split_name} has folds of its own; leave --folds out"
        raise errors.DatasetError(reason, code="folds", found=folds)
    if selection.is_out_of_date:
        cli.print_warning(split_name, cases.OUT_OF_DATE)
    name = facts.NAME if dataset_name is None else dataset_name
    folder = nnunet_raw.folder(output_dir, dataset_id, name)
    settings = nnunet_raw.Settings(folder, mode, selection.label_names, ignore_labels)
    checked = cases.check(selection, facts)
    if checked.failures:
        cli.finish(checked, f"Nothing written; {settings.directory} is as it was")
    usable = [case for case, is_usable in checked.results if is_usable]
    new = nnunet_raw.describe(usable, settings, facts, folds)
    cli.hold(settings.directory)
    nnunet_raw.prepare(settings, new, overwrite)
    memory = nnunet_raw.memory if settings.is_renumbered else None
    outcome = cli.for_each_sample(nnunet_raw.write_case, usable, settings, overwrite, memory=memory)
    outcome.warnings[:0] = checked.warnings
    if outcome.failures:
        cli.finish(outcome, f"No {nnunet_raw.DATASET_JSON} written: not all samples are there")
    if nnunet_raw.SPLITS_JSON not in new.texts:
        cli.print_warning(split_name, NO_FOLDS)
    removed = nnunet_raw.finish(settings, new)
    lines = nnunet_summary.contents(selection, usable, settings, new, removed)
    cli.finish(outcome, *lines, after=nnunet_summary.next_steps(usable, settings, new))


if __name__ == "__main__":
    main()

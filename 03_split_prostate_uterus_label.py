"""Give the uterus a label of its own: 15 becomes 16 in the masks of women (routine 03).

The archive labels prostate and uterus alike with 15. Reads amos_XXXX_info.yaml (sex) and
amos_XXXX_mask.nii.gz of every sample below --root_dir and rewrites the mask in place where label 15
belongs to a woman. A second run changes nothing. Label 15 with any other sex than M or F: the
sample fails, untouched. Binary masks that exist already are stale then: run routine 04 again.

\b
  python 03_split_prostate_uterus_label.py --root_dir root_dir/grouped
"""

from utils.arrays import labels
from utils.running import calls, cli, shared_options
from utils.storage import files, holding, marks, nifti, nifti_writing, samples


def split_label(sample):
    """Relabel one sample's mask where its sex asks for it."""
    info = samples.read_info(sample.info_path)
    if "sex" not in info:
        raise samples.no_key(sample.info_path, "sex")
    if info["sex"] == "M":
        return calls.Finished()  # a man's label 15 stays; no voxel need be read
    with holding.folder(sample.directory):
        mask = nifti.read_mask(sample.mask_path)
        old_crc = nifti_writing.voxel_crc(mask.data)
        if not labels.uterus_of_prostate(mask.data, info["sex"], where=sample.mask_path):
            return calls.Finished()
        new_crc = nifti_writing.voxel_crc(mask.data)
        kept = marks.text(marks.renewed(marks.read(mask.header.descrip), old_crc, new_crc))
        nifti_writing.write_mask(sample.mask_path, mask.data, mask.header.affine, kept)
    return None


@cli.routine(__doc__)
@shared_options.root_dir
def main(root_dir):
    files.sweep(root_dir)
    annotated = samples.find_annotated(root_dir)
    outcome = cli.for_each_mask(split_label, annotated)
    cli.finish(
        outcome,
        f"Label 15 became 16 in {outcome.done} masks of women; "
        f"{outcome.skipped} had nothing to change",
    )


if __name__ == "__main__":
    main()

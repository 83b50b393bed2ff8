"""Remove small islands and fill small holes of the masks, slice by slice.

In every slice and for every label, foreground regions smaller than the threshold take what an
opening leaves of them, background regions smaller than the threshold what a closing makes of them;
voxels that no label or several labels claim then go to the label with most voxels in a square
window. Slices lie along the third array axis; those of --dataset along the axis that its page
names, else the one nearest to head-foot. Multi-label mask and binary masks are rewritten together.
A denoised mask carries a mark and is skipped by the next run; one that was edited since counts as
not denoised. Existing binary masks must be those of the mask: otherwise extract them again first.
In place, the multi-label masks that are about to change are kept in before_denoising beside grouped
(else beside --root_dir), at the same relative paths; the report shows what has changed by them.

\b
  python utils/morphological_open_close_on_slice_small_region.py \\
      --root_dir root_dir/grouped --output_dir root_dir/grouped \\
      --kernel_size 5 5 --filter_halfedge 3 --region_area_thresh 10.0
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import errors
from utils.facts import described
from utils.routines import denoised_masks
from utils.running import cli, shared_options
from utils.storage import kept_masks, samples


def odd(context, option, sizes):
    """Refuse kernels without a middle pixel."""
    if any(size % 2 == 0 for size in sizes):
        shared_options.refuse(
            f"{sizes[0]} {sizes[1]} found, expected odd numbers: an even kernel has no middle pixel"
        )
    return sizes


def check_apart(root_dir, output_dir):
    """Refuse an output inside the input: its samples would be found, too, the next time."""
    if root_dir.resolve() in output_dir.resolve().parents:
        raise errors.DatasetError(
            f"--output_dir {output_dir} lies inside --root_dir {root_dir}; "
            "expected the same folder or one outside"
        )


def check_before_dir(before_dir, *data_dirs):
    """Refuse to keep masks among the data, for the same reason."""
    around = (before_dir.resolve(), *before_dir.resolve().parents)
    for data_dir in data_dirs:
        if data_dir.resolve() in around:
            place = f"--before_dir {before_dir} lies in the data's folder {data_dir}"
            raise errors.DatasetError(f"{place}; expected one outside")


@cli.routine(__doc__)
@shared_options.root_dir
@shared_options.output_dir("The same as --root_dir: in place; else only masks are written, there.")
@shared_options.with_default(
    "--kernel_size",
    shared_options.whole(1),
    (5, 5),
    "Size of the all-ones kernel along both axes of a slice, pixels; odd numbers.",
    nargs=2,
    callback=odd,
    metavar="KX KY",
)
@shared_options.with_default(
    "--filter_halfedge",
    shared_options.COUNT,
    3,
    "The window has (2F+1) x (2F+1) pixels.",
    metavar="F",
)
@shared_options.threshold("--region_area_thresh", 10.0, "Regions below this area are small", "mm^2")
@shared_options.optional(
    "--before_dir",
    shared_options.OUTPUT_DIR,
    "In place: keep the multi-label masks that are about to change there, for the report.",
    show_default=f"{samples.BEFORE_DENOISING} beside the data",
)
@shared_options.flag("--no-before", "In place: keep no masks.")
@shared_options.any_dataset
def main(
    root_dir,
    output_dir,
    kernel_size,
    filter_halfedge,
    region_area_thresh,
    before_dir,
    no_before,
    dataset,
    overwrite,
):
    check_apart(root_dir, output_dir)
    if no_before and before_dir:
        raise errors.DatasetError("--before_dir and --no-before exclude each other; give one")
    is_used = before_dir is not None or root_dir.resolve() == output_dir.resolve()
    before_dir = before_dir or kept_masks.default_dir(root_dir)
    if is_used:
        check_before_dir(before_dir, root_dir, output_dir, kept_masks.data_tree(root_dir))
    facts = described.chosen(dataset)
    parameters = denoised_masks.Parameters(kernel_size, filter_halfedge, region_area_thresh)
    cli.sweep(root_dir, output_dir, before_dir)
    annotated = samples.find_annotated(root_dir)
    facts.check_names([sample.stem for sample in annotated], root_dir)
    before = denoised_masks.Before(before_dir, not no_before)
    given = root_dir, output_dir, parameters, overwrite, facts.slice_axis, before
    outcome = cli.for_each_mask(denoised_masks.write, annotated, *given)
    n_voxels = sum(n for _, n in outcome.results)
    cli.finish(outcome, f"{n_voxels:,} voxels got another label")


if __name__ == "__main__":
    main()

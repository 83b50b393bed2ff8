"""The pictures of one sample: which slices, in which order, how much of them, under which title."""

import dataclasses
from collections.abc import Mapping

from utils.arrays import geometry
from utils.qc import case_files, drawing, mask_layers, slices, volume_stream

MONTAGE, THUMBNAIL, CHANGES = ".jpg", "_small.jpg", "_changes.jpg"
_AXIAL_PER_ROW = 3


def wanted(views: Mapping[str, slices.View], masks: mask_layers.Kept, across: int) -> dict:
    """Slices of the volume to read: array axis to indices."""
    found = {view.axis: masks.chosen[plane] for plane, view in views.items()}
    return found | {across: sorted({*found[across], *masks.changed})}


def draw(
    stem: str,
    inputs: case_files.Inputs,
    record: dict,
    masks: mask_layers.Kept,
    reading: volume_stream.Reading,
    window: tuple[float, float],
) -> dict[str, bytes]:
    """Draw a sample: endings of the pictures' names to JPEG files."""
    header, across = inputs.volume, inputs.slice_axis
    views = slices.views(header.affine)
    if masks.occupied:
        for plane, view in views.items():
            changed = masks.changed if view.axis == across else {}
            views[plane] = _cropped(view, header, masks.occupied, changed)
    panels = {plane: _panels(view, header, masks, reading) for plane, view in views.items()}
    names = {organ["value"]: name for name, organ in (record["organs"] or {}).items()}
    rows = _rows(panels, masks.chosen, header)
    first = panels["axial"][masks.chosen["axial"][0]]
    pictures = {
        MONTAGE: drawing.montage(_title(stem, record["volume"]), rows, window, names),
        THUMBNAIL: drawing.thumbnail(first, window),
    }
    if masks.changed:
        (view,) = (view for view in views.values() if view.axis == across)
        upright = [
            (panels[view.plane][index], view.upright(old))
            for index, (old, _) in masks.changed.items()
        ]
        title = _changes_title(stem, record["changes"], len(upright))
        pictures[CHANGES] = drawing.comparison(title, upright, window)
    return pictures


def _title(stem, volume):
    shape = " x ".join(map(str, volume["shape"]))
    spacing = " x ".join(f"{step:.3g}" for step in volume["spacing"])
    size = f"{shape} voxels of {spacing} mm"
    return (
        f"{drawing.caption(stem)}    {volume['modality']}    {size}    {volume['orientation_to']}"
    )


def _changes_title(stem, changed, n_shown):
    found = f"{changed['n_voxels']:,} voxels in {changed['n_slices']} slices changed"
    return f"{drawing.caption(stem)}    {found}; the {n_shown} slices with most changes"


def _spacing(view, header):
    return header.spacing[view.rows], header.spacing[view.columns]


def _cropped(view, header, occupied, changed):
    """The view of the part of all pictures that holds all labels, with a margin.

    Also what changed in slices in which all changes would lie outside of it.
    """
    spacing = _spacing(view, header)
    axes = view.rows, view.columns
    filled = [occupied[axis][:: -1 if against else 1] for axis, against in zip(axes, view.flipped)]
    box = drawing.crop_box(filled, spacing)
    for old, new in changed.values():
        differs = view.upright(old != new)
        if not differs[box].any():
            filled = [filled[0] | differs.any(axis=1), filled[1] | differs.any(axis=0)]
    return dataclasses.replace(view, box=drawing.crop_box(filled, spacing))


def _panels(view, header, masks, reading):
    """{index: panel} of the slices that were read across one axis."""
    panels = {}
    for (axis, index), plane in reading.planes.items():
        if axis == view.axis:
            labels = masks.labels(axis, index, plane.shape)
            title = f"{view.plane} {index + 1}/{header.shape[axis]}"
            shown = view.upright(plane), view.upright(labels)
            panels[index] = drawing.Panel(view, title, *shown, _spacing(view, header))
    return panels


def _rows(panels, chosen, header):
    """Rows of panels: axial ones from head to foot, then coronal and sagittal ones."""
    codes = geometry.axis_codes(header.affine)
    ordered = {}
    for plane, indices in chosen.items():
        of_plane = [panels[plane][index] for index in sorted(indices)]
        is_rising = codes[of_plane[0].view.axis] in "RAS"
        ordered[plane] = of_plane[::-1] if is_rising else of_plane
    axial = ordered["axial"]
    return [
        *(axial[k : k + _AXIAL_PER_ROW] for k in range(0, len(axial), _AXIAL_PER_ROW)),
        ordered["coronal"] + ordered["sagittal"],
    ]

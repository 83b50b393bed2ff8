"""The data of a sample that the report's page lets people look at, slice by slice, as a script."""

import base64
import io
import json
from collections.abc import Mapping

import numpy as np

from utils import errors
from utils.qc import anatomy, binning, contours, pages, slices
from utils.storage import deflate, label_map

_PER_ROW, _PER_SHEET = 8, 64
_LEVELS = 256
# Hounsfield units at the ends of the pieces of the table of grey levels: 4 a level in soft tissue,
# 16 in lungs and bones.
_CT_LEVELS, _CT_VALUES = (0, 53, 178, 255), (-1024.0, -200.0, 300.0, 1500.0)
_CT_WINDOWS = {"soft tissue": anatomy.CT_WINDOW, "lung": (-1350.0, 150.0), "bone": (-450.0, 1050.0)}
# Of MRI the table reaches so far beyond the bright end of the usual window, in its widths.
_MRI_HEADROOM = 1.0
# Sheets take some so many bytes a slice, or of a scan of few slices as many as this number would;
# noise costs most. The first of the qualities that keeps to it is taken, or the last.
_BYTES_PER_SLICE, _FEW_SLICES = 5_200, 100
_QUALITIES = range(90, 29, -5)
# Values are told apart this finely before they get their levels.
_FINE = 1 << 12


def geometry(
    grid: binning.Grid, spacing: np.ndarray, views: Mapping[str, slices.View]
) -> dict[str, object]:
    """Describe a sample's grid, its spacing in mm, the viewer's grid, and how slices are shown."""
    shown = {
        plane: {
            "axis": view.axis,
            "rows": view.rows,
            "columns": view.columns,
            "flipped": list(view.flipped),
            "letters": view.letters,
        }
        for plane, view in views.items()
    }
    return {
        "shape": list(grid.shape),
        "spacing": spacing.tolist(),
        "bins": list(grid.bins),
        "size": list(grid.size),
        "views": shown,
        "across": grid.across,
    }


def greys(
    binned: np.ndarray, across: int, modality: str, window: tuple[float, float]
) -> dict[str, object]:
    """Make a volume's grey sheets, and say what its levels and windows are.

    Parameters
    ----------
    binned : (X, Y, Z) float32
        On the viewer's grid.
    across : int
        Array axis across the slices.
    modality : str
        ``CT`` or ``MRI``.
    window : (float, float)
        Values that an MRI picture shows black and white.
    """
    values, windows = _levels_and_windows(modality, window)
    sheets = _encoded([*_sheets(binned, across, values)], binned.shape[across])
    return {
        "sheets": [f"data:image/jpeg;base64,{_text(sheet)}" for sheet in sheets],
        "values": values.tolist(),
        "windows": [{"name": name, "low": low, "high": high} for name, (low, high) in windows],
    }


def layer(key: str, title: str, labels: np.ndarray) -> dict[str, str]:
    """Make a layer of labels, (X, Y, Z) uint8 on the viewer's grid."""
    deflated = deflate.codec.compress(labels.tobytes(order="F"), 1)
    return {"key": key, "title": title, "deflated": _text(deflated)}


def legend(label_names: Mapping[int, str]) -> list[dict[str, object]]:
    """Describe the labels: value, name, the name as it is shown, colour and line."""
    found = []
    for value, name in sorted(label_names.items()):
        shown = errors.printable(label_map.shown(name))
        found.append(label(value, name) | {"shown": shown})
    return found


def label(value: int, name: str) -> dict[str, object]:
    """Describe a label, see `legend`; the page makes the name printable where it shows it."""
    colour, is_dashed = contours.line(value)
    shown = label_map.shown(name)
    return {"value": value, "name": name, "shown": shown, "colour": colour, "dashed": is_dashed}


def script(name: str, data: Mapping[str, object]) -> bytes:
    """Make the script that hands a sample's data to the page; no text in it becomes markup."""
    given = pages.without_markup(f"{json.dumps(name)}, {json.dumps(data)}")  # ASCII
    return f"QC.receive({given});\n".encode("ascii")


def _levels_and_windows(modality, window):
    """Values of the 256 grey levels, rising, and (name, (darkest, brightest)) of the windows."""
    if modality == "CT":
        return np.interp(range(_LEVELS), _CT_LEVELS, _CT_VALUES).round(3), _CT_WINDOWS.items()
    low, high = window
    width = high - low
    values = np.linspace(low, high + _MRI_HEADROOM * width, _LEVELS)
    bright, wide = (low, low + width / 2), (low, float(values[-1]))
    return values, {"normal": (low, high), "bright": bright, "wide": wide}.items()


def _sheets(binned, across, values):
    """Grey levels of slices, 8 to a row, 64 to a sheet."""
    fine = np.linspace(values[0], values[-1], _FINE)
    level_of = np.searchsorted((values[1:] + values[:-1]) / 2, fine).astype(np.uint8)
    slices_of = np.moveaxis(binned, across, 0)
    n_slices, width, height = slices_of.shape
    for start in range(0, n_slices, _PER_SHEET):
        part = slices_of[start : start + _PER_SHEET]
        sheet = np.zeros((-(-len(part) // _PER_ROW) * height, _PER_ROW * width), np.uint8)
        for k, plane in enumerate(part):
            top, left = k // _PER_ROW * height, k % _PER_ROW * width
            tile = sheet[top : top + height, left : left + width]
            tile[:] = level_of[_fine(plane.T, values[0], values[-1])]
        yield sheet


def _fine(plane, low, high):
    scale = np.float32((_FINE - 1) / (high - low))
    with np.errstate(over="ignore"):
        place = (plane - np.float32(low)) * scale + np.float32(0.5)
    return np.clip(place, 0, _FINE - 1, out=place).astype(np.uint16)


def _encoded(sheets, n_slices):
    """JPEG files of the sheets, of the best quality for which they are small enough."""
    # Every eighth slice tells of all.
    some = np.vstack([sheet[:, : sheet.shape[1] // _PER_ROW] for sheet in sheets])
    share = some.size / sum(sheet.size for sheet in sheets)
    most = share * _BYTES_PER_SLICE * max(n_slices, _FEW_SLICES)
    for quality in _QUALITIES:
        if len(_jpeg(some, quality)) <= most:
            break
    return [_jpeg(sheet, quality) for sheet in sheets]


def _jpeg(sheet, quality):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _text(content):
    return base64.b64encode(content).decode("ascii")

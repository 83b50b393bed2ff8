"""Marks in the header text (descrip) of volume and multi-label mask, which resuming needs.

``src=89abcdef`` names the archive's file; ``openclose=5x5,3,10.0; in=...; crc=...`` says that a
mask was denoised: with which parameters, from which voxels, to which voxels.
"""

from utils import errors

SOURCE = "src"
DENOISED = "openclose"
INPUT_CRC = "in"
OUTPUT_CRC = "crc"
_KEYS = (SOURCE, DENOISED, INPUT_CRC, OUTPUT_CRC)
_DESCRIP_CHARACTERS = 80


def read(descrip: str) -> dict[str, str]:
    """Read the marks of a header text.

    None in a text of somebody else's (``TE=2.9;Time=101010`` from a converter is one).
    """
    parts = (part.strip().partition("=") for part in descrip.split(";"))
    return {key: value for key, _, value in parts if key in _KEYS and value.isascii()}


def text(marks: dict[str, str]) -> str:
    """Write marks as `read` reads them; DatasetError where they do not fit into a NIfTI header."""
    joined = "; ".join(f"{key}={value}" for key, value in marks.items())
    if len(joined) > _DESCRIP_CHARACTERS:
        room = f"the {_DESCRIP_CHARACTERS} characters that a NIfTI header has for it"
        raise errors.DatasetError(f"{joined!r} does not fit into {room}")
    return joined


def source_only(marks: dict[str, str]) -> dict[str, str]:
    """Keep the mark of the source alone."""
    return {key: marks[key] for key in (SOURCE,) if key in marks}


def denoised(
    marks: dict[str, str], parameters: str, input_crc: str, output_crc: str
) -> dict[str, str]:
    """Add the mark of a denoised mask to those that it has.

    `parameters` is one word without ``;``, both CRCs are `nifti_writing.voxel_crc`, before and
    after.
    """
    added = {DENOISED: parameters, INPUT_CRC: input_crc, OUTPUT_CRC: output_crc}
    return {**source_only(marks), **added}


def is_denoised(marks: dict[str, str], crc: str) -> bool:
    """Tell whether a mask's voxels, by their CRC, are still those that denoising left."""
    return DENOISED in marks and marks.get(OUTPUT_CRC) == crc


def renewed(marks: dict[str, str], old_crc: str, new_crc: str) -> dict[str, str]:
    """Let the mark follow a routine's change of the voxels; a mark that did not fit stays unfit."""
    return {**marks, OUTPUT_CRC: new_crc} if is_denoised(marks, old_crc) else marks

"""Where denoising in place keeps the masks that it changes, and what is known by them."""

import os
from pathlib import Path

from utils.storage import files, marks, nifti, samples


def data_tree(root_dir: files.PathLike) -> Path:
    """Return the nearest folder ``grouped`` that a folder is or lies in, else the folder itself."""
    return samples.grouped_tree(root_dir) or Path(os.path.abspath(root_dir))


def default_dir(root_dir: files.PathLike) -> Path:
    """Return where the masks of the samples below a folder are kept, at the same relative paths.

    Beside the data's tree, so that a part of it has a part of what is kept of the whole:
    ``ROOT/before_denoising/AMOS-CT`` for ``ROOT/grouped/AMOS-CT``.
    """
    tree = data_tree(root_dir)
    place = Path(os.path.abspath(root_dir)).relative_to(tree)
    return tree.parent / samples.BEFORE_DENOISING / place


def is_there(path: files.PathLike) -> bool:
    """Tell whether there is such a file; DamagedFileError where that cannot be told."""
    with files.explained(path, "read"):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def before(mask: nifti.Header, path: files.PathLike) -> nifti.Header | None:
    """Return the header of a mask as it was before denoising, kept at this path.

    Where none is kept there the mask is unchanged: its own header. None where nothing is known of
    it: the kept one is of another source, or the mask's mark says that it was changed. DatasetError
    where the file cannot be read.
    """
    now = marks.read(mask.descrip)
    if not is_there(path):
        return mask if now.get(marks.INPUT_CRC) == now.get(marks.OUTPUT_CRC) else None
    kept = nifti.read_header(path)
    sources = {now.get(marks.SOURCE), marks.read(kept.descrip).get(marks.SOURCE)}
    return None if len(sources - {None}) > 1 else kept

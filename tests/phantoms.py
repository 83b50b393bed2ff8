"""Small archives for tests, made by the sample generator."""

import os

from utils.sample_data import amos22_archive

# No two lengths are equal, so mixed-up axes fail; the field of view still holds an abdomen.
SHAPE = (7, 8, 9)
SPACING_MM = (42.0, 31.0, 40.0)


def build_archive(root_dir, shape=SHAPE, n_ct=4, n_mri=4, seed=0, spacing=SPACING_MM):
    """Write an archive of tiny scans and return its samples.

    Parameters
    ----------
    root_dir : path-like
        Gets ``archive/`` and ``truth/``.
    shape, n_ct, n_mri, seed, spacing
        See `utils.sample_data.amos22_archive.Settings`. The default holds train, val and test of
        both modalities, both sexes, an oblique scan (0507), and two without mask (0201, 0539).

    Returns
    -------
    dict of str to Sample
        By seq.
    """
    settings = amos22_archive.Settings(shape, n_ct, n_mri, seed, spacing)
    samples = amos22_archive.prepare(root_dir, settings)
    for sample in samples:
        amos22_archive.write_sample(sample, root_dir, settings)
    return {sample.seq: sample for sample in samples}


def put_odd(path, kind):
    """Put something else than a file of ours in its place: a folder, pipe, file or dead link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to("nothing")


def touch(path, content=b"x"):
    """Write a file with its folder, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path

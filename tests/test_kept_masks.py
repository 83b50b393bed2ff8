"""Where masks are kept before denoising, and what the report takes for the mask before."""

import os
from pathlib import Path

import numpy as np
import pytest

from utils import errors
from utils.storage import kept_masks, nifti, nifti_writing

SAME = "openclose=3x3,2,4.0; in=89abcdef; crc=89abcdef"
CHANGED = "openclose=3x3,2,4.0; in=89abcdef; crc=01234567"


def put(path, descrip=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti_writing.write_mask(path, np.zeros((3, 4, 5), np.uint8), np.eye(4), descrip)
    return path


@pytest.mark.parametrize(
    ("root", "kept"),
    [
        ("ROOT/grouped", "ROOT/before_denoising"),
        ("ROOT/grouped/AMOS-CT", "ROOT/before_denoising/AMOS-CT"),
        ("ROOT/grouped/AMOS-CT/train/", "ROOT/before_denoising/AMOS-CT/train"),
        ("grouped/ROOT/grouped/AMOS-CT", "grouped/ROOT/before_denoising/AMOS-CT"),
        ("ROOT/descriptor/../grouped", "ROOT/before_denoising"),
        ("ROOT/denoised", "ROOT/before_denoising"),
        (".", "../before_denoising"),
    ],
)
def test_a_part_of_the_tree_has_a_part_of_what_is_kept(root, kept, tmp_path, monkeypatch):
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for place in (Path(root), folder / root):
        assert kept_masks.default_dir(place) == Path(os.path.abspath(kept))


@pytest.mark.parametrize(
    ("now", "kept", "found"),
    [
        ("src=1; " + CHANGED, "src=1", "kept"),
        ("src=1; " + CHANGED, "src=2", None),
        ("src=1; " + CHANGED, "", "kept"),  # another tool dropped the header's text
        ("", "src=2", "kept"),
        ("src=1; " + SAME, None, "mask"),
        ("src=1", None, "mask"),
        ("", None, "mask"),
        ("src=1; " + CHANGED, None, None),  # changed by a run that kept nothing
    ],
)
def test_the_mask_before_by_what_is_kept_and_by_the_mark(now, kept, found, tmp_path):
    mask = nifti.read_header(put(tmp_path / "grouped/mask.nii.gz", now))
    path = tmp_path / "before/mask.nii.gz"
    if kept is not None:
        put(path, kept)
    before = kept_masks.before(mask, path)
    assert (before and before.path) == {"kept": path, "mask": mask.path, None: None}[found]


def test_what_cannot_be_looked_at_is_not_taken_for_absent(tmp_path):
    mask = nifti.read_header(put(tmp_path / "mask.nii.gz"))
    (tmp_path / "link.nii.gz").symlink_to("nowhere")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "mask.nii.gz").read_bytes()[:-9])
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path / "link.nii.gz", tmp_path / "cut.nii.gz", loop / "mask.nii.gz"):
        with pytest.raises(errors.DamagedFileError) as caught:
            kept_masks.before(mask, path)
        assert str(caught.value.file) == str(path)
    assert kept_masks.before(mask, tmp_path / "mask.nii.gz/mask.nii.gz") is mask

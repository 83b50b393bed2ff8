"""The made-up NME archive."""

import subprocess
import sys

import nibabel as nib
import nme_trees
import numpy as np
import pytest
import trees
from scipy import ndimage as ndi

from utils import errors
from utils.facts import nme
from utils.routines import archive
from utils.running import calls
from utils.sample_data import breasts, nme_archive

SHAPE = (80, 52, 10)
SAMPLES = {sample.seq: sample for sample in nme_archive.plan()}


def test_plan_covers_collections_subsets_and_headers():
    samples = nme_archive.plan()
    assert len({str(sample) for sample in samples}) == len(samples) == 18
    assert {sample.collection for sample in samples} == {*nme.SITES}
    assert {sample.subset for sample in samples} == {"Tr", "Vd", "Ts"}
    assert {sample.volume_forms for sample in samples} == {"both", "sform", "qform"}
    assert any(sample.tilt_degrees for sample in samples)
    assert any(not sample.has_lesion for sample in samples)
    pids = [sample.pid for sample in samples]
    assert len(pids) - len({*pids}) == 3  # patients with two scans


def test_longer_plans_begin_like_shorter_ones():
    plan = nme_archive.plan(nme_archive.MAX_N, seed=3)
    assert len({str(sample) for sample in plan}) == nme_archive.MAX_N
    assert plan[:30] == nme_archive.plan(30, seed=3)
    assert plan[:18] == nme_archive.plan(18, seed=4)
    assert plan[:30] != nme_archive.plan(30, seed=4)
    assert all(nme.classify(sample.path("images").as_posix()) for sample in plan)


@pytest.mark.parametrize("seq", ["01A001", "01A002", "01A005", "02E003"])
def test_lesion_lies_in_a_breast_and_enhances(seq):
    made = breasts.scan(SAMPLES[seq], SHAPE)
    mask = np.stack(list(breasts.mask_slices(made)), axis=2)
    volume = np.stack(list(breasts.volume_slices(made)), axis=2)
    assert ndi.label(mask, np.ones((3, 3, 3)))[1] == 1
    centre = made.affine @ [*ndi.center_of_mass(mask), 1]
    assert 30 < abs(centre[0]) < 130 and centre[1] > 0
    volume_ml = mask.sum() * abs(np.linalg.det(made.affine[:3, :3])) / 1000
    assert 5 < volume_ml < 60
    gland = volume[made.tissues == breasts._GLAND]
    assert volume[mask > 0].mean() > 1.5 * gland.mean()


def test_a_sample_without_lesion_has_an_empty_mask():
    made = breasts.scan(SAMPLES["01B002"], SHAPE)
    for slices in (breasts.mask_slices, breasts.noisy_slices):
        assert not any(labels.any() for labels in slices(made))


def test_annotators_leave_islands_and_holes():
    made = breasts.scan(SAMPLES["01A001"], nme_archive.DEFAULT_SHAPE)
    true = np.stack(list(breasts.mask_slices(made)), axis=2)
    noisy = np.stack(list(breasts.noisy_slices(made)), axis=2)
    assert ndi.label(noisy)[1] > 1
    assert 0 < (true != noisy).sum() < 0.2 * true.sum()


@pytest.fixture(scope="module", name="root")
def built_root(tmp_path_factory):
    return nme_trees.copy("built", tmp_path_factory.mktemp("nme") / "root")


def test_every_file_belongs_to_the_data_set(root):
    contents = archive.find(root / "archive", nme)
    assert (len(contents.files), contents.n_clutter) == (36, 4)
    assert not contents.ignored and not contents.others and not contents.failures
    truth = archive.find(root / "truth", nme)
    assert {file.relative_path for file in truth.files} == {
        file.relative_path for file in contents.files if file.type == "m3d"
    }


def test_headers_are_as_planned(root):
    for sample in nme_archive.plan():
        volume = nib.load(root / "archive" / sample.path("images"))
        mask = nib.load(root / "archive" / sample.path("labels"))
        assert volume.shape == mask.shape == nme_trees.SHAPE
        assert volume.header.get_data_dtype() == sample.dtype
        assert mask.header.get_data_dtype() == np.uint8
        assert "".join(nib.aff2axcodes(volume.affine)) == sample.axes
        assert np.linalg.norm(mask.affine - volume.affine) == pytest.approx(
            sample.mask_shift_mm, abs=1e-4
        )


def test_the_same_settings_give_the_same_bytes(root, tmp_path):
    other = tmp_path / "other"
    nme_trees.build_archive(other)
    assert trees.contents(other) == trees.contents(root)
    nme_trees.build_archive(other)  # a second time
    assert trees.contents(other) == trees.contents(root)
    settings = nme_archive.Settings(nme_trees.SHAPE)
    sample = SAMPLES["01A001"]
    assert isinstance(nme_archive.write_sample(sample, other, settings), calls.Finished)
    (other / "archive" / sample.path("images")).unlink()
    assert nme_archive.write_sample(sample, other, settings) == sample
    assert trees.contents(other) == trees.contents(root)


def test_a_folder_with_another_archive_is_refused(tmp_path):
    nme_archive.prepare(tmp_path, nme_archive.Settings((4, 5, 6)))
    before = trees.contents(tmp_path)
    with pytest.raises(errors.DatasetError, match="other settings"):
        nme_archive.prepare(tmp_path, nme_archive.Settings((4, 5, 7)))
    assert trees.contents(tmp_path) == before


def test_memory_is_estimated_above_the_voxels():
    assert nme_archive.memory_bytes((512, 512, 100)) > 512 * 512 * 100


def test_script(tmp_path):
    words = ("--root_dir", "data", "--samples", "2", "--shape", "7", "8", "9", "--seed", "5")
    script = trees.REPOSITORY / "NME/generate_sample_archive.py"
    done = subprocess.run(
        [sys.executable, script, *words], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "samples: 2 done, 0 skipped as finished, 0 failed" in done.stdout
    assert len(list((tmp_path / "data/archive").rglob("NME-Seg_*.nii.gz"))) == 4
    again = trees.run("NME/generate_sample_archive.py", *words[:1], tmp_path / "data", *words[2:])
    assert "0 done, 2 skipped" in again.stdout
    other = trees.run("NME/generate_sample_archive.py", "--root_dir", tmp_path / "data")
    assert other.exit_code == 2 and "other settings" in other.stderr

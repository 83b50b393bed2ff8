"""Denoising on disk: finished, edited, interrupted; below the command line."""

import itertools

import numpy as np
import oracles
import pytest
import trees

from utils import errors
from utils.facts import amos22
from utils.routines import binary_masks, denoised_masks
from utils.running import calls
from utils.storage import files, holding, kept_masks, marks, nifti, nifti_writing, samples

NAMES = {0: "background", 1: "spleen", 2: "right kidney", 3: "never there"}
PARAMETERS = denoised_masks.Parameters((3, 3), 2, 4.0)
AFFINE = np.diag([1.0, 1.25, 3.0, 1.0])


def noisy():
    """Two organs with islands in the background and in each other, and a hole."""
    data = np.zeros((14, 13, 4), np.uint8, order="F")
    data[2:10, 2:6, :3] = 1
    data[2:10, 6:11, 1:] = 2
    data[12, 1, 0] = data[12, 11, 2] = 1
    data[4, 4, 1], data[5, 3, 2] = 0, 2
    data[6, 8, 1:3] = 1
    return data


def denoised(data):
    return oracles.open_close_small_regions_literal(data, (1.0, 1.25, 3.0), (3, 3), 2, 4.0, 4)


def put_sample(directory):
    """A sample with noisy mask and its binary masks."""
    directory.mkdir(parents=True)
    sample = samples.Sample("amos_0001", directory)
    nifti_writing.write_mask(sample.mask_path, noisy(), AFFINE, "src=12345678")
    binary_masks.write(sample, NAMES)
    return sample


@pytest.fixture(name="sample")
def noisy_sample(tmp_path):
    return put_sample(tmp_path / "in/train/amos_0001_F")


def write(sample, output="in", parameters=PARAMETERS, overwrite=False, is_kept=True):
    root = sample.directory.parents[1]
    before = denoised_masks.Before(kept(sample).parents[2], is_kept)
    places = root, root.parent / output
    return denoised_masks.write(sample, *places, parameters, overwrite, amos22.slice_axis, before)


def kept(sample):
    """Where the mask is kept."""
    root = sample.directory.parents[1]
    return root.parent / f"before {root.name}/train/amos_0001_F/amos_0001_mask.nii.gz"


def at(sample, output):
    return samples.Sample(sample.stem, sample.directory.parents[2] / output / "train/amos_0001_F")


def contents(sample):
    return {path.name: path.read_bytes() for path in sorted(sample.directory.iterdir())}


def stamps(sample):
    return {path.name: path.stat().st_ino for path in sorted(sample.directory.iterdir())}


def set_voxel(path, value, place=(0, 0, 3)):
    mask = nifti.read_mask(path)
    mask.data[place] = value
    nifti_writing.write_mask(path, mask.data, mask.header.affine, mask.header.descrip)


def test_the_example_changes_as_its_name_says():
    result = denoised(noisy())
    assert 0 < np.count_nonzero(result != noisy()) < 20
    assert result[12, 1, 0] == 0 and result[4, 4, 1] == 1 and result[5, 3, 2] == 1


@pytest.mark.parametrize("output", ["in", "out"])
def test_masks_and_mark_are_those_of_the_formula(sample, output):
    before = contents(sample)
    expected = denoised(noisy())
    assert write(sample, output) == np.count_nonzero(expected != noisy())
    target = at(sample, output)
    mask = nifti.read_mask(target.mask_path)
    np.testing.assert_array_equal(mask.data, expected)
    np.testing.assert_array_equal(mask.header.affine, AFFINE)
    assert mask.header.descrip == (
        f"src=12345678; openclose=3x3,2,4.0; in={nifti_writing.voxel_crc(noisy())}; "
        f"crc={nifti_writing.voxel_crc(expected)}"
    )
    for (value, _), path in target.binary_mask_paths().items():
        binary = nifti.read_mask(path)
        np.testing.assert_array_equal(binary.data, expected == value)
        assert binary.header.descrip == ""
    assert len(target.binary_mask_paths()) == 4
    assert output == "in" or contents(sample) == before


@pytest.mark.parametrize("output", ["in", "out"])
def test_finished_the_second_time(sample, output):
    write(sample, output)
    before = stamps(at(sample, output))
    assert write(sample, output) == calls.Finished(0)
    assert stamps(at(sample, output)) == before


def test_only_changed_binary_masks_are_rewritten(sample):
    before = stamps(sample)
    write(sample)
    after = stamps(sample)
    assert {name for name in after if after[name] != before[name]} == {
        "amos_0001_mask.nii.gz",
        "amos_0001_mask_00_background.nii.gz",
        "amos_0001_mask_01_spleen.nii.gz",
        "amos_0001_mask_02_right_kidney.nii.gz",
    }


def test_without_binary_masks_only_the_multi_label_mask_is_denoised(sample):
    for path in sample.binary_mask_paths().values():
        path.unlink()
    write(sample)
    assert list(contents(sample)) == ["amos_0001_mask.nii.gz"]
    assert write(sample) == calls.Finished(0)
    write(sample, "out")
    assert list(contents(at(sample, "out"))) == ["amos_0001_mask.nii.gz"]
    assert write(sample, "out") == calls.Finished(0)


@pytest.mark.parametrize("output", ["in", "out"])
@pytest.mark.parametrize(
    "parameters",
    [
        denoised_masks.Parameters((5, 3), 2, 4.0),
        denoised_masks.Parameters((3, 3), 3, 4.0),
        denoised_masks.Parameters((3, 3), 2, 4.5),
    ],
)
def test_other_parameters_fail_unless_overwritten(sample, output, parameters):
    write(sample, output)
    before = contents(at(sample, output))
    with pytest.raises(errors.DatasetError, match="denoised before with 3x3,2,4.0") as caught:
        write(sample, output, parameters)
    assert caught.value.code == "parameters" and caught.value.expected == str(parameters)
    assert contents(at(sample, output)) == before
    assert isinstance(write(sample, output, parameters, overwrite=True), int)
    mark = marks.read(nifti.read_header(at(sample, output).mask_path).descrip)
    assert mark["openclose"] == str(parameters)


def test_a_mask_edited_since_counts_as_not_processed(sample):
    write(sample)
    set_voxel(sample.mask_path, 1)  # an island again
    binary_masks.write(sample, NAMES)  # routine 04
    edited = nifti.read_mask(sample.mask_path).data
    other = denoised_masks.Parameters((3, 3), 1, 4.0)
    assert write(sample, parameters=other) > 0
    mask = nifti.read_mask(sample.mask_path)
    np.testing.assert_array_equal(
        mask.data,
        oracles.open_close_small_regions_literal(edited, (1.0, 1.25, 3.0), (3, 3), 1, 4.0, 4),
    )
    assert marks.read(mask.header.descrip)["in"] == nifti_writing.voxel_crc(edited)


def test_a_mask_edited_since_without_routine_04_fails(sample):
    write(sample)
    set_voxel(sample.mask_path, 1, np.s_[11:14, 7:12, 3])  # too large to be smoothed away
    before = contents(sample)
    with pytest.raises(errors.DatasetError, match="routine 04") as caught:
        write(sample)
    assert caught.value.code == "stale"
    assert contents(sample) == before


@pytest.mark.parametrize("is_denoised", [False, True])
@pytest.mark.parametrize("output", ["in", "out"])
def test_a_binary_mask_edited_by_a_person_fails_and_is_kept(sample, output, is_denoised):
    if is_denoised:
        write(sample)
    set_voxel(sample.binary_mask_path(2, "right_kidney"), 1)
    before = contents(sample)
    with pytest.raises(errors.DatasetError, match="mask_02_right_kidney.*routine 04"):
        write(sample, output)
    assert contents(sample) == before
    assert not at(sample, "out").directory.exists()


def test_a_missing_binary_mask_of_a_label_that_occurs_fails(sample):
    sample.binary_mask_path(2, "right_kidney").unlink()
    with pytest.raises(errors.DatasetError, match="none for label 2"):
        write(sample)


def test_overwrite_makes_edited_and_damaged_binary_masks_anew(sample):
    set_voxel(sample.binary_mask_path(2, "right_kidney"), 1)
    sample.binary_mask_path(3, "never_there").write_bytes(b"no gzip")
    with pytest.raises(errors.DatasetError):
        write(sample)
    write(sample, overwrite=True)
    binary_masks.check_consistent(sample, nifti.read_mask(sample.mask_path))
    np.testing.assert_array_equal(nifti.read_mask(sample.mask_path).data, denoised(noisy()))


def test_every_interruption_between_the_renames_is_completed(sample, tmp_path, monkeypatch):
    write(sample, "whole")
    whole, original = contents(at(sample, "whole")), sample.mask_path.read_bytes()
    for n_renamed in itertools.count():
        half = put_sample(tmp_path / f"kill{n_renamed}/train/amos_0001_F")
        with monkeypatch.context() as patched:
            patched.setattr(
                files, "commit", lambda pending: [file.rename() for file in pending[:n_renamed]]
            )
            write(half, f"kill{n_renamed}")
        assert kept(half).exists() == (n_renamed > 0)
        is_complete = contents(half) == whole
        assert write(half, f"kill{n_renamed}") == (
            calls.Finished(0) if is_complete else np.count_nonzero(denoised(noisy()) != noisy())
        )
        assert contents(half) == whole
        assert kept(half).read_bytes() == original
        if is_complete:
            break
    assert n_renamed == 4  # three binary masks change, then the multi-label mask


def test_an_edited_binary_mask_is_noticed_in_an_interrupted_sample_too(sample, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(files, "commit", lambda pending: pending[0].rename())
        write(sample)
    set_voxel(sample.binary_mask_path(3, "never_there"), 1)
    before = contents(sample)
    with pytest.raises(errors.DatasetError, match="mask_03_never_there") as caught:
        write(sample)
    assert "mask_00" not in str(caught.value)
    assert contents(sample) == before


@pytest.mark.parametrize("n_renamed", [0, 1, 3])
def test_an_interrupted_output_elsewhere_is_completed(sample, monkeypatch, n_renamed):
    write(sample, "whole")
    with monkeypatch.context() as patched:
        patched.setattr(
            files, "commit", lambda pending: [file.rename() for file in pending[:n_renamed]]
        )
        write(sample, "out")
    write(sample, "out")
    assert contents(at(sample, "out")) == contents(at(sample, "whole"))


@pytest.mark.parametrize("has_mask", [True, False])
def test_an_edited_binary_mask_of_an_output_elsewhere_is_kept(sample, has_mask):
    write(sample, "out")
    target = at(sample, "out")
    set_voxel(target.binary_mask_path(2, "right_kidney"), 1)
    if not has_mask:
        target.mask_path.unlink()
    before = contents(target)
    with pytest.raises(errors.DatasetError, match="mask_02_right_kidney"):
        write(sample, "out")
    assert contents(target) == before
    write(sample, "out", overwrite=True)
    assert write(sample, "out") == calls.Finished(0)


def test_an_edited_mask_of_an_output_elsewhere_is_kept(sample):
    write(sample, "out")
    target = at(sample, "out")
    set_voxel(target.mask_path, 1)
    before = contents(target)
    with pytest.raises(errors.DatasetError, match="changed since") as caught:
        write(sample, "out")
    assert caught.value.code == "edited" and contents(target) == before


def test_an_output_elsewhere_follows_its_source(sample):
    write(sample, "out")
    set_voxel(sample.mask_path, 1)
    binary_masks.write(sample, NAMES)
    assert write(sample, "out") > 0
    mask = nifti.read_mask(at(sample, "out").mask_path)
    np.testing.assert_array_equal(mask.data, denoised(nifti.read_mask(sample.mask_path).data))
    assert write(sample, "out") == calls.Finished(0)


def test_a_missing_or_spare_binary_mask_of_an_output_elsewhere(sample):
    write(sample, "out")
    target = at(sample, "out")
    whole = contents(target)
    target.binary_mask_path(2, "right_kidney").unlink()
    write(sample, "out")
    assert contents(target) == whole
    nifti_writing.write_mask(
        target.binary_mask_path(1, "milz"),
        nifti.read_mask(target.binary_mask_path(1, "spleen")).data,
        AFFINE,
    )
    assert write(sample, "out") == calls.Finished(0)


def test_a_denoised_source_is_copied_to_an_output_elsewhere(sample):
    write(sample)
    assert write(sample, "out") == 0
    np.testing.assert_array_equal(
        nifti.read_mask(at(sample, "out").mask_path).data, denoised(noisy())
    )
    assert write(sample, "out") == calls.Finished(0)


# --- the mask before -----------------------------------------------------------------------------

OTHER = denoised_masks.Parameters((5, 5), 1, 1000.0)  # changes the denoised mask, too


def kept_files(sample):
    """Relative path -> bytes of all that is kept."""
    folder = kept(sample).parents[2]
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def edit(sample, value=1, place=(0, 0, 3)):
    """Correct the multi-label mask by hand, and run routine 04; gives the mask's bytes."""
    set_voxel(sample.mask_path, value, place)
    binary_masks.write(sample, NAMES)
    return sample.mask_path.read_bytes()


def test_the_mask_is_kept_byte_for_byte_and_not_as_a_link(sample):
    content = sample.mask_path.read_bytes()
    write(sample)
    assert kept_files(sample) == {"train/amos_0001_F/amos_0001_mask.nii.gz": content}
    sample.mask_path.write_bytes(b"a tool that writes into the file")
    assert kept(sample).read_bytes() == content


def test_a_denoised_mask_does_not_replace_what_is_kept(sample):
    content = sample.mask_path.read_bytes()
    write(sample)
    identity = trees.identities(kept(sample).parent)
    write(sample)
    assert write(sample, parameters=OTHER, overwrite=True) > 0
    assert kept(sample).read_bytes() == content
    assert trees.identities(kept(sample).parent) == identity != {}


def test_a_mask_edited_since_replaces_what_is_kept(sample):
    write(sample)
    edited = edit(sample)
    assert write(sample) > 0
    assert list(kept_files(sample).values()) == [edited]


@pytest.mark.parametrize("is_edited", [False, True])
def test_nothing_is_kept_of_a_mask_that_does_not_change(sample, is_edited):
    nothing = denoised_masks.Parameters((3, 3), 2, 0.0)
    if is_edited:  # what was kept before would pass for the mask before, and is not
        write(sample)
        edit(sample, place=np.s_[11:14, 7:12, 3])
    assert write(sample, parameters=nothing) == 0
    assert kept_files(sample) == {}
    before = kept_masks.before(nifti.read_header(sample.mask_path), kept(sample))
    assert before.path == sample.mask_path


def test_a_mask_that_changes_only_the_second_time_is_kept_then(sample):
    write(sample, parameters=denoised_masks.Parameters((3, 3), 2, 0.0))
    content = sample.mask_path.read_bytes()
    write(sample, overwrite=True)
    assert list(kept_files(sample).values()) == [content]


def test_none_is_kept_where_none_is_wanted(sample):
    write(sample, is_kept=False)
    assert not kept(sample).parents[2].exists()
    assert kept_masks.before(nifti.read_header(sample.mask_path), kept(sample)) is None


def test_where_none_is_wanted_an_outdated_one_goes_and_another_stays(sample):
    content = sample.mask_path.read_bytes()
    write(sample)
    write(sample, parameters=OTHER, overwrite=True, is_kept=False)
    assert list(kept_files(sample).values()) == [content]
    edit(sample)
    write(sample, is_kept=False)
    assert kept_files(sample) == {}


def test_nothing_is_kept_for_an_output_elsewhere(sample):
    write(sample, "out")
    assert not kept(sample).parents[2].exists()


@pytest.mark.parametrize("fault", ["binary mask", "staging", "keeping"])
def test_a_failure_leaves_masks_and_what_is_kept_as_they_were(sample, fault, monkeypatch):
    write(sample)
    edit(sample)
    if fault == "binary mask":
        set_voxel(sample.binary_mask_path(3, "never_there"), 1)
    before = contents(sample), kept_files(sample)
    doomed = {"staging": sample.mask_path, "keeping": kept(sample)}.get(fault)
    plain = nifti_writing.files.Pending.seal

    def seal(pending):
        if pending.path == doomed:
            raise errors.DatasetError("no space", file=doomed)
        plain(pending)

    monkeypatch.setattr(files.Pending, "seal", seal)
    with pytest.raises(errors.DatasetError):
        write(sample)
    assert (contents(sample), kept_files(sample)) == before


def test_a_mask_that_is_saved_meanwhile_fails_and_is_kept_nowhere(sample, monkeypatch):
    plain = denoised_masks.denoise.find_changes

    def find_and_save(*args, **options):
        content = sample.mask_path.read_bytes()
        sample.mask_path.unlink()
        sample.mask_path.write_bytes(content)
        return plain(*args, **options)

    monkeypatch.setattr(denoised_masks.denoise, "find_changes", find_and_save)
    before = contents(sample)
    with pytest.raises(errors.DatasetError, match="by another process") as caught:
        write(sample)
    assert caught.value.code == "replaced"
    assert contents(sample) == before and kept_files(sample) == {}


def test_what_another_run_keeps_at_the_same_place_is_waited_for_by_failing(sample):
    kept(sample).parent.mkdir(parents=True)
    before = contents(sample)
    with holding.folder(kept(sample).parent):
        with pytest.raises(errors.DatasetError, match="held by process"):
            write(sample)
    assert contents(sample) == before and kept_files(sample) == {}


def test_parameters_as_long_as_the_header_holds_and_longer(sample):
    long = denoised_masks.Parameters((101, 101), 12, 10 / 3)
    write(sample, parameters=long)
    assert marks.read(nifti.read_header(sample.mask_path).descrip)["openclose"] == str(long)
    before = contents(sample)
    with pytest.raises(errors.DatasetError, match="does not fit"):
        write(
            sample, parameters=denoised_masks.Parameters((1001, 1001), 100, 10 / 3), overwrite=True
        )
    assert contents(sample) == before


def test_area_is_measured_with_the_stored_spacing(tmp_path):
    """0.4 as float32 is above 0.4: 25 pixels of 0.4 x 1 mm are not below 10 mm2, 24 are."""
    sample = samples.Sample("amos_0001", tmp_path)
    data = np.zeros((40, 12, 2), np.uint8, order="F")
    data[2:27, 2, 0] = 1
    data[2:26, 2, 1] = 1
    nifti_writing.write_mask(sample.mask_path, data, np.diag([0.4, 1.0, 1.0, 1.0]))
    parameters = denoised_masks.Parameters((3, 3), 1, 10.0)
    assert (
        denoised_masks.write(sample, tmp_path, tmp_path, parameters, False, amos22.slice_axis) == 24
    )
    after = nifti.read_mask(sample.mask_path).data
    assert after[..., 0].sum() == 25 and after[..., 1].sum() == 0

"""Masks of single organs, joined: described/02 on an archive of one file per organ."""

import collections
import re
import tracemalloc

import described_trees as data
import nibabel as nib
import numpy as np
import pytest
import trees
from described_trees import ORGANS, WITH, organ_data, organ_path
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.storage import files, nifti, nifti_writing, organ_masks

PAIR, SEQ = data.PAIR, "s0003"
LIVER, SPLEEN, KIDNEY, HEART = ORGANS


@pytest.fixture(name="root")
def scanned_root(tmp_path):
    return data.copy("scanned", tmp_path / "root")


@pytest.fixture(name="paired")
def paired_root(tmp_path):
    return data.copy("paired", tmp_path / "root")


def sample_dir(root, seq=SEQ):
    (found,) = (root / "grouped").rglob(seq)
    return found


def mask_path(root, seq=SEQ):
    return sample_dir(root, seq) / f"{seq}_mask.nii.gz"


def run(root, *words):
    return data.invoke(PAIR, root, *words)


def failure(root, *words):
    """The one line of a run that fails one sample, of which nothing is written; the rest is."""
    result = run(root, *words)
    assert result.exit_code == 1 and "4 done, 0 skipped as finished, 1 failed" in result.stdout
    (line,) = trees.complaints(result)
    assert line.startswith(f"FAILED {SEQ}: ") and not trees.leftovers(root)
    assert not [*(root / "grouped").rglob(SEQ)] and mask_path(root, "s0001").exists()
    return line.removeprefix(f"FAILED {SEQ}: ").replace(str(root / "archive/set"), "SET")


def warnings_of(result, root):
    lines = trees.complaints(result, "WARNING")
    return [line.replace(str(root / "archive/set"), "SET") for line in lines]


def put(root, name, array, affine=data.AFFINE):
    return data.put(organ_path(root, SEQ, name), array, affine)


def mark(path):
    return re.fullmatch("src=([0-9a-f]{8})", nifti.read_header(path).descrip)[1]


def test_organs_are_one_mask_with_the_geometry_of_the_volume(paired):
    for seq in ("s0001", SEQ, "s0005"):
        mask = nib.load(mask_path(paired, seq))
        assert np.array_equal(np.asarray(mask.dataobj), data.all_labels())
        volume = nib.load(sample_dir(paired, seq) / f"{seq}_volume.nii.gz")
        assert mask.get_data_dtype() == np.uint8 and volume.get_data_dtype() == np.float32
        assert mask.header.get_sform().tolist() == data.AFFINE.tolist()
        for field in ("srow_x", "quatern_b", "pixdim", "sform_code", "qform_code", "xyzt_units"):
            assert mask.header[field].tobytes() == volume.header[field].tobytes()
        assert mark(mask_path(paired, seq))


def test_the_bytes_are_those_of_one_file_of_all_labels(paired, tmp_path):
    """Both kinds of masks go through one writer; the marks alone differ."""
    other = tmp_path / "other"
    data.CHAINS["numbers"].copy("built", other)
    data.CHAINS["numbers"].invoke(data.SCAN, other)
    data.CHAINS["numbers"].invoke(PAIR, other)
    ours, theirs = (
        trees.voxels(path) for path in (mask_path(paired), next(other.rglob("n_002_mask.nii.gz")))
    )
    assert ours.tobytes("F") == theirs.tobytes("F")


def test_overlapping_organs_fail_the_sample_with_both_names_and_the_voxels(root):
    array = organ_data(SPLEEN)
    array[:2, :3, :2] = 1  # 12 voxels of the liver
    array[2:4, 5:6, 1:3] = 1  # 4 of the kidney
    put(root, SPLEEN, array)
    assert failure(root) == (
        "SET/s0003/segmentations: organs overlap: liver and spleen in 12 voxels, spleen and "
        "left_kidney in 4 voxels; name those that win, in order, as overlap in the page"
    )


def overlapping(root):
    """Liver, spleen and heart share voxels by twos."""
    arrays = {name: organ_data(name) for name in ORGANS}
    arrays[SPLEEN][:2, :3, :2] = 1
    arrays[HEART][0, 0, :3] = 1
    for name in (SPLEEN, HEART):
        put(root, name, arrays[name])
    return arrays


@pytest.mark.parametrize(
    "overlap, order",
    [
        ([SPLEEN, LIVER], [SPLEEN, LIVER, KIDNEY, HEART]),
        ([LIVER, HEART, SPLEEN], [LIVER, HEART, SPLEEN, KIDNEY]),
        ([HEART, SPLEEN], [HEART, SPLEEN, LIVER, KIDNEY]),
        ([LIVER], [LIVER, SPLEEN, KIDNEY, HEART]),
        (["left kidney", LIVER], [KIDNEY, LIVER, SPLEEN, HEART]),
    ],
)
def test_of_organs_that_overlap_the_first_of_the_page_wins(root, overlap, order):
    arrays = overlapping(root)
    data.edit_page(root, "modality", f"overlap: [{', '.join(overlap)}]\nmodality")
    result = run(root)
    assert result.exit_code == 0, result.output
    expected = np.zeros(data.SHAPE, np.uint8)
    for name in reversed(order):
        expected[arrays[name] != 0] = WITH[name]
    assert np.array_equal(trees.voxels(mask_path(root)), expected)


def test_two_organs_that_the_order_lacks_still_fail_where_no_winner_is(root):
    overlapping(root)  # spleen and heart have 2 voxels in common, both of the liver, which wins
    array = organ_data(KIDNEY)
    array[5:6, 3:4, 2:5] = 1
    put(root, KIDNEY, array)
    data.edit_page(root, "modality", "overlap: [liver]\nmodality")
    assert "organs overlap: spleen and left_kidney in 3 voxels; name" in failure(root)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("present", [1, 255])
def test_an_organ_is_0_and_1_or_0_and_255(root, dtype, present):
    put(root, LIVER, organ_data(LIVER, dtype) * dtype(present))
    assert run(root).exit_code == 0
    assert np.array_equal(trees.voxels(mask_path(root)), data.all_labels())


@pytest.mark.parametrize(
    "edit, reason",
    [
        ((1, 2), "values 0, 1, 2 found, expected 0 and 1 (or 0 and 255), as a file of one organ"),
        ((2, 2), "values 0, 2 found, expected 0 and 1 (or 0 and 255), as a file of one organ"),
        ((1, 255), "values 0, 1, 255 found, expected 0 and 1 (or 0 and 255), as a file of one"),
        ((1, 0.5), "labels 0.5 found, expected whole numbers from 0 to 255"),
        ((1, -1), "labels -1 found, expected whole numbers from 0 to 255"),
    ],
)
def test_other_values_fail_the_sample(root, edit, reason):
    array = organ_data(LIVER, np.float32) * edit[0]
    array[0, 0, 0] = edit[1]
    put(root, LIVER, array)
    assert failure(root).startswith(f"SET/s0003/segmentations/liver.nii.gz: {reason}")


def test_an_empty_organ_is_no_fault(root):
    put(root, HEART, np.zeros(data.SHAPE, np.uint8))
    assert run(root).exit_code == 0
    expected = data.all_labels((LIVER, SPLEEN, KIDNEY))
    assert np.array_equal(trees.voxels(mask_path(root)), expected)


def test_all_organs_may_be_empty(root):
    for name in ORGANS:
        put(root, name, np.zeros(data.SHAPE, np.uint8))
    assert run(root).exit_code == 0
    assert not trees.voxels(mask_path(root)).any()


def test_an_organ_stored_along_other_axes_is_brought_into_order(root):
    flipped = nib.as_closest_canonical(nib.Nifti1Image(organ_data(SPLEEN), data.AFFINE))
    put(root, SPLEEN, np.asarray(flipped.dataobj), flipped.affine)
    result = run(root)
    assert result.exit_code == 0
    (line,) = warnings_of(result, root)
    assert line == (
        "WARNING s0003: SET/s0003/segmentations/spleen.nii.gz: stored along other axes (RAS) of "
        "its volume's grid (LAS); its voxels are brought into the volume's order"
    )
    assert np.array_equal(trees.voxels(mask_path(root)), data.all_labels())


def test_what_is_odd_in_many_files_is_told_once(root):
    affine = data.AFFINE.copy()
    affine[0, 3] += 0.5
    for name in ORGANS:
        put(root, name, organ_data(name), affine)
    (line,) = warnings_of(run(root), root)
    assert line == (
        "WARNING s0003: SET/s0003/segmentations/liver.nii.gz and 3 more files of its organs: "
        "affine differs from its volume's by 0.5 (Frobenius norm), at most 0.5 mm in a corner; "
        "the volume's is taken"
    )


def test_an_organ_that_lies_elsewhere_fails_unless_told_otherwise(root):
    affine = data.AFFINE.copy()
    affine[0, 3] += 15
    put(root, HEART, organ_data(HEART), affine)
    line = failure(root)
    assert line.startswith("SET/s0003/segmentations/heart.nii.gz: affine differs from its volume's")
    assert line.endswith("if their voxels belong together as they lie: --misfit volume")
    assert run(root, "--misfit", "volume").exit_code == 0
    assert np.array_equal(trees.voxels(mask_path(root)), data.all_labels())


def test_an_organ_of_another_shape_fails(root):
    put(root, HEART, organ_data(HEART)[:6])
    assert failure(root) == (
        "SET/s0003/segmentations/heart.nii.gz: shape (6, 8, 9) differs from its volume's (7, 8, 9)"
    )


def test_a_damaged_organ_fails_though_only_its_checksum_is_wrong(root):
    path = organ_path(root, SEQ, KIDNEY)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    assert failure(root).startswith(
        "SET/s0003/segmentations/left_kidney.nii.gz: damaged: the gzip stream is corrupt"
    )


@pytest.mark.parametrize("factor", [1, 255])
def test_a_volume_that_is_an_organ_fails(root, factor):
    array = organ_data(SPLEEN) * np.uint8(factor)
    put(root, SPLEEN, array)
    data.put(root / f"archive/set/{SEQ}/ct.nii.gz", array)
    assert failure(root) == (
        "SET/s0003/ct.nii.gz: holds the same voxels as its mask "
        "SET/s0003/segmentations/spleen.nii.gz, expected a scan"
    )


def test_a_binary_volume_that_is_no_copy_passes(root):
    array = np.ones(data.SHAPE, np.uint8)
    array[0, 0, 0] = 0
    data.put(root / f"archive/set/{SEQ}/ct.nii.gz", array)
    assert run(root).exit_code == 0


def rewritten(root, *words):
    """Names of the files that a run writes again, and the run."""
    before = trees.identities(root / "grouped")
    result = run(root, *words)
    after = trees.identities(root / "grouped")
    return {name.rpartition("/")[2] for name in trees.rewritten(before, after)}, result


def test_nothing_is_written_again_though_the_mask_was_edited(paired):
    trees.put_voxel(mask_path(paired), (6, 7, 8), 3)
    names, result = rewritten(paired)
    assert names == set() and "0 done, 5 skipped as finished, 0 failed" in result.stdout


# s0003_info.yaml is written with the files that are.
AGAIN = {"s0003_mask.nii.gz", "s0003_info.yaml"}


def test_a_changed_organ_has_the_mask_alone_written_again(paired):
    before = mark(mask_path(paired))
    array = organ_data(HEART)
    array[2, 2, 6] = 0
    put(paired, HEART, array)
    names, result = rewritten(paired)
    assert names == AGAIN and result.exit_code == 0
    assert f"{mask_path(paired)}: the files of its organs, " in result.stderr
    expected = data.all_labels()
    expected[2, 2, 6] = 0
    assert np.array_equal(trees.voxels(mask_path(paired)), expected)
    assert mark(mask_path(paired)) != before
    assert rewritten(paired)[0] == set()


def test_an_organ_less_and_one_more_have_the_mask_written_again(paired):
    path = organ_path(paired, SEQ, HEART)
    kept = path.read_bytes()
    path.unlink()
    manifest = data.archive_manifest(paired)
    book = manifest.read_bytes()
    trees.delete_rows(manifest, "s0003/segmentations/heart")
    assert rewritten(paired)[0] == AGAIN
    expected = data.all_labels((LIVER, SPLEEN, KIDNEY))
    assert np.array_equal(trees.voxels(mask_path(paired)), expected)
    path.write_bytes(kept)
    manifest.write_bytes(book)
    assert rewritten(paired)[0] == AGAIN
    assert np.array_equal(trees.voxels(mask_path(paired)), data.all_labels())


def test_another_label_on_the_page_has_the_masks_written_again(paired):
    data.edit_page(paired, "4: heart", "9: heart")
    names, result = rewritten(paired)
    assert len(names) == 10 and result.exit_code == 0
    expected = data.all_labels()
    expected[expected == 4] = 9
    assert np.array_equal(trees.voxels(mask_path(paired)), expected)


def test_an_order_matters_only_to_samples_whose_organs_overlap(root):
    overlapping(root)
    assert run(root).exit_code == 1
    edited = mask_path(root, "s0001")
    trees.put_voxel(edited, (6, 7, 8), 1)
    before = edited.read_bytes()
    data.edit_page(root, "modality", "overlap: [spleen, heart]\nmodality")
    result = run(root)
    assert "1 done, 4 skipped as finished, 0 failed" in result.stdout and not result.stderr
    assert edited.read_bytes() == before
    assert "0 done, 5 skipped as finished, 0 failed" in run(root).stdout
    data.edit_page(root, "[spleen, heart]", "[heart, liver]")
    result = run(root)
    assert "1 done, 4 skipped as finished, 0 failed" in result.stdout
    assert trees.complaints(result, "WARNING") == [
        f"WARNING {SEQ}: {mask_path(root)}: the files of its organs, their labels or the order in "
        "which they win changed since; written again"
    ]
    assert edited.read_bytes() == before


def test_a_new_volume_leaves_the_mask_as_it_is(paired):
    trees.put_voxel(mask_path(paired), (6, 7, 8), 3)
    data.put_volume(paired / f"archive/set/{SEQ}/ct.nii.gz", 77)
    assert rewritten(paired)[0] == {"s0003_volume.nii.gz", "s0003_info.yaml"}
    assert trees.voxels(mask_path(paired))[6, 7, 8] == 3
    assert rewritten(paired, "--overwrite")[0] >= AGAIN
    assert trees.voxels(mask_path(paired))[6, 7, 8] == 0


def test_an_interrupted_sample_is_completed_with_the_same_bytes(paired, tmp_path, monkeypatch):
    other = data.copy("scanned", tmp_path / "other")

    class Stopped(BaseException):
        pass

    def stop(pending):
        pending[0].rename()
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(files, "commit", stop)
        with pytest.raises(Stopped):
            run(other)
    assert len([*(other / "grouped").rglob("*.nii.gz")]) == 1
    assert run(other).exit_code == 0
    assert trees.contents(other / "grouped") == trees.contents(paired / "grouped")


def test_a_label_file_without_a_row_fails_the_sample(root):
    trees.delete_rows(data.archive_manifest(root), "s0003/segmentations/heart")
    assert failure(root) == (
        "a label file (heart) of this val volume lies in the archive, but the manifest has no "
        "mask row for it (damaged, or removed by hand?)"
    )


def test_an_organ_that_is_no_label_needs_no_row(root):
    put(root, "face", organ_data(HEART))
    assert run(root).exit_code == 0


def test_two_rows_of_an_organ_fail_the_sample(root):
    manifest = data.archive_manifest(root)
    trees.edit_cells(manifest, {("organ", "s0003/segmentations/heart"): "liver"})
    line = failure(root)
    assert "2 rows of type m3d and organ liver (set/s0003/segmentations/heart.nii.gz, " in line


def test_a_row_of_an_unknown_organ_fails_the_sample(root):
    trees.edit_cells(data.archive_manifest(root), {("organ", "s0003/segmentations/heart"): "hart"})
    result = run(root)
    (line,) = trees.complaints(result)
    assert result.exit_code == 1 and line.startswith(
        "FAILED set/s0003/segmentations/heart.nii.gz: organ is 'hart' in the manifest's row of"
    )
    assert not [*(root / "grouped").rglob(SEQ)]


def test_a_label_with_a_blank_may_stand_in_the_manifest(root):
    manifest = data.archive_manifest(root)
    trees.edit_cells(manifest, {("organ", "s0003/segmentations/left_kidney"): "left kidney"})
    assert run(root).exit_code == 0
    assert np.array_equal(trees.voxels(mask_path(root)), data.all_labels())


def test_the_mark_tells_labels_contents_and_order():
    def crc(*organs, overlap=()):
        found = [
            organ_masks.Organ(label, "", type("Header", (), {"source_crc": crc}), None)
            for label, crc in organs
        ]
        return organ_masks.Organs(tuple(found), overlap).source_crc(is_ordered=bool(overlap))

    marks = [
        crc((1, "aaaaaaaa"), (2, "bbbbbbbb")),
        crc((1, "bbbbbbbb"), (2, "aaaaaaaa")),
        crc((1, "aaaaaaaa"), (3, "bbbbbbbb")),
        crc((1, "aaaaaaaa")),
        crc((1, "aaaaaaaa"), (2, "bbbbbbbb"), overlap=(1, 2)),
        crc((1, "aaaaaaaa"), (2, "bbbbbbbb"), overlap=(2, 1)),
    ]
    assert len({*marks}) == len(marks) and all(re.fullmatch("[0-9a-f]{8}", one) for one in marks)
    ordered = crc((1, "aaaaaaaa"), overlap=(1,))
    assert ordered == crc((1, "aaaaaaaa"), overlap=(7, 1)) != marks[3]


def joined_slowly(arrays, overlap):
    """Voxel by voxel: the labels, and how many voxels two organs share that the order lacks.

    Of more than two organs the first one is told with each of the others.
    """
    order = [*overlap, *sorted(arrays.keys() - {*overlap})]
    shape = next(iter(arrays.values())).shape
    made, shared = np.zeros(shape, np.uint8), collections.Counter()
    for voxel in np.ndindex(shape):
        there = [label for label in order if label in arrays and arrays[label][voxel]]
        if there:
            made[voxel] = there[0]
            if there[0] not in overlap:
                shared.update((there[0], other) for other in there[1:])
    return made, shared


@pytest.fixture(scope="module", name="folder")
def folder_of_files(tmp_path_factory):
    return tmp_path_factory.mktemp("organs")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 255), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(1, 255), max_size=3, unique=True),
    st.sampled_from([0.02, 0.2]),
)
def test_joining_is_what_slow_loops_make_of_it(folder, seed, labels, others, share):
    """Chunks end anywhere, and files are stored along any axes."""
    rng = np.random.default_rng(seed)
    overlap = tuple(rng.permutation([*labels[: seed % 4], *others]).tolist())
    overlap = tuple(dict.fromkeys(overlap))
    arrays = {label: rng.random((4, 3, 5)) < share for label in sorted(labels)}
    volume = data.put(folder / "v.nii.gz", np.zeros((4, 3, 5), np.int16))
    found = []
    for label, array in arrays.items():
        image = nib.Nifti1Image(array.astype(np.uint8), data.AFFINE)
        if rng.random() < 0.5:
            image = nib.as_closest_canonical(image)
        path = data.put(folder / f"{label}.nii.gz", np.asarray(image.dataobj), image.affine)
        header = nifti.read_header(path)
        order = header.axis_order(nifti.read_header(volume))
        found.append(organ_masks.Organ(label, f"organ{label}", header, order))
    organs = organ_masks.Organs(tuple(found), overlap)
    expected, shared = joined_slowly(arrays, overlap)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nifti, "CHUNK_VOXELS", 7)
        if not shared:
            with organ_masks.stage(folder / "m.nii.gz", organs, data.AFFINE) as pending:
                pending.commit()
            assert np.array_equal(trees.voxels(folder / "m.nii.gz"), expected)
            return
        with pytest.raises(errors.DatasetError) as caught:
            organ_masks.stage(folder / "m.nii.gz", organs, data.AFFINE)
    told = re.findall("organ([0-9]+) and organ([0-9]+) in ([0-9]+) voxels", caught.value.found)
    assert {(int(a), int(b)): int(n) for a, b, n in told}.items() <= shared.items()
    assert len(told) == min(len(shared), errors.LISTED) and not trees.leftovers(folder)


def test_the_background_cannot_win(root):
    data.edit_page(root, "modality", "overlap: [background]\nmodality")
    result = run(root)
    assert result.exit_code == 2 and result.stderr == (
        f"Error: {data.page(root)}: overlap has 'background', expected names of labels but "
        "background\n"
    )


def test_one_mask_is_in_memory_whatever_the_number_of_organs(folder):
    shape = (192, 192, 192)
    found, data_of = [], np.zeros(shape, np.uint8)
    for label in range(1, 13):
        data_of[:] = 0
        data_of[label * 12 : label * 12 + 12, 20:160, 20:160] = 1
        path = folder / f"large{label}.nii.gz"
        nifti_writing.write_mask(path, data_of, data.AFFINE)
        found.append(organ_masks.Organ(label, "", nifti.read_header(path), None))
    tracemalloc.start()
    with organ_masks.stage(folder / "m.nii.gz", organ_masks.Organs(tuple(found)), data.AFFINE):
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data_of.nbytes < peak < 2 * data_of.nbytes

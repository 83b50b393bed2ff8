"""The archive manifest: what the headers say, and how volumes and masks fit."""

import gzip
import os
import shutil
import stat
import struct
import warnings

import nibabel as nib
import nifti_files
import numpy as np
import pytest
from phantoms import touch

from utils import errors
from utils.facts import amos22, nme
from utils.routines import archive, archive_manifest
from utils.running import calls

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])


def put(path, shape=SHAPE, affine=AFFINE, dtype=np.int16):
    """Write a small image; what lies in it does not matter here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def patched(path, offset, content):
    """Overwrite bytes of the uncompressed file, so that the gzip around them stays sound."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw), mtime=0))
    return path


def described(root, check_content=False):
    contents = archive.find(root, amos22)
    return [(file, archive_manifest.describe(file, check_content)) for file in contents.files]


def compared(root):
    """Rows of the manifest, and what is odd about the pairs."""
    outcome = calls.Outcome(described(root))
    return archive_manifest.make_rows(outcome, archive.Contents(), amos22), outcome.warnings


def single(path):
    """The only file of an archive that holds nothing else."""
    (file,) = archive.find(path.parents[1], amos22).files
    return file


def warned(file):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        archive_manifest.describe(file)
    assert all(entry.category is errors.DataWarning for entry in caught)
    return [str(entry.message) for entry in caught]


def test_a_row_says_what_the_header_says(tmp_path):
    put(tmp_path / "x/imagesTr/amos_0001.nii.gz")
    ((_, description),) = described(tmp_path)
    row = dict(description.row)
    matrix = row.pop("transform")
    assert row == {
        "file_path": "x/imagesTr/amos_0001.nii.gz",
        "subset": "train",
        "seq": "0001",
        "type": "v3d",
        "szx": 7,
        "szy": 8,
        "szz": 9,
        "spx": 1.5,
        "spy": 2.0,
        "spz": 5.0,
        "orientation_from": "RPI",
        "orientation_to": "LAS",
        "dtype": "int16",
    }
    assert matrix == (
        "[[-1.5 0.0 0.0 10.0]\n [0.0 2.0 0.0 -20.0]\n [0.0 0.0 5.0 30.0]\n [0.0 0.0 0.0 1.0]]"
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64", ">i2"])
def test_dtype_is_the_one_on_disk(tmp_path, dtype):
    path = tmp_path / "imagesTr/amos_0001.nii.gz"
    path.parent.mkdir()
    header = nib.Nifti1Header(endianness=">" if dtype == ">i2" else "<")
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, dtype), AFFINE, header), path)
    ((_, description),) = described(tmp_path)
    assert description.row["dtype"] == dtype.replace(">i2", "int16")


def test_scaling_does_not_change_the_dtype_on_disk(tmp_path):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    patched(path, 112, struct.pack("<ff", 0.5, -3))  # scl_slope, scl_inter
    ((_, description),) = described(tmp_path)
    assert description.row["dtype"] == "int16"


def test_an_oblique_grid_and_a_qform_alone(tmp_path):
    angle = np.radians(10)
    turned = AFFINE.copy()
    turned[1:3, 1:3] = [
        [2 * np.cos(angle), -5 * np.sin(angle)],
        [2 * np.sin(angle), 5 * np.cos(angle)],
    ]
    image = nib.Nifti1Image(np.zeros(SHAPE, np.uint16), turned)
    image.set_qform(turned, 1)
    image.set_sform(None, 0)
    (tmp_path / "labelsTr").mkdir()
    nib.save(image, tmp_path / "labelsTr/amos_0013.nii.gz")
    ((_, description),) = described(tmp_path)
    assert description.row["orientation_to"] == "Oblique(closest to LAS)"
    assert description.row["orientation_from"] == "Oblique(closest to RPI)"
    np.testing.assert_allclose(
        [description.row[key] for key in ("spx", "spy", "spz")], [1.5, 2, 5], atol=1e-5
    )
    np.testing.assert_allclose(description.header.affine, turned, atol=1e-4)


def test_a_stored_pixdim_off_the_affine_is_warned_about(tmp_path):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    assert warned(single(path)) == []
    patched(path, 80, struct.pack("<f", 1.5005))
    assert warned(single(path)) == []
    patched(path, 80, struct.pack("<f", 1.502))
    (message,) = warned(single(path))
    assert "1.502" in message
    assert "pixdim" in message


def test_one_frame_counts_as_three_dimensions(tmp_path):
    put(tmp_path / "imagesTr/amos_0001.nii.gz", shape=(*SHAPE, 1))
    ((_, description),) = described(tmp_path)
    assert description.header.shape == SHAPE


def damage_by_cutting(path):
    path.write_bytes(path.read_bytes()[:-40])


def damage_the_trailer(path):
    path.write_bytes(path.read_bytes()[:-8])


def damage_the_magic(path):
    patched(path, 344, b"xxxx")


def damage_by_emptying(path):
    path.write_bytes(b"")


def damage_by_text(path):
    path.write_text("not found\n")


def damage_by_a_header_alone(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:352]))


def damage_by_frames(path):
    put(path, shape=(*SHAPE, 3))


def damage_by_a_claim(path):
    patched(path, 42, struct.pack("<hhh", 32000, 32000, 30))


def damage_by_negative_size(path):
    patched(path, 42, struct.pack("<h", -7))


def damage_the_affine(path):
    patched(path, 280, struct.pack("<f", np.nan))


def damage_by_a_flat_affine(path):
    patched(path, 280, bytes(16))


def damage_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def damage_by_a_dead_link(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_cutting,
        damage_the_trailer,
        damage_the_magic,
        damage_by_emptying,
        damage_by_text,
        damage_by_a_header_alone,
        damage_by_frames,
        damage_by_a_claim,
        damage_by_negative_size,
        damage_the_affine,
        damage_by_a_flat_affine,
        damage_by_a_pipe,
        damage_by_a_dead_link,
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    damage(path)
    file = single(path)
    with pytest.raises(errors.DamagedFileError, match="amos_0001.nii.gz") as caught:
        archive_manifest.describe(file)
    assert "\n" not in str(caught.value)
    assert archive_manifest.size_bytes(file) == (
        0 if stat.S_ISFIFO(os.lstat(path).st_mode) or path.is_symlink() else path.stat().st_size
    )


def test_check_content_finds_a_flipped_bit_that_the_header_does_not_show(tmp_path):
    path = tmp_path / "imagesTr/amos_0001.nii.gz"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 30), np.uint8)
    nib.save(nib.Nifti1Image(noise, AFFINE), path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    assert archive_manifest.describe(single(path)).header.shape == (30, 30, 30)
    with pytest.raises(errors.DamagedFileError, match="amos_0001.nii.gz"):
        archive_manifest.describe(single(path), check_content=True)


def test_several_gzip_members_are_legal(tmp_path):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    assert archive_manifest.describe(single(path), check_content=True).header.shape == SHAPE


def test_masks_alone_carry_the_norm_of_the_difference(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += 3
    moved[1, 3] -= 4
    put(tmp_path / "imagesTr/amos_0001.nii.gz")
    put(tmp_path / "labelsTr/amos_0001.nii.gz", affine=moved, dtype=np.uint16)
    put(tmp_path / "imagesTr/amos_0002.nii.gz")
    put(tmp_path / "labelsTr/amos_0002.nii.gz", dtype=np.uint16)
    put(tmp_path / "imagesTs/amos_0003.nii.gz")
    put(tmp_path / "labelsVa/amos_0004.nii.gz", dtype=np.uint16)
    rows, messages = compared(tmp_path)
    assert [(row["seq"], row["type"], row["diff_trans_f_norm"]) for row in rows] == [
        ("0001", "v3d", None),
        ("0001", "m3d", 5.0),
        ("0002", "v3d", None),
        ("0002", "m3d", 0.0),
        ("0003", "v3d", None),
        ("0004", "m3d", None),
    ]
    ((name, message),) = messages
    assert name == "labelsTr/amos_0001.nii.gz"
    assert "the mask lies 5 mm (2 voxels) off its volume imagesTr/amos_0001.nii.gz" in message
    assert "--misfit volume" in message


def test_a_pair_of_unequal_size_or_subset_is_warned_about(tmp_path):
    put(tmp_path / "imagesTr/amos_0001.nii.gz")
    put(tmp_path / "labelsVa/amos_0001.nii.gz", shape=(8, 7, 9), dtype=np.uint16)
    _, messages = compared(tmp_path)
    assert [name for name, _ in messages] == ["labelsVa/amos_0001.nii.gz"] * 2
    size, subset = (text for _, text in messages)
    assert "8 x 7 x 9" in size
    assert "7 x 8 x 9" in size
    assert "lies in val" in subset
    assert "in train" in subset


def pair(root, order=None, off_vox=0.0, **fields):
    """A volume and its mask, brought into another order, moved, and edited."""
    put(root / "imagesTr/amos_0001.nii.gz")
    path = put(root / "labelsTr/amos_0001.nii.gz", dtype=np.uint16)
    image = nib.load(path)
    image = image.as_reoriented(np.array(order)) if order else image
    affine = image.affine + np.pad(np.reshape(off_vox * AFFINE[:3, 1], (3, 1)), ((0, 1), (3, 0)))
    put(path, image.shape, affine, np.uint16)
    nifti_files.patch(path, nifti_files.field(**fields))
    return root


@pytest.mark.parametrize(
    ("order", "codes"),
    [([[0, -1], [1, 1], [2, 1]], "RAS"), ([[2, 1], [0, -1], [1, 1]], "PSL")],
    ids=["mirrored", "permuted"],
)
def test_a_mask_along_other_axes_is_warned_about_and_is_no_fault_of_shape(tmp_path, order, codes):
    _, messages = compared(pair(tmp_path, order))
    ((name, message),) = messages
    assert name == "labelsTr/amos_0001.nii.gz"
    assert message == (
        f"the mask is stored along other axes ({codes}) of the grid of its volume "
        "imagesTr/amos_0001.nii.gz (LAS); routine 02 brings it into the volume's order"
    )


@pytest.mark.parametrize(
    ("off_vox", "codes", "told"),
    [(0.49, {}, False), (0.51, {}, True), (9, {"sform_code": 0, "qform_code": 0}, False)],
    ids=["near", "far", "without orientation"],
)
@pytest.mark.filterwarnings("ignore:.*neither sform:utils.errors.DataWarning")
def test_a_mask_more_than_half_a_voxel_off_is_warned_about(tmp_path, off_vox, codes, told):
    rows, messages = compared(pair(tmp_path, off_vox=off_vox, **codes))
    assert [" off its volume " in text for _, text in messages] == [True] * told
    assert rows[1]["diff_trans_f_norm"] > 0.9


def test_forms_that_contradict_each_other_are_warned_about(tmp_path):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    nifti_files.patch(path, lambda header: header.set_qform(np.diag([-1, 1, 1, 1]) @ AFFINE, 1))
    (message,) = warned(single(path))
    assert "sform LAS [-1.5 0 0 10; " in message and "qform RAS [1.5 0 0 -10; " in message


def test_a_link_of_git_annex_to_nothing_says_so(tmp_path):
    path = tmp_path / "imagesTr/amos_0001.nii.gz"
    path.parent.mkdir()
    path.symlink_to("../.git/annex/objects/0a/1b/MD5E-s9--0/MD5E-s9--0.nii.gz")
    with pytest.raises(errors.DamagedFileError, match="fetch them with 'git annex get'"):
        archive_manifest.describe(single(path))


def test_summary_counts_everything(tmp_path):
    put(tmp_path / "a/imagesTr/amos_0001.nii.gz")
    put(tmp_path / "a/labelsTr/amos_0001.nii.gz")
    shutil.copytree(tmp_path / "a/labelsTr", tmp_path / "b/labelsTr")
    put(tmp_path / "imagesVa/amos_0002.nii.gz")
    touch(tmp_path / "other.nii.gz")
    touch(tmp_path / ".DS_Store")
    contents = archive.find(tmp_path, amos22)
    results = [(file, archive_manifest.describe(file)) for file in contents.files]
    assert archive_manifest.summary(contents, results, amos22.SUBSETS) == [
        "train: 1 volumes, 0 masks",
        "val: 1 volumes, 0 masks",
        "test: 0 volumes, 0 masks",
        "left out: 2 files; ignored: 1 other NIfTI files, 1 files of clutter",
    ]


def at_hand(*names):
    return archive.Contents(
        [archive.ArchiveFile(None, f"x/{name}.nii.gz", name, "train", {}) for name in names]
    )


def test_of_known_faults_five_ids_are_told_and_of_unconfirmed_and_mended_ones_the_number():
    pairs = [f"amos_{seq}" for seq in ("0218", "0219", "0279", "0280", "0593", "0595")]
    contents = at_hand(*pairs[:5], "amos_5073", "amos_5120", "amos_5437", "amos_9999")
    contents.doubles.extend(at_hand(pairs[5]).files)
    told = archive_manifest.known_fault_notes(contents, amos22, is_mended=True)
    spleens = (
        "same birth date, sex, day and scanner as 0218/0219, 0279/0280, 0517/0518, 0593/0595, but "
        "spleens differ by more than half"
    )
    reported = "left out by other projects because of errors at run time; not confirmed"
    assert told == [
        f"damaged: 2 scans, {reported} (unlabelled archive) | 1 scan, cannot be decompressed "
        "(unlabelled archive): amos_5437",
        "metadata: 2 scans, id in the metadata table one too low: mended",
        f"patient: 6 scans, {spleens}: {', '.join(pairs[:5])} and 1 more",
    ]
    unmended = archive_manifest.known_fault_notes(contents, amos22, is_mended=False)
    assert unmended == [told[0], told[2]]
    assert archive_manifest.known_fault_notes(contents, nme, is_mended=True) == []


# ---- what is coloured


def marks_of(root, facts=amos22):
    """{path below the archive: its marks} of all rows that have some."""
    outcome = calls.Outcome(described(root))
    archive_manifest.make_rows(outcome, archive.Contents(), facts)
    return {file.relative_path: seen.marks for file, seen in outcome.results if seen.marks}


def test_a_healthy_pair_and_a_test_scan_are_not_coloured(tmp_path):
    for name in ("imagesTr/amos_0001", "labelsTr/amos_0001", "imagesTs/amos_0002"):
        put(tmp_path / f"{name}.nii.gz")
    assert marks_of(tmp_path) == {}


def test_failed_pairs_are_coloured(tmp_path):
    put(tmp_path / "imagesTr/amos_0001.nii.gz")
    put(tmp_path / "labelsVa/amos_0002.nii.gz")
    put(tmp_path / "imagesTr/amos_0003.nii.gz")
    put(tmp_path / "labelsVa/amos_0003.nii.gz", shape=(7, 8, 10))
    assert marks_of(tmp_path) == {
        "imagesTr/amos_0001.nii.gz": {"type": "failed"},
        "labelsVa/amos_0002.nii.gz": {"type": "failed"},
        "labelsVa/amos_0003.nii.gz": {
            **dict.fromkeys(("subset", "szx", "szy", "szz"), "failed"),
            "file_path": "odd",
        },
    }


@pytest.mark.parametrize(
    "offset_mm, marks",
    [
        (0.0009, {}),
        (0.0011, {"diff_trans_f_norm": "odd"}),
        (0.9, {"diff_trans_f_norm": "failed", "file_path": "odd"}),
    ],
)
def test_a_mask_off_its_volume_is_coloured_as_routine_02_takes_it(tmp_path, offset_mm, marks):
    moved = AFFINE.copy()
    moved[0, 3] = 0  # so that float32 keeps the offset
    put(tmp_path / "imagesTr/amos_0001.nii.gz", affine=moved.copy())
    moved[0, 3] = offset_mm
    put(tmp_path / "labelsTr/amos_0001.nii.gz", affine=moved)
    expected = {"labelsTr/amos_0001.nii.gz": marks} if marks else {}
    assert marks_of(tmp_path) == expected


def test_a_mask_along_other_axes_and_a_header_to_look_at_are_coloured(tmp_path):
    volume = nib.load(put(tmp_path / "imagesTr/amos_0001.nii.gz"))
    turned = volume.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    (tmp_path / "labelsTr").mkdir()
    nib.save(turned, tmp_path / "labelsTr/amos_0001.nii.gz")
    patched(put(tmp_path / "imagesTs/amos_0002.nii.gz"), 80, struct.pack("<f", 1.6))  # pixdim[1]
    with pytest.warns(errors.DataWarning, match="pixdim"):
        marks = marks_of(tmp_path)
    assert marks["imagesTs/amos_0002.nii.gz"] == {"file_path": "odd"}
    of_mask = marks["labelsTr/amos_0001.nii.gz"]
    assert {name for name, mark in of_mask.items() if mark == "odd"} == {
        *("orientation_from", "orientation_to", "diff_trans_f_norm", "file_path")
    }

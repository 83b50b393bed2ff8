"""What is found in an archive, and what its headers say."""

import gzip
import json
import os
import shutil
import stat
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest

from utils import errors
from utils.facts import amos22
from utils.routines import archive

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1.0]])


def put(path, shape=SHAPE, affine=AFFINE, dtype=np.int16):
    """Write a small image; what lies in it does not matter here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def patched(path, offset, content):
    """Overwrite bytes of the uncompressed file, so that the gzip around them stays sound."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw), mtime=0))
    return path


def described(root, check_content=False):
    contents = archive.find(root, amos22)
    return [(file, archive.describe(file, check_content)) for file in contents.files]


def single(path):
    """The only file of an archive that holds nothing else."""
    (file,) = archive.find(path.parents[1], amos22).files
    return file


def warned(file):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        archive.describe(file)
    assert all(entry.category is errors.DataWarning for entry in caught)
    return [str(entry.message) for entry in caught]


# --- finding files -------------------------------------------------------------------------------


def test_files_come_by_sample_and_volume_before_mask(tmp_path):
    for name in (
        "z/labelsTr/amos_0002",
        "imagesVa/amos_0001",
        "a b/größe/imagesTr/amos_0002",
        "labelsVa/amos_0001",
        "imagesTs/amos_0010",
    ):
        touch(tmp_path / f"{name}.nii.gz")
    contents = archive.find(tmp_path, amos22)
    assert [file.relative_path for file in contents.files] == [
        "imagesVa/amos_0001.nii.gz",
        "labelsVa/amos_0001.nii.gz",
        "a b/größe/imagesTr/amos_0002.nii.gz",
        "z/labelsTr/amos_0002.nii.gz",
        "imagesTs/amos_0010.nii.gz",
    ]
    first = contents.files[0]
    assert (first.sample, first.type, str(first)) == (
        "amos_0001",
        "v3d",
        "imagesVa/amos_0001.nii.gz",
    )
    assert first.subset == "val"
    assert first.columns == {"subset": "val", "seq": "0001", "type": "v3d"}
    assert (contents.failures, contents.ignored, contents.n_clutter) == ([], [], 0)


def test_clutter_is_counted_and_nothing_else_happens(tmp_path):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    for name in (
        ".DS_Store",
        "imagesTr/.DS_Store",
        "imagesTr/._amos_0001.nii.gz",
        "._imagesTr",
        "__MACOSX/imagesTr/amos_0001.nii.gz",
        "__MACOSX/dataset.json",
        "imagesTr/.part~host~1~2~3",
        "._x/imagesTr/amos_0001.nii.gz",
    ):
        touch(tmp_path / name)
    contents = archive.find(tmp_path, amos22)
    assert [str(file) for file in contents.files] == ["imagesTr/amos_0001.nii.gz"]
    assert contents.n_clutter == 8
    assert (contents.failures, contents.ignored, contents.others) == ([], [], [])


def test_clutter_above_the_root_does_not_count(tmp_path):
    root = tmp_path / "__MACOSX"
    touch(root / "imagesTr/amos_0001.nii.gz")
    assert len(archive.find(root, amos22).files) == 1


def test_foreign_images_are_ignored_by_name_and_other_files_kept_apart(tmp_path):
    for name in (
        "imagesTr/amos_1.nii.gz",
        "imagesTr/amos_0001.nii",
        "amos_0002.nii.gz",
        "x.NII.GZ",
        "dataset.json",
        "sub/labeled_data_meta_0000_0599.csv",
        "readme.md",
    ):
        touch(tmp_path / name)
    contents = archive.find(tmp_path, amos22)
    assert contents.files == []
    assert contents.ignored == [
        "amos_0002.nii.gz",
        "imagesTr/amos_0001.nii",
        "imagesTr/amos_1.nii.gz",
        "x.NII.GZ",
    ]
    assert contents.matching("dataset.json") == ["dataset.json"]
    assert contents.matching("labeled_data_meta_*.csv") == ["sub/labeled_data_meta_0000_0599.csv"]


def test_the_same_seq_and_type_twice_is_left_out_and_both_are_named(tmp_path):
    for name in (
        "one/imagesTr/amos_0001",
        "two/imagesVa/amos_0001",
        "one/labelsTr/amos_0001",
        "one/imagesTr/amos_0002",
    ):
        touch(tmp_path / f"{name}.nii.gz")
    contents = archive.find(tmp_path, amos22)
    assert [str(file) for file in contents.files] == [
        "one/labelsTr/amos_0001.nii.gz",
        "one/imagesTr/amos_0002.nii.gz",
    ]
    ((name, error),) = contents.failures
    assert (name, error.code) == ("amos_0001", "double")
    for path in ("one/imagesTr/amos_0001.nii.gz", "two/imagesVa/amos_0001.nii.gz"):
        assert path in str(error)
        assert path in map(str, contents.doubles)


def test_folder_links_are_followed_but_every_folder_is_looked_at_once(tmp_path):
    root = tmp_path / "archive"
    touch(tmp_path / "elsewhere/imagesTr/amos_0001.nii.gz")
    touch(root / "zz/imagesTr/amos_0002.nii.gz")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere/imagesTr/..")
    (root / "aa").symlink_to(root / "zz")
    (root / "zz/self").symlink_to(root / "zz")
    (tmp_path / "elsewhere/back").symlink_to(root)
    contents = archive.find(root, amos22)
    assert [str(file) for file in contents.files] == [
        "again/imagesTr/amos_0001.nii.gz",
        "zz/imagesTr/amos_0002.nii.gz",
    ]
    assert contents.failures == []


def test_links_to_folders_above_the_root_are_not_followed(tmp_path):
    root = tmp_path / "archive"
    touch(root / "imagesTr/amos_0001.nii.gz")
    touch(tmp_path / "grouped/imagesTr/amos_0009.nii.gz")
    for name, target in {"up": "..", "top": "/", "loop": "."}.items():
        (root / name).symlink_to(target)
    assert [str(file) for file in archive.find(root, amos22).files] == ["imagesTr/amos_0001.nii.gz"]


def test_a_linked_root_and_a_relative_one_are_the_same_archive(tmp_path, monkeypatch):
    touch(tmp_path / "real/imagesTr/amos_0001.nii.gz")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for root in ("link", "real", "./real/../link"):
        (file,) = archive.find(root, amos22).files
        assert (str(file), file.path.is_file()) == ("imagesTr/amos_0001.nii.gz", True)


def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path, monkeypatch):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    touch(tmp_path / "labelsTr/amos_0001.nii.gz")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("labelsTr"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list everything
    contents = archive.find(tmp_path, amos22)
    assert [str(file) for file in contents.files] == ["imagesTr/amos_0001.nii.gz"]
    ((name, error),) = contents.failures
    assert name == "labelsTr"
    assert "Permission denied" in str(error)


@pytest.mark.parametrize("folder", [b"caf\xe9", b"two\nlines", b"bell\x07"])
def test_paths_that_no_table_can_hold_are_left_out_and_shown_escaped(tmp_path, folder):
    path = os.path.join(os.fsencode(tmp_path), folder, b"imagesTr")
    try:
        os.makedirs(path)
    except OSError:
        pytest.skip("this file system refuses such names itself")
    with open(os.path.join(path, b"amos_0001.nii.gz"), "wb"):
        pass
    contents = archive.find(tmp_path, amos22)
    assert contents.files == []
    ((name, error),) = contents.failures
    assert error.code == "name"
    assert f"{name}\n{error}\n{error.file}".encode().isascii()
    assert "\n" not in name + str(error)


def test_listed_names_stop_at_ten():
    names = [f"n{number}" for number in range(12)]
    assert archive.listed(names[:10]).endswith("n8, n9")
    assert archive.listed(names).endswith("n8, n9 and 2 more")
    assert archive.listed(["a\nb"]) == "a\\nb"


# --- headers -------------------------------------------------------------------------------------


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
    np.testing.assert_allclose(description.affine, turned, atol=1e-4)


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
    assert description.shape == SHAPE


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
        archive.describe(file)
    assert "\n" not in str(caught.value)
    assert archive.size_bytes(file) == (
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
    assert archive.describe(single(path)).shape == (30, 30, 30)
    with pytest.raises(errors.DamagedFileError, match="amos_0001.nii.gz"):
        archive.describe(single(path), check_content=True)


def test_several_gzip_members_are_legal(tmp_path):
    path = put(tmp_path / "imagesTr/amos_0001.nii.gz")
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    assert archive.describe(single(path), check_content=True).shape == SHAPE


# --- pairs ---------------------------------------------------------------------------------------


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
    rows, messages = archive.compare_pairs(described(tmp_path))
    assert [(row["seq"], row["type"], row["diff_trans_f_norm"]) for row in rows] == [
        ("0001", "v3d", None),
        ("0001", "m3d", 5.0),
        ("0002", "v3d", None),
        ("0002", "m3d", 0.0),
        ("0003", "v3d", None),
        ("0004", "m3d", None),
    ]
    assert messages == []


def test_a_pair_of_unequal_size_or_subset_is_warned_about(tmp_path):
    put(tmp_path / "imagesTr/amos_0001.nii.gz")
    put(tmp_path / "labelsVa/amos_0001.nii.gz", shape=(8, 7, 9), dtype=np.uint16)
    _, messages = archive.compare_pairs(described(tmp_path))
    assert [name for name, _ in messages] == ["labelsVa/amos_0001.nii.gz"] * 2
    size, subset = (text for _, text in messages)
    assert "8 x 7 x 9" in size
    assert "7 x 8 x 9" in size
    assert "lies in val" in subset
    assert "in train" in subset


# --- dataset.json and tables ---------------------------------------------------------------------


def check_json(root):
    return archive.check_dataset_json(root, archive.find(root, amos22), amos22)


def test_a_dataset_json_that_fits_says_nothing(tmp_path):
    for name in ("imagesTr/amos_0001", "labelsTr/amos_0001", "imagesTs/amos_0002"):
        touch(tmp_path / f"release/{name}.nii.gz")
    touch(
        tmp_path / "release/dataset.json",
        json.dumps(
            {
                "labels": {"8": "arota"},
                "numTraining": 1,
                "training": [
                    {"image": "./imagesTr/amos_0001.nii.gz", "label": "./labelsTr/amos_0001.nii.gz"}
                ],
                "test": ["imagesTs/amos_0002.nii.gz"],
            }
        ).encode("utf-8-sig"),
    )
    assert check_json(tmp_path) == []


def test_another_split_in_dataset_json_is_named_and_the_folder_stays(tmp_path):
    touch(tmp_path / "imagesVa/amos_0001.nii.gz")
    touch(tmp_path / "imagesTr/amos_0002.nii.gz")
    touch(
        tmp_path / "dataset.json",
        json.dumps(
            {
                "training": [{"image": "./imagesVa/amos_0001.nii.gz"}],
                "validation": [{"image": "./imagesVa/amos_0002.nii.gz"}],
            }
        ).encode(),
    )
    ((name, text),) = check_json(tmp_path)
    assert name == "dataset.json"
    assert "2 files in another subset" in text
    assert "imagesVa/amos_0001.nii.gz (train by the list)" in text
    assert "imagesTr/amos_0002.nii.gz (val by the list)" in text
    assert archive.find(tmp_path, amos22).files[0].columns["subset"] == "val"


def test_files_of_dataset_json_that_are_not_on_disk_are_counted_and_named(tmp_path):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    items = [{"image": f"./imagesTr/amos_{number:04d}.nii.gz"} for number in range(1, 14)]
    items.append({"label": "./labelsTr/amos_0001.nii.gz"})
    touch(tmp_path / "dataset.json", json.dumps({"training": items}).encode())
    ((_, text),) = check_json(tmp_path)
    assert "13 files that are not on disk: ./imagesTr/amos_0002.nii.gz, " in text
    assert text.endswith("./imagesTr/amos_0011.nii.gz and 3 more")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"[" * 100_000,
        b'{"training": 7}',
        b'{"training": [[], {"image": 4}]}',
        b'{"test": {"image": ["x"]}}',
    ],
)
def test_a_dataset_json_that_makes_no_sense_is_a_warning(tmp_path, content):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    touch(tmp_path / "dataset.json", content)
    touch(tmp_path / "__MACOSX/dataset.json", b"{")
    ((name, text),) = check_json(tmp_path)
    assert name == "dataset.json"
    assert text
    assert "\n" not in text


def test_tables_are_taken_from_below_the_root_first_then_from_beside_it(tmp_path):
    root = tmp_path / "archive"
    touch(root / "imagesTr/amos_0001.nii.gz")
    pattern = amos22.TABLE_PATTERN
    assert archive.find_tables(root, archive.find(root, amos22), pattern) == []
    beside = touch(tmp_path / "labeled_data_meta_0000_0599.csv")
    touch(tmp_path / "._labeled_data_meta_0000_0599.csv")
    assert archive.find_tables(root, archive.find(root, amos22), pattern) == [beside]
    below = touch(root / "b/labeled_data_meta_0000_0599.csv")
    touch(root / "__MACOSX/labeled_data_meta_0000_0599.csv")
    assert archive.find_tables(root, archive.find(root, amos22), pattern) == [below]
    second = touch(root / "a/labeled_data_meta_0000_0599.csv")
    assert archive.find_tables(root, archive.find(root, amos22), pattern) == [second, below]


def test_a_table_beside_a_linked_root_or_its_target_is_found(tmp_path):
    touch(tmp_path / "disk/real/imagesTr/amos_0001.nii.gz")
    root = tmp_path / "link"
    root.symlink_to("disk/real")
    contents = archive.find(root, amos22)
    target_side = touch(tmp_path / "disk/labeled_data_meta_1.csv")
    assert archive.find_tables(root, contents, amos22.TABLE_PATTERN) == [target_side]
    link_side = touch(tmp_path / "labeled_data_meta_1.csv")
    assert archive.find_tables(root, contents, amos22.TABLE_PATTERN) == [link_side]


def test_summary_counts_everything(tmp_path):
    put(tmp_path / "a/imagesTr/amos_0001.nii.gz")
    put(tmp_path / "a/labelsTr/amos_0001.nii.gz")
    shutil.copytree(tmp_path / "a/labelsTr", tmp_path / "b/labelsTr")
    put(tmp_path / "imagesVa/amos_0002.nii.gz")
    touch(tmp_path / "other.nii.gz")
    touch(tmp_path / ".DS_Store")
    contents = archive.find(tmp_path, amos22)
    results = [(file, archive.describe(file)) for file in contents.files]
    assert archive.summary(contents, results, amos22.SUBSETS) == [
        "train: 1 volumes, 0 masks",
        "val: 1 volumes, 0 masks",
        "test: 0 volumes, 0 masks",
        "left out: 2 files; ignored: 1 other NIfTI files, 1 files of clutter",
    ]

"""What is found in an archive."""

import os

import pytest
import zip_files
from phantoms import touch

from utils.facts import amos22, amos22_table
from utils.routines import archive


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


def test_tables_are_taken_from_below_the_root_first_then_from_beside_it(tmp_path):
    root = tmp_path / "archive"
    touch(root / "imagesTr/amos_0001.nii.gz")
    pattern = amos22_table.PATTERN
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
    assert archive.find_tables(root, contents, amos22_table.PATTERN) == [target_side]
    link_side = touch(tmp_path / "labeled_data_meta_1.csv")
    assert archive.find_tables(root, contents, amos22_table.PATTERN) == [link_side]


# ---- zip files


def found(contents):
    return [str(file) for file in contents.files]


def test_zips_are_looked_through_as_folders(tmp_path):
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    members = ("amos22/labelsTr/amos_0001.nii.gz", "amos22/dataset.json", "amos22/x.nii.gz")
    members += ("__MACOSX/amos22/imagesTr/amos_0009.nii.gz", "amos22/imagesTr/.DS_Store")
    zip_files.put(tmp_path / "a/AMOS 22.Zip", dict.fromkeys(members, b"x"))
    touch(tmp_path / "a/._AMOS 22.Zip")
    contents = archive.find(tmp_path, amos22)
    assert found(contents) == [
        "imagesTr/amos_0001.nii.gz",
        "a/AMOS 22.Zip/amos22/labelsTr/amos_0001.nii.gz",
    ]
    assert contents.ignored == ["a/AMOS 22.Zip/amos22/x.nii.gz"]
    assert contents.others == ["a/AMOS 22.Zip/amos22/dataset.json"]
    assert (contents.n_clutter, contents.failures) == (3, [])
    assert [file.is_zipped for file in contents.files] == [False, True]


@pytest.mark.parametrize(
    "content, told",
    [
        (b"<html>", "no zip file but a web page (HTML or XML), perhaps one that asks to log in"),
        (b"PK\x03\x04" + bytes(99), "cut off: the directory at its end is missing"),
    ],
)
def test_a_zip_that_cannot_be_used_is_named_and_all_else_is_found(tmp_path, content, told):
    zip_path = touch(tmp_path / "a/bad.zip", content)
    touch(tmp_path / "imagesTr/amos_0001.nii.gz")
    zip_files.put(tmp_path / "good.zip", {"imagesTr/amos_0002.nii.gz": b"x"})
    contents = archive.find(tmp_path, amos22)
    assert found(contents) == ["imagesTr/amos_0001.nii.gz", "good.zip/imagesTr/amos_0002.nii.gz"]
    ((name, error),) = contents.failures
    assert (name, error.code, error.file) == ("a/bad.zip", "zip", str(zip_path))
    size = len(content)
    assert str(error) == f"{zip_path}: damaged: {told}; download it again ({size} bytes)"


def test_a_zip_in_a_zip_is_named(tmp_path):
    inner = {"b/inner.ZIP": b"x", "imagesTr/amos_0001.nii.gz": b"x", "__MACOSX/._x.zip": b"x"}
    zip_path = zip_files.put(tmp_path / "a.zip", inner)
    contents = archive.find(tmp_path, amos22)
    ((name, error),) = contents.failures
    assert (name, error.code) == ("a.zip/b/inner.ZIP", "zip")
    told = "a zip file in a zip file, not looked into; unpack a.zip and move it elsewhere"
    assert str(error) == f"{zip_path}/b/inner.ZIP: {told}"
    assert (found(contents), contents.n_clutter) == (["a.zip/imagesTr/amos_0001.nii.gz"], 1)


def test_a_zip_is_looked_at_once_however_many_links_lead_to_it(tmp_path):
    root = tmp_path / "archive"
    zip_files.put(root / "b/real.zip", {"imagesTr/amos_0001.nii.gz": b"x"})
    elsewhere = zip_files.put(tmp_path / "other.zip", {"imagesTr/amos_0002.nii.gz": b"x"})
    (root / "a.zip").symlink_to(root / "b/real.zip")
    (root / "c.zip").symlink_to(elsewhere)
    (root / "d.zip").symlink_to(root / "c.zip")
    contents = archive.find(root, amos22)
    assert found(contents) == [
        "b/real.zip/imagesTr/amos_0001.nii.gz",
        "c.zip/imagesTr/amos_0002.nii.gz",
    ]


def test_what_is_called_zip_and_is_no_file_is_named_and_not_opened(tmp_path):
    (tmp_path / "nothing.zip").symlink_to("nowhere")
    (tmp_path / "annex.zip").symlink_to(".git/annex/objects/x/y/z.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    failures = dict(archive.find(tmp_path, amos22).failures)
    assert failures.keys() == {"nothing.zip", "annex.zip", "pipe.zip"}
    assert str(failures["annex.zip"]).endswith("fetch them with 'git annex get'")
    for name in ("nothing.zip", "pipe.zip"):
        told = f"{tmp_path}/{name}: no regular file, a link to nothing, or in a folder that may"
        assert str(failures[name]).startswith(told)


MEMBER = "imagesTr/amos_0001.nii.gz"


@pytest.mark.parametrize(
    "n_zips, content, counts", [(1, b"x", True), (1, b"xy", False), (2, b"x", False)]
)
def test_an_unpacked_file_counts_where_one_zip_holds_it_with_the_same_size(
    tmp_path, n_zips, content, counts
):
    touch(tmp_path / "z" / MEMBER)
    for number in range(n_zips):
        zip_files.put(tmp_path / f"{number}.zip", {MEMBER: content})
    contents = archive.find(tmp_path, amos22)
    if counts:
        assert found(contents) == [f"z/{MEMBER}"]
        assert (contents.n_zipped_too, contents.failures, contents.doubles) == (1, [], [])
        return
    ((name, error),) = contents.failures
    assert (name, error.code, found(contents)) == ("amos_0001", "double", [])
    paths = [f"z/{MEMBER}", *(f"{number}.zip/{MEMBER}" for number in range(n_zips))]
    assert [*map(str, contents.doubles)] == paths
    assert str(error).endswith("; all left out: " + ", ".join(paths))


def test_a_file_in_two_zips_or_twice_in_one_is_a_double(tmp_path):
    zip_files.put(tmp_path / "1.zip", {MEMBER: b"x", "labelsTr/amos_0001.nii.gz": b"x"})
    zip_files.put(tmp_path / "2.zip", {MEMBER: b"x"})
    zip_files.put_raw(
        tmp_path / "3.zip",
        {b"imagesVa/amos_0002.nii.gz": b"x", b"imagesVa\\amos_0002.nii.gz": b"x"},
    )
    contents = archive.find(tmp_path, amos22)
    assert found(contents) == ["1.zip/labelsTr/amos_0001.nii.gz"]
    assert [name for name, _ in contents.failures] == ["amos_0001", "amos_0002"]
    assert [*map(str, contents.doubles)] == [
        f"1.zip/{MEMBER}",
        f"2.zip/{MEMBER}",
        "3.zip/imagesVa/amos_0002.nii.gz",
        "3.zip/imagesVa/amos_0002.nii.gz",
    ]


def test_a_zipped_copy_of_a_table_counts_once_and_another_table_of_its_name_too(tmp_path):
    name = "labeled_data_meta_0000_0599.csv"
    touch(tmp_path / name, b"same")
    zip_files.put(tmp_path / "a.zip", {name: b"same"})
    zip_files.put(tmp_path / "b.zip", {f"b/{name}": b"else"})
    bad = zip_files.put(tmp_path / "c.zip", {name: b"same"})
    zip_files.edit(bad, crc=1)
    contents = archive.find(tmp_path, amos22)
    tables = archive.find_tables(tmp_path, contents, amos22_table.PATTERN)
    assert tables == [tmp_path / f"b.zip/b/{name}", tmp_path / f"c.zip/{name}", tmp_path / name]

"""Archives as downloaded, in zip files, end in the same data set as unpacked ones."""

import os
import shutil
import zipfile
import zlib
from pathlib import Path

import nme_trees
import openpyxl
import pytest
import test_real_archive
import test_reliability
import trees
import zip_files
from zip_files import DEFLATED, STORED

SCRIPTS = trees.SCAN, trees.PAIR_CT, trees.PAIR_MRI
MANIFEST = "descriptor/archive_manifest.xlsx"
real = pytest.param("real", marks=test_real_archive.pytestmark)


def build(source, root):
    """Put an archive below a folder, files as they are."""
    if source == "real":
        shutil.copytree(test_real_archive.ARCHIVE, root / "archive")
        shutil.copy(test_real_archive.TABLE, root)
        return root
    return trees.copy("built", root)


def run(script, root, *more):
    result = trees.invoke(script, root, *more)
    assert "Traceback" not in result.output
    return result


def rows(root):
    """What the archive manifest says, each file by its name and folder alone."""
    sheet = openpyxl.load_workbook(root / MANIFEST)["Manifest"]
    header, *rest = ([cell.value for cell in row] for row in sheet)
    return header, [[Path(row[0]).parts[-2:], *row[1:]] for row in rest]


@pytest.fixture(name="unpacked", scope="module", params=["phantoms", real])
def unpacked_archive(request, tmp_path_factory):
    """(which archive, its grouped tree, its manifest's rows), made of unpacked files."""
    root = build(request.param, tmp_path_factory.mktemp("unpacked") / "root")
    for script in SCRIPTS:
        assert run(script, root).exit_code == 0
    return request.param, trees.contents(root / "grouped"), rows(root)


# What becomes of the files of an archive, each time below the archive's folder.


def pack_all(archive, method=DEFLATED):
    zip_files.pack(archive, archive / "amos22.zip", method)


def pack_stored(archive):
    pack_all(archive, STORED)


def pack_in_two(archive):
    zip_files.pack(archive, archive / "one.zip", names=lambda name: "images" in name)
    (archive / "sub").mkdir()
    zip_files.pack(archive, archive / "sub/two.ZIP", STORED, lambda name: "one.zip" not in name)


def pack_a_part(archive):
    zip_files.pack(archive, archive / "a.zip", names=lambda name: "labelsTr" in name)


def pack_beside(archive):
    unpacked = shutil.copytree(archive, archive.parent / "unpacked")
    pack_all(archive)
    shutil.copytree(unpacked, archive, dirs_exist_ok=True)
    shutil.rmtree(unpacked)


@pytest.mark.parametrize(
    "pack",
    [pack_all, pack_stored, pack_in_two, pack_a_part, pack_beside],
    ids=lambda it: it.__name__,
)
def test_zips_give_the_same_tree_and_manifest(unpacked, tmp_path, pack):
    source, tree, expected = unpacked
    root = build(source, tmp_path / "root dir ä")
    pack(root / "archive")
    for script in SCRIPTS:
        result = run(script, root, "--workers", 2)
        assert (result.exit_code, trees.library_notes(result)) == (0, []), result.output
        assert trees.complaints(result) == []
        if script == trees.SCAN:
            lines = [line for line in result.stdout.splitlines() if "in a zip file" in line]
            n_files = len(expected[1])
            told = (
                f"{n_files} files lie unpacked and, of the same size, in a zip file; the unpacked"
            )
            assert lines == [f"{told} ones count"] * (pack == pack_beside)
    assert rows(root) == expected
    assert trees.contents(root / "grouped") == tree
    before = trees.identities(root / "grouped")
    for script in SCRIPTS[1:]:
        result = run(script, root)
        assert result.exit_code == 0 and " 0 done, " in result.stdout
    assert trees.identities(root / "grouped") == before


def test_nme_is_read_from_zips_as_well(tmp_path):
    roots = [nme_trees.copy("built", tmp_path / name) for name in ("plain", "zipped")]
    pack_all(roots[1] / "archive")
    for script in (nme_trees.SCAN, nme_trees.PAIR):
        for root in roots:
            assert nme_trees.invoke(script, root).exit_code == 0
    plain, zipped = (trees.contents(root / "grouped") for root in roots)
    assert plain == zipped and len(plain) > 18


# ---- damage


SAMPLE = "amos_0004"
VOLUME = f"amos22/imagesTr/{SAMPLE}.nii.gz"


def flip_a_bit(path):
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(VOLUME).compress_size
    zip_files.flip(path, zip_files.data_begin(path, VOLUME) + size // 2)


def index_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.namelist().index(VOLUME)


def spoil_the_crc(path):
    zip_files.edit(path, index_of(path), crc=1)


def hold_more_than_said(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read(VOLUME)
    zip_files.edit(path, index_of(path), size=len(content) - 9, crc=zlib.crc32(content[:-9]))


def encrypt(path):
    zip_files.edit(path, index_of(path), flags=1)


@pytest.mark.parametrize(
    "damage, told",
    [
        (flip_a_bit, "damaged: "),
        (spoil_the_crc, "the zip's directory says 00000001"),
        (hold_more_than_said, "bytes of the zip's directory"),
        (encrypt, "is encrypted; unpack the zip file with its password"),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
@pytest.mark.parametrize("more", [(), ("--check_content",)])
def test_a_damaged_member_is_named_and_all_others_are_done(tmp_path, damage, told, more):
    root = trees.copy("paired", tmp_path / "root")
    expected = trees.contents(root / "grouped")
    n_rows = len(rows(root)[1])
    shutil.rmtree(root / "grouped")
    pack_all(root / "archive")
    (root / MANIFEST).unlink()
    assert run(trees.SCAN, root).exit_code == 0
    damage(root / "archive/amos22.zip")
    for script in SCRIPTS[1:]:
        result = run(script, root)
        failed = trees.complaints(result)
        assert (result.exit_code, len(failed)) == ((1, 1) if script == trees.PAIR_CT else (0, 0))
        if failed:
            assert failed[0].startswith(f"FAILED {SAMPLE}: ") and told in failed[0]
            assert f"{root}/archive/amos22.zip/{VOLUME}: " in failed[0]
    found = trees.contents(root / "grouped")
    assert found == {name: expected[name] for name in expected if SAMPLE not in name}
    result = run(trees.SCAN, root, *more)
    (failed,) = trees.complaints(result)
    assert result.exit_code == 1
    assert failed.startswith(f"FAILED amos22.zip/{VOLUME}: ") and told in failed
    assert len(rows(root)[1]) == n_rows - 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_cut_zip_is_named_and_all_else_is_done(tmp_path, script):
    root = trees.copy("built", tmp_path / "root")
    archive = root / "archive"
    zip_files.pack(archive, archive / "a.zip", names=lambda name: "labelsVa" in name)
    zip_files.pack(archive, archive / "b.zip", names=lambda name: "images" in name)
    if script != trees.SCAN:
        assert run(trees.SCAN, root).exit_code == 0
    os.truncate(archive / "a.zip", (archive / "a.zip").stat().st_size - 1)
    result = run(script, root)
    assert result.exit_code == 1
    size = f"({(archive / 'a.zip').stat().st_size:,} bytes)"
    named = [line for line in trees.complaints(result) if line.startswith("FAILED a.zip: ")]
    (line,) = named
    told = "damaged: cut off: the directory at its end is missing; download it again"
    assert line.endswith(f"{archive}/a.zip: {told} {size}")
    if script == trees.SCAN:
        assert len(trees.complaints(result)) == 1
        assert len(rows(root)[1]) == 14 - 2
        return
    (missing,) = [line for line in trees.complaints(result) if line not in named]
    assert "the mask of the manifest is not there: " in missing and "a.zip/" in missing
    assert "Samples: train 2, val 0, test 1" in result.stdout


def test_a_manifest_that_names_members_of_a_zip_that_is_gone(tmp_path):
    root = trees.copy("built", tmp_path / "root")
    zip_files.pack(root / "archive", root / "archive/a.zip", names=lambda name: "labelsTr" in name)
    assert run(trees.SCAN, root).exit_code == 0
    zip_files.put(root / "archive/a.zip", {"readme": b"x"})
    missing = trees.complaints(run(trees.PAIR_CT, root))
    assert [line.split(":")[0] for line in missing] == ["FAILED amos_0001", "FAILED amos_0004"]
    assert f"{root}/archive/a.zip/amos22/labelsTr/amos_0001.nii.gz does not exist" in missing[0]
    (root / "archive/a.zip").unlink()
    assert trees.complaints(run(trees.PAIR_CT, root)) == missing


# ---- further


def test_the_metadata_table_may_lie_in_a_zip_and_be_named_there(tmp_path):
    root = trees.copy("built", tmp_path / "root")
    (table,) = root.rglob("labeled_data_meta_*.csv")
    inner = zip_files.put(tmp_path / "tables.zip", {f"t/{table.name}": table.read_bytes()})
    table.unlink()
    result = run(trees.SCAN, root, "--labeled_data_meta", inner / "t/no.csv")
    assert result.exit_code == 2
    assert f"no such file: {inner}/t/no.csv (nearest that exists: {inner})" in result.stderr
    result = run(trees.SCAN, root, "--labeled_data_meta", inner / "t" / table.name)
    assert result.exit_code == 0, result.output
    expected = rows(root)
    shutil.move(inner, root / "archive")
    (root / MANIFEST).unlink()
    assert run(trees.SCAN, root).exit_code == 0
    assert rows(root) == expected


def test_disk_space_and_order_go_by_the_size_in_the_zip(tmp_path, monkeypatch):
    root = trees.copy("built", tmp_path / "root")
    pack_all(root / "archive")
    assert run(trees.SCAN, root).exit_code == 0
    usage = shutil.disk_usage(root)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    result = run(trees.PAIR_CT, root)
    assert result.exit_code == 2 and "not enough disk space" in result.stderr


@pytest.mark.slow("kills")
def test_killed_at_every_rename_a_rerun_ends_in_the_same_bytes(tmp_path):
    start = trees.copy("built", tmp_path / "start")
    pack_all(start / "archive")
    assert run(trees.SCAN, start).exit_code == 0
    whole = shutil.copytree(start, tmp_path / "whole")
    assert run(trees.PAIR_CT, whole).exit_code == 0
    expected = test_reliability.images(whole)
    for number in range(1, 100):
        root = shutil.copytree(start, tmp_path / str(number))
        was_killed = test_reliability.killed_at("replace", number, trees.PAIR_CT, root, ())
        test_reliability.check_whole(root, {}, expected)
        assert run(trees.PAIR_CT, root).exit_code == 0
        assert test_reliability.images(root) == expected and not trees.leftovers(root)
        shutil.rmtree(root)
        if not was_killed:
            break
    assert number > len(expected) - 2

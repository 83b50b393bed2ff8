"""Killed, without disk space, without permission, with damaged files: the scripts as they are."""

import contextlib
import errno
import gzip
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import phantoms
import pytest
import trees

from utils.storage import processes, samples

pytestmark = pytest.mark.slow("kills, full disks, attacks")
# Every routine that writes into the grouped tree: the state before it, and its options.
STAGES = {
    trees.PAIR_CT: ("scanned", ()),
    trees.SPLIT_LABEL: ("paired", ()),
    trees.EXTRACT: ("relabelled", ()),
    trees.DENOISE: ("extracted", ("--region_area_thresh", "3000")),
}
ONE = "amos_0008"  # a woman with label 15, and with small regions


@pytest.fixture(name="stage", params=STAGES, ids=["02", "03", "04", "denoising"])
def each_stage(request):
    """(script, state before it, options)."""
    return request.param, *STAGES[request.param]


def keep_one_sample(root):
    """Leave one CT sample, to look at every step of its work."""
    for folder in (root / "grouped").glob("AMOS-*/*/*/amos_*"):
        if folder.name != f"{ONE}_F":
            shutil.rmtree(folder)
    for folder in ("imagesTr", "imagesTs"):
        with contextlib.suppress(AssertionError):
            trees.delete_rows(root / "descriptor/archive_manifest.xlsx", f"{folder}/amos_0")
    trees.delete_rows(root / "descriptor/archive_manifest.xlsx", "labelsTr/amos_0")
    return root


def images(root):
    """Relative path -> bytes of every NIfTI and YAML file of the grouped tree."""
    found = trees.contents(root / "grouped").items()
    return {name: content for name, content in found if not name.endswith(".xlsx")}


def kept_of(root):
    """Relative path -> bytes of the masks that denoising has kept."""
    return trees.contents(root / samples.BEFORE_DENOISING)


def originals(found):
    """The multi-label masks among some files."""
    return {name: content for name, content in found.items() if name.endswith("_mask.nii.gz")}


def check_whole(root, before, after):
    """Every file under a final name is as it was or as an uninterrupted run leaves it."""
    for name, content in images(root).items():
        if not name.rpartition("/")[2].startswith(processes.TEMPORARY_PREFIX):
            assert content in (before.get(name), after.get(name)), name


# --- killed at every step -----------------------------------------------------------------------


def killed_at(call, number, script, root, options):
    """Run a script in a child that kills itself at a call's n-th use; tell whether it did."""
    child = os.fork()
    if child == 0:
        counter, real = itertools.count(1), getattr(os, call)

        def deadly(*args, **kwargs):
            if next(counter) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(os, call, deadly)
        try:
            trees.invoke(script, root, *options)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_killed_at_every_rename_and_every_flush(tmp_path, stage, call):
    script, state, options = stage
    start = keep_one_sample(trees.copy(state, tmp_path / "start"))
    whole = tmp_path / "whole"
    shutil.copytree(start, whole)
    assert trees.invoke(script, whole, *options).exit_code == 0
    before, after, kept = images(start), images(whole), kept_of(whole)
    assert before != after and len(kept) == (script == trees.DENOISE)
    for number in itertools.count(1):
        root = tmp_path / str(number)
        shutil.copytree(start, root)
        was_killed = killed_at(call, number, script, root, options)
        check_whole(root, before, after)
        assert kept_of(root) == kept or images(root).items() >= before.items()
        result = trees.invoke(script, root, *options)
        assert result.exit_code == 0, result.output
        assert images(root) == after and not trees.leftovers(root)
        assert kept_of(root) == kept
        if number == 1:  # all others end in the same bytes
            stamps = trees.identities(root)
            assert trees.invoke(script, root, *options).exit_code == 0
            assert trees.identities(root) == stamps
        shutil.rmtree(root)
        if not was_killed:
            break
    n_written = len([name for name in after if after[name] != before.get(name)])
    assert number - 1 >= n_written  # each new file was flushed and renamed once


def test_a_manifest_is_the_old_or_the_new_one(tmp_path):
    root = trees.copy("indexed", tmp_path / "root")
    path = root / "grouped/dataset_manifest.xlsx"
    old = path.read_bytes()
    shutil.rmtree(trees.sample_dir(root, "amos_0201"))
    for call in ("replace", "fsync"):
        assert killed_at(call, 1, trees.INDEX, root, ())
        assert path.read_bytes() == old and len(trees.leftovers(root)) == 2  # the hold, too
    assert trees.invoke(trees.INDEX, root).exit_code == 0
    assert path.read_bytes() != old and not trees.leftovers(root)


# --- killed at any moment -----------------------------------------------------------------------


@pytest.fixture(name="larger", scope="module")
def larger_archive(tmp_path_factory):
    """Scans that take their time, and the tree that an uninterrupted chain makes of them."""
    root = tmp_path_factory.mktemp("larger") / "start"
    phantoms.build_archive(root, shape=(96, 80, 40), n_ct=4, n_mri=0, spacing=(3.4, 3.0, 9.0))
    (root / "descriptor").mkdir()
    shutil.copy(trees.LABEL_MAP, root / "descriptor")
    assert trees.invoke(trees.SCAN, root).exit_code == 0
    whole = root.parent / "whole"
    shutil.copytree(root, whole)
    states = [images(whole)]
    for script in STAGES:
        assert trees.invoke(script, whole, *larger_options(script)).exit_code == 0
        states.append(images(whole))
    return root, states


def larger_options(script):
    return ("--region_area_thresh", "60") if script == trees.DENOISE else ()


def start(script, root, workers):
    words = trees.words(script, root, *larger_options(script), "--workers", workers)
    return subprocess.Popen(
        [sys.executable, trees.REPOSITORY / script, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill_at_work(process, root, delay_s, whole_group):
    """SIGKILL a run some time after its first temporary file was seen."""
    while process.poll() is None and not trees.leftovers(root):
        pass
    time.sleep(delay_s)
    with contextlib.suppress(ProcessLookupError):
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.communicate()  # until the workers, who hold stderr, are gone too
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_the_chain_ends_in_the_same_bytes(tmp_path, larger, workers):
    source, states = larger
    root = tmp_path / "root dir ä"
    shutil.copytree(source, root)
    chance = random.Random(workers)
    n_kills = 0
    for script, before, after in zip(STAGES, states, states[1:]):
        for kill in range(3 if script != trees.SPLIT_LABEL else 1):
            process = start(script, root, workers)
            n_kills += kill_at_work(process, root, chance.uniform(0, 0.05), kill % 2)
            check_whole(root, before, after)
            assert originals(kept_of(root)).items() <= originals(before).items()
        finishing = start(script, root, workers)
        assert finishing.communicate()[1] == b"" and finishing.returncode == 0
        assert images(root) == after
        assert not trees.leftovers(root)
    assert kept_of(root) and kept_of(root) == {
        name: content
        for name, content in originals(before).items()
        if gzip.decompress(content)[352:] != gzip.decompress(after[name])[352:]
    }
    assert n_kills >= 4
    stamps = trees.identities(root)
    for script in STAGES:
        assert trees.invoke(script, root, *larger_options(script)).exit_code == 0
    assert trees.identities(root) == stamps


# --- no space, no permission --------------------------------------------------------------------


@pytest.fixture(name="disk")
def small_disk(tmp_path):
    """A file system of 8 MB of its own, where this user may mount one."""
    folder = tmp_path / "disk ü"
    folder.mkdir()
    mount = shutil.which("mount")
    words = [mount, *"-t tmpfs -o size=8m tmpfs".split(), folder]
    if not mount or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    """Use up what is free, and return the file that holds it."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(b"\1" * 4096)
    assert shutil.disk_usage(disk).free == 0
    return filler


def untouched(root, before, result, status, reason):
    """A run that could write nothing: it says so, without traceback, and left all as it was."""
    assert result.exit_code == status, result.output
    assert reason in result.stderr and "Traceback" not in result.stderr
    assert not trees.leftovers(root)
    assert images(root) == before


def test_a_full_disk_fails_the_samples_and_leaves_nothing_half_done(disk, stage, monkeypatch):
    script, state, options = stage
    root = trees.copy(state, disk / "root")
    if script == trees.PAIR_CT:  # otherwise the estimate alone would stop it
        monkeypatch.setattr("utils.routines.pairs.GROWTH", 0)
        for subset in ("train", "val", "test"):
            (root / "grouped/AMOS-CT" / subset).mkdir(parents=True)
    before = images(root)
    filler = fill(disk)
    result = trees.invoke(script, root, *options)
    untouched(root, before, result, 1, "No space left on device")
    assert len(trees.complaints(result)) >= 3
    filler.unlink()
    result = trees.invoke(script, root, *options)
    assert result.exit_code == 0 and images(root) != before


def test_a_disk_that_fills_up_on_the_way(disk):
    """Room for some of a sample's binary masks: none of them gets its name."""
    root = trees.copy("relabelled", disk / "root")
    before = images(root)
    filler = fill(disk)
    os.truncate(filler, os.path.getsize(filler) - 5 * 4096)
    untouched(root, before, trees.invoke(trees.EXTRACT, root), 1, "No space left on device")


def test_workbooks_on_a_full_disk(disk):
    root = trees.copy("indexed", disk / "root")
    shutil.rmtree(trees.sample_dir(root, "amos_0201"))
    before = trees.contents(root / "grouped")
    filler = fill(disk)
    for script in (trees.INDEX, trees.DETECT):
        result = trees.invoke(script, root)
        assert result.exit_code == 1 and "No space left on device" in result.stderr
        summary = r"samples: \d+ done, 0 skipped as finished, 0 failed\n"
        assert re.fullmatch(summary, result.stdout)
    filler.unlink()
    assert trees.contents(root / "grouped") == before and not trees.leftovers(root)


def test_a_read_only_disk(disk, stage):
    script, state, options = stage
    root = trees.copy(state, disk / "root")
    before = images(root)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    status = 2 if script == trees.PAIR_CT else 1  # it cannot even make its folders
    untouched(root, before, trees.invoke(script, root, *options), status, "Read-only file system")


@pytest.mark.parametrize("number", [1, 2])
def test_no_space_at_a_flush_fails_this_sample_alone(tmp_path, stage, number, monkeypatch):
    """Also where no file system can be mounted: the system reports a full disk late, at fsync."""
    script, state, options = stage
    root = trees.copy(state, tmp_path / "root")
    whole = trees.copy(state, tmp_path / "whole")
    assert trees.invoke(script, whole, *options).exit_code == 0
    real, counter = os.fsync, itertools.count(1)

    def full(descriptor):
        if next(counter) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        result = trees.invoke(script, root, *options)
    assert result.exit_code == 1 and len(trees.complaints(result)) == 1
    assert "No space left on device" in result.stderr and not trees.leftovers(root)
    assert trees.invoke(script, root, *options).exit_code == 0
    assert images(root) == images(whole)


# --- damaged and hostile files ------------------------------------------------------------------


def rewrite(path, change):
    """Change what a .nii.gz file holds; its checksum and length stay right."""
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def header_with(path, offset, new):
    """Put bytes into the header."""
    rewrite(path, lambda content: content[:offset] + new + content[offset + len(new) :])


def put_shape(path, *lengths):
    header_with(path, 40, np.array(lengths, "<i2").tobytes())


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


DAMAGES = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "trailer cut": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "one byte cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one bit flipped": flip_bit,
    "junk behind": lambda path: path.write_bytes(path.read_bytes() + b"junk"),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"<html>not found</html>"),
    "not compressed": lambda path: path.write_bytes(gzip.decompress(path.read_bytes())),
    "voxels missing": lambda path: rewrite(path, lambda content: content[:-10]),
    "32000 x 32000 x 30": lambda path: put_shape(path, 3, 32000, 32000, 30, 1, 1, 1, 1),
    "two frames": lambda path: put_shape(path, 4, 7, 8, 3, 3, 1, 1, 1),
    "no length": lambda path: put_shape(path, 3, 7, 0, 9, 1, 1, 1, 1),
    "affine NaN": lambda path: (
        header_with(path, 280, np.full(12, np.nan, "<f4").tobytes()),
        header_with(path, 252, np.array([0, 1], "<i2").tobytes()),
    ),
    "no NIfTI": lambda path: path.write_bytes(gzip.compress(b"x" * 5000)),
}


@pytest.fixture(name="damage", params=DAMAGES)
def each_damage(request):
    """A function that damages a file."""
    return DAMAGES[request.param]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_damaged_archive_files_fail_their_sample_alone(tmp_path, damage, folder):
    root = trees.copy("scanned", tmp_path / "root")
    path = trees.archive_file(root, folder, "amos_0004")
    damage(path)
    result = trees.invoke(trees.PAIR_CT, root)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_0004:") and str(path) in line
    assert "3 done, 0 skipped as finished, 1 failed" in result.stdout
    assert not trees.leftovers(root) and not list(root.rglob("amos_0004_*_*"))
    others = {"amos_0001_F", "amos_0008_F", "amos_0201_M"}
    assert {found.name for found in root.glob("grouped/*/*/*/*")} == others


@pytest.mark.parametrize(
    "script",
    [trees.SPLIT_LABEL, trees.EXTRACT, trees.DENOISE, trees.DETECT, trees.INDEX],
    ids=["03", "04", "denoising", "detection", "05"],
)
def test_damaged_masks_fail_their_sample_alone(tmp_path, damage, script):
    root = trees.copy("extracted", tmp_path / "root")
    path = trees.mask_path(root, ONE)
    damage(path)
    before = trees.contents(trees.sample_dir(root, ONE))
    result = trees.invoke(script, root)
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    lines = trees.complaints(result)
    assert all(line.startswith(f"FAILED {ONE}:") for line in lines)
    assert any(str(path) in line for line in lines)
    assert trees.contents(trees.sample_dir(root, ONE)) == before and not trees.leftovers(root)
    counts = re.findall(r"\d+", result.stdout.splitlines()[-1])
    done, skipped, failed = map(int, counts)
    assert (done + skipped, failed) == (7 if script == trees.INDEX else 5, 1)


@pytest.mark.parametrize(
    "script", [trees.DENOISE, trees.DETECT, trees.INDEX], ids=["denoising", "detection", "05"]
)
def test_damaged_binary_masks_fail_their_sample_alone(tmp_path, damage, script):
    root = trees.copy("extracted", tmp_path / "root")
    path = trees.binary_masks(root, ONE)[6]
    damage(path)
    before = trees.contents(trees.sample_dir(root, ONE))
    result = trees.invoke(script, root)
    assert result.exit_code == 1
    lines = trees.complaints(result)
    assert all(line.startswith(f"FAILED {ONE}:") for line in lines)
    assert any(path.name in line for line in lines)
    assert trees.contents(trees.sample_dir(root, ONE)) == before
    assert trees.invoke(trees.EXTRACT, root).exit_code == 0
    assert trees.invoke(script, root).exit_code == 0


def test_a_missing_mask_between_finding_and_reading_is_no_traceback(tmp_path, monkeypatch):
    """Somebody removes a sample's folder while the routine runs."""
    root = trees.copy("relabelled", tmp_path / "root")

    def size(sample):
        if sample.stem == ONE:
            shutil.rmtree(sample.directory)
        return 1

    monkeypatch.setattr("utils.storage.samples.mask_bytes", size)
    result = trees.invoke(trees.EXTRACT, root)
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    (line,) = trees.complaints(result)
    assert line.startswith(f"FAILED {ONE}:") and "5 done" in result.stdout

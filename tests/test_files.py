"""Files appear whole or not at all; leftovers of the dead are swept, those of the living stay."""

import builtins
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import unittest.mock
from pathlib import Path

import pytest

from utils import errors
from utils.storage import files, processes

GIVEN_UP = 10  # seconds


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a b ä" / "target.xlsx"


@pytest.fixture(name="old")
def old_file(path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def names(folder):
    return sorted(entry.name for entry in Path(folder).iterdir())


def wait_for(condition):
    end = time.monotonic() + GIVEN_UP
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# ---- whole, Pending


def test_whole_replaces(old):
    with files.whole(old) as handle:
        handle.write(b"new")
        assert old.read_bytes() == b"old"
        assert len(names(old.parent)) == 2
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["target.xlsx"]


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(old, monkeypatch):
    """What a power failure leaves is the old file or the new one, and after `whole` the new one."""
    calls = []

    def fsync(descriptor, call=os.fsync):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        call(descriptor)

    def replace(*paths, call=os.replace):
        calls.append("name")
        call(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.put(old, b"new")
    assert calls == ["file", "name", "folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_block_leaves_the_old_file(old, error):
    with pytest.raises(error):
        with files.whole(old) as handle:
            handle.write(b"new")
            raise error
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["target.xlsx"]


@pytest.mark.parametrize("made_by", ["open", "symlink"])
def test_signal_while_the_temporary_file_is_created(old, monkeypatch, made_by):
    """A handler raises its exception when the system call is through, before it has a name."""
    place = builtins if made_by == "open" else os
    make = getattr(place, made_by)

    def make_and_stop(*args):
        made = make(*args)
        if processes.TEMPORARY_PREFIX in str(args):
            signal.raise_signal(signal.SIGINT)
        return made

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(place, made_by, make_and_stop)
        if made_by == "symlink":
            files.link(old, "elsewhere")
        files.put(old, b"new")
    assert old.read_bytes() == b"old" and names(old.parent) == ["target.xlsx"]


def test_temporary_name_matches_no_pattern(old):
    with files.Pending(old) as pending:
        name = pending.temporary_path.name
        assert name.startswith(".part~") and pending.temporary_path.parent == old.parent
        for pattern in ("*.nii.gz", "*.xlsx", "*_info.yaml", "[!.]*"):
            assert name not in [found.name for found in old.parent.glob(pattern)]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_permissions_of_the_old_file_stay(old, mode):
    old.chmod(mode)
    with files.whole(old) as handle:
        handle.write(b"new")
    assert stat.S_IMODE(old.stat().st_mode) == mode


def test_new_file_has_usual_permissions(tmp_path):
    with files.whole(tmp_path / "a") as handle:
        handle.write(b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_missing_folder(path):
    with pytest.raises(errors.DatasetError, match="target.xlsx: cannot be written") as caught:
        files.Pending(path)
    assert caught.value.code == "write" and caught.value.file == str(path)


def test_target_is_a_folder(path):
    path.mkdir(parents=True)
    with pytest.raises(errors.DatasetError, match="cannot be written"):
        with files.whole(path) as handle:
            handle.write(b"new")
    assert names(path.parent) == ["target.xlsx"] and path.is_dir()


def test_long_names(tmp_path):
    longest = tmp_path / ("n" * 255)
    with files.whole(longest) as handle:
        handle.write(b"1")
    assert longest.read_bytes() == b"1"
    with pytest.raises(errors.DatasetError, match="too long"):
        with files.whole(tmp_path / ("n" * 256)) as handle:
            handle.write(b"1")
    assert names(tmp_path) == [longest.name]


def test_full_disk_while_writing(old):
    with pytest.raises(errors.DatasetError, match="target.xlsx: .*No space left") as caught:
        with files.whole(old) as pending:
            full = unittest.mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
            pending.handle = unittest.mock.Mock(write=full)
            pending.write(b"new")
    assert caught.value.code == "write"
    assert old.read_bytes() == b"old" and names(old.parent) == ["target.xlsx"]


def test_what_else_fails_in_the_block_is_not_blamed_on_the_target(old):
    with pytest.raises(OSError, match="somewhere else"):
        with files.whole(old):
            raise OSError(errno.EIO, "somewhere else")
    assert old.read_bytes() == b"old" and names(old.parent) == ["target.xlsx"]


def test_pieces_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert list(files.pieces(tmp_path / "a", 2)) == [b"12", b"34", b"5"]
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("b", "b: cannot be read: No such file"), ("pipe", "no regular file")):
        with pytest.raises(errors.DamagedFileError, match=message):
            list(files.pieces(tmp_path / name))


@pytest.mark.parametrize("other, is_same", [(b"12345", True), (b"12346", False), (b"1234", False)])
def test_same_bytes(tmp_path, other, is_same):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(other)
    assert files.same_bytes(tmp_path / "a", tmp_path / "b") is is_same
    assert files.same_bytes(tmp_path / "b", tmp_path / "a") is is_same


def test_same_bytes_names_the_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    for words in (("a", "b"), ("b", "a")):
        with pytest.raises(errors.DamagedFileError, match="/b: cannot be read"):
            files.same_bytes(*(tmp_path / word for word in words))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_system_call(old, monkeypatch, call):
    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(errors.DatasetError, match="target.xlsx: cannot be written: Input/output"):
        with files.whole(old) as handle:
            handle.write(b"new")
    assert old.read_bytes() == b"old" and names(old.parent) == ["target.xlsx"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EPERM])
def test_file_system_that_lacks_a_nicety(old, monkeypatch, code):
    """No fsync (of folders), no chmod: the file is in place and counts as written."""

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "chmod", fail)
    with files.whole(old) as handle:
        handle.write(b"new")
    assert old.read_bytes() == b"new" and names(old.parent) == ["target.xlsx"]


def test_folder_that_may_be_written_to_and_not_read(old, monkeypatch):
    def refuse_folders(path, *args, call=os.open, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return call(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse_folders)
    with files.whole(old) as handle:
        handle.write(b"new")
    assert old.read_bytes() == b"new" and names(old.parent) == ["target.xlsx"]


def test_file_size_limit(tmp_path, run_python):
    """The kernel refuses bytes in the flush, where a full disk shows as well."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    result = run_python(
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from utils import errors\nfrom utils.storage import files\n"
        "try:\n"
        "    with files.whole(sys.argv[1]) as handle: handle.write(bytes(5000))\n"
        "except errors.DatasetError as error: print(error)\n",
        tmp_path / "x",
        preexec_fn=limit,
    )
    assert "x: cannot be written: File too large" in result.stdout
    assert result.stderr == "" and names(tmp_path) == []


def test_full_tmpfs(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a tmpfs")
    try:
        (disk / "x").write_bytes(b"old")
        with pytest.raises(errors.DatasetError, match="No space left"):
            with files.whole(disk / "x") as handle:
                handle.write(bytes(100_000))
        assert (disk / "x").read_bytes() == b"old" and names(disk) == ["x"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_folder_without_permission(old, monkeypatch):
    """Root may write anywhere, so the refusal is made up."""

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", refuse)
        with pytest.raises(errors.DatasetError, match="Permission denied"):
            files.Pending(old)
    assert old.read_bytes() == b"old"


def test_several_files_in_a_chosen_order(tmp_path):
    with files.Pending(tmp_path / "a") as first, files.Pending(tmp_path / "b") as second:
        first.handle.write(b"1")
        second.handle.write(b"2")
        second.commit()
        assert (tmp_path / "b").read_bytes() == b"2" and not (tmp_path / "a").exists()
    assert names(tmp_path) == ["b"]


def test_sealed_file_can_be_read_back(tmp_path):
    with files.Pending(tmp_path / "a") as pending:
        pending.handle.write(b"123")
        pending.seal()
        assert pending.temporary_path.read_bytes() == b"123"
        pending.seal()
        pending.commit()
    pending.discard()
    assert (tmp_path / "a").read_bytes() == b"123"


def test_a_process_that_is_stopped_removes_its_own(tmp_path):
    """A signal may come when a file is made and the block that would remove it has not begun."""
    lost = files.Pending(tmp_path / "a")
    with files.Pending(tmp_path / "b") as kept:
        kept.write(b"whole")
        kept.commit()
    child = os.fork()
    if child == 0:
        files.remove_own()  # what its parent is making is not its own
        os._exit(0)
    os.waitpid(child, 0)
    assert names(tmp_path) == [lost.temporary_path.name, "b"]
    files.remove_own()
    assert names(tmp_path) == ["b"]


def test_discard(tmp_path):
    pending = files.Pending(tmp_path / "a")
    pending.handle.write(b"1")
    pending.discard()
    pending.discard()
    assert names(tmp_path) == []


def test_kill_at_any_moment_leaves_old_or_new(tmp_path):
    code = (
        "import sys\nfrom utils.storage import files\nprint('go', flush=True)\n"
        "for n in range(10**6):\n"
        "    with files.whole(sys.argv[1]) as handle: handle.write(b'%09d' % n * 20_000)\n"
    )
    for wait in (0.0, 0.003, 0.011, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "x"],
            cwd=Path(files.__file__).parents[2],
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.communicate()
        if (tmp_path / "x").exists():
            content = (tmp_path / "x").read_bytes()
            assert content == content[:9] * 20_000
        files.sweep(tmp_path)
        assert set(names(tmp_path)) <= {"x"}


# ---- folders


def test_make_dir(tmp_path):
    made = files.make_dir(tmp_path / "a/b")
    assert made.is_dir() and files.make_dir(made) == made
    (tmp_path / "f").write_bytes(b"")
    for wrong in (tmp_path / "f", tmp_path / "f/g", tmp_path / ("n" * 256)):
        with pytest.raises(errors.DatasetError, match="cannot be written"):
            files.make_dir(wrong)


def test_directory_goes_again_when_the_block_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.directory(tmp_path / "a"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), files.directory(tmp_path / "a"):
        (tmp_path / "a/kept").write_bytes(b"")
        raise KeyboardInterrupt
    with files.directory(tmp_path / "b"):
        pass
    assert names(tmp_path) == ["a", "b"]


def test_remove(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    (tmp_path / "d").mkdir()
    with pytest.raises(errors.DatasetError, match="/d: cannot be written"):
        files.remove(tmp_path / "d")


# ---- sweeping


@pytest.fixture
def dead():
    """Id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def leave(folder, pid, started="1", host=None, age_s=0):
    path = Path(folder, f".part~{host or processes.HOST}~{pid}~{started}~0")
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_leftover_of_a_killed_process(tmp_path):
    code = (
        "import os, sys\nfrom utils.storage import files\n"
        "pending = files.Pending(sys.argv[1])\nprint('go', flush=True)\ninput()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "x"],
        cwd=Path(files.__file__).parents[2],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    process.stdout.readline()
    assert len(names(tmp_path)) == 1
    assert files.sweep(tmp_path) == 0, "its writer lives"
    process.kill()
    wait_for(lambda: processes.started(process.pid) is None)
    # nobody has waited for it yet: it is a zombie
    assert Path(f"/proc/{process.pid}").exists()
    assert files.sweep(tmp_path) == 1
    assert names(tmp_path) == []
    process.communicate()


def test_own_file_in_the_making_stays(tmp_path):
    with files.Pending(tmp_path / "x") as pending:
        pending.handle.write(b"1")
        assert files.sweep(tmp_path) == 0
        pending.commit()
    assert names(tmp_path) == ["x"]


def test_dead_process(tmp_path, dead):
    leave(tmp_path, dead)
    assert files.sweep(tmp_path) == 1


def test_process_id_used_again(tmp_path):
    """This very process lives, but it started at another time than the one in the name."""
    leave(tmp_path, os.getpid(), started="1")
    assert files.sweep(tmp_path) == 1
    leave(tmp_path, os.getpid(), started=processes.started(os.getpid()))
    assert files.sweep(tmp_path) == 0


@pytest.mark.parametrize(("age_s", "removed"), [(0, 0), (23 * 3600, 0), (25 * 3600, 1)])
def test_other_hosts_have_a_day(tmp_path, dead, age_s, removed):
    leave(tmp_path, dead, host="elsewhere.example", age_s=age_s)
    assert files.sweep(tmp_path) == removed


@pytest.mark.parametrize(
    "name",
    [
        "x.nii.gz",
        ".part",
        ".part~",
        ".part~host",
        ".part~h~x~1~0",
        ".part~h~1~1",
        "part~h~1~1~0",
        ".part~h~1~1~0.nii.gz",
        ".DS_Store",
    ],
)
def test_foreign_names_stay(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / name, (0, 0))
    assert files.sweep(tmp_path) == 0
    assert names(tmp_path) == [name]


def test_below_and_not_below(tmp_path, dead):
    (tmp_path / "a/b").mkdir(parents=True)
    below, here = leave(tmp_path / "a/b", dead), leave(tmp_path, dead)
    assert files.sweep(tmp_path, recursive=False) == 1
    assert below.exists() and not here.exists()
    assert files.sweep(tmp_path) == 1
    assert files.sweep(tmp_path / "missing") == 0


def test_linked_folders_are_swept_and_loops_end(tmp_path, dead):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "deep").mkdir(parents=True)
    root.mkdir()
    (root / "linked").symlink_to(outside)
    (outside / "deep/back").symlink_to(root)
    leftover = leave(outside / "deep", dead)
    assert files.sweep(root) == 1
    assert not leftover.exists()


def test_leftover_of_a_container_with_the_same_host_name_stays(tmp_path, dead):
    """Its process ids mean other processes, and whether they live cannot be seen from here."""
    name = processes.HOST.rpartition("-")[0]
    left = leave(tmp_path, dead, host=f"{name}-00000000")
    assert files.sweep(tmp_path) == 0
    assert left.exists()


def test_leftover_that_may_not_be_removed(tmp_path, dead, monkeypatch):
    leave(tmp_path, dead)

    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert files.sweep(tmp_path) == 0


# ---- what a wrong path may have meant


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("root/descriptor/label_map.yml", "root/descriptor/label_map.yaml"),
        ("root/Descriptor/label_map.yaml", "root/descriptor/label_map.yaml"),
        ("root/label_map.yaml", "root/descriptor/label_map.yaml"),
        ("label_map.yaml", "root/descriptor/label_map.yaml"),
        ("root/descriptor/a/b/label_map.yaml", "root/descriptor/label_map.yaml"),
        ("root/descriptor/descriptor", "root/descriptor"),
        ("rot", "root"),
        ("root/nothing like it", "root"),
        ("nothing/like/it", "."),
        ("root/[x]*.yaml", "root"),
        ("root/descriptor/w[1].xlsx/", "root/descriptor/w[1].xls"),
        ("root/" + "n" * 300, "root"),
        ("root/descriptor/label_map.yaml/x", "root/descriptor/label_map.yaml"),
    ],
)
def test_nearest_existing(tmp_path, wrong, meant):
    (tmp_path / "root/descriptor").mkdir(parents=True)
    (tmp_path / "root/descriptor/label_map.yaml").write_bytes(b"")
    (tmp_path / "root/descriptor/w[1].xls").write_bytes(b"")
    assert files.nearest_existing(tmp_path / wrong) == tmp_path / meant


def test_nearest_existing_of_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grouped").mkdir()
    assert files.nearest_existing("groupd") == tmp_path / "grouped"


@pytest.mark.parametrize(
    "given, name, found",
    [
        ("archive", "grouped", "grouped"),
        ("archive/amos22/imagesTr", "grouped", "grouped"),
        ("descriptor", "archive", "archive"),
        ("grouped", "archive", "archive"),
        ("grouped/archive/a", "archive", None),  # the nearest part of a ROOT decides
        ("archive", "archive", None),
        ("other", "archive", None),
        (".", "archive", None),
    ],
)
def test_part_of_root(tmp_path, monkeypatch, given, name, found):
    for part in ("archive", "grouped/archive/a", "descriptor", "other"):
        (tmp_path / part).mkdir(parents=True)
    expected = tmp_path / found if found else None
    assert files.part_of_root(tmp_path / given, name) == expected
    monkeypatch.chdir(tmp_path)
    assert files.part_of_root(given, name) == expected


def test_put_writes_what_is_not_there_yet(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert not files.holds(path, b"one") and files.put(path, b"one")
    inode = path.stat().st_ino
    assert not files.put(path, b"one") and path.stat().st_ino == inode
    assert files.holds(path, b"one") and not files.holds(path, b"two")
    assert files.put(path, b"two") and path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    assert not files.holds(tmp_path, b"") and not files.holds(tmp_path / "none", b"")


def test_put_does_not_look_through_the_folder(tmp_path, monkeypatch):
    # A report has thousands of files in one folder: to list it for each of them takes long.
    monkeypatch.setattr(files, "sweep", lambda *given, **named: pytest.fail("it did"))
    assert files.put(tmp_path / "a.png", b"one")


def test_staging_keeps_its_file_unless_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    with files.staging(path) as pending:
        pending.handle.write(b"one")
    assert not path.exists() and pending.temporary_path.exists()
    pending.commit()
    assert path.read_bytes() == b"one"
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):
        with pytest.raises(type(error)), files.staging(path):
            raise error
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("done", "kind", "code"),
    [("written", errors.DatasetError, "write"), ("read", errors.DamagedFileError, "unreadable")],
)
def test_explained(done, kind, code):
    with pytest.raises(kind, match=f"^x: cannot be {done}: Is a directory$") as caught:
        with files.explained("x", done):
            raise IsADirectoryError(21, "Is a directory")
    assert type(caught.value) is kind and (caught.value.file, caught.value.code) == ("x", code)


# ---- reading


def test_opened_reads_a_file_and_a_link_to_one(tmp_path):
    (tmp_path / "plain").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("plain")
    for name in ("plain", "link"):
        with files.opened(tmp_path / name) as handle:
            assert handle.read() == b"bytes"
        assert files.read_bytes(tmp_path / name) == b"bytes"


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing", "link to nothing"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path, kind):
    path = Path("/dev/zero") if kind == "device" else tmp_path / "no_data"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    found = "cannot be read: " + ("No such file" if "ing" in kind else "no regular file")
    for read in (files.opened, files.read_bytes):
        with pytest.raises(errors.DamagedFileError, match=rf"^{path}: {found}") as caught:
            read(path)
        assert caught.value.file == str(path)
        assert caught.value.code == "unreadable"
    assert not files.holds(path, b"")

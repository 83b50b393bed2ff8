"""Holds: one run at a time, the dead block nobody, and no file of a hold stays."""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from utils import errors
from utils.storage import files, holding, processes

REPOSITORY = Path(files.__file__).parents[2]
GIVEN_UP = 20  # seconds

FOLDER = "holding.folder(sys.argv[1])"
WAITED_FOR = "holding.folder(sys.argv[1], is_waited_for=True)"
FILE = "holding.file(sys.argv[1])"


@contextlib.contextmanager
def other_process(hold, path, after="input()"):
    """A process that holds a path until it is told to stop; gives it once it holds."""
    code = (
        "import os, signal, sys\nfrom utils.storage import holding\n"
        f"with {hold}:\n    print('held', flush=True)\n    {after}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def forged(path, host, silent_s=0.0, pid=None, started="1"):
    """A hold as another process left it, by default one that had our id; nobody locks it."""
    hold = Path(path, holding.NAME)
    hold.write_text(f"{host}~{pid or os.getpid()}~{started}", encoding="ascii")
    os.utime(hold, (time.time() - silent_s,) * 2)
    return hold


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(holding, "PATIENCE_S", 0.1)


def test_nothing_stays_of_a_hold(tmp_path):
    with holding.folder(tmp_path):
        assert names(tmp_path) == [".part~held"]
        assert (tmp_path / ".part~held").read_text() == processes.own_name()
    with holding.file(tmp_path / "a.xlsx"):
        (name,) = names(tmp_path)
        assert name.startswith(".part~held~")
    with pytest.raises(KeyboardInterrupt), holding.folder(tmp_path):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.parametrize("hold", [FOLDER, WAITED_FOR, FILE])
def test_who_comes_second_says_who_holds_it(tmp_path, hold, impatient):
    with other_process(hold, tmp_path) as process:
        host = os.uname().nodename
        with pytest.raises(errors.DatasetError) as caught:
            with eval(hold.replace("sys.argv[1]", "tmp_path")):
                raise AssertionError("both hold it")
        where = "" if hold == FOLDER else f"{tmp_path}: "  # a sample is named by its run
        assert str(caught.value) == f"{where}held by process {process.pid} on {host}"
        assert (caught.value.code, caught.value.file) == ("held", str(tmp_path))
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.wait(GIVEN_UP) == 0
    with holding.folder(tmp_path), holding.file(tmp_path):
        pass
    assert names(tmp_path) == []
    assert not any(name.startswith(holding.NAME) for name in names(tmp_path.parent))


def test_another_folder_and_another_file_are_free(tmp_path):
    (tmp_path / "a").mkdir()
    with other_process(FILE, tmp_path / "a.xlsx"), holding.file(tmp_path / "b.xlsx"):
        with holding.folder(tmp_path), holding.folder(tmp_path / "a"):
            pass


def test_a_file_is_waited_for(tmp_path):
    """A workbook is written in a moment; a second run need not fail for it."""
    with other_process(FILE, tmp_path / "a.xlsx", "import time; time.sleep(0.5)") as process:
        with holding.file(tmp_path / "a.xlsx"):
            assert process.wait(GIVEN_UP) == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_of_this_host_blocks_nobody(tmp_path, signal_number):
    with other_process(FOLDER, tmp_path) as process:
        process.send_signal(signal_number)
        # Nobody has waited for it yet: a zombie is dead, too.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert names(tmp_path) == [".part~held"]
        with holding.folder(tmp_path):
            assert (tmp_path / ".part~held").read_text() == processes.own_name()
    assert names(tmp_path) == []


def test_a_process_id_that_is_used_again_holds_nothing(tmp_path):
    forged(tmp_path, processes.HOST, started="1")
    with holding.folder(tmp_path):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize(("silent_s", "is_dead"), [(0, False), (290, False), (310, True)])
@pytest.mark.parametrize("host", ["node7-0123abcd", f"{processes.HOST[:-8]}00000000"])
def test_another_host_has_five_minutes_without_a_sign_of_life(tmp_path, host, silent_s, is_dead):
    """A container with this host's name is another host: its processes are not seen from here."""
    forged(tmp_path, host, silent_s, pid=17)
    expected = f"held by process 17 on {host.rpartition('-')[0]}"
    with (
        contextlib.nullcontext() if is_dead else pytest.raises(errors.DatasetError, match=expected)
    ):
        with holding.folder(tmp_path):
            pass
    assert names(tmp_path) == ([] if is_dead else [".part~held"])


def test_a_living_holder_of_this_host_may_be_silent(tmp_path):
    """Its lock is seen here, however long it was stopped or how far its clock is off."""
    with other_process(FOLDER, tmp_path):
        os.utime(tmp_path / ".part~held", (0, 0))
        with pytest.raises(errors.DatasetError, match="held by process"):
            with holding.folder(tmp_path):
                pass


def test_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "_BEAT_S", 0.01)
    monkeypatch.setattr(holding._Heart, "_of_process", None)
    with holding.folder(tmp_path):
        hold = tmp_path / ".part~held"
        os.utime(hold, (0, 0))
        end = time.monotonic() + GIVEN_UP
        while hold.stat().st_mtime < time.time() - 60:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"a~b~c", b"a~1"])
def test_a_hold_without_a_name_is_that_of_a_process_that_died_at_once(tmp_path, content):
    hold = tmp_path / holding.NAME
    hold.write_bytes(content)
    begun = time.monotonic()
    with holding.folder(tmp_path):
        assert time.monotonic() - begun < GIVEN_UP
    assert names(tmp_path) == []


def test_the_hold_of_a_dead_process_that_somebody_just_looks_at_blocks_nobody(tmp_path):
    """To look is to lock for a moment, which must not be taken for the lock of its holder."""
    hold = forged(tmp_path, processes.HOST)
    descriptor = os.open(hold, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, os.close, [descriptor])
    timer.start()
    with holding.folder(tmp_path):
        pass
    timer.join()
    assert names(tmp_path) == []


def test_without_locks_the_named_process_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "fcntl", None)
    forged(tmp_path, processes.HOST, started=processes.started(os.getpid()))
    with pytest.raises(errors.DatasetError, match=f"held by process {os.getpid()} on"):
        with holding.folder(tmp_path):
            pass
    forged(tmp_path, processes.HOST, started="1")
    with holding.folder(tmp_path):
        pass
    assert names(tmp_path) == []


def test_who_holds_a_folder_clears_it_of_leftovers(tmp_path):
    """Also of those that look alive: nobody else may write there now."""
    (tmp_path / "below").mkdir()
    kept = [".part~held~0123abcd", "below", "x.nii.gz"]
    for name in (processes.temporary_name(), ".part~far~1~1~1", *kept[::2]):
        (tmp_path / name).write_bytes(b"")
    below = tmp_path / "below" / processes.temporary_name()
    below.write_bytes(b"")
    with holding.folder(tmp_path):
        assert names(tmp_path) == [holding.NAME, *kept]
    assert below.exists()


@pytest.mark.parametrize("place", ["missing", "file/x", "read-only"])
def test_where_nothing_can_be_written_nothing_is_held(tmp_path, place, monkeypatch):
    """Whoever has nothing to write there is not stopped, anybody else is told by the write."""
    (tmp_path / "file").write_bytes(b"")
    if place == "read-only":
        monkeypatch.setattr(os, "open", refuse)
    with holding.folder(tmp_path / place), holding.file(tmp_path / place / "a.xlsx"):
        pass


def refuse(*args, **kwargs):
    raise OSError(30, "Read-only file system")


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        errors.DatasetError, match="cannot be held against .*: No space left"
    ) as caught:
        with holding.folder(tmp_path):
            pass
    assert caught.value.code == "write"
    assert names(tmp_path) == []


def test_sweeping_removes_the_holds_of_the_dead_alone(tmp_path):
    (tmp_path / "dead").mkdir()
    forged(tmp_path / "dead", processes.HOST)
    (tmp_path / "living").mkdir()
    with other_process(FOLDER, tmp_path / "living"):
        assert files.sweep(tmp_path) == 1
        assert names(tmp_path / "dead") == []
        assert names(tmp_path / "living") == [".part~held"]


def is_stopped(delay_s, path):
    """Hold for a moment; whether Ctrl-C came in it."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            with holding.folder(path), holding.file(path / "a.xlsx"):
                pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def test_ctrl_c_at_any_moment_leaves_no_hold(tmp_path):
    chance = random.Random(0)
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    stopped = []
    try:
        for _ in range(1000):
            stopped.append(is_stopped(chance.uniform(1e-5, 5e-4), tmp_path))
            assert names(tmp_path) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert any(stopped)


def test_the_copy_of_a_hold_holds_nothing(tmp_path):
    """A tree that was copied while a run was at it; the process lives on."""
    (tmp_path / "held").mkdir()
    with other_process(FOLDER, tmp_path / "held"):
        shutil.copytree(tmp_path / "held", tmp_path / "copy")
        assert names(tmp_path / "copy") == [".part~held"]
        with holding.folder(tmp_path / "copy"):
            pass
        assert names(tmp_path / "copy") == []
        shutil.copytree(tmp_path / "held", tmp_path / "copy", dirs_exist_ok=True)
        assert files.sweep(tmp_path) == 1
    assert names(tmp_path / "copy") == []


def test_a_link_to_a_hold_that_is_gone_holds_nothing(tmp_path):
    code = "import sys\nfrom utils.storage import holding\nwith holding.folder(sys.argv[1]): pass"
    (tmp_path / holding.NAME).symlink_to(tmp_path / "gone")
    command = [sys.executable, "-c", code, tmp_path]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=GIVEN_UP).returncode == 0
    assert names(tmp_path) == []


def test_who_waits_for_a_folder_leaves_the_files_of_others_there(tmp_path):
    """A workbook may be written into the folder of a report that begins."""
    with files.Pending(tmp_path / "regions.xlsx") as pending:
        with holding.folder(tmp_path, is_waited_for=True):
            pending.commit()
    assert names(tmp_path) == ["regions.xlsx"]


def test_other_users_see_whose_a_hold_is(tmp_path):
    before = os.umask(0o077)
    try:
        with holding.folder(tmp_path):
            assert (tmp_path / holding.NAME).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_a_folder_that_goes_while_it_is_swept(tmp_path, monkeypatch):
    walk = os.walk

    def walked(*args, **kwargs):
        for folder, *rest in walk(*args, **kwargs):
            if folder != str(tmp_path):
                os.rmdir(folder)
            yield folder, *rest

    (tmp_path / "a").mkdir()
    forged(tmp_path, processes.HOST)
    monkeypatch.setattr(os, "walk", walked)
    assert files.sweep(tmp_path) == 1


def test_many_at_once_hold_one_after_the_other(tmp_path):
    """Each adds 1 to a number in a file, 100 times; a dead holder lies in their way."""
    number = tmp_path / "number"
    number.write_text("0")
    forged(tmp_path, processes.HOST)
    code = (
        "import sys\nfrom pathlib import Path\nfrom utils.storage import holding\n"
        "number = Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    with holding.folder(number.parent, True):\n"
        "        number.write_text(str(int(number.read_text()) + 1))\n"
    )
    command = [sys.executable, "-c", code, number]
    running = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    assert number.read_text() == "600"
    assert names(tmp_path) == ["number"]

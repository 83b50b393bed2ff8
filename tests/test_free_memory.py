"""How much memory is free: the system, and control groups of both versions."""

import os

import pytest

from utils.running import free_memory

STAT = "anon 500\nfile 4000\nactive_file 1000\ninactive_file 2500\nworkingset_activate_file 7\n"
PLENTY = 10**15


@pytest.fixture(name="groups")
def made_up_groups(tmp_path, monkeypatch):
    """Make this process a member of made-up groups, without any limit at first.

    ``groups(text of /proc/self/cgroup)`` gives the folder in which groups are looked for.
    """
    monkeypatch.setattr(free_memory, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(free_memory, "OWN_GROUPS", tmp_path / "own")

    def belong(own):
        (tmp_path / "own").write_text(own, encoding="utf-8")
        return tmp_path / "cgroup"

    return belong


def limit(folder, limit, usage, names=("memory.max", "memory.current"), stat=STAT):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (f"{limit}\n", f"{usage}\n", stat)):
        (folder / name).write_text(text)


def test_no_more_than_the_machine_has(groups):
    groups("")
    assert 0 < free_memory.available() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_memory.budget() == pytest.approx(0.8 * free_memory.available(), rel=0.1)


def test_no_control_groups_at_all(groups, tmp_path):
    groups("")
    (tmp_path / "own").unlink()
    assert free_memory.available() > 5000


def test_the_group_counts_and_its_cached_files_are_free(groups):
    folder = groups("0::/\n")
    limit(folder, 5000, 4500)
    assert free_memory.available() == 4000
    limit(folder, "max", 4500)
    assert free_memory.available() > 5000
    for path in folder.iterdir():
        path.unlink()
    assert free_memory.available() > 5000


V1 = "memory.limit_in_bytes", "memory.usage_in_bytes"
V2 = "memory.max", "memory.current"


@pytest.mark.parametrize(
    ("own", "places", "names"),
    [
        ("0::/\n", ["."], V2),
        ("0::/slurm/job_7\n", ["slurm/job_7", "slurm", "."], V2),
        ("8:pids:/x\n5:cpu,memory:/job\n0::/\n", ["memory/job", "memory"], V1),
        ("8:pids:/x\n5:cpu,memory:/job\n0::/\n", ["."], V2),
    ],
)
def test_limits_of_a_group_and_of_those_above_it(groups, own, places, names):
    folder = groups(own)
    for place in places:
        for other in places:  # the other groups leave plenty
            limit(folder / other, PLENTY, 0, names)
        limit(folder / place, 2000, 500, names, stat="active_file 1\n")
        assert free_memory.available() == 1501, place


@pytest.mark.parametrize(
    ("own", "place", "names"),
    [
        ("8:pids:/x\n5:cpu,memory:/job\n", "memory/x", V1),
        ("8:pids:/x\n5:cpu,memory:/job\n", "memory/job", V2),
        ("0::/slurm/job_7\n", "slurm/job_8", V2),
        ("0::/slurm/job_7\n", "memory/slurm/job_7", V1),
    ],
)
def test_groups_of_others_do_not_count(groups, own, place, names):
    limit(groups(own) / place, 2000, 500, names)
    assert free_memory.available() > 5000

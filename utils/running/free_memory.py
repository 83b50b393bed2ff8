"""How much memory processes may still take, by the system and by the control groups."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Of the available memory; the rest is left to the system, the page cache and this process.
MEMORY_SHARE = 0.8
# Batch systems set the limit of a job in a control group, or in one above it.
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def budget() -> float:
    """Bytes that the workers of a run may take together."""
    return MEMORY_SHARE * available()


def available() -> int:
    """Bytes that processes may still take."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError, KeyError):
        free.append(_table(Path("/proc/meminfo"))["MemAvailable:"] * 1024)
    for limit_file, usage_file in _group_files():
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            limit, used = (int(path.read_text("ascii")) for path in (limit_file, usage_file))
            stat = _table(limit_file.parent / "memory.stat")
            # Files that were read count as used, but the system drops them when memory is wanted.
            cached = stat.get("active_file", 0) + stat.get("inactive_file", 0)
            free.append(limit - used + cached)
    return min(free)


def _table(path):
    rows = map(str.split, path.read_text("ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}


def _group_files() -> Iterator[tuple[Path, Path]]:
    """Yield the files with limit and usage of the groups that this process is in."""
    try:
        lines = OWN_GROUPS.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            root, names = CONTROL_GROUPS, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root = CONTROL_GROUPS / "memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(root):
                yield place / names[0], place / names[1]

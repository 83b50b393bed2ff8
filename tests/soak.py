"""Pairs of runs at once, of every routine: as if one had come after the other, or it says why not.

python tests/soak.py [--pairs 50] [--seed 0]

Both runs of a pair are forked from this process and let go together; of every second pair one run
is killed at a random moment. Then the same command runs once more: the data must be what one run
alone leaves, byte for byte, with nothing temporary beside it.
"""

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
import test_every_routine
import trees

HELD = "held by process"


def fork(routine, root, output, gate):
    """Run a routine in a child, once the gate is opened; its output goes into a file."""
    child = os.fork()
    if child:
        return child
    result = None
    try:
        os.read(gate, 1)
        result = routine.run(root)
    finally:
        output.write_text(result.output if result else traceback.format_exc())
        os._exit(result.exit_code if result else 99)


def run_pair(routine, root, folder, kill_after_s):
    """Run a routine twice at once; gives both exit statuses (a signal negative) and outputs."""
    gate, opened = os.pipe()
    outputs = [folder / "first.txt", folder / "second.txt"]
    children = [fork(routine, root, output, gate) for output in outputs]
    os.write(opened, b"go")
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(children[0], signal.SIGKILL)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for descriptor in (gate, opened):
        os.close(descriptor)
    return statuses, [output.read_text() if output.exists() else "" for output in outputs]


def check_told(status, output):
    """A run has done all, or was killed, or each thing that it did not do was held."""
    assert status in (0, 1, -signal.SIGKILL), output
    if status == 1:
        faults = [line for line in output.splitlines() if line.startswith(("FAILED", "Error"))]
        assert faults and all(HELD in line for line in faults), output


def soak(routine, n_pairs, seed=0):
    """Check pairs of a routine; gives how many ended in which way."""
    whole, _ = test_every_routine.made(routine)
    expected, chance = trees.contents(whole), random.Random(seed)
    ways, duration_s = collections.Counter(), 0.2
    for number in range(n_pairs):
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="soak-"))
            stack.callback(shutil.rmtree, folder)
            root = routine.start(folder)
            kill_after_s = chance.uniform(0, duration_s) if number % 2 else None
            begun = time.monotonic()
            statuses, outputs = run_pair(routine, root, folder, kill_after_s)
            if kill_after_s is None:
                duration_s = time.monotonic() - begun
            for status, output in zip(statuses, outputs):
                check_told(status, output)
            if statuses == [0, 0]:
                assert trees.contents(root) == expected, f"pair {number} differs"
            result = routine.run(root)
            assert result.exit_code == 0, result.output
            assert trees.contents(root) == expected, f"pair {number} differs when repeated"
            assert trees.leftovers(root) == [], f"pair {number} leaves something"
            ways["killed" if statuses[0] < 0 else "held" if 1 in statuses else "both done"] += 1
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for routine, name in test_every_routine.NAMES:
        ways = soak(routine, given.pairs, given.seed)
        print(f"{name}: " + ", ".join(f"{count} {way}" for way, count in sorted(ways.items())))


if __name__ == "__main__":
    main()

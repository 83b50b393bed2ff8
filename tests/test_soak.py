"""Two runs at once neither lose nor double anything; see soak.py, which does more of it."""

import os

import openpyxl
import pytest
import soak
import test_every_routine
import trees

pytestmark = pytest.mark.slow("pairs of processes")


@test_every_routine.each()
def test_pairs_at_once(routine):
    ways = soak.soak(routine, n_pairs=5)
    assert sum(ways.values()) == 5


def test_every_split_of_runs_at_once_is_there(tmp_path):
    """Three runs that add a worksheet each: none replaces the workbook that another has written."""
    root = trees.copy("indexed", tmp_path / "root")
    names = ["split01_standard", "another", "third"]
    children = []
    for name in names:
        child = os.fork()
        if child == 0:
            os._exit(trees.invoke(trees.MAKE_SPLIT, root, "--split_name", name).exit_code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    book = openpyxl.load_workbook(root / "grouped/dataset_manifest.xlsx")
    assert sorted(book.sheetnames) == sorted(["Manifest", *names])
    assert trees.leftovers(root) == []

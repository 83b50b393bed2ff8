"""Two runs at once neither lose nor double anything; see soak.py, which does more of it."""

import os

import openpyxl
import pytest
import soak
import test_every_routine
import test_holding
import trees

from utils.routines import splits
from utils.storage import holding

pytestmark = pytest.mark.slow("pairs of processes")


@test_every_routine.each()
def test_pairs_at_once(routine):
    ways = soak.soak(routine, n_pairs=3)
    assert sum(ways.values()) == 3


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


def test_a_split_made_while_the_manifest_waits_is_called_out_of_date(tmp_path, monkeypatch):
    root = trees.copy("indexed", tmp_path / "root")
    book = root / "grouped/dataset_manifest.xlsx"
    (info,) = root.glob("grouped/**/amos_0008_info.yaml")
    info.write_text(info.read_text().replace("080Y", "081Y"))
    hold, made = holding.file, []

    def after_another_run(path):
        if path == book and not made:
            made.append(True)
            splits.make_sheet(
                book, "another", lambda table: dict(zip(table["ID"], table["subset"]))
            )
        return hold(path)

    monkeypatch.setattr(holding, "file", after_another_run)
    result = trees.invoke(trees.INDEX, root)
    assert result.exit_code == 0
    told = "this worksheet repeats an older manifest; make the split again"
    assert f"WARNING another: {told}" in result.stderr.splitlines()


ONE_SAMPLE = "grouped/AMOS-CT/val/Optima CT660/amos_0008_F"
# Routine -> state to start from, what another run holds there.
HELD = {
    trees.SCAN: ("built", "descriptor/archive_manifest.xlsx"),
    trees.PAIR_CT: ("scanned", ONE_SAMPLE),
    trees.SPLIT_LABEL: ("paired", ONE_SAMPLE),
    trees.EXTRACT: ("relabelled", ONE_SAMPLE),
    trees.DENOISE: ("extracted", ONE_SAMPLE),
    trees.DETECT: ("extracted", "descriptor/regions.xlsx"),
    trees.INDEX: ("extracted", "grouped/dataset_manifest.xlsx"),
    trees.MAKE_SPLIT: ("indexed", "grouped/dataset_manifest.xlsx"),
    trees.CUT: ("split", "grouped/splits/split01_standard/split01_standard_val.xlsx"),
    trees.NNUNET: ("split", "nnUNet_raw/Dataset218_AMOS22"),
    trees.DATALIST: ("split", "datalists/amos22.json"),
    trees.CROISSANT: ("split", "croissant.json"),
    trees.REPORT: ("extracted", "qc"),
    trees.GENERATE: ("empty", "."),
}


@pytest.mark.parametrize("script", HELD)
def test_what_another_run_holds_is_told_and_left_alone(tmp_path, script, monkeypatch):
    monkeypatch.setattr(holding, "PATIENCE_S", 0.1)
    state, name = HELD[script]
    root = trees.copy(state, tmp_path / "root")
    held = root / name
    is_file = bool(held.suffix)
    (held.parent if is_file else held).mkdir(parents=True, exist_ok=True)
    hold = test_holding.FILE if is_file else test_holding.FOLDER
    with test_holding.other_process(hold, held) as process:
        before = trees.contents(held.parent if is_file else held)
        result = trees.invoke(script, root)
        assert trees.contents(held.parent if is_file else held) == before
    told = f"held by process {process.pid} on {os.uname().nodename}"
    if name == ONE_SAMPLE:
        assert trees.complaints(result) == [f"FAILED amos_0008: {told}"]
        assert "1 failed" in result.stdout
    else:
        assert result.stderr.splitlines()[-1] == f"Error: {held}: {told}"
    assert result.exit_code == 1
    assert trees.invoke(script, root).exit_code == 0
    assert trees.leftovers(root) == []

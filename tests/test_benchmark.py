"""The benchmark runs, and its numbers add up; how fast anything is, is not tested."""

import json

import benchmark
import click.testing
import pytest

NAMES = ("ours", "plain", "floor", "parallel")


@pytest.mark.slow("a small benchmark")
def test_small_run_reports_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "EXCEL_SAMPLES", 9)
    output = tmp_path / "figures.json"
    words = "--shape 20 18 16 --samples 4 --stages 03 report --repeats 1".split()
    places = ["--root_dir", str(tmp_path / "scans"), "--output", str(output)]
    result = click.testing.CliRunner().invoke(benchmark.main, [*words, *places])
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())
    row, of_report = found["stages"]
    assert (row["stage"], row["items"]) == ("03", 3)
    assert (of_report["stage"], of_report["items"]) == ("report", 4)
    assert 0.01 < found["report_mb"] < 1.5
    assert 0 < row["floor_wall"] < row["ours_wall"] and row["plain_wall"] > 0
    assert row["floor_cpu"] < row["ours_cpu"] and row["parallel_wall"] > 0
    assert 10 < row["ours_mib"] < 1024
    assert set(found["excel"]) == {"05", "06", "07"} and len(found["start"]) == 11
    lines = result.stdout.splitlines()
    shown = next(line for line in lines if line.startswith("03")).split()
    assert float(shown[2]) == pytest.approx(row["ours_wall"] / 3, abs=1e-3)
    assert float(shown[4]) == pytest.approx(row["plain_wall"] / row["ours_wall"], abs=0.06)
    seconds = row["ours_wall"] / 3 * 360 + of_report["ours_wall"] / 4 * 600
    estimate = f"{seconds / 60:.1f} min"
    assert estimate in next(line for line in lines if line.startswith("600 scans"))


WHOLE = [("01", 960), ("02", 600), ("03", 360), ("05", 600), ("report", 600)]


@pytest.mark.parametrize("stage, n", WHOLE)
def test_the_estimate_counts_what_the_whole_set_has(stage, n):
    row = {"stage": stage, "items": 4, "workers": 2, "ours_mib": 99, "plain_mib": 99}
    row |= {f"{name}_{kind}": 8.0 for name in NAMES for kind in ("wall", "cpu")}
    assert f"one worker: {n * 2 / 60:.1f} min" in list(benchmark.stage_lines([row]))[-1]
    both = list(benchmark.stage_lines([row, row | {"stage": "04"}]))[-1]
    assert f"one worker: {(n + 360) * 2 / 60:.1f} min" in both


def test_masks_are_put_back(tmp_path):
    folder = tmp_path / "grouped/train/Prisma/amos_0507_M"
    folder.mkdir(parents=True)
    mask = folder / "amos_0507_mask.nii.gz"
    mask.write_bytes(b"before")
    before = benchmark.Masks(tmp_path)
    mask.write_bytes(b"after")
    (folder / "amos_0507_mask_00_background.nii.gz").touch()
    benchmark.undo("04", tmp_path, before)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(mask.name, b"before")]


def test_unknown_stage_is_refused(tmp_path):
    result = click.testing.CliRunner().invoke(benchmark.main, ["--stages", "09"])
    assert result.exit_code == 2 and "no stage 09" in result.stderr

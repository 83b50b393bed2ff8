"""Measure every stage on full-size made-up scans, against plain code and against the bare bytes.

Each stage runs as a whole process with one worker, start-up and checks included; so does the plain
version (nibabel, SciPy, the literal formula), right after it. The floor decodes and encodes the
same bytes with the same codec, without start-up. Everything is done --repeats times and the best is
taken, as a busy machine only ever adds time.

\b
  python tests/benchmark.py
  python tests/benchmark.py --shape 160 128 48 --samples 4 --stages 04 denoise
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import baselines
import click
import trees

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from utils.facts import amos22
from utils.routines import dataset
from utils.running import calls, cli, shared_options
from utils.storage import manifest, samples

# In the order of the tutorial, and the state that the next one starts from.
STAGES = {
    "01": trees.SCAN,
    "02": trees.PAIR_CT,
    "03": trees.SPLIT_LABEL,
    "04": trees.EXTRACT,
    "detect": trees.DETECT,
    "denoise": trees.DENOISE,
    "05": trees.INDEX,
    "report": trees.REPORT,
}
# AMOS22 has 600 scans, 360 of them with a published mask.
N_SCANS, N_MASKS = 600, 360
WHOLE_SET = {"01": N_SCANS + N_MASKS, "02": N_SCANS, "05": N_SCANS, "report": N_SCANS}
EXCEL_SAMPLES = 600
N_LABELS = baselines.N_LABELS

# A process starts with the peak memory of the one that starts it: a small one does that.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
process = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
with open(sys.argv[1], "w") as figures:
    print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
          file=figures)
sys.exit(os.waitstatus_to_exitcode(status))
"""
Timed = collections.namedtuple("Timed", ["wall", "cpu", "mib", "text"])


def timed(command):
    """Run a process; gives wall seconds, CPU seconds, peak MiB and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures")
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(figures), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise click.ClickException(f"{' '.join(command)} failed:\n{done.stdout}")
        wall, cpu, kib = map(float, figures.read_text().split())
    return Timed(wall, cpu, kib / 1024, done.stdout)


def command(stage, root, workers):
    """What a person types for a stage."""
    more = ["--overwrite"] if stage in ("01", "detect", "05", "report") else []
    if stage == "report":
        more += ["--root_dir", str(root / "grouped")]
    return [
        sys.executable,
        str(REPOSITORY / STAGES[stage]),
        *trees.words(STAGES[stage], root, "--workers", workers, *more),
    ]


class Masks:
    """The masks of the grouped tree as they were before a stage, kept in memory."""

    def __init__(self, root):
        self._root = root
        self._content = {path: path.read_bytes() for path in self._paths()}

    def _paths(self):
        return [*baselines.masks(self._root), *baselines.binary_masks(self._root)]

    def restore(self):
        """Put the files back and remove those that were not there."""
        for path in self._paths():
            path.unlink()
        for path, content in self._content.items():
            path.write_bytes(content)


def undo(stage, root, before):
    """Make a stage start again from where it started."""
    if stage == "02":
        shutil.rmtree(root / "grouped", ignore_errors=True)
    elif stage not in ("01", "05", "detect", "report"):
        before.restore()


def measure(stage, root, repeats, workers):
    """Seconds, peak memory and comparisons of one stage, as a dict."""
    before = Masks(root)
    best = {}

    def keep(name, done):
        for kind in ("wall", "cpu"):
            key, seconds = f"{name}_{kind}", getattr(done, kind)
            best[key] = min(seconds, best.get(key, seconds))
        best[f"{name}_mib"] = max(done.mib, best.get(f"{name}_mib", 0))

    for _ in range(repeats):
        undo(stage, root, before)
        keep("ours", timed(command(stage, root, 1)))
        for kind in ("plain", "floor"):
            done = timed_baseline(kind, stage, root)
            keep(kind, done)
        if workers > 1:
            undo(stage, root, before)
            keep("parallel", timed(command(stage, root, workers)))
    return {"stage": stage, "items": count(stage, root), "workers": workers, **best}


def timed_baseline(kind, stage, root):
    """The plain version as a whole process; of the floor only what it clocked itself."""
    with tempfile.TemporaryDirectory(dir=root) as out:
        done = timed(
            [sys.executable, str(REPOSITORY / "tests/baselines.py"), kind, stage, str(root), out]
        )
    if kind == "floor":
        wall, cpu = map(float, done.text.split())
        done = done._replace(wall=wall, cpu=cpu)
    return done


def count(stage, root):
    """How many files (01) or samples a stage worked on."""
    if stage == "01":
        return len(baselines.archive_files(root))
    is_of_scans = stage in ("02", "05", "report")
    return len(baselines.volumes(root) if is_of_scans else baselines.masks(root))


def report_mb(root):
    """Megabytes of the report's files of each sample."""
    paths = [path for path in (root / "qc").rglob("amos_*") if path.is_file()]
    return sum(path.stat().st_size for path in paths) / 1e6 / len(baselines.volumes(root))


def measure_excel(root):
    """Seconds of the Excel work of 05 to 07 on a whole data set's manifest."""
    path = root / "excel/grouped/dataset_manifest.xlsx"
    start = time.perf_counter()
    table = dataset.table(made_up_outcome(), amos22.DATASET_KEYS)
    manifest.Target(path, overwrite=True).write_sheet(manifest.MAIN_SHEET, table)
    result = {"05": time.perf_counter() - start}
    for number, script in {"06": trees.MAKE_SPLIT, "07": trees.CUT}.items():
        words = trees.words(script, root / "excel")
        result[number] = timed([sys.executable, str(REPOSITORY / script), *words]).wall
    return result


def made_up_outcome():
    """What routine 05 finds out about 600 samples with 17 masks each."""
    names = {(value, f"name_of_label_{value}"): f"mask_{value}" for value in range(N_LABELS)}
    common = dict.fromkeys(dataset.GEOMETRY_COLUMNS, 0.7654321)
    common |= dict.fromkeys(amos22.DATASET_KEYS, "text")
    results = []
    for number in range(EXCEL_SAMPLES):
        stem = f"amos_{number:04d}"
        folder = f"AMOS-CT/train/Aquilion ONE/{stem}_F"
        subset = ("train", "val", "test")[number % 3]
        row = common | {"ID": stem, "subset": subset, "mask": f"{folder}/{stem}_mask.nii.gz"}
        paths = {key: f"{folder}/{stem}_{name}.nii.gz" for key, name in names.items()}
        entry = dataset.Entry(row, paths, frozenset(range(15)))
        results.append((samples.Sample(stem, Path(folder)), entry))
    return calls.Outcome(results=results)


def measure_start(repeats):
    """Seconds of ``--help`` of each script, and of Python alone."""
    commands = {"python": ["-c", "pass"]} | {
        name: [str(REPOSITORY / name), "--help"]
        for name in (*STAGES.values(), trees.MAKE_SPLIT, trees.CUT)
    }
    return {
        name: min(timed([sys.executable, *words]).wall for _ in range(repeats))
        for name, words in commands.items()
    }


def stage_lines(measured):
    """The table of the stages."""
    yield (
        f"{'stage':<8} {'n':>4} {'s each':>8} {'CPU s':>8} {'plain/ours':>10} {'(CPU)':>6} "
        f"{'ours/floor':>10} {'(CPU)':>6} {'MiB':>6} {'plain':>6} {'speed-up':>9}"
    )
    for row in measured:
        n = row["items"]
        yield (
            f"{row['stage']:<8} {n:>4} {row['ours_wall'] / n:>8.3f} {row['ours_cpu'] / n:>8.3f} "
            f"{ratio(row, 'plain', 'ours', 'wall'):>10} {ratio(row, 'plain', 'ours', 'cpu'):>6} "
            f"{ratio(row, 'ours', 'floor', 'wall'):>10} {ratio(row, 'ours', 'floor', 'cpu'):>6} "
            f"{row['ours_mib']:>6.0f} {row['plain_mib']:>6.0f} "
            f"{ratio(row, 'ours', 'parallel', 'wall'):>6} x{row['workers']}"
        )
    total = {
        name: sum(
            row[f"{name}_wall"] / row["items"] * WHOLE_SET.get(row["stage"], N_MASKS)
            for row in measured
        )
        for name in ("ours", "plain")
    }
    yield (
        f"{N_SCANS} scans of this size, these stages, one worker: {total['ours'] / 60:.1f} min "
        f"(plain: {total['plain'] / 60:.1f} min)"
    )


def ratio(row, one, other, kind):
    """How many times longer one takes than the other, as text."""
    below = row.get(f"{other}_{kind}")
    return f"{row[f'{one}_{kind}'] / below:.1f}" if below else "-"


def report(found):
    """All that is told to the user."""
    yield from stage_lines(found["stages"])
    excel = found["excel"]
    yield (
        f"Excel, {EXCEL_SAMPLES} samples x {N_LABELS} masks: "
        + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in excel.items())
        + f", together {sum(excel.values()):.1f} s"
    )
    yield "--help: " + ", ".join(
        f"{Path(name).name} {seconds:.2f} s" for name, seconds in found["start"].items()
    )
    if found["report_mb"]:
        yield f"report: {found['report_mb']:.2f} MB a sample"
    yield f"load of the machine: {found['load'][0]:.1f} before, {found['load'][1]:.1f} after"


def prepare(root, shape, n_samples):
    """Build the archive."""
    words = ["--root_dir", root, "--samples", n_samples, 0, "--shape", *shape]
    timed([sys.executable, str(REPOSITORY / trees.GENERATE), *map(str, words)])
    (root / "descriptor").mkdir(exist_ok=True)
    shutil.copy(trees.LABEL_MAP, root / "descriptor")


def run(root, shape, n_samples, chosen, repeats, workers):
    """Measure the chosen stages; those before run once, as later ones need them."""
    prepare(root, shape, n_samples)
    load = [os.getloadavg()[0]]
    measured = []
    last = max(list(STAGES).index(stage) for stage in chosen)
    for stage in list(STAGES)[: last + 1]:
        click.echo(f"stage {stage} ...", err=True)
        if stage in chosen:
            measured.append(measure(stage, root, repeats, workers))
        else:
            timed(command(stage, root, 1))
    found = {
        "shape": shape,
        "stages": measured,
        "excel": measure_excel(root),
        "start": measure_start(repeats),
        "report_mb": report_mb(root) if "report" in chosen else None,
    }
    return found | {"load": [*load, os.getloadavg()[0]]}


@cli.routine(__doc__, images=False)
@click.option(
    "--shape",
    type=click.IntRange(min=2),
    nargs=3,
    default=(512, 512, 82),
    metavar="X Y Z",
    help="Voxels of every scan.",
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(min=1),
    default=6,
    metavar="N",
    help="Number of scans.",
)
@click.option(
    "--stages",
    cls=shared_options.GroupOption,
    metavar="STAGE...",
    show_default="all",
    help=f"Which to measure: {' '.join(STAGES)}.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=2, help="Each thing so often.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    help="Compare with so many workers; 1 leaves it out.",
)
@click.option(
    "--root_dir",
    type=shared_options.OUTPUT_DIR,
    metavar="DIR",
    show_default="temporary",
    help="Folder for the scans; kept, and used again where they fit.",
)
@click.option(
    "--output",
    type=shared_options.OUTPUT_FILE,
    metavar="JSON",
    show_default="none",
    help="Write the figures here, too.",
)
def main(shape, n_samples, stages, repeats, workers, root_dir, output):
    chosen = [stage for group in stages for stage in group] or list(STAGES)
    if unknown := set(chosen) - set(STAGES):
        raise click.BadParameter(
            f"no stage {' '.join(sorted(unknown))}; there are {' '.join(STAGES)}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        found = run(Path(root_dir or scratch), shape, n_samples, chosen, repeats, workers)
    if output:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for line in report(found):
        click.echo(line)


if __name__ == "__main__":
    main()

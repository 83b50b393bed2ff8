"""NME data as each routine leaves it: made once a test run from a tiny archive, then copied."""

import functools
import shutil
from pathlib import Path

import trees

from utils.sample_data import nme_archive

LABEL_MAP = trees.REPOSITORY / "descriptor_templates/NME/label_map.yaml"
SHAPE = (7, 8, 9)
SCAN, PAIR, EXTRACT, INDEX, PREDEFINED, ACROSS, CUT = (
    f"NME/{name}.py"
    for name in (
        "01_gen_archive_manifest",
        "02_confirm_pairs",
        "03_extract_binary_masks",
        "04_gen_dataset_manifest",
        "05_make_split_predefined",
        "05_make_split_across_sites",
        "06_extract_split_index_manifest",
    )
)
# Name of a state -> the one it is made from and the script in between.
_STATES = {
    "scanned": ("built", SCAN),
    "paired": ("scanned", PAIR),
    "extracted": ("paired", EXTRACT),
    "indexed": ("extracted", INDEX),
}


def build_archive(root_dir, shape=SHAPE):
    """Write the 18 hand-picked scans, tiny."""
    settings = nme_archive.Settings(shape)
    for sample in nme_archive.prepare(root_dir, settings):
        nme_archive.write_sample(sample, root_dir, settings)


def archive_manifest(root):
    return root / "descriptor/archive_manifest.xlsx"


def dataset_manifest(root):
    return root / "grouped/dataset_manifest.xlsx"


def invoke(script, root, *more):
    """Run a script in this process as the README has it; gives click's result."""
    archive, grouped = root / "archive", root / "grouped"
    words = {
        SCAN: ("--root_dir", archive, "--output_manifest_file", archive_manifest(root)),
        PAIR: (
            "--root_dir",
            archive,
            "--output_dir",
            grouped,
            "--archive_manifest",
            archive_manifest(root),
        ),
        EXTRACT: ("--root_dir", grouped, "--label_explanation", LABEL_MAP),
        INDEX: ("--root_dir", grouped, "--output_manifest_file", dataset_manifest(root)),
    }.get(script, ("--manifest_file", dataset_manifest(root)))
    workers = ("--workers", 1) if script in (SCAN, PAIR, EXTRACT, INDEX) else ()
    return trees.run(script, *words, *workers, *more)


def copy(state, root_dir):
    """Put a copy of the data in a state below a new folder, time stamps included."""
    shutil.copytree(_made(state), root_dir)
    return root_dir


@functools.cache
def _made(state):
    root = Path(trees.scratch(), f"nme-{state}")
    if state == "built":
        build_archive(root)
        return root
    before, script = _STATES[state]
    shutil.copytree(_made(before), root)
    result = invoke(script, root)
    assert result.exit_code == 0, result.output
    return root


def archive_file(root, sample, kind="images"):
    """Path of a file of the archive: ``archive_file(root, "02A001", "labels")``."""
    found = next(one for one in nme_archive.plan() if one.seq == sample)
    return root / "archive" / found.path(kind)

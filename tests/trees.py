"""Data as each routine leaves it: made once a test run from the phantom archive, then copied."""

import atexit
import functools
import os
import runpy
import shutil
import tempfile
from pathlib import Path

import click.testing
import nibabel as nib
import numpy as np
import openpyxl
import phantoms

from utils.running import provenance

REPOSITORY = Path(__file__).resolve().parents[1]
LABEL_MAP = REPOSITORY / "descriptor_templates/label_map.yaml"
SCAN = "01_gen_archive_manifest.py"
PAIR_CT = "AMOS-CT/02_amos_ct_confirm_pairs.py"
PAIR_MRI = "AMOS-MRI/02_amos_mri_confirm_pairs.py"
SPLIT_LABEL = "03_split_prostate_uterus_label.py"
EXTRACT = "04_extract_binary_masks.py"
DENOISE = "utils/morphological_open_close_on_slice_small_region.py"
DETECT = "utils/small_connected_region_detect.py"
INDEX = "05_gen_dataset_manifest.py"
MAKE_SPLIT = "06_make_split01_standard.py"

# What the phantom archive holds of each modality: sample folder -> has a mask.
CT_SAMPLES = {
    "train/Aquilion ONE/amos_0001_F": True,
    "train/Brilliance16/amos_0004_M": True,
    "val/Optima CT660/amos_0008_F": True,
    "test/SOMATOM Force/amos_0201_M": False,
}
MRI_SAMPLES = {
    "train/Prisma/amos_0507_M": True,
    "train/Achieva/amos_0540_F": True,
    "val/SIGNA HDe/amos_0554_F": True,
    "test/Ingenia/amos_0539_M": False,
}


def words(script, root, *more):
    """The command line of a script, as the tutorial has it, for the data below a folder."""
    archive, grouped = root / "archive", root / "grouped"
    manifest = root / "descriptor/archive_manifest.xlsx"
    label_map = root / "descriptor/label_map.yaml"
    options = {
        SCAN: ("--root_dir", archive, "--output_manifest_file", manifest),
        PAIR_CT: (
            "--root_dir",
            archive,
            "--output_dir",
            grouped / "AMOS-CT",
            "--archive_manifest",
            manifest,
        ),
        PAIR_MRI: (
            "--root_dir",
            archive,
            "--output_dir",
            grouped / "AMOS-MRI",
            "--archive_manifest",
            manifest,
        ),
        SPLIT_LABEL: ("--root_dir", grouped),
        EXTRACT: ("--root_dir", grouped, "--label_explanation", label_map),
        DENOISE: ("--root_dir", grouped, "--output_dir", grouped),
        DETECT: ("--root_dir", grouped, "--output_manifest", root / "descriptor/regions.xlsx"),
        INDEX: ("--root_dir", grouped, "--output_manifest_file", grouped / "dataset_manifest.xlsx"),
        MAKE_SPLIT: ("--manifest_file", grouped / "dataset_manifest.xlsx"),
    }[script]
    return [str(word) for word in (*options, *more)]


def invoke(script, root, *more):
    """Run a script of the chain in this process, with one worker; gives click's result."""
    if script != MAKE_SPLIT:
        more = ("--workers", 1, *more)
    return run(script, *words(script, root, *more))


def run(script, *command):
    """Run any script in this process with just these words; gives click's result."""
    result = click.testing.CliRunner().invoke(_main(script), [str(word) for word in command])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@functools.cache
def _main(script):
    return runpy.run_path(str(REPOSITORY / script), run_name="script")["main"]


# Name of a state -> the one it is made from and the scripts in between.
_STATES = {
    "scanned": (None, SCAN),
    "paired": ("scanned", PAIR_CT, PAIR_MRI),
    "relabelled": ("paired", SPLIT_LABEL),
    "extracted": ("relabelled", EXTRACT),
    "indexed": ("extracted", INDEX),
}


def copy(state, root_dir):
    """Put a copy of the data in a state below a new folder, time stamps included."""
    shutil.copytree(_made(state), root_dir)
    return root_dir


@functools.cache
def _made(state):
    root = Path(scratch(), state)
    before, *scripts = _STATES[state]
    if before is None:
        phantoms.build_archive(root)
        (root / "descriptor").mkdir()
        shutil.copy(LABEL_MAP, root / "descriptor")
    else:
        shutil.copytree(_made(before), root)
    for script in scripts:
        result = invoke(script, root)
        assert result.exit_code == 0, result.output
        assert complaints(result, "note") == [], "a library warns of healthy data"
    return root


@functools.cache
def scratch():
    """A folder for the states, removed when the tests have ended."""
    folder = tempfile.mkdtemp(prefix="trees-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def sample_dir(root, name):
    """The folder of a sample: ``sample_dir(root, "amos_0004")``."""
    (found,) = (root / "grouped").rglob(f"{name}_?")
    return found


def mask_path(root, name):
    """The multi-label mask of a sample."""
    return sample_dir(root, name) / f"{name}_mask.nii.gz"


def binary_masks(root, name):
    """The binary masks of a sample, sorted."""
    return sorted(sample_dir(root, name).glob(f"{name}_mask_*.nii.gz"))


def voxels(path):
    """The values of an image, scaling applied, by nibabel."""
    return np.asarray(nib.load(path).dataobj)


def edit(path, change, **header_fields):
    """Change an image as a person does with nibabel, header kept; `change` works in place."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj).copy()
    change(data)
    for name, value in header_fields.items():
        image.header[name] = value
    path.unlink()  # a new file, as most tools make it
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)


def put_voxel(path, place, value):
    """Set one voxel of a mask by hand."""

    def change(data):
        data[place] = value

    edit(path, change)


def _files(folder):
    """Relative path -> path of all files but the record of runs, which every run adds to."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != provenance.FILE_NAME
    }


def contents(folder):
    """Relative path -> bytes of all files below a folder."""
    return {name: path.read_bytes() for name, path in _files(folder).items()}


def identities(folder):
    """Relative path -> (inode, time of change) of all files: what was written anew shows."""
    return {
        name: (os.stat(path).st_ino, os.stat(path).st_mtime_ns)
        for name, path in _files(folder).items()
    }


def rewritten(before, after):
    """Names whose file is another one, is new or is gone."""
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def edit_cells(path, changes, sheet="Manifest"):
    """Correct a workbook as a person does: {(column, row's file_path or ID): value}."""
    book = openpyxl.load_workbook(path)
    names = [cell.value for cell in book[sheet][1]]
    key = names.index("file_path" if "file_path" in names else "ID")
    for row in book[sheet].iter_rows(min_row=2):
        for (column, which), value in changes.items():
            if which in row[key].value:
                row[names.index(column)].value = value
    book.save(path)


def delete_rows(path, which):
    """Take the rows whose file_path holds a text out of a manifest."""
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    doomed = [row[0].row for row in sheet.iter_rows(min_row=2) if which in row[0].value]
    for number in reversed(doomed):
        sheet.delete_rows(number)
    assert doomed
    book.save(path)


def archive_file(root, folder, name):
    """Path of a file of the phantom archive: ``archive_file(root, "labelsTr", "amos_0004")``."""
    return root / "archive/amos22" / folder / f"{name}.nii.gz"


def complaints(result, kind="FAILED"):
    """Lines of stderr of a kind: FAILED, WARNING or note."""
    return [line for line in result.stderr.splitlines() if line.startswith(f"{kind} ")]


def leftovers(folder):
    """Temporary files below a folder."""
    return [path.name for path in folder.rglob(".part~*")]

"""Data as each routine leaves it: made once a test run from the phantom archive, then copied."""

import atexit
import functools
import os
import runpy
import shutil
import subprocess
import sys
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
BY_PATIENT = "06_make_split02_by_patient.py"
FOLDS = "06_make_split03_folds.py"
LEAVE_OUT = "06_make_split04_leave_out.py"
LISTED = "06_make_split05_listed.py"
CUT = "07_extract_split_index_manifest.py"
NNUNET = "utils/export_nnunet.py"
DATALIST = "utils/export_datalist.py"
CROISSANT = "utils/export_croissant.py"
REPORT = "utils/render_qc_report.py"
GENERATE = "utils/generate_sample_archive.py"

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
ANNOTATED = [*map("amos_{}".format, "0001 0004 0008 0507 0540 0554".split())]
SPLIT = "ID,subset\namos_0004,train\namos_0008,test\n"
# The binary masks' names without the sample's, by label.
LABEL_NAMES = (
    "background spleen right_kidney left_kidney gall_bladder esophagus liver stomach aorta"
    " postcava pancreas right_adrenal_gland left_adrenal_gland duodenum bladder prostate uterus"
).split()

_PAIR = "--root_dir ROOT/archive --archive_manifest ROOT/descriptor/archive_manifest.xlsx"
_MANIFEST = "--manifest_file ROOT/grouped/dataset_manifest.xlsx"
_SPLIT = f"{_MANIFEST} --split_name split01_standard"
# Script -> its command line, as the README has it.
_COMMANDS = {
    SCAN: "--root_dir ROOT/archive --output_manifest_file ROOT/descriptor/archive_manifest.xlsx",
    PAIR_CT: f"{_PAIR} --output_dir ROOT/grouped/AMOS-CT",
    PAIR_MRI: f"{_PAIR} --output_dir ROOT/grouped/AMOS-MRI",
    SPLIT_LABEL: "--root_dir ROOT/grouped",
    EXTRACT: "--root_dir ROOT/grouped --label_explanation ROOT/descriptor/label_map.yaml",
    DENOISE: "--root_dir ROOT/grouped --output_dir ROOT/grouped",
    DETECT: "--root_dir ROOT/grouped --output_manifest ROOT/descriptor/regions.xlsx",
    INDEX: "--root_dir ROOT/grouped --output_manifest_file ROOT/grouped/dataset_manifest.xlsx",
    **dict.fromkeys((MAKE_SPLIT, BY_PATIENT), _MANIFEST),
    FOLDS: f"{_MANIFEST} --folds 2",
    LEAVE_OUT: f"{_MANIFEST} --split_name split04_no_brilliance --values Brilliance16",
    LISTED: f"{_MANIFEST} --ids ROOT/descriptor/split05_listed.csv",
    CUT: f"{_SPLIT} --output_index_manifest_dir ROOT/grouped/splits/split01_standard"
    " --subsets train val --subsets train --subsets val --subsets test",
    NNUNET: f"{_SPLIT} --output_dir ROOT/nnUNet_raw --dataset_id 218",
    DATALIST: f"{_SPLIT} --output_file ROOT/datalists/amos22.json",
    CROISSANT: "--manifest_file ROOT/grouped/dataset_manifest.xlsx"
    " --output_file ROOT/croissant.json",
    REPORT: "--root_dir ROOT/grouped/AMOS-CT/train --output_dir ROOT/qc",
    GENERATE: "--root_dir ROOT --samples 2 1 --shape 7 8 9",
}
# Name of a state -> the one it is made from and the scripts in between.
_STATES = {
    "scanned": ("built", SCAN),
    "paired": ("scanned", PAIR_CT, PAIR_MRI),
    "relabelled": ("paired", SPLIT_LABEL),
    "extracted": ("relabelled", EXTRACT),
    "indexed": ("extracted", INDEX),
    "split": ("indexed", MAKE_SPLIT),
}


class Chain:
    """The routines of a data set, and the states that they leave its sample archive in."""

    def __init__(self, build, label_map, commands, states):
        self._build = build
        self._label_map = label_map
        self._commands = commands
        self._states = states
        self._made = functools.cache(self._make)

    def words(self, script, root, *more):
        """The command line of a script, as the tutorial has it, for the data below a folder."""
        return [*_with_root(self._commands[script], root), *map(str, more)]

    def invoke(self, script, root, *more):
        """Run a script in this process, with one worker; gives click's result."""
        takes_workers = any(option.name == "workers" for option in main(script).params)
        workers = ("--workers", 1) if takes_workers else ()
        return run(script, *self.words(script, root, *workers, *more))

    def copy(self, state, root_dir):
        """Put a copy of the data in a state below a new folder, time stamps included."""
        return shutil.copytree(self._made(state), root_dir)

    def _make(self, state):
        root = Path(scratch(self), state)
        if state == "empty":
            root.mkdir()
            return root
        if state == "built":
            self._build(root)
            return root
        before, *scripts = self._states[state]
        self.copy(before, root)
        if before == "built" and self._label_map:
            (root / "descriptor").mkdir()
            shutil.copy(self._label_map, root / "descriptor")
        for script in scripts:
            result = self.invoke(script, root)
            assert result.exit_code == 0, result.output
            assert library_notes(result) == [], "a library warns of healthy data"
        return root


def _with_root(command, root):
    return [word.replace("ROOT", str(root)) for word in command.split()]


_AMOS22 = Chain(phantoms.build_archive, LABEL_MAP, _COMMANDS, _STATES)
words, invoke, copy = _AMOS22.words, _AMOS22.invoke, _AMOS22.copy


def run(script, *command):
    """Run any script in this process with just these words; gives click's result."""
    result = click.testing.CliRunner().invoke(main(script), [str(word) for word in command])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_process(script, *command, cwd, options=()):
    """Run any script as a process in another directory; gives what it printed, as text.

    `options` are those of the interpreter.
    """
    return subprocess.run(
        [sys.executable, *options, REPOSITORY / script, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def main(script):
    """The command of a script."""
    return runpy.run_path(str(REPOSITORY / script), run_name="script")["main"]


@functools.cache
def scratch(owner):
    """A folder for the states of somebody, removed when the tests have ended."""
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


def put_odd_names(root):
    """Give two samples what no cell of a workbook holds: a long subset, a folder's name."""
    info = sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    text = info.read_text(encoding="utf-8").replace('subset: "train"', f'subset: "{"x" * 32768}"')
    assert len(text) > 32768
    info.write_text(text, encoding="utf-8")
    folder = sample_dir(root, "amos_0004")
    odd = folder.parent.parent / "odd \x01 scanner"
    odd.mkdir()
    folder.rename(odd / folder.name)


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
    """Relative path -> (inode, time of change) of all files: what was written again shows."""
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
    # Spreadsheet programs move links with their cells; openpyxl would leave them behind, and give
    # a cell that is empty there the link for a text.
    for cell in (cell for row in sheet.iter_rows() for cell in row if cell.hyperlink):
        cell.hyperlink.ref = cell.coordinate
    book.save(path)


def archive_file(root, folder, name):
    """Path of a file of the phantom archive: ``archive_file(root, "labelsTr", "amos_0004")``."""
    return root / "archive/amos22" / folder / f"{name}.nii.gz"


def complaints(result, kind="FAILED"):
    """Lines of stderr of a kind: FAILED, WARNING or note."""
    return [line for line in result.stderr.splitlines() if line.startswith(f"{kind} ")]


def library_notes(result):
    """What libraries warned of; notes on what holds for every official archive are of ours."""
    own = ("note metadata table: ", "note known faults: ", "note split01_standard: ")
    own += ("note Folders: ",)  # a described set with channels
    return [line for line in complaints(result, "note") if not line.startswith(own)]


def leftovers(folder):
    """Temporary files below a folder."""
    return [path.name for path in folder.rglob(".part~*")]

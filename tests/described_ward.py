"""A small described data set with all that a page may hold, finished by its numbered scripts."""

import shutil

import nibabel as nib
import numpy as np
import trees

SHAPE, SPACING = (12, 14, 16), (3.0, 2.5, 2.0)
# Head to foot along the first array axis.
AFFINE = np.array([[0, 0, 2.0, -9], [0, -2.5, 0, 7], [-3.0, 0, 0, 40], [0, 0, 0, 1]])
IDS = tuple(f"w_{number}" for number in range(1, 7))
FIELDS = {
    "name": "Ward-7",
    "description": "Livers of ward 7",
    "reference": "https://example.org/ward7",
    "licence": "CC BY 4.0",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
    "creators": "[A Person, B Person]",
    "published": '"2024"',
    "citation": '"@misc{ward7}"',
    "files": "{volume: 'images/{seq}_{patient}.nii.gz', mask: 'labels/{seq}_{patient}.nii.gz'}",
    "id": '"w_{seq}"',
    "labels": "{0: nothing, 1: Liver, 2: kidney_right, 4: tumour, 104: rare}",
    "split": "{by: ids, subsets: {train: 1-3, val: 4, test: '5, 6'}}",
    "modality": "{ids: {CT: '1, 2, 4-6', MR: 3}}",
    "known_faults": "faults.csv",
}
_SCRIPTS = (
    (
        "described/01_gen_archive_manifest.py",
        "--root_dir ROOT/archive --output_manifest_file TABLE",
    ),
    (
        "described/02_confirm_pairs.py",
        "--root_dir ROOT/archive --archive_manifest TABLE --output_dir ROOT/grouped",
    ),
    ("described/03_extract_binary_masks.py", "--root_dir ROOT/grouped"),
    (
        "described/04_gen_dataset_manifest.py",
        "--root_dir ROOT/grouped --output_manifest_file ROOT/grouped/dataset_manifest.xlsx",
    ),
    ("described/05_make_split01_standard.py", "--manifest_file ROOT/grouped/dataset_manifest.xlsx"),
)


def page(root):
    """Where the page of the data set lies."""
    return root / "descriptor/dataset.yaml"


def mask_of(number):
    """A liver with a hole, rods of it along two axes, a kidney, and two pieces of a tumour."""
    made = np.zeros(SHAPE, np.uint8)
    made[2:10, 2:9, 2:10] = 1
    made[3:7, 3:6, 11:15] = 2
    made[4, 5, 5] = 0
    made[2:10, 12, 2] = made[10, 1:9, 13] = 1
    made[8:10, 11:13, 12:14] = made[3 + number % 2, 7, 7] = 4
    return made


def write_page(root, **fields):
    """Write the page, with these fields changed, or left out where they are None."""
    chosen = {**FIELDS, **fields}
    lines = [f"{name}: {text}\n" for name, text in chosen.items() if text is not None]
    page(root).write_text("".join(lines), encoding="utf-8")


def build(root):
    """Write the archive below a new folder: scan 2 lost its geometry, scan 3 is of MRI."""
    for name in ("archive/images", "archive/labels", "descriptor"):
        (root / name).mkdir(parents=True)
    for number in range(1, 7):
        affine = np.eye(4) if number == 2 else AFFINE
        values = np.random.default_rng(number).normal(40, 150, SHAPE).astype(np.float32)
        name = f"{number}_p{number // 2}.nii.gz"
        nib.save(nib.Nifti1Image(values, affine), root / "archive/images" / name)
        if number < 6:
            image = nib.Nifti1Image(mask_of(number), affine)
            nib.save(image, root / "archive/labels" / name)
    fault = "id,kind,what,evidence\nw_5,damaged,has a stripe,seen\nw_9,damaged,has two,seen\n"
    (root / "descriptor/faults.csv").write_text(fault, encoding="utf-8")
    write_page(root)


def finish(root):
    """Run the numbered scripts; gives click's results by script."""
    results = {}
    for script, command in _SCRIPTS:
        table = command.replace("TABLE", "ROOT/descriptor/archive_manifest.xlsx")
        words = [word.replace("ROOT", str(root)) for word in table.split()]
        workers = () if "split" in script else ("--workers", 1)
        results[script] = trees.run(script, "--dataset", page(root), *words, *workers)
        assert results[script].exit_code == 0, results[script].output
    return results


def copy(root, folder):
    """Put a copy of a finished data set below a new folder, its page with it."""
    return shutil.copytree(root, folder)

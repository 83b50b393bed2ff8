"""described/new_dataset.py: a page drafted from an archive, and the routines run with it."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import layouts
import numpy as np
import openpyxl
import pytest
import trees
import zip_files

from utils.facts import described
from utils.routines import draft_looks, page_draft
from utils.sample_data import scan_files

SCRIPT = "described/new_dataset.py"
SHAPE = (5, 6, 7)


def voxels(is_mask, values=(0, 1, 3)):
    """Made-up CT, or labels, on a small grid."""
    places = np.indices(SHAPE).sum(axis=0)
    return np.asarray(values)[places % len(values)] if is_mask else places * 90 - 1000


def put(path, data, dtype):
    """Write a .nii.gz, or, by its name, a .nii."""
    header = scan_files.header(SHAPE, dtype, np.diag([1.5, 1.5, 3.0, 1.0]), "both")
    scan_files.write(path, header, [data[:, :, k] for k in range(SHAPE[2])])


def build(root, layout):
    """Write an archive of a layout; masks of single organs lie apart from each other."""
    volumes, masks = layouts.LAYOUTS[layout]
    for number, path in enumerate(volumes):
        put(root / "archive" / path, voxels(False) + number, "int16")
    for path in masks:
        values = (0, 1, 3)
        for index, organ in enumerate(layouts.ORGANS):
            if organ in path and "liver_" not in path:
                values = [int(place == index) for place in range(len(layouts.ORGANS) + 1)]
        put(root / "archive" / path, voxels(True, values), "uint8")
    return root


@pytest.fixture(name="draft")
def drafted(run_script):
    """``draft(root)`` drafts the page of ROOT/archive: (result, text or None)."""

    def run(root, *words):
        result = run_script(SCRIPT, "--root_dir", root / "archive", *words)
        page = root / "descriptor/dataset.yaml"
        return result, page.read_text(encoding="utf-8") if page.exists() else None

    return run


def checks(text):
    return re.findall("^ *# check: (.*)$", text, re.M)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout_gives_a_page_that_is_read_and_fits_all_files(draft, tmp_path, layout):
    result, text = draft(build(tmp_path, layout))
    assert result.exit_code == 0, result.output
    facts = described.read(tmp_path / "descriptor/dataset.yaml")
    volumes, masks = layouts.LAYOUTS[layout]
    groups = [facts.groups(path) for path in (*volumes, *masks)]
    assert [found[0] for found in groups] == ["v3d"] * len(volumes) + ["m3d"] * len(masks)
    assert f"{len(volumes)} volumes: " in result.stdout
    assert f"{len(masks)} masks: " in result.stdout
    assert "0 NIfTI files left over\n" in result.stdout
    assert f"page: {tmp_path / 'descriptor/dataset.yaml'}\n" in result.stdout
    assert f"{len(checks(text))} places to check are marked" in result.stdout
    names = {facts.sample_name(facts.classify(path)) for path in masks}
    assert names <= {
        facts.sample_name(columns) for columns in map(facts.classify, volumes) if columns
    }


def test_the_whole_page_of_two_folders(draft, tmp_path):
    _, text = draft(build(tmp_path / "my set", "two folders"))
    assert text == (
        "# Drafted from names of files, and from a look into some of them; correct\n"
        "# what is wrong. Each field is explained in docs/own_data.md.\n"
        "name: my-set\n\n"
        "files:\n"
        "  volume: images/{seq}.nii.gz\n"
        "  mask: labels/{seq}.nii.gz\n\n"
        "# check: give names to the labels 1, 3\n"
        "labels:\n  0: background\n  1: label 1\n  3: label 3\n\n"
        "# check: nothing tells a published split; patients are dealt at random\n"
        "split:\n  by: patient\n  val: 0.2\n  test: 0.2\n  seed: 0\n\n"
        "# check: CT by a guess: lowest values of 3 volumes: -1000, -999, -997\n"
        "modality: CT\n"
    )


# What is asked to check, beyond labels, split and modality.
ASKED = {
    "FLARE22": "nothing tells which subset 'Case' is; unlabelled is a guess",
    "patients": "{patient} is a folder; is it one of a patient?",
    "scans in names": "{patient} is in several names: are they scans of one patient?",
    "NME": "what follows {seq} is in several names: is it the patient?",
    "umlauts": "3 samples have names with more than letters, digits, _ and -; rename their files, "
    "or correct the column seq of the archive manifest: Jäger neu, Müller, 王伟",
    "nnU-Net": "which one is the volume? Channels: 0000, 0001",
    "TotalSegmentator": "numbers are given in the order of the names; is this the order you want?",
    "CT-ORG": "these labels were found in 10 of 12 masks; others may have more",
}


@pytest.mark.parametrize("layout", ASKED)
def test_what_is_doubtful_is_marked(draft, tmp_path, layout):
    _, text = draft(build(tmp_path, layout))
    assert ASKED[layout] in checks(text)


def run_all(root, run_script):
    """Routines 01 to 06 with the drafted page; gives the rows of the published split."""
    page = ("--dataset", root / "descriptor/dataset.yaml")
    manifest = root / "descriptor/archive_manifest.xlsx"
    index = ("--manifest_file", root / "grouped/dataset_manifest.xlsx")
    split = "split01_standard"
    words = {
        "01_gen_archive_manifest": [
            *(*page, "--root_dir", root / "archive", "--output_manifest_file", manifest)
        ],
        "02_confirm_pairs": [
            *(*page, "--root_dir", root / "archive", "--output_dir", root / "grouped"),
            *("--archive_manifest", manifest),
        ],
        "03_extract_binary_masks": [*page, "--root_dir", root / "grouped"],
        "04_gen_dataset_manifest": [
            *(*page, "--root_dir", root / "grouped", "--output_manifest_file", index[1])
        ],
        "05_make_split01_standard": [*page, *index],
        "06_extract_split_index_manifest": [
            *(*index, "--split_name", split, "--output_index_manifest_dir", root / "splits"),
            *("--subsets", "train"),
        ],
    }
    for script, more in words.items():
        result = run_script(f"described/{script}.py", *more)
        assert result.exit_code == 0, f"{script}: {result.output}"
    header, *rows = openpyxl.load_workbook(index[1])[split].iter_rows(values_only=True)
    return [dict(zip(header, row)) for row in rows]


UNUSABLE = {"umlauts"}  # IDs of samples cannot be made of these names


@pytest.mark.parametrize("layout", [name for name in layouts.LAYOUTS if name not in UNUSABLE])
def test_the_draft_runs_unchanged_from_01_to_06(draft, run_script, tmp_path, layout):
    root = build(tmp_path, layout)
    draft(root)
    rows = run_all(root, run_script)
    facts = described.read(root / "descriptor/dataset.yaml")
    volumes, masks = layouts.LAYOUTS[layout]
    names = {facts.sample_name(c) for c in map(facts.classify, volumes) if c}
    assert {row["ID"] for row in rows} == names
    masked = {facts.sample_name(facts.classify(path)) for path in masks}
    assert {row["ID"] for row in rows if row["mask"]} == masked


def test_an_existing_page_is_never_replaced(draft, tmp_path):
    root = build(tmp_path, "two folders")
    (root / "descriptor").mkdir()
    page = root / "descriptor/dataset.yaml"
    page.write_text("mine")
    result, text = draft(root)
    assert (result.exit_code, result.stdout, text) == (2, "", "mine")
    assert result.stderr == (
        f"Error: {page}: exists, and is not replaced; move it away, or give another --output\n"
    )
    page.unlink()
    page.symlink_to(tmp_path / "nowhere")
    assert draft(root)[0].exit_code == 2
    assert draft(root, "--output", tmp_path / "other.yaml")[0].exit_code == 0
    assert described.read(tmp_path / "other.yaml").NAME == tmp_path.name.replace(" ", "-")


def test_a_page_that_appears_meanwhile_is_not_replaced(draft, tmp_path, monkeypatch):
    root = build(tmp_path, "two folders")
    page = root / "descriptor/dataset.yaml"
    make = page_draft.make

    def slow(root_dir):
        page.parent.mkdir()
        page.write_text("mine")
        return make(root_dir)

    monkeypatch.setattr(page_draft, "make", slow)
    result, text = draft(root)
    assert (result.exit_code, text) == (2, "mine")


def test_the_folder_of_the_archive_is_told_from_the_archive(run_script, tmp_path):
    root = build(tmp_path, "two folders")
    result = run_script(SCRIPT, "--root_dir", root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {root}: no archive, but the folder that has one; probably meant: "
        f"{root / 'archive'}\n"
    )
    result = run_script(SCRIPT, "--root_dir", root / "archive", "--output", "")
    assert result.exit_code == 2 and ".: exists, and is not replaced" in result.stderr


def test_a_page_is_printed_alone(draft, tmp_path):
    root = build(tmp_path, "two folders")
    result, text = draft(root, "--output", "-")
    assert (result.exit_code, text) == (0, None)
    (tmp_path / "printed.yaml").write_text(result.stdout)
    assert described.read(tmp_path / "printed.yaml").EXAMPLE_FILE == "images/{seq}.nii.gz"
    assert "note draft: 5 volumes: images/{seq}.nii.gz\n" in result.stderr


def test_an_archive_without_images_ends_with_2(draft, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/notes.txt").touch()
    result, text = draft(tmp_path)
    assert (result.exit_code, text, result.stdout) == (2, None, "")
    reason = "no NIfTI file (.nii.gz or .nii) at any depth below it"
    assert result.stderr == f"Error: {tmp_path / 'archive'}: {reason}\n"


@pytest.mark.parametrize("name, content", [("1.dcm", b""), ("IM0001", b"\0" * 128 + b"DICM")])
def test_dicom_is_to_be_converted_first(draft, tmp_path, name, content):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / name).write_bytes(content)
    result, _ = draft(tmp_path)
    assert result.exit_code == 2
    assert "convert them first: dcm2niix -z y -o FOLDER DICOM_FOLDER\n" in result.stderr
    assert result.stderr.count("\n") == 1


def test_masks_alone_end_with_2(draft, tmp_path):
    for number in range(3):
        put(tmp_path / f"archive/seg_{number}.nii.gz", voxels(True), "uint8")
    result, text = draft(tmp_path)
    assert (result.exit_code, text) == (2, None)
    assert "3 NIfTI files, all of them masks as it seems" in result.stderr


def test_volumes_alone_give_a_page_that_asks_for_masks(draft, tmp_path):
    for number in range(3):
        put(tmp_path / f"archive/scan_{number}.nii.gz", voxels(False), "int16")
    result, text = draft(tmp_path)
    assert result.exit_code == 0
    assert "no masks were found; add files.mask and labels" in checks(text)
    assert described.read(tmp_path / "descriptor/dataset.yaml").masks == ()


def test_damaged_files_are_told_and_stop_nothing(draft, tmp_path):
    root = build(tmp_path, "two folders")
    path = root / "archive/labels/001.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    put(root / "archive/labels/002.nii.gz", voxels(True) + 0.5, "float32")
    (root / "archive/images/001.nii.gz").write_bytes(b"")
    result, text = draft(root)
    assert result.exit_code == 0
    told = re.findall("^not read: .*$", result.stdout, re.M)
    assert [line.count(str(root / "archive")) for line in told] == [1, 1, 1]
    assert "labels: 3 found in 3 of 5 masks, read to their end\n" in result.stdout
    assert "these labels were found in 3 of 5 masks; others may have more" in checks(text)


def test_what_is_left_over_is_named(draft, tmp_path):
    root = build(tmp_path, "two folders")
    put(root / "archive/labels/{odd}.nii.gz", voxels(True), "uint8")
    result, _ = draft(root)
    assert "1 NIfTI files left over: labels/{odd}.nii.gz\n" in result.stdout


def write(root, volumes, masks):
    """Write an archive of these paths."""
    for path in volumes:
        put(root / "archive" / path, voxels(False), "int16")
    for path in masks:
        put(root / "archive" / path, voxels(True), "uint8")
    return root


@pytest.mark.parametrize(
    "volumes, masks, left",
    [
        ("Batch/volume-{n}.nii.gz test/test-volume-{n}.nii.gz", "Batch/segmentation-{n}.nii.gz", 0),
        ("images/{n}.nii.gz", "rater_a/mask-{n}.nii.gz rater_b/mask-{n}.v2.nii.gz", 1),
    ],
)
def test_series_with_the_numbers_of_others_are_left_over(
    draft, run_script, tmp_path, volumes, masks, left
):
    both = [
        [one.format(n=n) for one in some.split() for n in range(4)] for some in (volumes, masks)
    ]
    _, text = draft(write(tmp_path, *both))
    asked = f"4 NIfTI files are left over: {', '.join(both[left][4:])}"
    assert asked in checks(text)
    assert {bool(row["mask"]) for row in run_all(tmp_path, run_script)} == {True}


def test_the_channel_that_most_samples_have_is_the_volume(draft, run_script, tmp_path):
    volumes = [f"s{n}/T1.nii.gz" for n in range(5)] + [f"s{n}/FLAIR.nii.gz" for n in range(3)]
    _, text = draft(write(tmp_path, volumes, [f"s{n}/lesion_mask.nii.gz" for n in range(5)]))
    assert "which one is the volume? Channels: FLAIR, T1" in checks(text)
    assert '  channel: "T1"\n' in text
    assert len(run_all(tmp_path, run_script)) == 5


def test_names_pair_as_the_page_makes_them(draft, run_script, tmp_path):
    """Series in folders of patients, and masks in one."""
    volumes = [f"Series/{n}/{n + scan}.nii.gz" for n in range(100, 140, 10) for scan in (1, 2)]
    masks = [f"segmentations/{n + 1}.nii.gz" for n in range(100, 140, 10)]
    _, text = draft(write(tmp_path, volumes, masks))
    told = [line for line in checks(text) if "samples have" in line]
    assert told == ["4 samples have a volume and no mask: 102, 112, 122, 132"]
    assert len(run_all(tmp_path, run_script)) == 8


def test_several_masks_of_one_sample_are_told(draft, tmp_path):
    masks = [f"masks/{organ}/{n}.nii.gz" for organ in ("liver", "spleen") for n in range(4)]
    _, text = draft(write(tmp_path, [f"images/{n}.nii.gz" for n in range(4)], masks))
    assert "several masks have the same name of a sample" in checks(text)


def test_a_page_that_cannot_be_used_says_so_itself(draft, tmp_path):
    volumes = [f"S{n:02d}_V{visit}_T1w.nii.gz" for n in range(3) for visit in (1, 2)]
    masks = [f"S{n:02d}_V1_T1w_mask.nii.gz" for n in range(3)]
    result, text = draft(write(tmp_path, volumes, masks))
    assert result.exit_code == 0
    (told,) = re.findall("^to correct before use: .*$", result.stdout, re.M)
    assert told in checks(text)


def test_masks_whose_numbers_differ_in_zeros(draft, tmp_path):
    for number in range(1, 4):
        put(tmp_path / f"archive/images/{number:03d}.nii.gz", voxels(False), "int16")
        put(tmp_path / f"archive/labels/{number}.nii.gz", voxels(True), "uint8")
    _, text = draft(tmp_path)
    (asked,) = (line for line in checks(text) if "have a mask and no volume" in line)
    assert asked == (
        "3 samples have a mask and no volume: 1, 2, 3; their numbers differ in zeros alone, rename "
        "the files: a page pairs texts"
    )


def test_names_of_labels_come_from_dataset_json(draft, tmp_path):
    root = build(tmp_path, "two folders")
    labels = {"0": "background", "1": "prostate/uterus", "2": "spleen"}
    content = {"name": "My Set", "labels": labels}
    (root / "archive/dataset.json").write_text(json.dumps(content))
    _, text = draft(root)
    facts = described.read(root / "descriptor/dataset.yaml")
    assert facts.NAME == "My-Set"
    assert facts.LABELS == {0: "background", 1: "prostate_uterus", 2: "spleen", 3: "label 3"}
    assert "give names to the labels 3" in checks(text)
    assert "names of labels have letters, digits, blanks, _ . + and - only" in checks(text)


def test_names_of_labels_come_from_a_label_map(draft, tmp_path):
    root = build(tmp_path, "two folders")
    text = "full_form_index_map: {0: background, 1: liver, 3: spleen}\n"
    (root / "archive/label_map.yaml").write_text(text)
    draft(root)
    facts = described.read(root / "descriptor/dataset.yaml")
    assert facts.LABELS == {0: "background", 1: "liver", 3: "spleen"}


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"labels": 3, "name": []}', "[" * 10000, '"\\ud800"']
)
def test_any_dataset_json_is_survived(draft, tmp_path, content):
    root = build(tmp_path, "two folders")
    (root / "archive/dataset.json").write_text(content)
    (root / "archive/label_map.yaml").write_text(content)
    (root / "archive/a.csv").write_text(content)
    assert draft(root)[0].exit_code == 0


def test_lists_of_dataset_json_tell_the_split(draft, tmp_path):
    root = build(tmp_path, "two folders")
    lists = {
        "training": [{"image": f"./images/{n:03d}.nii.gz", "label": "x"} for n in range(1, 5)],
        "test": ["./images/005.nii.gz"],
    }
    (root / "archive/dataset.json").write_text(json.dumps(lists))
    draft(root)
    facts = described.read(root / "descriptor/dataset.yaml")
    assert (facts.split.by, facts.split.words) == ("json", {"training": "train", "test": "test"})
    assert facts.LABELLED_SUBSETS == ("train",)


def test_a_table_gives_metadata_and_split(draft, tmp_path):
    root = build(tmp_path, "TotalSegmentator")
    rows = ["image_id;age;gender;Patient ID;split"]
    rows += [f"s{n:04d};{60 + n};m;p{n // 2};{'test' if n == 4 else 'train'}" for n in range(5)]
    (root / "archive/meta.csv").write_text("\n".join(rows) + "\n")
    (root / "archive/other.csv").write_text("a,b\n1,2\n")
    _, text = draft(root)
    facts = described.read(root / "descriptor/dataset.yaml")
    assert (facts.table.file, facts.table.key) == ("meta.csv", "image_id")
    expected = {"sex": "gender", "age": "age", "patient_id": "Patient ID"}
    assert facts.table.columns == expected
    assert (facts.split.by, facts.split.column) == ("column", "split")
    assert facts.split.words == {"train": "train", "test": "test"}
    assert {"are these the columns that are meant?", "does this column tell patients apart?"} <= {
        *checks(text)
    }


def test_mri_is_guessed_by_the_lowest_values(draft, tmp_path):
    for number in range(3):
        put(tmp_path / f"archive/images/{number}.nii.gz", voxels(False) + 1000, "int16")
        put(tmp_path / f"archive/labels/{number}.nii.gz", voxels(True), "uint8")
    _, text = draft(tmp_path)
    assert described.read(tmp_path / "descriptor/dataset.yaml").modality({"seq": "0"}) == "MRI"
    assert "MRI by a guess: lowest values of 3 volumes: 0, 0, 0" in checks(text)


def test_zip_files_are_looked_into(draft, tmp_path):
    root = build(tmp_path / "folders", "AMOS22")
    _, expected = draft(root)
    packed = tmp_path / "zips/folders"
    for method, name in ((zip_files.DEFLATED, "images"), (zip_files.STORED, "labels")):
        paths = (root / "archive").rglob(f"*{name}*/*.nii.gz")
        members = {p.relative_to(root / "archive").as_posix(): p.read_bytes() for p in paths}
        zip_files.put(packed / f"archive/{name}.zip", members, method)
    result, text = draft(packed)
    assert (result.exit_code, text) == (0, expected)
    # What lies unpacked beside its zip counts once.
    shutil.copytree(root / "archive/amos22", packed / "archive/amos22")
    (packed / "descriptor/dataset.yaml").unlink()
    result, text = draft(packed)
    assert text == expected and "0 NIfTI files left over\n" in result.stdout


def test_plain_nifti_files_are_looked_into(draft, tmp_path):
    root = build(tmp_path, "two folders")
    for path in sorted((root / "archive").rglob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    result, text = draft(root)
    assert "5 volumes: images/{seq}.nii.gz\n" in result.stdout
    assert "not read" not in result.stdout and "1: label 1" in text


def test_names_that_tell_nothing_are_told_apart_by_their_voxels(draft, tmp_path):
    for number in range(1, 4):
        put(tmp_path / f"archive/a/{number:02d}.nii.gz", voxels(False), "int16")
        put(tmp_path / f"archive/b_{number:02d}_x.nii.gz", voxels(True), "uint8")
    draft(tmp_path)
    facts = described.read(tmp_path / "descriptor/dataset.yaml")
    assert facts.classify("a/01.nii.gz")["type"] == "v3d"
    assert facts.classify("b_01_x.nii.gz") == {"seq": "01", "type": "m3d"}


def test_values_of_scaled_and_odd_volumes(tmp_path):
    path = tmp_path / "a.nii.gz"
    header = scan_files.header(SHAPE, "float32", np.eye(4), "both", (-2.0, 0.0))
    data = np.where(voxels(False) > 0, np.nan, voxels(False)) * 1.0
    scan_files.write(path, header, [data[:, :, k] for k in range(SHAPE[2])])
    found = draft_looks.values(path)
    assert (found.lowest, found.may_be_labels) == (-1000, False)


@pytest.mark.parametrize(
    "text", ["images/{seq}.nii.gz", "{seq}", "a: b", "yes", "x #y", "- a", "Müller", 'a"b', "1e3"]
)
def test_quoted_texts_are_read_as_they_were(text):
    import yaml

    assert yaml.load(f"a: {page_draft.quoted(text)}", yaml.BaseLoader) == {"a": text}
    if "{" not in text:  # patterns stand in lists and lines of their own
        assert yaml.load(f"{{{page_draft.quoted(text)}: a}}", yaml.BaseLoader) == {text: "a"}


def test_it_runs_in_a_process_of_its_own_from_anywhere(tmp_path):
    root = build(tmp_path, "two folders")
    command = [sys.executable, trees.REPOSITORY / SCRIPT, "--root_dir", "archive"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "descriptor/dataset.yaml").is_file()


def test_links_pipes_and_unreadable_names_are_survived(draft, tmp_path):
    root = build(tmp_path, "two folders")
    archive = root / "archive"
    os.mkfifo(archive / "labels/pipe.nii.gz")
    (archive / "labels/nothing.nii.gz").symlink_to(tmp_path / "nowhere")
    (archive / "loop").symlink_to(archive)
    (archive / os.fsdecode(b"labels/\xff.nii.gz")).touch()
    shutil.copy(archive / "labels/001.nii.gz", archive / "labels/two\nlines.nii.gz")
    result, _ = draft(root)
    assert result.exit_code == 0
    assert "2 NIfTI files left over" in result.stdout

"""described/generate_sample_archive.py: an archive for any page."""

import collections
import json
import re

import nibabel as nib
import numpy as np
import pytest
import trees

from utils.facts import described
from utils.sample_data import described_archive
from utils.storage import csv_tables, nifti

SCRIPT = "described/generate_sample_archive.py"
TEMPLATES = trees.REPOSITORY / "descriptor_templates"
SHAPE = (9, 8, 7)
PAGES = [
    page.parent.relative_to(TEMPLATES).as_posix()
    for page in sorted(TEMPLATES.rglob("dataset.yaml"))
    if "\nunsupported:" not in page.read_text(encoding="utf-8")
]
START = "name: A\nlabels: {0: background, 1: liver, 2: odd body}\n"
VOLUME = "images/{seq}.nii.gz"


@pytest.fixture(name="generate")
def generator(run_script):
    def run(page, root, *words):
        shape = ("--shape", *SHAPE)
        return run_script(SCRIPT, "--dataset", page, "--root_dir", root, *shape, *words)

    return run


def write_page(folder, text, files="volume: images/{seq}.nii.gz, mask: labels/{seq}.nii.gz"):
    """Write a page, with files as a table in one line, each field in quotes where it needs them."""
    folder.mkdir(exist_ok=True)
    quoted = re.sub(r"(\w+): ([^,]+?)(?=, \w+: |$)", r'\1: "\2"', files)
    modality = "" if "modality:" in text else "modality: CT\n"
    page = folder / "dataset.yaml"
    page.write_text(f"{START}files: {{{quoted}}}\n{modality}{text}", encoding="utf-8")
    return page


def files_of(root, page):
    """(facts, {relative path: (type, groups)}) of the archive's NIfTI files."""
    facts = described.read(page)
    archive = root / "archive"
    paths = [p.relative_to(archive).as_posix() for p in archive.rglob("[!.]*.nii.gz")]
    return facts, {path: facts.groups(path) for path in sorted(paths)}


def samples_of(root, page, kind="v3d"):
    """Names of the samples that have a file of a type, by subset."""
    facts, found = files_of(root, page)
    return collections.Counter(
        facts.subset(facts.classify(path)) for path, groups in found.items() if groups[0] == kind
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_the_project_has_an_archive(generate, tmp_path, name):
    page = TEMPLATES / name / "dataset.yaml"
    result = generate(page, tmp_path / "root", "--samples", "3")
    assert result.exit_code == 0, result.output
    facts, found = files_of(tmp_path / "root", page)
    assert None not in found.values()
    names = [
        facts.sample_name(facts.classify(p)) for p, (kind, _) in found.items() if kind == "v3d"
    ]
    assert len(names) == len({*names}) == 3
    for path, (kind, _) in found.items():
        header = nifti.read_header(tmp_path / "root/archive" / path)
        if kind == "m3d":
            data = nifti.read_mask(tmp_path / "root/archive" / path).data
            allowed = {0, 1} if facts.has_organs else {*facts.LABELS}
            assert {*np.unique(data).tolist()} <= allowed
        assert sorted(header.shape) == sorted(SHAPE)


def test_same_options_same_bytes_and_what_is_there_is_kept(generate, tmp_path):
    page = TEMPLATES / "CT-ORG/dataset.yaml"
    for name in ("a", "b"):
        assert generate(page, tmp_path / name, "--samples", "3").exit_code == 0
    assert trees.contents(tmp_path / "a") == trees.contents(tmp_path / "b")
    before = trees.identities(tmp_path / "a")
    again = generate(page, tmp_path / "a", "--samples", "3")
    assert "samples: 0 done, 3 skipped as finished, 0 failed\n" in again.stdout
    assert trees.rewritten(before, trees.identities(tmp_path / "a")) == set()
    other = generate(page, tmp_path / "a", "--samples", "3", "--seed", "1")
    assert other.exit_code == 2 and "holds a sample archive with other settings" in other.stderr


def test_another_page_does_not_write_into_the_archive_of_one(generate, tmp_path):
    page = write_page(tmp_path / "page", "")
    assert generate(page, tmp_path / "root", "--samples", "2").exit_code == 0
    page.write_text(page.read_text() + "slice_axis: 0\n")
    result = generate(page, tmp_path / "root", "--samples", "2")
    assert result.exit_code == 2 and "other settings" in result.stderr
    foreign = tmp_path / "foreign/archive"
    foreign.mkdir(parents=True)
    result = generate(page, tmp_path / "foreign")
    assert result.exit_code == 2 and "is no sample archive" in result.stderr
    assert not any(foreign.iterdir())


def test_ct_org_has_its_peculiarities(generate, tmp_path):
    page = TEMPLATES / "CT-ORG/dataset.yaml"
    assert generate(page, tmp_path, "--samples", "8").exit_code == 0
    assert samples_of(tmp_path, page) == {"train": 6, "test": 2}
    folder = tmp_path / "archive/CT-ORG"
    images = {
        path.name: nib.load(path) for path in sorted(folder.glob("*.nii.gz")) if path.name[0] != "."
    }
    identity = [name for name, image in images.items() if (image.affine == np.eye(4)).all()]
    assert identity == ["labels-28.nii.gz", "volume-28.nii.gz"]
    codes = {"".join(nib.aff2axcodes(image.affine)) for image in images.values()}
    assert codes == {"LAS", "RAS", "LPS"}
    slopes = {name for name, image in images.items() if image.dataobj.slope == 0.5}
    assert slopes and all(name.startswith("labels-") for name in slopes)
    for name in slopes:
        assert set(np.unique(images[name].dataobj)) <= {*range(7)}


def test_truth_is_clean_and_the_archive_is_not(generate, tmp_path):
    page = write_page(tmp_path / "page", "")
    assert generate(page, tmp_path / "root", "--samples", "2", "--shape", 40, 36, 20).exit_code == 0
    pairs = [
        [
            trees.voxels(tmp_path / "root" / part / "A/labels/1.nii.gz")
            for part in ("truth", "archive")
        ]
    ]
    for true, noisy in pairs:
        assert set(np.unique(true)) == {0, 1, 2}
        assert 0 < (true != noisy).mean() < 0.1


def test_subsets_by_folder(generate, tmp_path):
    page = write_page(
        tmp_path / "page",
        "split: {by: folder, subsets: {Tr: train, Ts: test, Un: unlabelled}}\n",
        "volume: images{subset}/{seq}.nii.gz, mask: labels{subset}/{seq}.nii.gz",
    )
    assert generate(page, tmp_path / "root").exit_code == 0
    assert samples_of(tmp_path / "root", page) == {"train": 5, "test": 2, "unlabelled": 1}
    assert samples_of(tmp_path / "root", page, "m3d") == {"train": 5, "test": 2}


def test_subsets_by_a_column_and_the_metadata_table(generate, tmp_path):
    page = write_page(
        tmp_path / "page",
        "split: {by: column, column: set, subsets: {a: train, b: val}}\n"
        "metadata:\n  file: 'meta*.csv'\n  key: id\n  separator: ';'\n  patient: person\n"
        "  columns: {age: Years, sex: Sex, birth_date: Born, kind: Kind}\n"
        "modality: {column: kind}\n",
    )
    assert generate(page, tmp_path / "root", "--samples", "4").exit_code == 0
    (table,) = (tmp_path / "root/archive").rglob("meta*.csv")
    columns = ["id", "Years", "Sex", "Born", "Kind", "person", "set"]
    rows = [*csv_tables.read(table, columns, "table").values()]
    assert table.read_text().splitlines()[0] == ";".join(columns)
    _, found = files_of(tmp_path / "root", page)
    assert {row["id"] for row in rows} == {groups["seq"] for _, groups in found.values()}
    assert {row["set"] for row in rows} == {"a", "b"}
    assert {row["Kind"] for row in rows} == {"CT", "MRI"}
    assert len({row["person"] for row in rows}) == 3  # one of them has two scans
    assert all(re.fullmatch(r"19\d\d-\d\d-\d\d", row["Born"]) for row in rows)


def test_subsets_by_lists(generate, tmp_path):
    text = "split: {by: json, file: dataset.json, subsets: {training: train, test: test}}\n"
    page = write_page(tmp_path / "page", text + "labelled_subsets: [train]\n")
    assert generate(page, tmp_path / "root", "--samples", "4").exit_code == 0
    content = json.loads((tmp_path / "root/archive/A/dataset.json").read_bytes())
    assert [len(content[word]) for word in ("training", "test")] == [3, 1]
    for entry in content["training"] + content["test"]:
        assert (tmp_path / "root/archive/A" / entry["image"]).is_file()
        assert ("label" in entry) == (entry in content["training"])


def test_modalities_by_number(generate, tmp_path):
    page = write_page(tmp_path / "page", "modality: {ids: {CT: 1-5, MRI: 6-9}}\n")
    assert generate(page, tmp_path / "root", "--samples", "4").exit_code == 0
    facts, found = files_of(tmp_path / "root", page)
    lowest = {
        path: nifti.read_volume(tmp_path / "root/archive" / path).data.min()
        for path in found
        if found[path][0] == "v3d"
    }
    for path, value in lowest.items():
        assert (value < -500) == (facts.modality(facts.classify(path)) == "CT")
    assert len({facts.modality(facts.classify(path)) for path in lowest}) == 2


def test_patients_organs_and_channels(generate, tmp_path):
    page = write_page(
        tmp_path / "page",
        "split: {by: patient, val: 0.2, test: 0.2}\nid: '{patient}_{seq}'\n",
        "volume: pat{patient:[0-9]+}/{seq}_{channel}.nii.gz, channel: ct1, "
        "mask: pat{patient:[0-9]+}/{seq}/{organ:[a-z_]+}.nii.gz",
    )
    assert generate(page, tmp_path / "root", "--samples", "4").exit_code == 0
    facts, found = files_of(tmp_path / "root", page)
    volumes = [groups for kind, groups in found.values() if kind == "v3d"]
    assert {groups["channel"] for groups in volumes} == {"ct1"}
    assert sorted(collections.Counter(g["patient"] for g in volumes).values()) == [1, 1, 2]
    organs = [groups["organ"] for kind, groups in found.values() if kind == "m3d"]
    assert collections.Counter(organs) == {"liver": 4, "odd_body": 4}


def test_slices_along_the_first_axis(generate, tmp_path):
    page = write_page(tmp_path / "page", "slice_axis: 0\n")
    assert generate(page, tmp_path / "root", "--samples", "3").exit_code == 0
    for path in (tmp_path / "root/archive").rglob("[!.]*.nii.gz"):
        image = nib.load(path)
        assert image.shape == SHAPE
        assert nib.aff2axcodes(image.affine)[0] in "SI"


@pytest.mark.parametrize(
    "files, text, reason",
    [
        ("volume: (?=x){seq}.nii.gz", "", None),
        (
            "volume: a{seq:(?=[0-9])x}.nii.gz",
            "",
            "files.volume 'a{seq:(?=[0-9])x}.nii.gz': no text was found for {seq:(?=[0-9])x}",
        ),
        (
            "volume: a{seq:[0-9]+}.nii.gz, mask: b{seq:[a-z]+}.nii.gz",
            "",
            "files.mask 'b{seq:[a-z]+}.nii.gz': '1', which files.volume gives, does not fit {seq}",
        ),
        ("volume: a{seq:x}.nii.gz", "", "id makes 'x' of two samples, expected texts of their own"),
        (
            "volume: a{seq}.nii.gz, mask: b{seq}_{organ:[0-9]+}.nii.gz",
            "",
            "files.mask 'b{seq}_{organ:[0-9]+}.nii.gz' does not read 'b1_liver.nii.gz' as it was "
            "made: None",
        ),
        (
            "volume: a{seq}.nii.gz, mask: {patient}/b{seq}.nii.gz",
            "",
            "files.mask '{patient}/b{seq}.nii.gz' has {patient}, which files.volume has not",
        ),
        (
            "volume: a{seq}.nii.gz",
            "split: {by: ids, subsets: {train: 1-3}}\n",
            "the page has 3 numbers of samples, 8 samples are asked for",
        ),
        (
            "volume: a{subset:Tr}{seq:[0-9]}.nii.gz",
            "split: {by: folder, subsets: {Tr: train, Ts: test}}\n",
            "files.volume fits no file of the subset word 'Ts'",
        ),
    ],
)
def test_what_cannot_be_made_up_is_named_and_nothing_written(
    generate, tmp_path, files, text, reason
):
    page = write_page(tmp_path / "page", text, files)
    result = generate(page, tmp_path / "root")
    if reason is None:  # literal signs of an expression
        assert result.exit_code == 0, result.output
        return
    assert (result.exit_code, result.stderr) == (2, f"Error: {page}: {reason}\n")
    assert not (tmp_path / "root/archive").exists()


def test_a_page_that_cannot_be_used_is_refused_by_name(generate, tmp_path):
    result = generate(TEMPLATES / "MSD/Task01_BrainTumour/dataset.yaml", tmp_path / "root")
    assert result.exit_code == 2
    assert "says that MSD-Task01_BrainTumour cannot be used" in result.stderr


def test_a_plan_does_not_depend_on_the_number_of_samples():
    facts = described.read(TEMPLATES / "FLARE22/dataset.yaml")
    assert described_archive.plan(facts, 4) == described_archive.plan(facts, 12)[:4]

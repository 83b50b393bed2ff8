"""The pages about sets that a page describes: their commands, fields and messages."""

import itertools
import re
import shutil

import pytest
import test_new_dataset
import test_readme

from utils import errors
from utils.facts import described, described_fields
from utils.sample_data import described_archive

MAIN, OWN = test_readme.OWN_PAGES
MAX_LINES = 150
all_commands = pytest.mark.slow("all commands of the page")
MISTAKES = {
    "a field misspelt": ("seed: 0", "sed: 0"),
    "a field forgotten": ("labels: {0: background, 1: liver, 2: tumour}\n", ""),
    "no background": ("0: background, ", ""),
    "a name twice": ("2: tumour", "2: Liver"),
    "a blank in the name of the set": ("Own-CT", "Own CT"),
    "no `{seq}`": ("images/{seq}", "images/{number}"),
    "the ending": ("images/{seq}.nii.gz", "images/{seq}.nii"),
    "a regular expression": ("images/{seq}", "images/{seq:[0-9}"),
    "a split by folders that are not in the names": (
        "by: patient",
        "by: folder\n  subsets: {a: train}",
    ),
    "a share in percent": ("val: 0.2", "val: 20%"),
    "metadata in the name of a sample": ("own_{seq:0>4}", "own_{sex}"),
    "another modality": ("modality: CT", "modality: PET"),
    "a tab in place of blanks": ("  key: scan", "\tkey: scan"),
    "a colon in a text without quotes": ("name: Own-CT", "name: Own: CT"),
}


def page_text():
    """The page that is shown as a whole."""
    blocks = [m["body"] for m in test_readme.PIECE.finditer(test_readme.read(OWN)) if m["body"]]
    return next(body for body in blocks if body.startswith("name: "))


def hospital(root):
    """Two folders of made-up scans, and a table of patients; what the page begins with."""
    page = root / "page.yaml"
    root.mkdir(parents=True)
    page.write_text(page_text())
    facts = described.read(page)
    settings = described_archive.settings(facts, (16, 14, 12), 8, 0)
    for sample in described_archive.prepare(root, facts, settings):
        described_archive.write_sample(sample, root, facts, settings)
    for path in (root / "archive" / facts.NAME).iterdir():
        path.rename(root / "archive" / path.name)
    (root / "archive" / facts.NAME).rmdir()
    for name in ("truth", "archive/__MACOSX"):
        shutil.rmtree(root / name)
    for path in (page, root / "sample_archive.json"):
        path.unlink()
    return root


@all_commands
def test_commands_on_two_folders(tmp_path):
    root = hospital(tmp_path / "a root")
    counts = test_readme.run_pages((OWN,), root)
    assert (counts["command"], counts["text"], counts["yaml"]) == (8, 2, 2)
    facts = described.read(root / "descriptor/dataset.yaml")
    assert facts.EXAMPLE_FILE == "images/{seq}.nii.gz"
    assert facts.table.columns == {"sex": "Sex", "age": "Age"}


@all_commands
def test_commands_of_the_main_page(tmp_path):
    counts = test_readme.run_pages((MAIN,), tmp_path / "a root")
    assert (counts["command"], counts["text"]) == (15, 1)
    draft = described.read(tmp_path / "a root/descriptor/draft.yaml")
    assert draft.EXAMPLE_FILE == "volume-{seq}.nii.gz"


def scan(run_script, root, page):
    """Run routine 01; its manifest goes beside the page."""
    words = ("--dataset", page, "--root_dir", root / "archive")
    manifest = page.parent / "archive_manifest.xlsx"
    script = "described/01_gen_archive_manifest.py"
    return run_script(script, *words, "--output_manifest_file", manifest)


def test_the_page_that_is_shown_is_read_and_fits(run_script, tmp_path):
    root = hospital(tmp_path / "root")
    (root / "descriptor").mkdir()
    page = root / "descriptor/dataset.yaml"
    page.write_text(page_text())
    result = scan(run_script, root, page)
    assert result.exit_code == 0, result.output
    assert "files: 16 done, 0 skipped as finished, 0 failed\n" in result.stdout
    facts = described.read(page)
    assert facts.sample_name({"seq": "1"}) == "own_0001"


def test_a_fixed_list_is_a_split(run_script, tmp_path):
    root = hospital(tmp_path / "root")
    (root / "descriptor").mkdir()
    page = root / "descriptor/dataset.yaml"
    page.write_text(page_text())
    test_new_dataset.run_all(root, run_script)
    rows = ["own_0001,train", "own_0002,train", "own_0003,val", "own_0004,test"]
    fixed = root / "descriptor/split_fixed.csv"
    fixed.write_text("\n".join(["ID,subset", *rows]) + "\n")
    manifest = ("--manifest_file", root / "grouped/dataset_manifest.xlsx")
    words = ("--dataset", page, *manifest, "--split_name", "split05_fixed", "--ids", fixed)
    result = run_script("described/05_make_split05_listed.py", *words)
    assert result.exit_code == 0, result.output
    assert "(2 train, 1 val, 1 test, 4 excluded)" in result.stdout


def test_nothing_that_fits_is_told_with_the_pattern(run_script, tmp_path):
    root = hospital(tmp_path / "root")
    page = root / "page.yaml"
    page.write_text(
        page_text().replace("images/{seq}", "Images/{seq}").replace("labels/{", "Labels/{")
    )
    result = scan(run_script, root, page)
    assert result.exit_code == 2
    assert "no file of Own-CT, expected Images/{seq}.nii.gz" in result.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_told_as_the_page_says(tmp_path, mistake):
    rows = dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", test_readme.read(OWN), re.M))
    old, new = MISTAKES[mistake]
    text = page_text()
    assert text.count(old) == 1
    page = tmp_path / "dataset.yaml"
    page.write_text(text.replace(old, new))
    with pytest.raises(errors.DatasetError) as caught:
        described.read(page)
    assert str(caught.value) == f"{page}: {rows[mistake]}"


def test_all_mistakes_of_the_table_are_tried():
    table = test_readme.read(OWN).partition("| mistake |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (.+?) \| `", table, re.M) == [*MISTAKES]


SPLITS = (
    "{by: ids, subsets: {train: 1-9}}",
    "{by: column, column: split, subsets: {a: train}}",
    "{by: json, file: dataset.json, subsets: {training: train}}",
    "{by: patient}",
)
MODALITIES = ("CT", "{column: kind}", "{ids: {CT: 1-9}}")


def test_all_fields_are_in_the_table(tmp_path, monkeypatch):
    """Those that the reader of pages asks for, and no others."""
    asked = set()
    has = described_fields.Fields.has

    def noted(self, field):
        asked.add(f"{self._prefix}{field}")
        return has(self, field)

    monkeypatch.setattr(described_fields.Fields, "has", noted)
    page = tmp_path / "dataset.yaml"
    columns = "metadata: {file: a.csv, key: b, columns: {kind: c}}\n"
    start = page_text().partition("split:")[0] + columns
    for split, modality in itertools.product(SPLITS, MODALITIES):
        page.write_text(f"{start}split: {split}\nmodality: {modality}\n")
        described.read(page)
    page.write_text("name: A\nunsupported: no\n")
    with pytest.raises(errors.DatasetError):
        described.read(page)
    table = test_readme.read(OWN).partition("| field | meaning |")[2].partition("\n\n")[0]
    told = re.findall("`([a-z_.]+)`", " ".join(re.findall(r"^\| (.+?) \|", table, re.M)))
    # What modality may be stands in its own row.
    assert {*told} == {name for name in asked if not name.startswith("modality.")} - {
        *("files", "metadata", "split")
    }


def test_the_main_page_is_short_and_claims_have_tests():
    assert test_readme.read(MAIN).count("\n") <= MAX_LINES
    named = test_readme.claims(OWN)
    assert len(named) > 10
    assert {*named} - test_readme.defined_tests("test_*.py") == set()

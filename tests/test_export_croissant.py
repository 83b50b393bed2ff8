"""The description in Croissant as a person makes it, and as MLCommons' own library reads it."""

import fnmatch
import hashlib
import importlib.util
import json
import logging
import math
import os
import shutil

import finished
import openpyxl
import phantoms
import pytest
import trees

from utils import errors
from utils.exports import croissant
from utils.facts import amos22
from utils.routines import split_choices, splits
from utils.storage import json_files, workbook

IDS = "amos_0001 amos_0004 amos_0008 amos_0201 amos_0507 amos_0539 amos_0540 amos_0554".split()
# What the specification, version 1.1, requires of a data set, and what it recommends.
REQUIRED = "@context @type conformsTo name description license url creator datePublished".split()
REQUIRED += ["distribution", "recordSet", "citeAs", "version"]
FOLDS = "split03_folds"


@pytest.fixture(scope="module", name="made")
def finished_data(tmp_path_factory):
    """A finished data set with a second split, in which amos_0201 is excluded."""
    root = finished.make(tmp_path_factory.mktemp("croissant") / "data set")
    path = root / "grouped/dataset_manifest.xlsx"

    def choose(table):
        chosen = split_choices.folds(amos22, 2, 0)(table)
        return {**chosen, "amos_0201": "excluded"}

    splits.make_sheet(path, FOLDS, choose, amos22)
    return root


@pytest.fixture(name="root")
def copy_of_it(made, tmp_path):
    root = finished.copy(made, tmp_path / "data set")
    (root / "croissant.json").unlink(missing_ok=True)
    return root


def words(root, *more):
    path = root / "grouped/dataset_manifest.xlsx"
    return "--manifest_file", path, "--output_file", root / "croissant.json", *more


def run(root, *more):
    return finished.run(finished.CROISSANT, *words(root, "--workers", 1, *more))


def export(root, *more):
    """Describe the data, which must succeed; gives the content and click's result."""
    result = run(root, *more)
    assert result.exit_code == 0, result.output
    return json.loads((root / "croissant.json").read_bytes()), result


def refused(root, *more, status=2):
    """Run it in vain; gives the lines that say why, all of them where there are several."""
    before = trees.contents(root)
    result = run(root, *more)
    assert (result.exit_code, trees.contents(root)) == (status, before)
    starts = "Error: ", "FAILED "
    lines = [line for line in result.stderr.splitlines() if line.startswith(starts)]
    return lines[0] if len(lines) == 1 else lines


def files_of(content):
    """The FileObjects by @id."""
    kinds = [found for found in content["distribution"] if found["@type"] == "cr:FileObject"]
    return {found["@id"]: found for found in kinds}


def set_of(content, key):
    (found,) = [found for found in content["recordSet"] if found["@id"] == key]
    return found


def records(content, key="samples"):
    """The records of a set, their fields by name; of samples by ID."""
    found = set_of(content, key)
    names = {field["@id"]: field["name"] for field in found["field"]}
    rows = [{names[field]: value for field, value in row.items()} for row in found["data"]]
    return {row["ID"]: row for row in rows} if key == "samples" else rows


def test_all_that_the_specification_requires_is_there(made):
    content, _ = export(made)
    assert not {*REQUIRED} - content.keys() and all(content[key] for key in REQUIRED)
    assert content["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert content["@context"]["conformsTo"] == "dct:conformsTo"
    assert content["@type"] == "sc:Dataset"
    assert content["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert content["url"] == content["isBasedOn"] == "https://zenodo.org/records/7262581"
    assert [one["name"] for one in content["creator"]][::10] == ["Yuanfeng Ji", "Ping Luo"]
    assert (content["name"], content["version"]) == ("AMOS22", "1.0.0")
    assert content["datePublished"] == "2022" and content["citeAs"].startswith("@article{ji2022")
    assert content["citeAs"].count("{") == content["citeAs"].count("}")


def test_what_the_publisher_says_takes_its_place(root):
    content, _ = export(
        root,
        *("--dataset_name", "Mine", "--dataset_version", "2.0.1"),
        *("--url", "https://example.org/mine"),
    )
    assert (content["name"], content["version"]) == ("Mine", "2.0.1")
    assert content["url"] == "https://example.org/mine" != content["isBasedOn"]


@pytest.mark.parametrize(
    "option, value, expected",
    [
        ("--dataset_name", " ", "' ': expected a name"),
        ("--dataset_version", "1.0", "'1.0': expected MAJOR.MINOR.PATCH such as 1.0.0"),
        ("--url", "mine", "'mine': expected an address that begins with https://"),
    ],
)
def test_odd_words_of_the_publisher_are_refused(root, option, value, expected):
    assert refused(root, option, value) == f"Error: {option} {expected}"


def test_every_volume_mask_and_the_manifest_has_its_checksum(made):
    content, result = export(made)
    expected = {"manifest": made / "grouped/dataset_manifest.xlsx"}
    for name in IDS:
        expected[f"{name}_volume"] = trees.sample_dir(made, name) / f"{name}_volume.nii.gz"
    for name in trees.ANNOTATED:
        expected[f"{name}_mask"] = trees.mask_path(made, name)
    found = files_of(content)
    assert found.keys() == expected.keys()
    for key, path in expected.items():
        stored = path.read_bytes()
        assert found[key]["sha256"] == hashlib.sha256(stored).hexdigest()
        assert found[key]["contentSize"] == f"{len(stored)} B"
        assert found[key]["contentUrl"] == path.relative_to(made).as_posix()
        assert found[key]["name"] == path.name
    assert found["amos_0001_mask"]["encodingFormat"][0] == "application/gzip"
    told = f"{made}/croissant.json: 8 samples, 15 files with checksums; splits: split01_standard, "
    assert result.stdout.splitlines()[0] == f"{told}{FOLDS}"


def test_patterns_of_the_file_set_match_all_binary_masks_and_nothing_else(made):
    folder = trees.sample_dir(made, "amos_0001")
    others = [folder / f"amos_0001_mask_{name}.nii.gz" for name in ("old", "20240131_old")]
    for path in others:
        shutil.copy(folder / "amos_0001_mask.nii.gz", path)
    content, _ = export(made)
    (found,) = [one for one in content["distribution"] if one["@type"] == "cr:FileSet"]
    binary = {
        path.relative_to(made).as_posix()
        for name in trees.ANNOTATED
        for path in trees.binary_masks(made, name)
        if path not in others
    }
    assert len(binary) == 6 * 17
    everything = [path.relative_to(made).as_posix() for path in made.rglob("*")]
    for pattern in found["includes"]:
        assert {*fnmatch.filter(everything, pattern)} <= binary
        assert {path.relative_to(made).as_posix() for path in made.glob(pattern)} <= binary
    assert binary == {
        name for pattern in found["includes"] for name in fnmatch.filter(everything, pattern)
    }
    for path in others:
        path.unlink()


def test_records_hold_all_metadata_in_their_types(made):
    content, _ = export(made)
    found = records(content)
    table = workbook.Workbook(made / "grouped/dataset_manifest.xlsx").table("Manifest")
    rows = {row["ID"]: row for row in table.to_dict("records")}
    assert list(found) == list(rows) == IDS
    left = {name for name in table if name.startswith("mask_") and name != "mask_dtype"} | {"info"}
    added = {"patient", "modality", finished.SPLIT, FOLDS}
    assert {*found["amos_0001"]} == ({*table} - left) | added
    for name, row in rows.items():
        for column in ("seq", "sex", "subset", "site", "manufacturer", "orientation_to"):
            assert found[name][column] == row[column]
        for column in ("szx", "szy", "szz"):
            assert found[name][column] == int(row[column])
        for column in ("spx", "spy", "spz"):
            assert found[name][column] == float(row[column])
        assert found[name]["birth_date"].replace("-", "") == row["birth_date"]
        assert found[name]["volume"] == f"{name}_volume" in files_of(content)
    first, lacking = found["amos_0001"], found["amos_0201"]
    assert first["valid_labels"] == [
        int(text) for text in rows["amos_0001"]["valid_labels"].split(",")
    ]
    assert first["mask"] == "amos_0001_mask" in files_of(content)
    assert (lacking["mask"], lacking["valid_labels"], lacking["mask_dtype"]) == (None,) * 3
    assert [len(line) for line in first["transform"]] == [4] * 4
    assert (first["modality"], found["amos_0540"]["modality"]) == ("CT", "MRI")
    assert (rows["amos_0540"]["age"], found["amos_0540"]["age"]) == ("UND", None)
    types = {field["name"]: field["dataType"] for field in set_of(content, "samples")["field"]}
    assert (types["seq"], types["birth_date"], types["szx"], types["spx"]) == (
        *("sc:Text", "sc:Date"),
        *("sc:Integer", "sc:Float"),
    )


def test_labels_are_those_of_the_masks(made):
    content, _ = export(made)
    expected = [{"index": i, "name": name} for i, name in enumerate(trees.LABEL_NAMES)]
    assert records(content, "labels") == expected


def test_every_split_of_the_workbook_is_a_field(made):
    content, _ = export(made)
    found = records(content)
    book = workbook.Workbook(made / "grouped/dataset_manifest.xlsx")
    for name in (finished.SPLIT, FOLDS):
        sheet = book.table(name)
        expected = dict(zip(sheet["ID"], sheet[name]))
        assert {key: row[name] or "excluded" for key, row in found.items()} == expected
    assert found["amos_0201"][FOLDS] is None and found["amos_0201"][finished.SPLIT] == "test"
    fields = {field["name"]: field for field in set_of(content, "samples")["field"]}
    for name in ("subset", finished.SPLIT, FOLDS):
        assert fields[name]["dataType"] == ["sc:Text", "cr:Split"]
        assert fields[name]["references"] == {"field": {"@id": "splits/name"}}
    assert {row["name"]: row["url"] for row in records(content, "splits")} == {
        "train": "cr:TrainingSplit",
        "val": "cr:ValidationSplit",
        "test": "cr:TestSplit",
        "fold0": None,
        "fold1": None,
    }


def test_samples_of_one_split_without_those_that_it_excludes(root):
    content, result = export(root, "--split_name", FOLDS)
    found = records(content)
    assert list(found) == [name for name in IDS if name != "amos_0201"]
    assert "amos_0201_volume" not in files_of(content)
    assert finished.SPLIT not in found["amos_0001"]
    assert found["amos_0001"][FOLDS].startswith("fold")
    assert f"7 samples, 14 files with checksums; splits: {FOLDS}; left out: 1 excluded\n" in (
        result.stdout
    )


def test_unlabelled_scans_are_left_out_of_the_whole_set_too(root):
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {("subset", "amos_0539"): "unlabelled"}, "Manifest")
    content, result = export(root)
    assert "amos_0539" not in records(content) and "amos_0539_volume" not in files_of(content)
    assert result.stdout.splitlines()[0].endswith(f"{FOLDS}; left out: 1 unlabelled")


def test_a_training_sample_without_a_mask_is_left_out_by_name(root):
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {("mask", "amos_0004"): None}, "Manifest")
    content, result = export(root)
    told = "belongs to train and has no mask; it is left out"
    assert f"WARNING amos_0004: {told}\n" in result.stderr
    assert [*records(content)] == [name for name in IDS if name != "amos_0004"]


def test_nothing_to_describe(root):
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {("subset", name): "unlabelled" for name in IDS}, "Manifest")
    assert refused(root) == "Error: no sample to describe: all are left out"


def test_an_index_manifest_is_a_description_of_its_samples(root):
    folder = root / "grouped/splits"
    more = ("--output_index_manifest_dir", folder, "--subsets", "fold0", "fold1")
    path = root / "grouped/dataset_manifest.xlsx"
    finished.call(trees.CUT, "--manifest_file", path, "--split_name", FOLDS, *more)
    content, _ = export(root, "--manifest_file", folder / f"{FOLDS}_fold0_fold1.xlsx")
    assert list(records(content)) == trees.ANNOTATED
    assert records(content)["amos_0004"][FOLDS] in ("fold0", "fold1")
    assert {row["name"] for row in records(content, "splits")} == {"train", "val", "fold0", "fold1"}


def test_scans_without_masks_have_no_set_of_binary_masks(root):
    folder = root / "grouped/splits"
    more = ("--output_index_manifest_dir", folder, "--subsets", "test")
    path = root / "grouped/dataset_manifest.xlsx"
    finished.call(trees.CUT, "--manifest_file", path, "--split_name", finished.SPLIT, *more)
    content, _ = export(root, "--manifest_file", folder / f"{finished.SPLIT}_test.xlsx")
    kinds = [one["@type"] for one in content["distribution"]]
    assert kinds == ["cr:FileObject"] * (1 + len(records(content)))


def test_a_binary_mask_of_another_name_is_described_by_its_own(root):
    path = trees.binary_masks(root, "amos_0001")[3]
    own = path.with_name("left.nii.gz")
    path.rename(own)
    table = root / "grouped/dataset_manifest.xlsx"
    cell = own.relative_to(root / "grouped").as_posix()
    trees.edit_cells(table, {("mask_03_left_kidney", "amos_0001"): cell}, "Manifest")
    content, _ = export(root)
    (found,) = [one for one in content["distribution"] if one["@type"] == "cr:FileSet"]
    assert f"grouped/{cell}" in found["includes"] and len(found["includes"]) == 7


def test_scans_of_one_patient_bear_one_name(root):
    path = root / "grouped/dataset_manifest.xlsx"
    born = {("birth_date", name): "19600102" for name in ("amos_0008", "amos_0554", "amos_0201")}
    trees.edit_cells(path, born, "Manifest")
    content, _ = export(root)
    found = {name: row["patient"] for name, row in records(content).items()}
    assert (found["amos_0008"], found["amos_0554"]) == ("amos_0008",) * 2  # both F
    assert found["amos_0201"] == "amos_0201"  # M
    add_column(path, "patient", "known better")
    content, _ = export(root)
    assert records(content)["amos_0001"]["patient"] == "known better"
    assert records(content)["amos_0554"]["patient"] == "amos_0008"


def test_split_that_repeats_an_older_manifest_is_warned_about(root):
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {("site", "amos_0001"): "elsewhere"}, "Manifest")
    content, result = export(root)
    told = "the worksheet differs from the worksheet Manifest"
    for name in (finished.SPLIT, FOLDS):
        assert f"WARNING {name}: {told}\n" in result.stderr
    assert records(content)["amos_0001"]["site"] == "elsewhere"
    _, result = export(root, "--split_name", FOLDS)
    assert trees.complaints(result, "WARNING") == [f"WARNING {FOLDS}: {told}"]


@pytest.mark.parametrize(
    "column, value, told",
    [
        ("ID", "amos_0004", "IDs in several rows: amos_0004"),
        (
            FOLDS,
            "fold01",
            f"column {FOLDS} is none of train, val, test, fold0 ..., unlabelled, excluded",
        ),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(root, column, value, told):
    path = root / "grouped/dataset_manifest.xlsx"
    trees.edit_cells(path, {(column, "amos_0001"): value}, FOLDS)
    assert refused(root).startswith(f"Error: {path}, worksheet {FOLDS}: {told}")


def add_column(path, name, value):
    book = openpyxl.load_workbook(path)
    sheet = book["Manifest"]
    place = sheet.max_column + 1
    sheet.cell(1, place, name)
    sheet.cell(2, place, value)
    book.save(path)


def test_own_columns_go_over_as_text(root):
    add_column(root / "grouped/dataset_manifest.xlsx", "my note", "0012 ä")
    content, _ = export(root)
    field = set_of(content, "samples")["field"][-3]
    assert (field["@id"], field["name"], field["dataType"]) == (
        *("samples/my_note", "my note"),
        "sc:Text",
    )
    notes = [row["my note"] for row in records(content).values()]
    assert notes == ["0012 ä", *[None] * 7]


def test_two_names_that_become_one_are_refused(root):
    for name in ("my note", "my/note"):
        add_column(root / "grouped/dataset_manifest.xlsx", name, "a")
    line = refused(root)
    told = "columns or splits that have one name in a description: my note, my/note; rename one"
    assert line == f"Error: {told}"


def test_cells_of_the_wrong_kind_are_all_named(root):
    path = root / "grouped/dataset_manifest.xlsx"
    changes = {
        ("birth_date", "amos_0001"): "01/06/1993",
        ("szx", "amos_0004"): "seven",
        ("spx", "amos_0004"): "nan",
        ("szz", "amos_0004"): "9" * 5000,
        ("transform", "amos_0008"): "[[1]]",
        ("transform", "amos_0507"): f"[[{'nan ' * 16}]]",
        ("valid_labels", "amos_0507"): "0;1",
    }
    trees.edit_cells(path, changes, "Manifest")
    day, nines = "a day such as 19930601 (or 1993-06-01), or UND", "9" * 60
    assert refused(root) == [
        f"Error: birth_date is '01/06/1993' in the manifest's row of amos_0001, expected {day}",
        "Error: szx is 'seven' in the manifest's row of amos_0004, expected a whole number",
        f"Error: szz is '{nines}'... in the manifest's row of amos_0004, expected a whole number",
        "Error: spx is 'nan' in the manifest's row of amos_0004, expected a number",
        "Error: transform is '[[1]]' in the manifest's row of amos_0008, expected 4 x 4 numbers",
        "Error: valid_labels is '0;1' in the manifest's row of amos_0507, expected labels such as "
        "0,1,2",
        f"Error: transform is '[[{'nan ' * 14}na'... in the manifest's row of amos_0507, expected "
        "4 x 4 numbers",
    ]


def test_sizes_as_spreadsheets_make_them(root):
    path = root / "grouped/dataset_manifest.xlsx"
    before = records(export(root)[0])["amos_0001"]["szx"]
    trees.edit_cells(path, {("szx", "amos_0001"): f"{before}.0"}, "Manifest")
    assert records(export(root)[0])["amos_0001"]["szx"] == before == 7


def test_it_lies_above_all_that_it_describes(root):
    line = refused(root, "--output_file", root / "grouped/AMOS-CT/croissant.json")
    assert "grouped/dataset_manifest.xlsx does not lie below " in line
    assert line.endswith("choose a folder above all data and the manifest")
    (root / "docs").mkdir()
    shutil.copy(root / "grouped/dataset_manifest.xlsx", root / "docs")
    before = trees.contents(root)
    more = ("--manifest_file", root / "docs/dataset_manifest.xlsx", "--root_dir", root / "grouped")
    result = run(root, *more, "--output_file", root / "docs/croissant.json")
    assert result.exit_code == 1 and trees.contents(root) == before
    assert len(trees.complaints(result)) == len(IDS)


def test_a_missing_binary_mask_fails_its_sample_and_nothing_is_written(root):
    export(root)
    path = trees.binary_masks(root, "amos_0004")[3]
    path.unlink()
    line = refused(root, status=1)
    assert line.startswith("FAILED amos_0004: ") and path.name in line


@pytest.mark.parametrize("kind", ["volume", "mask", "mask_03_left_kidney"])
def test_a_cut_file_fails_its_sample(root, kind):
    path = trees.sample_dir(root, "amos_0004") / f"amos_0004_{kind}.nii.gz"
    stored = path.read_bytes()
    path.unlink()  # another name of the original
    path.write_bytes(stored[:-9])
    line = refused(root, status=1)
    assert line.startswith(f"FAILED amos_0004: {path}: damaged")


def test_an_organ_that_the_person_cannot_have(root):
    changes = {("sex", "amos_0001"): "M", ("mask_16_uterus_existence", "amos_0001"): 1}
    trees.edit_cells(root / "grouped/dataset_manifest.xlsx", changes, "Manifest")
    assert refused(root, status=1).startswith("FAILED amos_0001: ")


def test_same_bytes_from_any_number_of_workers(root):
    export(root)
    path = root / "croissant.json"
    before, stamp = path.read_bytes(), trees.identities(root)
    export(root, "--workers", 2)
    assert trees.identities(root) == stamp
    export(root, "--overwrite")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": "mine"}'])
def test_a_file_of_somebody_else_is_kept(root, content):
    path = phantoms.touch(root / "croissant.json", content)
    told = "was changed by hand, or was not written here; move it away, or use --overwrite"
    assert refused(root) == f"Error: {path}: {told}"
    export(root, "--overwrite")
    assert json_files.unsealed(path)["name"] == "AMOS22"


def test_a_change_by_hand_is_kept_and_found_before_the_work(root, monkeypatch):
    export(root)
    path = root / "croissant.json"
    path.write_text(path.read_text().replace('"1.0.0"', '"1.0.1"'))
    monkeypatch.setattr(croissant, "describe_files", None)
    assert "was changed by hand" in refused(root)


def test_folders_with_odd_names_match_themselves_alone(root):
    place = trees.sample_dir(root, "amos_0001").parent
    odd = place.with_name("Aquilion [O*]")
    place.rename(odd)
    path = root / "grouped/dataset_manifest.xlsx"
    book = openpyxl.load_workbook(path)
    for row in book["Manifest"].iter_rows():
        for cell in row:
            if "Aquilion ONE/" in str(cell.value):
                cell.value = cell.value.replace("Aquilion ONE/", "Aquilion [O*]/")
    book.save(path)
    content, _ = export(root)
    (found,) = [one for one in content["distribution"] if one["@type"] == "cr:FileSet"]
    binary = [path.relative_to(root).as_posix() for path in trees.binary_masks(root, "amos_0001")]
    assert "Aquilion [O*]" in binary[0]
    assert fnmatch.filter(binary, found["includes"][0]) == binary


def test_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert croissant.below(tmp_path / "a b/c", ".") == "a b/c"
    assert croissant.below("x/../a", tmp_path) == "a"
    with pytest.raises(errors.DatasetError, match="does not lie below"):
        croissant.below("../a", ".")


def test_below_a_folder_that_is_reached_by_a_link_too(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "data/grouped").symlink_to("../far")
    assert croissant.below(tmp_path / "link/a", tmp_path / "data") == "a"
    assert croissant.below(tmp_path / "data/a", tmp_path / "link") == "a"
    assert croissant.below(tmp_path / "data/grouped/a", tmp_path / "data") == "grouped/a"


# ---- by the library of MLCommons

needs_mlcroissant = pytest.mark.skipif(
    importlib.util.find_spec("mlcroissant") is None,
    reason="mlcroissant is not installed (requirements-frameworks.txt)",
)


def load(root, caplog):
    """Load the description, which must pass without an error and without a warning."""
    import mlcroissant

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        loaded = mlcroissant.Dataset(os.fspath(root / "croissant.json"))
    assert [record.getMessage() for record in caplog.records] == []
    assert loaded.metadata.ctx.issues.report() == ""
    return loaded


def plain(value):
    """A value of pandas' as it stands in JSON."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if hasattr(value, "item") else value


@needs_mlcroissant
def test_a_warning_of_mlcroissant_would_be_noticed(root, caplog):
    content, _ = export(root)
    del content["@context"]["isLiveDataset"], content["version"]
    (root / "croissant.json").write_bytes(json_files.to_bytes(content))
    with pytest.raises(AssertionError, match="isLiveDataset"):
        load(root, caplog)


@needs_mlcroissant
@pytest.mark.parametrize("more", [(), ("--split_name", FOLDS)], ids=["all", "one split"])
def test_mlcroissant_yields_every_record(root, more, caplog):
    content, _ = export(root, *more)
    loaded = load(root, caplog)
    for key in ("samples", "labels", "splits"):
        found = [{name: plain(value) for name, value in row.items()} for row in loaded.records(key)]
        assert found == set_of(content, key)["data"]


@needs_mlcroissant
def test_mlcroissant_knows_the_splits(root, caplog):
    export(root)
    loaded = load(root, caplog)
    (samples,) = [one for one in loaded.metadata.record_sets if one.id == "samples"]
    of_split = {
        field.id
        for field in samples.fields
        if any(str(kind).endswith("/croissant/Split") for kind in field.data_types)
    }
    assert of_split == {"samples/subset", f"samples/{finished.SPLIT}", f"samples/{FOLDS}"}
    train = [
        row["samples/ID"]
        for row in loaded.records("samples")
        if row[f"samples/{finished.SPLIT}"] == "train"
    ]
    assert train == ["amos_0001", "amos_0004", "amos_0507", "amos_0540"]


def operations(loaded, kind):
    found = loaded.operations.operations.nodes
    return {one.node.id: one for one in found if type(one).__name__ == kind}


@needs_mlcroissant
def test_mlcroissant_checks_the_files(root, caplog):
    content, _ = export(root)
    downloads = operations(load(root, caplog), "Download")
    assert downloads.keys() == files_of(content).keys()
    for key, download in downloads.items():
        assert download.call().filepath == root / files_of(content)[key]["contentUrl"]
    path = trees.mask_path(root, "amos_0004")
    stored = path.read_bytes()
    path.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    with pytest.raises(ValueError, match="is not identical with the reference"):
        downloads["amos_0004_mask"].call()


@needs_mlcroissant
def test_mlcroissant_finds_the_binary_masks(root, caplog):
    export(root)
    loaded = load(root, caplog)
    (folder,) = operations(loaded, "LocalDirectory").values()
    (chosen,) = operations(loaded, "FilterFiles").values()
    found = [str(path.filepath) for path in chosen.call(folder.call())]
    expected = [path for name in trees.ANNOTATED for path in trees.binary_masks(root, name)]
    assert found == sorted(map(str, expected))

"""The scripts of described/ on archives of all kinds of pages, from routine 01 to 06."""

import collections
import hashlib
import json
import re
import shutil

import described_trees as data
import nibabel as nib
import numpy as np
import openpyxl
import pytest
import trees
from described_trees import CHAINS, organ_data, organ_path

from utils.storage import workbook

SCAN, PAIR = data.SCAN, data.PAIR


@pytest.fixture(name="root")
def built_root(tmp_path):
    """The archive of one file per organ."""
    return data.copy("built", tmp_path / "root")


@pytest.fixture(name="make")
def maker(tmp_path):
    """``make("json")`` gives the archive of a kind of page."""
    return lambda kind: CHAINS[kind].copy("built", tmp_path / kind)


def scan(root):
    return data.invoke(SCAN, root)


def lines(result, kind, root):
    return [line.replace(str(root), "ROOT") for line in trees.complaints(result, kind)]


def rows(root):
    return workbook.Workbook(data.archive_manifest(root)).table("Manifest").to_dict("records")


def volumes(root, *columns):
    """{seq: these columns} of the volumes in the manifest."""
    made = {}
    for row in rows(root):
        if row["type"] == "v3d":
            made[row["seq"]] = row[columns[0]] if len(columns) == 1 else [row[c] for c in columns]
    return made


def write_table(root, text, name="set/meta.csv"):
    (root / "archive" / name).write_text(text)


def refused(result, root):
    """The one line of a command that did nothing."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and not data.archive_manifest(root).exists()
    return result.stderr.removeprefix("Error: ").rstrip("\n").replace(str(root), "ROOT")


# What comes out of each kind of page.


def test_rows_have_organ_subset_patient_and_metadata_in_their_forms(root):
    result = scan(root)
    assert (result.exit_code, result.stderr) == (0, "")
    made = rows(root)
    assert list(made[0])[:6] == ["file_path", "subset", "seq", "patient_id", "type", "organ"]
    assert list(made[0])[-3:] == ["sex", "age", "institute"]
    of_sample = [row for row in made if row["seq"] == "s0003"]
    assert [(row["file_path"].removeprefix("set/s0003/"), row["organ"]) for row in of_sample] == [
        ("ct.nii.gz", ""),
        *((f"segmentations/{name}.nii.gz", name) for name in sorted(data.ORGANS)),
    ]
    told = {(row["subset"], row["patient_id"], row["sex"], row["age"]) for row in of_sample}
    assert told == {("val", "p2", "F", "060Y")}


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("organs", "s0001 train p1, s0002 train p1, s0003 val p2, s0004 train p3, s0005 test p4"),
        ("folders", "f_0001 train 1, f_0002 train 1, f_0003 train 2, f_0004 test 2"),
        ("numbers", "n_000 test , n_001 test , n_002 train , n_004 train "),
        ("json", "a train , b train , c train , d test "),
        (
            "patient",
            "0 test a, 1 test a, 2 val b, 3 train c, 4 train c, 5 train d, 6 test e, 7 train f, "
            "8 train g, 9 val h",
        ),
    ],
)
def test_all_kinds_of_pages_from_01_to_06(kind, expected, tmp_path):
    root = CHAINS[kind].copy("split", tmp_path / "root")
    table = workbook.Workbook(data.dataset_manifest(root)).table("split01_standard")
    found = [
        f"{row['ID']} {row['split01_standard']} {row.get('patient_id', '')}"
        for row in table.to_dict("records")
    ]
    assert ", ".join(found) == expected
    for row in table.to_dict("records"):
        folder = root / "grouped" / row["subset"] / row["ID"]
        assert (folder / f"{row['ID']}_volume.nii.gz").is_file()
        assert row["valid_labels"] == ("0,1,2,3,4" if row["mask"] else "")
        if row["mask"]:
            assert (trees.voxels(root / "grouped" / row["mask"]) == data.all_labels()).all()
        assert bool(row["mask"]) == (row["ID"] != "d")
    result = CHAINS[kind].invoke(data.CUT, root)
    counts = collections.Counter(row.split()[1] for row in expected.split(", "))
    assert result.exit_code == 0
    assert f"_train_test.xlsx: {counts['train'] + counts['test']} samples" in result.stdout


@pytest.mark.parametrize("kind", CHAINS)
def test_02_refuses_the_manifest_of_another_data_set_in_one_line(kind, tmp_path):
    root = CHAINS[kind].copy("scanned", tmp_path / "root")
    other = "json" if kind != "json" else "numbers"
    shutil.copy(data.page(CHAINS[other].copy("built", tmp_path / "other")), data.page(root))
    result = data.invoke(PAIR, root)
    assert (result.exit_code, result.stdout) == (2, "") and not (root / "grouped").exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {data.archive_manifest(root)}: none of its ")
    assert line.endswith("; is it the manifest of another data set?")


def test_02_fails_samples_that_lie_under_the_name_of_another_page(tmp_path):
    root = data.CHAINS["numbers"].copy("paired", tmp_path / "root")
    before = trees.contents(root / "grouped")
    data.edit_page(root, "id: n_{seq:0>3}", "id: m{seq}")
    result = data.invoke(PAIR, root)
    assert result.exit_code == 1 and trees.contents(root / "grouped") == before
    failed = lines(result, "FAILED", root)
    assert failed[0] == (
        "FAILED m0: already lies in ROOT/grouped/test/n_000, expected in ROOT/grouped/test/m0; "
        "remove that folder and run this routine again"
    )
    assert len(failed) == 4 and not trees.complaints(result, "WARNING")
    shutil.rmtree(root / "grouped/test/n_000")
    assert "1 done, 0 skipped as finished, 3 failed" in data.invoke(PAIR, root).stdout


def test_02_names_a_column_that_the_manifest_lacks(tmp_path):
    root = data.copy("scanned", tmp_path / "root")
    book = openpyxl.load_workbook(data.archive_manifest(root))
    book["Manifest"]["F1"].value = "structure"
    book.save(data.archive_manifest(root))
    result = data.invoke(PAIR, root)
    assert result.exit_code == 2 and "organ" in result.stderr
    assert result.stderr.count("\n") == 1 and not (root / "grouped").exists()


# Organs in routine 01.


def test_unknown_organs_are_named_once_each_and_left_out(root):
    for seq in ("s0001", "s0002"):
        data.put(organ_path(root, seq, "face"), organ_data("heart"))
    data.put(organ_path(root, "s0004", "Liver"), organ_data("heart"))
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED organ Liver: unknown organ 'Liver', none of the labels of "
        "ROOT/descriptor/dataset.yaml; its 1 files are left out: "
        "set/s0004/segmentations/Liver.nii.gz",
        "FAILED organ face: unknown organ 'face', none of the labels of "
        "ROOT/descriptor/dataset.yaml; its 2 files are left out: "
        "set/s0001/segmentations/face.nii.gz, set/s0002/segmentations/face.nii.gz",
    ]
    assert "left out: 3 files; " in result.stdout and len(rows(root)) == 25
    assert "25 rows" in result.stdout


def test_files_of_the_background_are_a_note(root):
    data.put(organ_path(root, "s0001", "background"), organ_data("heart"))
    result = scan(root)
    assert (result.exit_code, len(rows(root))) == (0, 25)
    assert result.stderr == (
        "note Organs: 1 files of the background are left out: it is where no organ is\n"
    )


def test_files_that_samples_lack_are_told_in_one_line_with_numbers(root):
    for seq, name in (("s0001", "heart"), ("s0002", "heart"), ("s0002", "liver")):
        organ_path(root, seq, name).unlink()
    result = scan(root)
    assert result.exit_code == 0
    assert result.stderr == (
        "WARNING Organs: 2 of 5 samples (s0001, s0002) lack 3 files of organs (heart 2, liver 1); "
        "these labels do not occur there, unless the download is incomplete\n"
    )
    assert data.invoke(PAIR, root).exit_code == 0
    (mask,) = (root / "grouped").rglob("s0002_mask.nii.gz")
    assert (trees.voxels(mask) == data.all_labels(("spleen", "left_kidney"))).all()


def test_what_is_odd_about_many_organs_of_a_sample_is_told_once(root):
    affine = data.AFFINE.copy()
    affine[0, 3] += 15
    for name in data.ORGANS:
        path = data.put(organ_path(root, "s0003", name), organ_data(name), affine)
        image = nib.load(path)
        image.header["pixdim"][1] = 7
        nib.save(nib.Nifti1Image(image.dataobj, None, image.header), path)
    result = scan(root)
    first = "WARNING set/s0003/segmentations/heart.nii.gz: "
    assert result.exit_code == 0
    one, other = lines(result, "WARNING", root)
    assert one == (
        f"{first}ROOT/archive/set/s0003/segmentations/heart.nii.gz: pixdim 7 x 2 x 5 mm differs "
        "from the affine's spacing 1.5 x 2 x 5 mm (and 3 more files of its organs)"
    )
    assert other.startswith(f"{first}the mask lies 15 mm (10 voxels) off its volume")
    assert other.endswith(" (and 3 more files of its organs)")


def test_an_organ_twice_is_left_out_and_fails_its_sample_in_02(root):
    data.put(root / "archive/copy/s0003/segmentations/heart.nii.gz", organ_data("heart"))
    result = scan(root)
    (line,) = lines(result, "FAILED", root)
    assert result.exit_code == 1 and line == (
        "FAILED s0003: 2 m3d files of heart, expected one; all left out: "
        "copy/s0003/segmentations/heart.nii.gz, set/s0003/segmentations/heart.nii.gz"
    )
    assert not trees.complaints(result, "WARNING") and len(rows(root)) == 24
    (line,) = trees.complaints(data.invoke(PAIR, root))
    assert line.startswith("FAILED s0003: a label file (heart) of this val volume lies in the")


# The metadata table.


def test_a_table_with_other_keys_joins_by_whole_number(make):
    root = make("patient")
    for number in range(10):
        for kind in ("images", "labels"):
            path = root / f"archive/{kind}/{number}.nii.gz"
            path.rename(path.with_name(f"{number:03d}.nii.gz"))
    text = "scan,who\n0,a\n1.0,a\n02,b\n0003,c\n4,c\n5,d\n6,e\n7,f\n8,g\n9,h\n"
    write_table(root, text, "people.csv")
    assert scan(root).exit_code == 0
    assert "".join(volumes(root, "patient_id").values()) == "aabccdefgh"


def test_a_row_counts_for_the_sample_whose_very_seq_it_has(make):
    root = make("patient")
    data.put_volume(root / "archive/images/01.nii.gz")
    result = scan(root)
    assert lines(result, "FAILED", root) == [
        "FAILED 01: ROOT/archive/people.csv: no row for it (key '01'); its metadata stay UND"
    ]
    assert result.exit_code == 1 and volumes(root, "patient_id")["01"] == "UND"


@pytest.fixture(name="numbered")
def root_of_numbered_scans(tmp_path):
    """An archive whose scans are numbered for each patient alone, and a table of scans."""
    root = tmp_path / "root"
    (root / "descriptor").mkdir(parents=True)
    data.page(root).write_text(
        "name: Numbered\nlabels: {0: background}\nmodality: CT\n"
        'files: {volume: "{patient}_{seq}.nii.gz", mask: "{patient}_{seq}_mask.nii.gz"}\n'
        'id: "{patient}-{seq:0>3}"\n'
        "metadata: {file: scans.csv, key: scan, columns: {site: site}}\n"
    )
    for name in ("P1_1", "P1_2", "P2_1"):
        data.put_volume(root / f"archive/{name}.nii.gz")
    write_table(root, "scan,site,half\n1,A,train\n2,B,test\n", "scans.csv")
    return root


SHARED = (
    "the row '1' in line 2 of the metadata table ROOT/archive/scans.csv may be that of any of "
    "P1-001, P2-001"
)


def test_a_row_that_several_samples_may_mean_is_nobodys(numbered):
    result = scan(numbered)
    assert result.exit_code == 1 and lines(result, "FAILED", numbered) == [
        f"FAILED P1-001: {SHARED}; its metadata stay UND",
        f"FAILED P2-001: {SHARED}; its metadata stay UND",
    ]
    assert [row["site"] for row in rows(numbered)] == ["UND", "B", "UND"]


def test_a_row_that_several_samples_may_mean_tells_no_subset(numbered):
    data.edit_page(
        numbered, "metadata:", "split: {by: column, column: half, subsets: {test: test}}\nmetadata:"
    )
    result = scan(numbered)
    assert result.exit_code == 1 and lines(result, "FAILED", numbered) == [
        f"FAILED P1-001: {SHARED}, expected one; it is left out",
        f"FAILED P2-001: {SHARED}, expected one; it is left out",
    ]
    assert volumes(numbered, "subset") == {"2": "test"}


def test_a_mask_filled_up_with_zeros_is_named_beside_its_volume(numbered):
    data.put(numbered / "archive/P1_02_mask.nii.gz", data.all_labels() * np.uint8(0))
    assert scan(numbered).exit_code == 1 and len(rows(numbered)) == 4
    line, _ = lines(data.invoke(PAIR, numbered), "FAILED", numbered)
    assert line.startswith("FAILED P1-002: its rows disagree on seq: '2' (P1_2.nii.gz) and '02' ")


def test_without_a_table_what_was_expected_is_named_and_all_is_und(make):
    root = make("patient")
    (root / "archive/people.csv").unlink()
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED metadata table: no people.csv below --root_dir or beside it (metadata.file of the "
        "page); all metadata stay UND"
    ]
    assert set(volumes(root, "patient_id").values()) == {"UND"}


def test_a_table_beside_the_archive_is_found(make):
    root = make("patient")
    (root / "archive/people.csv").rename(root / "people.csv")
    assert scan(root).exit_code == 0
    assert volumes(root, "patient_id")["9"] == "h"


def test_a_table_is_found_whose_umlauts_are_two_characters(make):
    root = make("patient")
    (root / "archive/people.csv").rename(root / "archive/a\u0308rzte.csv")
    data.edit_page(root, "people.csv", "'\xe4rzte*.csv'")
    assert scan(root).exit_code == 0
    assert volumes(root, "patient_id")["9"] == "h"


def test_a_table_of_other_samples_is_named_in_one_line(make):
    root = make("patient")
    write_table(root, "scan,who\nx1,a\nx2,b\n", "people.csv")
    (line,) = lines(scan(root), "FAILED", root)
    assert line == (
        "FAILED metadata table: ROOT/archive/people.csv: no row for any sample; its column 'scan' "
        "has x1, x2, the samples are 0, 1, 2, 3, 4 and 5 more; all metadata stay UND"
    )


def test_contradictory_rows_are_named_and_equal_ones_count_once(root):
    more = "s0001;p1;M;050Y;A;train\ns0003;p2;F;60;C;val\ns0004;p9;f;61;B;train\n"
    write_table(root, data.TABLE + more)
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED s0003: the metadata table has 2 different rows for it (institute B or C); its "
        "metadata stay UND for the manual check",
        "FAILED s0004: the metadata table has 2 different rows for it (patient_id p3 or p9); its "
        "metadata stay UND for the manual check",
    ]
    found = volumes(root, "subset", "patient_id", "institute")
    assert found["s0001"] == ["train", "p1", "A"] and found["s0003"] == ["val", "UND", "UND"]


def test_cells_without_form_are_named_and_und(root):
    write_table(root, data.TABLE.replace("s0003;p2;female;60", "s0003;p2;woman;old"))
    result = scan(root)
    place = "in line 4 of the metadata table ROOT/archive/set/meta.csv"
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        f"FAILED s0003: sex is 'woman' {place}, expected M or F, or UND; it stays UND",
        f"FAILED s0003: age is 'old' {place}, expected such as 062Y (or 62; 018M, 020W, 005D), or "
        "UND; it stays UND",
    ]
    assert volumes(root, "patient_id", "sex", "age")["s0003"] == ["p2", "UND", "UND"]


def test_a_column_that_the_table_lacks_is_named_with_the_field(root):
    write_table(root, data.TABLE.replace("gender", "sex").replace("subject", "person"))
    assert refused(scan(root), root) == (
        "ROOT/archive/set/meta.csv: the metadata table has the columns ['image_id', 'person', "
        "'sex', 'age', 'institute', 'split'], expected 'gender' (metadata.columns.sex of "
        "dataset.yaml), 'subject' (metadata.patient of dataset.yaml) once"
    )


def test_a_key_that_the_table_lacks_is_named_though_its_separator_is_not_given(make):
    root = make("patient")
    write_table(root, "id;who\n1;a\n", "people.csv")
    assert "expected 'scan' (metadata.key of dataset.yaml)" in refused(scan(root), root)


def test_a_separator_of_the_page_counts(make):
    root = make("patient")
    data.edit_page(root, "patient: who}", 'patient: "who,else", separator: ";"}')
    text = (root / "archive/people.csv").read_text().replace(",", ";").replace("who", "who,else")
    write_table(root, text, "people.csv")
    assert scan(root).exit_code == 0
    assert volumes(root, "patient_id")["0"] == "a"


def test_a_modality_that_is_neither_is_named(root):
    data.edit_page(root, "modality: CT", "modality: {column: institute}")
    text = data.TABLE.replace(";A;", ";CT;").replace("60;B", "60;PT").replace(";B;", ";mr;")
    write_table(root, text)
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED s0003: modality is not known: institute is 'PT', expected CT or MRI"
    ]
    assert len(rows(root)) == 25


def test_a_number_without_modality_is_named(make):
    root = make("numbers")
    data.edit_page(root, "modality: CT", "modality: {ids: {CT: 0-2, MR: 3}}")
    assert lines(scan(root), "FAILED", root) == [
        "FAILED n_004: modality is not known: '4' is in none of modality.ids of "
        "ROOT/descriptor/dataset.yaml"
    ]


# Subsets.


def test_a_word_of_the_table_that_is_no_subset_leaves_the_sample_out(root):
    text = data.TABLE.replace("61;B;train", "61;B;valid").replace("s0002;p1;m;51;A;train\n", "")
    write_table(root, text + "s0005;p4;m;62;A;train\n")
    result = scan(root)
    table, expected = "ROOT/archive/set/meta.csv", "expected train or val or test"
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        f"FAILED s0002: {table}: no row for it (key 's0002'), {expected}; it is left out",
        f"FAILED s0004: {table}: split is 'valid', {expected}; it is left out",
        f"FAILED s0005: {table}: split is 'test' and 'train', {expected}; it is left out",
    ]
    assert volumes(root, "subset") == {"s0001": "train", "s0003": "val"}
    assert "left out: 15 files; " in result.stdout


def test_words_of_the_page_stand_for_subsets(root):
    data.edit_page(root, "column: split", "column: institute, subsets: {A: train, B: test}")
    assert scan(root).exit_code == 0
    assert [*volumes(root, "subset").values()] == ["train", "train", "test", "test", "train"]


def test_numbers_as_spreadsheets_write_them_stand_for_subsets(root):
    data.edit_page(root, "column: split", "column: split, subsets: {0: train, 1: test}")
    text = data.TABLE.replace(";train", ";0.0").replace(";val", ";1").replace(";test", ";1.0")
    write_table(root, text)
    assert scan(root).exit_code == 0
    assert [*volumes(root, "subset").values()] == ["train", "train", "test", "train", "test"]


def test_without_the_table_that_splits_nothing_is_done(root):
    (root / "archive/set/meta.csv").unlink()
    assert refused(scan(root), root) == (
        "ROOT/descriptor/dataset.yaml: split by column: no meta*.csv below --root_dir or beside it "
        "(metadata.file of the page); its column 'split' has the subset of each"
    )


def test_a_table_without_the_column_of_the_split_is_named_with_the_field(root):
    write_table(root, data.TABLE.replace(";split", ";set"))
    assert refused(scan(root), root).endswith(
        "'institute', 'set'], expected 'split' (split.column of dataset.yaml) once"
    )


def test_without_patients_each_sample_is_dealt_by_its_name(make):
    root = make("numbers")
    data.edit_page(
        root, 'by: ids, subsets: {test: 0-1, train: "2-4, 9"}', "by: patient, val: 0, test: 0.5"
    )
    assert scan(root).exit_code == 0
    names = ["n_000", "n_001", "n_002", "n_004"]
    names.sort(key=lambda name: hashlib.sha256(f"0:{name}".encode()).digest())
    expected = dict(zip(names, ["test", "test", "train", "train"]))
    assert volumes(root, "subset") == {str(int(name[2:])): expected[name] for name in names}


def test_a_number_in_no_range_is_left_out(make):
    root = make("numbers")
    data.put_volume(root / "archive/volume-7.nii.gz")
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED n_007: '7' is in none of split.subsets of ROOT/descriptor/dataset.yaml; it is left "
        "out"
    ]
    assert "left out: 1 files; " in result.stdout and len(rows(root)) == 8


def test_a_folder_that_is_no_subset_is_a_failure_and_a_channel_a_note(make):
    root = make("folders")
    shutil.copytree(root / "archive/imagesTr", root / "archive/imagesVa")
    result = scan(root)
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        "FAILED Folders: 3 files of subset 'Va', none of split.subsets of "
        "ROOT/descriptor/dataset.yaml, are left out: imagesVa/P1_1_0000.nii.gz, "
        "imagesVa/P1_2_0000.nii.gz, imagesVa/P2_3_0000.nii.gz"
    ]
    (note,) = trees.complaints(result, "note")
    assert note.startswith("note Folders: 7 files are left out, channel 0001, not 0000: imagesTr/")
    assert not trees.complaints(result, "WARNING")
    assert "left out: 3 files; ignored: 0 other NIfTI files" in result.stdout


def test_a_channel_that_no_volume_has_is_refused_in_one_line(make):
    root = make("folders")
    data.edit_page(root, '"0000"', "0")
    assert refused(scan(root), root) == (
        "ROOT/descriptor/dataset.yaml: files.channel is '0', but the files have 0000, 0001"
    )


def edit_lists(root, edit):
    path = root / "archive/dataset.json"
    lists = json.loads(path.read_text())
    edit(lists)
    path.write_text(json.dumps(lists))


def test_samples_in_no_list_or_in_two_are_left_out(make):
    root = make("json")

    def edit(lists):
        lists["training"] = lists["training"][:2]
        lists["test"] += [{"label": "./labelsTr/a.nii.gz"}, "./imagesTs/x.nii.gz", 7]

    edit_lists(root, edit)
    result, listed = scan(root), "ROOT/archive/dataset.json"
    assert result.exit_code == 1 and lines(result, "FAILED", root) == [
        f"FAILED a: in the lists of test and train of {listed}, expected in one; it is left out",
        f"FAILED c: in no list of {listed}, expected in one; it is left out",
        "FAILED dataset.json: ROOT/archive/dataset.json: has 1 entries that name no file",
    ]
    assert lines(result, "WARNING", root) == [
        "WARNING dataset.json: lists 1 files that are not on disk: ./imagesTs/x.nii.gz"
    ]
    assert volumes(root, "subset") == {"b": "train", "d": "test"}


@pytest.mark.parametrize(
    "content, reason",
    [
        (
            None,
            "ROOT/archive: no dataset.json below it or beside it, expected for the subsets (split",
        ),
        ("{", "ROOT/archive/dataset.json: is no JSON file (Expecting property name enclosed in"),
        ("[]", "ROOT/archive/dataset.json: holds no lists of files; expected the lists of split"),
        ('{"validation": []}', "ROOT/archive/dataset.json: names no files in training or test; "),
    ],
)
def test_lists_that_cannot_be_used_stop_routine_01(make, content, reason):
    root = make("json")
    (root / "archive/dataset.json").unlink()
    if content:
        (root / "archive/dataset.json").write_text(content)
    assert refused(scan(root), root).startswith(reason)


def test_lists_of_two_tasks_are_taken_together(make):
    root = make("json")
    for name in ("one", "two"):
        folder = root / "archive" / name
        data.put_volume(folder / f"imagesTr/{name}.nii.gz")
        folder.joinpath("dataset.json").write_text(
            json.dumps({"training" if name == "one" else "test": [f"imagesTr/{name}.nii.gz"]})
        )
    assert scan(root).exit_code == 0
    found = volumes(root, "subset")
    assert (found["one"], found["two"], found["a"]) == ("train", "test", "train")


# Patients.


def test_a_set_without_patients_says_so_once(tmp_path):
    root = CHAINS["numbers"].copy("indexed", tmp_path / "root")
    (root / "descriptor/split05_listed.csv").write_text("ID,subset\nn_000,train\nn_001,test\n")
    alone = "the page of Numbers names no patients: each sample counts as a patient of its own"
    for script in (data.MAKE_SPLIT, data.FOLDS, data.LEAVE_OUT, data.LISTED):
        words = [*map(str, CHAINS["numbers"].words(script, root))]
        if script == data.LEAVE_OUT:
            words[-4:] = ["--by", "seq", "--values", "0"]
        result = trees.run(script, *words)
        notes = [line.partition(": ")[2] for line in trees.complaints(result, "note")]
        assert result.exit_code == 0 and notes.count(alone) == 1, result.output
        assert "WARNING" not in result.stderr and "docs/patients.md" not in result.stderr
    result = CHAINS["numbers"].invoke(data.BY_PATIENT, root)
    assert (result.exit_code, result.stderr) == (
        0,
        f"WARNING: {alone}; this split is the published one\n",
    )
    table = workbook.Workbook(data.dataset_manifest(root)).table("split02_by_patient")
    assert list(table["patient"]) == list(table["ID"])


def test_patients_of_a_column_are_not_called_inferred(tmp_path):
    root = CHAINS["folders"].copy("indexed", tmp_path / "root")
    result = CHAINS["folders"].invoke(data.MAKE_SPLIT, root)
    assert result.stderr == (
        "note split01_standard: 1 of 1 test scans show a patient of train or val: f_0004\n"
    )
    (root / "descriptor/split05_listed.csv").write_text("ID,subset\nf_0003,train\nf_0004,test\n")
    result = CHAINS["folders"].invoke(data.LISTED, root)
    assert "WARNING: patients in several subsets: f_0003 (train, test)\n" in result.stderr


def test_a_patient_in_the_volumes_name_is_that_of_the_mask(make):
    root = make("folders")
    assert scan(root).exit_code == 0
    found = [(row["type"], row["patient_id"]) for row in rows(root) if row["seq"] == "3"]
    assert found == [("v3d", "2"), ("m3d", "2")]


def test_a_patient_that_the_table_does_not_tell_is_one_of_his_own(make):
    root = make("patient")
    text = re.sub("^[01],a", lambda found: found[0][:2], "0,a\n1,a\n", flags=re.M)
    rest = "".join(f"{number},p{number}\n" for number in range(2, 10))
    write_table(root, f"scan,who\n{text}{rest}", "people.csv")
    assert scan(root).exit_code == 0
    assert volumes(root, "patient_id")["0"] == "UND"
    for script in (PAIR, data.EXTRACT, data.INDEX):
        assert data.invoke(script, root).exit_code == 0
    result = data.invoke(data.BY_PATIENT, root)
    assert result.stderr == (
        "WARNING: 2 samples without patient_id, each taken for a patient of its own: 0, 1\n"
    )

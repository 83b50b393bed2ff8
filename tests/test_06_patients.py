"""The routines 06 that keep patients together, as a person runs them."""

import openpyxl
import pytest
import trees

from utils.routines import splits
from utils.storage import manifest, workbook

BY_PATIENT, FOLDS, LEAVE_OUT, LISTED = trees.BY_PATIENT, trees.FOLDS, trees.LEAVE_OUT, trees.LISTED
COLUMNS = "ID seq sex subset manufacturer_model_name manufacturer birth_date site mask".split()
# Two scans of one man in train and val, of one woman in train and test, of another in val and test;
# of a man in unlabelled and test. 12 has no birth date.
ROWS = """
01 M train Brilliance16 Philips 19500101 LGCH m
02 F train Brilliance16 Philips 19500102 LGPH m
03 M train Prisma SIEMENS 19500103 LGCH m
04 F train Prisma SIEMENS 19500104 LGCH m
05 M val Aquilion_ONE TOSHIBA 1950-01-01 LGCH m
06 F val Aquilion_ONE TOSHIBA 19500106 LGPH m
07 M val Prisma SIEMENS 19500107 LGCH m
08 Female test Ingenia Philips 19500102 LGCH -
09 F test Ingenia Philips 19500106 LGCH -
10 M test Aquilion_ONE TOSHIBA 19500110 LGCH -
11 M unlabelled Aquilion_ONE TOSHIBA 19500110 LGCH -
12 F test Ingenia Philips UND LGCH -
"""
INFERRED = ", inferred from birth_date and sex (docs/patients.md)"
UNKNOWN = (
    "WARNING: 1 samples without birth_date or sex, each taken for a patient of its own: amos_0012\n"
)


def rows():
    for line in ROWS.split("\n")[1:-1]:
        seq, *cells = line.replace("-\n", "\n").split()
        row = dict(zip(COLUMNS[2:], (cell.replace("_", " ") for cell in cells)))
        row["mask"] = "" if row["mask"] == "-" else f"{seq}.nii.gz"
        yield {"ID": f"amos_00{seq}", "seq": f"00{seq}", **row}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    manifest.Target(path).write({"Manifest": workbook.frame(COLUMNS, rows())})
    return path


def run(script, path, *words):
    return trees.run(script, "--manifest_file", path, *words)


def subsets(path, name):
    """The last column of a split, by the last two digits of the ID; checks the other columns."""
    table = workbook.Workbook(path).table(name)
    assert list(table) == [*COLUMNS, "patient", name]
    patients = table["ID"].str[-2:] + " " + table["patient"].str[-2:]
    assert [pair for pair in patients if pair[:2] != pair[-2:]] == [
        "05 01",
        "08 02",
        "09 06",
        "11 10",
    ]
    return dict(zip(table["ID"].str[-2:], table[name]))


def refused(result, path, before, *lines):
    """Tell that a run has said just these lines and done nothing."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [f"Error: {line}" for line in lines]
    assert path.read_bytes() == before


# ---- the published split


def test_the_published_split_names_its_leaks(path):
    result = run(trees.MAKE_SPLIT, path)
    assert result.exit_code == 0
    note = "note split01_standard: "
    assert result.stderr.splitlines() == [
        f"{note}1 of 3 val scans show a patient of train: amos_0005",
        f"{note}2 of 4 test scans show a patient of train or val: amos_0008, amos_0009",
        f"{note}1 of 4 test scans show a patient of unlabelled: amos_0010",
        f"{note}that these are the same patients is inferred from birth_date and sex "
        "(docs/patients.md)",
        f"{note}1 samples without birth_date or sex, of which it is not known whether they show a "
        "patient of an earlier subset: amos_0012",
    ]
    table = workbook.Workbook(path).table("split01_standard")
    assert list(table) == [*COLUMNS, "split01_standard"]


def test_all_who_leak_are_named(tmp_path):
    born = {"birth_date": "19500101", "sex": "F"}
    subset_of = {f"amos_{number:04d}": "val" for number in range(1, 31)} | {"amos_0031": "train"}
    made = [{"ID": key, "subset": subset, **born} for key, subset in subset_of.items()]
    path = tmp_path / "m.xlsx"
    manifest.Target(path).write({"Manifest": workbook.frame(["ID", "subset", *born], made)})
    names = ", ".join(list(subset_of)[:-1])
    expected = f"note split01_standard: 30 of 30 val scans show a patient of train: {names}"
    assert run(trees.MAKE_SPLIT, path).stderr.splitlines()[0] == expected


def test_without_leaks_nothing_is_said(path):
    book = openpyxl.load_workbook(path)
    for row in range(2, 14):
        book["Manifest"].cell(row, COLUMNS.index("birth_date") + 1).value = f"195002{row:02d}"
    book.save(path)
    assert run(trees.MAKE_SPLIT, path).stderr == ""


# ---- by patient


def test_who_is_in_an_earlier_subset_is_excluded(path):
    result = run(BY_PATIENT, path)
    assert (result.exit_code, result.stderr) == (0, UNKNOWN)
    assert result.stdout == (
        f"{path}, worksheet split02_by_patient: 12 samples "
        "(4 train, 2 val, 2 test, 1 unlabelled, 3 excluded)\n"
    )
    found = subsets(path, "split02_by_patient")
    assert [key for key in found if found[key] == "excluded"] == ["05", "08", "09"]
    assert (found["10"], found["11"], found["12"]) == ("test", "unlabelled", "test")


# ---- folds


def test_folds_hold_what_has_a_mask(path):
    result = run(FOLDS, path, "--folds", 3, "--random_seed", 5)
    assert (result.exit_code, result.stderr) == (0, UNKNOWN)
    found = subsets(path, "split03_folds")
    folds = [found[key] for key in ("01", "02", "03", "04", "05", "06", "07")]
    assert {*folds} == {"fold0", "fold1", "fold2"} and found["01"] == found["05"]
    assert {key: found[key] for key in list(found)[7:]} == {
        "08": "excluded",
        "09": "excluded",
        "10": "test",
        "11": "unlabelled",
        "12": "test",
    }
    counts = [f"{folds.count(f'fold{number}')} fold{number}" for number in range(3)]
    assert result.stdout == (
        f"{path}, worksheet split03_folds: 12 samples "
        f"({', '.join(counts)}, 2 test, 1 unlabelled, 2 excluded)\n"
    )


def test_folds_of_one_subset_leave_the_others_to_test(path):
    assert run(FOLDS, path, "--folds", 2, "--subsets", "train").exit_code == 0
    found = subsets(path, "split03_folds")
    assert all(found[f"{number:02d}"].startswith("fold") for number in range(1, 5))
    others = [found[f"{number:02d}"] for number in range(5, 11)]
    assert others == ["excluded", "test", "test", "excluded", "test", "test"]


def test_another_seed_gives_other_folds_and_the_same_seed_the_same(path):
    runs = []
    for seed in (0, 1, 0, *range(-5, 0)):
        assert run(FOLDS, path, "--folds", 3, "--random_seed", seed).exit_code == 0
        runs.append(tuple(subsets(path, "split03_folds").items()))
    assert runs[0] == runs[2] and len({*runs}) > 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["--folds", 7], "patients with a mask: 6, for 7 folds"),
        (
            ["--subsets", "train", "vla"],
            "folds of the subsets vla: expected some of train, val, test",
        ),
        (["--subsets", "test"], "patients with a mask: 0, for 5 folds"),
        (
            ["--split_name", "patient"],
            "{path}: its worksheets have a column 'patient' already; choose another --split_name",
        ),
    ],
)
def test_folds_that_cannot_be(path, words, message):
    before = path.read_bytes()
    refused(run(FOLDS, path, *words), path, before, message.format(path=path))


@pytest.mark.parametrize("folds", [1, 0, -3, "many"])
def test_one_fold_is_no_cross_validation(path, folds):
    before = path.read_bytes()
    result = run(FOLDS, path, "--folds", folds)
    assert result.exit_code == 2 and "--folds" in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("script", [BY_PATIENT, FOLDS])
@pytest.mark.parametrize("column", ["birth_date", "sex"])
def test_a_manifest_that_does_not_tell_patients_is_refused(path, script, column):
    book = openpyxl.load_workbook(path)
    book["Manifest"].cell(1, COLUMNS.index(column) + 1).value = "other"
    book.save(path)
    before, words = path.read_bytes(), ["--folds", 2] if script == FOLDS else []
    there = ", ".join(name if name != column else "other" for name in COLUMNS)
    message = f"worksheet Manifest: no column {column!r}; found: {there}"
    refused(run(script, path, *words), path, before, message)


def test_a_column_patient_of_your_own_is_not_taken_for_ours(path):
    book = openpyxl.load_workbook(path)
    book["Manifest"].cell(1, len(COLUMNS) + 1).value = "patient"
    book.save(path)
    message = "the worksheet Manifest has a column 'patient' already; rename it"
    refused(run(BY_PATIENT, path), path, path.read_bytes(), message)
    assert run(trees.MAKE_SPLIT, path).exit_code == 0
    book = workbook.Workbook(path)
    assert splits.out_of_date(book, book.table("Manifest")) == []


def test_no_split_is_called_patient(path):
    message = f"{path}: its worksheets have a column 'patient' already; choose another --split_name"
    words = ["--split_name", "patient"]
    refused(run(trees.MAKE_SPLIT, path, *words), path, path.read_bytes(), message)


# ---- leave out


def test_a_scanner_is_left_out(path):
    words = ["--split_name", "split04", "--values", "Brilliance16", "--val_ratio", 0.5]
    result = run(LEAVE_OUT, path, *words)
    assert (result.exit_code, result.stderr) == (0, UNKNOWN)
    found = subsets(path, "split04")
    assert [key for key in found if found[key] == "test"] == ["01", "02"]
    # 05 is of the patient of 01; all others are in one subset or have no mask.
    excluded = ["05", "08", "09", "10", "12"]
    assert [key for key in found if found[key] == "excluded"] == excluded
    assert sorted(found[key] for key in ("03", "04", "06", "07")) == ["train"] * 2 + ["val"] * 2
    assert found["11"] == "unlabelled"
    assert result.stdout == (
        f"{path}, worksheet split04: 12 samples "
        "(2 train, 2 val, 2 test, 1 unlabelled, 5 excluded)\n"
    )


@pytest.mark.parametrize(
    "by, values, tested",
    [
        ("manufacturer_model_name", [["Brilliance16", "Aquilion ONE"]], "01 02 05 06"),
        ("manufacturer_model_name", [["Brilliance16"], ["Aquilion ONE"]], "01 02 05 06"),
        ("manufacturer", [["SIEMENS"]], "03 04 07"),
        ("site", [["LGPH"]], "02 06"),
        ("sex", [["female"]], "02 04 06"),
        ("sex", [["M"]], "01 03 05 07"),
        ("site", [[" LGPH "]], "02 06"),
    ],
)
def test_by_other_columns_and_forms(path, by, values, tested):
    words = [word for group in values for word in ("--values", *group)]
    result = run(LEAVE_OUT, path, "--split_name", "split04", "--by", by, *words)
    assert result.exit_code == 0, result.output
    found = subsets(path, "split04")
    assert [key for key in found if found[key] == "test"] == tested.split()


def test_unlabelled_scans_of_the_scanner_or_the_patient_are_left_out_too(path):
    for values, expected in (
        (["TOSHIBA"], "excluded"),
        (["SIEMENS"], "unlabelled"),
        (["TOSHIBA", "SIEMENS"], "excluded"),
    ):
        words = ["--split_name", "split04", "--by", "manufacturer", "--values", *values]
        assert run(LEAVE_OUT, path, *words).exit_code == 0
        assert subsets(path, "split04")["11"] == expected
    book = openpyxl.load_workbook(path)
    book["Manifest"].cell(11, COLUMNS.index("mask") + 1).value = "10.nii.gz"
    book["Manifest"].cell(12, COLUMNS.index("manufacturer") + 1).value = "Philips"
    book.save(path)
    words = ["--split_name", "split04", "--by", "manufacturer", "--values", "TOSHIBA"]
    assert run(LEAVE_OUT, path, *words).exit_code == 0
    found = subsets(path, "split04")
    assert (found["10"], found["11"]) == ("test", "excluded")


def test_a_value_without_masks_beside_one_with_is_warned_about(path):
    words = ["--split_name", "s", "--values", "Prisma", "Ingenia"]
    result = run(LEAVE_OUT, path, *words)
    assert result.exit_code == 0
    text = "WARNING: manufacturer_model_name Ingenia: none of its samples has a mask\n"
    assert result.stderr == text + UNKNOWN


@pytest.mark.parametrize("text", ["", "UND"])
def test_samples_to_train_on_that_may_be_of_what_is_left_out_are_warned_about(path, text):
    book = openpyxl.load_workbook(path)
    for row in (4, 9):  # 03 and 08, which has no mask
        book["Manifest"].cell(row, COLUMNS.index("site") + 1).value = text
    book.save(path)
    words = ["--split_name", "s", "--by", "site", "--values", "LGPH", "--val_ratio", 0]
    result = run(LEAVE_OUT, path, *words)
    assert (result.exit_code, subsets(path, "s")["03"]) == (0, "train")
    told = "WARNING: site of 1 samples to train on is not known: amos_0003\n"
    assert result.stderr == told + UNKNOWN


SCANNERS = "Aquilion ONE, Brilliance16, Ingenia, Prisma"


@pytest.mark.parametrize(
    "by, values, message",
    [
        (
            "manufacturer_model_name",
            ["Brilliance"],
            f"no sample has manufacturer_model_name 'Brilliance'; there are: {SCANNERS}",
        ),
        (
            "manufacturer_model_name",
            ["Prisma", "x", "prisma"],
            f"no sample has manufacturer_model_name 'prisma', 'x'; there are: {SCANNERS}",
        ),
        ("site", [""], "no sample has site ''; there are: LGCH, LGPH"),
        ("sex", ["banana"], "no sample has sex 'banana'; there are: F, M"),
        (
            "manufacturer_model_name",
            ["Ingenia"],
            "no sample with manufacturer_model_name Ingenia has a mask: nothing would be test",
        ),
        ("sex", ["M", "F"], "nothing is left to train on: 7 samples are test, 0 val"),
    ],
)
def test_what_cannot_be_left_out(path, by, values, message):
    before = path.read_bytes()
    words = ["--split_name", "split04", "--by", by, "--values", *values]
    refused(run(LEAVE_OUT, path, *words), path, before, message)


def test_all_for_val_leaves_nothing_to_train_on(path):
    words = ["--split_name", "s", "--values", "Prisma", "--val_ratio", "1"]
    message = "nothing is left to train on: 3 samples are test, 4 val"
    refused(run(LEAVE_OUT, path, *words), path, path.read_bytes(), message)


@pytest.mark.parametrize("ratio, n_val", [(0, 0), (0.2, 1), (0.37, 1), (0.38, 2), (0.9, 4)])
def test_val_has_the_nearest_size_that_whole_patients_reach(path, ratio, n_val):
    """The pool is 03, 04, 07, 06 and the patient of nobody else; of 4 are 0.8, 1.48, 1.52, 3.6."""
    words = ["--split_name", "s", "--values", "Brilliance16", "--val_ratio", ratio]
    if n_val == 4:
        assert run(LEAVE_OUT, path, *words).exit_code == 2
        return
    assert run(LEAVE_OUT, path, *words).exit_code == 0
    assert [*subsets(path, "s").values()].count("val") == n_val


# ---- a list


def listing(path, text, name="list.csv"):
    """Write a list beside the manifest and run the routine with it."""
    (path.parent / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return run(LISTED, path, "--ids", path.parent / name)


def test_a_list_makes_a_split(path):
    lines = ["ID,subset", "amos_0001,train", "amos_0005,train", "amos_0003,val", "amos_0006,test"]
    result = listing(path, "\n".join([*lines, "amos_0011,unlabelled", "amos_0002,excluded"]))
    assert result.exit_code == 0
    rest = "amos_0004, amos_0007, amos_0008, amos_0009, amos_0010 and 1 more"
    where = path.parent / "list.csv"
    note = f"note split05_listed: 6 samples that {where} does not name are excluded: {rest}\n"
    assert result.stderr == UNKNOWN + note
    assert result.stdout == (
        f"{path}, worksheet split05_listed: 12 samples "
        "(2 train, 1 val, 1 test, 1 unlabelled, 7 excluded)\n"
    )
    found = subsets(path, "split05_listed")
    kept = {"01": "train", "05": "train", "03": "val", "06": "test", "11": "unlabelled"}
    assert {key: subset for key, subset in found.items() if subset != "excluded"} == kept


def test_a_list_of_all_samples_leaves_nothing_to_note(path):
    lines = [f"{row['ID']},excluded" for row in rows()]
    result = listing(path, "ID,subset\n" + "\n".join(lines))
    assert (result.exit_code, result.stderr) == (0, UNKNOWN)


@pytest.mark.parametrize(
    "sides, told",
    [
        ("01 train 05 val 02 test", "amos_0001 (train, val)"),
        ("01 fold1 05 fold0 02 test", "amos_0001 (fold0, fold1)"),
        ("01 fold1 03 fold0 05 test", "amos_0001 (fold1, test)"),
        ("01 train 05 test 02 val 08 test", "amos_0001 (train, test), amos_0002 (val, test)"),
        ("01 train 05 excluded 08 test", ""),
        ("10 test 11 unlabelled 01 train", ""),
        ("01 train 05 train", ""),
    ],
)
def test_a_patient_on_two_sides_of_a_list_is_warned_about(path, sides, told):
    words = sides.split()
    lines = [f"amos_00{key},{subset}" for key, subset in zip(words[::2], words[1::2])]
    result = listing(path, "ID,subset\n" + "\n".join(lines))
    assert result.exit_code == 0
    warning = f"WARNING: patients in several subsets{INFERRED}: {told}\n" if told else ""
    assert result.stderr.startswith(warning + UNKNOWN)


def test_all_faults_of_a_list_are_told_at_once(path):
    lines = [
        "amos_0001,train",
        "amos_0002,tset",
        "amos_0001,val",
        "amos_0003,fold0",
        "amos_0004,",
        "amos_9999,train",
        ",test",
        "amos_0005,fold2",
        "amos_0005,fold2",
        "x,Train",
    ]
    before = path.read_bytes()
    result = listing(path, "ID,subset\n" + "\n".join(lines))
    where = path.parent / "list.csv"
    refused(
        result,
        path,
        before,
        f"{where}: rows without ID: 1 (test)",
        f"{where}: IDs that are not in the manifest: amos_9999, x",
        f"{where}: IDs in several rows: amos_0001 (train, val), amos_0005 (fold2, fold2)",
        f"{where}: subset is none of train, val, test, fold0 ..., unlabelled, excluded: "
        "amos_0002 'tset', amos_0004 '', x 'Train'",
        f"{where}: subset has folds and beside them: train, val",
        f"{where}: folds that are not fold0, fold1 and so on: fold0, fold2",
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the list of a split is empty, expected the columns ['ID', 'subset']"),
        ("ID,subset\n\n", "no samples: expected rows below the columns ID and subset"),
        (
            "id,subset\namos_0001,train",
            "the list of a split has the columns ['id', 'subset'], expected each of "
            "['ID', 'subset'] once",
        ),
        ("ID,subset\namos_0001\n", "the list of a split has 1 cells in line 2, expected 2"),
        ("ID,subset\namos_0001,fold0", "folds that are not fold0, fold1 and so on: fold0"),
    ],
)
def test_a_list_that_is_none(path, text, message):
    before = path.read_bytes()
    refused(listing(path, text), path, before, f"{path.parent / 'list.csv'}: {message}")


PLAIN = "ID,subset\namos_0001,train\namos_0003,val\namos_0006,test\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";").encode("utf-8-sig"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace("\n", "\r\n").replace("amos_0003", " amos_0003\u00a0"),
        PLAIN.replace("ID,", "remark,ID,").replace("amos", "x,amos"),
        "\n\n" + PLAIN.replace("\n", "\n,\n"),
        PLAIN.replace("amos_0001", "1").replace("amos_0003", "0003").replace("amos_0006", "6.0"),
        PLAIN.replace("train", '"train"'),
    ],
)
def test_lists_as_spreadsheets_save_them(path, text):
    assert listing(path, text).exit_code == 0
    found = subsets(path, "split05_listed")
    assert {key: subset for key, subset in found.items() if subset != "excluded"} == {
        "01": "train",
        "03": "val",
        "06": "test",
    }


def test_a_list_in_a_code_page_is_read_with_a_warning(path):
    text = PLAIN.replace("subset", "subset,remark").replace("\namos", ",\u00e9t\u00e9\namos")
    text = text.replace("remark,\u00e9t\u00e9", "remark").removesuffix("\n") + ",\u00e9t\u00e9\n"
    result = listing(path, text.encode("cp1252"))
    assert result.exit_code == 0
    assert "list.csv: not in UTF-8, read as Windows-1252; save it as CSV UTF-8 to be sure" in (
        result.stderr
    )


@pytest.mark.parametrize("number", ["13", "0", "00001x", "1.5", "-1", "\u0661", "9" * 5000])
def test_a_number_that_is_no_seq_is_unknown(path, number):
    before = path.read_bytes()
    result = listing(path, f"ID,subset\n{number},train\n")
    message = f"{path.parent / 'list.csv'}: IDs that are not in the manifest: {number}"
    refused(result, path, before, message)


def test_a_number_and_the_id_that_it_means_stand_twice(path):
    before = path.read_bytes()
    result = listing(path, "ID,subset\n4,train\namos_0004,train\n0004,test\n")
    message = "IDs in several rows: amos_0004 (train, train, test)"
    refused(result, path, before, f"{path.parent / 'list.csv'}: {message}")


def test_a_number_that_two_samples_bear_means_none(path):
    book = openpyxl.load_workbook(path)
    book["Manifest"]["B3"] = "0001"
    book.save(path)
    result = listing(path, "ID,subset\n1,train\n")
    assert result.exit_code == 2 and "not in the manifest: 1" in result.stderr


def as_workbook(folder, sheets):
    where = folder / "List.XLSX"
    manifest.Target(where).write(sheets)
    return where


def test_a_workbook_is_a_list_whatever_else_it_holds(path):
    cells = [("amos_0001", "train"), (3, "val"), ("amos_0006 ", "test"), ("", "")]
    table = workbook.frame(
        ["remark", "subset", "ID"], [{"ID": key, "subset": word} for key, word in cells]
    )
    notes = workbook.frame(["ID", "note"], [{"ID": "amos_0001", "note": "x"}])
    where = as_workbook(path.parent, {"Notes": notes, "List": table})
    assert run(LISTED, path, "--ids", where).exit_code == 0
    found = subsets(path, "split05_listed")
    assert (found["01"], found["03"], found["06"]) == ("train", "val", "test")
    assert [*found.values()].count("excluded") == 9


def test_workbooks_that_are_no_list(path):
    before = path.read_bytes()
    table = workbook.frame(["ID", "subset"], [{"ID": "amos_0001", "subset": "train"}])
    where = as_workbook(path.parent, {"One": table, "Two": table})
    message = f"{where}: several worksheets have the columns ID and subset: One, Two; keep one"
    refused(run(LISTED, path, "--ids", where), path, before, message)
    where.unlink()
    where = as_workbook(path.parent, {"One": table.rename(columns={"subset": "Subset"})})
    message = f"{where}, worksheet One: missing columns: subset; found: ID, Subset"
    refused(run(LISTED, path, "--ids", where), path, before, message)
    where.write_bytes(b"PK no zip")
    result = run(LISTED, path, "--ids", where)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and str(where) in result.stderr


# ---- whether they are out of date

ALL = {
    trees.MAKE_SPLIT: [],
    BY_PATIENT: [],
    FOLDS: ["--folds", "2"],
    LEAVE_OUT: ["--split_name", "split04", "--values", "Prisma"],
    LISTED: ["--ids", "LIST"],
}


@pytest.fixture
def split_path(path):
    """A manifest with a split of each kind."""
    (path.parent / "list.csv").write_text("ID,subset\namos_0001,train\namos_0009,test\n")
    for script, words in ALL.items():
        found = [path.parent / "list.csv" if word == "LIST" else word for word in words]
        assert run(script, path, *found).exit_code == 0
    return path


def out_of_date(path, table):
    return splits.out_of_date(workbook.Workbook(path), table)


def test_splits_of_all_kinds_are_current_until_the_manifest_changes(split_path):
    names = workbook.Workbook(split_path).names[1:]
    assert len(names) == len(ALL)
    for is_typed in (False, True):
        table = workbook.Workbook(split_path).table("Manifest", typed=is_typed)
        assert out_of_date(split_path, table) == []
    for column in ("birth_date", "sex", "mask", "subset", "site"):
        changed = table.copy()
        changed.loc[6, column] = "other"
        assert out_of_date(split_path, changed) == names
    more = workbook.frame(COLUMNS, [*rows(), {"ID": "amos_0013", "subset": "train"}])
    for changed in (table[1:], table[::-1], more, table.assign(new=""), table.assign(patient="x")):
        assert out_of_date(split_path, changed) == names


def test_routine_05_names_the_splits_that_are_out_of_date(tmp_path):
    root = trees.copy("indexed", tmp_path / "root")
    path = root / "grouped/dataset_manifest.xlsx"
    (tmp_path / "list.csv").write_text("ID,subset\namos_0001,train\n")
    for script, words in ALL.items():
        found = [tmp_path / "list.csv" if word == "LIST" else word for word in words]
        assert run(script, path, *found).exit_code == 0
    names = workbook.Workbook(path).names[1:]
    assert trees.invoke(trees.INDEX, root).stderr == ""
    info = trees.sample_dir(root, "amos_0001") / "amos_0001_info.yaml"
    birth_date = workbook.Workbook(path).table("Manifest")["birth_date"][0]
    text = info.read_text(encoding="utf-8")
    assert text.count(f'"{birth_date}"') == 1
    info.write_text(text.replace(birth_date, "19010203"), encoding="utf-8")
    result = trees.invoke(trees.INDEX, root)
    assert (result.exit_code, result.stderr.splitlines()) == (
        0,
        [
            f"WARNING {name}: this worksheet repeats an older manifest; make the split again"
            for name in names
        ],
    )
    assert len(names) == len(ALL)


def test_after_a_spreadsheet_saved_the_workbook_they_are_current(split_path):
    book = openpyxl.load_workbook(split_path)
    cells = [cell for sheet in book for row in sheet.iter_rows(min_row=2) for cell in row]
    for cell in cells:
        if str(cell.value).isdigit() and not str(cell.value).startswith("0"):
            cell.value = float(cell.value)  # a birth date
    book.save(split_path)
    table = workbook.Workbook(split_path).table("Manifest")
    assert out_of_date(split_path, table) == []


def test_a_second_run_changes_nothing(split_path):
    before = split_path.read_bytes()
    for script, words in ALL.items():
        found = [split_path.parent / "list.csv" if word == "LIST" else word for word in words]
        assert run(script, split_path, *found).exit_code == 0
    assert split_path.read_bytes() == before

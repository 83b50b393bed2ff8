"""Split sheets and index manifests, without the command line."""

import openpyxl
import pytest

from utils import errors
from utils.routines import split_choices, splits
from utils.storage import files, manifest, workbook

SPLIT = "split01_standard"
COLUMNS = ["ID", "seq", "subset", "szx", "spx"]
SUBSETS = ["train", "test", "val", "train"]


def rows(subsets=SUBSETS):
    """Rows of a small manifest."""
    return [
        {
            "ID": f"amos_{number:04d}",
            "seq": f"{number:04d}",
            "subset": subset,
            "szx": 512,
            "spx": 1 / number,
        }
        for number, subset in enumerate(subsets, 1)
    ]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "dataset_manifest.xlsx"
    manifest.Target(path).write({"Manifest": workbook.frame(COLUMNS, rows())})
    return path


@pytest.fixture
def split_path(path):
    splits.make_sheet(path, SPLIT, split_choices.published)
    return path


def edit(path, sheet, cell, value):
    book = openpyxl.load_workbook(path)
    book[sheet][cell] = value
    book.save(path)


def read(path, sheet="Manifest", **options):
    return workbook.Workbook(path).table(sheet, **options)


def ids(path, sheet):
    return read(path, sheet)["ID"].tolist()


def out_of_date(path, table=None):
    book = workbook.Workbook(path)
    return splits.out_of_date(book, book.table("Manifest") if table is None else table)


def add_notes(path, text):
    book = workbook.Workbook(path)
    manifest.replace_sheet(book, "Notes", workbook.frame(["note"], [{"note": text}]))


# ---- split sheets


def test_sheet_is_the_manifest_and_one_column(path):
    counts = splits.make_sheet(path, SPLIT, split_choices.published).counts
    assert list(counts.items()) == [("train", 2), ("val", 1), ("test", 1)]
    main, split = (read(path, name, typed=True) for name in ("Manifest", SPLIT))
    assert list(split) == [*COLUMNS, SPLIT]
    assert split[SPLIT].tolist() == SUBSETS
    copied = split[COLUMNS].to_numpy().tolist()
    assert copied == main.to_numpy().tolist()
    assert [type(value) for value in copied[1]] == [str, str, str, int, float]
    assert not manifest.Target(path).was_changed


def test_second_run_leaves_the_file_untouched(split_path):
    before = split_path.stat()
    splits.make_sheet(split_path, SPLIT, split_choices.published)
    assert split_path.stat().st_mtime_ns == before.st_mtime_ns
    assert split_path.stat().st_ino == before.st_ino


def test_renewed_after_the_manifest_changed_by_hand(split_path):
    edit(split_path, "Manifest", "C2", "val")
    assert out_of_date(split_path) == [SPLIT]
    counts = splits.make_sheet(split_path, SPLIT, split_choices.published).counts
    assert counts == {"train": 1, "val": 2, "test": 1}
    assert out_of_date(split_path) == []
    assert manifest.Target(split_path).was_changed  # the correction must still be seen by 05


def test_number_cells_of_a_spreadsheet_are_understood(path):
    edit(path, "Manifest", "A2", 4)
    assert splits.make_sheet(path, SPLIT, split_choices.published).counts["train"] == 2
    assert ids(path, SPLIT)[0] == "4"


def test_samples_without_choice_are_not_in_the_split(path):
    splits.make_sheet(
        path,
        "split05_External",
        lambda table: dict.fromkeys(table.loc[table["seq"].isin(["0002", "0004"]), "ID"], "test"),
    )
    assert ids(path, "split05_External") == ["amos_0002", "amos_0004"]


@pytest.mark.parametrize("subset", ["", "Train", "train ", "training", 1])
def test_unknown_subset_names_the_sample(path, subset):
    edit(path, "Manifest", "C3", subset)
    before = path.read_bytes()
    with pytest.raises(errors.DatasetError, match=f"amos_0002 '{subset}'"):
        splits.make_sheet(path, SPLIT, split_choices.published)
    assert path.read_bytes() == before


def test_many_unknown_subsets_are_counted(tmp_path):
    path = tmp_path / "m.xlsx"
    manifest.Target(path).write({"Manifest": workbook.frame(COLUMNS, rows([""] * 8))})
    with pytest.raises(errors.DatasetError, match="amos_0005 '' and 3 more"):
        splits.make_sheet(path, SPLIT, split_choices.published)


@pytest.mark.parametrize("column", ["ID", "subset"])
def test_missing_column(path, column):
    edit(path, "Manifest", {"ID": "A1", "subset": "C1"}[column], "other")
    with pytest.raises(errors.DatasetError, match=column):
        splits.make_sheet(path, SPLIT, split_choices.published)


@pytest.mark.parametrize("value", ["amos_0001", ""])
def test_doubled_or_empty_id(path, value):
    edit(path, "Manifest", "A3", value)
    with pytest.raises(errors.DatasetError, match=value or r"\(empty\)"):
        splits.make_sheet(path, SPLIT, split_choices.published)


@pytest.mark.parametrize(
    "name, message",
    [
        ("Manifest", "is not a split"),
        ("manifest", "is not a split"),
        ("Notes", "is not a split"),
        ("SPLIT01_Standard", "upper and lower case"),
        ("szx", "have a column 'szx'"),
        ("x" * 32, "32 characters"),
        ("a/b", "control character or one of"),
    ],
)
def test_names_that_are_taken_or_impossible(split_path, name, message):
    add_notes(split_path, "x")
    before = split_path.read_bytes()
    with pytest.raises(errors.DatasetError, match=message):
        splits.make_sheet(split_path, name, split_choices.published)
    assert split_path.read_bytes() == before


def test_name_of_31_characters(path):
    splits.make_sheet(path, "x" * 31, split_choices.published)
    assert workbook.Workbook(path).names == ["Manifest", "x" * 31]


def test_other_sheets_stay(split_path):
    add_notes(split_path, "=1+1")
    edit(split_path, "Manifest", "C2", "val")
    splits.make_sheet(split_path, SPLIT, split_choices.published)
    assert workbook.Workbook(split_path).names == ["Manifest", SPLIT, "Notes"]
    assert read(split_path, "Notes")["note"].tolist() == ["=1+1"]


# ---- out of date


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table[:-1],
        lambda table: table[::-1],
        lambda table: workbook.frame(COLUMNS, [*rows(), {**rows()[0], "ID": "amos_0600"}]),
        lambda table: workbook.frame(COLUMNS, [{**rows()[0], "szx": 513}, *rows()[1:]]),
        lambda table: table.assign(new=""),
        lambda table: table.drop(columns="spx"),
    ],
)
def test_out_of_date_after_any_change_of_the_manifest(split_path, change):
    table = workbook.frame(COLUMNS, rows())
    assert out_of_date(split_path, table) == []
    assert out_of_date(split_path, change(table)) == [SPLIT]


# ---- index manifests


def test_rows_of_each_group_in_sheet_order(split_path, tmp_path):
    groups = (("train", "val"), ("val", "train"), ("test",))
    done = splits.extract(split_path, SPLIT, groups, tmp_path / "a b" / "splits")
    assert {path.name: count for path, count in done.counts.items()} == {
        f"{SPLIT}_train_val.xlsx": 3,
        f"{SPLIT}_val_train.xlsx": 3,
        f"{SPLIT}_test.xlsx": 1,
    }
    assert not done.is_out_of_date
    for path in done.counts:
        assert workbook.Workbook(path).names == [path.stem]
        assert not manifest.Target(path).was_changed
    both, _, test = done.counts
    assert ids(both, both.stem) == ["amos_0001", "amos_0003", "amos_0004"]
    whole, of_test = read(split_path, SPLIT, typed=True), read(test, test.stem, typed=True)
    assert list(of_test) == list(whole)
    assert of_test.to_numpy().tolist() == whole[1:2].to_numpy().tolist()


@pytest.mark.parametrize(
    "groups, message",
    [
        ((("train",), ("val", "nothing")), "no samples in nothing; its subsets: train, test, val"),
        ((("train",), ("",)), "no samples in ;"),
        ((("train", "train"),), "twice"),
        ((("train",), ("test",), ("train",)), "written twice"),
    ],
)
def test_one_wrong_group_and_nothing_is_written(split_path, tmp_path, groups, message):
    with pytest.raises(errors.DatasetError, match=message):
        splits.extract(split_path, SPLIT, groups, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("length, sheet", [(25, "s" * 25 + "_train"), (26, "Manifest")])
def test_a_name_over_31_characters_is_the_files_alone(path, tmp_path, length, sheet):
    name = "s" * length
    splits.make_sheet(path, name, split_choices.published)
    done = splits.extract(path, name, (("train",),), tmp_path / "out")
    (index,) = done.counts
    assert index.name == f"{name}_train.xlsx"
    assert workbook.Workbook(index).names == [sheet]
    assert list(read(index, sheet)) == [*COLUMNS, name]
    assert ids(index, sheet) == ["amos_0001", "amos_0004"]
    assert not manifest.Target(index).was_changed


def test_length_is_that_of_excel_and_of_the_file_system(path, tmp_path):
    """Excel counts two for a character beyond the first 65,536; file systems count bytes."""
    split = "split \N{GRINNING FACE}"
    for length, expected in ((17, f"{split}_{'t' * 17}"), (23, "Manifest")):
        word = "t" * length
        splits.make_sheet(path, split, lambda table: dict.fromkeys(table["ID"], word))
        (index,) = splits.extract(path, split, ((word,),), tmp_path / "out").counts
        assert workbook.Workbook(index).names == [expected]
    # 10 bytes of the split, 120 and 118 of subsets, and the ending: 255 in all, and one more.
    first, *others = "\N{LATIN SMALL LETTER E WITH ACUTE}" * 60, "x" * 118, "x" * 119
    choices = dict(zip(["amos_0001", "amos_0002", "amos_0003"], [first, *others]))
    splits.make_sheet(path, split, lambda table: choices)
    with pytest.raises(errors.DatasetError, match="has 256 bytes, file systems allow 255; use f"):
        splits.extract(path, split, ((first, others[0]), (first, others[1])), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (index,) = splits.extract(path, split, ((first, others[0]),), tmp_path / "fits").counts
    assert len(index.name.encode()) == 255 and len(ids(index, "Manifest")) == 2


@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\\b", "a*", "what?", "[a]", "a\nb", "a\tb"])
def test_a_long_name_holds_no_characters_that_files_do_not_bear(path, tmp_path, odd):
    splits.make_sheet(path, "s" * 31, lambda table: dict.fromkeys(table["ID"], odd))
    with pytest.raises(errors.DatasetError, match=r"the file name .* or one of \[\]:\*\?/"):
        splits.extract(path, "s" * 31, ((odd,),), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folds_and_what_is_left_out_are_subsets_as_any(path, tmp_path):
    words = ["fold0", "fold1", "excluded", "unlabelled"]
    splits.make_sheet(path, "split", lambda table: dict(zip(table["ID"], words)))
    groups = (("fold0", "fold1"), ("excluded",), ("unlabelled", "fold1"))
    done = splits.extract(path, "split", groups, tmp_path)
    assert {path.name: count for path, count in done.counts.items()} == {
        "split_fold0_fold1.xlsx": 2,
        "split_excluded.xlsx": 1,
        "split_unlabelled_fold1.xlsx": 2,
    }


def test_missing_or_unfit_sheet(split_path, tmp_path):
    with pytest.raises(errors.DatasetError, match="there are: Manifest, split01_standard"):
        splits.extract(split_path, "split02", (("train",),), tmp_path / "out")
    with pytest.raises(errors.DatasetError, match="missing columns: Manifest"):
        splits.extract(split_path, "Manifest", (("train",),), tmp_path / "out")


def test_manifest_is_not_replaced_by_an_index(split_path):
    source = split_path.rename(split_path.with_name(f"{SPLIT}_train.xlsx"))
    before = source.read_bytes()
    with pytest.raises(errors.DatasetError, match="would replace the manifest"):
        splits.extract(source, SPLIT, (("train",),), source.parent)
    assert source.read_bytes() == before


def test_sample_in_two_subsets_is_refused(split_path, tmp_path):
    edit(split_path, SPLIT, "A3", "amos_0001")
    with pytest.raises(errors.DatasetError, match="several rows: amos_0001"):
        splits.extract(split_path, SPLIT, (("train",),), tmp_path / "out")


def test_ids_at_fault_are_named_in_the_order_of_the_rows(path):
    with pytest.raises(errors.DatasetError, match=r"several rows: b, a, \(empty\)$"):
        table = workbook.frame(COLUMNS, [{"ID": key, "subset": "val"} for key in [*"baab", ""]])
        manifest.Target(path).write_sheet("Manifest", table)
        splits.make_sheet(path, SPLIT, split_choices.published)


def test_out_of_date_split_is_told(split_path, tmp_path):
    edit(split_path, "Manifest", "D2", 99)
    assert splits.extract(split_path, SPLIT, (("train",),), tmp_path / "out").is_out_of_date


def test_hand_made_split_of_other_subsets(split_path, tmp_path):
    edit(split_path, SPLIT, "F2", "fold1")
    done = splits.extract(split_path, SPLIT, (("fold1",),), tmp_path)
    assert list(done.counts.values()) == [1]


def test_second_run_touches_nothing(split_path, tmp_path):
    first = splits.extract(split_path, SPLIT, (("train",), ("val",)), tmp_path / "out")
    times = [path.stat().st_mtime_ns for path in first.counts]
    assert splits.extract(split_path, SPLIT, (("train",), ("val",)), tmp_path / "out") == first
    assert [path.stat().st_mtime_ns for path in first.counts] == times


def test_full_disk_leaves_nothing_new(split_path, tmp_path, monkeypatch):
    seal = files.Pending.seal

    def fail_on_second(pending):
        if pending.path.stem.endswith("val"):
            raise errors.DatasetError("disk full")
        seal(pending)

    monkeypatch.setattr(files.Pending, "seal", fail_on_second)
    with pytest.raises(errors.DatasetError, match="disk full"):
        splits.extract(split_path, SPLIT, (("train",), ("val",)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

"""Samples of a manifest as training takes them."""

import os

import pytest

from utils import errors
from utils.exports import cases
from utils.facts import amos22
from utils.routines import splits
from utils.storage import manifest, workbook

COLUMNS = [
    "ID",
    "subset",
    "volume",
    "mask",
    "mask_00_background",
    "mask_01_two_existence",
    "mask_00_background_existence",
    "mask_01_two_existence_existence",
    "mask_02_lone",
]


def write(path, sheet="Manifest", columns=(), **cells):
    """A manifest of one sample."""
    row = {
        "ID": "amos_0001",
        "subset": "train",
        "volume": "only_here_v.nii.gz",
        "mask": "only_here_m.nii.gz",
        **cells,
    }
    manifest.Target(path).write({sheet: workbook.frame([*COLUMNS, *columns], [row])})
    return path


def test_label_names_are_the_columns_with_an_existence(tmp_path):
    selection = cases.read(write(tmp_path / "m.xlsx"))
    assert selection.label_names == {0: "background", 1: "two_existence"}
    assert (str(selection.cases[0]), selection.cases[0].subset) == ("amos_0001", "train")


def test_sheet_of_an_index_manifest(tmp_path):
    path = write(tmp_path / "m.xlsx", "mine_train_val", ["mine"], mine="val")
    assert cases.read(path).cases[0].subset == "val"


LONG = "split03_folds_fold0_fold1_fold2_fold3"


@pytest.mark.parametrize("split_name", [None, "split03_folds"])
def test_index_manifest_whose_name_is_too_long_for_a_worksheet(tmp_path, split_name):
    path = write(tmp_path / f"{LONG}.xlsx", columns=["split03_folds"], split03_folds="fold2")
    (case,) = cases.read(path, split_name).cases
    assert (case.subset, case.fold) == ("fold2", 2)


def test_a_renamed_index_manifest_is_read_by_the_splits_name(tmp_path):
    for sheet in ("Manifest", LONG[:31]):
        path = write(tmp_path / "folds.xlsx", sheet, ["split03_folds"], split03_folds="fold2")
        assert cases.read(path, "split03_folds").cases[0].subset == "fold2"
        with pytest.raises(errors.DatasetError, match="no worksheet 'split03'; there are: "):
            cases.read(path, "split03")


@pytest.mark.parametrize(
    "name, column, value",
    [
        ("dataset_manifest", "dataset", "manifest"),  # short enough for a worksheet
        ("dataset_manifest_of_all_samples_in_2026", "dataset", "AMOS22"),
        ("dataset_manifest_of_all_samples_in_2026", "dataset", ""),
        (LONG, "fold", "fold0"),
        (LONG, "split03_folds", "fold4"),  # not among the subsets of the name
    ],
)
def test_a_manifest_with_a_last_column_of_its_own_is_no_index(tmp_path, name, column, value):
    path = write(tmp_path / f"{name}.xlsx", columns=[column], **{column: value})
    assert cases.read(path).cases[0].subset == "train"


@pytest.mark.parametrize("groups", [["fold0", "fold1"], ["fold0", "fold1", "fold2", "excluded"]])
def test_what_07_writes_is_read_as_the_split(tmp_path, groups):
    path = write(tmp_path / "m.xlsx")
    table = workbook.Workbook(path).table("Manifest")
    words = ["fold0", "fold1", "fold2", "excluded", "test"]
    rows = [{**table.iloc[0], "ID": word} for word in words]
    manifest.Target(path, overwrite=True).write({"Manifest": workbook.frame(COLUMNS, rows)})
    splits.make_sheet(path, "split03_folds", lambda table: dict(zip(words, words)))
    (index,) = splits.extract(path, "split03_folds", [groups], tmp_path / "out").counts
    for split_name in (None, "split03_folds"):
        selection = cases.read(index, split_name)
        assert [(case.id, case.subset) for case in selection.cases] == [*zip(groups, groups)]
        assert [case.id for case in selection.used] == [name for name in groups if "f" in name[:1]]
        assert not selection.is_out_of_date


def test_no_such_subset(tmp_path):
    with pytest.raises(
        errors.DatasetError,
        match="Manifest: column subset is none of train, .*, unlabelled, excluded: amos_0001",
    ):
        cases.read(write(tmp_path / "m.xlsx", subset="other"))


def test_files_are_looked_for_when_asked(tmp_path):
    (case,) = cases.read(write(tmp_path / "m.xlsx", mask="")).cases
    assert case.mask_path is None
    with pytest.raises(errors.DatasetError, match="no file .only_here_v.nii.gz."):
        case.volume_path
    (tmp_path / "only_here_v.nii.gz").touch()
    assert case.volume_path == tmp_path / "only_here_v.nii.gz"


def test_check_leaves_out_and_names(tmp_path):
    (tmp_path / "only_here_v.nii.gz").touch()
    for subset, usable in [("train", False), ("val", False), ("test", True)]:
        selection = cases.read(write(tmp_path / f"{subset}.xlsx", mask="", subset=subset))
        outcome = cases.check(selection, amos22)
        assert [result for _, result in outcome.results] == [usable]
        assert bool(outcome.warnings) != usable and not outcome.failures


def test_relative_paths(tmp_path):
    tmp_path = tmp_path.resolve()
    assert cases.relative(tmp_path / "a b/x", tmp_path / "c/d") == "../../a b/x"
    os.symlink(tmp_path, tmp_path / "link")
    assert cases.relative(tmp_path / "a/x", tmp_path / "link/d") == f"{tmp_path.as_posix()}/a/x"


@pytest.mark.parametrize(
    "scanners, expected",
    [
        (["Prisma", "Achieva"], "MRI"),
        (["Aquilion ONE"], "CT"),
        (["Prisma", "Aquilion ONE"], "CT_or_MRI"),
    ],
)
def test_modality(scanners, expected):
    chosen = [
        cases.Case(str(number), "train", {"manufacturer_model_name": name}, None)
        for number, name in enumerate(scanners)
    ]
    assert cases.modality(chosen, amos22) == expected


def test_unknown_modality():
    case = cases.Case("amos_0001", "train", {"manufacturer_model_name": "UND"}, None)
    with pytest.raises(
        errors.DatasetError, match="neither CT nor MRI by their metadata: amos_0001"
    ):
        cases.modality([case], amos22)


def of(*pairs):
    return [cases.Case(*pair, {"mask": "x"}, None) for pair in pairs]


def test_samples_are_sorted_by_id():
    chosen = of(("3", "val"), ("2", "train"), ("1", "train"), ("5", "fold0"), ("4", "test"))
    assert list(map(str, cases.training(chosen))) == ["1", "2", "3", "5"]
    assert list(map(str, cases.of_subset(chosen, "train"))) == ["1", "2"]
    with pytest.raises(errors.DatasetError, match="no training sample with a mask"):
        cases.training(chosen[:1])


@pytest.mark.parametrize(
    "pairs, message",
    [
        ([("a", "fold0")], "in fold0; expected fold0, fold1"),
        ([("a", "fold0"), ("b", "fold2")], "in fold0, fold2; expected fold0, fold1"),
        ([("a", "fold1"), ("b", "fold2")], "in fold1, fold2; expected fold0, fold1"),
    ],
)
def test_folds_are_numbered_from_0(pairs, message):
    with pytest.raises(errors.DatasetError, match=message):
        cases.cross_validation(of(*pairs), 5, amos22)


def test_a_split_has_folds_of_its_own():
    chosen = of(("a", "fold1"), ("b", "fold0"), ("c", "fold1"))
    assert cases.cross_validation(chosen, 5, amos22) == {"a": 1, "b": 0, "c": 1}


def test_without_folds_whole_patients_are_dealt():
    rows = {key: {"birth_date": "19500101", "sex": sex} for key, sex in zip("abcd", "MFMF")}
    chosen = [cases.Case(key, "train", row, None) for key, row in rows.items()]
    dealt = cases.cross_validation(chosen, 2, amos22)
    assert dealt["a"] == dealt["c"] != dealt["b"] == dealt["d"]

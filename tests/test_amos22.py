"""The facts of AMOS22."""

import re

import labelled_cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.facts import amos22


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("imagesTr/amos_0001.nii.gz", ("train", "0001", "v3d")),
        ("imagesVa/amos_0002.nii.gz", ("val", "0002", "v3d")),
        ("imagesTs/amos_0600.nii.gz", ("test", "0600", "v3d")),
        ("labelsTr/amos_0001.nii.gz", ("train", "0001", "m3d")),
        ("labelsVa/amos_0002.nii.gz", ("val", "0002", "m3d")),
        ("labelsTs/amos_9999.nii.gz", ("test", "9999", "m3d")),
        ("a b/größe/labelsTr/amos_0003.nii.gz", ("train", "0003", "m3d")),
    ],
)
def test_archive_files_are_known_by_folder_and_name(path, expected):
    columns = amos22.classify(path)
    assert (columns["subset"], columns["seq"], columns["type"]) == expected
    assert amos22.sample_name(columns) == f"amos_{expected[1]}"


@pytest.mark.parametrize(
    "path",
    [
        "amos_0001.nii.gz",
        "imagesTr/amos_001.nii.gz",
        "imagesTr/amos_00001.nii.gz",
        "imagesTr/amos_0001.nii",
        "imagesTr/amos_0001.nii.gz.txt",
        "imagesTr/xamos_0001.nii.gz",
        "imagesTr/amos_٠٠٠١.nii.gz",
        "imagesTr/deep/amos_0001.nii.gz",
        "imagestr/amos_0001.nii.gz",
        "imagesTr/amos_0001.nii.gz\n",
        "imagesTr/._amos_0001.nii.gz",
    ],
)
def test_other_files_are_not_classified(path):
    assert amos22.classify(path) is None


def test_the_two_scanner_sets_are_apart():
    assert len(amos22.CT_SCANNERS) == 5
    assert len(amos22.MRI_SCANNERS) == 4
    assert not amos22.CT_SCANNERS & amos22.MRI_SCANNERS


ROW = {
    **dict.fromkeys(amos22.ARCHIVE_COLUMNS, ""),
    "file_path": "a/imagesTr/amos_0004.nii.gz",
    "subset": "train",
    "seq": "4",
    "type": "v3d",
    "manufacturer_model_name": "Prisma",
}


def test_empty_metadata_are_undefined_and_nothing_else_is():
    plain = amos22.plain_row(ROW)
    told = {"manufacturer_model_name": "Prisma"}
    assert {key: plain[key] for key in amos22.METADATA} == dict.fromkeys(
        amos22.METADATA, "UND"
    ) | told
    assert plain["seq"] == "0004" and plain["szx"] == ""


@pytest.mark.parametrize("path", [" a/imagesTr/amos_0004.nii.gz", "a /imagesTr/amos_0004.nii.gz"])
def test_the_name_of_a_folder_may_have_blanks(path):
    assert amos22.plain_row({**ROW, "file_path": f"{path}\u00a0"})["file_path"] == path


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(("type", *amos22.INFO_KEYS)),
    st.text(max_size=8) | st.sampled_from(["TRUE", "male", "62", "1/2/93", "..", "F/..", "4.0"]),
)
def test_any_cell_makes_a_plain_row_or_is_refused_by_name(key, text):
    try:
        plain = amos22.plain_row({**ROW, key: text})
    except errors.DatasetError as error:
        assert str(error).startswith(f"{key} is {text!r} in the manifest's row of 'a/imagesTr")
        assert [case.code for case in error.cases] == ["manifest"]
        return
    assert amos22.plain_row(plain) == plain
    assert plain["sex"] in ("M", "F", "UND") and plain["subset"] in amos22.SUBSETS
    assert re.fullmatch("[0-9]{4}", plain["seq"])


@pytest.mark.parametrize(
    ("sex", "present", "found"),
    [
        ("F", {0, 15}, "15"),
        ("F", {0, 15, 16}, "15"),
        ("F", {0, 16}, None),
        ("M", {0, 16}, "16"),
        ("M", {0, 15, 16}, "16"),
        ("M", {0, 15}, None),
        ("UND", {0, 16}, None),
        (None, {0, 15, 16}, None),
    ],
)
def test_organs_of_the_other_sex(sex, present, found):
    info = {} if sex is None else {"sex": sex}
    faults = amos22.mask_faults(info, present, "m.nii.gz")
    assert [fault.found for fault in faults] == ([] if found is None else [found])
    assert all(fault.file == "m.nii.gz" and fault.code == "sex" for fault in faults)


@pytest.mark.parametrize("sex", ["UND", ""])
def test_label_15_of_an_unknown_sex_is_a_warning(sex):
    with pytest.warns(errors.DataWarning, match="m: label 15 and an unknown sex"):
        assert amos22.mask_faults({"sex": sex}, {15}, "m") == []


def test_all_cells_without_a_form_are_told_at_once():
    changes = {"seq": "x", "birth_date": "1/6/93", "acquisition_date": "2/6/93", "type": "v4d"}
    with pytest.raises(errors.DatasetError) as caught:
        amos22.plain_row({**ROW, **changes})
    told = [str(case).split(" is ")[0] for case in caught.value.cases]
    assert told == ["type", "seq", "birth_date", "acquisition_date"]
    assert {case.code for case in caught.value.cases} == {"manifest"}


@pytest.mark.parametrize("scanner", ["Prisma", " Prisma\u00a0"])
def test_a_row_belongs_to_the_scanners_of_its_cell_without_blanks(scanner):
    row = {**ROW, "manufacturer_model_name": scanner}
    assert amos22.modality(row) == "MRI" and amos22.modality({}) is None
    assert amos22.of_scanners(amos22.MRI_SCANNERS)(row)
    assert not amos22.of_scanners(amos22.CT_SCANNERS)(row)


def test_a_manifest_without_any_scanner_is_refused():
    unknown = [{**ROW, "manufacturer_model_name": text} for text in ("", "UND", " UND\u00a0")]
    with pytest.raises(errors.DatasetError, match="m.xlsx: it knows no scanner at all"):
        amos22.check_manifest(unknown, "m.xlsx")
    amos22.check_manifest([*unknown, ROW], "m.xlsx")
    amos22.check_manifest([], "m.xlsx")


def test_columns_are_those_of_the_contract_in_order():
    assert " ".join(amos22.ARCHIVE_COLUMNS) == (
        "file_path subset seq type szx szy szz spx spy spz orientation_from orientation_to dtype "
        "transform diff_trans_f_norm birth_date sex age manufacturer_model_name manufacturer "
        "acquisition_date site"
    )
    assert amos22.INFO_KEYS == (
        "subset",
        "seq",
        "birth_date",
        "sex",
        "age",
        "manufacturer_model_name",
        "manufacturer",
        "acquisition_date",
        "site",
    )


GRID = (0.82029998, 1.10000002, 0.82029998)


@pytest.mark.parametrize("scanner", ["Prisma", "Ingenia", "Achieva"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_the_grid_of_the_signa_hde_belongs_to_no_other_mri_scanner(scanner, order):
    spacing = tuple(GRID[place] for place in order)
    shown = " x ".join(f"{step:.4g}" for step in spacing)
    assert amos22.scanner_faults({"manufacturer_model_name": scanner}, spacing, 100.0) == [
        f"{scanner} by the metadata, but the grid {shown} mm is that of the SIGNA HDe."
    ]


@pytest.mark.parametrize(
    "scanner", ["SIGNA HDe", " SIGNA HDe ", "UND", "", None, *sorted(amos22.CT_SCANNERS)]
)
def test_the_grid_is_right_for_its_own_scanner_and_says_nothing_of_ct_and_unknown_ones(scanner):
    row = {} if scanner is None else {"manufacturer_model_name": scanner}
    assert amos22.scanner_faults(row, GRID, 100.0) == []


@pytest.mark.parametrize(
    ("off_mm", "is_it"), [(0.0009, True), (-0.0009, True), (0.0012, False), (-0.0012, False)]
)
def test_a_grid_is_the_same_within_a_thousandth_of_a_millimetre(off_mm, is_it):
    row = {"manufacturer_model_name": "Prisma"}
    for place in range(3):
        spacing = [0.8203, 1.1, 0.8203]
        spacing[place] += off_mm
        assert bool(amos22.scanner_faults(row, spacing, 100.0)) is is_it


@pytest.mark.parametrize(
    "scanner", [*sorted(amos22.CT_SCANNERS | amos22.MRI_SCANNERS), "New", "UND"]
)
def test_scaled_values_belong_to_philips_scanners(scanner):
    row = {"manufacturer_model_name": scanner}
    assert amos22.scanner_faults(row, (1.0, 1.0, 3.0), 32767.0) == []
    found = amos22.scanner_faults(row, (1.0, 1.0, 3.0), 170646.98)
    assert bool(found) is (scanner in ("Prisma", "SIGNA HDe"))
    if found:
        assert found == [
            f"{scanner} by the metadata, but values up to 170647, as only Philips scanners scale "
            "them; expected at most 32767."
        ]


@labelled_cases.needed
def test_of_all_labelled_scans_five_are_of_another_scanner_than_the_table_says():
    found = {
        name[-4:]: amos22.scanner_faults(row, labelled_cases.spacing(case), float(case["raw_max"]))
        for name, (case, row) in labelled_cases.read().items()
    }
    flagged = {seq: texts for seq, texts in found.items() if texts}
    assert {*flagged} == {"0517", "0518", "0578", "0588", "0590"}
    assert all("grid" in text for seq in ("0578", "0588", "0590") for text in flagged[seq])
    assert all("values up to" in text for seq in ("0517", "0518") for text in flagged[seq])
    assert [len(texts) for texts in flagged.values()] == [1] * 5

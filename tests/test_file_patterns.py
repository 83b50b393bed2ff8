"""File name patterns with named groups, and texts made of columns."""

import pytest

from utils.facts import file_patterns

VOLUME = ("seq", "subset", "patient", "channel")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("volume-{seq}.nii.gz", "volume-7.nii.gz", {"seq": "7"}),
        ("volume-{seq}.nii.gz", "volumes 0-49.zip/volume-49.nii.gz", {"seq": "49"}),
        ("volume-{seq}.nii.gz", "a/volume-49.nii", {"seq": "49"}),
        ("volume-{seq}.nii.gz", "a/myvolume-49.nii.gz", None),
        ("volume-{seq}.nii.gz", "a/volume-49.nii.gz.part", None),
        ("volume-{seq}.nii.gz", "a/volume-.nii.gz", None),
        ("volume-{seq}.nii.gz", "a/Volume-1.nii.gz", None),
        ("volume-{seq}.nii.gz", "a/volume-1xniixgz", None),
        ("volume-{seq}.nii.gz", "volume-1.nii.gz/x.nii.gz", None),
        ("case_{seq}/imaging.nii.gz", "kits/data/case_00160/imaging.nii.gz", {"seq": "00160"}),
        ("case_{seq}/imaging.nii.gz", "kits/data/x_case_00160/imaging.nii.gz", None),
        ("case_{seq}/imaging.nii.gz", "case_00160/deep/imaging.nii.gz", None),
        # The volume's name would fit the mask's pattern if a group took the _ as well.
        ("FLARE22_Tr_{seq}.nii.gz", "FLARE22_Tr_0001_0000.nii.gz", None),
        ("FLARE22_Tr_{seq:[0-9]+_[0-9]+}.nii.gz", "FLARE22_Tr_01_00.nii.gz", {"seq": "01_00"}),
        (
            "images{subset:Tr|Ts}/{seq:[a-z]+_[0-9]{3}}.nii.gz",
            "Task03_Liver/imagesTr/liver_012.nii.gz",
            {"subset": "Tr", "seq": "liver_012"},
        ),
        ("images{subset:Tr|Ts}/{seq}.nii.gz", "imagesVa/1.nii.gz", None),
        ("{seq}/pat_{seq}.nii.gz", "a/12/pat_12.nii.gz", {"seq": "12"}),
        ("{seq}/pat_{seq}.nii.gz", "a/12/pat_13.nii.gz", None),
        ("a.b+c ({seq}).nii.gz", "a.b+c (3).nii.gz", {"seq": "3"}),
        ("a.b+c ({seq}).nii.gz", "axb+c (3).nii.gz", None),
        ("Bäuche/{seq}.nii.gz", "Bäuche/3.nii", {"seq": "3"}),
        ("Ba\u0308uche/{seq}.nii.gz", "B\xe4uche/3.nii", {"seq": "3"}),
        ("B\xe4uche/{seq}.nii.gz", "Ba\u0308uche/3.nii", {"seq": "3"}),
        ("images/{seq:.+}.nii.gz", "images/a b_c.nii.gz", {"seq": "a b_c"}),
        ("images/{seq:.+}.nii.gz", "images/deep/3.nii.gz", None),
        ("images/v{seq:[0-9]*}.nii.gz", "images/v.nii.gz", None),
        ("aggregated_seg.nii.gz", "case_1/aggregated_seg.nii", {}),
        ("{seq}.nii.gz", "line\nbreak/3.nii.gz", {"seq": "3"}),
    ],
)
def test_a_pattern_fits_the_end_of_a_path_in_whole_parts(text, path, expected):
    assert file_patterns.Pattern(text).match(path) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{seq}.nii.gz", ""),
        ("{subset:Tr|Ts}/{seq:[0-9]{4}}_{channel}.nii.gz", ""),
        ("volume.nii.gz", "has no group {seq}, which tells the samples apart"),
        (
            "{sequence}_{seq}.nii.gz",
            "has the group {sequence}, expected one of seq, subset, patient, channel",
        ),
        ("{seq.nii.gz", "has { or } outside of a group such as {seq} or {seq:[0-9]+}"),
        ("{seq:}.nii.gz", "has { or } outside of a group such as {seq} or {seq:[0-9]+}"),
        ("{seq}", "does not end in .nii.gz (which stands for .nii, too)"),
        ("{seq}.nii", "does not end in .nii.gz (which stands for .nii, too)"),
        ("/data/{seq}.nii.gz", "is no relative path of plain parts"),
        ("../{seq}.nii.gz", "is no relative path of plain parts"),
        ("a//{seq}.nii.gz", "is no relative path of plain parts"),
        (
            "{seq:(?P<kind>a)?[0-9]+}.nii.gz",
            "has a regular expression with named groups of its own, expected (?:...)",
        ),
    ],
)
def test_a_pattern_says_what_is_wrong_with_it(text, fault):
    assert file_patterns.Pattern(text).fault(VOLUME) == fault


def test_a_pattern_of_files_that_nobody_needs_tells_no_samples_apart():
    assert file_patterns.Pattern("instances/{any:.+}.nii.gz").fault(("any",), needed="") == ""


def test_a_regular_expression_that_is_none_is_a_fault():
    fault = file_patterns.Pattern("{seq:[0-9}.nii.gz").fault(VOLUME)
    assert fault.startswith("has no valid regular expression: ")


def test_the_groups_of_a_pattern_are_in_its_order_each_once():
    assert file_patterns.Pattern("{subset}/{seq}/{seq}.nii.gz").groups == ["subset", "seq"]


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("{seq}", {"seq": "0004"}, "0004"),
        ("ct-org_{seq:0>3}", {"seq": "7"}, "ct-org_007"),
        ("ct-org_{seq:0>3}", {"seq": "1234"}, "ct-org_1234"),
        ("{patient}_{seq}", {"seq": "1", "patient": "{seq}"}, "{seq}_1"),
    ],
)
def test_a_template_takes_its_columns(text, values, expected):
    assert file_patterns.Template(text).of(values) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{seq:0>3}_{patient}", ""),
        ("{id}", "has the column {id}, expected one of seq, patient"),
        ("{seq:03}", "has { or } outside of a column such as {seq} or {seq:0>3}"),
        ("{seq", "has { or } outside of a column such as {seq} or {seq:0>3}"),
    ],
)
def test_a_template_says_what_is_wrong_with_it(text, fault):
    assert file_patterns.Template(text).fault(("seq", "patient")) == fault


@pytest.mark.parametrize(
    ("template", "seq", "text", "fits"),
    [
        ("ct-org_{seq:0>3}", "[0-9]+", "ct-org_007", True),
        ("ct-org_{seq:0>3}", "[0-9]+", "ct-org_1234", True),
        ("ct-org_{seq:0>3}", "[0-9]+", "btcv_0007", False),
        ("{seq}", "s[0-9]+", "s0000", True),
        ("{seq}", "s[0-9]+", "case_00000", False),
        ("{seq}", "s[0-9]+", "a_s0000", False),
        ("{seq:0>3}", "[1-9][0-9]*", "007", True),
        ("flare22_{subset}_{seq}", "[0-9]+", "flare22_train_0001", True),
        ("{patient}_{seq}_{seq:0>4}", "[0-9]+", "p_7_0007", True),
        ("{seq}", r"(a|b)\2", "anything", True),
    ],
)
def test_a_text_may_be_made_of_a_template(template, seq, text, fits):
    assert file_patterns.Template(template).fits(text, {"seq": seq}) is fits


def test_the_expression_of_a_group():
    pattern = file_patterns.Pattern("{subset:Tr|Ts}/{seq:[0-9]+}/{patient}_{seq}.nii.gz")
    found = [pattern.expression_of(name) for name in ("seq", "subset", "patient", "channel")]
    assert found == ["[0-9]+", "Tr|Ts", file_patterns.DEFAULT, ".+"]

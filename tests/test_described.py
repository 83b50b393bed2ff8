"""The facts of a data set that a page describes."""

import pickle

import numpy as np
import pytest

from utils import errors
from utils.facts import described, patients

PAGE = """
name: Liver-set
licence: CC BY 4.0
creators: [A. Person, B. Person]
published: 2024-05-06
notes: Labels of the lungs are an algorithm's.
files:
  volume: "images{subset:Tr|Ts|Xx}/{seq}_{channel}.nii.gz"
  mask: "labels{subset:Tr|Ts|Xx}/{seq}.nii.gz"
  channel: "0000"
id: liver_{seq:0>3}
folder: "{subset}/{site}/{id}"
labels: {2: lungs, 0: background, 1: liver}
split: {by: folder, subsets: {Tr: train, Ts: test}}
labelled_subsets: train
modality: {column: scan}
metadata:
  file: "*.csv"
  key: case
  separator: ";"
  columns: {sex: gender, site: hospital, scan: Modality}
  patient: subject
slice_axis: 1
known_faults: faults.csv
"""
ORGANS = """
name: Organ-set
files: {volume: "{seq}/ct.nii.gz", mask: "{seq}/organs/{organ}.nii.gz"}
labels: {0: background, 1: liver, 2: left kidney}
overlap: [left_kidney, liver]
split: {by: ids, subsets: {val: 10-12, train: "0-9, 13"}}
modality: MR
"""
SHORT = """
name: Two-folders
files: {volume: "images/{seq}.nii.gz", mask: "labels/{seq}.nii.gz"}
labels: {0: background, 1: liver}
modality: CT
"""


@pytest.fixture(name="read")
def read_page(tmp_path):
    (tmp_path / "faults.csv").write_text(
        "id,kind,what,evidence\nliver_007,damaged,cut off,seen\n", encoding="utf-8"
    )

    def read(text, *changes):
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "dataset.yaml").write_text(text, encoding="utf-8")
        return described.read(tmp_path / "dataset.yaml")

    return read


def row_of(facts, path, **told):
    row = dict.fromkeys(facts.ARCHIVE_COLUMNS, "") | facts.classify(path)
    return {**row, "file_path": path, **told}


def test_a_page_gives_all_facts(read, tmp_path):
    facts = read(PAGE)
    assert (facts.NAME, facts.LICENCE, facts.PUBLISHED) == ("Liver-set", "CC BY 4.0", "2024-05-06")
    assert facts.CREATORS == ("A. Person", "B. Person")
    assert facts.NOTES == ("Labels of the lungs are an algorithm's.",)
    assert list(facts.LABELS.items()) == [(0, "background"), (1, "liver"), (2, "lungs")]
    assert facts.SUBSETS == ("train", "test") and facts.LABELLED_SUBSETS == ("train",)
    assert facts.EXAMPLE_FILE == "images{subset:Tr|Ts|Xx}/{seq}_{channel}.nii.gz"
    assert facts.KNOWN_FAULTS == str(tmp_path / "faults.csv")
    assert facts.PATIENT_KEYS == ("patient_id",)
    assert facts.INFO_KEYS == facts.DATASET_KEYS
    assert facts.INFO_KEYS == ("subset", "seq", "patient_id", "sex", "site", "scan")
    assert facts.ARCHIVE_COLUMNS == (
        *("file_path", "subset", "seq", "patient_id", "type", "szx", "szy", "szz", "spx", "spy"),
        *("spz", "orientation_from", "orientation_to", "dtype", "transform"),
        *("diff_trans_f_norm", "sex", "site", "scan"),
    )
    assert facts.table == described.Table(
        "*.csv",
        "case",
        {"sex": "gender", "site": "hospital", "scan": "Modality", "patient_id": "subject"},
        ";",
    )
    assert facts.slice_axis(np.eye(4)) == 1


def test_the_shortest_page_has_defaults(read):
    facts = read(SHORT)
    assert (facts.LICENCE, facts.CREATORS, facts.NOTES, facts.KNOWN_FAULTS) == ("", (), (), "")
    assert facts.SUBSETS == facts.LABELLED_SUBSETS == ("train",)
    columns = facts.classify("a/images/p7.nii.gz")
    assert columns == {"seq": "p7", "type": "v3d"}
    assert facts.subset(columns) == "train" and facts.sample_name(columns) == "p7"
    assert str(facts.sample_dir({"subset": "train", "seq": "p7"})) == "train/p7"
    assert facts.modality({}) == "CT" and facts.PATIENT_KEYS == ()


def test_described_facts_can_be_pickled(read):
    facts = read(PAGE)
    assert pickle.loads(pickle.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x/imagesTr/7_0000.nii.gz", {"seq": "7", "type": "v3d", "subset": "train"}),
        ("imagesTs/7_0000.nii", {"seq": "7", "type": "v3d", "subset": "test"}),
        ("labelsTr/7.nii.gz", {"seq": "7", "type": "m3d", "subset": "train"}),
        ("imagesTr/7_0001.nii.gz", None),
        ("imagesXx/7_0000.nii.gz", None),
        ("imagesTr/7.nii.gz", None),
        ("readme.txt", None),
    ],
)
def test_files_are_told_by_the_patterns(read, path, expected):
    facts = read(PAGE)
    assert facts.classify(path) == expected
    if expected:
        assert facts.subset(expected) == expected["subset"]
        assert facts.sample_name(expected) == "liver_007"


def test_what_fits_and_is_none_of_the_set_is_told_with_the_reason(read):
    paths = ["imagesTr/7_0001.nii.gz", "imagesXx/8_0000.nii.gz", "other.nii.gz"]
    assert read(PAGE).left_out(paths) == {
        "channel 0001, not 0000": ["imagesTr/7_0001.nii.gz"],
        "subset 'Xx', none of split.subsets": ["imagesXx/8_0000.nii.gz"],
    }


def test_a_file_that_fits_volume_and_mask_is_a_mistake_of_the_page(read):
    facts = read(SHORT, ("labels/{seq}", "{subset}/{seq}"))
    assert facts.classify("labels/1.nii.gz")["type"] == "m3d"
    with pytest.raises(errors.DatasetError) as caught:
        facts.classify("images/1.nii.gz")
    assert str(caught.value) == (
        f"{facts.PAGE}: files: images/1.nii.gz fits patterns of volumes and of masks: "
        "images/{seq}.nii.gz and {subset}/{seq}.nii.gz"
    )


@pytest.mark.parametrize(
    ("seq", "subset"), [("0", "train"), ("012", "val"), ("13", "train"), ("14", ""), ("x", "")]
)
def test_numbers_tell_the_subset(read, seq, subset):
    facts = read(ORGANS)
    assert facts.SUBSETS == ("train", "val")
    assert facts.subset(facts.classify(f"{seq}/ct.nii.gz")) == subset


def test_organs_have_a_file_each(read):
    facts = read(ORGANS)
    assert facts.has_organs and facts.OVERLAP == ("left kidney", "liver")
    assert facts.classify("7/organs/left_kidney.nii.gz") is None
    facts = read(ORGANS, ("{organ}", "{organ:[a-z_]+}"))
    found = facts.classify("7/organs/left_kidney.nii.gz")
    assert found == {"seq": "7", "type": "m3d", "organ": "left_kidney"}
    assert facts.classify("7/ct.nii.gz") == {"seq": "7", "type": "v3d", "organ": ""}
    row = row_of(facts, "7/organs/left_kidney.nii.gz", subset="train")
    assert facts.plain_row(row)["organ"] == "left_kidney"
    with pytest.raises(errors.DatasetError, match="organ is 'spleen' .* background, liver, left_k"):
        facts.plain_row({**row, "organ": "spleen"})


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("MR", "MRI"), (" mri", "MRI"), ("CT", "CT"), ("ct ", "CT"), ("PET", None), ("", None)],
)
def test_a_column_tells_the_modality(read, cell, expected):
    assert read(PAGE).modality({"scan": cell}) == expected
    assert read(PAGE).modality({}) is None


def test_numbers_tell_the_modality(read):
    facts = read(SHORT, ("modality: CT", "modality: {ids: {CT: 1-500, MR: 501-600}}"))
    assert [facts.modality({"seq": seq}) for seq in ("0500", "501", "601", "a")] == [
        *("CT", "MRI", None, None)
    ]
    assert read(ORGANS).modality({}) == "MRI"


@pytest.mark.parametrize(
    ("affine", "axis"),
    [
        (np.diag([0.7, 0.7, 5, 1]), 2),
        (np.diag([-0.7, 0.7, -5, 1]), 2),
        (np.array([[0, 0, 1, 0], [0, 2, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1.0]]), 0),
        (np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1.5, 0, 0], [0, 0, 0, 1.0]]), 1),
    ],
)
def test_slices_lie_across_head_and_foot(read, affine, axis):
    assert read(SHORT).slice_axis(affine) == axis


def test_a_row_is_mended_where_that_is_safe(read):
    facts = read(
        PAGE,
        ("images{subset:Tr|Ts|Xx}/", "{subset:Tr|Ts}-{patient}/"),
        ("labels{subset:Tr|Ts|Xx}/", "masks{subset:Tr|Ts}-{patient}/"),
    )
    path = "x/Tr-0012/007_0000.nii.gz"
    told = {"seq": "7", "patient_id": "12.0", "sex": "female ", "site": "", "scan": " CT"}
    plain = facts.plain_row(row_of(facts, path, **told))
    assert {key: plain[key] for key in facts.INFO_KEYS} == {
        "subset": "train",
        "seq": "007",
        "patient_id": "0012",
        "sex": "F",
        "site": "UND",
        "scan": "CT",
    }
    assert str(facts.sample_dir(plain)) == "train/UND/liver_007" and facts.row_faults(plain) == []


def test_a_row_with_other_cells_is_named_with_all_of_them(read):
    facts = read(PAGE)
    row = row_of(facts, "imagesTr/7_0000.nii.gz", sex="TRUE", subset="all", type="v4d", seq="a b")
    with pytest.raises(errors.CasesError) as caught:
        facts.plain_row(row)
    place = "in the manifest's row of 'imagesTr/7_0000.nii.gz', expected "
    assert [str(case) for case in caught.value.cases] == [
        f"sex is 'TRUE' {place}M or F, or UND",
        f"type is 'v4d' {place}v3d or m3d",
        f"subset is 'all' {place}train or test",
        f"seq is 'a b' {place}[A-Za-z0-9][A-Za-z0-9_.+-]*",
    ]


@pytest.mark.parametrize(
    "site",
    [
        *("a/b", "..", ".hidden", "", ".", "dot.", "blank ", "a:b", "a\nb", "x" * 101),
        *("con", "Nul.x", "北" * 90),
    ],
)
def test_what_is_no_folder_fails_its_sample(read, site):
    facts = read(PAGE)
    faults = facts.row_faults({"subset": "train", "seq": "7", "site": site})
    assert [fault.code for fault in faults] == ["name"]
    assert "cannot have this name; correct the manifest" in str(faults[0])


@pytest.mark.parametrize("site", ["center 1", "Universitätsklinik", "北京", "a.b", "AS+"])
def test_what_can_be_a_folder_passes(read, site):
    assert read(PAGE).row_faults({"subset": "train", "seq": "7", "site": site}) == []


def test_an_id_that_no_file_can_bear_fails_its_sample(read):
    facts = read(SHORT, ("modality", "id: s{seq}\nmodality"))
    faults = facts.row_faults({"subset": "train", "seq": "7.0"})
    assert str(faults[0]) == "id 's7.0' made of s{seq}, expected [A-Za-z0-9][A-Za-z0-9_-]*"


def test_samples_without_a_patient_column_are_of_nobody_else(read):
    facts = read(SHORT)
    rows = {"a": {}, "b": {}}
    assert patients.group(rows, facts) == {"a": "a", "b": "b"}
    assert patients.unknown(rows, facts) == ["a", "b"]


def test_patients_are_told_by_the_table_or_the_name(read):
    rows = {"a": {"patient_id": "7"}, "b": {"patient_id": "7"}, "c": {"patient_id": "UND"}}
    assert patients.group(rows, read(PAGE)) == {"a": "a", "b": "a", "c": "c"}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("name: Liver-set", "name: Liver set", "name is 'Liver set', expected letters, digits"),
        ("name: Liver-set", "nam: x", "name is missing"),
        (
            "name: Liver-set",
            "name: Liver-set\nnaem: x",
            "naem is no field that is known here; probably meant: name",
        ),
        (
            "name: Liver-set",
            "name: Liver-set\nunsupported: 4-D.",
            "the page says that Liver-set cannot be used: 4-D.",
        ),
        (
            '  channel: "0000"\n',
            "",
            "files.channel is missing; expected the {channel} that is the volume",
        ),
        ("_{channel}", "", "files.channel is '0000', but no pattern of volumes has {channel}"),
        (
            "{seq}_{channel}",
            "{seq}_{organ}",
            "files.volume 'images{subset:Tr|Ts|Xx}/{seq}_{organ}"
            ".nii.gz' has the group {organ}, expected one of seq, subset, patient, channel",
        ),
        (
            '  channel: "0000"\n',
            '  channel: "0000"\n  ignored: "{seq}.nii.gz"\n',
            "files.ignored '{seq}.nii.gz' has the group {seq}, expected one of any",
        ),
        (
            "liver_{seq:0>3}",
            "liver_{patient}",
            "id has the column {patient}, expected one of seq, subset",
        ),
        ("liver_{seq:0>3}", ".{seq}", "id is '.{seq}', expected letters, digits, _ and - beside"),
        ("liver_{seq:0>3}", "x_{subset}", "id is 'x_{subset}', expected {seq} or {patient} in it"),
        ("id: liver_{seq:0>3}", "id: {seq}", "id is {'seq': ''}, expected a text (one that begins"),
        ("licence: CC BY 4.0", 'licence: "CC\\0"', "licence is 'CC\\x00', expected a text"),
        ("faults.csv", "none.csv", "known_faults is 'none.csv', expected the name of a CSV"),
        (
            "{subset}/{site}/{id}",
            "{subset}/../{id}",
            "folder is '{subset}/../{id}', of which '..' cannot be the name of a folder",
        ),
        (
            "{subset}/{site}/{id}",
            "{subset}//{id}",
            "folder is '{subset}//{id}', of which '' cannot be the name of a folder",
        ),
        (
            "{subset}/{site}/{id}",
            "{subset}/{town}/{id}",
            "folder has the column {town}, expected one of subset, id, patient, sex, site, scan",
        ),
        (
            "{subset}/{site}/{id}",
            "{site}/{id}",
            "folder is '{site}/{id}', expected parts among them {subset}, the last {id}",
        ),
        (
            "{2: lungs, 0: background, 1: liver}",
            "{1: liver}",
            "labels: label 0 (background) is missing",
        ),
        (
            "{2: lungs, 0: background, 1: liver}",
            "{0: background, 1: liver, 2: Liver}",
            "labels: the name liver stands twice",
        ),
        (
            "{2: lungs, 0: background, 1: liver}",
            "{0: background, one: liver}",
            "labels: label 'one' found, expected a whole number from 0 to 255",
        ),
        (
            "{2: lungs, 0: background, 1: liver}",
            "{0: background, 256: liver}",
            "labels: label 256 found, expected a whole number from 0 to 255",
        ),
        (
            "{2: lungs, 0: background, 1: liver}",
            "{0: background, 1: a/b}",
            "labels: name 'a/b' of label 1 cannot be part of a file name; expected letters",
        ),
        (
            "by: folder",
            "by: folders",
            "split.by is 'folders', expected folder or ids or column or json or patient",
        ),
        (
            "Ts: test}",
            "Ts: exam}",
            "split.subsets has 'exam', expected train or val or test or unlabelled",
        ),
        ("by: folder", "by: column", "split.column is missing"),
        ("by: folder", "by: json", "split.file is missing"),
        (
            "split: {by: folder, subsets: {Tr: train, Ts: test}}",
            "split: {by: patient, val: 0.5, test: 0.5}",
            "split.val and test leave nothing for train, expected less than 1",
        ),
        (
            "labels{subset:Tr|Ts|Xx}/",
            "labels/",
            "split.by is folder, but not all patterns of files have {subset}",
        ),
        (
            "labelled_subsets: train",
            "labelled_subsets: val",
            "labelled_subsets has 'val', expected train or test",
        ),
        ("{column: scan}", "PET", "modality is 'PET', expected CT or MRI or MR"),
        (
            "{column: scan}",
            "{column: age}",
            "modality.column is 'age', expected one of our names in metadata.columns",
        ),
        ("{column: scan}", "{ids: {PET: 1-2}}", "modality.ids has 'PET', expected CT or MRI or MR"),
        (
            "sex: gender",
            "seq: gender",
            "metadata.columns has 'seq', expected letters, digits and "
            "_, and none of our own columns",
        ),
        ("  key: case\n", "", "metadata.key is missing"),
        ("slice_axis: 1", "slice_axis: 3", "slice_axis is '3', expected a whole number from 0 to"),
        ("slice_axis: 1", "overlap: [liver]", "overlap is of use only with {organ} in files.mask"),
        ("slice_axis: 1", "overlap: [spleen]", "overlap has 'spleen', expected names of labels"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(read, tmp_path, old, new, fault):
    with pytest.raises(errors.DatasetError) as caught:
        read(PAGE, (old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'dataset.yaml'}: {fault}")
    assert "\n" not in str(caught.value)


def test_organs_in_one_mask_pattern_alone_are_a_mistake(read):
    two = 'mask: ["{seq}/organs/{organ}.nii.gz", "{seq}/seg.nii.gz"]}'
    with pytest.raises(errors.DatasetError, match="files.mask has {organ} in one pattern and not"):
        read(ORGANS, ('mask: "{seq}/organs/{organ}.nii.gz"}', two))


def test_a_list_of_faults_that_is_not_there_or_none_is_a_mistake(read, tmp_path):
    with pytest.raises(errors.DatasetError, match="known_faults is 'other.csv', expected the"):
        read(PAGE, ("faults.csv", "other.csv"))
    told = "known_faults is '../faults.csv', expected the name of a CSV file beside the page$"
    with pytest.raises(errors.DatasetError, match=told):
        read(PAGE, ("faults.csv", "../faults.csv"))
    (tmp_path / "faults.csv").write_text("id,kind\n", encoding="utf-8")
    with pytest.raises(errors.DatasetError, match="faults.csv: the list of known faults has the"):
        read(PAGE)

"""The unlabelled scans of AMOS22 from the archive to the lists, as a person takes them."""

import json
import os
import re
import shlex
import shutil

import openpyxl
import pytest
import tiny_amos22
import trees
import unlabelled_archive

from utils import errors
from utils.facts import amos22, amos22_metadata, amos22_table, known_faults
from utils.reader import AMOS22

BY_ID = ("amos_6200", "amos_7000")  # whose metadata were never published
NOTE = "note AMOS22: 5 unlabelled scans are left out; --unlabelled lists them"


@pytest.fixture(name="root")
def tiny_archive(tmp_path):
    unlabelled_archive.build(tmp_path / "root dir")
    return tmp_path / "root dir"


@pytest.fixture(scope="module", name="made")
def finished_data(tmp_path_factory):
    """The data folder after all routines, and what each of them said."""
    root = tmp_path_factory.mktemp("unlabelled") / "root dir"
    unlabelled_archive.build(root)
    results = {trees.SCAN: trees.invoke(trees.SCAN, root, "--unlabelled")}
    for script in unlabelled_archive.STEPS:
        results[script] = trees.invoke(script, root)
        assert results[script].exit_code == 0, results[script].output
    return root, results


@pytest.fixture(name="copied")
def copy_of_it(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "root dir")


def scan(root, *more):
    return trees.invoke(trees.SCAN, root, *more)


def rows(path, sheet="Manifest"):
    header, *lines = openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True)
    return [dict(zip(header, line)) for line in lines]


def scanned(root):
    return rows(root / "descriptor/archive_manifest.xlsx")


def shown(result):
    """All of stderr but the tested note on the shifted ids."""
    return [line for line in result.stderr.splitlines() if "one too low" not in line]


# --- routine 01 ----------------------------------------------------------------------------------


def test_without_the_option_their_number_is_all_that_is_told(root):
    for copy in ("a", "b"):  # doubles among them are nobody's business
        tiny_amos22.put(root / f"archive/{copy}/amos_5900.nii.gz", unlabelled_archive.volume(1))
    (root / "archive/unlabeled_data_meta_5000_5399.csv").write_text("no table")
    result = scan(root)
    assert (result.exit_code, trees.complaints(result), trees.complaints(result, "WARNING")) == (
        (0, [], [])
    )
    assert shown(result) == [f"{NOTE.replace('5', '6', 1)} (docs/unlabelled.md)"]
    assert {row["subset"] for row in scanned(root)} == {"train", "val", "test"}
    assert "unlabelled" not in result.stdout


def test_with_it_they_are_listed_by_their_ids_with_their_own_tables(made):
    root, results = made
    result = results[trees.SCAN]
    assert (result.exit_code, result.stderr.count("WARNING")) == (0, 0)
    assert shown(result) == [
        "note metadata table: the metadata of 2 unlabelled scans were never published and stay "
        "UND: 6200, 7000"
    ]
    found = {row["seq"]: row for row in scanned(root) if row["subset"] == "unlabelled"}
    assert [f"amos_{seq}" for seq in found] == [*unlabelled_archive.UNLABELLED]
    assert {row["type"] for row in found.values()} == {"v3d"}
    assert found["6200"]["file_path"] == "amos22_unlabeled_6200_6899/amos_6200.nii.gz"
    assert [found["5001"][key] for key in amos22.METADATA] == (
        ["19620304", "M", "059Y", "SOMATOM Definition AS+", "SIEMENS", "20190516", "LGPH"]
    )
    assert found["5438"]["age"] == "UND"
    assert {found[seq][key] for seq in ("6200", "7000") for key in amos22.METADATA} == {"UND"}
    assert "unlabelled: 5 volumes, 0 masks" in result.stdout.splitlines()
    # The shifted ids are mended as ever.
    assert {row["sex"] for row in scanned(root) if row["seq"] == "0507"} == {"F"}


def test_damaged_ones_are_named_and_known_only_when_they_are_asked_for(root):
    path = root / "archive/amos_unlabeled_ct_5400_5899/amos_5437.nii.gz"
    path.write_bytes(b"\x1f\x8bcut")
    assert "damaged" not in scan(root).stderr
    result = scan(root, "--unlabelled")
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_unlabeled_ct_5400_5899/amos_5437.nii.gz: ")
    told = "note known faults: damaged: 1 scan, cannot be decompressed (unlabelled archive): "
    assert f"{told}amos_5437" in shown(result)
    assert "5437" not in {row["seq"] for row in scanned(root)}


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (
            ["unlabeled_data_meta_5400_5899.csv"],
            "unlabeled_data_meta_5000_5399.csv: no row for any file from 5438 to 5438; the "
            "metadata of 1 samples are unknown and stay UND; download "
            "unlabeled_data_meta_5400_5899.csv (docs/unlabelled.md) and run this again",
        ),
        (
            ["unlabeled_data_meta_5000_5399.csv", "unlabeled_data_meta_5400_5899.csv"],
            "no unlabeled_data_meta_*.csv below --root_dir or beside it; the metadata of 2 samples "
            "are unknown and stay UND; download unlabeled_data_meta_5000_5399.csv "
            "(docs/unlabelled.md) and run this again",
        ),
    ],
)
def test_a_missing_table_is_named_with_its_download(root, lost, told):
    for name in lost:
        (root / "archive" / name).unlink()
    result = scan(root, "--unlabelled")
    assert result.exit_code == 1
    first, *_ = lines = trees.complaints(result)
    assert first.startswith("FAILED metadata table: ") and first.endswith(told)
    assert len(lines) == len(lost)
    assert len(scanned(root)) == 12


def test_a_missing_row_is_named(root):
    path = root / "archive/unlabeled_data_meta_5000_5399.csv"
    unlabelled_archive.write_table(path, unlabelled_archive.TABLES[path.name][0])
    result = scan(root, "--unlabelled")
    tables = [str(root / f"archive/{name}") for name in sorted(unlabelled_archive.TABLES)[1:]]
    assert (result.exit_code, trees.complaints(result)) == (
        1,
        [f"FAILED amos_5001: {', '.join(tables)}: no row for it; its metadata stay UND"],
    )
    assert trees.complaints(result, "WARNING") == [
        "WARNING metadata table: the metadata of 1 samples are unknown and stay UND; download "
        "unlabeled_data_meta_5000_5399.csv (docs/unlabelled.md) and run this again"
    ]


def test_one_table_of_the_user_may_hold_them_all(root):
    tables = [row for table in unlabelled_archive.TABLES.values() for row in table]
    for name in unlabelled_archive.TABLES:
        (root / "archive" / name).unlink()
    mine = root / "mine.csv"
    unlabelled_archive.write_table(mine, *tables, "7000,19800101,M,040Y,Prisma,SIEMENS,,x")
    result = scan(root, "--unlabelled", "--labeled_data_meta", mine)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    by_seq = {row["seq"]: row for row in scanned(root)}
    assert by_seq["7000"]["manufacturer_model_name"] == "Prisma"  # not shifted to 7001
    assert by_seq["5000"]["sex"] == "F" and by_seq["0507"]["sex"] == "F"
    assert "of 1 unlabelled scans were never published and stay UND: 6200" in result.stderr


def test_doubles_among_them_fail_when_they_are_asked_for(root):
    tiny_amos22.put(root / "archive/again/amos_5000.nii.gz", unlabelled_archive.volume(1))
    result = scan(root, "--unlabelled")
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_5000: 2 v3d files, expected one; all left out: ")


def test_an_archive_of_nothing_else_needs_the_option(root):
    shutil.rmtree(root / "archive/amos22")
    result = scan(root)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(
        "; left out: 5 unlabelled files (--unlabelled takes them)"
    )
    assert scan(root, "--unlabelled").exit_code == 0
    assert trees.invoke(trees.PAIR_MRI, root).exit_code == 0
    assert sorted(os.listdir(root / "grouped/AMOS-MRI")) == ["test", "train", "unlabelled", "val"]


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seq", "modality"),
    [
        *(("5000", "CT"), ("6899", "CT"), ("6900", None), ("6999", None), ("7000", "MRI")),
        *(("8199", "MRI"), ("8200", None), ("4999", None), ("0600", None), ("5000.0", "CT")),
    ],
)
def test_the_id_decides_in_any_other_folder(seq, modality):
    columns = amos22.classify(f"any folder/amos_{seq}.nii.gz")
    assert (columns and columns["subset"]) == ("unlabelled" if modality and len(seq) == 4 else None)
    for scanner in ("UND", "New", "Brilliance 64"):
        row = {"seq": seq, "manufacturer_model_name": scanner}
        assert amos22.modality(row) == modality
        for name, scanners in (("CT", amos22.CT_SCANNERS), ("MRI", amos22.MRI_SCANNERS)):
            assert amos22.of_scanners(scanners)(row) == (modality in (name, None))
    swapped = {"seq": seq, "manufacturer_model_name": "Prisma"}
    assert amos22.modality(swapped) == (modality or "MRI")


def test_the_folders_with_a_name_keep_their_word_for_any_id():
    assert amos22.classify("imagesTr/amos_5000.nii.gz")["subset"] == "train"
    assert amos22.classify("labelsVa/amos_7000.nii.gz")["type"] == "m3d"


@pytest.mark.parametrize(
    "scanner", ["Brilliance 64", "iCT 256", "SOMATOM Definition AS+", "LightSpeed VCT", "UND"]
)
def test_scanners_of_neither_set_are_no_fault_of_theirs(scanner):
    assert amos22.row_faults({"seq": "5000", "manufacturer_model_name": scanner}) == []
    (fault,) = amos22.row_faults({"seq": "0400", "manufacturer_model_name": scanner})
    assert str(fault).startswith(f"scanner {scanner!r} is none of those known; ")


@pytest.mark.parametrize(
    "scanner",
    [
        *("a/b", "..", ".", ".hidden", "iCT.", "iCT ", "a\x01b", "a\\b", "a:b", "a|b", 'a"b'),
        *("a?", "a*b", "<a>", "CON", "nul.x", "COM1", "x" * 256, "ä" * 128),
    ],
)
def test_a_scanner_that_cannot_be_a_folder_is_named(scanner):
    (fault,) = amos22.row_faults({"seq": "5000", "manufacturer_model_name": scanner})
    assert (str(fault), fault.code, fault.found) == (
        f"scanner {scanner!r} cannot be the name of a folder; correct manufacturer_model_name in "
        "the manifest",
        "scanner",
        scanner,
    )


def test_a_manifest_of_unlabelled_scans_alone_is_not_refused():
    unknown = {"manufacturer_model_name": "UND"}
    amos22.check_manifest([{"seq": "6200", **unknown}], "m.xlsx")
    with pytest.raises(errors.DatasetError, match="knows no scanner at all"):
        amos22.check_manifest([{"seq": "6200", **unknown}, {"seq": "4", **unknown}], "m.xlsx")


def joined(tmp_path, *rows):
    path = tmp_path / "table.csv"
    unlabelled_archive.write_table(path, *rows)
    return amos22_table.Metadata([amos22_table.read(path)])


def test_their_rows_have_no_part_in_mending_the_mri_ids(tmp_path):
    row = "19600102,F,062Y,{},X,20200514,x"
    theirs = [f"{seq},{row.format(scanner)}" for seq, scanner in ((7000, "Prisma"), (5000, "UND"))]
    metadata = joined(tmp_path, *theirs, f"7001,{row.format('Achieva')}")
    assert (metadata.notes, metadata.warnings, metadata.faults) == ([], [], [])
    assert metadata.of("7001")["manufacturer_model_name"] == "Achieva"
    shifted = joined(tmp_path, f"500,{row.format('Ingenia')}", *theirs, f"6999,{row.format('a')}")
    assert shifted.is_mended and "of 1 MRI rows" in shifted.notes[0]
    assert shifted.of("0501")["manufacturer_model_name"] == "Ingenia"
    assert shifted.of("7000")["manufacturer_model_name"] == "Prisma"
    # Where nothing is known of the labelled MRI rows, theirs stay as they are.
    both = [f"{seq},{row.format('Prisma')}" for seq in (500, 600, 7000)]
    unclear = joined(tmp_path, *both)
    assert [name for name, _ in unclear.faults] == ["metadata table"]
    assert unclear.of("7000")["sex"] == "F" and unclear.of("0600")["sex"] == "UND"


def test_two_rows_for_one_of_them_contradict(tmp_path):
    row = "5000,19600102,{},062Y,Prisma,X,20200514,x"
    metadata = joined(tmp_path, row.format("F"), row.format("M"), row.format("F"))
    ((name, error),) = metadata.faults
    assert name == "amos_5000" and "2 different rows for it (sex F or M)" in str(error)
    assert metadata.of("5000")["sex"] == "UND"


def test_contradictions_about_scans_that_are_not_at_hand_are_no_fault(root):
    path = root / "archive" / unlabelled_archive.LABELLED_TABLE
    row = "{},19600102,{},062Y,Prisma,X,20200514,x"
    more = [row.format(number, sex) for number in (5000, 7100) for sex in "FM"]
    unlabelled_archive.write_table(path, *unlabelled_archive.TABLES[path.name], *more)
    result = scan(root)
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    result = scan(root, "--unlabelled")
    (line,) = trees.complaints(result)
    assert result.exit_code == 1 and line.startswith("FAILED amos_5000: the metadata table has 3 ")


def test_nothing_is_lacking_where_nothing_is_at_hand():
    tables = amos22_metadata.Tables(lambda pattern: [], [])
    assert tables.lack([], "x") == amos22_metadata.Lack()


# --- routines 02 to 07 ---------------------------------------------------------------------------


def test_they_lie_below_a_folder_of_their_own(made):
    root, results = made
    assert {
        path.relative_to(root / "grouped").as_posix()
        for path in (root / "grouped").glob("*/unlabelled/*/*")
    } == {
        "AMOS-CT/unlabelled/Brilliance 64/amos_5000_F",
        "AMOS-CT/unlabelled/SOMATOM Definition AS+/amos_5001_M",
        "AMOS-CT/unlabelled/Aquilion ONE/amos_5438_F",
        "AMOS-CT/unlabelled/UND/amos_6200_UND",
        "AMOS-MRI/unlabelled/UND/amos_7000_UND",
    }
    summary = "Samples: train 1, val 1, test 1, unlabelled 4"
    assert summary in results[trees.PAIR_CT].stdout.splitlines()
    for script in unlabelled_archive.STEPS[:-1]:
        assert results[script].stderr == ""
    assert len(trees.binary_masks(root, "amos_0001")) == 17
    assert trees.binary_masks(root, "amos_5000") == []


@pytest.mark.parametrize("script", [trees.DENOISE, trees.DETECT])
def test_denoising_and_detection_pass_them_by(copied, script):
    before = trees.identities(copied / "grouped")
    result = trees.invoke(script, copied)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "samples: 3 done" in result.stdout or "in 3 samples" in result.stdout
    changed = trees.rewritten(before, trees.identities(copied / "grouped"))
    assert not [name for name in changed if "unlabelled" in name]


def test_zips_give_the_same_tree(made, root):
    unlabelled_archive.zip_up(root)
    scan(root)
    result = scan(root, "--unlabelled")
    assert result.exit_code == 0, result.output
    for script in (trees.PAIR_CT, trees.PAIR_MRI):
        assert trees.invoke(script, root).exit_code == 0
    for tree in ("AMOS-CT", "AMOS-MRI"):
        place = f"grouped/{tree}/unlabelled"
        assert trees.contents(root / place) == trees.contents(made[0] / place) != {}


def test_a_zip_that_cannot_be_listed_fails_whatever_is_in_it(root):
    unlabelled_archive.zip_up(root)
    path = root / "archive/amos22_unlabeled_mri_7000_8199.zip"
    path.write_bytes(path.read_bytes()[:-30])
    for script in (trees.SCAN, trees.PAIR_CT):
        result = trees.invoke(script, root)
        (line,) = trees.complaints(result)
        assert result.exit_code == 1 and line.startswith(f"FAILED {path.name}: ")
    assert {row["subset"] for row in scanned(root)} == {"train", "val", "test"}


def test_what_lies_in_a_zip_as_well_is_one_scan(root):
    shutil.copytree(root / "archive", root / "copy")
    unlabelled_archive.zip_up(root)
    shutil.copytree(root / "copy", root / "archive", dirs_exist_ok=True)
    assert shown(scan(root)) == [f"{NOTE} (docs/unlabelled.md)"]
    result = scan(root, "--unlabelled")
    assert (result.exit_code, trees.complaints(result)) == (0, [])
    assert len(scanned(root)) == 12


def test_without_them_there_is_no_such_folder(root):
    scan(root)
    result = trees.invoke(trees.PAIR_CT, root)
    assert "Samples: train 1, val 1, test 1" in result.stdout.splitlines()
    assert sorted(os.listdir(root / "grouped/AMOS-CT")) == ["test", "train", "val"]


def test_a_scanner_that_leads_elsewhere_fails_its_sample_alone(root):
    scan(root, "--unlabelled")
    path = root / "descriptor/archive_manifest.xlsx"
    trees.edit_cells(path, {("manufacturer_model_name", "amos_5000"): "../../x"})
    result = trees.invoke(trees.PAIR_CT, root)
    assert (result.exit_code, trees.complaints(result)) == (
        1,
        [
            "FAILED amos_5000: scanner '../../x' cannot be the name of a folder; correct "
            "manufacturer_model_name in the manifest"
        ],
    )
    assert "Samples: train 1, val 1, test 1, unlabelled 3" in result.stdout.splitlines()
    assert not list(root.rglob("x"))


def test_the_standard_split_keeps_their_word_and_tells_of_their_patients(made):
    root, results = made
    path = root / "grouped/dataset_manifest.xlsx"
    split = {row["ID"]: row["split01_standard"] for row in rows(path, "split01_standard")}
    assert [key for key, subset in split.items() if subset == "unlabelled"] == (
        [*unlabelled_archive.UNLABELLED]
    )
    result = results[trees.MAKE_SPLIT]
    assert result.stdout.splitlines()[0].endswith("(2 train, 1 val, 1 test, 5 unlabelled)")
    assert result.stderr.splitlines() == [
        "note split01_standard: 1 of 2 train scans show a patient of unlabelled: amos_0001",
        "note split01_standard: 1 of 1 test scans show a patient of unlabelled: amos_0201",
        "note split01_standard: that these are the same patients is inferred from birth_date and "
        "sex (docs/patients.md)",
        "note split01_standard: 2 unlabelled scans without birth_date or sex, of which it is not "
        "known whether they show a patient of train, val, test",
    ]


@pytest.mark.parametrize(
    ("script", "more", "train"),
    [
        (trees.BY_PATIENT, (), "train"),
        (trees.FOLDS, ("--split_name", "split03_folds"), "fold"),
        (trees.LEAVE_OUT, ("--values", "Optima CT660"), "train"),
    ],
)
def test_other_splits_keep_them_apart_and_warn_of_none(copied, script, more, train):
    result = trees.run(script, *manifest_of(copied, script), *more)
    assert (result.exit_code, result.stderr) == (0, "")
    sheet = result.stdout.split("worksheet ")[1].split(":")[0]
    path = copied / "grouped/dataset_manifest.xlsx"
    found = {row["ID"]: row[sheet] for row in rows(path, sheet)}
    assert {found[key] for key in unlabelled_archive.UNLABELLED} == {"unlabelled"}
    assert found["amos_0001"].startswith(train)


def manifest_of(root, script):
    names = {trees.LEAVE_OUT: ("--split_name", "split04_no_ge"), trees.FOLDS: ("--folds", "2")}
    return ("--manifest_file", root / "grouped/dataset_manifest.xlsx", *names.get(script, ()))


def test_who_is_left_out_takes_the_unlabelled_scans_of_the_patient_along(copied):
    words = ("--split_name", "s", "--values", "Aquilion ONE")
    result = trees.run(trees.LEAVE_OUT, *manifest_of(copied, ""), *words)
    assert result.exit_code == 0, result.output
    found = {row["ID"]: row["s"] for row in rows(copied / "grouped/dataset_manifest.xlsx", "s")}
    assert (found["amos_0001"], found["amos_5000"], found["amos_5438"]) == (
        ("test", "excluded", "excluded")
    )
    assert found["amos_5001"] == "unlabelled"


# --- exports and report --------------------------------------------------------------------------


@pytest.mark.parametrize("script", [trees.NNUNET, trees.DATALIST, trees.CROISSANT])
def test_exports_leave_them_out_and_say_how_many(copied, script):
    result = trees.invoke(script, copied, *(() if script == trees.CROISSANT else SPLIT))
    assert result.exit_code == 0, result.output
    assert "; left out: 5 unlabelled" in result.stdout.splitlines()[0]
    written = b"".join(
        path.read_bytes()
        for path in copied.rglob("*.json")
        if "descriptor" not in path.parts and "logs" not in path.parts
    )
    assert b"amos_0001" in written and b"amos_5000" not in written


SPLIT = ("--split_name", "split01_standard")


def listing(root, *more):
    words = (*manifest_of(root, ""), *SPLIT, "--output_file", root / "lists/unlabelled.json")
    return trees.run(trees.DATALIST, *words, "--unlabelled", *more)


def test_a_list_of_their_own(copied):
    result = listing(copied)
    path = copied / "lists/unlabelled.json"
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{path}: unlabelled 5"
    content = json.loads(path.read_bytes())
    assert content["modality"] == {"0": "CT_or_MRI"}
    assert not {"training", "validation", "testing", "labels"} & {*content}
    items = content["unlabelled"]
    assert [item["metadata"]["ID"] for item in items] == [*unlabelled_archive.UNLABELLED]
    assert {tuple(item) for item in items} == {("image", "metadata")}
    assert items[0]["image"] == (
        "../grouped/AMOS-CT/unlabelled/Brilliance 64/amos_5000_F/amos_5000_volume.nii.gz"
    )
    assert all((path.parent / item["image"]).is_file() for item in items)
    again = path.read_bytes()
    assert listing(copied).exit_code == 0 and path.read_bytes() == again


def test_a_missing_scan_of_the_list_is_named_and_nothing_written(copied):
    (path,) = copied.rglob("amos_6200_volume.nii.gz")
    path.unlink()
    result = listing(copied)
    assert result.exit_code == 1
    (line,) = trees.complaints(result)
    assert line.startswith("FAILED amos_6200: ")
    assert not (copied / "lists").exists()


def test_a_list_needs_such_scans_and_no_folds(copied):
    result = listing(copied, "--folds", "3")
    assert (result.exit_code, result.stderr) == (
        (2, "Error: --folds 3: unlabelled scans have no folds; leave --folds out\n")
    )
    path = copied / "grouped/dataset_manifest.xlsx"
    changes = {("split01_standard", key): "train" for key in unlabelled_archive.UNLABELLED}
    trees.edit_cells(path, changes, "split01_standard")
    result = listing(copied)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: no sample is unlabelled by the column split01_standard; routine 01 lists them with "
        "--unlabelled"
    )
    assert not (copied / "lists").exists()


def test_a_set_of_unlabelled_scans_alone_gets_its_list(root):
    shutil.rmtree(root / "archive/amos22")
    assert scan(root, "--unlabelled").exit_code == 0
    for script in (trees.PAIR_CT, trees.PAIR_MRI, trees.INDEX, trees.MAKE_SPLIT):
        result = trees.invoke(script, root)
        assert result.exit_code == 0, result.output
    assert listing(root).stdout.splitlines()[0].endswith("unlabelled.json: unlabelled 5")


def test_the_reader_has_them_as_a_subset(made):
    data = AMOS22(made[0] / "grouped")
    assert data.split("unlabelled") == unlabelled_archive.UNLABELLED
    assert (data.modality("amos_7000"), data.sex("amos_7000"), data.site("amos_7000")) == (
        ("MRI", None, None)
    )
    assert data.birth_date("amos_7000") is None and not data.has_mask("amos_7000")
    assert (data.image("amos_6200") == unlabelled_archive.volume(6200)).all()


def test_the_commands_of_the_page_lead_to_the_list(root):
    page = (trees.REPOSITORY / "docs/unlabelled.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ python (\S+) (.+)$", page, re.M)
    for script, words in commands:
        words = shlex.split(words.replace(" root_dir/", f" {shlex.quote(str(root))}/"))
        result = trees.run(script, *words)
        assert result.exit_code == 0, result.output
    (path,) = (root / "datalists").iterdir()
    assert len(json.loads(path.read_bytes())["unlabelled"]) == 5


def test_the_page_has_the_parts_and_the_damaged_ones_of_the_facts():
    page = (trees.REPOSITORY / "docs/unlabelled.md").read_text(encoding="utf-8")
    for ids, modality, table in amos22.UNLABELLED_PARTS:
        first, last = ids[0], ids[-1]
        shown = f"`{table}`" if table else "never published"
        zipped = f"amos22_unlabeled_{modality.lower()}_{first}_{last}.zip"
        assert f"| `{zipped}` | {first} to {last} | {modality} | {shown} |" in page
    n_scans = sum(len(part.ids) for part in amos22.UNLABELLED_PARTS)
    assert f"some {n_scans:,} that nobody has" in page
    for fault in known_faults.of(amos22):
        assert fault.kind != "damaged" or fault.id.removeprefix("amos_") in page


@pytest.mark.slow("draws a report")
def test_the_report_shows_them_without_a_flag(copied):
    words = ("--root_dir", copied / "grouped/AMOS-CT/unlabelled", "--output_dir", copied / "qc")
    result = trees.run(trees.REPORT, *words, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith("qc/index.html: 4 samples, 0 with flags")
    assert (copied / "qc/samples/amos_6200.js").is_file()

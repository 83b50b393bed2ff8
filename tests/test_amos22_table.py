"""The metadata table of AMOS22: how it is read, and joined to the files."""

import codecs
import collections
import contextlib
import csv
import os
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import errors
from utils.facts import amos22, amos22_table
from utils.storage import cell_limits

OFFICIAL = Path(__file__).parents[2] / "shared/data/labeled_data_meta_0000_0599.csv"
HEADER = ["amos_id", *amos22.METADATA.values()]
# MRI training files of the published archive that a plain join would call Ingenia scans.
INGENIA_BY_PLAIN_JOIN = ("0508", "0510", "0514", "0518", "0522", "0530", "0532", "0538")


def row(seq, scanner, **others):
    """A row of a metadata table as `read` returns it."""
    return {
        "seq": seq,
        **dict.fromkeys(amos22.METADATA, "UND"),
        "sex": "F",
        "manufacturer_model_name": scanner,
        **others,
    }


def read(path):
    """Rows of a metadata table without odd cells."""
    table = amos22_table.read(path)
    assert [*table.pop("odd")] == [""] * len(table)
    return table.to_dict("records")


def join(rows):
    return amos22_table.Metadata([pd.DataFrame(rows)])


def scanners(metadata, *seqs):
    return [metadata.of(seq)["manufacturer_model_name"] for seq in seqs]


def write_table(path, *rows, header=HEADER, encoding="utf-8"):
    with open(path, "w", encoding=encoding, newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


@pytest.fixture(name="official", scope="module")
def official_rows():
    if not OFFICIAL.exists():
        pytest.skip("the official metadata table is not here")
    return read(OFFICIAL)


@pytest.fixture(name="mended")
def mended_rows(official):
    """The official table with the MRI ids put right."""
    return [
        one | {"seq": f"{int(one['seq']) + 1:04d}"}
        if one["manufacturer_model_name"] in amos22.MRI_SCANNERS
        else one
        for one in official
    ]


# --- reading the table ---------------------------------------------------------------------------


def test_official_table_is_read_whole(official):
    assert len(official) == 600
    assert collections.Counter(one["manufacturer_model_name"] for one in official)["Prisma"] == 64
    assert {tuple(one) for one in official} == {("seq", *amos22.METADATA)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_cells_are_stripped_and_empty_ones_undefined(tmp_path, encoding):
    path = write_table(
        tmp_path / "t.csv",
        [" 4", " 19510122 ", "F", "", "Prisma ", "Siemens é", "  ", "people"],
        encoding=encoding,
    )
    assert read(path) == [
        {
            "seq": "0004",
            "birth_date": "19510122",
            "sex": "F",
            "age": "UND",
            "manufacturer_model_name": "Prisma",
            "manufacturer": "Siemens é",
            "acquisition_date": "UND",
            "site": "people",
        }
    ]


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "cp1252", "gb18030"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_common_encoding_and_separator(tmp_path, encoding, separator):
    site = {"gb18030": "\u5317\u4eac", "cp1252": "M\u00fcnchen \u20ac"}.get(
        encoding, "Z\u00fcrich \u65e5"
    )
    path = tmp_path / "t.csv"
    with open(path, "w", encoding=encoding, newline="") as handle:
        writer = csv.writer(handle, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([HEADER, [4, "19510122", "F", "60", "Prisma", "a,b;c", "", site]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (found,) = read(path)
    assert (found["seq"], found["manufacturer"], found["site"]) == ("0004", "a,b;c", site)
    told = [str(entry.message) for entry in caught]
    if encoding in ("cp1252", "gb18030"):
        name = {"cp1252": "Windows-1252", "gb18030": "GB 18030"}[encoding]
        assert told == [f"{path}: not in UTF-8, read as {name}; save it as CSV UTF-8 to be sure"]
    else:
        assert told == []


def test_utf_16_of_the_other_byte_order(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(codecs.BOM_UTF16_BE + f"{','.join(HEADER)}\r4,,,,,,,x\r".encode("utf-16-be"))
    assert [one["site"] for one in read(path)] == ["x"]


def test_metadata_are_brought_into_form(tmp_path):
    path = write_table(
        tmp_path / "t.csv",
        [1, "1957-12-01", "female ", "62", "Aquilion ONE\u00a0", "T", "2019/1/1", "\tcenter"],
        [2, "19571201.0", "M", "018m", "Prisma", "S", "2019-01-01T00:00:00", "people"],
    )
    assert [list(one.values())[1:] for one in read(path)] == [
        ["19571201", "F", "062Y", "Aquilion ONE", "T", "20190101", "center"],
        ["19571201", "M", "018M", "Prisma", "S", "20190101", "people"],
    ]


def test_cells_without_a_form_are_named_with_their_line_and_undefined(tmp_path):
    path = write_table(
        tmp_path / "t.csv",
        [1, "01/06/1993", "TRUE", "62", "Aquilion ONE", "T", "20190101", "a\x01b"],
        [2, "19930601", "F", "62", "Brilliance16", "T", "20190101", "y" * 200_000],
        [506, "19930231", "F", "62", "Prisma", "T", "20190101", "z"],
        [500, "19930601", "F", "62", "Ingenia", "T", "20190101", "z"],
        [3, "19930601", "F", "162", "Brilliance16", "T", "20190101", "z"],
    )
    metadata = amos22_table.Metadata([amos22_table.read(path)] * 2)  # a copy of it lies about
    assert metadata.faults == []
    odd = metadata.odd_cells(["0002", "0001", "0507", "0999"])  # not asked for 0003
    assert [name for name, _ in odd] == ["amos_0001", "amos_0002", "amos_0507"]
    first, second, third = (str(error) for _, error in odd)
    place = "of the metadata table " + str(path)
    assert first.startswith(f"birth_date is '01/06/1993' in line 2 {place}, expected a day such as")
    assert f"; sex is 'TRUE' in line 2 {place}, expected M or F, or UND; it stays UND; " in first
    assert f"site is 'a\\x01b' in line 2 {place}, the character '\\x01' cannot stand" in first
    assert "site is 'yyyy" in second and "200000 characters, Excel holds 32767" in second
    assert len(second) < 400 + len(str(path)) and "in line 4" in third
    known = metadata.of("0001")
    assert [known[key] for key in ("birth_date", "sex", "site")] == ["UND"] * 3
    assert known["age"] == "062Y" and set(known) == {*amos22.METADATA}
    assert metadata.of("0507")["manufacturer_model_name"] == "Prisma"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nothing")])
def test_a_table_that_is_no_file_is_named_and_not_waited_for(tmp_path, make):
    path = tmp_path / "t.csv"
    make(path)
    with pytest.raises(errors.DatasetError, match=r"t\.csv: (no regular file|cannot be read)"):
        read(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=80), st.sampled_from(",;\t"))
def test_any_bytes_are_a_table_or_refused_by_name(tmp_path_factory, content, separator):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    header = f"{separator.join(HEADER)}\n1{separator * 7}".encode()
    for start in (b"", header):
        path.write_bytes(start + content)
        with contextlib.suppress(errors.DatasetError), warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.DataWarning)
            table = amos22_table.read(path)
            assert not any(map(cell_limits.text_fault, table.drop(columns="odd").stack()))


@pytest.mark.parametrize("number", ["4", "0004", "4.0", "4.00", "00004", " 4 "])
def test_ids_are_understood_as_spreadsheets_save_them(tmp_path, number):
    path = write_table(tmp_path / "t.csv", [number, "19510122.0", "F", "060Y", "S", "M", "", "x"])
    (found,) = read(path)
    assert (found["seq"], found["birth_date"]) == ("0004", "19510122")


@pytest.mark.parametrize("number", ["", "x", "-1", "4.5", "12345", "1e3", "٤", "0x4", "4 4"])
def test_a_bad_id_is_refused_with_its_line(tmp_path, number):
    path = write_table(tmp_path / "t.csv", [7, *"abcdefg"], [number, *"abcdefg"])
    with pytest.raises(errors.DatasetError, match="line 3") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_columns_are_found_by_name_and_extra_ones_ignored(tmp_path):
    cells = ["19500101", "F", "060Y", "d", "e", "20200101", "g"]
    path = write_table(
        tmp_path / "t.csv", ["note", *reversed(cells), "9"], header=["extra", *reversed(HEADER)]
    )
    assert read(path) == [dict(zip(("seq", *amos22.METADATA), ("0009", *cells)))]


def test_blank_lines_and_trailing_commas_are_harmless(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"\n{','.join(HEADER)},\r\n\r\n1,,F,,d,e,,g,\r\n,,,,,,,,\r\n")
    assert [found["seq"] for found in read(path)] == ["0001"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"amos_id;Site\n1;x\n",
        ",".join(HEADER[:-1]).encode(),
        ",".join([*HEADER, "Site"]).encode(),
        ",".join(HEADER).encode("utf-16-le"),
        ",".join(HEADER[1:]).encode("utf-16"),
        ",".join(HEADER).encode("utf-16")[:-1],
        "|".join(HEADER).encode(),
        (",".join(HEADER) + "\n1,a,b\n").encode(),
        (",".join(HEADER) + "\n1" + ",x" * 9).encode(),
        ",".join(HEADER).encode() + b"\n1,\x81,b,c,d,e,f,g\n",
        ",".join(HEADER).encode() + b'\n1,"a,b,c,d,e,f,g\n',
        b"PK\x03\x04" + bytes(range(256)),
    ],
)
def test_what_is_no_metadata_table_is_refused_by_name(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(errors.DatasetError, match="t.csv.*metadata table") as caught:
        read(path)
    assert caught.value.file == str(path)
    assert "\n" not in str(caught.value)


def test_text_of_an_unknown_encoding_is_told_what_to_save_it_as(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(",".join(HEADER).encode() + b"\n1,\x81,b,c,d,e,f,g\n")
    with pytest.raises(errors.DatasetError, match=r"can't decode .*; save it as CSV UTF-8$"):
        read(path)


@pytest.mark.parametrize("content", ["", " \n,,\n"])
def test_an_empty_table_is_named(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(errors.DatasetError, match=r"t\.csv: the metadata table is empty, expected"):
        read(tmp_path / "t.csv")


def test_the_message_about_a_wrong_file_stays_short(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x," * 100_000)
    with pytest.raises(errors.DatasetError, match="expected each of") as caught:
        read(path)
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(errors.DatasetError, match="No such file"):
        read(tmp_path / "none.csv")


def test_hostile_cells_stay_the_text_they_are(tmp_path):
    path = write_table(tmp_path / "t.csv", [1, "UND", "F", "", "=1+1", "-2", "UND", "@x"])
    (found,) = read(path)
    assert list(found.values())[1:] == ["UND", "F", "UND", "=1+1", "-2", "UND", "@x"]


# --- the shifted ids -----------------------------------------------------------------------------


def test_official_table_is_mended(official):
    metadata = join(official)
    by_id = {(one["seq"], one["manufacturer_model_name"]): one for one in official}
    expected = {
        "0507": ("0506", "Prisma", "M"),
        "0600": ("0599", "Prisma", "F"),
        "0500": ("0500", "Optima CT540", "M"),
        "0501": ("0500", "Ingenia", "F"),
        "0539": ("0538", "Ingenia", "M"),
        "0540": ("0539", "Achieva", "M"),
    }
    for seq, (source, scanner, sex) in expected.items():
        source_row = by_id[source, scanner]
        assert metadata.of(seq) == {key: source_row[key] for key in amos22.METADATA}
        assert metadata.of(seq)["sex"] == sex
    assert metadata.of("0539")["age"] == "060Y"
    assert metadata.of("0540")["age"] == "UND"
    assert metadata.missing(f"{number:04d}" for number in range(1, 601)) == []
    assert metadata.faults == []


def test_the_shift_is_announced_once_with_all_its_evidence(official):
    (note,) = join(official).notes
    assert "one too low" in note
    assert "100 MRI rows" in note
    for evidence in ("0500", "amos_0501", "0539", "amos_0540"):
        assert evidence in note


def test_the_shift_explains_the_scanners_of_the_published_training_files(official):
    metadata = join(official)
    assert scanners(metadata, *INGENIA_BY_PLAIN_JOIN) == ["Prisma"] * 8
    plain = {one["seq"]: one["manufacturer_model_name"] for one in official}
    assert [plain[seq] for seq in INGENIA_BY_PLAIN_JOIN] == ["Ingenia"] * 8


def test_a_plain_join_would_be_wrong_where_the_contract_says(official):
    metadata = join(official)
    plain = {
        one["seq"]: one for one in official if one["manufacturer_model_name"] in amos22.MRI_SCANNERS
    }
    files = [f"{number:04d}" for number in range(501, 600)]
    for key, n_wrong in (("sex", 50), ("manufacturer_model_name", 28)):
        assert sum(metadata.of(seq)[key] != plain[seq][key] for seq in files) == n_wrong


@pytest.mark.parametrize("deleted", ["Optima CT540", "Ingenia"])
def test_a_table_without_one_of_the_doubled_rows_is_still_mended(official, deleted):
    rows = [
        one for one in official if (one["seq"], one["manufacturer_model_name"]) != ("0500", deleted)
    ]
    metadata = join(rows)
    assert len(rows) == 599
    assert scanners(metadata, "0507", "0540", "0600") == ["Prisma", "Achieva", "Prisma"]
    assert "one too low" in metadata.notes[0]
    lost = {"Optima CT540": "0500", "Ingenia": "0501"}[deleted]
    assert metadata.missing(["0500", "0501"]) == [lost]
    assert set(metadata.of(lost).values()) == {"UND"}


def test_a_mended_table_is_joined_as_it_is_and_silently(official, mended):
    metadata = join(mended)
    shifted = join(official)
    files = [f"{number:04d}" for number in range(1, 601)]
    assert [metadata.of(seq) for seq in files] == [shifted.of(seq) for seq in files]
    assert (metadata.notes, metadata.warnings, metadata.faults) == ([], [], [])


def test_shifted_and_mended_at_once_leaves_the_mri_files_undefined(official, mended):
    metadata = join([*official, *mended])
    assert metadata.notes == []
    ((name, error),) = metadata.faults
    assert name == "metadata table"
    assert "0600" in str(error)
    assert "0500" in str(error)
    for number in range(501, 601):
        assert set(metadata.of(f"{number:04d}").values()) == {"UND"}
    assert scanners(metadata, "0499", "0500") == ["Optima CT540"] * 2
    assert metadata.missing(f"{number:04d}" for number in range(1, 601)) == []


def test_an_unclear_mri_row_concerns_its_id_and_the_next():
    rows = [
        row("0500", "Prisma"),
        row("0540", "Achieva"),  # shifted by one sign, mended by another
        row("0541", "Optima CT540"),
        row("0300", "Prisma"),
        row("0301", "Prisma Fit"),
        row("0500", "SOMATOM Force"),
        row("0400", "Brilliance16"),
    ]
    metadata = join(rows)
    assert scanners(metadata, "0500", "0541", "0400") == [
        "SOMATOM Force",
        "Optima CT540",
        "Brilliance16",
    ]
    assert scanners(metadata, "0501", "0540", "0300", "0301") == ["UND"] * 4
    assert metadata.missing(["0300", "0301", "0501", "0540", "0302"]) == ["0302"]
    assert len(metadata.faults) == 1


def test_contradicting_ct_rows_do_not_settle_an_unclear_id():
    rows = [
        row("0500", "Prisma"),
        row("0600", "Prisma"),
        row("0501", "Aquilion ONE"),
        row("0501", "Aquilion ONE", sex="M"),
    ]
    metadata = join(rows)
    assert scanners(metadata, "0501") == ["UND"]
    assert [name for name, _ in metadata.faults] == ["metadata table", "amos_0501"]


@pytest.mark.parametrize(
    "rows",
    [
        [row("0007", "Aquilion ONE"), row("0007", "Prisma")],
        [row("0500", "Ingenia")],
        [row("0539", "Achieva"), row("0540", "Prisma")],
    ],
)
def test_each_sign_of_the_shift_is_enough(rows):
    metadata = join(rows)
    assert "one too low" in metadata.notes[0]
    for one in rows:
        is_mri = one["manufacturer_model_name"] in amos22.MRI_SCANNERS
        seq = f"{int(one['seq']) + is_mri:04d}"
        assert scanners(metadata, seq) == [one["manufacturer_model_name"]]


@pytest.mark.parametrize(
    "rows",
    [
        [row("0600", "Prisma"), row("0507", "SIGNA HDe")],
        [row("0540", "Achieva"), row("0539", "Ingenia")],
    ],
)
def test_each_sign_of_mending_is_enough(rows):
    metadata = join(rows)
    assert (metadata.notes, metadata.warnings, metadata.faults) == ([], [], [])
    for one in rows:
        assert scanners(metadata, one["seq"]) == [one["manufacturer_model_name"]]


@pytest.mark.parametrize(
    "rows",
    [
        [row("0507", "Prisma")],
        [row("0539", "Achieva"), row("0541", "Achieva")],
        [row("0007", "Aquilion ONE"), row("0510", "Ingenia")],
    ],
)
def test_a_table_too_small_to_judge_is_joined_as_it_is_and_says_so(rows):
    metadata = join(rows)
    (warning,) = metadata.warnings
    assert "nothing in it tells" in warning and metadata.notes == []
    for one in rows:
        assert scanners(metadata, one["seq"]) == [one["manufacturer_model_name"]]


def test_a_table_without_mri_rows_is_joined_in_silence():
    metadata = join([row("0500", "Optima CT540"), row("0600", "Aquilion ONE")])
    assert (metadata.notes, metadata.warnings, metadata.faults) == ([], [], [])
    assert scanners(metadata, "0500", "0600") == ["Optima CT540", "Aquilion ONE"]


def test_two_different_rows_of_an_id_are_reported_and_undefined():
    metadata = join(
        [
            row("0001", "Aquilion ONE", age="060Y"),
            row("0001", "Aquilion ONE", age="061Y"),
            row("0002", "Prisma Fit"),
        ]
    )
    ((name, error),) = metadata.faults
    assert name == "amos_0001"
    assert "age 060Y or 061Y" in str(error)
    assert set(metadata.of("0001").values()) == {"UND"}
    assert scanners(metadata, "0002") == ["Prisma Fit"]
    assert metadata.missing(["0001", "0002", "0003", "0003"]) == ["0003"]


def test_two_rows_that_meet_by_the_shift_are_reported():
    metadata = join([row("0500", "Ingenia"), row("0501", "Aquilion ONE")])
    assert [name for name, _ in metadata.faults] == ["amos_0501"]
    assert scanners(metadata, "0501") == ["UND"]


def test_equal_rows_of_several_tables_count_once(official):
    once = join(official)
    twice = amos22_table.Metadata([pd.DataFrame(official), pd.DataFrame(official[::-1])])
    assert twice.faults == []
    assert twice.notes == once.notes
    assert twice.of("0507") == once.of("0507")


def test_no_table_leaves_everything_undefined():
    metadata = amos22_table.Metadata([])
    assert metadata.of("0001") == dict.fromkeys(amos22.METADATA, "UND")
    assert metadata.missing(["0002", "0001"]) == ["0001", "0002"]
    assert (metadata.notes, metadata.warnings, metadata.faults) == ([], [], [])

"""CSV files as people save them; what is special in the metadata table is tested with that."""

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies

from utils import errors
from utils.storage import csv_tables


def read(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return csv_tables.read(path, ["ID", "subset"], "list")


def test_lines_have_the_numbers_of_the_file_and_the_columns_asked_for(tmp_path):
    text = '\nmore,subset,ID\n,train,a\n,,\n"two\nlines", val ,b\n'
    assert read(tmp_path, text) == {
        3: {"ID": "a", "subset": "train"},
        6: {"ID": "b", "subset": "val"},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_encodings_tell_themselves(tmp_path, separator, encoding):
    text = "ID,subset\na,train\nb,\n".replace(",", separator)
    found = read(tmp_path, text.encode(encoding))
    assert [*found.values()] == [{"ID": "a", "subset": "train"}, {"ID": "b", "subset": ""}]


def test_an_encoding_that_is_guessed_is_told(tmp_path):
    with pytest.warns(errors.DataWarning, match="t.csv: not in UTF-8, read as Windows-1252; save"):
        assert read(tmp_path, "ID,subset\né,x\n".encode("cp1252")) == {
            2: {"ID": "é", "subset": "x"}
        }


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", r"is empty, expected the columns \['ID', 'subset'\]"),
        ("ID,subset,ID\na,b,c\n", r"has the columns .*, expected each of .* once"),
        ("ID,subset\na\n", "has 1 cells in line 2, expected 2"),
        ("ID,subset\na,b,c\n", "has 3 cells in line 2, expected 2"),
        (
            'ID,subset\n"a,b\n',
            "cannot be read as CSV: unexpected end of data; save it as CSV UTF-8",
        ),
        (b"\xff\xfeI", "cannot be read as CSV: .*truncated data; save it as CSV UTF-8"),
    ],
)
def test_what_is_no_table(tmp_path, content, reason):
    with pytest.raises(errors.DatasetError, match=f"t.csv: the list {reason}$") as caught:
        read(tmp_path, content)
    assert caught.value.file == str(tmp_path / "t.csv")


def test_a_folder_is_named(tmp_path):
    with pytest.raises(errors.DatasetError, match=str(tmp_path)):
        csv_tables.read(tmp_path, ["ID"], "list")


def test_a_separator_may_be_given(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ID;a,b\n1;2,3\n")
    assert csv_tables.read(path, ["ID"], "list", ";") == {2: {"ID": "1"}}
    assert csv_tables.read(path, ["ID", "a,b"], "list", ";") == {2: {"ID": "1", "a,b": "2,3"}}
    with pytest.raises(errors.DatasetError, match=r"has the columns \['ID;a', 'b'\], expected"):
        csv_tables.read(path, ["ID"], "list", ",")


def test_what_asks_for_a_missing_column_is_named_with_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ID;sex;sex\n1;2;3\n")
    asked = {"ID": "key", "sex": "field sex", "age": "field age"}
    with pytest.raises(errors.DatasetError) as caught:
        csv_tables.read(path, asked, "list")
    assert str(caught.value) == (
        f"{path}: the list has the columns ['ID', 'sex', 'sex'], expected 'sex' (field sex), 'age' "
        "(field age) once"
    )


@pytest.mark.parametrize("separator", [";", "\t"])
def test_the_columns_are_told_apart_though_one_is_missing(tmp_path, separator):
    with pytest.raises(errors.DatasetError, match=r"has the columns \['ID', 'set'\], expected"):
        read(tmp_path, f"ID{separator}set\na{separator}b\n")


def _written(*texts):
    columns = [f"c{number}" for number in range(len(texts))]
    content = csv_tables.to_bytes(columns, [dict(zip(columns, texts))])
    assert content.startswith(b"\xef\xbb\xbf") and content.count(b"\r\n") == 2
    (row,) = csv.reader(io.StringIO(content.decode("utf-8-sig")).readlines()[1:])
    return row


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("'=1", "''=1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\n=1", "a\\n=1"),
        ("a;=1;-2", "a;'=1;'-2"),
        ("a=1", "a=1"),
        ("1 - 2; 3", "1 - 2; 3"),
        ("it's", "it's"),
        ('"quoted", and more', '"quoted", and more'),
        ("\udcff\u202e", "\\udcff\\u202e"),
        ("ü", "ü"),
    ],
)
def test_no_text_becomes_a_formula(text, cell):
    assert _written(text) == [cell]


def test_numbers_stay_numbers_and_nothing_an_empty_cell():
    assert _written(-1.5, 0.1 + 0.2, 7, None, "") == ["-1.5", "0.30000000000000004", "7", "", ""]


def test_a_table_without_rows_has_its_header():
    assert csv_tables.to_bytes(["a", "b"], []) == b"\xef\xbb\xbfa,b\r\n"
    assert csv_tables.to_bytes(["a", "b"], [{"b": "x", "c": "y"}]).endswith(b"\r\n,x\r\n")


@hypothesis.given(strategies.lists(strategies.text(), min_size=1, max_size=4))
@hypothesis.settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_one_cell_that_no_spreadsheet_computes(texts):
    cells = _written(*texts)
    assert len(cells) == len(texts)
    for cell in cells:
        assert not any(part[:1] and part[0] in "=+-@\t\r" for part in cell.split(";"))

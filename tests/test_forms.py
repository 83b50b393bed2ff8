"""Metadata brought into form: sex, age, dates, blanks."""

import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.storage import forms

often = settings(max_examples=300, deadline=None, derandomize=True)
DATES = ("birth_date", "acquisition_date")
BLANKS = st.text(" \t\n\u00a0\u3000\u200b\ufeff", max_size=3)
# Day, month and year in any order and writing.
PARTS = st.lists(st.integers(0, 2100).map(str), min_size=1, max_size=4)
DAYLIKE = st.tuples(PARTS, st.sampled_from("-/. ")).map(lambda day: day[1].join(day[0]))


@pytest.mark.parametrize(
    ("key", "texts", "form"),
    [
        ("sex", ["M", "m", "male", "Male", "MALE", " M", "m\u00a0", "\tM\n"], "M"),
        ("sex", ["F", "f", "female", "Female", "FEMALE", "F ", "\ufeffF"], "F"),
        ("age", ["062Y", "62", "62Y", "62.0", "062y", " 62 ", "0062", "62.00", "062"], "062Y"),
        ("age", ["0", "000Y", "0Y"], "000Y"),
        ("age", ["150", "150Y"], "150Y"),
        ("age", ["018M", "18M", "18m"], "018M"),
        ("age", ["020W", "20w"], "020W"),
        ("age", ["005D", "5d"], "005D"),
        ("site", [" center", "center\t", "\u200ecenter"], "center"),
        ("manufacturer_model_name", ["Aquilion ONE\u00a0", "Aquilion ONE"], "Aquilion ONE"),
        ("seq", ["4.0", "4"], "4"),
        *((key, ["", " ", "\u00a0"], "") for key in ("sex", "age", "birth_date", "site")),
        *((key, ["UND", "und", " UND"], "UND") for key in ("sex", "age", "acquisition_date")),
    ],
)
def test_forms_that_are_understood(key, texts, form):
    assert [forms.plain(key, text) for text in texts] == [form] * len(texts)


@pytest.mark.parametrize("key", DATES)
@pytest.mark.parametrize(
    "text",
    [
        *("19930601", "19930601.0", "1993-06-01", "1993-6-1", "1993/06/01", "1993/6/1"),
        *("1993.06.01", " 1993-06-01", "1993-06-01T00:00:00", "1993-06-01 00:00:00.000"),
        *("1993-06-01 8:05", "1993-06-01T08:05:01Z", "1993-06-01T08:05:01,25+02:00"),
    ],
)
def test_days_that_are_understood(key, text):
    assert forms.plain(key, text) == "19930601"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(
            ("sex", text)
            for text in ("TRUE", "1", "O", "W", "men", "M/F", "fe male", "none", "nan")
        ),
        *(("age", text) for text in ("62.5", "-1", "151", "1801M", "old", "62 years", "0x3e", "Y")),
        *(("age", text) for text in ("1993", "6e1", "\u0666\u0662", "TRUE", "62Y62Y")),
        *(("birth_date", text) for text in ("01/06/1993", "1/6/93", "06-01-1993", "01.06.1993")),
        *(("birth_date", text) for text in ("19930231", "1993-02-31", "19931301", "00000000")),
        *(("birth_date", text) for text in ("34121", "34121.5", "1993", "199306", "1993-06", "1")),
        *(("birth_date", text) for text in ("1993-06/01", "1993-06-01x", "1993-06-01 noon")),
        *(("birth_date", text) for text in ("00010101", "99991231", "June 1 1993", "TRUE")),
        *((key, "a\x00b") for key in ("site", "sex", "age", "birth_date")),
        *(("site", text) for text in ("\x1b[31m.", "\ud800", "\uffff", "x" * 32768)),
    ],
)
def test_what_has_no_form_or_two_readings_is_none(key, text):
    assert forms.plain(key, text) is None
    error = forms.fault(key, text, "in line 3 of t.csv", file="t.csv")
    message = str(error)
    assert message.startswith(f"{key} is ") and " in line 3 of t.csv, " in message
    assert (error.file, error.code) == ("t.csv", "metadata") and error.expected
    assert len(message) < 300


@often
@given(st.dates(datetime.date(1800, 1, 1), datetime.date(2199, 12, 31)), BLANKS, BLANKS)
def test_every_day_of_the_calendar_comes_back_from_each_writing(day, before, after):
    writings = [day.isoformat(), f"{day:%Y%m%d}", f"{day:%Y%m%d}.0", f"{day.isoformat()} 00:00:00"]
    writings.append(f"{day.year}/{day.month}/{day.day}")
    expected = f"{day.year:04d}{day.month:02d}{day.day:02d}"
    for text in writings:
        assert forms.plain("birth_date", f"{before}{text}{after}") == expected


@often
@given(st.integers(0, 150), st.sampled_from("YMWD"), BLANKS)
def test_every_age_comes_back_from_each_writing(number, unit, blank):
    for text in (f"{number:03d}{unit}", f"{number}{unit.lower()}", f"{number}.0{unit}"):
        assert forms.plain("age", f"{text}{blank}") == f"{number:03d}{unit}"
    assert forms.plain("age", f"{number}") == f"{number:03d}Y"
    assert forms.years(f"{number}") == number


@often
@given(st.sampled_from(["sex", "age", *DATES, "site"]), st.text(max_size=12) | DAYLIKE)
@example("age", "00")
@example("site", "a\r\nb")
def test_a_form_stays_what_it_is_and_is_one_of_the_few(key, text):
    form = forms.plain(key, text)
    if form is None:
        return
    assert forms.plain(key, form) == form
    if key == "sex":
        assert form in ("M", "F", "", "UND")
    elif key == "age" and form not in ("", "UND"):
        assert len(form) == 4 and form[:3].isdecimal() and form[3] in "YMWD"
    elif key in DATES and form not in ("", "UND"):
        assert f"{datetime.datetime.strptime(form, '%Y%m%d'):%Y%m%d}".zfill(8) == form
        digits = "".join(filter(str.isdecimal, text))
        assert digits.startswith(form[:4])  # the year stood first


@pytest.mark.parametrize(
    ("text", "years"),
    [("062Y", 62), ("62", 62), ("018M", 1), ("011M", 0), ("105W", 2), ("366D", 1), ("364D", 0)]
    + [("UND", None), ("", None), ("old", None)],
)
def test_years(text, years):
    assert forms.years(text) == years


def test_a_long_cell_of_blanks_costs_nothing():
    assert forms.stripped(" " * 10**6 + "x" + " " * 10**6) == "x"
    assert forms.plain("site", "x" + " " * 10**6 + "y") is None

"""Errors keep what they carry when they cross process borders."""

import concurrent.futures
import multiprocessing
import pickle
from pathlib import Path

import pytest

from utils import errors

ONE = errors.DatasetError(
    "a.nii.gz: shape (1, 2)", file=Path("a.nii.gz"), code="shape", expected=(1, 2, 3), found=(1, 2)
)
DAMAGED = errors.DamagedFileError("b.nii.gz: damaged: cut off", file="b.nii.gz")
SEVERAL = errors.CasesError([ONE, DAMAGED])


def content(error):
    return (
        type(error),
        str(error),
        error.file,
        error.code,
        error.expected,
        error.found,
        [str(case) for case in error.cases],
    )


def fail_with(error):
    raise error


@pytest.mark.parametrize("error", [ONE, DAMAGED, SEVERAL, errors.DatasetError("plain")])
def test_pickle_keeps_everything(error):
    assert content(pickle.loads(pickle.dumps(error))) == content(error)


@pytest.mark.parametrize("error", [ONE, DAMAGED, SEVERAL])
def test_raised_in_another_process(error):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(errors.DatasetError) as caught:
            pool.submit(fail_with, error).result()
    assert content(caught.value) == content(error)


def test_sides_become_text():
    assert (ONE.file, ONE.expected, ONE.found) == ("a.nii.gz", "(1, 2, 3)", "(1, 2)")
    plain = errors.DatasetError("plain")
    assert (plain.file, plain.code, plain.expected, plain.found) == (None, "data", None, None)


def test_cases():
    assert ONE.cases == [ONE]
    assert SEVERAL.cases == [ONE, DAMAGED]
    assert str(SEVERAL) == "a.nii.gz: shape (1, 2); b.nii.gz: damaged: cut off"


def test_kinds():
    assert isinstance(DAMAGED, errors.DatasetError) and DAMAGED.code == "damaged"
    assert issubclass(errors.DatasetError, ValueError)
    assert issubclass(errors.DataWarning, UserWarning)


def test_odd_characters_are_escaped():
    text = "a\x85b\u2028c\udce9d\uffffé\x7f"
    assert errors.printable(text) == "a\\x85b\\u2028c\\udce9d\\uffffé\\x7f"


def test_what_is_printed_is_seen_and_stands_where_it_belongs():
    """Besides control characters also those that hide or turn text; any script's letters stay."""
    turning = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
    hidden = [0xAD, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xE0001, 0xE0041]
    for number in [*range(0x20), *range(0x7F, 0xA0), *turning, *hidden]:
        shown = errors.printable(f"a{chr(number)}b")
        assert shown.isascii() and shown.isprintable() and shown.startswith("a\\")
    names = "größe 扫描 מסח סריקה e\u0301"
    assert errors.printable(names) == names


def test_listed_names_stop_at_five():
    names = [f"n{number}" for number in range(7)]
    assert errors.listed(names[:5]) == "n0, n1, n2, n3, n4"
    assert errors.listed(names) == "n0, n1, n2, n3, n4 and 2 more"

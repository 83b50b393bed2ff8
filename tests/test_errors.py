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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe, 日本", "größe, 日本"),
        ("a\nb\r\tc\x1b[31m", "a\\nb\\r\\tc\\x1b[31m"),
        ("\x7f\x85\u2028\u2029", "\\x7f\\x85\\u2028\\u2029"),
        ("name\udcff.nii.gz", "name\\udcff.nii.gz"),
        (errors.DatasetError("one\nline"), "one\\nline"),
    ],
)
def test_printable(text, shown):
    assert errors.printable(text) == shown

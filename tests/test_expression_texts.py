"""Texts that fit regular expressions."""

import itertools
import re

import pytest

from utils.sample_data import expression_texts

EXPRESSIONS = (
    *("[0-9]+", "[A-Za-z0-9-]+", "s[0-9]+", "[0-9]{4}", "(?:a|b)_[0-9]{2,3}", "[^/]+", "[^0-9]*x"),
    *("pat[0-9]+_scan[0-9]", r"[A-Z]{2}\d{3}", r"case_(train|test)_\w+", "[a-f0-9]{8}", "a?b*c+"),
    *(r"\.x[0-9]", "[]a]+", "[a-]{2,}", "Tr|Ts", "(a(b|c)){2}[0-9]", r"[\d_]+?"),
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_texts_fit(expression):
    for number in (0, 1, 17, 1234):
        texts = [*itertools.islice(expression_texts.numbered(expression, number), 5)]
        assert texts and all(re.fullmatch(expression, text) for text in texts)


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("[0-9]+", "17"),
        ("[A-Za-z0-9-]+", "17"),
        ("s[0-9]+", "s0017"),
        ("[0-9]{4}", "0017"),
        ("[A-Z]{2}[0-9]{3}", "017"),
    ],
)
def test_the_number_is_in_it(expression, expected):
    assert next(expression_texts.numbered(expression, 17)).endswith(expected)


def test_whole_numbers_alone():
    assert [*expression_texts.numbered("[A-Za-z0-9-]+", 7, True)] == ["7", "007", "0007", "00007"]
    assert [*expression_texts.numbered("s[0-9]+", 7, True)] == []


@pytest.mark.parametrize("expression", ["(?=x)x", r"(a)\1", "(?i)a", "x$"])
def test_what_is_not_understood_gives_nothing(expression):
    assert [*expression_texts.numbered(expression, 1)] == []


def test_the_same_text_again():
    first, second = ([*expression_texts.numbered("[a-z]{9}[0-9]+", 3)] for _ in range(2))
    assert first == second and len({*first}) == len(first)

"""Texts that fit a regular expression, for made-up file names."""

import re
import string
from collections.abc import Iterator

import numpy as np

_MANY = 3  # a repetition without an end goes so far beyond its begin
_DIGITS, _LETTERS = string.digits, string.ascii_lowercase + string.ascii_uppercase
_CLASSES = {"d": _DIGITS, "w": _LETTERS + _DIGITS + "_", "s": " "}
_ANYTHING = _LETTERS + _DIGITS + "-_"
_REPEATED = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}|([*+?])")
_TRIES = 200
_FORMS = ("{}", "{:03d}", "{:04d}", "{:05d}")


class _NotKnown(Exception):
    """Something in the expression that is not understood here."""


def numbered(expression: str, number: int, is_number: bool = False) -> Iterator[str]:
    """Yield texts that fit an expression and end in a number, the plainest first.

    Of what is not understood (looking ahead, references) nothing is yielded but plain numbers where
    they fit; with `is_number` the text must be the whole number.
    """
    forms = [form.format(number) for form in _FORMS]
    if not is_number:
        forms += _like_others(expression, number)
    yield from dict.fromkeys(text for text in forms if re.fullmatch(expression, text))
    if not is_number:
        yield from _drawn(expression, number)


def _like_others(expression, number):
    """The texts that the expression gives, with this number for their last one."""
    for text in _drawn(expression, 0):
        for width in (4, 3, 2, 5, 1):
            yield re.sub(r"[0-9]+(?=\D*$)", f"{number:0{width}d}", text, count=1)


def _drawn(expression, number):
    """A few texts that fit, drawn at random."""
    rng = np.random.default_rng([number])
    found: dict[str, None] = {}
    for _ in range(_TRIES):
        try:
            text = _Maker(expression, rng).text()
        except _NotKnown:
            return
        if re.fullmatch(expression, text) and text not in found:
            found[text] = None
            yield text
        if len(found) > _MANY:
            return


class _Maker:
    """Reads an expression from left to right and makes a text that fits it."""

    def __init__(self, expression, rng):
        self._rest, self._rng = expression, rng

    def text(self):
        made = self._either()
        if self._rest:
            raise _NotKnown
        return made

    def _take(self, count=1):
        taken, self._rest = self._rest[:count], self._rest[count:]
        if len(taken) < count:
            raise _NotKnown
        return taken

    def _either(self):
        found = [self._sequence()]
        while self._rest[:1] == "|":
            self._take()
            found.append(self._sequence())
        return found[self._rng.integers(len(found))]

    def _sequence(self):
        made = ""
        while self._rest and self._rest[0] not in "|)":
            begin = self._rest
            piece = self._atom()
            body = begin[: len(begin) - len(self._rest)]
            made += "".join(self._again(body) for _ in range(self._count())) if piece else ""
        return made

    def _again(self, body):
        """Make another text of an atom; each repetition draws anew."""
        return _Maker(body, self._rng)._atom()

    def _count(self):
        found = _REPEATED.match(self._rest)
        if not found:
            return 1
        self._take(found.end())
        if self._rest[:1] in ("?", "+"):  # lazy, possessive
            self._take()
        if found[4]:
            least, most = {"*": (0, _MANY), "+": (1, _MANY), "?": (0, 1)}[found[4]]
        else:
            least = int(found[1])
            most = int(found[3]) if found[3] else least + _MANY * bool(found[2])
        return int(self._rng.integers(least, most + 1))

    def _atom(self):
        sign = self._take()
        if sign == "(":
            if self._rest.startswith("?:"):
                self._take(2)
            elif self._rest.startswith("?"):
                raise _NotKnown
            made = self._either()
            if self._take() != ")":
                raise _NotKnown
            return made
        if sign == "[":
            return self._one_of(self._class())
        if sign == ".":
            return self._one_of(_ANYTHING)
        if sign == "\\":
            return self._one_of(self._escaped())
        if sign in "^$*+?{":
            raise _NotKnown
        return sign

    def _one_of(self, signs):
        if not signs:
            raise _NotKnown
        return signs[self._rng.integers(len(signs))]

    def _escaped(self):
        sign = self._take()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign.isalnum():
            raise _NotKnown
        return sign

    def _class(self):
        is_other = self._rest.startswith("^")
        if is_other:
            self._take()
        signs = ""
        while (sign := self._take()) != "]" or not signs:
            one = self._escaped() if sign == "\\" else sign
            if self._rest[:1] == "-" and self._rest[1:2] != "]" and len(one) == 1:
                self._take()
                last = self._take()
                last = self._escaped() if last == "\\" else last
                one = "".join(map(chr, range(ord(one), ord(last) + 1)))
            signs += one
        return "".join(c for c in _ANYTHING if c not in signs) if is_other else signs

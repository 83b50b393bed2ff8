"""The page of a described data set, read field by field; a mistake names the field."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from utils import errors
from utils.storage import cell_limits, files, yaml_files

_SHOWN_CHARACTERS = 60
_RANGE = re.compile(r"\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*")
_SEPARATORS = (",", ";", "\t")


class Fields:
    """A table of the page, whose fields are taken one by one; all are text, lists and tables.

    Parameters
    ----------
    path : path-like
        The page.
    content
        What YAML made of it.
    prefix : str
        The field that this table is, with a dot; of the page as a whole ''.
    """

    def __init__(self, path: files.PathLike, content: object, prefix: str = ""):
        self.path = Path(path)
        self._prefix = prefix
        if not isinstance(content, dict):
            raise self.fault("", f"is {_shown(content)}, expected fields such as 'name: ...'")
        self._content = content
        self._known: set[str] = set()

    @classmethod
    def of_page(cls, path: files.PathLike) -> Fields:
        """Read a page; DatasetError where it is no YAML, see `yaml_files.read`."""
        return cls(path, yaml_files.read(path, code="page"))

    def fault(self, field: str, reason: str) -> errors.DatasetError:
        """Make the error for a field of this table."""
        name = f"{self._prefix}{field}".rstrip(".") or "the page"
        return errors.DatasetError(f"{self.path}: {name} {reason}", file=self.path, code="page")

    def has(self, field: str) -> bool:
        """Whether there is such a field."""
        self._known.add(field)
        return field in self._content

    def raw(self, field: str) -> object:
        """Take a field of any kind; DatasetError where it is missing."""
        if not self.has(field):
            raise self.fault(field, "is missing")
        return self._content[field]

    def text(self, field: str, default: str | None = None) -> str:
        """Take a text; DatasetError where it is missing and has no default."""
        if default is not None and not self.has(field):
            return default
        found = self.raw(field)
        if not _is_text(found):
            quotes = " (one that begins with { in quotes)" if isinstance(found, dict) else ""
            raise self.fault(field, f"is {_shown(found)}, expected a text{quotes}")
        return errors.one_line(found)

    def file_pattern(self, field: str) -> str:
        """Take a file name, or glob pattern of one, for files below a folder or in it."""
        found = self.text(field)
        parts = found.split("/")
        if {"", ".", ".."} & {*parts} or any("**" in part for part in parts):
            raise self.fault(field, f"is {found!r}, expected a file name, or a pattern: meta*.csv")
        return found

    def word(self, field: str, words: Sequence[str], default: str | None = None) -> str:
        """Take one of these words."""
        found = self.text(field, default)
        if found not in words and found != default:
            raise self.fault(field, f"is {found!r}, expected {' or '.join(words)}")
        return found

    def texts(self, field: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Take a list of texts; one text is a list of one."""
        if default is not None and not self.has(field):
            return default
        found = self.raw(field)
        listed = found if isinstance(found, list) else [found]
        if not listed or not all(map(_is_text, listed)):
            quotes = " (in quotes)" if any(isinstance(text, dict) for text in listed) else ""
            raise self.fault(
                field, f"is {_shown(found)}, expected a text or a list of texts{quotes}"
            )
        return tuple(map(errors.one_line, listed))

    def separator(self, field: str) -> str | None:
        """Take what stands between the cells of a CSV file; None where it is to be found out."""
        if not self.has(field):
            return None
        found = self.raw(field)
        if found not in _SEPARATORS:
            raise self.fault(field, f'is {_shown(found)}, expected "," or ";" or "\\t"')
        return str(found)

    def table(self, field: str) -> Fields:
        """Take a table of fields."""
        return Fields(self.path, self.raw(field), f"{self._prefix}{field}.")

    def mapping(self, field: str) -> dict[str, str]:
        """Take a table of text to text, not empty."""
        found = self.raw(field)
        if isinstance(found, dict) and found:
            if all(map(_is_text, found.values())):
                return {str(key): errors.one_line(value) for key, value in found.items()}
        raise self.fault(field, f"is {_shown(found)}, expected {{text: text, ...}}")

    def number(self, field: str, default: float, largest: float, kind: Callable = float) -> float:
        """Take a number from 0 to the largest one; whole ones where the kind is int."""
        text = self.text(field, str(default))
        try:
            found = kind(text)
        except ValueError:
            found = math.nan
        if not 0 <= found <= largest:
            whole = "a whole number" if kind is int else "a number"
            raise self.fault(field, f"is {text!r}, expected {whole} from 0 to {largest:g}")
        return found

    def ranges(self, field: str) -> dict[str, tuple[range, ...]]:
        """Take a table of words to whole numbers: ``{test: 0-20, train: "21-139, 150"}``."""
        made: dict[str, tuple[range, ...]] = {}
        for word, text in self.mapping(field).items():
            parts = [_RANGE.fullmatch(part) for part in text.split(",")]
            if not all(parts):
                expected = "expected whole numbers such as 0-20 or '21-139, 150'"
                raise self.fault(f"{field}.{word}", f"is {_shown(text)}, {expected}")
            found = tuple(range(int(p[1]), int(p[2] or p[1]) + 1) for p in parts if p)
            if not all(found):
                raise self.fault(
                    f"{field}.{word}", f"is {text!r}, expected ranges that run upwards"
                )
            made[word] = found
        words = sorted((numbers[0], numbers[-1], word) for word in made for numbers in made[word])
        for (_, last, word), (first, _, other) in itertools.pairwise(words):
            if first <= last:
                raise self.fault(f"{field}.{other}", f"has {first}, which {word} has, too")
        return made

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        for field in self._content:
            if field not in self._known:
                near = difflib.get_close_matches(str(field), sorted(self._known), 1)
                meant = f"; probably meant: {near[0]}" if near else ""
                raise self.fault(str(field), f"is no field that is known here{meant}")


def _is_text(content):
    """Whether it is a text that says something, and that every table can hold."""
    if not isinstance(content, str) or not content.strip():
        return False
    return not cell_limits.NOT_IN_XML.search(content)


def _shown(content):
    text = errors.printable(errors.one_line(repr(content)))
    return text[:_SHOWN_CHARACTERS] + "..." * (len(text) > _SHOWN_CHARACTERS)

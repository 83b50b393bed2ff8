"""What can be wrong with the data, as exceptions and warnings, and how it is put into words."""

import re
import warnings
from collections.abc import Iterable

# How many names a message lists before it only counts.
LISTED = 5
# What Ctrl-C and SIGTERM leave to say.
STOPPED = "Stopped; no file is half written. The same command continues."
# Control characters, also those of Unicode that turn the text around or are not seen, its line
# breaks, bytes that are no UTF-8, and non-characters.
_ODD = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


class DatasetError(ValueError):
    """Something is wrong with the data or a file; the text is one line for the user.

    Parameters
    ----------
    message : str
        File, what was found, what was expected.
    file : path-like, optional
        The file at fault, for the failures file.
    code : str
        Short stable word for the kind of fault, for the failures file.
    expected, found : optional
        The two sides of the contradiction, for the failures file.
    """

    def __init__(self, message, *, file=None, code="data", expected=None, found=None):
        super().__init__(message)
        self.file = None if file is None else str(file)
        self.code = code
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)

    @property
    def cases(self) -> list["DatasetError"]:
        """The single faults; here the one that this is."""
        return [self]

    def __reduce__(self):
        # Exceptions cross process borders by pickle, which knows positional arguments only.
        return _rebuild, (type(self), str(self), self.file, self.code, self.expected, self.found)


def _rebuild(kind, message, file, code, expected, found):
    return kind(message, file=file, code=code, expected=expected, found=found)


class DamagedFileError(DatasetError):
    """A file that cannot be read to its end, or is not what its name says."""

    def __init__(self, message, *, file=None, code="damaged", expected=None, found=None):
        super().__init__(message, file=file, code=code, expected=expected, found=found)


class CasesError(DatasetError):
    """Several faults of one sample at once."""

    def __init__(self, cases: list[DatasetError]):
        super().__init__("; ".join(str(case) for case in cases))
        self._cases = list(cases)

    @property
    def cases(self) -> list[DatasetError]:
        """The single faults, in the order found."""
        return self._cases

    def __reduce__(self):
        return CasesError, (self._cases,)


class DataWarning(UserWarning):
    """Something odd that does not stop the sample; the runner prints it with the sample's name."""


def warn(message: str) -> None:
    """Tell the user something odd that does not stop the sample."""
    warnings.warn(message, DataWarning, stacklevel=2)


def listed(names: Iterable[object]) -> str:
    """Join names for a message; of more than `LISTED` the first ones and how many follow.

    >>> listed("abcdefgh")
    'a, b, c, d, e and 3 more'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def printable(text: object) -> str:
    """Return a text fit for one line of a terminal: odd characters are escaped.

    >>> print(printable("two" + chr(10) + "lines"))
    two\\nlines
    """
    return _ODD.sub(lambda odd: odd[0].encode("unicode_escape").decode("ascii"), str(text))


def one_line(error: object) -> str:
    """Put a library's message, or any text, on one line; an empty one becomes its type's name.

    >>> one_line("mapping values\\n  are not allowed here")
    'mapping values are not allowed here'
    """
    return " ".join(str(error).split()) or type(error).__name__

"""Metadata as people and spreadsheets write them, brought into one form, that of DICOM."""

import datetime
import re

from utils import errors
from utils.storage import cell_limits, files

UNDEFINED = "UND"
_SHOWN_CHARACTERS = 60  # a cell may hold a whole file

_NUMBER = re.compile("[0-9]+([eE][0-9]+)?")
_FLOAT = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SPREADSHEET_DIGITS = 15
_SPREADSHEET_WHOLE_NUMBER = re.compile(r"\A([0-9]+)\.0+\Z")
# Blanks of all kinds, and what nobody sees: copied from web pages, from PDF, from Arabic text.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200c\u200d\u200e\u200f"
_BLANKS += "\u2060\ufeff"
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_AGE = re.compile(r"0*([0-9]{1,3})(?:\.0+)?([YMWDymwd]?)")
_PER_YEAR = {"Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}
_OLDEST_YEARS = 150
_COMPACT_DATE = re.compile("([0-9]{4})([0-9]{2})([0-9]{2})")
# The year goes first; a time of day may follow, as databases and spreadsheets add it.
_TIME = r"(?:[T ][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
_DATE = re.compile(rf"([0-9]{{4}})([-/.])([0-9]{{1,2}})\2([0-9]{{1,2}}){_TIME}")
_CENTURIES = range(1800, 2200)
# Dots hide a folder, Windows takes blanks and dots off the end, and has devices of some names.
_NO_FOLDER = re.compile(
    r"""[\x00-\x1f\x7f<>:"/\\|?*]|^[.\s]|[.\s]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)""",
    re.IGNORECASE,
)
_LONGEST_FOLDER, _LONGEST_FOLDER_BYTES = 100, 255  # the latter of nearly all file systems


def stripped(text: str) -> str:
    """Return the text without blanks around it, of whatever kind.

    >>> stripped("\\u00a0 Prisma\\t ")
    'Prisma'
    """
    return text.strip(_BLANKS)


def whole_number_text(text: str) -> str:
    """Return the text without the fraction that a spreadsheet gives whole numbers.

    >>> whole_number_text("19510122.0"), whole_number_text("4.5")
    ('19510122', '4.5')
    """
    return _SPREADSHEET_WHOLE_NUMBER.sub(r"\1", text)


def is_of_spreadsheet(text: str, own: str) -> bool:
    """Whether a spreadsheet that took a text for a number would show this one instead.

    >>> is_of_spreadsheet("12", "0012"), is_of_spreadsheet("100", "01E002")
    (True, True)
    """
    if text == own or not _NUMBER.fullmatch(own) or not _FLOAT.fullmatch(text):
        return False
    return float(text) == float(f"{float(own):.{_SPREADSHEET_DIGITS}g}")


def is_folder(text: str) -> bool:
    """Whether a text can be the name of a folder on every system, and leads nowhere else.

    >>> is_folder("SOMATOM Definition AS+"), is_folder("a/b"), is_folder(".."), is_folder("con")
    (True, False, False, False)
    """
    fits = len(text) <= _LONGEST_FOLDER and len(text.encode()) <= _LONGEST_FOLDER_BYTES
    return fits and text != "" and not _NO_FOLDER.search(text)


def _sex(text):
    return _SEXES.get(text.lower())


def _age(text):
    found = _AGE.fullmatch(text)
    if not found:
        return None
    number, unit = int(found[1]), found[2].upper() or "Y"
    return f"{number:03d}{unit}" if number / _PER_YEAR[unit] <= _OLDEST_YEARS else None


def _date(text):
    compact, parted = _COMPACT_DATE.fullmatch(text), _DATE.fullmatch(text)
    if not compact and not parted:
        return None
    year, month, day = map(int, compact.groups() if compact else parted.group(1, 3, 4))
    try:
        datetime.date(year, month, day)
    except ValueError:
        return None
    return f"{year:04d}{month:02d}{day:02d}" if year in _CENTURIES else None


# Column or key -> what brings its text into form, and this form. All others are free text.
_FORMS = {
    "sex": (_sex, "M or F"),
    "age": (_age, "such as 062Y (or 62; 018M, 020W, 005D)"),
    "birth_date": (_date, "a day such as 19930601 (or 1993-06-01)"),
    "acquisition_date": (_date, "a day such as 20200514 (or 2020-05-14)"),
}


def plain(key: str, text: str) -> str | None:
    """Bring one metadata text into its form; None where that is not safe.

    Parameters
    ----------
    key : str
        ``sex``, ``age``, ``birth_date``, ``acquisition_date``, or the name of any other column.
    text : str

    Returns
    -------
    str or None
        Without blanks around it; ``M`` or ``F``, ``062Y``, a day of the calendar as ``YYYYMMDD``;
        an empty text and ``UND`` stay what they are. 01/06/1993 has two readings, and so has the
        serial number of a day in a spreadsheet: None, as for a text that no cell holds.

    >>> plain("sex", "male "), plain("age", "62.0"), plain("birth_date", "1993-06-01")
    ('M', '062Y', '19930601')
    >>> plain("sex", "TRUE"), plain("birth_date", "01/06/1993"), plain("site", " center")
    (None, None, 'center')
    """
    text = whole_number_text(stripped(text))
    if key not in _FORMS:
        return None if cell_limits.text_fault(text) else text
    return text.upper() if text.upper() in ("", UNDEFINED) else _FORMS[key][0](text)


def known(key: str, text: str) -> str | None:
    """Return the form of a metadata text; None where it tells nothing, or has no form.

    >>> known("sex", "male "), known("sex", "und"), known("sex", "TRUE"), known("site", "")
    ('M', None, None, None)
    """
    form = plain(key, text)
    return None if form in ("", UNDEFINED) else form


def fault(
    key: str,
    text: str,
    place: str,
    file: files.PathLike | None = None,
    code: str = "metadata",
    expected: str = "a text for a cell",
) -> errors.DatasetError:
    """Make the error for a text that `plain`, or a reader of other columns, makes nothing of.

    `place` reads ``in ...``; `expected` is told of columns that have no form here.
    """
    if key in _FORMS:
        expected = f"{_FORMS[key][1]}, or {UNDEFINED}"
    reason = cell_limits.text_fault(text) or f"expected {expected}"
    found = repr(text[:_SHOWN_CHARACTERS]) + "..." * (len(text) > _SHOWN_CHARACTERS)
    sides = {"expected": expected, "found": found}
    return errors.DatasetError(f"{key} is {found} {place}, {reason}", file=file, code=code, **sides)


def years(text: str) -> int | None:
    """Return the age in whole years of an age in any form; None where it is none.

    >>> years("062Y"), years("62"), years("018M"), years("UND")
    (62, 62, 1, None)
    """
    age = plain("age", text)
    return int(int(age[:-1]) / _PER_YEAR[age[-1]]) if age and age != UNDEFINED else None

"""What the cell of a workbook can hold; Excel counts UTF-16 units."""

import re

MAX_TEXT = 32767
# What XML 1.0 cannot hold: control characters, half surrogate pairs (undecodable file names).
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def excel_length(text: str) -> int:
    """Return the length of a text as Excel counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def text_fault(text: str) -> str:
    """Tell why no cell can hold a text; empty where one can."""
    forbidden = NOT_IN_XML.search(text)
    if forbidden:
        return f"the character {forbidden.group()!a} cannot stand in a workbook"
    length = excel_length(text)
    return f"{length} characters, Excel holds {MAX_TEXT}" if length > MAX_TEXT else ""

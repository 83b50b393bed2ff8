"""File name patterns with named groups, such as ``images/{seq}.nii.gz``, and texts made of them."""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Collection, Mapping

# A group may have a regular expression, and this may count: {seq:[0-9]{4}}.
_GROUP = re.compile(r"\{([a-z]+)(?::((?:[^{}]|\{[0-9,]+\})+))?\}")
# Without _ and . a name such as 0001_0000 has one reading only.
DEFAULT = "[A-Za-z0-9-]+"
SUFFIX = ".nii.gz"
# In a text: a column, perhaps filled up with zeros from the left.
_COLUMN = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::0>([1-9][0-9]?))?\}")


@dataclasses.dataclass(frozen=True)
class Pattern:
    """The path of a file, or the end of one, in whole parts, with groups in it.

    ``{seq}`` stands for letters, digits and hyphens, ``{seq:[0-9]+}`` for what a regular expression
    fits; a group that stands twice is the same text twice. All else is literal. The same name
    without ``.gz`` fits, too; so does one whose umlauts are two characters each, as macOS has them.

    >>> found = Pattern("labels/{seq}.nii.gz").match("a/labels/007.nii")
    >>> found, Pattern("labels/{seq}.nii.gz").match("a/mylabels/007.nii.gz")
    ({'seq': '007'}, None)
    """

    text: str

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in order, each once."""
        return list(dict.fromkeys(found[1] for found in _GROUP.finditer(self.text)))

    @property
    def expressions(self) -> dict[str, str]:
        """The regular expression of each group, where it stands first."""
        found = [*_GROUP.finditer(self.text)]
        return {group[1]: group[2] or DEFAULT for group in reversed(found)}

    def path(self, groups: Mapping[str, str]) -> str:
        """Return the path that has these texts for its groups.

        >>> Pattern("labels/{seq:[0-9]+}.nii.gz").path({"seq": "7"})
        'labels/7.nii.gz'
        """
        return _GROUP.sub(lambda group: groups[group[1]], self.text)

    def match(self, relative_path: str) -> dict[str, str] | None:
        """Return what a path has for each group; None where it does not fit."""
        found = self._expression.fullmatch(unicodedata.normalize("NFC", relative_path))
        groups = found.groupdict() if found else {"": "/"}
        # An expression such as .+ would take folders, too, and one such as [0-9]* nothing.
        fits = "/" not in "".join(groups.values()) and groups.get("seq") != ""
        return groups if fits else None

    def expression_of(self, group: str) -> str:
        """Return the regular expression of a group; any text where it has none of this name."""
        texts = {found[1]: found[2] or DEFAULT for found in reversed([*_GROUP.finditer(self.text)])}
        return texts.get(group, ".+")

    def fault(self, known: Collection[str], needed: str = "seq") -> str:
        """Say what is wrong with it, of the groups that are known; '' where it is usable.

        It must have the group that is `needed`, where that is not ''.
        """
        rest = _GROUP.sub("", self.text)
        if "{" in rest or "}" in rest:
            return "has { or } outside of a group such as {seq} or {seq:[0-9]+}"
        unknown = [name for name in self.groups if name not in known]
        if unknown:
            return f"has the group {{{unknown[0]}}}, expected one of {', '.join(known)}"
        if needed and needed not in self.groups:
            return "has no group {seq}, which tells the samples apart"
        if not self.text.endswith(SUFFIX):
            return f"does not end in {SUFFIX} (which stands for .nii, too)"
        if self.text.startswith("/") or {".", "..", ""} & {*self.text.split("/")}:
            return "is no relative path of plain parts"
        try:
            names = self._expression.groupindex
        except re.error as error:
            return f"has no valid regular expression: {error}"
        if {*names} != {*self.groups}:
            return "has a regular expression with named groups of its own, expected (?:...)"
        return ""

    @functools.cached_property
    def _expression(self):
        parts, end, seen = [], 0, set()
        text = unicodedata.normalize("NFC", self.text.removesuffix(".gz"))
        for found in _GROUP.finditer(text):
            name, expression = found[1], found[2] or DEFAULT
            parts.append(re.escape(text[end : found.start()]))
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{expression})")
            seen.add(name)
            end = found.end()
        return re.compile("".join(["(?s:.*/)?", *parts, re.escape(text[end:]), r"(?:\.gz)?"]))


@dataclasses.dataclass(frozen=True)
class Template:
    """A text with columns in it: ``ct-org_{seq:0>3}``.

    >>> Template("ct-org_{seq:0>3}").of({"seq": "7"})
    'ct-org_007'
    """

    text: str

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order, each once."""
        return list(dict.fromkeys(found[1] for found in _COLUMN.finditer(self.text)))

    def of(self, values: Mapping[str, str]) -> str:
        """Return the text with these values in it."""
        return _COLUMN.sub(lambda found: values[found[1]].rjust(int(found[2] or 0), "0"), self.text)

    def fits(self, text: str, expressions: Mapping[str, str]) -> bool:
        """Whether a text may be one made of columns that fit regular expressions.

        A column without one may be any text.

        >>> Template("ct-org_{seq:0>3}").fits("ct-org_007", {"seq": "[0-9]+"})
        True
        """
        parts, end, seen = [], 0, set()
        for found in _COLUMN.finditer(self.text):
            name = found[1]
            expression = ".+" if name in seen else expressions.get(name, ".+")
            zeros = "0*" if found[2] else ""
            parts += [re.escape(self.text[end : found.start()]), f"{zeros}(?:{expression})"]
            seen.add(name)
            end = found.end()
        try:
            return re.fullmatch("".join(parts) + re.escape(self.text[end:]), text) is not None
        except re.error:  # its groups have other numbers here: \3
            return True

    def fault(self, known: Collection[str]) -> str:
        """Say what is wrong with it, of the columns that are known; '' where it is usable."""
        rest = _COLUMN.sub("", self.text)
        if "{" in rest or "}" in rest:
            return "has { or } outside of a column such as {seq} or {seq:0>3}"
        unknown = [name for name in self.columns if name not in known]
        if unknown:
            return f"has the column {{{unknown[0]}}}, expected one of {', '.join(known)}"
        return ""

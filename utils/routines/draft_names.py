"""File names of an archive that nobody has described yet, generalised to `file_patterns`."""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from utils.facts import described, file_patterns

VOLUME, MASK = described.VOLUME, described.MASK
# Word of a name, lower case -> type of the file. Weak ones count where there is no other.
_WORDS = {
    **dict.fromkeys("image images img imgs imaging volume volumes vol vols".split(), VOLUME),
    **dict.fromkeys("label labels lab lbl lbls mask masks seg segs segmentation".split(), MASK),
    **dict.fromkeys("segmentations segm gt groundtruth annotation annotations".split(), MASK),
    **dict.fromkeys("labelmap contour contours roi rois".split(), MASK),
}
_SEQUENCES = set("ct cta mr mri pet t1 t2 t1c t1ce t1n t1w t2w t2f flair adc dwi pd".split())
_WEAK = {**dict.fromkeys({*_SEQUENCES, "scan", "scans", "data"}, VOLUME)}
SUBSETS = {
    **dict.fromkeys(("tr", "train", "training"), "train"),
    **dict.fromkeys(("va", "vd", "val", "valid", "validation"), "val"),
    **dict.fromkeys(("ts", "te", "test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+(?:[0-9](?=[a-z]*$))?|[A-Z]+(?![a-z])|[0-9]+|[^\W\d_]+")
_LETTERS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# What folders of subsets are called besides.
_OF_SETS = {"set", "sets", "data", "cases", "scans"}
# Where a name is cut into texts; the first way that gives forms of several names each is taken.
_CUTS = (re.compile("([-_. +]+)"), re.compile("([_. +]+)"))
_CHANNEL = re.compile("000[0-9]")
# Expressions of a group, the widest that has one reading first.
_EXPRESSIONS = (
    file_patterns.DEFAULT,
    "[0-9]+",
    "[A-Za-z0-9]+",
    "[A-Za-z0-9_]+",
    "[A-Za-z0-9_-]+",
    "[A-Za-z0-9_.-]+",
    "[^/]+",
    ".+",
)
# A part of a path in which the text of a subset stands, and one that may vary.
_HERE, _ANY = "\0", "\1"
# Names without numbers may all look different; so many kinds of them are told apart at most.
_MOST_KINDS = 12


def words(text: str) -> list[str]:
    """Return the words and numbers of a name, lower case.

    >>> words("imagesTr"), words("CT-ORG_t1")
    (['images', 'tr'], ['ct', 'org', 't1'])
    """
    return [word.lower() for word in _WORD.findall(text)]


class File(NamedTuple):
    """A path cut into parts, the last without suffix; its type and the part that tells it."""

    path: str
    parts: tuple[str, ...]
    type: str
    told_at: int


@dataclasses.dataclass(eq=False)
class _Field:
    """What varies in the names of a series: its texts, the part it stands in, its group."""

    values: tuple[str, ...]
    part: int
    group: str = ""
    expression: str = file_patterns.DEFAULT

    @property
    def text(self):
        default = self.expression == file_patterns.DEFAULT
        return f"{{{self.group}}}" if default else f"{{{self.group}:{self.expression}}}"


@dataclasses.dataclass
class Series:
    """Files of one type whose names have one form.

    Attributes
    ----------
    type : str
        `VOLUME` or `MASK`.
    paths : tuple of str
    tokens : list
        Texts and fields, in order.
    doubts : list of str
        What to check about the names.
    """

    type: str
    paths: tuple[str, ...]
    tokens: list
    doubts: list[str] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        """The pattern, as the page has it."""
        texts = (getattr(token, "text", token) for token in self.tokens)
        return "".join(texts) + file_patterns.SUFFIX

    @property
    def fields(self) -> list[_Field]:
        """What varies, in order, each once."""
        return [*dict.fromkeys(token for token in self.tokens if isinstance(token, _Field))]

    def values(self, group: str) -> tuple[str, ...]:
        """Return what each path has for a group; '' where the names have no such group."""
        found = [field.values for field in self.fields if field.group == group]
        return found[0] if found else ("",) * len(self.paths)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """What tells the samples apart, of each path: subset, patient, seq."""
        return [*zip(*(self.values(group) for group in ("subset", "patient", "seq")))]


def series_of(found: Sequence[File], is_whole: bool = False) -> list[Series]:
    """Sort files into series, and find out what varies in each.

    Those whose samples three folders would have to tell apart are in none. With `is_whole` all that
    varies in a name is the seq, also where it seems to be patient and scan.
    """
    subsets = {SUBSETS[word] for file in found for word in _subset_words(file)}
    groups = collections.defaultdict(list)
    for file in found:
        groups[file.type, _marks(file, len(subsets) > 1)].append(file)
    made = []
    for (_, marks), members in sorted(groups.items()):
        for form, cut in _forms(members):
            tokens = _tokens(form, marks, cut, len(subsets) > 1)
            series = Series(form[0].type, tuple(file.path for file in form), tokens)
            _name(series, is_whole)
            made.append(series)
    # No group of a pattern goes across folders.
    return [one for one in made if not any("/" in "".join(f.values) for f in one.fields)]


def typed(paths: Sequence[str], may_be_masks: Callable[[list[str]], bool]) -> list[File]:
    """Cut the paths of NIfTI files into parts, and tell volumes from masks.

    Words that not all names have tell it; else `may_be_masks`, which looks into some of such files.
    """
    cut = [tuple(re.sub(r"\.nii(\.gz)?$", "", path).split("/")) for path in paths]
    common = set.intersection(*(set(words(parts[-1])) for parts in cut)) if len(cut) > 1 else set()
    for known in ((_WORDS, _WEAK), (_WORDS,)):  # weak ones count beside masks alone
        found = [File(p, parts, *_told(parts, common, known)) for p, parts in zip(paths, cut)]
        if any(file.type == MASK for file in found):
            break
    for blanked in ("[0-9]+", r"[^\W_]+"):
        kinds = collections.defaultdict(list)
        for file in found:
            if not file.type:
                kinds[re.sub(blanked, "0", file.path)].append(file.path)
        if len(kinds) <= _MOST_KINDS:
            break
    masks = {path for kind in kinds.values() if may_be_masks(kind) for path in kind}
    told = [(file, file.type or (MASK if file.path in masks else VOLUME)) for file in found]
    folders = [{f.parts[:-1] for f, kind in told if kind == wanted} for wanted in (VOLUME, MASK)]
    # Folders of volumes and folders of masks, whatever they are called.
    is_by_folder = not folders[0] & folders[1] and sum(map(len, folders)) * 2 <= len(found)
    return [
        file if file.type else File(*file[:2], kind, max(file.told_at - is_by_folder, 0))
        for file, kind in told
    ]


def _told(parts, common, tables):
    """The type of a file, and the index of the part whose word tells it: the nearest one."""
    for known in tables:
        for index in range(len(parts) - 1, -1, -1):
            found = {*words(parts[index])} - (common if index == len(parts) - 1 else set())
            types = {known[word] for word in found if word in known}
            if types:
                return (MASK if MASK in types else VOLUME), index
    return "", len(parts) - 1


def _subset_words(file):
    """The words of a path that name subsets."""
    yield from filter(None, map(_subset_of, file.parts[:-1]))
    yield from (word for word in _CUTS[1].split(file.parts[-1].lower()) if word in SUBSETS)


def _subset_of(part):
    """The word of a folder that names its subset; '' where it has others beside it."""
    rest = {word for word in words(part) if not word.isdigit() and not _is_role(word)} - _OF_SETS
    return min(rest) if len(rest) == 1 and rest <= SUBSETS.keys() else ""


def _subset_in(part):
    return next(match for match in _LETTERS.finditer(part) if match[0].lower() in SUBSETS)


def _is_role(text):
    """Whether all words tell types of files."""
    return all(word in _WORDS or word in _WEAK for word in words(text))


def _marks(file, has_subsets):
    """The folders that a pattern must have: a text, perhaps with a mark for the subset; `_ANY`."""
    folders, told_at = file.parts[:-1], file.told_at
    subset_at = [i for i, part in enumerate(folders) if has_subsets and _subset_of(part)]
    made = []
    for index in range(min([told_at, *subset_at]), len(folders)):
        part = folders[index]
        if index in subset_at:
            begin, end = _subset_in(part).span()
            part = part[:begin] + _HERE + part[end:]
        elif index > told_at or not {*words(part)} & {*_WORDS}:
            part = _ANY
        made.append(part)
    return tuple(made)


def _forms(members):
    """Sort files by how their names are cut: yield (files, how to cut a name into texts)."""
    names = [file.parts[-1] for file in members]
    if len({*names}) * 2 <= len(names):  # names of many: their folders tell the samples apart
        return [(members, lambda name: [name])]
    ways = []
    for cut in _CUTS:
        forms = collections.defaultdict(list)
        for file, name in zip(members, names):
            forms[tuple(cut.split(name)[1::2])].append(file)
        if len(forms) > 1 and (least := min(map(len, forms))):
            # Organs of several words.
            tails = {cut.split(name, least)[-1] for name in names}
            if len(tails) * 2 <= len(names):
                return [(members, functools.partial(cut.split, maxsplit=least))]
        if any(forms) and (len(forms) == 1 or all(len(form) > 1 for form in forms.values())):
            ways.append([(form, cut.split) for _, form in sorted(forms.items())])
    ways.sort(key=len)
    return [*ways, [(members, lambda name: [name])]][0]


def _tokens(members, marks, cut, has_subsets):
    """Texts and fields of the shortest end of the paths that tells the samples apart."""
    depth, most = len(marks), min(len(file.parts) for file in members) - 1
    while depth < most and not _is_enough([file.parts[-1 - depth :] for file in members]):
        depth += 1
    tokens: list = []
    for part in range(depth, 0, -1):
        texts = [file.parts[-1 - part] for file in members]
        if part <= len(marks) and _HERE in marks[-part]:
            before, after = marks[-part].split(_HERE)
            found = tuple(_subset_in(text)[0] for text in texts)
            tokens += [before, _Field(found, part, "subset"), after, "/"]
        else:
            tokens += [*_of_texts(texts, part), "/"]
    for column in zip(*(cut(file.parts[-1]) for file in members)):
        if has_subsets and all(text.lower() in SUBSETS for text in column):
            tokens.append(_Field(column, 0, "subset"))
        else:
            tokens += _of_texts(column, 0)
    _give_kind(tokens, members[0].type)
    for again in [token for token in tokens if getattr(token, "group", "") == "subset"][1:]:
        again.group = ""
    if not any(isinstance(token, _Field) and not token.group for token in tokens):
        _make_vary(tokens, len(members))
    return tokens


def _is_enough(ends):
    """Whether the ends of paths differ, and say more than what the files are."""
    return len({*ends}) == len(ends) and (len(ends) > 1 or not _is_role("/".join(ends[0])))


def _of_texts(texts, part):
    """A text, or a field between what all texts begin with and end in."""
    if len({*texts}) == 1:
        return [texts[0]]
    before, after = _common(texts), _common([text[::-1] for text in texts])[::-1]
    if any(len(text) <= len(before) + len(after) for text in texts):
        before = after = ""
    values = [text[len(before) : len(text) - len(after)] for text in texts]
    role = _role_before(values)
    return [before + role, _Field(tuple(value[len(role) :] for value in values), part), after]


def _common(texts):
    """What all texts begin with, cut where a word or number begins."""
    found = [*re.finditer(r"[-_. +]+", os.path.commonprefix(texts))]
    return texts[0][: found[-1].end()] if found else ""


def _role_before(values):
    """The letters before numbers, where all have them, and they tell what the file is."""
    found = {match and match[0] for match in (re.match(r"[^\W\d_]+(?=[0-9])", v) for v in values)}
    role = found.pop()
    return role if role and not found and _is_role(role) else ""


def _give_kind(tokens, file_type):
    """Name the field that tells files of one sample apart: the channel, or the organ of masks."""
    fields = [token for token in tokens if isinstance(token, _Field)]
    for field in [field for field in fields if not field.group][:0:-1]:
        if field.part:
            return
        others = {*zip(*(other.values for other in fields if other is not field))}
        found, count = {*field.values}, len(field.values)
        is_needed = len(others) < count and len(found) * 2 <= count
        is_channel = file_type == VOLUME and all(map(_CHANNEL.fullmatch, found))
        if is_channel or is_needed and _is_of_words(found):
            field.group = "channel" if file_type == VOLUME else "organ"
            return


def _is_of_words(values):
    """Whether texts are names of sequences, or words that differ in more than their numbers."""
    if {value.lower() for value in values} <= _SEQUENCES:
        return True
    is_word = all(re.match(r"[^\W\d_]", value) for value in values)
    return is_word and len({re.sub("[0-9]+", "", value) for value in values}) > 1


def _make_vary(tokens, count):
    """Make a field, in place, of the last number of a name, or the last word that is no role."""
    texts = [index for index, token in enumerate(tokens) if isinstance(token, str) and words(token)]
    numbers = [index for index in texts if re.search("[0-9]", tokens[index])]
    named = [index for index in texts if not _is_role(tokens[index])]
    index = (numbers or named or texts or [len(tokens) - 1])[-1]
    text = tokens[index]
    if not isinstance(text, str):
        text.group = ""
        return
    role = _role_before([text])
    part = "".join(t for t in tokens[index:] if isinstance(t, str)).count("/")
    tokens[index : index + 1] = [role, _Field((text[len(role) :],) * count, part)]


def _name(series, is_whole):
    """Give the fields their groups: seq, and patient where it is told."""
    fields = [field for field in series.fields if not field.group]
    for field in [*fields]:  # what says the same as another one is its group again
        same = next(other for other in fields if other.values == field.values)
        if same is not field:
            series.tokens[:] = [same if token is field else token for token in series.tokens]
            fields.remove(field)
    folder = [field for field in fields if field.part == fields[0].part]
    if len(folder) < len(fields):
        _join(series, folder, "patient")
        _join(series, fields[len(folder) :], "seq")
        series.doubts.append("{patient} is a folder; is it one of a patient?")
    elif len(fields) == 1 or is_whole or not _name_two(series, fields):
        _join(series, fields, "seq")
    for field in series.fields:
        field.expression = _expression(field)


def _name_two(series, fields):
    """Name two fields of one part where they are scan and patient; tells whether they are."""
    first, second = fields[0], fields[-1]
    subsets = series.values("subset")
    n_first = len({*zip(subsets, first.values)})
    is_word = any(all(map(str.isalpha, field.values)) for field in fields)
    if is_word or len(fields) > 2 or len(subsets) < 3:
        return False
    if n_first == len(subsets) and len({*second.values}) < len(subsets):
        first.group, second.group = "seq", "patient"
        series.doubts.append("what follows {seq} is in several names: is it the patient?")
    elif n_first < len({*zip(subsets, first.values, second.values)}):
        first.group, second.group = "patient", "seq"
        series.doubts.append("{patient} is in several names: are they scans of one patient?")
    return bool(first.group)


def _join(series, fields, group):
    """Make one field of several, and of the texts between them."""
    if len(fields) == 1:
        fields[0].group = group
        return
    places = [index for index, token in enumerate(series.tokens) if token in fields]
    begin, end = places[0], places[-1]
    between, n_paths = series.tokens[begin : end + 1], len(series.paths)
    columns = (getattr(token, "values", (token,) * n_paths) for token in between)
    values = tuple(map("".join, zip(*columns)))
    series.tokens[begin : end + 1] = [_Field(values, fields[0].part, group)]


def _expression(field, start=0):
    """The first expression, from `start`, that fits all texts."""
    if field.group == "subset" or field.group == "channel" and not field.values[0].isdecimal():
        return "|".join(sorted(map(re.escape, {*field.values})))
    return next(
        expression
        for expression in _EXPRESSIONS[start:]
        if all(re.fullmatch(expression, value) for value in field.values)
    )


def tighten(series: Series) -> None:
    """Narrow the expressions of a series where they can be."""
    for field in series.fields:
        if field.expression == file_patterns.DEFAULT:
            field.expression = _expression(field, 1)


def give_subset(series: Series) -> str:
    """Make a field for the subset of the first word of a series' file names; return the word.

    Its other texts stay; '' where the names begin with no word.
    """
    begin = max((i + 1 for i, token in enumerate(series.tokens) if token == "/"), default=0)
    for index, token in enumerate(series.tokens[begin:], begin):
        if isinstance(token, str) and re.search("[A-Za-z0-9]", token):
            values = (token,) * len(series.paths)
            series.tokens[index] = _Field(values, 0, "subset", re.escape(token))
            return token
    return ""

"""File names of an archive that nobody has described yet, generalised to `file_patterns`."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterable, Sequence

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
# Where a name is cut into fields; the first way that cuts all names of a series alike is taken.
_CUTS = (re.compile("([-_. +]+)"), re.compile("([_. +]+)"))
_CHANNEL = re.compile("000[0-9]")
_CHANNELS_END = re.compile("_000[0-9]$")
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
# A part of a path in which the text of a subset stands, and one that varies.
_HERE, _ANY = "\0", "\1"
_MANY_STEMS = 3


def words(text: str) -> list[str]:
    """Return the words and numbers of a name, lower case.

    >>> words("imagesTr"), words("CT-ORG_t1")
    (['images', 'tr'], ['ct', 'org', 't1'])
    """
    return [word.lower() for word in _WORD.findall(text)]


@dataclasses.dataclass(frozen=True)
class _File:
    """A path cut into parts, the last without suffix; its type and the part that tells it."""

    path: str
    parts: tuple[str, ...]
    type: str
    told_at: int

    @property
    def stem(self):
        return self.parts[-1]


@dataclasses.dataclass
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
    """Files whose names have one form.

    Attributes
    ----------
    type : str
        `VOLUME`, `MASK`, or '' where the names do not tell it.
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
        return "".join(getattr(token, "text", token) for token in self.tokens)

    @property
    def fields(self) -> list[_Field]:
        """What varies, in order."""
        return [token for token in self.tokens if isinstance(token, _Field)]

    def values(self, group: str) -> tuple[str, ...]:
        """Return what each path has for a group; '' where the names have no such group."""
        found = [field.values for field in self.fields if field.group == group]
        return found[0] if found else ("",) * len(self.paths)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """What tells the samples apart, of each path: subset, patient, seq."""
        return [*zip(*(self.values(group) for group in ("subset", "patient", "seq")))]


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How names are read: whether they tell subsets, and whether all that varies is the seq."""

    has_subsets: bool
    is_whole: bool


def series_of(paths: Sequence[str], is_whole: bool = False) -> list[Series]:
    """Sort the paths of NIfTI files into series, and find out what varies in each.

    Those whose samples three folders would have to tell apart are in none.

    Parameters
    ----------
    paths : sequence of str
    is_whole : bool
        All that varies in a name is the seq, also where it seems to be patient and scan.
    """
    found = _parsed(paths)
    subsets = {SUBSETS[word] for file in found for word in _subset_words(file)}
    reading = _Reading(len(subsets) > 1, is_whole)
    nested = _nested(found)
    spans = _spans(found, nested, reading.has_subsets)
    made, taken = [], _grouped(spans, nested, reading)
    for file_type, stem, members in taken:
        own = _read(file_type, stem, members, reading)
        while _is_ambiguous(own) and any(start for _, start in members):
            members = [(file, max(start - 1, 0)) for file, start in members]
            own = _read(file_type, stem, members, reading)
        made += own
    # No group of a pattern goes across folders.
    return [one for one in made if not any("/" in "".join(f.values) for f in one.fields)]


def _grouped(spans, nested, reading):
    """Yield (type, stem or `_ANY`, [(file, begin of the pattern)]) of files of one form."""
    groups = collections.defaultdict(list)
    for file, start in spans.items():
        stem = file.stem if file in nested else _ANY
        groups[file.type, _marks(file, start, reading), stem].append((file, start))
    return [
        (file_type, stem, groups[file_type, marks, stem])
        for file_type, marks, stem in sorted(groups)
    ]


def _marks(file, start, reading):
    return tuple(_marked(file, i, reading.has_subsets) for i in range(start, len(file.parts) - 1))


def _read(file_type, stem, members, reading):
    """Make the series of files of one form; those of other marks are apart."""
    groups = collections.defaultdict(list)
    for file, start in members:
        groups[_marks(file, start, reading)].append((file, start))
    return [
        series
        for marked, own in sorted(groups.items())
        for part in _alike(own, stem)
        for series in _series(file_type, marked, stem, part, reading)
    ]


def _is_ambiguous(found):
    """Whether two files of one type, which are no channels, have the same sample."""
    keys = [key for series in found if not any(series.values("channel")) for key in series.keys]
    texts = {series.text for series in found}
    return len(texts) == 1 and len({*keys}) < len(keys)


def _parsed(paths):
    """Cut paths into parts, and tell volumes from masks by the words that not all names have."""
    cut = [tuple(re.sub(r"\.nii(\.gz)?$", "", path).split("/")) for path in paths]
    common = set.intersection(*(set(words(parts[-1])) for parts in cut)) if len(cut) > 1 else set()
    found = [_File(path, parts, *_told(parts, common)) for path, parts in zip(paths, cut)]
    return _by_channel(found) if not any(file.type for file in found) else found


def _by_channel(found):
    """The files with their types where the channel, ``_0000``, alone tells volumes from masks."""
    stems = {file.stem for file in found}
    masks = {_CHANNELS_END.sub("", stem) for stem in stems if _CHANNELS_END.search(stem)} & stems
    return [
        dataclasses.replace(file, type=MASK if file.stem in masks else VOLUME)
        if masks and (file.stem in masks or _CHANNELS_END.search(file.stem))
        else file
        for file in found
    ]


def _told(parts, common):
    """The type of a file, and the index of the part whose word tells it: the nearest one."""
    for known in (_WORDS, _WEAK):
        for index in range(len(parts) - 1, -1, -1):
            found = {*words(parts[index])} - (common if index == len(parts) - 1 else set())
            types = {known[word] for word in found if word in known}
            if types:
                return (MASK if MASK in types else VOLUME), index
    return "", len(parts) - 1


def _subset_words(file):
    """The words of a path that name subsets."""
    yield from filter(None, map(_subset_of, file.parts[:-1]))
    yield from (field.lower() for field in _CUTS[1].split(file.stem) if field.lower() in SUBSETS)


def _subset_of(part):
    """The word of a folder that names its subset; '' where it has others beside it."""
    known = {*words(part)}
    rest = {word for word in known - _OF_SETS if not word.isdigit() and not _is_role_word(word)}
    return min(rest) if len(rest) == 1 and rest <= SUBSETS.keys() else ""


def _is_role_word(word):
    return word in _WORDS or word in _WEAK


def _nested(found):
    """The files whose name is that of many: their folders tell the samples apart."""
    places = collections.defaultdict(set)
    for file in found:
        plain = [
            [w for w in words(p) if w not in SUBSETS and not _is_role_word(w)]
            for p in file.parts[:-1]
        ]
        places[file.type, file.stem].add(str([part for part in plain if part]))
    nested = set()
    for file_type in {file.type for file in found}:
        own = [file for file in found if file.type == file_type]
        few = len({file.stem for file in own}) * _MANY_STEMS <= len(own)
        nested |= {
            file
            for file in own
            if all(map(_is_role_word, words(file.stem) or ["?"]))
            or (few and len(places[file_type, file.stem]) > 1)
        }
    # One mask an organ, in the folder of a scan.
    homes = {file.parts[:-1] for file in nested if file.type == VOLUME} - {()}
    lone = {file.parts[:-1] for file in found if file.type == VOLUME and file not in nested}
    if homes - lone:
        nested |= {
            file
            for file in found
            if file.type == MASK and ({file.parts[:-1], file.parts[:-2]} & (homes - lone))
        }
    return nested


def _spans(found, nested, has_subsets):
    """Where, in the parts of each file, its pattern begins."""
    spans = {}
    by_stem = collections.defaultdict(list)
    for file in found:
        start = min(len(file.parts) - 1, file.told_at)
        if has_subsets:
            with_subset = [i for i, part in enumerate(file.parts[:-1]) if _subset_of(part)]
            start = min([start, *with_subset])
        spans[file] = start
        by_stem[file.type, file.stem if file in nested else _ANY].append(file)
    for (_, stem), members in by_stem.items():
        depth = 0 if stem == _ANY else _depth(members)
        for file in members:
            spans[file] = max(min(spans[file], len(file.parts) - 1 - depth), 0)
    return spans


def _depth(members):
    """How many folders tell files of one name apart; the nearest ones."""
    longest = max(len(file.parts) - 1 for file in members)
    for depth in range(1, longest + 1):
        if len({file.parts[-1 - depth : -1] for file in members}) == len(members):
            varying = [
                {file.parts[-1 - d] for file in members if d < len(file.parts)}
                for d in range(1, depth + 1)
            ]
            if len(members) > 1 or not all(map(_is_role_word, words(str(*varying[-1])))):
                return depth
    return longest


def _marked(file, index, has_subsets):
    """A folder of the pattern: its text, perhaps with a mark for the subset; or `_ANY`."""
    part = file.parts[index]
    if has_subsets and _subset_of(part):
        found = _subset_in(part)
        return part[: found.start()] + _HERE + part[found.end() :]
    named = {*words(part)} & {*_WORDS}
    return part if named and index <= file.told_at else _ANY


def _subset_in(part):
    return next(match for match in _LETTERS.finditer(part) if match[0].lower() in SUBSETS)


def _alike(members, stem):
    """Sort files by how their names are cut into fields; all in one where that makes crumbs."""
    if stem != _ANY:
        return [(members, None)]
    ways = []
    for cut in _CUTS:
        forms = collections.defaultdict(list)
        for file, start in members:
            forms[tuple(cut.split(file.stem)[1::2])].append((file, start))
        ways.append([(form, cut) for _, form in sorted(forms.items())])
    alike = [way for way in ways if len(way) == 1]
    no_crumbs = [way for way in ways if all(len(form) > 1 for form, _ in way)]
    return [*alike, *no_crumbs, [(members, None)]][0]


def _series(file_type, marked, stem, part, reading):
    members, cut = part
    names = [file.stem for file, _ in members]
    if stem == _ANY and cut:
        by_word = _by_word(names, cut)
        if len(by_word) > 1:
            chosen = ([members[index] for index in indexes] for indexes in by_word.values())
            parts = ((file_type, marked, stem, (group, cut), reading) for group in chosen)
            return [series for words in parts for series in _series(*words)]
    tokens: list = []
    for offset, form in enumerate(marked):
        tokens += [
            *_of_folder([f.parts[start + offset] for f, start in members], offset, form),
            "/",
        ]
    tokens += [stem] if stem != _ANY else _fields(names, len(marked), cut, reading.has_subsets)
    for token in [token for token in tokens if isinstance(token, _Field) and token.group][1:]:
        token.group = ""
    if not [token for token in tokens if isinstance(token, _Field) and not token.group]:
        tokens = _made_to_vary(_joined(tokens), len(members), len(marked))
    paths = tuple(file.path for file, _ in members)
    series = Series(file_type, paths, [*tokens, file_patterns.SUFFIX])
    _name(series, reading)
    series.tokens = _joined(series.tokens)
    return [series]


def _of_folder(texts, offset, form):
    if _HERE in form:
        before, after = form.split(_HERE)
        found = tuple(_subset_in(text)[0] for text in texts)
        return [before, _Field(found, offset, "subset"), after]
    return [form] if form != _ANY else _fields(texts, offset, None)


def _joined(tokens):
    """The tokens with texts that follow each other made one."""
    made: list = []
    for token in tokens:
        if isinstance(token, str) and made and isinstance(made[-1], str):
            made[-1] += token
        elif token != "":
            made.append(token)
    return made


def _by_word(names, cut):
    """{word: indexes} of names whose last fields are one of few words: sequences, organs."""
    columns = [*zip(*(cut.split(name)[::2] for name in names))]
    varying = [column for column in columns if len({*column}) > 1]
    made = collections.defaultdict(list)
    for row, value in enumerate(next(filter(_is_of_words, varying[1:]), ())):
        made[value].append(row)
    return made


def _is_of_words(column):
    """Whether a field has one of few words, none of which is a subset."""
    lower = {value.lower() for value in column}
    is_plain = all(word in _SEQUENCES or re.fullmatch(r"[^\W\d_]+", word) for word in lower)
    return is_plain and not lower & SUBSETS.keys() and len({*column}) * 2 <= len(column)


def _fields(texts, part, cut, has_subsets=False):
    """Literal texts and fields of one part of the paths."""
    if len({*texts}) == 1 and not has_subsets:
        return [texts[0]]
    if cut is None:
        before, after = _ends(texts)
        return [
            before,
            _Field(tuple(t[len(before) : len(t) - len(after)] for t in texts), part),
            after,
        ]
    columns = [*zip(*(cut.split(text) for text in texts))]
    tokens = []
    for column in columns:
        if has_subsets and all(value.lower() in SUBSETS for value in column):
            tokens.append(_Field(column, part, "subset"))
        elif len({*column}) == 1:
            tokens.append(column[0])
        else:
            tokens += _without_role(column, part)
    return tokens


def _without_role(column, part):
    """A field; letters before its numbers are no part of it where they tell what the file is."""
    found = [re.fullmatch(r"([^\W\d_]+)([0-9].*)", value) for value in column]
    if all(found) and len({match[1] for match in found}) == 1:
        if any(map(_is_role_word, words(found[0][1]))):
            return [found[0][1], _Field(tuple(match[2] for match in found), part)]
    return [_Field(tuple(column), part)]


def _ends(texts):
    """What all texts begin with and end in, cut where a word or number begins."""
    before = os.path.commonprefix(texts)
    before = before[: max((m.end() for m in re.finditer(r"[-_. +]+", before)), default=0)]
    rest = [text[len(before) :][::-1] for text in texts]
    after = os.path.commonprefix(rest)
    after = after[: max((m.end() for m in re.finditer(r"[-_. +]+", after)), default=0)]
    if any(len(text) <= len(before) + len(after) for text in texts):
        return "", ""
    return before, after[::-1]


def _made_to_vary(tokens, count, part):
    """Take the last number of a name for the field, or the name, where no name has another."""
    tokens = [
        piece
        for token in tokens
        for piece in (re.split("(/)", token) if isinstance(token, str) else [token])
        if piece
    ]
    for index in range(len(tokens) - 1, -1, -1):
        token = tokens[index]
        if isinstance(token, str) and (
            found := re.search(r"([^\W_]*[0-9]+[^\W_]*)(?=\D*$)", token)
        ):
            begin, end = found.span()
            word = re.match(r"[^\W\d_]+", found[1])
            begin += len(word[0]) if word and _is_role_word(word[0].lower()) else 0
            field = _Field((token[begin:end],) * count, part)
            return [*tokens[:index], token[:begin], field, token[end:], *tokens[index + 1 :]]
    names = [
        index
        for index, token in enumerate(tokens)
        if isinstance(token, str) and not all(map(_is_role_word, words(token) or ["ct"]))
    ]
    index = names[-1] if names else len(tokens) - 1
    token = tokens[index]
    values = (token,) * count if isinstance(token, str) else token.values
    return [*tokens[:index], _Field(values, part), *tokens[index + 1 :]]


def _name(series, reading):
    """Give the fields their groups: seq, and patient or channel where they are told."""
    fields = [field for field in series.fields if not field.group]
    last = fields[-1]
    if series.type != MASK and len(fields) > 1 and all(map(_CHANNEL.fullmatch, last.values)):
        last.group = "channel"
        fields.pop()
    fields = _same_once(series, fields)
    subsets = series.values("subset")
    parts = sorted({field.part for field in fields})
    if len(parts) > 1:
        for field in fields:
            field.group = "patient" if field.part == parts[0] else ""
        own = [field for field in fields if field.part == parts[0]]
        _join(series, own, "patient")
        _join(series, [field for field in fields if field.part != parts[0]], "seq")
        series.doubts.append("{patient} is a folder; is it one of a patient?")
    elif len(fields) == 1 or reading.is_whole:
        _join(series, fields, "seq")
    else:
        _name_two(series, fields, subsets)
    for field in series.fields:
        field.expression = _expression(field)


def _same_once(series, fields):
    """Drop fields that say what another one says: the pattern has its group twice."""
    kept: list[_Field] = []
    for field in fields:
        same = [other for other in kept if other.values == field.values]
        if same:
            series.tokens[:] = [same[0] if token is field else token for token in series.tokens]
        else:
            kept.append(field)
    return kept


def _name_two(series, fields, subsets):
    """Name several fields of one part: scans of patients, patients of scans, or one long seq."""
    first, second = fields[0], fields[-1]

    def is_unique(*some):
        return len({*zip(subsets, *(field.values for field in some))}) == len(subsets)

    def repeats(field):
        return len({*field.values}) < len(subsets)

    is_word = all(value.isalpha() for value in first.values)
    if len(fields) == 2 and not is_word and len(subsets) > 2:
        if is_unique(first) and repeats(second):
            first.group, second.group = "seq", "patient"
            series.doubts.append("what follows {seq} is in several names: is it the patient?")
            return
        if not is_unique(first) and is_unique(first, second):
            first.group, second.group = "patient", "seq"
            series.doubts.append("{patient} is in several names: are they scans of one patient?")
            return
    _join(series, fields, "seq")


def _join(series, fields, group):
    """Make one field of several, and of the texts between them."""
    fields[0].group = group
    if len(fields) == 1:
        return
    tokens = series.tokens
    places = [i for i, token in enumerate(tokens) if any(token is field for field in fields)]
    begin, end = places[0], places[-1]
    between = tokens[begin : end + 1]
    columns = [t.values if isinstance(t, _Field) else (t,) * len(series.paths) for t in between]
    values = tuple("".join(texts) for texts in zip(*columns))
    tokens[begin : end + 1] = [_Field(values, fields[0].part, group)]


def _expression(field):
    if field.group == "subset" or field.group == "channel" and not field.values[0].isdecimal():
        return "|".join(sorted(map(re.escape, {*field.values})))
    return fitting(field.values)


def fitting(values: Iterable[str], start: int = 0) -> str:
    """Return the first expression that fits all texts."""
    wanted = [*values]
    return next(e for e in _EXPRESSIONS[start:] if all(re.fullmatch(e, v) for v in wanted))


def tighten(series: Series) -> bool:
    """Narrow the expressions of a series where they can be; tells whether one was."""
    before = series.text
    for field in series.fields:
        if field.expression == file_patterns.DEFAULT:
            field.expression = fitting(field.values, 1)
    return series.text != before


def give_subset(series: Series) -> str:
    """Make a field for the subset of the first word of a series' file names; return the word.

    Its other texts stay; '' where the names begin with no word.
    """
    for index, token in enumerate(series.tokens):
        name = token.rpartition("/")[2] if isinstance(token, str) else ""
        is_last = not any("/" in t for t in series.tokens[index + 1 :] if isinstance(t, str))
        found = re.match(r"[A-Za-z0-9-]*[A-Za-z0-9]", name)
        if found and is_last and name != file_patterns.SUFFIX:
            before = token[: len(token) - len(name)]
            field = _Field((found[0],) * len(series.paths), 0, "subset", found[0])
            series.tokens[index : index + 1] = [before, field, name[found.end() :]]
            return found[0]
    return ""


def merged(found: list[Series], group: str) -> list[Series]:
    """Make one series of those that have the same samples and differ in one text of their names.

    That text becomes the group: ``channel`` of volumes, ``organ`` of masks.
    """
    shapes: dict[tuple, list[Series]] = collections.defaultdict(list)
    for series in found:
        shapes[_shape(series)].append(series)
    made: list[Series] = []
    for alike in shapes.values():
        samples = collections.Counter(key for series in alike for key in {*series.keys})
        places = _places(alike)
        is_one = len(alike) > 1 and len(places) == 1 and max(samples.values()) > 1
        cores = _cores([series.tokens[places[0]] for series in alike]) if is_one else ()
        made += [_merge(alike, places[0], group, *cores)] if cores else alike
    return made


def _shape(series):
    return tuple(
        token.group if isinstance(token, _Field) else "/" * token.count("/")
        for token in series.tokens
    )


def _places(alike):
    """Indexes of the texts in which series of one shape differ."""
    columns = zip(*(series.tokens[:] for series in alike))
    return [
        index
        for index, column in enumerate(columns)
        if isinstance(column[0], str) and len({*column}) > 1
    ]


def _cores(texts):
    """What differs between texts, and what stands before and after it; () where that is no word."""
    common = os.path.commonprefix(texts)
    before = common[: common.rfind("/") + 1]
    before += re.match(r"[-_. +]*", common[len(before) :])[0]
    rest = os.path.commonprefix([text[len(before) :][::-1] for text in texts])[::-1]
    ends = (rest[match.start() :] for match in re.finditer(r"[-_. +/]", rest))
    after = next((end for end in ends if _is_role(end.removesuffix(file_patterns.SUFFIX))), "")
    cores = [text[len(before) : len(text) - len(after)] for text in texts]
    return (before, cores, after) if all(core and "/" not in core for core in cores) else ()


def _merge(alike, place, group, before, cores, after):
    first = alike[0]
    order = [
        (series, core, i) for series, core in zip(alike, cores) for i in range(len(series.paths))
    ]
    tokens: list = []
    for index, token in enumerate(first.tokens):
        if isinstance(token, _Field):
            columns = [series.tokens[index].values[i] for series, _, i in order]
            field = dataclasses.replace(token, values=tuple(columns))
            field.expression = _expression(field)
            tokens.append(field)
        elif index == place:
            field = _Field(tuple(core for _, core, _ in order), 0, group)
            field.expression = _expression(field)
            tokens += [before, field, after]
        else:
            tokens.append(token)
    paths = tuple(series.paths[i] for series, _, i in order)
    doubts = [*dict.fromkeys(doubt for series in alike for doubt in series.doubts)]
    return Series(first.type, paths, [token for token in tokens if token != ""], doubts)


def _is_role(text):
    return all(map(_is_role_word, words(text)))

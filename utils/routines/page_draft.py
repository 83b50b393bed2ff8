"""The draft of a page for an archive that nobody has described yet: `dataset.yaml`."""

from __future__ import annotations

import collections
import json
import os
import re
import tempfile
import types
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import cast

from utils import errors
from utils.facts import DataSet, described, file_patterns
from utils.routines import archive, draft_looks, draft_names
from utils.running import calls
from utils.storage import files, label_map

VOLUME, MASK = described.VOLUME, described.MASK
_DICOM_SUFFIXES = {".dcm", ".ima", ".dicom"}
_DICOM_MAGIC_AT = 128
_N_BARE = 5
_MOST_TABLES = 20
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9 _.+/()-]*[A-Za-z0-9_.+/()-])?|[0-9]{1,3}")
_NO_LABEL_NAME = re.compile(r"[^A-Za-z0-9 _.+-]+")
_NO_NAME = re.compile("[^A-Za-z0-9_.+-]+")
# Our column -> what tables call it; lower case, letters and digits alone.
_COLUMNS = {
    "sex": ("sex", "gender", "patientsex", "patientssex"),
    "age": ("age", "patientage", "patientsage", "ageyears"),
    "birth_date": ("birthdate", "dateofbirth", "dob", "patientsbirthdate"),
    "acquisition_date": ("acquisitiondate", "studydate", "scandate"),
    "manufacturer": ("manufacturer",),
    "manufacturer_model_name": ("manufacturermodelname", "scannermodel", "scanner"),
    "site": ("site", "center", "centre", "hospital", "institute", "institution"),
}
_PATIENTS = ("patient", "patientid", "pid", "subject", "subjectid", "case", "caseid")
_SPLITS = ("split", "subset", "set", "partition")
_START = [
    "# Drafted from names of files, and from a look into some of them; correct",
    "# what is wrong. Each field is explained in docs/own_data.md.",
]
_LISTS = {"training": "train", "train": "train", "validation": "val", "val": "val", "test": "test"}


def place(root_dir: files.PathLike, output: str | None) -> Path | None:
    """Return where the page goes; None where it is to be printed.

    DatasetError where there is a file already, or the root is the folder that has the archive.
    """
    root = Path(os.path.abspath(root_dir))
    if root.name != "archive" and (root / "archive").is_dir():
        reason = f"{root_dir}: no archive, but the folder that has one"
        raise errors.DatasetError(f"{reason}; probably meant: {root / 'archive'}", file=root)
    if output == "-":
        return None
    beside = root.parent / "descriptor" / "dataset.yaml"
    path = beside if output is None else Path(output)
    if os.path.lexists(path):
        reason = f"{path}: exists, and is not replaced; move it away, or give another --output"
        raise errors.DatasetError(reason, file=path)
    return path


def make(root_dir: files.PathLike) -> tuple[str, list[str]]:
    """Look at an archive and draft its page; return it, and lines that tell what fits it.

    DatasetError where it has no NIfTI files, or masks alone; what cannot be read is told in the
    summary.
    """
    root = Path(root_dir)
    no_set = types.SimpleNamespace(classify=lambda path: None)  # all NIfTI files are left
    contents = archive.find(root, cast(DataSet, no_set))
    paths = [path for path in _once(contents.ignored) if _is_usable(path)]
    if not paths:
        raise errors.DatasetError(_nothing(root, contents), file=root)
    look = _Look(root, contents)
    found = _Found(look, paths)
    lists = look.first(draft_looks.json_of, "dataset.json")
    table = _table(look, found.seqs)
    labels, count = _labels(look, found, lists)
    parts = [
        _START + [f"name: {quoted(_name(root, lists))}"],
        ["files:", *_files(found), *_id(found)],
        labels,
        _split(found, lists, table),
        _modality(look, found),
        _metadata(found, table) if table else [],
    ]
    text = "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"
    summary = [*_counts(found), *(f"not read: {fault}" for fault in dict.fromkeys(look.faults))]
    if fault := _fault(text):  # what all routines will say about the page
        summary.append(f"to correct before use: {fault}")
        text = "\n".join(_check(summary[-1])) + f"\n{text}"
    if n_checks := text.count("# check: "):
        count.append(f"{n_checks} places to check are marked in it: # check: ...")
    return text, summary + count


def _once(paths):
    """The paths without those of zip files whose member lies unpacked beside it."""
    unpacked = [f"/{path}" for path in paths if ".zip/" not in path.lower()]
    ends = {path[i:] for path in unpacked for i, sign in enumerate(path) if sign == "/"}
    return [p for p in paths if re.sub(r"^.*?\.zip(?=/)", "", p, flags=re.IGNORECASE) not in ends]


def _is_usable(path):
    """Whether a page can name a file: no braces, nothing that no YAML file holds."""
    return errors.printable(path) == path and not {*"{}"} & {*path}


def _nothing(root, contents):
    dicom = [
        path for path in contents.others if PurePosixPath(path).suffix.lower() in _DICOM_SUFFIXES
    ]
    bare = [path for path in contents.others if not PurePosixPath(path).suffix][:_N_BARE]
    dicom = dicom or [path for path in bare if calls.call(_is_dicom, root / path).value]
    if dicom:
        return (
            f"{root}: no NIfTI file, but {len(dicom)} of DICOM ({errors.listed(dicom)}); convert "
            "them first: dcm2niix -z y -o FOLDER DICOM_FOLDER"
        )
    if unusable := [*map(errors.printable, contents.ignored)]:
        return f"{root}: no NIfTI file whose name a page can hold: {errors.listed(unusable)}"
    beside = files.part_of_root(root, "archive")
    meant = f"; probably meant: {beside}" if beside else ""
    return f"{root}: no NIfTI file (.nii.gz or .nii) at any depth below it{meant}"


def _is_dicom(path):
    with files.opened(path) as handle:
        return handle.read(_DICOM_MAGIC_AT + 4)[_DICOM_MAGIC_AT:] == b"DICM"


class _Look:
    """The archive, and what could not be read of it."""

    def __init__(self, root, contents):
        self.root, self.contents = root, contents
        self.faults = [str(error) for _, error in contents.failures]

    def at(self, function: Callable, paths: Iterable[str]) -> list:
        """Call a function for files of the archive; those that cannot be read are told."""
        return [*draft_looks.tried(function, (self.root / p for p in paths), self.faults).values()]

    def first(self, function, name):
        """What a function reads of the first file that is called so; {} without one."""
        named = [p for p in self.contents.others if PurePosixPath(p).name.lower() == name]
        return next(iter(self.at(function, named[:1])), {})


class _Found:
    """The series that are the volumes and the masks, with what is doubtful about them."""

    def __init__(self, look, paths):
        def may_be_masks(some):
            seen = look.at(draft_looks.values, draft_looks.some(some, 2))
            return bool(seen) and all(values.may_be_labels for values in seen)

        typed = draft_names.typed(paths, may_be_masks)
        ways = [_chosen(typed, is_whole) for is_whole in (False, True)]
        self.volumes, self.masks = max(ways, key=_share_of_pairs)
        if not self.volumes:
            kind = "all of them masks as it seems" if self.masks else "in too many kinds of folders"
            reason = f"{len(paths)} NIfTI files, {kind}; expected volumes whose names have one form"
            reason = f"{look.root}: {reason}: {errors.listed(paths)}"
            raise errors.DatasetError(reason, file=look.root)
        self.every = self.volumes + self.masks
        self.doubts = [doubt for one in self.every for doubt in one.doubts]
        self.words = self._words()
        self._tell_apart(paths)
        used = {path for one in self.every for path in one.paths}
        unusable = [path for path in look.contents.ignored if not _is_usable(path)]
        self.left = [path for path in paths if path not in used]
        self.left += map(errors.printable, unusable)
        self._tell_pairs()

    def _words(self):
        """{word of a subset: subset}; all patterns have one, or none has."""
        words = {word for one in self.every for word in one.values("subset")} - {""}
        known = {word: draft_names.SUBSETS[word.lower()] for word in sorted(words)}
        masked = _keys(self.masks)
        for one in self.every if words else ():
            if not any(one.values("subset")) and (word := draft_names.give_subset(one)):
                subset = "train" if masked & {*one.keys} or one.type == MASK else "unlabelled"
                known.setdefault(word, subset)
                self.doubts.append(f"nothing tells which subset {word!r} is; {subset} is a guess")
        return known

    def _tell_apart(self, paths):
        """Narrow expressions where a file fits patterns of volumes and of masks."""
        for _ in range(2):
            volumes, masks = (
                [file_patterns.Pattern(one.text) for one in some]
                for some in (self.volumes, self.masks)
            )
            both = [p for p in paths if _fits(volumes, p) and _fits(masks, p)]
            if not both:
                return
            for one in self.every:
                draft_names.tighten(one)
        self.doubts.append(f"{len(both)} files fit both patterns: {errors.listed(both)}")

    def _tell_pairs(self):
        """Doubt what has a volume or a mask alone, and what is left over."""
        volumes, masks = self.names_of(self.volumes), self.names_of(self.masks)
        if alone := sorted(masks.keys() - volumes.keys()):
            text = f"{len(alone)} samples have a mask and no volume: {errors.listed(alone)}"
            if {*map(_without_zeros, alone)} & {*map(_without_zeros, volumes)}:
                text += (
                    "; their numbers differ in zeros alone, rename the files: a page pairs texts"
                )
            self.doubts.append(text)
        masked = {*masks.values()}
        bare = sorted(n for n, subset in volumes.items() if n not in masks and subset in masked)
        if bare:
            text = f"{len(bare)} samples have a volume and no mask: {errors.listed(bare)}"
            self.doubts.append(text)
        if not masks:
            self.doubts.append("no masks were found; add files.mask and labels")
        if self.left:
            text = f"{len(self.left)} NIfTI files are left over: {errors.listed(self.left)}"
            self.doubts.append(text)
        patterns = [file_patterns.Pattern(one.text) for one in self.every]
        if taken := [path for path in self.left if _fits(patterns, path)]:
            self.doubts.append(f"files left over fit a pattern, too: {errors.listed(taken)}")

    def names_of(self, series):
        """{name of a sample: word of its subset}."""
        rows = ((one.values("subset"), *map(one.values, self.groups)) for one in series)
        return {"_".join(filter(None, g)): word for row in rows for word, *g in zip(*row)}

    @property
    def groups(self):
        """The fewest groups that tell all samples apart."""
        values = {group: self.values(group) for group in ("subset", "patient", "seq")}
        groups, count = [*values], len(_keys(self.volumes))
        for group in ("subset", "patient"):
            fewer = [other for other in groups if other != group]
            if len({*zip(*(values[other] for other in fewer))}) == count:
                groups = fewer
        return groups

    def values(self, group):
        """What the volumes have for a group."""
        return [value for one in self.volumes for value in one.values(group)]

    @property
    def seqs(self):
        """The seqs of the volumes."""
        return {*self.values("seq")}


def _keys(found):
    return {key for series in found for key in series.keys}


def _chosen(typed, is_whole):
    """The series of volumes and of masks, no two of which have a sample in common."""
    series = draft_names.series_of(typed, is_whole)
    volumes, masks = ([one for one in series if one.type == t] for t in (VOLUME, MASK))
    return _apart(volumes, _keys(masks)), _apart(masks, _keys(volumes))


def _share_of_pairs(way):
    """The share of the masks that have a volume; half of them are enough."""
    volumes, masks = map(_keys, way)
    return min(len(volumes & masks) / max(len(masks), 1), 0.5)


def _apart(found, others):
    """Series of which no two have a sample in common; those that fit the others go first."""
    kept: list = []
    for one in sorted(found, key=lambda one: (-len(others & {*one.keys}), -len(one.paths))):
        if not _keys(kept) & {*one.keys}:
            kept.append(one)
    return kept


def _fits(patterns, path):
    return any(pattern.match(path) for pattern in patterns)


def _without_zeros(name):
    return re.sub("(?<![0-9])0+(?=[0-9])", "", name)


def _check(*texts, indent=""):
    """Lines that ask to check something."""
    return [f"{indent}# check: {errors.printable(text)}" for text in texts]


def _name(root, lists):
    named, root = lists.get("name"), root.resolve()
    folder = root.parent.name if root.name == "archive" else root.name
    text = named if isinstance(named, str) and named.strip() else folder
    return _NO_NAME.sub("-", text).strip("-_.+") or "my-data"


def _files(found):
    """Patterns, and channel."""
    lines = _check(*dict.fromkeys(found.doubts), indent="  ")
    for field, series in (("volume", found.volumes), ("mask", found.masks)):
        texts = [quoted(one.text) for one in series]
        if len(texts) > 1:
            lines += [f"  {field}:", *(f"    - {text}" for text in texts)]
        elif texts:
            lines.append(f"  {field}: {texts[0]}")
    channels = collections.Counter(filter(None, sorted(found.values("channel"))))
    if channels:
        text = f"which one is the volume? Channels: {errors.listed(channels)}"
        most = channels.most_common(1)[0][0]
        lines += [*_check(text, indent="  "), f"  channel: {json.dumps(most)}"]
    return lines


def _id(found):
    """What to check about names of samples, and how they are made."""
    names, lines = found.names_of(found.volumes), []
    if odd := sorted(name for name in names if not _ID.fullmatch(name)):
        reason = f"{len(odd)} samples have names with more than letters, digits, _ and -"
        advice = "rename their files, or correct the column seq of the archive manifest"
        lines += _check(f"{reason}; {advice}: {errors.listed(odd)}")
    for noun, series in (("volumes", found.volumes), ("masks", found.masks)):
        whole = [one for one in series if not any(one.values("channel") + one.values("organ"))]
        if sum(len(one.paths) for one in whole) > len(found.names_of(whole)):
            lines += _check(f"several {noun} have the same name of a sample")
    template = "_".join(f"{{{group}}}" for group in found.groups)
    return [*lines, *[f"id: {quoted(template)}"] * (len(found.groups) > 1)]


def _labels(look, found, lists):
    """Labels of some masks, with names where the archive has them, and how many were read."""
    organs = sorted({value for one in found.masks for value in one.values("organ")} - {""})
    paths = [path for one in found.masks for path in one.paths]
    decoded = look.at(draft_looks.labels_of, draft_looks.some(paths, draft_looks.N_MASKS))
    seen = {value for values in decoded for value in values}
    lines = []
    if organs:
        if seen - {0, 1}:
            lines += _check("some masks of single organs have more than one label")
        lines += _check("numbers are given in the order of the names; is this the order you want?")
        names = {0: "background", **dict(enumerate(organs, 1))}
    else:
        if len(decoded) < len(paths):
            text = f"these labels were found in {len(decoded)} of {len(paths)} masks"
            lines += _check(f"{text}; others may have more")
        known = _known_names(look, lists)
        unnamed = sorted(seen - {0, *known})
        if unnamed:
            lines += _check(f"give names to the labels {', '.join(map(str, unnamed))}")
        names = {0: "background", **known, **{value: f"label {value}" for value in unnamed}}
    plain = {value: _plain_name(value, name) for value, name in names.items()}
    if plain != names:
        lines += _check("names of labels have letters, digits, blanks, _ . + and - only")
    lines += ["labels:", *(f"  {value}: {quoted(plain[value])}" for value in sorted(plain))]
    if len(organs) > 1:
        lines += _check(
            "where organs overlap, should one win? Then list them in overlap, first wins"
        )
    count = f"labels: {len(seen)} found in {len(decoded)} of {len(paths)} masks, read to their end"
    return lines, [count] * bool(paths)


def _known_names(look, lists):
    """{label: name} of the archive's own lists, where they differ as parts of file names."""
    known = {v: name for v, name in draft_looks.names_of_json(lists).items() if v < 256}
    known = known or look.first(label_map.read, "label_map.yaml")
    forms = {label_map.file_form(_plain_name(*one)).lower() for one in known.items()}
    return known if len(forms) == len(known) else {}


def _split(found, lists, table):
    by, more, words, masked = _told_split(found, lists, table)
    if not by:
        asked = _check("nothing tells a published split; patients are dealt at random")
        return [*asked, "split:", "  by: patient", "  val: 0.2", "  test: 0.2", "  seed: 0"]
    pairs = ", ".join(f"{quoted(word)}: {subset}" for word, subset in words.items())
    lines = ["split:", f"  by: {by}", *more, f"  subsets: {{{pairs}}}"]
    order = [subset for subset in ("train", "val", "test") if subset in masked]
    if order and {*words.values()} - masked - {"unlabelled"}:
        lines.append(f"labelled_subsets: [{', '.join(order)}]")
    return lines


def _told_split(found, lists, table):
    """How the split is told, lines about where, {word: subset}, and the subsets with masks."""
    if len({*found.words.values()}) > 1:
        words = {word for one in found.masks for word in one.values("subset")} - {""}
        return "folder", [], found.words, {found.words[word] for word in words}
    told = {w: s for w, s in _LISTS.items() if isinstance(lists.get(w), list) and lists[w]}
    if len({*told.values()}) > 1:
        masked = {told[word] for word in told if any(map(_has_label, lists[word]))}
        return "json", ["  file: dataset.json"], told, masked
    for name, cells in (table.columns if table else {}).items():
        words = {cell: draft_names.SUBSETS.get(cell.lower(), "") for cell in cells}
        if _bare(name) in _SPLITS and all(words.values()) and len(words) > 1:
            seqs = {seq for one in found.masks for seq in one.values("seq")}
            rows = zip(table.columns[table.key(found.seqs)[0]], cells)
            masked = {words[cell] for seq, cell in rows if seq in seqs}
            return "column", [f"  column: {quoted(name)}"], words, masked
    return "", [], {}, set()


def _modality(look, found):
    paths = [path for one in found.volumes for path in one.paths]
    seen = look.at(draft_looks.values, draft_looks.some(paths, draft_looks.N_VOLUMES))
    kinds = collections.Counter("CT" if values.is_ct else "MRI" for values in seen) or {"CT": 0}
    lowest = ", ".join(f"{values.lowest:g}" for values in seen) or "none could be read"
    text = f"{' and '.join(sorted(kinds))} by a guess: lowest values of {len(seen)} volumes"
    return [*_check(f"{text}: {lowest}"), f"modality: {max(kinds, key=kinds.get)}"]


def _table(look, seqs):
    """The CSV table whose cells are the seqs; None where there is none."""
    paths = archive.find_tables(look.root, look.contents, "*.[cC][sS][vV]")
    tables = draft_looks.tried(draft_looks.table_of, paths[:_MOST_TABLES], look.faults).values()
    fitting = [table for table in tables if "{" not in table.path.name]
    best = max(fitting, key=lambda table: table.key(seqs)[1], default=None)
    return best if best and best.key(seqs)[1] * 2 >= len(seqs) else None


def _metadata(found, table):
    key, count = table.key(found.seqs)
    missing = len(found.seqs) - count
    name = re.sub(r"[*?\[]", lambda odd: f"[{odd[0]}]", table.path.name)
    lines = _check(*[f"the table has no row of {missing} samples"] * bool(missing))
    lines += ["metadata:", f"  file: {quoted(name)}", f"  key: {quoted(key)}"]
    by_bare = {_bare(column): column for column in table.columns if column != key}
    columns = {
        ours: [by_bare[n] for n in known if n in by_bare] for ours, known in _COLUMNS.items()
    }
    if any(columns.values()):
        lines += [*_check("are these the columns that are meant?", indent="  "), "  columns:"]
        lines += [f"    {ours}: {quoted(theirs[0])}" for ours, theirs in columns.items() if theirs]
    patients = [by_bare[name] for name in _PATIENTS if name in by_bare]
    if patients and not any(found.values("patient")):
        lines += _check("does this column tell patients apart?", indent="  ")
        lines.append(f"  patient: {quoted(patients[0])}")
    return lines


def _counts(found):
    """How many files fit the patterns."""
    for noun, series in (("volumes", found.volumes), ("masks", found.masks)):
        patterns = " | ".join(one.text for one in series) or "none"
        yield f"{sum(len(one.paths) for one in series)} {noun}: {patterns}"
    left = f": {errors.listed(found.left)}" if found.left else ""
    yield f"{len(found.left)} NIfTI files left over{left}"


def _fault(text):
    """What is wrong with a page; '' where all routines can read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dataset.yaml")
        files.put(path, text.encode("utf-8"))
        fault = calls.call(described.read, path).error
    return str(fault).removeprefix(f"{path}: ") if fault else ""


def _plain_name(value, name):
    """The name of a label with nothing in it that file names cannot have."""
    return _NO_LABEL_NAME.sub("_", name).strip(" _.+-") or f"label {value}"


def _has_label(entry):
    """Whether an entry of a dataset.json names a mask, too."""
    return isinstance(entry, dict) and "label" in entry


def _bare(name):
    """The name of a column, letters and digits alone.

    >>> _bare("Patient's Sex")
    'patientssex'
    """
    return re.sub("[^a-z0-9]", "", name.lower())


def quoted(text: str) -> str:
    """Return a text as YAML takes it back, in quotes where it needs them.

    >>> print(quoted("images/{seq}.nii.gz"), quoted("{seq}.nii.gz"))
    images/{seq}.nii.gz "{seq}.nii.gz"
    """
    is_plain = _PLAIN.fullmatch(re.sub(r"(?<=[A-Za-z0-9/_.-])\{[a-z]+\}", "x", text))
    return text if is_plain else json.dumps(text, ensure_ascii=False)

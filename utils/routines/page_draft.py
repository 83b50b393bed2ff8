"""The draft of a page for an archive that nobody has described yet: `dataset.yaml`."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
import tempfile
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
_LISTS = {"training": "train", "train": "train", "validation": "val", "val": "val", "test": "test"}


@dataclasses.dataclass
class Draft:
    """A drafted page: its text, and the lines that tell what fits it."""

    text: str
    summary: list[str]


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


class _Nothing:
    """The facts of a data set without files: all NIfTI files of an archive are left."""

    def classify(self, relative_path):
        return None


def make(root_dir: files.PathLike) -> Draft:
    """Look at an archive and draft its page.

    DatasetError where it has no NIfTI files, or masks alone; what cannot be read is told in the
    summary.
    """
    root = Path(root_dir)
    contents = archive.find(root, cast(DataSet, _Nothing()))
    paths = [path for path in _once(contents.ignored) if _is_usable(path)]
    if not paths:
        raise errors.DatasetError(_nothing(root, contents), file=root)
    look = _Look(root, contents)
    found = _Found(look, paths)
    page = _Page(look, found)
    return page.draft()


def _once(paths):
    """The paths without those of zip files whose member lies unpacked beside it."""
    unpacked = collections.defaultdict(list)
    for path in paths:
        if ".zip/" not in path.lower():
            unpacked[PurePosixPath(path).name].append(f"/{path}")
    for path in paths:
        member = re.sub(r"^.*?\.zip/", "/", path, flags=re.IGNORECASE)
        copies = unpacked[PurePosixPath(path).name] if member[:1] == "/" else ()
        if not any(copy.endswith(member) for copy in copies):
            yield path


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

    def named(self, *names):
        """The paths of the files that are called so."""
        return [p for p in self.contents.others if PurePosixPath(p).name.lower() in names]


class _Found:
    """The series that are the volumes and the masks, with what is doubtful about them."""

    def __init__(self, look, paths):
        self.doubts: list[str] = []
        self.volumes, self.masks = self._chosen(look, paths, False)
        if self.masks and self.n_pairs < len(self._keys(self.masks)) / 2:
            whole = self._chosen(look, paths, True)
            if len(self._keys(whole[0]) & self._keys(whole[1])) > self.n_pairs:
                self.volumes, self.masks = whole
        if not self.volumes:
            kind = "all of them masks as it seems" if self.masks else "in too many kinds of folders"
            reason = f"{len(paths)} NIfTI files, {kind}; expected volumes whose names have one form"
            reason = f"{look.root}: {reason}: {errors.listed(paths)}"
            raise errors.DatasetError(reason, file=look.root)
        self.words = self._words()
        self._tell_apart(paths)
        used = {path for series in self.volumes + self.masks for path in series.paths}
        self.left = [path for path in paths if path not in used]
        self.left += [
            *map(errors.printable, (p for p in look.contents.ignored if not _is_usable(p)))
        ]
        self._tell_pairs()

    def _tell_pairs(self):
        """Doubt what has a volume or a mask alone."""
        volumes, masks = self._keys(self.volumes), self._keys(self.masks)
        if alone := sorted(masks - volumes):
            names = errors.listed("_".join(filter(None, key)) for key in alone)
            text = f"{len(alone)} samples have a mask and no volume: {names}"
            numbers = ({_stripped(key) for key in keys} for keys in (volumes, masks))
            if len(set.intersection(*numbers)) > len(volumes & masks):
                text += (
                    "; their numbers differ in zeros alone, rename the files: a page pairs texts"
                )
            self.doubts.append(text)
        subsets = {key[0] for key in masks}
        bare = sorted(key for key in volumes - masks if key[0] in subsets)
        if masks and bare:
            names = errors.listed("_".join(filter(None, key)) for key in bare)
            self.doubts.append(f"{len(bare)} samples have a volume and no mask: {names}")

    @staticmethod
    def _keys(found):
        return {key for series in found for key in series.keys}

    @property
    def n_pairs(self):
        """How many samples have a volume and a mask."""
        return len(self._keys(self.volumes) & self._keys(self.masks))

    def _chosen(self, look, paths, is_whole):
        """The series of volumes and of masks, where types are unknown by looking at voxels."""
        series = draft_names.series_of(paths, is_whole)
        for one in series:
            if not one.type:
                seen = look.at(draft_looks.values, draft_looks.some(one.paths, 2))
                is_mask = bool(seen) and all(values.may_be_labels for values in seen)
                one.type = MASK if is_mask else VOLUME
        volumes = draft_names.merged([one for one in series if one.type == VOLUME], "channel")
        masks = draft_names.merged([one for one in series if one.type == MASK], "organ")
        return self._apart(volumes, masks), self._apart(masks, volumes)

    def _apart(self, found, others):
        """Series of which no two have a sample in common; those that fit the others go first."""
        fitting = self._keys(others)
        ordered = sorted(found, key=lambda one: (-len(fitting & {*one.keys}), -len(one.paths)))
        kept: list = []
        for series in ordered:
            if not self._keys(kept) & {*series.keys}:
                kept.append(series)
        return kept

    def _words(self):
        """{word of a subset: subset}; all patterns have one, or none has."""
        every = self.volumes + self.masks
        with_word = [one for one in every if any(one.values("subset"))]
        words = {word for one in with_word for word in one.values("subset")}
        if not words:
            return {}
        known = {word: draft_names.SUBSETS[word.lower()] for word in sorted(words)}
        masked = self._keys(self.masks)
        for series in every:
            if series in with_word:
                continue
            word = draft_names.give_subset(series)
            subset = "train" if masked & {*series.keys} or series.type == MASK else "unlabelled"
            known.setdefault(word, subset)
            self.doubts.append(f"nothing tells which subset {word!r} is; {subset} is a guess")
        return known

    def _tell_apart(self, paths):
        """Narrow expressions where a file fits patterns of volumes and of masks."""
        for _ in range(2):
            compiled = [
                [file_patterns.Pattern(one.text) for one in found]
                for found in (self.volumes, self.masks)
            ]
            both = [
                path for path in paths if all(any(p.match(path) for p in some) for some in compiled)
            ]
            if not both:
                return
            for one in self.volumes + self.masks:
                draft_names.tighten(one)
        self.doubts.append(f"{len(both)} files fit both patterns: {errors.listed(both)}")

    def values(self, group):
        """What the volumes have for a group."""
        return [value for one in self.volumes for value in one.values(group)]

    @property
    def seqs(self):
        """The seqs of the volumes."""
        return {*self.values("seq")}


class _Page:
    """The fields of the page, each as lines of YAML with what to check about it."""

    def __init__(self, look, found):
        self.look, self.found = look, found
        self.lines: list[str] = []
        self.n_checks = 0
        self.json = self._json()
        self.table = self._table()
        self.columns: dict[str, str] = {}

    def check(self, *texts, indent=0):
        """Add lines that ask to check something."""
        for text in texts:
            self.lines.append(f"{' ' * indent}# check: {errors.printable(text)}")
            self.n_checks += 1

    def add(self, field, text, indent=0):
        """Add a field."""
        self.lines.append(f"{' ' * indent}{field}: {text}")

    def draft(self):
        """Write all fields, and tell what fits the page."""
        self.lines.append(
            "# Drafted from names of files, and from a look into some of them; correct"
        )
        self.lines.append("# what is wrong. Each field is explained in docs/own_data.md.")
        self.add("name", quoted(self._name()))
        self._files()
        labels = self._labels()
        self._split()
        self._modality()
        self._metadata()
        text = "\n".join(self.lines) + "\n"
        checks = [f"{self.n_checks} places to check are marked in it: # check: ..."]
        return Draft(text, [*self._summary(text), *labels, *checks * bool(self.n_checks)])

    def _json(self):
        found = self.look.at(draft_looks.json_of, self.look.named("dataset.json")[:1])
        return found[0] if found else {}

    def _name(self):
        named = self.json.get("name")
        root = self.look.root.resolve()
        folder = root.parent.name if root.name == "archive" else root.name
        text = named if isinstance(named, str) and named.strip() else folder
        return _NO_NAME.sub("-", text).strip("-_.+") or "my-data"

    def _files(self):
        """Patterns, channel, id and folder."""
        found = self.found
        self.lines.append("")
        self.lines.append("files:")
        doubts = [doubt for one in found.volumes + found.masks for doubt in one.doubts]
        self.check(*dict.fromkeys([*doubts, *found.doubts]), indent=2)
        if not found.masks:
            self.check("no masks were found; add files.mask and labels", indent=2)
        for field, series in (("volume", found.volumes), ("mask", found.masks)):
            if len(series) == 1:
                self.add(field, quoted(series[0].text), 2)
            elif series:
                self.add(field, "", 2)
                self.lines[-1] = self.lines[-1].rstrip()
                self.lines += [f"    - {quoted(one.text)}" for one in series]
        channels = sorted(filter(None, {*found.values("channel")}))
        if channels:
            text = f"which one is the volume? Channels: {errors.listed(channels)}"
            self.check(text, indent=2)
            self.add("channel", json.dumps(channels[0]), 2)
        self._id()

    def _id(self):
        values = [self.found.values(group) for group in ("subset", "patient", "seq")]
        channels = self.found.values("channel")
        n_samples = len({*zip(*values)})
        for groups in (
            ("seq",),
            ("patient", "seq"),
            ("subset", "seq"),
            ("subset", "patient", "seq"),
        ):
            chosen = [values[("subset", "patient", "seq").index(group)] for group in groups]
            if all(map(any, chosen)) and len({*zip(*chosen)}) == n_samples:
                break
        template = "_".join(f"{{{group}}}" for group in groups)
        names = {"_".join(parts) for parts in zip(*chosen)}
        odd = sorted(name for name in names if not _ID.fullmatch(name))
        if odd:
            reason = f"{len(odd)} samples have names with more than letters, digits, _ and -"
            advice = "rename their files, or correct the column seq of the archive manifest"
            self.check(f"{reason}; {advice}: {errors.listed(odd)}")
        if len(channels) > n_samples and not any(channels):
            self.check("several files have the same name of a sample")
        if groups != ("seq",):
            self.add("id", quoted(template))

    def _labels(self):
        """Labels of some masks, with names where the archive has them; tells how many were read."""
        organs = sorted({value for one in self.found.masks for value in one.values("organ")} - {""})
        self.lines.append("")
        paths = [path for one in self.found.masks for path in one.paths]
        chosen = draft_looks.some(paths, draft_looks.N_MASKS)
        decoded = self.look.at(draft_looks.labels_of, chosen)
        seen = {value for values in decoded for value in values}
        if organs:
            if seen - {0, 1}:
                self.check("some masks of single organs have more than one label")
            self.check("numbers are given in the order of the names; is this the order you want?")
            names = {0: "background", **dict(enumerate(organs, 1))}
        else:
            if len(decoded) < len(paths):
                text = f"these labels were found in {len(decoded)} of {len(paths)} masks"
                self.check(f"{text}; others may have more")
            names = self._named(seen)
        plain = {value: _plain_name(value, name) for value, name in names.items()}
        if plain != names:
            self.check("names of labels have letters, digits, blanks, _ . + and - only")
        self.lines.append("labels:")
        self.lines += [f"  {value}: {quoted(plain[value])}" for value in sorted(plain)]
        if len(organs) > 1:
            self.check(
                "where organs overlap, should one win? Then list them in overlap, first wins"
            )
        count = f"{len(seen)} found in {len(decoded)} of {len(paths)} masks, read to their end"
        return [f"labels: {count}"] * bool(paths)

    def _named(self, seen):
        """{label: name} of what occurs, and of what the archive's own lists name."""
        known = {v: n for v, n in draft_looks.names_of_json(self.json).items() if v < 256}
        for names in self.look.at(draft_looks.names_of_map, self.look.named("label_map.yaml")[:1]):
            known = known or names
        forms = [label_map.file_form(_plain_name(*one)).lower() for one in known.items()]
        if len({*forms}) < len(forms):
            known = {}
        names = {
            0: "background",
            **known,
            **{v: f"label {v}" for v in seen if v and v not in known},
        }
        unnamed = sorted(value for value in seen if value and value not in known)
        if unnamed:
            self.check(f"give names to the labels {', '.join(map(str, unnamed))}")
        return names

    def _split(self):
        self.lines.append("")
        by, more, words, masked = self._told_split()
        if not by:
            self.check("nothing tells a published split; patients are dealt at random")
            self.lines += ["split:", "  by: patient", "  val: 0.2", "  test: 0.2", "  seed: 0"]
            return
        pairs = ", ".join(f"{quoted(word)}: {subset}" for word, subset in words.items())
        self.lines += ["split:", f"  by: {by}", *more, f"  subsets: {{{pairs}}}"]
        bare = {*words.values()} - masked - {"unlabelled"}
        if bare and masked:
            order = [subset for subset in ("train", "val", "test") if subset in masked]
            self.add("labelled_subsets", f"[{', '.join(order)}]")

    def _told_split(self):
        """How the split is told, lines about where, {word: subset}, and the subsets with masks."""
        words, masks = self.found.words, self.found.masks
        if len({*words.values()}) > 1:
            masked = {words[word] for one in masks for word in one.values("subset")}
            return "folder", [], words, masked
        lists = {
            word: subset
            for word, subset in _LISTS.items()
            if isinstance(self.json.get(word), list) and self.json[word]
        }
        if len({*lists.values()}) > 1:
            labelled = [w for w in lists if any(_has_label(entry) for entry in self.json[w])]
            return "json", ["  file: dataset.json"], lists, {lists[word] for word in labelled}
        for name, cells in (self.table.columns if self.table else {}).items():
            words = {cell: draft_names.SUBSETS.get(cell.lower(), "") for cell in cells}
            if _bare(name) in _SPLITS and all(words.values()) and len(words) > 1:
                key, _ = self.table.key(self.found.seqs)
                seqs = {seq for one in masks for seq in one.values("seq")}
                rows = zip(self.table.columns[key], cells)
                masked = {words[cell] for seq, cell in rows if seq in seqs}
                return "column", [f"  column: {quoted(name)}"], words, masked
        return "", [], {}, set()

    def _modality(self):
        self.lines.append("")
        paths = [path for one in self.found.volumes for path in one.paths]
        seen = self.look.at(draft_looks.values, draft_looks.some(paths, draft_looks.N_VOLUMES))
        kinds = collections.Counter("CT" if values.is_ct else "MRI" for values in seen)
        guess = kinds.most_common(1)[0][0] if kinds else "CT"
        lowest = ", ".join(f"{values.lowest:g}" for values in seen) or "none could be read"
        if len(kinds) > 1:
            text = f"both CT and MRI seem to occur: lowest values of {len(seen)} volumes: {lowest}"
        elif guess == "CT" and kinds:
            text = f"CT is a guess: lowest values of {len(seen)} volumes: {lowest}"
        else:
            text = f"CT or MRI? A guess by the lowest values of {len(seen)} volumes: {lowest}"
        self.check(text)
        self.add("modality", guess)

    def _table(self):
        """The CSV table whose cells are the seqs; None where there is none."""
        paths = archive.find_tables(self.look.root, self.look.contents, "*.[cC][sS][vV]")
        tables = draft_looks.tried(draft_looks.table_of, paths[:_MOST_TABLES], self.look.faults)
        fitting = [
            (table.key(self.found.seqs)[1], table)
            for table in tables.values()
            if "{" not in table.path.name
        ]
        count, table = max(fitting, key=lambda one: one[0], default=(0, None))
        return table if count * 2 >= len(self.found.seqs) else None

    def _metadata(self):
        if self.table is None:
            return
        key, count = self.table.key(self.found.seqs)
        self.lines.append("")
        if missing := len(self.found.seqs) - count:
            self.check(f"the table has no row of {missing} samples")
        self.lines.append("metadata:")
        name = re.sub(r"[*?\[]", lambda odd: f"[{odd[0]}]", self.table.path.name)
        self.add("file", quoted(name), 2)
        self.add("key", quoted(key), 2)
        by_bare = {_bare(column): column for column in self.table.columns if column != key}
        columns = {
            ours: by_bare[names[0]]
            for ours, known in _COLUMNS.items()
            if (names := [name for name in known if name in by_bare])
        }
        if columns:
            self.check("are these the columns that are meant?", indent=2)
            self.lines.append("  columns:")
            self.lines += [f"    {ours}: {quoted(theirs)}" for ours, theirs in columns.items()]
        patients = [by_bare[name] for name in _PATIENTS if name in by_bare]
        if patients and not any(self.found.values("patient")):
            self.check("does this column tell patients apart?", indent=2)
            self.add("patient", quoted(patients[0]), 2)

    def _summary(self, text):
        """What fits the page, read as all routines read it."""
        found = self.found
        lines = []
        for noun, series in (("volumes", found.volumes), ("masks", found.masks)):
            count = sum(len(one.paths) for one in series)
            lines.append(f"{count} {noun}: {' | '.join(one.text for one in series) or 'none'}")
        left = f": {errors.listed(found.left)}" if found.left else ""
        lines.append(f"{len(found.left)} NIfTI files left over{left}")
        lines += [f"not read: {fault}" for fault in dict.fromkeys(self.look.faults)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "dataset.yaml")
            files.put(path, text.encode("utf-8"))
            fault = calls.call(described.read, path).error
        if fault:
            lines.append(f"to correct before use: {str(fault).removeprefix(f'{path}: ')}")
        return lines


def _stripped(key):
    """What tells a sample apart, without zeros at the begin of a number."""
    return tuple(re.sub("^0+(?=[0-9]+$)", "", text) for text in key)


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

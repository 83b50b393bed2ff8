"""The facts of a data set that a page describes, ``dataset.yaml`` (see `facts.DataSet`)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from utils import errors
from utils.arrays import geometry
from utils.facts import DataSet, amos22, described_fields, file_patterns, known_faults, nme
from utils.storage import files, forms, label_map, organ_masks

VOLUME, MASK = "v3d", "m3d"
# Words of a split; the first three have folders in every grouped tree.
_SUBSETS = ("train", "val", "test", "unlabelled")
MODALITIES = {"CT": "CT", "MRI": "MRI", "MR": "MRI"}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")
_GROUPS = {
    "volume": ("seq", "subset", "patient", "channel"),
    "mask": ("seq", "subset", "patient", "organ"),
    "ignored": ("any",),
}
_PATIENT = "patient_id"
_GEOMETRY_COLUMNS = (
    *("szx", "szy", "szz", "spx", "spy", "spz", "orientation_from", "orientation_to"),
    *("dtype", "transform", "diff_trans_f_norm"),
)
# What exports say of a data set, and the page need not.
_TEXTS = ("description", "reference", "licence", "licence_url", "published", "citation")
# Columns of the manifests that no metadata may be called; lower case.
_RESERVED = {
    *("file_path", "subset", "seq", "patient", "type", "organ", *_GEOMETRY_COLUMNS, _PATIENT),
    *("id", "valid_labels", "info", "volume", "mask", "vol_dtype", "mask_dtype"),
}


@dataclasses.dataclass(frozen=True)
class Split:
    """How samples come to their subsets.

    Attributes
    ----------
    by : str
        ``folder``, ``ids``, ``column``, ``json``, ``patient``; empty: all of them are train.
    words : dict of str to str
        Word of the folder, column or JSON list -> subset.
    ids : dict of str to tuple of range
        Subset -> whole numbers of its samples.
    column, file : str
        Of the metadata table; name of the JSON file.
    shares : dict of str to float
        Of ``patient``: share of the patients for val and test.
    seed : int
    """

    by: str = ""
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ids: Mapping[str, tuple[range, ...]] = dataclasses.field(default_factory=dict)
    column: str = ""
    file: str = ""
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 0

    @property
    def subsets(self) -> tuple[str, ...]:
        """The subsets that it can give, in the order of reports."""
        if self.by == "patient":
            found = {"train", *(subset for subset, share in self.shares.items() if share)}
        else:
            found = {*self.words.values(), *self.ids} or {"train"}
        return tuple(subset for subset in _SUBSETS if subset in found)


@dataclasses.dataclass(frozen=True)
class Table:
    """The metadata table: pattern of its name, key column, our columns -> its columns."""

    file: str
    key: str
    columns: Mapping[str, str]
    separator: str | None = None


@dataclasses.dataclass(frozen=True)
class Modalities:
    """CT or MRI: of all samples alike, by a column of the metadata, or by the samples' numbers."""

    fixed: str = ""
    column: str = ""
    ids: Mapping[str, tuple[range, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Described:
    """A described data set; it has all that `facts.DataSet` lists, and what is below.

    Attributes
    ----------
    PAGE : Path
        Where it is described.
    LABELS : dict of int to str
        Label to name.
    NOTES : tuple of str
        What routine 01 tells of the set as a whole.
    OVERLAP : tuple of str
        Organs in the order in which they win where masks of single organs overlap.
    volumes, masks, ignored : tuple of file_patterns.Pattern
        ``ignored`` are files that a healthy archive has, and nobody needs.
    channel : str
        The channel that is the volume, where the patterns tell channels apart.
    has_organs : bool
        Whether masks lie in one file per organ.
    metadata_keys : tuple of str
        Columns that come from the metadata table, but for the patient.
    """

    PAGE: Path
    NAME: str
    DESCRIPTION: str
    REFERENCE: str
    LICENCE: str
    LICENCE_URL: str
    CREATORS: tuple[str, ...]
    PUBLISHED: str
    CITATION: str
    NOTES: tuple[str, ...]
    LABELS: Mapping[int, str]
    OVERLAP: tuple[str, ...]
    KNOWN_FAULTS: str
    LABELLED_SUBSETS: tuple[str, ...]
    volumes: tuple[file_patterns.Pattern, ...]
    masks: tuple[file_patterns.Pattern, ...]
    ignored: tuple[file_patterns.Pattern, ...]
    channel: str
    id_template: file_patterns.Template
    folder: file_patterns.Template
    split: Split
    table: Table | None
    modalities: Modalities
    axis: int | None
    PATIENT_EVIDENCE: str = ""
    MENDED_FAULTS: tuple[str, ...] = ()
    UNDEFINED: str = forms.UNDEFINED
    DATASET_JSON_SUBSETS: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.SUBSETS: tuple[str, ...] = self.split.subsets
        self.EXAMPLE_FILE = self.volumes[0].text
        self.has_organs = any("organ" in pattern.groups for pattern in self.masks)
        of_table = self.table.columns if self.table else ()
        is_named = any("patient" in pattern.groups for pattern in self.volumes)
        self.PATIENT_KEYS: tuple[str, ...] = (_PATIENT,) * (is_named or _PATIENT in of_table)
        self.metadata_keys = tuple(key for key in of_table if key != _PATIENT)
        self.INFO_KEYS: tuple[str, ...] = ("subset", "seq", *self.PATIENT_KEYS, *self.metadata_keys)
        self.DATASET_KEYS = self.INFO_KEYS
        self.ARCHIVE_COLUMNS: tuple[str, ...] = (
            *("file_path", "subset", "seq", *self.PATIENT_KEYS, "type"),
            *(("organ",) * self.has_organs),
            *_GEOMETRY_COLUMNS,
            *self.metadata_keys,
        )

    def groups(self, relative_path: str) -> tuple[str, dict[str, str]] | None:
        """Return type and groups of a file whose name fits; None for another one.

        DatasetError where the patterns of volumes and of masks both fit.
        """
        found = [
            (file_type, pattern, groups)
            for file_type, patterns in ((VOLUME, self.volumes), (MASK, self.masks))
            for pattern in patterns
            if (groups := pattern.match(relative_path)) is not None
        ]
        types = {file_type for file_type, _, _ in found}
        if len(types) > 1:
            fitting = " and ".join(dict.fromkeys(pattern.text for _, pattern, _ in found))
            reason = f"files: {relative_path} fits patterns of volumes and of masks: {fitting}"
            raise errors.DatasetError(f"{self.PAGE}: {reason}", file=self.PAGE, code="page")
        return (found[0][0], found[0][2]) if found else None

    def classify(self, relative_path: str) -> dict[str, str] | None:
        """Tell the columns of a file of the archive; None for one that is not of the data set.

        ``subset`` is among them where folders tell it.
        """
        fitting = self.groups(relative_path)
        if fitting is None:
            return None
        file_type, groups = fitting
        if self.other_channel(groups):
            return None
        columns = {"seq": groups["seq"], "type": file_type}
        if self.split.by == "folder":
            if groups["subset"] not in self.split.words:
                return None
            columns["subset"] = self.split.words[groups["subset"]]
        if "patient" in groups:
            columns[_PATIENT] = groups["patient"]
        if self.has_organs:
            columns["organ"] = groups.get("organ", "")
        return columns

    def other_channel(self, groups: Mapping[str, str]) -> str:
        """Return the channel of a file by its groups where it is none of the volume's; else ''."""
        channel = groups.get("channel", self.channel)
        return "" if channel == self.channel else channel

    def left_out(self, relative_paths: Iterable[str]) -> dict[str, list[str]]:
        """Return why files that fit a pattern are none of the data set: reason to paths."""
        found: dict[str, list[str]] = {}
        for path in relative_paths:
            fitting = self.groups(path)
            if fitting is None:
                continue
            groups = fitting[1]
            reason = f"subset {groups.get('subset')!r}, none of split.subsets"
            if channel := self.other_channel(groups):
                reason = f"channel {channel}, not {self.channel}"
            found.setdefault(reason, []).append(path)
        return found

    def sample_name(self, columns: Mapping[str, str]) -> str:
        """Return the name of the sample that a file or row belongs to."""
        return self.id_template.of({**columns, "patient": columns.get(_PATIENT, "")})

    def subset(self, columns: Mapping[str, str]) -> str:
        """Return the subset of a file or row; '' where nothing of the file itself tells it."""
        by_name = "train" if not self.split.by else _of_number(self.split.ids, columns["seq"])
        return columns.get("subset") or by_name or ""

    def modality(self, row: Mapping[str, str]) -> str | None:
        """Return CT or MRI; None where the row does not tell."""
        if self.modalities.column:
            return MODALITIES.get(forms.stripped(row.get(self.modalities.column, "")).upper())
        return self.modalities.fixed or _of_number(self.modalities.ids, row.get("seq", ""))

    def slice_axis(self, affine: np.ndarray) -> int:
        """Return the axis of slices: the page's, else the one nearest to head-foot."""
        codes = geometry.axis_codes(affine)
        return max(codes.find("S"), codes.find("I")) if self.axis is None else self.axis

    def scanner_faults(
        self, row: Mapping[str, str], spacing: Sequence[float], highest: float
    ) -> list[str]:
        """Tell what of a volume belongs to another scanner: nothing is known of the scanners."""
        return []

    def plain_row(self, row: Mapping[str, str]) -> dict[str, str]:
        """Mend what people and spreadsheets do to a row of the archive manifest.

        Blanks around a text go, metadata are brought into their forms (see `forms.plain`), and seq
        and patient are those of the file's name where a spreadsheet took them for numbers.
        CasesError where a cell holds nothing that the data set has.
        """
        place = f"in the manifest's row of {row['file_path']!r}"
        plain, cases = {**row, "file_path": row["file_path"].rstrip()}, []
        named = self.classify(plain["file_path"]) or {}
        organ = ("organ",) * self.has_organs
        for key in ("type", *organ, *self.INFO_KEYS):
            form = forms.plain(key, row[key])
            if (
                key in ("seq", _PATIENT)
                and form
                and forms.is_of_spreadsheet(form, named.get(key, ""))
            ):
                form = named[key]
            if form is None:
                cases.append(forms.fault(key, row[key], place, code="manifest"))
            plain[key] = form or (self.UNDEFINED if key in self.metadata_keys else "")
        for key, fits, expected in self._checks(plain):
            if not fits:
                reason = f"{key} is {row[key]!r} {place}, expected {expected}"
                sides = {"expected": expected, "found": row[key]}
                cases.append(errors.DatasetError(reason, code="manifest", **sides))
        if cases:
            raise errors.CasesError(cases)
        return plain

    def archive_labels(self, label_map_path: Path | None = None) -> dict[int, str]:
        """Return what the labels are called in file names; the page says it."""
        return {value: label_map.file_form(name) for value, name in self.LABELS.items()}

    def organ_names(self) -> organ_masks.Names | None:
        """Return what the organs are called; None where each mask is one file."""
        if not self.has_organs:
            return None
        names = {label_map.file_form(name): value for value, name in self.LABELS.items() if value}
        overlap = tuple(names[label_map.file_form(name)] for name in self.OVERLAP)
        return organ_masks.Names(names, overlap)

    def _checks(self, plain):
        """Yield (column, whether its text is one that the data set has, what is expected)."""
        yield "type", plain["type"] in (VOLUME, MASK), f"{VOLUME} or {MASK}"
        yield "subset", plain["subset"] in self.SUBSETS, " or ".join(self.SUBSETS)
        yield "seq", _PLAIN_NAME.fullmatch(plain["seq"]), _PLAIN_NAME.pattern
        if self.has_organs and plain["type"] == MASK:
            names = [*map(label_map.file_form, self.LABELS.values())]
            fits = label_map.file_form(plain["organ"]) in names
            yield "organ", fits, f"a label of {self.PAGE.name}: {errors.listed(names)}"

    def row_faults(self, row: Mapping[str, str]) -> list[errors.DatasetError]:
        """Find what is wrong with a sample beyond its form: what cannot be a name or a folder."""
        name, cases = self.sample_name(row), []
        if not _ID.fullmatch(name):
            reason = f"id {name!r} made of {self.id_template.text}, expected {_ID.pattern}"
            cases.append(errors.DatasetError(reason, code="name", found=name))
        for part in self._folders(row):
            if not forms.is_folder(part):
                reason = f"the folder {part!r} cannot have this name; correct the manifest"
                cases.append(errors.DatasetError(reason, code="name", found=part))
        return cases

    def check_manifest(self, rows: Sequence[Mapping[str, str]], where: object) -> None:
        """Refuse an archive manifest of another data set: none of its volumes fits a pattern."""
        paths = [row["file_path"] for row in rows if forms.stripped(row["type"]) == VOLUME]
        found = [self.classify(path.rstrip()) for path in paths]
        if paths and not any(columns and columns["type"] == VOLUME for columns in found):
            expected = f"expected such as {self.EXAMPLE_FILE}"
            reason = f"none of its {len(paths)} volumes fits a pattern of {self.PAGE}, {expected}"
            text = f"{where}: {reason}; is it the manifest of another data set?"
            raise errors.DatasetError(text, code="manifest")

    def check_names(self, names: Collection[str], where: object) -> None:
        """Refuse samples of another data set: no name can be one that the page gives."""
        # The subset in a name is ours, not the word in the file's path.
        of_files = [
            {group: pattern.expression_of(group) for group in ("seq", "patient")}
            for pattern in self.volumes
        ]
        fitting = (self.id_template.fits(name, one) for name in names for one in of_files)
        if names and not any(fitting):
            expected = f"is named as the id {self.id_template.text} of {self.PAGE} says"
            reason = f"{where}: none of the {len(names)} samples {expected}: {errors.listed(names)}"
            raise errors.DatasetError(f"{reason}; is it the page of another data set?", code="page")

    def mask_faults(
        self, info: Mapping[str, str], present: Collection[int], where: object
    ) -> list[errors.DatasetError]:
        """Find labels of a mask that its sample cannot have: there are none."""
        return []

    def sample_dir(self, info: Mapping[str, str]) -> PurePosixPath:
        """Return where a sample lies below the folder that routine 02 writes to."""
        # A value with / must not make folders of its own.
        return PurePosixPath(*(part.replace("/", "\\") for part in self._folders(info)))

    def _folders(self, info):
        values = {**info, "patient": info.get(_PATIENT, ""), "id": self.sample_name(info)}
        return [file_patterns.Template(part).of(values) for part in self.folder.text.split("/")]

    def trees(self, output_dir: Path) -> list[Path]:
        """Return the folders in which a sample may lie already: there is one tree."""
        return [output_dir]


def _of_number(ids, seq):
    """The word whose numbers a seq is among; None where it is no number, or in none."""
    if not re.fullmatch("[0-9]{1,9}", seq):
        return None
    words = (word for word, ranges in ids.items() if any(int(seq) in r for r in ranges))
    return next(words, None)


def read(path: files.PathLike) -> Described:
    """Read the page of a data set; DatasetError, naming the field, for every mistake in it."""
    page = described_fields.Fields.of_page(path)
    name = page.text("name")
    if not _PLAIN_NAME.fullmatch(name):
        raise page.fault("name", f"is {name!r}, expected letters, digits, _ . + and -")
    if page.has("unsupported"):
        raise page.fault("", f"says that {name} cannot be used: {page.text('unsupported')}")
    volumes, masks, ignored, channel = _file_patterns(page.table("files"))
    table = _table(page.table("metadata")) if page.has("metadata") else None
    split = _split(page.table("split"), volumes + masks, table) if page.has("split") else Split()
    labels = _labels(page)
    has_organs = any("organ" in pattern.groups for pattern in masks)
    about: dict[str, Any] = {field.upper(): page.text(field, "") for field in _TEXTS}
    made = Described(
        PAGE=Path(path),
        NAME=name,
        **about,
        CREATORS=page.texts("creators", ()),
        NOTES=page.texts("notes", ()),
        LABELS=labels,
        OVERLAP=_overlap(page, labels, has_organs),
        KNOWN_FAULTS=_known_faults(page),
        LABELLED_SUBSETS=_labelled(page, split),
        volumes=volumes,
        masks=masks,
        ignored=ignored,
        channel=channel,
        id_template=file_patterns.Template(page.text("id", "{seq}")),
        folder=file_patterns.Template(page.text("folder", "{subset}/{id}")),
        split=split,
        table=table,
        modalities=_modalities(page, table),
        axis=int(page.number("slice_axis", 0, 2, int)) if page.has("slice_axis") else None,
    )
    _check_templates(page, made)
    page.done()
    return made


def chosen(page: files.PathLike | None) -> DataSet:
    """Return the data set that a page describes (see `read`); AMOS22 without a page, or ``nme``."""
    if page == "nme":  # a word; the path of a file of this name is a Path
        return nme
    return amos22 if page is None else read(page)


def _file_patterns(fields):
    found = {}
    for field, groups in _GROUPS.items():
        texts = fields.texts(field, None if field == "volume" else ())
        found[field] = tuple(map(file_patterns.Pattern, texts))
        for pattern in found[field]:
            if fault := pattern.fault(groups, "" if field == "ignored" else "seq"):
                raise fields.fault(field, f"{pattern.text!r} {fault}")
    with_organ = ["organ" in pattern.groups for pattern in found["mask"]]
    if any(with_organ) and not all(with_organ):
        raise fields.fault("mask", "has {organ} in one pattern and not in all")
    has_channel = any("channel" in pattern.groups for pattern in found["volume"])
    if has_channel and not fields.has("channel"):
        raise fields.fault("channel", "is missing; expected the {channel} that is the volume")
    channel = fields.text("channel", "")
    if channel and not has_channel:
        raise fields.fault("channel", f"is {channel!r}, but no pattern of volumes has {{channel}}")
    fields.done()
    return *found.values(), channel


def _labels(page):
    numbers = {}
    for key, name in page.mapping("labels").items():
        numbers[int(key) if re.fullmatch("0|[1-9][0-9]{0,8}", key) else key] = name
    return label_map.check(numbers, page.path, "labels")


def _overlap(page, labels, has_organs):
    names = page.texts("overlap", ())
    known = {label_map.file_form(name): name for label, name in labels.items() if label}
    for name in names:
        if label_map.file_form(name) not in known:
            raise page.fault("overlap", f"has {name!r}, expected names of labels but background")
    if names and not has_organs:
        raise page.fault("overlap", "is of use only with {organ} in files.mask")
    return tuple(known[label_map.file_form(name)] for name in names)


def _known_faults(page):
    if not page.has("known_faults"):
        return ""
    name = page.text("known_faults")
    listed = page.path.parent / name
    if Path(name).name != name or not files.is_file(listed):
        expected = "expected the name of a CSV file beside the page"
        raise page.fault("known_faults", f"is {name!r}, {expected}")
    known_faults.read(listed)
    return str(listed)


def _labelled(page, split):
    default = tuple(subset for subset in split.subsets if subset != "unlabelled")
    found = page.texts("labelled_subsets", default)
    for subset in found:
        if subset not in split.subsets:
            known = " or ".join(split.subsets)
            raise page.fault("labelled_subsets", f"has {subset!r}, expected {known}")
    return found


def _table(fields):
    columns = fields.mapping("columns") if fields.has("columns") else {}
    for ours in columns:
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", ours) or ours.lower() in _RESERVED:
            expected = "expected letters, digits and _, and none of our own columns"
            raise fields.fault("columns", f"has {ours!r}, {expected}")
    if fields.has("patient"):
        columns[_PATIENT] = fields.text("patient")
    made = Table(
        fields.file_pattern("file"), fields.text("key"), columns, fields.separator("separator")
    )
    fields.done()
    return made


def _split(fields, patterns, table):
    by = fields.word("by", ("folder", "ids", "column", "json", "patient"))
    if by == "patient":
        shares = {subset: fields.number(subset, 0.2, 1) for subset in ("val", "test")}
        if sum(shares.values()) >= 1:
            raise fields.fault("val", "and test leave nothing for train, expected less than 1")
        split = Split(by, shares=shares, seed=int(fields.number("seed", 0, 1 << 31, int)))
    elif by == "ids":
        split = Split(by, ids=fields.ranges("subsets"))
    else:
        same = {subset: subset for subset in _SUBSETS if subset != "unlabelled"}
        is_default = by == "column" and not fields.has("subsets")
        words = same if is_default else fields.mapping("subsets")
        column = fields.text("column") if by == "column" else ""
        split = Split(
            by, words, column=column, file=fields.file_pattern("file") if by == "json" else ""
        )
    for subset in (*split.words.values(), *split.ids):
        if subset not in _SUBSETS:
            raise fields.fault("subsets", f"has {subset!r}, expected {' or '.join(_SUBSETS)}")
    if by == "folder" and not all("subset" in pattern.groups for pattern in patterns):
        raise fields.fault("by", "is folder, but not all patterns of files have {subset}")
    if by == "column" and table is None:
        raise fields.fault("by", "is column, but the page has no metadata table")
    fields.done()
    return split


def _modalities(page, table):
    if not isinstance(page.raw("modality"), dict):
        return Modalities(MODALITIES[page.word("modality", tuple(MODALITIES))])
    fields = page.table("modality")
    if fields.has("column"):
        made = Modalities(column=fields.text("column"))
        if table is None or made.column not in table.columns:
            reason = f"is {made.column!r}, expected one of our names in metadata.columns"
            raise fields.fault("column", reason)
    else:
        ids = fields.ranges("ids")
        for word in ids:
            if word not in MODALITIES:
                raise fields.fault("ids", f"has {word!r}, expected {' or '.join(MODALITIES)}")
        made = Modalities(ids={MODALITIES[word]: numbers for word, numbers in ids.items()})
    fields.done()
    return made


def _check_templates(page, made):
    patient = ("patient",) * bool(made.PATIENT_KEYS)
    is_named = all("patient" in pattern.groups for pattern in made.volumes + made.masks)
    by_folder = ("subset",) * (made.split.by == "folder")
    if fault := made.id_template.fault(("seq", *(patient * is_named), *by_folder)):
        raise page.fault("id", fault)
    if not {"seq", "patient"} & {*made.id_template.columns}:
        reason = f"is {made.id_template.text!r}, expected {{seq}} or {{patient}} in it"
        raise page.fault("id", reason)
    if not _ID.fullmatch(_example(made.id_template)):
        reason = f"is {made.id_template.text!r}, expected letters, digits, _ and - beside columns"
        raise page.fault("id", reason)
    parts = made.folder.text.split("/")
    if fault := made.folder.fault(("subset", "id", *patient, *made.metadata_keys)):
        raise page.fault("folder", fault)
    if parts[-1] != "{id}" or "{subset}" not in parts[:-1]:
        reason = f"is {made.folder.text!r}, expected parts among them {{subset}}, the last {{id}}"
        raise page.fault("folder", reason)
    for part in parts:
        if not forms.is_folder(_example(file_patterns.Template(part))):
            reason = f"is {made.folder.text!r}, of which {part!r} cannot be the name of a folder"
            raise page.fault("folder", reason)


def _example(template):
    return template.of(dict.fromkeys(template.columns, "0"))

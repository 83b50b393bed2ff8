"""A made-up archive for any page that describes a data set: for trying and testing."""

import csv
import dataclasses
import functools
import io
import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from utils import errors
from utils.facts import described, known_faults
from utils.running import calls
from utils.sample_data import abdomen, archive_folder, bodies, expression_texts, scan_files
from utils.storage import files, label_map

# Raise it when the bytes change: files of two versions must not mix in one archive.
FORMAT = 1
DEFAULT_SHAPE = (128, 104, 40)
DEFAULT_N = 8
MAX_N = 999
# The subsets of five samples in turn; where there are fewer, they begin again.
_TURNS = (0, 1, 0, 2, 0)
_AXES = ("LAS", "RAS", "LPS")
_DTYPES = ("float32", "int16")
# One mask in four is stored with a slope, as some tools leave labels.
_SLOPE = (0.5, 0.0)
_GEOMETRY = re.compile("affine|spacing")


@dataclasses.dataclass(frozen=True)
class Sample(scan_files.ScanStyle):
    """A scan to make up; see `scan_files.ScanStyle` for the other attributes.

    Attributes
    ----------
    seq : str
        Its number, which decides about anatomy and noise.
    name, subset, modality, sex : str
        Name of the sample; ``train``, ``val``, ``test`` or ``unlabelled``; CT or MRI; M or F.
    volume : str
        Path in the archive.
    masks : tuple of (str, str)
        Organ, or '' for all labels, and path of its mask.
    texts : tuple of (str, str)
        Group or column of the page, and its text.
    has_identity : bool
        Its affine is that of no scanner: voxels of 1 mm, as it is known of the scan.
    body_axis : int
        Array axis along the body.
    """

    seq: str
    name: str
    subset: str
    modality: str
    sex: str
    volume: str
    masks: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str], ...]
    has_identity: bool
    body_axis: int
    _: dataclasses.KW_ONLY
    pelvis: bool = True

    def __str__(self):
        return self.name


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the bytes of an archive.

    Attributes
    ----------
    page : str
        CRC32 of the page.
    shape : (3,) int
        Voxels of every scan.
    count : int
        Number of scans, see `plan`.
    seed : int
    """

    page: str
    shape: tuple[int, int, int] = DEFAULT_SHAPE
    count: int = DEFAULT_N
    seed: int = 0


def settings(
    facts: described.Described, shape: tuple[int, int, int], count: int, seed: int
) -> Settings:
    """Make the settings of an archive for a page."""
    return Settings(f"{zlib.crc32(files.read_bytes(facts.PAGE)):08x}", shape, count, seed)


def plan(facts: described.Described, count: int = DEFAULT_N, seed: int = 0) -> list[Sample]:
    """Choose the samples of an archive, in all subsets of the page as far as there are enough.

    DatasetError, naming the field, where no file name, or no name of a sample, can be made up.
    """
    chosen = [*itertools.islice(_numbers(facts), count)]
    if len(chosen) < count:
        reason = f"has {len(chosen)} numbers of samples, {count} samples are asked for"
        raise _fault(facts, "the page", reason)
    made = [_sample(facts, index, found, seed) for index, found in enumerate(chosen)]
    for field, used in (("id", [s.name for s in made]), ("files.volume", [s.volume for s in made])):
        if len({*used}) < len(used):
            twice = next(text for text in used if used.count(text) > 1)
            raise _fault(
                facts, field, f"makes {twice!r} of two samples, expected texts of their own"
            )
    return made


def _fault(facts, field, reason):
    return errors.DatasetError(f"{facts.PAGE}: {field} {reason}", file=facts.PAGE, code="page")


def _numbers(facts):
    """Yield (number, subset, word of the subset), in turns of the subsets."""
    words = list(facts.split.words.items())
    if facts.split.by == "ids":
        pools = {s: _of_ranges(facts, s, facts.split.ids[s]) for s in facts.SUBSETS}
        choices = [(pools[subset], subset, "") for subset in facts.SUBSETS]
    else:
        pool = _of_modality(facts)
        subsets = [(subset, word) for word, subset in words] or [("train", "")]
        subsets.sort(key=lambda one: facts.SUBSETS.index(one[0]))
        choices = [(pool, *one) for one in subsets]
    for turn in itertools.cycle(_TURNS):
        for place in range(turn, turn + len(choices)):
            numbers, subset, word = choices[place % len(choices)]
            if (number := next(numbers, None)) is not None:
                yield number, subset, word
                break
        else:
            return


def _of_ranges(facts, subset, ranges):
    """The numbers of a subset, one with a known fault of geometry second."""
    faulty = _with_geometry_faults(facts)
    numbers = [n for n in _first(ranges) if _has_modality(facts, n)]
    odd = [n for n in numbers if facts.sample_name(_columns(n, subset)) in faulty][:1]
    rest = [number for number in numbers if number not in odd]
    return iter([*rest[:1], *odd, *rest[1:]])


def _first(ranges):
    """The first numbers of each range; there may be a billion."""
    return [number for some in ranges for number in itertools.islice(some, MAX_N)]


def _columns(number, subset):
    return {"seq": str(number), "subset": subset, "patient_id": ""}


def _of_modality(facts):
    """Whole numbers, those of CT and MRI in turns where the page tells them by number."""
    ranges = facts.modalities.ids.values()
    if not ranges:
        return itertools.count(1)
    pools = [_first(some) for some in ranges]
    turns = itertools.chain(*itertools.zip_longest(*pools))
    return iter([number for number in turns if number is not None])


def _has_modality(facts, number):
    return facts.modalities.column or facts.modality({"seq": str(number)}) is not None


def _with_geometry_faults(facts):
    return {
        fault.id
        for fault in known_faults.of(facts)
        if fault.kind == "geometry" or _GEOMETRY.search(fault.what)
    }


def _sample(facts, index, chosen, seed):
    number, subset, word = chosen
    rng = np.random.default_rng([seed, number])
    texts = {"subset": word, "patient": str(number - number % 2 if index < 4 else number)}
    pattern = _pattern_of(facts, facts.volumes, word)
    if pattern is None:
        raise _fault(facts, "files.volume", f"fits no file of the subset word {word!r}")
    groups = _groups(facts, pattern, number, texts)
    volume = _name(facts, "files.volume", pattern, groups)
    masks = ()
    if subset in facts.LABELLED_SUBSETS and subset != "unlabelled":
        masks = _masks(facts, groups, number, word)
    modality = facts.modality({"seq": groups["seq"]}) or ("CT", "MRI")[index % 2]
    columns = {**groups, "subset": subset, "patient_id": groups.get("patient", "")}
    name = facts.sample_name(columns)
    is_scaled = index % 4 == 3 and not facts.has_organs and max(facts.LABELS) < 128
    axis = 2 if facts.axis is None else facts.axis
    return Sample(
        *(str(number), name, subset, modality, str(rng.choice(["M", "F"])), volume, masks),
        texts=tuple(groups.items()) + (("word", word),),
        has_identity=name in _with_geometry_faults(facts),
        body_axis=axis,
        axes=_AXES[index % len(_AXES)],
        dtype=_DTYPES[index % len(_DTYPES)],
        mask_scaling=_SLOPE if is_scaled else None,
    )


def _pattern_of(facts, patterns, word):
    """The first pattern that fits files of a subset's word; None where there is none."""
    for pattern in patterns:
        expression = pattern.expressions.get("subset")
        if expression is None or facts.split.by != "folder" or re.fullmatch(expression, word):
            return pattern
    return None


def _groups(facts, pattern, number, texts):
    """Texts for the groups of a pattern of volumes, each fitting its expression."""
    is_number = bool(facts.split.ids or facts.modalities.ids)
    groups = {}
    for name, expression in pattern.expressions.items():
        wanted = {"channel": facts.channel, "subset": texts["subset"]}.get(name, "")
        if wanted:
            choices = iter([wanted] * bool(re.fullmatch(expression, wanted)))
        else:
            own = int(texts["patient"]) if name == "patient" else number
            choices = expression_texts.numbered(expression, own, is_number and name == "seq")
        groups[name] = next(choices, None)
        if groups[name] is None:
            text = f"{pattern.text!r}: no text was found for {{{name}:{expression}}}"
            raise _fault(facts, "files.volume", text)
    return groups


def _name(facts, field, pattern, groups):
    """The path of a file, which the page must read as it was meant."""
    path = pattern.path(groups)
    found = facts.groups(path)
    file_type = described.MASK if field == "files.mask" else described.VOLUME
    meant = {name: groups[name] for name in pattern.groups}
    if found is None or found[0] != file_type or found[1] != meant:
        reason = f"{pattern.text!r} does not read {path!r} as it was made: {found}"
        raise _fault(facts, field, reason)
    return path


def _masks(facts, groups, number, word):
    pattern = _pattern_of(facts, facts.masks, word)
    if pattern is None:
        return ()
    own = pattern.expressions
    seq = groups["seq"]
    if not re.fullmatch(own["seq"], seq):
        text = f"{pattern.text!r}: {seq!r}, which files.volume gives, does not fit {{seq}}"
        raise _fault(facts, "files.mask", text)
    organs = [label_map.file_form(name) for value, name in facts.LABELS.items() if value]
    made = []
    for organ in organs if facts.has_organs else [""]:
        more = {"organ": organ, "subset": word, **groups}
        missing = [name for name in pattern.groups if not more.get(name)]
        if missing:
            text = f"{pattern.text!r} has {{{missing[0]}}}, which files.volume has not"
            raise _fault(facts, "files.mask", text)
        made.append((organ, _name(facts, "files.mask", pattern, more)))
    return tuple(made)


def prepare(
    root_dir: files.PathLike, facts: described.Described, settings: Settings
) -> list[Sample]:
    """Write all of an archive but the scans, and return those for `write_sample`.

    DatasetError as in `plan` and `archive_folder.begin`; nothing was written then.
    """
    samples = plan(facts, settings.count, settings.seed)
    extras = dict(filter(None, (_table(facts, samples), _lists(facts, samples))))
    note = {"format": FORMAT, "data_set": facts.NAME, **dataclasses.asdict(settings)}
    archive_dir = archive_folder.begin(root_dir, note)
    for name, content in extras.items():
        files.put(archive_dir / facts.NAME / name, content)
    for sample in samples[:1]:
        paths = (sample.volume, *(path for _, path in sample.masks[:1]))
        first, *rest = (Path(facts.NAME, path) for path in paths)
        archive_folder.put_clutter(archive_dir, first, rest[0] if rest else first)
    return samples


def _table(facts, samples):
    """Name and bytes of the metadata table; None without one."""
    if facts.table is None:
        return None
    name = re.sub(r"\[!?(.)[^\]]*\]|[*?]", lambda odd: odd[1] or "x", facts.table.file)
    if not PurePosixPath(name).match(facts.table.file) or "/" in name:
        raise _fault(facts, "metadata.file", f"is {facts.table.file!r}: no name was found for it")
    columns = [facts.table.key, *facts.table.columns.values()]
    columns += [facts.split.column] * (facts.split.by == "column")
    columns = [*dict.fromkeys(columns)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=facts.table.separator or ",", lineterminator="\n")
    writer.writerow(columns)
    for index, sample in enumerate(samples):
        cells = _cells(facts, sample, index)
        writer.writerow([cells[column] for column in columns])
    return name, text.getvalue().encode("utf-8")


def _cells(facts, sample, index):
    """{column of the table: text} of a sample."""
    texts, number = dict(sample.texts), int(sample.seq)
    known = {
        "sex": sample.sex,
        "age": str(40 + number % 45),
        "birth_date": f"{1940 + number % 45}-03-{1 + number % 28:02d}",
        "acquisition_date": f"2021-06-{1 + number % 28:02d}",
        "patient_id": f"P{number - number % 2 if index < 4 else number:04d}",
        facts.modalities.column: sample.modality,
    }
    cells = {
        theirs: known.get(ours, f"{ours} {1 + number % 3}")
        for ours, theirs in facts.table.columns.items()
    }
    return {**cells, facts.split.column: texts["word"], facts.table.key: texts["seq"]}


def _lists(facts, samples):
    """Name and bytes of the JSON file that tells the split; None without one."""
    if facts.split.by != "json":
        return None
    lists: dict[str, list] = {word: [] for word in facts.split.words}
    for sample in samples:
        entry = {"image": f"./{sample.volume}"}
        if sample.masks:
            entry["label"] = f"./{sample.masks[0][1]}"
        lists[dict(sample.texts)["word"]].append(entry)
    labels = {str(value): name for value, name in facts.LABELS.items()}
    content = {"name": facts.NAME, "labels": labels, **lists}
    return PurePosixPath(facts.split.file).name, archive_folder.as_json(content)


def write_sample(
    sample: Sample,
    root_dir: files.PathLike,
    facts: described.Described,
    settings: Settings,
    overwrite: bool = False,
) -> scan_files.ScanStyle | calls.Finished:
    """Write volume, noisy masks, and the true masks outside the archive, after `prepare`.

    See `archive_folder.write_sample`.
    """
    made = _Made(sample, facts, settings)
    archive_dir, truth_dir = (
        Path(root_dir, name, facts.NAME)
        for name in (archive_folder.ARCHIVE_DIR, archive_folder.TRUTH_DIR)
    )
    volumes: dict[Path, Callable] = {archive_dir / sample.volume: abdomen.volume_slices}
    masks: dict[Path, Callable] = {}
    for organ, path in sample.masks:
        masks[truth_dir / path] = functools.partial(made.mask, organ, False)
        masks[archive_dir / path] = functools.partial(made.mask, organ, True)
    return archive_folder.write_sample(sample, made.scan, volumes, masks, overwrite)


class _Made:
    """The scan of a sample and its labels, made when they are asked for."""

    def __init__(self, sample, facts, settings):
        self.sample, self.settings = sample, settings
        self.names = facts.LABELS
        self.values = {label_map.file_form(name): value for value, name in self.names.items()}
        self._labels = {}  # whether noisy: mask

    def scan(self):
        shape = [*self.settings.shape]
        axis = self.sample.body_axis
        shape[axis], shape[2] = shape[2], shape[axis]
        made = abdomen.scan(self.sample, shape, self.settings.seed)
        affine = made.affine.copy()
        affine[:, [axis, 2]] = affine[:, [2, axis]]
        tissues = np.asfortranarray(made.tissues.swapaxes(axis, 2))
        if self.sample.has_identity:
            affine = np.eye(4)
        return dataclasses.replace(made, affine=affine, tissues=tissues)

    def mask(self, organ, is_noisy, made):
        """Yield the slices of a mask of all labels, or of one organ."""
        if not self._labels:
            true = bodies.paint(made, self.names)
            noisy = bodies.noisy(true, (made.seed, int(self.sample.seq)))
            self._labels.update({False: true, True: noisy})
        labels = self._labels[is_noisy]
        return bodies.slices((labels == self.values[organ]).astype(np.uint8) if organ else labels)


def memory_bytes(shape: Sequence[int]) -> int:
    """Return about what `write_sample` needs for a scan of a shape, above the bare process."""
    n_slice = shape[0] * shape[1]
    return n_slice * shape[2] * 7 + n_slice * 100 + 80 * 2**20

"""Which subset each sample of a described archive is in, where its files' names do not tell."""

import collections
import hashlib
import math
from collections.abc import Iterable, Mapping

from utils import errors
from utils.facts import described
from utils.routines import archive, dataset_json, described_metadata
from utils.storage import files, forms


class Subsets:
    """The subsets of an archive's samples.

    Attributes
    ----------
    of : dict of str to str
        Sample to subset.
    unknown : dict of str to str
        Sample to why its subset is not known.
    failures : list of (str, DatasetError)
        Of lists that cannot be taken as a whole.
    warnings : list of (str, str)
    """

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.failures: list[tuple[str, errors.DatasetError]] = []
        self.warnings: list[tuple[str, str]] = []


def by_name(found: Iterable[archive.ArchiveFile], dataset: described.Described) -> Subsets:
    """Take what folders and numbers tell."""
    made = Subsets()
    for file in found:
        if file.subset:
            made.of.setdefault(file.sample, file.subset)
        else:
            seq = file.columns["seq"]
            made.unknown[file.sample] = f"{seq!r} is in none of split.subsets of {dataset.PAGE}"
    return made


def by_column(
    seqs: Mapping[str, str], metadata: described_metadata.Metadata, dataset: described.Described
) -> Subsets:
    """Take the words of a column of the metadata table; `seqs` are sample to seq."""
    metadata.check_split(seqs.values())
    made = Subsets()
    for name, seq in seqs.items():
        if shared := metadata.shared(seq):
            made.unknown[name] = f"{shared}, expected one"
            continue
        words = metadata.words(seq)
        known = dataset.split.words
        subsets = {known.get(word) or known.get(forms.whole_number_text(word)) for word in words}
        if len(subsets) == 1 and (subset := subsets.pop()):
            made.of[name] = subset
            continue
        found = " and ".join(map(repr, words))
        told = f"{dataset.split.column} is {found}" if words else f"no row for it (key {seq!r})"
        expected = " or ".join(dataset.split.words)
        made.unknown[name] = f"{metadata.tables}: {told}, expected {expected}"
    return made


def by_json(
    contents: archive.Contents, root_dir: files.PathLike, dataset: described.Described
) -> Subsets:
    """Take the lists of the archive's JSON files; DatasetError where there is none, or no lists."""
    paths = archive.find_tables(root_dir, contents, dataset.split.file)
    if not paths:
        reason = f"{root_dir}: no {dataset.split.file} below it or beside it, expected for the"
        raise errors.DatasetError(f"{reason} subsets (split.file of {dataset.PAGE})", code="json")
    made, found = Subsets(), [*contents.files, *contents.doubles]
    find, subsets = dataset_json.finder(found), collections.defaultdict(set)
    for path in paths:
        entries, n_odd, problem = dataset_json.read(path, dataset.split.words)
        if not (entries or problem):
            problem = f"names no files in {' or '.join(dataset.split.words)}"
        if problem:
            text = f"{path}: {problem.removeprefix(f'{path}: ')}; expected the lists of split"
            raise errors.DatasetError(text, file=path, code="json")
        if n_odd:
            error = errors.DatasetError(f"{path}: has {n_odd} entries that name no file", file=path)
            made.failures.append((path.name, error))
        # What lies beside the root counts as if it lay in it.
        is_below = path.is_relative_to(root_dir)
        json_path = path.relative_to(root_dir).as_posix() if is_below else path.name
        absent = []
        for subset, file_type, text in entries:
            if file := find(json_path, file_type, text):
                subsets[file.sample].add(subset)
            else:
                absent.append(text)
        if absent:
            made.warnings.append((json_path, dataset_json.not_on_disk(absent)))
    for name in dict.fromkeys(file.sample for file in found):
        of_sample = sorted(subsets[name])
        if len(of_sample) == 1:
            made.of[name] = of_sample[0]
        else:
            lists = f"in the lists of {' and '.join(of_sample)}" if of_sample else "in no list"
            made.unknown[name] = f"{lists} of {errors.listed(paths)}, expected in one"
    return made


def by_patient(patient_of: Mapping[str, str], split: described.Split) -> Subsets:
    """Deal patients at random; `patient_of` is sample to patient.

    Notes
    -----
    Patients are taken in the order of the SHA-256 of ``<seed>:<patient>``: the first ones are
    test, the next val, all others train. Of n patients a share s has floor(n s + 0.5), and at least
    one where there are as many patients as subsets; train has at least one. One more patient moves
    at most one other at each of the borders.
    """
    made = Subsets()
    ordered = sorted(
        {*patient_of.values()},
        key=lambda name: (hashlib.sha256(f"{split.seed}:{name}".encode()).digest(), name),
    )
    sizes = _sizes(len(ordered), {side: split.shares.get(side, 0) for side in ("test", "val")})
    sides = [side for side, size in sizes.items() for _ in range(size)]
    subset_of = dict(zip(ordered, [*sides, *["train"] * (len(ordered) - len(sides))]))
    made.of = {name: subset_of[patient] for name, patient in patient_of.items()}
    return made


def _sizes(n_patients, shares):
    """Patients of each subset but train."""
    asked = [side for side, share in shares.items() if share]
    least = 1 if n_patients > len(asked) else 0
    sizes = {side: max(math.floor(n_patients * shares[side] + 0.5), least) for side in asked}
    while sum(sizes.values()) > max(n_patients - 1, 0):
        largest = max(sizes, key=lambda side: (sizes[side], side == "val"))
        sizes[largest] -= 1
    return sizes

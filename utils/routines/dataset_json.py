"""The dataset.json files of an archive, compared with its folders; the folders win."""

import collections
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from utils import errors
from utils.facts import DataSet
from utils.routines import archive
from utils.running import calls
from utils.storage import files

NAME = "dataset.json"
# What Decathlon-style dataset.json files call the two types.
_TYPES = {"image": archive.VOLUME, "label": archive.MASK}


def check(
    outcome: calls.Outcome, root_dir: files.PathLike, contents: archive.Contents, facts: DataSet
) -> None:
    """Compare every dataset.json that was found below the root with the folders.

    Another subset than the folder's, and files that are not on disk, become warnings of the
    outcome; a dataset.json that cannot be compared, or not as a whole, fails.
    """
    find = finder([*contents.files, *contents.doubles])
    for json_path in archive.distinct(root_dir, contents, NAME):
        entries, n_odd, problem = read(Path(root_dir, json_path), facts.DATASET_JSON_SUBSETS)
        if problem:
            problem += "; only the folders count"
        elif n_odd:
            problem = f"has {n_odd} entries that name no file"
        if problem:
            error = errors.DatasetError(problem, file=Path(root_dir, json_path), code="json")
            outcome.fail(json_path, error)
        texts: list[str] = []
        absent, elsewhere = [], []
        for subset, file_type, text in entries:
            file = find(json_path, file_type, text)
            if file is None:
                absent.append(text)
            elif file.subset != subset:
                elsewhere.append(f"{file} ({subset} by the list)")
        if absent:
            texts.append(not_on_disk(absent))
        if elsewhere:
            count = f"has {len(elsewhere)} files in another subset than their folder, which counts"
            texts.append(f"{count}: {errors.listed(elsewhere)}")
        outcome.warnings += [(json_path, text) for text in texts]


def not_on_disk(texts: list[str]) -> str:
    """Say which files of a list are not there."""
    return f"lists {len(texts)} files that are not on disk: {errors.listed(texts)}"


def finder(
    found: Iterable[archive.ArchiveFile],
) -> Callable[[str, str, str], archive.ArchiveFile | None]:
    """Make what finds the file that an entry means, by (path of the JSON file, type, entry).

    By its path relative to the JSON file, else by its name, where one sample alone has files of
    that name and type.
    """
    by_path, by_name = {}, collections.defaultdict(list)
    for file in found:
        by_path[file.relative_path] = file
        by_name[file.type, file.path.name].append(file)

    def find(json_path, file_type, text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(json_path), text))
        alike = by_name.get((file_type, posixpath.basename(path)), [])
        is_one = len({file.sample for file in alike}) == 1
        return by_path.get(path) or (alike[-1] if is_one else None)

    return find


def read(
    path: files.PathLike, subsets: Mapping[str, str]
) -> tuple[list[tuple[str, str, str]], int, str]:
    """Read the lists of a dataset.json, list name to subset.

    Returns
    -------
    list of (subset, type, path text)
    int
        How many entries name no file.
    str
        What keeps the file from being understood, else empty.
    """
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
    except errors.DamagedFileError as error:
        return [], 0, str(error)
    except (ValueError, RecursionError) as error:
        return [], 0, f"is no JSON file ({errors.one_line(error)})"
    if not isinstance(content, dict):
        return [], 0, "holds no lists of files"
    entries, n_odd = [], 0
    for split, subset in subsets.items():
        items = content.get(split, [])
        for item in items if isinstance(items, list) else [items]:
            texts = {"image": item} if isinstance(item, str) else item
            named = [
                (subset, file_type, texts[key])
                for key, file_type in _TYPES.items()
                if isinstance(texts, dict) and isinstance(texts.get(key), str)
            ]
            entries += named
            n_odd += not named
    return entries, n_odd, ""


def _once_each(pairs):
    made = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r} stands twice")
        made[key] = value
    return made


def _no_number(text):
    raise ValueError(f"{text} is no number in JSON")

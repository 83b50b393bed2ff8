"""The dataset.json files of an archive, compared with its folders; the folders win."""

import json
import posixpath
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
    found = [*contents.files, *contents.doubles]
    by_path = {file.relative_path: file for file in found}
    by_name = {(file.type, file.path.name): file for file in found}
    for json_path in archive.distinct(root_dir, contents, NAME):
        entries, problem = _entries(Path(root_dir, json_path), facts.DATASET_JSON_SUBSETS)
        if problem:
            error = errors.DatasetError(problem, file=Path(root_dir, json_path), code="json")
            outcome.fail(json_path, error)
        texts: list[str] = []
        absent, elsewhere = [], []
        for subset, file_type, text in entries:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(json_path), text))
            file = by_path.get(path) or by_name.get((file_type, posixpath.basename(path)))
            if file is None:
                absent.append(text)
            elif file.subset != subset:
                elsewhere.append(f"{file} ({subset} by the list)")
        if absent:
            listed = errors.listed(absent)
            texts.append(f"lists {len(absent)} files that are not on disk: {listed}")
        if elsewhere:
            count = f"has {len(elsewhere)} files in another subset than their folder, which counts"
            texts.append(f"{count}: {errors.listed(elsewhere)}")
        outcome.warnings += [(json_path, text) for text in texts]


def _entries(path, subsets):
    """Return [(subset, type, path text)] and what keeps the file from being understood."""
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
    except errors.DamagedFileError as error:
        return [], f"{error}; only the folders count"
    except (ValueError, RecursionError) as error:
        return [], f"is no JSON file ({errors.one_line(error)}); only the folders count"
    if not isinstance(content, dict):
        return [], "holds no lists of files; only the folders count"
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
    return entries, f"has {n_odd} entries that name no file" if n_odd else ""


def _once_each(pairs):
    made = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r} stands twice")
        made[key] = value
    return made


def _no_number(text):
    raise ValueError(f"{text} is no number in JSON")

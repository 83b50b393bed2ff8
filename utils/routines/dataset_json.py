"""The dataset.json files of an archive, compared with its folders; the folders win."""

import json
import posixpath
from pathlib import Path

from utils import errors
from utils.facts import DataSet
from utils.routines import archive
from utils.storage import files

NAME = "dataset.json"
# What Decathlon-style dataset.json files call the two types.
_TYPES = {"image": archive.VOLUME, "label": archive.MASK}


def check(
    root_dir: files.PathLike, contents: archive.Contents, facts: DataSet
) -> list[tuple[str, str]]:
    """Compare every dataset.json that was found below the root with the folders.

    Returns pairs of the file and what is odd about it: unreadable, another subset than the
    folder's, or files that are not on disk.
    """
    found = [*contents.files, *contents.doubles]
    by_path = {file.relative_path: file for file in found}
    by_name = {(file.type, file.path.name): file for file in found}
    messages = []
    for json_path in contents.matching(NAME):
        entries, problem = _entries(Path(root_dir, json_path), facts.DATASET_JSON_SUBSETS)
        texts = [problem] if problem else []
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
        messages += [(json_path, text) for text in texts]
    return messages


def _entries(path, subsets):
    """Return [(subset, type, path text)] and what keeps the file from being understood."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        return [], f"cannot be read ({error.strerror}); only the folders count"
    except (ValueError, RecursionError) as error:
        return [], f"is no JSON file ({error}); only the folders count"
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

"""YAML files of people, read strictly: what has two meanings, or none, is refused."""

import functools
import re
from collections.abc import Hashable

from utils import errors
from utils.storage import files

# A label map of all 255 labels in two forms takes a quarter of it; an info file has 300 bytes.
MAX_BYTES = 1 << 17
_PLAIN_NUMBER = re.compile("-?[0-9]+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def read(path: files.PathLike, code: str, typed: bool = False) -> object:
    """Read a YAML file of one document: text, or tables and lists of text.

    Parameters
    ----------
    path : path-like
    code : str
        Code of the DatasetError where it is no such file.
    typed : bool
        Scalars without quotes are what YAML 1.1 makes of them: numbers, dates, true, null.

    Raises
    ------
    DatasetError
        The file cannot be read, is no YAML in UTF-8, or is larger than `MAX_BYTES`. A key stands
        twice, by its meaning (1 and 1.0). A whole number is not written in plain digits that mean
        the same to everybody (010 is 8 in YAML 1.1 and 10 in YAML 1.2). There are anchors,
        aliases, merged tables or tags, which no file of ours needs, and which may stand for
        gigabytes or for code.
    """
    import yaml

    with files.explained(path, "read"), files.opened(path) as handle:
        content = handle.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        return yaml.load(content.decode("utf-8"), Loader=_loader(typed))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        reason = f"{path}: not a readable YAML file: {_shown(error)}"
        raise errors.DatasetError(reason, file=path, code=code) from error


def _shown(error):
    """A library's reason without the text around its place: that may be anything."""
    import yaml

    if isinstance(error, RecursionError):
        return "nested too deeply"
    mark = getattr(error, "problem_mark", None)
    if not mark:
        return errors.one_line(error)
    hint = ""
    if isinstance(error, (yaml.scanner.ScannerError, yaml.parser.ParserError)):
        line = "".join((mark.buffer or "").splitlines()[mark.line : mark.line + 1])
        hint = "; a text with { goes into 'single quotes'" * ("{" in line)
    return f"line {mark.line + 1}: {', '.join(filter(None, (error.context, error.problem)))}{hint}"


@functools.cache
def _loader(typed):
    """Make the loader class, with `typed` of YAML's own types and else of text alone."""
    import yaml

    class Loader(yaml.SafeLoader if typed else yaml.BaseLoader):
        def compose_node(self, parent, index):
            event = self.peek_event()
            if event.anchor or getattr(event, "tag", None):
                what = "anchors, aliases and tags (& * !) are not understood here"
                raise yaml.composer.ComposerError(None, None, what, event.start_mark)
            return super().compose_node(parent, index)

        def construct_scalar(self, node):
            text = super().construct_scalar(node)
            if _HALF_CHARACTER.search(text):
                raise _fault(node, "half a character (\\ud800 to \\udfff)")
            return text

        def construct_mapping(self, node, deep=False):
            made = {}
            for key_node, value_node in node.value:
                if key_node.value == "<<":
                    raise _fault(key_node, "merging (<<) is not understood here")
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, Hashable):
                    raise _fault(key_node, "a table or list as key, expected text or a number")
                if key in made:
                    raise _fault(key_node, f"the key {key_node.value} stands twice")
                made[key] = self.construct_object(value_node, deep=deep)
            return made

        def construct_plain_number(self, node):
            value = self.construct_yaml_int(node)
            if not _PLAIN_NUMBER.fullmatch(node.value) or int(node.value) != value:
                raise _fault(node, f"{node.value} found, expected a number in plain digits")
            return value

    if typed:
        Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_plain_number)
    return Loader


def _fault(node, reason):
    import yaml

    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)

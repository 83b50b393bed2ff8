"""One call of a per-sample function, and what came of all calls."""

import collections
import dataclasses
import warnings
from collections.abc import Callable

from utils import errors
from utils.running import free_memory


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a per-sample function returns when there was nothing left to do for the sample."""

    value: object = None


@dataclasses.dataclass
class Outcome:
    """What came of all samples; every list is in the order of the samples.

    Attributes
    ----------
    results : list of (sample, value)
        Samples that did not fail, with what the function returned.
    done, skipped : int
        How many of them were worked on, and how many had been finished before.
    failures : list of (sample name, DatasetError)
        One entry per fault; a sample may have several.
    notes, warnings : list of (sample name, str)
        What needs nobody's attention, and what does.
    noun : str
        What a sample is called in the summary.
    dead_workers : int
        How many worker processes died at a sample, also where another one did it then.
    """

    results: list = dataclasses.field(default_factory=list)
    done: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    warnings: list = dataclasses.field(default_factory=list)
    noun: str = "sample"
    dead_workers: int = 0

    @property
    def failed(self) -> int:
        """How many samples (or other things with a name) failed."""
        return len({name for name, _ in self.failures})

    def fail(self, name: str, error: errors.DatasetError) -> None:
        """Add every fault that an error holds, under a name."""
        self.failures.extend((name, case) for case in error.cases)


class LibraryWarning(UserWarning):
    """What a library warned of amid the samples; about its arithmetic more than about the data.

    Parameters
    ----------
    text : str
        Category and text of the warning; the same for all samples that it comes from.
    names : list of str
        These samples, in their order.
    """

    def __init__(self, text: str, names: list[str]):
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        super().__init__(f"{names[0]}: {text}{more}")
        self.text = text


@dataclasses.dataclass
class Reply:
    """What one call gave: a value or an error, and the texts of its warnings.

    Those of `DataWarning` are ``messages``; of the others each distinct one, with its category.
    ``dead_workers`` counts the worker processes that died at it.
    """

    value: object = None
    error: errors.DatasetError | None = None
    messages: tuple[str, ...] = ()
    library_warnings: tuple[str, ...] = ()
    dead_workers: int = 0


def call(function: Callable, sample: object) -> Reply:
    """Call the function for one sample; its faults and its warnings go into the reply."""
    reply = Reply()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", errors.DataWarning)
        try:
            reply.value = function(sample)
        except errors.DatasetError as error:
            reply.error = error
        except MemoryError:
            free = f"{free_memory.available() / 2**30:.1f} GiB free"
            reason = f"not enough memory for this sample ({free})"
            reply.error = errors.DatasetError(reason, code="memory")
    is_ours = [issubclass(entry.category, errors.DataWarning) for entry in caught]
    reply.messages = tuple(str(entry.message) for entry, ours in zip(caught, is_ours) if ours)
    others = (text_of(entry.message) for entry, ours in zip(caught, is_ours) if not ours)
    reply.library_warnings = tuple(dict.fromkeys(others))
    return reply


def text_of(warning: Warning | str) -> str:
    """Put category and text of a library's warning on one line."""
    return f"{type(warning).__name__}: {errors.one_line(warning)}"


def pass_on(samples: list, replies: list[Reply]) -> None:
    """Issue each distinct library warning of the samples once, as a `LibraryWarning`."""
    names = collections.defaultdict(list)
    for sample, reply in zip(samples, replies):
        for text in reply.library_warnings:
            names[text].append(str(sample))
    for text in names:
        warnings.warn(LibraryWarning(text, names[text]), stacklevel=3)


def death(reason: str, dead_workers: int = 1) -> Reply:
    """Make the reply of a sample whose worker process is gone, or so many of them."""
    error = errors.DatasetError(
        f"the worker process {reason}; nothing of this sample is half written, the same command "
        "tries it again",
        code="worker",
    )
    return Reply(error=error, dead_workers=dead_workers)


def collect(samples: list, replies: list[Reply]) -> Outcome:
    """Sort the replies, one per sample and in their order, into an outcome."""
    outcome = Outcome()
    for sample, reply in zip(samples, replies):
        outcome.dead_workers += reply.dead_workers
        outcome.warnings.extend((str(sample), message) for message in reply.messages)
        if reply.error is not None:
            outcome.fail(str(sample), reply.error)
        elif isinstance(reply.value, Finished):
            outcome.skipped += 1
            outcome.results.append((sample, reply.value.value))
        else:
            outcome.done += 1
            outcome.results.append((sample, reply.value))
    return outcome

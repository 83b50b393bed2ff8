"""One call of a per-sample function, and what came of all calls."""

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
    warnings : list of (sample name, str)
    """

    results: list = dataclasses.field(default_factory=list)
    done: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)
    warnings: list = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many samples (or other things with a name) failed."""
        return len({name for name, _ in self.failures})

    def fail(self, name: str, error: errors.DatasetError) -> None:
        """Add every fault that an error holds, under a name."""
        self.failures.extend((name, case) for case in error.cases)


@dataclasses.dataclass
class Reply:
    """What one call gave: a value or an error, and the texts of its `DataWarning`."""

    value: object = None
    error: errors.DatasetError | None = None
    messages: tuple[str, ...] = ()


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
    reply.messages = tuple(
        str(entry.message) for entry in caught if issubclass(entry.category, errors.DataWarning)
    )
    return reply


def death(reason: str) -> errors.DatasetError:
    """Make the error of a sample whose worker process is gone."""
    return errors.DatasetError(
        f"the worker process {reason}; nothing of this sample is half written, the same command "
        "tries it again",
        code="worker",
    )


def collect(samples: list, replies: list[Reply]) -> Outcome:
    """Sort the replies, one per sample and in their order, into an outcome."""
    outcome = Outcome()
    for sample, reply in zip(samples, replies):
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

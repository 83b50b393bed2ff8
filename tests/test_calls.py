"""What one call of a per-sample function gives, and how outcomes count."""

import pickle
import warnings

from utils import errors
from utils.running import calls


def test_outcome_fail_counts_names():
    outcome = calls.Outcome()
    outcome.fail("a", errors.CasesError([errors.DatasetError("1"), errors.DatasetError("2")]))
    outcome.fail("a", errors.DatasetError("3"))
    assert outcome.failed == 1 and len(outcome.failures) == 3


def test_a_call_gives_value_or_error_and_crosses_process_borders():
    def fail(sample):
        warnings.warn("is odd", errors.DataWarning, stacklevel=1)
        raise errors.DatasetError(f"{sample} is bad", code="bad")

    assert calls.call(lambda sample: 2 * sample, 4) == calls.Reply(8)
    reply = pickle.loads(pickle.dumps(calls.call(fail, "a")))
    assert (reply.value, str(reply.error), reply.error.code) == (None, "a is bad", "bad")
    assert reply.messages == ("is odd",)


def test_outcome_is_in_the_order_of_the_samples():
    replies = [
        calls.Reply(calls.Finished(7), messages=("x", "y")),
        calls.Reply(error=errors.DatasetError("bad"), messages=("z",)),
        calls.Reply(5),
    ]
    outcome = calls.collect(["a", "b", "c"], replies)
    assert outcome.results == [("a", 7), ("c", 5)]
    assert (outcome.done, outcome.skipped, outcome.failed) == (1, 1, 1)
    assert outcome.warnings == [("a", "x"), ("a", "y"), ("b", "z")]


def test_library_warnings_are_kept_apart():
    def work(sample):
        for text in ("is odd", "is odd", "is old"):
            warnings.warn(text, errors.DataWarning, stacklevel=1)
            warnings.warn(f"it {text}", RuntimeWarning, stacklevel=1)

    reply = calls.call(work, "a")
    assert reply.messages == ("is odd", "is odd", "is old")
    assert reply.library_warnings == ("RuntimeWarning: it is odd", "RuntimeWarning: it is old")

"""Standard input, output and error: always there, and never the reason that a run ends."""

import contextlib
import io
import os
import sys


class _Outlet(io.FileIO):
    """What cannot go to this descriptor (nobody reads it, its disk is full) is dropped."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError:
            return len(data)


def secure() -> None:
    """Open the descriptors 0 to 2 that are closed, and let output that fails be no error.

    Streams that something else stands in for, as in tests, stay as they are.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest free number, this one; else the next data file would have it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr)


def _text(descriptor, stream):
    encoding = "utf-8"
    if stream is not None:
        encoding = stream.encoding
        with contextlib.suppress(OSError):
            stream.flush()
    outlet = _Outlet(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or outlet.isatty(),
    )

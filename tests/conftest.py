"""What all tests share: the repository root on the path, and scripts as commands."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
# A job in the background inherits Ctrl-C as ignored, and so would every child that a test stops.
signal.signal(signal.SIGINT, signal.default_int_handler)
# matplotlib's list of fonts belongs into the environment, not into the home folder.
os.environ.setdefault("MPLCONFIGDIR", os.path.join(sys.prefix, "matplotlib"))


@functools.cache
def _load(relative_path):
    """Import a script, whose name may start with a digit, as a module."""
    path = ROOT / relative_path
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_script():
    """``load_script("01_gen_archive_manifest.py")`` gives the script as a module."""
    return _load


@pytest.fixture(scope="session")
def run_script():
    """``run_script("03_....py", "--root_dir", path)`` runs a script's command in this process.

    Gives click's result: exit_code, stdout, stderr, output. What is no usage or data error is
    raised here.
    """

    def run(relative_path, *words):
        result = click.testing.CliRunner().invoke(
            _load(relative_path).main, [str(word) for word in words]
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def run_python():
    """``run_python("code", *words)`` runs a program text with `utils` in reach, in a process."""

    def run(code, *words, timeout=60, **options):
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            timeout=timeout,
            text=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **options,
        )

    return run


def pytest_make_parametrize_id(val):
    """Name bytes by their length: gzip writes the time, and workers have to agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None

"""What the scripts share, in folders by purpose.

The first thing of ours that a script imports: where the environment is not the right one, the
script ends here, in one line. A program with another purpose gets an ImportError, as it expects.
"""

import os
import sys

_OLDEST_PYTHON = (3, 10)
# Names to import; those of the report are missed there alone.
_PACKAGES = "cc3d click nibabel numpy openpyxl pandas scipy tqdm yaml".split()
_OF_THE_REPORT = "contourpy matplotlib".split()


def _routine():
    """Return the path of the script that runs, if it is one of ours."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    if path is None or not os.path.isfile(path):
        return None
    with open(path, "rb") as handle:
        return path if b"\n@cli.routine(__doc__" in handle.read() else None


def _fault(script):
    """Say what is wrong with the environment; an old Python must be able to run this."""
    if sys.version_info < _OLDEST_PYTHON:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old"
    needed = _PACKAGES + _OF_THE_REPORT * (os.path.basename(script) == "render_qc_report.py")
    # importlib.util would ask no others, and takes longer to import than to answer.
    missing = [name for name in needed if not any(f.find_spec(name, None) for f in sys.meta_path)]
    return f"packages are missing: {', '.join(missing)}" if missing else None


def _advice():
    import shlex

    repository = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    venv = os.path.join(repository, ".venv")
    activate = os.path.join(venv, "bin", "activate")
    if os.path.exists(activate) and os.path.realpath(sys.prefix) != os.path.realpath(venv):
        return f"activate the environment: source {shlex.quote(activate)}"
    tutorial = shlex.quote(os.path.join(repository, "run_tutorial.sh"))
    requirements = shlex.quote(os.path.join(repository, "requirements.txt"))
    return f"make the environment: {tutorial}, or pip install -r {requirements}"


def _show_stop(kind, error, trace):
    """Show what nobody caught; Ctrl-C while modules load has nothing to show."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    from utils import errors

    _end(errors.STOPPED, 130)


def _end(line, exit_status):
    if sys.stderr is not None:
        print(line, file=sys.stderr)
    sys.exit(exit_status)


def _begin():
    script = _routine()
    if script is None:
        return
    sys.excepthook = _show_stop
    fault = _fault(script)
    if fault:
        _end(f"{os.path.basename(script)}: {fault}; {_advice()}", 2)


_begin()

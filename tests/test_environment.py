"""Scripts without the packages, with too old a Python, or stopped while their modules load."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from utils import errors

REPOSITORY = Path(errors.__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.py", "AMOS-*/*.py", "NME/*.py", "utils/*.py")
    for path in REPOSITORY.glob(pattern)
    if path.read_text(encoding="utf-8").endswith("\n    main()\n")
)
REPORT = "utils/render_qc_report.py"
ALL = "cc3d, click, nibabel, numpy, openpyxl, pandas, scipy, tqdm, yaml"
INSTALL = f"pip install -r {shlex.quote(str(REPOSITORY / 'requirements.txt'))}"


def start(*words, places=()):
    """Run Python without its packages, but with those in these folders."""
    return subprocess.run(
        [sys.executable, "-S", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module", name="packages")
def all_packages_but(tmp_path_factory):
    """``packages("scipy")`` gives a folder with all installed packages but this one."""

    def make(*left_out):
        folder = tmp_path_factory.mktemp("packages")
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(place).iterdir():
                if entry.name not in left_out and not (folder / entry.name).exists():
                    (folder / entry.name).symlink_to(entry)
        return folder

    return make


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_packages_a_script_says_what_to_do(script):
    result = start(REPOSITORY / script, "--help")
    missing = ALL + ", contourpy, matplotlib" * (script == REPORT)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{Path(script).name}: packages are missing: {missing}; ")
    assert result.stderr.count("\n") == 1
    assert "activate" in result.stderr or INSTALL in result.stderr


@pytest.mark.parametrize("package", ["click", "openpyxl", "yaml"])
def test_one_missing_package_is_named(packages, package):
    place = packages(package)
    result = start(REPOSITORY / "03_split_prostate_uterus_label.py", "-h", places=[place])
    assert result.returncode == 2 and f"packages are missing: {package}; " in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_draws_the_report_is_missed_there_alone(packages):
    place = packages("matplotlib")
    assert start(REPOSITORY / "01_gen_archive_manifest.py", "-h", places=[place]).returncode == 0
    result = start(REPOSITORY / REPORT, "-h", places=[place])
    assert result.returncode == 2 and "packages are missing: matplotlib; " in result.stderr


@pytest.mark.parametrize("has_venv", [True, False])
def test_the_advice_fits_what_is_there(tmp_path, has_venv):
    """In a copy, whose folder has a blank in its name."""
    copy = tmp_path / "a clone"
    (copy / "utils").mkdir(parents=True)
    for name in ("06_make_split01_standard.py", "utils/__init__.py"):
        (copy / name).write_bytes((REPOSITORY / name).read_bytes())
    if has_venv:
        (copy / ".venv/bin").mkdir(parents=True)
        (copy / ".venv/bin/activate").touch()
        advice = f"activate the environment: source '{copy}/.venv/bin/activate'"
    else:
        advice = f"make the environment: '{copy}/run_tutorial.sh', or pip install -r "
        advice += f"'{copy}/requirements.txt'"
    result = start(copy / "06_make_split01_standard.py")
    line = f"06_make_split01_standard.py: packages are missing: {ALL}; {advice}\n"
    assert (result.returncode, result.stderr) == (2, line)


def test_an_old_python_is_named():
    code = (
        "import runpy, sys; sys.version_info = (3, 9, 1); sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    result = start("-c", code, REPOSITORY / "06_make_split01_standard.py")
    beginning = "06_make_split01_standard.py: Python 3.9 is too old; "
    assert result.returncode == 2 and result.stderr.startswith(beginning)
    assert result.stderr.count("\n") == 1


def test_closed_stderr_without_the_packages():
    script = shlex.quote(str(REPOSITORY / "06_make_split01_standard.py"))
    line = f"{shlex.quote(sys.executable)} -S {script} 2>&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    "code, error",
    [
        ("import utils.reader", "ModuleNotFoundError: No module named 'numpy'"),
        ("try:\n    import utils.reader\nexcept ImportError:\n    print('goes on')", ""),
    ],
)
def test_a_program_that_imports_the_reader_gets_an_import_error(tmp_path, code, error):
    program = tmp_path / "training.py"
    program.write_text(code)
    result = start(program, places=[REPOSITORY])
    assert result.returncode == bool(error)
    assert result.stderr.rstrip().endswith(error)
    assert error or result.stdout == "goes on\n"


def test_ctrl_c_while_modules_load(packages, tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    places = tmp_path, packages()
    result = start(REPOSITORY / "04_extract_binary_masks.py", "-h", places=places)
    assert (result.returncode, result.stderr) == (130, errors.STOPPED + "\n")


def test_a_bug_in_a_module_keeps_its_traceback(packages, tmp_path):
    (tmp_path / "click.py").write_text("1 / 0")
    places = tmp_path, packages()
    result = start(REPOSITORY / "04_extract_binary_masks.py", "-h", places=places)
    assert result.returncode == 1 and "ZeroDivisionError" in result.stderr

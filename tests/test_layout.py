"""The structure of the repository, read from its source: see the tables below."""

import ast
import collections
import graphlib
import importlib.metadata
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MAX_SCRIPT_LINES = 120
MAX_FUNCTION_LINES = 40
MAX_NESTING = 3
MAX_WIDTH = 100
SAME_BODY_LINES = 5
# Local variables have these names.
NO_MODULE = {"sample", "page", "plots", "flags", "memory", "options", "organs"}

# Wing of utils, from the ground up -> the wings that it imports, all of them further up this list.
WINGS = {
    "errors": "",
    "arrays": "errors",
    "storage": "arrays errors",
    "facts": "arrays errors storage",
    "running": "errors storage",
    "routines": "arrays errors facts running storage",
    "exports": "arrays errors facts routines running storage",
    "qc": "arrays errors facts running storage",
    "sample_data": "errors facts running storage",
    "reading": "arrays errors exports facts routines storage",
    "reader": "arrays errors facts reading routines storage",
}
# What takes and returns arrays knows nothing of files and users.
ARRAY_MODULES = ("sample_data.grids", "sample_data.noise")
# Made-up images have headers that nifti would never write.
ONLY_IN = {
    "nibabel": {"nifti", "nifti_writing", "geometry", "scan_files"},
    "gzip": {"deflate", "nifti"},
    "isal": {"deflate"},
    "openpyxl": {"workbook", "workbook_looks", "workbook_reading"},
    "yaml": {"yaml_files"},
    "distributed": {"cluster"},
}
HEAVY = {
    "nibabel",
    "scipy",
    "openpyxl",
    "cc3d",
    "yaml",
    "tqdm",
    "distributed",
    "pandas",
    "matplotlib",
    "PIL",
    "http",  # with ssl and email; xml.sax.saxutils has it
}
# A worker of a cluster that somebody else started gets the repository's path from here.
PATH_MAKERS = ("cluster",)
PATH_LINE = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
# What catches DatasetError. pairs makes faulty manifest rows the failures of their samples, dataset
# goes on looking for more cases of one sample, cluster fails the samples that are left when it is
# of no use any more.
CATCHERS = ("calls", "cli", "cluster", "pairs", "dataset", "predictions", "archive_scans")
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

SCRIPTS = [
    path
    for pattern in ("*.py", "AMOS-*/*.py", "NME/*.py", "described/*.py", "utils/*.py")
    for path in sorted(REPOSITORY.glob(pattern))
    if path.read_text(encoding="utf-8").endswith("\n    main()\n")
]
UTILS = REPOSITORY / "utils"
# Name below utils ("storage.files") -> path.
MODULES = {
    ".".join(path.relative_to(UTILS).with_suffix("").parts): path
    for path in sorted(UTILS.rglob("*.py"))
    if path not in SCRIPTS and path.stem != "__init__"
}
PACKAGES = sorted(UTILS.rglob("__init__.py"))
TESTS = sorted((REPOSITORY / "tests").glob("*.py"))
SOURCES = [*PACKAGES, *MODULES.values(), *SCRIPTS, *TESTS]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def shown(path):
    return path.relative_to(REPOSITORY).as_posix()


def parametrized(paths):
    return pytest.mark.parametrize("path", list(paths), ids=shown)


def imported(tree):
    """Names of the modules that a file imports anywhere; of utils as ``utils.wing.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative import in line {node.lineno}"
            is_package = node.module.partition(".")[0] == "utils"
            yield from (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if is_package
                else [node.module]
            )


def own_imports(path):
    """Names below utils of what a file imports from there."""
    return {
        name.partition(".")[2]
        for name in imported(TREES[path])
        if name.partition(".")[0] == "utils"
    }


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def code(function):
    """The statements of a function without its docstring."""
    has_docstring = ast.get_docstring(function, clean=False) is not None
    return function.body[has_docstring:]


def lines_of(function):
    """Lines of a function: head and body, not the docstring."""
    statements = code(function)
    if not statements:
        return 1
    head = function.body[0].lineno - function.lineno
    return head + statements[-1].end_lineno - statements[0].lineno + 1


def nesting(node, depth=0):
    """How deep blocks stand in each other; an elif counts as its if."""
    deepest = depth
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            is_elif = (
                isinstance(node, ast.If)
                and name == "orelse"
                and isinstance(child, ast.If)
                and len(value) == 1
            )
            step = isinstance(child, BLOCKS) and not is_elif
            deepest = max(deepest, nesting(child, depth + step))
    return deepest


def wing_of(name):
    return name.partition(".")[0]


def test_the_folder_shows_wings_doors_reader_and_errors_alone():
    wings = {name for name in WINGS if (UTILS / name).is_dir()}
    doors = {path.name for path in SCRIPTS if path.parent == UTILS}
    found = {path.name for path in UTILS.iterdir() if path.name != "__pycache__"}
    assert found == {*wings, *doors, "reader.py", "errors.py", "__init__.py"}
    assert {wing_of(name) for name in MODULES} == {*WINGS}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_just_the_wings_below_it_that_the_table_names(wing):
    listed = list(WINGS)
    paths = [path for name, path in MODULES.items() if wing_of(name) == wing]
    paths += [path for path in PACKAGES if path.parent.name == wing]
    used = {wing_of(target) for path in paths for target in own_imports(path)} - {wing}
    assert used == set(WINGS[wing].split())
    assert used <= {*listed[: listed.index(wing)]}


@pytest.mark.parametrize("wing", WINGS)
def test_imports_inside_a_wing_have_no_circle(wing):
    inside = {name: path for name, path in MODULES.items() if wing_of(name) == wing}
    graph = {name: own_imports(path) & {*inside} for name, path in inside.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert {*order} == {*inside}


@parametrized(SOURCES)
def test_no_source_imports_a_script_and_utils_no_functions(path):
    names = set(imported(TREES[path]))
    stems = {script.stem for script in SCRIPTS}
    assert not {name.rpartition(".")[2] for name in names} & stems
    of_reader = {"reader.AMOS22"} if path in TESTS else set()  # as its users write it
    assert not own_imports(path) - {*MODULES, *of_reader, "facts.DataSet"}


@parametrized(
    path for name, path in MODULES.items() if wing_of(name) == "arrays" or name in ARRAY_MODULES
)
def test_array_modules_know_no_paths_no_printing_no_click(path):
    tree = TREES[path]
    assert not {name.partition(".")[0] for name in imported(tree)} & {
        "click",
        "glob",
        "io",
        "logging",
        "os",
        "pathlib",
        "shutil",
        "sys",
    }
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "open", "input"}


@pytest.mark.parametrize("library, allowed", ONLY_IN.items())
def test_library_is_used_in_its_module_alone(library, allowed):
    users = {
        path.stem
        for path in (*MODULES.values(), *SCRIPTS)
        if library in {name.partition(".")[0] for name in imported(TREES[path])}
    }
    assert users <= allowed


@parametrized([*MODULES.values(), *SCRIPTS])
def test_heavy_libraries_are_imported_inside_functions(path):
    top_level = ast.Module(
        [node for node in TREES[path].body if isinstance(node, (ast.Import, ast.ImportFrom))], []
    )
    assert not {name.partition(".")[0] for name in imported(top_level)} & HEAVY


@parametrized(SCRIPTS)
def test_scripts_import_only_utils_and_the_standard_library(path):
    """So that `utils` comes first and can say that the packages are missing."""
    names = {name.partition(".")[0] for name in imported(TREES[path])}
    assert names - set(sys.stdlib_module_names) == {"utils"}


# Every script gets a process that has imported nothing yet, without the start of an interpreter.
SHOW_HELP = """
import os, runpy, sys
for script in sys.argv[1:]:
    if os.fork():
        assert os.wait()[1] == 0, script
        continue
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code
    print("LOADED", *{name.partition(".")[0] for name in sys.modules}, flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module", name="loaded")
def loaded_by_help():
    """For each script the packages that its --help loads."""
    command = [sys.executable, "-c", SHOW_HELP, *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return dict(zip(SCRIPTS, map(set, lines), strict=True))


@parametrized(SCRIPTS)
def test_help_and_import_are_light(path, loaded):
    assert "click" in loaded[path]
    assert loaded[path] & HEAVY == set()


@parametrized(SCRIPTS)
def test_script_is_short_and_begins_with_its_help(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_SCRIPT_LINES
    assert ast.get_docstring(TREES[path])
    assert "@cli.routine(__doc__" in text
    assert text.endswith('if __name__ == "__main__":\n    main()\n')


@parametrized(SOURCES)
def test_only_scripts_below_the_top_touch_the_path(path):
    found = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bsys\.path(\.(insert|append|extend)\(|(\[.*\])? \+?= )", line)
    ]
    if path in SCRIPTS:
        assert found == [PATH_LINE] * (path.parent != REPOSITORY)
    elif path.stem not in (*PATH_MAKERS, "conftest") and path not in TESTS:
        assert found == []


def caught(tree):
    """Yield (line, names of the exceptions, whether it raises) of what catches any."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            yield node.lineno, names_in(node.type), isinstance(node.body[-1], ast.Raise)
        elif isinstance(node, ast.Call) and "suppress" in names_in(node.func):
            yield node.lineno, set().union(*map(names_in, node.args)), False


def names_in(tree):
    nodes = [*ast.walk(tree)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@parametrized(SOURCES)
def test_no_error_is_swallowed(path):
    for line, names, raises in caught(TREES[path]):
        assert "Exception" not in names, f"line {line}"
        assert "BaseException" not in names or raises, f"line {line}"


@parametrized([*MODULES.values(), *SCRIPTS])
def test_dataset_errors_are_caught_where_it_is_planned(path):
    found = set().union(*(names for _, names, _ in caught(TREES[path])))
    assert "DatasetError" not in found or path.stem in CATCHERS


@parametrized(SOURCES)
def test_functions_fit_on_a_screen(path):
    long = {
        function.name: lines_of(function)
        for function in functions(TREES[path])
        if lines_of(function) > MAX_FUNCTION_LINES
    }
    deep = {
        function.name: nesting(function)
        for function in functions(TREES[path])
        if nesting(function) > MAX_NESTING
    }
    assert (long, deep) == ({}, {})


@parametrized(path for path in MODULES.values() if path.stem != "files")
def test_files_in_the_making_are_written_by_their_own_method(path):
    # What it raises names the file; the handle's would be a traceback.
    assert ".handle.write" not in path.read_text(encoding="utf-8")


@parametrized([*SOURCES, *sorted(REPOSITORY.glob("*.sh")), *sorted(REPOSITORY.glob("*.txt"))])
def test_lines_are_narrow_and_clean(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [number for number, line in enumerate(lines, 1) if len(line) > MAX_WIDTH] == []
    assert [number for number, line in enumerate(lines, 1) if line != line.rstrip()] == []
    assert lines[-1] == "" and lines[-2] != ""


@parametrized(SOURCES)
def test_no_path_of_one_machine(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"[\"' (](?:/home/\w+|/root|/work|/Users/\w+)/", text) == []


def test_no_body_of_five_lines_occurs_twice():
    bodies = collections.defaultdict(list)
    for path, tree in TREES.items():
        for function in functions(tree):
            statements = code(function)
            n_lines = statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0
            if n_lines >= SAME_BODY_LINES:
                dump = "".join(ast.dump(statement) for statement in statements)
                bodies[dump].append(f"{shown(path)}: {function.name}")
    assert [places for places in bodies.values() if len(places) > 1] == []


def public(tree):
    """Public functions, classes and methods of a module."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    method
                    for method in node.body
                    if isinstance(method, FUNCTIONS) and not method.name.startswith("_")
                )


@parametrized([*PACKAGES, *MODULES.values()])
def test_public_names_have_docstrings(path):
    assert ast.get_docstring(TREES[path])
    assert [node.name for node in public(TREES[path]) if not ast.get_docstring(node)] == []


def unannotated(function):
    """Parameters without type but self and cls, and "return" where that has none."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    listed += filter(None, (arguments.vararg, arguments.kwarg))
    missing = [argument.arg for argument in listed if argument.annotation is None]
    missing += ["return"] * (function.returns is None)
    return [name for name in missing if name not in ("self", "cls")]


def test_public_signatures_are_annotated():
    assert [
        f"{shown(path)}: {node.name}({', '.join(unannotated(node))})"
        for path in (*PACKAGES, *MODULES.values())
        for node in public(TREES[path])
        if isinstance(node, FUNCTIONS) and unannotated(node)
    ] == []


def test_module_names_shadow_nothing():
    installed = {
        name.replace("-", "_").lower()
        for name in (*importlib.metadata.packages_distributions(), *sys.stdlib_module_names)
    }
    assert not {path.stem for path in UTILS.rglob("[a-z]*.py")} & (installed | NO_MODULE)


def test_every_module_of_utils_has_tests():
    tested = set().union(*map(own_imports, TESTS))
    assert [
        name
        for name in MODULES
        if not any(f"{target}.".startswith(f"{name}.") for target in tested)
    ] == []


# Distribution -> name to import.
IMPORTED_AS = {"connected-components-3d": "cc3d", "PyYAML": "yaml", "pillow": "PIL"}


def test_every_requirement_is_imported_and_every_import_required():
    lines = [
        line
        for name in ("requirements.txt", "requirements-cluster.txt")
        for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#"
    ]
    assert [line for line in lines if not re.search(r">=[\d.]+,<\d", line)] == []
    names = [re.match(r"[\w-]+", line)[0] for line in lines]
    used = set(
        itertools.chain.from_iterable(
            imported(TREES[path]) for path in (*MODULES.values(), *SCRIPTS)
        )
    )
    third_party = {name.partition(".")[0] for name in used} - {"utils", *sys.stdlib_module_names}
    assert {IMPORTED_AS.get(name, name) for name in names} == third_party

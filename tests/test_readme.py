"""The README: its commands run, its trees, tables and help texts are what comes of them.

``python tests/test_readme.py`` puts the scripts' current help texts into the README.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
LABEL_MAP = REPOSITORY / "descriptor_templates/label_map.yaml"
# A fenced block, or a marked table: what the test acts on, in the order of the document.
PIECE = re.compile(
    r"^```(?P<language>\w+)\n(?P<body>(?:.*\n)*?)```$"
    r"|^<!-- (?P<kind>columns|keys): (?P<where>.+) -->\n(?P<table>(?:\|.*\n)+)",
    re.M,
)
HELP = re.compile(r"^\$ (python (\S+\.py) --help)\n(?:.*\n)*?(?=```$)", re.M)
TESTED = re.compile(r"<!-- tested: (.+?) -->")
ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "100",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def read():
    return README.read_text(encoding="utf-8")


def with_current_help(text):
    """The README with the help texts as the scripts print them now."""

    def current(match):
        done = subprocess.run(
            [sys.executable, REPOSITORY / match[2], "--help"],
            text=True,
            capture_output=True,
            env=ENVIRONMENT,
            check=True,
        )
        return f"$ {match[1]}\n{done.stdout}"

    return HELP.sub(current, text)


def in_place_of_root(text, root):
    """A command or path with the real folder in the place of root_dir."""
    return re.sub(r"(?<![-\w])root_dir(?![-\w])", lambda _: str(root), text)


def run_block(body, root):
    done = subprocess.run(
        ["bash", "-euc", in_place_of_root(body, shlex.quote(str(root)))],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{body}{done.stdout}{done.stderr}"


def check_tree(body, root):
    """Every folder of a drawn tree holds what is drawn, and more only where it says ``...``."""
    drawn = {(): []}
    parents = [()]
    for line in body.splitlines()[1:]:
        dash = line.index("- ")
        name = line[dash + 2 :]
        parent = parents[dash // 2]
        drawn[parent].append(name)
        if name != "...":
            drawn[parent + (name,)] = []
            parents[dash // 2 + 1 :] = [parent + (name,)]
    for parts, names in drawn.items():
        folder = root.joinpath(*parts)
        if not names:
            assert folder.exists(), folder
            assert folder.is_file() or not any(folder.iterdir()), f"{folder} is drawn empty"
            continue
        found = {path.name for path in folder.iterdir()}
        missing = {*names} - {"..."} - found
        assert not missing, f"{folder}: {missing} drawn, {found} found"
        assert "..." in names or found == {*names}, f"{folder}: {found} found, {names} drawn"


def first_cells(table):
    """Names in the first column of a table; a range of label columns is written out."""
    labels = yaml.safe_load(LABEL_MAP.read_text(encoding="utf-8"))["full_form_index_map"]
    for row in table.splitlines()[2:]:
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        if len(names) == 1:
            yield names[0]
        else:
            every = [f"mask_{value:02d}_{name.replace(' ', '_')}" for value, name in labels.items()]
            ending = "_existence" if names[0].endswith("_existence") else ""
            assert names == [every[0] + ending, every[-1] + ending]
            yield from (name + ending for name in every)


def check_table(kind, where, table, root):
    """A table of columns is the header of its worksheet, one of keys that of its file."""
    if kind == "keys":
        path = Path(in_place_of_root(where, root))
        found = list(yaml.safe_load(path.read_text(encoding="utf-8")))
    else:
        path, sheet = in_place_of_root(where, root).rsplit(" ", 1)
        rows = openpyxl.load_workbook(path, read_only=True)[sheet].iter_rows(values_only=True)
        found = list(next(rows))
    assert list(first_cells(table)) == found, where


@pytest.mark.slow("all commands of the README")
def test_commands_trees_and_tables(tmp_path):
    root = tmp_path / "a root"
    counts = dict.fromkeys(("sh", "text", "columns", "keys"), 0)
    for piece in PIECE.finditer(read()):
        what = piece["language"] or piece["kind"]
        if what == "sh":
            run_block(piece["body"], root)
        elif what == "text" and piece["body"].startswith("root_dir\n"):
            check_tree(piece["body"], root)
        elif piece["kind"]:
            check_table(piece["kind"], piece["where"], piece["table"], root)
        else:
            continue
        counts[what] += 1
    assert counts["sh"] >= 12 and counts["text"] >= 7
    assert counts["columns"] >= 4 and counts["keys"] == 1


def test_help_texts_are_current():
    text = read()
    assert with_current_help(text) == text


def test_every_routine_has_its_help_and_its_command():
    text = read()
    shown = {match[2] for match in HELP.finditer(text)}
    routines = {
        path.relative_to(REPOSITORY).as_posix()
        for pattern in ("0*.py", "AMOS-*/*.py", "utils/small*.py", "utils/morph*.py")
        for path in REPOSITORY.glob(pattern)
    }
    assert shown >= routines
    run = "".join(piece["body"] for piece in PIECE.finditer(text) if piece["language"] == "sh")
    assert [name for name in sorted(routines) if f"python {name} " not in run] == []


def test_claims_have_a_test_of_that_name():
    named = [name for names in TESTED.findall(read()) for name in names.split()]
    defined = {
        node.name
        for path in (REPOSITORY / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 40
    assert [name for name in named if name not in defined] == []


def test_links_lead_somewhere():
    text = read()
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (REPOSITORY / target).exists(), target


def test_label_table_is_that_of_the_label_map():
    table = re.search(r"^\| label \| name \| label .*?\n\n", read(), re.M | re.S)[0]
    cells = [cell.strip() for row in table.splitlines()[2:] for cell in row.split("|")[1:-1]]
    shown = {int(value): name for value, name in zip(cells[::2], cells[1::2]) if value}
    assert shown == yaml.safe_load(LABEL_MAP.read_text(encoding="utf-8"))["full_form_index_map"]


def test_every_requirement_is_listed_with_its_licence():
    text = read().partition("## Citation and licences")[2]
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines():
            if line and line[0] != "#":
                assert re.match(r"[\w-]+", line)[0] in text


@pytest.mark.parametrize(
    "body, reason",
    [
        ("root_dir\n- a\n  - b\n", "drawn"),
        ("root_dir\n- c\n- ...\n", "drawn"),
        ("root_dir\n- a\n  - x\n", "found"),
    ],
)
def test_wrong_trees_are_noticed(tmp_path, body, reason):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").touch()
    (tmp_path / "y").touch()
    with pytest.raises(AssertionError, match=reason):
        check_tree(body, tmp_path)
    check_tree("root_dir\n- a\n  - x\n- y\n", tmp_path)
    check_tree("root_dir\n- a\n  - ...\n- ...\n", tmp_path)


if __name__ == "__main__":
    README.write_text(with_current_help(read()), encoding="utf-8")

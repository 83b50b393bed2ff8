"""README and docs: their commands run, their trees, tables and help texts are what comes of them.

``python tests/test_readme.py`` puts the scripts' current help texts into docs/options.md.
"""

import ast
import collections
import dataclasses
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click.testing
import openpyxl
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
OPTIONS = DOCS / "options.md"
# Both are run on the made-up archive of NME, by test_nme_readme.py.
NME_PAGES = (REPOSITORY / "NME/README.md", DOCS / "nme.md")
# On the made-up archive of CT-ORG, by test_pages_of_sets.py.
DESCRIBED_PAGES = (DOCS / "ct_org.md", DOCS / "published_sets.md")
# On a made-up archive of CT-ORG and on two folders of a hospital, by test_own_data.py.
OWN_PAGES = (REPOSITORY / "described/README.md", DOCS / "own_data.md")
LABEL_MAP = REPOSITORY / "descriptor_templates/label_map.yaml"
MAX_README_LINES = 300
MAX_IMAGE_BYTES = 300_000
# A fenced block, or a marked table: what the test acts on, in the order of the document.
PIECE = re.compile(
    r"^```(?P<language>\w+)\n(?P<body>(?:.*\n)*?)```$"
    r"|^<!-- (?P<kind>columns|keys): (?P<where>.+) -->\n(?P<table>(?:\|.*\n)+)",
    re.M,
)
HELP = re.compile(r"^\$ ((?:python |\./)(\S+\.(?:py|sh)) --help)\n(?:.*\n)*?(?=```$)", re.M)
TESTED = re.compile(r"<!-- tested: (.+?) -->")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)]+)\)")
ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "100",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def read(path=README):
    return path.read_text(encoding="utf-8")


def linked(path):
    """Pages of the repository that a page links to, in its order."""
    targets = [target.partition("#")[0] for _, _, target in LINK.findall(read(path))]
    found = [(path.parent / target).resolve() for target in targets if target.endswith(".md")]
    return [page for page in dict.fromkeys(found) if page != path]


def amos22_pages():
    """The README, then the pages of docs in the order of their index."""
    return [
        README,
        DOCS / "README.md",
        *(
            page
            for page in linked(DOCS / "README.md")
            if page.parent == DOCS
            if page not in (*NME_PAGES, *DESCRIBED_PAGES, *OWN_PAGES)
        ),
    ]


def all_pages():
    return [*amos22_pages(), *NME_PAGES, *DESCRIBED_PAGES, *OWN_PAGES]


@dataclasses.dataclass
class Block:
    """Commands of a page, and the trees and tables that follow them there."""

    commands: list
    outcome: list = dataclasses.field(default_factory=list)


def blocks_of(path):
    """The blocks of a page; the first has no commands, but what stands before all others."""
    blocks = [Block([])]
    for piece in PIECE.finditer(read(path)):
        if piece["language"] == "sh":
            blocks.append(Block(re.findall(r"(?:.*\\\n)*.+\n", piece["body"])))
        else:
            blocks[-1].outcome.append(piece)
    return blocks


def run_pages(paths, root):
    """Run every command of the pages once, in their order; gives how much of each kind there was.

    Right after the last command of a block has run, everything that follows this block, on whatever
    page, is compared with the outcome. What stands before the first command of a page is compared
    after the last.
    """
    pages = [blocks_of(path) for path in paths]
    waiting = [block for _, *blocks in pages for block in blocks]
    done, counts = set(), collections.Counter()
    for opening, *blocks in pages:
        for command in (command for block in blocks for command in block.commands):
            if command in done:
                continue
            run_block(command, root)
            done.add(command)
            ready = [block for block in waiting if done.issuperset(block.commands)]
            for block in ready:
                waiting.remove(block)
                counts.update(check(piece, root) for piece in block.outcome)
        counts.update(check(piece, root) for piece in opening.outcome)
    assert not waiting
    return counts + collections.Counter(command=len(done))


def check(piece, root):
    """Compare a tree or table with what is on disk, or run a program; gives the kind."""
    kind = piece["language"] or piece["kind"]
    if kind == "text" and piece["body"].startswith("root_dir\n"):
        check_tree(piece["body"], root)
    elif kind == "python":
        run_python(piece["body"], root)
    elif piece["kind"]:
        check_table(kind, piece["where"], piece["table"], root)
    return kind


def help_of(name):
    """The help text of a script, 100 columns wide."""
    if name.endswith(".sh"):
        command = [REPOSITORY / name, "--help"]
        return subprocess.run(command, text=True, capture_output=True, check=True).stdout
    script = REPOSITORY / name
    main = runpy.run_path(str(script), run_name="script")["main"]
    # click leaves the last two columns of a terminal empty.
    how = {"prog_name": script.name, "terminal_width": 98}
    done = click.testing.CliRunner().invoke(main, ["--help"], **how)
    assert done.exit_code == 0, done.output
    return done.stdout


def with_current_help(text):
    """A page with the help texts as the scripts print them now."""
    return HELP.sub(lambda match: f"$ {match[1]}\n{help_of(match[2])}", text)


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


def run_python(body, root):
    """Run an example of the reader; those of other packages run where these are installed."""
    packages = re.findall(r"^(?:import|from) (\w+)", body, re.M)
    if any(importlib.util.find_spec(name) is None for name in packages if name != "utils"):
        return
    done = subprocess.run(
        [sys.executable, "-c", in_place_of_root(body, root)],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout, f"{body}{done.stderr}"


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


def first_cells(table, header):
    """Names in the first column of a table.

    A range of label columns is written out; any other range stands for the columns of `header`.
    """
    labels = yaml.safe_load(read(LABEL_MAP))["full_form_index_map"]
    every = [f"mask_{value:02d}_{name.replace(' ', '_')}" for value, name in labels.items()]
    for row in table.splitlines()[2:]:
        names = re.findall(r"`([^`]+)`", row.split("|")[1])
        if len(names) == 1:
            yield names[0]
        elif names[0] in header[:1]:
            yield from header[: header.index(names[1]) + 1]
        else:
            ending = "_existence" if names[0].endswith("_existence") else ""
            assert names == [every[0] + ending, every[-1] + ending]
            yield from (name + ending for name in every)


def check_table(kind, where, table, root):
    """A table of columns is the header of its worksheet, one of keys that of its file."""
    header = []
    if kind == "keys":
        found = list(yaml.safe_load(read(Path(in_place_of_root(where, root)))))
    else:
        path, sheet = in_place_of_root(where, root).rsplit(" ", 1)
        found = header_of(path, sheet)
        if sheet != "Manifest":
            header = dataset_header(root)
    assert list(first_cells(table, header)) == found, where


def header_of(path, sheet):
    rows = openpyxl.load_workbook(path, read_only=True)[sheet].iter_rows(values_only=True)
    return list(next(rows))


def dataset_header(root):
    """The columns that a split takes over, and its own."""
    path = root / "grouped/dataset_manifest.xlsx"
    return [*header_of(path, "Manifest"), "split01_standard"] if path.exists() else []


@pytest.mark.slow("all commands of the README")
def test_commands_trees_and_tables(tmp_path):
    counts = run_pages(amos22_pages(), tmp_path / "a root")
    assert counts["command"] >= 31 and counts["text"] >= 12
    assert (counts["columns"], counts["keys"]) == (10, 1)
    assert counts["python"] >= 2


def scripts():
    """Every script that a person runs, relative to the repository."""
    not_scripts = {"utils/__init__.py", "utils/errors.py", "utils/reader.py"}
    patterns = (
        "run_tutorial.sh",
        "*.py",
        "AMOS-*/*.py",
        "NME/*.py",
        "described/*.py",
        "utils/*.py",
    )
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for pattern in (*patterns, "tests/benchmark.py")
        for path in REPOSITORY.glob(pattern)
    }
    return sorted(found - not_scripts)


def test_help_texts_are_current():
    text = read(OPTIONS)
    assert with_current_help(text) == text
    assert sorted(match[2] for match in HELP.finditer(text)) == scripts()
    sections = re.findall(r"^## (.+)$", text, re.M)
    assert re.findall(r"^- \[(.+)\]\(#", text, re.M) == sections
    assert [page for page in all_pages() if page != OPTIONS and HELP.search(read(page))] == []


def test_help_is_the_same_in_a_process_of_its_own():
    name = "utils/render_qc_report.py"
    command = [sys.executable, REPOSITORY / name, "--help"]
    done = subprocess.run(command, text=True, capture_output=True, env=ENVIRONMENT, check=True)
    assert done.stdout == help_of(name)


@pytest.mark.parametrize(
    "page, folders",
    [
        (README, ("", "AMOS-CT/", "AMOS-MRI/", "utils/")),
        (NME_PAGES[0], ("NME/",)),
        (OWN_PAGES[0], ("described/",)),
    ],
    ids=["AMOS22", "NME", "described"],
)
def test_every_script_has_its_command_on_the_first_page(page, folders):
    run = {shlex.split(line)[1] for block in blocks_of(page) for line in block.commands}
    expected = {name for name in scripts() if re.match(r".*/|", name)[0] in folders}
    assert expected - {"run_tutorial.sh"} - run == set()


def test_claims_have_a_test_of_that_name():
    named = [name for page in amos22_pages() for name in claims(page)]
    assert len(named) > 40
    assert {*named} - defined_tests("test_*.py") == set()


def claims(page):
    return [name for names in TESTED.findall(read(page)) for name in names.split()]


def defined_tests(pattern):
    return {
        node.name
        for path in (REPOSITORY / "tests").glob(pattern)
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.FunctionDef)
    }


def anchors(page):
    """What can stand behind ``#``: the headings as GitHub turns them into names."""
    titles = re.findall(
        r"^#+ (.+)$", re.sub(r"^```(?:.*\n)*?```$", "", read(page), flags=re.M), re.M
    )
    names = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    assert len(names) == len({*names}), f"{page}: headings that are alike"
    return names


@pytest.mark.parametrize(
    "page", all_pages(), ids=lambda page: page.relative_to(REPOSITORY).as_posix()
)
def test_links_lead_somewhere(page):
    for _, _, link in LINK.findall(read(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file() and target.is_relative_to(REPOSITORY), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index_and_every_image_on_a_page():
    assert sorted(page for page in linked(DOCS / "README.md") if page.parent == DOCS) == sorted(
        page for page in DOCS.glob("*.md") if page.name != "README.md"
    )
    images = {
        (page.parent / target).resolve()
        for page in all_pages()
        for mark, text, target in LINK.findall(read(page))
        if mark and text
    }
    assert images == {*DOCS.glob("images/*")}
    assert [image.name for image in images if image.stat().st_size > MAX_IMAGE_BYTES] == []


def test_the_readme_is_short_and_has_a_picture():
    assert read().count("\n") <= MAX_README_LINES
    assert [text for mark, text, _ in LINK.findall(read()) if mark and text]


def test_formulas_hold_nothing_that_github_refuses():
    assert [page.name for page in all_pages() if "\\operatorname" in read(page)] == []


def test_label_table_is_that_of_the_label_map():
    table = re.search(r"^\| label \| name \| label .*?\n\n", read(DOCS / "data.md"), re.M | re.S)[0]
    cells = [cell.strip() for row in table.splitlines()[2:] for cell in row.split("|")[1:-1]]
    shown = {int(value): name for value, name in zip(cells[::2], cells[1::2]) if value}
    assert shown == yaml.safe_load(read(LABEL_MAP))["full_form_index_map"]


def test_messages_to_look_up_are_those_that_are_printed():
    """The longest part of each quoted message is in the code; those with digits are examples."""
    rows = re.findall(r"^\| (.+?) \|", read(DOCS / "troubleshooting.md"), re.M)[1:]
    quoted = [re.split(r"\.\.\.|: ", text) for row in rows for text in re.findall("`(.+?)`", row)]
    parts = [max(pieces, key=len) for pieces in quoted]
    printed = "".join(
        read(path)
        for pattern in ("*.sh", "*/tutorial.sh", "*.py", "utils/**/*.py")
        for path in REPOSITORY.glob(pattern)
    )
    assert len(parts) > 12
    assert [part for part in parts if part not in printed and not re.search("[0-9]", part)] == []


def test_every_requirement_is_listed_with_its_licence():
    text = read().partition("## Citation and licences")[2]
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in read(REPOSITORY / name).splitlines():
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


def test_commands_that_pages_share_run_once_and_are_compared_at_once(tmp_path):
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_text(
        "```text\nroot_dir\n- a\n- b\n```\n```sh\nmkdir root_dir/a\nmkdir root_dir/b\n```\n"
    )
    second.write_text("```sh\nmkdir root_dir/a\n```\n```text\nroot_dir\n- a\n```\n")
    root = tmp_path / "root"
    root.mkdir()
    assert run_pages([first, second], root) == {"command": 2, "text": 2}


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    OPTIONS.write_text(with_current_help(read(OPTIONS)), encoding="utf-8")

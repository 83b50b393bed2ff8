"""Options that several scripts have: paths, numbers, groups of words."""

import os

import click
import click.testing
import pytest
import zip_files

from utils.running import shared_options
from utils.storage import files

KINDS = ["FILE", "WORKBOOK", "DIRECTORY", "OUTPUT_FILE", "OUTPUT_DIR", "OUTPUT_WORKBOOK"]


def run(options, *words, seen=None):
    """Give click's result for a command with these options; their values go into ``seen``."""
    main = options(lambda **values: None if seen is None else seen.update(values))
    command = click.command(cls=shared_options.GroupCommand)(main)
    return click.testing.CliRunner().invoke(command, [str(word) for word in words])


def given(options, *words):
    """Give the values of the options."""
    seen = {}
    result = run(options, *words, seen=seen)
    assert result.exit_code == 0, result.output
    return seen


# ---- paths


@pytest.fixture(name="tree")
def small_tree(tmp_path):
    (tmp_path / "grouped").mkdir()
    (tmp_path / "grouped/label_map.yaml").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    zip_files.put(tmp_path / "a.zip", {"m.xlsx": b"", "map.yaml": b""})
    (tmp_path / "dangling").symlink_to("no")
    return tmp_path


def test_existing_paths_are_given_as_paths(tree):
    for kind, path in (
        (shared_options.FILE, tree / "grouped/label_map.yaml"),
        (shared_options.FILE, tree / "a.zip/map.yaml"),
        (shared_options.DIRECTORY, tree),
        (shared_options.OUTPUT_FILE, tree / "new/x"),
        (shared_options.OUTPUT_DIR, tree / "new"),
        (shared_options.OUTPUT_WORKBOOK, tree / "new/x.xlsx"),
    ):
        assert given(click.option("--path", type=kind), "--path", path) == {"path": path}


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (shared_options.FILE, "pipe", "{}/pipe is not a file"),
        (shared_options.DIRECTORY, "pipe", "{}/pipe is not a directory."),
        (shared_options.DIRECTORY, "a.zip", "not a directory but a zip file; give the one that it"),
        (shared_options.WORKBOOK, "a.zip/m.xlsx", "no such file: {}/a.zip/m.xlsx (nearest that"),
        (shared_options.FILE, "a.zip/m.csv", "no such file: {}/a.zip/m.csv (nearest that exists: "),
        (shared_options.WORKBOOK, "dangling", "{}/dangling is a link to a file that is not there"),
        (shared_options.DIRECTORY, "dangling", "is a link to a directory that is not there: {}/no"),
        (shared_options.OUTPUT_FILE, "pipe", "{}/pipe is no file"),
        (shared_options.OUTPUT_FILE, "dangling", "{}/dangling is no file"),
        (shared_options.OUTPUT_WORKBOOK, "pipe", "{}/pipe is no file"),
        (shared_options.OUTPUT_WORKBOOK, "dangling", "{}/dangling is no file"),
        (shared_options.OUTPUT_JSON, "grouped", "{}/grouped is a folder"),
        (shared_options.OUTPUT_DIR, "pipe", "{}/pipe is not a directory"),
        (
            shared_options.FILE,
            "grouped/label_map.yml",
            "nearest that exists: {}/grouped/label_map.yaml",
        ),
        (shared_options.FILE, "label_map.yaml", "nearest that exists: {}/grouped/label_map.yaml"),
        (shared_options.FILE, "grouped", "{}/grouped is not a file"),
        (shared_options.DIRECTORY, "groupd", "nearest that exists: {}/grouped"),
        (shared_options.DIRECTORY, "grouped/label_map.yaml", "is not a directory"),
        (shared_options.DIRECTORY, "n" * 300, "nearest that exists: {}"),
        (shared_options.FILE, "n" * 300, "nearest that exists: {}"),
        (shared_options.OUTPUT_FILE, "n" * 300, None),
        (shared_options.FILE, "grouped/label_map.yaml/x", "nearest that exists: {}"),
        (shared_options.OUTPUT_FILE, "grouped", "{}/grouped is a folder"),
        (shared_options.OUTPUT_DIR, "grouped/label_map.yaml", "is not a directory"),
        (shared_options.OUTPUT_WORKBOOK, "x.csv", "should end in .xlsx"),
        (shared_options.OUTPUT_WORKBOOK, "x.xlsx/", None),
    ],
)
def test_wrong_paths(tree, kind, wrong, words):
    result = run(click.option("--path", type=kind), "--path", f"{tree}/{wrong}")
    if words is None:
        assert result.exit_code == 0
        return
    assert (result.exit_code, result.stdout) == (2, "")
    assert words.format(tree) in result.stderr and wrong.rstrip("/") in result.stderr


@pytest.mark.parametrize("kind", [getattr(shared_options, name) for name in KINDS])
def test_unset_shell_variable_is_not_the_current_folder(kind):
    result = run(click.option("--path", type=kind), "--path", "")
    assert (result.exit_code, result.stdout) == (2, "") and "empty" in result.stderr


def test_path_that_may_not_be_looked_at(tree, monkeypatch):
    """Root may look anywhere, so the refusal is made up."""
    plain = os.stat

    def refuse(path, *args, **kwargs):
        if str(path).startswith(str(tree / "grouped")):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    result = run(
        click.option("--path", type=shared_options.DIRECTORY), "--path", tree / "grouped/x"
    )
    assert result.exit_code == 2 and str(tree) in result.stderr


def test_output_folder_that_is_a_link_to_nothing(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    result = run(click.option("--path", type=shared_options.OUTPUT_DIR), "--path", link)
    assert result.exit_code == 2 and "link is not a directory" in result.stderr


def test_nearest_is_asked_only_for_wrong_paths(tree, monkeypatch):
    def never(path):
        raise AssertionError(path)

    monkeypatch.setattr(files, "nearest_existing", never)
    option = click.option("--path", type=shared_options.DIRECTORY)
    assert given(option, "--path", tree) == {"path": tree}


def test_root_dir(tree):
    option = shared_options.root_dir
    assert given(option, "--root_dir", tree) == {"root_dir": tree}
    assert run(option).exit_code == 2 and "Missing option '--root_dir'" in run(option).stderr


def test_several_options_are_one_decorator(tree):
    file = tree / "grouped/label_map.yaml"
    words = ["--output_dir", tree / "new", "--archive_manifest", file]
    values = {"output_dir": tree / "new", "archive_manifest": file, "misfit": "fail"}
    assert given(shared_options.pairing, *words) == values


def test_misfit_is_fail_or_volume(tree):
    file = tree / "grouped/label_map.yaml"
    words = ["--output_dir", tree / "new", "--archive_manifest", file, "--misfit"]
    assert given(shared_options.pairing, *words, "volume")["misfit"] == "volume"
    result = run(shared_options.pairing, *words, "mask")
    assert result.exit_code == 2 and "'fail', 'volume'" in result.stderr


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        (shared_options.threshold("--x", 1.0, "Small", "mm^2"), ["-0.1", "nan", "a"]),
        (shared_options.share("--x", 0.5, "Share"), ["-0.1", "1.1", "nan"]),
    ],
)
def test_numbers(option, wrong):
    for text in ("0", "0.5", "1"):
        assert given(option, "--x", text) == {"x": float(text)}
    for text in wrong:
        assert run(option, "--x", text).exit_code == 2


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.0.0.1:8786",
        "10.0.0.1:8786",
        "node-01.cluster:1",
        "tls://[::1]:65535",
        "ws://host:80",
        "ucx://host:80",
    ],
)
def test_addresses(address):
    (option,) = [make for make in shared_options.RUN if "scheduler" in given(make)]
    assert given(option, "--scheduler", address) == {"scheduler": address}


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "localhost",
        "tcp://",
        "tcp://:8786",
        "://h:1",
        "tcp://host",
        "tcp://host:",
        "tcp://host:x",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:-1",
        "tcp://ho st:1",
        " tcp://host:1",
        "tcp://host:1 ",
        "tcp://host:1\n",
        "tcp://host:1/",
        "tcp//host:1",
        "foo://host:1",
        "http://host:8787/status",
        "inproc://host:1",
        "tcp://h:1:2",
    ],
)
def test_malformed_addresses(address):
    (option,) = [make for make in shared_options.RUN if "scheduler" in given(make)]
    result = run(option, "--scheduler", address)
    assert (result.exit_code, result.stdout) == (2, "")
    reason = f"{address!r} found, expected an address such as tcp://10.0.0.1:8786."
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '--scheduler': {reason}"


# ---- groups of values


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ([], ()),
        (["--subsets", "train"], (("train",),)),
        (["--subsets", "train", "val"], (("train", "val"),)),
        (["--subsets", "train", "val", "--subsets", "test"], (("train", "val"), ("test",))),
        (["--subsets=train", "val"], (("train", "val"),)),
        (["--subsets", "a=b", "c d", "ä"], (("a=b", "c d", "ä"),)),
        (["--subsets", "train", "--quiet", "--subsets", "val"], (("train",), ("val",))),
        (["--subsets", "", "x"], (("", "x"),)),
    ],
)
def test_groups(words, groups):
    option = click.option("--subsets", cls=shared_options.GroupOption)
    more = click.option("--quiet", is_flag=True)
    assert given(lambda main: option(more(main)), *words)["subsets"] == groups


def test_group_has_its_default():
    option = click.option("--size", cls=shared_options.GroupOption, default=[("5", "5")])
    assert given(option) == {"size": (("5", "5"),)}


@pytest.mark.parametrize("words", [["--subsets"], ["val", "--subsets", "train"]])
def test_wrong_groups(words):
    assert run(shared_options.group("--subsets", "SUBSET", "Help."), *words).exit_code == 2

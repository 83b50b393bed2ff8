"""Both generators of sample archives, where something else lies in the place of what they write."""

import phantoms
import pytest
import trees

SHAPE = ("--shape", 7, 8, 9, "--workers", 1)
SCRIPTS = {
    trees.GENERATE: ("--samples", 2, 0, *SHAPE),
    "NME/generate_sample_archive.py": ("--samples", 2, *SHAPE),
}
MARKER = "sample_archive.json"


@pytest.fixture(name="generate", params=SCRIPTS)
def each_generator(request, tmp_path):
    def generate(*more):
        words = ("--root_dir", tmp_path / "data", *SCRIPTS[request.param], *more)
        return trees.run(request.param, *words)

    return generate


def _names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing"])
@pytest.mark.parametrize("has_archive", [False, True])
def test_a_marker_that_is_no_file_is_named(tmp_path, generate, kind, has_archive):
    if has_archive:
        assert generate().exit_code == 0
        (tmp_path / "data" / MARKER).unlink()
    phantoms.put_odd(tmp_path / "data" / MARKER, kind)
    before = _names(tmp_path)
    result = generate("--overwrite")
    fault = "cannot be read: " + ("No such file" if "link" in kind else "no regular file")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path / 'data' / MARKER}: {fault}")
    assert result.stderr.count("\n") == 1 and _names(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"[]", b"1", b"", b"\xff", b"[" * 100_000, b"9" * 5000, b"\xef\xbb\xbf{}"]
)
def test_a_marker_of_another_shape_is_another_archives(tmp_path, generate, content):
    assert generate().exit_code == 0
    (tmp_path / "data" / MARKER).write_bytes(content)
    before = trees.contents(tmp_path)
    result = generate()
    assert result.exit_code == 2 and trees.contents(tmp_path) == before
    assert "holds a sample archive with other settings" in result.stderr
    assert result.stderr.count("\n") == 1 and len(result.stderr) < 2000


@pytest.mark.parametrize("name", ["archive", "truth"])
@pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing", "folder"])
def test_folders_of_somebody_else_are_left_alone(tmp_path, generate, name, kind):
    phantoms.put_odd(tmp_path / "data" / name, kind)
    before = _names(tmp_path)
    result = generate("--overwrite")
    assert result.exit_code == 2 and _names(tmp_path) == before
    assert f"{tmp_path}/data/{name}: exists, and is no sample archive" in result.stderr


def test_a_folder_in_a_scans_place_fails_its_sample_alone(tmp_path, generate):
    assert generate().exit_code == 0
    before = trees.contents(tmp_path)
    path = min((tmp_path / "data/truth").rglob("*.nii.gz"))
    path.unlink()
    phantoms.put_odd(path, "folder")
    result = generate("--overwrite")
    assert result.exit_code == 1 and "1 done, 0 skipped as finished, 1 failed" in result.stdout
    (line,) = trees.complaints(result)
    assert f"{path}: cannot be written: Is a directory" in line
    path.rmdir()
    assert generate().exit_code == 0
    assert trees.contents(tmp_path) == before and not trees.leftovers(tmp_path)

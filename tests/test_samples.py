"""Samples on disk, their paths and their info files."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils import errors
from utils.storage import forms, samples, yaml_files


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture(name="root")
def grouped_tree(tmp_path):
    root = tmp_path / "grouped ä b"
    touch(
        root / "AMOS-CT/train/Aquilion ONE/amos_0004_F",
        "amos_0004_info.yaml",
        "amos_0004_volume.nii.gz",
        "amos_0004_mask.nii.gz",
    )
    touch(root / "AMOS-MRI/val/Prisma/amos_0507_M", "amos_0507_mask.nii.gz")
    touch(root / "AMOS-CT/test/X/amos_0201_M", "amos_0201_info.yaml", "amos_0201_volume.nii.gz")
    touch(root / "AMOS-CT/descriptor", "label_map.yaml")
    touch(root / "empty/amos_0009_M")
    touch(root / ".hidden/amos_0010_M", "amos_0010_mask.nii.gz")
    return root


def stems(found):
    return [sample.stem for sample in found]


def test_scan_finds_all_by_stem(root):
    assert stems(samples.scan(root)) == ["amos_0004", "amos_0201", "amos_0507"]
    assert stems(samples.find(root / "AMOS-MRI")) == ["amos_0507"]
    assert stems(samples.find_annotated(root)) == ["amos_0004", "amos_0507"]


def test_root_may_be_the_sample_itself(root, monkeypatch):
    folder = root / "AMOS-MRI/val/Prisma/amos_0507_M"
    assert stems(samples.scan(folder)) == ["amos_0507"]
    monkeypatch.chdir(folder)
    (sample,) = samples.scan(".")
    assert sample.mask_path.exists()


def test_none(root, tmp_path):
    assert samples.scan(tmp_path / "missing") == []
    for folder in (tmp_path / "missing", root / "AMOS-CT/descriptor"):
        with pytest.raises(errors.DatasetError, match=folder.name):
            samples.find(folder)
    with pytest.raises(errors.DatasetError, match="has a mask"):
        samples.find_annotated(root / "AMOS-CT/test")


def test_foreign_stem_is_no_sample(tmp_path):
    touch(
        tmp_path / "amos_0004_F",
        "other_0004_mask.nii.gz",
        "_mask.nii.gz",
        "amos_000_mask.nii.gz",
        "._amos_0004_mask.nii.gz",
    )
    assert samples.scan(tmp_path) == []
    touch(tmp_path / "amos_0004", "amos_0004_mask.nii.gz")
    assert stems(samples.scan(tmp_path)) == ["amos_0004"]


def test_linked_folder_is_followed_once(root, tmp_path):
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert stems(samples.scan(tmp_path / "link")) == ["amos_0004", "amos_0201", "amos_0507"]
    (root / "AMOS-CT/loop").symlink_to(root, target_is_directory=True)
    assert stems(samples.scan(root)) == ["amos_0004", "amos_0201", "amos_0507"]


@pytest.mark.parametrize("name", ["scandir", "access"])
def test_a_folder_that_may_not_be_looked_into_is_named(root, name, monkeypatch):
    forbidden, real = root / "AMOS-MRI/val/Prisma/amos_0507_M", getattr(os, name)

    def refusing(path, *more):
        if Path(path) != forbidden:
            return real(path, *more)
        if name == "access":
            return False
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, name, refusing)
    for find in (samples.scan, samples.find_annotated):
        with pytest.raises(errors.DatasetError, match="amos_0507_M: the folder cannot be looked"):
            find(root)
    assert stems(samples.scan(root / "AMOS-CT")) == ["amos_0004", "amos_0201"]


def test_paths():
    sample = samples.Sample("amos_0004", Path("d"))
    assert str(sample) == "amos_0004"
    assert sample.info_path == Path("d/amos_0004_info.yaml")
    assert sample.volume_path == Path("d/amos_0004_volume.nii.gz")
    assert sample.mask_path == Path("d/amos_0004_mask.nii.gz")
    for name in ("right kidney", "right_kidney"):
        path = sample.binary_mask_path(2, name)
        assert path == Path("d/amos_0004_mask_02_right_kidney.nii.gz")
    assert sample.binary_mask_path(255, "x") == Path("d/amos_0004_mask_255_x.nii.gz")


def test_binary_masks_and_foreign_files(tmp_path):
    folder = touch(
        tmp_path / "amos_0004_F",
        "amos_0004_mask.nii.gz",
        "amos_0004_volume.nii.gz",
        "amos_0004_mask_02_right_kidney.nii.gz",
        "amos_0004_mask_00_background.nii.gz",
        "amos_0004_mask_100_x.nii.gz",
        "amos_0004_info.yaml",
        "._amos_0004_mask.nii.gz",
        "amos_0004_mask_2_x.nii.gz",
        "amos_0004_mask_002_right_kidney.nii.gz",
        "amos_0005_mask_01_spleen.nii.gz",
        "seg.nii",
        "note.txt",
        ".part~h~1~2~3",
    )
    (sample,) = samples.scan(tmp_path)
    assert sample.binary_mask_paths() == {
        (0, "background"): folder / "amos_0004_mask_00_background.nii.gz",
        (2, "right_kidney"): folder / "amos_0004_mask_02_right_kidney.nii.gz",
        (100, "x"): folder / "amos_0004_mask_100_x.nii.gz",
    }
    assert list(sample.binary_mask_paths()) == sorted(sample.binary_mask_paths())
    assert sample.foreign_files() == [
        "amos_0004_mask_002_right_kidney.nii.gz",
        "amos_0004_mask_2_x.nii.gz",
        "amos_0005_mask_01_spleen.nii.gz",
        "seg.nii",
    ]


# ---- info files


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["subset", "sex", "age", "site"]), TEXT))
@example({"sex": "\x7f\x80\x85\u2028\ufeff\uffff\x00"})
@example({"sex": "No", "age": "0010", "site": "~", "subset": "=1+1"})
@example({"sex": "a\\u0041\"'#: \n\t 🫀"})
def test_info_comes_back(tmp_path_factory, info):
    path = tmp_path_factory.getbasetemp() / "i.yaml"
    content = samples.info_bytes(info)
    path.write_bytes(content or b"{}")
    assert yaml_files.read(path, code="info") == info
    assert content.count(b"\n") == len(info)
    plain = {key: forms.plain(key, text) for key, text in info.items()}
    if None not in plain.values():
        assert samples.read_info(path) == plain
        return
    with pytest.raises(errors.DatasetError, match=r"i\.yaml") as caught:
        samples.read_info(path)
    assert plain[str(caught.value).partition(" ")[0]] is None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_an_info_file_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    for start in (b"", b"site: ", b'{sex: F, site: "'):
        path.write_bytes(start + content)
        with contextlib.suppress(errors.DatasetError):
            texts = samples.read_info(path).items()
            assert all(isinstance(part, str) for pair in texts for part in pair)


def test_info_is_quoted_text():
    assert samples.info_bytes({"seq": "0004", "sex": "F"}) == b'seq: "0004"\nsex: "F"\n'


def test_info_that_lost_its_quotes(tmp_path):
    path = tmp_path / "i.yaml"
    path.write_text("seq: 0010\nsex: f\nbirth_date: 1949-01-01\nage:\nsite: ~\n")
    assert samples.read_info(path) == {
        "seq": "0010",
        "sex": "F",
        "birth_date": "19490101",
        "age": "",
        "site": "~",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"- 1",
        b"a: [",
        b"\xff\xfe",
        b"a: \x00",
        b"[a]: 1\n? {b: c}\n: 2\n",
        b"!!python/name:os.system x",
        b"a: !!python/name:os.system",
        b"a: &a [x]\nb: *a\n",
        b"<<: {sex: F}\n",
        b"sex: F\nsex: F\n",
        b"sex: F\nage: UND\n'sex': M\n",
        b"sex: [F]\n",
        b"site: {a: b}\n",
        b"a: b\n---\na: b\n",
        b'site: "\\ud800"\n',
        b'site: "\\0"\n',
        b"sex: TRUE\n",
        b"age: old\n",
        b"birth_date: 2001-13-45\n",
        b"acquisition_date: 01/06/1993\n",
        b"[" * 5000,
        b"a: " + b"x" * 200_000,
        b"site: " + b"x" * 40_000,
    ],
)
def test_no_info_table(tmp_path, content):
    path = tmp_path / "amos_0004_info.yaml"
    path.write_bytes(content)
    with pytest.raises(errors.DatasetError, match="amos_0004_info.yaml") as caught:
        samples.read_info(path)
    (case,) = caught.value.cases
    assert case.code == "info" and "\n" not in str(case)


def test_all_values_of_an_info_file_that_have_no_form_are_named(tmp_path):
    path = tmp_path / "i.yaml"
    path.write_text("sex: TRUE\nsite: [a]\nage: 62\nbirth_date: 1/6/1993\n")
    with pytest.raises(errors.DatasetError) as caught:
        samples.read_info(path)
    found = [(str(case).split(",")[0], case.file, case.code) for case in caught.value.cases]
    assert found == [
        (f"sex is 'TRUE' in {path}", str(path), "info"),
        (f"{path}: found a table or list as site", str(path), "info"),
        (f"birth_date is '1/6/1993' in {path}", str(path), "info"),
    ]


def test_missing_info(tmp_path):
    with pytest.raises(errors.DatasetError, match="routine 02"):
        samples.read_info(tmp_path / "i.yaml")
    with pytest.raises(errors.DatasetError, match="no regular file"):
        samples.read_info(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(errors.DatasetError, match=r"pipe\.yaml: cannot be read: no regular file"):
        samples.read_info(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("nothing")
    with pytest.raises(errors.DatasetError, match=r"link\.yaml: cannot be read"):
        samples.read_info(tmp_path / "link.yaml")


def test_aliases_that_would_be_gigabytes_are_refused_at_once(tmp_path):
    path = tmp_path / "i.yaml"
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path.write_text("\n".join(["a0: &a0 lol", *rows]))
    with pytest.raises(errors.DatasetError, match="line 1: anchors, aliases and tags"):
        samples.read_info(path)


def test_info_of_a_sample_with_masks_alone_is_empty_and_a_broken_one_is_named(tmp_path):
    sample = samples.Sample("amos_0004", tmp_path)
    assert samples.info_of(sample) == {}
    sample.info_path.symlink_to("nothing")
    with pytest.raises(errors.DatasetError, match=r"amos_0004_info\.yaml: cannot be read"):
        samples.info_of(sample)
    sample.info_path.unlink()
    sample.info_path.write_bytes(samples.info_bytes({"sex": "f"}))
    assert samples.info_of(sample) == {"sex": "F"}


def test_no_key():
    error = samples.no_key("i.yaml", "sex")
    assert str(error) == "i.yaml: sex is missing" and error.expected == "sex"


def test_mask_bytes(tmp_path):
    sample = samples.Sample("amos_0004", tmp_path)
    assert samples.mask_bytes(sample) == 0
    sample.mask_path.write_bytes(bytes(5))
    assert samples.mask_bytes(sample) == 5
    assert os.listdir(tmp_path) == ["amos_0004_mask.nii.gz"]

"""What the worksheets of manifests show: odd and failed cells, links to files and to the report."""

import numpy as np
import pytest
from phantoms import touch
from workbooks import table

from utils.arrays import geometry
from utils.routines import sheet_looks
from utils.storage import workbook_looks

AFFINE = geometry.affine_text(np.diag([-1.5, 2, 5, 1.0]))


def geometry_of(n, **others):
    columns = {
        **dict.fromkeys(("szx", "szy", "szz"), [7] * n),
        **dict.fromkeys(("spx", "spy", "spz"), [1.5] * n),
        "orientation_from": ["RPI"] * n,
        "orientation_to": ["LAS"] * n,
        "transform": [AFFINE] * n,
    }
    return {**columns, **others}


def marks_of(path, **columns):
    return sheet_looks.of_samples(table(**columns), path / "m.xlsx").marks


@pytest.mark.parametrize(
    "column, value, is_odd",
    [
        ("spx", 0.19, True),
        ("spx", 0.2, False),
        ("spz", 10.0, False),
        ("spz", "10.5", True),
        ("spz", "", False),
        ("szz", 1, True),
        ("szz", 2, False),
        ("orientation_to", "Oblique(closest to LAS)", True),
        ("transform", geometry.affine_text(np.eye(4)), True),
        ("vol_dtype", "uint8", True),
        ("vol_dtype", "uint16", False),
        ("mask_dtype", "float32", True),
        ("mask_dtype", "uint8", False),
    ],
)
def test_odd_values_of_a_sample(tmp_path, column, value, is_odd):
    columns = geometry_of(2, vol_dtype=["float32"] * 2, mask_dtype=["uint8"] * 2)
    columns[column] = [columns[column][0], value]
    assert marks_of(tmp_path, **columns) == ({(1, column): "odd"} if is_odd else {})


def test_the_odd_type_of_a_file_depends_on_what_it_is(tmp_path):
    cells = table(type=["v3d", "m3d", "v3d", "m3d"], dtype=["uint8", "uint8", "float32", "float32"])
    look = sheet_looks.of_files(cells, tmp_path / "m.xlsx", tmp_path, [{}, {"type": "failed"}])
    assert look.marks == {(0, "dtype"): "odd", (3, "dtype"): "odd", (1, "type"): "failed"}


def test_a_sample_without_mask_fails_where_others_of_its_subset_have_one(tmp_path):
    marks = marks_of(
        tmp_path,
        subset=["train", "train", "test", "unlabelled"],
        mask=["train/a.nii.gz", "", "", ""],
    )
    assert marks == {(1, "subset"): "failed"}


@pytest.mark.parametrize("n_present, is_odd", [(9, True), (10, True), (8, False)])
def test_an_organ_is_missed_where_nearly_all_masks_have_it(tmp_path, n_present, is_odd):
    values = [1] * n_present + [0, ""]
    marks = marks_of(tmp_path, mask_01_spleen_existence=values)
    assert marks == ({(n_present, "mask_01_spleen_existence"): "odd"} if is_odd else {})


@pytest.fixture
def root(tmp_path):
    for name in (
        "a b/amos_0001_volume.nii.gz",
        "a b/amos_0001.yaml",
        "c#%ü/amos_0002_volume.nii.gz",
    ):
        touch(tmp_path / "root ä/grouped" / name)
    return tmp_path / "root ä/grouped"


def samples():
    return table(
        ID=["amos_0001", "amos_0002", "=x"],
        info=["a b/amos_0001.yaml", "c#%ü/absent.yaml", "../../root ä"],
        volume=["a b/amos_0001_volume.nii.gz", "c#%ü/amos_0002_volume.nii.gz", "/etc/passwd"],
        mask=["", "a b", "javascript:x"],
    )


TARGETS = {
    "info": ["a%20b/amos_0001.yaml", "", ""],
    "volume": ["a%20b/amos_0001_volume.nii.gz", "c%23%25ü/amos_0002_volume.nii.gz", ""],
    "mask": ["", "", ""],
}


@pytest.mark.parametrize(
    "place, to_root",
    [("m.xlsx", ""), ("splits/x/m.xlsx", "../../"), ("../descriptor/m.xlsx", "../grouped/")],
)
def test_links_lead_from_the_workbook_to_files_that_are_there(root, place, to_root):
    links = sheet_looks.of_samples(samples(), root / place, root).links
    to_report = {"": "../", "../../": "../../../", "../grouped/": "../"}[to_root]
    report = f"{to_report}qc/index.html#/"
    assert links == {
        **{
            name: [target and to_root + target for target in targets]
            for name, targets in TARGETS.items()
        },
        "ID": [f"{report}amos_0001", f"{report}amos_0002", f"{report}%3Dx"],
    }
    for target in links["volume"][:2]:
        unquoted = target.replace("%20", " ").replace("%23", "#").replace("%25", "%")
        assert ((root / place).parent / unquoted).resolve().is_file()


def test_without_a_root_it_is_the_nearest_folder_that_has_the_first_volume(root):
    given = sheet_looks.of_samples(samples(), root / "splits/m.xlsx", root).links
    assert sheet_looks.of_samples(samples(), root / "splits/m.xlsx").links == given
    assert sheet_looks.of_samples(samples(), root.parent / "m.xlsx").links == {}
    assert sheet_looks.of_samples(table(ID=["x"]), root / "m.xlsx").links == {}


def test_a_tree_of_another_name_has_no_report(root):
    other = root.rename(root.with_name("mine"))
    assert "ID" not in sheet_looks.of_samples(samples(), other / "m.xlsx", other).links


def test_a_member_of_a_zip_has_no_link(tmp_path):
    touch(tmp_path / "amos22.zip")
    cells = table(file_path=["amos22.zip/imagesTr/amos_0001.nii.gz"])
    assert sheet_looks.of_files(cells, tmp_path / "m.xlsx", tmp_path).links == {"file_path": [""]}


def test_more_links_than_excel_takes_are_not_looked_for(root, monkeypatch):
    monkeypatch.setattr(workbook_looks, "MAX_LINKS", 8)
    look = sheet_looks.of_samples(samples(), root / "m.xlsx", root)
    assert set(look.links) == {"ID"}


def test_tables_without_rows_have_nothing_to_show(tmp_path):
    empty = table(ID=[], volume=[], mask=[], subset=[], spx=[], mask_01_a_existence=[])
    look = sheet_looks.of_samples(empty, tmp_path / "m.xlsx", tmp_path)
    assert look.marks == {} and not any(look.links.values())

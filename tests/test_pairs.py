"""Planning and writing of pairs, below the command line of routines 02."""

import pickle
import re
import shutil
import types
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np
import pytest
import trees

from utils import errors
from utils.facts import amos22
from utils.routines import pairs
from utils.running import calls
from utils.storage import files, manifest, samples, workbook


@pytest.fixture(name="root")
def scanned_root(tmp_path):
    """Archive and its manifest."""
    return trees.copy("scanned", tmp_path / "root")


def plan(root, scanners=amos22.CT_SCANNERS, tree="AMOS-CT"):
    found, notes = pairs.plan(
        root / "archive",
        root / "grouped" / tree,
        root / "descriptor/archive_manifest.xlsx",
        amos22,
        amos22.of_scanners(scanners),
    )
    assert notes == []
    return found


def test_plan_lists_the_samples_of_these_scanners_by_name(root):
    found = plan(root)
    assert [str(pair) for pair in found] == ["amos_0001", "amos_0004", "amos_0008", "amos_0201"]
    assert [pair.mask is not None for pair in found] == [True, True, True, False]
    assert not any(pair.error or pair.note for pair in found)
    assert found[1].sample.directory == (root / "grouped/AMOS-CT/train/Brilliance16/amos_0004_M")
    assert list(found[1].info) == list(amos22.INFO_KEYS)
    assert not (root / "grouped").exists()


def test_plan_takes_the_facts_of_any_data_set(tmp_path):
    """Another grammar of files and folders, one modality, no sibling trees."""
    facts = types.SimpleNamespace(
        INFO_KEYS=("subset", "case"),
        LABELLED_SUBSETS=("train",),
        plain_row=lambda row: row,
        check_manifest=lambda rows, where: None,
        trees=lambda output: [output],
        classify=lambda path: {
            "case": PurePosixPath(path).name[:1],
            "subset": "train",
            "type": "m3d" if "seg" in path else "v3d",
        },
        sample_name=lambda row: f"nme_{row['case']}",
        subset=lambda row: row["subset"],
        row_faults=lambda row: [],
        sample_dir=lambda info: PurePosixPath(info["subset"], f"nme_{info['case']}"),
    )
    rows = []
    for name, kind, dtype in (("a_t1.nii.gz", "v3d", np.int16), ("a_seg.nii.gz", "m3d", np.uint8)):
        data = np.full((3, 4, 5), 1 if kind == "m3d" else -1000, dtype)
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / name)
        rows.append(
            {
                "file_path": name,
                "type": kind,
                "subset": "train",
                "case": "a",
                "manufacturer_model_name": "any",
            }
        )
    manifest.Target(tmp_path / "rows.xlsx").write({"Manifest": workbook.frame(list(rows[0]), rows)})
    (pair,), _ = pairs.plan(tmp_path, tmp_path / "out", tmp_path / "rows.xlsx", facts)
    assert pairs.confirm(pair, overwrite=False) == "train"
    assert sorted(path.name for path in (tmp_path / "out/train/nme_a").iterdir()) == [
        "nme_a_info.yaml",
        "nme_a_mask.nii.gz",
        "nme_a_volume.nii.gz",
    ]


def test_all_faults_of_a_sample_are_told_at_once(root):
    path = root / "descriptor/archive_manifest.xlsx"
    trees.edit_cells(path, {("sex", "labelsTr/amos_0004"): "F", ("age", "labelsTr/amos_0004"): "1"})
    pair = next(pair for pair in plan(root) if str(pair) == "amos_0004")
    assert len(pair.error.cases) == 2
    again = pickle.loads(pickle.dumps(pair)).error  # as it comes back from a worker
    assert [str(case) for case in again.cases] == [str(case) for case in pair.error.cases]
    with pytest.raises(errors.CasesError, match="age.*sex|sex.*age"):
        pairs.confirm(pair, overwrite=False)


def test_a_seq_in_both_trees_is_told_though_the_right_folder_is_there(root):
    for script in (trees.PAIR_CT, trees.PAIR_MRI):
        assert trees.invoke(script, root).exit_code == 0
    folder = root / "grouped/AMOS-CT/train/Brilliance16/amos_0004_M"
    shutil.copytree(folder, root / "grouped/AMOS-MRI/val/Prisma/amos_0004_M")
    (wrong,) = (pair for pair in plan(root) if pair.error)
    assert str(wrong) == "amos_0004" and "AMOS-MRI/val/Prisma/amos_0004_M" in str(wrong.error)


def test_prepare_counts_only_what_is_to_be_written(root, monkeypatch):
    output = root / "grouped/AMOS-CT"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=9000))
    found = plan(root)
    needed = pairs.GROWTH * sum(map(pairs.size_bytes, found))
    assert 1000 < needed < 9000 and pairs.size_bytes(found[0]) > 0
    assert re.fullmatch(
        "Disk space: about 0 MiB needed, 0 MiB free",
        pairs.prepare(found, output, amos22.SUBSETS, False),
    )
    assert sorted(path.name for path in output.iterdir()) == ["test", "train", "val"]
    for pair in found:
        pairs.confirm(pair, overwrite=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1))
    pairs.prepare(plan(root), output, amos22.SUBSETS, False)
    with pytest.raises(errors.DatasetError, match="not enough disk space"):
        pairs.prepare(plan(root), output, amos22.SUBSETS, True)


def test_an_uncompressed_volume_counts_as_if_it_were_compressed(tmp_path):
    """Three times too much was asked for: a set that had room enough was refused."""
    sizes = []
    for name in ("x.nii", "x.nii.gz"):
        (tmp_path / name).write_bytes(bytes(1000))
        pair = pairs.Pair(samples.Sample("x", tmp_path), {}, volume=tmp_path / name)
        sizes.append(pairs.size_bytes(pair))
    assert sizes == [500, 1000]


def test_a_missing_volume_counts_nothing(root):
    trees.archive_file(root, "imagesTr", "amos_0001").unlink()
    pair = plan(root)[0]
    assert str(pair) == "amos_0001" and [case.code for case in pair.error.cases] == ["missing"]
    assert pairs.size_bytes(pair) == 0


def test_summary_counts_finished_samples_too():
    outcome = calls.Outcome(results=[("a", "train"), ("b", "test"), ("c", "train")])
    assert pairs.summary(outcome, amos22.SUBSETS) == "Samples: train 2, val 0, test 1"


def test_nothing_is_left_of_a_sample_that_fails_late(root):
    """The mask is damaged behind its header: found out after the volume was staged."""
    path = trees.archive_file(root, "labelsTr", "amos_0004")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # the stored CRC32
    path.write_bytes(content)
    pair = next(pair for pair in plan(root) if str(pair) == "amos_0004")
    with pytest.raises(errors.DamagedFileError, match="labelsTr/amos_0004"):
        pairs.confirm(pair, overwrite=False)
    assert not pair.sample.directory.exists()
    assert not trees.leftovers(root)


@pytest.mark.filterwarnings("ignore::utils.errors.DataWarning")
def test_moved_volume_and_mask_stay_together_when_interrupted_between_renames(root, monkeypatch):
    pair = plan(root)[1]
    pairs.confirm(pair, overwrite=False)
    image = nib.load(pair.volume)
    image.affine[0, 3] += 12.5
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), pair.volume)
    with monkeypatch.context() as patched:
        patched.setattr(files, "commit", lambda pending: pending[0].rename())
        with pytest.warns(errors.DataWarning, match="affine changed"):
            pairs.confirm(pair, overwrite=False)
    half = pair.sample
    assert nib.load(half.mask_path).affine[0, 3] != nib.load(half.volume_path).affine[0, 3]
    with pytest.warns(errors.DataWarning, match="source changed"):
        assert pairs.confirm(pair, overwrite=False) == "train"
    assert nib.load(half.mask_path).affine[0, 3] == nib.load(half.volume_path).affine[0, 3]
    assert isinstance(pairs.confirm(pair, overwrite=False), calls.Finished)


def test_info_file_with_same_values_written_otherwise_is_renewed(root):
    """Bytes are compared: another program's YAML of the same values is ours again afterwards."""
    pair = plan(root)[0]
    pairs.confirm(pair, overwrite=False)
    ours = pair.sample.info_path.read_bytes()
    pair.sample.info_path.write_bytes(ours.replace(b'"', b"'"))
    assert samples.read_info(pair.sample.info_path) == pair.info
    assert pairs.confirm(pair, overwrite=False) == "train"
    assert pair.sample.info_path.read_bytes() == ours

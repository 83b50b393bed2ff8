"""The made-up archive: deterministic, anatomically right, as messy as promised."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys

import nibabel as nib
import numpy as np
import phantoms
import pytest
from scipy import ndimage as ndi

from utils import errors
from utils.arrays import geometry
from utils.running import calls, provenance
from utils.sample_data import abdomen, amos22_archive, archive_folder, grids, noise, scan_files
from utils.storage import nifti

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "utils" / "generate_sample_archive.py"
OFFICIAL = ROOT.parent / "shared" / "data" / "labeled_data_meta_0000_0599.csv"
MIDDLE_SHAPE = (64, 52, 40)  # large enough for every organ
IN_3D, IN_SLICE = np.ones((3, 3, 3)), np.ones((3, 3))
# Plausible sizes (ml) of an adult's organs, by label.
PLAUSIBLE_ML = {
    1: (90, 300),
    2: (90, 220),
    3: (90, 220),
    4: (8, 40),
    5: (6, 30),
    6: (900, 1700),
    7: (150, 450),
    8: (45, 130),
    9: (45, 130),
    10: (30, 100),
    11: (1, 6),
    12: (1, 6),
    13: (40, 110),
    14: (70, 250),
    15: (15, 90),
}


def contents(root_dir):
    return {
        path.relative_to(root_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root_dir.rglob("*"))
        if path.is_file() and path.name != provenance.FILE_NAME
    }


def run(*words, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def true_mask(made):
    return np.stack(list(abdomen.mask_slices(made)), axis=2)


def centre_mm(mask, value, affine):
    return nib.affines.apply_affine(affine, np.argwhere(mask == value).mean(axis=0))


def n_regions(mask, structure):
    return sum(
        ndi.label(mask[box] == value, structure)[1]
        for value, box in enumerate(ndi.find_objects(mask), 1)
        if box
    )


def n_single_regions_in_slices(mask):
    """Regions of at most two pixels, foreground and holes, over all slices."""
    count = 0
    for k in range(mask.shape[2]):
        for value in np.unique(mask[:, :, k]):
            regions, _ = ndi.label(mask[:, :, k] == value, IN_SLICE)
            count += int((np.bincount(regions.ravel())[1:] <= 2).sum())
    return count


@pytest.fixture(scope="module")
def scans():
    """Half of the default plan at the default shape; made once, as it takes seconds."""
    return [
        abdomen.scan(sample, amos22_archive.DEFAULT_SHAPE) for sample in amos22_archive.plan()[::2]
    ]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The whole default plan, on tiny grids."""
    root_dir = tmp_path_factory.mktemp("whole")
    return root_dir, phantoms.build_archive(root_dir, n_ct=6, n_mri=5)


def image_path(root_dir, sample, kind="images", base="archive/amos22"):
    folder = kind + {"train": "Tr", "val": "Va", "test": "Ts"}[sample.subset]
    return root_dir / base / folder / f"{sample}.nii.gz"


# --- determinism --------------------------------------------------------------------------------


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        phantoms.build_archive(tmp_path / name, seed=seed)
    first, second, other = (contents(tmp_path / name) for name in "abc")
    assert first == second
    assert first.keys() == other.keys()
    same = {name for name in first if first[name] == other[name]}
    assert not [name for name in same if "/amos_" in name or name.endswith(".csv")]


def test_gzip_members_hold_neither_name_nor_time(archive):
    root_dir, samples = archive
    for sample in samples.values():
        start = image_path(root_dir, sample).read_bytes()[:10]
        assert start[:4] == b"\x1f\x8b\x08\x00" and start[4:8] == bytes(4)


def test_a_sample_does_not_depend_on_the_others(tmp_path):
    phantoms.build_archive(tmp_path / "few", n_ct=1, n_mri=1)
    phantoms.build_archive(tmp_path / "more", n_ct=2, n_mri=2)
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    scans = [name for name in few if "/amos_" in name]
    assert len(scans) == 6
    assert all(few[name] == more[name] for name in scans)


def test_same_patient_on_any_grid():
    sample = amos22_archive.plan()[0]
    centres = []
    for shape in (MIDDLE_SHAPE, (96, 80, 60)):
        made = abdomen.scan(sample, shape)
        centres.append(centre_mm(true_mask(made), 6, made.affine))
    assert np.abs(centres[0] - centres[1]).max() < 2


# --- grids --------------------------------------------------------------------------------------


def test_grid_has_the_asked_axes_spacing_and_centre():
    affine = grids.affine("LPI", 10.0, (7, 8, 9), (2.0, 3.0, 4.0), (10.0, -20.0, 30.0))
    assert nib.affines.voxel_sizes(affine) == pytest.approx((2, 3, 4))
    assert nib.affines.apply_affine(affine, (3, 3.5, 4)) == pytest.approx((10, -20, 30))
    assert "".join(nib.aff2axcodes(affine)) == "LPI"
    assert affine[:3, 0] == pytest.approx((-2, 0, 0))  # the tilt is about this axis
    assert np.rad2deg(nib.affines.obliquity(affine)).max() == pytest.approx(10, abs=1e-3)
    assert (affine == affine.astype(np.float32)).all()


# --- anatomy ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liver_centre_mm():
    made = abdomen.scan(amos22_archive.plan()[1], MIDDLE_SHAPE)
    return centre_mm(true_mask(made), 6, made.affine)


def test_organ_sizes_are_plausible(scans):
    sizes = []
    for made in scans:
        voxel_ml = abs(np.linalg.det(made.affine[:3, :3])) / 1000
        counts = np.bincount(true_mask(made).ravel(), minlength=abdomen.N_LABELS)
        sizes.append(counts * voxel_ml)
        for value, (low, high) in PLAUSIBLE_ML.items():
            if value in made.labels:
                assert low < counts[value] * voxel_ml < high, (str(made.sample), value)
    assert 1000 < np.median([size[6] for size in sizes]) < 1500
    assert np.std([size[6] for size in sizes]) > 30  # no two patients are alike


def test_labels_present(scans):
    for made in scans:
        expected = set(range(1, 16)) if made.sample.pelvis else set(range(1, 14))
        assert set(made.labels) == expected, str(made.sample)
        assert set(np.unique(true_mask(made))) == {0, *expected}
    assert {made.sample.modality for made in scans if not made.sample.pelvis} == {"MRI"}


def test_truth_is_connected_and_the_noise_is_not(scans):
    for made in scans:
        true = true_mask(made)
        assert n_regions(true, IN_3D) == len(made.labels)
    for made in scans[::3]:
        true = true_mask(made)
        noisy = np.stack(list(abdomen.noisy_slices(made)), axis=2)
        assert set(np.unique(noisy)) == set(np.unique(true))
        assert n_regions(noisy, IN_3D) > len(made.labels) + 10
        assert n_single_regions_in_slices(noisy) > n_single_regions_in_slices(true) + 10
        assert 0.001 < (noisy != true).sum() / (true > 0).sum() < 0.03


@pytest.mark.parametrize("tilt_degrees", [0.0, 13.0])
@pytest.mark.parametrize("axes", ["LAS", "LPS", "RAS", "LPI", "RPI"])
def test_left_and_right_hold_in_every_orientation(axes, tilt_degrees, liver_centre_mm):
    base = amos22_archive.plan()[1]
    sample = dataclasses.replace(base, axes=axes, tilt_degrees=tilt_degrees)
    made = abdomen.scan(sample, MIDDLE_SHAPE)
    closest = f"Oblique(closest to {axes})" if tilt_degrees else axes
    assert geometry.orientation_codes(made.affine)[1] == closest
    mask = true_mask(made)
    at = {value: centre_mm(mask, value, made.affine) for value in made.labels}
    right, left = (2, 4, 6, 9, 11), (1, 3, 7, 12)
    assert min(at[value][0] for value in right) > max(at[value][0] for value in left)
    assert at[8][0] < at[9][0]  # the aorta is left of the vena cava
    assert min(at[6][2], at[1][2]) > at[2][2] > at[14][2] > at[15][2]  # head to feet
    assert at[14][1] > at[15][1] and at[7][1] > at[3][1]  # front to back
    assert np.abs(at[6] - liver_centre_mm).max() < 3


def test_prostate_lies_below_the_bladder_and_uterus_behind():
    for sex, place in (("M", "below"), ("F", "behind")):
        sample = dataclasses.replace(amos22_archive.plan()[0], sex=sex)
        made = abdomen.scan(sample, MIDDLE_SHAPE)
        bladder, organ = (centre_mm(true_mask(made), value, made.affine) for value in (14, 15))
        down, back = bladder[2] - organ[2], bladder[1] - organ[1]
        assert (down > 25) == (place == "below") and back > 15


def test_intensities(scans):
    for made in scans:
        volume = np.stack(list(abdomen.volume_slices(made)), axis=2)
        mask = true_mask(made)
        liver, air = volume[mask == 6], volume[:3, :3]
        assert volume.dtype == np.float32
        if made.sample.modality == "CT":
            assert 30 < liver.mean() < 130 and air.mean() < -950 and volume.max() > 250
            assert (volume == np.rint(volume)).all()
            deep = ndi.binary_erosion(mask == 6, iterations=2)  # without partial volume
            assert 5 < volume[deep].std() < 25
        else:
            assert volume.min() >= 0 and 100 < liver.mean() < 260 and air.mean() < 40
            # The bias field makes one organ's intensity differ from place to place.
            parts = [
                part[part > 0].mean()
                for part in np.array_split(np.where(mask == 6, volume, 0), 4, axis=2)
                if (part > 0).sum() > 500
            ]
            assert np.ptp(parts) > 2


# --- noise --------------------------------------------------------------------------------------


def square():
    mask = np.zeros((40, 30), np.uint8)
    mask[8:32, 6:24] = 6
    return mask


def test_islands_have_the_asked_labels_and_sizes():
    sizes = set()
    for seed in range(200):
        mask = square()
        noise.add_islands(mask, np.random.default_rng(seed), [3], 8)
        island = mask == 3
        assert ndi.label(island, IN_SLICE)[1] == 1
        assert (mask[~island] == square()[~island]).all()
        sizes.add(int(island.sum()))
    assert {1, 2, 3, 4, 5, 6} <= sizes and max(sizes) <= 8


def test_holes_are_small_and_inside():
    for seed in range(100):
        mask = square()
        noise.add_holes(mask, np.random.default_rng(seed), 1, 5)
        changed = mask != square()
        assert 1 <= changed.sum() <= 5 and (mask[changed] == 0).all()
        assert ndi.label(changed, IN_SLICE)[1] == 1


def test_rough_borders_stay_at_the_border():
    mask = square()
    noise.roughen_border(mask, np.random.default_rng(0))
    changed = mask != square()
    inside = ndi.binary_erosion(square() > 0, iterations=3)
    around = ndi.binary_dilation(square() > 0, iterations=3)
    assert changed.sum() > 10
    assert not changed[inside].any() and not changed[~around].any()
    assert set(np.unique(mask)) == {0, 6}


def test_noise_leaves_empty_slices_alone_and_rate_0_everything():
    empty = np.zeros((9, 9), np.uint8)
    noise.add(empty, np.random.default_rng(0), (1, 2), 50.0)
    assert not empty.any()
    mask = square()
    noise.add(mask, np.random.default_rng(0), (6,), 0.0)
    assert (mask == square()).all()


def test_noise_on_any_small_slice():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = rng.integers(0, 3, rng.integers(1, 6, 2), dtype=np.uint8)
        noise.add(mask, rng, (1, 2), 5.0)
        assert mask.max() <= 2


# --- files --------------------------------------------------------------------------------------


def test_headers_are_as_various_as_promised(archive):
    root_dir, samples = archive
    dtypes, forms, orientations, scaled = set(), set(), set(), []
    for sample in samples.values():
        header = nib.load(image_path(root_dir, sample)).header
        read = nifti.read_header(image_path(root_dir, sample))
        dtypes.add(read.dtype_name)
        forms.add((int(header["sform_code"]), int(header["qform_code"])))
        orientations.add(geometry.orientation_codes(read.affine)[1])
        scaled += [sample.seq] if read.is_scaled else []
        assert read.shape == phantoms.SHAPE
        assert read.spacing == pytest.approx(phantoms.SPACING_MM, abs=1e-4)
        assert read.complaints() == []
    assert dtypes == {"int16", "float32", "float64"}
    assert {(1, 1), (2, 0), (0, 1)} <= forms
    assert orientations == {"LAS", "LPS", "RAS", "Oblique(closest to LAS)"}
    assert scaled == ["0008"]


def test_masks_are_uint16_and_lie_on_their_volumes(archive):
    root_dir, samples = archive
    forms, apart = set(), {}
    for sample in samples.values():
        assert image_path(root_dir, sample, "labels").exists() == (sample.subset != "test")
        if sample.subset == "test":
            continue
        image = nib.load(image_path(root_dir, sample, "labels"))
        truth = nib.load(image_path(root_dir, sample, "labels", "truth"))
        assert image.get_data_dtype() == np.uint16
        assert image.header.binaryblock == truth.header.binaryblock
        forms.add((int(image.header["sform_code"]), int(image.header["qform_code"])))
        volume = nifti.read_header(image_path(root_dir, sample))
        apart[sample.seq] = np.linalg.norm(image.affine - volume.affine)
        assert set(np.unique(nifti.read_mask(truth.get_filename()).data)) <= set(range(16))
    assert {(0, 1), (2, 0)} <= forms
    assert 1e-3 < apart.pop("0500") < 1e-2
    assert max(apart.values()) < 2e-3  # the quaternion's float32 digits


def test_every_image_reads_to_its_end(archive):
    root_dir, samples = archive
    for sample in samples.values():
        nifti.check(nifti.read_header(image_path(root_dir, sample)))
    paths = sorted(root_dir.rglob("labels*/amos_*.nii.gz"))
    assert len(paths) == 2 * 9
    for path in paths:
        nifti.read_mask(path)


def test_scaled_file_holds_the_same_intensities(tmp_path):
    sample = next(sample for sample in amos22_archive.plan() if sample.scaling)
    made = abdomen.scan(sample, (20, 16, 10))
    header = scan_files.header((20, 16, 10), "int16", made.affine, "both", sample.scaling)
    scan_files.write(tmp_path / "scaled.nii.gz", header, abdomen.volume_slices(made))
    expected = np.stack(list(abdomen.volume_slices(made)), axis=2)
    assert (nib.load(tmp_path / "scaled.nii.gz").get_fdata() == expected).all()


def test_masks_on_disk_are_the_scans(archive):
    root_dir, samples = archive
    for sample in samples.values():
        if sample.subset == "test":
            continue
        made = abdomen.scan(sample, phantoms.SHAPE, 0, phantoms.SPACING_MM)
        truth = nifti.read_mask(image_path(root_dir, sample, "labels", "truth"))
        assert (truth.data == true_mask(made)).all()
        assert truth.data.any()


def test_ITK_reads_every_image(archive):
    sitk = pytest.importorskip("SimpleITK")
    root_dir, samples = archive
    for sample in samples.values():
        path = image_path(root_dir, sample)
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == phantoms.SHAPE
        origin = np.array(image.GetOrigin()) * (-1, -1, 1)
        assert np.abs(origin - nifti.read_header(path).affine[:3, 3]).max() < 1e-3


def test_plan_covers_what_users_meet():
    samples = amos22_archive.plan()
    assert len(samples) == 11
    ct, mri = ([s for s in samples if s.modality == kind] for kind in ("CT", "MRI"))
    assert {s.scanner for s in ct} == {
        "Aquilion ONE",
        "Brilliance16",
        "SOMATOM Force",
        "Optima CT660",
        "Optima CT540",
    }
    assert {s.scanner for s in mri} == {"Prisma", "Ingenia", "SIGNA HDe", "Achieva"}
    assert [s.seq for s in mri if s.scanner == "Achieva"] == ["0540"]
    for part in (ct, mri, ct[:4], mri[:4]):
        assert {s.subset for s in part} == {"train", "val", "test"}
        assert {s.sex for s in part} == {"F", "M"}
    assert {s.sex for s in mri if s.pelvis} == {"F", "M"}
    assert {"0500", "0507", "0600"} <= {s.seq for s in samples}


def test_plan_grows_to_the_whole_of_amos22():
    everybody = amos22_archive.plan(500, 100, seed=3)
    assert {int(s.seq) for s in everybody if s.modality == "CT"} == set(range(1, 501))
    assert {int(s.seq) for s in everybody if s.modality == "MRI"} == set(range(501, 601))
    assert everybody[:40] == amos22_archive.plan(40, 0, seed=3)
    assert amos22_archive.plan(0, 0) == []
    for counts in ((501, 0), (0, 101), (-1, 0)):
        with pytest.raises(errors.DatasetError):
            amos22_archive.plan(*counts)


def rows_of(table):
    return list(csv.DictReader(io.StringIO(table.decode("utf-8"))))


def test_metadata_ids_are_shifted_like_the_official_ones():
    rows = rows_of(amos22_archive.metadata_table())
    ids = [int(row["amos_id"]) for row in rows]
    assert len(rows) == 600 and len(set(ids)) == 599
    assert ids.count(500) == 2 and 600 not in ids
    models = {int(row["amos_id"]): row["Manufacturer's Model Name"] for row in rows}
    assert [number for number, model in models.items() if model == "Achieva"] == [539]
    by_id = {
        (
            int(row["amos_id"]),
            row["Manufacturer's Model Name"] in amos22_archive._MRI_MODELS
            or row["Manufacturer's Model Name"] == "Achieva",
        ): row
        for row in rows
    }
    for sample in amos22_archive.plan():
        is_mri = sample.modality == "MRI"
        row = by_id[int(sample.seq) - is_mri, is_mri]
        assert (row["Patient's Sex"], row["Manufacturer's Model Name"]) == (
            sample.sex,
            sample.scanner,
        )
        plain = by_id.get((int(sample.seq), True))
        if is_mri and plain:  # joining by the plain id gives the wrong sex
            assert plain["Patient's Sex"] != sample.sex
    assert by_id[539, True]["Patient's Age"] == ""


def test_the_example_list_divides_nobody_who_has_two_scans():
    mri_models = {*amos22_archive._MRI_MODELS, "Achieva"}
    people = {}
    for row in rows_of(amos22_archive.metadata_table()):
        number = int(row["amos_id"]) + (row["Manufacturer's Model Name"] in mri_models)
        people[f"amos_{number:04d}"] = row["Patient's Birth Date"], row["Patient's Sex"]
    subsets = {}
    for row in rows_of((ROOT / "descriptor_templates/split05_listed.csv").read_bytes()):
        subsets.setdefault(people[row["ID"]], set()).add(row["subset"])
    assert len(subsets) == 8  # of nine scans
    assert [found for found in subsets.values() if len(found) > 1] == []


@pytest.mark.skipif(not OFFICIAL.exists(), reason="official table not present")
def test_metadata_is_written_like_the_official_table():
    ours, official = amos22_archive.metadata_table(), OFFICIAL.read_bytes()
    assert ours.splitlines()[0] == official.splitlines()[0]
    assert (b"\r" in ours) == (b"\r" in official) and ours.endswith(b"\n")
    makers = {(row["Manufacturer's Model Name"], row["Manufacturer"]) for row in rows_of(official)}
    for row in rows_of(ours):
        assert (row["Manufacturer's Model Name"], row["Manufacturer"]) in makers
        age = row["Patient's Age"]
        assert age == "" or (len(age) == 4 and age.endswith("Y") and 18 <= int(age[:3]) <= 86)
        assert all(
            len(row[name]) == 8 and row[name].isdigit()
            for name in ("Patient's Birth Date", "Acquisition Date")
        )


def test_dataset_json_lists_what_is_there(archive):
    root_dir, samples = archive
    content = json.loads((root_dir / "archive/amos22/dataset.json").read_text("utf-8"))
    assert content["labels"]["8"] == "arota" and content["labels"]["15"] == "prostate/uterus"
    assert list(content["labels"]) == [str(value) for value in range(16)]
    listed = {
        entry["image"] for name in ("training", "validation", "test") for entry in content[name]
    }
    on_disk = {
        "./" + image_path(root_dir, sample).relative_to(root_dir / "archive/amos22").as_posix()
        for sample in samples.values()
    }
    assert listed == on_disk
    assert content["numTraining"] == len(content["training"]) == 6
    assert all("label" not in entry for entry in content["test"])


def test_clutter_lies_around(archive):
    root_dir, _ = archive
    doubles = list(root_dir.rglob("._amos_*.nii.gz"))
    assert any("__MACOSX" in path.parts for path in doubles)
    assert any("__MACOSX" not in path.parts for path in doubles)
    assert all(path.read_bytes().startswith(b"\x00\x05\x16\x07") for path in doubles)
    assert len(list(root_dir.rglob(".DS_Store"))) >= 2
    assert not list((root_dir / "truth").rglob(".*"))


# --- running again, refusing --------------------------------------------------------------------


def test_finished_samples_are_kept_and_lost_files_come_back(tmp_path):
    samples = phantoms.build_archive(tmp_path)
    before = contents(tmp_path)
    settings = amos22_archive.Settings(phantoms.SHAPE, 4, 4, 0, phantoms.SPACING_MM)
    again = [amos22_archive.write_sample(sample, tmp_path, settings) for sample in samples.values()]
    assert all(isinstance(result, calls.Finished) for result in again)
    image_path(tmp_path, samples["0001"], "labels").unlink()
    leftover = tmp_path / "archive" / "amos22" / "imagesTr" / ".part~other~1~1~0"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1e9, 1e9))
    phantoms.build_archive(tmp_path)
    assert contents(tmp_path) == before


def test_overwrite_makes_a_changed_file_again(tmp_path):
    samples = phantoms.build_archive(tmp_path, n_ct=1, n_mri=0)
    before = contents(tmp_path)
    image_path(tmp_path, samples["0001"]).write_bytes(b"changed")
    settings = amos22_archive.Settings(phantoms.SHAPE, 1, 0, 0, phantoms.SPACING_MM)
    amos22_archive.write_sample(samples["0001"], tmp_path, settings)
    assert contents(tmp_path) != before
    amos22_archive.write_sample(samples["0001"], tmp_path, settings, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [archive_folder.ARCHIVE_DIR, archive_folder.TRUTH_DIR])
def test_a_foreign_archive_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(errors.DatasetError, match=name):
        phantoms.build_archive(tmp_path)
    assert list(contents(tmp_path)) == [f"{name}/mine.txt"]


def test_other_settings_are_refused(tmp_path):
    phantoms.build_archive(tmp_path, n_ct=1, n_mri=0)
    before = contents(tmp_path)
    with pytest.raises(errors.DatasetError, match='"seed": 7'):
        phantoms.build_archive(tmp_path, n_ct=1, n_mri=0, seed=7)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 9, 30), (30, 2, 3)])
def test_extreme_shapes(tmp_path, shape):
    samples = phantoms.build_archive(tmp_path, shape, 2, 1, spacing=None)
    for sample in samples.values():
        assert nifti.read_header(image_path(tmp_path, sample)).shape == shape


def test_an_organ_of_a_few_voxels_may_fall_apart():
    made = abdomen.scan(amos22_archive.plan(0, 3, seed=1)[2], phantoms.SHAPE, 1)
    assert n_regions(true_mask(made), IN_3D) == len(made.labels)


# --- the script ---------------------------------------------------------------------------------


def test_script_runs_from_another_directory(tmp_path):
    words = ("--root_dir", "data", "--samples", 2, 1, "--shape", 7, 8, 9, "--seed", 5)
    done = run(*words, "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "samples: 3 done, 0 skipped as finished, 0 failed" in done.stdout
    phantoms.build_archive(tmp_path / "api", (7, 8, 9), 2, 1, 5, spacing=None)
    assert contents(tmp_path / "data") == contents(tmp_path / "api")
    again = run(*words, cwd=tmp_path)
    assert again.returncode == 0
    assert "samples: 0 done, 3 skipped as finished, 0 failed" in again.stdout
    redone = run(*words, "--overwrite", "--workers", 2, "--quiet", cwd=tmp_path)
    assert (redone.returncode, redone.stdout, redone.stderr) == (0, "", "")
    assert contents(tmp_path / "data") == contents(tmp_path / "api")


def test_script_refuses(tmp_path):
    (tmp_path / "archive").mkdir()
    done = run("--root_dir", tmp_path, "--shape", 7, 8, 9, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert str(tmp_path / "archive") in done.stderr
    assert contents(tmp_path) == {}
    for words in (
        ("--shape", 7, 8, 900),
        ("--shape", 1, 8, 9),
        ("--samples", 501, 0),
        ("--seed", -1),
        ("--shape", 7, 8),
    ):
        done = run("--root_dir", tmp_path / "new", *words, cwd=tmp_path)
        assert done.returncode == 2, words
    assert not (tmp_path / "new").exists()


def test_script_names_a_folder_it_cannot_write_to(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--root_dir", tmp_path / "file" / "below", "--shape", 7, 8, 9, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


def test_help_needs_no_image_library(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    for option in ("--root_dir", "--samples", "--shape", "--seed", "--workers", "--overwrite"):
        assert option in done.stdout
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert not imported & {"nibabel", "scipy", "cc3d", "openpyxl"}

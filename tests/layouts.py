"""Names of files as archives have them: layout -> paths, volumes and masks apart."""

from utils.sample_data import nme_archive


def _both(text, numbers, kinds=("images", "labels")):
    return tuple([text.format(kind, number) for number in numbers] for kind in kinds)


def _amos22():
    volumes, masks = [], []
    for subset, numbers in (("Tr", (1, 2, 3)), ("Va", (4, 5)), ("Ts", (6, 7))):
        names = [f"{subset}/amos_{number:04d}.nii.gz" for number in numbers]
        volumes += [f"amos22/images{name}" for name in names]
        masks += [f"amos22/labels{name}" for name in names if subset != "Ts"]
    return volumes, masks


ORGANS = ("kidney_left", "kidney_right", "liver")
SCANS = [(patient, scan) for patient in range(1, 5) for scan in (1, 2)][:-1]

LAYOUTS = {
    "two folders": _both("{}/{:03d}.nii.gz", range(1, 6)),
    "CT-ORG": _both("OrganSegmentations/{}-{}.nii.gz", range(12), ("volume", "labels")),
    "FLARE22": (
        [f"images/FLARE22_Tr_{n:04d}_0000.nii.gz" for n in range(1, 5)]
        + [f"FLARE22_UnlabeledCase1-1000/Case_{n:05d}_0000.nii.gz" for n in range(1, 5)]
        + [f"Validation/FLARETs_{n:04d}_0000.nii.gz" for n in range(1, 4)],
        [f"labels/FLARE22_Tr_{n:04d}.nii.gz" for n in range(1, 5)],
    ),
    "FLARE22 in one folder": (
        [f"FLARE22_Tr_{n:04d}_0000.nii.gz" for n in range(1, 6)]
        + ["Case_00001_0000.nii.gz", "FLARETs_0001_0000.nii.gz", "FLARETs_0002_0000.nii.gz"],
        [f"FLARE22_Tr_{n:04d}.nii.gz" for n in range(1, 6)],
    ),
    "LiTS": _both("{}-{}.nii.gz", range(5), ("volume", "segmentation")),
    "BTCV": (
        [f"RawData/Training/img/img{n:04d}.nii.gz" for n in range(1, 5)]
        + [f"RawData/Testing/img/img{n:04d}.nii.gz" for n in range(61, 64)],
        [f"RawData/Training/label/label{n:04d}.nii.gz" for n in range(1, 5)],
    ),
    "KiTS": _both("dataset/case_{1:05d}/{0}.nii.gz", range(5), ("imaging", "segmentation")),
    "MSD": (
        [f"Task03_Liver/imagesTr/liver_{n}.nii.gz" for n in range(8, 12)]
        + [f"Task03_Liver/imagesTs/liver_{n}.nii.gz" for n in range(132, 135)],
        [f"Task03_Liver/labelsTr/liver_{n}.nii.gz" for n in range(8, 12)],
    ),
    "TotalSegmentator": (
        [f"s{n:04d}/ct.nii.gz" for n in range(5)],
        [f"s{n:04d}/segmentations/{organ}.nii.gz" for n in range(5) for organ in ORGANS],
    ),
    "AMOS22": _amos22(),
    "NME": tuple(
        [sample.path(kind).as_posix() for sample in nme_archive.plan()]
        for kind in ("images", "labels")
    ),
    "patients": tuple(
        [f"pat{p:02d}/scan{s}/{kind}.nii.gz" for p, s in SCANS] for kind in ("ct", "seg")
    ),
    "scans in names": tuple(
        [f"{kind}/pat{p:02d}_scan{s}.nii.gz" for p, s in SCANS] for kind in ("images", "labels")
    ),
    "long names": _both("{}/2020_{:03d}_a.nii.gz", range(1, 6)),
    "blanks": _both("Bilder {}/Patient {}.nii.gz", range(1, 6)),
    "umlauts": tuple(
        [f"{kind}/{name}.nii.gz" for name in ("Jäger neu", "Müller", "王伟", "a", "b")]
        for kind in ("images", "labels")
    ),
    "suffix": (
        [f"x/{n:03d}.nii.gz" for n in range(5)],
        [f"x/{n:03d}_seg.nii.gz" for n in range(5)],
    ),
    "hyphen": ([f"x/an{n}.nii.gz" for n in "abcde"], [f"x/an{n}-seg.nii.gz" for n in "abcde"]),
    "organs in names": (
        [f"images/{n:03d}.nii.gz" for n in range(5)],
        [f"labels/{n:03d}_{organ}.nii.gz" for n in range(5) for organ in ORGANS],
    ),
    "nnU-Net": (
        [f"imagesTr/liver_{n:03d}_{c}.nii.gz" for n in range(5) for c in ("0000", "0001")],
        [f"labelsTr/liver_{n:03d}.nii.gz" for n in range(5)],
    ),
    "BraTS": (
        [f"B_{n:03d}/B_{n:03d}_{c}.nii.gz" for n in range(5) for c in ("flair", "t1", "t1ce")],
        [f"B_{n:03d}/B_{n:03d}_seg.nii.gz" for n in range(5)],
    ),
    "centers": tuple(
        [f"center {c}/{kind}/{n}.nii.gz" for c in "AB" for n in range(3)]
        for kind in ("images", "labels")
    ),
    "one sample": (["images/0001.nii.gz"], ["labels/0001.nii.gz"]),
    "one folder": (["case7/ct.nii.gz"], ["case7/seg.nii.gz"]),
    "folders of any name": _both("{}/{:03d}.nii.gz", range(1, 6), ("Bilder", "Masken")),
    "frames": tuple(
        [
            f"{subset}/patient{p:03d}/patient{p:03d}_frame{frame:02d}{end}.nii.gz"
            for p, subset in ((1, "training"), (2, "training"), (3, "training"), (101, "testing"))
            for frame in (1, 8 + p % 3)
        ]
        for end in ("", "_gt")
    ),
    "dates": tuple(
        [
            f"Studie/Pat_{p:03d}_{p * 7}/CT_{day}{end}.nii.gz"
            for p, day in enumerate((20210301, 20210402, 20210402, 20210511), 1)
        ]
        for end in ("", "_Segmentierung")
    ),
    "scanners": tuple(
        [f"Train_Sets/{scanner}/{n}/{kind}.nii.gz" for scanner in ("CT", "MR") for n in range(3)]
        for kind in ("image", "ground")
    ),
    "collections": tuple(
        [f"{folder}/coronacases{org}_{n:03d}.nii.gz" for n in range(1, 4)]
        + [f"{folder}/radiopaedia{org}_{n}_85506_0.nii.gz" for n in range(4, 7)]
        for folder, org in (("ct_scans", "_org"), ("lung_and_infection_mask", ""))
    ),
    "folders of folders": _both("{}/pat{}/scan.nii.gz", range(5)),
}

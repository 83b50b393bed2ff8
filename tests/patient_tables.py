"""Made-up manifests of people with several scans, and what must hold of any split of them."""

import random

from utils.routines import split_choices
from utils.storage import manifest, workbook

COLUMNS = [
    "ID",
    "seq",
    "sex",
    "subset",
    "manufacturer_model_name",
    "manufacturer",
    "birth_date",
    "site",
    "valid_labels",
    "mask",
]
SCANNERS = {
    "Aquilion ONE": "TOSHIBA",
    "Brilliance16": "Philips",
    "Prisma": "SIEMENS",
    "Ingenia": "Philips",
}
# Ways to write the same birth date and sex, and to not know them.
SEXES = {"M": ["M", "m", "male"], "F": ["F", "Female"]}
UNKNOWN = ["", "UND", "01/06/1993"]


def rows(seed, subsets=("train", "train", "val", "test", "unlabelled"), n_patients=30):
    """Rows of people of whom a third has several scans, in any subset, on any scanner.

    The order is that of no ID. Some birth dates and sexes are not known, some people share one of
    the two, some samples of each subset have no mask.
    """
    rng = random.Random(seed)
    scans = []
    for number in range(n_patients):
        sex, year, day = rng.choice("MF"), 1950 + number // 40, number // 2 % 20 + 1
        for _ in range(rng.choice([1, 1, 1, 2, 2, rng.randint(1, 4)])):
            form = rng.choice(["{}01{:02d}", "{}-01-{:02d}"])
            scans.append((rng.choice(SEXES[sex]), form.format(year, day)))
    numbers = rng.sample(range(600), len(scans))
    made = []
    for number, (sex, day) in zip(numbers, scans):
        scanner, subset = rng.choice([*SCANNERS]), rng.choice(subsets)
        has_mask = subset != "unlabelled" and rng.random() < (0.3 if subset == "test" else 0.95)
        labels = ",".join(str(label) for label in range(17) if label < 13 or rng.random() < 0.3)
        cells = (
            f"amos_{number:04d}",
            f"{number:04d}",
            rng.choice(UNKNOWN) if rng.random() < 0.05 else sex,
            subset,
            scanner,
            SCANNERS[scanner],
            rng.choice(UNKNOWN) if rng.random() < 0.05 else day,
            rng.choice(["LGCH", "LGPH"]),
            labels if has_mask else "",
            f"grouped/amos_{number:04d}_mask.nii.gz" if has_mask else "",
        )
        made.append(dict(zip(COLUMNS, cells)))
    return made


def write(path, made):
    """Write them as a dataset manifest; gives the path."""
    manifest.Target(path).write({"Manifest": workbook.frame(COLUMNS, made)})
    return path


def divided(made, subsets):
    """People, by the plain reading of their cells, who stand on two sides of a split."""
    sides = {}
    for row in made:
        day, sex = row["birth_date"].replace("-", ""), row["sex"][:1].upper()
        if row["birth_date"] in UNKNOWN or row["sex"] in UNKNOWN:
            continue
        if subsets[row["ID"]] not in split_choices.LEFT_OUT:
            sides.setdefault((day, sex), set()).add(subsets[row["ID"]])
    return {person: found for person, found in sides.items() if len(found) > 1}

"""Made-up data of the report's page: what `document.build` and `viewer_data` give."""

import base64
import functools
import io
import json
import random
import zlib

import numpy as np

LABELS = [
    {"value": 1, "name": "spleen", "shown": "spleen", "colour": "#E58CC0", "dashed": False},
    {"value": 2, "name": "right_kidney", "shown": "right kidney", "colour": "#56B4E9"}
    | {"dashed": False},
    {"value": 6, "name": "liver", "shown": "liver", "colour": "#12C18A", "dashed": True},
]
KINDS = {"left/right": "wrong", "volume": "doubtful", "pieces": "doubtful", "geometry": "unusual"}
SEVERITIES = ["wrong", "doubtful", "unusual"]
WINDOWS = [
    {"name": "soft tissue", "low": -160, "high": 240},
    {"name": "lung", "low": -1350, "high": 150},
    {"name": "bone", "low": -200, "high": 1500},
]
# Of an array in LAS, see slices.View.
VIEWS = {
    "axial": {"axis": 2, "rows": 1, "columns": 0, "flipped": [True, False], "letters": "RLAP"},
    "coronal": {"axis": 1, "rows": 2, "columns": 0, "flipped": [True, False]} | {"letters": "RLSI"},
    "sagittal": {"axis": 0, "rows": 2, "columns": 1, "flipped": [True, True]} | {"letters": "APSI"},
}
# Grey level -> Hounsfield units.
VALUES = np.interp(range(256), (0, 56, 192, 255), (-1024, -200, 300, 1500)).tolist()


def flag(kind, place=(20, 12, 5), labels=(6,), reason="The liver has 9 ml, expected more."):
    return {
        "kind": kind,
        "severity": KINDS[kind],
        "reason": reason,
        "place": place and list(place),
        "labels": list(labels),
        "evidence": "",
    }


def sample(number, flags=(), **more):
    """One sample of the index."""
    name = f"amos_{number:04d}"
    return {
        "name": name,
        "metadata": {
            "subset": ("train", "val", "test")[number % 3],
            "modality": "CT" if number <= 500 else "MRI",
            "scanner": ("Aquilion ONE", "Optima CT660", "Prisma")[number % 3],
            "sex": "MF"[number % 2],
            "age": f"{20 + number % 70:03d}Y",
            "site": "A",
        },
        "age_years": 20 + number % 70,
        "patient": name,
        "relatives": [],
        "flags": list(flags),
        "shape": [80, 64, 12],
        "spacing": [1.5, 1.5, 5.0],
        "orientation": "LAS",
        "n_labels": 3,
        "small_regions": number % 7,
        "n_changed": number % 5 * 100,
        "dice": None,
        "mask_crc32": f"0x{number * 2654435761 % (1 << 32):08x}",
        "pictures": [f"{name}.jpg"],
        "thumbnail": f"{name}_small.jpg",
        "paths": {
            part: f"../grouped/AMOS-CT/train/Aquilion ONE/{name}_M/{name}_{part}.nii.gz"
            for part in ("volume", "mask")
        },
        "data": f"samples/{name}.js",
    } | more


def index_data(n_samples=600, **more):
    """`QC.data` of so many samples; every third one has flags, the same ones each time."""
    deal = random.Random(0)
    kinds = list(KINDS)
    samples = [
        sample(
            n, sorted((flag(k) for k in deal.sample(kinds, n % 3 and 2 - n % 2 or 0)), key=_rank)
        )
        for n in range(1, n_samples + 1)
    ]
    return {
        "set": {"name": "AMOS22", "identity": "AMOS22 amos_0001 1a2b3c4d"},
        "severities": SEVERITIES,
        "labels": LABELS,
        "review": {"rows": [], "place": "../descriptor/review.csv"},
        "notes": ["A flag means: have a look."],
        "plots": [{"file": "plots/ages.svg", "title": "Ages"}],
        "changes": [],
        "samples": samples,
    } | more


def _rank(one):
    return SEVERITIES.index(one["severity"])


def sample_data(shape=(80, 64, 12)):
    """What `QC.receive` gets of a sample: a bright block in the dark, with three labels in it."""
    mask = np.zeros(shape, np.uint8)
    mask[5:25, 10:30, 2:9] = 6
    mask[40:50, 10:20, 3:7] = 1
    mask[60:70, 30:50, 4:10] = 2
    before = mask.copy()
    before[70:72, 5:7, 5] = 6
    grey = np.where(mask > 0, 150, 40).astype(np.uint8)
    organs = {
        label["name"]: {
            "value": label["value"],
            "volume_ml": float((mask == label["value"]).sum()) * 11.25 / 1000,
            "centre": [1.0, 2.0, 3.0],
            "at_edge": False,
        }
        for label in LABELS
    }
    return {
        "shape": list(shape),
        "spacing": [1.5, 1.5, 5.0],
        "bins": [1, 1, 1],
        "size": list(shape),
        "views": VIEWS,
        "sheets": [sheet(grey)],
        "across": 2,
        "values": VALUES,
        "windows": WINDOWS,
        "layers": [layer(mask), layer(before, "before", "before denoising")],
        "labels": LABELS,
        "organs": organs,
        "changes": {"n_voxels": 4, "n_slices": 1, "per_label": {}},
        "prediction": None,
    }


def sample_script(name, data):
    return f"QC.receive({json.dumps(name)}, {json.dumps(data)});\n".encode()


def data_of_script(path):
    """What the script of a sample gives to the page."""
    script = path.read_text(encoding="ascii")
    head, tail = f'QC.receive("{path.stem}", ', ");\n"
    assert script.startswith(head) and script.endswith(tail)
    return json.loads(script[len(head) : -len(tail)])


@functools.cache
def picture():
    """A small JPEG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise((110, 84), 60).save(stream, "JPEG")
    return stream.getvalue()


def sheet(grey):
    """One sheet of at most 64 slices across the third axis, 8 in a row."""
    from PIL import Image

    width, height, n_slices = grey.shape
    sheet = np.zeros((-(-n_slices // 8) * height, 8 * width), np.uint8)
    for k in range(n_slices):
        row, column = k // 8 * height, k % 8 * width
        sheet[row : row + height, column : column + width] = grey[:, :, k].T
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def layer(labels, key="mask", title="mask"):
    deflated = base64.b64encode(zlib.compress(labels.tobytes(order="F"))).decode()
    return {"key": key, "title": title, "deflated": deflated}

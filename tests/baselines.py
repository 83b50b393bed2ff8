"""What the benchmark compares with: each stage as plain code would do it, and its bare bytes.

  python tests/baselines.py plain STAGE ROOT OUT   (nibabel, SciPy and the literal formula)
  python tests/baselines.py floor STAGE ROOT OUT   (decode what it reads, encode what it writes)

ROOT holds archive/ and grouped/ as the stage has left them. Prints wall and CPU seconds, without
start-up.
"""

import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import oracles
from scipy import ndimage as ndi

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils.storage import deflate, nifti, nifti_writing

N_LABELS = 17


def archive_files(root):
    """Volumes and masks of the archive, clutter left out."""
    return sorted(root.glob("archive/**/amos_*.nii.gz"))


def volumes(root):
    """Volumes of the grouped tree."""
    return sorted(root.glob("grouped/**/*_volume.nii.gz"))


def masks(root):
    """Multi-label masks of the grouped tree."""
    return sorted(root.glob("grouped/**/*_mask.nii.gz"))


def binary_masks(root):
    """Binary masks of the grouped tree."""
    return sorted(root.glob("grouped/**/*_mask_*.nii.gz"))


def womens_masks(root):
    """Masks that routine 03 has to look into."""
    return [path for path in masks(root) if path.parent.name.endswith("_F")]


def load(path):
    """Voxels and image."""
    image = nib.load(path)
    return np.asarray(image.dataobj), image


def save(data, image, path):
    """Write as most scripts do."""
    nib.save(nib.Nifti1Image(data, image.affine), path)


def plain_01(root, out):
    for path in archive_files(root):
        load(path)


def plain_02(root, out):
    for path in archive_files(root):
        data, image = load(path)
        dtype = np.float32 if "images" in path.parent.name else np.uint8
        save(data.astype(dtype), image, out / f"{path.parent.name}_{path.name}")


def plain_03(root, out):
    for path in womens_masks(root):
        data, image = load(path)
        save(np.where(data == 15, 16, data).astype(np.uint8), image, out / path.name)


def save_all_labels(data, image, out, name):
    """One file per label."""
    for label in range(N_LABELS):
        save((data == label).astype(np.uint8), image, out / f"{label:02d}_{name}")


def plain_04(root, out):
    for path in masks(root):
        save_all_labels(*load(path), out, path.name)


def plain_denoise(root, out):
    for path in masks(root):
        data, image = load(path)
        denoised = oracles.open_close_small_regions_literal(data, image.header.get_zooms())
        save(denoised, image, out / path.name)
        save_all_labels(denoised, image, out, path.name)


def plain_detect(root, out):
    for path in binary_masks(root):
        ndi.label(load(path)[0], structure=np.ones((3, 3, 3)))


def plain_05(root, out):
    for path in volumes(root):
        nib.load(path)
    for path in (*masks(root), *binary_masks(root)):
        np.unique(load(path)[0])


def plain_report(root, out):
    """Ten slices of each scan with contours, without any of the measures, and no viewer."""
    import matplotlib.pyplot as plt

    for path in volumes(root):
        volume = nib.load(path).get_fdata()
        mask_path = path.with_name(path.name.replace("_volume", "_mask"))
        mask = load(mask_path)[0] if mask_path.exists() else None
        figure, axes = plt.subplots(4, 3, figsize=(15, 18), dpi=100)
        for number, panel in enumerate(axes.flat[:10]):
            axis, share = (2, (number + 1) / 7) if number < 6 else (number % 2, (number - 5) / 5)
            index = int(volume.shape[axis] * share)
            panel.imshow(volume.take(index, axis).T, cmap="gray", vmin=-160, vmax=240)
            shown = mask.take(index, axis).T if mask is not None else np.zeros((1, 1))
            for label in np.unique(shown[shown > 0]):
                panel.contour(shown == label, levels=[0.5], linewidths=1)
        figure.savefig(out / f"{path.name}.png")
        plt.close(figure)


# Stage -> files whose bytes it has to read, and to write.
FLOORS = {
    "01": ((), ()),
    "02": ((archive_files,), (volumes, masks)),
    "03": ((womens_masks,), (womens_masks,)),
    "04": ((masks,), (binary_masks,)),
    "denoise": ((masks, binary_masks), (masks, binary_masks)),
    "detect": ((masks, binary_masks), ()),
    "05": ((masks, binary_masks), ()),
    "report": ((volumes, masks), ()),
}


def floor(stage, root, out):
    """Decode and encode nothing but the bytes, with the codec that the stage uses.

    What is to be encoded is prepared off the clock.
    """
    reads, writes = ([path for find in finders for path in find(root)] for finders in FLOORS[stage])
    clock = Clock()
    for path in reads:
        with clock:
            decode(path)
    for number, path in enumerate(writes):
        content = decode(path)
        with clock:
            encode(content, out / f"{number}.gz")
    return clock


class Clock:
    """Adds up wall and CPU seconds of ``with`` blocks."""

    def __init__(self):
        self.seconds = [0.0, 0.0]

    def __enter__(self):
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *error):
        now = time.perf_counter(), time.process_time()
        self.seconds = [
            sum_ + end - start for sum_, end, start in zip(self.seconds, now, self._start)
        ]


def decode(path):
    """All bytes of a gzip file."""
    stream = deflate.codec.decompressobj(31)
    return stream.decompress(path.read_bytes()) + stream.flush()


def encode(content, path):
    """Write a gzip file in the pieces that ours are written in."""
    stream = deflate.codec.compressobj(nifti_writing.LEVEL, deflate.codec.DEFLATED, 31)
    step = nifti.CHUNK_VOXELS * (4 if content[70] == 16 else 1)  # NIfTI's code for float32
    with open(path, "wb") as handle:
        handle.write(stream.compress(content[:352]))
        for start in range(352, len(content), step):
            handle.write(stream.compress(content[start : start + step]))
        handle.write(stream.flush())


def main(kind, stage, root, out):
    """Do it, and print wall and CPU seconds without start-up."""
    if kind == "floor":
        clock = floor(stage, Path(root), Path(out))
    else:
        clock = Clock()
        with clock:
            globals()[f"plain_{stage}"](Path(root), Path(out))
    print(*clock.seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""NME data as each routine leaves it: made once a test run from a tiny archive, then copied."""

import trees

from utils.sample_data import nme_archive

LABEL_MAP = trees.REPOSITORY / "descriptor_templates/NME/label_map.yaml"
SHAPE = (7, 8, 9)
SCAN = "NME/01_gen_archive_manifest.py"
PAIR = "NME/02_confirm_pairs.py"
EXTRACT = "NME/03_extract_binary_masks.py"
INDEX = "NME/04_gen_dataset_manifest.py"
PREDEFINED = "NME/05_make_split_predefined.py"
ACROSS = "NME/05_make_split_across_sites.py"
CUT = "NME/06_extract_split_index_manifest.py"
GENERATE = "NME/generate_sample_archive.py"

_PAIRED = "--root_dir ROOT/grouped"
_INDEXED = "--manifest_file ROOT/grouped/dataset_manifest.xlsx"
_COMMANDS = {
    SCAN: "--root_dir ROOT/archive --output_manifest_file ROOT/descriptor/archive_manifest.xlsx",
    PAIR: "--root_dir ROOT/archive --archive_manifest ROOT/descriptor/archive_manifest.xlsx"
    " --output_dir ROOT/grouped",
    EXTRACT: f"{_PAIRED} --label_explanation ROOT/descriptor/label_map.yaml",
    trees.DENOISE: f"{_PAIRED} --output_dir ROOT/grouped",
    trees.DETECT: f"{_PAIRED} --output_manifest ROOT/descriptor/regions.xlsx",
    INDEX: f"{_PAIRED} --output_manifest_file ROOT/grouped/dataset_manifest.xlsx",
    PREDEFINED: _INDEXED,
    ACROSS: f"{_INDEXED} --split_name split07_Mix",
    CUT: f"{_INDEXED} --split_name split07_Mix --output_index_manifest_dir ROOT/splits"
    " --subsets train val --subsets test",
    GENERATE: "--root_dir ROOT --samples 2 --shape 7 8 9",
}
_STATES = {
    "scanned": ("built", SCAN),
    "paired": ("scanned", PAIR),
    "extracted": ("paired", EXTRACT),
    "indexed": ("extracted", INDEX),
    "split": ("indexed", ACROSS),
}


def build_archive(root_dir, shape=SHAPE):
    """Write the 18 hand-picked scans, tiny."""
    settings = nme_archive.Settings(shape)
    for sample in nme_archive.prepare(root_dir, settings):
        nme_archive.write_sample(sample, root_dir, settings)


_NME = trees.Chain(build_archive, LABEL_MAP, _COMMANDS, _STATES)
words, invoke, copy = _NME.words, _NME.invoke, _NME.copy


def archive_manifest(root):
    return root / "descriptor/archive_manifest.xlsx"


def dataset_manifest(root):
    return root / "grouped/dataset_manifest.xlsx"


def archive_file(root, sample, kind="images"):
    """Path of a file of the archive: ``archive_file(root, "02A001", "labels")``."""
    found = next(one for one in nme_archive.plan() if one.seq == sample)
    return root / "archive" / found.path(kind)

"""The finished data set of the phantom archive, with its split, for what comes after routine 07."""

import functools
import os
import runpy
import shutil

import click.testing
import trees

SPLIT = "split01_standard"
NNUNET = "utils/export_nnunet.py"
DATALIST = "utils/export_datalist.py"
# Of the whole set, CT and MRI.
MANIFESTS = {
    "whole": "dataset_manifest.xlsx",
    "CT": "AMOS-CT/dataset_manifest_amos_ct.xlsx",
    "MRI": "AMOS-MRI/dataset_manifest_amos_mri.xlsx",
}


def make(root):
    """Put the finished data set below a new folder, all three manifests with their split."""
    return index(trees.copy("indexed", root))


def index(root):
    """Run routines 05 and 06 for the whole set and both sub-data sets."""
    for name in MANIFESTS.values():
        path = root / "grouped" / name
        if not path.exists():
            call(trees.INDEX, "--root_dir", path.parent, "--output_manifest_file", path)
        call(trees.MAKE_SPLIT, "--manifest_file", path)
    return root


def copy(root, target):
    """Copy the finished data, the many binary masks as further names of the same files."""

    def put(source, path):
        return (os.link if "_mask_" in os.path.basename(source) else shutil.copy2)(source, path)

    return shutil.copytree(root, target, symlinks=True, copy_function=put)


def call(script, *words):
    """Run a script that must succeed; gives click's result."""
    result = run(script, *words)
    assert result.exit_code == 0, result.output
    return result


def run(script, *words):
    """Run a script in this process; gives click's result."""
    result = click.testing.CliRunner().invoke(_main(script), [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def source(root, which="whole"):
    """Options that name a manifest and its split."""
    return "--manifest_file", root / "grouped" / MANIFESTS[which], "--split_name", SPLIT


@functools.cache
def _main(script):
    return runpy.run_path(str(trees.REPOSITORY / script), run_name="script")["main"]

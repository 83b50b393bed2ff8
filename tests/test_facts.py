"""The interface of the facts: every data set has all of it, and nothing else is used."""

import ast
import importlib
import inspect
import re
import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from utils import errors
from utils.facts import DataSet, described, known_faults

UTILS = Path(__file__).resolve().parents[1] / "utils"
NAMES = sorted(path.stem for path in UTILS.glob("facts/[a-z]*.py"))
# amos22_table belongs to amos22.
PARTS = {name for name in NAMES for other in NAMES if name.startswith(f"{other}_")}
# For every data set alike; `described` makes data sets of pages.
SHARED = {"known_faults", "patients", "described", "file_patterns"}
MODULES = [name for name in NAMES if name not in PARTS | SHARED]
CONSTANTS = typing.get_type_hints(DataSet)
FUNCTIONS = dict(inspect.getmembers(DataSet, inspect.isfunction))
FUNCTIONS = {name: made for name, made in FUNCTIONS.items() if not name.startswith("_")}
USERS = [
    *(path for wing in ("routines", "exports", "qc") for path in UTILS.glob(f"{wing}/*.py")),
    *(UTILS / "reader.py", UTILS / "reading/source.py", UTILS / "reading/finished.py"),
]


@pytest.fixture(name="facts", params=MODULES)
def facts_module(request):
    return importlib.import_module(f"utils.facts.{request.param}")


@pytest.fixture(name="any_facts", params=[*MODULES, "described"])
def facts_of_any_kind(request, tmp_path):
    """The facts of a module, or those of a page."""
    if request.param != "described":
        return importlib.import_module(f"utils.facts.{request.param}")
    page = tmp_path / "dataset.yaml"
    page.write_text(
        "{name: x, files: {volume: 'i/{seq}.nii.gz'}, labels: {0: background}, modality: CT}",
        encoding="utf-8",
    )
    return described.read(page)


def row_of(facts, relative_path):
    """A row of the archive manifest as routine 01 writes it, without what headers tell."""
    row = dict.fromkeys(facts.ARCHIVE_COLUMNS, "") | facts.classify(relative_path)
    told = {"file_path": relative_path, "sex": "F", "manufacturer_model_name": "Prisma"}
    return {**row, **{key: text for key, text in told.items() if key in row}}


def texts_of(value):
    """All texts that a constant of a facts module holds, however deep."""
    if isinstance(value, str):
        return [value]
    parts = [*value, *value.values()] if isinstance(value, Mapping) else value
    return [text for part in parts for text in texts_of(part)]


def test_both_data_sets_are_found():
    assert MODULES == ["amos22", "nme"]


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_data_set_has_every_constant_of_its_kind(any_facts, name):
    kind = typing.get_origin(CONSTANTS[name]) or CONSTANTS[name]
    assert kind in (str, tuple, Mapping)
    assert isinstance(getattr(any_facts, name), kind)
    assert all(isinstance(text, str) for text in texts_of(getattr(any_facts, name)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_data_set_has_every_function_with_its_parameters(any_facts, name):
    def n_parameters(function):
        return len(inspect.signature(function).parameters)

    assert inspect.getdoc(FUNCTIONS[name]) and inspect.getdoc(getattr(any_facts, name))
    assert n_parameters(getattr(any_facts, name)) == n_parameters(FUNCTIONS[name]) - 1  # self


def test_the_constants_of_a_data_set_fit_together(facts):
    assert set(facts.LABELLED_SUBSETS) <= set(facts.SUBSETS)
    assert set(facts.DATASET_JSON_SUBSETS.values()) <= set(facts.SUBSETS)
    assert set(facts.DATASET_KEYS) <= set(facts.INFO_KEYS) <= set(facts.ARCHIVE_COLUMNS)
    listed = known_faults.of(facts)
    assert {*facts.MENDED_FAULTS} <= {fault.what for fault in listed}
    assert [fault.id for fault in listed if not _is_sample_of(facts, fault.id)] == []
    for name in ("SUBSETS", "ARCHIVE_COLUMNS", "INFO_KEYS", "DATASET_KEYS"):
        assert len(set(getattr(facts, name))) == len(getattr(facts, name))


def _is_sample_of(facts, name):
    """Whether an ID of the list is a name that the data set's samples may have."""
    example = facts.sample_name(facts.classify(f"x/{facts.EXAMPLE_FILE}"))
    return re.fullmatch(re.sub("[0-9]", "[0-9]", example), name) is not None


def test_the_functions_of_a_data_set_return_what_the_interface_says(facts, tmp_path):
    assert facts.classify("readme.txt") is None
    columns = facts.classify(f"any/depth/{facts.EXAMPLE_FILE}")
    assert columns["type"] == "v3d" and set(columns) <= set(facts.ARCHIVE_COLUMNS)
    assert facts.subset(columns) in facts.SUBSETS
    row = facts.plain_row(row_of(facts, facts.EXAMPLE_FILE))
    assert facts.sample_name(row) == facts.sample_name(columns)
    assert row["subset"] in facts.SUBSETS
    assert facts.row_faults(row) == []
    assert facts.modality(row) == "MRI"
    assert facts.scanner_faults(row, (1.0, 1.0, 1.0), 100.0) == []
    assert facts.slice_axis(np.diag([2.0, 3.0, 4.0, 1.0])) == 2
    assert facts.scanner_faults({}, (1.0, 1.0, 1.0), 1e9) == []
    place = facts.sample_dir({key: row[key] for key in facts.INFO_KEYS})
    assert not place.is_absolute() and place.name.startswith(facts.sample_name(row))
    assert tmp_path in facts.trees(tmp_path)
    facts.check_manifest([row], "m.xlsx")
    facts.check_names([facts.sample_name(row)], "grouped")
    assert facts.mask_faults({}, {0, 1}, "m.nii.gz") == []
    with pytest.raises(errors.DatasetError):
        facts.plain_row({**row_of(facts, facts.EXAMPLE_FILE), "subset": "everything"})


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.relative_to(UTILS).as_posix())
def test_of_a_data_set_nothing_is_used_but_the_interface(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("facts", *MODULES, *PARTS)
    }
    assert used <= {*CONSTANTS, *FUNCTIONS}

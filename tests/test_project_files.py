"""The files about the project: workflow, citation, changelog, guide for contributors."""

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
WINGS = {path.parent.name for path in REPOSITORY.glob("utils/*/__init__.py")}


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def parsed(name):
    return yaml.safe_load(read(name))


def workflow_job():
    (job,) = parsed(".github/workflows/tests.yml")["jobs"].values()
    return job


def test_workflow_runs_all_tests_by_the_command_that_users_type():
    *_, step = workflow_job()["steps"]
    assert step["run"] == "./run_tests.sh"
    # The interpreter that setup-python put on the path, as setup_venv.sh wants it named.
    assert step["env"] == {"PYTHON": "python"} and "${PYTHON:-" in read("setup_venv.sh")


def test_workflow_may_only_read_and_goes_on_after_a_failure():
    workflow = parsed(".github/workflows/tests.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 takes "on" for true
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow_job()["strategy"]["fail-fast"] is False


def test_workflow_covers_every_python_that_is_promised():
    versions = workflow_job()["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in versions)  # 3.10 is a number without quotes
    minors = [int(re.fullmatch(r"3\.(\d+)", version)[1]) for version in versions]
    assert minors == list(range(minors[0], minors[-1] + 1))
    (least,) = re.findall(r"sys\.version_info < \(3, (\d+)\)", read("setup_venv.sh"))
    settings = read("pyproject.toml")
    assert f'target-version = "py3{least}"' in settings
    assert f'python_version = "3.{least}"' in settings
    assert re.search(r"Python (3\.\d+)", read("README.md"))[1] == f"3.{least}" == versions[0]
    assert f"Python {versions[0]} to {versions[-1]}" in read("CHANGELOG.md")


def test_citation_has_what_readers_of_the_format_need():
    citation = parsed("CITATION.cff")
    assert {"message", "title", "authors"} <= citation.keys()
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["license"] in read("LICENSE").splitlines()[0]
    for entry in (citation, *citation["references"]):
        assert entry["title"]
        assert all("name" in author or "family-names" in author for author in entry["authors"])


def test_citation_names_the_paper_and_the_record_that_the_readme_names():
    paper, record = parsed("CITATION.cff")["references"]
    readme = read("README.md")
    (arxiv,) = (entry["value"] for entry in paper["identifiers"])
    assert arxiv in readme and paper["title"] in readme
    assert record["url"] in readme and record["doi"].endswith(record["url"].rpartition("/")[2])


def test_every_version_says_what_to_run_again():
    text = read("CHANGELOG.md")
    titles = re.findall(r"^## (.+)$", text, re.M)
    assert titles[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) for title in titles[1:])
    for part in re.split(r"^## .+$", text, flags=re.M)[1:]:
        assert part.strip().startswith("**Existing trees**: ")
        kinds = set(re.findall(r"^### (.+)$", part, re.M))
        assert kinds and kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_guide_names_every_wing_and_no_other():
    rows = re.findall(r"^\| `(\w+)/` \| (.+) \|$", read("CONTRIBUTING.md"), re.M)
    assert sorted(name for name, _ in rows) == sorted(WINGS)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_files_that_are_named_are_there(name):
    named = re.findall(r"`([\w./-]+\.(?:py|sh|toml|txt|md|cff))`", read(name))
    paths = [path for path in named if not re.search(r"\bNAME\b|\bdocs/", path)]
    in_utils = [f"utils/{path}" if path in ("errors.py", "reader.py") else path for path in paths]
    assert len(paths) > 3
    assert [path for path in in_utils if not (REPOSITORY / path).exists()] == []

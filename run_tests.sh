#!/usr/bin/env bash
# All checks and tests: ./run_tests.sh [PYTEST OPTIONS]. Makes .venv with all packages first.
# The fast lane: ./run_tests.sh -m "not slow"
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
source ./setup_venv.sh
setup_venv requirements.txt requirements-test.txt requirements-cluster.txt
.venv/bin/python -m ruff check --quiet .
.venv/bin/python -m ruff format --check --quiet .
.venv/bin/python -m mypy --no-error-summary
# A file's tests stay on one worker: what they share is made once.
exec .venv/bin/python -m pytest -n logical --dist loadfile "$@"

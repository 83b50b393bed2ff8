#!/usr/bin/env bash
# All tests: ./run_tests.sh [PYTEST OPTIONS]. Makes .venv with all packages first.
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
source ./setup_venv.sh
setup_venv requirements.txt requirements-test.txt requirements-cluster.txt
exec .venv/bin/python -m pytest "$@"

#!/usr/bin/env bash
# Sets up and runs every check and test: ruff, mypy strict, import-linter, pytest.
# Arguments go to pytest: `bash tests/run.sh tests/ledger -k claim`. With none, everything runs.
# Peers that need root to install (Orthanc, DCMTK) are installed where that is allowed; else their tests are skipped by name.
# Tests on real images read the folder named by CMDIFF_TEST_DATA and are skipped by name without it.
set -euo pipefail
cd "$(dirname "$0")/.."
bash deploy/install.sh dev
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v Orthanc && command -v storescu; } >/dev/null; then
  { DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends orthanc orthanc-dicomweb dcmtk; } >/dev/null ||
    echo "Orthanc and DCMTK could not be installed: their tests will be skipped." >&2
fi
echo "== ruff";          .venv/bin/python -m ruff check cmdiff_dicom tests conformance
echo "== mypy";          .venv/bin/python -m mypy
echo "== import-linter"; .venv/bin/lint-imports --no-cache | tail -n 4
echo "== pytest"
export TCP_NODELAY=1     # DCMTK and Orthanc wait for delayed acknowledgements without it
exec .venv/bin/python -m pytest -rs "$@"

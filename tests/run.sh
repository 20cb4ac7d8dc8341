#!/usr/bin/env bash
# Sets up and runs every check and test: ruff, mypy strict, import-linter, pytest.
# Arguments go to pytest: `bash tests/run.sh tests/ledger -k claim`. With none, everything runs.
# Peers that need root to install (Orthanc, DCMTK) are installed where that is allowed; else their tests are skipped by name.
# Tests on real images read the folder named by CMDIFF_TEST_DATA and are skipped by name without it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
if [ ! -x "$python" ]; then
  python3 -m venv .venv
fi
stamp=.venv/.installed-dev
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ deploy/constraints.txt -nt "$stamp" ]; then
  # torch first and by its tested version: what pip finds for a range may be a build for another device
  "$python" -m pip install -q --disable-pip-version-check "$(grep '^torch==' deploy/constraints.txt)"
  "$python" -m pip install -q --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
  touch "$stamp"
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v Orthanc && command -v storescu; } >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends orthanc orthanc-dicomweb dcmtk >/dev/null ||
    echo "Orthanc and DCMTK could not be installed: their tests will be skipped." >&2
fi

echo "== ruff";          "$python" -m ruff check cmdiff_dicom tests conformance
echo "== mypy";          "$python" -m mypy
echo "== import-linter"; .venv/bin/lint-imports --no-cache | tail -n 4
echo "== pytest"
export TCP_NODELAY=1     # DCMTK waits for delayed acknowledgements without it
exec "$python" -m pytest -rs "$@"

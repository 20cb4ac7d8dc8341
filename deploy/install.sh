#!/usr/bin/env bash
# deploy/install.sh EXTRAS [PIP OPTIONS...]: the virtual environment .venv of this checkout with the tested versions.
# EXTRAS are those of pyproject.toml, with commas: infer,embedded for one machine; postgres for a host that segments nothing.
# Does nothing where EXTRAS stand there already, as pyproject.toml and constraints.txt are now.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1?EXTRAS are wanted, infer,embedded perhaps}
shift

if ! command -v python3 >/dev/null || ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Python 3.11 or newer with venv is needed (Debian and Ubuntu: apt install python3-venv)." >&2
  exit 1
fi
[ -x .venv/bin/python ] || python3 -m venv .venv
stamp=".venv/.installed-$extras"
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ deploy/constraints.txt -nt "$stamp" ]; then
  echo "Installing into .venv (once; a few minutes) ..."
  pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check "$@")
  case ",$extras," in *,infer,* | *,train,* | *,dev,*) # torch alone first: pip's options choose its build, nothing replaces it later
    "${pip[@]}" "$(grep '^torch==' deploy/constraints.txt)" ;;
  esac
  "${pip[@]}" --constraint deploy/constraints.txt --editable ".[$extras]"
  touch "$stamp"
fi

#!/usr/bin/env bash
# Makes .venv where it is missing and installs what requirements.lock names. Sourced by demo.sh and test.sh.
# PYTHON=/path/to/python chooses the interpreter (3.10 to 3.13).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && echo "$PYTHON" && return
    echo "PYTHON=$PYTHON is not a Python 3.10 to 3.13 with venv" >&2
    return 1
  fi
  for candidate in python3.11 python3.12 python3.13 python3.10 python3 python; do
    usable "$candidate" && echo "$candidate" && return
  done
  for candidate in "$HOME"/.pyenv/versions/3.1[0123].*/bin/python; do
    usable "$candidate" && echo "$candidate" && return
  done
  echo "Python 3.10 to 3.13 with the venv module is needed and was not found; set PYTHON=/path/to/python" >&2
  return 1
}

if [ ! -x .venv/bin/python ]; then
  python="$(find_python)"
  echo "making .venv with $("$python" --version)" >&2
  "$python" -m venv .venv
fi
stamp="$(cat requirements.lock pyproject.toml capture_tools/fetch_models.py | .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
if [ "$(cat .venv/installed.sha256 2>/dev/null || true)" != "$stamp" ]; then
  echo "installing from requirements.lock (some minutes the first time)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  .venv/bin/python -m capture_tools.fetch_models
  echo "$stamp" > .venv/installed.sha256
fi

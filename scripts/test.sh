#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest, for example: scripts/test.sh -m "not slow"
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
.venv/bin/ruff check .
.venv/bin/basedpyright
# files side by side, as many as there are cores, up to four; `-n 0` gives one process, for a debugger
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"

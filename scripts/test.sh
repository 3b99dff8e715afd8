#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest, for example: scripts/test.sh -m "not slow"
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
.venv/bin/ruff check .
.venv/bin/basedpyright
exec .venv/bin/python -m pytest "$@"

#!/usr/bin/env bash
# The whole path on a synthetic clip: runs/demo/index.html shows the results. Options go to `avatar demo`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
exec .venv/bin/avatar demo --out runs/demo "$@"

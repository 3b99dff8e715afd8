#!/usr/bin/env bash
# Everything that needs a GPU, in one call of a few minutes: its tests, the kernels, and training with the preset fast.
#   bash scripts/benchmark_gpu.sh OUT [CAPTURE]
# OUT gets kernels_gpu.json, training_gpu.json and the logs. CAPTURE is a capture folder; without one an invented clip of
# 512 x 512 pixels is made first (about a minute). PYTHON chooses the interpreter, which needs avatar's packages.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:?usage: bash scripts/benchmark_gpu.sh OUT [CAPTURE]}
capture=${2:-$out/clip/truth}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
"$python" -c 'import torch; assert torch.cuda.is_available(), "no CUDA GPU"; print(torch.cuda.get_device_name())' || exit 1

failed=0
run() { # name, command...
    local name=$1 began=$SECONDS
    shift
    if "$@" >"$out/$name.log" 2>&1; then result=done; else result="FAILED, see $out/$name.log" failed=1; fi
    echo "$name: $((SECONDS - began)) s, $result"
}
[ -d "$capture" ] || run clip "$python" scripts/make_synthetic_clip.py --size 512 --frames 150 --out "$out/clip"
run tests "$python" -m pytest -q -m gpu tests/twins tests/unit/kernels tests/unit/training
run kernels "$python" scripts/benchmark_kernels.py --device cuda --json "$out/kernels_gpu.json"
run training "$python" scripts/benchmark_training.py --capture "$capture" --preset fast --seconds 60 \
    --targets 27 28 30 32 --image-size 512 --json "$out/training_gpu.json"
tail -n 14 "$out/training.log"
exit $failed

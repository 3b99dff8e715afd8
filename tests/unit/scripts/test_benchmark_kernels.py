"""The kernels' benchmark: it runs, its rows say what they must, and its timing is fair."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
ROW = {"kernel", "backend", "device", "dtype", "direction", "points", "ms_median", "ms_min", "points_per_s", "rounds"}


@pytest.fixture
def timing(script):
    return script("benchmark_timing")


def test_a_quick_run_writes_every_kernel(tmp_path):
    target = tmp_path / "kernels.json"
    command = [
        sys.executable,
        str(SCRIPTS / "benchmark_kernels.py"),
        "--quick",
        "--device",
        "cpu",
        "--json",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    assert {"date", "commit", "machine", "threads", "torch", "warp", "quick"} <= set(result)
    assert result["quick"] is True
    rows = result["rows"]
    assert all(set(row) >= ROW for row in rows)
    assert all(0 < row["ms_min"] <= row["ms_median"] and row["points_per_s"] > 0 for row in rows)
    kernels = {row["kernel"].split()[0] for row in rows}
    assert kernels == {
        "hash_encode", "bank", "mlp", "ray_march", "volume_rendering", "silhouette", "closest_points", "displacement"
    }  # fmt: skip
    encode = [row for row in rows if row["kernel"].startswith("hash_encode")]
    assert {row["direction"] for row in encode} == {"forward", "backward", "forward+backward"}
    assert {row["backend"] for row in encode} == {"warp", "torch"}
    assert {row["dtype"] for row in encode} == {"float32", "float16"}
    assert all((row["backend"] == "warp") == ("times_warp_median" not in row) for row in encode)
    assert all(entry["reason"] for entry in result["skipped"])
    assert "hash_encode" in done.stdout
    assert f"wrote {target}" in done.stdout


def test_backends_take_turns_and_ratios_are_of_one_task(timing):
    order = []

    def prepare(name, work):
        def run():
            order.append(name)
            sum(range(work))

        return lambda: run

    runs = {"warp": prepare("warp", 1000), "torch": prepare("torch", 200_000)}
    contest = timing.Contest("sum", "int", "forward", 10, torch.device("cpu"), runs)
    rows, skipped = timing.time_contest(contest, 0.0, 4)
    assert order[:4] == ["warp", "warp", "torch", "torch"]  # before the timing
    assert order[4:] == ["warp", "torch", "torch", "warp"] * 2
    assert [row["rounds"] for row in rows] == [4, 4]
    assert skipped == []
    assert "times_warp_median" not in rows[0]
    assert rows[1]["times_warp_median"] == pytest.approx(rows[1]["ms_median"] / rows[0]["ms_median"], rel=0.1)
    assert rows[1]["times_warp_median"] > 5


def test_a_backend_without_memory_is_skipped_with_the_reason(timing):
    def fail():
        raise torch.OutOfMemoryError("no room\nmore")

    runs = {"warp": lambda: lambda: None, "torch": lambda: fail}
    contest = timing.Contest("sum", "int", "forward", 10, torch.device("cpu"), runs)
    rows, skipped = timing.time_contest(contest, 0.0, 2)
    assert [row["backend"] for row in rows] == ["warp"]
    assert [(entry.backend, entry.reason) for entry in skipped] == [("torch", "out of memory: no room")]


def test_what_is_compiled_is_the_twin(timing):
    from benchmark_hash import vectorised_twin

    from avatar.kernels.hash_grid.op import hash_encode
    from avatar.kernels.hash_grid.types import HashGridSpec

    spec = HashGridSpec(levels=5, log2_entries=9, features=2, base_resolution=4, finest_resolution=61)
    generator = torch.Generator().manual_seed(0)
    positions = (torch.rand(300, 3, generator=generator) * 1.2 - 0.1).requires_grad_()
    table = torch.randn(spec.table_size, 2, generator=generator, requires_grad=True)
    results = []
    for function in (vectorised_twin(spec, torch.device("cpu")), lambda p, t: hash_encode(p, t, spec, backend="torch")):
        output = function(positions, table)
        results.append([output, *torch.autograd.grad(output.square().sum(), (positions, table))])
    for ours, twin in zip(*results, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-5, atol=1e-4)

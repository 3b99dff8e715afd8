"""Time every kernel against its PyTorch twin, torch.compile of the twin, and the packages that are installed.

python scripts/benchmark_kernels.py --json docs/benchmarks/kernels_cpu.json

Runs on the CPU, and on CUDA too where there is one. The backends of a task take turns, so that their ratios come from
one run on one machine. Times are milliseconds of wall clock; a quiet machine is up to you.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program runs; must be set before torch is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # likewise, before NumPy

import tyro


@dataclass(frozen=True)
class Settings:
    """What to time, and where the figures go."""

    json: Path | None = None
    """File for all rows, ratios and what was skipped; without it they are only printed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the CPU, and CUDA where there is one."""
    seconds: float = 2.0
    """Time for the rounds of one task on a CPU, half of it on CUDA; every backend has at least five rounds."""
    kernels: tuple[str, ...] = ()
    """Only tasks whose name begins with one of these, such as hash_encode or mlp."""
    compile: bool = True
    """Time torch.compile of the hash grid's twin too (about half a minute of compiling for each of its types)."""
    quick: bool = False
    """Tiny inputs, two rounds, no compiling: to see that everything runs. The figures mean nothing."""


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    import torch

    from avatar.base.files import write_json

    if settings.device == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device was found", file=sys.stderr)
        return 1
    names = (
        ["cpu", *(["cuda"] if torch.cuda.is_available() else [])] if settings.device == "auto" else [settings.device]
    )
    rows, skipped = [], []
    for name in names:
        found, left_out = measure(settings, torch.device(name))
        rows, skipped = rows + found, skipped + left_out
    from benchmark_timing import table

    print(table(rows))
    for entry in skipped:
        print(f"skipped on {entry.device}: {entry.kernel}, {entry.backend}: {entry.reason}")
    if settings.json is not None:
        result = {**environment(settings), "rows": rows}
        result["skipped"] = [asdict(entry) for entry in skipped]
        write_json(settings.json, result)
        print(f"wrote {settings.json}")
    return 0


def measure(settings: Settings, device: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Rows of all chosen tasks on a device, and what was skipped."""
    from benchmark_cases import Bench, all_contests
    from benchmark_timing import time_contest

    bench = Bench(device, settings.quick)
    seconds = 0.0 if settings.quick else settings.seconds / (2 if device.type == "cuda" else 1)
    rows, skipped = [], bench.skipped
    for contest in all_contests(bench, compiled=settings.compile and not settings.quick, names=settings.kernels):
        print(f"{device}: {contest.kernel} {contest.dtype} {contest.direction}", file=sys.stderr)
        found, left_out = time_contest(contest, seconds, 2 if settings.quick else 5)
        rows += found
        skipped += left_out
    return rows, skipped


def environment(settings: Settings) -> dict[str, Any]:
    """What the figures depend on: commit, date, machine, versions, threads."""
    import datetime
    import platform
    import subprocess

    import torch
    import warp

    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", str(root)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False
    ).stdout
    machine = {"system": f"{platform.system()} {platform.machine()}", "cpu": _cpu_name(), "cpus": os.cpu_count()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit or None,
        "uncommitted_changes": bool(changed.strip()),
        "quick": settings.quick,
        "machine": machine,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "warp": warp.__version__,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.exit(main())

"""Timing several implementations of one task side by side: a part of `benchmark_kernels.py`."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Prepare = Callable[[], Callable[[], Any]]
"""Makes ready what is not timed, and returns what is."""
Differentiable = Callable[..., Tensor]


@dataclass
class Contest:
    """One task, and who does it."""

    kernel: str
    dtype: str
    direction: str
    """forward, backward, or forward+backward."""
    points: int
    """Points, samples, rays, pixels or nodes that the task works on."""
    device: torch.device
    runs: dict[str, Prepare] = field(default_factory=dict)
    """By backend; what follows a space tells two of one backend apart."""
    compile_seconds: dict[str, float] = field(default_factory=dict)
    """Of backends that had to be compiled for this task: how long that took, not part of the timings."""
    dtypes: dict[str, str] = field(default_factory=dict)
    """Of backends that compute in another type than the task's."""


@dataclass
class Skipped:
    """What was not measured, and why."""

    kernel: str
    backend: str
    device: str
    reason: str


@dataclass
class Bench:
    """Where the tasks run, how large they are, and what was left out."""

    device: torch.device
    quick: bool
    skipped: list[Skipped] = field(default_factory=list)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator()).to(self.device)

    def skip(self, kernel: str, backend: str, reason: str) -> None:
        self.skipped.append(Skipped(kernel, backend, self.device.type, reason))

    def size(self, full: int) -> int:
        return min(full, 1500) if self.quick else full


def directions(
    contest: Contest, functions: dict[str, Differentiable], inputs: dict[str, list[Tensor]], only: tuple[str, ...] = ()
) -> Iterator[Contest]:
    """The task forward, backward and both together. inputs: of each backend, its function's tensors in order; the
    gradient is taken to those that require one."""

    def forward(name: str) -> Prepare:
        def run() -> None:
            with torch.no_grad():
                functions[name](*inputs[name])

        return lambda: run

    def graph(name: str) -> tuple[Tensor, list[Tensor], Tensor]:
        output = functions[name](*inputs[name])
        return output, [tensor for tensor in inputs[name] if tensor.requires_grad], torch.ones_like(output)

    def backward(name: str) -> Prepare:
        def prepare() -> Callable[[], object]:
            output, leaves, ones = graph(name)
            return lambda: torch.autograd.grad(output, leaves, ones, retain_graph=True)

        return prepare

    def both(name: str) -> Prepare:
        def run() -> None:
            output, leaves, ones = graph(name)
            torch.autograd.grad(output, leaves, ones)

        return lambda: run

    for direction, make in {"forward": forward, "backward": backward, "forward+backward": both}.items():
        if not only or direction in only:
            yield dataclasses.replace(contest, direction=direction, runs={name: make(name) for name in functions})


def time_contest(contest: Contest, seconds: float, smallest_rounds: int) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Rows of the backends of one task, timed in turn (A B C, B C A, ...) so that all meet the same machine.

    Every round runs each backend once on a CPU and ten times in a row on CUDA, between two events. Rounds go on until
    `seconds` are spent and `smallest_rounds` are done. A backend that runs out of memory is skipped with that reason.
    """
    alive, skipped = {}, []
    for backend, prepare in contest.runs.items():
        try:
            for _ in range(2):
                prepare()()
            alive[backend] = prepare
        except torch.OutOfMemoryError as error:
            skipped.append(_skip(contest, backend, f"out of memory: {str(error).splitlines()[0]}"))
    times: dict[str, list[float]] = {backend: [] for backend in alive}
    begin, rounds = time.perf_counter(), 0
    while alive and (rounds < smallest_rounds or time.perf_counter() - begin < seconds):
        names = list(alive)
        turn = rounds % len(names)
        for backend in names[turn:] + names[:turn]:
            times[backend].append(_time_once(alive[backend](), contest.device))
        rounds += 1
    return [_row(contest, backend, times) for backend in times], skipped


def _skip(contest: Contest, backend: str, reason: str) -> Skipped:
    return Skipped(contest.kernel, backend, contest.device.type, reason)


def _time_once(run: Callable[[], Any], device: torch.device) -> float:
    """Milliseconds of one run."""
    if device.type != "cuda":
        begin = time.perf_counter()
        run()
        return (time.perf_counter() - begin) * 1e3
    repeats = 10
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(repeats):
        run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / repeats


def _row(contest: Contest, backend: str, times: dict[str, list[float]]) -> dict[str, Any]:
    own = times[backend]
    row = {
        "kernel": contest.kernel,
        "backend": backend.split(" ")[0],
        "device": contest.device.type,
        "dtype": contest.dtypes.get(backend, contest.dtype),
        "direction": contest.direction,
        "points": contest.points,
        "ms_median": round(statistics.median(own), 4),
        "ms_min": round(min(own), 4),
        "points_per_s": round(contest.points / statistics.median(own) * 1e3),
        "rounds": len(own),
    }
    if backend in contest.compile_seconds:
        row["compile_s"] = round(contest.compile_seconds[backend], 1)
    if backend != "warp" and "warp" in times:
        row["times_warp_median"] = round(statistics.median(own) / statistics.median(times["warp"]), 2)
        row["times_warp_min"] = round(min(own) / min(times["warp"]), 2)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for a person to read; the last column is the time over that of `warp` in the same task, by medians."""
    lines = [
        f"{'kernel':<32}{'backend':<15}{'dtype':<10}{'points':>9}  {'direction':<18}{'median ms':>10}{'min ms':>10}"
    ]
    task = None
    for row in rows:
        key = [row[name] for name in ("kernel", "device", "direction", "points")]
        if key != task:
            lines.append("")
        task = key
        ratio = row.get("times_warp_median")
        lines.append(
            f"{row['kernel']:<32}{row['backend']:<15}{row['dtype']:<10}{row['points']:>9}  {row['direction']:<18}"
            f"{row['ms_median']:>10.2f}{row['ms_min']:>10.2f}" + (f"{ratio:>8.1f}x" if ratio is not None else "")
        )
    return "\n".join(lines)

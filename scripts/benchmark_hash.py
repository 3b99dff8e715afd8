"""Hash grids and the bank of mixed tables: a part of `benchmark_kernels.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from benchmark_timing import Bench, Contest, Differentiable, directions
from torch import Tensor

from avatar.base.optional import is_installed
from avatar.kernels.blended_grid.op import blended_encode
from avatar.kernels.hash_grid.op import hash_encode
from avatar.kernels.hash_grid.types import PRIMES, HashGridSpec

VARIANTS = ((2, torch.float32), (4, torch.float32), (2, torch.float16))
"""Features of an entry, and the table's type."""


def hash_contests(bench: Bench, compiled: bool) -> Iterator[Contest]:
    """Uniform random points: the hardest case, for samples on rays share their cells."""
    cases = [(65_536, HashGridSpec(12, 16, features, 16, 512), dtype) for features, dtype in VARIANTS]
    if bench.device.type == "cuda":
        cases.append((1 << 20, HashGridSpec(16, 19, 2, 16, 2048), torch.float16))
    for points, spec, dtype in cases:
        if bench.quick:
            spec = HashGridSpec(3, 9, spec.features, 4, 32)
        name = f"hash_encode {spec.levels}x2^{spec.log2_entries} F{spec.features}"
        positions = bench.rand(bench.size(points), 3).requires_grad_()
        table = ((bench.rand(spec.table_size, spec.features) - 0.5) * 2e-4).to(dtype).requires_grad_()
        contest = Contest(name, str(dtype).removeprefix("torch."), "", len(positions), bench.device)
        functions: dict[str, Differentiable] = {
            backend: (lambda p, t, b=backend, s=spec: hash_encode(p, t, s, backend=b)) for backend in ("warp", "torch")
        }
        inputs = {backend: [positions, table] for backend in ("warp", "torch")}
        if compiled:
            twin, seconds = _compile(bench, name, vectorised_twin(spec, bench.device), [positions, table])
            if twin is not None:
                functions["torch.compile"], inputs["torch.compile"] = twin, inputs["torch"]
                contest.compile_seconds["torch.compile"] = seconds
        if dtype == torch.float16:
            grid = _tcnn_grid(bench, name, spec)
            if grid is not None:
                functions["tcnn"] = lambda p, _, module=grid: module(p)
                inputs["tcnn"] = [positions, *grid.parameters()]
        yield from directions(contest, functions, inputs)


def vectorised_twin(spec: HashGridSpec, device: torch.device) -> Differentiable:
    """The twin's arithmetic with the levels as one axis of its tensors, for torch.compile.

    `reference.hash_encode` as it stands, a loop over levels, compiles to code an order of magnitude slower than this
    (and slower than without compiling); the comparison is with the best that torch.compile was seen to do.
    """
    resolution = torch.tensor(spec.level_resolutions, device=device)
    size, offset = torch.tensor(spec.level_sizes, device=device), torch.tensor(spec.level_offsets[:-1], device=device)
    hashed = torch.tensor(spec.level_hashed, device=device)

    def encode(positions: Tensor, table: Tensor) -> Tensor:
        inside = positions.clamp(0, 1)
        scaled = [inside[:, axis : axis + 1] * resolution for axis in range(3)]
        cell = [torch.minimum(value.detach().floor(), resolution - 1) for value in scaled]
        part = [value - lower for value, lower in zip(scaled, cell, strict=True)]
        total: Tensor | float = 0.0
        for number in range(8):
            bits = [number >> axis & 1 for axis in range(3)]
            x, y, z = (lower.long() + bit for lower, bit in zip(cell, bits, strict=True))
            mixed = (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & (size - 1)
            dense = x + (resolution + 1) * (y + (resolution + 1) * z)
            weight: Tensor | float = 1.0
            for bit, share in zip(bits, part, strict=True):
                weight = weight * (share if bit else 1 - share)
            total = total + weight.unsqueeze(-1) * table[offset + torch.where(hashed, mixed, dense)].float()
        return total.flatten(1)

    return encode


def _compile(
    bench: Bench, kernel: str, function: Differentiable, inputs: list[Tensor]
) -> tuple[Differentiable | None, float]:
    """torch.compile of the twin, and the seconds its first forward and backward took."""
    import torch._dynamo
    import torch._functorch.config
    import torch._inductor.config

    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True  # a cached build would hide what compiling costs
    torch._functorch.config.donated_buffer = False  # the backward pass alone runs several times on one graph
    wrapped = torch.compile(function, dynamic=False)
    begin = time.perf_counter()
    try:
        output = wrapped(*inputs)
        torch.autograd.grad(output, inputs, torch.ones_like(output))
    except Exception as error:  # whatever the compiler of this machine says
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        bench.skip(kernel, "torch.compile", f"torch.compile failed (it needs a C++ compiler): {reason}")
        return None, 0.0
    return wrapped, time.perf_counter() - begin


def _tcnn_grid(bench: Bench, kernel: str, spec: HashGridSpec) -> torch.nn.Module | None:
    if bench.device.type != "cuda" or not is_installed("tinycudann"):
        bench.skip(kernel, "tcnn", "tinycudann is not installed" if bench.device.type == "cuda" else "CUDA only")
        return None
    from avatar.field.tcnn import TcnnGrid

    return TcnnGrid(spec).to(bench.device)


def bank_contests(bench: Bench) -> Iterator[Contest]:
    """Eight tables mixed for eight frames by their coefficients, then looked up at each point's frame.

    `warp` mixes where it looks up; `warp-blended` writes the frames' tables first (CUDA's way).
    """
    count, frames, tables = bench.size(65_536), 8, 8
    spec = HashGridSpec(3, 9, 2, 4, 32) if bench.quick else HashGridSpec(8, 14, 2, 16, 256)
    positions = bench.rand(count, 3).requires_grad_()
    bank = ((bench.rand(spec.table_size, 2, tables) - 0.5) * 2e-2).requires_grad_()
    coefficients = (bench.rand(frames, tables) - 0.5).requires_grad_()
    frame = (torch.arange(count, device=bench.device) * frames // count).int()

    def blend(p: Tensor, b: Tensor, c: Tensor) -> Tensor:
        mixed = (b.flatten(0, 1) @ c.T).T.reshape(frames, *b.shape[:2])
        return hash_encode(p, mixed.contiguous(), spec, table_index=frame)

    functions: dict[str, Differentiable] = {"warp": lambda p, b, c: blended_encode(p, b, c, frame, spec)}
    if bench.device.type == "cpu":
        functions["warp-blended"] = blend
    functions["torch"] = lambda p, b, c: blended_encode(p, b, c, frame, spec, backend="torch")
    contest = Contest(f"bank {tables}x{spec.levels}x2^{spec.log2_entries}", "float32", "", count, bench.device)
    yield from directions(contest, functions, {name: [positions, bank, coefficients] for name in functions})

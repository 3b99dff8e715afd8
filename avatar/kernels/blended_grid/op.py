"""A bank of K small hash grids, mixed for every frame by K coefficients: sum_k c_k E_k(x).

On a CPU the mixture is taken where it is looked up (`mixed_grid_cpu`): the frames' tables, K times cheaper to describe
than to write, never exist. On CUDA one matrix product makes them, and the hash grid's kernels look them up.
The twin is `reference.mixed_encode`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels import reference
from avatar.kernels.hash_grid.op import HashGridSpec, hash_encode
from avatar.kernels.runtime.checks import FLOAT32, INTEGERS, check_finite, check_range, check_tensor
from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, run_parallel, view, worker_count

SMALLEST_CHUNK = 2048
"""Points that are worth a thread of their own on a CPU."""


def mixed_encode(
    positions: Tensor,
    bank: Tensor,
    coefficients: Tensor,
    frame: Tensor,
    spec: HashGridSpec,
    *,
    backend: str = "auto",
) -> Tensor:
    """Encode points by their frames' mixtures: `[N, L * F]` float32; zero for points without a frame.

    positions: `[N, 3]` float32 in [0, 1] (clamped to it). bank: `[T, F, K]` float32, the tables' entries side by side.
    coefficients: `[B, K]` float32. frame: `[N]` int32 or int64, -1 for none. backend: "torch" for the twin.
    Differentiable once in positions, bank and coefficients. Raises InputError for shapes, types or devices that do not
    fit, and on a CPU for positions that are not finite and frames out of range (on CUDA those are clamped).
    """
    device, count = positions.device, len(positions)
    check_tensor("positions", positions, ("N", 3), FLOAT32, device)
    check_tensor("the bank", bank, (spec.table_size, spec.features, "K"), FLOAT32, device)
    check_tensor("coefficients", coefficients, ("B", bank.shape[2]), FLOAT32, device)
    check_tensor("frames of points", frame, (count,), INTEGERS, device)
    if device.type == "cpu" and count:
        check_finite(positions=positions)
        check_range("the frame of a point", frame + 1, len(coefficients) + 1)
    if backend == "torch":
        return reference.mixed_encode(positions, bank, coefficients, frame, spec)
    if device.type == "cpu":
        return _MixedEncode.apply(positions, bank, coefficients, frame.to(torch.int32).contiguous(), spec)
    mixed = (bank.flatten(0, 1) @ coefficients.T).T.view(len(coefficients), *bank.shape[:2])
    features = hash_encode(positions, mixed.contiguous(), spec, table_index=frame.clamp_min(0), backend=backend)
    return features * (frame >= 0).unsqueeze(1)


class _MixedEncode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, bank: Tensor, coefficients: Tensor, frame: Tensor, spec: HashGridSpec
    ) -> Tensor:
        from avatar.kernels.blended_grid.cpu import make_cpu_kernels

        kept = [part.detach().contiguous() for part in (positions, bank, coefficients)]
        count = len(positions)
        output = torch.empty(count, spec.output_size)
        inputs = [*_inputs(spec, *kept, frame), view(output.view(-1))]
        kernel = make_cpu_kernels(spec.features, bank.shape[2]).encode

        def launch(_: int, first: int, last: int) -> None:
            launch_on_cpu(kernel, 1, [*inputs, first, last])

        launch_shares(launch, count, worker_count(count, SMALLEST_CHUNK))
        ctx.save_for_backward(*kept, frame)
        ctx.spec = spec
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        """Whole levels to the threads: levels own disjoint parts of the bank, so no two threads write one entry."""
        from avatar.kernels.blended_grid.cpu import make_cpu_kernels

        positions, bank, coefficients, frame = ctx.saved_tensors
        spec, incoming = ctx.spec, incoming.contiguous()
        workers = worker_count(len(positions), SMALLEST_CHUNK, most=spec.levels)
        grad_bank = torch.zeros_like(bank)
        grad_coefficients = torch.zeros(workers, len(coefficients), *bank.shape[1:])
        grad_positions = torch.zeros(workers, *positions.shape)
        inputs = [*_inputs(spec, positions, bank, coefficients, frame), view(incoming.view(-1))]
        inputs.append(view(grad_bank.view(-1)))
        kernel = make_cpu_kernels(spec.features, bank.shape[2]).gradient

        def job(worker: int) -> Callable[[], None]:
            own = [view(grad_coefficients[worker].view(-1)), view(grad_positions[worker].view(-1))]
            return lambda: launch_on_cpu(kernel, 1, [*inputs, *own, worker, workers])

        if len(positions):
            run_parallel([job(worker) for worker in range(workers)])
        # summed in one order, so that the result repeats exactly
        return grad_positions.sum(0), grad_bank, grad_coefficients.sum((0, 2)), None, None


def _inputs(spec: HashGridSpec, positions: Tensor, bank: Tensor, coefficients: Tensor, frame: Tensor) -> list[Any]:
    from avatar.kernels.hash_grid.autograd import level_rows

    arrays = (positions, bank.view(-1), coefficients.view(-1), frame)
    return [level_rows(spec), spec.levels, *(view(array) for array in arrays)]

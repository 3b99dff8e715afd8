"""The autograd function of blended hash grids on the native kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, run_parallel, view, worker_count

SMALLEST_CHUNK = 2048
"""Fewest points for which another CPU thread pays."""


class BlendedEncode(torch.autograd.Function):
    """Forward and backward of `blended_encode` on a CPU."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, tables: Tensor, coefficients: Tensor, frame: Tensor, spec: HashGridSpec
    ) -> Tensor:
        from avatar.kernels.blended_grid.cpu import make_cpu_kernels

        positions, tables, coefficients = (part.detach().contiguous() for part in (positions, tables, coefficients))
        count = len(positions)
        output = torch.empty(count, spec.output_size)
        inputs = [*_inputs(spec, positions, tables, coefficients, frame), view(output.view(-1))]
        kernel = make_cpu_kernels(spec.features, tables.shape[2]).encode

        def launch(_: int, first: int, last: int) -> None:
            launch_on_cpu(kernel, 1, [*inputs, first, last])

        launch_shares(launch, count, worker_count(count, SMALLEST_CHUNK))
        ctx.save_for_backward(positions, tables, coefficients, frame)
        ctx.spec = spec
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        """Split whole levels between the threads: levels own disjoint entries, so no two threads write to one."""
        from avatar.kernels.blended_grid.cpu import make_cpu_kernels

        positions, tables, coefficients, frame = ctx.saved_tensors
        spec, incoming = ctx.spec, incoming.contiguous()
        workers = worker_count(len(positions), SMALLEST_CHUNK, most=spec.levels)
        grad_tables = torch.zeros_like(tables)
        grad_coefficients = torch.zeros(workers, len(coefficients), *tables.shape[1:])
        grad_positions = torch.zeros(workers, *positions.shape)
        inputs = [*_inputs(spec, positions, tables, coefficients, frame), view(incoming.view(-1))]
        inputs.append(view(grad_tables.view(-1)))
        kernel = make_cpu_kernels(spec.features, tables.shape[2]).gradient

        def job(worker: int) -> Callable[[], None]:
            own = [view(grad_coefficients[worker].view(-1)), view(grad_positions[worker].view(-1))]
            return lambda: launch_on_cpu(kernel, 1, [*inputs, *own, worker, workers])

        if len(positions):
            run_parallel([job(worker) for worker in range(workers)])
        # a fixed order of summation makes the result reproducible
        return grad_positions.sum(0), grad_tables, grad_coefficients.sum((0, 2)), None, None


def _inputs(spec: HashGridSpec, positions: Tensor, tables: Tensor, coefficients: Tensor, frame: Tensor) -> list[Any]:
    from avatar.kernels.hash_grid.autograd import level_rows

    arrays = (positions, tables.view(-1), coefficients.view(-1), frame)
    return [level_rows(spec), spec.levels, *(view(array) for array in arrays)]

"""The autograd function of `hash_grid` on Warp's kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.hash_grid import HashGridSpec
from avatar.kernels.hash_grid_kernels import Level, make_kernels
from avatar.kernels.warp_runtime import get_warp, launch_chunks, load_for_cpu, run_parallel, thread_count, view

SMALLEST_CHUNK = 2048
"""Points of one level that are worth a launch of their own on a CPU."""


class HashEncode(torch.autograd.Function):
    """Forward and backward of the encoding; see `hash_grid.hash_encode` for the arguments."""

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        table: Tensor,
        spec: HashGridSpec,
        table_index: Tensor | None,
        level_weights: list[float] | None,
    ) -> Tensor:
        device = positions.device
        kept = positions.detach().float().contiguous()
        entries = table.detach().contiguous()
        index = None if table_index is None else table_index.contiguous()
        weights = torch.tensor(level_weights or [1.0] * spec.levels, dtype=torch.float32, device=device)
        output = torch.empty(len(kept), spec.output_size, dtype=torch.float32, device=device)
        ctx.save_for_backward(kept, entries, index, weights)
        ctx.spec, ctx.position_dtype = spec, positions.dtype
        if len(kept):
            launch_chunks(
                make_kernels(spec.features, _scalar(table.dtype)).encode,
                spec.levels * len(kept),
                [*_inputs(spec, kept, entries, index, weights), _features(output, spec)],
                device,
                smallest=SMALLEST_CHUNK,
            )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        positions, table, index, weights = ctx.saved_tensors
        spec, device = ctx.spec, positions.device
        want_positions, want_table = ctx.needs_input_grad[:2]
        incoming = grad_output.detach().float().contiguous()
        grad_table = torch.zeros(table.shape, dtype=torch.float32, device=device) if want_table else None
        if len(positions) == 0 or not (want_table or want_positions):
            grad_positions = torch.zeros_like(positions, dtype=ctx.position_dtype) if want_positions else None
            return grad_positions, None if grad_table is None else grad_table.to(table.dtype), None, None, None
        kernel = make_kernels(spec.features, _scalar(table.dtype)).gradient
        arguments = [*_inputs(spec, positions, table, index, weights), _features(incoming, spec)]
        arguments.append(None if grad_table is None else _entries(grad_table))
        if device.type == "cuda":
            partial = torch.zeros(1, *positions.shape, device=device) if want_positions else None
            pointers = [*arguments, None if partial is None else view(partial[0], get_warp().vec3)]
            launch_chunks(kernel, spec.levels * len(positions), pointers, device)
        else:
            partial = _backward_on_cpu(kernel, arguments, spec, positions, want_positions)
        grad_positions = None if partial is None else partial.sum(0).to(ctx.position_dtype)
        return grad_positions, None if grad_table is None else grad_table.to(table.dtype), None, None, None


def _backward_on_cpu(
    kernel: Any, arguments: list[Any], spec: HashGridSpec, positions: Tensor, want_positions: bool
) -> Tensor | None:
    """Give whole levels to the threads, since levels own disjoint parts of the table: no atomics, no races.

    Position gradients `[threads, N, 3]` are summed by the caller, in one order: the result repeats exactly.
    """
    warp = get_warp()
    load_for_cpu(kernel)
    cpu = warp.get_device("cpu")
    count = len(positions)
    workers = max(1, min(thread_count(), spec.levels if count >= SMALLEST_CHUNK else 1))
    partial = torch.zeros(workers, count, 3) if want_positions else None

    def job(worker: int) -> Callable[[], None]:
        slot = None if partial is None else view(partial[worker], warp.vec3)

        def work() -> None:
            for level in range(worker, spec.levels, workers):
                inputs = [level * count, *arguments, slot]
                warp.launch(kernel, dim=count, inputs=inputs, device=cpu, record_tape=False)

        return work

    run_parallel([job(worker) for worker in range(workers)])
    return partial


def _inputs(spec: HashGridSpec, positions: Tensor, table: Tensor, index: Tensor | None, weights: Tensor) -> list[Any]:
    return [
        _levels(spec, str(positions.device)),
        view(weights),
        view(positions, get_warp().vec3),
        _entries(table),
        None if index is None else view(index),
    ]


@cache
def _levels(spec: HashGridSpec, device: str) -> Any:
    """The levels as a Warp array of structs."""
    rows = list(zip(spec.level_resolutions, spec.level_offsets, spec.level_sizes, spec.level_hashed, strict=False))
    return get_warp().array(
        np.array(rows, dtype=np.int32).view(Level.numpy_dtype()).reshape(-1), dtype=Level, device=device
    )


def _scalar(dtype: torch.dtype) -> Any:
    return get_warp().dtype_from_torch(dtype)


@cache
def _vector(size: int, scalar: Any) -> Any:
    return get_warp().types.vector(size, scalar)


def _entries(table: Tensor) -> Any:
    return view(table, _vector(table.shape[-1], _scalar(table.dtype)))


def _features(values: Tensor, spec: HashGridSpec) -> Any:
    return view(values.view(-1, spec.levels, spec.features), _vector(spec.features, get_warp().float32))

"""The autograd function of the hash encoding: native kernels on a CPU, portable Warp kernels on CUDA."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.hash_grid.cpu import make_cpu_kernels
from avatar.kernels.hash_grid.portable import Level, make_kernels
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.runtime.launch import (
    get_warp,
    launch_chunks,
    launch_on_cpu,
    launch_shares,
    run_parallel,
    view,
    worker_count,
)

SMALLEST_CHUNK = 2048
"""Fewest points for which another CPU thread pays."""


class HashEncode(torch.autograd.Function):
    """Forward and backward of the encoding; arguments as `op.hash_encode`.

    portable: take the portable kernels on a CPU too (slower), for tests.
    """

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        table: Tensor,
        spec: HashGridSpec,
        table_index: Tensor | None,
        level_weights: list[float] | None,
        portable: bool = False,
    ) -> Tensor:
        native = positions.device.type == "cpu" and not portable
        kept = positions.detach().float().contiguous()
        entries = table.detach().float().contiguous() if native else _aligned(table.detach())
        index = None if table_index is None else table_index.contiguous()
        weights = torch.tensor(level_weights or [1.0] * spec.levels, dtype=torch.float32, device=positions.device)
        output = torch.empty(len(kept), spec.output_size, dtype=torch.float32, device=positions.device)
        ctx.save_for_backward(kept, entries, index, weights)
        ctx.spec, ctx.native, ctx.dtypes = spec, native, (positions.dtype, table.dtype)
        if len(kept) == 0:
            return output
        if native:
            _encode_natively(spec, kept, entries, index, weights, output)
        else:
            launch_chunks(
                make_kernels(spec.features, _scalar(entries.dtype)).encode,
                spec.levels * len(kept),
                [*_portable_inputs(spec, kept, entries, index, weights), _features(output, spec)],
                kept.device,
            )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        positions, table, index, weights = ctx.saved_tensors
        spec, (position_dtype, table_dtype) = ctx.spec, ctx.dtypes
        want_positions, want_table = ctx.needs_input_grad[:2]
        grad_table = torch.zeros(table.shape, dtype=torch.float32, device=table.device) if want_table else None
        partial = None
        if want_positions:
            # on a CPU one buffer per thread; their sum below has a fixed order, which makes the result reproducible
            shape = (_workers(spec, positions), len(positions), 3) if ctx.native else (1, len(positions), 4)
            partial = torch.zeros(shape, device=positions.device)
        if len(positions) and (want_table or want_positions):
            incoming = _aligned(grad_output.detach().float())
            run = _gradient_natively if ctx.native else _gradient_portably
            run(spec, positions, table, index, weights, incoming, grad_table, partial)
        grad_positions = None if partial is None else (partial[0] if len(partial) == 1 else partial.sum(0))[:, :3]
        return (
            None if grad_positions is None else grad_positions.to(position_dtype),
            None if grad_table is None else grad_table.to(table_dtype),
            *([None] * 4),
        )


def _encode_natively(
    spec: HashGridSpec, positions: Tensor, table: Tensor, index: Tensor | None, weights: Tensor, output: Tensor
) -> None:
    """Split the points between the threads."""
    kernel = make_cpu_kernels(spec.features).encode
    inputs = [*_native_inputs(spec, positions, table, index, weights), view(output.view(-1))]

    def launch(_: int, first: int, last: int) -> None:
        launch_on_cpu(kernel, 1, [*inputs, first, last])

    launch_shares(launch, len(positions), worker_count(len(positions), SMALLEST_CHUNK))


def _gradient_natively(
    spec: HashGridSpec,
    positions: Tensor,
    table: Tensor,
    index: Tensor | None,
    weights: Tensor,
    incoming: Tensor,
    grad_table: Tensor | None,
    partial: Tensor | None,
) -> None:
    """Split whole levels between the threads: levels own disjoint entries, so no two threads write to one."""
    kernel = make_cpu_kernels(spec.features).gradient
    inputs = [*_native_inputs(spec, positions, table, index, weights), view(incoming.view(-1))]
    inputs.append(None if grad_table is None else view(grad_table.view(-1)))
    workers = _workers(spec, positions)

    def job(worker: int) -> Callable[[], None]:
        slot = None if partial is None else view(partial[worker].view(-1))
        return lambda: launch_on_cpu(kernel, 1, [*inputs, slot, worker, workers])

    run_parallel([job(worker) for worker in range(workers)])


def _gradient_portably(
    spec: HashGridSpec,
    positions: Tensor,
    table: Tensor,
    index: Tensor | None,
    weights: Tensor,
    incoming: Tensor,
    grad_table: Tensor | None,
    partial: Tensor | None,
) -> None:
    kernel = make_kernels(spec.features, _scalar(table.dtype)).gradient
    inputs = [
        *_portable_inputs(spec, positions, table, index, weights),
        _features(incoming, spec),
        None if grad_table is None else _entries(grad_table),
        None if partial is None else view(partial, get_warp().vec4),
    ]
    count = spec.levels * len(positions)
    # one chunk: on a CPU the kernel's additions are not atomic between threads
    launch_chunks(kernel, count, inputs, positions.device, smallest=count)


def _workers(spec: HashGridSpec, positions: Tensor) -> int:
    return worker_count(len(positions), SMALLEST_CHUNK, most=spec.levels)


def _native_inputs(
    spec: HashGridSpec, positions: Tensor, table: Tensor, index: Tensor | None, weights: Tensor
) -> list[Any]:
    return [
        level_rows(spec),
        spec.levels,
        view(weights),
        view(positions),
        view(table.view(-1)),
        table.shape[1] * table.shape[2],
        None if index is None else view(index),
    ]


def _portable_inputs(
    spec: HashGridSpec, positions: Tensor, table: Tensor, index: Tensor | None, weights: Tensor
) -> list[Any]:
    return [
        _level_structs(spec, str(positions.device)),
        view(weights),
        view(positions, get_warp().vec3),
        _entries(table),
        None if index is None else view(index),
    ]


def _rows(spec: HashGridSpec) -> np.ndarray:
    """`[L, 4]` int32: resolution, offset, size and 1 for hashed levels."""
    columns = (spec.level_resolutions, spec.level_offsets[:-1], spec.level_sizes, spec.level_hashed)
    return np.array(columns, dtype=np.int32).T.copy()


@cache
def level_rows(spec: HashGridSpec) -> Any:
    """The levels of a grid as the native kernels take them: a Warp array of `[L, 4]` int32, flat."""
    return get_warp().array(_rows(spec).reshape(-1), dtype=get_warp().int32, device="cpu")


@cache
def _level_structs(spec: HashGridSpec, device: str) -> Any:
    structs = _rows(spec).view(Level.numpy_dtype()).reshape(-1)
    return get_warp().array(structs, dtype=Level, device=device)


def _aligned(tensor: Tensor) -> Tensor:
    """A contiguous tensor aligned to 16 bytes for vector loads; a slice of a larger tensor need not be."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _scalar(dtype: torch.dtype) -> Any:
    return get_warp().dtype_from_torch(dtype)


@cache
def _vector(size: int, scalar: Any) -> Any:
    return get_warp().types.vector(size, scalar)


def _entries(table: Tensor) -> Any:
    return view(table, _vector(table.shape[-1], _scalar(table.dtype)))


def _features(values: Tensor, spec: HashGridSpec) -> Any:
    return view(values.view(-1, spec.levels, spec.features), _vector(spec.features, get_warp().float32))

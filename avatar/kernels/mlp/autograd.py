"""The autograd function of the fused MLP on its native CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.mlp.types import PerceptronShape
from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, view, worker_count

SMALLEST_CHUNK = 384
"""Fewest samples for which another CPU thread pays."""


class FusedMlp(torch.autograd.Function):
    """Forward and backward of `op.fused_mlp` on a CPU; the parameters are one vector, layer by layer."""

    @staticmethod
    def forward(
        ctx: Any, shape: PerceptronShape, indices: list[Tensor | None], parameters: Tensor, *values: Tensor
    ) -> Tensor:
        kept = [value.detach() if value.stride(-1) == 1 else value.detach().contiguous() for value in values]
        index = [None if part is None else part.contiguous() for part in indices]
        count = len(kept[0]) if index[0] is None else len(index[0])
        parameters = parameters.detach().contiguous()
        result = torch.empty(count, shape.outputs)
        ctx.shape, ctx.count = shape, count
        ctx.save_for_backward(parameters, *kept, *index)
        _run(shape, count, parameters, _pointers(kept, index, [None] * len(kept)), "forward", [view(result.view(-1))])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        parameters, *rest = ctx.saved_tensors
        values, index = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        workers = worker_count(ctx.count, SMALLEST_CHUNK)
        wanted = ctx.needs_input_grad[3:]
        gradients: list[Tensor | None] = []
        for value, where, want in zip(values, index, wanted, strict=True):
            shape = value.shape if where is None else (workers, *value.shape)
            # a sample's own row is overwritten; shared rows are accumulated, in separate sums for each worker
            make = torch.empty if where is None else torch.zeros
            gradients.append(make(shape) if want else None)
        sums = torch.zeros(workers, len(parameters))
        outputs = [view(incoming.detach().contiguous().view(-1)), int(any(wanted)), view(sums.view(-1))]
        _run(ctx.shape, ctx.count, parameters, _pointers(values, index, gradients), "backward", outputs)
        for part, where in enumerate(index):
            gradient = gradients[part]
            if where is not None and gradient is not None:
                gradients[part] = gradient.sum(0)
        return None, None, sums.sum(0) if ctx.needs_input_grad[2] else None, *gradients


def _pointers(values: Sequence[Tensor], index: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> Tensor:
    """`[P, 6]` int64 for the kernels: address of values, row stride, columns, address of index and gradient, rows."""
    return torch.tensor(
        [
            [
                value.data_ptr(),
                value.stride(0) if len(value) > 1 else value.shape[1],
                value.shape[1],
                0 if where is None else where.data_ptr(),
                0 if gradient is None else gradient.data_ptr(),
                len(value),
            ]
            for value, where, gradient in zip(values, index, gradients, strict=True)
        ],
        dtype=torch.int64,
    )


def _run(
    shape: PerceptronShape, count: int, parameters: Tensor, pointers: Tensor, direction: str, outputs: list[Any]
) -> None:
    """Launch a kernel over the samples, an equal share for each worker."""
    from avatar.kernels.mlp.native import scratch_size

    if shape.half:
        from avatar.kernels.mlp.cpu_bf16 import kernels
    else:
        from avatar.kernels.mlp.cpu import kernels

    if count == 0:
        return
    kernel = getattr(kernels(), direction)
    workers = worker_count(count, SMALLEST_CHUNK)
    size = scratch_size(shape.layers, shape.skip, backward=direction == "backward", half=shape.half)
    scratch = torch.zeros(workers * size)
    layers = torch.tensor(shape.layers, dtype=torch.int32).view(-1)
    inputs = [view(layers), len(shape.layers), shape.skip, int(shape.bias), view(parameters), view(pointers.view(-1))]
    inputs += [len(pointers), view(scratch), size]

    def launch(worker: int, first: int, last: int) -> None:
        launch_on_cpu(kernel, 1, [*inputs, worker, first, last, *outputs])

    launch_shares(launch, count, workers)

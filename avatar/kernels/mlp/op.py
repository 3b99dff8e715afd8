"""A whole small perceptron in one call: y = W_L relu(... relu(W_1 x + b_1) ...) + b_L.

On a CPU one native kernel takes a tile of samples through all layers (`fused_mlp_cpu`, `fused_mlp_bf16_cpu`), several
times faster than one matrix product a layer at these widths. The input may come in parts that lie apart in memory, and
a part may be a short list of rows with an index that says which row a sample takes (a frame's code): neither is
gathered or concatenated. The twin is `reference.mlp`; it also serves CUDA and other types.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.base.errors import InputError
from avatar.kernels import reference
from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, view, worker_count

SMALLEST_CHUNK = 384
"""Samples that are worth a thread of their own."""
MAX_LAYERS = 16
Part = tuple[Tensor, Tensor | None]
"""Values `[N, C]` and None, or rows `[B, C]` and the row `[N]` int64 of each sample."""


def fused_mlp(
    parts: Sequence[Part],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    skip: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Outputs `[N, O]` of a perceptron with ReLU between its layers.

    parts: the input's columns, side by side. weights: `[out, in]` of each layer; biases: `[out]` of each, or None.
    skip: the input is concatenated again behind the input of this layer, 0 for none. dtype: the arithmetic. The fused
    kernels have float32 and, on a CPU with AVX-512 BF16, bfloat16 (with float32 sums and outputs); for other types, and
    on CUDA, the layers run one by one and give outputs in `dtype`. Differentiable once in the parts' values, weights
    and biases.
    Raises InputError where the sizes, types or devices do not fit.
    """
    _check(parts, weights, biases, skip)
    half = dtype == torch.bfloat16
    fused = parts[0][0].device.type == "cpu" and len(weights) <= MAX_LAYERS
    fused = fused and (dtype == torch.float32 or (half and multiplies_bfloat16()))
    if not fused or any(value.dtype != torch.float32 for value, _ in parts):
        return reference.mlp(parts, weights, biases, skip=skip, dtype=dtype)
    flat = []
    for layer, weight in enumerate(weights):
        flat.append(weight.reshape(-1))
        if biases is not None:
            flat.append(biases[layer])
    shape = _Shape([tuple(reversed(weight.shape)) for weight in weights], skip, biases is not None, half)
    return FusedMlp.apply(shape, [index for _, index in parts], torch.cat(flat), *(value for value, _ in parts))


@cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU has the instructions of the fused kernel in bfloat16."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return check is not None and bool(check())


class _Shape:
    """Sizes of a perceptron: `layers` are fan-in and fan-out of each."""

    def __init__(self, layers: list[tuple[int, int]], skip: int, bias: bool, half: bool) -> None:
        self.layers, self.skip, self.bias, self.half = layers, skip, bias, half
        self.outputs = layers[-1][1]


class FusedMlp(torch.autograd.Function):
    """Forward and backward of `fused_mlp` on the CPU; the parameters come as one list, layer by layer."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, indices: list[Tensor | None], parameters: Tensor, *values: Tensor) -> Tensor:
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
            # a sample's own row is written whole; shared rows are added to, each worker having its own sums
            make = torch.empty if where is None else torch.zeros
            gradients.append(make(shape) if want else None)
        sums = torch.zeros(workers, len(parameters))
        outputs = [view(incoming.detach().contiguous().view(-1)), int(any(wanted)), view(sums.view(-1))]
        _run(ctx.shape, ctx.count, parameters, _pointers(values, index, gradients), "backward", outputs)
        for part, where in enumerate(index):
            if where is not None and gradients[part] is not None:
                gradients[part] = gradients[part].sum(0)
        return None, None, sums.sum(0) if ctx.needs_input_grad[2] else None, *gradients


def _pointers(values: Sequence[Tensor], index: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> Tensor:
    """`[P, 6]` int64, as the kernels read it: values, row stride, columns, index, gradient, rows."""
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


def _run(shape: _Shape, count: int, parameters: Tensor, pointers: Tensor, direction: str, outputs: list[Any]) -> None:
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


def _check(parts: Sequence[Part], weights: Sequence[Tensor], biases: Sequence[Tensor] | None, skip: int) -> None:
    if not parts or not weights:
        raise InputError("a perceptron needs an input and a layer", found=f"{len(parts)} parts, {len(weights)} layers")
    counts = [len(value) if index is None else len(index) for value, index in parts]
    if len(set(counts)) > 1:
        raise InputError("parts of the input have different lengths", found=counts)
    inputs = sum(value.shape[1] for value, _ in parts)
    for layer, weight in enumerate(weights):
        before = inputs if layer == 0 else weights[layer - 1].shape[0] + (inputs if skip and layer == skip else 0)
        if weight.shape[1] != before:
            raise InputError(f"layer {layer} does not fit its input", expected=before, found=weight.shape[1])
        if biases is not None and biases[layer].shape != weight.shape[:1]:
            raise InputError(f"the bias of layer {layer} does not fit it", found=tuple(biases[layer].shape))
    devices = {tensor.device for part in parts for tensor in part if tensor is not None} | {w.device for w in weights}
    if len(devices) > 1:
        raise InputError("parts and weights are on different devices", found=", ".join(map(str, devices)))
    for value, index in parts:
        if index is not None and index.device.type == "cpu" and len(index):
            low, high = (int(bound) for bound in torch.aminmax(index))
            if index.dtype != torch.int64 or low < 0 or high >= len(value):
                raise InputError(
                    "an index does not fit its rows",
                    expected=f"int64 from 0 to {len(value) - 1}",
                    found=f"{index.dtype} from {low} to {high}",
                )

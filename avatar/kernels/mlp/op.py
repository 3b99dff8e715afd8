"""Fused evaluation of a small MLP: y = W_L relu(... relu(W_1 x + b_1) ...) + b_L.

On a CPU one native kernel takes a tile of samples through all layers (`cpu.py`, `cpu_bf16.py`), at these widths several
times faster than a matrix product per layer. The input may consist of parts that lie apart in memory, and a part may be
a few rows with an index of the row of each sample (a frame's code); nothing is gathered or concatenated. The reference
implementation is `reference.mlp`; it also serves CUDA and other types.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.mlp import reference
from avatar.kernels.mlp.autograd import FusedMlp
from avatar.kernels.mlp.types import MAX_LAYERS, Part, PerceptronShape


def fused_mlp(
    parts: Sequence[Part],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    skip: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Outputs `[N, O]` of an MLP with ReLU between its layers.

    parts: the columns of the input, side by side. weights: `[out, in]` of each layer; biases: `[out]` of each, or None.
    skip: the layer whose input the MLP's input is appended to again, 0 for none. dtype: the arithmetic. The fused
    kernels support float32 and, on a CPU with AVX-512 BF16, bfloat16 (with float32 sums and outputs); for other types,
    and on CUDA, the layers run one by one and give outputs in `dtype`. Differentiable once in the parts' values,
    weights and biases. Raises InputError for sizes, index types or devices that do not fit.
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
    shape = PerceptronShape([(weight.shape[1], weight.shape[0]) for weight in weights], skip, biases is not None, half)
    return FusedMlp.apply(shape, [index for _, index in parts], torch.cat(flat), *(value for value, _ in parts))


@cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU has AVX-512 BF16, which the fused kernel in bfloat16 needs."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return check is not None and bool(check())


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

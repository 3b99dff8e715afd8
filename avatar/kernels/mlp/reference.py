"""The MLP in plain PyTorch, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def mlp(
    parts: Sequence[tuple[Tensor, Tensor | None]],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    skip: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Outputs `[N, O]` in `dtype`; arguments as `op.fused_mlp`."""
    columns = [value if index is None else value.index_select(0, index) for value, index in parts]
    x = torch.cat([column.to(dtype) for column in columns], -1)
    h = x
    for layer, weight in enumerate(weights):
        if skip and layer == skip:
            h = torch.cat([h, x], -1)
        h = F.linear(h, weight.to(dtype), None if biases is None else biases[layer].to(dtype))
        if layer + 1 < len(weights):
            h = F.relu(h, inplace=True)
    return h

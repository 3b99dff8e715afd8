"""The frequency encoding in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def frequency_encode(values: Tensor, bands: int, window: Tensor) -> Tensor:
    """`[N, D + 2 D bands]`; arguments as `op.frequency_encode`."""
    scales = math.pi * 2.0 ** torch.arange(bands, dtype=values.dtype, device=values.device)
    angles = values.unsqueeze(-2) * scales.unsqueeze(-1)
    weights = window.to(values.dtype).unsqueeze(-1)
    sines, cosines = torch.sin(angles) * weights, torch.cos(angles) * weights
    return torch.cat([values, sines.flatten(-2), cosines.flatten(-2)], -1)

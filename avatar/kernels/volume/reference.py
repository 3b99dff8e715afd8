"""Volume rendering of packed samples in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def render_weights(optical_depth: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and transmittance, both `[M]`; arguments as `op.render_weights`, in float32 or float64."""
    ray = torch.repeat_interleave(torch.arange(len(first) - 1, device=first.device), first.diff())
    # in float64: the cumulative sum runs over all rays, and only its differences are used
    total = torch.cumsum(optical_depth.double(), 0)
    before = total - optical_depth.double()
    start = before[first[ray]] if len(ray) else before
    transmittance = torch.exp(-(before - start)).to(optical_depth.dtype)
    return transmittance * (1 - torch.exp(-optical_depth)), transmittance


def sum_along_rays(weights: Tensor, first: Tensor, values: Tensor | None = None) -> Tensor:
    """Sums `[R]` or `[R, C]`; arguments as `op.sum_along_rays`."""
    ray = torch.repeat_interleave(torch.arange(len(first) - 1, device=first.device), first.diff())
    product = weights if values is None else weights.unsqueeze(1) * values
    return product.new_zeros(len(first) - 1, *product.shape[1:]).index_add(0, ray, product)

"""Volume rendering of packed samples (Max 1995; NeRF, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.render.sampling import Samples

PER_CENTIMETRE = 100.0
"""Densities are per centimetre, lengths in metres."""


def opacity_of(density: Tensor, spacing: Tensor) -> Tensor:
    """How much light a stretch of `spacing` metres of `density` per centimetre takes: 1 - exp(-density spacing)."""
    return 1 - torch.exp(-density * spacing * PER_CENTIMETRE)


def render_weights(density: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """Each sample's share in its ray's colour.

    w_i = T_i (1 - exp(-sigma_i d_i)) with T_i = exp(-sum_{j < i} sigma_j d_j), along each ray.

    Args:
        density: `[M]` per centimetre.

    Returns:
        weights `[M]` and transmittances `[M]` in front of the samples.
    """
    thickness = density * samples.spacing * PER_CENTIMETRE
    # in double: the sum runs over all rays of the pack, and its differences are wanted
    total = torch.cumsum(thickness.double(), 0)
    before = total - thickness.double()
    counts = torch.bincount(samples.ray, minlength=samples.rays)
    first = torch.cumsum(counts, 0) - counts
    start = before[first[samples.ray]] if len(samples) else before
    transmittance = torch.exp(-(before - start)).to(density.dtype)
    return transmittance * (1 - torch.exp(-thickness)), transmittance


def accumulate(weights: Tensor, samples: Samples, values: Tensor | None = None) -> Tensor:
    """Sums of `weights` `[M]` (times `values` `[M, C]`) along each ray: `[R]` or `[R, C]`."""
    if values is None:
        return weights.new_zeros(samples.rays).index_add(0, samples.ray, weights)
    result = weights.new_zeros(samples.rays, values.shape[1])
    return result.index_add(0, samples.ray, weights.unsqueeze(1) * values)


def over(colour: Tensor, opacity: Tensor, background: Tensor) -> Tensor:
    """`colour` `[R, 3]`, already weighted by `opacity` `[R]`, in front of `background` `[R, 3]`."""
    return colour + (1 - opacity).unsqueeze(-1) * background

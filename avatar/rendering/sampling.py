"""Packed ray samples, and NeRF's stratified and importance sampling.

Samples are packed: one list for all rays, ray after ray, with any number of samples on each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from avatar.kernels.volume.types import starts


@dataclass
class Samples:
    """M samples on R rays, ordered by ray and then by depth."""

    ray: Tensor
    """`[M]` int64, ascending."""
    depth: Tensor
    """`[M]` distance along the ray, metres."""
    deltas: Tensor
    """`[M]` lengths of the ray intervals that the samples stand for, metres."""
    rays: int
    """Number of rays R, with or without samples."""
    starts: Tensor | None = None
    """`first`, where it is already known."""

    def __len__(self) -> int:
        return len(self.ray)

    def select(self, chosen: Tensor) -> Samples:
        """The samples of a mask `[M]` bool, or of ascending indices."""
        return Samples(self.ray[chosen], self.depth[chosen], self.deltas[chosen], self.rays)

    @cached_property
    def first(self) -> Tensor:
        """`[R + 1]` int64: ray r owns the samples first[r] to first[r + 1]."""
        if self.starts is not None:
            return self.starts
        return starts(torch.bincount(self.ray, minlength=self.rays))


def ray_box(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Distances `[R]` at which rays `[R, 3]` enter and leave axis-aligned boxes (`low`, `high` `[3]` or `[R, 3]`).

    For a ray that misses, far <= near. Both distances are at least zero.
    """
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (low - origins) / safe, (high - origins) / safe
    near = torch.minimum(a, b).amax(-1).clamp_min(0)
    far = torch.maximum(a, b).amin(-1).clamp_min(0)
    return near, far


def stratified(near: Tensor, far: Tensor, count: int, noise: Tensor | None = None) -> Tensor:
    """`count` depths `[R, count]`, one in each of as many equal bins of [near, far] `[R]` (NeRF, equation 2).

    noise: `[R, count]` in [0, 1), the position within the bin; None takes the middle.
    """
    place = torch.arange(count, device=near.device, dtype=near.dtype) + (0.5 if noise is None else noise)
    return near.unsqueeze(1) + (far - near).unsqueeze(1) * place / count


def importance(depths: Tensor, weights: Tensor, count: int, noise: Tensor | None = None) -> Tensor:
    """`count` further depths `[R, count]` by inverse transform sampling of `weights` (NeRF, section 5.2).

    depths: `[R, S]` ascending; weights: `[R, S]`, a piecewise constant density between the midpoints of the depths.
    noise: `[R, count]` in [0, 1), the position of each depth within its own one of `count` equal quantiles (mip-NeRF,
    Barron et al. 2021, stratifies likewise); None takes the middle.
    """
    middles = (depths[:, 1:] + depths[:, :-1]) / 2
    inner = weights[:, 1:-1] + 1e-5
    share = inner / inner.sum(-1, keepdim=True)
    cumulative = torch.cat([torch.zeros_like(share[:, :1]), share.cumsum(-1)], -1)
    quantile = stratified(torch.zeros_like(depths[:, 0]), torch.ones_like(depths[:, 0]), count, noise)
    above = torch.searchsorted(cumulative, quantile, right=True).clamp(1, cumulative.shape[1] - 1)
    below = above - 1
    low, high = cumulative.gather(1, below), cumulative.gather(1, above)
    part = ((quantile - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)
    start, end = middles.gather(1, below), middles.gather(1, above)
    return start + part * (end - start)


def dense_samples(depths: Tensor, far: Tensor, valid: Tensor) -> Samples:
    """Samples at ascending depths `[R, S]`; each covers the interval up to the next, the last up to `far` `[R]`.

    valid: `[R]` bool, false for rays that miss the box; they get no samples.
    """
    deltas = torch.diff(torch.cat([depths, far.unsqueeze(1)], 1), dim=1).clamp_min(0)
    ray = valid.nonzero().squeeze(1)
    index = ray.repeat_interleave(depths.shape[1])
    return Samples(index, depths[ray].reshape(-1), deltas[ray].reshape(-1), len(depths))

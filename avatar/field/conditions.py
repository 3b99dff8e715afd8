"""The per-frame condition of the field: expression, jaw and eyes, normalised and clamped to the training range."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RANGE_MARGIN = 0.15
"""Share of the training range by which a driving condition may exceed it; beyond, the networks only extrapolate."""
DEVIATION_FLOOR = 0.3
"""Floor of a dimension's deviation, as a share of the largest: smaller deviations are mostly tracking noise."""


def raw_condition(expr: Tensor, jaw: Tensor, eyes: Tensor, expression_size: int) -> Tensor:
    """`[N, C]`: expression `[N, E]` (the first `expression_size`, 0 for all), jaw `[N, 3]` and eyes `[N, 6]`."""
    expr = expr[:, :expression_size] if expression_size else expr
    return torch.cat([expr, jaw, eyes], -1)


class ConditionScale(nn.Module):
    """Normalises raw conditions `[N, C]` by their deviation in the training clip and clamps them near its range.

    The mean is not subtracted: the neutral expression stays the zero condition, as outside the silhouette. With
    `components` above 0 the result is coordinates `[N, components]` along the uncentred principal components of the
    clip. Motion that the clip never shows, such as puffed cheeks, is left to the warp, because the field could only
    respond with noise.
    """

    scale: Tensor
    lowest: Tensor
    highest: Tensor
    basis: Tensor | None

    def __init__(self, size: int, expression_size: int, components: int = 0) -> None:
        super().__init__()
        self.expression_size = expression_size
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("lowest", torch.full((size,), -3e38))
        self.register_buffer("highest", torch.full((size,), 3e38))
        self.register_buffer("basis", torch.zeros(size, components) if components else None)

    def fit(self, raw: Tensor) -> None:
        """Fit scale, range and components to the raw conditions `[N, C]` of the training frames."""
        count = self.expression_size
        deviation = raw.std(0, correction=0)
        for group in (slice(0, count), slice(count, count + 3), slice(count + 3, None)):
            largest = deviation[group].max().clamp_min(1e-3)
            self.scale[group] = 1.0 / deviation[group].clamp_min(DEVIATION_FLOOR * largest)
        low, high = raw.amin(0).clamp_max(0.0), raw.amax(0).clamp_min(0.0)
        margin = RANGE_MARGIN * (high - low)
        self.lowest.copy_(low - margin)
        self.highest.copy_(high + margin)
        if self.basis is not None:
            _, size, directions = torch.linalg.svd(self.within(raw), full_matrices=False)
            used = min(self.basis.shape[1], len(size))
            length = size[:used] / len(raw) ** 0.5
            self.basis.zero_()
            self.basis[:, :used] = directions[:used].T / length.clamp_min(max(DEVIATION_FLOOR * float(length[0]), 1e-6))

    def within(self, raw: Tensor) -> Tensor:
        """Scaled conditions `[N, C]`, clamped near the range of the training frames."""
        return torch.minimum(torch.maximum(raw, self.lowest), self.highest) * self.scale

    def forward(self, raw: Tensor) -> Tensor:
        """Conditions `[N, components]`, or `[N, C]` without components, of raw ones `[N, C]`."""
        scaled = self.within(raw)
        return scaled if self.basis is None else scaled @ self.basis

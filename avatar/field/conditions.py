"""The condition a frame gives the field: expression, jaw and eyes, on one scale and within what was seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RANGE_MARGIN = 0.15
"""A driver's condition may leave the training range by this share of it: beyond, the networks only extrapolate."""
DEVIATION_FLOOR = 0.3
"""Dimensions that move less than this share of the liveliest one are not blown up: they are mostly tracking noise."""


def raw_condition(expr: Tensor, jaw: Tensor, eyes: Tensor, expression_size: int) -> Tensor:
    """Expression `[N, E]` (first `expression_size`, 0 for all), jaw `[N, 3]` and eyes `[N, 6]` side by side."""
    expr = expr[:, :expression_size] if expression_size else expr
    return torch.cat([expr, jaw, eyes], -1)


class ConditionScale(nn.Module):
    """Raw conditions `[N, C]` as the field takes them: on one scale, near the training clip's range.

    Nothing is subtracted: the neutral expression stays the zero condition, the same as outside the silhouette. With
    `components` above 0 the result is coordinates `[N, components]` along the directions in which the clip moves
    (uncentred principal components): what never moved in it, such as cheeks that were never puffed, is left to the
    warp, because the field could only answer with noise.
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
        """Take scale, range and directions from the training frames' raw conditions `[N, C]`."""
        count = self.expression_size
        deviation = raw.std(0, correction=0)
        for group in (slice(0, count), slice(count, count + 3), slice(count + 3, None)):
            liveliest = deviation[group].max().clamp_min(1e-3)
            self.scale[group] = 1.0 / deviation[group].clamp_min(DEVIATION_FLOOR * liveliest)
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
        """Scaled conditions `[N, C]`, held near the range of the training frames."""
        return torch.minimum(torch.maximum(raw, self.lowest), self.highest) * self.scale

    def forward(self, raw: Tensor) -> Tensor:
        held = self.within(raw)
        return held if self.basis is None else held @ self.basis

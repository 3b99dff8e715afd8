"""Contraction of unbounded space: the person's box at full scale, the rest of the world compressed around it.

A moving camera has no single background image. With `field.background_in_field` the surroundings are learned in the
same field, as in FLAME-in-NeRF. Positions are contracted as in mip-NeRF 360 (Barron et al. 2022, equation 10), but in
the maximum norm, because the domain of the field is a box.
"""

from __future__ import annotations

import torch
from torch import Tensor

FARTHEST = 30.0
"""Metres from the camera at which a ray ends; surfaces further away are indistinguishable from this distance."""


def contract(points: Tensor, middle: Tensor, radius: float) -> Tensor:
    """Points `[..., 3]` (metres) contracted to [0, 1]. Those within `radius` of `middle` `[3]` along each axis are
    scaled to [0.25, 0.75]; all others fill the rest."""
    offset = (points - middle) / radius
    size = offset.abs().amax(-1, keepdim=True).clamp_min(1)
    return 0.5 + 0.25 * offset * (2 - 1 / size) / size


def unbounded_interval(
    near: Tensor, far: Tensor, origins: Tensor, directions: Tensor, middle: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """The interval of rays `[R, 3]` near the person, distances `[R]`: `near` to `far` `[R]` for rays that meet the box.

    For rays that miss it, `radius` in front of and behind their closest point to `middle` `[3]`.
    """
    passing = ((middle - origins) * directions).sum(-1).clamp_min(radius)
    missed = far <= near
    return torch.where(missed, passing - radius, near), torch.where(missed, passing + radius, far)

"""The coarse-to-fine window of frequency bands, and spherical harmonics of directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def band_window(bands: int, alpha: float, *, device: torch.device | None = None) -> Tensor:
    """Weights `[bands]` that open frequency bands one after another.

    Band j is weighted by (1 - cos(pi clamp(alpha - j, 0, 1))) / 2 (Nerfies, Park et al. 2021, equation 8):
    0 while alpha <= j, 1 from alpha >= j + 1 on.
    """
    band = torch.arange(bands, dtype=torch.float32, device=device)
    return (1 - torch.cos(math.pi * (alpha - band).clamp(0, 1))) / 2


def frequency_size(dimensions: int, bands: int) -> int:
    """Length of `frequency_encode`'s result."""
    return dimensions * (1 + 2 * bands)


SPHERICAL_HARMONICS_SIZE = 9


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics up to degree 2 of unit vectors `[..., 3]`: `[..., 9]`."""
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -0.4886025119029199 * y,
            0.4886025119029199 * z,
            -0.4886025119029199 * x,
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        -1,
    )

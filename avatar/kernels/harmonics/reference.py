"""Spherical harmonics in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Harmonics `[N, 9]`; arguments as `op.spherical_harmonics`."""
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

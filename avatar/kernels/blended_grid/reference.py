"""Blended hash grids in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.hash_grid.reference import hash_encode
from avatar.kernels.hash_grid.types import HashGridSpec


def blended_encode(
    positions: Tensor, tables: Tensor, coefficients: Tensor, frame: Tensor, spec: HashGridSpec
) -> Tensor:
    """Features `[N, L * F]`; arguments as `op.blended_encode`."""
    blended = torch.einsum("tfk,bk->btf", tables, coefficients)
    features = hash_encode(positions, blended, spec, table_index=frame.clamp_min(0))
    return torch.where((frame >= 0).unsqueeze(1), features, 0)

"""The hash encoding in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.hash_grid.types import PRIMES, HashGridSpec

CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8))


def hash_corners(cell: Tensor, resolution: int, size: int, hashed: bool) -> Tensor:
    """Entries `[N, 8]` int64, within their level, of the corners of cells `[N, 3]` int64 (Instant-NGP, equation 4)."""
    corner = cell.unsqueeze(1) + torch.tensor(CORNERS, device=cell.device)
    if hashed:
        mixed = corner * torch.tensor(PRIMES, device=cell.device)
        return (mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]) & (size - 1)
    row = resolution + 1
    return corner[..., 0] + row * (corner[..., 1] + row * corner[..., 2])


def hash_encode(
    positions: Tensor,
    table: Tensor,
    spec: HashGridSpec,
    *,
    table_index: Tensor | None = None,
    level_weights: Tensor | None = None,
) -> Tensor:
    """Features `[N, L * F]`; arguments as `op.hash_encode`, with a table `[B, T, F]`."""
    dtype = torch.promote_types(positions.dtype, torch.float32)
    flat = table.flatten(0, 1)
    base = 0 if table_index is None else (table_index.long() * spec.table_size).unsqueeze(1)
    inside = positions.to(dtype).clamp(0, 1)
    corner = torch.tensor(CORNERS, device=positions.device, dtype=torch.bool)
    parts = []
    for level, resolution in enumerate(spec.level_resolutions):
        scaled = inside * resolution
        # NaN propagates through the weights, but must not reach the index
        cell = scaled.detach().floor().clamp(max=resolution - 1).nan_to_num(0.0)
        part = (scaled - cell).unsqueeze(1)
        weight = torch.where(corner, part, 1 - part).prod(-1)
        entry = hash_corners(cell.long(), resolution, spec.level_sizes[level], spec.level_hashed[level])
        values = flat[base + spec.level_offsets[level] + entry].to(dtype)
        features = (weight.unsqueeze(-1) * values).sum(1)
        parts.append(features if level_weights is None else features * level_weights[level].to(dtype))
    return torch.cat(parts, dim=-1)

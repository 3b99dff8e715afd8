"""The ray march in plain PyTorch: every step of every ray."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.march.types import Marched, MarchMotion, MarchSpace
from avatar.kernels.volume.types import starts


def march(
    space: MarchSpace,
    motion: MarchMotion,
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    near: Tensor,
    far: Tensor,
    step: float,
    offset: Tensor,
    dilated: Tensor,
    occupied: Tensor,
    max_samples: int,
) -> Marched:
    """Samples of R rays; arguments as `op.march`."""
    steps = int(((far - near).amax() / step).ceil().clamp_min(1)) + 1 if len(near) else 1
    place = torch.arange(steps, device=near.device, dtype=near.dtype)
    depths = near.unsqueeze(1) + (place + offset.unsqueeze(1)) * step
    world = origins.unsqueeze(1) + directions.unsqueeze(1) * depths.unsqueeze(-1)
    points = world
    if motion.canonical_from_world is not None and motion.height is not None:
        matrix, row = motion.canonical_from_world[frame], motion.height[frame]
        moved = world @ matrix[..., :3].transpose(-1, -2) + matrix[:, None, :, 3]
        height = (world * row[:, None, :3]).sum(-1) + row[:, None, 3]
        top, bottom = space.neck
        t = ((height - bottom) / (top - bottom)).clamp(0, 1)
        points = world + (t * t * (3 - 2 * t)).unsqueeze(-1) * (moved - world)
    displacement = torch.zeros_like(points)
    if motion.grids is not None:
        matrix = space.skull_from_canonical
        skull = points @ matrix[:3, :3].T + matrix[:3, 3]
        which = frame.unsqueeze(1).expand(points.shape[:2]).reshape(-1)
        displacement = (interpolate_grids(motion, which, skull.reshape(-1, 3)) @ matrix[:3, :3]).view_as(points)
    alive = (
        lookup(space, dilated, points) & lookup(space, occupied, points - displacement) & (depths < far.unsqueeze(1))
    )
    chosen = alive & (alive.cumsum(1) <= max_samples)
    ray = chosen.nonzero()[:, 0]
    return Marched(ray, depths[chosen], displacement[chosen], starts(chosen.sum(1)))


def lookup(space: MarchSpace, cells: Tensor, points: Tensor) -> Tensor:
    """Whether points `[..., 3]` lie in true cells of a boolean grid `[X, Y, Z]`; false outside the box."""
    place = ((points - space.low) / space.cell).floor()
    counts = torch.tensor(space.counts, device=points.device)
    inside = ((place >= 0) & (place < counts)).all(-1)
    x, y, z = torch.where(inside.unsqueeze(-1), place, 0).long().unbind(-1)
    return cells[x, y, z] & inside


def interpolate_grids(motion: MarchMotion, frame: Tensor, points: Tensor) -> Tensor:
    """Trilinear displacements `[M, 3]` (metres) at skull points `[M, 3]` of frames `[M]`: of the first fine grid that
    contains a point, else the coarse grid, else zero. No gradient with respect to the points."""
    assert motion.grids is not None
    points = points.detach()
    origin, cell, all_counts, offsets = motion.layout()
    inside = []
    for index in range(len(cell)):
        local = (points - origin[index]) / cell[index]
        inside.append(((local >= 0) & (local <= all_counts[index] - 1)).all(-1))
    chosen = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for index in reversed(range(1, len(cell))):
        chosen = torch.where(inside[index], index, chosen)
    counts = all_counts[chosen]
    local = (points - origin[chosen]) / cell[chosen].unsqueeze(-1)
    lower = torch.minimum(local.floor().long().clamp_min(0), counts - 2)
    part = (local - lower).clamp(0, 1)
    strides = torch.stack([counts[:, 1] * counts[:, 2], counts[:, 2], torch.ones_like(counts[:, 2])], -1)
    first = offsets[chosen] + frame * motion.grids.shape[1] + (lower * strides).sum(-1)
    corner = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=points.device)
    index = first.unsqueeze(1) + strides @ corner.T
    weights = torch.where(corner.bool(), part.unsqueeze(1), 1 - part.unsqueeze(1)).prod(-1)
    table = motion.grids.reshape(-1, 3)[index].to(points.dtype)
    return (table * weights.unsqueeze(-1)).sum(1) * inside[0].unsqueeze(-1)

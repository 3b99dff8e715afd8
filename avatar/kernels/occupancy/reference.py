"""Updates of an occupancy grid in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def locate_cells(points: Tensor, low: Tensor, cell: Tensor, counts: tuple[int, int, int]) -> Tensor:
    """Flat indices `[P]` int32, -1 outside; arguments as `op.locate_cells`."""
    place = (points - low) / cell
    inside = ((place >= 0) & (place < place.new_tensor(counts))).all(-1)
    x, y, z = torch.where(inside.unsqueeze(-1), place, 0).long().unbind(-1)
    return torch.where(inside, (x * counts[1] + y) * counts[2] + z, -1).int()


def remember_largest(memory: Tensor, cells: Tensor, values: Tensor, *, decay: float, unseen: float) -> None:
    """Update `memory` `[C]` in place; arguments as `op.remember_largest`."""
    known = cells >= 0
    largest = torch.full_like(memory, -1.0)
    largest.scatter_reduce_(0, cells[known].long(), values[known], "amax")
    fresh = torch.where(memory >= unseen, largest, torch.maximum(largest, decay * memory))
    memory.copy_(torch.where(largest >= 0, fresh, memory))

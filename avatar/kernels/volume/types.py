"""How packed samples belong to their rays."""

from __future__ import annotations

import torch
from torch import Tensor


def starts(count: Tensor) -> Tensor:
    """`[R + 1]` int64: where each ray's samples begin in a packed list, and its length, from their numbers `[R]`."""
    return torch.cat([count.new_zeros(1, dtype=torch.int64), torch.cumsum(count, 0)])

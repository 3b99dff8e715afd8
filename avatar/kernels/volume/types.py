"""The layout of packed samples: which samples belong to which ray."""

from __future__ import annotations

import torch
from torch import Tensor


def starts(count: Tensor) -> Tensor:
    """`[R + 1]` int64: first packed sample of each ray, and their total, from the counts `[R]`."""
    return torch.cat([count.new_zeros(1, dtype=torch.int64), torch.cumsum(count, 0)])

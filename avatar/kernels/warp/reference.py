"""The inverse warp of samples in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_canonical(
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    ray: Tensor,
    depth: Tensor,
    *,
    canonical_from_world: Tensor | None = None,
    height: Tensor | None = None,
    neck: tuple[float, float] = (1.0, 0.0),
    displacement: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Points and view directions `[M, 3]`; arguments as `op.to_canonical`."""
    views = directions[ray]
    points = origins[ray] + depth.unsqueeze(1) * views
    if canonical_from_world is not None and height is not None:
        matrix, row = canonical_from_world[frame[ray]], height[frame[ray]]
        rotation = matrix[..., :3]
        t = (((row[:, :3] * points).sum(-1) + row[:, 3] - neck[1]) / (neck[0] - neck[1])).clamp(0, 1)
        share = (t * t * (3 - 2 * t)).unsqueeze(1)
        moved = (rotation @ points.unsqueeze(-1)).squeeze(-1) + matrix[..., 3]
        turned = (rotation @ views.unsqueeze(-1)).squeeze(-1)
        points = points + share * (moved - points)
        views = F.normalize(views + share * (turned - views), dim=-1).detach()
    return points if displacement is None else points - displacement, views

"""nerfacc's grid traversal (Li et al., NerfAcc, ICCV 2023; version 0.5.3) in place of the ray march; CUDA only."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.march.types import MarchSpace
from avatar.kernels.runtime.nerfacc import load_nerfacc


@torch.no_grad()
def traverse(
    space: MarchSpace,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    step: float,
    offset: Tensor,
    cells: Tensor,
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays `[M]`, depths `[M]`, displacements `[M, 3]` (zero) and counts `[R]` of samples on straight rays.

    Arguments as `op.march`, with `cells` bool `[X, Y, Z]`. nerfacc places a sample in the middle of each step from the
    near plane on, so the near plane is moved by the difference between the offset and a half.
    """
    nerfacc = load_nerfacc(origins.device)
    box = torch.cat([space.low, space.low + space.cell * space.low.new_tensor(space.counts)])
    _, samples, _ = nerfacc.traverse_grids(
        origins.float(),
        directions.float(),
        cells.unsqueeze(0),
        box.float().unsqueeze(0),
        near_planes=(near + (offset - 0.5) * step).float(),
        far_planes=far.float(),
        step_size=float(step),
        traverse_steps_limit=max_samples,
    )
    ray = samples.ray_indices.long()
    return ray, samples.vals, samples.vals.new_zeros(len(ray), 3), torch.bincount(ray, minlength=len(origins))

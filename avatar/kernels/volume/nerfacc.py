"""nerfacc's volume rendering (Li et al., NerfAcc, ICCV 2023; version 0.5.3) in place of ours; CUDA only."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.runtime.nerfacc import load_nerfacc


def render_weights(optical_depth: Tensor, ray: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Weights and transmittance, both `[M]`, of packed samples with `optical_depth` `[M]` (density times delta).

    ray: `[M]` int64, ascending. rays: the number of rays. Differentiable in the optical depth. Sums along rays do not
    use nerfacc, whose `accumulate_along_rays` is PyTorch's `index_add`.
    """
    start = torch.zeros_like(optical_depth)
    weights, transmittance, _ = load_nerfacc(optical_depth.device).render_weight_from_density(
        start, start + 1, optical_depth, ray_indices=ray, n_rays=rays
    )
    return weights, transmittance

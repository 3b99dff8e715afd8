"""The parts of nerfacc (Li et al., NerfAcc, ICCV 2023; version 0.5.3) that stand in for our kernels on CUDA.

nerfacc compiles its kernels when they are first needed, with the CUDA toolkit; where that fails, or nerfacc is missing,
the functions here raise MissingDependencyError; without CUDA, ConfigError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avatar.base.errors import MissingDependencyError
from avatar.base.optional import require
from avatar.kernels.runtime.backends import resolve

if TYPE_CHECKING:
    from avatar.kernels.march.op import MarchSpace


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
    """Rays, depths, shifts (zero) and counts of samples as `ray_march.march` gives them, for rays that do not bend.

    cells: bool `[X, Y, Z]`. nerfacc puts a sample in the middle of each step from the near plane on, so the plane is
    moved by the difference between the offset and a half.
    """
    nerfacc = _nerfacc(origins.device)
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


def render_weights(thickness: Tensor, ray: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Weights and transmittances `[M]` of packed samples of optical `thickness` `[M]` (density times length).

    ray: `[M]` int64, ascending. Differentiable in thickness. (Sums along rays need nothing of nerfacc: its
    `accumulate_along_rays` is the `index_add` of `avatar.render.volume`.)
    """
    start = torch.zeros_like(thickness)
    weights, light, _ = _nerfacc(thickness.device).render_weight_from_density(
        start, start + 1, thickness, ray_indices=ray, n_rays=rays
    )
    return weights, light


def _nerfacc(device: torch.device) -> Any:
    resolve("marching", "nerfacc", device)
    nerfacc = require("nerfacc", "the backend nerfacc")
    try:
        # this import compiles the kernels where that has not been done; without the toolkit they are None
        from nerfacc.cuda._backend import _C as kernels

        found = "no CUDA toolkit"
    except Exception as error:  # whatever the compiler says
        kernels, found = None, error
    if kernels is None:
        raise MissingDependencyError(
            "nerfacc is installed, but its CUDA kernels cannot be compiled",
            found=found,
            fix="install the CUDA toolkit (nvcc) and ninja, or set backends.marching to warp",
        )
    return nerfacc

"""Real spherical harmonics of directions, up to degree 2; the reference is `reference.spherical_harmonics`."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.harmonics import reference
from avatar.kernels.runtime.checks import FLOAT32, check_tensor
from avatar.kernels.runtime.launch import get_warp, launch_chunks, view

SIZE = 9
"""Harmonics up to degree 2."""


@torch.no_grad()
def spherical_harmonics(directions: Tensor, *, backend: str = "auto") -> Tensor:
    """Harmonics `[N, 9]` of unit vectors `[N, 3]` float32, without gradient: view directions are never optimised.

    backend: "torch" for the reference. Raises InputError for another shape or type.
    """
    if backend == "torch":
        return reference.spherical_harmonics(directions)
    from avatar.kernels.harmonics.portable import harmonics_kernel

    check_tensor("directions", directions, ("N", 3), FLOAT32, directions.device)
    directions = directions.contiguous()
    result = directions.new_empty(len(directions), SIZE)
    arrays = [view(directions, get_warp().vec3), view(result)]
    launch_chunks(harmonics_kernel, len(directions), arrays, directions.device, smallest=4096, even=True)
    return result

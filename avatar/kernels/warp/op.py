"""Inverse warp of ray samples to canonical space: undoes the head's rigid motion, then the surface displacement.

A sample at depth t on a ray (o, d) of frame i is at x = o + t d. It goes to x + s(h_i(x)) (T_i x - x) - displacement,
with T_i = `canonical_from_world` and s a smooth step of the height h_i above the neck, from 0 (torso) to 1 (head). The
view direction is rotated in the same way. The reference implementation is `reference.to_canonical`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.runtime.checks import FLOAT32, check_range, check_tensor
from avatar.kernels.warp import reference
from avatar.kernels.warp.autograd import InverseWarp


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
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Canonical points `[M, 3]` (metres) and unit view directions `[M, 3]` of samples.

    origins, directions: `[R, 3]`, world, metres and unit vectors. frame: `[R]` int64. ray: `[M]` int64. depth: `[M]`
    metres. canonical_from_world: `[B, 3, 4]` rigid transforms, and height: `[B, 4]` rows that give the skull height of
    a world point (x, 1); both None without head motion. neck: skull heights (top, bottom); the motion applies in full
    above top and not below bottom. displacement: `[M, 3]` metres, subtracted. backend: "torch" for the reference.
    All float32 on one device. Points are differentiable once in canonical_from_world and height; directions are not.
    Raises InputError for other shapes, types or devices.
    """
    rays, count, device = len(origins), len(ray), origins.device
    check_tensor("ray origins", origins, (rays, 3), FLOAT32, device)
    check_tensor("ray directions", directions, (rays, 3), FLOAT32, device)
    check_tensor("frame indices", frame, (rays,), (torch.int64,), device)
    check_tensor("ray indices", ray, (count,), (torch.int64,), device)
    check_tensor("depths", depth, (count,), FLOAT32, device)
    if canonical_from_world is not None:
        if height is None:
            raise InputError("head motion needs both canonical_from_world and height, or neither")
        check_tensor("canonical_from_world", canonical_from_world, ("B", 3, 4), FLOAT32, device)
        check_tensor("height", height, (len(canonical_from_world), 4), FLOAT32, device)
    if displacement is not None:
        check_tensor("displacements", displacement, (count, 3), FLOAT32, device)
    if device.type == "cpu":
        check_range("ray indices", ray, rays)
        if canonical_from_world is not None:
            check_range("frame indices", frame, len(canonical_from_world))
    if backend == "torch":
        return reference.to_canonical(
            *(origins, directions, frame, ray, depth),
            canonical_from_world=canonical_from_world,
            height=height,
            neck=neck,
            displacement=displacement,
        )
    tensors = [part.detach().contiguous() for part in (origins, directions, frame, ray, depth)]
    return InverseWarp.apply(tensors, neck, displacement, canonical_from_world, height)

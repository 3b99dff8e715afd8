"""Linear blend skinning from the formulas of FLAME (Li et al., ACM TOG 36(6), 2017, equations 1 to 5).

Everything here is a pure function of tensors, batched over frames `N` and differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rodrigues(axis_angle: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` of axis-angle vectors `[..., 3]` (radians), differentiable at zero.

    R = I + a K + b K^2 with a = sin(t)/t, b = (1 - cos(t))/t^2 and K the cross-product matrix of the vector;
    near zero a and b come from their Taylor series, so that the gradient is exact there too.
    """
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6 + squared * squared / 120, torch.sin(angle) / angle)
    # 1 - cos loses all its digits in float32 where the angle is small; 2 sin^2 of the half angle keeps them
    b = torch.where(small, 0.5 - squared / 24 + squared * squared / 720, 2 * torch.sin(angle / 2).square() / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + a[..., None, None] * cross + b[..., None, None] * (cross @ cross)


def blend(directions: Tensor, coefficients: Tensor) -> Tensor:
    """Sum of directions `[V, 3, K]` weighted by coefficients `[N, K]`: offsets `[N, V, 3]`."""
    vertices = directions.shape[0]
    flat = directions.reshape(vertices * 3, -1)
    return (coefficients @ flat.T).reshape(-1, vertices, 3)


def pose_features(rotations: Tensor) -> Tensor:
    """FLAME's pose features: R - I of every joint but the root, `[N, J, 3, 3]` to `[N, 9 (J - 1)]`, row by row."""
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, 1:] - identity).flatten(1)


def joint_transforms(rotations: Tensor, joints: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Forward kinematics along the joint tree.

    Args:
        rotations: `[N, J, 3, 3]` of each joint relative to its parent.
        joints: rest positions `[N, J, 3]` in metres.
        parents: index of each joint's parent, -1 for the root; a parent comes before its children.

    Returns:
        posed joint positions `[N, J, 3]`, and `[N, J, 4, 4]` that map a point bound to the joint from the rest
        pose to the posed one (equation 3 with the rest pose divided out).
    """
    world_rotations: list[Tensor] = []
    positions: list[Tensor] = []
    for index, parent in enumerate(parents):
        if parent < 0:
            world_rotations.append(rotations[:, index])
            positions.append(joints[:, index])
        else:
            bone = (joints[:, index] - joints[:, parent]).unsqueeze(-1)
            world_rotations.append(world_rotations[parent] @ rotations[:, index])
            positions.append((world_rotations[parent] @ bone).squeeze(-1) + positions[parent])
    rotation = torch.stack(world_rotations, 1)
    posed = torch.stack(positions, 1)
    translation = posed - (rotation @ joints.unsqueeze(-1)).squeeze(-1)
    top = torch.cat([rotation, translation.unsqueeze(-1)], -1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return posed, torch.cat([top, bottom], -2)


def skin(vertices: Tensor, transforms: Tensor, weights: Tensor) -> Tensor:
    """Move rest vertices `[N, V, 3]` by joint transforms `[N, J, 4, 4]` blended with weights `[V, J]` (equation 2)."""
    top = transforms[:, :, :3, :]
    blended = (weights @ top.flatten(2)).reshape(top.shape[0], -1, 3, 4)
    return (blended[..., :3] @ vertices.unsqueeze(-1)).squeeze(-1) + blended[..., 3]

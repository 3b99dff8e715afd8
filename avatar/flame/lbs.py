"""Linear blend skinning from the formulas of FLAME (Li et al., ACM TOG 36(6), 2017, equations 1 to 5).

Everything here is a pure function of tensors, batched over frames `N` and differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor


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

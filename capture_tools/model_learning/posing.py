"""Registrations posed and unposed: FLAME's skinning and its inverse, for many heads at once.

A pose is a vector of 18 numbers: rotation, translation, neck, jaw (3 each, radians and metres) and the eyes (6).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.flame import lbs
from avatar.flame.assets import PARENTS
from avatar.geometry.rotations import axis_angle_to_matrix

PARTS = {"rotation": 3, "translation": 3, "neck": 3, "jaw": 3, "eyes": 6}
POSE_SIZE = sum(PARTS.values())
TRANSLATION = slice(3, 6)
JOINTS = len(PARENTS)
FEATURES = 9 * (JOINTS - 1)
STEP = 1e-4
"""Radians and metres, of differences."""


def rotations_of(poses: Tensor) -> Tensor:
    """Rotations `[N, 5, 3, 3]` of root, neck, jaw and eyes, from poses `[N, 18]`."""
    angles = torch.cat([poses[:, :3], poses[:, 6:]], 1).reshape(-1, JOINTS, 3)
    return axis_angle_to_matrix(angles)


def features_of(poses: Tensor) -> Tensor:
    """FLAME's pose features `[N, 36]` of poses `[N, 18]`."""
    return lbs.pose_features(rotations_of(poses))


def transforms_of(poses: Tensor, joints: Tensor) -> Tensor:
    """Maps `[N, 5, 3, 4]` from the rest pose, for poses `[N, 18]` and joints at rest `[N, 5, 3]`, metres."""
    _, transforms = lbs.joint_transforms(rotations_of(poses), joints, PARENTS)
    moved = transforms[:, :, :3].clone()
    moved[..., 3] += poses[:, None, TRANSLATION]
    return moved


def blended(transforms: Tensor, weights: Tensor) -> Tensor:
    """Affine maps `[N, V, 3, 4]` of the vertices: transforms `[N, 5, 3, 4]` mixed by weights `[V, 5]`."""
    return (weights @ transforms.flatten(2)).reshape(len(transforms), -1, 3, 4)


def posed(rest: Tensor, maps: Tensor) -> Tensor:
    """Vertices `[N, V, 3]` at rest, correctives included, after their maps `[N, V, 3, 4]`."""
    return (maps[..., :3] @ rest.unsqueeze(-1)).squeeze(-1) + maps[..., 3]


def inverses(maps: Tensor) -> Tensor:
    """Inverses `[N, V, 3, 3]` of the linear parts of maps `[N, V, 3, 4]`, by cross products."""
    a, b, c = maps[..., 0, :3], maps[..., 1, :3], maps[..., 2, :3]
    columns = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -1)
    return columns / (a * columns[..., 0]).sum(-1)[..., None, None]


def unposed(vertices: Tensor, maps: Tensor) -> Tensor:
    """The inverse of `posed`: vertices `[N, V, 3]` back at rest, correctives still included."""
    return (inverses(maps) @ (vertices - maps[..., 3]).unsqueeze(-1)).squeeze(-1)


def joint_influence(poses: Tensor) -> Tensor:
    """How translations of the maps follow the joints' places at rest: `[N, 5, 5, 3, 3]`, map by joint.

    The translation of map k is the sum over joints m of `influence[k, m] @ joint[m]`, and the pose's translation.
    """
    rotations = rotations_of(poses)
    world: list[Tensor] = []
    places = torch.zeros(len(poses), JOINTS, JOINTS, 3, 3, dtype=poses.dtype)
    identity = torch.eye(3, dtype=poses.dtype)
    for index, parent in enumerate(PARENTS):
        if parent < 0:
            world.append(rotations[:, index])
            places[:, index, index] = identity
        else:
            world.append(world[parent] @ rotations[:, index])
            places[:, index] = places[:, parent]
            places[:, index, index] += world[parent]
            places[:, index, parent] -= world[parent]
    for index in range(JOINTS):
        places[:, index, index] -= world[index]
    return places


def pose_slopes(poses: Tensor, joints: Tensor, weights: Tensor, rest: Tensor, correctives: Tensor) -> Tensor:
    """Derivatives `[N, V, 3, 18]` of posed vertices by the pose.

    rest: `[N, V, 3]` without correctives; correctives: `[36, V, 3]` of the pose features.
    """

    def vertices(at: Tensor) -> Tensor:
        bent = rest + torch.tensordot(features_of(at), correctives, 1)
        return posed(bent, blended(transforms_of(at, joints), weights))

    slopes = []
    for index in range(POSE_SIZE):
        step = torch.zeros(POSE_SIZE, dtype=poses.dtype)
        step[index] = STEP
        slopes.append((vertices(poses + step) - vertices(poses - step)) / (2 * STEP))
    return torch.stack(slopes, -1)

"""The torso's motion: a rigid transform per frame, linear in the head's rotation and translation.

With a static torso, moving shoulders would be learned as blur or memorised frame by frame. Their motion is close to
linear in the head's pose, so one small matrix is learned for the whole clip; it applies to driven poses as well. The
position along the neck at which the head's motion gives way to the torso's (skin above a collar or a scarf) is learned
too.

Rays are first transformed to the torso's frame, so that the field, its box and its occupancy have a single, static
torso. The matrix is initialised in `avatar.field.torso_fit`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.field.warp import NeckBlend, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


class TorsoMotion(nn.Module):
    """Torso transforms per frame: `follow` `[6, 6]` times the head's rotation (axis-angle, radians) and translation
    (metres) from the reference pose.

    `neck` `[2]`: the blend along the neck is lowered by neck[0] centimetres and steeper by the factor exp(neck[1]).
    """

    skull_from_reference: Tensor
    pivot: Tensor

    def __init__(self, reference: Tensor, blend: NeckBlend) -> None:
        """reference: `[4, 4]` `world_from_skull` of the reference pose, whose torso transform is the identity."""
        super().__init__()
        self.blend = blend
        self.follow = nn.Parameter(torch.zeros(6, 6))
        self.neck = nn.Parameter(torch.zeros(2))
        neck = reference.new_tensor([0.0, blend.bottom, 0.0])
        self.register_buffer("skull_from_reference", rigid_inverse(reference), persistent=False)
        self.register_buffer("pivot", reference[:3, :3] @ neck + reference[:3, 3], persistent=False)

    def torso_transforms(self, world_from_skull: Tensor) -> Tensor:
        """Torso transforms `[B, 6]` for head poses `world_from_skull` `[B, 4, 4]`: rotation (axis-angle, radians) about
        the base of the neck, and translation (metres); differentiable in the poses and `follow`."""
        moved = world_from_skull @ self.skull_from_reference
        rotation = matrix_to_axis_angle(moved[:, :3, :3])
        translation = moved[:, :3, :3] @ self.pivot + moved[:, :3, 3] - self.pivot
        return torch.cat([rotation, translation], -1) @ self.follow.T

    def world_from_torso(self, torso_transforms: Tensor) -> Tensor:
        """Torso transforms `[B, 6]` as matrices `[B, 4, 4]`, from the reference pose to the world."""
        rotation = axis_angle_to_matrix(torso_transforms[:, :3])
        translation = self.pivot + torso_transforms[:, 3:] - rotation @ self.pivot
        last = torso_transforms.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(torso_transforms), 1, 4)
        return torch.cat([torch.cat([rotation, translation.unsqueeze(-1)], -1), last], 1)

    def bent(self, height: Tensor) -> Tensor:
        """Rows `[..., 4]` that give the skull height of a point (x, 1), adjusted by the learned blend at the neck."""
        middle = (self.blend.top + self.blend.bottom) / 2
        factor = self.neck[1].exp()
        constant = (1 - factor) * middle + 0.01 * self.neck[0]
        return factor * height + constant * height.new_tensor([0.0, 0.0, 0.0, 1.0])

    def share(self, points: Tensor) -> Tensor:
        """The torso's share `[M]` of the motion of canonical points `[M, 3]`: 0 from the chin up, 1 below the neck."""
        height = self.bent(self.skull_from_reference[1])
        return 1 - self.blend.share(points @ height[:3] + height[3])

    def with_gradient(self, points: Tensor, torso_transforms: Tensor, frame: Tensor) -> Tensor:
        """Canonical points `[M, 3]` (metres) of frames `[M]`, same values, with a gradient to transforms `[B, 6]`.

        Rays are transformed without gradient; this adds the first-order motion of the points with the torso.
        """
        rotation, translation = (torso_transforms - torso_transforms.detach()).index_select(0, frame).split(3, -1)
        with torch.no_grad():
            share, arm = self.share(points).unsqueeze(-1), points - self.pivot
        return points - share * (translation + torch.linalg.cross(rotation, arm))

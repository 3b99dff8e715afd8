"""The torso's motion: shoulders go along with the head a little, in proportion to how it turns and shifts.

Were the torso left in the world, shoulders that move there would be learned as blur, or by heart, frame by frame. What
they do is close to linear in the head's pose, so one small matrix is learned for the whole clip; it holds for driven
poses as well. Where along the neck the head's motion ends and the torso's begins, skin above a collar or a scarf, is
learned too.

Rays are carried into the space in which the torso stands still before anything else happens to them, so that the field,
its box and its occupancy know one torso only. How the matrix starts is measured in `avatar.field.torso_fit`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.field.warp import NeckBlend, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


class TorsoMotion(nn.Module):
    """A rigid motion of the torso per frame: `follow` `[6, 6]` times the head's turn (radians) and shift (metres).

    `neck` `[2]` lowers the bend of the neck (centimetres) and sharpens it (logarithm of the factor).
    """

    skull_from_reference: Tensor
    pivot: Tensor

    def __init__(self, reference: Tensor, blend: NeckBlend) -> None:
        """`reference` `[4, 4]`: `world_from_skull` of the reference pose, in which the torso has not moved."""
        super().__init__()
        self.blend = blend
        self.follow = nn.Parameter(torch.zeros(6, 6))
        self.neck = nn.Parameter(torch.zeros(2))
        neck = reference.new_tensor([0.0, blend.bottom, 0.0])
        self.register_buffer("skull_from_reference", rigid_inverse(reference), persistent=False)
        self.register_buffer("pivot", reference[:3, :3] @ neck + reference[:3, 3], persistent=False)

    def torso_transforms(self, world_from_skull: Tensor) -> Tensor:
        """`[B, 6]` turns (axis-angle, radians) and shifts (metres) of the torso about the neck's foot, for heads posed
        by `world_from_skull` `[B, 4, 4]`; differentiable in poses and `follow`."""
        moved = world_from_skull @ self.skull_from_reference
        turn = matrix_to_axis_angle(moved[:, :3, :3])
        shift = moved[:, :3, :3] @ self.pivot + moved[:, :3, 3] - self.pivot
        return torch.cat([turn, shift], -1) @ self.follow.T

    def world_from_torso(self, torso_transforms: Tensor) -> Tensor:
        """`[B, 4, 4]` that carry the torso of the reference pose to where `torso_transforms` `[B, 6]` put it."""
        turn = axis_angle_to_matrix(torso_transforms[:, :3])
        shift = self.pivot + torso_transforms[:, 3:] - turn @ self.pivot
        last = torso_transforms.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(torso_transforms), 1, 4)
        return torch.cat([torch.cat([turn, shift.unsqueeze(-1)], -1), last], 1)

    def bent(self, height: Tensor) -> Tensor:
        """Rows `[..., 4]` that give the skull height of a point (x, 1), changed so that the blend falls as learned."""
        middle = (self.blend.top + self.blend.bottom) / 2
        factor = self.neck[1].exp()
        constant = (1 - factor) * middle + 0.01 * self.neck[0]
        return factor * height + constant * height.new_tensor([0.0, 0.0, 0.0, 1.0])

    def share(self, points: Tensor) -> Tensor:
        """The torso's share of the motion of canonical points `[M, 3]`: 0 from the chin up, 1 below the neck."""
        height = self.bent(self.skull_from_reference[1])
        return 1 - self.blend.share(points @ height[:3] + height[3])

    def with_gradient(self, points: Tensor, torso_transforms: Tensor, frame: Tensor) -> Tensor:
        """Canonical points `[M, 3]` (metres) of frames `[M]`, unchanged, but differentiable in `[B, 6]` transforms.

        Rays are carried by values alone; here is what the points would do, to first order, did the torso move further.
        """
        turn, shift = (torso_transforms - torso_transforms.detach()).index_select(0, frame).split(3, -1)
        with torch.no_grad():
            share, arm = self.share(points).unsqueeze(-1), points - self.pivot
        return points - share * (shift + torch.linalg.cross(turn, arm))

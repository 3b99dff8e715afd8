"""The rigid part of the FLAME warp: the head's motion, blended with the torso's along the neck.

Canonical space is the world with the head in its reference pose. Around the head a world point x goes to
T_ref T_i^-1 x, where T is `world_from_skull`; the torso has its own motion (`avatar.field.torso`) or is static. Between
chin and collarbones the two are blended by a smooth step of the height in skull coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset

CHIN_MARGIN = 0.01
"""Metres below the chin down to which the head's motion applies in full."""


@dataclass
class NeckBlend:
    """Heights in skull coordinates (metres): the head's share is 1 above `top` and 0 below `bottom`."""

    top: float
    bottom: float

    def share(self, height: Tensor) -> Tensor:
        """The head's share of the motion at skull heights, in [0, 1]."""
        t = ((height - self.bottom) / (self.top - self.bottom)).clamp(0, 1)
        return t * t * (3 - 2 * t)


def neck_blend(asset: HeadAsset, neutral: Tensor, neck_fade: float) -> NeckBlend:
    """The blend for neutral vertices `[V, 3]` in skull coordinates; the chin is the lowest point of the jaw."""
    jaw = torch.as_tensor(asset.weights[:, 2] > 0.5, device=neutral.device) & torch.as_tensor(
        asset.region("face"), device=neutral.device
    )
    chin = float(neutral[jaw if jaw.any() else slice(None), 1].min())
    top = chin - CHIN_MARGIN
    return NeckBlend(top, top - neck_fade)


@dataclass
class RigidMotion:
    """Rigid head motion of B frames."""

    canonical_from_world: Tensor
    """`[B, 3, 4]`."""
    height: Tensor
    """`[B, 4]` rows that give the skull height of a world point (x, 1), metres."""

    @staticmethod
    def of(world_from_skull: Tensor, reference: Tensor) -> RigidMotion:
        """From `world_from_skull` `[B, 4, 4]` of the frames and `[4, 4]` of the reference pose; differentiable."""
        skull_from_world = rigid_inverse(world_from_skull)
        return RigidMotion((reference @ skull_from_world)[:, :3], skull_from_world[:, 1])

    def select(self, index: Tensor) -> RigidMotion:
        """The motion of the frames `index`."""
        return RigidMotion(self.canonical_from_world[index], self.height[index])


def rigid_inverse(transform: Tensor) -> Tensor:
    """Inverse of rigid transforms `[..., 4, 4]`."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(rotation @ transform[..., :3, 3:])
    return torch.cat([torch.cat([rotation, translation], -1), transform[..., 3:, :]], -2)


def apply_rigid(
    world_from_skull: Tensor,
    reference: Tensor,
    blend: NeckBlend,
    points: Tensor,
    world_from_torso: Tensor | None = None,
) -> Tensor:
    """Canonical points `[P, 3]` warped to the world of B frames: `[B, P, 3]`, metres.

    world_from_torso: `[B, 4, 4]`, None for a static torso. This is the inverse of `avatar.kernels.warp.op` where the
    head's share is 0 or 1, and an approximation in between.
    """
    skull = points @ rigid_inverse(reference)[:3, :3].T + rigid_inverse(reference)[:3, 3]
    share = blend.share(skull[:, 1])[None, :, None]
    head = carry(world_from_skull, skull)
    torso = points[None] if world_from_torso is None else carry(world_from_torso, points)
    return torso + share * (head - torso)


def carry(transforms: Tensor, points: Tensor) -> Tensor:
    """Points `[P, 3]` under transforms `[B, 4, 4]`: `[B, P, 3]`."""
    return torch.einsum("bij,pj->bpi", transforms[:, :3, :3], points) + transforms[:, None, :3, 3]

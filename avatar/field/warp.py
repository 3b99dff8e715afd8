"""The rigid half of the FLAME warp: head motion, undone around the head and fading below the neck.

Canonical space is the world with the head in its reference pose. Around the head a world point x goes to
T_ref T_i^-1 x, where T is `world_from_skull`; the torso has a motion of its own (`avatar.field.torso`), or stays in the
world. Between chin and collarbones the two are blended by a smooth step of the height in skull coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset

CHIN_MARGIN = 0.01
"""The head's motion holds in full down to this far below the chin, metres."""


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
    """The blend of a person with neutral vertices `[V, 3]` in skull coordinates; the chin is the jaw's lowest point."""
    jaw = torch.as_tensor(asset.weights[:, 2] > 0.5, device=neutral.device) & torch.as_tensor(
        asset.region("face"), device=neutral.device
    )
    chin = float(neutral[jaw if jaw.any() else slice(None), 1].min())
    top = chin - CHIN_MARGIN
    return NeckBlend(top, top - neck_fade)


@dataclass
class RigidMotion:
    """Head motion of B frames: `canonical_from_world` `[B, 3, 4]` and the row `[B, 4]` that gives skull height."""

    canonical_from_world: Tensor
    height: Tensor

    @staticmethod
    def of(world_from_skull: Tensor, reference: Tensor) -> RigidMotion:
        """From frames' `world_from_skull` `[B, 4, 4]` and the reference's `[4, 4]`; differentiable."""
        skull_from_world = rigid_inverse(world_from_skull)
        return RigidMotion((reference @ skull_from_world)[:, :3], skull_from_world[:, 1])

    def select(self, index: Tensor) -> RigidMotion:
        return RigidMotion(self.canonical_from_world[index], self.height[index])


def rigid_inverse(transform: Tensor) -> Tensor:
    """Inverse of rigid transforms `[..., 4, 4]`."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    shift = -(rotation @ transform[..., :3, 3:])
    return torch.cat([torch.cat([rotation, shift], -1), transform[..., 3:, :]], -2)


def apply_rigid(
    world_from_skull: Tensor,
    reference: Tensor,
    blend: NeckBlend,
    points: Tensor,
    world_from_torso: Tensor | None = None,
) -> Tensor:
    """Canonical points `[P, 3]` carried to the world of B frames `[B, P, 3]`; the torso by `world_from_torso`
    `[B, 4, 4]`, None where it stays.

    The inverse of `avatar.kernels.warp.op` up to the bend of the neck (exact where the share is 0 or 1).
    """
    skull = points @ rigid_inverse(reference)[:3, :3].T + rigid_inverse(reference)[:3, 3]
    share = blend.share(skull[:, 1])[None, :, None]
    head = carry(world_from_skull, skull)
    torso = points[None] if world_from_torso is None else carry(world_from_torso, points)
    return torso + share * (head - torso)


def carry(transforms: Tensor, points: Tensor) -> Tensor:
    """Points `[P, 3]` under transforms `[B, 4, 4]`: `[B, P, 3]`."""
    return torch.einsum("bij,pj->bpi", transforms[:, :3, :3], points) + transforms[:, None, :3, 3]

"""A scene with fresh weights, in the space that a clip or a checkpoint gives it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.config import BackendConfig, FieldConfig, RenderConfig
from avatar.field.identity import Identity
from avatar.field.scene import Scene
from avatar.field.warp import NeckBlend


@dataclass
class Space:
    """The canonical space of a scene: all that its construction needs besides the settings and the identity."""

    low: Tensor
    """`[3]` corner of the box, metres."""
    high: Tensor
    reference: Tensor
    """`[4, 4]` `world_from_skull` of the reference pose."""
    blend: NeckBlend
    unbounded: bool = False
    """The field goes on around the box."""
    follow: Tensor | None = None
    """`[6, 6]` `TorsoMotion.follow` to begin with, None for a torso that stands still."""


def is_unbounded(field: FieldConfig, camera_mode: str) -> bool:
    """Whether the field holds what stands around the person: no background does where the camera moves."""
    return field.background_in_field and camera_mode == "moving"


def make_scene(
    field: FieldConfig,
    render: RenderConfig,
    backends: BackendConfig,
    identity: Identity,
    space: Space,
    *,
    condition_size: int,
    seed: int,
) -> Scene:
    """A scene with fresh weights, drawn from `seed`; torch's own random state is left as it was.

    condition_size: length of a frame's condition, expression, jaw and eyes together.
    """
    device = space.low.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        scene = Scene(
            field,
            render,
            backends,
            frames=len(identity.params),
            condition_size=condition_size,
            expression_size=condition_size - 9,
            low=space.low,
            high=space.high,
            reference=space.reference,
            blend=space.blend,
            layout=None if identity.grids is None else identity.grids.layout,
            unbounded=space.unbounded,
        )
    if space.follow is not None and scene.torso is not None:
        scene.torso.follow.data.copy_(space.follow)
    return scene.to(device)

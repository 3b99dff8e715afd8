"""Construction of a scene with freshly initialised weights, for a clip or a checkpoint."""

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
    """The canonical space of a scene."""

    low: Tensor
    """`[3]` low corner of the box, metres."""
    high: Tensor
    """`[3]` high corner of the box, metres."""
    reference: Tensor
    """`[4, 4]` `world_from_skull` of the reference pose."""
    blend: NeckBlend
    """Blend between the head's and the torso's motion along the neck."""
    unbounded: bool = False
    """Whether the field includes the surroundings of the box (`avatar.field.contraction`)."""
    room: bool = False
    """Whether the room is learned in a field of its own (`avatar.field.room`)."""
    follow: Tensor | None = None
    """`[6, 6]` initial `TorsoMotion.follow`, None for zeros."""


def is_unbounded(field: FieldConfig, camera_mode: str) -> bool:
    """Whether the field includes the surroundings: a moving camera has no single background image."""
    return field.background_in_field and camera_mode == "moving"


def has_room(field: FieldConfig, camera_mode: str) -> bool:
    """Whether the room is learned in a field of its own."""
    return field.room.enabled and camera_mode == "moving" and not field.background_in_field


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
    """A scene with weights drawn from `seed`, on the device of `space`; torch's random state is left unchanged.

    condition_size: length of a frame's condition (expression, jaw and eyes).
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
            room=space.room,
        )
    if space.follow is not None and scene.torso is not None:
        scene.torso.follow.data.copy_(space.follow)
    return scene.to(device)

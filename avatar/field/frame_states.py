"""Inputs of the field: frames, their per-frame states, rays and probes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from avatar.field.radiance import FieldInputs
from avatar.field.warp import RigidMotion


@dataclass
class FrameData:
    """The data of B frames that do not depend on learned parameters."""

    world_from_skull: Tensor
    """`[B, 4, 4]`."""
    grids: Tensor | None
    """`[B, nodes, 3]` float16 displacement grids, None without the FLAME warp."""
    condition: Tensor
    """`[B, C]` raw expression, jaw and eyes."""

    def select(self, index: Tensor) -> FrameData:
        """The frames `index` `[B']` int64."""
        grids = None if self.grids is None else self.grids.index_select(0, index)
        return FrameData(self.world_from_skull.index_select(0, index), grids, self.condition.index_select(0, index))


@dataclass
class FrameStates:
    """The states of B frames that the field needs to render their rays."""

    motion: RigidMotion | None
    """Head motion, None without the FLAME warp."""
    grids: Tensor | None
    """`[B, nodes, 3]` float16 displacement grids, None without the FLAME warp."""
    low: Tensor
    """`[B, 3]` low corners of the frames' boxes, metres."""
    high: Tensor
    """`[B, 3]` high corners of the frames' boxes, metres."""
    coefficients: Tensor
    """`[B, K]` projected conditions."""
    deform: Tensor | None
    """`[B, code]` deformation codes."""
    appearance: Tensor | None
    """`[B, code]` appearance codes."""
    torso_transforms: Tensor | None
    """`[B, 6]` torso transforms (`avatar.field.torso`), for their gradient; None for a static torso."""
    torso_from_world: Tensor | None
    """`[B, 4, 4]` inverse motion of the torso; `motion`, `low` and `high` are in the torso's frame."""

    def boxes_of(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high corners `[R, 3]` of the boxes of frames `[R]`, metres."""
        return self.low.index_select(0, frame), self.high.index_select(0, frame)

    def carry(self, rays: Rays) -> Rays:
        """World rays transformed to the torso's frame, in which the field is queried."""
        if self.torso_from_world is None:
            return rays
        transform = self.torso_from_world.index_select(0, rays.frame)
        rotation, translation = transform[:, :3, :3], transform[:, :3, 3]

        def rotated(vectors: Tensor) -> Tensor:
            return (rotation * vectors.unsqueeze(1)).sum(-1)

        seen_from = None if rays.seen_from is None else rotated(rays.seen_from) + translation
        return Rays(rotated(rays.origins) + translation, rotated(rays.directions), rays.frame, rays.mask, seen_from)


@dataclass
class Rays:
    """R rays of B frames, in the world or, after `FrameStates.carry`, in the torso's frame."""

    origins: Tensor
    """`[R, 3]` metres."""
    directions: Tensor
    """`[R, 3]` unit."""
    frame: Tensor
    """`[R]` int64 index of the ray's frame among the B."""
    mask: Tensor
    """`[R]` bool ray mask: whether the posed head's silhouette covers the ray's pixel."""
    seen_from: Tensor | None = None
    """`[R, 3]` view points for the colours, metres; None for the rays' origins. In front of a static camera only the
    head rotates, so the view dependence that the field learns is that of the shading on the head's rotation. Other
    cameras therefore show the colours that the captured camera would see."""

    def select(self, index: Tensor) -> Rays:
        """The rays `index` `[R']` int64."""
        origins, directions, frame, mask = (
            part.index_select(0, index) for part in (self.origins, self.directions, self.frame, self.mask)
        )
        seen_from = None if self.seen_from is None else self.seen_from.index_select(0, index)
        return Rays(origins, directions, frame, mask, seen_from)


@dataclass
class CanonicalSamples:
    """M samples in canonical space, before the deformation field."""

    points: Tensor
    """`[M, 3]` points x', metres; differentiable in the frames' poses."""
    directions: Tensor
    """`[M, 3]` unit view directions, rotated with the head."""


@dataclass
class Probes:
    """P points at which training queries the field in addition to the rays' samples, in the same call."""

    points: Tensor
    """`[P, 3]` points x', metres."""
    frame: Tensor
    """`[P]` int64 index of the point's frame among the B."""
    mask: Tensor
    """`[P]` bool ray mask."""


@dataclass
class ProbeAnswers:
    """The field at P probes."""

    density: Tensor
    """`[P]` per centimetre."""
    translation: Tensor
    """`[P, 3]` translations of the deformation field, metres."""
    features: Tensor
    """`[P, C]` geometry features, for the colour."""
    inputs: FieldInputs

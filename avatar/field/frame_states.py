"""Frames and their rays as the field takes them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from avatar.field.warp import RigidMotion


@dataclass
class FrameData:
    """What is known of B frames before the field is asked; fixed during training."""

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
    """What the field needs of B frames while their rays are rendered."""

    motion: RigidMotion | None
    grids: Tensor | None
    low: Tensor
    """`[B, 3]` corners of the frames' part of the world, metres."""
    high: Tensor
    coefficients: Tensor
    """`[B, K]`."""
    deform: Tensor | None
    """`[B, code]` deformation codes."""
    appearance: Tensor | None
    """`[B, code]` appearance codes."""
    torso_transforms: Tensor | None
    """`[B, 6]` motion of the torso (`field.torso`), for its gradient."""
    torso_from_world: Tensor | None
    """`[B, 4, 4]` that undo the torso's motion: `motion`, `low` and `high` are of the space where it stands still."""

    def boxes_of(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Corners `[R, 3]` of the parts of the world that frames `[R]` can show, metres."""
        return self.low.index_select(0, frame), self.high.index_select(0, frame)

    def carry(self, rays: Rays) -> Rays:
        """World rays as the field takes them: in the space where the torso stands still."""
        if self.torso_from_world is None:
            return rays
        moved = self.torso_from_world.index_select(0, rays.frame)
        turn, shift = moved[:, :3, :3], moved[:, :3, 3]

        def turned(vectors: Tensor) -> Tensor:
            return (turn * vectors.unsqueeze(1)).sum(-1)

        seen_from = None if rays.seen_from is None else turned(rays.seen_from) + shift
        return Rays(turned(rays.origins) + shift, turned(rays.directions), rays.frame, rays.mask, seen_from)


@dataclass
class Rays:
    """R rays of B frames, in the world or, carried by the frames' states, where the torso stands still."""

    origins: Tensor
    """`[R, 3]` world, metres."""
    directions: Tensor
    """`[R, 3]` unit."""
    frame: Tensor
    """`[R]` int64, which of the B frames a ray belongs to."""
    mask: Tensor
    """`[R]` bool, whether the posed head's silhouette covers the ray's pixel."""
    seen_from: Tensor | None = None
    """`[R, 3]` points from which colours are looked at, None for the rays' origins. Before a camera that stands still
    only the head turns, so what the field learns as a dependence on the view is the light's on the head's turn. Other
    cameras therefore see the colours that the captured one would."""

    def select(self, index: Tensor) -> Rays:
        """The rays `index` `[R']` int64."""
        origins, directions, frame, mask = (
            part.index_select(0, index) for part in (self.origins, self.directions, self.frame, self.mask)
        )
        seen_from = None if self.seen_from is None else self.seen_from.index_select(0, index)
        return Rays(origins, directions, frame, mask, seen_from)


@dataclass
class CanonicalSamples:
    """Where M samples lie before the deformation field moves them."""

    points: Tensor
    """`[M, 3]` x', metres; differentiable in the frames' poses."""
    directions: Tensor
    """`[M, 3]` view directions, turned with the head, as shading seen by a still camera is."""


@dataclass
class Probes:
    """P points beside the rays' samples that training asks the field for, in one call with the samples."""

    points: Tensor
    """`[P, 3]` x', metres."""
    frame: Tensor
    """`[P]` int64, which of the B frames a point is asked in; the ray mask is on."""


@dataclass
class ProbeAnswers:
    """What the field answered to P probes."""

    density: Tensor
    """`[P]` per centimetre."""
    translation: Tensor
    """`[P, 3]` of the deformation field, metres."""

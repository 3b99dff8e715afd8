"""The results of mesh queries, and interpolation at surface points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

FADE_START = 0.6
"""Share of the reach at which `MeshQuery.spread` begins to fade to zero."""


@dataclass(frozen=True)
class RayHits:
    """First hits of rays, on either side of a face."""

    face: Tensor
    """`[N]` int32, -1 for a miss."""
    depth: Tensor
    """`[N]` float32 in lengths of the ray's direction, infinite for a miss."""
    barycentrics: Tensor
    """`[N, 3]` float32 weights of the face's vertices in their order, zero for a miss."""


@dataclass(frozen=True)
class ClosestPoints:
    """Closest points on the mesh's surface."""

    face: Tensor
    """`[N]` int32, -1 where the surface is not within the limit."""
    barycentrics: Tensor
    """`[N, 3]` float32 weights of the face's vertices in their order, zero where there is none."""
    distance: Tensor
    """`[N]` float32 metres, infinite where there is none."""


def interpolate(values: Tensor, faces: Tensor, face: Tensor, barycentrics: Tensor) -> Tensor:
    """Vertex values `[V, C]` at surface points `[N]` given by face and barycentrics `[N, 3]`: `[N, C]`.

    Differentiable in values and barycentrics. Points without a face (-1) give zero.
    """
    found = face >= 0
    corners = faces.long()[face.long().clamp_min(0)]
    weights = barycentrics * found[..., None]
    return (values[corners] * weights[..., None]).sum(-2)

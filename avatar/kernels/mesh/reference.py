"""Mesh queries in plain PyTorch, testing every triangle."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.mesh.types import FADE_START, ClosestPoints, RayHits, interpolate


def cast_rays(
    vertices: Tensor, faces: Tensor, origins: Tensor, directions: Tensor, *, max_depth: float = 1e9
) -> RayHits:
    """First hits of rays `[N, 3]`, testing every face from both sides (Moeller and Trumbore 1997)."""
    a, b, c = (vertices[faces[:, i].long()] for i in range(3))
    first, second = b - a, c - a
    normal = torch.linalg.cross(directions.unsqueeze(1), second.unsqueeze(0))
    determinant = (normal * first).sum(-1)
    safe = torch.where(determinant == 0, torch.ones_like(determinant), determinant)
    offset = origins.unsqueeze(1) - a
    u = (offset * normal).sum(-1) / safe
    other = torch.linalg.cross(offset, first.unsqueeze(0).expand_as(offset))
    v = (directions.unsqueeze(1) * other).sum(-1) / safe
    depth = (second * other).sum(-1) / safe
    hit = (determinant != 0) & (u >= 0) & (v >= 0) & (u + v <= 1) & (depth >= 0) & (depth <= max_depth)
    depth, face = torch.where(hit, depth, torch.inf).min(1)
    found = torch.isfinite(depth)
    u, v = (value.gather(1, face.unsqueeze(1)).squeeze(1) for value in (u, v))
    weights = torch.stack([1 - u - v, u, v], dim=-1) * found.unsqueeze(1)
    return RayHits(torch.where(found, face, -1).int(), depth, weights)


def closest_on_triangles(points: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Barycentrics `[..., 3]` of the closest points of triangles (corners `[..., 3]`) to points `[..., 3]`.

    By Voronoi regions (Ericson, Real-Time Collision Detection, 2005, section 5.1.5).
    """
    ab, ac = b - a, c - a
    d1, d2 = (ab * (points - a)).sum(-1), (ac * (points - a)).sum(-1)
    d3, d4 = (ab * (points - b)).sum(-1), (ac * (points - b)).sum(-1)
    d5, d6 = (ab * (points - c)).sum(-1), (ac * (points - c)).sum(-1)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = torch.zeros_like(va), torch.ones_like(va)

    def share(top: Tensor, bottom: Tensor) -> Tensor:
        return top / torch.where(bottom == 0, one, bottom)

    v, w = share(vb, va + vb + vc), share(vc, va + vb + vc)
    result = torch.stack([1 - v - w, v, w], -1)  # inside
    t = share(d4 - d3, (d4 - d3) + (d5 - d6))
    edge_bc = (va <= 0) & (d4 - d3 >= 0) & (d5 - d6 >= 0)
    result = torch.where(edge_bc.unsqueeze(-1), torch.stack([zero, 1 - t, t], -1), result)
    t = share(d2, d2 - d6)
    edge_ac = (vb <= 0) & (d2 >= 0) & (d6 <= 0)
    result = torch.where(edge_ac.unsqueeze(-1), torch.stack([1 - t, zero, t], -1), result)
    t = share(d1, d1 - d3)
    edge_ab = (vc <= 0) & (d1 >= 0) & (d3 <= 0)
    result = torch.where(edge_ab.unsqueeze(-1), torch.stack([1 - t, t, zero], -1), result)
    at_c, at_b, at_a = (d6 >= 0) & (d5 <= d6), (d3 >= 0) & (d4 <= d3), (d1 <= 0) & (d2 <= 0)
    for where, corner in ((at_c, (zero, zero, one)), (at_b, (zero, one, zero)), (at_a, (one, zero, zero))):
        result = torch.where(where.unsqueeze(-1), torch.stack(corner, -1), result)
    return result


def closest_points(vertices: Tensor, faces: Tensor, points: Tensor, max_distance: float = 1e9) -> ClosestPoints:
    """Closest surface points of `points` `[N, 3]`, testing every face."""
    a, b, c = (vertices[faces[:, i].long()].unsqueeze(0) for i in range(3))
    weights = closest_on_triangles(points.unsqueeze(1), a, b, c)
    nearest = weights[..., :1] * a + weights[..., 1:2] * b + weights[..., 2:] * c
    distance, face = (nearest - points.unsqueeze(1)).norm(dim=-1).min(1)
    found = distance < max_distance
    weights = weights.gather(1, face.view(-1, 1, 1).expand(-1, 1, 3)).squeeze(1) * found.unsqueeze(1)
    return ClosestPoints(
        torch.where(found, face, -1).int(), weights, torch.where(found, distance, torch.full_like(distance, torch.inf))
    )


def fade_with_distance(distance: Tensor, fade: float, reach: float) -> Tensor:
    """exp(-distance / fade) times a smooth step from 1 at 60 % of `reach` to 0 at `reach` (all metres)."""
    t = ((distance / reach - FADE_START) / (1 - FADE_START)).clamp(0, 1)
    return torch.exp(-distance / fade) * (1 - t * t * (3 - 2 * t))


def spread(vertices: Tensor, faces: Tensor, points: Tensor, values: Tensor, *, fade: float, reach: float) -> Tensor:
    """Vertex values `[V, C]` extrapolated off the surface to `points` `[N, 3]`: `[N, C]`; see `MeshQuery.spread`."""
    nearest = closest_points(vertices, faces, points, reach)
    found = nearest.face >= 0
    weight = torch.where(found, fade_with_distance(nearest.distance, fade, reach), 0)
    return weight.unsqueeze(-1) * interpolate(values, faces, nearest.face, nearest.barycentrics)

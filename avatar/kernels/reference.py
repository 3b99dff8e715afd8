"""The kernels' twins in plain PyTorch: slow, short, differentiable by autograd, and what the kernels are tested by.

They run on any device and in double precision, and stand in for the kernels where the backend `torch` is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.kernels.mesh.op import FADE_START, ClosestPoints, RayHits, interpolate

if TYPE_CHECKING:
    from avatar.kernels.hash_grid.op import HashGridSpec

CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2 & 1) for i in range(8))


def hash_corners(cell: Tensor, resolution: int, size: int, hashed: bool) -> Tensor:
    """Entries `[N, 8]` int64, within their level, of the corners of cells `[N, 3]` int64 (Instant-NGP, equation 4)."""
    from avatar.kernels.hash_grid.op import PRIMES

    corner = cell.unsqueeze(1) + torch.tensor(CORNERS, device=cell.device)
    if hashed:
        mixed = corner * torch.tensor(PRIMES, device=cell.device)
        return (mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]) & (size - 1)
    row = resolution + 1
    return corner[..., 0] + row * (corner[..., 1] + row * corner[..., 2])


def hash_encode(
    positions: Tensor,
    table: Tensor,
    spec: HashGridSpec,
    *,
    table_index: Tensor | None = None,
    level_weights: Tensor | None = None,
) -> Tensor:
    """Features `[N, L * F]`; arguments as `hash_grid.hash_encode`, the table being `[B, T, F]`."""
    dtype = torch.promote_types(positions.dtype, torch.float32)
    flat = table.flatten(0, 1)
    base = 0 if table_index is None else (table_index.long() * spec.table_size).unsqueeze(1)
    inside = positions.to(dtype).clamp(0, 1)
    corner = torch.tensor(CORNERS, device=positions.device, dtype=torch.bool)
    parts = []
    for level, resolution in enumerate(spec.level_resolutions):
        scaled = inside * resolution
        # NaN stays in the weights, but must not reach the index
        cell = scaled.detach().floor().clamp(max=resolution - 1).nan_to_num(0.0)
        part = (scaled - cell).unsqueeze(1)
        weight = torch.where(corner, part, 1 - part).prod(-1)
        entry = hash_corners(cell.long(), resolution, spec.level_sizes[level], spec.level_hashed[level])
        values = flat[base + spec.level_offsets[level] + entry].to(dtype)
        features = (weight.unsqueeze(-1) * values).sum(1)
        parts.append(features if level_weights is None else features * level_weights[level].to(dtype))
    return torch.cat(parts, dim=-1)


def cast_rays(
    vertices: Tensor, faces: Tensor, origins: Tensor, directions: Tensor, *, max_depth: float = 1e9
) -> RayHits:
    """First hits of rays `[N, 3]` by trying every face (Moeller and Trumbore 1997), both sides."""
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
    """Barycentrics `[..., 3]` of the points of triangles nearest to points `[..., 3]`.

    By the regions of Ericson, Real-Time Collision Detection (2005), section 5.1.5.
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
    """Nearest surface points of `points` `[N, 3]` by trying every face."""
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
    """exp(-distance / fade), brought to zero smoothly between 60 % of `reach` and `reach` (all metres)."""
    t = ((distance / reach - FADE_START) / (1 - FADE_START)).clamp(0, 1)
    return torch.exp(-distance / fade) * (1 - t * t * (3 - 2 * t))


def spread(vertices: Tensor, faces: Tensor, points: Tensor, values: Tensor, *, fade: float, reach: float) -> Tensor:
    """Vertex values `[V, C]` carried off the surface to `points` `[N, 3]`: `[N, C]`; see `MeshQuery.spread`."""
    nearest = closest_points(vertices, faces, points, reach)
    found = nearest.face >= 0
    weight = torch.where(found, fade_with_distance(nearest.distance, fade, reach), 0)
    return weight.unsqueeze(-1) * interpolate(values, faces, nearest.face, nearest.barycentrics)


def mlp(
    parts: Sequence[tuple[Tensor, Tensor | None]],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    skip: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Outputs `[N, O]` in `dtype`; arguments as `fused_mlp.fused_mlp`."""
    columns = [value if index is None else value.index_select(0, index) for value, index in parts]
    x = torch.cat([column.to(dtype) for column in columns], -1)
    h = x
    for layer, weight in enumerate(weights):
        if skip and layer == skip:
            h = torch.cat([h, x], -1)
        h = F.linear(h, weight.to(dtype), None if biases is None else biases[layer].to(dtype))
        if layer + 1 < len(weights):
            h = F.relu(h, inplace=True)
    return h


def render_weights(thickness: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and light `[M]`; arguments as `volume.render_weights`, in float32 or float64."""
    ray = torch.repeat_interleave(torch.arange(len(first) - 1, device=first.device), first.diff())
    # in double: the sum runs over all rays of the pack, and its differences are wanted
    total = torch.cumsum(thickness.double(), 0)
    before = total - thickness.double()
    start = before[first[ray]] if len(ray) else before
    light = torch.exp(-(before - start)).to(thickness.dtype)
    return light * (1 - torch.exp(-thickness)), light


def sum_along_rays(weights: Tensor, first: Tensor, values: Tensor | None = None) -> Tensor:
    """Sums `[R]` or `[R, C]`; arguments as `volume.sum_along_rays`."""
    ray = torch.repeat_interleave(torch.arange(len(first) - 1, device=first.device), first.diff())
    product = weights if values is None else weights.unsqueeze(1) * values
    return product.new_zeros(len(first) - 1, *product.shape[1:]).index_add(0, ray, product)


def place_samples(
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    ray: Tensor,
    depth: Tensor,
    *,
    canonical_from_world: Tensor | None = None,
    height: Tensor | None = None,
    neck: tuple[float, float] = (1.0, 0.0),
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Points and view directions `[M, 3]`; arguments as `placement.place_samples`."""
    views = directions[ray]
    points = origins[ray] + depth.unsqueeze(1) * views
    if canonical_from_world is not None:
        matrix, row = canonical_from_world[frame[ray]], height[frame[ray]]
        rotation = matrix[..., :3]
        t = (((row[:, :3] * points).sum(-1) + row[:, 3] - neck[1]) / (neck[0] - neck[1])).clamp(0, 1)
        share = (t * t * (3 - 2 * t)).unsqueeze(1)
        moved = (rotation @ points.unsqueeze(-1)).squeeze(-1) + matrix[..., 3]
        turned = (rotation @ views.unsqueeze(-1)).squeeze(-1)
        points = points + share * (moved - points)
        views = F.normalize(views + share * (turned - views), dim=-1).detach()
    return points if shift is None else points - shift, views


def frequency_encode(values: Tensor, bands: int, window: Tensor) -> Tensor:
    """`[N, D + 2 D bands]`; arguments as `frequency.frequency_encode`."""
    scales = math.pi * 2.0 ** torch.arange(bands, dtype=values.dtype, device=values.device)
    angles = values.unsqueeze(-2) * scales.unsqueeze(-1)
    weights = window.to(values.dtype).unsqueeze(-1)
    sines, cosines = torch.sin(angles) * weights, torch.cos(angles) * weights
    return torch.cat([values, sines.flatten(-2), cosines.flatten(-2)], -1)


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Harmonics `[N, 9]`; arguments as `harmonics.spherical_harmonics`."""
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -0.4886025119029199 * y,
            0.4886025119029199 * z,
            -0.4886025119029199 * x,
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        -1,
    )


def locate_cells(points: Tensor, low: Tensor, cell: Tensor, counts: tuple[int, int, int]) -> Tensor:
    """Flat indices `[P]` int32, -1 outside; arguments as `cells.locate_cells`."""
    place = (points - low) / cell
    inside = ((place >= 0) & (place < place.new_tensor(counts))).all(-1)
    x, y, z = torch.where(inside.unsqueeze(-1), place, 0).long().unbind(-1)
    return torch.where(inside, (x * counts[1] + y) * counts[2] + z, -1).int()


def remember_largest(memory: Tensor, cells: Tensor, values: Tensor, *, decay: float, unseen: float) -> None:
    """Update `memory` `[C]` in place; arguments as `cells.remember_largest`."""
    known = cells >= 0
    largest = torch.full_like(memory, -1.0)
    largest.scatter_reduce_(0, cells[known].long(), values[known], "amax")
    fresh = torch.where(memory >= unseen, largest, torch.maximum(largest, decay * memory))
    memory.copy_(torch.where(largest >= 0, fresh, memory))


def mixed_encode(positions: Tensor, bank: Tensor, coefficients: Tensor, frame: Tensor, spec: HashGridSpec) -> Tensor:
    """Features `[N, L * F]`; arguments as `mixed_grid.mixed_encode`."""
    mixed = torch.einsum("tfk,bk->btf", bank, coefficients)
    features = hash_encode(positions, mixed, spec, table_index=frame.clamp_min(0))
    return torch.where((frame >= 0).unsqueeze(1), features, 0)

"""Values of the head's vertices continued over the mesh: from its other side, and from what is around."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.geometry.meshes import faces_inside, uniform_laplacian
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

SMOOTH_STEPS = 60
"""Steps of diffusion over what was filled in."""
LEAST_KNOWN = 0.01
"""Share below which a value counts as unknown: means over next to nothing are no colours."""
MIRRORED_WITHIN = 0.01
"""Metres from a mirrored vertex to the surface within which it has a partner on the other side."""


def mirrored(vertices: Tensor, faces: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Albedo `[V, 3]` and confidence `[V]` at each vertex's place on the head's other side (x -> -x).

    values: `[V, 4]` albedo and confidence. Vertices `[V, 3]` are the neutral head in skull coordinates; where the other
    side has no surface near the mirrored place, the confidence is zero.
    """
    middle = (vertices[:, 0].amin() + vertices[:, 0].amax()) / 2
    flipped = torch.stack([2 * middle - vertices[:, 0], vertices[:, 1], vertices[:, 2]], 1).contiguous()
    nearest = MeshQuery(faces, vertices.device).update(vertices).closest_points(flipped, MIRRORED_WITHIN)
    # a corner without confidence has no albedo to give
    weighted = torch.cat([values[:, :3] * values[:, 3:], values[:, 3:]], 1)
    albedo, confidence = interpolate(weighted, faces, nearest.face, nearest.barycentrics).split([3, 1], 1)
    return albedo / confidence.clamp_min(1e-6), torch.where(nearest.face >= 0, confidence[:, 0], 0.0)


def fill_over_mesh(values: Tensor, known: Tensor, faces: Tensor, scalp: Tensor) -> Tensor:
    """Values `[V, 3]` continued over the mesh where they are not `known` `[V]` in [0, 1]: ring by ring, then smoothed,
    apart from each other on and off the `scalp` `[V]` bool, where hair ends. Parts without any known value take the
    mean of all."""
    known = torch.where(known > LEAST_KNOWN, known, 0.0)
    mean = (known[:, None] * values).sum(0) / known.sum().clamp_min(1e-6)
    apart = faces[faces_inside(faces, scalp) | faces_inside(faces, ~scalp)]
    laplacian = uniform_laplacian(apart, len(values)).to(values.device)
    reached, result = (known > 0).float()[:, None], torch.where((known > 0)[:, None], values, 0.0)
    while True:
        beside = reached + laplacian @ reached  # the share of a vertex's neighbours that are reached
        new = (reached == 0) & (beside > 0)
        if not new.any():
            break
        result = torch.where(new, (result + laplacian @ result) / beside.clamp_min(1e-6), result)
        reached = torch.where(new, 1.0, reached)
    result = torch.where(reached > 0, result, mean)
    for _ in range(SMOOTH_STEPS):
        result = known[:, None] * values + (1 - known[:, None]) * (result + laplacian @ result)
    return result

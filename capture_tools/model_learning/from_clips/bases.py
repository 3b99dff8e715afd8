"""Displacements of whole heads without size and place, off the expressions' span.

Inner products of displacements d, e `[V, 3]` are those of a vertex metric, <d, e> = sum_v m_v d_v . e_v with the area
m_v that belongs to each vertex.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.geometry.meshes import face_normals
from capture_tools.model_learning.linear import count_explaining

TINY_SHARE = 1e-12
"""Share of the expressions' variance below which a direction of theirs is rounding."""


def vertex_areas(asset: HeadAsset) -> Tensor:
    """`[V]` float64: the area that belongs to each vertex of the template, a third of its triangles'; square metres."""
    vertices, faces = torch.as_tensor(asset.template).double(), torch.as_tensor(asset.faces).long()
    thirds = face_normals(vertices, faces).norm(dim=-1) / 6
    return torch.zeros(len(vertices), dtype=torch.float64).index_add(0, faces.flatten(), thirds.repeat_interleave(3))


def without_similarity(displaced: Tensor, template: Tensor, weights: Tensor) -> Tensor:
    """Displacements `[N, V, 3]` without the best small motion and growth of the template `[V, 3]`.

    weights: `[V]`, where they are compared: the face. No picture tells a large head from a small one nearer by, and a
    moved one is the same person.
    """
    centred = template - (weights[:, None] * template).sum(0) / weights.sum()
    shifts = torch.eye(3, dtype=template.dtype).expand(len(template), 3, 3)
    turns = torch.linalg.cross(shifts, centred[:, None].expand(-1, 3, 3))
    moves = torch.cat([shifts, turns, centred[:, None]], 1)  # [V, 7, 3]
    system = torch.einsum("v,vad,vbd->ab", weights, moves, moves)
    right = torch.einsum("v,vad,nvd->na", weights, moves, displaced)
    return displaced - torch.einsum("na,vad->nvd", torch.linalg.solve(system, right.T).T, moves)


def expression_span(asset: HeadAsset, areas: Tensor, share: float) -> Tensor:
    """`[R, V, 3]` orthonormal by the vertex metric: the principal expressions with a share of all variance.

    share 1 gives the whole span. The last per cent are mixtures of expressions far outside [0, 1], which would take
    with them what tells people apart.
    """
    root = areas.sqrt()[:, None]
    scaled = torch.as_tensor(asset.exprdirs).double().permute(2, 0, 1) * root
    _, values, right = torch.linalg.svd(scaled.flatten(1), full_matrices=False)
    known = int((values.square() > TINY_SHARE * values[0].square()).sum())
    count = known if share >= 1 else min(known, count_explaining(values.square(), share))
    return right[:count].unflatten(-1, (-1, 3)) / root.clamp_min(1e-12)


def off_span(displaced: Tensor, span: Tensor, areas: Tensor) -> Tensor:
    """Displacements `[N, V, 3]` projected onto the complement of an orthonormal span `[R, V, 3]`."""
    inner = torch.einsum("v,rvd,nvd->nr", areas, span, displaced)
    return displaced - torch.einsum("nr,rvd->nvd", inner, span)


def largest_cosine(directions: Tensor, span: Tensor, areas: Tensor) -> float:
    """Cosine of the smallest angle between a direction `[K, V, 3]` and an orthonormal span `[R, V, 3]`."""
    inner = torch.einsum("v,rvd,kvd->kr", areas, span, directions)
    lengths = torch.einsum("v,kvd,kvd->k", areas, directions, directions).sqrt()
    return float((inner.norm(dim=1) / lengths.clamp_min(1e-12)).max())

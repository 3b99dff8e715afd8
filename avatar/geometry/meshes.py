"""Triangle meshes: normals, edges, Laplacian and parts."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import InputError


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals `[..., F, 3]` of counter-clockwise faces `[F, 3]`, of length twice the face area."""
    a, b, c = (vertices[..., faces[:, i].long(), :] for i in range(3))
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals `[..., V, 3]` of vertices `[..., V, 3]`, the area-weighted mean over their faces `[F, 3]`.

    A vertex without faces, or with degenerate ones only, has a zero normal. Differentiable.
    """
    normals = face_normals(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(vertices.dim() - 2, faces[:, corner].long(), normals)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def unique_edges(faces: Tensor) -> Tensor:
    """The undirected edges `[E, 2]` int64 of faces `[F, 3]`, each once, lower vertex first, sorted."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()
    return torch.unique(pairs.sort(dim=1).values, dim=0)


def boundary_edges(faces: Tensor) -> Tensor:
    """The edges `[E, 2]` int64 that belong to exactly one face: the rims of the mesh's holes."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()
    edges, counts = torch.unique(pairs.sort(dim=1).values, dim=0, return_counts=True)
    return edges[counts == 1]


def uniform_laplacian(faces: Tensor, vertex_count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The uniform graph Laplacian `[V, V]` (sparse, coalesced COO): L @ x = mean over the neighbours - x.

    A vertex without neighbours has an empty row.
    """
    edges = unique_edges(faces)
    both = torch.cat([edges, edges.flip(1)])
    degree = torch.bincount(both[:, 0], minlength=vertex_count)
    linked = torch.nonzero(degree).squeeze(1)
    rows = torch.cat([both[:, 0], linked])
    columns = torch.cat([both[:, 1], linked])
    values = torch.cat([1 / degree[both[:, 0]].to(dtype), -torch.ones(len(linked), dtype=dtype, device=faces.device)])
    indices = torch.stack([rows, columns])
    return torch.sparse_coo_tensor(indices, values, (vertex_count, vertex_count), check_invariants=False).coalesce()


def faces_inside(faces: Tensor, vertex_mask: Tensor) -> Tensor:
    """The mask `[F]` of faces all of whose vertices are in `vertex_mask` `[V]` bool."""
    return vertex_mask[faces.long()].all(dim=1)


def submesh(faces: Tensor, face_mask: Tensor) -> tuple[Tensor, Tensor]:
    """A part of a mesh with vertices renumbered.

    faces: `[F, 3]`; face_mask: `[F]` bool. Returns the part's faces `[F', 3]` in the new numbering and the dtype of
    `faces`, and `vertex_indices` `[V']` int64: the old index of each new vertex, ascending. Raises InputError where the
    mask does not fit the faces.
    """
    if face_mask.shape != faces.shape[:1]:
        raise InputError("a face mask does not fit the faces", expected=faces.shape[:1], found=face_mask.shape)
    kept = faces[face_mask]
    vertex_indices, renumbered = torch.unique(kept.long(), return_inverse=True)
    return renumbered.to(faces.dtype).reshape(-1, 3), vertex_indices


def connected_components(faces: Tensor, vertex_count: int) -> Tensor:
    """A label `[V]` int64 per vertex: the lowest vertex index of its connected component."""
    labels = torch.arange(vertex_count, device=faces.device)
    edges = unique_edges(faces)
    while True:
        lowest = torch.minimum(labels[edges[:, 0]], labels[edges[:, 1]])
        fresh = labels.clone()
        fresh.scatter_reduce_(0, edges.flatten(), lowest.repeat_interleave(2), reduce="amin")
        fresh = fresh[fresh]  # pointer jumping: chains halve every round
        if torch.equal(fresh, labels):
            return labels
        labels = fresh

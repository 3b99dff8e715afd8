"""Faults of a registered mesh: triangles that are turned over, and triangles that cross."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

SMALLEST_COSINE = 0.0
"""Between a triangle's normal and that of the model's; below it is turned over."""


def flipped_triangles(vertices: np.ndarray, model: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which triangles `[F]` face away from where the same triangles of `model` face; vertices `[V, 3]` each."""
    return (_normals(vertices, faces) * _normals(model, faces)).sum(1) < SMALLEST_COSINE


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def crossing_triangles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which triangles `[F]` are crossed by another without a common vertex: an edge of one goes through the other."""
    centroid = vertices[faces].mean(1)
    radius = np.linalg.norm(vertices[faces] - centroid[:, None], axis=2).max(1)
    crossed = np.zeros(len(faces), bool)
    large = radius > 2 * np.median(radius)  # searched on their own, so that the others keep a small radius
    small = np.flatnonzero(~large)
    pairs = [small[KDTree(centroid[small]).query_pairs(2 * float(radius[small].max()), output_type="ndarray")]]
    tree = KDTree(centroid)
    for index in np.flatnonzero(large):
        near = np.array(tree.query_ball_point(centroid[index], radius[index] + radius.max()))
        pairs.append(np.stack([np.full(len(near), index), near], 1))
    first, second = np.concatenate(pairs).T
    apart = np.linalg.norm(centroid[first] - centroid[second], axis=1) < radius[first] + radius[second]
    apart &= ~(faces[first][:, :, None] == faces[second][:, None, :]).any((1, 2))
    first, second = first[apart], second[apart]
    for one, other in ((first, second), (second, first)):
        for corner in range(3):
            start, end = vertices[faces[one, corner]], vertices[faces[one, (corner + 1) % 3]]
            through = _goes_through(start, end, vertices[faces[other]])
            crossed[one[through]] = crossed[other[through]] = True
    return crossed


def _goes_through(start: np.ndarray, end: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Which segments `[N, 3]` to `[N, 3]` go through triangles `[N, 3, 3]` (Möller and Trumbore, 1997)."""
    along = end - start
    u_edge, v_edge = triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    across = np.cross(along, v_edge)
    volume = (u_edge * across).sum(1)
    size = np.linalg.norm(along, axis=1) * np.linalg.norm(u_edge, axis=1) * np.linalg.norm(v_edge, axis=1)
    proper = np.abs(volume) > 1e-9 * size + 1e-300
    inverse = 1 / np.where(proper, volume, 1)
    offset = start - triangle[:, 0]
    u = (offset * across).sum(1) * inverse
    other = np.cross(offset, u_edge)
    v = (along * other).sum(1) * inverse
    t = (v_edge * other).sum(1) * inverse
    return proper & (u > 0) & (v > 0) & (u + v < 1) & (t > 0) & (t < 1)

"""The surface at which values on a grid cross a level, by marching tetrahedra (Doi and Koide 1991), in NumPy."""

from __future__ import annotations

import numpy as np

CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
"""Corners of a cell; corner c has the bits of x, y, z."""
TETRAHEDRA = np.array([[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]])
"""Six tetrahedra about a cell's diagonal: they meet those of the next cell face to face: no holes."""


def isosurface(
    values: np.ndarray, level: float, low: np.ndarray, cell: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[P, 3]` float64 and faces `[F, 3]` int64 of the surface around all that is above `level`.

    values: `[X, Y, Z]` at the nodes `low` + `cell` * (i, j, k). Faces are counter-clockwise seen from below the level.
    Where the grid's border is above the level, the surface ends open.
    """
    inside = values > level
    corners = _crossed_tetrahedra(inside)
    flat, flags = values.reshape(-1).astype(np.float64), inside.reshape(-1)[corners]
    order = np.argsort(~flags, axis=1, kind="stable")  # the corners above the level first
    corners, above = np.take_along_axis(corners, order, 1), flags.sum(1)
    a, b, c, d = corners.T
    one, two, three = (above == count for count in (1, 2, 3))
    edges = [
        _triangles(one, (a, b), (a, c), (a, d)),
        _triangles(two, (a, c), (a, d), (b, d)),
        _triangles(two, (a, c), (b, d), (b, c)),
        _triangles(three, (a, d), (b, d), (c, d)),
    ]
    owners = np.concatenate([np.flatnonzero(one), *[np.flatnonzero(two)] * 2, np.flatnonzero(three)])
    pairs = np.sort(np.concatenate(edges).reshape(-1, 2), axis=1)
    unique, faces = np.unique(pairs[:, 0] * values.size + pairs[:, 1], return_inverse=True)
    first, second = np.divmod(unique, values.size)
    span = flat[second] - flat[first]
    share = ((level - flat[first]) / np.where(span == 0, 1, span))[:, None]
    nodes = np.stack(np.unravel_index(np.arange(values.size), values.shape), 1)
    places = nodes[first] + share * (nodes[second] - nodes[first])
    faces = _outward(faces.reshape(-1, 3), places, nodes[corners[owners]], above[owners])
    return low + cell * places, faces


def _crossed_tetrahedra(inside: np.ndarray) -> np.ndarray:
    """Flat node indices `[T, 4]` of the tetrahedra with corners on both sides."""
    x, y, z = inside.shape
    count = np.zeros((x - 1, y - 1, z - 1), np.int8)
    for i, j, k in CORNERS:
        count += inside[i : x - 1 + i, j : y - 1 + j, k : z - 1 + k]
    cells = np.stack(np.nonzero((count > 0) & (count < 8)), 1)
    nodes = (cells[:, None] + CORNERS) @ np.array([y * z, z, 1])
    tetrahedra = nodes[:, TETRAHEDRA].reshape(-1, 4)
    above = inside.reshape(-1)[tetrahedra].sum(1)
    return tetrahedra[(above > 0) & (above < 4)]


def _triangles(chosen: np.ndarray, *edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The node pairs `[T, 3, 2]` of triangles whose corners lie on three edges."""
    return np.stack([np.stack([start[chosen], end[chosen]], 1) for start, end in edges], 1)


def _outward(faces: np.ndarray, places: np.ndarray, tetrahedra: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Faces turned so that their normals point away from the corners above the level, without those of no area."""
    ahead = np.arange(4) < above[:, None]
    inner = (tetrahedra * ahead[..., None]).sum(1) / above[:, None]
    outer = (tetrahedra * ~ahead[..., None]).sum(1) / (4 - above)[:, None]
    corners = places[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wrong = (normals * (outer - inner)).sum(1) < 0
    faces = np.where(wrong[:, None], faces[:, ::-1], faces)
    return faces[np.linalg.norm(normals, axis=1) > 0]

"""Marching tetrahedra against shapes that are known."""

import numpy as np

from avatar.export.isosurface import isosurface


def ball(cells=24, radius=0.7):
    axis = np.linspace(-1, 1, cells)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return radius - np.sqrt(x * x + y * y + z * z), np.full(3, -1.0), axis[1] - axis[0]


def test_a_ball_is_closed_round_and_faces_outwards():
    values, low, cell = ball()
    vertices, faces = isosurface(values, 0.0, low, cell)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.7, atol=0.01)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs, counts = np.unique(np.sort(edges, 1), axis=0, return_counts=True)
    assert set(counts) == {2}
    assert len(np.unique(edges, axis=0)) == len(edges)  # each direction once: one winding throughout
    assert len(vertices) - len(pairs) + len(faces) == 2
    corners = vertices[faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert abs(volume / (4 / 3 * np.pi * 0.7**3) - 1) < 0.03


def test_a_plane_is_where_linear_values_cross():
    values = np.broadcast_to(np.arange(6.0)[::-1, None, None], (6, 5, 4))
    vertices, faces = isosurface(values, 2.75, np.array([1.0, 2.0, 3.0]), 0.5)
    np.testing.assert_allclose(vertices[:, 0], 1.0 + 0.5 * 2.25)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 0] > 0).all()
    assert abs(np.linalg.norm(normals, axis=1).sum() / 2 - 2.0 * 1.5) < 1e-9


def test_nothing_and_everything_have_no_surface():
    for level in (-1.0, 1.0):
        vertices, faces = isosurface(np.zeros((3, 4, 5)), level, np.zeros(3), 1.0)
        assert vertices.shape == (0, 3)
        assert faces.shape == (0, 3)

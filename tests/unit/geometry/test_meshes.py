"""Mesh helpers on shapes whose answers are known."""

import math

import pytest
import torch

from avatar.base.errors import InputError
from avatar.geometry import meshes

CUBE = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
CUBE_FACES = torch.tensor([[a, b, c] for q in QUADS for a, b, c in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))]).int()


def sphere(rings: int = 24, sectors: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """A unit sphere without its poles' caps, faces counter-clockwise from outside."""
    polar = torch.linspace(0.2, math.pi - 0.2, rings)
    turn = torch.arange(sectors) * 2 * math.pi / sectors
    a, b = torch.meshgrid(polar, turn, indexing="ij")
    vertices = torch.stack([a.sin() * b.cos(), a.cos(), -a.sin() * b.sin()], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(rings - 1), torch.arange(sectors), indexing="ij")
    p, q = i * sectors + j, i * sectors + (j + 1) % sectors
    r, s = p + sectors, q + sectors
    faces = torch.cat([torch.stack([p, r, s], -1).reshape(-1, 3), torch.stack([p, s, q], -1).reshape(-1, 3)])
    return vertices, faces


def test_normals_of_a_sphere_point_outwards():
    vertices, faces = sphere()
    normals = meshes.vertex_normals(vertices, faces)
    inner = slice(48, -48)
    assert torch.allclose(normals[inner], vertices[inner], atol=0.02)
    both = meshes.vertex_normals(torch.stack([vertices, 2 * vertices]), faces)
    assert torch.allclose(both[0], both[1], atol=1e-5)


def test_normals_are_weighted_by_area():
    # at the origin meet a face of area 1/2 that looks up z and one of area 3/2 that looks up x
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3.0]])
    normals = meshes.vertex_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    assert torch.allclose(normals[0], torch.tensor([3.0, 0, 1]) / math.sqrt(10))


def test_a_lonely_vertex_has_no_normal_and_no_nan():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], requires_grad=True)
    normals = meshes.vertex_normals(vertices, torch.tensor([[0, 1, 2]]))
    normals.sum().backward()
    assert (normals[3] == 0).all()
    assert torch.isfinite(vertices.grad).all()


def test_normals_gradient():
    vertices = torch.randn(8, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: meshes.vertex_normals(v, CUBE_FACES), (vertices,))


def test_edges_of_a_cube():
    edges = meshes.unique_edges(CUBE_FACES)
    assert len(edges) == 18  # 12 and a diagonal on each of 6 sides; V - E + F = 2
    assert len(CUBE) - len(edges) + len(CUBE_FACES) == 2
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(meshes.boundary_edges(CUBE_FACES)) == 0
    assert meshes.boundary_edges(CUBE_FACES[1:]).tolist() == [[0, 1], [0, 3], [1, 3]]


def test_laplacian_by_hand():
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    values = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    result = meshes.uniform_laplacian(faces, 5) @ values
    assert result.flatten().tolist() == pytest.approx([3 - 1, (1 + 4 + 8) / 3 - 2, (1 + 2 + 8) / 3 - 4, 3 - 8, 0])


def test_submesh_keeps_its_shape():
    mask = torch.zeros(8, dtype=torch.bool)
    mask[CUBE[:, 2] == 1] = True
    chosen = meshes.faces_inside(CUBE_FACES, mask)
    faces, kept = meshes.submesh(CUBE_FACES, chosen)
    assert kept.tolist() == [1, 3, 5, 7]
    assert faces.dtype == torch.int32
    assert torch.equal(CUBE[kept][faces.long()], CUBE[CUBE_FACES[chosen].long()])
    with pytest.raises(InputError, match="face mask"):
        meshes.submesh(CUBE_FACES, mask)


def test_components():
    faces = torch.cat([CUBE_FACES, CUBE_FACES + 9])
    labels = meshes.connected_components(faces, 18)
    assert labels.tolist() == [0] * 8 + [8] + [9] * 8 + [17]
    chain = torch.stack([torch.arange(500).flip(0)] * 2 + [torch.arange(500).flip(0) + 1], -1)
    assert (meshes.connected_components(chain, 501) == 0).all()

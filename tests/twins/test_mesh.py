"""Rays and closest points against trying every triangle."""

import math

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.mesh import reference
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
DEVICES = ["cpu", GPU]
PORTABLE = [False, True]
"""On a CPU: the native kernels, and those that CUDA uses."""


def bumpy_sphere(seed: int = 0, rings: int = 14, sectors: int = 22) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere of radius about 0.1 with random bumps, open at the bottom, and a lid-like flap inside it."""
    generator = torch.Generator().manual_seed(seed)
    polar = torch.linspace(0.05, math.pi * 0.8, rings)
    turn = torch.arange(sectors) * 2 * math.pi / sectors
    a, b = torch.meshgrid(polar, turn, indexing="ij")
    radius = 0.1 + 0.01 * torch.rand(a.shape, generator=generator)
    points = torch.stack([a.sin() * b.cos(), a.cos(), a.sin() * b.sin()], -1) * radius.unsqueeze(-1)
    i, j = torch.meshgrid(torch.arange(rings - 1), torch.arange(sectors), indexing="ij")
    p, q = i * sectors + j, i * sectors + (j + 1) % sectors
    r, s = p + sectors, q + sectors
    faces = torch.cat([torch.stack([p, r, s], -1).reshape(-1, 3), torch.stack([p, s, q], -1).reshape(-1, 3)])
    flap = torch.tensor([[-0.05, 0, 0.01], [0.05, 0, 0.0], [0.0, 0.06, 0.02]])
    count = rings * sectors
    return torch.cat([points.reshape(-1, 3), flap]), torch.cat([faces, torch.tensor([[count, count + 1, count + 2]])])


def random_rays(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from all around (and some from inside) towards the mesh, of any length."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(count, 3, generator=generator) * 0.2
    targets = (torch.rand(count, 3, generator=generator) - 0.5) * 0.3
    return origins, (targets - origins) * (0.2 + 3 * torch.rand(count, 1, generator=generator))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [0, 1, 513, 4099])
def test_rays_agree_with_the_twin(device, count):
    vertices, faces = bumpy_sphere()
    origins, directions = random_rays(count)
    hits = MeshQuery(faces.to(device), device).update(vertices.to(device))
    hits = hits.cast_rays(origins.to(device), directions.to(device))
    twin = reference.cast_rays(vertices.double(), faces, origins.double(), directions.double())
    face, depth, weights = hits.face.cpu(), hits.depth.cpu(), hits.barycentrics.cpu()
    assert (face.dtype, depth.dtype, weights.shape) == (torch.int32, torch.float32, (count, 3))
    # float32 may choose the other face where a ray passes within rounding of an edge
    same = face == twin.face
    assert int((~same).sum()) <= count // 2000
    assert (torch.where(face >= 0, weights.amin(1), twin.barycentrics.amin(1))[~same] < 1e-4).all()
    assert count < 500 or 0.2 < float((twin.face >= 0).float().mean()) < 0.95
    miss, hit = same & (face < 0), same & (face >= 0)
    assert torch.isinf(depth[miss]).all()
    assert (weights[miss] == 0).all()
    assert torch.allclose(depth[hit].double(), twin.depth[hit], rtol=1e-5, atol=1e-6)
    assert torch.allclose(weights[hit].double(), twin.barycentrics[hit], atol=2e-4)
    place = interpolate(vertices, faces, face, weights)[hit]
    assert torch.allclose(place, (origins + depth.unsqueeze(1) * directions)[hit], atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("portable", PORTABLE)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1201])
@pytest.mark.parametrize("limit", [0.01, 0.05, 10.0])
def test_closest_points_agree_with_the_twin(device, portable, count, limit):
    vertices, faces = bumpy_sphere()
    generator = torch.Generator().manual_seed(count)
    points = torch.randn(count, 3, generator=generator) * 0.08
    query = MeshQuery(faces.to(device), device, portable=portable).update(vertices.to(device))
    found = query.closest_points(points.to(device), limit)
    twin = reference.closest_points(vertices.double(), faces, points.double(), limit)
    face, distance, weights = found.face.cpu(), found.distance.cpu().double(), found.barycentrics.cpu()
    near = twin.face >= 0
    assert torch.equal(face >= 0, near)
    assert torch.isinf(distance[~near]).all()
    assert (weights[~near] == 0).all()
    assert torch.allclose(distance[near], twin.distance[near], atol=2e-6)
    # the nearest point may lie on an edge, and its face be either: compare places, not faces
    place = interpolate(vertices.double(), faces, face, weights.double())
    expected = interpolate(vertices.double(), faces, twin.face, twin.barycentrics)
    assert torch.allclose(place[near], expected[near], atol=5e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("portable", PORTABLE)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1201])
def test_spread_values_agree_with_the_twin(device, portable, count):
    vertices, faces = bumpy_sphere()
    generator = torch.Generator().manual_seed(count)
    points = torch.randn(count, 3, generator=generator) * 0.08
    values = torch.randn(len(vertices), 3, generator=generator) * 0.02
    where = torch.randperm(count + 5, generator=generator)[:count].int()
    output = torch.full((count + 5, 3), 7.0, dtype=torch.float16, device=device)
    query = MeshQuery(faces.to(device), device, portable=portable).update(vertices.to(device))
    query.spread(points.to(device), values.to(device), where.to(device), output, fade=0.03, reach=0.05)
    twin = reference.spread(vertices.double(), faces, points.double(), values.double(), fade=0.03, reach=0.05)
    output = output.cpu().double()
    # half precision keeps eleven bits: 3e-5 of a value of 0.06
    assert torch.allclose(output[where.long()], twin, atol=3e-5, rtol=1e-3)
    untouched = torch.ones(count + 5, dtype=torch.bool)
    untouched[where.long()] = False
    assert (output[untouched] == 7).all()
    if count > 1000:
        assert 0.1 < float((twin == 0).all(1).double().mean()) < 0.9


def test_fading_by_hand():
    """One over e at the fade's length, halved in the middle of the cut, nothing at the reach."""
    found = reference.fade_with_distance(torch.tensor([0.0, 0.04, 0.08, 0.1]), 0.04, 0.1)
    assert torch.allclose(found, torch.tensor([1, math.exp(-1), math.exp(-2) * 0.5, 0]), atol=1e-6)


@pytest.mark.parametrize("portable", PORTABLE)
def test_triangles_without_an_area_are_still_met(portable):
    """Two corners in one place, and three on a line: their edges count, here as those of whole neighbours."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0]])
    faces = torch.tensor([[0, 1, 2], [1, 1, 2], [0, 3, 1]])
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(200, 3, generator=generator)
    found = MeshQuery(faces, portable=portable).update(vertices).closest_points(points)
    twin = reference.closest_points(vertices.double(), faces[:1], points.double())
    assert torch.allclose(found.distance.double(), twin.distance, atol=1e-6)
    place = interpolate(vertices, faces, found.face, found.barycentrics)
    assert torch.allclose((place - points).norm(dim=1), found.distance, atol=1e-6)


def test_closest_points_in_grid_order_are_not_lost_by_pruning():
    """Points of one packet share a walk; packets that span the whole mesh must lose nothing."""
    vertices, faces = bumpy_sphere()
    axis = torch.linspace(-0.15, 0.15, 11)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    query = MeshQuery(faces).update(vertices)
    ordered = query.closest_points(grid, 0.06)
    shuffle = torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))
    shuffled = query.closest_points(grid[shuffle], 0.06)
    twin = reference.closest_points(vertices, faces, grid, 0.06)
    assert torch.equal(ordered.face >= 0, twin.face >= 0)
    assert torch.allclose(ordered.distance, twin.distance, atol=2e-6)
    assert torch.allclose(shuffled.distance, twin.distance[shuffle], atol=2e-6)


def test_a_moved_mesh_is_the_one_that_is_hit():
    vertices, faces = bumpy_sphere()
    query = MeshQuery(faces).update(vertices)
    origins, directions = random_rays(800)
    turn = torch.tensor([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1.0]])
    moved = vertices @ turn.T + torch.tensor([0.03, -0.02, 0.05])
    hits = query.update(moved).cast_rays(origins, directions)
    fresh = MeshQuery(faces).update(moved).cast_rays(origins, directions)
    assert torch.equal(hits.face, fresh.face)
    assert torch.equal(hits.depth, fresh.depth)
    assert not torch.equal(hits.face, query.update(vertices).cast_rays(origins, directions).face)
    assert torch.equal(query.vertices, vertices)


def test_the_mesh_keeps_no_tie_to_the_caller_s_vertices():
    vertices, faces = bumpy_sphere()
    query = MeshQuery(faces).update(vertices)
    origins, directions = random_rays(100)
    before = query.cast_rays(origins, directions)
    vertices += 1.0
    assert torch.equal(query.cast_rays(origins, directions).depth, before.depth)


def test_both_sides_are_hit_and_only_ahead():
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    query = MeshQuery(torch.tensor([[0, 1, 2]])).update(vertices)
    origins = torch.tensor([[0.0, 0, 2], [0, 0, -2], [0, 0, 2]])
    directions = torch.tensor([[0.0, 0, -1], [0, 0, 4], [0, 0, 1]])
    hits = query.cast_rays(origins, directions)
    assert hits.face.tolist() == [0, 0, -1]
    assert hits.depth.tolist() == [2.0, 0.5, float("inf")]
    assert torch.allclose(hits.barycentrics[:2], torch.tensor([0.25, 0.25, 0.5]).expand(2, 3))
    assert query.cast_rays(origins, directions, max_depth=1.0).face.tolist() == [-1, 0, -1]


def test_rays_through_edges_and_vertices_do_not_slip_through():
    """A flat sheet of squares, hit exactly at its inner vertices, edges and diagonals, along the axes and askew."""
    n = 9
    x, y = torch.meshgrid(torch.arange(n, dtype=torch.float32), torch.arange(n, dtype=torch.float32), indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(n - 1), torch.arange(n - 1), indexing="ij")
    a = (i * n + j).reshape(-1)
    faces = torch.cat([torch.stack([a, a + n, a + n + 1], -1), torch.stack([a, a + n + 1, a + 1], -1)])
    query = MeshQuery(faces).update(vertices)
    axis = torch.arange(1, 2 * n - 3, dtype=torch.float32) / 2
    targets = torch.stack([*torch.meshgrid(axis, axis, indexing="ij"), torch.zeros(len(axis), len(axis))], -1)
    targets = targets.reshape(-1, 3)
    for offset in ([0.0, 0, 3], [0.0, 0, -1], [4.0, 0, 2], [0.0, -8, 8], [3.0, 2, 16]):
        origins = targets + torch.tensor(offset)
        hits = query.cast_rays(origins, targets - origins)
        assert (hits.face >= 0).all(), offset
        assert torch.allclose(hits.depth, torch.ones(len(targets)), atol=1e-6)


def test_points_on_the_surface_are_at_no_distance():
    vertices, faces = bumpy_sphere()
    query = MeshQuery(faces).update(vertices)
    found = query.closest_points(vertices[faces].mean(1), 0.01)
    assert (found.face >= 0).all()
    assert float(found.distance.max()) < 1e-7
    on_corners = query.closest_points(vertices, 0.01)
    assert (on_corners.face >= 0).all()
    assert float(on_corners.distance.max()) < 1e-7


def test_closest_on_one_triangle_by_hand():
    a, b, c = (torch.tensor(corner) for corner in ([0.0, 0, 0], [4.0, 0, 0], [0.0, 4, 0]))
    points = torch.tensor(
        [[1.0, 1, 5], [-1, -1, 2], [6, -1, 0], [-1, 7, 1], [2, -3, 0], [-3, 1, 0], [3, 3, 0], [4, 4, -1]]
    )
    expected = torch.tensor(
        [
            [0.5, 0.25, 0.25],
            [1, 0, 0],
            [0, 1, 0],
            [0, 0, 1],
            [0.5, 0.5, 0],
            [0.75, 0, 0.25],
            [0, 0.5, 0.5],
            [0, 0.5, 0.5],
        ]
    )
    assert torch.allclose(reference.closest_on_triangles(points, a, b, c), expected)


def test_interpolation_is_differentiable_and_misses_are_zero():
    vertices, faces = bumpy_sphere()
    values = torch.randn(len(vertices), 2, dtype=torch.double, requires_grad=True)
    face = torch.tensor([3, -1, 200], dtype=torch.int32)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [1, 0, 0]], dtype=torch.double, requires_grad=True)
    result = interpolate(values, faces, face, weights)
    assert (result[1] == 0).all()
    assert torch.allclose(result[2], values[faces[200, 0]])
    assert torch.autograd.gradcheck(lambda v, w: interpolate(v, faces, face, w), (values, weights))


def test_queries_from_several_threads_agree():
    """Callers may hold several meshes on several threads (the capture's stages do)."""
    from concurrent.futures import ThreadPoolExecutor

    vertices, faces = bumpy_sphere()
    origins, directions = random_rays(3000)
    expected = MeshQuery(faces).update(vertices).cast_rays(origins, directions)

    def work(_: int) -> bool:
        hits = MeshQuery(faces).update(vertices).cast_rays(origins, directions)
        return torch.equal(hits.face, expected.face) and torch.equal(hits.depth, expected.depth)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))


def test_bad_input_is_refused():
    vertices, faces = bumpy_sphere()
    with pytest.raises(InputError, match="faces of three"):
        MeshQuery(faces[:0])
    with pytest.raises(InputError, match="faces of three"):
        MeshQuery(faces.float())
    with pytest.raises(InputError, match="below 0"):
        MeshQuery(faces - 1)
    query = MeshQuery(faces)
    with pytest.raises(InputError, match="before it has vertices"):
        query.cast_rays(torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(InputError, match="do not fit"):
        query.update(vertices[:-1])
    bad = vertices.clone()
    bad[17, 2] = float("nan")
    with pytest.raises(InputError, match="1 of 311 vertices are not finite"):
        query.update(bad)
    query.update(vertices)
    with pytest.raises(InputError, match="ray origins are not finite"):
        query.cast_rays(torch.full((2, 3), float("inf")), torch.ones(2, 3))
    with pytest.raises(InputError, match="as many directions"):
        query.cast_rays(torch.zeros(2, 3), torch.ones(3, 3))
    with pytest.raises(InputError, match="wrong shape"):
        query.closest_points(torch.zeros(3))
    with pytest.raises(InputError, match="max_distance"):
        query.closest_points(torch.zeros(1, 3), 0.0)
    with pytest.raises(InputError, match="max_distance"):
        query.closest_points(torch.zeros(1, 3), float("nan"))
    with pytest.raises(InputError, match="another device"):
        query.closest_points(torch.zeros(1, 3, device="meta"))
    with pytest.raises(InputError, match="not floating point"):
        query.closest_points(torch.zeros(1, 3, dtype=torch.int64))


def test_bad_input_to_spreading_is_refused():
    vertices, faces = bumpy_sphere()
    query = MeshQuery(faces).update(vertices)
    points, where = torch.zeros(4, 3), torch.arange(4, dtype=torch.int32)
    output = torch.zeros(4, 3, dtype=torch.float16)

    def refuse(message, points=points, values=vertices, where=where, output=output, reach=0.05):
        with pytest.raises(InputError, match=message):
            query.spread(points, values, where, output, fade=0.04, reach=reach)

    refuse("do not fit the vertices", values=vertices[:-1])
    refuse("values are not finite", values=vertices * torch.nan)
    refuse("points are not finite", points=points * torch.nan)
    refuse("above 0", reach=0.0)
    refuse("wrong form", output=output.float())
    refuse("wrong form", output=torch.zeros(3, 4, dtype=torch.float16).T)
    refuse("does not fit the points", where=where.long())
    refuse("does not fit the points", where=where[:3])
    refuse("row that is not there", where=where + 1)
    refuse("row that is not there", where=where - 1)
    assert (output == 0).all()

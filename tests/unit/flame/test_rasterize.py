"""Mesh pictures against shapes whose silhouette, depth and barycentrics are known, and against ray casting by hand."""

import math

import numpy as np
import pytest
import torch
from golden import assert_golden

from avatar.base.errors import ConfigError, InputError, MissingDependencyError
from avatar.base.optional import is_installed
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize, silhouette
from avatar.geometry.cameras import Camera, look_at, pixel_centres, pixel_rays
from avatar.kernels.mesh import reference
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

BACKENDS = [
    "warp",
    pytest.param(
        "pytorch3d", marks=pytest.mark.skipif(not is_installed("pytorch3d"), reason="pytorch3d is not installed")
    ),
]


def ball(radius: float = 0.1, rings: int = 40, sectors: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    polar = torch.linspace(0.001, math.pi - 0.001, rings)
    turn = torch.arange(sectors) * 2 * math.pi / sectors
    a, b = torch.meshgrid(polar, turn, indexing="ij")
    vertices = torch.stack([a.sin() * b.cos(), a.cos(), a.sin() * b.sin()], -1).reshape(-1, 3) * radius
    i, j = torch.meshgrid(torch.arange(rings - 1), torch.arange(sectors), indexing="ij")
    p, q = i * sectors + j, i * sectors + (j + 1) % sectors
    faces = torch.cat([torch.stack([p, p + sectors, q + sectors], -1), torch.stack([p, q + sectors, q], -1)], 0)
    return vertices, faces.reshape(-1, 3).int()


def camera(width: int = 61, height: int = 47, position=(0.1, 0.05, 0.6)) -> Camera:
    return Camera(width, height, 90.0, 100.0, width / 2 + 3, height / 2 - 2, look_at(position, (0, 0, 0)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_square_seen_head_on(backend):
    """A square of 0.2 m at 2 m, focal length 100: exactly 10 by 10 pixels, at depth 2 in every one."""
    view = Camera(30, 20, 100, 100, 15, 10, look_at((0, 0, 2), (0, 0, 0)))
    vertices = torch.tensor([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    image = rasterize(torch.tensor([[0, 1, 2], [0, 2, 3]]), vertices, view, backend=backend)
    expected = torch.zeros(20, 30, dtype=torch.bool)
    expected[5:15, 10:20] = True
    assert torch.equal(image.mask, expected)
    assert torch.allclose(image.depth[expected], torch.tensor(2.0))
    assert torch.isinf(image.depth[~expected]).all()
    # pixel (row 13, column 18) is centred 3.5 right of and 3.5 below the middle: x = 0.07, y = -0.07, face 0
    assert image.face[13, 18] == 0
    assert torch.allclose(image.barycentrics[13, 18], torch.tensor([0.15, 0.70, 0.15]), atol=1e-5)
    assert (image.face[~expected] == -1).all()
    assert (image.barycentrics[~expected] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_pixels_agree_with_trying_every_face(backend):
    vertices, faces = ball(rings=12, sectors=18)
    view = camera()
    image = rasterize(faces, vertices, view, backend=backend)
    origins, directions = pixel_rays(view, pixel_centres(61, 47).reshape(-1, 2).double())
    twin = reference.cast_rays(vertices.double(), faces, origins, directions)
    mask = (twin.face >= 0).view(47, 61)
    assert torch.equal(image.mask, mask)
    assert 100 < int(mask.sum()) < 2000
    forward = torch.from_numpy(view.world_from_cam[:3, 2].copy())
    depth = (twin.depth.unsqueeze(1) * directions @ forward).view(47, 61)
    assert torch.allclose(image.depth[mask].double(), depth[mask], atol=1e-6)
    assert torch.equal(image.face[mask], twin.face.view(47, 61)[mask])
    assert torch.allclose(image.barycentrics[mask].double(), twin.barycentrics.view(47, 61, 3)[mask], atol=1e-3)


def test_a_ball_s_outline_is_its_tangent_cone():
    """The number of pixels inside the outline of a sphere: tan^2 of its half angle over the pixel's area."""
    vertices, faces = ball(rings=200, sectors=300)
    view = Camera(200, 200, 500, 500, 100, 100, look_at((0, 0, 0.8), (0, 0, 0)))
    image = rasterize(faces, vertices, view)
    slope = math.tan(math.asin(0.1 / 0.8))
    assert float(image.mask.sum()) == pytest.approx(math.pi * (500 * slope) ** 2, rel=0.005)
    assert float(image.depth.min()) == pytest.approx(0.7, abs=1e-4)


def test_pixels_carry_their_surface_points():
    vertices, faces = ball()
    view = camera()
    image = rasterize(faces, vertices, view)
    points = interpolate(vertices, faces, image.face.view(-1), image.barycentrics.view(-1, 3))[image.mask.view(-1)]
    rotation = torch.tensor(view.cam_from_world[:3, :3].copy(), dtype=torch.float32)
    inside = points @ rotation.T + torch.tensor(view.cam_from_world[:3, 3].copy(), dtype=torch.float32)
    pixels = inside[:, :2] / inside[:, 2:] * torch.tensor([90.0, 100.0]) + torch.tensor([view.cx, view.cy])
    assert torch.allclose(pixels, pixel_centres(61, 47)[image.mask], atol=1e-3)
    assert torch.allclose(inside[:, 2], image.depth[image.mask], atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_subsampling_takes_every_nth_pixel(backend):
    vertices, faces = ball()
    full = rasterize(faces, vertices, camera(), backend=backend)
    for step in (2, 3, 5):
        part = rasterize(faces, vertices, camera(), subsample=step, backend=backend)
        assert torch.equal(part.mask, full.mask[::step, ::step])
        assert torch.equal(part.face, full.face[::step, ::step])
        assert torch.equal(part.depth, full.depth[::step, ::step])


@pytest.mark.parametrize("crop", [(10, 5, 20, 20), (-30, -20, 120, 90), (30, 0, 31, 47), (500, 0, 9, 9)])
def test_a_cropped_view_is_the_crop_of_the_view(crop):
    """Meshes that reach over the image's border, or lie wholly outside it."""
    vertices, faces = ball()
    x0, y0, width, height = crop
    wide = rasterize(faces, vertices, camera().cropped(-100, -100, 800, 300)).mask
    part = silhouette(faces, vertices, camera().cropped(x0, y0, width, height))
    assert torch.equal(part, wide[100 + y0 : 100 + y0 + height, 100 + x0 : 100 + x0 + width])


def test_a_camera_inside_the_mesh_sees_it_everywhere():
    vertices, faces = ball(radius=1.0)
    image = rasterize(faces, vertices, Camera(20, 20, 15, 15, 10, 10, look_at((0, 0, 0.2), (0.3, 0.1, 0))))
    assert image.mask.all()
    assert float(image.depth.max()) < 1.3


def test_a_mesh_behind_the_camera_is_not_seen():
    vertices, faces = ball()
    away = Camera(20, 20, 15, 15, 10, 10, look_at((0, 0, 0.5), (0, 0, 2)))
    assert not rasterize(faces, vertices, away).mask.any()


@pytest.mark.parametrize("shift", [0.1, 0.3, 0.45, 0.8])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_the_outermost_pixels_are_not_cut_off(shift, step):
    """A square over [10, 20] x [5, 15] pixels, shifted by parts of a pixel: a pixel is in when its centre is."""
    view = Camera(30, 20, 100, 100, 15 + shift, 10 + shift, look_at((0, 0, 2), (0, 0, 0)))
    vertices = torch.tensor([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    mask = rasterize(torch.tensor([[0, 1, 2], [0, 2, 3]]), vertices, view, subsample=step).mask
    x, y = pixel_centres(30, 20)[::step, ::step].unbind(-1)
    expected = (x > 10 + shift) & (x < 20 + shift) & (y > 5 + shift) & (y < 15 + shift)
    assert torch.equal(mask, expected)


def test_a_face_that_reaches_behind_the_camera_is_seen_as_far_as_it_goes():
    """A floor 0.1 m below the camera, from 1 m ahead to 1 m behind: it fills the lower part of the picture."""
    view = Camera(20, 40, 100, 100, 10, 20, look_at((0, 0, 0), (0, 0, -1)))
    vertices = torch.tensor([[-9.0, -0.1, -1], [9.0, -0.1, -1], [9.0, -0.1, 1], [-9.0, -0.1, 1]])
    image = rasterize(torch.tensor([[0, 1, 2], [0, 2, 3]]), vertices, view)
    assert not image.mask[:30].any()
    assert image.mask[30:].all()
    assert torch.allclose(image.depth[39], torch.tensor(0.1 * 100 / 19.5))


def test_a_query_is_reused_from_frame_to_frame():
    vertices, faces = ball()
    query = MeshQuery(faces)
    first = rasterize(query, vertices, camera())
    moved = rasterize(query, vertices + torch.tensor([0.05, 0.0, 0.0]), camera())
    assert not torch.equal(first.mask, moved.mask)
    assert torch.equal(rasterize(query, vertices, camera()).depth, first.depth)


def test_bad_input_is_refused():
    vertices, faces = ball()
    with pytest.raises(ConfigError, match="unknown backend"):
        rasterize(faces, vertices, camera(), backend="opengl")
    with pytest.raises(InputError, match="subsample"):
        rasterize(faces, vertices, camera(), subsample=0)
    with pytest.raises(InputError, match="do not fit"):
        rasterize(faces, vertices[:10], camera())
    with pytest.raises(InputError, match="not finite"):
        rasterize(faces, vertices * float("nan"), camera())


@pytest.mark.skipif(is_installed("pytorch3d"), reason="pytorch3d is installed")
def test_a_missing_backend_says_how_to_install_it():
    vertices, faces = ball()
    with pytest.raises(MissingDependencyError, match=r"pip install .*pytorch3d"):
        rasterize(faces, vertices, camera(), backend="pytorch3d")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_shipped_head_looks_as_it_did(backend):
    """Where the surface lies, as colours: x, y and z over 0.3 m. One rim pixel may round either way."""
    asset = load_head()
    params = HeadParameters.neutral(asset, 1)
    params.rotation[0, 1], params.jaw[0, 0] = 0.5, 0.3
    params.expr[0, asset.expression_index("eyeBlinkLeft")] = 1.0
    with torch.no_grad():
        vertices = HeadModel(asset)(params).vertices[0]
    faces = torch.as_tensor(asset.faces)
    view = Camera(160, 176, 320.0, 320.0, 80.0, 88.0, look_at((0, 0, 0.8), (0, 0, 0)))
    seen = rasterize(faces, vertices, view, backend=backend)
    places = interpolate(vertices, faces, seen.face.view(-1), seen.barycentrics.view(-1, 3)).view(176, 160, 3)
    colours = torch.where(seen.mask[..., None], places / 0.3 + 0.5, 0).clamp(0, 1).numpy()
    assert_golden(np.rint(255 * colours).astype(np.uint8), "rasterised", mean=0.05, worst=5.0)

"""Cameras against numbers worked out by hand, and poses of real recordings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.base.errors import InputError
from avatar.geometry.cameras import (
    Camera,
    image_rays,
    look_at,
    pixel_centres,
    pixel_rays,
    project,
    project_points,
)

POSES = Path(__file__).resolve().parents[4] / "shared" / "data" / "poses"


def front_camera(distance: float = 2.0) -> Camera:
    """At (0, 0, distance), facing the origin, 80 by 60 pixels."""
    return Camera(80, 60, 100.0, 110.0, 40.0, 30.0, look_at((0, 0, distance), (0, 0, 0)))


def tilted_camera() -> Camera:
    return Camera(64, 48, 90.0, 95.0, 30.5, 25.25, look_at((0.4, 0.3, 1.1), (0.05, -0.1, 0.02), up=(0.1, 1, 0)))


def test_front_camera_by_hand():
    # a point 0.5 m to the right and 0.25 m up, 1.5 m before the camera: x = 40 + 100 * 0.5 / 1.5, y = 30 - 110 / 6
    pixels, depth = project(torch.tensor([[0.5, 0.25, 0.5], [0.0, 0.0, 0.0]], dtype=torch.double), front_camera())
    expected = torch.tensor([[40 + 100 / 3, 30 - 110 / 6], [40.0, 30.0]], dtype=torch.double)
    assert torch.allclose(pixels, expected, atol=1e-12)
    assert torch.allclose(depth, torch.tensor([1.5, 2.0], dtype=torch.double))


def test_look_at_from_the_side():
    # from +x towards the origin: image right is world -z, image down is world -y
    pose = look_at((3, 0, 0), (0, 0, 0))
    expected = np.array([[0, 0, -1, 3], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert np.allclose(pose, expected, atol=1e-12)


def test_look_at_refuses_straight_up():
    with pytest.raises(InputError, match="straight up"):
        look_at((0, 1, 0), (0, 3, 0))


def test_opengl_matrix_by_hand_and_back():
    camera = front_camera()
    assert np.allclose(camera.to_transform_matrix(), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    tilted = tilted_camera()
    back = Camera.from_transform_matrix(
        tilted.to_transform_matrix().tolist(),
        width=tilted.width,
        height=tilted.height,
        fl_x=tilted.fl_x,
        fl_y=tilted.fl_y,
        cx=tilted.cx,
        cy=tilted.cy,
    )
    assert np.array_equal(back.world_from_cam, tilted.world_from_cam)


def test_rays_meet_their_pixels():
    camera = tilted_camera()
    pixels = torch.rand(200, 2, dtype=torch.double) * torch.tensor([64.0, 48.0])
    origins, directions = pixel_rays(camera, pixels)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(200, dtype=torch.double))
    assert np.allclose(origins[0].numpy(), camera.position)
    distance = torch.rand(200, 1, dtype=torch.double) + 0.5
    found, _ = project(origins + distance * directions, camera)
    assert torch.allclose(found, pixels, atol=1e-9)


def test_image_rays_go_through_pixel_centres():
    camera = front_camera()
    origins, directions = image_rays(camera)
    assert origins.shape == directions.shape == (60, 80, 3)
    expected = torch.tensor([(0.5 - 40) / 100, -(0.5 - 30) / 110, -1.0])
    assert torch.allclose(directions[0, 0], expected / expected.norm(), atol=1e-6)
    assert torch.allclose(directions[10, 20], pixel_rays(camera, pixel_centres(80, 60)[10, 20])[1])


def test_scaled_and_cropped_views_agree():
    camera = tilted_camera()
    points = torch.randn(50, 3, dtype=torch.double) * 0.1
    pixels, depth = project(points, camera)
    scaled, scaled_depth = project(points, camera.scaled(128, 24))
    assert torch.allclose(scaled, pixels * torch.tensor([2.0, 0.5]), atol=1e-9)
    assert torch.equal(scaled_depth, depth)
    cropped = camera.cropped(10, -5, 20, 70)
    assert (cropped.width, cropped.height) == (20, 70)
    assert torch.allclose(project(points, cropped)[0], pixels - torch.tensor([10.0, -5.0]), atol=1e-9)


def test_projection_is_differentiable_in_everything():
    camera = tilted_camera()
    points = (torch.randn(2, 4, 3, dtype=torch.double) * 0.1).requires_grad_()
    pose = torch.tensor(np.stack([camera.cam_from_world] * 2)).requires_grad_()
    focal = torch.tensor([90.0, 95.0], dtype=torch.double, requires_grad=True)
    centre = torch.tensor([30.5, 25.25], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(project_points, (points, pose, focal, centre))
    single = project_points(points, pose[0], focal, centre)[0]
    assert torch.allclose(single, project(points, camera)[0], atol=1e-9)
    assert torch.allclose(project_points(points, pose, focal, centre)[0], single, atol=1e-9)
    one_focal = project_points(points, pose[0], torch.tensor(90.0, dtype=torch.double), centre)[0]
    assert torch.allclose(one_focal[..., 0], single[..., 0])


def test_points_at_the_camera_give_no_nan():
    camera = front_camera()
    points = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]], requires_grad=True)
    pixels, depth = project(points, camera)
    pixels.sum().backward()
    assert torch.isfinite(pixels).all()
    assert torch.isfinite(points.grad).all()
    assert depth[1] < 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_from_cam": np.eye(3)}, "wrong shape"),
        ({"world_from_cam": np.diag([2.0, 2, 2, 1])}, "not a rigid motion"),
        ({"world_from_cam": np.diag([1.0, 1, -1, 1])}, "not a rigid motion"),
        ({"world_from_cam": np.full((4, 4), np.nan)}, "not finite"),
        ({"fl_x": 0.0}, "focal length"),
        ({"width": 0}, "size"),
    ],
)
def test_impossible_cameras_are_refused(change, message):
    values = {"width": 4, "height": 4, "fl_x": 5.0, "fl_y": 5.0, "cx": 2.0, "cy": 2.0, "world_from_cam": np.eye(4)}
    with pytest.raises(InputError, match=message):
        Camera(**{**values, **change})


def test_a_camera_does_not_change_with_the_array_it_was_made_from():
    pose = np.eye(4)
    camera = Camera(4, 4, 5, 5, 2, 2, pose)
    pose[0, 3] = 7
    assert camera.position[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        camera.world_from_cam[0, 0] = 2


@pytest.mark.real
@pytest.mark.skipif(not POSES.exists(), reason="needs the recordings in ../shared/data")
def test_poses_of_a_real_speaker():
    """AD-NeRF's tracked poses: valid cameras, which look at the head at the origin from about 0.75 m."""
    data = json.loads((POSES / "ad_nerf_transforms.json").read_text())
    for frame in data["frames"][::20]:
        camera = Camera.from_transform_matrix(
            frame["transform_matrix"],
            width=450,
            height=450,
            fl_x=data["focal_len"],
            fl_y=data["focal_len"],
            cx=data["cx"],
            cy=data["cy"],
        )
        pixel, depth = project(torch.zeros(3, dtype=torch.double), camera)
        assert 0.3 < float(depth) < 1.5
        assert ((pixel > 0) & (pixel < 450)).all()

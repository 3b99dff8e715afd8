import math
from pathlib import Path

import numpy as np
import pytest

from avatar.animation.camera_paths import camera_path, parse_path
from avatar.base.errors import ConfigError
from avatar.geometry.cameras import Camera, look_at, project, turn_camera

TARGET = np.array([0.02, 0.01, -0.03])


@pytest.fixture
def camera():
    """In front of the face, slightly above, with an off-centre principal point."""
    pose = look_at((0.05, 0.1, 1.2), (0.0, 0.0, 0.0))
    return Camera(64, 48, 90.0, 90.0, 30.0, 26.0, np.asarray(pose, dtype=np.float64))


def pixel_of(point, camera):
    import torch

    pixels, depth = project(torch.tensor(point, dtype=torch.float64), camera)
    return pixels.numpy(), float(depth)


def test_still_path_is_the_captured_camera(camera):
    assert camera_path("still", camera, TARGET, 3) == [camera] * 3


@pytest.mark.parametrize("name", ["orbit", "spiral", "dolly"])
def test_paths_begin_with_the_captured_view_and_close(camera, name):
    path = camera_path(name, camera, TARGET, 48, 20.0)
    np.testing.assert_allclose(path[0].world_from_cam, camera.world_from_cam, atol=1e-9)
    steps = [np.linalg.norm(path[k].position - path[k - 1].position) for k in range(48)]
    assert max(steps) < 4 * np.mean(steps)  # also from the last frame to the first


def test_orbit_keeps_distance_framing_and_amplitude(camera):
    path = camera_path("orbit", camera, TARGET, 40, 20.0)
    distance = np.linalg.norm(camera.position - TARGET)
    start, depth = pixel_of(TARGET, camera)
    angles = []
    for view in path:
        assert np.linalg.norm(view.position - TARGET) == pytest.approx(distance)
        pixel, seen = pixel_of(TARGET, view)
        np.testing.assert_allclose(pixel, start, atol=1e-6)
        assert seen == pytest.approx(depth)
        offset, first = view.position - TARGET, camera.position - TARGET
        angles.append(math.atan2(offset[0], offset[2]) - math.atan2(first[0], first[2]))
    assert math.degrees(max(angles)) == pytest.approx(20.0, abs=1.0)
    assert math.degrees(min(angles)) == pytest.approx(-20.0, abs=1.0)


def test_directions_of_turns(camera):
    assert turn_camera(camera, TARGET, 0.3, 0.0).position[0] > camera.position[0]  # to the person's left
    assert turn_camera(camera, TARGET, 0.0, 0.3).position[1] > camera.position[1]  # up
    near = turn_camera(camera, TARGET, 0.0, 0.0, scale=0.5)
    np.testing.assert_allclose(near.position - TARGET, 0.5 * (camera.position - TARGET))


def test_turned_cameras_stay_rigid_and_upright(camera):
    rotation = turn_camera(camera, TARGET, 0.5, 0.2).world_from_cam[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert rotation[1, 1] < -0.9  # OpenCV's y axis still points down


def test_a_path_is_a_name_or_a_file():
    assert parse_path("dolly") == "dolly"
    assert parse_path("my/path.json") == Path("my/path.json")
    with pytest.raises(ConfigError, match="did you mean orbit"):
        parse_path("orbits")


@pytest.mark.parametrize(("name", "amplitude"), [("orbit", 0.0), ("spiral", 90.0)])
def test_what_cannot_work(camera, name, amplitude):
    with pytest.raises(ConfigError):
        camera_path(name, camera, TARGET, 5, amplitude)

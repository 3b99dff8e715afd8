"""The camera stage: which cameras move, and heads and cameras in one world."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.synthetic.clip import make_synthetic_scene
from capture_tools.camera.background import camera_travel
from capture_tools.stages.camera import choose_camera_mode, into_world

SIZE = 128


@pytest.fixture(scope="module")
def scene():
    return make_synthetic_scene(seed=0, size=SIZE, frames=40, fps=10.0, camera="moving")


def pictures(shifts, plain=False):
    """A textured wall that shifts by whole pixels behind a textured person who sways by others."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(40, 220, (60, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    person = np.kron(rng.integers(0, 255, (20, 20, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    images, masks = [], []
    for index, shift in enumerate(shifts):
        image = wall[100 : 100 + SIZE, 200 + shift : 200 + shift + SIZE].copy()
        image = np.full_like(image, 120) if plain else image
        left = 24 + 3 * (index % 5)
        image[48:, left : left + 80] = person
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[48:, left : left + 80] = 255
        images.append(image)
        masks.append(mask)
    return np.stack(images), np.stack(masks)


def test_travel_is_the_extent_of_the_background_s_way():
    assert camera_travel(*pictures([0] * 20)) == pytest.approx(0, abs=1e-3)
    shifts = np.rint(30 * np.sin(np.linspace(0, 2 * np.pi, 40))).astype(int)
    assert camera_travel(*pictures(shifts)) == pytest.approx(np.ptp(shifts) / SIZE, rel=0.1)


def test_a_plain_wall_tells_nothing():
    assert camera_travel(*pictures(range(20), plain=True)) is None


@pytest.mark.parametrize(
    ("travel", "setting", "mode"),
    [
        (None, "auto", "static"),
        (0.004, "auto", "static"),
        (0.3, "auto", "moving"),
        (0.3, "static", "static"),
        (None, "moving", "moving"),
    ],
)
def test_the_mode_follows_the_travel_unless_it_is_set(travel, setting, mode):
    assert choose_camera_mode(travel, setting) == mode


def test_heads_and_cameras_in_one_world_give_the_same_pictures(scene):
    """Heads as a fixed camera would have tracked them, and the camera's way in other units, give the truth back."""
    asset, true = scene.person.asset, scene.person.parameters
    model, fixed = HeadModel(asset), scene.camera
    head = model(true)
    joint = (head.joints[:, 0] - true.translation).numpy()
    seen = np.tile(np.eye(4), (len(true), 1, 1))
    seen[:, :3, :3] = head.world_from_head[:, :3, :3].detach().numpy()
    seen[:, :3, 3] = true.translation.numpy() + joint
    seen = fixed.world_from_cam @ np.linalg.inv(scene.path) @ seen
    tracked = replace(
        true,
        rotation=matrix_to_axis_angle(torch.from_numpy(seen[:, :3, :3])).float(),
        translation=torch.from_numpy(seen[:, :3, 3] - joint).float(),
    )
    way = scene.path.copy()
    way[:, :3, 3] = 2.5 * way[:, :3, 3] + 7
    cameras, params = into_world(way, fixed, tracked, asset)
    for index in (0, 17, 39):
        with torch.no_grad():
            before = project(model(tracked.frame(index)).vertices[0], fixed)[0]
            after = project(model(params.frame(index)).vertices[0], cameras[index])[0]
        np.testing.assert_allclose(after.numpy(), before.numpy(), atol=0.02)
    assert params.rotation.mean(0).norm() < 0.05
    positions = np.stack([camera.position for camera in cameras])
    assert np.ptp(positions, axis=0).max() == pytest.approx(np.ptp(scene.path[:, :3, 3], axis=0).max(), rel=0.05)

"""Cameras and heads carried into FLAME's world: lengths in metres, the head upright, no picture changed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.base.errors import InputError
from capture_tools.camera.head_world import align_to_head

COUNT, SCALE = 120, 0.23


def rigid(rotations, places):
    poses = np.tile(np.eye(4), (len(places), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotations, places
    return poses


@pytest.fixture
def clip():
    """True cameras around a head near the origin, and what is known of them: the way in another frame and scale."""
    rng = np.random.default_rng(0)
    yaw = 0.2 * np.sin(np.linspace(0, 7, COUNT))
    flip = np.diag([1.0, -1.0, -1.0])
    turns = Rotation.from_euler("y", yaw[:, None]).as_matrix() @ flip
    centres = np.stack([np.sin(yaw), 0.05 * np.sin(3 * yaw), np.cos(yaw)], 1)
    cameras = rigid(turns, centres)
    waves = np.cumsum(rng.standard_normal((COUNT, 3)), axis=0)
    waves = (waves - waves.mean(0)) / waves.std(0)
    heads = rigid(Rotation.from_rotvec(0.1 * waves).as_matrix(), 0.004 * waves[:, ::-1])
    elsewhere = Rotation.from_rotvec([0.5, -1.0, 0.3]).as_matrix()
    path = rigid(elsewhere @ turns, centres @ elsewhere.T / SCALE + [3.0, 1.0, -2.0])
    return cameras, path, np.linalg.inv(cameras) @ heads, rng


def test_the_scale_is_that_at_which_the_head_stands_still(clip):
    cameras, path, before, _ = clip
    world = align_to_head(path, before)
    assert world.scale == pytest.approx(SCALE, rel=0.02)
    distance = np.linalg.norm(np.diff(world.world_from_cam[:, :3, 3], axis=0), axis=1).sum()
    assert distance == pytest.approx(np.linalg.norm(np.diff(cameras[:, :3, 3], axis=0), axis=1).sum(), rel=0.02)


def test_noise_in_depth_and_wild_frames_hardly_change_the_scale(clip):
    _, path, before, rng = clip
    noisy = before.copy()
    noisy[:, :3, 3] *= 1 + 0.02 * rng.standard_normal((COUNT, 1))
    noisy[10:16, :3, 3] += 0.4
    assert align_to_head(path, noisy).scale == pytest.approx(SCALE, rel=0.06)


def test_the_head_is_upright_and_every_picture_stays(clip):
    _, path, before, _ = clip
    world = align_to_head(path, before)
    np.testing.assert_allclose(np.linalg.inv(world.world_from_cam) @ world.world_from_head, before, atol=1e-9)
    mean = Rotation.from_matrix(world.world_from_head[:, :3, :3]).mean().magnitude()
    assert np.degrees(mean) < 0.5
    np.testing.assert_allclose(world.world_from_head[:, :3, 3].mean(0), 0, atol=1e-9)
    assert (world.world_from_cam[:, 2, 3] > 0.5).all(), "the camera is before the face, which looks along +z"


def test_a_camera_that_hardly_moves_is_refused(clip):
    _, path, before, _ = clip
    still = path.copy()
    still[:, :3, 3] = path[0, :3, 3] + 1e-4 * path[:, :3, 3]
    flat = np.tile(before[:1], (COUNT, 1, 1))
    still[:, :3, :3] = path[0, :3, :3]
    with pytest.raises(InputError, match="how far the camera moved"):
        align_to_head(still, flat)


def test_shapes_that_differ_are_refused(clip):
    _, path, before, _ = clip
    with pytest.raises(InputError, match="do not fit"):
        align_to_head(path, before[:-1])

"""The viewer's cameras against ours, viser's own conversion and NeRF's files."""

import math

import numpy as np
import pytest
import torch
from view_parts import any_pose

from avatar.animation.path_files import from_nerfstudio, to_nerfstudio
from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera, project
from avatar.rendering.background import same_view
from avatar.viewer.cameras import pose_from_viser, vertical_fov, view_camera
from avatar.viewer.controls import quaternion_of

CAPTURED = Camera(192, 160, 270.0, 270.0, 93.9, 84.2, any_pose(0))


@pytest.mark.parametrize("seed", range(5))
def test_a_pose_survives_the_way_through_viser(seed):
    pose = any_pose(seed)
    found = pose_from_viser(2.5 * quaternion_of(pose), pose[:3, 3])
    assert np.abs(found - pose).max() < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_those_of_the_pages_pinhole(seed):
    """A point's pixel by the field of view's definition: half the height over its tangent is the focal length."""
    centred = Camera(100, 80, 90.0, 90.0, 50.0, 40.0, any_pose(9))
    pose, fov, aspect, height = any_pose(seed), 0.6 + 0.1 * seed, 1.7, 200
    camera = view_camera(pose, fov, aspect, height, centred)
    points = np.random.default_rng(seed).uniform(-0.2, 0.2, (20, 3))
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    unit = height / 2 / math.tan(fov / 2)
    expected = np.stack([aspect * height / 2 + x / z * unit, height / 2 + y / z * unit], -1)
    assert (camera.width, camera.height) == (340, 200)
    assert np.abs(project(torch.tensor(points), camera)[0].numpy() - expected).max() < 1e-5


def test_from_the_captured_pose_the_picture_is_the_captured_one():
    fov, aspect = vertical_fov(CAPTURED), CAPTURED.width / CAPTURED.height
    assert same_view(CAPTURED, view_camera(CAPTURED.world_from_cam, fov, aspect, 160, CAPTURED))
    wide = view_camera(CAPTURED.world_from_cam, fov, 2 * aspect, 160, CAPTURED)
    assert same_view(CAPTURED, wide.cropped(96, 0, 192, 160))


def test_nerfstudios_matrix_is_that_of_our_files():
    numbers = to_nerfstudio(CAPTURED.world_from_cam)
    assert np.allclose(np.reshape(numbers, (4, 4)), CAPTURED.to_transform_matrix(), atol=1e-12)
    assert np.abs(from_nerfstudio(numbers) - CAPTURED.world_from_cam).max() < 1e-12


@pytest.mark.parametrize("numbers", [[1.0] * 15, [math.nan] * 16, []])
def test_a_matrix_that_is_none_is_refused(numbers):
    with pytest.raises(InputError, match="16 finite numbers"):
        from_nerfstudio(numbers)


@pytest.mark.parametrize("wxyz", [(0, 0, 0, 0), (math.nan, 0, 0, 1), (1, 0, 0)])
def test_a_rotation_that_is_none_is_refused(wxyz):
    with pytest.raises(InputError, match="camera"):
        pose_from_viser(wxyz, (0, 0, 1))

"""Training on a clip whose camera moves: every frame's rays start at its own camera, and the person stands before grey.

The tiny capture is carried through the world frame by frame, camera and head together, so its pictures stay true.
"""

import numpy as np
import pytest
import torch

from avatar.data.capture import PLAIN_GREY, read_capture
from avatar.data.checkpoint import load_avatar
from avatar.data.sampler import RaySampler
from avatar.flame.library import load_head
from avatar.geometry.cameras import pixel_rays
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.training.evaluate import evaluate
from avatar.training.prepare import load_training_data
from avatar.training.step import batch_rays
from avatar.training.trainer import train


@pytest.fixture(scope="module")
def moving_capture(tiny_capture, carry_capture, tmp_path_factory):
    count = len(read_capture(tiny_capture).frames)
    angle = np.linspace(-0.2, 0.2, count)
    motions = np.tile(np.eye(4), (count, 1, 1))
    turns = torch.as_tensor(np.stack([0.3 * angle, angle, 0 * angle], -1))
    motions[:, :3, :3] = axis_angle_to_matrix(turns)
    motions[:, 0, 3], motions[:, 1, 3] = 0.1 * angle, -0.2 * angle
    return carry_capture(tmp_path_factory.mktemp("moving") / "capture", motions)


def test_without_the_room_pictures_show_the_person_over_plain_grey(moving_capture, tiny_config):
    capture = read_capture(moving_capture)
    tiny_config.field.room.enabled = False
    data = load_training_data(capture, load_head(), tiny_config, torch.device("cpu"))
    empty, full = data.frames.masks == 0, data.frames.masks == 255
    assert (data.frames.images[empty] == PLAIN_GREY).all()
    assert (data.background == PLAIN_GREY).all()
    raw = torch.from_numpy(np.stack([capture.read_image(i) for i in data.frames.indices]))
    torch.testing.assert_close(data.frames.images[full], raw[full])
    assert (raw[empty] != PLAIN_GREY).any()


def test_with_the_room_pictures_are_whole(moving_capture, tiny_config):
    capture = read_capture(moving_capture)
    data = load_training_data(capture, load_head(), tiny_config, torch.device("cpu"))
    raw = torch.from_numpy(np.stack([capture.read_image(i) for i in data.frames.indices]))
    torch.testing.assert_close(data.frames.images, raw)


def test_every_ray_starts_at_its_own_frame_s_camera(moving_capture, tiny_config):
    data = load_training_data(read_capture(moving_capture), load_head(), tiny_config, torch.device("cpu"))
    batch = RaySampler(data.frames, rays=64, frames_per_batch=4).batch()
    rays = batch_rays(data, batch)
    for ray in range(len(batch.pixels)):
        camera = data.frames.cameras[int(batch.frame_index[ray])]
        origin, direction = pixel_rays(camera, batch.pixels[ray])
        torch.testing.assert_close(rays.origins[ray], origin, atol=1e-6, rtol=0)
        torch.testing.assert_close(rays.directions[ray], direction, atol=1e-6, rtol=0)
    assert len({tuple(data.frames.cameras[i].position) for i in batch.frames.tolist()}) == 4


def test_silhouettes_follow_the_cameras(moving_capture, tiny_config):
    data = load_training_data(read_capture(moving_capture), load_head(), tiny_config, torch.device("cpu"))
    share = (data.silhouettes & (data.frames.masks > 127)).sum() / data.silhouettes.sum()
    assert share > 0.97


@pytest.mark.slow
def test_training_and_evaluation_run_to_the_end(moving_capture, tiny_config, tmp_path):
    tiny_config.training.steps = 3
    train(moving_capture, tmp_path, tiny_config, progress=False)
    figures = evaluate(tmp_path, splits=("val",), detect=lambda image: (None, None), progress=False)
    assert np.isfinite(figures["val"]["psnr"])
    avatar = load_avatar(tmp_path)
    frame = avatar.render_frame(avatar.parameters.frame(0), avatar.camera)
    corner = frame.image[0, 0]
    torch.testing.assert_close(corner, torch.full((3,), PLAIN_GREY / 255), atol=0.02, rtol=0)

"""Training on a clip whose camera moves: every frame's rays start at its own camera, and the person stands before grey.

The tiny capture is carried through the world frame by frame, camera and head together, so its pictures stay true.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.data.capture import PLAIN_GREY, read_capture, write_capture
from avatar.data.sampler import RaySampler
from avatar.flame.assets import load_head
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import pixel_rays
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.training.checkpoint import load_avatar
from avatar.training.evaluate import evaluate
from avatar.training.learner import batch_rays
from avatar.training.prepare import load_training_data
from avatar.training.trainer import train


@pytest.fixture(scope="module")
def moving_capture(tiny_capture, tmp_path_factory):
    capture, asset = read_capture(tiny_capture), load_head()
    params, count = capture.parameters(), len(capture.frames)
    joint = HeadModel(asset)(params.frame(0)).joints[0, 0].detach() - params.translation[0]
    angle = torch.linspace(-0.2, 0.2, count)
    turn = axis_angle_to_matrix(torch.stack([0.3 * angle, angle, 0 * angle], -1))
    shift = torch.stack([0.1 * angle, -0.2 * angle, 0 * angle], -1)
    rotation = matrix_to_axis_angle(turn @ axis_angle_to_matrix(params.rotation))
    moved = (turn @ (params.translation + joint)[..., None])[..., 0] + shift - joint
    cameras = []
    for index, frame in enumerate(capture.frames):
        carry = np.eye(4)
        carry[:3, :3], carry[:3, 3] = turn[index].double(), shift[index].double()
        u, _, v = np.linalg.svd(carry[:3, :3])
        carry[:3, :3] = u @ v
        cameras.append(frame.camera.moved(carry @ frame.camera.world_from_cam))
    pixels, visible = capture.landmarks()
    return write_capture(
        tmp_path_factory.mktemp("moving") / "capture",
        images=[capture.read_image(i) for i in range(count)],
        masks=[capture.read_mask(i) for i in range(count)],
        cameras=cameras,
        params=replace(params, rotation=rotation, translation=moved),
        asset=asset,
        fps=capture.fps,
        timestamps=[frame.timestamp for frame in capture.frames],
        landmarks=pixels,
        visible=visible,
        background=None,
        report={},
        camera_mode="moving",
    )


def test_pictures_show_the_person_over_plain_grey(moving_capture, tiny_config):
    capture = read_capture(moving_capture)
    data = load_training_data(capture, load_head(), tiny_config, torch.device("cpu"))
    empty, full = data.frames.mattes == 0, data.frames.mattes == 255
    assert (data.frames.images[empty] == PLAIN_GREY).all()
    assert (data.plate == PLAIN_GREY).all()
    raw = torch.from_numpy(np.stack([capture.read_image(i) for i in data.frames.indices]))
    torch.testing.assert_close(data.frames.images[full], raw[full])
    assert (raw[empty] != PLAIN_GREY).any()


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
    share = (data.silhouettes & (data.frames.mattes > 127)).sum() / data.silhouettes.sum()
    assert share > 0.97


def test_training_and_evaluation_run_to_the_end(moving_capture, tiny_config, tmp_path):
    tiny_config.training.steps = 3
    train(moving_capture, tmp_path, tiny_config, progress=False)
    figures = evaluate(tmp_path, splits=("val",), detect=lambda image: (None, None), progress=False)
    assert np.isfinite(figures["val"]["psnr"])
    avatar = load_avatar(tmp_path)
    frame = avatar.render(avatar.parameters.frame(0), avatar.camera)
    corner = frame.image[0, 0]
    torch.testing.assert_close(corner, torch.full((3,), PLAIN_GREY / 255), atol=0.02, rtol=0)

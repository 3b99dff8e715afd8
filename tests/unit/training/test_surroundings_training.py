"""Where the camera moves, the paper's preset learns what stands around the person in the same field."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_clip import bare

from avatar.base.errors import ConfigError
from avatar.config import load_preset, read_config
from avatar.data.capture import PLAIN_GREY, read_capture
from avatar.data.checkpoint import load_avatar
from avatar.geometry.cameras import image_rays, turn_camera
from avatar.media.images import read_png
from avatar.training.evaluate import evaluate
from avatar.training.trainer import train

LEFT, RIGHT = (200, 120, 40), (40, 90, 180)
"""Colours of the two halves of the world, endlessly far away."""


def sky(camera) -> np.ndarray:
    directions = image_rays(camera)[1].numpy()
    return np.where(directions[..., :1] < 0, LEFT, RIGHT).astype(np.uint8)


@pytest.fixture(scope="module")
def turning_capture(tiny_capture, carry_capture, tmp_path_factory):
    """The tiny capture's person before a sky that is fixed in the world, from a camera that looks to and fro.

    Pictures are those of the still camera with another sky behind: the person has to stay before the same pixels, so
    the camera turns about its own place and the head goes round with it.
    """
    capture = read_capture(tiny_capture)
    count, camera = len(capture.frames), capture.frames[0].camera
    cameras = [turn_camera(camera, camera.position, angle, 0.0) for angle in np.linspace(-0.25, 0.25, count)]
    share = np.stack([capture.read_mask(i) for i in range(count)])[..., None] / 255
    images = np.stack([capture.read_image(i) for i in range(count)])
    skies = np.stack([sky(camera) for camera in cameras])
    still = np.linalg.inv(camera.world_from_cam)
    motions = np.stack([turned.world_from_cam @ still for turned in cameras])
    pictures = np.rint(images * share + skies * (1 - share)).astype(np.uint8)
    return carry_capture(tmp_path_factory.mktemp("turning") / "capture", motions, pictures)


@pytest.fixture
def small_paper():
    config = load_preset("paper")
    config.field.width, config.field.hidden_layers, config.field.skip = 48, 3, 0
    config.field.deformation = replace(config.field.deformation, layers=2, width=32, skip=0)
    config.render.coarse_samples, config.render.fine_samples = 24, 16
    config.training.rays, config.training.frames_per_batch = 256, 4
    config.training.background_share, config.training.network_rate = 0.5, 3e-3
    return config


def error_of_sky(run, capture) -> float:
    """PSNR in dB where the masks are empty, over the validation frames, from the written pictures."""
    total, count = 0.0, 0
    for index in capture.splits["val"]:
        name = capture.frames[index].name
        shown, truth = (read_png(run / "eval" / "val" / kind / f"{name}.png") for kind in ("pred", "gt"))
        empty = capture.read_mask(index) == 0
        total += ((shown.astype(float) - truth)[empty] ** 2).sum()
        count += 3 * empty.sum()
    return 10 * np.log10(255**2 / (total / count))


@pytest.mark.slow
def test_the_surroundings_are_learned_and_compared_with_the_frames(turning_capture, small_paper, tmp_path):
    capture = read_capture(turning_capture)
    small_paper.training.steps = 250
    train(turning_capture, tmp_path / "run", small_paper, progress=False)
    evaluate(tmp_path / "run", splits=("val",), detect=lambda image: (None, None), progress=False)
    plain = [sky(frame.camera).astype(float) - PLAIN_GREY for frame in capture.frames]
    before = 10 * np.log10(255**2 / np.mean(np.square(plain)))
    assert error_of_sky(tmp_path / "run", capture) > before + 5

    avatar = load_avatar(tmp_path / "run")
    assert avatar.shows_room
    params, camera = avatar.parameters.frame(0), avatar.camera
    # a background of one's own stands in place of the room: far from the person nothing is left of them
    black = torch.zeros(camera.height, camera.width, 3)
    with_own = avatar.render_frame(params, camera, background=black)
    assert with_own.opacity.mean() < avatar.render_frame(params, camera).opacity.mean() - 0.1


def test_without_the_setting_the_person_stands_over_grey(turning_capture, small_paper, tmp_path):
    small_paper.field.background_in_field, small_paper.field.room.enabled = False, False
    bare(small_paper).training.steps = 2
    train(turning_capture, tmp_path / "run", small_paper, progress=False)
    assert not load_avatar(tmp_path / "run").shows_room


def test_a_still_camera_keeps_its_plate(tiny_capture, small_paper, tmp_path):
    bare(small_paper).training.steps = 2
    train(tiny_capture, tmp_path / "run", small_paper, progress=False)
    assert not load_avatar(tmp_path / "run").shows_room


def test_the_setting_needs_the_paper_s_sampling(tmp_path):
    (tmp_path / "config.yaml").write_text("base: cpu\nfield: {background_in_field: true}\n")
    with pytest.raises(ConfigError, match="background_in_field"):
        read_config(tmp_path / "config.yaml")

"""The background behind the person: exact where it was captured, continued without mirrors where it was not."""

import math

import numpy as np
import pytest
import torch

from avatar.geometry.cameras import Camera, look_at, turn_camera
from avatar.rendering.background import EDGE_SOFTNESS, Background, continued

SIZE = 60


@pytest.fixture
def camera():
    return Camera(SIZE, SIZE, 90.0, 90.0, SIZE / 2, SIZE / 2, look_at((0, 0, 1.0), (0, 0, 0)))


def split_picture() -> torch.Tensor:
    """Red on the left half, blue on the right, with fine stripes."""
    image = torch.zeros(SIZE, SIZE, 3)
    image[:, : SIZE // 2, 0], image[:, SIZE // 2 :, 2] = 1.0, 1.0
    image[::2, :, 1] = 0.4
    return image


def test_the_captured_view_is_the_picture_itself(camera):
    image = torch.linspace(0, 1, SIZE)[:, None, None] * torch.tensor([1.0, 0.5, 0.2]) + torch.zeros(SIZE, SIZE, 3)
    background = Background(image, camera)
    assert background.seen_by(camera) is image
    larger = background.seen_by(camera.scaled(2 * SIZE, 2 * SIZE))
    assert larger.shape == (2 * SIZE, 2 * SIZE, 3)
    back = larger.view(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    assert float((back - image).abs().max()) < 0.01


def test_beyond_an_edge_the_picture_goes_on_in_its_own_colours_without_detail():
    canvas = continued(split_picture(), 0.5)[0].permute(1, 2, 0)
    assert canvas.shape == (2 * SIZE, 2 * SIZE, 3)
    low, high = SIZE // 2, SIZE // 2 + SIZE
    left, right = canvas[low:high, : low - 4], canvas[low:high, high + 4 :]
    assert float(left[..., 0].mean()) > 0.85, "what continues the left edge is red"
    assert float(right[..., 2].mean()) > 0.85
    assert float(left[..., 2].max()) < 0.35, "a mirror would bring the other half back"
    stripes = left[::2].mean() - left[1::2].mean()
    assert abs(float(stripes)) < 0.02, "a clamped edge would go on in stripes"
    margin = math.ceil(EDGE_SOFTNESS * SIZE) + 1
    inside = canvas[low + margin : high - margin, low + margin : high - margin]
    torch.testing.assert_close(inside, split_picture()[margin:-margin, margin:-margin])


def test_other_cameras_see_a_plane_behind_the_head(camera):
    """A camera to the person's left sees the far plane shifted, not squeezed or repeated."""
    image = torch.zeros(SIZE, SIZE, 3)
    image[:, 28:32] = 1.0  # a pole behind the head
    turned = turn_camera(camera, np.zeros(3), math.radians(15), 0.0)
    seen = Background(image, camera).seen_by(turned)[SIZE // 2, :, 0]
    bright = torch.nonzero(seen > 0.5).squeeze(1)
    assert 2 <= len(bright) <= 6
    assert int(bright.max() - bright.min()) < 7, "one pole"
    # the plane stands 0.8 m behind the head: its middle seen from 15 degrees
    expected = SIZE / 2 + 90 * math.tan(math.radians(15)) * 0.8 / (1.0 / math.cos(math.radians(15)) ** 2 + 0.8)
    assert float(bright.float().mean()) == pytest.approx(expected, abs=2.5)

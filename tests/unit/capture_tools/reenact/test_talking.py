"""A photograph's pixels move with the head fitted to it; what is far from the head stays."""

import cv2
import numpy as np
import pytest
import torch

from avatar.animation.driver_files import Driver
from avatar.animation.options import Retarget
from avatar.app.photo_writing import video_at, whole_camera, write_transfer
from avatar.base.errors import ConfigError, InputError, OutputError
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, look_at
from avatar.media.images import to_srgb, to_uint8
from avatar.media.video import has_synthetic_tag, probe_video, write_video
from capture_tools.reenact.talking import TalkingPhotograph
from capture_tools.report.painting import MeshPainter, Skin

SIZE = 128


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def own(head):
    return HeadParameters.neutral(head)


@pytest.fixture(scope="module")
def talking(head, own):
    """A plain head under even light before a pattern."""
    middle = HeadModel(head)(own).vertices[0].mean(0).tolist()
    pose = look_at((middle[0], middle[1], middle[2] + 0.8), tuple(middle))
    camera = Camera(SIZE, SIZE, 260.0, 260.0, SIZE / 2, SIZE / 2, pose)
    light = torch.zeros(9, 3)
    light[0] = 3.0
    skin = Skin(torch.full((head.vertex_count, 3), 0.4), light)
    painter = MeshPainter(head, skin)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    seen = painter.look(own, camera)
    picture[seen.mask] = to_uint8(to_srgb(painter.painted(seen).clip(0, 1)))
    return TalkingPhotograph(picture, own, camera, head, skin), picture


def opened(own, angle):
    params = own.clone()
    params.jaw[:, 0] = angle
    return params


def test_the_fitted_expression_gives_the_photograph_back(talking, own):
    photograph, picture = talking
    drawn = photograph.draw(own)
    assert np.abs(drawn.astype(int) - picture).mean() < 1.0


def test_an_open_mouth_shows_its_inside_and_leaves_what_is_far_from_the_head(talking, own, head):
    photograph, picture = talking
    params = opened(own, 0.35)
    drawn = photograph.draw(params)
    seen = MeshPainter(head).look(params, photograph.camera)
    part = np.full(seen.mask.shape, -1)
    part[seen.mask] = photograph.part[seen.face].numpy()
    within = part >= 0
    assert within.sum() > 20
    assert np.abs(drawn.astype(int) - picture)[within].mean() > 20  # no longer the skin of the shut mouth
    np.testing.assert_array_equal(drawn[:8, :8], picture[:8, :8])
    np.testing.assert_array_equal(drawn[:8, -8:], picture[:8, -8:])


def test_lips_that_hardly_part_show_no_single_pixels_of_teeth(talking, own, head):
    """A gap of a pixel is the photograph's own: nothing of the mouth is painted in it."""
    photograph, _ = talking
    narrow = 0
    for angle in np.linspace(0.0, 0.06, 7):
        params = opened(own, float(angle))
        seen = MeshPainter(head).look(params, photograph.camera)
        face = torch.as_tensor(seen.face).long()
        gap = np.zeros(seen.mask.shape, np.uint8)
        gap[seen.mask] = photograph.part[face].numpy() >= 0
        painted = np.zeros(seen.mask.shape, np.uint8)
        painted[seen.mask] = photograph._parts_wide_enough(seen.mask, face).numpy() >= 0
        assert (painted <= gap).all()
        assert cv2.erode(painted, np.ones((2, 2), np.uint8)).sum() > 0 or painted.sum() == 0
        narrow += int(gap.sum() - painted.sum())
    assert narrow > 10


def test_the_video_has_the_drivers_rate_and_the_tag(talking, own, head, tmp_path):
    photograph, _ = talking
    driver = Driver(HeadParameters.concatenate([opened(own, angle) for angle in (0.0, 0.1, 0.3)]), 12.5, None)
    out = write_transfer(photograph, own, driver, tmp_path / "o.mp4", Retarget(head_motion="still"))
    info = probe_video(out)
    assert (info.width, info.height, info.frame_count) == (SIZE, SIZE, 3)
    assert info.fps == pytest.approx(12.5)
    assert has_synthetic_tag(out)


def test_the_camera_of_the_whole_photograph_sees_a_point_where_the_crop_does():
    crop = Camera(64, 64, 100.0, 100.0, 32.0, 32.0, np.eye(4))
    whole = whole_camera(crop, {"x0": 10, "y0": -6, "side": 128}, 200, 150)
    assert (whole.width, whole.height) == (200, 150)
    assert (whole.fl_x, whole.cx, whole.cy) == (200.0, 74.0, 58.0)


def test_only_videos_are_written(tmp_path):
    with pytest.raises(InputError, match="written as a video"):
        video_at(tmp_path / "frames")


def test_wrong_orders_are_told_before_anything_is_fitted(tmp_path):
    from avatar import transfer

    photograph, driver = tmp_path / "me.png", tmp_path / "you.mp4"
    with pytest.raises(InputError, match="driver does not exist"):
        transfer(photograph, driver, tmp_path / "o.mp4")
    write_video(driver, [np.zeros((16, 16, 3), np.uint8)] * 3, 25.0, synthetic=False)
    with pytest.raises(InputError, match="photograph does not exist"):
        transfer(photograph, driver, tmp_path / "o.mp4")
    with pytest.raises(ConfigError, match="--gain"):
        transfer(photograph, driver, tmp_path / "o.mp4", settings=Retarget(gain="mouth=x"))
    (tmp_path / "o.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        transfer(photograph, driver, tmp_path / "o.mp4")

"""Which frames are used, where the square lies, and what happens to pixels in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.base.errors import InputError
from avatar.media.video import write_video
from capture_tools.detect.selection import Crop, choose_crop, select_frames


def clip(path: Path, frames: int) -> Path:
    return write_video(path, (np.full((32, 48, 3), i % 200, np.uint8) for i in range(frames)), 25, synthetic=False)


def test_long_clips_are_thinned_out_not_cut(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", 100)
    assert select_frames(path, max_frames=300)[1].every == 1
    _, thinned = select_frames(path, max_frames=30)
    assert (thinned.every, thinned.expected) == (4, 25)
    _, half = select_frames(path, start=0.0, end=2.0, max_frames=30)
    assert (half.every, half.expected) == (2, 25)
    assert select_frames(path, max_frames=None)[1].every == 1


@pytest.mark.parametrize("wrong", [{"start": 9.0}, {"start": -1.0}, {"start": 2.0, "end": 1.0}, {"max_frames": 0}])
def test_impossible_ranges_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError):
        select_frames(clip(tmp_path / "clip.mp4", 50), **wrong)


def face(x: float, y: float, size: float) -> np.ndarray:
    """478 points that fill a box of `size` x `size` at (x, y)."""
    points = np.random.default_rng(0).uniform(0, size, (478, 2))
    points[:4] = [(0, 0), (size, 0), (0, size), (size, size)]
    return points + np.array([x, y])


def test_crop_holds_hair_and_shoulders_all_the_way() -> None:
    pixels = np.stack([face(x, 200, 100) for x in np.linspace(300, 360, 40)]).astype(np.float32)
    pixels[5] = np.nan
    crop = choose_crop(pixels, 1280, 720, 256)
    assert crop.size == 256
    assert crop.y0 <= 200 - 50  # hair: half a face above
    assert crop.y0 + crop.side >= 300 + 80  # shoulders below
    assert crop.x0 <= 300 - 50
    assert crop.x0 + crop.side >= 460 + 50
    assert crop.side < 400  # not the whole frame


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (90, 110)])
def test_crop_stays_inside_the_picture(width: int, height: int) -> None:
    pixels = face(width / 2, 5, 60)[None].repeat(3, 0)
    crop = choose_crop(pixels, width, height, 128)
    assert crop.x0 >= 0
    assert crop.y0 >= 0
    assert crop.x0 + crop.side <= width
    assert crop.y0 + crop.side <= height


def test_cut_pixels_and_points_agree() -> None:
    """A bright blob lands where `to_crop` says it does, whether the square is made smaller or larger."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[100:110, 150:160] = 255  # its centre is at (155, 105)
    for side, size in ((160, 80), (60, 90), (64, 64)):
        crop = Crop(120, 60 if side < 100 else 40, side, size)
        cut = crop.cut(image).astype(float)
        assert cut.shape == (size, size, 3)
        rows, columns = np.mgrid[:size, :size] + 0.5
        weight = cut[..., 0] / cut[..., 0].sum()
        centre = [(columns * weight).sum(), (rows * weight).sum()]
        np.testing.assert_allclose(crop.to_crop(np.array([155.0, 105.0])), centre, atol=0.05)

"""Masks: cleaned in time, fitted to edges, one person without holes."""

from __future__ import annotations

import numpy as np
import pytest

from avatar.media.video import read_video
from capture_tools.detect.segmentation import PersonSegmenter, fill_holes, refine_mask, steady


def test_steady_removes_a_flash_and_keeps_motion() -> None:
    still = np.zeros((5, 4, 4), np.uint8)
    still[2, 1, 1] = 255
    assert steady(still).max() == 0
    moving = np.stack([np.tri(6, k=i - 3, dtype=np.uint8) * 255 for i in range(6)])
    np.testing.assert_array_equal(steady(moving), moving)
    assert steady(still[:2]) is not still
    np.testing.assert_array_equal(steady(still[:2]), still[:2])


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A dark disc on a bright noisy ground, and where it is."""
    rows, columns = np.mgrid[:200, :200]
    truth = (rows - 110) ** 2 + (columns - 100) ** 2 < 60**2
    noise = np.random.default_rng(0).normal(0, 4, (200, 200, 3))
    image = np.where(truth[..., None], 60, 190) + noise
    return np.clip(image, 0, 255).astype(np.uint8), truth


def test_border_moves_onto_the_edge() -> None:
    """The network's border is off by two pixels; the guided filter brings it to the picture's edge."""
    import cv2

    image, truth = picture()
    wide = cv2.dilate(truth.astype(np.float32), np.ones((5, 5), np.uint8))
    coarse = cv2.GaussianBlur(wide, (0, 0), 3)
    before = ((coarse > 0.5) != truth).sum()
    mask = refine_mask(coarse, image)
    assert mask.dtype == np.uint8
    assert ((mask > 127) != truth).sum() < 0.5 * before


def test_only_the_person_is_kept() -> None:
    image, truth = picture()
    confidence = truth.astype(np.float32)
    confidence[5:25, 5:25] = 0.9  # a lamp
    mask = refine_mask(confidence, image)
    assert mask[:30, :30].max() == 0
    assert mask[110, 100] == 255
    assert refine_mask(np.zeros((50, 50), np.float32), image).max() == 0


def test_small_holes_are_closed_and_large_ones_kept() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[10:95, 10:90] = 255
    mask[30:33, 30:33] = 0
    mask[50:70, 40:60] = 0  # between arm and body
    filled = fill_holes(mask)
    assert filled[31, 31] == 255
    assert filled[60, 50] == 0
    assert filled[0, 0] == 0


@pytest.mark.real
def test_a_real_speaker_is_cut_out(real_clips) -> None:
    """GRID speakers sit before a plain blue wall: the mask must agree with the wall's colour."""
    _, frame = next(read_video(real_clips / "grid" / "bbaf2n.mpg", start=1.0))
    with PersonSegmenter() as segmenter:
        mask = refine_mask(segmenter.confidence(frame), frame)
    red, green, blue = frame[..., :3].astype(int).transpose(2, 0, 1)
    surely_wall = (blue > red + 60) & (green > red + 20)
    skin = (red > blue + 40) & (red > 120)
    assert (mask[surely_wall] < 30).mean() > 0.98
    assert (mask[skin] > 200).mean() > 0.97


@pytest.mark.real
@pytest.mark.parametrize("clip", ["s1.mp4", "s2.mp4", "address_5s_letterbox.mp4"])
def test_the_second_opinion_leaves_a_dark_suit(real_clips, clip: str) -> None:
    """Suits before dark shelves, cut off by the picture's lower corners: what the second network is least sure of."""
    _, frame = next(read_video(real_clips / "white_house" / clip, start=1.0))
    height, width = frame.shape[:2]
    square = frame[:, (width - height) // 2 : (width + height) // 2]
    alone, doubting = (
        refine_mask(PersonSegmenter(doubting=way).confidence(square), square) > 127 for way in (False, True)
    )
    assert alone.mean() > 0.2
    assert (alone & ~doubting).sum() < 0.01 * alone.sum()

"""Unusable clips are refused in words that help; usable ones come with fitting warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.base.errors import InputError
from capture_tools.detect.checks import (
    OTHER_SHOT,
    drop_reasons,
    is_black,
    ranges,
    refuse_still,
    require_person,
    require_usable,
)
from capture_tools.report.scores import yaw_degrees


def faces(count: int, eyes: float = 80.0) -> np.ndarray:
    pixels = np.full((count, 478, 2), 100.0, np.float32)
    pixels[:, 263, 0] += eyes
    return pixels


def reasons_for(pixels: np.ndarray, **given: np.ndarray) -> dict[int, str]:
    count = len(pixels)
    return drop_reasons(
        pixels, **({"sharp": np.ones(count), "black": np.zeros(count, bool), "inside": np.ones(count)} | given)
    )


def test_frames_that_cannot_be_used_have_their_reason() -> None:
    pixels = faces(8)
    pixels[[2, 7]] = np.nan
    pixels[4, 263, 0] = 105
    sharp, black, inside = np.ones(8), np.zeros(8, bool), np.where(np.isnan(pixels[:, 0, 0]), 0, 1.0)
    inside[[0, 1]] = 0.6, 0.9
    sharp[6], black[7] = 0.2, True
    reasons = reasons_for(pixels, sharp=sharp, black=black, inside=inside)
    assert reasons[0] == "the face is cut by the picture's edge (60% inside)"
    assert reasons[2] == "no face was found"
    assert reasons[4].startswith("the face is too small (5 pixels")
    assert reasons[6] == "the face is blurred (20% of the detail usual in this clip)"
    assert reasons[7] == "the picture is black"
    assert sorted(reasons) == [0, 2, 4, 6, 7]


def test_too_few_frames() -> None:
    video = Path("clip.mp4")
    require_usable(20, {}, video)
    with pytest.raises(InputError, match="too few usable frames") as caught:
        require_usable(22, {0: "no face was found", 1: "x", 7: "x"}, video)
    assert "19, without those dropped: 0-1, 7" in str(caught.value)
    with pytest.raises(InputError, match="no face was found in the video"):
        require_usable(3, dict.fromkeys(range(3), "no face was found"), video)
    with pytest.raises(InputError, match="too few usable frames") as caught:
        require_usable(50, dict.fromkeys(range(40), OTHER_SHOT), video, shots=2)
    assert "10 in the shot used, one of 2" in str(caught.value)
    with pytest.raises(InputError, match="in the shot") as caught:
        require_usable(50, dict.fromkeys(range(40), OTHER_SHOT) | dict.fromkeys(range(40, 50), "y"), video, shots=2)
    assert "found: 10 frames: y" in str(caught.value)
    assert "--shot N" in str(caught.value)


def test_a_face_cut_all_through_is_called_so() -> None:
    """With how much of it is seen, and what to do; also where a few frames could be used."""
    reasons = {i: f"the face is cut by the picture's edge ({50 + i}% inside)" for i in range(31)}
    reasons[40] = "no face was found"
    with pytest.raises(InputError, match="cut by the picture's edge in the whole video") as caught:
        require_usable(32, reasons, Path("clip.mp4"))
    assert "(65% inside); no face was found" in str(caught.value)
    assert "film from farther away" in str(caught.value)
    with pytest.raises(InputError, match="cut by the picture's edge in too much of the video") as caught:
        require_usable(45, reasons, Path("clip.mp4"))
    assert "found: 13, without those dropped: 0-30, 40" in str(caught.value)
    assert "film from farther away" in str(caught.value)


def test_black_frames_are_not_dark_ones() -> None:
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    frames[1] += 20
    frames[2, 30:34, 30:34] = 120  # a face by candle light
    assert is_black(frames).tolist() == [True, False, False]


def test_a_photo_is_no_film() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (64, 64, 3)).astype(np.int16)
    noisy = np.stack([picture + rng.integers(-1, 2, picture.shape) for _ in range(30)]).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match="still picture") as caught:
        refuse_still(noisy, Path("clip.mp4"))
    assert "--image PHOTO" in str(caught.value)
    noisy[20:24, 30:32, 20:24] //= 2  # someone blinked
    refuse_still(noisy, Path("clip.mp4"))


def test_a_face_that_no_mask_covers_is_refused() -> None:
    """Masks of everything but the face, up to a speck; where a fifth of the frames have one, it is left to these."""
    corners = np.array([[20, 20], [60, 20], [60, 70], [20, 70]], np.float32)
    pixels = np.tile(corners.mean(0), (20, 478, 1)).astype(np.float32)
    pixels[:, :4] = corners
    masks = np.full((20, 80, 80), 255, np.uint8)
    require_person(masks, pixels, Path("clip.mp4"))
    masks[:, 20:71, 20:61] = 0
    masks[:, 40:44, 40:44] = 255
    with pytest.raises(InputError, match="cannot be told from the background") as caught:
        require_person(masks, pixels, Path("clip.mp4"))
    assert "found: an empty one in 20 of 20 frames" in str(caught.value)
    assert "contrast" in str(caught.value.fix)
    masks[::5] = 255
    require_person(masks, pixels, Path("clip.mp4"))
    with pytest.raises(InputError, match="found: an empty one\n"):
        require_person(masks[1:2], pixels[1:2], Path("me.jpg"))
    require_person(masks[1:2], pixels[1:2] - 500, Path("me.jpg"))  # a face beyond the picture tells nothing


def test_words_and_angles() -> None:
    assert ranges([3, 7, 8, 9, 12]) == "3, 7-9, 12"
    assert ranges([]) == ""
    turned = np.array([[0, np.pi / 3, 0], [0, 0, 0], [0, -np.pi / 2, 0], [0.4, 0, 0]])
    np.testing.assert_allclose(yaw_degrees(turned), [60, 0, -90, 0], atol=1e-3)

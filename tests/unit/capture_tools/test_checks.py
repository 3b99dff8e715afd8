"""Unusable clips are refused in words that help; usable ones come with fitting warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.errors import InputError
from capture_tools.checks import drop_reasons, refuse_two_people, require_usable
from capture_tools.report import ranges, telling_frames, yaw_degrees


def faces(count: int, eyes: float = 80.0) -> np.ndarray:
    pixels = np.full((count, 478, 2), 100.0, np.float32)
    pixels[:, 263, 0] += eyes
    return pixels


def test_two_people() -> None:
    pixels, video = faces(50), Path("clip.mp4")
    refuse_two_people(pixels, np.zeros(50), video)
    refuse_two_people(pixels, np.where(np.arange(50) < 10, 1.0, 0.0), video)  # a passer-by
    refuse_two_people(pixels, np.full(50, 0.3), video)  # someone far behind
    with pytest.raises(InputError, match="two faces") as caught:
        refuse_two_people(pixels, np.full(50, 0.8), video)
    assert "50 of 50 frames" in str(caught.value)
    assert "crop it" in str(caught.value)


def test_frames_without_a_face_have_their_reason() -> None:
    pixels = faces(6)
    pixels[2] = np.nan
    pixels[4, 263, 0] = 105
    reasons = drop_reasons(pixels)
    assert reasons[2] == "no face was found"
    assert reasons[4].startswith("the face is too small (5 pixels")
    assert sorted(reasons) == [2, 4]


def test_too_few_frames() -> None:
    video = Path("clip.mp4")
    require_usable(faces(20), {}, video)
    with pytest.raises(InputError, match="too few usable frames") as caught:
        require_usable(faces(22), {0: "no face was found", 1: "x", 7: "x"}, video)
    assert "19, without those dropped: 0-1, 7" in str(caught.value)
    with pytest.raises(InputError, match="no face was found in the video"):
        require_usable(faces(3), dict.fromkeys(range(3), "no face was found"), video)


def test_words_and_angles() -> None:
    assert ranges([3, 7, 8, 9, 12]) == "3, 7-9, 12"
    assert ranges([]) == ""
    turned = np.array([[0, np.pi / 3, 0], [0, 0, 0], [0, -np.pi / 2, 0], [0.4, 0, 0]])
    np.testing.assert_allclose(yaw_degrees(turned), [60, 0, -90, 0], atol=1e-3)


def test_telling_frames_show_the_extremes() -> None:
    landmarks = np.random.default_rng(0).normal(0, 0.1, (100, 478, 2)) + faces(100)
    landmarks[:, 145, 1] += 8
    landmarks[:, 14, 1] += 5
    landmarks[37, 145] = landmarks[37, 159]
    landmarks[61, 14, 1] += 40
    rotation = np.zeros((100, 3))
    rotation[83, 1] = 0.9
    chosen = telling_frames(landmarks, rotation, 12)
    assert {37, 61, 83} <= set(chosen)
    assert len(chosen) <= 12
    assert chosen == sorted(chosen)

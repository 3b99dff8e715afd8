"""A face that the pictures show badly is called so, in one plain sentence; good ones are met with silence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from painted_clip import PaintedClip

from avatar.media.video import read_video
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.detect.picture_quality import face_levels, picture_warnings
from capture_tools.detect.sharpness import absolute_detail, detail_tensor


def levels(brightness: float, contrast: float, image: np.ndarray) -> np.ndarray:
    """What FFmpeg's filter `eq` does with these two."""
    return ((image.astype(float) - 127.5) * contrast + 127.5 + brightness * 255).clip(0, 255).astype(np.uint8)


def out_of_focus(image: np.ndarray, width: float, share: float = 0.03) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), share * width)


def heard(images: list[np.ndarray]) -> list[str]:
    with LandmarkDetector(static=True) as detector:
        pairs = [(image, face) for image in images if (face := detector.detect(image)[0]) is not None]
    assert pairs
    faces = np.array([face for _, face in pairs])
    details = absolute_detail(np.array([detail_tensor(image, face) for image, face in pairs]))
    return picture_warnings([image for image, _ in pairs], faces, details, np.ptp(faces[..., 0], axis=1))


CASES = [
    (lambda image: levels(-0.35, 0.35, image), "the face is very dark"),
    (lambda image: levels(0.4, 1.5, image), "the face is overexposed"),
    (lambda image: levels(0, 0.2, image), "the face has hardly any contrast"),
    (lambda image: out_of_focus(image, 79), "the face is out of focus"),
]


@pytest.mark.parametrize(("harm", "words"), CASES)
def test_each_harm_is_named_alone(painted: PaintedClip, harm, words: str) -> None:
    (warning,) = heard([harm(image) for image in painted.images[::4]])
    assert warning.startswith(words)


def test_a_good_face_is_met_with_silence(painted: PaintedClip) -> None:
    assert heard(painted.images[::4]) == []
    soft = [cv2.resize(cv2.resize(image, (260, 195)), (320, 240)) for image in painted.images[::4]]
    assert heard(soft) == []


def test_a_small_face_is_small_and_not_called_out_of_focus(painted: PaintedClip) -> None:
    assert heard([cv2.resize(out_of_focus(image, 79), (200, 150)) for image in painted.images[::4]]) == []


def test_a_face_outside_the_picture_is_black() -> None:
    assert face_levels(np.full((20, 20, 3), 200, np.uint8), np.full((478, 2), -50.0)) == (0, 0, 0)


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["white_house/s2.mp4", "webcam_man/take1.mp4", "grid/id2_vcd_swwp2s.mpg", "odd/two_people.gif"]
)
def test_no_good_recording_is_warned_of(real_clips: Path, name: str) -> None:
    """Among them the least detailed, the least lit and the one with most highlights."""
    assert heard([image for _, image in read_video(real_clips / name, end=4.0, every=12)]) == []

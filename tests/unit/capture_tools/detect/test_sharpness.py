"""Smeared faces are told from sharp ones, near or far, whichever way they moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from painted_clip import PaintedClip, smear

from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.detect.sharpness import BLURRED, detail_tensor, sharpness


@pytest.fixture(scope="module")
def faces(painted: PaintedClip) -> list[np.ndarray]:
    with LandmarkDetector() as detector:
        return [detector.detect(image)[0] for image in painted.images]


@pytest.mark.parametrize("degrees", [0, 45, 90])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_smeared_frames_stand_out(painted: PaintedClip, faces: list, degrees: float, scale: float) -> None:
    width = np.ptp(faces[0][:, 0]) * scale
    images = [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for image in painted.images]
    for index in (3, 12):
        images[index] = smear(images[index], round(0.15 * width) | 1, degrees)
    sharp = sharpness(np.array([detail_tensor(a, b * scale) for a, b in zip(images, faces, strict=True)]))
    assert [i for i in range(len(images)) if sharp[i] < BLURRED] == [3, 12]


def test_no_detail_at_all() -> None:
    assert sharpness(np.zeros((5, 2, 2, 2))).tolist() == [1.0] * 5
    assert len(sharpness(np.zeros((0, 2, 2, 2)))) == 0
    outside = np.full((478, 2), -50.0)
    assert not detail_tensor(np.zeros((20, 20, 3), np.uint8), outside).any()

"""Landmarks behind a hand are known, and a hidden mouth is told from a hand at the chin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.flame.landmark_sets import LIPS, inter_ocular_distance
from avatar.media.video import read_video
from capture_tools.detect.hands import HandDetector, covered, hides_mouth
from capture_tools.detect.landmark_detector import LandmarkDetector


def test_points_inside_the_outline_are_covered() -> None:
    face = np.random.default_rng(0).uniform(0, 100, (478, 2))
    hand = np.array([(20, 20), (60, 20), (60, 60), (20, 60), *[(40, 40)] * 17], np.float32)
    hidden = covered(hand, face)
    inside = ((face > 20) & (face < 60)).all(1)
    well_outside = ((face < 15) | (face > 65)).any(1)
    assert hidden[inside].all()
    assert not hidden[well_outside].any()


def test_a_few_lip_points_do_not_hide_the_mouth() -> None:
    some = np.zeros((2, 478), bool)
    some[0, list(LIPS)[:4]] = True
    some[1, list(LIPS)[:20]] = True
    assert hides_mouth(some).tolist() == [False, True]


@pytest.mark.real
def test_a_hand_at_the_chin_and_one_before_the_mouth(real_clips: Path) -> None:
    """The recording has a hand below the chin; moved up in the picture, the same hand hides the mouth."""
    chin, mouth = [], []
    with LandmarkDetector() as faces, HandDetector() as first, HandDetector() as second:
        for _, image in read_video(real_clips / "webcam_man" / "take1.mp4", start=49.0, end=49.6):
            face = faces.detect(image)[0]
            assert face is not None
            chin.append(np.any([covered(hand, face) for hand in first.detect(image)] or np.zeros((1, 478)), axis=0))
            up = round(0.8 * float(inter_ocular_distance(face)))
            top = int(face[:, 1].max()) - round(0.15 * up)
            moved = image.copy()
            moved[top - up : -up] = image[top:]
            mouth.append(np.any([covered(hand, face) for hand in second.detect(moved)] or np.zeros((1, 478)), axis=0))
    assert np.array(chin).any(1).mean() > 0.8
    assert not hides_mouth(np.array(chin, bool)).any()
    assert hides_mouth(np.array(mouth, bool)).mean() > 0.8

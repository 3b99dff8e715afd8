"""The detector finds a painted head where it is, follows it, and stays quiet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_clip import PaintedClip

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from capture_tools.detect.landmark_detector import (
    MINIMAL_INSIDE,
    LandmarkDetector,
    choose_face,
    cut_share,
    share_inside,
)


def test_landmarks_lie_on_the_head(painted: PaintedClip, head: HeadAsset) -> None:
    """Within a few hundredths of the eye distance of the mesh's own landmarks, without a shift in x or y."""
    model = HeadModel(head)
    with torch.no_grad():
        truth, _ = project(model.landmarks(model(painted.params).vertices), painted.camera)
    errors, shifts = [], []
    with LandmarkDetector() as detector:
        for image, expected in zip(painted.images, truth.numpy(), strict=True):
            found, count = detector.detect(image)
            assert count == 1
            assert found is not None
            assert found.shape == (478, 2)
            eyes = inter_ocular_distance(expected)
            errors.append(np.linalg.norm(found - expected, axis=-1).mean() / eyes)
            shifts.append((found - expected).mean(0))
    assert np.mean(errors) < 0.035
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.6


def test_scale_does_not_move_the_landmarks(painted: PaintedClip) -> None:
    """Without the half pixel MediaPipe leaves out, points of a halved picture would be off by half a pixel."""
    import cv2

    image = painted.images[0]
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    with LandmarkDetector(static=True) as detector:
        a, b = detector.detect(small)[0], detector.detect(large)[0]
    assert a is not None
    assert b is not None
    assert np.abs((2 * a - b / 2).mean(0)).max() < 0.35


def test_no_face_and_two_faces(painted: PaintedClip) -> None:
    double = np.concatenate([painted.images[0], painted.images[3]], axis=1)
    with LandmarkDetector(static=True) as detector:
        assert detector.detect(painted.wall) == (None, 0)
        found, count = detector.detect(double)
        assert count == 2
        assert found is not None


def test_faces_cut_by_the_edge_are_told_from_whole_ones(painted: PaintedClip) -> None:
    """They are found with the share that is seen, but never given as the face."""
    images, whole = painted.images[:6], []
    with LandmarkDetector() as detector:
        faces = [detector.detect(image)[0] for image in images]
    for part in (0.5, 0.6):
        edge = round(faces[0][:, 0].min() + part * np.ptp(faces[0][:, 0]))
        cut = [image[:, edge:] for image in images]
        truth = np.mean([share_inside(face - [edge, 0], 320 - edge, 240) for face in faces])
        assert 0.4 < truth < 0.75
        assert cut_share(cut) == pytest.approx(truth, abs=0.15)
        with LandmarkDetector() as detector:
            whole += [detector.detect(image)[0] for image in cut]
    assert whole == [None] * 12
    assert cut_share([painted.wall] * 3) is None
    assert cut_share(images) is None
    with LandmarkDetector() as detector:  # as it slides out, the face is still seen, with what is left of it
        shares = [
            share_inside(face, 320 - edge, 240)
            for edge in range(0, round(faces[0][:, 0].mean()), 6)
            for face in detector.detect_all(images[0][:, edge:])
        ]
    assert max(shares) == 1
    assert min(shares) < 0.7 < MINIMAL_INSIDE


def test_the_followed_face_is_kept() -> None:
    """Not the largest one, once another was followed."""

    def face(x: float, size: float) -> np.ndarray:
        points = np.zeros((478, 3), np.float32)
        points[:, 0] = x
        points[33], points[263] = (x - size / 2, 0, 0), (x + size / 2, 0, 0)
        return points

    small, large = face(100, 40), face(300, 60)
    assert choose_face([small, large], None) is large
    assert choose_face([small, large], face(110, 42)) is small
    assert choose_face([large], face(110, 42)) is large  # the old one is gone


def test_nothing_is_printed(tmp_path: Path, painted: PaintedClip) -> None:
    """MediaPipe and TensorFlow Lite write to the process's stderr from C++; a user must not see it."""
    np.save(tmp_path / "image.npy", painted.images[0])
    code = (
        "import sys, numpy as np\n"
        "from capture_tools.detect.landmark_detector import LandmarkDetector\n"
        "from capture_tools.detect.hands import HandDetector\n"
        "from capture_tools.detect.segmentation import PersonSegmenter\n"
        "image = np.load(sys.argv[1])\n"
        "with LandmarkDetector() as d, PersonSegmenter() as s, HandDetector() as h:\n"
        "    for _ in range(3): d.detect(image); s.confidence(image); h.detect(image)\n"
        "print('heard', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "image.npy")], capture_output=True, text=True, check=True
    )
    assert done.stderr == "heard\n"
    assert done.stdout == ""

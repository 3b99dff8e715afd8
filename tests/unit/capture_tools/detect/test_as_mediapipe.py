"""Faces, hands and masks come out as MediaPipe's own, on drawings that it takes for real.

`as_mediapipe.npz` holds what mediapipe 0.10.21 found; where that package is installed,
`python tests/unit/capture_tools/detect/test_as_mediapipe.py` writes it again.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from capture_tools.detect.body import MODEL_SIZE
from capture_tools.detect.box_detector import face_detector
from capture_tools.detect.hands import HandDetector
from capture_tools.detect.landmark_detector import PIXEL_CENTRE, LandmarkDetector
from capture_tools.detect.segmentation import PersonSegmenter

STORED = Path(__file__).with_name("as_mediapipe.npz")
FRAMES = 6
MEAN, MOST = 0.05, 0.3
"""Pixels. On one machine they are the same numbers; another processor's kernels may round otherwise."""


def drawn_face(frame: int) -> np.ndarray:
    """A face and shoulders that wander and lean from frame to frame: uint8 `[240, 320, 3]`."""
    rgb = np.full((240, 320, 3), (150, 170, 190), np.uint8)

    def oval(centre: tuple[int, int], axes: tuple[int, int], colour: tuple[int, int, int]) -> None:
        cv2.ellipse(rgb, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    oval((160, 262), (110, 60), (60, 70, 110))
    cv2.rectangle(rgb, (140, 170), (180, 215), (196, 150, 120), -1)
    oval((160, 112), (64, 82), (70, 45, 30))
    oval((160, 125), (56, 74), (224, 180, 150))
    for x in (137, 183):
        oval((x, 112), (13, 7), (250, 250, 250))
        oval((x, 112), (6, 6), (70, 50, 40))
        oval((x, 112), (3, 3), (10, 10, 10))
        cv2.ellipse(rgb, (x, 112), (14, 8), 0, 180, 360, (60, 40, 30), 2, cv2.LINE_AA)
        cv2.ellipse(rgb, (x, 98), (17, 6), 0, 190, 350, (70, 45, 30), 4, cv2.LINE_AA)
    oval((160, 138), (9, 6), (190, 140, 115))
    oval((160, 162), (22, 8), (170, 70, 70))
    cv2.line(rgb, (139, 162), (181, 162), (110, 40, 40), 2, cv2.LINE_AA)
    return moved(rgb, frame)


def drawn_hand(frame: int) -> np.ndarray:
    """An open hand that wanders and leans from frame to frame: uint8 `[240, 320, 3]`."""
    rgb = np.full((240, 320, 3), (70, 80, 95), np.uint8)
    skin, crease = (222, 178, 150), (190, 140, 115)
    tips = np.array([(85, 105), (132, 45), (160, 32), (188, 42), (214, 68)])
    knuckles = np.array([(130, 170), (140, 120), (160, 115), (180, 120), (196, 132)])
    cv2.ellipse(rgb, (165, 155), (44, 48), 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.line(rgb, (165, 180), (165, 260), skin, 56, cv2.LINE_AA)
    for tip, knuckle in zip(tips, knuckles, strict=True):
        cv2.line(rgb, knuckle.tolist(), tip.tolist(), skin, 19, cv2.LINE_AA)
        for way in (0.35, 0.68):
            joint = (knuckle * (1 - way) + tip * way).astype(int).tolist()
            cv2.circle(rgb, joint, 4, crease, 1, cv2.LINE_AA)
    cv2.ellipse(rgb, (150, 165), (18, 30), 20, 200, 320, crease, 2, cv2.LINE_AA)
    return moved(rgb, frame)


def moved(rgb: np.ndarray, frame: int) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((160, 120), 2.0 * frame, 1)
    matrix[0, 2] += 3 * frame
    return cv2.warpAffine(cv2.GaussianBlur(rgb, (0, 0), 1.2), matrix, (320, 240), borderMode=cv2.BORDER_REPLICATE)


def by_mediapipe() -> dict[str, np.ndarray]:
    """What `found` should be, by the package itself."""
    from mediapipe.python.solutions.face_detection import FaceDetection
    from mediapipe.python.solutions.face_mesh import FaceMesh
    from mediapipe.python.solutions.hands import Hands
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    faces, hands = [drawn_face(k) for k in range(FRAMES)], [drawn_hand(k) for k in range(FRAMES)]
    meshes = {}
    for name, static in (("tracked", False), ("static", True)):
        with FaceMesh(static_image_mode=static, max_num_faces=2, refine_landmarks=True) as mesh:
            found = [mesh.process(face).multi_face_landmarks[0].landmark for face in faces]
        points = np.array([[(p.x, p.y, p.z) for p in one] for one in found]) * [320, 240, 320]
        meshes[name] = (points + np.array([PIXEL_CENTRE, PIXEL_CENTRE, 0])).astype(np.float32)
    with Hands(max_num_hands=2, model_complexity=0) as tracker:
        seen = [tracker.process(hand).multi_hand_landmarks[0].landmark for hand in hands]
    fingers = (np.array([[(p.x, p.y) for p in one] for one in seen]) * [320, 240]).astype(np.float32)
    with SelfieSegmentation(model_selection=0) as network:
        small = cv2.resize(faces[0], (MODEL_SIZE, MODEL_SIZE), interpolation=cv2.INTER_LINEAR)
        person = np.array(network.process(small).segmentation_mask)
    with FaceDetection(model_selection=0, min_detection_confidence=0.5) as detector:
        scores = np.array([detector.process(face).detections[0].score[0] for face in faces], np.float32)
    return {**meshes, "hands": fingers, "person": np.rint(255 * person).astype(np.uint8), "scores": scores}


@pytest.fixture(scope="module", params=["stored", "installed"])
def expected(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    if request.param == "installed":
        pytest.importorskip("mediapipe.python.solutions")
        return by_mediapipe()
    with np.load(STORED) as stored:
        return dict(stored)


@pytest.mark.parametrize("name", ["tracked", "static"])
def test_landmarks(expected: dict[str, np.ndarray], name: str) -> None:
    with LandmarkDetector(static=name == "static") as detector:
        found = [detector.detect_all(drawn_face(k)) for k in range(FRAMES)]
    assert [len(faces) for faces in found] == [1] * FRAMES
    difference = np.abs(np.array(found)[:, 0] - expected[name])
    assert difference.mean() < MEAN
    assert difference.max() < MOST


def test_hands(expected: dict[str, np.ndarray]) -> None:
    with HandDetector() as detector:
        found = [detector.detect(drawn_hand(k)) for k in range(FRAMES)]
    assert [len(hands) for hands in found] == [1] * FRAMES
    difference = np.abs(np.array(found)[:, 0] - expected["hands"])
    assert difference.mean() < MEAN
    assert difference.max() < MOST


def test_person(expected: dict[str, np.ndarray]) -> None:
    with PersonSegmenter(doubting=False) as segmenter:
        confidence = segmenter.confidence(drawn_face(0))
    assert np.abs(255 * confidence - expected["person"]).max() < 2


def test_scores(expected: dict[str, np.ndarray]) -> None:
    detector = face_detector()
    scores = [detector.detect(drawn_face(k))[0].score for k in range(FRAMES)]
    assert np.allclose(scores, expected["scores"], atol=1e-3)


if __name__ == "__main__":
    np.savez_compressed(STORED, **by_mediapipe())

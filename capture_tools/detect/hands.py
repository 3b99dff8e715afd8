"""Hands in a picture, and which landmarks of a face they cover.

Zhang et al., "MediaPipe Hands: on-device real-time hand tracking", 2020. A frame takes about as long as the face does,
so every selected frame is searched.
"""

from __future__ import annotations

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.flame.landmark_sets import LIPS
from capture_tools.detect.hand_landmarks import HandLandmarks
from capture_tools.detect.regions import Region

HAND_POINTS = 21
FLESH = 0.06
"""Half the width of a finger over the size of the hand: the landmarks lie on the bones."""
MOUTH_SHARE = 0.2
"""Share of covered lip landmarks from which on the mouth counts as hidden."""


class HandDetector:
    """Finds up to two hands in the frames of a clip, in their order. Use as a context manager."""

    def __init__(self) -> None:
        self._network = HandLandmarks(max_hands=2)
        self._regions: list[Region] = []

    def __enter__(self) -> HandDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self._regions = []

    def detect(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Landmarks of the hands in uint8 `[H, W, 3]`: float32 `[21, 2]` pixels each."""
        hands, self._regions = self._network.find(np.ascontiguousarray(rgb), self._regions)
        return hands


def covered(hand: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Which landmarks of a face `[478, 2+]` lie behind a hand `[21, 2]`: bool `[478]`.

    A hand that overlaps a face in the picture is taken to be in front of it.
    """
    import cv2

    outline = cv2.convexHull(np.asarray(hand, np.float32))
    margin = FLESH * float(np.ptp(hand, axis=0).max())
    inside = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) >= -margin for x, y in face[:, :2]]
    return np.array(inside, bool).reshape(LANDMARK_COUNT)


def hides_mouth(occluded: np.ndarray) -> np.ndarray:
    """Whether much of the lips is covered: bool `[..., 478]` to bool `[...]`."""
    return occluded[..., list(LIPS)].mean(-1) >= MOUTH_SHARE

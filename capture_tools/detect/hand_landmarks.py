"""MediaPipe's hand tracking: 21 landmarks of each hand in a picture.

Zhang et al., "MediaPipe Hands: on-device real-time hand tracking", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capture_tools.detect.box_detector import palm_detector
from capture_tools.detect.regions import (
    F,
    Region,
    carried_on,
    cos32,
    cut_out,
    normalized,
    padding_around,
    picture_shape,
    put_back,
    rotation_between,
    sin32,
    square_around,
)
from capture_tools.detect.tflite_models import Network, model_bytes

SIDE = 224
"""Pixels of the square the network sees."""
PRESENT = 0.5
"""Score above which a region still shows a hand."""
UP = np.pi / 2
"""Where a hand points to in the square."""
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""The landmarks that the next region is laid around: those without the fingers' last joints."""
WRIST, KNUCKLES = 0, (5, 13, 9)


class HandLandmarks:
    """The two networks, for one picture at a time. It keeps nothing: callers hand the regions on."""

    def __init__(self, max_hands: int) -> None:
        self.max_hands = max_hands
        self._detector = palm_detector()
        self._network = Network(model_bytes("hand_landmark_lite.tflite"))

    def find(self, rgb: np.ndarray, previous: Sequence[Region] = ()) -> tuple[list[np.ndarray], list[Region]]:
        """The hands in uint8 `[H, W, 3]`, looked for in the regions of the previous frame and, while there are fewer
        than `max_hands`, in the whole picture.

        Returns (float32 `[21, 2]` pixels each, their regions).
        """
        shape = picture_shape(rgb)
        found = []
        if len(previous) < self.max_hands:
            for palm in self._detector.detect(rgb)[: self.max_hands]:
                turn = rotation_between(palm.points[0], palm.points[2], shape, UP)
                region = Region(palm.low + palm.size / F(2), palm.size, turn)
                found.append(square_around(region, shape, 2.6, rise=0.5))
        hands = [self._landmarks(rgb, region) for region in carried_on(found, previous)]
        seen = [hand for hand in hands if hand is not None]
        regions = [square_around(_box_along(hand, shape), shape, 2.0, rise=0.1) for hand in seen]
        return [hand * shape for hand in seen], regions

    def _landmarks(self, rgb: np.ndarray, region: Region) -> np.ndarray | None:
        """The hand that a region shows, float32 `[21, 2]` in shares of the picture; None where there is none."""
        points, present, *_ = self._network(cut_out(rgb, region, SIDE, (0.0, 1.0), around=True))
        if present.item() <= PRESENT:
            return None
        padding = padding_around(region.size * picture_shape(rgb))  # next to nothing, but it rounds
        inside = (points.reshape(-1, 3)[:, :2] / F(SIDE) - padding) / (F(1) - (padding + padding))
        return put_back(inside, region)


def _box_along(hand: np.ndarray, shape: np.ndarray) -> Region:
    """The box along the palm of a hand `[21, 2]` in shares of the picture."""
    index, ring, middle = (hand[knuckle] for knuckle in KNUCKLES)
    turn = rotation_between(hand[WRIST], ((index + ring) / F(2) + middle) / F(2), shape, UP)
    palm = hand[list(PALM)]
    centre = (palm.max(0) + palm.min(0)) / F(2)
    x, y = ((palm - centre) * shape).T
    cos, sin = cos32(normalized(-turn)), sin32(normalized(-turn))
    along = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
    low, high = along.min(0), np.maximum(along.max(0), np.finfo(F).tiny)
    (x, y), cos, sin = (high + low) / F(2), cos32(turn), sin32(turn)
    middle = np.array([x * cos - y * sin, x * sin + y * cos], F) + shape * centre
    return Region(middle / shape, (high - low) / shape, turn)

"""A still camera that jumps is noticed, and the frames before one background are told from the others."""

from __future__ import annotations

import cv2
import numpy as np

from capture_tools.camera.jumps import longest_still_part

SIDE, FRAMES = 160, 60


def filmed(places: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and masks of a person before a wall, the camera at `places` in pixels of the wall; with noise."""
    rng = np.random.default_rng(3)
    small = rng.uniform(20, 235, (90, 90, 3)).astype(np.float32)
    wall = cv2.resize(small, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_CUBIC)
    images, masks = [], np.zeros((len(places), SIDE, SIDE), np.uint8)
    for row, (x, y) in enumerate(places):
        matrix = np.array([[1, 0, -SIDE - x], [0, 1, -SIDE - y]], np.float64)
        image = cv2.warpAffine(wall, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC) + rng.normal(0, 2, (SIDE, SIDE, 3))
        left = 50 + row % 7
        masks[row, 60:, left : left + 50] = 255
        image[60:, left : left + 50] = 120
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images), masks


def test_the_longer_part_is_kept() -> None:
    for jump in (6.0, 25.0, 90.0):
        kept = longest_still_part(*filmed([(0, 0)] * 23 + [(jump, 0)] * 37))
        assert kept is not None
        assert kept.tolist() == [False] * 23 + [True] * 37


def test_parts_before_the_same_background_belong_together() -> None:
    kept = longest_still_part(*filmed([(0, 0)] * 20 + [(40, 10)] * 25 + [(0, 0)] * 15))
    assert kept is not None
    assert kept.tolist() == [True] * 20 + [False] * 25 + [True] * 15


def test_other_cameras_do_not_jump() -> None:
    still = [(0.0, 0.0)] * FRAMES
    swaying = [(2 * np.sin(i / 3), 1.5 * np.cos(i / 4)) for i in range(FRAMES)]
    carried = [(1.8 * i, 0.0) for i in range(FRAMES)]
    for places in (still, swaying, carried):
        assert longest_still_part(*filmed(places)) is None


def test_a_plain_wall_tells_nothing() -> None:
    images = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
    assert longest_still_part(images, np.zeros((FRAMES, SIDE, SIDE), np.uint8)) is None

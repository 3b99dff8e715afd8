"""What portraits go through before the detector sees them."""

from __future__ import annotations

import numpy as np
import pytest

SIZE = 96


@pytest.fixture
def portraits(script):
    return script("landmark_portraits")


@pytest.fixture
def image() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), 128, np.uint8)


def landmarks() -> np.ndarray:
    """Eyes a third below the top, ears at the sides, the chin below; all else in the middle."""
    places = np.full((478, 2), SIZE / 2, np.float32)
    for index, place in {
        10: (48, 12),
        152: (48, 84),
        127: (14, 40),
        356: (82, 40),
        33: (26, 40),
        133: (40, 40),
        159: (33, 38),
        145: (33, 42),
        263: (70, 40),
        362: (56, 40),
        386: (63, 38),
        374: (63, 42),
    }.items():
        places[index] = place
    return places


def test_glasses_lie_around_the_eyes_and_leave_the_picture_given(portraits, image):
    before = image.copy()
    changed = np.zeros((SIZE, SIZE), bool)
    for seed in range(8):
        drawn = portraits.with_glasses(np.random.default_rng(seed), image, landmarks())
        assert drawn.shape == image.shape
        changed |= (drawn != image).any(-1)
    assert np.array_equal(image, before)
    assert changed[30:50, 14:82].mean() > 0.2
    assert not changed[60:].any()


def test_blotches_are_smooth_and_change_brightness_by_a_tenth_or_so(portraits, image):
    shares = [portraits.blotched(np.random.default_rng(seed), image) / 128 for seed in range(20)]
    spread = np.std(np.log(shares))
    assert 0.04 < spread < 0.2
    steps = np.abs(np.diff(np.stack(shares), axis=2))
    assert np.quantile(steps, 0.99) < 0.1


def test_a_degraded_picture_stays_a_picture(portraits, image):
    image[:, SIZE // 2 :] = 200
    for seed in range(20):
        drawn = portraits.degraded(np.random.default_rng(seed), image)
        assert drawn.dtype == np.uint8
        assert drawn.shape == image.shape
        assert drawn[:, -20:].mean() > drawn[:, :20].mean() + 20

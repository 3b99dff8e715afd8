"""Pictures of a hand-held phone are moved back, so that what stands behind the person stays where it was."""

import cv2
import numpy as np
import pytest

from capture_tools.camera.steadying import MOST, Sway, find_sway

SIDE = 160
FRAMES = 12


def world() -> np.ndarray:
    rng = np.random.default_rng(3)
    small = rng.uniform(20, 235, (40, 40, 3)).astype(np.float32)
    return cv2.resize(small, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)


def held_clip(extent: float, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Pictures and masks of a swaying camera before a textured wall, and each picture's true `[2, 3]` from the steady
    one (pixel centres at 0.5)."""
    rng = np.random.default_rng(0)
    wall, images, transforms = world(), [], []
    for row in range(FRAMES):
        angle, shift = turn * np.sin(row), extent * rng.uniform(-1, 1, 2)
        if row == FRAMES // 2:
            angle, shift = 0.0, np.zeros(2)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([SIDE / 2, SIDE / 2])
        transform = np.concatenate([rotation, (centre - rotation @ centre + shift)[:, None]], 1)
        transforms.append(transform)
        from_wall = transform.copy()
        from_wall[:, 2] += transform[:, :2] @ np.array([0.5 - SIDE / 2] * 2) - 0.5
        images.append(cv2.warpAffine(wall, from_wall, (SIDE, SIDE), flags=cv2.INTER_CUBIC))
    masks = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    masks[:, 60:, 50:110] = 255
    return np.clip(np.stack(images), 0, 255).astype(np.uint8), masks, transforms


def test_a_swaying_picture_is_moved_back() -> None:
    images, masks, transforms = held_clip(3.0, turn=0.01)
    sway = find_sway(images, masks, 0, 0, 1.0)
    assert sway is not None
    places = np.array([[20.0, 20.0], [140.0, 30.0], [30.0, 130.0]])
    for row, transform in enumerate(transforms):
        seen = places @ transform[:, :2].T + transform[:, 2]
        back = seen @ sway.transform(row)[:, :2].T + sway.transform(row)[:, 2]
        assert np.abs(back - places).max() < 0.15
    steady = np.stack([sway.steady_picture(image, row) for row, image in enumerate(images)]).astype(float)
    wall = steady[:, 10:50, 10:-10]
    assert wall.std(0).mean() < 0.2 * images[:, 10:50, 10:-10].astype(float).std(0).mean()


def test_points_go_where_the_picture_goes() -> None:
    images, masks, _ = held_clip(2.0, turn=0.01)
    sway = find_sway(images, masks, 0, 0, 1.0)
    assert sway is not None
    dot = np.zeros((SIDE, SIDE, 3), np.uint8)
    cv2.circle(dot, (70, 40), 5, (255, 255, 255), -1)  # OpenCV's centre: 70.5, 40.5 with ours
    for row in range(FRAMES):
        weight = sway.steady_picture(dot, row)[..., 0].astype(float)
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        points = np.full((FRAMES, 1, 2), np.nan, np.float32)
        points[row] = 70.5, 40.5
        np.testing.assert_allclose(sway.steady_points(points)[row, 0], centre, atol=0.1)


def test_shifts_are_those_of_the_source() -> None:
    """A crop at half the source's size, cut away from its corner, gives the transform of source pixels."""
    images, masks, _ = held_clip(2.0, turn=0.01)
    near, far = find_sway(images, masks, 0, 0, 1.0), find_sway(images, masks, 100, 40, 0.5)
    assert near is not None
    assert far is not None
    place = np.array([30.0, 50.0])
    for row in range(FRAMES):
        moved = near.transform(row)[:, :2] @ place + near.transform(row)[:, 2]
        source = far.transform(row)[:, :2] @ (place / 0.5 + [100, 40]) + far.transform(row)[:, 2]
        np.testing.assert_allclose((source - [100, 40]) * 0.5, moved, atol=1e-6)


@pytest.mark.parametrize("extent", [0.0, 1.2 * MOST * SIDE])
def test_a_camera_that_stands_still_or_is_carried_is_left_alone(extent: float) -> None:
    images, masks, _ = held_clip(extent)
    assert find_sway(images, masks, 0, 0, 1.0) is None


def test_a_plain_wall_is_left_alone() -> None:
    images = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
    assert find_sway(images, np.zeros((FRAMES, SIDE, SIDE), np.uint8), 0, 0, 1.0) is None


def test_no_sway_changes_nothing() -> None:
    still = Sway(np.zeros(2), np.zeros((2, 2)), (5.0, 5.0))
    picture = np.random.default_rng(0).integers(0, 255, (10, 10, 3), np.uint8)
    np.testing.assert_array_equal(still.steady_picture(picture, 1), picture)

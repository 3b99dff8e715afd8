"""The background is the scene where it was visible, and a moving background is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from capture_tools.camera.background import background_motion, fill_smoothly, median_background

SIZE = 96


def scene(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """A textured scene with corners to follow, darker than the person."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 170, (size // 6, size // 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_NEAREST)


def person(x: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[30:, x : x + 30] = 255
    return mask


def clip(count: int = 24, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A person who walks 20 pixels before a scene that slides by `shift` pixels a frame, with camera noise."""
    import cv2

    rng = np.random.default_rng(1)
    truth = scene()
    images, masks = [], []
    for i in range(count):
        move = np.float32([[1, 0, shift * (i - count // 2)], [0, 1, 0]])
        image = cv2.warpAffine(truth, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        mask = person(25 + round(20 * i / count))
        image[mask > 0] = (250, 20, 200)
        images.append(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(images), np.stack(masks), truth


def test_plate_is_the_scene_where_it_was_visible() -> None:
    images, masks, truth = clip()
    background = median_background(images, masks)
    assert background.image.dtype == np.uint8
    assert background.seen[:20].all()
    assert not background.seen[60, 50]  # always behind the person
    error = np.abs(background.image.astype(int) - truth)[background.seen]
    assert error.mean() < 1.5
    assert np.percentile(error, 99) < 6
    # Nothing of the person (brighter than any of the scene) leaks into what is filled in.
    assert background.image[~background.seen].max() < 185


def test_a_person_seen_once_elsewhere_is_not_in_the_plate() -> None:
    """The median ignores a passer-by the mask missed in a fifth of the frames."""
    images, masks, truth = clip()
    images[:4, 5:20, 5:20] = 0
    background = median_background(images, masks)
    assert np.abs(background.image[5:20, 5:20].astype(int) - truth[5:20, 5:20]).mean() < 2


def test_holes_continue_their_surroundings() -> None:
    ramp = np.repeat(np.linspace(0, 200, 64, dtype=np.float32)[None, :, None], 64, 0).repeat(3, 2)
    known = np.ones((64, 64), bool)
    known[20:44, 20:44] = False
    broken = np.where(known[..., None], ramp, 1000)
    filled = fill_smoothly(broken, known)
    np.testing.assert_array_equal(filled[known], ramp[known])
    assert np.abs(filled - ramp)[~known].max() < 40
    assert np.abs(filled - ramp)[~known].mean() < 15
    assert (fill_smoothly(broken, np.zeros_like(known)) == 127.5).all()


@pytest.mark.parametrize(("shift", "moves"), [(0.0, False), (0.25, True)])
def test_background_motion_is_measured(shift: float, moves: bool) -> None:
    images, masks, _ = clip(shift=shift)
    motion = background_motion(images, masks)
    assert motion.moves is moves
    assert motion.pixels == pytest.approx(shift * 12, abs=0.35)


def test_a_plain_wall_gives_no_answer() -> None:
    rng = np.random.default_rng(2)
    images = np.clip(128 + rng.normal(0, 2, (20, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    motion = background_motion(images, np.stack([person(30)] * 20))
    assert motion.pixels is None
    assert not motion.moves

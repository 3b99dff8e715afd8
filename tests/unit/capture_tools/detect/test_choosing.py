"""A long clip is thinned by what its frames show, so that rare moments are kept."""

import numpy as np
import pytest

from capture_tools.detect.choosing import EVEN, choose_frames, only_frames
from capture_tools.detect.observing import Observations

COUNT = 400


def face() -> np.ndarray:
    rng = np.random.default_rng(1)
    points = rng.normal(0, 1, (478, 3))
    return 40 * points / np.linalg.norm(points, axis=1, keepdims=True) * [1.0, 1.3, 0.8]


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return points @ rotation.T


def observed(faces: dict[int, np.ndarray], detail: dict[int, float] | None = None) -> Observations:
    """A clip of COUNT frames at 25 a second; `faces`: what is seen in the frames that have a face."""
    frames = sorted(faces)
    details = np.zeros((len(frames), 2, 2, 2), np.float32)
    for row, frame in enumerate(frames):
        details[row] = np.eye(2) * (1.0 if detail is None else detail.get(frame, 1.0)) ** 2
    stack = [faces[frame] for frame in frames]
    return Observations(
        size=np.array([200, 200]),
        fps=np.array(25.0),
        focal_35mm=np.array(np.nan),
        timestamps=np.arange(COUNT) / 25,
        thumbnails=np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * np.ones((1, 64, 64, 3), np.uint8),
        histograms=np.zeros((COUNT, 384), np.float32),
        faces=np.array(stack, np.float32).reshape(-1, 478, 3),
        face_frames=np.array(frames, int),
        face_details=details,
        hands=np.arange(COUNT)[:, None, None] * np.ones((1, 21, 2), np.float32),
        hand_frames=np.arange(COUNT),
    )


def calm(count: int = COUNT) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {frame: face() + rng.normal(0, 0.1, (478, 3)) + 100 for frame in range(count)}


MOMENT = range(203, 213)


def test_the_moment_in_which_the_head_was_turned_is_kept_whole() -> None:
    faces = calm()
    for step, frame in enumerate(MOMENT):
        faces[frame] = turned(face(), 12 + 3 * step) + 100
    kept = choose_frames(observed(faces), 40)
    assert len(kept) == 40
    assert (np.diff(kept) > 0).all()
    assert set(MOMENT) <= set(kept.tolist())
    # the rest of the clip is still there, at most so many frames apart
    assert np.diff(kept).max() <= np.ceil(COUNT / (EVEN * 40)) + 1
    assert (kept[0], kept[-1]) == (0, COUNT - 1)


def test_a_mouth_that_opens_once_counts_more_than_a_small_turn() -> None:
    faces = calm()
    opened = face()
    opened[:60] += [0, 6.0, 0]
    for frame in range(100, 104):
        faces[frame] = opened + 100
    for frame in range(300, 340):
        faces[frame] = turned(face(), 1.0) + 100
    assert 1 <= len(set(range(100, 104)) & set(choose_frames(observed(faces), 20).tolist())) <= 4


def test_blurred_faces_are_not_kept_for_what_they_show() -> None:
    faces = calm()
    for frame in MOMENT:
        faces[frame] = turned(face(), 30) + 100
    kept = choose_frames(observed(faces, dict.fromkeys(MOMENT, 0.6)), 40)
    assert len(set(MOMENT) & set(kept.tolist())) <= 2


@pytest.mark.parametrize("faces", [{}, {5: face()}])
def test_without_faces_the_clip_is_thinned_evenly(faces: dict[int, np.ndarray]) -> None:
    kept = choose_frames(observed(faces), 50)
    assert len(kept) == 50
    assert np.diff(kept).max() <= 2 * COUNT / 50


def test_a_short_clip_is_kept_whole() -> None:
    np.testing.assert_array_equal(choose_frames(observed(calm()), COUNT), np.arange(COUNT))


def test_the_frames_left_are_numbered_anew() -> None:
    faces = {frame: face() + frame for frame in (2, 10, 11, 30)}
    part = only_frames(observed(faces), np.array([2, 3, 11, 30]))
    np.testing.assert_array_equal(part.face_frames, [0, 2, 3])
    np.testing.assert_allclose(part.faces, np.array([face() + 2, face() + 11, face() + 30], np.float32))
    np.testing.assert_array_equal(part.timestamps, np.array([2, 3, 11, 30]) / 25)
    np.testing.assert_array_equal(part.hands[:, 0, 0], [2, 3, 11, 30])
    np.testing.assert_array_equal(part.hand_frames, [0, 1, 2, 3])
    assert float(part.fps) == pytest.approx(3 / (28 / 25))
    assert part.thumbnails[:, 0, 0, 0].tolist() == [2, 3, 11, 30]

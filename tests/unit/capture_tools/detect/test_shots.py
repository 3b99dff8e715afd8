"""Cuts are found; fast heads, flashes, blinks, exposure and moving cameras are not taken for cuts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avatar.media.video import read_video, write_video
from capture_tools.detect.found_clip import follow_face
from capture_tools.detect.observing import observe
from capture_tools.detect.selection import select_frames
from capture_tools.detect.shots import Shot, colour_histogram, find_shots, thumbnail


def room(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A scene of large coloured shapes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (height // 30, width // 40, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def person(scene: np.ndarray, x: int, colour: tuple[int, int, int] = (205, 160, 140)) -> np.ndarray:
    return cv2.ellipse(scene.copy(), (x, 60), (24, 34), 0, 0, 360, colour, -1)


def shots_of(pictures: list[np.ndarray], faces: list[bool] | None = None) -> list[Shot]:
    seen = np.array([True] * len(pictures) if faces is None else faces)
    black = np.array([picture.max() < 10 for picture in pictures])
    small = np.array([thumbnail(picture) for picture in pictures])
    return find_shots(small, np.array([colour_histogram(picture) for picture in pictures]), seen, black)


def test_cuts_between_rooms() -> None:
    one, two = room(1), room(2)
    pictures = [person(one, 70 + i) for i in range(12)] + [person(two, 90 - i) for i in range(10)] + [one] * 9
    assert shots_of(pictures) == [Shot(0, 11), Shot(12, 21), Shot(22, 30)]
    assert shots_of([one]) == [Shot(0, 0)]


def test_black_between_shots() -> None:
    one, two = person(room(1), 80), person(room(2), 80)
    black = np.zeros_like(one)
    assert shots_of([one] * 9 + [black] * 3 + [two] * 9) == [Shot(0, 11), Shot(12, 20)]
    assert shots_of([one] * 9 + [black] * 3 + [one] * 9) == [Shot(0, 20)]


def test_what_is_no_cut() -> None:
    scene = room(3)
    whole = [Shot(0, 29)]
    fast = [person(scene, 80 + (45 if i % 4 < 2 else -45)) for i in range(30)]
    assert shots_of(fast) == whole
    flash = [np.full_like(scene, 250) if i in (12, 13) else person(scene, 80) for i in range(30)]
    assert shots_of(flash) == whole
    exposure = [(person(scene, 80) * (0.5 if i >= 15 else 1.0)).astype(np.uint8) for i in range(30)]
    assert shots_of(exposure) == whole
    leaving = [person(scene, 80) if i < 15 else scene for i in range(30)]
    assert shots_of(leaving, [i < 15 for i in range(30)]) == whole


def test_a_moving_camera_makes_no_cuts() -> None:
    wide = np.concatenate([room(seed) for seed in range(8)], axis=1)
    assert shots_of([np.ascontiguousarray(wide[:, 30 * i : 30 * i + 160]) for i in range(30)]) == [Shot(0, 29)]


REAL = ["webcam_man/take1.mp4", "webcam_man/take2.mp4", "white_house/address_10s.mp4", "white_house/s2.mp4"]


@pytest.mark.real
@pytest.mark.parametrize("name", [*REAL, "grid/bbaf2n.mpg", "grid/lrwp9a.mpg", "grid/pwij3p.mpg"])
def test_no_cut_in_real_clips(real_clips: Path, name: str) -> None:
    _, selection = select_frames(real_clips / name, max_frames=120)
    seen = observe(real_clips / name, selection, hands=False)
    assert len(follow_face(seen).shots) == 1


@pytest.mark.real
@pytest.mark.slow
def test_cuts_between_real_clips(real_clips: Path, tmp_path: Path) -> None:
    """Speakers before the same wall among them."""
    names = ["grid/bbaf2n.mpg", "grid/sbwe5n.mpg", "webcam_man/take1.mp4", "grid/lbbc2a.mpg", "grid/pwij3p.mpg"]
    names += ["white_house/address_10s.mp4", "grid/id2_vcd_swwp2s.mpg"]
    images = [
        cv2.resize(image, (360, 288), interpolation=cv2.INTER_AREA)
        for name in names
        for _, image in list(read_video(real_clips / name, end=0.96))
    ]
    video = write_video(tmp_path / "joined.mp4", images, 25, synthetic=True)
    for most in (300, 60):
        _, selection = select_frames(video, max_frames=most)
        found = follow_face(observe(video, selection, hands=False)).shots
        assert [shot.first * selection.every for shot in found] == pytest.approx([24 * i for i in range(7)], abs=2)

"""What of a synthetic room a clip shows: the part of `room_15` that an avatar can know."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from avatar.geometry.cameras import turn_camera
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.render import SyntheticScene

SIZE = 64


@pytest.fixture
def module(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("measure_room")


@pytest.fixture(scope="module")
def scene() -> SyntheticScene:
    return make_synthetic_scene(seed=1, size=SIZE, frames=8, camera="moving")


def views_of(module: ModuleType, scene: SyntheticScene, hidden: slice) -> list:
    """Views of all frames in which columns `hidden` lie behind somebody."""
    views = []
    for index in range(scene.frame_count):
        camera = scene.camera_at(index)
        assert scene.room is not None
        distance = np.linalg.norm(module.room_points(camera, scene.room) - camera.position, axis=-1)
        distance[:, hidden] = np.inf
        views.append(module.View(camera, distance))
    return views


def test_a_camera_of_the_clip_sees_what_the_clip_shows(module: ModuleType, scene: SyntheticScene) -> None:
    assert scene.room is not None
    camera = scene.camera_at(4)
    assert module.shown_by(views_of(module, scene, slice(0)), camera, scene.room).mean() > 0.97
    half = module.shown_by(views_of(module, scene, slice(32, 64)), camera, scene.room)
    assert half[:, :30].mean() > 0.97
    assert half[:, 36:].mean() < 0.1


def test_a_camera_beside_the_clip_sees_what_no_frame_shows(module: ModuleType, scene: SyntheticScene) -> None:
    assert scene.room is not None
    views = views_of(module, scene, slice(0))
    camera = scene.camera_at(4)
    share = [
        module.shown_by(views, turn_camera(camera, np.zeros(3), math.radians(angle), 0.0), scene.room).mean()
        for angle in (0, 15, 40, 180)
    ]
    assert share[0] > share[1] > share[2]
    assert 0.2 < share[1] < 0.9
    assert share[3] == 0
    assert not module.shown_by(views[: module.ENOUGH - 1], camera, scene.room).any()


def test_decibels(module: ModuleType) -> None:
    """An error of 25.5 everywhere is 20 dB; where only a tenth of the pixels has it, 30."""
    squared = np.full(1000, 25.5**2)
    assert module.decibels(squared) == pytest.approx(20)
    assert module.decibels(squared, of=squared[:100]) == pytest.approx(30)

"""A live driver: the first second shows who it is, then frames come one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools import live_driver
from capture_tools.live_driver import LiveDriver
from capture_tools.track.clip_tracking import TrackSettings
from capture_tools.track.live import LiveSettings


@pytest.fixture(scope="module")
def quick():
    """The live tracker's settings with a short fit of the person."""
    usual = LiveSettings()
    short = TrackSettings(rigid_steps=40, face_steps=40, offset_steps=0)
    return lambda: replace(usual, calibration=short)


@pytest.fixture
def driver(head, painted, quick, monkeypatch):
    monkeypatch.setattr(live_driver, "LiveSettings", quick)
    return LiveDriver(head, *painted.images[0].shape[1::-1])


def test_a_second_is_watched_fitted_and_followed(driver, painted):
    enough = [driver.watch(number / 25, image) for number, image in enumerate(painted.images)]
    first = enough.index(True)
    assert driver.seconds_watched >= 0.98
    assert 24 <= first <= 26
    assert not driver.calibrated
    watched = driver.calibrate()
    assert driver.calibrated
    assert 25 <= len(watched) <= 28
    assert driver.seconds_watched == 0.0
    followed = [driver.follow(number / 25, image) for number, image in enumerate(painted.images)]
    assert all(one.seen for one in followed)
    # the painted head turns by 0.25 radians to both sides
    rotations = torch.cat([one.params.rotation for one in followed])
    assert float(rotations[:, 1].max()) > 0.15
    assert float(rotations[:, 1].min()) < -0.15
    between = axis_angle_to_matrix(rotations[:-1]).transpose(1, 2) @ axis_angle_to_matrix(rotations[1:])
    angles = torch.arccos(((between.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    assert float(angles.max()) < 0.2, "it follows without jumps"


def test_where_pictures_are_left_out_the_rest_is_followed_as_well(driver, painted):
    for number, image in enumerate(painted.images):
        driver.watch(number / 25, image)
    driver.calibrate()
    every = [driver.follow(number / 25, image).params for number, image in enumerate(painted.images)]
    driver.restart()
    rows = range(0, len(painted.images), 8)  # a picture each 0.32 s, in which the head turns by up to 0.45 radians
    some = [driver.follow(row / 25, painted.images[row]).params for row in rows]
    for row, found in zip(rows, some, strict=True):
        assert float((found.rotation - every[row].rotation).abs().max()) < 0.09
        assert float((found.jaw - every[row].jaw).abs().max()) < 0.09


def test_pictures_without_a_face_do_not_count_and_hold_the_pose(driver, painted):
    grey = np.full_like(painted.images[0], 127)
    for number in range(30):
        assert not driver.watch(number / 25, grey)
    assert driver.calibrate() is None
    assert not driver.calibrated
    for number in range(12):
        driver.watch(2 + number / 25, painted.images[number])
    watched = driver.calibrate()
    assert len(watched) == 12
    seen = driver.follow(0.0, painted.images[0])
    lost = driver.follow(0.04, grey)
    assert (seen.seen, lost.seen) == (True, False)
    assert torch.equal(seen.params.rotation, lost.params.rotation)


def test_a_cut_face_is_known_as_such(driver, painted):
    face = painted.images[0]
    cut = np.zeros_like(face)
    cut[:, :172] = face[:, 148:]
    driver.watch(0.0, cut)
    assert driver.seconds_watched == 0.0
    assert driver.cut

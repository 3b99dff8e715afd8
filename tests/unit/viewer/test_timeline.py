"""Keyframes on a timeline: editing them, and what lies between."""

from dataclasses import replace

import numpy as np
import pytest
from view_parts import any_pose

from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera
from avatar.viewer.state import ViewState
from avatar.viewer.timeline import Timeline, blend

FIRST = ViewState(any_pose(1), 0.6, 1.5, {"jawOpen": 0.4}, (0.1, -0.2, 0.0), (0.0, 0.01, -0.02), "clip.npz", 3)
SECOND = replace(FIRST, world_from_cam=any_pose(2), fov=0.9, aspect=1.7, amounts={"mouthSmileLeft": 1.0}, frame=9)
THREE = Timeline().added(FIRST, 2.0).added(SECOND, 0.0).added(FIRST, 5.0)


def shown(timeline: Timeline) -> list[tuple[float, bool]]:
    """Times of the keyframes, and whether each shows the first state."""
    return [(keyframe.time, keyframe.state is FIRST) for keyframe in timeline.keyframes]


def test_keyframes_stand_in_the_order_of_their_times():
    assert shown(THREE) == [(0.0, False), (2.0, True), (5.0, True)]
    assert shown(THREE.moved(0, 3.0)) == [(2.0, True), (3.0, False), (5.0, True)]
    assert shown(THREE.removed(1)) == [(0.0, False), (5.0, True)]
    assert shown(THREE.changed(1, SECOND)) == [(0.0, False), (2.0, False), (5.0, True)]
    assert len(THREE) == 3, "the timeline itself is never changed"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda: THREE.added(FIRST, 2.01), "another keyframe stands there"),
        (lambda: THREE.moved(0, 5.0), "another keyframe stands there"),
        (lambda: THREE.added(FIRST, -0.1), "cannot stand there"),
        (lambda: THREE.added(FIRST, float("nan")), "cannot stand there"),
        (lambda: THREE.added(FIRST, 1e9), "cannot stand there"),
        (lambda: THREE.removed(3), "no such keyframe"),
        (lambda: THREE.moved(-1, 0.0), "no such keyframe"),
        (lambda: Timeline().at(0.0), "no keyframe yet"),
        (lambda: Timeline().frames(), "no keyframe yet"),
    ],
)
def test_what_cannot_be_is_told(edit, words):
    with pytest.raises(InputError, match=words):
        edit()


def test_a_keyframe_may_be_moved_a_little():
    assert THREE.moved(1, 2.01).times == (0.0, 2.01, 5.0)


def test_frames_meet_every_keyframe_and_are_rigid():
    frames = THREE.frames()
    assert len(frames) == 126
    for index, state in ((0, SECOND), (50, FIRST), (125, FIRST)):
        assert np.allclose(frames[index].world_from_cam, state.world_from_cam)
        assert {name: amount for name, amount in frames[index].amounts.items() if amount} == state.amounts
    for state in frames:
        Camera(1, 1, 1.0, 1.0, 0.5, 0.5, state.world_from_cam)  # raises for a pose that is not rigid
    assert Timeline().added(FIRST, 1.0).frames() == [FIRST]


def test_before_and_after_the_path_its_ends_are_seen():
    assert THREE.at(-1.0) is SECOND
    assert THREE.at(5.0) is FIRST
    assert THREE.at(7.0) is FIRST
    assert THREE.at(2.0).amounts == FIRST.amounts | {"jawOpen": pytest.approx(0.4)}


def test_it_leaves_and_reaches_keyframes_gently():
    fovs = [THREE.at(time).fov for time in (0.0, 0.1, 1.0, 1.1)]
    assert abs(fovs[1] - fovs[0]) < 0.2 * abs(fovs[3] - fovs[2])


def test_half_way_is_half_of_each():
    middle = blend(FIRST, SECOND, 0.5)
    assert middle.amounts == {"jawOpen": 0.2, "mouthSmileLeft": 0.5}
    assert (middle.fov, middle.frame) == (0.75, 6)
    assert blend(FIRST, replace(SECOND, performance="other"), 0.5).frame == 3

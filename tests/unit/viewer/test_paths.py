"""Keyframes: what lies between them, and the file they go through."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from view_parts import any_pose

from avatar.animation.path_files import read_camera_path
from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera
from avatar.viewer.cameras import view_camera
from avatar.viewer.paths import between_keyframes, blend, read_path, write_path
from avatar.viewer.state import ViewState

FIRST = ViewState(any_pose(1), 0.6, 1.5, {"jawOpen": 0.4}, (0.1, -0.2, 0.0), (0.0, 0.01, -0.02), "clip.npz", 3)
SECOND = replace(FIRST, world_from_cam=any_pose(2), fov=0.9, aspect=1.7, amounts={"mouthSmileLeft": 1.0}, frame=9)


def test_a_path_survives_its_file(tmp_path):
    path = write_path(tmp_path / "view" / "path_001.json", [FIRST, SECOND], 1.2, 256)
    states, seconds = read_path(path)
    assert seconds == 1.2
    for wrote, read in zip((FIRST, SECOND), states, strict=True):
        assert np.abs(wrote.world_from_cam - read.world_from_cam).max() < 1e-12
        assert math.isclose(wrote.fov, read.fov)
        for name in ("aspect", "amounts", "turn", "shift", "performance", "frame"):
            assert getattr(wrote, name) == getattr(read, name), name


@pytest.mark.parametrize("old", [False, True])
def test_a_saved_path_renders_as_the_viewer_showed_it(tmp_path, old):
    """With the captured principal point, which a crop has off the middle; files of before did not say so."""
    captured = Camera(64, 48, 90.0, 90.0, 27.0, 29.0, any_pose(3))
    path = write_path(tmp_path / "p.json", [FIRST, SECOND], 0.2, 256)
    content = json.loads(path.read_text())
    assert content["principal_point"] == "captured"
    if old:
        del content["principal_point"]
        path.write_text(json.dumps(content))
    cameras, fps = read_camera_path(path, captured)
    assert fps == 25.0
    for camera, state in ((cameras[0], FIRST), (cameras[-1], SECOND)):
        shown = view_camera(state.world_from_cam, state.fov, state.aspect, 48, captured)
        for name in ("width", "height", "fl_x", "fl_y", "cx", "cy"):
            assert getattr(camera, name) == pytest.approx(getattr(shown, name)), name
        assert np.allclose(camera.world_from_cam, shown.world_from_cam)
    assert cameras[0].cx < cameras[0].width / 2 - 1


def test_nerfstudio_can_read_it(tmp_path):
    content = json.loads(write_path(tmp_path / "p.json", [FIRST, SECOND], 2.0, 256).read_text())
    assert (content["render_height"], content["render_width"], content["fps"]) == (256, 384, 25.0)
    assert len(content["camera_path"]) == 51
    assert content["seconds"] == pytest.approx(51 / 25)
    first = content["camera_path"][0]
    assert set(first) == {"camera_to_world", "fov", "aspect"}
    assert first["fov"] == pytest.approx(math.degrees(0.6))
    matrix = np.reshape(first["camera_to_world"], (4, 4))
    camera = Camera.from_transform_matrix(matrix, width=3, height=2, fl_x=1, fl_y=1, cx=1.5, cy=1)
    assert np.allclose(camera.world_from_cam, FIRST.world_from_cam)


def test_frames_between_keyframes_are_rigid_and_start_and_end_at_them():
    frames = between_keyframes([FIRST, SECOND, FIRST], 1.0)
    assert len(frames) == 51
    for index, state in ((0, FIRST), (25, SECOND), (50, FIRST)):
        assert np.allclose(frames[index].world_from_cam, state.world_from_cam)
        assert {name: amount for name, amount in frames[index].amounts.items() if amount} == state.amounts
    for state in frames:
        Camera(1, 1, 1.0, 1.0, 0.5, 0.5, state.world_from_cam)  # raises for a pose that is not rigid


def test_half_way_is_half_of_each():
    middle = blend(FIRST, SECOND, 0.5)
    assert middle.amounts == {"jawOpen": 0.2, "mouthSmileLeft": 0.5}
    assert (middle.fov, middle.frame) == (0.75, 6)
    assert blend(FIRST, replace(SECOND, performance="other"), 0.5).frame == 3


def test_no_keyframe_is_told():
    with pytest.raises(InputError, match="no keyframe yet"):
        between_keyframes([], 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"keyframes": []},
        {"keyframes": None},
        {"keyframes": [{"fov": 40}]},
        {"seconds_between_keyframes": "soon"},
        {"seconds_between_keyframes": -1},
    ],
)
def test_a_file_that_is_no_path_is_refused(tmp_path, change):
    path = write_path(tmp_path / "p.json", [FIRST], 1.0, 256)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="camera path"):
        read_path(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("camera_to_world", [1.0] * 15),
        ("camera_to_world", [2.0] * 16),
        ("fov", 0.0),
        ("fov", float("nan")),
        ("aspect", -1.0),
        ("head_turn", [0.0]),
        ("expression", {"jawOpen": float("inf")}),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, key, value):
    path = write_path(tmp_path / "p.json", [FIRST], 1.0, 256)
    content = json.loads(path.read_text())
    content["keyframes"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError):
        read_path(path)

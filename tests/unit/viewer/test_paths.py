"""The file of a timeline: what comes back from it, and who else can read it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from view_parts import any_pose

from avatar.animation.path_files import read_camera_path
from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera
from avatar.rendering.background import same_view
from avatar.viewer.cameras import view_camera
from avatar.viewer.paths import read_path, write_path
from avatar.viewer.state import ViewState
from avatar.viewer.timeline import Timeline

FIRST = ViewState(any_pose(1), 0.6, 1.5, {"jawOpen": 0.4}, (0.1, -0.2, 0.0), (0.0, 0.01, -0.02), "clip.npz", 3)
SECOND = replace(FIRST, world_from_cam=any_pose(2), fov=0.9, aspect=1.7, amounts={"mouthSmileLeft": 1.0}, frame=9)


CAPTURED = Camera(120, 160, 200.0, 200.0, 63.0, 75.0, any_pose(5))
TIMELINE = Timeline().added(FIRST, 0.5).added(SECOND, 2.5)


def test_a_path_survives_its_file(tmp_path):
    timeline = read_path(write_path(tmp_path / "view" / "path_001.json", TIMELINE, 160))
    assert timeline.times == (0.5, 2.5)
    for wrote, read in zip((FIRST, SECOND), (keyframe.state for keyframe in timeline.keyframes), strict=True):
        assert np.abs(wrote.world_from_cam - read.world_from_cam).max() < 1e-12
        assert math.isclose(wrote.fov, read.fov)
        for name in ("aspect", "amounts", "turn", "shift", "performance", "frame"):
            assert getattr(wrote, name) == getattr(read, name), name


def test_a_file_of_one_spacing_without_times_is_read(tmp_path):
    path = write_path(tmp_path / "p.json", TIMELINE, 160)
    content = json.loads(path.read_text()) | {"seconds_between_keyframes": 1.5}
    for entry in content["keyframes"]:
        del entry["time"]
    path.write_text(json.dumps(content))
    assert read_path(path).times == (0.0, 1.5)


def test_nerfstudio_can_read_it(tmp_path):
    content = json.loads(write_path(tmp_path / "p.json", TIMELINE, 160).read_text())
    assert (content["render_height"], content["render_width"], content["fps"]) == (160, 240, 25.0)
    assert len(content["camera_path"]) == 51
    assert content["seconds"] == pytest.approx(51 / 25)
    first = content["camera_path"][0]
    assert {"camera_to_world", "fov", "aspect"} <= set(first)
    assert first["fov"] == pytest.approx(math.degrees(0.6))
    matrix = np.reshape(first["camera_to_world"], (4, 4))
    camera = Camera.from_transform_matrix(matrix, width=3, height=2, fl_x=1, fl_y=1, cx=1.5, cy=1)
    assert np.allclose(camera.world_from_cam, FIRST.world_from_cam)


@pytest.mark.parametrize("old", [False, True])
def test_avatar_render_sees_what_the_viewer_sees(tmp_path, old):
    """With the captured principal point, which a crop has off the middle; files of before did not say so."""
    path = write_path(tmp_path / "p.json", TIMELINE, CAPTURED.height)
    content = json.loads(path.read_text())
    assert content["principal_point"] == "captured"
    if old:
        del content["principal_point"]
        path.write_text(json.dumps(content | {"seconds_between_keyframes": 2.0}))
    cameras, fps = read_camera_path(path, CAPTURED)
    assert fps == 25.0
    for camera, state in zip(cameras, TIMELINE.frames(), strict=True):
        expected = view_camera(state.world_from_cam, state.fov, state.aspect, CAPTURED.height, CAPTURED)
        assert same_view(camera, expected)
    assert cameras[0].cx > cameras[0].width / 2 + 1


@pytest.mark.parametrize(
    "change",
    [
        {"keyframes": []},
        {"keyframes": None},
        {"keyframes": [{"fov": 40}]},
        {"keyframes": [{}]},
        {"keyframes": "all"},
    ],
)
def test_a_file_that_is_no_path_is_refused(tmp_path, change):
    path = write_path(tmp_path / "p.json", Timeline().added(FIRST, 0.0), 160)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="camera path"):
        read_path(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("camera_to_world", [1.0] * 15),
        ("camera_to_world", [2.0] * 16),
        ("time", -1.0),
        ("time", float("nan")),
        ("fov", 0.0),
        ("fov", float("nan")),
        ("aspect", -1.0),
        ("head_turn", [0.0]),
        ("expression", {"jawOpen": float("inf")}),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, key, value):
    path = write_path(tmp_path / "p.json", Timeline().added(FIRST, 0.0), 160)
    content = json.loads(path.read_text())
    content["keyframes"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError):
        read_path(path)

"""Camera paths and key-framed expressions in files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from grey_avatar import GreyAvatar

from avatar.animation.keyframes import expression_at, frame_count, read_keyframes
from avatar.animation.options import Presentation, Rendering
from avatar.animation.path_faces import OWN_CLIP
from avatar.animation.path_files import read_camera_path, require_in_view
from avatar.animation.reanimate import render_path, require_renderable
from avatar.base.errors import InputError
from avatar.flame.library import load_head
from avatar.geometry.cameras import Camera, look_at
from avatar.viewer.cameras import vertical_fov
from avatar.viewer.painter import Painter
from avatar.viewer.paths import write_path
from avatar.viewer.state import ViewState
from avatar.viewer.timeline import Timeline

CAPTURED = Camera(64, 48, 90.0, 90.0, 30.0, 26.0, look_at((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)))


def path_of(cameras: list[Camera], **more) -> dict:
    frames = [
        {
            "camera_to_world": camera.to_transform_matrix().ravel().tolist(),
            "fov": float(np.degrees(2 * np.arctan(camera.height / 2 / camera.fl_y))),
            "aspect": camera.width / camera.height,
        }
        for camera in cameras
    ]
    return {"camera_path": frames} | more


def save(folder: Path, content: object) -> Path:
    file = folder / "path.json"
    file.write_text(json.dumps(content))
    return file


def test_a_path_as_nerfstudio_writes_it_comes_back(tmp_path: Path) -> None:
    cameras = [Camera(96, 48, 70.0, 70.0, 48.0, 24.0, look_at((0.3, 0.1, z), (0.0, 0.0, 0.0))) for z in (0.6, 0.8, 1.0)]
    found, fps = read_camera_path(save(tmp_path, path_of(cameras, fps=24)), CAPTURED)
    assert fps == 24
    for camera, known in zip(found, cameras, strict=True):
        np.testing.assert_allclose(camera.world_from_cam, known.world_from_cam, atol=1e-9)
        assert (camera.width, camera.height) == (96, 48)
        assert (camera.fl_x, camera.cx) == pytest.approx((70.0, 48.0))
    require_in_view(found, np.zeros(3), tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"frames": []}, "no camera path"),
        ([1, 2], "no camera path"),
        ({"camera_path": [{"fov": 40}]}, "cannot be read"),
        ({"camera_path": [{"camera_to_world": [1.0] * 16, "fov": 40, "aspect": 1}]}, "not a rigid motion"),
        ({"camera_path": [{"camera_to_world": np.eye(4).tolist(), "fov": 0, "aspect": 1}]}, "impossible lens"),
        ({"camera_path": [{"camera_to_world": np.eye(4).tolist(), "fov": 40}], "fps": -1}, "fps"),
    ],
)
def test_what_is_no_path_is_refused(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_camera_path(save(tmp_path, content), CAPTURED)


def test_a_path_that_looks_away_is_refused(tmp_path: Path) -> None:
    away = Camera(64, 48, 90.0, 90.0, 32.0, 24.0, look_at((0.0, 0.0, 1.0), (0.0, 0.0, 2.0)))
    with pytest.raises(InputError, match="sees the head"):
        require_in_view([away], np.zeros(3), tmp_path)


def test_keyframes_hold_at_their_moments_and_move_gently_between(tmp_path: Path) -> None:
    head = load_head()
    file = tmp_path / "face.yaml"
    file.write_text("keyframes:\n- {time: 0.4, expression: neutral}\n- {time: 1.4, expression: 'mouthSmileLeft=0.8'}\n")
    keyframes = read_keyframes(file, head, 1.0)
    smile = head.expression_index("mouthSmileLeft")
    values = [float(expression_at(keyframes, time).expr[smile]) for time in (0, 0.4, 0.65, 0.9, 1.4, 3)]
    assert values == pytest.approx([0, 0, 0.8 * 0.1464, 0.4, 0.8, 0.8], abs=1e-3)
    assert frame_count(keyframes, 10) == 15


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keyframes: []", "no keyframes"),
        ("- 1", "no keyframes"),
        ("keyframes: [{time: 0}]", "keyframe 0 cannot be read"),
        ("keyframes: [{time: .nan, expression: smile}]", "keyframe 0 cannot be read"),
        ("keyframes: [{time: 1, expression: smile}, {time: 1, expression: smile}]", "out of order"),
        ("keyframes: [{time: 1, expression: smyle}]", "smyle|no expression"),
        ("keyframes: [", "cannot be read"),
    ],
)
def test_keyframes_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "face.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_keyframes(file, load_head(), 1.0)


# -- what the head shows along a path of `avatar view` -----------------------------------------------------------------


@pytest.fixture(scope="module")
def avatar() -> GreyAvatar:
    avatar = GreyAvatar(load_head())
    avatar.parameters.jaw[:, 0] = torch.tensor([0.0, 0.1, 0.2, 0.3])
    return avatar


def viewed(avatar: GreyAvatar, performance: str = OWN_CLIP) -> Timeline:
    """A second and a half: a mouth that opens on a nodding head, then the performance, its frames 1 to 3."""
    camera = avatar.camera
    first = ViewState(camera.world_from_cam, vertical_fov(camera), 1.5)
    second = replace(
        first, amounts={"jawOpen": 0.8, "mouthSmileLeft": 0.5}, turn=(0.1, 0.2, 0.0), shift=(0.0, 0.01, 0.0)
    )
    third = replace(second, performance=performance, frame=1)
    last = replace(third, amounts={}, frame=3)
    return Timeline().added(first, 1.0).added(second, 1.5).added(third, 2.0).added(last, 2.5)


def test_a_viewers_path_is_rendered_with_its_expressions(avatar: GreyAvatar, tmp_path: Path) -> None:
    """Frame by frame what the viewer draws, for the keyframes hold the expressions and the head."""
    timeline = viewed(avatar)
    path = write_path(tmp_path / "path.json", timeline, 32)
    painter, states = Painter(avatar, 25.0), timeline.frames()
    avatar.asked.clear()
    render_path(avatar, tmp_path / "o.mp4", Rendering(str(path)))
    assert len(avatar.asked) == len(states)
    for (params, _), state in zip(avatar.asked, states, strict=True):
        expected = painter.parameters(state)
        for name in ("expr", "jaw", "eyes", "rotation", "translation"):
            torch.testing.assert_close(getattr(params, name), getattr(expected, name), atol=1e-6, rtol=0)
    jaws = [float(params.jaw[0, 0]) for params, _ in avatar.asked]
    assert jaws[0] == 0
    assert jaws[12] > 0.1
    assert jaws[-1] == pytest.approx(0.3)
    assert float(avatar.asked[12][0].rotation.norm()) > 0.2


def test_an_expression_that_is_asked_for_goes_before_the_paths(avatar: GreyAvatar, tmp_path: Path) -> None:
    path = write_path(tmp_path / "path.json", viewed(avatar), 32)
    avatar.asked.clear()
    render_path(avatar, tmp_path / "o.png", Rendering(str(path), "mouthPucker"))
    pucker = avatar.asset.expression_index("mouthPucker")
    assert float(avatar.asked[0][0].expr[0, pucker]) == 1


def test_a_performance_that_the_path_does_not_hold_is_told(avatar: GreyAvatar, tmp_path: Path) -> None:
    path = write_path(tmp_path / "path.json", viewed(avatar, "you.mp4"), 32)
    plan = require_renderable(tmp_path / "o.mp4", Rendering(str(path)), Presentation())
    assert len(plan.notes) == 1
    assert "performance you.mp4, which its file does not hold" in plan.notes[0]
    for quiet in (Rendering(str(path), "neutral"), Rendering("orbit")):
        assert require_renderable(tmp_path / "o.mp4", quiet, Presentation()).notes == []
    own = write_path(tmp_path / "own.json", viewed(avatar), 32)
    assert require_renderable(tmp_path / "o.mp4", Rendering(str(own)), Presentation()).notes == []


def test_a_path_without_expressions_shows_a_neutral_face(avatar: GreyAvatar, tmp_path: Path) -> None:
    """nerfstudio's keyframes are cameras."""
    path = save(tmp_path, path_of([avatar.camera] * 2, keyframes=[{"matrix": "[1]", "fov": 40, "aspect": 1}]))
    avatar.asked.clear()
    render_path(avatar, tmp_path / "o.mp4", Rendering(str(path)))
    assert [float(params.expr.abs().max()) for params, _ in avatar.asked] == [0, 0]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("expression", {"jawOpne": 1}, "jawOpen"),
        ("expression", ["smile"], "expressions of a camera path cannot be read"),
        ("head_turn", [0.0], "expressions of a camera path cannot be read"),
        ("time", 1e6, "the path's length"),
        ("time", float("inf"), "expressions of a camera path cannot be read"),
    ],
)
def test_expressions_of_a_path_that_cannot_be_read(avatar, tmp_path: Path, key: str, value: object, words: str) -> None:
    path = write_path(tmp_path / "path.json", viewed(avatar), 32)
    content = json.loads(path.read_text())
    content["keyframes"][-1][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        render_path(avatar, tmp_path / "o.mp4", Rendering(str(path)))
    assert not (tmp_path / "o.mp4").exists()

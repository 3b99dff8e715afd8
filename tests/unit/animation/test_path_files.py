"""Camera paths and key-framed expressions in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar.animation.keyframes import expression_at, frame_count, read_keyframes
from avatar.animation.path_files import read_camera_path, require_in_view
from avatar.base.errors import InputError
from avatar.flame.library import load_head
from avatar.geometry.cameras import Camera, look_at

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

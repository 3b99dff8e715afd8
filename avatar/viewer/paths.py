"""The file of a timeline.

It is a camera path as nerfstudio's viewer writes it (`animation.path_files`); `keyframes` holds what this viewer needs
to go on: time, camera, expression, head, performance and its frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avatar.animation.path_faces import face_entry, keyframe_times, read_face
from avatar.animation.path_files import AS_CAPTURED, PRINCIPAL_POINT, read_view, view_entry
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import read_json, write_json
from avatar.viewer.state import ViewState
from avatar.viewer.timeline import PATH_FPS, Timeline


def write_path(path: Path, timeline: Timeline, height: int, fps: float = PATH_FPS) -> Path:
    """Write keyframes and the camera path between them. height: of the pictures to be rendered, pixels.

    Raises InputError without a keyframe, OutputError where the file cannot be written.
    """
    frames = timeline.frames(fps)
    content = {
        "camera_type": "perspective",
        PRINCIPAL_POINT: AS_CAPTURED,
        "render_height": height,
        "render_width": round(height * frames[0].aspect),
        "fps": fps,
        "seconds": len(frames) / fps,
        "keyframes": [
            {
                "time": keyframe.time,
                **_camera(keyframe.state),
                **face_entry(keyframe.state.face),
            }
            for keyframe in timeline.keyframes
        ],
        "camera_path": [_camera(state) for state in frames],
    }
    return write_json(path, content)


def read_path(path: Path) -> Timeline:
    """The keyframes of a file. Raises InputError for a file that holds none."""
    content = read_json(path, InputError)
    timeline = Timeline()
    try:
        for index, (time, entry) in enumerate(zip(keyframe_times(content), content["keyframes"], strict=True)):
            timeline = timeline.added(_state(entry, path, index), time)
    except AvatarError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise InputError(
            "this is no camera path with keyframes", where=path, expected="a file saved by avatar view", found=cause
        ) from cause
    if not timeline.keyframes:
        raise InputError("the camera path has no keyframes", where=path, expected="one at least", found=0)
    return timeline


def _camera(state: ViewState) -> dict[str, Any]:
    return view_entry(state.view)


def _state(entry: Mapping[str, Any], path: Path, index: int) -> ViewState:
    face, view = read_face(entry), read_view(entry, path, index)
    return ViewState(
        view.world_from_cam,
        view.fov,
        view.aspect,
        face.amounts,
        face.turn,
        face.shift,
        face.performance,
        face.frame,
    )

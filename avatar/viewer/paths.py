"""The file of a timeline.

It is a camera path as nerfstudio's viewer writes it (`animation.path_files`); `keyframes` holds what this viewer needs
to go on: time, camera, expression, head, performance and its frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avatar.animation.path_files import AS_CAPTURED, PRINCIPAL_POINT, read_view, view_entry
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import read_json, write_json
from avatar.viewer.state import AT_REST, ViewState
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
                "expression": dict(keyframe.state.amounts),
                "head_turn": list(keyframe.state.turn),
                "head_shift": list(keyframe.state.shift),
                "performance": keyframe.state.performance,
                "frame": keyframe.state.frame,
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
        spacing = float(content.get("seconds_between_keyframes", 0.0))  # as files without times have it
        for index, entry in enumerate(content["keyframes"]):
            timeline = timeline.added(_state(entry, path, index), float(entry.get("time", index * spacing)))
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
    turn, shift = (tuple(map(float, entry[key])) for key in ("head_turn", "head_shift"))
    amounts = {str(name): float(amount) for name, amount in entry["expression"].items()}
    if len(turn) != 3 or len(shift) != 3 or not np.isfinite([*turn, *shift, *amounts.values()]).all():
        raise ValueError("numbers that are missing or not finite")
    view = read_view(entry, path, index)
    return ViewState(
        view.world_from_cam,
        view.fov,
        view.aspect,
        amounts,
        (turn[0], turn[1], turn[2]),
        (shift[0], shift[1], shift[2]),
        str(entry.get("performance", AT_REST)),
        int(entry.get("frame", 0)),
    )

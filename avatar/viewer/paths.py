"""Keyframes of the viewer, what lies between them, and their file.

The file is a camera path as nerfstudio's viewer writes it (`animation.path_files`); `keyframes` holds what this viewer
needs to go on: camera, expression, head, performance and its frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.animation.path_files import AS_CAPTURED, PRINCIPAL_POINT, View, read_view, view_entry
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import read_json, write_json
from avatar.geometry.rotations import slerp
from avatar.viewer.state import AT_REST, ViewState

PATH_FPS = 25.0


def between_keyframes(keyframes: Sequence[ViewState], seconds: float, fps: float = PATH_FPS) -> list[ViewState]:
    """The frames from the first keyframe to the last: `seconds` from each to the next, starting and ending gently.

    Rotations go along the shortest arc; what is no number (background, overlays, performance) is the earlier one's.
    Of one keyframe it is that one. Raises InputError where there is none.
    """
    if not keyframes:
        raise InputError("there is no keyframe yet", fix="add one where the view is as it should be")
    steps = max(1, round(seconds * fps))
    frames = []
    for first, second in pairwise(keyframes):
        frames += [blend(first, second, 0.5 - 0.5 * math.cos(math.pi * step / steps)) for step in range(steps)]
    return [*frames, keyframes[-1]]


def blend(first: ViewState, second: ViewState, share: float) -> ViewState:
    """The state at `share` in [0, 1] of the way between two."""

    def mixed(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    pose = np.eye(4)
    start, end = (torch.tensor(state.world_from_cam[:3, :3].copy()) for state in (first, second))
    pose[:3, :3] = slerp(start, end, share).numpy()
    pose[:3, 3] = (1 - share) * first.world_from_cam[:3, 3] + share * second.world_from_cam[:3, 3]
    names = sorted({*first.amounts, *second.amounts})
    amounts = {name: mixed(first.amounts.get(name, 0.0), second.amounts.get(name, 0.0)) for name in names}
    together = first.performance == second.performance
    return replace(
        first,
        world_from_cam=pose,
        fov=mixed(first.fov, second.fov),
        aspect=mixed(first.aspect, second.aspect),
        amounts=amounts,
        turn=tuple(map(mixed, first.turn, second.turn)),
        shift=tuple(map(mixed, first.shift, second.shift)),
        frame=round(mixed(first.frame, second.frame)) if together else first.frame,
    )


def write_path(path: Path, keyframes: Sequence[ViewState], seconds: float, height: int, fps: float = PATH_FPS) -> Path:
    """Write keyframes and the camera path between them. height: of the pictures to be rendered, pixels.

    Raises InputError without a keyframe, OutputError where the file cannot be written.
    """
    frames = between_keyframes(keyframes, seconds, fps)
    content = {
        "camera_type": "perspective",
        PRINCIPAL_POINT: AS_CAPTURED,
        "render_height": height,
        "render_width": round(height * frames[0].aspect),
        "fps": fps,
        "seconds": len(frames) / fps,
        "seconds_between_keyframes": seconds,
        "keyframes": [
            {
                **_camera(state),
                "expression": dict(state.amounts),
                "head_turn": list(state.turn),
                "head_shift": list(state.shift),
                "performance": state.performance,
                "frame": state.frame,
            }
            for state in keyframes
        ],
        "camera_path": [_camera(state) for state in frames],
    }
    return write_json(path, content)


def read_path(path: Path) -> tuple[list[ViewState], float]:
    """The keyframes of a file and the seconds between them. Raises InputError for a file that holds none."""
    content = read_json(path, InputError)
    try:
        states = [_state(entry, path, index) for index, entry in enumerate(content["keyframes"])]
        seconds = float(content["seconds_between_keyframes"])
    except AvatarError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise InputError(
            "this is no camera path with keyframes", where=path, expected="a file saved by avatar view", found=cause
        ) from cause
    if not states or not 0 < seconds < 3600:
        raise InputError("the camera path has no keyframes", where=path, expected="one at least", found=len(states))
    return states, seconds


def _camera(state: ViewState) -> dict[str, Any]:
    return view_entry(View(state.world_from_cam, state.fov, state.aspect))


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

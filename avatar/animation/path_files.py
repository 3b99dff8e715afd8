"""Camera paths in files, as nerfstudio's viewer and `avatar view` write them.

JSON: `camera_path` is a list with a frame each: `camera_to_world` (16 numbers row by row, or 4 rows of 4; OpenGL axes,
metres of the avatar's world), `fov` (vertical, degrees) and `aspect`; `fps` beside it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.base.files import read_json
from avatar.base.limits import FPS, RENDER_FRAMES
from avatar.geometry.cameras import Camera, project

FIELD_OF_VIEW = (1.0, 170.0)
"""Least and greatest vertical field of view, degrees."""


def read_camera_path(path: Path, captured: Camera) -> tuple[list[Camera], float | None]:
    """The cameras of a path's frames, as high as the captured picture, and its frames per second where it says so.

    Raises InputError where the file is missing or damaged, or a camera in it is none.
    """
    path = Path(path)
    content = read_json(path, InputError)
    frames = content.get("camera_path") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(
            "the file is no camera path",
            where=path,
            expected="camera_path: a list of camera_to_world (16 numbers), fov and aspect",
            found=", ".join(content) if isinstance(content, dict) else type(content).__name__,
            fix="save one in `avatar view` or in nerfstudio's viewer",
        )
    RENDER_FRAMES.require("the path's length", len(frames), error=InputError, where=path)
    fps = content.get("fps")
    if fps is not None:
        FPS.require("fps", fps, error=InputError, where=path)
    return [_camera(frame, index, path, captured) for index, frame in enumerate(frames)], fps


def _camera(frame: Any, index: int, path: Path, captured: Camera) -> Camera:
    try:
        matrix = np.asarray(frame["camera_to_world"], dtype=np.float64).reshape(4, 4)
        fov, aspect = float(frame["fov"]), float(frame.get("aspect", captured.width / captured.height))
    except (KeyError, TypeError, ValueError) as cause:
        raise InputError(
            "a camera of the path cannot be read",
            where=path,
            frame=index,
            expected="camera_to_world (16 numbers), fov and aspect",
            found=cause,
        ) from cause
    if not FIELD_OF_VIEW[0] <= fov <= FIELD_OF_VIEW[1] or not 0.1 <= aspect <= 10:
        raise InputError(
            "a camera of the path has an impossible lens",
            where=path,
            frame=index,
            expected=f"fov from {FIELD_OF_VIEW[0]:g} to {FIELD_OF_VIEW[1]:g} degrees, aspect from 0.1 to 10",
            found=f"fov {fov:g}, aspect {aspect:g}",
        )
    height = captured.height
    width = max(1, round(height * aspect))
    focal = 0.5 * height / math.tan(0.5 * math.radians(fov))
    lens = {"width": width, "height": height, "fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2}
    return Camera.from_transform_matrix(matrix, **lens)


def require_in_view(cameras: list[Camera], target: np.ndarray, path: Path) -> None:
    """Raise InputError where none of the cameras sees the point `target` `[3]`, metres, world."""
    point = torch.as_tensor(target, dtype=torch.float64)
    for camera in cameras:
        pixel, depth = project(point, camera)
        if float(depth) > 0 and 0 <= float(pixel[0]) < camera.width and 0 <= float(pixel[1]) < camera.height:
            return
    raise InputError(
        "no camera of the path sees the head",
        where=path,
        expected="a path in the avatar's world: metres, y up, the head near the origin and facing +z",
        found=f"first camera at {np.round(cameras[0].position, 2).tolist()}",
        fix="save the path in `avatar view RUN` of the same avatar",
    )

"""Camera paths in files, as nerfstudio's viewer and `avatar view` write them: the only place that knows their form.

JSON: `camera_path` is a list with a frame each: `camera_to_world` (16 numbers row by row, or 4 rows of 4; OpenGL axes,
metres of the avatar's world), `fov` (vertical, degrees) and `aspect`; `fps` beside it. In nerfstudio's files the
principal point is the middle of the picture. A captured picture is a crop as a rule, and `avatar view` shows it with
the principal point that it has: its files say `principal_point: captured`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.base.files import read_json
from avatar.base.limits import FPS, RENDER_FRAMES
from avatar.geometry.cameras import OPENCV_FROM_OPENGL, Camera, project

FIELD_OF_VIEW = (1.0, 170.0)
"""Least and greatest vertical field of view, degrees."""
ASPECT = (0.1, 10.0)
"""Least and greatest width over height."""
PRINCIPAL_POINT, AS_CAPTURED = "principal_point", "captured"
"""Key and value of files whose cameras have the captured picture's principal point."""
ENTRY = "camera_to_world (16 finite numbers), fov and aspect"


class View(NamedTuple):
    """A camera of a path, without the size of its picture."""

    world_from_cam: np.ndarray
    """`[4, 4]`, OpenCV axes."""
    fov: float
    """Vertical, radians."""
    aspect: float
    """Width over height."""


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
    # files of earlier viewers do not say it, and are known by what only `avatar view` writes
    ours = content.get(PRINCIPAL_POINT) == AS_CAPTURED or "seconds_between_keyframes" in content
    offset = principal_offset(captured) if ours else (0.0, 0.0)
    usual = captured.width / captured.height
    views = [read_view(frame, path, index, usual_aspect=usual) for index, frame in enumerate(frames)]
    return [camera_of(view, captured.height, offset) for view in views], fps


def read_view(entry: Any, path: Path, index: int, *, usual_aspect: float | None = None) -> View:
    """A frame or keyframe of a path. usual_aspect: where the entry has none.

    Raises InputError, naming the file and the frame, where it is none.
    """
    try:
        pose = from_nerfstudio(entry["camera_to_world"])
        fov = float(entry["fov"])
        aspect = float(entry["aspect"] if usual_aspect is None else entry.get("aspect", usual_aspect))
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise InputError(
            "a camera of the path cannot be read", where=path, frame=index, expected=ENTRY, found=cause
        ) from cause
    if not FIELD_OF_VIEW[0] <= fov <= FIELD_OF_VIEW[1] or not ASPECT[0] <= aspect <= ASPECT[1]:
        raise InputError(
            "a camera of the path has an impossible lens",
            where=path,
            frame=index,
            expected=f"fov from {FIELD_OF_VIEW[0]:g} to {FIELD_OF_VIEW[1]:g} degrees, aspect from {ASPECT[0]:g} to "
            f"{ASPECT[1]:g}",
            found=f"fov {fov:g}, aspect {aspect:g}",
        )
    view = View(pose, math.radians(fov), aspect)
    camera_of(view, 1)  # a rigid pose, or InputError
    return view


def view_entry(view: View) -> dict[str, Any]:
    """The entry that `read_view` reads."""
    return {
        "camera_to_world": to_nerfstudio(view.world_from_cam),
        "fov": math.degrees(view.fov),
        "aspect": view.aspect,
    }


def camera_of(view: View, height: int, offset: tuple[float, float] = (0.0, 0.0)) -> Camera:
    """The camera of a picture `height` pixels high. offset: of the principal point from the middle, in focal lengths to
    the right and down."""
    width = max(1, round(height * view.aspect))
    focal = height / (2 * math.tan(view.fov / 2))
    return Camera(
        width,
        height,
        focal,
        focal,
        width / 2 + offset[0] * focal,
        height / 2 + offset[1] * focal,
        view.world_from_cam,
    )


def principal_offset(camera: Camera) -> tuple[float, float]:
    """How far a camera's principal point lies off the middle, to the right and down, in focal lengths."""
    return (camera.cx - camera.width / 2) / camera.fl_x, (camera.cy - camera.height / 2) / camera.fl_y


def to_nerfstudio(world_from_cam: np.ndarray) -> list[float]:
    """A pose `[4, 4]` (OpenCV) as nerfstudio's `camera_to_world`: 16 numbers, row by row, OpenGL axes."""
    return [float(number) for number in (world_from_cam @ OPENCV_FROM_OPENGL).reshape(-1)]


def from_nerfstudio(numbers: Sequence[float] | Sequence[Sequence[float]]) -> np.ndarray:
    """The pose `[4, 4]` (OpenCV) of the 16 numbers of `camera_to_world`. Raises InputError for anything else."""
    try:
        matrix = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError("a camera_to_world is none", expected="16 finite numbers", found=cause) from cause
    if matrix.size != 16 or not np.isfinite(matrix).all():
        raise InputError("a camera_to_world is none", expected="16 finite numbers", found=f"{matrix.size} numbers")
    return matrix.reshape(4, 4) @ OPENCV_FROM_OPENGL


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

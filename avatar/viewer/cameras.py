"""Cameras of the viewer: viser's and ours.

viser gives a camera as position, quaternion (w x y z) and vertical field of view, with OpenCV's axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from avatar.animation.path_files import View, camera_of, principal_offset
from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera


def pose_from_viser(wxyz: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray) -> np.ndarray:
    """`world_from_cam` `[4, 4]` of a quaternion `[4]` (w x y z, any length but zero) and a position `[3]` in metres.

    Raises InputError for a quaternion without length or a number that is not finite.
    """
    quaternion, centre = np.asarray(wxyz, dtype=np.float64), np.asarray(position, dtype=np.float64)
    length = float(np.linalg.norm(quaternion))
    if quaternion.shape != (4,) or centre.shape != (3,) or not np.isfinite(centre).all() or not 0 < length < math.inf:
        raise InputError("the page's camera is none", expected="wxyz [4] and position [3]", found=f"{wxyz} {position}")
    w, x, y, z = quaternion / length
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = centre
    return pose


def vertical_fov(camera: Camera) -> float:
    """The vertical field of view of a camera, radians, as that of a centred one with the same focal length."""
    return 2 * math.atan(camera.height / (2 * camera.fl_y))


def view_camera(world_from_cam: np.ndarray, fov: float, aspect: float, height: int, captured: Camera) -> Camera:
    """The camera of a picture `height` pixels high and `aspect` times as wide.

    fov: vertical, radians. The principal point lies as far off the middle, in angle, as that of `captured`, whose
    picture is a crop as a rule: from its pose the viewer's picture is the captured one with more at the sides.
    """
    return camera_of(View(world_from_cam, fov, aspect), height, principal_offset(captured))

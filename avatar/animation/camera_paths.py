"""Camera trajectories around the head: the captured camera rotated about a target point.

World frame: OpenCV cameras as `world_from_cam` `[4, 4]`, y up, the head facing +z (docs/design.md, Conventions).
A trajectory rotates the captured camera rigidly about the target, so that at angle zero the framing is exactly that
of the clip.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from avatar.animation.options import DEFAULT_AMPLITUDE_DEGREES
from avatar.base.errors import ConfigError
from avatar.base.limits import AMPLITUDE
from avatar.geometry.cameras import Camera, turn_camera

PathName = Literal["still", "orbit", "spiral", "dolly"]
PATHS: tuple[PathName, ...] = get_args(PathName)
ELEVATION_SHARE = 0.3
"""An orbit nods by this share of its sideways swing; a spiral's circle is this much flatter than wide."""
SPIRAL_DOLLY = 0.08
"""A spiral moves this share of the distance towards the head and away from it."""
DOLLY = 0.25
"""A dolly moves this share of the distance towards the head and away from it."""


def parse_path(text: str) -> Path | PathName:
    """A camera path as it is given: a .json file, or one of PATHS. Raises ConfigError for anything else."""
    if Path(text).suffix.lower() == ".json":
        return Path(text)
    for name in PATHS:
        if name == text:
            return name
    close = difflib.get_close_matches(text.lower(), PATHS, n=1)
    hint = f"did you mean {close[0]}?" if close else None
    raise ConfigError("unknown camera path", expected=f"{', '.join(PATHS)} or a .json file", found=text, fix=hint)


def camera_path(
    name: PathName, camera: Camera, target: np.ndarray, frames: int, amplitude: float = DEFAULT_AMPLITUDE_DEGREES
) -> list[Camera]:
    """`frames` cameras of the trajectory `name`, closed so that a video of them loops.

    camera: the captured camera, where every trajectory begins. target: `[3]` the head's mean position, metres, world.
    amplitude: the largest sideways angle in degrees.
    Raises ConfigError for an amplitude outside (0, 60].
    """
    if name == "still":
        return [camera] * frames
    AMPLITUDE.require("--amplitude", amplitude)
    swing = math.radians(amplitude)
    cameras = []
    for frame in range(frames):
        phase = 2 * math.pi * frame / frames
        if name == "orbit":  # to one side, through the front, to the other; up at one side, down at the other
            azimuth, elevation, scale = swing * math.sin(phase), ELEVATION_SHARE * swing * math.sin(2 * phase), 1.0
        elif name == "dolly":  # towards the face and back, through further away
            azimuth, elevation, scale = 0.0, 0.0, 1.0 - DOLLY * math.sin(phase)
        else:  # a circle that opens from the captured view and closes again, moving in and out
            radius = swing * math.sin(phase / 2)
            azimuth, elevation = radius * math.sin(2 * phase), 2 * ELEVATION_SHARE * radius * math.cos(2 * phase)
            scale = 1.0 - SPIRAL_DOLLY * math.sin(phase)
        cameras.append(turn_camera(camera, target, azimuth, elevation, scale))
    return cameras

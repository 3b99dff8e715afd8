"""Conventions of the whole program: units, frames, splits and names (docs/design.md, Conventions).

Lengths in metres, angles in radians, right-handed. Head space is FLAME's: y up, face towards +z.
Cameras inside the program are OpenCV (x right, y down, z forward), given as `world_from_cam` `[4, 4]`; files hold
NeRF's `transform_matrix` (OpenGL camera-to-world). Pixel centres lie at +0.5.
"""

from __future__ import annotations

from typing import Literal

VERSION = "0.1.0"
"""Of the program; `avatar.__version__`."""
SCHEMA_VERSION = 1
LANDMARK_COUNT = 478
"""MediaPipe's face mesh: 468 points of the face and 10 of the irises."""
SPLITS = ("train", "val", "test")
CAMERA_MODES = ("static", "moving")
Rotate = Literal["auto", 0, 90, 180, 270]
"""Degrees clockwise by which a video's frames are turned, after what the file says; auto sets the face upright."""
OPEN_HEAD = "open-head"
SYNTHETIC_TAG = "synthetic"
"""Written into the metadata of every video that shows a rendered avatar."""

"""A virtual camera: other programs, such as a video call, see the avatar as if a camera filmed it.

By pyvirtualcam, where it is installed and the system has such a device (v4l2loopback on Linux, OBS elsewhere).
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from avatar.base.errors import InputError
from avatar.base.optional import require
from avatar.media.recording import fitted

DEVICE_FIXES = {
    "linux": "make one: sudo modprobe v4l2loopback devices=1 exclusive_caps=1",
    "darwin": "install OBS (30 or newer) and start its virtual camera once",
    "win32": "install OBS, which brings a virtual camera",
}


PACKAGE = "pyvirtualcam"


def require_virtual_camera() -> ModuleType:
    """The package, imported. Raises MissingDependencyError, with the line that installs it, where it is absent."""
    return require(PACKAGE, "a virtual camera")


class VirtualCamera:
    """An open virtual camera of one size and rate."""

    def __init__(self, size: tuple[int, int], fps: float) -> None:
        """size: width and height, to which pictures are fitted.

        Raises MissingDependencyError without pyvirtualcam, InputError where the system has no such device.
        """
        package = require_virtual_camera()
        try:
            self._camera = package.Camera(width=size[0], height=size[1], fps=fps)
        except Exception as error:  # RuntimeError, and others by system
            raise InputError(
                "this system has no virtual camera that is free",
                expected="a device made for it",
                found=str(error).strip() or type(error).__name__,
                fix=DEVICE_FIXES.get(sys.platform, "see the page of pyvirtualcam"),
            ) from error
        self.size, self.device = size, str(self._camera.device)

    def show(self, image: np.ndarray) -> None:
        """Send a picture, uint8 `[H, W, 3]`."""
        self._camera.send(fitted(image, *self.size))

    def close(self) -> None:
        self._camera.close()

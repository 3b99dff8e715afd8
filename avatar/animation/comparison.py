"""The driver's own pictures beside the avatar: what it was asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avatar.animation.driver_files import Driver
from avatar.base.errors import ConfigError


def require_filmed(driver: Driver) -> None:
    """Raise ConfigError where the driver has no pictures to compare with."""
    if driver.filmed is None:
        raise ConfigError(
            "--compare needs a driver with pictures",
            expected="a video, a capture or a run",
            found="parameters alone",
            fix="leave --compare out",
        )


def driver_pictures(driver: Driver) -> Iterator[np.ndarray]:
    """The driver's pictures uint8 `[H, W, 3]`, one for each of its frames: of a video the one shown at that time.

    Raises ConfigError as `require_filmed`, InputError or CaptureError where they cannot be read.
    """
    require_filmed(driver)
    assert driver.filmed is not None
    if driver.filmed.is_dir():
        from avatar.data.capture import read_capture

        capture = read_capture(driver.filmed)
        for index in range(len(capture.frames)):
            yield capture.read_image(index)
        return
    yield from _from_video(driver.filmed, driver)


def _from_video(path: Path, driver: Driver) -> Iterator[np.ndarray]:
    from avatar.media.video import read_video

    pictures = read_video(path, start=driver.audio_start or None, rotate=driver.rotate)
    shown: np.ndarray | None = None
    following = next(pictures, None)
    for index in range(len(driver.params)):
        latest = driver.audio_start + (index + 0.5) / driver.fps
        while following is not None and (shown is None or following[0] < latest):
            shown = following[1]
            following = next(pictures, None)
        if shown is None:
            return
        yield shown


def beside(driver: np.ndarray, avatar: np.ndarray) -> np.ndarray:
    """Two pictures uint8, the driver's `[h, w, 3]` scaled to the height of the avatar's `[H, W, 3]`: `[H, W' + W,
    3]`."""
    import cv2

    height = avatar.shape[0]
    width = max(1, round(driver.shape[1] * height / driver.shape[0]))
    shrinks = height < driver.shape[0]
    scaled = cv2.resize(driver, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.concatenate([scaled, avatar], 1)

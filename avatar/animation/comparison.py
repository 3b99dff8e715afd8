"""The driver's own pictures beside the avatar: what it was asked to do, and what it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from avatar.animation.driver_files import Driver
from avatar.base.errors import ConfigError, InputError
from avatar.data.capture_schema import TRANSFORMS


def require_filmed(driver: Driver) -> None:
    """Raise ConfigError where the driver has no pictures to compare with."""
    require_pictures(driver.filmed is not None)


def require_pictures(filmed: bool) -> None:
    """Raise ConfigError unless the driver was `filmed`."""
    if not filmed:
        raise ConfigError(
            "--compare needs a driver with pictures",
            expected="a video, a capture or a run",
            found="parameters alone",
            fix="leave --compare out",
        )


def driver_pictures(driver: Driver) -> Iterator[np.ndarray]:
    """The driver's pictures uint8 `[H, W, 3]`, for each of its frames the one shown at that time.

    Raises ConfigError as `require_filmed`, InputError or CaptureError where they cannot be read.
    """
    require_filmed(driver)
    assert driver.filmed is not None
    if driver.filmed.is_dir():
        from avatar.data.capture import read_capture

        capture = read_capture(driver.filmed)
        for index in range(len(driver.params)):
            shown = int((index + 0.5) / driver.fps * capture.fps)
            yield capture.read_image(min(shown, len(capture.frames) - 1))
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


class DriversBeside:
    """The pictures of drivers that play one after another, each beside the avatar's picture of the same frame."""

    def __init__(self, drivers: Sequence[Driver], height: int) -> None:
        """drivers: at the rate of the frames. height: of the avatar's pictures, pixels. Raises as `driver_pictures`."""
        self.width = None
        if len(drivers) > 1:  # frames of one video have one width: the widest driver's
            sizes = [_size(driver) for driver in drivers]
            self.width = max(max(1, round(across * height / down)) for across, down in sizes)
        self._pictures = _one_after_another(drivers)
        self._next, self._shown = 0, None

    def __call__(self, index: int, avatar: np.ndarray) -> np.ndarray:
        """`beside` of frame `index`, which rises from call to call; what lies between two is passed over."""
        while self._next <= index:
            self._shown = next(self._pictures, self._shown)
            self._next += 1
        if self._shown is None:
            raise InputError("the driver's pictures cannot be read")
        return beside(self._shown, avatar, self.width)


def what_is_beside(drivers: Sequence[Driver]) -> tuple[object, ...]:
    """What decides which pictures of drivers are shown, as JSON values."""
    found: list[object] = []
    for driver in drivers:
        if driver.filmed is not None:
            file = driver.filmed / TRANSFORMS if driver.filmed.is_dir() else driver.filmed
            said = file.stat()
            found.append([str(file.absolute()), said.st_size, said.st_mtime_ns, driver.audio_start, driver.rotate])
    return tuple(found)


def _one_after_another(drivers: Sequence[Driver]) -> Iterator[np.ndarray]:
    """As many pictures of each driver as it has frames; where its file ends early, the last one stays."""
    for driver in drivers:
        pictures, shown = driver_pictures(driver), None
        for _ in range(len(driver.params)):
            shown = next(pictures, shown)
            if shown is None:
                raise InputError("the driver's pictures cannot be read", where=driver.filmed)
            yield shown


def _size(driver: Driver) -> tuple[int, int]:
    """Width and height of a driver's pictures."""
    require_filmed(driver)
    assert driver.filmed is not None
    if driver.filmed.is_dir():
        height, width = next(driver_pictures(driver)).shape[:2]
        return width, height
    from avatar.media.video import probe_video

    info = probe_video(driver.filmed, rotate=driver.rotate)
    return info.width, info.height


def beside(driver: np.ndarray, avatar: np.ndarray, width: int | None = None) -> np.ndarray:
    """Two pictures uint8, the driver's `[h, w, 3]` scaled to the height of the avatar's `[H, W, 3]`: `[H, W' + W,
    3]`. width: of the driver's share W', in whose middle a narrower picture stands on black; its own by default."""
    import cv2

    height = avatar.shape[0]
    own = max(1, round(driver.shape[1] * height / driver.shape[0]))
    shrinks = height < driver.shape[0]
    scaled = cv2.resize(driver, (own, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    left = max(0, ((width or own) - own) // 2)
    right = max(0, (width or own) - own - left)
    return np.concatenate([np.pad(scaled, ((0, 0), (left, right), (0, 0))), avatar], 1)

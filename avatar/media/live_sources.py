"""Pictures as they happen: a camera's, or those of a video file at its own pace, as if a camera saw them."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avatar.base.errors import InputError
from avatar.media.streams import DEFAULT_RATE
from avatar.media.video import probe_video, read_video, turned

CAMERA = re.compile(r"(?:/dev/video)?(\d{1,3})")
"""A camera's number, or its device on Linux."""
LATEST = 0.25
"""Seconds by which a file may be read too late; beyond, its clock is set back, so that lateness does not add up."""
OTHER_PROGRAM = "plug it in, close the program that uses it, or give another number: --source 1"


@dataclass(frozen=True, eq=False)
class LivePicture:
    """One picture of a source."""

    number: int
    """Of the pictures that the source gave so far."""
    time: float
    """Seconds on the source's own clock: those of the file, or since the camera's first picture."""
    captured: float
    """`time.monotonic` when it happened; of a file, when it was due."""
    image: np.ndarray
    """uint8 `[H, W, 3]` sRGB, upright."""


class LiveSource(Protocol):
    """Where live pictures come from."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures, pixels."""
        ...

    @property
    def fps(self) -> float:
        """Pictures per second, as the source declares."""
        ...

    def pictures(self, stopped: threading.Event) -> Iterator[LivePicture]:
        """The pictures as they happen, until the source ends or `stopped` is set. Raises InputError where it fails."""
        ...

    def close(self) -> None: ...


def camera_number(source: str) -> int | None:
    """The number of the camera that a source means; None for a file."""
    camera = CAMERA.fullmatch(source.strip())
    return None if camera is None else int(camera[1])


class FileSource:
    """A video file that runs by the clock."""

    def __init__(self, path: Path, *, rotate: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """rotate: degrees (0, 90, 180, 270) by which the frames are turned clockwise.

        Raises InputError for a file that cannot be read as a video.
        """
        info = probe_video(path, rotate=rotate)
        self.path, self.rotate, self._clock = Path(path), rotate, clock
        self.name, self.size, self.fps = str(path), (info.width, info.height), info.fps
        self.frames = info.frame_count
        """Declared or counted."""
        self.has_audio = info.has_audio
        self.behind = 0.0
        """Seconds by which the file ran slower than its own rate, because it could not be read faster."""

    def pictures(self, stopped: threading.Event) -> Iterator[LivePicture]:
        """See `LiveSource`. A picture read too late is given at once, so that a pause of the machine is caught up with;
        `captured` stays the moment at which it was due."""
        began = None
        for number, (stamp, image) in enumerate(read_video(self.path, rotate=self.rotate)):
            now = self._clock()
            began = now - stamp if began is None else began
            wait = began + stamp - now
            if wait < -LATEST:
                self.behind -= wait
                began -= wait
            if stopped.wait(max(0.0, wait)):
                return
            yield LivePicture(number, stamp, began + stamp, image)

    def close(self) -> None:
        """Nothing stays open between two pictures."""


class CameraSource:
    """A camera of this machine, through OpenCV."""

    def __init__(self, number: int, *, rotate: int = 0) -> None:
        """Open a camera and take its first picture. rotate: degrees by which its pictures are turned clockwise.

        Raises InputError where there is no such camera, or it gives no picture.
        """
        self.name, self.rotate = f"camera {number}", rotate
        known = cameras()
        absent = InputError(
            "there is no such camera",
            where=f"--source {number}",
            expected="a camera that this machine has",
            found="none" if not known else ", ".join(map(str, known)),
            fix=f"{OTHER_PROGRAM}, or a video file: --source FILE",
        )
        if known is not None and number not in known:
            raise absent
        self._capture = _opened(number)
        if self._capture is None:
            raise absent
        first = self._read()
        if first is None:
            self.close()
            raise InputError("the camera gives no picture", where=self.name, fix=OTHER_PROGRAM)
        self.size = first.shape[1], first.shape[0]
        self.fps = self._declared_rate()

    def pictures(self, stopped: threading.Event) -> Iterator[LivePicture]:
        began, number = None, 0
        while not stopped.is_set():
            image = self._read()
            now = time.monotonic()
            if stopped.is_set():
                return
            if image is None:
                raise InputError("the camera gives no pictures any more", where=self.name, fix=OTHER_PROGRAM)
            began = now if began is None else began
            yield LivePicture(number, now - began, now, image)
            number += 1

    def close(self) -> None:
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        good, image = self._capture.read()
        return turned(np.ascontiguousarray(image[:, :, ::-1]), self.rotate) if good and image is not None else None

    def _declared_rate(self) -> float:
        import cv2

        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 1 <= rate <= 240 else DEFAULT_RATE


def cameras() -> list[int] | None:
    """Numbers of the cameras that Linux lists; None on systems that do not tell."""
    if not sys.platform.startswith("linux"):
        return None
    found = (CAMERA.fullmatch(f"/dev/{name}") for name in sorted(os.listdir("/dev")))
    return [int(camera[1]) for camera in found if camera]


def _opened(number: int) -> Any:
    """OpenCV's capture of a camera, None where it cannot be opened; OpenCV's own complaints are left out."""
    import cv2

    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(number)
    finally:
        cv2.setLogLevel(level)
    if capture.isOpened():
        return capture
    capture.release()
    return None

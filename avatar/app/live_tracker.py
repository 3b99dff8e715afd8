"""The tracker of `avatar live`: a process that reads the source, follows the face and says where the head is.

    python -m avatar.app.live_tracker '{"source": "0", "rotate": "auto"}'

It has an interpreter of its own, because drawing and tracking take turns inside one. Messages go through standard input
and output (`live_messages`); where the input ends, it ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from avatar.animation.live_transfer import LiveTransfer
from avatar.animation.options import Retarget
from avatar.app import live_messages as messages
from avatar.base.errors import InputError
from avatar.base.newest import Newest
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.media.live_sources import CameraSource, FileSource, LivePicture, LiveSource, camera_number
from avatar.media.video import read_video
from avatar.viewer.live import LiveHead
from capture_tools.detect.checks import CUT, STEP_BACK
from capture_tools.detect.selection import select_frames
from capture_tools.detect.turning import chosen_rotation
from capture_tools.driver import WHOLE
from capture_tools.live_driver import LiveDriver

NO_FACE = "no face was found in the driver"
NEUTRAL_SECONDS = 1.0
"""Seconds of the driver that are kept, for a new neutral face."""
Send = Callable[[str], None]


class Performer:
    """Follows a driver and puts what it does on an avatar, picture by picture."""

    def __init__(self, driver: LiveDriver, transfer: LiveTransfer, fps: float) -> None:
        self.driver, self.transfer = driver, transfer
        self.note = ""
        """What people should know at the moment."""
        self._recent: deque[HeadParameters] = deque(maxlen=max(1, round(NEUTRAL_SECONDS * fps)))
        self._renew = threading.Event()

    def __call__(self, picture: LivePicture) -> HeadParameters | None:
        """One frame (N = 1) for the avatar; None while the driver is still being calibrated."""
        if not self.driver.calibrated:
            self._watch(picture)
            return None
        if self._renew.is_set() and self._recent:
            self._renew.clear()
            self.transfer.calibrate(HeadParameters.concatenate(list(self._recent)))
        params, seen = self.driver.follow(picture.time, picture.image)
        self.note = "" if seen else self._no_face()
        if seen:
            self._recent.append(params)
        return self.transfer(params)

    def prepare(self, frames: Iterable[tuple[float, np.ndarray]], where: Path) -> None:
        """Calibrate on the first second of a face in a file's frames (time in seconds, uint8 `[H, W, 3]`), or on what
        there is.

        Raises InputError where no frame shows a face.
        """
        for seconds, image in frames:
            if self.driver.watch(seconds, image):
                break
        if not self._calibrate():
            what, fix = (f"{CUT} in the whole driver", STEP_BACK) if self.driver.cut else (NO_FACE, WHOLE)
            raise InputError(what, where=where, expected="one whole face", fix=fix)

    def renew(self) -> None:
        """Take what the driver did in the last second for neutral, from the next picture on. For any thread."""
        self._renew.set()

    def _watch(self, picture: LivePicture) -> None:
        before = self.driver.seconds_watched
        if self.driver.watch(picture.time, picture.image):
            self._calibrate()
        elif self.driver.seconds_watched > before:
            self.note = "look at the camera with a relaxed face for a second, then wait for some"
        else:
            self.note = self._no_face()

    def _calibrate(self) -> bool:
        watched = self.driver.calibrate()
        if watched is not None:
            self.transfer.calibrate(watched)
        return watched is not None

    def _no_face(self) -> str:
        return f"the face is cut by the picture's edge: {STEP_BACK}" if self.driver.cut else "no face is seen"


def open_source(text: str, rotate: str | int) -> LiveSource:
    """The camera or file that a source means. Raises InputError where it cannot be used."""
    number = camera_number(text)
    if number is not None:
        return CameraSource(number, rotate=0 if rotate == "auto" else int(rotate))
    path = Path(text)
    _, selection = select_frames(path, max_frames=None)
    return FileSource(path, rotate=chosen_rotation(path, selection, rotate))


def follow(
    source: LiveSource, perform: Callable[[LivePicture], HeadParameters | None], stopped: threading.Event
) -> Iterator[tuple[LivePicture, HeadParameters | None, int]]:
    """The newest picture of the source, again and again, with what `perform` makes of it and the number of pictures
    left out so far. Ends with the source, raises what goes wrong in it."""
    pictures: Newest[LivePicture] = Newest()
    failures: list[Exception] = []

    def take() -> None:
        try:
            for picture in source.pictures(stopped):
                pictures.put(picture)
        except Exception as error:
            failures.append(error)
        finally:
            pictures.close()

    taking = threading.Thread(target=take, name="avatar-live-source", daemon=True)
    taking.start()
    while (picture := pictures.take()) is not None and not stopped.is_set():
        params = perform(picture)
        yield picture, params, pictures.dropped
    if failures and not stopped.is_set():
        raise failures[0]


def serve(source_text: str, rotate: str | int, lines: Iterable[str], send: Send) -> None:
    """Track a source as the program asks for it in `lines`; what is found, or goes wrong, is sent."""
    stopped, asked = threading.Event(), queue.SimpleQueue[dict[str, Any]]()
    performers: list[Performer] = []

    def listen() -> None:
        for line in lines:
            message = json.loads(line)
            if message["kind"] == messages.RENEW:
                for performer in performers:
                    performer.renew()
            else:
                asked.put(message)
        stopped.set()
        asked.put({"kind": "stop"})

    threading.Thread(target=listen, name="avatar-live-listener", daemon=True).start()
    source = open_source(source_text, rotate)
    try:
        is_file = isinstance(source, FileSource)
        about = {"frames": source.frames, "rotate": source.rotate, "audio": source.has_audio} if is_file else {}
        send(messages.line_of(messages.OPENED, name=source.name, fps=source.fps, **about))
        chosen = asked.get()
        if chosen["kind"] != messages.AVATAR:
            return
        asset = load_head(chosen["head"])
        transfer = LiveTransfer(messages.params_of(chosen["own"]), asset, Retarget(**chosen["settings"]))
        performer = Performer(LiveDriver(asset, *source.size), transfer, source.fps)
        performers.append(performer)
        if is_file:  # it waits until it is known, as a person would
            performer.prepare(read_video(source.path, rotate=source.rotate), source.path)
        send(messages.line_of(messages.READY))
        if asked.get()["kind"] != messages.START:
            return
        for picture, params, dropped in follow(source, performer, stopped):
            behind = source.behind if is_file else 0.0
            part = (picture.number, picture.time, picture.captured, params, dropped, behind, performer.note)
            send(messages.head_line(LiveHead(*part)))
        send(messages.line_of(messages.ENDED))
    finally:
        source.close()


def main() -> int:
    """Serve the program that started this process; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program decides what Ctrl-C ends
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no message

    def send(line: str) -> None:
        out.write(line)
        out.flush()

    chosen = json.loads(sys.argv[1])
    try:
        serve(chosen["source"], chosen["rotate"], sys.stdin, send)
    except BrokenPipeError:  # the program is gone
        return 1
    except Exception as error:
        with suppress(BrokenPipeError):
            send(messages.failure_line(error))
        return 1
    return 0


if __name__ == "__main__":
    # no waiting for threads that a camera or a network holds
    status = main()
    sys.stderr.flush()
    os._exit(status)

"""A live driver in an open viewer: one thread takes the source's pictures, one follows the face in the newest.

A third one draws, as for everything in the viewer (`worker.py`). None waits for another: each takes the newest that
the one before it has, and what comes too fast is left out and counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from avatar.base.newest import Newest
from avatar.viewer.delays import Delays, figure_status
from avatar.viewer.session import Session
from avatar.viewer.state import LIVE, LiveFrame, ViewState

if TYPE_CHECKING:
    from avatar.flame.model import HeadParameters
    from avatar.media.live_sources import LivePicture, LiveSource

SAY_EVERY = 0.5
"""Seconds between two updates of the figures on the page."""
LAST_PICTURE = 5.0
"""Seconds that the last frame's picture is waited for when the source has ended."""
CLOSING = 5.0
"""Seconds that a thread is waited for: a camera may hold a picture back for some."""


class Perform(Protocol):
    """Follows the driver: the avatar's head in a picture."""

    def __call__(self, picture: LivePicture) -> HeadParameters | None:
        """One frame (N = 1) on the avatar's identity; None while the driver is still being calibrated."""
        ...

    @property
    def note(self) -> str:
        """What people should know at the moment, such as that there is no face; "" for nothing."""
        ...

    def renew(self) -> None:
        """Take the driver's face and pose of the last second for the neutral ones, from the next picture on."""
        ...


class LiveStage:
    """A live performance. `start` it, wait for `ended`, `close` it."""

    def __init__(self, session: Session, source: LiveSource, perform: Perform) -> None:
        self.session, self.source, self.perform = session, source, perform
        self.delays = Delays()
        self.first_time = 0.0
        """Of the first picture that was followed, on the source's clock."""
        self.unused = 0
        """Pictures of the source before the first that was followed: looked at, or gone by, for the calibration."""
        self.ended = threading.Event()
        """Set when the source has ended and its last picture is shown, when something failed, and by `close`."""
        self.failure: Exception | None = None
        """Why it ended, where something failed."""
        self.showed: Callable[[LiveFrame, np.ndarray], None] = lambda frame, image: None
        """Takes each frame with the avatar's picture of it, uint8 `[H, W, 3]`, once that is shown."""
        self.status_changed: Callable[[str], None] = lambda text: None
        """Takes a line for people, about twice a second."""
        self._pictures: Newest[LivePicture] = Newest()
        self._stopped = threading.Event()
        self._number: int | None = None
        self._last_shown = threading.Event()
        self._said = 0.0
        self._threads = [
            threading.Thread(target=target, name=f"avatar-live-{name}", daemon=True)
            for name, target in (("source", self._take), ("tracker", self._follow))
        ]

    def start(self) -> None:
        self.session.followed = self._followed
        self.session.store.update(performance=LIVE)
        for thread in self._threads:
            thread.start()

    def close(self) -> bool:
        """End the threads and the source; returns whether all have ended. The session stays open."""
        self._stopped.set()
        self._pictures.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(CLOSING)
        self.source.close()
        self.ended.set()
        return not any(thread.is_alive() for thread in self._threads)

    def fail(self, error: Exception) -> None:
        """End because of an error; the first one counts."""
        self.failure = self.failure or error
        self._stopped.set()
        self._pictures.close()
        self.ended.set()

    @property
    def status(self) -> str:
        """A line for people: the note of the one who follows, and the figures of the last seconds."""
        figures = self.delays.recent(time.monotonic())
        parts = [self.perform.note, figure_status(figures) if figures.tracked else ""]
        return "; ".join(part for part in parts if part)

    # the threads

    def _take(self) -> None:
        try:
            for picture in self.source.pictures(self._stopped):
                self._pictures.put(picture)
        except Exception as error:
            if not self._stopped.is_set():
                self.fail(error)
        finally:
            self._pictures.close()

    def _follow(self) -> None:
        try:
            before = watched = 0
            while (picture := self._pictures.take()) is not None and not self._stopped.is_set():
                params = self.perform(picture)
                dropped = self._pictures.dropped
                if params is None:
                    watched += 1
                    before, self.unused = dropped, watched + dropped
                else:
                    # what went by during the calibration is no delay of the performance
                    self.delays.track(time.monotonic(), dropped - before)
                    before = dropped
                    self.first_time = picture.time if self._number is None else self.first_time
                    self._number = picture.number
                    self._show(LiveFrame(params, picture.number, picture.time, picture.captured))
                self._say()
            if self._number is not None and self.session.store.state.performance == LIVE:
                self._last_shown.wait(0.0 if self._stopped.is_set() else LAST_PICTURE)
        except Exception as error:
            self.fail(error)
        finally:
            self.ended.set()

    def _show(self, frame: LiveFrame) -> None:
        if self.session.store.state.performance == LIVE:  # people may look at something else meanwhile
            self._last_shown.clear()
            self.session.store.update(live=frame)

    def _followed(self, state: ViewState, image: np.ndarray) -> None:
        """In the thread that draws."""
        if state.performance != LIVE or state.live is None:
            return
        self.delays.show(time.monotonic(), state.live.captured)
        self.showed(state.live, image)
        if state.live.number == self._number:
            self._last_shown.set()

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_EVERY:
            self._said = now
            self.status_changed(self.status)

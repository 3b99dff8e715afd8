"""A live driver in an open viewer.

The driver is followed elsewhere (a process of its own, see `avatar.app.live_process`), at the source's rate; here its
newest head becomes the state that is drawn next. None waits for the other, and what comes too fast is left out and
counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from avatar.viewer.delays import Delays, figure_status
from avatar.viewer.session import Session
from avatar.viewer.state import LIVE, LiveFrame, ViewState

if TYPE_CHECKING:
    from avatar.flame.model import HeadParameters

SAY_EVERY = 0.5
"""Seconds between two updates of the figures on the page."""
LAST_PICTURE = 5.0
"""Seconds that the last frame's picture is waited for when the source has ended."""
CLOSING = 5.0
"""Seconds that the thread is waited for."""


@dataclass(frozen=True, eq=False)
class LiveHead:
    """What one picture of the source shows."""

    number: int
    """Of the picture."""
    time: float
    """Seconds on the source's clock."""
    captured: float
    """`time.monotonic` when the picture was taken."""
    params: HeadParameters | None
    """N = 1, on any identity; None while the driver is not known yet."""
    dropped: int = 0
    """Pictures, from the source's first one on, that were left out because a newer one was there."""
    behind: float = 0.0
    """Seconds by which a file has run slower than its own rate."""
    note: str = ""
    """What people should know, such as that no face is seen; "" for nothing."""


class LiveTracker(Protocol):
    """Follows a driver."""

    @property
    def name(self) -> str:
        """Of the source."""
        ...

    def heads(self) -> Iterator[LiveHead]:
        """The heads as they are found, until the source ends or `close` is called. Raises what went wrong."""
        ...

    def renew(self) -> None:
        """Take the driver's face and pose of the last second for the neutral ones."""
        ...

    def close(self) -> None:
        """End; `heads` ends too, in whatever thread it runs."""
        ...


class LiveStage:
    """A live performance. `start` it, wait for `ended`, `close` it."""

    def __init__(self, session: Session, tracker: LiveTracker) -> None:
        self.session, self.tracker = session, tracker
        self.delays = Delays()
        self.note = ""
        """What people should know at the moment."""
        self.first_time = 0.0
        """Of the first picture that was followed, on the source's clock."""
        self.unused = 0
        """Pictures of the source before that: looked at, or gone by, to get to know the driver."""
        self.behind = 0.0
        """Seconds by which a file ran slower than its own rate."""
        self.ended = threading.Event()
        """Set when the source has ended and its last picture is shown, when something failed, and by `close`."""
        self.failure: Exception | None = None
        """Why it ended, where something failed."""
        self.showed: Callable[[LiveFrame, np.ndarray], None] = lambda frame, image: None
        """Takes each frame with the avatar's picture of it, uint8 `[H, W, 3]`, once that is shown."""
        self.status_changed: Callable[[str], None] = lambda text: None
        """Takes a line for people, about twice a second."""
        self._closing = False
        self._number: int | None = None
        self._last_shown = threading.Event()
        self._said = 0.0
        self._thread = threading.Thread(target=self._follow, name="avatar-live", daemon=True)

    def start(self) -> None:
        self.session.followed = self._followed
        self.session.store.update(performance=LIVE)
        self._thread.start()

    def close(self) -> bool:
        """End the tracker and the thread; returns whether it has ended. The session stays open."""
        self._closing = True
        self._last_shown.set()
        self.tracker.close()
        if self._thread.ident is not None:
            self._thread.join(CLOSING)
        self.ended.set()
        return not self._thread.is_alive()

    def fail(self, error: Exception) -> None:
        """End because of an error; the first one counts."""
        self.failure = self.failure or error
        self.ended.set()

    @property
    def status(self) -> str:
        """A line for people: the note of the moment, and the figures of the last seconds."""
        figures = self.delays.recent(time.monotonic())
        parts = [self.note, figure_status(figures) if figures.tracked else ""]
        return "; ".join(part for part in parts if part)

    def say(self, note: str) -> None:
        """Show people a note before the performance begins."""
        self.note = note
        self.status_changed(note)

    def _follow(self) -> None:
        try:
            before = watched = 0
            for head in self.tracker.heads():
                self.note, self.behind = head.note, head.behind
                if head.params is None:
                    watched += 1
                    before, self.unused = head.dropped, watched + head.dropped
                else:
                    # what went by before the driver was known is no delay of the performance
                    self.delays.track(time.monotonic(), head.dropped - before)
                    before = head.dropped
                    self.first_time = head.time if self._number is None else self.first_time
                    self._show(LiveFrame(self._own(head.params), head.number, head.time, head.captured))
                self._say()
            if self._number is not None and self.session.store.state.performance == LIVE:
                self._last_shown.wait(LAST_PICTURE)
        except Exception as error:
            if not self._closing:
                self.fail(error)
        finally:
            self.ended.set()

    def _own(self, params: HeadParameters) -> HeadParameters:
        own = self.session.painter.own
        return replace(params.to(own.expr.device), shape=own.shape, static_offset=own.static_offset)

    def _show(self, frame: LiveFrame) -> None:
        self._number = frame.number
        if self.session.store.state.performance == LIVE:  # people may look at something else meanwhile
            if not self._closing:
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
